//! A disk that forgets what was not synced, in any order (tdb §8: commits survive it).
//!
//! The area of a database in memory notes every write, growth and sync. A crash at some moment
//! leaves everything up to the last sync, and any subset of the sectors written since.

use crate::area::Area;
use crate::check::Advice;
use crate::database::Tdb;
use crate::flags::TdbFlags;
use crate::header::VERSION;
use crate::open::OpenOptions;
use crate::store::StoreMode;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

/// One thing that happened to the file, in order.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Write(u32, Vec<u8>),
    Grow(u32),
    Sync,
}

pub(crate) type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// Disks write sectors whole, and programs must not hope for more.
const SECTOR: usize = 512;

/// A file-like handle in memory: transactions work on it, and nothing is locked.
pub(crate) fn empty_disk(order: TdbFlags) -> Tdb {
    let flags = TdbFlags::INTERNAL | order;
    let options = OpenOptions { flags, hash_size: 7, ..OpenOptions::default() };
    let mut tdb = Tdb::open(Path::new("fake disk"), &options).expect("memory suffices");
    tdb.flags = TdbFlags::NOLOCK;
    tdb
}

/// The byte order of every second seed is the other one.
pub(crate) fn order_of(seed: u64) -> TdbFlags {
    if seed.is_multiple_of(2) { TdbFlags::CONVERT } else { TdbFlags::empty() }
}

pub(crate) fn on_disk(bytes: Vec<u8>) -> Tdb {
    let native = bytes[32..36] == VERSION.to_ne_bytes();
    let mut tdb = empty_disk(if native { TdbFlags::empty() } else { TdbFlags::CONVERT });
    tdb.area = Area::memory(Path::new("fake disk").into(), bytes);
    tdb
}

pub(crate) fn bytes_of(tdb: &mut Tdb) -> Vec<u8> {
    let mut bytes = vec![0; tdb.area.size() as usize];
    tdb.area.read(0, &mut bytes).expect("within its size");
    bytes
}

pub(crate) fn records_of(tdb: &mut Tdb) -> Records {
    let mut records = Records::new();
    tdb.traverse(&mut |key, data| {
        records.insert(key.to_vec(), data.to_vec());
        ControlFlow::Continue(())
    })
    .expect("the file is sound");
    records
}

/// The file after a crash that let through every event before `point`, and of the unsynced ones
/// those sectors that `keeps` chooses.
fn crashed(
    before: &[u8],
    events: &[Event],
    point: usize,
    keeps: &mut dyn FnMut() -> bool,
) -> Vec<u8> {
    let synced = events[..point]
        .iter()
        .rposition(|event| matches!(event, Event::Sync))
        .map_or(0, |index| index + 1);
    let mut disk = before.to_vec();
    for (index, event) in events[..point].iter().enumerate() {
        match event {
            Event::Sync => {}
            // Sizes are journalled by the file system before the data they are about.
            Event::Grow(size) => disk.resize(*size as usize, 0),
            Event::Write(offset, bytes) => {
                let mut at = *offset as usize;
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let size = rest.len().min(SECTOR - at % SECTOR);
                    let (part, tail) = rest.split_at(size);
                    if index < synced || keeps() {
                        disk[at..at + size].copy_from_slice(part);
                    }
                    at += size;
                    rest = tail;
                }
            }
        }
    }
    disk
}

pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from((self.0 >> 32) % u64::from(limit)).expect("below a u32")
    }
}

fn change(tdb: &mut Tdb, dice: &mut Dice) {
    for _ in 0..=dice.below(12) {
        let key = [dice.below(30).to_le_bytes()[0]];
        if dice.below(3) == 0 {
            tdb.delete(&key).expect("the file is sound");
        } else {
            let size = if dice.below(10) == 0 { dice.below(40_000) } else { dice.below(200) };
            let value = vec![dice.below(256).to_le_bytes()[0]; size as usize];
            tdb.store(&key, &[&value], StoreMode::Replace).expect("memory suffices");
        }
    }
}

/// Reopens a crashed file and tells what it holds; `None` if it is neither of the two states.
fn recovered(disk: Vec<u8>, old: &Records, new: &Records) -> Option<bool> {
    let mut tdb = on_disk(disk);
    let unowned = tdb.roll_back().expect("the image is whole");
    if let Some((start, end)) = unowned {
        tdb.reclaim(start, end).expect("nothing is locked");
    }
    let have = records_of(&mut tdb);
    // Space that was about to be used may belong to nothing, but no more than that.
    let report = tdb.mend().expect("nothing is locked");
    assert_ne!(report.advice(), Some(Advice::Rescue), "{:?}", report.faults);
    let report = tdb.check().expect("nothing is locked");
    assert!(report.is_clean(), "{:?}", report.faults);
    assert!(records_of(&mut tdb) == have, "mending changes no record");
    if have == *old {
        Some(false)
    } else if have == *new {
        Some(true)
    } else {
        None
    }
}

/// `BATERIA_CRASH_SEEDS=100` for a long run.
pub(crate) fn seeds_end() -> u64 {
    std::env::var("BATERIA_CRASH_SEEDS").map_or(3, |text| text.parse().expect("a number"))
}

/// One transaction after another on one file; each is cut off at every event.
fn cut_everywhere(seed: u64, transactions: u32) {
    let mut dice = Dice::new(seed);
    let mut tdb = empty_disk(order_of(seed));
    change(&mut tdb, &mut dice);
    for round in 0..transactions {
        let before = bytes_of(&mut tdb);
        let old = records_of(&mut tdb);
        tdb.area.journal = Some(Vec::new());
        let mut transaction = tdb.begin().expect("nothing else is going on");
        change(&mut transaction, &mut dice);
        let prepared_only = dice.below(4) == 0;
        if prepared_only {
            transaction.prepare().expect("memory suffices");
            transaction.cancel();
        } else {
            transaction.commit().expect("memory suffices");
        }
        let events = tdb.area.journal.take().expect("set above");
        let new = records_of(&mut tdb);
        assert!(!prepared_only || new == old, "a cancelled transaction changes nothing");
        for point in 0..=events.len() {
            // Long runs of writes are cut off here and there, the rest everywhere.
            let near_sync = events[point.saturating_sub(1)..]
                .iter()
                .take(2)
                .any(|event| !matches!(event, Event::Write(..)));
            if events.len() > 40 && !near_sync && dice.below(4) > 0 {
                continue;
            }
            for choice in 0..3 {
                let mut keep = || match choice {
                    0 => true,
                    1 => false,
                    _ => dice.below(2) == 0,
                };
                let disk = crashed(&before, &events, point, &mut keep);
                let which = recovered(disk, &old, &new);
                assert!(which.is_some(), "seed {seed} round {round} event {point}: torn");
            }
        }
        let disk = crashed(&before, &events, events.len(), &mut || false);
        let kept = recovered(disk, &old, &new) == Some(true);
        assert!(kept || prepared_only || old == new, "an acknowledged commit is durable");
    }
}

#[test]
fn a_commit_cut_off_anywhere_leaves_the_old_state_or_the_new_one() {
    for seed in 1..seeds_end() {
        cut_everywhere(seed, 5);
    }
}

#[test]
fn a_rollback_cut_off_anywhere_can_be_repeated() {
    for seed in 1..seeds_end() {
        let mut dice = Dice(seed * 7919);
        let mut tdb = empty_disk(order_of(seed));
        change(&mut tdb, &mut dice);
        for _ in 0..6 {
            let before = bytes_of(&mut tdb);
            let old = records_of(&mut tdb);
            tdb.area.journal = Some(Vec::new());
            let mut transaction = tdb.begin().expect("nothing else is going on");
            change(&mut transaction, &mut dice);
            transaction.commit().expect("memory suffices");
            let events = tdb.area.journal.take().expect("set above");
            let new = records_of(&mut tdb);
            // Everything but the last disarming has reached the disk, torn in the middle.
            let Some(point) = events.len().checked_sub(3) else { continue };
            let disk = crashed(&before, &events, point, &mut || dice.below(2) == 0);
            let mut recovering = on_disk(disk.clone());
            recovering.area.journal = Some(Vec::new());
            recovering.roll_back().expect("the image is whole");
            let undone = recovering.area.journal.take().expect("set above");
            for point in 0..=undone.len() {
                let again = crashed(&disk, &undone, point, &mut || dice.below(2) == 0);
                let which = recovered(again, &old, &new);
                assert!(which.is_some(), "seed {seed}: a second rollback tears the file");
            }
        }
    }
}
