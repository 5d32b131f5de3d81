//! The rollback journal of a database of Seawall's, in memory.
//!
//! A crash leaves nothing of a transaction behind, because its pages lie in an overlay until they are committed as a
//! whole. Therefore a journal serves only the rollbacks of its own connection, and no other connection reads it.
//!
//! A long journal does not keep the old pages. The transaction's snapshot has them. So a page whose image in the
//! snapshot is at hand, and is what SQLite writes, is left out, and read from there if SQLite rolls back.
//!
//! Where plain databases are attached, Seawall sets `journal_mode=MEMORY`: then SQLite itself keeps the journal.

mod names;
mod pages;
pub(crate) mod super_journal;

pub(crate) use self::names::{JournalNames, NamesLock, lock_names};

pub(crate) use self::pages::Originals;
use self::pages::Pages;
use crate::abi::{self, IoMethods};
use crate::failure::{Failure, guard};
use std::ffi::{OsStr, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// An open journal, as it lies in the memory that SQLite allocates for it.
#[repr(C)]
struct Journal {
    base: abi::File,
    content: *mut Content,
}

/// How much memory SQLite must allocate for it.
pub(crate) const JOURNAL_BYTES: usize = size_of::<Journal>();

struct Content {
    pages: Pages,
    originals: Box<dyn Originals>,
    /// The super-journal that SQLite named at the end of the journal.
    super_journal: Option<PathBuf>,
}

static METHODS: IoMethods = IoMethods {
    version: 1,
    close,
    read,
    write,
    truncate,
    sync,
    file_size,
    lock,
    unlock: lock,
    check_reserved_lock,
    file_control,
    sector_size,
    device_characteristics,
};

/// The last bytes of a journal that names a super-journal. SQLite writes them in a separate write. The headers of a
/// journal begin with the same bytes, but SQLite writes more than these bytes then.
const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];

/// The name of the super-journal, which stands before [`MAGIC`] at `end`, followed by its length and a checksum.
fn named_at_the_end(pages: &Pages, originals: &dyn Originals, end: u64) -> Option<PathBuf> {
    let read = |at: u64, length: usize| {
        let mut bytes = vec![0; length];
        (pages.read(originals, at, &mut bytes).ok()? == length).then_some(bytes)
    };
    let name_ends = end.checked_sub(8)?;
    let length = u32::from_be_bytes(read(name_ends, 4)?.try_into().ok()?);
    let name = read(name_ends.checked_sub(length.into())?, length as usize)?;
    Some(OsStr::from_bytes(&name).into())
}

impl Content {
    /// The transaction has ended. After a commit SQLite has removed the super-journal. After a rollback it is removed
    /// here.
    fn transaction_ended(&mut self) {
        if let Some(path) = self.super_journal.take() {
            super_journal::remove_unless_named(&path);
        }
    }

    /// The transaction has ended, and the journal keeps its first `size` bytes.
    fn end_at(&mut self, size: u64) -> Result<(), Failure> {
        self.transaction_ended();
        self.pages.truncate(&*self.originals, size)
    }
}

/// Makes `file` an empty journal of a database that has these `originals`.
///
/// # Safety
/// `file` is the memory that SQLite passes to xOpen.
pub(crate) unsafe fn install(file: *mut abi::File, originals: Box<dyn Originals>) {
    let content = Content { pages: Pages::default(), originals, super_journal: None };
    // SAFETY: guaranteed by the caller; there is room for a `Journal`, because Seawall's VFS asks for it.
    unsafe {
        file.cast::<Journal>()
            .write(Journal { base: abi::File { methods: &METHODS }, content: Box::into_raw(Box::new(content)) })
    };
}

/// Runs one call on the journal.
///
/// # Safety
/// `file` is a journal. SQLite makes the call, and makes one call at a time on a file.
unsafe fn call(file: *mut abi::File, body: impl FnOnce(&mut Content) -> c_int) -> c_int {
    guard(abi::IOERR, || {
        // SAFETY: guaranteed by the caller. `install` made the pointer, and it is valid until `close`.
        body(unsafe { &mut *(*file.cast::<Journal>()).content })
    })
}

unsafe extern "C" fn close(file: *mut abi::File) -> c_int {
    guard(abi::OK, || {
        // SAFETY: SQLite's last call on a file that `install` made.
        unsafe {
            let file = &mut *file.cast::<Journal>();
            Box::from_raw(file.content).transaction_ended();
            file.base.methods = std::ptr::null();
        }
        abi::OK
    })
}

unsafe extern "C" fn read(file: *mut abi::File, into: *mut c_void, length: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite's call, with room for `length` bytes.
    unsafe {
        call(file, |content| {
            let into = std::slice::from_raw_parts_mut(into.cast::<u8>(), length as usize);
            match content.pages.read(&*content.originals, offset as u64, into) {
                Ok(filled) => {
                    into[filled..].fill(0);
                    if filled == into.len() { abi::OK } else { abi::IOERR_SHORT_READ }
                }
                // Only after such an error SQLite drops its cache, which has what was to be undone.
                Err(failure) => content.originals.report(Failure { code: abi::IOERR_READ, ..failure }),
            }
        })
    }
}

unsafe extern "C" fn write(file: *mut abi::File, written: *const c_void, length: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite's call, with `length` bytes.
    unsafe {
        call(file, |content| {
            let (written, at) = (std::slice::from_raw_parts(written.cast::<u8>(), length as usize), offset as u64);
            if written == MAGIC {
                content.super_journal = named_at_the_end(&content.pages, &*content.originals, at);
                return abi::OK;
            }
            if at == 0 && written.first() == Some(&0) {
                // With journal_mode=PERSIST, and with locking_mode=EXCLUSIVE, SQLite ends a transaction with this write.
                // What follows it in the journal counts no more, and the pages that are left out are the next
                // snapshot's from now on.
                if let Err(failure) = content.end_at(0) {
                    return content.originals.report(failure);
                }
            }
            content
                .pages
                .write(&*content.originals, at, written)
                .map_or_else(|failure| content.originals.report(failure), |()| abi::OK)
        })
    }
}

unsafe extern "C" fn truncate(file: *mut abi::File, size: i64) -> c_int {
    // SAFETY: SQLite's call.
    unsafe {
        call(file, |content| {
            let ended = content.end_at(size as u64);
            ended.map_or_else(|failure| content.originals.report(failure), |()| abi::OK)
        })
    }
}

unsafe extern "C" fn sync(_file: *mut abi::File, _flags: c_int) -> c_int {
    abi::OK
}

unsafe extern "C" fn file_size(file: *mut abi::File, size: *mut i64) -> c_int {
    // SAFETY: SQLite's call.
    unsafe {
        call(file, |content| {
            *size = content.pages.length() as i64;
            abi::OK
        })
    }
}

unsafe extern "C" fn lock(_file: *mut abi::File, _level: c_int) -> c_int {
    abi::OK
}

unsafe extern "C" fn check_reserved_lock(_file: *mut abi::File, result: *mut c_int) -> c_int {
    // SAFETY: SQLite's call.
    unsafe { *result = 0 };
    abi::OK
}

unsafe extern "C" fn file_control(_file: *mut abi::File, _operation: c_int, _argument: *mut c_void) -> c_int {
    abi::NOTFOUND
}

unsafe extern "C" fn sector_size(_file: *mut abi::File) -> c_int {
    512
}

unsafe extern "C" fn device_characteristics(_file: *mut abi::File) -> c_int {
    abi::IOCAP
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The writes by which SQLite ends a journal with the name of a super-journal.
    fn name(name: &[u8]) -> Vec<Vec<u8>> {
        let length = (name.len() as u32).to_be_bytes();
        vec![vec![0, 4, 0, 1], name.to_vec(), length.to_vec(), vec![9; 4], MAGIC.to_vec()]
    }

    #[test]
    fn a_transaction_that_ends_with_a_zeroed_header_leaves_nothing_behind() {
        let mut memory = Journal { base: abi::File { methods: std::ptr::null() }, content: std::ptr::null_mut() };
        let file = (&raw mut memory).cast::<abi::File>();
        // SAFETY: there is room for a journal, which is closed before the memory goes; every call has its bytes.
        unsafe {
            install(file, Box::new(pages::tests::Fake));
            let put = |bytes: &[u8], at: i64| {
                assert_eq!(write(file, bytes.as_ptr().cast(), bytes.len() as c_int, at), abi::OK)
            };
            put(&[1; 512], 0);
            put(&vec![1; 512 << 10], 512);
            put(&[0; 28], 0);
            let mut size = 0;
            assert_eq!(file_size(file, &raw mut size), abi::OK);
            assert_eq!(size, 28);
            assert_eq!(close(file), abi::OK);
        }
    }

    #[test]
    fn sqlite_finds_no_super_journal_and_it_goes_unless_a_journal_on_the_disk_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("main-mj1"), folder.path().join("other-journal"));
        let super_journal = path.as_os_str().as_bytes();
        for (on_the_disk, stays) in
            [(None, false), (Some(vec![7; 600]), false), (Some(name(super_journal).concat()), true)]
        {
            std::fs::write(
                &path,
                [other.as_os_str().as_bytes(), b"\0", folder.path().as_os_str().as_bytes(), b"/none\0"].concat(),
            )
            .unwrap();
            if let Some(bytes) = on_the_disk {
                std::fs::write(&other, bytes).unwrap();
            }
            let mut memory = Journal { base: abi::File { methods: std::ptr::null() }, content: std::ptr::null_mut() };
            let file = (&raw mut memory).cast::<abi::File>();
            // SAFETY: there is room for a journal, which is closed before the memory goes; every call has its bytes.
            unsafe {
                install(file, Box::new(pages::tests::Fake));
                let put = |bytes: &[u8], at: usize| {
                    assert_eq!(write(file, bytes.as_ptr().cast(), bytes.len() as c_int, at as i64), abi::OK)
                };
                put(&[MAGIC.to_vec(), vec![1; 504]].concat(), 0);
                let mut at = 512;
                for part in name(super_journal) {
                    put(&part, at);
                    at += part.len();
                }
                let (mut size, mut end) = (0, [0_u8; 8]);
                assert_eq!(file_size(file, &raw mut size), abi::OK);
                assert_eq!(read(file, end.as_mut_ptr().cast(), 8, size - 8), abi::OK);
                assert_ne!(end, MAGIC, "SQLite would find the super-journal at the end");
                assert!(path.exists());
                assert_eq!(close(file), abi::OK);
            }
            assert_eq!(path.exists(), stays);
        }
    }
}
