//! The ring's futex wait hears what glibc and the kernel do with a robust mutex in shared memory,
//! as the chains of a TDB file are locked.

mod world;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;

use bateria_ring::{Event, FutexOutcome, FutexWord, Token, Wait};
use world::World;

/// In the lock word beside the owner's thread number: whoever unlocks must wake.
const FUTEX_WAITERS: u32 = 0x8000_0000;

/// In the lock word after its owner died.
const FUTEX_OWNER_DIED: u32 = 0x4000_0000;

/// A robust, process-shared mutex on a page of its own.
struct SharedMutex(*mut libc::pthread_mutex_t);

// SAFETY: a process-shared mutex is made to be used from everywhere.
unsafe impl Send for SharedMutex {}
// SAFETY: as above.
unsafe impl Sync for SharedMutex {}

impl SharedMutex {
    fn new() -> Self {
        // SAFETY: the mapping is fresh and larger than a mutex; the attributes are initialised
        // before their use and destroyed after it.
        unsafe {
            let page = libc::mmap(
                std::ptr::null_mut(),
                4096,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(page, libc::MAP_FAILED);
            let mut attributes = std::mem::zeroed();
            libc::pthread_mutexattr_init(&raw mut attributes);
            libc::pthread_mutexattr_setpshared(&raw mut attributes, libc::PTHREAD_PROCESS_SHARED);
            libc::pthread_mutexattr_setrobust(&raw mut attributes, libc::PTHREAD_MUTEX_ROBUST);
            let mutex = page.cast();
            assert_eq!(libc::pthread_mutex_init(mutex, &raw const attributes), 0);
            libc::pthread_mutexattr_destroy(&raw mut attributes);
            Self(mutex)
        }
    }

    /// The lock word is the mutex's first.
    fn word(&self) -> &AtomicU32 {
        // SAFETY: a mutex is larger and more aligned than its first word, and lives as long as
        // `self`; everybody changes the word atomically.
        unsafe { &*self.0.cast::<AtomicU32>() }
    }

    fn try_lock(&self) -> i32 {
        // SAFETY: the mutex is initialised and mapped.
        unsafe { libc::pthread_mutex_trylock(self.0) }
    }

    fn unlock(&self) {
        // SAFETY: the calling thread holds the mutex.
        assert_eq!(unsafe { libc::pthread_mutex_unlock(self.0) }, 0);
    }
}

impl Drop for SharedMutex {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours alone and nobody uses it any more.
        unsafe { libc::munmap(self.0.cast(), 4096) };
    }
}

/// What a waiter sees in the word when a wait on a mutex held elsewhere is over.
fn word_after(leave: impl FnOnce(&SharedMutex) + Send) -> Option<u32> {
    let mut ours = World::new();
    if !ours.ring.capabilities().futex_wait {
        return None;
    }
    let mutex = SharedMutex::new();
    let (locked, until_locked) = mpsc::channel();
    let (go, until_go) = mpsc::channel();
    std::thread::scope(|threads| {
        let mutex = &mutex;
        threads.spawn(move || {
            assert_eq!(mutex.try_lock(), 0);
            locked.send(()).expect("the waiter listens");
            until_go.recv().expect("the waiter says when");
            leave(mutex);
        });
        until_locked.recv().expect("the owner locks");
        assert_eq!(mutex.try_lock(), libc::EBUSY);
        let held = mutex.word().fetch_or(FUTEX_WAITERS, Ordering::AcqRel) | FUTEX_WAITERS;
        let word = FutexWord::at(mutex.word().as_ptr());
        ours.ring.futex_wait(word, held, Token(0)).expect("the kernel can");
        ours.ring.turn(Wait::No).expect("the ring goes on");
        go.send(()).expect("the owner listens");
        ours.until(|event| match event {
            Event::FutexWoken { outcome: FutexOutcome::Woken, .. } => Some(()),
            other => panic!("{other:?}"),
        });
    });
    Some(mutex.word().load(Ordering::Acquire))
}

#[test]
fn an_unlock_wakes_the_ring() {
    if let Some(word) = word_after(SharedMutex::unlock) {
        assert_eq!(word, 0);
    }
}

#[test]
fn the_death_of_the_owner_wakes_the_ring() {
    if let Some(word) = word_after(|_| {}) {
        assert_eq!(word & FUTEX_OWNER_DIED, FUTEX_OWNER_DIED);
    }
}
