//! Numbers of the controls (client protocol §3.2, Samba 4.25 §2).

use core::fmt;

macro_rules! opcodes {
    ($($number:literal $variant:ident $name:literal $tier:ident;)*) => {
        /// A control's number; unassigned ones have none.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum Opcode {
            $($variant = $number),*
        }

        impl Opcode {
            /// Every assigned number in ascending order.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name in the specification's spelling.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),*
                }
            }

            /// Who needs it.
            #[must_use]
            pub fn tier(self) -> Tier {
                match self {
                    $(Self::$variant => Tier::$tier),*
                }
            }
        }
    };
}

/// Who needs a control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Samba's file service.
    A,
    /// The `ctdb` command's documented subcommands.
    B,
    /// Daemons among themselves; ours have their own frames, so clients get status −1.
    C,
    /// Nobody any more: status −1.
    D,
}

impl Opcode {
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        BY_NUMBER.get(number as usize).copied().flatten()
    }
}

const BY_NUMBER: [Option<Opcode>; 164] = {
    let mut table = [None; 164];
    let mut index = 0;
    while index < Opcode::ALL.len() {
        let opcode = Opcode::ALL[index];
        table[opcode as usize] = Some(opcode);
        index += 1;
    }
    table
};

impl fmt::Debug for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

opcodes! {
    0 ProcessExists "PROCESS_EXISTS" A;
    1 Statistics "STATISTICS" B;
    3 Ping "PING" B;
    4 GetDbPath "GETDBPATH" A;
    5 GetVnnMap "GETVNNMAP" B;
    6 SetVnnMap "SETVNNMAP" C;
    7 GetDebug "GET_DEBUG" B;
    8 SetDebug "SET_DEBUG" B;
    9 GetDbMap "GET_DBMAP" B;
    10 GetNodeMapV4 "GET_NODEMAPv4" D;
    11 SetDmaster "SET_DMASTER" D;
    13 PullDb "PULL_DB" D;
    14 PushDb "PUSH_DB" D;
    15 GetRecMode "GET_RECMODE" B;
    16 SetRecMode "SET_RECMODE" B;
    17 StatisticsReset "STATISTICS_RESET" B;
    18 DbAttach "DB_ATTACH" A;
    19 SetCall "SET_CALL" D;
    20 TraverseStart "TRAVERSE_START" A;
    21 TraverseAll "TRAVERSE_ALL" C;
    22 TraverseData "TRAVERSE_DATA" C;
    23 RegisterSrvid "REGISTER_SRVID" A;
    24 DeregisterSrvid "DEREGISTER_SRVID" A;
    25 GetDbName "GET_DBNAME" B;
    26 EnableSeqnum "ENABLE_SEQNUM" A;
    27 UpdateSeqnum "UPDATE_SEQNUM" C;
    29 DumpMemory "DUMP_MEMORY" B;
    30 GetPid "GET_PID" A;
    31 GetRecMaster "GET_RECMASTER" D;
    32 SetRecMaster "SET_RECMASTER" D;
    33 Freeze "FREEZE" C;
    34 Thaw "THAW" D;
    35 GetPnn "GET_PNN" A;
    36 Shutdown "SHUTDOWN" B;
    37 GetMonMode "GET_MONMODE" D;
    42 TakeoverIpV4 "TAKEOVER_IPv4" D;
    43 ReleaseIpV4 "RELEASE_IPv4" D;
    44 TcpClient "TCP_CLIENT" A;
    45 TcpAdd "TCP_ADD" C;
    46 TcpRemove "TCP_REMOVE" B;
    47 Startup "STARTUP" C;
    48 SetTunable "SET_TUNABLE" B;
    49 GetTunable "GET_TUNABLE" B;
    50 ListTunables "LIST_TUNABLES" B;
    51 GetPublicIpsV4 "GET_PUBLIC_IPSv4" D;
    52 ModifyFlags "MODIFY_FLAGS" C;
    53 GetAllTunables "GET_ALL_TUNABLES" B;
    54 KillTcp "KILL_TCP" D;
    55 GetTcpTickleList "GET_TCP_TICKLE_LIST" B;
    56 SetTcpTickleList "SET_TCP_TICKLE_LIST" C;
    57 ServerId57 "SERVER_ID_57" D;
    58 ServerId58 "SERVER_ID_58" D;
    59 ServerId59 "SERVER_ID_59" D;
    60 ServerId60 "SERVER_ID_60" D;
    61 DbAttachPersistent "DB_ATTACH_PERSISTENT" A;
    62 PersistentStore "PERSISTENT_STORE" D;
    63 UpdateRecord "UPDATE_RECORD" C;
    64 SendGratuitousArp "SEND_GRATUITOUS_ARP" B;
    65 TransactionStart "TRANSACTION_START" D;
    66 TransactionCommit "TRANSACTION_COMMIT" D;
    67 WipeDatabase "WIPE_DATABASE" B;
    69 Uptime "UPTIME" A;
    70 StartRecovery "START_RECOVERY" C;
    71 EndRecovery "END_RECOVERY" C;
    72 ReloadNodesFile "RELOAD_NODES_FILE" B;
    74 TryDeleteRecords "TRY_DELETE_RECORDS" C;
    75 EnableMonitor "ENABLE_MONITOR" D;
    76 DisableMonitor "DISABLE_MONITOR" D;
    77 AddPublicIp "ADD_PUBLIC_IP" B;
    78 DelPublicIp "DEL_PUBLIC_IP" B;
    79 RunEventScripts "RUN_EVENTSCRIPTS" D;
    80 GetCapabilities "GET_CAPABILITIES" B;
    81 StartPersistentUpdate "START_PERSISTENT_UPDATE" D;
    82 CancelPersistentUpdate "CANCEL_PERSISTENT_UPDATE" D;
    83 Trans2Op83 "TRANS2_83" D;
    84 Trans2Op84 "TRANS2_84" D;
    85 Trans2Op85 "TRANS2_85" D;
    86 Trans2Op86 "TRANS2_86" D;
    87 RecdPing "RECD_PING" C;
    88 ReleaseIp "RELEASE_IP" B;
    89 TakeoverIp "TAKEOVER_IP" B;
    90 GetPublicIps "GET_PUBLIC_IPS" A;
    91 GetNodeMap "GET_NODEMAP" A;
    96 GetEventScriptStatus "GET_EVENT_SCRIPT_STATUS" D;
    97 TraverseKill "TRAVERSE_KILL" C;
    98 RecdReclockLatency "RECD_RECLOCK_LATENCY" C;
    99 GetReclockFile "GET_RECLOCK_FILE" B;
    100 SetReclockFile "SET_RECLOCK_FILE" D;
    101 StopNode "STOP_NODE" B;
    102 ContinueNode "CONTINUE_NODE" B;
    103 SetNatGwState "SET_NATGWSTATE" D;
    104 SetLmasterRole "SET_LMASTERROLE" B;
    105 SetRecMasterRole "SET_RECMASTERROLE" B;
    107 EnableScript "ENABLE_SCRIPT" D;
    108 DisableScript "DISABLE_SCRIPT" D;
    109 SetBanState "SET_BAN_STATE" B;
    110 GetBanState "GET_BAN_STATE" B;
    111 SetDbPriority "SET_DB_PRIORITY" D;
    112 GetDbPriority "GET_DB_PRIORITY" D;
    113 TransactionCancel "TRANSACTION_CANCEL" D;
    114 RegisterNotify "REGISTER_NOTIFY" A;
    115 DeregisterNotify "DEREGISTER_NOTIFY" A;
    116 Trans2Op116 "TRANS2_116" D;
    117 GetLog "GET_LOG" D;
    118 ClearLog "CLEAR_LOG" D;
    119 Trans3Commit "TRANS3_COMMIT" A;
    120 GetDbSeqnum "GET_DB_SEQNUM" B;
    121 DbSetHealthy "DB_SET_HEALTHY" B;
    122 DbGetHealth "DB_GET_HEALTH" B;
    123 GetPublicIpInfo "GET_PUBLIC_IP_INFO" B;
    124 GetIfaces "GET_IFACES" B;
    125 SetIfaceLinkState "SET_IFACE_LINK_STATE" B;
    126 TcpAddDelayedUpdate "TCP_ADD_DELAYED_UPDATE" B;
    127 GetStatHistory "GET_STAT_HISTORY" B;
    128 ScheduleForDeletion "SCHEDULE_FOR_DELETION" A;
    129 SetDbReadonly "SET_DB_READONLY" A;
    130 CheckSrvids "CHECK_SRVIDS" D;
    131 TraverseStartExt "TRAVERSE_START_EXT" B;
    132 GetDbStatistics "GET_DB_STATISTICS" B;
    133 SetDbSticky "SET_DB_STICKY" B;
    134 ReloadPublicIps "RELOAD_PUBLIC_IPS" B;
    135 TraverseAllExt "TRAVERSE_ALL_EXT" C;
    136 ReceiveRecords "RECEIVE_RECORDS" D;
    137 IpReallocated "IPREALLOCATED" B;
    138 GetRunState "GET_RUNSTATE" B;
    139 DbDetach "DB_DETACH" B;
    140 GetNodesFile "GET_NODES_FILE" B;
    141 DbFreeze "DB_FREEZE" B;
    142 DbThaw "DB_THAW" B;
    143 DbTransactionStart "DB_TRANSACTION_START" B;
    144 DbTransactionCommit "DB_TRANSACTION_COMMIT" B;
    145 DbTransactionCancel "DB_TRANSACTION_CANCEL" B;
    146 DbPull "DB_PULL" C;
    147 DbPushStart "DB_PUSH_START" B;
    148 DbPushConfirm "DB_PUSH_CONFIRM" B;
    149 DbOpenFlags "DB_OPEN_FLAGS" A;
    150 DbAttachReplicated "DB_ATTACH_REPLICATED" B;
    151 CheckPidSrvid "CHECK_PID_SRVID" A;
    152 TunnelRegister "TUNNEL_REGISTER" B;
    153 TunnelDeregister "TUNNEL_DEREGISTER" B;
    154 VacuumFetch "VACUUM_FETCH" C;
    155 DbVacuum "DB_VACUUM" B;
    156 EchoData "ECHO_DATA" B;
    157 DisableNode "DISABLE_NODE" B;
    158 EnableNode "ENABLE_NODE" B;
    159 TcpClientDisconnected "TCP_CLIENT_DISCONNECTED" A;
    160 TcpClientPassed "TCP_CLIENT_PASSED" A;
    161 StartIpReallocate "START_IPREALLOCATE" C;
    162 PushRecord "PUSH_RECORD" A;
    163 PushRecordStore "PUSH_RECORD_STORE" C;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_assigned_numbers_are_known() {
        let unassigned = [2, 12, 28, 38, 39, 40, 41, 68, 73, 92, 93, 94, 95, 106];
        for number in 0..200 {
            let opcode = Opcode::from_number(number);
            assert_eq!(opcode.is_none(), unassigned.contains(&number) || number > 163);
            assert!(opcode.is_none_or(|opcode| opcode as u32 == number));
        }
    }

    #[test]
    fn what_samba_4_25_needs_to_connect_is_tier_a() {
        for opcode in [Opcode::GetPid, Opcode::Uptime, Opcode::PushRecord] {
            assert_eq!(opcode.tier(), Tier::A);
        }
    }
}
