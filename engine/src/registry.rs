//! Who listens where on this node: message addresses, processes and tunnels of all sessions.
//!
//! Sessions live on shards, but a message may arrive on any of them, and "does this process exist?"
//! must have one answer for the whole node. So this table is the one thing that all shards share;
//! its locks are held for single look-ups, never while anything waits.

use bateria_smbshim::session::Session;
use bateria_wire::Srvid;
use rustc_hash::FxHashMap;
use std::sync::{Mutex, PoisonError};

/// A session of this node, on whatever shard.
///
/// ```text
/// bit 63..48  shard
/// bit 47..24  how often the place was used before
/// bit 23..0   place in the shard's slab
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionId(pub(crate) u64);

/// The node's listeners, in stripes so that shards rarely meet.
pub(crate) struct Registry {
    stripes: [Mutex<Stripe>; STRIPES_COUNT],
    tunnels: Mutex<FxHashMap<u64, SessionId>>,
    clients: Mutex<FxHashMap<u32, Vec<SessionId>>>,
}

#[derive(Default)]
struct Stripe {
    /// A session stands here once for each of its registrations.
    listeners: FxHashMap<Srvid, Vec<Listener>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listener {
    pub(crate) session: SessionId,
    pub(crate) pid: u32,
}

const STRIPES_COUNT: usize = 64;

impl SessionId {
    pub(crate) fn new(shard: u32, uses: u32, place: usize) -> Self {
        assert!(place < 1 << 24, "sessions are limited long before");
        let uses = u64::from(uses & 0xFF_FFFF);
        Self(u64::from(shard) << 48 | uses << 24 | place as u64)
    }

    pub(crate) fn shard(self) -> usize {
        usize::try_from(self.0 >> 48).expect("16 bits")
    }

    pub(crate) fn place(self) -> usize {
        usize::try_from(self.0 & 0xFF_FFFF).expect("24 bits")
    }
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self {
            stripes: std::array::from_fn(|_| Mutex::default()),
            tunnels: Mutex::default(),
            clients: Mutex::default(),
        }
    }

    pub(crate) fn register(&self, srvid: Srvid, listener: Listener) {
        self.with(srvid, |stripe| stripe.listeners.entry(srvid).or_default().push(listener));
    }

    /// Takes one registration back; false when there is none.
    pub(crate) fn deregister(&self, srvid: Srvid, session: SessionId) -> bool {
        self.with(srvid, |stripe| {
            let Some(listeners) = stripe.listeners.get_mut(&srvid) else { return false };
            let Some(index) = listeners.iter().position(|one| one.session == session) else {
                return false;
            };
            listeners.remove(index);
            if listeners.is_empty() {
                stripe.listeners.remove(&srvid);
            }
            true
        })
    }

    /// Everyone who gets a message to `srvid`: one entry per registration, those for all messages
    /// included.
    pub(crate) fn listeners(&self, srvid: Srvid) -> Vec<SessionId> {
        let of = |srvid| {
            self.with(srvid, |stripe| {
                let listeners = stripe.listeners.get(&srvid).into_iter().flatten();
                listeners.map(|one| one.session).collect::<Vec<_>>()
            })
        };
        let mut listeners = of(srvid);
        if srvid != Srvid::ALL {
            listeners.extend(of(Srvid::ALL));
        }
        listeners
    }

    /// Whether a session of this process has registered the srvid.
    pub(crate) fn has_registered(&self, pid: u32, srvid: Srvid) -> bool {
        self.with(srvid, |stripe| {
            stripe.listeners.get(&srvid).into_iter().flatten().any(|one| one.pid == pid)
        })
    }

    pub(crate) fn add_client(&self, pid: u32, session: SessionId) {
        lock(&self.clients).entry(pid).or_default().push(session);
    }

    pub(crate) fn remove_client(&self, pid: u32, session: SessionId) {
        let mut clients = lock(&self.clients);
        if let Some(sessions) = clients.get_mut(&pid) {
            sessions.retain(|one| *one != session);
            if sessions.is_empty() {
                clients.remove(&pid);
            }
        }
    }

    /// A session has moved and has another name.
    pub(crate) fn rename(&self, old: SessionId, new: SessionId, pid: u32, session: &Session) {
        let renamed = |one: &mut SessionId| {
            if *one == old {
                *one = new;
            }
        };
        for srvid in session.srvids() {
            self.with(srvid, |stripe| {
                let listeners = stripe.listeners.get_mut(&srvid).into_iter().flatten();
                listeners.for_each(|one| renamed(&mut one.session));
            });
        }
        for tunnel in session.tunnels() {
            lock(&self.tunnels).get_mut(&tunnel).into_iter().for_each(renamed);
        }
        lock(&self.clients).get_mut(&pid).into_iter().flatten().for_each(renamed);
    }

    /// The sessions of a process.
    pub(crate) fn sessions_of(&self, pid: u32) -> Vec<SessionId> {
        lock(&self.clients).get(&pid).cloned().unwrap_or_default()
    }

    pub(crate) fn clients_count(&self) -> usize {
        lock(&self.clients).values().map(Vec::len).sum()
    }

    /// False when the tunnel has a registrant already.
    pub(crate) fn register_tunnel(&self, tunnel: u64, session: SessionId) -> bool {
        let mut tunnels = lock(&self.tunnels);
        let free = !tunnels.contains_key(&tunnel);
        if free {
            tunnels.insert(tunnel, session);
        }
        free
    }

    /// False when the session has not registered it.
    pub(crate) fn deregister_tunnel(&self, tunnel: u64, session: SessionId) -> bool {
        let mut tunnels = lock(&self.tunnels);
        let own = tunnels.get(&tunnel) == Some(&session);
        if own {
            tunnels.remove(&tunnel);
        }
        own
    }

    pub(crate) fn tunnel(&self, tunnel: u64) -> Option<SessionId> {
        lock(&self.tunnels).get(&tunnel).copied()
    }

    fn with<T>(&self, srvid: Srvid, work: impl FnOnce(&mut Stripe) -> T) -> T {
        let mixed = srvid.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58;
        let stripe = &self.stripes[usize::try_from(mixed).expect("6 bits")];
        work(&mut lock(stripe))
    }
}

/// Nothing panics under these locks, so a poisoned one holds sound data.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Listener = Listener { session: SessionId(1), pid: 10 };
    const B: Listener = Listener { session: SessionId(2), pid: 20 };

    #[test]
    fn each_registration_counts_and_leaves_on_its_own() {
        let registry = Registry::new();
        registry.register(Srvid(5), A);
        registry.register(Srvid(5), A);
        registry.register(Srvid(5), B);
        assert_eq!(registry.listeners(Srvid(5)), [A.session, A.session, B.session]);
        assert!(registry.deregister(Srvid(5), A.session));
        assert_eq!(registry.listeners(Srvid(5)), [A.session, B.session]);
        assert!(!registry.deregister(Srvid(6), A.session));
    }

    #[test]
    fn listeners_to_everything_hear_every_message() {
        let registry = Registry::new();
        registry.register(Srvid::ALL, A);
        assert_eq!(registry.listeners(Srvid(77)), [A.session]);
    }

    #[test]
    fn a_session_that_moves_takes_its_registrations_along() {
        let registry = Registry::new();
        let mut session = Session::new(10);
        for srvid in [Srvid(5), Srvid(5), Srvid::ALL] {
            session.register(srvid).expect("few");
            registry.register(srvid, A);
        }
        registry.register(Srvid(5), B);
        session.register_tunnel(9).expect("few");
        assert!(registry.register_tunnel(9, A.session));
        registry.add_client(10, A.session);

        registry.rename(A.session, SessionId(3), 10, &session);

        let new = SessionId(3);
        assert_eq!(registry.listeners(Srvid(5)), [new, new, B.session, new]);
        assert_eq!((registry.tunnel(9), registry.sessions_of(10)), (Some(new), vec![new]));
        assert!(registry.has_registered(10, Srvid(5)));
        assert!(registry.deregister(Srvid(5), new) && !registry.deregister(Srvid(5), A.session));
    }

    #[test]
    fn a_process_is_known_by_its_pid_and_registration() {
        let registry = Registry::new();
        registry.register(Srvid(5), A);
        assert!(registry.has_registered(10, Srvid(5)));
        assert!(!registry.has_registered(20, Srvid(5)));
    }

    #[test]
    fn a_session_id_keeps_its_parts() {
        let id = SessionId::new(63, 5, 1000);
        assert_eq!((id.shard(), id.place()), (63, 1000));
    }
}
