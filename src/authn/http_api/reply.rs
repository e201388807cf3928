//! What is taken out of an API's reply: label values and the account, each by a JSONPath (RFC 9535).

use anyhow::{Context as _, bail, ensure};
use policy::pattern::LabelValues;
use serde_json::Value;
use serde_json_path::JsonPath;

use crate::authn::{Account, LabelSyntax};
use crate::json;

/// How many label values one account may have: each can cost time in each rule.
const MAX_VALUES: usize = 1000;

/// A JSONPath as it was written.
#[derive(Clone, PartialEq, Eq)]
pub struct ReplyPath {
    text: String,
    path: JsonPath,
}

impl ReplyPath {
    /// Reads a path.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<ReplyPath, String> {
        let wrong = |error: serde_json_path::ParseError| {
            // The reader's own message repeats what it read.
            let position = error.position();
            format!(
                "this is not a JSONPath, from character {position} on; write one as RFC 9535 has it, such as $.objects[*].name"
            )
        };
        Ok(ReplyPath { text: text.to_owned(), path: JsonPath::parse(text).map_err(wrong)? })
    }

    /// The texts at the path, each once; none where nothing is there.
    fn texts(&self, reply: &Value) -> anyhow::Result<Vec<String>> {
        let mut texts = Vec::new();
        for found in self.path.query(reply).iter() {
            let text = match found {
                Value::String(text) => text.clone(),
                Value::Bool(flag) => flag.to_string(),
                // 1.10 and 1.1 are one number and two releases.
                Value::Number(number) if number.is_i64() || number.is_u64() => number.to_string(),
                // A value that is not there, written out.
                Value::Null => continue,
                Value::Number(_) => bail!("{} is a number with a fraction; it has to be a text", self.text),
                Value::Array(_) => bail!("{} is a list; write {}[*] for what is in it", self.text, self.text),
                Value::Object(_) => bail!("{} is an object; write {}.name for a text in it", self.text, self.text),
            };
            if !texts.contains(&text) {
                texts.push(text);
            }
            ensure!(texts.len() <= MAX_VALUES, "{} has more than {MAX_VALUES} values", self.text);
        }
        Ok(texts)
    }
}

impl std::fmt::Debug for ReplyPath {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.text)
    }
}

/// Reads a reply as JSON.
///
/// # Errors
/// The body is not JSON. The message holds nothing of it: an API may repeat what it was sent.
pub(super) fn parse(body: &[u8]) -> anyhow::Result<Value> {
    serde_json::from_slice(body).map(|json::Unambiguous(reply)| reply).map_err(|error| {
        let (line, column, length) = (error.line(), error.column(), body.len());
        let what = if error.is_data() { "has a name twice" } else { "is not JSON" };
        anyhow::anyhow!("its reply of {length} bytes {what} (line {line}, column {column})")
    })
}

/// The labels in a reply.
///
/// # Errors
/// A value cannot be one. With a part of its labels, an account could be let do what a rule on the others refuses.
pub(super) fn labels(paths: &[(String, ReplyPath)], syntax: LabelSyntax, reply: &Value) -> anyhow::Result<LabelValues> {
    let mut labels = LabelValues::new();
    let mut number = 0;
    for (name, path) in paths {
        let texts = path.texts(reply).with_context(|| format!("label {name}"))?;
        number += texts.len();
        ensure!(number <= MAX_VALUES, "its reply holds more than {MAX_VALUES} label values");
        labels.insert(
            name.clone(),
            syntax.values(texts).map_err(|_| anyhow::anyhow!("a value of the label {name} is not a glob"))?,
        );
    }
    Ok(labels)
}

/// The account in a reply, as the API spells it; `None` where nothing is at the path.
///
/// # Errors
/// There is more than one, or one that no login could have typed.
pub(super) fn account(path: &ReplyPath, reply: &Value) -> anyhow::Result<Option<Account>> {
    let mut texts = path.texts(reply).context("account")?;
    let Some(text) = texts.pop() else { return Ok(None) };
    ensure!(texts.is_empty(), "its reply names more than one account at {}", path.text);
    let account = Account::parse(&text).ok().filter(|account| account.is_typed() && !account.contains(':'));
    // Not the name itself: an API may repeat the password there.
    let account = account.with_context(|| {
        format!("its reply names an account that nobody can have at {} ({} bytes)", path.text, text.len())
    })?;
    Ok(Some(account))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn taken(path: &str, reply: &Value) -> Result<Vec<String>, String> {
        ReplyPath::parse(path)?.texts(reply).map_err(|error| error.to_string())
    }

    #[test]
    fn texts_whole_numbers_and_flags_are_values_and_nothing_else_is() {
        let reply = json!({
            "objects": [{"release": "stable"}, {"release": "1.10"}, {"other": 1}, {"release": null}, {"release": "stable"}],
            "id": 4711, "negative": -1, "large": u64::MAX, "admin": true, "fraction": 1.1, "list": ["a", "b"],
            "map": {"a": "x", "b": "y"}, "empty": "", "a b": "quoted",
        });
        let cases: &[(&str, &[&str])] = &[
            ("$.objects[*].release", &["stable", "1.10"]),
            ("$.objects[?@.release == 'stable'].release", &["stable"]),
            ("$.objects[0]['release']", &["stable"]),
            ("$..release", &["stable", "1.10"]),
            ("$.nowhere[*].release", &[]),
            ("$.id", &["4711"]),
            ("$.negative", &["-1"]),
            ("$.large", &["18446744073709551615"]),
            ("$.admin", &["true"]),
            ("$.list[*]", &["a", "b"]),
            ("$.list[9]", &[]),
            ("$.map.*", &["x", "y"]),
            ("$.empty", &[""]),
            ("$['a b']", &["quoted"]),
        ];
        for (path, expected) in cases {
            assert_eq!(
                taken(path, &reply).as_deref(),
                Ok(expected.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>().as_slice()),
                "{path}"
            );
        }
        for (path, expected) in [
            ("$.fraction", "$.fraction is a number with a fraction"),
            ("$.list", "$.list is a list; write $.list[*]"),
            ("$.map", "$.map is an object; write $.map.name"),
            ("$.objects[*]", "$.objects[*] is an object"),
            ("$", "$ is an object"),
        ] {
            let message = taken(path, &reply).err().unwrap_or_default();
            assert!(message.starts_with(expected), "{path}: {message}");
        }
        for path in ["", "objects", "$.", "$.objects[", "$..", "$.a b", "$.objects[*].release extra"] {
            assert!(taken(path, &reply).is_err_and(|message| message.contains("RFC 9535")), "{path}");
        }
    }

    #[test]
    fn too_many_values_are_an_error_and_not_cut_off() -> Result<(), String> {
        let numbers = |count: usize| json!({ "ids": (0..count).collect::<Vec<_>>(), "more": ["x"] });
        let paths =
            [("id".to_owned(), ReplyPath::parse("$.ids[*]")?), ("more".to_owned(), ReplyPath::parse("$.more[*]")?)];
        let count = |reply: &Value| {
            labels(&paths, LabelSyntax::Literal, reply).map(|labels| labels.values().map(Vec::len).sum::<usize>())
        };
        assert_eq!(count(&numbers(MAX_VALUES - 1)).ok(), Some(MAX_VALUES));
        assert!(
            count(&numbers(MAX_VALUES)).is_err_and(|error| error.to_string().contains("more than 1000 label values"))
        );
        assert!(
            count(&numbers(MAX_VALUES + 1)).is_err_and(|error| format!("{error:#}").contains("more than 1000 values"))
        );
        Ok(())
    }

    #[test]
    fn an_account_is_one_text_that_can_be_typed() -> Result<(), String> {
        let path = ReplyPath::parse("$.email")?;
        let named = |email: Value| account(&path, &json!({ "email": email })).map_err(|error| format!("{error:#}"));
        assert_eq!(named(json!("carol@example.com")), Ok(Account::parse("carol@example.com").ok()));
        assert_eq!(named(json!(null)), Ok(None));
        for (email, expected) in [
            (json!(["a"]), "$.email is a list"),
            (json!(""), "an account that nobody can have"),
            (json!("a:b"), "an account that nobody can have"),
            (json!("a\nb"), "an account that nobody can have at $.email (3 bytes)"),
            (json!("x".repeat(256)), "an account that nobody can have"),
        ] {
            let message = named(email.clone()).err().unwrap_or_default();
            assert!(message.contains(expected), "{email}: {message}");
        }
        let several = ReplyPath::parse("$[*]")?;
        let message = account(&several, &json!(["a", "b"])).err().map(|error| error.to_string());
        assert_eq!(message.as_deref(), Some("its reply names more than one account at $[*]"));
        assert_eq!(account(&several, &json!(["a", "a"])).ok().flatten().as_deref(), Some("a"));
        Ok(())
    }

    #[test]
    fn what_is_not_json_is_not_repeated() {
        for body in ["", "hunter2", "{\"a\": hunter2}", "{} hunter2", "{\"hunter2"] {
            let message = parse(body.as_bytes()).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(message.contains("is not JSON (line ") && !message.contains("hunter2"), "{body}: {message}");
        }
    }
}
