//! Words of commands that are printed, for people who paste them into a shell.

use crate::shown::escaped;

/// A word as a shell reads it back unchanged, in quotes where it needs them: whoever chose it could have written a command. Letters that
/// nobody sees, or that turn the text around, are written as bash reads them.
pub(crate) fn quoted(word: &str) -> String {
    match shlex::try_quote(word) {
        Ok(quoted) if escaped(word) == word => quoted.into_owned(),
        Ok(_) | Err(_) => format!("$'{}'", word.chars().map(as_bash_reads).collect::<String>()),
    }
}

/// A letter between `$'` and `'`.
fn as_bash_reads(letter: char) -> String {
    let own = letter.encode_utf8(&mut [0; 4]).to_owned();
    match letter {
        '\'' | '\\' => format!("\\{letter}"),
        _ if escaped(&own) == own => own,
        // Byte by byte: what a letter's number means depends on the locale.
        _ => own.bytes().map(|byte| format!("\\x{byte:02x}")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_is_a_command() {
        for (word, expected) in [
            ("alice", "alice"),
            ("r.example.org:5000", "r.example.org:5000"),
            ("", "''"),
            ("x;id", "'x;id'"),
            ("o'b", "\"o'b\""),
            ("`$(id)", "'`$(id)'"),
            ("a*", "'a*'"),
            ("[::1]:5000", "'[::1]:5000'"),
            ("a=b", "'a=b'"),
            ("a\nb", "$'a\\x0ab'"),
            ("o'\u{202e}\\", "$'o\\'\\xe2\\x80\\xae\\\\'"),
        ] {
            assert_eq!(quoted(word), expected, "{word:?}");
        }
        // What is read back is what was written.
        for word in ["o'b`$(id)", "!x ^y", "-x", "~/x", "ü", "a'b\"c\\"] {
            assert_eq!(shlex::split(&quoted(word)), Some(vec![word.to_owned()]), "{word:?}");
        }
    }
}
