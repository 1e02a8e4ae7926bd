//! The steps of the gate and their results.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

/// What the lines of a step have said about tests so far.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
}

/// Runs all steps; the exit code is that of the whole gate.
pub(crate) fn run(root: &Path) -> ExitCode {
    let begin = Instant::now();
    let mut tally = Tally::default();
    for &(title, program, args) in STEPS {
        println!("== {title}: {program} {}", args.join(" "));
        let step_begin = Instant::now();
        let succeeded = step(root, program, args, &mut tally);
        println!(
            "== {title}: {} after {:.0?}",
            if succeeded { "ok" } else { "FAILED" },
            step_begin.elapsed()
        );
        if !succeeded {
            // A step without tests of its own that fails is one failure.
            let failed = tally.failed.max(1);
            println!(
                "{} passed, {failed} failed; {title} failed after {:.0?}",
                tally.passed,
                begin.elapsed()
            );
            return ExitCode::FAILURE;
        }
    }
    // An ignored test is one that nobody sees failing.
    if tally.ignored > 0 || tally.passed == 0 {
        println!("{} passed, {} ignored: every test must run", tally.passed, tally.ignored);
        return ExitCode::FAILURE;
    }
    println!("{} passed, {} failed in {:.0?}", tally.passed, tally.failed, begin.elapsed());
    ExitCode::SUCCESS
}

/// Runs one program, passes its standard output through and counts the tests in it.
fn step(root: &Path, program: &str, args: &[&str], tally: &mut Tally) -> bool {
    let child = Command::new(program).args(args).current_dir(root).stdout(Stdio::piped()).spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            println!("{program}: {error}");
            return false;
        }
    };
    let output = child.stdout.take().expect("stdout is piped");
    for line in BufReader::new(output).split(b'\n') {
        let Ok(line) = line else { break };
        let line = String::from_utf8_lossy(&line);
        tally.add(&line);
        println!("{line}");
    }
    let _ = std::io::stdout().flush();
    child.wait().is_ok_and(|status| status.success())
}

impl Tally {
    /// Adds what a line such as `test result: ok. 12 passed; 0 failed; 0 ignored; …` says.
    fn add(&mut self, line: &str) {
        let Some(result) = line.trim_start().strip_prefix("test result: ") else { return };
        let Some((_, counts)) = result.split_once(". ") else { return };
        for count in counts.split("; ") {
            let Some((number, word)) = count.split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match word {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

/// Title, program and arguments, cheapest first.
const STEPS: &[(&str, &str, &[&str])] = &[
    ("format", "cargo", &["fmt", "--all", "--check"]),
    (
        "scripts",
        "shellcheck",
        &[
            "ci/test",
            ".ci/run",
            "scripts/cluster",
            "scripts/demo",
            "scripts/packages",
            "scripts/scenes",
            "scripts/smbtorture-baseline",
        ],
    ),
    ("floors", "cargo", &["run", "--quiet", "--package", "bateria-ci", "--", "floors"]),
    ("lints", "cargo", &["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]),
    ("tests", "cargo", &["test", "--workspace", "--no-fail-fast"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_test_programs_add_up() {
        let mut tally = Tally::default();
        tally.add("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s");
        tally.add("test counter ... ok");
        tally.add("test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out");
        assert_eq!(tally, Tally { passed: 15, failed: 2, ignored: 1 });
    }
}
