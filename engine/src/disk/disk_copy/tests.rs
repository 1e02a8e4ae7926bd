use super::*;
use crate::scratch::Scratch;
use bateria_smbshim::ltdb_header::LtdbHeader;
use bateria_tdb::{OpenOptions, StoreMode, TdbFlags};
use bateria_wire::Pnn;
use std::path::Path;

const DB: DbId = DbId(0x7132_C184);

fn copy_at(directory: &Path, name: &str) -> DiskCopy {
    let options = OpenOptions { flags: TdbFlags::PERSISTENT, create: true, ..Default::default() };
    let tdb = Tdb::open(&directory.join(name), &options).unwrap();
    DiskCopy::new(DB, tdb, Some(directory.join(format!("{name}.note"))))
}

fn header(rsn: u64) -> LtdbHeader {
    LtdbHeader::new(Rsn(rsn), Pnn(0))
}

fn apply(generation: u32, records: &[(&[u8], u64, &[u8])]) -> Task {
    let mut builder = MarshallBuilder::new(DB);
    for (key, rsn, body) in records {
        builder.push(key, &header(*rsn), body);
    }
    Task::Apply { generation: Generation(generation), buffer: builder.finish().into() }
}

fn contents(copy: &mut DiskCopy) -> Contents {
    match copy.run(Task::Digest) {
        Outcome::Digested(contents) => contents,
        other => panic!("{other:?}"),
    }
}

fn body(copy: &mut DiskCopy, key: &[u8]) -> Option<Vec<u8>> {
    let mut stored = Vec::new();
    copy.tdb.fetch(key, &mut stored).unwrap().then(|| stored.split_off(24))
}

/// Sends all of one copy to another, as the machines do; gives the number of parts.
fn transfer(source: &mut DiskCopy, target: &mut DiskCopy) -> usize {
    let (mut from, mut parts_count) = (Cursor::default(), 0);
    loop {
        let Outcome::Part { records, next } = source.run(Task::Read { from }) else {
            panic!("a part can be read")
        };
        let stage = Task::Stage { part: records.into(), first: parts_count == 0 };
        assert_eq!(target.run(stage), Outcome::Done);
        parts_count += 1;
        match next {
            Some(next) => from = next,
            None => break,
        }
    }
    let updated_in = source.note.generation();
    assert_eq!(target.run(Task::Install { updated_in }), Outcome::Done);
    parts_count
}

const REFUSED: Outcome = Outcome::Failed(JobFault::Refused);
const FAILED: Outcome = Outcome::Failed(JobFault::Failed);

#[test]
fn a_transaction_is_stored_with_its_sequence_number_and_generation() {
    let scratch = Scratch::new();
    let mut copy = copy_at(scratch.path(), "a.tdb");
    let number = 5_u64.to_ne_bytes();
    let task = apply(8193, &[(b"key", 1, b"value"), (SEQUENCE_NUMBER_KEY, 1, &number)]);
    assert_eq!(copy.run(task), Outcome::Done);
    drop(copy);
    let mut copy = copy_at(scratch.path(), "a.tdb");
    assert_eq!(body(&mut copy, b"key").as_deref(), Some(&b"value"[..]));
    let contents = contents(&mut copy);
    assert_eq!((contents.sequence_number, contents.updated_in), (5, Generation(8193)));
}

/// Database semantics §4.3.
#[test]
fn a_stale_record_refuses_the_whole_transaction() {
    let scratch = Scratch::new();
    let mut copy = copy_at(scratch.path(), "a.tdb");
    assert_eq!(copy.run(apply(8193, &[(b"b", 7, b"old")])), Outcome::Done);
    for rsn in [6, 7] {
        assert_eq!(copy.run(apply(8193, &[(b"a", 1, b"x"), (b"b", rsn, b"new")])), REFUSED);
    }
    assert_eq!(body(&mut copy, b"a"), None);
    assert_eq!(copy.run(apply(8193, &[(b"a", 1, b"x"), (b"b", 6, b"old")])), Outcome::Done);
    assert_eq!(copy.run(apply(8193, &[(b"b", 8, b"new")])), Outcome::Done);
    assert_eq!(body(&mut copy, b"b").as_deref(), Some(&b"new"[..]));
}

/// P5, with two versions of a key in one transaction.
#[test]
fn an_applied_transaction_may_come_again() {
    let scratch = Scratch::new();
    let mut copy = copy_at(scratch.path(), "a.tdb");
    let task = apply(8193, &[(b"a", 1, b"x"), (b"a", 2, b"y"), (b"b", 1, b"")]);
    assert_eq!(copy.run(task.clone()), Outcome::Done);
    assert_eq!(copy.run(task), Outcome::Done);
    assert_eq!(body(&mut copy, b"a").as_deref(), Some(&b"y"[..]));
}

/// Scenario 36: tombstones are dropped when a generation begins.
#[test]
fn tombstones_and_what_is_no_record_do_not_outlive_a_digest() {
    let scratch = Scratch::new();
    let mut copies = [copy_at(scratch.path(), "a.tdb"), copy_at(scratch.path(), "b.tdb")];
    copies[0].run(apply(8193, &[(b"a", 1, b"x"), (b"gone", 9, b"")]));
    copies[0].tdb.store(b"short", &[b"no header"], StoreMode::Replace).unwrap();
    copies[1].run(apply(8193, &[(b"a", 1, b"x")]));
    assert_eq!(contents(&mut copies[0]), contents(&mut copies[1]));
    assert!(!copies[0].tdb.exists(b"gone").unwrap() && !copies[0].tdb.exists(b"short").unwrap());
}

#[test]
fn a_copy_is_transferred_in_parts_and_replaces_what_was_there() {
    let scratch = Scratch::new();
    let mut source = copy_at(scratch.path(), "a.tdb");
    let large = vec![7; 300 * 1024];
    for key in 0..20_u8 {
        assert_eq!(source.run(apply(8193, &[(&[key], 3, &large)])), Outcome::Done);
    }
    source.run(apply(8193, &[(SEQUENCE_NUMBER_KEY, 1, &9_u64.to_ne_bytes())]));
    let mut target = copy_at(scratch.path(), "b.tdb");
    target.run(apply(4097, &[(b"other", 90, b"value"), (&[3], 90, b"value")]));
    assert!(transfer(&mut source, &mut target) > 3);
    assert_eq!(contents(&mut source), contents(&mut target));
    assert_eq!(body(&mut target, b"other"), None);
    assert_eq!(body(&mut target, &[3]), Some(large));
}

#[test]
fn an_empty_copy_is_transferred_too() {
    let scratch = Scratch::new();
    let (mut source, mut target) =
        (copy_at(scratch.path(), "a.tdb"), copy_at(scratch.path(), "b.tdb"));
    target.run(apply(4097, &[(b"other", 90, b"value")]));
    assert_eq!(transfer(&mut source, &mut target), 1);
    assert_eq!(body(&mut target, b"other"), None);
}

#[test]
fn a_damaged_copy_fails_its_digest_and_can_be_replaced() {
    let scratch = Scratch::new();
    let mut source = copy_at(scratch.path(), "a.tdb");
    source.run(apply(8193, &[(b"key", 1, b"value")]));
    let mut target = copy_at(scratch.path(), "b.tdb");
    for key in 0..100_u8 {
        target.run(apply(4097, &[(&[key], 1, b"value")]));
    }
    let path = scratch.path().join("b.tdb");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[0x2C0..].fill(0xA5);
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(target.run(Task::Digest), FAILED);
    transfer(&mut source, &mut target);
    assert_eq!(contents(&mut source), contents(&mut target));
}

#[test]
fn parts_that_were_never_completed_are_not_installed() {
    let scratch = Scratch::new();
    let mut copy = copy_at(scratch.path(), "a.tdb");
    let part: Box<[u8]> = MarshallBuilder::new(DB).finish().into();
    assert_eq!(copy.run(Task::Stage { part: part.clone(), first: false }), FAILED);
    assert_eq!(copy.run(Task::Stage { part, first: true }), Outcome::Done);
    contents(&mut copy);
    assert_eq!(copy.run(Task::Install { updated_in: Generation(8193) }), FAILED);
}

#[test]
fn garbage_is_refused_and_changes_nothing() {
    let scratch = Scratch::new();
    let mut copy = copy_at(scratch.path(), "a.tdb");
    copy.run(apply(8193, &[(b"key", 1, b"value")]));
    let before = contents(&mut copy);
    let garbage: Box<[u8]> = [0xFF; 40].into();
    let task = Task::Apply { generation: Generation(8193), buffer: garbage.clone() };
    assert_eq!(copy.run(task), REFUSED);
    assert_eq!(copy.run(Task::Stage { part: garbage, first: true }), Outcome::Done);
    assert_eq!(copy.run(Task::Install { updated_in: Generation(8193) }), REFUSED);
    assert_eq!(contents(&mut copy), before);
}
