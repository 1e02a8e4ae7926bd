//! What was measured, as a table for people or as JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::Fault;
use crate::figures::Figures;

/// All figures of all repetitions, in the order of the daemons on the command line.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    daemons: Vec<String>,
    /// Measure, then figure, then for each daemon the values of its repetitions.
    measures: BTreeMap<String, BTreeMap<String, Vec<Vec<f64>>>>,
}

impl Report {
    pub(crate) fn new(daemons: &[String]) -> Report {
        Report { daemons: daemons.to_vec(), measures: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, measure: &str, daemon: &str, figures: Figures) {
        let place =
            self.daemons.iter().position(|name| name == daemon).expect("it is on the command line");
        let of_measure = self.measures.entry(measure.to_owned()).or_default();
        for (name, value) in figures.0 {
            let values =
                of_measure.entry(name).or_insert_with(|| vec![Vec::new(); self.daemons.len()]);
            values[place].push(value);
        }
    }

    pub(crate) fn print_json(&self) -> Result<(), Fault> {
        println!("{}", serde_json::to_string_pretty(self)?);
        Ok(())
    }

    /// A line for each figure: the median of each daemon, and the last daemon's as a multiple of the first's.
    pub(crate) fn print_table(&self) {
        print!("{:44}", "");
        self.daemons.iter().for_each(|daemon| print!(" {:>14}", short(daemon)));
        println!(" {:>8}", if self.daemons.len() > 1 { "ratio" } else { "" });
        for (measure, figures) in &self.measures {
            for (name, values) in figures {
                let medians: Vec<f64> = values.iter().map(|values| median(values)).collect();
                print!("{:44}", format!("{measure} {name}"));
                medians.iter().for_each(|median| print!(" {median:>14.3}"));
                match medians.as_slice() {
                    [first, .., last] => println!(" {:>8.3}", last / first),
                    _ => println!(),
                }
            }
        }
    }
}

/// The file name of a daemon that was given by its path.
fn short(daemon: &str) -> &str {
    daemon.rsplit('/').next().unwrap_or(daemon)
}

/// The middle value, or the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_lies_between() {
        assert!((median(&[4.0, 1.0, 3.0]) - 3.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0, 3.0, 2.0]) - 2.5).abs() < 1e-9);
    }
}
