//! The name by which an account is counted: one for all spellings that a backend may take for the same account.
//!
//! It does not decide who is let in: two accounts with the same name here only share a count.

use anyhow::Context as _;
use icu_collator::options::{CollatorOptions, Strength};
use icu_collator::{Collator, CollatorBorrowed, CollatorPreferences};
use icu_properties::CodePointSetData;
use icu_properties::props::DefaultIgnorableCodePoint;

/// The character that stands for an embedded object. LDAP's matching leaves it out (RFC 4518, section 2.2).
const OBJECT_REPLACEMENT: char = '\u{fffc}';

/// The comparison of names.
///
/// Directories and databases ignore case, width and invisible letters, and some of them accents; with a count for each
/// spelling, a guesser would have five more guesses for each of them. So names are compared as the most generous of them
/// do: by the first level of the Unicode Collation Algorithm in its root order. A collation for one language may still
/// equate two letters that this one does not, such as Danish `å` and `aa`.
pub(super) struct Spelling(CollatorBorrowed<'static>);

impl Spelling {
    /// The root order.
    ///
    /// # Errors
    /// The collation's tables, which are part of the program, cannot be used.
    pub(super) fn new() -> anyhow::Result<Spelling> {
        let mut options = CollatorOptions::default();
        options.strength = Some(Strength::Primary);
        let root = Collator::try_new(CollatorPreferences::default(), options);
        Ok(Spelling(root.context("the tables of the collation cannot be used")?))
    }

    /// The weights of the account's letters, equal for all its spellings. They are not readable as text.
    pub(super) fn weights(&self, account: &str) -> Vec<u8> {
        if account.is_ascii() {
            return self.sort_key(account);
        }
        let ignored = CodePointSetData::new::<DefaultIgnorableCodePoint>();
        // In upper case, because some backends compare by it, and there the dotless `ı` becomes an `i`.
        let seen = account.chars().filter(|letter| !ignored.contains(*letter) && *letter != OBJECT_REPLACEMENT);
        self.sort_key(&seen.flat_map(char::to_uppercase).collect::<String>())
    }

    fn sort_key(&self, account: &str) -> Vec<u8> {
        let account = account.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut weights = Vec::with_capacity(account.len() + 1);
        // Writing to a list of bytes cannot fail.
        let Ok(()) = self.0.write_sort_key_to(&account, &mut weights);
        weights
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_that_a_backend_may_take_for_one_account_are_one() -> anyhow::Result<()> {
        let spelling = Spelling::new()?;
        for (account, spelled) in [
            ("alice", "ALICE"),
            ("alice smith", " Alice\u{a0} \u{3000}Smith\t"),
            ("sophie-sass", "\u{17f}ophie-\u{17f}a\u{df}"),
            ("sass", "SA\u{1e9e}"),
            ("alice", "\u{ff41}\u{ff2c}\u{ff49}\u{ff43}\u{ff45}"),
            ("alice@a.example", "alice\u{ff20}a\u{ff0e}example"),
            // The Kelvin sign, and letters made of two.
            ("kim", "\u{212a}im"),
            ("office", "o\u{fb03}ce"),
            ("aether", "\u{e6}ther"),
            ("alice3", "alice\u{b3}"),
            ("alice3", "alice\u{663}"),
            ("iris", "\u{130}r\u{131}s"),
            // Accents, as one letter, as two, and those through a letter.
            ("rene", "ren\u{e9}"),
            ("rene", "rene\u{301}"),
            ("olaf", "\u{d8}\u{142}af"),
            ("\u{3c3}\u{3bf}\u{3c6}\u{3cc}\u{3c2}", "\u{3a3}\u{39f}\u{3a6}\u{39f}\u{3a3}"),
            ("\u{444}\u{451}\u{434}\u{43e}\u{440}", "\u{424}\u{415}\u{414}\u{41e}\u{420}"),
            ("\u{3042}", "\u{ff71}"),
            // Invisible letters: a zero width space, a soft hyphen, a selector, a mark of direction, a tag, fillers.
            ("alice", "al\u{200b}i\u{ad}c\u{fe0f}e\u{202e}"),
            ("alice", "a\u{e0061}l\u{3164}i\u{115f}c\u{ffa0}e\u{fffc}"),
            ("alice", "ali\u{34f}\u{2060}\u{feff}\u{1}ce\u{e0fff}"),
        ] {
            assert_eq!(spelling.weights(spelled), spelling.weights(account), "{account}: {}", spelled.escape_unicode());
        }
        Ok(())
    }

    #[test]
    fn different_accounts_stay_different() -> anyhow::Result<()> {
        let spelling = Spelling::new()?;
        let mut all = std::collections::BTreeMap::new();
        let printable = (' '..='~').filter(|letter| !letter.is_ascii_uppercase()).map(|letter| format!("a{letter}b"));
        let others = ["ab", "ba", "a", "", "\u{430}b", "\u{3b1}b", "\u{674e}\u{660e}", "\u{9ece}\u{660e}"];
        for account in printable.chain(others.map(str::to_owned)) {
            assert_eq!(all.insert(spelling.weights(&account), account.clone()), None, "{account}");
        }
        Ok(())
    }

    #[test]
    fn no_letter_has_a_count_for_each_case() -> anyhow::Result<()> {
        let spelling = Spelling::new()?;
        for letter in (0..=0x1_ffff).filter_map(char::from_u32) {
            let account = format!("a{letter}b");
            let expected = spelling.weights(&account);
            for spelled in [account.to_lowercase(), account.to_uppercase(), account.to_uppercase().to_lowercase()] {
                assert_eq!(spelling.weights(&spelled), expected, "{}", account.escape_unicode());
            }
        }
        Ok(())
    }
}
