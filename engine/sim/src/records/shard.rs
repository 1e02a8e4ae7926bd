//! One shard of a simulated node: a record machine, and what its driver keeps for it.

use crate::records::Files;
use crate::records::files::ShardFiles;
use bateria_core::record::{
    Caller, Effects, Function, Input, Reason, RecordHeader, Records, Settings, StoreFault,
};
use bateria_wire::head::Head;
use bateria_wire::{DbId, Generation, Pnn};
use std::collections::BTreeSet;
use std::fmt;

pub struct Shard {
    pub records: Records,
    /// Chains to tell of when they are free.
    pub waits: BTreeSet<u32>,
    /// Calls that came before the database was attached here; `None` from then on.
    pub calls: Option<Vec<(Caller, Function, u32)>>,
    /// The latest alarm; earlier ones are void.
    pub alarm_serial: u64,
    lane: u32,
    lanes_count: u32,
}

/// What a step of a record machine asked for, in order.
#[derive(Default)]
pub struct Outgoing {
    pub frames: Vec<(Pnn, Head, Vec<u8>, Vec<u8>)>,
    pub replies: Vec<(Caller, Answer)>,
    pub refused: Vec<Caller>,
    pub reasons: Vec<Reason>,
    pub rebuilt: Option<Generation>,
    pub failed: Option<StoreFault>,
    waits: BTreeSet<u32>,
    gives_up: BTreeSet<u32>,
}

/// What a client is told.
#[derive(Clone, Debug)]
pub struct Answer {
    pub header: RecordHeader,
    pub body: Vec<u8>,
}

impl Shard {
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            records: Records::new(settings),
            waits: BTreeSet::new(),
            calls: Some(Vec::new()),
            alarm_serial: 0,
            lane: settings.lane,
            lanes_count: settings.lanes_count,
        }
    }

    pub fn step(&mut self, now_us: u64, input: Input<'_>, files: &mut Files) -> Outgoing {
        let mut outgoing = Outgoing::default();
        let mut files = ShardFiles { files, lane: self.lane, lanes_count: self.lanes_count };
        self.records.step(now_us, input, &mut files, &mut outgoing);
        self.waits.retain(|chain| !outgoing.gives_up.contains(chain));
        self.waits.append(&mut outgoing.waits);
        outgoing
    }
}

impl Effects for Outgoing {
    fn send(&mut self, to: Pnn, head: &Head, key: &[u8], body: &[u8]) {
        self.frames.push((to, head.clone(), key.to_vec(), body.to_vec()));
    }

    fn reply(&mut self, caller: Caller, _: Function, header: RecordHeader, body: &[u8]) {
        self.replies.push((caller, Answer { header, body: body.to_vec() }));
    }

    fn refuse(&mut self, caller: Caller) {
        self.refused.push(caller);
    }

    fn wait_for_chain(&mut self, _: DbId, chain: u32) {
        self.waits.insert(chain);
        self.gives_up.remove(&chain);
    }

    fn stop_waiting(&mut self, _: DbId, chain: u32) {
        self.waits.remove(&chain);
        self.gives_up.insert(chain);
    }

    fn rebuilt(&mut self, generation: Generation) {
        self.rebuilt = Some(generation);
    }

    fn request_recovery(&mut self, reason: Reason) {
        self.reasons.push(reason);
    }

    fn database_failed(&mut self, _: DbId, fault: StoreFault) {
        self.failed = Some(fault);
    }

    fn migrated(&mut self, _: DbId, _: &[u8]) {}
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard {} at {}", self.lane, self.records.generation())
    }
}
