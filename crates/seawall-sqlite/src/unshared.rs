//! `cache=shared` without a shared cache.
//!
//! With that parameter SQLite lets connections of one process use one file, if its full path is the same text. Seawall cannot tell the
//! transactions of such connections apart. So while a file is open that asks for a shared cache, its path gets another spelling, which
//! leads to the same file: SQLite finds nothing to share, and each connection has a cache of its own.

use crate::connection::locked;
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{LazyLock, Mutex, MutexGuard};

/// The spellings that SQLite could share.
static NAMES: LazyLock<Mutex<HashSet<Vec<u8>>>> = LazyLock::new(Mutex::default);
/// How many there are: most processes have none, and nobody needs to look.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// The names, held.
pub(crate) type Names = MutexGuard<'static, HashSet<Vec<u8>>>;

/// Holds the names.
pub(crate) fn names() -> Names {
    locked(&NAMES)
}

/// The path of an open file that asks for a shared cache.
pub(crate) struct Unshared(Vec<u8>);

impl Unshared {
    /// From now on another file that is opened gets another spelling of `path`.
    pub(crate) fn keep(path: &[u8]) -> Unshared {
        if names().insert(path.to_owned()) {
            COUNT.fetch_add(1, Relaxed);
        }
        Unshared(path.to_owned())
    }

    /// A spelling of `path`, which is absolute, that no open file has which asks for a shared cache; none if it is `path` itself.
    pub(crate) fn respell(path: &[u8]) -> Option<Vec<u8>> {
        if COUNT.load(Relaxed) == 0 {
            return None;
        }
        let names = names();
        let last = path.iter().rposition(|&byte| byte == b'/')?;
        let spell = |n: usize| [&path[..last], &b"/.".repeat(n), &path[last..]].concat();
        let free = (0..=names.len()).map(spell).find(|spelling| !names.contains(spelling))?;
        (free != path).then_some(free)
    }
}

impl Drop for Unshared {
    fn drop(&mut self) {
        if names().remove(&self.0) {
            COUNT.fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_open_file_has_a_spelling_of_its_own() {
        let path = b"/a/b.db";
        assert_eq!(Unshared::respell(path), None);
        let first = Unshared::keep(path);
        let second = Unshared::keep(&Unshared::respell(path).unwrap());
        assert_eq!(second.0, b"/a/./b.db");
        assert_eq!(Unshared::respell(path).unwrap(), b"/a/././b.db");
        assert_eq!(Unshared::respell(b"/a/c.db"), None);
        drop(first);
        assert_eq!(Unshared::respell(path), None);
        drop(second);
        assert_eq!(COUNT.load(Relaxed), 0);
    }
}
