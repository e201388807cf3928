//! The name that an account is counted by: one for all spellings that a backend may take for the same account.
//!
//! Who is let in is not decided by it. Two accounts that are spelled alike here only share a count.

use anyhow::Context as _;
use icu_collator::options::{CollatorOptions, Strength};
use icu_collator::{Collator, CollatorBorrowed, CollatorPreferences};
use icu_properties::CodePointSetData;
use icu_properties::props::DefaultIgnorableCodePoint;

/// Stands for something that is no text; LDAP's matching leaves it out (RFC 4518, section 2.2).
const OBJECT_REPLACEMENT: char = '\u{fffc}';

/// Finds the one name of many spellings.
///
/// Directories and databases take no notice of case, of width, of letters that nobody sees, some of accents neither; with a
/// count for each spelling, a guesser would have five more guesses for each of them. So names are compared as the most
/// generous of them do: by the first level of the Unicode Collation Algorithm in its root order. A collation for one
/// language may still take two letters for the same that this does not, such as Danish `å` and `aa`.
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

    /// Equal for all spellings of an account. It is nothing to read: weights of letters, not letters.
    pub(super) fn of(&self, account: &str) -> Vec<u8> {
        if account.is_ascii() {
            return self.weights(account);
        }
        let ignored = CodePointSetData::new::<DefaultIgnorableCodePoint>();
        // Upper case, because that is where the dotless `ı` becomes an `i` for those who compare by upper case.
        let seen = account.chars().filter(|letter| !ignored.contains(*letter) && *letter != OBJECT_REPLACEMENT);
        self.weights(&seen.flat_map(char::to_uppercase).collect::<String>())
    }

    fn weights(&self, account: &str) -> Vec<u8> {
        let account = account.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut weights = Vec::with_capacity(account.len() + 1);
        // A list of bytes takes all of them.
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
            // Letters that nobody sees: a zero width space, a soft hyphen, a selector, a mark of direction, a tag, fillers.
            ("alice", "al\u{200b}i\u{ad}c\u{fe0f}e\u{202e}"),
            ("alice", "a\u{e0061}l\u{3164}i\u{115f}c\u{ffa0}e\u{fffc}"),
            ("alice", "ali\u{34f}\u{2060}\u{feff}\u{1}ce\u{e0fff}"),
        ] {
            assert_eq!(spelling.of(spelled), spelling.of(account), "{account}: {}", spelled.escape_unicode());
        }
        Ok(())
    }

    #[test]
    fn other_accounts_are_others() -> anyhow::Result<()> {
        let spelling = Spelling::new()?;
        let mut all = std::collections::BTreeMap::new();
        let printable = (' '..='~').filter(|letter| !letter.is_ascii_uppercase()).map(|letter| format!("a{letter}b"));
        let others = ["ab", "ba", "a", "", "\u{430}b", "\u{3b1}b", "\u{674e}\u{660e}", "\u{9ece}\u{660e}"];
        for account in printable.chain(others.map(str::to_owned)) {
            assert_eq!(all.insert(spelling.of(&account), account.clone()), None, "{account}");
        }
        Ok(())
    }

    #[test]
    fn no_letter_has_a_count_for_each_case() -> anyhow::Result<()> {
        let spelling = Spelling::new()?;
        for letter in (0..=0x1_ffff).filter_map(char::from_u32) {
            let account = format!("a{letter}b");
            let expected = spelling.of(&account);
            for spelled in [account.to_lowercase(), account.to_uppercase(), account.to_uppercase().to_lowercase()] {
                assert_eq!(spelling.of(&spelled), expected, "{}", account.escape_unicode());
            }
        }
        Ok(())
    }
}
