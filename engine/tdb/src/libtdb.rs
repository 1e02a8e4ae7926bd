//! libtdb itself, loaded at run time: for comparison and for workers beside ours, never for the
//! engine's own work. Only with the feature `libtdb`.
//!
//! Answers are those of the C functions (0 or -1, and `error` for the code), so that they can be
//! compared one by one.

mod binding;

pub use binding::LoadError;

use binding::{Data, Functions, Simple, Visiting, functions};
use std::ffi::{CStr, CString, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A handle of libtdb. Its locks are classic POSIX locks: they do not exclude this process, and
/// closing any descriptor of the file in this process drops them (P2).
#[derive(Debug)]
pub struct Original(*mut c_void);

// SAFETY: libtdb has no thread-local state; a handle is used by one thread at a time, because
// every method takes `&mut self`.
unsafe impl Send for Original {}

/// Finds the library and all its functions.
///
/// # Errors
///
/// `LoadError` says what to install.
pub fn load() -> Result<(), LoadError> {
    functions().map(|_| ())
}

impl Original {
    /// Opens a file: `tdb_open` with mode 0600.
    ///
    /// # Errors
    ///
    /// `errno`, as `tdb_open` leaves it.
    ///
    /// # Panics
    ///
    /// When libtdb cannot be loaded; programs that can do without call `load` first.
    pub fn open(path: &Path, hash_size: i32, flags: u32, open_flags: i32) -> Result<Self, i32> {
        let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| libc::EINVAL)?;
        let flags = c_int::try_from(flags).map_err(|_| libc::EINVAL)?;
        // SAFETY: a NUL-terminated name, which libtdb copies.
        let handle = unsafe { (c().open)(name.as_ptr(), hash_size, flags, open_flags, 0o600) };
        if handle.is_null() {
            return Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0));
        }
        Ok(Self(handle))
    }

    /// `mode`: 1 replaces, 2 inserts, 3 modifies.
    pub fn store(&mut self, key: &[u8], value: &[u8], mode: c_int) -> c_int {
        // SAFETY: the handle is open; the buffers live during the call and are only read.
        unsafe { (c().store)(self.0, data(key), data(value), mode) }
    }

    pub fn storev(&mut self, key: &[u8], parts: &[&[u8]], mode: c_int) -> c_int {
        let parts: Vec<Data> = parts.iter().map(|part| data(part)).collect();
        let count = c_int::try_from(parts.len()).unwrap_or(c_int::MAX);
        // SAFETY: as in `store`; `parts` has at least `count` elements.
        unsafe { (c().storev)(self.0, data(key), parts.as_ptr(), count, mode) }
    }

    pub fn append(&mut self, key: &[u8], value: &[u8]) -> c_int {
        // SAFETY: as in `store`.
        unsafe { (c().append)(self.0, data(key), data(value)) }
    }

    pub fn fetch(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        // SAFETY: as in `store`.
        take(unsafe { (c().fetch)(self.0, data(key)) })
    }

    /// Fetches and frees; only the size is kept, so that a measurement sees libtdb's work alone.
    pub fn fetch_size(&mut self, key: &[u8]) -> Option<usize> {
        // SAFETY: as in `store`.
        let data = unsafe { (c().fetch)(self.0, data(key)) };
        if data.pointer.is_null() {
            return None;
        }
        // SAFETY: libtdb returned this buffer for us to free.
        unsafe { libc::free(data.pointer.cast()) };
        Some(data.size)
    }

    /// Copies the first bytes of the data into `head` from where they lie (`tdb_parse_record`); the
    /// length of all of it, or -1 if there is no such record.
    pub fn parse_head(&mut self, key: &[u8], head: &mut [u8]) -> i64 {
        struct Head<'a> {
            target: &'a mut [u8],
            size: i64,
        }
        unsafe extern "C" fn copy(_: Data, data: Data, to: *mut c_void) -> c_int {
            // SAFETY: `to` is the structure of the surrounding call, which waits for us.
            let head = unsafe { &mut *to.cast::<Head<'_>>() };
            let size = head.target.len().min(data.size);
            // SAFETY: libtdb shows `data.size` bytes; the target is Rust memory outside the file.
            unsafe {
                std::ptr::copy_nonoverlapping(data.pointer, head.target.as_mut_ptr(), size);
            };
            head.size = i64::try_from(data.size).unwrap_or(i64::MAX);
            0
        }
        let mut head = Head { target: head, size: -1 };
        // SAFETY: as in `store`; `head` outlives the call.
        unsafe { (c().parse)(self.0, data(key), copy, (&raw mut head).cast()) };
        head.size
    }

    pub fn first_key(&mut self) -> Option<Vec<u8>> {
        // SAFETY: the handle is open.
        take(unsafe { (c().firstkey)(self.0) })
    }

    pub fn next_key(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        // SAFETY: as in `store`.
        take(unsafe { (c().nextkey)(self.0, data(key)) })
    }

    pub fn exists(&mut self, key: &[u8]) -> bool {
        // SAFETY: as in `store`.
        unsafe { (c().exists)(self.0, data(key)) == 1 }
    }

    pub fn delete(&mut self, key: &[u8]) -> c_int {
        // SAFETY: as in `store`.
        unsafe { (c().delete)(self.0, data(key)) }
    }

    pub fn chainlock(&mut self, key: &[u8]) -> c_int {
        // SAFETY: as in `store`.
        unsafe { (c().chainlock)(self.0, data(key)) }
    }

    pub fn chainlock_nonblock(&mut self, key: &[u8]) -> c_int {
        // SAFETY: as in `store`.
        unsafe { (c().chainlock_nonblock)(self.0, data(key)) }
    }

    pub fn chainunlock(&mut self, key: &[u8]) -> c_int {
        // SAFETY: as in `store`.
        unsafe { (c().chainunlock)(self.0, data(key)) }
    }

    pub fn chainlock_read(&mut self, key: &[u8]) -> c_int {
        // SAFETY: as in `store`.
        unsafe { (c().chainlock_read)(self.0, data(key)) }
    }

    pub fn chainlock_read_nonblock(&mut self, key: &[u8]) -> c_int {
        // SAFETY: as in `store`.
        unsafe { (c().chainlock_read_nonblock)(self.0, data(key)) }
    }

    pub fn chainunlock_read(&mut self, key: &[u8]) -> c_int {
        // SAFETY: as in `store`.
        unsafe { (c().chainunlock_read)(self.0, data(key)) }
    }

    pub fn set_max_dead(&mut self, max_dead: i32) {
        // SAFETY: the handle is open.
        unsafe { (c().set_max_dead)(self.0, max_dead) }
    }

    pub fn flags(&mut self) -> u32 {
        self.simple(c().get_flags).cast_unsigned()
    }

    pub fn seqnum(&mut self) -> u32 {
        self.simple(c().get_seqnum).cast_unsigned()
    }

    /// The code of the last failure (tdb §11.6); successes do not reset it.
    pub fn error(&mut self) -> u32 {
        self.simple(c().error).cast_unsigned()
    }

    pub fn wipe(&mut self) -> c_int {
        self.simple(c().wipe_all)
    }

    pub fn repack(&mut self) -> c_int {
        self.simple(c().repack)
    }

    pub fn freelist_size(&mut self) -> c_int {
        self.simple(c().freelist_size)
    }

    pub fn lockall(&mut self) -> c_int {
        self.simple(c().lockall)
    }

    pub fn lockall_nonblock(&mut self) -> c_int {
        self.simple(c().lockall_nonblock)
    }

    pub fn unlockall(&mut self) -> c_int {
        self.simple(c().unlockall)
    }

    pub fn lockall_read(&mut self) -> c_int {
        self.simple(c().lockall_read)
    }

    pub fn unlockall_read(&mut self) -> c_int {
        self.simple(c().unlockall_read)
    }

    pub fn begin(&mut self) -> c_int {
        self.simple(c().transaction_start)
    }

    pub fn prepare(&mut self) -> c_int {
        self.simple(c().transaction_prepare_commit)
    }

    pub fn commit(&mut self) -> c_int {
        self.simple(c().transaction_commit)
    }

    pub fn cancel(&mut self) -> c_int {
        self.simple(c().transaction_cancel)
    }

    /// libtdb's own judgement of the file.
    pub fn check(&mut self) -> bool {
        // SAFETY: the handle is open; without a callback the private pointer is not used.
        unsafe { (c().check)(self.0, std::ptr::null(), std::ptr::null_mut()) == 0 }
    }

    pub fn summary(&mut self) -> Option<String> {
        // SAFETY: the handle is open.
        let text = unsafe { (c().summary)(self.0) };
        if text.is_null() {
            return None;
        }
        // SAFETY: a NUL-terminated text that libtdb allocated for us to free.
        unsafe {
            let copy = CStr::from_ptr(text).to_string_lossy().into_owned();
            libc::free(text.cast());
            Some(copy)
        }
    }

    /// Visits every record and does nothing with it; how many there were, or -1.
    pub fn traverse_count(&mut self) -> c_int {
        unsafe extern "C" fn nothing(_: *mut c_void, _: Data, _: Data, _: *mut c_void) -> c_int {
            0
        }
        // SAFETY: the handle is open; the private pointer is not used.
        unsafe { (c().traverse_read)(self.0, Some(nothing), std::ptr::null_mut()) }
    }

    /// All records, by a read traverse.
    pub fn traverse(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.collect(c().traverse_read)
    }

    /// All records, by a write traverse, which excludes transactions meanwhile.
    pub fn traverse_write(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.collect(c().traverse)
    }

    fn collect(&mut self, visiting: Visiting) -> Vec<(Vec<u8>, Vec<u8>)> {
        unsafe extern "C" fn collect(
            _: *mut c_void,
            key: Data,
            data: Data,
            to: *mut c_void,
        ) -> c_int {
            // SAFETY: `to` is the vector of the surrounding call, which waits for us.
            let records = unsafe { &mut *to.cast::<Vec<(Vec<u8>, Vec<u8>)>>() };
            records.push((copied(key), copied(data)));
            0
        }
        let mut records: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        // SAFETY: the handle is open; the vector outlives the call.
        unsafe { visiting(self.0, Some(collect), (&raw mut records).cast()) };
        records
    }

    fn simple(&mut self, function: Simple) -> c_int {
        // SAFETY: the handle is open.
        unsafe { function(self.0) }
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        // SAFETY: the handle is open and not used afterwards.
        unsafe { (c().close)(self.0) };
    }
}

fn c() -> &'static Functions {
    match functions() {
        Ok(functions) => functions,
        Err(error) => panic!("{error}"),
    }
}

fn data(bytes: &[u8]) -> Data {
    Data { pointer: bytes.as_ptr().cast_mut(), size: bytes.len() }
}

/// Copies a buffer that libtdb allocated and frees it.
fn take(data: Data) -> Option<Vec<u8>> {
    if data.pointer.is_null() {
        return None;
    }
    let copy = copied(data);
    // SAFETY: libtdb returned this buffer for us to free.
    unsafe { libc::free(data.pointer.cast()) };
    Some(copy)
}

/// Copies what libtdb shows in memory of its own, not in the file.
fn copied(data: Data) -> Vec<u8> {
    if data.size == 0 {
        return Vec::new();
    }
    // SAFETY: libtdb's buffer of `size` bytes, valid until it or we free it.
    unsafe { std::slice::from_raw_parts(data.pointer, data.size) }.to_vec()
}
