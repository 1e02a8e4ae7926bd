//! How a database gets attached: first where a client asks, then everywhere.

use crate::cluster::SimCluster;
use crate::events::{Happening, ShardMail};
use crate::network::Payload;
use crate::records::{Attaching, State, Waiter};
use bateria_wire::Pnn;

/// How often a node looks whether those that it waits for are still connected.
const LOOK_US: u64 = 5_000;

impl SimCluster {
    /// Somebody wants the database.
    pub(crate) fn attach(&mut self, pnn: Pnn, waiter: Waiter) {
        let in_force = self.truth.node(pnn).active.is_some();
        let Some(process) = self.process(pnn) else { return };
        let work = &mut process.work;
        if work.attached {
            return self.tell_attached(pnn, waiter);
        }
        if matches!(waiter, Waiter::Client(_)) && !in_force {
            // The generation comes first.
            return self.later(LOOK_US, pnn, Happening::Attach(waiter));
        }
        if let Some(attaching) = &mut work.attaching {
            return attaching.waiters.push(waiter);
        }
        work.attaching = Some(Attaching { waiters: vec![waiter], ..Attaching::default() });
        let open_us = self.random.between(20, 2 * self.driver_us_max);
        self.later(open_us, pnn, Happening::Opened);
    }

    /// The file is open: the shards get it, and the other nodes hear of it if a client asked here.
    pub(crate) fn opened(&mut self, pnn: Pnn) {
        self.trace.note(self.now, format_args!("{pnn} opens the database"));
        self.tell_shards(pnn, &ShardMail::Attached);
        let Some(process) = self.process(pnn) else { return };
        process.work.attached = true;
        let Some(attaching) = &mut process.work.attaching else { return };
        attaching.opened = true;
        let asked = attaching.waiters.iter().any(|waiter| matches!(waiter, Waiter::Client(_)));
        if asked {
            self.ask_peers(pnn);
        }
        self.attaches_end(pnn);
        self.rebuild_if_attached(pnn);
    }

    pub(crate) fn peer_attached(&mut self, pnn: Pnn, peer: Pnn) {
        let Some(process) = self.process(pnn) else { return };
        if let Some(attaching) = &mut process.work.attaching {
            attaching.awaited.remove(&peer);
        }
        self.attaches_end(pnn);
    }

    /// Everybody hears of the database when the last peer has it, or is gone.
    pub(crate) fn attaches_end(&mut self, pnn: Pnn) {
        let network = &self.network;
        let process = self.hosts.get_mut(&pnn).and_then(|host| host.process.as_mut());
        let Some(work) = process.map(|process| &mut process.work) else { return };
        let Some(attaching) = work.attaching.as_mut().filter(|attaching| attaching.opened) else {
            return;
        };
        attaching.awaited.retain(|peer, link| network.end(pnn, *peer) == Some(*link));
        if !attaching.awaited.is_empty() {
            return self.later(LOOK_US, pnn, Happening::AttachesEnd);
        }
        let waiters = std::mem::take(&mut attaching.waiters);
        work.attaching = None;
        waiters.into_iter().for_each(|waiter| self.tell_attached(pnn, waiter));
    }

    fn ask_peers(&mut self, pnn: Pnn) {
        for peer in self.network.ends_of(pnn) {
            self.send_control(pnn, peer, Payload::Attach);
            let link = self.network.end(pnn, peer);
            let process = self.process(pnn);
            let attaching = process.and_then(|process| process.work.attaching.as_mut());
            if let Some((attaching, link)) = attaching.zip(link) {
                attaching.awaited.insert(peer, link);
            }
        }
    }

    fn tell_attached(&mut self, pnn: Pnn, waiter: Waiter) {
        match waiter {
            Waiter::Client(id) => {
                let wake_us = self.random.between(5, 500);
                let Some(process) = self.process(pnn) else { return };
                let Some(client) = process.work.clients.get_mut(&id) else { return };
                client.state = State::Thinking;
                self.later(wake_us, pnn, Happening::Client { id });
            }
            Waiter::Peer(peer) => self.send_control(pnn, peer, Payload::Attached),
            Waiter::Generation => {}
        }
    }
}
