//! Floor 0: the identifiers of a CTDB cluster, the limits every part keeps, and the frames that
//! bateria nodes exchange. No I/O, no threads; everything above speaks in these types.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod control;
pub mod frame;
pub mod head;
pub mod ids;
pub mod limits;
pub mod node;
pub mod report;
pub mod vnn_map;

pub use ids::{DbId, Generation, Pnn, Rsn, Srvid};
pub use node::{DbKind, NodeFlags};
pub use vnn_map::VnnMap;
