//! Sleeping on the word of a mutex, as a shard does through its ring.

use bateria_tdb::FutexWord;
use std::time::Duration;

/// Returns when woken, when the word is not `expected`, and after `limit` at the latest.
pub(crate) fn wait(word: &FutexWord, expected: u32, limit: Option<Duration>) {
    let limit = limit.map(|limit| libc::timespec {
        tv_sec: limit.as_secs().try_into().expect("not for ever"),
        tv_nsec: limit.subsec_nanos().into(),
    });
    let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the word stays mapped as long as `word` lives; `limit` is null or outlives the call.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, expected, limit);
    }
}
