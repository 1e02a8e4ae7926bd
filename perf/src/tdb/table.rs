//! What was measured, as a table for people or as JSON.

use serde::Serialize;

use super::Mode;
use super::engine::Who;
use super::operation::{Content, Operation};
use super::stopwatch::Taken;
use crate::Fault;
use crate::report::median;

/// One operation on one database, by both.
#[derive(Debug, Serialize)]
pub(crate) struct Cell {
    mode: Mode,
    value_size_bytes: usize,
    records_count: u32,
    operation: Operation,
    bateria: Side,
    libtdb: Side,
}

/// One value for each repetition.
#[derive(Debug, Default, Serialize)]
struct Side {
    ns_per_operation: Vec<f64>,
    cpu_ns_per_operation: Vec<f64>,
}

/// Everything, and what it comes to.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    dir: String,
    hash_size: u32,
    cells: Vec<Cell>,
    /// How many times as fast as libtdb, over all cells.
    geometric_mean: f64,
    /// The same by CPU time, which says more on a machine that does other work too.
    geometric_mean_cpu: f64,
    slowest_ratio: f64,
}

impl Cell {
    pub(crate) fn new(mode: Mode, content: Content, operation: Operation) -> Cell {
        Cell {
            mode,
            value_size_bytes: content.value_size,
            records_count: content.records_count,
            operation,
            bateria: Side::default(),
            libtdb: Side::default(),
        }
    }

    pub(crate) fn add(&mut self, who: Who, taken: Taken) {
        let side = match who {
            Who::Bateria => &mut self.bateria,
            Who::Libtdb => &mut self.libtdb,
        };
        side.ns_per_operation.push(taken.ns_each());
        side.cpu_ns_per_operation.push(taken.cpu_ns_each());
    }

    pub(crate) fn print(&self) {
        println!("{}", self.line());
    }

    pub(crate) fn line(&self) -> String {
        let operation = name_of(&self.operation);
        format!(
            "{:6} {:>6} {:>8} {operation:15} {:>12.1} {:>12.1} {:>12.1} {:>12.1} {:>7.2} {:>7.2}",
            name_of(&self.mode),
            self.value_size_bytes,
            self.records_count,
            median(&self.bateria.ns_per_operation),
            median(&self.libtdb.ns_per_operation),
            median(&self.bateria.cpu_ns_per_operation),
            median(&self.libtdb.cpu_ns_per_operation),
            self.ratio(),
            self.cpu_ratio(),
        )
    }

    /// How many times as fast as libtdb.
    fn ratio(&self) -> f64 {
        median(&self.libtdb.ns_per_operation) / median(&self.bateria.ns_per_operation)
    }

    fn cpu_ratio(&self) -> f64 {
        median(&self.libtdb.cpu_ns_per_operation) / median(&self.bateria.cpu_ns_per_operation)
    }
}

impl Table {
    pub(crate) fn new(dir: String, hash_size: u32, cells: Vec<Cell>) -> Table {
        let ratios = || cells.iter().map(Cell::ratio);
        Table {
            geometric_mean: geometric_mean(ratios()),
            geometric_mean_cpu: geometric_mean(cells.iter().map(Cell::cpu_ratio)),
            slowest_ratio: ratios().fold(f64::INFINITY, f64::min),
            dir,
            hash_size,
            cells,
        }
    }

    pub(crate) fn print_header() {
        println!(
            "{:6} {:>6} {:>8} {:15} {:>12} {:>12} {:>12} {:>12} {:>7} {:>7}",
            "mode",
            "bytes",
            "records",
            "operation",
            "bateria ns",
            "libtdb ns",
            "bateria CPU",
            "libtdb CPU",
            "faster",
            "(CPU)"
        );
    }

    pub(crate) fn print_summary(&self) {
        println!(
            "geometric mean: {:.2} times as fast as libtdb (by CPU time {:.2}); slowest cell: {:.2}",
            self.geometric_mean, self.geometric_mean_cpu, self.slowest_ratio
        );
    }

    pub(crate) fn print_json(&self) -> Result<(), Fault> {
        println!("{}", serde_json::to_string_pretty(self)?);
        Ok(())
    }
}

fn geometric_mean(ratios: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) =
        ratios.fold((0.0, 0.0), |(sum, count): (f64, f64), ratio| (sum + ratio.ln(), count + 1.0));
    (sum / count).exp()
}

fn name_of(value: &impl clap::ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}
