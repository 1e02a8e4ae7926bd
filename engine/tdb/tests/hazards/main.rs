//! The pitfalls of sharing a file (tdb §13), each with the other process that it takes.
//!
//! Pitfalls that need no other process are tested beside the code: truncation (P19) in `mapping`,
//! holes (P21) in `tail_space`, lock bytes (P11) in `lock_table`; the differential test covers
//! those about bytes (P15, P20, P22 to P28, P33), `live_sharing` those about time (P10, P13, P31,
//! P37).

mod files;
#[path = "../futex/mod.rs"]
mod futex;
mod locks;
mod peer;
#[path = "../runner/mod.rs"]
mod runner;

use bateria_tdb::{OpenOptions, StoreMode, Tdb, TdbFlags};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const MUTEX: u32 = 0x1C41;
const FCNTL: u32 = 0x0C41;
/// No CLEAR_IF_FIRST.
const LASTING: u32 = 0x0C40;

type Test = (&'static str, &'static dyn Fn());

const TESTS: &[Test] = &[
    ("p1_a_file_in_use_is_not_cleared", &files::p1_a_file_in_use_is_not_cleared),
    ("p1_a_file_out_of_use_is_cleared", &files::p1_a_file_out_of_use_is_cleared),
    ("p2_closing_a_descriptor_keeps_locks", &locks::p2_closing_a_descriptor_keeps_locks),
    ("p3_threads_exclude_each_other", &locks::p3_threads_exclude_each_other),
    ("p4_descriptors_close_on_exec", &locks::p4_descriptors_close_on_exec),
    ("p5_p7_a_mutex_lost_to_its_thread", &locks::p5_p7_a_mutex_lost_to_its_thread),
    ("p7_dropping_a_handle_releases", &locks::p7_dropping_a_handle_releases),
    ("p8_mutexes_are_mapped_once", &locks::p8_mutexes_are_mapped_once),
    ("p9_the_number_of_held_locks_is_limited", &locks::p9_the_number_of_held_locks_is_limited),
    ("p10_the_lock_of_a_killed_process", &locks::p10_the_lock_of_a_killed_process),
    ("p11_p12_both_lock_the_same", &locks::p11_p12_both_lock_the_same),
    ("p15_a_record_under_a_traverse_stays", &files::p15_a_record_under_a_traverse_stays),
    ("p16_the_first_lock_tests_recovery", &files::p16_the_first_lock_tests_recovery),
    ("p16_libtdb_recovers_ours", &files::p16_libtdb_recovers_ours),
    ("p18_growth_by_others_is_noticed", &files::p18_growth_by_others_is_noticed),
    ("p28_p29_mutexes_must_fit", &files::p28_p29_mutexes_must_fit),
    ("p30_read_locks_are_not_upgraded", &locks::p30_read_locks_are_not_upgraded),
    ("p35_read_only_refuses_a_pending_recovery", &files::p35_read_only_refuses_a_pending_recovery),
    ("p36_clear_if_first_needs_locks", &locks::p36_clear_if_first_needs_locks),
    ("p37_lock_all_gives_way_to_a_traverse", &locks::p37_lock_all_gives_way_to_a_traverse),
    (
        "p38_a_lockless_handle_leaves_mutexes_alone",
        &locks::p38_a_lockless_handle_leaves_mutexes_alone,
    ),
    ("waiting_for_a_chain_and_for_everything", &locks::waiting_for_a_chain_and_for_everything),
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
