//! Files that cannot be opened, and output that cannot be written.

use crate::databases::{make, make_large};
use crate::program::{Directory, Done, bateria, feed, tdb};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

const READERS: [&str; 6] = ["check", "dump", "info", "list", "repack", "backup"];

#[test]
fn a_missing_file_is_named_and_not_made() {
    let directory = Directory::new("missing");
    let file = directory.file("none.tdb");
    for command in READERS {
        let done = tdb(&[&command, &file]);
        assert_eq!((done.code, done.out.as_str()), (Some(2), ""), "{command}");
        assert!(done.err.contains(&format!("{}: ", file.display())), "{command}: {}", done.err);
        assert!(done.err.contains("No such file or directory"), "{command}: {}", done.err);
        assert!(done.err.contains("next: check the name"), "{command}: {}", done.err);
    }
    assert_eq!(directory.names(), [""; 0]);
}

#[test]
fn what_is_no_database_is_refused_and_left_alone() {
    let directory = Directory::new("no-database");
    for content in [&b""[..], b"TDB", b"#!/bin/sh\n", &[0; 8192], b"TDB file\nis what I am not"] {
        let file = directory.file("a.tdb");
        std::fs::write(&file, content).unwrap();
        for command in READERS {
            let done = tdb(&[&command, &file]);
            assert_eq!(done.code, Some(2), "{command}: {done:?}");
            assert!(done.err.contains("not a TDB file"), "{command}: {}", done.err);
            assert_eq!(std::fs::read(&file).unwrap(), content, "{command}");
        }
    }
    // Where a rescue finds nothing, another one will find nothing either.
    let (file, new) = (directory.file("a.tdb"), directory.file("new.tdb"));
    let done = tdb(&[&"rescue", &file, &new]);
    assert_eq!(done.code, Some(2));
    assert!(done.err.contains("next: put a backup in its place"), "{}", done.err);
    assert_eq!(directory.names(), ["a.tdb"]);
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let directory = Directory::new("no-file");
    let pipe = directory.file("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let new = directory.file("new.tdb");
    for file in [directory.path(), &pipe, std::path::Path::new("/dev/null")] {
        for command in READERS {
            let done = tdb(&[&command, &file]);
            assert_eq!(done.code, Some(2), "{command} {file:?}: {done:?}");
            assert!(done.err.ends_with("next: name a file\n"), "{command} {file:?}: {}", done.err);
        }
        for options in [["check", "--no-lock"], ["dump", "--no-lock"], ["list", "--free"]] {
            let done = tdb(&[&options[0], &options[1], &file]);
            assert_eq!(done.code, Some(2), "{options:?} {file:?}: {done:?}");
            assert!(done.err.ends_with("next: name a file\n"), "{options:?}: {}", done.err);
        }
        let done = tdb(&[&"rescue", &file, &new]);
        assert_eq!(done.code, Some(2), "{file:?}: {done:?}");
        assert!(done.err.ends_with("next: name a file\n"), "{file:?}: {}", done.err);
    }
    assert_eq!(directory.names(), ["pipe"]);
}

#[test]
fn without_permission_the_owner_is_asked_for() {
    let directory = Directory::new("permission");
    let file = directory.file("a.tdb");
    make(&file, 0);
    let as_nobody = |arguments: &[&str]| -> Done {
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
            // The build directory need not be open to everybody.
            let copy = directory.file("bateria");
            std::fs::copy(env!("CARGO_BIN_EXE_bateria"), &copy).unwrap();
            std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).unwrap();
            command.arg(copy);
            command
        } else {
            Command::new(env!("CARGO_BIN_EXE_bateria"))
        };
        command.arg("tdb").args(arguments).arg(&file).output().unwrap().into()
    };
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o000)).unwrap();
    let done = as_nobody(&["check"]);
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(done.err.contains("Permission denied"), "{}", done.err);
    assert!(done.err.contains("next: run as the owner of the file, or as root"), "{}", done.err);
    // Who may read only gets an answer, with a note that no lock protects it.
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o444)).unwrap();
    let done = as_nobody(&["check"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.err.contains("reading it without locks"), "{}", done.err);
    assert_eq!(as_nobody(&["repack"]).code, Some(2));
}

#[test]
fn a_wrong_command_line_is_explained() {
    for arguments in [&["dump"][..], &["unknown"], &["check", "--nonsense", "a"], &["torture"]] {
        let done: Done = bateria().args(arguments).output().unwrap().into();
        assert_eq!(done.code, Some(2), "{arguments:?}");
        assert!(done.err.contains("Usage: bateria tdb"), "{}", done.err);
    }
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let directory = Directory::new("pipe");
    let file = directory.file("a.tdb");
    make_large(&file, 20_000);
    for command in ["dump", "list"] {
        let mut child = bateria()
            .arg(command)
            .arg(&file)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut start = [0; 10];
        child.stdout.take().unwrap().read_exact(&mut start).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.signal(), Some(13), "{command}: as any program in C");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{command}");
    }
}

#[test]
fn output_that_cannot_be_written_is_no_success() {
    let directory = Directory::new("full-output");
    let file = directory.file("a.tdb");
    make(&file, 0);
    for command in [&["dump"][..], &["info"], &["list"], &["check"], &["check", "--json"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = bateria().args(command).arg(&file).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{command:?}");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("standard output: No space left on device"), "{command:?}: {text}");
    }
}

/// Runs a script with a file system of 256 KiB at `small`; `None` where namespaces are forbidden.
fn on_a_full_disk(directory: &Directory, script: &str) -> Option<Done> {
    let small = directory.file("small");
    std::fs::create_dir_all(&small).unwrap();
    let mount = format!("mount -t tmpfs -o size=256k none {} || exit 99\n", small.display());
    let done: Done = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c"])
        .arg(mount + script)
        .arg(env!("CARGO_BIN_EXE_bateria"))
        .current_dir(&small)
        .output()
        .unwrap()
        .into();
    if done.code == Some(99) || done.err.contains("unshare") {
        eprintln!("skipped: no namespaces here: {}", done.err);
        return None;
    }
    Some(done)
}

#[test]
fn a_full_disk_leaves_no_half_file() {
    let directory = Directory::new("full-disk");
    let (file, dump) = (directory.file("a.tdb"), directory.file("dump"));
    make_large(&file, 5000);
    std::fs::write(&dump, tdb(&[&"dump", &file]).out).unwrap();
    let script =
        "cd ../small && ln -s ../a.tdb && echo keep >a.tdb.bak && touch -d 1970-01-02 a.tdb.bak
        $0 tdb backup a.tdb; echo code $?
        $0 tdb restore b.tdb ../dump; echo code $?
        $0 tdb rescue ../a.tdb c.tdb; echo code $?
        cat a.tdb.bak; ls -A | tr '\\n' ' '";
    let Some(done) = on_a_full_disk(&directory, script) else { return };
    assert_eq!(done.out, "code 1\ncode 1\ncode 1\nkeep\na.tdb a.tdb.bak ", "{}", done.err);
    assert_eq!(done.err.matches("next: free some space").count(), 3, "{}", done.err);
}

#[test]
fn nothing_is_read_from_a_dump_before_the_target_is_known_to_be_free() {
    let directory = Directory::new("restore-over");
    let file = directory.file("a.tdb");
    std::fs::write(&file, "precious").unwrap();
    let done = feed(bateria().arg("restore").arg(&file), b"");
    assert_eq!(done.code, Some(2));
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    let done = feed(bateria().arg("restore").arg(directory.file("no/such/dir.tdb")), b"");
    assert_ne!(done.code, Some(0));
    assert!(done.err.contains("dir.tdb: open: No such file or directory"), "{}", done.err);
}
