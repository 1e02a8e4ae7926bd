//! Robust mutexes that live in the file (tdb §7).

use crate::database::Chain;
use crate::mapping::Mapping;
use crate::range_lock::{Attempt, LockKind, Wait};
use crate::view;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

/// The mutexes of one file, mapped once per process at an address that never moves.
///
/// ```text
/// offset   size  field
///      0    168  copy of the header, never changed after creation
///    168     40  mutex of the whole database
///    208      2  its state: 2 = free, 0 = shared, 1 = exclusive
///    210      6  padding
///    216   40*i  mutexes: 0 = free list, c + 1 = chain c
///          ...   padding to a whole page, where the database proper starts
/// ```
///
/// Each mutex is glibc's `pthread_mutex_t` (robust, process-shared, error-checking), 40 bytes:
///
/// ```text
/// offset  size  field
///      0     4  futex word: TID of the owner, bit 31 = waiters, bit 30 = owner died
///      4     4  count     8  4  owner     12  4  users
///     16     4  kind      0x92
///     20     4  spins
///     24    16  links of the owner's list of robust mutexes, valid in its address space
/// ```
///
/// The links are why the area is never remapped, and why it is leaked rather than unmapped when
/// a mutex in it cannot be released (P7, P8).
#[derive(Debug)]
pub(crate) struct MutexArea {
    map: Mapping,
    hash_size: u32,
}

/// One mutex of the area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutex {
    AllRecords,
    FreeList,
    Chain(u32),
}

impl MutexArea {
    pub(crate) fn map(file: &File, hash_size: u32) -> io::Result<Self> {
        let size =
            mutex_area_size(hash_size).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
        Ok(Self { map: Mapping::new(file, 0, size as usize, true)?, hash_size })
    }

    /// Makes every mutex new (tdb §7.4); only while nobody else can have the file open.
    pub(crate) fn initialise(&self) -> Result<(), i32> {
        let attributes = Attributes::new()?;
        self.initialise_one(Mutex::FreeList, &attributes)?;
        for chain in 0..self.hash_size {
            self.initialise_one(Mutex::Chain(chain), &attributes)?;
        }
        self.set_state(State::Free);
        self.initialise_one(Mutex::AllRecords, &attributes)
    }

    /// Locks a mutex; that of a dead owner is made consistent and counts as locked.
    ///
    /// `Err` carries the error number: `EDEADLK` if this thread holds it, `ENOTRECOVERABLE` if
    /// somebody released it after a death without repair (P10).
    pub(crate) fn lock(&self, mutex: Mutex, wait: Wait) -> Result<Attempt, i32> {
        // Truncated memory is private zeros: a mutex there would block this thread for good.
        if self.map.is_truncated() {
            return Err(libc::ENXIO);
        }
        let pointer = self.pointer(mutex);
        // SAFETY: `pointer` is an initialised mutex inside the mapping (`pointer` asserts its
        // bounds), which stays where it is as long as `self` lives, and `self` outlives every
        // lock: handles release theirs before they let go of the area, or leak it.
        let outcome = unsafe {
            match wait {
                Wait::Block => libc::pthread_mutex_lock(pointer),
                Wait::Try => libc::pthread_mutex_trylock(pointer),
            }
        };
        if self.map.is_truncated() {
            // This very access has met the missing page; nothing is locked.
            return Err(libc::ENXIO);
        }
        match outcome {
            0 => Ok(Attempt::Locked),
            libc::EOWNERDEAD => {
                if mutex == Mutex::AllRecords {
                    // tdb §7.5.1: a dead committer is cleaned up here; what it left half-written
                    // is found by the recovery test that follows the next data lock.
                    self.set_state(State::Free);
                }
                // SAFETY: as above; this thread owns the mutex now.
                match unsafe { libc::pthread_mutex_consistent(pointer) } {
                    0 => Ok(Attempt::Locked),
                    errno => Err(errno),
                }
            }
            // Another handle of this very thread holds it: for a try that is simply "busy".
            libc::EBUSY => Ok(Attempt::Busy),
            libc::EDEADLK if wait == Wait::Try => Ok(Attempt::Busy),
            errno => Err(errno),
        }
    }

    pub(crate) fn unlock(&self, mutex: Mutex) -> Result<(), i32> {
        // SAFETY: as in `lock`; a mutex of another thread is refused by the C library (EPERM).
        match unsafe { libc::pthread_mutex_unlock(self.pointer(mutex)) } {
            0 => Ok(()),
            errno => Err(errno),
        }
    }

    pub(crate) fn state(&self) -> State {
        match self.state_word().load(Ordering::SeqCst) {
            2 => State::Free,
            0 => State::Locked(LockKind::Read),
            // Unknown values count as the strictest one; only damage or malice puts them here.
            _ => State::Locked(LockKind::Write),
        }
    }

    /// Only by the holder of the mutex of the whole database.
    pub(crate) fn set_state(&self, state: State) {
        let value = match state {
            State::Free => 2,
            State::Locked(LockKind::Read) => 0,
            State::Locked(LockKind::Write) => 1,
        };
        self.state_word().store(value, Ordering::SeqCst);
    }

    /// The futex word of a mutex, for waiting without blocking (`chain_wait`).
    pub(crate) fn word(&self, mutex: Mutex) -> &AtomicU32 {
        // SAFETY: the first word of the mutex, inside the mapping and aligned (`pointer`); all
        // its users access it atomically.
        unsafe { AtomicU32::from_ptr(self.pointer(mutex).cast()) }
    }

    /// The first chain from `from` on whose mutex is held, or may be. After `set_state` a free word
    /// tells as much as locking and unlocking the mutex would, at a fraction of the cost: whoever
    /// locks it later sees the state.
    ///
    /// Both sides write one word and then read the other (a chain locker its mutex by an atomic
    /// exchange and then the state; we the state and then the mutex), and on x86-64 an atomic
    /// exchange or a sequentially consistent store keeps later reads behind it. So at least one of
    /// both sees the other. On machines with weaker order every mutex must be locked.
    pub(crate) fn first_held(&self, from: u32) -> Option<u32> {
        if !cfg!(target_arch = "x86_64") {
            return (from < self.hash_size).then_some(from);
        }
        let count = (self.hash_size - from.min(self.hash_size)) as usize;
        if count == 0 {
            return None;
        }
        // Judges the bounds of the last one too.
        let _ = self.pointer(Mutex::Chain(self.hash_size - 1));
        let first = self.pointer(Mutex::Chain(from)).cast::<u8>();
        let held = (0..count).position(|index| {
            // SAFETY: the futex word of a mutex between the first and the last, whose bounds were
            // asserted; aligned, and accessed atomically by all its users.
            let word = unsafe { AtomicU32::from_ptr(first.add(index * MUTEX_SIZE).cast()) };
            word.load(Ordering::SeqCst) != 0
        })?;
        Some(from + u32::try_from(held).expect("below the number of chains"))
    }

    /// Lets the mutex of a chain come nearer.
    #[inline]
    pub(crate) fn prefetch(&self, chain: Chain) {
        let offset = LISTS_OFFSET + MUTEX_SIZE * (chain.0 as usize + 1);
        view::prefetch(self.map.as_ptr().wrapping_add(offset));
    }

    /// Marks a held mutex as waited for, so that whoever releases it wakes somebody; returns the
    /// word to wait on, or `None` when the mutex can be had now.
    pub(crate) fn announce_waiter(&self, mutex: Mutex) -> Option<u32> {
        let word = self.word(mutex);
        let mut have = word.load(Ordering::SeqCst);
        loop {
            if have & FUTEX_TID_MASK == 0 || have & FUTEX_OWNER_DIED != 0 {
                return None;
            }
            if have & FUTEX_WAITERS != 0 {
                return Some(have);
            }
            let want = have | FUTEX_WAITERS;
            match word.compare_exchange(have, want, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return Some(want),
                Err(changed) => have = changed,
            }
        }
    }

    /// Hands on what a waiter knows when it stops waiting: that others may sleep on this mutex.
    ///
    /// The owner remembers it in the word and wakes the next one when it unlocks. Anybody else
    /// wakes the next one now, which then marks the word itself. A free mutex is never marked:
    /// glibc takes a word that is neither zero nor "owner died" for a held mutex.
    pub(crate) fn pass_on_waiters(&self, mutex: Mutex) {
        let word = self.word(mutex);
        let own = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
        if word.load(Ordering::SeqCst) & FUTEX_TID_MASK == own {
            word.fetch_or(FUTEX_WAITERS, Ordering::SeqCst);
        } else {
            self.wake_one(mutex);
        }
    }

    /// Wakes one of those who sleep on the mutex, in any process.
    pub(crate) fn wake_one(&self, mutex: Mutex) {
        // The call only fails for addresses that are not mapped.
        let _ =
            rustix::thread::futex::wake(self.word(mutex), rustix::thread::futex::Flags::empty(), 1);
    }

    /// Wakes one sleeper of every mutex; those who still have to wait go back to sleep (P49).
    pub(crate) fn wake_strays(&self) {
        self.wake_one(Mutex::AllRecords);
        self.wake_one(Mutex::FreeList);
        for chain in 0..self.hash_size {
            self.wake_one(Mutex::Chain(chain));
        }
    }

    fn state_word(&self) -> &AtomicU16 {
        // SAFETY: the area is at least a page long and page-aligned; all users of the word access
        // it as one 16-bit value.
        unsafe { AtomicU16::from_ptr(self.map.as_mut_ptr().add(STATE_OFFSET).cast()) }
    }

    fn pointer(&self, mutex: Mutex) -> *mut libc::pthread_mutex_t {
        let offset = match mutex {
            Mutex::AllRecords => ALL_RECORDS_OFFSET,
            Mutex::FreeList => LISTS_OFFSET,
            Mutex::Chain(chain) => {
                assert!(chain < self.hash_size, "chains are counted by the hash size");
                LISTS_OFFSET + MUTEX_SIZE * (chain as usize + 1)
            }
        };
        assert!(offset + MUTEX_SIZE <= self.map.len(), "the area has room for every chain");
        // SAFETY: within the mapping (asserted above).
        unsafe { self.map.as_mut_ptr().add(offset).cast() }
    }

    fn initialise_one(&self, mutex: Mutex, attributes: &Attributes) -> Result<(), i32> {
        // SAFETY: within the mapping (`pointer`); the caller knows that nobody uses the mutex, so
        // overwriting it is safe; the attributes are initialised.
        match unsafe { libc::pthread_mutex_init(self.pointer(mutex), &raw const attributes.0) } {
            0 => Ok(()),
            errno => Err(errno),
        }
    }
}

/// Who may use the chains while somebody holds the whole database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Free,
    Locked(LockKind),
}

/// Bytes in front of the database proper of a file with mutexes; `None` when no file can be so
/// large.
pub(crate) fn mutex_area_size(hash_size: u32) -> Option<u32> {
    let size = (LISTS_OFFSET + MUTEX_SIZE) as u64 + MUTEX_SIZE as u64 * u64::from(hash_size);
    u32::try_from(size.next_multiple_of(page_size())).ok()
}

/// Page size of this machine; it decides where the database proper starts (P28).
pub(crate) fn page_size() -> u64 {
    rustix::param::page_size() as u64
}

struct Attributes(libc::pthread_mutexattr_t);

impl Attributes {
    fn new() -> Result<Self, i32> {
        let check = |outcome: i32| if outcome == 0 { Ok(()) } else { Err(outcome) };
        let mut raw = std::mem::MaybeUninit::uninit();
        // SAFETY: `pthread_mutexattr_init` fills the object; the setters get an initialised one.
        unsafe {
            check(libc::pthread_mutexattr_init(raw.as_mut_ptr()))?;
            let mut attributes = Self(raw.assume_init());
            let pointer = &raw mut attributes.0;
            check(libc::pthread_mutexattr_settype(pointer, libc::PTHREAD_MUTEX_ERRORCHECK))?;
            check(libc::pthread_mutexattr_setpshared(pointer, libc::PTHREAD_PROCESS_SHARED))?;
            check(libc::pthread_mutexattr_setrobust(pointer, libc::PTHREAD_MUTEX_ROBUST))?;
            Ok(attributes)
        }
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`.
        unsafe { libc::pthread_mutexattr_destroy(&raw mut self.0) };
    }
}

const FUTEX_WAITERS: u32 = 0x8000_0000;
const FUTEX_OWNER_DIED: u32 = 0x4000_0000;
const FUTEX_TID_MASK: u32 = 0x3FFF_FFFF;
const ALL_RECORDS_OFFSET: usize = 168;
const STATE_OFFSET: usize = 208;
const LISTS_OFFSET: usize = 216;
const MUTEX_SIZE: usize = 40;

// The objects live in files that other programs made with glibc on x86-64: another layout would
// silently corrupt them.
const _: () = assert!(size_of::<libc::pthread_mutex_t>() == MUTEX_SIZE);
#[cfg(not(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64")))]
compile_error!("mutexes in TDB files have the layout of glibc on 64-bit Linux");

#[cfg(test)]
mod tests {
    use super::*;

    fn area(file: &crate::scratch::File) -> MutexArea {
        let opened = file.open();
        opened.set_len(u64::from(mutex_area_size(3).unwrap())).unwrap();
        let area = MutexArea::map(&opened, 3).unwrap();
        area.initialise().unwrap();
        area
    }

    #[test]
    fn areas_have_the_published_sizes() {
        let sizes = [1, 96, 131, 999, 10007, 100_001].map(mutex_area_size);
        assert_eq!(sizes, [4096, 4096, 8192, 40960, 401_408, 4_001_792].map(Some));
        assert_eq!(mutex_area_size(u32::MAX), None);
    }

    #[test]
    fn a_new_mutex_is_all_zero_but_for_its_kind() {
        let file = crate::scratch::File::new("mutex-new");
        let area = area(&file);
        let bytes = file.bytes();
        assert_eq!(bytes[168 + 16..168 + 20], [0x92, 0, 0, 0]);
        assert_eq!(bytes[208..210], [2, 0]);
        assert_eq!(bytes[216 + 120 + 16..216 + 120 + 20], [0x92, 0, 0, 0]);
        assert!(bytes[168..184].iter().chain(&bytes[216..232]).all(|byte| *byte == 0));
        assert_eq!(area.state(), State::Free);
    }

    #[test]
    fn a_thread_excludes_another_and_itself() {
        let file = crate::scratch::File::new("mutex-thread");
        let area = area(&file);
        assert_eq!(area.lock(Mutex::Chain(1), Wait::Try), Ok(Attempt::Locked));
        assert_eq!(area.lock(Mutex::Chain(1), Wait::Try), Ok(Attempt::Busy));
        assert_eq!(area.lock(Mutex::Chain(1), Wait::Block), Err(libc::EDEADLK));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert_eq!(area.lock(Mutex::Chain(1), Wait::Try), Ok(Attempt::Busy));
                assert_eq!(area.unlock(Mutex::Chain(1)), Err(libc::EPERM));
            });
        });
        assert_eq!(area.unlock(Mutex::Chain(1)), Ok(()));
    }

    #[test]
    fn the_mutex_of_a_dead_thread_is_taken_over_and_the_state_reset() {
        let file = crate::scratch::File::new("mutex-dead");
        let area = area(&file);
        std::thread::scope(|scope| {
            let dying = scope.spawn(|| {
                assert_eq!(area.lock(Mutex::AllRecords, Wait::Block), Ok(Attempt::Locked));
                area.set_state(State::Locked(LockKind::Write));
            });
            // Only an explicit join waits until the kernel has ended the thread.
            dying.join().unwrap();
        });
        assert_eq!(area.lock(Mutex::AllRecords, Wait::Try), Ok(Attempt::Locked));
        assert_eq!(area.state(), State::Free);
        assert_eq!(area.unlock(Mutex::AllRecords), Ok(()));
        assert_eq!(area.lock(Mutex::AllRecords, Wait::Try), Ok(Attempt::Locked));
        assert_eq!(area.unlock(Mutex::AllRecords), Ok(()));
    }
}
