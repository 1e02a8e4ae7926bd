//! Bytes on the node port: garbage, silence, and sound frames of another time from somebody who poses as a node.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use bateria_wire::frame::{self, Frame, Scratch};
use bateria_wire::head::{
    ArchivedHead, Head, Hello, LANE_CONTROL, PersistentHead, PersistentOp, RecordHead, RecordOp,
    RelayHead, ReportHead, ReportOp, TraverseHead, TraverseOp,
};
use bateria_wire::{Generation, Pnn};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use crate::failures::is_recovered;
use crate::harness::{Cell, Plan, until};
use crate::witness::{Witness, garbage, is_end};

#[test]
fn garbage_from_a_peer_address_disturbs_nobody() {
    let Some(cell) = Cell::healthy(Plan::nodes(3)) else { return };
    if cell.is_stock() {
        return;
    }
    cell.enter_network();
    let mut witness = Witness::new(&cell);

    for seed in 1..=20 {
        // Node 2's address, and one that is no node's.
        for source in [Ipv4Addr::new(127, 0, 0, 3), Ipv4Addr::new(127, 0, 0, 77)] {
            let mut link = connect_from(source, 0).expect("the node port listens");
            let _ = link.write_all(&garbage(seed, 300_000));
            assert!(is_closed(&mut link), "a link with garbage on it is closed");
        }
        witness.is_undisturbed();
    }
    for length in [0, 1, 31, 0x7FFF_FFFF, u32::MAX] {
        let mut link = connect_from(Ipv4Addr::new(127, 0, 0, 3), 0).expect("the node port listens");
        let _ = link.write_all(&length.to_le_bytes().repeat(64));
        assert!(is_closed(&mut link), "a link that promises {length} bytes is closed");
    }
    witness.is_undisturbed();
    assert!(
        cell.ctdb(0, &["status"]).text().matches(" OK").count() == 3,
        "all nodes stayed members"
    );
}

#[test]
fn silent_links_to_the_node_port_are_bounded() {
    let Some(cell) = Cell::healthy(Plan::nodes(2)) else { return };
    if cell.is_stock() {
        return;
    }
    cell.enter_network();
    let mut witness = Witness::new(&cell);

    let links: Vec<_> =
        (0..500).map_while(|_| connect_from(Ipv4Addr::new(127, 0, 0, 2), 0).ok()).collect();
    witness.is_undisturbed();

    drop(links);
    witness.is_undisturbed();
}

/// Such links must not use up the places of nodes that want to come back.
#[test]
fn links_from_an_address_that_is_no_nodes_are_closed_at_once() {
    let Some(cell) = Cell::healthy(Plan::nodes(2)) else { return };
    if cell.is_stock() {
        return;
    }
    cell.enter_network();

    let mut links: Vec<_> =
        (0..300).map_while(|_| connect_from(Ipv4Addr::new(127, 0, 0, 77), 0).ok()).collect();
    cell.stop(1);
    cell.start(1);
    cell.wait_healthy();

    assert!(links.iter_mut().all(is_closed));
    cell.wait_logged(0, "127.0.0.77 is no node's address");
}

/// A sound greeting in the name of a node, from another node's address.
#[test]
fn nobody_poses_as_a_node_from_elsewhere() {
    let Some(cell) = Cell::healthy(Plan::nodes(3)) else { return };
    if cell.is_stock() {
        return;
    }
    cell.enter_network();
    cell.kill(2);
    let hello = Hello { pnn: 2, target: 0, incarnation: 77, ..greeting_of_node_0() };

    let mut link = connect_from(Ipv4Addr::new(127, 0, 0, 2), 0).expect("the node port listens");
    let _ = link.write_all(&encoded(Generation::INVALID, &Head::Hello(hello), &[]));

    assert!(is_closed(&mut link));
    cell.wait_logged(0, "it poses as node 2, but comes from 127.0.0.2");
}

#[test]
fn frames_of_another_generation_change_nothing() {
    let Some(cell) = Cell::healthy(Plan::nodes(3)) else { return };
    if cell.is_stock() {
        return;
    }
    cell.enter_network();
    cell.ctdb(0, &["attach", "vol.tdb"]).text();
    cell.ctdb(0, &["attach", "per.tdb", "persistent"]).text();
    cell.ctdb(0, &["writekey", "vol.tdb", KEY, "right"]).text();
    cell.ctdb(0, &["pstore", "per.tdb", KEY, "right"]).text();
    let before = generation(&cell);
    cell.kill(2);
    until("the survivors have recovered", Duration::from_secs(10), || {
        [0, 1].iter().all(|&node| is_recovered(&cell, node, 2))
    });
    let rss_bytes = cell.daemon_rss_bytes(0);
    let ids: Vec<u32> = ["vol.tdb", "per.tdb"].map(|name| db_id(&cell, name)).to_vec();
    let greeting = greeting_of_node_0();

    // In the name of the dead node, from its address: its own old generation, none, and ones that never were.
    for generation in [before, 0, 1, before.wrapping_add(0x1000_0000), u32::MAX] {
        for lane in [0, 1, LANE_CONTROL, 999] {
            let mut link =
                connect_from(Ipv4Addr::new(127, 0, 0, 3), 0).expect("the node port listens");
            let hello = Hello {
                pnn: 2,
                target: 0,
                lane,
                incarnation: u64::from(generation) + 77,
                ..greeting
            };
            let mut bytes = encoded(Generation::INVALID, &Head::Hello(hello), &[]);
            for head in stale_heads(&ids) {
                bytes.extend(encoded(Generation(generation), &head, &[KEY.as_bytes(), b"wrong"]));
            }
            let _ = link.write_all(&bytes);
            let _ = link.set_read_timeout(Some(Duration::from_millis(100)));
            is_closed(&mut link);
        }
    }

    until("the survivors are whole", Duration::from_secs(10), || {
        [0, 1].iter().all(|&node| is_recovered(&cell, node, 2))
    });
    for node in [1, 0] {
        assert_eq!(
            cell.ctdb(node, &["readkey", "vol.tdb", KEY]).text(),
            "Data: size:5 ptr:[right]\n"
        );
        assert_eq!(cell.ctdb(node, &["pfetch", "per.tdb", KEY]).text(), "right\n");
    }
    let grown_bytes = cell.daemon_rss_bytes(0).saturating_sub(rss_bytes);
    assert!(grown_bytes < 64 << 20, "memory grew by {grown_bytes} bytes");

    // The true node 2 is still welcome.
    cell.start(2);
    cell.wait_healthy();
    assert_eq!(cell.ctdb(2, &["readkey", "vol.tdb", KEY]).text(), "Data: size:5 ptr:[right]\n");
    assert_eq!(cell.ctdb(2, &["pfetch", "per.tdb", KEY]).text(), "right\n");
    cell.check_files();
}

/// What a node of another generation might still have to say about the databases.
fn stale_heads(db_ids: &[u32]) -> Vec<Head> {
    let key_len = u32::try_from(KEY.len()).expect("short");
    let mut heads = Vec::new();
    for &db in db_ids {
        let record = |op| Head::Record(RecordHead { db, key_len, op });
        heads.extend([
            record(RecordOp::Record { rsn: u64::MAX, flags: 0 }),
            record(RecordOp::Record { rsn: 1000, flags: 0 }),
            record(RecordOp::Adopt { rsn: u64::MAX }),
            record(RecordOp::Grant),
            record(RecordOp::Absent),
            record(RecordOp::Want { only_read: false }),
            record(RecordOp::Recall { to: 2 }),
            record(RecordOp::Bury { rsn: u64::MAX }),
            record(RecordOp::Forget { rsn: u64::MAX }),
            record(RecordOp::PurgeLast { rsn: u64::MAX }),
            Head::Report(ReportHead { db, op: ReportOp::Entries }),
            Head::Report(ReportHead {
                db,
                op: ReportOp::End { lane: 0, lanes_count: 1, chains_count: 0 },
            }),
            Head::Persistent(PersistentHead { db, op: PersistentOp::Update { transaction: 1 } }),
            Head::Persistent(PersistentHead {
                db,
                op: PersistentOp::Fill { part: 0, last: true, updated_in: u32::MAX },
            }),
            Head::Traverse(TraverseHead {
                db,
                walk: 1,
                op: TraverseOp::Start { with_empty: true, window: 8 },
            }),
            Head::Traverse(TraverseHead { db, walk: 1, op: TraverseOp::Records { lane: 0 } }),
            Head::Relay(RelayHead::SequenceChanged { db }),
        ]);
    }
    heads
}

/// What node 0 says when it tries to reach the dead node 2, whose place we have taken.
fn greeting_of_node_0() -> Hello {
    let listener =
        TcpListener::bind((Ipv4Addr::new(127, 0, 0, 3), NODE_PORT)).expect("the port is free");
    loop {
        let (mut link, source) = listener.accept().expect("a node tries to reach the dead one");
        if source.ip() != Ipv4Addr::LOCALHOST {
            continue;
        }
        // Frames are read in place, at multiples of 16.
        let mut buffer = vec![0; 1024 + frame::FRAME_ALIGN_BYTES];
        let start = buffer.as_ptr().align_offset(frame::FRAME_ALIGN_BYTES);
        link.read_exact(&mut buffer[start..start + frame::HEADER_SIZE_BYTES]).expect("a greeting");
        let size = frame::frame_length(&buffer[start..start + frame::HEADER_SIZE_BYTES])
            .expect("a frame of ours")
            .expect("a whole header");
        link.read_exact(&mut buffer[start + frame::HEADER_SIZE_BYTES..start + size])
            .expect("a greeting");
        let frame = Frame::parse(&buffer[start..start + size]).expect("a frame of ours");
        let ArchivedHead::Hello(hello) = frame.head else {
            panic!("the first frame is a greeting")
        };
        return Hello {
            pnn: hello.pnn.to_native(),
            target: hello.target.to_native(),
            incarnation: hello.incarnation.to_native(),
            lane: hello.lane.to_native(),
            lanes_count: hello.lanes_count.to_native(),
            version_min: hello.version_min.to_native(),
            version_max: hello.version_max.to_native(),
            nodes_crc32c: hello.nodes_crc32c.to_native(),
        };
    }
}

fn encoded(generation: Generation, head: &Head, bulk: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::encode(&mut bytes, &mut Scratch::new(), generation, Pnn(2), head, bulk);
    bytes
}

fn generation(cell: &Cell) -> u32 {
    let status = cell.ctdb(0, &["status"]).text();
    let line =
        status.lines().find_map(|line| line.strip_prefix("Generation:")).expect("status says it");
    line.parse().expect("a number")
}

fn db_id(cell: &Cell, name: &str) -> u32 {
    let status = cell.ctdb(0, &["getdbstatus", name]).text();
    let line =
        status.lines().find_map(|line| line.strip_prefix("dbid: 0x")).expect("the status says it");
    u32::from_str_radix(line, 16).expect("a hexadecimal number")
}

/// A connection to a node's port whose other end claims to be `source`.
fn connect_from(source: Ipv4Addr, node: u8) -> io::Result<TcpStream> {
    let descriptor = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&descriptor, &SocketAddr::from((source, 0)))?;
    connect(&descriptor, &SocketAddr::from((Ipv4Addr::new(127, 0, 0, node + 1), NODE_PORT)))?;
    let stream = TcpStream::from(descriptor);
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}

fn is_closed(link: &mut TcpStream) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match link.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(fault) => return is_end(fault),
        }
    }
}

const NODE_PORT: u16 = 4379;
const KEY: &str = "key";
