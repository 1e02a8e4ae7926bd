//! Damaged files, as files: whatever their bytes, an operation ends with an answer.

use bateria_tdb::{OpenOptions, StoreMode, Tdb, TdbError, TdbFlags};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("bateria-damage-{}-{name}.tdb", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 32).expect("64-bit machine") % limit
    }
}

fn golden(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    std::fs::read(path).expect("the golden files are part of the crate")
}

/// Everything at once; only that it ends, and that errors say where.
fn use_all(path: &Path, flags: u32) -> Result<(), TdbError> {
    let options =
        OpenOptions { flags: TdbFlags::from_bits_retain(flags), ..OpenOptions::default() };
    let mut tdb = Tdb::open(path, &options)?;
    let checked = tdb.check()?;
    let _ = tdb.rescue(&mut |_, _| ControlFlow::Continue(()))?;
    let outcomes = [
        tdb.traverse(&mut |_, _| ControlFlow::Continue(())).map(|_| ()),
        tdb.fetch(b"key-5", &mut Vec::new()).map(|_| ()),
        tdb.store(b"key-5", &[&[1; 500]], StoreMode::Replace).map(|_| ()),
        tdb.delete(b"key-7").map(|_| ()),
        tdb.store(b"large", &[&vec![1; 50_000]], StoreMode::Replace).map(|_| ()),
        tdb.begin().and_then(|mut transaction| {
            transaction.store(b"key-1", &[b"x"], StoreMode::Replace)?;
            transaction.commit()
        }),
    ];
    for error in outcomes.into_iter().filter_map(Result::err) {
        assert!(error.is_damage(), "{error}");
        assert!(!checked.is_clean(), "damage that the check has not found: {error}");
        assert!(error.to_string().contains("offset 0x"), "{error}");
        assert!(error.to_string().contains("bateria-damage"), "{error}");
    }
    Ok(())
}

#[test]
fn flipped_bits_are_answered_with_errors() {
    let mut dice = Dice(7);
    for (name, flags) in [
        ("filled-old-32768.tdb", 0x40),
        ("filled-jenkins-big-32768.tdb", 0x40),
        ("filled-mutex-36864.tdb", 0x1040),
    ] {
        let sound = golden(name);
        let scratch = Scratch::new(name);
        for _ in 0..150 {
            let mut bytes = sound.clone();
            for _ in 0..=dice.below(4) {
                let at = dice.below(bytes.len());
                // Mutexes are what their owners' C library makes of them.
                if flags & 0x1000 != 0 && (168..4096).contains(&at) {
                    continue;
                }
                bytes[at] ^= 1 << dice.below(8);
            }
            std::fs::write(&scratch.0, &bytes).expect("the temporary directory is writable");
            match use_all(&scratch.0, flags) {
                Ok(()) => {}
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
    }
}

#[test]
fn truncated_files_are_answered_with_errors() {
    let sound = golden("filled-old-32768.tdb");
    let scratch = Scratch::new("truncated");
    for size in (0..300).chain((300..sound.len()).step_by(379)) {
        std::fs::write(&scratch.0, &sound[..size]).expect("the temporary directory is writable");
        let outcome = use_all(&scratch.0, 0x40);
        if size < 196 {
            assert!(matches!(outcome, Err(TdbError::Refused { .. })), "{size}: {outcome:?}");
        }
    }
}

#[test]
fn circular_lists_end() {
    for (head, name) in [(172, "chain"), (168, "free list")] {
        let mut bytes = golden("filled-old-32768.tdb");
        bytes.resize(32768, 0);
        let first =
            u32::from_le_bytes([bytes[head], bytes[head + 1], bytes[head + 2], bytes[head + 3]]);
        // The second element links back to the first, wherever it is.
        let at = first as usize;
        let second = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let at = if second == 0 { at } else { second as usize };
        bytes[at..at + 4].copy_from_slice(&first.to_le_bytes());
        let scratch = Scratch::new(name);
        std::fs::write(&scratch.0, &bytes).expect("the temporary directory is writable");
        use_all(&scratch.0, 0x40).expect("it opens, and its operations end");
    }
}
