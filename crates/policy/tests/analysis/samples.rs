//! Differences that only a name made of the account's labels shows, and accounts that nobody can list.

use std::collections::BTreeMap;

use policy::acl::Acl;
use policy::analysis::{Below, Findings, Shift, Side, Unlisted, World, what_can};
use policy::pattern::LabelValue;
use policy::rule::RuleText;

use super::{acl, everywhere, found, labels, rule};

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
