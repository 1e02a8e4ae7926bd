//! Databases of every kind, and ways to damage them.

use bateria_tdb::{OpenOptions, StoreMode, Tdb, TdbFlags};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Name and flags: old hash, Jenkins hash, the other byte order, mutexes.
pub(crate) const KINDS: [(&str, u32); 5] =
    [("old", 0), ("jenkins", 0x800), ("big", 0x10), ("big-jenkins", 0x810), ("mutex", 0x1800)];

/// 171 records of all lengths up to 765 bytes in seven chains, some deleted, and every byte value.
pub(crate) fn make(path: &Path, flags: u32) {
    let mut tdb = open_new(path, flags, 7);
    for number in 0..=255_u8 {
        let key = [b'k', number];
        tdb.store(&key, &[&vec![number; usize::from(number) * 3]], StoreMode::Insert).unwrap();
    }
    tdb.store(b"", &[b"data of the empty key\n\"\\"], StoreMode::Insert).unwrap();
    tdb.store(b"plain", &[b"value"], StoreMode::Insert).unwrap();
    for number in (0..=255_u8).step_by(3) {
        tdb.delete(&[b'k', number]).unwrap();
    }
}

pub(crate) const RECORDS: u64 = 172;

/// `count` records of 100 bytes.
pub(crate) fn make_large(path: &Path, count: u32) {
    let mut tdb = open_new(path, 0, 1009);
    for number in 0..count {
        tdb.store(format!("key {number}").as_bytes(), &[&[b'v'; 100]], StoreMode::Insert).unwrap();
    }
}

fn open_new(path: &Path, flags: u32, hash_size: u32) -> Tdb {
    let options = OpenOptions {
        flags: TdbFlags::from_bits_retain(flags) | TdbFlags::NOSYNC,
        hash_size,
        create: true,
        ..OpenOptions::default()
    };
    Tdb::open(path, &options).unwrap()
}

pub(crate) fn records(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let options = OpenOptions { read_only: true, ..OpenOptions::default() };
    let mut records = BTreeMap::new();
    Tdb::open(path, &options)
        .unwrap()
        .traverse(&mut |key, data| {
            records.insert(key.to_vec(), data.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
    records
}

pub(crate) fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(bytes, at).unwrap();
}

/// Breaks the heads of two of seven chains.
pub(crate) fn break_heads(path: &Path) {
    overwrite(path, 172, &[0x11; 4]);
    overwrite(path, 180, &[0x11; 4]);
}

/// Offsets of all records of one kind ("live", "free"), as the library lists them.
pub(crate) fn offsets(path: &Path, wanted: bateria_tdb::Kind) -> Vec<u32> {
    let options = OpenOptions { read_only: true, ..OpenOptions::default() };
    let mut offsets = Vec::new();
    Tdb::open(path, &options)
        .unwrap()
        .list_entries(&mut |entry| {
            if let bateria_tdb::Listed::Record { offset, record, .. } = entry
                && record.kind() == wanted
            {
                offsets.push(offset);
            }
            Ok(())
        })
        .unwrap();
    offsets.sort_unstable();
    offsets
}
