//! Making a database from a dump (tdb §10.4), as strict as `tdbrestore`.

use crate::database::Tdb;
use crate::error::TdbError;
use crate::escape::digit;
use crate::open::OpenOptions;
use crate::store::StoreMode;
use crate::transfer::TransferError;
use std::io::{BufRead, Read};
use std::path::Path;

/// Reads a dump from `input` into a new file; returns the number of records. `options` say which
/// kind of file; `tdbrestore` makes one with flags 0 and 131 chains. On failure no file is left.
///
/// # Errors
///
/// `Syntax` when the text is not a dump, `Database` with `Exists` when a key comes twice or the
/// file is there already.
pub fn restore(
    input: &mut dyn BufRead,
    path: &Path,
    options: &OpenOptions,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, TransferError> {
    // Made here and now, so that a file that is there already is never touched.
    let reserved = std::fs::File::options().write(true).create_new(true).open(path);
    reserved.map_err(|error| TdbError::Sys {
        path: path.into(),
        call: "open",
        errno: error.raw_os_error().unwrap_or(libc::EIO),
    })?;
    let restored = Tdb::open(path, &OpenOptions { create: true, ..options.clone() })
        .map_err(TransferError::from)
        .and_then(|mut tdb| restore_into(input, &mut tdb, progress));
    if restored.is_err() {
        let _ = std::fs::remove_file(path);
    }
    restored
}

/// Reads a dump from `input` into an open database, in which none of its keys exists.
///
/// # Errors
///
/// As `restore`; the records before the faulty one are stored.
pub fn restore_into(
    input: &mut dyn BufRead,
    tdb: &mut Tdb,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, TransferError> {
    let mut reader = Reader { input, record: 0 };
    while let Some((key, data)) = reader.next_record()? {
        if !tdb.store(&key, &[&data], StoreMode::Insert)? {
            return Err(TdbError::Exists.into());
        }
        progress(reader.record);
    }
    Ok(reader.record)
}

/// Key and data.
type Record = (Vec<u8>, Vec<u8>);

struct Reader<'a> {
    input: &'a mut dyn BufRead,
    record: u64,
}

impl Reader<'_> {
    fn next_record(&mut self) -> Result<Option<Record>, TransferError> {
        let mut line = Vec::new();
        (&mut *self.input).take(LINE_SIZE_MAX).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(None);
        }
        self.record += 1;
        if line != b"{\n" {
            return Err(self.syntax("a record starts with a line of \"{\""));
        }
        let key = self.value()?;
        let data = self.value()?;
        for want in b"}\n" {
            if self.byte()? != *want {
                return Err(self.syntax("a record ends with a line of \"}\""));
            }
        }
        Ok(Some((key, data)))
    }

    /// `anything(<size>) = "<escaped>"` and the end of the line.
    fn value(&mut self) -> Result<Vec<u8>, TransferError> {
        while self.byte()? != b'(' {}
        let mut size = 0_u64;
        let mut digits = 0;
        loop {
            let byte = self.byte()?;
            match byte {
                b'0'..=b'9' if digits < 10 => {
                    size = size * 10 + u64::from(byte - b'0');
                    digits += 1;
                }
                b')' if digits > 0 => break,
                _ => return Err(self.syntax("the size is not a decimal number")),
            }
        }
        if size > u64::from(u32::MAX) {
            return Err(self.syntax("the size is beyond that of any record"));
        }
        self.expect(b" = \"")?;
        // The announced size is not trusted with memory before the bytes have come.
        let mut bytes = Vec::new();
        for _ in 0..size {
            let byte = match self.byte()? {
                b'\\' => self.digit()? * 16 + self.digit()?,
                plain => plain,
            };
            bytes.push(byte);
        }
        self.expect(b"\"\n")?;
        Ok(bytes)
    }

    fn digit(&mut self) -> Result<u8, TransferError> {
        let byte = self.byte()?;
        digit(byte).ok_or_else(|| self.syntax("an escape has two hexadecimal digits"))
    }

    fn expect(&mut self, want: &[u8]) -> Result<(), TransferError> {
        for want in want {
            if self.byte()? != *want {
                return Err(self.syntax("size and string do not match"));
            }
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, TransferError> {
        let byte = self.input.fill_buf()?.first().copied();
        let byte = byte.ok_or_else(|| self.syntax("the dump ends in the middle"))?;
        self.input.consume(1);
        Ok(byte)
    }

    fn syntax(&self, rule: &'static str) -> TransferError {
        TransferError::Syntax { record: self.record.max(1), rule }
    }
}

const LINE_SIZE_MAX: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::TdbFlags;

    fn restored(text: &[u8]) -> Result<Tdb, TransferError> {
        let options = OpenOptions { flags: TdbFlags::INTERNAL, ..OpenOptions::default() };
        let mut tdb = Tdb::open(Path::new("memory"), &options)?;
        restore_into(&mut &text[..], &mut tdb, &mut |_| {})?;
        Ok(tdb)
    }

    #[test]
    fn a_dump_is_read_back() {
        let text = b"{\nkey(2) = \"a\\00\"\ndata(3) = \"\\22x\\5c\"\n}\n";
        let mut out = Vec::new();
        assert!(restored(text).unwrap().fetch(b"a\0", &mut out).unwrap());
        assert_eq!(out, b"\"x\\");
    }

    #[test]
    fn anything_else_is_refused() {
        let texts: [&[u8]; 8] = [
            b"x\n",
            b"{\nkey(1) = \"a\"\ndata(1) = \"b\"\n}",
            b"{\nkey(2) = \"a\"\ndata(1) = \"b\"\n}\n",
            b"{\nkey(1) = \"ab\"\ndata(1) = \"b\"\n}\n",
            b"{\nkey(99999999999) = \"\"\n",
            b"{\nkey() = \"\"\n",
            b"{\nkey(1) = \"\\4\"\n",
            b"{\nkey(1) = \"a\"\ndata(4294967295) = \"b",
        ];
        for text in texts {
            let refused = restored(text);
            assert!(matches!(refused, Err(TransferError::Syntax { .. })), "{refused:?}");
        }
        let twice = b"{\nkey(1) = \"a\"\ndata(1) = \"b\"\n}\n".repeat(2);
        assert!(matches!(restored(&twice), Err(TransferError::Database(TdbError::Exists))));
    }
}
