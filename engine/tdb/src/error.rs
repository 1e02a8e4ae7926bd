//! Errors of the engine: whose fault, where in which file, and libtdb's code for it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Why an operation failed.
///
/// `Corrupt` and `OutOfRange` condemn the file (quarantine the database); `Sys` is the system's
/// fault and keeps the call and its `errno`; `Refused` says why a file is not opened; the others
/// are answers to the caller's own request.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TdbError {
    #[error("{}: offset {offset:#x}: {rule}", path.display())]
    Corrupt { path: Arc<Path>, offset: u32, rule: &'static str },
    #[error(
        "{}: offset {offset:#x}: {size_bytes} bytes reach beyond the end at {end:#x}",
        path.display()
    )]
    OutOfRange { path: Arc<Path>, offset: u32, size_bytes: u64, end: u64 },
    #[error("{}: {call}: {}", path.display(), std::io::Error::from_raw_os_error(*errno))]
    Sys { path: Arc<Path>, call: &'static str, errno: i32 },
    /// `offset` is that of the field of the header that breaks the rule, where it is one of them.
    #[error("{}: not opened: {}{rule}", path.display(), At(*offset))]
    Refused { path: Arc<Path>, offset: Option<u32>, rule: &'static str, errno: i32 },
    #[error("{}: lock at byte {byte}: {rule}", path.display())]
    Lock { path: Arc<Path>, byte: u32, rule: &'static str, errno: i32 },
    #[error("{}: a transaction is running elsewhere", path.display())]
    TransactionBusy { path: Arc<Path> },
    /// A committer died; `Tdb::recover` (which blocks) must run before any record is touched.
    #[error("{}: a commit was interrupted and must be rolled back first", path.display())]
    RecoveryNeeded { path: Arc<Path> },
    #[error("{}: no room: {rule}", path.display())]
    OutOfSpace { path: Arc<Path>, rule: &'static str },
    #[error("record exists")]
    Exists,
    #[error("record does not exist")]
    NotFound,
    #[error("{}: {rule}", path.display())]
    Invalid { path: Arc<Path>, rule: &'static str },
    #[error("{}: handle is read-only", path.display())]
    ReadOnly { path: Arc<Path> },
    #[error("{}: nested transactions are not allowed on this handle", path.display())]
    Nesting { path: Arc<Path> },
}

impl TdbError {
    /// libtdb's code of this error (tdb §11.6).
    #[must_use]
    pub fn code(&self) -> u32 {
        match self {
            Self::Corrupt { .. } => 1,
            Self::OutOfRange { .. } | Self::Sys { .. } | Self::Refused { .. } => 2,
            Self::Lock { .. } | Self::RecoveryNeeded { .. } => 3,
            Self::OutOfSpace { .. } => 4,
            Self::Exists => 5,
            Self::TransactionBusy { .. } => 6,
            Self::NotFound => 8,
            Self::Invalid { .. } => 9,
            Self::ReadOnly { .. } => 10,
            Self::Nesting { .. } => 11,
        }
    }

    /// The `errno` that libtdb leaves behind for this error, where it leaves one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Sys { errno, .. } | Self::Refused { errno, .. } | Self::Lock { errno, .. } => {
                Some(*errno)
            }
            Self::OutOfSpace { .. } => Some(libc::ENOSPC),
            _ => None,
        }
    }

    /// The file that it is about, where it is about one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Corrupt { path, .. }
            | Self::OutOfRange { path, .. }
            | Self::Sys { path, .. }
            | Self::Refused { path, .. }
            | Self::Lock { path, .. }
            | Self::TransactionBusy { path }
            | Self::RecoveryNeeded { path }
            | Self::OutOfSpace { path, .. }
            | Self::Invalid { path, .. }
            | Self::ReadOnly { path }
            | Self::Nesting { path } => Some(path),
            Self::Exists | Self::NotFound => None,
        }
    }

    /// True when the file itself is damaged, so that its database should be quarantined.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::OutOfRange { .. })
    }

    pub(crate) fn sys(path: &Arc<Path>, call: &'static str, error: &std::io::Error) -> Self {
        Self::Sys { path: path.clone(), call, errno: error.raw_os_error().unwrap_or(libc::EIO) }
    }

    pub(crate) fn corrupt(path: &Arc<Path>, offset: u32, rule: &'static str) -> Self {
        Self::Corrupt { path: path.clone(), offset, rule }
    }
}

/// Where it is, for a message that goes on.
struct At(Option<u32>);

impl fmt::Display for At {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |offset| write!(to, "offset {offset:#x}: "))
    }
}
