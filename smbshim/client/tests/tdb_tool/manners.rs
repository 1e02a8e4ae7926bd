//! Colours, progress, waiting, manual pages and completions.

use crate::databases::{make, make_large};
use crate::program::{Directory, Done, bateria, tdb};
use bateria_tdb::{LockKind, OpenOptions, StoreMode, Tdb, TdbFlags};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Runs on a terminal of its own (`script` of util-linux); both streams come out as one.
fn on_a_terminal(directory: &Directory, arguments: &str, set: Option<&str>) -> String {
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command"]);
    command.arg(format!("{} tdb {arguments}", env!("CARGO_BIN_EXE_bateria")));
    command.arg("/dev/null").current_dir(directory.path()).stdin(Stdio::null());
    command.env("TERM", "xterm").env_remove("NO_COLOR");
    if let Some(name) = set {
        command.env(name, "1");
    }
    Done::from(command.output().unwrap()).out
}

#[test]
fn colours_are_for_terminals_and_for_who_wants_them() {
    let directory = Directory::new("colours");
    make(&directory.file("a.tdb"), 0);
    let text = on_a_terminal(&directory, "check a.tdb", None);
    assert!(text.contains("\x1b[32mclean\x1b[0m"), "{text:?}");
    let text = on_a_terminal(&directory, "check none.tdb", None);
    assert!(text.contains("\x1b[1;31merror:\x1b[0m"), "{text:?}");
    for arguments in ["check a.tdb", "check none.tdb"] {
        let text = on_a_terminal(&directory, arguments, Some("NO_COLOR"));
        assert!(!text.contains('\x1b'), "{text:?}");
    }
    assert!(!tdb(&[&"check", &directory.file("a.tdb")]).out.contains('\x1b'));
}

#[test]
fn progress_is_shown_where_it_is_asked_for() {
    let directory = Directory::new("progress");
    let file = directory.file("a.tdb");
    make_large(&file, 1000);
    for command in ["check", "dump", "backup"] {
        assert_eq!(tdb(&[&command, &file]).err, "", "{command}");
    }
    let done = tdb(&[&"check", &"--progress", &file]);
    let size = std::fs::metadata(&file).unwrap().len();
    let want = format!("checking {}: {size} of {size} bytes\n", file.display());
    assert!(done.err.ends_with(&want), "{}", done.err);
    let done = tdb(&[&"dump", &"--progress", &file]);
    assert!(done.err.contains(": 64 records\n"), "{}", done.err);
    assert!(done.err.ends_with(": 1000 records\n"), "{}", done.err);
    std::fs::remove_file(directory.file("a.tdb.bak")).unwrap();
    let done = tdb(&[&"backup", &"--progress", &file]);
    assert!(done.err.ends_with(": 1000 records\n"), "{}", done.err);
}

#[test]
fn who_waits_says_so_and_who_does_not_lock_does_not_wait() {
    let directory = Directory::new("waiting");
    for (name, flags) in [("fcntl", 0x800), ("mutex", 0x1800)] {
        let file = directory.file(name);
        make(&file, flags);
        let options =
            OpenOptions { flags: TdbFlags::from_bits_retain(flags), ..OpenOptions::default() };
        let mut holder = Tdb::open(&file, &options).unwrap();
        for command in ["check", "info", "backup", "dump", "repack"] {
            a_waiting_one_says_so(command, &file, &mut holder);
        }
        // Readers and transactions are in the way of changes only.
        for arguments in [&["repack"][..], &["check", "--mend"]] {
            holder.lock_all(LockKind::Read).unwrap();
            let waiting = waiting_after_a_note(arguments, &file);
            holder.unlock_all();
            ends_well(waiting);
            let transaction = holder.begin().unwrap();
            let waiting = waiting_after_a_note(arguments, &file);
            drop(transaction);
            ends_well(waiting);
        }
    }
}

fn a_waiting_one_says_so(command: &str, file: &Path, holder: &mut Tdb) {
    let chain = holder.chain_of(b"plain");
    holder.lock_chain(chain).unwrap();
    let mut waiting = waiting_after_a_note(&[command], file);
    for command in ["check", "info", "dump"] {
        assert_eq!(tdb(&[&command, &"--no-lock", &file]).code, Some(0), "{command}");
    }
    assert_eq!(tdb(&[&"list", &file]).code, Some(0));
    assert!(waiting.try_wait().unwrap().is_none());
    holder.unlock_chain(chain);
    ends_well(waiting);
}

/// A command that works on `file` and has said that it waits.
fn waiting_after_a_note(arguments: &[&str], file: &Path) -> Child {
    let mut waiting = bateria();
    waiting.args(arguments).arg(file).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut waiting = waiting.spawn().unwrap();
    let mut note = [0; 13];
    waiting.stderr.as_mut().unwrap().read_exact(&mut note).unwrap();
    assert_eq!(&note, b"note: waiting", "{arguments:?}");
    waiting
}

fn ends_well(waiting: Child) {
    let done = Done::from(waiting.wait_with_output().unwrap());
    assert_eq!(done.code, Some(0), "{done:?}");
}

#[test]
fn who_does_not_lock_waits_for_a_commit_that_is_under_way() {
    let directory = Directory::new("committing");
    let file = directory.file("a.tdb");
    make(&file, 0);
    let mut committer = Tdb::open(&file, &OpenOptions::default()).unwrap();
    for arguments in [&["list"][..], &["check", "--no-lock"], &["dump", "--no-lock"]] {
        let mut transaction = committer.begin().unwrap();
        transaction.store(b"plain", &[b"other"], StoreMode::Replace).unwrap();
        transaction.prepare().unwrap();
        let mut reading = bateria();
        reading.args(arguments).arg(&file).stdout(Stdio::piped()).stderr(Stdio::piped());
        let reading = reading.spawn().unwrap();
        // It has found the commit by now, and goes on without it some time later.
        std::thread::sleep(std::time::Duration::from_millis(100));
        transaction.commit().unwrap();
        ends_well(reading);
    }
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let directory = Directory::new("man");
    let pages = directory.file("pages");
    let done: Done =
        Command::new(env!("CARGO_BIN_EXE_bateria")).arg("man").arg(&pages).output().unwrap().into();
    assert_eq!(done.code, Some(0), "{}", done.err);
    for name in [
        "",
        "-tdb",
        "-tdb-check",
        "-tdb-dump",
        "-tdb-restore",
        "-tdb-backup",
        "-tdb-info",
        "-tdb-list",
        "-tdb-repack",
        "-tdb-rescue",
        "-tdb-torture",
        "-man",
        "-completions",
    ] {
        let page = std::fs::read_to_string(pages.join(format!("bateria{name}.1")));
        assert!(page.is_ok_and(|page| page.contains(".SH NAME")), "bateria{name}.1");
    }
    assert!(!pages.join("bateria-tdb-torture-worker.1").exists());
}

#[test]
fn shells_learn_to_complete() {
    for (shell, word) in [("bash", "_bateria"), ("zsh", "#compdef bateria"), ("fish", "rescue")] {
        let done: Done = Command::new(env!("CARGO_BIN_EXE_bateria"))
            .args(["completions", shell])
            .output()
            .unwrap()
            .into();
        assert_eq!(done.code, Some(0), "{shell}");
        assert!(done.out.contains(word), "{shell}");
    }
}
