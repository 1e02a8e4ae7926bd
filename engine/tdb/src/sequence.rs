//! The sequence number: a change indicator that wraps (tdb §4.9).

use crate::database::Tdb;
use crate::error::TdbError;
use crate::flags::TdbFlags;
use crate::header::SEQUENCE_NUMBER;
use crate::range_lock::{LockKind, SEQUENCE, Wait};
use std::sync::atomic::Ordering;

impl Tdb {
    /// The present sequence number; 0 if it cannot be read.
    #[must_use]
    pub fn sequence_number(&self) -> u32 {
        let mut bytes = [0; 4];
        let read = match &self.transaction {
            Some(transaction) => transaction.read(&self.area, SEQUENCE_NUMBER, &mut bytes),
            None => match self.area.word(SEQUENCE_NUMBER) {
                // In a file of the other byte order the raw word counts, as in libtdb.
                Some(word) => return word.load(Ordering::SeqCst),
                None => self.area.read_known(SEQUENCE_NUMBER, &mut bytes),
            },
        };
        read.map_or(0, |()| self.number(bytes))
    }

    /// Adds one, whether or not this handle maintains the number.
    ///
    /// # Errors
    ///
    /// `ReadOnly`, `Sys`.
    pub fn bump_sequence_number(&mut self) -> Result<(), TdbError> {
        self.check_writable()?;
        if self.transaction.is_some() {
            return self.bump_plainly();
        }
        if let Some(word) = self.area.word(SEQUENCE_NUMBER) {
            word.fetch_add(1, Ordering::SeqCst);
            return self.area.check_truncation(SEQUENCE_NUMBER);
        }
        let _ = self.fcntl(SEQUENCE, LockKind::Write, Wait::Block)?;
        let outcome = self.bump_plainly();
        self.release_range(SEQUENCE);
        outcome
    }

    pub(crate) fn count_change(&mut self) -> Result<(), TdbError> {
        if self.flags.contains(TdbFlags::SEQNUM) { self.bump_sequence_number() } else { Ok(()) }
    }

    pub(crate) fn bump_plainly(&mut self) -> Result<(), TdbError> {
        let number = self.read_u32(SEQUENCE_NUMBER)?;
        self.write_u32(SEQUENCE_NUMBER, number.wrapping_add(1))
    }
}
