//! One volatile database on one shard: the clients' side and the owner's side of its records.
//!
//! The LMASTER's side is in `lmaster`, deletion in `vacuum`, the walk over the file in `scan`.

use crate::record::chain_queue::ChainQueue;
use crate::record::deletions::Deletions;
use crate::record::directory::Directory;
use crate::record::hold::Hold;
use crate::record::key_table::KeyTable;
use crate::record::rebuild::Rebuild;
use crate::record::scan::{Purpose, Scan};
use crate::record::tenure::{Arrival, Stay, Tenure, Waiter, print};
use crate::record::turn::Turn;
use crate::record::{
    Effects, Function, Key, Lock, OwnedKey, Reason, RecordFlags, RecordHeader, RecordStore,
    StoreFault,
};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bateria_wire::head::RecordOp;
use bateria_wire::{DbId, Pnn, Rsn};

/// Everything about the records of one database that are this shard's.
pub(crate) struct Database {
    pub(crate) id: DbId,
    pub(crate) tenures: KeyTable<Tenure>,
    pub(crate) chains: ChainQueue,
    pub(crate) directory: Directory,
    pub(crate) deletions: Deletions,
    pub(crate) deletion_delay_us: u64,
    pub(crate) rebuild: Option<Rebuild>,
    pub(crate) scan: Option<Scan>,
    /// The file is damaged; every call is refused.
    pub(crate) failed: bool,
    hold: Hold,
    /// Stays that nobody waits to end, in the order in which they do.
    idle_stays: VecDeque<(u64, OwnedKey)>,
    body: Vec<u8>,
}

impl Database {
    pub(crate) fn new(id: DbId, deletion_delay_us: u64) -> Self {
        Self {
            id,
            tenures: KeyTable::new(),
            chains: ChainQueue::default(),
            directory: Directory::default(),
            deletions: Deletions::default(),
            deletion_delay_us,
            rebuild: None,
            scan: None,
            failed: false,
            hold: Hold::new(),
            idle_stays: VecDeque::new(),
            body: Vec::new(),
        }
    }

    /// A local client wants the record.
    pub(crate) fn call<S: RecordStore, E: Effects>(
        &mut self,
        turn: &mut Turn<'_, S, E>,
        waiter: Waiter,
        key: Key<'_>,
    ) -> Result<(), StoreFault> {
        self.end_idle_stays(turn.now_us);
        self.tenures.get_or_insert_with(key, Tenure::default).waiters.push_back(waiter);
        self.advance(turn, key)
    }

    /// The LMASTER names the next node in the record's queue.
    pub(crate) fn recall<S: RecordStore, E: Effects>(
        &mut self,
        turn: &mut Turn<'_, S, E>,
        key: Key<'_>,
        to: Pnn,
    ) -> Result<(), StoreFault> {
        let tenure = self.tenures.get_or_insert_with(key, Tenure::default);
        if tenure.successor.replace(to).is_some() {
            turn.effects.request_recovery(Reason::NotOwner { db: self.id });
        }
        if let Some(stay) = tenure.stay.filter(|stay| stay.until_us > turn.now_us) {
            turn.deadlines.push(stay.until_us, self.id, key);
            return Ok(());
        }
        self.advance(turn, key)
    }

    /// The record comes to this node.
    pub(crate) fn arrive<S: RecordStore, E: Effects>(
        &mut self,
        turn: &mut Turn<'_, S, E>,
        key: Key<'_>,
        arrival: Arrival,
    ) -> Result<(), StoreFault> {
        let tenure = self.tenures.get_or_insert_with(key, Tenure::default);
        tenure.arrival = Some(arrival);
        self.advance(turn, key)
    }

    /// The LMASTER knows of no copy, and only readers were waiting when it was asked.
    pub(crate) fn absent<S: RecordStore, E: Effects>(
        &mut self,
        turn: &mut Turn<'_, S, E>,
        key: Key<'_>,
    ) -> Result<(), StoreFault> {
        let Some(tenure) = self.tenures.get_mut(key) else { return Ok(()) };
        tenure.wanted = false;
        let nothing = RecordHeader { rsn: Rsn(0), dmaster: turn.me, flags: RecordFlags::empty() };
        tenure.waiters.retain(|waiter| {
            let content = waiter.asked && waiter.function.only_reads();
            if content {
                turn.effects.reply(waiter.caller, waiter.function, nothing, &[]);
            }
            !content
        });
        self.advance(turn, key)
    }

    /// Does all that can be done for a key now. Whatever changes a tenure ends here.
    pub(crate) fn advance<S: RecordStore, E: Effects>(
        &mut self,
        turn: &mut Turn<'_, S, E>,
        key: Key<'_>,
    ) -> Result<(), StoreFault> {
        let Some(tenure) = self.tenures.get_mut(key) else { return Ok(()) };
        // A file that is being emptied still holds records of the past.
        if tenure.parked || self.scan.as_ref().is_some_and(Scan::wipes) {
            return Ok(());
        }
        if self.failed {
            tenure.waiters.drain(..).for_each(|waiter| turn.effects.refuse(waiter.caller));
            return Ok(());
        }
        let chain = key.hash % turn.store.chains_count(self.id);
        match turn.store.try_lock(self.id, chain)? {
            Lock::Busy => {
                tenure.parked = true;
                if self.chains.park_key(chain, key.to_owned()) {
                    turn.effects.wait_for_chain(self.id, chain);
                }
                Ok(())
            }
            Lock::Taken => {
                let outcome = self.serve(turn, key);
                turn.store.unlock(self.id, chain);
                if self.tenures.get_mut(key).is_some_and(|tenure| tenure.is_over()) {
                    self.tenures.remove(key);
                }
                outcome
            }
        }
    }

    /// A client may have let go of a chain.
    pub(crate) fn chain_free<S: RecordStore, E: Effects>(
        &mut self,
        turn: &mut Turn<'_, S, E>,
        chain: u32,
    ) -> Result<(), StoreFault> {
        let parked = self.chains.release(chain);
        for key in &parked.keys {
            if let Some(tenure) = self.tenures.get_mut(key.borrow()) {
                tenure.parked = false;
            }
        }
        for key in &parked.keys {
            self.advance(turn, key.borrow())?;
        }
        if parked.scan {
            self.scan_busy_chain(turn, chain)?;
            self.locate(turn);
        }
        Ok(())
    }

    /// A session is gone: nobody waits in its name. The records it asked for still come.
    pub(crate) fn forget_caller(&mut self, session: u64) {
        for (_, tenure) in self.tenures.iter_mut() {
            tenure.waiters.retain(|waiter| waiter.caller.session != session);
        }
    }

    /// Frames of another generation count no more: what they promised is asked for again. A record
    /// that has arrived is ours, though; its owner gave it away while we were in one generation.
    pub(crate) fn quiesce(&mut self, now_us: u64) {
        self.directory.clear();
        self.rebuild = None;
        self.scan = None;
        let delay_us = self.deletion_delay_us;
        let deletions = &mut self.deletions;
        for (key, tenure) in self.tenures.iter_mut() {
            tenure.wanted = false;
            tenure.successor = None;
            if tenure.purge.take().is_some() {
                deletions.schedule(now_us + delay_us, key);
            }
        }
        self.tenures.extract_if(|_, tenure| tenure.is_over()).for_each(drop);
    }

    /// Begins to report all copies, or to forget them where they belong to the past.
    pub(crate) fn begin_rebuild(&mut self, members: &[Pnn], wipe: bool) {
        self.rebuild = Some(Rebuild::new(members));
        self.scan = Some(Scan::new(if wipe { Purpose::Wipe } else { Purpose::Report }));
        if wipe {
            self.tenures.iter_mut().for_each(|(_, tenure)| tenure.arrival = None);
        }
    }

    /// Begins to report what little is here to members that may wait for it. As LMASTER this node
    /// knows everything already: whoever wanted a record in this generation has asked here.
    pub(crate) fn report(&mut self) {
        self.scan = Some(Scan::new(Purpose::Report));
    }

    /// Whether the generation has to wait for this database.
    pub(crate) fn delays_generation(&self) -> bool {
        !self.failed
            && (self.scan.as_ref().is_some_and(Scan::delays_generation)
                || self.rebuild.as_ref().is_some_and(|rebuild| !rebuild.all_ended()))
    }

    /// The new generation is open: everybody who waits is served or asks anew.
    pub(crate) fn resume<S: RecordStore, E: Effects>(
        &mut self,
        turn: &mut Turn<'_, S, E>,
    ) -> Result<(), StoreFault> {
        let waiting: Vec<_> = self.tenures.iter().map(|(key, _)| key.to_owned()).collect();
        waiting.iter().try_for_each(|key| self.advance(turn, key.borrow()))
    }

    pub(crate) fn unsettled_count(&self) -> usize {
        self.tenures.iter().filter(|(_, tenure)| tenure.is_unsettled()).count()
    }

    pub(crate) fn queued_count(&self) -> usize {
        let waiters = self.tenures.iter().map(|(_, tenure)| tenure.waiters.len());
        let held = self.rebuild.as_ref().map_or(0, Rebuild::held_count);
        waiters.sum::<usize>() + self.idle_stays.len() + self.chains.len() + held
    }

    /// Works on a key whose chain is locked.
    fn serve<S: RecordStore, E: Effects>(
        &mut self,
        turn: &mut Turn<'_, S, E>,
        key: Key<'_>,
    ) -> Result<(), StoreFault> {
        let mut body = core::mem::take(&mut self.body);
        body.clear();
        let outcome = self.serve_with(turn, key, &mut body);
        self.body = body;
        outcome
    }

    fn serve_with<S: RecordStore, E: Effects>(
        &mut self,
        turn: &mut Turn<'_, S, E>,
        key: Key<'_>,
        body: &mut Vec<u8>,
    ) -> Result<(), StoreFault> {
        let id = self.id;
        let mut header = turn.store.fetch(id, key.bytes, body)?;
        let tenure = self.tenures.get_mut(key).expect("only keys with a tenure are served");
        if let Some(arrival) = tenure.arrival.take() {
            let Some(landed) = land(turn, id, arrival, header, body) else { return Ok(()) };
            turn.store.store(id, key.bytes, &landed, body)?;
            header = Some(landed);
            tenure.wanted = false;
            if body.is_empty() {
                self.deletions.schedule(turn.now_us + self.deletion_delay_us, key);
            }
            // Readers are content with the reply; writers come for the chain's lock.
            let writers = tenure.waiters.iter().filter(|waiter| !waiter.function.only_reads());
            let writers_count = writers.count();
            let until_us = turn.now_us + self.hold.stay_us(writers_count);
            if writers_count > 0 {
                tenure.stay = Some(Stay { until_us, print: print(body) });
                if tenure.successor.is_some() {
                    turn.deadlines.push(until_us, id, key);
                } else {
                    self.idle_stays.push_back((until_us, key.to_owned()));
                }
            }
            turn.effects.migrated(id, key.bytes);
        }
        let Some(owned) = header.filter(|header| header.dmaster == turn.me) else {
            self.ask_for(turn, key);
            return Ok(());
        };
        let leaves = turn.open && tenure.leaves(turn.now_us);
        tenure.waiters.retain(|waiter| {
            // A client that wants to write would find the record gone; it waits for the next time.
            let waits = leaves && !waiter.function.only_reads();
            if !waits {
                turn.effects.reply(waiter.caller, waiter.function, owned, body);
            }
            waits
        });
        if !leaves {
            return Ok(());
        }
        if let Some(stay) = tenure.stay.take() {
            if stay.print == print(body) {
                self.hold.was_too_short();
            } else {
                self.hold.was_long_enough();
            }
        }
        let to = tenure.successor.take().expect("a record leaves for somebody");
        hand_over(turn, id, key, owned, body, to)?;
        self.ask_for(turn, key);
        Ok(())
    }

    /// The record is elsewhere: asks for it if clients wait.
    fn ask_for<S: RecordStore, E: Effects>(&mut self, turn: &mut Turn<'_, S, E>, key: Key<'_>) {
        let tenure = self.tenures.get_mut(key).expect("only keys with a tenure are served");
        tenure.stay = None;
        if tenure.successor.is_some() && !tenure.wanted {
            tenure.successor = None;
            turn.effects.request_recovery(Reason::NotOwner { db: self.id });
        }
        if tenure.waiters.is_empty() || tenure.wanted || !turn.open {
            return;
        }
        tenure.wanted = true;
        tenure.waiters.iter_mut().for_each(|waiter| waiter.asked = true);
        let only_read = tenure.only_reads();
        let lmaster = turn.lmaster(key);
        turn.send(lmaster, self.id, key, RecordOp::Want { only_read }, &[]);
    }

    /// Drops what is kept of records that arrived a while ago and that nobody else wants.
    pub(crate) fn end_idle_stays(&mut self, now_us: u64) {
        while let Some((_, key)) = self.idle_stays.pop_front_if(|(until, _)| *until <= now_us) {
            let Some(tenure) = self.tenures.get_mut(key.borrow()) else { continue };
            if tenure.successor.is_none() && tenure.stay.is_some_and(|stay| stay.until_us <= now_us)
            {
                tenure.stay = None;
            }
            if tenure.is_over() {
                self.tenures.remove(key.borrow());
            }
        }
    }
}

/// The header with which an arriving record enters the file; `body` becomes its body. `None` when
/// a copy that should be adopted is not there.
fn land<S: RecordStore, E: Effects>(
    turn: &mut Turn<'_, S, E>,
    db: DbId,
    arrival: Arrival,
    local: Option<RecordHeader>,
    body: &mut Vec<u8>,
) -> Option<RecordHeader> {
    let have = local.map_or(Rsn(0), |header| header.rsn);
    let dmaster = turn.me;
    match arrival {
        Arrival::Granted => {
            body.clear();
            Some(RecordHeader { rsn: have.next(), dmaster, flags: RecordFlags::empty() })
        }
        Arrival::Handed { rsn, flags, body: handed } => {
            *body = handed;
            Some(RecordHeader { rsn: rsn.max(have).next(), dmaster, flags })
        }
        Arrival::Adopted { rsn } => {
            let Some(local) = local else {
                turn.effects.request_recovery(Reason::NotOwner { db });
                return None;
            };
            // Two above, so that the former owner, should its last change have reached nobody,
            // is not equalled.
            Some(RecordHeader { rsn: rsn.max(have).next().next(), dmaster, ..local })
        }
    }
}

/// Gives a record away: the file first, then the frame (client protocol §13, 29).
fn hand_over<S: RecordStore, E: Effects>(
    turn: &mut Turn<'_, S, E>,
    db: DbId,
    key: Key<'_>,
    owned: RecordHeader,
    body: &[u8],
    to: Pnn,
) -> Result<(), StoreFault> {
    let mut left = RecordHeader { dmaster: to, ..owned };
    if !body.is_empty() {
        left.flags |= RecordFlags::MIGRATED_WITH_DATA;
    }
    if body.is_empty() && !left.flags.contains(RecordFlags::MIGRATED_WITH_DATA) {
        // It never carried anything: no trace is needed here (database semantics §1.3, rule 7).
        turn.store.delete(db, key.bytes)?;
    } else {
        turn.store.store(db, key.bytes, &left, body)?;
    }
    let op = RecordOp::Record { rsn: left.rsn.0, flags: left.flags.bits() };
    turn.send(to, db, key, op, body);
    Ok(())
}

impl Function {
    /// Which of header and body a reply carries.
    #[must_use]
    pub fn returns(self) -> (bool, bool) {
        match self {
            Self::Null => (false, false),
            Self::Fetch => (false, true),
            Self::FetchWithHeader => (true, true),
        }
    }
}
