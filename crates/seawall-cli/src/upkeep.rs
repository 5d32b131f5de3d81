//! Whether a database is kept as it should be: what `status` and `doctor` say of it.

use crate::finding::Finding;
use crate::units;
use seawall::{Overview, Status};
use std::path::Path;
use std::time::{Duration, SystemTime};

const FILES: &str = "base and log";
const COLLECTION: &str = "garbage collection";
const CHECKPOINT: &str = "checkpoint";
const HISTORY: &str = "history";
const NAMES: &str = "small commits";
/// A process that goes on copies what it has committed within a second.
const COPIED_AFTER: Duration = Duration::from_secs(5);

/// What is right or wrong with a database's upkeep.
pub(crate) fn judge(name: &Path, status: &Status, overview: &Overview) -> Vec<Finding> {
    let mut findings = files(name, overview);
    findings.extend([collection(name, status, overview), checkpoint(name, status, overview), history(name, overview)]);
    findings.extend(only_in_names(status.time, overview, SystemTime::now()));
    findings
}

/// What no process has copied to a segment, though the newest commit, of the time `committed`, is seconds old.
fn only_in_names(committed: u64, overview: &Overview, now: SystemTime) -> Option<Finding> {
    let committed = SystemTime::UNIX_EPOCH + Duration::from_millis(committed);
    // A clock that differs makes this early, or late.
    let is_late = now.duration_since(committed).is_ok_and(|age| age > COPIED_AFTER);
    let of = match overview.only_in_names {
        0 => return None,
        _ if !is_late => return None,
        1 => "the newest commit is".to_owned(),
        n => format!("the newest {n} commits are"),
    };
    let text = format!(
        "{of} in the symlinks of NAME-seawall/commits only, and in no segment yet: the process that made the last one ended at once, was \
         frozen, or could not write. The next commit of any process copies them a second later. Until then copy this folder with its \
         symlinks (cp -a)"
    );
    Some(Finding::note(NAMES, text))
}

/// Whether what the newest version stands on is there.
fn files(name: &Path, overview: &Overview) -> Vec<Finding> {
    let remedy = || {
        format!(
            "bring the file back from a backup of this folder; or run seawall recover {}, which says first what it would keep and what would \
             be lost",
            name.display()
        )
    };
    match &overview.missing[..] {
        [] => vec![Finding::good(FILES, "the files that the newest version stands on are there")],
        missing => missing.iter().map(|what| Finding::problem(FILES, what.clone(), remedy())).collect(),
    }
}

/// The command to run next, if upkeep needs one.
pub(crate) fn next(status: &Status, overview: &Overview) -> Option<&'static str> {
    let frees = overview.would.as_ref().is_ok_and(|would| would.deleted.files > 0);
    if is_overdue(status, overview) {
        Some("checkpoint")
    } else if overview.is_late || frees {
        Some("gc")
    } else {
        None
    }
}

/// A log that is twice as long as it should ever become.
fn is_overdue(status: &Status, overview: &Overview) -> bool {
    status.log_bytes / 2 > overview.checkpoint_due
}

fn collection(name: &Path, status: &Status, overview: &Overview) -> Finding {
    let would = match &overview.would {
        _ if status.is_copy => return Finding::note(COLLECTION, "nothing is collected in a copy"),
        Err(why) => {
            return Finding::problem(
                COLLECTION,
                format!("it cannot succeed: {why}"),
                format!("do what this says, then run seawall gc {}", name.display()),
            );
        }
        Ok(would) => would,
    };
    let when = overview
        .collected
        .map_or("it has never succeeded yet".into(), |last| format!("it last succeeded on {}", units::time(last.time)));
    if !overview.is_late {
        return Finding::good(COLLECTION, when);
    }
    let every = units::about(overview.collect_every);
    let text = format!("{when}, and it is due every {every} while there are commits");
    // A process that lives long collects by itself. Where none does, a little garbage is no harm.
    if would.history_bytes > overview.checkpoint_due {
        let remedy = format!(
            "run seawall gc {} from time to time (cron), or let a process run that lives longer",
            name.display()
        );
        Finding::problem(COLLECTION, text, remedy)
    } else {
        Finding::note(COLLECTION, format!("{text}: seawall gc {} does it now", name.display()))
    }
}

fn checkpoint(name: &Path, status: &Status, overview: &Overview) -> Finding {
    let (log, due) = (units::bytes(status.log_bytes), units::bytes(overview.checkpoint_due));
    let text = format!("the log has {log} since the base; a checkpoint is due at {due}");
    if is_overdue(status, overview) {
        Finding::problem(CHECKPOINT, text, format!("run seawall checkpoint {}", name.display()))
    } else {
        Finding::good(CHECKPOINT, text)
    }
}

fn history(name: &Path, overview: &Overview) -> Finding {
    let policy = &overview.policy;
    let time = units::exact_duration(policy.history);
    let Ok(would) = &overview.would else { return Finding::unknown(HISTORY, "the folder cannot be looked through") };
    let takes = units::bytes(would.history_bytes);
    let Some(limit) = policy.history_bytes else {
        return Finding::good(HISTORY, format!("it is kept for {time}, and takes {takes}"));
    };
    let most = units::bytes(limit);
    if would.history_bytes > limit {
        return Finding::problem(
            HISTORY,
            format!(
                "it takes {takes}, and the policy allows {most}: the newest version, pins and the last 15 minutes are always kept"
            ),
            format!(
                "allow more: seawall policy {} --history-bytes {}",
                name.display(),
                units::exact_bytes(more_than(would.history_bytes))
            ),
        );
    }
    // What was cut before stays so until time has passed.
    let is_short = would.floor.version.0 > 0 && units::age(would.floor.time) < policy.history;
    if would.is_cut || is_short {
        let reaches = units::time(would.floor.time);
        let text = format!("the policy's {time} do not fit into its {most}: history is kept back to {reaches} only");
        return Finding::note(HISTORY, text);
    }
    Finding::good(HISTORY, format!("it is kept for {time}, and takes {takes} of {most}"))
}

/// A round number of bytes with some room.
fn more_than(bytes: u64) -> u64 {
    bytes.saturating_mul(2).checked_next_power_of_two().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::State;
    use seawall::format::head::Floor;
    use seawall::format::policy::Policy;
    use seawall::{Collected, Version};
    use std::time::UNIX_EPOCH;

    fn overview(history_bytes: u64, limit: Option<u64>) -> Overview {
        Overview {
            writer: None,
            policy: Policy { history_bytes: limit, ..Policy::default() },
            checkpoint_due: 64 << 20,
            collected: None,
            collect_every: Duration::from_secs(3600),
            is_late: false,
            would: Ok(Collected { history_bytes, ..Collected::default() }),
            pins: Vec::new(),
            missing: Vec::new(),
            only_in_names: 0,
        }
    }

    #[test]
    fn commits_that_nobody_copies_are_noted_once_they_are_seconds_old() {
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let noted = |only_in_names, age: u64| {
            let overview = Overview { only_in_names, ..overview(0, None) };
            only_in_names_at(&overview, now, age)
        };
        assert!(noted(0, 60).is_none() && noted(3, 2).is_none());
        let finding = noted(3, 60).unwrap();
        assert_eq!(finding.state, State::Note);
        assert!(finding.text.contains("the newest 3 commits are in the symlinks"), "{}", finding.text);
        assert!(noted(1, 60).unwrap().text.contains("the newest commit is in"));
    }

    fn only_in_names_at(overview: &Overview, now: SystemTime, age: u64) -> Option<Finding> {
        only_in_names((1_800_000_000 - age) * 1000, overview, now)
    }

    #[test]
    fn a_policy_that_cannot_be_kept_is_reported() {
        let judged = |overview: &Overview| history(Path::new("/db"), overview);
        assert_eq!(judged(&overview(5 << 30, None)).state, State::Good);
        assert_eq!(judged(&overview(1 << 20, Some(2 << 20))).state, State::Good);
        let too_much = judged(&overview(3 << 20, Some(2 << 20)));
        assert_eq!(too_much.state, State::Problem);
        assert!(too_much.remedy.unwrap().ends_with("seawall policy /db --history-bytes 8MiB"));
        let hour_ago = (SystemTime::now() - Duration::from_secs(3600)).duration_since(UNIX_EPOCH).unwrap();
        for (is_cut, version) in [(true, 7), (false, 7)] {
            let mut cut = overview(1 << 20, Some(2 << 20));
            let floor = Floor { version: Version(version), time: hour_ago.as_millis() as u64 };
            cut.would = Ok(Collected { floor, is_cut, history_bytes: 1 << 20, ..Collected::default() });
            let short = judged(&cut);
            assert_eq!(short.state, State::Note);
            assert!(short.text.contains("24h do not fit into its 2.0 MiB"), "{}", short.text);
        }
        let unreadable = Overview { would: Err(seawall::Error::CannotOpen("x".into())), ..overview(0, None) };
        assert_eq!(judged(&unreadable).state, State::Unknown);
    }
}
