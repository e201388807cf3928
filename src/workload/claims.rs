//! The claims of a JWT, and where in them a value is: by a path with dots between its names.

use policy::pattern::LabelValue;
use serde_json::{Map, Value};
use settings::Scalar;

/// The longest path, in bytes, and the most dots in one: each can be between two names or part of one.
const MAX_PATH: usize = 256;
const MAX_DOTS: usize = 8;

/// The claims of a JWT.
#[derive(Debug)]
pub(crate) struct Claims(pub(crate) Map<String, Value>);

/// Where a claim is: a name, or several with dots between them, from the outermost object inwards.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClaimPath(String);

impl ClaimPath {
    /// Reads a path; `None` for what is none.
    pub(crate) fn parse(text: &str) -> Option<ClaimPath> {
        let is_one = !text.is_empty()
            && text.len() <= MAX_PATH
            && text.matches('.').count() <= MAX_DOTS
            && !text.contains(|letter: char| letter.is_control() || matches!(letter, '$' | '{' | '}'));
        is_one.then(|| ClaimPath(text.to_owned()))
    }

    /// The path as it is written.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Claims {
    /// The value at a path. Names of claims hold dots too (`kubernetes.io`): where a path could be read in two ways, and there
    /// is a value at each, there is none. Whoever can add claims of their own could otherwise put one before the issuer's.
    pub(crate) fn at(&self, path: &ClaimPath) -> Option<&Value> {
        let mut found = Vec::new();
        gather(&self.0, &path.0, &mut found);
        match found.as_slice() {
            [only] => Some(only),
            [] | [_, _, ..] => None,
        }
    }

    /// A claim of the outermost object.
    pub(crate) fn own(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// A claim as part of an account's name: a text that is not empty, or a whole number.
    pub(crate) fn name_at(&self, path: &ClaimPath) -> Option<String> {
        match self.at(path)? {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Number(number) if !number.is_f64() => Some(number.to_string()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                None
            }
        }
    }

    /// A claim as values of a label: a text, number or flag, or a list of such. They are plain text to rules, since whoever
    /// names a branch `*` writes them.
    pub(crate) fn labels_at(&self, path: &ClaimPath) -> Vec<LabelValue> {
        let single = |value: &Value| match value {
            Value::String(text) => Some(LabelValue::literal(text)),
            Value::Number(number) => Some(LabelValue::literal(&number.to_string())),
            Value::Bool(flag) => Some(LabelValue::literal(if *flag { "true" } else { "false" })),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        };
        match self.at(path) {
            Some(Value::Array(items)) => items.iter().filter_map(single).collect(),
            Some(one) => single(one).into_iter().collect(),
            None => Vec::new(),
        }
    }
}

/// Each value that the path leads to, whichever dots are taken as part of a name.
fn gather<'claims>(object: &'claims Map<String, Value>, path: &str, found: &mut Vec<&'claims Value>) {
    found.extend(object.get(path));
    for (dot, _) in path.match_indices('.') {
        let (Some(name), Some(rest)) = (path.get(..dot), path.get(dot + 1..)) else { continue };
        if let Some(Value::Object(inner)) = object.get(name) {
            gather(inner, rest, found);
        }
    }
}

/// Whether a claim is this value, its type included: the text `"true"` is not `true`.
pub(crate) fn equals(required: &Scalar, claim: &Value) -> bool {
    match (required, claim) {
        (Scalar::Text(text), Value::String(own)) => text == own,
        (Scalar::Number(number), Value::Number(own)) => own.as_i64() == Some(*number),
        (Scalar::Flag(flag), Value::Bool(own)) => flag == own,
        (Scalar::Text(_) | Scalar::Number(_) | Scalar::Flag(_), _) => false,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use serde_json::json;

    use super::*;

    fn claims(value: &Value) -> Claims {
        Claims(value.as_object().unwrap().clone())
    }

    #[test]
    fn a_dot_is_between_names_or_part_of_one_and_never_both() {
        let claims = claims(&json!({
            "sub": "s",
            "kubernetes.io": {"namespace": "web", "serviceaccount": {"name": "builder"}},
            "https://sts.amazonaws.com/": {"aws_account": "1"},
            "a": {"b": 1}, "a.b": 2,
            "list": ["x", 1, true, {}], "null": null,
        }));
        for (path, expected) in [
            ("sub", Some(json!("s"))),
            ("kubernetes.io.namespace", Some(json!("web"))),
            ("kubernetes.io.serviceaccount.name", Some(json!("builder"))),
            ("https://sts.amazonaws.com/.aws_account", Some(json!("1"))),
            ("a.b", None),
            ("kubernetes.namespace", None),
            ("sub.s", None),
            ("", None),
        ] {
            let found = ClaimPath::parse(path).and_then(|path| claims.at(&path).cloned());
            assert_eq!(found, expected, "{path}");
        }
        let path = |text: &str| ClaimPath::parse(text).unwrap();
        let labels: Vec<LabelValue> = ["x", "1", "true"].map(LabelValue::literal).into();
        assert_eq!(claims.labels_at(&path("list")), labels);
        assert_eq!(claims.labels_at(&path("null")), []);
        assert_eq!(claims.name_at(&path("list")), None);
        for wrong in ["${claim:a}", "a\nb", &"a.".repeat(9), &"a".repeat(257)] {
            assert_eq!(ClaimPath::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn equality_is_of_value_and_type() {
        let text = |text: &str| Scalar::Text(text.to_owned());
        for (required, claim, expected) in [
            (text("true"), json!("true"), true),
            (text("true"), json!(true), false),
            (Scalar::Flag(true), json!(true), true),
            (Scalar::Flag(true), json!("true"), false),
            (Scalar::Flag(true), json!(1), false),
            (Scalar::Number(1), json!(1), true),
            (Scalar::Number(1), json!(1.0), false),
            (Scalar::Number(1), json!("1"), false),
            (text("a"), json!(["a"]), false),
            (text("refs/heads/*"), json!("refs/heads/main"), false),
            (text("main"), json!("Main"), false),
            (text(""), json!(null), false),
        ] {
            assert_eq!(equals(&required, &claim), expected, "{required:?} and {claim}");
        }
    }
}
