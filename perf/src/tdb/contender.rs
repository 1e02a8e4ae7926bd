//! Two processes that take one chain's lock from each other.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::engine::{Engine, Ours, Theirs, Who};
use super::operation::key;
use super::stopwatch::{Stopwatch, Taken};
use crate::Fault;

/// The other process: for each line with a number of microseconds it locks and unlocks for as long, and answers
/// with what it took.
pub(crate) struct Contender {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Contender {
    pub(crate) fn start(who: Who, path: &Path, flags: u32) -> Result<Contender, Fault> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("tdb-contender")
            .arg(serde_json::to_string(&who)?.trim_matches('"'))
            .arg(path)
            .arg(flags.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let answers = BufReader::new(child.stdout.take().expect("stdout is piped"));
        Ok(Contender { child, answers })
    }

    /// Both processes at once; `operations` and CPU time are those of both, the wall time that of one.
    pub(crate) fn contend(
        &mut self,
        engine: &mut impl Engine,
        time: Duration,
    ) -> Result<Contest, Fault> {
        let stdin = self.child.stdin.as_mut().expect("stdin is piped");
        writeln!(stdin, "{}", time.as_micros())?;
        stdin.flush()?;
        let own = lock_for(engine, time);
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let other: Taken = serde_json::from_str(&line)?;
        Ok(Contest { own, other })
    }
}

/// What two processes took in the same time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contest {
    own: Taken,
    other: Taken,
}

impl Contest {
    pub(crate) fn together(&self) -> Taken {
        Taken {
            operations: self.own.operations + self.other.operations,
            time: self.own.time.max(self.other.time),
            cpu: self.own.cpu + self.other.cpu,
        }
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        // It ends when its input does.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The child's half.
pub(crate) fn serve(who: Who, path: &Path, flags: u32) -> Result<(), Fault> {
    match who {
        Who::Bateria => serve_with(&mut Ours::open(path, flags, 0)?),
        Who::Libtdb => serve_with(&mut Theirs::open(path, flags, 0)?),
    }
}

fn serve_with(engine: &mut impl Engine) -> Result<(), Fault> {
    for line in std::io::stdin().lines() {
        let taken = lock_for(engine, Duration::from_micros(line?.trim().parse()?));
        println!("{}", serde_json::to_string(&taken)?);
        std::io::stdout().flush()?;
    }
    Ok(())
}

fn lock_for(engine: &mut impl Engine, time: Duration) -> Taken {
    let stopwatch = Stopwatch::start();
    let key = key(0);
    let mut operations = 0;
    while stopwatch.elapsed() < time {
        for _ in 0..TURNS_BETWEEN_LOOKS {
            engine.lock_and_unlock(&key);
        }
        operations += TURNS_BETWEEN_LOOKS;
    }
    stopwatch.stop(operations)
}

/// Looking at the clock costs as much as a few locks.
const TURNS_BETWEEN_LOOKS: u64 = 16;
