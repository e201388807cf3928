//! Rules that a list could do without, and those that others hide.

use std::cell::Cell;

use policy::analysis::{After, Spare, mergeable, shadowed, spare};

use super::*;

#[test]
fn check_25_rules_that_are_spare_are_told_with_the_reason() {
    let by = |rules: &[usize]| Spare::NeverDecides(rules.iter().copied().collect());
    let for_alice = |name: &str| RuleText { account: Some("alice".to_owned()), ..rule(name, "pull") };
    let from = |ip: &str, actions: &str| RuleText { ip: Some(ip.to_owned()), ..rule("a", actions) };
    let begins =
        |after, actions: &str| RuleText { not_before: Some(NOW + Duration::seconds(after)), ..rule("a", actions) };
    let served = |service: &str, actions: &str| RuleText { service: Some(service.to_owned()), ..rule("a", actions) };
    let ended = RuleText { not_after: Some(NOW), ..rule("z", "pull") };
    let of = |account: &str, name: &str| RuleText { account: Some(account.to_owned()), ..rule(name, "pull") };
    let pushed = |account: &str| RuleText { actions: listed("push"), ..of(account, "a") };
    let of_all_types = RuleText { kind: Some("*".to_owned()), ..rule("/.*/", "pull") };
    let for_everything = RuleText { actions: listed("push"), ..RuleText::default() };
    for (rules, expected) in [
        (vec![rule("team/*", "pull"), rule("team/app", "push")], vec![(1, by(&[0]))]),
        (vec![rule("/^team\\/.*$/", "pull"), rule("team/a*", "push")], vec![(1, by(&[0]))]),
        (
            vec![rule("team/[a-m]*", "pull"), rule("team/[n-z0-9]*", "pull"), rule("/^team\\/[a-z]+$/", "push")],
            vec![(2, by(&[0, 1]))],
        ),
        (vec![rule("team/app", "pull"), rule("team/*", "pull")], vec![(0, Spare::DecidedAlike(1))]),
        (vec![rule("team/app", ""), rule("team/*", "pull")], vec![]),
        (vec![rule("team/app", "pull"), rule("team/a*", ""), rule("team/*", "pull")], vec![]),
        (
            vec![rule("team/app", "pull"), rule("web/*", ""), rule("team/*", "pull")],
            vec![(0, Spare::DecidedAlike(2)), (1, Spare::RefusesAnyway)],
        ),
        (vec![for_alice("*"), rule("*", "pull")], vec![(0, Spare::DecidedAlike(1))]),
        (vec![rule("*", "pull"), for_alice("*")], vec![(1, by(&[0]))]),
        // A name that has a slash is matched by no star, and the one of Dockwarden's own may be called otherwise.
        (vec![rule("*", "pull"), rule("/.*/", "push")], vec![]),
        (vec![ended], vec![(0, Spare::Past)]),
        // What takes everything is as good as no condition.
        (vec![of("/.*/", "/.*/"), rule("x/*", "push")], vec![(1, by(&[0]))]),
        (vec![of("/.*/", "/.*/"), for_everything], vec![(1, by(&[0]))]),
        (vec![of_all_types, rule("x/*", "push")], vec![(1, by(&[0]))]),
        // Clients without an account are left, and those whose name has two lines.
        (vec![of("/.+/", "/.*/"), rule("x/*", "push")], vec![]),
        (vec![of("/^.*$/", "/.*/"), rule("x/*", "push")], vec![]),
        (vec![of("*", "*"), rule("x/*", "push")], vec![]),
        (vec![rule("${account}/*", "pull"), rule("${account}/*", "push")], vec![(1, by(&[0]))]),
        (vec![rule("/.*/", "pull"), rule("${account}/*", "push")], vec![(1, by(&[0]))]),
        (vec![rule("${account}/*", "pull"), rule("alice/*", "push")], vec![]),
        (vec![from("10.0.0.0/8", "pull"), from("10.1.0.0/16", "push")], vec![(1, by(&[0]))]),
        (vec![from("10.1.0.0/16", "pull"), from("10.0.0.0/8", "push")], vec![]),
        // Several together hide what none of them hides alone: networks, accounts, services.
        (
            vec![from("10.0.0.0/9", "pull"), from("10.128.0.0/9", ""), from("10.0.0.0/8", "push")],
            vec![(2, by(&[0, 1]))],
        ),
        (vec![from("10.0.0.0/9", "pull"), from("10.192.0.0/10", ""), from("10.0.0.0/8", "push")], vec![]),
        (vec![from("0.0.0.0/0", "pull"), from("::/0", ""), rule("a", "push")], vec![]),
        (vec![of("alice", "a"), of("bob", "/^[ab]$/"), pushed("/^(alice|bob)$/")], vec![(2, by(&[0, 1]))]),
        (vec![of("alice", "a"), of("bob", "b"), pushed("/^(alice|bob)$/")], vec![]),
        (vec![of("alice", "a"), of("carol", "a"), pushed("/^(alice|bob)$/")], vec![]),
        (vec![of("/^a/", "a"), of("/^[^a]/", "a"), rule("a", "push")], vec![]),
        (vec![served("one", "pull"), served("two", ""), served("/^(one|two)$/", "push")], vec![(2, by(&[0, 1]))]),
        (vec![served("one", "pull"), served("two", ""), served("/^(one|two|six)$/", "push")], vec![]),
        (vec![served("one", "pull"), served("two", ""), rule("a", "push")], vec![]),
        (vec![begins(5, "pull"), begins(10, "push")], vec![(1, by(&[0]))]),
        (vec![begins(10, "pull"), begins(5, "push")], vec![]),
    ] {
        assert_eq!(spare(&acl(&rules), After::Refusal, NOW, &|| true), expected, "{rules:#?}");
    }
    assert_eq!(mergeable(&acl(&[rule("a", "pull"), rule("b", "pull"), rule("c", "push")])), [(0, Field::Name)]);
    assert_eq!(
        shadowed(&acl(&[rule("/.*/", "pull"), rule("b", "pull")]), NOW, &|| true),
        BTreeMap::from([(1, [0].into())])
    );
}

/// Of two expressions that become one, the groups of one are counted on behind those of the other: what takes them would take others.
#[test]
fn rules_that_take_groups_of_what_differs_are_not_to_become_one() {
    let of = |account: &str, name: &str| RuleText { account: Some(account.to_owned()), ..rule(name, "pull") };
    let served = |service: &str| RuleText { service: Some(service.to_owned()), ..of("/^(a)b?$/", "${account:1}/x") };
    let tagged = |name: &str| RuleText { tag: Some("${name:1}".to_owned()), ..rule(name, "pull") };
    let labelled = |service: &str| RuleText {
        service: Some(service.to_owned()),
        labels: BTreeMap::from([("team".to_owned(), "${service:1}".to_owned())]),
        ..rule("a", "pull")
    };
    for (rules, expected) in [
        ([of("/^(a)b?$/", "${account:1}/x"), of("/^x(.)$/", "${account:1}/x")], vec![]),
        ([tagged("/^(a)$/"), tagged("/^b(.)$/")], vec![]),
        ([labelled("/^(a)$/"), labelled("/^b(.)$/")], vec![]),
        // The service is joined, and the groups of the account stay as they are.
        ([served("a"), served("b")], vec![(0, Field::Service)]),
        // Nobody takes them.
        ([of("/^(a)b?$/", "x"), of("/^x(.)$/", "x")], vec![(0, Field::Account)]),
        ([of("/^(a)b?$/", "${account}/x"), of("/^x(.)$/", "${account}/x")], vec![(0, Field::Account)]),
    ] {
        assert_eq!(mergeable(&acl(&rules)), expected, "{rules:#?}");
    }
}

/// A reload waits for this: of very many rules, each of which could be hidden by any other as far as its beginning says, only the one
/// that is hidden takes a walk through names.
#[test]
fn what_is_hidden_among_very_many_rules_is_found_without_holding_each_against_all() {
    let of = |account: &str, name: String| RuleText { account: Some(account.to_owned()), ..rule(&name, "pull") };
    let kinds = [
        |number: usize| ("/.+/", format!("/^(mirror|cache)-{number}\\/.*$/")),
        |number: usize| ("/^[^@]+@[a-z]{2,}$/", format!("${{labels:team}}/part-{number}/[a-m]*/v?")),
        |number: usize| ("ci-*", format!("/[/]release-{number}[/]${{service}}/")),
    ];
    let mut rules: Vec<RuleText> =
        (0..2_000).flat_map(|number| kinds.map(|kind| kind(number))).map(|(account, name)| of(account, name)).collect();
    rules.push(of("alice", "cache-1999/app".to_owned()));
    let asked = Cell::new(0);
    let still = || {
        asked.set(asked.get() + 1);
        true
    };
    let hidden = shadowed(&acl(&rules), NOW, &still);
    assert_eq!(hidden, BTreeMap::from([(6_000, [5_997].into())]));
    assert!(asked.get() < 6_500, "{}", asked.get());
}

#[test]
fn a_list_without_what_is_spare_decides_every_random_question_alike() {
    let mut dice = Dice(0xD1B5_4A32_D192_ED03);
    let people = [labels(&[]), labels(&[("team", "web"), ("site", "b")]), labels(&[("team", "a"), ("site", "ab")])];
    let mut spared = 0;
    for _ in 0..1500 {
        let rules: Vec<RuleText> = (0..2 + dice.below(6)).map(|_| dice.rule()).collect();
        let list = acl(&rules);
        let gone: Vec<usize> = spare(&list, After::Refusal, NOW, &|| true).into_iter().map(|(rule, _)| rule).collect();
        if gone.is_empty() {
            continue;
        }
        spared += gone.len();
        let left: Vec<RuleText> = rules
            .iter()
            .enumerate()
            .filter(|(number, _)| !gone.contains(number))
            .map(|(_, rule)| rule.clone())
            .collect();
        let short = acl(&left);
        let (whole, short) = (world(&list, &[]), world(&short, &[]));
        for _ in 0..300 {
            let place = Place {
                kind: dice.one(&["repository", "registry", "other"]).to_owned(),
                service: dice.one(&["registry", "mirror", "x"]).to_owned(),
                address: dice.one(&[
                    None,
                    "10.1.2.3".parse().ok(),
                    "2001:db8::1".parse().ok(),
                    "10.9.9.9".parse().ok(),
                ]),
                reference: dice.one(&[
                    None,
                    Reference::parse("v1"),
                    Reference::parse("latest"),
                    Reference::parse("alice"),
                ]),
                now: NOW + Duration::seconds(i64::try_from(dice.below(4)).unwrap() * 4),
            };
            let account = dice.one(&["", "alice", "bob", "web", "x/y", "a\nb"]);
            let labels = dice.one(&people);
            let name = dice.one(&[
                "a", "b", "ab", "a/b", "a/x/b", "web/a", "alice/x", "alice-b", "bob/a/b", "web/web", "x", "m/a",
            ]);
            let granted = |world: &World<'_>| -> Vec<Action> {
                let by = decide(world, account, &labels, &place, name);
                let rule = by.and_then(|by| world.rules().get(by).copied());
                words(whole.rules()).into_iter().filter(|word| grants(rule, word)).collect()
            };
            assert_eq!(granted(&whole), granted(&short), "{account:?} {name} {place:?} without {gone:?}\n{rules:#?}");
        }
    }
    assert!(spared > 300, "{spared}");
}
