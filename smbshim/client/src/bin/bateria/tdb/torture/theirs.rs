//! libtdb as a tortured engine.

use crate::tdb::torture::engine::{End, Engine, Records, Tried, Trouble};
use bateria_tdb::TdbFlags;
use bateria_tdb::libtdb::Original;
use rustix::fs::OFlags;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(super) struct Theirs {
    /// `None` only while it is opened anew.
    original: Option<Original>,
    path: PathBuf,
    flags: TdbFlags,
}

impl Theirs {
    pub(super) fn open(path: &Path, flags: TdbFlags) -> Tried<Self> {
        let original = Some(open(path, flags)?);
        Ok(Self { original, path: path.to_owned(), flags })
    }

    fn handle(&mut self) -> &mut Original {
        self.original.as_mut().expect("it is open")
    }

    fn judge(&mut self, operation: &str, outcome: i32) -> Tried<()> {
        if outcome == 0 {
            return Ok(());
        }
        Err(match self.handle().error() {
            CODE_LOCK => Trouble::Refused,
            code => Trouble::Fault(format!("libtdb: {operation}: code {code}")),
        })
    }
}

impl Records for Theirs {
    fn fetch(&mut self, key: &[u8]) -> Tried<Option<Vec<u8>>> {
        let value = self.handle().fetch(key);
        if value.is_none() && self.handle().error() != CODE_NOT_FOUND {
            return self.judge("fetch", -1).map(|()| None);
        }
        Ok(value)
    }

    fn store(&mut self, key: &[u8], value: &[u8]) -> Tried<()> {
        let outcome = self.handle().store(key, value, REPLACE);
        self.judge("store", outcome)
    }

    fn append(&mut self, key: &[u8], addition: &[u8]) -> Tried<()> {
        let outcome = self.handle().append(key, addition);
        self.judge("append", outcome)
    }

    fn delete(&mut self, key: &[u8]) -> Tried<()> {
        let outcome = self.handle().delete(key);
        if outcome != 0 && self.handle().error() == CODE_NOT_FOUND {
            return Ok(());
        }
        self.judge("delete", outcome)
    }
}

impl Engine for Theirs {
    fn lock(&mut self, key: &[u8]) -> Tried<()> {
        let outcome = self.handle().chainlock(key);
        self.judge("lock", outcome)
    }

    fn unlock(&mut self, key: &[u8]) -> Tried<()> {
        match self.handle().chainunlock(key) {
            0 => Ok(()),
            _ => Err(Trouble::Fault("libtdb: unlock: the lock was gone".to_owned())),
        }
    }

    fn lock_all(&mut self) -> Tried<()> {
        let outcome = self.handle().lockall();
        self.judge("lock all", outcome)
    }

    fn unlock_all(&mut self) -> Tried<()> {
        let outcome = self.handle().unlockall();
        self.judge("unlock all", outcome)
    }

    fn traverse(&mut self, visit: &mut dyn FnMut(&[u8], &[u8])) -> Tried<()> {
        self.handle().traverse().iter().for_each(|(key, data)| visit(key, data));
        // The handle is new since its last refusal, so this one is of the traverse.
        match self.handle().error() {
            CODE_LOCK => Err(Trouble::Refused),
            _ => Ok(()),
        }
    }

    fn transaction(&mut self, body: &mut dyn FnMut(&mut dyn Records) -> Tried<End>) -> Tried<End> {
        let outcome = self.handle().begin();
        self.judge("begin", outcome)?;
        let end = body(self);
        if !matches!(end, Ok(End::Commit | End::Prepare)) {
            self.handle().cancel();
            return end;
        }
        if matches!(end, Ok(End::Prepare)) {
            let outcome = self.handle().prepare();
            self.judge("prepare", outcome)?;
        }
        let outcome = self.handle().commit();
        self.judge("commit", outcome)?;
        end
    }

    /// A traverse that ends in a deadlock avoided leaves locks behind, with which the handle is of
    /// little use, and in the way of all others.
    fn start_afresh(&mut self) -> Tried<()> {
        // Closed first: closing one handle takes the locks of all others of this process.
        self.original = None;
        self.original = Some(open(&self.path, self.flags)?);
        Ok(())
    }
}

fn open(path: &Path, flags: TdbFlags) -> Tried<Original> {
    let read_write = i32::try_from(OFlags::RDWR.bits()).expect("a small flag");
    Original::open(path, 0, flags.bits(), read_write).map_err(|errno| {
        let error = std::io::Error::from_raw_os_error(errno);
        Trouble::Fault(format!("libtdb: open: {error}"))
    })
}

/// `TDB_REPLACE`
const REPLACE: i32 = 1;
/// Codes of tdb §11.6.
const CODE_LOCK: u32 = 3;
const CODE_NOT_FOUND: u32 = 8;
