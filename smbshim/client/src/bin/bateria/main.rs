//! `bateria`: the tool for databases and, in time, for the cluster.
//!
//! Every command is a file of its own that holds its arguments and what it does; this one only
//! chooses among them and turns their outcome into an exit code.
#![forbid(unsafe_code)]

mod colours;
mod completions;
mod failure;
mod interrupt;
mod man;
mod progress;
mod standard_output;
mod tdb;

use clap::{Parser, Subcommand};
use failure::Failure;
use std::process::ExitCode;

/// Tool for TDB databases and clusters of bateria.
#[derive(Parser)]
#[command(name = "bateria", version, arg_required_else_help = true, max_term_width = 100)]
struct Bateria {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Tdb(tdb::TdbArguments),
    Completions(completions::CompletionsArguments),
    Man(man::ManArguments),
}

/// What a command that ran to its end has to say: the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Good,
    /// It did its work and found a fault.
    FaultFound,
}

fn main() -> ExitCode {
    let arguments = Bateria::parse();
    let json = matches!(&arguments.command, Command::Tdb(tdb) if tdb.json);
    let outcome = match arguments.command {
        Command::Tdb(arguments) => arguments.run(),
        Command::Completions(arguments) => arguments.run(),
        Command::Man(arguments) => arguments.run(),
    };
    match outcome {
        Ok(Ending::Good) => ExitCode::SUCCESS,
        Ok(Ending::FaultFound) => ExitCode::FAILURE,
        Err(failure) => failure.report(json),
    }
}

type Outcome = Result<Ending, Failure>;
