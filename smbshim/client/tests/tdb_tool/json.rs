//! `--json`: documented fields that stay.

use crate::databases::{RECORDS, break_heads, make};
use crate::program::{Directory, feed, tdb};
use serde_json::Value;

/// Every line of a program's output, each of which is one value.
pub(crate) fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn fields(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn check_says_it_all() {
    let directory = Directory::new("json-check");
    let [good, bad, none] = ["good.tdb", "bad.tdb", "none.tdb"].map(|name| directory.file(name));
    make(&good, 0);
    make(&bad, 0);
    break_heads(&bad);
    let done = tdb(&[&"--json", &"check", &good, &bad, &none]);
    let [good, bad, none] = &lines(&done.out)[..] else { panic!("{}", done.out) };
    assert_eq!(good["clean"], true);
    assert_eq!(good["live_records"], RECORDS);
    assert_eq!(good["faults_count"], 0);
    assert_eq!(
        fields(bad),
        [
            "clean",
            "dead_records",
            "faults",
            "faults_count",
            "file",
            "free_records",
            "live_records",
            "mended",
            "next_step",
            "unowned_bytes"
        ]
    );
    assert_eq!(bad["clean"], false);
    assert_eq!(bad["faults"][0]["offset"], 172);
    assert_eq!(bad["faults"][0]["rule"], "links to what is no record");
    assert_eq!(bad["faults"][0]["advice"], "rescue");
    assert_eq!(none["error"]["next_step"], "check the name");
    assert!(none["error"]["file"].as_str().unwrap().ends_with("none.tdb"));
    assert_eq!(done.code, Some(2));
}

#[test]
fn info_has_figures_and_the_header() {
    let directory = Directory::new("json-info");
    let file = directory.file("a.tdb");
    make(&file, 0x1800);
    let done = tdb(&[&"info", &"--json", &file]);
    let info = &lines(&done.out)[0];
    assert_eq!(
        fields(info),
        [
            "chains",
            "content_size",
            "data",
            "dead",
            "file",
            "file_size",
            "free",
            "header",
            "keys",
            "padding",
            "uncoalesced"
        ]
    );
    assert_eq!(
        fields(&info["header"]),
        [
            "byte_order",
            "hash",
            "hash_size",
            "logical_size",
            "magic1_hash",
            "magic2_hash",
            "mutex_area_size",
            "mutexes",
            "recovery_area",
            "rwlocks",
            "sequence_number"
        ]
    );
    assert_eq!(info["header"]["hash_size"], 7);
    assert_eq!(info["header"]["mutexes"], true);
    assert_eq!(info["header"]["hash"], "jenkins");
    assert_eq!(info["keys"]["count"], RECORDS);
    assert_eq!(fields(&info["keys"]), ["average", "count", "largest", "smallest", "total"]);
    assert_eq!(info["file_size"], std::fs::metadata(&file).unwrap().len());
}

#[test]
fn records_come_one_a_line() {
    let directory = Directory::new("json-dump");
    let file = directory.file("a.tdb");
    make(&file, 0);
    let records = lines(&tdb(&[&"dump", &"--json", &file]).out);
    assert_eq!(records.len() as u64, RECORDS);
    let empty = records.iter().find(|record| record["key"] == "").unwrap();
    assert_eq!(empty["data"], r"data of the empty key\0A\22\5C");
    let one = lines(&tdb(&[&"dump", &"--json", &"-x", &"-k", &"plain", &file]).out);
    assert_eq!(one[0]["key"], "706C61696E");
    let listed = lines(&tdb(&[&"list", &"--json", &file]).out);
    let live = listed.iter().filter(|record| record["kind"] == "live").count();
    assert_eq!(live as u64, RECORDS);
    assert!(listed.iter().any(|record| record["kind"] == "free" && record["chain"].is_null()));
    let free = lines(&tdb(&[&"list", &"--free", &"--json", &file]).out);
    assert!(!free.is_empty() && free.iter().all(|record| record["kind"] == "free"));
}

#[test]
fn works_report_what_they_have_done() {
    let directory = Directory::new("json-works");
    let file = directory.file("a.tdb");
    make(&file, 0);
    let [new, other] = ["new.tdb", "other.tdb"].map(|name| directory.file(name));
    let done = &lines(&tdb(&[&"rescue", &"--json", &file, &new]).out)[0];
    assert_eq!(fields(done), ["duplicates", "file", "new", "records"]);
    assert_eq!((&done["records"], &done["duplicates"]), (&RECORDS.into(), &0.into()));
    let done = &lines(&tdb(&[&"backup", &"--json", &file]).out)[0];
    assert_eq!(fields(done), ["backup", "file", "records", "skipped"]);
    let done = &lines(&tdb(&[&"backup", &"-v", &"--json", &file]).out)[0];
    assert_eq!(fields(done), ["file", "records", "restored"]);
    let done = &lines(&tdb(&[&"repack", &"--json", &file]).out)[0];
    assert_eq!(fields(done), ["after", "before", "file", "records"]);
    assert_eq!(done["after"]["free_pieces"], 1);
    let dump = tdb(&[&"dump", &file]).out;
    let mut restore = crate::program::bateria();
    let done = feed(restore.args(["restore", "--json"]).arg(&other), dump.as_bytes());
    assert_eq!(lines(&done.out)[0]["records"], RECORDS);
    let done = feed(crate::program::bateria().args(["restore", "--json"]).arg(&other), b"");
    assert_eq!(fields(&lines(&done.out)[0]["error"]), ["file", "message", "next_step"]);
}
