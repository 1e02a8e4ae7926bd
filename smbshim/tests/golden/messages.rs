//! Messages and tunnel packets with their payloads.

use crate::vectors::named;
use bateria_smbshim::structures::identity::ServerId;
use bateria_smbshim::structures::notify::{AnswerTo, Disable};
use bateria_smbshim::{
    Fields, Header, Layout, LtdbHeader, Marshall, Packet, Padding, RecData, ReqMessage, TunnelFlags,
};
use bateria_wire::{Pnn, Rsn, Srvid};

/// Hands the message of a name to `test`.
fn with_message(name: &str, test: impl FnOnce(&ReqMessage<'_>)) {
    let vector = named(name);
    match Packet::parse(&vector.bytes) {
        Ok(Packet::Message(message)) => test(&message),
        other => panic!("{name} is no message: {other:?}"),
    }
}

/// Checks that the message carries `payload` and nothing else.
fn check<T: for<'a> Layout<'a> + PartialEq + std::fmt::Debug>(
    name: &str,
    srvid: Srvid,
    payload: &T,
) {
    with_message(name, |message| {
        assert_eq!(message.srvid, srvid, "{name}");
        assert_eq!(T::from_bytes(message.data).as_ref(), Ok(payload), "{name}");
        assert_eq!(payload.to_bytes(), message.data, "{name}");
    });
}

#[test]
fn samba_names_source_and_target_inside() {
    with_message("message/samba-broadcast", |message| {
        assert_eq!(message.header, Header::message(Pnn::BROADCAST_CONNECTED, Pnn(0)));
        let mut fields = Fields::new(message.data);
        assert_eq!(fields.read(), Ok(ServerId::default()));
        let unique = 0x5C46_349B_9FDC_2336;
        assert_eq!(fields.read(), Ok(ServerId { pid: 0x2D23, unique, ..ServerId::default() }));
        assert_eq!(fields.read(), Ok(2_u32));
    });
    with_message("message/samba-unicast", |message| {
        assert_eq!((message.srvid, message.header.srcnode), (Srvid(0x2D23), Pnn(0)));
        let mut fields = Fields::new(message.data);
        let (_target, source): (ServerId, ServerId) =
            (fields.read().unwrap(), fields.read().unwrap());
        assert_eq!((source.pid, source.vnn), (0x2913, Pnn(1)));
    });
}

#[test]
fn what_the_daemon_says() {
    check("message/leader", Srvid::LEADER, &Pnn(0));
    check("message/answer", Srvid(0xCE01_0000_571B_0001), &0_i32);
    with_message("message/release-ip", |message| {
        assert_eq!((message.srvid, message.data), (Srvid::RELEASE_IP, &b"192.168.100.1\0"[..]));
    });
    with_message("message/notify", |message| {
        assert_eq!((message.header.srcnode, message.data), (Pnn(2), &b"gone!\0"[..]));
    });
}

#[test]
fn what_the_tool_asks() {
    let run = AnswerTo { pnn: Pnn(0), srvid: Srvid(0xCE01_0000_55E7_0001) };
    check("message/takeover-run", Srvid::TAKEOVER_RUN, &run);
    let disable = Disable { pnn: Pnn(0), srvid: Srvid(0xCE01_0000_571B_0001), duration_s: 20 };
    check("message/disable-takeover-runs", Srvid::DISABLE_TAKEOVER_RUNS, &disable);
}

#[test]
fn a_traverse_sends_records_and_a_mark() {
    with_message("message/record", |message| {
        let record = RecData::from_bytes(message.data).unwrap();
        let (header, value) = record.split().unwrap();
        assert_eq!((record.reqid, record.key, value), (0, &b"key1"[..], &b"value1"[..]));
        assert_eq!(header, LtdbHeader::new(Rsn(2), Pnn(0)));

        let mut out = Vec::new();
        ReqMessage::encode_with(&message.header, message.srvid, &mut out, |out| {
            RecData::encode_parts(0, b"key1", &[&header.to_bytes(), b"value1"], out);
        });
        assert_eq!(out, named("message/record").bytes);
    });
    for (name, reqid) in [("message/end-mark", 4), ("message/end-mark-tool", 0)] {
        with_message(name, |message| {
            assert_eq!(RecData::from_bytes(message.data), Ok(RecData::end_mark(reqid)));
        });
    }
    let first = named("message/first-record");
    let head: [u32; 4] = Fields::new(&first.bytes[44..]).read().unwrap();
    assert_eq!(head, [0x32D, 4, 4, 0x319]);
}

#[test]
fn pushed_records_come_in_a_buffer_of_any_database() {
    with_message("message/pushed-records", |message| {
        let buffer = Marshall::from_bytes(message.data).unwrap();
        assert_eq!((buffer.db_id.0, buffer.count()), (0x31E0_9500, 2));
        let last = buffer.records().last().unwrap();
        assert_eq!((last.key, last.split().unwrap().1), (&b"pk1"[..], &b"pv1"[..]));
    });
}

#[test]
fn a_tunnel_packet_is_delivered_as_it_was_sent() {
    let (sent, delivered) = (named("tunnel/client"), named("tunnel/delivered"));
    let Ok(Packet::Tunnel(mut tunnel)) = Packet::parse(&sent.bytes) else { panic!("no tunnel") };
    assert_eq!((tunnel.tunnel_id, tunnel.flags), (0x9E00_0000_0000_0042, TunnelFlags::REQUEST));
    assert_eq!((tunnel.header.destnode, tunnel.data), (Pnn(2), &b"tunn!"[..]));

    let Ok(Packet::Tunnel(received)) = Packet::parse(&delivered.bytes) else { panic!() };
    tunnel.header = Header::to_client(received.header.generation, Pnn(2), 0);
    let mut out = Vec::new();
    tunnel.encode(Padding::Aligned, &mut out);
    assert_eq!(out, delivered.bytes);
}
