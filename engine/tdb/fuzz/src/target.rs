//! Everything that can be done with a file, done to arbitrary bytes.
//!
//! The fuzzer and `cargo test` (over the kept corpus) both run this. It must end, without a panic;
//! what it returns does not matter.

use bateria_tdb::{Advice, Spelling, StoreMode, Tdb, TdbError};
use std::ops::ControlFlow;
use std::path::Path;

/// ```text
/// byte 0     bit 0: the rest is a whole file; else a sound header is put in front of it
///            bit 1: byte order of that header; bit 2: its hash; bits 3 to 5: chains - 1
/// byte 1     bits 0 to 2: which looks are taken; bits 3 to 5: which change is made, 7 = all
/// the rest   as byte 0 says: a file, or free list head, chain heads and records
/// ```
pub(crate) fn run(input: &[u8]) {
    let [kind, choice, rest @ ..] = input else { return };
    let bytes = if kind & 1 == 1 { rest.to_vec() } else { with_header(*kind, rest) };
    let Ok(mut tdb) = Tdb::from_bytes(Path::new("fuzz"), bytes) else { return };
    read(&mut tdb, *choice);
    let changes = match choice >> 3 & 7 {
        0 => return,
        7 => 1..7,
        one => one..one + 1,
    };
    for change in changes {
        // What one change does to a damaged file must not break the next one.
        let _ = make(&mut tdb, change);
    }
    read(&mut tdb, *choice);
}

fn read(tdb: &mut Tdb, choice: u8) {
    let mut keys: Vec<Vec<u8>> = vec![Vec::new(), b"key".to_vec()];
    let mut nothing = std::io::sink();
    let report = tdb.check();
    let seen = tdb.traverse(&mut |key, _| {
        if keys.len() < 8 {
            keys.push(key.to_vec());
        }
        ControlFlow::Continue(())
    });
    if let (Ok(report), Ok(seen)) = (&report, &seen)
        && report.is_clean()
    {
        assert_eq!(report.live_count, *seen, "a clean file shows every record");
    }
    let mut data = Vec::new();
    for key in &keys {
        let _ = tdb.fetch(key, &mut data);
        let _ = tdb.exists(key);
    }
    if choice & 1 != 0 {
        let _ = tdb.summary().map(|summary| summary.to_string());
        let _ = tdb.list(&mut nothing);
        let _ = tdb.list_free(&mut nothing);
    }
    if choice & 2 != 0 {
        let _ = tdb.rescue(&mut |_, _| ControlFlow::Continue(()));
        let _ = tdb.dump(&mut nothing, Spelling::Escaped, &mut |_| {});
    }
    if choice & 4 != 0 {
        let mut key = tdb.first_key().unwrap_or_default();
        let mut steps = 0;
        while let Some(at) = key.take().filter(|_| steps < 100) {
            key = tdb.next_key(&at).unwrap_or_default();
            steps += 1;
        }
    }
}

fn make(tdb: &mut Tdb, change: u8) -> Result<(), TdbError> {
    let mut key = Vec::new();
    tdb.traverse(&mut |first, _| {
        key.extend_from_slice(&first[..first.len().min(100)]);
        ControlFlow::Break(())
    })?;
    match change {
        1 => {
            tdb.store(&key, &[b"a value", &[7; 60]], StoreMode::Replace)?;
            tdb.append(b"key", b"more")?;
            tdb.delete(&key)?;
        }
        2 => {
            tdb.set_max_dead(2);
            tdb.delete(&key)?;
            tdb.store(&key, &[b"again"], StoreMode::Insert)?;
            tdb.free_list_size()?;
        }
        3 => {
            let mut transaction = tdb.begin()?;
            transaction.store(b"in a transaction", &[&[1; 300]], StoreMode::Replace)?;
            transaction.delete(&key)?;
            transaction.commit()?;
        }
        4 => {
            let before = live_records(tdb)?;
            let advice = tdb.mend()?.advice();
            if advice == Some(Advice::Mend) {
                assert!(tdb.check()?.is_clean(), "what was mended is clean afterwards");
            }
            let after = live_records(tdb)?;
            let kept = before.iter().all(|record| after.contains(record));
            assert!(kept, "mending loses no record");
            if tdb.check()?.is_clean() {
                tdb.store(&key, &[&[9; 90]], StoreMode::Replace)?;
                assert!(tdb.check()?.is_clean(), "a clean file stays clean");
            }
        }
        5 => tdb.repack()?,
        _ => tdb.wipe()?,
    }
    Ok(())
}

/// Keys and data, in the order of a traverse.
type Records = Vec<(Vec<u8>, Vec<u8>)>;

fn live_records(tdb: &mut Tdb) -> Result<Records, TdbError> {
    let mut records = Records::new();
    tdb.traverse(&mut |key, data| {
        records.push((key.to_vec(), data.to_vec()));
        ControlFlow::Continue(())
    })?;
    Ok(records)
}

fn with_header(kind: u8, rest: &[u8]) -> Vec<u8> {
    let big = kind & 2 != 0;
    let number = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let chains = u32::from(kind >> 3 & 7) + 1;
    let (magic1, magic2, rwlocks) = match (kind & 4 != 0, big) {
        (false, false) => (0xF67D_9F0D, 0x3AFE_F920, 0),
        (false, true) => (0xF67D_9F0D, 0x566F_1E0F, 0),
        (true, false) => (0xD7B6_94E5, 0x76B9_440E, 0x0BAD_1A51),
        (true, true) => (0xD7B6_94E5, 0x123C_1283, 0x0BAD_1A51),
    };
    // The first four bytes point to a recovery area.
    let (recovery, rest) = rest.split_at(rest.len().min(4));
    let mut bytes = b"TDB file\n".to_vec();
    bytes.resize(32, 0);
    bytes.extend_from_slice(&number(0x2601_196D));
    bytes.extend_from_slice(&number(chains));
    bytes.extend_from_slice(&number(rwlocks));
    bytes.extend_from_slice(recovery);
    bytes.resize(48, 0);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&number(magic1));
    bytes.extend_from_slice(&number(magic2));
    bytes.resize(168, 0);
    bytes.extend_from_slice(rest);
    bytes
}
