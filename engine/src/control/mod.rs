//! The control thread: membership, leader, generations, databases, and the front doors.
//!
//! It has its own connection to each peer, so a heartbeat never waits behind data, and it does
//! nothing that takes long: files are opened and votes are written by worker threads.

pub(crate) mod attach;
pub(crate) mod doors;
pub(crate) mod generations;
pub(crate) mod links;
pub(crate) mod tokens;
pub(crate) mod vote_file;

use crate::blocking::BlockingPool;
use crate::clock;
use crate::cluster_lock::{ClusterLock, LockEvent};
use crate::control::attach::Attaches;
use crate::control::doors::Doors;
use crate::control::generations::Progress;
use crate::control::links::Links;
use crate::control::tokens::Subject;
use crate::control::vote_file::VoteFile;
use crate::daemonize::Readiness;
use crate::log::Log;
use crate::mail::{ControlMail, Origin, ShardMail};
use crate::outbox::Outbox;
use crate::shared::Shared;
use bateria_core::cluster::{self, Cluster, Effect, Input, Micros, RunState};
use bateria_ring::mailbox::{MailboxReceiver, MailboxSender};
use bateria_ring::{Event, Ring, RingError, Wait};
use bateria_smbshim::control::ControlReply;
use bateria_smbshim::header::Header;
use bateria_smbshim::packet::{Packet, Padding, ReqMessage};
use bateria_wire::Srvid;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The one control thread of a daemon.
pub(crate) struct Control {
    pub(crate) shared: Arc<Shared>,
    pub(crate) ring: Ring,
    pub(crate) inbox: MailboxReceiver<ControlMail>,
    /// For worker threads that report to this one.
    pub(crate) mailbox: MailboxSender<ControlMail>,
    pub(crate) shards: Vec<Outbox<ShardMail>>,
    pub(crate) cluster: Cluster,
    pub(crate) links: Links,
    pub(crate) doors: Doors,
    pub(crate) attaches: Attaches,
    pub(crate) progress: Progress,
    pub(crate) lock: Option<ClusterLock>,
    pub(crate) vote_file: VoteFile,
    pub(crate) pool: Arc<BlockingPool>,
    pub(crate) log: Arc<Log>,
    /// Until the caller of the daemon was told that it works.
    pub(crate) readiness: Option<Readiness>,
    pub(crate) next_leader_message_us: u64,
    pub(crate) has_left: bool,
}

/// The highest priority of ordinary threads.
const CONTROL_NICE: i32 = -20;
/// The stock tool knows the leader from this message alone (client protocol §10.1).
const LEADER_MESSAGE_INTERVAL_US: u64 = 1_000_000;

impl Control {
    /// Runs until the daemon ends.
    ///
    /// # Errors
    /// The ring fails.
    pub(crate) fn run(mut self) -> Result<(), RingError> {
        // A node that cannot send its heartbeats in time is taken for dead, however busy others
        // keep its CPUs. This thread needs them for microseconds.
        if let Err(error) = rustix::process::setpriority_process(None, CONTROL_NICE) {
            tracing::info!("the control thread has no priority over others: {error}");
        }
        self.begin();
        while !self.has_left {
            let wait = self.wait();
            self.ring.turn(wait)?;
            // The first thing after any pause: was this process still in time?
            self.tell_cluster(Input::Tick);
            while let Ok(mail) = self.inbox.try_recv() {
                self.read(mail);
            }
            while let Some(event) = self.ring.next_event() {
                self.handle(event);
            }
            self.do_what_is_due();
            self.flush();
        }
        self.end()
    }

    /// Gives an event to the cluster's machine and does what it asks for.
    pub(crate) fn tell_cluster(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.cluster.step(Micros(clock::now_us()), input, &mut effects);
        for effect in effects {
            self.carry_out(effect);
        }
    }

    pub(crate) fn tell_shards(&mut self, mut mail: impl FnMut() -> ShardMail) {
        for shard in &mut self.shards {
            shard.send(&mut self.ring, mail());
        }
    }

    /// Sends the answer to a control through the shard that the request came by.
    pub(crate) fn answer(&mut self, origin: Origin, reply: ControlReply) {
        let shard = match origin {
            Origin::Session { session, .. } => session.shard(),
            Origin::Peer { shard, .. } | Origin::Push { shard, .. } => shard as usize,
            Origin::Nobody => return,
        };
        self.shards[shard].send(&mut self.ring, ShardMail::Answer { origin, reply });
    }

    /// Delivers a message to the clients of this node.
    pub(crate) fn deliver(&mut self, srvid: Srvid, data: &[u8]) {
        let listeners = self.shared.registry.listeners(srvid);
        if listeners.is_empty() {
            return;
        }
        let generation = self.shared.view().vnn_map.generation;
        let header = Header::to_client(generation, self.shared.me, 0);
        let mut packet = Vec::new();
        Packet::Message(ReqMessage { header, srvid, data }).encode(Padding::Aligned, &mut packet);
        let packet: Arc<[u8]> = packet.into();
        for session in listeners {
            let mail = ShardMail::Deliver { session, packet: packet.clone() };
            self.shards[session.shard()].send(&mut self.ring, mail);
        }
    }

    fn begin(&mut self) {
        self.tell_cluster(Input::Started(RunState::Init));
        self.attach_found();
        self.links.connect_all(&mut self.ring);
        self.tell_cluster(Input::Started(RunState::Setup));
    }

    /// All databases of the disk are attached: clients may come, and the cluster may count on us.
    pub(crate) fn files_are_attached(&mut self) {
        if self.progress.has_started {
            return;
        }
        self.progress.has_started = true;
        self.doors.open_for_clients(&mut self.ring);
        self.tell_cluster(Input::Started(RunState::FirstRecovery));
        if let Some(readiness) = self.readiness.take() {
            readiness.ready();
        }
    }

    fn wait(&self) -> Wait {
        if self.shards.iter().any(|shard| !shard.is_empty()) {
            return Wait::Until(clock::instant_at(clock::now_us() + 1_000));
        }
        let Micros(wake_us) = self.cluster.wake_at();
        let due = [Some(wake_us), Some(self.next_leader_message_us), self.links.next_retry_us()];
        let due_us = due.into_iter().flatten().chain(self.attaches.next_us()).min();
        due_us.map_or(Wait::Forever, |at_us| Wait::Until(clock::instant_at(at_us)))
    }

    fn read(&mut self, mail: ControlMail) {
        match mail {
            ControlMail::Attach { origin, name, kind } => self.attach(origin, name, kind),
            ControlMail::Opened { name, outcome } => self.opened(name, outcome),
            ControlMail::RequestRecovery { reason } => {
                tracing::info!("asking for a new generation: {reason}");
                self.tell_cluster(Input::RecoveryRequested { reason: "asked for by this node" });
            }
            ControlMail::SetCapability { origin, bit, enabled } => {
                let own = self.shared.view();
                let own = own.nodes.iter().find(|node| node.pnn == self.shared.me);
                let mut capabilities =
                    own.map_or_else(cluster::Capabilities::default, |node| node.capabilities);
                capabilities.set(cluster::Capabilities::from_bits_retain(bit), enabled);
                self.tell_cluster(Input::SetCapabilities(capabilities));
                self.answer(origin, ControlReply::done());
            }
            ControlMail::SetFlags { origin, set, clear } => {
                self.tell_cluster(Input::SetFlags { set, clear });
                self.answer(origin, ControlReply::done());
            }
            ControlMail::Shutdown => {
                tracing::info!("Shutdown sequence commencing.");
                self.tell_cluster(Input::Shutdown);
            }
            ControlMail::LaneLost { peer } => self.tell_cluster(Input::LanesReset { peer }),
            ControlMail::Quiesced { shard, generation } => self.shard_quiesced(shard, generation),
            ControlMail::Rebuilt { shard, generation } => self.shard_rebuilt(shard, generation),
            ControlMail::Settled { shard, generation } => self.shard_settled(shard, generation),
            ControlMail::Fenced { shard } => self.shard_fenced(shard),
            ControlMail::Moved { former } => {
                let mail = ShardMail::Passed { former };
                self.shards[former.shard()].send(&mut self.ring, mail);
            }
            ControlMail::Lock(attempt, event) => self.lock_event(attempt, event),
            ControlMail::VotePersisted { term, voted_for } => {
                self.tell_cluster(Input::VotePersisted { term, voted_for });
            }
            ControlMail::CopyFailed { db } => {
                tracing::error!("this node's copy of database {db} cannot be used");
                if let Some(info) = self.shared.databases.get(db) {
                    info.failed.store(true, Ordering::Release);
                }
            }
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Accepted { token, fd, .. } => match tokens::subject(token) {
                Subject::ClientDoor => self.client_connected(fd),
                Subject::PeerDoor => self.peer_connected(fd),
                _ => {}
            },
            Event::AcceptFailed { error, .. } => tracing::warn!("cannot accept: {error}"),
            Event::ReceivedExactly { fd, bytes, .. } => self.greeted(fd, &bytes),
            Event::ReceiveFailed { error, .. } => {
                self.doors.greeting_ended();
                tracing::warn!("a connection to the node port brought no greeting: {error}");
            }
            Event::Received { stream, token, buffer } => match tokens::subject(token) {
                Subject::LinkOut(peer) => self.link_out_received(peer, stream, &buffer),
                Subject::LinkIn(place) => self.link_in_received(place, &buffer),
                _ => {}
            },
            Event::Closed { stream, token, .. } => match tokens::subject(token) {
                Subject::LinkOut(peer) => self.link_out_closed(peer, stream),
                Subject::LinkIn(place) => self.link_in_closed(place),
                _ => {}
            },
            Event::Connected { token, fd, .. } => {
                if let Subject::LinkOut(peer) = tokens::subject(token) {
                    self.links.connected(&mut self.ring, peer, fd);
                }
            }
            Event::ConnectFailed { token, error, .. } => {
                if let Subject::LinkOut(peer) = tokens::subject(token) {
                    self.connect_failed(peer, &error);
                }
            }
            Event::Readable { token, .. } => match tokens::subject(token) {
                Subject::Signals => self.read_signals(),
                Subject::Stdin => self.read_stdin(),
                _ => {}
            },
            _ => {}
        }
    }

    fn do_what_is_due(&mut self) {
        let now_us = clock::now_us();
        self.links.retry(&mut self.ring, now_us);
        self.expire_attaches(now_us);
        if now_us >= self.next_leader_message_us {
            self.next_leader_message_us = now_us + LEADER_MESSAGE_INTERVAL_US;
            let leader = self.shared.view().leader.unwrap_or(bateria_wire::Pnn::UNKNOWN);
            self.deliver(Srvid::LEADER, &leader.0.to_le_bytes());
        }
    }

    fn flush(&mut self) {
        for shard in &mut self.shards {
            shard.flush(&mut self.ring);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Send { to, head } => self.links.send(&mut self.ring, to, head),
            Effect::DropLink { peer } => self.links.drop_link(&mut self.ring, peer),
            Effect::TakeLock => {
                if let Some(lock) = &mut self.lock {
                    lock.take();
                }
            }
            Effect::ReleaseLock => {
                if let Some(lock) = &mut self.lock {
                    lock.release();
                }
            }
            Effect::PersistVote { term, voted_for } => self.persist_vote(term, voted_for),
            Effect::Quiesce(prospect) => self.quiesce(prospect),
            Effect::Rebuild(order) => self.rebuild(order),
            Effect::Commit(prospect) => self.committed(prospect),
            Effect::Fence { reason } => self.fence(reason),
            Effect::Harmless { nodes } => {
                self.tell_shards(|| ShardMail::Harmless { peers: nodes.clone() });
            }
            Effect::ViewChanged => {
                let view = self.cluster.view().clone();
                self.shared.set_view(view);
            }
            Effect::Log(fact) => tracing::info!("{fact}"),
            Effect::Left => self.has_left = true,
        }
    }

    fn persist_vote(&mut self, term: u32, voted_for: bateria_wire::Pnn) {
        let (file, mailbox) = (self.vote_file.clone(), self.mailbox.clone());
        let job = move || {
            if let Err(error) = file.write(term, voted_for) {
                tracing::error!("cannot write {}: {error}; this vote is not given", file.display());
                return;
            }
            tell(&mailbox, ControlMail::VotePersisted { term, voted_for });
        };
        if self.pool.submit(Box::new(job)).is_err() {
            tracing::error!("no worker thread writes this vote; it is not given");
        }
    }

    fn lock_event(&mut self, attempt: crate::cluster_lock::Attempt, event: LockEvent) {
        let current = self.lock.as_ref().is_some_and(|lock| lock.is_current(attempt));
        if !current && !matches!(event, LockEvent::Lost(_)) {
            return;
        }
        let event = match event {
            LockEvent::Taken => cluster::LockEvent::Taken,
            LockEvent::Contended => cluster::LockEvent::Contended,
            LockEvent::TimedOut => cluster::LockEvent::TimedOut,
            LockEvent::Error(reason) => {
                tracing::error!("cluster lock: {reason}");
                cluster::LockEvent::Error
            }
            LockEvent::Lost(reason) => {
                tracing::error!("cluster lock lost: {reason}");
                cluster::LockEvent::Lost
            }
        };
        self.tell_cluster(Input::Lock(event));
    }

    fn end(mut self) -> Result<(), RingError> {
        self.tell_shards(|| ShardMail::Stop);
        if let Some(lock) = self.lock.take()
            && !lock.close(std::time::Duration::from_secs(5))
        {
            tracing::warn!("the cluster lock's helper does not end");
        }
        // The last frames tell the peers that this node leaves.
        for _ in 0..20 {
            self.flush();
            self.ring.turn(Wait::Until(clock::instant_at(clock::now_us() + 5_000)))?;
            while self.ring.next_event().is_some() {}
        }
        tracing::info!("Shutdown sequence complete, exiting.");
        Ok(())
    }
}

/// From a worker thread: the control thread empties its mailbox soon.
pub(crate) fn tell(mailbox: &MailboxSender<ControlMail>, mail: ControlMail) {
    use bateria_ring::mailbox::MailboxRefused;
    let mut mail = mail;
    while let Err(MailboxRefused::Full(back)) = mailbox.try_send(mail) {
        mail = back;
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}
