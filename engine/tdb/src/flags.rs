//! What a handle is allowed and expected to do (tdb §5.1).

bitflags::bitflags! {
    /// Flags of a handle; the values are libtdb's, because they travel to other processes (ctdbd
    /// reports those of its own handle to `smbd`, which opens the file with exactly the same ones).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct TdbFlags: u32 {
        /// Recreate the file empty when nobody else has it open.
        const CLEAR_IF_FIRST = 0x1;
        /// Memory only.
        const INTERNAL = 0x2;
        /// No locks of any kind.
        const NOLOCK = 0x4;
        /// `pread` and `pwrite` in place of a mapping.
        const NOMMAP = 0x8;
        /// Byte order opposite to the machine's; set or cleared by an existing file.
        const CONVERT = 0x10;
        /// Informational: the file is big-endian.
        const BIGENDIAN = 0x20;
        /// Transactions do not sync.
        const NOSYNC = 0x40;
        /// Maintain the sequence number.
        const SEQNUM = 0x80;
        /// Keep up to five dead records per chain for reuse.
        const VOLATILE = 0x100;
        /// Nested transactions are allowed.
        const ALLOW_NESTING = 0x200;
        /// A nested transaction fails.
        const DISALLOW_NESTING = 0x400;
        /// Create with the Jenkins hash.
        const INCOMPATIBLE_HASH = 0x800;
        /// Create with, and accept, robust mutexes in the file.
        const MUTEX_LOCKING = 0x1000;
    }
}

impl TdbFlags {
    /// Flags of a volatile clustered database with mutexes (tdb §12).
    pub const VOLATILE_MUTEX: Self = Self::from_bits_truncate(0x1C41);
    /// Flags of a volatile or replicated clustered database without mutexes (tdb §12).
    pub const VOLATILE_FCNTL: Self = Self::from_bits_truncate(0x0C41);
    /// Flags of a persistent clustered database (tdb §12).
    pub const PERSISTENT: Self = Self::from_bits_truncate(0x0400);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sets_of_clustered_databases_have_the_published_values() {
        assert_eq!(TdbFlags::VOLATILE_MUTEX.bits(), 0x1C41);
        assert_eq!(TdbFlags::VOLATILE_FCNTL.bits(), 0x0C41);
        assert_eq!(TdbFlags::PERSISTENT.bits(), 0x0400);
    }
}
