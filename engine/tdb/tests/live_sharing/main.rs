//! Our engine and libtdb in several processes on one file, some of them killed.
//!
//! `cargo test --test live_sharing` runs each scenario for a moment; with
//! `BATERIA_LIVE_SHARING_SECONDS=120` for as long as that says. Afterwards no update is lost, and
//! our check, libtdb's and `tdbtool check` find the file clean.

mod control;
mod engine;
#[path = "../futex/mod.rs"]
mod futex;
#[path = "../runner/mod.rs"]
mod runner;
mod worker;

use bateria_tdb::libtdb::Original;
use bateria_tdb::{Advice, OpenOptions, StoreMode, Tdb, TdbFlags};
use control::{COUNTERS, Control, SLOTS};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use worker::{Dice, Mix, Worker, counter_key};

struct Scenario {
    name: &'static str,
    flags: u32,
    hash_size: u32,
    workers: Workers,
    /// Workers are killed at any moment.
    kill: bool,
}

const PLAIN: u32 = Mix::COUNT | Mix::HOLD | Mix::CHURN;
const BUSY: u32 = Mix::COUNT | Mix::CHURN;
const SAFE: u32 = Mix::COUNT | Mix::HOLD | Mix::TRANSACTION;
const ALL: u32 = u32::MAX;

/// Engine and mix of each worker.
type Workers = &'static [(&'static str, u32)];

const EVERYTHING: Workers = &[("ours", ALL), ("patient", ALL), ("theirs", ALL), ("theirs", ALL)];
const THEY_DO_NOT_TRAVERSE: Workers = &[
    ("ours", ALL),
    ("patient", ALL),
    ("theirs", ALL & !Mix::TRAVERSE),
    ("theirs", ALL & !Mix::TRAVERSE),
];
const THEY_TRAVERSE: Workers = &[
    ("ours", ALL),
    ("patient", ALL),
    ("theirs", PLAIN | Mix::TRAVERSE),
    ("theirs", PLAIN | Mix::TRAVERSE),
];

/// A libtdb that traverses and one that locks everything or commits deadlock with each other in
/// files with mutexes (P37); so there only one kind of libtdb worker is let loose at a time.
const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "fcntl_everything",
        flags: 0x0C41,
        hash_size: 7,
        workers: EVERYTHING,
        kill: false,
    },
    Scenario {
        name: "mutex_everything_but_their_traverse",
        flags: 0x1C41,
        hash_size: 7,
        workers: THEY_DO_NOT_TRAVERSE,
        kill: false,
    },
    Scenario {
        name: "mutex_their_traverse",
        flags: 0x1C41,
        hash_size: 7,
        workers: THEY_TRAVERSE,
        kill: false,
    },
    Scenario {
        name: "mutex_waiting",
        flags: 0x1C41,
        hash_size: 2,
        workers: &[
            ("patient", Mix::COUNT | Mix::HOLD),
            ("patient", Mix::COUNT | Mix::HOLD),
            ("patient", Mix::COUNT | Mix::HOLD | Mix::ALL),
            ("theirs", Mix::COUNT | Mix::HOLD),
            ("theirs", Mix::COUNT | Mix::HOLD | Mix::ALL),
        ],
        kill: false,
    },
    Scenario {
        name: "mutex_killed_while_waiting_and_holding",
        flags: 0x1C41,
        hash_size: 2,
        workers: &[
            ("ours", Mix::COUNT | Mix::HOLD),
            ("ours", Mix::COUNT | Mix::HOLD | Mix::ALL),
            ("theirs", Mix::COUNT | Mix::HOLD),
            ("theirs", Mix::COUNT | Mix::HOLD | Mix::ALL),
            ("patient", Mix::COUNT | Mix::HOLD | Mix::ALL),
        ],
        kill: true,
    },
    Scenario {
        name: "fcntl_killed_in_transactions",
        flags: 0x0C41,
        hash_size: 7,
        workers: &[("ours", SAFE), ("patient", SAFE), ("theirs", SAFE), ("theirs", SAFE)],
        kill: true,
    },
    Scenario {
        name: "mutex_killed_in_transactions",
        flags: 0x1C41,
        hash_size: 7,
        workers: &[("ours", SAFE), ("patient", SAFE), ("theirs", SAFE), ("theirs", SAFE)],
        kill: true,
    },
    Scenario {
        name: "fcntl_killed_in_churn",
        flags: 0x0C41,
        hash_size: 7,
        workers: &[("ours", BUSY), ("patient", BUSY), ("theirs", BUSY), ("theirs", BUSY)],
        kill: true,
    },
    Scenario {
        name: "mutex_killed_in_churn",
        flags: 0x1C41,
        hash_size: 7,
        workers: &[("ours", BUSY), ("patient", BUSY), ("theirs", BUSY), ("theirs", BUSY)],
        kill: true,
    },
    Scenario {
        name: "fcntl_killed_in_everything",
        flags: 0x0C41,
        hash_size: 7,
        workers: EVERYTHING,
        kill: true,
    },
    Scenario {
        name: "mutex_killed_in_everything",
        flags: 0x1C41,
        hash_size: 7,
        workers: THEY_DO_NOT_TRAVERSE,
        kill: true,
    },
    Scenario {
        name: "mutex_killed_in_their_traverse",
        flags: 0x1C41,
        hash_size: 7,
        workers: THEY_TRAVERSE,
        kill: true,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "worker") {
        Worker::run(&arguments[1..]);
        return ExitCode::SUCCESS;
    }
    let seconds = std::env::var("BATERIA_LIVE_SHARING_SECONDS")
        .map_or(2, |text| text.parse().expect("a number of seconds"));
    let runs: Vec<_> = SCENARIOS
        .iter()
        .map(|scenario| (scenario.name, move || run(scenario, Duration::from_secs(seconds))))
        .collect();
    let tests: Vec<(&str, &dyn Fn())> =
        runs.iter().map(|(name, run)| (*name, run as &dyn Fn())).collect();
    runner::run(&tests)
}

/// A directory of the test's own and the processes in it; both end with it.
struct Stage {
    directory: PathBuf,
    children: Vec<Option<Child>>,
}

impl Stage {
    fn new(name: &str) -> Self {
        let name = format!("bateria-live-{}-{name}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).expect("the temporary directory is writable");
        Self { directory, children: (0..SLOTS).map(|_| None).collect() }
    }

    fn file(&self) -> PathBuf {
        self.directory.join("shared.tdb")
    }

    fn start(&mut self, scenario: &Scenario, slot: usize, seed: u64) {
        let (engine, mix) = scenario.workers[slot];
        let child = Command::new(std::env::current_exe().expect("this program has a path"))
            .arg("worker")
            .arg(engine)
            .arg(self.file())
            .arg(scenario.flags.to_string())
            .arg(self.directory.join("control"))
            .arg(slot.to_string())
            .arg(seed.to_string())
            .arg(mix.to_string())
            .spawn()
            .expect("workers start");
        self.children[slot] = Some(child);
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for child in self.children.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn run(scenario: &Scenario, duration: Duration) {
    let mut stage = Stage::new(scenario.name);
    let options = OpenOptions {
        flags: TdbFlags::from_bits_retain(scenario.flags),
        hash_size: scenario.hash_size,
        create: true,
        ..OpenOptions::default()
    };
    let mut keeper = Tdb::open(&stage.file(), &options).expect("the file is made");
    for counter in 0..COUNTERS {
        keeper
            .store(&counter_key(counter), &[&0_u64.to_le_bytes()], StoreMode::Insert)
            .expect("an empty file has room");
    }
    let control = Control::open(&stage.directory.join("control"));
    let mut dice = Dice::new(u64::from(std::process::id()));
    for slot in 0..scenario.workers.len() {
        stage.start(scenario, slot, slot as u64 + 1);
    }
    let end = Instant::now() + duration;
    let mut progress = Progress::new(&control);
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
        progress.check(&control, scenario);
        for slot in 0..scenario.workers.len() {
            let child = stage.children[slot].as_mut().expect("started above");
            if scenario.kill && dice.below(8) == 0 {
                child.kill().expect("our own child");
                child.wait().expect("our own child");
                stage.start(scenario, slot, u64::from(dice.below(u32::MAX)));
            } else if let Some(status) = child.try_wait().expect("our own child") {
                panic!("{}: worker {slot} ended: {status}", scenario.name);
            }
        }
    }
    control.stop();
    for slot in 0..scenario.workers.len() {
        let mut child = stage.children[slot].take().expect("started above");
        await_end(&mut child, &keeper, scenario, slot);
    }
    let increments = judge(scenario, keeper, &stage.file(), &control);
    println!("{}: {increments} increments", scenario.name);
}

/// Nobody may stand still for long: that would be a lost wake-up.
struct Progress {
    beats: Vec<u64>,
    since: Vec<Instant>,
}

impl Progress {
    fn new(control: &Control) -> Self {
        let beats = (0..SLOTS).map(|slot| control.beats(slot)).collect();
        Self { beats, since: vec![Instant::now(); SLOTS] }
    }

    fn check(&mut self, control: &Control, scenario: &Scenario) {
        for slot in 0..scenario.workers.len() {
            let beats = control.beats(slot);
            if beats != self.beats[slot] {
                self.beats[slot] = beats;
                self.since[slot] = Instant::now();
            }
            let still = self.since[slot].elapsed();
            assert!(still < STILL_MAX, "{}: worker {slot} hangs", scenario.name);
        }
    }
}

fn await_end(child: &mut Child, keeper: &Tdb, scenario: &Scenario, slot: usize) {
    let start = Instant::now();
    loop {
        if scenario.kill {
            // Nobody is left who would contend for what a killed libtdb was woken for (P49).
            keeper.wake_strays();
        }
        if let Some(status) = child.try_wait().expect("our own child") {
            assert!(status.success(), "{}: worker {slot} ended: {status}", scenario.name);
            return;
        }
        if start.elapsed() > STILL_MAX {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{}: worker {slot} hangs at the end", scenario.name);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn judge(scenario: &Scenario, mut keeper: Tdb, path: &Path, control: &Control) -> u64 {
    let mut total = 0;
    for counter in 0..COUNTERS {
        let mut value = Vec::new();
        assert!(keeper.fetch(&counter_key(counter), &mut value).expect("the file is sound"));
        let value = u64::from_le_bytes(value.try_into().expect("counters have 8 bytes"));
        let (begun, finished) = control.totals(counter);
        assert!(
            (finished..=begun).contains(&value),
            "{}: counter {counter} is {value}, begun {begun}, finished {finished}",
            scenario.name
        );
        total += value;
    }
    if scenario.kill {
        // A rollback by libtdb can leave a hole behind which it then puts records (P21), whoever is
        // killed outside a transaction a record that nobody links to, or space without a record.
        // That is all that may be wrong.
        let report = keeper.mend().expect("the file is sound");
        assert_ne!(report.advice(), Some(Advice::Rescue), "{}: {report:?}", scenario.name);
    }
    // Their handle needs the file to be in use, or it would clear it; and it must be closed before
    // ours, whose descriptor's locks it does not know.
    let mut theirs =
        Original::open(path, 0, scenario.flags, libc::O_RDWR).expect("libtdb opens the file");
    assert!(theirs.check(), "{}: libtdb finds the file clean", scenario.name);
    drop(theirs);
    drop(keeper);
    let tool = Command::new("tdbtool").arg(path).arg("check").stdin(Stdio::null()).output();
    let tool = tool.expect("tdbtool is installed (package tdb-tools)");
    let verdict = String::from_utf8_lossy(&tool.stdout);
    assert!(verdict.contains("Database integrity is OK"), "{}: {verdict}", scenario.name);
    total
}

const STILL_MAX: Duration = Duration::from_secs(20);
