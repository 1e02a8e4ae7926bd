//! The cluster lock: one holder at a time, for as long as the lock's own rules say.

use bateria_core::cluster::Micros;
use bateria_wire::Pnn;

/// A lock that is safe and may be slow: nobody gets it before its former holder was told.
#[derive(Debug)]
pub struct LockServer {
    holder: Option<Holder>,
    /// How long the lock of an ended process stays taken.
    pub expiry_us: u64,
    /// Attempts fail with an error until then.
    pub broken_until: Micros,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    pnn: Pnn,
    life: u64,
    /// The process has ended; free from then on.
    until: Option<Micros>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Taken,
    Contended,
    Error,
}

impl LockServer {
    #[must_use]
    pub fn new(expiry_us: u64) -> Self {
        Self { holder: None, expiry_us, broken_until: Micros(0) }
    }

    pub fn take(&mut self, now: Micros, pnn: Pnn, life: u64) -> Answer {
        if now < self.broken_until {
            return Answer::Error;
        }
        let free = self.holder.is_none_or(|h| h.until.is_some_and(|until| until <= now));
        let own = self.holder.is_some_and(|h| h.pnn == pnn && h.life == life);
        if free || own {
            self.holder = Some(Holder { pnn, life, until: None });
            Answer::Taken
        } else {
            Answer::Contended
        }
    }

    pub fn release(&mut self, pnn: Pnn, life: u64) {
        self.holder = self.holder.filter(|h| h.pnn != pnn || h.life != life);
    }

    /// The holder's process has ended.
    pub fn ended(&mut self, now: Micros, pnn: Pnn, life: u64) {
        if let Some(holder) = &mut self.holder
            && (holder.pnn, holder.life) == (pnn, life)
        {
            holder.until = Some(now.after(self.expiry_us));
        }
    }

    /// Takes the lock away; the holder has to be told at once.
    pub fn revoke(&mut self) -> Option<(Pnn, u64)> {
        let holder = self.holder.take()?;
        holder.until.is_none().then_some((holder.pnn, holder.life))
    }

    #[must_use]
    pub fn is_held_by(&self, pnn: Pnn) -> bool {
        self.holder.is_some_and(|h| h.pnn == pnn && h.until.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_holders_lock_expires() {
        let mut lock = LockServer::new(100);
        assert_eq!(lock.take(Micros(0), Pnn(0), 1), Answer::Taken);
        assert_eq!(lock.take(Micros(1), Pnn(1), 1), Answer::Contended);
        lock.ended(Micros(10), Pnn(0), 1);
        assert_eq!(lock.take(Micros(109), Pnn(1), 1), Answer::Contended);
        assert_eq!(lock.take(Micros(110), Pnn(1), 1), Answer::Taken);
    }
}
