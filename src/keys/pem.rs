//! PEM text (RFC 7468, and RFC 1421 headers as old encrypted keys carry them): the blocks of a key or certificate file.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::problem::{KeyProblem, PairFile};

/// Padding may be missing: some tools that fold secrets into one line drop it.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// Where a block's BEGIN line stands in its own line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BeginAt {
    /// At the very start, where every reader finds it.
    LineStart,
    /// After a byte order mark or spaces: Go's reader, and with it every registry, skips such a block.
    AfterSomething,
}

/// Whether a block is encrypted in the old way, by its headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Headers {
    /// No `Proc-Type: 4,ENCRYPTED`.
    Plain,
    /// The content is encrypted with a pass phrase.
    Encrypted,
}

/// One block between a BEGIN and an END line. No `Debug`: it may hold a private key.
pub(super) struct Block {
    pub(super) label: String,
    pub(super) headers: Headers,
    pub(super) der: Vec<u8>,
    /// Line of the BEGIN, from 1.
    pub(super) line: usize,
    pub(super) begin: BeginAt,
}

/// All blocks of a file. Text around them is skipped, as `openssl` and Go do.
pub(super) fn blocks(bytes: &[u8], file: PairFile) -> Result<Vec<Block>, KeyProblem> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(KeyProblem::Empty(file));
    }
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return Err(KeyProblem::Utf16(file));
    }
    // Text around the blocks may be in any encoding; the blocks themselves are ASCII, which this leaves as it is.
    let text = String::from_utf8_lossy(bytes);
    let mut found = Vec::new();
    let mut open: Option<Open> = None;
    for (line, raw) in (1..).zip(text.lines()) {
        let content = raw.trim_start_matches('\u{feff}').trim();
        open = match (open, label_of(content, BEGIN), label_of(content, END)) {
            (None, Some(label), _) => Some(Open::new(label, line, raw)),
            (None, None, _) => None,
            (Some(block), Some(_), _) => {
                return Err(damaged(file, &block, "has no END line before the next BEGIN"));
            }
            (Some(block), None, Some(label)) => {
                if label != block.label {
                    return Err(damaged(file, &block, &format!("ends with an END line for `{label}`")));
                }
                found.push(block.close(file)?);
                None
            }
            (Some(mut block), None, None) => {
                block.add(content);
                Some(block)
            }
        };
    }
    match open {
        Some(block) => Err(damaged(file, &block, "has no END line")),
        // In DER, every key and certificate is a SEQUENCE (0x30), and none of them is text.
        None if found.is_empty() && bytes.starts_with(&[0x30]) && std::str::from_utf8(bytes).is_err() => {
            Err(KeyProblem::Der(file))
        }
        None if found.is_empty() => Err(KeyProblem::NotPem(file)),
        None => Ok(found),
    }
}

/// DER as PEM text with lines of 64 characters (RFC 7468 section 2).
pub(super) fn write(label: &str, der: &[u8]) -> String {
    let mut text = format!("{BEGIN}{label}{DASHES}\n");
    // 48 bytes are 64 characters, so that each line encodes without padding and they join to the whole.
    for chunk in der.chunks(48) {
        LENIENT.encode_string(chunk, &mut text);
        text.push('\n');
    }
    text.push_str(&format!("{END}{label}{DASHES}\n"));
    text
}

/// A block whose END line has not come yet.
struct Open {
    label: String,
    line: usize,
    begin: BeginAt,
    headers: Headers,
    base64: String,
}

impl Open {
    fn new(label: &str, line: usize, raw: &str) -> Open {
        Open {
            label: label.to_owned(),
            line,
            begin: if raw.starts_with(BEGIN) { BeginAt::LineStart } else { BeginAt::AfterSomething },
            headers: Headers::Plain,
            base64: String::new(),
        }
    }

    fn add(&mut self, content: &str) {
        // A header line holds a colon, which base64 never does.
        match content.split_once(':') {
            Some((name, value)) if name == "Proc-Type" && value.contains("ENCRYPTED") => {
                self.headers = Headers::Encrypted;
            }
            Some(_) => {}
            None => self.base64.extend(content.chars().filter(|c| !c.is_ascii_whitespace())),
        }
    }

    fn close(self, file: PairFile) -> Result<Block, KeyProblem> {
        let der = match (self.headers, LENIENT.decode(&self.base64)) {
            // What is encrypted is refused by whoever asked for the block; its bytes are of no use to anybody.
            (Headers::Encrypted, _) => Vec::new(),
            (Headers::Plain, Ok(der)) if !der.is_empty() => der,
            (Headers::Plain, Ok(_)) => return Err(damaged(file, &self, "has nothing in it")),
            // The decoder's own message quotes the byte it met, which in a key is a secret.
            (Headers::Plain, Err(_)) => return Err(damaged(file, &self, "is not base64")),
        };
        Ok(Block { label: self.label, headers: self.headers, der, line: self.line, begin: self.begin })
    }
}

fn damaged(file: PairFile, block: &Open, what: &str) -> KeyProblem {
    KeyProblem::Damaged { file, what: format!("the `{}` block that begins on line {} {what}", block.label, block.line) }
}

fn label_of<'a>(line: &'a str, start: &str) -> Option<&'a str> {
    line.strip_prefix(start)?.strip_suffix(DASHES)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Vec<(String, Vec<u8>, BeginAt)> {
        let blocks = blocks(text.as_bytes(), PairFile::Key).map_err(|problem| format!("{text:?}: {problem}")).unwrap();
        blocks.into_iter().map(|b| (b.label, b.der, b.begin)).collect()
    }

    #[test]
    fn blocks_are_found_whatever_is_around_them() {
        let block = |begin| vec![("A B".to_owned(), b"hello".to_vec(), begin)];
        for (text, expected) in [
            ("-----BEGIN A B-----\naGVsbG8=\n-----END A B-----\n", block(BeginAt::LineStart)),
            ("-----BEGIN A B-----\r\naGVs\r\nbG8=\r\n-----END A B-----\r\n", block(BeginAt::LineStart)),
            ("-----BEGIN A B-----\naGVsbG8\n-----END A B-----", block(BeginAt::LineStart)),
            ("words: first\n\n-----BEGIN A B-----  \naGVsbG8=\n\n-----END A B-----\nlast", block(BeginAt::LineStart)),
            ("\u{feff}-----BEGIN A B-----\naGVsbG8=\n-----END A B-----\n", block(BeginAt::AfterSomething)),
            ("  -----BEGIN A B-----\n  aGVsbG8=\n  -----END A B-----\n", block(BeginAt::AfterSomething)),
            ("-----BEGIN A B-----\nName: value\n\naGVsbG8=\n-----END A B-----\n", block(BeginAt::LineStart)),
        ] {
            assert_eq!(read(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_block_is_refused_with_the_reason() {
        let file = PairFile::Key;
        let damaged = |what: &str| KeyProblem::Damaged { file, what: what.to_owned() };
        let cases: &[(&[u8], KeyProblem)] = &[
            (b"", KeyProblem::Empty(file)),
            (b" \r\n\n", KeyProblem::Empty(file)),
            (b"hello", KeyProblem::NotPem(file)),
            (b"\x30\x82\x01\xff\x03", KeyProblem::Der(file)),
            (b"\x30\x77\x02\x01\xfe", KeyProblem::Der(file)),
            (b"0 is a digit", KeyProblem::NotPem(file)),
            (b"\xff\xfe-\0-\0", KeyProblem::Utf16(file)),
            (b"-----BEGIN A-----\naGVs", damaged("the `A` block that begins on line 1 has no END line")),
            (
                b"\n-----BEGIN A-----\naGVs\n-----END B-----\n",
                damaged("the `A` block that begins on line 2 ends with an END line for `B`"),
            ),
            (
                b"-----BEGIN A-----\n-----BEGIN A-----\n",
                damaged("the `A` block that begins on line 1 has no END line before the next BEGIN"),
            ),
            (
                b"-----BEGIN A-----\na?Vs\n-----END A-----\n",
                damaged("the `A` block that begins on line 1 is not base64"),
            ),
            (b"-----BEGIN A-----\n-----END A-----\n", damaged("the `A` block that begins on line 1 has nothing in it")),
        ];
        for (bytes, expected) in cases {
            assert_eq!(blocks(bytes, file).err().as_ref(), Some(expected), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn old_encrypted_blocks_are_told_by_their_headers() {
        let text = b"-----BEGIN A-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: X,00\n\naGVs\n-----END A-----\n";
        let found = blocks(text, PairFile::Key).unwrap();
        assert_eq!(found[0].headers, Headers::Encrypted);
        assert!(found[0].der.is_empty());
    }

    proptest! {
        #[test]
        fn written_blocks_are_read_back(der in proptest::collection::vec(any::<u8>(), 1..300)) {
            let text = write("SOME THING", &der);
            prop_assert!(text.lines().all(|line| line.len() <= 64));
            prop_assert_eq!(read(&text), vec![("SOME THING".to_owned(), der, BeginAt::LineStart)]);
        }

        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), tail in "(-----(BEGIN|END) [AB]-----|[a-z:=]{0,5}|\\r?\\n){0,9}") {
            let mut all = bytes;
            all.extend_from_slice(tail.as_bytes());
            let _ = blocks(&all, PairFile::Certificate);
            let _ = blocks(tail.as_bytes(), PairFile::Certificate);
        }
    }
}
