//! Mapped files that may be truncated under us (P19).
//!
//! The kernel answers an access beyond the end of a mapped file with SIGBUS, which kills the
//! process: one truncated database would take the daemon and all others with it. Bounds checks
//! cannot prevent it, because the truncation may come between check and access.
//!
//! A process that calls `survive_truncation` gets a page of zeros in place of the signal, and the
//! mapping remembers it: the access that met it, and all later ones, fail until the file is mapped
//! anew. What was read is never used.

use memmap2::{MmapOptions, MmapRaw};
use std::fs::File;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, compiler_fence};

/// A shared mapping of part of a file.
#[derive(Debug)]
pub(crate) struct Mapping {
    map: MmapRaw,
    /// `None` when all slots are taken: such a mapping is not protected.
    slot: Option<&'static Slot>,
}

/// A mapping as the signal handler knows it.
#[derive(Debug)]
struct Slot {
    start: AtomicUsize,
    /// 0 = nobody uses this slot.
    end: AtomicUsize,
    truncated: AtomicBool,
}

impl Mapping {
    pub(crate) fn new(file: &File, offset: u64, size: usize, writable: bool) -> io::Result<Self> {
        let mut options = MmapOptions::new();
        options.offset(offset).len(size);
        let map = if writable { options.map_raw(file) } else { options.map_raw_read_only(file) }?;
        let start = map.as_ptr() as usize;
        Ok(Self { slot: occupy(start, start + size), map })
    }

    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.map.as_ptr()
    }

    pub(crate) fn as_mut_ptr(&self) -> *mut u8 {
        self.map.as_mut_ptr()
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    /// True if some access has met a missing page; asked after every access.
    #[inline]
    pub(crate) fn is_truncated(&self) -> bool {
        met_missing_page(self.truncation())
    }

    /// The flag behind `is_truncated`; it belongs to this mapping only as long as that lives.
    pub(crate) fn truncation(&self) -> &'static AtomicBool {
        self.slot.map_or(&NEVER, |slot| &slot.truncated)
    }

    pub(crate) fn flush_range(&self, offset: usize, size: usize) -> io::Result<()> {
        self.map.flush_range(offset, size)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            // Before the memory can become somebody else's.
            slot.end.store(0, Ordering::SeqCst);
        }
    }
}

/// True if the flag is set. The handler runs in the thread that met the page, so no more is needed
/// than that the compiler leaves accesses in front of this where they are.
#[inline]
pub(crate) fn met_missing_page(truncation: &AtomicBool) -> bool {
    compiler_fence(Ordering::SeqCst);
    truncation.load(Ordering::Relaxed)
}

/// From now on this process survives that a mapped TDB file is truncated: the operation that
/// meets the missing page fails with an error. Installs a handler for SIGBUS; a signal that is not
/// about a TDB file goes to the handler that was there before.
///
/// # Errors
///
/// Those of `sigaction`.
pub fn survive_truncation() -> io::Result<()> {
    static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();
    let installed = INSTALLED.get_or_init(|| {
        let errno = || io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL);
        // SAFETY: all-zero bytes are a valid `sigaction`; both calls get valid pointers. The
        // handler does nothing but atomics and system calls.
        unsafe {
            let mut before: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(libc::SIGBUS, std::ptr::null(), &raw mut before) != 0 {
                return Err(errno());
            }
            let _ = BEFORE.set(Before(before));
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_sigbus as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
            if libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut()) != 0 {
                return Err(errno());
            }
        }
        Ok(())
    });
    installed.map_err(io::Error::from_raw_os_error)
}

extern "C" fn on_sigbus(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    // SAFETY: the kernel passes a valid `siginfo_t` to a handler with SA_SIGINFO.
    let address = unsafe { (*info).si_addr() } as usize;
    let slot = SLOTS.iter().find(|slot| {
        address < slot.end.load(Ordering::SeqCst) && address >= slot.start.load(Ordering::SeqCst)
    });
    if let Some(slot) = slot {
        slot.truncated.store(true, Ordering::SeqCst);
        let page = rustix::param::page_size();
        let start = address & !(page - 1);
        // SAFETY: replaces one page of a mapping that this crate owns, in which the access has
        // just failed, so nobody loses data by it. `mmap` is a plain system call here.
        let mapped = unsafe {
            libc::mmap(
                start as *mut libc::c_void,
                page,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
                -1,
                0,
            )
        };
        if mapped != libc::MAP_FAILED {
            return;
        }
    }
    pass_to_previous(signal);
}

/// Puts the previous handler back; the access is repeated, and the signal comes again to it.
fn pass_to_previous(signal: libc::c_int) {
    if let Some(before) = BEFORE.get() {
        // SAFETY: `before` is what `sigaction` has reported for this signal.
        unsafe { libc::sigaction(signal, &raw const before.0, std::ptr::null_mut()) };
    }
}

struct Before(libc::sigaction);

// SAFETY: a description of a handler, only read.
unsafe impl Send for Before {}
// SAFETY: as above.
unsafe impl Sync for Before {}

fn occupy(start: usize, end: usize) -> Option<&'static Slot> {
    SLOTS.iter().find(|slot| {
        // 1 marks a slot that is being filled: no address lies below it.
        let free = slot.end.compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if free {
            slot.truncated.store(false, Ordering::SeqCst);
            slot.start.store(start, Ordering::SeqCst);
            slot.end.store(end, Ordering::SeqCst);
        }
        free
    })
}

/// Of what is not mapped, or not protected.
pub(crate) static NEVER: AtomicBool = AtomicBool::new(false);
static BEFORE: OnceLock<Before> = OnceLock::new();
/// Two mappings per handle of a file with mutexes, one of other files.
static SLOTS: [Slot; 4096] = [const {
    Slot {
        start: AtomicUsize::new(usize::MAX),
        end: AtomicUsize::new(0),
        truncated: AtomicBool::new(false),
    }
}; 4096];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OpenOptions, StoreMode, Tdb, TdbFlags};

    #[test]
    fn a_truncated_file_is_an_error_and_no_death() {
        survive_truncation().unwrap();
        for flags in [TdbFlags::empty(), TdbFlags::MUTEX_LOCKING] {
            let file = crate::scratch::File::new("truncated");
            let options = OpenOptions { create: true, flags, ..OpenOptions::default() };
            let mut tdb = Tdb::open(file.path(), &options).unwrap();
            tdb.store(b"key", &[&[1; 100]], StoreMode::Insert).unwrap();
            file.open().set_len(0).unwrap();
            let mut out = Vec::new();
            let outcome = tdb.fetch(b"key", &mut out);
            assert!(outcome.is_err(), "{outcome:?}");
            let outcome = tdb.store(b"key", &[b"x"], StoreMode::Replace);
            assert!(outcome.is_err(), "{outcome:?}");
            assert!(tdb.check().is_err());
            assert!(tdb.begin().is_err());
        }
    }

    #[test]
    fn a_file_that_shrank_reports_the_missing_part_only() {
        survive_truncation().unwrap();
        let file = crate::scratch::File::new("shrunk");
        let options = OpenOptions { create: true, ..OpenOptions::default() };
        let mut tdb = Tdb::open(file.path(), &options).unwrap();
        tdb.store(b"key", &[&[1; 100]], StoreMode::Insert).unwrap();
        file.open().set_len(4096).unwrap();
        let outcome = tdb.fetch(b"key", &mut Vec::new());
        assert!(matches!(outcome, Err(ref error) if error.is_damage()), "{outcome:?}");
        assert!(matches!(tdb.fetch(b"other", &mut Vec::new()), Ok(false)));
    }
}
