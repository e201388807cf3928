//! What was once passed over without a word: services, types and accounts that stood for others, and whoever decides below.

use super::*;

fn typed(kind: &str, rule: RuleText) -> RuleText {
    RuleText { kind: Some(kind.to_owned()), ..rule }
}

fn account(name: &str, rule: RuleText) -> RuleText {
    RuleText { account: Some(name.to_owned()), ..rule }
}

const BELOW: &str = "what no rule matches is decided by somebody whose rules are not known";

#[test]
fn another_one_below_is_undecided_and_the_same_one_is_alike() {
    let (list, more, total) = (
        acl(&[rule("a", "pull")]),
        acl(&[rule("a", "pull"), rule("b", "pull")]),
        acl(&[rule("a", "pull"), RuleText::default()]),
    );
    let pushed = acl(&[rule("a", "push")]);
    let with = |list, below| World { below, ..world(list, &alice()) };
    let (nobody, one, other) = (Below::Nothing, Below::SomebodyElse(0), Below::SomebodyElse(1));
    for (old, new) in [(nobody, one), (one, nobody), (one, other)] {
        let findings = found(&with(&list, old), &with(&list, new));
        let why: Vec<&str> = findings.undecided.iter().map(|open| &*open.why).collect();
        assert_eq!((told(&findings).len(), why), (0, vec![BELOW]), "{old:?} {new:?}");
        // What rules decide is told all the same.
        let findings = found(&with(&list, old), &with(&pushed, new));
        assert_eq!((told(&findings).len(), findings.undecided.len()), (2, 1), "{old:?} {new:?}");
        // Behind a rule that decides everything nobody is asked.
        assert!(found(&with(&total, old), &with(&total, new)).undecided.is_empty(), "{old:?} {new:?}");
        let closed = World { accounts: BTreeMap::new(), ..with(&list, old) };
        assert!(found(&closed, &World { below: new, ..closed.clone() }).undecided.is_empty(), "nobody asks");
    }
    let same = |old, new| found(&with(old, one), &with(new, one));
    assert!(told(&same(&list, &list)).is_empty() && same(&list, &list).undecided.is_empty());
    assert_eq!(same(&list, &more).undecided[0].rules, [(Side::New, 1)]);
    assert!(same(&total, &total).undecided.is_empty());
    // The same one is asked about other labels.
    let labelled = |team| World { below: one, ..world(&list, &[("alice", labels(&[("team", team)]))]) };
    let findings = found(&labelled("a"), &labelled("b"));
    assert_eq!(findings.undecided.iter().map(|open| &*open.why).collect::<Vec<_>>(), [BELOW]);
    assert!(found(&labelled("a"), &labelled("a")).undecided.is_empty());
}

#[test]
fn services_that_one_side_lists_stand_for_no_others() {
    let list = acl(&[rule("a/*", "pull")]);
    let listed = world(&list, &alice());
    let open = World { services: Vec::new(), ..listed.clone() };
    let findings = found(&listed, &open);
    assert_eq!(told(&findings), ["+pull a/a ->0"]);
    assert_ne!(findings.differences[0].place.service, "registry");
    assert_eq!(told(&found(&open, &listed)), ["-pull a/a 0>-"]);
    // Where the rules tell them apart, one of each.
    let both = acl(&[
        RuleText { service: Some("r*".to_owned()), ..rule("a/*", "pull") },
        RuleText { service: Some("/^[^r]/".to_owned()), ..rule("a/*", "push") },
    ]);
    let listed = world(&both, &alice());
    let open = World { services: Vec::new(), ..listed.clone() };
    assert_eq!(told(&found(&listed, &open)), ["+pull a/a ->0", "+push a/a ->1"]);
}

/// Which services a pattern with a placeholder tells apart, nobody can tell: those that are known to be asked for are tried.
#[test]
fn services_that_are_known_are_tried_where_any_is_served() {
    let of = |name| acl(&[typed("repository", rule(name, "pull"))]);
    let (old, new) = (of("registry/*"), of("${service}/*"));
    let open = |list, known: &[&str]| World {
        services: Vec::new(),
        known_services: known.iter().map(|service| (*service).to_owned()).collect(),
        ..world(list, &alice())
    };
    assert_eq!(told(&found(&open(&old, &[]), &open(&new, &[]))), [""; 0]);
    assert_eq!(
        told(&found(&open(&old, &[]), &open(&new, &["handbook"]))),
        ["+pull handbook/a ->0", "-pull registry/a 0>-"]
    );
}

/// A rule need not name the type for rights to manage something, which are asked for under a service of their own.
#[test]
fn rights_to_manage_are_found_whatever_the_rule_says_of_types() {
    let manage = || rule("Foo*", "manage");
    for given in
        [manage(), typed("dockwarden*", manage()), typed("/^dockwarden$/", manage()), typed("dockwarden", manage())]
    {
        let (old, new) = (acl(&[]), acl(&[given]));
        let findings = found(&world(&old, &alice()), &world(&new, &alice()));
        assert_eq!(told(&findings), ["+manage Foo ->0"]);
        let place = &findings.differences[0].place;
        assert_eq!((&*place.kind, &*place.service), ("dockwarden", "dockwarden"));
        let world = world(&new, &alice());
        let wanted = Wanted {
            action: Action::parse("manage").unwrap(),
            kind: "dockwarden".to_owned(),
            names: Names::One("Foo".to_owned()),
        };
        let who = |narrow: Narrow| who_can(&world, &wanted, &narrow, &|| true).accounts;
        let [(name, ways)] = &*who(everywhere()) else { panic!("nobody, or somebody else") };
        assert_eq!((name.as_str(), ways.always), ("alice", true));
        let of = |service: &str| Narrow { service: Some(service.to_owned()), ..everywhere() };
        assert_eq!((who(of("dockwarden")).len(), who(of("registry")).len()), (1, 0));
        let can = what_can(&world, "alice", &labels(&[]), &everywhere(), &|| true).rules;
        assert!(can.iter().any(|can| can.kind == "dockwarden" && can.way.rule == 0), "{can:?}");
        assert_eq!(deciding(&world, &everywhere(), &|| true), Some(BTreeSet::from([0])));
    }
    let list =
        acl(&[RuleText { service: Some("dockwarden".to_owned()), ..typed("dockwarden", rule("policy", "list")) }]);
    assert_eq!(deciding(&world(&list, &alice()), &everywhere(), &|| true), Some(BTreeSet::from([0])));
    let list = acl(&[RuleText { service: Some("registry".to_owned()), ..typed("dockwarden", rule("policy", "list")) }]);
    assert_eq!(deciding(&world(&list, &alice()), &everywhere(), &|| true), Some(BTreeSet::new()));
}

#[test]
fn types_that_no_rule_names_are_tried_as_well() {
    let list = acl(&[
        typed("repository", account("alice", RuleText::default())),
        typed("registry", account("alice", RuleText::default())),
        rule("a/*", "pull,push"),
    ]);
    let world = world(&list, &alice());
    let can = what_can(&world, "alice", &labels(&[]), &everywhere(), &|| true);
    assert!(can.rules.iter().any(|can| can.way.rule == 2 && can.kind == "any"), "{can:?}");
    assert_eq!(deciding(&world, &everywhere(), &|| true), Some(BTreeSet::from([0, 1, 2])));
}

/// Rules that are left over are the same for both, and the names that they are about are not.
#[test]
fn what_was_found_for_one_grammar_of_names_is_not_taken_for_another() {
    let list = acl(&[rule("Foo*", "manage"), typed("dockwarden", account("carol", RuleText::default()))]);
    let can = what_can(&world(&list, &alice()), "alice", &labels(&[]), &everywhere(), &|| true);
    let told: Vec<(&str, usize)> = can.rules.iter().map(|can| (can.kind.as_str(), can.way.rule)).collect();
    assert_eq!(told, [("dockwarden", 0)]);
}

#[test]
fn names_of_listed_accounts_do_not_stand_for_those_of_others() {
    let (old, new) = (acl(&[rule("a", "pull")]), acl(&[account("bob*", rule("b", "pull")), rule("a", "pull")]));
    let closed = |list, name: &str| World {
        unlisted: Unlisted::Anybody,
        accounts: [(name.to_owned(), None)].into(),
        ..world(list, &[])
    };
    let findings = found(&closed(&old, "bob"), &closed(&new, "bob"));
    assert_eq!(told(&findings), ["+pull b ->0"], "{findings:?}");
    assert!(findings.differences[0].account.starts_with("bob") && findings.differences[0].account != "bob");
    // A rule about one account that is closed is about nobody.
    let only = acl(&[account("bob", rule("b", "pull")), rule("a", "pull")]);
    assert!(told(&found(&closed(&old, "bob"), &closed(&only, "bob"))).is_empty());
    let pull = |name: &str| asked(Action::Pull, Names::One(name.to_owned()));
    let symbolic = |world: &World<'_>, name| who_can(world, &pull(name), &everywhere(), &|| true).symbolic.len();
    assert_eq!((symbolic(&closed(&old, "somebody"), "a"), symbolic(&closed(&new, "bob"), "b")), (1, 1));
    assert_eq!(symbolic(&closed(&only, "bob"), "b"), 0);
}

/// What decides a question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum By {
    Rule(usize),
    Nobody,
    SomebodyElse(u32),
}

/// Types that no rule names, what is Dockwarden's own, services that one side leaves open, and whoever decides below: of what random questions show,
/// nothing is passed over.
#[test]
fn nothing_that_a_random_question_shows_is_passed_over_in_silence() {
    let mut dice = Dice(0xA076_1D64_78BD_642F);
    let accounts = [
        ("", labels(&[])),
        ("alice", labels(&[("team", "web"), ("team", "a")])),
        ("bob", labels(&[("team", "a"), ("site", "b")])),
    ];
    let kinds = ["repository", "registry", "cnab", OURS];
    let names = ["a", "b", "a/b", "web/a", "alice/x", "ab", "Foo", "A/b", "a b", "m/a"];
    let of_kind = |dice: &mut Dice| {
        let kinds = ["repository", "registry", OURS, "dockwarden*", "/^dockwarden$/", "/^r/", "*", "[cd]*"];
        (dice.below(2) == 0).then(|| dice.one(&kinds).to_owned())
    };
    let new_rule = |dice: &mut Dice| {
        let mut rule = RuleText { kind: of_kind(dice), tag: None, reference: None, ..dice.rule() };
        if dice.below(3) == 0 {
            rule.name = Some(dice.one(&["Foo*", "/^[A-Z]/", "* *", "Foo"]).to_owned());
        }
        if dice.below(3) == 0 {
            rule.service = Some(dice.one(&["dockwarden", "r*", "/^[^r]/", "mirror"]).to_owned());
        }
        if dice.below(4) == 0 {
            rule.actions = listed("manage,list");
        }
        rule
    };
    let (mut differing, mut silent) = (0, 0);
    for _ in 0..160 {
        let rules: Vec<RuleText> = (0..1 + dice.below(4)).map(|_| new_rule(&mut dice)).collect();
        let mut changed = rules.clone();
        match dice.below(4) {
            0 => {}
            1 => changed.insert(dice.below(rules.len() + 1), new_rule(&mut dice)),
            2 => _ = changed.remove(dice.below(rules.len())),
            _ => {
                let place = dice.below(rules.len());
                changed[place] = new_rule(&mut dice);
            }
        }
        let (old, new) = (acl(&rules), acl(&changed));
        let mut of = |list| World {
            services: match dice.below(4) {
                0 => Vec::new(),
                1 => vec!["registry".to_owned(), "mirror".to_owned()],
                _ => vec!["registry".to_owned()],
            },
            below: dice.one(&[Below::Nothing, Below::Nothing, Below::SomebodyElse(0), Below::SomebodyElse(1)]),
            ..world(list, &accounts)
        };
        let (before, mut after) = (of(&old), of(&new));
        if dice.below(6) == 0 {
            after.accounts.insert("bob".to_owned(), Some(labels(&[("team", "web")])));
        }
        let findings = found(&before, &after);
        silent += usize::from(findings.undecided.is_empty());
        let decided = deciding(&before, &everywhere(), &|| true);
        let can: BTreeMap<&str, _> = accounts
            .iter()
            .map(|(name, labels)| (*name, what_can(&before, name, labels, &everywhere(), &|| true)))
            .collect();
        for _ in 0..120 {
            let (account, kind, name) = (dice.one(&accounts).0, dice.one(&kinds), dice.one(&names));
            if kind != OURS && Resource::new(kind, name).is_err() {
                continue;
            }
            let place = Place {
                kind: kind.to_owned(),
                service: dice.one(&["registry", "mirror", "zz", "dockwarden"]).to_owned(),
                address: dice.one(&[None, "10.1.2.3".parse().ok(), "2001:db8::1".parse().ok()]),
                reference: None,
                now: dice.moment(),
            };
            let by = |world: &World<'_>| {
                let is_served = match kind {
                    OURS => place.service == "dockwarden",
                    _ => world.services.is_empty() || world.services.contains(&place.service),
                };
                let Some(labels) = world.accounts[account].as_ref().filter(|_| is_served) else { return By::Nobody };
                match (decide(world, account, labels, &place, name), world.below) {
                    (Some(rule), _) => By::Rule(rule),
                    (None, Below::Nothing) => By::Nobody,
                    (None, Below::SomebodyElse(number)) => By::SomebodyElse(number),
                }
            };
            let (was, is) = (by(&before), by(&after));
            let told =
                || format!("{account:?} {name} {place:?}: {was:?} > {is:?}\n{rules:#?}\n{changed:#?}\n{findings:#?}");
            if let By::Rule(rule) = was {
                let right = decided.as_ref().is_none_or(|decided| decided.contains(&rule));
                assert!(right, "deciding {decided:?} lacks {rule}: {}", told());
                let can = &can[account];
                let right = can.rules.iter().any(|can| can.way.rule == rule) || !can.undecided.is_empty();
                assert!(right, "what-can {can:?} lacks {rule}: {}", told());
            }
            let number = |by: By| match by {
                By::Rule(rule) => Some(rule),
                By::Nobody | By::SomebodyElse(_) => None,
            };
            match (was, is) {
                (By::SomebodyElse(one), By::SomebodyElse(other))
                    if one == other && before.accounts[account] == after.accounts[account] => {}
                (By::SomebodyElse(_), _) | (_, By::SomebodyElse(_)) => {
                    assert!(!findings.undecided.is_empty(), "{}", told());
                }
                (By::Rule(_) | By::Nobody, By::Rule(_) | By::Nobody) => {
                    for word in words(before.rules().into_iter().chain(after.rules())) {
                        let says = |world: &World<'_>, by: By| {
                            grants(number(by).and_then(|rule| world.rules().get(rule).copied()), &word)
                        };
                        if says(&before, was) != says(&after, is) {
                            differing += 1;
                            assert!(is_told(&findings, number(was), number(is), &word), "{word} {}", told());
                        }
                    }
                }
            }
        }
    }
    assert!(differing > 300 && silent > 30, "{differing} {silent}");
}
