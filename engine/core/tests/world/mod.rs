//! A small cluster in one thread: record machines, files in memory, and a network that delays.

mod store;

use bateria_core::record::{
    Caller, Effects, Function, Input, Key, Reason, RecordHeader, Records, Settings, StoreFault,
};
use bateria_wire::head::{Head, RecordOp, ReportOp};
use bateria_wire::{DbId, Generation, Pnn, VnnMap};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use store::MemoryStore;

pub const DB: DbId = DbId(7);
const NOBODY: u64 = u64::MAX;

/// A body that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub u64);

pub struct World {
    nodes: Vec<Node>,
    links: BTreeMap<(u32, u32), VecDeque<Frame>>,
    delayed: BTreeSet<(u32, u32)>,
    generation: Generation,
    now_us: u64,
    random: u64,
    clients: BTreeMap<u64, Client>,
    clients_count: u64,
    /// What clients were told, in order.
    replies: Vec<Count>,
    handed_over: usize,
    recoveries_wanted: usize,
    /// Increments that were stored, per key and per node that stored them.
    acknowledged: BTreeMap<(u32, u32), u64>,
}

struct Node {
    records: Records,
    store: MemoryStore,
    alive: bool,
    member: bool,
    waits: BTreeSet<u32>,
}

struct Frame {
    generation: Generation,
    head: Head,
    key: Vec<u8>,
    body: Vec<u8>,
}

/// A process that works as smbd does.
#[derive(Clone, Copy)]
struct Client {
    node: u32,
    key: u32,
    job: Job,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Job {
    Increment,
    Delete,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Wants the chain's lock.
    Idle,
    /// Has it, and has read the count.
    Locked,
    /// Waits for the answer to its call.
    Calling,
}

#[derive(Default)]
struct Sink {
    frames: Vec<(Pnn, Head, Vec<u8>, Vec<u8>)>,
    replies: Vec<(Caller, Count)>,
    waits: Vec<u32>,
    recoveries_wanted: usize,
    rebuilt: Option<Generation>,
}

impl Effects for Sink {
    fn send(&mut self, to: Pnn, head: &Head, key: &[u8], body: &[u8]) {
        self.frames.push((to, head.clone(), key.to_vec(), body.to_vec()));
    }
    fn reply(&mut self, caller: Caller, _: Function, _: RecordHeader, body: &[u8]) {
        self.replies.push((caller, count_of(body)));
    }
    fn refuse(&mut self, caller: Caller) {
        panic!("nobody is refused here: {caller:?}");
    }
    fn wait_for_chain(&mut self, _: DbId, chain: u32) {
        self.waits.push(chain);
    }
    fn stop_waiting(&mut self, _: DbId, _: u32) {}
    fn rebuilt(&mut self, generation: Generation) {
        self.rebuilt = Some(generation);
    }
    fn request_recovery(&mut self, _: Reason) {
        self.recoveries_wanted += 1;
    }
    fn database_failed(&mut self, db: DbId, _: StoreFault) {
        panic!("database {db} failed");
    }
    fn migrated(&mut self, _: DbId, _: &[u8]) {}
}

impl World {
    pub fn new(nodes_count: u32, seed: u64) -> Self {
        let mut world = Self::without_database(nodes_count, seed);
        (0..nodes_count).for_each(|node| world.attach(node));
        world.new_generation();
        world
    }

    /// Nodes in their first generation, before anybody has attached the database.
    pub fn without_database(nodes_count: u32, seed: u64) -> Self {
        let node = |pnn| Node {
            records: machine(pnn),
            store: MemoryStore::default(),
            alive: true,
            member: true,
            waits: BTreeSet::new(),
        };
        let mut world = Self {
            nodes: (0..nodes_count).map(node).collect(),
            links: BTreeMap::new(),
            delayed: BTreeSet::new(),
            generation: Generation::first_of(1),
            now_us: 0,
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            clients: BTreeMap::new(),
            clients_count: 0,
            replies: Vec::new(),
            handed_over: 0,
            recoveries_wanted: 0,
            acknowledged: BTreeMap::new(),
        };
        world.new_generation();
        world
    }

    pub fn attach(&mut self, node: u32) {
        self.step(node, Input::Attach { db: DB });
    }

    /// Frames from one node to another stay where they are.
    pub fn delay(&mut self, from: u32, to: u32) {
        self.delayed.insert((from, to));
    }

    pub fn deliver_all(&mut self) {
        self.delayed.clear();
        self.settle();
    }

    pub fn call(&mut self, node: u32, key: u32, function: Function) {
        self.clients_count += 1;
        let caller = Caller { session: 1_000_000 + self.clients_count, request: 1 };
        let bytes = key.to_le_bytes();
        let key = Key { hash: key, bytes: &bytes };
        self.step(node, Input::Call { db: DB, caller, function, key });
    }

    pub fn increment(&mut self, node: u32, key: u32) {
        self.add_client(node, key, Job::Increment);
    }

    pub fn delete(&mut self, node: u32, key: u32) {
        self.add_client(node, key, Job::Delete);
    }

    /// Somebody without a name holds the key's chain on a node.
    pub fn hold_chain(&mut self, node: u32, key: u32) {
        self.nodes[node as usize].store.hold(store::chain_of(key), NOBODY);
    }

    pub fn let_go(&mut self, node: u32, key: u32) {
        self.nodes[node as usize].store.let_go(store::chain_of(key), NOBODY);
    }

    pub fn kill(&mut self, node: u32) {
        let gone = &mut self.nodes[node as usize];
        gone.alive = false;
        gone.member = false;
        gone.waits.clear();
        self.clients.retain(|_, client| client.node != node);
        self.links.retain(|(from, to), _| *from != node && *to != node);
    }

    /// The node comes back with empty files.
    pub fn restart(&mut self, node: u32) {
        let back = &mut self.nodes[node as usize];
        *back = Node {
            records: machine(node),
            store: MemoryStore::default(),
            alive: true,
            member: false,
            waits: BTreeSet::new(),
        };
        self.attach(node);
        self.acknowledged.retain(|(_, by), _| *by != node);
    }

    /// All living nodes go through a change of generation.
    pub fn new_generation(&mut self) {
        let generation = self.prepare();
        self.living().into_iter().for_each(|node| self.begin(node, generation));
    }

    /// All living nodes end their generation.
    pub fn prepare(&mut self) -> Generation {
        let generation = self.generation;
        self.generation = generation.next().expect("tests are short");
        for node in self.living() {
            self.step(node, Input::Quiesce { generation });
        }
        generation
    }

    /// A node begins the generation that all have prepared.
    pub fn begin(&mut self, node: u32, generation: Generation) {
        let lmasters: Vec<Pnn> = self.living().into_iter().map(Pnn).collect();
        let map = VnnMap { generation, lmasters: lmasters.clone() };
        let wipe = !self.nodes[node as usize].member;
        self.step(node, Input::Rebuild { map, members: lmasters, wipe });
        self.nodes[node as usize].member = true;
    }

    /// One random thing happens.
    pub fn random_work(&mut self, keys: u32) {
        let living = self.living();
        let node = living[self.below(living.len() as u64) as usize];
        match self.below(10) {
            0 | 1 => {
                let key = u32::try_from(self.below(u64::from(keys))).unwrap();
                self.increment(node, key);
            }
            _ => drop(self.something_moves()),
        }
    }

    /// Everything that can happen happens, in random order, until nothing is left to do.
    pub fn settle(&mut self) {
        for _ in 0..200_000 {
            if !self.something_moves() && !self.work_is_left() {
                return;
            }
        }
        panic!("the cluster does not come to rest");
    }

    pub fn run_for_us(&mut self, time_us: u64) {
        let until_us = self.now_us + time_us;
        while self.now_us < until_us {
            self.settle();
            self.now_us += 1_000_000;
            self.living().into_iter().for_each(|node| self.step(node, Input::Tick));
        }
        self.settle();
    }

    pub fn replies(&self) -> usize {
        self.replies.len()
    }

    pub fn last_reply(&self) -> Count {
        *self.replies.last().expect("somebody was answered")
    }

    pub fn handed_over(&self) -> usize {
        self.handed_over
    }

    pub fn owner(&self, key: u32) -> Option<u32> {
        let owners: Vec<u32> =
            self.living().into_iter().filter(|node| self.owns(*node, key)).collect();
        assert!(owners.len() <= 1, "key {key} has owners {owners:?}");
        owners.first().copied()
    }

    pub fn copies(&self, key: u32) -> usize {
        self.living().iter().filter(|node| self.copy(**node, key).is_some()).count()
    }

    pub fn value(&self, key: u32) -> Count {
        let owner = self.owner(key);
        let body = owner.and_then(|node| self.copy(node, key));
        count_of(body.map_or(&[], |(_, body)| body))
    }

    pub fn check_one_owner(&self, keys: u32) {
        (0..keys).for_each(|key| _ = self.owner(key));
    }

    pub fn check_counts(&self, keys: u32) {
        for key in 0..keys {
            let stored = self.acknowledged.iter().filter(|((of, _), _)| *of == key);
            let total: u64 = stored.map(|(_, count)| count).sum();
            assert_eq!(self.value(key), Count(total), "key {key}");
        }
        assert_eq!(self.recoveries_wanted, 0, "no machine found a contradiction");
    }

    /// Theorem L: nothing that a node stored which never died is lost.
    pub fn check_survivors_counts(&self, keys: u32, mortal: u32) {
        for key in 0..keys {
            let survivors =
                self.acknowledged.iter().filter(|((of, by), _)| *of == key && *by != mortal);
            let total: u64 = survivors.map(|(_, count)| count).sum();
            let Count(value) = self.value(key);
            assert!(value >= total, "key {key}: {value} of {total} survived");
        }
    }

    fn add_client(&mut self, node: u32, key: u32, job: Job) {
        self.clients_count += 1;
        self.clients.insert(self.clients_count, Client { node, key, job, state: State::Idle });
    }

    fn living(&self) -> Vec<u32> {
        (0..u32::try_from(self.nodes.len()).unwrap())
            .filter(|node| self.nodes[*node as usize].alive)
            .collect()
    }

    fn copy(&self, node: u32, key: u32) -> Option<(RecordHeader, &[u8])> {
        self.nodes[node as usize].store.get(key)
    }

    fn owns(&self, node: u32, key: u32) -> bool {
        self.copy(node, key).is_some_and(|(header, _)| header.dmaster == Pnn(node))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }

    fn work_is_left(&mut self) -> bool {
        let soon_us = self.now_us + 1_000_000;
        let due =
            |node: &Node| node.alive && node.records.next_tick_us().is_some_and(|at| at < soon_us);
        let ticks = self.nodes.iter().any(due);
        if ticks {
            self.now_us += 50;
            self.living().into_iter().for_each(|node| self.step(node, Input::Tick));
        }
        ticks
    }

    /// Delivers a frame, tells of a free chain, or lets a client go on. False when nothing can.
    fn something_moves(&mut self) -> bool {
        let mut moves = Vec::new();
        moves.extend(
            self.links
                .iter()
                .filter(|(pair, link)| !link.is_empty() && !self.delayed.contains(pair))
                .map(|(pair, _)| Move::Frame(*pair)),
        );
        for node in self.living() {
            let at = &self.nodes[node as usize];
            moves.extend(
                at.waits
                    .iter()
                    .filter(|chain| at.store.is_free(**chain))
                    .map(|chain| Move::Chain(node, *chain)),
            );
        }
        for (id, client) in &self.clients {
            let store = &self.nodes[client.node as usize].store;
            let can = match client.state {
                State::Idle => store.is_free(store::chain_of(client.key)),
                State::Locked => true,
                State::Calling => false,
            };
            if can {
                moves.push(Move::Client(*id));
            }
        }
        self.now_us += 1;
        if moves.is_empty() {
            return false;
        }
        let index = self.below(moves.len() as u64) as usize;
        match moves[index] {
            Move::Frame(pair) => self.deliver(pair),
            Move::Chain(node, chain) => {
                self.nodes[node as usize].waits.remove(&chain);
                self.step(node, Input::ChainFree { db: DB, chain });
            }
            Move::Client(id) => self.client_goes_on(id),
        }
        true
    }

    fn deliver(&mut self, pair: (u32, u32)) {
        let frame = self.links.get_mut(&pair).and_then(VecDeque::pop_front).expect("not empty");
        let (from, generation) = (Pnn(pair.0), frame.generation);
        match frame.head {
            Head::Record(head) => {
                self.handed_over += usize::from(matches!(head.op, RecordOp::Record { .. }));
                let key = Key { hash: store::hash(&frame.key), bytes: &frame.key };
                let (op, body) = (head.op, &*frame.body);
                self.step(pair.1, Input::Record { from, generation, db: DB, key, op, body });
            }
            Head::Report(head) => {
                let op: ReportOp = head.op;
                self.step(pair.1, Input::Report { from, generation, db: DB, op, bulk: &frame.key });
            }
            other => panic!("not a record machine's frame: {other:?}"),
        }
    }

    fn client_goes_on(&mut self, id: u64) {
        let client = self.clients[&id];
        let (node, key, chain) = (client.node, client.key, store::chain_of(client.key));
        match client.state {
            State::Idle => {
                self.nodes[node as usize].store.hold(chain, id);
                if self.owns(node, key) {
                    self.clients.get_mut(&id).unwrap().state = State::Locked;
                    return;
                }
                self.nodes[node as usize].store.let_go(chain, id);
                self.clients.get_mut(&id).unwrap().state = State::Calling;
                let bytes = key.to_le_bytes();
                let caller = Caller { session: id, request: 1 };
                let key = Key { hash: key, bytes: &bytes };
                self.step(node, Input::Call { db: DB, caller, function: Function::Null, key });
            }
            State::Locked => {
                let store = &mut self.nodes[node as usize].store;
                let Count(value) = count_of(store.get(key).unwrap().1);
                match client.job {
                    Job::Increment => {
                        store.set_body(key, &(value + 1).to_le_bytes());
                        *self.acknowledged.entry((key, node)).or_default() += 1;
                    }
                    Job::Delete => {
                        store.set_body(key, &[]);
                        self.acknowledged.retain(|(of, _), _| *of != key);
                    }
                }
                self.nodes[node as usize].store.let_go(chain, id);
                self.clients.remove(&id);
                if client.job == Job::Delete {
                    let bytes = key.to_le_bytes();
                    let key = Key { hash: key, bytes: &bytes };
                    self.step(node, Input::ScheduleDeletion { db: DB, key });
                }
            }
            State::Calling => {}
        }
    }

    fn step(&mut self, node: u32, input: Input<'_>) {
        let mut sink = Sink::default();
        let at = &mut self.nodes[node as usize];
        at.records.step(self.now_us, input, &mut at.store, &mut sink);
        at.waits.extend(sink.waits);
        let generation = at.records.generation();
        self.recoveries_wanted += sink.recoveries_wanted;
        for (caller, count) in sink.replies {
            self.replies.push(count);
            if let Some(client) = self.clients.get_mut(&caller.session) {
                client.state = State::Idle;
            }
        }
        for (to, head, key, body) in sink.frames {
            if self.nodes[to.index()].alive {
                let frame = Frame { generation, head, key, body };
                self.links.entry((node, to.0)).or_default().push_back(frame);
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Move {
    Frame((u32, u32)),
    Chain(u32, u32),
    Client(u64),
}

fn machine(pnn: u32) -> Records {
    let settings =
        Settings { me: Pnn(pnn), lane: 0, lanes_count: 1, deletion_delay_us: 10_000_000 };
    Records::new(settings)
}

fn count_of(body: &[u8]) -> Count {
    Count(body.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)))
}
