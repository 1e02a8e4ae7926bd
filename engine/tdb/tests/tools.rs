//! Dump, restore, backup, list and info, interchangeable with the original tools (tdb §10).

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

use bateria_tdb::{
    BackupOptions, OpenOptions, Spelling, StoreMode, Tdb, TdbFlags, backup, restore,
};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let name = format!("bateria-tools-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The original program; tests need it as they need libtdb (package tdb-tools).
fn tool(name: &str, arguments: &[&Path]) -> Output {
    Command::new(name).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn filled(path: &Path, flags: u32) -> Tdb {
    let options = OpenOptions {
        flags: TdbFlags::from_bits_retain(flags | 0x40),
        hash_size: 7,
        create: true,
        ..OpenOptions::default()
    };
    let mut tdb = Tdb::open(path, &options).unwrap();
    for number in 0..=255_u8 {
        let key = [b'k', number];
        tdb.store(&key, &[&vec![number; usize::from(number) * 3]], StoreMode::Insert).unwrap();
    }
    tdb.store(b"", &[b"data of the empty key\n\"\\"], StoreMode::Insert).unwrap();
    for number in (0..=255_u8).step_by(3) {
        tdb.delete(&[b'k', number]).unwrap();
    }
    tdb
}

fn records(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut records = BTreeMap::new();
    let mut tdb = Tdb::open(path, &OpenOptions::default()).unwrap();
    tdb.traverse(&mut |key, data| {
        records.insert(key.to_vec(), data.to_vec());
        ControlFlow::Continue(())
    })
    .unwrap();
    records
}

#[test]
fn dumps_are_those_of_tdbdump() {
    for flags in [0, 0x800, 0x10, 0x1000] {
        let directory = Directory::new(&format!("dump-{flags}"));
        let path = directory.path("a.tdb");
        let mut tdb = filled(&path, flags);
        let mut ours = Vec::new();
        let count = tdb.dump(&mut ours, Spelling::Escaped, &mut |_| {}).unwrap();
        let theirs = tool("tdbdump", &[&path]);
        assert!(theirs.status.success());
        assert!(ours == theirs.stdout, "flags {flags:#x}");
        assert_eq!(count, 171);
    }
}

#[test]
fn each_restores_what_the_other_has_dumped() {
    let directory = Directory::new("restore");
    let original = directory.path("a.tdb");
    drop(filled(&original, 0x800));
    let theirs = tool("tdbdump", &[&original]).stdout;
    let ours = directory.path("ours.tdb");
    let options = OpenOptions::default();
    let count = restore(&mut &theirs[..], &ours, &options, &mut |_| {}).unwrap();
    assert_eq!(count, 171);
    assert_eq!(records(&ours), records(&original));
    assert!(restore(&mut &theirs[..], &ours, &options, &mut |_| {}).is_err(), "never over a file");

    let dump = directory.path("dump");
    let mut out = std::fs::File::create(&dump).unwrap();
    let mut tdb = Tdb::open(&original, &options).unwrap();
    tdb.dump(&mut out, Spelling::Escaped, &mut |_| {}).unwrap();
    let theirs = directory.path("theirs.tdb");
    let status = Command::new("tdbrestore")
        .arg(&theirs)
        .stdin(std::fs::File::open(&dump).unwrap())
        .status()
        .unwrap();
    assert!(status.success());
    // The same records in the same order make the same file.
    assert!(std::fs::read(&ours).unwrap() == std::fs::read(&theirs).unwrap());
}

#[test]
fn backups_are_those_of_tdbbackup() {
    let directory = Directory::new("backup");
    let path = directory.path("a.tdb");
    let mut tdb = filled(&path, 0);
    let ours = directory.path("ours.bak");
    backup(&mut tdb, &ours, BackupOptions::default(), &mut |_| {}).unwrap();
    drop(tdb);
    assert!(tool("tdbbackup", &[&path]).status.success());
    let theirs = directory.path("a.tdb.bak");
    assert_eq!(records(&ours), records(&path));
    assert!(std::fs::read(&ours).unwrap() == std::fs::read(&theirs).unwrap());
    assert!(!directory.path("ours.bak.tmp").exists());
}

fn same_lines(ours: &str, theirs: &str) {
    for (ours, theirs) in ours.lines().zip(theirs.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.lines().count(), theirs.lines().count());
}

#[test]
fn lists_and_figures_are_those_of_tdbtool() {
    for flags in [0, 0x800, 0x10] {
        let directory = Directory::new(&format!("list-{flags}"));
        let path = directory.path("a.tdb");
        let mut tdb = filled(&path, flags);
        let mut ours = Vec::new();
        tdb.list(&mut ours).unwrap();
        let run = |command: &str| {
            let output = Command::new("tdbtool").arg(&path).arg(command).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        same_lines(&String::from_utf8_lossy(&ours), &run("list"));
        ours.clear();
        tdb.list_free(&mut ours).unwrap();
        same_lines(&String::from_utf8_lossy(&ours), &run("free"));
        assert_eq!(tdb.summary().unwrap().to_string().trim_end(), run("info").trim_end());
        assert_eq!(run("check").trim_end(), "Database integrity is OK and has 171 records.");
    }
}

#[test]
fn what_tdbdump_rescues_is_rescued() {
    let directory = Directory::new("rescue");
    let path = directory.path("a.tdb");
    drop(filled(&path, 0));
    let mut bytes = std::fs::read(&path).unwrap();
    // Breaks two of seven chains at their heads.
    bytes[172..176].fill(0x11);
    bytes[180..184].fill(0x11);
    std::fs::write(&path, &bytes).unwrap();
    let theirs = Command::new("tdbdump").arg("-e").arg(&path).output().unwrap().stdout;
    let theirs_path = directory.path("theirs.tdb");
    restore(&mut &theirs[..], &theirs_path, &OpenOptions::default(), &mut |_| {}).unwrap();
    let mut ours = Vec::new();
    let mut tdb = Tdb::open(&path, &OpenOptions::default()).unwrap();
    tdb.dump_rescued(&mut ours, Spelling::Escaped).unwrap();
    assert!(ours == theirs, "the same records in the same order");
    let ours_path = directory.path("ours.tdb");
    restore(&mut &ours[..], &ours_path, &OpenOptions::default(), &mut |_| {}).unwrap();
    assert_eq!(records(&ours_path), records(&theirs_path));
    assert!(records(&ours_path).len() >= 171);
}
