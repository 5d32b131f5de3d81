//! The end of a recovery: its own commit, the head in the place of the seal, and `id`.

use super::judge::Evidence;
use super::{Chosen, Recovered, Run, gave_way, identity_of, random};
use crate::error::{Error, Result};
use crate::format::head::Floor;
use crate::format::high::High;
use crate::format::identity::Identity;
use crate::format::ids::{CommitId, Epoch, Token, Version};
use crate::format::keep::{MAX_LENGTH, Milestone};
use crate::mutation::mistake;
use crate::open::epoch::{Beginning, begin_epoch};
use crate::ports::storage::{File, Listed};
use crate::upkeep::listing::list;
use crate::upkeep::text_of;
use std::io;

impl Run<'_> {
    /// Steps 6 and on.
    pub(super) fn conclude(
        &self,
        token: Token,
        epoch: Epoch,
        evidence: &Evidence,
        recovered: Recovered,
        chosen: Chosen,
    ) -> Result<Option<Recovered>> {
        let storage = &**self.storage;
        // A writer that was killed, or whose disk failed, may not have made its commit durable.
        if let Some(place) = chosen.snapshot.head.fold.place {
            let file = File::Segment(place.segment);
            storage.sync(file).map_err(|error| Error::io(format!("making {file} durable"), error))?;
        }
        let (home, draft) = match self.home()? {
            Some(home) => (home, None),
            None => self.draft_id().map(|(home, draft)| (home, Some(draft)))?,
        };
        let heads = evidence.heads.iter();
        let known = heads.clone().map(|head| (head.sweep, head.generation)).chain([(chosen.snapshot.head.sweep, 0)]);
        let (sweep, generation) = known.fold((0, 0), |(a, b), (c, d)| (a.max(c), b.max(d)));
        let version = chosen.snapshot.head.version;
        let floor = self.floor(evidence, version)?;
        // On `fs` the generation is the version.
        let generation = if self.coordinator.lease_ends_with_process() { version.0 } else { generation };
        let begin = Beginning { epoch, home, sweep: sweep + 1, generation, floor };
        mistake!(RecoversWithoutFrame, {
            let head = begin.over(chosen.snapshot.head);
            let done = self.coordinator.unseal(token, &head, &head).map_err(Error::nothing_written)?;
            return Ok(Some(Recovered { version: done.then_some(version.0), ..recovered }));
        });
        let (previous, head) = begin_epoch(storage, self.pages, chosen.snapshot, begin)?;
        if !self.coordinator.unseal(token, &previous, &head).map_err(Error::nothing_written)? {
            return Err(gave_way());
        }
        if let Some(draft) = draft
            && !self.name_id(draft)?
        {
            return Ok(None);
        }
        let noted = storage.write(File::High, 0, High::of(&head, None).to_string().as_bytes());
        noted.map_err(|error| Error::io(format!("writing {}. The recovery is done", File::High), error))?;
        Ok(Some(Recovered { version: Some(head.version.0), ..recovered }))
    }

    /// Gives the draft of `id` its name. `false`: another recovery has done that with its own.
    fn name_id(&self, draft: File) -> Result<bool> {
        let storage = &**self.storage;
        let failed = |error| Error::io("naming id. Recover again, which finishes this", error);
        let named = loop {
            match storage.link(draft, File::Id) {
                Ok(()) => break true,
                // A repeated request meets its own success.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let homes = [storage.home(draft).map_err(failed)?, storage.home(File::Id).map_err(failed)?];
                    if homes[0] == homes[1] {
                        break true;
                    }
                    if identity_of(storage)?.is_some() {
                        break false;
                    }
                    storage.remove(File::Id).map_err(failed)?;
                }
                Err(error) => return Err(failed(error)),
            }
        };
        // A second name of `id` harms nobody.
        let _ = storage.remove(draft);
        Ok(named)
    }

    /// `id`, before it has its name, and the home that it will be. The draft is this recovery's own: the head names its
    /// home.
    fn draft_id(&self) -> Result<(u64, File)> {
        let file = File::Draft(CommitId(random(&**self.storage)?));
        let failed = |error| Error::io(format!("writing {file}"), error);
        let longest = self.coordinator.try_longest_record().map_err(Error::nothing_written)?;
        let identity = Identity::new(self.database, self.coordinator.name(), longest);
        self.storage
            .create(file)
            .and_then(|mut draft| draft.append(identity.to_string().as_bytes()))
            .map_err(failed)?;
        let home = self.storage.home(file).map_err(failed)?.ok_or_else(|| Error::corrupt(file, "it vanished"))?;
        Ok((home, file))
    }

    /// The oldest version that can still be promised: the highest floor that anything knows of.
    fn floor(&self, evidence: &Evidence, newest: Version) -> Result<Floor> {
        let mut floor = evidence.heads.iter().map(|head| head.floor).max().unwrap_or_default();
        for file in list(&**self.storage, Listed::Folder)?.files {
            if let File::Milestone(..) = file
                && let Some(text) = text_of(&**self.storage, file, MAX_LENGTH)?
                && let Ok(milestone) = text.parse::<Milestone>()
            {
                floor = floor.max(milestone.head.floor);
            }
        }
        if floor.version > newest { Ok(Floor { version: newest, time: 0 }) } else { Ok(floor) }
    }
}
