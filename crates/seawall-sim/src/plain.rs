//! Stock SQLite's part in an adoption: NAME, held under its lock.

use crate::calls::{Kind, call};
use crate::disk::Disk;
use crate::oracle::path_of;
use crate::process::ProcessId;
use crate::world::World;
use seawall::storage::File;
use seawall::{Error, HeldFile, PlainSqlite, Result};
use std::io;
use std::path::Path;
use std::time::Duration;

/// How long stock SQLite tries to get the lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct SimSqlite(pub(crate) World);

struct Held {
    world: World,
    inode: usize,
    process: ProcessId,
}

fn failed(what: &str) -> impl Fn(io::Error) -> Error {
    move |error| Error::io(format!("{what} NAME"), error)
}

impl PlainSqlite for SimSqlite {
    fn hold(&self, _name: &Path, create: bool) -> Result<Box<dyn HeldFile>> {
        let world = &self.0;
        let process = world.my_process();
        let is_remote = world.is_remote();
        let machine = world.with_process(process, |process| process.machine);
        let inode = call(world, "open NAME", Kind::Write, move |world| {
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
        });
        let inode = inode.map_err(failed("opening"))?;
        let began = world.now();
        loop {
            let taken =
                call(world, "lock NAME", Kind::Change, move |world| Ok(world.locks().take_name(world, process)));
            if taken.map_err(failed("locking"))? {
                return Ok(Box::new(Held { world: world.clone(), inode, process }));
            }
            let waited = world.now() - began;
            if waited > BUSY_TIMEOUT {
                return Err(Error::Busy { holder: "stock SQLite".into(), waited });
            }
            world.sleep(Duration::from_millis(20));
        }
    }
}

impl Held {
    fn with_disk<T: Send + 'static>(
        &self,
        what: &'static str,
        kind: Kind,
        with: impl FnOnce(&mut Disk, usize) -> T + Send + 'static,
    ) -> Result<T> {
        let (inode, process) = (self.inode, self.process);
        let done = call(&self.world, what, kind, move |world| {
            // A client whose lock the server forgot can do nothing any more by the file that it locked (measured).
            if !world.locks().has_name(process) {
                return Err(io::Error::from_raw_os_error(5));
            }
            Ok(with(&mut world.disk(), inode))
        });
        done.map_err(failed(what))
    }
}

impl HeldFile for Held {
    fn size(&mut self) -> Result<u64> {
        self.with_disk("looking at", Kind::Look, |disk, inode| disk.inode(inode).bytes.len() as u64)
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<()> {
        let bytes = self.with_disk("reading", Kind::Look, |disk, inode| disk.inode(inode).bytes.clone())?;
        let from = bytes.get(offset as usize..offset as usize + into.len());
        into.copy_from_slice(from.ok_or_else(|| failed("reading")(io::ErrorKind::UnexpectedEof.into()))?);
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let bytes = bytes.to_vec();
        self.with_disk("writing", Kind::Write, move |disk, inode| disk.write(inode, offset as usize, &bytes))
    }

    fn sync(&mut self) -> Result<()> {
        self.with_disk("syncing", Kind::Change, |disk, inode| disk.sync(inode))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.world.locks().give_back_name(self.process);
    }
}
