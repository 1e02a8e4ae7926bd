//! How a message looks in the log.

use super::{LogLevel, LogLocation, Syslog};
use crate::paths;
use jiff::Zoned;
use std::borrow::Cow;
use std::fmt::Write;
use std::process;

/// The name under which administrators look for the daemon's own messages.
pub(super) const PROGRAM: &str = "ctdbd";

/// One message of one program.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) level: LogLevel,
    pub(super) program: &'a str,
    pub(super) text: Cow<'a, str>,
}

/// What stands in front of a message, and how much of it fits.
///
/// ```text
/// File       2026-11-22T20:30:31.854904+00:00 node.0 ctdbd[8957]: CTDB starting on node
/// Bare       CTDB starting on node
/// Local      <29>Nov 22 20:44:24 ctdbd[22414]: CTDB starting on node
/// Short      <29>ctdbd[22423]: CTDB starting on node
/// Rfc5424    <29>1 2026-11-22T20:44:30.704464+00:00 nas1 ctdbd 22752 - - CTDB starting on node
/// ```
///
/// Files and stderr keep the lines of a message together behind one header; syslog gets each line
/// as a message of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Style {
    File { host: String },
    Bare,
    Local,
    Short,
    Rfc5424 { host: String },
}

/// Longer messages are cut: a queue of lines is bounded memory only if lines are bounded.
pub(super) const TEXT_SIZE_BYTES_MAX: usize = 16 * 1024;
/// What the original sends in one datagram.
const DATAGRAM_SIZE_BYTES_MAX: usize = 1024;

impl Style {
    pub(super) fn of(location: &LogLocation, host: &str) -> Self {
        match location {
            LogLocation::File(_) => Self::File { host: host.into() },
            LogLocation::Stderr => Self::Bare,
            LogLocation::Syslog(Syslog::Local) => Self::Local,
            LogLocation::Syslog(Syslog::Nonblocking | Syslog::Udp) => Self::Short,
            LogLocation::Syslog(Syslog::UdpRfc5424) => Self::Rfc5424 { host: paths::host_name() },
        }
    }

    /// Makes the bytes to write: one piece for files, one datagram per line for syslog.
    pub(super) fn render(&self, line: &Line<'_>, mut write: impl FnMut(&[u8])) {
        let Line { level, program, text } = line;
        let (pid, priority) = (process::id(), level.syslog_priority());
        let mut bytes = String::with_capacity(text.len() + 80);
        // Writing into a string does not fail.
        let _ = match self {
            Self::File { host } => {
                let time = Zoned::now();
                let time = time.strftime("%Y-%m-%dT%H:%M:%S%.6f%:z");
                write!(bytes, "{time} {host} {program}[{pid}]: ")
            }
            Self::Bare => Ok(()),
            Self::Local => {
                let time = Zoned::now();
                let time = time.strftime("%b %e %H:%M:%S");
                write!(bytes, "<{priority}>{time} {program}[{pid}]: ")
            }
            Self::Short => write!(bytes, "<{priority}>{program}[{pid}]: "),
            Self::Rfc5424 { host } => {
                let time = Zoned::now();
                let time = time.strftime("%Y-%m-%dT%H:%M:%S%.6f%:z");
                write!(bytes, "<{priority}>1 {time} {host} {program} {pid} - - ")
            }
        };
        if let Self::File { .. } | Self::Bare = self {
            bytes.push_str(text);
            bytes.push('\n');
            return write(bytes.as_bytes());
        }
        let header_size = bytes.len();
        for part in text.lines().filter(|part| !part.is_empty()) {
            bytes.truncate(header_size);
            bytes.push_str(part);
            let limit = if *self == Self::Local { bytes.len() } else { DATAGRAM_SIZE_BYTES_MAX };
            write(&bytes.as_bytes()[..bytes.floor_char_boundary(limit)]);
        }
    }
}

/// The text as it may stand in a log: no trailing newline, no control characters that a terminal
/// would obey (clients choose names that we log), and no more than [`TEXT_SIZE_BYTES_MAX`].
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    let text = text.trim_end_matches('\n');
    let harmless = |character: char| !character.is_control() || matches!(character, '\n' | '\t');
    if text.len() <= TEXT_SIZE_BYTES_MAX && text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len().min(TEXT_SIZE_BYTES_MAX) + 16);
    for character in text.chars() {
        if shown.len() >= TEXT_SIZE_BYTES_MAX {
            shown.push_str("... [cut]");
            break;
        }
        if harmless(character) {
            shown.push(character);
        } else {
            let _ = write!(shown, "\\x{:02x}", u32::from(character));
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(style: &Style, level: LogLevel, text: &str) -> Vec<String> {
        let line = Line { level, program: PROGRAM, text: printable(text) };
        let mut messages = Vec::new();
        style.render(&line, |message| messages.push(String::from_utf8(message.to_vec()).unwrap()));
        messages
    }

    /// Every digit as `9`, so that times and pids compare; the sign of the offset as `+`.
    fn shape(text: &str) -> String {
        let shape = |character: char| if character.is_ascii_digit() { '9' } else { character };
        text.chars().map(shape).collect()
    }

    fn file() -> Style {
        Style::File { host: "node.0".into() }
    }

    #[test]
    fn a_file_has_time_host_program_and_pid() {
        let got = rendered(&file(), LogLevel::Notice, "CTDB starting on node");
        let pid = shape(&process::id().to_string());
        let want = format!(
            "9999-99-99T99:99:99.999999+99:99 node.9 ctdbd[{pid}]: CTDB starting on node\n"
        );
        assert_eq!(got.len(), 1);
        assert_eq!(shape(&got[0]).replace("-99:99 ", "+99:99 "), want);
    }

    #[test]
    fn stderr_has_the_bare_text() {
        assert_eq!(rendered(&Style::Bare, LogLevel::Error, "x\n"), ["x\n"]);
    }

    #[test]
    fn syslog_has_the_priority_in_front() {
        let pid = process::id();
        let got = rendered(&Style::Short, LogLevel::Warning, "x");
        assert_eq!(got, [format!("<28>ctdbd[{pid}]: x")]);
        let got = rendered(&Style::Local, LogLevel::Error, "x");
        let time = got[0].strip_prefix("<27>").unwrap().strip_suffix(&format!(" ctdbd[{pid}]: x"));
        assert_eq!(time.unwrap().len(), "Nov 22 20:44:24".len());
        let got = rendered(&Style::Rfc5424 { host: "h".into() }, LogLevel::Debug, "x");
        assert!(got[0].starts_with("<31>1 2"), "{got:?}");
        assert!(got[0].ends_with(&format!(" h ctdbd {pid} - - x")), "{got:?}");
    }

    #[test]
    fn several_lines_share_a_header_in_files_and_part_in_syslog() {
        let got = rendered(&file(), LogLevel::Notice, "a\nb\n");
        assert!(got.len() == 1 && got[0].ends_with(": a\nb\n"), "{got:?}");
        let pid = process::id();
        let got = rendered(&Style::Short, LogLevel::Notice, "a\n\nb\n");
        assert_eq!(got, [format!("<29>ctdbd[{pid}]: a"), format!("<29>ctdbd[{pid}]: b")]);
    }

    #[test]
    fn datagrams_are_cut_between_characters() {
        let got = rendered(&Style::Short, LogLevel::Notice, &"ä".repeat(2_000));
        assert!((1_023..=1_024).contains(&got[0].len()), "{}", got[0].len());
    }

    #[test]
    fn what_a_terminal_would_obey_is_spelled_out() {
        assert_eq!(printable("a\x1b[31m\tb\nc\u{9b}\r"), "a\\x1b[31m\tb\nc\\x9b\\x0d");
    }

    #[test]
    fn long_texts_are_cut() {
        let got = printable(&"x".repeat(100_000)).into_owned();
        assert_eq!(got.len(), TEXT_SIZE_BYTES_MAX + "... [cut]".len());
        assert!(got.ends_with("x... [cut]"));
    }
}
