//! Who is at the other end of a Unix socket.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// The pid of the process that connected, as the kernel recorded it; 0 for a process of another
/// pid namespace.
///
/// # Errors
/// The socket is none, or of another family.
pub fn peer_pid(socket: impl AsFd) -> io::Result<i32> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut size = libc::socklen_t::try_from(size_of::<libc::ucred>()).expect("12 bytes");
    // SAFETY: the kernel writes at most `size` bytes to `credentials`, which is that large, and
    // both outlive the call; the descriptor is borrowed for it.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut size,
        )
    };
    if outcome == 0 { Ok(credentials.pid) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_connection_to_oneself_has_ones_own_pid() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert_eq!(peer_pid(&one).unwrap(), i32::try_from(std::process::id()).unwrap());
    }
}
