//! A process that increments one record as smbd does, on our own TDB engine: the counterpart of `smbd_like.py`.
//!
//! It is this test binary, started again for one test that does nothing unless it is asked to by its environment.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bateria_tdb::{OpenOptions, StoreMode, Tdb, TdbFlags};
use rustix::process::{Signal, getpid, kill_process};

use crate::harness::{Background, Cell, Client, control};

/// Starts a worker at a node; it prints what `smbd_like.py` prints, among the test runner's own lines.
pub(crate) fn spawn(
    cell: &Cell,
    node: u32,
    database: &str,
    key: &str,
    dies_after: Option<&str>,
) -> Background {
    let exe = std::env::current_exe().expect("a test has a program").display().to_string();
    let environment = [
        format!("{WORKER}={}", cell.socket(node).display()),
        format!("{DATABASE}={database}"),
        format!("{KEY}={key}"),
        format!("{DIES_AFTER}={}", dies_after.unwrap_or_default()),
    ];
    let mut args: Vec<&str> = environment.iter().map(String::as_str).collect();
    args.extend([exe.as_str(), "--exact", "worker::body", "--nocapture", "--test-threads=1"]);
    cell.spawn(node, "env", &args)
}

#[test]
fn body() {
    let Some(socket) = std::env::var_os(WORKER) else { return };
    let variable = |name| std::env::var(name).expect("spawn sets it");
    let key = variable(KEY).into_bytes();
    let dies_after: Option<u64> = variable(DIES_AFTER).parse().ok();
    let mut database = Database::open(Path::new(&socket), &variable(DATABASE));

    let stopped = stops_with_stdin();
    let mut acknowledged = 0_u64;
    while !stopped.load(Ordering::Relaxed) {
        let (header, content) = database.lock_owned(&key);
        if dies_after == Some(acknowledged) {
            println!("acknowledged {acknowledged}");
            kill_process(getpid(), Signal::KILL).expect("a process may kill itself");
        }
        let value = content.try_into().map_or(0, u64::from_le_bytes);
        database.store_and_unlock(&key, &header, &(value + 1).to_le_bytes());
        acknowledged += 1;
        if acknowledged == 1 {
            println!("working");
        }
    }
    println!("acknowledged {acknowledged}");
}

/// A volatile database as smbd opens it.
struct Database {
    client: Client,
    pnn: u32,
    db_id: u32,
    tdb: Tdb,
}

impl Database {
    fn open(socket: &Path, name: &str) -> Database {
        let mut client = Client::connect(socket).expect("the daemon listens");
        let mut ask =
            |opcode, data: &[u8]| client.control(opcode, 0, data).expect("the daemon answers");
        let (pnn, _) = ask(control::GET_PNN, b"");
        let (status, db_id) = ask(control::DB_ATTACH, format!("{name}\0").as_bytes());
        assert_eq!(status, 0, "attach");
        let (_, path) = ask(control::GETDBPATH, &db_id);
        let (_, flags) = ask(control::DB_OPEN_FLAGS, &db_id);

        let path = String::from_utf8(path).expect("paths of tests are ASCII");
        let path = PathBuf::from(path.trim_end_matches('\0'));
        let flags = TdbFlags::from_bits_retain(word(&flags));
        let tdb = Tdb::open(&path, &OpenOptions { flags, ..OpenOptions::default() })
            .expect("the file opens");
        Database { client, pnn: pnn.cast_unsigned(), db_id: word(&db_id), tdb }
    }

    /// Header and content of the record; its chain stays locked (client protocol §9.4).
    fn lock_owned(&mut self, key: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let chain = self.tdb.chain_of(key);
        let mut value = Vec::new();
        loop {
            self.tdb.lock_chain(chain).expect("the chain can be locked");
            self.tdb.fetch(key, &mut value).expect("the chain is sound");
            if value.len() >= RECORD_HEADER_SIZE {
                let (dmaster, flags) = (word(&value[8..]), word(&value[16..]));
                if dmaster == self.pnn && flags & RO_HAVE_DELEGATIONS == 0 {
                    let content = value.split_off(RECORD_HEADER_SIZE);
                    return (value, content);
                }
            }
            self.tdb.unlock_chain(chain);
            self.client
                .call(self.db_id, IMMEDIATE_MIGRATION, NULL_FUNC, key)
                .expect("the daemon answers");
        }
    }

    fn store_and_unlock(&mut self, key: &[u8], header: &[u8], content: &[u8]) {
        let stored = self.tdb.store(key, &[header, content], StoreMode::Replace);
        assert!(stored.expect("the record fits"));
        self.tdb.unlock_chain(self.tdb.chain_of(key));
    }
}

/// True once a line, or the end, has come on standard input.
fn stops_with_stdin() -> Arc<AtomicBool> {
    let stopped = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stopped);
    thread::spawn(move || {
        let _ = std::io::stdin().lock().read_line(&mut String::new());
        told.store(true, Ordering::Relaxed);
    });
    stopped
}

/// The first little-endian word of some bytes.
fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[..4].try_into().expect("four bytes"))
}

const WORKER: &str = "BATERIA_WORKER_SOCKET";
const DATABASE: &str = "BATERIA_WORKER_DATABASE";
const KEY: &str = "BATERIA_WORKER_KEY";
const DIES_AFTER: &str = "BATERIA_WORKER_DIES_AFTER";

const RECORD_HEADER_SIZE: usize = 24;
const RO_HAVE_DELEGATIONS: u32 = 0x0100_0000;
const NULL_FUNC: u32 = 0xFF00_0001;
const IMMEDIATE_MIGRATION: u32 = 1;
