//! The two built-in hash functions of TDB files (tdb §3) and their fingerprints (tdb §1.2).

/// Hash function of one file; the file's fingerprints decide, not the flags of the opener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashKind {
    Old,
    Jenkins,
}

impl HashKind {
    #[must_use]
    pub fn hash(self, key: &[u8]) -> u32 {
        match self {
            Self::Old => old(key),
            Self::Jenkins => jenkins(key),
        }
    }

    /// `magic1_hash` and `magic2_hash` of the header. The second one covers a number in the byte
    /// order of the file, so it tells the byte order too.
    pub(crate) fn fingerprints(self, big_endian: bool) -> (u32, u32) {
        let number = 0x2601_1999_u32;
        let bytes = if big_endian { number.to_be_bytes() } else { number.to_le_bytes() };
        (self.hash(b"TDB file\n\0"), self.hash(&bytes))
    }
}

/// The old default hash (tdb §3.1).
#[must_use]
pub fn old(bytes: &[u8]) -> u32 {
    let mut value = 0x238F_13AF_u32.wrapping_mul(length_u32(bytes));
    // The shifts repeat every 24 bytes. With all of a round known, the additions do not wait for
    // each other.
    for round in bytes.chunks(SHIFTS.len()) {
        let sum = round.iter().zip(SHIFTS).map(|(byte, shift)| u32::from(*byte) << shift);
        value = value.wrapping_add(sum.fold(0, u32::wrapping_add));
    }
    value.wrapping_mul(1_103_515_243).wrapping_add(12345)
}

/// 5 * index modulo 24.
const SHIFTS: [u32; 24] =
    [0, 5, 10, 15, 20, 1, 6, 11, 16, 21, 2, 7, 12, 17, 22, 3, 8, 13, 18, 23, 4, 9, 14, 19];

/// Jenkins' lookup3 `hashlittle` with seed 0 (tdb §3.2), the hash of clustered databases and of
/// their 32-bit ids.
#[must_use]
pub fn jenkins(bytes: &[u8]) -> u32 {
    let start = 0xDEAD_BEEF_u32.wrapping_add(length_u32(bytes));
    let (mut a, mut b, mut c) = (start, start, start);
    let mut rest = bytes;
    while rest.len() > 12 {
        let (block, tail) = rest.split_at(12);
        a = a.wrapping_add(word(&block[0..4]));
        b = b.wrapping_add(word(&block[4..8]));
        c = c.wrapping_add(word(&block[8..12]));
        (a, b, c) = mix(a, b, c);
        rest = tail;
    }
    if rest.is_empty() {
        return c;
    }
    let (first, second, third) = tail_words(rest);
    a = a.wrapping_add(first);
    b = b.wrapping_add(second);
    c = c.wrapping_add(third);
    finish(a, b, c)
}

/// The last 1 to 12 bytes, zero-extended to three words.
#[inline]
fn tail_words(rest: &[u8]) -> (u32, u32, u32) {
    match rest.len() {
        12 => (word(&rest[0..4]), word(&rest[4..8]), word(&rest[8..12])),
        8..12 => (word(&rest[0..4]), word(&rest[4..8]), part_word(&rest[8..])),
        4..8 => (word(&rest[0..4]), part_word(&rest[4..]), 0),
        _ => (part_word(rest), 0, 0),
    }
}

/// Up to three bytes as a word.
#[inline]
fn part_word(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

fn mix(mut a: u32, mut b: u32, mut c: u32) -> (u32, u32, u32) {
    // Each round subtracts, xors with a rotation and adds; the three words change roles.
    macro_rules! round {
        ($x:ident, $y:ident, $z:ident, $rotate:literal) => {
            $x = $x.wrapping_sub($z);
            $x ^= $z.rotate_left($rotate);
            $z = $z.wrapping_add($y);
        };
    }
    round!(a, b, c, 4);
    round!(b, c, a, 6);
    round!(c, a, b, 8);
    round!(a, b, c, 16);
    round!(b, c, a, 19);
    round!(c, a, b, 4);
    (a, b, c)
}

fn finish(mut a: u32, mut b: u32, mut c: u32) -> u32 {
    macro_rules! step {
        ($x:ident, $y:ident, $rotate:literal) => {
            $x ^= $y;
            $x = $x.wrapping_sub($y.rotate_left($rotate));
        };
    }
    step!(c, b, 14);
    step!(a, c, 11);
    step!(b, a, 25);
    step!(c, b, 16);
    step!(a, c, 4);
    step!(b, a, 14);
    step!(c, b, 24);
    c
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// Keys longer than 4 GiB cannot be stored; their length wraps as the C type does.
#[expect(clippy::cast_possible_truncation, reason = "the C functions take a 32-bit length")]
fn length_u32(bytes: &[u8]) -> u32 {
    bytes.len() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_hashes_equal_the_published_vectors() {
        let count = |n: u8| (0..=n).collect::<Vec<u8>>();
        let vectors: &[(&[u8], u32, u32)] = &[
            (b"", 0x0000_3039, 0xDEAD_BEEF),
            (b"a", 0x094A_72E9, 0x58D6_8708),
            (b"abcd", 0x3032_3A18, 0xB5F4_889C),
            (b"abcdefghijk", 0xC623_AA83, 0x5F61_EDF8),
            (b"abcdefghijkl", 0xB7D4_C8A8, 0x4012_F87B),
            (b"foobar12", 0x454A_16AF, 0xC375_0579),
            (b"INFO/version\0", 0xF239_4CD5, 0xF049_C3C8),
            (b"The quick brown fox jumps over the lazy dog", 0x3918_BDAF, 0x64A2_CD46),
            (b"TDB file\n\0", 0xF67D_9F0D, 0xD7B6_94E5),
            (&[0xFF; 4], 0xB8E2_E402, 0x9B11_C75B),
            (&[0x80, 0xFF, 0x7F], 0x4F3A_F0C8, 0xC05A_C822),
            (&count(0x0C), 0x0322_D960, 0xBC9D_6816),
            (&count(0x17), 0x2533_C4DF, 0x9C0A_DD53),
            (&count(0x1F), 0x04A6_152D, 0x2136_2CFE),
            (&count(0xFF), 0x59E5_81BB, 0xE20E_0833),
        ];
        for (key, want_old, want_jenkins) in vectors {
            assert_eq!(old(key), *want_old, "old hash of {key:02x?}");
            assert_eq!(jenkins(key), *want_jenkins, "Jenkins hash of {key:02x?}");
        }
    }

    #[test]
    fn database_ids_equal_the_published_ones() {
        assert_eq!(jenkins(b"locking.tdb\0"), 0x7A19_D84D);
        assert_eq!(jenkins(b"registry.tdb\0"), 0x6CF2_837D);
    }

    #[test]
    fn fingerprints_tell_hash_and_byte_order() {
        assert_eq!(HashKind::Old.fingerprints(false), (0xF67D_9F0D, 0x3AFE_F920));
        assert_eq!(HashKind::Old.fingerprints(true), (0xF67D_9F0D, 0x566F_1E0F));
        assert_eq!(HashKind::Jenkins.fingerprints(false), (0xD7B6_94E5, 0x76B9_440E));
        assert_eq!(HashKind::Jenkins.fingerprints(true), (0xD7B6_94E5, 0x123C_1283));
    }
}
