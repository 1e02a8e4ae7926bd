//! What a file says of itself, for people (tdb §1): read without a lock and without opening the
//! database, so that it can be asked of files that cannot be opened.

use crate::flags::TdbFlags;
use crate::hash::HashKind;
use crate::header::{HEADER_SIZE_BYTES, Header, HeaderFault, RECOVERY_START, SEQUENCE_NUMBER};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The fields of the header, in the order of their addresses, and what follows from them.
///
/// A file with mutexes has its header twice; `sequence_number` and `recovery_start` are those of
/// the second one, which is the one in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderFacts {
    pub hash_size: u32,
    pub rwlocks: u32,
    /// Logical offset of the recovery area, 0 if there is none yet.
    pub recovery_start: u32,
    pub sequence_number: u32,
    pub magic1_hash: u32,
    pub magic2_hash: u32,
    pub hash: HashKind,
    pub mutexes: bool,
    pub mutex_size: u32,
    pub big_endian: bool,
}

impl HeaderFacts {
    /// Reads the header of `file`.
    ///
    /// # Errors
    ///
    /// `InvalidData` with the broken rule when this is no header that we know; those of reading.
    pub fn read(file: &File) -> io::Result<Self> {
        let mut bytes = [0; HEADER_SIZE_BYTES];
        let header = read_header(file, 0, &mut bytes)?;
        if header.mutexes {
            // The first copy keeps the state of the day the file was made.
            read_header(file, u64::from(header.mutex_size), &mut bytes)?;
        }
        let word =
            |at: u32| u32::from_ne_bytes(bytes[at as usize..][..4].try_into().expect("four bytes"));
        let recovery_start = word(RECOVERY_START);
        Ok(Self {
            hash_size: header.hash_size,
            rwlocks: header.rwlocks,
            recovery_start: if header.swapped {
                recovery_start.swap_bytes()
            } else {
                recovery_start
            },
            // Counted in the machine's byte order, whatever that of the file (tdb §1.3).
            sequence_number: word(SEQUENCE_NUMBER),
            magic1_hash: header.magic1,
            magic2_hash: header.magic2,
            hash: header.hash,
            mutexes: header.mutexes,
            mutex_size: header.mutex_size,
            big_endian: cfg!(target_endian = "big") ^ header.swapped,
        })
    }
}

fn read_header(file: &File, at: u64, bytes: &mut [u8]) -> io::Result<Header> {
    let fault = |rule| io::Error::new(io::ErrorKind::InvalidData, rule);
    file.read_exact_at(bytes, at).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => fault("not a TDB file"),
        _ => error,
    })?;
    Header::parse(bytes, TdbFlags::empty()).map_err(|error| match error {
        HeaderFault::NotTdb => fault("not a TDB file"),
        HeaderFault::Refused { rule, .. } => fault(rule),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::Tdb;
    use crate::open::OpenOptions;
    use crate::store::StoreMode;

    #[test]
    fn every_kind_of_file_says_what_it_is() {
        for flags in [0, 0x800, 0x10, 0x1800] {
            let file = crate::scratch::File::new(&format!("facts-{flags}"));
            let options = OpenOptions {
                flags: TdbFlags::from_bits_retain(flags) | TdbFlags::SEQNUM,
                create: true,
                hash_size: 7,
                ..OpenOptions::default()
            };
            let mut tdb = Tdb::open(file.path(), &options).unwrap();
            tdb.store(b"key", &[b"data"], StoreMode::Insert).unwrap();
            let facts = HeaderFacts::read(&File::open(file.path()).unwrap()).unwrap();
            assert_eq!(facts.hash_size, 7);
            assert_eq!(facts.hash, tdb.hash_kind());
            assert_eq!(facts.big_endian, flags == 0x10, "made on little-endian machines");
            assert_eq!(facts.mutexes, flags & 0x1000 != 0);
            assert_eq!(facts.mutex_size == 0, flags & 0x1000 == 0);
            assert_eq!(facts.sequence_number, tdb.sequence_number());
            assert_eq!(facts.sequence_number, 1);
        }
    }

    #[test]
    fn what_is_no_database_is_named_so() {
        let file = crate::scratch::File::new("facts-none");
        for bytes in [&b""[..], &[b'x'; 4096]] {
            std::fs::write(file.path(), bytes).unwrap();
            let error = HeaderFacts::read(&File::open(file.path()).unwrap()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert_eq!(error.to_string(), "not a TDB file");
        }
    }
}
