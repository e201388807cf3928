//! Whether any name, type or tag could match a pattern.

use crate::glob::{GlobToken, Set};
use crate::pattern::{Needed, Pattern};

/// The grammar of a part of a question (`docs/reference/rules.md`, "A question"; distribution's `reference` package).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grammar {
    /// A repository's name as clients ask for it: without the registry's host.
    Name,
    /// A resource's type.
    Type,
    /// A tag.
    Tag,
}

/// The places within a text of the grammar in which one can be; a bit for each.
type Places = u8;

/// A part has to begin here.
const BEGIN: Places = 1;
/// After a letter or a digit: the text may end here.
const WORD: Places = 1 << 1;
/// After a dot.
const DOT: Places = 1 << 2;
/// After one underscore.
const LINE: Places = 1 << 3;
/// After two underscores.
const LINES: Places = 1 << 4;
/// After one dash or more.
const DASHES: Places = 1 << 5;
const ANYWHERE: Places = BEGIN | WORD | DOT | LINE | LINES | DASHES;
const NOWHERE: Places = 0;

impl Grammar {
    /// Whether the pattern could match any text of the grammar, whatever its placeholders stand for. True if that is unknown.
    pub(super) fn allows(self, pattern: &Pattern) -> bool {
        match (pattern.tokens(), pattern.needed()) {
            (Some(tokens), _) => tokens.iter().fold(BEGIN, |from, token| self.after(token, from)) & WORD != NOWHERE,
            (None, Some(Needed::OneOf(texts))) => texts.iter().any(|text| self.holds(text)),
            (None, Some(Needed::Whole(text))) => self.holds(&text),
            (None, None) => true,
        }
    }

    /// Whether a text of the grammar could hold this one.
    fn holds(self, text: &str) -> bool {
        text.chars().fold(ANYWHERE, |from, letter| self.step(from, letter)) != NOWHERE
    }

    /// Where one can be after a step of a glob.
    fn after(self, token: &GlobToken, from: Places) -> Places {
        match token {
            GlobToken::Text(text) => text.chars().fold(from, |from, letter| self.step(from, letter)),
            GlobToken::One => self.after_any(from, |letter| letter != '/'),
            GlobToken::Set(set) => self.after_set(from, set),
            GlobToken::Run => self.after_many(from, |letter| letter != '/'),
            GlobToken::Slot(_) => self.after_many(from, |_| true),
        }
    }

    fn after_many(self, from: Places, takes: impl Fn(char) -> bool) -> Places {
        let mut all = from;
        loop {
            let more = all | self.after_any(all, &takes);
            if more == all {
                return all;
            }
            all = more;
        }
    }

    /// After one letter. One of each kind stands for all that lead to the same place.
    fn after_any(self, from: Places, takes: impl Fn(char) -> bool) -> Places {
        "a._-/".chars().filter(|letter| takes(*letter)).fold(NOWHERE, |to, letter| to | self.step(from, letter))
    }

    fn after_set(self, from: Places, set: &Set) -> Places {
        let letters = ('a'..='z').chain('A'..='Z').chain('0'..='9').chain("._-/".chars());
        letters.filter(|letter| set.takes(*letter)).fold(NOWHERE, |to, letter| to | self.step(from, letter))
    }

    fn step(self, from: Places, letter: char) -> Places {
        let lower = letter.is_ascii_lowercase() || letter.is_ascii_digit();
        let at = |places: Places, to: Places| if from & places == NOWHERE { NOWHERE } else { to };
        match (self, letter) {
            (Grammar::Name | Grammar::Type, _) if lower => at(ANYWHERE, WORD),
            (Grammar::Name, '/') => at(WORD, BEGIN),
            (Grammar::Name, '.') => at(WORD, DOT),
            (Grammar::Name, '_') => at(WORD, LINE) | at(LINE, LINES),
            (Grammar::Name, '-') => at(WORD | DASHES, DASHES),
            (Grammar::Tag, '.' | '-') => at(WORD, WORD),
            (Grammar::Tag, '_') => at(ANYWHERE, WORD),
            (Grammar::Tag, _) if letter.is_ascii_alphanumeric() => at(ANYWHERE, WORD),
            (Grammar::Name | Grammar::Type | Grammar::Tag, _) => NOWHERE,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::pattern::{Bindings, FieldValues, LabelValues};
    use crate::scope::Resource;

    fn allows(grammar: Grammar, pattern: &str) -> bool {
        grammar.allows(&Pattern::compile(pattern).unwrap())
    }

    /// Whatever is said to match nothing matches none of very many names; and nearly nothing else does.
    #[test]
    fn what_matches_a_name_is_never_called_impossible() {
        let parts = ["a", "z", "A", "0", "/", ".", "_", "-", "*", "?", "[a-c]", "[^a]", "[._]", "\\-", ":"];
        let letters = ["a", "z", "0", "/", ".", "_", "-"];
        let words = |letters: &[&str], longest: usize| {
            let mut all = vec![String::new()];
            let mut last = all.clone();
            for _ in 0..longest {
                last = last.iter().flat_map(|word| letters.iter().map(move |more| format!("{word}{more}"))).collect();
                all.extend(last.iter().cloned());
            }
            all
        };
        let names: Vec<String> =
            words(&letters, 5).into_iter().filter(|name| Resource::new("repository", name).is_ok()).collect();
        assert!(names.len() > 1000, "{}", names.len());
        let labels = LabelValues::new();
        let nothing = Bindings::new(FieldValues::default(), &labels);
        let (mut possible, mut impossible) = (0, 0);
        for text in words(&parts, 3) {
            let Ok(pattern) = Pattern::compile(&text) else { continue };
            if pattern.is_regex() {
                continue;
            }
            let matched = names.iter().any(|name| pattern.matches(name, &nothing).unwrap());
            assert_eq!(Grammar::Name.allows(&pattern), matched, "{text}");
            *(if matched { &mut possible } else { &mut impossible }) += 1;
        }
        assert!(possible > 500 && impossible > 500, "{possible} {impossible}");
    }

    #[test]
    fn placeholders_and_expressions_may_bring_what_is_missing() {
        for (grammar, pattern, expected) in [
            (Grammar::Name, "${account}/*", true),
            (Grammar::Name, "${labels:team}", true),
            (Grammar::Name, "web/${account}", true),
            (Grammar::Name, "Web/${account}", false),
            (Grammar::Name, "${account}/", false),
            (Grammar::Name, "/${account}", false),
            (Grammar::Name, "/^web\\/.*$/", true),
            (Grammar::Name, "/^Web\\/.*$/", false),
            (Grammar::Name, "/(?i)^Web\\/.*$/", true),
            (Grammar::Name, "/^(Web|api)\\//", true),
            (Grammar::Name, "/^(Web|Api)-/", false),
            (Grammar::Name, "/.*/", true),
            (Grammar::Type, "repository", true),
            (Grammar::Type, "re*y", true),
            (Grammar::Type, "Repository", false),
            (Grammar::Type, "repository:", false),
            (Grammar::Tag, "latest", true),
            (Grammar::Tag, "v1.*-RC?", true),
            (Grammar::Tag, "_x", true),
            (Grammar::Tag, "latest,stable", false),
            (Grammar::Tag, ":latest", false),
            (Grammar::Tag, ".x", false),
        ] {
            assert_eq!(allows(grammar, pattern), expected, "{grammar:?} {pattern}");
        }
    }
}
