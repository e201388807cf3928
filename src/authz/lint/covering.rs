//! Rules that never decide, because one above matches all that they do.

use std::collections::HashMap;

use policy::index::Index;
use policy::pattern::{Bindings, Field, FieldValues, LabelValues, Pattern, Placeholder};
use policy::rule::Rule;

/// So many rules are looked at for all others together, which takes about a second.
const MOST_LOOKED_AT: usize = 30_000_000;

/// Which rules may cover which, so that of ten thousand rules only a few have to be compared with each other. A pattern
/// covers another that has the same text, or one that is a plain text which it matches.
pub(super) struct Covering {
    index: Index,
    /// Rules by the field that the index finds them by, and the text of its pattern.
    same: HashMap<(Field, String), Vec<usize>>,
    /// How many more rules may be looked at: where all rules look alike, each would be compared with each.
    left: usize,
}

impl Covering {
    pub(super) fn from_rules(rules: &[Rule]) -> Covering {
        let index = Index::from_rules(rules);
        let mut same: HashMap<(Field, String), Vec<usize>> = HashMap::new();
        for (number, rule) in rules.iter().enumerate() {
            let Some(field) = index.found_by(number) else { continue };
            let Some(pattern) = rule.pattern(field) else { continue };
            same.entry((field, pattern.text().to_owned())).or_default().push(number);
        }
        Covering { index, same, left: MOST_LOOKED_AT }
    }

    /// The rules above this one that may cover it, in order; none any more after very many.
    pub(super) fn candidates(&mut self, number: usize, rule: &Rule) -> Vec<usize> {
        if self.left == 0 {
            return Vec::new();
        }
        let plain = |field| rule.pattern(field).and_then(Pattern::literal);
        let mut candidates = self.index.candidates(plain(Field::Account), plain(Field::Name));
        for field in [Field::Account, Field::Name] {
            let Some(pattern) = rule.pattern(field) else { continue };
            candidates.extend(self.same.get(&(field, pattern.text().to_owned())).into_iter().flatten());
        }
        self.left = self.left.saturating_sub(candidates.len());
        candidates.retain(|other| *other < number);
        candidates.sort_unstable();
        candidates.dedup();
        candidates
    }
}

/// Whether `one` matches everything that `other` does. Says no where that cannot be told from the texts.
pub(super) fn covers(one: &Rule, other: &Rule) -> bool {
    let fields = [Field::Account, Field::Type, Field::Name, Field::Service];
    fields.iter().all(|&field| pattern_covers(one.pattern(field), other.pattern(field), one, other))
        && match (one.network(), other.network()) {
            (None, _) => true,
            (Some(wide), Some(narrow)) => wide.contains(narrow),
            (Some(_), None) => false,
        }
        && one.reference().is_none_or(|kind| other.reference() == Some(kind))
        && (one.tag().is_none() || pattern_covers(one.tag(), other.tag(), one, other))
        && one.label_patterns().iter().all(|(label, pattern)| {
            let own = other.label_patterns().iter().find(|(own, _)| own == label).map(|(_, pattern)| pattern);
            own.is_some_and(|own| pattern_covers(Some(pattern), Some(own), one, other))
        })
        && one.window() == (None, None)
}

fn pattern_covers(one: Option<&Pattern>, other: Option<&Pattern>, one_rule: &Rule, other_rule: &Rule) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return one.is_none() };
    if one.text() == other.text() {
        // The same text means the same, unless it speaks of groups of different expressions.
        return one.placeholders().all(|placeholder| match placeholder {
            Placeholder::Capture(field, _) => {
                one_rule.pattern(*field).map(Pattern::text) == other_rule.pattern(*field).map(Pattern::text)
            }
            Placeholder::Value(_) | Placeholder::Label(_) => true,
        });
    }
    if one.placeholders().next().is_some() || other.placeholders().next().is_some() {
        return false;
    }
    let labels = LabelValues::new();
    let bindings = Bindings::new(FieldValues { account: "", kind: "", name: "", service: "" }, &labels);
    other.literal().is_some_and(|text| one.matches(text, &bindings).unwrap_or(false))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use policy::rule::RuleText;

    #[test]
    fn no_rule_that_covers_another_is_overlooked() {
        let patterns = [
            None,
            Some("alice"),
            Some("alice-bot"),
            Some("*"),
            Some("alice*"),
            Some("?lice"),
            Some("/^alice/"),
            Some("/lic/"),
            Some("/^(alice|bobby)$/"),
            Some("/.+/"),
            Some("${labels:team}/alice"),
            Some("${account:1}"),
        ];
        let rule = |(account, name): (Option<&str>, Option<&str>)| {
            let text =
                RuleText { account: account.map(str::to_owned), name: name.map(str::to_owned), ..RuleText::default() };
            Rule::compile(&text).unwrap()
        };
        let pairs = patterns.iter().flat_map(|account| patterns.iter().map(|name| (*account, *name)));
        let rules: Vec<Rule> = pairs.clone().chain(pairs).map(rule).collect();
        let mut covering = Covering::from_rules(&rules);
        let mut covered = 0;
        for (number, later) in rules.iter().enumerate() {
            let candidates = covering.candidates(number, later);
            for (other, earlier) in rules.iter().enumerate().take(number) {
                if covers(earlier, later) {
                    covered += 1;
                    assert!(candidates.contains(&other), "acl[{other}] covers acl[{number}]");
                }
            }
        }
        assert!(covered > 1000, "{covered}");
    }
}
