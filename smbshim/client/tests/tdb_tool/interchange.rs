//! What we print and make is what the original tools print and make, byte for byte.

use crate::databases::{KINDS, RECORDS, break_heads, make, records};
use crate::program::{Directory, bateria, feed, original, tdb};
use std::process::{Command, Stdio};

#[test]
fn dumps_are_those_of_tdbdump() {
    let directory = Directory::new("dump");
    let file = directory.file("a.tdb");
    for (kind, flags) in KINDS {
        make(&file, flags);
        for options in [&[][..], &["-e"], &["-k", "plain"], &["-k", "missing"]] {
            let ours = bateria().arg("dump").args(options).arg(&file).output().unwrap();
            let theirs = Command::new("tdbdump").args(options).arg(&file).output().unwrap();
            assert!(ours.stdout == theirs.stdout, "{kind} {options:?}");
            // tdbdump -e has its exit codes the wrong way round.
            let want = if options == ["-e"] { Some(0) } else { theirs.status.code() };
            assert_eq!(ours.status.code(), want, "{kind} {options:?}");
            assert_eq!(String::from_utf8_lossy(&ours.stderr), "", "{kind} {options:?}");
        }
        let lockless = tdb(&[&"dump", &"-l", &file]);
        assert_eq!(lockless.out, original("tdbdump", &[&file]).out, "{kind}");
        std::fs::remove_file(&file).unwrap();
    }
}

#[test]
fn dumps_of_damaged_files_break_off_where_those_of_tdbdump_do() {
    let directory = Directory::new("dump-damaged");
    let file = directory.file("a.tdb");
    make(&file, 0);
    break_heads(&file);
    let (ours, theirs) = (tdb(&[&"dump", &file]), original("tdbdump", &[&file]));
    assert_eq!((ours.code, &ours.out), (theirs.code, &theirs.out));
    assert!(ours.err.contains("next: bateria tdb rescue"), "{}", ours.err);
    let (ours, theirs) = (tdb(&[&"dump", &"-e", &file]), original("tdbdump", &[&"-e", &file]));
    assert_eq!(ours.out, theirs.out);
}

#[test]
fn each_restores_what_the_other_has_dumped() {
    let directory = Directory::new("restore");
    for (kind, flags) in KINDS {
        let name = |part| directory.file(&format!("{kind}-{part}.tdb"));
        make(&name("a"), flags);
        let dump = tdb(&[&"dump", &name("a")]).out;
        let ours = feed(bateria().arg("restore").arg(name("ours")), dump.as_bytes());
        assert_eq!((ours.code, ours.out.as_str(), ours.err.as_str()), (Some(0), "", ""));
        let theirs = feed(Command::new("tdbrestore").arg(name("theirs")), dump.as_bytes());
        assert_eq!(theirs.code, Some(0));
        assert!(
            std::fs::read(name("ours")).unwrap() == std::fs::read(name("theirs")).unwrap(),
            "{kind}"
        );
        assert_eq!(records(&name("ours")), records(&name("a")), "{kind}");
        assert_eq!(original("tdbdump", &[&name("ours")]).out.len(), dump.len());
    }
}

#[test]
fn bad_dumps_are_refused_as_by_tdbrestore_and_leave_nothing() {
    let directory = Directory::new("restore-bad");
    let record = "{\nkey(1) = \"a\"\ndata(1) = \"b\"\n}\n";
    let long = "{\nkey(4000000000) = \"a\"\ndata(1) = \"b\"\n}\n";
    let bad = [
        "x",
        "{\n",
        "{\nkey(1) = \"aa\"\n",
        "{\nkey(1) = \"a\"\ndata(1) = \"b\"\n}",
        "{\nkey(1) = \"a\"\ndata(x) = \"b\"\n}\n",
        "{\nkey(1) = \"\\zz\"\ndata(1) = \"b\"\n}\n",
        &format!("{record}{record}"),
        long,
    ];
    for text in bad {
        let (ours, theirs) = (directory.file("ours.tdb"), directory.file("theirs.tdb"));
        let done = feed(bateria().arg("restore").arg(&ours), text.as_bytes());
        assert_eq!(done.code, Some(1), "{text}");
        assert!(done.err.starts_with("error: standard input: "), "{}", done.err);
        let theirs_done = feed(Command::new("tdbrestore").arg(&theirs), text.as_bytes());
        // libtdb is asked for 4 GB for the long one, and may get them.
        assert!(text == long || theirs_done.code == Some(1), "{text}");
        let _ = std::fs::remove_file(&theirs);
        assert_eq!(directory.names(), [""; 0], "{text}");
    }
    let empty = feed(bateria().arg("restore").arg(directory.file("empty.tdb")), b"");
    assert_eq!(empty.code, Some(0));
    assert_eq!(std::fs::metadata(directory.file("empty.tdb")).unwrap().len(), 696);
}

#[test]
fn restored_files_are_of_the_kind_that_was_asked_for() {
    let directory = Directory::new("restore-kinds");
    let file = directory.file("a.tdb");
    make(&file, 0);
    let dump = directory.file("dump");
    std::fs::write(&dump, tdb(&[&"dump", &file]).out).unwrap();
    let new = directory.file("new.tdb");
    let done = tdb(&[&"restore", &"--mutexes", &"--jenkins", &"-n", &"3", &new, &dump]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    let info = original("tdbtool", &[&new, &"info"]).out;
    assert!(info.contains("Robust mutexes locking: yes"), "{info}");
    assert!(info.contains("Number of hash chains: 3"), "{info}");
    assert_eq!(records(&new), records(&file));
}

#[test]
fn backups_are_those_of_tdbbackup() {
    let directory = Directory::new("backup");
    for (kind, flags) in KINDS {
        let file = directory.file(&format!("{kind}.tdb"));
        make(&file, flags);
        for options in [&[][..], &["-n", "5"], &["-r"], &["-l"]] {
            let ours =
                bateria().arg("backup").args(options).args(["-s", ".ours"]).arg(&file).output();
            let ours = crate::program::Done::from(ours.unwrap());
            assert_eq!(
                (ours.code, ours.out.as_str(), ours.err.as_str()),
                (Some(0), "", ""),
                "{kind} {options:?}"
            );
            // Files with mutexes need -l there: nobody uses this one.
            let mutexes = if kind == "mutex" { &["-l"][..] } else { &[] };
            let mut theirs = Command::new("tdbbackup");
            theirs.args(options).args(mutexes).args(["-s", ".theirs"]).arg(&file);
            assert!(theirs.status().unwrap().success(), "{kind} {options:?}");
            let read = |suffix| {
                let copy = directory.file(&format!("{kind}.tdb.{suffix}"));
                let bytes = std::fs::read(&copy).unwrap();
                std::fs::remove_file(&copy).unwrap();
                bytes
            };
            assert!(read("ours") == read("theirs"), "{kind} {options:?}");
        }
    }
    assert!(!directory.names().iter().any(|name| name.contains(".tmp")));
}

#[test]
fn a_backup_is_made_only_of_a_newer_file_and_appends_its_suffix() {
    let directory = Directory::new("backup-newer");
    let file = directory.file("a.tdb");
    make(&file, 0);
    assert_eq!(tdb(&[&"backup", &"-s", &"x", &file]).code, Some(0));
    let copy = directory.file("a.tdbx");
    std::fs::write(&copy, "not overwritten").unwrap();
    for _ in 0..2 {
        let done = tdb(&[&"backup", &"-s", &"x", &"--json", &file]);
        assert!(done.out.contains("\"skipped\":true"), "{}", done.out);
        assert_eq!(std::fs::read(&copy).unwrap(), b"not overwritten");
    }
    std::fs::File::options()
        .write(true)
        .open(&copy)
        .unwrap()
        .set_modified(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    assert_eq!(tdb(&[&"backup", &"-s", &"x", &file]).code, Some(0));
    assert_eq!(records(&copy), records(&file));
}

#[test]
fn two_backups_at_once_do_not_spoil_each_other() {
    let directory = Directory::new("backup-twice");
    let file = directory.file("a.tdb");
    crate::databases::make_large(&file, 20_000);
    // What somebody has left who died is no obstacle.
    std::fs::write(directory.file("a.tdb.bak.tmp"), vec![7; 100_000]).unwrap();
    for _ in 0..3 {
        let _ = std::fs::remove_file(directory.file("a.tdb.bak"));
        let spawn =
            || bateria().args(["backup", "-l"]).arg(&file).stderr(Stdio::null()).spawn().unwrap();
        let mut backups = [spawn(), spawn(), spawn()];
        let codes = backups.each_mut().map(|backup| backup.wait().unwrap().code());
        assert!(codes.contains(&Some(0)), "{codes:?}");
        assert!(codes.iter().all(|code| matches!(code, Some(0 | 1))), "{codes:?}");
        assert_eq!(records(&directory.file("a.tdb.bak")).len(), 20_000);
        assert_eq!(directory.names(), ["a.tdb", "a.tdb.bak"]);
    }
}

#[test]
fn verifying_says_and_does_what_tdbbackup_does() {
    let directory = Directory::new("verify");
    let [ours, theirs] = ["ours.tdb", "theirs.tdb"].map(|name| directory.file(name));
    for file in [&ours, &theirs] {
        make(file, 0);
        assert_eq!(original("tdbbackup", &[file]).code, Some(0));
    }
    let done = tdb(&[&"backup", &"-v", &ours]);
    assert_eq!(
        (done.code, done.out),
        (Some(0), format!("{} : {RECORDS} records\n", ours.display()))
    );
    for file in [&ours, &theirs] {
        break_heads(file);
    }
    let done = tdb(&[&"backup", &"-v", &ours]);
    let want = original("tdbbackup", &[&"-v", &theirs]);
    assert_eq!(done.code, want.code);
    assert_eq!(done.out, format!("restoring {}\n", ours.display()));
    assert!(std::fs::read(&ours).unwrap() == std::fs::read(&theirs).unwrap());
    assert_eq!(records(&ours).len() as u64, RECORDS);
    // Without a backup there is nothing to go back to.
    for file in [&ours, &theirs] {
        break_heads(file);
        std::fs::remove_file(file.with_extension("tdb.bak")).unwrap();
    }
    let done = tdb(&[&"backup", &"-v", &ours]);
    assert_eq!(done.code, original("tdbbackup", &[&"-v", &theirs]).code);
    assert!(done.err.contains("next: bateria tdb rescue"), "{}", done.err);
    // What is not there cannot be rescued.
    let done = tdb(&[&"backup", &"-v", &directory.file("missing.tdb")]);
    assert_eq!(done.code, Some(1));
    assert!(done.err.ends_with("next: check the name\n"), "{}", done.err);
}

#[test]
fn lists_and_figures_are_those_of_tdbtool() {
    let directory = Directory::new("list");
    for (kind, flags) in KINDS {
        let file = directory.file(&format!("{kind}.tdb"));
        make(&file, flags);
        let theirs = |command: &str| original("tdbtool", &[&file, &command]).out;
        assert_eq!(tdb(&[&"list", &file]).out, theirs("list"), "{kind}");
        assert_eq!(tdb(&[&"list", &"--free", &file]).out, theirs("free"), "{kind}");
        let (info, want) = (tdb(&[&"info", &file]).out, theirs("info"));
        assert!(info.starts_with(want.trim_end()), "{kind}\n{info}\n{want}");
        let order = if kind.starts_with("big") { "big-endian" } else { "little-endian" };
        assert!(info.contains(&format!("Byte order: {order}\n")), "{info}");
    }
}
