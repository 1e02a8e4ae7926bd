//! Judging a whole file (tdb §10.1): what is wrong, where, and what to do about it.

use crate::check_links::{Links, Owner};
use crate::database::{Chain, Tdb};
use crate::error::TdbError;
use crate::header::{
    FREE_LIST_HEAD, HASH_SIZE, HEADER_SIZE_BYTES, Header, HeaderFault, RECOVERY_START,
};
use crate::range_lock::LockKind;
use crate::record::{Kind, RECORD_HEADER_SIZE, RecordHeader, TAILER_SIZE};

/// What a check has found.
#[derive(Clone, Debug, Default)]
pub struct CheckReport {
    pub live_count: u64,
    pub dead_count: u64,
    pub free_count: u64,
    /// The first `FAULTS_COUNT_MAX` faults, by offset.
    pub faults: Vec<Fault>,
    pub faults_count: u64,
    /// Unused space at the end that belongs to no record; harmless, and `mend` reclaims it.
    pub unowned_bytes: u32,
    pub(crate) repairs: Vec<Repair>,
}

/// One broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub offset: u32,
    pub rule: &'static str,
    pub advice: Advice,
}

/// What to do about a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Advice {
    /// No record is lost: `Tdb::mend` puts it right in place.
    Mend,
    /// Records may be damaged: dump what `Tdb::rescue` finds and restore it into a new file.
    Rescue,
}

/// What `mend` will do about the faults that it can put right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repair {
    Tailer(u32, RecordHeader),
    /// Space from here to there that nothing refers to.
    Free(u32, u32),
    /// A whole record from here to there that belongs to a piece of a chain to which nothing leads.
    Link(u32, u32),
    /// An element of the free list that was about to get, or lose, the magic number of one.
    Magic(u32),
}

impl CheckReport {
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.faults_count == 0
    }

    /// The gravest advice among all faults; `None` when the file is clean.
    #[must_use]
    pub fn advice(&self) -> Option<Advice> {
        self.faults.iter().map(|fault| fault.advice).max()
    }

    pub(crate) fn add(&mut self, offset: u32, rule: &'static str, advice: Advice) {
        self.faults_count += 1;
        // A grave fault must not hide behind a hundred harmless ones.
        if self.faults.len() < FAULTS_COUNT_MAX {
            self.faults.push(Fault { offset, rule, advice });
        } else if advice == Advice::Rescue && self.advice() < Some(Advice::Rescue) {
            self.faults[FAULTS_COUNT_MAX - 1] = Fault { offset, rule, advice };
        }
    }

    /// Space that nothing refers to can be freed, if it is a record's size.
    fn add_hole(&mut self, offset: u32, next: u32, rule: &'static str) {
        let size = next - offset;
        if size >= RECORD_HEADER_SIZE + TAILER_SIZE && size.is_multiple_of(4) {
            self.add(offset, rule, Advice::Mend);
            self.repairs.push(Repair::Free(offset, next));
        } else {
            self.add(offset, rule, Advice::Rescue);
        }
    }
}

impl Tdb {
    /// Checks the whole file, with everything locked for reading (without locks on a handle that
    /// takes none).
    ///
    /// # Errors
    ///
    /// Those of `lock_all`. Damage is no error: it is in the report.
    pub fn check(&mut self) -> Result<CheckReport, TdbError> {
        self.check_with_progress(&mut |_, _| {})
    }

    /// As `check`; `progress` learns how many bytes are done, of how many.
    ///
    /// # Errors
    ///
    /// As `check`.
    pub fn check_with_progress(
        &mut self,
        progress: &mut dyn FnMut(u32, u32),
    ) -> Result<CheckReport, TdbError> {
        let lock = self.locks.all.is_none() && !self.lockless();
        if lock {
            self.lock_all(LockKind::Read)?;
        }
        let report = self.check_locked(progress);
        if lock {
            self.unlock_all();
        }
        report
    }

    pub(crate) fn check_locked(
        &mut self,
        progress: &mut dyn FnMut(u32, u32),
    ) -> Result<CheckReport, TdbError> {
        self.refresh_size()?;
        let mut report = CheckReport::default();
        let mut links = Links::default();
        let recovery_start = self.check_header(&mut report)?;
        self.collect_heads(&mut links)?;
        self.check_records(recovery_start, &mut links, &mut report, progress)?;
        links.check(self, &mut report)?;
        report.faults.sort_by_key(|fault| fault.offset);
        progress(self.size_bytes(), self.size_bytes());
        Ok(report)
    }

    fn check_header(&mut self, report: &mut CheckReport) -> Result<u32, TdbError> {
        let mut bytes = [0; HEADER_SIZE_BYTES];
        self.read_at(0, &mut bytes)?;
        match Header::parse(&bytes, self.flags) {
            Ok(header) if header.hash_size != self.hash_size => {
                report.add(
                    HASH_SIZE,
                    "the number of chains has changed since open",
                    Advice::Rescue,
                );
            }
            Ok(_) => {}
            Err(HeaderFault::NotTdb) => {
                report.add(0, "the magic string is damaged", Advice::Rescue);
            }
            Err(HeaderFault::Refused { offset, rule, .. }) => {
                report.add(offset, rule, Advice::Rescue);
            }
        }
        if !self.size_bytes().is_multiple_of(4) {
            let rule = "the file does not end at a multiple of 4";
            report.add(self.size_bytes(), rule, Advice::Rescue);
        }
        let recovery_start = self.read_u32(RECOVERY_START)?;
        if recovery_start != 0 && recovery_start < self.data_start() {
            report.add(RECOVERY_START, "the recovery area lies in the header", Advice::Rescue);
            return Ok(0);
        }
        Ok(recovery_start)
    }

    fn collect_heads(&mut self, links: &mut Links) -> Result<(), TdbError> {
        let free = self.read_u32(FREE_LIST_HEAD)?;
        links.refer(FREE_LIST_HEAD, free, Owner::FREE);
        for chain in (0..self.hash_size).map(Chain) {
            let head = self.read_u32(chain.head())?;
            links.refer(chain.head(), head, Owner::chain(chain));
        }
        Ok(())
    }

    /// Walks the records in the order of their addresses.
    fn check_records(
        &mut self,
        recovery_start: u32,
        links: &mut Links,
        report: &mut CheckReport,
        progress: &mut dyn FnMut(u32, u32),
    ) -> Result<(), TdbError> {
        let end = self.size_bytes();
        let mut offset = self.data_start();
        let mut steps = 0_u32;
        let mut recovery_met = recovery_start == 0;
        while offset < end {
            steps = steps.wrapping_add(1);
            if steps.is_multiple_of(PROGRESS_STEPS) {
                progress(offset, end);
            }
            recovery_met |= offset == recovery_start;
            offset = match self.check_record(offset, recovery_start, links, report)? {
                Some(next) => next,
                // The tiling is lost: go on where a list or the header says that a record is.
                None => links.next_known(self, offset, recovery_start).unwrap_or(end),
            };
        }
        if !recovery_met {
            report.add(RECOVERY_START, NO_RECOVERY_AREA, Advice::Rescue);
        }
        Ok(())
    }

    /// Judges one record; returns the offset of the next one, or `None` if that is unknown.
    fn check_record(
        &mut self,
        offset: u32,
        recovery_start: u32,
        links: &mut Links,
        report: &mut CheckReport,
    ) -> Result<Option<u32>, TdbError> {
        let end = self.size_bytes();
        if end - offset < RECORD_HEADER_SIZE + TAILER_SIZE {
            report.add(offset, "space at the end is too small for a record", Advice::Rescue);
            return Ok(Some(end));
        }
        let record = self.read_record(offset)?;
        match record.kind() {
            Kind::Live | Kind::Dead | Kind::Free => {
                if offset == recovery_start {
                    report.add(RECOVERY_START, NO_RECOVERY_AREA, Advice::Rescue);
                }
                self.check_list_record(offset, &record, recovery_start, links, report)
            }
            Kind::RecoveryIdle | Kind::RecoveryArmed if offset == recovery_start => {
                let next = record.total().and_then(|total| offset.checked_add(total));
                let next = next.filter(|next| *next <= end);
                if next.is_none() {
                    let rule = "the recovery area ends outside the file";
                    report.add(offset, rule, Advice::Rescue);
                } else if record.rec_len < TAILER_SIZE || !record.rec_len.is_multiple_of(4) {
                    // A commit would make a free record of it.
                    let rule = "the recovery area's length is impossible";
                    report.add(offset, rule, Advice::Rescue);
                }
                Ok(next)
            }
            Kind::RecoveryIdle | Kind::Pad => {
                let next = links.next_known(self, offset, recovery_start).unwrap_or(end);
                if next == end {
                    report.repairs.push(Repair::Free(offset, next));
                    report.unowned_bytes = end - offset;
                } else {
                    // libtdb believes that such space reaches to the end of the file (P21).
                    let rule = "a hole of unowned space lies before other records";
                    report.add_hole(offset, next, rule);
                }
                Ok(Some(next))
            }
            Kind::Unknown if let Some(next) = links.hole_end(self, offset, recovery_start) => {
                report.add_hole(offset, next, NO_RECORD);
                Ok(Some(next))
            }
            Kind::RecoveryArmed | Kind::Unknown => {
                report.add(offset, "this is no record", Advice::Rescue);
                Ok(None)
            }
        }
    }

    fn check_list_record(
        &mut self,
        offset: u32,
        record: &RecordHeader,
        recovery_start: u32,
        links: &mut Links,
        report: &mut CheckReport,
    ) -> Result<Option<u32>, TdbError> {
        let end = self.size_bytes();
        let next_offset = record
            .total()
            .and_then(|total| offset.checked_add(total))
            .filter(|next| *next <= end && record.rec_len.is_multiple_of(4));
        let next_offset = next_offset.filter(|_| record.rec_len >= TAILER_SIZE);
        let has_tailer = match next_offset {
            Some(next) => self.read_u32(next - TAILER_SIZE)? == record.rec_len + RECORD_HEADER_SIZE,
            None => false,
        };
        // The remains of an old record may look like this, too.
        if !has_tailer && let Some(next) = links.hole_end(self, offset, recovery_start) {
            report.add_hole(offset, next, NO_RECORD);
            return Ok(Some(next));
        }
        let Some(next_offset) = next_offset else {
            report.add(offset, "the record's length is impossible", Advice::Rescue);
            return Ok(None);
        };
        if !has_tailer {
            report.add(offset, "the tailer does not match the record", Advice::Mend);
            report.repairs.push(Repair::Tailer(offset, *record));
        }
        let owner = match record.kind() {
            Kind::Free => {
                report.free_count += 1;
                Owner::FREE
            }
            kind => {
                if kind == Kind::Live {
                    report.live_count += 1;
                } else {
                    report.dead_count += 1;
                }
                self.check_content(offset, record, links)?
            }
        };
        links.add(offset, owner);
        links.refer(offset, record.next, owner);
        Ok(Some(next_offset))
    }

    /// The list that a record with a key belongs to. What is wrong with it only matters when it is
    /// linked: a process may have died before it had filled the record.
    fn check_content(
        &mut self,
        offset: u32,
        record: &RecordHeader,
        links: &mut Links,
    ) -> Result<Owner, TdbError> {
        let used = u64::from(record.key_len) + u64::from(record.data_len) + u64::from(TAILER_SIZE);
        if used > u64::from(record.rec_len) {
            links.suspect(offset, "key and data are longer than their record");
        } else {
            let mut key = std::mem::take(&mut self.scratch);
            key.clear();
            let outcome = self.read_into(Self::key_at(offset), record.key_len, &mut key);
            let hash = self.hash(&key);
            self.scratch = key;
            outcome?;
            if hash != record.full_hash {
                links.suspect(offset, "the hash is not that of the key");
            }
        }
        Ok(Owner::chain(Chain(record.full_hash % self.hash_size)))
    }
}

/// What a process leaves that dies while it splits free space as libtdb does it.
const NO_RECORD: &str = "these bytes belong to no record";
const NO_RECOVERY_AREA: &str = "there is no recovery area where the header says";
pub(crate) const FAULTS_COUNT_MAX: usize = 100;
const PROGRESS_STEPS: u32 = 1 << 16;
