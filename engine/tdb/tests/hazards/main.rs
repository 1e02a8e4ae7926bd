//! The pitfalls of sharing a file (tdb §13), each with the other process that it takes.
//!
//! Pitfalls that need no other process are tested beside the code: truncation (P19) in `mapping`,
//! holes (P21) in `tail_space`, lock bytes (P11) in `lock_table`; the differential test covers
//! those about bytes (P15, P20, P22 to P28, P33), `live_sharing` those about time (P10, P13, P31,
//! P37).

mod peer;
#[path = "../runner/mod.rs"]
mod runner;

use bateria_tdb::{
    Attempt, Chain, ChainWait, LockKind, OpenOptions, StoreMode, Tdb, TdbError, TdbFlags,
};
use peer::Peer;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const MUTEX: u32 = 0x1C41;
const FCNTL: u32 = 0x0C41;
/// No CLEAR_IF_FIRST.
const LASTING: u32 = 0x0C40;

type Test = (&'static str, &'static dyn Fn());

const TESTS: &[Test] = &[
    ("p1_a_file_in_use_is_not_cleared", &p1_a_file_in_use_is_not_cleared),
    ("p1_a_file_out_of_use_is_cleared", &p1_a_file_out_of_use_is_cleared),
    ("p2_closing_a_descriptor_keeps_locks", &p2_closing_a_descriptor_keeps_locks),
    ("p3_threads_exclude_each_other", &p3_threads_exclude_each_other),
    ("p4_descriptors_close_on_exec", &p4_descriptors_close_on_exec),
    ("p5_p7_a_mutex_lost_to_its_thread", &p5_p7_a_mutex_lost_to_its_thread),
    ("p7_dropping_a_handle_releases", &p7_dropping_a_handle_releases),
    ("p8_mutexes_are_mapped_once", &p8_mutexes_are_mapped_once),
    ("p9_the_number_of_held_locks_is_limited", &p9_the_number_of_held_locks_is_limited),
    ("p10_the_lock_of_a_killed_process", &p10_the_lock_of_a_killed_process),
    ("p11_p12_both_lock_the_same", &p11_p12_both_lock_the_same),
    ("p15_a_record_under_a_traverse_stays", &p15_a_record_under_a_traverse_stays),
    ("p16_the_first_lock_tests_recovery", &p16_the_first_lock_tests_recovery),
    ("p16_libtdb_recovers_ours", &p16_libtdb_recovers_ours),
    ("p18_growth_by_others_is_noticed", &p18_growth_by_others_is_noticed),
    ("p28_p29_mutexes_must_fit", &p28_p29_mutexes_must_fit),
    ("p30_read_locks_are_not_upgraded", &p30_read_locks_are_not_upgraded),
    ("p35_read_only_refuses_a_pending_recovery", &p35_read_only_refuses_a_pending_recovery),
    ("p36_clear_if_first_needs_locks", &p36_clear_if_first_needs_locks),
    ("p37_lock_all_gives_way_to_a_traverse", &p37_lock_all_gives_way_to_a_traverse),
    ("p38_a_lockless_handle_leaves_mutexes_alone", &p38_a_lockless_handle_leaves_mutexes_alone),
    ("waiting_for_a_chain_and_for_everything", &waiting_for_a_chain_and_for_everything),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "peer") {
        peer::run(&arguments[1..]);
        return ExitCode::SUCCESS;
    }
    runner::run(TESTS)
}

struct File(PathBuf);

impl File {
    fn new(name: &str) -> Self {
        let name = format!("bateria-hazard-{}-{name}.tdb", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_file(&path);
        Self(path)
    }

    /// A new file with one record.
    fn create(&self, flags: u32) -> Tdb {
        let mut tdb = self.open(flags);
        tdb.store(b"kept", &[b"data"], StoreMode::Insert).expect("an empty file has room");
        tdb
    }

    fn open(&self, flags: u32) -> Tdb {
        Tdb::open(&self.0, &options(flags)).expect("the file opens")
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn options(flags: u32) -> OpenOptions {
    OpenOptions {
        flags: TdbFlags::from_bits_retain(flags),
        hash_size: 7,
        create: true,
        ..OpenOptions::default()
    }
}

fn has(tdb: &mut Tdb, key: &[u8]) -> bool {
    tdb.exists(key).expect("the file is sound")
}

fn p1_a_file_in_use_is_not_cleared() {
    for flags in [MUTEX, FCNTL] {
        let file = File::new("p1");
        let first = file.create(flags);
        // ACTIVE belongs to all handles together: the first one may go.
        let mut sibling = first.sibling().expect("the file opens again");
        drop(first);
        let mut peer = Peer::start("theirs", file.path(), flags);
        assert_eq!(peer.ask("fetch kept"), "4");
        assert!(has(&mut sibling, b"kept"));
    }
}

fn p1_a_file_out_of_use_is_cleared() {
    for flags in [MUTEX, FCNTL] {
        let file = File::new("p1-clear");
        let tdb = file.create(flags);
        drop(tdb);
        let mut peer = Peer::start("theirs", file.path(), flags);
        assert_eq!(peer.ask("fetch kept"), "none");
        // And the reverse: in use by libtdb, it is not cleared by us.
        assert_eq!(peer.ask("store other 5"), "0");
        let mut tdb = file.open(flags);
        assert!(has(&mut tdb, b"other"));
        drop(tdb);
        drop(peer);
        assert!(!has(&mut file.open(flags), b"other"));
    }
}

fn p2_closing_a_descriptor_keeps_locks() {
    let file = File::new("p2");
    let mut tdb = file.create(FCNTL);
    let chain = tdb.chain_of(b"kept");
    tdb.lock_chain(chain).expect("nobody has it");
    drop(std::fs::File::open(file.path()).expect("the file opens"));
    let mut peer = Peer::start("theirs", file.path(), FCNTL);
    assert_eq!(peer.ask("fetch other-chain"), "none", "and ACTIVE is still held");
    assert_eq!(peer.ask("trylock kept"), "-1");
    tdb.unlock_chain(chain);
    assert_eq!(peer.ask("trylock kept"), "0");
    assert_eq!(tdb.try_lock_chain(chain).expect("the file is sound"), Attempt::Busy);
}

fn p3_threads_exclude_each_other() {
    for flags in [MUTEX, FCNTL] {
        let file = File::new("p3");
        let mut tdb = file.create(flags);
        let mut sibling = tdb.sibling().expect("the file opens again");
        let chain = Chain(3);
        tdb.lock_chain(chain).expect("nobody has it");
        std::thread::scope(|scope| {
            let other = scope.spawn(move || {
                let attempt = sibling.try_lock_chain(chain).expect("the file is sound");
                (attempt, sibling)
            });
            let (attempt, _sibling) = other.join().expect("the thread does not panic");
            assert_eq!(attempt, Attempt::Busy);
        });
    }
}

fn p4_descriptors_close_on_exec() {
    let file = File::new("p4");
    let tdb = file.create(FCNTL);
    let _sibling = tdb.sibling().expect("the file opens again");
    let own = std::fs::canonicalize(file.path()).expect("the file exists");
    let mut seen = 0;
    for entry in std::fs::read_dir("/proc/self/fd").expect("procfs").flatten() {
        if std::fs::read_link(entry.path()).is_ok_and(|target| target == own) {
            let name = entry.file_name();
            let info = Path::new("/proc/self/fdinfo").join(name);
            let info = std::fs::read_to_string(info).expect("procfs");
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).expect("flags");
            let flags = i32::from_str_radix(flags.trim(), 8).expect("octal");
            assert_ne!(flags & libc::O_CLOEXEC, 0);
            seen += 1;
        }
    }
    assert_eq!(seen, 2);
}

fn p5_p7_a_mutex_lost_to_its_thread() {
    let file = File::new("p5");
    let mut tdb = file.create(MUTEX);
    let chain = Chain(2);
    let (mut tdb, unlocked) = std::thread::scope(|scope| {
        let locker = scope.spawn(move || {
            tdb.lock_chain(chain).expect("nobody has it");
            tdb
        });
        // The thread has ended with the lock: the kernel has given it away as "owner died".
        let mut tdb = locker.join().expect("the thread does not panic");
        tdb.unlock_chain(chain);
        let lost = tdb.lost_locks_count();
        (tdb, lost)
    });
    assert_eq!(unlocked, 1, "a lock that was not ours any more is counted");
    // And whoever comes next repairs the mutex.
    tdb.lock_chain(chain).expect("the mutex is made consistent");
    tdb.unlock_chain(chain);
}

fn p7_dropping_a_handle_releases() {
    let file = File::new("p7");
    let mut tdb = file.create(MUTEX);
    let mut keeper = tdb.sibling().expect("the file opens again");
    tdb.lock_chain(Chain(1)).expect("nobody has it");
    tdb.lock_chain(Chain(4)).expect("nobody has it");
    drop(tdb);
    for chain in [Chain(1), Chain(4)] {
        assert_eq!(keeper.try_lock_chain(chain).expect("sound"), Attempt::Locked);
    }
}

fn p8_mutexes_are_mapped_once() {
    let file = File::new("p8");
    let tdb = file.create(MUTEX);
    let refused = Tdb::open(file.path(), &options(MUTEX));
    assert!(matches!(refused, Err(TdbError::Refused { errno: libc::EBUSY, .. })));
    let _sibling = tdb.sibling().expect("the file opens again");
    let maps = std::fs::read_to_string("/proc/self/maps").expect("procfs");
    let name = file.path().to_str().expect("an ASCII name");
    let areas = maps.lines().filter(|line| line.ends_with(name) && line.contains(" 00000000 "));
    assert_eq!(areas.count(), 1, "one mapping of the mutexes");
}

fn p9_the_number_of_held_locks_is_limited() {
    let file = File::new("p9");
    let mut tdb =
        Tdb::open(file.path(), &OpenOptions { hash_size: 1000, ..options(MUTEX) }).expect("opens");
    let held = (0..1000).take_while(|chain| tdb.lock_chain(Chain(*chain)).is_ok()).count();
    assert!((100..1000).contains(&held));
    assert!(matches!(tdb.try_lock_chain(Chain(999)), Err(TdbError::Lock { .. })));
}

fn p10_the_lock_of_a_killed_process() {
    for kind in ["theirs", "ours"] {
        for flags in [MUTEX, FCNTL] {
            let file = File::new("p10");
            let mut tdb = file.create(flags);
            let mut peer = Peer::start(kind, file.path(), flags);
            assert_eq!(peer.ask("lock kept"), "0");
            let chain = tdb.chain_of(b"kept");
            assert_eq!(tdb.try_lock_chain(chain).expect("sound"), Attempt::Busy);
            peer.kill();
            assert_eq!(tdb.try_lock_chain(chain).expect("sound"), Attempt::Locked);
            tdb.unlock_chain(chain);
            tdb.lock_chain(chain).expect("consistent again");
        }
    }
}

fn p11_p12_both_lock_the_same() {
    for flags in [MUTEX, FCNTL] {
        let file = File::new("p11");
        let mut tdb = file.create(flags);
        let mut peer = Peer::start("theirs", file.path(), flags);
        for number in 0..20 {
            let key = format!("key-{number}");
            let chain = tdb.chain_of(key.as_bytes());
            assert_eq!(peer.ask(&format!("lock {key}")), "0");
            for other in (0..7).map(Chain) {
                let attempt = tdb.try_lock_chain(other).expect("sound");
                assert_eq!(attempt == Attempt::Busy, other == chain);
                if attempt == Attempt::Locked {
                    tdb.unlock_chain(other);
                }
            }
            assert_eq!(tdb.try_lock_all(LockKind::Read).expect("sound"), Attempt::Busy);
            assert_eq!(peer.ask(&format!("unlock {key}")), "0");
        }
        assert_eq!(tdb.try_lock_all(LockKind::Write).expect("sound"), Attempt::Locked);
        assert_eq!(peer.ask("trylock kept"), "-1");
        assert_eq!(peer.ask("trylockall"), "-1");
        tdb.unlock_all();
        assert_eq!(peer.ask("trylockall"), "0");
        assert_eq!(tdb.try_lock_chain(Chain(0)).expect("sound"), Attempt::Busy);
        assert_eq!(tdb.try_lock_all(LockKind::Read).expect("sound"), Attempt::Busy);
        assert_eq!(peer.ask("unlockall"), "0");
        assert_eq!(tdb.try_lock_all(LockKind::Read).expect("sound"), Attempt::Locked);
    }
}

fn p15_a_record_under_a_traverse_stays() {
    for flags in [MUTEX, FCNTL] {
        let file = File::new("p15");
        let mut tdb = file.open(flags);
        for number in 0..10 {
            let key = format!("key-{number}");
            tdb.store(key.as_bytes(), &[b"data"], StoreMode::Insert).expect("there is room");
        }
        let mut peer = Peer::start("theirs", file.path(), flags);
        let first = peer.ask("first");
        assert!(tdb.delete(first.as_bytes()).expect("sound"));
        let report = tdb.check().expect("a read lock is compatible");
        assert_eq!((report.dead_count, report.live_count), (1, 9));
        // The traverse goes on from the dead record and sees every other one.
        let (mut key, mut seen) = (first, 0);
        loop {
            key = peer.ask(&format!("next {key}"));
            if key == "none" {
                break;
            }
            seen += 1;
        }
        assert_eq!(seen, 9);
        // Now nobody stands on it; the next change of its chain reclaims it.
        for number in 0..10 {
            let key = format!("key-{number}");
            tdb.store(key.as_bytes(), &[&[0; 500]], StoreMode::Replace).expect("there is room");
        }
        assert_eq!(tdb.check().expect("sound").dead_count, 0);
    }
}

fn p16_the_first_lock_tests_recovery() {
    for kind in ["theirs", "ours"] {
        for flags in [MUTEX, FCNTL] {
            let file = File::new("p16");
            let mut tdb = file.create(flags);
            let mut peer = Peer::start(kind, file.path(), flags);
            if kind == "theirs" {
                assert_eq!(peer.ask("begin"), "0");
                assert_eq!(peer.ask("store kept 1000"), "0");
                assert_eq!(peer.ask("prepare"), "0");
            } else {
                assert_eq!(peer.ask("prepare kept 1000"), "0");
            }
            let chain = tdb.chain_of(b"kept");
            assert_eq!(tdb.try_lock_chain(chain).expect("sound"), Attempt::Busy);
            peer.kill();
            let attempt = tdb.try_lock_chain(chain);
            assert!(matches!(attempt, Err(TdbError::RecoveryNeeded { .. })), "{attempt:?}");
            let attempt = tdb.try_lock_all(LockKind::Read);
            assert!(matches!(attempt, Err(TdbError::RecoveryNeeded { .. })), "{attempt:?}");
            let mut data = Vec::new();
            assert!(tdb.fetch(b"kept", &mut data).expect("rolled back"));
            assert_eq!(data, b"data");
            let report = tdb.check().expect("sound");
            assert!(report.is_clean() && report.unowned_bytes == 0, "{report:?}");
            let mut peer = Peer::start("theirs", file.path(), flags);
            assert_eq!(peer.ask("store large 100000"), "0");
            assert_eq!(peer.ask("check"), "0", "libtdb finds no hole");
        }
    }
}

fn p16_libtdb_recovers_ours() {
    for flags in [MUTEX, FCNTL] {
        let file = File::new("p16-ours");
        let mut tdb = file.create(flags);
        let mut peer = Peer::start("theirs", file.path(), flags);
        let mut committer = Peer::start("ours", file.path(), flags);
        assert_eq!(committer.ask("prepare kept 1000"), "0");
        committer.kill();
        assert_eq!(peer.ask("fetch kept"), "4");
        assert_eq!(peer.ask("check"), "0");
        assert!(has(&mut tdb, b"kept"));
    }
}

fn p18_growth_by_others_is_noticed() {
    for flags in [MUTEX, FCNTL] {
        let file = File::new("p18");
        let mut tdb = file.create(flags);
        let mut peer = Peer::start("theirs", file.path(), flags);
        for number in 0..40 {
            assert_eq!(peer.ask(&format!("store theirs-{number} 60000")), "0");
            let key = format!("ours-{number}");
            tdb.store(key.as_bytes(), &[&vec![7; 30_000]], StoreMode::Insert)
                .expect("there is room");
            let mut data = Vec::new();
            let theirs = format!("theirs-{number}");
            assert!(tdb.fetch(theirs.as_bytes(), &mut data).expect("sound"));
            assert_eq!(data.len(), 60_000);
            assert_eq!(peer.ask(&format!("fetch {key}")), "30000");
        }
        assert!(tdb.check().expect("sound").is_clean());
    }
}

fn p28_p29_mutexes_must_fit() {
    let file = File::new("p28");
    drop(file.create(MUTEX & !1));
    let refused = |flags: u32| match Tdb::open(file.path(), &options(flags)) {
        Err(TdbError::Refused { errno, .. }) => errno,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(LASTING), libc::EINVAL, "mutexes in the file, not in the flags");
    let mut bytes = std::fs::read(file.path()).expect("the file exists");
    bytes[64..68].copy_from_slice(&65536_u32.to_ne_bytes());
    std::fs::write(file.path(), &bytes).expect("the file is ours");
    assert_eq!(refused(MUTEX & !1), libc::EINVAL, "made on a machine with larger pages");

    let file = File::new("p29");
    drop(file.create(LASTING));
    let tdb = file.open(MUTEX & !1);
    assert!(!tdb.uses_mutexes(), "a file without mutexes is locked by fcntl");
}

fn p30_read_locks_are_not_upgraded() {
    for flags in [MUTEX, FCNTL] {
        let file = File::new("p30");
        let mut tdb = file.create(flags);
        let chain = tdb.chain_of(b"kept");
        tdb.lock_chain_read(chain).expect("nobody has it");
        let stored = tdb.store(b"kept", &[b"new"], StoreMode::Replace);
        assert!(matches!(stored, Err(TdbError::Lock { .. })));
        assert!(has(&mut tdb, b"kept"), "reading goes on");
        tdb.unlock_chain(chain);
        assert!(tdb.store(b"kept", &[b"new"], StoreMode::Replace).expect("there is room"));
    }
}

fn p35_read_only_refuses_a_pending_recovery() {
    let file = File::new("p35");
    drop(file.create(LASTING));
    let mut peer = Peer::start("theirs", file.path(), LASTING);
    assert_eq!(peer.ask("begin"), "0");
    assert_eq!(peer.ask("store kept 1000"), "0");
    assert_eq!(peer.ask("prepare"), "0");
    peer.kill();
    let read_only = OpenOptions { read_only: true, ..options(LASTING) };
    assert!(matches!(Tdb::open(file.path(), &read_only), Err(TdbError::Corrupt { .. })));
    assert!(has(&mut file.open(LASTING), b"kept"));
    let mut tdb = Tdb::open(file.path(), &read_only).expect("rolled back by now");
    assert!(has(&mut tdb, b"kept"));
    let stored = tdb.store(b"kept", &[b""], StoreMode::Replace);
    assert!(matches!(stored, Err(TdbError::ReadOnly { .. })));
}

fn p36_clear_if_first_needs_locks() {
    let file = File::new("p36");
    drop(file.create(LASTING));
    let refused = Tdb::open(file.path(), &options(FCNTL | 0x4));
    assert!(matches!(refused, Err(TdbError::Invalid { .. })));
}

fn p37_lock_all_gives_way_to_a_traverse() {
    for flags in [MUTEX, FCNTL] {
        let file = File::new("p37");
        let mut tdb = file.open(flags);
        for number in 0..50 {
            let key = format!("key-{number}");
            tdb.store(key.as_bytes(), &[b"data"], StoreMode::Insert).expect("there is room");
        }
        let mut peer = Peer::start("theirs", file.path(), flags);
        let mut key = peer.ask("first");
        std::thread::scope(|scope| {
            let locker = scope.spawn(move || {
                tdb.lock_all(LockKind::Write).expect("sound");
                tdb.unlock_all();
            });
            // Each step of the traverse needs a chain that the locker would keep.
            while key != "none" {
                std::thread::sleep(Duration::from_millis(1));
                key = peer.ask(&format!("next {key}"));
            }
            locker.join().expect("the thread does not panic");
        });
    }
}

fn p38_a_lockless_handle_leaves_mutexes_alone() {
    let file = File::new("p38");
    let flags = MUTEX & !1;
    drop(file.create(flags));
    let mut peer = Peer::start("theirs", file.path(), flags);
    assert_eq!(peer.ask("lock kept"), "0");
    let mut tdb = file.open(flags | 0x4);
    assert!(has(&mut tdb, b"kept"));
    drop(tdb);
    assert_eq!(peer.ask("unlock kept"), "0", "the lock was still theirs");
}

fn waiting_for_a_chain_and_for_everything() {
    let file = File::new("waiting");
    let mut tdb = file.create(MUTEX);
    let chain = tdb.chain_of(b"kept");
    let mut peer = Peer::start("theirs", file.path(), MUTEX);
    for (lock, unlock) in [("lock kept", "unlock kept"), ("lockall", "unlockall")] {
        for killed in [false, true] {
            assert_eq!(peer.ask(lock), "0");
            assert_eq!(tdb.try_lock_chain(chain).expect("sound"), Attempt::Busy);
            let wait = tdb.wait_for_chain(chain).expect("sound");
            let ChainWait::Futex { word, expected } = wait else { panic!("{wait:?}") };
            assert_eq!(word.load(), expected);
            let sleeper = std::thread::spawn(move || futex_wait(&word, expected));
            if killed {
                peer.kill();
                peer = Peer::start("theirs", file.path(), MUTEX);
            } else {
                assert_eq!(peer.ask(unlock), "0");
            }
            let start = Instant::now();
            sleeper.join().expect("the thread does not panic");
            assert!(start.elapsed() < Duration::from_secs(5), "the wake-up came");
            let attempt = tdb.try_lock_chain_after_wait(chain).expect("sound");
            assert_eq!(attempt, Attempt::Locked);
            tdb.unlock_chain(chain);
        }
    }
}

fn futex_wait(word: &bateria_tdb::FutexWord, expected: u32) {
    let timeout = libc::timespec { tv_sec: 10, tv_nsec: 0 };
    // SAFETY: the word stays mapped as long as `word` lives.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            expected,
            &raw const timeout,
        );
    }
}
