//! What a copy of a database holds, in a form that can be compared across nodes.

use bateria_wire::{Generation, Rsn};

/// Summary of one node's copy.
///
/// The copy with the highest sequence number is the newest (database semantics §4.5). Two copies
/// can have reached the same number by different transactions: one that was acknowledged, and one
/// that a node applied before it was lost and the client gave up. The generation of the last
/// transaction tells them apart: the acknowledged one came later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Value of the record `__db_sequence_number__`; 0 without it.
    pub sequence_number: u64,
    /// `ContentsDigest` of all records.
    pub digest: u64,
    /// Generation of the last transaction that was applied; `INVALID` if none is known.
    pub updated_in: Generation,
}

impl Contents {
    /// Whether the records are the same.
    #[must_use]
    pub fn same_records(&self, other: &Self) -> bool {
        (self.sequence_number, self.digest) == (other.sequence_number, other.digest)
    }

    /// Whether this copy is to replace the other.
    #[must_use]
    pub fn is_newer(&self, other: &Self) -> bool {
        let age = |contents: &Self| {
            let updated_in = contents.updated_in;
            (contents.sequence_number, updated_in.is_valid().then_some(updated_in))
        };
        age(self) > age(other)
    }
}

/// Digest of a set of records, whatever their order.
///
/// Key, RSN and body count. The RSN does because a node with another one would refuse a later
/// transaction that the others take, for ever. DMASTER and flags mean nothing in these databases.
/// Tombstones are dropped before a copy is digested; they too have RSNs that could differ.
///
/// The sum of one keyed hash per record: SipHash-2-4 with a fixed key, so that nodes of different
/// builds agree. It guards against accidents, not against forgers, who are not members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ContentsDigest {
    sum: u64,
}

impl ContentsDigest {
    #[must_use]
    pub const fn new() -> Self {
        Self { sum: 0 }
    }

    /// Adds a record; `body` without its header.
    pub fn add(&mut self, key: &[u8], rsn: Rsn, body: &[u8]) {
        let mut hash = SipHash::new(DIGEST_KEY);
        hash.write(&(key.len() as u64).to_le_bytes());
        hash.write(&rsn.0.to_le_bytes());
        hash.write(key);
        hash.write(body);
        self.sum = self.sum.wrapping_add(hash.finish());
    }

    #[must_use]
    pub fn finish(&self) -> u64 {
        self.sum
    }
}

/// Part of what nodes agree on; any fixed value serves.
const DIGEST_KEY: [u64; 2] = [0x6261_7465_7269_6131, 0x6469_6765_7374_2031];

/// SipHash-2-4 (Aumasson, Bernstein: "SipHash: a fast short-input PRF").
struct SipHash {
    v: [u64; 4],
    /// Bytes that do not fill a word yet, little-endian.
    tail: u64,
    length: u64,
}

impl SipHash {
    fn new(key: [u64; 2]) -> Self {
        let v = [
            key[0] ^ 0x736f_6d65_7073_6575,
            key[1] ^ 0x646f_7261_6e64_6f6d,
            key[0] ^ 0x6c79_6765_6e65_7261,
            key[1] ^ 0x7465_6462_7974_6573,
        ];
        Self { v, tail: 0, length: 0 }
    }

    fn write(&mut self, mut bytes: &[u8]) {
        while !self.length.is_multiple_of(8) || bytes.len() < 8 {
            let Some((byte, rest)) = bytes.split_first() else { return };
            self.tail |= u64::from(*byte) << (8 * (self.length % 8));
            self.length += 1;
            bytes = rest;
            if self.length.is_multiple_of(8) {
                let word = core::mem::take(&mut self.tail);
                self.compress(word);
            }
        }
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.compress(u64::from_le_bytes(*word));
        }
        self.length += 8 * words.len() as u64;
        if !rest.is_empty() {
            self.write(rest);
        }
    }

    fn finish(mut self) -> u64 {
        self.compress(self.length << 56 | self.tail);
        self.v[2] ^= 0xFF;
        for _ in 0..4 {
            self.round();
        }
        self.v[0] ^ self.v[1] ^ self.v[2] ^ self.v[3]
    }

    fn compress(&mut self, word: u64) {
        self.v[3] ^= word;
        self.round();
        self.round();
        self.v[0] ^= word;
    }

    fn round(&mut self) {
        let v = &mut self.v;
        v[0] = v[0].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(13) ^ v[0];
        v[0] = v[0].rotate_left(32);
        v[2] = v[2].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(16) ^ v[2];
        v[0] = v[0].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(21) ^ v[0];
        v[2] = v[2].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(17) ^ v[2];
        v[2] = v[2].rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Key 00 01 .. 0f, messages of 0 and 15 bytes 00 01 ..: vectors of the paper's appendix A and
    /// of its reference implementation.
    #[test]
    fn the_hash_is_that_of_the_paper_however_it_is_fed() {
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        assert_eq!(SipHash::new(key).finish(), 0x726f_db47_dd0e_0e31);
        let message: [u8; 15] = core::array::from_fn(|index| u8::try_from(index).unwrap());
        for split in 0..=message.len() {
            let mut hash = SipHash::new(key);
            hash.write(&message[..split]);
            hash.write(&message[split..]);
            assert_eq!(hash.finish(), 0xa129_ca61_49be_45e5, "split at {split}");
        }
    }

    #[test]
    fn order_does_not_count_and_everything_else_does() {
        let digest = |records: &[(&[u8], u64, &[u8])]| {
            let mut digest = ContentsDigest::new();
            records.iter().for_each(|(key, rsn, body)| digest.add(key, Rsn(*rsn), body));
            digest.finish()
        };
        let base = digest(&[(b"a", 1, b"x"), (b"b", 2, b"y")]);
        assert_eq!(base, digest(&[(b"b", 2, b"y"), (b"a", 1, b"x")]));
        assert_ne!(base, digest(&[(b"a", 1, b"x")]));
        assert_ne!(base, digest(&[(b"a", 2, b"x"), (b"b", 2, b"y")]));
        assert_ne!(base, digest(&[(b"a", 1, b"y"), (b"b", 2, b"x")]));
        assert_ne!(digest(&[(b"ab", 1, b"c")]), digest(&[(b"a", 1, b"bc")]));
    }

    #[test]
    fn the_later_generation_decides_between_equal_numbers() {
        let contents = |sequence_number, updated_in| Contents {
            sequence_number,
            digest: 0,
            updated_in: Generation(updated_in),
        };
        let unknown = Generation::INVALID.0;
        assert!(contents(6, unknown).is_newer(&contents(5, 9000)));
        assert!(contents(5, 9001).is_newer(&contents(5, 9000)));
        assert!(contents(5, 4097).is_newer(&contents(5, unknown)));
        assert!(!contents(5, 9000).is_newer(&contents(5, 9000)));
    }
}
