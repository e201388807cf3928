//! A list of rules; the first that matches decides. What rules mean is in `docs/reference/rules.md`; one of them is in [`super::rule`].

use time::OffsetDateTime;

use super::glob::Budget;
use super::index::Index;
use super::pattern::TooComplex;
use super::rule::{Rule, RuleMatch};
use super::{Answer, Question, RuleRef};

/// A list of rules, in order.
#[derive(Debug, Default)]
pub struct Acl {
    rules: Vec<Rule>,
    index: Index,
}

impl Acl {
    /// A list of compiled rules.
    pub fn new(rules: Vec<Rule>) -> Acl {
        Acl { index: Index::from_rules(&rules), rules }
    }

    /// The rules, in order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rules that could match a question, in order, each with its position.
    fn candidates(&self, question: &Question<'_>) -> impl Iterator<Item = (usize, &Rule)> {
        let candidates = self.index.candidates(Some(question.account), Some(question.resource.name()));
        candidates.into_iter().filter_map(|index| Some((index, self.rules.get(index)?)))
    }

    /// Decides a question within a budget of work: the first rule that matches does, even if it grants none of the requested
    /// actions.
    ///
    /// # Errors
    /// As [`Rule::check`].
    pub fn decide(&self, question: &Question<'_>, budget: &mut Budget) -> Result<Answer, TooComplex> {
        let mut until = None;
        for (index, rule) in self.candidates(question) {
            let (begins, ends) = rule.window();
            if ends.is_some_and(|end| question.now >= end) {
                continue;
            }
            match rule.check_match(question, budget)? {
                RuleMatch::Fails(_) => {}
                // It will match once its time comes: what is decided below it holds only until then.
                RuleMatch::Matches if begins.is_some_and(|start| question.now < start) => {
                    until = earliest(until, begins);
                }
                RuleMatch::Matches => {
                    return Ok(Answer::Decided {
                        actions: rule.grants().of(question.actions),
                        by: RuleRef { index, seq: None, id: Some(rule.id()), comment: rule.comment.clone() },
                        until: earliest(until, ends),
                    });
                }
            }
        }
        Ok(Answer::NoMatch { until })
    }

    /// The first rule above this one that matches a question at its moment.
    ///
    /// # Errors
    /// As [`Acl::decide`].
    pub(crate) fn first_above(
        &self,
        number: usize,
        question: &Question<'_>,
        budget: &mut Budget,
    ) -> Result<Option<usize>, TooComplex> {
        for (index, rule) in self.candidates(question).take_while(|(index, _)| *index < number) {
            match rule.check(question, budget)? {
                RuleMatch::Fails(_) => {}
                RuleMatch::Matches => return Ok(Some(index)),
            }
        }
        Ok(None)
    }

    /// The rule that makes the answer to a question hang on the time: the first that matches but for its window, unless one without a
    /// window decides before it. With none, the answer is the same at every moment.
    ///
    /// # Errors
    /// As [`Acl::decide`].
    pub fn hangs_on_time(&self, question: &Question<'_>, budget: &mut Budget) -> Result<TimeDependence, TooComplex> {
        for (index, rule) in self.candidates(question) {
            match (rule.check_match(question, budget)?, rule.window()) {
                (RuleMatch::Fails(_), _) => {}
                (RuleMatch::Matches, (None, None)) => return Ok(TimeDependence::DecidedAlways),
                (RuleMatch::Matches, (Some(_), _) | (_, Some(_))) => return Ok(TimeDependence::On { index }),
            }
        }
        Ok(TimeDependence::NeverDecided)
    }
}

/// Whether the answer to a question hangs on the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeDependence {
    /// A rule without a window decides.
    DecidedAlways,
    /// It hangs on the window of this rule.
    On {
        /// The rule's position in its list, counted from 0.
        index: usize,
    },
    /// No rule decides at any time.
    NeverDecided,
}

/// The earlier of two moments, where `None` is "never".
pub fn earliest(one: Option<OffsetDateTime>, other: Option<OffsetDateTime>) -> Option<OffsetDateTime> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, None) => one,
        (None, other) => other,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use time::Duration;

    use super::*;
    use crate::pattern::LabelValues;
    use crate::rule::RuleText;
    use crate::scope::{Actions, Resource};

    #[test]
    fn an_answer_holds_until_the_next_rule_begins_or_its_own_ends() {
        let now = OffsetDateTime::UNIX_EPOCH;
        let at = |seconds: Option<i64>| seconds.map(|seconds| now + Duration::seconds(seconds));
        let rule = |name: &str, begins: Option<i64>, ends: Option<i64>| {
            let (name, not_before, not_after) = (Some(name.to_owned()), at(begins), at(ends));
            Rule::compile(&RuleText { name, not_before, not_after, ..RuleText::default() }).unwrap()
        };
        for (rules, decided_by, until) in [
            (vec![rule("app", None, None)], Some(0), None),
            (vec![rule("app", None, Some(9))], Some(0), Some(9)),
            (vec![rule("app", Some(5), None), rule("app", None, None)], Some(1), Some(5)),
            (vec![rule("app", Some(5), None), rule("app", None, Some(9))], Some(1), Some(5)),
            (vec![rule("app", Some(9), None), rule("app", None, Some(5))], Some(1), Some(5)),
            (vec![rule("app", Some(9), None), rule("app", Some(5), None)], None, Some(5)),
            (vec![rule("other", Some(1), None), rule("app", Some(0), Some(9))], Some(1), Some(9)),
            // Expired, or about something else: neither will ever decide it.
            (vec![rule("app", None, Some(0)), rule("other", Some(1), Some(2))], None, None),
        ] {
            let question = Question {
                account: "",
                labels: &LabelValues::new(),
                address: None,
                service: "registry",
                resource: &Resource::new("repository", "app").unwrap(),
                actions: &Actions::new(),
                reference: None,
                now,
            };
            let said = match Acl::new(rules).decide(&question, &mut Budget::for_request()).unwrap() {
                Answer::Decided { by, until, .. } => (Some(by.index), until),
                Answer::NoMatch { until } => (None, until),
            };
            assert_eq!(said, (decided_by, at(until)));
        }
    }
}
