//! Rules above that may refuse some of those who cannot be listed. No sample shows them: they are about other accounts, or labels, than
//! the one that was tried.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::{Asking, Names, Symbolic, Wanted};
use crate::analysis::spare::at_most;
use crate::analysis::unlisted::somebody;
use crate::analysis::{Narrow, grants};
use crate::pattern::{Bindings, Field, FieldValues, LabelValues, Pattern, Placeholder};
use crate::regular::{Grammar, walk};
use crate::rule::Rule;

/// So many pairs of patterns are walked through: what is not told by then may be about the same accounts.
const MOST_WALKS: usize = 1_000;

/// What was found out about patterns, each once.
#[derive(Default)]
struct Known<'r> {
    names: HashMap<(&'r str, Option<&'r str>), bool>,
    accounts: HashMap<(&'r str, &'r str), bool>,
    walks: usize,
}

impl<'p> Asking<'_, 'p> {
    /// Puts beside each of these the rules that may decide otherwise for some of those whom it is about.
    pub(super) fn except_others(&self, found: &mut [Symbolic], asked: &Wanted, narrow: &Narrow) {
        let Some(last) = found.iter().map(|told| told.way.rule).max() else { return };
        let mut known = Known::default();
        let above = self.near.iter().copied().filter(|number| *number < last);
        let above = above.filter_map(|number| Some((number, self.rules.get(number).copied()?)));
        let above: Vec<(usize, &'p Rule)> =
            above.filter(|(_, rule)| self.may_be_asked(rule, asked, narrow, &mut known)).collect();
        let all_of = matches!(asked.names, Names::AllOf(_));
        for told in found {
            let Some(own) = self.rules.get(told.way.rule).copied() else { continue };
            for (number, rule) in &above {
                let is_above = *number < told.way.rule && rule.grants() != own.grants();
                // Of all names, others may be granted by a rule further down.
                let is_between = all_of && *number > told.way.rule && !grants(Some(rule), &asked.action);
                if (is_above || is_between) && self.may_be_same(rule, own, told, &mut known) {
                    told.way.except.insert(*number);
                }
            }
        }
    }

    /// Whether anybody who cannot be listed could ask this rule about any of what is asked.
    fn may_be_asked(&self, rule: &'p Rule, asked: &Wanted, narrow: &Narrow, known: &mut Known<'p>) -> bool {
        let (begins, ends) = rule.window();
        let in_time = ends.is_none_or(|end| end > narrow.at.unwrap_or(narrow.from))
            && begins.is_none_or(|start| narrow.at.is_none_or(|at| start <= at));
        let from_there = match (rule.network(), narrow.address) {
            (Some(network), Some(address)) => network.contains(&address.to_canonical()),
            (Some(_), None) | (None, _) => true,
        };
        let right_kind = rule.pattern(Field::Type).is_none_or(|pattern| may_take(pattern, &asked.kind));
        in_time && from_there && right_kind && self.is_of_others(rule) && self.names_any(rule, asked, known)
    }

    /// Whether it could be about anybody who is not listed.
    fn is_of_others(&self, rule: &Rule) -> bool {
        let Some(pattern) = rule.pattern(Field::Account).filter(|own| own.placeholders().next().is_none()) else {
            return true;
        };
        let account = somebody(Some(pattern), self.world.accounts.keys().map(String::as_str), self.still);
        // Whoever comes without an account is listed, or does not come in.
        !account.is_empty() && !self.world.accounts.contains_key(&account)
    }

    /// Whether it could match any of the names.
    fn names_any(&self, rule: &'p Rule, asked: &Wanted, known: &mut Known<'p>) -> bool {
        let Some(pattern) = rule.pattern(Field::Name) else { return true };
        if let (Names::One(name), None) = (&asked.names, pattern.placeholders().next()) {
            return pattern.matches_alone(name).unwrap_or(true);
        }
        let account = rule.pattern(Field::Account).and_then(Pattern::literal);
        if let Some(known) = known.names.get(&(pattern.text(), account)) {
            return *known;
        }
        let nothing = LabelValues::new();
        let values = FieldValues { account: account.unwrap_or_default(), ..FieldValues::default() };
        let is_open = |placeholder: &Placeholder| match placeholder {
            Placeholder::Value(Field::Account) => account.is_none(),
            Placeholder::Value(Field::Type | Field::Name | Field::Service)
            | Placeholder::Capture(..)
            | Placeholder::Label(_) => true,
        };
        let language = pattern.language(&Bindings::new(values, &nothing), &is_open);
        let any = self.may_name(asked, language.source());
        known.names.insert((pattern.text(), account), any);
        any
    }

    /// Whether some of those of whom this is told could be decided for by another rule, which is asked about the same.
    fn may_be_same(&self, other: &'p Rule, own: &'p Rule, told: &Symbolic, known: &mut Known<'p>) -> bool {
        let networks = match (other.network(), own.network()) {
            (Some(one), Some(other)) => one.contains(other) || other.contains(one),
            (Some(_), None) | (None, Some(_)) | (None, None) => true,
        };
        let is_before = |one: &Rule, other: &Rule| {
            one.window().1.zip(other.window().0).is_some_and(|(ends, begins)| ends <= begins)
        };
        let services = other
            .pattern(Field::Service)
            .is_none_or(|pattern| told.way.services.iter().any(|service| may_take(pattern, service)));
        networks
            && !is_before(other, own)
            && !is_before(own, other)
            && services
            && self.may_be_called(other, own, told, known)
    }

    /// Whether both could be about one account.
    fn may_be_called(&self, other: &'p Rule, own: &'p Rule, told: &Symbolic, known: &mut Known<'p>) -> bool {
        let is_plain = |pattern: &&Pattern| pattern.placeholders().next().is_none();
        let Some(other) = other.pattern(Field::Account).filter(is_plain) else { return true };
        let Some(own) = own.pattern(Field::Account).filter(is_plain) else {
            // An account, or what it has to be by the name, as the rule has it.
            let account = told
                .account
                .as_deref()
                .filter(|told| own.pattern(Field::Account).is_none_or(|own| own.text() != *told));
            return account.is_none_or(|account| may_take(other, account));
        };
        match (other.literal(), own.literal()) {
            (_, Some(account)) => return may_take(other, account),
            (Some(account), None) => return may_take(own, account),
            (None, None) => {}
        }
        let (one, two) = (other.beginning(), own.beginning());
        if !one.starts_with(two) && !two.starts_with(one) {
            return false;
        }
        let key = (other.text(), own.text());
        if let Some(known) = known.accounts.get(&key) {
            return *known;
        }
        if known.walks >= MOST_WALKS {
            return true;
        }
        known.walks += 1;
        let both = self.may_be_both(Grammar::Any, &at_most(other), &at_most(own));
        known.accounts.insert(key, both);
        both
    }

    /// Whether any of the names that are asked about is of this language.
    pub(super) fn may_name(&self, asked: &Wanted, language: &str) -> bool {
        let names = match &asked.names {
            Names::One(name) => regex_syntax::escape(name),
            Names::AnyOf(pattern) | Names::AllOf(pattern) => at_most(pattern),
        };
        self.may_be_both(Grammar::of_names(&asked.kind), &names, language)
    }

    /// Whether any text is of both, or there was no time to tell.
    fn may_be_both(&self, grammar: Grammar, one: &str, other: &str) -> bool {
        // Each walk may be short, and there can be one for each rule.
        if !(self.still)() {
            return true;
        }
        let mut both = false;
        let ended = walk(grammar, Some(&[one]), &[other], self.still, &mut |met| {
            both = !met.matched.is_empty();
            if both { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        both || ended.is_err()
    }
}

/// Whether a pattern could match a text, whatever its placeholders stand for.
fn may_take(pattern: &Pattern, text: &str) -> bool {
    pattern.placeholders().next().is_some() || pattern.matches_alone(text).unwrap_or(true)
}
