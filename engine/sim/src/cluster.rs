//! The simulated cluster: hosts, and an event queue in virtual time.
//!
//! What administrators and nature do to it is here; `dialing` connects nodes, `driver` does what
//! cluster machines ask for, `serving` runs shards and clients.

use crate::clock::Clock;
use crate::events::{Event, Happening};
use crate::failure::Failure;
use crate::host::{Host, Process};
use crate::invariants::{self, Invariant};
use crate::lock_server::LockServer;
use crate::network::Network;
use crate::random::Random;
use crate::records::{History, Work};
use crate::scenario::Scenario;
use crate::trace::Trace;
use crate::truth::{Step, Truth};
use bateria_core::cluster::{
    Cluster, Config, Input, LinkLoss, LockEvent, Micros, NodeConfig, RunState, Vote,
};
use bateria_wire::control::ControlHead;
use bateria_wire::{NodeFlags, Pnn};
use std::collections::{BTreeMap, VecDeque};

/// Nodes, network, lock and invariants of one run.
pub struct SimCluster {
    pub scenario: Scenario,
    pub now: Micros,
    pub hosts: BTreeMap<Pnn, Host>,
    pub network: Network,
    pub lock: LockServer,
    pub truth: Truth,
    pub history: History,
    pub trace: Trace,
    /// How long drivers take at most for what they are asked.
    pub driver_us_max: u64,
    /// Percent of rebuilds that fail.
    pub rebuild_failures: u64,
    /// How often clients of a node were disconnected.
    pub fences_count: u64,
    pub steps_count: u64,
    /// Clients start no new jobs.
    pub clients_rest: bool,
    /// Clients neither die nor sit on a chain.
    pub clients_behave: bool,
    pub(crate) random: Random,
    pub(crate) clients_count: u64,
    /// Boxed: a tree moves its values about.
    queue: BTreeMap<(Micros, u64), Box<Event>>,
    serial: u64,
    rules: Vec<Box<dyn Invariant>>,
    failure: Option<Failure>,
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
            let shards = u64::from(scenario.shards_count_max);
            let shards_count =
                u32::try_from(random.between(1, shards + 1)).expect("shards are few");
            hosts.insert(pnn, Host::new(pnn, clock, shards_count));
        }
        Self {
            now: Micros(0),
            network: Network::new(Random::new(random.draw())),
            lock: LockServer::new(scenario.lock_expiry_us),
            truth: Truth::default(),
            history: History::default(),
            trace: Trace::default(),
            driver_us_max: 5_000,
            rebuild_failures: 0,
            fences_count: 0,
            steps_count: 0,
            clients_rest: false,
            clients_behave: scenario.faults_us == 0,
            clients_count: 0,
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
        host.process = Some(Process {
            machine: Cluster::new(config, host.clock.local(self.now)),
            life,
            stopped: false,
            parked: VecDeque::new(),
            work: Work::new(pnn, host.shards_count, self.scenario.deletion_delay_us),
            alarm_serial: 0,
        });
        self.truth.started(pnn, incarnation);
        self.trace.note(self.now, format_args!("{pnn} starts"));
        self.input(pnn, Input::Started(RunState::Setup));
        let ready_us = self.random.between(100, self.driver_us_max + 101);
        self.later(ready_us, pnn, Happening::Input(Input::Started(RunState::FirstRecovery)));
        for peer in self.pnns().into_iter().filter(|peer| *peer != pnn) {
            self.dial_later(pnn, peer, 0, 2_000);
        }
    }

    /// `kill -9`: the kernel closes its connections.
    pub fn kill(&mut self, pnn: Pnn) {
        self.trace.note(self.now, format_args!("{pnn} is killed"));
        self.end_process(pnn, true);
    }

    /// The host is gone without a word.
    pub fn cut_power(&mut self, pnn: Pnn) {
        self.trace.note(self.now, format_args!("{pnn} loses power"));
        self.end_process(pnn, false);
        self.hosts.get_mut(&pnn).expect("a configured node").powered = false;
    }

    pub fn give_power(&mut self, pnn: Pnn) {
        self.hosts.get_mut(&pnn).expect("a configured node").powered = true;
        self.start(pnn);
    }

    /// The whole host stands still, as a virtual machine that is suspended.
    pub fn stop(&mut self, pnn: Pnn) {
        if let Some(process) = &mut self.host(pnn).process {
            process.stopped = true;
            self.truth.stopped(pnn, true);
            self.trace.note(self.now, format_args!("{pnn} is stopped"));
        }
    }

    /// It goes on: what piled up happens in its order.
    pub fn resume(&mut self, pnn: Pnn) {
        let Some(process) = &mut self.host(pnn).process else { return };
        if !std::mem::take(&mut process.stopped) {
            return;
        }
        let parked = std::mem::take(&mut process.parked);
        self.trace.note(self.now, format_args!("{pnn} resumes, {} events waited", parked.len()));
        self.truth.stopped(pnn, false);
        // The daemon looks at its own right first, whatever woke it.
        self.input(pnn, Input::Tick);
        for event in parked {
            self.happen(event);
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
        let packets = self.network.heal(self.now, |_, _| true);
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

    /// Record frames from one node to another are lost; their sender notices.
    pub fn lose_lanes(&mut self, from: Pnn, to: Pnn) {
        self.trace.note(self.now, format_args!("lanes from {from} to {to} are lost"));
        self.network.lose_lanes(from, to);
        let delay_us = self.network.latency();
        self.later(delay_us, from, Happening::Input(Input::LanesReset { peer: to }));
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
        let life = process.life;
        if process.stopped {
            let what = Happening::Input(input);
            process.parked.push_back(Event::Process { pnn, life, what });
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
        if is_news(&input) {
            self.trace.note(now, format_args!("{pnn} <- {input:?}"));
        }
        let mut effects = Vec::new();
        process.machine.step(host.clock.local(now), input, &mut effects);
        self.steps_count += 1;
        for effect in &effects {
            self.truth.asked(pnn, effect);
        }
        let incarnation = process.machine.incarnation();
        self.truth.nodes.entry(pnn).or_default().incarnation = incarnation;
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
            let event = *entry.remove();
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

    /// Ends the run unless the rule holds.
    pub(crate) fn expect(&mut self, rule: &'static str, outcome: Result<(), String>) {
        if let Err(text) = outcome
            && self.failure.is_none()
        {
            self.failure = Some(self.fail(rule, text));
        }
    }

    pub(crate) fn host(&mut self, pnn: Pnn) -> &mut Host {
        self.hosts.get_mut(&pnn).expect("a configured node")
    }

    pub(crate) fn process(&mut self, pnn: Pnn) -> Option<&mut Process> {
        self.host(pnn).process.as_mut()
    }

    pub(crate) fn later(&mut self, delay_us: u64, pnn: Pnn, what: Happening) {
        if let Some(life) = self.hosts[&pnn].life() {
            self.at(self.now.after(delay_us), Event::Process { pnn, life, what });
        }
    }

    pub(crate) fn at(&mut self, at: Micros, event: Event) {
        self.serial += 1;
        self.queue.insert((at, self.serial), Box::new(event));
    }

    pub(crate) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Process { pnn, life, what } => self.happen_to(pnn, life, what),
            Event::Packet(packet) => self.arrive(packet),
            Event::Dial { from, life, to } => self.dial(from, life, to),
            Event::Knock { from, life, to } => self.knock(from, life, to),
            Event::DialFailed { from, life, to, how } => self.dial_failed(from, life, to, how),
            Event::Open { owner, life, peer, link, incarnation } => {
                self.open(owner, life, peer, link, incarnation);
            }
            Event::Reset { owner, peer, link } => self.link_reset(owner, peer, link),
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

    fn happen_to(&mut self, pnn: Pnn, life: u64, what: Happening) {
        let Some(process) = self.process(pnn).filter(|process| process.life == life) else {
            return;
        };
        if process.stopped {
            process.parked.push_back(Event::Process { pnn, life, what });
            return;
        }
        match what {
            Happening::Alarm { serial } => {
                if process.alarm_serial == serial {
                    self.input(pnn, Input::Tick);
                }
            }
            Happening::Input(input) => self.input(pnn, input),
            Happening::Record(packet) => self.record_frame(pnn, *packet),
            Happening::Shard { lane, mail } => self.shard_mail(pnn, lane, mail),
            Happening::ShardAlarm { lane, serial } => self.shard_alarm(pnn, lane, serial),
            Happening::Attach(waiter) => self.attach(pnn, waiter),
            Happening::Opened => self.opened(pnn),
            Happening::PeerAttached { peer } => self.peer_attached(pnn, peer),
            Happening::AttachesEnd => self.attaches_end(pnn),
            Happening::ChainFree { lane, chain } => self.chain_free(pnn, lane, chain),
            Happening::Client { id } => self.client_goes_on(pnn, id),
        }
    }

    fn end_process(&mut self, pnn: Pnn, tells: bool) {
        let Some(process) = self.host(pnn).process.take() else { return };
        self.history.ended((pnn, process.machine.incarnation()));
        self.truth.ended(pnn);
        self.lock.ended(self.now, pnn, process.life);
        for peer in self.network.ends_of(pnn) {
            let link = self.network.close_end(pnn, peer);
            if let Some(link) = link.filter(|_| tells) {
                self.tell_reset(peer, pnn, link);
            }
        }
    }

    fn judge(&mut self, step: &Step<'_>) {
        let truth = &self.truth;
        let mut rules = self.rules.iter_mut();
        let broken = rules.find_map(|rule| Some((rule.rule(), rule.check(truth, step).err()?)));
        if let Some((rule, text)) = broken {
            self.expect(rule, Err(text));
        }
    }

    fn set_alarm(&mut self, pnn: Pnn) {
        let serial = self.next_serial();
        let now = self.now;
        let host = self.host(pnn);
        let Some(process) = &mut host.process else { return };
        process.alarm_serial = serial;
        let life = process.life;
        let at = host.clock.global(process.machine.wake_at()).max(now.after(1));
        self.at(at, Event::Process { pnn, life, what: Happening::Alarm { serial } });
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
