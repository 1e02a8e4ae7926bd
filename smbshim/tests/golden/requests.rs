//! Controls with their meaning, read by the daemon and written by a client.

use crate::vectors::named;
use bateria_smbshim::structures::address::PublicIp;
use bateria_smbshim::structures::address::{AddressInfo, Connection, Interface, InterfaceName};
use bateria_smbshim::structures::database::{PushStart, ScheduledDeletion, TransactionId};
use bateria_smbshim::structures::node::BanState;
use bateria_smbshim::structures::notify::Notify;
use bateria_smbshim::structures::push::PushRecord;
use bateria_smbshim::structures::traverse::{Switch, TraverseStart, TraverseStartExt};
use bateria_smbshim::structures::tunable::{GetTunable, SetTunable};
use bateria_smbshim::{
    Attach, ControlFlags, ControlRequest, LtdbHeader, MarshallBuilder, Packet, RecordFlags,
    ReqControl,
};
use bateria_wire::{DbId, DbKind, Generation, Pnn, Rsn, Srvid};

const TEST1: DbId = DbId(0xBC28_3589);
const TESTP: DbId = DbId(0x954F_C36E);

/// Checks both directions: the packet means the request, and the request makes its payload.
fn check(name: &str, request: ControlRequest<'_>) {
    with_control(name, |control| {
        assert_eq!(ControlRequest::decode(control), Ok(request), "{name}");
        let mut payload = Vec::new();
        request.encode_payload(&mut payload);
        assert_eq!(payload, control.data, "{name}");
        assert_eq!(request.opcode() as u32, control.opcode, "{name}");
    });
}

/// Checks that a client which does as Samba does sends the very same bytes.
fn check_whole(name: &str, request: ControlRequest<'_>, flags: ControlFlags) {
    check(name, request);
    let vector = named(name);
    with_control(name, |control| {
        let mut out = Vec::new();
        request.encode(control.header, flags, vector.padding(), &mut out);
        assert_eq!(out, vector.bytes, "{name}");
    });
}

fn with_control(name: &str, test: impl FnOnce(&ReqControl<'_>)) {
    let vector = named(name);
    match Packet::parse(&vector.bytes) {
        Ok(Packet::Control(control)) => test(&control),
        other => panic!("{name} is no control: {other:?}"),
    }
}

#[test]
fn first_contact() {
    check_whole("get_pnn/samba", ControlRequest::GetPnn, ControlFlags::empty());
    check_whole("get_pnn/tool", ControlRequest::GetPnn, ControlFlags::empty());
    check_whole("get_pnn/to-disconnected", ControlRequest::GetPnn, ControlFlags::empty());
    check_whole("ping/tool", ControlRequest::Ping, ControlFlags::empty());
    check_whole("get_nodemap/samba", ControlRequest::GetNodeMap, ControlFlags::empty());
    let register = ControlRequest::RegisterSrvid(Srvid(0xFE00_0000_0000_0002));
    check_whole("register_srvid/samba", register, ControlFlags::empty());
}

#[test]
fn databases() {
    let attach = Attach { kind: DbKind::Volatile, name: "g_lock.tdb", for_recovery: false };
    check_whole("db_attach/samba", ControlRequest::Attach(attach), ControlFlags::empty());
    check_whole("getdbpath/tool", ControlRequest::GetDbPath(TEST1), ControlFlags::empty());
    check_whole("db_open_flags/tool", ControlRequest::DbOpenFlags(TEST1), ControlFlags::empty());
    let enable = ControlRequest::EnableSeqnum(DbId(0x4E66_C2B2));
    check_whole("enable_seqnum/samba", enable, ControlFlags::empty());
    let seqnum = ControlRequest::GetDbSeqnum(TESTP);
    check_whole("get_db_seqnum/tool", seqnum, ControlFlags::empty());
    let start = TransactionId { db_id: TESTP, tid: 0x5E19_385F };
    check("db_transaction_start/tool", ControlRequest::DbTransactionStart(start));
    let srvid = Srvid(0xCE02_0000_0000_0000);
    let push = PushStart { db_id: TESTP, lmaster: Pnn(0), srvid };
    check("db_push_start/tool", ControlRequest::DbPushStart(push));
}

#[test]
fn traverses() {
    let srvid = Srvid(0x61E3_3BC1_6D83_4282);
    let start = TraverseStart { db_id: DbId(0x6B06_A26D), reqid: 4, srvid };
    let request = ControlRequest::TraverseStart(start);
    check_whole("traverse_start/samba", request, ControlFlags::empty());

    let start = TraverseStart { db_id: TEST1, reqid: 0, srvid: Srvid(0xBE00_0000_0000_1DAD) };
    let start = TraverseStartExt { start, with_empty: Switch(false) };
    check("traverse_start_ext/tool", ControlRequest::TraverseStartExt(start));
}

#[test]
fn commits() {
    let mut tool = MarshallBuilder::new(TESTP);
    tool.push(b"pk1", &LtdbHeader::new(Rsn(1), Pnn(0)), b"pv1");
    let key = bateria_smbshim::sequence_number::SEQUENCE_NUMBER_KEY;
    tool.push(key, &LtdbHeader::new(Rsn(1), Pnn(0)), &1_u64.to_le_bytes());
    check("trans3_commit/tool", ControlRequest::Trans3Commit(tool.view()));

    with_control("trans3_commit/samba", |control| {
        let Ok(ControlRequest::Trans3Commit(marshall)) = ControlRequest::decode(control) else {
            panic!("no commit");
        };
        let keys: Vec<_> = marshall.records().map(|record| record.key.to_vec()).collect();
        assert_eq!(keys, [&b"SECRETS/SID/CLUSTER"[..], key]);
        let request = ControlRequest::Trans3Commit(marshall);
        check_whole("trans3_commit/samba", request, ControlFlags::empty());
    });
}

#[test]
fn deletions_and_pushes() {
    let deletion = ScheduledDeletion {
        db_id: DbId(0x4D2A_432B),
        header: LtdbHeader::new(Rsn(3), Pnn(0)),
        key: b"transaction_db_0x7132c184\0",
    };
    let request = ControlRequest::ScheduleForDeletion(deletion);
    check_whole("schedule_for_deletion/samba", request, ControlFlags::NOREPLY);

    let flags = RecordFlags::MIGRATED_WITH_DATA;
    let push = PushRecord {
        generation: Generation(0x03FE_551D),
        db_id: DbId(0x7B59_5623),
        header: LtdbHeader { flags, ..LtdbHeader::new(Rsn(2), Pnn(0)) },
        key: b"key1",
        value: b"val1",
    };
    check("push_record/tool", ControlRequest::PushRecord(push));
}

#[test]
fn processes_and_notifications() {
    let check_pid =
        ControlRequest::CheckPidSrvid { pid: 0x478A, srvid: Srvid(0x1122_3344_5566_7788) };
    check_whole("check_pid_srvid/client", check_pid, ControlFlags::empty());
    let notify = Notify { srvid: Srvid(0xFE00_0000_0000_0000), data: b"gone!\0" };
    let request = ControlRequest::RegisterNotify(notify);
    check_whole("register_notify/client", request, ControlFlags::empty());
}

#[test]
fn tunables_and_bans() {
    let get = GetTunable { name: "DatabaseHashSize" };
    check_whole("get_tunable/tool", ControlRequest::GetTunable(get), ControlFlags::empty());
    let set = SetTunable { value: 1000, name: "SeqnumInterval" };
    check_whole("set_tunable/tool", ControlRequest::SetTunable(set), ControlFlags::empty());
    let ban = BanState { pnn: Pnn(2), duration_s: 5 };
    check_whole("set_ban_state/tool", ControlRequest::SetBanState(ban), ControlFlags::empty());
}

#[test]
fn addresses() {
    let address = "192.168.100.1:0".parse().unwrap();
    let tickles = ControlRequest::GetTcpTickleList(address);
    check_whole("get_tcp_tickle_list/tool", tickles, ControlFlags::empty());
    let release = ControlRequest::ReleaseIp(PublicIp { holder: Pnn(1), address });
    check_whole("release_ip/tool", release, ControlFlags::empty());
    let address = "192.168.100.2:0".parse().unwrap();
    let info = AddressInfo { address, mask_bits: 24, interface: Some("lo") };
    check_whole("add_public_ip/tool", ControlRequest::AddPublicIp(info), ControlFlags::empty());
    let name = InterfaceName::new("lo").unwrap();
    let up = ControlRequest::SetIfaceLinkState(Interface { name, link_state: 1, references: 0 });
    check_whole("set_iface_link_state/tool", up, ControlFlags::empty());
}

#[test]
fn a_connection_is_read_past_its_garbage() {
    with_control("tcp_client/samba", |control| {
        let source = "192.168.100.1:33680".parse().unwrap();
        let target = "192.168.100.1:4450".parse().unwrap();
        let request = ControlRequest::TcpClient(Connection { source, target });
        assert_eq!(ControlRequest::decode(control), Ok(request));
        assert!(!control.wants_reply());
    });
}
