//! The table of tunables: 62, in the order of GET_ALL_TUNABLES (client protocol §4.7).

macro_rules! tunables {
    ($($variant:ident = $default:literal, $name:literal, $state:ident;)*) => {
        /// A tunable. Its number is its place in GET_ALL_TUNABLES. Durations are in seconds unless
        /// the name says otherwise; SeqnumInterval is in milliseconds.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Tunable {
            $($variant),*
        }

        impl Tunable {
            pub const ALL: [Self; 62] = [$(Self::$variant),*];

            /// The name as the original writes it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),*
                }
            }

            #[must_use]
            pub fn default_value(self) -> u32 {
                match self {
                    $(Self::$variant => $default),*
                }
            }

            fn state(self) -> State {
                match self {
                    $(Self::$variant => State::$state),*
                }
            }
        }
    };
}

/// Whether anything uses a tunable.
#[derive(PartialEq, Eq)]
enum State {
    Live,
    /// Accepted for old scripts' sake, and not listed.
    Obsolete,
}

impl Tunable {
    /// The tunable of a name in whatever case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tunable| tunable.name().eq_ignore_ascii_case(name))
    }

    #[must_use]
    pub fn is_obsolete(self) -> bool {
        self.state() == State::Obsolete
    }
}

tunables! {
    MaxRedirectCount = 3, "MaxRedirectCount", Obsolete;
    SeqnumInterval = 1_000, "SeqnumInterval", Live;
    ControlTimeout = 60, "ControlTimeout", Live;
    TraverseTimeout = 20, "TraverseTimeout", Live;
    KeepaliveInterval = 5, "KeepaliveInterval", Live;
    KeepaliveLimit = 5, "KeepaliveLimit", Live;
    RecoverTimeout = 30, "RecoverTimeout", Live;
    RecoverInterval = 1, "RecoverInterval", Live;
    ElectionTimeout = 3, "ElectionTimeout", Live;
    TakeoverTimeout = 9, "TakeoverTimeout", Live;
    MonitorInterval = 15, "MonitorInterval", Live;
    TickleUpdateInterval = 20, "TickleUpdateInterval", Live;
    EventScriptTimeout = 30, "EventScriptTimeout", Live;
    MonitorTimeoutCount = 20, "MonitorTimeoutCount", Live;
    EventScriptUnhealthyOnTimeout = 0, "EventScriptUnhealthyOnTimeout", Obsolete;
    RecoveryGracePeriod = 120, "RecoveryGracePeriod", Live;
    RecoveryBanPeriod = 300, "RecoveryBanPeriod", Live;
    DatabaseHashSize = 100_001, "DatabaseHashSize", Live;
    DatabaseMaxDead = 5, "DatabaseMaxDead", Live;
    RerecoveryTimeout = 10, "RerecoveryTimeout", Live;
    EnableBans = 1, "EnableBans", Live;
    DeterministicIps = 0, "DeterministicIPs", Obsolete;
    ReclockPingPeriod = 60, "ReclockPingPeriod", Obsolete;
    NoIpFailback = 0, "NoIPFailback", Live;
    DisableIpFailover = 0, "DisableIPFailover", Obsolete;
    VerboseMemoryNames = 0, "VerboseMemoryNames", Live;
    RecdPingTimeout = 60, "RecdPingTimeout", Live;
    RecdFailCount = 10, "RecdFailCount", Live;
    LogLatencyMs = 0, "LogLatencyMs", Live;
    RecLockLatencyMs = 1_000, "RecLockLatencyMs", Live;
    RecoveryDropAllIps = 120, "RecoveryDropAllIPs", Live;
    VerifyRecoveryLock = 1, "VerifyRecoveryLock", Obsolete;
    VacuumInterval = 10, "VacuumInterval", Live;
    VacuumMaxRunTime = 120, "VacuumMaxRunTime", Live;
    RepackLimit = 10_000, "RepackLimit", Live;
    VacuumLimit = 5_000, "VacuumLimit", Obsolete;
    MaxQueueDropMsg = 1_000_000, "MaxQueueDropMsg", Live;
    AllowUnhealthyDbRead = 0, "AllowUnhealthyDBRead", Live;
    StatHistoryInterval = 1, "StatHistoryInterval", Live;
    DeferredAttachTimeout = 120, "DeferredAttachTO", Live;
    VacuumFastPathCount = 60, "VacuumFastPathCount", Live;
    Lcp2PublicIps = 1, "LCP2PublicIPs", Obsolete;
    AllowClientDbAttach = 1, "AllowClientDBAttach", Live;
    RecoverPdbBySeqNum = 1, "RecoverPDBBySeqNum", Obsolete;
    DeferredRebalanceOnNodeAdd = 300, "DeferredRebalanceOnNodeAdd", Obsolete;
    FetchCollapse = 1, "FetchCollapse", Live;
    HopcountMakeSticky = 50, "HopcountMakeSticky", Live;
    StickyDuration = 600, "StickyDuration", Live;
    StickyPindown = 200, "StickyPindown", Live;
    NoIpTakeover = 0, "NoIPTakeover", Live;
    DbRecordCountWarn = 100_000, "DBRecordCountWarn", Live;
    DbRecordSizeWarn = 10_000_000, "DBRecordSizeWarn", Live;
    DbSizeWarn = 100_000_000, "DBSizeWarn", Live;
    PullDbPreallocation = 10_485_760, "PullDBPreallocation", Live;
    NoIpHostOnAllDisabled = 1, "NoIPHostOnAllDisabled", Obsolete;
    Samba3AvoidDeadlocks = 0, "Samba3AvoidDeadlocks", Obsolete;
    TdbMutexEnabled = 1, "TDBMutexEnabled", Obsolete;
    LockProcessesPerDb = 200, "LockProcessesPerDB", Live;
    RecBufferSizeLimit = 1_000_000, "RecBufferSizeLimit", Live;
    QueueBufferSize = 1_024, "QueueBufferSize", Live;
    IpAllocAlgorithm = 2, "IPAllocAlgorithm", Live;
    AllowMixedVersions = 0, "AllowMixedVersions", Live;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_places() {
        for (index, tunable) in Tunable::ALL.into_iter().enumerate() {
            assert_eq!(tunable as usize, index);
        }
        assert_eq!(Tunable::AllowMixedVersions as usize, 61);
    }

    #[test]
    fn every_name_finds_its_tunable() {
        for tunable in Tunable::ALL {
            assert_eq!(Tunable::from_name(tunable.name()), Some(tunable));
        }
    }
}
