//! The database proper as bytes: mapped, read by descriptor, or in memory (tdb §11.1, §11.2).
//!
//! Other processes write, grow and (when nobody holds ACTIVE) truncate the file meanwhile. So
//! nothing here hands out a reference into the mapping: bytes are copied out through raw pointers
//! and judged afterwards, and every access is checked against a size that the file has had.

use crate::error::TdbError;
use crate::mapping::{self, Mapping};
use crate::streaming;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// All bytes from logical offset 0 on; file offsets are `header_offset` higher.
#[derive(Debug)]
pub(crate) struct Area {
    path: Arc<Path>,
    header_offset: u64,
    size: u32,
    writable: bool,
    backing: Backing,
    /// First byte of the mapping, or of the memory; null when there is neither. Kept beside
    /// `backing`, because every step along a chain comes by here.
    base: *mut u8,
    /// Set when an access through `base` has met a page that had gone.
    truncated: &'static AtomicBool,
    #[cfg(test)]
    pub(crate) journal: Option<Vec<crate::fake_disk::Event>>,
}

#[derive(Debug)]
enum Backing {
    /// The mapping may be longer than the file, so that a file that grows needs no new one; what
    /// lies beyond `Area::size` is never touched.
    Mapped(Mapping, Arc<File>),
    Descriptor(Arc<File>),
    Memory(Vec<u8>),
}

// SAFETY: `base` points to what `backing` owns, and the area is used by one thread at a time.
unsafe impl Send for Area {}

/// What a commit has to reach the disk before it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SyncRange {
    pub(crate) offset: u32,
    pub(crate) size: u32,
}

impl Area {
    pub(crate) fn file(
        path: Arc<Path>,
        file: Arc<File>,
        header_offset: u64,
        mapped: bool,
        writable: bool,
    ) -> Result<Self, TdbError> {
        let mut area = Self {
            path,
            header_offset,
            size: 0,
            writable,
            backing: Backing::Descriptor(file.clone()),
            base: std::ptr::null_mut(),
            truncated: &mapping::NEVER,
            #[cfg(test)]
            journal: None,
        };
        area.size = area.size_on_disk()?;
        if mapped && area.size > 0 {
            // libtdb goes on without a mapping when there is none to be had; so do we.
            if let Ok(map) = area.map(&file) {
                area.back_with(Backing::Mapped(map, file));
            }
        }
        Ok(area)
    }

    pub(crate) fn memory(path: Arc<Path>, bytes: Vec<u8>) -> Self {
        let size = u32::try_from(bytes.len()).expect("a memory database starts with its heads");
        let mut area = Self {
            path,
            header_offset: 0,
            size,
            writable: true,
            backing: Backing::Memory(Vec::new()),
            base: std::ptr::null_mut(),
            truncated: &mapping::NEVER,
            #[cfg(test)]
            journal: None,
        };
        area.back_with(Backing::Memory(bytes));
        area
    }

    /// Size as far as it is known; another process may have grown the file since.
    #[inline]
    pub(crate) fn size(&self) -> u32 {
        self.size
    }

    /// First byte of the mapping, or of the memory; `size` bytes from there on may be read.
    #[inline]
    pub(crate) fn base(&self) -> Option<*const u8> {
        if self.base.is_null() { None } else { Some(self.base) }
    }

    pub(crate) fn header_offset(&self) -> u64 {
        self.header_offset
    }

    /// Learns the present size of the file (tdb §11.2); shrinking is noticed too.
    pub(crate) fn reload(&mut self) -> Result<(), TdbError> {
        if matches!(self.backing, Backing::Memory(_)) {
            return Ok(());
        }
        self.size = self.size_on_disk()?;
        let remapped = match &self.backing {
            Backing::Mapped(map, file) if map.len() < self.size as usize || map.is_truncated() => {
                Some((self.map(file)?, file.clone()))
            }
            _ => None,
        };
        if let Some((map, file)) = remapped {
            self.back_with(Backing::Mapped(map, file));
        }
        Ok(())
    }

    /// The `N` bytes at `offset`: a number or a record header.
    #[inline]
    pub(crate) fn read_array<const N: usize>(&mut self, offset: u32) -> Result<[u8; N], TdbError> {
        if !self.base.is_null() && u64::from(offset) + N as u64 <= u64::from(self.size) {
            // SAFETY: the bytes lie within `size`, which `base` covers; any bytes are an array of
            // bytes, which needs no alignment.
            let bytes = unsafe { self.base.add(offset as usize).cast::<[u8; N]>().read() };
            if !self.is_truncated() {
                return Ok(bytes);
            }
        }
        let mut bytes = [0; N];
        self.read(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Fails unless the bytes exist; asks the file again before it says so.
    #[inline]
    pub(crate) fn ensure(&mut self, offset: u32, size_bytes: u64) -> Result<(), TdbError> {
        let end = u64::from(offset) + size_bytes;
        if end <= u64::from(self.size) && !self.is_truncated() {
            return Ok(());
        }
        self.ensure_anew(offset, size_bytes)
    }

    #[cold]
    fn ensure_anew(&mut self, offset: u32, size_bytes: u64) -> Result<(), TdbError> {
        let end = u64::from(offset) + size_bytes;
        self.reload()?;
        if end <= u64::from(self.size) {
            return Ok(());
        }
        let end = u64::from(self.size);
        Err(TdbError::OutOfRange { path: self.path.clone(), offset, size_bytes, end })
    }

    pub(crate) fn read(&mut self, offset: u32, target: &mut [u8]) -> Result<(), TdbError> {
        self.ensure(offset, target.len() as u64)?;
        self.read_known(offset, target)
    }

    /// Appends `size` bytes to `target`.
    pub(crate) fn append_to(
        &mut self,
        offset: u32,
        size: u32,
        target: &mut Vec<u8>,
    ) -> Result<(), TdbError> {
        // The bound comes first: a damaged length must not cost memory.
        self.ensure(offset, u64::from(size))?;
        let (start, size) = (target.len(), size as usize);
        if self.base.is_null() {
            target.resize(start + size, 0);
            return self.read_known(offset, &mut target[start..]);
        }
        target.reserve(size);
        // SAFETY: the range lies within `size`, which `base` covers (`ensure`), and the target has
        // room for it (`reserve`); they cannot overlap, because the target is a Rust allocation.
        // The copy has initialised what `set_len` adds.
        unsafe {
            let room = target.as_mut_ptr().add(start);
            std::ptr::copy_nonoverlapping(self.base.add(offset as usize), room, size);
            target.set_len(start + size);
        }
        self.check_truncation(offset)
    }

    /// Reads without learning a new size, so that `&self` suffices.
    pub(crate) fn read_known(&self, offset: u32, target: &mut [u8]) -> Result<(), TdbError> {
        let start = offset as usize;
        let Some(end) = start.checked_add(target.len()).filter(|end| *end <= self.size as usize)
        else {
            return Err(TdbError::OutOfRange {
                path: self.path.clone(),
                offset,
                size_bytes: target.len() as u64,
                end: u64::from(self.size),
            });
        };
        match &self.backing {
            Backing::Mapped(map, _) => {
                // SAFETY: the range ends within `size`, which the file had when it was last asked and
                // which the mapping covers; source and target cannot overlap, because the target is a
                // Rust allocation.
                unsafe {
                    std::ptr::copy_nonoverlapping(
                        map.as_ptr().add(start),
                        target.as_mut_ptr(),
                        target.len(),
                    );
                }
                self.check_truncation(offset)?;
            }
            Backing::Descriptor(file) => file
                .read_exact_at(target, self.header_offset + u64::from(offset))
                .map_err(|error| TdbError::sys(&self.path, "pread", &error))?,
            Backing::Memory(bytes) => target.copy_from_slice(&bytes[start..end]),
        }
        Ok(())
    }

    /// True if the bytes at `offset` are `want`; nothing is copied when they are mapped.
    pub(crate) fn equals(&mut self, offset: u32, want: &[u8]) -> Result<bool, TdbError> {
        self.ensure(offset, want.len() as u64)?;
        let start = offset as usize;
        match &self.backing {
            Backing::Mapped(map, _) => {
                // SAFETY: the range lies within the mapping (`ensure`), `want` is as long; the
                // comparison is done by the C library, which assumes nothing about who else writes.
                let equal = unsafe {
                    libc::memcmp(map.as_ptr().add(start).cast(), want.as_ptr().cast(), want.len())
                } == 0;
                self.check_truncation(offset)?;
                Ok(equal)
            }
            Backing::Memory(bytes) => Ok(bytes[start..start + want.len()] == *want),
            Backing::Descriptor(_) => {
                let mut have = vec![0; want.len()];
                self.read_known(offset, &mut have)?;
                Ok(have == want)
            }
        }
    }

    pub(crate) fn write(&mut self, offset: u32, source: &[u8]) -> Result<(), TdbError> {
        if !self.writable {
            return Err(TdbError::ReadOnly { path: self.path.clone() });
        }
        self.ensure(offset, source.len() as u64)?;
        let start = offset as usize;
        #[cfg(test)]
        if let Some(journal) = &mut self.journal {
            journal.push(crate::fake_disk::Event::Write(offset, source.to_vec()));
        }
        match &mut self.backing {
            Backing::Mapped(map, _) => {
                // SAFETY: the range lies within the writable mapping (`ensure`), and the source is
                // Rust memory outside it. Who may write these bytes is settled by the chain locks.
                unsafe { streaming::copy(source, map.as_mut_ptr().add(start), self.size) };
                self.check_truncation(offset)?;
            }
            Backing::Descriptor(file) => file
                .write_all_at(source, self.header_offset + u64::from(offset))
                .map_err(|error| TdbError::sys(&self.path, "pwrite", &error))?,
            Backing::Memory(bytes) => bytes[start..start + source.len()].copy_from_slice(source),
        }
        Ok(())
    }

    /// The aligned word at `offset` as other processes see it; `None` without a mapping.
    #[inline]
    pub(crate) fn word(&self, offset: u32) -> Option<&AtomicU32> {
        if !matches!(self.backing, Backing::Mapped(..))
            || !offset.is_multiple_of(4)
            || u64::from(offset) + 4 > u64::from(self.size)
        {
            return None;
        }
        // SAFETY: within the mapping (checked above) and aligned, because mappings start at page
        // boundaries; an atomic is the one type that may be shared with other writers.
        Some(unsafe { AtomicU32::from_ptr(self.base.add(offset as usize).cast()) })
    }

    /// The aligned words from `offset` on as other processes see them; `None` without a mapping.
    pub(crate) fn words(&self, offset: u32, count: u32) -> Option<&[AtomicU32]> {
        let first = self.word(offset)?;
        if u64::from(offset) + 4 * u64::from(count) > u64::from(self.size) {
            return None;
        }
        // SAFETY: the first one is mapped and aligned (`word`), and all of them lie within `size`,
        // which the mapping covers; atomics may be shared with other writers.
        Some(unsafe { std::slice::from_raw_parts(first, count as usize) })
    }

    /// Orders this thread's lock-free reads of heads after its last lock (tdb §9 step 1).
    #[inline]
    pub(crate) fn read_word(&self, offset: u32) -> Result<u32, TdbError> {
        if let Some(word) = self.word(offset) {
            let value = word.load(Ordering::Acquire);
            self.check_truncation(offset)?;
            return Ok(value);
        }
        let mut bytes = [0; 4];
        self.read_known(offset, &mut bytes)?;
        Ok(u32::from_ne_bytes(bytes))
    }

    /// Makes the file `add` bytes longer, never sparse, and maps it (tdb §4.5 step 3).
    pub(crate) fn grow(&mut self, add: u32) -> Result<(), TdbError> {
        let Some(new_size) = self.size.checked_add(add) else {
            return Err(self.out_of_space("a TDB file ends at 4 GiB"));
        };
        #[cfg(test)]
        if let Some(journal) = &mut self.journal {
            journal.push(crate::fake_disk::Event::Grow(new_size));
        }
        let file = match &mut self.backing {
            Backing::Memory(bytes) => {
                bytes.try_reserve(add as usize).map_err(|_| TdbError::OutOfSpace {
                    path: self.path.clone(),
                    rule: "no memory left",
                })?;
                bytes.resize(new_size as usize, 0);
                self.base = bytes.as_mut_ptr();
                self.size = new_size;
                return Ok(());
            }
            Backing::Mapped(_, file) | Backing::Descriptor(file) => file.clone(),
        };
        let old_end = self.header_offset + u64::from(self.size);
        match allocate_blocks(&file, old_end, add) {
            Ok(()) => {}
            Err(libc::ENOSPC) => {
                // Blocks may have been added before the disk was full; peers measure by size.
                let _ = file.set_len(old_end);
                return Err(self.out_of_space("disk full"));
            }
            Err(_) => fill(&file, old_end, add)
                .map_err(|error| TdbError::sys(&self.path, "ftruncate", &error))?,
        }
        self.reload()
    }

    /// Returns once everything written so far is on disk.
    pub(crate) fn sync(&mut self, range: SyncRange) -> Result<(), TdbError> {
        #[cfg(test)]
        if let Some(journal) = &mut self.journal {
            journal.push(crate::fake_disk::Event::Sync);
        }
        match &self.backing {
            Backing::Memory(_) => Ok(()),
            Backing::Descriptor(file) => {
                file.sync_data().map_err(|error| TdbError::sys(&self.path, "fdatasync", &error))
            }
            Backing::Mapped(map, file) => {
                file.sync_data().map_err(|error| TdbError::sys(&self.path, "fdatasync", &error))?;
                let end = (range.offset.saturating_add(range.size)).min(self.size);
                let size = end.saturating_sub(range.offset) as usize;
                map.flush_range(range.offset as usize, size)
                    .map_err(|error| TdbError::sys(&self.path, "msync", &error))
            }
        }
    }

    /// Stamps the file as changed; a change through a mapping alone would not.
    pub(crate) fn touch(&self) {
        if let Backing::Mapped(_, file) | Backing::Descriptor(file) = &self.backing {
            // SAFETY: the descriptor is open as long as `file` lives; a null pointer means "now".
            unsafe { libc::futimens(file.as_raw_fd(), std::ptr::null()) };
        }
    }

    fn out_of_space(&self, rule: &'static str) -> TdbError {
        TdbError::OutOfSpace { path: self.path.clone(), rule }
    }

    fn size_on_disk(&self) -> Result<u32, TdbError> {
        let (Backing::Mapped(_, file) | Backing::Descriptor(file)) = &self.backing else {
            return Ok(self.size);
        };
        let size = file.metadata().map_err(|error| TdbError::sys(&self.path, "fstat", &error))?;
        u32::try_from(size.len().saturating_sub(self.header_offset)).map_err(|_| TdbError::Sys {
            path: self.path.clone(),
            call: "fstat",
            errno: libc::EFBIG,
        })
    }

    fn back_with(&mut self, backing: Backing) {
        self.backing = backing;
        self.base = match &mut self.backing {
            Backing::Mapped(map, _) => map.as_mut_ptr(),
            Backing::Memory(bytes) => bytes.as_mut_ptr(),
            Backing::Descriptor(_) => std::ptr::null_mut(),
        };
        self.truncated = match &self.backing {
            Backing::Mapped(map, _) => map.truncation(),
            _ => &mapping::NEVER,
        };
    }

    #[inline]
    pub(crate) fn is_truncated(&self) -> bool {
        mapping::met_missing_page(self.truncated)
    }

    /// Asked after each access: bytes of a page that has gone are zeros that nobody wrote.
    #[inline]
    pub(crate) fn check_truncation(&self, offset: u32) -> Result<(), TdbError> {
        if self.is_truncated() { Err(self.truncation(offset)) } else { Ok(()) }
    }

    #[cold]
    fn truncation(&self, offset: u32) -> TdbError {
        TdbError::corrupt(&self.path, offset, "the file was truncated while in use")
    }

    fn map(&self, file: &File) -> Result<Mapping, TdbError> {
        let spacious = (u64::from(self.size) * 2).clamp(MAP_SIZE_BYTES_MIN, MAP_SIZE_BYTES_MAX);
        self.map_size(file, spacious).or_else(|_| self.map_size(file, u64::from(self.size)))
    }

    fn map_size(&self, file: &File, size: u64) -> Result<Mapping, TdbError> {
        let size = usize::try_from(size).expect("the engine runs on 64-bit machines only");
        Mapping::new(file, self.header_offset, size, self.writable)
            .map_err(|error| TdbError::sys(&self.path, "mmap", &error))
    }
}

/// `posix_fallocate`, which returns its error number.
fn allocate_blocks(file: &File, offset: u64, add: u32) -> Result<(), i32> {
    let offset = i64::try_from(offset).map_err(|_| libc::EFBIG)?;
    loop {
        // SAFETY: a plain call on an open descriptor.
        match unsafe { libc::posix_fallocate(file.as_raw_fd(), offset, i64::from(add)) } {
            0 => return Ok(()),
            libc::EINTR => {}
            errno => return Err(errno),
        }
    }
}

/// Without `fallocate` the new space is written, so that a full disk shows now and not as SIGBUS.
fn fill(file: &File, offset: u64, add: u32) -> std::io::Result<()> {
    file.set_len(offset + u64::from(add))?;
    let pad = [0x42; 8192];
    let mut done = 0;
    while done < add as usize {
        let part = pad.len().min(add as usize - done);
        file.write_all_at(&pad[..part], offset + done as u64)?;
        done += part;
    }
    Ok(())
}

const MAP_SIZE_BYTES_MIN: u64 = 1 << 20;
const MAP_SIZE_BYTES_MAX: u64 = 1 << 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(size: usize) -> Area {
        Area::memory(Arc::from(Path::new("memory")), vec![0; size])
    }

    #[test]
    fn nothing_is_read_or_written_beyond_the_end() {
        let mut area = memory(100);
        let mut target = [0; 4];
        assert!(area.read(96, &mut target).is_ok());
        assert!(matches!(area.read(97, &mut target), Err(TdbError::OutOfRange { .. })));
        assert!(matches!(area.write(u32::MAX, &[1]), Err(TdbError::OutOfRange { .. })));
    }

    #[test]
    fn growing_adds_zeros() {
        let mut area = memory(100);
        area.grow(28).unwrap();
        let mut target = [1; 28];
        area.read(100, &mut target).unwrap();
        assert_eq!(target, [0; 28]);
        assert!(area.grow(u32::MAX).is_err());
    }
}
