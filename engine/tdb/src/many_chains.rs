//! Locks of several chains at once.

use crate::database::{Chain, Tdb};
use crate::error::TdbError;
use crate::range_lock::Attempt;

impl Tdb {
    /// Locks all of the given chains (each once, however often it is named) or none of them;
    /// never blocks.
    ///
    /// # Errors
    ///
    /// As `try_lock_chain`; nothing is locked then.
    pub fn try_lock_chains(&mut self, chains: &[Chain]) -> Result<Attempt, TdbError> {
        Ok(match self.try_lock_sorted(&sorted(chains))? {
            None => Attempt::Locked,
            Some(_) => Attempt::Busy,
        })
    }

    /// Locks all of the given chains, for as long as that takes. Nobody waits for a chain while it
    /// holds another (tdb §6.6), so this keeps what it has only if it gets the rest at once, and
    /// otherwise waits for the busy one with empty hands.
    ///
    /// # Errors
    ///
    /// As `lock_chain`; nothing is locked then.
    pub fn lock_chains(&mut self, chains: &[Chain]) -> Result<(), TdbError> {
        let chains = sorted(chains);
        loop {
            let Some(busy) = self.try_lock_sorted(&chains)? else { return Ok(()) };
            self.lock_chain(busy)?;
            self.unlock_chain(busy);
        }
    }

    /// Releases what `lock_chains` or `try_lock_chains` has locked.
    pub fn unlock_chains(&mut self, chains: &[Chain]) {
        for chain in sorted(chains) {
            self.unlock_chain(chain);
        }
    }

    /// Returns the chain that was busy.
    fn try_lock_sorted(&mut self, chains: &[Chain]) -> Result<Option<Chain>, TdbError> {
        for (index, chain) in chains.iter().enumerate() {
            let outcome = match self.try_lock_chain(*chain) {
                Ok(Attempt::Locked) => continue,
                // A recovery runs without locks; whoever waits for this chain starts it.
                Ok(Attempt::Busy) | Err(TdbError::RecoveryNeeded { .. }) => Ok(Some(*chain)),
                Err(error) => Err(error),
            };
            for locked in &chains[..index] {
                self.unlock_chain(*locked);
            }
            return outcome;
        }
        Ok(None)
    }
}

fn sorted(chains: &[Chain]) -> Vec<Chain> {
    let mut chains = chains.to_vec();
    chains.sort_unstable();
    chains.dedup();
    chains
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OpenOptions, TdbFlags};

    #[test]
    fn all_or_none_are_locked() {
        let file = crate::scratch::File::new("many");
        let options = OpenOptions {
            flags: TdbFlags::INCOMPATIBLE_HASH,
            create: true,
            ..OpenOptions::default()
        };
        let mut tdb = Tdb::open(file.path(), &options).unwrap();
        let mut other = tdb.sibling().unwrap();
        let chains = [Chain(5), Chain(1), Chain(5), Chain(9)];
        other.lock_chain(Chain(9)).unwrap();
        assert_eq!(tdb.try_lock_chains(&chains).unwrap(), Attempt::Busy);
        assert_eq!(other.try_lock_chain(Chain(1)).unwrap(), Attempt::Locked);
        other.unlock_chain(Chain(1));
        other.unlock_chain(Chain(9));
        tdb.lock_chains(&chains).unwrap();
        assert_eq!(other.try_lock_chain(Chain(1)).unwrap(), Attempt::Busy);
        tdb.unlock_chains(&chains);
        assert_eq!(other.try_lock_chain(Chain(1)).unwrap(), Attempt::Locked);
    }
}
