//! Frames that come before this shard is ready for them.
//!
//! The leader tells all members to begin a generation at once; a fast one may be ahead of a slow
//! one. All members attach a database at about the same time; again one may be ahead. Their frames
//! are kept until this shard has begun, and has the database, too.

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
        self.keep(EarlyFrame { from, db, content })
    }

    /// False when there is no room.
    #[must_use]
    pub(crate) fn keep_report(&mut self, from: Pnn, db: DbId, op: ReportOp, bulk: &[u8]) -> bool {
        let content = Content::Report { op, bulk: bulk.into() };
        self.keep(EarlyFrame { from, db, content })
    }

    pub(crate) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Those about databases for which `ready` says so, in their order.
    pub(crate) fn take(&mut self, ready: impl Fn(DbId) -> bool) -> Vec<EarlyFrame> {
        let taken: Vec<_> = self.frames.extract_if(.., |frame| ready(frame.db)).collect();
        self.size_bytes -= taken.iter().map(EarlyFrame::size_bytes).sum::<usize>();
        taken
    }

    fn keep(&mut self, frame: EarlyFrame) -> bool {
        let size_bytes = self.size_bytes + frame.size_bytes();
        let fits = size_bytes <= SIZE_BYTES_MAX;
        if fits {
            self.size_bytes = size_bytes;
            self.frames.push(frame);
        }
        fits
    }
}

impl EarlyFrame {
    fn size_bytes(&self) -> usize {
        let content = match &self.content {
            Content::Record { key, body, .. } => key.bytes.len() + body.len(),
            Content::Report { bulk, .. } => bulk.len(),
        };
        content + size_of::<Self>()
    }
}
