//! The target's side: one shard's chains, walked for origins on any node.

use alloc::collections::BTreeMap;
use bateria_wire::frame::FrameFault;
use bateria_wire::head::{Head, TraverseHead, TraverseOp};
use bateria_wire::{DbId, Pnn};

/// The visits that this shard makes on behalf of walks.
///
/// A visit advances in slices, each of which gives at most one frame, and only while the origin has
/// room for it: nothing piles up here, and a visit that waits occupies no thread.
#[derive(Debug)]
pub struct Visits {
    lane: u32,
    lanes_count: u32,
    open: BTreeMap<VisitId, Visit>,
    last_visit: u64,
}

/// Names a visit on this shard; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VisitId(pub u64);

/// The world outside.
pub trait VisitEffects {
    /// Sends a frame to the origin, possibly this very node.
    fn send(&mut self, to: Pnn, head: &Head, bulk: &[u8]);

    /// Prepares to walk the shard's chains of a database; false if it is not here or not healthy.
    fn open(&mut self, visit: VisitId, db: DbId, with_empty: bool) -> bool;

    /// Walks on, elsewhere; the outcome comes back as `VisitInput::Walked`.
    fn walk(&mut self, visit: VisitId);

    /// Nobody needs the rest; a slice that is under way should stop.
    fn close(&mut self, visit: VisitId);
}

/// One event.
#[derive(Debug)]
pub enum VisitInput<'a> {
    /// `Start`, `Credit` and `Stop`.
    Frame { from: Pnn, walk: u64, db: DbId, op: TraverseOp },
    /// A slice of the walk is done; `records` are `rec_data` one behind the other with reqid zero,
    /// about `BATCH_SIZE_BYTES` of them.
    Walked { visit: VisitId, records: &'a [u8], slice: Slice },
    /// The connection to a node was lost, or it left the cluster.
    NodeGone { node: Pnn },
}

/// How a slice ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slice {
    More,
    /// All chains are walked.
    Last,
    /// The file cannot be read.
    Failed,
}

/// Aim for a slice's records; one record alone may exceed it.
pub const BATCH_SIZE_BYTES: usize = 64 * 1024;

#[derive(Debug)]
struct Visit {
    origin: Pnn,
    walk: u64,
    db: DbId,
    /// Frames that the origin has room for.
    credit: u32,
    is_walking: bool,
}

/// Visits of one shard; the next walk is told that this lane cannot.
const VISITS_COUNT_MAX: usize = 4096;
/// No origin has a larger window.
const CREDIT_MAX: u32 = 64;

impl Visits {
    #[must_use]
    pub fn new(lane: u32, lanes_count: u32) -> Self {
        assert!(lane < lanes_count, "lanes count from 0");
        Self { lane, lanes_count, open: BTreeMap::new(), last_visit: 0 }
    }

    /// Advances by one event.
    ///
    /// # Errors
    /// The sender of a frame broke the protocol; nothing was changed.
    pub fn step(
        &mut self,
        input: VisitInput<'_>,
        effects: &mut dyn VisitEffects,
    ) -> Result<(), FrameFault> {
        match input {
            VisitInput::Frame { from, walk, db, op } => match op {
                TraverseOp::Start { with_empty, window } => {
                    self.start(from, walk, db, with_empty, window, effects);
                }
                TraverseOp::Credit { lane } => return self.credit(from, walk, lane, effects),
                TraverseOp::Stop => self.close(effects, |visit| visit.belongs_to(from, walk)),
                TraverseOp::Records { .. } | TraverseOp::End { .. } => {
                    return Err(FrameFault::Meaning { rule: "records go to the origin" });
                }
            },
            VisitInput::Walked { visit, records, slice } => {
                self.walked(visit, records, slice, effects);
            }
            VisitInput::NodeGone { node } => self.close(effects, |visit| visit.origin == node),
        }
        Ok(())
    }

    fn start(
        &mut self,
        from: Pnn,
        walk: u64,
        db: DbId,
        with_empty: bool,
        window: u32,
        effects: &mut dyn VisitEffects,
    ) {
        self.close(effects, |visit| visit.belongs_to(from, walk));
        self.last_visit += 1;
        let id = VisitId(self.last_visit);
        let credit = window.min(CREDIT_MAX);
        let visit = Visit { origin: from, walk, db, credit, is_walking: false };
        if self.open.len() < VISITS_COUNT_MAX && effects.open(id, db, with_empty) {
            self.open.entry(id).insert_entry(visit).get_mut().walk_on(id, effects);
        } else {
            self.end(&visit, -1, effects);
        }
    }

    fn credit(
        &mut self,
        from: Pnn,
        walk: u64,
        lane: u32,
        effects: &mut dyn VisitEffects,
    ) -> Result<(), FrameFault> {
        let mut visits = self.open.iter_mut();
        // It may have ended while the credit was on its way.
        let Some((id, visit)) = visits.find(|(_, visit)| visit.belongs_to(from, walk)) else {
            return Ok(());
        };
        if lane != self.lane || visit.credit >= CREDIT_MAX {
            return Err(FrameFault::Meaning { rule: "credits return to the lane that used them" });
        }
        visit.credit += 1;
        visit.walk_on(*id, effects);
        Ok(())
    }

    fn walked(
        &mut self,
        id: VisitId,
        records: &[u8],
        slice: Slice,
        effects: &mut dyn VisitEffects,
    ) {
        // It was closed while the slice was under way.
        let Some(visit) = self.open.get_mut(&id) else { return };
        visit.is_walking = false;
        if !records.is_empty() {
            assert!(visit.credit > 0, "a slice is walked on credit");
            visit.credit -= 1;
            let op = TraverseOp::Records { lane: self.lane };
            effects.send(visit.origin, &visit.head(op), records);
        }
        if slice == Slice::More {
            visit.walk_on(id, effects);
            return;
        }
        let visit = self.open.remove(&id).expect("just seen");
        effects.close(id);
        self.end(&visit, if slice == Slice::Last { 0 } else { -1 }, effects);
    }

    fn close(&mut self, effects: &mut dyn VisitEffects, is_over: impl Fn(&Visit) -> bool) {
        let over = self.open.extract_if(.., |_, visit| is_over(visit));
        over.for_each(|(id, _)| effects.close(id));
    }

    fn end(&self, visit: &Visit, status: i32, effects: &mut dyn VisitEffects) {
        let op = TraverseOp::End { lane: self.lane, lanes_count: self.lanes_count, status };
        effects.send(visit.origin, &visit.head(op), &[]);
    }
}

impl Visit {
    fn belongs_to(&self, origin: Pnn, walk: u64) -> bool {
        (self.origin, self.walk) == (origin, walk)
    }

    fn walk_on(&mut self, id: VisitId, effects: &mut dyn VisitEffects) {
        if self.credit > 0 && !self.is_walking {
            self.is_walking = true;
            effects.walk(id);
        }
    }

    fn head(&self, op: TraverseOp) -> Head {
        Head::Traverse(TraverseHead { db: self.db.0, walk: self.walk, op })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[derive(Default)]
    struct World {
        sent: Vec<TraverseOp>,
        walking: Vec<VisitId>,
        closed: Vec<VisitId>,
        is_absent: bool,
    }

    impl VisitEffects for World {
        fn send(&mut self, _: Pnn, head: &Head, _: &[u8]) {
            let Head::Traverse(head) = head else { panic!("a traverse head") };
            self.sent.push(head.op);
        }
        fn open(&mut self, _: VisitId, _: DbId, _: bool) -> bool {
            !self.is_absent
        }
        fn walk(&mut self, visit: VisitId) {
            self.walking.push(visit);
        }
        fn close(&mut self, visit: VisitId) {
            self.closed.push(visit);
        }
    }

    const ORIGIN: Pnn = Pnn(4);
    const RECORDS: TraverseOp = TraverseOp::Records { lane: 1 };

    fn frame(op: TraverseOp) -> VisitInput<'static> {
        VisitInput::Frame { from: ORIGIN, walk: 9, db: DbId(1), op }
    }

    fn started(window: u32) -> (Visits, World) {
        let (mut visits, mut world) = (Visits::new(1, 2), World::default());
        visits.step(frame(TraverseOp::Start { with_empty: false, window }), &mut world).unwrap();
        (visits, world)
    }

    fn walked(records: &[u8], slice: Slice) -> VisitInput<'_> {
        VisitInput::Walked { visit: VisitId(1), records, slice }
    }

    #[test]
    fn a_visit_walks_as_far_as_its_credit() {
        let (mut visits, mut world) = started(2);
        for _ in 0..2 {
            assert_eq!(world.walking.pop(), Some(VisitId(1)));
            visits.step(walked(b"r", Slice::More), &mut world).unwrap();
        }
        assert_eq!((world.sent.as_slice(), world.walking.len()), (&[RECORDS, RECORDS][..], 0));
        visits.step(frame(TraverseOp::Credit { lane: 1 }), &mut world).unwrap();
        assert_eq!(world.walking.pop(), Some(VisitId(1)));
        visits.step(walked(b"r", Slice::Last), &mut world).unwrap();
        let end = TraverseOp::End { lane: 1, lanes_count: 2, status: 0 };
        assert_eq!((world.sent.last(), world.closed.len()), (Some(&end), 1));
    }

    #[test]
    fn an_empty_slice_costs_no_credit() {
        let (mut visits, mut world) = started(1);
        visits.step(walked(b"", Slice::More), &mut world).unwrap();
        assert_eq!((world.sent.len(), world.walking.len()), (0, 2));
    }

    #[test]
    fn a_lane_without_the_database_says_so() {
        let (mut visits, mut world) =
            (Visits::new(1, 2), World { is_absent: true, ..World::default() });
        let start = frame(TraverseOp::Start { with_empty: false, window: 1 });
        visits.step(start, &mut world).unwrap();
        assert_eq!(world.sent, [TraverseOp::End { lane: 1, lanes_count: 2, status: -1 }]);
    }

    /// Scenario 60: no worker is left behind.
    #[test]
    fn a_stopped_visit_is_closed_and_its_last_slice_forgotten() {
        for stop in [frame(TraverseOp::Stop), VisitInput::NodeGone { node: ORIGIN }] {
            let (mut visits, mut world) = started(2);
            visits.step(stop, &mut world).unwrap();
            assert_eq!(world.closed, [VisitId(1)]);
            visits.step(walked(b"r", Slice::More), &mut world).unwrap();
            visits.step(frame(TraverseOp::Credit { lane: 1 }), &mut world).unwrap();
            assert_eq!((world.sent.len(), world.walking.len()), (0, 1));
        }
    }

    #[test]
    fn credit_for_another_lane_or_without_end_is_a_fault() {
        let (mut visits, mut world) = started(CREDIT_MAX);
        let to_other = frame(TraverseOp::Credit { lane: 0 });
        assert!(visits.step(to_other, &mut world).is_err());
        assert!(visits.step(frame(TraverseOp::Credit { lane: 1 }), &mut world).is_err());
    }

    #[test]
    fn the_same_walk_again_replaces_the_former_visit() {
        let (mut visits, mut world) = started(1);
        let start = frame(TraverseOp::Start { with_empty: false, window: 1 });
        visits.step(start, &mut world).unwrap();
        assert_eq!((world.closed.as_slice(), world.walking.len()), (&[VisitId(1)][..], 2));
    }
}
