//! Ctrl-C and its like.

use crate::databases::make_large;
use crate::program::{Directory, bateria};
use rustix::process::{Pid, Signal, kill_process};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

fn wait_until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(20), "it never came to that");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn an_interrupted_restore_leaves_nothing() {
    let directory = Directory::new("interrupted-restore");
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut child = bateria()
            .args(["restore"])
            .arg(directory.file("a.tdb"))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(b"{\nkey(1) = \"a\"\ndata(1) = \"b\"\n}\n").unwrap();
        wait_until(|| !directory.names().is_empty());
        send(&child, signal);
        // The shell sees that a signal ended it, and stops its loop, too.
        assert_eq!(child.wait().unwrap().signal(), Some(signal.as_raw()));
        assert_eq!(directory.names(), [""; 0]);
        drop(input);
    }
}

#[test]
fn an_interrupted_backup_leaves_the_old_one() {
    let directory = Directory::new("interrupted-backup");
    let file = directory.file("a.tdb");
    make_large(&file, 100_000);
    std::fs::write(directory.file("a.tdb.bak"), "old").unwrap();
    let old = std::fs::File::options().write(true).open(directory.file("a.tdb.bak")).unwrap();
    old.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let mut child = bateria().arg("backup").arg(&file).spawn().unwrap();
    wait_until(|| directory.file("a.tdb.bak.tmp").exists());
    send(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().signal(), Some(2));
    assert_eq!(directory.names(), ["a.tdb", "a.tdb.bak"]);
    assert_eq!(std::fs::read(directory.file("a.tdb.bak")).unwrap(), b"old");
}

#[test]
fn an_interrupted_torture_takes_its_workers_and_files_along() {
    let directory = Directory::new("interrupted-torture");
    let mut child = bateria()
        .args(["torture", "--seconds", "60", "--workers", "2"])
        .arg(directory.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let journals = || {
        let notes = directory.names().into_iter().find(|name| name.contains(".torture-"));
        notes.is_some_and(|notes| {
            std::fs::read_dir(directory.file(&notes)).is_ok_and(|entries| entries.count() == 2)
        })
    };
    wait_until(journals);
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let workers = std::fs::read_to_string(children).unwrap();
    assert_eq!(workers.split_whitespace().count(), 2);
    send(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().signal(), Some(15));
    wait_until(|| {
        workers.split_whitespace().all(|worker| {
            // A zombie that nobody has waited for yet is gone as well.
            std::fs::read_to_string(format!("/proc/{worker}/stat"))
                .map_or(true, |stat| stat.contains(") Z "))
        })
    });
    assert_eq!(directory.names(), [""; 0]);
}
