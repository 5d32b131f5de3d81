//! The settings that Seawall makes for a connection, by PRAGMAs of its own.

use super::Connection;
use crate::abi::{self, Sqlite3};
use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Which settings are made and which are due.
#[derive(Default)]
pub(super) struct Settings {
    /// Set while SQLite reads the schema when it opens the connection.
    is_opening: AtomicBool,
    /// Set while a setting is made. SQLite itself answers its PRAGMAs, and its statements are not traced.
    is_running: AtomicBool,
    /// A database of Seawall's was attached, and its journal mode is not set yet.
    attached_are_due: AtomicBool,
    /// The settings for main wait for the next statement.
    main_is_due: AtomicBool,
    /// SQLite keeps main's journal, because a plain database is attached.
    main_has_no_journal_file: AtomicBool,
    /// The application has set the size of SQLite's cache for main.
    cache_size_is_set: AtomicBool,
}

impl Settings {
    pub(super) fn database_was_attached(&self) {
        self.attached_are_due.store(true, Relaxed);
    }
}

impl Connection {
    /// Whether SQLite reads the schema while it opens the connection. A snapshot that this process knows already is new
    /// enough then, because every statement checks the schema again.
    pub(crate) fn is_opening(&self) -> bool {
        self.settings.is_opening.load(Relaxed)
    }

    /// Whether the statement that runs makes one of Seawall's settings.
    pub(crate) fn is_making_settings(&self) -> bool {
        self.settings.is_running.load(Relaxed)
    }

    /// Whether settings are made, or are to be made before the next statement.
    pub(super) fn are_settings_due(&self) -> bool {
        let Settings { is_running, attached_are_due, main_is_due, .. } = &self.settings;
        is_running.load(Relaxed) || attached_are_due.load(Relaxed) || main_is_due.load(Relaxed)
    }

    /// The first use has made, or adopted, main.
    pub(crate) fn main_was_opened(&self) {
        self.settings.main_is_due.store(true, Relaxed);
    }

    /// A PRAGMA sets the size of SQLite's cache for main.
    pub(crate) fn cache_size_was_set(&self) {
        self.settings.cache_size_is_set.fetch_or(!self.is_making_settings(), Relaxed);
    }

    /// Makes the settings of a new connection; `main` only if main `is_opened`. `secure_delete` needs no file.
    ///
    /// # Safety
    /// `db` is this connection's, which SQLite is opening.
    pub(super) unsafe fn make_first_settings(&self, db: *mut Sqlite3, is_opened: bool) {
        self.settings.is_opening.store(true, Relaxed);
        self.settings.is_running.store(true, Relaxed);
        let api = &self.host.api;
        // SAFETY: guaranteed by the caller. Failures do not matter, because a later statement that meets the same cause
        // reports it. The last, empty, run clears SQLite's memory of them, because they would make the opening fail.
        unsafe {
            // Debian's SQLite overwrites what is deleted. On a large DELETE that changes 30 times as many pages.
            api.run(db, c"PRAGMA secure_delete=OFF");
            if is_opened {
                self.make_main_settings(db);
            }
            api.run(db, c"");
        }
        self.settings.is_opening.store(false, Relaxed);
        self.settings.is_running.store(false, Relaxed);
    }

    /// Makes the settings that are due before the next statement. Those for main wait until main is there and no
    /// transaction writes it.
    ///
    /// # Safety
    /// It is called from SQLite's trace callback of this connection.
    pub(super) unsafe fn make_due_main_settings(&self) {
        let db = self.db();
        // SAFETY: guaranteed by the caller: `db` is open, and its mutex is this thread's.
        unsafe {
            if self.settings.main_is_due.load(Relaxed)
                && !db.is_null()
                && (self.host.api.txn_state)(db, c"main".as_ptr()) != abi::TXN_WRITE
            {
                self.settings.main_is_due.store(false, Relaxed);
                self.make_main_settings(db);
            }
        }
    }

    /// Makes the settings for main that read its schema. Made here, they spare the first statement a transaction.
    ///
    /// # Safety
    /// `db` is this connection's, and its mutex is this thread's.
    unsafe fn make_main_settings(&self, db: *mut Sqlite3) {
        self.settings.is_running.store(true, Relaxed);
        // SAFETY: guaranteed by the caller.
        unsafe {
            if !self.settings.cache_size_is_set.load(Relaxed) {
                // 16 MiB. Every commit of another connection empties this cache, therefore it is not worth much more.
                // But a transaction that fits into it writes each page once.
                self.host.api.run(db, c"PRAGMA main.cache_size=-16384");
            }
        }
        self.settings.is_running.store(false, Relaxed);
    }

    /// Lets SQLite keep the journals of attached databases of Seawall's in memory; and that of main, where other databases
    /// are attached. SQLite takes Seawall's own journal for a file, and would make a super-journal on the disk beside main
    /// whenever it locks two databases with such journals, written or not.
    ///
    /// # Safety
    /// It is called from SQLite's trace callback of this connection.
    pub(super) unsafe fn make_due_attached_settings(&self) {
        if !self.settings.attached_are_due.load(Relaxed) {
            return;
        }
        self.settings.attached_are_due.store(false, Relaxed);
        let (api, db) = (&self.host.api, self.db());
        if db.is_null() {
            return;
        }
        let mut is_beside_others = false;
        self.settings.is_running.store(true, Relaxed);
        // Main and temp come first.
        for n in 2.. {
            // SAFETY: guaranteed by the caller: `db` is open, and its mutex is this thread's. The name ends in NUL, and
            // stays for the call.
            unsafe {
                let name = (api.db_name)(db, n);
                if name.is_null() {
                    break;
                }
                let name = CStr::from_ptr(name);
                if api.file(db, name).is_some_and(|file| self.host.is_seawall_file(file)) {
                    let quoted = name.to_string_lossy().replace('"', "\"\"");
                    // In the middle of a transaction that writes, this fails. Then SQLite uses Seawall's own journal.
                    if let Ok(sql) = CString::new(format!("PRAGMA \"{quoted}\".journal_mode=MEMORY")) {
                        api.run(db, &sql);
                    }
                } else {
                    is_beside_others = true;
                }
            }
        }
        if is_beside_others && !self.settings.main_has_no_journal_file.load(Relaxed) {
            // Neither in a transaction that writes nor within ATTACH, which reads the schema by statements of its own,
            // does SQLite change it. Then it is due before the next statement.
            // SAFETY: as above.
            let is_possible = unsafe {
                (api.txn_state)(db, c"main".as_ptr()) != abi::TXN_WRITE && api.busy_statements(db).len() <= 1
            };
            if is_possible {
                // SAFETY: as above.
                unsafe { api.run(db, c"PRAGMA main.journal_mode=MEMORY") };
            }
            self.settings.main_has_no_journal_file.store(is_possible, Relaxed);
            self.settings.attached_are_due.store(!is_possible, Relaxed);
        }
        self.settings.is_running.store(false, Relaxed);
    }
}
