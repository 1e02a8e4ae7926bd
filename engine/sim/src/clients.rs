//! Clients at work.

use crate::cluster::SimCluster;
use crate::events::Happening;
use crate::invariants::records as rules;
use crate::records::{Answer, DB, Files, Holder, Job, Smbd, State, Waiter, Work, key_of};
use bateria_core::cluster::Quorum;
use bateria_core::record::{self, Caller, Function};
use bateria_wire::Pnn;

impl SimCluster {
    /// The node is in force: clients may come.
    pub(crate) fn let_clients_in(&mut self, pnn: Pnn) {
        let wanted = self.scenario.clients_per_node as usize;
        if self.truth.node(pnn).active.is_none() {
            return;
        }
        let now_us = self.now.0;
        let mut count = self.clients_count;
        let Some(process) = self.process(pnn) else { return };
        let mut newcomers = Vec::new();
        while process.work.clients.len() < wanted {
            count += 1;
            process.work.clients.insert(count, Smbd::new(count, now_us));
            newcomers.push(count);
        }
        self.clients_count = count;
        for id in newcomers {
            let wait_us = self.random.between(1, 5_000);
            self.later(wait_us, pnn, Happening::Client { id });
        }
    }

    /// All clients of the node are gone, before anything else happens there.
    pub(crate) fn disconnect(&mut self, pnn: Pnn) {
        let Some(process) = self.process(pnn) else { return };
        let life = (pnn, process.machine.incarnation());
        let clients: Vec<u64> = process.work.clients.keys().copied().collect();
        let freed = process.work.disconnect_clients();
        self.history.ended(life);
        for chain in freed {
            self.chain_let_go(pnn, chain);
        }
        for session in clients {
            self.each_shard(pnn, |_| record::Input::SessionGone { session });
        }
    }

    /// A process is killed, whatever it holds.
    fn kill_client(&mut self, pnn: Pnn, id: u64) {
        let Some(process) = self.process(pnn) else { return };
        if process.work.clients.remove(&id).is_none() {
            return;
        }
        let freed = process.work.files.client_died(id);
        for chain in freed {
            self.chain_let_go(pnn, chain);
        }
        self.each_shard(pnn, |_| record::Input::SessionGone { session: id });
        self.let_clients_in(pnn);
    }

    /// One of the node's processes is killed.
    pub fn kill_any_client(&mut self, pnn: Pnn, some: u64) {
        let Some(process) = self.process(pnn).filter(|process| !process.stopped) else { return };
        let clients = &process.work.clients;
        let count = u64::try_from(clients.len()).expect("clients are few").max(1);
        let index = usize::try_from(some % count).expect("clients are few");
        let chosen = clients.keys().nth(index).copied();
        if let Some(id) = chosen {
            self.trace.note(self.now, format_args!("client {id} of {pnn} is killed"));
            self.kill_client(pnn, id);
        }
    }

    pub(crate) fn client_goes_on(&mut self, pnn: Pnn, id: u64) {
        let now_us = self.now.0;
        let rests = self.clients_rest;
        let (jobs, keys_count) = (self.scenario.jobs, self.scenario.keys_count);
        let (job, key) = Work::next_job(&mut self.random, jobs, keys_count);
        let Some(process) = self.process(pnn) else { return };
        let Some(client) = process.work.clients.get_mut(&id) else { return };
        match client.state {
            State::Attaching => self.attach(pnn, Waiter::Client(id)),
            State::Thinking if rests => self.later(10_000, pnn, Happening::Client { id }),
            State::Thinking => {
                (client.job, client.key, client.since_us) = (job, key, now_us);
                if client.job == Job::Read {
                    return self.read_record(pnn, id);
                }
                client.state = State::Wanting;
                self.want_lock(pnn, id);
            }
            State::Wanting => self.want_lock(pnn, id),
            State::Locked => self.change_record(pnn, id),
            State::Calling => {}
        }
    }

    /// Reads the copy here if it is the owner's, else asks (database semantics §2.1).
    fn read_record(&mut self, pnn: Pnn, id: u64) {
        let Some(process) = self.process(pnn) else { return };
        let Some(client) = process.work.clients.get(&id) else { return };
        let key = client.key;
        let found = process.work.files.get(key);
        let own = found.filter(|(header, _)| header.dmaster == pnn);
        let Some(version) = own.map(|(_, body)| version_of(body)) else {
            return self.call(pnn, id, Function::Fetch);
        };
        self.judge_read(key, version);
        self.think(pnn, id);
    }

    /// Locks the chain and looks whether the record is here (database semantics §2.1).
    fn want_lock(&mut self, pnn: Pnn, id: u64) {
        let Some(process) = self.process(pnn) else { return };
        let Some(client) = process.work.clients.get_mut(&id) else { return };
        let chain = Files::chain_of(client.key);
        if !process.work.files.is_free(chain) {
            let wait_us = self.random.between(2, 40);
            return self.later(wait_us, pnn, Happening::Client { id });
        }
        let found = process.work.files.get(client.key);
        let version = found.map(|(_, body)| version_of(body));
        let owned = found.is_some_and(|(header, _)| header.dmaster == pnn);
        let key = client.key;
        if !owned {
            // Whoever finds the record elsewhere lets go at once, and asks.
            return self.call(pnn, id, Function::Null);
        }
        client.state = State::Locked;
        process.work.files.lock(chain, Holder::Client(id));
        self.judge_read(key, version.unwrap_or(0));
        // Some work long under the lock, a few very long.
        let work_us = match self.random.between(0, 2_000) {
            0 if !self.clients_behave => self.random.between(100_000, 2_000_000),
            0..40 => self.random.between(1_000, 60_000),
            _ => self.random.between(2, 100),
        };
        self.later(work_us, pnn, Happening::Client { id });
    }

    fn change_record(&mut self, pnn: Pnn, id: u64) {
        let dies = !self.clients_behave && self.random.chance(1);
        if dies && self.random.chance(50) {
            return self.kill_client(pnn, id);
        }
        let Some(process) = self.hosts.get_mut(&pnn).and_then(|host| host.process.as_mut()) else {
            return;
        };
        let life = (pnn, process.machine.incarnation());
        let Some(client) = process.work.clients.get(&id) else { return };
        let (key, empty) = (client.key, client.job == Job::Delete);
        let version = self.history.write(key, life, empty);
        let body = if empty { Vec::new() } else { version.to_le_bytes().to_vec() };
        process.work.files.set_body(key, &body);
        if empty {
            // Clients say so while they still hold the lock.
            let bytes = key.to_le_bytes();
            let lane = self.lane_of(pnn, key);
            let input = record::Input::ScheduleDeletion { db: DB, key: key_of(&bytes) };
            self.step_shard(pnn, lane, input);
        }
        if dies {
            return self.kill_client(pnn, id);
        }
        let chain = Files::chain_of(key);
        if let Some(process) = self.process(pnn) {
            process.work.files.unlock(chain, Holder::Client(id));
        }
        self.chain_let_go(pnn, chain);
        self.think(pnn, id);
    }

    fn think(&mut self, pnn: Pnn, id: u64) {
        let now_us = self.now.0;
        let think_us = self.random.between(1, 3_000);
        let Some(process) = self.process(pnn) else { return };
        let Some(client) = process.work.clients.get_mut(&id) else { return };
        client.state = State::Thinking;
        client.since_us = now_us;
        self.later(think_us, pnn, Happening::Client { id });
    }

    fn call(&mut self, pnn: Pnn, id: u64, function: Function) {
        let Some(process) = self.hosts.get_mut(&pnn).and_then(|host| host.process.as_mut()) else {
            return;
        };
        let Some(client) = process.work.clients.get_mut(&id) else { return };
        client.state = State::Calling;
        client.request += 1;
        client.mark = self.history.mark(client.key);
        let caller = Caller { session: id, request: client.request };
        let key = client.key;
        self.call_shard(pnn, caller, function, key);
    }

    pub(crate) fn replied(&mut self, pnn: Pnn, caller: Caller, answer: Answer) {
        let Some(process) = self.process(pnn) else { return };
        let Some(client) = process.work.clients.get_mut(&caller.session) else {
            let text = format!("node {pnn} answers {caller:?}");
            return self.expect("nobody is answered who has gone or was fenced", Err(text));
        };
        if client.state != State::Calling || client.request != caller.request {
            let text = format!("node {pnn} answers {caller:?} of {client:?}");
            return self.expect("each call is answered once", Err(text));
        }
        let (key, mark, reads) = (client.key, client.mark, client.job == Job::Read);
        client.state = State::Wanting;
        let owned = process.work.files.get(key).is_some_and(|(header, _)| header.dmaster == pnn);
        if !reads {
            self.expect(rules::VISIBLE, rules::visible(pnn, key, owned));
            let wake_us = self.random.between(5, 120);
            return self.later(wake_us, pnn, Happening::Client { id: caller.session });
        }
        if answer.header.rsn.0 == 0 {
            self.judge_absent(key, mark);
        } else {
            self.judge_read(key, version_of(&answer.body));
        }
        self.think(pnn, caller.session);
    }

    /// "No such record" may be older than the newest record, but not older than the question.
    fn judge_absent(&mut self, key: u32, mark: u64) {
        if self.scenario.quorum != Quorum::None {
            let outcome = self.history.read_absent(key, mark);
            self.expect(rules::ABSENT, outcome);
        }
    }

    fn judge_read(&mut self, key: u32, version: u64) {
        // Without quorum, each side writes its own history.
        if self.scenario.quorum != Quorum::None {
            let outcome = self.history.read(key, version);
            self.expect(rules::KEPT, outcome);
        }
    }
}

/// The version in a body; an empty one is version 0.
fn version_of(body: &[u8]) -> u64 {
    body.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
