//! The engine's storage, on the simulated disk. It makes the same calls as `OsStorage` on a local disk and on NFS.

mod lookups;

use crate::calls::{Kind, call};
use crate::disk::Disk;
use crate::event::Event;
use crate::files::{SimAppend, SimBulk, SimScratch, append_failed, write_durably};
use crate::paths::{BASES, COMMITS, FOLDER, FOLDERS, SEGMENTS, folder_of, path_of, record_path};
use crate::process::ProcessId;
use crate::service::adopted;
use crate::world::{Phase, World};
use seawall::Moment;
use seawall::format::head::Head;
use seawall::format::ids::{CommitId, Token, Version};
use seawall::ports::counters::{Counters, Operation};
use seawall::ports::storage::{
    Append, Begun, Bulk, File, FsOrder, Listed, Lock, Look, Record, Scratch, Span, Stamp, Storage,
};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How many publications are remembered.
const SLEEPERS: usize = 256;

/// A process's access to the database's files.
pub(crate) struct SimStorage {
    world: World,
    counters: Arc<Counters>,
}

impl SimStorage {
    pub(crate) fn new(world: &World) -> SimStorage {
        SimStorage { world: world.clone(), counters: Arc::default() }
    }

    fn is_remote(&self) -> bool {
        self.world.is_remote()
    }

    fn machine(&self) -> usize {
        let process = self.world.my_process();
        self.world.with_process(process, |process| process.machine)
    }

    /// Changes a name. On NFS that is durable at once, and the client's cache has the change.
    fn rename(
        &self,
        what: &'static str,
        kind: Kind,
        path: String,
        change: impl FnOnce(&mut Disk, &str) -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let (is_remote, machine) = (self.is_remote(), self.machine());
        call(&self.world, what, kind, move |world| {
            let mut disk = world.disk();
            let changed = change(&mut disk, &path);
            if is_remote {
                let (mut names, now) = (world.names(machine), world.now());
                match &changed {
                    Ok(()) => {
                        disk.sync_folder(folder_of(&path));
                        names.made(&path, disk.find(&path), disk.change_of(folder_of(&path)), now);
                    }
                    Err(_) => names.forget(&path),
                }
            }
            changed
        })
    }

    /// Makes an empty file, which stays open whatever happens to its name.
    fn make(&self, path: String) -> io::Result<usize> {
        let made = Arc::new(AtomicUsize::new(0));
        let inode = made.clone();
        self.rename("create", Kind::Write, path, move |disk, path| {
            made.store(disk.create(path, Vec::new())?, Ordering::Relaxed);
            Ok(())
        })?;
        Ok(inode.load(Ordering::Relaxed))
    }

    fn sync_folder(&self, folder: &'static str) -> io::Result<()> {
        if self.is_remote() {
            return Ok(());
        }
        call(&self.world, "sync of a folder", Kind::Change, move |world| {
            world.disk().sync_folder(folder);
            Ok(())
        })
    }

    fn sync_folder_of(&self, file: File) -> io::Result<()> {
        self.sync_folder(match file {
            File::Name | File::Folder => "",
            File::Segment(_) => SEGMENTS,
            File::Base(_) | File::BaseDraft(..) | File::Sums(_) | File::SumsDraft(..) => BASES,
            _ => FOLDER,
        })
    }

    /// A listing misses a file now and then. The next one does not.
    fn miss_one(&self, names: &mut Vec<String>) {
        let world = &self.world;
        let process = world.my_process();
        let may_miss = world.phase() == Phase::Trouble && !names.is_empty();
        let is_next = world.with_process(process, |process| std::mem::take(&mut process.has_missed));
        if may_miss && !is_next && world.by_chance(world.plan().listing_misses) {
            names.swap_remove(world.pick(0..=names.len() as u64 - 1) as usize);
            world.with_process(process, |process| process.has_missed = true);
            world.met(Event::ListingMissed);
        }
    }

    fn remove_folder(&self, folder: &'static str) -> io::Result<()> {
        self.rename("rmdir", Kind::Write, folder.to_owned(), |disk, path| {
            if disk.list(path).next().is_some() {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            disk.unlink(path);
            Ok(())
        })
    }

    fn read_at(&self, span: Span) -> io::Result<Vec<u8>> {
        let path = path_of(span.file);
        if self.is_remote() && self.world.names(self.machine()).followed(&path, self.world.now()) == Some(None) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let machine = self.is_remote().then(|| self.machine());
        call(&self.world, "read", Kind::Look, move |world| {
            let disk = world.disk();
            if let Some(machine) = machine {
                world.names(machine).walk(&path, &disk, world.now());
            }
            let bytes = disk.content(&path).ok_or(io::ErrorKind::NotFound)?;
            let begin = (span.at as usize).min(bytes.len());
            Ok(bytes[begin..(begin + span.length).min(bytes.len())].to_vec())
        })
    }
}

impl Storage for SimStorage {
    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn describe(&self) -> String {
        format!("simulated, {:?}", self.world.plan().setting)
    }

    fn create_folders(&self) -> io::Result<()> {
        for folder in FOLDERS {
            let made = self
                .rename("mkdir", Kind::Write, folder.to_owned(), |disk, path| disk.create(path, Vec::new()).map(drop));
            match made {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        self.sync_folder(FOLDER)?;
        self.sync_folder("")
    }

    fn begun(&self) -> io::Result<Begun> {
        call(&self.world, "what was begun", Kind::Look, |world| {
            let disk = world.disk();
            let has_commits = disk.find(&path_of(File::High)).is_some() || disk.list(SEGMENTS).next().is_some();
            let has_all = FOLDERS.iter().all(|folder| disk.find(folder).is_some());
            Ok(if has_commits {
                Begun::Commits
            } else if has_all {
                Begun::Adoption
            } else {
                Begun::Less
            })
        })
    }

    fn discard_folder(&self) {
        // A folder stays if it is not empty, or if the call fails.
        let _ = self.remove_folder(FOLDER);
    }

    fn discard_folders(&self) {
        let _ = FOLDERS.iter().rev().try_for_each(|folder| self.remove_folder(folder));
    }

    fn clear(&self) -> io::Result<()> {
        // No simulated process removes a database.
        Err(io::ErrorKind::Unsupported.into())
    }

    fn may_write(&self) -> io::Result<()> {
        Ok(())
    }

    fn inode(&self, file: File) -> io::Result<Option<u64>> {
        self.counters.count(Operation::Metadata);
        Ok(self.find_now(&path_of(file))?.map(Disk::number))
    }

    fn stamp(&self, file: File) -> io::Result<Option<Stamp>> {
        self.counters.count(Operation::Metadata);
        let found = self.find_now(&path_of(file))?;
        let disk = self.world.disk();
        Ok(found.map(|inode| {
            let there = disk.inode(inode);
            Stamp {
                inode: Disk::number(inode),
                size: there.bytes.len() as u64,
                changed: there.changed.as_nanos() as i128,
            }
        }))
    }

    fn read(&self, span: Span) -> io::Result<Vec<u8>> {
        self.counters.count(Operation::Read);
        let read = self.read_at(span);
        if matches!(span.file, File::Pin(_))
            && read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        {
            self.world.with_process(self.world.my_process(), |process| process.unpinned += 1);
        }
        read
    }

    fn read_many(&self, spans: &[Span]) -> Vec<io::Result<Vec<u8>>> {
        self.counters.count(Operation::Read);
        spans.iter().map(|span| self.read_at(*span)).collect()
    }

    fn create(&self, file: File) -> io::Result<Box<dyn Append>> {
        self.counters.count(Operation::Metadata);
        let made = self.make(path_of(file)).and_then(|inode| self.sync_folder_of(file).map(|()| inode));
        if made.is_err() && matches!(file, File::Segment(_)) {
            append_failed(&self.world);
        }
        let inode = made?;
        if let File::Segment(name) = file {
            self.world.with_process(self.world.my_process(), |process| process.segment = Some(inode));
            if name.n > 0 {
                self.world.met(Event::Rotated);
            }
        }
        Ok(Box::new(SimAppend::new(&self.world, self.counters.clone(), file, inode)))
    }

    fn create_long(&self, file: File) -> io::Result<Box<dyn Bulk>> {
        self.counters.count(Operation::Metadata);
        let inode = self.make(path_of(file))?;
        self.world.with_process(self.world.my_process(), |process| process.drafted += 1);
        Ok(Box::new(SimBulk::new(&self.world, self.counters.clone(), folder_of(&path_of(file)), inode)))
    }

    fn replace(&self, file: File, bytes: &[u8]) -> io::Result<()> {
        self.counters.count(Operation::Append);
        let mut random = [0; 16];
        self.random(&mut random)?;
        let draft = path_of(File::Draft(CommitId(random)));
        let inode = self.make(draft.clone())?;
        write_durably(&self.world, "write", inode, 0, bytes.to_vec(), |_, _| (), |_| ())?;
        let (world, text) = (self.world.clone(), bytes.to_vec());
        self.rename("rename", Kind::Write, path_of(file), move |disk, path| {
            if let File::Pin(name) = file
                && disk.find(&draft).is_some()
            {
                world.oracle().pin_written(name, &text, disk, world.now());
            }
            disk.replace(&draft, path)
        })?;
        self.sync_folder_of(file)
    }

    fn put_name(&self, draft: Token) -> io::Result<()> {
        self.counters.count(Operation::Metadata);
        let draft = path_of(File::NameDraft(draft));
        let world = self.world.clone();
        self.rename("rename", Kind::Write, path_of(File::Name), move |disk, path| {
            disk.replace(&draft, path)?;
            world.met(Event::NameRenewed);
            Ok(())
        })?;
        self.sync_folder("")
    }

    fn put_id(&self, draft: CommitId) -> io::Result<()> {
        self.counters.count(Operation::Metadata);
        let draft = path_of(File::Draft(draft));
        self.rename("rename", Kind::Write, path_of(File::Id), move |disk, path| disk.replace(&draft, path))?;
        self.sync_folder("")
    }

    fn list(&self, listed: Listed) -> io::Result<(Vec<File>, Vec<String>)> {
        self.counters.count(Operation::Metadata);
        let folder = listed.name().map_or_else(|| FOLDER.to_owned(), |name| format!("{FOLDER}/{name}"));
        let list = || {
            let folder = folder.clone();
            call(&self.world, "list", Kind::Look, move |world| {
                Ok(world.disk().list(&folder).map(str::to_owned).collect::<Vec<String>>())
            })
        };
        // A listing is not of one moment. Some names are as of its beginning, and some as of its end.
        let is_of_beginning = |name: &String| name.bytes().map(u32::from).sum::<u32>().is_multiple_of(2);
        let begin = list()?.into_iter().filter(is_of_beginning);
        let mut names: Vec<String> = begin.chain(list()?.into_iter().filter(|name| !is_of_beginning(name))).collect();
        self.miss_one(&mut names);
        let (files, others): (Vec<_>, Vec<_>) =
            names.into_iter().map(|name| (listed.file(&name), name)).partition(|(file, _)| file.is_some());
        Ok((
            files.into_iter().filter_map(|(file, _)| file).collect(),
            others.into_iter().map(|(_, name)| name).collect(),
        ))
    }

    fn write(&self, file: File, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.counters.count(Operation::Append);
        let path = path_of(file);
        let inode = match self.find(&path)? {
            Some(inode) => inode,
            None => {
                let made = self
                    .rename("create", Kind::Write, path.clone(), |disk, path| disk.create(path, Vec::new()).map(drop));
                made.or_else(|error| if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })?;
                self.world.disk().find(&path).ok_or(io::ErrorKind::NotFound)?
            }
        };
        write_durably(&self.world, "write", inode, at as usize, bytes.to_vec(), |_, _| (), |_| ())
    }

    fn sync_names(&self) -> io::Result<()> {
        self.sync_folder(FOLDER)
    }

    fn link(&self, from: File, to: File) -> io::Result<()> {
        self.counters.count(Operation::Metadata);
        let from = path_of(from);
        let world = self.world.clone();
        self.rename("link", Kind::Write, path_of(to), move |disk, path| {
            disk.link(&from, path)?;
            if to == File::Id && world.is_on_table() {
                // After this effect, because the disk is locked now.
                world.after(Duration::ZERO, adopted);
            }
            Ok(())
        })?;
        self.sync_folder_of(to)?;
        if matches!(to, File::Base(_)) && self.sleeps(self.world.plan().lister_sleeps) {
            self.world.met(Event::CheckpointFrozen);
        }
        Ok(())
    }

    fn remove(&self, file: File) -> io::Result<()> {
        self.counters.count(Operation::Metadata);
        let world = self.world.clone();
        self.rename("remove", Kind::Write, path_of(file), move |disk, path| {
            removed(&world, disk, file);
            disk.unlink(path);
            Ok(())
        })
    }

    fn now(&self) -> Moment {
        let now = self.world.now();
        self.world.with_process(self.world.my_process(), |process| process.now(now))
    }

    fn sleep(&self, time: Duration) {
        let process = self.world.my_process();
        let (is_dead, time) = self.world.with_process(process, |process| (process.is_dead, process.true_time(time)));
        if !is_dead {
            self.world.sleep(time);
        }
    }

    fn random(&self, into: &mut [u8]) -> io::Result<()> {
        let process = self.world.my_process();
        let shared = self
            .world
            .with_process(process, |process| process.shared_chance.as_mut().map(|chance| chance.fill(into)).is_some());
        if !shared {
            self.world.random_bytes(into);
        }
        Ok(())
    }

    fn process(&self) -> u32 {
        #[cfg(feature = "mutations")]
        if crate::mistakes::forks_go_unseen() {
            return 0;
        }
        self.world.my_process().0 as u32
    }

    fn label(&self) -> String {
        format!("process {} on machine {}", self.world.my_process(), self.machine())
    }

    fn scratch(&self) -> io::Result<Box<dyn Scratch>> {
        self.world.met(Event::Spilled);
        Ok(Box::new(SimScratch::new(&self.world)))
    }

    fn order(self: Arc<Self>) -> Arc<dyn FsOrder> {
        self
    }
}

impl FsOrder for SimStorage {
    fn look(&self, known: Version) -> io::Result<Look> {
        self.counters.count(Operation::Coordinator);
        let changed = self.look_again()?;
        let next = self.record(known.next())?;
        let mut after_next = None;
        if next.is_some() {
            self.counters.count(Operation::Metadata);
            after_next = self.record(known.next().next())?;
        }
        let known = self.stamp_of(known)?;
        Ok(Look { next, after_next, known, changed })
    }

    fn records(&self, versions: &[Version]) -> io::Result<Vec<Option<Record>>> {
        self.counters.count(Operation::Metadata);
        self.records_of(versions)
    }

    fn versions(&self) -> io::Result<Vec<Version>> {
        self.counters.count(Operation::Metadata);
        let machine = self.is_remote().then(|| self.machine());
        let list = || {
            call(&self.world, "list", Kind::List, move |world| {
                let disk = world.disk();
                // A listing asks for the folder's change number.
                if let Some(machine) = machine {
                    world.names(machine).asked(COMMITS, disk.change_of(COMMITS), world.now());
                }
                Ok(versions_on(&disk))
            })
        };
        // A listing is not of one moment. Some names are as of its beginning, and some as of its end.
        let is_of_beginning = |version: &Version| version.0.is_multiple_of(2);
        let begin = list()?.into_iter().filter(is_of_beginning);
        let listed: Vec<Version> =
            begin.chain(list()?.into_iter().filter(|version| !is_of_beginning(version))).collect();
        self.sleeps_over(listed.iter().max().copied());
        Ok(listed)
    }

    fn publish(&self, version: Version, record: &str) -> io::Result<()> {
        self.counters.count(Operation::Coordinator);
        let (world, process, text) = (self.world.clone(), self.world.my_process(), record.to_owned());
        let head: Head = record.parse().expect("the engine writes what it can read");
        world.with_process(process, |process| process.swapping += 1);
        let published = self.rename("publish", Kind::Name(version), record_path(version), {
            let world = world.clone();
            move |disk, path| {
                sleeps(&world, version, &text);
                disk.create(path, text.into_bytes())?;
                published(&world, disk, head, process);
                world.with_process(process, |process| process.is_lease_known = true);
                Ok(())
            }
        });
        world.with_process(process, |process| process.swapping -= 1);
        let published = published.and_then(|()| {
            if !self.is_remote() || !world.by_chance(world.file_faults()) {
                return Ok(());
            }
            // The server forgot this client after it had carried the request out. The repeated request finds its own
            // success.
            world.met(Event::OwnSuccessExists);
            Err(io::ErrorKind::AlreadyExists.into())
        });
        #[cfg(feature = "mutations")]
        let published = crate::mistakes::published(version, published);
        published
    }

    fn sync_published(&self) -> io::Result<()> {
        self.sync_folder(COMMITS)
    }

    fn unname(&self, versions: &[Version]) -> io::Result<()> {
        versions.iter().try_for_each(|version| {
            self.counters.count(Operation::Metadata);
            let world = self.world.clone();
            self.rename("unname", Kind::Write, record_path(*version), move |disk, path| {
                if disk.find(path).is_some() {
                    world.met(Event::Collected);
                }
                disk.unlink(path);
                Ok(())
            })?;
            if self.sleeps(self.world.plan().lister_sleeps / 5.0) {
                self.world.met(Event::CollectionFrozen);
            }
            Ok::<(), io::Error>(())
        })?;
        self.sync_folder(COMMITS)
    }

    fn stamps(&self, versions: &[Version], again: bool) -> io::Result<Vec<Option<Stamp>>> {
        self.counters.count(Operation::Metadata);
        if again {
            self.look_again()?;
        }
        versions.iter().map(|version| self.stamp_of(*version)).collect()
    }

    fn quiesce(&self, _home: u64) -> io::Result<()> {
        if !self.is_remote() {
            return Ok(());
        }
        self.counters.count(Operation::Metadata);
        let machine = self.machine();
        call(&self.world, "quiesce", Kind::Quiesce, move |world| {
            let (mut disk, now) = (world.disk(), world.now());
            disk.quiesce(COMMITS);
            world.names(machine).asked(COMMITS, disk.change_of(COMMITS), now);
            world.met(Event::Quiesced);
            Ok(())
        })
    }

    // No simulated process recovers a database yet.
    fn retired(&self) -> io::Result<Vec<String>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn retire(&self, _token: Token) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn reinstate(&self, _token: Token, _records: &[(Version, String)]) -> io::Result<bool> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn try_lock(&self, lock: Lock) -> io::Result<bool> {
        self.counters.count(Operation::Coordinator);
        let process = self.world.my_process();
        let taken = call(&self.world, "lock", Kind::Change, move |world| Ok(world.locks().take(world, lock, process)));
        if matches!((lock, &taken), (Lock::Lease(_), Ok(true))) {
            self.world.with_process(process, |process| process.is_lease_known = false);
        }
        taken
    }

    fn unlock(&self, lock: Lock) -> io::Result<()> {
        self.counters.count(Operation::Coordinator);
        let process = self.world.my_process();
        call(&self.world, "unlock", Kind::Change, move |world| {
            world.locks().give_back(lock, process);
            Ok(())
        })
    }
}

/// A link's stamp. It never changes, and no two links have the same one.
fn stamp_of(disk: &Disk, inode: usize) -> Stamp {
    Stamp { inode: Disk::number(inode), size: 0, changed: disk.inode(inode).made.as_nanos() as i128 }
}

/// Remembers a publication that was sent. It may arrive again, long after.
fn sleeps(world: &World, version: Version, record: &str) {
    let mut sleepers = world.sleepers();
    if sleepers.len() == SLEEPERS {
        sleepers.pop_front();
    }
    sleepers.push_back((version, record.to_owned()));
}

/// A head was put in place by naming its version. A garbage-collected number that is named again is not a head.
fn published(world: &World, disk: &Disk, head: Head, process: ProcessId) {
    let mut oracle = world.oracle();
    if oracle.newest().is_some_and(|newest| head.version <= newest) {
        world.met(Event::SleeperRecreated);
        return;
    }
    let (version, now) = (head.version, world.now());
    let observed = oracle.observe(head, disk, now, world.history());
    drop(oracle);
    world.observed(observed, version, process);
}

/// A file is about to be removed.
fn removed(world: &World, disk: &Disk, file: File) {
    let lost = disk.find(&path_of(file)).filter(|_| matches!(file, File::Segment(_)));
    if lost.is_some_and(|inode| world.has_segment(inode)) {
        world.met(Event::SegmentLost);
    }
    let checked = world.oracle().removes(file, disk, world.now(), world.history());
    match checked {
        Ok(events) => events.into_iter().for_each(|event| world.met(event)),
        Err(what) => world.violation(|| what),
    }
    if matches!(file, File::Segment(_)) {
        // After this effect, because the disk is locked now.
        world.after(Duration::ZERO, World::check_recovery);
    }
}

/// The versions that have names.
pub(crate) fn versions_on(disk: &Disk) -> Vec<Version> {
    disk.list(COMMITS).filter_map(|name| name.parse().ok().map(Version)).collect()
}
