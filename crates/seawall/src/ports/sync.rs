//! Locks and threads, which are the standard library's.
//!
//! With the feature `simulation` they give way to a scheduler, on the threads that have one: there, one thread runs at
//! a time, and a thread that would wait tells the scheduler what for. Other threads find the standard library's
//! behaviour.

#[cfg(feature = "simulation")]
pub(crate) use simulated::{Condvar, Mutex, MutexGuard, spawn};
#[cfg(not(feature = "simulation"))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};

use std::panic::AssertUnwindSafe;
use std::sync::{PoisonError, TryLockError};

/// Starts a thread that is not joined.
#[cfg(not(feature = "simulation"))]
pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    crate::ports::threads::spawn(name, work)
}

/// The result of a lock or a wait, even if a thread panicked while it held the lock. Whenever a thread can panic, what
/// this crate's locks protect is whole, or a guard repairs it. So one panic never causes others, and keeps no other
/// thread from writing.
pub(crate) fn unpoisoned<T>(locked: Result<T, PoisonError<T>>) -> T {
    locked.unwrap_or_else(PoisonError::into_inner)
}

/// Takes a lock only if no thread holds it.
pub(crate) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Does `work`. If it panics, the error has the panic's text. Panics of simulated threads pass through to the
/// simulator.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    #[cfg(feature = "simulation")]
    if simulated::is_entered() {
        return Ok(work());
    }
    std::panic::catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
        text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".into())
    })
}

/// What a simulator implements, and what stands in the place of the standard library's locks then.
#[cfg(feature = "simulation")]
pub mod simulated {
    use std::cell::RefCell;
    use std::io;
    use std::ops::{Deref, DerefMut};
    use std::sync::{self, Arc, PoisonError, TryLockError};
    use std::time::Duration;

    /// Decides which thread runs. It is called by the one that does.
    pub trait Scheduler: Send + Sync {
        /// Waits until `place` is woken, for `patience` at most if there is one; says whether it was.
        fn wait(&self, place: usize, patience: Option<Duration>) -> bool;
        /// Lets all go on that wait at `place`. The caller goes on, too.
        fn wake(&self, place: usize);
        /// This process's monotonic clock.
        fn now(&self) -> Duration;
        /// Starts a thread of the same process.
        fn spawn(&self, work: Box<dyn FnOnce() + Send>) -> io::Result<()>;
    }

    thread_local! {
        static SCHEDULER: RefCell<Option<Arc<dyn Scheduler>>> = const { RefCell::new(None) };
    }

    /// From now on this thread runs when `scheduler` lets it.
    pub fn enter(scheduler: Arc<dyn Scheduler>) {
        SCHEDULER.set(Some(scheduler));
    }

    fn scheduler() -> Option<Arc<dyn Scheduler>> {
        SCHEDULER.with_borrow(Clone::clone)
    }

    /// Whether a scheduler runs this thread.
    pub(crate) fn is_entered() -> bool {
        scheduler().is_some()
    }

    pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        match scheduler() {
            Some(scheduler) => scheduler.spawn(Box::new(work)),
            None => crate::ports::threads::spawn(name, work),
        }
    }

    /// A place is where something is in memory: what is waited for stays there meanwhile.
    fn address_of<T>(what: &T) -> usize {
        std::ptr::from_ref(what).addr()
    }

    #[derive(Default)]
    pub(crate) struct Mutex<T>(sync::Mutex<T>);

    pub(crate) struct MutexGuard<'a, T> {
        mutex: &'a Mutex<T>,
        guard: Option<sync::MutexGuard<'a, T>>,
    }

    impl<T> Mutex<T> {
        pub(crate) fn new(content: T) -> Mutex<T> {
            Mutex(sync::Mutex::new(content))
        }

        /// A process that the simulator killed poisons nothing: whatever it held died with it.
        pub(crate) fn lock(&self) -> sync::LockResult<MutexGuard<'_, T>> {
            let held = |guard| MutexGuard { mutex: self, guard: Some(guard) };
            let Some(scheduler) = scheduler() else {
                return self.0.lock().map(held).map_err(|error| PoisonError::new(held(error.into_inner())));
            };
            loop {
                match self.0.try_lock() {
                    Ok(guard) => return Ok(held(guard)),
                    Err(TryLockError::Poisoned(error)) => return Ok(held(error.into_inner())),
                    Err(TryLockError::WouldBlock) => drop(scheduler.wait(address_of(self), None)),
                }
            }
        }

        /// Waits for nothing, so no scheduler need know.
        pub(crate) fn try_lock(&self) -> sync::TryLockResult<MutexGuard<'_, T>> {
            let held = |guard| MutexGuard { mutex: self, guard: Some(guard) };
            match self.0.try_lock() {
                Ok(guard) => Ok(held(guard)),
                Err(TryLockError::Poisoned(error)) => {
                    Err(TryLockError::Poisoned(PoisonError::new(held(error.into_inner()))))
                }
                Err(TryLockError::WouldBlock) => Err(TryLockError::WouldBlock),
            }
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.guard.as_ref().expect("it is held until it is dropped")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.guard.as_mut().expect("it is held until it is dropped")
        }
    }

    impl<T> Drop for MutexGuard<'_, T> {
        fn drop(&mut self) {
            self.guard = None;
            if let Some(scheduler) = scheduler() {
                scheduler.wake(address_of(self.mutex));
            }
        }
    }

    /// What the wait came to is no part of the answer: callers look at what they waited for.
    type Waited<'a, T> = sync::LockResult<(MutexGuard<'a, T>, ())>;

    #[derive(Default)]
    pub(crate) struct Condvar(sync::Condvar);

    impl Condvar {
        pub(crate) fn notify_one(&self) {
            self.notify_all();
        }

        /// A condition variable may wake more threads than were asked for. Doing so tries more orders.
        pub(crate) fn notify_all(&self) {
            match scheduler() {
                Some(scheduler) => scheduler.wake(address_of(self)),
                None => self.0.notify_all(),
            }
        }

        pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> sync::LockResult<MutexGuard<'a, T>> {
            self.wait_for(guard, None).map(|(guard, _)| guard).map_err(|error| PoisonError::new(error.into_inner().0))
        }

        pub(crate) fn wait_timeout<'a, T>(&self, guard: MutexGuard<'a, T>, patience: Duration) -> Waited<'a, T> {
            self.wait_for(guard, Some(patience))
        }

        pub(crate) fn wait_timeout_while<'a, T>(
            &self,
            mut guard: MutexGuard<'a, T>,
            patience: Duration,
            mut condition: impl FnMut(&mut T) -> bool,
        ) -> Waited<'a, T> {
            let Some(scheduler) = scheduler() else {
                let inner = guard.guard.take().expect("it is held until it is dropped");
                let waited = self.0.wait_timeout_while(inner, patience, condition);
                let (inner, _) = waited.unwrap_or_else(PoisonError::into_inner);
                guard.guard = Some(inner);
                return Ok((guard, ()));
            };
            let until = scheduler.now() + patience;
            while condition(&mut guard) {
                let left = until.saturating_sub(scheduler.now());
                if left.is_zero() {
                    return Ok((guard, ()));
                }
                guard = self.wait_timeout(guard, left)?.0;
            }
            Ok((guard, ()))
        }

        fn wait_for<'a, T>(&self, mut guard: MutexGuard<'a, T>, patience: Option<Duration>) -> Waited<'a, T> {
            let mutex = guard.mutex;
            if let Some(scheduler) = scheduler() {
                drop(guard);
                scheduler.wait(address_of(self), patience);
                return mutex
                    .lock()
                    .map(|guard| (guard, ()))
                    .map_err(|error| PoisonError::new((error.into_inner(), ())));
            }
            let inner = guard.guard.take().expect("it is held until it is dropped");
            let patience = patience.unwrap_or(Duration::MAX);
            let (inner, _) = self.0.wait_timeout(inner, patience).unwrap_or_else(PoisonError::into_inner);
            guard.guard = Some(inner);
            Ok((guard, ()))
        }
    }
}
