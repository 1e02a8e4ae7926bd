//! The LMASTER's side: requests for records, and the handshake that deletes one everywhere.

use crate::record::database::Database;
use crate::record::directory::Answer;
use crate::record::purge::{Progress, Purge, Step};
use crate::record::rebuild::Located;
use crate::record::turn::Turn;
use crate::record::{Effects, Key, Reason, RecordStore};
use bateria_wire::head::RecordOp;
use bateria_wire::{Pnn, Rsn};

impl Database {
    /// A node wants a record.
    pub(crate) fn want<S: RecordStore, E: Effects>(
        &mut self,
        turn: &mut Turn<'_, S, E>,
        from: Pnn,
        key: Key<'_>,
        only_read: bool,
    ) {
        if let Some(rebuild) = self.rebuild.as_mut().filter(|rebuild| rebuild.misses(key)) {
            rebuild.hold(from, key, only_read);
            return;
        }
        match self.directory.want(from, key, only_read) {
            Answer::Absent => turn.send(from, self.id, key, RecordOp::Absent, &[]),
            Answer::Grant => turn.send(from, self.id, key, RecordOp::Grant, &[]),
            Answer::Recall { at } => {
                turn.send(at, self.id, key, RecordOp::Recall { to: from.0 }, &[]);
            }
            Answer::Held => {}
            Answer::Adopt { rsn: Rsn(rsn) } => {
                turn.send(from, self.id, key, RecordOp::Adopt { rsn }, &[]);
            }
            Answer::OwnerLost => {
                let reason = Reason::OwnerLostRecord { db: self.id, node: from };
                turn.effects.request_recovery(reason);
            }
        }
    }

    /// The owner of a tombstone asks to delete it everywhere.
    pub(crate) fn begin_purge<S: RecordStore, E: Effects>(
        &mut self,
        turn: &mut Turn<'_, S, E>,
        owner: Pnn,
        key: Key<'_>,
        rsn: Rsn,
        shared: bool,
    ) {
        let others = turn.members.iter().copied().filter(|node| shared && *node != owner);
        let purge = Purge::new(owner, rsn, others.collect());
        let step = purge.step();
        let known = self.rebuild.as_ref().is_none_or(|rebuild| !rebuild.misses(key));
        if known && self.directory.begin_purge(key, purge) {
            self.take_purge_step(turn, key, step);
        } else {
            turn.send(owner, self.id, key, RecordOp::PurgeRefused, &[]);
        }
    }

    /// A node has done its part, or could not.
    pub(crate) fn purge_acknowledged<S: RecordStore, E: Effects>(
        &mut self,
        turn: &mut Turn<'_, S, E>,
        from: Pnn,
        key: Key<'_>,
        step: Step,
        rsn: Rsn,
        done: bool,
    ) {
        let Some(purge) = self.directory.purge_mut(key) else { return };
        let owner = purge.owner();
        match purge.acknowledged(from, step, rsn, done) {
            Progress::Wait => {}
            Progress::Next(step) => self.take_purge_step(turn, key, step),
            Progress::Refused => {
                turn.send(owner, self.id, key, RecordOp::PurgeRefused, &[]);
                self.release_purge(turn, key, false);
            }
        }
    }

    /// The owner has deleted the last copy, or the record lives again.
    pub(crate) fn purge_ended<S: RecordStore, E: Effects>(
        &mut self,
        turn: &mut Turn<'_, S, E>,
        from: Pnn,
        key: Key<'_>,
        deleted: bool,
    ) {
        let ends = |purge: &mut Purge| purge.owner() == from && purge.step() == Step::Last;
        if self.directory.purge_mut(key).is_some_and(ends) {
            self.release_purge(turn, key, deleted);
        }
    }

    /// More is known about where records are.
    pub(crate) fn locate<S: RecordStore, E: Effects>(&mut self, turn: &mut Turn<'_, S, E>) {
        let Some(rebuild) = &mut self.rebuild else { return };
        for Located { key, owner, adopts } in rebuild.locate() {
            self.directory.settle(key.borrow(), owner, adopts);
            if let Some(Rsn(rsn)) = adopts {
                turn.send(owner, self.id, key.borrow(), RecordOp::Adopt { rsn }, &[]);
            }
        }
        let wants = rebuild.take_wants();
        if rebuild.is_over() {
            self.rebuild = None;
        }
        for want in wants {
            self.want(turn, want.from, want.key.borrow(), want.only_read);
        }
    }

    fn take_purge_step<S: RecordStore, E: Effects>(
        &mut self,
        turn: &mut Turn<'_, S, E>,
        key: Key<'_>,
        step: Step,
    ) {
        let Some(purge) = self.directory.purge_mut(key) else { return };
        let Rsn(rsn) = purge.rsn();
        match step {
            Step::Bury | Step::Forget => {
                let op = if step == Step::Bury {
                    RecordOp::Bury { rsn }
                } else {
                    RecordOp::Forget { rsn }
                };
                for node in purge.others() {
                    turn.send(*node, self.id, key, op, &[]);
                }
            }
            Step::Last => {
                turn.send(purge.owner(), self.id, key, RecordOp::PurgeLast { rsn }, &[]);
            }
        }
    }

    fn release_purge<S: RecordStore, E: Effects>(
        &mut self,
        turn: &mut Turn<'_, S, E>,
        key: Key<'_>,
        deleted: bool,
    ) {
        for (from, only_read) in self.directory.end_purge(key, deleted) {
            self.want(turn, from, key, only_read);
        }
    }
}
