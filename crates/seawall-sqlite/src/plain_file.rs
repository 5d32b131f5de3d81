//! A plain SQLite file that SQLite's own VFS opened, in memory of Seawall's.

use crate::abi::{self, File, IoMethods, ShmMethods};
use crate::header::WRITE_VERSION;
use crate::host::Host;
use seawall::format::sqlite_header::PROTECTED;
use std::cell::UnsafeCell;
use std::ffi::{c_char, c_int, c_void};
use std::ptr::NonNull;

/// An open plain file. It is closed when it is dropped.
pub(crate) struct PlainFile {
    /// The memory in which the file lies. It is as aligned as SQLite's.
    memory: Box<[UnsafeCell<u64>]>,
}

impl PlainFile {
    /// Opens `name` with these flags. Returns the file and the flags that it was opened with, or SQLite's code.
    ///
    /// # Safety
    /// `name` is a database name of `host`'s SQLite, and stays for as long as the file is open.
    pub(crate) unsafe fn open(
        host: &'static Host,
        name: *const c_char,
        flags: c_int,
    ) -> Result<(PlainFile, c_int), c_int> {
        // SAFETY: the VFS stays registered. The file gets as much memory as its VFS asks for, and none of it moves.
        unsafe {
            let vfs = &*host.default_vfs;
            let words = (vfs.file_bytes as usize).div_ceil(size_of::<u64>());
            let opened = PlainFile { memory: (0..words).map(|_| UnsafeCell::new(0)).collect() };
            let mut out_flags = 0;
            let code = (vfs.open)(host.default_vfs, name, opened.file(), flags, &raw mut out_flags);
            if code == abi::OK { Ok((opened, out_flags)) } else { Err(code) }
        }
    }

    fn file(&self) -> *mut File {
        self.memory.as_ptr().cast_mut().cast()
    }

    /// The file, and its methods. A file that could not be opened may have none.
    fn methods(&self) -> Option<(*mut File, &IoMethods)> {
        let file = self.file();
        // SAFETY: the VFS has set the pointer, or left it null.
        unsafe { (*file).methods.as_ref() }.map(|methods| (file, methods))
    }

    fn call(&self, body: impl FnOnce(*mut File, &IoMethods) -> c_int) -> c_int {
        self.methods().map_or(abi::IOERR, |(file, methods)| body(file, methods))
    }

    /// Runs one call on the shared memory. Without it SQLite cannot open a WAL.
    fn call_shm(&self, body: impl FnOnce(*mut File, &ShmMethods) -> c_int) -> c_int {
        self.call(|file, methods| {
            if methods.version < 2 {
                return abi::CANTOPEN;
            }
            // SAFETY: methods of version 2 have these as well.
            body(file, unsafe { NonNull::from(methods).cast::<ShmMethods>().as_ref() })
        })
    }

    /// Fills `into`, and returns SQLite's code.
    pub(crate) fn read(&self, offset: u64, into: &mut [u8]) -> c_int {
        // SAFETY: the file is open, and there is room for the bytes.
        self.call(|file, methods| unsafe {
            (methods.read)(file, into.as_mut_ptr().cast::<c_void>(), into.len() as c_int, offset as i64)
        })
    }

    /// The file's size, or SQLite's code.
    pub(crate) fn size(&self) -> Result<u64, c_int> {
        let mut size = 0;
        // SAFETY: the file is open.
        match self.call(|file, methods| unsafe { (methods.file_size)(file, &raw mut size) }) {
            abi::OK => Ok(size as u64),
            code => Err(code),
        }
    }

    /// Whether an adoption has marked the file: since then it is a copy of some version of a database of Seawall's.
    pub(crate) fn is_protected(&self) -> bool {
        let mut byte = [0];
        self.read(WRITE_VERSION as u64, &mut byte) == abi::OK && byte[0] == PROTECTED
    }

    pub(crate) fn lock(&self, level: c_int) -> c_int {
        // SAFETY: the file is open.
        self.call(|file, methods| unsafe { (methods.lock)(file, level) })
    }

    pub(crate) fn unlock(&self, level: c_int) -> c_int {
        // SAFETY: the file is open.
        self.call(|file, methods| unsafe { (methods.unlock)(file, level) })
    }

    pub(crate) fn check_reserved_lock(&self, result: &mut c_int) -> c_int {
        // SAFETY: the file is open.
        self.call(|file, methods| unsafe { (methods.check_reserved_lock)(file, result) })
    }

    /// # Safety
    /// `argument` is what SQLite defines for the operation.
    pub(crate) unsafe fn control(&self, operation: c_int, argument: *mut c_void) -> c_int {
        // SAFETY: the file is open; the argument is guaranteed by the caller.
        self.call(|file, methods| unsafe { (methods.file_control)(file, operation, argument) })
    }

    /// # Safety
    /// SQLite's call of xShmMap: `into` has room for one pointer.
    pub(crate) unsafe fn shm_map(&self, region: c_int, size: c_int, extend: c_int, into: *mut *mut c_void) -> c_int {
        // SAFETY: the file is open; the argument is guaranteed by the caller.
        self.call_shm(|file, methods| unsafe { (methods.shm_map)(file, region, size, extend, into) })
    }

    pub(crate) fn shm_lock(&self, offset: c_int, n: c_int, flags: c_int) -> c_int {
        // SAFETY: the file is open.
        self.call_shm(|file, methods| unsafe { (methods.shm_lock)(file, offset, n, flags) })
    }

    pub(crate) fn shm_barrier(&self) {
        self.call_shm(|file, methods| {
            // SAFETY: the file is open.
            unsafe { (methods.shm_barrier)(file) };
            abi::OK
        });
    }

    pub(crate) fn shm_unmap(&self, delete: c_int) -> c_int {
        // SAFETY: the file is open.
        self.call_shm(|file, methods| unsafe { (methods.shm_unmap)(file, delete) })
    }
}

impl Drop for PlainFile {
    fn drop(&mut self) {
        // SAFETY: the file is open, and not used again.
        self.call(|file, methods| unsafe { (methods.close)(file) });
    }
}
