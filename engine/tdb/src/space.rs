//! Numbers and records at logical offsets, through a running transaction or directly.

use crate::database::Tdb;
use crate::error::TdbError;
use crate::header::{RECOVERY_START, data_start};
use crate::record::{Kind, RECORD_HEADER_SIZE, RecordHeader, TAILER_SIZE};

impl Tdb {
    pub(crate) fn read_at(&mut self, offset: u32, target: &mut [u8]) -> Result<(), TdbError> {
        match &self.transaction {
            None => self.area.read(offset, target),
            Some(transaction) => transaction.read(&self.area, offset, target),
        }
    }

    #[inline]
    pub(crate) fn write_at(&mut self, offset: u32, source: &[u8]) -> Result<(), TdbError> {
        match &mut self.transaction {
            None => self.area.write(offset, source),
            Some(transaction) => transaction.write(&self.area, offset, source),
        }
    }

    /// Appends `size` bytes of the file to `out`.
    pub(crate) fn read_into(
        &mut self,
        offset: u32,
        size: u32,
        out: &mut Vec<u8>,
    ) -> Result<(), TdbError> {
        if self.transaction.is_none() {
            return self.area.append_to(offset, size, out);
        }
        // The bound comes first: a damaged length must not cost memory.
        self.ensure(offset, u64::from(size))?;
        let start = out.len();
        out.resize(start + size as usize, 0);
        self.read_at(offset, &mut out[start..])
    }

    pub(crate) fn equals_at(&mut self, offset: u32, want: &[u8]) -> Result<bool, TdbError> {
        if self.transaction.is_none() {
            return self.area.equals(offset, want);
        }
        let mut have = vec![0; want.len()];
        self.read_at(offset, &mut have)?;
        Ok(have == want)
    }

    #[inline]
    pub(crate) fn ensure(&mut self, offset: u32, size_bytes: u64) -> Result<(), TdbError> {
        match &self.transaction {
            None => self.area.ensure(offset, size_bytes),
            Some(transaction) => transaction.ensure(offset, size_bytes),
        }
    }

    #[inline]
    pub(crate) fn read_u32(&mut self, offset: u32) -> Result<u32, TdbError> {
        let bytes = match &self.transaction {
            None => self.area.read_array(offset)?,
            Some(transaction) => transaction.read_array(&self.area, offset)?,
        };
        Ok(self.number(bytes))
    }

    pub(crate) fn write_u32(&mut self, offset: u32, value: u32) -> Result<(), TdbError> {
        let value = if self.swapped { value.swap_bytes() } else { value };
        self.write_at(offset, &value.to_ne_bytes())
    }

    #[inline]
    pub(crate) fn read_record(&mut self, offset: u32) -> Result<RecordHeader, TdbError> {
        let bytes = match &self.transaction {
            None => self.area.read_array(offset)?,
            Some(transaction) => transaction.read_array(&self.area, offset)?,
        };
        Ok(RecordHeader::from_bytes(&bytes, self.swapped))
    }

    pub(crate) fn write_record(
        &mut self,
        offset: u32,
        record: &RecordHeader,
    ) -> Result<(), TdbError> {
        let bytes = record.to_bytes(self.swapped);
        self.write_at(offset, &bytes)
    }

    /// Writes the last word of a record: its total size, by which its right neighbour finds it.
    pub(crate) fn write_tailer(
        &mut self,
        offset: u32,
        record: &RecordHeader,
    ) -> Result<(), TdbError> {
        let rule = "record length overflows";
        let total = record.total().ok_or_else(|| self.corrupt(offset, rule))?;
        let at = offset
            .checked_add(total)
            .and_then(|end| end.checked_sub(TAILER_SIZE))
            .ok_or_else(|| self.corrupt(offset, rule))?;
        self.write_u32(at, total)
    }

    /// A record that a chain links to (tdb §4.1).
    #[inline]
    pub(crate) fn read_chain_record(&mut self, offset: u32) -> Result<RecordHeader, TdbError> {
        if offset < self.data_start() {
            return Err(self.corrupt(offset, "a chain links into the header"));
        }
        let record = self.read_record(offset)?;
        if !matches!(record.kind(), Kind::Live | Kind::Dead) {
            return Err(self.corrupt(offset, "a chain links to what is neither live nor dead"));
        }
        match record.key_len.checked_add(record.data_len) {
            Some(used) if used <= record.rec_len => {}
            _ => return Err(self.corrupt(offset, "key and data are longer than their record")),
        }
        // Who overwrites in place believes this length.
        self.ensure(offset, u64::from(record.rec_len) + u64::from(RECORD_HEADER_SIZE))?;
        if record.next != 0 {
            self.ensure(record.next, u64::from(RECORD_HEADER_SIZE))?;
        }
        Ok(record)
    }

    #[inline]
    pub(crate) fn key_at(record_offset: u32) -> u32 {
        // Cannot overflow: the header was read at this offset, so its end is inside the file.
        record_offset + RECORD_HEADER_SIZE
    }

    /// Offset of the data of a chain record whose lengths were checked.
    pub(crate) fn data_at(&self, offset: u32, record: &RecordHeader) -> Result<u32, TdbError> {
        Self::key_at(offset)
            .checked_add(record.key_len)
            .ok_or_else(|| self.corrupt(offset, "key ends beyond 4 GiB"))
    }

    /// Learns the present size of the file; no-op in a transaction, whose size is frozen.
    pub(crate) fn refresh_size(&mut self) -> Result<(), TdbError> {
        if self.transaction.is_some() { Ok(()) } else { self.area.reload() }
    }

    /// Makes the database `add` bytes longer, in memory only inside a transaction.
    pub(crate) fn grow(&mut self, add: u32) -> Result<(), TdbError> {
        match &mut self.transaction {
            None => self.area.grow(add),
            Some(transaction) => transaction.grow(&self.area, add),
        }
    }

    /// The recovery area if there is one: its offset and header.
    pub(crate) fn recovery_area(&mut self) -> Result<Option<(u32, RecordHeader)>, TdbError> {
        let start = self.read_u32(RECOVERY_START)?;
        if start == 0 {
            return Ok(None);
        }
        if start < data_start(self.hash_size) {
            return Err(self.corrupt(RECOVERY_START, "the recovery area lies in the header"));
        }
        Ok(Some((start, self.read_record(start)?)))
    }

    #[inline]
    pub(crate) fn number(&self, bytes: [u8; 4]) -> u32 {
        let value = u32::from_ne_bytes(bytes);
        if self.swapped { value.swap_bytes() } else { value }
    }
}
