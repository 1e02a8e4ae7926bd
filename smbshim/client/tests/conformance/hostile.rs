//! Packets that kill the original (client protocol §1.2): only for bateriad. Whoever sends them
//! may lose its connection; nobody else notices.

use crate::cluster::{Cluster, PATIENCE, conformance};
use bateria_client::{ClientFault, Connection};
use bateria_smbshim::header::Header;
use bateria_smbshim::{
    CallFlags, CallId, ControlFlags, ControlRequest, Packet, Padding, ReqCall, ReqMessage,
};
use bateria_wire::{DbId, Generation, Pnn, Srvid};

/// Sends bytes and looks whether sender and others are served. Returns whether the sender is.
fn survives(cluster: &Cluster, bytes: &[u8]) -> bool {
    let mut other = cluster.connect(0);
    let mut sender = cluster.connect(0);
    sender.set_timeout(Some(PATIENCE));
    let sent = sender.send_raw(bytes);
    let outcome = sent.and_then(|()| sender.get_pnn(Pnn::CURRENT));
    assert!(matches!(outcome, Ok(Pnn(0)) | Err(ClientFault::Closed)), "{outcome:?}");
    assert_eq!(other.get_pnn(Pnn::CURRENT).unwrap(), Pnn(0));
    assert_eq!(Connection::connect(cluster.socket(0)).unwrap().pnn(), Pnn(0));
    outcome.is_ok()
}

/// A packet with one of its length fields overwritten.
fn with_length(packet: &Packet<'_>, offset: usize, length: u32) -> Vec<u8> {
    let mut out = Vec::new();
    packet.encode(Padding::Aligned, &mut out);
    out[offset..offset + 4].copy_from_slice(&length.to_ne_bytes());
    out
}

const LENGTHS: [u32; 7] =
    [100, 0xFFFF, 0x7FFF_FFF0, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFE0, 0xFFFF_FFFF];

conformance! {
    fn lengths_that_reach_beyond_their_packet_end_one_connection_at_most(cluster: &Cluster) {
        if !cluster.is_bateria() {
            return;
        }
        let call = Packet::Call(ReqCall {
            header: Header::call(1),
            flags: CallFlags::IMMEDIATE_MIGRATION,
            db_id: DbId(1),
            call_id: CallId::NULL,
            hop_count: 0,
            key: b"key",
            data: b"",
        });
        let header =
            Header { generation: Generation(0), destnode: Pnn(0), srcnode: Pnn(0), reqid: 1 };
        let message = Packet::Message(ReqMessage { header, srvid: Srvid(1), data: b"x" });
        for length in LENGTHS {
            survives(cluster, &with_length(&call, 48, length));
            survives(cluster, &with_length(&call, 52, length));
            survives(cluster, &with_length(&message, 40, length));
            let mut control = Vec::new();
            let flags = ControlFlags::empty();
            let header = Header::control(Pnn::CURRENT, 1);
            ControlRequest::Ping.encode(header, flags, Padding::Aligned, &mut control);
            control[56..60].copy_from_slice(&length.to_ne_bytes());
            survives(cluster, &control);
        }
    }

    fn lengths_that_hide_the_next_packet_end_the_connection(cluster: &Cluster) {
        if !cluster.is_bateria() {
            return;
        }
        for length in [1_u32, 2, 3, 256 * 1024 * 1024 + 1, u32::MAX] {
            assert!(!survives(cluster, &length.to_ne_bytes().repeat(16)), "{length}");
        }
    }

    fn endless_garbage_is_not_read_for_ever(cluster: &Cluster) {
        if !cluster.is_bateria() {
            return;
        }
        let wrong_magic: Vec<u8> =
            [32_u32, 0xBAD, 1, 0, 0, 0, 0, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert!(survives(cluster, &wrong_magic.repeat(10)));
        assert!(!survives(cluster, &wrong_magic.repeat(10_000)));
    }

    fn payloads_that_lie_are_refused(cluster: &Cluster) {
        let mut connection = cluster.connect(0);
        if !cluster.is_bateria() {
            return;
        }
        for length in LENGTHS {
            for (opcode, payload) in [
                // One record that claims a length, in TRANS3_COMMIT.
                (119, vec![1, 1, length, 0, length, length]),
                // More records than there are.
                (119, vec![1, length]),
                // Keys of SCHEDULE_FOR_DELETION, PUSH_RECORD; names and data of others.
                (128, vec![1, 0, 0, 0, 0, 0, 0, 0, length]),
                (162, vec![1, 1, 0, 0, 0, 0, 0, 0, length, 0]),
                (49, vec![length]),
                (48, vec![1, length]),
                (114, vec![1, 1, length]),
                (156, vec![0, length]),
            ] {
                let data: Vec<u8> = payload.iter().flat_map(|word| word.to_ne_bytes()).collect();
                let status =
                    connection.raw_control(Pnn::CURRENT, opcode, &data, |reply| reply.status);
                assert!(status.unwrap() < 0, "{opcode} with {length}");
            }
        }
    }

    fn names_that_leave_their_folder_are_refused(cluster: &Cluster) {
        if !cluster.is_bateria() {
            return;
        }
        let mut connection = cluster.connect(0);
        for name in [
            &b"../escape.tdb\0"[..], b"a/b.tdb\0", b"\0", b"", b"no-nul.tdb", b"two\0nuls.tdb\0",
            &[b'x'; 300],
        ] {
            for opcode in [18, 61, 150] {
                let status =
                    connection.raw_control(Pnn::CURRENT, opcode, name, |reply| reply.status);
                assert_eq!(status.unwrap(), -1, "{}", name.escape_ascii());
            }
        }
    }
}
