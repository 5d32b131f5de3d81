//! Calls to the file system: they take time, fail, hang, and arrive after their caller is dead.

use crate::event::Event;
use crate::paths::record_path;
use crate::process::ProcessId;
use crate::world::{Phase, Reply, World};
use seawall::format::ids::Version;
use std::io;
use std::time::Duration;

pub(crate) const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const ESTALE: i32 = 116;
/// So many calls of a process are likelier to fail after one has.
const FOLLOWERS: u32 = 4;

/// A call's kind, which decides the faults that it can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Changes nothing.
    Look,
    /// Takes space.
    Write,
    /// Changes a name or a lock.
    Change,
    /// Names a version in this folder of versions. This kind and the next two exclude each other there.
    Name(usize, Version),
    /// Lists all versions.
    List,
    /// Quiesces, moves or removes the folder of versions.
    Folder,
}

/// The error of a call on an open folder that was removed.
pub(crate) fn stale(world: &World) -> io::Error {
    if world.is_remote() { io::Error::from_raw_os_error(ESTALE) } else { io::ErrorKind::NotFound.into() }
}

/// How a call fails.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Before(i32),
    After(i32),
    /// An error now, and the effect later.
    Late,
}

/// How long a call or its reply takes, one way.
pub(crate) fn on_the_way(world: &World) -> Duration {
    let plan = world.plan();
    if world.phase() == Phase::Trouble && world.by_chance(plan.slow) {
        return world.between(plan.call, plan.slowest);
    }
    plan.call.mul_f64(0.25 + world.pick(0..=1000) as f64 / 2000.0)
}

/// Has `effect` carried out at the far end, and waits for its result. No other thread runs during `effect`. It runs
/// once. If the caller dies meanwhile, it runs later or never.
pub(crate) fn call<T: Send + 'static>(
    world: &World,
    what: &'static str,
    kind: Kind,
    effect: impl FnOnce(&World) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let process = world.my_process();
    if world.with_process(process, |process| process.is_dead) {
        return Err(io::Error::other("the process is dead"));
    }
    let fault = fault(world, kind);
    if let Some(fault) = fault {
        world.tell(|| format!("{what} is to fail: {fault:?}"));
        if matches!((kind, fault), (Kind::Name(..), Fault::After(_) | Fault::Late))
            && let Some(until) = world.begins_burst()
        {
            world.with_process(process, |process| process.looks_fail_until = until);
        }
    }
    let there = on_the_way(world);
    world.ask(|reply: Reply<io::Result<T>>| match fault {
        Some(Fault::Before(error)) => reply.answer(world, Err(io::Error::from_raw_os_error(error)), there),
        Some(Fault::Late) => {
            let latest = world.plan().latest;
            let later = there + world.between(Duration::from_millis(1), latest);
            reply.answer(world, Err(io::Error::from_raw_os_error(EIO)), there);
            world.after(later, move |world| {
                world.met(if what == "append" { Event::LateAppend } else { Event::LateWrite });
                let done = effect(world);
                world.tell(|| format!("{what} of {process} arrives late: {}", outcome(&done)));
            });
        }
        _ => world.after(there, move |world| {
            let error = match fault {
                Some(Fault::After(error)) => Some(error),
                _ => None,
            };
            deliver(world, Call { what, kind, process, error, effect: Box::new(effect), reply, may_be_late: true });
        }),
    })
}

type Boxed<T> = Box<dyn FnOnce(&World) -> io::Result<T> + Send>;

/// A call that was sent.
struct Call<T> {
    what: &'static str,
    kind: Kind,
    process: ProcessId,
    error: Option<i32>,
    effect: Boxed<T>,
    reply: Reply<io::Result<T>>,
    may_be_late: bool,
}

/// A call reaches the network or the local kernel.
fn deliver<T: Send + 'static>(world: &World, mut call: Call<T>) {
    let now = world.now();
    let is_remote = world.is_remote();
    let (is_dead, is_gone, cut_until) =
        world.with_process(call.process, |process| (process.is_dead, process.is_gone, process.cut_until));
    if is_gone {
        return;
    }
    // A hard mount waits, and sends the call again.
    if is_remote && cut_until > now {
        let again = cut_until - now;
        let healed = again + world.between(Duration::from_millis(1), again.max(Duration::from_millis(2)));
        return world.after(healed, move |world| deliver(world, call));
    }
    if is_dead {
        if world.by_chance(0.5) {
            return;
        }
        if is_remote && call.may_be_late {
            let later = world.between(Duration::from_millis(1), world.plan().latest);
            call.may_be_late = false;
            return world.after(later, move |world| deliver(world, call));
        }
        world.met(Event::LateWrite);
    }
    arrive(world, call);
}

/// A call reaches the server or the disk that carries it out.
fn arrive<T: Send + 'static>(world: &World, call: Call<T>) {
    let has_folder = matches!(call.kind, Kind::Name(..) | Kind::List | Kind::Folder);
    if has_folder && world.disk().naming().is_some() {
        return world.after(world.plan().call, move |world| arrive(world, call));
    }
    if let Kind::Name(folder, version) = call.kind
        && world.is_remote()
        && world.by_chance(world.plan().shows_early)
        && world.disk().find(&record_path(folder, version)).is_none()
        && world.disk().has_folder(folder)
    {
        world.disk().begin_naming(&record_path(folder, version));
        let found = world.between(world.plan().call / 10, world.plan().call * 20);
        return world.after(found, move |world| {
            carry_out(world, call);
            world.disk().end_naming();
        });
    }
    carry_out(world, call);
}

fn carry_out<T: Send + 'static>(world: &World, Call { what, process, error, effect, reply, .. }: Call<T>) {
    let mut done = effect(world);
    world.tell(|| format!("{what} of {process}: {}", outcome(&done)));
    if let Some(error) = error {
        done = Err(io::Error::from_raw_os_error(error));
    }
    let back = on_the_way(world);
    reply.answer(world, done, back);
}

fn outcome<T>(done: &io::Result<T>) -> String {
    done.as_ref().map_or_else(|error| error.kind().to_string(), |_| "done".into())
}

/// Whether this process sleeps now, for a while, with this probability.
pub(crate) fn sleeps(world: &World, probability: f64) -> bool {
    let process = world.my_process();
    let is_dead = world.with_process(process, |process| process.is_dead);
    if is_dead || world.phase() != Phase::Trouble || !world.by_chance(probability) {
        return false;
    }
    let (now, time) = (world.now(), world.between(Duration::from_millis(100), Duration::from_secs(60)));
    world.with_process(process, |process| process.freeze(now, now + time, false));
    world.sleep(Duration::from_nanos(1));
    true
}

/// Whether looks of this process fail now, because the answer to one of its swaps was lost.
fn looks_fail(world: &World) -> bool {
    let until = world.with_process(world.my_process(), |process| process.looks_fail_until);
    world.phase() == Phase::Trouble && until > world.now()
}

/// Whether a file operation of this process fails now.
fn fails(world: &World) -> bool {
    let process = world.my_process();
    let left = world.with_process(process, |process| process.faults_follow);
    let follows = left > 0 && world.file_faults() > 0.0 && world.by_chance(world.plan().faults_follow);
    if follows {
        world.met(Event::FaultFollowed);
    }
    let fails = follows || world.by_chance(world.file_faults());
    let left = if fails { FOLLOWERS } else { left.saturating_sub(1) };
    world.with_process(process, |process| process.faults_follow = left);
    fails
}

fn fault(world: &World, kind: Kind) -> Option<Fault> {
    if matches!(kind, Kind::Look | Kind::List | Kind::Name(..)) && looks_fail(world) {
        return Some(Fault::Before(EIO));
    }
    if !fails(world) {
        return None;
    }
    let is_remote = world.is_remote();
    Some(match (kind, world.pick(0..=3)) {
        (Kind::Look | Kind::List, _) => Fault::Before(EIO),
        (Kind::Write | Kind::Name(..), 0) => Fault::Before(ENOSPC),
        (_, 1) => Fault::Before(EIO),
        (_, 2) if is_remote => Fault::Late,
        _ => Fault::After(EIO),
    })
}
