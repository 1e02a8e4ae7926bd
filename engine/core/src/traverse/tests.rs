//! Origins and targets of several nodes against each other, in random order and with faults.

use super::rec_data::tests::entry;
use super::{
    Client, Settings, Shortfall, Slice, VisitEffects, VisitId, VisitInput, Visits, WalkEffects,
    WalkInput, Walks,
};
use crate::record::Caller;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use bateria_wire::head::{Head, TraverseHead, TraverseOp};
use bateria_wire::{DbId, DbKind, Pnn};

/// Shards of each node; they need not be the same.
const LANES: [u32; 3] = [1, 3, 2];
const RECORDS_PER_LANE: u32 = 40;
const CLIENT: Client =
    Client { caller: Caller { session: 7, request: 1 }, srvid: 0xBE00, reqid: 4 };

/// A frame and its bulk.
type Frame = (TraverseHead, Vec<u8>);
/// A shard: node and lane.
type Place = (u32, u32);

struct World {
    shards: BTreeMap<Place, Shard>,
    /// Frames from shard to shard, in order.
    links: BTreeMap<(Place, Place), VecDeque<Frame>>,
    random: u64,
    now_ms: u64,
}

struct Shard {
    walks: Walks,
    visits: Visits,
    outside: Outside,
}

/// What a shard's machines have asked for.
#[derive(Default)]
struct Outside {
    sent: Vec<(Pnn, TraverseHead, Vec<u8>)>,
    open: BTreeMap<VisitId, u32>,
    walking: VecDeque<VisitId>,
    lacks_database: bool,
    records: Vec<Vec<u8>>,
    is_full: bool,
    ends_count: usize,
    statuses: Vec<i32>,
    shortfalls: Vec<(Pnn, Shortfall)>,
}

impl WalkEffects for Outside {
    fn reply(&mut self, _: Caller, status: i32) {
        self.statuses.push(status);
    }
    fn send(&mut self, to: Pnn, head: &Head) {
        VisitEffects::send(self, to, head, &[]);
    }
    fn record(&mut self, _: &Client, rec_data: &[u8]) {
        assert_eq!((self.statuses.len(), self.ends_count), (1, 0), "between answer and end");
        assert_eq!(rec_data[4..8], CLIENT.reqid.to_ne_bytes());
        // The client's number aside, every record is as its owner sent it.
        self.records.push([&rec_data[..4], &[0; 4], &rec_data[8..]].concat());
    }
    fn end(&mut self, _: &Client) {
        self.ends_count += 1;
    }
    fn has_room(&mut self, _: &Client) -> bool {
        !self.is_full
    }
    fn incomplete(&mut self, _: DbId, node: Pnn, shortfall: Shortfall) {
        self.shortfalls.push((node, shortfall));
    }
}

impl VisitEffects for Outside {
    fn send(&mut self, to: Pnn, head: &Head, bulk: &[u8]) {
        let Head::Traverse(head) = head else { panic!("a traverse head") };
        self.sent.push((to, *head, bulk.to_vec()));
    }
    fn open(&mut self, visit: VisitId, _: DbId, _: bool) -> bool {
        if !self.lacks_database {
            self.open.insert(visit, 0);
        }
        !self.lacks_database
    }
    fn walk(&mut self, visit: VisitId) {
        self.walking.push_back(visit);
    }
    fn close(&mut self, visit: VisitId) {
        self.open.remove(&visit);
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            shards: BTreeMap::new(),
            links: BTreeMap::new(),
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            now_ms: 0,
        };
        for (node, lanes_count) in (0..).zip(LANES) {
            for lane in 0..lanes_count {
                let walks = Walks::new(Pnn(node), lane, 1, Settings::default());
                let visits = Visits::new(lane, lanes_count);
                let shard = Shard { walks, visits, outside: Outside::default() };
                world.shards.insert((node, lane), shard);
            }
        }
        let members: Vec<Pnn> = (0..3).map(Pnn).collect();
        for place in world.places() {
            world.step_walks(place, WalkInput::Members { members: &members });
        }
        world
    }

    fn places(&self) -> Vec<Place> {
        self.shards.keys().copied().collect()
    }

    fn start(&mut self, place: Place, kind: DbKind) {
        let input = WalkInput::Start {
            client: CLIENT,
            db: DbId(1),
            kind,
            lmasters: &[Pnn(0)],
            with_empty: false,
        };
        self.step_walks(place, input);
    }

    fn step_walks(&mut self, place: Place, input: WalkInput<'_>) {
        let shard = self.shards.get_mut(&place).expect("the node is there");
        shard.walks.step(self.now_ms, input, &mut shard.outside).expect("a sound event");
        self.carry(place);
    }

    fn step_visits(&mut self, place: Place, input: VisitInput<'_>) {
        let shard = self.shards.get_mut(&place).expect("the node is there");
        shard.visits.step(input, &mut shard.outside).expect("a sound event");
        self.carry(place);
    }

    /// Routes what a shard has sent, as a node's driver does.
    fn carry(&mut self, from: Place) {
        let shard = self.shards.get_mut(&from).expect("the node is there");
        for (to, head, bulk) in core::mem::take(&mut shard.outside.sent) {
            let lanes = match head.op {
                TraverseOp::Start { .. } | TraverseOp::Stop => 0..LANES[to.index()],
                TraverseOp::Credit { lane } => lane..lane + 1,
                TraverseOp::Records { .. } | TraverseOp::End { .. } => {
                    let lane = Walks::lane_of(head.walk);
                    lane..lane + 1
                }
            };
            for lane in lanes {
                let link = self.links.entry((from, (to.0, lane))).or_default();
                link.push_back((head, bulk.clone()));
            }
        }
    }

    /// One random thing; false if nothing can happen.
    fn happen(&mut self) -> bool {
        let frames = self.links.iter().filter(|(_, link)| !link.is_empty());
        let frames: Vec<(Place, Place)> = frames.map(|(ends, _)| *ends).collect();
        let walking = self.shards.iter().filter(|(_, s)| !s.outside.walking.is_empty());
        let walking: Vec<Place> = walking.map(|(place, _)| *place).collect();
        let count = u32::try_from(frames.len() + walking.len()).unwrap();
        if count == 0 {
            return false;
        }
        let index = self.below(count) as usize;
        if let Some(ends) = frames.get(index) {
            self.deliver(*ends);
        } else {
            self.walk(walking[index - frames.len()]);
        }
        true
    }

    fn deliver(&mut self, ends: (Place, Place)) {
        let (from, to) = ends;
        let frame = self.links.get_mut(&ends).and_then(VecDeque::pop_front);
        let (TraverseHead { db, walk, op }, bulk) = frame.expect("the link has frames");
        let from = Pnn(from.0);
        if matches!(op, TraverseOp::Records { .. } | TraverseOp::End { .. }) {
            self.step_walks(to, WalkInput::Frame { from, walk, op, bulk: &bulk });
        } else {
            self.step_visits(to, VisitInput::Frame { from, walk, db: DbId(db), op });
        }
    }

    fn walk(&mut self, place: Place) {
        let shard = self.shards.get_mut(&place).expect("the node is there");
        let visit = shard.outside.walking.pop_front().expect("a slice is wanted");
        let next = shard.outside.open.get(&visit).copied().unwrap_or(0);
        let end = (next + self.below(5)).min(RECORDS_PER_LANE);
        let record = |number: u32| entry(&key(place, number), b"body");
        let records: Vec<u8> = (next..end).flat_map(record).collect();
        let shard = self.shards.get_mut(&place).expect("the node is there");
        shard.outside.open.entry(visit).and_modify(|next| *next = end);
        let slice = if end == RECORDS_PER_LANE { Slice::Last } else { Slice::More };
        self.step_visits(place, VisitInput::Walked { visit, records: &records, slice });
    }

    /// A daemon dies: its links break, the others leave it out.
    fn kill(&mut self, node: u32) {
        self.shards.retain(|place, _| place.0 != node);
        self.links.retain(|(from, to), _| from.0 != node && to.0 != node);
        for place in self.places() {
            self.step_walks(place, WalkInput::NodeGone { node: Pnn(node) });
            self.step_visits(place, VisitInput::NodeGone { node: Pnn(node) });
        }
        let members: Vec<Pnn> = (0..3).filter(|member| *member != node).map(Pnn).collect();
        for place in self.places() {
            self.step_walks(place, WalkInput::Members { members: &members });
        }
    }

    fn outside(&mut self, place: Place) -> &mut Outside {
        &mut self.shards.get_mut(&place).expect("the node is there").outside
    }

    fn open_count(&self) -> usize {
        self.shards.values().map(|shard| shard.outside.open.len()).sum()
    }

    fn below(&mut self, bound: u32) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        u32::try_from((self.random >> 11) % u64::from(bound)).expect("below the bound")
    }
}

fn key(place: Place, number: u32) -> Vec<u8> {
    [place.0, place.1, number].iter().flat_map(|part| part.to_ne_bytes()).collect()
}

fn all_records(nodes: &[u32]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for node in nodes {
        for lane in 0..LANES[*node as usize] {
            all.extend((0..RECORDS_PER_LANE).map(|n| entry(&key((*node, lane), n), b"body")));
        }
    }
    all.sort();
    all
}

const ORIGIN: Place = (1, 2);

/// Scenario 57.
#[test]
fn at_rest_each_record_appears_once_before_one_end() {
    for seed in 0..50 {
        for (kind, nodes) in [(DbKind::Volatile, &[0, 1, 2][..]), (DbKind::Persistent, &[1])] {
            let mut world = World::new(seed);
            world.start(ORIGIN, kind);
            while world.happen() {}
            let outside = world.outside(ORIGIN);
            outside.records.sort();
            assert_eq!(outside.records, all_records(nodes), "seed {seed}");
            assert_eq!((outside.ends_count, outside.shortfalls.len()), (1, 0), "seed {seed}");
            assert_eq!(world.open_count(), 0, "seed {seed}");
        }
    }
}

#[test]
fn a_slow_client_stops_everybody_and_loses_nothing() {
    for seed in 0..50 {
        let mut world = World::new(seed);
        world.start(ORIGIN, DbKind::Volatile);
        let mut turns_count = 0;
        while world.outside(ORIGIN).ends_count == 0 {
            world.outside(ORIGIN).is_full = true;
            let before = world.outside(ORIGIN).records.len();
            while world.happen() {}
            // Two frames of up to four records from each of six lanes are all that can come.
            assert!(world.outside(ORIGIN).records.len() - before <= 2 * 4 * 6, "seed {seed}");
            world.outside(ORIGIN).is_full = false;
            world.now_ms += 60_000;
            world.step_walks(ORIGIN, WalkInput::Tick);
            world.step_walks(ORIGIN, WalkInput::QueueDrained { session: 7 });
            turns_count += 1;
        }
        assert!(turns_count > 3, "seed {seed}");
        let outside = world.outside(ORIGIN);
        outside.records.sort();
        assert_eq!(outside.records, all_records(&[0, 1, 2]), "seed {seed}");
    }
}

/// Scenario 59.
#[test]
fn a_node_that_dies_at_any_moment_does_not_keep_the_end_away() {
    for seed in 0..100 {
        let mut world = World::new(seed);
        world.start(ORIGIN, DbKind::Volatile);
        for _ in 0..world.below(120) {
            world.happen();
        }
        world.kill(2);
        while world.happen() {}
        let outside = world.outside(ORIGIN);
        assert_eq!(outside.ends_count, 1, "seed {seed}");
        let mut seen = core::mem::take(&mut outside.records);
        seen.sort();
        assert!(seen.is_sorted_by(|a, b| a < b), "seed {seed}: nothing twice");
        assert!(all_records(&[0, 1]).iter().all(|record| seen.binary_search(record).is_ok()));
        assert_eq!(world.open_count(), 0, "seed {seed}");
    }
}

/// Scenario 60.
#[test]
fn a_client_that_leaves_at_any_moment_leaves_no_visit_behind() {
    for seed in 0..100 {
        let mut world = World::new(seed);
        world.start(ORIGIN, DbKind::Volatile);
        for _ in 0..world.below(80) {
            world.happen();
        }
        world.step_walks(ORIGIN, WalkInput::SessionGone { session: 7 });
        let before = world.outside(ORIGIN).records.len();
        while world.happen() {}
        assert_eq!(world.outside(ORIGIN).records.len(), before, "seed {seed}");
        assert_eq!(world.open_count(), 0, "seed {seed}");
    }
}

#[test]
fn a_dead_origin_leaves_no_visit_behind() {
    for seed in 0..50 {
        let mut world = World::new(seed);
        world.start(ORIGIN, DbKind::Volatile);
        for _ in 0..world.below(80) {
            world.happen();
        }
        world.kill(ORIGIN.0);
        while world.happen() {}
        assert_eq!(world.open_count(), 0, "seed {seed}");
    }
}

#[test]
fn a_node_without_the_database_is_left_out() {
    let mut world = World::new(1);
    (0..LANES[2]).for_each(|lane| world.outside((2, lane)).lacks_database = true);
    world.start(ORIGIN, DbKind::Volatile);
    while world.happen() {}
    let outside = world.outside(ORIGIN);
    assert_eq!((outside.ends_count, outside.records.len()), (1, all_records(&[0, 1]).len()));
    assert!(outside.shortfalls.iter().all(|shortfall| *shortfall == (Pnn(2), Shortfall::Failed)));
}
