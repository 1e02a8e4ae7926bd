//! Frames of a generation that this node has prepared but not begun.
//!
//! The leader tells all members to begin at once; a fast one may be ahead of a slow one. Its frames
//! are kept until this node begins, too.

use crate::record::{Key, OwnedKey};
use alloc::boxed::Box;
use alloc::vec::Vec;
use bateria_wire::head::{RecordOp, ReportOp};
use bateria_wire::{DbId, Pnn};

/// Frames in the order of their arrival.
#[derive(Default)]
pub(crate) struct EarlyFrames {
    frames: Vec<EarlyFrame>,
    size_bytes: usize,
}

pub(crate) struct EarlyFrame {
    pub(crate) from: Pnn,
    pub(crate) db: DbId,
    pub(crate) content: Content,
}

pub(crate) enum Content {
    Record { key: OwnedKey, op: RecordOp, body: Box<[u8]> },
    Report { op: ReportOp, bulk: Box<[u8]> },
}

/// Reports of some million records. A node that is this far behind needs another generation.
const SIZE_BYTES_MAX: usize = 256 * 1024 * 1024;

impl EarlyFrames {
    /// False when there is no room: the generation cannot be completed.
    #[must_use]
    pub(crate) fn keep_record(
        &mut self,
        from: Pnn,
        db: DbId,
        key: Key<'_>,
        op: RecordOp,
        body: &[u8],
    ) -> bool {
        let content = Content::Record { key: key.to_owned(), op, body: body.into() };
        self.keep(EarlyFrame { from, db, content }, key.bytes.len() + body.len())
    }

    /// False when there is no room.
    #[must_use]
    pub(crate) fn keep_report(&mut self, from: Pnn, db: DbId, op: ReportOp, bulk: &[u8]) -> bool {
        let content = Content::Report { op, bulk: bulk.into() };
        self.keep(EarlyFrame { from, db, content }, bulk.len())
    }

    pub(crate) fn take(&mut self) -> Vec<EarlyFrame> {
        core::mem::take(self).frames
    }

    fn keep(&mut self, frame: EarlyFrame, size_bytes: usize) -> bool {
        self.size_bytes += size_bytes + size_of::<EarlyFrame>();
        let fits = self.size_bytes <= SIZE_BYTES_MAX;
        if fits {
            self.frames.push(frame);
        }
        fits
    }
}
