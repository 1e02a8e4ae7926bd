//! What the tests share: a walled-off cluster, programs inside it, packets on its sockets.

mod cell;
mod packet;
mod program;

pub(crate) use cell::{Cell, Plan, repository, until};
pub(crate) use packet::{Client, control, control_packet, packet};
pub(crate) use program::{Background, Outcome};
