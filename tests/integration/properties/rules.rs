//! The rule language on rules, requests and data made at random: nobody gets more than was asked and written.

use std::sync::Arc;

use dockwarden::authn::{Account, Identity};
use policy::acl::Acl;
use policy::explain::{RuleOutcome, explain};
use policy::pattern::{Bindings, Field, FieldValues, LabelValue, LabelValues, Pattern};
use policy::rule::{Rule, RuleText};
use policy::scope::{Action, Actions, Resource, Scope, parse_actions};
use policy::{Answer, Budget, Question};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::TestCaseResult;
use time::OffsetDateTime;

/// Texts that mean something in a glob, in a regular expression, in a template, or nowhere.
const DATA: &[&str] = &[
    "a",
    "ab",
    "victim",
    "*",
    "**",
    "?",
    "?*",
    "a*",
    "[a-z]",
    "[^x]*",
    "\\",
    "\\a",
    "a\\",
    "]",
    "[",
    ".*",
    ".",
    ".+",
    "a|victim",
    "(a)",
    "(",
    ")",
    "a{2}",
    "^",
    "$",
    "^a$",
    "/.*/",
    "/",
    "a/b",
    "-",
    "${account}",
    "${name}",
    "${labels:l}",
    "",
    "\\Q",
    "(?i)A",
    "A",
    "\n",
    "ü",
    "{a,b}",
    "+",
    "x+",
    "\\d",
    "[[:alpha:]]",
];
/// Texts that some of the above would match if they were read as patterns.
const OTHERS: &[&str] = &["a", "b", "victim", "aa", "x", "1", "", "A", "a/b", "ab", "/", "aab", "xx", "name"];

/// One step of a pattern: its text as a glob and as a regular expression, and a text that it matches.
#[derive(Clone, Debug)]
enum Step {
    Plain(&'static str),
    /// `*`, or `.*`.
    Run(&'static str),
    /// A placeholder; the text in the name is the value, or another that must not do.
    Filled(&'static str, Option<&'static str>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => select(&["a", "b", "x", "name"][..]).prop_map(Step::Plain),
        1 => select(&["", "a", "ab"][..]).prop_map(Step::Run),
        3 => (select(&["${account}", "${account:1}", "${labels:l}", "${labels:m}"][..]), proptest::option::of(select(OTHERS)))
            .prop_map(|(placeholder, other)| Step::Filled(placeholder, other)),
    ];
    proptest::collection::vec(step, 1..5)
}

/// What the placeholders of one try stand for.
#[derive(Clone, Debug)]
struct Data {
    account: &'static str,
    caught: &'static str,
    l: Vec<&'static str>,
    m: Vec<&'static str>,
}

fn data() -> impl Strategy<Value = Data> {
    let values = || proptest::collection::vec(select(DATA), 1..3);
    (select(DATA), select(DATA), values(), values()).prop_map(|(account, caught, l, m)| Data { account, caught, l, m })
}

/// How a pattern is written.
#[derive(Clone, Copy, Debug)]
enum Language {
    Glob,
    Regex,
}

impl Language {
    fn whole(self, body: &str) -> String {
        match self {
            Language::Glob => body.to_owned(),
            Language::Regex => format!("/^{body}$/"),
        }
    }

    fn run(self) -> &'static str {
        match self {
            Language::Glob => "*",
            Language::Regex => "[^/]*",
        }
    }

    /// A text that means itself and nothing else, each letter of it made harmless.
    fn quoted(self, text: &str) -> String {
        match self {
            Language::Glob => text.chars().flat_map(|letter| ['\\', letter]).collect(),
            Language::Regex => {
                let letters: String = text.chars().map(|letter| format!("\\x{{{:x}}}", u32::from(letter))).collect();
                format!("(?:{letters})")
            }
        }
    }
}

/// The pattern with these texts in the place of its placeholders, quoted.
fn with_quoted(language: Language, steps: &[Step], data: &Data, l: &str, m: &str) -> Pattern {
    let body: String = steps
        .iter()
        .map(|step| match step {
            Step::Plain(text) => (*text).to_owned(),
            Step::Run(_) => language.run().to_owned(),
            Step::Filled("${account}", _) => language.quoted(data.account),
            Step::Filled("${account:1}", _) => language.quoted(data.caught),
            Step::Filled("${labels:l}", _) => language.quoted(l),
            Step::Filled(..) => language.quoted(m),
        })
        .collect();
    Pattern::compile(&language.whole(&body)).unwrap()
}

/// A template matches exactly what the same pattern with its data quoted does: data is never read as a pattern.
fn data_means_itself(language: Language, steps: &[Step], data: &Data) -> TestCaseResult {
    let body: String = steps
        .iter()
        .map(|step| match step {
            Step::Plain(text) | Step::Filled(text, _) => *text,
            Step::Run(_) => language.run(),
        })
        .collect();
    let subject: String = steps
        .iter()
        .map(|step| match step {
            Step::Plain(text) | Step::Run(text) | Step::Filled(_, Some(text)) => *text,
            Step::Filled("${account}", None) => data.account,
            Step::Filled("${account:1}", None) => data.caught,
            Step::Filled("${labels:l}", None) => data.l[0],
            Step::Filled(..) => data.m[0],
        })
        .collect();
    let literal = |values: &[&str]| values.iter().map(|text| LabelValue::literal(text)).collect::<Vec<_>>();
    let labels = LabelValues::from([("l".to_owned(), literal(&data.l)), ("m".to_owned(), literal(&data.m))]);
    let values = FieldValues { account: data.account, kind: "repository", name: &subject, service: "s" };
    let mut bindings = Bindings::new(values, &labels);
    bindings.capture(Field::Account, 1, data.caught);
    let template = Pattern::compile(&language.whole(&body)).unwrap();
    let found = template.matches(&subject, &bindings).unwrap();
    let nothing = Bindings::new(FieldValues::default(), &labels);
    let expected = data
        .l
        .iter()
        .any(|l| data.m.iter().any(|m| with_quoted(language, steps, data, l, m).matches(&subject, &nothing).unwrap()));
    prop_assert_eq!(found, expected, "{} on {:?}", language.whole(&body), subject);
    Ok(())
}

/// A pattern as rules have it, from pieces that occur in the requests below.
fn pattern() -> impl Strategy<Value = String> {
    let glob = proptest::collection::vec(
        select(&["a", "b", "/", "*", "?", "[a-b]", "${account}", "${labels:l}", "${account:1}", "-"][..]),
        0..4,
    )
    // Between two slashes it would be a regular expression.
    .prop_map(|pieces| pieces.concat().trim_start_matches('/').to_owned());
    let regex = proptest::collection::vec(
        select(&["a", "b", "\\/", ".*", "(a|b)", "[a-z]+", "${account}", "${labels:l}", "${account:1}"][..]),
        1..4,
    )
    .prop_map(|pieces| format!("/^{}$/", pieces.concat()));
    let open = select(&["/a/", "/.*/", "/(.*)/", "/^(.+)@x$/"][..]).prop_map(str::to_owned);
    prop_oneof![4 => glob, 3 => regex, 1 => open]
}

fn actions() -> impl Strategy<Value = Vec<String>> {
    let listed = subsequence(&["*", "pull", "push", "delete", "admin"][..], 0..4);
    prop_oneof![2 => Just(vec!["*"]), 5 => listed].prop_map(|words| words.into_iter().map(str::to_owned).collect())
}

fn rule() -> impl Strategy<Value = RuleText> {
    let field = || proptest::option::weighted(0.4, pattern());
    let ip = proptest::option::weighted(0.2, select(&["10.0.0.0/8", "0.0.0.0/0", "10.1.1.1"][..]));
    let labels = proptest::option::weighted(0.2, pattern());
    // The moments around the one that is asked at: the rule has ended, ends or begins now, or holds.
    let moment = |seconds: &'static [i64]| proptest::option::weighted(0.2, select(seconds).prop_map(from_1970));
    let window = (moment(&[-2, -1, 0, 1]), moment(&[0, 1, 2]));
    let window = window.prop_filter("a rule must not end before it begins", |window| match window {
        (Some(start), Some(end)) => start < end,
        _ => true,
    });
    (field(), field(), field(), ip, labels, actions(), window).prop_map(
        |(account, name, service, ip, label, actions, (not_before, not_after))| RuleText {
            account,
            name,
            service,
            ip: ip.map(str::to_owned),
            labels: label.into_iter().map(|pattern| ("l".to_owned(), pattern)).collect(),
            actions,
            not_before,
            not_after,
            ..RuleText::default()
        },
    )
}

fn from_1970(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap()
}

#[derive(Clone, Debug)]
struct Request {
    identity: Identity,
    address: Option<std::net::IpAddr>,
    service: &'static str,
    resource: Resource,
    actions: Actions,
}

fn request() -> impl Strategy<Value = Request> {
    let labels = proptest::collection::vec(select(&["a", "b", "a*", "*", "?", "a/b"][..]), 0..3);
    let words = subsequence(&["*", "pull", "push", "delete", "admin", "other"][..], 0..5);
    let address = select(&[None, Some([10, 1, 1, 1]), Some([192, 0, 2, 1])][..]);
    let account = select(&["", "a", "b", "ab", "a@x", "*@x", ".*", "*"][..]);
    let name = select(&["a", "b", "ab", "a/b", "a/a", "b/a", "a/b/a", "a-b", "catalog"][..]);
    (account, labels, address, select(&["", "a", "ab"][..]), name, words).prop_map(
        |(account, labels, address, service, name, words)| {
            let labels = labels.iter().map(|text| LabelValue::glob(text).unwrap()).collect();
            Request {
                identity: Identity {
                    account: Account::parse_or_anonymous(account).unwrap(),
                    labels: Arc::new(LabelValues::from([("l".to_owned(), labels)])),
                    ..Identity::default()
                },
                address: address.map(std::net::IpAddr::from),
                service,
                resource: Resource::new("repository", name).unwrap(),
                actions: parse_actions(words),
            }
        },
    )
}

impl Request {
    fn question(&self) -> Question<'_> {
        Question {
            account: self.identity.name(),
            labels: &self.identity.labels,
            address: self.address,
            service: self.service,
            resource: &self.resource,
            actions: &self.actions,
            reference: None,
            now: OffsetDateTime::UNIX_EPOCH,
        }
    }
}

fn acl(rules: &[RuleText]) -> Acl {
    Acl::new(rules.iter().map(|rule| Rule::compile(rule).unwrap_or_else(|problems| panic!("{problems:?}"))).collect())
}

fn granted(acl: &Acl, request: &Request) -> (Actions, Option<usize>) {
    match acl.decide(&request.question(), &mut Budget::for_request()).unwrap() {
        Answer::Decided { actions, by, .. } => (actions, Some(by.index)),
        Answer::NoMatch { .. } => (Actions::new(), None),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn data_never_widens_a_glob(steps in steps(), data in data()) {
        data_means_itself(Language::Glob, &steps, &data)?;
    }

    #[test]
    fn data_never_widens_a_regular_expression(steps in steps(), data in data()) {
        data_means_itself(Language::Regex, &steps, &data)?;
    }

    #[test]
    fn no_more_is_granted_than_was_asked(rules in proptest::collection::vec(rule(), 0..6), request in request()) {
        let acl = acl(&rules);
        let (granted, by) = granted(&acl, &request);
        if !request.actions.contains(&Action::All) {
            prop_assert!(granted.is_subset(&request.actions), "{granted:?} of {:?}", request.actions);
        }
        // And no more than the rule that decided has: `*` is every action that registries know.
        match by {
            None => prop_assert!(granted.is_empty()),
            Some(index) => {
                let listed = &rules[index].actions;
                let may = |action: &Action| listed.iter().any(|word| word == action.as_str())
                    || (*listed == ["*"] && action.is_known() && request.actions.contains(action));
                prop_assert!(granted.iter().all(may), "{granted:?} by {listed:?}");
            }
        }
    }

    #[test]
    fn explain_and_decide_say_the_same(rules in proptest::collection::vec(rule(), 0..6), request in request()) {
        let acl = acl(&rules);
        let by = granted(&acl, &request).1;
        let steps = explain(&acl, &request.question(), &mut Budget::for_request()).unwrap();
        let deciding = steps.iter().find(|step| step.said == RuleOutcome::Decides).map(|step| step.index);
        prop_assert_eq!(deciding, by);
        prop_assert_eq!(steps.len(), by.map_or(rules.len(), |index| index + 1));
    }

    /// A refusal that is put above other rules, whatever it matches, takes away and never gives.
    #[test]
    fn a_refusal_above_never_adds_a_grant(
        rules in proptest::collection::vec(rule(), 1..6),
        refusal in rule(),
        place in any::<proptest::sample::Index>(),
        requests in proptest::collection::vec(request(), 1..8),
    ) {
        let before = acl(&rules);
        let mut more = rules.clone();
        more.insert(place.index(rules.len() + 1), RuleText { actions: Vec::new(), ..refusal });
        let after = acl(&more);
        for request in &requests {
            let (less, more) = (granted(&after, request).0, granted(&before, request).0);
            prop_assert!(less.is_subset(&more), "{less:?} where {more:?} was granted");
            prop_assert!(less.is_empty() || less == more, "a refusal takes all or nothing");
        }
    }

    #[test]
    fn what_is_printed_of_a_scope_is_read_as_the_same_scope(
        text in prop_oneof![
            "[a-z()]{0,12}:[a-z0-9._/:-]{0,24}:[a-z*,_A-Z]{0,24}",
            "(repository|registry|repository\\(plugin\\)):([a-z]{1,8}(:[0-9]{1,5})?/)?[a-z]{1,8}([._-]{1,2}[a-z]{1,4})?(/[a-z]{1,4}){0,3}:(pull|push|delete|\\*|admin|,){0,6}",
            any::<String>(),
        ]
    ) {
        if let Ok(scope) = Scope::parse(&text) {
            prop_assert_eq!(Scope::parse(&scope.to_string()), Ok(scope.clone()));
            // It says no more than the text did.
            prop_assert!(scope.actions.iter().all(|action| text.rsplit(':').next().unwrap().split(',').any(|word| word == action.as_str())));
            prop_assert!(text.contains(&format!(":{}:", scope.resource.name())), "{text} is not {scope}");
        }
    }
}
