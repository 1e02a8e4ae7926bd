//! What a control asks for (client protocol §3.2).

use crate::marshall::Marshall;
use crate::structures::address::{AddressInfo, Connection, Interface, PublicIp};
use crate::structures::database::{PushStart, ScheduledDeletion, TransactionId};
use crate::structures::node::BanState;
use crate::structures::notify::Notify;
use crate::structures::push::PushRecord;
use crate::structures::traverse::{TraverseStart, TraverseStartExt};
use crate::structures::tunable::{GetTunable, SetTunable};
use bateria_wire::{DbId, DbKind, Srvid};
use core::net::SocketAddr;

/// Every control of tiers A and B, and PUSH_RECORD_STORE, which is answered to clients too.
///
/// Comments say what stands in a successful reply when it is more than status 0:
/// `status` means a value in the status field, anything else is reply data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ControlRequest<'a> {
    // The daemon and its node.
    /// status = PNN
    GetPnn,
    /// status = pid of the daemon
    GetPid,
    /// `Uptime`
    Uptime,
    /// status = number of clients
    Ping,
    /// Sent with NOREPLY.
    Shutdown,
    /// `RunState`
    GetRunState,
    /// `Capabilities`
    GetCapabilities,
    SetLmasterRole {
        enabled: bool,
    },
    SetRecMasterRole {
        enabled: bool,
    },
    /// log level
    GetDebug,
    SetDebug {
        level: i32,
    },
    /// text without NUL
    DumpMemory,
    /// `Statistics`
    Statistics,
    StatisticsReset,
    /// `StatisticsHistory`
    GetStatHistory,
    /// the same bytes
    Echo {
        delay_ms: u32,
        data: &'a [u8],
    },

    // The cluster.
    /// `NodeMap`
    GetNodeMap,
    /// `NodeMap` as the file says now
    GetNodesFile,
    ReloadNodesFile,
    /// `VnnMap`
    GetVnnMap,
    /// status = recovery mode
    GetRecMode,
    SetRecMode {
        mode: u32,
    },
    /// text or nothing
    GetReclockFile,
    StopNode,
    ContinueNode,
    DisableNode,
    EnableNode,
    SetBanState(BanState),
    /// `BanState`
    GetBanState,

    // Tunables.
    /// `TunableList`
    ListTunables,
    /// value
    GetTunable(GetTunable<'a>),
    SetTunable(SetTunable<'a>),
    /// `Tunables`
    GetAllTunables,

    // Processes, messages, tunnels.
    /// status 0: a client of this pid is connected and alive
    ProcessExists {
        pid: i32,
    },
    /// status 0: a connection of this pid has registered the srvid
    CheckPidSrvid {
        pid: i32,
        srvid: Srvid,
    },
    RegisterSrvid(Srvid),
    /// status 2 when it was not registered
    DeregisterSrvid(Srvid),
    RegisterNotify(Notify<'a>),
    DeregisterNotify(Srvid),
    TunnelRegister {
        tunnel_id: u64,
    },
    TunnelDeregister {
        tunnel_id: u64,
    },

    // Databases.
    /// database id
    Attach(Attach<'a>),
    Detach(DbId),
    /// `DbMap`
    GetDbMap,
    /// text
    GetDbName(DbId),
    /// text
    GetDbPath(DbId),
    /// TDB flags
    DbOpenFlags(DbId),
    EnableSeqnum(DbId),
    SetDbReadonly(DbId),
    SetDbSticky(DbId),
    /// number
    GetDbSeqnum(DbId),
    /// `DbStatistics`
    GetDbStatistics(DbId),
    /// reason, or nothing when healthy
    DbGetHealth(DbId),
    DbSetHealthy(DbId),
    DbVacuum {
        db_id: DbId,
        full: bool,
    },

    // Records.
    Trans3Commit(Marshall<'a>),
    ScheduleForDeletion(ScheduledDeletion<'a>),
    TraverseStart(TraverseStart),
    TraverseStartExt(TraverseStartExt),
    PushRecord(PushRecord<'a>),
    PushRecordStore(PushRecord<'a>),

    // Whole databases, for `wipedb` and `restoredb`.
    DbFreeze(DbId),
    DbThaw(DbId),
    DbTransactionStart(TransactionId),
    DbTransactionCommit(TransactionId),
    DbTransactionCancel(DbId),
    WipeDatabase(TransactionId),
    DbPushStart(PushStart),
    /// number of records
    DbPushConfirm(DbId),

    // Addresses.
    /// list of `PublicIp`
    GetPublicIps {
        only_available: bool,
    },
    /// `PublicIpInfo`
    GetPublicIpInfo(SocketAddr),
    AddPublicIp(AddressInfo<'a>),
    DelPublicIp(AddressInfo<'a>),
    ReloadPublicIps,
    TakeoverIp(PublicIp),
    ReleaseIp(PublicIp),
    IpReallocated,
    SendGratuitousArp(AddressInfo<'a>),
    /// list of `Interface`
    GetIfaces,
    SetIfaceLinkState(Interface),
    TcpClient(Connection),
    TcpClientDisconnected(Connection),
    TcpClientPassed(Connection),
    TcpAddDelayedUpdate(Connection),
    TcpRemove(Connection),
    /// `TickleList`
    GetTcpTickleList(SocketAddr),
}

/// The three DB_ATTACH in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attach<'a> {
    pub kind: DbKind,
    /// Fit to be a file's name.
    pub name: &'a str,
    /// Sent by recovery, which is not made to wait for itself.
    pub for_recovery: bool,
}
