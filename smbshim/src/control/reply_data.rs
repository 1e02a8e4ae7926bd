//! What a successful reply carries, by opcode (client protocol §3.2).

use super::Opcode;
use crate::fields::{Fields, Layout, LayoutFault, put_len, put_text, text_of};
use crate::structures::address::{Interface, PublicIp, PublicIpInfo, TickleList};
use crate::structures::database::DbMap;
use crate::structures::db_statistics::{DbStatistics, StatisticsHistory};
use crate::structures::node::{BanState, NodeMap, Uptime};
use crate::structures::statistics::Statistics;
use crate::structures::tunable::{TunableList, Tunables};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use bateria_wire::{DbId, VnnMap};

/// Data of a reply with status 0. It owns what it holds, so it may come from another thread.
#[derive(Clone, Debug, PartialEq)]
pub enum ReplyData {
    Empty,
    /// DB_ATTACH of all kinds.
    DbId(DbId),
    /// DB_OPEN_FLAGS, GET_TUNABLE, GET_CAPABILITIES, GET_RUNSTATE, DB_PUSH_CONFIRM.
    Number(u32),
    /// GET_DEBUG.
    LogLevel(i32),
    /// GET_DB_SEQNUM.
    SequenceNumber(u64),
    /// GETDBPATH, GET_DBNAME; GET_RECLOCK_FILE and DB_GET_HEALTH when there is something to say.
    /// Its NUL counts in the data's length.
    Text(String),
    /// DUMP_MEMORY, without NUL.
    Report(String),
    VnnMap(VnnMap),
    /// GET_NODEMAP, GET_NODES_FILE.
    NodeMap(NodeMap),
    DbMap(DbMap),
    BanState(BanState),
    Uptime(Uptime),
    Statistics(Box<Statistics>),
    StatisticsHistory(StatisticsHistory),
    DbStatistics(Box<DbStatistics>),
    TunableList(TunableList),
    Tunables(Box<Tunables>),
    PublicIps(Vec<PublicIp>),
    PublicIpInfo(PublicIpInfo),
    Interfaces(Vec<Interface>),
    TickleList(TickleList),
    Echo(Echo),
}

/// Answer to ECHO_DATA, with the layout of its request.
///
/// ```text
/// offset  size  field
///      0     4  delay_ms
///      4     4  len
///      8   len  data
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Echo {
    pub delay_ms: u32,
    pub data: Vec<u8>,
}

impl ReplyData {
    /// Appends the data to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Empty => {}
            Self::DbId(db_id) => db_id.encode(out),
            Self::Number(number) => number.encode(out),
            Self::LogLevel(level) => level.encode(out),
            Self::SequenceNumber(number) => number.encode(out),
            Self::Text(text) => put_text(out, text),
            Self::Report(report) => out.extend_from_slice(report.as_bytes()),
            Self::VnnMap(map) => map.encode(out),
            Self::NodeMap(map) => map.encode(out),
            Self::DbMap(map) => map.encode(out),
            Self::BanState(ban) => ban.encode(out),
            Self::Uptime(uptime) => uptime.encode(out),
            Self::Statistics(statistics) => statistics.encode(out),
            Self::StatisticsHistory(history) => history.encode(out),
            Self::DbStatistics(statistics) => statistics.encode(out),
            Self::TunableList(list) => list.encode(out),
            Self::Tunables(tunables) => tunables.encode(out),
            Self::PublicIps(ips) => ips.encode(out),
            Self::PublicIpInfo(info) => info.encode(out),
            Self::Interfaces(interfaces) => interfaces.encode(out),
            Self::TickleList(list) => list.encode(out),
            Self::Echo(echo) => {
                echo.delay_ms.encode(out);
                put_len(out, echo.data.len());
                out.extend_from_slice(&echo.data);
            }
        }
    }

    /// Reads the data of a reply with status 0. Sizes are exact: Samba refuses other ones for
    /// attach, open flags and uptime (pitfall 6), and no daemon sends them.
    ///
    /// # Errors
    /// The data does not have the opcode's layout.
    pub fn decode(opcode: Opcode, data: &[u8]) -> Result<Self, LayoutFault> {
        Ok(match opcode {
            Opcode::DbAttach | Opcode::DbAttachPersistent | Opcode::DbAttachReplicated => {
                Self::DbId(Layout::from_bytes(data)?)
            }
            Opcode::DbOpenFlags
            | Opcode::GetTunable
            | Opcode::GetCapabilities
            | Opcode::GetRunState
            | Opcode::DbPushConfirm => Self::Number(Layout::from_bytes(data)?),
            Opcode::GetDebug => Self::LogLevel(Layout::from_bytes(data)?),
            Opcode::GetDbSeqnum => Self::SequenceNumber(Layout::from_bytes(data)?),
            Opcode::GetReclockFile | Opcode::DbGetHealth if data.is_empty() => Self::Empty,
            Opcode::GetReclockFile
            | Opcode::DbGetHealth
            | Opcode::GetDbPath
            | Opcode::GetDbName => Self::Text(text_of(data)?.into()),
            Opcode::DumpMemory => Self::Report(String::from_utf8_lossy(data).into_owned()),
            Opcode::GetVnnMap => Self::VnnMap(Layout::from_bytes(data)?),
            Opcode::GetNodeMap | Opcode::GetNodesFile => Self::NodeMap(Layout::from_bytes(data)?),
            Opcode::GetDbMap => Self::DbMap(Layout::from_bytes(data)?),
            Opcode::GetBanState => Self::BanState(Layout::from_bytes(data)?),
            Opcode::Uptime => Self::Uptime(Layout::from_bytes(data)?),
            Opcode::Statistics => Self::Statistics(Box::new(Layout::from_bytes(data)?)),
            Opcode::GetStatHistory => Self::StatisticsHistory(Layout::from_bytes(data)?),
            Opcode::GetDbStatistics => Self::DbStatistics(Box::new(Layout::from_bytes(data)?)),
            Opcode::ListTunables => Self::TunableList(Layout::from_bytes(data)?),
            Opcode::GetAllTunables => Self::Tunables(Box::new(Layout::from_bytes(data)?)),
            Opcode::GetPublicIps => Self::PublicIps(Layout::from_bytes(data)?),
            Opcode::GetPublicIpInfo => Self::PublicIpInfo(Layout::from_bytes(data)?),
            Opcode::GetIfaces => Self::Interfaces(Layout::from_bytes(data)?),
            Opcode::GetTcpTickleList => Self::TickleList(Layout::from_bytes(data)?),
            Opcode::EchoData => {
                let mut fields = Fields::new(data);
                let [delay_ms, len] = fields.read()?;
                Self::Echo(Echo { delay_ms, data: fields.take_u32(len)?.to_vec() })
            }
            _ => Self::Empty,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_to_say_is_no_text() {
        assert_eq!(ReplyData::decode(Opcode::DbGetHealth, b""), Ok(ReplyData::Empty));
        let reason = ReplyData::Text("bad".into());
        assert_eq!(ReplyData::decode(Opcode::DbGetHealth, b"bad\0"), Ok(reason));
        assert!(ReplyData::decode(Opcode::GetDbPath, b"").is_err());
    }

    #[test]
    fn an_attach_answers_exactly_four_bytes() {
        let id = ReplyData::DbId(DbId(7));
        assert_eq!(ReplyData::decode(Opcode::DbAttach, &7_u32.to_ne_bytes()), Ok(id));
        assert!(ReplyData::decode(Opcode::DbAttach, &[0; 3]).is_err());
        assert!(ReplyData::decode(Opcode::DbAttach, &[0; 8]).is_err());
    }
}
