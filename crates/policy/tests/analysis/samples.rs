//! Differences that only a name made of the account's labels shows, and accounts that nobody can list.

use std::collections::BTreeMap;

use policy::acl::Acl;
use policy::analysis::{Below, Findings, Names, Shift, Side, Unlisted, World, what_can, who_can};
use policy::pattern::{LabelValue, Pattern};
use policy::rule::{MatchField, RuleText};
use policy::scope::{Action, words};

use super::{acl, asked, everywhere, found, labels, rule};

fn with_label(label: &str, pattern: &str, rule: RuleText) -> RuleText {
    RuleText { labels: BTreeMap::from([(label.to_owned(), pattern.to_owned())]), ..rule }
}

fn one_account<'p>(acl: &'p Acl, pairs: &[(&str, &str)], unlisted: Unlisted) -> World<'p> {
    World {
        lists: vec![acl],
        accounts: BTreeMap::from([("alice".to_owned(), Some(labels(pairs)))]),
        terms: BTreeMap::new(),
        services: vec!["registry".to_owned()],
        known_services: Vec::new(),
        unlisted,
        below: Below::Nothing,
    }
}

/// `+alice g/20/0` for what somebody gains, with `-` for what they lose.
fn signed(findings: &Findings) -> Vec<String> {
    let rows = findings.differences.iter().map(|row| {
        let sign = match row.shift {
            Shift::Granted => '+',
            Shift::Withheld => '-',
        };
        let labels: Vec<String> = row
            .labels
            .iter()
            .flat_map(|labels| labels.iter())
            .map(|(label, values)| {
                let values: Vec<&str> = values.iter().map(LabelValue::text).collect();
                format!(" {label}={}", values.join(","))
            })
            .collect();
        format!("{sign}{} {}{}", row.account, row.name, labels.concat())
    });
    let mut rows: Vec<String> = rows.collect();
    rows.sort();
    rows
}

fn group_rules() -> Vec<RuleText> {
    let mine = with_label("gid", "${name:1}", rule(r"/^g\/([^\/]+)\/.+$/", "pull"));
    vec![mine, rule(r"/^g\//", ""), rule("e/*", "pull")]
}

/// An unchanged rule that holds a label against a piece of the name matches other names for other labels.
#[test]
fn another_value_of_a_label_that_is_held_against_the_name_is_told() {
    let list = acl(&group_rules());
    let (old, new) = (
        one_account(&list, &[("gid", "10")], Unlisted::Nobody),
        one_account(&list, &[("gid", "20")], Unlisted::Nobody),
    );
    let findings = found(&old, &new);
    assert_eq!(signed(&findings), ["+alice g/20/a", "-alice g/10/a"], "{findings:?}");
    // There may be more of them.
    assert_eq!(findings.undecided.len(), 1, "{findings:?}");
    for side in [(Side::Old, 0), (Side::New, 0)] {
        assert!(findings.undecided[0].rules.contains(&side), "{findings:?}");
    }
    // A piece of a label's value, and the whole name.
    let within = with_label("team", "t-${name:1}-x", rule(r"/^p\/([a-z]+)$/", "pull"));
    let whole = with_label("repo", "${name}", rule(r"/./", "push"));
    for (rule, label, before, after, rows) in [
        (&within, "team", "t-ab-x", "t-cd-x", ["+alice p/cd", "-alice p/ab"]),
        (&whole, "repo", "some/app", "other", ["+alice other", "-alice some/app"]),
    ] {
        let list = acl(std::slice::from_ref(rule));
        let side = |value| one_account(&list, &[(label, value)], Unlisted::Nobody);
        assert_eq!(signed(&found(&side(before), &side(after))), rows, "{label}");
    }
}

/// Labels that the rule does not look at leave it alone.
#[test]
fn a_label_that_no_rule_looks_at_changes_nothing() {
    let list = acl(&group_rules());
    let old = one_account(&list, &[("gid", "10")], Unlisted::Nobody);
    let new = one_account(&list, &[("gid", "10"), ("desk", "4")], Unlisted::Nobody);
    let findings = found(&old, &new);
    assert!(findings.differences.is_empty() && findings.undecided.is_empty(), "{findings:?}");
}

#[test]
fn accounts_that_cannot_be_listed_are_tried_with_values_that_only_the_new_rules_take() {
    let team = |pattern: &str| acl(&[with_label("team", pattern, rule("prod/app", "pull"))]);
    let (old, new) = (team("prod"), team("prod*"));
    let side = |list| one_account(list, &[], Unlisted::Anybody);
    let rows = signed(&found(&side(&old), &side(&new)));
    assert!(
        rows.iter().any(|row| row.starts_with("+somebody prod/app team=prod") && !row.ends_with("=prod")),
        "{rows:?}"
    );
    // Their own name as a piece of the repository's.
    let own = RuleText { account: Some("${name:1}".to_owned()), ..rule(r"/^([^\/]+)\/.+$/", "pull") };
    let (old, new) = (acl(&[]), acl(&[own]));
    let rows = signed(&found(&side(&old), &side(&new)));
    assert_eq!(rows, ["+alice alice/a", "+somebody somebody/a"]);
}

#[test]
fn what_somebody_with_unknown_labels_can_is_open_where_rules_look_at_labels() {
    let by_label = acl(&[rule("${labels:team}/*", "pull"), rule("all", "pull")]);
    let can = |list, account: &str| {
        what_can(&one_account(list, &[], Unlisted::Anybody), account, &labels(&[]), &everywhere(), &|| true)
    };
    let found = can(&by_label, "stranger");
    assert_eq!(found.rules.len(), 1);
    let [(why, rules)] = &*found.undecided else { panic!("{found:?}") };
    assert!(why.contains("its labels are not known") && rules.iter().eq(&[0]), "{found:?}");
    assert!(can(&by_label, "alice").undecided.is_empty());
    assert!(can(&acl(&[rule("all", "pull")]), "stranger").undecided.is_empty(), "labels matter to no rule");
}

#[test]
fn a_type_is_told_as_its_rule_has_it() {
    let of = |kind: &str| RuleText { kind: Some(kind.to_owned()), ..rule("x", "pull") };
    let list = acl(&[of("/^a{6}[a-z]*$/"), of("repository"), of("plugin")]);
    let can = what_can(&one_account(&list, &[], Unlisted::Nobody), "alice", &labels(&[]), &everywhere(), &|| true);
    let kinds: Vec<&str> = can.rules.iter().map(|can| can.kind.as_str()).collect();
    assert_eq!(kinds, ["/^a{6}[a-z]*$/", "repository", "plugin"]);
}

/// A rule is told with all the types that it is about, and with the rules that decide instead of it for some of them.
#[test]
fn a_type_that_was_tried_is_not_told_for_all_that_a_rule_matches() {
    let of = |kind: Option<&str>, name: Option<&str>, actions: &str| RuleText {
        account: Some("alice".to_owned()),
        kind: kind.map(str::to_owned),
        name: name.map(str::to_owned),
        actions: super::listed(actions),
        ..RuleText::default()
    };
    let told = |rules: &[RuleText]| -> Vec<(String, String, usize, Vec<usize>)> {
        let list = acl(rules);
        let can = what_can(&one_account(&list, &[], Unlisted::Nobody), "alice", &labels(&[]), &everywhere(), &|| true);
        assert_eq!(can.undecided, []);
        let told =
            can.rules.into_iter().map(|can| (can.kind, can.name, can.way.rule, can.way.except.into_iter().collect()));
        told.collect()
    };
    let row = |kind: &str, name: &str, rule: usize, except: &[usize]| {
        (kind.to_owned(), name.to_owned(), rule, except.to_vec())
    };
    assert_eq!(told(&[of(None, None, "*")]), [row("any", "any", 0, &[])]);
    assert_eq!(
        told(&[
            of(Some("repository"), None, "pull"),
            of(Some("registry"), Some("catalog"), ""),
            of(Some("/^reg|plugin/"), None, "*"),
            of(None, None, "push"),
        ]),
        [
            row("repository", "any", 0, &[]),
            row("registry", "catalog", 1, &[]),
            row("/^reg|plugin/", "any", 2, &[1]),
            row("any", "any", 3, &[0, 1, 2]),
        ]
    );
    assert_eq!(
        told(&[of(Some("repository"), None, ""), of(Some("plugin"), None, ""), of(None, None, "push")]),
        [row("repository", "any", 0, &[]), row("plugin", "any", 1, &[]), row("any", "any", 2, &[0, 1])]
    );
    // What is about Dockwarden's own by itself is told by itself, and names that hold the type for each.
    assert_eq!(
        told(&[of(Some("dockwarden"), Some("tokens/*"), ""), of(None, None, "pull,list")]),
        [row("dockwarden", "tokens/*", 0, &[]), row("any", "any", 1, &[]), row("dockwarden", "any", 1, &[0])]
    );
    // Where nothing but one type is left to it, the example is of that type.
    let list = acl(&[of(Some("/^(repository|registry)$/"), None, ""), of(Some("r*"), None, "pull")]);
    let can = what_can(&one_account(&list, &[], Unlisted::Nobody), "alice", &labels(&[]), &everywhere(), &|| true);
    assert_eq!((can.rules[1].kind.as_str(), &can.rules[1].way.except), ("r*", &[0].into()));
    assert!(!["repository", "registry"].contains(&can.rules[1].way.place.kind.as_str()), "{can:?}");
}

/// A name that no repository has may be one of Dockwarden's own, of whom nobody asks to pull it.
#[test]
fn what_nobody_can_ask_for_is_no_right() {
    let told = |name: &str, actions: &str| -> Vec<String> {
        let list = acl(&[rule(name, actions)]);
        let can = what_can(&one_account(&list, &[], Unlisted::Nobody), "alice", &labels(&[]), &everywhere(), &|| true);
        let told = can.rules.iter().map(|can| {
            let rights = can.rights(&super::listed(actions).iter().filter_map(|word| Action::parse(word)).collect());
            format!("{}:{}", can.kind, words(&rights))
        });
        told.collect()
    };
    assert_eq!(told("a_b:5000/x", "pull"), ["dockwarden:"]);
    assert_eq!(told("a_b:5000/x", "pull,push,delete,list"), ["dockwarden:delete,list"]);
    assert_eq!(told("a/x", "pull,list"), ["any:list,pull", "dockwarden:list"]);
}

/// Names that only the account's labels give are found for who comes in newly, and for what an account can.
#[test]
fn who_is_let_in_by_one_policy_only_is_tried_with_names_of_their_labels() {
    let list = acl(&group_rules());
    let new = one_account(&list, &[("gid", "20")], Unlisted::Nobody);
    let old = World { accounts: BTreeMap::new(), ..new.clone() };
    assert!(signed(&found(&old, &new)).contains(&"+alice g/20/a".to_owned()));
    assert!(signed(&found(&new, &old)).contains(&"-alice g/20/a".to_owned()));
    let can = what_can(&new, "alice", &labels(&[("gid", "20")]), &everywhere(), &|| true);
    let examples: Vec<(usize, &str)> = can.rules.iter().map(|can| (can.way.rule, can.way.example.as_str())).collect();
    assert!(examples.contains(&(0, "g/20/a")) && can.undecided.is_empty(), "{can:?}");
}

/// A rule that holds a label or the account against the name is open for some of its names only.
#[test]
fn what_is_held_against_the_name_is_told_beside_it() {
    let team = with_label("team", "${name:1}", rule(r"/^apps\/([^\/]+)\/.+$/", "pull"));
    let own = RuleText { account: Some("${name:1}".to_owned()), ..rule(r"/^u\/([^\/]+)\/.+$/", "pull") };
    let list = acl(&[team, own, rule("team/*", "pull")]);
    let world = one_account(&list, &[("team", "web"), ("team", "api")], Unlisted::Nobody);
    let labels = world.accounts["alice"].clone().unwrap();
    let can = what_can(&world, "alice", &labels, &everywhere(), &|| true);
    assert_eq!(can.undecided, []);
    let told: Vec<_> = can.rules.iter().map(|can| (can.way.rule, can.way.where_name.as_slice())).collect();
    let [(0, [by_label]), (1, [by_account]), (2, [])] = *told else { panic!("{told:?}") };
    assert_eq!((&by_label.field, by_label.pattern.as_str()), (&MatchField::Label("team".to_owned()), "${name:1}"));
    assert_eq!(by_label.values, ["web", "api"]);
    assert_eq!((&by_account.field, by_account.values.as_slice()), (&MatchField::Account, &["alice".to_owned()][..]));
}

/// Of such a rule, few names are tried: that these are granted says nothing of all.
#[test]
fn all_names_are_granted_only_where_that_is_sure_of_each() {
    let team = with_label("team", "${name:1}", rule(r"/^apps\/([^\/]+)\/.+$/", "pull"));
    let who = |rules: &[RuleText], names: Names| {
        let list = acl(rules);
        let found = who_can(
            &one_account(&list, &[("team", "web")], Unlisted::Nobody),
            &asked(Action::Pull, names),
            &everywhere(),
            &|| true,
        );
        (found.accounts.len(), found.undecided.into_iter().flat_map(|(_, rules)| rules).collect::<Vec<_>>())
    };
    let pattern = |text: &str| Pattern::compile(text).unwrap();
    // Of these two names the walk meets one.
    let two = r"/^apps\/we[bc]\/x$/";
    assert_eq!(who(std::slice::from_ref(&team), Names::AllOf(pattern(two))), (0, vec![0]));
    assert_eq!(who(std::slice::from_ref(&team), Names::AnyOf(pattern(two))).0, 1);
    assert_eq!(who(&[team.clone(), rule("apps/*/x", "pull")], Names::AllOf(pattern(two))), (1, vec![]));
    // A name that is made of the label is of the pattern that is asked about.
    assert_eq!(who(std::slice::from_ref(&team), Names::AnyOf(pattern("apps/*/x"))), (1, vec![]));
    assert_eq!(who(std::slice::from_ref(&team), Names::AnyOf(pattern("apps/web2/*"))), (0, vec![0]));
}

/// Whoever cannot be listed needs just what the name says.
#[test]
fn labels_and_accounts_that_a_name_asks_for_are_taken_from_it() {
    let team = with_label("team", "t-${name:1}", rule(r"/^apps\/([^\/]+)\/.+$/", "pull"));
    let own = RuleText { account: Some("${name:1}".to_owned()), ..rule(r"/^u\/([^\/]+)\/.+$/", "pull") };
    let list = acl(&[team, own]);
    let world = one_account(&list, &[], Unlisted::Anybody);
    let found = |name: &str| {
        let wanted = asked(Action::Pull, Names::One(name.to_owned()));
        let found = who_can(&world, &wanted, &everywhere(), &|| true);
        assert_eq!(found.undecided, [], "{name}");
        found.symbolic.into_iter().map(|other| (other.account, other.labels)).collect::<Vec<_>>()
    };
    assert_eq!(found("apps/web/x"), [(None, BTreeMap::from([("team".to_owned(), ["t-web".to_owned()].into())]))]);
    assert_eq!(found("u/zed/x"), [(Some("zed".to_owned()), BTreeMap::new())]);
}

/// A name that holds the service is another for each.
#[test]
fn names_that_go_by_the_service_are_told_for_each() {
    let by_service = RuleText { service: Some(r"/^(\w+)\.example$/".to_owned()), ..rule("${service:1}/*", "pull") };
    let list = acl(&[by_service, rule("${service}/*", "push")]);
    let services = vec!["a.example".to_owned(), "b.example".to_owned()];
    let world = World { services, ..one_account(&list, &[], Unlisted::Nobody) };
    let told = |world: &World<'_>| {
        let can = what_can(world, "alice", &labels(&[]), &everywhere(), &|| true);
        let told =
            can.rules.into_iter().map(|can| (can.name, can.way.services.into_iter().collect::<Vec<_>>().join(",")));
        told.collect::<Vec<_>>()
    };
    let expected = ["a/*", "b/*", "a.example/*", "b.example/*"].map(str::to_owned);
    let services = ["a.example", "b.example", "a.example", "b.example"].map(str::to_owned);
    assert_eq!(told(&world), expected.into_iter().zip(services).collect::<Vec<_>>());
    // One service that was tried stands for others.
    let open = World { services: Vec::new(), ..world };
    let names: Vec<String> = told(&open).into_iter().map(|(name, _)| name).collect();
    assert!(names.contains(&"${service}/*".to_owned()) && !names.contains(&"a/*".to_owned()), "{names:?}");
}

/// What rules above decide altogether is never asked of those below, and leaves nothing open.
#[test]
fn what_is_never_reached_leaves_nothing_open() {
    let typed = RuleText { kind: Some("${account}".to_owned()), ..rule("*", "pull") };
    let by_label = with_label("team", "web", rule("a", "pull"));
    let tied = with_label("team", "${name:1}", rule(r"/^([a-z]+)$/", "pull"));
    let all = RuleText::default();
    let mine = RuleText { account: Some("alice".to_owned()), ..RuleText::default() };
    let open = |rules: &[RuleText], unlisted| {
        let list = acl(rules);
        let world = World { below: Below::SomebodyElse(0), ..one_account(&list, &[("team", "web")], unlisted) };
        let can = |account: &str, pairs: &[(&str, &str)]| {
            !what_can(&world, account, &labels(pairs), &everywhere(), &|| true).undecided.is_empty()
        };
        let who =
            |names: Names| !who_can(&world, &asked(Action::Pull, names), &everywhere(), &|| true).undecided.is_empty();
        let pattern = |text: &str| Pattern::compile(text).unwrap();
        [
            can("alice", &[("team", "web")]),
            can("zed", &[]),
            who(Names::One("a".to_owned())),
            who(Names::AnyOf(pattern("a*"))),
            who(Names::AllOf(pattern("a*"))),
        ]
    };
    let below = || [typed.clone(), by_label.clone(), tied.clone()].into_iter();
    let with = |above: RuleText| -> Vec<RuleText> { std::iter::once(above).chain(below()).collect() };
    assert_eq!(open(&with(all.clone()), Unlisted::Anybody), [false; 5]);
    assert_eq!(open(std::slice::from_ref(&all), Unlisted::Nobody), [false; 5]);
    // Of one account, or of some names, only these are decided.
    assert_eq!(open(&with(mine.clone()), Unlisted::Anybody), [false, true, true, true, true]);
    assert_eq!(open(std::slice::from_ref(&mine), Unlisted::Nobody), [false, true, false, false, false]);
    assert_eq!(open(&with(rule("/^a/", "pull")), Unlisted::Anybody), [true, true, false, false, false]);
    assert_eq!(open(&[rule("/^ab/", "pull")], Unlisted::Anybody), [true; 5]);
    // Each condition leaves some of it to those below.
    let window = RuleText { not_before: Some(super::NOW + time::Duration::days(1)), ..RuleText::default() };
    for other in [
        RuleText { ip: Some("10.0.0.0/8".to_owned()), ..RuleText::default() },
        RuleText { kind: Some("repository".to_owned()), name: Some("a".to_owned()), ..RuleText::default() },
        RuleText { service: Some("other".to_owned()), ..RuleText::default() },
        RuleText { reference: Some("tag".to_owned()), ..RuleText::default() },
        with_label("team", "*", RuleText::default()),
        window,
    ] {
        assert!(open(std::slice::from_ref(&other), Unlisted::Anybody)[1..4].iter().any(|open| *open), "{other:?}");
    }
}

/// On a side that does not list it, an account may come in all the same, with labels of its own.
#[test]
fn an_account_that_only_one_side_lists_is_open_where_others_may_come_in() {
    let list = acl(&[rule("team/*", "pull")]);
    let with = |accounts: &[(&str, &[(&str, &str)])], unlisted| World {
        accounts: accounts.iter().map(|(name, pairs)| ((*name).to_owned(), Some(labels(pairs)))).collect(),
        ..one_account(&list, &[], unlisted)
    };
    let one = |unlisted| with(&[("alice", &[])], unlisted);
    let two = |unlisted| with(&[("alice", &[]), ("carol", &[])], unlisted);
    let named = |old: &World<'_>, new: &World<'_>| {
        let undecided = found(old, new).undecided;
        undecided.into_iter().map(|open| open.why.into_owned()).filter(|why| why.ends_with(": carol")).count()
    };
    let (nobody, anybody) = (Unlisted::Nobody, Unlisted::Anybody);
    assert_eq!(named(&one(anybody), &two(anybody)), 1);
    assert_eq!(named(&two(anybody), &one(anybody)), 1);
    assert_eq!(named(&one(anybody), &two(nobody)), 1);
    // What lets in nobody else does not let it in either.
    assert_eq!(named(&one(nobody), &two(nobody)), 0);
    assert_eq!(named(&one(nobody), &two(anybody)), 0);
    assert_eq!(named(&two(anybody), &two(anybody)), 0);
}
