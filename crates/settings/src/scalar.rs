//! A single value with its type, where a text and the number or flag that looks like it are not the same.

use crate::field::Field;
use crate::problem::At;
use crate::yaml::{Style, Value};

/// A single value with its type, as YAML 1.2 has it: `true` and `42` are a flag and a number, and `"true"` and `"42"` are texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// `true` or `false`.
    Flag(bool),
}

impl Scalar {
    /// What a text is that stands without quotes. A number that is not written as it would be printed (`007`, `+1`) is a text.
    fn from_plain(text: &str) -> Scalar {
        match text {
            "true" => Scalar::Flag(true),
            "false" => Scalar::Flag(false),
            text => match text.parse::<i64>() {
                Ok(number) if number.to_string() == text => Scalar::Number(number),
                Ok(_) | Err(_) => Scalar::Text(text.to_owned()),
            },
        }
    }
}

impl Field<'_> {
    /// A list of single values with their types. One value alone is read as a list of it; anything else is a problem.
    pub fn scalars(&self) -> Vec<At<Scalar>> {
        let single = [self.clone()];
        let items = self.items();
        let fields = items.as_deref().unwrap_or(&single);
        let mut scalars = Vec::with_capacity(fields.len());
        for field in fields {
            match (field.value(), field.style()) {
                (Value::Text(text), style) => {
                    let value = match style {
                        Style::Plain => Scalar::from_plain(text),
                        Style::Quoted => Scalar::Text(text.clone()),
                    };
                    scalars.push(At { place: field.place().clone(), value });
                }
                (other @ (Value::Null | Value::List(_) | Value::Map(_)), _) => {
                    field.problem(format!("one value is expected here, not {}", other.describe()));
                }
            }
        }
        scalars
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::{Reading, Secrets};
    use crate::yaml;

    #[test]
    fn quotes_make_a_text() {
        let text = |text: &str| Scalar::Text(text.to_owned());
        for (yaml, expected) in [
            ("true", vec![Scalar::Flag(true)]),
            ("'true'", vec![text("true")]),
            ("42", vec![Scalar::Number(42)]),
            ("\"42\"", vec![text("42")]),
            ("!!str 42", vec![text("42")]),
            ("-7", vec![Scalar::Number(-7)]),
            ("007", vec![text("007")]),
            ("yes", vec![text("yes")]),
            ("1.5", vec![text("1.5")]),
            ("[push, '1', 1, false]", vec![text("push"), text("1"), Scalar::Number(1), Scalar::Flag(false)]),
            ("[]", vec![]),
        ] {
            let Ok(root) = yaml::parse(yaml) else { unreachable!("{yaml}") };
            let reading = Reading::default();
            let read = reading.field(&root, "top", Secrets::Skip).scalars();
            assert_eq!(read.into_iter().map(|at| at.value).collect::<Vec<_>>(), expected, "{yaml}");
            assert!(reading.into_findings().problems.is_empty(), "{yaml}");
        }
        for yaml in ["{a: b}", "[[a]]", "~"] {
            let Ok(root) = yaml::parse(yaml) else { unreachable!("{yaml}") };
            let reading = Reading::default();
            assert!(reading.field(&root, "top", Secrets::Skip).scalars().is_empty(), "{yaml}");
            assert_eq!(reading.into_findings().problems.len(), 1, "{yaml}");
        }
    }
}
