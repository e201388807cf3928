//! Differences between policies, case by case, and that none is missed in very many.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(clippy::panic, reason = "a test fails by panicking")]
#![expect(clippy::indexing_slicing, reason = "a missing row is a failed test")]
#![expect(clippy::disallowed_methods, reason = "a test of how long something takes looks at the clock")]

mod blind;
mod samples;
mod spare;
mod strangers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration as Span, Instant};

use policy::acl::Acl;
use policy::analysis::{
    Below, Difference, Findings, Names, Narrow, Place, Shift, Side, Term, Unlisted, Wanted, World, deciding, diff,
    what_can, who_can,
};
use policy::pattern::{Field, LabelValue, LabelValues, Pattern};
use policy::rule::{Grants, Rule, RuleText};
use policy::scope::{Action, Actions, OURS, Reference, Resource};
use policy::{Answer, Budget, Question};
use time::{Duration, OffsetDateTime};

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn rule(name: &str, actions: &str) -> RuleText {
    RuleText { name: Some(name.to_owned()), actions: listed(actions), ..RuleText::default() }
}

fn listed(actions: &str) -> Vec<String> {
    actions.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn acl(rules: &[RuleText]) -> Acl {
    Acl::new(rules.iter().map(|rule| Rule::compile(rule).unwrap()).collect())
}

fn labels(pairs: &[(&str, &str)]) -> Arc<LabelValues> {
    let mut labels = LabelValues::new();
    for (label, value) in pairs {
        labels.entry((*label).to_owned()).or_default().push(LabelValue::literal(value));
    }
    Arc::new(labels)
}

fn world<'p>(acl: &'p Acl, accounts: &[(&str, Arc<LabelValues>)]) -> World<'p> {
    World {
        lists: vec![acl],
        accounts: accounts.iter().map(|(name, labels)| ((*name).to_owned(), Some(Arc::clone(labels)))).collect(),
        terms: BTreeMap::new(),
        services: vec!["registry".to_owned()],
        known_services: Vec::new(),
        unlisted: Unlisted::Nobody,
        below: Below::Nothing,
    }
}

fn alice() -> Vec<(&'static str, Arc<LabelValues>)> {
    vec![("alice", labels(&[]))]
}

fn everywhere() -> Narrow {
    Narrow { service: None, address: None, at: None, from: NOW }
}

fn found(old: &World<'_>, new: &World<'_>) -> Findings {
    diff(old, new, &everywhere(), &|| true, &mut |_| {})
}

fn between(old: &[RuleText], new: &[RuleText]) -> Findings {
    let (old, new) = (acl(old), acl(new));
    found(&world(&old, &alice()), &world(&new, &alice()))
}

/// Rows in short: what is gained with `+` and lost with `-`, for a name, by which rules.
fn told(findings: &Findings) -> Vec<String> {
    let number = |rule: Option<usize>| rule.map_or("-".to_owned(), |rule| rule.to_string());
    let row = |row: &Difference| {
        let sign = match row.shift {
            Shift::Granted => '+',
            Shift::Withheld => '-',
        };
        format!("{sign}{} {} {}>{}", row.action, row.name, number(row.old), number(row.new))
    };
    let mut rows: Vec<String> = findings.differences.iter().map(row).collect();
    rows.sort();
    rows
}

#[test]
fn check_13_a_long_list_does_not_differ_from_itself() {
    let rules: Vec<RuleText> = (0..10_000).map(|number| rule(&format!("team-{number}/*"), "pull")).collect();
    let (old, new) = (acl(&rules), acl(&rules));
    let began = Instant::now();
    let findings = found(&world(&old, &alice()), &world(&new, &alice()));
    assert!(findings.differences.is_empty() && findings.undecided.is_empty());
    assert!(began.elapsed() < Span::from_secs(1), "{:?}", began.elapsed());
}

#[test]
fn check_14_a_star_that_takes_slashes_is_told_with_a_shortest_name() {
    let findings = between(&[rule("team/*", "pull")], &[rule("/^team\\/.*$/", "pull")]);
    assert_eq!(told(&findings), ["+pull team/a/a ->0"]);
    assert_eq!(findings.undecided, []);
    assert_eq!((findings.differences[0].count, &*findings.differences[0].first), (1, &["alice".to_owned()][..]));
}

#[test]
fn check_15_two_stars_are_one() {
    let findings = between(&[rule("team/**", "pull")], &[rule("team/*", "pull")]);
    assert!(findings.differences.is_empty() && findings.undecided.is_empty(), "{findings:?}");
}

#[test]
fn check_17_a_smaller_network_is_told_from_the_half_that_it_lost() {
    let from = |ip: &str| RuleText { ip: Some(ip.to_owned()), ..rule("app", "pull") };
    let findings = between(&[from("10.0.0.0/8")], &[from("10.0.0.0/9")]);
    assert_eq!(told(&findings), ["-pull app 0>-"]);
    let address = findings.differences[0].place.address.unwrap();
    assert!("10.128.0.0/9".parse::<ipnet::IpNet>().unwrap().contains(&address), "{address}");
}

#[test]
fn check_18_a_tag_out_of_the_name_is_undecided_or_shown() {
    let tagged = |tag: &str| RuleText { tag: Some(tag.to_owned()), ..rule("/^app-([a-z]+)$/", "pull") };
    let findings = between(&[tagged("${name:1}")], &[tagged("${name:1}-x")]);
    assert!(!findings.differences.is_empty() || !findings.undecided.is_empty());
    assert!(findings.undecided.iter().any(|undecided| undecided.rules.contains(&(Side::Old, 0))), "{findings:?}");
}

#[test]
fn check_19_rules_that_blow_up_end_in_time_and_are_named() {
    let rules: Vec<RuleText> = (0..30)
        .map(|number| {
            let letter = char::from(b'a' + number % 26);
            rule(&format!("/.*{letter}{letter}{number}.*/"), if number % 2 == 0 { "pull" } else { "push" })
        })
        .collect();
    let mut other = rules.clone();
    other.reverse();
    let (old, new) = (acl(&rules), acl(&other));
    let began = Instant::now();
    let first = std::cell::Cell::new(None);
    let findings = diff(
        &world(&old, &alice()),
        &world(&new, &alice()),
        &everywhere(),
        &|| began.elapsed() < Span::from_secs(2),
        &mut |_| first.set(first.get().or(Some(began.elapsed()))),
    );
    assert!(began.elapsed() < Span::from_secs(10), "{:?}", began.elapsed());
    assert!(first.get().unwrap() < Span::from_secs(1));
    assert!(findings.undecided.iter().any(|undecided| undecided.rules.len() > 10), "{findings:?}");
}

#[test]
fn check_20_a_glob_that_settles_on_the_first_fit_is_right_or_undecided() {
    let findings = between(&[rule("*[^x]*b", "pull")], &[rule("/^[^/]*[^x][^/]*b$/", "pull")]);
    // `a/b` is matched by the expression, and by the glob it is not: names after the first are tried for it.
    assert_eq!(told(&findings), ["+pull a/b ->0"]);
    assert!(!findings.undecided.is_empty(), "{findings:?}");
    // One that may match is not passed over for being next to the one that does.
    let without = [rule("zz", "push"), rule("/.*/", "pull")];
    let with = [rule("zz", "push"), rule("*[^x]*b", ""), rule("/.*/", "pull")];
    assert!(told(&between(&with, &without)).iter().any(|row| row.starts_with("+pull ") && row.ends_with(" 1>1")));
    // Two places for one value of several: the same one in both.
    let (twice, plain) = (acl(&[rule("${labels:t}/${labels:t}", "pull")]), acl(&[rule("/^(a|b)\\/(a|b)$/", "pull")]));
    let people = [("alice", labels(&[("t", "a"), ("t", "b")]))];
    let findings = found(&world(&twice, &people), &world(&plain, &people));
    assert_eq!((told(&findings).len(), &*findings.undecided), (1, &[][..]), "{findings:?}");
}

#[test]
fn check_21_the_star_is_a_word_of_its_own() {
    let findings = between(&[rule("app", "pull")], &[rule("app", "*,pull")]);
    assert_eq!(told(&findings), ["+* app 0>0"]);
}

#[test]
fn users_labels_services_windows_and_tags_differ_too() {
    let rules = [
        RuleText { labels: BTreeMap::from([("team".to_owned(), "web".to_owned())]), ..rule("${account}/*", "push") },
        rule("public/*", "pull"),
    ];
    let list = acl(&rules);
    let old = world(&list, &[("alice", labels(&[])), ("bob", labels(&[]))]);
    let new = world(&list, &[("alice", labels(&[("team", "web")])), ("carol", labels(&[]))]);
    let findings = found(&old, &new);
    assert_eq!(
        told(&findings),
        ["+pull public/0 ->1", "+push alice/0 ->0", "-pull public/0 1>-"].map(|row| row.replace("/0", "/a"))
    );
    let more = World { services: vec!["registry".to_owned(), "mirror".to_owned()], ..old.clone() };
    let findings = found(&old, &more);
    assert_eq!(told(&findings), ["+pull public/a ->1"]);
    assert_eq!((&*findings.differences[0].place.service, findings.differences[0].count), ("mirror", 2));
    let until = |seconds| RuleText { not_after: Some(NOW + Duration::seconds(seconds)), ..rule("app", "pull") };
    let findings = between(&[until(60)], &[until(90)]);
    assert_eq!(told(&findings), ["+pull app ->0"]);
    assert_eq!(findings.differences[0].place.now, NOW + Duration::seconds(60));
    // What is past is nobody's question any more.
    assert!(between(&[until(-60)], &[until(-90)]).differences.is_empty());
    let tag = |tag: &str| RuleText { tag: Some(tag.to_owned()), ..rule("app", "pull") };
    let findings = between(&[tag("v*")], &[tag("v?*")]);
    assert_eq!(told(&findings), ["-pull app 0>-"]);
    assert_eq!(findings.differences[0].place.reference, Reference::parse("v"));
}

#[test]
fn accounts_that_cannot_be_listed_are_shown_with_labels_that_will_do() {
    let team = |actions: &str| rule("${labels:team}/*", actions);
    let (old, new) = (acl(&[team("pull")]), acl(&[team("pull,push")]));
    let anybody = |list| World { unlisted: Unlisted::Anybody, ..world(list, &[]) };
    let findings = found(&anybody(&old), &anybody(&new));
    assert_eq!(told(&findings), ["+push some-value/a 0>0"]);
    assert!(findings.differences[0].labels.as_ref().unwrap().contains_key("team"));
    // Somebody may have labels that were not tried.
    assert_eq!(findings.undecided.len(), 1);
    let decided = |list| World { below: Below::SomebodyElse(0), ..world(list, &alice()) };
    let (old, new) = (acl(&[rule("a", "pull")]), acl(&[rule("b", "pull")]));
    let findings = found(&decided(&old), &decided(&new));
    assert_eq!((told(&findings).len(), findings.undecided.len()), (0, 1), "{findings:?}");
}

/// The rule that decides, by the ordinary decision.
fn decide(world: &World<'_>, account: &str, labels: &LabelValues, place: &Place, name: &str) -> Option<usize> {
    let question = Question {
        account,
        labels,
        address: place.address,
        service: &place.service,
        resource: &match place.kind.as_str() {
            OURS => Resource::ours(name).unwrap(),
            kind => Resource::new(kind, name).unwrap(),
        },
        actions: &Actions::from([Action::Pull]),
        reference: place.reference.as_ref(),
        now: place.now,
    };
    match world.lists[0].decide(&question, &mut Budget::for_request()).unwrap() {
        Answer::Decided { by, .. } => Some(by.index),
        Answer::NoMatch { .. } => None,
    }
}

/// What a rule says of a word that is asked for by itself.
fn grants(rule: Option<&Rule>, word: &Action) -> bool {
    rule.is_some_and(|rule| rule.grants().of(&Actions::from([word.clone()])).contains(word))
}

fn words<'r>(rules: impl IntoIterator<Item = &'r Rule>) -> Actions {
    let listed = |rule: &Rule| match rule.grants() {
        Grants::All => Actions::new(),
        Grants::Listed(listed) => listed.clone(),
    };
    rules.into_iter().flat_map(listed).chain([Action::All, Action::Pull, Action::Push, Action::Delete]).collect()
}

/// A generator of numbers that is the same on every machine (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit).unwrap()).unwrap()
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    /// One that windows tell apart.
    fn moment(&mut self) -> OffsetDateTime {
        NOW + Duration::seconds(i64::try_from(self.below(4)).unwrap() * 4)
    }

    fn rule(&mut self) -> RuleText {
        let maybe =
            |dice: &mut Dice, of: &[&str], odds: usize| (dice.below(odds) == 0).then(|| dice.one(of).to_owned());
        let mut rule = RuleText {
            name: maybe(self, &NAMES, 1).filter(|_| self.below(8) > 0),
            account: maybe(self, &["alice", "b*", "/^(al|bo)/", "/^([a-z]+)$/", "", "${labels:team}"], 3),
            kind: maybe(self, &["repository", "registry", "*y", "/^r/"], 6),
            service: maybe(self, &["registry", "m*", "/^(m.*)$/"], 6),
            ip: maybe(self, &["10.0.0.0/8", "10.1.0.0/16", "::/0", "2001:db8::/32", "0.0.0.0/0"], 5),
            tag: maybe(self, &["v*", "latest", "${account}", "/^v[0-9]$/", "${labels:team}*", "${name:1}"], 7),
            reference: maybe(self, &["tag", "digest"], 9),
            actions: listed(self.one(&["pull", "pull,push", "", "*", "push", "*,pull", "delete", "scan,pull"])),
            ..RuleText::default()
        };
        if self.below(4) == 0 {
            let (label, pattern) = self.one(&[("team", "web"), ("team", "*"), ("site", "/^b/"), ("site", "${name:1}")]);
            rule.labels.insert(label.to_owned(), pattern.to_owned());
        }
        if self.below(8) == 0 {
            rule.not_after = Some(NOW + Duration::seconds(10));
        }
        if self.below(8) == 0 {
            rule.not_before = Some(NOW + Duration::seconds(5));
        }
        rule
    }
}

const NAMES: [&str; 20] = [
    "a",
    "a/*",
    "*",
    "*/b",
    "a/b",
    "?/*",
    "[^x]*",
    "*[^x]*b",
    "a/**/b",
    "/^a/",
    "/b$/",
    "/^(a|b)\\/(.*)$/",
    "/(?i)AB/",
    "${account}/*",
    "${labels:team}/*",
    "${labels:team}/${labels:team}",
    "/^${labels:site}(\\/.*)?$/",
    "${account:1}-*",
    "/\\ba\\b/",
    "${service:1}/*",
];

/// Whether what really differs is among what was told, or named as undecided.
fn is_told(findings: &Findings, old: Option<usize>, new: Option<usize>, word: &Action) -> bool {
    let row = findings.differences.iter().any(|row| (row.old, row.new, &row.action) == (old, new, word));
    let is_one = |(side, rule): &(Side, usize)| match side {
        Side::Old => old == Some(*rule),
        Side::New => new == Some(*rule),
    };
    row || findings.undecided.iter().any(|undecided| undecided.rules.iter().any(is_one))
}

/// `DOCKWARDEN_EDITS` is how many pairs of policies are compared, with 250 questions each.
#[test]
fn check_16_no_difference_that_a_random_question_shows_is_missed() {
    let edits = std::env::var("DOCKWARDEN_EDITS").ok().and_then(|edits| edits.parse().ok()).unwrap_or(240);
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let accounts = [
        ("", labels(&[])),
        ("alice", labels(&[("team", "web"), ("team", "a")])),
        ("bob", labels(&[("team", "a"), ("site", "b"), ("site", "a")])),
        ("web", labels(&[("site", "ab")])),
    ];
    let names = [
        "a", "b", "ab", "a/b", "a/x/b", "web/a", "a/a", "alice/x", "alice-b", "bob/a/b", "web/web", "b/x", "x", "m/a",
        "mirror/b",
    ];
    let tags = ["v1", "latest", "alice", "web2", "a", "v"];
    let addresses = ["10.1.2.3", "10.2.0.1", "192.0.2.1", "2001:db8::1", "fe80::1"];
    let (mut compared, mut differing, mut undecided, mut rows) = (0, 0, 0, 0);
    for _ in 0..edits {
        let length = 1 + dice.below(6);
        let rules: Vec<RuleText> = (0..length).map(|_| dice.rule()).collect();
        let mut changed = rules.clone();
        for _ in 0..=dice.below(2) {
            let place = dice.below(changed.len().max(1));
            match dice.below(5) {
                0 if changed.len() > 1 => _ = changed.remove(place),
                1 => changed.insert(place, dice.rule()),
                2 if changed.len() > 1 => changed.swap(0, place),
                3 => changed[place].actions = dice.rule().actions,
                _ => changed[place].name = dice.rule().name,
            }
        }
        let (old, new) = (acl(&rules), acl(&changed));
        let services = |more: bool| -> Vec<String> {
            ["registry", "mirror"].into_iter().take(if more { 2 } else { 1 }).map(str::to_owned).collect()
        };
        let more = dice.below(10) > 0;
        let mut before = World { services: services(more), ..world(&old, &accounts) };
        let mut after = World { services: services(more || dice.below(2) == 0), ..world(&new, &accounts) };
        if dice.below(10) == 0 {
            after.accounts.insert("bob".to_owned(), Some(labels(&[("team", "web")])));
        }
        if dice.below(20) == 0 {
            after.accounts.remove("web");
        }
        for world in [&mut before, &mut after] {
            if dice.below(8) == 0 {
                let mut moment = || (dice.below(2) == 0).then(|| dice.moment());
                let term = Term { not_before: moment(), not_after: moment() };
                world.terms.insert(dice.one(&accounts).0.to_owned(), term);
            }
        }
        let findings = found(&before, &after);
        rows += findings.differences.len();
        undecided += usize::from(!findings.undecided.is_empty());
        for _ in 0..250 {
            let account = dice.one(&accounts).0;
            let reference = match dice.below(5) {
                0 => Reference::parse(&format!("sha256:{}", "a".repeat(64))),
                1 | 2 => Reference::parse(dice.one(&tags)),
                _ => None,
            };
            let place = Place {
                kind: dice.one(&["repository", "repository", "registry", "other"]).to_owned(),
                service: dice.one(&["registry", "mirror"]).to_owned(),
                address: (dice.below(3) > 0).then(|| dice.one(&addresses).parse().unwrap()),
                reference,
                now: dice.moment(),
            };
            let name = dice.one(&names);
            let by = |world: &World<'_>| match world.accounts.get(account).cloned().flatten() {
                Some(labels) if world.services.contains(&place.service) && is_in(world, account, place.now) => {
                    decide(world, account, &labels, &place, name)
                }
                Some(_) | None => None,
            };
            let (was, is) = (by(&before), by(&after));
            for word in words(before.rules().into_iter().chain(after.rules())) {
                compared += 1;
                if grants(was.and_then(|rule| before.rules().get(rule).copied()), &word)
                    == grants(is.and_then(|rule| after.rules().get(rule).copied()), &word)
                {
                    continue;
                }
                differing += 1;
                assert!(
                    is_told(&findings, was, is, &word),
                    "{word} for {account:?} on {name} at {place:?}: {was:?} > {is:?}\n{rules:#?}\n{changed:#?}\n{findings:#?}"
                );
            }
        }
    }
    let summary = format!("{compared} compared, {differing} differ, {rows} rows, {undecided} of {edits} undecided");
    println!("{summary}");
    assert!(differing * 100 > compared && undecided * 2 < edits && rows > edits, "{summary}");
}

fn is_in(world: &World<'_>, account: &str, now: OffsetDateTime) -> bool {
    let Term { not_before, not_after } = world.terms.get(account).copied().unwrap_or_default();
    not_before.is_none_or(|start| start <= now) && not_after.is_none_or(|end| now < end)
}

/// An account that comes later, or leaves, is told at that moment.
#[test]
fn accounts_have_rights_only_while_they_may_come_in() {
    let list = acl(&[rule("web/*", "pull")]);
    let (day, week) = (NOW + Duration::days(1), NOW + Duration::days(7));
    let of = |not_before, not_after| World {
        terms: [("alice".to_owned(), Term { not_before, not_after })].into(),
        ..world(&list, &alice())
    };
    let always = world(&list, &alice());
    let told = |old: &World<'_>, new: &World<'_>| {
        let found = diff(old, new, &everywhere(), &|| true, &mut |_| {});
        assert!(found.undecided.is_empty(), "{found:?}");
        found.differences.iter().map(|row| (row.shift, row.place.now)).collect::<Vec<_>>()
    };
    for (old, new, rows) in [
        (&always, &of(None, Some(week)), vec![(Shift::Withheld, week)]),
        (&of(None, Some(day)), &of(None, Some(week)), vec![(Shift::Granted, day)]),
        (&of(Some(week), None), &always, vec![(Shift::Granted, NOW)]),
        (&of(Some(day), Some(week)), &of(Some(day), Some(week)), vec![]),
        // What is past changes nothing.
        (&of(Some(NOW - Duration::days(1)), None), &always, vec![]),
        (&of(None, Some(NOW)), &of(None, Some(NOW - Duration::days(1))), vec![]),
    ] {
        assert_eq!(told(old, new), rows, "{:?} {:?}", old.terms, new.terms);
    }
    let can = |world: &World<'_>, at| {
        let narrow = Narrow { at, ..everywhere() };
        let pulled = asked(Action::Pull, Names::One("web/app".to_owned()));
        let who = who_can(world, &pulled, &narrow, &|| true).accounts;
        let what = what_can(world, "alice", &labels(&[]), &narrow, &|| true).rules;
        assert_eq!(who.is_empty(), what.is_empty(), "{:?} at {at:?}", world.terms);
        who.first().map(|(_, ways)| (ways.always, ways.ways[0].place.now))
    };
    for (not_before, not_after, at, expected) in [
        (None, None, None, Some((true, NOW))),
        (None, Some(week), None, Some((false, NOW))),
        (Some(day), None, None, Some((false, day))),
        (Some(day), Some(week), Some(day), Some((true, day))),
        (Some(day), Some(week), Some(week), None),
        (None, Some(NOW), None, None),
    ] {
        assert_eq!(can(&of(not_before, not_after), at), expected, "{not_before:?} {not_after:?} {at:?}");
    }
    let gone = of(None, Some(NOW));
    assert_eq!(deciding(&gone, &everywhere(), &|| true), Some(BTreeSet::new()));
    assert_eq!(deciding(&of(Some(week), None), &everywhere(), &|| true), Some(BTreeSet::from([0])));
}

fn asked(action: Action, names: Names) -> Wanted {
    Wanted { action, kind: "repository".to_owned(), names }
}

#[test]
fn check_11_who_can_is_what_the_decision_says_of_every_account() {
    let mut dice = Dice(0x2545_F491_4F6C_DD1D);
    let accounts = [
        ("", labels(&[])),
        ("alice", labels(&[("team", "web"), ("team", "a")])),
        ("bob", labels(&[("team", "a"), ("site", "b"), ("site", "a")])),
        ("web", labels(&[("site", "ab")])),
    ];
    let (mut some, mut all_of) = (0, 0);
    for _ in 0..400 {
        let rules: Vec<RuleText> = (0..1 + dice.below(6)).map(|_| dice.rule()).collect();
        let list = acl(&rules);
        let world = world(&list, &accounts);
        let action = dice.one(&[Action::Pull, Action::Push]);
        let name = dice.one(&["a", "a/b", "web/a", "alice/x", "ab"]);
        let narrow = Narrow { at: Some(NOW), address: "10.1.2.3".parse().ok(), ..everywhere() };
        let found = who_can(&world, &asked(action.clone(), Names::One(name.to_owned())), &narrow, &|| true);
        // Any kind of reference will do, and a token request is one of those.
        for (account, labels) in &accounts {
            let place = Place {
                kind: "repository".to_owned(),
                service: "registry".to_owned(),
                address: narrow.address,
                reference: None,
                now: NOW,
            };
            let by = decide(&world, account, labels, &place, name);
            let told = found.accounts.iter().find(|(told, _)| told == account);
            if grants(by.and_then(|by| world.rules().get(by).copied()), &action) {
                some += 1;
                let ways = &told.unwrap_or_else(|| panic!("{account} lacks {action} {name}\n{rules:#?}")).1;
                assert!(ways.ways.iter().any(|way| Some(way.rule) == by), "{account} {action} {name}\n{rules:#?}");
            } else {
                assert!(told.is_none_or(|(_, ways)| !ways.always), "{account} {action} {name}\n{rules:#?}");
            }
            for way in told.iter().flat_map(|(_, ways)| &ways.ways) {
                let by = decide(&world, account, labels, &way.place, name);
                assert!(by == Some(way.rule) && grants(Some(world.rules()[way.rule]), &action));
            }
        }
        // Of a pattern, those who may do it to all names may do it to any.
        let names = |of: fn(Pattern) -> Names| of(Pattern::compile("a/*").unwrap());
        let any = who_can(&world, &asked(action.clone(), names(Names::AnyOf)), &narrow, &|| true);
        let all = who_can(&world, &asked(action.clone(), names(Names::AllOf)), &narrow, &|| true);
        for (account, _) in &all.accounts {
            all_of += 1;
            assert!(any.accounts.iter().any(|(other, _)| other == account), "{account}");
            for name in ["a/a", "a/b", "a/x-y"] {
                let found = who_can(&world, &asked(action.clone(), Names::One(name.to_owned())), &narrow, &|| true);
                assert!(found.accounts.iter().any(|(other, _)| other == account), "{account} {name}\n{rules:#?}");
            }
        }
    }
    assert!(some > 200 && all_of > 50, "{some} {all_of}");
}

#[test]
fn check_12_who_cannot_be_listed_is_told_by_labels() {
    let mut limited = rule("${labels:t}/*", "push");
    limited.ip = Some("10.0.0.0/8".to_owned());
    limited.not_after = Some(NOW + Duration::days(1));
    let list = acl(&[limited, rule("${account}/*", "pull")]);
    let world = World { unlisted: Unlisted::Anybody, ..world(&list, &[]) };
    let found = who_can(&world, &asked(Action::Push, Names::One("prod/app".to_owned())), &everywhere(), &|| true);
    assert_eq!(found.undecided, []);
    let [only] = found.symbolic.as_slice() else { panic!("{found:?}") };
    assert_eq!(only.labels, BTreeMap::from([("t".to_owned(), BTreeSet::from(["prod".to_owned()]))]));
    assert_eq!((only.way.rule, &only.account), (0, &None));
    let found = who_can(&world, &asked(Action::Pull, Names::One("prod/app".to_owned())), &everywhere(), &|| true);
    assert_eq!(found.symbolic.iter().map(|other| other.account.as_deref()).collect::<Vec<_>>(), [Some("prod")]);
}

#[test]
fn what_an_account_can_is_each_rule_that_decides_for_it() {
    let refused = rule("team/secret", "");
    let list = acl(&[refused, rule("team/*", "pull"), rule("team/app", "push"), rule("${account}/*", "*")]);
    let world = world(&list, &alice());
    let found = what_can(&world, "alice", &labels(&[]), &everywhere(), &|| true);
    let told: Vec<(usize, &str, &str)> =
        found.rules.iter().map(|can| (can.way.rule, can.name.as_str(), can.way.example.as_str())).collect();
    assert_eq!(told, [(0, "team/secret", "team/secret"), (1, "team/*", "team/a"), (3, "alice/*", "alice/a")]);
    assert_eq!(found.rules[1].way.except, BTreeSet::from([0]));
}

#[test]
fn whoever_decides_below_and_whoever_cannot_be_listed_is_never_passed_over() {
    // What was refused is decided by somebody else from now on: it may be granted.
    let (refusal, nothing) = (acl(&[rule("a", "")]), acl(&[]));
    let below = |list| World { below: Below::SomebodyElse(0), ..world(list, &alice()) };
    let findings = found(&below(&refusal), &below(&nothing));
    assert_eq!((told(&findings).len(), findings.undecided.len()), (0, 1), "{findings:?}");
    assert_eq!(findings.undecided[0].rules, [(Side::Old, 0)]);
    // The same rules and users, and a directory besides.
    let list = acl(&[rule("a", "pull")]);
    let (closed, open) = (world(&list, &alice()), World { unlisted: Unlisted::Anybody, ..world(&list, &alice()) });
    let findings = found(&closed, &open);
    assert_eq!(told(&findings), ["+pull a ->0"]);
    assert!(findings.differences[0].labels.is_some() && findings.differences[0].count == 0);
    // Rules of a second list are counted through.
    let (own, second) = (acl(&[rule("zz", "pull")]), acl(&[rule("a", "push")]));
    let lists = |below| World { lists: vec![&own, below], ..world(&own, &alice()) };
    assert_eq!(told(&found(&lists(&list), &lists(&second))), ["+push a 1>1", "-pull a 1>1"]);
    // Both kinds of accounts have a row of their own.
    let more = acl(&[rule("a", "pull,push")]);
    let findings = found(&open, &World { unlisted: Unlisted::Anybody, ..world(&more, &alice()) });
    assert_eq!(told(&findings), ["+push a 0>0", "+push a 0>0"]);
    let shown = |row: &Difference| (row.labels.is_some(), row.count);
    assert_eq!(findings.differences.iter().map(shown).collect::<BTreeSet<_>>(), [(true, 0), (false, 1)].into());
    // A name that holds the type is told from others by it, whatever the patterns of types say.
    let (old, new) = (acl(&[rule("${type}", "pull")]), acl(&[rule("${type}", "push")]));
    assert!(!found(&world(&old, &alice()), &world(&new, &alice())).undecided.is_empty());
}

#[test]
fn who_can_finds_rights_that_hang_on_a_tag_which_the_name_gives() {
    let tagged = RuleText { tag: Some("${name:1}".to_owned()), ..rule("/^app-([a-z]+)$/", "push") };
    let list = acl(&[tagged]);
    let found = |name: &str| {
        let wanted = asked(Action::Push, Names::One(name.to_owned()));
        who_can(&world(&list, &alice()), &wanted, &everywhere(), &|| true).accounts
    };
    let [(account, ways)] = &*found("app-web") else { panic!("nobody, or somebody else") };
    assert_eq!((account.as_str(), ways.always), ("alice", false));
    assert_eq!(ways.ways[0].place.reference, Reference::parse("web"));
    assert!(found("app").is_empty());
    // Expressions that begin with plain letters need not be about names that do.
    for (expression, name) in [("/^a|b/", "xb"), ("/^ab*$/", "a"), ("/^(?i)A/", "a")] {
        let list = acl(&[rule(expression, "push")]);
        let wanted = asked(Action::Push, Names::One(name.to_owned()));
        assert_eq!(
            who_can(&world(&list, &alice()), &wanted, &everywhere(), &|| true).accounts.len(),
            1,
            "{expression}"
        );
    }
}

/// A rule that both have decides for other services or types than those that were tried, and hides a changed one, or does not.
#[test]
fn what_was_not_tried_is_said_for_rules_that_did_not_change() {
    let common = RuleText { service: Some("${account}*".to_owned()), ..rule("a", "") };
    let typed = RuleText { kind: Some("${account}".to_owned()), ..rule("a", "") };
    for (above, why) in [(common, "token.services is open"), (typed, "types that were not tried")] {
        let (old, new) = (acl(&[above.clone(), rule("a", "pull")]), acl(&[above, rule("a", "push")]));
        let open = |list| World { services: Vec::new(), ..world(list, &alice()) };
        let findings = found(&open(&old), &open(&new));
        let told = |undecided: &policy::analysis::Undecided| {
            undecided.why.starts_with(why) && undecided.rules == [(Side::Old, 0), (Side::New, 0)]
        };
        assert!(findings.undecided.iter().any(told), "{why}: {findings:?}");
        let (wide, open) = (open(&old), asked(Action::Pull, Names::One("a".to_owned())));
        let can = what_can(&wide, "alice", &labels(&[]), &everywhere(), &|| true);
        assert!(can.undecided.iter().any(|(told, rules)| told.starts_with(why) && rules.contains(&0)), "{why}");
        let who = who_can(&wide, &open, &everywhere(), &|| true);
        assert_eq!(who.undecided.is_empty(), why.starts_with("types"), "{why}: the type is known");
    }
}

#[test]
fn exceptions_are_those_rules_that_decide_some_of_the_names() {
    let from = |ip: &str, rule: RuleText| RuleText { ip: Some(ip.to_owned()), ..rule };
    let apart = (0..50).map(|number| rule(&format!("/^(x|y){number}$/"), ""));
    let mut rules: Vec<RuleText> = apart.collect();
    rules.extend([
        from("10.0.0.0/8", rule("team/a*", "")),
        rule("team/b", "delete"),
        rule("team/b", "pull"),
        rule("team/*", "pull"),
    ]);
    let list = acl(&rules);
    let world = world(&list, &alice());
    let except = |names: Names| -> Vec<(usize, BTreeSet<usize>)> {
        let found = who_can(&world, &asked(Action::Pull, names), &everywhere(), &|| true);
        found.accounts[0].1.ways.iter().map(|way| (way.rule, way.except.clone())).collect()
    };
    let pattern = |text: &str| Names::AnyOf(Pattern::compile(text).unwrap());
    let app = asked(Action::Pull, Names::One("team/app".to_owned()));
    assert!(!who_can(&world, &app, &everywhere(), &|| true).accounts[0].1.always, "not from 10.0.0.0/8");
    assert_eq!(except(Names::One("team/app".to_owned())), [(53, BTreeSet::from([50]))]);
    assert_eq!(except(Names::One("team/c".to_owned())), [(53, BTreeSet::new())]);
    assert_eq!(except(pattern("team/*")), [(53, BTreeSet::from([50, 51]))]);
    assert_eq!(except(pattern("team/c*")), [(53, BTreeSet::new())]);
    let can = what_can(&world, "alice", &labels(&[]), &everywhere(), &|| true);
    let last = can.rules.iter().find(|can| can.kind == "any" && can.way.rule == 53).unwrap();
    assert_eq!(last.way.except, BTreeSet::from([50, 51]));
}

/// Accounts differ in what is theirs alone; a change that is not about that is looked for once.
#[test]
fn one_change_for_many_accounts_is_one_search() {
    let own = (0..2000).map(|number| rule(&format!("home-{number}/${{account}}/*"), "push"));
    let rules: Vec<RuleText> = own.chain([rule("${account}/*", "*"), rule("public/*", "pull")]).collect();
    let mut changed = rules.clone();
    changed[2001].actions = listed("pull,push");
    let (old, new) = (acl(&rules), acl(&changed));
    let names: Vec<String> = (0..100).map(|number| format!("user-{number}")).chain(["public".to_owned()]).collect();
    let accounts: Vec<(&str, Arc<LabelValues>)> = names.iter().map(|name| (name.as_str(), labels(&[]))).collect();
    let began = Instant::now();
    let findings = found(&world(&old, &accounts), &world(&new, &accounts));
    assert!(began.elapsed() < Span::from_secs(4), "{:?}", began.elapsed());
    // What is `public`'s own is decided above for that account.
    assert_eq!((told(&findings), findings.differences[0].count), (vec!["+push public/a 2001>2001".to_owned()], 100));
}

/// Where the time is not enough for all accounts, the difference that concerns each of them is told.
#[test]
fn a_difference_for_everybody_is_told_before_everybody_was_looked_at() {
    let names: Vec<String> = (0..2_000).map(|number| format!("user{number}")).collect();
    let accounts: Vec<(&str, Arc<LabelValues>)> = names.iter().map(|name| (name.as_str(), labels(&[]))).collect();
    let mut rules: Vec<RuleText> =
        (0..1_000).map(|number| rule(&format!("p{number}/${{account}}/*"), "pull")).collect();
    let old = acl(&rules);
    rules.push(rule("*", "pull"));
    let new = acl(&rules);
    let looks = std::cell::Cell::new(0);
    let still = || {
        looks.set(looks.get() + 1);
        looks.get() < 1_000
    };
    let found = diff(&world(&old, &accounts), &world(&new, &accounts), &everywhere(), &still, &mut |_| {});
    assert_eq!(found.differences.first().map(|row| (row.old, row.new)), Some((None, Some(1_000))));
    assert!(found.undecided.iter().any(|open| open.why == "the time was not enough"), "{:?}", found.undecided);
}

#[test]
fn ten_thousand_accounts_are_looked_at_in_time() {
    let rules: Vec<RuleText> = (0..1000)
        .map(|number| RuleText { account: Some(format!("user-{number}")), ..rule("*/app", "push") })
        .chain([rule("${account}/*", "push"), rule("/^prod\\/.*$/", "pull")])
        .collect();
    let list = acl(&rules);
    let names: Vec<String> = (0..10_000).map(|number| format!("user-{number}")).collect();
    let accounts: Vec<(&str, Arc<LabelValues>)> = names.iter().map(|name| (name.as_str(), labels(&[]))).collect();
    let world = world(&list, &accounts);
    let began = Instant::now();
    let found = who_can(&world, &asked(Action::Push, Names::One("prod/app".to_owned())), &everywhere(), &|| true);
    assert_eq!(found.accounts.len(), 1000);
    assert!(began.elapsed() < Span::from_secs(2), "{:?}", began.elapsed());
}
