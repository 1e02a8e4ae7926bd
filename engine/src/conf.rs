//! The syntax of `ctdb.conf` and of tunables files (cluster management §1.3).
//!
//! Samba's parser is lenient in ways that no library shares, and a file that works there has to
//! mean the same here. The rules below were observed on `ctdb-config`:
//!
//! - Blanks are space, tab, vertical tab, form feed and carriage return. A run of them counts as
//!   its first one, in values too.
//! - A line whose first non-blank is `#` or `;` is a comment. It does not continue, and the
//!   continuation of another line is none.
//! - A backslash that only blanks follow joins the next line to this one; blanks before it and at
//!   the start of the next line are one run. At the very end of the file it is a character.
//! - `[name]` starts a section; what follows the bracket in that line counts for nothing.
//! - `name = value`: everything behind the first `=` is the value, without blanks at its ends.
//! - A NUL byte ends the text of its line.
//! - A section without its bracket and an assignment without a name are syntax errors. A tunables
//!   file counts up to there. A `ctdb.conf` with one counts for nothing at all in the original,
//!   which starts with all defaults, without a cluster lock, and says no word about it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// A line that means something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Counted from 1: where it starts, if it goes on over several.
    pub number: u32,
    pub item: Item,
    /// What was passed over in it.
    pub remark: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// `[name]`, blanks at its ends included.
    Section(OsString),
    /// `name = value`; the value may be empty.
    Assignment { name: OsString, value: OsString },
    /// Text without `=`.
    Bare(OsString),
    /// A syntax error.
    Broken(&'static str),
}

/// Splits a file into its lines.
#[must_use]
pub fn parse(text: &[u8]) -> Vec<Line> {
    let mut reader = Reader { rest: text, line: 1 };
    let mut lines = Vec::new();
    while let Some(first) = reader.skip_blanks() {
        let number = reader.line;
        if matches!(first, b'#' | b';') {
            reader.skip_line();
            continue;
        }
        let mut text = reader.joined_line();
        let nul = text.iter().position(|byte| *byte == 0);
        text.truncate(nul.unwrap_or(text.len()));
        let (item, passed_over) = item_of(&text);
        let remark = nul.map(|_| "a NUL byte ends the text of this line").or(passed_over);
        lines.push(Line { number, item, remark });
    }
    lines
}

/// What a line means, and what is passed over in it.
fn item_of(text: &[u8]) -> (Item, Option<&'static str>) {
    if let [b'[', rest @ ..] = text {
        let Some(end) = rest.iter().position(|byte| *byte == b']') else {
            return (Item::Broken("section without a closing bracket"), None);
        };
        let tail = trimmed(&rest[end + 1..]);
        let ignored = !matches!(tail.first(), None | Some(b'#' | b';'));
        let remark = ignored.then_some("text behind the section's bracket is ignored");
        return (Item::Section(owned(&rest[..end])), remark);
    }
    let item = match text.iter().position(|byte| *byte == b'=') {
        None => Item::Bare(owned(trimmed(text))),
        Some(0) => Item::Broken("assignment without a name"),
        Some(equals) => Item::Assignment {
            name: owned(trimmed(&text[..equals])),
            value: owned(trimmed(&text[equals + 1..])),
        },
    };
    (item, None)
}

/// Walks through the bytes and counts lines.
struct Reader<'a> {
    rest: &'a [u8],
    line: u32,
}

impl Reader<'_> {
    /// Moves to the next line that is not blank, and shows its first byte.
    fn skip_blanks(&mut self) -> Option<u8> {
        while let Some(&byte) = self.rest.first() {
            if byte != b'\n' && !is_blank(byte) {
                return Some(byte);
            }
            self.next();
        }
        None
    }

    fn skip_line(&mut self) {
        while self.next().is_some_and(|byte| byte != b'\n') {}
    }

    /// Text up to the end of the line, with runs of blanks squeezed and continued lines joined.
    fn joined_line(&mut self) -> Vec<u8> {
        let mut text: Vec<u8> = Vec::new();
        while let Some(byte) = self.next() {
            if byte == b'\n' {
                let end = trimmed_end(&text).len();
                if end == 0 || text[end - 1] != b'\\' {
                    break;
                }
                text.truncate(end - 1);
            } else if !is_blank(byte) || !text.last().copied().is_some_and(is_blank) {
                text.push(byte);
            }
        }
        text
    }

    fn next(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        // A file is smaller than `CONFIG_SIZE_BYTES_MAX`, so its lines can be counted.
        self.line += u32::from(byte == b'\n');
        Some(byte)
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0B | 0x0C | b'\r')
}

fn trimmed_end(mut text: &[u8]) -> &[u8] {
    while let Some((&last, rest)) = text.split_last()
        && is_blank(last)
    {
        text = rest;
    }
    text
}

fn trimmed(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !is_blank(*byte)).unwrap_or(text.len());
    trimmed_end(&text[start..])
}

fn owned(text: &[u8]) -> OsString {
    OsStr::from_bytes(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    /// Shows lines as `[section]`, `name=value`, `bare` and `!broken`.
    fn read(text: &str) -> Vec<String> {
        parse(text.as_bytes()).iter().map(|line| show(&line.item)).collect()
    }

    fn show(item: &Item) -> String {
        match item {
            Item::Section(name) => format!("[{}]", name.display()),
            Item::Assignment { name, value } => format!("{}={}", name.display(), value.display()),
            Item::Bare(text) => text.display().to_string(),
            Item::Broken(reason) => format!("!{reason}"),
        }
    }

    fn remarks(text: &str) -> Vec<(u32, &'static str)> {
        let lines = parse(text.as_bytes());
        lines.iter().filter_map(|line| Some((line.number, line.remark?))).collect()
    }

    #[test]
    fn blanks_around_names_and_values_do_not_count() {
        assert_eq!(
            read("  [cluster]\n\t  cluster lock\t=\ta\t\n"),
            ["[cluster]", "cluster lock=a"]
        );
        assert_eq!(read("a = 1\r\nb = 2\r\n"), ["a=1", "b=2"]);
        assert_eq!(read("a=1"), ["a=1"]);
    }

    #[test]
    fn a_run_of_blanks_counts_as_its_first_one() {
        assert_eq!(read("cluster \t  lock = a\t\tb \tc\t d\n"), ["cluster lock=a\tb c\td"]);
        assert_eq!(read("x = a\x0B\x0Bb\x0C c\n"), ["x=a\x0Bb\x0Cc"]);
    }

    #[test]
    fn a_value_may_hold_equals_signs_comment_signs_and_quotes() {
        assert_eq!(read("a = b = c ; d # \"e\"\n"), ["a=b = c ; d # \"e\""]);
        assert_eq!(read("a == b"), ["a== b"]);
    }

    #[test]
    fn a_backslash_joins_lines() {
        assert_eq!(read("leader \\\ntimeout \\\n  =  \\\n   9\n"), ["leader timeout=9"]);
        assert_eq!(read("x = a\\\n  b\n"), ["x=a b"]);
        assert_eq!(read("x = a \\\n\tb\n"), ["x=a b"]);
        assert_eq!(read("x = a\t \\\n \tb\n"), ["x=a\tb"]);
        assert_eq!(read("x = a \\  \n  \\\n b\n"), ["x=a b"]);
        assert_eq!(read("x = a\\ \ny = 8\n"), ["x=ay = 8"]);
        assert_eq!(read("x = a\\\n# no comment\n"), ["x=a# no comment"]);
        assert_eq!(read("x = a\\\n\ny = 8\n"), ["x=a", "y=8"]);
        assert_eq!(read("\\\nx = a\n"), ["x=a"]);
        assert_eq!(read("[clu\\\nster]\nx=1\n"), ["[cluster]", "x=1"]);
    }

    #[test]
    fn a_backslash_elsewhere_is_a_character() {
        assert_eq!(read("x = a\\b\n"), ["x=a\\b"]);
        assert_eq!(read("x = a\\\\\nb\n"), ["x=a\\b"]);
        assert_eq!(read("x = a \\"), ["x=a \\"]);
    }

    #[test]
    fn comments_do_not_continue() {
        assert_eq!(read("# c \\\nx = 1\n  ; d\ny = 2"), ["x=1", "y=2"]);
    }

    #[test]
    fn a_line_may_start_with_its_continuation() {
        assert_eq!(read("\\\n[d]\nx = 1\n"), ["[d]", "x=1"]);
        assert_eq!(parse(b"\\\n [d]\n")[0].item, Item::Bare("[d]".into()));
        assert_eq!(read("\\\n# x = 3\n"), ["# x=3"]);
        assert_eq!(read("\\\n = 3\n"), ["=3"]);
        assert_eq!(read("\\\n= 3\n"), ["!assignment without a name"]);
    }

    #[test]
    fn section_names_keep_their_blanks() {
        assert_eq!(
            read("[  CLUSTER  ]\n[[a]\n[]\n[b\\]\n"),
            ["[ CLUSTER ]", "[[a]", "[]", "[b\\]"]
        );
    }

    #[test]
    fn the_rest_of_a_section_line_counts_for_nothing() {
        assert_eq!(read("[a] # why\nx = 1\n"), ["[a]", "x=1"]);
        assert_eq!(remarks("[a] # why\nx = 1\n"), []);
        for text in ["[a]x = 1\ny = 2", "[a] b \\\nx = 1\ny = 2"] {
            assert_eq!(read(text), ["[a]", "y=2"]);
            assert_eq!(remarks(text), [(1, "text behind the section's bracket is ignored")]);
        }
    }

    #[test]
    fn an_open_section_is_broken() {
        let broken = "!section without a closing bracket";
        assert_eq!(read("[a]\nx = 1\n[b\n\ny = 2\n"), ["[a]", "x=1", broken, "y=2"]);
        assert_eq!(read("[a"), [broken]);
        assert_eq!(read("[a\0b]\n"), [broken]);
    }

    #[test]
    fn an_assignment_without_a_name_is_broken() {
        assert_eq!(read("x = 1\n = 9\n"), ["x=1", "!assignment without a name"]);
        assert_eq!(read("==x\n"), ["!assignment without a name"]);
    }

    #[test]
    fn text_without_an_equals_sign_is_told_apart() {
        assert_eq!(read("log level\nx = 1\n"), ["log level", "x=1"]);
        assert_eq!(read("x =\n"), ["x="]);
    }

    #[test]
    fn a_nul_byte_ends_its_line_only() {
        let text = "x = /a\0b\ny = 9\n";
        assert_eq!(read(text), ["x=/a", "y=9"]);
        assert_eq!(remarks(text), [(1, "a NUL byte ends the text of this line")]);
    }

    #[test]
    fn lines_are_numbered_by_where_they_start() {
        let lines = parse(b"# c\n\na = \\\n 1\nb = 2");
        assert_eq!(lines.iter().map(|line| line.number).collect::<Vec<_>>(), [3, 5]);
    }

    #[test]
    fn bytes_that_are_no_text_are_kept() {
        let value = OsString::from_vec(b"/\xff".to_vec());
        let assignment = Item::Assignment { name: "a".into(), value };
        assert_eq!(parse(b"a = /\xff")[0].item, assignment);
    }
}
