//! Someone who was there before the bad input came, and must notice nothing of it.

use std::io;
use std::time::Duration;

use crate::harness::{Cell, Client, control, until};

/// An old client of node 0.
pub(crate) struct Witness<'cell> {
    cell: &'cell Cell,
    client: Client,
    rss_bytes: u64,
}

impl<'cell> Witness<'cell> {
    pub(crate) fn new(cell: &'cell Cell) -> Witness<'cell> {
        let client = Client::connect(&cell.socket(0)).expect("the daemon listens");
        Witness { cell, client, rss_bytes: cell.daemon_rss_bytes(0) }
    }

    /// The daemon still answers, has not grown, and the cluster is whole.
    pub(crate) fn is_undisturbed(&mut self) {
        let (pnn, _) =
            self.client.control(control::GET_PNN, 0, b"").expect("the daemon still answers");
        assert_eq!(pnn, 0);
        let grown_bytes = self.cell.daemon_rss_bytes(0).saturating_sub(self.rss_bytes);
        assert!(grown_bytes < RSS_GROWTH_BYTES_MAX, "memory grew by {grown_bytes} bytes");
        until("all nodes are healthy", Duration::from_secs(10), || {
            self.cell.nodes().all(|node| self.cell.ctdb(node, &["nodestatus"]).success())
        });
    }
}

/// Bytes that look like nothing, the same for the same seed.
pub(crate) fn garbage(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..size)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}

/// Whether a connection was ended by its other side.
pub(crate) fn is_end(fault: io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(fault.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

/// What a hundred sessions may need for buffers, many times over, and far from what a lying length asks for.
const RSS_GROWTH_BYTES_MAX: u64 = 128 << 20;
