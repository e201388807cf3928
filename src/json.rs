//! JSON from others: structs that are read from objects only, and objects without duplicate names.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use settings::refused::is_plain_word;

/// A struct that is read from an object only.
///
/// What serde derives accepts a list as well, by position: `[["pull"]]` for `{"actions": ["pull"]}`. A list is the answer to
/// another question, and must not grant anything.
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<T>, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData)).map(Object)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

/// Reads an object.
///
/// # Errors
/// The text is not such an object. The error's message may quote the text, which may be a secret.
pub(crate) fn object<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice::<Object<T>>(text).map(|Object(read)| read)
}

/// Reads a list of objects.
///
/// # Errors
/// As for [`object`].
pub(crate) fn list<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<Vec<T>, serde_json::Error> {
    let read = serde_json::from_slice::<Vec<Object<T>>>(text)?;
    Ok(read.into_iter().map(|Object(read)| read).collect())
}

/// A value in which no object has a name twice. Of two equal names, one reader takes the first and another the last; an
/// attacker who can add one to somebody's text would be understood by one reader only.
pub(crate) struct Unambiguous(pub(crate) Value);

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Unambiguous, D::Error> {
        deserializer.deserialize_any(ValueVisitor).map(Unambiguous)
    }
}

/// Scalars are what they are.
macro_rules! visit_scalars {
    ($($visit:ident: $scalar:ty),*) => {
        $(fn $visit<E>(self, value: $scalar) -> Result<Value, E> {
            Ok(value.into())
        })*
    };
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON without duplicate names")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    visit_scalars! { visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str, visit_string: String }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Unambiguous(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Value, A::Error> {
        let object = NamesVisitor::<Unambiguous>(PhantomData).visit_map(entries)?;
        Ok(Value::Object(object.into_iter().map(|(name, Unambiguous(value))| (name, value)).collect()))
    }
}

/// An object with any names, none of them twice.
pub(crate) struct UniqueNames<T>(pub(crate) BTreeMap<String, T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for UniqueNames<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<UniqueNames<T>, D::Error> {
        deserializer.deserialize_map(NamesVisitor(PhantomData)).map(UniqueNames)
    }
}

struct NamesVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for NamesVisitor<T> {
    type Value = BTreeMap<String, T>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON object without duplicate names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<BTreeMap<String, T>, A::Error> {
        let mut object = BTreeMap::new();
        while let Some(name) = entries.next_key::<String>()? {
            if object.contains_key(&name) {
                let key = if is_plain_word(&name) { format!("the key \"{name}\"") } else { "a key".to_owned() };
                return Err(A::Error::custom(format!("{key} stands here a second time")));
            }
            object.insert(name, entries.next_value()?);
        }
        Ok(object)
    }
}

/// Reads any value in which no object has a name twice.
///
/// # Errors
/// The text is not JSON, or has a name twice. The error's message may quote the text, which may be a secret.
pub(crate) fn unambiguous(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str::<Unambiguous>(text).map(|Unambiguous(value)| value)
}

/// Reads a list of objects for a field of a struct: `#[serde(deserialize_with = "json::objects")]`.
///
/// # Errors
/// As for [`object`].
pub(crate) fn objects<'de, T: DeserializeOwned, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let objects = Vec::<Object<T>>::deserialize(deserializer)?;
    Ok(objects.into_iter().map(|Object(read)| read).collect())
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer<'a> {
        #[serde(borrow)]
        name: Cow<'a, str>,
        #[serde(default, deserialize_with = "objects")]
        parts: Vec<Part>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Part {
        #[serde(default)]
        value: Option<u8>,
    }

    #[test]
    fn no_name_stands_twice_at_any_depth() {
        let read = |text| serde_json::from_str::<Unambiguous>(text).map(|Unambiguous(value)| value);
        for text in [
            "null",
            "[true, -1, 18446744073709551615, 1.5, \"a\", [], {}]",
            "{\"a\": {\"a\": [{\"a\": 1}, {\"a\": 2}]}, \"b\": null}",
        ] {
            assert_eq!(read(text).ok(), serde_json::from_str(text).ok(), "{text}");
        }
        for text in ["{\"a\": 1, \"a\": 1}", "[{\"b\": {\"a\": 1, \"\\u0061\": 2}}]"] {
            assert!(read(text).is_err(), "{text}");
        }
        let names = |text| {
            serde_json::from_str::<UniqueNames<u8>>(text)
                .map(|UniqueNames(names)| names.into_iter().collect::<Vec<_>>())
        };
        assert_eq!(names("{\"b\": 1, \"a\": 2}").ok(), Some(vec![("a".to_owned(), 2), ("b".to_owned(), 1)]));
        assert!(names("{\"a\": 1, \"a\": 1}").is_err() && names("[]").is_err());
    }

    #[test]
    fn only_an_object_is_a_struct_at_every_depth() {
        let read = |text| object::<Outer<'_>>(str::as_bytes(text));
        let part = Part { value: Some(1) };
        let whole = Outer { name: Cow::Borrowed("a"), parts: vec![part] };
        assert_eq!(read("{\"name\": \"a\", \"parts\": [{\"value\": 1}]}").ok(), Some(whole));
        assert!(read(" {\"name\": \"a\"} ").is_ok());
        for text in [
            "[]",
            "[\"a\"]",
            "[\"a\", []]",
            "[\"a\", [{\"value\": 1}]]",
            "{\"name\": \"a\", \"parts\": [[]]}",
            "{\"name\": \"a\", \"parts\": [[1]]}",
            "{\"name\": \"a\", \"parts\": [null]}",
            "{\"name\": \"a\", \"more\": 1}",
            "{\"name\": \"a\", \"name\": \"b\"}",
            "{\"name\": \"a\"} {}",
            "null",
            "\"a\"",
            "",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        assert_eq!(read("{\n\"name\": 7}").map_err(|error| error.line()).err(), Some(2), "the error has its line");
    }

    /// Structs are read here; other files read only values that they examine piece by piece.
    #[test]
    fn no_struct_is_read_in_another_way() -> std::io::Result<()> {
        let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
        let mut seen = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path)?;
                let own = text.split("#[cfg(test)]").next().unwrap_or_default();
                let is_test = path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs");
                let reads = ["serde_json::from_", "serde_json::Deserializer"].map(|way| own.matches(way).count());
                let allowed = match path.file_name().and_then(|name| name.to_str()) {
                    Some("json.rs") => 3,
                    // A reply that is searched by paths, a template that is only checked, and a reader of our own.
                    Some("reply.rs" | "template.rs" | "import.rs") => 1,
                    // The members of a token, of labels or of a rule are looked at one by one, none twice.
                    Some("jwt.rs" | "sql.rs") => 1,
                    _ => 0,
                };
                assert!(is_test || reads.iter().sum::<usize>() <= allowed, "{}", path.display());
                seen += 1;
            }
        }
        assert!(seen > 100, "{seen} files");
        Ok(())
    }
}
