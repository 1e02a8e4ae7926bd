//! The built-in holder: a lock on a file of the cluster file system.

use super::{Holder, LockTiming, Report, Reporter};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rustix::fs::{
    AtFlags, CWD, FlockOperation, Mode, OFlags, Statx, StatxFlags, fcntl_lock, statx,
};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

/// A thread that has the file open.
///
/// Stock's helper holds a classic fcntl lock on byte 0. Ours is of the same kind, which is the one
/// that every cluster file system implements, and covers the whole file; so nodes of both kinds
/// exclude each other. A classic lock is gone as soon as the process closes any descriptor of the
/// file: nothing else in the daemon may open it, and looking whether it is still the same file
/// goes by name.
struct FileHolder {
    /// Dropped or used, it ends the thread.
    stop: Sender<()>,
}

pub(super) fn start(
    path: &Path,
    timing: LockTiming,
    reporter: Reporter,
) -> io::Result<Box<dyn Holder>> {
    let (stop, stopped) = bounded(1);
    let held = HeldFile { path: path.to_owned(), timing, stopped };
    thread::Builder::new().name("lock-file".into()).spawn(move || {
        held.hold(&reporter);
        reporter.report(Report::Gone);
    })?;
    Ok(Box::new(FileHolder { stop }))
}

impl Holder for FileHolder {
    fn stop(&mut self) {
        // One word is enough; a thread that hangs reads it later.
        let _ = self.stop.try_send(());
    }

    fn kill(&mut self) {
        // A thread in a system call of a file system that hangs cannot be ended. It gives the lock
        // back when it wakes up.
    }
}

/// The thread's side.
struct HeldFile {
    path: PathBuf,
    timing: LockTiming,
    stopped: Receiver<()>,
}

impl HeldFile {
    /// Returns when the lock is free again, or was never ours.
    fn hold(&self, reporter: &Reporter) {
        let file = match self.take() {
            Ok(Some(file)) => file,
            Ok(None) => return reporter.report(Report::Contended),
            Err(text) => return reporter.report(Report::Failed(text)),
        };
        reporter.report(Report::Taken);
        while self.stopped.recv_timeout(self.timing.recheck_interval)
            == Err(RecvTimeoutError::Timeout)
        {
            if let Err(reason) = self.check(&file) {
                let path = self.path.display();
                let text = format!("lock lost - lock file \"{path}\" {reason}");
                return reporter.report(Report::Ended(text));
            }
            reporter.report(Report::Alive);
        }
    }

    /// The locked file, or `None` when another node has it.
    fn take(&self) -> Result<Option<File>, String> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        let file = rustix::fs::open(&self.path, flags, Mode::RUSR | Mode::WUSR);
        let path = self.path.display();
        let file: File = file.map_err(|error| format!("Unable to open {path} - ({error})"))?.into();
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(Errno::AGAIN | Errno::ACCESS) => Ok(None),
            Err(error) => Err(format!("Unable to lock {path} - ({error})")),
        }
    }

    /// Whether the name still leads to the file that is locked, and the lock is still ours.
    fn check(&self, file: &File) -> Result<(), String> {
        // Attributes that a network file system has cached would hide the very change.
        let flags = AtFlags::STATX_FORCE_SYNC;
        let wanted = StatxFlags::INO;
        let by_name = statx(CWD, &self.path, flags, wanted)
            .map_err(|error| format!("stat failed ({error})"))?;
        let by_descriptor = statx(file, "", flags | AtFlags::EMPTY_PATH, wanted)
            .map_err(|error| format!("fstat failed ({error})"))?;
        if identity(&by_name) != identity(&by_descriptor) {
            return Err("inode changed".into());
        }
        // Taken once more it is the same lock; if it was lost meanwhile, this fails.
        fcntl_lock(file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| format!("lock failed ({error})"))
    }
}

fn identity(stat: &Statx) -> (u32, u32, u64) {
    (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino)
}
