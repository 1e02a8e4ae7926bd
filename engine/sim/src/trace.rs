//! What happened lately, for whoever reads a failure.

use bateria_core::cluster::Micros;
use std::collections::VecDeque;

/// The newest lines of a run.
#[derive(Debug, Default)]
pub struct Trace {
    lines: VecDeque<String>,
    /// Print every line at once.
    pub verbose: bool,
}

const LINES_COUNT_MAX: usize = 600;

impl Trace {
    pub fn note(&mut self, at: Micros, text: std::fmt::Arguments<'_>) {
        let line = format!("{:>9}.{:03} ms  {text}", at.0 / 1000, at.0 % 1000);
        if self.verbose {
            println!("{line}");
        }
        if self.lines.len() == LINES_COUNT_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    #[must_use]
    pub fn newest(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}
