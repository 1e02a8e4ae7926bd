//! Writing all records as text (tdb §10.4), interchangeable with `tdbdump`.

use crate::database::Tdb;
use crate::escape::write_escaped;
use crate::transfer::TransferError;
use std::io::{self, Write};
use std::ops::ControlFlow;

/// How a dump spells its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// What `tdbrestore` reads.
    Escaped,
    /// Two digits for every byte, as `tdbdump -x`; for readers only.
    Hex,
}

impl Tdb {
    /// Writes every record to `out`; `progress` learns how many are done. Returns their number.
    ///
    /// # Errors
    ///
    /// Those of `traverse` and of `out`.
    pub fn dump(
        &mut self,
        out: &mut dyn Write,
        spelling: Spelling,
        progress: &mut dyn FnMut(u64),
    ) -> Result<u64, TransferError> {
        let mut written = Ok(());
        let mut count = 0;
        let seen = self.traverse(&mut |key, data| {
            written = write_record(out, key, data, spelling);
            count += 1;
            progress(count);
            if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        written?;
        Ok(seen)
    }

    /// Writes every record that `rescue` finds; returns their number.
    ///
    /// # Errors
    ///
    /// Those of `rescue` and of `out`.
    pub fn dump_rescued(
        &mut self,
        out: &mut dyn Write,
        spelling: Spelling,
    ) -> Result<u64, TransferError> {
        let mut written = Ok(());
        let seen = self.rescue(&mut |key, data| {
            written = write_record(out, key, data, spelling);
            if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        written?;
        Ok(seen)
    }
}

/// Writes one record as a dump shows it.
///
/// # Errors
///
/// Those of `out`.
pub fn write_record(
    out: &mut dyn Write,
    key: &[u8],
    data: &[u8],
    spelling: Spelling,
) -> io::Result<()> {
    writeln!(out, "{{")?;
    for (name, bytes) in [("key", key), ("data", data)] {
        write!(out, "{name}({}) = \"", bytes.len())?;
        match spelling {
            Spelling::Escaped => write_escaped(out, bytes)?,
            Spelling::Hex => bytes.iter().try_for_each(|byte| write!(out, "{byte:02X}"))?,
        }
        writeln!(out, "\"")?;
    }
    writeln!(out, "}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_looks_as_tdbdump_writes_it() {
        let mut text = Vec::new();
        write_record(&mut text, b"a\0", b"\"x\"", Spelling::Escaped).unwrap();
        assert_eq!(text, b"{\nkey(2) = \"a\\00\"\ndata(3) = \"\\22x\\22\"\n}\n");
        text.clear();
        write_record(&mut text, b"a\0", b"", Spelling::Hex).unwrap();
        assert_eq!(text, b"{\nkey(2) = \"6100\"\ndata(0) = \"\"\n}\n");
    }
}
