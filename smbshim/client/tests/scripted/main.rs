//! The connection against a daemon that follows a script: what no healthy daemon does can be
//! tried out.

mod script;

use bateria_client::{ClientFault, Connection};
use bateria_smbshim::header::Header;
use bateria_smbshim::{
    CallFlags, CallId, ControlReply, ControlRequest, Packet, Padding, ReplyCall, ReplyError,
    ReqMessage,
};
use bateria_wire::{DbId, Generation, Pnn, Srvid};
use script::{Script, Seat};
use std::time::Duration;

const DB: DbId = DbId(7);

fn header(reqid: u32) -> Header {
    Header::to_client(Generation(2), Pnn(3), reqid)
}

fn reply_call(reqid: u32, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    ReplyCall { header: header(reqid), status: 0, data }.encode(Padding::Aligned, &mut out);
    out
}

fn reply_control(reqid: u32, reply: &ControlReply) -> Vec<u8> {
    let mut out = Vec::new();
    reply.encode(&header(reqid), &mut out);
    out
}

fn message(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    ReqMessage { header: header(0), srvid: Srvid(5), data }.encode(Padding::Aligned, &mut out);
    out
}

/// Receives a call and returns its request id.
fn call_of(seat: &mut Seat) -> u32 {
    let packet = seat.receive();
    match Packet::parse(&packet) {
        Ok(Packet::Call(call)) => call.header.reqid,
        other => panic!("no call: {other:?}"),
    }
}

/// Starts a call without waiting.
fn start(connection: &mut Connection) -> bateria_client::StartedCall {
    connection.start_call(DB, CallId::FETCH, CallFlags::empty(), b"key").expect("it is sent")
}

#[test]
fn answers_find_their_requests_in_any_order() {
    let script = Script::play(|seat| {
        let (one, two) = (call_of(seat), call_of(seat));
        seat.send(
            &[reply_call(two, b"two"), message(b"between"), reply_call(one, b"one")].concat(),
        );
    });
    let mut connection = script.connect();
    let (one, two) = (start(&mut connection), start(&mut connection));
    assert_eq!(connection.finish_call(one, None).unwrap().data, b"one");
    assert_eq!(connection.finish_call(two, None).unwrap().data, b"two");
    let between = connection.recv_message(Some(Duration::ZERO)).unwrap().unwrap();
    assert_eq!((between.srvid, between.data), (Srvid(5), b"between".to_vec()));
}

#[test]
fn an_answer_that_comes_too_late_is_dropped() {
    let script = Script::play(|seat| {
        let late = call_of(seat);
        let next = call_of(seat);
        seat.send(&[reply_call(late, b"late"), reply_call(next, b"next")].concat());
    });
    let mut connection = script.connect();
    let late = start(&mut connection);
    let outcome = connection.finish_call(late, Some(Duration::ZERO));
    assert!(matches!(outcome, Err(ClientFault::Timeout)), "{outcome:?}");
    let next = start(&mut connection);
    assert_eq!(connection.finish_call(next, None).unwrap().data, b"next");
    assert_eq!(connection.unasked_answers(), 1);
}

#[test]
fn an_abandoned_call_leaves_nothing_behind() {
    let script = Script::play(|seat| {
        let (abandoned, next) = (call_of(seat), call_of(seat));
        seat.send(&[reply_call(abandoned, b"x"), reply_call(next, b"next")].concat());
    });
    let mut connection = script.connect();
    let abandoned = start(&mut connection);
    connection.abandon_call(abandoned);
    let next = start(&mut connection);
    assert_eq!(connection.finish_call(next, None).unwrap().data, b"next");
}

#[test]
fn an_error_in_place_of_an_answer_is_the_fault_of_the_call() {
    let script = Script::play(|seat| {
        let header = header(call_of(seat));
        let mut out = Vec::new();
        ReplyError { header, status: 5, message: b"no such database" }
            .encode(Padding::Aligned, &mut out);
        seat.send(&out);
        seat.answer_get_pnn();
    });
    let mut connection = script.connect();
    match connection.call(DB, CallId::FETCH, CallFlags::empty(), b"key") {
        Err(fault @ ClientFault::CallFailed { status: 5, .. }) => assert!(!fault.is_fatal()),
        other => panic!("{other:?}"),
    }
    assert_eq!(connection.get_pnn(Pnn::CURRENT).unwrap(), Pnn(3));
}

#[test]
fn an_answer_of_the_wrong_kind_breaks_the_protocol() {
    let script = Script::play(|seat| {
        let reqid = call_of(seat);
        seat.send(&reply_control(reqid, &ControlReply::done()));
    });
    let mut connection = script.connect();
    let outcome = connection.call(DB, CallId::FETCH, CallFlags::empty(), b"key");
    assert!(matches!(outcome, Err(ClientFault::WrongAnswer { .. })), "{outcome:?}");
}

#[test]
fn a_reply_without_its_data_is_a_fault_of_the_reply() {
    let script = Script::play(|seat| {
        let reqid = seat.receive_reqid();
        seat.send(&reply_control(reqid, &ControlReply::done()));
    });
    let mut connection = script.connect();
    let outcome = connection.control(Pnn::CURRENT, &ControlRequest::GetNodeMap);
    assert!(matches!(outcome, Err(ClientFault::Reply { .. })), "{outcome:?}");
}

#[test]
fn a_fetch_with_header_shorter_than_one_is_not_accepted() {
    let script = Script::play(|seat| {
        let reqid = call_of(seat);
        seat.send(&reply_call(reqid, &[0; 23]));
    });
    let mut connection = script.connect();
    let outcome = connection.fetch_with_header(DB, CallFlags::empty(), b"key");
    assert!(matches!(outcome, Err(ClientFault::NoHeader { db_id: DB })), "{outcome:?}");
}

#[test]
fn garbage_from_the_daemon_is_fatal() {
    let script = Script::play(|seat| {
        seat.receive();
        seat.send(&[32, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8].repeat(3));
    });
    let mut connection = script.connect();
    let fault = connection.get_pnn(Pnn::CURRENT).unwrap_err();
    assert!(fault.is_fatal(), "{fault}");
}

#[test]
fn the_end_of_the_daemon_is_noticed() {
    let script = Script::play(|seat| {
        seat.receive();
    });
    let mut connection = script.connect();
    let fault = connection.get_pnn(Pnn::CURRENT).unwrap_err();
    assert!(matches!(fault, ClientFault::Closed), "{fault}");
}

#[test]
fn who_does_not_listen_cannot_be_connected_to() {
    let fault = Connection::connect("/nonexistent/ctdbd.socket".as_ref()).unwrap_err();
    assert!(matches!(fault, ClientFault::Sys { call: "connect", .. }), "{fault}");
}
