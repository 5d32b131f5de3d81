//! What the segments of a folder say, of whichever writer they are.

use super::judge::Evidence;
use crate::error::{Error, Result};
use crate::format::commit_frame::CommitFrame;
use crate::format::entry::Segments;
use crate::format::frame::{Kind, UNIT};
use crate::format::head::{CommitRef, Head};
use crate::format::ids::DatabaseId;
use crate::format::mark::Mark;
use crate::format::place::Place;
use crate::ports::storage::{File, Listed, Storage};
use crate::upkeep::listing::list;
use crate::upkeep::scan::frames;
use std::collections::{BTreeMap, BTreeSet};

/// Reads all segments. `database` is the one whose frames count, if that is known. Answers whose commits were found.
pub(super) fn scan(
    storage: &dyn Storage,
    segments: &Segments,
    database: Option<DatabaseId>,
    evidence: &mut Evidence,
) -> Result<Option<DatabaseId>> {
    let mut commits: BTreeMap<DatabaseId, Vec<(CommitRef, CommitFrame)>> = BTreeMap::new();
    let mut heads: BTreeMap<DatabaseId, Vec<(Kind, Head)>> = BTreeMap::new();
    let mut marks: Vec<Mark> = Vec::new();
    for file in list(storage, Listed::Segments)?.files {
        let File::Segment(segment) = file else { continue };
        let stamp = storage.stamp(file).map_err(|error| Error::io(format!("looking at {file}"), error))?;
        let end = stamp.map_or(0, |stamp| stamp.size);
        // Where the append of the frame that comes next begins: behind the last frame that ends one.
        let mut append = 0;
        frames(storage, file, (0, end), &mut |at, frame| match frame.kind {
            Kind::Pages | Kind::Index => {}
            Kind::Mark => {
                append = at + frame.length as u64;
                marks.extend(Mark::decode(frame.payload));
            }
            kind @ (Kind::Head | Kind::Confirmed) => {
                append = at + frame.length as u64;
                if let Ok(head) = Head::of_frame(frame.payload) {
                    heads.entry(head.database).or_default().push((kind, head));
                }
            }
            Kind::Commit => {
                let lead = u32::try_from(at - append).unwrap_or(u32::MAX - frame.length as u32);
                append = at + frame.length as u64;
                let Ok(units) = u32::try_from(at / UNIT) else { return };
                let Ok(commit) = CommitFrame::decode(frame.payload, segments) else { return };
                let place = Place { segment, at: units, length: frame.length as u32, lead };
                let reference = CommitRef { id: commit.commit, digest: frame.digest, place: Some(place) };
                commits.entry(commit.database).or_default().push((reference, commit));
            }
        })?;
    }
    let databases: BTreeSet<DatabaseId> = commits.keys().chain(heads.keys()).copied().collect();
    let database = match (database, databases.len()) {
        (Some(database), _) => database,
        (None, 0) => return Ok(None),
        (None, 1) => *databases.first().expect("there is one"),
        (None, several) => {
            return Err(Error::CannotOpen(format!(
                "id is missing, and the segments are of {several} databases. Nothing was changed. Bring id back from a backup of the folder"
            )));
        }
    };
    marks.iter().filter(|mark| mark.database == database).for_each(|mark| evidence.found_mark(mark));
    // The fold of a version is the better evidence of what was changed beside its pages, so frames come first.
    commits.remove(&database).into_iter().flatten().for_each(|(reference, frame)| evidence.found(reference, frame));
    heads.remove(&database).into_iter().flatten().for_each(|(kind, head)| match kind {
        Kind::Confirmed => evidence.found_confirmed(&head),
        _ => evidence.found_head(&head),
    });
    Ok(databases.contains(&database).then_some(database))
}
