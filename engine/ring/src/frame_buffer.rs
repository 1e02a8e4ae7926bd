//! Puts a stream of bytes back together into frames.

use crate::aligned_bytes::{ALIGN_BYTES, AlignedBytes};

/// Reassembles frames from bytes that arrive in arbitrary pieces.
///
/// The owner drains [`next_frame`](Self::next_frame) until it gives `None` before it pushes the
/// next piece. Then the buffer never holds more than one incomplete frame and one received piece,
/// and its memory follows the bytes that did arrive, not the length that was announced.
///
/// ```text
///   0            start                       end     capacity
///   +--------------+---------------------------+--------+
///   | given out    | waiting                   |  room  |
///   +--------------+---------------------------+--------+
/// ```
///
/// When the lengths of all frames are multiples of 16, every frame starts 16-byte aligned.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    bytes: AlignedBytes,
    /// Where the first byte lies that is not given out yet.
    start: usize,
    /// Length of the frame at `start`, once its beginning has told it.
    announced: Option<usize>,
}

/// How the length of a frame is told from its first bytes.
///
/// It sees all bytes that have arrived from the frame's start on, and answers with the length of
/// the whole frame (header included, at least 1), with `None` when it needs more bytes, or with an
/// error that ends the stream. It checks the limit: memory is reserved only after it agreed.
pub trait Measure<E>: FnMut(&[u8]) -> Result<Option<usize>, E> {}

impl<E, F: FnMut(&[u8]) -> Result<Option<usize>, E>> Measure<E> for F {}

impl FrameBuffer {
    /// An empty buffer without memory.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: AlignedBytes::new(), start: 0, announced: None }
    }

    /// Appends a received piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.make_room(piece.len());
        self.bytes.extend_from_slice(piece);
    }

    /// Takes the next whole frame out, or `None` when more bytes must arrive first.
    ///
    /// # Errors
    /// What `measure` gives; the buffer is then of no further use.
    pub fn next_frame<E>(&mut self, mut measure: impl Measure<E>) -> Result<Option<&[u8]>, E> {
        let waiting = &self.bytes.as_slice()[self.start..];
        if waiting.is_empty() {
            return Ok(None);
        }
        let Some(len) = announced(&mut self.announced, waiting, &mut measure)? else {
            return Ok(None);
        };
        if waiting.len() < len {
            return Ok(None);
        }
        let start = self.start;
        self.start += len;
        self.announced = None;
        Ok(Some(&self.bytes.as_slice()[start..start + len]))
    }

    /// Gives every frame that `piece` completes to `handle`, without a copy where that is
    /// possible: a frame that lies in `piece` whole and 16-byte aligned is used there.
    ///
    /// Equal to [`push`](Self::push) followed by [`next_frame`](Self::next_frame) until `None`.
    ///
    /// # Errors
    /// What `measure` or `handle` gives; the buffer is then of no further use.
    pub fn feed<E>(
        &mut self,
        mut piece: &[u8],
        mut measure: impl Measure<E>,
        mut handle: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.is_empty() {
            while piece.as_ptr().addr().is_multiple_of(ALIGN_BYTES) && !piece.is_empty() {
                let Some(len) = announced(&mut self.announced, piece, &mut measure)? else { break };
                let Some((frame, rest)) = piece.split_at_checked(len) else { break };
                self.announced = None;
                piece = rest;
                handle(frame)?;
            }
        }
        if piece.is_empty() {
            return Ok(());
        }
        self.push(piece);
        while let Some(frame) = self.next_frame(&mut measure)? {
            handle(frame)?;
        }
        Ok(())
    }

    /// Whether no byte waits: the stream stands on a frame border.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// Bytes that wait for the rest of their frame.
    #[must_use]
    pub const fn waiting_bytes(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Memory held.
    #[must_use]
    pub const fn capacity_bytes(&self) -> usize {
        self.bytes.capacity_bytes()
    }

    fn make_room(&mut self, additional: usize) {
        if self.is_empty() {
            self.start = 0;
            if self.bytes.capacity_bytes() > RETAINED_BYTES_MAX {
                self.bytes = AlignedBytes::new();
            } else {
                self.bytes.clear();
            }
        }
        let wanted = self.bytes.len() + additional;
        if wanted <= self.bytes.capacity_bytes() {
            return;
        }
        // Only now that memory would have to grow are given-out frames worth a move.
        if self.start > 0 {
            self.bytes.drop_front(self.start);
            self.start = 0;
        }
        let wanted = self.bytes.len() + additional;
        if wanted > self.bytes.capacity_bytes() {
            // Geometric, but no further than the frame that is known to come.
            let doubled = self.bytes.capacity_bytes() * 2;
            let useful = self.announced.map_or(doubled, |len| doubled.min(len));
            self.bytes.reserve_exact(wanted.max(useful));
        }
    }
}

/// An emptied buffer that grew beyond this for one long frame gives its memory back.
const RETAINED_BYTES_MAX: usize = 256 * 1024;

fn announced<E>(
    known: &mut Option<usize>,
    waiting: &[u8],
    measure: &mut impl Measure<E>,
) -> Result<Option<usize>, E> {
    if known.is_none() {
        *known = measure(waiting)?;
        assert!(*known != Some(0), "a frame has at least one byte");
    }
    Ok(*known)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME_BYTES_MAX: usize = 1 << 20;

    /// Frames of the tests: a little-endian length of the whole frame in the first four bytes.
    fn measure(prefix: &[u8]) -> Result<Option<usize>, &'static str> {
        let Some(length) = prefix.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if (4..=FRAME_BYTES_MAX).contains(&length) { Ok(Some(length)) } else { Err("length") }
    }

    fn frame(length: usize, fill: u8) -> Vec<u8> {
        let mut frame = u32::try_from(length).unwrap().to_le_bytes().to_vec();
        frame.resize(length, fill);
        frame
    }

    fn stream_of(lengths: &[usize]) -> (Vec<u8>, Vec<Vec<u8>>) {
        let frames: Vec<_> =
            (0_u8..).zip(lengths).map(|(fill, &length)| frame(length, fill)).collect();
        (frames.concat(), frames)
    }

    #[test]
    fn frames_come_out_whole_however_the_bytes_were_cut() {
        let (bytes, frames) = stream_of(&[4, 16, 5, 1000, 4, 333, 64, 70_000, 7]);
        for piece in [1, 2, 3, 7, 16, 100, 4096, bytes.len()] {
            let mut buffer = FrameBuffer::new();
            let (mut pushed, mut fed) = (Vec::new(), Vec::new());
            let mut feeder = FrameBuffer::new();
            for piece in bytes.chunks(piece) {
                buffer.push(piece);
                while let Some(frame) = buffer.next_frame(measure).unwrap() {
                    pushed.push(frame.to_vec());
                }
                feeder
                    .feed(piece, measure, |frame| {
                        fed.push(frame.to_vec());
                        Ok(())
                    })
                    .unwrap();
            }
            assert_eq!(pushed, frames, "pieces of {piece}");
            assert_eq!(fed, frames, "pieces of {piece}");
            assert!(buffer.is_empty() && feeder.is_empty());
        }
    }

    proptest::proptest! {
        #[test]
        fn any_frames_survive_any_cuts(
            lengths in proptest::collection::vec(4_usize..3000, 1..40),
            cuts in proptest::collection::vec(1_usize..5000, 1..40),
        ) {
            let (bytes, frames) = stream_of(&lengths);
            let (mut buffer, mut got, mut rest) = (FrameBuffer::new(), Vec::new(), &bytes[..]);
            for &cut in cuts.iter().cycle() {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                rest = after;
                let keep = |frame: &[u8]| {
                    got.push(frame.to_vec());
                    Ok(())
                };
                buffer.feed(piece, measure, keep).unwrap();
                if rest.is_empty() {
                    break;
                }
            }
            proptest::prop_assert_eq!(got, frames);
            proptest::prop_assert!(buffer.is_empty());
        }
    }

    #[test]
    fn frames_of_whole_blocks_start_aligned() {
        let (bytes, frames) = stream_of(&[16, 4096, 32, 48, 16, 65_536, 16]);
        for piece in [1, 7, 33, 1000, 5000] {
            let (mut buffer, mut count) = (FrameBuffer::new(), 0);
            for piece in bytes.chunks(piece) {
                buffer
                    .feed(piece, measure, |frame| {
                        assert_eq!(frame.as_ptr().addr() % ALIGN_BYTES, 0);
                        count += 1;
                        Ok(())
                    })
                    .unwrap();
            }
            assert_eq!(count, frames.len());
        }
    }

    #[test]
    fn a_whole_aligned_frame_is_used_where_it_lies() {
        let mut piece = AlignedBytes::new();
        piece.extend_from_slice(&stream_of(&[32, 48]).0);
        let range = piece.as_slice().as_ptr_range();
        let mut buffer = FrameBuffer::new();
        buffer
            .feed(piece.as_slice(), measure, |frame| {
                assert!(range.contains(&frame.as_ptr()));
                Ok(())
            })
            .unwrap();
        assert_eq!(buffer.capacity_bytes(), 0);
    }

    #[test]
    fn an_announced_length_reserves_nothing() {
        let mut buffer = FrameBuffer::new();
        buffer.push(&u32::try_from(FRAME_BYTES_MAX).unwrap().to_le_bytes());
        assert_eq!(buffer.next_frame(measure), Ok(None));
        assert!(buffer.capacity_bytes() <= 16);
    }

    #[test]
    fn memory_stays_within_the_frame_and_one_piece() {
        let (bytes, _) = stream_of(&[FRAME_BYTES_MAX]);
        let mut buffer = FrameBuffer::new();
        for piece in bytes.chunks(5000) {
            buffer.push(piece);
            let done = buffer.next_frame(measure).unwrap().is_some();
            assert!(buffer.capacity_bytes() <= FRAME_BYTES_MAX + 5000 + ALIGN_BYTES);
            assert_eq!(done, buffer.is_empty());
        }
        assert!(buffer.is_empty());
        buffer.push(&[4, 0, 0, 0]);
        assert!(buffer.capacity_bytes() <= 16, "one long frame does not pin its memory");
    }

    #[test]
    fn a_refused_length_is_the_callers_error() {
        let mut buffer = FrameBuffer::new();
        buffer.push(&[0xff; 4]);
        assert_eq!(buffer.next_frame(measure), Err("length"));
        let mut buffer = FrameBuffer::new();
        assert_eq!(buffer.feed(&[0; 4], measure, |_| Ok(())), Err("length"));
    }
}
