//! A storage on which the test makes chosen calls fail, before or after they took effect. Its clock can move without
//! waiting.

use seawall::Moment;
use seawall::Version;
use seawall::format::ids;
use seawall::ports::counters::{Counters, Operation};
use seawall::ports::storage::os::OsStorage;
use seawall::ports::storage::{
    Append, Begun, Bulk, File, FsOrder, Listed, Look, News, QUIESCED, Record, Span, Stamp, Storage,
};
use std::collections::HashMap;
use std::io;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A call that can be made to fail.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Call {
    Look,
    Records,
    Publish,
    SyncPublished,
    SyncNames,
    Link,
    Named,
    Quiesce,
    Lock,
    Read,
    Create,
    Append,
    Truncate,
    CreateLong,
    WriteLong,
    FinishLong,
    Replace,
    PutName,
    PutId,
    List,
    Remove,
    Unname,
    Retire,
    Reinstate,
}

/// How a call fails: with this error number, after it took effect or before (`Torn`: after it appended only the first
/// half).
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    Before(i32),
    After(i32),
    Torn(i32),
    /// It does not fail, but takes this many milliseconds of the storage's clock.
    Slow(u64),
    /// It does not fail, but waits until [`Faulty::heal`].
    Hangs,
    /// It panics, as a bug would make it.
    Panics,
}

pub const EIO: i32 = 5;
pub const EACCES: i32 = 13;
pub const EEXIST: i32 = 17;
pub const ENOSPC: i32 = 28;
pub const ESTALE: i32 = 116;

#[derive(Default)]
struct Plan {
    /// For each call: the fault, and how often it still happens.
    faults: HashMap<Call, (Fault, u32)>,
    /// How many calls pass before one fails.
    later: HashMap<Call, (u32, Fault, u32)>,
}

/// A clock that waiting moves on at once. Machines can share one.
pub struct Clock {
    passed: Mutex<Duration>,
    /// Whether real time moves it as well. Otherwise each look at it takes a microsecond, and every run is the same.
    runs: bool,
    /// Whether waiting takes its real time, too.
    waits: bool,
}

impl Clock {
    pub fn running() -> Clock {
        Clock { passed: Mutex::default(), runs: true, waits: false }
    }

    pub fn real() -> Clock {
        Clock { waits: true, ..Clock::running() }
    }

    pub fn pass(&self, time: Duration) {
        *self.passed.lock().unwrap() += time;
    }

    pub fn standing() -> Clock {
        Clock { passed: Mutex::default(), runs: false, waits: false }
    }

    fn now(&self, real: Moment) -> Moment {
        let mut passed = self.passed.lock().unwrap();
        if self.runs {
            return Moment { monotonic: real.monotonic + *passed, wall: real.wall + *passed };
        }
        *passed += Duration::from_micros(1);
        Moment { monotonic: *passed, wall: *passed }
    }
}

/// The times that a file server shows of `commits/`. Machines behind one server share them.
pub struct Server {
    /// Nanoseconds of its clock between a version's name and the next one's.
    apart: i128,
    /// When the folder last changed.
    changed: Mutex<i128>,
}

impl Server {
    pub fn new(apart: Duration) -> Arc<Server> {
        Arc::new(Server { apart: apart.as_nanos() as i128, changed: Mutex::new(QUIESCED) })
    }

    fn time_of(&self, version: Version) -> i128 {
        1_000 * QUIESCED + i128::from(version.0) * self.apart
    }

    /// The folder changes long after its newest name was made, as if a name was being made or removed there.
    pub fn change(&self) {
        *self.changed.lock().unwrap() = 1_000_000 * QUIESCED;
    }

    fn stamp(&self, version: Version, stamp: Option<Stamp>) -> Option<Stamp> {
        stamp.map(|stamp| Stamp { changed: self.time_of(version), ..stamp })
    }

    fn record(&self, version: Version, record: Record) -> Record {
        Record { stamp: Stamp { changed: self.time_of(version), ..record.stamp }, ..record }
    }
}

pub struct Faulty {
    inner: OsStorage,
    plan: Arc<Mutex<Plan>>,
    clock: Arc<Clock>,
    server: Option<Arc<Server>>,
    longest_record: AtomicUsize,
}

impl Faulty {
    pub fn new(name: &Path) -> Faulty {
        Faulty::with_clock(name, Arc::new(Clock::running()))
    }

    pub fn with_clock(name: &Path, clock: Arc<Clock>) -> Faulty {
        let inner = OsStorage::new(name).unwrap();
        Faulty { inner, plan: Arc::default(), clock, server: None, longest_record: AtomicUsize::new(usize::MAX) }
    }

    /// As if the files were on a network file system.
    pub fn behind(server: &Arc<Server>, name: &Path) -> Faulty {
        Faulty { server: Some(server.clone()), ..Faulty::new(name) }
    }

    /// Makes the next `times` calls of this kind fail in this way.
    pub fn fail(&self, call: Call, fault: Fault, times: u32) {
        self.plan.lock().unwrap().faults.insert(call, (fault, times));
    }

    /// How many more calls of this kind will fail.
    pub fn left(&self, call: Call) -> u32 {
        self.plan.lock().unwrap().faults.get(&call).map_or(0, |(_, times)| *times)
    }

    /// Lets `passed` calls of this kind pass, and makes the next one fail in this way.
    pub fn fail_later(&self, call: Call, fault: Fault, passed: u32) {
        self.plan.lock().unwrap().later.insert(call, (passed, fault, 1));
    }

    /// Lets `passed` calls of this kind pass, and makes all others fail in this way.
    pub fn fail_from(&self, call: Call, fault: Fault, passed: u32) {
        self.plan.lock().unwrap().later.insert(call, (passed, fault, u32::MAX));
    }

    /// Whether a call that was to hang later waits now, until [`Faulty::heal`].
    pub fn hangs(&self) -> bool {
        self.plan.lock().unwrap().faults.values().any(|(fault, _)| matches!(fault, Fault::Hangs))
    }

    /// From now on names have records of at most so many bytes.
    pub fn limit_records(&self, longest: usize) {
        self.longest_record.store(longest, Ordering::Relaxed);
    }

    pub fn heal(&self) {
        let mut plan = self.plan.lock().unwrap();
        plan.faults.clear();
        plan.later.clear();
    }

    fn call<T>(&self, call: Call, effect: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let fault = fault(&self.plan, call);
        if let Some(Fault::Slow(millis)) = fault {
            self.sleep(Duration::from_millis(millis));
        }
        act(fault, call, effect)
    }
}

fn act<T>(fault: Option<Fault>, call: Call, effect: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    match fault {
        None | Some(Fault::Hangs | Fault::Slow(_)) => effect(),
        Some(Fault::Before(error) | Fault::Torn(error)) => Err(io::Error::from_raw_os_error(error)),
        Some(Fault::After(error)) => effect().and(Err(io::Error::from_raw_os_error(error))),
        Some(Fault::Panics) => panic!("{call:?} panics"),
    }
}

/// Takes the fault that strikes the next call of this kind.
fn fault(plan: &Mutex<Plan>, call: Call) -> Option<Fault> {
    let hangs = || matches!(plan.lock().unwrap().faults.get(&call), Some((Fault::Hangs, _)));
    let wait = || {
        while hangs() {
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    wait();
    let mut locked = plan.lock().unwrap();
    match locked.later.get_mut(&call) {
        Some((0, fault, times)) => {
            let (fault, hangs) = (*fault, matches!(fault, Fault::Hangs));
            if hangs || *times > 1 {
                locked.faults.insert(call, (fault, u32::MAX));
            }
            locked.later.remove(&call);
            if hangs {
                drop(locked);
                wait();
            }
            return Some(fault);
        }
        Some((passed, ..)) => *passed -= 1,
        None => {}
    }
    let mut plan = locked;
    let (fault, times) = plan.faults.get_mut(&call)?;
    let fault = *fault;
    *times -= 1;
    if *times == 0 {
        plan.faults.remove(&call);
    }
    Some(fault)
}

struct FaultyAppend {
    inner: Box<dyn Append>,
    plan: Arc<Mutex<Plan>>,
}

impl Append for FaultyAppend {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        match fault(&self.plan, Call::Append) {
            None | Some(Fault::Hangs | Fault::Slow(_)) => self.inner.append(bytes),
            Some(Fault::Panics) => panic!("an append panics"),
            Some(Fault::Before(error)) => Err(io::Error::from_raw_os_error(error)),
            Some(Fault::After(error)) => {
                self.inner.append(bytes)?;
                Err(io::Error::from_raw_os_error(error))
            }
            Some(Fault::Torn(error)) => {
                self.inner.append(&bytes[..bytes.len() / 2])?;
                Err(io::Error::from_raw_os_error(error))
            }
        }
    }
    fn truncate(&mut self, length: u64) -> io::Result<()> {
        match fault(&self.plan, Call::Truncate) {
            Some(Fault::Before(error)) => Err(io::Error::from_raw_os_error(error)),
            _ => self.inner.truncate(length),
        }
    }
}

struct FaultyBulk {
    inner: Box<dyn Bulk>,
    plan: Arc<Mutex<Plan>>,
}

impl Bulk for FaultyBulk {
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        act(fault(&self.plan, Call::WriteLong), Call::WriteLong, || self.inner.write(at, bytes))
    }
    fn finish(self: Box<Self>) -> io::Result<()> {
        act(fault(&self.plan, Call::FinishLong), Call::FinishLong, || self.inner.finish())
    }
}

impl Storage for Faulty {
    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }
    fn create_long(&self, file: File) -> io::Result<Box<dyn Bulk>> {
        let inner = self.call(Call::CreateLong, || self.inner.create_long(file))?;
        Ok(Box::new(FaultyBulk { inner, plan: self.plan.clone() }))
    }
    fn replace(&self, file: File, bytes: &[u8]) -> io::Result<()> {
        self.call(Call::Replace, || self.inner.replace(file, bytes))
    }
    fn put_name(&self, draft: ids::Token) -> io::Result<()> {
        self.call(Call::PutName, || self.inner.put_name(draft))
    }
    fn sync_name(&self) -> io::Result<()> {
        self.inner.sync_name()
    }
    fn put_id(&self, draft: ids::CommitId) -> io::Result<()> {
        self.call(Call::PutId, || self.inner.put_id(draft))
    }
    fn list(&self, listed: Listed) -> io::Result<(Vec<File>, Vec<String>)> {
        self.call(Call::List, || self.inner.list(listed))
    }
    fn read(&self, span: Span) -> io::Result<Vec<u8>> {
        self.call(Call::Read, || self.inner.read(span))
    }
    fn create(&self, file: File) -> io::Result<Box<dyn Append>> {
        let inner = self.call(Call::Create, || self.inner.create(file))?;
        Ok(Box::new(FaultyAppend { inner, plan: self.plan.clone() }))
    }
    fn now(&self) -> Moment {
        self.clock.now(self.inner.now())
    }
    fn sleep(&self, time: Duration) {
        if self.clock.waits {
            return std::thread::sleep(time);
        }
        self.clock.pass(time);
    }
    fn counters(&self) -> &Counters {
        self.inner.counters()
    }
    fn describe(&self) -> String {
        self.inner.describe()
    }
    fn create_folders(&self) -> io::Result<()> {
        self.inner.create_folders()
    }
    fn prepare(&self, orders_commits: bool) -> seawall::Result<bool> {
        self.inner.prepare(orders_commits)
    }
    fn try_order(&self) -> seawall::Result<()> {
        self.inner.try_order()
    }
    fn begun(&self) -> io::Result<Begun> {
        self.inner.begun()
    }
    fn discard_folder(&self) {
        self.inner.discard_folder();
    }
    fn discard_folders(&self) {
        self.inner.discard_folders();
    }
    fn clear(&self) -> io::Result<()> {
        self.inner.clear()
    }
    fn home(&self, file: File) -> io::Result<Option<u64>> {
        self.inner.home(file)
    }
    fn inode(&self, file: File) -> io::Result<Option<u64>> {
        self.inner.inode(file)
    }
    fn stamp(&self, file: File) -> io::Result<Option<Stamp>> {
        self.inner.stamp(file)
    }
    fn read_many(&self, spans: &[Span]) -> Vec<io::Result<Vec<u8>>> {
        spans.iter().map(|span| self.read(*span)).collect()
    }
    fn write(&self, file: File, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.inner.write(file, at, bytes)
    }
    fn may_write(&self) -> io::Result<()> {
        self.inner.may_write()
    }
    fn sync(&self, file: File) -> io::Result<()> {
        self.inner.sync(file)
    }
    fn sync_names(&self) -> io::Result<()> {
        self.call(Call::SyncNames, || self.inner.sync_names())
    }
    fn link(&self, from: File, to: File) -> io::Result<()> {
        self.call(Call::Link, || self.inner.link(from, to))
    }
    fn remove(&self, file: File) -> io::Result<()> {
        self.call(Call::Remove, || self.inner.remove(file))
    }
    fn random(&self, into: &mut [u8]) -> io::Result<()> {
        self.inner.random(into)
    }
    fn process(&self) -> u32 {
        self.inner.process()
    }
    fn label(&self) -> String {
        self.inner.label()
    }
    fn order(self: Arc<Self>) -> Arc<dyn FsOrder> {
        self
    }
}

impl FsOrder for Faulty {
    fn look(&self, known: Version) -> io::Result<Look> {
        let look = self.call(Call::Look, || self.inner.look(known))?;
        let Some(server) = &self.server else { return Ok(look) };
        let news = match look.news {
            News::Next(record) => News::Next(server.record(known.next(), record)),
            News::Several(stamp) => {
                let second = known.next().next();
                News::Several(server.stamp(second, Some(stamp)).expect("it has a stamp"))
            }
            News::Nothing => News::Nothing,
        };
        let changed = Some(*server.changed.lock().unwrap());
        Ok(Look { news, known: server.stamp(known, look.known), changed })
    }
    fn look_at_folder(&self) -> io::Result<Option<i128>> {
        let changed = self.call(Call::Look, || self.inner.look_at_folder())?;
        Ok(self.server.as_ref().map_or(changed, |server| Some(*server.changed.lock().unwrap())))
    }
    fn look_up(&self, versions: &[Version]) -> io::Result<Vec<Option<Stamp>>> {
        let stamps = self.call(Call::Records, || self.inner.look_up(versions))?;
        let Some(server) = &self.server else { return Ok(stamps) };
        Ok(versions.iter().zip(stamps).map(|(version, stamp)| server.stamp(*version, stamp)).collect())
    }
    fn record(&self, version: Version) -> io::Result<Option<Record>> {
        let record = self.call(Call::Records, || self.inner.record(version))?;
        let Some(server) = &self.server else { return Ok(record) };
        Ok(record.map(|record| server.record(version, record)))
    }
    fn record_after(&self, newest: Version, known: Version) -> io::Result<(Option<Record>, [Option<Stamp>; 2])> {
        let (record, [before, known_is]) = self.call(Call::Records, || self.inner.record_after(newest, known))?;
        let Some(server) = &self.server else { return Ok((record, [before, known_is])) };
        let before = newest.previous().and_then(|version| server.stamp(version, before));
        Ok((record.map(|record| server.record(newest, record)), [before, server.stamp(known, known_is)]))
    }
    fn versions(&self) -> io::Result<Vec<ids::Version>> {
        self.inner.versions()
    }
    fn is_in_place(&self) -> io::Result<bool> {
        self.inner.is_in_place()
    }
    fn try_longest_record(&self) -> io::Result<usize> {
        self.inner.try_longest_record()
    }
    fn folder(&self) -> u64 {
        self.inner.folder()
    }
    fn publish(&self, folder: u64, version: Version, record: &str) -> io::Result<()> {
        if record.len() > self.longest_record.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(36));
        }
        self.call(Call::Publish, || {
            self.inner.publish(folder, version, record)?;
            if let Some(server) = &self.server {
                *server.changed.lock().unwrap() = server.time_of(version);
            }
            Ok(())
        })
    }
    fn sync_published(&self) -> io::Result<()> {
        self.call(Call::SyncPublished, || self.inner.sync_published())
    }
    fn unname(&self, folder: u64, versions: &[Version]) -> io::Result<()> {
        self.call(Call::Unname, || self.inner.unname(folder, versions))
    }
    fn stamps(&self, versions: &[Version], fresh: bool) -> io::Result<Vec<Option<Stamp>>> {
        let stamps = self.call(Call::Named, || self.inner.stamps(versions, fresh))?;
        let Some(server) = &self.server else { return Ok(stamps) };
        Ok(versions.iter().zip(stamps).map(|(version, stamp)| server.stamp(*version, stamp)).collect())
    }
    fn quiesce(&self, home: u64) -> io::Result<()> {
        let Some(server) = &self.server else { return self.inner.quiesce(home) };
        self.counters().count(Operation::Metadata);
        self.call(Call::Quiesce, || {
            *server.changed.lock().unwrap() = QUIESCED;
            Ok(())
        })
    }
    fn retired(&self) -> io::Result<Vec<String>> {
        self.inner.retired()
    }
    fn retire(&self, token: ids::Token) -> io::Result<()> {
        self.call(Call::Retire, || self.inner.retire(token))
    }
    fn is_sealed(&self, token: ids::Token) -> io::Result<bool> {
        self.inner.is_sealed(token)
    }
    fn reinstate(&self, token: ids::Token, records: &[(Version, String)]) -> io::Result<bool> {
        self.call(Call::Reinstate, || self.inner.reinstate(token, records))
    }
    fn try_lock(&self, slot: u32) -> io::Result<bool> {
        self.call(Call::Lock, || self.inner.try_lock(slot))
    }
    fn is_locked(&self, slots: RangeInclusive<u32>) -> io::Result<Option<bool>> {
        self.call(Call::Lock, || self.inner.is_locked(slots))
    }
    fn unlock(&self, slot: u32) -> io::Result<()> {
        self.inner.unlock(slot)
    }
}
