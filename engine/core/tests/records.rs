//! Several nodes' record machines against each other: clients that count as smbd does, chains that
//! are held, frames that are delayed, generations that change and nodes that die.

#![expect(unreachable_pub, reason = "a test has no outside")]
#![expect(clippy::unwrap_used, reason = "what is missing fails the test")]
#![expect(clippy::cast_possible_truncation, reason = "all counts here are small")]

mod world;

use bateria_core::record::Function;
use world::{Count, World};

const KEYS: u32 = 3;

#[test]
fn a_missing_record_is_created_for_the_node_that_wants_it() {
    let mut world = World::new(3, 1);
    world.call(2, 0, Function::Null);
    world.settle();
    assert_eq!(world.replies(), 1);
    assert_eq!(world.owner(0), Some(2));
}

#[test]
fn reading_a_missing_record_creates_nothing() {
    let mut world = World::new(3, 1);
    world.call(2, 0, Function::Fetch);
    world.settle();
    assert_eq!(world.replies(), 1);
    assert_eq!(world.copies(0), 0);
}

#[test]
fn an_empty_record_that_moves_leaves_no_trace() {
    let mut world = World::new(3, 1);
    world.call(0, 0, Function::Null);
    world.settle();
    world.call(1, 0, Function::Null);
    world.settle();
    assert_eq!((world.owner(0), world.copies(0)), (Some(1), 1));
}

#[test]
fn a_record_with_a_body_leaves_its_last_version_behind() {
    let mut world = World::new(3, 1);
    world.increment(0, 0);
    world.settle();
    world.increment(1, 0);
    world.settle();
    assert_eq!((world.owner(0), world.copies(0)), (Some(1), 2));
}

#[test]
fn many_waiters_of_a_node_need_one_migration() {
    let mut world = World::new(2, 1);
    world.increment(0, 0);
    world.settle();
    (0..100).for_each(|_| world.call(1, 0, Function::Null));
    world.settle();
    assert_eq!((world.replies(), world.handed_over()), (101, 1));
}

#[test]
fn a_deleted_record_disappears_from_all_nodes() {
    let mut world = World::new(3, 1);
    for node in [0, 1, 2, 0] {
        world.increment(node, 0);
        world.settle();
    }
    assert_eq!(world.copies(0), 3);
    world.delete(0, 0);
    world.run_for_us(60_000_000);
    assert_eq!(world.copies(0), 0);
    world.increment(1, 0);
    world.settle();
    assert_eq!(world.value(0), Count(1));
}

#[test]
fn the_newest_copy_survives_its_owner() {
    let mut world = World::new(3, 1);
    world.increment(0, 0);
    world.settle();
    world.increment(1, 0);
    world.settle();
    world.increment(2, 0);
    world.settle();
    world.kill(2);
    world.new_generation();
    world.settle();
    assert_eq!(world.value(0), Count(2), "the change of node 2 is lost, that of node 1 is not");
    world.increment(0, 0);
    world.settle();
    assert_eq!(world.value(0), Count(3));
}

#[test]
fn a_deleted_record_does_not_come_back_when_its_owner_dies() {
    let mut world = World::new(3, 1);
    for node in [0, 1, 2] {
        world.increment(node, 0);
        world.settle();
    }
    world.delete(2, 0);
    world.increment(1, 1);
    world.settle();
    world.call(1, 0, Function::Null);
    world.settle();
    world.kill(2);
    world.new_generation();
    world.settle();
    assert_eq!(world.value(0), Count(0));
}

#[test]
fn a_held_chain_delays_only_its_own_records_through_a_change_of_generation() {
    let mut world = World::new(3, 1);
    world.increment(0, 0);
    world.increment(0, 1);
    world.settle();
    world.hold_chain(0, 0);
    world.new_generation();
    world.call(1, 1, Function::Null);
    world.call(1, 0, Function::Null);
    world.settle();
    assert_eq!(world.owner(1), Some(1), "the other key's record moved");
    assert_eq!(world.owner(0), Some(0), "this one waits for its chain");
    world.let_go(0, 0);
    world.settle();
    assert_eq!(world.owner(0), Some(1));
}

#[test]
fn who_comes_after_a_record_was_made_does_not_hear_that_there_was_none() {
    let mut world = World::new(3, 1);
    world.call(1, 0, Function::Fetch);
    world.delay(0, 1);
    world.settle();
    world.increment(2, 0);
    world.settle();
    world.call(1, 0, Function::Fetch);
    world.deliver_all();
    assert_eq!((world.replies(), world.last_reply()), (3, Count(1)));
}

#[test]
fn frames_about_a_database_wait_until_it_is_attached() {
    for seed in 0..20 {
        let mut world = World::without_database(3, seed);
        world.attach(2);
        world.increment(2, 0);
        world.settle();
        assert_eq!(world.replies(), 0, "nobody knows yet whether there is such a record");
        world.attach(1);
        world.call(1, 0, Function::Fetch);
        world.settle();
        world.attach(0);
        world.settle();
        world.call(1, 0, Function::Fetch);
        world.settle();
        assert_eq!(world.last_reply(), Count(1));
        world.check_counts(KEYS);
    }
}

#[test]
fn a_database_that_is_attached_while_a_generation_begins_keeps_nobody_waiting() {
    for seed in 0..20 {
        let mut world = World::without_database(3, seed);
        let generation = world.prepare();
        world.attach(0);
        world.begin(0, generation);
        world.begin(1, generation);
        world.settle();
        world.attach(1);
        world.attach(2);
        world.begin(2, generation);
        world.increment(1, 0);
        world.increment(2, 0);
        world.settle();
        world.check_counts(KEYS);
        assert_eq!(world.value(0), Count(2));
    }
}

#[test]
fn counts_are_exact_under_random_schedules() {
    for seed in 0..150 {
        let mut world = World::new(3, seed);
        for _ in 0..400 {
            world.random_work(KEYS);
        }
        world.settle();
        world.check_counts(KEYS);
    }
}

#[test]
fn counts_are_exact_while_generations_change() {
    for seed in 0..150 {
        let mut world = World::new(3, 1000 + seed);
        for round in 0..400 {
            world.random_work(KEYS);
            if round % 40 == 39 {
                world.new_generation();
            }
        }
        world.settle();
        world.check_counts(KEYS);
    }
}

#[test]
fn counts_of_survivors_are_exact_when_nodes_die_and_return() {
    for seed in 0..150 {
        let mut world = World::new(4, 5000 + seed);
        for round in 0..400 {
            world.random_work(KEYS);
            match round % 100 {
                50 => {
                    world.kill(3);
                    world.new_generation();
                }
                80 => {
                    world.restart(3);
                    world.new_generation();
                }
                _ => {}
            }
        }
        world.settle();
        world.check_one_owner(KEYS);
        world.check_survivors_counts(KEYS, 3);
    }
}
