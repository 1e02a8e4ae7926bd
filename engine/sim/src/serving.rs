//! Shards and clients at work.

use crate::cluster::SimCluster;
use crate::events::{Event, Happening, ShardMail};
use crate::invariants::records as rules;
use crate::network::{Packet, Payload};
use crate::records::{DB, Files, Holder, Job, Outgoing, Smbd, State, Work, key_of};
use bateria_core::cluster::{Input, Micros, Prospect};
use bateria_core::record::{self, Caller, Function};
use bateria_wire::Pnn;
use bateria_wire::head::Head;

impl SimCluster {
    /// The node is in force: clients may come.
    pub(crate) fn let_clients_in(&mut self, pnn: Pnn) {
        let wanted = self.scenario.clients_per_node as usize;
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

    pub(crate) fn record_frame(&mut self, pnn: Pnn, packet: Packet) {
        let Packet { from, payload, .. } = packet;
        let Payload::Record { generation, head, key, body, .. } = payload else { return };
        match head {
            Head::Record(head) => {
                let Some(number) = key.first_chunk::<4>() else { return };
                let lane = self.lane_of(pnn, u32::from_le_bytes(*number));
                let (key, op) = (key_of(number), head.op);
                let input =
                    record::Input::Record { from, generation, db: DB, key, op, body: &body };
                self.step_shard(pnn, lane, input);
            }
            Head::Report(head) => self.each_shard(pnn, |_| record::Input::Report {
                from,
                generation,
                db: DB,
                op: head.op,
                bulk: &key,
            }),
            _ => {}
        }
    }

    pub(crate) fn shard_mail(&mut self, pnn: Pnn, lane: u32, mail: ShardMail) {
        match mail {
            ShardMail::Quiesce(prospect) => {
                let generation = prospect.generation;
                let current = self.process(pnn).is_some_and(|p| p.work.prepares(generation));
                if current {
                    self.step_shard(pnn, lane, record::Input::Quiesce { generation });
                    self.await_lanes(pnn, lane, prospect);
                }
            }
            ShardMail::AwaitLanes(prospect) => self.await_lanes(pnn, lane, prospect),
            ShardMail::Rebuild(order) => {
                let generation = order.prospect.generation;
                let shard =
                    self.process(pnn).map(|p| p.work.shards[lane as usize].records.generation());
                if shard == Some(generation) {
                    let (map, members) = (order.prospect.vnn_map(), order.prospect.members);
                    let wipe = order.wipe_own;
                    self.step_shard(pnn, lane, record::Input::Rebuild { map, members, wipe });
                }
            }
        }
    }

    pub(crate) fn shard_alarm(&mut self, pnn: Pnn, lane: u32, serial: u64) {
        let current = |work: &Work| work.shards[lane as usize].alarm_serial == serial;
        if self.process(pnn).is_some_and(|process| current(&process.work)) {
            self.step_shard(pnn, lane, record::Input::Tick);
        }
    }

    pub(crate) fn chain_free(&mut self, pnn: Pnn, lane: u32, chain: u32) {
        let Some(process) = self.process(pnn) else { return };
        let free = process.work.files.is_free(chain);
        if free && process.work.shards[lane as usize].waits.remove(&chain) {
            self.step_shard(pnn, lane, record::Input::ChainFree { db: DB, chain });
        }
    }

    pub(crate) fn client_goes_on(&mut self, pnn: Pnn, id: u64) {
        let now_us = self.now.0;
        let rests = self.clients_rest;
        let keys_count = self.scenario.keys_count;
        let (job, key) = Work::next_job(&mut self.random, keys_count);
        let Some(process) = self.process(pnn) else { return };
        let Some(client) = process.work.clients.get_mut(&id) else { return };
        match client.state {
            State::Thinking if rests => self.later(10_000, pnn, Happening::Client { id }),
            State::Thinking => {
                (client.job, client.key, client.since_us) = (job, key, now_us);
                if client.job == Job::Read {
                    return self.call(pnn, id, Function::Fetch);
                }
                client.state = State::Wanting;
                self.want_lock(pnn, id);
            }
            State::Wanting => self.want_lock(pnn, id),
            State::Locked => self.change_record(pnn, id),
            State::Calling => {}
        }
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
        // Some work long under the lock.
        let work_us = if self.random.chance(2) {
            self.random.between(1_000, 60_000)
        } else {
            self.random.between(2, 100)
        };
        self.later(work_us, pnn, Happening::Client { id });
    }

    fn change_record(&mut self, pnn: Pnn, id: u64) {
        let now_us = self.now.0;
        let Some(process) = self.hosts.get_mut(&pnn).and_then(|host| host.process.as_mut()) else {
            return;
        };
        let life = (pnn, process.machine.incarnation());
        let Some(client) = process.work.clients.get_mut(&id) else { return };
        let (key, chain, empty) =
            (client.key, Files::chain_of(client.key), client.job == Job::Delete);
        client.state = State::Thinking;
        client.since_us = now_us;
        let version = self.history.write(key, life, empty);
        let body = if empty { Vec::new() } else { version.to_le_bytes().to_vec() };
        process.work.files.set_body(key, &body);
        process.work.files.unlock(chain, Holder::Client(id));
        self.chain_let_go(pnn, chain);
        if empty {
            let bytes = key.to_le_bytes();
            let lane = self.lane_of(pnn, key);
            let input = record::Input::ScheduleDeletion { db: DB, key: key_of(&bytes) };
            self.step_shard(pnn, lane, input);
        }
        let think_us = self.random.between(1, 3_000);
        self.later(think_us, pnn, Happening::Client { id });
    }

    fn call(&mut self, pnn: Pnn, id: u64, function: Function) {
        let Some(process) = self.process(pnn) else { return };
        let Some(client) = process.work.clients.get_mut(&id) else { return };
        client.state = State::Calling;
        client.request += 1;
        let caller = Caller { session: id, request: client.request };
        let key = client.key;
        let lane = process.work.lane_of(key);
        let bytes = key.to_le_bytes();
        let input = record::Input::Call { db: DB, caller, function, key: key_of(&bytes) };
        self.step_shard(pnn, lane, input);
    }

    /// Runs one step of a shard's machine and does what it asks for.
    fn step_shard(&mut self, pnn: Pnn, lane: u32, input: record::Input<'_>) {
        let Some(host) = self.hosts.get_mut(&pnn) else { return };
        let Some(process) = &mut host.process else { return };
        let Micros(now_us) = host.clock.local(self.now);
        let work = &mut process.work;
        let shard = &mut work.shards[lane as usize];
        let outgoing = shard.step(now_us, input, &mut work.files);
        let generation = shard.records.generation();
        self.steps_count += 1;
        let stored = work.files.take_stored();
        let rebuilt = outgoing.rebuilt;
        self.send_records(pnn, lane, generation, outgoing);
        self.set_shard_alarm(pnn, lane);
        for key in stored {
            let outcome = rules::one_owner(self, key);
            self.expect(rules::ONE_OWNER, outcome);
        }
        if let Some(generation) = rebuilt {
            self.shard_rebuilt(pnn, lane, generation);
        }
    }

    fn send_records(
        &mut self,
        pnn: Pnn,
        lane: u32,
        generation: bateria_wire::Generation,
        outgoing: Outgoing,
    ) {
        for (to, head, key, body) in outgoing.frames {
            let payload = Payload::Record { lane, generation, head, key, body };
            match self.network.send(self.now, pnn, to, payload) {
                Some((at, packet)) => self.at(at, Event::Packet(packet)),
                // A frame that cannot even be sent is lost like any other.
                None => self.later(1, pnn, Happening::Input(Input::LanesReset { peer: to })),
            }
        }
        for (caller, answer) in outgoing.replies {
            self.replied(pnn, caller, answer);
        }
        for caller in outgoing.refused {
            let text = format!("node {pnn} refused {caller:?}");
            self.expect("no call is refused while files are sound", Err(text));
        }
        for reason in outgoing.reasons {
            self.trace.note(self.now, format_args!("{pnn}    {reason}"));
            let input = Input::RecoveryRequested { reason: "a record machine asks" };
            self.later(1, pnn, Happening::Input(input));
        }
        if let Some(fault) = outgoing.failed {
            self.expect("a sound file does not fail", Err(format!("node {pnn}: {fault:?}")));
        }
    }

    fn replied(&mut self, pnn: Pnn, caller: Caller, answer: crate::records::Answer) {
        let Some(process) = self.process(pnn) else { return };
        let Some(client) = process.work.clients.get_mut(&caller.session) else { return };
        if client.state != State::Calling || client.request != caller.request {
            let text = format!("node {pnn} answers {caller:?} of {client:?}");
            return self.expect("each call is answered once", Err(text));
        }
        let (key, reads) = (client.key, client.job == Job::Read);
        client.state = if reads { State::Thinking } else { State::Wanting };
        let owned = process.work.files.get(key).is_some_and(|(header, _)| header.dmaster == pnn);
        // "No such record" may be older than the newest record; anything else is not.
        let absent = answer.header.rsn.0 == 0;
        if !reads {
            self.expect(rules::VISIBLE, rules::visible(pnn, key, owned));
        }
        if !absent {
            self.judge_read(key, version_of(&answer.body));
        }
        let wake_us = self.random.between(5, 120);
        self.later(wake_us, pnn, Happening::Client { id: caller.session });
    }

    fn judge_read(&mut self, key: u32, version: u64) {
        // Without quorum, each side writes its own history.
        if self.scenario.quorum != bateria_core::cluster::Quorum::None {
            let outcome = self.history.read(key, version);
            self.expect("what a surviving node wrote is kept, what was deleted stays so", outcome);
        }
    }

    /// Tells the shard that waits for a chain, soon.
    fn chain_let_go(&mut self, pnn: Pnn, chain: u32) {
        let lane = chain % self.scenario.lanes_count;
        let wake_us = self.random.between(1, 60);
        self.later(wake_us, pnn, Happening::ChainFree { lane, chain });
    }

    /// A shard has prepared when frames of the new generation could be sent to every member.
    fn await_lanes(&mut self, pnn: Pnn, lane: u32, prospect: Prospect) {
        let reached = |member: &Pnn| *member == pnn || self.network.end(pnn, *member).is_some();
        if prospect.members.iter().all(reached) {
            self.shard_quiesced(pnn, lane, prospect.generation);
        } else if self.process(pnn).is_some_and(|p| p.work.prepares(prospect.generation)) {
            let mail = ShardMail::AwaitLanes(prospect);
            self.later(500, pnn, Happening::Shard { lane, mail });
        }
    }

    fn each_shard<'a>(&mut self, pnn: Pnn, input: impl Fn(u32) -> record::Input<'a>) {
        for lane in 0..self.scenario.lanes_count {
            self.step_shard(pnn, lane, input(lane));
        }
    }

    fn lane_of(&self, pnn: Pnn, key: u32) -> u32 {
        self.hosts[&pnn].process.as_ref().map_or(0, |process| process.work.lane_of(key))
    }

    fn set_shard_alarm(&mut self, pnn: Pnn, lane: u32) {
        let serial = self.next_serial();
        let now = self.now;
        let host = self.host(pnn);
        let Some(process) = &mut host.process else { return };
        let life = process.life;
        let shard = &mut process.work.shards[lane as usize];
        shard.alarm_serial = serial;
        if let Some(at_us) = shard.records.next_tick_us() {
            let at = host.clock.global(Micros(at_us)).max(now.after(5));
            let what = Happening::ShardAlarm { lane, serial };
            self.at(at, Event::Process { pnn, life, what });
        }
    }
}

/// The version in a body; an empty one is version 0.
fn version_of(body: &[u8]) -> u64 {
    body.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
