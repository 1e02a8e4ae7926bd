//! One database made twice, by this engine and by libtdb, and everything measured on both.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bateria_tdb::{OpenOptions, Tdb, TdbFlags};

use super::Mode;
use super::contender::Contender;
use super::engine::{Engine, Ours, Theirs, Who};
use super::operation::{self, Content, Operation, key};
use super::stopwatch::Taken;
use super::table::Cell;
use crate::Fault;

/// Both handles, and their files, which go with this value.
pub(crate) struct Bench {
    ours: Ours,
    theirs: Theirs,
    files: Files,
    mode: Mode,
    content: Content,
}

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) slice: Duration,
    pub(crate) repeat: u32,
}

impl Bench {
    pub(crate) fn new(
        dir: &Path,
        mode: Mode,
        content: Content,
        hash_size: u32,
    ) -> Result<Bench, Fault> {
        let path = |name: &str| dir.join(format!("bateria-perf.{}.{name}.tdb", std::process::id()));
        let files = Files { ours: path("bateria"), theirs: path("libtdb") };
        let mut ours = Ours::open(&files.ours, mode.flags(), hash_size)?;
        let mut theirs = Theirs::open(&files.theirs, mode.flags(), hash_size)?;
        fill(&mut ours, content);
        fill(&mut theirs, content);
        Ok(Bench { ours, theirs, files, mode, content })
    }

    /// Slices of both engines take turns, and which of them begins changes, so that a machine that changes its pace
    /// changes it for both.
    pub(crate) fn measure(&mut self, operation: Operation, pace: Pace) -> Result<Cell, Fault> {
        let mut cell = Cell::new(self.mode, self.content, operation);
        if operation == Operation::LockContended {
            self.contend(&mut cell, pace)?;
            return Ok(cell);
        }
        let count = self.calibrate(operation, pace);
        for turn in 0..pace.repeat {
            let seed = u64::from(turn) + 1;
            if turn % 2 == 0 {
                cell.add(Who::Bateria, self.run_ours(operation, count, seed));
                cell.add(Who::Libtdb, self.run_theirs(operation, count, seed));
            } else {
                cell.add(Who::Libtdb, self.run_theirs(operation, count, seed));
                cell.add(Who::Bateria, self.run_ours(operation, count, seed));
            }
        }
        Ok(cell)
    }

    /// Figures of a damaged file would mean nothing.
    pub(crate) fn check(self) -> Result<(), Fault> {
        let Bench { ours, theirs, files, mode, content } = self;
        drop((ours, theirs));
        for path in [&files.ours, &files.theirs] {
            let options = OpenOptions {
                flags: TdbFlags::from_bits_retain(mode.flags()),
                ..OpenOptions::default()
            };
            let report = Tdb::open(path, &options)?.check()?;
            if !report.is_clean() || report.live_count != u64::from(content.records_count) {
                return Err(format!("{}: damaged: {report:?}", path.display()).into());
            }
        }
        Ok(())
    }

    /// As many operations as fill a slice of the slower one.
    fn calibrate(&mut self, operation: Operation, pace: Pace) -> u64 {
        let max = operation.count_max(self.content);
        let mut count = 1;
        loop {
            let ours = self.run_ours(operation, count, 0).time;
            let theirs = self.run_theirs(operation, count, 0).time;
            let time = ours.max(theirs);
            if count >= max || time * 2 >= pace.slice {
                return count.min(max);
            }
            // Short first slices say little, so the count at most grows eightfold.
            let factor = (pace.slice.as_nanos() / time.as_nanos().max(1)).clamp(2, 8);
            count = (count * u64::try_from(factor).expect("at most 8")).min(max);
        }
    }

    fn run_ours(&mut self, operation: Operation, count: u64, seed: u64) -> Taken {
        operation::run(&mut self.ours, operation, self.content, count, seed)
    }

    fn run_theirs(&mut self, operation: Operation, count: u64, seed: u64) -> Taken {
        operation::run(&mut self.theirs, operation, self.content, count, seed)
    }

    fn contend(&mut self, cell: &mut Cell, pace: Pace) -> Result<(), Fault> {
        let flags = self.mode.flags();
        let mut of_ours = Contender::start(Who::Bateria, &self.files.ours, flags)?;
        let mut of_theirs = Contender::start(Who::Libtdb, &self.files.theirs, flags)?;
        // The first one waits until the other process runs.
        of_ours.contend(&mut self.ours, Duration::from_millis(1))?;
        of_theirs.contend(&mut self.theirs, Duration::from_millis(1))?;
        for _ in 0..pace.repeat {
            cell.add(Who::Bateria, of_ours.contend(&mut self.ours, pace.slice)?.together());
            cell.add(Who::Libtdb, of_theirs.contend(&mut self.theirs, pace.slice)?.together());
        }
        Ok(())
    }
}

fn fill(engine: &mut impl Engine, content: Content) {
    let value = vec![0x5A; content.value_size];
    for index in 0..content.records_count {
        engine.store(&key(index), &value);
    }
}

struct Files {
    ours: PathBuf,
    theirs: PathBuf,
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.ours);
        let _ = std::fs::remove_file(&self.theirs);
    }
}
