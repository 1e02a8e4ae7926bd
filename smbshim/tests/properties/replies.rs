//! One reply of every kind.

use crate::parts::Parts;
use bateria_smbshim::control::Echo;
use bateria_smbshim::structures::address::{PublicIpInfo, TickleList};
use bateria_smbshim::structures::database::{Database, DbFlags};
use bateria_smbshim::structures::db_statistics::{
    DbCounters, DbStatistics, HotKey, StatisticsHistory,
};
use bateria_smbshim::structures::node::{BanState, Node, Uptime};
use bateria_smbshim::structures::tunable::{Tunable, TunableList, Tunables};
use bateria_smbshim::{ControlReply, Opcode, ReplyData};
use bateria_wire::{Generation, NodeFlags, Pnn, VnnMap};

impl Parts {
    /// One reply of every kind, with an opcode that it answers.
    pub(crate) fn replies(&self) -> Vec<(Opcode, ControlReply)> {
        use ReplyData as D;
        let text = String::from_utf8_lossy(&self.value).into_owned();
        let node = Node {
            pnn: self.pnn(),
            flags: NodeFlags::from_bits_retain(self.numbers[2]),
            address: self.address,
        };
        let mut tunables = Tunables::default();
        tunables.set(Tunable::SeqnumInterval, self.numbers[3]);
        let count = self.value.len() % 4;
        let lmasters = self.numbers[..count].iter().map(|pnn| Pnn(*pnn)).collect();
        let hot = HotKey { count: self.numbers[1], key: self.key.clone() };
        let flags = DbFlags::from_bits_retain(self.numbers[0].to_ne_bytes()[0]);
        let counters = DbCounters { ro_revokes: self.numbers[2], ..DbCounters::default() };
        let mut list = TunableList::of_live();
        list.0.truncate(count);
        let data = [
            (Opcode::Shutdown, D::Empty),
            (Opcode::DbAttach, D::DbId(self.db_id())),
            (Opcode::GetTunable, D::Number(self.numbers[0])),
            (Opcode::GetDebug, D::LogLevel(self.signed())),
            (Opcode::GetDbSeqnum, D::SequenceNumber(self.srvid.0)),
            (Opcode::GetDbPath, D::Text(self.name.clone())),
            (Opcode::GetReclockFile, D::Empty),
            (Opcode::DumpMemory, D::Report(text.clone())),
            (Opcode::GetVnnMap, D::VnnMap(VnnMap { generation: Generation(1), lmasters })),
            (Opcode::GetNodeMap, D::NodeMap(vec![node; count])),
            (Opcode::GetDbMap, D::DbMap(vec![Database { db_id: self.db_id(), flags }; count])),
            (Opcode::GetBanState, D::BanState(BanState { pnn: self.pnn(), duration_s: 9 })),
            (Opcode::Uptime, D::Uptime(Uptime { now: self.timeval(), ..Uptime::default() })),
            (Opcode::Statistics, D::Statistics(Box::new(self.statistics()))),
            (
                Opcode::GetStatHistory,
                D::StatisticsHistory(StatisticsHistory(vec![self.statistics(); count])),
            ),
            (
                Opcode::GetDbStatistics,
                D::DbStatistics(Box::new(DbStatistics { counters, hot_keys: vec![hot; 10] })),
            ),
            (Opcode::ListTunables, D::TunableList(list)),
            (Opcode::GetAllTunables, D::Tunables(Box::new(tunables))),
            (Opcode::GetPublicIps, D::PublicIps(vec![self.public_ip(); count])),
            (
                Opcode::GetPublicIpInfo,
                D::PublicIpInfo(PublicIpInfo {
                    address: self.public_ip(),
                    active_index: self.numbers[3],
                    interfaces: vec![self.interface(); count],
                }),
            ),
            (Opcode::GetIfaces, D::Interfaces(vec![self.interface(); count])),
            (
                Opcode::GetTcpTickleList,
                D::TickleList(TickleList {
                    address: self.address,
                    connections: vec![self.connection(); count],
                }),
            ),
            (
                Opcode::EchoData,
                D::Echo(Echo { delay_ms: self.numbers[3], data: self.value.clone() }),
            ),
        ];
        let mut replies = Vec::from(data.map(|(opcode, data)| (opcode, ControlReply::data(data))));
        let status = self.signed() | 1;
        replies.push((Opcode::GetNodeMap, ControlReply::value(status)));
        replies.push((Opcode::GetNodeMap, ControlReply::failed_because(status, text)));
        replies
    }
}
