//! The node's last vote: given twice in one term it would elect two leaders, so it outlives the
//! daemon.

use bateria_core::cluster::Vote;
use bateria_wire::Pnn;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

/// `<var>/bateria/<pnn>/vote`, a line of text: `term=7 voted_for=2`.
#[derive(Clone, Debug)]
pub(crate) struct VoteFile(PathBuf);

impl VoteFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// `None` on a node that has never voted.
    ///
    /// # Errors
    /// The file is there and cannot be read or understood.
    pub(crate) fn read(&self) -> io::Result<Option<Vote>> {
        let text = match fs::read_to_string(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        parse(&text).map(Some).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    /// Replaces the file as a whole, on disk.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn write(&self, term: u32, voted_for: Pnn) -> io::Result<()> {
        let next = self.0.with_extension("next");
        let mut file = File::create(&next)?;
        writeln!(file, "term={term} voted_for={voted_for}")?;
        file.sync_data()?;
        fs::rename(&next, &self.0)
    }

    pub(crate) fn display(&self) -> impl Display {
        self.0.display()
    }
}

fn parse(text: &str) -> Option<Vote> {
    let (term, voted_for) = text.trim_end().split_once(' ')?;
    let term = term.strip_prefix("term=")?.parse().ok()?;
    let voted_for = Pnn(voted_for.strip_prefix("voted_for=")?.parse().ok()?);
    Some(Vote { term, voted_for })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let vote = Vote { term: 7, voted_for: Pnn(2) };
        assert_eq!(parse("term=7 voted_for=2\n"), Some(vote));
        assert_eq!(parse("term=7"), None);
    }
}
