use super::*;
use crate::fault::Malformed;
use crate::header::Header;
use crate::packet::{CallFlags, CallId, ControlFlags};
use alloc::vec;
use bateria_wire::Pnn;

const LOCKING: DbId = DbId(0x7A19_D84D);

fn session() -> Session {
    Session::new(4711)
}

fn call(reqid: u32, key: &[u8]) -> ReqCall<'_> {
    ReqCall {
        header: Header::call(reqid),
        flags: CallFlags::IMMEDIATE_MIGRATION,
        db_id: LOCKING,
        call_id: CallId::NULL,
        hop_count: 0,
        key,
        data: b"",
    }
}

fn control(reqid: u32, flags: ControlFlags) -> ReqControl<'static> {
    let header = Header::control(Pnn::CURRENT, reqid);
    ReqControl { header, opcode: 0, srvid: Srvid(0), client_id: 0, flags, data: b"" }
}

#[test]
fn each_registration_gets_its_copy_and_one_deregistration_removes_one() {
    let mut session = session();
    assert_eq!(session.register(Srvid(5)), Ok(Registered::First));
    assert_eq!(session.register(Srvid(5)), Ok(Registered::Again));
    assert_eq!(session.register(Srvid::ALL), Ok(Registered::First));
    assert_eq!((session.copies_of(Srvid(5)), session.copies_of(Srvid(6))), (3, 1));

    assert_eq!(session.deregister(Srvid(5)), Some(Deregistered::OneOfSeveral));
    assert_eq!(session.deregister(Srvid(5)), Some(Deregistered::Last));
    assert_eq!(session.deregister(Srvid(5)), None);
    assert!(!session.has_registered(Srvid(5)));
}

#[test]
fn registrations_are_refused_above_their_limit() {
    let mut session = session();
    for _ in 0..REGISTRATIONS_COUNT_MAX {
        session.register(Srvid(5)).unwrap();
    }
    assert_eq!(session.register(Srvid(6)), Err(Refusal::Registrations));
    session.deregister(Srvid(5)).unwrap();
    assert_eq!(session.register(Srvid(6)), Ok(Registered::First));
}

#[test]
fn a_srvid_has_one_notification() {
    let mut session = session();
    let notify = Notify { srvid: Srvid(9), data: b"gone!\0" };
    assert_eq!(session.register_notify(notify), Ok(()));
    assert_eq!(session.register_notify(notify), Err(Refusal::Duplicate));
    assert_eq!(session.deregister_notify(Srvid(9)), Ok(()));
    assert_eq!(session.deregister_notify(Srvid(9)), Err(Refusal::Unregistered));
}

#[test]
fn notifications_are_limited_in_size_together() {
    let mut session = session();
    let half = vec![0; NOTIFY_SIZE_BYTES_MAX / 2 + 1];
    let notify = |srvid| Notify { srvid: Srvid(srvid), data: &half };
    assert_eq!(session.register_notify(notify(1)), Ok(()));
    assert_eq!(session.register_notify(notify(2)), Err(Refusal::Notifies));
    session.deregister_notify(Srvid(1)).unwrap();
    assert_eq!(session.register_notify(notify(2)), Ok(()));
}

#[test]
fn a_late_answer_finds_nobody() {
    let mut session = session();
    let first = session.begin_call(&call(1, b"a")).unwrap();
    assert_eq!(session.finish(first).unwrap().reqid, 1);
    let second = session.begin_call(&call(2, b"b")).unwrap();
    assert_eq!(session.finish(first), None);
    assert_eq!(session.finish(Ticket::from_u64(second.to_u64())).unwrap().reqid, 2);
}

#[test]
fn requests_may_share_a_reqid() {
    let mut session = session();
    let (one, two) =
        (session.begin_call(&call(7, b"a")).unwrap(), session.begin_call(&call(7, b"b")).unwrap());
    assert_ne!(one, two);
    assert_eq!(session.requests_in_flight(), 2);
}

#[test]
fn requests_in_flight_are_limited_and_refused_with_an_error() {
    let mut session = session();
    for reqid in 0..4096 {
        session.begin_call(&call(reqid, b"a")).unwrap();
    }
    let refusal = session.begin_call(&call(1, b"a")).unwrap_err();
    assert_eq!(refusal, Refusal::RequestsInFlight);
    assert_eq!(refusal.control_reply().status(), -1);
    assert_ne!(refusal.call_reply(Header::call(1)).status, 0);
}

#[test]
fn keys_that_no_record_has_are_refused() {
    let key = vec![0; KEY_SIZE_BYTES_MAX as usize + 1];
    let got_bytes = key.len();
    assert_eq!(session().begin_call(&call(1, &key)), Err(Refusal::KeyTooLong { got_bytes }));
    assert!(session().begin_call(&call(1, &key[1..])).is_ok());
}

#[test]
fn one_commit_is_in_flight_at_a_time() {
    let mut session = session();
    let first = session.begin_commit(&control(1, ControlFlags::empty()), LOCKING).unwrap();
    let second = session.begin_commit(&control(2, ControlFlags::empty()), DbId(1));
    assert_eq!(second, Err(Refusal::CommitInFlight));
    assert_eq!(session.finish(first).unwrap().kind, PendingKind::Commit { db_id: LOCKING });
    assert!(session.begin_commit(&control(3, ControlFlags::empty()), LOCKING).is_ok());
}

#[test]
fn a_control_that_wants_no_reply_is_remembered_so() {
    let mut session = session();
    let control = control(1, ControlFlags::NOREPLY);
    let ticket = session.begin_control(&control, Opcode::TcpClient).unwrap();
    assert!(!session.finish(ticket).unwrap().wants_reply);
}

#[test]
fn the_end_undoes_everything() {
    let mut session = session();
    session.register(Srvid(5)).unwrap();
    session.register(Srvid(5)).unwrap();
    session.register_notify(Notify { srvid: Srvid(9), data: b"x" }).unwrap();
    session.register_tunnel(3).unwrap();
    let (source, target) = ("10.0.0.1:1000".parse().unwrap(), "10.0.0.2:445".parse().unwrap());
    session.add_connection(Connection { source, target }).unwrap();
    let start = TraverseStart { db_id: LOCKING, reqid: 1, srvid: Srvid(5) };
    let running = session.begin_traverse(start).unwrap();
    let ended = session.begin_traverse(start).unwrap();
    assert_eq!(session.end_traverse(ended), Some(start));
    let ticket = session.begin_commit(&control(8, ControlFlags::empty()), LOCKING).unwrap();

    let kind = PendingKind::Commit { db_id: LOCKING };
    let undo = Undo {
        srvids: vec![(Srvid(5), 2)],
        notifies: vec![(Srvid(9), b"x".to_vec().into())],
        tunnels: vec![3],
        connections: vec![Connection { source, target }],
        traverses: vec![(running, start)],
        requests: vec![(ticket, Pending { reqid: 8, wants_reply: true, kind })],
        commit: Some(LOCKING),
    };
    assert_eq!(session.on_close(), undo);
}

#[test]
fn garbage_is_logged_ever_more_rarely_and_ends_the_session() {
    let mut session = session();
    let dropped = PacketFault::Drop(Malformed::Magic(0));
    let logged = (1..=FAULTS_COUNT_MAX)
        .filter(|_| session.on_fault(&dropped) == Verdict::Ignore { log: true })
        .count();
    assert_eq!(logged, 10);
    assert_eq!(session.on_fault(&dropped), Verdict::Close);
}

#[test]
fn a_closing_fault_closes_at_once() {
    let fault = PacketFault::Close(Malformed::LengthTooSmall(0));
    assert_eq!(session().on_fault(&fault), Verdict::Close);
}
