//! The simulated cluster: an event queue in virtual time, and the hands of each node's driver.

use crate::clock::Clock;
use crate::failure::Failure;
use crate::host::{Host, Process};
use crate::invariants::{self, Invariant};
use crate::lock_server::{Answer, LockServer};
use crate::network::{Arrival, LinkId, Network, Packet};
use crate::random::Random;
use crate::scenario::Scenario;
use crate::trace::Trace;
use crate::truth::{Step, Truth};
use bateria_core::cluster::{
    Cluster, Config, Effect, Input, LinkLoss, LockEvent, Micros, NodeConfig, RunState, Vote,
};
use bateria_wire::control::{ControlHead, DatabaseEntry};
use bateria_wire::{NodeFlags, Pnn};
use std::collections::BTreeMap;
use std::collections::VecDeque;

/// Nodes, network, lock and invariants of one run.
pub struct SimCluster {
    pub scenario: Scenario,
    pub now: Micros,
    pub hosts: BTreeMap<Pnn, Host>,
    pub network: Network,
    pub lock: LockServer,
    pub truth: Truth,
    pub trace: Trace,
    /// How long drivers take at most for what they are asked.
    pub driver_us_max: u64,
    /// Percent of rebuilds that fail.
    pub rebuild_failures: u64,
    /// How often clients of a node were disconnected.
    pub fences_count: u64,
    pub steps_count: u64,
    random: Random,
    queue: BTreeMap<(Micros, u64), Event>,
    serial: u64,
    rules: Vec<Box<dyn Invariant>>,
    failure: Option<Failure>,
}

#[derive(Debug)]
enum Event {
    Alarm {
        pnn: Pnn,
        life: u64,
        serial: u64,
    },
    Input {
        pnn: Pnn,
        life: u64,
        input: Input,
    },
    Packet(Packet),
    Dial {
        from: Pnn,
        life: u64,
        to: Pnn,
    },
    /// The connection request reaches its host.
    Knock {
        from: Pnn,
        life: u64,
        to: Pnn,
    },
    DialFailed {
        from: Pnn,
        life: u64,
        to: Pnn,
        how: LinkLoss,
    },
    /// The hello of a connection arrives.
    Open {
        owner: Pnn,
        life: u64,
        peer: Pnn,
        link: LinkId,
        incarnation: u64,
    },
    /// The other end is closed.
    Reset {
        owner: Pnn,
        peer: Pnn,
        link: LinkId,
    },
    VoteOnDisk {
        pnn: Pnn,
        life: u64,
        vote: Vote,
    },
}

impl SimCluster {
    /// Hosts with power and without processes.
    #[must_use]
    pub fn new(scenario: Scenario) -> Self {
        let mut random = Random::new(scenario.seed);
        let drift = i64::try_from(scenario.drift_ppm_max).expect("drift is small");
        let mut hosts = BTreeMap::new();
        for pnn in (0..scenario.nodes_count).map(Pnn) {
            let span = 2 * scenario.drift_ppm_max + 1;
            let drift_ppm = i64::try_from(random.draw() % span).expect("drift is small") - drift;
            let clock = Clock::new(random.between(1, 1 << 40), drift_ppm);
            hosts.insert(pnn, Host::new(pnn, clock));
        }
        Self {
            now: Micros(0),
            network: Network::new(Random::new(random.draw())),
            lock: LockServer::new(scenario.lock_expiry_us),
            truth: Truth::default(),
            trace: Trace::default(),
            driver_us_max: 5_000,
            rebuild_failures: 0,
            fences_count: 0,
            steps_count: 0,
            queue: BTreeMap::new(),
            serial: 0,
            rules: invariants::of(scenario.quorum),
            failure: None,
            random,
            hosts,
            scenario,
        }
    }

    #[must_use]
    pub fn pnns(&self) -> Vec<Pnn> {
        self.hosts.keys().copied().collect()
    }

    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// Starts the daemon, unless it runs.
    pub fn start(&mut self, pnn: Pnn) {
        let host = self.hosts.get_mut(&pnn).expect("a configured node");
        if host.process.is_some() || !host.powered {
            return;
        }
        host.lives += 1;
        host.flags = NodeFlags::UNHEALTHY;
        let life = host.lives;
        let config = Config {
            pnn,
            nodes: (0..self.scenario.nodes_count)
                .map(|pnn| NodeConfig { pnn: Pnn(pnn), deleted: false })
                .collect(),
            quorum: self.scenario.quorum,
            settings_crc32c: 7,
            incarnation: (u64::from(pnn.0) << 40) | (life << 20),
            flags: host.flags,
            capabilities: host.capabilities,
            vote: host.vote,
            timing: self.scenario.timing,
            seed: self.random.draw(),
        };
        let incarnation = config.incarnation;
        let machine = Cluster::new(config, host.clock.local(self.now));
        let inbox = VecDeque::new();
        host.process = Some(Process { machine, life, stopped: false, inbox, alarm_serial: 0 });
        self.truth.started(pnn, incarnation);
        self.trace.note(self.now, format_args!("{pnn} starts"));
        self.input(pnn, Input::Started(RunState::Setup));
        let ready_us = self.random.between(100, self.driver_us_max + 101);
        self.later(ready_us, pnn, Input::Started(RunState::FirstRecovery));
        for peer in self.pnns().into_iter().filter(|peer| *peer != pnn) {
            self.dial_later(pnn, peer, 0, 2_000);
        }
    }

    /// `kill -9`: the kernel closes its connections.
    pub fn kill(&mut self, pnn: Pnn) {
        self.end_process(pnn, true);
        self.trace.note(self.now, format_args!("{pnn} is killed"));
    }

    /// The host is gone without a word.
    pub fn cut_power(&mut self, pnn: Pnn) {
        self.end_process(pnn, false);
        self.hosts.get_mut(&pnn).expect("a configured node").powered = false;
        self.trace.note(self.now, format_args!("{pnn} loses power"));
    }

    pub fn give_power(&mut self, pnn: Pnn) {
        self.hosts.get_mut(&pnn).expect("a configured node").powered = true;
        self.start(pnn);
    }

    /// SIGSTOP.
    pub fn stop(&mut self, pnn: Pnn) {
        if let Some(process) = &mut self.host(pnn).process {
            process.stopped = true;
            self.truth.stopped(pnn, true);
            self.trace.note(self.now, format_args!("{pnn} is stopped"));
        }
    }

    /// SIGCONT: what piled up is read in its order.
    pub fn resume(&mut self, pnn: Pnn) {
        let Some(process) = &mut self.host(pnn).process else { return };
        if !std::mem::take(&mut process.stopped) {
            return;
        }
        let inbox = std::mem::take(&mut process.inbox);
        self.trace.note(self.now, format_args!("{pnn} resumes with {} inputs", inbox.len()));
        // The daemon's loop looks at its own right first, whatever woke it.
        let first = inbox.front().cloned().unwrap_or(Input::Tick);
        self.truth.stopped(pnn, false);
        self.input(pnn, first);
        for input in inbox.into_iter().skip(1) {
            self.input(pnn, input);
        }
    }

    pub fn cut(&mut self, left: Pnn, right: Pnn) {
        self.network.cut(left, right);
        self.network.cut(right, left);
        self.trace.note(self.now, format_args!("{left} and {right} are cut"));
    }

    /// Frames from `from` do not reach `to`; the other direction works.
    pub fn cut_one_way(&mut self, from: Pnn, to: Pnn) {
        self.network.cut(from, to);
        self.trace.note(self.now, format_args!("{from} does not reach {to}"));
    }

    pub fn heal(&mut self) {
        self.heal_where(|_, _| true);
    }

    pub fn heal_where(&mut self, mended: impl Fn(Pnn, Pnn) -> bool) {
        let packets = self.network.heal(self.now, mended);
        self.trace.note(self.now, format_args!("network mended, {} late frames", packets.len()));
        for (at, packet) in packets {
            self.at(at, Event::Packet(packet));
        }
    }

    /// Both ends of a link are reset; a router has restarted.
    pub fn reset_link(&mut self, left: Pnn, right: Pnn) {
        self.trace.note(self.now, format_args!("link {left}-{right} is reset"));
        for (owner, peer) in [(left, right), (right, left)] {
            if let Some(link) = self.network.end(owner, peer) {
                let delay_us = self.network.latency();
                self.at(self.now.after(delay_us), Event::Reset { owner, peer, link });
            }
        }
    }

    /// One end forgets the link and tells nobody.
    pub fn lose_end(&mut self, owner: Pnn, peer: Pnn) {
        self.trace.note(self.now, format_args!("{owner} loses its end to {peer}"));
        if self.network.close_end(owner, peer).is_some() {
            self.input(owner, Input::LinkDown { peer, how: LinkLoss::Reset });
            self.dial_later(owner, peer, 1_000, 50_000);
        }
    }

    pub fn revoke_lock(&mut self) {
        let Some((pnn, life)) = self.lock.revoke() else { return };
        self.trace.note(self.now, format_args!("{pnn} loses the lock"));
        if self.hosts[&pnn].life() == Some(life) {
            self.input(pnn, Input::Lock(LockEvent::Lost));
        }
    }

    /// Tells the machine something now; a stopped one hears it when it resumes.
    pub fn input(&mut self, pnn: Pnn, input: Input) {
        if self.failure.is_some() {
            return;
        }
        let now = self.now;
        let Some(host) = self.hosts.get_mut(&pnn) else { return };
        let Some(process) = &mut host.process else { return };
        if process.stopped {
            process.inbox.push_back(input);
            return;
        }
        if let Input::SetFlags { set, clear } = &input {
            host.flags = (host.flags - *clear) | *set;
        }
        if let Input::SetCapabilities(capabilities) = &input {
            host.capabilities = *capabilities;
        }
        self.truth.told(pnn, &input);
        let knew: BTreeMap<Pnn, u64> =
            process.machine.view().nodes.iter().map(|n| (n.pnn, n.incarnation)).collect();
        let mut effects = Vec::new();
        if is_news(&input) {
            self.trace.note(now, format_args!("{pnn} <- {input:?}"));
        }
        process.machine.step(host.clock.local(now), input, &mut effects);
        self.steps_count += 1;
        let life = process.life;
        for effect in &effects {
            self.truth.asked(pnn, effect);
        }
        self.truth.nodes.entry(pnn).or_default().incarnation = process.machine.incarnation();
        self.set_alarm(pnn);
        self.judge(&Step { pnn, effects: &effects, knew: &knew });
        for effect in effects {
            self.obey(pnn, life, effect);
        }
    }

    /// Lets virtual time pass.
    ///
    /// # Errors
    /// An invariant was broken.
    pub fn run_for(&mut self, duration_us: u64) -> Result<(), Failure> {
        let end = self.now.after(duration_us);
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > end || self.failure.is_some() {
                break;
            }
            self.now = self.now.max(entry.key().0);
            let event = entry.remove();
            self.happen(event);
        }
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        self.now = end;
        Ok(())
    }

    #[must_use]
    pub fn fail(&self, rule: &'static str, text: String) -> Failure {
        Failure {
            seed: self.scenario.seed,
            scenario: self.scenario.to_string(),
            at_us: self.now.0,
            rule,
            text,
            trace: self.trace.newest(),
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Alarm { pnn, life, serial } => {
                let process = self.hosts[&pnn].process.as_ref();
                if process.is_some_and(|p| p.life == life && p.alarm_serial == serial) {
                    self.input(pnn, Input::Tick);
                }
            }
            Event::Input { pnn, life, input } => {
                if self.hosts[&pnn].life() == Some(life) {
                    self.input(pnn, input);
                }
            }
            Event::Packet(packet) => self.arrive(packet),
            Event::Dial { from, life, to } => self.dial(from, life, to),
            Event::Knock { from, life, to } => self.knock(from, life, to),
            Event::DialFailed { from, life, to, how } => self.dial_failed(from, life, to, how),
            Event::Open { owner, life, peer, link, incarnation } => {
                self.open(owner, life, peer, link, incarnation);
            }
            Event::Reset { owner, peer, link } => {
                if self.network.end(owner, peer) == Some(link) {
                    self.network.close_end(owner, peer);
                    self.input(owner, Input::LinkDown { peer, how: LinkLoss::Reset });
                    // The daemon connects again at once.
                    self.dial_later(owner, peer, 200, 5_000);
                }
            }
            Event::VoteOnDisk { pnn, life, vote } => {
                // What a dead process had not synced is lost.
                if self.hosts[&pnn].life() == Some(life) {
                    self.host(pnn).vote = Some(vote);
                    let Vote { term, voted_for } = vote;
                    self.input(pnn, Input::VotePersisted { term, voted_for });
                }
            }
        }
    }

    fn arrive(&mut self, packet: Packet) {
        if !self.hosts[&packet.to].powered {
            return;
        }
        match self.network.arrive(packet) {
            Arrival::Read(packet) => {
                self.input(packet.to, Input::Frame { from: packet.from, head: packet.head });
            }
            Arrival::Held => {}
            Arrival::Nobody(packet) => {
                if !self.network.is_cut(packet.to, packet.from) {
                    let at = self.now.after(self.network.latency());
                    let Packet { from, to, link, .. } = packet;
                    self.at(at, Event::Reset { owner: from, peer: to, link });
                }
            }
        }
    }

    fn dial(&mut self, from: Pnn, life: u64, to: Pnn) {
        let dials = self.hosts[&from].life() == Some(life);
        if !dials || self.network.end(from, to).is_some() {
            return;
        }
        if self.hosts[&from].is_stopped() {
            return self.dial_later(from, to, 10_000, 20_000);
        }
        let at = self.now.after(self.network.latency());
        self.at(at, Event::Knock { from, life, to });
    }

    fn knock(&mut self, from: Pnn, life: u64, to: Pnn) {
        let target = &self.hosts[&to];
        let cut = self.network.is_cut(from, to) || self.network.is_cut(to, from);
        if cut || !target.powered || target.is_stopped() {
            let how = LinkLoss::TimedOut;
            let at = self.now.after(300_000);
            return self.at(at, Event::DialFailed { from, life, to, how });
        }
        let at = self.now.after(self.network.latency());
        let Some(process) = &self.hosts[&to].process else {
            let how = LinkLoss::Refused;
            return self.at(at, Event::DialFailed { from, life, to, how });
        };
        let (their_life, theirs) = (process.life, process.machine.incarnation());
        let link = self.network.new_link();
        let (owner, peer) = (from, to);
        self.at(at, Event::Open { owner, life, peer, link, incarnation: theirs });
        if self.hosts[&from].life() == Some(life) {
            let ours = self.hosts[&from].machine().map_or(0, Cluster::incarnation);
            self.open(to, their_life, from, link, ours);
        }
    }

    fn dial_failed(&mut self, from: Pnn, life: u64, to: Pnn, how: LinkLoss) {
        let dials = self.hosts[&from].life() == Some(life);
        if dials && self.network.end(from, to).is_none() {
            self.input(from, Input::LinkDown { peer: to, how });
            self.dial_later(from, to, 20_000, 100_000);
        }
    }

    fn open(&mut self, owner: Pnn, life: u64, peer: Pnn, link: LinkId, incarnation: u64) {
        if self.hosts[&owner].life() != Some(life) {
            return;
        }
        let dialled_twice = self.network.end(owner, peer).is_some_and(|known| known > link);
        if dialled_twice {
            return;
        }
        if let Some(former) = self.network.close_end(owner, peer) {
            self.tell_reset(peer, owner, former);
        }
        self.network.open_end(owner, peer, link);
        self.input(owner, Input::LinkUp { peer, incarnation });
    }

    fn tell_reset(&mut self, owner: Pnn, peer: Pnn, link: LinkId) {
        if !self.network.is_cut(peer, owner) {
            let at = self.now.after(self.network.latency());
            self.at(at, Event::Reset { owner, peer, link });
        }
    }

    fn end_process(&mut self, pnn: Pnn, tells: bool) {
        let Some(process) = self.host(pnn).process.take() else { return };
        self.truth.ended(pnn);
        self.lock.ended(self.now, pnn, process.life);
        for peer in self.network.ends_of(pnn) {
            let link = self.network.close_end(pnn, peer);
            if let Some(link) = link.filter(|_| tells) {
                self.tell_reset(peer, pnn, link);
            }
        }
    }

    fn obey(&mut self, pnn: Pnn, life: u64, effect: Effect) {
        let delay_us = self.random.between(20, self.driver_us_max + 21);
        match effect {
            Effect::Send { to, head } => {
                if let Some((at, packet)) = self.network.send(self.now, pnn, to, head) {
                    self.at(at, Event::Packet(packet));
                }
            }
            Effect::DropLink { peer } => {
                if let Some(link) = self.network.close_end(pnn, peer) {
                    self.tell_reset(peer, pnn, link);
                }
                self.dial_later(pnn, peer, 1_000, 20_000);
            }
            Effect::TakeLock => {
                let event = match self.lock.take(self.now, pnn, life) {
                    Answer::Taken => LockEvent::Taken,
                    Answer::Contended => LockEvent::Contended,
                    Answer::Error => LockEvent::Error,
                };
                self.later(delay_us, pnn, Input::Lock(event));
            }
            Effect::ReleaseLock => self.lock.release(pnn, life),
            Effect::PersistVote { term, voted_for } => {
                let vote = Vote { term, voted_for };
                let host = self.hosts.get_mut(&pnn).expect("a configured node");
                let at = host.disk_idle_at.max(self.now).after(delay_us);
                host.disk_idle_at = at;
                self.at(at, Event::VoteOnDisk { pnn, life, vote });
            }
            Effect::Quiesce(prospect) => {
                let generation = prospect.generation;
                let databases = vec![locking_tdb()];
                self.later(delay_us, pnn, Input::Quiesced { generation, databases });
            }
            Effect::Rebuild(order) => {
                let generation = order.prospect.generation;
                let fails = self.random.chance(self.rebuild_failures);
                let input = if fails {
                    Input::RebuildFailed { generation }
                } else {
                    Input::Rebuilt { generation }
                };
                self.later(delay_us * 3, pnn, input);
            }
            Effect::Fence { .. } => {
                self.fences_count += 1;
                self.later(delay_us, pnn, Input::Fenced);
            }
            Effect::Log(fact) => self.trace.note(self.now, format_args!("{pnn}    {fact}")),
            Effect::Left => self.kill(pnn),
            Effect::Commit(_) | Effect::Harmless { .. } | Effect::ViewChanged => {}
        }
    }

    fn judge(&mut self, step: &Step<'_>) {
        for rule in &mut self.rules {
            if let Err(text) = rule.check(&self.truth, step) {
                let rule = rule.rule();
                self.failure = Some(self.fail(rule, text));
                return;
            }
        }
    }

    fn set_alarm(&mut self, pnn: Pnn) {
        self.serial += 1;
        let serial = self.serial;
        let now = self.now;
        let host = self.host(pnn);
        let Some(process) = &mut host.process else { return };
        process.alarm_serial = serial;
        let life = process.life;
        let at = host.clock.global(process.machine.wake_at()).max(now.after(1));
        self.at(at, Event::Alarm { pnn, life, serial });
    }

    fn later(&mut self, delay_us: u64, pnn: Pnn, input: Input) {
        if let Some(life) = self.hosts[&pnn].life() {
            self.at(self.now.after(delay_us), Event::Input { pnn, life, input });
        }
    }

    fn dial_later(&mut self, from: Pnn, to: Pnn, low_us: u64, high_us: u64) {
        let Some(life) = self.hosts[&from].life() else { return };
        // The higher PNN waits a little, so that both seldom dial at once.
        let wait_us = self.random.between(low_us, high_us) + if from > to { 3_000 } else { 0 };
        self.at(self.now.after(wait_us), Event::Dial { from, life, to });
    }

    fn at(&mut self, at: Micros, event: Event) {
        self.serial += 1;
        self.queue.insert((at, self.serial), event);
    }

    fn host(&mut self, pnn: Pnn) -> &mut Host {
        self.hosts.get_mut(&pnn).expect("a configured node")
    }
}

/// Whether a reader of the trace wants to see it; heartbeats would bury the rest.
fn is_news(input: &Input) -> bool {
    let routine =
        |head: &ControlHead| matches!(head, ControlHead::Heartbeat(_) | ControlHead::Echo(_));
    match input {
        Input::Tick => false,
        Input::Frame { head, .. } => !routine(head),
        _ => true,
    }
}

fn locking_tdb() -> DatabaseEntry {
    DatabaseEntry { id: 0x7a19_d84d, flags: 0, name: b"locking.tdb".to_vec() }
}
