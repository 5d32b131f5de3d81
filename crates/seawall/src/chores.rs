//! Chores: what is done in the background, one after the other.
//!
//! Each database has one thread for them, in each process that uses it, which is started when there is something to do.
//! The thread does what is due, and sleeps until the next chore is due or a bell rings. When nothing was due for a
//! while, it ends.
//!
//! To add a chore: implement [`Chore`], put it into the list that a database's committer makes (`write/background.rs`), in
//! the order of importance, and call [`Chores::ring_at`] where it becomes due.

use crate::ports::counters::this_thread_runs_in_background;
use crate::ports::storage::Storage;
use crate::ports::sync::{Condvar, Mutex, MutexGuard, caught, spawn, unpoisoned};
use crate::shown::Shown;
use std::sync::Arc;
use std::time::Duration;

/// A chore. Times are monotonic.
pub(crate) trait Chore: Send + Sync {
    /// When it is due; `None`: not before [`Chores::ring_at`] says that this has changed.
    fn due(&self) -> Option<Duration>;
    /// Does it. Afterwards it is not due any more, or due at a later time. `status` reports an error.
    fn run(&self) -> Result<(), String>;
}

/// A chore that panicked is put off for this long.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// When nothing was due for this long, the thread ends, and the next chore starts another. When a program forks, none
/// but its own threads should be there.
const IDLE: Duration = Duration::from_secs(2);

/// The chores of one database, and the thread that does them.
pub(crate) struct Chores {
    storage: Arc<dyn Storage>,
    /// In order of importance. Of the chores that are due, the thread always does the first, so chores that other
    /// processes wait for come first.
    list: Vec<Box<dyn Chore>>,
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Default)]
struct State {
    /// Whether there is a thread.
    runs: bool,
    /// When the thread will wake by itself. `None`: only when the bell rings.
    wakes_at: Option<Duration>,
    /// Whether the thread is to end, and no chore to be done any more.
    closing: bool,
    /// What went wrong in the background, for `status`.
    trouble: Option<String>,
    /// Why the thread could not be started the last time, if it could not.
    no_thread: Option<String>,
}

impl Chores {
    pub(crate) fn new(storage: Arc<dyn Storage>, list: Vec<Box<dyn Chore>>) -> Arc<Chores> {
        Arc::new(Chores { storage, list, state: Mutex::default(), bell: Condvar::default() })
    }

    /// A chore is due at `time`, or sooner than it was. Returns `false` if there is no thread to do it and none can be
    /// started now. The next call tries again to start one.
    pub(crate) fn ring_at(self: &Arc<Self>, time: Duration) -> bool {
        let mut state = self.state();
        let is_sooner = state.wakes_at.is_none_or(|wakes_at| time < wakes_at);
        if is_sooner {
            state.wakes_at = Some(time);
        }
        if !state.runs {
            let chores = self.clone();
            let started = spawn("seawall", move || chores.work());
            state.runs = started.is_ok();
            state.no_thread = started.err().map(|error| format!("no background thread can be started: {error}"));
        }
        let runs = state.runs;
        drop(state);
        if is_sooner {
            self.bell.notify_one();
        }
        runs
    }

    /// No chore is begun any more: the database is gone.
    pub(crate) fn close(&self) {
        self.state().closing = true;
        self.bell.notify_all();
    }

    /// Whether it does nothing any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.state().closing
    }

    /// Stops the thread for good: nothing is done any more, as in a frozen process.
    #[cfg(feature = "testing")]
    pub(crate) fn stop(&self) {
        let mut state = self.state();
        state.closing = true;
        state.runs = true;
        drop(state);
        self.bell.notify_all();
    }

    /// What went wrong in the background last.
    pub(crate) fn trouble(&self) -> Option<String> {
        let state = self.state();
        state.no_thread.as_ref().or(state.trouble.as_ref()).map(|trouble| Shown::message(trouble).into())
    }

    /// Notes an error that no caller gets. `status` reports it.
    pub(crate) fn report(&self, result: Result<(), String>) {
        if let Err(trouble) = result {
            self.state().trouble = Some(trouble);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        unpoisoned(self.state.lock())
    }

    /// The thread.
    fn work(&self) {
        this_thread_runs_in_background();
        let mut put_off = vec![Duration::ZERO; self.list.len()];
        loop {
            {
                let mut state = self.state();
                if state.closing {
                    return;
                }
                state.wakes_at = None;
            }
            let next = self.do_what_is_due(&mut put_off);
            if !self.sleep_until(next) {
                return;
            }
        }
    }

    /// Does the first chore that is due, until none is. Returns when the next one will be due.
    fn do_what_is_due(&self, put_off: &mut [Duration]) -> Option<Duration> {
        loop {
            let now = self.storage.now().monotonic;
            let mut next: Option<Duration> = None;
            let first = self.list.iter().zip(&*put_off).position(|(chore, put_off)| {
                let due = chore.due().map(|due| due.max(*put_off));
                next = due.into_iter().chain(next).min();
                due.is_some_and(|due| due <= now)
            });
            let Some(first) = first else { return next };
            let done = caught(|| self.list[first].run()).unwrap_or_else(|panic| {
                put_off[first] = self.storage.now().monotonic + AFTER_PANIC;
                Err(format!("the background thread failed, and goes on: {panic}"))
            });
            self.report(done);
        }
    }

    /// Sleeps until `next`, or until the bell rings for something sooner. Returns `false` if the thread is to end.
    fn sleep_until(&self, next: Option<Duration>) -> bool {
        let mut state = self.state();
        state.wakes_at = next.into_iter().chain(state.wakes_at).min();
        let ends_at = self.storage.now().monotonic + IDLE;
        while !state.closing {
            let patience = state.wakes_at.unwrap_or(ends_at).saturating_sub(self.storage.now().monotonic);
            if patience.is_zero() {
                state.runs = state.wakes_at.is_some();
                return state.runs;
            }
            state = unpoisoned(self.bell.wait_timeout(state, patience.min(Duration::from_secs(3600)))).0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::storage::os::{self, OsStorage};

    /// A chore that is due at once when it is asked for, and writes down that it was done.
    struct Recorded {
        name: &'static str,
        asked: Arc<Mutex<Vec<&'static str>>>,
        done: Arc<Mutex<Vec<&'static str>>>,
        does: fn(&Recorded),
    }

    impl Chore for Recorded {
        fn due(&self) -> Option<Duration> {
            unpoisoned(self.asked.lock()).contains(&self.name).then_some(Duration::ZERO)
        }

        fn run(&self) -> Result<(), String> {
            unpoisoned(self.done.lock()).push(self.name);
            (self.does)(self);
            unpoisoned(self.asked.lock()).retain(|name| *name != self.name);
            Ok(())
        }
    }

    fn chores(
        asked: &Arc<Mutex<Vec<&'static str>>>,
        done: &Arc<Mutex<Vec<&'static str>>>,
        does: [fn(&Recorded); 2],
    ) -> Arc<Chores> {
        let folder = std::env::temp_dir();
        let storage = Arc::new(OsStorage::new(&folder.join("chores")).unwrap());
        let one = |(name, does)| -> Box<dyn Chore> {
            Box::new(Recorded { name, asked: asked.clone(), done: done.clone(), does })
        };
        Chores::new(storage, ["first", "second"].into_iter().zip(does).map(one).collect())
    }

    #[test]
    fn what_comes_first_in_the_list_is_done_first_and_again_before_the_others() {
        let asked = Arc::new(Mutex::new(vec!["second", "first"]));
        let done = Arc::default();
        let asks_for_the_first = |this: &Recorded| unpoisoned(this.asked.lock()).push("first");
        let chores = chores(&asked, &done, [|_| (), asks_for_the_first]);
        assert_eq!(chores.do_what_is_due(&mut [Duration::ZERO; 2]), None);
        assert_eq!(*unpoisoned(done.lock()), ["first", "second", "first"]);
    }

    #[test]
    fn a_chore_that_panics_is_reported_and_put_off_and_the_others_go_on() {
        let asked = Arc::new(Mutex::new(vec!["first", "second"]));
        let done = Arc::default();
        let chores = chores(&asked, &done, [|_| panic!("a mistake"), |_| ()]);
        let began = os::now().monotonic;
        let next = chores.do_what_is_due(&mut [Duration::ZERO; 2]).unwrap();
        assert!(next >= began + AFTER_PANIC);
        assert_eq!(*unpoisoned(done.lock()), ["first", "second"]);
        assert!(chores.trouble().unwrap().contains("a mistake"));
    }

    #[test]
    fn the_thread_does_what_it_is_rung_for_and_nothing_once_it_is_closed() {
        let (asked, done) = (Arc::default(), Arc::default());
        let chores = chores(&asked, &done, [|_| (), |_| ()]);
        for n in 1..=2 {
            unpoisoned(asked.lock()).push("second");
            assert!(chores.ring_at(Duration::ZERO), "a thread can be started");
            while unpoisoned(done.lock()).len() < n {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        chores.close();
        unpoisoned(asked.lock()).push("second");
        chores.ring_at(Duration::ZERO);
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(*unpoisoned(done.lock()), ["second", "second"]);
    }
}
