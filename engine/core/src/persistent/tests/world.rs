//! A cluster in one thread: machines, links, copies on disk, a leader, and one client at a time.

use crate::persistent::{
    Contents, ContentsDigest, Cursor, Effects, Input, Job, JobFault, JobId, Outcome, Persistent,
    Reason, Settings,
};
use crate::record::Caller;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use bateria_wire::head::{Head, PersistentOp};
use bateria_wire::{DbId, DbKind, Generation, Pnn, Rsn};

pub(super) const DB: DbId = DbId(0x7132_C184);
pub(super) const SEQUENCE_KEY: u8 = 0xFF;
const RECORDS_OF_A_PART: usize = 2;

/// Key, RSN and value; a value of 0 is a tombstone.
pub(super) type Write = (u8, u64, u64);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Copy {
    pub(super) records: BTreeMap<u8, (u64, u64)>,
    pub(super) updated_in: Generation,
    pub(super) is_broken: bool,
    pub(super) staged: Vec<Write>,
}

pub(super) struct Node {
    pub(super) machine: Option<Persistent>,
    pub(super) copy: Copy,
    pub(super) generation: Generation,
    pub(super) jobs: VecDeque<(JobId, OwnedJob)>,
    orders: VecDeque<Order>,
    is_continuous: bool,
}

#[derive(Clone, Debug)]
pub(super) enum OwnedJob {
    Apply(Generation, Vec<u8>),
    Digest,
    Read(Cursor),
    Stage(Vec<u8>, bool),
    Install(Generation),
}

#[derive(Clone, Debug)]
enum Order {
    Quiesce(Generation),
    Rebuild(Generation, Vec<Pnn>, Vec<Pnn>),
    Committed(Generation),
}

struct Frame {
    generation: Generation,
    db: DbId,
    op: PersistentOp,
    bulk: Vec<u8>,
}

pub(super) struct World {
    pub(super) kind: DbKind,
    pub(super) now_ms: u64,
    pub(super) nodes: Vec<Node>,
    links: BTreeMap<(u32, u32), VecDeque<Frame>>,
    pub(super) generation: Generation,
    pub(super) members: Vec<Pnn>,
    pub(super) committed: Generation,
    committed_members: Vec<Pnn>,
    contributors: Vec<Pnn>,
    /// A generation began from nothing since nobody was left who had something.
    pub(super) began_anew: bool,
    quiesced: BTreeSet<Pnn>,
    settled: BTreeSet<Pnn>,
    recovery_is_wanted: bool,
    pub(super) reasons: Vec<Reason>,
    pub(super) replies: Vec<(Caller, i32)>,
    pub(super) failed_copies: Vec<Pnn>,
    pub(super) recovered_copies: Vec<Pnn>,
    pub(super) frames_count: usize,
}

/// What can happen next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Deliver(u32, u32),
    Obey(usize),
    Work(usize),
    Recover,
}

impl World {
    pub(super) fn new(kind: DbKind, nodes_count: u32) -> Self {
        let mut world = Self {
            kind,
            now_ms: 0,
            nodes: Vec::new(),
            links: BTreeMap::new(),
            generation: Generation::first_of(1),
            members: Vec::new(),
            committed: Generation::INVALID,
            committed_members: Vec::new(),
            contributors: Vec::new(),
            began_anew: false,
            quiesced: BTreeSet::new(),
            settled: BTreeSet::new(),
            recovery_is_wanted: false,
            reasons: Vec::new(),
            replies: Vec::new(),
            failed_copies: Vec::new(),
            recovered_copies: Vec::new(),
            frames_count: 0,
        };
        for _ in 0..nodes_count {
            world.nodes.push(Node {
                machine: None,
                copy: Copy::default(),
                generation: Generation::INVALID,
                jobs: VecDeque::new(),
                orders: VecDeque::new(),
                is_continuous: false,
            });
        }
        world
    }

    /// Starts a daemon; a replicated copy begins empty.
    pub(super) fn start(&mut self, node: u32) {
        let own = &mut self.nodes[node as usize];
        assert!(own.machine.is_none(), "it runs already");
        if self.kind == DbKind::Replicated {
            own.copy = Copy::default();
        }
        own.machine = Some(Persistent::new(Pnn(node), Settings::default()));
        own.orders.clear();
        own.is_continuous = false;
        self.step(node, Input::Attach { db: DB, kind: self.kind });
        self.recovery_is_wanted = true;
    }

    /// Kills a daemon. What its jobs were writing is there or not, as `luck` says for each.
    pub(super) fn crash(&mut self, node: u32, mut luck: impl FnMut() -> bool) {
        let own = &mut self.nodes[node as usize];
        own.machine = None;
        own.generation = Generation::INVALID;
        own.orders.clear();
        for (_, job) in core::mem::take(&mut own.jobs) {
            if luck() {
                own.copy.work(job);
            } else if let OwnedJob::Apply(generation, _) = job {
                // The note goes to disk before the transaction does.
                own.copy.updated_in = generation;
            }
        }
        own.copy.staged.clear();
        self.links.retain(|link, _| link.0 != node && link.1 != node);
        self.recovery_is_wanted = true;
    }

    pub(super) fn is_up(&self, node: u32) -> bool {
        self.nodes[node as usize].machine.is_some()
    }

    pub(super) fn want_recovery(&mut self) {
        self.recovery_is_wanted = true;
    }

    pub(super) fn step(&mut self, node: u32, input: Input<'_>) {
        let own = &mut self.nodes[node as usize];
        let machine = own.machine.as_mut().expect("events happen to running nodes");
        let mut recorder = Recorder::default();
        machine.step(self.now_ms, input, &mut recorder).expect("nodes keep their protocol");
        own.jobs.extend(recorder.jobs);
        assert!(own.jobs.len() <= 1, "a database has one job at a time");
        if recorder.copy_failed {
            self.failed_copies.push(Pnn(node));
        }
        if recorder.copy_recovered {
            self.recovered_copies.push(Pnn(node));
        }
        self.replies.extend(recorder.replies);
        self.recovery_is_wanted |= !recorder.reasons.is_empty();
        self.reasons.extend(recorder.reasons);
        if recorder.settled == Some(self.generation) {
            self.settled.insert(Pnn(node));
        }
        let generation = self.nodes[node as usize].generation;
        for (to, db, op, bulk) in recorder.sent {
            assert_ne!(to, Pnn(node), "a node does not write to itself");
            if self.is_up(to.0) {
                let frame = Frame { generation, db, op, bulk };
                self.links.entry((node, to.0)).or_default().push_back(frame);
                self.frames_count += 1;
            }
        }
        self.advance_generation();
    }

    /// Everything that can happen now, in a fixed order.
    pub(super) fn events(&self) -> Vec<Event> {
        let links = self.links.iter().filter(|(_, frames)| !frames.is_empty());
        let mut events: Vec<Event> =
            links.map(|((from, to), _)| Event::Deliver(*from, *to)).collect();
        for (index, node) in self.nodes.iter().enumerate() {
            if node.machine.is_some() && !node.orders.is_empty() {
                events.push(Event::Obey(index));
            }
            if !node.jobs.is_empty() {
                events.push(Event::Work(index));
            }
        }
        if self.recovery_is_wanted && self.has_quorum() {
            events.push(Event::Recover);
        }
        events
    }

    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Deliver(from, to) => {
                let frame = self.links.get_mut(&(from, to)).and_then(VecDeque::pop_front);
                let Frame { generation, db, op, bulk } = frame.expect("the link has frames");
                self.step(to, Input::Frame { from: Pnn(from), generation, db, op, bulk: &bulk });
            }
            Event::Obey(index) => self.obey(index),
            Event::Work(index) => self.work(index, false),
            Event::Recover => self.recover(),
        }
    }

    /// Does the next job of a node.
    pub(super) fn work(&mut self, index: usize, fails: bool) {
        let (job, work) = self.nodes[index].jobs.pop_front().expect("a job waits");
        let outcome = if fails {
            Outcome::Failed(JobFault::Failed)
        } else {
            self.nodes[index].copy.work(work)
        };
        let node = u32::try_from(index).unwrap();
        self.step(node, Input::JobDone { db: DB, job, outcome });
    }

    /// Lets everything happen that can, first come first.
    pub(super) fn settle(&mut self) {
        for _ in 0..10_000 {
            let Some(event) = self.events().first().copied() else { return };
            self.happen(event);
        }
        panic!("the cluster does not come to rest: {:?}", self.events());
    }

    pub(super) fn has_quorum(&self) -> bool {
        let running = self.nodes.iter().filter(|node| node.machine.is_some()).count();
        2 * running > self.nodes.len()
    }

    pub(super) fn is_committed(&self) -> bool {
        self.committed == self.generation && !self.recovery_is_wanted
    }

    fn recover(&mut self) {
        self.recovery_is_wanted = false;
        self.generation = self.generation.next().expect("tests make few generations");
        let running = self.nodes.iter().enumerate().filter(|(_, node)| node.machine.is_some());
        self.members = running.map(|(index, _)| Pnn(u32::try_from(index).unwrap())).collect();
        self.quiesced.clear();
        self.settled.clear();
        for member in &self.members {
            let orders = &mut self.nodes[member.index()].orders;
            orders.clear();
            orders.push_back(Order::Quiesce(self.generation));
        }
    }

    fn obey(&mut self, index: usize) {
        let order = self.nodes[index].orders.pop_front().expect("an order waits");
        let node = u32::try_from(index).unwrap();
        match order {
            Order::Quiesce(generation) => {
                self.nodes[index].generation = generation;
                self.quiesced.insert(Pnn(node));
                self.step(node, Input::Quiesce { generation });
            }
            Order::Rebuild(generation, members, contributors) => {
                let (members, contributors) = (&members, &contributors);
                self.step(node, Input::Rebuild { generation, members, contributors });
            }
            Order::Committed(generation) => self.step(node, Input::Committed { generation }),
        }
    }

    fn advance_generation(&mut self) {
        let is_member_set = |set: &BTreeSet<Pnn>| set.iter().eq(self.members.iter());
        if is_member_set(&self.quiesced) {
            self.quiesced.clear();
            let continues = |member: &&Pnn| {
                self.committed_members.contains(member) && self.nodes[member.index()].is_continuous
            };
            self.contributors = self.members.iter().filter(continues).copied().collect();
            for member in &self.members {
                let members = self.members.clone();
                let order = Order::Rebuild(self.generation, members, self.contributors.clone());
                self.nodes[member.index()].orders.push_back(order);
            }
        } else if is_member_set(&self.settled) && self.committed != self.generation {
            self.committed = self.generation;
            self.committed_members = self.members.clone();
            let is_empty = |member: &Pnn| self.sequence_number(member.0) == 0;
            self.began_anew |= self.contributors.is_empty() && self.members.iter().all(is_empty);
            for member in &self.members {
                let node = &mut self.nodes[member.index()];
                node.is_continuous = true;
                node.orders.push_back(Order::Committed(self.generation));
            }
        }
    }

    pub(super) fn sequence_number(&self, node: u32) -> u64 {
        self.nodes[node as usize].copy.sequence_number()
    }

    /// The next RSN of a key, as a client of the node sees it.
    pub(super) fn next_rsn(&self, node: u32, key: u8) -> u64 {
        self.nodes[node as usize].copy.records.get(&key).map_or(1, |(rsn, _)| rsn + 1)
    }

    /// A transaction as a client of the node makes it.
    pub(super) fn transaction(&self, node: u32, values: &[(u8, u64)]) -> Vec<u8> {
        let number = self.sequence_number(node) + 1;
        let all = values.iter().copied().chain([(SEQUENCE_KEY, number)]);
        encode(all.map(|(key, value)| (key, self.next_rsn(node, key), value)))
    }

    pub(super) fn commit(&mut self, node: u32, session: u64, buffer: &[u8]) {
        let caller = Caller { session, request: 1 };
        self.step(node, Input::Commit { caller, db: DB, buffer });
    }

    pub(super) fn status(&mut self) -> Option<i32> {
        self.replies.pop().map(|(_, status)| status)
    }

    pub(super) fn assert_members_are_equal(&self) {
        let copies = self.members.iter().map(|member| &self.nodes[member.index()].copy.records);
        let mut copies = copies.collect::<Vec<_>>();
        copies.dedup();
        assert!(copies.len() <= 1, "members differ: {copies:?}");
    }
}

impl Copy {
    pub(super) fn sequence_number(&self) -> u64 {
        self.records.get(&SEQUENCE_KEY).map_or(0, |(_, number)| *number)
    }

    pub(super) fn work(&mut self, job: OwnedJob) -> Outcome {
        if self.is_broken && !matches!(job, OwnedJob::Stage(..) | OwnedJob::Install(_)) {
            return Outcome::Failed(JobFault::Failed);
        }
        match job {
            OwnedJob::Apply(generation, buffer) => self.apply(generation, &buffer),
            OwnedJob::Digest => {
                self.staged.clear();
                self.records.retain(|_, (_, value)| *value != 0);
                let mut digest = ContentsDigest::new();
                for (key, (rsn, value)) in &self.records {
                    digest.add(&[*key], Rsn(*rsn), &value.to_le_bytes());
                }
                Outcome::Digested(Contents {
                    sequence_number: self.sequence_number(),
                    digest: digest.finish(),
                    updated_in: self.updated_in,
                })
            }
            OwnedJob::Read(from) => {
                let skip = from.records_count as usize;
                let rest = self.records.iter().skip(skip);
                let part = rest.take(RECORDS_OF_A_PART);
                let records = encode(part.map(|(key, (rsn, value))| (*key, *rsn, *value)));
                let end = skip + RECORDS_OF_A_PART;
                let next = (end < self.records.len())
                    .then(|| Cursor { chain: 0, records_count: u32::try_from(end).unwrap() });
                Outcome::Part { records, next }
            }
            OwnedJob::Stage(part, first) => {
                if first {
                    self.staged.clear();
                }
                self.staged.extend(decode(&part));
                Outcome::Done
            }
            OwnedJob::Install(updated_in) => {
                let staged = core::mem::take(&mut self.staged);
                self.records =
                    staged.into_iter().map(|(k, rsn, value)| (k, (rsn, value))).collect();
                self.updated_in = updated_in;
                self.is_broken = false;
                Outcome::Done
            }
        }
    }

    /// The rule of database semantics §4.3.
    fn apply(&mut self, generation: Generation, buffer: &[u8]) -> Outcome {
        self.updated_in = generation;
        let mut records = self.records.clone();
        for (key, rsn, value) in decode(buffer) {
            let is_stale = |(have, body): &(u64, u64)| *have >= rsn && *body != value;
            if records.get(&key).is_some_and(is_stale) {
                return Outcome::Failed(JobFault::Refused);
            }
            records.insert(key, (rsn, value));
        }
        self.records = records;
        Outcome::Done
    }
}

pub(super) fn encode(writes: impl Iterator<Item = Write>) -> Vec<u8> {
    writes
        .flat_map(|(key, rsn, value)| {
            [&[key][..], &rsn.to_le_bytes(), &value.to_le_bytes()].concat()
        })
        .collect()
}

fn decode(bytes: &[u8]) -> Vec<Write> {
    let (writes, rest) = bytes.as_chunks::<17>();
    assert!(rest.is_empty(), "whole records");
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    writes.iter().map(|write| (write[0], number(&write[1..9]), number(&write[9..]))).collect()
}

#[derive(Default)]
struct Recorder {
    sent: Vec<(Pnn, DbId, PersistentOp, Vec<u8>)>,
    replies: Vec<(Caller, i32)>,
    jobs: Vec<(JobId, OwnedJob)>,
    reasons: Vec<Reason>,
    settled: Option<Generation>,
    copy_failed: bool,
    copy_recovered: bool,
}

impl Effects for Recorder {
    fn send(&mut self, to: Pnn, head: &Head, bulk: &[u8]) {
        let Head::Persistent(head) = head else { panic!("a head of persistent databases") };
        self.sent.push((to, DbId(head.db), head.op, bulk.to_vec()));
    }
    fn reply(&mut self, caller: Caller, status: i32, text: &str) {
        assert_eq!(text.is_empty(), status != 2, "the text of a recovery");
        self.replies.push((caller, status));
    }
    fn start_job(&mut self, _: DbId, job: JobId, work: Job<'_>) {
        let work = match work {
            Job::Apply { generation, buffer } => OwnedJob::Apply(generation, buffer.to_vec()),
            Job::Digest => OwnedJob::Digest,
            Job::Read { from } => OwnedJob::Read(from),
            Job::Stage { part, first } => OwnedJob::Stage(part.to_vec(), first),
            Job::Install { updated_in } => OwnedJob::Install(updated_in),
        };
        self.jobs.push((job, work));
    }
    fn request_recovery(&mut self, reason: Reason) {
        self.reasons.push(reason);
    }
    fn settled(&mut self, generation: Generation) {
        assert!(self.settled.is_none(), "told once");
        self.settled = Some(generation);
    }
    fn copy_failed(&mut self, _: DbId) {
        self.copy_failed = true;
    }
    fn copy_recovered(&mut self, _: DbId) {
        self.copy_recovered = true;
    }
}
