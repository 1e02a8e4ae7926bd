//! Log levels as administrators and the stock tool know them (cluster management §9).

use std::fmt;
use std::str::FromStr;
use tracing::Level;
use tracing_subscriber::filter::LevelFilter;

/// How much is logged. The number is what GET_DEBUG and SET_DEBUG carry.
///
/// | level | number | `tracing` macro | syslog priority |
/// | --- | --- | --- | --- |
/// | ERROR | 0 | `error!` | 3 err |
/// | WARNING | 1 | `warn!` | 4 warning |
/// | NOTICE | 3 | `info!` | 5 notice |
/// | INFO | 5 | `debug!` | 5 notice, as the original |
/// | DEBUG | 10 | `trace!` | 7 debug |
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum LogLevel {
    Error = 0,
    Warning = 1,
    #[default]
    Notice = 3,
    Info = 5,
    Debug = 10,
}

/// Neither a level's name, nor the start of one, nor a number from 0 to 10.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a log level is one of ERROR, WARNING, NOTICE, INFO, DEBUG, or a number from 0 to 10")]
pub struct NotALevel;

impl LogLevel {
    pub const ALL: [Self; 5] = [Self::Error, Self::Warning, Self::Notice, Self::Info, Self::Debug];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Warning => "WARNING",
            Self::Notice => "NOTICE",
            Self::Info => "INFO",
            Self::Debug => "DEBUG",
        }
    }

    /// The number of GET_DEBUG.
    #[must_use]
    pub fn number(self) -> i32 {
        self as i32
    }

    /// The level of a number, as in SET_DEBUG; numbers between two levels read as the quieter one,
    /// but 6 to 9 as INFO and 2 as WARNING.
    ///
    /// # Errors
    ///
    /// Outside 0 to 10.
    pub fn from_number(number: i32) -> Result<Self, NotALevel> {
        match number {
            0 => Ok(Self::Error),
            1..=2 => Ok(Self::Warning),
            3..=4 => Ok(Self::Notice),
            5..=9 => Ok(Self::Info),
            10 => Ok(Self::Debug),
            _ => Err(NotALevel),
        }
    }

    /// Reads a level as the original does, which is content with the digits at the start: `3x` is
    /// 3, and `0x3` is 0.
    ///
    /// # Errors
    ///
    /// When it starts with neither a level nor a digit.
    pub fn from_lenient(text: &str) -> Result<Self, NotALevel> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        text[..digits].parse().map_err(|_| NotALevel).and_then(Self::from_number).or(text.parse())
    }

    #[must_use]
    pub fn of_event(level: Level) -> Self {
        match level {
            Level::ERROR => Self::Error,
            Level::WARN => Self::Warning,
            Level::INFO => Self::Notice,
            Level::DEBUG => Self::Info,
            Level::TRACE => Self::Debug,
        }
    }

    #[must_use]
    pub fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warning => LevelFilter::WARN,
            Self::Notice => LevelFilter::INFO,
            Self::Info => LevelFilter::DEBUG,
            Self::Debug => LevelFilter::TRACE,
        }
    }

    /// The number in front of a syslog message: facility daemon and the level's priority.
    #[must_use]
    pub fn syslog_priority(self) -> u8 {
        const FACILITY_DAEMON: u8 = 3 << 3;
        FACILITY_DAEMON
            | match self {
                Self::Error => 3,
                Self::Warning => 4,
                Self::Notice | Self::Info => 5,
                Self::Debug => 7,
            }
    }
}

impl FromStr for LogLevel {
    type Err = NotALevel;

    /// A name in any case, the start of one, or a number.
    fn from_str(text: &str) -> Result<Self, NotALevel> {
        if text.is_empty() {
            return Err(NotALevel);
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map_err(|_| NotALevel).and_then(Self::from_number);
        }
        let starts = |level: &Self| {
            level.name().get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text))
        };
        Self::ALL.into_iter().find(starts).ok_or(NotALevel)
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_case_and_by_their_start() {
        let cases = [
            ("ERR", LogLevel::Error),
            ("error", LogLevel::Error),
            ("war", LogLevel::Warning),
            ("N", LogLevel::Notice),
            ("Info", LogLevel::Info),
            ("D", LogLevel::Debug),
        ];
        for (text, level) in cases {
            assert_eq!(text.parse(), Ok(level), "{text}");
        }
    }

    #[test]
    fn numbers_read_as_the_original_reads_them() {
        let read: Vec<i32> =
            (0..=10).map(|number| LogLevel::from_number(number).unwrap().number()).collect();
        assert_eq!(read, [0, 1, 1, 3, 3, 5, 5, 5, 5, 5, 10]);
        assert_eq!("010".parse(), Ok(LogLevel::Debug));
    }

    #[test]
    fn everything_else_is_refused() {
        for text in ["", "11", "-1", "+3", "?", "NOTICES", "3x", "é", "99999999999"] {
            assert_eq!(text.parse::<LogLevel>(), Err(NotALevel), "{text}");
        }
    }

    #[test]
    fn the_lenient_reading_is_content_with_leading_digits() {
        assert_eq!(LogLevel::from_lenient("3x"), Ok(LogLevel::Notice));
        assert_eq!(LogLevel::from_lenient("0x3"), Ok(LogLevel::Error));
        assert_eq!(LogLevel::from_lenient("5.9"), Ok(LogLevel::Info));
        assert_eq!(LogLevel::from_lenient("deb"), Ok(LogLevel::Debug));
        for text in ["", "11x", "-1", "x3"] {
            assert_eq!(LogLevel::from_lenient(text), Err(NotALevel), "{text}");
        }
    }

    #[test]
    fn syslog_priorities_are_those_of_the_original() {
        assert_eq!(LogLevel::ALL.map(LogLevel::syslog_priority), [27, 28, 29, 29, 31]);
    }
}
