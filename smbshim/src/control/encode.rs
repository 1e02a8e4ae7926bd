//! Writing a control: the client's side.

use super::{Attach, ControlRequest, Opcode};
use crate::fields::{FixedLayout, Layout, put_len, put_text};
use crate::header::Header;
use crate::packet::{ControlFlags, Padding, ReqControl};
use crate::structures::traverse::Switch;
use alloc::vec::Vec;
use bateria_wire::{DbId, DbKind, Srvid};

impl ControlRequest<'_> {
    /// Appends the control's packet to `out`. Flags that belong to the request are added to
    /// `flags`.
    pub fn encode(&self, header: Header, flags: ControlFlags, padding: Padding, out: &mut Vec<u8>) {
        let mut data = Vec::new();
        self.encode_payload(&mut data);
        let (opcode, srvid) = (self.opcode() as u32, self.srvid());
        let flags = flags | self.flags();
        let packet = ReqControl { header, opcode, srvid, client_id: 0, flags, data: &data };
        packet.encode(padding, out);
    }

    #[must_use]
    pub fn opcode(&self) -> Opcode {
        match self {
            Self::GetPnn => Opcode::GetPnn,
            Self::GetPid => Opcode::GetPid,
            Self::Uptime => Opcode::Uptime,
            Self::Ping => Opcode::Ping,
            Self::Shutdown => Opcode::Shutdown,
            Self::GetRunState => Opcode::GetRunState,
            Self::GetCapabilities => Opcode::GetCapabilities,
            Self::SetLmasterRole { .. } => Opcode::SetLmasterRole,
            Self::SetRecMasterRole { .. } => Opcode::SetRecMasterRole,
            Self::GetDebug => Opcode::GetDebug,
            Self::SetDebug { .. } => Opcode::SetDebug,
            Self::DumpMemory => Opcode::DumpMemory,
            Self::Statistics => Opcode::Statistics,
            Self::StatisticsReset => Opcode::StatisticsReset,
            Self::GetStatHistory => Opcode::GetStatHistory,
            Self::Echo { .. } => Opcode::EchoData,
            Self::GetNodeMap => Opcode::GetNodeMap,
            Self::GetNodesFile => Opcode::GetNodesFile,
            Self::ReloadNodesFile => Opcode::ReloadNodesFile,
            Self::GetVnnMap => Opcode::GetVnnMap,
            Self::GetRecMode => Opcode::GetRecMode,
            Self::SetRecMode { .. } => Opcode::SetRecMode,
            Self::GetReclockFile => Opcode::GetReclockFile,
            Self::StopNode => Opcode::StopNode,
            Self::ContinueNode => Opcode::ContinueNode,
            Self::DisableNode => Opcode::DisableNode,
            Self::EnableNode => Opcode::EnableNode,
            Self::SetBanState(_) => Opcode::SetBanState,
            Self::GetBanState => Opcode::GetBanState,
            Self::ListTunables => Opcode::ListTunables,
            Self::GetTunable(_) => Opcode::GetTunable,
            Self::SetTunable(_) => Opcode::SetTunable,
            Self::GetAllTunables => Opcode::GetAllTunables,
            Self::ProcessExists { .. } => Opcode::ProcessExists,
            Self::CheckPidSrvid { .. } => Opcode::CheckPidSrvid,
            Self::RegisterSrvid(_) => Opcode::RegisterSrvid,
            Self::DeregisterSrvid(_) => Opcode::DeregisterSrvid,
            Self::RegisterNotify(_) => Opcode::RegisterNotify,
            Self::DeregisterNotify(_) => Opcode::DeregisterNotify,
            Self::TunnelRegister { .. } => Opcode::TunnelRegister,
            Self::TunnelDeregister { .. } => Opcode::TunnelDeregister,
            Self::Attach(Attach { kind: DbKind::Volatile, .. }) => Opcode::DbAttach,
            Self::Attach(Attach { kind: DbKind::Persistent, .. }) => Opcode::DbAttachPersistent,
            Self::Attach(Attach { kind: DbKind::Replicated, .. }) => Opcode::DbAttachReplicated,
            Self::Detach(_) => Opcode::DbDetach,
            Self::GetDbMap => Opcode::GetDbMap,
            Self::GetDbName(_) => Opcode::GetDbName,
            Self::GetDbPath(_) => Opcode::GetDbPath,
            Self::DbOpenFlags(_) => Opcode::DbOpenFlags,
            Self::EnableSeqnum(_) => Opcode::EnableSeqnum,
            Self::SetDbReadonly(_) => Opcode::SetDbReadonly,
            Self::SetDbSticky(_) => Opcode::SetDbSticky,
            Self::GetDbSeqnum(_) => Opcode::GetDbSeqnum,
            Self::GetDbStatistics(_) => Opcode::GetDbStatistics,
            Self::DbGetHealth(_) => Opcode::DbGetHealth,
            Self::DbSetHealthy(_) => Opcode::DbSetHealthy,
            Self::DbVacuum { .. } => Opcode::DbVacuum,
            Self::Trans3Commit(_) => Opcode::Trans3Commit,
            Self::ScheduleForDeletion(_) => Opcode::ScheduleForDeletion,
            Self::TraverseStart(_) => Opcode::TraverseStart,
            Self::TraverseStartExt(_) => Opcode::TraverseStartExt,
            Self::PushRecord(_) => Opcode::PushRecord,
            Self::PushRecordStore(_) => Opcode::PushRecordStore,
            Self::DbFreeze(_) => Opcode::DbFreeze,
            Self::DbThaw(_) => Opcode::DbThaw,
            Self::DbTransactionStart(_) => Opcode::DbTransactionStart,
            Self::DbTransactionCommit(_) => Opcode::DbTransactionCommit,
            Self::DbTransactionCancel(_) => Opcode::DbTransactionCancel,
            Self::WipeDatabase(_) => Opcode::WipeDatabase,
            Self::DbPushStart(_) => Opcode::DbPushStart,
            Self::DbPushConfirm(_) => Opcode::DbPushConfirm,
            Self::GetPublicIps { .. } => Opcode::GetPublicIps,
            Self::GetPublicIpInfo(_) => Opcode::GetPublicIpInfo,
            Self::AddPublicIp(_) => Opcode::AddPublicIp,
            Self::DelPublicIp(_) => Opcode::DelPublicIp,
            Self::ReloadPublicIps => Opcode::ReloadPublicIps,
            Self::TakeoverIp(_) => Opcode::TakeoverIp,
            Self::ReleaseIp(_) => Opcode::ReleaseIp,
            Self::IpReallocated => Opcode::IpReallocated,
            Self::SendGratuitousArp(_) => Opcode::SendGratuitousArp,
            Self::GetIfaces => Opcode::GetIfaces,
            Self::SetIfaceLinkState(_) => Opcode::SetIfaceLinkState,
            Self::TcpClient(_) => Opcode::TcpClient,
            Self::TcpClientDisconnected(_) => Opcode::TcpClientDisconnected,
            Self::TcpClientPassed(_) => Opcode::TcpClientPassed,
            Self::TcpAddDelayedUpdate(_) => Opcode::TcpAddDelayedUpdate,
            Self::TcpRemove(_) => Opcode::TcpRemove,
            Self::GetTcpTickleList(_) => Opcode::GetTcpTickleList,
        }
    }

    /// The packet's srvid field: a parameter of few controls, and for some others what Samba
    /// happens to put there (client protocol §3.1).
    #[must_use]
    pub fn srvid(&self) -> Srvid {
        let of_db = |db_id: DbId| Srvid(u64::from(db_id.0));
        match self {
            Self::RegisterSrvid(srvid) | Self::DeregisterSrvid(srvid) => *srvid,
            Self::TunnelRegister { tunnel_id } | Self::TunnelDeregister { tunnel_id } => {
                Srvid(*tunnel_id)
            }
            Self::TraverseStart(start) => start.srvid,
            Self::Trans3Commit(marshall) => of_db(marshall.db_id),
            Self::ScheduleForDeletion(deletion) => of_db(deletion.db_id),
            Self::PushRecord(push) => of_db(push.db_id),
            _ => Srvid(0),
        }
    }

    /// The flags that belong to the request itself.
    #[must_use]
    pub fn flags(&self) -> ControlFlags {
        match self {
            Self::GetPublicIps { only_available: true } => ControlFlags::ONLY_AVAILABLE,
            Self::Attach(Attach { for_recovery: true, .. }) => ControlFlags::ATTACH_RECOVERY,
            _ => ControlFlags::empty(),
        }
    }

    /// Appends the payload to `out`.
    pub fn encode_payload(&self, out: &mut Vec<u8>) {
        match self {
            Self::SetLmasterRole { enabled } | Self::SetRecMasterRole { enabled } => {
                u32::from(*enabled).encode(out);
            }
            Self::SetDebug { level } => level.encode(out),
            Self::Echo { delay_ms, data } => {
                delay_ms.encode(out);
                put_len(out, data.len());
                out.extend_from_slice(data);
            }
            Self::SetRecMode { mode } => mode.encode(out),
            Self::SetBanState(ban) => ban.encode(out),
            Self::GetTunable(tunable) => tunable.encode(out),
            Self::SetTunable(tunable) => tunable.encode(out),
            Self::ProcessExists { pid } => pid.encode(out),
            Self::CheckPidSrvid { pid, srvid } => {
                pid.encode(out);
                srvid.encode(out);
            }
            Self::RegisterNotify(notify) => notify.encode(out),
            Self::DeregisterNotify(srvid) => srvid.encode(out),
            Self::Attach(attach) => put_text(out, attach.name),
            Self::Detach(db_id)
            | Self::GetDbName(db_id)
            | Self::GetDbPath(db_id)
            | Self::DbOpenFlags(db_id)
            | Self::EnableSeqnum(db_id)
            | Self::SetDbReadonly(db_id)
            | Self::SetDbSticky(db_id)
            | Self::GetDbStatistics(db_id)
            | Self::DbGetHealth(db_id)
            | Self::DbSetHealthy(db_id)
            | Self::DbFreeze(db_id)
            | Self::DbThaw(db_id)
            | Self::DbTransactionCancel(db_id)
            | Self::DbPushConfirm(db_id) => db_id.encode(out),
            Self::GetDbSeqnum(db_id) => [db_id.0, 0].encode(out),
            Self::DbVacuum { db_id, full } => {
                db_id.encode(out);
                Switch(*full).encode(out);
            }
            Self::Trans3Commit(marshall) => marshall.encode(out),
            Self::ScheduleForDeletion(deletion) => deletion.encode(out),
            Self::TraverseStart(start) => start.encode(out),
            Self::TraverseStartExt(start) => start.encode(out),
            Self::PushRecord(push) | Self::PushRecordStore(push) => push.encode(out),
            Self::DbTransactionStart(id)
            | Self::DbTransactionCommit(id)
            | Self::WipeDatabase(id) => id.encode(out),
            Self::DbPushStart(start) => start.encode(out),
            Self::GetPublicIpInfo(address) | Self::GetTcpTickleList(address) => {
                address.encode(out);
            }
            Self::AddPublicIp(info) | Self::DelPublicIp(info) | Self::SendGratuitousArp(info) => {
                info.encode(out);
            }
            Self::TakeoverIp(ip) | Self::ReleaseIp(ip) => ip.encode(out),
            Self::SetIfaceLinkState(interface) => interface.encode(out),
            Self::TcpClient(connection)
            | Self::TcpClientDisconnected(connection)
            | Self::TcpClientPassed(connection)
            | Self::TcpAddDelayedUpdate(connection)
            | Self::TcpRemove(connection) => connection.encode(out),
            _ => {}
        }
    }
}

const _: () = assert!(DbId::SIZE_BYTES == 4 && Srvid::SIZE_BYTES == 8);
