//! Bytes from outside: whatever they are, nothing panics and nothing is misread as longer than it
//! is.

use crate::parts::parts;
use bateria_smbshim::header::Header;
use bateria_smbshim::{
    ControlFlags, ControlReply, ControlRequest, Layout, Marshall, Opcode, Packet, Padding, RecData,
    ReplyControl, ReqControl, framer,
};
use bateria_wire::{Pnn, Srvid};
use proptest::collection::vec;
use proptest::prelude::*;

/// Reads a packet as deeply as daemon and client do.
fn read_deeply(bytes: &[u8]) {
    match Packet::parse(bytes) {
        Ok(Packet::Control(control)) => {
            let _ = ControlRequest::decode(&control);
        }
        Ok(Packet::ReplyControl(reply)) => {
            for opcode in Opcode::ALL {
                let _ = ControlReply::decode(*opcode, &reply);
            }
        }
        Ok(Packet::Message(message)) => {
            let _ = RecData::from_bytes(message.data).map(|record| record.split());
            let _ = Marshall::from_bytes(message.data).map(|buffer| buffer.records().count());
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn arbitrary_streams_are_cut_or_refused(bytes in vec(any::<u8>(), 0..200)) {
        let mut received = &bytes[..];
        while let Ok(Some(packet)) = framer::next_packet(&mut received) {
            read_deeply(packet);
        }
    }

    #[test]
    fn arbitrary_bodies_are_read_or_refused(
        operation in 0..12_u32,
        body in vec(any::<u8>(), 0..200),
    ) {
        let mut packet = Vec::new();
        let length = u32::try_from(32 + body.len()).unwrap();
        for word in [length, 0x4354_4442, 1, 0, operation, 0, 0, 1] {
            packet.extend_from_slice(&word.to_ne_bytes());
        }
        packet.extend_from_slice(&body);
        read_deeply(&packet);
    }

    #[test]
    fn arbitrary_payloads_are_read_or_refused(
        data in vec(prop_oneof![3 => Just(0_u8), 2 => any::<u8>(), 1 => Just(0xFF)], 0..100),
    ) {
        let header = Header::control(Pnn::CURRENT, 1);
        for opcode in 0..170 {
            let (srvid, flags) = (Srvid(0), ControlFlags::empty());
            let control = ReqControl { header, opcode, srvid, client_id: 0, flags, data: &data };
            let _ = ControlRequest::decode(&control);
        }
        let reply = ReplyControl { header, status: 0, data: &data, error: b"" };
        for opcode in Opcode::ALL {
            let _ = ControlReply::decode(*opcode, &reply);
        }
    }

    #[test]
    fn damaged_requests_are_read_or_refused(
        parts in parts(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        for request in parts.requests() {
            let mut out = Vec::new();
            let header = Header::control(Pnn::CURRENT, 1);
            request.encode(header, ControlFlags::empty(), Padding::Exact, &mut out);
            let at = at.index(out.len());
            out[at] = byte;
            read_deeply(&out);
            out.truncate(at);
            assert!(Packet::parse(&out).is_err());
        }
    }

    #[test]
    fn a_buffer_that_is_read_fills_its_bytes_exactly(
        bytes in vec(prop_oneof![4 => Just(0_u8), 1 => 0..40_u8], 0..120),
    ) {
        if let Ok(buffer) = Marshall::from_bytes(&bytes) {
            let size: usize =
                buffer.records().map(|record| 16 + record.key.len() + record.data.len()).sum();
            assert_eq!(8 + size, bytes.len());
        }
    }
}
