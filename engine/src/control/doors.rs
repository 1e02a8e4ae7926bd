//! The sockets where clients and peers come in, and the signals.

use crate::control::{Control, tokens};
use crate::hello::{self, GREETING_TIME_MAX};
use crate::mail::ShardMail;
use bateria_core::cluster::Input;
use bateria_ring::{AlignedBytes, ListenerId, Ring};
use bateria_wire::frame::Frame;
use bateria_wire::head::LANE_CONTROL;
use rustix::io::Errno;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

/// Listening sockets and descriptors that are watched.
pub(crate) struct Doors {
    clients: OwnedFd,
    client_listener: Option<ListenerId>,
    signals: OwnedFd,
    stdin: Option<OwnedFd>,
    greetings_count: usize,
    next_shard: usize,
    hello_size_bytes: usize,
    clients_count_max: usize,
}

/// Connections that have not said who they are; more are closed at once.
const GREETINGS_COUNT_MAX: usize = 256;

/// What is open when the control thread starts.
pub(crate) struct OpenDoors {
    pub(crate) clients: OwnedFd,
    pub(crate) peers: OwnedFd,
    pub(crate) signals: OwnedFd,
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) hello_size_bytes: usize,
    pub(crate) clients_count_max: usize,
}

impl Doors {
    /// Peers may come at once; clients when the databases are there.
    ///
    /// # Errors
    /// A descriptor cannot be watched.
    pub(crate) fn new(ring: &mut Ring, open: OpenDoors) -> std::io::Result<Self> {
        ring.listen(open.peers, tokens::PEER_DOOR);
        ring.watch(open.signals.as_fd(), tokens::SIGNALS)?;
        if let Some(stdin) = &open.stdin {
            ring.watch(stdin.as_fd(), tokens::STDIN)?;
        }
        Ok(Self {
            clients: open.clients,
            client_listener: None,
            signals: open.signals,
            stdin: open.stdin,
            greetings_count: 0,
            next_shard: 0,
            hello_size_bytes: open.hello_size_bytes,
            clients_count_max: open.clients_count_max,
        })
    }

    pub(crate) fn open_for_clients(&mut self, ring: &mut Ring) {
        if self.client_listener.is_some() {
            return;
        }
        match self.clients.try_clone() {
            Ok(fd) => self.client_listener = Some(ring.listen(fd, tokens::CLIENT_DOOR)),
            Err(error) => tracing::error!("clients cannot connect: {error}"),
        }
    }

    /// New clients wait before the door.
    pub(crate) fn close_for_clients(&mut self, ring: &mut Ring) {
        if let Some(listener) = self.client_listener.take() {
            ring.close_listener(listener);
        }
    }

    pub(crate) fn greeting_ended(&mut self) {
        self.greetings_count = self.greetings_count.saturating_sub(1);
    }
}

impl Control {
    pub(crate) fn client_connected(&mut self, fd: OwnedFd) {
        if self.shared.registry.clients_count() >= self.doors.clients_count_max {
            tracing::warn!("too many clients; one is turned away ([limits] clients_count_max)");
            return;
        }
        let pid = match bateria_ring::peer_pid(&fd) {
            Ok(pid) => pid,
            Err(error) => {
                tracing::warn!("a client without credentials: {error}");
                return;
            }
        };
        let shard = self.doors.next_shard % self.shards.len();
        self.doors.next_shard = shard + 1;
        self.shards[shard].send(&mut self.ring, ShardMail::Client { fd, pid });
    }

    pub(crate) fn peer_connected(&mut self, fd: OwnedFd) {
        // It may be gone again.
        let Some(source) = source_of(&fd) else { return };
        let mut nodes = self.shared.addresses.iter().flatten();
        if !nodes.any(|address| address.ip() == source) {
            tracing::warn!("refused a connection to the node port: {source} is no node's address");
            return;
        }
        if self.doors.greetings_count >= GREETINGS_COUNT_MAX {
            tracing::warn!("too many connections without a greeting; one is closed");
            return;
        }
        self.doors.greetings_count += 1;
        let size_bytes = self.doors.hello_size_bytes;
        let begun = self.ring.receive_exactly(fd, size_bytes, tokens::GREETING, GREETING_TIME_MAX);
        if let Err(error) = begun {
            self.doors.greeting_ended();
            tracing::warn!("a connection to the node port: {error}");
        }
    }

    /// A connection has said who it is: it goes to the thread that it is for.
    pub(crate) fn greeted(&mut self, fd: OwnedFd, bytes: &[u8]) {
        self.doors.greeting_ended();
        let Some(source) = source_of(&fd) else { return };
        let mut aligned = AlignedBytes::with_capacity(bytes.len());
        aligned.extend_from_slice(bytes);
        let judged = Frame::parse(aligned.as_slice())
            .map_err(hello::GreetingFault::from)
            .and_then(|frame| hello::judge(&self.shared, source, &frame));
        let greeting = match judged {
            Ok(greeting) => greeting,
            Err(fault) => {
                tracing::warn!("refused a connection to the node port: {fault}");
                return;
            }
        };
        let ack = hello::hello_ack(&self.shared);
        if !matches!(rustix::io::write(&fd, &ack), Ok(written) if written == ack.len()) {
            return;
        }
        let (peer, incarnation) = (greeting.peer, greeting.incarnation);
        if greeting.lane == LANE_CONTROL {
            self.link_in_accepted(fd, peer, incarnation);
        } else {
            let shard = greeting.lane as usize % self.shards.len();
            let mail = ShardMail::LaneIn { fd, peer, incarnation };
            self.shards[shard].send(&mut self.ring, mail);
        }
    }

    pub(crate) fn read_signals(&mut self) {
        // struct signalfd_siginfo: 128 bytes, the signal's number first.
        let mut info = [0_u8; 128];
        loop {
            match rustix::io::read(&self.doors.signals, &mut info) {
                Ok(128) => {}
                Ok(_) | Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => continue,
                Err(error) => {
                    tracing::error!("signals cannot be read: {error}");
                    return;
                }
            }
            match i32::from_le_bytes([info[0], info[1], info[2], info[3]]) {
                libc::SIGHUP => self.log.reopen(),
                libc::SIGTERM | libc::SIGINT => {
                    tracing::info!("Shutdown sequence commencing.");
                    self.tell_cluster(Input::Shutdown);
                }
                _ => {}
            }
        }
    }

    /// In test mode the daemon ends with its harness.
    pub(crate) fn read_stdin(&mut self) {
        let mut bytes = [0_u8; 64];
        let Some(stdin) = &self.doors.stdin else { return };
        if matches!(rustix::io::read(stdin, &mut bytes), Ok(0)) {
            tracing::info!("stdin was closed, exiting");
            self.doors.stdin = None;
            self.tell_cluster(Input::Shutdown);
        }
    }
}

/// Where the other end of a connection is, if it is there.
fn source_of(fd: &OwnedFd) -> Option<IpAddr> {
    let address = rustix::net::getpeername(fd).ok()??;
    SocketAddr::try_from(address).ok().map(|address| address.ip())
}
