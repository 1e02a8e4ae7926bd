//! Whether every record is linked exactly once, from its own list (tdb §10.1 rule 6).
//!
//! libtdb compares bitmaps, which can be fooled; this compares sorted lists.

use crate::check::{Advice, CheckReport, Repair};
use crate::database::{Chain, Tdb};
use crate::error::TdbError;
use crate::header::FREE_LIST_HEAD;
use crate::record::{Kind, RECORD_HEADER_SIZE};

/// All records and all links of a file.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// In ascending order, because the records are walked so.
    records: Vec<(u32, Owner)>,
    references: Vec<Reference>,
    /// Records with a fault that only counts if they are linked, in ascending order.
    suspects: Vec<(u32, &'static str)>,
    /// Every offset that the lists reach, sorted; only asked for when the file is damaged.
    reachable: Option<Reachable>,
}

/// The list that a record belongs to: the free list, or a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner(u32);

#[derive(Clone, Copy, Debug)]
struct Reference {
    target: u32,
    owner: Owner,
    from: u32,
    /// Index of the record that refers; `HEAD` for the head of a list.
    from_index: u32,
}

/// No record: a head refers.
const HEAD: u32 = u32::MAX;

impl Owner {
    pub(crate) const FREE: Self = Self(u32::MAX);

    pub(crate) fn chain(chain: Chain) -> Self {
        Self(chain.0)
    }
}

impl Links {
    pub(crate) fn add(&mut self, offset: u32, owner: Owner) {
        self.records.push((offset, owner));
    }

    /// The record would be damaged, if it were linked.
    pub(crate) fn suspect(&mut self, offset: u32, rule: &'static str) {
        self.suspects.push((offset, rule));
    }

    pub(crate) fn refer(&mut self, from: u32, target: u32, owner: Owner) {
        if target != 0 {
            let index = u32::try_from(self.records.len()).expect("fewer than bytes in a file");
            let from_index = index.checked_sub(1).unwrap_or(HEAD);
            self.references.push(Reference { target, owner, from, from_index });
        }
    }

    /// The next offset behind `offset` that some list, or the header, says is a record.
    pub(crate) fn next_known(
        &mut self,
        tdb: &mut Tdb,
        offset: u32,
        recovery_start: u32,
    ) -> Option<u32> {
        let reachable = self.reachable.get_or_insert_with(|| Reachable::of(tdb));
        let next = reachable.next(offset);
        let recovery = Some(recovery_start).filter(|start| *start > offset);
        match (next, recovery) {
            (Some(next), Some(recovery)) => Some(next.min(recovery)),
            (next, recovery) => next.or(recovery),
        }
    }

    /// Where the next record begins, if nothing refers to the bytes between it and `offset`: unless
    /// all lists can be read to their ends, nobody knows.
    pub(crate) fn hole_end(
        &mut self,
        tdb: &mut Tdb,
        offset: u32,
        recovery_start: u32,
    ) -> Option<u32> {
        let next = self.next_known(tdb, offset, recovery_start).unwrap_or(tdb.size_bytes());
        let reachable = self.reachable.as_ref()?;
        let unknown = reachable.complete && !reachable.contains(offset) && offset != recovery_start;
        unknown.then_some(next)
    }

    pub(crate) fn check(mut self, tdb: &mut Tdb, report: &mut CheckReport) -> Result<(), TdbError> {
        self.references.sort_unstable_by_key(|reference| reference.target);
        let mut torn_off = Vec::new();
        if self.has_unlinked() {
            // What an unlinked record links to is not linked by that.
            let reachable = self.reachable.take().unwrap_or_else(|| Reachable::of(tdb));
            let heads_end = tdb.data_start();
            torn_off = self.torn_off(&reachable, heads_end);
            self.references.retain(|reference| {
                reference.from < heads_end || reachable.contains(reference.from)
            });
        }
        let looks_live = live_on_free_list(tdb);
        for reference in &mut self.references {
            if looks_live.binary_search(&reference.from).is_ok() {
                reference.owner = Owner::FREE;
            }
        }
        let faults_before = report.faults_count;
        let mut references = self.references.iter().peekable();
        let mut suspects = self.suspects.iter().peekable();
        for (offset, owner) in &self.records {
            while let Some(stray) = references.next_if(|reference| reference.target < *offset) {
                report.add(stray.from, "links to what is no record", Advice::Rescue);
            }
            let (mut count, mut strange_count) = (0, 0);
            while let Some(reference) = references.next_if(|found| found.target == *offset) {
                count += 1;
                strange_count += u32::from(reference.owner != *owner);
            }
            let suspect = suspects.next_if(|(suspect, _)| suspect == offset);
            if count == 1 && looks_live.binary_search(offset).is_ok() {
                // What a process leaves that dies while it takes or frees a record (tdb §4.1).
                report.add(*offset, "an element of the free list looks live", Advice::Mend);
                report.repairs.push(Repair::Magic(*offset));
                continue;
            }
            for _ in 0..strange_count {
                report.add(*offset, "is linked from a list it is not of", Advice::Rescue);
            }
            if let Some((_, rule)) = suspect.filter(|_| count > 0) {
                report.add(*offset, rule, Advice::Rescue);
            }
            if count == 0 {
                // What a process leaves that dies between making a record and linking it.
                report.add(*offset, "no list links to this record", Advice::Mend);
                let record = tdb.read_record(*offset)?;
                let end = *offset + RECORD_HEADER_SIZE + record.rec_len;
                let whole = record.kind() == Kind::Live && suspect.is_none();
                report.repairs.push(if whole && torn_off.binary_search(offset).is_ok() {
                    Repair::Link(*offset, end)
                } else {
                    Repair::Free(*offset, end)
                });
            } else if count > 1 {
                report.add(*offset, "is linked more than once", Advice::Rescue);
            }
        }
        for stray in references {
            report.add(stray.from, "links to what is no record", Advice::Rescue);
        }
        if report.faults_count == faults_before && self.has_circle() {
            report.add(FREE_LIST_HEAD, "records are linked in a circle", Advice::Rescue);
        }
        Ok(())
    }

    /// Unlinked records that lead to, or from, another unlinked one of their chain, sorted: a link in
    /// front of them is damaged. A record that its writer did not live to link leads to one that
    /// is linked, or to nothing.
    fn torn_off(&self, reachable: &Reachable, heads_end: u32) -> Vec<u32> {
        let is_lost = |offset: u32| offset >= heads_end && !reachable.contains(offset);
        let mut found = Vec::new();
        for reference in &self.references {
            let Reference { from, target, owner, .. } = *reference;
            if is_lost(from) && is_lost(target) && self.owner(target) == Some(owner) {
                found.extend([from, target]);
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    fn owner(&self, offset: u32) -> Option<Owner> {
        let index = self.records.binary_search_by_key(&offset, |(record, _)| *record).ok()?;
        Some(self.records[index].1)
    }

    /// When every record is linked exactly once, the references (sorted by target) are one to one
    /// with the records, and a list can only go in circles apart from any head. Going back from
    /// each record must then end at a head, or at a record from which that is known.
    fn has_circle(&self) -> bool {
        const UNSEEN: u8 = 0;
        const ON_THIS_WAY: u8 = 1;
        const GOOD: u8 = 2;
        let mut seen = vec![UNSEEN; self.references.len()];
        let mut way = Vec::new();
        for start in 0..self.references.len() {
            let mut at = start;
            while seen[at] == UNSEEN {
                seen[at] = ON_THIS_WAY;
                way.push(at);
                match self.references[at].from_index {
                    HEAD => break,
                    before => at = before as usize,
                }
            }
            let ends_at_head = way
                .last()
                .is_none_or(|last| self.references[*last].from_index == HEAD || seen[at] == GOOD);
            if !ends_at_head {
                return true;
            }
            way.drain(..).for_each(|index| seen[index] = GOOD);
        }
        false
    }

    fn has_unlinked(&self) -> bool {
        let mut references = self.references.iter().peekable();
        self.records.iter().any(|(offset, _)| {
            while references.next_if(|reference| reference.target < *offset).is_some() {}
            references.peek().is_none_or(|reference| reference.target != *offset)
        })
    }
}

/// Elements of the free list with the magic number of a live record, sorted. There is hardly ever
/// one.
fn live_on_free_list(tdb: &mut Tdb) -> Vec<u32> {
    let mut found = Vec::new();
    let limit = tdb.size_bytes() / RECORD_HEADER_SIZE;
    let mut next = tdb.read_u32(FREE_LIST_HEAD).ok();
    for _ in 0..limit {
        let Some(offset) = next.filter(|offset| *offset != 0) else { break };
        let Ok(record) = tdb.read_record(offset) else { break };
        if record.kind() == Kind::Live {
            found.push(offset);
        }
        next = Some(record.next);
    }
    found.sort_unstable();
    found
}

/// Every offset that heads and links reach.
#[derive(Debug)]
pub(crate) struct Reachable {
    /// Each once, sorted.
    offsets: Vec<u32>,
    /// No list ended in something that could not be read, or went on for ever.
    pub(crate) complete: bool,
}

impl Reachable {
    /// Damaged links end their list.
    pub(crate) fn of(tdb: &mut Tdb) -> Self {
        let limit = tdb.size_bytes() / RECORD_HEADER_SIZE;
        let mut offsets = Vec::new();
        let mut complete = true;
        let heads = (0..tdb.chains_count()).map(|chain| Chain(chain).head());
        let mut steps = 0;
        for head in heads.chain([FREE_LIST_HEAD]) {
            let mut next = tdb.read_u32(head).ok();
            while let Some(offset) = next.filter(|offset| *offset != 0) {
                next = tdb.read_record(offset).ok().map(|record| record.next);
                if offset < tdb.data_start() || next.is_none() || steps == limit {
                    next = None;
                    break;
                }
                offsets.push(offset);
                steps += 1;
            }
            complete &= next == Some(0);
        }
        offsets.sort_unstable();
        offsets.dedup();
        Self { offsets, complete }
    }

    /// The first one behind `offset`.
    pub(crate) fn next(&self, offset: u32) -> Option<u32> {
        let index = self.offsets.partition_point(|known| *known <= offset);
        self.offsets.get(index).copied()
    }

    pub(crate) fn contains(&self, offset: u32) -> bool {
        self.offsets.binary_search(&offset).is_ok()
    }

    pub(crate) fn len(&self) -> usize {
        self.offsets.len()
    }
}
