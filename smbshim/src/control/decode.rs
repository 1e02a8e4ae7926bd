//! Reading a control: the daemon's side (client protocol §3.1).

use super::{Attach, ControlFault, ControlRequest, Opcode};
use crate::fields::{Fields, Layout, LayoutFault};
use crate::packet::{ControlFlags, ReqControl};
use crate::structures::database::db_name;
use crate::structures::traverse::Switch;
use bateria_wire::{DbId, DbKind};

impl<'a> ControlRequest<'a> {
    /// Reads what a control asks for. Its payload must have exactly the right size, except where
    /// the original ignores it.
    ///
    /// # Errors
    /// Not served to clients, or the payload does not have its layout: status −1.
    pub fn decode(control: &ReqControl<'a>) -> Result<Self, ControlFault> {
        let unsupported = ControlFault::Unsupported { opcode: control.opcode };
        let opcode = Opcode::from_number(control.opcode).ok_or(unsupported)?;
        match Self::payload(opcode, control) {
            Ok(Some(request)) => Ok(request),
            Ok(None) => Err(unsupported),
            Err(fault) => Err(ControlFault::Payload { opcode, fault }),
        }
    }

    #[expect(clippy::too_many_lines, reason = "the table of controls, one line each")]
    fn payload(opcode: Opcode, control: &ReqControl<'a>) -> Result<Option<Self>, LayoutFault> {
        let data = control.data;
        let empty = |request| Fields::new(data).finish().map(|()| request);
        let db = |request: fn(DbId) -> Self| DbId::from_bytes(data).map(request);
        Ok(Some(match opcode {
            // These ignore a payload (client protocol §3.1).
            Opcode::GetPnn => Self::GetPnn,
            Opcode::GetPid => Self::GetPid,
            Opcode::GetRecMode => Self::GetRecMode,
            Opcode::GetCapabilities => Self::GetCapabilities,
            Opcode::Uptime => Self::Uptime,
            Opcode::ListTunables => Self::ListTunables,
            Opcode::RegisterSrvid => Self::RegisterSrvid(control.srvid),
            Opcode::DeregisterSrvid => Self::DeregisterSrvid(control.srvid),
            Opcode::TunnelRegister => Self::TunnelRegister { tunnel_id: control.srvid.0 },
            Opcode::TunnelDeregister => Self::TunnelDeregister { tunnel_id: control.srvid.0 },

            Opcode::Ping => empty(Self::Ping)?,
            Opcode::Shutdown => empty(Self::Shutdown)?,
            Opcode::GetRunState => empty(Self::GetRunState)?,
            Opcode::GetDebug => empty(Self::GetDebug)?,
            Opcode::DumpMemory => empty(Self::DumpMemory)?,
            Opcode::Statistics => empty(Self::Statistics)?,
            Opcode::StatisticsReset => empty(Self::StatisticsReset)?,
            Opcode::GetStatHistory => empty(Self::GetStatHistory)?,
            Opcode::GetNodeMap => empty(Self::GetNodeMap)?,
            Opcode::GetNodesFile => empty(Self::GetNodesFile)?,
            Opcode::ReloadNodesFile => empty(Self::ReloadNodesFile)?,
            Opcode::GetVnnMap => empty(Self::GetVnnMap)?,
            Opcode::GetReclockFile => empty(Self::GetReclockFile)?,
            Opcode::StopNode => empty(Self::StopNode)?,
            Opcode::ContinueNode => empty(Self::ContinueNode)?,
            Opcode::DisableNode => empty(Self::DisableNode)?,
            Opcode::EnableNode => empty(Self::EnableNode)?,
            Opcode::GetBanState => empty(Self::GetBanState)?,
            Opcode::GetAllTunables => empty(Self::GetAllTunables)?,
            Opcode::GetDbMap => empty(Self::GetDbMap)?,
            Opcode::GetPublicIps => {
                let only_available = control.flags.contains(ControlFlags::ONLY_AVAILABLE);
                empty(Self::GetPublicIps { only_available })?
            }
            Opcode::ReloadPublicIps => empty(Self::ReloadPublicIps)?,
            Opcode::IpReallocated => empty(Self::IpReallocated)?,
            Opcode::GetIfaces => empty(Self::GetIfaces)?,

            Opcode::GetDbName => db(Self::GetDbName)?,
            Opcode::GetDbPath => db(Self::GetDbPath)?,
            Opcode::DbDetach => db(Self::Detach)?,
            Opcode::DbOpenFlags => db(Self::DbOpenFlags)?,
            Opcode::EnableSeqnum => db(Self::EnableSeqnum)?,
            Opcode::SetDbReadonly => db(Self::SetDbReadonly)?,
            Opcode::SetDbSticky => db(Self::SetDbSticky)?,
            Opcode::GetDbStatistics => db(Self::GetDbStatistics)?,
            Opcode::DbGetHealth => db(Self::DbGetHealth)?,
            Opcode::DbSetHealthy => db(Self::DbSetHealthy)?,
            Opcode::DbFreeze => db(Self::DbFreeze)?,
            Opcode::DbThaw => db(Self::DbThaw)?,
            Opcode::DbTransactionCancel => db(Self::DbTransactionCancel)?,
            Opcode::DbPushConfirm => db(Self::DbPushConfirm)?,

            Opcode::DbAttach => Self::attach(DbKind::Volatile, control)?,
            Opcode::DbAttachPersistent => Self::attach(DbKind::Persistent, control)?,
            Opcode::DbAttachReplicated => Self::attach(DbKind::Replicated, control)?,
            Opcode::GetDbSeqnum => {
                // The second word is 0 and means nothing (pitfall 8).
                let [db_id, _]: [u32; 2] = Layout::from_bytes(data)?;
                Self::GetDbSeqnum(DbId(db_id))
            }
            Opcode::DbVacuum => {
                let (db_id, Switch(full)) =
                    exactly(data, |fields| Ok((fields.read()?, fields.read()?)))?;
                Self::DbVacuum { db_id, full }
            }
            Opcode::SetLmasterRole => Self::SetLmasterRole { enabled: u32::from_bytes(data)? != 0 },
            Opcode::SetRecMasterRole => {
                Self::SetRecMasterRole { enabled: u32::from_bytes(data)? != 0 }
            }
            Opcode::SetDebug => Self::SetDebug { level: Layout::from_bytes(data)? },
            Opcode::SetRecMode => Self::SetRecMode { mode: Layout::from_bytes(data)? },
            Opcode::ProcessExists => Self::ProcessExists { pid: Layout::from_bytes(data)? },
            Opcode::CheckPidSrvid => exactly(data, |fields| {
                Ok(Self::CheckPidSrvid { pid: fields.read()?, srvid: fields.read()? })
            })?,
            Opcode::EchoData => exactly(data, |fields| {
                let [delay_ms, len] = fields.read()?;
                Ok(Self::Echo { delay_ms, data: fields.take_u32(len)? })
            })?,
            Opcode::DeregisterNotify => Self::DeregisterNotify(Layout::from_bytes(data)?),

            Opcode::SetBanState => Self::SetBanState(Layout::from_bytes(data)?),
            Opcode::GetTunable => Self::GetTunable(Layout::from_bytes(data)?),
            Opcode::SetTunable => Self::SetTunable(Layout::from_bytes(data)?),
            Opcode::RegisterNotify => Self::RegisterNotify(Layout::from_bytes(data)?),
            Opcode::Trans3Commit => Self::Trans3Commit(Layout::from_bytes(data)?),
            Opcode::ScheduleForDeletion => Self::ScheduleForDeletion(Layout::from_bytes(data)?),
            Opcode::TraverseStart => Self::TraverseStart(Layout::from_bytes(data)?),
            Opcode::TraverseStartExt => Self::TraverseStartExt(Layout::from_bytes(data)?),
            Opcode::PushRecord => Self::PushRecord(Layout::from_bytes(data)?),
            Opcode::PushRecordStore => Self::PushRecordStore(Layout::from_bytes(data)?),
            Opcode::DbTransactionStart => Self::DbTransactionStart(Layout::from_bytes(data)?),
            Opcode::DbTransactionCommit => Self::DbTransactionCommit(Layout::from_bytes(data)?),
            Opcode::WipeDatabase => Self::WipeDatabase(Layout::from_bytes(data)?),
            Opcode::DbPushStart => Self::DbPushStart(Layout::from_bytes(data)?),
            Opcode::GetPublicIpInfo => Self::GetPublicIpInfo(Layout::from_bytes(data)?),
            Opcode::AddPublicIp => Self::AddPublicIp(Layout::from_bytes(data)?),
            Opcode::DelPublicIp => Self::DelPublicIp(Layout::from_bytes(data)?),
            Opcode::TakeoverIp => Self::TakeoverIp(Layout::from_bytes(data)?),
            Opcode::ReleaseIp => Self::ReleaseIp(Layout::from_bytes(data)?),
            Opcode::SendGratuitousArp => Self::SendGratuitousArp(Layout::from_bytes(data)?),
            Opcode::SetIfaceLinkState => Self::SetIfaceLinkState(Layout::from_bytes(data)?),
            Opcode::TcpClient => Self::TcpClient(Layout::from_bytes(data)?),
            Opcode::TcpClientDisconnected => Self::TcpClientDisconnected(Layout::from_bytes(data)?),
            Opcode::TcpClientPassed => Self::TcpClientPassed(Layout::from_bytes(data)?),
            Opcode::TcpAddDelayedUpdate => Self::TcpAddDelayedUpdate(Layout::from_bytes(data)?),
            Opcode::TcpRemove => Self::TcpRemove(Layout::from_bytes(data)?),
            Opcode::GetTcpTickleList => Self::GetTcpTickleList(Layout::from_bytes(data)?),
            _ => return Ok(None),
        }))
    }

    fn attach(kind: DbKind, control: &ReqControl<'a>) -> Result<Self, LayoutFault> {
        let for_recovery = control.flags.contains(ControlFlags::ATTACH_RECOVERY);
        Ok(Self::Attach(Attach { kind, name: db_name(control.data)?, for_recovery }))
    }
}

/// Reads a payload that has no structure of its own, and checks that nothing is left.
fn exactly<'a, T>(
    data: &'a [u8],
    read: impl FnOnce(&mut Fields<'a>) -> Result<T, LayoutFault>,
) -> Result<T, LayoutFault> {
    let mut fields = Fields::new(data);
    let value = read(&mut fields)?;
    fields.finish()?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Tier;
    use crate::header::Header;
    use bateria_wire::{Pnn, Srvid};

    fn control(opcode: Opcode, data: &[u8]) -> ReqControl<'_> {
        ReqControl {
            header: Header::control(Pnn::CURRENT, 1),
            opcode: opcode as u32,
            srvid: Srvid(0),
            client_id: 0,
            flags: ControlFlags::empty(),
            data,
        }
    }

    #[test]
    fn tiers_a_and_b_are_served_and_the_rest_is_not() {
        for opcode in Opcode::ALL {
            let decoded = ControlRequest::decode(&control(*opcode, &[]));
            let unsupported = matches!(decoded, Err(ControlFault::Unsupported { .. }));
            let served = opcode.tier() <= Tier::B || *opcode == Opcode::PushRecordStore;
            assert_eq!(unsupported, !served, "{opcode}");
        }
    }

    #[test]
    fn an_unassigned_number_is_unsupported() {
        let request = ReqControl { opcode: 164, ..control(Opcode::Ping, &[]) };
        let fault = ControlFault::Unsupported { opcode: 164 };
        assert_eq!(ControlRequest::decode(&request), Err(fault));
        assert_eq!(fault.status(), -1);
    }

    #[test]
    fn a_payload_where_none_belongs_is_refused() {
        for opcode in [Opcode::Ping, Opcode::GetNodeMap, Opcode::GetPublicIps] {
            assert!(ControlRequest::decode(&control(opcode, &[])).is_ok());
            assert!(ControlRequest::decode(&control(opcode, &[0])).is_err());
        }
    }

    #[test]
    fn some_controls_ignore_their_payload() {
        use Opcode::{
            DeregisterSrvid, GetCapabilities, GetPid, GetPnn, GetRecMode, ListTunables,
            RegisterSrvid, TunnelDeregister, TunnelRegister, Uptime,
        };
        for opcode in [
            GetPnn,
            GetPid,
            GetRecMode,
            GetCapabilities,
            Uptime,
            ListTunables,
            RegisterSrvid,
            DeregisterSrvid,
            TunnelRegister,
            TunnelDeregister,
        ] {
            assert!(ControlRequest::decode(&control(opcode, &[1, 2, 3])).is_ok(), "{opcode}");
        }
    }

    #[test]
    fn every_byte_too_few_or_too_many_is_refused() {
        let pid_and_srvid = [7; 13];
        let decode =
            |size| ControlRequest::decode(&control(Opcode::CheckPidSrvid, &pid_and_srvid[..size]));
        assert!(decode(12).is_ok());
        for size in (0..12).chain([13]) {
            assert!(decode(size).is_err(), "{size}");
        }
    }
}
