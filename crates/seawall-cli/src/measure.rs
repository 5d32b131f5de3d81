//! `seawall doctor --measure`: how long each kind of call takes that a database makes of its file system, and how long
//! a symlink's text may be.

use crate::finding::Finding;
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

/// How often each call is made.
const TIMES: u32 = 50;
/// An append: about that of a small commit.
const APPENDED: usize = 4096;
/// No file system takes a longer text than this (PATH_MAX).
const LONGEST: usize = 4095;

/// A kind of call: its name, and how the nth one is made in an empty folder.
type Call = (&'static str, fn(&Path, u32) -> io::Result<()>);

/// In the order in which they can be made: each uses what the ones before it left.
const CALLS: [Call; 9] = [
    ("create a file", |folder, n| File::create_new(folder.join(format!("file{n}"))).map(drop)),
    ("append 4 KiB, fsync", |folder, _| {
        let mut file = OpenOptions::new().append(true).create(true).open(folder.join("log"))?;
        file.write_all(&[1; APPENDED])?;
        file.sync_data()
    }),
    ("open and read 4 KiB", |folder, n| {
        let at = u64::from(n) * APPENDED as u64;
        File::open(folder.join("log"))?.read_exact_at(&mut [0; APPENDED], at)
    }),
    ("lock and unlock", |folder, _| {
        let file = File::open(folder.join("log"))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(flock(&file, FlockOperation::Unlock)?)
    }),
    ("symlink", |folder, n| symlink("0123456789abcdef".repeat(16), folder.join(format!("symlink{n}")))),
    ("readlink", |folder, n| fs::read_link(folder.join(format!("symlink{n}"))).map(drop)),
    ("link", |folder, n| fs::hard_link(folder.join("log"), folder.join(format!("link{n}")))),
    ("rename", |folder, n| fs::rename(folder.join(format!("file{n}")), folder.join(format!("other{n}")))),
    ("unlink", |folder, n| fs::remove_file(folder.join(format!("link{n}")))),
];

/// The times of one kind of call.
struct Times {
    call: &'static str,
    median: Duration,
    /// 99 of 100 calls took no longer.
    most: Duration,
}

fn measure(folder: &Path, (call, make): Call) -> io::Result<Times> {
    let mut times = Vec::new();
    for n in 0..TIMES {
        let began = Instant::now();
        make(folder, n)?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    Ok(Times { call, median: at(50), most: at(99) })
}

/// The longest text that a symlink there may have.
fn longest_symlink(folder: &Path) -> io::Result<usize> {
    let fits = |length: usize| {
        let path = folder.join("longest");
        let is_made = symlink("x".repeat(length), &path).is_ok();
        if is_made { fs::remove_file(&path).map(|()| true) } else { Ok(false) }
    };
    let (mut longest, mut too_long) = (0, LONGEST + 1);
    while too_long - longest > 1 {
        let middle = usize::midpoint(longest, too_long);
        if fits(middle)? { longest = middle } else { too_long = middle }
    }
    Ok(longest)
}

/// Measures in a folder of its own beside NAME, which it removes. The findings are for people, the value for machines.
pub(crate) fn examine(name: &Path) -> (Vec<Finding>, Value) {
    const CHECK: &str = "measured";
    let failed = |error: io::Error| {
        (vec![Finding::unknown(CHECK, format!("the calls could not be made beside NAME: {error}"))], Value::Null)
    };
    let folder = name.parent().unwrap_or(Path::new("/"));
    let measured = tempfile::Builder::new().prefix(".seawall-doctor-").tempdir_in(folder).and_then(|trial| {
        let times = CALLS.map(|call| measure(trial.path(), call)).into_iter().collect::<io::Result<Vec<Times>>>()?;
        let longest = longest_symlink(trial.path())?;
        trial.close()?;
        Ok((times, longest))
    });
    let (times, longest) = match measured {
        Ok(measured) => measured,
        Err(error) => return failed(error),
    };
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let rows = times.iter().map(|Times { call, median, most }| {
        Finding::note(CHECK, format!("{call:20} p50 {:8.3} ms   p99 {:8.3} ms", ms(*median), ms(*most)))
    });
    let symlink = Finding::note(CHECK, format!("a symlink's text has at most {longest} bytes"));
    let calls: Vec<Value> = times
        .iter()
        .map(|Times { call, median, most }| json!({ "call": call, "p50_ms": ms(*median), "p99_ms": ms(*most) }))
        .collect();
    (rows.chain([symlink]).collect(), json!({ "times": TIMES, "calls": calls, "longest_symlink": longest }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_is_measured_and_nothing_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (findings, value) = examine(&folder.path().join("db.sqlite3"));
        assert_eq!(findings.len(), CALLS.len() + 1, "{findings:?}");
        let calls = value["calls"].as_array().unwrap();
        assert!(calls.iter().all(|call| call["p99_ms"].as_f64() >= call["p50_ms"].as_f64()), "{value}");
        assert!(value["longest_symlink"].as_u64().unwrap() > 255, "{value}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_said() {
        let (findings, value) = examine(Path::new("/proc/db"));
        assert!(findings[0].text.contains("could not be made") && value.is_null(), "{findings:?}");
    }
}
