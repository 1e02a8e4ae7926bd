//! A database in memory that was a file: a copy from a backup, from a crash, from a fuzzer.

use crate::area::Area;
use crate::database::{Shared, Tdb};
use crate::error::TdbError;
use crate::flags::TdbFlags;
use crate::header::{HASH_SIZE, HASH_SIZE_MAX, HEADER_SIZE_BYTES, Header, HeaderFault};
use crate::keys::Position;
use crate::lock_table::LockTable;
use std::path::Path;
use std::sync::Arc;

impl Tdb {
    /// Opens the bytes of a file as they are, without locks; changes go to memory only. `name`
    /// stands in for the path in errors. An interrupted commit is rolled back, as by `open`.
    ///
    /// # Errors
    ///
    /// `Refused` as by `open`, and `Corrupt` when the rollback image is damaged.
    pub fn from_bytes(name: &Path, bytes: Vec<u8>) -> Result<Self, TdbError> {
        let path: Arc<Path> = Arc::from(name);
        let refused =
            |offset, rule, errno| TdbError::Refused { path: path.clone(), offset, rule, errno };
        let head = bytes.get(..HEADER_SIZE_BYTES).unwrap_or(&[]);
        let header = Header::parse(head, TdbFlags::empty()).map_err(|fault| match fault {
            HeaderFault::NotTdb => refused(None, "not a TDB file", libc::EIO),
            HeaderFault::Refused { offset, rule, errno } => refused(Some(offset), rule, errno),
        })?;
        let mut bytes = bytes;
        let skip = (header.mutex_size as usize).min(bytes.len());
        bytes.drain(..skip);
        let heads_end = 172 + 4 * u64::from(header.hash_size);
        if header.hash_size > HASH_SIZE_MAX || heads_end > bytes.len() as u64 {
            return Err(refused(
                Some(HASH_SIZE),
                "file is too short for its hash chains",
                libc::EINVAL,
            ));
        }
        if u32::try_from(bytes.len()).is_err() {
            return Err(refused(None, "file is too large", libc::EIO));
        }
        let mut flags = TdbFlags::NOLOCK | TdbFlags::ALLOW_NESTING;
        flags.set(TdbFlags::CONVERT, header.swapped);
        flags.set(TdbFlags::BIGENDIAN, header.swapped ^ cfg!(target_endian = "big"));
        let mut tdb = Self {
            area: Area::memory(path.clone(), bytes),
            path,
            file: None,
            shared: Arc::new(Shared { _anchor: None, mutexes: None }),
            flags,
            hash: header.hash,
            swapped: header.swapped,
            hash_size: header.hash_size,
            max_dead: 0,
            read_only: false,
            locks: LockTable::default(),
            transaction: None,
            position: Position::default(),
            scratch: Vec::new(),
            free_trail: crate::free_trail::FreeTrail::default(),
        };
        if let Some((start, end)) = tdb.roll_back()? {
            tdb.reclaim(start, end)?;
        }
        Ok(tdb)
    }

    /// All bytes of the database as they are now, without a mutex area.
    ///
    /// # Errors
    ///
    /// Those of reading; `Invalid` inside a transaction.
    pub fn to_bytes(&mut self) -> Result<Vec<u8>, TdbError> {
        if self.transaction.is_some() {
            return Err(self.invalid("a transaction is running"));
        }
        self.refresh_size()?;
        let mut bytes = Vec::new();
        self.read_into(0, self.size_bytes(), &mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OpenOptions, StoreMode};

    #[test]
    fn the_image_of_a_file_has_its_records() {
        for flags in [TdbFlags::empty(), TdbFlags::MUTEX_LOCKING, TdbFlags::CONVERT] {
            let file = crate::scratch::File::new("image");
            let options = OpenOptions { flags, create: true, ..OpenOptions::default() };
            let mut tdb = Tdb::open(file.path(), &options).unwrap();
            tdb.store(b"key", &[b"data"], StoreMode::Insert).unwrap();
            let mut image = Tdb::from_bytes(Path::new("image"), file.bytes()).unwrap();
            assert!(image.exists(b"key").unwrap());
            assert!(image.to_bytes().unwrap() == tdb.to_bytes().unwrap());
        }
    }

    #[test]
    fn what_is_no_database_is_refused() {
        for bytes in [vec![], vec![0; 100], vec![0; 5000], b"TDB file\n".repeat(100)] {
            let refused = Tdb::from_bytes(Path::new("image"), bytes);
            assert!(matches!(refused, Err(TdbError::Refused { .. })));
        }
    }
}
