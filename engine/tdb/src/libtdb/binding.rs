//! The functions of libtdb, found by name when they are first needed.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;

/// `TDB_DATA`: a pointer and a length, passed and returned by value.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Data {
    pub(super) pointer: *mut u8,
    pub(super) size: usize,
}

pub(super) type Visitor = unsafe extern "C" fn(*mut c_void, Data, Data, *mut c_void) -> c_int;
pub(super) type Parser = unsafe extern "C" fn(Data, Data, *mut c_void) -> c_int;
pub(super) type Simple = unsafe extern "C" fn(*mut c_void) -> c_int;
pub(super) type Keyed = unsafe extern "C" fn(*mut c_void, Data) -> c_int;
pub(super) type Visiting = unsafe extern "C" fn(*mut c_void, Option<Visitor>, *mut c_void) -> c_int;
pub(super) type Listing = unsafe extern "C" fn(*mut c_void) -> Data;

/// Why there is no comparison with libtdb.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    #[error("libtdb.so.1 cannot be loaded ({0}): install libtdb (Debian: package libtdb1)")]
    Missing(String),
    #[error("libtdb.so.1 has no function {0}: a libtdb of 1.4 or later is needed")]
    TooOld(&'static str),
}

macro_rules! functions {
    ($($field:ident = $name:literal: $type:ty,)*) => {
        pub(super) struct Functions {
            $(pub(super) $field: $type,)*
        }

        impl Functions {
            fn find(library: *mut c_void) -> Result<Self, LoadError> {
                Ok(Self {
                    $($field: {
                        let name: &'static CStr = $name;
                        // SAFETY: the library is loaded and stays so.
                        let address = unsafe { libc::dlsym(library, name.as_ptr()) };
                        if address.is_null() {
                            return Err(LoadError::TooOld(name.to_str().unwrap_or("?")));
                        }
                        // SAFETY: the type of the field is the C prototype of this function.
                        unsafe { std::mem::transmute::<*mut c_void, $type>(address) }
                    },)*
                })
            }
        }
    };
}

functions! {
    open = c"tdb_open":
        unsafe extern "C" fn(*const c_char, c_int, c_int, c_int, c_uint) -> *mut c_void,
    close = c"tdb_close": Simple,
    store = c"tdb_store": unsafe extern "C" fn(*mut c_void, Data, Data, c_int) -> c_int,
    storev = c"tdb_storev":
        unsafe extern "C" fn(*mut c_void, Data, *const Data, c_int, c_int) -> c_int,
    append = c"tdb_append": unsafe extern "C" fn(*mut c_void, Data, Data) -> c_int,
    fetch = c"tdb_fetch": unsafe extern "C" fn(*mut c_void, Data) -> Data,
    parse = c"tdb_parse_record":
        unsafe extern "C" fn(*mut c_void, Data, Parser, *mut c_void) -> c_int,
    exists = c"tdb_exists": Keyed,
    delete = c"tdb_delete": Keyed,
    chainlock = c"tdb_chainlock": Keyed,
    chainlock_nonblock = c"tdb_chainlock_nonblock": Keyed,
    chainunlock = c"tdb_chainunlock": Keyed,
    chainlock_read = c"tdb_chainlock_read": Keyed,
    chainlock_read_nonblock = c"tdb_chainlock_read_nonblock": Keyed,
    chainunlock_read = c"tdb_chainunlock_read": Keyed,
    lockall = c"tdb_lockall": Simple,
    lockall_nonblock = c"tdb_lockall_nonblock": Simple,
    unlockall = c"tdb_unlockall": Simple,
    lockall_read = c"tdb_lockall_read": Simple,
    unlockall_read = c"tdb_unlockall_read": Simple,
    wipe_all = c"tdb_wipe_all": Simple,
    traverse = c"tdb_traverse": Visiting,
    traverse_read = c"tdb_traverse_read": Visiting,
    error = c"tdb_error": Simple,
    transaction_start = c"tdb_transaction_start": Simple,
    transaction_commit = c"tdb_transaction_commit": Simple,
    transaction_cancel = c"tdb_transaction_cancel": Simple,
    transaction_prepare_commit = c"tdb_transaction_prepare_commit": Simple,
    check = c"tdb_check": unsafe extern "C" fn(*mut c_void, *const c_void, *mut c_void) -> c_int,
    repack = c"tdb_repack": Simple,
    freelist_size = c"tdb_freelist_size": Simple,
    set_max_dead = c"tdb_set_max_dead": unsafe extern "C" fn(*mut c_void, c_int),
    get_seqnum = c"tdb_get_seqnum": Simple,
    get_flags = c"tdb_get_flags": Simple,
    summary = c"tdb_summary": unsafe extern "C" fn(*mut c_void) -> *mut c_char,
    firstkey = c"tdb_firstkey": Listing,
    nextkey = c"tdb_nextkey": unsafe extern "C" fn(*mut c_void, Data) -> Data,
}

pub(super) fn functions() -> Result<&'static Functions, LoadError> {
    static FUNCTIONS: OnceLock<Result<Functions, LoadError>> = OnceLock::new();
    FUNCTIONS.get_or_init(find).as_ref().map_err(Clone::clone)
}

fn find() -> Result<Functions, LoadError> {
    // SAFETY: a name that ends with NUL; loading libtdb runs no code of ours. It is never unloaded.
    let library = unsafe { libc::dlopen(c"libtdb.so.1".as_ptr(), libc::RTLD_NOW) };
    if library.is_null() {
        // SAFETY: after a failure of this thread `dlerror` gives a text, or null.
        let reason = unsafe {
            let text = libc::dlerror();
            if text.is_null() {
                String::new()
            } else {
                CStr::from_ptr(text).to_string_lossy().into_owned()
            }
        };
        return Err(LoadError::Missing(reason));
    }
    Functions::find(library)
}
