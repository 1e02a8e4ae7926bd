//! A small `io_uring` runtime for a loop without callbacks: one thread, one ring, one system call
//! for a whole batch of work. It knows nothing of CTDB.
//!
//! ```no_run
//! use bateria_ring::{Event, Ring, RingConfig, StreamLimits, Token, Wait};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut ring = Ring::new(&RingConfig::default())?;
//! let socket = std::os::unix::net::UnixListener::bind("/run/echo")?;
//! ring.listen(socket.into(), Token(0));
//! loop {
//!     ring.turn(Wait::Forever)?;
//!     while let Some(event) = ring.next_event() {
//!         match event {
//!             Event::Accepted { fd, .. } => {
//!                 ring.open_stream(fd, Token(1), StreamLimits::default())?;
//!             }
//!             Event::Received { stream, buffer, .. } => {
//!                 if ring.send(stream, &buffer).is_err() {
//!                     ring.abort(stream);
//!                 }
//!             }
//!             _ => {}
//!         }
//!     }
//! }
//! # }
//! ```
//!
//! What the kernel may touch belongs to its operation until the last completion: cancelling is a
//! request, not a release. Everything here that owns such memory lives in a slot that only that
//! completion empties, and a ring that goes away first waits for all of them.

mod aligned_bytes;
mod bell;
mod capabilities;
mod config;
mod connect;
mod deadlines;
mod doorbell;
mod error;
mod event;
mod exact_receive;
mod frame_buffer;
mod futex_wait;
mod kernel_queues;
mod listener;
pub mod mailbox;
mod operation;
mod peer;
mod poll_budget;
mod prompt_sends;
mod receive_pool;
mod ring;
mod send_queue;
mod signals;
mod slots;
mod stream;
mod stream_end;
mod stream_flow;
mod token;
mod turn;
mod watch;

pub use aligned_bytes::{ALIGN_BYTES, AlignedBytes};
pub use capabilities::Capabilities;
pub use config::{RingConfig, StreamLimits, Wait};
pub use doorbell::Doorbell;
pub use error::{RingError, SendRefused};
pub use event::{Event, FutexOutcome};
pub use exact_receive::EXACT_RECEIVE_BYTES_MAX;
pub use frame_buffer::{FrameBuffer, Measure};
pub use futex_wait::FutexWord;
pub use peer::peer_pid;
pub use receive_pool::ReceivedBuffer;
pub use ring::Ring;
pub use signals::signal_descriptor;
pub use socket2::SockAddr;
pub use stream::SendBuffer;
pub use token::{ConnectId, ListenerId, ReceiveId, StreamId, Token, WaitId, WatchId};
