//! `cache=shared` without a shared cache.
//!
//! With that parameter SQLite lets several connections of a process use one open file, if its full path is the same
//! text. Seawall cannot tell the transactions of such connections apart. Therefore, while a file is open that asks for
//! a shared cache, the next connection gets another spelling of the path, which leads to the same file. SQLite finds no
//! open file of that name, and each connection gets its own cache.

use crate::sync::locked;
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{LazyLock, Mutex, MutexGuard};

/// The spellings of the open files that ask for a shared cache.
static SPELLINGS: LazyLock<Mutex<HashSet<Vec<u8>>>> = LazyLock::new(Mutex::default);
/// How many spellings there are. Most processes have none, and then the lock is not taken.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// The lock of the spellings.
pub(crate) type SpellingsLock = MutexGuard<'static, HashSet<Vec<u8>>>;

/// Locks the spellings.
pub(crate) fn lock_spellings() -> SpellingsLock {
    locked(&SPELLINGS)
}

/// The path of an open file that asks for a shared cache.
pub(crate) struct Unshared(Vec<u8>);

impl Unshared {
    /// From now on the next connection that opens `path` gets another spelling of it.
    pub(crate) fn keep(path: &[u8]) -> Unshared {
        if lock_spellings().insert(path.to_owned()) {
            COUNT.fetch_add(1, Relaxed);
        }
        Unshared(path.to_owned())
    }

    /// Another spelling of `path`, which is absolute: one that no open file with a shared cache has. `None` if no such
    /// file has `path` itself.
    pub(crate) fn respell(path: &[u8]) -> Option<Vec<u8>> {
        if COUNT.load(Relaxed) == 0 {
            return None;
        }
        let spellings = lock_spellings();
        let last = path.iter().rposition(|&byte| byte == b'/')?;
        let spell = |n: usize| [&path[..last], &b"/.".repeat(n), &path[last..]].concat();
        let free = (0..=spellings.len()).map(spell).find(|spelling| !spellings.contains(spelling))?;
        (free != path).then_some(free)
    }
}

impl Drop for Unshared {
    fn drop(&mut self) {
        if lock_spellings().remove(&self.0) {
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
