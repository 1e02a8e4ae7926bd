//! Scenarios of database semantics §11, one test each.

use super::world::{Copy, DB, Event, OwnedJob, World};
use crate::persistent::{Input, Reason};
use alloc::vec::Vec;
use bateria_wire::{DbKind, Generation, Pnn};

fn running(kind: DbKind, nodes_count: u32) -> World {
    let mut world = World::new(kind, nodes_count);
    (0..nodes_count).for_each(|node| world.start(node));
    world.settle();
    assert!(world.is_committed());
    world
}

fn committed_once(world: &mut World, node: u32, values: &[(u8, u64)]) {
    let buffer = world.transaction(node, values);
    world.commit(node, 1, &buffer);
    world.settle();
    assert_eq!(world.status(), Some(0));
}

#[test]
fn a_commit_is_answered_when_every_member_has_it() {
    let mut world = running(DbKind::Persistent, 3);
    let buffer = world.transaction(1, &[(1, 10), (2, 20)]);
    world.commit(1, 1, &buffer);
    for index in [1, 0, 2] {
        assert_eq!(world.replies, []);
        let frames = world.events();
        for frame in frames.iter().filter(|event| matches!(event, Event::Deliver(..))) {
            world.happen(*frame);
        }
        world.work(index, false);
    }
    world.settle();
    assert_eq!(world.status(), Some(0));
    (0..3).for_each(|node| assert_eq!(world.sequence_number(node), 1));
    world.assert_members_are_equal();
}

#[test]
fn equal_copies_are_settled_by_three_frames_for_each_other_node() {
    let mut world = running(DbKind::Persistent, 3);
    committed_once(&mut world, 0, &[(1, 10)]);
    world.frames_count = 0;
    world.want_recovery();
    world.settle();
    assert!(world.is_committed());
    assert_eq!(world.frames_count, 4, "digests of two nodes and two answers");
}

/// Scenario 31.
#[test]
fn an_acknowledged_commit_survives_the_loss_of_power() {
    let mut world = running(DbKind::Persistent, 3);
    committed_once(&mut world, 0, &[(1, 10)]);
    (0..3).for_each(|node| world.crash(node, || false));
    (0..3).for_each(|node| world.start(node));
    world.settle();
    assert!(world.is_committed());
    (0..3).for_each(|node| assert_eq!(world.sequence_number(node), 1));
}

/// Scenario 32.
#[test]
fn a_node_that_dies_during_the_update_ends_the_commit_with_2() {
    for applied in [false, true] {
        let mut world = running(DbKind::Persistent, 3);
        let buffer = world.transaction(0, &[(1, 10)]);
        world.commit(0, 1, &buffer);
        if applied {
            world.work(0, false);
        }
        world.crash(2, || false);
        world.settle();
        assert_eq!(world.status(), Some(2));
        world.assert_members_are_equal();
        assert_eq!(world.sequence_number(1), 1, "a survivor had it, or finished it");
    }
}

/// Scenario 33.
#[test]
fn a_client_that_dies_half_way_leaves_equal_copies() {
    let mut world = running(DbKind::Persistent, 3);
    let buffer = world.transaction(0, &[(1, 10)]);
    world.commit(0, 1, &buffer);
    world.step(0, Input::CallerGone { session: 1 });
    assert_eq!(world.reasons, [Reason::ClientLeft { db: DB }]);
    world.settle();
    world.assert_members_are_equal();
    assert!(world.replies.is_empty() && world.is_committed());
    committed_once(&mut world, 1, &[(1, 11)]);
}

/// Scenario 34.
#[test]
fn the_same_commit_again_changes_nothing() {
    let mut world = running(DbKind::Persistent, 3);
    let buffer = world.transaction(0, &[(1, 10)]);
    for _ in 0..2 {
        world.commit(0, 1, &buffer);
        world.settle();
        assert_eq!((world.status(), world.sequence_number(2)), (Some(0), 1));
    }
    assert_eq!(world.nodes[2].copy.records[&1], (1, 10));
}

/// Scenario 35.
#[test]
fn a_second_commit_fails_at_once() {
    let mut world = running(DbKind::Persistent, 3);
    let buffer = world.transaction(0, &[(1, 10)]);
    world.commit(0, 1, &buffer);
    world.commit(0, 2, &buffer);
    assert_eq!(world.status(), Some(-1));
    world.settle();
    assert_eq!(world.status(), Some(0));
}

/// Scenario 36.
#[test]
fn the_first_of_the_newest_copies_is_everywhere_without_its_tombstones() {
    let mut world = World::new(DbKind::Persistent, 3);
    for (node, (number, value)) in [(5, 1), (7, 2), (7, 3)].into_iter().enumerate() {
        let records = [(1, (4, value)), (2, (9, 0)), (super::world::SEQUENCE_KEY, (9, number))];
        world.nodes[node].copy = Copy { records: records.into(), ..Copy::default() };
    }
    (0..3).for_each(|node| world.start(node));
    world.settle();
    world.assert_members_are_equal();
    let records = &world.nodes[0].copy.records;
    assert_eq!((records[&1], records.contains_key(&2), records.len()), ((4, 2), false, 2));
}

/// The other half of Q3: a transaction that was given up does not beat an acknowledged one that
/// has the same number.
#[test]
fn a_lost_transaction_loses_against_an_acknowledged_one() {
    let mut world = running(DbKind::Persistent, 3);
    let lost = world.transaction(2, &[(1, 66)]);
    world.commit(2, 1, &lost);
    // Only node 0 gets it, and dies with the client's node.
    world.happen(Event::Deliver(2, 0));
    world.work(0, false);
    world.crash(0, || true);
    world.crash(2, || false);
    world.start(2);
    world.settle();
    assert_eq!(world.sequence_number(1), 0);
    committed_once(&mut world, 1, &[(1, 10)]);
    (1..3).for_each(|node| world.crash(node, || false));
    (0..3).for_each(|node| world.start(node));
    world.settle();
    world.assert_members_are_equal();
    assert_eq!(world.nodes[0].copy.records[&1].1, 10);
}

/// Scenario 37, and §4.5: an unreadable copy is replaced.
#[test]
fn a_broken_copy_is_filled_and_named() {
    let mut world = running(DbKind::Persistent, 3);
    committed_once(&mut world, 0, &[(1, 10), (2, 20), (3, 30)]);
    world.crash(1, || true);
    world.nodes[1].copy.is_broken = true;
    world.start(1);
    world.settle();
    assert_eq!((&*world.failed_copies, &*world.recovered_copies), (&[Pnn(1)][..], &[Pnn(1)][..]));
    assert!(!world.nodes[1].copy.is_broken && world.is_committed());
    world.assert_members_are_equal();
}

#[test]
fn a_copy_that_cannot_be_written_holds_commits_but_not_the_cluster() {
    let mut world = running(DbKind::Persistent, 3);
    committed_once(&mut world, 0, &[(1, 10)]);
    world.crash(2, || true);
    committed_after_recovery(&mut world, 0, &[(1, 11)]);
    world.start(2);
    run_until(&mut world, |world| {
        matches!(world.nodes[2].jobs.front(), Some((_, OwnedJob::Install(_))))
    });
    world.work(2, true);
    world.settle();
    assert!(world.is_committed());
    assert_eq!(world.failed_copies, [Pnn(2)]);
    let buffer = world.transaction(0, &[(1, 12)]);
    world.commit(0, 1, &buffer);
    world.settle();
    assert_eq!(world.replies, []);
    // The node leaves, as it is told to; the commit goes on without it.
    world.crash(2, || true);
    world.settle();
    assert_eq!(world.status(), Some(0));
}

/// Scenario 38.
#[test]
fn an_update_of_an_older_generation_never_begins_and_a_running_one_is_digested() {
    let mut world = running(DbKind::Persistent, 3);
    let buffer = world.transaction(0, &[(1, 10)]);
    world.commit(0, 1, &buffer);
    world.happen(Event::Deliver(0, 1));
    assert!(matches!(world.nodes[1].jobs.front(), Some((_, OwnedJob::Apply(..)))));
    world.want_recovery();
    world.happen(Event::Recover);
    // Node 2 quiesces before it hears of the update, and drops it.
    for event in [Event::Obey(0), Event::Obey(1), Event::Obey(2), Event::Deliver(0, 2)] {
        world.happen(event);
    }
    assert!(world.nodes[2].jobs.is_empty());
    // Node 1 is asked for its digest while it still writes.
    world.happen(Event::Obey(1));
    assert_eq!(world.nodes[1].jobs.len(), 1);
    world.settle();
    assert_eq!(world.status(), Some(2));
    world.assert_members_are_equal();
    assert_eq!(world.sequence_number(2), 1);
}

/// Scenario 39.
#[test]
fn a_replicated_database_lives_as_long_as_one_node_does() {
    let mut world = running(DbKind::Replicated, 3);
    committed_once(&mut world, 0, &[(1, 10)]);
    (0..2).for_each(|node| world.crash(node, || true));
    (0..2).for_each(|node| world.start(node));
    world.settle();
    assert_eq!(world.sequence_number(0), 1);
    (0..3).for_each(|node| world.crash(node, || true));
    (0..3).for_each(|node| world.start(node));
    world.settle();
    (0..3).for_each(|node| assert!(world.nodes[node].copy.records.is_empty()));
}

/// Scenario 38 again: an update that waits behind another one.
#[test]
fn an_update_that_still_waits_when_its_generation_ends_is_dropped() {
    let mut world = running(DbKind::Persistent, 3);
    for (node, value) in [(0, 10), (2, 20)] {
        let buffer = world.transaction(node, &[(1, value)]);
        world.commit(node, u64::from(node), &buffer);
        world.happen(Event::Deliver(node, 1));
    }
    world.want_recovery();
    [Event::Recover, Event::Obey(1)].into_iter().for_each(|event| world.happen(event));
    world.work(1, false);
    assert!(world.nodes[1].jobs.is_empty());
    world.settle();
    world.assert_members_are_equal();
}

#[test]
fn commits_are_held_until_the_generation_is_committed() {
    let mut world = World::new(DbKind::Persistent, 3);
    (0..3).for_each(|node| world.start(node));
    let buffer = world.transaction(0, &[(1, 10)]);
    world.commit(0, 1, &buffer);
    run_until(&mut world, |world| world.committed == world.generation);
    // Node 1 has not heard yet that everybody is ready.
    let other = world.transaction(1, &[(1, 11)]);
    world.commit(1, 2, &other);
    assert!(world.nodes.iter().all(|node| node.jobs.is_empty()));
    world.step(1, Input::CallerGone { session: 2 });
    world.settle();
    assert_eq!(world.status(), Some(0));
}

#[test]
fn a_held_commit_is_refused_after_the_time_limit_only() {
    let mut world = World::new(DbKind::Persistent, 3);
    world.start(0);
    let buffer = world.transaction(0, &[(1, 10)]);
    world.commit(0, 1, &buffer);
    for (now_ms, replies_count) in [(59_999, 0), (60_000, 1)] {
        world.now_ms = now_ms;
        world.step(0, Input::Tick);
        assert_eq!(world.replies.len(), replies_count);
    }
    assert_eq!(world.status(), Some(-1));
}

/// W11.
#[test]
fn a_commit_that_takes_too_long_ends_in_a_recovery() {
    let mut world = running(DbKind::Persistent, 3);
    let buffer = world.transaction(0, &[(1, 10)]);
    world.commit(0, 1, &buffer);
    world.work(0, false);
    world.now_ms = 60_000;
    world.step(0, Input::Tick);
    assert_eq!(world.reasons, [Reason::UpdateTimedOut { db: DB, node: Pnn(1) }]);
    world.settle();
    assert_eq!(world.status(), Some(2));
    world.assert_members_are_equal();
}

#[test]
fn a_member_that_fails_the_update_is_named_and_repaired() {
    let mut world = running(DbKind::Persistent, 3);
    let buffer = world.transaction(0, &[(1, 10)]);
    world.commit(0, 1, &buffer);
    world.happen(Event::Deliver(0, 1));
    world.work(1, true);
    world.settle();
    assert_eq!(world.reasons, [Reason::UpdateFailed { db: DB, node: Pnn(1) }]);
    assert_eq!((world.status(), world.failed_copies.as_slice()), (Some(2), &[Pnn(1)][..]));
    (0..3).for_each(|node| assert_eq!(world.sequence_number(node), 1));
}

#[test]
fn a_database_that_is_attached_later_is_settled_in_the_running_generation() {
    let mut world = running(DbKind::Persistent, 3);
    let generation = world.generation;
    for node in 0..3 {
        world.step(node, Input::Detach { db: DB });
    }
    world.nodes[2].copy.records.insert(1, (1, 5));
    for node in [2, 0, 1] {
        world.step(node, Input::Attach { db: DB, kind: DbKind::Persistent });
    }
    let buffer = world.transaction(0, &[(2, 10)]);
    world.commit(0, 1, &buffer);
    world.settle();
    assert_eq!((world.status(), world.generation), (Some(0), generation));
    world.assert_members_are_equal();
}

#[test]
fn a_silent_member_is_named_by_the_coordinator() {
    let mut world = World::new(DbKind::Persistent, 3);
    (0..3).for_each(|node| world.start(node));
    world.happen(Event::Recover);
    // Everybody quiesces, then everybody rebuilds.
    (0..2).for_each(|_| (0..3).for_each(|node| world.happen(Event::Obey(node))));
    world.work(0, false);
    world.work(2, false);
    world.happen(Event::Deliver(2, 0));
    world.now_ms = 60_000;
    world.step(0, Input::Tick);
    assert_eq!(world.reasons, [Reason::SettleTimedOut { db: DB, node: Pnn(1) }]);
}

#[test]
fn frames_of_another_generation_are_not_even_read() {
    let mut world = running(DbKind::Persistent, 2);
    let stale = Generation::first_of(1);
    let op = bateria_wire::head::PersistentOp::Update { transaction: 1 };
    let bulk: Vec<u8> = world.transaction(0, &[(1, 10)]);
    world.step(1, Input::Frame { from: Pnn(0), generation: stale, db: DB, op, bulk: &bulk });
    assert!(world.nodes[1].jobs.is_empty());
}

fn committed_after_recovery(world: &mut World, node: u32, values: &[(u8, u64)]) {
    world.settle();
    committed_once(world, node, values);
}

fn run_until(world: &mut World, is_reached: impl Fn(&World) -> bool) {
    for _ in 0..10_000 {
        if is_reached(world) {
            return;
        }
        let event = world.events().first().copied();
        world.happen(event.expect("something happens until then"));
    }
    panic!("never reached");
}
