//! Framing and malformed input (client protocol §1.2).

use crate::cluster::{Cluster, SILENCE, conformance};
use bateria_client::{ClientFault, Connection};
use bateria_smbshim::header::Header;
use bateria_smbshim::{ControlFlags, ControlRequest, Packet, Padding};
use bateria_wire::Pnn;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A GET_PNN as Samba sends it.
fn get_pnn(reqid: u32, padding: Padding) -> Vec<u8> {
    let mut out = Vec::new();
    let header = Header::control(Pnn::CURRENT, reqid);
    ControlRequest::GetPnn.encode(header, ControlFlags::empty(), padding, &mut out);
    out
}

fn raw(cluster: &Cluster) -> UnixStream {
    let socket = UnixStream::connect(cluster.socket(0)).expect("the daemon listens");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout can be set");
    socket
}

/// Reads one reply, checks its form, and returns its request id.
fn read_reply(socket: &mut UnixStream) -> u32 {
    let mut packet = [0; 48];
    socket.read_exact(&mut packet).expect("the daemon answers");
    match Packet::parse(&packet) {
        Ok(Packet::ReplyControl(reply)) => {
            assert_eq!((reply.header.destnode, reply.header.srcnode), (Pnn(0), Pnn(0)));
            assert_eq!((reply.status, reply.data), (0, &b""[..]));
            reply.header.reqid
        }
        other => panic!("no reply to a control: {other:?}"),
    }
}

fn assert_usable(connection: &mut Connection) {
    assert_eq!(connection.get_pnn(Pnn::CURRENT).expect("the connection is usable"), Pnn(0));
}

conformance! {
    fn a_packet_may_arrive_byte_by_byte(cluster: &Cluster) {
        let mut socket = raw(cluster);
        for byte in get_pnn(5, Padding::Exact) {
            socket.write_all(&[byte]).unwrap();
        }
        assert_eq!(read_reply(&mut socket), 5);
    }

    fn packets_may_be_split_anywhere(cluster: &Cluster) {
        let mut socket = raw(cluster);
        let two = [get_pnn(1, Padding::Exact), get_pnn(2, Padding::Aligned)].concat();
        for cut in 1..two.len() {
            socket.write_all(&two[..cut]).unwrap();
            socket.write_all(&two[cut..]).unwrap();
            assert_eq!((read_reply(&mut socket), read_reply(&mut socket)), (1, 2));
        }
    }

    fn several_packets_may_arrive_at_once(cluster: &Cluster) {
        let mut socket = raw(cluster);
        let many: Vec<u8> = (1..200).flat_map(|reqid| get_pnn(reqid, Padding::Exact)).collect();
        socket.write_all(&many).unwrap();
        for reqid in 1..200 {
            assert_eq!(read_reply(&mut socket), reqid);
        }
    }

    fn what_only_looks_wrong_is_dropped(cluster: &Cluster) {
        let mut connection = cluster.connect(0);
        for (offset, value) in [(4, 1_u32), (8, 2), (16, 6), (16, 77), (16, 2), (16, 9)] {
            let mut packet = get_pnn(9, Padding::Aligned);
            packet[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
            connection.send_raw(&packet).unwrap();
            assert_usable(&mut connection);
        }
    }

    fn a_packet_too_short_for_a_header_is_skipped(cluster: &Cluster) {
        let mut connection = cluster.connect(0);
        for length in [4_u8, 8, 16, 31] {
            let mut packet = vec![0xEE; usize::from(length)];
            packet[..4].copy_from_slice(&u32::from(length).to_ne_bytes());
            connection.send_raw(&packet).unwrap();
            assert_usable(&mut connection);
        }
    }

    fn a_length_of_nothing_closes(cluster: &Cluster) {
        let mut connection = cluster.connect(0);
        connection.send_raw(&[0; 64]).unwrap();
        let outcome = connection.recv_message(Some(Duration::from_secs(10)));
        assert!(matches!(outcome, Err(ClientFault::Closed)), "{outcome:?}");
    }

    fn a_client_that_goes_away_within_a_packet_disturbs_nobody(cluster: &Cluster) {
        for size in [1, 31, 33, 59] {
            raw(cluster).write_all(&get_pnn(1, Padding::Exact)[..size]).unwrap();
        }
        assert_usable(&mut cluster.connect(0));
    }

    fn a_client_that_does_not_read_disturbs_nobody(cluster: &Cluster) {
        let mut deaf = cluster.connect(0);
        let mut sender = cluster.connect(0);
        let srvid = bateria_client::connection::random_srvid();
        deaf.register_srvid(srvid).unwrap();
        let data = vec![7; 256 * 1024];
        for _ in 0..64 {
            sender.send_message(Pnn::CURRENT, srvid, &data).unwrap();
        }
        assert_usable(&mut sender);
        for _ in 0..64 {
            let message = deaf.recv_message(Some(Duration::from_secs(10))).unwrap();
            assert_eq!(message.expect("nothing is lost").data.len(), data.len());
        }
        assert_eq!(deaf.recv_message(Some(SILENCE)).unwrap(), None);
    }
}
