//! A broken invariant: enough to see it again.

use std::fmt;

/// What was broken, when, in which run.
#[derive(Clone, Debug)]
pub struct Failure {
    pub seed: u64,
    pub scenario: String,
    pub at_us: u64,
    pub rule: &'static str,
    pub text: String,
    /// The last events before it.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        let Self { seed, scenario, at_us, rule, text, .. } = self;
        writeln!(f, "seed {seed} ({scenario}), {} ms:", at_us / 1000)?;
        writeln!(f, "broken: {rule}")?;
        write!(f, "{text}")
    }
}

impl std::error::Error for Failure {}
