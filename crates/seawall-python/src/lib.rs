//! The native half of the Python module: `seawall._native`. The other half, `python/seawall`, is its public form.
#![forbid(unsafe_code)]

use pyo3::prelude::*;

pyo3::create_exception!(
    seawall._native,
    Failed,
    pyo3::exceptions::PyException,
    "A failure, as (SQLite's extended code, kind or None, commit id or None, text)."
);

/// A failure in Python's types.
type Reported = (i32, Option<String>, Option<String>, String);

fn reported(failure: seawall_sqlite::Failure) -> Reported {
    let kind = failure.kind.map(|kind| format!("{kind:?}"));
    (failure.code, kind, failure.commit.map(|commit| commit.to_string()), failure.text)
}

fn raised(failure: seawall_sqlite::Failure) -> PyErr {
    Failed::new_err(reported(failure))
}

#[pymodule]
mod _native {
    use super::{Reported, raised, reported};
    use pyo3::exceptions::{PyOSError, PyValueError};
    use pyo3::prelude::*;
    use pyo3::types::PyDict;
    use seawall::format::ids::PinName;
    use seawall::format::keep::Keeper;
    use seawall::format::policy::Policy;
    use seawall::{At, Collecting, Counts, Database, FoundVersion, Part, Pinned, Recovery, Sum, Verifying, Version};
    use std::ffi::OsString;
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    #[pymodule_export]
    use super::Failed;

    /// Registers the VFS in the SQLite that the open library at `path` uses.
    #[pyfunction]
    fn register(py: Python<'_>, path: PathBuf) -> PyResult<()> {
        py.detach(|| seawall_sqlite::register_in(&path)).map_err(|failure| PyOSError::new_err(failure.text))
    }

    /// The bounds of each number that can be set: its option's name, the least and the most, and the same in words.
    #[pyfunction]
    fn bounds() -> Vec<(&'static str, f64, f64, String)> {
        seawall::bounds::ALL.iter().map(|of| (of.name, of.least, of.most, of.to_string())).collect()
    }

    /// The coordinators that ship with Seawall: the shortest form of each one's URL, and the settings of other programs
    /// that stand for it, each with the text that makes a URL of the setting's value.
    #[pyfunction]
    fn coordinators() -> Vec<(&'static str, Vec<(&'static str, &'static str)>)> {
        seawall_cli::coordinators::KINDS.iter().map(|kind| (kind.url, kind.settings.to_vec())).collect()
    }

    /// Takes the last failure of this thread's SQLite calls: code, kind, commit id, text.
    #[pyfunction]
    fn take_failure() -> Option<Reported> {
        seawall_sqlite::take_failure().map(reported)
    }

    /// A request begins on this thread.
    #[pyfunction]
    fn begin_request(py: Python<'_>, route: Option<&str>) {
        py.detach(|| seawall_sqlite::begin_request(route));
    }

    /// The request of this thread ends.
    #[pyfunction]
    fn end_request(py: Python<'_>) {
        py.detach(seawall_sqlite::end_request);
    }

    /// This process will say when it ends.
    #[pyfunction]
    fn will_end_process() {
        seawall_sqlite::will_end_process();
    }

    /// This process ends.
    #[pyfunction]
    fn end_process(py: Python<'_>) {
        py.detach(seawall_sqlite::end_process);
    }

    /// The facts about a database.
    #[pyfunction]
    fn status(py: Python<'_>, path: PathBuf, coordinator: Option<String>) -> PyResult<Bound<'_, PyDict>> {
        let status = py.detach(|| seawall_sqlite::status(&path, coordinator.as_deref())).map_err(raised)?;
        let facts = PyDict::new(py);
        facts.set_item("name", status.name)?;
        facts.set_item("database", status.database)?;
        facts.set_item("coordinator", status.coordinator)?;
        facts.set_item("file_system", status.file_system)?;
        facts.set_item("is_copy", status.is_copy)?;
        facts.set_item("epoch", status.epoch)?;
        facts.set_item("version", status.version)?;
        facts.set_item("commit", status.commit)?;
        facts.set_item("time", status.time)?;
        facts.set_item("page_size", status.page_size)?;
        facts.set_item("page_count", status.page_count)?;
        facts.set_item("base_version", status.base_version)?;
        facts.set_item("changed_pages", status.changed_pages)?;
        facts.set_item("log_bytes", status.log_bytes)?;
        facts.set_item("base_bytes", status.base_bytes)?;
        facts.set_item("floor", (status.floor.version.0, status.floor.time))?;
        facts.set_item("lease", status.lease.as_secs_f64())?;
        facts.set_item("sweep", status.sweep)?;
        facts.set_item("trouble", status.trouble)?;
        facts.set_item("counts", counted(py, status.counts)?)?;
        Ok(facts)
    }

    /// This process's remote operations for a database.
    #[pyfunction]
    fn counts(py: Python<'_>, path: PathBuf, coordinator: Option<String>) -> PyResult<Bound<'_, PyDict>> {
        let counts = py.detach(|| seawall_sqlite::counts(&path, coordinator.as_deref())).map_err(raised)?;
        counted(py, counts)
    }

    /// Runs a command of the command line, whose arguments begin with the program's name. Returns its exit code.
    #[pyfunction]
    fn command_line(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
        py.detach(|| seawall_cli::run(arguments))
    }

    /// Removes a database.
    #[pyfunction]
    fn remove(py: Python<'_>, path: PathBuf, coordinator: Option<String>) -> PyResult<()> {
        py.detach(|| seawall_sqlite::remove(&path, coordinator.as_deref())).map_err(raised)
    }

    /// Writes a database's newest version as a plain SQLite file.
    #[pyfunction]
    fn copy(py: Python<'_>, source: PathBuf, target: PathBuf, coordinator: Option<String>) -> PyResult<()> {
        py.detach(|| seawall_sqlite::copy(&source, &target, coordinator.as_deref())).map_err(raised)
    }

    /// A checkpoint: its version, its pages, its bytes, and why NAME was not renewed.
    type CheckpointFacts = (u64, u32, u64, Option<String>);

    /// Makes a checkpoint, unless there is nothing to do, or none is due and one was asked for only then. `progress` is
    /// called with the bytes that were copied, and how many there are. Returns version, pages, bytes, and why NAME was
    /// not renewed.
    #[pyfunction]
    fn checkpoint(
        py: Python<'_>,
        path: PathBuf,
        coordinator: Option<String>,
        if_due: bool,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Option<CheckpointFacts>> {
        let mut ended = None;
        let made = py.detach(|| -> Result<_, seawall_sqlite::Failure> {
            let database = seawall_sqlite::open(&path, coordinator.as_deref())?;
            if if_due && !database.checkpoint_is_due()? {
                return Ok(None);
            }
            let page_size = u64::from(database.status()?.page_size);
            Ok(database.checkpoint(&mut |done, all| {
                let report = |py: Python<'_>| {
                    // Ctrl-C ends a checkpoint, which then leaves nothing.
                    py.check_signals()?;
                    let Some(progress) = &progress else { return Ok(()) };
                    progress.call1(py, (done * page_size, all * page_size)).map(drop)
                };
                Python::attach(report).map_err(|error| {
                    ended = Some(error);
                    seawall::Error::CannotOpen("the caller ended the checkpoint".into())
                })
            })?)
        });
        if let Some(error) = ended {
            return Err(error);
        }
        Ok(made.map_err(raised)?.map(|made| (made.version, made.pages, made.bytes, made.name_not_renewed)))
    }

    /// Verifies a database: the newest version, or the one of this number, or the newest at this time in milliseconds since 1970.
    /// `progress` is called with the bytes that were read, and about how many there are.
    #[pyfunction]
    #[allow(clippy::too_many_arguments, reason = "they are given by name on the Python side")]
    fn verify(
        py: Python<'_>,
        path: PathBuf,
        coordinator: Option<String>,
        version: Option<u64>,
        time: Option<u64>,
        deep: bool,
        part: (u32, u32),
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'_, PyDict>> {
        let part = Part::new(part.0, part.1)
            .ok_or_else(|| PyValueError::new_err("a part is (n, t), the nth of t parts, from 1"))?;
        let at = at(version, time);
        let mut ended = None;
        let verified = py.detach(|| {
            seawall_cli::verify(&path, coordinator, at, Verifying { deep, part }, &mut |done, all| {
                let report = |py: Python<'_>| {
                    py.check_signals()?;
                    let Some(progress) = &progress else { return Ok(()) };
                    progress.call1(py, (done, all)).map(drop)
                };
                Python::attach(report).map_err(|error| {
                    ended = Some(error);
                    seawall::Error::CannotOpen("the caller ended the verification".into())
                })
            })
        });
        if let Some(error) = ended {
            return Err(error);
        }
        let (verified, found) = verified.map_err(|error| raised(error.into()))?;
        let facts = PyDict::new(py);
        facts.set_item("version", verified.version)?;
        facts.set_item("time", verified.time)?;
        facts.set_item("oldest", verified.oldest)?;
        facts.set_item("base", verified.base)?;
        facts.set_item("commits", verified.commits)?;
        facts.set_item("pages", verified.pages)?;
        facts.set_item("bytes", verified.bytes)?;
        facts.set_item("left_out", verified.left_out)?;
        let mut findings = Vec::new();
        for seawall_cli::Found { finding, tables } in found {
            let facts = PyDict::new(py);
            facts.set_item("damage", finding.damage.name())?;
            facts.set_item("file", finding.file)?;
            facts.set_item("at", finding.at)?;
            facts.set_item("why", finding.why)?;
            facts.set_item("versions", finding.versions)?;
            facts.set_item("pages", finding.pages)?;
            facts.set_item("tables", tables)?;
            facts.set_item("remedy", finding.remedy)?;
            findings.push(facts);
        }
        facts.set_item("findings", findings)?;
        Ok(facts)
    }

    /// Collects garbage.
    #[pyfunction]
    fn collect(
        py: Python<'_>,
        path: PathBuf,
        coordinator: Option<String>,
        dry_run: bool,
        max_seconds: Option<f64>,
    ) -> PyResult<Bound<'_, PyDict>> {
        let max_duration = max_seconds.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
        let collecting = Collecting { dry_run, max_duration, ..Collecting::default() };
        let collected = on(py, path, coordinator, |database| database.collect(collecting))?;
        let facts = PyDict::new(py);
        facts.set_item("floor", (collected.floor.version.0, collected.floor.time))?;
        facts.set_item("deleted", files(collected.deleted))?;
        facts.set_item("names", collected.names)?;
        let kept = PyDict::new(py);
        for (why, sum) in collected.kept {
            kept.set_item(format!("{why:?}").to_lowercase(), files(sum))?;
        }
        facts.set_item("kept", kept)?;
        facts.set_item("unknown", collected.unknown)?;
        facts.set_item("not_deleted", collected.left)?;
        facts.set_item("postponed", files(collected.postponed))?;
        facts.set_item("history_bytes", collected.history_bytes)?;
        facts.set_item("is_cut", collected.is_cut)?;
        Ok(facts)
    }

    /// Only for tests: makes a checkpoint and collects garbage with a history of so many seconds, fewer than a policy may
    /// say. Answers whether there was something to put into a base, and how many files were deleted.
    #[pyfunction]
    fn maintain(py: Python<'_>, path: PathBuf, coordinator: Option<String>, history: u64) -> PyResult<(bool, u64)> {
        let history = Duration::from_secs(history);
        let mut file = path.clone().into_os_string();
        file.push("-seawall/policy");
        if !Path::new(&file).exists() {
            fs::write(file, Policy { history, ..Policy::default() }.to_string())?;
        }
        on(py, path, coordinator, |database| {
            let made = database.checkpoint(&mut |_, _| Ok(()))?;
            let collected =
                database.collect(Collecting { dry_run: false, max_duration: None, shortest_history: history })?;
            Ok((made.is_some(), collected.deleted.files))
        })
    }

    /// A database's policy: seconds of history, its bytes, and the bytes at which a checkpoint is due.
    #[pyfunction]
    fn policy(py: Python<'_>, path: PathBuf, coordinator: Option<String>) -> PyResult<(u64, Option<u64>, u64)> {
        let policy = on(py, path, coordinator, Database::policy)?;
        Ok((policy.history.as_secs(), policy.history_bytes, policy.checkpoint_at))
    }

    /// Sets it.
    #[pyfunction]
    fn set_policy(
        py: Python<'_>,
        path: PathBuf,
        coordinator: Option<String>,
        history: u64,
        history_bytes: Option<u64>,
        checkpoint_at: u64,
    ) -> PyResult<()> {
        let policy = Policy { history: Duration::from_secs(history), history_bytes, checkpoint_at };
        on(py, path, coordinator, |database| database.set_policy(&policy))
    }

    /// A pin: its name, its version, that version's time, who keeps it, and until when, in milliseconds since 1970.
    type PinFacts = (String, u64, u64, &'static str, i128);

    /// Pins the newest version, or the one of this number, or the newest at this time in milliseconds since 1970.
    #[pyfunction]
    fn pin(
        py: Python<'_>,
        path: PathBuf,
        coordinator: Option<String>,
        name: &str,
        version: Option<u64>,
        time: Option<u64>,
        seconds: u64,
    ) -> PyResult<PinFacts> {
        let (name, length) = (pin_name(name)?, Duration::from_secs(seconds));
        name.check_person_may_use().map_err(PyValueError::new_err)?;
        let pinned = on(py, path, coordinator, |database| match at(version, time) {
            None => database.pin(name, length),
            Some(at) => database.pin_at(name, at, length),
        })?;
        Ok(pin_facts(&pinned))
    }

    /// Which version is meant; none: the newest.
    fn at(version: Option<u64>, time: Option<u64>) -> Option<At> {
        version.map(|version| At::Version(Version(version))).or(time.map(At::Time))
    }

    /// Gives a pin up. Returns whether there was one.
    #[pyfunction]
    fn unpin(py: Python<'_>, path: PathBuf, coordinator: Option<String>, name: &str) -> PyResult<bool> {
        let name = pin_name(name)?;
        on(py, path, coordinator, |database| database.unpin(name))
    }

    /// All pins.
    #[pyfunction]
    fn pins(py: Python<'_>, path: PathBuf, coordinator: Option<String>) -> PyResult<Vec<PinFacts>> {
        Ok(on(py, path, coordinator, Database::pins)?.iter().map(pin_facts).collect())
    }

    /// Makes a head again. Returns what was found, and what was done.
    #[pyfunction]
    fn recover(
        py: Python<'_>,
        path: PathBuf,
        coordinator: Option<String>,
        commit: Option<String>,
        take_over_home: bool,
        dry_run: bool,
    ) -> PyResult<Bound<'_, PyDict>> {
        let malformed = |_| PyValueError::new_err("a commit's id has 32 digits, 0-9 and a-f");
        let choose = commit.map(|commit| commit.parse().map_err(malformed)).transpose()?;
        let recovery = Recovery { coordinator, choose, take_over_home, dry_run };
        let recovered = py.detach(|| seawall_sqlite::recover(&path, &recovery)).map_err(raised)?;
        let facts = PyDict::new(py);
        let found = |version: &FoundVersion| (version.version, version.commit.to_string(), version.time, version.pages);
        facts.set_item("database", recovered.database.to_string())?;
        facts.set_item("head", recovered.head)?;
        facts.set_item("proven", recovered.proven)?;
        facts.set_item("candidates", recovered.candidates.iter().map(found).collect::<Vec<_>>())?;
        facts.set_item("kept", found(&recovered.kept))?;
        facts.set_item("never_learned", recovered.never_learned)?;
        facts.set_item("rebuilt", recovered.rebuilt)?;
        facts.set_item("lost", recovered.lost)?;
        facts.set_item("version", recovered.version)?;
        Ok(facts)
    }

    /// Writes the newest version as NAME, a plain file, and removes the folder. Returns the version.
    #[pyfunction]
    fn detach(py: Python<'_>, path: PathBuf, coordinator: Option<String>) -> PyResult<Option<u64>> {
        leave(py, || seawall_sqlite::detach(&path, coordinator.as_deref()))
    }

    /// Gives a database another coordinator. Returns the two coordinators, the version that was the newest, and the one
    /// that is.
    #[pyfunction]
    fn move_to(
        py: Python<'_>,
        path: PathBuf,
        coordinator: Option<String>,
        to: &str,
        dry_run: bool,
    ) -> PyResult<(String, String, u64, Option<u64>)> {
        let moved = leave(py, || seawall_sqlite::move_to(&path, coordinator.as_deref(), to, dry_run))?;
        Ok((moved.from, moved.to, moved.newest, moved.version))
    }

    /// Makes a file the newest version. Returns its number.
    #[pyfunction]
    fn restore(py: Python<'_>, path: PathBuf, source: PathBuf, coordinator: Option<String>) -> PyResult<u64> {
        leave(py, || seawall_sqlite::restore(&path, &source, coordinator.as_deref()))
    }

    /// Writes NAME again. Returns where what lay there was moved to.
    #[pyfunction]
    fn refresh(py: Python<'_>, path: PathBuf, coordinator: Option<String>) -> PyResult<Option<PathBuf>> {
        leave(py, || seawall_sqlite::refresh(&path, coordinator.as_deref()))
    }

    /// Makes a database of what opening alone does not adopt. Returns where a copied folder was moved to.
    #[pyfunction]
    fn adopt(py: Python<'_>, path: PathBuf, coordinator: Option<String>, new_id: bool) -> PyResult<Option<PathBuf>> {
        leave(py, || seawall_sqlite::adopt(&path, coordinator.as_deref(), new_id))
    }

    fn leave<T: Send>(py: Python<'_>, work: impl FnOnce() -> Result<T, seawall_sqlite::Failure> + Send) -> PyResult<T> {
        py.detach(work).map_err(raised)
    }

    fn pin_name(name: &str) -> PyResult<PinName> {
        name.parse().map_err(|_| {
            PyValueError::new_err(format!(
                "{name:?} is no pin's name: at most 40 lower-case letters, digits, '.', '_' and '-', of which the first is a letter or a digit"
            ))
        })
    }

    fn pin_facts(pinned: &Pinned) -> PinFacts {
        let by = match pinned.pin.keeper {
            Keeper::Checkpoint => "checkpoint",
            Keeper::Verification => "verification",
            Keeper::Person => "person",
        };
        let until = pinned.written / 1_000_000 + pinned.pin.length.as_millis() as i128;
        (pinned.name.to_string(), pinned.pin.head.version.0, pinned.pin.time, by, until)
    }

    fn files(sum: Sum) -> (u64, u64) {
        (sum.files, sum.bytes)
    }

    /// Asks the database at `path`.
    fn on<T: Send>(
        py: Python<'_>,
        path: PathBuf,
        coordinator: Option<String>,
        ask: impl FnOnce(&Database) -> seawall::Result<T> + Send,
    ) -> PyResult<T> {
        let asked = || -> Result<T, seawall_sqlite::Failure> {
            Ok(ask(&*seawall_sqlite::open(&path, coordinator.as_deref())?)?)
        };
        py.detach(asked).map_err(raised)
    }

    fn counted(py: Python<'_>, counts: Counts) -> PyResult<Bound<'_, PyDict>> {
        let numbers = PyDict::new(py);
        numbers.set_item("coordinator", counts.coordinator)?;
        numbers.set_item("reads", counts.reads)?;
        numbers.set_item("appends", counts.appends)?;
        numbers.set_item("metadata", counts.metadata)?;
        numbers.set_item("background", counts.background)?;
        Ok(numbers)
    }
}
