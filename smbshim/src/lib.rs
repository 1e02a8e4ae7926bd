//! The protocol Samba speaks on the cluster daemon's Unix socket, both directions, without I/O.
//!
//! ```text
//! bytes -> framer -> Packet::parse -> ReqCall / ReqMessage / ReqControl -> ControlRequest
//! ControlReply / ReplyCall / ReqMessage -> encode -> bytes
//! ```
//!
//! [`session`] keeps what a connection has registered and started, so that its end can be undone.
//! The reference is the client protocol specification; sections are quoted as "client protocol §n",
//! those of its supplement as "Samba 4.25 §n".
#![no_std]
#![forbid(unsafe_code)]
#![expect(clippy::doc_markdown, reason = "controls are written as the specification names them")]

extern crate alloc;

pub mod control;
pub mod fault;
pub mod fields;
pub mod framer;
pub mod header;
pub mod ltdb_header;
pub mod marshall;
pub mod packet;
pub mod rec_data;
pub mod sequence_number;
pub mod session;
pub mod structures;

pub use control::{Attach, ControlFault, ControlReply, ControlRequest, Opcode, ReplyData, Tier};
pub use fault::{Malformed, PacketFault};
pub use fields::{Fields, FixedLayout, Layout, LayoutFault};
pub use header::{HEADER_SIZE_BYTES, Header, Operation};
pub use ltdb_header::{LTDB_HEADER_SIZE_BYTES, LtdbHeader, RecordFlags};
pub use marshall::{Marshall, MarshallBuilder};
pub use packet::{
    CallFlags, CallId, ControlFlags, Packet, Padding, ReplyCall, ReplyControl, ReplyError, ReqCall,
    ReqControl, ReqMessage, ReqTunnel, TunnelFlags,
};
pub use rec_data::RecData;
pub use session::Session;
