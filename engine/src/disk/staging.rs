//! Where another node's copy waits until it is complete.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

/// Parts in a file without a name, beside the database: the room that the copy needs is taken
/// where it will be needed, and gone with the daemon. Each part is its length, u32, then its bytes.
#[derive(Debug)]
pub(super) struct Staging {
    file: File,
}

impl Staging {
    pub(super) fn new(directory: &Path) -> io::Result<Self> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!(".bateria-staging.{}.{serial}", process::id()));
        let mut options = File::options();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(Self { file })
    }

    pub(super) fn push(&mut self, part: &[u8]) -> io::Result<()> {
        let length = u32::try_from(part.len()).map_err(io::Error::other)?;
        self.file.write_all(&length.to_ne_bytes())?;
        self.file.write_all(part)
    }

    /// Shows all parts in order, one in memory at a time.
    pub(super) fn each<E: From<io::Error>>(
        &mut self,
        mut act: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let end = self.file.stream_position()?;
        self.file.seek(SeekFrom::Start(0))?;
        let mut reader = BufReader::new(&self.file);
        let (mut part, mut position) = (Vec::new(), 0);
        while position < end {
            let mut length = [0; 4];
            reader.read_exact(&mut length)?;
            let length = u32::from_ne_bytes(length);
            part.resize(length as usize, 0);
            reader.read_exact(&mut part)?;
            position += 4 + u64::from(length);
            act(&part)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn parts_come_back_in_order_and_leave_no_name() {
        let scratch = Scratch::new();
        let mut staging = Staging::new(scratch.path()).unwrap();
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
        let parts: [&[u8]; 3] = [b"first", b"", b"third"];
        for part in parts {
            staging.push(part).unwrap();
        }
        let mut seen = Vec::new();
        staging
            .each(|part| {
                seen.push(part.to_vec());
                Ok::<_, io::Error>(())
            })
            .unwrap();
        assert_eq!(seen, parts);
    }
}
