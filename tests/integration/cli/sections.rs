//! What is told of whole policies where several sections hold rules.

use serde_json::{Value, json};

use super::{STRONG, configured, run};
use crate::bed::Folder;

/// Bob, rules of his own above the standard ones, and any service.
fn policy(acl: &str) -> (Folder, String) {
    configured(&format!(
        "token: {{issuer: Acme, certificate: $DIR/none.crt, key: $DIR/none.key}}\n\
         users:\n  bob: {{password: \"{STRONG}\"}}\n\
         records: {{sqlite: $DIR/dockwarden.db}}\ndirectory: {{}}\nstandard_rules: opensvc\nacl: {acl}\n"
    ))
}

/// The ordinary rules are asked first; whatever is undecided names the section of each rule.
#[test]
fn rules_are_told_with_their_section_in_the_order_in_which_they_are_asked() {
    let ((_one, old), (_other, new)) =
        (policy("[]"), policy("[{match: {type: repository, name: apps/public}, actions: [pull]}]"));
    let told = run(["diff", &old, &new, "--json"]);
    assert_eq!(told.code, 3, "{}", told.err);
    let found: Value = serde_json::from_str(&told.out).unwrap();
    let row = json!({
        "account": "bob", "service": "registry", "scope": "repository:apps/public:pull",
        "old_rule": 21, "old_source": "standard_rules", "new_rule": 0, "accounts": {"count": 1, "first": ["bob"]},
    });
    assert_eq!((&found["granted"], &found["withheld"]), (&json!([row]), &json!([])));
    // Those below are not asked about the name that the ordinary rule decides.
    let who = run(["who-can", &new, "pull", "repository:apps/public", "--json"]);
    assert_eq!(who.code, 0, "{}", who.err);
    let who: Value = serde_json::from_str(&who.out).unwrap();
    assert_eq!(who["accounts"][0]["ways"][0]["rule"], json!(0), "{who}");
    let who = run(["who-can", &new, "pull", "repository:apps/other", "--json"]);
    assert_eq!(who.code, 4, "{}", who.err);
    let who: Value = serde_json::from_str(&who.out).unwrap();
    // Which services the standard rules tell apart is not known.
    for (open, rules, sources) in [
        (&found["undecided"][0], "old_rules", "old_sources"),
        (&found["undecided"][0], "new_rules", "new_sources"),
        (&who["undecided"][0], "rules", "sources"),
    ] {
        let (rules, sources) = (open[rules].as_array().unwrap(), open[sources].as_array().unwrap());
        assert_eq!(rules.len(), sources.len(), "{open}");
        assert!(!rules.is_empty() && sources.iter().all(|source| source == "standard_rules"), "{open}");
    }
}
