//! The loop that sends a request, and sends it again where an attempt failed.

use crate::request::{Answer, Request};
use crate::table::{Failure, FailureKind, Table};
use seawall::ports::coordinator::CoordinatorError;
use seawall::ports::counters::Operation;
use seawall::ports::storage::Storage;
use std::time::Duration;

/// Whether a request may be repeated where an attempt of it was unclear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeats {
    /// Repeating it is harmless, and its answer says as much.
    Freely,
    /// The caller must load the head first.
    OnlyIfNotDone,
}

/// The first wait between two attempts. It doubles, with random jitter, so that clients that were throttled together do
/// not come back together …
const FIRST_WAIT: Duration = Duration::from_millis(10);
/// … up to this.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// Sends `request` until it is answered, for `patience` at most, once at least. The SDK repeats nothing. Therefore an
/// error says "not carried out" only if that is true of every attempt.
pub(crate) fn send(
    table: &dyn Table,
    storage: &dyn Storage,
    request: &Request,
    patience: Duration,
    repeats: Repeats,
) -> Result<Answer, CoordinatorError> {
    let began = storage.now().monotonic;
    let mut unclear = false;
    let mut wait = FIRST_WAIT;
    loop {
        storage.counters().count(Operation::Coordinator);
        let failure = match table.attempt(request) {
            Ok(answer) => return Ok(answer),
            Err(failure) => failure,
        };
        let first_unclear = failure.kind == FailureKind::Unclear && !unclear;
        unclear |= first_unclear;
        let may_repeat = match failure.kind {
            FailureKind::NotYet => true,
            FailureKind::Unclear => repeats == Repeats::Freely,
            FailureKind::Permission | FailureKind::Hopeless => false,
        };
        // The likeliest reason is a connection that was already dead. The next attempt opens a new one and need not
        // wait.
        let pause = if first_unclear { Duration::ZERO } else { with_jitter(storage, wait) };
        let waited = storage.now().monotonic.saturating_sub(began);
        if !may_repeat || waited + pause >= patience {
            return Err(error_of(failure, unclear));
        }
        storage.sleep(pause);
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

fn error_of(failure: Failure, unclear: bool) -> CoordinatorError {
    match failure.kind {
        _ if unclear => CoordinatorError::Unclear(failure.why),
        FailureKind::Permission => CoordinatorError::Permission(failure.why),
        _ => CoordinatorError::Unreachable(failure.why),
    }
}

/// `wait` with random jitter: between half of it and all of it.
pub(crate) fn with_jitter(storage: &dyn Storage, wait: Duration) -> Duration {
    let mut byte = [0];
    // Without randomness there is still a wait.
    let _ = storage.random(&mut byte);
    wait / 2 + wait * u32::from(byte[0]) / 512
}

#[cfg(test)]
mod tests {
    use super::*;
    use FailureKind::{Hopeless, NotYet, Permission, Unclear};
    use seawall::ports::storage::os::OsStorage;
    use std::sync::Mutex;

    /// Fails the attempts with these kinds, in order; then succeeds.
    struct Scripted(Mutex<Vec<FailureKind>>);

    impl Table for Scripted {
        fn name(&self) -> &str {
            "scripted"
        }

        fn region(&self) -> &str {
            "nowhere"
        }

        fn attempt(&self, _request: &Request) -> Result<Answer, Failure> {
            let mut failures = self.0.lock().unwrap();
            if failures.is_empty() {
                return Ok(Answer::Done(None));
            }
            let kind = failures.remove(0);
            Err(Failure { kind, why: format!("{kind:?}") })
        }

        fn clock_ahead(&self) -> i64 {
            0
        }
    }

    fn sent(failures: &[FailureKind], repeats: Repeats, patience: Duration) -> Result<Answer, CoordinatorError> {
        let folder = tempfile::tempdir().unwrap();
        let storage = OsStorage::new(&folder.path().join("db.sqlite3")).unwrap();
        let answer = send(
            &Scripted(Mutex::new(failures.to_vec())),
            &storage,
            &Request::Get { key: "x".into() },
            patience,
            repeats,
        );
        let attempts = storage.counters().counts().coordinator as usize;
        assert!(attempts <= failures.len() + 1, "every attempt is counted, and none is superfluous");
        answer
    }

    const LONG: Duration = Duration::from_secs(5);

    #[test]
    fn what_was_not_done_is_repeated_whatever_it_is() {
        for repeats in [Repeats::Freely, Repeats::OnlyIfNotDone] {
            assert_eq!(sent(&[NotYet, NotYet, NotYet], repeats, LONG).unwrap(), Answer::Done(None));
        }
    }

    #[test]
    fn what_may_have_been_done_is_repeated_only_where_that_is_harmless() {
        assert_eq!(sent(&[Unclear, Unclear], Repeats::Freely, LONG).unwrap(), Answer::Done(None));
        let error = sent(&[NotYet, Unclear], Repeats::OnlyIfNotDone, LONG).unwrap_err();
        assert!(matches!(error, CoordinatorError::Unclear(_)));
    }

    #[test]
    fn nothing_that_comes_later_makes_an_unclear_attempt_undone() {
        for last in [NotYet, Permission, Hopeless] {
            let error = sent(&[Unclear, last, last], Repeats::Freely, Duration::from_millis(1)).unwrap_err();
            assert!(matches!(error, CoordinatorError::Unclear(_)), "{last:?}");
            assert!(!error.is_certain());
        }
    }

    #[test]
    fn patience_ends_with_what_is_certain() {
        let impatient = |kind| sent(&[kind; 9], Repeats::Freely, Duration::ZERO).unwrap_err();
        assert!(matches!(impatient(NotYet), CoordinatorError::Unreachable(_)));
        assert!(matches!(impatient(Permission), CoordinatorError::Permission(_)));
        assert!(matches!(impatient(Hopeless), CoordinatorError::Unreachable(_)));
        assert!(impatient(NotYet).is_certain());
    }
}
