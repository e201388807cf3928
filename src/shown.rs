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

/// Characters that are not seen, or turn the direction of what follows: two names could look the same in the log.
fn is_invisible(letter: char) -> bool {
    matches!(letter,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
