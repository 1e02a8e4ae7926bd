//! Copying a database that is in use into a compact file (tdb §10.5).

use crate::database::Tdb;
use crate::error::TdbError;
use crate::flags::TdbFlags;
use crate::open::OpenOptions;
use crate::range_lock::LockKind;
use crate::store::StoreMode;
use crate::transfer::TransferError;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// How to back up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupOptions {
    /// Chains of the copy; 0 means as many as the original has.
    pub hash_size: u32,
    /// Lock the original for reading in place of a transaction, as `tdbbackup -r` does.
    pub read_lock: bool,
}

/// Copies every record of `source` into `target`, which appears under its name only when it is
/// complete and on disk. Returns the number of records; `progress` learns how many are done.
///
/// The copy is a plain file with the old hash, as `tdbbackup` makes it. A read-only source is
/// copied without locks, so what others change meanwhile may be torn; the count is checked.
///
/// # Errors
///
/// Those of `begin` (or `lock_all`) and of making the copy; the target is then as it was.
pub fn backup(
    source: &mut Tdb,
    target: &Path,
    options: BackupOptions,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, TransferError> {
    if source.is_read_only() {
        return write_copy(source, target, options, progress);
    }
    if options.read_lock {
        source.lock_all(LockKind::Read)?;
        let copied = write_copy(source, target, options, progress);
        source.unlock_all();
        return copied;
    }
    let mut transaction = source.begin()?;
    write_copy(&mut transaction, target, options, progress)
}

fn write_copy(
    source: &mut Tdb,
    target: &Path,
    options: BackupOptions,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, TransferError> {
    let mut name = target.as_os_str().to_owned();
    name.push(".tmp");
    let unfinished = Unfinished::take(PathBuf::from(name))?;
    let mode = std::fs::metadata(source.path())?.permissions().mode() & 0o7777;
    let hash_size = if options.hash_size == 0 { source.chains_count() } else { options.hash_size };
    // Nobody knows of this file yet.
    let flags = TdbFlags::NOLOCK;
    let open = OpenOptions { flags, hash_size, create: true, mode, ..OpenOptions::default() };
    let mut copy = Tdb::open(&unfinished.path, &open)?;
    unfinished.file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    let mut stored: Result<bool, TdbError> = Ok(true);
    let mut copied = 0;
    let have = source.traverse(&mut |key, data| {
        stored = copy.store(key, &[data], StoreMode::Insert);
        copied += u64::from(matches!(stored, Ok(true)));
        progress(copied);
        if stored.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    stored?;
    let found = copy.traverse(&mut |_, _| ControlFlow::Continue(()))?;
    if found != have {
        return Err(TransferError::Incomplete { copied: found, have });
    }
    drop(copy);
    unfinished.file.sync_all()?;
    unfinished.publish(target)?;
    sync_directory(target)?;
    Ok(have)
}

/// A rename is durable when the directory is.
fn sync_directory(of: &Path) -> io::Result<()> {
    let parent = of.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// A copy in the making: removed, unless it is published.
struct Unfinished {
    path: PathBuf,
    /// Locked as a whole, which shows that somebody is at work on it.
    file: File,
    published: bool,
}

impl Unfinished {
    /// Makes it, or takes over what somebody has left who died.
    ///
    /// Without the lock a second backup would remove the first one's file, and the first would publish
    /// what the second has of it so far.
    fn take(path: PathBuf) -> Result<Self, TransferError> {
        loop {
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                // Nor is a file emptied that a link from here leads to.
                .custom_flags(libc::O_NOFOLLOW)
                .open(&path)?;
            // File systems without such locks have to do without.
            if flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
                let busy = "another backup of it is being made";
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, busy).into());
            }
            // Its owner may have published or removed it since it was opened here.
            let named = std::fs::metadata(&path).map(|named| (named.dev(), named.ino()));
            let own = file.metadata()?;
            if named.is_ok_and(|named| named == (own.dev(), own.ino())) {
                file.set_len(0)?;
                return Ok(Self { path, file, published: false });
            }
        }
    }

    fn publish(mut self, target: &Path) -> io::Result<()> {
        std::fs::rename(&self.path, target)?;
        // From now on a file of the old name is somebody else's.
        self.published = true;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.published {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_has_every_record_and_the_mode_of_the_original() {
        let file = crate::scratch::File::new("backup");
        let options = OpenOptions { create: true, mode: 0o640, ..OpenOptions::default() };
        let mut tdb = Tdb::open(file.path(), &options).unwrap();
        for index in 0..100_u32 {
            tdb.store(&index.to_le_bytes(), &[b"data"], StoreMode::Insert).unwrap();
        }
        let target = file.path().with_extension("bak");
        for read_lock in [false, true] {
            let options = BackupOptions { hash_size: 7, read_lock };
            assert_eq!(backup(&mut tdb, &target, options, &mut |_| {}).unwrap(), 100);
        }
        let mut copy = Tdb::open(&target, &OpenOptions::default()).unwrap();
        assert_eq!((copy.check().unwrap().live_count, copy.chains_count()), (100, 7));
        let mode = std::fs::metadata(&target).unwrap().permissions().mode();
        std::fs::remove_file(&target).unwrap();
        assert_eq!(mode & 0o777, 0o640);
    }
}
