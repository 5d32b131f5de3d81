//! Stock SQLite's part in an adoption: NAME, held under its lock.

use crate::calls::{EIO, Kind, call};
use crate::disk::Disk;
use crate::event::Event;
use crate::locks::{NameKey, NameMode};
use crate::paths::path_of;
use crate::world::World;
use seawall::format::sqlite_header::{HEADER, NameState, state_of};
use seawall::ports::storage::File;
use seawall::{Error, HeldFile, PlainSqlite, Result};
use std::io;
use std::path::Path;
use std::time::Duration;

/// The sleep between two tries. It is long, because a frozen holder keeps the lock for hours and steps are counted.
const BUSY_SLEEP: Duration = Duration::from_millis(100);

pub(crate) struct SimSqlite(pub(crate) World);

/// NAME under one of stock SQLite's locks, which dropping this gives back.
pub(crate) struct LockedName {
    world: World,
    inode: usize,
    key: NameKey,
}

fn failed(what: &str) -> impl Fn(io::Error) -> Error {
    move |error| Error::io(format!("{what} NAME"), error)
}

/// Opens NAME. With `create` it makes an empty NAME if there is none.
pub(crate) fn open_name(world: &World, create: bool) -> io::Result<usize> {
    let is_remote = world.is_remote();
    let machine = world.with_process(world.my_process(), |process| process.machine);
    call(world, "open NAME", Kind::Write, move |world| {
        let mut disk = world.disk();
        let path = path_of(File::Name);
        let (there, now) = (disk.find(&path), world.now());
        if there.is_none() && create {
            disk.create(&path, Vec::new())?;
            if is_remote {
                disk.sync_folder("");
                world.names(machine).made(&path, disk.find(&path), disk.change_of(""), now);
            }
        } else if is_remote {
            world.names(machine).learn(&path, there, disk.change_of(""), now);
        }
        disk.find(&path).ok_or(io::ErrorKind::NotFound.into())
    })
}

/// Whether the file has Seawall's mark.
pub(crate) fn is_marked(disk: &Disk, inode: usize) -> bool {
    let bytes = &disk.inode(inode).bytes;
    state_of(&bytes[..HEADER.min(bytes.len())]) == NameState::Protected
}

/// Tries to take stock SQLite's lock: EXCLUSIVE to write, or SHARED where the mark allows only reading. `None` if
/// others have it, or gave NAME back in between.
pub(crate) fn try_lock(world: &World, inode: usize) -> io::Result<Option<LockedName>> {
    let process = world.my_process();
    let looks = || call(world, "look for the mark", Kind::Look, move |world| Ok(is_marked(&world.disk(), inode)));
    let mode = if looks()? { NameMode::Shared } else { NameMode::Exclusive };
    // After an error SQLite closes the file, which gives the lock back.
    let key = call(world, "lock NAME", Kind::Look, move |world| Ok(world.locks().take_name(world, process, mode)))?;
    let Some(key) = key else { return Ok(None) };
    let locked = LockedName { world: world.clone(), inode, key };
    Ok((mode == NameMode::Exclusive || looks()?).then_some(locked))
}

impl PlainSqlite for SimSqlite {
    fn hold(&self, _name: &Path, create: bool, patience: Duration) -> Result<Box<dyn HeldFile>> {
        let world = &self.0;
        let inode = open_name(world, create).map_err(failed("opening"))?;
        let began = world.now();
        loop {
            if let Some(locked) = try_lock(world, inode).map_err(failed("locking"))? {
                return Ok(Box::new(locked));
            }
            let waited = world.now() - began;
            if waited > patience {
                return Err(Error::Busy { holder: "stock SQLite".into(), waited });
            }
            world.sleep(BUSY_SLEEP);
        }
    }
}

impl LockedName {
    /// Does something with the file, at the server, if the server still has the lock. A client whose lock the server
    /// forgot can do nothing more with the file that it locked (measured).
    pub(crate) fn with_disk<T: Send + 'static>(
        &self,
        what: &'static str,
        kind: Kind,
        with: impl FnOnce(&World, &mut Disk, usize, NameMode) -> T + Send + 'static,
    ) -> io::Result<T> {
        let (inode, key) = (self.inode, self.key);
        call(&self.world, what, kind, move |world| {
            let mode = world.locks().holds_name(key).ok_or_else(|| io::Error::from_raw_os_error(EIO))?;
            let mut disk = world.disk();
            Ok(with(world, &mut disk, inode, mode))
        })
    }
}

impl HeldFile for LockedName {
    fn size(&mut self) -> Result<u64> {
        let size = self.with_disk("look at NAME", Kind::Look, |_, disk, inode, _| disk.inode(inode).bytes.len() as u64);
        size.map_err(failed("looking at"))
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<()> {
        let bytes = self.with_disk("read NAME", Kind::Look, |_, disk, inode, _| disk.inode(inode).bytes.clone());
        let bytes = bytes.map_err(failed("reading"))?;
        let from = bytes.get(offset as usize..offset as usize + into.len());
        into.copy_from_slice(from.ok_or_else(|| failed("reading")(io::ErrorKind::UnexpectedEof.into()))?);
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let bytes = bytes.to_vec();
        let written = self.with_disk("write NAME", Kind::Write, move |world, disk, inode, mode| {
            let was_marked = is_marked(disk, inode);
            disk.write(inode, offset as usize, &bytes);
            let is_marked = is_marked(disk, inode);
            if mode == NameMode::Shared && (!was_marked || !is_marked) {
                world.violation(|| "an adoption sets NAME's mark under a lock that lets others read".into());
            }
            if was_marked && !is_marked {
                world.met(Event::GivenBack);
            }
        });
        written.map_err(failed("writing"))
    }

    fn sync(&mut self) -> Result<()> {
        self.with_disk("sync NAME", Kind::Change, |_, disk, inode, _| disk.sync(inode)).map_err(failed("syncing"))
    }
}

impl Drop for LockedName {
    fn drop(&mut self) {
        self.world.locks().give_back_name(self.key);
    }
}
