//! Which files are opened, recreated or refused, beside libtdb (tdb §5.2): the same verdict, the same
//! `errno`, and the same bytes afterwards.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

use bateria_tdb::libtdb::Original;
use bateria_tdb::{OpenOptions, Tdb, TdbError, TdbFlags};
use std::path::PathBuf;

struct File(PathBuf);

impl File {
    fn new(who: &str) -> Self {
        let name = format!("bateria-refusal-{}-{who}.tdb", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A file as libtdb makes it.
fn made(flags: u32) -> Vec<u8> {
    let file = File::new("made");
    let open_flags = libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC;
    drop(Original::open(&file.0, 7, flags, open_flags).unwrap());
    std::fs::read(&file.0).unwrap()
}

fn with_word(mut bytes: Vec<u8>, at: usize, value: u32) -> Vec<u8> {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    bytes
}

const MUTEX: u32 = 0x1000;
const JENKINS: u32 = 0x800;
const CONVERT: u32 = 0x10;
const NOLOCK: u32 = 0x4;

/// Description, bytes of the file, flags of the opener.
fn conditions() -> Vec<(&'static str, Vec<u8>, u32)> {
    let plain = || made(0);
    let mutex = || made(MUTEX);
    let mut junk = plain();
    junk[12..32].fill(0xAA);
    let mut shifted = plain();
    shifted[0] = b't';
    vec![
        ("empty", Vec::new(), 0),
        ("shorter than a header", plain()[..100].to_vec(), 0),
        ("another magic", shifted, 0),
        ("junk behind the magic's end", junk, 0),
        ("another version", with_word(plain(), 32, 0x2601_196E), 0),
        ("obsolete spinlocks", with_word(plain(), 40, 0x0BAD_1A00), 0),
        ("unknown feature", with_word(with_word(plain(), 40, 0x0BAD_1A52), 60, 2), 0),
        ("features without their marker", with_word(plain(), 60, 1), 0),
        ("no chains", with_word(plain(), 36, 0), 0),
        ("more chains than bytes", with_word(plain(), 36, 100_000), 0),
        ("more chains than numbers", with_word(plain(), 36, 0x4000_0000), 0),
        ("another fingerprint", with_word(plain(), 52, 1), 0),
        ("another second fingerprint", with_word(plain(), 56, 1), 0),
        ("no fingerprints", with_word(with_word(plain(), 52, 0), 56, 0), 0),
        ("no fingerprints, Jenkins wanted", with_word(with_word(plain(), 52, 0), 56, 0), JENKINS),
        ("old hash, Jenkins wanted", plain(), JENKINS),
        ("Jenkins, old hash wanted", made(JENKINS), 0),
        ("Jenkins' marker on the old hash", with_word(plain(), 40, 0x0BAD_1A51), 0),
        ("other byte order", made(CONVERT), 0),
        ("other byte order, Jenkins", made(CONVERT | JENKINS), 0),
        ("own byte order, the other wanted", plain(), CONVERT),
        ("mutexes", mutex(), MUTEX),
        ("mutexes that are not wanted", mutex(), 0),
        ("no mutexes where they are wanted", plain(), MUTEX),
        ("mutex area of another size", with_word(mutex(), 64, 8192), MUTEX),
        ("nothing behind the mutexes", mutex()[..4096].to_vec(), MUTEX),
        ("no recovery at the recovery area", with_word(plain(), 44, 172), 0),
        ("recovery area outside the file", with_word(plain(), 44, 1 << 20), 0),
        ("nesting allowed and not", plain(), 0x600),
        ("mutexes in memory", plain(), MUTEX | 0x2),
        ("mutexes without a mapping", plain(), MUTEX | 0x8),
        ("without locks", plain(), NOLOCK),
    ]
}

fn errno_of(error: &TdbError) -> i32 {
    match error {
        TdbError::Invalid { .. } => libc::EINVAL,
        other => other.errno().unwrap_or(0),
    }
}

#[test]
fn every_file_is_opened_or_refused_as_libtdb_does() {
    let (ours, theirs) = (File::new("ours"), File::new("theirs"));
    for (name, bytes, flags) in conditions() {
        for create in [false, true] {
            std::fs::write(&ours.0, &bytes).unwrap();
            std::fs::write(&theirs.0, &bytes).unwrap();
            let options = OpenOptions {
                flags: TdbFlags::from_bits_retain(flags),
                hash_size: 5,
                create,
                ..OpenOptions::default()
            };
            let have = Tdb::open(&ours.0, &options)
                .map(|tdb| (tdb.flags().bits(), tdb.size_bytes()))
                .map_err(|error| errno_of(&error));
            let open_flags = if create { libc::O_RDWR | libc::O_CREAT } else { libc::O_RDWR };
            let want = Original::open(&theirs.0, 5, flags, open_flags);
            let want = want.map(|mut theirs| theirs.flags());
            assert_eq!(have.map(|(flags, _)| flags), want, "{name}, create: {create}");
            assert!(
                std::fs::read(&ours.0).unwrap() == std::fs::read(&theirs.0).unwrap(),
                "{name}, create: {create}: the files differ afterwards"
            );
        }
    }
}

#[test]
fn a_file_that_is_not_there_or_not_allowed_is_refused_alike() {
    let directory = std::env::temp_dir();
    for (path, flags) in
        [(directory.join("bateria-refusal-no-such-file.tdb"), 0), (directory.clone(), 0)]
    {
        let options =
            OpenOptions { flags: TdbFlags::from_bits_retain(flags), ..OpenOptions::default() };
        let have = Tdb::open(&path, &options).map(|_| ()).map_err(|error| errno_of(&error));
        let want = Original::open(&path, 0, flags, libc::O_RDWR).map(|_| ());
        assert_eq!(have, want, "{}", path.display());
    }
}
