//! What other threads tell a shard.

use crate::mail::{CallResult, ControlMail, ShardMail, WalkBatch};
use crate::registry::SessionId;
use crate::shard::{Shard, tokens};
use bateria_core::persistent;
use bateria_core::record::{Caller, Function, Input, OwnedKey};
use bateria_core::traverse::{VisitInput, WalkInput};
use bateria_smbshim::structures::tunable::Tunable;
use bateria_tdb::{Attempt, Chain, Tdb};
use bateria_wire::{DbId, DbKind, Generation, Pnn, VnnMap};
use std::sync::Arc;

/// A generation whose predecessor has ended on this shard.
pub(crate) struct Preparing {
    generation: Generation,
    members: Vec<Pnn>,
}

impl Shard {
    pub(crate) fn read(&mut self, mail: ShardMail) {
        match mail {
            ShardMail::Client { fd, pid } => self.add_client(fd, pid),
            ShardMail::LaneIn { fd, peer, incarnation } => {
                self.io.lanes.accept(&mut self.io.ring, fd, peer, incarnation, tokens::lane_in);
            }
            ShardMail::PeerUp { peer, incarnation } => {
                self.peers.insert(peer, incarnation);
                self.relays.peer_up(peer);
                let token = tokens::lane_out(peer);
                self.io.lanes.peer_up(&mut self.io.ring, peer, Some(incarnation), token);
            }
            ShardMail::PeerDown { peer } => self.peer_down(peer),
            ShardMail::Harmless { peers } => {
                for peer in peers {
                    for (origin, reply) in self.relays.is_harmless(peer) {
                        self.io.answer(origin, &reply);
                    }
                    // That was said of the peer's former life: it is back already.
                    if self.peers.contains_key(&peer) {
                        self.relays.peer_up(peer);
                    }
                }
            }
            ShardMail::Attached { info, handle, jobs_handle } => {
                self.attached(&info, handle, jobs_handle);
            }
            ShardMail::Call { db, caller, function, key } => {
                self.call_here(db, caller, function, key);
            }
            ShardMail::CallDone { caller, result } => {
                self.io.reply_call(caller, result);
                self.consider_move(SessionId(caller.session));
            }
            ShardMail::SessionGone { session } => self.forget_session(session),
            ShardMail::ScheduleDeletion { db, key } => {
                self.step(Input::ScheduleDeletion { db, key: key.borrow() });
            }
            ShardMail::Record { from, generation, db, key, op, body } => {
                self.record_frame(from, generation, db, key.borrow(), op, &body);
            }
            ShardMail::Report { from, generation, db, op, bulk } => {
                self.report_frame(from, generation, db, op, &bulk);
            }
            ShardMail::Persistent { from, generation, db, op, bulk } => {
                if let Err(fault) = self.persistent_frame(from, generation, db, op, &bulk) {
                    tracing::warn!("frame of node {from} for database {db}: {fault}");
                }
            }
            ShardMail::Commit { db, caller, buffer } => self.begin_commit(db, caller, &buffer),
            ShardMail::CommitDone { caller, status, error_text } => {
                self.io.end_commit(caller, status, error_text);
            }
            ShardMail::JobDone { db, job, outcome } => {
                let done = persistent::Input::JobDone { db, job, outcome };
                self.step_persistent(done).expect("a job is no frame");
            }
            ShardMail::Deliver { session, packet } => self.io.deliver_here(session, &packet),
            ShardMail::Move(mover) => self.take_in(*mover),
            ShardMail::Moved { former } => self.has_moved(former),
            ShardMail::Passed { former } => self.passed(former),
            ShardMail::Answer { origin, reply } => self.io.answer(origin, &reply),
            ShardMail::ChainGranted { db, chain } => self.chain_granted(db, chain),
            ShardMail::Walked { visit, batch } => self.walked(visit, &batch),
            ShardMail::Traverse { from, db, walk, op, bulk } => {
                if let Err(fault) = self.traverse_frame(from, db, walk, op, &bulk) {
                    tracing::warn!("frame of node {from} for a walk: {fault}");
                }
            }
            ShardMail::StoreCopy { origin, payload } => self.store_copy(origin, payload),
            ShardMail::SequenceChanged { db } => self.sequence_changed(db),
            ShardMail::Quiesce { generation, members } => self.quiesce(generation, members),
            ShardMail::Rebuild { map, members, contributors, wipe } => {
                self.rebuild(map, members, &contributors, wipe);
            }
            ShardMail::Committed { generation } => {
                let committed = persistent::Input::Committed { generation };
                self.step_persistent(committed).expect("a commit is no frame");
            }
            ShardMail::Fence => self.fence(),
            ShardMail::TunablesChanged => self.apply_tunables(),
            ShardMail::Stop => {
                self.disconnect_clients();
                self.stops = true;
            }
        }
    }

    pub(crate) fn apply_tunables(&mut self) {
        let (vacuum_s, control_s, traverse_s) = self.io.shared.with_tunables(|tunables| {
            let get = |tunable| u64::from(tunables.get(tunable));
            (
                get(Tunable::VacuumInterval),
                get(Tunable::ControlTimeout),
                get(Tunable::TraverseTimeout),
            )
        });
        self.step(Input::SetDeletionDelay { delay_us: vacuum_s * 1_000_000 });
        let control_timeout_ms = control_s * 1000;
        self.persistent.set_settings(persistent::Settings { control_timeout_ms });
        self.walks.set_timeout_ms(traverse_s * 1000);
    }

    /// Tells the control thread that the old generation has ended here, once frames of the new one
    /// could be sent to every member.
    pub(crate) fn prepare_further(&mut self) {
        let Some(preparing) = &self.preparing else { return };
        let me = self.io.shared.me;
        let reached = |member: &Pnn| *member == me || self.io.lanes.is_up(*member);
        if preparing.members.iter().all(reached) {
            let (shard, generation) = (self.io.index, preparing.generation);
            self.preparing = None;
            self.io.tell_control(ControlMail::Quiesced { shard, generation });
        }
    }

    fn attached(
        &mut self,
        info: &Arc<crate::database_table::DatabaseInfo>,
        handle: Box<Tdb>,
        jobs_handle: Option<Box<Tdb>>,
    ) {
        let (db, kind) = (info.id, info.kind);
        self.store.add(info.clone(), handle);
        if kind == DbKind::Volatile {
            self.step(Input::Attach { db });
        } else if let Some(jobs_handle) = jobs_handle {
            self.jobs.attach(info, *jobs_handle);
            let attach = persistent::Input::Attach { db, kind };
            self.step_persistent(attach).expect("an attach is no frame");
        }
        for mail in self.unattached.take(db) {
            match mail {
                // It was kept where it came in; its record may be another shard's.
                ShardMail::Record { from, generation, db, key, op, body } => {
                    self.route_record(from, generation, db, &key.bytes, op, &body);
                }
                mail => self.read(mail),
            }
        }
    }

    pub(crate) fn call_here(
        &mut self,
        db: DbId,
        caller: Caller,
        function: Function,
        key: OwnedKey,
    ) {
        match self.store.shard_of(db, key.hash) {
            Some(shard) if self.io.is_own(shard) => {
                self.step(Input::Call { db, caller, function, key: key.borrow() });
            }
            // It came from a client of this shard, before the database was attached here.
            Some(shard) => {
                self.io.tell_shard(shard, ShardMail::Call { db, caller, function, key });
            }
            None => {
                // Another shard, or the thread that attaches, has heard of the database first.
                let comes = self.io.shared.databases.get(db).is_some();
                let call = ShardMail::Call { db, caller, function, key };
                if !comes || !self.unattached.keep(db, call) {
                    self.io.reply_call(caller, CallResult::Refused);
                }
            }
        }
    }

    /// A thread of the pool got a chain's lock for this shard's descriptor.
    fn chain_granted(&mut self, db: DbId, chain: u32) {
        let Some(handle) = self.store.handle_mut(db) else { return };
        let adopted = matches!(handle.adopt_chain_lock(Chain(chain)), Ok(Attempt::Locked));
        self.step(Input::ChainFree { db, chain });
        if adopted && let Some(handle) = self.store.handle_mut(db) {
            handle.unlock_chain(Chain(chain));
        }
    }

    fn peer_down(&mut self, peer: Pnn) {
        self.peers.remove(&peer);
        self.io.lanes.peer_down(&mut self.io.ring, peer);
        self.step_walks(WalkInput::NodeGone { node: peer });
        self.step_visits(VisitInput::NodeGone { node: peer }).expect("a departure is no frame");
    }

    fn quiesce(&mut self, generation: Generation, members: Vec<Pnn>) {
        if generation <= self.io.generation && self.io.generation.is_valid() {
            return;
        }
        self.io.generation = generation;
        self.unattached.forget_frames();
        self.step(Input::Quiesce { generation });
        let quiesce = persistent::Input::Quiesce { generation };
        self.step_persistent(quiesce).expect("the leader's word is no frame");
        self.preparing = Some(Preparing { generation, members });
        self.prepare_further();
    }

    fn rebuild(&mut self, map: VnnMap, members: Vec<Pnn>, contributors: &[Pnn], wipe: bool) {
        let generation = map.generation;
        if generation != self.io.generation {
            return;
        }
        let rebuild = persistent::Input::Rebuild { generation, members: &members, contributors };
        self.step_persistent(rebuild).expect("the leader's word is no frame");
        self.step_walks(WalkInput::Members { members: &members });
        self.step(Input::Rebuild { map, members, wipe });
    }

    /// This node is out of the cluster: its clients must not touch shared state any more.
    fn fence(&mut self) {
        self.fences_count += 1;
        self.disconnect_file_users();
        self.preparing = None;
        let shard = self.io.index;
        self.io.tell_control(ControlMail::Fenced { shard });
    }

    fn walked(&mut self, visit: u64, batch: &WalkBatch) {
        self.visit_went_on(visit, batch);
    }
}
