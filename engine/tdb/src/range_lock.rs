//! Byte range locks of open file descriptions (tdb §6, pitfalls P2 and P3).
//!
//! Classic POSIX locks belong to the process: threads do not exclude each other, and closing any
//! descriptor of the file drops all of them. Locks of open file descriptions conflict with them
//! in both directions and belong to the descriptor, so each handle has one of its own.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

/// What a lock shares with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    Read,
    Write,
}

/// Whether a request may block the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Block,
    Try,
}

/// Outcome of a request that must not block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Attempt {
    Locked,
    Busy,
}

/// Some bytes of a file; the size 0 means "to the end, however far that moves".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: u32,
    pub(crate) size: u32,
}

impl Range {
    pub(crate) const fn byte(start: u32) -> Self {
        Self { start, size: 1 }
    }

    pub(crate) const fn from(start: u32) -> Self {
        Self { start, size: 0 }
    }
}

/// Takes a lock, or converts one that this descriptor holds.
pub(crate) fn lock(file: &File, range: Range, kind: LockKind, wait: Wait) -> io::Result<Attempt> {
    if wait == Wait::Block && !may_queue(range) {
        return poll(file.as_fd(), range, kind, &mut || false);
    }
    request_kind(file.as_fd(), range, kind, wait)
}

/// Waits by asking again and again, ever less often.
///
/// A request of ours that sleeps in the kernel's queue hides those behind it: Linux enters a
/// classic request into its search for deadlocks only if the request in front of it is classic
/// too. libtdb relies on that search (a traverse against a lock of everything, tdb §6.6), so two
/// of its processes would hang for as long as we wait. Where nobody can be in a cycle
/// (`may_queue`), the kernel's queue is used.
fn poll(
    descriptor: BorrowedFd<'_>,
    range: Range,
    kind: LockKind,
    give_up: &mut dyn FnMut() -> bool,
) -> io::Result<Attempt> {
    for _ in 0..YIELDS_COUNT {
        if request_kind(descriptor, range, kind, Wait::Try)? == Attempt::Locked {
            return Ok(Attempt::Locked);
        }
        std::thread::yield_now();
    }
    let mut pause = PAUSE_MIN;
    loop {
        if request_kind(descriptor, range, kind, Wait::Try)? == Attempt::Locked {
            return Ok(Attempt::Locked);
        }
        if give_up() {
            return Ok(Attempt::Busy);
        }
        std::thread::sleep(pause);
        pause = (pause * 3 / 2).min(PAUSE_MAX);
    }
}

/// Bytes whose holders never wait for anybody who may wait for such a byte.
fn may_queue(range: Range) -> bool {
    [OPEN, ACTIVE, TRANSACTION, SEQUENCE].contains(&range)
}

fn request_kind(
    descriptor: BorrowedFd<'_>,
    range: Range,
    kind: LockKind,
    wait: Wait,
) -> io::Result<Attempt> {
    let kind = match kind {
        LockKind::Read => libc::F_RDLCK,
        LockKind::Write => libc::F_WRLCK,
    };
    match request(descriptor, range, kind, wait) {
        Ok(()) => Ok(Attempt::Locked),
        Err(error)
            if wait == Wait::Try
                && matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) =>
        {
            Ok(Attempt::Busy)
        }
        Err(error) => Err(error),
    }
}

pub(crate) fn unlock(file: &File, range: Range) -> io::Result<()> {
    request(file.as_fd(), range, libc::F_UNLCK, Wait::Block)
}

/// True if nobody else holds a lock of any kind in the range: half the system calls of taking and
/// releasing one.
pub(crate) fn is_unlocked(file: &File, range: Range) -> io::Result<bool> {
    let mut range = description(range, libc::F_WRLCK);
    // SAFETY: the descriptor is open as long as `file` lives; the call writes only to `range`.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut range) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(i32::from(range.l_type) == libc::F_UNLCK)
}

/// Blocks until the descriptor has the write lock of one byte; for a thread that may block, on
/// behalf of one that may not. The lock belongs to the descriptor, not to the thread: the owner
/// enters it with `Tdb::adopt_chain_lock`.
///
/// # Errors
///
/// The `errno` of `fcntl`; an interrupted call is repeated.
pub fn block_on_fcntl(descriptor: BorrowedFd<'_>, byte: u32) -> io::Result<()> {
    poll(descriptor, Range::byte(byte), LockKind::Write, &mut || false).map(|_| ())
}

/// As `block_on_fcntl`, but asks `give_up` before each pause (of 5 ms at most) and answers `Busy`
/// when told to.
///
/// # Errors
///
/// As `block_on_fcntl`.
pub fn block_on_fcntl_unless(
    descriptor: BorrowedFd<'_>,
    byte: u32,
    give_up: &mut dyn FnMut() -> bool,
) -> io::Result<Attempt> {
    poll(descriptor, Range::byte(byte), LockKind::Write, give_up)
}

fn request(
    descriptor: BorrowedFd<'_>,
    range: Range,
    kind: libc::c_int,
    wait: Wait,
) -> io::Result<()> {
    let command = match wait {
        Wait::Block => libc::F_OFD_SETLKW,
        Wait::Try => libc::F_OFD_SETLK,
    };
    let range = description(range, kind);
    loop {
        // SAFETY: the descriptor is open while it is borrowed, and `range` is a valid `flock`
        // that the call only reads.
        if unsafe { libc::fcntl(descriptor.as_raw_fd(), command, &raw const range) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

fn description(range: Range, kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: i16::try_from(kind).expect("lock kinds are small"),
        l_whence: i16::try_from(libc::SEEK_SET).expect("SEEK_SET is 0"),
        l_start: i64::from(range.start),
        l_len: i64::from(range.size),
        l_pid: 0,
    }
}

/// Held exclusively while a file is opened, created, committed to or recovered.
pub(crate) const OPEN: Range = Range::byte(0);
/// Held shared as long as a volatile file is in use; whoever gets it exclusively is alone.
pub(crate) const ACTIVE: Range = Range::byte(4);
/// Held exclusively for a whole transaction or write traverse.
pub(crate) const TRANSACTION: Range = Range::byte(8);
/// Held exclusively around increments without a mapping.
pub(crate) const SEQUENCE: Range = Range::byte(48);
/// Lock byte of the free list: 4 below its head, as for every list.
pub(crate) const FREE_LIST: u32 = 164;
/// Everything that a lock of the whole database covers; the free list is not among it.
pub(crate) const ALL_RECORDS: Range = Range::from(168);

const YIELDS_COUNT: u32 = 16;
const PAUSE_MIN: Duration = Duration::from_micros(20);
const PAUSE_MAX: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_descriptors_of_one_process_exclude_each_other() {
        let file = crate::scratch::File::new("range-lock");
        let (a, b) = (file.open(), file.open());
        let byte = Range::byte(168);
        assert_eq!(lock(&a, byte, LockKind::Write, Wait::Try).unwrap(), Attempt::Locked);
        assert_eq!(lock(&b, byte, LockKind::Read, Wait::Try).unwrap(), Attempt::Busy);
        unlock(&a, byte).unwrap();
        assert_eq!(lock(&b, byte, LockKind::Read, Wait::Try).unwrap(), Attempt::Locked);
    }
}
