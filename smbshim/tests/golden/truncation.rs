//! Packets that end too early: a fault, never a panic, never a wrong meaning.

use crate::vectors::all;
use bateria_smbshim::{ControlReply, ControlRequest, Opcode, Packet, ReqControl, framer};

#[test]
fn a_packet_is_not_found_before_its_last_byte() {
    for vector in all() {
        for size in 0..vector.bytes.len() {
            let mut received = &vector.bytes[..size];
            assert_eq!(framer::next_packet(&mut received), Ok(None), "{} at {size}", vector.name);
            assert!(Packet::parse(&vector.bytes[..size]).is_err(), "{} at {size}", vector.name);
        }
    }
}

#[test]
fn a_packet_cut_behind_a_matching_length_is_a_fault_unless_padding_was_cut() {
    for vector in all().into_iter().filter(|vector| vector.is_whole) {
        let whole = Packet::parse(&vector.bytes).unwrap();
        for size in 4..vector.bytes.len() {
            let mut cut = vector.bytes[..size].to_vec();
            cut[..4].copy_from_slice(&u32::try_from(size).unwrap().to_le_bytes());
            if let Ok(packet) = Packet::parse(&cut) {
                assert_eq!(packet, whole, "{} at {size}", vector.name);
                assert!(vector.bytes.len() - size <= 8, "{} at {size}", vector.name);
            }
        }
    }
}

#[test]
fn a_payload_cut_or_longer_than_it_should_be_is_refused() {
    let ignoring = [Opcode::GetPnn as u32, Opcode::RegisterSrvid as u32];
    for vector in all().into_iter().filter(|vector| vector.is_whole) {
        let Ok(Packet::Control(control)) = Packet::parse(&vector.bytes) else { continue };
        if ignoring.contains(&control.opcode) {
            continue;
        }
        for size in 0..control.data.len() {
            let cut = ReqControl { data: &control.data[..size], ..control };
            assert!(ControlRequest::decode(&cut).is_err(), "{} at {size}", vector.name);
        }
        let longer = [control.data, &[0]].concat();
        let longer = ReqControl { data: &longer, ..control };
        assert!(ControlRequest::decode(&longer).is_err(), "{}", vector.name);
    }
}

#[test]
fn no_reply_is_misread_under_any_opcode() {
    for vector in all().into_iter().filter(|vector| vector.is_whole) {
        let Ok(Packet::ReplyControl(reply)) = Packet::parse(&vector.bytes) else { continue };
        for opcode in Opcode::ALL {
            for size in 0..reply.data.len() {
                let cut = bateria_smbshim::ReplyControl { data: &reply.data[..size], ..reply };
                // A fault or some value; both are fine, a panic is not.
                let _ = ControlReply::decode(*opcode, &cut);
            }
        }
    }
}
