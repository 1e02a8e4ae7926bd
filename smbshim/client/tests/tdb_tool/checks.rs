//! `check` and tdbtool's check agree, on sound files and on damaged ones.

use crate::databases::{KINDS, RECORDS, make, offsets, overwrite, records};
use crate::program::{Directory, original, tdb};
use bateria_tdb::Kind;
use std::path::Path;

fn theirs(file: &Path) -> bool {
    original("tdbtool", &[&file, &"check"]).out.contains("Database integrity is OK")
}

#[test]
fn sound_files_are_clean_for_both() {
    let directory = Directory::new("clean");
    for (kind, flags) in KINDS {
        let file = directory.file(&format!("{kind}.tdb"));
        make(&file, flags);
        for options in [&[][..], &["-l"]] {
            let done =
                crate::program::run(crate::program::bateria().arg("check").args(options), &[&file]);
            let want = format!("{}: clean, {RECORDS} records\n", file.display());
            assert_eq!((done.code, done.out, done.err.as_str()), (Some(0), want, ""), "{kind}");
        }
        assert!(theirs(&file), "{kind}");
    }
}

/// What is overwritten, where in the record, and what the check then says.
const DAMAGES: [(&str, u32, u32, &str); 6] = [
    ("next", 0, 0x44, "links to what is no record"),
    ("rec_len", 4, 0xFFFF_FFF0, "the record's length is impossible"),
    ("key_len", 8, 0x7FFF_0000, "key and data are longer than their record"),
    ("full_hash", 16, 0x1234_5678, "the hash is not that of the key"),
    ("magic", 20, 0x5555_5555, "this is no record"),
    ("key", 24, 0x5A5A_5A5A, "the hash is not that of the key"),
];

#[test]
fn every_damaged_field_is_found_by_both_with_offset_and_rule() {
    let directory = Directory::new("fields");
    for (kind, flags) in [("old", 0), ("jenkins", 0x800), ("big", 0x10)] {
        let sound = directory.file(&format!("{kind}.tdb"));
        make(&sound, flags);
        let live = offsets(&sound, Kind::Live);
        for (field, at, value, rule) in DAMAGES {
            let file = directory.file("damaged.tdb");
            std::fs::copy(&sound, &file).unwrap();
            let offset = live[live.len() / 2];
            let bytes = if flags == 0x10 { value.to_be_bytes() } else { value.to_le_bytes() };
            overwrite(&file, u64::from(offset + at), &bytes);
            let done = tdb(&[&"check", &file]);
            assert_eq!(done.code, Some(1), "{kind} {field}: {}", done.out);
            let told = format!("  offset 0x{offset:08x}: {rule}\n");
            assert!(done.out.contains(&told), "{kind} {field}: {}", done.out);
            assert!(done.out.contains("next: bateria tdb rescue "), "{kind} {field}: {}", done.out);
            assert!(!theirs(&file), "{kind} {field}");
        }
    }
}

/// A field of the header, a value that it cannot have, and what is said of it.
const HEADER_DAMAGES: [(u32, u32, &str); 4] = [
    (32, 0x2601_196C, "unknown format version"),
    (36, 0x0FFF_FFFF, "file is too short for its hash chains"),
    (52, 1, "unknown hash function"),
    (56, 1, "unknown hash function"),
];

#[test]
fn a_damaged_header_is_named_by_field_and_rule() {
    let directory = Directory::new("header-fields");
    let sound = directory.file("sound.tdb");
    make(&sound, 0);
    for (at, value, rule) in HEADER_DAMAGES {
        let file = directory.file("damaged.tdb");
        std::fs::copy(&sound, &file).unwrap();
        overwrite(&file, u64::from(at), &value.to_le_bytes());
        // The hash has two fingerprints, of which the first stands for both.
        let offset = if at == 56 { 52 } else { at };
        for options in [&["check"][..], &["check", "--no-lock"], &["check", "--mend"]] {
            let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> = Vec::new();
            arguments.extend(options.iter().map(|option| option as &dyn AsRef<std::ffi::OsStr>));
            arguments.push(&file);
            let done = tdb(&arguments);
            assert_eq!(done.code, Some(1), "{at} {options:?}: {done:?}");
            let told = format!("  offset 0x{offset:08x}: {rule}\n");
            assert!(done.out.contains(&told), "{at} {options:?}: {}", done.out);
        }
        let done = tdb(&[&"dump", &file]);
        assert_eq!(done.code, Some(2));
        let told = format!("not opened: offset {offset:#x}: {rule}\n");
        assert!(done.err.contains(&told), "{at}: {}", done.err);
        assert!(!theirs(&file));
    }
}

#[test]
fn a_header_that_takes_a_record_for_the_recovery_area_is_damaged_for_both() {
    let directory = Directory::new("recovery-record");
    let sound = directory.file("sound.tdb");
    make(&sound, 0);
    for kind in [Kind::Live, Kind::Free] {
        let file = directory.file("damaged.tdb");
        std::fs::copy(&sound, &file).unwrap();
        let records = offsets(&sound, kind);
        overwrite(&file, 44, &records[records.len() / 2].to_le_bytes());
        let done = tdb(&[&"check", &file]);
        assert_eq!(done.code, Some(1), "{kind:?}: {}", done.out);
        let told = "  offset 0x0000002c: there is no recovery area where the header says\n";
        assert!(done.out.contains(told), "{kind:?}: {}", done.out);
        assert!(!theirs(&file), "{kind:?}");
    }
}

#[test]
fn a_file_cut_off_anywhere_is_damaged_for_both_and_never_a_crash() {
    let directory = Directory::new("cut");
    for (kind, flags) in KINDS {
        let sound = directory.file(&format!("{kind}.tdb"));
        make(&sound, flags);
        let size = std::fs::metadata(&sound).unwrap().len();
        for part in 0..8 {
            let file = directory.file("cut.tdb");
            std::fs::copy(&sound, &file).unwrap();
            let cut = size * part / 8;
            std::fs::File::options().write(true).open(&file).unwrap().set_len(cut).unwrap();
            let done = tdb(&[&"check", &file]);
            assert!(matches!(done.code, Some(1 | 2)), "{kind} at {cut}: {done:?}");
            assert_eq!(done.code == Some(2), part == 0, "{kind} at {cut}: {done:?}");
            assert!(!theirs(&file), "{kind} at {cut}");
            for command in ["info", "dump", "list", "repack"] {
                let done = tdb(&[&command, &file]);
                assert!(matches!(done.code, Some(0..=2)), "{kind} {command} at {cut}: {done:?}");
            }
        }
    }
}

#[test]
fn what_can_be_mended_is_mended_without_loss() {
    let directory = Directory::new("mend");
    let file = directory.file("a.tdb");
    make(&file, 0);
    let before = records(&file);
    let end = std::fs::metadata(&file).unwrap().len();
    let live = offsets(&file, Kind::Live);
    let last = u64::from(*live.last().unwrap());
    // The tailer of the last record of the file, or of the free one behind it.
    overwrite(&file, end - 4, &[9, 0, 0, 0]);
    assert!(last < end);
    let done = tdb(&[&"check", &file]);
    assert_eq!(done.code, Some(1));
    let next = format!("next: bateria tdb check --mend {}\n", file.display());
    assert!(done.out.ends_with(&next), "{}", done.out);
    let done = tdb(&[&"check", &"--mend", &file]);
    assert_eq!(done.code, Some(0), "{}", done.out);
    assert!(done.out.contains(": mended, 1 fault, "), "{}", done.out);
    assert_eq!(tdb(&[&"check", &file]).code, Some(0));
    assert!(theirs(&file));
    assert_eq!(records(&file), before);
    // A chain without a head, and one without an end: their records are whole, and stay.
    overwrite(&file, 172, &[0; 4]);
    overwrite(&file, u64::from(live[0]), &[0; 4]);
    let done = tdb(&[&"check", &"--mend", &file]);
    assert_eq!(done.code, Some(0), "{}", done.out);
    assert!(theirs(&file));
    assert_eq!(records(&file), before);
    // What cannot be mended is not made worse.
    crate::databases::break_heads(&file);
    let bytes = std::fs::read(&file).unwrap();
    assert_eq!(tdb(&[&"check", &"--mend", &file]).code, Some(1));
    assert!(std::fs::read(&file).unwrap() == bytes);
}

#[test]
fn several_files_are_judged_each_and_the_worst_counts() {
    let directory = Directory::new("several");
    let [good, bad, none] = ["good.tdb", "bad.tdb", "none.tdb"].map(|name| directory.file(name));
    make(&good, 0);
    make(&bad, 0);
    crate::databases::break_heads(&bad);
    let done = tdb(&[&"check", &bad, &good]);
    assert_eq!(done.code, Some(1));
    assert!(done.out.contains("bad.tdb: damaged, ") && done.out.contains("good.tdb: clean, "));
    let done = tdb(&[&"check", &none, &bad, &good]);
    assert_eq!(done.code, Some(2));
    assert!(done.out.contains("bad.tdb: damaged, ") && done.out.contains("good.tdb: clean, "));
    assert!(done.err.contains("none.tdb"), "{}", done.err);
}
