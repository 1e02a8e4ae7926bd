//! Packets over a blocking socket.

use crate::fault::ClientFault;
use bateria_smbshim::framer::packet_length;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Sends and receives whole packets.
#[derive(Debug)]
pub(crate) struct PacketStream {
    socket: UnixStream,
    path: PathBuf,
    buffer: Vec<u8>,
    /// What of the buffer was received and not yet handed out.
    unread: Range<usize>,
}

impl PacketStream {
    pub(crate) fn connect(path: &Path) -> Result<Self, ClientFault> {
        let socket = UnixStream::connect(path).map_err(ClientFault::sys("connect", path))?;
        Ok(Self { socket, path: path.into(), buffer: vec![0; READ_SIZE_BYTES], unread: 0..0 })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Sends bytes, waiting until the daemon has room for them.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), ClientFault> {
        self.socket.write_all(bytes).map_err(|source| self.failed("send", source))
    }

    /// Receives one packet and says where in the buffer it is; the place is good until the next
    /// receive. A deadline that has passed still finds a packet that is there.
    pub(crate) fn receive(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Range<usize>, ClientFault> {
        loop {
            let unread = &self.buffer[self.unread.clone()];
            let length = packet_length(unread)?;
            if let Some(length) = length.filter(|length| *length <= unread.len()) {
                let packet = self.unread.start..self.unread.start + length;
                self.unread.start = packet.end;
                return Ok(packet);
            }
            self.make_room(length.unwrap_or(0));
            if let Some(deadline) = deadline {
                self.wait_until(deadline)?;
            }
            match self.socket.read(&mut self.buffer[self.unread.end..]) {
                Ok(0) => return Err(ClientFault::Closed),
                Ok(count) => self.unread.end += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed("recv", error)),
            }
        }
    }

    pub(crate) fn bytes(&self, packet: Range<usize>) -> &[u8] {
        &self.buffer[packet]
    }

    /// Makes room behind what is unread. The buffer grows with what arrives, not with what a
    /// length promises.
    fn make_room(&mut self, length: usize) {
        if self.unread.is_empty() {
            self.unread = 0..0;
        }
        let whole_fits = self.unread.start + length <= self.buffer.len();
        if self.unread.end < self.buffer.len() && whole_fits {
            return;
        }
        self.buffer.copy_within(self.unread.clone(), 0);
        self.unread = 0..self.unread.len();
        if self.unread.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
    }

    fn wait_until(&self, deadline: Instant) -> Result<(), ClientFault> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 0, tv_nsec: 0 });
            let mut sockets = [PollFd::new(&self.socket, PollFlags::IN)];
            match poll(&mut sockets, Some(&timeout)) {
                Ok(0) => return Err(ClientFault::Timeout),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.failed("poll", errno.into())),
            }
        }
    }

    fn failed(&self, call: &'static str, source: io::Error) -> ClientFault {
        match source.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => ClientFault::Closed,
            _ => ClientFault::sys(call, &self.path)(source),
        }
    }
}

const READ_SIZE_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn pair() -> (PacketStream, UnixStream) {
        let (socket, peer) = UnixStream::pair().unwrap();
        let path = PathBuf::from("pair");
        (PacketStream { socket, path, buffer: vec![0; 16], unread: 0..0 }, peer)
    }

    fn packet(size: u8) -> Vec<u8> {
        let mut packet: Vec<u8> = (0..size).collect();
        packet[..4].copy_from_slice(&u32::from(size).to_ne_bytes());
        packet
    }

    #[test]
    fn packets_larger_than_the_buffer_arrive_whole() {
        let (mut stream, mut peer) = pair();
        for size in [9, 100, 5, 200] {
            peer.write_all(&packet(size)).unwrap();
        }
        for size in [9, 100, 5, 200] {
            let place = stream.receive(None).unwrap();
            assert_eq!(stream.bytes(place), packet(size));
        }
    }

    #[test]
    fn a_packet_that_is_there_needs_no_time() {
        let (mut stream, mut peer) = pair();
        peer.write_all(&packet(8)).unwrap();
        let now = Some(Instant::now());
        assert!(stream.receive(now).is_ok());
        assert!(matches!(stream.receive(now), Err(ClientFault::Timeout)));
    }

    #[test]
    fn half_a_packet_is_kept_over_a_timeout() {
        let (mut stream, mut peer) = pair();
        let packet = packet(40);
        peer.write_all(&packet[..30]).unwrap();
        let soon = Instant::now() + Duration::from_millis(1);
        assert!(matches!(stream.receive(Some(soon)), Err(ClientFault::Timeout)));
        peer.write_all(&packet[30..]).unwrap();
        let place = stream.receive(None).unwrap();
        assert_eq!(stream.bytes(place), packet);
    }

    #[test]
    fn the_end_of_the_connection_is_told_apart() {
        let (mut stream, peer) = pair();
        drop(peer);
        assert!(matches!(stream.receive(None), Err(ClientFault::Closed)));
        assert!(matches!(stream.send(b"x"), Err(ClientFault::Closed)));
    }
}
