//! Ctrl-C and its like: no half-made file stays behind.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A file or directory that goes when the command ends in any way but by `keep`: returned early,
/// failed, or interrupted.
#[derive(Debug)]
pub(crate) struct Unfinished(PathBuf);

impl Unfinished {
    /// From now on `path` is removed if this command does not finish. Call it before making the
    /// file: an interruption may come in between.
    pub(crate) fn new(path: PathBuf) -> Self {
        unfinished().push(path.clone());
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// It is finished, or has another name by now.
    pub(crate) fn keep(self) {
        self.forget();
        std::mem::forget(self);
    }

    fn forget(&self) {
        unfinished().retain(|path| *path != self.0);
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        remove(&self.0);
        self.forget();
    }
}

/// From now on SIGINT, SIGTERM and SIGHUP remove what is unfinished before they end the process,
/// in the way that they would have ended it anyway. A database that is being changed needs nothing:
/// whoever opens it next rolls an unfinished transaction back.
pub(crate) fn watch() -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            // Held to the end: nothing unfinished can begin any more.
            let paths = unfinished();
            paths.iter().for_each(|path| remove(path));
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    })?;
    Ok(())
}

fn remove(path: &Path) {
    // Where there is nothing, nothing has to go.
    if std::fs::remove_file(path).is_err() {
        let _ = std::fs::remove_dir_all(path);
    }
}

fn unfinished() -> MutexGuard<'static, Vec<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_goes() {
        let name = |part| {
            std::env::temp_dir().join(format!("bateria-unfinished-{}-{part}", std::process::id()))
        };
        let (dropped, kept) = (Unfinished::new(name("a")), Unfinished::new(name("b")));
        std::fs::write(dropped.path(), "half").unwrap();
        std::fs::write(kept.path(), "whole").unwrap();
        drop(dropped);
        kept.keep();
        assert!(!name("a").exists());
        assert!(name("b").exists());
        std::fs::remove_file(name("b")).unwrap();
        assert!(!unfinished().contains(&name("a")) && !unfinished().contains(&name("b")));
    }
}
