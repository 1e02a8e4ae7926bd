//! Giving a file whose header is damaged one that it can be opened with, for `Tdb::rescue`.

use crate::hash::HashKind;
use crate::header::{HEADER_SIZE_BYTES, Header, RWLOCKS_FEATURES, RWLOCKS_JENKINS, data_start};
use crate::record::{Kind, RECORD_HEADER_SIZE, RecordHeader};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Writes a new header over the first 168 bytes of `copy`, a private copy of a damaged file that
/// nobody has open. Byte order and hash are those of the records that are found in it. No lock, no
/// mutexes, no pending commit: the copy is good for reading with `Tdb::rescue` and for nothing else.
///
/// False if nothing in the file looks like a record; it is unchanged then.
///
/// # Errors
///
/// Those of reading and writing.
pub fn salvage(copy: &File) -> io::Result<bool> {
    let size = u32::try_from(copy.metadata()?.len()).unwrap_or(u32::MAX);
    if size < data_start(1) {
        return Ok(false);
    }
    let mut words = [0; HEADER_SIZE_BYTES];
    copy.read_exact_at(&mut words, 0)?;
    let Some((swapped, hash)) = kind_of_records(copy, size)? else { return Ok(false) };
    let word = |at: usize| {
        let word = u32::from_ne_bytes(words[at..at + 4].try_into().expect("four bytes"));
        if swapped { word.swap_bytes() } else { word }
    };
    // The chains tell which of several records with one key counts. Without them every record is
    // found all the same. In front of a file with mutexes there are none at this place.
    let hash_size = Some(word(36)).filter(|hash_size| {
        let heads_end = 172 + 4 * u64::from(*hash_size);
        *hash_size > 0 && heads_end <= u64::from(size) && word(40) != RWLOCKS_FEATURES
    });
    let (magic1, magic2) = hash.fingerprints(cfg!(target_endian = "big") ^ swapped);
    let header = Header {
        hash_size: 1,
        recovery_start: 0,
        hash,
        mutexes: false,
        mutex_size: 0,
        swapped,
        magic1,
        magic2,
        rwlocks: if hash == HashKind::Jenkins { RWLOCKS_JENKINS } else { 0 },
    };
    let mut bytes = header.to_bytes();
    let hash_size = hash_size.unwrap_or(1);
    let hash_size = if swapped { hash_size.swap_bytes() } else { hash_size };
    bytes[36..40].copy_from_slice(&hash_size.to_ne_bytes());
    // The heads stay as they are.
    copy.write_all_at(&bytes[..HEADER_SIZE_BYTES], 0)?;
    Ok(true)
}

/// Byte order and hash by which most records of the file are right; `None` if there is no record.
fn kind_of_records(file: &File, size: u32) -> io::Result<Option<(bool, HashKind)>> {
    let mut votes = [(false, HashKind::Old), (false, HashKind::Jenkins)]
        .into_iter()
        .chain([(true, HashKind::Old), (true, HashKind::Jenkins)])
        .map(|kind| (kind, 0_u32))
        .collect::<Vec<_>>();
    let mut block = vec![0; BLOCK_SIZE as usize];
    let mut at = 0_u32;
    while size - at.min(size) >= RECORD_HEADER_SIZE {
        let length = block.len().min((size - at) as usize);
        file.read_exact_at(&mut block[..length], u64::from(at))?;
        let headers = block[..length].windows(RECORD_HEADER_SIZE as usize).step_by(4);
        for (index, bytes) in headers.enumerate() {
            let bytes = bytes.try_into().expect("the size of a header");
            let offset = at + 4 * u32::try_from(index).expect("within a block");
            for (kind, count) in &mut votes {
                let record = RecordHeader::from_bytes(bytes, kind.0);
                if record.kind() == Kind::Live && is_right(file, size, offset, &record, kind.1)? {
                    *count += 1;
                }
            }
            if votes.iter().any(|(_, count)| *count >= VOTES_ENOUGH) {
                break;
            }
        }
        // Blocks overlap by a header, so that none is cut in two.
        at = at.saturating_add(BLOCK_SIZE - RECORD_HEADER_SIZE);
        if votes.iter().any(|(_, count)| *count >= VOTES_ENOUGH) {
            break;
        }
    }
    let winner = votes.into_iter().max_by_key(|(_, count)| *count);
    Ok(winner.filter(|(_, count)| *count > 0).map(|(kind, _)| kind))
}

fn is_right(
    file: &File,
    size: u32,
    offset: u32,
    record: &RecordHeader,
    hash: HashKind,
) -> io::Result<bool> {
    let end = u64::from(offset) + u64::from(RECORD_HEADER_SIZE) + u64::from(record.key_len);
    // Real keys are short; made-up ones may claim the whole file for every word in it.
    if record.key_len > KEY_SIZE_MAX || end > u64::from(size) {
        return Ok(false);
    }
    let mut key = vec![0; record.key_len as usize];
    file.read_exact_at(&mut key, u64::from(offset + RECORD_HEADER_SIZE))?;
    Ok(hash.hash(&key) == record.full_hash)
}

const BLOCK_SIZE: u32 = 1 << 20;
const KEY_SIZE_MAX: u32 = 4096;
/// So many records agree by no accident.
const VOTES_ENOUGH: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::Tdb;
    use crate::flags::TdbFlags;
    use crate::open::OpenOptions;
    use crate::store::StoreMode;
    use std::ops::ControlFlow;

    fn filled(flags: u32) -> crate::scratch::File {
        let file = crate::scratch::File::new(&format!("salvage-{flags}"));
        let options = OpenOptions {
            flags: TdbFlags::from_bits_retain(flags),
            create: true,
            hash_size: 7,
            ..OpenOptions::default()
        };
        let mut tdb = Tdb::open(file.path(), &options).unwrap();
        for number in 0..50_u32 {
            tdb.store(&number.to_le_bytes(), &[&[7; 40]], StoreMode::Insert).unwrap();
        }
        file
    }

    fn rescued(file: &crate::scratch::File) -> u64 {
        let options = OpenOptions { read_only: true, ..OpenOptions::default() };
        let mut tdb = Tdb::open(file.path(), &options).unwrap();
        tdb.rescue(&mut |_, _| ControlFlow::Continue(())).unwrap()
    }

    #[test]
    fn a_file_without_a_header_gives_all_its_records() {
        for flags in [0, 0x800, 0x10, 0x810, 0x1800] {
            let file = filled(flags);
            file.open().write_all_at(&[0x99; HEADER_SIZE_BYTES], 0).unwrap();
            assert!(salvage(&file.open()).unwrap());
            assert_eq!(rescued(&file), 50, "flags {flags:#x}");
        }
    }

    #[test]
    fn an_impossible_number_of_chains_is_replaced() {
        let file = filled(0);
        file.open().write_all_at(&[0xFF; 4], 36).unwrap();
        assert!(salvage(&file.open()).unwrap());
        assert_eq!(rescued(&file), 50);
    }

    #[test]
    fn what_holds_no_record_stays_as_it_is() {
        let file = crate::scratch::File::new("salvage-none");
        for bytes in [&b""[..], b"short", &vec![0x42; 100_000]] {
            std::fs::write(file.path(), bytes).unwrap();
            assert!(!salvage(&file.open()).unwrap());
            assert!(file.bytes() == bytes);
        }
    }
}
