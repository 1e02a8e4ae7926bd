//! Another process that uses libtdb (or our engine) on command.

use bateria_tdb::libtdb::Original;
use bateria_tdb::{OpenOptions, StoreMode, Tdb, TdbFlags};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The parent's end.
pub(crate) struct Peer {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Peer {
    /// `kind` is "theirs" or "ours".
    pub(crate) fn start(kind: &str, path: &Path, flags: u32) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program has a path"))
            .args(["peer", kind])
            .arg(path)
            .arg(flags.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the peer starts");
        let stdin = child.stdin.take().expect("piped");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut peer = Self { child, stdin, stdout };
        assert_eq!(peer.answer(), "open");
        peer
    }

    /// Sends a command and returns the answer.
    pub(crate) fn ask(&mut self, command: &str) -> String {
        self.send(command);
        self.answer()
    }

    pub(crate) fn send(&mut self, command: &str) {
        writeln!(self.stdin, "{command}").expect("the peer listens");
    }

    pub(crate) fn answer(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("the peer answers");
        line.trim_end().to_owned()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().expect("our own child");
        self.child.wait().expect("our own child");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The child's end: one command per line, one answer per line.
pub(crate) fn run(arguments: &[String]) {
    let [kind, path, flags] = arguments else { panic!("a peer has three arguments") };
    let flags: u32 = flags.parse().expect("a number");
    match kind.as_str() {
        "theirs" => theirs(Path::new(path), flags),
        _ => ours(Path::new(path), flags),
    }
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").expect("the parent listens");
    out.flush().expect("the parent listens");
}

fn commands(mut serve: impl FnMut(&str, &[u8], usize) -> String) {
    say("open");
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("the parent writes lines");
        let mut words = line.split(' ');
        let command = words.next().expect("a line has a word");
        let key = words.next().unwrap_or("").as_bytes();
        let size = words.next().map_or(0, |size| size.parse().expect("a number"));
        say(&serve(command, key, size));
    }
}

fn theirs(path: &Path, flags: u32) {
    let mut tdb = Original::open(path, 7, flags, libc::O_RDWR).expect("libtdb opens the file");
    commands(|command, key, size| {
        let outcome = match command {
            "store" => tdb.store(key, &vec![b'x'; size], 1),
            "delete" => tdb.delete(key),
            "fetch" => return tdb.fetch(key).map_or("none".into(), |data| data.len().to_string()),
            "lock" => tdb.chainlock(key),
            "trylock" => tdb.chainlock_nonblock(key),
            "unlock" => tdb.chainunlock(key),
            "lockall" => tdb.lockall(),
            "trylockall" => tdb.lockall_nonblock(),
            "unlockall" => tdb.unlockall(),
            "begin" => tdb.begin(),
            "prepare" => tdb.prepare(),
            "commit" => tdb.commit(),
            "cancel" => tdb.cancel(),
            "check" => i32::from(!tdb.check()),
            // The record of the returned key stays locked for reading until the next call.
            "first" => {
                let key = tdb.first_key();
                return key.map_or("none".into(), |key| String::from_utf8_lossy(&key).into());
            }
            "next" => {
                let key = tdb.next_key(key);
                return key.map_or("none".into(), |key| String::from_utf8_lossy(&key).into());
            }
            other => panic!("no command is called {other}"),
        };
        outcome.to_string()
    });
}

fn ours(path: &Path, flags: u32) {
    let options =
        OpenOptions { flags: TdbFlags::from_bits_retain(flags), ..OpenOptions::default() };
    let mut tdb = Tdb::open(path, &options).expect("the file opens");
    commands(|command, key, size| {
        let outcome = match command {
            "store" => tdb.store(key, &[&vec![b'x'; size]], StoreMode::Replace).map(|_| ()),
            "lock" => {
                let chain = tdb.chain_of(key);
                tdb.lock_chain(chain)
            }
            "unlock" => {
                let chain = tdb.chain_of(key);
                tdb.unlock_chain(chain);
                Ok(())
            }
            // Stays prepared, and the process with it.
            "prepare" => {
                let value = vec![b'x'; size];
                let mut transaction = tdb.begin().expect("nobody else is in a transaction");
                transaction.store(key, &[&value], StoreMode::Replace).expect("there is room");
                transaction.prepare().expect("there is room");
                say("0");
                loop {
                    std::thread::park();
                }
            }
            other => panic!("no command is called {other}"),
        };
        if outcome.is_ok() { "0".into() } else { "-1".into() }
    });
}
