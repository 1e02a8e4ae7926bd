//! Random schedules and faults from a seed: atomicity, durability, convergence, retries (database
//! semantics §4.4, P1 to P5).

extern crate std;

use super::world::{Copy, Event, SEQUENCE_KEY, World};
use crate::persistent::Input;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bateria_wire::{DbKind, Generation};

const NODES_COUNT: u32 = 3;
const STEPS_COUNT: usize = 600;
const SEEDS_COUNT: u64 = 150;

#[test]
fn acknowledged_transactions_survive_and_copies_converge() {
    let mut acknowledged_count = 0_u64;
    for seed in 0..SEEDS_COUNT {
        for kind in [DbKind::Persistent, DbKind::Replicated] {
            let mut run = Run::new(kind, seed);
            let outcome = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| run.run()));
            if let Err(panic) = outcome {
                std::eprintln!("seed {seed} {kind:?}");
                std::panic::resume_unwind(panic);
            }
            acknowledged_count += run.acknowledged_count;
        }
    }
    assert!(acknowledged_count > 10 * SEEDS_COUNT, "the runs did something: {acknowledged_count}");
}

/// One cluster with one writer at a time, as the clients' own lock makes it.
struct Run {
    world: World,
    random: Random,
    client: Option<Client>,
    /// The lock of a client that died is free when the cluster has noticed its death.
    lock_is_free_after: Generation,
    last_value: u64,
    acknowledged_count: u64,
    /// What every member has, or `model` with `doubt`.
    model: Model,
    doubt: Vec<(u8, u64)>,
}

/// A client that commits as smbd does: it tries again until it knows the outcome.
struct Client {
    node: u32,
    session: u64,
    /// Sequence number before the transaction.
    number: u64,
    buffer: Vec<u8>,
}

/// Contents of a copy without RSNs and tombstones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    number: u64,
    values: BTreeMap<u8, u64>,
}

impl Model {
    fn of(copy: &Copy) -> Self {
        let values = copy.records.iter().map(|(key, (_, value))| (*key, *value));
        let values = values.filter(|(key, value)| *key != SEQUENCE_KEY && *value != 0);
        Self { number: copy.sequence_number(), values: values.collect() }
    }

    fn with(&self, changes: &[(u8, u64)]) -> Self {
        let mut values = self.values.clone();
        values.extend(changes.iter().copied());
        values.retain(|_, value| *value != 0);
        Self { number: self.number + 1, values }
    }
}

impl Run {
    fn new(kind: DbKind, seed: u64) -> Self {
        Self {
            world: World::new(kind, NODES_COUNT),
            random: Random::new(seed),
            client: None,
            lock_is_free_after: Generation::INVALID,
            last_value: 0,
            acknowledged_count: 0,
            model: Model::default(),
            doubt: Vec::new(),
        }
    }

    fn run(&mut self) {
        (0..NODES_COUNT).for_each(|node| self.world.start(node));
        for _ in 0..STEPS_COUNT {
            self.happen();
            self.check();
            self.clients();
        }
        self.heal();
    }

    fn happen(&mut self) {
        let node = self.random.below(NODES_COUNT);
        let world = &mut self.world;
        match self.random.below(400) {
            0 if world.is_up(node) => self.crash(node),
            1..8 if !world.is_up(node) => world.start(node),
            8 => world.want_recovery(),
            9 => self.client_dies(),
            10 if !world.nodes[node as usize].jobs.is_empty() => world.work(node as usize, true),
            _ => {
                let events = world.events();
                let Some(bound) = u32::try_from(events.len()).ok().filter(|bound| *bound > 0)
                else {
                    return;
                };
                let event = events[self.random.below(bound) as usize];
                // Recoveries give what is under way some time.
                if !matches!(event, Event::Recover) || self.random.below(8) == 0 {
                    world.happen(event);
                }
            }
        }
    }

    fn crash(&mut self, node: u32) {
        let random = &mut self.random;
        self.world.crash(node, || random.below(2) == 0);
        if self.client.take_if(|client| client.node == node).is_some() {
            self.lock_is_free_after = self.world.generation;
        }
    }

    fn client_dies(&mut self) {
        if let Some(client) = self.client.take() {
            self.world.step(client.node, Input::CallerGone { session: client.session });
            self.lock_is_free_after = self.world.generation;
        }
    }

    fn clients(&mut self) {
        for (caller, status) in core::mem::take(&mut self.world.replies) {
            if let Some(client) = self.client.take_if(|client| client.session == caller.session) {
                self.answered(client, status);
            }
        }
        let lock_is_free =
            !self.lock_is_free_after.is_valid() || self.world.committed > self.lock_is_free_after;
        let node = self.random.below(NODES_COUNT);
        let is_served = self.world.is_up(node) && self.world.is_committed();
        if self.client.is_none() && lock_is_free && is_served {
            self.begin(node);
        }
    }

    fn begin(&mut self, node: u32) {
        self.model = Model::of(&self.world.nodes[node as usize].copy);
        self.last_value += 1;
        let session = self.last_value;
        let mut changes = BTreeMap::new();
        for _ in 0..=self.random.below(2) {
            let key = u8::try_from(self.random.below(4)).unwrap();
            changes.insert(key, if self.random.below(5) == 0 { 0 } else { self.last_value });
        }
        self.doubt = changes.into_iter().collect();
        let buffer = self.world.transaction(node, &self.doubt);
        self.client = Some(Client { node, session, number: self.model.number, buffer });
        self.commit();
    }

    fn commit(&mut self) {
        let client = self.client.as_ref().expect("somebody commits");
        self.world.commit(client.node, client.session, &client.buffer);
    }

    fn answered(&mut self, client: Client, status: i32) {
        let number = self.world.sequence_number(client.node);
        if status == 0 || number == client.number + 1 {
            self.model = self.model.with(&self.doubt);
            self.doubt.clear();
            self.acknowledged_count += 1;
        } else if number == client.number {
            self.client = Some(client);
            self.commit();
        } else {
            assert_eq!(self.world.kind, DbKind::Replicated, "numbers never jump");
        }
    }

    /// In a committed generation every member has all of what was acknowledged, and all or nothing
    /// of what is in doubt.
    fn check(&mut self) {
        if core::mem::take(&mut self.world.began_anew) && self.world.kind == DbKind::Replicated {
            self.model = Model::default();
        }
        if !self.world.is_committed() {
            return;
        }
        for member in &self.world.members {
            let node = &self.world.nodes[member.index()];
            if !self.world.is_up(member.0) || node.copy.is_broken {
                continue;
            }
            let have = Model::of(&node.copy);
            let is_sound = have == self.model || have == self.model.with(&self.doubt);
            assert!(is_sound, "node {member}: {have:?}, {:?} and {:?}", self.model, self.doubt);
        }
    }

    /// Faults end; the cluster finishes its work.
    fn heal(&mut self) {
        for node in 0..NODES_COUNT {
            if !self.world.is_up(node) {
                self.world.start(node);
            }
        }
        for _ in 0..20 {
            self.world.settle();
            self.check();
            self.clients();
        }
        self.client_dies();
        self.world.want_recovery();
        self.world.settle();
        self.check();
        assert_eq!(self.world.members.len(), NODES_COUNT as usize);
        self.world.assert_members_are_equal();
        self.world.replies.clear();
        let buffer = self.world.transaction(1, &[(0, u64::MAX)]);
        self.world.commit(1, u64::MAX, &buffer);
        self.world.settle();
        assert_eq!(self.world.status(), Some(0));
        self.world.assert_members_are_equal();
    }
}

/// Xorshift: the same numbers for the same seed.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from((self.0 >> 11) % u64::from(bound)).expect("below the bound")
    }
}
