//! What one rule says of itself, and which of its fields keeps it from matching.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use time::Duration;

use super::*;
use crate::pattern::{LabelValue, LabelValues};
use crate::scope::Resource;

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

/// A rule that names everything there is to name, and agrees with what [`said_of`] asks.
fn whole() -> RuleText {
    RuleText {
        account: text("alice"),
        kind: text("repository"),
        name: text("web/app"),
        service: text("registry"),
        ip: text("10.0.0.0/8"),
        tag: text("v*"),
        reference: text("tag"),
        labels: BTreeMap::from([("team".to_owned(), "web".to_owned())]),
        actions: vec!["pull".to_owned()],
        comment: text("for the web team"),
        not_before: Some(NOW),
        not_after: Some(NOW + Duration::SECOND),
    }
}

/// What a rule says to alice of the web team, who pulls `web/app` by this reference from this address.
fn said_of(text: &RuleText, address: Option<&str>, reference: Option<Reference>) -> RuleMatch {
    let team = vec![LabelValue::literal("db"), LabelValue::literal("web")];
    let labels = LabelValues::from([("team".to_owned(), team)]);
    let question = Question {
        account: "alice",
        labels: &labels,
        address: address.map(|address| address.parse().unwrap()),
        service: "registry",
        resource: &Resource::new("repository", "web/app").unwrap(),
        actions: &Actions::new(),
        reference: reference.as_ref(),
        now: NOW,
    };
    Rule::compile(text).unwrap().check(&question, &mut Budget::for_request()).unwrap()
}

fn tag() -> Option<Reference> {
    Some(Reference::parse("v1").unwrap())
}

fn digest() -> Option<Reference> {
    Some(Reference::parse(&format!("sha256:{}", "a".repeat(64))).unwrap())
}

#[test]
fn the_field_that_does_not_agree_is_named() {
    type Change = fn(&mut RuleText);
    let changes: [(Change, MatchField); 12] = [
        (|rule| rule.account = text("bob"), MatchField::Account),
        (|rule| rule.kind = text("registry"), MatchField::Type),
        (|rule| rule.name = text("web/other"), MatchField::Name),
        (|rule| rule.service = text("other"), MatchField::Service),
        (|rule| rule.ip = text("192.168.0.0/16"), MatchField::Ip),
        (|rule| rule.tag = text("w*"), MatchField::Tag),
        (|rule| rule.reference = text("digest"), MatchField::Reference),
        (|rule| _ = rule.labels.insert("team".to_owned(), "mail".to_owned()), MatchField::Label("team".to_owned())),
        (|rule| _ = rule.labels.insert("site".to_owned(), "*".to_owned()), MatchField::Label("site".to_owned())),
        (|rule| rule.not_before = Some(NOW + Duration::NANOSECOND), MatchField::NotBefore),
        (|rule| (rule.not_before, rule.not_after) = (None, Some(NOW)), MatchField::NotAfter),
        // What is named first is looked at first.
        (|rule| (rule.account, rule.not_before) = (text("bob"), Some(NOW + Duration::NANOSECOND)), MatchField::Account),
    ];
    let here = Some("10.1.2.3");
    assert_eq!(said_of(&whole(), here, tag()), RuleMatch::Matches);
    assert_eq!(said_of(&whole(), Some("::ffff:10.1.2.3"), tag()), RuleMatch::Matches);
    for (change, field) in changes {
        let mut rule = whole();
        change(&mut rule);
        assert_eq!(said_of(&rule, here, tag()), RuleMatch::Fails(field));
    }
    assert_eq!(said_of(&whole(), None, tag()), RuleMatch::Fails(MatchField::Ip));
}

#[test]
fn a_rule_about_tags_or_digests_matches_where_the_door_sees_one() {
    let rule = |tag: Option<&str>, reference: Option<&str>| RuleText {
        tag: tag.map(str::to_owned),
        reference: reference.map(str::to_owned),
        ..RuleText::default()
    };
    let (at_tag, at_reference) = (RuleMatch::Fails(MatchField::Tag), RuleMatch::Fails(MatchField::Reference));
    for (rule, of_tag, of_digest, of_none) in [
        (rule(None, None), &RuleMatch::Matches, &RuleMatch::Matches, &RuleMatch::Matches),
        (rule(None, Some("tag")), &RuleMatch::Matches, &at_reference, &at_reference),
        (rule(None, Some("digest")), &at_reference, &RuleMatch::Matches, &at_reference),
        (rule(Some("*"), None), &RuleMatch::Matches, &at_tag, &at_tag),
        (rule(Some("w1"), None), &at_tag, &at_tag, &at_tag),
        (rule(Some("*"), Some("digest")), &at_reference, &at_tag, &at_reference),
    ] {
        let needs = rule.tag.is_some() || rule.reference.is_some();
        assert_eq!(Rule::compile(&rule).unwrap().needs_reference(), needs, "{rule:?}");
        for (reference, expected) in [(tag(), of_tag), (digest(), of_digest), (None, of_none)] {
            assert_eq!(said_of(&rule, None, reference), *expected, "{rule:?}");
        }
    }
}

#[test]
fn a_rule_tells_what_it_was_made_of() {
    let rule = Rule::compile(&whole()).unwrap();
    for (field, expected) in
        [(Field::Account, "alice"), (Field::Type, "repository"), (Field::Name, "web/app"), (Field::Service, "registry")]
    {
        assert_eq!(rule.pattern(field).map(Pattern::text), Some(expected));
    }
    assert_eq!(rule.network().map(ToString::to_string), text("10.0.0.0/8"));
    assert_eq!(rule.tag().map(Pattern::text), Some("v*"));
    assert_eq!(rule.reference(), Some(ReferenceKind::Tag));
    assert_eq!(ReferenceKind::Tag.as_str(), "tag");
    assert_eq!(ReferenceKind::Digest.as_str(), "digest");
    let labels: Vec<_> =
        rule.label_patterns().iter().map(|(label, pattern)| (label.as_str(), pattern.text())).collect();
    assert_eq!(labels, [("team", "web")]);
    assert_eq!(rule.grants(), &Grants::Listed(Actions::from([Action::Pull])));
    assert_eq!(rule.comment(), Some("for the web team"));
    assert_eq!(rule.window(), (Some(NOW), Some(NOW + Duration::SECOND)));
}

#[test]
fn only_a_rule_that_names_nothing_matches_everything() {
    type Change = fn(&mut RuleText);
    let changes: [Change; 8] = [
        |rule| rule.account = text("*"),
        |rule| rule.kind = text("*"),
        |rule| rule.name = text("*"),
        |rule| rule.service = text("*"),
        |rule| rule.ip = text("0.0.0.0/0"),
        |rule| rule.tag = text("*"),
        |rule| rule.reference = text("tag"),
        |rule| _ = rule.labels.insert("team".to_owned(), "*".to_owned()),
    ];
    assert!(Rule::compile(&RuleText::default()).unwrap().matches_everything());
    for change in changes {
        let mut rule = RuleText::default();
        change(&mut rule);
        assert!(!Rule::compile(&rule).unwrap().matches_everything(), "{rule:?}");
    }
}

#[test]
fn everything_that_is_wrong_with_a_rule_is_told_with_its_field() {
    let wrong = RuleText {
        account: text("["),
        tag: text("[a"),
        reference: text("name"),
        ip: text("10.0.0.0/33"),
        actions: vec!["pull".to_owned(), "Push!".to_owned()],
        not_before: Some(NOW),
        not_after: Some(NOW),
        ..whole()
    };
    let fields: Vec<_> = Rule::compile(&wrong).unwrap_err().into_iter().map(|problem| problem.field).collect();
    use MatchField::{Account, Actions, Ip, NotAfter, Reference, Tag};
    assert_eq!(fields, [Account, Tag, Ip, Reference, Actions, NotAfter]);
    let names = [Account, MatchField::Label("team".to_owned()), NotAfter].map(|field| field.to_string());
    assert_eq!(names, ["account", "labels.team", "not_after"]);
}

#[test]
fn networks_are_read_in_every_spelling_and_compared_as_one() {
    for (written, expected) in [
        ("10.1.2.3", Some("10.1.2.3/32")),
        ("10.1.2.3/8", Some("10.0.0.0/8")),
        ("::ffff:10.1.2.3", Some("10.1.2.3/32")),
        ("::ffff:10.1.2.3/104", Some("10.0.0.0/8")),
        ("::ffff:0.0.0.0/96", Some("0.0.0.0/0")),
        ("::ffff:10.1.2.3/95", None),
        ("2001:db8::1/32", Some("2001:db8::/32")),
        ("2001:db8::1", Some("2001:db8::1/128")),
        ("10.0.0.0/33", None),
        ("10.0.0", None),
        ("", None),
    ] {
        assert_eq!(parse_network(written).map(|network| network.to_string()), expected.map(str::to_owned), "{written}");
    }
}
