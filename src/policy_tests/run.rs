//! Tests are asked of the rules that a server decides by, one after the other.

use std::sync::Arc;
use std::time::Duration;

use policy::acl::TimeDependence;
use policy::explain::{ComparedRule, RuleOutcome, explain};
use policy::pattern::TooComplex;
use policy::rule::MatchField;
use policy::scope::{Action, Actions};
use policy::{Answer, Budget, Question, RuleRef};
use time::OffsetDateTime;

use super::{Test, Tests};
use crate::access::{Chain, Subject};
use crate::authz::InUse;
use crate::identity::Identity;

/// The most rules that are named as near misses of one test.
const MOST_MISSES: usize = 5;

/// What came of one test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is as promised.
    Holds,
    /// Something else is granted.
    Differs,
    /// That is granted, and another rule than the promised one decided.
    OtherRule,
    /// The answer hangs on the time, and the test does not say at which.
    NeedsMoment {
        /// What has an end or a beginning.
        what: String,
    },
    /// The rules of this source, or the directory, have not been read yet.
    Waits {
        /// Its section.
        source: &'static str,
    },
    /// No rule matches, and this source decides then, which is not asked.
    Undecided {
        /// Its section.
        source: &'static str,
    },
    /// Deciding it would take more work than one request may take: the server would answer 503.
    TooComplex,
    /// The tests before it took all the time there is for them.
    NotReached,
}

/// One test with what came of it.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What came of it.
    pub outcome: Outcome,
    /// What is granted.
    pub granted: Actions,
    /// The source and the rule that decided.
    pub by: Option<(&'static str, RuleRef)>,
    /// Why nothing is granted, whatever the rules say.
    pub closed: Option<String>,
    /// Rules that were passed over and would have brought what was promised, each with the field that differs.
    pub misses: Vec<NearMiss>,
}

/// A rule that would have brought what was promised, but for a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearMiss {
    /// The source.
    pub source: &'static str,
    /// The rule's position there.
    pub index: usize,
    /// Its own number, if the source numbers rules.
    pub seq: Option<i64>,
    /// Its comment.
    pub comment: Option<String>,
    /// The first field that differs.
    pub field: MatchField,
    /// What the rule wants there.
    pub wanted: String,
    /// What the question has.
    pub found: String,
}

/// All tests with what came of them, in their order.
#[derive(Debug, Default)]
pub struct Run {
    /// The tests.
    pub tests: Tests,
    /// What came of each.
    pub verdicts: Vec<Verdict>,
}

impl Run {
    /// Each test with what came of it.
    pub fn iter(&self) -> impl Iterator<Item = (&Test, &Verdict)> {
        self.tests.iter().zip(&self.verdicts)
    }

    /// Those that do not hold. What nobody can tell yet is not among them.
    pub fn failed(&self) -> impl Iterator<Item = (&Test, &Verdict)> {
        self.iter().filter(|(_, verdict)| match verdict.outcome {
            Outcome::Holds | Outcome::Waits { .. } => false,
            Outcome::Differs
            | Outcome::OtherRule
            | Outcome::NeedsMoment { .. }
            | Outcome::Undecided { .. }
            | Outcome::TooComplex
            | Outcome::NotReached => true,
        })
    }
}

/// Asks all tests of what the sources decide by, for at most so long.
pub fn run(tests: &Tests, chain: &Chain, sources: &[(&'static str, InUse)], most: Duration) -> Run {
    let began = crate::clock::now();
    let verdicts = tests.iter().map(|test| match began.elapsed() < most {
        true => verdict(test, chain, sources),
        false => Verdict::of(Outcome::NotReached),
    });
    Run { verdicts: verdicts.collect(), tests: Arc::clone(tests) }
}

impl Verdict {
    fn of(outcome: Outcome) -> Verdict {
        Verdict { outcome, granted: Actions::new(), by: None, closed: None, misses: Vec::new() }
    }
}

/// What the rules say, and which of them.
enum Decided {
    By(&'static str, Actions, RuleRef),
    ByNone,
    Otherwise(Outcome),
}

fn verdict(test: &Test, chain: &Chain, sources: &[(&'static str, InUse)]) -> Verdict {
    let (identity, mut closed) = match who(test, chain) {
        Ok(found) => found,
        Err(outcome) => return Verdict::of(outcome),
    };
    let standing = &identity.standing;
    if test.at.is_none() && closed.is_none() && (standing.not_before.is_some() || standing.not_after.is_some()) {
        return Verdict::of(Outcome::NeedsMoment { what: format!("the account \"{}\"", test.asker()) });
    }
    // Without a moment, the answer is the same at every one.
    let now = test.at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    if let Err(why) = standing.check(now) {
        closed = Some(format!("{why}: nobody can log in with it"));
    }
    let question = question(test, &identity, now);
    let (mut granted, by) = match decide(test, &question, sources) {
        Ok(Decided::By(source, granted, rule)) => (granted, Some((source, rule))),
        Ok(Decided::ByNone) => (Actions::new(), None),
        // Whoever is let in by nobody is granted nothing, whatever others would decide.
        Ok(Decided::Otherwise(_)) if closed.is_some() => (Actions::new(), None),
        Ok(Decided::Otherwise(outcome)) => return Verdict::of(outcome),
        Err(TooComplex) => return Verdict::of(Outcome::TooComplex),
    };
    if closed.is_some() {
        granted.clear();
    }
    let is_right_rule = test.rule.as_deref().is_none_or(|wanted| {
        by.as_ref().and_then(|(_, rule)| rule.comment.as_deref()).is_some_and(|comment| comment == wanted)
    });
    let outcome = match (granted == *test.want, is_right_rule) {
        (false, _) => Outcome::Differs,
        (true, false) => Outcome::OtherRule,
        (true, true) => Outcome::Holds,
    };
    let misses = match outcome {
        Outcome::Differs | Outcome::OtherRule if closed.is_none() => misses(test, &question, &granted, sources),
        Outcome::Differs
        | Outcome::Holds
        | Outcome::OtherRule
        | Outcome::NeedsMoment { .. }
        | Outcome::Waits { .. }
        | Outcome::Undecided { .. }
        | Outcome::TooComplex
        | Outcome::NotReached => Vec::new(),
    };
    Verdict { outcome, granted, by, closed, misses }
}

/// Who asks, and why nothing is granted whatever the rules say, if so.
pub(super) fn who(test: &Test, chain: &Chain) -> Result<(Identity, Option<String>), Outcome> {
    let nobody =
        || (Identity::default(), Some("nobody may come in without an account: the server answers 401".to_owned()));
    let (identity, closed) = match (chain.subject(&test.account), &test.labels) {
        (Ok(Some(Subject::Listed(identity) | Subject::Unlisted(identity))), _) => (identity, None),
        (Ok(None), Some(_)) => (Identity::default(), None),
        (Ok(None), None) => nobody(),
        // With labels of the test's own, nothing is asked of the directory.
        (Err(_), Some(_)) => (Identity { account: test.account.clone(), ..Identity::default() }, None),
        (Err(_), None) => return Err(Outcome::Waits { source: crate::directory::NAME }),
    };
    Ok(match &test.labels {
        None => (identity, closed),
        Some(labels) => (Identity { labels: Arc::clone(labels), ..identity }, closed),
    })
}

/// The question of a test, as an account and at a moment.
pub(super) fn question<'a>(test: &'a Test, who: &'a Identity, now: OffsetDateTime) -> Question<'a> {
    Question {
        account: who.name(),
        labels: &who.labels,
        address: test.address,
        service: &test.service,
        resource: &test.scope.resource,
        actions: &test.scope.actions,
        reference: test.reference(),
        now,
    }
}

fn decide(test: &Test, question: &Question<'_>, sources: &[(&'static str, InUse)]) -> Result<Decided, TooComplex> {
    let mut budget = Budget::for_request();
    for (source, in_use) in sources {
        let answer = match in_use {
            InUse::Unread => return Ok(Decided::Otherwise(Outcome::Waits { source })),
            InUse::Elsewhere => return Ok(Decided::Otherwise(Outcome::Undecided { source })),
            InUse::Policy(policy) => policy.decide(question, &mut budget)?,
            InUse::Rules { acl, seqs } => {
                if test.at.is_none() {
                    match acl.hangs_on_time(question, &mut Budget::for_request())? {
                        TimeDependence::DecidedAlways | TimeDependence::NeverDecided => {}
                        TimeDependence::On { index } => {
                            let comment = acl.rules().get(index).and_then(|rule| rule.comment());
                            let what = named(source, index, seqs.get(index).copied().flatten(), comment);
                            return Ok(Decided::Otherwise(Outcome::NeedsMoment { what }));
                        }
                    }
                }
                match acl.decide(question, &mut budget)? {
                    Answer::Decided { actions, mut by, until } => {
                        by.seq = seqs.get(by.index).copied().flatten();
                        Answer::Decided { actions, by, until }
                    }
                    none @ Answer::NoMatch { .. } => none,
                }
            }
        };
        match answer {
            Answer::Decided { actions, by, .. } => return Ok(Decided::By(source, actions, by)),
            Answer::NoMatch { .. } => {}
        }
    }
    Ok(Decided::ByNone)
}

/// A rule as the log and `explain` name it.
pub(crate) fn named(source: &str, index: usize, seq: Option<i64>, comment: Option<&str>) -> String {
    let number = match seq {
        Some(seq) => format!("seq {seq}"),
        None => index.to_string(),
    };
    let comment = comment.map(|comment| format!(" # {}", crate::shown::printable(comment))).unwrap_or_default();
    format!("{source}[{number}]{comment}")
}

/// The rules before the one that decided that would have brought what is missing, or that the test names.
fn misses(test: &Test, question: &Question<'_>, granted: &Actions, sources: &[(&'static str, InUse)]) -> Vec<NearMiss> {
    let missing: Vec<&Action> = test.want.difference(granted).collect();
    let mut found = Vec::new();
    let mut budget = Budget::for_request();
    for (source, in_use) in sources {
        let InUse::Rules { acl, seqs } = in_use else { continue };
        let Ok(steps) = explain(acl, question, &mut budget) else { return found };
        for ComparedRule { index, comment, said, id: _ } in steps {
            let RuleOutcome::Differs { field, wanted, found: value } = said else { return found };
            let is_promised = test.rule.is_some() && comment.as_deref() == test.rule.as_deref();
            let would_bring = acl.rules().get(index).is_some_and(|rule| {
                let grants = rule.grants().of(question.actions);
                !missing.is_empty() && missing.iter().all(|action| grants.contains(*action))
            });
            if is_promised || would_bring {
                let seq = seqs.get(index).copied().flatten();
                let value = value.text().to_owned();
                found.push(NearMiss { source, index, seq, comment, field, wanted, found: value });
                if found.len() == MOST_MISSES {
                    return found;
                }
            }
        }
    }
    found
}
