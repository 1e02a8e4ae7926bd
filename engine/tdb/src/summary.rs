//! Figures of a whole file (tdb §10.2); the text is that of `tdbtool info`.

use crate::database::{Chain, Tdb};
use crate::error::TdbError;
use crate::hash::HashKind;
use crate::header::{FEATURE_MUTEX, FEATURES_SUPPORTED, RECOVERY_START};
use crate::range_lock::LockKind;
use crate::record::{Kind, MAGIC_PAD, RECORD_HEADER_SIZE};
use std::fmt;

/// What a file consists of.
#[derive(Clone, Debug)]
pub struct Summary {
    pub header_offset: u64,
    pub size_bytes: u32,
    pub jenkins: bool,
    pub mutexes: bool,
    pub chains_count: u32,
    pub keys: Tally,
    pub data: Tally,
    /// Bytes of live records that hold neither key nor data, tailers included.
    pub padding: Tally,
    /// Dead records, an idle recovery area, and filler.
    pub dead: Tally,
    pub free: Tally,
    /// Records per chain.
    pub chains: Tally,
    /// Runs of neighbouring free records.
    pub uncoalesced: Tally,
}

/// Count, sum and extremes of one quantity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub count: u64,
    pub total: u64,
    pub min: u64,
    pub max: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, value: u64) {
        self.min = if self.count == 0 { value } else { self.min.min(value) };
        self.max = self.max.max(value);
        self.total += value;
        self.count += 1;
    }

    /// 0 when nothing was counted.
    #[must_use]
    pub fn average(&self) -> u64 {
        self.total.checked_div(self.count).unwrap_or(0)
    }
}

impl Tdb {
    /// Counts everything, with the whole database locked for reading.
    ///
    /// # Errors
    ///
    /// Those of `lock_all`; `Corrupt` when the records do not follow each other.
    pub fn summary(&mut self) -> Result<Summary, TdbError> {
        let lock = self.locks.all.is_none() && !self.lockless();
        if lock {
            self.lock_all(LockKind::Read)?;
        }
        let summary = self.summary_locked();
        if lock {
            self.unlock_all();
        }
        summary
    }

    fn summary_locked(&mut self) -> Result<Summary, TdbError> {
        self.refresh_size()?;
        let mut summary = Summary {
            header_offset: self.header_offset(),
            size_bytes: self.size_bytes(),
            jenkins: self.hash == HashKind::Jenkins,
            mutexes: self.header_offset() > 0,
            chains_count: self.hash_size,
            keys: Tally::default(),
            data: Tally::default(),
            padding: Tally::default(),
            dead: Tally::default(),
            free: Tally::default(),
            chains: Tally::default(),
            uncoalesced: Tally::default(),
        };
        let recovery_start = self.read_u32(RECOVERY_START)?;
        let mut per_chain = vec![0_u32; self.hash_size as usize];
        let mut run = 0_u64;
        let mut offset = self.data_start();
        while offset < self.size_bytes() {
            let record = self.read_record(offset)?;
            let mut size = record.total();
            match record.kind() {
                Kind::Live => {
                    per_chain[(record.full_hash % self.hash_size) as usize] += 1;
                    let used = u64::from(record.key_len) + u64::from(record.data_len);
                    summary.keys.add(u64::from(record.key_len));
                    summary.data.add(u64::from(record.data_len));
                    let padding = u64::from(record.rec_len).checked_sub(used).ok_or_else(|| {
                        self.corrupt(offset, "key and data are longer than their record")
                    })?;
                    summary.padding.add(padding);
                    end_run(&mut run, &mut summary.uncoalesced);
                }
                Kind::Dead => {
                    per_chain[(record.full_hash % self.hash_size) as usize] += 1;
                    summary.dead.add(u64::from(record.rec_len));
                }
                Kind::Free => {
                    summary.free.add(u64::from(record.rec_len));
                    run += 1;
                }
                Kind::RecoveryIdle | Kind::Pad => {
                    run += 1;
                    if offset == recovery_start {
                        summary.dead.add(u64::from(record.rec_len));
                    } else {
                        let filler = self.filler_size(offset)?;
                        let counted = filler.saturating_sub(RECORD_HEADER_SIZE);
                        summary.dead.add(u64::from(counted));
                        size = Some(filler.max(RECORD_HEADER_SIZE));
                    }
                }
                Kind::RecoveryArmed | Kind::Unknown => {
                    return Err(self.corrupt(offset, "this is no record"));
                }
            }
            offset = size
                .and_then(|size| offset.checked_add(size))
                .ok_or_else(|| self.corrupt(offset, "the record's length is impossible"))?;
        }
        end_run(&mut run, &mut summary.uncoalesced);
        for chain in (0..self.hash_size).map(Chain) {
            summary.chains.add(u64::from(per_chain[chain.0 as usize]));
        }
        Ok(summary)
    }

    /// Bytes from `offset` on that are all 0x00 or all 0x42.
    fn filler_size(&mut self, offset: u32) -> Result<u32, TdbError> {
        let end = self.size_bytes();
        let mut block = [0; 4096];
        let mut at = offset;
        let mut fill = None;
        while at < end {
            let size = (end - at).min(4096);
            let block = &mut block[..size as usize];
            self.read_at(at, block)?;
            let fill = *fill.get_or_insert(block[0]);
            if fill != 0 && fill != MAGIC_PAD.to_le_bytes()[0] {
                return Ok(RECORD_HEADER_SIZE);
            }
            if let Some(index) = block.iter().position(|byte| *byte != fill) {
                let index = u32::try_from(index).expect("below a block");
                return Ok(at - offset + index);
            }
            at += size;
        }
        Ok(end - offset)
    }
}

fn end_run(run: &mut u64, runs: &mut Tally) {
    if *run > 1 {
        runs.add(*run - 1);
    }
    *run = 0;
}

impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let yes = |flag: bool| if flag { "yes" } else { "no" };
        let file = self.header_offset + u64::from(self.size_bytes);
        writeln!(out, "Size of file/data: {file}/{}", self.keys.total + self.data.total)?;
        writeln!(out, "Header offset/logical size: {}/{}", self.header_offset, self.size_bytes)?;
        writeln!(out, "Number of records: {}", self.keys.count)?;
        writeln!(out, "Incompatible hash: {}", yes(self.jenkins))?;
        let active = if self.mutexes { FEATURE_MUTEX } else { 0 };
        writeln!(out, "Active/supported feature flags: 0x{active:08x}/0x{FEATURES_SUPPORTED:08x}")?;
        writeln!(out, "Robust mutexes locking: {}", yes(self.mutexes))?;
        writeln!(out, "Smallest/average/largest keys: {}", self.keys)?;
        writeln!(out, "Smallest/average/largest data: {}", self.data)?;
        writeln!(out, "Smallest/average/largest padding: {}", self.padding)?;
        writeln!(out, "Number of dead records: {}", self.dead.count)?;
        writeln!(out, "Smallest/average/largest dead records: {}", self.dead)?;
        writeln!(out, "Number of free records: {}", self.free.count)?;
        writeln!(out, "Smallest/average/largest free records: {}", self.free)?;
        writeln!(out, "Number of hash chains: {}", self.chains_count)?;
        writeln!(out, "Smallest/average/largest hash chains: {}", self.chains)?;
        writeln!(out, "Number of uncoalesced records: {}", self.uncoalesced.total)?;
        writeln!(out, "Smallest/average/largest uncoalesced runs: {}", self.uncoalesced)?;
        let headers = 28 * (self.keys.count + self.free.count + self.dead.count);
        let parts = [
            self.keys.total,
            self.data.total,
            self.padding.total,
            self.free.total,
            self.dead.total,
            headers,
            4 * u64::from(self.chains_count),
        ];
        let percent = parts.map(|part| format!("{:.0}", percentage(part, file))).join("/");
        writeln!(out, "Percentage keys/data/padding/free/dead/rechdrs&tailers/hashes: {percent}")
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}/{}", self.min, self.average(), self.max)
    }
}

#[expect(clippy::cast_precision_loss, reason = "files have at most 32 bits of size")]
fn percentage(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole as f64
}
