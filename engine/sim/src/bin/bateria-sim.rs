//! Runs the simulation for as long as wanted: over a number of seeds, or for a time.

use bateria_sim::run::{Outcome, run};
use bateria_sim::scenario::Scenario;
use clap::Parser;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Runs a cluster with random faults, in virtual time, over many seeds.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// First seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of seeds, one after the other.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// Run for so many minutes instead of a number of seeds.
    #[arg(long)]
    minutes: Option<u64>,
    /// Seconds of virtual time with faults in each run.
    #[arg(long, default_value_t = 20)]
    faults: u64,
    /// Show every event.
    #[arg(long)]
    verbose: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let begun = Instant::now();
    let limit = arguments.minutes.map(|minutes| Duration::from_secs(minutes * 60));
    let mut total = Outcome::default();
    let mut runs_count = 0;
    loop {
        let done = limit.map_or(runs_count >= arguments.seeds, |limit| begun.elapsed() >= limit);
        if done {
            break;
        }
        let scenario =
            Scenario::from_seed(arguments.seed + runs_count, arguments.faults * 1_000_000);
        match run(scenario, arguments.verbose) {
            Ok(outcome) => add(&mut total, outcome),
            Err(failure) => {
                eprintln!("{failure}");
                eprintln!(
                    "again: bateria-sim --seed {} --seeds 1 --faults {} --verbose",
                    failure.seed, arguments.faults
                );
                return ExitCode::FAILURE;
            }
        }
        runs_count += 1;
        if runs_count % 500 == 0 {
            report(runs_count, &total, begun.elapsed());
        }
    }
    report(runs_count, &total, begun.elapsed());
    ExitCode::SUCCESS
}

fn add(total: &mut Outcome, outcome: Outcome) {
    total.steps_count += outcome.steps_count;
    total.fences_count += outcome.fences_count;
    total.generations_count += outcome.generations_count;
    total.versions_count += outcome.versions_count;
    total.healed_ms = total.healed_ms.max(outcome.healed_ms);
}

fn report(runs_count: u64, total: &Outcome, elapsed: Duration) {
    println!(
        "{runs_count} runs, {} steps, {} writes, {} fencings, slowest healing {} ms, {:.1} s",
        total.steps_count,
        total.versions_count,
        total.fences_count,
        total.healed_ms,
        elapsed.as_secs_f64()
    );
}
