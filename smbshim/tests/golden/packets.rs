//! Packets as such: what was read is written again byte by byte.

use crate::vectors::{all, named};
use bateria_smbshim::{CallFlags, CallId, Header, Packet, ReplyCall, ReqCall, framer};
use bateria_wire::{DbId, Generation, Pnn};

#[test]
fn every_packet_is_written_as_it_was_read() {
    let mut whole_count = 0;
    for vector in all().into_iter().filter(|vector| vector.is_whole) {
        let packet = Packet::parse(&vector.bytes).unwrap_or_else(|fault| {
            panic!("{}: {fault}", vector.name);
        });
        let mut out = Vec::new();
        packet.encode(vector.padding(), &mut out);
        assert_eq!(out, vector.bytes, "{}", vector.name);
        whole_count += 1;
    }
    assert_eq!(whole_count, 74);
}

#[test]
fn packets_are_found_in_a_stream_cut_anywhere() {
    let whole: Vec<_> = all().into_iter().filter(|vector| vector.is_whole).collect();
    let stream: Vec<u8> = whole.iter().flat_map(|vector| vector.bytes.clone()).collect();
    for cut in (0..=stream.len()).step_by(7) {
        let (mut received, mut found) = (&stream[..cut], Vec::new());
        while let Some(packet) = framer::next_packet(&mut received).unwrap() {
            found.push(packet.to_vec());
        }
        let kept = received.len();
        received = &stream[cut - kept..];
        while let Some(packet) = framer::next_packet(&mut received).unwrap() {
            found.push(packet.to_vec());
        }
        assert!(found.iter().eq(whole.iter().map(|vector| &vector.bytes)), "cut at {cut}");
    }
}

#[test]
fn calls_of_tool_and_samba_mean_the_same() {
    let tool = named("call/tool-migrate");
    let call = ReqCall {
        header: Header { destnode: Pnn::CURRENT, ..Header::call(0x7FFF_FF42) },
        flags: CallFlags::IMMEDIATE_MIGRATION,
        db_id: DbId(0xBC28_3589),
        call_id: CallId::NULL,
        hop_count: 0,
        key: b"key1",
        data: b"",
    };
    assert_eq!(Packet::parse(&tool.bytes), Ok(Packet::Call(call)));

    let samba = named("call/samba-migrate");
    let call = ReqCall {
        header: Header::call(7),
        db_id: DbId(0x4D2A_432B),
        key: b"transaction_db_0x7132c184\0",
        ..call
    };
    assert_eq!(Packet::parse(&samba.bytes), Ok(Packet::Call(call)));
}

#[test]
fn a_read_only_call_says_so() {
    let vector = named("call/null-readonly");
    let Ok(Packet::Call(call)) = Packet::parse(&vector.bytes) else { panic!("no call") };
    assert_eq!(call.flags, CallFlags::IMMEDIATE_MIGRATION | CallFlags::WANT_READONLY);
    assert_eq!((call.call_id, call.key), (CallId::NULL, &b"k"[..]));
}

#[test]
fn replies_to_calls_carry_the_value() {
    let header = Header::to_client(Generation(0x6002_8909), Pnn(0), 2);
    let reply = ReplyCall { header, status: 0, data: b"value1" };
    let vector = named("call/reply-fetch");
    assert_eq!(Packet::parse(&vector.bytes), Ok(Packet::ReplyCall(reply)));

    let mut out = Vec::new();
    ReplyCall::encode_with(&header, &mut out, |out| out.extend_from_slice(b"value1"));
    assert_eq!(out, vector.bytes);
}

#[test]
fn a_reply_with_header_shows_who_may_use_it() {
    use bateria_smbshim::{LtdbHeader, RecordFlags};

    let vector = named("call/reply-null-readonly");
    let Ok(Packet::ReplyCall(reply)) = Packet::parse(&vector.bytes) else { panic!("no reply") };
    let (header, value) = LtdbHeader::split(reply.data).unwrap();
    assert_eq!((header.rsn.0, header.dmaster), (4, Pnn(2)));
    assert_eq!((header.flags, value), (RecordFlags::RO_HAVE_READONLY, &b"DATA"[..]));
    assert!(header.is_readable_on(Pnn(0)) && !header.is_writable_on(Pnn(0)));
}
