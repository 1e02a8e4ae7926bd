//! Locks of both kinds, beside other handles, threads and processes.

use crate::futex;
use crate::peer::Peer;
use crate::{FCNTL, File, LASTING, MUTEX, has, options};
use bateria_tdb::{Attempt, Chain, ChainWait, LockKind, OpenOptions, StoreMode, Tdb, TdbError};
use std::path::Path;
use std::time::{Duration, Instant};

pub(crate) fn p2_closing_a_descriptor_keeps_locks() {
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

pub(crate) fn p3_threads_exclude_each_other() {
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

pub(crate) fn p4_descriptors_close_on_exec() {
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

pub(crate) fn p5_p7_a_mutex_lost_to_its_thread() {
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

pub(crate) fn p7_dropping_a_handle_releases() {
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

pub(crate) fn p8_mutexes_are_mapped_once() {
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

pub(crate) fn p9_the_number_of_held_locks_is_limited() {
    let file = File::new("p9");
    let mut tdb =
        Tdb::open(file.path(), &OpenOptions { hash_size: 1000, ..options(MUTEX) }).expect("opens");
    let held = (0..1000).take_while(|chain| tdb.lock_chain(Chain(*chain)).is_ok()).count();
    assert!((100..1000).contains(&held));
    assert!(matches!(tdb.try_lock_chain(Chain(999)), Err(TdbError::Lock { .. })));
}

pub(crate) fn p10_the_lock_of_a_killed_process() {
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

pub(crate) fn p11_p12_both_lock_the_same() {
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

pub(crate) fn p30_read_locks_are_not_upgraded() {
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

pub(crate) fn p36_clear_if_first_needs_locks() {
    let file = File::new("p36");
    drop(file.create(LASTING));
    let refused = Tdb::open(file.path(), &options(FCNTL | 0x4));
    assert!(matches!(refused, Err(TdbError::Invalid { .. })));
}

pub(crate) fn p37_lock_all_gives_way_to_a_traverse() {
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

pub(crate) fn p38_a_lockless_handle_leaves_mutexes_alone() {
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

pub(crate) fn waiting_for_a_chain_and_for_everything() {
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
            let sleeper = std::thread::spawn(move || futex::wait(&word, expected, Some(LIMIT)));
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

/// Whoever sleeps longer was not woken.
const LIMIT: Duration = Duration::from_secs(10);
