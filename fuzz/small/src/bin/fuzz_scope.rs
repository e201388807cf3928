//! Any text as `scope` parameters: nothing panics, limits hold, and what was read prints as what reads the same again.
#![no_main]

use std::borrow::Cow;

use libfuzzer_sys::fuzz_target;
use policy::scope::{MAX_ACTIONS, MAX_NAME, MAX_SCOPES, Scope, parse_all};

fuzz_target!(|text: &str| {
    let requested = parse_all(text.split('\n').map(Cow::Borrowed));
    assert!(requested.scopes.len() <= MAX_SCOPES);
    for (index, scope) in requested.scopes.iter().enumerate() {
        assert!(scope.resource.name().len() <= MAX_NAME);
        assert!(scope.actions.len() <= MAX_ACTIONS);
        assert_eq!(Scope::parse(&scope.to_string()).as_ref(), Ok(scope));
        assert!(!requested.scopes[..index].iter().any(|other| other.resource == scope.resource), "named twice");
    }
});
