//! What a transaction has changed and not yet written (tdb §8.2).

use crate::area::Area;
use crate::blocks::Blocks;
use crate::error::TdbError;
use crate::mutex_area::page_size;
use std::path::Path;
use std::sync::Arc;

/// State of a running transaction: whole blocks of the page size, by number.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "the flags are independent of each other")]
pub(crate) struct TransactionState {
    path: Arc<Path>,
    page: u32,
    blocks: Blocks,
    /// Valid bytes of the highest block; all others count as full.
    last_len: u32,
    /// Size as the transaction sees it.
    size: u32,
    /// Size of the file: from here on there is nothing to copy into a new block.
    old_size: u32,
    /// Size when the transaction began: what a rollback restores.
    pub(crate) end_before: u32,
    pub(crate) nesting: u32,
    /// A write failed or a nested transaction was cancelled: nothing of this may be committed.
    pub(crate) failed: bool,
    /// The file grew, so repacking may be worth it.
    pub(crate) expanded: bool,
    pub(crate) open_locked: bool,
    /// The rollback image is armed; holds the offset of its recovery area.
    pub(crate) armed: Option<u32>,
    pub(crate) prepared: bool,
}

impl TransactionState {
    pub(crate) fn new(path: Arc<Path>, size: u32) -> Self {
        Self {
            path,
            page: u32::try_from(page_size()).expect("pages are small"),
            blocks: Blocks::default(),
            last_len: 0,
            size,
            old_size: size,
            end_before: size,
            nesting: 0,
            failed: false,
            expanded: false,
            open_locked: false,
            armed: None,
            prepared: false,
        }
    }

    pub(crate) fn size(&self) -> u32 {
        self.size
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// From now on the file has `size` bytes, whatever the transaction still adds.
    pub(crate) fn set_size(&mut self, size: u32) {
        self.size = size;
        self.old_size = size;
    }

    /// Changed blocks in ascending order: offset and valid bytes.
    pub(crate) fn changed(&self) -> impl Iterator<Item = (u32, &[u8])> {
        let highest = self.blocks.len().saturating_sub(1);
        self.blocks.iter().map(move |(index, block)| {
            let len = if index == highest { self.last_len as usize } else { block.len() };
            let offset = u32::try_from(index).expect("blocks lie below 4 GiB") * self.page;
            (offset, &block[..len])
        })
    }

    pub(crate) fn ensure(&self, offset: u32, size_bytes: u64) -> Result<(), TdbError> {
        if u64::from(offset) + size_bytes <= u64::from(self.size) {
            return Ok(());
        }
        let end = u64::from(self.size);
        Err(TdbError::OutOfRange { path: self.path.clone(), offset, size_bytes, end })
    }

    pub(crate) fn read(&self, area: &Area, offset: u32, target: &mut [u8]) -> Result<(), TdbError> {
        self.ensure(offset, target.len() as u64)?;
        let mut at = offset;
        let mut rest = target;
        while !rest.is_empty() {
            let within = at % self.page;
            let size = rest.len().min((self.page - within) as usize);
            let (part, tail) = rest.split_at_mut(size);
            match self.blocks.get((at / self.page) as usize) {
                Some(block) => {
                    part.copy_from_slice(&block[within as usize..within as usize + size]);
                }
                None => area.read_known(at, part)?,
            }
            // Wraps only behind the last byte of the address space, where nothing is left to do.
            at = at.wrapping_add(u32::try_from(size).expect("parts are at most a page"));
            rest = tail;
        }
        Ok(())
    }

    pub(crate) fn read_array<const N: usize>(
        &self,
        area: &Area,
        offset: u32,
    ) -> Result<[u8; N], TdbError> {
        let mut bytes = [0; N];
        self.read(area, offset, &mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn write(
        &mut self,
        area: &Area,
        offset: u32,
        source: &[u8],
    ) -> Result<(), TdbError> {
        if self.prepared {
            self.failed = true;
            return Err(TdbError::Invalid {
                path: self.path.clone(),
                rule: "a prepared transaction is not written to",
            });
        }
        let outcome = self.write_blocks(area, offset, source);
        self.failed |= outcome.is_err();
        outcome
    }

    /// Writes only where a block exists already.
    pub(crate) fn patch(&mut self, offset: u32, source: &[u8]) {
        let page = self.page as usize;
        let (mut at, mut rest) = (offset as usize, source);
        while !rest.is_empty() && at / page < self.blocks.len() {
            let within = at % page;
            let (part, tail) = rest.split_at(rest.len().min(page - within));
            if let Some(block) = self.blocks.get_mut(at / page) {
                block[within..within + part.len()].copy_from_slice(part);
            }
            at += part.len();
            rest = tail;
        }
    }

    /// Adds zeros at the end, in memory.
    pub(crate) fn grow(&mut self, area: &Area, add: u32) -> Result<(), TdbError> {
        let start = self.size;
        let end = self.size.checked_add(add).ok_or_else(|| TdbError::OutOfSpace {
            path: self.path.clone(),
            rule: "a TDB file ends at 4 GiB",
        })?;
        self.size = end;
        self.expanded = true;
        let zeros = vec![0; self.page as usize];
        let mut at = start;
        while at < end {
            let size = (end - at).min(self.page);
            self.write(area, at, &zeros[..size as usize])?;
            at += size;
        }
        Ok(())
    }

    fn write_blocks(&mut self, area: &Area, offset: u32, source: &[u8]) -> Result<(), TdbError> {
        self.ensure(offset, source.len() as u64)?;
        let mut at = offset;
        let mut rest = source;
        while !rest.is_empty() {
            let index = (at / self.page) as usize;
            let within = at % self.page;
            let size = rest.len().min((self.page - within) as usize);
            let (part, tail) = rest.split_at(size);
            let end = within + u32::try_from(size).expect("parts are at most a page");
            self.block(area, index)?[within as usize..end as usize].copy_from_slice(part);
            if index + 1 == self.blocks.len() {
                self.last_len = self.last_len.max(end);
            }
            at = at.wrapping_add(end - within);
            rest = tail;
        }
        Ok(())
    }

    /// The block, filled with what the file has there if it is new.
    fn block(&mut self, area: &Area, index: usize) -> Result<&mut [u8], TdbError> {
        if self.blocks.get(index).is_none() {
            let start = u32::try_from(index).expect("blocks lie below 4 GiB") * self.page;
            let mut block = vec![0; self.page as usize].into_boxed_slice();
            let present = self.old_size.saturating_sub(start).min(self.page);
            if present > 0 {
                area.read_known(start, &mut block[..present as usize])?;
            }
            if index >= self.blocks.len() {
                self.last_len = present;
            }
            self.blocks.insert(index, block);
        }
        Ok(self.blocks.get_mut(index).expect("made above"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(size: u32) -> (Area, TransactionState) {
        let path: Arc<Path> = Arc::from(Path::new("memory"));
        let bytes = (0..size).map(|byte| byte.to_le_bytes()[0]).collect();
        (Area::memory(path.clone(), bytes), TransactionState::new(path, size))
    }

    #[test]
    fn what_is_written_is_read_and_the_file_stays_as_it_was() {
        let (mut area, mut state) = state(10_000);
        state.write(&area, 4090, &[0xAA; 12]).unwrap();
        let mut target = [0; 16];
        state.read(&area, 4088, &mut target).unwrap();
        assert_eq!(target[2..14], [0xAA; 12]);
        assert_eq!([target[0], target[15]], [4088_u32, 4103].map(|at| at.to_le_bytes()[0]));
        area.read(4090, &mut target[..1]).unwrap();
        assert_eq!(target[0], 4090_u32.to_le_bytes()[0]);
    }

    #[test]
    fn the_highest_block_is_as_long_as_file_and_writes() {
        let (area, mut state) = state(10_000);
        state.write(&area, 8192, &[1]).unwrap();
        assert_eq!(state.changed().map(|(at, bytes)| (at, bytes.len())).last(), Some((8192, 1808)));
        state.grow(&area, 100).unwrap();
        assert_eq!(state.changed().map(|(at, bytes)| (at, bytes.len())).last(), Some((8192, 1908)));
    }

    #[test]
    fn a_prepared_transaction_refuses_writes_and_is_spoilt_by_them() {
        let (area, mut state) = state(10_000);
        state.prepared = true;
        assert!(state.write(&area, 0, &[1]).is_err());
        assert!(state.failed);
    }
}
