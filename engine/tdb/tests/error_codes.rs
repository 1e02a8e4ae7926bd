//! The codes of failures beside libtdb (tdb §11.6): the same situation, the same code.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

use bateria_tdb::libtdb::Original;
use bateria_tdb::{Chain, LockKind, OpenOptions, StoreMode, Tdb, TdbError, TdbFlags};
use std::ops::ControlFlow;
use std::path::PathBuf;

struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Two equal files, each in the hands of one engine.
struct Pair {
    ours: Tdb,
    theirs: Original,
    _files: [File; 2],
}

const FLAGS: u32 = 0x40;
const RECORDS: u8 = 30;

impl Pair {
    /// `damage` changes the bytes of both before they are opened.
    fn new(name: &str, read_only: bool, flags: u32, damage: impl Fn(&mut Vec<u8>)) -> Self {
        let file = |who: &str| {
            let name = format!("bateria-codes-{}-{name}-{who}.tdb", std::process::id());
            File(std::env::temp_dir().join(name))
        };
        let files = [file("ours"), file("theirs")];
        let options = OpenOptions {
            flags: TdbFlags::from_bits_retain(FLAGS | flags),
            hash_size: 1,
            create: true,
            ..OpenOptions::default()
        };
        for file in &files {
            let mut tdb = Tdb::open(&file.0, &options).unwrap();
            for key in 0..RECORDS {
                tdb.store(&[key], &[&[key; 50]], StoreMode::Insert).unwrap();
            }
            for key in (0..RECORDS).step_by(5) {
                tdb.delete(&[key]).unwrap();
            }
            drop(tdb);
            let mut bytes = std::fs::read(&file.0).unwrap();
            damage(&mut bytes);
            std::fs::write(&file.0, &bytes).unwrap();
        }
        let options = OpenOptions { read_only, create: false, ..options };
        let open_flags = if read_only { libc::O_RDONLY } else { libc::O_RDWR };
        Self {
            ours: Tdb::open(&files[0].0, &options).unwrap(),
            theirs: Original::open(&files[1].0, 0, FLAGS | flags, open_flags).unwrap(),
            _files: files,
        }
    }

    fn sound(name: &str) -> Self {
        Self::new(name, false, 0, |_| {})
    }
}

fn word(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize
}

fn set(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

#[test]
fn what_exists_is_not_inserted_and_what_does_not_is_not_modified() {
    let Pair { mut ours, mut theirs, _files } = Pair::sound("modes");
    assert!(!ours.store(&[1], &[b"x"], StoreMode::Insert).unwrap());
    assert_eq!((theirs.store(&[1], b"x", 2), theirs.error()), (-1, TdbError::Exists.code()));
    assert!(!ours.store(&[0], &[b"x"], StoreMode::Modify).unwrap());
    assert_eq!((theirs.store(&[0], b"x", 3), theirs.error()), (-1, TdbError::NotFound.code()));
    assert!(!ours.delete(&[0]).unwrap());
    assert_eq!((theirs.delete(&[0]), theirs.error()), (-1, TdbError::NotFound.code()));
    assert_eq!(ours.next_key(&[0]).unwrap_err().code(), 8);
    assert_eq!((theirs.next_key(&[0]), theirs.error()), (None, 8));
}

#[test]
fn a_read_only_handle_refuses_every_change() {
    let Pair { mut ours, mut theirs, _files } = Pair::new("read-only", true, 0, |_| {});
    let have = [
        ours.store(&[1], &[b"x"], StoreMode::Replace).map(|_| ()),
        ours.delete(&[1]).map(|_| ()),
        ours.append(&[1], b"x"),
    ]
    .map(|outcome| outcome.unwrap_err().code());
    let mut want = Vec::new();
    for outcome in [
        Original::store as fn(&mut Original, &[u8], &[u8], i32) -> i32,
        |theirs, key, _, _| theirs.delete(key),
        |theirs, key, value, _| theirs.append(key, value),
    ] {
        assert_eq!(outcome(&mut theirs, &[1], b"x", 1), -1);
        want.push(theirs.error());
    }
    assert_eq!(have.to_vec(), want);
    assert!(ours.wipe().is_err());
    assert_eq!(theirs.wipe(), -1);
    // It takes no locks, and so gets all of them.
    ours.lock_chain(Chain(0)).unwrap();
    ours.unlock_chain(Chain(0));
    assert_eq!((theirs.chainlock(&[1]), theirs.chainunlock(&[1])), (0, 0));
    assert!(ours.begin().is_err());
    assert_eq!(theirs.begin(), -1);
    assert_eq!(ours.begin().map(|_| ()).unwrap_err().code(), theirs.error());
}

#[test]
fn locks_that_exclude_each_other_in_one_handle() {
    let Pair { mut ours, mut theirs, _files } = Pair::sound("locks");
    ours.lock_chain(Chain(0)).unwrap();
    assert_eq!(theirs.chainlock(&[1]), 0);
    let have = ours.lock_all(LockKind::Write).unwrap_err().code();
    assert_eq!(theirs.lockall(), -1);
    assert_eq!(have, theirs.error());
    let have = ours.begin().map(|_| ()).unwrap_err().code();
    assert_eq!(theirs.begin(), -1);
    assert_eq!(have, theirs.error());
    ours.unlock_chain(Chain(0));
    assert_eq!(theirs.chainunlock(&[1]), 0);

    ours.lock_all(LockKind::Read).unwrap();
    assert_eq!(theirs.lockall_read(), 0);
    let have = ours.store(&[1], &[b"x"], StoreMode::Replace).unwrap_err().code();
    assert_eq!(theirs.store(&[1], b"x", 1), -1);
    assert_eq!(have, theirs.error());
    let have = ours.lock_all(LockKind::Write).unwrap_err().code();
    assert_eq!(theirs.lockall(), -1);
    assert_eq!(have, theirs.error());
    ours.unlock_all();
    assert_eq!(theirs.unlockall_read(), 0);
}

#[test]
fn nesting_is_refused_with_the_same_code() {
    let Pair { mut ours, mut theirs, _files } = Pair::new("nesting", false, 0x400, |_| {});
    let mut outer = ours.begin().unwrap();
    assert_eq!(theirs.begin(), 0);
    let have = outer.begin().map(|_| ()).unwrap_err().code();
    assert_eq!(theirs.begin(), -1);
    assert_eq!(have, theirs.error());
    outer.cancel();
    assert_eq!(theirs.cancel(), 0);
}

#[test]
fn a_spoilt_transaction_fails_with_the_same_code() {
    let Pair { mut ours, mut theirs, _files } = Pair::sound("spoilt");
    let mut outer = ours.begin().unwrap();
    assert_eq!(theirs.begin(), 0);
    outer.store(&[1], &[b"x"], StoreMode::Replace).unwrap();
    assert_eq!(theirs.store(&[1], b"x", 1), 0);
    outer.begin().unwrap().cancel();
    assert_eq!((theirs.begin(), theirs.cancel()), (0, 0));
    let have = outer.commit().unwrap_err().code();
    assert_eq!(theirs.commit(), -1);
    assert_eq!(have, theirs.error());
}

/// Reading goes through the first record of the only chain, writing needs the free list.
#[test]
fn damage_has_the_same_code() {
    type Damage = (&'static str, fn(&mut Vec<u8>));
    let damages: &[Damage] = &[
        ("magic", |bytes| {
            let first = word(bytes, 172);
            set(bytes, first + 20, 0x1234_5678);
        }),
        ("link-outside", |bytes| {
            let first = word(bytes, 172);
            set(bytes, first, 0x7000_0000);
        }),
        ("head-outside", |bytes| set(bytes, 172, 0x7000_0000)),
        ("key-length", |bytes| {
            let first = word(bytes, 172);
            set(bytes, first + 8, 0xFFFF_FFF0);
        }),
        ("record-length", |bytes| {
            let first = word(bytes, 172);
            set(bytes, first + 4, 0x7000_0000);
        }),
        ("circle", |bytes| {
            let first = word(bytes, 172);
            let second = word(bytes, first);
            set(bytes, second, u32::try_from(first).unwrap());
        }),
        ("free-magic", |bytes| {
            let first = word(bytes, 168);
            set(bytes, first + 20, 0x1234_5678);
        }),
        ("free-length", |bytes| {
            let first = word(bytes, 168);
            set(bytes, first + 4, 0x7000_0000);
        }),
        ("free-circle", |bytes| {
            let first = word(bytes, 168);
            set(bytes, first, u32::try_from(first).unwrap());
        }),
    ];
    for (name, damage) in damages {
        let Pair { mut ours, mut theirs, _files } = Pair::new(name, false, 0, damage);
        // A key that is not there makes both walk the whole chain.
        let have = ours.fetch(b"absent", &mut Vec::new()).map_or_else(|error| error.code(), |_| 8);
        assert_eq!(theirs.fetch(b"absent"), None, "{name}");
        // Of some damage libtdb says nothing at all.
        assert!([have, 0].contains(&theirs.error()), "{name}: fetch: {have}");
        // libtdb inserts into a chain that it cannot walk; this engine does not touch it.
        let large = vec![7; 100_000];
        let have = ours.store(b"absent", &[&large], StoreMode::Insert);
        let want = theirs.store(b"absent", &large, 2);
        assert!(have.is_err() || want == 0, "{name}");
        if let (Err(error), -1) = (have, want) {
            assert!([error.code(), 0].contains(&theirs.error()), "{name}: store: {error}");
        }
        let have = ours.traverse(&mut |_, _| ControlFlow::Continue(()));
        if *name == "circle" {
            // libtdb's traverse would go round for ever.
            assert_eq!(have.unwrap_err().code(), 1);
            continue;
        }
        let want = theirs.traverse_count();
        assert_eq!(have.is_ok(), want >= 0, "{name}: {have:?}");
        if let Err(error) = have {
            assert!([error.code(), 0].contains(&theirs.error()), "{name}: traverse: {error}");
        }
    }
}
