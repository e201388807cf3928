//! Accounts that nobody can list: what is said of all of them holds for each, or says for whom it does not.

use std::collections::{BTreeMap, BTreeSet};

use policy::acl::Acl;
use policy::analysis::{Names, Narrow, Symbolic, Unlisted, WhoCan, World, who_can};
use policy::pattern::Pattern;
use policy::rule::RuleText;
use policy::scope::Action;
use time::Duration;

use super::{Dice, NOW, acl, asked, decide, everywhere, grants, labels, rule, world};

fn of(account: &str, rule: RuleText) -> RuleText {
    RuleText { account: Some(account.to_owned()), ..rule }
}

fn with_label(label: &str, pattern: &str, rule: RuleText) -> RuleText {
    RuleText { labels: BTreeMap::from([(label.to_owned(), pattern.to_owned())]), ..rule }
}

/// With alice, who is listed, and anybody else.
fn anybody(list: &Acl) -> World<'_> {
    World { unlisted: Unlisted::Anybody, ..world(list, &[("alice", labels(&[]))]) }
}

fn pulled(rules: &[RuleText], names: Names, narrow: &Narrow) -> WhoCan {
    who_can(&anybody(&acl(rules)), &asked(Action::Pull, names), narrow, &|| true)
}

fn all(rules: &[RuleText]) -> Vec<Symbolic> {
    let found = pulled(rules, Names::One("pub/a".to_owned()), &everywhere());
    assert_eq!(found.undecided, [], "{rules:#?}");
    found.symbolic
}

/// Rules above that refuse some of those people are named beside what is said of all of them.
#[test]
fn whom_rules_above_may_refuse_is_never_told_as_anyone() {
    let refusal = || RuleText::default();
    let from = |ip: &str, rule: RuleText| RuleText { ip: Some(ip.to_owned()), ..rule };
    let above = [
        of("/^tmp-/", refusal()),
        with_label("t", "*", refusal()),
        of("mallory", rule("pub/*", "")),
        from("10.0.0.0/8", refusal()),
        rule("${account}/*", ""),
        rule("${labels:team}/a", ""),
        RuleText { kind: Some("rep*".to_owned()), ..of("*@example.com", refusal()) },
    ];
    let granting = rule("pub/*", "pull");
    for refused in &above {
        let found = all(&[refused.clone(), granting.clone()]);
        let [anyone] = found.as_slice() else { panic!("{refused:#?}: {found:#?}") };
        assert_eq!((&anyone.account, &anyone.way.except), (&None, &BTreeSet::from([0])), "{refused:#?}");
    }
    let rules: Vec<RuleText> = above.iter().cloned().chain([granting.clone()]).collect();
    assert_eq!(all(&rules)[0].way.except, (0..above.len()).collect());
    for of_names in [Names::AnyOf, Names::AllOf] {
        let found = pulled(&rules, of_names(Pattern::compile("pub/*").unwrap()), &everywhere());
        assert_eq!(found.symbolic[0].way.except, (0..above.len()).collect(), "{found:#?}");
    }
    // Whom no rule above decides for is told without exceptions.
    let ended = RuleText { not_after: Some(NOW), ..of("/^tmp-/", refusal()) };
    for other in [
        of("alice", refusal()),
        of("", refusal()),
        of("/^(alice)?$/", refusal()),
        of("mallory", rule("pub/b", "")),
        of("mallory", rule("${account}/*", "")),
        RuleText { kind: Some("registry".to_owned()), ..of("mallory", refusal()) },
        RuleText { service: Some("other".to_owned()), ..of("mallory", refusal()) },
        // Decided alike.
        of("mallory", rule("pub/*", "pull")),
        ended,
    ] {
        let found = all(&[other.clone(), granting.clone()]);
        let anyone = found.iter().find(|anyone| anyone.account.is_none()).unwrap();
        assert_eq!(anyone.way.except, BTreeSet::new(), "{other:#?}");
    }
    // Where the question is narrower, so are the exceptions.
    let until = |seconds| Some(NOW + Duration::seconds(seconds));
    let limited = [
        from("10.0.0.0/8", of("/^tmp-/", refusal())),
        RuleText { not_before: until(60), ..of("/^tmp-/", refusal()) },
        granting,
    ];
    let except = |narrow: &Narrow| {
        let found = pulled(&limited, Names::One("pub/a".to_owned()), narrow);
        found.symbolic[0].way.except.iter().copied().collect::<Vec<_>>()
    };
    assert_eq!(except(&everywhere()), [0, 1]);
    assert_eq!(except(&Narrow { address: "192.0.2.1".parse().ok(), ..everywhere() }), [1]);
    assert_eq!(except(&Narrow { at: Some(NOW), ..everywhere() }), [0]);
}

/// Of what is said of some of them, only those rules are exceptions that can be about the same people.
#[test]
fn exceptions_are_of_those_who_are_told() {
    let from = |ip: &str, rule: RuleText| RuleText { ip: Some(ip.to_owned()), ..rule };
    let tmp = || of("/^tmp-/", RuleText::default());
    for (above, below, except) in [
        (tmp(), of("/^team-/", rule("pub/*", "pull")), false),
        (tmp(), of("/-ci$/", rule("pub/*", "pull")), true),
        (tmp(), of("tmp-x", rule("pub/*", "pull")), true),
        (from("10.0.0.0/8", tmp()), from("10.1.0.0/16", rule("pub/*", "pull")), true),
        (from("10.0.0.0/8", tmp()), from("192.0.2.0/24", rule("pub/*", "pull")), false),
        (of("mallory", RuleText::default()), rule("${account}/*", "pull"), false),
        (of("pub", with_label("t", "*", RuleText::default())), rule("${account}/*", "pull"), true),
        (with_label("t", "a", RuleText::default()), with_label("t", "b", rule("pub/*", "pull")), true),
    ] {
        let found = pulled(&[above.clone(), below.clone()], Names::One("pub/a".to_owned()), &everywhere());
        let told = found.symbolic.iter().any(|told| told.way.except.contains(&0));
        // Where the sample is refused itself, that is said, too.
        let is_open = found.undecided.iter().any(|(_, rules)| rules.contains(&1));
        assert_eq!(told || is_open, except, "{above:#?}{below:#?}{found:#?}");
    }
}

/// Of all names, one rule may decide some and one below it others: what refuses these is above the second only.
#[test]
fn what_refuses_one_of_all_names_is_an_exception_wherever_it_stands() {
    let rules = [rule("pub/a", "pull"), of("mallory", rule("pub/b", "")), rule("pub/*", "pull")];
    let found = pulled(&rules, Names::AllOf(Pattern::compile("/^pub\\/[ab]$/").unwrap()), &everywhere());
    let told: Vec<_> = found.symbolic.iter().map(|told| (told.way.rule, told.way.except.clone())).collect();
    assert_eq!(told, [(0, BTreeSet::from([1])), (2, BTreeSet::from([1]))], "{found:#?}");
    let found = pulled(&rules, Names::AnyOf(Pattern::compile("/^pub\\/[ab]$/").unwrap()), &everywhere());
    assert_eq!(found.symbolic[0].way.except, BTreeSet::new(), "{found:#?}");
}

/// Very many rules above take no walk through names for each pair of them.
#[test]
fn exceptions_among_very_many_rules_are_found_in_time() {
    let mut rules: Vec<RuleText> = (0..400)
        .flat_map(|number| {
            [
                of(&format!("/^tmp{number}-/"), rule("/^p/", if number % 2 == 0 { "" } else { "push" })),
                of(&format!("/^ci{number}-/"), rule("/^pub/", "pull")),
            ]
        })
        .collect();
    rules.push(rule("pub/*", "pull"));
    let began = std::time::Instant::now();
    let found = pulled(&rules, Names::One("pub/a".to_owned()), &everywhere());
    let anyone = found.symbolic.iter().find(|told| told.account.is_none()).unwrap();
    assert_eq!(anyone.way.except.len(), 400);
    assert!(began.elapsed() < std::time::Duration::from_secs(4), "{:?}", began.elapsed());
}

/// As long as it takes without those who cannot be listed.
#[test]
fn ten_thousand_accounts_and_anybody_else_are_looked_at_in_time() {
    let rules: Vec<RuleText> = (0..1000)
        .map(|number| of(&format!("user-{number}"), rule("*/app", "push")))
        .chain((0..200).map(|number| of(&format!("/^x{number}-/"), rule("${labels:t}/*", ""))))
        .chain([rule("${account}/*", "push"), rule(r"/^prod\/.*$/", "pull")])
        .collect();
    let list = acl(&rules);
    let names: Vec<String> = (0..10_000).map(|number| format!("user-{number}")).collect();
    let accounts: Vec<_> = names.iter().map(|name| (name.as_str(), labels(&[]))).collect();
    let world = World { unlisted: Unlisted::Anybody, ..world(&list, &accounts) };
    let began = std::time::Instant::now();
    let found = who_can(&world, &asked(Action::Pull, Names::One("prod/app".to_owned())), &everywhere(), &|| true);
    assert_eq!((found.accounts.len(), found.symbolic.len()), (9_000, 1));
    // The account that is called so, and those of the refusals.
    assert_eq!(found.symbolic[0].way.except, (1000..=1200).collect());
    assert!(began.elapsed() < std::time::Duration::from_secs(2), "{:?}", began.elapsed());
}

/// Whoever is told as anyone is granted it by that rule, or decided for by one of its exceptions.
#[test]
fn what_is_said_of_anyone_holds_for_every_random_account() {
    let mut dice = Dice(0x9E6D_62D0_6F6A_9A9B);
    let people = [
        labels(&[]),
        labels(&[("team", "web"), ("site", "b")]),
        labels(&[("team", "a"), ("site", "ab")]),
        labels(&[("team", "x"), ("site", "a"), ("site", "web")]),
    ];
    let (mut told, mut excepted) = (0, 0);
    for _ in 0..1500 {
        let rules: Vec<RuleText> = (0..2 + dice.below(6)).map(|_| dice.rule()).collect();
        let list = acl(&rules);
        let world = anybody(&list);
        let action = dice.one(&[Action::Pull, Action::Push]);
        let name = dice.one(&["a", "a/b", "web/a", "alice/x", "ab"]);
        let found = who_can(&world, &asked(action.clone(), Names::One(name.to_owned())), &everywhere(), &|| true);
        for other in found.symbolic {
            let rule = &rules[other.way.rule];
            // A tag that is the account's or a label's is another for each.
            if other.account.is_some()
                || !other.labels.is_empty()
                || rule.tag.as_deref().is_some_and(|tag| tag.contains('$'))
            {
                continue;
            }
            for account in ["bob", "web", "a", "b", "zed", "x/y"] {
                for labels in &people {
                    let by = decide(&world, account, labels, &other.way.place, name);
                    let is_excepted = by.is_some_and(|by| other.way.except.contains(&by));
                    let is_granted = grants(by.and_then(|by| world.rules().get(by).copied()), &action);
                    told += 1;
                    excepted += usize::from(is_excepted && !is_granted);
                    assert!(is_granted || is_excepted, "{account} {labels:?} {name} by {by:?}: {other:#?}\n{rules:#?}");
                }
            }
        }
    }
    assert!(told > 1000 && excepted > 100, "{told} {excepted}");
}

/// Whoever is tried is one of those who may: what that one is called, and has, is no condition where others will do.
#[test]
fn what_was_tried_is_never_told_as_a_condition() {
    let any = |text: &str| Names::AnyOf(Pattern::compile(text).unwrap());
    let one = |text: &str| Names::One(text.to_owned());
    let tagged = |tag: &str| RuleText { tag: Some(tag.to_owned()), ..rule("a/app", "pull") };
    let by_name = |rule: RuleText| with_label("t", "${name:1}", rule);
    let groups = || rule(r"/^([a-z]+)\/app$/", "pull");
    let own_tie = |field: &str, pattern: &str| (field.to_owned(), pattern.to_owned());
    for (rule, names, account, labels, ties) in [
        (rule("${labels:t}/*", "pull"), any("*/app"), None, Some("*"), vec![own_tie("name", "${labels:t}/*")]),
        (rule("${account}/*", "pull"), any("*/app"), None, None, vec![own_tie("name", "${account}/*")]),
        (by_name(groups()), any("*/app"), None, Some("${name:1}"), vec![own_tie("labels.t", "${name:1}")]),
        (of("${name:1}", groups()), any("*/app"), Some("${name:1}"), None, vec![own_tie("account", "${name:1}")]),
        (tagged("${labels:t}"), one("a/app"), None, Some("*"), vec![]),
        // Of one name, what it asks for is all that will do.
        (rule("${labels:t}/*", "pull"), one("a/app"), None, Some("a"), vec![]),
        (rule("${account}/*", "pull"), one("a/app"), Some("a"), None, vec![]),
        (by_name(groups()), one("a/app"), None, Some("a"), vec![]),
        (with_label("t", "a", rule("${labels:t}/*", "pull")), one("a/app"), None, Some("a"), vec![]),
        (of("${name:1}", groups()), one("a/app"), Some("a"), None, vec![]),
        // What the rule wants of a label besides says less than the name does.
        (
            with_label("t", "/^a/", rule("${labels:t}/*", "pull")),
            one("a/app"),
            None,
            Some("a"),
            vec![own_tie("name", "${labels:t}/*")],
        ),
        (
            of("/^a/", rule("${account}/*", "pull")),
            one("a/app"),
            Some("a"),
            None,
            vec![own_tie("name", "${account}/*")],
        ),
    ] {
        let told = pulled(std::slice::from_ref(&rule), names, &everywhere());
        assert_eq!(told.undecided, [], "{rule:#?}");
        let [told] = told.symbolic.as_slice() else { panic!("{rule:#?}: {told:#?}") };
        let values: Option<Vec<&str>> = told.labels.get("t").map(|values| values.iter().map(String::as_str).collect());
        assert_eq!(told.account.as_deref(), account, "{rule:#?}");
        assert_eq!(values, labels.map(|value| vec![value]), "{rule:#?}");
        let told: Vec<_> =
            told.way.where_name.iter().map(|tie| own_tie(&tie.field.to_string(), &tie.pattern)).collect();
        assert_eq!(told, ties, "{rule:#?}");
    }
    // What was tried is no value of theirs either, and others than that one may be refused above.
    let rules = [of("/^tmp-/", RuleText::default()), of("${name:1}", groups()), rule("${account}/*", "pull")];
    let found = pulled(&rules, any("*/app"), &everywhere());
    for told in &found.symbolic {
        assert!(told.way.where_name.iter().all(|tie| tie.values.is_empty()), "{told:#?}");
        assert!(told.way.except.contains(&0), "{told:#?}");
    }
    assert!(!found.symbolic.is_empty());
}
