//! `bateria-perf`: load on a cluster of bateriad beside one of stock ctdbd, measured in one run.
//!
//! For every measure and every daemon in turn it makes a walled-off cluster (`scripts/cluster`), starts itself inside
//! (`inside`), and collects what that prints. Daemons alternate within a repetition, so that a machine that changes
//! its pace changes it for both. `bateria-perf tdb` needs no cluster: it compares the engine with libtdb.

#![forbid(unsafe_code)]

mod cell;
mod figures;
mod hammer;
mod kill;
mod load;
mod nodes;
mod report;
mod ring;
mod start;
mod syscalls;
mod tdb;
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::figures::Figures;
use crate::nodes::Nodes;
use crate::report::Report;

/// Any error: this program reports and ends.
type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Measures clustered TDB daemons side by side.
#[derive(Debug, Parser)]
#[command(version, subcommand_negates_reqs = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// What to measure, one after the other.
    #[arg(value_enum, required = true)]
    measures: Vec<Measure>,
    /// Daemons to compare: `stock`, `bateriad` (this tree's release build) or a path.
    #[arg(long = "daemon", default_values = ["stock", "bateriad"])]
    daemons: Vec<String>,
    /// Nodes of each cluster.
    #[arg(long, default_value_t = 3)]
    nodes: u32,
    /// Length of each load, in seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Clients on each node, for `hammer`.
    #[arg(long, default_value_t = 2)]
    clients: u32,
    /// Shards of each bateriad; its own choice if not given.
    #[arg(long)]
    shards: Option<u32>,
    /// How often to measure; the report shows medians.
    #[arg(long, default_value_t = 3)]
    repeat: u32,
    /// Print everything that was measured as JSON, in place of the table.
    #[arg(long)]
    json: bool,
}

/// What is not a measure of daemons in a cell.
#[derive(Debug, Subcommand)]
enum Command {
    /// The half that runs inside the cell; the outer half starts it.
    #[command(hide = true)]
    Inside { measure: Measure, dir: PathBuf, nodes: u32, clients: u32, seconds: u64 },
    /// The TDB engine beside libtdb, operation by operation.
    Tdb(tdb::Arguments),
    /// The second process of a contended lock.
    #[command(hide = true)]
    TdbContender { who: tdb::engine::Who, file: PathBuf, flags: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Measure {
    /// One client a node passes one hot record around by messages: rounds, latency, CPU.
    Ring,
    /// Several clients a node fight for one hot record, as smbd does: migrations, fairness, CPU.
    Hammer,
    /// From the last start to a healthy cluster.
    Start,
    /// From kill -9 of the leader to the first record that needs it.
    Kill,
    /// System calls of the daemons for each migration of the ring.
    Syscalls,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Some(Command::Tdb(ref arguments)) => tdb::measure(arguments),
        Some(Command::TdbContender { who, ref file, flags }) => {
            tdb::contender::serve(who, file, flags)
        }
        Some(Command::Inside { measure, ref dir, nodes, clients, seconds }) => {
            measure_inside(measure, &Nodes::new(dir, nodes), clients, Duration::from_secs(seconds))
                .and_then(|figures| {
                    println!("{}", serde_json::to_string(&figures)?);
                    Ok(())
                })
        }
        None => measure_all(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("bateria-perf: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn measure_all(arguments: &Arguments) -> Result<(), Fault> {
    let mut report = Report::new(&arguments.daemons);
    for &measure in &arguments.measures {
        for repetition in 1..=arguments.repeat {
            for daemon in &arguments.daemons {
                let name = measure.to_possible_value().expect("no measure is skipped");
                eprintln!("{} {repetition} of {}: {daemon}", name.get_name(), arguments.repeat);
                let figures = cell::measure(arguments, measure, name.get_name(), daemon)?;
                report.add(name.get_name(), daemon, figures);
            }
        }
    }
    if arguments.json {
        report.print_json()?;
    } else {
        report.print_table();
    }
    Ok(())
}

fn measure_inside(
    measure: Measure,
    nodes: &Nodes,
    clients: u32,
    time: Duration,
) -> Result<Figures, Fault> {
    match measure {
        Measure::Ring => ring::measure(nodes, time),
        Measure::Hammer => hammer::measure(nodes, clients, time),
        Measure::Start => start::measure(nodes),
        Measure::Kill => kill::measure(nodes),
        Measure::Syscalls => syscalls::measure(nodes, time),
    }
}
