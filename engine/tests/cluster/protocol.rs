//! Messages, notifications and answers for other nodes, packet by packet (client protocol §3.1, §8, §9.9).

use std::time::Duration;

use crate::harness::{Cell, Client, Plan, control};

/// Srvids from 0xAE00… on are for tests.
const SRVID: u64 = 0xAE00_0000_0000_0042;
const BROADCAST_ALL: u32 = 0xF000_0002;
const BROADCAST_CONNECTED: u32 = 0xF000_0004;
const UNKNOWN_PNN: u32 = 0xFFFF_FFFF;
const MULTICAST: u32 = 0xF000_0005;

#[test]
fn messages_between_nodes_keep_their_order() {
    let Some(cell) = Cell::healthy(Plan::nodes(2)) else { return };
    let mut sender = client(&cell, 0);
    let mut receivers = [client(&cell, 0), client(&cell, 1)];
    for receiver in &mut receivers {
        register(receiver, SRVID);
    }

    for serial in 0..COUNT {
        // Small and large ones: they must not overtake each other.
        let size = if serial % 50 == 0 { 100_000 } else { 16 };
        let mut data = serial.to_le_bytes().to_vec();
        data.resize(size, 0xA5);
        for node in cell.nodes() {
            sender.message(node, SRVID, &data).expect("the daemon reads");
        }
        // The daemons may drop what nobody reads: read now and then.
        if serial % 100 == 99 {
            for receiver in &mut receivers {
                for expected in serial - 99..=serial {
                    let (srvid, data) = receiver.next_message().expect("a message");
                    let got = u32::from_le_bytes(*data.first_chunk().expect("it has a number"));
                    assert_eq!((srvid, got), (SRVID, expected));
                }
            }
        }
    }
}

#[test]
fn broadcasts_reach_every_registration_and_the_sender() {
    let Some(cell) = Cell::healthy(Plan::nodes(3)) else { return };
    let mut clients: Vec<Client> = cell.nodes().map(|node| client(&cell, node)).collect();
    for client in &mut clients {
        register(client, SRVID);
    }
    // A second registration gets a second copy.
    register(&mut clients[1], SRVID);

    for destination in [BROADCAST_ALL, BROADCAST_CONNECTED] {
        clients[0].message(destination, SRVID, b"to all").expect("the daemon reads");
        for (client, copies) in clients.iter_mut().zip([1, 2, 1]) {
            for _ in 0..copies {
                assert_eq!(client.next_message().expect("a message"), (SRVID, b"to all".to_vec()));
            }
        }
    }
    for client in &mut clients {
        client.limit_reads(Duration::from_millis(300));
        assert!(client.next_message().is_err(), "nobody gets a copy too many");
    }
}

/// No Samba calls for them, since it reads its own file; a client that does must not wait for ever.
#[test]
fn calls_for_records_of_persistent_databases_are_answered_from_the_local_copy() {
    let Some(cell) = Cell::healthy(Plan::nodes(2)) else { return };
    if cell.is_stock() {
        return;
    }
    cell.ctdb(0, &["attach", "per.tdb", "persistent"]).text();
    cell.ctdb(0, &["pstore", "per.tdb", "key", "value"]).text();
    let mut client = client(&cell, 1);
    let (_, id) = client.control(control::DB_ATTACH, 0, b"per.tdb\0").expect("an answer");
    let id = u32::from_le_bytes(*id.first_chunk().expect("the id"));

    let mut asked = |function, key| client.call(id, 0, function, key).expect("an answer");
    assert_eq!(asked(CALL_NULL, b"key"), (0, Vec::new()));
    assert_eq!(asked(CALL_FETCH, b"key"), (0, b"value".to_vec()));
    assert_eq!(asked(CALL_NULL, b"none"), (0, Vec::new()));
    assert_eq!(asked(CALL_FETCH, b"none"), (0, Vec::new()));
    assert_eq!(asked(CALL_FETCH_WITH_HEADER, b"none").1.len(), 24);
}

#[test]
fn a_sound_database_can_be_called_healthy_and_vacuumed() {
    let Some(cell) = Cell::healthy(Plan::nodes(1)) else { return };
    let mut client = client(&cell, 0);
    let (_, id) = client.control(control::DB_ATTACH, 0, b"vol.tdb\0").expect("an answer");

    let mut status = |opcode, data: &[u8]| client.control(opcode, 0, data).expect("an answer").0;
    assert_eq!(status(DB_SET_HEALTHY, &id), 0);
    assert_eq!(status(DB_SET_HEALTHY, &[0xEE; 4]), -1);
    assert_eq!(status(DB_VACUUM, &[&id[..], &[1]].concat()), 0);
    assert_eq!(status(DB_VACUUM, &[0xEE; 5]), -1);
}

const CALL_NULL: u32 = 0xFF00_0001;
const CALL_FETCH: u32 = 0xFF00_0002;
const CALL_FETCH_WITH_HEADER: u32 = 0xFF00_0003;
const DB_SET_HEALTHY: u32 = 121;
const DB_VACUUM: u32 = 155;

#[test]
fn a_deregistered_srvid_gets_nothing() {
    let Some(cell) = Cell::healthy(Plan::nodes(2)) else { return };
    let mut receiver = client(&cell, 1);
    register(&mut receiver, SRVID);
    register(&mut receiver, SRVID + 1);

    let (status, _) = receiver.control(control::DEREGISTER_SRVID, SRVID, b"").expect("an answer");
    assert_eq!(status, 0);
    let (status, _) = receiver.control(control::DEREGISTER_SRVID, SRVID, b"").expect("an answer");
    assert_eq!(status, 2, "it is not registered any more");

    let mut sender = client(&cell, 0);
    sender.message(1, SRVID, b"for nobody").expect("the daemon reads");
    sender.message(1, SRVID + 1, b"for the other").expect("the daemon reads");
    assert_eq!(receiver.next_message().expect("a message"), (SRVID + 1, b"for the other".to_vec()));
}

#[test]
fn a_notification_is_sent_when_its_client_has_gone() {
    let Some(cell) = Cell::healthy(Plan::nodes(3)) else { return };
    let mut listeners: Vec<Client> = cell.nodes().map(|node| client(&cell, node)).collect();
    for listener in &mut listeners {
        register(listener, SRVID);
    }
    let mut leaving = client(&cell, 0);
    let mut data = SRVID.to_le_bytes().to_vec();
    data.extend(4_u32.to_le_bytes());
    data.extend(b"gone");
    let (status, _) = leaving.control(control::REGISTER_NOTIFY, 0, &data).expect("an answer");
    assert_eq!(status, 0);

    drop(leaving);

    for listener in &mut listeners {
        assert_eq!(listener.next_message().expect("a message"), (SRVID, b"gone".to_vec()));
    }
}

#[test]
fn a_question_to_a_node_that_is_not_there_is_answered() {
    let Some(cell) = Cell::healthy(Plan::nodes(2)) else { return };
    let mut client = client(&cell, 0);

    // smbd asks so about owners of durable handles that are disconnected: it must not wait for ever.
    for node in [2, 77, UNKNOWN_PNN, MULTICAST] {
        for opcode in [control::PROCESS_EXISTS, control::PING] {
            let data: &[u8] = if opcode == control::PROCESS_EXISTS { &[0xFF; 4] } else { b"" };
            let (status, data) = client.control_to(node, opcode, data).expect("an answer");
            assert_eq!(
                (status, data.as_slice()),
                (-1, &b""[..]),
                "control {opcode} to node {node:x}"
            );
        }
    }
}

#[test]
fn a_process_exists_as_long_as_its_connection() {
    let Some(cell) = Cell::healthy(Plan::nodes(2)) else { return };
    // A client in the cell, whose process number the daemon can see.
    let connect = "import socket,sys,os; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); \
                   print(os.getpid(), flush=True); sys.stdin.read()";
    let socket = cell.socket(1).display().to_string();
    let process = cell.spawn(1, "/usr/bin/python3", &["-c", connect, &socket]);
    let pid = process.line(Duration::from_secs(10), |line| !line.is_empty());

    for node in cell.nodes() {
        let answer = cell.ctdb(node, &["-n", "1", "process-exists", &pid]);
        assert_eq!(answer.text(), format!("PID {pid} exists\n"), "asked at node {node}");
    }
    assert!(process.finish(Duration::from_secs(10)).success());
    let answer = cell.ctdb(0, &["-n", "1", "process-exists", &pid]);
    assert_eq!(
        (answer.code(), answer.stdout.as_str()),
        (1, format!("PID {pid} does not exist\n").as_str())
    );
}

fn client(cell: &Cell, node: u32) -> Client {
    Client::connect(&cell.socket(node)).expect("the daemon listens")
}

fn register(client: &mut Client, srvid: u64) {
    let (status, _) = client.control(control::REGISTER_SRVID, srvid, b"").expect("an answer");
    assert_eq!(status, 0);
}

/// Messages of the test of order.
const COUNT: u32 = 1000;
