//! What one side writes, the other side reads.

use crate::parts::{Parts, parts};
use bateria_smbshim::header::Header;
use bateria_smbshim::{
    CallFlags, CallId, ControlFlags, ControlReply, ControlRequest, Layout, Marshall, Opcode,
    Packet, Padding, RecData, ReplyCall, ReplyError, ReqCall, ReqMessage, ReqTunnel, Tier,
    TunnelFlags,
};
use bateria_wire::{DbId, Generation, Pnn};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn header(parts: &Parts) -> Header {
    let [generation, destnode, srcnode, reqid] = parts.numbers;
    Header {
        generation: Generation(generation),
        destnode: Pnn(destnode),
        srcnode: Pnn(srcnode),
        reqid,
    }
}

fn padding(parts: &Parts) -> Padding {
    if parts.flag { Padding::Aligned } else { Padding::Exact }
}

fn check_packet(packet: &Packet<'_>, padding: Padding) {
    // Whatever stands in front of the packet in the buffer stays as it is.
    let mut out = b"odd".to_vec();
    packet.encode(padding, &mut out);
    assert_eq!(out[..3], *b"odd");
    assert!(padding == Padding::Exact || (out.len() - 3).is_multiple_of(8));
    assert_eq!(Packet::parse(&out[3..]).as_ref(), Ok(packet));
}

proptest! {
    #[test]
    fn packets_are_read_as_they_were_written(parts in parts()) {
        let (header, padding) = (header(&parts), padding(&parts));
        let (key, data) = (&parts.key[..], &parts.value[..]);
        let [status, db_id, call_id, flags] = parts.numbers;
        for packet in [
            Packet::Call(ReqCall {
                header,
                flags: CallFlags::from_bits_retain(flags),
                db_id: DbId(db_id),
                call_id: CallId(call_id),
                hop_count: status,
                key,
                data,
            }),
            Packet::ReplyCall(ReplyCall { header, status, data }),
            Packet::ReplyError(ReplyError { header, status, message: data }),
            Packet::Message(ReqMessage { header, srvid: parts.srvid, data }),
            Packet::Tunnel(ReqTunnel {
                header,
                tunnel_id: parts.srvid.0,
                flags: TunnelFlags::from_bits_retain(flags),
                data,
            }),
        ] {
            check_packet(&packet, padding);
        }
    }

    #[test]
    fn requests_are_read_as_they_were_written(parts in parts()) {
        let mut opcodes = BTreeSet::new();
        for request in parts.requests() {
            let mut out = Vec::new();
            request.encode(header(&parts), ControlFlags::empty(), padding(&parts), &mut out);
            let Ok(Packet::Control(control)) = Packet::parse(&out) else { panic!("no control") };
            assert_eq!(ControlRequest::decode(&control), Ok(request));
            opcodes.insert(request.opcode());
        }
        let served = Opcode::ALL.iter().filter(|opcode| opcode.tier() <= Tier::B);
        let served: BTreeSet<_> = served.copied().chain([Opcode::PushRecordStore]).collect();
        assert_eq!(opcodes, served);
    }

    #[test]
    fn replies_are_read_as_they_were_written(parts in parts()) {
        for (opcode, reply) in parts.replies() {
            let mut out = Vec::new();
            reply.encode(&header(&parts), &mut out);
            let Ok(Packet::ReplyControl(packet)) = Packet::parse(&out) else { panic!("no reply") };
            assert_eq!(ControlReply::decode(opcode, &packet), Ok(reply), "{opcode}");
        }
    }

    #[test]
    fn records_keep_their_order_in_a_buffer(parts in parts()) {
        let bytes = parts.records.clone().finish();
        let buffer = Marshall::from_bytes(&bytes).unwrap();
        assert_eq!(buffer, parts.records.view());
        let mut again = Vec::new();
        for record in buffer.records() {
            record.encode(&mut again);
        }
        assert_eq!(again, bytes[8..]);
    }

    #[test]
    fn a_record_in_parts_is_the_record(parts in parts(), cut in 0..80_usize) {
        let cut = cut.min(parts.value.len());
        let (mut whole, mut in_parts) = (Vec::new(), Vec::new());
        let reqid = parts.numbers[0];
        RecData { reqid, key: &parts.key, data: &parts.value }.encode(&mut whole);
        let data = [&parts.value[..cut], &parts.value[cut..]];
        RecData::encode_parts(reqid, &parts.key, &data, &mut in_parts);
        assert_eq!(whole, in_parts);
    }
}
