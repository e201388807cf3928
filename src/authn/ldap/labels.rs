//! Labels out of a directory: which attribute, of the account's own entry or of its groups, and what is made of the
//! values.

use regex::Regex;
use settings::{Field, Refusal, Section};

use super::filter::is_attribute;
use super::name::common_name;
use super::protocol::Entry;

/// Stands for the entry's distinguished name among the attributes.
const NAME: &str = "dn";
/// The largest compiled expression, in bytes.
const REGEX_BYTES: usize = 256 * 1024;

/// How one label is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LabelRule {
    /// The label's name.
    pub(super) label: String,
    /// Whose attribute it is.
    pub(super) from: LabelSource,
    attribute: String,
    common_name: CommonName,
    pattern: Option<Pattern>,
    case: Case,
}

/// Whose attributes a label is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LabelSource {
    /// The account's own entry.
    Entry,
    /// The groups that the group search finds.
    Groups,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CommonName {
    /// Of a value that is a distinguished name, its common name is taken.
    Taken,
    /// Values are left as they are.
    Left,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Lower,
    Kept,
}

/// A compiled expression; two are the same if their texts are.
#[derive(Clone, Debug)]
struct Pattern(Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

/// Reads the `labels:` section.
pub(super) fn read(section: Field<'_>) -> Vec<LabelRule> {
    let Some(entries) = section.entries() else {
        section.problem("labels are names with their attributes: labels: {groups: {attribute: memberOf}}");
        return Vec::new();
    };
    let read = |(label, field): (&str, Field<'_>)| {
        let mut section = field.section()?;
        let rule = read_one(label, &mut section);
        section.finish();
        rule
    };
    entries.into_iter().filter_map(read).collect()
}

fn read_one(label: &str, section: &mut Section<'_>) -> Option<LabelRule> {
    let attribute = section.word("attribute", |text| match is_attribute(text) {
        true => Ok(text.to_owned()),
        false => Err(Refusal::is("not an attribute; write its name, such as memberOf, or dn for the entry's own name")),
    });
    if !section.has("attribute") {
        section.missing("attribute", "the attribute is missing; write attribute: memberOf");
    }
    let from = section.word("from", |text| match text {
        "entry" => Ok(LabelSource::Entry),
        "groups" => Ok(LabelSource::Groups),
        _ => Err(Refusal::is("neither entry nor groups")),
    });
    let pattern = section.parsed("regex", |text| {
        // The whole value has to match: a part of a title that somebody chose must not pass for a group.
        let whole = format!("^(?:{text})$");
        let regex = regex::RegexBuilder::new(&whole).size_limit(REGEX_BYTES).build();
        match regex {
            Ok(regex) if regex.captures_len() <= 2 => Ok(Pattern(regex)),
            Ok(_) => Err("one group at most picks the value; write (?:…) for the others".to_owned()),
            Err(error) => Err(format!("this is not a regular expression: {}", told(&error))),
        }
    });
    let common_name = section.flag("parse_cn").is_some_and(|at| at.value);
    let lower = section.flag("lower_case").is_some_and(|at| at.value);
    Some(LabelRule {
        label: label.to_owned(),
        from: from.map_or(LabelSource::Entry, |at| at.value),
        attribute: attribute?.value,
        common_name: if common_name { CommonName::Taken } else { CommonName::Left },
        pattern: pattern.map(|at| at.value),
        case: if lower { Case::Lower } else { Case::Kept },
    })
}

/// What is wrong with an expression, without the expression itself, which the library repeats line by line.
fn told(error: &regex::Error) -> String {
    let whole = error.to_string();
    let last = whole.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

impl LabelRule {
    /// The attribute to ask the server for; nothing for an entry's name, which comes with every entry.
    pub(super) fn wanted(&self) -> Option<&str> {
        (!self.attribute.eq_ignore_ascii_case(NAME)).then_some(self.attribute.as_str())
    }

    /// The label's values, out of the entries that it is made of.
    pub(super) fn values(&self, entries: &[Entry]) -> Vec<String> {
        let mut values = Vec::new();
        for entry in entries {
            match self.wanted() {
                Some(attribute) => values.extend(entry.values(attribute).filter_map(|value| self.value(value))),
                None => values.extend(self.value(&entry.name)),
            }
        }
        values
    }

    /// Whether the server kept back some of the values. A rule may refuse by one of these.
    pub(super) fn lacks_values(&self, entries: &[Entry]) -> bool {
        self.wanted().is_some_and(|attribute| entries.iter().any(|entry| entry.is_cut(attribute)))
    }

    fn value(&self, value: &str) -> Option<String> {
        let taken = match self.common_name {
            // A value that is not a distinguished name, or has no common name, stands for itself.
            CommonName::Taken => common_name(value).unwrap_or_else(|| value.to_owned()),
            CommonName::Left => value.to_owned(),
        };
        let picked = match &self.pattern {
            Some(Pattern(regex)) => {
                let captures = regex.captures(&taken)?;
                captures.get(regex.captures_len().saturating_sub(1))?.as_str().to_owned()
            }
            None => taken,
        };
        Some(match self.case {
            Case::Lower => picked.to_lowercase(),
            Case::Kept => picked,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use settings::{Reading, Secrets, yaml};

    fn rules(text: &str) -> Result<Vec<LabelRule>, Vec<String>> {
        let reading = Reading::default();
        let Ok(node) = yaml::parse(text) else { unreachable!("{text}") };
        let rules = read(reading.field(&node, "labels", Secrets::Skip));
        let problems = reading.into_findings().problems;
        match problems.is_empty() {
            true => Ok(rules),
            false => Err(problems.iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect()),
        }
    }

    #[test]
    fn each_label_has_its_own_copy_of_the_values() {
        let rules = rules(
            "raw: {attribute: memberof}\nnames: {attribute: memberOf, parse_cn: true}\n\
             lower: {attribute: MEMBEROF, parse_cn: true, lower_case: true}\nagain: {attribute: memberOf}\n\
             who: {attribute: dn}\nteam: {attribute: memberOf, parse_cn: true, regex: 'Team-(.*)', lower_case: true}\n\
             all: {attribute: memberOf, parse_cn: true, regex: 'Team-.*'}\nnone: {attribute: memberOf, regex: 'cn'}\n",
        );
        let values = ["CN=Team-Web,OU=Groups,DC=x", "Developer", "cn=broken\\"].map(str::to_owned).to_vec();
        let attributes = vec![("memberOf".to_owned(), values)];
        let entry = Entry { name: "uid=a".to_owned(), attributes, ..Entry::default() };
        let made: Vec<(String, Vec<String>)> = rules
            .unwrap_or_default()
            .into_iter()
            .map(|rule| (rule.label.clone(), rule.values(std::slice::from_ref(&entry))))
            .collect();
        let raw = ["CN=Team-Web,OU=Groups,DC=x", "Developer", "cn=broken\\"].as_slice();
        let expected = [
            ("raw", raw),
            ("names", &["Team-Web", "Developer", "cn=broken\\"]),
            ("lower", &["team-web", "developer", "cn=broken\\"]),
            ("again", raw),
            ("who", &["uid=a"]),
            ("team", &["web"]),
            ("all", &["Team-Web"]),
            ("none", &[]),
        ];
        let expected =
            expected.map(|(label, values)| (label.to_owned(), values.iter().map(|&text| text.to_owned()).collect()));
        assert_eq!(made, expected.to_vec());
    }

    #[test]
    fn each_slip_in_a_label_is_named() {
        for (text, expected) in [
            ("g: {}", "labels.g.attribute: the attribute is missing"),
            ("g: {attribute: 'member of'}", "labels.g.attribute: \"member of\" is not an attribute"),
            ("g: {attribute: a, from: group}", "labels.g.from: \"group\" is neither entry nor groups"),
            ("g: {attribute: a, regex: '('}", "labels.g.regex: this is not a regular expression"),
            ("g: {attribute: a, regex: '(a)(b)'}", "labels.g.regex: one group at most"),
            ("g: {attribute: a, parse_cn: 7}", "labels.g.parse_cn: \"7\" is neither true nor false"),
            ("g: {attribute: a, lowercase: true}", "did you mean \"lower_case\"?"),
            ("g: memberOf", "labels.g: keys are expected here"),
            ("[a]", "labels are names with their attributes"),
        ] {
            let messages = rules(text).err().unwrap_or_default();
            assert!(messages.iter().any(|message| message.contains(expected)), "{text}: {messages:?}");
        }
    }
}
