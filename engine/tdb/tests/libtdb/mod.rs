//! The original, loaded at run time: tests only, so that no build depends on it.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;

/// A handle of libtdb. Its locks are classic POSIX locks: they do not exclude this process.
#[derive(Debug)]
pub(crate) struct Original(*mut c_void);

// SAFETY: libtdb has no thread-local state; a handle is used by one thread at a time, because
// every method takes `&mut self`.
unsafe impl Send for Original {}

#[repr(C)]
#[derive(Clone, Copy)]
struct Data {
    pointer: *mut u8,
    size: usize,
}

type Visitor = unsafe extern "C" fn(*mut c_void, Data, Data, *mut c_void) -> c_int;
type Simple = unsafe extern "C" fn(*mut c_void) -> c_int;
type Keyed = unsafe extern "C" fn(*mut c_void, Data) -> c_int;

struct Functions {
    open: unsafe extern "C" fn(*const c_char, c_int, c_int, c_int, c_uint) -> *mut c_void,
    close: Simple,
    store: unsafe extern "C" fn(*mut c_void, Data, Data, c_int) -> c_int,
    append: unsafe extern "C" fn(*mut c_void, Data, Data) -> c_int,
    fetch: unsafe extern "C" fn(*mut c_void, Data) -> Data,
    exists: Keyed,
    delete: Keyed,
    chainlock: Keyed,
    chainlock_nonblock: Keyed,
    chainunlock: Keyed,
    lockall: Simple,
    lockall_nonblock: Simple,
    unlockall: Simple,
    wipe_all: Simple,
    traverse: unsafe extern "C" fn(*mut c_void, Option<Visitor>, *mut c_void) -> c_int,
    traverse_read: unsafe extern "C" fn(*mut c_void, Option<Visitor>, *mut c_void) -> c_int,
    error: Simple,
    transaction_start: Simple,
    transaction_commit: Simple,
    transaction_cancel: Simple,
    transaction_prepare_commit: Simple,
    check: unsafe extern "C" fn(*mut c_void, *const c_void, *mut c_void) -> c_int,
    repack: Simple,
    freelist_size: Simple,
    set_max_dead: unsafe extern "C" fn(*mut c_void, c_int),
    get_seqnum: Simple,
    get_flags: Simple,
    summary: unsafe extern "C" fn(*mut c_void) -> *mut c_char,
    firstkey: unsafe extern "C" fn(*mut c_void) -> Data,
    nextkey: unsafe extern "C" fn(*mut c_void, Data) -> Data,
}

// SAFETY: function addresses of a library that is never unloaded.
unsafe impl Send for Functions {}
// SAFETY: as above; they are only called, never changed.
unsafe impl Sync for Functions {}

#[expect(clippy::missing_transmute_annotations, reason = "the fields name the types")]
fn functions() -> &'static Functions {
    static FUNCTIONS: OnceLock<Functions> = OnceLock::new();
    FUNCTIONS.get_or_init(|| {
        // SAFETY: a name that ends with NUL; loading libtdb runs no code of ours.
        let library = unsafe { libc::dlopen(c"libtdb.so.1".as_ptr(), libc::RTLD_NOW) };
        assert!(!library.is_null(), "libtdb.so.1 is needed for comparison (package libtdb1)");
        macro_rules! symbol {
            ($name:literal) => {{
                let name: &CStr = $name;
                // SAFETY: the library is loaded and stays so.
                let address = unsafe { libc::dlsym(library, name.as_ptr()) };
                assert!(!address.is_null(), "libtdb has {name:?}");
                // SAFETY: the type of the field is the C prototype of this function.
                unsafe { std::mem::transmute(address) }
            }};
        }
        Functions {
            open: symbol!(c"tdb_open"),
            close: symbol!(c"tdb_close"),
            store: symbol!(c"tdb_store"),
            append: symbol!(c"tdb_append"),
            fetch: symbol!(c"tdb_fetch"),
            exists: symbol!(c"tdb_exists"),
            delete: symbol!(c"tdb_delete"),
            chainlock: symbol!(c"tdb_chainlock"),
            chainlock_nonblock: symbol!(c"tdb_chainlock_nonblock"),
            chainunlock: symbol!(c"tdb_chainunlock"),
            lockall: symbol!(c"tdb_lockall"),
            lockall_nonblock: symbol!(c"tdb_lockall_nonblock"),
            unlockall: symbol!(c"tdb_unlockall"),
            wipe_all: symbol!(c"tdb_wipe_all"),
            traverse: symbol!(c"tdb_traverse"),
            traverse_read: symbol!(c"tdb_traverse_read"),
            error: symbol!(c"tdb_error"),
            transaction_start: symbol!(c"tdb_transaction_start"),
            transaction_commit: symbol!(c"tdb_transaction_commit"),
            transaction_cancel: symbol!(c"tdb_transaction_cancel"),
            transaction_prepare_commit: symbol!(c"tdb_transaction_prepare_commit"),
            check: symbol!(c"tdb_check"),
            repack: symbol!(c"tdb_repack"),
            freelist_size: symbol!(c"tdb_freelist_size"),
            set_max_dead: symbol!(c"tdb_set_max_dead"),
            get_seqnum: symbol!(c"tdb_get_seqnum"),
            get_flags: symbol!(c"tdb_get_flags"),
            summary: symbol!(c"tdb_summary"),
            firstkey: symbol!(c"tdb_firstkey"),
            nextkey: symbol!(c"tdb_nextkey"),
        }
    })
}

fn data(bytes: &[u8]) -> Data {
    Data { pointer: bytes.as_ptr().cast_mut(), size: bytes.len() }
}

/// Copies a buffer that libtdb allocated and frees it.
fn take(data: Data) -> Option<Vec<u8>> {
    if data.pointer.is_null() {
        return None;
    }
    // SAFETY: libtdb returned this buffer of `size` bytes for us to free.
    unsafe {
        let bytes = std::slice::from_raw_parts(data.pointer, data.size).to_vec();
        libc::free(data.pointer.cast());
        Some(bytes)
    }
}

impl Original {
    /// `Err` carries `errno`.
    pub(crate) fn open(
        path: &Path,
        hash_size: i32,
        flags: u32,
        open_flags: i32,
    ) -> Result<Self, i32> {
        let name = CString::new(path.as_os_str().as_bytes()).expect("paths have no NUL");
        let flags = c_int::try_from(flags).expect("flags are small");
        // SAFETY: a NUL-terminated name, which libtdb copies.
        let handle =
            unsafe { (functions().open)(name.as_ptr(), hash_size, flags, open_flags, 0o600) };
        if handle.is_null() {
            return Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0));
        }
        Ok(Self(handle))
    }

    pub(crate) fn store(&mut self, key: &[u8], value: &[u8], mode: c_int) -> c_int {
        // SAFETY: the handle is open; the buffers live during the call and are only read.
        unsafe { (functions().store)(self.0, data(key), data(value), mode) }
    }

    pub(crate) fn append(&mut self, key: &[u8], value: &[u8]) -> c_int {
        // SAFETY: as in `store`.
        unsafe { (functions().append)(self.0, data(key), data(value)) }
    }

    pub(crate) fn fetch(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        // SAFETY: as in `store`.
        take(unsafe { (functions().fetch)(self.0, data(key)) })
    }

    pub(crate) fn first_key(&mut self) -> Option<Vec<u8>> {
        // SAFETY: the handle is open.
        take(unsafe { (functions().firstkey)(self.0) })
    }

    pub(crate) fn next_key(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        // SAFETY: as in `store`.
        take(unsafe { (functions().nextkey)(self.0, data(key)) })
    }

    pub(crate) fn exists(&mut self, key: &[u8]) -> bool {
        // SAFETY: as in `store`.
        unsafe { (functions().exists)(self.0, data(key)) == 1 }
    }

    pub(crate) fn delete(&mut self, key: &[u8]) -> c_int {
        // SAFETY: as in `store`.
        unsafe { (functions().delete)(self.0, data(key)) }
    }

    pub(crate) fn chainlock(&mut self, key: &[u8]) -> c_int {
        // SAFETY: as in `store`.
        unsafe { (functions().chainlock)(self.0, data(key)) }
    }

    pub(crate) fn chainlock_nonblock(&mut self, key: &[u8]) -> c_int {
        // SAFETY: as in `store`.
        unsafe { (functions().chainlock_nonblock)(self.0, data(key)) }
    }

    pub(crate) fn chainunlock(&mut self, key: &[u8]) -> c_int {
        // SAFETY: as in `store`.
        unsafe { (functions().chainunlock)(self.0, data(key)) }
    }

    pub(crate) fn set_max_dead(&mut self, max_dead: i32) {
        // SAFETY: the handle is open.
        unsafe { (functions().set_max_dead)(self.0, max_dead) }
    }

    pub(crate) fn flags(&mut self) -> u32 {
        self.simple(functions().get_flags).cast_unsigned()
    }

    pub(crate) fn seqnum(&mut self) -> u32 {
        self.simple(functions().get_seqnum).cast_unsigned()
    }

    pub(crate) fn error(&mut self) -> u32 {
        self.simple(functions().error).cast_unsigned()
    }

    pub(crate) fn wipe(&mut self) -> c_int {
        self.simple(functions().wipe_all)
    }

    pub(crate) fn repack(&mut self) -> c_int {
        self.simple(functions().repack)
    }

    pub(crate) fn freelist_size(&mut self) -> c_int {
        self.simple(functions().freelist_size)
    }

    pub(crate) fn lockall(&mut self) -> c_int {
        self.simple(functions().lockall)
    }

    pub(crate) fn lockall_nonblock(&mut self) -> c_int {
        self.simple(functions().lockall_nonblock)
    }

    pub(crate) fn unlockall(&mut self) -> c_int {
        self.simple(functions().unlockall)
    }

    pub(crate) fn begin(&mut self) -> c_int {
        self.simple(functions().transaction_start)
    }

    pub(crate) fn prepare(&mut self) -> c_int {
        self.simple(functions().transaction_prepare_commit)
    }

    pub(crate) fn commit(&mut self) -> c_int {
        self.simple(functions().transaction_commit)
    }

    pub(crate) fn cancel(&mut self) -> c_int {
        self.simple(functions().transaction_cancel)
    }

    /// libtdb's own judgement of the file.
    pub(crate) fn check(&mut self) -> bool {
        // SAFETY: the handle is open; without a callback the private pointer is not used.
        unsafe { (functions().check)(self.0, std::ptr::null(), std::ptr::null_mut()) == 0 }
    }

    pub(crate) fn summary(&mut self) -> Option<String> {
        // SAFETY: the handle is open.
        let text = unsafe { (functions().summary)(self.0) };
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

    /// Visits every record and does nothing with it.
    pub(crate) fn traverse_count(&mut self) -> c_int {
        unsafe extern "C" fn nothing(_: *mut c_void, _: Data, _: Data, _: *mut c_void) -> c_int {
            0
        }
        // SAFETY: the handle is open; the private pointer is not used.
        unsafe { (functions().traverse_read)(self.0, Some(nothing), std::ptr::null_mut()) }
    }

    pub(crate) fn traverse(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        unsafe extern "C" fn collect(
            _: *mut c_void,
            key: Data,
            data: Data,
            to: *mut c_void,
        ) -> c_int {
            let copy = |data: Data| {
                if data.size == 0 {
                    return Vec::new();
                }
                // SAFETY: libtdb's buffer, valid during the callback.
                unsafe { std::slice::from_raw_parts(data.pointer, data.size) }.to_vec()
            };
            // SAFETY: `to` is the vector of the surrounding call, which waits for us.
            unsafe { &mut *to.cast::<Vec<(Vec<u8>, Vec<u8>)>>() }.push((copy(key), copy(data)));
            0
        }
        let mut records: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        // SAFETY: the handle is open; the vector outlives the call.
        unsafe { (functions().traverse_read)(self.0, Some(collect), (&raw mut records).cast()) };
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
        unsafe { (functions().close)(self.0) };
    }
}
