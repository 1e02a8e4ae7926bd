//! Doorbells, mailboxes and futexes between threads.

mod world;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bateria_ring::mailbox::{self, MailboxRefused, NoMessage};
use bateria_ring::{Event, FutexOutcome, FutexWord, Ring, RingConfig, Token, Wait};
use world::{PATIENCE, World};

#[test]
fn a_storm_of_senders_loses_no_message() {
    const SENDERS: u32 = 4;
    const MESSAGES: u64 = 50_000;
    const COUNT: usize = SENDERS as usize;
    let mut world = World::new();
    let (sender, receiver) = mailbox::bounded::<(u32, u64)>(256, world.ring.doorbell());
    let threads: Vec<_> = (0..SENDERS)
        .map(|from| {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for number in 0..MESSAGES {
                    let mut message = (from, number);
                    while let Err(refused) = sender.try_send(message) {
                        let MailboxRefused::Full(back) = refused else { panic!("it is open") };
                        message = back;
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect();
    drop(sender);
    let mut next = [0; COUNT];
    world.until(|event| {
        assert!(matches!(event, Event::Knocked));
        loop {
            match receiver.try_recv() {
                Ok((from, number)) => {
                    let expected = &mut next[from as usize];
                    assert_eq!(number, *expected, "messages of one sender stay in order");
                    *expected += 1;
                }
                Err(NoMessage::Empty) => return None,
                // The last sender's end wakes as well: every message has been taken by then.
                Err(NoMessage::Closed) => return Some(()),
            }
        }
    });
    assert_eq!(next, [MESSAGES; COUNT]);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_full_mailbox_gives_the_message_back() {
    let world = World::new();
    let (sender, receiver) = mailbox::bounded(1, world.ring.doorbell());
    sender.try_send("first").unwrap();
    assert_eq!(sender.try_send("second"), Err(MailboxRefused::Full("second")));
    assert_eq!(receiver.try_recv(), Ok("first"));
    drop(receiver);
    assert_eq!(sender.try_send("third"), Err(MailboxRefused::Closed("third")));
}

#[test]
fn a_receiver_that_leaves_a_rest_is_knocked_again() {
    let mut world = World::new();
    let (sender, receiver) = mailbox::bounded(16, world.ring.doorbell());
    (0..10).for_each(|number| sender.try_send(number).unwrap());
    let mut taken = Vec::new();
    world.until(|event| {
        assert!(matches!(event, Event::Knocked));
        taken.extend(receiver.try_recv());
        if !receiver.is_empty() {
            receiver.come_back();
        }
        (taken.len() == 10).then_some(())
    });
    assert_eq!(taken, (0..10).collect::<Vec<_>>());
}

/// Two rings send a number back and forth, each sleeping until the other's message.
fn ping_pong(config: &RingConfig, wait: Wait, rounds: u32) {
    let (to_parent, from_child) = mpsc::channel();
    let config_of_child = config.clone();
    let mut world = World::with(config);
    let doorbell = world.ring.doorbell();
    let child = std::thread::spawn(move || {
        let mut ring = Ring::new(&config_of_child).expect("io_uring works here");
        let (back, inbox_of_parent) = mailbox::bounded::<u32>(4, doorbell);
        let (sender, inbox) = mailbox::bounded::<u32>(4, ring.doorbell());
        to_parent.send((sender, inbox_of_parent)).expect("the parent listens");
        let end = Instant::now() + PATIENCE;
        loop {
            ring.turn(wait).expect("the ring goes on");
            while let Some(event) = ring.next_event() {
                assert!(matches!(event, Event::Knocked));
                while let Ok(number) = inbox.try_recv() {
                    back.try_send_from(&mut ring, number + 1).expect("there is room");
                    if number + 2 >= rounds {
                        ring.turn(Wait::No).expect("the ring goes on");
                        return;
                    }
                }
            }
            assert!(Instant::now() < end);
        }
    });
    let (sender, inbox) = from_child.recv().expect("the child starts");
    sender.try_send_from(&mut world.ring, 0).expect("there is room");
    let end = Instant::now() + PATIENCE;
    'play: loop {
        world.ring.turn(wait).expect("the ring goes on");
        while let Some(event) = world.ring.next_event() {
            assert!(matches!(event, Event::Knocked));
            while let Ok(number) = inbox.try_recv() {
                if number + 1 >= rounds {
                    break 'play;
                }
                sender.try_send_from(&mut world.ring, number + 1).expect("there is room");
            }
        }
        assert!(Instant::now() < end);
    }
    child.join().expect("the child plays on");
}

#[test]
fn rings_wake_each_other_by_messages() {
    let world = World::new();
    if world.ring.capabilities().ring_messages {
        ping_pong(&RingConfig::default(), Wait::Forever, 4_000);
    }
}

#[test]
fn rings_wake_each_other_without_messages() {
    let config = RingConfig { ring_messages: false, ..RingConfig::default() };
    ping_pong(&config, Wait::Forever, 4_000);
}

#[test]
fn polling_rings_hear_each_other() {
    let wait = Wait::Poll { for_at_most: Duration::from_micros(20), until: None };
    ping_pong(&RingConfig::default(), wait, 4_000);
}

#[test]
fn a_ring_that_is_gone_does_not_disturb_its_peers() {
    let mut world = World::new();
    let gone = Ring::new(&RingConfig::default()).unwrap().doorbell();
    for _ in 0..3 {
        world.ring.knock(&gone);
        gone.ring();
        world.ring.turn(Wait::No).unwrap();
    }
    assert!(world.ring.next_event().is_none());
}

#[test]
fn a_wait_ends_with_the_wake_up_of_its_word() {
    let mut world = World::new();
    if !world.ring.capabilities().futex_wait {
        return;
    }
    let futex = Arc::new(AtomicU32::new(7));
    let pending = world.ring.futex_wait(FutexWord::at(futex.as_ptr()), 7, Token(3)).unwrap();
    world.ring.turn(Wait::No).unwrap();
    assert!(world.ring.next_event().is_none());
    let other_thread = {
        let futex = Arc::clone(&futex);
        std::thread::spawn(move || {
            futex.store(8, Ordering::Release);
            world::wake(&futex, 1)
        })
    };
    world.until(|event| match event {
        Event::FutexWoken { wait: ended, token: Token(3), outcome: FutexOutcome::Woken } => {
            assert_eq!(ended, pending);
            Some(())
        }
        other => panic!("{other:?}"),
    });
    assert_eq!(other_thread.join().unwrap(), 1);
}

#[test]
fn a_word_that_has_changed_is_not_waited_for() {
    let mut world = World::new();
    if !world.ring.capabilities().futex_wait {
        return;
    }
    let futex = AtomicU32::new(1);
    world.ring.futex_wait(FutexWord::at(futex.as_ptr()), 2, Token(0)).unwrap();
    world.until(|event| match event {
        Event::FutexWoken { outcome: FutexOutcome::Changed, .. } => Some(()),
        other => panic!("{other:?}"),
    });
}

#[test]
fn a_word_that_is_not_mapped_fails_the_wait_only() {
    let mut world = World::new();
    if !world.ring.capabilities().futex_wait {
        return;
    }
    let nowhere = std::ptr::without_provenance(8);
    world.ring.futex_wait(FutexWord::at(nowhere), 0, Token(0)).unwrap();
    world.until(|event| match event {
        Event::FutexWoken { outcome: FutexOutcome::Failed(_), .. } => Some(()),
        other => panic!("{other:?}"),
    });
}

#[test]
fn a_cancelled_wait_and_a_wake_up_never_both_count() {
    let mut world = World::new();
    if !world.ring.capabilities().futex_wait {
        return;
    }
    let futex = Arc::new(AtomicU32::new(0));
    let (mut woken, mut cancelled) = (0, 0);
    for round in 0..2_000_u32 {
        let pending = world.ring.futex_wait(FutexWord::at(futex.as_ptr()), 0, Token(0)).unwrap();
        world.ring.turn(Wait::No).unwrap();
        let other_thread = (round % 2 == 0).then(|| {
            let futex = Arc::clone(&futex);
            std::thread::spawn(move || world::wake(&futex, 1))
        });
        if round % 4 < 2 {
            std::thread::yield_now();
        }
        world.ring.cancel_wait(pending);
        let outcome = world.until(|event| match event {
            Event::FutexWoken { outcome, .. } => Some(outcome),
            other => panic!("{other:?}"),
        });
        let spent = other_thread.map_or(0, |thread| thread.join().unwrap());
        match outcome {
            FutexOutcome::Woken => {
                assert_eq!(spent, 1, "a wake-up was spent on it");
                woken += 1;
            }
            FutexOutcome::Cancelled => {
                assert_eq!(spent, 0, "no wake-up was lost");
                cancelled += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(cancelled > 0);
    assert_eq!(woken + cancelled, 2_000);
}
