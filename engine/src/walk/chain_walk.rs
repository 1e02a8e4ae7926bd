//! One lane's walk over one database.

use crate::walk::Filter;
use bateria_core::traverse::{BATCH_SIZE_BYTES, Slice};
use bateria_smbshim::rec_data::RecData;
use bateria_tdb::{Attempt, Chain, Tdb, TdbError};
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Where the walk is. It moves to the worker thread that does the next slice, and back; between
/// slices it holds no lock.
#[derive(Debug)]
pub struct ChainWalk {
    tdb: Tdb,
    filter: Filter,
    /// The lane serves the chains whose number leaves `lane` when divided by `lanes_count`.
    lanes_count: u32,
    next_chain: u32,
    is_first: bool,
    /// Chains that somebody held.
    held: VecDeque<Chain>,
    /// Records that have been read, in batches; the last one grows.
    batches: VecDeque<Vec<u8>>,
}

/// A slice waits at most so long for chains that are held, then gives its thread to others.
const WAIT_MAX: Duration = Duration::from_millis(10);
const WAIT_STEP: Duration = Duration::from_millis(1);

impl ChainWalk {
    /// `tdb` is a handle of its own.
    #[must_use]
    pub fn new(tdb: Tdb, filter: Filter, lane: u32, lanes_count: u32) -> Self {
        assert!(lane < lanes_count, "lanes count from 0");
        Self {
            tdb,
            filter,
            lanes_count,
            next_chain: lane,
            is_first: true,
            held: VecDeque::new(),
            batches: VecDeque::new(),
        }
    }

    /// Walks on until a batch of records is there, and gives it: `rec_data` one behind the other,
    /// reqid zero, about `BATCH_SIZE_BYTES`. It may be empty when chains are held by others.
    /// Blocks for milliseconds; returns soon after `stop` is set.
    pub fn slice(&mut self, stop: &AtomicBool) -> (Vec<u8>, Slice) {
        let outcome = self.fill(stop);
        let batch = self.batches.pop_front().unwrap_or_default();
        let slice = match outcome {
            Err(error) => {
                tracing::error!("walk ends early: {error}");
                Slice::Failed
            }
            Ok(()) if self.is_through() => Slice::Last,
            Ok(()) => Slice::More,
        };
        (batch, slice)
    }

    /// Reads chains until the first batch is complete or nothing is left.
    fn fill(&mut self, stop: &AtomicBool) -> Result<(), TdbError> {
        while !self.has_batch() && !stop.load(Ordering::Relaxed) {
            let chain = Chain(self.next_chain);
            if chain.0 >= self.tdb.chains_count() {
                return self.fill_from_held(stop);
            }
            self.next_chain += self.lanes_count;
            // Whether a chain is empty is seen without its lock; the lock of the first one makes
            // sure that what is seen is not older than the walk.
            let is_first = std::mem::take(&mut self.is_first);
            if (is_first || !self.tdb.chain_is_empty(chain)) && !self.read(chain)? {
                self.held.push_back(chain);
            }
        }
        Ok(())
    }

    fn fill_from_held(&mut self, stop: &AtomicBool) -> Result<(), TdbError> {
        let until = Instant::now() + WAIT_MAX;
        let mut busy_count = 0;
        while let Some(chain) = self.held.pop_front() {
            if self.read(chain)? {
                busy_count = 0;
                if self.has_batch() {
                    break;
                }
                continue;
            }
            self.held.push_back(chain);
            busy_count += 1;
            if busy_count == self.held.len() {
                if Instant::now() >= until || stop.load(Ordering::Relaxed) {
                    break;
                }
                thread::sleep(WAIT_STEP);
                busy_count = 0;
            }
        }
        Ok(())
    }

    /// Reads one chain; false if somebody holds it.
    fn read(&mut self, chain: Chain) -> Result<bool, TdbError> {
        let attempt = match self.tdb.try_lock_chain_read(chain) {
            Err(TdbError::RecoveryNeeded { .. }) => {
                self.tdb.recover()?;
                self.tdb.try_lock_chain_read(chain)?
            }
            other => other?,
        };
        if attempt == Attempt::Busy {
            return Ok(false);
        }
        let (filter, batches) = (self.filter, &mut self.batches);
        let outcome = self.tdb.walk_chain(chain, &mut |key, stored| {
            if filter.shows(stored) {
                push(batches, key, stored);
            }
            ControlFlow::Continue(())
        });
        self.tdb.unlock_chain(chain);
        outcome.map(|()| true)
    }

    fn has_batch(&self) -> bool {
        self.batches.len() > 1
            || self.batches.front().is_some_and(|batch| batch.len() >= BATCH_SIZE_BYTES)
    }

    fn is_through(&self) -> bool {
        self.batches.is_empty()
            && self.held.is_empty()
            && self.next_chain >= self.tdb.chains_count()
    }
}

fn push(batches: &mut VecDeque<Vec<u8>>, key: &[u8], stored: &[u8]) {
    let size_bytes = RecData::size_bytes(key.len(), stored.len()) as usize;
    let fits = |batch: &mut Vec<u8>| batch.len() + size_bytes <= BATCH_SIZE_BYTES;
    if !batches.back_mut().is_some_and(fits) {
        batches.push_back(Vec::new());
    }
    let batch = batches.back_mut().expect("there is one to write to");
    RecData::encode_parts(0, key, &[stored], batch);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use bateria_smbshim::fields::{Fields, Layout};
    use bateria_smbshim::ltdb_header::LtdbHeader;
    use bateria_tdb::{OpenOptions, StoreMode, TdbFlags};
    use bateria_wire::{Pnn, Rsn};
    use std::collections::BTreeSet;

    const OWNED: Filter = Filter::Owned { by: Pnn(0), with_empty: false };
    static GO_ON: AtomicBool = AtomicBool::new(false);

    fn tdb(scratch: &Scratch, flags: TdbFlags, hash_size: u32) -> Tdb {
        let options = OpenOptions { flags, hash_size, create: true, ..Default::default() };
        Tdb::open(&scratch.path().join("a.tdb"), &options).unwrap()
    }

    fn store(tdb: &mut Tdb, key: u32, body: &[u8]) {
        let header = LtdbHeader::new(Rsn(1), Pnn(0)).to_bytes();
        tdb.store(&key.to_ne_bytes(), &[&header, body], StoreMode::Replace).unwrap();
    }

    fn keys(batch: &[u8]) -> Vec<u32> {
        let (mut fields, mut keys) = (Fields::new(batch), Vec::new());
        while fields.left_bytes() > 0 {
            let record: RecData<'_> = fields.read().unwrap();
            keys.push(u32::from_ne_bytes(record.key.try_into().unwrap()));
        }
        keys
    }

    fn rest(walk: &mut ChainWalk) -> Vec<Vec<u32>> {
        let mut slices = Vec::new();
        loop {
            let (batch, slice) = walk.slice(&GO_ON);
            slices.push(keys(&batch));
            match slice {
                Slice::More => {}
                Slice::Last => return slices,
                Slice::Failed => panic!("the file is sound"),
            }
        }
    }

    #[test]
    fn all_lanes_together_show_each_record_once() {
        let scratch = Scratch::new();
        let mut first = tdb(&scratch, TdbFlags::VOLATILE_MUTEX, 97);
        (0..500).for_each(|key| store(&mut first, key, b"body"));
        let mut seen = Vec::new();
        for lane in 0..3 {
            let mut walk = ChainWalk::new(first.sibling().unwrap(), OWNED, lane, 3);
            seen.extend(rest(&mut walk).concat());
        }
        assert_eq!(seen.len(), 500);
        assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), (0..500).collect());
    }

    #[test]
    fn batches_keep_their_size_also_within_one_chain() {
        let scratch = Scratch::new();
        let mut first = tdb(&scratch, TdbFlags::PERSISTENT, 1);
        (0..100).for_each(|key| store(&mut first, key, &[7; 10_000]));
        store(&mut first, 100, &vec![7; 3 * BATCH_SIZE_BYTES]);
        let mut walk = ChainWalk::new(first, Filter::Everything, 0, 1);
        let slices = rest(&mut walk);
        assert_eq!(slices.concat().len(), 101);
        assert!(slices.iter().all(|keys| keys.len() <= 6 && !keys.is_empty()));
    }

    #[test]
    fn an_empty_database_has_nothing_to_show() {
        let scratch = Scratch::new();
        let mut walk = ChainWalk::new(tdb(&scratch, TdbFlags::PERSISTENT, 1009), OWNED, 2, 3);
        assert_eq!(walk.slice(&GO_ON), (Vec::new(), Slice::Last));
    }

    #[test]
    fn a_chain_that_is_held_does_not_hold_up_the_others() {
        let scratch = Scratch::new();
        let mut first = tdb(&scratch, TdbFlags::VOLATILE_MUTEX, 97);
        (0..50).for_each(|key| store(&mut first, key, b"body"));
        let mut holder = first.sibling().unwrap();
        let chain = holder.chain_of(&7_u32.to_ne_bytes());
        holder.lock_chain(chain).unwrap();
        let held = (0..50_u32).filter(|key| holder.chain_of(&key.to_ne_bytes()) == chain).count();
        let mut walk = ChainWalk::new(first, OWNED, 0, 1);
        let (batch, slice) = walk.slice(&GO_ON);
        assert_eq!((keys(&batch).len(), slice), (50 - held, Slice::More));
        assert_eq!(walk.slice(&GO_ON), (Vec::new(), Slice::More));
        holder.unlock_chain(chain);
        assert_eq!(rest(&mut walk).concat().len(), held);
    }

    #[test]
    fn a_stopped_walk_reads_nothing_more() {
        let scratch = Scratch::new();
        let mut first = tdb(&scratch, TdbFlags::VOLATILE_MUTEX, 97);
        (0..50).for_each(|key| store(&mut first, key, b"body"));
        let mut walk = ChainWalk::new(first, OWNED, 0, 1);
        assert_eq!(walk.slice(&AtomicBool::new(true)), (Vec::new(), Slice::More));
    }

    #[test]
    fn a_damaged_file_fails_the_walk() {
        let scratch = Scratch::new();
        let mut first = tdb(&scratch, TdbFlags::PERSISTENT, 7);
        (0..50).for_each(|key| store(&mut first, key, b"body"));
        let path = scratch.path().join("a.tdb");
        let mut bytes = std::fs::read(&path).unwrap();
        let records = 172 + 4 * 7 + 4;
        bytes[records..].fill(0xA5);
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(ChainWalk::new(first, OWNED, 0, 1).slice(&GO_ON).1, Slice::Failed);
    }
}
