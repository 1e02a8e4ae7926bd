//! `bateria tdb torture`, for a moment each; longer runs are a command away.

use crate::databases::overwrite;
use crate::json::lines;
use crate::program::{Directory, bateria, tdb};
use serde_json::Value;
use std::ffi::OsStr;
use std::time::{Duration, Instant};

fn torture(directory: &Directory, arguments: &[&str]) -> (Option<i32>, Value) {
    let mut all: Vec<&dyn AsRef<OsStr>> = vec![&"torture", &"--json", &"--seed=7"];
    all.extend(arguments.iter().map(|argument| argument as &dyn AsRef<OsStr>));
    let path = directory.path();
    all.push(&path);
    let done = tdb(&all);
    (done.code, lines(&done.out).into_iter().next().unwrap_or_else(|| panic!("{}", done.err)))
}

#[test]
fn ours_and_libtdb_share_a_file_in_both_lock_modes() {
    let directory = Directory::new("torture");
    for mode in ["--fcntl", "--mutex"] {
        let (code, report) =
            torture(&directory, &[mode, "--workers=2", "--libtdb=2", "--seconds=1"]);
        assert_eq!(code, Some(0), "{report:#}");
        assert_eq!(report["locking"], mode[2..]);
        assert_eq!((&report["workers"], &report["libtdb_workers"]), (&2.into(), &2.into()));
        assert_eq!((&report["bateria"], &report["libtdb"]), (&"clean".into(), &"clean".into()));
        assert_eq!(report["faults"], Value::Array(Vec::new()));
        assert_eq!(report["seed"], 7);
        for operation in ["fetch", "store", "append", "delete", "lock_chain", "commit"] {
            assert!(report["operations"][operation].as_u64().unwrap() > 0, "{operation}");
        }
        assert!(report["increments"].as_u64().unwrap() > 0);
    }
    assert_eq!(directory.names(), [""; 0]);
}

#[test]
fn killed_workers_lose_nothing_in_both_lock_modes() {
    let directory = Directory::new("torture-kill");
    for mode in ["--fcntl", "--mutex"] {
        let (code, report) =
            torture(&directory, &[mode, "--workers=2", "--libtdb=2", "--seconds=2", "--kill"]);
        assert_eq!(code, Some(0), "{report:#}");
        assert!(report["kills"].as_u64().unwrap() > 0, "{report:#}");
        assert_eq!((&report["bateria"], &report["libtdb"]), (&"clean".into(), &"clean".into()));
    }
}

#[test]
fn loops_end_by_themselves_and_a_named_file_stays() {
    let directory = Directory::new("torture-loops");
    let file = directory.file("tortured.tdb");
    let run = || tdb(&[&"torture", &"--loops=30", &"--workers=1", &"--transactions", &file]);
    let done = run();
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(done.out.contains("bateria: clean, "), "{}", done.out);
    assert_eq!(directory.names(), ["tortured.tdb"]);
    assert_eq!(tdb(&[&"check", &file]).code, Some(0));
    // It is nobody's business to torture what is there.
    let before = std::fs::read(&file).unwrap();
    let done = run();
    assert_eq!(done.code, Some(2));
    assert!(done.err.contains("torture would destroy it"), "{}", done.err);
    assert!(std::fs::read(&file).unwrap() == before);
}

#[test]
fn a_fault_is_reported_with_the_seed_and_the_file_is_kept() {
    let directory = Directory::new("torture-fault");
    let file = directory.file("tortured.tdb");
    let mut child = bateria()
        .args(["torture", "--seconds=20", "--workers=2", "--seed=4711"])
        .arg(&file)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    // Nobody else writes to the middle of a head's table like this.
    while child.try_wait().unwrap().is_none() && start.elapsed() < Duration::from_secs(15) {
        std::thread::sleep(Duration::from_millis(100));
        if file.exists() {
            (0..7).for_each(|chain| overwrite(&file, 172 + 4 * chain, &[0x13; 4]));
        }
    }
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("with seed 4711:"), "{text}");
    assert!(text.contains("next: bateria tdb check "), "{text}");
    assert_eq!(directory.names(), ["tortured.tdb"]);
}

#[test]
fn without_libtdb_the_package_is_named() {
    let directory = Directory::new("torture-no-libtdb");
    std::fs::write(directory.file("libtdb.so.1"), "").unwrap();
    let mut command = bateria();
    command.env("LD_LIBRARY_PATH", directory.path());
    let done = crate::program::run(
        command.args(["torture", "--libtdb=1", "--seconds=1"]),
        &[&directory.path()],
    );
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(done.err.contains("package libtdb1"), "{}", done.err);
    assert_eq!(directory.names(), ["libtdb.so.1"]);
    // Alone it goes without.
    let mut command = bateria();
    command.env("LD_LIBRARY_PATH", directory.path());
    let done = crate::program::run(command.args(["torture", "--loops=5"]), &[&directory.path()]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.out.contains("libtdb is not installed"), "{}", done.out);
}
