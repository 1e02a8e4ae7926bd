//! Replies to controls, read by a client and written by the daemon.

use crate::vectors::named;
use bateria_smbshim::control::text;
use bateria_smbshim::structures::address::{Connection, Interface, InterfaceName};
use bateria_smbshim::structures::address::{PublicIp, PublicIpInfo, TickleList};
use bateria_smbshim::structures::database::{Database, DbFlags};
use bateria_smbshim::structures::node::{Node, RunState};
use bateria_smbshim::structures::tunable::TunableList;
use bateria_smbshim::structures::tunable::UNKNOWN_TUNABLE_STATUS;
use bateria_smbshim::{ControlReply, Layout, Opcode, Packet, ReplyData};
use bateria_wire::{DbId, Generation, NodeFlags, Pnn, VnnMap};
use std::net::SocketAddr;

/// Checks both directions: the packet means the reply, and the reply makes the packet.
fn check(name: &str, opcode: Opcode, reply: &ControlReply) {
    let vector = named(name);
    let Ok(Packet::ReplyControl(packet)) = Packet::parse(&vector.bytes) else {
        panic!("{name} is no reply");
    };
    assert_eq!(ControlReply::decode(opcode, &packet).as_ref(), Ok(reply), "{name}");
    let mut out = Vec::new();
    reply.encode(&packet.header, &mut out);
    assert_eq!(out, vector.bytes, "{name}");
}

fn check_data(name: &str, opcode: Opcode, data: ReplyData) {
    check(name, opcode, &ControlReply::data(data));
}

fn lo() -> Interface {
    let name = InterfaceName::new("lo").expect("it fits");
    Interface { name, link_state: 1, references: 2 }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

#[test]
fn values_in_the_status() {
    check("get_pnn/reply", Opcode::GetPnn, &ControlReply::value(0));
    check("ping/reply", Opcode::Ping, &ControlReply::value(2));
    let unknown = ControlReply::value(UNKNOWN_TUNABLE_STATUS);
    check("get_tunable/reply-unknown", Opcode::GetTunable, &unknown);
    check("traverse_start/reply", Opcode::TraverseStart, &ControlReply::done());
}

#[test]
fn a_failure_with_its_text() {
    let reply = ControlReply::failed_because(-1, text::TO_DISCONNECTED_NODE);
    check("get_pnn/reply-disconnected", Opcode::GetPnn, &reply);
}

#[test]
fn the_cluster() {
    let running = ReplyData::Number(RunState::Running as u32);
    check_data("get_runstate/reply", Opcode::GetRunState, running);
    let lmasters = vec![Pnn(0), Pnn(1), Pnn(2)];
    let map = VnnMap { generation: Generation(0x5FFC_DAC8), lmasters };
    check_data("get_vnnmap/reply", Opcode::GetVnnMap, ReplyData::VnnMap(map));
    let node = |pnn: u8| Node {
        pnn: Pnn(u32::from(pnn)),
        flags: NodeFlags::empty(),
        address: SocketAddr::from(([127, 0, 0, pnn + 1], 4379)),
    };
    let nodes = ReplyData::NodeMap((0..3).map(node).collect());
    check_data("get_nodemap/reply", Opcode::GetNodeMap, nodes);
}

#[test]
fn databases() {
    let g_lock = ReplyData::DbId(DbId(0x4D2A_432B));
    check_data("db_attach/reply", Opcode::DbAttach, g_lock);
    let path = ReplyData::Text("/var/lib/ctdb/volatile/test1.tdb.0".into());
    check_data("getdbpath/reply", Opcode::GetDbPath, path);
    let flags =
        [("db_open_flags/reply-volatile", 0x1C41), ("db_open_flags/reply-persistent", 0x400)];
    for (name, flags) in flags {
        check_data(name, Opcode::DbOpenFlags, ReplyData::Number(flags));
    }
    let map = vec![
        Database { db_id: DbId(0x234B_93BE), flags: DbFlags::REPLICATED },
        Database { db_id: DbId(0x954F_C36E), flags: DbFlags::PERSISTENT },
        Database { db_id: DbId(0xBC28_3589), flags: DbFlags::empty() },
    ];
    check_data("get_dbmap/reply", Opcode::GetDbMap, ReplyData::DbMap(map));
    check_data("get_dbname/reply", Opcode::GetDbName, ReplyData::Text("testp.tdb".into()));
    check_data("get_db_seqnum/reply", Opcode::GetDbSeqnum, ReplyData::SequenceNumber(1));
    check_data("db_push_confirm/reply", Opcode::DbPushConfirm, ReplyData::Number(2));
}

#[test]
fn addresses() {
    let ip = |holder, text| PublicIp { holder: Pnn(holder), address: address(text) };
    let ips = vec![
        ip(0, "[fc00:10::1:1]:0"),
        ip(1, "192.168.100.2:0"),
        ip(2, "192.168.200.1:0"),
        ip(0, "192.168.100.1:0"),
    ];
    check_data("get_public_ips/reply", Opcode::GetPublicIps, ReplyData::PublicIps(ips));
    let info =
        PublicIpInfo { address: ip(0, "192.168.100.1:0"), active_index: 0, interfaces: vec![lo()] };
    let info = ReplyData::PublicIpInfo(info);
    check_data("get_public_ip_info/reply", Opcode::GetPublicIpInfo, info);
    check_data("get_ifaces/reply", Opcode::GetIfaces, ReplyData::Interfaces(vec![lo()]));
    let connection = Connection {
        source: address("192.168.100.1:33788"),
        target: address("192.168.100.1:4450"),
    };
    let list = TickleList { address: address("192.168.100.1:0"), connections: vec![connection] };
    let list = ReplyData::TickleList(list);
    check_data("get_tcp_tickle_list/reply", Opcode::GetTcpTickleList, list);
}

#[test]
fn tunables() {
    check_data("get_tunable/reply", Opcode::GetTunable, ReplyData::Number(100_001));
    let vector = named("list_tunables/reply");
    let list = TunableList::of_live().to_bytes();
    assert_eq!(vector.bytes[36..40], 0x337_u32.to_le_bytes());
    assert_eq!(list.len(), 0x337);
    assert_eq!(vector.bytes[44..], list[..vector.bytes.len() - 44]);
}
