//! How two daemons recognise each other before any other frame crosses a connection.
//!
//! The side that connects sends `Hello`, the other one answers `HelloAck` or hangs up. Both are
//! sent in frames of a fixed length, so the acceptor reads exactly one and may then hand the
//! connection to another thread.

use crate::shared::Shared;
use bateria_wire::frame::{self, Frame, FrameFault, HEADER_SIZE_BYTES};
use bateria_wire::head::{ArchivedHead, Head, Hello, HelloAck};
use bateria_wire::{Generation, Pnn};
use std::net::IpAddr;

/// Who has connected, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Greeting {
    pub(crate) peer: Pnn,
    pub(crate) incarnation: u64,
    /// `LANE_CONTROL` or a shard of the peer.
    pub(crate) lane: u32,
}

/// Why a connection is refused; it is closed, and that is all its other side learns.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GreetingFault {
    #[error("not a frame of bateria: {0}")]
    Frame(#[from] FrameFault),
    #[error("the first frame is no greeting")]
    NoGreeting,
    #[error("it speaks frame versions {min} to {max}, this node speaks {}", frame::VERSION)]
    Version { min: u16, max: u16 },
    #[error("it is for node {target}, this is node {me}; compare the nodes files")]
    WrongNode { target: Pnn, me: Pnn },
    #[error("node {peer} is not in this node's nodes file")]
    UnknownNode { peer: Pnn },
    #[error("it poses as node {peer}, but comes from {from}")]
    WrongAddress { peer: Pnn, from: IpAddr },
    #[error("node {peer} has another nodes file; make them equal on all nodes")]
    NodesDiffer { peer: Pnn },
}

/// Greetings wait this long for their bytes.
pub(crate) const GREETING_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(5);

/// The frame that opens a connection.
pub(crate) fn hello(shared: &Shared, target: Pnn, lane: u32) -> Vec<u8> {
    framed(
        shared.me,
        &Head::Hello(Hello {
            pnn: shared.me.0,
            target: target.0,
            incarnation: shared.incarnation(),
            lane,
            lanes_count: shared.shards_count,
            version_min: frame::VERSION,
            version_max: frame::VERSION,
            nodes_crc32c: shared.nodes_crc32c,
        }),
    )
}

/// The frame that accepts it.
pub(crate) fn hello_ack(shared: &Shared) -> Vec<u8> {
    let head =
        HelloAck { pnn: shared.me.0, incarnation: shared.incarnation(), version: frame::VERSION };
    framed(shared.me, &Head::HelloAck(head))
}

/// Bytes of every `Hello`.
pub(crate) fn hello_size_bytes(shared: &Shared) -> usize {
    let size_bytes = hello(shared, Pnn(0), 0).len();
    assert!(size_bytes > HEADER_SIZE_BYTES, "a greeting has a head");
    size_bytes
}

/// Judges a `Hello` that came from an address. Nodes connect from the address that the nodes file
/// gives them.
///
/// # Errors
/// It does not come from a node of this cluster, or not for this node.
pub(crate) fn judge(
    shared: &Shared,
    source: IpAddr,
    frame: &Frame<'_>,
) -> Result<Greeting, GreetingFault> {
    let ArchivedHead::Hello(hello) = frame.head else { return Err(GreetingFault::NoGreeting) };
    let (min, max) = (hello.version_min.to_native(), hello.version_max.to_native());
    if !(min..=max).contains(&frame::VERSION) {
        return Err(GreetingFault::Version { min, max });
    }
    let (peer, target) = (Pnn(hello.pnn.to_native()), Pnn(hello.target.to_native()));
    if target != shared.me {
        return Err(GreetingFault::WrongNode { target, me: shared.me });
    }
    let address = shared.addresses.get(peer.index()).copied().flatten();
    let known = address.filter(|_| peer != shared.me && frame.source == peer);
    let Some(address) = known else { return Err(GreetingFault::UnknownNode { peer }) };
    if address.ip() != source {
        return Err(GreetingFault::WrongAddress { peer, from: source });
    }
    if hello.nodes_crc32c.to_native() != shared.nodes_crc32c {
        return Err(GreetingFault::NodesDiffer { peer });
    }
    let incarnation = hello.incarnation.to_native();
    Ok(Greeting { peer, incarnation, lane: hello.lane.to_native() })
}

/// Judges a `HelloAck` from `peer`: its incarnation.
///
/// # Errors
/// Something else came, or from somebody else.
pub(crate) fn judge_ack(peer: Pnn, frame: &Frame<'_>) -> Result<u64, GreetingFault> {
    let ArchivedHead::HelloAck(ack) = frame.head else { return Err(GreetingFault::NoGreeting) };
    if Pnn(ack.pnn.to_native()) != peer || frame.source != peer {
        return Err(GreetingFault::UnknownNode { peer: frame.source });
    }
    Ok(ack.incarnation.to_native())
}

fn framed(me: Pnn, head: &Head) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::encode(&mut bytes, &mut frame::Scratch::new(), Generation::INVALID, me, head, &[]);
    bytes
}
