//! Whether every record is linked exactly once, from its own list (tdb §10.1 rule 6).
//!
//! libtdb compares bitmaps, which can be fooled; this compares sorted lists.

use crate::check::{Advice, CheckReport, Repair};
use crate::database::{Chain, Tdb};
use crate::error::TdbError;
use crate::header::FREE_LIST_HEAD;
use crate::record::RECORD_HEADER_SIZE;

/// All records and all links of a file.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// In ascending order, because the records are walked so.
    records: Vec<(u32, Owner)>,
    references: Vec<Reference>,
    /// Every offset that the lists reach, sorted; only asked for when the file is damaged.
    reachable: Option<Vec<u32>>,
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
        let reachable = self.reachable.get_or_insert_with(|| reachable(tdb));
        let index = reachable.partition_point(|known| *known <= offset);
        let next = reachable.get(index).copied();
        let recovery = Some(recovery_start).filter(|start| *start > offset);
        match (next, recovery) {
            (Some(next), Some(recovery)) => Some(next.min(recovery)),
            (next, recovery) => next.or(recovery),
        }
    }

    pub(crate) fn check(mut self, tdb: &mut Tdb, report: &mut CheckReport) -> Result<(), TdbError> {
        self.references.sort_unstable_by_key(|reference| reference.target);
        if self.has_unlinked() {
            // What an unlinked record links to is not linked by that.
            let reachable = reachable(tdb);
            let heads_end = tdb.data_start();
            self.references.retain(|reference| {
                reference.from < heads_end || reachable.binary_search(&reference.from).is_ok()
            });
        }
        let faults_before = report.faults_count;
        let mut references = self.references.iter().peekable();
        for (offset, owner) in &self.records {
            while let Some(stray) = references.next_if(|reference| reference.target < *offset) {
                report.add(stray.from, "links to what is no record", Advice::Rescue);
            }
            let mut count = 0;
            while let Some(reference) = references.next_if(|found| found.target == *offset) {
                count += 1;
                if reference.owner != *owner {
                    report.add(*offset, "is linked from a list it is not of", Advice::Rescue);
                }
            }
            if count == 0 {
                // What a process leaves that dies between making a record and linking it.
                report.add(*offset, "no list links to this record", Advice::Mend);
                let record = tdb.read_record(*offset)?;
                let end = *offset + RECORD_HEADER_SIZE + record.rec_len;
                report.repairs.push(Repair::Free(*offset, end));
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

/// Every offset that heads and links reach, each once, sorted. Damaged links end their list.
fn reachable(tdb: &mut Tdb) -> Vec<u32> {
    let limit = tdb.size_bytes() / RECORD_HEADER_SIZE;
    let mut found = Vec::new();
    let heads = (0..tdb.chains_count()).map(|chain| Chain(chain).head()).chain([FREE_LIST_HEAD]);
    let mut steps = 0;
    for head in heads {
        let Ok(mut offset) = tdb.read_u32(head) else { continue };
        while offset >= tdb.data_start() && steps < limit {
            let Ok(record) = tdb.read_record(offset) else { break };
            found.push(offset);
            steps += 1;
            offset = record.next;
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}
