//! Samples: texts that a pattern matches, found without a search.

use super::*;

#[test]
fn a_sample_is_matched_by_its_pattern() {
    let labels = LabelValues::from([("team".to_owned(), vec![LabelValue::literal("web.x")])]);
    let values = FieldValues { account: "al(ice", kind: "repository", name: "", service: "reg" };
    let value_of = |placeholder: &Placeholder| match placeholder {
        Placeholder::Value(field) => Some(values.get(*field).to_owned()),
        Placeholder::Label(label) => Some(labels.get(label)?.first()?.text().to_owned()),
        Placeholder::Capture(..) => None,
    };
    for (text, sample) in [
        ("team/app", Some("team/app")),
        ("lib-1/[a-m]*/v?", Some("lib-1/ax/vx")),
        ("[^x]/[b-d]", Some("a/b")),
        ("[^a-z]*", Some("0x")),
        ("${account}/*", Some("al(ice/x")),
        ("${labels:team}/part/*", Some("web.x/part/x")),
        ("/^(mirror|cache)-7\\/.*$/", Some("mirror-7/x")),
        ("/^team-[a-z]{3,}$/", Some("team-xxx")),
        ("/^(?i:Ab)+c?$/", Some("aBc")),
        ("/^${labels:team}\\/${account}$/", Some("web.x/al(ice")),
        ("/[0-9]{2}\\pL/", Some("00x")),
        ("/^[^\\x00-z]$/", Some("{")),
        ("/^$/", Some("")),
        // Where it ends in the middle, nothing is matched, or nothing is quickly told.
        ("/a$b/", None),
        ("/a^b/", None),
        ("/\\bab/", None),
        ("/^a$|^b$/", Some("a")),
        ("/^x{200}y{200}$/", None),
        ("${account:1}/*", None),
    ] {
        let pattern = Pattern::compile(text).unwrap();
        let found = pattern.sample(&value_of);
        assert_eq!(found.as_deref(), sample, "{text}");
        if let Some(found) = found {
            assert!(pattern.matches(&found, &Bindings::new(values, &labels)).unwrap(), "{text} {found}");
        }
    }
}
