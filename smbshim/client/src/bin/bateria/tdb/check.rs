//! `bateria tdb check`: what is wrong with a file, where, and what to do about it.

use crate::colours::{Colours, Role};
use crate::failure::{Failure, quoted, rescue};
use crate::tdb::Manner;
use crate::tdb::opening::{
    Locking, lock_for_changing, lock_for_reading, open_to_change, open_to_read,
};
use crate::{Ending, Outcome, standard_output};
use bateria_tdb::{Advice, CheckReport, Fault, Tdb, TdbError};
use clap::Args;
use rustix::io::Errno;
use serde::Serialize;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Check that a database is sound
///
/// Reads the whole file: every record, every list, every link. Says of each fault what, where and
/// by which rule, and what to do next. Writers wait meanwhile, unless --no-lock is given. Exit codes:
/// 0 clean, 1 damaged, 2 cannot be opened.
#[derive(Args)]
pub(crate) struct CheckArguments {
    /// Databases
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Read without locks and change nothing; a file in use may then seem damaged
    #[arg(short = 'l', long)]
    no_lock: bool,
    /// Put right, in one transaction, what can be put right without losing a record. A single one that
    /// nothing links to was never stored, and is freed
    #[arg(long, conflicts_with = "no_lock")]
    mend: bool,
}

/// The verdict on one file, as `--json` prints it.
#[derive(Serialize)]
struct Verdict<'a> {
    file: String,
    clean: bool,
    /// Faults were found and put right.
    mended: bool,
    live_records: u64,
    dead_records: u64,
    free_records: u64,
    /// Bytes at the end that belong to no record; harmless.
    unowned_bytes: u32,
    faults_count: u64,
    /// The first hundred.
    faults: Vec<FaultFound<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_step: Option<String>,
}

#[derive(Serialize)]
struct FaultFound<'a> {
    offset: u32,
    rule: &'a str,
    /// "mend" or "rescue"
    advice: &'static str,
}

impl CheckArguments {
    pub(crate) fn run(self, manner: Manner) -> Outcome {
        let mut ending = Ending::Good;
        let mut unopened = None;
        for path in &self.files {
            match self.check(path, manner) {
                Ok(Ending::Good) => {}
                Ok(Ending::FaultFound) => ending = Ending::FaultFound,
                Err(failure) if failure.is_closed_pipe() || self.files.len() == 1 => {
                    return Err(failure);
                }
                Err(failure) => {
                    // The other files are judged all the same.
                    if let Some(earlier) = unopened.replace(failure) {
                        earlier.tell(manner.json);
                    }
                }
            }
        }
        unopened.map_or(Ok(ending), Err)
    }

    fn check(&self, path: &Path, manner: Manner) -> Outcome {
        let opened = if self.mend {
            open_to_change(path)
        } else {
            open_to_read(path, Locking::from_flag(self.no_lock))
        };
        let mut tdb = match opened {
            Ok(tdb) => tdb,
            Err(failure) => {
                let report = fault_of_open(path, &failure).ok_or(failure)?;
                return print(path, &report, false, manner);
            }
        };
        if self.mend {
            lock_for_changing(&mut tdb, path)?;
            tdb.unlock_all();
            let found = tdb.mend().map_err(|error| Failure::of_tdb(path, error))?;
            // What could not be put right is left, with all its faults.
            let report = self.judge(&mut tdb, path, manner)?;
            let mended = !found.is_clean() && report.is_clean();
            return print(path, if mended { &found } else { &report }, mended, manner);
        }
        let report = self.judge(&mut tdb, path, manner)?;
        print(path, &report, false, manner)
    }

    fn judge(&self, tdb: &mut Tdb, path: &Path, manner: Manner) -> Result<CheckReport, Failure> {
        if !self.no_lock {
            lock_for_reading(tdb, path)?;
        }
        let mut progress = manner.progress(format!("checking {}", path.display()), "bytes");
        match tdb.check_with_progress(&mut |done, total| {
            progress.at(u64::from(done), Some(u64::from(total)));
        }) {
            Ok(report) => Ok(report),
            // The file ended under our hands, or a length leads nowhere: a verdict, too.
            Err(TdbError::Corrupt { offset, rule, .. }) => Ok(one_fault(offset, rule)),
            Err(TdbError::OutOfRange { offset, .. }) => {
                Ok(one_fault(offset, "what is here reaches beyond the end of the file"))
            }
            Err(error) => Err(Failure::of_tdb(path, error)),
        }
    }
}

fn one_fault(offset: u32, rule: &'static str) -> CheckReport {
    let mut report = CheckReport::default();
    report.faults.push(Fault { offset, rule, advice: Advice::Rescue });
    report.faults_count = 1;
    report
}

/// What is wrong with a file that cannot be opened, if damage is the reason.
fn fault_of_open(path: &Path, failure: &Failure) -> Option<CheckReport> {
    if contradicts_itself(path, failure) {
        let (offset, rule) = failure.broken_rule();
        return Some(one_fault(offset.unwrap_or(0), rule.unwrap_or("the header is damaged")));
    }
    failure.damage().map(|(offset, rule)| one_fault(offset, rule))
}

/// A file that starts as a database does and yet cannot be opened as one. (ENOSYS is for formats
/// that are not ours: no damage.)
fn contradicts_itself(path: &Path, failure: &Failure) -> bool {
    let mut start = [0; MAGIC.len()];
    let refused = failure.refused().map(Errno::from_raw_os_error);
    refused.is_some_and(|errno| errno != Errno::NOSYS)
        && File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok()
        && start == *MAGIC
}

fn print(path: &Path, report: &CheckReport, mended: bool, manner: Manner) -> Outcome {
    let verdict = Verdict::new(path, report, mended);
    if manner.json {
        standard_output::print_json(&verdict)?;
    } else {
        standard_output::print(&verdict.text())?;
    }
    Ok(if report.is_clean() || mended { Ending::Good } else { Ending::FaultFound })
}

impl<'a> Verdict<'a> {
    fn new(path: &Path, report: &'a CheckReport, mended: bool) -> Self {
        let next_step = report.advice().filter(|_| !mended).map(|advice| match advice {
            Advice::Mend => format!("bateria tdb check --mend {}", quoted(path)),
            Advice::Rescue => rescue(path),
        });
        let faults = report.faults.iter().map(|fault| FaultFound {
            offset: fault.offset,
            rule: fault.rule,
            advice: match fault.advice {
                Advice::Mend => "mend",
                Advice::Rescue => "rescue",
            },
        });
        Self {
            file: path.display().to_string(),
            clean: report.is_clean() || mended,
            mended,
            live_records: report.live_count,
            dead_records: report.dead_count,
            free_records: report.free_count,
            unowned_bytes: report.unowned_bytes,
            faults_count: report.faults_count,
            faults: faults.collect(),
            next_step,
        }
    }

    fn text(&self) -> String {
        use std::fmt::Write;
        let colours = Colours::of_stdout();
        let mut text = String::new();
        let (state, role) = match (self.clean, self.mended) {
            (true, false) => ("clean", Role::Good),
            (_, true) => ("mended", Role::Good),
            (false, false) => ("damaged", Role::Bad),
        };
        let _ = write!(text, "{}: {}", self.file, colours.paint(role, state));
        if self.faults_count > 0 {
            let _ = write!(text, ", {}", counted(self.faults_count, "fault"));
        }
        let _ = writeln!(text, ", {}", counted(self.live_records, "record"));
        if self.unowned_bytes > 0 {
            let _ = writeln!(
                text,
                "  {} bytes at the end belong to no record (a crash left them; harmless)",
                self.unowned_bytes
            );
        }
        for fault in &self.faults {
            let _ = writeln!(text, "  offset 0x{:08x}: {}", fault.offset, fault.rule);
        }
        let hidden = self.faults_count.saturating_sub(self.faults.len() as u64);
        if hidden > 0 {
            let _ = writeln!(text, "  and {hidden} more");
        }
        if let Some(step) = &self.next_step {
            let _ = writeln!(text, "{} {step}", colours.paint(Role::Hint, "next:"));
        }
        text
    }
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

const MAGIC: &[u8; 10] = b"TDB file\n\0";
