//! An index that finds the few of many rules that can match a question.
//!
//! Most rules name an account or a repository, or at least a piece of one. A rule whose piece does not occur in what is
//! asked about cannot match, and is passed over; what is left is compared one by one, in the order of the list. So the
//! index only ever leaves out what would not have matched.

use std::cmp::Reverse;
use std::collections::HashMap;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use super::pattern::{Field, Needed};
use super::rule::Rule;

/// The shortest piece that is worth looking for, in bytes: shorter ones occur nearly everywhere.
const SHORTEST_PIECE: usize = 3;
/// The fields that tell rules apart.
const FIELDS: [Field; 2] = [Field::Name, Field::Account];

/// An index of rules by the text that a question's account or name must contain.
#[derive(Debug, Default)]
pub struct Index {
    /// Rules that name nothing to look for, in order.
    others: Vec<usize>,
    by_name: ByText,
    by_account: ByText,
    /// By which field each rule is found.
    found_by: Vec<Option<Field>>,
}

/// Rules by the texts of one field.
#[derive(Debug, Default)]
struct ByText {
    /// By the one text that the field must be.
    whole: HashMap<Box<str>, Vec<usize>>,
    /// Finds the pieces that the field holds.
    pieces: Option<AhoCorasick>,
    /// By the number of such a piece.
    by_piece: Vec<Vec<usize>>,
}

/// The text that one field of a rule needs, and how many rules need the same.
struct Choice {
    field: Field,
    needed: Needed,
    shared: usize,
}

impl Index {
    /// An index of these rules.
    pub fn from_rules<'r>(rules: impl IntoIterator<Item = &'r Rule>) -> Index {
        let needs: Vec<Vec<(Field, Needed)>> = rules.into_iter().map(needs).collect();
        let mut shared: HashMap<(Field, &str), usize> = HashMap::new();
        for (field, needed) in needs.iter().flatten() {
            for text in needed.texts() {
                *shared.entry((*field, text)).or_default() += 1;
            }
        }
        let mut found_by = Vec::with_capacity(needs.len());
        let mut others = Vec::new();
        let mut pieces: [(HashMap<String, usize>, ByText); 2] = Default::default();
        let mut chosen: Vec<Option<Choice>> = Vec::with_capacity(needs.len());
        for fields in &needs {
            let choices = fields.iter().map(|(field, needed)| Choice {
                field: *field,
                needed: needed.clone(),
                shared: needed.texts().filter_map(|text| shared.get(&(*field, text))).sum(),
            });
            // The rarest, then the longest.
            let least = |choice: &Choice| (choice.shared, Reverse(choice.needed.texts().map(str::len).min()));
            chosen.push(choices.min_by_key(least));
        }
        for (rule, choice) in chosen.into_iter().enumerate() {
            found_by.push(choice.as_ref().map(|choice| choice.field));
            let Some(Choice { field, needed, .. }) = choice else {
                others.push(rule);
                continue;
            };
            let [for_name, for_account] = &mut pieces;
            let (numbers, by_text) = if field == Field::Name { for_name } else { for_account };
            match needed {
                Needed::Whole(text) => by_text.whole.entry(text.into()).or_default().push(rule),
                Needed::OneOf(texts) => {
                    for text in texts {
                        let number = *numbers.entry(text).or_insert_with(|| {
                            by_text.by_piece.push(Vec::new());
                            by_text.by_piece.len() - 1
                        });
                        if let Some(rules) = by_text.by_piece.get_mut(number) {
                            rules.push(rule);
                        }
                    }
                }
            }
        }
        let [by_name, by_account] = pieces.map(|(numbers, by_text)| by_text.finished(numbers, &mut others));
        others.sort_unstable();
        others.dedup();
        Index { others, by_name, by_account, found_by }
    }

    /// The rules that may match a question about this account and this name, in order. A field that is `None` is not
    /// looked at: rules that are found by it are left out.
    pub fn candidates(&self, account: Option<&str>, name: Option<&str>) -> Vec<usize> {
        let mut found = self.others.clone();
        for (by_text, text) in [(&self.by_name, name), (&self.by_account, account)] {
            let Some(text) = text else { continue };
            found.extend(by_text.whole.get(text).into_iter().flatten());
            if let Some(pieces) = &by_text.pieces {
                for piece in pieces.find_overlapping_iter(text) {
                    found.extend(by_text.by_piece.get(piece.pattern().as_usize()).into_iter().flatten());
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The field by which a rule is found, if any.
    pub fn found_by(&self, rule: usize) -> Option<Field> {
        self.found_by.get(rule).copied().flatten()
    }
}

impl ByText {
    /// Makes the search for the pieces; rules are among the `others` if that cannot be done.
    fn finished(mut self, numbers: HashMap<String, usize>, others: &mut Vec<usize>) -> ByText {
        let mut texts: Vec<(usize, String)> = numbers.into_iter().map(|(text, number)| (number, text)).collect();
        texts.sort_unstable();
        if texts.is_empty() {
            return self;
        }
        let search = AhoCorasick::builder()
            // Every piece that occurs is wanted, also inside a longer one.
            .match_kind(MatchKind::Standard)
            // Smaller than the table of an automaton without retries, and quick enough for a name.
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(texts.iter().map(|(_, text)| text));
        match search {
            Ok(search) => self.pieces = Some(search),
            Err(_) => others.extend(self.by_piece.drain(..).flatten()),
        }
        self
    }
}

/// What the fields of a rule need, where that tells it from others.
fn needs(rule: &Rule) -> Vec<(Field, Needed)> {
    let needed_in = |field| Some((field, rule.pattern(field)?.needed()?));
    let telling = |(_, needed): &(Field, Needed)| match needed {
        Needed::Whole(_) => true,
        Needed::OneOf(texts) => texts.iter().all(|text| text.len() >= SHORTEST_PIECE),
    };
    FIELDS.into_iter().filter_map(needed_in).filter(telling).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::rule::RuleText;

    fn index(rules: impl IntoIterator<Item = (Option<String>, String)>) -> Index {
        let compile =
            |(account, name)| Rule::compile(&RuleText { account, name: Some(name), ..RuleText::default() }).unwrap();
        let rules: Vec<Rule> = rules.into_iter().map(compile).collect();
        Index::from_rules(&rules)
    }

    #[test]
    fn of_many_rules_a_few_are_looked_at() {
        type Kind = fn(usize) -> (Option<String>, String);
        let kinds: [Kind; 6] = [
            |number| (Some("ci".to_owned()), format!("project-{number}/app")),
            |number| (Some(format!("robot-{number}")), "*".to_owned()),
            |number| (Some("/^.+$/".to_owned()), format!("lib-{number}-*/[a-m]*")),
            |number| (None, format!("/^(mirror|cache)-{number}\\/.*$/")),
            |number| (None, format!("${{labels:team}}/part-{number}-*")),
            |number| (Some(format!("/^team-{number}-[a-z]+$/")), "${account:1}".to_owned()),
        ];
        let many = index((0..6000).filter_map(|number| Some(kinds.get(number % 6)?(number))));
        for (account, name, expected) in [
            ("ci", "project-3000/app", &[3000][..]),
            ("robot-3001", "anything", &[3001]),
            ("somebody", "lib-3002-x/glue", &[3002]),
            ("somebody", "cache-3003/library/alpine", &[3003]),
            ("somebody", "web/part-3004-app", &[3004]),
            ("team-3005-dev", "x", &[3005]),
            // Each of the two is found by what it needs, whichever rule matches.
            ("robot-1", "project-6/app", &[1, 6]),
            ("somebody", "something/else", &[]),
        ] {
            assert_eq!(many.candidates(Some(account), Some(name)), expected, "{account}, {name}");
        }
    }

    #[test]
    fn a_rule_without_anything_to_look_for_is_always_looked_at_and_the_order_stays() {
        let rules = ["*/*", "team/app", "/.*/", "${account}/*", "/^team/", "a/*", "/(?i)team/", "/(team)?x/"];
        let few = index(rules.map(|name| (None, name.to_owned())));
        assert_eq!(few.candidates(Some("alice"), Some("other")), [0, 2, 3, 5, 6, 7]);
        assert_eq!(few.candidates(Some("alice"), Some("team/app")), [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_rule_is_found_by_what_the_fewest_share() {
        let rule = |account: &str, name: &str| (Some(account.to_owned()), name.to_owned());
        let rules = index([rule("ci", "build/*"), rule("ci", "build/app"), rule("alice", "build/*")]);
        assert_eq!(
            [0, 1, 2].map(|number| rules.found_by(number)),
            [Field::Name, Field::Name, Field::Account].map(Some)
        );
        assert_eq!(rules.found_by(3), None);
    }
}
