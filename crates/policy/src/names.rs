//! Many names at once: what a list of rules says of the repositories of one registry, for one account and one action.
//!
//! Deciding on a name alone takes some microseconds, and a registry can have a hundred thousand of them. But most of a rule has nothing to
//! do with the name: [`Acl::for_names`] compares that once, and leaves of each rule what the name decides. Where that goes by the
//! parts of the name (`/^groups\/([^\/]+)\/.+$/` and a label that is `${name:1}`), it is compared part by part; whatever else a rule
//! says is compared as always. So it leaves out no rule that could match, and the answer is that of [`Acl::decide`].

mod between;

use std::collections::{BTreeSet, HashMap, HashSet};

pub use self::between::order;
use crate::acl::Acl;
use crate::glob::Budget;
use crate::pattern::{Field, FieldValues, LabelValue, PathShape, Pattern, Placeholder, TooComplex};
use crate::rule::{Rule, RuleMatch};
use crate::scope::{Action, Actions, Resource};
use crate::{Answer, Question};

/// Who asks about many names, and for what: a question without its resource.
pub type AboutNames<'a> = Question<'a>;

/// What a list of rules says of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A rule decides, and grants the action.
    Granted,
    /// A rule decides, and does not.
    Withheld,
    /// No rule matches.
    NoMatch,
}

impl Verdict {
    fn from_answer(answer: &Answer, action: &Action) -> Verdict {
        match answer {
            Answer::Decided { actions, .. } if actions.contains(action) => Verdict::Granted,
            Answer::Decided { .. } => Verdict::Withheld,
            Answer::NoMatch { .. } => Verdict::NoMatch,
        }
    }
}

/// A list of rules with what names decide of it, for one question about many of them.
pub struct ForNames<'r> {
    acl: &'r Acl,
    question: AboutNames<'r>,
    action: &'r Action,
    left: Vec<Left<'r>>,
    /// What of `left` can match a name with this first part.
    by_first: HashMap<&'r str, Vec<usize>>,
    /// The same for all other first parts.
    others: Vec<usize>,
}

/// What is left of a rule.
struct Left<'r> {
    verdict: Verdict,
    when: When<'r>,
}

/// What a rule asks of a name: its pattern, and those of the labels, by label.
type OfName<'r> = (Option<&'r str>, Vec<(&'r str, &'r str)>);

/// When it matches.
enum When<'r> {
    /// Whatever the name is.
    Always,
    /// Where the parts of the name are these, and some of them one of these texts.
    Parts { shape: &'r PathShape, labels: Vec<(usize, BTreeSet<&'r str>)> },
    /// Where the rule matches, which only names that begin so can; any, where that is not known.
    Compared { rule: &'r Rule, beginnings: Option<Vec<String>> },
}

impl Acl {
    /// What names decide of these rules, where everything else is as in this question; its resource says the type, and its one action
    /// is the one that is asked about.
    ///
    /// # Errors
    /// As [`Rule::check`].
    pub fn for_names<'r>(
        &'r self,
        question: AboutNames<'r>,
        action: &'r Action,
        budget: &mut Budget,
    ) -> Result<ForNames<'r>, TooComplex> {
        let mut left: Vec<Left<'r>> = Vec::new();
        let asked = Actions::from([action.clone()]);
        let mut seen: HashSet<OfName<'r>> = HashSet::new();
        for rule in self.rules() {
            let (begins, ends) = rule.window();
            let is_off =
                ends.is_some_and(|end| question.now >= end) || begins.is_some_and(|start| question.now < start);
            if is_off || !rule.fits_beside_names(&question, budget)? {
                continue;
            }
            let depends: Vec<(&str, &Pattern)> = rule.labels_by_name().collect();
            // Of two with the same conditions, the second never decides.
            if rule.names_by_itself() {
                let name = rule.pattern(Field::Name).map(Pattern::text);
                let labels = depends.iter().map(|(label, pattern)| (*label, pattern.text())).collect();
                if !seen.insert((name, labels)) {
                    continue;
                }
            }
            let verdict = match rule.grants().of(&asked).contains(action) {
                true => Verdict::Granted,
                false => Verdict::Withheld,
            };
            let when = when(rule, &depends, &question);
            let ends_here = matches!(when, When::Always);
            left.push(Left { verdict, when });
            if ends_here {
                break;
            }
        }
        let mut filter = ForNames { acl: self, question, action, left, by_first: HashMap::new(), others: Vec::new() };
        filter.sort_out();
        Ok(filter)
    }
}

/// When a rule matches a name that matches everything else in it.
fn when<'r>(rule: &'r Rule, depends: &[(&'r str, &'r Pattern)], question: &AboutNames<'r>) -> When<'r> {
    let compared = || {
        let values = FieldValues {
            account: question.account,
            kind: question.resource.kind(),
            name: "",
            service: question.service,
        };
        let beginnings = rule.pattern(Field::Name).and_then(|pattern| pattern.beginnings(&values, question.labels));
        When::Compared { rule, beginnings }
    };
    if !rule.names_by_itself() {
        return compared();
    }
    let Some(pattern) = rule.pattern(Field::Name) else {
        return if depends.is_empty() { When::Always } else { compared() };
    };
    let Some(shape) = pattern.path_shape() else { return compared() };
    if shape.is_any() && depends.is_empty() {
        return When::Always;
    }
    let one_of = |(label, pattern): &(&'r str, &'r Pattern)| {
        let part = match pattern.only_placeholder()? {
            Placeholder::Capture(Field::Name, group) => shape.part_of_group(*group)?,
            Placeholder::Capture(..) | Placeholder::Value(_) | Placeholder::Label(_) => return None,
        };
        let values = question.labels.get(*label).map(Vec::as_slice).unwrap_or_default();
        Some((part, values.iter().map(LabelValue::text).collect::<BTreeSet<&str>>()))
    };
    match depends.iter().map(one_of).collect::<Option<Vec<_>>>() {
        Some(labels) => When::Parts { shape, labels },
        None => compared(),
    }
}

impl<'r> ForNames<'r> {
    /// Notes which rules can match a name, by its first part.
    fn sort_out(&mut self) {
        let mut firsts: HashSet<&'r str> = HashSet::new();
        for left in &self.left {
            if let When::Parts { shape, .. } = left.when {
                firsts.extend(shape.firsts().into_iter().flatten());
            }
        }
        let can_be = |left: &Left<'r>, first: Option<&str>| match left.when {
            When::Always | When::Compared { .. } => true,
            When::Parts { shape, .. } => shape.firsts().is_none_or(|mut own| own.any(|own| Some(own) == first)),
        };
        let of = |first: Option<&str>| {
            let can = self.left.iter().enumerate().filter(|(_, left)| can_be(left, first));
            can.map(|(at, _)| at).collect::<Vec<usize>>()
        };
        self.by_first = firsts.into_iter().map(|first| (first, of(Some(first)))).collect();
        self.others = of(None);
    }

    /// What the rules say of this name.
    ///
    /// # Errors
    /// As [`Rule::check`].
    pub fn verdict(&self, name: &str, budget: &mut Budget) -> Result<Verdict, TooComplex> {
        budget.take(1)?;
        if !is_path(name) {
            return self.decide(name, budget);
        }
        let first = name.split('/').next().unwrap_or_default();
        for at in self.by_first.get(first).unwrap_or(&self.others) {
            let Some(left) = self.left.get(*at) else { continue };
            let matches = match &left.when {
                When::Always => true,
                When::Parts { shape, labels } => {
                    shape.matches(name)
                        && labels
                            .iter()
                            .all(|(part, values)| name.split('/').nth(*part).is_some_and(|part| values.contains(part)))
                }
                When::Compared { rule, beginnings } => {
                    let begins = |all: &Vec<String>| all.iter().any(|own| name.starts_with(own.as_str()));
                    let can = beginnings.as_ref().is_none_or(begins);
                    can && self.compare(rule, name, budget)?
                }
            };
            if matches {
                return Ok(left.verdict);
            }
        }
        Ok(Verdict::NoMatch)
    }

    fn compare(&self, rule: &Rule, name: &str, budget: &mut Budget) -> Result<bool, TooComplex> {
        let Ok(resource) = Resource::new(self.question.resource.kind(), name) else { return Ok(false) };
        match rule.check(&Question { resource: &resource, ..self.question }, budget)? {
            RuleMatch::Matches => Ok(true),
            RuleMatch::Fails(_) => Ok(false),
        }
    }

    /// As without all this.
    fn decide(&self, name: &str, budget: &mut Budget) -> Result<Verdict, TooComplex> {
        let Ok(resource) = Resource::new(self.question.resource.kind(), name) else { return Ok(Verdict::NoMatch) };
        let actions = Actions::from([self.action.clone()]);
        let question = Question { resource: &resource, actions: &actions, ..self.question };
        Ok(Verdict::from_answer(&self.acl.decide(&question, budget)?, self.action))
    }
}

/// Whether a name consists of parts, none of them empty, of visible characters of ASCII: what [`PathShape`] is about.
pub fn is_path(name: &str) -> bool {
    let mut before = b'/';
    for byte in name.bytes() {
        if !byte.is_ascii_graphic() || (byte == b'/' && before == b'/') {
            return false;
        }
        before = byte;
    }
    before != b'/'
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use proptest::prelude::{Strategy, any};
    use proptest::sample::{select, subsequence};
    use time::{Duration, OffsetDateTime};

    use super::*;
    use crate::pattern::LabelValues;
    use crate::rule::RuleText;

    const NAMES: [&str; 14] = [
        "/^users\\/([^\\/]+)\\/.+$/",
        "/^(users|apps)\\/([^\\/]*)\\//",
        "/^(users|apps)\\/[^\\/]+$/",
        "/^(.*)\\/x$/",
        "/^users/",
        "/./",
        "/^.*$/",
        "/(?i)^USERS\\/x/",
        "/^([a-z]+)\\//",
        "${account}/*",
        "users/${labels:uid}/*",
        "users/[^x]*",
        "users/x",
        "/^${labels:uid}\\//",
    ];
    const LABELS: [&str; 5] = ["${name:1}", "${name:2}", "x", "${name}", "a${name:1}"];
    const ACCOUNTS: [&str; 4] = ["ann", "/^(a)/", "${name:1}", "/^${name:1}$/"];

    fn rule() -> impl Strategy<Value = RuleText> {
        let conditions = (
            proptest::option::of(select(&NAMES[..])),
            proptest::option::of(select(&LABELS[..])),
            proptest::option::of(select(&ACCOUNTS[..])),
            proptest::option::weighted(0.1, select(&["10.0.0.0/8", "192.0.2.0/24"][..])),
        );
        (conditions, select(&["pull", "push", "*", ""][..]), 0_u8..12, any::<bool>()).prop_map(
            |((name, label, account, ip), action, time, tagged)| {
                let text = |one: &str| one.to_owned();
                let now = OffsetDateTime::UNIX_EPOCH;
                RuleText {
                    name: name.map(text),
                    account: account.map(text),
                    ip: ip.map(text),
                    labels: label.map(|pattern| ("uid".to_owned(), pattern.to_owned())).into_iter().collect(),
                    actions: Some(action).filter(|action| !action.is_empty()).map(text).into_iter().collect(),
                    not_before: (time == 0).then_some(now + Duration::HOUR),
                    not_after: (time == 1).then_some(now),
                    reference: (time == 2 && tagged).then(|| "tag".to_owned()),
                    ..RuleText::default()
                }
            },
        )
    }

    /// A rule that goes by the parts of names: what names are passed over for.
    fn rule_by_parts() -> impl Strategy<Value = RuleText> {
        const NAMES: [&str; 7] = [
            "/^users\\/([^\\/]+)\\/.+$/",
            "/^(users|apps)\\/([^\\/]*)\\//",
            "/^(users|apps)\\/([^\\/]+)$/",
            "/^([^\\/]+)\\/([^\\/]+)\\/x$/",
            "/./",
            "users/${labels:uid}*",
            "apps/*",
        ];
        let conditions =
            (select(&NAMES[..]), proptest::option::of(select(&LABELS[..3])), select(&["pull", "pull", "push"][..]));
        conditions.prop_map(|(name, label, action)| RuleText {
            name: Some(name.to_owned()),
            labels: label.map(|pattern| ("uid".to_owned(), pattern.to_owned())).into_iter().collect(),
            actions: vec![action.to_owned()],
            ..RuleText::default()
        })
    }

    /// Has somebody with these labels ask about names, whom these rules are for.
    fn asked(rules: &[RuleText], uids: Vec<&str>, account: &str, look: impl FnOnce(&ForNames<'_>, &mut Budget)) {
        let acl = Acl::new(rules.iter().map(|rule| Rule::compile(rule).unwrap()).collect());
        let uids: Vec<LabelValue> = uids.into_iter().map(LabelValue::literal).collect();
        let labels = LabelValues::from([("uid".to_owned(), uids)]);
        let (resource, actions) = (Resource::new("repository", "any").unwrap(), Actions::from([Action::Pull]));
        let question = Question {
            account,
            labels: &labels,
            address: Some([10, 1, 1, 1].into()),
            service: "reg",
            resource: &resource,
            actions: &actions,
            reference: None,
            now: OffsetDateTime::UNIX_EPOCH,
        };
        let budget = &mut Budget::for_request();
        look(&acl.for_names(question, &Action::Pull, budget).unwrap(), budget);
    }

    proptest::proptest! {
        #[test]
        fn many_names_are_decided_as_each_by_itself(
            rules in proptest::collection::vec(rule(), 0..7),
            uids in subsequence(vec!["x", "ann", "users", "a", "10"], 0..5),
            account in select(&["ann", "x", ""][..]),
        ) {
            asked(&rules, uids, account, |filter, budget| {
                for name in [
                    "users", "users/x", "users/x/y", "users/ann/y/z", "users/x-y/z", "usersx/x/y", "apps/x", "apps/x/y", "apps/10/x",
                    "x", "x/y", "ann/y", "ann/x/y", "a/users/x/y", "10/x",
                ] {
                    let expected = filter.decide(name, budget).unwrap();
                    assert_eq!(filter.verdict(name, budget).unwrap(), expected, "{name}: {rules:#?}");
                }
            });
        }

        #[test]
        fn what_is_passed_over_grants_nothing(
            rules in proptest::collection::vec(proptest::prop_oneof![1 => rule(), 3 => rule_by_parts()], 0..5),
            uids in subsequence(vec!["x", "ann", "users", "a", "10"], 0..5),
            account in select(&["ann", "x", ""][..]),
            // Those that the list holds of all that could stand there.
            names in subsequence(all_names(), 1..70),
        ) {
            asked(&rules, uids, account, |filter, budget| {
                let granted: Vec<bool> =
                    names.iter().map(|name| filter.verdict(name, budget).unwrap() == Verdict::Granted).collect();
                for (from, first) in names.iter().enumerate() {
                    for (to, last) in names.iter().enumerate().skip(from) {
                        let passed_over = filter.grants_none(first, last, budget).unwrap();
                        let one = granted.get(from..=to).unwrap().contains(&true);
                        assert!(!(passed_over && one), "{first} to {last}: {rules:#?}");
                        // Of one name, the parts say all.
                        let is_compared = filter.left.iter().any(|left| matches!(left.when, When::Compared { .. }));
                        assert!(passed_over || one || from != to || is_compared, "{first}: {rules:#?}");
                    }
                }
            });
        }
    }

    /// All names of up to three of some parts, in their order.
    fn all_names() -> Vec<String> {
        const PARTS: [&str; 6] = ["a", "ann", "apps", "users", "users-x", "x"];
        let below = |above: &[String]| -> Vec<String> {
            above.iter().flat_map(|above| PARTS.map(|part| format!("{above}/{part}"))).collect()
        };
        let one = PARTS.map(str::to_owned).to_vec();
        let two = below(&one);
        let mut all = [one, below(&two), two].concat();
        all.sort_by(|one, other| order(one, other));
        all
    }

    /// Otherwise a hundred thousand names would take seconds.
    #[test]
    fn rules_that_go_by_the_parts_of_a_name_are_compared_by_them() {
        for (pattern, by_parts) in [
            ("/^users\\/([^\\/]+)\\/.+$/", true),
            ("/^(users|groups|apps)\\/[^\\/]+\\/.+$/", true),
            ("/^(users|groups|apps)\\//", true),
            ("/./", true),
            ("/^lib\\/[^\\/]+$/", true),
            ("/^lib/", false),
            ("/^lib\\/[a-z]+$/", false),
            ("/lib\\//", false),
            ("lib/*", false),
        ] {
            assert_eq!(Pattern::compile(pattern).unwrap().path_shape().is_some(), by_parts, "{pattern}");
        }
    }
}
