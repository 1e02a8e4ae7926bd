//! A writer that is killed at any moment, outside transactions (tdb §11.5).
//!
//! What it has written stays, up to some word of some write; nobody recovers anything, and others
//! go on with the file, ours and libtdb. No other record may suffer, then or later.

use crate::check::Advice;
use crate::database::Tdb;
use crate::fake_disk::{
    Dice, Event, Records, bytes_of, empty_disk, on_disk, order_of, records_of, seeds_end,
};
use crate::libtdb::Original;
use crate::scratch;
use crate::store::StoreMode;

/// Writes of up to this many bytes are cut off at every word, longer ones in the middle too.
const WORDS_UP_TO: usize = 32;

struct Step {
    key: Vec<u8>,
    /// `None` to delete the record.
    value: Option<Vec<u8>>,
}

impl Step {
    fn random(dice: &mut Dice) -> Self {
        let key = vec![dice.below(30).to_le_bytes()[0]];
        let size = if dice.below(20) == 0 { dice.below(9_000) } else { dice.below(200) };
        let value = vec![dice.below(256).to_le_bytes()[0]; size as usize];
        Self { key, value: (dice.below(2) == 0).then_some(value) }
    }

    fn run(&self, tdb: &mut Tdb) {
        match &self.value {
            Some(value) => {
                tdb.store(&self.key, &[value], StoreMode::Replace).expect("the file is sound");
            }
            None => {
                tdb.delete(&self.key).expect("the file is sound");
            }
        }
    }

    fn run_with_libtdb(&self, tdb: &mut Original) {
        let outcome = match &self.value {
            Some(value) => tdb.store(&self.key, value, 0),
            None => tdb.delete(&self.key),
        };
        // 8: there was nothing to delete
        assert!(outcome == 0 || tdb.error() == 8, "{}", tdb.error());
    }

    fn note(&self, records: &mut Records) {
        match &self.value {
            Some(value) => records.insert(self.key.clone(), value.clone()),
            None => records.remove(&self.key),
        };
    }
}

/// The files that a death during these events can leave.
fn remains(before: &[u8], events: &[Event]) -> Vec<Vec<u8>> {
    let mut file = before.to_vec();
    let mut found = vec![file.clone()];
    for event in events {
        match event {
            Event::Sync => {}
            Event::Grow(size) => file.resize(*size as usize, 0),
            Event::Write(offset, bytes) => {
                let at = *offset as usize;
                let step = if bytes.len() <= WORDS_UP_TO { 4 } else { bytes.len().div_ceil(2) };
                for part in bytes.chunks(step).scan(0, |done, part| {
                    *done += part.len();
                    Some(*done)
                }) {
                    file[at..at + part].copy_from_slice(&bytes[..part]);
                    found.push(file.clone());
                }
            }
        }
        found.push(file.clone());
    }
    found.dedup();
    found
}

fn assert_usable(tdb: &mut Tdb, what: &str) {
    let report = tdb.check().expect("nothing is locked");
    assert_ne!(report.advice(), Some(Advice::Rescue), "{what}: {:?}", report.faults);
}

/// Others go on with what a dead process has left.
fn go_on(remains: &[u8], killed: &Step, intact: &Records, dice: &mut Dice, what: &str) {
    let mut tdb = on_disk(remains.to_vec());
    assert_usable(&mut tdb, what);
    let mut records = records_of(&mut tdb);
    let mut others = records.clone();
    others.remove(&killed.key);
    assert!(others == *intact, "{what}: another record has suffered");
    let steps: Vec<Step> = (0..25).map(|_| Step::random(dice)).collect();

    let file = scratch::File::new("killed");
    std::fs::write(file.path(), remains).expect("the temporary directory is writable");
    let mut theirs = Original::open(file.path(), 0, 0, libc::O_RDWR).expect("libtdb opens it");
    for step in &steps {
        step.run(&mut tdb);
        step.run_with_libtdb(&mut theirs);
        step.note(&mut records);
    }
    drop(theirs);
    assert!(records_of(&mut tdb) == records, "{what}: a record has suffered later");
    assert_usable(&mut tdb, what);
    let mut after = on_disk(file.bytes());
    assert!(records_of(&mut after) == records, "{what}: a record has suffered, with libtdb");
    assert_usable(&mut after, what);
}

#[test]
fn a_writer_killed_anywhere_harms_no_other_record() {
    for seed in 1..seeds_end() {
        let mut dice = Dice::new(seed);
        let mut tdb = empty_disk(order_of(seed));
        for round in 0..60 {
            let step = Step::random(&mut dice);
            let before = bytes_of(&mut tdb);
            let mut intact = records_of(&mut tdb);
            intact.remove(&step.key);
            tdb.area.journal = Some(Vec::new());
            step.run(&mut tdb);
            let events = tdb.area.journal.take().expect("set above");
            for (index, remains) in remains(&before, &events).iter().enumerate() {
                let what = format!("seed {seed} round {round} state {index}");
                go_on(remains, &step, &intact, &mut dice, &what);
            }
        }
    }
}
