//! Showing every record header (tdb §10.3), as `tdbtool list` and `free` do.

use crate::database::{Chain, Tdb};
use crate::find::LoopGuard;
use crate::header::FREE_LIST_HEAD;
use crate::record::{RECORD_HEADER_SIZE, RecordHeader, TAILER_SIZE};
use crate::transfer::TransferError;
use std::io::Write;

impl Tdb {
    /// Writes every chain that is not empty, then the free list. Takes no locks, so that the
    /// chains of a damaged or hung database can be looked at.
    ///
    /// # Errors
    ///
    /// Those of `out`; damage ends the list it is in and is written there.
    pub fn list(&mut self, out: &mut dyn Write) -> Result<(), TransferError> {
        self.refresh_size()?;
        for chain in (0..self.hash_size).map(Chain) {
            self.list_records(out, chain.head(), i64::from(chain.0))?;
        }
        writeln!(out, "freelist:")?;
        self.list_records(out, FREE_LIST_HEAD, -1)
    }

    /// Writes the free list with its total.
    ///
    /// # Errors
    ///
    /// Those of `out`; `Corrupt` when the list is damaged.
    pub fn list_free(&mut self, out: &mut dyn Write) -> Result<(), TransferError> {
        self.refresh_size()?;
        let mut offset = self.read_u32(FREE_LIST_HEAD)?;
        writeln!(out, "freelist top=[0x{offset:08x}]")?;
        let mut guard = LoopGuard::new(offset);
        let mut total = 0_u64;
        while offset != 0 {
            let record = self.read_free_record(offset)?;
            let len = record.rec_len;
            let end = offset.wrapping_add(len);
            writeln!(
                out,
                "entry offset=[0x{offset:08x}], rec.rec_len = [0x{len:08x} ({len})] (end = 0x{end:08x})"
            )?;
            total += u64::from(len);
            offset = record.next;
            guard.follow(self, offset)?;
        }
        writeln!(out, "total rec_len = [0x{total:08x} ({total})]")?;
        Ok(())
    }

    fn list_records(
        &mut self,
        out: &mut dyn Write,
        head: u32,
        hash: i64,
    ) -> Result<(), TransferError> {
        let mut offset = self.read_u32(head)?;
        if offset != 0 {
            writeln!(out, "hash={hash}")?;
        }
        let mut guard = LoopGuard::new(offset);
        while offset != 0 {
            let record = match self.read_record(offset) {
                Ok(record) => record,
                Err(error) => {
                    writeln!(out, "ERROR: {error}")?;
                    return Ok(());
                }
            };
            let RecordHeader { next, rec_len, key_len, data_len, full_hash, magic } = record;
            writeln!(
                out,
                " rec: hash={hash} offset=0x{offset:08x} next=0x{next:08x} rec_len={rec_len} \
                 key_len={key_len} data_len={data_len} full_hash=0x{full_hash:08x} \
                 magic=0x{magic:08x}"
            )?;
            let want = rec_len.wrapping_add(RECORD_HEADER_SIZE);
            let tailer =
                offset.checked_add(want.wrapping_sub(TAILER_SIZE)).map(|at| self.read_u32(at));
            match tailer {
                Some(Ok(tailer)) if tailer == want => {}
                Some(Ok(tailer)) => writeln!(
                    out,
                    "ERROR: tailer does not match record! tailer={tailer} totalsize={want}"
                )?,
                Some(Err(_)) | None => writeln!(out, "ERROR: record ends outside the file")?,
            }
            offset = next;
            if let Err(error) = guard.follow(self, offset) {
                writeln!(out, "ERROR: {error}")?;
                return Ok(());
            }
        }
        Ok(())
    }
}
