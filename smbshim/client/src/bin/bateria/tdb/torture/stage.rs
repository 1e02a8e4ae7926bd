//! The processes of a run: started, killed, replaced, and watched for standing still.

use crate::failure::Failure;
use crate::tdb::Manner;
use crate::tdb::torture::dice::Dice;
use crate::tdb::torture::journal::{self, COUNTERS, Tally};
use crate::tdb::torture::worker::counter_key;
use crate::tdb::torture::{Limit, Locking, Plan};
use bateria_tdb::{OpenOptions, StoreMode, Tdb};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

pub(super) struct Stage {
    /// Holds the file open, so that nobody is the first to open it: that one would re-make mutexes.
    keeper: Tdb,
    notes: PathBuf,
    actors: Vec<Actor>,
    kills: u64,
}

struct Actor {
    child: Option<Child>,
    /// How many were killed before this one.
    lives: u64,
    steps: u64,
    /// When it last took a step.
    moved: Instant,
}

impl Stage {
    /// Makes the file with its counters.
    pub(super) fn set(plan: &Plan, notes: &Path) -> Result<Self, Failure> {
        let failed = |error| Failure::of_open(&plan.file, error);
        let options = OpenOptions {
            flags: plan.flags(),
            hash_size: plan.hash_size,
            create: true,
            ..OpenOptions::default()
        };
        let mut keeper = Tdb::open(&plan.file, &options).map_err(failed)?;
        for counter in 0..COUNTERS {
            keeper
                .store(&counter_key(counter), &[&0_u64.to_le_bytes()], StoreMode::Insert)
                .map_err(failed)?;
        }
        Ok(Self { keeper, notes: notes.to_owned(), actors: Vec::new(), kills: 0 })
    }

    /// Lets all work until the limit is reached; returns what went wrong.
    pub(super) fn play(&mut self, plan: &Plan, manner: Manner) -> Vec<String> {
        let begin = Instant::now();
        let mut faults = Vec::new();
        let mut dice = Dice::new(plan.seed, u64::MAX);
        let mut progress = manner.progress(format!("torturing (seed {})", plan.seed), "operations");
        for slot in 0..plan.workers_count() {
            self.actors.push(Actor { child: None, lives: 0, steps: 0, moved: Instant::now() });
            if let Err(fault) = self.start(plan, slot, begin) {
                faults.push(fault);
            }
        }
        let mut turns = 0_u32;
        while faults.is_empty() && self.watch(plan, begin, &mut faults) {
            std::thread::sleep(TURN);
            turns = turns.wrapping_add(1);
            let ending = plan.duration().is_some_and(|duration| begin.elapsed() >= duration);
            if plan.kill && !ending && turns.is_multiple_of(KILL_TURNS) {
                let slot = dice.below(u32::try_from(self.actors.len()).expect("few")) as usize;
                self.kill(slot);
                if let Err(fault) = self.start(plan, slot, begin) {
                    faults.push(fault);
                }
            }
            let done: u64 = self.tallies().iter().map(Tally::operations_total).sum();
            (0..PROGRESS_CALLS).for_each(|_| progress.at(done, None));
        }
        self.stop();
        faults
    }

    /// What each worker has noted.
    pub(super) fn tallies(&self) -> Vec<Tally> {
        (0..self.actors.len()).map(|slot| journal::tally(&self.notes, slot)).collect()
    }

    pub(super) fn kills(&self) -> u64 {
        self.kills
    }

    /// Gives the file back; all processes have ended.
    pub(super) fn end(self) -> Tdb {
        self.keeper
    }

    /// Looks at every worker once; false when all have ended as they should.
    fn watch(&mut self, plan: &Plan, begin: Instant, faults: &mut Vec<String>) -> bool {
        let mut running = false;
        for slot in 0..self.actors.len() {
            let tally = journal::tally(&self.notes, slot);
            let actor = &mut self.actors[slot];
            let Some(child) = &mut actor.child else { continue };
            match child.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) if status.success() => {
                    actor.child = None;
                    continue;
                }
                Ok(Some(status)) => {
                    actor.child = None;
                    faults.push(self.last_words(slot, status));
                    continue;
                }
                Err(error) => faults.push(format!("worker {slot}: wait: {error}")),
            }
            running = true;
            if tally.steps() != actor.steps {
                actor.steps = tally.steps();
                actor.moved = Instant::now();
            }
            if plan.kill && actor.moved.elapsed() > STRAY_AFTER {
                // Whoever was killed while it waited may have been woken in this one's place.
                self.keeper.wake_strays();
            }
            if actor.moved.elapsed() > STILL_MAX {
                let seconds = begin.elapsed().as_secs();
                let which = plan.engine_of(slot);
                let still = STILL_MAX.as_secs();
                faults.push(format!(
                    "worker {slot} ({which}) has stood still for {still} s, at second {seconds}"
                ));
            }
        }
        running
    }

    /// What the worker wrote down before it ended, or how it ended.
    fn last_words(&self, slot: usize, status: ExitStatus) -> String {
        let words = std::fs::read_to_string(self.notes.join(format!("fault.{slot}")));
        words.unwrap_or_else(|_| match status.signal() {
            Some(signal) => format!("worker {slot} was killed by signal {signal}"),
            None => format!("worker {slot} ended: {status}"),
        })
    }

    fn start(&mut self, plan: &Plan, slot: usize, begin: Instant) -> Result<(), String> {
        let actor = &mut self.actors[slot];
        let mut command = Command::new("/proc/self/exe");
        command
            .args(["tdb", "torture-worker"])
            .args([format!("--flags={}", plan.flags().bits()), format!("--seed={}", plan.seed)])
            .arg(format!("--life={}", actor.lives))
            .arg(format!("--parent={}", std::process::id()));
        match plan.limit {
            Limit::Loops(loops) => command.arg(format!("--loops={loops}")),
            Limit::Seconds(seconds) => {
                let left = Duration::from_secs(seconds).saturating_sub(begin.elapsed());
                command.arg(format!("--milliseconds={}", left.as_millis()))
            }
        };
        if plan.is_libtdb(slot) {
            command.arg("--libtdb");
        }
        if plan.transactions {
            command.arg("--transactions");
        }
        if !plan.may_traverse(slot) {
            command.arg("--no-traverse");
        }
        command.arg("--").arg(&plan.file).arg(&self.notes).arg(slot.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child =
            command.spawn().map_err(|error| format!("worker {slot} does not start: {error}"))?;
        actor.child = Some(child);
        actor.moved = Instant::now();
        Ok(())
    }

    /// At whatever it is doing.
    fn kill(&mut self, slot: usize) {
        let actor = &mut self.actors[slot];
        if let Some(mut child) = actor.child.take() {
            let _ = child.kill();
            let _ = child.wait();
            actor.lives += 1;
            self.kills += 1;
        }
    }

    fn stop(&mut self) {
        for actor in &mut self.actors {
            if let Some(mut child) = actor.child.take() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Plan {
    /// Ours come first.
    fn is_libtdb(&self, slot: usize) -> bool {
        slot >= self.ours as usize
    }

    fn engine_of(&self, slot: usize) -> &'static str {
        if self.is_libtdb(slot) { "libtdb" } else { "bateria" }
    }

    /// A libtdb that traverses a file with mutexes, and one that commits, wait for each other for
    /// ever, and nobody notices (P37). Ours do not wait like that.
    fn may_traverse(&self, slot: usize) -> bool {
        !(self.locking == Locking::Mutex && self.is_libtdb(slot) && self.theirs > 1)
    }
}

const TURN: Duration = Duration::from_millis(10);
/// A kill every 60 ms: often enough to hit everything, seldom enough to let work be done.
const KILL_TURNS: u32 = 6;
/// `Progress` expects a call for every operation and asks the clock every so many calls.
const PROGRESS_CALLS: u32 = 64;
/// Then a worker may have been forgotten by one that was killed; `keeper` wakes it.
const STRAY_AFTER: Duration = Duration::from_secs(1);
/// Nobody waits that long for a lock: a wake-up was lost.
const STILL_MAX: Duration = Duration::from_secs(30);
