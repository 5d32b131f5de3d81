//! A draft of NAME: a version as a plain SQLite file, in the folder, until it is put in the place of NAME.

use crate::database::Database;
use crate::error::{Error, Result};
use crate::format::ids::Token;
use crate::format::keep::Keeper;
use crate::format::sqlite_header;
use crate::ports::storage::{Bulk, File};
use crate::read::snapshot::Snapshot;
use crate::upkeep::checkpoint::pin_of;
use crate::upkeep::copy::{For, copy};
use crate::upkeep::held::PinHeld;
use std::io;

/// It goes when this is dropped.
pub(super) struct NameDraft<'a> {
    database: &'a Database,
    token: Token,
    target: Option<Box<dyn Bulk>>,
    /// Keeps garbage collection from the draft, and from what it is made of.
    pin: Option<PinHeld<'a>>,
}

impl<'a> NameDraft<'a> {
    /// An empty draft, where nothing collects garbage: the database has ended, or is a copy.
    pub(super) fn create(database: &'a Database) -> Result<NameDraft<'a>> {
        NameDraft::create_as(Token(database.tip.random()?), database, None)
    }

    /// An empty draft, which will be of `known` or of a later version.
    pub(super) fn pinned(database: &'a Database, known: &'a Snapshot) -> Result<NameDraft<'a>> {
        let token = Token(database.tip.random()?);
        let pin = PinHeld::new(&database.tip, pin_of(token), Keeper::Checkpoint, known)?;
        NameDraft::create_as(token, database, Some(pin))
    }

    fn create_as(token: Token, database: &'a Database, pin: Option<PinHeld<'a>>) -> Result<NameDraft<'a>> {
        let created = database.tip.storage.create_long(File::NameDraft(token)).map_err(writing)?;
        Ok(NameDraft { database, token, target: Some(created), pin })
    }

    /// Writes `snapshot`, durably.
    pub(super) fn write(&mut self, snapshot: &Snapshot, what_for: For) -> Result<()> {
        let mut targets: Vec<Box<dyn Bulk>> = self.target.take().into_iter().collect();
        if what_for == For::Reading && snapshot.page_count() == 0 {
            targets[0].write(0, &sqlite_header::empty_protected()).map_err(writing)?;
        }
        let mut renew = |_| self.pin.as_ref().map_or(Ok(()), PinHeld::renew);
        copy(&self.database.tip.pages, snapshot, what_for, &mut targets, &mut renew)?;
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
