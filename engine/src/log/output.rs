//! The places a log can be written to.

use super::{LogLocation, Syslog};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// An open log.
#[derive(Debug)]
pub(super) enum Output {
    File { file: File, path: PathBuf },
    Stderr,
    Datagrams(Datagrams),
}

/// The system's log, which may start later than we do and may be restarted.
#[derive(Debug)]
pub(super) struct Datagrams {
    service: Service,
    socket: Option<Socket>,
    tried: Option<Instant>,
}

#[derive(Clone, Debug)]
enum Service {
    /// A local socket; whether to wait when it is full.
    Local {
        path: PathBuf,
        wait: bool,
    },
    Udp {
        port: u16,
    },
}

#[derive(Debug)]
enum Socket {
    Unix(UnixDatagram),
    Udp(UdpSocket),
}

const SYSLOG_SOCKET: &str = "/dev/log";
const SYSLOG_PORT: u16 = 514;
/// A missing syslog is looked for again after this.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl Output {
    pub(super) fn open(location: &LogLocation) -> io::Result<Self> {
        let local = |wait| Service::Local { path: SYSLOG_SOCKET.into(), wait };
        let service = match location {
            LogLocation::File(path) => {
                return Ok(Self::File { file: open_file(path)?, path: path.clone() });
            }
            LogLocation::Stderr => return Ok(Self::Stderr),
            LogLocation::Syslog(Syslog::Local) => local(true),
            LogLocation::Syslog(Syslog::Nonblocking) => local(false),
            LogLocation::Syslog(Syslog::Udp | Syslog::UdpRfc5424) => {
                Service::Udp { port: SYSLOG_PORT }
            }
        };
        Ok(Self::Datagrams(Datagrams { service, socket: None, tried: None }))
    }

    /// Opens a file anew under its name; others have nothing to reopen.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let Self::File { file, path } = self {
            *file = open_file(path)?;
        }
        Ok(())
    }

    /// Writes whole messages: a batch of lines into a file, one datagram to syslog.
    pub(super) fn write_message(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Self::File { file, .. } => file.write_all(message),
            Self::Stderr => io::stderr().write_all(message),
            Self::Datagrams(datagrams) => datagrams.send(message),
        }
    }

    /// Whether several messages may be written as one.
    pub(super) fn is_stream(&self) -> bool {
        !matches!(self, Self::Datagrams(_))
    }
}

impl Datagrams {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        if self.send_once(message).is_ok() {
            return Ok(());
        }
        // The error of a datagram may be that of the one before (nobody listened then), and a
        // restarted syslog has a new socket under the old name.
        self.send_once(message)
    }

    fn send_once(&mut self, message: &[u8]) -> io::Result<()> {
        let socket = match &self.socket {
            Some(socket) => socket,
            None => self.connect()?,
        };
        let sent = match socket {
            Socket::Unix(socket) => socket.send(message),
            Socket::Udp(socket) => socket.send(message),
        };
        match sent {
            Ok(_) => Ok(()),
            // Full, but there.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            Err(error) => {
                self.socket = None;
                Err(error)
            }
        }
    }

    fn connect(&mut self) -> io::Result<&Socket> {
        if self.tried.is_some_and(|tried| tried.elapsed() < RETRY_AFTER) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let connected = self.service.connect();
        self.tried = connected.is_err().then(Instant::now);
        Ok(self.socket.insert(connected?))
    }
}

impl Service {
    fn connect(&self) -> io::Result<Socket> {
        match self {
            Self::Local { path, wait } => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_nonblocking(!wait)?;
                Ok(Socket::Unix(socket))
            }
            Self::Udp { port } => {
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
                socket.connect((Ipv4Addr::LOCALHOST, *port))?;
                socket.set_nonblocking(true)?;
                Ok(Socket::Udp(socket))
            }
        }
    }
}

/// Appending writes of several processes do not overwrite each other: event scripts and stock
/// helpers log into the same file. A terminal given as a file must not become ours.
fn open_file(path: &Path) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOCTTY;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
    Ok(rustix::fs::open(path, flags, mode)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn datagrams(service: Service) -> Datagrams {
        Datagrams { service, socket: None, tried: None }
    }

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 64];
        let size = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..size].to_vec()).unwrap()
    }

    #[test]
    fn a_file_is_appended_to_and_reopened_by_name() {
        let scratch = Scratch::new();
        let path = scratch.file("log", "old\n");
        let mut output = Output::open(&LogLocation::File(path.clone())).unwrap();
        output.write_message(b"a\n").unwrap();
        std::fs::rename(&path, scratch.path().join("log.1")).unwrap();
        output.write_message(b"b\n").unwrap();
        output.reopen().unwrap();
        output.write_message(b"c\n").unwrap();
        let read = |name: &str| std::fs::read_to_string(scratch.path().join(name)).unwrap();
        assert_eq!((read("log.1").as_str(), read("log").as_str()), ("old\na\nb\n", "c\n"));
    }

    #[test]
    fn a_directory_is_no_log_file() {
        assert!(Output::open(&LogLocation::File("/".into())).is_err());
    }

    #[test]
    fn a_restarted_syslog_is_found_again() {
        let scratch = Scratch::new();
        let path = scratch.path().join("log");
        let mut syslog = datagrams(Service::Local { path: path.clone(), wait: true });
        let first = UnixDatagram::bind(&path).unwrap();
        syslog.send(b"a").unwrap();
        assert_eq!(received(&first), "a");
        drop(first);
        std::fs::remove_file(&path).unwrap();
        let second = UnixDatagram::bind(&path).unwrap();
        syslog.send(b"b").unwrap();
        assert_eq!(received(&second), "b");
    }

    #[test]
    fn an_absent_syslog_is_looked_for_once_a_second() {
        let scratch = Scratch::new();
        let path = scratch.path().join("log");
        let mut syslog = datagrams(Service::Local { path: path.clone(), wait: true });
        assert!(syslog.send(b"a").is_err());
        let socket = UnixDatagram::bind(&path).unwrap();
        assert_eq!(syslog.send(b"b").unwrap_err().kind(), io::ErrorKind::NotConnected);
        syslog.tried = Instant::now().checked_sub(RETRY_AFTER);
        syslog.send(b"c").unwrap();
        assert_eq!(received(&socket), "c");
    }

    #[test]
    fn a_full_syslog_drops_when_it_may_not_wait() {
        let scratch = Scratch::new();
        let path = scratch.path().join("log");
        let _socket = UnixDatagram::bind(&path).unwrap();
        let mut syslog = datagrams(Service::Local { path, wait: false });
        let full = (0..100_000).map(|_| syslog.send(b"x")).find_map(Result::err).unwrap();
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        assert!(syslog.socket.is_some());
    }

    #[test]
    fn udp_survives_that_nobody_listens() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = receiver.local_addr().unwrap().port();
        let mut syslog = datagrams(Service::Udp { port });
        syslog.send(b"a").unwrap();
        let mut buffer = [0; 8];
        assert_eq!(receiver.recv(&mut buffer).unwrap(), 1);
        drop(receiver);
        let _ = syslog.send(b"b");
        let _ = syslog.send(b"c");
        let receiver = UdpSocket::bind(("127.0.0.1", port)).unwrap();
        syslog.send(b"d").unwrap();
        assert_eq!((receiver.recv(&mut buffer).unwrap(), buffer[0]), (1, b'd'));
    }
}
