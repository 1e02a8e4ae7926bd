//! `bateria tdb torture`: processes of ours and of libtdb's on one file, until time is up; then
//! everything is judged.
//!
//! ```text
//! supervisor --- starts, kills, watches ---> workers (this program again), each with an engine
//!     |                                         |            |
//!     +-- reads at the end <-- journals <-------+            +--> the tortured file
//! ```

mod dice;
mod engine;
mod journal;
mod report;
mod stage;
mod theirs;
mod verdict;
mod worker;

use crate::failure::Failure;
use crate::interrupt::Unfinished;
use crate::tdb::Manner;
use crate::{Outcome, standard_output};
use bateria_tdb::{TdbFlags, libtdb};
use clap::Args;
use dice::Dice;
use report::Report;
use serde::Serialize;
use stage::Stage;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
pub(crate) use worker::WorkerArguments;

/// Torture a new database with many processes, and judge it, as tdbtorture does
///
/// The processes fetch, store, append, delete, traverse, lock chains or everything, and commit or
/// cancel transactions, all on one file. They count in shared counters, so that a lost update shows,
/// and every value tells whose it is, so that a torn one shows. At the end the file is checked by
/// bateria and, if it is installed, by libtdb. Exit code 1 on any fault.
#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub(crate) struct TortureArguments {
    /// Database to make (it must not exist; it stays), or a directory to make one in (it goes if no
    /// fault was found)
    #[arg(value_name = "FILE|DIR")]
    place: PathBuf,
    /// Processes that use this engine
    #[arg(short, long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(0..=64))]
    workers: u32,
    /// Processes that use libtdb (Debian: package libtdb1)
    #[arg(long, value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(0..=64))]
    libtdb: u32,
    /// How long; 10 if neither this nor --loops is given
    #[arg(short, long, value_name = "S")]
    seconds: Option<u64>,
    /// Steps of each process, of about twenty operations each
    #[arg(short, long, value_name = "L", conflicts_with = "seconds")]
    loops: Option<u64>,
    /// Seed of all random choices; drawn if not given, and always reported
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Lock by mutexes in the file
    #[arg(short, long, conflicts_with = "fcntl")]
    mutex: bool,
    /// Lock by byte ranges (default)
    #[arg(long)]
    fcntl: bool,
    /// Kill processes at any moment; new ones take their places. Records are then changed in
    /// transactions only, because only those survive a death
    #[arg(short, long)]
    kill: bool,
    /// Change records in transactions only
    #[arg(short, long)]
    transactions: bool,
    /// Hash chains of the database; the fewer, the more they are fought for
    #[arg(short = 'n', long, value_name = "N", default_value_t = 7,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    hash_size: u32,
}

/// One run, as it was asked for.
#[derive(Clone, Debug)]
struct Plan {
    file: PathBuf,
    /// Made in a directory: nobody wants it afterwards.
    temporary: bool,
    ours: u32,
    theirs: u32,
    limit: Limit,
    seed: u64,
    locking: Locking,
    kill: bool,
    transactions: bool,
    hash_size: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Locking {
    Fcntl,
    Mutex,
}

impl Locking {
    fn name(self) -> &'static str {
        match self {
            Self::Fcntl => "fcntl",
            Self::Mutex => "mutex",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    Seconds(u64),
    Loops(u64),
}

impl TortureArguments {
    pub(crate) fn run(self, manner: Manner) -> Outcome {
        let plan = self.plan()?;
        if plan.theirs > 0 {
            libtdb::load().map_err(|error| Failure::of_request(error.to_string()))?;
        }
        let mut name = plan.file.as_os_str().to_owned();
        name.push(format!(".torture-{}", std::process::id()));
        let notes = Unfinished::new(PathBuf::from(name));
        std::fs::create_dir(notes.path())
            .map_err(|error| Failure::of_io(notes.path(), &error).blame_request())?;
        let file = Unfinished::new(plan.file.clone());
        let mut stage = Stage::set(&plan, notes.path())?;
        let mut faults = stage.play(&plan, manner);
        let tallies = stage.tallies();
        let (kills, keeper) = (stage.kills(), stage.end());
        let verdict = verdict::judge(keeper, &plan, &tallies, &mut faults);
        let report = Report::new(&plan, &tallies, kills, verdict, faults);
        if !(report.is_good() && plan.temporary) {
            file.keep();
        }
        if manner.json {
            standard_output::print_json(&report)?;
        } else {
            standard_output::print(&report.text())?;
        }
        Ok(report.ending())
    }

    fn plan(&self) -> Result<Plan, Failure> {
        if self.workers + self.libtdb == 0 {
            return Err(Failure::of_request("torture needs at least one worker"));
        }
        let temporary = self.place.is_dir();
        let file = if temporary {
            self.place.join(format!("torture-{}.tdb", std::process::id()))
        } else {
            self.place.clone()
        };
        refuse_existing(&file)?;
        let limit = self.loops.map_or(Limit::Seconds(self.seconds.unwrap_or(10)), Limit::Loops);
        Ok(Plan {
            file,
            temporary,
            ours: self.workers,
            theirs: self.libtdb,
            limit,
            seed: self.seed.unwrap_or_else(drawn_seed),
            locking: if self.mutex { Locking::Mutex } else { Locking::Fcntl },
            kill: self.kill,
            transactions: self.transactions || self.kill,
            hash_size: self.hash_size,
        })
    }
}

impl Plan {
    fn workers_count(&self) -> usize {
        (self.ours + self.theirs) as usize
    }

    fn flags(&self) -> TdbFlags {
        let mut flags = TdbFlags::NOSYNC | TdbFlags::INCOMPATIBLE_HASH | TdbFlags::DISALLOW_NESTING;
        flags.set(TdbFlags::MUTEX_LOCKING, self.locking == Locking::Mutex);
        flags
    }

    /// How long, where that is the limit.
    fn duration(&self) -> Option<Duration> {
        match self.limit {
            Limit::Seconds(seconds) => Some(Duration::from_secs(seconds)),
            Limit::Loops(_) => None,
        }
    }
}

fn refuse_existing(file: &Path) -> Result<(), Failure> {
    if file.symlink_metadata().is_err() {
        return Ok(());
    }
    Err(Failure::of_file(file, &"is there already, and torture would destroy it")
        .blame_request()
        .next_step("name a file that does not exist, or a directory"))
}

fn drawn_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Short enough to be typed again.
    u64::from(Dice::new(now.as_secs() ^ u64::from(now.subsec_nanos()), 0).below(1_000_000_000))
}
