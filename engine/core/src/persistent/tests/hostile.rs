//! Whatever members send, in whatever order: a fault at most, never a panic, never two jobs at once.

use super::random::Random;
use crate::persistent::{
    Contents, Cursor, Effects, Input, Job, JobFault, JobId, Outcome, Persistent, Reason, Settings,
};
use crate::record::Caller;
use alloc::vec::Vec;
use bateria_wire::head::{Head, PersistentOp};
use bateria_wire::{DbId, DbKind, Generation, Pnn};

const SEEDS_COUNT: u64 = 300;
const STEPS_COUNT: usize = 400;
const MEMBERS: [Pnn; 3] = [Pnn(0), Pnn(1), Pnn(2)];
const DBS: [DbId; 2] = [DbId(1), DbId(2)];

#[test]
fn no_frame_makes_a_node_stumble() {
    let mut faults_count = 0_usize;
    for seed in 1..=SEEDS_COUNT {
        let mut random = Random::new(seed);
        let own = MEMBERS[random.below(3) as usize];
        let mut machine = Persistent::new(own, Settings::default());
        let mut driver = Driver::default();
        for _ in 0..STEPS_COUNT {
            faults_count += usize::from(!event(own, &mut machine, &mut driver, &mut random));
        }
    }
    assert!(faults_count > 1000, "much of it is told to be wrong: {faults_count}");
}

/// One event of any kind; false for a fault.
fn event(own: Pnn, machine: &mut Persistent, driver: &mut Driver, random: &mut Random) -> bool {
    let db = DBS[random.below(2) as usize];
    let bulk: Vec<u8> = match random.below(3) {
        0 => Vec::new(),
        1 => MEMBERS[random.below(3) as usize].0.to_le_bytes().to_vec(),
        _ => (0..random.below(9)).map(|_| u8::try_from(random.below(256)).unwrap()).collect(),
    };
    let newest = driver.generation;
    let generation = Generation(newest.0 - random.below(4) / 3);
    let now_ms = u64::from(random.below(200_000));
    let input = match random.below(24) {
        0 => Input::Attach { db, kind: DbKind::Persistent },
        1 if random.below(8) == 0 => {
            driver.jobs.retain(|(of, _)| *of != db);
            Input::Detach { db }
        }
        2 => {
            driver.generation = Generation(newest.0 + random.below(2));
            Input::Quiesce { generation: driver.generation }
        }
        3 => Input::Rebuild { generation, members: &MEMBERS, contributors: &MEMBERS[..1] },
        4 => Input::Committed { generation },
        5 => {
            let caller = Caller { session: u64::from(random.below(3)), request: 1 };
            Input::Commit { caller, db, buffer: &bulk }
        }
        6 => Input::CallerGone { session: u64::from(random.below(3)) },
        7 => Input::Tick,
        8..12 if !driver.jobs.is_empty() => {
            let (db, job) = driver.jobs.swap_remove(0);
            Input::JobDone { db, job, outcome: outcome(random) }
        }
        _ => {
            // A node has the number that its connection was accepted for, never the own one.
            let from = loop {
                let from = Pnn(random.below(4));
                if from != own {
                    break from;
                }
            };
            Input::Frame { from, generation, db, op: op(random), bulk: &bulk }
        }
    };
    machine.step(now_ms, input, driver).is_ok()
}

fn op(random: &mut Random) -> PersistentOp {
    let number = u64::from(random.below(3));
    let part = random.below(3);
    match random.below(9) {
        0 => PersistentOp::Update { transaction: number },
        1 => PersistentOp::Updated { transaction: number, status: -1 },
        2 => PersistentOp::Digest { sequence_number: number, digest: number, updated_in: part },
        3 => PersistentOp::NoCopy,
        4 => PersistentOp::Distribute,
        5 => PersistentOp::Fill { part, last: number == 0, updated_in: part },
        6 => PersistentOp::FillNext { part },
        7 => PersistentOp::Filled { status: i32::try_from(part).unwrap() - 1 },
        _ => PersistentOp::Settled { whole: number == 0 },
    }
}

/// The driver answers a job with what belongs to it, or with a failure.
fn outcome(random: &mut Random) -> Outcome {
    let number = u64::from(random.below(3));
    match random.below(6) {
        0 => Outcome::Failed(JobFault::Failed),
        1 => Outcome::Failed(JobFault::Refused),
        2 => Outcome::Digested(Contents {
            sequence_number: number,
            digest: number,
            updated_in: Generation::INVALID,
        }),
        3 => Outcome::Part { records: Vec::new(), next: None },
        4 => Outcome::Part { records: Vec::new(), next: Some(Cursor::default()) },
        _ => Outcome::Done,
    }
}

#[derive(Default)]
struct Driver {
    generation: Generation,
    jobs: Vec<(DbId, JobId)>,
}

impl Effects for Driver {
    fn send(&mut self, _: Pnn, _: &Head, _: &[u8]) {}
    fn reply(&mut self, _: Caller, _: i32, _: &str) {}
    fn start_job(&mut self, db: DbId, job: JobId, _: Job<'_>) {
        assert!(self.jobs.iter().all(|(of, _)| *of != db), "one job at a time");
        self.jobs.push((db, job));
    }
    fn request_recovery(&mut self, _: Reason) {}
    fn settled(&mut self, _: Generation) {}
    fn copy_failed(&mut self, _: DbId) {}
}
