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
    use pyo3::exceptions::PyOSError;
    use pyo3::prelude::*;
    use pyo3::types::PyDict;
    use seawall::Counts;
    use std::ffi::OsString;
    use std::path::PathBuf;

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
    fn begin_request(py: Python<'_>) {
        py.detach(seawall_sqlite::begin_request);
    }

    /// The request of this thread ends.
    #[pyfunction]
    fn end_request(py: Python<'_>) {
        py.detach(seawall_sqlite::end_request);
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
