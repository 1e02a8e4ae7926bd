//! One face for this tree's engine and for libtdb.

use std::ops::ControlFlow;
use std::path::Path;

use bateria_tdb::libtdb::Original;
use bateria_tdb::{OpenOptions, StoreMode, Tdb, TdbFlags};
use serde::{Deserialize, Serialize};

use crate::Fault;

/// Who works on the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Who {
    Bateria,
    Libtdb,
}

/// What is measured. A failure ends the whole run: there is nothing to compare then.
pub(crate) trait Engine {
    fn fetch(&mut self, key: &[u8]) -> usize;
    /// Reads a first few bytes where they lie, as one who only needs a header.
    fn parse(&mut self, key: &[u8], head: &mut [u8]);
    fn store(&mut self, key: &[u8], value: &[u8]);
    fn delete(&mut self, key: &[u8]);
    fn traverse(&mut self) -> u64;
    /// A transaction that stores one record.
    fn commit(&mut self, key: &[u8], value: &[u8]);
    /// libtdb has to be given the key both times; this engine's caller knows the chain by then.
    fn lock_and_unlock(&mut self, key: &[u8]);
}

pub(crate) struct Ours {
    tdb: Tdb,
    out: Vec<u8>,
}

pub(crate) struct Theirs(Original);

impl Ours {
    pub(crate) fn open(path: &Path, flags: u32, hash_size: u32) -> Result<Ours, Fault> {
        let options = OpenOptions {
            flags: TdbFlags::from_bits_retain(flags),
            hash_size,
            create: hash_size > 0,
            ..OpenOptions::default()
        };
        Ok(Ours { tdb: Tdb::open(path, &options)?, out: Vec::new() })
    }
}

impl Theirs {
    pub(crate) fn open(path: &Path, flags: u32, hash_size: u32) -> Result<Theirs, Fault> {
        let open_flags = if hash_size > 0 { O_RDWR | O_CREAT } else { O_RDWR };
        let opened = Original::open(path, i32::try_from(hash_size)?, flags, open_flags);
        let sys = |errno| std::io::Error::from_raw_os_error(errno);
        Ok(Theirs(opened.map_err(|errno| format!("{}: {}", path.display(), sys(errno)))?))
    }

    fn judge(&mut self, outcome: i32) {
        assert!(outcome >= 0, "libtdb fails with code {}", self.0.error());
    }
}

impl Engine for Ours {
    fn fetch(&mut self, key: &[u8]) -> usize {
        assert!(self.tdb.fetch(key, &mut self.out).expect("the file is sound"), "the key exists");
        self.out.len()
    }

    fn parse(&mut self, key: &[u8], head: &mut [u8]) {
        let parsed = self.tdb.parse(key, |data| data.read(0, head)).expect("the file is sound");
        parsed.expect("the key exists").expect("the data has a head");
    }

    fn store(&mut self, key: &[u8], value: &[u8]) {
        self.tdb.store(key, &[value], StoreMode::Replace).expect("the file is sound");
    }

    fn delete(&mut self, key: &[u8]) {
        assert!(self.tdb.delete(key).expect("the file is sound"), "the key exists");
    }

    fn traverse(&mut self) -> u64 {
        self.tdb.traverse(&mut |_, _| ControlFlow::Continue(())).expect("the file is sound")
    }

    fn commit(&mut self, key: &[u8], value: &[u8]) {
        let mut transaction = self.tdb.begin().expect("nothing is locked");
        transaction.store(key, &[value], StoreMode::Replace).expect("the file is sound");
        transaction.commit().expect("there is room");
    }

    fn lock_and_unlock(&mut self, key: &[u8]) {
        let chain = self.tdb.chain_of(key);
        self.tdb.lock_chain(chain).expect("the lock is to be had");
        self.tdb.unlock_chain(chain);
    }
}

impl Engine for Theirs {
    fn fetch(&mut self, key: &[u8]) -> usize {
        self.0.fetch_size(key).expect("the key exists")
    }

    fn parse(&mut self, key: &[u8], head: &mut [u8]) {
        assert!(self.0.parse_head(key, head) >= 0, "the key exists");
    }

    fn store(&mut self, key: &[u8], value: &[u8]) {
        let outcome = self.0.store(key, value, REPLACE);
        self.judge(outcome);
    }

    fn delete(&mut self, key: &[u8]) {
        let outcome = self.0.delete(key);
        self.judge(outcome);
    }

    fn traverse(&mut self) -> u64 {
        let outcome = self.0.traverse_count();
        self.judge(outcome);
        u64::from(outcome.unsigned_abs())
    }

    fn commit(&mut self, key: &[u8], value: &[u8]) {
        let outcome = self.0.begin();
        self.judge(outcome);
        self.store(key, value);
        let outcome = self.0.commit();
        self.judge(outcome);
    }

    fn lock_and_unlock(&mut self, key: &[u8]) {
        let outcome = self.0.chainlock(key);
        self.judge(outcome);
        let outcome = self.0.chainunlock(key);
        self.judge(outcome);
    }
}

/// `TDB_REPLACE`
const REPLACE: i32 = 1;
const O_RDWR: i32 = 2;
const O_CREAT: i32 = 0o100;
