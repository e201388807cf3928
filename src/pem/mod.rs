//! PEM text (RFC 7468, and RFC 1421 headers as old encrypted keys carry them): the blocks of a key or certificate file.
//!
//! Every certificate and key of the configuration is read here and nowhere else: other readers quote the line that they
//! cannot read, which is the key. Damage that can be mended without guessing is mended: a byte order mark, and line breaks
//! that a secret store or an environment variable removed or wrote as two characters.

mod key;
pub(crate) mod named;
mod problem;
#[cfg(test)]
mod tests;
pub(crate) mod tls;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use settings::text::is_utf16;

pub(crate) use self::key::{KeyBlock, KeyEncoding};
pub use self::problem::{PairFile, PemProblem};

/// Padding may be missing: some tools that fold secrets into one line drop it.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// The most words of a label and the most letters of each. Base64 is longer, so that a label is safe to show: where the
/// dashes of a line are damaged, the key itself could be in the label's place.
const LABEL_WORDS: usize = 5;
const WORD_LETTERS: usize = 12;

/// The most letters of a word in the text around the blocks.
const LONGEST_WORD: usize = 32;

/// Whether other readers find a block too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// All do: its BEGIN and END are lines, and its base64 is whole.
    Usual,
    /// Go's reader, and with it every registry, skips it: its BEGIN follows a byte order mark or spaces.
    AfterSomething,
    /// Go's reader skips it: its line breaks or the `=` at its end are lost.
    Mended,
}

/// Whether a block is encrypted in the old way, by its headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Headers {
    /// No `Proc-Type: 4,ENCRYPTED`.
    Plain,
    /// The content is encrypted with a pass phrase.
    Encrypted,
}

/// One block between a BEGIN and an END line. No `Debug`: it may hold a private key.
pub(crate) struct Block {
    pub(crate) label: String,
    pub(crate) headers: Headers,
    pub(crate) der: Vec<u8>,
    /// The line of its BEGIN, from 1.
    pub(crate) line: usize,
    pub(crate) layout: Layout,
}

impl Block {
    /// Whether it is a private key of any kind.
    pub(crate) fn is_key(&self) -> bool {
        self.label.ends_with("PRIVATE KEY")
    }
}

/// All blocks of a file. Text around them is skipped, as `openssl` and Go do. The problem never shows any of the bytes.
pub(crate) fn blocks(bytes: &[u8], file: PairFile) -> Result<Vec<Block>, PemProblem> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(PemProblem::Empty(file));
    }
    if is_utf16(bytes) || is_unmarked_utf16(bytes) {
        return Err(PemProblem::Utf16(file));
    }
    // Text around the blocks may be in any encoding; the blocks themselves are ASCII, which this leaves as it is.
    let text = String::from_utf8_lossy(bytes);
    let mut reading = Reading { file, found: Vec::new(), open: None };
    for (line, raw) in (1..).zip(text.split('\n')) {
        let raw = raw.strip_suffix('\r').unwrap_or(raw);
        // A backslash is no part of a block: `\n` is a line break that was written as two characters.
        let broken = raw.replace("\\r", "\r").replace("\\n", "\r");
        for part in broken.split('\r') {
            reading.read(part, &Line { number: line, raw })?;
        }
    }
    let Reading { found, open, .. } = reading;
    match open {
        Some(block) => Err(damaged(file, &block, "has no END line")),
        // In DER, every key and certificate is a SEQUENCE (0x30), and none of them is text.
        None if found.is_empty() && bytes.starts_with(&[0x30]) && std::str::from_utf8(bytes).is_err() => {
            Err(PemProblem::Der(file))
        }
        None if found.is_empty() => Err(match wrapping(&text) {
            Some(what) => PemProblem::Wrapped { file, what },
            None => PemProblem::NotPem(file),
        }),
        None => Ok(found),
    }
}

/// What a text without blocks is, where that is known.
fn wrapping(text: &str) -> Option<&'static str> {
    let text = trim(text);
    let base64: String = text.chars().filter(|letter| !letter.is_ascii_whitespace()).collect();
    let is_pem = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).contains(BEGIN);
    if LENIENT.decode(base64).is_ok_and(is_pem) {
        return Some("base64 of a PEM file; decode it once: base64 -d OLD > NEW");
    }
    if text.starts_with('{') {
        return Some("JSON; write the PEM text alone into it");
    }
    let is_name = |name: &str| {
        name.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_')
            && name.bytes().all(|letter| letter.is_ascii_alphanumeric() || letter == b'_')
    };
    let is_assignment = text.split_once('=').is_some_and(|(name, value)| {
        // Base64 on one line may end with `=` too.
        is_name(name.trim_start_matches("export ")) && !trim(value).trim_matches('=').is_empty()
    });
    is_assignment
        .then_some("an environment variable (NAME=…); write what stands after the = alone into it, as PEM text")
}

/// DER as PEM text with lines of 64 characters (RFC 7468 section 2).
pub(crate) fn write(label: &str, der: &[u8]) -> String {
    let mut text = format!("{BEGIN}{label}{DASHES}\n");
    // 48 bytes are 64 characters, so that each line encodes without padding and they join to the whole.
    for chunk in der.chunks(48) {
        LENIENT.encode_string(chunk, &mut text);
        text.push('\n');
    }
    text.push_str(&format!("{END}{label}{DASHES}\n"));
    text
}

/// A line of the file, without its line break.
struct Line<'a> {
    number: usize,
    raw: &'a str,
}

impl Line<'_> {
    /// How other readers find a marker in this line.
    fn layout_of(&self, marker: &str, label: &str) -> Layout {
        let whole = |line: &str| {
            line.strip_prefix(marker).and_then(|line| line.strip_prefix(label)).is_some_and(|rest| rest == DASHES)
        };
        match (whole(self.raw.trim_end_matches([' ', '\t'])), whole(trim(self.raw))) {
            (true, _) => Layout::Usual,
            (false, true) => Layout::AfterSomething,
            (false, false) => Layout::Mended,
        }
    }
}

/// The part of a file that has been read.
struct Reading {
    file: PairFile,
    found: Vec<Block>,
    open: Option<Open>,
}

impl Reading {
    /// Reads a part of a line: all of it, unless line breaks are lost.
    fn read(&mut self, part: &str, line: &Line<'_>) -> Result<(), PemProblem> {
        let mut rest = trim(part);
        while !rest.is_empty() {
            rest = match self.open.take() {
                None => {
                    let Some((label, after)) = begin(rest) else { return Ok(()) };
                    self.open = Some(Open::new(label, line));
                    after
                }
                Some(block) => self.read_inside(block, rest, line)?,
            };
            rest = trim(rest);
        }
        Ok(())
    }

    /// Reads on in an open block, and returns the text after its end.
    fn read_inside<'a>(&mut self, mut block: Open, rest: &'a str, line: &Line<'_>) -> Result<&'a str, PemProblem> {
        let (begins, ends) = (find(rest, BEGIN), find(rest, END));
        if let Some(begins) = begins
            && ends.as_ref().is_none_or(|ends| begins.at < ends.at)
        {
            return Err(damaged(self.file, &block, "has no END line before the next BEGIN"));
        }
        // Go takes neither a backslash nor a lone carriage return for a line break, and does not skip quotes.
        if line.raw.contains(['\\', '\r', '"', '\'', '\u{feff}']) && !rest.contains(':') {
            block.layout = Layout::Mended;
        }
        let Some(Marker { before, label, after, .. }) = ends else {
            block.add(rest);
            self.open = Some(block);
            return Ok("");
        };
        block.add(before);
        block.layout = block.layout.worse(line.layout_of(END, label));
        if label != block.label {
            return Err(damaged(self.file, &block, &format!("ends with an END line for `{label}`")));
        }
        self.found.push(block.close(self.file)?);
        Ok(after)
    }
}

impl Layout {
    fn worse(self, other: Layout) -> Layout {
        match (self, other) {
            (Layout::Mended, _) | (_, Layout::Mended) => Layout::Mended,
            (Layout::AfterSomething, _) | (_, Layout::AfterSomething) => Layout::AfterSomething,
            (Layout::Usual, Layout::Usual) => Layout::Usual,
        }
    }
}

/// A block whose END line has not come yet.
struct Open {
    label: String,
    line: usize,
    layout: Layout,
    headers: Headers,
    base64: String,
}

impl Open {
    fn new(label: &str, line: &Line<'_>) -> Open {
        Open {
            label: label.to_owned(),
            line: line.number,
            layout: line.layout_of(BEGIN, label),
            headers: Headers::Plain,
            base64: String::new(),
        }
    }

    fn add(&mut self, content: &str) {
        // A header line holds a colon, which base64 never does.
        match content.split_once(':') {
            Some((name, value)) if name.trim() == "Proc-Type" && value.contains("ENCRYPTED") => {
                self.headers = Headers::Encrypted;
            }
            Some(_) => {}
            None => self.base64.extend(content.chars().filter(|c| !c.is_ascii_whitespace())),
        }
    }

    fn close(self, file: PairFile) -> Result<Block, PemProblem> {
        let der = match (self.headers, LENIENT.decode(&self.base64)) {
            // The caller refuses an encrypted block; its bytes are of no use to anybody.
            (Headers::Encrypted, _) => Vec::new(),
            (Headers::Plain, Ok(der)) if !der.is_empty() => der,
            (Headers::Plain, Ok(_)) => return Err(damaged(file, &self, "has nothing in it")),
            // The decoder's own message quotes the byte it met, which in a key is a secret.
            (Headers::Plain, Err(_)) => return Err(damaged(file, &self, "is not base64")),
        };
        let layout = if self.base64.len().is_multiple_of(4) { self.layout } else { Layout::Mended };
        Ok(Block { label: self.label, headers: self.headers, der, line: self.line, layout })
    }
}

fn damaged(file: PairFile, block: &Open, what: &str) -> PemProblem {
    let lost = match block.layout {
        Layout::Usual | Layout::AfterSomething => "",
        Layout::Mended => ", and has no line breaks: a secret store or an environment variable took them",
    };
    let (label, line) = (&block.label, block.line);
    PemProblem::Damaged { file, what: format!("the `{label}` block that begins on line {line} {what}{lost}") }
}

/// The text without what may surround a line: white space, a byte order mark, the quotes of a shell or of JSON.
fn trim(text: &str) -> &str {
    text.trim_matches(|letter: char| letter.is_whitespace() || matches!(letter, '\u{feff}' | '"' | '\'' | '\\'))
}

/// A BEGIN or END in a text, with its label.
struct Marker<'a> {
    at: usize,
    before: &'a str,
    label: &'a str,
    after: &'a str,
}

/// The first marker of a kind.
fn find<'a>(text: &'a str, kind: &str) -> Option<Marker<'a>> {
    text.match_indices(kind).find_map(|(at, _)| {
        let (before, marker) = text.split_at_checked(at)?;
        let (label, after) = label_of(marker, kind)?;
        Some(Marker { at, before, label, after })
    })
}

/// The label of a BEGIN at the start of a text, and the text after it. A BEGIN in the middle of a line counts only if base64
/// longer than any word follows, or its END: otherwise it is prose.
fn begin(text: &str) -> Option<(&str, &str)> {
    let Marker { before, label, after, .. } = find(text, BEGIN)?;
    let is_base64 = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '+' | '/' | '=');
    let counts = before.is_empty()
        || after.trim_start().chars().take_while(|letter| is_base64(*letter)).count() > LONGEST_WORD
        || find(after, END).is_some_and(|end| end.label == label);
    counts.then_some((label, after))
}

fn label_of<'a>(text: &'a str, start: &str) -> Option<(&'a str, &'a str)> {
    let (label, after) = text.strip_prefix(start)?.split_once(DASHES)?;
    let is_word = |word: &str| {
        (1..=WORD_LETTERS).contains(&word.len())
            && word.bytes().all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit())
    };
    (label.split(' ').count() <= LABEL_WORDS && label.split(' ').all(is_word)).then_some((label, after))
}

/// Whether the bytes are UTF-16 without a byte order mark, which shows in the zero bytes between the dashes.
fn is_unmarked_utf16(bytes: &[u8]) -> bool {
    bytes.windows(9).any(|window| window == b"-\0-\0-\0-\0-")
}
