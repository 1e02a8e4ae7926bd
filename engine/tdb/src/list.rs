//! Showing every record header (tdb §10.3), as `tdbtool list` and `free` do.

use crate::database::{Chain, Tdb};
use crate::error::TdbError;
use crate::header::FREE_LIST_HEAD;
use crate::loop_guard::LoopGuard;
use crate::record::{RECORD_HEADER_SIZE, RecordHeader, TAILER_SIZE};
use crate::transfer::TransferError;
use std::io::{self, Write};

/// One entry of a listing; `chain` is `None` on the free list.
#[derive(Clone, Debug)]
pub enum Listed {
    /// A chain that is not empty, or the free list, begins; `head` is its first record, if any.
    Begin { chain: Option<Chain>, head: u32 },
    /// `tailer` is what the record's last word says; `None` if that lies outside the file.
    Record { chain: Option<Chain>, offset: u32, record: RecordHeader, tailer: Option<u32> },
    /// The rest of this list cannot be followed.
    Broken { chain: Option<Chain>, error: TdbError },
}

impl Tdb {
    /// Writes every chain that is not empty, then the free list. Takes no locks, so that the
    /// chains of a damaged or hung database can be looked at.
    ///
    /// # Errors
    ///
    /// Those of `out`; damage ends the list it is in and is written there.
    pub fn list(&mut self, out: &mut dyn Write) -> Result<(), TransferError> {
        self.list_entries(&mut |entry| write_entry(out, &entry))
    }

    /// As `list`, entry by entry.
    ///
    /// # Errors
    ///
    /// Those of `visit`; damage ends the list it is in, as an entry.
    pub fn list_entries(
        &mut self,
        visit: &mut dyn FnMut(Listed) -> io::Result<()>,
    ) -> Result<(), TransferError> {
        self.refresh_size()?;
        for chain in (0..self.hash_size).map(Chain) {
            let head = self.read_u32(chain.head())?;
            if head != 0 {
                visit(Listed::Begin { chain: Some(chain), head })?;
                self.list_records(head, Some(chain), visit)?;
            }
        }
        let head = self.read_u32(FREE_LIST_HEAD)?;
        visit(Listed::Begin { chain: None, head })?;
        self.list_records(head, None, visit)
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
        mut offset: u32,
        chain: Option<Chain>,
        visit: &mut dyn FnMut(Listed) -> io::Result<()>,
    ) -> Result<(), TransferError> {
        let mut guard = LoopGuard::new(offset);
        while offset != 0 {
            let record = match self.read_record(offset) {
                Ok(record) => record,
                Err(error) => return Ok(visit(Listed::Broken { chain, error })?),
            };
            let want = total_size(&record);
            let tailer = offset
                .checked_add(want.wrapping_sub(TAILER_SIZE))
                .and_then(|at| self.read_u32(at).ok());
            visit(Listed::Record { chain, offset, record, tailer })?;
            offset = record.next;
            if let Err(error) = guard.follow(self, offset) {
                return Ok(visit(Listed::Broken { chain, error })?);
            }
        }
        Ok(())
    }
}

/// What the tailer of a sound record says.
fn total_size(record: &RecordHeader) -> u32 {
    record.rec_len.wrapping_add(RECORD_HEADER_SIZE)
}

fn write_entry(out: &mut dyn Write, entry: &Listed) -> io::Result<()> {
    let number = |chain: &Option<Chain>| chain.map_or(-1, |chain| i64::from(chain.0));
    match entry {
        Listed::Begin { chain: Some(chain), .. } => writeln!(out, "hash={}", chain.0),
        Listed::Begin { chain: None, head: 0 } => writeln!(out, "freelist:"),
        Listed::Begin { chain: None, .. } => writeln!(out, "freelist:\nhash=-1"),
        Listed::Broken { error, .. } => writeln!(out, "ERROR: {error}"),
        Listed::Record { chain, offset, record, tailer } => {
            let RecordHeader { next, rec_len, key_len, data_len, full_hash, magic } = record;
            writeln!(
                out,
                " rec: hash={} offset=0x{offset:08x} next=0x{next:08x} rec_len={rec_len} \
                 key_len={key_len} data_len={data_len} full_hash=0x{full_hash:08x} \
                 magic=0x{magic:08x}",
                number(chain)
            )?;
            let want = total_size(record);
            match tailer {
                Some(tailer) if *tailer == want => Ok(()),
                Some(tailer) => writeln!(
                    out,
                    "ERROR: tailer does not match record! tailer={tailer} totalsize={want}"
                ),
                None => writeln!(out, "ERROR: record ends outside the file"),
            }
        }
    }
}
