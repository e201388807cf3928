//! Rules that decide all that is asked, whoever asks: those below them are never reached.

use super::{Names, Wanted};
use crate::analysis::spare::{at_most, matches_all, names_of, takes_all_of};
use crate::analysis::{Narrow, World};
use crate::pattern::{Field, Pattern};
use crate::regular::Grammar;
use crate::rule::Rule;
use crate::scope::{OUR_SERVICE, OURS};

/// All that is asked.
#[derive(Clone, Copy)]
pub(super) struct Whole<'w, 'p> {
    pub(super) world: &'w World<'p>,
    pub(super) narrow: &'w Narrow,
    /// What is asked about; whatever there is, where nothing is said.
    pub(super) wanted: Option<&'w Wanted>,
    /// The one who asks; anybody, where nobody is named.
    pub(super) account: Option<&'w str>,
    pub(super) still: &'w dyn Fn() -> bool,
}

impl Whole<'_, '_> {
    /// Whether a rule surely decides all of it.
    pub(super) fn is_decided_by(&self, rule: &Rule) -> bool {
        rule.label_patterns().is_empty()
            && !rule.needs_reference()
            && self.is_in_time(rule)
            && rule.network().is_none_or(|network| {
                self.narrow.address.is_some_and(|address| network.contains(&address.to_canonical()))
            })
            && self.takes_services(rule)
            && self.takes(rule.pattern(Field::Account), Grammar::Any, self.account)
            && self.takes(rule.pattern(Field::Type), Grammar::Type, self.wanted.map(|wanted| wanted.kind.as_str()))
            && self.takes_names(rule)
    }

    fn is_in_time(&self, rule: &Rule) -> bool {
        let (begins, ends) = rule.window();
        let begins_in_time = begins.is_none_or(|begins| begins <= self.narrow.at.unwrap_or(self.narrow.from));
        begins_in_time && ends.is_none_or(|ends| self.narrow.at.is_some_and(|at| at < ends))
    }

    fn takes_services(&self, rule: &Rule) -> bool {
        let pattern = rule.pattern(Field::Service);
        let is_ours = self.wanted.is_none_or(|wanted| wanted.kind == OURS);
        let is_others = self.wanted.is_none_or(|wanted| wanted.kind != OURS);
        let all: Vec<&str> = match (&self.narrow.service, self.world.services.as_slice()) {
            (Some(service), _) => vec![service.as_str()],
            (None, []) if is_others => return self.takes(pattern, Grammar::Any, None),
            (None, services) => {
                let others = services.iter().map(String::as_str).filter(|_| is_others);
                others.chain(is_ours.then_some(OUR_SERVICE)).collect()
            }
        };
        all.into_iter().all(|service| self.takes(pattern, Grammar::Any, Some(service)))
    }

    fn takes_names(&self, rule: &Rule) -> bool {
        let Some(pattern) = rule.pattern(Field::Name) else { return true };
        match self.wanted {
            None => matches_all(pattern, names_of(rule), self.still),
            Some(Wanted { names: Names::One(name), kind, action: _ }) => {
                self.takes(Some(pattern), Grammar::of_names(kind), Some(name))
            }
            Some(Wanted { names: Names::AnyOf(asked) | Names::AllOf(asked), kind, action: _ }) => {
                takes_all_of(pattern, Grammar::of_names(kind), &at_most(asked), self.still)
            }
        }
    }

    /// Whether a pattern matches this text, or every one of the grammar, whatever its placeholders stand for.
    fn takes(&self, pattern: Option<&Pattern>, grammar: Grammar, text: Option<&str>) -> bool {
        match (pattern, text) {
            (None, _) => true,
            (Some(pattern), Some(text)) => {
                pattern.placeholders().next().is_none() && pattern.matches_alone(text).unwrap_or(false)
            }
            (Some(pattern), None) => matches_all(pattern, grammar, self.still),
        }
    }
}
