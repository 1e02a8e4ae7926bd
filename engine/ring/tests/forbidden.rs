//! Where `io_uring` is forbidden, one clear error says so.

use bateria_ring::{Ring, RingConfig, RingError};

/// Makes the calling thread's `io_uring_setup` fail with `errno`, as container runtimes do.
fn forbid_io_uring(errno: i32) {
    let statement = |code: u32, jt, jf, k| libc::sock_filter {
        code: u16::try_from(code).expect("codes have 16 bits"),
        jt,
        jf,
        k,
    };
    let setup = u32::try_from(libc::SYS_io_uring_setup).expect("a small number");
    let refuse = libc::SECCOMP_RET_ERRNO | errno.unsigned_abs();
    let mut program = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, setup),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, refuse),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let len = u16::try_from(program.len()).expect("four statements");
    let filter = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    // SAFETY: the filter and its program outlive the call, which copies them; it binds this
    // thread alone.
    let result = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter)
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn a_seccomp_filter_is_named_with_the_next_step() {
    for errno in [libc::EPERM, libc::ENOSYS] {
        let error = std::thread::spawn(move || {
            forbid_io_uring(errno);
            Ring::new(&RingConfig::default()).map(drop).unwrap_err()
        })
        .join()
        .unwrap();
        assert!(matches!(error, RingError::Forbidden { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("seccomp") && text.contains("io_uring_enter"), "{text}");
    }
}
