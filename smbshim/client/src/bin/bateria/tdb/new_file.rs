//! A file that appears under its name only when it is complete and on disk.

use crate::failure::Failure;
use crate::interrupt::Unfinished;
use rustix::fs::{AtFlags, CWD, RenameFlags};
use rustix::io::Errno;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Made beside its later place, under a name of its own.
#[derive(Debug)]
pub(crate) struct NewFile {
    unfinished: Unfinished,
    target: PathBuf,
}

impl NewFile {
    /// Refuses a `target` that is there already. Makes nothing yet: `path` is where to make it.
    pub(crate) fn beside(target: &Path) -> Result<Self, Failure> {
        match std::fs::symlink_metadata(target) {
            Ok(_) => return Err(exists(target)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Failure::of_io(target, &error).blame_request()),
        }
        let mut name = std::ffi::OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        name.push(format!(".{}.unfinished", std::process::id()));
        let unfinished = Unfinished::new(target.with_file_name(name));
        Ok(Self { unfinished, target: target.to_owned() })
    }

    pub(crate) fn path(&self) -> &Path {
        self.unfinished.path()
    }

    /// Puts it on disk and gives it its name, if that is still free.
    pub(crate) fn publish(self) -> Result<(), Failure> {
        let Self { unfinished, target } = self;
        let failed = |error: std::io::Error| Failure::of_io(&target, &error);
        File::open(unfinished.path()).and_then(|file| file.sync_all()).map_err(failed)?;
        let from = unfinished.path();
        match rustix::fs::renameat_with(CWD, from, CWD, &target, RenameFlags::NOREPLACE) {
            Ok(()) => unfinished.keep(),
            Err(Errno::EXIST) => return Err(exists(&target)),
            // File systems without that flag: a second name, which never replaces either.
            Err(_) => match rustix::fs::linkat(CWD, from, CWD, &target, AtFlags::empty()) {
                Ok(()) => drop(unfinished),
                Err(Errno::EXIST) => return Err(exists(&target)),
                Err(error) => return Err(failed(error.into())),
            },
        }
        let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        File::open(parent).and_then(|directory| directory.sync_all()).map_err(failed)
    }
}

fn exists(target: &Path) -> Failure {
    Failure::of_file(target, &"is there already, and is never overwritten")
        .blame_request()
        .next_step("choose another name, or move that file away")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_appears_when_published_and_never_replaces() {
        let directory =
            std::env::temp_dir().join(format!("bateria-new-file-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let target = directory.join("a.tdb");
        let (first, second) =
            (NewFile::beside(&target).unwrap(), NewFile::beside(&target).unwrap());
        std::fs::write(first.path(), "content").unwrap();
        assert!(!target.exists());
        first.publish().unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"content");
        std::fs::write(second.path(), "other").unwrap();
        assert_eq!(second.publish().unwrap_err().exit_code(), 2);
        assert_eq!(std::fs::read(&target).unwrap(), b"content");
        assert!(NewFile::beside(&target).is_err());
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
