//! The rollback image of a commit (tdb §8.3), and rolling back (tdb §8.6).

use crate::allocate::growth;
use crate::area::SyncRange;
use crate::database::Tdb;
use crate::error::TdbError;
use crate::header::RECOVERY_START;
use crate::mutex_area::page_size;
use crate::range_lock::{ALL_RECORDS, LockKind, OPEN, Wait};
use crate::record::{
    Kind, MAGIC_AT, MAGIC_RECOVERY, MAGIC_RECOVERY_IDLE, RECORD_HEADER_SIZE, RecordHeader,
    TAILER_SIZE,
};

impl Tdb {
    /// Undoes the commit of a process that died in the middle of it (tdb §6.5); blocks, so a shard
    /// leaves it to a thread that may. Does nothing if there is nothing to undo.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the image is damaged, `Lock` when this handle holds data locks.
    pub fn recover(&mut self) -> Result<(), TdbError> {
        self.check_writable()?;
        if self.locks.holds_data() || self.transaction.is_some() {
            return Err(self.lock_error(ALL_RECORDS.start, "other locks held", libc::EDEADLK));
        }
        let _ = self.fcntl(ALL_RECORDS, LockKind::Write, Wait::Block)?;
        let rolled_back = match self.fcntl(OPEN, LockKind::Write, Wait::Block) {
            Ok(_) => {
                let rolled_back = self.roll_back();
                self.release_range(OPEN);
                rolled_back
            }
            Err(error) => Err(error),
        };
        self.release_range(ALL_RECORDS);
        match rolled_back? {
            Some((start, end)) => self.reclaim(start, end),
            None => Ok(()),
        }
    }

    /// True if a commit was interrupted; a file that cannot be read counts as one.
    #[inline]
    pub(crate) fn needs_recovery(&mut self) -> bool {
        match self.area.read_word(RECOVERY_START) {
            Ok(0) => false,
            Ok(start) => self.is_armed(start),
            Err(_) => true,
        }
    }

    fn is_armed(&mut self, start: u32) -> bool {
        let start = self.number(start.to_ne_bytes());
        let mut magic = [0; 4];
        let Some(at) = start.checked_add(20) else { return true };
        match self.area.read(at, &mut magic) {
            Ok(()) => self.number(magic) == MAGIC_RECOVERY,
            Err(_) => true,
        }
    }

    /// Rolls back if needed; OPEN is locked. Returns the part of the file that belongs to nothing
    /// afterwards.
    pub(crate) fn roll_back(&mut self) -> Result<Option<(u32, u32)>, TdbError> {
        self.area.reload()?;
        let start = self.read_u32(RECOVERY_START)?;
        if start == 0 {
            return Ok(None);
        }
        // Whatever the header points to: only an armed image is something to act on.
        let record = self.read_record(start)?;
        if record.kind() != Kind::RecoveryArmed {
            return Ok(None);
        }
        if start < self.data_start() {
            return Err(self.corrupt(RECOVERY_START, "the recovery area lies in the header"));
        }
        if self.read_only {
            return Err(self.corrupt(start, "an interrupted commit must be rolled back"));
        }
        let image = self.read_image(start, &record)?;
        let elements = self.parse_image(start, &image)?;
        let end_before = record.key_len;
        for (offset, bytes) in elements {
            self.restore(offset, bytes, start, &record)?;
        }
        self.sync(SyncRange { offset: 0, size: self.area.size() })?;
        // In this order: an armed image that no header points to is garbage, and space that is still
        // pointed to must not be taken into use. (libtdb writes both before one sync.)
        self.disarm(start)?;
        if start >= end_before {
            self.write_area_u32(RECOVERY_START, 0)?;
            self.sync(SyncRange { offset: RECOVERY_START, size: 4 })?;
        }
        let unowned = if start >= end_before {
            end_before
        } else {
            end_before.max(start.saturating_add(record.total().unwrap_or(u32::MAX)))
        };
        Ok((unowned < self.area.size()).then_some((unowned, self.area.size())))
    }

    /// Takes what lies behind the last record after a rollback into use: libtdb leaves it as a
    /// hole, behind which its own check then finds "corruption" (P21).
    pub(crate) fn reclaim(&mut self, start: u32, end: u32) -> Result<(), TdbError> {
        self.lock_all(LockKind::Write)?;
        let outcome = self.reclaim_locked(start, end);
        self.unlock_all();
        outcome
    }

    /// The same after a prepared transaction is cancelled, whose locks are still held.
    pub(crate) fn reclaim_behind(&mut self, end_before: u32, start: u32) -> Result<(), TdbError> {
        if start > end_before { self.reclaim_locked(end_before, start) } else { Ok(()) }
    }

    /// The rollback has let go of all locks, so somebody else may have taken the space since.
    fn reclaim_locked(&mut self, start: u32, end: u32) -> Result<(), TdbError> {
        let unowned = self.is_record_boundary(start)? && self.is_unreachable(start, end)?;
        if unowned { self.free_unowned(start, end) } else { Ok(()) }
    }

    /// Finds room for the image, writes it unarmed and syncs it; returns where it is.
    pub(crate) fn write_rollback_image(&mut self) -> Result<u32, TdbError> {
        let (start, capacity) = self.place_image()?;
        let end_before = self.state().end_before;
        let image = self.build_image(capacity)?;
        let record = RecordHeader {
            next: 0,
            rec_len: capacity,
            key_len: end_before,
            data_len: u32::try_from(image.len()).expect("the image fits its area"),
            full_hash: 0,
            magic: MAGIC_RECOVERY_IDLE,
        };
        let mut bytes = record.to_bytes(self.swapped).to_vec();
        bytes.extend_from_slice(&image);
        self.area.write(start, &bytes)?;
        self.state().patch(start, &bytes);
        let size = RECORD_HEADER_SIZE + record.data_len;
        self.sync(SyncRange { offset: start, size })?;
        Ok(start)
    }

    /// From here on a crash rolls back.
    pub(crate) fn arm(&mut self, start: u32) -> Result<(), TdbError> {
        let magic =
            if self.swapped { MAGIC_RECOVERY.swap_bytes() } else { MAGIC_RECOVERY }.to_ne_bytes();
        self.area.write(start + MAGIC_AT, &magic)?;
        self.state().patch(start + MAGIC_AT, &magic);
        self.sync(SyncRange { offset: start + MAGIC_AT, size: 4 })
    }

    pub(crate) fn disarm(&mut self, start: u32) -> Result<(), TdbError> {
        self.write_area_u32(start + MAGIC_AT, MAGIC_RECOVERY_IDLE)?;
        self.sync(SyncRange { offset: start + MAGIC_AT, size: 4 })
    }

    /// Offset and capacity of an area that holds the image. Never from the free list, whose space
    /// may be part of what is rolled back.
    fn place_image(&mut self) -> Result<(u32, u32), TdbError> {
        let present = self.present_area()?;
        if let Some((start, record)) = present
            && record.rec_len >= self.image_size()?
        {
            return Ok((start, record.rec_len));
        }
        self.reclaim_tail()?;
        let size = self.state().size();
        let (start, enlarged) = match present {
            Some((start, record)) if record.total() == size.checked_sub(start) => (start, true),
            // Less than a record is left as it is.
            Some((start, record)) if record.rec_len >= TAILER_SIZE => {
                self.free(start, record)?;
                (size, false)
            }
            Some(_) | None => (size, false),
        };
        let need = self.image_size()?;
        let full =
            || TdbError::OutOfSpace { path: self.path.clone(), rule: "no room to roll back" };
        let add = growth(size, need, page_size()).ok_or_else(full)?;
        let capacity = add
            .checked_sub(RECORD_HEADER_SIZE)
            .filter(|capacity| *capacity >= need)
            .ok_or_else(full)?;
        let end = start.checked_add(add).ok_or_else(full)?;
        if end > self.area.size() {
            let add = end - self.area.size();
            self.area.grow(add)?;
        }
        self.state().set_size(end);
        self.publish_area(start, capacity, enlarged)?;
        Ok((start, capacity))
    }

    /// Makes the header of the database point to a new area. What it points to must be an area on
    /// the disk already, with its capacity inside the file: after a crash the next transaction
    /// goes by that. (libtdb leaves this sync out.)
    fn publish_area(&mut self, start: u32, capacity: u32, enlarged: bool) -> Result<(), TdbError> {
        if !enlarged {
            let record = RecordHeader {
                next: 0,
                rec_len: capacity,
                key_len: 0,
                data_len: 0,
                full_hash: 0,
                magic: MAGIC_RECOVERY_IDLE,
            };
            let bytes = record.to_bytes(self.swapped);
            self.area.write(start, &bytes)?;
        }
        self.sync(SyncRange { offset: start, size: RECORD_HEADER_SIZE })?;
        let number = if self.swapped { start.swap_bytes() } else { start }.to_ne_bytes();
        self.area.write(RECOVERY_START, &number)?;
        self.state().patch(RECOVERY_START, &number);
        Ok(())
    }

    /// The area as the file has it; a pointer to something else counts as none.
    fn present_area(&mut self) -> Result<Option<(u32, RecordHeader)>, TdbError> {
        let mut bytes = [0; 4];
        self.area.read_known(RECOVERY_START, &mut bytes)?;
        let start = self.number(bytes);
        if start < self.data_start() {
            return Ok(None);
        }
        let mut bytes = [0; 24];
        if self.area.read_known(start, &mut bytes).is_err() {
            return Ok(None);
        }
        let record = RecordHeader::from_bytes(&bytes, self.swapped);
        let inside = record
            .total()
            .and_then(|total| start.checked_add(total))
            .is_some_and(|end| end <= self.area.size());
        let usable = inside && matches!(record.kind(), Kind::RecoveryIdle | Kind::RecoveryArmed);
        Ok(usable.then_some((start, record)))
    }

    fn image_size(&mut self) -> Result<u32, TdbError> {
        let state = self.state();
        let end_before = state.end_before;
        let size: u64 = state
            .changed()
            .filter(|(offset, _)| *offset < end_before)
            .map(|(_, bytes)| u64::from(ELEMENT_HEADER_SIZE) + bytes.len() as u64)
            .sum();
        u32::try_from(size + u64::from(TAILER_SIZE)).map_err(|_| TdbError::OutOfSpace {
            path: self.path.clone(),
            rule: "no room to roll back",
        })
    }

    /// The old content of every changed block, as the file has it now.
    fn build_image(&mut self, capacity: u32) -> Result<Vec<u8>, TdbError> {
        let size = self.image_size()?;
        let mut image = Vec::with_capacity(size as usize);
        let swapped = self.swapped;
        let number = |value: u32| if swapped { value.swap_bytes() } else { value }.to_ne_bytes();
        let state = self.transaction.as_ref().expect("called inside a transaction");
        for (offset, bytes) in state.changed().filter(|(offset, _)| *offset < state.end_before) {
            let len = u32::try_from(bytes.len()).expect("blocks are pages");
            image.extend_from_slice(&number(offset));
            image.extend_from_slice(&number(len));
            let at = image.len();
            image.resize(at + bytes.len(), 0);
            self.area.read_known(offset, &mut image[at..])?;
        }
        image.extend_from_slice(&number(RECORD_HEADER_SIZE + capacity));
        Ok(image)
    }

    /// The image in memory: restoring may overwrite parts of it in the file.
    fn read_image(&mut self, start: u32, record: &RecordHeader) -> Result<Vec<u8>, TdbError> {
        if record.data_len > record.rec_len {
            return Err(self.corrupt(start, "the rollback image is longer than its area"));
        }
        let mut image = Vec::new();
        let at = start + RECORD_HEADER_SIZE;
        self.read_into(at, record.data_len, &mut image)?;
        Ok(image)
    }

    /// All elements of the image, judged before the first one is written.
    fn parse_image<'a>(
        &self,
        start: u32,
        image: &'a [u8],
    ) -> Result<Vec<(u32, &'a [u8])>, TdbError> {
        let mut elements = Vec::new();
        let mut rest = image;
        while rest.len() > ELEMENT_HEADER_SIZE as usize {
            let (header, tail) = rest.split_at(ELEMENT_HEADER_SIZE as usize);
            let field = |at: usize| {
                self.number([header[at], header[at + 1], header[at + 2], header[at + 3]])
            };
            let (offset, len) = (field(0), field(4));
            let Some((bytes, tail)) = tail.split_at_checked(len as usize) else {
                return Err(self.corrupt(start, "an element of the rollback image is too long"));
            };
            let end = u64::from(offset) + u64::from(len);
            if end > u64::from(self.area.size()) {
                let rule = "an element of the rollback image lies outside the file";
                return Err(self.corrupt(start, rule));
            }
            elements.push((offset, bytes));
            rest = tail;
        }
        Ok(elements)
    }

    /// Writes old bytes back, but not over the area itself: it must stay readable until it is
    /// disarmed, in case this process dies too.
    fn restore(
        &mut self,
        offset: u32,
        bytes: &[u8],
        start: u32,
        record: &RecordHeader,
    ) -> Result<(), TdbError> {
        let end = start.saturating_add(record.total().unwrap_or(u32::MAX));
        let before = start.saturating_sub(offset).min(u32::try_from(bytes.len()).unwrap_or(0));
        let before = before as usize;
        if before > 0 {
            self.area.write(offset, &bytes[..before])?;
        }
        let skip = (end.saturating_sub(offset) as usize).max(before);
        if let Some(behind) = bytes.get(skip..).filter(|behind| !behind.is_empty()) {
            let skip = u32::try_from(skip).expect("shorter than a file");
            self.area.write(offset + skip, behind)?;
        }
        Ok(())
    }

    fn write_area_u32(&mut self, offset: u32, value: u32) -> Result<(), TdbError> {
        let value = if self.swapped { value.swap_bytes() } else { value };
        self.area.write(offset, &value.to_ne_bytes())
    }
}

const ELEMENT_HEADER_SIZE: u32 = 8;
