//! Copying a large value into a large file without fetching what it overwrites.
//!
//! An ordinary copy first reads every cache line that it is going to overwrite, and pushes others
//! out of the cache for it. Streaming stores write whole lines to memory: on values that are not
//! cached more than twice as fast, on cached ones half as fast. Which of both it is nobody can
//! tell, so it goes by size: large values of a database that no cache holds are streamed.

/// Copies `source` to `target`.
///
/// # Safety
///
/// `target` is valid for writes of `source.len()` bytes, none of them in `source`.
pub(crate) unsafe fn copy(source: &[u8], target: *mut u8, database_size: u32) {
    #[cfg(target_arch = "x86_64")]
    if source.len() >= VALUE_SIZE_BYTES_MIN && database_size >= DATABASE_SIZE_BYTES_MIN {
        // SAFETY: the caller's.
        unsafe { stream(source, target) };
        return;
    }
    // SAFETY: the caller's.
    unsafe { std::ptr::copy_nonoverlapping(source.as_ptr(), target, source.len()) };
}

#[cfg(target_arch = "x86_64")]
unsafe fn stream(source: &[u8], target: *mut u8) {
    use std::arch::x86_64::{_mm_loadu_si128, _mm_sfence, _mm_stream_si128};
    let (head, rest) = source.split_at(target.align_offset(LINE_SIZE_BYTES).min(source.len()));
    let (lines, tail) = rest.as_chunks::<LINE_SIZE_BYTES>();
    // SAFETY: all writes lie within `source.len()` bytes from `target` on. Streaming stores need
    // alignment to 16 bytes, and behind the head every line is aligned to 64. SSE2 is part of every
    // x86-64. The fence comes before anything that the caller writes to make the value known.
    unsafe {
        std::ptr::copy_nonoverlapping(head.as_ptr(), target, head.len());
        let mut to = target.add(head.len());
        for line in lines {
            for at in [0, 16, 32, 48] {
                let part = _mm_loadu_si128(line.as_ptr().add(at).cast());
                _mm_stream_si128(to.add(at).cast(), part);
            }
            to = to.add(LINE_SIZE_BYTES);
        }
        _mm_sfence();
        std::ptr::copy_nonoverlapping(tail.as_ptr(), to, tail.len());
    }
}

const LINE_SIZE_BYTES: usize = 64;
const VALUE_SIZE_BYTES_MIN: usize = 32 << 10;
/// More than the last cache of most processors.
const DATABASE_SIZE_BYTES_MIN: u32 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_arrives_and_no_other_is_touched() {
        let source: Vec<u8> = (0..40_000_u32).map(|byte| byte.to_le_bytes()[0]).collect();
        for database_size in [0, u32::MAX] {
            for shift in 0..70 {
                for size in [0, 1, 63, 64, 1000, 32 << 10, 40_000 - 70, 40_000] {
                    let mut target = vec![0xEE; shift + size + 70];
                    // SAFETY: the target has `size` bytes from `shift` on.
                    unsafe {
                        copy(&source[..size], target.as_mut_ptr().add(shift), database_size);
                    };
                    assert!(target[shift..shift + size] == source[..size]);
                    let (before, behind) = (&target[..shift], &target[shift + size..]);
                    assert!(before.iter().chain(behind).all(|byte| *byte == 0xEE));
                }
            }
        }
    }
}
