//! Every input that the fuzzer has found and we have kept, replayed.

#[path = "../fuzz/src/target.rs"]
mod target;

use std::path::Path;

#[test]
fn kept_inputs_end_without_a_panic() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut count = 0;
    for entry in std::fs::read_dir(corpus).expect("the corpus is part of the crate") {
        let path = entry.expect("the corpus can be read").path();
        target::run(&std::fs::read(&path).expect("the corpus can be read"));
        count += 1;
    }
    assert!(count > 20, "{count} inputs are no corpus");
}
