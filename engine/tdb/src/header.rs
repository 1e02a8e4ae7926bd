//! The header of a TDB file (tdb §1).

use crate::flags::TdbFlags;
use crate::hash::HashKind;

/// What the first 168 bytes of a file say.
///
/// ```text
/// offset  size  field
///      0    32  magic_food       "TDB file\n", NUL-padded, never byte-swapped
///     32     4  version          0x2601196D, tells the byte order of everything else
///     36     4  hash_size        number of chains, at least 1
///     40     4  rwlocks          0, 0x0BAD1A51 (Jenkins) or 0x0BAD1A52 (feature_flags is valid)
///     44     4  recovery_start   offset of the recovery area, 0 = none
///     48     4  sequence_number
///     52     4  magic1_hash      fingerprints of the hash function, both 0 = old hash
///     56     4  magic2_hash
///     60     4  feature_flags    bit 0: mutex area in front of the database
///     64     4  mutex_size       bytes of that area, a multiple of the page size
///     68   100  reserved         zero
///    168     4  head of the free list
///    172   4*H  heads of the chains; the first record follows directly
/// ```
///
/// Native byte order unless the file was made on another machine. A file with mutexes has this
/// header twice: at 0 (never changed after creation) and at `mutex_size` (the live one).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) hash_size: u32,
    pub(crate) recovery_start: u32,
    pub(crate) hash: HashKind,
    pub(crate) mutexes: bool,
    pub(crate) mutex_size: u32,
    /// The file's byte order is not the machine's.
    pub(crate) swapped: bool,
    pub(crate) magic1: u32,
    pub(crate) magic2: u32,
    pub(crate) rwlocks: u32,
}

/// Why 168 bytes are not a header that we can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// Too short, or the magic string differs: an opener that may create starts afresh.
    NotTdb,
    /// Never recreated; the field, the rule it breaks, and the `errno` that libtdb gives for that.
    Refused { offset: u32, rule: &'static str, errno: i32 },
}

impl Header {
    /// Header of a new file.
    pub(crate) fn new(hash_size: u32, flags: TdbFlags, mutex_size: Option<u32>) -> Self {
        let hash = if flags.intersects(TdbFlags::INCOMPATIBLE_HASH | TdbFlags::INTERNAL) {
            HashKind::Jenkins
        } else {
            HashKind::Old
        };
        let swapped = flags.contains(TdbFlags::CONVERT);
        let (magic1, magic2) = hash.fingerprints(cfg!(target_endian = "big") ^ swapped);
        let rwlocks = match (mutex_size, hash) {
            (Some(_), _) => RWLOCKS_FEATURES,
            (None, HashKind::Jenkins) => RWLOCKS_JENKINS,
            (None, HashKind::Old) => 0,
        };
        Self {
            hash_size,
            recovery_start: 0,
            hash,
            mutexes: mutex_size.is_some(),
            mutex_size: mutex_size.unwrap_or(0),
            swapped,
            magic1,
            magic2,
            rwlocks,
        }
    }

    /// Judges the first bytes of a file. `flags` only choose which hash is tried first.
    pub(crate) fn parse(bytes: &[u8], flags: TdbFlags) -> Result<Self, HeaderFault> {
        let refused = |offset, rule, errno| Err(HeaderFault::Refused { offset, rule, errno });
        if bytes.len() < HEADER_SIZE_BYTES || bytes[..MAGIC_FOOD.len()] != *MAGIC_FOOD {
            return Err(HeaderFault::NotTdb);
        }
        let native = |at: usize| {
            u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let swapped = match native(32) {
            VERSION => false,
            other if other == VERSION.swap_bytes() => true,
            _ => return refused(VERSION_AT, "unknown format version", libc::EIO),
        };
        let field = |at: usize| if swapped { native(at).swap_bytes() } else { native(at) };
        let rwlocks = field(40);
        if !matches!(rwlocks, 0 | RWLOCKS_JENKINS | RWLOCKS_FEATURES) {
            return refused(RWLOCKS, "obsolete spinlock format", libc::ENOSYS);
        }
        let hash_size = field(36);
        if hash_size == 0 {
            return refused(HASH_SIZE, "no hash chains", libc::ENOSYS);
        }
        let features = if rwlocks == RWLOCKS_FEATURES { field(60) } else { 0 };
        if features & !FEATURES_SUPPORTED != 0 {
            return refused(FEATURE_FLAGS, "unknown feature flags", libc::ENOSYS);
        }
        let (magic1, magic2) = (field(52), field(56));
        let big_endian = cfg!(target_endian = "big") ^ swapped;
        let Some(hash) = hash_of(magic1, magic2, big_endian, flags) else {
            return refused(MAGIC1_HASH, "unknown hash function", libc::EINVAL);
        };
        let mutexes = features & FEATURE_MUTEX != 0;
        Ok(Self {
            hash_size,
            recovery_start: field(44),
            hash,
            mutexes,
            mutex_size: if mutexes { field(64) } else { 0 },
            swapped,
            magic1,
            magic2,
            rwlocks,
        })
    }

    /// Header and empty heads, as a new file starts.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = vec![0; data_start(self.hash_size) as usize];
        bytes[..MAGIC_FOOD.len()].copy_from_slice(MAGIC_FOOD);
        let fields = [
            (32, VERSION),
            (36, self.hash_size),
            (40, self.rwlocks),
            (44, self.recovery_start),
            (52, self.magic1),
            (56, self.magic2),
            (60, u32::from(self.mutexes)),
            (64, self.mutex_size),
        ];
        for (at, value) in fields {
            let value = if self.swapped { value.swap_bytes() } else { value };
            bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        bytes
    }
}

fn hash_of(magic1: u32, magic2: u32, big_endian: bool, flags: TdbFlags) -> Option<HashKind> {
    if magic1 == 0 && magic2 == 0 {
        return Some(HashKind::Old);
    }
    let kinds = if flags.contains(TdbFlags::INCOMPATIBLE_HASH) {
        [HashKind::Jenkins, HashKind::Old]
    } else {
        [HashKind::Old, HashKind::Jenkins]
    };
    kinds.into_iter().find(|kind| kind.fingerprints(big_endian) == (magic1, magic2))
}

/// Offset of the first record of a file with `hash_size` chains.
pub(crate) const fn data_start(hash_size: u32) -> u32 {
    172 + 4 * hash_size
}

pub(crate) const HEADER_SIZE_BYTES: usize = 168;
pub(crate) const MAGIC_FOOD: &[u8; 10] = b"TDB file\n\0";
pub(crate) const VERSION: u32 = 0x2601_196D;
pub(crate) const RWLOCKS_JENKINS: u32 = 0x0BAD_1A51;
pub(crate) const RWLOCKS_FEATURES: u32 = 0x0BAD_1A52;
pub(crate) const FEATURE_MUTEX: u32 = 1;
pub(crate) const FEATURES_SUPPORTED: u32 = FEATURE_MUTEX;
const VERSION_AT: u32 = 32;
pub(crate) const HASH_SIZE: u32 = 36;
const RWLOCKS: u32 = 40;
pub(crate) const RECOVERY_START: u32 = 44;
pub(crate) const SEQUENCE_NUMBER: u32 = 48;
const MAGIC1_HASH: u32 = 52;
const FEATURE_FLAGS: u32 = 60;
pub(crate) const MUTEX_SIZE: u32 = 64;
pub(crate) const FREE_LIST_HEAD: u32 = 168;
/// A file cannot have more chains: the heads would not fit below 4 GiB.
pub(crate) const HASH_SIZE_MAX: u32 = 0x3FFF_FFFF;
pub(crate) const HASH_SIZE_DEFAULT: u32 = 131;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_header_is_read_back() {
        for flags in [
            TdbFlags::empty(),
            TdbFlags::INCOMPATIBLE_HASH,
            TdbFlags::CONVERT,
            TdbFlags::CONVERT | TdbFlags::INCOMPATIBLE_HASH,
        ] {
            let header = Header::new(7, flags, None);
            let bytes = header.to_bytes();
            assert_eq!(bytes.len(), 172 + 28);
            assert_eq!(Header::parse(&bytes, TdbFlags::empty()), Ok(header));
        }
    }

    #[test]
    fn an_empty_default_header_has_the_published_bytes() {
        let bytes = Header::new(131, TdbFlags::empty(), None).to_bytes();
        assert_eq!(bytes.len(), 696);
        assert_eq!(bytes[0x20..0x28], [0x6d, 0x19, 0x01, 0x26, 0x83, 0, 0, 0]);
        assert_eq!(bytes[0x34..0x3c], [0x0d, 0x9f, 0x7d, 0xf6, 0x20, 0xf9, 0xfe, 0x3a]);
    }

    #[test]
    fn faults_carry_the_errno_of_libtdb() {
        let good = Header::new(7, TdbFlags::empty(), None).to_bytes();
        let errno_with = |at: usize, value: u32| {
            let mut bytes = good.clone();
            bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
            match Header::parse(&bytes, TdbFlags::empty()) {
                Err(HeaderFault::Refused { offset, errno, .. }) => {
                    assert_eq!(offset as usize, at, "the field that is damaged is named");
                    errno
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(errno_with(32, 7), libc::EIO);
        assert_eq!(errno_with(36, 0), libc::ENOSYS);
        assert_eq!(errno_with(40, 5), libc::ENOSYS);
        assert_eq!(errno_with(52, 5), libc::EINVAL);
        assert_eq!(Header::parse(&good[..100], TdbFlags::empty()), Err(HeaderFault::NotTdb));
    }
}
