//! The engine's storage, on the simulated disk. It makes the same calls as `OsStorage` on a local disk and on NFS.

mod lookups;
mod order;
mod retired;

use crate::calls::{Kind, call};
use crate::disk::Disk;
use crate::event::Event;
use crate::files::{SimAppend, SimBulk, append_failed, write_durably};
use crate::paths::{BASES, FOLDER, FOLDERS, SEGMENTS, folder_of, path_of};
use crate::place::replaced;
use crate::recovery::id_is_back;
use crate::service::adopted;
use crate::transaction::collects_since;
use crate::world::{Phase, World};
use order::Open;
pub(crate) use order::{Sleeper, versions_on};
use seawall::Moment;
use seawall::format::ids::{CommitId, Token};
use seawall::ports::counters::{Counters, Operation};
use seawall::ports::storage::{Append, Begun, Bulk, File, FsOrder, Listed, Span, Stamp, Storage};
use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// A process that moves the database is frozen between a new name and the sync of its folder, with this probability.
const SLEEPS_BEFORE_SYNC: f64 = 0.3;

thread_local! {
    /// This thread's last listing missed a name.
    static HAS_MISSED: Cell<bool> = const { Cell::new(false) };
}

/// A process's access to the database's files.
pub(crate) struct SimStorage {
    world: World,
    counters: Arc<Counters>,
    open: Mutex<Open>,
}

impl SimStorage {
    pub(crate) fn new(world: &World) -> SimStorage {
        SimStorage { world: world.clone(), counters: Arc::default(), open: Mutex::default() }
    }

    fn opened(&self) -> MutexGuard<'_, Open> {
        self.open.lock().expect("no panic while locked")
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

    fn sync_folder(&self, folder: String) -> io::Result<()> {
        if self.is_remote() {
            return Ok(());
        }
        // Others see the new name meanwhile, and build on it.
        let is_moving = self.world.with_process(self.world.my_process(), |process| process.is_moving);
        if is_moving && self.sleeps(SLEEPS_BEFORE_SYNC) {
            self.world.met(Event::MoveFrozen);
        }
        call(&self.world, "sync of a folder", Kind::Change, move |world| {
            world.disk().sync_folder(&folder);
            Ok(())
        })
    }

    fn sync_folder_of(&self, file: File) -> io::Result<()> {
        let folder = match file {
            File::Name | File::Folder => "",
            File::Segment(_) => SEGMENTS,
            File::Base(_) | File::BaseDraft(..) | File::Sums(_) | File::SumsDraft(..) => BASES,
            _ => FOLDER,
        };
        self.sync_folder(folder.to_owned())
    }

    /// A listing is not of one moment: some names are as of its beginning, and some as of its end. It can miss one.
    fn listing<T>(
        &self,
        list: impl Fn() -> io::Result<Vec<T>>,
        is_of_beginning: impl Fn(&T) -> bool,
    ) -> io::Result<Vec<T>> {
        let begin = list()?.into_iter().filter(|name| is_of_beginning(name));
        let mut names: Vec<T> = begin.chain(list()?.into_iter().filter(|name| !is_of_beginning(name))).collect();
        self.miss_one(&mut names);
        Ok(names)
    }

    /// A listing misses a name now and then. The same thread's next one does not.
    fn miss_one<T>(&self, names: &mut Vec<T>) {
        let world = &self.world;
        let may_miss = world.phase() == Phase::Trouble && !names.is_empty();
        let is_next = HAS_MISSED.take();
        if may_miss && !is_next && world.by_chance(world.plan().listing_misses) {
            names.swap_remove(world.pick(0..=names.len() as u64 - 1) as usize);
            HAS_MISSED.set(true);
            world.met(Event::ListingMissed);
        }
    }

    fn remove_folder(&self, folder: &'static str) -> io::Result<()> {
        self.rename("rmdir", Kind::Write, folder.to_owned(), |disk, path| match disk.remove_folder(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        })
    }
}

impl Storage for SimStorage {
    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn is_shared(&self) -> bool {
        self.world.is_remote()
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
        self.sync_folder(FOLDER.to_owned())?;
        self.sync_folder(String::new())
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
            self.world.with_process(self.world.my_process(), |process| process.segments.push(inode));
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
        self.sync_folder_of(File::Name)
    }

    fn sync_name(&self) -> io::Result<()> {
        self.counters.count(Operation::Metadata);
        self.sync_folder_of(File::Name)
    }

    fn put_id(&self, draft: CommitId) -> io::Result<()> {
        self.counters.count(Operation::Metadata);
        let draft = path_of(File::Draft(draft));
        let world = self.world.clone();
        self.rename("put id", Kind::Write, path_of(File::Id), move |disk, path| {
            disk.replace(&draft, path)?;
            replaced(&world, disk);
            Ok(())
        })?;
        self.world.power_may_fail(0.3);
        self.sync_folder_of(File::Id)
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
        let names = self.listing(list, |name| name.bytes().map(u32::from).sum::<u32>().is_multiple_of(2))?;
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

    fn sync(&self, file: File) -> io::Result<()> {
        self.counters.count(Operation::Append);
        let path = path_of(file);
        call(&self.world, "sync of a file", Kind::Change, move |world| {
            let mut disk = world.disk();
            let inode = disk.find(&path).ok_or(io::ErrorKind::NotFound)?;
            disk.sync(inode);
            Ok(())
        })
    }

    fn sync_names(&self) -> io::Result<()> {
        self.sync_folder(FOLDER.to_owned())
    }

    fn link(&self, from: File, to: File) -> io::Result<()> {
        self.counters.count(Operation::Metadata);
        let from = path_of(from);
        let world = self.world.clone();
        self.rename("link", Kind::Write, path_of(to), move |disk, path| {
            disk.link(&from, path)?;
            if to == File::Id {
                world.after(Duration::ZERO, id_is_back);
            }
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
        let collects = world.with_process(world.my_process(), |process| process.collecting > 0);
        let since = collects_since();
        self.rename("remove", Kind::Write, path_of(file), move |disk, path| {
            removed(&world, disk, file, (collects, since));
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

    fn order(self: Arc<Self>) -> Arc<dyn FsOrder> {
        self
    }
}

/// A file is about to be removed: whether its process collects garbage, and since when its thread does.
fn removed(world: &World, disk: &Disk, file: File, (collects, since): (bool, Option<Duration>)) {
    let lost = disk.find(&path_of(file)).filter(|_| matches!(file, File::Segment(_)));
    if lost.is_some_and(|inode| world.has_segment(inode)) {
        world.met(Event::SegmentLost);
    }
    let checked = world.oracle().removes((file, since), disk, world.now(), world.history());
    match checked {
        Ok(_) if !collects && matches!(file, File::Segment(_)) => world.met(Event::StreamRemoved),
        Ok(events) => events.into_iter().for_each(|event| world.met(event)),
        Err(what) => world.violation(|| what),
    }
    if matches!(file, File::Segment(_)) {
        // After this effect, because the disk is locked now.
        world.after(Duration::ZERO, World::check_recovery);
    }
}
