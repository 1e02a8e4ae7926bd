//! Standard output: buffered, and every error of it noticed.

use crate::Ending;
use crate::Outcome;
use crate::failure::Failure;
use serde::Serialize;
use std::io::{self, BufWriter, StdoutLock, Write};
use std::process::ExitCode;

/// Runs `body` with a buffered standard output; what is left in the buffer is written before the
/// command counts as done, so that a full disk is no success.
pub(crate) fn with_output<T>(
    body: impl FnOnce(&mut BufWriter<StdoutLock<'static>>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut out = BufWriter::with_capacity(BUFFER_SIZE_BYTES, io::stdout().lock());
    let outcome = body(&mut out);
    let flushed = out.flush();
    // What could not be written is not tried again when the buffer goes.
    let _ = out.into_parts();
    let value = outcome?;
    flushed.map_err(Failure::of_output)?;
    Ok(value)
}

/// Prints a whole text.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    with_output(|out| out.write_all(text.as_bytes()).map_err(Failure::of_output))
}

/// Prints one JSON value on a line of its own.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    with_output(|out| write_json(out, value).map_err(Failure::of_output))
}

pub(crate) fn write_json(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    writeln!(out)
}

/// Prints and succeeds.
pub(crate) fn print_and_end(text: &str) -> Outcome {
    print(text).map(|()| Ending::Good)
}

/// Ends as a program in C does that writes to a closed pipe: killed by SIGPIPE, without a word.
pub(crate) fn end_by_closed_pipe() -> ExitCode {
    let _ = signal_hook::low_level::emulate_default_handler(signal_hook::consts::SIGPIPE);
    // What a shell reports for such a program.
    ExitCode::from(128 + 13)
}

const BUFFER_SIZE_BYTES: usize = 64 * 1024;
