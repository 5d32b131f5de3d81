//! The PRAGMAs that the VFS answers: Seawall's own, and those that would turn off something Seawall depends on.

use crate::main_file::MainFile;
use seawall::{Shown, Status, bounds};
use std::time::Duration;

/// The answer to a PRAGMA.
pub(crate) enum Answer {
    /// SQLite answers it.
    BySqlite,
    /// One row with this text.
    Row(String),
    /// The statement fails with this text.
    Error(String),
}

/// Answers the PRAGMA `name`, in lower case.
pub(crate) fn answer(main: &mut MainFile, name: &str, value: Option<&str>) -> Answer {
    match name {
        // Many applications set these two routinely. Therefore they are not an error, and have no effect. (WAL needs
        // shared memory. EXCLUSIVE would keep the snapshot and the lease forever.)
        "journal_mode" if main.connection().is_making_settings() || main.is_plain() => Answer::BySqlite,
        "journal_mode" => Answer::Row("memory".into()),
        "locking_mode" => Answer::Row("normal".into()),
        "cache_spill" if value.is_some() => {
            main.connection().cache_spill_was_set();
            Answer::BySqlite
        }
        // SQLite answers this one with a number.
        "busy_timeout" => match value.map(|value| set_timeout(main, name, value)) {
            Some(Answer::Error(text)) => Answer::Error(text),
            _ => {
                main.connection().pass_timeout_to_sqlite();
                Answer::BySqlite
            }
        },
        "cache_size" | "default_cache_size" if value.is_some() => {
            main.cache_size_was_set();
            Answer::BySqlite
        }
        _ => match name.strip_prefix("seawall_") {
            Some(own) => answer_own(main, own, name, value),
            None => Answer::BySqlite,
        },
    }
}

fn answer_own(main: &mut MainFile, own: &str, name: &str, value: Option<&str>) -> Answer {
    match (own, value) {
        ("timeout", Some(value)) => set_timeout(main, name, value),
        ("timeout", None) => {
            Answer::Row(main.connection().timeout().map(|timeout| timeout.as_millis().to_string()).unwrap_or_default())
        }
        ("version", None) => match main.version() {
            Ok(version) => Answer::Row(version.0.to_string()),
            Err(failure) => Answer::Error(failure.text),
        },
        ("status", None) => match main.status() {
            Ok(status) => Answer::Row(described(&status)),
            Err(failure) => Answer::Error(failure.text),
        },
        ("last_error", None) => {
            Answer::Row(main.connection().last_failure().map(|failure| failure.text).unwrap_or_default())
        }
        ("version" | "status" | "last_error", Some(_)) => Answer::Error(format!("PRAGMA {name} cannot be set")),
        _ => Answer::Error(format!(
            "unknown PRAGMA {name}. Seawall has seawall_version, seawall_status, seawall_last_error and seawall_timeout"
        )),
    }
}

fn described(status: &Status) -> String {
    let base = status.base_version.map_or("none".to_owned(), |version| version.to_string());
    let mut facts = vec![
        format!("version {} (epoch {}), commit {}", status.version, status.epoch, status.commit),
        format!(
            "{} pages of {} bytes, {} of them since base {base}",
            status.page_count, status.page_size, status.changed_pages
        ),
        format!("{} ({}), coordinator {}", Shown::message(&status.name), status.file_system, status.coordinator),
        format!("database {}", status.database),
    ];
    facts.extend(status.is_copy.then(|| {
        "this folder is a copy of that database's folder, therefore it can be read and not written".to_owned()
    }));
    facts.extend(status.trouble.iter().map(|trouble| format!("trouble in the background: {trouble}")));
    facts.join("\n")
}

fn set_timeout(main: &MainFile, name: &str, value: &str) -> Answer {
    match value.parse::<i64>() {
        // SQLite treats a negative timeout as zero.
        Ok(milliseconds) if bounds::TIMEOUT.allow(milliseconds.max(0) as f64 / 1000.0) => {
            let milliseconds = u64::try_from(milliseconds).unwrap_or(0);
            main.connection().set_timeout(Duration::from_millis(milliseconds));
            Answer::Row(milliseconds.to_string())
        }
        _ => Answer::Error(format!(
            "PRAGMA {name}={value}: a number of milliseconds is expected, {} at most",
            bounds::TIMEOUT.most * 1000.0
        )),
    }
}
