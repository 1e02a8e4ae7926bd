//! Shards at work.

use crate::cluster::SimCluster;
use crate::events::{Event, Happening, ShardMail};
use crate::invariants::records as rules;
use crate::network::{Packet, Payload};
use crate::records::{DB, Outgoing, Work, key_of};
use bateria_core::cluster::{Input, Micros, Prospect};
use bateria_core::record::{self, Caller, Function};
use bateria_wire::Pnn;
use bateria_wire::head::Head;

impl SimCluster {
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
            ShardMail::Attached => self.shard_attached(pnn, lane),
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

    fn shard_attached(&mut self, pnn: Pnn, lane: u32) {
        let Some(process) = self.process(pnn) else { return };
        let mut calls = process.work.shards[lane as usize].calls.take().unwrap_or_default();
        calls.retain(|(caller, ..)| process.work.clients.contains_key(&caller.session));
        self.step_shard(pnn, lane, record::Input::Attach { db: DB });
        for (caller, function, key) in calls {
            self.call_shard(pnn, caller, function, key);
        }
    }

    /// A client's call reaches the shard that serves its key.
    pub(crate) fn call_shard(&mut self, pnn: Pnn, caller: Caller, function: Function, key: u32) {
        let lane = self.lane_of(pnn, key);
        let Some(process) = self.process(pnn) else { return };
        if let Some(calls) = &mut process.work.shards[lane as usize].calls {
            // This shard has yet to hear of the database.
            calls.push((caller, function, key));
            return;
        }
        let bytes = key.to_le_bytes();
        let input = record::Input::Call { db: DB, caller, function, key: key_of(&bytes) };
        self.step_shard(pnn, lane, input);
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

    /// Runs one step of a shard's machine and does what it asks for.
    pub(crate) fn step_shard(&mut self, pnn: Pnn, lane: u32, input: record::Input<'_>) {
        let Some(host) = self.hosts.get_mut(&pnn) else { return };
        let Some(process) = &mut host.process else { return };
        let Micros(now_us) = host.clock.local(self.now);
        let work = &mut process.work;
        let shard = &mut work.shards[lane as usize];
        let outgoing = shard.step(now_us, input, &mut work.files);
        let generation = shard.records.generation();
        self.steps_count += 1;
        let stored = work.files.take_stored();
        let grows = work.files.rsns_grow();
        let queued = shard.records.queued_count();
        let rebuilt = outgoing.rebuilt;
        self.send_records(pnn, lane, generation, outgoing);
        self.set_shard_alarm(pnn, lane);
        self.expect(rules::GROWS, grows);
        let bounded = rules::queues_are_bounded(self, pnn, queued);
        self.expect(rules::BOUNDED, bounded);
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

    /// Tells the shard that waits for a chain, soon.
    pub(crate) fn chain_let_go(&mut self, pnn: Pnn, chain: u32) {
        let lane = chain % self.host(pnn).shards_count;
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

    pub(crate) fn each_shard<'a>(&mut self, pnn: Pnn, input: impl Fn(u32) -> record::Input<'a>) {
        for lane in 0..self.host(pnn).shards_count {
            self.step_shard(pnn, lane, input(lane));
        }
    }

    pub(crate) fn lane_of(&self, pnn: Pnn, key: u32) -> u32 {
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
