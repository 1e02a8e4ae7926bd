//! Identities of processes and the tool's locks (client protocol §4.8).

use crate::fields::structure;
use bateria_wire::Pnn;

structure! {
    /// A process of the cluster, as Samba writes it into messages and records.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct ServerId [24 bytes] {
        0 => pid: u64,
        8 => task: u32,
        12 => vnn: Pnn,
        /// Tells apart processes that had the same pid; all ones: do not verify.
        16 => unique: u64,
    }
}

structure! {
    /// One holder of a lock in the stock tool's g_lock records, which are arrays of these. Samba
    /// writes another format into the same database.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ToolLock [32 bytes] {
        /// 0 to read, 1 to write.
        0 => kind: u32,
        8 => holder: ServerId,
    }
}

impl ToolLock {
    pub const READ: u32 = 0;
    pub const WRITE: u32 = 1;
}
