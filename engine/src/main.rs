//! `bateriad`, started as `ctdbd` is.
#![forbid(unsafe_code)]

use clap::{ArgAction, CommandFactory, Parser};
use std::process::ExitCode;

/// Clustered TDB engine for Samba.
///
/// Takes the place of ctdbd: reads the same ctdb.conf, nodes and tunables below CTDB_BASE (default
/// /etc/ctdb) and serves the same socket.
#[derive(Parser)]
#[command(name = "bateriad", version)]
struct Arguments {
    /// Stay in the foreground and log to stderr
    #[arg(short, long)]
    interactive: bool,
    /// Print the usage, as ctdbd does
    #[arg(long)]
    usage: bool,
    /// Print help, as ctdbd does
    #[arg(short = '?', hide = true, action = ArgAction::HelpLong)]
    help_as_ctdbd: Option<bool>,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            // As ctdbd: 0 for help, 1 for a wrong command line.
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    if arguments.usage {
        println!("{}", Arguments::command().render_usage());
        return ExitCode::SUCCESS;
    }
    bateria_engine::daemon::run(arguments.interactive)
}
