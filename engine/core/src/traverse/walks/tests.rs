use super::*;
use crate::traverse::rec_data::tests::entry;
use alloc::collections::VecDeque;

#[derive(Default)]
struct World {
    replies: Vec<i32>,
    sent: Vec<(Pnn, u64, TraverseOp)>,
    records: Vec<Vec<u8>>,
    ends_count: usize,
    is_full: bool,
    shortfalls: Vec<(Pnn, Shortfall)>,
}

impl WalkEffects for World {
    fn reply(&mut self, _: Caller, status: i32) {
        assert!(self.sent.is_empty() && self.records.is_empty(), "the answer comes first");
        self.replies.push(status);
    }
    fn send(&mut self, to: Pnn, head: &Head) {
        let Head::Traverse(head) = head else { panic!("a traverse head") };
        self.sent.push((to, head.walk, head.op));
    }
    fn record(&mut self, _: &Client, rec_data: &[u8]) {
        assert_eq!(self.ends_count, 0, "no record follows the end");
        self.records.push(rec_data.to_vec());
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

const NODES: [Pnn; 3] = [Pnn(0), Pnn(1), Pnn(2)];
const CLIENT: Client =
    Client { caller: Caller { session: 7, request: 1 }, srvid: 0xBE00, reqid: 4 };

fn start(kind: DbKind) -> WalkInput<'static> {
    WalkInput::Start { client: CLIENT, db: DbId(1), kind, lmasters: &NODES, with_empty: false }
}

fn walks_on(members: &[Pnn]) -> (Walks, World, u64) {
    let (mut walks, mut world) = (Walks::new(Pnn(0), 3, 77, Settings::default()), World::default());
    walks.step(0, WalkInput::Members { members }, &mut world).unwrap();
    walks.step(0, start(DbKind::Volatile), &mut world).unwrap();
    let walk = world.sent.first().map_or(0, |(_, walk, _)| *walk);
    world.sent.clear();
    (walks, world, walk)
}

fn records(from: u32, walk: u64, bulk: &[u8]) -> WalkInput<'_> {
    WalkInput::Frame { from: Pnn(from), walk, op: TraverseOp::Records { lane: 0 }, bulk }
}

fn end(from: u32, walk: u64, lane: u32, lanes_count: u32) -> WalkInput<'static> {
    let op = TraverseOp::End { lane, lanes_count, status: 0 };
    WalkInput::Frame { from: Pnn(from), walk, op, bulk: &[] }
}

/// Scenario 57, with nodes that have different numbers of shards.
#[test]
fn the_end_comes_when_every_lane_of_every_node_has_ended() {
    let (mut walks, mut world, walk) = walks_on(&NODES);
    assert_eq!((world.replies.as_slice(), Walks::lane_of(walk)), (&[0][..], 3));
    let bulk = [entry(b"a", b"1"), entry(b"b", b"2")].concat();
    walks.step(0, records(1, walk, &bulk), &mut world).unwrap();
    let ends: VecDeque<_> = [(0, 0, 1), (1, 1, 2), (2, 0, 1), (1, 0, 2)].into();
    for (node, lane, lanes_count) in ends {
        assert_eq!(world.ends_count, 0);
        walks.step(0, end(node, walk, lane, lanes_count), &mut world).unwrap();
    }
    assert_eq!((world.ends_count, world.records.len()), (1, 2));
    assert_eq!(walks.deadline_ms(), None);
}

#[test]
fn a_copy_that_every_node_has_is_walked_once() {
    let (mut walks, mut world) = (Walks::new(Pnn(0), 0, 0, Settings::default()), World::default());
    walks.step(0, WalkInput::Members { members: &NODES }, &mut world).unwrap();
    walks.step(0, start(DbKind::Persistent), &mut world).unwrap();
    assert_eq!(world.sent.iter().map(|sent| sent.0).collect::<Vec<_>>(), [Pnn(0)]);
}

#[test]
fn an_inactive_node_asks_another_one_or_nobody() {
    let (mut walks, mut world) = (Walks::new(Pnn(5), 0, 0, Settings::default()), World::default());
    walks.step(0, start(DbKind::Volatile), &mut world).unwrap();
    assert_eq!(world.replies, [-1]);
    walks.step(0, start(DbKind::Replicated), &mut world).unwrap();
    assert_eq!(world.sent.first().map(|sent| sent.0), Some(Pnn(0)));
}

#[test]
fn credit_waits_for_the_clients_queue_and_the_timer_waits_with_it() {
    let (mut walks, mut world, walk) = walks_on(&NODES[..1]);
    let bulk = entry(b"a", b"1");
    world.is_full = true;
    walks.step(5, records(0, walk, &bulk), &mut world).unwrap();
    walks.step(5, records(0, walk, &bulk), &mut world).unwrap();
    assert_eq!((world.sent.len(), walks.deadline_ms()), (0, None));
    assert!(walks.step(5, records(0, walk, &bulk), &mut world).is_err(), "beyond its credit");
    world.is_full = false;
    walks.step(60_000, WalkInput::QueueDrained { session: 7 }, &mut world).unwrap();
    let credit = (Pnn(0), walk, TraverseOp::Credit { lane: 0 });
    assert_eq!((world.sent.as_slice(), walks.deadline_ms()), (&[credit, credit][..], Some(80_000)));
}

/// Scenario 59.
#[test]
fn a_node_that_leaves_is_not_waited_for() {
    for gone in [WalkInput::NodeGone { node: Pnn(2) }, WalkInput::Members { members: &NODES[..2] }]
    {
        let (mut walks, mut world, walk) = walks_on(&NODES);
        walks.step(0, end(0, walk, 0, 1), &mut world).unwrap();
        walks.step(0, end(1, walk, 0, 1), &mut world).unwrap();
        walks.step(0, gone, &mut world).unwrap();
        assert_eq!(world.ends_count, 1);
        assert_eq!(world.shortfalls, [(Pnn(2), Shortfall::NodeGone)]);
        walks.step(0, end(2, walk, 0, 1), &mut world).unwrap();
        assert_eq!(world.ends_count, 1);
    }
}

#[test]
fn a_lane_that_cannot_is_not_waited_for() {
    let (mut walks, mut world, walk) = walks_on(&NODES[..1]);
    let op = TraverseOp::End { lane: 0, lanes_count: 1, status: -1 };
    let input = WalkInput::Frame { from: Pnn(0), walk, op, bulk: &[] };
    walks.step(0, input, &mut world).unwrap();
    assert_eq!((world.ends_count, world.shortfalls.len()), (1, 1));
}

#[test]
fn silence_ends_a_walk_and_progress_keeps_it() {
    let (mut walks, mut world, walk) = walks_on(&NODES[..2]);
    walks.step(19_000, records(0, walk, &entry(b"a", b"1")), &mut world).unwrap();
    world.sent.clear();
    walks.step(38_999, WalkInput::Tick, &mut world).unwrap();
    assert_eq!(world.ends_count, 0);
    walks.step(39_000, WalkInput::Tick, &mut world).unwrap();
    assert_eq!((world.ends_count, world.sent.len(), world.shortfalls.len()), (1, 2, 2));
    world.sent.clear();
    let late = entry(b"b", b"2");
    walks.step(39_001, records(1, walk, &late), &mut world).unwrap();
    assert_eq!(world.sent, [(Pnn(1), walk, TraverseOp::Stop)]);
}

/// Scenario 60.
#[test]
fn a_client_that_leaves_stops_all_visits_that_go_on() {
    let (mut walks, mut world, walk) = walks_on(&NODES);
    walks.step(0, end(1, walk, 0, 1), &mut world).unwrap();
    walks.step(0, WalkInput::SessionGone { session: 7 }, &mut world).unwrap();
    let stop = TraverseOp::Stop;
    assert_eq!(world.sent, [(Pnn(0), walk, stop), (Pnn(2), walk, stop)]);
    assert_eq!((world.ends_count, walks.deadline_ms()), (0, None));
}

#[test]
fn malformed_frames_are_faults_and_change_nothing() {
    let (mut walks, mut world, walk) = walks_on(&NODES);
    assert!(walks.step(0, records(1, walk, b"no record"), &mut world).is_err());
    assert!(walks.step(0, end(1, walk, 2, 2), &mut world).is_err());
    assert!(walks.step(0, end(1, walk, 0, u32::MAX), &mut world).is_err());
    walks.step(0, end(1, walk, 0, 2), &mut world).unwrap();
    assert!(walks.step(0, end(1, walk, 0, 2), &mut world).is_err());
    assert!(walks.step(0, end(1, walk, 1, 3), &mut world).is_err());
    assert!(walks.step(0, records(1, walk, &entry(b"a", b"1")), &mut world).is_err());
    assert_eq!((world.records.len(), world.ends_count), (0, 0));
}
