//! JSON objects from others: a struct is read from an object, and from nothing else.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};

/// A struct that is read from an object alone.
///
/// What serde derives takes a list as well, by position: `[["pull"]]` for `{"actions": ["pull"]}`. Whoever answers with a
/// list has answered another question, and must not grant anything with it.
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
/// It is none, or not one of these. The reader's own words may quote what was read, which may be a secret.
pub(crate) fn object<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice::<Object<T>>(text).map(|Object(read)| read)
}

/// Reads a list of objects, as a field of a struct: `#[serde(deserialize_with = "json::objects")]`.
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
        assert_eq!(read("{\n\"name\": 7}").map_err(|error| error.line()).err(), Some(2), "where it is wrong is told");
    }

    /// Every struct is read here; elsewhere only values that are looked at piece by piece.
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
                    Some("json.rs") => 1,
                    // A reply that paths lead through, a template that is only checked, and a reader of our own.
                    Some("reply.rs" | "template.rs" | "import.rs") => 1,
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
