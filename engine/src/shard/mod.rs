//! A shard: one thread, pinned to one CPU, that serves its clients, its lanes to the other nodes,
//! and the records of its hash chains. It never blocks; everything that must is a job elsewhere.

pub(crate) mod answers;
pub(crate) mod chain_waits;
pub(crate) mod client;
pub(crate) mod clients;
pub(crate) mod controls;
pub(crate) mod database_answers;
pub(crate) mod disk_jobs;
pub(crate) mod frames;
pub(crate) mod intake;
pub(crate) mod io;
pub(crate) mod lanes;
pub(crate) mod machine_effects;
pub(crate) mod mails;
pub(crate) mod moves;
pub(crate) mod pushes;
pub(crate) mod relays;
pub(crate) mod seqnum;
pub(crate) mod store;
pub(crate) mod tokens;
pub(crate) mod walks;

use crate::clock;
use crate::mail::ShardMail;
use crate::shard::chain_waits::{Begun, ChainWaits};
use crate::shard::disk_jobs::DiskJobs;
use crate::shard::io::Io;
use crate::shard::lanes::LaneNews;
use crate::shard::machine_effects::{PersistentEffects, RecordEffects};
use crate::shard::pushes::Pushes;
use crate::shard::relays::Relays;
use crate::shard::seqnum::SequenceNumbers;
use crate::shard::store::Store;
use crate::shard::tokens::Subject;
use crate::shard::walks::Walks;
use crate::statistics::count;
use bateria_core::persistent::{self, Persistent};
use bateria_core::record::{Input, Records};
use bateria_ring::mailbox::MailboxReceiver;
use bateria_ring::{Event, RingError, Wait};
use bateria_wire::Pnn;
use bateria_wire::frame::FrameFault;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// One shard.
pub(crate) struct Shard {
    pub(crate) io: Io,
    pub(crate) inbox: MailboxReceiver<ShardMail>,
    pub(crate) records: Records,
    pub(crate) store: Store,
    pub(crate) persistent: Persistent,
    pub(crate) jobs: DiskJobs,
    pub(crate) waits: ChainWaits,
    pub(crate) relays: Relays,
    pub(crate) pushes: Pushes,
    pub(crate) walks: Walks,
    pub(crate) sequence_numbers: SequenceNumbers,
    /// Incarnations of the peers that the control thread reaches.
    pub(crate) peers: BTreeMap<Pnn, u64>,
    /// A generation that this shard has stopped the old one for, but whose members it has no lanes
    /// to yet.
    pub(crate) preparing: Option<mails::Preparing>,
    pub(crate) is_paused: bool,
    /// Frames about databases that are about to be attached here.
    pub(crate) unattached: frames::Unattached,
    pub(crate) clients_uses: u32,
    /// How often all clients were disconnected.
    pub(crate) fences_count: u64,
    pub(crate) stops: bool,
    /// Spin this long before sleeping.
    pub(crate) poll: Option<Duration>,
}

/// Messages taken from the mailbox in one turn, so that clients and lanes get theirs.
const MAILS_PER_TURN_MAX: usize = 1024;

impl Shard {
    /// Runs until the daemon ends.
    ///
    /// # Errors
    /// The ring fails: this shard cannot go on, and the daemon with it.
    pub(crate) fn run(mut self) -> Result<(), RingError> {
        while !self.stops {
            self.io.ring.turn(self.wait())?;
            // Completions are taken out before mail is read: what somebody registered before a
            // packet was sent is known before that packet is handled.
            self.read_mail();
            while let Some(event) = self.io.ring.next_event() {
                self.handle(event);
            }
            self.do_what_is_due();
            self.io.flush_outboxes();
            self.press_back();
        }
        // What is queued for clients and peers goes out before the ring ends.
        let until = std::time::Instant::now() + Duration::from_millis(200);
        while std::time::Instant::now() < until && self.io.ring.streams_count() > 0 {
            self.io.ring.turn(Wait::Until(until))?;
            while self.io.ring.next_event().is_some() {}
        }
        Ok(())
    }

    /// Steps the record machine and begins the waits that it asks for.
    pub(crate) fn step(&mut self, input: Input<'_>) {
        let now_us = clock::now_us();
        self.records.step(now_us, input, &mut self.store, &mut RecordEffects(&mut self.io));
        self.begin_waits(now_us);
    }

    /// Steps the machine of persistent databases.
    pub(crate) fn step_persistent(
        &mut self,
        input: persistent::Input<'_>,
    ) -> Result<(), FrameFault> {
        let mut effects = PersistentEffects { io: &mut self.io, jobs: &mut self.jobs };
        self.persistent.step(clock::now_us() / 1000, input, &mut effects)
    }

    fn begin_waits(&mut self, now_us: u64) {
        while let Some((db, chain)) = self.io.chains_wanted.pop() {
            count(&self.io.counters().chain_waits);
            let ring = &mut self.io.ring;
            let begun = self.waits.begin(ring, &mut self.store, db, chain, tokens::chain_wait);
            if begun == Begun::Free {
                let input = Input::ChainFree { db, chain };
                self.records.step(now_us, input, &mut self.store, &mut RecordEffects(&mut self.io));
            }
        }
        let waiting = u32::try_from(self.waits.count()).unwrap_or(u32::MAX);
        self.io.counters().chain_waits_now.store(waiting, Relaxed);
    }

    /// When to come back even if nothing happens.
    fn wait(&self) -> Wait {
        if self.io.has_unsent() {
            return Wait::Until(clock::instant_at(clock::now_us() + 1_000));
        }
        let due = [
            self.records.next_tick_us(),
            self.persistent.deadline_ms().map(|at_ms| at_ms * 1000),
            self.io.lanes.next_retry_us(),
            self.relays.next_deadline_us(),
            self.waits.next_look_us(),
            self.pushes.next_us(),
            self.walks.next_us(),
            self.sequence_numbers.next_us(),
        ];
        let due_us = due.into_iter().flatten().min();
        let until = due_us.map(clock::instant_at);
        match (due_us, self.poll) {
            (Some(at_us), _) if at_us <= clock::now_us() => Wait::No,
            (_, Some(for_at_most)) => Wait::Poll { for_at_most, until },
            (_, None) => until.map_or(Wait::Forever, Wait::Until),
        }
    }

    fn read_mail(&mut self) {
        for _ in 0..MAILS_PER_TURN_MAX {
            let Ok(mail) = self.inbox.try_recv() else { return };
            self.read(mail);
        }
        self.inbox.come_back();
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Received { stream, token, buffer } => match tokens::subject(token) {
                Subject::Client(place) => self.client_received(place, &buffer),
                Subject::LaneIn(place) => self.lane_received(place, &buffer),
                Subject::LaneOut(peer) => {
                    let io = &mut self.io;
                    let news = io.lanes.received_out(&mut io.ring, peer, stream, &buffer);
                    self.lane_news(peer, &news);
                }
                Subject::ChainWait(_) => unreachable!("waits receive nothing"),
            },
            Event::Closed { stream, token, error } => match tokens::subject(token) {
                Subject::Client(place) => self.client_closed(place),
                Subject::LaneIn(place) => {
                    if let Some(peer) = self.io.lanes.closed_in(place) {
                        tracing::debug!("lane from node {peer} closed: {error:?}");
                    }
                }
                Subject::LaneOut(peer) => {
                    let news = self.io.lanes.closed_out(peer, stream);
                    self.lane_news(peer, &news);
                }
                Subject::ChainWait(_) => unreachable!("waits are no streams"),
            },
            Event::Detached { token, fd, .. } => {
                if let Subject::Client(place) = tokens::subject(token) {
                    self.client_detached(place, fd);
                }
            }
            Event::Connected { token, fd, .. } => {
                if let Subject::LaneOut(peer) = tokens::subject(token) {
                    self.io.lanes.connected(&mut self.io.ring, peer, fd, token);
                }
            }
            Event::ConnectFailed { token, .. } => {
                if let Subject::LaneOut(peer) = tokens::subject(token) {
                    self.io.lanes.connect_failed(peer);
                }
            }
            Event::FutexWoken { token, .. } => {
                if let Subject::ChainWait(place) = tokens::subject(token) {
                    self.chain_woken(place);
                }
            }
            _ => {}
        }
    }

    fn chain_woken(&mut self, place: usize) {
        let Some(woken) = self.waits.end(place) else { return };
        self.io.counters().chain_wait.record(woken.waited_us);
        self.store.was_woken(woken.db, woken.chain);
        self.step(Input::ChainFree { db: woken.db, chain: woken.chain });
        self.store.end_wake(woken.db, woken.chain);
    }

    fn lane_news(&mut self, peer: Pnn, news: &LaneNews) {
        match news {
            LaneNews::Nothing => {}
            LaneNews::Up => {
                for id in self.relays.waiting_for(peer) {
                    self.send_relayed(id);
                }
                self.prepare_further();
            }
            LaneNews::Lost => {
                for (origin, reply) in self.relays.lane_lost(peer) {
                    self.io.answer(origin, &reply);
                }
                self.io.tell_control(crate::mail::ControlMail::LaneLost { peer });
            }
        }
    }

    fn do_what_is_due(&mut self) {
        let now_us = clock::now_us();
        if self.records.next_tick_us().is_some_and(|at_us| at_us <= now_us)
            && !self.io.lanes.is_congested(&self.io.ring)
        {
            self.step(Input::Tick);
        }
        if self.persistent.deadline_ms().is_some_and(|at_ms| at_ms * 1000 <= now_us) {
            self.step_persistent(persistent::Input::Tick).expect("a tick is no frame");
        }
        while let Some((db, chain)) = self.waits.pop_look_again(now_us) {
            self.step(Input::ChainFree { db, chain });
        }
        self.io.lanes.retry(&mut self.io.ring, now_us, tokens::lane_out);
        for (origin, reply) in self.relays.time_out(now_us) {
            count(&self.io.counters().control_timeouts);
            self.io.answer(origin, &reply);
        }
        self.push_further(now_us);
        self.walk_further(now_us);
        self.compare_sequence_numbers(now_us);
    }

    /// Clients whose requests would only pile up are not read for a while.
    fn press_back(&mut self) {
        let congested = self.io.is_congested();
        if congested == self.is_paused {
            return;
        }
        self.is_paused = congested;
        for (_, client) in &self.io.clients {
            if congested {
                self.io.ring.pause_receive(client.stream);
            } else {
                self.io.ring.resume_receive(client.stream);
            }
        }
    }
}
