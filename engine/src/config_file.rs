//! Reading a configuration file without trusting its size.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Far above any real configuration; a larger file is something else by mistake.
pub const CONFIG_SIZE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Reads a whole file, or `None` when there is none.
///
/// # Errors
///
/// Whatever `open` and `read` report, and [`io::ErrorKind::FileTooLarge`] above
/// [`CONFIG_SIZE_BYTES_MAX`].
pub fn read_if_present(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match File::open(path) {
        Ok(file) => read_bounded(file).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads to the end of a source that may be larger than it should.
///
/// # Errors
///
/// See [`read_if_present`].
pub fn read_bounded(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(CONFIG_SIZE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > CONFIG_SIZE_BYTES_MAX {
        let text = format!("larger than {CONFIG_SIZE_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_file_is_no_error() {
        assert!(read_if_present(Path::new("/nonexistent/ctdb.conf")).unwrap().is_none());
    }

    #[test]
    fn a_directory_is_an_error() {
        assert!(read_if_present(Path::new("/")).is_err());
    }

    #[test]
    fn an_endless_source_is_refused() {
        let fault = read_bounded(io::repeat(b'x')).unwrap_err();
        assert_eq!(fault.kind(), io::ErrorKind::FileTooLarge);
    }
}
