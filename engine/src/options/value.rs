//! Values of options as the original reads them (cluster management §1.3, §1.4).

use crate::log::LogLevel;
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{self, Path, PathBuf};
use std::{fs, str};

/// Why an assignment was not carried out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Known in no release.
    UnknownOption,
    Empty,
    Invalid(String),
}

impl Refusal {
    pub(super) fn because(reason: impl Display) -> Self {
        Self::Invalid(reason.to_string())
    }
}

/// Something to tell about a value that was taken nevertheless.
pub(super) type Remark = Option<String>;

pub(super) fn present(value: &OsStr) -> Result<&OsStr, Refusal> {
    if value.is_empty() { Err(Refusal::Empty) } else { Ok(value) }
}

/// `true`, `yes`, `false` or `no`, in any case.
pub(super) fn boolean(value: &OsStr) -> Result<bool, Refusal> {
    let is = |word| present(value).map(|value| value.eq_ignore_ascii_case(word));
    if is("true")? || is("yes")? {
        Ok(true)
    } else if is("false")? || is("no")? {
        Ok(false)
    } else {
        Err(Refusal::because("must be true, yes, false or no"))
    }
}

/// Decimal, octal behind `0` or hexadecimal behind `0x`, from 0 to 2147483647. What follows the
/// digits is ignored, as the original does; a value without any digit is refused, which it reads
/// as 0.
pub(super) fn integer(value: &OsStr, remark: &mut Remark) -> Result<u32, Refusal> {
    let text = text(value)?;
    let negative = text.starts_with('-');
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text).as_bytes();
    let (radix, digits) = match digits {
        [b'0', b'x' | b'X', digits @ ..] if digits.first().is_some_and(u8::is_ascii_hexdigit) => {
            (16, digits)
        }
        [b'0', ..] => (8, digits),
        digits => (10, digits),
    };
    let count = digits.iter().take_while(|byte| char::from(**byte).is_digit(radix)).count();
    let (digits, garbage) = digits.split_at(count);
    if digits.is_empty() {
        return Err(Refusal::because("is not a number"));
    }
    let number = str::from_utf8(digits).ok().and_then(|text| u64::from_str_radix(text, radix).ok());
    match number.filter(|number| *number <= INTEGER_MAX && !(negative && *number > 0)) {
        Some(number) => {
            if !garbage.is_empty() {
                let garbage = String::from_utf8_lossy(garbage);
                *remark = Some(format!("\"{garbage}\" behind the number {number} is ignored"));
            }
            Ok(u32::try_from(number).expect("the limit is below 2^32"))
        }
        None => Err(Refusal::Invalid(format!("must be from 0 to {INTEGER_MAX}"))),
    }
}

/// An integer above 0.
pub(super) fn positive(value: &OsStr, remark: &mut Remark) -> Result<u32, Refusal> {
    match integer(value, remark)? {
        0 => Err(Refusal::because("must be above 0")),
        number => Ok(number),
    }
}

pub(super) fn level(value: &OsStr, remark: &mut Remark) -> Result<LogLevel, Refusal> {
    let text = text(value)?;
    let level = LogLevel::from_lenient(text).map_err(Refusal::because)?;
    if text.parse::<LogLevel>().is_err() {
        *remark = Some(format!("\"{text}\" is read as {level}"));
    }
    Ok(level)
}

/// An address without a port.
pub(super) fn address(value: &OsStr) -> Result<IpAddr, Refusal> {
    text(value)?.parse().map_err(|_| Refusal::because("is not an IPv4 or IPv6 address"))
}

/// InfiniBand was removed from the original long ago.
pub(super) fn transport(value: &OsStr) -> Result<(), Refusal> {
    if present(value)? == "tcp" { Ok(()) } else { Err(Refusal::because("must be tcp")) }
}

pub(super) fn directory(value: &OsStr) -> Result<PathBuf, Refusal> {
    let path = absolute(Path::new(present(value)?));
    if path.is_dir() { Ok(path) } else { Err(Refusal::because("the directory does not exist")) }
}

/// The base name of a program in the configuration directory; a path in front of it is dropped.
pub(super) fn script(value: &OsStr, directory: &Path) -> Result<OsString, Refusal> {
    let name = Path::new(present(value)?).file_name();
    let name = name.ok_or_else(|| Refusal::because("is not a file name"))?;
    let path = directory.join(name);
    let refuse = |what: &str| Refusal::Invalid(format!("{} {what}", path.display()));
    let metadata = fs::metadata(&path).map_err(|_| refuse("does not exist"))?;
    if !metadata.is_file() {
        Err(refuse("is not a file"))
    } else if metadata.permissions().mode() & 0o111 == 0 {
        Err(refuse("is not executable"))
    } else {
        Ok(name.to_owned())
    }
}

/// The daemon leaves the directory that relative paths start from.
pub(super) fn absolute(path: &Path) -> PathBuf {
    path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn text(value: &OsStr) -> Result<&str, Refusal> {
    present(value)?.to_str().ok_or_else(|| Refusal::because("is not text"))
}

const INTEGER_MAX: u64 = 2_147_483_647;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn integer_of(text: &str) -> Option<(u32, bool)> {
        let mut remark = None;
        integer(text.as_ref(), &mut remark).ok().map(|number| (number, remark.is_some()))
    }

    #[test]
    fn integers_have_the_bases_of_strtol() {
        let cases = [("9", 9), ("010", 8), ("0x1F", 31), ("+5", 5), ("-0", 0), ("0", 0)];
        for (text, number) in cases {
            assert_eq!(integer_of(text), Some((number, false)), "{text}");
        }
        assert_eq!(integer_of("2147483647"), Some((2_147_483_647, false)));
    }

    #[test]
    fn integers_out_of_range_are_refused() {
        let cases = ["2147483648", "4294967297", "99999999999999999999", "-1", "-0x1", ""];
        for text in cases {
            assert_eq!(integer_of(text), None, "{text}");
        }
    }

    #[test]
    fn integers_with_garbage_are_remarked_and_garbage_alone_is_refused() {
        let cases = [("7x", 7), ("5.5", 5), ("1e3", 1), ("08", 0), ("0x", 0), ("0xg", 0)];
        for (text, number) in cases {
            assert_eq!(integer_of(text), Some((number, true)), "{text}");
        }
        for text in ["abc", "--5", "- 5", "+ 5", "x"] {
            assert_eq!(integer_of(text), None, "{text}");
        }
    }

    #[test]
    fn booleans_are_four_words() {
        for (text, truth) in [("TRUE", true), ("Yes", true), ("No", false), ("false", false)] {
            assert_eq!(boolean(text.as_ref()), Ok(truth));
        }
        for text in ["1", "0", "on", "off", "y", "t"] {
            assert!(boolean(text.as_ref()).is_err(), "{text}");
        }
        assert_eq!(boolean("".as_ref()), Err(Refusal::Empty));
    }

    #[test]
    fn addresses_carry_neither_port_nor_scope() {
        assert!(address("10.0.0.1".as_ref()).is_ok() && address("fe80::1".as_ref()).is_ok());
        for text in ["10.0.0.1:4379", "[::1]:33", "fe80::1%lo", "nas1", "010.0.0.1"] {
            assert!(address(text.as_ref()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_script_is_a_program_in_the_configuration_directory() {
        let scratch = Scratch::new();
        scratch.script("good.sh", "");
        scratch.file("plain", "");
        let of = |name: &str| script(name.as_ref(), scratch.path());
        assert_eq!(of("good.sh"), Ok("good.sh".into()));
        assert_eq!(of("/bin/good.sh"), Ok("good.sh".into()));
        for name in ["plain", "absent", "..", "."] {
            assert!(of(name).is_err(), "{name}");
        }
    }
}
