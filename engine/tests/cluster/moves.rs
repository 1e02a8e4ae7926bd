//! Sessions move to the shard of the records that they work on, and nobody notices.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::harness::{Cell, Client, Plan, control, until};

#[test]
fn messages_keep_their_order_while_their_listener_moves() {
    let Some(cell) = Cell::healthy(Plan::nodes(2).shards(3)) else { return };
    if cell.is_stock() {
        return;
    }
    let mut client = connect(&cell, 0);
    let db_id = attach(&mut client);
    register(&mut client, FED);
    let stopped = AtomicBool::new(false);

    let (shards, heard, sent) = thread::scope(|scope| {
        // Two of them on the listener's node, on different shards, one on the other.
        let feeders: Vec<_> = [(0, 0), (0, 1), (1, 2)]
            .map(|(node, feeder)| {
                let (cell, stopped) = (&cell, &stopped);
                scope.spawn(move || feed(cell, node, feeder, stopped))
            })
            .into();
        let shards = wander(&mut client, db_id, 5);
        stopped.store(true, Ordering::Relaxed);
        let sent: Vec<u32> =
            feeders.into_iter().map(|feeder| feeder.join().expect("it feeds")).collect();
        let heard = hear(&mut client, sent.iter().sum());
        (shards, heard, sent)
    });

    assert_eq!(shards, BTreeSet::from([0, 1, 2]), "the session has been on every shard");
    for (feeder, sent) in (0_u32..).zip(sent) {
        let serials = heard.iter().filter(|(from, _)| *from == feeder).map(|(_, serial)| *serial);
        assert!(serials.eq(0..sent), "each message of feeder {feeder} came once, in order");
    }
}

#[test]
fn a_session_that_has_moved_leaves_nothing_behind() {
    let Some(cell) = Cell::healthy(Plan::nodes(2).shards(2)) else { return };
    if cell.is_stock() {
        return;
    }
    let mut watcher = connect(&cell, 0);
    let db_id = attach(&mut watcher);
    register(&mut watcher, GONE);
    for serial in 0_u64..40 {
        let mut client = connect(&cell, 0);
        let mut notify = GONE.to_le_bytes().to_vec();
        notify.extend(8_u32.to_le_bytes());
        notify.extend(serial.to_le_bytes());
        let (status, _) =
            client.control(control::REGISTER_NOTIFY, 0, &notify).expect("the daemon answers");
        assert_eq!(status, 0);
        register(&mut client, FED);
        // Some end in the middle of a move.
        for _ in 0..62 + serial % 6 {
            fetch(&mut client, db_id, "key");
        }
    }
    let mut gone = BTreeSet::new();
    watcher.limit_reads(Duration::from_secs(20));
    while gone.len() < 40 {
        let (srvid, data) = watcher.next_message().expect("every session says that it is gone");
        assert_eq!(srvid, GONE);
        gone.insert(u64::from_le_bytes(data.try_into().expect("eight bytes")));
    }
    // A message to those who are gone reaches nobody, and no client is left but this one.
    watcher.message(0, FED, b"anybody?").expect("the daemon listens");
    until("only the watcher is left", Duration::from_secs(5), || {
        watcher.control(control::PING, 0, b"").expect("the daemon answers").0 == 1
    });
}

/// Works on records of all shards, one after the other, and tells which shards served it.
fn wander(client: &mut Client, db_id: u32, rounds: u32) -> BTreeSet<u32> {
    let mut shards = BTreeSet::new();
    for round in 0..rounds {
        for key in 0..8 {
            for _ in 0..100 {
                fetch(client, db_id, &format!("key {key}"));
            }
            shards.insert(shard_of(client));
            // Registrations find their session wherever it is.
            let own = OWN + u64::from(round * 8 + key);
            register(client, own);
            client.message(0, own, b"to myself").expect("the daemon listens");
            let (status, _) =
                client.control(control::DEREGISTER_SRVID, own, b"").expect("the daemon answers");
            assert_eq!(status, 0, "the registration was known");
        }
    }
    shards
}

/// Sends numbered messages until it is told to stop; returns how many.
fn feed(cell: &Cell, node: u32, feeder: u32, stopped: &AtomicBool) -> u32 {
    let mut client = connect(cell, node);
    let mut serial = 0_u32;
    while !stopped.load(Ordering::Relaxed) {
        let mut data = feeder.to_le_bytes().to_vec();
        data.extend(serial.to_le_bytes());
        client.message(0, FED, &data).expect("the daemon listens");
        serial += 1;
        thread::sleep(Duration::from_micros(200));
    }
    serial
}

/// Feeder and serial of as many fed messages as were sent; its own come, too.
fn hear(client: &mut Client, count: u32) -> Vec<(u32, u32)> {
    client.limit_reads(Duration::from_secs(20));
    let mut heard = Vec::new();
    let mut own_count = 0;
    while heard.len() < count as usize || own_count < OWN_COUNT {
        let (srvid, data) = client.next_message().expect("no message is lost");
        if srvid == FED {
            let word =
                |at: usize| u32::from_le_bytes(data[at..at + 4].try_into().expect("two words"));
            heard.push((word(0), word(4)));
        } else {
            own_count += 1;
        }
    }
    assert_eq!(own_count, OWN_COUNT, "what it sent to itself has come, once");
    heard
}

fn connect(cell: &Cell, node: u32) -> Client {
    Client::connect(&cell.socket(node)).expect("the daemon listens")
}

fn attach(client: &mut Client) -> u32 {
    let (status, db_id) =
        client.control(control::DB_ATTACH, 0, b"moves.tdb\0").expect("the daemon answers");
    assert_eq!(status, 0);
    u32::from_le_bytes(db_id.try_into().expect("an id has four bytes"))
}

fn register(client: &mut Client, srvid: u64) {
    let (status, _) =
        client.control(control::REGISTER_SRVID, srvid, b"").expect("the daemon answers");
    assert_eq!(status, 0);
}

fn fetch(client: &mut Client, db_id: u32, key: &str) {
    const IMMEDIATE_MIGRATION: u32 = 1;
    const NULL_FUNC: u32 = 0xFF00_0001;
    client.call(db_id, IMMEDIATE_MIGRATION, NULL_FUNC, key.as_bytes()).expect("the daemon answers");
}

/// The shard that serves a session, which tells its own figures.
fn shard_of(client: &mut Client) -> u32 {
    const DUMP_MEMORY: u32 = 29;
    let (_, report) = client.control(DUMP_MEMORY, 0, b"").expect("the daemon answers");
    let report = String::from_utf8(report).expect("a report is text");
    let number = report.strip_prefix("shard ").and_then(|rest| rest.split(':').next());
    number.and_then(|number| number.parse().ok()).expect("the report begins with the shard")
}

const FED: u64 = 0xAE00_0000_0000_0001;
const GONE: u64 = 0xAE00_0000_0000_0002;
/// Messages of a wanderer to itself.
const OWN_COUNT: u32 = 40;
const OWN: u64 = 0xAE00_0001_0000_0000;
