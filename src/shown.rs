//! Text that somebody else chose, made safe for logs and terminals.

/// An error and what caused it, safe to print.
pub(crate) fn chain_of(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    printable(&text)
}

/// How many there are of something that takes an s: `1 user`, `2 users`.
pub(crate) fn counted(number: usize, thing: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{s}")
}

/// Text that a client chose, safe to print: no control characters (a terminal would obey them, and a line break would
/// forge a line), and no more than 512 bytes.
pub(crate) fn printable(text: &str) -> String {
    escape(text, 512)
}

/// The same, whole: for text whose length somebody else keeps in bounds.
pub(crate) fn escaped(text: &str) -> String {
    escape(text, usize::MAX)
}

fn escape(text: &str, limit: usize) -> String {
    let mut out = String::with_capacity(text.len().min(limit));
    for letter in text.chars() {
        if out.len() >= limit {
            out.push('…');
            break;
        }
        if letter.is_control() || is_invisible(letter) {
            out.extend(letter.escape_default());
        } else {
            out.push(letter);
        }
    }
    out
}

/// Whether a name looks like no other: something is seen of it, nothing stands in it that is not seen, and no space at its ends.
pub(crate) fn is_plain_name(text: &str) -> bool {
    // Letters of Hangul and Braille that are blank, and what changes the letter before, are none of the others' kinds.
    let is_blank = |letter: char| {
        matches!(letter, '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{2800}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{e0100}'..='\u{e01ef}')
    };
    let is_hidden = |letter: char| letter.is_control() || is_invisible(letter) || is_blank(letter);
    !text.is_empty() && text.trim() == text && !text.contains(is_hidden)
}

/// Characters that are not seen, or turn the direction of what follows: two names could look the same in the log.
fn is_invisible(letter: char) -> bool {
    matches!(letter,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
