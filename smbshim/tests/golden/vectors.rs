//! The packets of `packets.txt`.

use bateria_smbshim::Padding;

/// A packet as the original or one of its clients sent it.
pub(crate) struct Vector {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    /// False when the file keeps only the packet's beginning.
    pub(crate) is_whole: bool,
}

impl Vector {
    /// Whoever sends lengths that are no multiple of 8 does not pad.
    pub(crate) fn padding(&self) -> Padding {
        if self.bytes.len().is_multiple_of(8) { Padding::Aligned } else { Padding::Exact }
    }
}

/// Every packet of the file.
pub(crate) fn all() -> Vec<Vector> {
    let mut vectors: Vec<Vector> = Vec::new();
    for line in include_str!("packets.txt").lines() {
        match line.as_bytes().first() {
            None | Some(b'#') => {}
            Some(b'>' | b'<') => {
                let name = line.split(' ').nth(1).expect("a title has a name");
                vectors.push(Vector { name, bytes: Vec::new(), is_whole: true });
            }
            Some(b'.') => vectors.last_mut().expect("a title comes first").is_whole = false,
            Some(_) => {
                let bytes = &mut vectors.last_mut().expect("a title comes first").bytes;
                let (offset, dump) = line.split_once(' ').expect("bytes follow their offset");
                assert_eq!(usize::from_str_radix(offset, 16), Ok(bytes.len()), "{line}");
                let digits: String = dump.split_whitespace().collect();
                for at in (0..digits.len()).step_by(2) {
                    let byte = u8::from_str_radix(&digits[at..at + 2], 16);
                    bytes.push(byte.expect("bytes are in hexadecimal"));
                }
            }
        }
    }
    vectors
}

/// The packet of a name.
pub(crate) fn named(name: &str) -> Vector {
    let mut vectors = all().into_iter().filter(|vector| vector.name == name);
    vectors.next().unwrap_or_else(|| panic!("{name} is in the file"))
}
