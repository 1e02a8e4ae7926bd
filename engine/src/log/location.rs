//! Where the log goes: `[logging] location` (cluster management §1.4).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogLocation {
    /// `file:PATH`, appended to.
    File(PathBuf),
    /// `syslog[:VARIANT]`.
    Syslog(Syslog),
    /// Bare lines on stderr: the daemon runs in the foreground.
    Stderr,
}

/// How a message reaches the system's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syslog {
    /// `syslog`: the local socket, with the time; the log writer waits when the socket is full.
    Local,
    /// `syslog:nonblocking`: the local socket; what does not fit is dropped and counted.
    Nonblocking,
    /// `syslog:udp`: port 514 of this host.
    Udp,
    /// `syslog:udp-rfc5424`: the same with the full header of RFC 5424.
    UdpRfc5424,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationFault {
    #[error("a log location is file:PATH or syslog[:nonblocking|:udp|:udp-rfc5424]")]
    Unknown,
    #[error("the path behind \"file:\" is missing")]
    NoPath,
}

impl LogLocation {
    /// Reads the setting. Whether the path is usable shows when it is opened.
    ///
    /// # Errors
    ///
    /// When it is no location.
    pub fn parse(text: &OsStr) -> Result<Self, LocationFault> {
        if let Some(path) = text.as_bytes().strip_prefix(b"file:") {
            return match path {
                [] => Err(LocationFault::NoPath),
                path => Ok(Self::File(OsStr::from_bytes(path).into())),
            };
        }
        match text.to_str() {
            Some("syslog" | "syslog:") => Ok(Self::Syslog(Syslog::Local)),
            Some("syslog:nonblocking") => Ok(Self::Syslog(Syslog::Nonblocking)),
            Some("syslog:udp") => Ok(Self::Syslog(Syslog::Udp)),
            Some("syslog:udp-rfc5424") => Ok(Self::Syslog(Syslog::UdpRfc5424)),
            _ => Err(LocationFault::Unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_all_variants_of_syslog_are_known() {
        let cases = [
            ("file:/var/log/x", LogLocation::File("/var/log/x".into())),
            ("syslog", LogLocation::Syslog(Syslog::Local)),
            ("syslog:", LogLocation::Syslog(Syslog::Local)),
            ("syslog:nonblocking", LogLocation::Syslog(Syslog::Nonblocking)),
            ("syslog:udp", LogLocation::Syslog(Syslog::Udp)),
            ("syslog:udp-rfc5424", LogLocation::Syslog(Syslog::UdpRfc5424)),
        ];
        for (text, location) in cases {
            assert_eq!(LogLocation::parse(text.as_ref()), Ok(location), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in ["", ":x", "stderr", "FILE:/x", "SYSLOG", "syslog:UDP", "syslog: udp"] {
            assert_eq!(LogLocation::parse(text.as_ref()), Err(LocationFault::Unknown), "{text}");
        }
        assert_eq!(LogLocation::parse("file:".as_ref()), Err(LocationFault::NoPath));
    }
}
