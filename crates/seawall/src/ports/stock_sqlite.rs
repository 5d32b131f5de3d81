//! Stock SQLite, which the engine borrows from its host to lock and finish a plain SQLite file.

use crate::error::Result;
use std::path::Path;
use std::time::Duration;

/// Stock SQLite, which alone can finish NAME's journal or WAL and hold its locks. The engine has none; the SQLite edge
/// lends it the host's.
pub trait PlainSqlite {
    /// NAME's first bytes, `length` or as many as there are, read by SQLite's own file. `None`: they may be read
    /// directly. (Where this process has NAME open in SQLite, to close another descriptor of it would end SQLite's
    /// locks.)
    fn beginning(&self, _name: &Path, _length: usize) -> Option<Vec<u8>> {
        None
    }

    /// Opens NAME (makes it, empty, if it is absent and `create`), lets stock SQLite finish what a crash left, and
    /// holds the file so that no other program writes it until the answer is dropped: under an EXCLUSIVE lock, or, if
    /// it is marked already, a SHARED one. If other programs have NAME locked for longer than `patience`, the error is
    /// [`Error::Busy`](crate::Error::Busy).
    fn hold(&self, name: &Path, create: bool, patience: Duration) -> Result<Box<dyn HeldFile>>;
}

/// NAME, held. Its bytes are reached through SQLite's own file: a descriptor of ours would drop SQLite's locks when it
/// is closed.
pub trait HeldFile {
    /// The size in bytes.
    fn size(&mut self) -> Result<u64>;
    /// Fills `into` from `offset`.
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<()>;
    /// Writes `bytes` at `offset`.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()>;
    /// Makes it durable.
    fn sync(&mut self) -> Result<()>;
}
