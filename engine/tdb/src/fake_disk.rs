//! A disk that forgets: every write and sync of an area, to be replayed up to any point.

/// One thing that happened to the file, in order.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Write(u32, Vec<u8>),
    Grow(u32),
    Sync,
}
