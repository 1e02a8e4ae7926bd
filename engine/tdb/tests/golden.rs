//! Files that libtdb made, kept in `golden/` beside the script that makes them: read as they are,
//! and made again by this engine, byte for byte.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

use bateria_tdb::{OpenOptions, StoreMode, Tdb, TdbFlags};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// What the script's name for a file means.
struct Golden {
    name: &'static str,
    flags: u32,
    hash_size: u32,
    max_dead: u32,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Empty,
    Filled,
    Committed,
    /// The committer has ended between prepare and commit.
    Prepared,
}

const fn golden(name: &'static str, flags: u32, hash_size: u32, state: State) -> Golden {
    Golden { name, flags, hash_size, max_dead: 0, state }
}

const GOLDEN: &[Golden] = &[
    golden("empty-old", 0, 131, State::Empty),
    golden("empty-jenkins", 0x800, 131, State::Empty),
    golden("empty-old-big", 0x10, 131, State::Empty),
    golden("empty-jenkins-big", 0x810, 131, State::Empty),
    golden("empty-mutex", 0x1000, 3, State::Empty),
    golden("filled-old", 0, 7, State::Filled),
    golden("filled-jenkins", 0x800, 7, State::Filled),
    golden("filled-old-big", 0x10, 7, State::Filled),
    golden("filled-jenkins-big", 0x810, 7, State::Filled),
    golden("filled-mutex", 0x1000, 7, State::Filled),
    golden("filled-seqnum", 0x80, 7, State::Filled),
    Golden { name: "filled-dead", flags: 0, hash_size: 7, max_dead: 3, state: State::Filled },
    golden("committed", 0x40, 7, State::Committed),
    golden("committed-big", 0x50, 7, State::Committed),
    golden("prepared", 0x40, 7, State::Prepared),
    golden("prepared-big", 0x50, 7, State::Prepared),
    golden("prepared-mutex", 0x1040, 7, State::Prepared),
];

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("bateria-golden-{}-{name}.tdb", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Golden {
    /// The file as libtdb made it, with the zeros at its end.
    fn bytes(&self) -> Vec<u8> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap();
            let Some((name, size)) = stem.rsplit_once('-') else { continue };
            if let (true, Ok(size)) = (name == self.name, size.parse()) {
                let mut bytes = std::fs::read(&path).unwrap();
                bytes.resize(size, 0);
                return bytes;
            }
        }
        panic!("there is no golden file {}", self.name);
    }

    fn options(&self) -> OpenOptions {
        OpenOptions {
            flags: TdbFlags::from_bits_retain(self.flags),
            hash_size: self.hash_size,
            max_dead: self.max_dead,
            create: true,
            ..OpenOptions::default()
        }
    }

    fn records(&self) -> Records {
        let mut records = Records::new();
        if self.state == State::Empty {
            return records;
        }
        for number in (0..40_u8).filter(|number| !number.is_multiple_of(3)) {
            let value = vec![number; usize::from(number) * 7];
            records.insert(format!("key-{number}").into_bytes(), value);
        }
        records.insert(b"key-5".to_vec(), vec![b'x'; 300]);
        records.get_mut(&b"key-7"[..]).unwrap().extend(b"more");
        if self.state == State::Committed {
            records.insert(b"key-1".to_vec(), b"changed in a transaction".to_vec());
            records.insert(b"new".to_vec(), vec![b'y'; 2000]);
        }
        records
    }
}

fn records_of(tdb: &mut Tdb) -> Records {
    let mut records = Records::new();
    tdb.traverse(&mut |key, data| {
        records.insert(key.to_vec(), data.to_vec());
        ControlFlow::Continue(())
    })
    .unwrap();
    records
}

fn fill(tdb: &mut Tdb) {
    for number in 0..40_u8 {
        let value = vec![number; usize::from(number) * 7];
        let key = format!("key-{number}");
        tdb.store(key.as_bytes(), &[&value], StoreMode::Replace).unwrap();
    }
    for number in (0..40).step_by(3) {
        tdb.delete(format!("key-{number}").as_bytes()).unwrap();
    }
    tdb.store(b"key-5", &[&[b'x'; 300]], StoreMode::Replace).unwrap();
    tdb.append(b"key-7", b"more").unwrap();
}

#[test]
fn files_of_libtdb_are_read_changed_and_stay_clean() {
    for golden in GOLDEN {
        let name = golden.name;
        let scratch = Scratch::new(&format!("read-{name}"));
        std::fs::write(&scratch.0, golden.bytes()).unwrap();
        let mut tdb = Tdb::open(&scratch.0, &golden.options()).unwrap();
        assert_eq!(records_of(&mut tdb), golden.records(), "{name}");
        let report = tdb.check().unwrap();
        assert!(report.is_clean() && report.unowned_bytes == 0, "{name}: {report:?}");
        let sequence = if name == "filled-seqnum" { 40 + 14 + 2 + 1 } else { 0 };
        assert_eq!(tdb.sequence_number(), sequence, "{name}");
        tdb.store(b"added", &[&vec![1; 20_000]], StoreMode::Insert).unwrap();
        tdb.delete(b"key-8").unwrap();
        assert!(tdb.check().unwrap().is_clean(), "{name}");
    }
}

#[test]
fn the_same_operations_make_the_same_files() {
    for golden in GOLDEN {
        let name = golden.name;
        let scratch = Scratch::new(&format!("made-{name}"));
        let mut tdb = Tdb::open(&scratch.0, &golden.options()).unwrap();
        if golden.state != State::Empty {
            fill(&mut tdb);
        }
        let header_offset = usize::try_from(tdb.header_offset()).unwrap();
        if let State::Committed | State::Prepared = golden.state {
            let mut transaction = tdb.begin().unwrap();
            let changed = b"changed in a transaction";
            transaction.store(b"key-1", &[changed], StoreMode::Replace).unwrap();
            transaction.store(b"new", &[&[b'y'; 2000]], StoreMode::Replace).unwrap();
            if golden.state == State::Committed {
                transaction.commit().unwrap();
            } else {
                transaction.prepare().unwrap();
                same(&scratch.0, golden, header_offset);
                continue;
            }
        }
        same(&scratch.0, golden, header_offset);
    }
}

/// Mutexes remember who held them; all other bytes are the same.
fn same(path: &Path, golden: &Golden, header_offset: usize) {
    let (mut ours, mut theirs) = (std::fs::read(path).unwrap(), golden.bytes());
    assert_eq!(ours.len(), theirs.len(), "{}", golden.name);
    if header_offset > 0 {
        ours[168..header_offset].fill(0);
        theirs[168..header_offset].fill(0);
    }
    let differs = (0..ours.len()).find(|at| ours[*at] != theirs[*at]);
    assert_eq!(differs, None, "{}: first differing offset", golden.name);
}
