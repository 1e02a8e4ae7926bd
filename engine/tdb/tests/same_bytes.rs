//! The same operations make the same file, byte for byte, as libtdb's (tdb §4).

mod libtdb;

use bateria_tdb::{OpenOptions, StoreMode, Tdb, TdbFlags};
use libtdb::Original;
use std::path::{Path, PathBuf};

#[derive(Debug)]
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let name = format!("bateria-same-{}-{name}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn assert_same(ours: &Path, theirs: &Path, ignore: &[std::ops::Range<usize>], when: &str) {
    let (mut ours, mut theirs) = (std::fs::read(ours).unwrap(), std::fs::read(theirs).unwrap());
    assert_eq!(ours.len(), theirs.len(), "{when}: size");
    for range in ignore {
        ours[range.clone()].fill(0);
        theirs[range.clone()].fill(0);
    }
    if ours == theirs {
        return;
    }
    if let Some(at) = (0..ours.len()).find(|at| ours[*at] != theirs[*at]) {
        let from = at & !15;
        let to = (from + 64).min(ours.len());
        panic!(
            "{when}: at {at:#x}\n ours  {:02x?}\n theirs {:02x?}",
            &ours[from..to],
            &theirs[from..to]
        );
    }
}

struct Lcg(u64);
impl Lcg {
    fn next(&mut self, below: u32) -> u32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32 % below
    }
}

fn run(flags: u32, hash_size: u32, max_dead: u32, seed: u64, steps: u32) {
    let name = format!("{flags:x}-{hash_size}-{max_dead}-{seed}");
    let files = Files::new(&name);
    let (our_path, their_path) = (files.path("ours"), files.path("theirs"));
    let options = OpenOptions {
        flags: TdbFlags::from_bits_retain(flags),
        hash_size,
        max_dead,
        create: true,
        ..OpenOptions::default()
    };
    let mut ours = Tdb::open(&our_path, &options).unwrap();
    let mut theirs =
        Original::open(&their_path, hash_size as i32, flags, libc::O_RDWR | libc::O_CREAT).unwrap();
    theirs.set_max_dead(max_dead as i32);
    // Mutexes remember addresses and thread numbers.
    let mutexes = 168..ours.header_offset() as usize;
    let ignore = if mutexes.end > 168 { vec![mutexes] } else { vec![] };
    assert_same(&our_path, &their_path, &ignore, "created");
    assert_eq!(ours.flags().bits(), theirs.flags());
    let mut random = Lcg(seed);
    for step in 0..steps {
        let key = format!("key{}", random.next(60));
        let size = if random.next(8) == 0 { random.next(3000) } else { random.next(120) };
        let value: Vec<u8> = (0..size).map(|_| random.next(256) as u8).collect();
        let what = random.next(20);
        let key = key.as_bytes();
        let when = format!("{name} step {step} operation {what}");
        match what {
            0..=8 => {
                let stored = ours.store(key, &[&value], StoreMode::Replace).unwrap();
                assert_eq!(stored, theirs.store(key, &value, 1) == 0, "{when}");
            }
            9 => {
                let stored = ours.store(key, &[&value], StoreMode::Insert).unwrap();
                assert_eq!(stored, theirs.store(key, &value, 2) == 0, "{when}");
            }
            10 => {
                let stored = ours.store(key, &[&value], StoreMode::Modify).unwrap();
                assert_eq!(stored, theirs.store(key, &value, 3) == 0, "{when}");
            }
            11 => {
                ours.append(key, &value[..value.len().min(50)]).unwrap();
                theirs.append(key, &value[..value.len().min(50)]);
            }
            12..=16 => {
                assert_eq!(ours.delete(key).unwrap(), theirs.delete(key) == 0, "{when}");
            }
            17 => {
                let mut out = Vec::new();
                let found = ours.fetch(key, &mut out).unwrap();
                assert_eq!(found.then_some(out), theirs.fetch(key), "{when}");
            }
            18 => {
                assert_eq!(ours.free_list_size().unwrap() as i32, theirs.freelist_size(), "{when}");
            }
            _ if random.next(10) == 0 => {
                ours.wipe().unwrap();
                assert_eq!(theirs.wipe(), 0);
            }
            _ => {}
        }
        assert_same(&our_path, &their_path, &ignore, &when);
    }
    assert!(theirs.check());
    drop(theirs);
    let open_flags = libc::O_RDWR;
    drop(ours);
    let mut check = Original::open(&our_path, 0, flags & !1, open_flags).unwrap();
    assert!(check.check(), "{name}: libtdb finds our file clean");
}

fn run_transactions(flags: u32, hash_size: u32, max_dead: u32, seed: u64, count: u32) {
    let name = format!("tx-{flags:x}-{hash_size}-{max_dead}-{seed}");
    let files = Files::new(&name);
    let (our_path, their_path) = (files.path("ours"), files.path("theirs"));
    let options = OpenOptions {
        flags: TdbFlags::from_bits_retain(flags),
        hash_size,
        max_dead,
        create: true,
        ..OpenOptions::default()
    };
    let mut ours = Tdb::open(&our_path, &options).unwrap();
    let mut theirs =
        Original::open(&their_path, hash_size as i32, flags, libc::O_RDWR | libc::O_CREAT).unwrap();
    theirs.set_max_dead(max_dead as i32);
    let mutexes = 168..ours.header_offset() as usize;
    let ignore = if mutexes.end > 168 { vec![mutexes] } else { vec![] };
    let mut random = Lcg(seed);
    for round in 0..count {
        let when = format!("{name} transaction {round}");
        let mut transaction = ours.begin().unwrap();
        assert_eq!(theirs.begin(), 0, "{when}");
        for _ in 0..random.next(30) {
            let key = format!("key{}", random.next(200));
            let key = key.as_bytes();
            let size = match random.next(30) {
                0 => random.next(200_000),
                1..5 => random.next(3000),
                _ => random.next(120),
            };
            let value: Vec<u8> = (0..size).map(|_| random.next(256) as u8).collect();
            match random.next(10) {
                0..=5 => {
                    let stored = transaction.store(key, &[&value], StoreMode::Replace).unwrap();
                    assert_eq!(stored, theirs.store(key, &value, 1) == 0, "{when}");
                }
                6 => {
                    if random.next(50) == 0 {
                        transaction.wipe().unwrap();
                        assert_eq!(theirs.wipe(), 0, "{when}");
                    }
                }
                _ => {
                    let deleted = transaction.delete(key).unwrap();
                    assert_eq!(deleted, theirs.delete(key) == 0, "{when}");
                }
            }
        }
        if random.next(4) == 0 {
            transaction.cancel();
            assert_eq!(theirs.cancel(), 0, "{when}");
            assert_same(&our_path, &their_path, &ignore, &format!("{when} cancelled"));
            continue;
        }
        if random.next(2) == 0 {
            transaction.prepare().unwrap();
            assert_eq!(theirs.prepare(), 0, "{when}");
            assert_same(&our_path, &their_path, &ignore, &format!("{when} prepared"));
        }
        transaction.commit().unwrap();
        assert_eq!(theirs.commit(), 0, "{when}");
        assert_same(&our_path, &their_path, &ignore, &format!("{when} committed"));
    }
    assert!(theirs.check());
}

#[test]
fn transactions_make_the_same_file() {
    for (flags, hash_size) in
        [(0x40, 131), (0x840, 7), (0xC0, 1), (0x1C41, 7), (0x50, 7), (0x48, 3)]
    {
        for max_dead in [0, 5] {
            for seed in 0..3 {
                run_transactions(flags, hash_size, max_dead, seed, 40);
            }
        }
    }
}

#[test]
fn plain_operations_make_the_same_file() {
    for (flags, hash_size) in [
        (0, 131),
        (0x800, 7),
        (0x80, 1),
        (0x1000, 131),
        (0x1C41, 7),
        (0x10, 7),
        (0x8, 7),
        (0x88, 3),
    ] {
        for max_dead in [0, 2, 5] {
            for seed in 0..3 {
                run(flags, hash_size, max_dead, seed, 300);
            }
        }
    }
}
