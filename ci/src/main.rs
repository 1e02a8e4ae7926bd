//! `bateria-ci`: the one gate. `./ci/test` runs it; so does the project's CI, and nothing else.
//!
//! Steps run one after the other, cheapest first; the first that fails ends the run. Output goes through as it comes,
//! results of tests are counted, and the last line says how many passed and failed.

#![forbid(unsafe_code)]

mod floors;
mod gate;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace");
    let argument = std::env::args().nth(1);
    match argument.as_deref() {
        None => gate::run(root),
        Some("floors") => floors::report(root),
        Some(other) => {
            eprintln!(
                "bateria-ci: no step {other}; without an argument it runs all, `floors` checks only who depends on whom"
            );
            ExitCode::from(2)
        }
    }
}
