//! Text out of files and pipes: UTF-8, without the byte order mark that Windows programs put before it.

use std::io::Read;
use std::path::Path;

/// The byte order mark (U+FEFF). It is not white space: a reader that forgets it makes it part of a password.
const MARK: char = '\u{feff}';

/// Why bytes are not text. The message never shows them: the file could hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotText {
    /// It begins with the mark of UTF-16.
    #[error("this is UTF-16 text, as PowerShell's `>` writes it; save it as UTF-8")]
    Utf16,
    /// A byte that is not UTF-8, as in a file that was saved as Latin-1.
    #[error("column {column}: the letter here is not UTF-8; save the text as UTF-8")]
    Byte {
        /// From 1.
        line: usize,
        /// The letters before it in its line, and one.
        column: usize,
    },
}

impl NotText {
    /// The line that it is about, from 1.
    pub fn line(&self) -> usize {
        match self {
            NotText::Utf16 => 1,
            NotText::Byte { line, .. } => *line,
        }
    }

    /// The message with its place in a file.
    fn in_file(&self, file: &Path) -> String {
        format!("{}:{}: {self}", file.display(), self.line())
    }
}

/// A text without the byte order mark before it.
pub fn without_mark(text: &str) -> &str {
    text.trim_start_matches(MARK)
}

/// The text that these bytes are.
pub fn decode(bytes: Vec<u8>) -> Result<String, NotText> {
    if is_utf16(&bytes) {
        return Err(NotText::Utf16);
    }
    match String::from_utf8(bytes) {
        Ok(text) if text.starts_with(MARK) => Ok(without_mark(&text).to_owned()),
        Ok(text) => Ok(text),
        Err(error) => {
            let before = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
            let before = String::from_utf8_lossy(before);
            let before = without_mark(&before);
            let in_line = before.rsplit('\n').next().unwrap_or_default();
            Err(NotText::Byte { line: before.matches('\n').count() + 1, column: in_line.chars().count() + 1 })
        }
    }
}

/// The text of a file's bytes; what is wrong is said with the file, the line and the column.
pub fn decode_file(file: &Path, bytes: Vec<u8>) -> Result<String, String> {
    decode(bytes).map_err(|wrong| wrong.in_file(file))
}

/// The text of a pipe, of `limit` bytes at most; `name` is what it is called in messages.
///
/// # Errors
/// It cannot be read, is longer, or is not text.
pub fn read(pipe: impl Read, name: &str, limit: u64) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = pipe.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| format!("{name} cannot be read: {error}"))?;
    if bytes.len() as u64 > limit {
        return Err(format!("{name} holds more than {limit} bytes"));
    }
    decode_file(Path::new(name), bytes)
}

/// Whether the bytes begin with the mark of UTF-16, in either order.
pub fn is_utf16(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_no_part_of_the_text_and_a_wrong_byte_has_a_place() {
        let at = |line, column| Err(NotText::Byte { line, column });
        let cases: &[(&[u8], Result<&str, NotText>)] = &[
            (b"", Ok("")),
            (b"plain\n", Ok("plain\n")),
            (b"\xef\xbb\xbfmarked", Ok("marked")),
            (b"\xef\xbb\xbf\xef\xbb\xbftwice", Ok("twice")),
            (b"in the \xef\xbb\xbfmidst", Ok("in the \u{feff}midst")),
            (b"\xff\xfea\0", Err(NotText::Utf16)),
            (b"\xfe\xff\0a", Err(NotText::Utf16)),
            (b"\xe4", at(1, 1)),
            (b"\xef\xbb\xbfa\xe4", at(1, 2)),
            (b"one\ntwo\r\n\xc3\xa4 and \xe4\n\xe4", at(3, 7)),
            // A letter that is cut off at the end.
            (b"one\n\xe2\x82", at(2, 1)),
        ];
        for (bytes, expected) in cases {
            let read = decode(bytes.to_vec());
            assert_eq!(read.as_deref().map_err(Clone::clone), expected.clone(), "{bytes:?}");
        }
    }

    #[test]
    fn a_pipe_is_read_to_its_end_or_not_at_all() {
        assert_eq!(read(&b"\xef\xbb\xbfabc"[..], "standard input", 6), Ok("abc".to_owned()));
        assert_eq!(
            read(&b"abcdefg"[..], "standard input", 6),
            Err("standard input holds more than 6 bytes".to_owned())
        );
        let wrong = "standard input:2: column 2: the letter here is not UTF-8; save the text as UTF-8";
        assert_eq!(read(&b"a\nb\xff"[..], "standard input", 6), Err(wrong.to_owned()));
    }
}
