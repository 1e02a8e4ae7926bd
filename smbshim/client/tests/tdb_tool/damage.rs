//! Rescue and repack.

use crate::databases::{KINDS, RECORDS, break_heads, make, overwrite, records};
use crate::program::{Directory, original, tdb};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

#[test]
fn a_rescued_file_has_every_record_and_the_kind_of_the_damaged_one() {
    let directory = Directory::new("rescue");
    for (kind, flags) in KINDS {
        let (file, new) =
            (directory.file(&format!("{kind}.tdb")), directory.file(&format!("{kind}.new")));
        make(&file, flags);
        let before = records(&file);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        let start = if kind == "mutex" { 4096 } else { 0 };
        overwrite(&file, start + 172, &[0x11; 4]);
        let damaged = std::fs::read(&file).unwrap();
        let done = tdb(&[&"rescue", &"-l", &file, &new]);
        assert_eq!(done.code, Some(0), "{kind}: {}", done.err);
        let want =
            format!("{}: {RECORDS} records rescued from {}\n", new.display(), file.display());
        assert_eq!(done.out, want);
        let rescued = records(&new);
        assert_eq!(before.keys().collect::<Vec<_>>(), rescued.keys().collect::<Vec<_>>(), "{kind}");
        assert_eq!(before, rescued, "{kind}");
        assert!(std::fs::read(&file).unwrap() == damaged, "{kind}: the damaged file is evidence");
        assert_eq!(std::fs::metadata(&new).unwrap().permissions().mode() & 0o777, 0o640);
        let check = original("tdbtool", &[&new, &"check"]).out;
        assert!(check.contains(&format!("OK and has {RECORDS} records")), "{kind}: {check}");
        let lines = |file| {
            let info = original("tdbtool", &[file, &"info"]).out;
            info.lines()
                .filter(|line| line.contains("hash: ") || line.contains("mutexes"))
                .chain(info.lines().filter(|line| line.contains("Number of hash chains")))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(lines(&file), lines(&new), "{kind}");
    }
}

#[test]
fn a_file_without_a_usable_header_is_rescued_too() {
    let directory = Directory::new("rescue-header");
    for (kind, flags) in KINDS {
        let [sound, file] = ["sound", "file"].map(|name| directory.file(&format!("{kind}.{name}")));
        make(&sound, flags);
        // The magic string, the number of chains, the fingerprints, everything.
        for (name, at, size) in
            [("magic", 0, 8), ("chains", 36, 4), ("hash", 52, 8), ("all", 0, 168)]
        {
            let new = directory.file(&format!("{kind}.{name}"));
            std::fs::copy(&sound, &file).unwrap();
            overwrite(&file, at, &vec![0xEE; size]);
            let check = tdb(&[&"check", &file]);
            assert_ne!(check.code, Some(0), "{kind} {name}");
            let told = format!("{}{}", check.out, check.err);
            assert!(told.contains("bateria tdb rescue "), "{kind} {name}: {told}");
            let done = tdb(&[&"rescue", &file, &new]);
            assert_eq!(done.code, Some(0), "{kind} {name}: {}", done.err);
            assert_eq!(records(&new), records(&sound), "{kind} {name}");
        }
    }
    assert_eq!(directory.names().len(), KINDS.len() * 6);
}

/// A file in which libtdb was killed between preparing and committing; golden files lack the empty
/// space at their ends.
fn prepared(file: &Path) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../engine/tdb/tests/golden/prepared-856064.tdb");
    std::fs::copy(golden, file).unwrap();
    std::fs::File::options().write(true).open(file).unwrap().set_len(856_064).unwrap();
}

#[test]
fn an_interrupted_commit_is_rolled_back_only_by_who_locks() {
    let directory = Directory::new("prepared");
    let file = directory.file("a.tdb");
    prepared(&file);
    let bytes = std::fs::read(&file).unwrap();
    for command in [&["check", "-l"][..], &["dump", "-l"], &["info", "-l"], &["list"]] {
        let done = crate::program::run(crate::program::bateria().args(command), &[&file]);
        assert_eq!(done.code, Some(2), "{command:?}");
        assert!(done.err.contains("an interrupted commit must be rolled back"), "{}", done.err);
        assert!(done.err.contains("next: bateria tdb check "), "{}", done.err);
    }
    assert!(std::fs::read(&file).unwrap() == bytes);
    let theirs = directory.file("theirs.tdb");
    std::fs::copy(&file, &theirs).unwrap();
    assert_eq!(tdb(&[&"check", &file]).code, Some(0));
    // libtdb rolls back when it opens.
    original("tdbtool", &[&theirs, &"check"]);
    assert_eq!(records(&file), records(&theirs));
}

#[test]
fn a_damaged_rollback_image_is_a_verdict_and_no_obstacle_to_a_rescue() {
    let directory = Directory::new("prepared-damaged");
    let [file, new] = ["a.tdb", "new.tdb"].map(|name| directory.file(name));
    prepared(&file);
    let bytes = std::fs::read(&file).unwrap();
    let area = u32::from_le_bytes(bytes[44..48].try_into().unwrap());
    overwrite(&file, u64::from(area) + 12, &[0xFF; 4]);
    let done = tdb(&[&"check", &file]);
    assert_eq!(done.code, Some(1), "{done:?}");
    let told = format!("  offset 0x{area:08x}: the rollback image is longer than its area\n");
    assert!(done.out.contains(&told), "{}", done.out);
    assert!(done.out.contains("next: bateria tdb rescue "), "{}", done.out);
    let done = tdb(&[&"rescue", &file, &new]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(!records(&new).is_empty());
}

#[test]
fn a_rescue_never_overwrites() {
    let directory = Directory::new("rescue-over");
    let (file, new) = (directory.file("a.tdb"), directory.file("new.tdb"));
    make(&file, 0);
    std::fs::write(&new, "precious").unwrap();
    let done = tdb(&[&"rescue", &file, &new]);
    assert_eq!(done.code, Some(2));
    assert!(done.err.contains("is there already"), "{}", done.err);
    assert_eq!(std::fs::read(&new).unwrap(), b"precious");
    assert_eq!(tdb(&[&"rescue", &file, &file]).code, Some(2));
    assert_eq!(directory.names(), ["a.tdb", "new.tdb"]);
}

#[test]
fn a_repacked_file_has_its_records_and_its_free_space_in_one_piece() {
    let directory = Directory::new("repack");
    for (kind, flags) in KINDS {
        let file = directory.file(&format!("{kind}.tdb"));
        make(&file, flags);
        let before = records(&file);
        let done = tdb(&[&"repack", &file]);
        assert_eq!(done.code, Some(0), "{kind}: {}", done.err);
        assert!(done.out.contains(" 172 records; free space in 1 pieces"), "{}", done.out);
        assert_eq!(records(&file), before, "{kind}");
        let check = original("tdbtool", &[&file, &"check"]).out;
        assert!(check.contains("Database integrity is OK"), "{kind}: {check}");
    }
}

#[test]
fn a_damaged_file_is_not_repacked() {
    let directory = Directory::new("repack-damaged");
    let file = directory.file("a.tdb");
    make(&file, 0);
    break_heads(&file);
    let before = std::fs::read(&file).unwrap();
    let done = tdb(&[&"repack", &file]);
    assert_eq!(done.code, Some(1));
    assert!(done.err.contains("next: bateria tdb rescue "), "{}", done.err);
    let after = std::fs::read(&file).unwrap();
    assert!(after[..before.len()] == before);
}
