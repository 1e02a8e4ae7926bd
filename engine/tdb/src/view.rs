//! Mapped bytes read with nothing in between, for walks along lists.
//!
//! The general way of reading knows about transactions, files that grow meanwhile, files without a
//! mapping, and says what is wrong. A walk along a chain or the free list waits for memory at each
//! step, and the processor can only run ahead if there is little to do between two steps. So a
//! walk through a `View` compares each offset with the size that is known and gives up (`NotPlain`)
//! at whatever needs more; the general way then does the same walk and knows what to say.

use crate::area::Area;
use crate::database::{Chain, Tdb};
use crate::record::{RECORD_HEADER_SIZE, RecordHeader};

/// The database proper of a mapped file, outside a transaction.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    area: &'a Area,
    base: *const u8,
    size: u64,
    swapped: bool,
}

/// The general way has to look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NotPlain;

impl View<'_> {
    #[inline]
    pub(crate) fn word(&self, offset: u32) -> Result<u32, NotPlain> {
        let word = u32::from_ne_bytes(self.bytes(offset)?);
        Ok(if self.swapped { word.swap_bytes() } else { word })
    }

    #[inline]
    pub(crate) fn record(&self, offset: u32) -> Result<RecordHeader, NotPlain> {
        Ok(RecordHeader::from_bytes(&self.bytes(offset)?, self.swapped))
    }

    /// True if a record header fits there.
    #[inline]
    pub(crate) fn has_record_at(&self, offset: u32) -> bool {
        u64::from(offset) + u64::from(RECORD_HEADER_SIZE) <= self.size
    }

    /// True if a record of this length fits there.
    #[inline]
    pub(crate) fn has_whole(&self, offset: u32, record: &RecordHeader) -> bool {
        let end = u64::from(offset) + u64::from(RECORD_HEADER_SIZE) + u64::from(record.rec_len);
        end <= self.size
    }

    #[inline]
    pub(crate) fn equals(&self, offset: u32, want: &[u8]) -> Result<bool, NotPlain> {
        if u64::from(offset) + want.len() as u64 > self.size {
            return Err(NotPlain);
        }
        // SAFETY: the range lies within the mapping (checked above), `want` is as long; the
        // comparison is done by the C library, which assumes nothing about who else writes.
        let order = unsafe {
            libc::memcmp(self.base.add(offset as usize).cast(), want.as_ptr().cast(), want.len())
        };
        Ok(order == 0)
    }

    /// Lets memory come nearer that will be read soon; any offset will do.
    #[inline]
    pub(crate) fn prefetch(&self, offset: u32) {
        prefetch(self.base.wrapping_add(offset as usize));
    }

    /// As `prefetch`, for a record: headers are aligned to words only, and keys follow them.
    #[inline]
    pub(crate) fn prefetch_record(&self, offset: u32) {
        self.prefetch(offset);
        prefetch(self.base.wrapping_add(offset as usize + LINE_SIZE_BYTES - 1));
    }

    /// What a walk has found, unless a page was missing on the way: then nothing of it counts.
    #[inline]
    pub(crate) fn conclude<T>(&self, found: T) -> Result<T, NotPlain> {
        if self.area.is_truncated() { Err(NotPlain) } else { Ok(found) }
    }

    #[inline]
    fn bytes<const N: usize>(&self, offset: u32) -> Result<[u8; N], NotPlain> {
        if u64::from(offset) + N as u64 > self.size {
            return Err(NotPlain);
        }
        // SAFETY: the bytes lie within `size`, which `base` covers; any bytes are an array of
        // bytes, which needs no alignment.
        Ok(unsafe { self.base.add(offset as usize).cast::<[u8; N]>().read() })
    }
}

impl Tdb {
    /// There is none inside a transaction and for files without a mapping.
    #[inline]
    pub(crate) fn view(&self) -> Result<View<'_>, NotPlain> {
        let (Some(base), None) = (self.area.base(), &self.transaction) else {
            return Err(NotPlain);
        };
        let size = u64::from(self.area.size());
        Ok(View { area: &self.area, base, size, swapped: self.swapped })
    }

    /// Lets a chain's lock, head and first record come nearer at the same time. Without it the
    /// lock, an atomic operation, keeps the processor from reading ahead, and the three come one
    /// after the other. The head is read without a lock here: only a guess depends on it.
    #[inline]
    pub(crate) fn anticipate(&self, chain: Chain) {
        if let Some(mutexes) = self.mutexes() {
            mutexes.prefetch(chain);
        }
        let Ok(view) = self.view() else { return };
        match view.word(chain.head()) {
            Ok(0) | Err(NotPlain) => {}
            Ok(first) => view.prefetch_record(first),
        }
    }
}

/// A hint; it does nothing where there is no such instruction, and never faults.
#[inline]
pub(crate) fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 has the instruction, and it accepts any address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// What memory moves at a time.
const LINE_SIZE_BYTES: usize = 64;
