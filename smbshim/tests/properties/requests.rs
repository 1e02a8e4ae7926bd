//! One request of every kind.

use crate::parts::Parts;
use bateria_smbshim::structures::address::AddressInfo;
use bateria_smbshim::structures::database::{PushStart, ScheduledDeletion, TransactionId};
use bateria_smbshim::structures::node::BanState;
use bateria_smbshim::structures::notify::Notify;
use bateria_smbshim::structures::push::PushRecord;
use bateria_smbshim::structures::traverse::{Switch, TraverseStart, TraverseStartExt};
use bateria_smbshim::structures::tunable::{GetTunable, SetTunable};
use bateria_smbshim::{Attach, ControlRequest};
use bateria_wire::{DbKind, Generation};

use ControlRequest as R;

impl Parts {
    /// One request of every kind.
    pub(crate) fn requests(&self) -> Vec<ControlRequest<'_>> {
        let mut requests = without_payload();
        requests.extend(self.about_databases());
        requests.extend(self.with_payload());
        requests
    }

    fn about_databases(&self) -> Vec<ControlRequest<'_>> {
        let kinds = [DbKind::Volatile, DbKind::Persistent, DbKind::Replicated];
        let attach = |kind| Attach { kind, name: &self.name, for_recovery: self.flag };
        let mut requests = Vec::from(kinds.map(|kind| R::Attach(attach(kind))));
        let others = [
            R::Detach,
            R::GetDbName,
            R::GetDbPath,
            R::DbOpenFlags,
            R::EnableSeqnum,
            R::SetDbReadonly,
            R::SetDbSticky,
            R::GetDbSeqnum,
            R::GetDbStatistics,
            R::DbGetHealth,
            R::DbSetHealthy,
            R::DbFreeze,
            R::DbThaw,
            R::DbTransactionCancel,
            R::DbPushConfirm,
        ];
        requests.extend(others.map(|request| request(self.db_id())));
        requests
    }

    fn with_payload(&self) -> Vec<ControlRequest<'_>> {
        let db_id = self.db_id();
        let start = TraverseStart { db_id, reqid: self.numbers[1], srvid: self.srvid };
        let id = TransactionId { db_id, tid: self.numbers[1] };
        let info = AddressInfo {
            address: self.address,
            mask_bits: self.numbers[3],
            interface: Some(&self.interface),
        };
        let push = PushRecord {
            generation: Generation(self.numbers[3]),
            db_id,
            header: self.header(),
            key: &self.key,
            value: &self.value,
        };
        let deletion = ScheduledDeletion { db_id, header: self.header(), key: &self.key };
        vec![
            R::SetLmasterRole { enabled: self.flag },
            R::SetRecMasterRole { enabled: self.flag },
            R::SetDebug { level: self.signed() },
            R::Echo { delay_ms: self.numbers[3], data: &self.value },
            R::SetRecMode { mode: self.numbers[3] },
            R::SetBanState(BanState { pnn: self.pnn(), duration_s: self.numbers[3] }),
            R::GetTunable(GetTunable { name: &self.name }),
            R::SetTunable(SetTunable { value: self.numbers[3], name: &self.name }),
            R::ProcessExists { pid: self.signed() },
            R::CheckPidSrvid { pid: self.signed(), srvid: self.srvid },
            R::RegisterSrvid(self.srvid),
            R::DeregisterSrvid(self.srvid),
            R::RegisterNotify(Notify { srvid: self.srvid, data: &self.value }),
            R::DeregisterNotify(self.srvid),
            R::TunnelRegister { tunnel_id: self.srvid.0 },
            R::TunnelDeregister { tunnel_id: self.srvid.0 },
            R::DbVacuum { db_id, full: self.flag },
            R::Trans3Commit(self.marshall()),
            R::ScheduleForDeletion(deletion),
            R::TraverseStart(start),
            R::TraverseStartExt(TraverseStartExt { start, with_empty: Switch(self.flag) }),
            R::PushRecord(push),
            R::PushRecordStore(push),
            R::DbTransactionStart(id),
            R::DbTransactionCommit(id),
            R::WipeDatabase(id),
            R::DbPushStart(PushStart { db_id, lmaster: self.pnn(), srvid: self.srvid }),
            R::GetPublicIps { only_available: self.flag },
            R::GetPublicIpInfo(self.address),
            R::AddPublicIp(info),
            R::DelPublicIp(AddressInfo { interface: None, ..info }),
            R::TakeoverIp(self.public_ip()),
            R::ReleaseIp(self.public_ip()),
            R::SendGratuitousArp(info),
            R::SetIfaceLinkState(self.interface()),
            R::TcpClient(self.connection()),
            R::TcpClientDisconnected(self.connection()),
            R::TcpClientPassed(self.connection()),
            R::TcpAddDelayedUpdate(self.connection()),
            R::TcpRemove(self.connection()),
            R::GetTcpTickleList(self.address),
        ]
    }
}

fn without_payload() -> Vec<ControlRequest<'static>> {
    vec![
        R::GetPnn,
        R::GetPid,
        R::Uptime,
        R::Ping,
        R::Shutdown,
        R::GetRunState,
        R::GetCapabilities,
        R::GetDebug,
        R::DumpMemory,
        R::Statistics,
        R::StatisticsReset,
        R::GetStatHistory,
        R::GetNodeMap,
        R::GetNodesFile,
        R::ReloadNodesFile,
        R::GetVnnMap,
        R::GetRecMode,
        R::GetReclockFile,
        R::StopNode,
        R::ContinueNode,
        R::DisableNode,
        R::EnableNode,
        R::GetBanState,
        R::ListTunables,
        R::GetAllTunables,
        R::GetDbMap,
        R::ReloadPublicIps,
        R::IpReallocated,
        R::GetIfaces,
    ]
}
