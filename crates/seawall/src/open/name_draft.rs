//! A draft of NAME: a version as a plain SQLite file, in the folder, until it is put in the place of NAME.

use crate::database::Database;
use crate::error::{Error, Result};
use crate::format::ids::Token;
use crate::format::sqlite_header;
use crate::ports::storage::{Bulk, File};
use crate::read::snapshot::Snapshot;
use crate::upkeep::copy::{For, copy};
use std::io;

/// It goes when this is dropped.
pub(super) struct NameDraft<'a> {
    database: &'a Database,
    token: Token,
    target: Option<Box<dyn Bulk>>,
}

impl<'a> NameDraft<'a> {
    /// An empty draft.
    pub(super) fn create(database: &'a Database) -> Result<NameDraft<'a>> {
        let token = Token(database.tip.random()?);
        let created = database.tip.storage.create_long(File::NameDraft(token)).map_err(writing)?;
        Ok(NameDraft { database, token, target: Some(created) })
    }

    /// Writes `snapshot`, durably.
    pub(super) fn write(&mut self, snapshot: &Snapshot, what_for: For) -> Result<()> {
        let mut targets: Vec<Box<dyn Bulk>> = self.target.take().into_iter().collect();
        if what_for == For::Reading && snapshot.page_count() == 0 {
            targets[0].write(0, &sqlite_header::empty_protected()).map_err(writing)?;
        }
        copy(&self.database.tip.pages, snapshot, what_for, &mut targets, &mut |_| Ok(()))?;
        targets.into_iter().try_for_each(|target| target.finish()).map_err(writing)
    }

    /// Puts it in the place of NAME, durably.
    pub(super) fn put(&self) -> io::Result<()> {
        self.database.tip.storage.put_name(self.token)
    }

    /// What it is called until then.
    pub(super) fn token(&self) -> Token {
        self.token
    }
}

impl Drop for NameDraft<'_> {
    fn drop(&mut self) {
        // What cannot be removed now goes with a garbage collection.
        let _ = self.database.tip.storage.remove(File::NameDraft(self.token));
    }
}

fn writing(error: io::Error) -> Error {
    Error::io("writing a draft of NAME in NAME-seawall", error)
}
