//! The values that a request gives to placeholders: its own fields, the account's labels, and captured groups.

use std::collections::BTreeMap;
use std::fmt;

use super::error::PatternError;
use crate::glob::{self, GlobToken};

/// A field of a request that rules match on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// The account; empty for an anonymous client.
    Account,
    /// The resource's type, for example `repository`.
    Type,
    /// The name of the resource, for example `team/app`.
    Name,
    /// The service (audience) of the token.
    Service,
}

impl Field {
    /// All fields, in the order rules write them.
    pub const ALL: [Field; 4] = [Field::Account, Field::Type, Field::Name, Field::Service];

    /// The field's name in rules and placeholders.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Field::Account => "account",
            Field::Type => "type",
            Field::Name => "name",
            Field::Service => "service",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The value of each [`Field`] in one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FieldValues<'a> {
    /// The account; empty for an anonymous client.
    pub account: &'a str,
    /// The resource's type.
    pub kind: &'a str,
    /// The name of the resource.
    pub name: &'a str,
    /// The service (audience) of the token.
    pub service: &'a str,
}

impl<'a> FieldValues<'a> {
    /// The value of `field`.
    #[must_use]
    pub fn get(&self, field: Field) -> &'a str {
        match field {
            Field::Account => self.account,
            Field::Type => self.kind,
            Field::Name => self.name,
            Field::Service => self.service,
        }
    }
}

/// One value of a label, ready to stand in for `${labels:…}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelValue {
    text: String,
    pub(super) meaning: LabelMeaning,
}

/// What a label value matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LabelMeaning {
    /// This text and no other.
    Exactly(String),
    /// What this glob matches; it holds no placeholder.
    Wildcards(Vec<GlobToken>),
}

impl LabelValue {
    /// A value that an administrator wrote: a glob, whose wildcards work. It is never a regular expression.
    ///
    /// # Errors
    /// When it is not a glob; the message says what to write instead.
    pub fn glob(text: &str) -> Result<LabelValue, PatternError> {
        let tokens = glob::parse(text, &[]).map_err(|bad| PatternError::glob(text, bad))?;
        let meaning = match glob::literal(&tokens) {
            Some(exact) => LabelMeaning::Exactly(exact.to_owned()),
            None => LabelMeaning::Wildcards(tokens),
        };
        Ok(LabelValue { text: text.to_owned(), meaning })
    }

    /// A value that a user could have written, for example in a directory: it stands for itself only.
    #[must_use]
    pub fn literal(text: &str) -> LabelValue {
        LabelValue { text: text.to_owned(), meaning: LabelMeaning::Exactly(text.to_owned()) }
    }

    /// The one text that it matches, if there is one.
    pub(super) fn exactly(&self) -> Option<&str> {
        match &self.meaning {
            LabelMeaning::Exactly(text) => Some(text),
            LabelMeaning::Wildcards(_) => None,
        }
    }

    /// The value as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// An account's labels: each name with its values.
pub type LabelValues = BTreeMap<String, Vec<LabelValue>>;

/// A placeholder in a pattern, which each request fills in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Placeholder {
    /// `${account}`, `${type}`, `${name}` or `${service}`.
    Value(Field),
    /// `${account:1}`: the text captured by a group of that field's own regular expression in this match, counted from 1.
    Capture(Field, usize),
    /// `${labels:team}`: any one value of that label.
    Label(String),
}

impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Placeholder::Value(field) => write!(f, "${{{field}}}"),
            Placeholder::Capture(field, group) => write!(f, "${{{field}:{group}}}"),
            Placeholder::Label(name) => write!(f, "${{labels:{name}}}"),
        }
    }
}

/// The values of a rule's placeholders in one request.
#[derive(Clone, Debug)]
pub struct Bindings<'a> {
    values: FieldValues<'a>,
    labels: &'a LabelValues,
    captures: Vec<(Field, usize, &'a str)>,
}

impl<'a> Bindings<'a> {
    /// The request's own values and the account's labels; no captures yet.
    #[must_use]
    pub fn new(values: FieldValues<'a>, labels: &'a LabelValues) -> Bindings<'a> {
        Bindings { values, labels, captures: Vec::new() }
    }

    /// Sets the value of `${field:group}`, as [`Pattern::capture`](super::Pattern::capture) found it. Until then it matches
    /// nothing.
    pub fn capture(&mut self, field: Field, group: usize, text: &'a str) {
        self.captures.retain(|(f, g, _)| (*f, *g) != (field, group));
        self.captures.push((field, group, text));
    }

    /// The request's own values.
    #[must_use]
    pub fn values(&self) -> FieldValues<'a> {
        self.values
    }

    pub(super) fn filling(&self, placeholder: &Placeholder) -> Filling<'a> {
        match placeholder {
            Placeholder::Value(field) => Filling::Text(self.values.get(*field)),
            Placeholder::Capture(field, group) => self
                .captures
                .iter()
                .find(|(f, g, _)| f == field && g == group)
                .map_or(Filling::Nothing, |(_, _, text)| Filling::Text(text)),
            Placeholder::Label(name) => match self.labels.get(name).map(Vec::as_slice) {
                None | Some([]) => Filling::Nothing,
                Some(values) => Filling::AnyOf(values),
            },
        }
    }
}

/// What one placeholder may stand for.
#[derive(Clone, Copy)]
pub(super) enum Filling<'a> {
    /// There is nothing it could stand for, so it matches nothing.
    Nothing,
    /// This text only.
    Text(&'a str),
    /// Any of these.
    AnyOf(&'a [LabelValue]),
}
