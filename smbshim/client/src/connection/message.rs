//! Messages and tunnel packets (client protocol §8).

use super::Connection;
use crate::fault::ClientFault;
use bateria_smbshim::header::Header;
use bateria_smbshim::{Packet, ReqMessage, ReqTunnel, TunnelFlags};
use bateria_wire::{Generation, Pnn, Srvid};
use std::time::{Duration, Instant};

/// A message that was sent to one of the connection's srvids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub srvid: Srvid,
    pub data: Vec<u8>,
    /// The cluster's when the daemon passed the message on.
    pub generation: Generation,
}

/// A packet that came through a tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelPacket {
    pub tunnel_id: u64,
    pub flags: TunnelFlags,
    pub data: Vec<u8>,
}

impl Connection {
    /// Sends a message to whoever listens to `srvid` on a node or, with a special PNN, on several.
    ///
    /// # Errors
    /// The connection is gone. That nobody listens is no error.
    pub fn send_message(
        &mut self,
        target: Pnn,
        srvid: Srvid,
        data: &[u8],
    ) -> Result<(), ClientFault> {
        let message = ReqMessage { header: Header::message(target, self.pnn), srvid, data };
        self.out.clear();
        message.encode(self.padding, &mut self.out);
        self.stream.send(&self.out)
    }

    /// The next message to any registered srvid, or `None` when none comes in time. Without a
    /// timeout it waits for ever.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn recv_message(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<Option<Message>, ClientFault> {
        self.recv_aside(timeout, |connection| connection.messages.pop_front())
    }

    /// The next message to one srvid; others are kept.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn recv_message_to(
        &mut self,
        srvid: Srvid,
        timeout: Option<Duration>,
    ) -> Result<Option<Message>, ClientFault> {
        self.recv_aside(timeout, |connection| {
            let at = connection.messages.iter().position(|message| message.srvid == srvid)?;
            connection.messages.remove(at)
        })
    }

    /// Sends a packet to the registrant of a tunnel on a node. The id must be registered on the
    /// own node too.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn send_tunnel(
        &mut self,
        target: Pnn,
        tunnel_id: u64,
        flags: TunnelFlags,
        data: &[u8],
    ) -> Result<(), ClientFault> {
        let reqid = self.next_reqid();
        let packet = ReqTunnel { header: Header::control(target, reqid), tunnel_id, flags, data };
        self.out.clear();
        packet.encode(self.padding, &mut self.out);
        self.stream.send(&self.out)
    }

    /// The next packet through any registered tunnel, or `None` when none comes in time.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn recv_tunnel(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<Option<TunnelPacket>, ClientFault> {
        self.recv_aside(timeout, |connection| connection.tunnel_packets.pop_front())
    }

    /// Hands the next message to `read` in place: the fast way for a traverse. Anything else that
    /// arrives breaks the protocol there (pitfall 33).
    pub(crate) fn read_message<T>(
        &mut self,
        timeout: Option<Duration>,
        read: impl FnOnce(&ReqMessage<'_>) -> T,
    ) -> Result<T, ClientFault> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let place = self.stream.receive(deadline)?;
        match Packet::parse(self.stream.bytes(place))? {
            Packet::Message(message) => Ok(read(&message)),
            other => Err(ClientFault::WrongAnswer { reqid: other.header().reqid }),
        }
    }

    /// Receives packets until `take` finds what it looks for among those put aside.
    fn recv_aside<T>(
        &mut self,
        timeout: Option<Duration>,
        mut take: impl FnMut(&mut Self) -> Option<T>,
    ) -> Result<Option<T>, ClientFault> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            if let Some(found) = take(self) {
                return Ok(Some(found));
            }
            match self.stream.receive(deadline) {
                Ok(place) => self.put_aside(place)?,
                Err(ClientFault::Timeout) => return Ok(None),
                Err(fault) => return Err(fault),
            }
        }
    }
}

impl Message {
    pub(super) fn from_packet(packet: &ReqMessage<'_>) -> Self {
        let generation = packet.header.generation;
        Self { srvid: packet.srvid, data: packet.data.to_vec(), generation }
    }
}

impl TunnelPacket {
    pub(super) fn from_packet(packet: &ReqTunnel<'_>) -> Self {
        Self { tunnel_id: packet.tunnel_id, flags: packet.flags, data: packet.data.to_vec() }
    }
}
