//! Memory that the test shares with its workers: what they meant to do, and what they have done.

use memmap2::{MmapOptions, MmapRaw};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// ```text
/// word 0                     set to 1 when the workers should end
/// 1 + (slot * COUNTERS + c)  * 2      increments of counter c begun by the worker in this slot
/// 1 + (slot * COUNTERS + c)  * 2 + 1  increments of it that returned success
/// ```
#[derive(Debug)]
pub(crate) struct Control(MmapRaw);

pub(crate) const COUNTERS: usize = 6;
pub(crate) const SLOTS: usize = 16;
const WORDS: usize = 1 + SLOTS * COUNTERS * 2 + SLOTS;

impl Control {
    pub(crate) fn open(path: &Path) -> Self {
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .expect("the control file can be made");
        file.set_len(WORDS as u64 * 8).expect("the control file can grow");
        Self(MmapOptions::new().len(WORDS * 8).map_raw(&file).expect("the control file maps"))
    }

    pub(crate) fn stop(&self) {
        self.word(0).store(1, Ordering::SeqCst);
    }

    pub(crate) fn stopped(&self) -> bool {
        self.word(0).load(Ordering::SeqCst) != 0
    }

    pub(crate) fn begin(&self, slot: usize, counter: usize) {
        self.word(1 + (slot * COUNTERS + counter) * 2).fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn finish(&self, slot: usize, counter: usize) {
        self.word(2 + (slot * COUNTERS + counter) * 2).fetch_add(1, Ordering::SeqCst);
    }

    /// Takes back a `begin` whose operation reported failure.
    pub(crate) fn take_back(&self, slot: usize, counter: usize) {
        self.word(1 + (slot * COUNTERS + counter) * 2).fetch_sub(1, Ordering::SeqCst);
    }

    /// Begun and finished increments of one counter by all workers.
    pub(crate) fn totals(&self, counter: usize) -> (u64, u64) {
        let sum = |shift: usize| {
            (0..SLOTS)
                .map(|slot| {
                    self.word(1 + (slot * COUNTERS + counter) * 2 + shift).load(Ordering::SeqCst)
                })
                .sum()
        };
        (sum(0), sum(1))
    }

    /// A worker's sign of life.
    pub(crate) fn beat(&self, slot: usize) {
        self.word(1 + SLOTS * COUNTERS * 2 + slot).fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn beats(&self, slot: usize) -> u64 {
        self.word(1 + SLOTS * COUNTERS * 2 + slot).load(Ordering::SeqCst)
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < WORDS);
        // SAFETY: inside the mapping (asserted), aligned, and only accessed as atomics.
        unsafe { AtomicU64::from_ptr(self.0.as_mut_ptr().add(index * 8).cast()) }
    }
}
