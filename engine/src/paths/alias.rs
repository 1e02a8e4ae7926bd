//! Second names of our files.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// A second name under which clients and tools of another release look for a file of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    pub link: PathBuf,
    pub target: PathBuf,
}

impl Alias {
    /// Makes the link where the other release is installed, which its directory tells.
    ///
    /// # Errors
    ///
    /// Whatever the file system reports, and [`io::ErrorKind::AlreadyExists`] when the name is
    /// taken by something that is no link.
    pub fn establish(&self) -> io::Result<()> {
        let wanted = self.link.parent().is_some_and(Path::is_dir) && self.link != self.target;
        if !wanted {
            return Ok(());
        }
        match fs::read_link(&self.link) {
            Ok(target) if target == self.target => return Ok(()),
            Ok(_) => fs::remove_file(&self.link)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                // Left behind by a stock daemon that did not end in order.
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            Err(error) => return Err(error),
        }
        std::os::unix::fs::symlink(&self.target, &self.link)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_replaces_links_but_nothing_else() {
        let directory = crate::scratch::Scratch::new();
        let alias = Alias { link: directory.path().join("l"), target: "/run/ctdb/x".into() };
        std::os::unix::fs::symlink("/elsewhere", &alias.link).unwrap();
        alias.establish().unwrap();
        alias.establish().unwrap();
        assert_eq!(fs::read_link(&alias.link).unwrap(), alias.target);

        fs::remove_file(&alias.link).unwrap();
        fs::write(&alias.link, "1").unwrap();
        assert_eq!(alias.establish().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn an_alias_is_made_only_where_its_directory_is() {
        let alias = Alias { link: "/nonexistent/l".into(), target: "/x".into() };
        alias.establish().unwrap();
    }
}
