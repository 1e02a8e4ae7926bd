//! A walk over this shard's chains of one database, a slice at a time, beside the clients' work.

use crate::record::database::Database;
use crate::record::turn::Turn;
use crate::record::{Effects, Lock, RecordStore, StoreFault};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use bateria_wire::Pnn;
use bateria_wire::head::ReportOp;
use bateria_wire::report::{CopyFlags, Entry};

/// Progress of a walk.
pub(crate) struct Scan {
    purpose: Purpose,
    next_chain: u32,
    /// Chains that clients held when the walk came by.
    waiting: BTreeSet<u32>,
    ended: bool,
    outgoing: BTreeMap<Pnn, Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Tell the LMASTERs of a new generation which copies this node holds.
    Report,
    /// Forget every copy: this node was not part of the last generation.
    Wipe,
    /// Find tombstones that nobody scheduled for deletion.
    Sweep,
}

/// Chains looked at in one slice; most are empty and cost one load.
const SLICE_CHAINS_COUNT: u32 = 4096;
/// Records handled in one slice, so that a slice stays short on full files as well.
const SLICE_RECORDS_COUNT: usize = 512;
/// A report frame is sent when it has grown to this.
const REPORT_SIZE_BYTES: usize = 64 * 1024;

impl Scan {
    pub(crate) fn new(purpose: Purpose) -> Self {
        Self {
            purpose,
            next_chain: 0,
            waiting: BTreeSet::new(),
            ended: false,
            outgoing: BTreeMap::new(),
        }
    }

    /// Whether the new generation has to wait for this walk: for all chains that are free, or,
    /// where old records must not be seen any more, for every chain.
    pub(crate) fn delays_generation(&self) -> bool {
        match self.purpose {
            Purpose::Report => !self.ended,
            Purpose::Wipe => true,
            Purpose::Sweep => false,
        }
    }

    pub(crate) fn wipes(&self) -> bool {
        self.purpose == Purpose::Wipe
    }

    /// All chains were visited, those that were busy excepted.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    fn is_over(&self) -> bool {
        self.ended && self.waiting.is_empty()
    }
}

impl Database {
    /// Visits the next slice of chains. Returns whether there is more to do at once.
    pub(crate) fn scan_slice<S: RecordStore, E: Effects>(
        &mut self,
        turn: &mut Turn<'_, S, E>,
        lane: u32,
        lanes_count: u32,
    ) -> Result<bool, StoreFault> {
        let Some(mut scan) = self.scan.take_if(|scan| !scan.ended) else { return Ok(false) };
        let chains_count = turn.store.chains_count(self.id);
        let slice_end = chains_count.min(scan.next_chain.saturating_add(SLICE_CHAINS_COUNT));
        let mut records_count = 0;
        let mut outcome = Ok(());
        while scan.next_chain < slice_end && records_count < SLICE_RECORDS_COUNT {
            let chain = scan.next_chain;
            scan.next_chain += 1;
            if !turn.store.serves(self.id, chain) || turn.store.chain_is_empty(self.id, chain) {
                continue;
            }
            match self.scan_chain(turn, &mut scan, chain) {
                Ok(Some(count)) => records_count += count,
                Ok(None) => {
                    scan.waiting.insert(chain);
                    if self.chains.park_scan(chain) {
                        turn.effects.wait_for_chain(self.id, chain);
                    }
                }
                Err(fault) => {
                    outcome = Err(fault);
                    break;
                }
            }
        }
        if scan.next_chain >= chains_count && outcome.is_ok() {
            self.end_scan(turn, &mut scan, lane, lanes_count, chains_count);
        }
        let goes_on = !scan.ended;
        self.keep_scan(turn, scan)?;
        outcome.map(|()| goes_on)
    }

    /// A chain that was busy may be free now.
    pub(crate) fn scan_busy_chain<S: RecordStore, E: Effects>(
        &mut self,
        turn: &mut Turn<'_, S, E>,
        chain: u32,
    ) -> Result<(), StoreFault> {
        let Some(mut scan) = self.scan.take_if(|scan| scan.waiting.contains(&chain)) else {
            return Ok(());
        };
        let outcome = self.scan_chain(turn, &mut scan, chain);
        match outcome {
            Ok(Some(_)) => {
                scan.waiting.remove(&chain);
                if scan.ended && scan.purpose != Purpose::Sweep {
                    self.flush_reports(turn, &mut scan, 0);
                    self.tell_chain_done(turn, chain);
                }
            }
            Ok(None) => {
                if self.chains.park_scan(chain) {
                    turn.effects.wait_for_chain(self.id, chain);
                }
            }
            Err(_) => {}
        }
        self.keep_scan(turn, scan)?;
        outcome.map(|_| ())
    }

    /// Goes on later, or is done. A node that was emptied begins to serve when nothing is left.
    fn keep_scan<S: RecordStore, E: Effects>(
        &mut self,
        turn: &mut Turn<'_, S, E>,
        scan: Scan,
    ) -> Result<(), StoreFault> {
        if !scan.is_over() {
            self.scan = Some(scan);
            return Ok(());
        }
        if scan.purpose == Purpose::Wipe { self.resume(turn) } else { Ok(()) }
    }

    /// Visits one chain; `None` when a client holds it, else the number of its records.
    fn scan_chain<S: RecordStore, E: Effects>(
        &mut self,
        turn: &mut Turn<'_, S, E>,
        scan: &mut Scan,
        chain: u32,
    ) -> Result<Option<usize>, StoreFault> {
        // A record that has arrived and waits for this chain must land before the chain is
        // reported: the LMASTER would give it to somebody else.
        if self.chains.is_waited_for(chain) || turn.store.try_lock(self.id, chain)? == Lock::Busy {
            return Ok(None);
        }
        let (me, map, now_us) = (turn.me, turn.map, turn.now_us);
        let purpose = scan.purpose;
        let mut records_count = 0;
        let mut doomed = Vec::new();
        let outcome = turn.store.walk(self.id, chain, &mut |key, header, body_len| {
            records_count += 1;
            let owner = header.dmaster == me;
            match purpose {
                Purpose::Wipe => doomed.push(key.bytes.to_vec()),
                Purpose::Sweep if owner && body_len == 0 => self.deletions.schedule(now_us, key),
                Purpose::Sweep => {}
                Purpose::Report => {
                    let mut flags = CopyFlags::empty();
                    flags.set(CopyFlags::OWNER, owner);
                    flags.set(CopyFlags::TOMBSTONE, body_len == 0);
                    let lmaster = map.lmaster(key.hash).expect("an open generation has LMASTERs");
                    if lmaster == me {
                        if let Some(rebuild) = &mut self.rebuild {
                            rebuild.add(me, key, header.rsn, flags);
                        }
                    } else {
                        let entry = Entry { rsn: header.rsn, flags, key: key.bytes };
                        entry.encode(scan.outgoing.entry(lmaster).or_default());
                    }
                }
            }
        });
        let wiped = doomed.iter().try_for_each(|key| turn.store.delete(self.id, key));
        turn.store.unlock(self.id, chain);
        outcome.and(wiped)?;
        self.flush_reports(turn, scan, REPORT_SIZE_BYTES);
        Ok(Some(records_count))
    }

    fn flush_reports<S: RecordStore, E: Effects>(
        &self,
        turn: &mut Turn<'_, S, E>,
        scan: &mut Scan,
        size_bytes_min: usize,
    ) {
        for (to, entries) in &mut scan.outgoing {
            if entries.len() > size_bytes_min {
                turn.send_report(*to, self.id, ReportOp::Entries, entries);
                entries.clear();
            }
        }
    }

    fn end_scan<S: RecordStore, E: Effects>(
        &mut self,
        turn: &mut Turn<'_, S, E>,
        scan: &mut Scan,
        lane: u32,
        lanes_count: u32,
        chains_count: u32,
    ) {
        scan.ended = true;
        if scan.purpose == Purpose::Sweep {
            return;
        }
        self.flush_reports(turn, scan, 0);
        let missing: Vec<u8> = scan.waiting.iter().flat_map(|chain| chain.to_le_bytes()).collect();
        let op = ReportOp::End { lane, lanes_count, chains_count };
        turn.send_report_to_others(self.id, op, &missing);
        if let Some(rebuild) = &mut self.rebuild {
            // Keys that this shard locates lie in chains that this shard scans: of the own node,
            // one lane is all of them.
            rebuild.end(turn.me, lane, 1, chains_count, scan.waiting.iter().copied());
        }
    }

    fn tell_chain_done<S: RecordStore, E: Effects>(
        &mut self,
        turn: &mut Turn<'_, S, E>,
        chain: u32,
    ) {
        turn.send_report_to_others(self.id, ReportOp::ChainDone { chain }, &[]);
        if let Some(rebuild) = &mut self.rebuild {
            rebuild.chain_done(turn.me, chain);
        }
    }
}
