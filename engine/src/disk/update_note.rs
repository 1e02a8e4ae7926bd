//! Which generation a copy was last changed in, kept beside the database.
//!
//! Two copies can reach one sequence number by different transactions; the note says which of them
//! came later (`persistent::Contents`). Stock ctdbd neither writes nor needs it.

use crate::disk::DiskFault;
use bateria_wire::Generation;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The note of one database.
///
/// ```text
/// offset  size  field
///      0     4  magic       "bgn1"
///      4     4  generation
///      8     4  crc32c      of the bytes before
/// ```
/// Numbers are little-endian. Whatever is not such a note says that nothing is known.
#[derive(Debug)]
pub(super) struct UpdateNote {
    /// `None` for a database whose file does not outlive the daemon either.
    path: Option<PathBuf>,
    generation: Generation,
}

const MAGIC: [u8; 4] = *b"bgn1";
const SIZE_BYTES: usize = 12;

impl UpdateNote {
    pub(super) fn read(path: Option<PathBuf>) -> Self {
        let bytes = path.as_ref().and_then(|path| std::fs::read(path).ok());
        let generation = bytes.and_then(|bytes| decode(&bytes)).unwrap_or(Generation::INVALID);
        Self { path, generation }
    }

    pub(super) fn generation(&self) -> Generation {
        self.generation
    }

    /// Puts another generation on disk.
    pub(super) fn write(&mut self, generation: Generation) -> Result<(), DiskFault> {
        if generation == self.generation {
            return Ok(());
        }
        if let Some(path) = &self.path {
            // What is on disk is not known if this fails half-way.
            self.generation = Generation::INVALID;
            put(path, generation).map_err(|error| DiskFault::Io { path: path.clone(), error })?;
        }
        self.generation = generation;
        Ok(())
    }
}

/// Twelve bytes lie in one sector, which a disk writes as a whole.
fn put(path: &Path, generation: Generation) -> io::Result<()> {
    let is_new = !path.exists();
    let mut options = File::options();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.write_all_at(&encode(generation), 0)?;
    file.sync_all()?;
    if is_new && let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

fn encode(generation: Generation) -> [u8; SIZE_BYTES] {
    let mut bytes = [0; SIZE_BYTES];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..8].copy_from_slice(&generation.0.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..8]);
    bytes[8..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Generation> {
    let number: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
    let generation = Generation(u32::from_le_bytes(number));
    (bytes == encode(generation)).then_some(generation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_note_is_found_again() {
        let scratch = Scratch::new();
        let path = scratch.path().join("note");
        let mut note = UpdateNote::read(Some(path.clone()));
        assert_eq!(note.generation(), Generation::INVALID);
        note.write(Generation::first_of(3)).unwrap();
        note.write(Generation::first_of(2)).unwrap();
        assert_eq!(UpdateNote::read(Some(path)).generation(), Generation::first_of(2));
    }

    #[test]
    fn a_damaged_note_says_nothing() {
        let bytes = encode(Generation::first_of(3));
        assert_eq!(decode(&bytes), Some(Generation::first_of(3)));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&damaged), None, "bit {bit}");
        }
        assert_eq!(decode(&bytes[..11]), None);
        assert_eq!(decode(&[]), None);
    }

    #[test]
    fn a_note_that_cannot_be_written_is_an_error() {
        let scratch = Scratch::new();
        let mut note = UpdateNote::read(Some(scratch.path().join("missing/note")));
        assert!(note.write(Generation::first_of(1)).is_err());
        assert_eq!(note.generation(), Generation::INVALID);
    }
}
