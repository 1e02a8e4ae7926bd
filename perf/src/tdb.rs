//! `bateria-perf tdb`: the TDB engine beside libtdb, operation by operation.
//!
//! Both make the same database in a file of their own; then slices of both take turns. libtdb is loaded at run time.

mod bench;
pub(crate) mod contender;
pub(crate) mod engine;
mod operation;
mod stopwatch;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use self::bench::{Bench, Pace};
use self::operation::{Content, Operation};
use self::table::Table;
use crate::Fault;

/// What to compare. Without any choice: everything, which takes some minutes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where the files go; a tmpfs shows the engines, a disk the syncs too.
    #[arg(long, default_value = "/dev/shm")]
    dir: PathBuf,
    /// How chains are locked.
    #[arg(long, value_enum)]
    mode: Vec<Mode>,
    #[arg(long, value_enum)]
    operation: Vec<Operation>,
    /// Bytes of each value.
    #[arg(long, default_values_t = [100, 65536])]
    value: Vec<usize>,
    /// Records of each database; fewer where that many values would not fit.
    #[arg(long, default_values_t = [1000, 1_000_000])]
    records: Vec<u32>,
    /// Hash chains of each database; ctdbd's default.
    #[arg(long, default_value_t = 100_001)]
    hash_size: u32,
    /// Length of a slice, in milliseconds.
    #[arg(long, default_value_t = 100)]
    slice: u64,
    /// Slices of each engine; the report shows medians.
    #[arg(long, default_value_t = 7)]
    repeat: u32,
    /// Upper limit for the values of one database, in MiB.
    #[arg(long, default_value_t = 1250)]
    limit: usize,
    /// See whether it works: slices of 2 ms, and at most 10,000 records.
    #[arg(long)]
    short: bool,
    /// Print everything that was measured as JSON, in place of the table.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// Robust mutexes in the file.
    Mutex,
    /// Byte range locks.
    Fcntl,
}

impl Mode {
    /// `TDB_INCOMPATIBLE_HASH`, as ctdbd uses it, and `TDB_MUTEX_LOCKING`.
    fn flags(self) -> u32 {
        match self {
            Mode::Mutex => 0x1800,
            Mode::Fcntl => 0x800,
        }
    }
}

pub(crate) fn measure(arguments: &Arguments) -> Result<(), Fault> {
    bateria_tdb::libtdb::load()?;
    let pace = if arguments.short {
        Pace { slice: Duration::from_millis(2), repeat: 2 }
    } else {
        Pace { slice: Duration::from_millis(arguments.slice), repeat: arguments.repeat.max(1) }
    };
    if !arguments.json {
        Table::print_header();
    }
    let mut cells = Vec::new();
    for mode in chosen(&arguments.mode) {
        for &value_size in &arguments.value {
            for content in contents(arguments, value_size) {
                let mut bench = Bench::new(&arguments.dir, mode, content, arguments.hash_size)?;
                for operation in chosen(&arguments.operation) {
                    let cell = bench.measure(operation, pace)?;
                    if !arguments.json {
                        cell.print();
                    }
                    cells.push(cell);
                }
                bench.check()?;
            }
        }
    }
    let table = Table::new(arguments.dir.display().to_string(), arguments.hash_size, cells);
    if arguments.json {
        table.print_json()?;
    } else {
        table.print_summary();
    }
    Ok(())
}

/// The databases of one size of values. A million values of 64 KiB are 64 GiB, and a TDB file ends at 4 GiB; so the
/// number of records is cut to what fits the limit.
fn contents(arguments: &Arguments, value_size: usize) -> Vec<Content> {
    let value_size = value_size.max(VALUE_SIZE_BYTES_MIN);
    let fitting = u32::try_from((arguments.limit << 20) / value_size).unwrap_or(u32::MAX);
    let most = if arguments.short { fitting.min(10_000) } else { fitting };
    let mut contents: Vec<Content> = Vec::new();
    for &wanted in &arguments.records {
        let records_count = wanted.clamp(1, most);
        if records_count < wanted && !arguments.json {
            eprintln!("{value_size} bytes: {records_count} records in place of {wanted}");
        }
        contents.push(Content { records_count, value_size });
    }
    contents
}

fn chosen<T: ValueEnum + Copy>(values: &[T]) -> Vec<T> {
    if values.is_empty() { T::value_variants().to_vec() } else { values.to_vec() }
}

/// A value starts with a counter, and is parsed like a record of a clustered database.
const VALUE_SIZE_BYTES_MIN: usize = 24;
