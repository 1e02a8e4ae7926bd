//! The header in front of every record (tdb §2.2).

/// One record header.
///
/// ```text
/// offset  size  field      live or dead        free                 recovery area
///      0     4  next       next in the chain   next on the list     0
///      4     4  rec_len    bytes behind the header, padding and tailer included
///      8     4  key_len    bytes of the key    stale                end of file before
///     12     4  data_len   bytes of the data   stale                bytes of the image
///     16     4  full_hash  hash of the key     stale                0
///     20     4  magic      see `Kind`
///     24        key, data, padding, and at the end the tailer: 24 + rec_len
/// ```
///
/// Byte order of the file. `next` comes first so that a head of a chain and a record's link are
/// both "a u32 link at an address".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    pub next: u32,
    pub rec_len: u32,
    pub key_len: u32,
    pub data_len: u32,
    pub full_hash: u32,
    pub magic: u32,
}

/// What a record is, by its magic number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Live,
    Dead,
    Free,
    /// Recovery area that holds a rollback image of an unfinished commit.
    RecoveryArmed,
    /// Recovery area, nothing pending; also filler left by a crash.
    RecoveryIdle,
    /// Filler of file systems without `fallocate`.
    Pad,
    Unknown,
}

impl RecordHeader {
    pub(crate) fn from_bytes(bytes: &[u8; 24], swapped: bool) -> Self {
        let field = |at: usize| {
            let value =
                u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            if swapped { value.swap_bytes() } else { value }
        };
        Self {
            next: field(0),
            rec_len: field(4),
            key_len: field(8),
            data_len: field(12),
            full_hash: field(16),
            magic: field(20),
        }
    }

    pub(crate) fn to_bytes(self, swapped: bool) -> [u8; 24] {
        let mut bytes = [0; 24];
        let fields =
            [self.next, self.rec_len, self.key_len, self.data_len, self.full_hash, self.magic];
        for (slot, value) in bytes.chunks_exact_mut(4).zip(fields) {
            let value = if swapped { value.swap_bytes() } else { value };
            slot.copy_from_slice(&value.to_ne_bytes());
        }
        bytes
    }

    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.magic {
            MAGIC_LIVE => Kind::Live,
            MAGIC_DEAD => Kind::Dead,
            MAGIC_FREE => Kind::Free,
            MAGIC_RECOVERY => Kind::RecoveryArmed,
            MAGIC_RECOVERY_IDLE => Kind::RecoveryIdle,
            MAGIC_PAD => Kind::Pad,
            _ => Kind::Unknown,
        }
    }

    /// Bytes of header and body together; `None` when no file can hold them.
    pub(crate) fn total(&self) -> Option<u32> {
        self.rec_len.checked_add(RECORD_HEADER_SIZE)
    }
}

pub(crate) const RECORD_HEADER_SIZE: u32 = 24;
pub(crate) const TAILER_SIZE: u32 = 4;
pub(crate) const MAGIC_AT: u32 = 20;
pub(crate) const MAGIC_LIVE: u32 = 0x2601_1999;
pub(crate) const MAGIC_DEAD: u32 = 0xFEE1_DEAD;
pub(crate) const MAGIC_FREE: u32 = !MAGIC_LIVE;
pub(crate) const MAGIC_RECOVERY: u32 = 0xF53B_C0E7;
pub(crate) const MAGIC_RECOVERY_IDLE: u32 = 0;
pub(crate) const MAGIC_PAD: u32 = 0x4242_4242;

const _: () = assert!(MAGIC_FREE == 0xD9FE_E666);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_both_byte_orders() {
        let header = RecordHeader {
            next: 1,
            rec_len: 2,
            key_len: 3,
            data_len: 4,
            full_hash: 0x1234_5678,
            magic: MAGIC_LIVE,
        };
        for swapped in [false, true] {
            assert_eq!(RecordHeader::from_bytes(&header.to_bytes(swapped), swapped), header);
        }
        assert_eq!(header.to_bytes(true)[16..24], [0x12, 0x34, 0x56, 0x78, 0x26, 0x01, 0x19, 0x99]);
    }
}
