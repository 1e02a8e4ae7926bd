//! Bytes from outside on the client socket: whatever comes, it is answered with an error or its connection is closed;
//! everyone else goes on and memory stays bounded (client protocol §1.2, §13).

use std::time::Duration;

use crate::harness::{Cell, Client, Plan, control, control_packet, packet, until};
use crate::witness::{Witness, garbage, is_end};

/// Packets whose header or inner lengths are wrong, each for a connection of its own.
#[test]
fn packets_that_lie_about_their_length_disturb_nobody() {
    let Some(cell) = Cell::healthy(Plan::nodes(2)) else { return };
    // Stock 4.17.12 dies of some of these (client protocol §1.2).
    let lying_about_2_gib = if cell.is_stock() { vec![] } else { lengths_near_the_end() };
    let mut witness = Witness::new(&cell);

    for bytes in truncated().into_iter().chain(short_lengths()).chain(lying_about_2_gib) {
        let mut client = Client::connect(&cell.socket(0)).expect("the daemon listens");
        // A daemon may close before all is sent.
        let _ = client.send(&bytes);
        witness.is_undisturbed();
    }
}

#[test]
fn packets_of_another_kind_leave_the_connection_usable_or_close_it() {
    let Some(cell) = Cell::healthy(Plan::nodes(2)) else { return };
    let mut witness = Witness::new(&cell);

    for bytes in foreign() {
        let mut client = Client::connect(&cell.socket(0)).expect("the daemon listens");
        client.send(&bytes).expect("the daemon reads");
        // Both are right; silence is not.
        match client.control(control::GET_PNN, 0, b"") {
            Ok((pnn, _)) => assert_eq!(pnn, 0),
            Err(fault) => assert!(is_end(fault), "no answer after {bytes:?}"),
        }
        witness.is_undisturbed();
    }
}

#[test]
fn garbage_on_the_socket_disturbs_nobody() {
    let Some(cell) = Cell::healthy(Plan::nodes(2)) else { return };
    if cell.is_stock() {
        return;
    }
    let mut witness = Witness::new(&cell);

    for seed in 1..=40 {
        let mut client = Client::connect(&cell.socket(0)).expect("the daemon listens");
        let _ = client.send(&garbage(seed, 200_000));
        let mut behind_a_header =
            packet(u32::try_from(seed % 12).expect("small"), 0, 1, &garbage(seed, 4000));
        behind_a_header.truncate(4000);
        let mut client = Client::connect(&cell.socket(0)).expect("the daemon listens");
        let _ = client.send(&behind_a_header);
        witness.is_undisturbed();
    }
}

#[test]
fn unknown_and_misshapen_requests_get_an_error() {
    let Some(cell) = Cell::healthy(Plan::nodes(2)) else { return };
    let mut witness = Witness::new(&cell);
    let mut client = Client::connect(&cell.socket(0)).expect("the daemon listens");
    let mut refused = |opcode, data: &[u8]| {
        let (status, data) = client.control(opcode, 0, data).expect("an error is an answer");
        assert!(status != 0 && data.is_empty(), "control {opcode}: status {status}");
    };

    refused(9999, b"");
    refused(u32::MAX, b"");
    refused(control::GETDBPATH, b"");
    refused(control::GETDBPATH, &[0xEE; 4]);
    refused(control::GETDBPATH, &[0xEE; 5]);
    refused(control::DB_OPEN_FLAGS, &[0xEE; 4]);
    refused(TRAVERSE_START, b"too short");
    refused(TRAVERSE_START, &[0xEE; 16]);
    refused(TRANS3_COMMIT, b"");
    refused(TRANS3_COMMIT, &[0xFF; 40]);
    refused(SET_TUNABLE, &[0xFF; 12]);
    witness.is_undisturbed();

    if !cell.is_stock() {
        for name in [&b"../out.tdb\0"[..], b"a/b.tdb\0", b"\0", b"..\0"] {
            let (status, _) =
                client.control(control::DB_ATTACH, 0, name).expect("an error is an answer");
            assert_ne!(status, 0, "attach {:?}", String::from_utf8_lossy(name));
        }
        let (status, data) =
            client.call(0xEEEE_EEEE, 1, NULL_FUNC, b"key").expect("stock would be silent");
        assert!(status != 0 || data.is_empty(), "a call for a database that does not exist");
    }
    witness.is_undisturbed();
}

#[test]
fn a_client_that_never_reads_stays_bounded() {
    let Some(cell) = Cell::healthy(Plan::nodes(1)) else { return };
    if cell.is_stock() {
        return;
    }
    let mut witness = Witness::new(&cell);
    let mut flood = Vec::new();
    for reqid in 1..=1000 {
        flood.extend(control_packet(reqid, LIST_TUNABLES, 0, b""));
    }

    let mut client = Client::connect(&cell.socket(0)).expect("the daemon listens");
    client.limit_writes(Duration::from_millis(500));
    // Each answer is twenty times its question: a daemon that queued them all would need gigabytes.
    for _ in 0..2000 {
        if client.send(&flood).is_err() {
            break;
        }
    }

    witness.is_undisturbed();
}

#[test]
fn unfinished_packets_of_all_clients_together_have_a_bound() {
    let Some(cell) = Cell::healthy(Plan::nodes(1)) else { return };
    if cell.is_stock() {
        return;
    }
    let mut neighbour = Client::connect(&cell.socket(0)).expect("the daemon listens");
    let mut start = control_packet(1, control::GET_PNN, 0, b"");
    start[..4].copy_from_slice(&ANNOUNCED_BYTES.to_le_bytes());
    let piece = vec![0; 1 << 20];

    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = Client::connect(&cell.socket(0)).expect("the daemon listens");
        let sent =
            client.send(&start).and_then(|()| (0..120).try_for_each(|_| client.send(&piece)));
        clients.push((client, sent.is_ok()));
        let (pnn, _) = neighbour.control(control::GET_PNN, 0, b"").expect("the daemon answers");
        assert_eq!(pnn, 0);
    }

    assert!(clients.iter().any(|(_, sent)| *sent), "the first ones may");
    assert!(clients.iter().any(|(_, sent)| !*sent), "the last ones may not");
    let held = cell.daemon_rss_bytes(0);
    assert!(held < 768 << 20, "{held} bytes");
    cell.wait_logged(0, "too much is unfinished");
    drop(clients);
    until("the memory is free again", Duration::from_secs(10), || {
        cell.daemon_rss_bytes(0) < 256 << 20
    });
}

#[test]
fn half_a_packet_holds_up_nobody() {
    let Some(cell) = Cell::healthy(Plan::nodes(1)) else { return };
    let mut witness = Witness::new(&cell);

    let mut halves = Vec::new();
    for size in [1, 4, 31, 33, 59] {
        let mut client = Client::connect(&cell.socket(0)).expect("the daemon listens");
        client
            .send(&control_packet(1, control::GET_PNN, 0, b"")[..size])
            .expect("the daemon reads");
        halves.push((client, size));
        witness.is_undisturbed();
    }
    // The other half still completes the packet.
    for (mut client, size) in halves {
        client
            .send(&control_packet(1, control::GET_PNN, 0, b"")[size..])
            .expect("the daemon reads");
        assert_eq!(client.recv().expect("an answer").word(32), 0, "half of {size} bytes");
    }
}

fn truncated() -> Vec<Vec<u8>> {
    let whole = control_packet(1, control::GET_PNN, 0, b"");
    [1, 3, 4, 16, 31, 32, 40, 59].map(|size| whole[..size].to_vec()).to_vec()
}

fn short_lengths() -> Vec<Vec<u8>> {
    [0_u32, 1, 3, 4, 8, 31]
        .map(|length| {
            let mut bytes = control_packet(1, control::GET_PNN, 0, b"");
            bytes[..4].copy_from_slice(&length.to_le_bytes());
            bytes
        })
        .to_vec()
}

/// Lengths of the packet, and of what is in it, near 2^31 and 2^32.
fn lengths_near_the_end() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for length in [0x4000_0000_u32, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFF0, u32::MAX] {
        let mut bytes = control_packet(1, control::GET_PNN, 0, b"");
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        all.push(bytes);
        // Offsets of datalen in a control, keylen and calldatalen in a call, datalen in a message.
        for (operation, offset) in [(7, 56), (0, 48), (0, 52), (5, 40), (10, 44)] {
            let mut bytes = packet(operation, 0, 1, &[0; 64]);
            bytes[offset..offset + 4].copy_from_slice(&length.to_le_bytes());
            all.push(bytes);
        }
    }
    all
}

/// Wrong magic, wrong version, operations that no client may send.
fn foreign() -> Vec<Vec<u8>> {
    let right = control_packet(1, control::GET_PNN, 0, b"");
    let mut all = Vec::new();
    for offset in [4, 8] {
        let mut bytes = right.clone();
        bytes[offset] ^= 0xFF;
        all.push(bytes);
    }
    all.extend(
        [1, 2, 3, 4, 6, 8, 9, 11, 99, u32::MAX].map(|operation| packet(operation, 0, 1, &[0; 64])),
    );
    all
}

const TRAVERSE_START: u32 = 20;
const SET_TUNABLE: u32 = 48;
const LIST_TUNABLES: u32 = 50;
const TRANS3_COMMIT: u32 = 119;
const NULL_FUNC: u32 = 0xFF00_0001;

/// A length that one packet may have.
const ANNOUNCED_BYTES: u32 = 250 << 20;
