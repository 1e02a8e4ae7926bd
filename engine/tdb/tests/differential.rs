//! The same operations on libtdb, on this engine and on a plain map: the same answers, the same
//! error codes, and the same file byte for byte (tdb §4 and §8 mark as policy what that takes).
//!
//! A failing case is shrunk and printed. `PROPTEST_CASES=10000` makes a long run of it.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

use bateria_tdb::libtdb::Original;
use bateria_tdb::{OpenOptions, StoreMode, Tdb, TdbError, TdbFlags};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

#[derive(Clone, Debug)]
enum Step {
    Store(u8, Value, StoreMode),
    Append(u8, Value),
    Delete(u8),
    Fetch(u8),
    Exists(u8),
    Wipe,
    Check,
    Traverse,
    Keys,
    Repack,
    Transaction(Vec<Step>, End),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Commit,
    /// All of it inside a nested transaction, where the flags allow one.
    NestAndCommit,
    PrepareAndCommit,
    Cancel,
}

#[derive(Clone, Copy, Debug)]
struct Value {
    size: u32,
    byte: u8,
}

#[derive(Clone, Debug)]
struct Kind {
    flags: u32,
    hash_size: u32,
    max_dead: u32,
}

fn value() -> impl Strategy<Value = Value> {
    let size = prop_oneof![
        4 => 0_u32..10,
        8 => 10_u32..200,
        2 => 200_u32..5000,
        1 => 5000_u32..200_000,
    ];
    (size, any::<u8>()).prop_map(|(size, byte)| Value { size, byte })
}

fn simple_step() -> impl Strategy<Value = Step> {
    // Few keys, so that most operations meet a record.
    let key = 0..40_u8;
    let mode =
        prop_oneof![Just(StoreMode::Replace), Just(StoreMode::Insert), Just(StoreMode::Modify)];
    prop_oneof![
        10 => (key.clone(), value(), mode).prop_map(|(key, value, mode)| Step::Store(key, value, mode)),
        2 => (key.clone(), value()).prop_map(|(key, value)| Step::Append(key, value)),
        6 => key.clone().prop_map(Step::Delete),
        2 => key.clone().prop_map(Step::Fetch),
        1 => key.prop_map(Step::Exists),
        1 => prop_oneof![4 => Just(Step::Check), 1 => Just(Step::Wipe)],
        1 => Just(Step::Traverse),
        1 => Just(Step::Keys),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let end = prop_oneof![3 => Just(End::Commit), 1 => Just(End::NestAndCommit), 1 => Just(End::PrepareAndCommit), 1 => Just(End::Cancel)];
    let inner = proptest::collection::vec(simple_step(), 0..12);
    prop_oneof![
        12 => simple_step(),
        1 => Just(Step::Repack),
        2 => (inner, end).prop_map(|(steps, end)| Step::Transaction(steps, end)),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    // NOSYNC throughout: disks are slow, and the fake disk has its own tests.
    let flags = prop_oneof![
        Just(0x40),
        Just(0x840),
        Just(0xC0),
        Just(0x1040),
        Just(0x1C41),
        Just(0x50),
        Just(0xD0),
        Just(0x48),
        Just(0x8C8),
    ];
    let hash_size = prop_oneof![Just(1), Just(7), Just(131)];
    let max_dead = prop_oneof![3 => Just(0), 1 => Just(2), 1 => Just(5)];
    (flags, hash_size, max_dead).prop_map(|(flags, hash_size, max_dead)| Kind {
        flags,
        hash_size,
        max_dead,
    })
}

/// A directory of one case, removed with it.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("bateria-differential-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("the temporary directory is writable");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

struct Pair {
    ours: Tdb,
    theirs: Original,
    model: Model,
    our_path: PathBuf,
    their_path: PathBuf,
    /// Mutexes remember addresses and thread numbers.
    ignore: Range<usize>,
}

impl Pair {
    fn new(directory: &Path, kind: &Kind) -> Self {
        let (our_path, their_path) = (directory.join("ours"), directory.join("theirs"));
        let options = OpenOptions {
            flags: TdbFlags::from_bits_retain(kind.flags),
            hash_size: kind.hash_size,
            max_dead: kind.max_dead,
            create: true,
            ..OpenOptions::default()
        };
        let ours = Tdb::open(&our_path, &options).unwrap();
        let hash_size = i32::try_from(kind.hash_size).unwrap();
        let open_flags = libc::O_RDWR | libc::O_CREAT;
        let mut theirs = Original::open(&their_path, hash_size, kind.flags, open_flags).unwrap();
        theirs.set_max_dead(i32::try_from(kind.max_dead).unwrap());
        assert_eq!(ours.flags().bits(), theirs.flags());
        let end = usize::try_from(ours.header_offset()).unwrap();
        let ignore = if end > 0 { 168..end } else { 0..0 };
        Self { ours, theirs, model: Model::new(), our_path, their_path, ignore }
    }

    fn run(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Transaction(steps, end) => self.transaction(steps, *end)?,
            Step::Wipe => {
                // libtdb wipes only as far as it remembers, and after a commit it remembers the
                // old size; a transaction makes it look again.
                prop_assert_eq!((self.theirs.begin(), self.theirs.cancel()), (0, 0));
                simple(&mut self.ours, &mut self.theirs, &mut self.model, step)?;
            }
            Step::Repack => {
                let outcome = self.ours.repack();
                prop_assert_eq!(outcome.is_ok(), self.theirs.repack() == 0);
            }
            step => simple(&mut self.ours, &mut self.theirs, &mut self.model, step)?,
        }
        self.same_bytes()
    }

    fn transaction(&mut self, steps: &[Step], end: End) -> Result<(), TestCaseError> {
        let Self { ours, theirs, model, .. } = self;
        let mut changed = model.clone();
        let mut transaction = ours.begin().unwrap();
        prop_assert_eq!(theirs.begin(), 0);
        if end == End::NestAndCommit && !transaction.flags().contains(TdbFlags::DISALLOW_NESTING) {
            let mut inner = transaction.begin().unwrap();
            prop_assert_eq!(theirs.begin(), 0);
            for step in steps {
                simple(&mut inner, theirs, &mut changed, step)?;
            }
            inner.commit().unwrap();
            prop_assert_eq!(theirs.commit(), 0);
        } else {
            for step in steps {
                simple(&mut transaction, theirs, &mut changed, step)?;
            }
        }
        match end {
            End::Cancel => {
                transaction.cancel();
                prop_assert_eq!(theirs.cancel(), 0);
                return Ok(());
            }
            End::PrepareAndCommit => {
                transaction.prepare().unwrap();
                prop_assert_eq!(theirs.prepare(), 0);
            }
            End::Commit | End::NestAndCommit => {}
        }
        transaction.commit().unwrap();
        prop_assert_eq!(theirs.commit(), 0);
        *model = changed;
        Ok(())
    }

    fn same_bytes(&self) -> Result<(), TestCaseError> {
        let mut ours = std::fs::read(&self.our_path).unwrap();
        let mut theirs = std::fs::read(&self.their_path).unwrap();
        prop_assert_eq!(ours.len(), theirs.len(), "sizes of the files");
        ours[self.ignore.clone()].fill(0);
        theirs[self.ignore.clone()].fill(0);
        if ours == theirs {
            return Ok(());
        }
        let at = (0..ours.len()).find(|at| ours[*at] != theirs[*at]).unwrap() & !15;
        let to = (at + 64).min(ours.len());
        Err(TestCaseError::fail(format!(
            "at {at:#x}\n ours   {:02x?}\n theirs {:02x?}",
            &ours[at..to],
            &theirs[at..to]
        )))
    }
}

fn simple(
    ours: &mut Tdb,
    theirs: &mut Original,
    model: &mut Model,
    step: &Step,
) -> Result<(), TestCaseError> {
    match step {
        Step::Store(key, value, mode) => {
            let (key, value) = (key_of(*key), value_of(*value));
            let (left, right) = value.split_at(value.len() / 3);
            let have = ours.store(&key, &[left, b"", right], *mode);
            let (number, want) = match mode {
                StoreMode::Replace => (1, true),
                StoreMode::Insert => (2, !model.contains_key(&key)),
                StoreMode::Modify => (3, model.contains_key(&key)),
            };
            let store = |theirs: &mut Original| theirs.storev(&key, &[left, b"", right], number);
            same(theirs, have, store, want)?;
            if want {
                model.insert(key, value);
            }
        }
        Step::Append(key, value) => {
            let (key, value) = (key_of(*key), value_of(*value));
            let have = ours.append(&key, &value).map(|()| true);
            same(theirs, have, |theirs| theirs.append(&key, &value), true)?;
            model.entry(key).or_default().extend(value);
        }
        Step::Delete(key) => {
            let key = key_of(*key);
            let want = model.remove(&key).is_some();
            let have = ours.delete(&key);
            same(theirs, have, |theirs| theirs.delete(&key), want)?;
        }
        Step::Fetch(key) => {
            let key = key_of(*key);
            let mut out = Vec::new();
            let have = ours.fetch(&key, &mut out).unwrap().then_some(out);
            prop_assert_eq!(&have, &theirs.fetch(&key));
            prop_assert_eq!(have.as_ref(), model.get(&key));
            let size = ours.parse(&key, |data| data.size_bytes()).unwrap();
            prop_assert_eq!(size.map(|size| size as usize), have.map(|data| data.len()));
        }
        Step::Exists(key) => {
            let key = key_of(*key);
            prop_assert_eq!(ours.exists(&key).unwrap(), model.contains_key(&key));
            prop_assert_eq!(theirs.exists(&key), model.contains_key(&key));
        }
        Step::Wipe => {
            ours.wipe().unwrap();
            prop_assert_eq!(theirs.wipe(), 0);
            model.clear();
        }
        Step::Check => {
            let report = ours.check().unwrap();
            prop_assert!(report.is_clean(), "{:?}", report.faults);
        }
        Step::Traverse => {
            let mut have = Vec::new();
            ours.traverse(&mut |key, data| {
                have.push((key.to_vec(), data.to_vec()));
                ControlFlow::Continue(())
            })
            .unwrap();
            prop_assert_eq!(&have, &theirs.traverse());
            prop_assert_eq!(have.into_iter().collect::<Model>(), model.clone());
        }
        Step::Keys => {
            let (mut have, mut want) = (ours.first_key().unwrap(), theirs.first_key());
            while have.is_some() || want.is_some() {
                prop_assert_eq!(&have, &want);
                let key = have.unwrap();
                (have, want) = (ours.next_key(&key).unwrap(), theirs.next_key(&key));
            }
        }
        Step::Repack | Step::Transaction(..) => unreachable!("these have steps of their own"),
    }
    prop_assert_eq!(ours.sequence_number(), theirs.seqnum(), "sequence numbers");
    Ok(())
}

/// Same verdict, as the model wants it, and the same error code.
fn same(
    theirs: &mut Original,
    have: Result<bool, TdbError>,
    action: impl FnOnce(&mut Original) -> i32,
    want: bool,
) -> Result<(), TestCaseError> {
    let outcome = action(theirs);
    match have {
        Ok(done) => {
            prop_assert_eq!(done, want);
            prop_assert_eq!(outcome == 0, want);
            if !want {
                // EXISTS or NOEXIST
                prop_assert!(matches!(theirs.error(), 5 | 8), "code {}", theirs.error());
            }
        }
        Err(error) => {
            prop_assert_eq!(outcome, -1, "ours fails: {}", error);
            prop_assert_eq!(error.code(), theirs.error());
        }
    }
    Ok(())
}

fn key_of(number: u8) -> Vec<u8> {
    // Also the empty key, and keys longer than one round of the hash.
    match number {
        0 => Vec::new(),
        1..20 => format!("key {number}").into_bytes(),
        _ => format!("a key that is longer than the others, number {number}").into_bytes(),
    }
}

fn value_of(value: Value) -> Vec<u8> {
    vec![value.byte; value.size as usize]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").map_or(150, |text| text.parse().expect("a number")),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn libtdb_this_engine_and_a_map_do_the_same(
        kind in kind(),
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let directory = Directory::new();
        let mut pair = Pair::new(&directory.0, &kind);
        pair.same_bytes()?;
        for step in &steps {
            pair.run(step)?;
        }
        prop_assert!(pair.theirs.check());
        let report = pair.ours.check().unwrap();
        prop_assert!(report.is_clean(), "{:?}", report.faults);
        prop_assert_eq!(report.live_count, pair.model.len() as u64);
    }
}
