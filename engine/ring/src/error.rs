//! What can go wrong with the ring itself, said so that an operator knows the next step.

use std::io;

/// The ring cannot be made or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// Policy forbids io_uring here.
    #[error("io_uring is forbidden: {cause}; {next_step}")]
    Forbidden {
        /// Which policy.
        cause: &'static str,
        /// What the operator does about it.
        next_step: &'static str,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// The kernel lacks something that there is no way around.
    #[error("this kernel's io_uring has no {missing}; Linux {KERNEL_NEEDED} or newer is needed")]
    KernelTooOld {
        /// The missing feature or operation.
        missing: &'static str,
    },
    /// A limit of this process stands in the way.
    #[error("io_uring ran into a limit of this process: {limit}; {next_step}")]
    Limit {
        /// Which limit.
        limit: &'static str,
        /// What the operator does about it.
        next_step: &'static str,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// A system call failed for another reason.
    #[error("{call} failed")]
    System {
        /// The call.
        call: &'static str,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
}

/// Bytes were not queued on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendRefused {
    /// The queue stands at its limit. [`crate::Event::Drained`] tells when there is room again.
    #[error("the stream's send queue holds {queued_bytes} bytes, its limit is {max_bytes}")]
    QueueFull {
        /// Bytes that wait to be sent.
        queued_bytes: usize,
        /// [`crate::StreamLimits::send_queue_bytes_max`].
        max_bytes: usize,
    },
    /// The stream is closing or gone.
    #[error("the stream is closed")]
    Closed,
}

/// The first kernel with everything that the ring cannot do without: deferred task work, multishot
/// receive and provided buffer rings.
pub(crate) const KERNEL_NEEDED: &str = "6.1";

impl RingError {
    pub(crate) fn system(call: &'static str, source: impl Into<io::Error>) -> Self {
        Self::System { call, source: source.into() }
    }

    /// Explains why `io_uring_setup` failed. `io_uring_disabled` is the content of the sysctl of
    /// that name, if it could be read.
    pub(crate) fn explain_setup(source: io::Error, io_uring_disabled: Option<&str>) -> Self {
        match (source.raw_os_error(), io_uring_disabled.map(str::trim)) {
            (Some(libc::EPERM), Some("2")) => Self::Forbidden {
                cause: "the sysctl kernel.io_uring_disabled is 2, which is for everyone",
                next_step: "run `sysctl kernel.io_uring_disabled=0` on the host",
                source,
            },
            (Some(libc::EPERM), Some("1")) => Self::Forbidden {
                cause: "the sysctl kernel.io_uring_disabled is 1, which is for the unprivileged",
                next_step: "start as root, or join the group of kernel.io_uring_group, or run \
                            `sysctl kernel.io_uring_disabled=0` on the host",
                source,
            },
            (Some(libc::EPERM | libc::EACCES), _) => Self::Forbidden {
                cause: "a seccomp filter or security module refuses it",
                next_step: "allow io_uring_setup, io_uring_enter and io_uring_register in the \
                            container's seccomp profile",
                source,
            },
            (Some(libc::ENOSYS), _) => Self::Forbidden {
                cause: "the kernel is built without it or a seccomp filter hides it",
                next_step: "use a kernel with CONFIG_IO_URING, and allow io_uring_setup, \
                            io_uring_enter and io_uring_register in the container's seccomp \
                            profile",
                source,
            },
            (Some(libc::ENOMEM), _) => Self::Limit {
                limit: "locked memory (RLIMIT_MEMLOCK)",
                next_step: "raise `ulimit -l` or the unit's LimitMEMLOCK=",
                source,
            },
            (Some(libc::EMFILE), _) => Self::Limit {
                limit: "open files (RLIMIT_NOFILE)",
                next_step: "raise `ulimit -n` or the unit's LimitNOFILE=",
                source,
            },
            (Some(libc::EINVAL), _) => {
                Self::KernelTooOld { missing: "deferred task work (IORING_SETUP_DEFER_TASKRUN)" }
            }
            _ => Self::system("io_uring_setup", source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(errno: i32, sysctl: Option<&str>) -> String {
        RingError::explain_setup(io::Error::from_raw_os_error(errno), sysctl).to_string()
    }

    #[test]
    fn a_refusal_names_its_cause_and_the_next_step() {
        assert!(explained(libc::EPERM, Some("2\n")).contains("sysctl kernel.io_uring_disabled=0"));
        assert!(explained(libc::EPERM, Some("1\n")).contains("kernel.io_uring_group"));
        assert!(explained(libc::EPERM, Some("0\n")).contains("seccomp profile"));
        assert!(explained(libc::EPERM, None).contains("seccomp profile"));
        assert!(explained(libc::ENOSYS, None).contains("CONFIG_IO_URING"));
        assert!(explained(libc::ENOMEM, None).contains("LimitMEMLOCK"));
        assert!(explained(libc::EINVAL, Some("0\n")).contains("Linux 6.1"));
    }
}
