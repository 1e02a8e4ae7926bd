//! The escaped strings of dumps (tdb §10.4).

use std::io::{self, Write};

/// Writes bytes as `tdbdump` does: printable ASCII but `"` and `\` as it is, everything else as a
/// backslash and two upper-case hexadecimal digits.
///
/// # Errors
///
/// Those of `out`.
pub fn write_escaped(out: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
    // Runs of plain bytes go out in one piece; dumps are mostly text.
    let mut rest = bytes;
    while !rest.is_empty() {
        let plain = rest.iter().position(|byte| !is_plain(*byte)).unwrap_or(rest.len());
        let (run, tail) = rest.split_at(plain);
        out.write_all(run)?;
        rest = tail;
        if let Some((byte, tail)) = rest.split_first() {
            write!(out, "\\{byte:02X}")?;
            rest = tail;
        }
    }
    Ok(())
}

/// Reads the bytes that `write_escaped` wrote; also accepts lower-case digits, as `tdbrestore`
/// and `tdbtool` do. `None` if an escape is incomplete.
#[must_use]
pub fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, tail)) = rest.split_first() {
        if *byte == b'\\' {
            let (digits, tail) = tail.split_at_checked(2)?;
            bytes.push(digit(digits[0])? * 16 + digit(digits[1])?);
            rest = tail;
        } else {
            bytes.push(*byte);
            rest = tail;
        }
    }
    Some(bytes)
}

pub(crate) fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7E) && byte != b'"' && byte != b'\\'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives() {
        let bytes: Vec<u8> = (0..=255).collect();
        let mut text = Vec::new();
        write_escaped(&mut text, &bytes).unwrap();
        assert!(text.starts_with(b"\\00\\01") && text.ends_with(b"\\FE\\FF"));
        assert_eq!(unescape(&text).unwrap(), bytes);
        assert_eq!(unescape(b"\\4"), None);
        assert_eq!(unescape(b"\\zz"), None);
    }
}
