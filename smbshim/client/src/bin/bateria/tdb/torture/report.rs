//! What a run has done and found, for people and programs.

use crate::Ending;
use crate::colours::{Colours, Role};
use crate::failure::quoted;
use crate::tdb::torture::journal::{Operation, Tally};
use crate::tdb::torture::verdict::{State, Verdict};
use crate::tdb::torture::{Limit, Locking, Plan};
use serde::{Serialize, Serializer};
use std::fmt::Write;

/// As `--json` prints it.
#[derive(Serialize)]
pub(super) struct Report {
    file: String,
    /// The file is there for a look.
    kept: bool,
    seed: u64,
    locking: Locking,
    workers: u32,
    libtdb_workers: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    loops: Option<u64>,
    kills: u64,
    #[serde(serialize_with = "by_name")]
    operations: Tally,
    #[serde(flatten)]
    verdict: Verdict,
    faults: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_step: Option<String>,
}

impl Report {
    pub(super) fn new(
        plan: &Plan,
        tallies: &[Tally],
        kills: u64,
        verdict: Verdict,
        faults: Vec<String>,
    ) -> Self {
        let mut operations = Tally::default();
        tallies.iter().for_each(|tally| operations.add(tally));
        let (seconds, loops) = match plan.limit {
            Limit::Seconds(seconds) => (Some(seconds), None),
            Limit::Loops(loops) => (None, Some(loops)),
        };
        let damaged = verdict.bateria == State::Damaged;
        let step =
            if damaged { format!("bateria tdb check {}", quoted(&plan.file)) } else { again(plan) };
        Self {
            file: plan.file.display().to_string(),
            kept: !(plan.temporary && faults.is_empty()),
            seed: plan.seed,
            locking: plan.locking,
            workers: plan.ours,
            libtdb_workers: plan.theirs,
            seconds,
            loops,
            kills,
            operations,
            verdict,
            next_step: (!faults.is_empty()).then_some(step),
            faults,
        }
    }

    pub(super) fn is_good(&self) -> bool {
        self.faults.is_empty()
    }

    pub(super) fn ending(&self) -> Ending {
        if self.is_good() { Ending::Good } else { Ending::FaultFound }
    }

    pub(super) fn text(&self) -> String {
        let colours = Colours::of_stdout();
        let mut text = format!(
            "{}: {} workers and {} of libtdb, {} locks, seed {}\n",
            self.file,
            self.workers,
            self.libtdb_workers,
            self.locking.name(),
            self.seed
        );
        for (operation, name) in Operation::ALL {
            let _ = writeln!(text, "  {name:<12} {:>12}", self.operations.operations(operation));
        }
        let _ = writeln!(text, "  {:<12} {:>12}", "increments", self.verdict.increments);
        let _ = writeln!(text, "  {:<12} {:>12}", "kills", self.kills);
        let state = |state| match state {
            State::Clean => colours.paint(Role::Good, "clean"),
            State::Damaged => colours.paint(Role::Bad, "damaged"),
        };
        let theirs = match self.verdict.libtdb {
            Some(found) => format!("libtdb: {}", state(found)),
            None => "libtdb is not installed (Debian: package libtdb1)".to_owned(),
        };
        let _ = writeln!(
            text,
            "bateria: {}, {} records; {theirs}",
            state(self.verdict.bateria),
            self.verdict.records
        );
        if !self.is_good() {
            let count = self.faults.len();
            let what = format!("{count} fault{}", if count == 1 { "" } else { "s" });
            let _ = writeln!(text, "{} with seed {}:", colours.paint(Role::Bad, &what), self.seed);
            for fault in &self.faults {
                let _ = writeln!(text, "  {fault}");
            }
        }
        if let Some(step) = &self.next_step {
            let _ = writeln!(text, "{} {step}", colours.paint(Role::Hint, "next:"));
        }
        text
    }
}

/// The command that plays the same run again.
fn again(plan: &Plan) -> String {
    let mut command = format!(
        "bateria tdb torture --seed {} --workers {} --libtdb {} --hash-size {}",
        plan.seed, plan.ours, plan.theirs, plan.hash_size
    );
    let _ = match plan.limit {
        Limit::Seconds(seconds) => write!(command, " --seconds {seconds}"),
        Limit::Loops(loops) => write!(command, " --loops {loops}"),
    };
    let _ = write!(command, " --{}", plan.locking.name());
    for (given, option) in [(plan.kill, " --kill"), (plan.transactions, " --transactions")] {
        command.push_str(if given { option } else { "" });
    }
    command.push_str(" DIR");
    command
}

fn by_name<S: Serializer>(operations: &Tally, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(Operation::ALL.map(|(operation, name)| (name, operations.operations(operation))))
}
