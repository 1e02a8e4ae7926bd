//! `bateria tdb dump`: all records as text, as `tdbdump` writes it.

use crate::failure::{Failure, rescue};
use crate::standard_output::{with_output, write_json};
use crate::tdb::Manner;
use crate::tdb::opening::{Locking, lock_for_reading, open_to_read};
use crate::tdb::patience::Patience;
use crate::{Ending, Outcome};
use bateria_tdb::{Spelling, Tdb, TransferError, write_escaped, write_record};
use clap::Args;
use serde::Serialize;
use std::ffi::OsString;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Print all records, as tdbdump does
///
/// The text is what `bateria tdb restore` and tdbrestore read. Each chain is locked while it is read.
#[derive(Args)]
pub(crate) struct DumpArguments {
    /// Database
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print only the data of this key, escaped, without a newline; exit code 1 if there is none
    #[arg(short, long, value_name = "KEY")]
    key: Option<OsString>,
    /// Print whatever can be found in a damaged file
    #[arg(short, long, conflicts_with = "key")]
    emergency: bool,
    /// Print bytes as hexadecimal digits only (for readers: nothing restores that)
    #[arg(short = 'x', long)]
    hex: bool,
    /// Read without locks and change nothing, as tdbdump does; what is being written may be torn
    #[arg(short = 'l', long)]
    no_lock: bool,
}

/// One record, as `--json` prints it: bytes spelled as in a dump.
#[derive(Serialize)]
struct Record {
    key: String,
    data: String,
}

impl DumpArguments {
    pub(crate) fn run(self, manner: Manner) -> Outcome {
        let mut tdb = open_to_read(&self.file, Locking::from_flag(self.no_lock))?;
        if let Some(key) = &self.key {
            return self.dump_one(&mut tdb, key.as_bytes(), manner);
        }
        let spelling = self.spelling();
        let mut progress = manner.progress(format!("dumping {}", self.file.display()), "records");
        let mut count = 0;
        with_output(|out| {
            let mut written = Ok(());
            let patience = Patience::with(&self.file);
            let mut visit = |key: &[u8], data: &[u8]| {
                patience.aside(|| {
                    written = if manner.json {
                        write_json(out, &Record::new(key, data, spelling))
                    } else {
                        write_record(out, key, data, spelling)
                    };
                    count += 1;
                    progress.at(count, None);
                });
                if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            };
            let outcome = if self.emergency {
                lock_for_reading(&mut tdb, &self.file)?;
                tdb.rescue(&mut visit)
            } else {
                tdb.traverse(&mut visit)
            };
            written.map_err(Failure::of_output)?;
            let damaged = outcome.as_ref().is_err_and(bateria_tdb::TdbError::is_damage);
            outcome.map_err(|error| {
                let failure = Failure::of_tdb(&self.file, error);
                if damaged { failure.next_step(rescue(&self.file)) } else { failure }
            })
        })?;
        Ok(Ending::Good)
    }

    fn dump_one(&self, tdb: &mut Tdb, key: &[u8], manner: Manner) -> Outcome {
        let mut data = Vec::new();
        let patience = Patience::with(&self.file);
        let found =
            tdb.fetch(key, &mut data).map_err(|error| Failure::of_tdb(&self.file, error))?;
        drop(patience);
        if !found {
            // As tdbdump: nothing but the exit code, which scripts ask for.
            return Ok(Ending::FaultFound);
        }
        with_output(|out| {
            let written = if manner.json {
                write_json(out, &Record::new(key, &data, self.spelling()))
            } else {
                write_spelled(out, &data, self.spelling())
            };
            written
                .map_err(|error| Failure::of_transfer_out(&self.file, TransferError::Stream(error)))
        })?;
        Ok(Ending::Good)
    }

    fn spelling(&self) -> Spelling {
        if self.hex { Spelling::Hex } else { Spelling::Escaped }
    }
}

impl Record {
    fn new(key: &[u8], data: &[u8], spelling: Spelling) -> Self {
        Self { key: spelled(key, spelling), data: spelled(data, spelling) }
    }
}

fn spelled(bytes: &[u8], spelling: Spelling) -> String {
    let mut text = Vec::new();
    write_spelled(&mut text, bytes, spelling).expect("memory takes everything");
    String::from_utf8(text).expect("both spellings are ASCII")
}

fn write_spelled(out: &mut dyn Write, bytes: &[u8], spelling: Spelling) -> io::Result<()> {
    match spelling {
        Spelling::Escaped => write_escaped(out, bytes),
        Spelling::Hex => bytes.iter().try_for_each(|byte| write!(out, "{byte:02X}")),
    }
}
