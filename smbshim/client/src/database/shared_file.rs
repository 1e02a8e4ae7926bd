//! One file, several users in this process.
//!
//! smbd opens each file once in a process. Here every thread may attach the same database through
//! its own connection: the first one opens the file, the others get siblings of that handle, since
//! the robust mutexes in the file may be mapped only once (tdb §5.2).

use crate::fault::ClientFault;
use bateria_tdb::{OpenOptions, Tdb, TdbFlags};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Keeps the process's first handle of a file open while anybody uses the file.
pub(super) struct SharedFile {
    first: Option<Arc<Mutex<Tdb>>>,
}

/// Device and inode: a path may name another file after a daemon's restart.
type Identity = (u64, u64);
type OpenFiles = BTreeMap<Identity, Weak<Mutex<Tdb>>>;

impl SharedFile {
    /// Opens the file with the flags that the daemon answered, and a handle on it.
    pub(super) fn open(path: &Path, flags: u32) -> Result<(Tdb, Self), ClientFault> {
        let mut files = open_files();
        files.retain(|_, first| first.strong_count() > 0);
        let metadata = fs::metadata(path).map_err(ClientFault::sys("stat", path))?;
        let identity = (metadata.dev(), metadata.ino());
        let first = if let Some(first) = files.get(&identity).and_then(Weak::upgrade) {
            first
        } else {
            let flags = TdbFlags::from_bits_retain(flags);
            let options = OpenOptions { flags, ..OpenOptions::default() };
            let first = Arc::new(Mutex::new(Tdb::open(path, &options)?));
            files.insert(identity, Arc::downgrade(&first));
            first
        };
        let tdb = first.lock().unwrap_or_else(PoisonError::into_inner).sibling()?;
        Ok((tdb, Self { first: Some(first) }))
    }
}

impl Drop for SharedFile {
    fn drop(&mut self) {
        // Nobody may open the file anew while its last handle is being closed.
        let _files = open_files();
        self.first = None;
    }
}

fn open_files() -> MutexGuard<'static, OpenFiles> {
    static OPEN_FILES: Mutex<OpenFiles> = Mutex::new(BTreeMap::new());
    // Whoever panicked while holding it left the table as it was.
    OPEN_FILES.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bateria_tdb::StoreMode;
    use std::path::PathBuf;

    struct Scratch(PathBuf);

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn handles_of_one_process_see_each_other_and_the_last_one_closes() {
        let name = format!("bateria-client-{}.tdb", std::process::id());
        let scratch = Scratch(std::env::temp_dir().join(name));
        let flags = TdbFlags::VOLATILE_MUTEX;
        let options = OpenOptions { flags, create: true, ..OpenOptions::default() };
        drop(Tdb::open(&scratch.0, &options).unwrap());

        for _ in 0..2 {
            let (mut one, file_of_one) = SharedFile::open(&scratch.0, flags.bits()).unwrap();
            let (mut two, file_of_two) = SharedFile::open(&scratch.0, flags.bits()).unwrap();
            one.store(b"key", &[b"value"], StoreMode::Replace).unwrap();
            let mut value = Vec::new();
            assert!(two.fetch(b"key", &mut value).unwrap());
            assert_eq!(value, b"value");
            drop((one, file_of_one, two, file_of_two));
            assert!(open_files().values().all(|first| first.strong_count() == 0));
        }
    }
}
