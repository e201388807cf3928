//! What is read as rules, what is refused and how, and that what was written is read again as the same.
#![expect(clippy::indexing_slicing, reason = "each list has one item for each rule")]

use proptest::prelude::*;
use time::OffsetDateTime;
use time::macros::datetime;

use super::*;
use crate::authz::mongo::documents::{compile, read_text};
use crate::authz::mongo::text::{Format, write_all};

fn parsed(text: &str) -> Result<Vec<Unnumbered>, Vec<String>> {
    parse(Path::new("rules"), text)
}

fn rule(account: &str, actions: &[&str]) -> RuleText {
    RuleText {
        account: Some(account.to_owned()),
        actions: actions.iter().map(|action| (*action).to_owned()).collect(),
        ..RuleText::default()
    }
}

#[test]
fn every_form_is_read_as_the_same_rules() {
    let expected = Ok(vec![
        Unnumbered { seq: Some(10), text: rule("admin", &["*"]) },
        Unnumbered { seq: Some(20), text: rule("/^a$/", &[]) },
    ]);
    for text in [
        // Lines of JSON, as docker_auth's documentation has its reference_acl.json.
        "{\"seq\": 10, \"match\" : {\"account\" : \"admin\"}, \"actions\" : [\"*\"]}\n{\"seq\": 20, \"match\" : {\"account\" : \"/^a$/\"}, \"actions\" : []}\n",
        // A JSON array, and the same spread over lines.
        r#"[{"seq":10,"match":{"account":"admin"},"actions":["*"]},{"seq":20.0,"match":{"account":"\/^a$\/"},"actions":[]}]"#,
        "[\n  {\n    \"seq\": 10,\n    \"match\": {\"account\": \"admin\"},\n    \"actions\": [\"*\"]\n  },\n  {\"seq\": 20, \"match\": {\"account\": \"/^a$/\"}, \"actions\": []}\n]",
        // What mongoexport writes.
        r#"{"_id":{"$oid":"5f0000000000000000000001"},"seq":{"$numberInt":"10"},"match":{"account":"admin"},"actions":["*"]}
           {"_id":{"$oid":"5f0000000000000000000002"},"seq":{"$numberDouble":"20.0"},"match":{"account":"/^a$/"},"actions":[]}"#,
        // YAML, with and without marks around texts, and a byte order mark.
        "- {seq: 10, match: {account: admin}, actions: [\"*\"]}\n- seq: 20\n  match: {account: /^a$/}\n  actions: []\n",
        "\u{feff}- {seq: 10, match: {account: admin}, actions: [\"*\"]}\n- {seq: 20, match: {account: /^a$/}, actions: []}\n",
        // A whole configuration.
        "server: {addr: \":5001\"}\nacl:\n- {seq: 10, match: {account: admin}, actions: [\"*\"]}\n- {seq: 20, match: {account: /^a$/}, actions: []}\n",
    ] {
        assert_eq!(parsed(text), expected, "{text}");
    }
    let alone = Ok(vec![Unnumbered { seq: None, text: rule("admin", &["*"]) }]);
    assert_eq!(parsed("match: {account: admin}\nactions: [\"*\"]\n"), alone);
    assert_eq!(parsed(r#"{"match": {"account": "admin"}, "actions": ["*"]}"#), alone);
    assert_eq!(parsed("[]"), Ok(vec![]));
    assert_eq!(parsed("acl: []"), Ok(vec![]));
}

#[test]
fn dates_of_the_database_are_moments() {
    let moment = datetime!(2027-01-01 00:00 UTC);
    for date in [
        r#"{"$date": "2027-01-01T00:00:00Z"}"#,
        r#"{"$date": {"$numberLong": "1798761600000"}}"#,
        r#"{"$date": 1798761600000}"#,
        "\"2027-01-01T01:00:00+01:00\"",
        "\"2026-12-31\"",
    ] {
        let read = parsed(&format!(r#"{{"match": {{}}, "actions": [], "not_after": {date}}}"#));
        assert_eq!(read.map(|rules| rules.first().and_then(|rule| rule.text.not_after)), Ok(Some(moment)), "{date}");
    }
}

#[test]
fn whatever_is_wrong_is_named_with_its_line() {
    for (text, expected) in [
        ("", "rules:1: there are no rules in it"),
        ("# nothing\n", "rules:1: there are no rules in it"),
        ("a text", "rules:1: there are neither rules in it nor a configuration's acl"),
        ("server: {addr: \":5001\"}", "rules:1: there are neither rules"),
        ("acl: {}", "rules:1: acl: a list of rules is expected here"),
        ("- {match: {}, actions: []}\n- {actions: []}\n", "rules:2: rule 2.match: a rule needs a match"),
        ("- {match: {}, actions: []}\n- {match: {}}\n", "rules:2: rule 2.actions: a rule needs actions"),
        ("- match: {}\n  actions: pull\n", "rules:1: rule 1.actions: actions are a list"),
        ("- match: {}\n  actions: [PULL]\n", "rules:2: rule 1.actions: \"PULL\" is not an action"),
        ("- match: {acount: a}\n  actions: []\n", "rules:1: rule 1.match.acount: there is no such key"),
        ("- {match: {}, actions: [], sek: 10}\n", "rules:1: rule 1.sek: there is no such key; did you mean \"seq\"?"),
        ("- {seq: ten, match: {}, actions: []}\n", "rules:1: rule 1.seq: \"ten\" is not a whole number"),
        ("- {seq: 10.5, match: {}, actions: []}\n", "rules:1: rule 1.seq: \"10.5\" is not a whole number"),
        ("- {seq: 9000000000000001, match: {}, actions: []}\n", "is not a whole number that rules can be ordered by"),
        (
            "{\"match\": {}, \"actions\": []}\n\n{\"match\": {\"name\": \"[a\"}, \"actions\": []}\n",
            "rules:3: rule 2.match.name: ",
        ),
        ("{\"match\": {}, \"actions\": []}\n{\"match\": {}\n", "rules:3: this is not JSON: "),
        ("[{\"match\": {}, \"match\": {}, \"actions\": []}]", "the key \"match\" stands here a second time"),
        (
            "{\"match\": {\"name\": {\"$regex\": \"a\"}}, \"actions\": []}",
            "rule 1.match.name: one value is expected here",
        ),
        (
            "{\"match\": {}, \"actions\": [], \"not_after\": {\"$date\": \"soon\"}}",
            "rule 1.not_after: \"soon\" is not a date or time",
        ),
        ("- match: {\n", "rules:"),
    ] {
        let problems = parsed(text).err().unwrap_or_default();
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{text:?}: {problems:?}");
    }
}

#[test]
fn numbers_are_kept_or_given_by_tens_and_never_guessed() {
    let with = |seq: Option<i64>, account: &str| Unnumbered { seq, text: rule(account, &[]) };
    let seqs = |rules: Vec<Numbered>| -> Vec<(i64, String)> {
        rules.into_iter().map(|rule| (rule.seq, rule.text.account.unwrap_or_default())).collect()
    };
    let named = |pairs: &[(i64, &str)]| -> Vec<(i64, String)> {
        pairs.iter().map(|(seq, name)| (*seq, (*name).to_owned())).collect()
    };
    assert_eq!(
        number_all(vec![with(None, "b"), with(None, "a")]).map(seqs),
        Ok(named(&[(10, "b"), (20, "a")])),
        "in the order of the text"
    );
    assert_eq!(number_all(vec![with(Some(7), "b"), with(Some(-1), "a")]).map(seqs), Ok(named(&[(-1, "a"), (7, "b")])));
    assert!(number_all(vec![with(Some(7), "b"), with(None, "a")]).is_err());
    assert!(number_all(vec![with(Some(7), "b"), with(Some(7), "a")]).is_err());
    assert_eq!(
        number_after(Some(12), vec![with(Some(7), "b"), with(Some(-1), "a")]).map(seqs),
        Ok(named(&[(20, "a"), (30, "b")]))
    );
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[a-z*?/]{1,8}",
        Just("yes".to_owned()),
        Just("~".to_owned()),
        Just("10".to_owned()),
        // Whatever can be written: quotes, control characters, line breaks of every kind, emoji.
        proptest::collection::vec(any::<char>(), 0..12).prop_map(|letters| letters.into_iter().collect()),
    ]
}

prop_compose! {
    fn rules()(
        numbers in proptest::collection::btree_set(-1_000_000_000_000_i64..1_000_000_000_000, 0..6),
        accounts in proptest::collection::vec(proptest::option::of(texts()), 6),
        comments in proptest::collection::vec(proptest::option::of(texts()), 6),
        labels in proptest::collection::vec(proptest::collection::btree_map(texts(), texts(), 0..3), 6),
        actions in proptest::collection::vec(proptest::sample::subsequence(vec!["pull", "push", "delete", "*"], 0..4), 6),
        moments in proptest::collection::vec(proptest::option::of(-62_000_000_000_i64..250_000_000_000), 6),
        fractions in proptest::collection::vec(0_i64..1_000_000_000, 6),
    ) -> Vec<Numbered> {
        numbers.into_iter().enumerate().map(|(index, seq)| {
            let seconds = moments[index].and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
            Numbered { seq, text: RuleText {
                account: accounts[index].clone(),
                labels: labels[index].clone(),
                actions: actions[index].iter().map(|action| (*action).to_owned()).collect(),
                comment: comments[index].clone(),
                not_after: seconds.map(|moment| moment + time::Duration::nanoseconds(fractions[index])),
                ..RuleText::default()
            }}
        }).collect()
    }
}

proptest! {
    /// A set that is right is read again as it was written, from either form, and from its documents.
    #[test]
    fn what_was_written_is_read_again(rules in rules()) {
        let documents: Vec<_> = rules.iter().map(Numbered::to_document).collect();
        for (rule, document) in rules.iter().zip(&documents) {
            let (seq, text, problems) = read_text(document);
            prop_assert_eq!((seq, text, problems), (Some(rule.seq), rule.text.clone(), vec![]));
        }
        prop_assume!(compile(&documents).is_ok());
        for format in [Format::Yaml, Format::JsonLines] {
            let text = write_all(&rules, format);
            if rules.is_empty() && format == Format::JsonLines {
                continue;
            }
            let read = parsed(&text).and_then(|read| number_all(read).map_err(|error| vec![error]));
            prop_assert_eq!(read, Ok(rules.clone()), "{}", text);
        }
    }
}
