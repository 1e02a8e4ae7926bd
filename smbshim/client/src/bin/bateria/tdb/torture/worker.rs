//! One tortured process: what it does, and what it looks at.

use crate::failure::Failure;
use crate::tdb::torture::dice::Dice;
use crate::tdb::torture::engine::{End, Engine, Ours, Records, Tried, Trouble};
use crate::tdb::torture::journal::{COUNTERS, Journal, Operation};
use crate::tdb::torture::theirs::Theirs;
use crate::{Ending, Outcome};
use bateria_tdb::TdbFlags;
use clap::Args;
use rustix::process::Signal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A process of `bateria tdb torture`, which starts it
#[derive(Args, Debug)]
pub(crate) struct WorkerArguments {
    pub(super) file: PathBuf,
    /// Where journals are, and where a fault is written down
    pub(super) notes: PathBuf,
    pub(super) slot: usize,
    #[arg(long)]
    pub(super) libtdb: bool,
    #[arg(long)]
    pub(super) flags: u32,
    #[arg(long)]
    pub(super) seed: u64,
    /// How many were killed in this slot before
    #[arg(long)]
    pub(super) life: u64,
    #[arg(long)]
    pub(super) loops: Option<u64>,
    #[arg(long)]
    pub(super) milliseconds: Option<u64>,
    #[arg(long)]
    pub(super) transactions: bool,
    #[arg(long)]
    pub(super) no_traverse: bool,
    /// Process to die with
    #[arg(long)]
    pub(super) parent: i32,
}

struct Worker {
    journal: Journal,
    dice: Dice,
    engine: Box<dyn Engine>,
    transactions: bool,
    traverse: bool,
    /// What was seen in values that should not be there.
    torn: Option<String>,
}

impl WorkerArguments {
    pub(crate) fn run(self) -> Outcome {
        // Whatever ends the supervisor ends us.
        let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
        let parent = rustix::process::getppid().map(rustix::process::Pid::as_raw_pid);
        if parent != Some(self.parent) {
            return Ok(Ending::FaultFound);
        }
        match self.work() {
            Ok(()) => Ok(Ending::Good),
            Err(fault) => {
                let engine = if self.libtdb { "libtdb" } else { "bateria" };
                let text = format!("worker {} ({engine}): {fault}", self.slot);
                let note = self.notes.join(format!("fault.{}", self.slot));
                std::fs::write(&note, text).map_err(|error| Failure::of_io(&note, &error))?;
                Ok(Ending::FaultFound)
            }
        }
    }

    fn work(&self) -> Result<(), String> {
        let flags = TdbFlags::from_bits_retain(self.flags);
        let engine: Tried<Box<dyn Engine>> = if self.libtdb {
            Theirs::open(&self.file, flags).map(|engine| Box::new(engine) as _)
        } else {
            Ours::open(&self.file, flags).map(|engine| Box::new(engine) as _)
        };
        let engine = engine.map_err(text)?;
        let mut worker = Worker {
            journal: Journal::open(&self.notes, self.slot).map_err(journal_failed)?,
            dice: Dice::new(self.seed, self.life << 8 | self.slot as u64),
            engine,
            transactions: self.transactions,
            traverse: !self.no_traverse,
            torn: None,
        };
        let end = self.milliseconds.map(|span| Instant::now() + Duration::from_millis(span));
        while self.loops.is_none_or(|loops| worker.journal.steps() < loops)
            && end.is_none_or(|end| Instant::now() < end)
        {
            match worker.step() {
                Ok(()) => {}
                // Something else is tried next.
                Err(Trouble::Refused) => {
                    worker.journal.count(Operation::Refused);
                    worker.engine.start_afresh().map_err(text)?;
                }
                Err(Trouble::Fault(fault)) => return Err(fault),
            }
            if let Some(torn) = worker.torn.take() {
                return Err(torn);
            }
            worker.journal.step().map_err(journal_failed)?;
        }
        Ok(())
    }
}

impl Worker {
    fn step(&mut self) -> Tried<()> {
        match self.dice.below(12) {
            0..4 => (0..20).try_for_each(|_| self.increment(false)),
            4 => self.increment(true),
            5..8 if self.transactions => (0..20).try_for_each(|_| self.look()),
            5..8 => (0..20).try_for_each(|_| self.churn()),
            8 if self.traverse && self.dice.one_in(8) => self.traverse(),
            9 if self.dice.one_in(8) => self.increment_all(),
            10 if self.dice.one_in(2) => self.transact(),
            11 => (0..20).try_for_each(|_| self.look()),
            _ => Ok(()),
        }
    }

    /// Increments a counter with its chain locked.
    fn increment(&mut self, hold: bool) -> Tried<()> {
        let counter = self.dice.below(6) as usize % COUNTERS;
        let key = counter_key(counter);
        self.engine.lock(&key)?;
        self.journal.count(Operation::LockChain);
        if hold {
            std::thread::sleep(Duration::from_micros(u64::from(self.dice.below(2000))));
        }
        let done = self.increment_locked(counter);
        self.engine.unlock(&key)?;
        done
    }

    fn increment_all(&mut self) -> Tried<()> {
        self.engine.lock_all()?;
        self.journal.count(Operation::LockAll);
        let done = (0..COUNTERS).try_for_each(|counter| self.increment_locked(counter));
        self.engine.unlock_all()?;
        done
    }

    fn increment_locked(&mut self, counter: usize) -> Tried<()> {
        note(self.journal.begin_increment(counter))?;
        let done = increment(&mut *self.engine, counter);
        note(match done {
            Ok(()) => self.journal.finish_increment(counter),
            Err(_) => self.journal.take_back_increment(counter),
        })?;
        done
    }

    fn look(&mut self) -> Tried<()> {
        let key = record_key(&mut self.dice);
        let value = self.engine.fetch(&key)?;
        self.journal.count(Operation::Fetch);
        match value {
            Some(value) => inspect(&key, &value).map_err(Trouble::Fault),
            None => Ok(()),
        }
    }

    fn churn(&mut self) -> Tried<()> {
        let change = Change::draw(&mut self.dice);
        change.apply(&mut *self.engine)?;
        self.journal.count(change.operation);
        Ok(())
    }

    fn traverse(&mut self) -> Tried<()> {
        let torn = &mut self.torn;
        self.engine.traverse(&mut |key, value| {
            if let Err(fault) = inspect(key, value) {
                torn.get_or_insert(format!("traverse: {fault}"));
            }
        })?;
        self.journal.count(Operation::Traverse);
        Ok(())
    }

    /// A counter and some records, all or nothing.
    fn transact(&mut self) -> Tried<()> {
        let counter = self.dice.below(6) as usize % COUNTERS;
        let changes: Vec<Change> =
            (0..self.dice.below(10)).map(|_| Change::draw(&mut self.dice)).collect();
        let end = match self.dice.below(6) {
            0 => End::Cancel,
            1 | 2 => End::Prepare,
            _ => End::Commit,
        };
        let mut begun = false;
        let journal = &mut self.journal;
        let done = self.engine.transaction(&mut |records| {
            // Only now nobody else increments it; and nothing has happened yet.
            note(journal.begin_increment(counter))?;
            begun = true;
            increment(records, counter)?;
            changes.iter().try_for_each(|change| change.apply(records))?;
            Ok(end)
        });
        if begun {
            note(match done {
                Ok(End::Commit | End::Prepare) => self.journal.finish_increment(counter),
                Ok(End::Cancel) | Err(_) => self.journal.take_back_increment(counter),
            })?;
        }
        match done? {
            End::Cancel => self.journal.count(Operation::Cancel),
            end => {
                if end == End::Prepare {
                    self.journal.count(Operation::Prepare);
                }
                self.journal.count(Operation::Commit);
                changes.iter().for_each(|change| self.journal.count(change.operation));
            }
        }
        Ok(())
    }
}

/// A change of one record, drawn before it is made.
struct Change {
    operation: Operation,
    key: Vec<u8>,
    size: usize,
}

impl Change {
    fn draw(dice: &mut Dice) -> Self {
        let operation = match dice.below(10) {
            0..3 => Operation::Delete,
            3..5 => Operation::Append,
            _ => Operation::Store,
        };
        let size = match (operation, dice.below(20)) {
            (Operation::Append, _) => dice.below(100),
            (_, 0) => dice.below(20_000),
            (_, 1..5) => dice.below(1000),
            _ => dice.below(60),
        };
        Self { operation, key: record_key(dice), size: size as usize }
    }

    fn apply(&self, records: &mut (impl Records + ?Sized)) -> Tried<()> {
        let value = vec![filling(&self.key); self.size];
        match self.operation {
            Operation::Delete => records.delete(&self.key),
            Operation::Append => records.append(&self.key, &value),
            _ => records.store(&self.key, &value),
        }
    }
}

fn increment(records: &mut (impl Records + ?Sized), counter: usize) -> Tried<()> {
    let key = counter_key(counter);
    let value = records.fetch(&key)?.and_then(|value| <[u8; 8]>::try_from(value).ok());
    let Some(value) = value.map(u64::from_le_bytes) else {
        return Err(Trouble::Fault(format!("counter {counter} is lost")));
    };
    records.store(&key, &(value + 1).to_le_bytes())
}

pub(super) fn counter_key(counter: usize) -> Vec<u8> {
    format!("counter-{counter}").into_bytes()
}

fn record_key(dice: &mut Dice) -> Vec<u8> {
    format!("record-{}", dice.below(300)).into_bytes()
}

/// Every byte of a record's value is this one: a value that is torn, or another's, shows.
fn filling(key: &[u8]) -> u8 {
    key.iter().fold(0, |sum, byte| sum.wrapping_mul(31).wrapping_add(*byte))
}

/// Judges the value of any key that the torture stores.
pub(super) fn inspect(key: &[u8], value: &[u8]) -> Result<(), String> {
    let name = String::from_utf8_lossy(key);
    if key.starts_with(b"counter-") {
        return match value.len() {
            8 => Ok(()),
            size => Err(format!("the value of {name} has {size} bytes, not 8")),
        };
    }
    if !key.starts_with(b"record-") {
        return Err(format!("nobody stores a key {name}"));
    }
    let filling = filling(key);
    match value.iter().position(|byte| *byte != filling) {
        None => Ok(()),
        Some(at) => Err(format!("the value of {name} is torn at byte {at} of {}", value.len())),
    }
}

/// Of an open, which nobody refuses for a while only.
fn text(trouble: Trouble) -> String {
    match trouble {
        Trouble::Refused => "open: refused".to_owned(),
        Trouble::Fault(fault) => fault,
    }
}

fn note(written: std::io::Result<()>) -> Tried<()> {
    written.map_err(|error| Trouble::Fault(journal_failed(error)))
}

fn journal_failed(error: std::io::Error) -> String {
    format!("journal: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torn_values_show() {
        let key = b"record-7";
        let mut value = vec![filling(key); 100];
        assert_eq!(inspect(key, &value), Ok(()));
        value[50] ^= 1;
        assert!(inspect(key, &value).unwrap_err().contains("byte 50 of 100"));
        assert_eq!(inspect(b"counter-0", &[0; 8]), Ok(()));
        assert!(inspect(b"counter-0", &[0; 9]).is_err());
        assert!(inspect(b"other", b"").is_err());
    }
}
