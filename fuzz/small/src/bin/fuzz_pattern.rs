//! Any pattern and any data: nothing panics, data never becomes syntax, and what a pattern says about itself holds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use policy::pattern::{Bindings, Field, FieldValues, LabelValue, LabelValues, Needed, Pattern};

// One part a line: the pattern, the name that it is compared with, the account, and the values of the label `team`.
fuzz_target!(|text: &str| {
    let mut parts = text.split('\n');
    let mut part = || parts.next().unwrap_or_default();
    let (written, name, account) = (part(), part(), part());
    let Ok(pattern) = Pattern::compile(written) else { return };
    let values = parts.take(8).map(|value| LabelValue::glob(value).unwrap_or_else(|_| LabelValue::literal(value)));
    let labels = LabelValues::from([("team".to_owned(), values.collect())]);
    let mut bindings = Bindings::new(FieldValues { account, kind: "repository", name, service: "registry" }, &labels);
    bindings.capture(Field::Account, 1, account);
    // Written in a few lines, a pattern is never too much work for a name of a few lines: only the data could make it so.
    let Ok(matches) = pattern.matches(name, &bindings) else { return };
    if let Some(only) = pattern.literal() {
        assert_eq!(matches, only == name);
    }
    if matches {
        match pattern.needed() {
            Some(Needed::Whole(only)) => assert_eq!(only, name),
            Some(Needed::OneOf(texts)) => assert!(texts.iter().any(|text| name.contains(text)), "{texts:?}"),
            None => {}
        }
    }
    if pattern.is_regex() {
        if let Ok(caught) = pattern.capture(name, 0, &bindings) {
            assert_eq!(caught.is_some(), matches);
        }
    } else {
        // A regular expression of the account's making is compared letter by letter.
        let own = Pattern::compile("${account}").expect("a placeholder");
        assert_eq!(own.matches(name, &bindings), Ok(name == account));
    }
    drop(pattern.expand(&bindings));
});
