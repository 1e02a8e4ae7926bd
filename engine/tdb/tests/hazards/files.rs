//! What a file shared with others must survive.

use crate::peer::Peer;
use crate::{FCNTL, File, LASTING, MUTEX, has, options};
use bateria_tdb::{Attempt, LockKind, OpenOptions, StoreMode, Tdb, TdbError};

pub(crate) fn p1_a_file_in_use_is_not_cleared() {
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

pub(crate) fn p1_a_file_out_of_use_is_cleared() {
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

pub(crate) fn p15_a_record_under_a_traverse_stays() {
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

pub(crate) fn p16_the_first_lock_tests_recovery() {
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

pub(crate) fn p16_libtdb_recovers_ours() {
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

pub(crate) fn p18_growth_by_others_is_noticed() {
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

pub(crate) fn p28_p29_mutexes_must_fit() {
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

pub(crate) fn p35_read_only_refuses_a_pending_recovery() {
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
