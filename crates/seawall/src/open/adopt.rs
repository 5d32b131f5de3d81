//! Adopting NAME where it lies, or making an empty database.
//!
//! The order makes a crash at any point harmless. NAME is protected (byte 18) before it is copied, so that no program
//! changes it afterwards. The head is put before `id` has its name, so that an `id` without a head always means a lost
//! head. An opener that finds a folder without `id` finishes the adoption. Of several processes that adopt at once, the
//! head's put-if-absent chooses one; the others join it.

use crate::error::{Error, Result};
use crate::format::head::{BaseRef, Head};
use crate::format::identity::{self, Identity};
use crate::format::ids::{BaseName, CommitId, DatabaseId, Epoch, PageSize, Token, Version};
use crate::format::new_pages::page_checksum;
use crate::format::sqlite_header::{self, HEADER, NameState, PROTECTED};
use crate::open::id_is_gone;
use crate::options::Options;
use crate::ports::coordinator::kinds::coordinator_of;
use crate::ports::coordinator::{Coordinator, CoordinatorError};
use crate::ports::stock_sqlite::{HeldFile, PlainSqlite};
use crate::ports::storage::{File, Span, Storage};
use crate::shown::Shown;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// NAME is copied in pieces of this size.
const PIECE: usize = 1 << 20;
/// How soon it is looked again whether a client of django-sqlite-efs is at work.
const LEGACY_WAIT: Duration = Duration::from_millis(50);

/// What an adoption works with.
pub(crate) struct Adoption<'a> {
    pub(crate) name: &'a Path,
    pub(crate) storage: &'a Arc<dyn Storage>,
    pub(crate) options: &'a Options,
    /// When the opening began that this is a part of: it waits for others for `options.adoption_timeout` in all.
    pub(crate) began: Duration,
    /// Neither NAME nor `id` was there when the opening began, and the folder was: a removal was cut short.
    pub(crate) was_removed: bool,
}

impl Adoption<'_> {
    /// Makes NAME a Seawall database. When it returns, `id` is there: of this adoption, or of one that was quicker.
    pub(crate) fn run(&self, plain: &dyn PlainSqlite, create: bool) -> Result<()> {
        let database = DatabaseId(self.random()?);
        let coordinator = self.coordinator_of(database)?;
        must_be_canonical(&coordinator.name())?;
        let made_folder = self.storage.prepare(coordinator.name() == "fs:")?;
        let adopted = self.shut_out(&*coordinator).and_then(|()| {
            self.adopt(database, &*coordinator, plain, create, made_folder).inspect_err(|_| self.let_in(&*coordinator))
        });
        match adopted {
            Ok(adopted) if adopted == database => Ok(()),
            // Another process was first: what keeps the old clients out is to bear its database's id.
            Ok(adopted) => self.shut_out(&*self.coordinator_of(adopted)?),
            Err(error) => {
                if made_folder {
                    self.storage.discard_folder();
                }
                Err(error)
            }
        }
    }

    fn coordinator_of(&self, database: DatabaseId) -> Result<Box<dyn Coordinator>> {
        coordinator_of(&self.options.coordinator, database, self.storage)
    }

    fn waited(&self) -> Duration {
        self.storage.now().monotonic.saturating_sub(self.began)
    }

    /// How long this adoption may go on waiting for others.
    fn patience(&self) -> Duration {
        self.options.adoption_timeout.saturating_sub(self.waited())
    }

    /// Keeps out those who write NAME by the rules of django-sqlite-efs, once none of them is at work.
    fn shut_out(&self, coordinator: &dyn Coordinator) -> Result<()> {
        for name in self.legacy_names() {
            loop {
                let at_work = coordinator.shut_out(&name).map_err(|error| {
                    self.let_in(coordinator);
                    Error::CannotOpen(format!("{error}. NAME was not touched"))
                })?;
                let Some(holder) = at_work else { break };
                if self.patience().is_zero() {
                    self.let_in(coordinator);
                    return Err(Error::Busy { holder, waited: self.waited() });
                }
                self.storage.sleep(LEGACY_WAIT);
            }
        }
        Ok(())
    }

    /// Undoes `shut_out`. What cannot be undone keeps old clients waiting; the next adoption puts it right.
    fn let_in(&self, coordinator: &dyn Coordinator) {
        for name in self.legacy_names() {
            let _ = coordinator.let_in(&name);
        }
    }

    fn legacy_names(&self) -> Vec<String> {
        legacy_names(self.name, &self.options.legacy_names)
    }

    /// Adopts NAME as `database`; tells which database it is now.
    fn adopt(
        &self,
        database: DatabaseId,
        coordinator: &dyn Coordinator,
        plain: &dyn PlainSqlite,
        create: bool,
        made_folder: bool,
    ) -> Result<DatabaseId> {
        let mut held = plain.hold(self.name, create, self.patience())?;
        if self.home(File::Id)?.is_some() {
            return self.adopted_as();
        }
        // Only now is it certain that no process is making a database here: it would have this lock, and NAME would be
        // protected.
        if self.was_removed && held.size()? == 0 {
            self.storage.clear().map_err(|error| Error::io("clearing away what a removal left", error))?;
        }
        let discard = || {
            if made_folder {
                self.storage.discard_folders()
            }
        };
        let made = self.storage.create_folders().inspect_err(|_| discard());
        made.map_err(|error| Error::io("making the database's folder", error))?;
        let protected_now = self.protect(&mut *held)?;
        let put = self.draft(database, coordinator, &mut *held).and_then(|head| match coordinator.create(&head) {
            Err(error) if error.is_certain() => Err(not_taken(&error)),
            answer => Ok((head, answer)),
        });
        if let (Err(_), Some(header)) = (&put, protected_now) {
            // This adoption will never have a head, and no process can have written since, because the lock is still
            // held. What was there before is there again, and may be written. Its change counter goes on: a stock
            // SQLite that has read NAME while it was marked keeps its pages for as long as the counter stays.
            held.write(0, &header).and_then(|()| held.sync())?;
            discard();
        }
        // From here on a head may be there that names this copy: NAME stays protected, and if need be the next opener
        // finishes this.
        let (head, answer) = put?;
        let winner = answer.map_err(|error| not_taken(&error))?;
        self.name(&head, &winner, coordinator)?;
        self.adopted_as()
    }

    /// Which database `id` says this is.
    fn adopted_as(&self) -> Result<DatabaseId> {
        let id = self.storage.read(Span { file: File::Id, at: 0, length: identity::MAX_LENGTH });
        let identity = identity::parse(id.map_err(|error| Error::io("reading id", error))?);
        Ok(identity.map_err(Error::damaged_id)?.database)
    }

    /// Protects NAME, if it is not: from now on no stock SQLite writes it. If this call did it, the header that takes
    /// that back.
    fn protect(&self, held: &mut dyn HeldFile) -> Result<Option<[u8; HEADER]>> {
        let size = held.size()?;
        let empty = sqlite_header::empty_protected();
        let mut content = vec![0; empty.len().min(size as usize)];
        held.read(0, &mut content)?;
        // What a loss of power left of an empty database in the making has no content to lose.
        if size <= empty.len() as u64 && sqlite_header::is_torn_empty(&content) {
            held.write(0, &empty)?;
            held.sync()?;
            return Ok(None);
        }
        match sqlite_header::state_of(&content[..HEADER.min(content.len())]) {
            NameState::Protected => {
                // The process that protected it may have died before that was durable, and all that follows rests on
                // it. If its fsync failed, another one of the same bytes would only say that they are not waiting to be
                // written. Therefore they are written again.
                held.write(0, &content[..HEADER])?;
                held.sync()?;
                Ok(None)
            }
            NameState::Plain => {
                let header = content.first_chunk().expect("a plain file has a whole header");
                let marked = sqlite_header::with_write_version(header, PROTECTED);
                held.write(0, &marked)?;
                held.sync()?;
                Ok(Some(sqlite_header::with_write_version(&marked, sqlite_header::write_version(header))))
            }
            NameState::Empty | NameState::Other => {
                Err(Error::NotADatabase("NAME is not a SQLite database. It was not touched".into()))
            }
        }
    }

    /// The first base and `id`, both before they count; the head that makes them count.
    fn draft(&self, database: DatabaseId, coordinator: &dyn Coordinator, held: &mut dyn HeldFile) -> Result<Head> {
        let commit = CommitId(self.random()?);
        let base = self.copy_base(held, commit)?;
        let longest = coordinator.try_longest_record().map_err(Error::nothing_written)?;
        let identity = Identity::new(database, coordinator.name(), longest);
        self.write_new(File::IdDraft(database), identity.to_string().as_bytes())?;
        let home = self
            .home(File::IdDraft(database))?
            .ok_or_else(|| Error::corrupt(File::IdDraft(database), "it vanished"))?;
        Ok(Head::first(database, commit, base, home))
    }

    /// Gives `id` its name: that of `winner`, which process's head it may be. Then the adoption is done.
    fn name(&self, mine: &Head, winner: &Head, coordinator: &dyn Coordinator) -> Result<()> {
        if winner.database != mine.database {
            self.clear(mine);
        }
        // The winner's `id` gets its name, by the process that comes first.
        let linked = self.storage.link(File::IdDraft(winner.database), File::Id);
        match self.home(File::Id)? {
            Some(home) if home == winner.home => {}
            // Where every adopter has a head of its own, the name decides: this one was too late.
            Some(_) => {
                coordinator.forget(mine.home).map_err(|error| {
                    Error::CannotOpen(format!(
                        "another adoption was quicker, and the head of this one could not be removed: {error}. Nothing is lost: open it again"
                    ))
                })?;
                self.clear(mine);
            }
            None => {
                let cause = linked.err().unwrap_or_else(|| io::Error::other("it was linked, and is not there"));
                // A head is there, and the `id` that it belongs to is not, under either name: it was removed from
                // outside.
                let is_gone = winner.database != mine.database && cause.kind() == io::ErrorKind::NotFound;
                if is_gone {
                    // NAME is the head's still: what became of this adoption leaves nothing.
                    return Err(id_is_gone());
                }
                return Err(Error::io("naming id", cause));
            }
        }
        // The draft goes once its other name is durable. Until then a loss of power could take both, and no process
        // could link `id` again.
        if linked.is_ok() || self.storage.sync_names().is_ok() {
            self.discard(File::IdDraft(winner.database));
        }
        Ok(())
    }

    /// The first base: NAME as it is, with checksums. None if it is empty.
    fn copy_base(&self, held: &mut dyn HeldFile, commit: CommitId) -> Result<Option<BaseRef>> {
        let size = held.size()?;
        let mut header = [0; HEADER];
        held.read(0, &mut header)?;
        let (page_size, page_count) =
            sqlite_header::dimensions(&header, size).map_err(|why| Error::corrupt(File::Name, why))?;
        if self.is_empty_database(held, size)? {
            return Ok(None);
        }
        let prefix = commit.0[..4].try_into().expect("an id has 16 bytes");
        let name = BaseName { epoch: Epoch(0), version: Version(0), id: prefix };
        let token = Token(self.random()?);
        let drafts = [File::SumsDraft(name, token), File::BaseDraft(name, token)];
        let named = self.copy_pages(held, drafts, page_size, page_count).and_then(|()| {
            let link = |(draft, file)| {
                self.storage.link(draft, file).map_err(|error| Error::io(format!("naming {file}"), error))
            };
            drafts.into_iter().zip([File::Sums(name), File::Base(name)]).try_for_each(link)
        });
        // Whatever came of it: half a copy must not fill a disk that is full already.
        let cleared = drafts.into_iter().try_for_each(|draft| self.remove(draft));
        named.and(cleared)?;
        Ok(Some(BaseRef { name, page_size, page_count, log: 0 }))
    }

    fn copy_pages(
        &self,
        held: &mut dyn HeldFile,
        [sums_draft, base_draft]: [File; 2],
        page_size: PageSize,
        page_count: u32,
    ) -> Result<()> {
        let failed = |error| Error::io(format!("copying NAME to {base_draft}"), error);
        let mut base = self.storage.create(base_draft).map_err(failed)?;
        let mut sums = Vec::with_capacity(page_count as usize * 8);
        let (total, mut done) = (u64::from(page_count) * page_size.bytes() as u64, 0);
        while done < total {
            let mut piece = vec![0; PIECE.min((total - done) as usize)];
            held.read(done, &mut piece)?;
            base.append(&piece).map_err(failed)?;
            piece.chunks_exact(page_size.bytes()).for_each(|image| sums.extend_from_slice(&page_checksum(image)));
            done += piece.len() as u64;
        }
        self.write_new(sums_draft, &sums)
    }

    /// NAME as an adoption leaves it that found nothing: no base is needed, and the first commit may choose the page
    /// size.
    fn is_empty_database(&self, held: &mut dyn HeldFile, size: u64) -> Result<bool> {
        let empty = sqlite_header::empty_protected();
        if size != empty.len() as u64 {
            return Ok(false);
        }
        let mut content = vec![0; empty.len()];
        held.read(0, &mut content)?;
        Ok(content == empty)
    }

    /// Removes what this adoption made, for another one won.
    fn clear(&self, mine: &Head) {
        self.discard(File::IdDraft(mine.database));
        if let Some(BaseRef { name, .. }) = mine.base {
            self.discard(File::Base(name));
            self.discard(File::Sums(name));
        }
    }

    /// Removes what no process will ever look at: where that fails, it costs its space, and nothing else.
    fn discard(&self, file: File) {
        let _ = self.storage.remove(file);
    }

    fn write_new(&self, file: File, bytes: &[u8]) -> Result<()> {
        let written = self.storage.create(file).and_then(|mut created| created.append(bytes));
        written.map_err(|error| Error::io(format!("writing {file}"), error))
    }

    fn remove(&self, file: File) -> Result<()> {
        self.storage.remove(file).map_err(|error| Error::io(format!("removing {file}"), error))
    }

    fn home(&self, file: File) -> Result<Option<u64>> {
        self.storage.home(file).map_err(|error| Error::io(format!("looking for {file}"), error))
    }

    fn random<const N: usize>(&self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.storage.random(&mut bytes).map_err(|error| Error::io("asking for randomness", error))?;
        Ok(bytes)
    }
}

/// `id` is refused where it names a coordinator in any other way, so a database that is bound to such a name could
/// never be opened.
pub(crate) fn must_be_canonical(name: &str) -> Result<()> {
    if identity::is_canonical(name) {
        return Ok(());
    }
    Err(Error::CannotOpen(format!(
        "the coordinator calls itself \"{}\", and the file id can only name one as SCHEME: or as SCHEME://NAME?region=REGION. \
         A database that is bound to this one could not be opened again. NAME was not touched. The coordinator's name() must return \
         such a name",
        Shown::url(name)
    )))
}

fn not_taken(error: &CoordinatorError) -> Error {
    Error::CannotOpen(format!(
        "the coordinator did not take the first head: {error}. NAME is unchanged but for its mark"
    ))
}

/// The names by which clients of django-sqlite-efs may know NAME: those of their settings, and its path.
pub(crate) fn legacy_names(name: &Path, others: &[String]) -> Vec<String> {
    let mut names: Vec<String> = others.iter().cloned().chain([name.display().to_string()]).collect();
    names.sort_unstable();
    names.dedup();
    names
}
