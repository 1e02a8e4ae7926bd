//! `bateriad`, started as `ctdbd` is.
#![forbid(unsafe_code)]

use clap::Parser;
use std::process::ExitCode;

/// Clustered TDB engine for Samba.
///
/// Takes the place of ctdbd: reads the same ctdb.conf, nodes and tunables below CTDB_BASE (default
/// /etc/ctdb) and serves the same socket.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Stay in the foreground and log to stderr
    #[arg(short, long)]
    interactive: bool,
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
    bateria_engine::daemon::run(arguments.interactive)
}
