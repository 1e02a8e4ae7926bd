//! Several processes count together in one file, which any program that uses libtdb can share.
//!
//! ```text
//! cargo run -p bateria-tdb --example counter -- /tmp/counter.tdb &
//! cargo run -p bateria-tdb --example counter -- /tmp/counter.tdb
//! tdbdump /tmp/counter.tdb
//! ```

use bateria_tdb::{OpenOptions, StoreMode, Tdb, TdbError, TdbFlags};
use std::path::PathBuf;
use std::process::ExitCode;

const KEY: &[u8] = b"counter";
const STEPS: u32 = 100_000;

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: counter FILE");
        return ExitCode::from(2);
    };
    match count(&path) {
        Ok(value) => {
            println!("added {STEPS}, the counter is at {value}");
            ExitCode::SUCCESS
        }
        // The error names file, offset and broken rule; code that reacts goes by its variant.
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn count(path: &std::path::Path) -> Result<u64, TdbError> {
    let options = OpenOptions {
        // Robust mutexes in the file: a process that dies with a lock does not stop the others.
        flags: TdbFlags::MUTEX_LOCKING,
        create: true,
        ..OpenOptions::default()
    };
    let mut tdb = Tdb::open(path, &options)?;
    let chain = tdb.chain_of(KEY);
    let mut data = Vec::new();
    let mut value = 0;
    for _ in 0..STEPS {
        // Between reading and writing nobody else may write.
        tdb.lock_chain(chain)?;
        let step = increment(&mut tdb, &mut data);
        tdb.unlock_chain(chain);
        value = step?;
    }
    Ok(value)
}

fn increment(tdb: &mut Tdb, data: &mut Vec<u8>) -> Result<u64, TdbError> {
    tdb.fetch(KEY, data)?;
    let value = <[u8; 8]>::try_from(&data[..]).map_or(0, u64::from_le_bytes) + 1;
    tdb.store(KEY, &[&value.to_le_bytes()], StoreMode::Replace)?;
    Ok(value)
}
