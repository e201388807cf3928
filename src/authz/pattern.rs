//! The patterns of access rules: globs and regular expressions, with placeholders for what a request brings.
//!
//! A pattern is compiled once, when the rules are loaded. What a request brings (its account, the labels, what a
//! regular expression caught) is compared as text and never read as syntax: whoever may choose an account name or an
//! attribute in a directory would otherwise write access rules. The one exception is a label value that an
//! administrator wrote, whose wildcards work ([`LabelValue::glob`]).

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use regex::Regex;

use super::glob::{self, Budget, Positions, Span, Spent, Token, Walk};
use super::re2::{self, BadRegex, Case, Ends, Segment};

/// A field of a request that rules match on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// Who asks; empty for an anonymous client.
    Account,
    /// The kind of resource, for example `repository`.
    Type,
    /// The name of the resource, for example `team/app`.
    Name,
    /// The registry the token is for.
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

/// What one request holds in each [`Field`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Values<'a> {
    /// Who asks; empty for an anonymous client.
    pub account: &'a str,
    /// The kind of resource.
    pub kind: &'a str,
    /// The name of the resource.
    pub name: &'a str,
    /// The registry the token is for.
    pub service: &'a str,
}

impl<'a> Values<'a> {
    /// What the request holds in `field`.
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
    meaning: Meaning,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Meaning {
    /// This text and no other.
    Exactly(String),
    Wildcards(Vec<Token>),
}

impl LabelValue {
    /// A value that an administrator wrote: a glob, whose wildcards work. It is never a regular expression.
    ///
    /// # Errors
    /// When it is not a glob; the message says what to write instead.
    pub fn glob(text: &str) -> Result<LabelValue, PatternError> {
        let tokens = parse_glob(text, &[])?;
        let meaning = match glob::literal(&tokens) {
            Some(exact) => Meaning::Exactly(exact.to_owned()),
            None => Meaning::Wildcards(tokens),
        };
        Ok(LabelValue { text: text.to_owned(), meaning })
    }

    /// A value that a user could have written, for example in a directory: it stands for itself only.
    #[must_use]
    pub fn literal(text: &str) -> LabelValue {
        LabelValue { text: text.to_owned(), meaning: Meaning::Exactly(text.to_owned()) }
    }

    /// The value as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// An account's labels: each name with its values.
pub type LabelValues = BTreeMap<String, Vec<LabelValue>>;

/// Something in a pattern that a request fills in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Placeholder {
    /// `${account}`, `${type}`, `${name}` or `${service}`.
    Value(Field),
    /// `${account:1}`: what a group of that field's own regular expression caught in this match. Counted from 1.
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

/// What the placeholders of a rule stand for in one request.
#[derive(Clone, Debug)]
pub struct Bindings<'a> {
    values: Values<'a>,
    labels: &'a LabelValues,
    captures: Vec<(Field, usize, &'a str)>,
}

impl<'a> Bindings<'a> {
    /// The request's own values and the account's labels; no captures yet.
    #[must_use]
    pub fn new(values: Values<'a>, labels: &'a LabelValues) -> Bindings<'a> {
        Bindings { values, labels, captures: Vec::new() }
    }

    /// Says what `${field:group}` stands for, as [`Pattern::capture`] found it. Until then it matches nothing.
    pub fn capture(&mut self, field: Field, group: usize, text: &'a str) {
        self.captures.retain(|(f, g, _)| (*f, *g) != (field, group));
        self.captures.push((field, group, text));
    }

    /// Forgets all captures, as another rule has its own.
    pub fn clear_captures(&mut self) {
        self.captures.clear();
    }

    /// The request's own values.
    #[must_use]
    pub fn values(&self) -> Values<'a> {
        self.values
    }

    /// The account's labels.
    #[must_use]
    pub fn labels(&self) -> &'a LabelValues {
        self.labels
    }

    fn filling(&self, placeholder: &Placeholder) -> Filling<'a> {
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
enum Filling<'a> {
    /// There is nothing it could stand for, so it matches nothing.
    Nothing,
    /// This text only.
    Text(&'a str),
    /// Any of these.
    AnyOf(&'a [LabelValue]),
}

/// Why a pattern is refused when the rules are loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Go's `path.Match` would refuse this glob. docker_auth lets it load and it then never matches, so that a rule
    /// which denies something denies nothing.
    #[error("the glob `{text}` is not valid at character {place}: {why}")]
    Glob {
        /// The glob as written.
        text: String,
        /// Where it goes wrong, in characters, counted from 1.
        place: usize,
        /// What is wrong and what to write instead.
        why: String,
    },
    /// Go's `regexp` would refuse this regular expression, or a placeholder in it would become syntax.
    #[error("the regular expression `{text}` is not valid at character {place}: {why}")]
    Regex {
        /// The pattern as written, with its slashes.
        text: String,
        /// Where it goes wrong, in characters of the pattern, counted from 1.
        place: usize,
        /// What is wrong and what to write instead.
        why: String,
    },
    /// The regular expression compiles to more than [`REGEX_BYTES`].
    #[error(
        "the regular expression `{text}` is too big: compiled, it takes more than {} KiB; write smaller repetitions or split the rule",
        REGEX_BYTES / 1024
    )]
    TooBig {
        /// The pattern as written.
        text: String,
    },
    /// The pattern is longer than [`PATTERN_BYTES`].
    #[error(
        "the pattern that begins with `{start}` is {length} bytes long; at most {PATTERN_BYTES} are allowed, so split the rule"
    )]
    TooLong {
        /// The first characters of the pattern.
        start: String,
        /// Its length in bytes.
        length: usize,
    },
    /// The pattern has more than [`PATTERN_PLACEHOLDERS`] different placeholders.
    #[error("the pattern `{text}` has more than {PATTERN_PLACEHOLDERS} different placeholders; split the rule")]
    TooManyPlaceholders {
        /// The pattern as written.
        text: String,
    },
}

/// Deciding would take more work than one request may cost: too many label values, or too big a regular expression
/// once they are filled in.
///
/// This is no answer. Whoever skips the rule may skip one that denies, so the request has to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this pattern has too many combinations of label values to decide")]
pub struct TooComplex;

impl From<Spent> for TooComplex {
    fn from(_: Spent) -> TooComplex {
        TooComplex
    }
}

/// Longest pattern, in bytes.
pub const PATTERN_BYTES: usize = 16 * 1024;
/// Most different placeholders in one pattern.
pub const PATTERN_PLACEHOLDERS: usize = 32;
/// Largest regular expression as written, in bytes of memory once compiled.
pub const REGEX_BYTES: usize = 256 * 1024;
/// Largest regular expression with its placeholders filled in, in bytes of memory once compiled.
const FILLED_REGEX_BYTES: usize = 10 * 1024 * 1024;
/// Work one decision about one pattern may take; a step is a few nanoseconds.
const STEPS: u64 = 4_000_000;
/// What compiling one filled-in regular expression costs in steps, apart from its length.
const COMPILE_STEPS: usize = 20_000;
/// Filled-in regular expressions each pattern remembers.
const REMEMBERED: usize = 64;

/// What a pattern is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Plain text: a glob without wildcards or placeholders.
    Literal,
    /// A glob with wildcards or placeholders.
    Glob,
    /// A regular expression, written `/…/`.
    Regex,
}

/// One field of a rule, compiled.
#[derive(Debug)]
pub struct Pattern {
    text: String,
    template: Template,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Literal(String),
    Glob(Vec<Token>),
    GlobTemplate(Vec<Token>),
    Regex(PlainRegex),
    RegexTemplate(RegexTemplate),
}

/// A regular expression without placeholders.
#[derive(Debug)]
struct PlainRegex {
    regex: Regex,
    ends: Ends,
    groups: usize,
}

/// A regular expression with placeholders.
#[derive(Debug)]
struct RegexTemplate {
    segments: Vec<Segment>,
    ends: Ends,
    groups: usize,
    /// By the text they were compiled from.
    compiled: Mutex<LruCache<String, Arc<Regex>>>,
}

/// The placeholders of one written pattern.
#[derive(Debug, Default)]
struct Template {
    /// Each once, in the order of first use: a slot is an index in here.
    slots: Vec<Slot>,
    /// Where they stand in the pattern.
    spans: Vec<Span>,
    unknown: Vec<String>,
}

#[derive(Debug)]
struct Slot {
    placeholder: Placeholder,
    uses: usize,
}

impl Pattern {
    /// Compiles what is written in a rule.
    ///
    /// A text of three bytes or more between slashes is a regular expression, as Go's `regexp` has them, and matches
    /// anywhere in the subject unless it is anchored. Everything else is a glob for the whole subject, as Go's
    /// `path.Match` has them. What is filled in later never changes which of the two it is.
    ///
    /// # Errors
    /// When Go would refuse it, when it is too big, or when a placeholder stands where data would become syntax.
    pub fn compile(text: &str) -> Result<Pattern, PatternError> {
        if text.len() > PATTERN_BYTES {
            return Err(PatternError::TooLong { start: text.chars().take(40).collect(), length: text.len() });
        }
        let regex = if text.len() > 2 { text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')) } else { None };
        let template = Template::read(regex.unwrap_or(text));
        if template.slots.len() > PATTERN_PLACEHOLDERS {
            return Err(PatternError::TooManyPlaceholders { text: text.to_owned() });
        }
        let body = match regex {
            Some(inner) => compile_regex(text, inner, &template)?,
            None => {
                let tokens = parse_glob(text, &template.spans)?;
                match (glob::literal(&tokens), template.slots.is_empty()) {
                    (Some(exact), _) => Body::Literal(exact.to_owned()),
                    (None, true) => Body::Glob(tokens),
                    (None, false) => Body::GlobTemplate(tokens),
                }
            }
        };
        Ok(Pattern { text: text.to_owned(), template, body })
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the pattern is written in.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.body {
            Body::Literal(_) => Kind::Literal,
            Body::Glob(_) | Body::GlobTemplate(_) => Kind::Glob,
            Body::Regex(_) | Body::RegexTemplate(_) => Kind::Regex,
        }
    }

    /// Whether it is written as a regular expression.
    #[must_use]
    pub fn is_regex(&self) -> bool {
        self.kind() == Kind::Regex
    }

    /// The one text the pattern matches, when it is a glob without wildcards or placeholders: escapes are taken away.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        match &self.body {
            Body::Literal(text) => Some(text),
            Body::Glob(_) | Body::GlobTemplate(_) | Body::Regex(_) | Body::RegexTemplate(_) => None,
        }
    }

    /// False for a regular expression that also matches inside a longer text without saying so: `/admin/` and
    /// `/^admin|root$/` do, `/^admin$/` does not, and `/.+/` or `/^team-.*/` say so.
    #[must_use]
    pub fn is_anchored(&self) -> bool {
        match &self.body {
            Body::Literal(_) | Body::Glob(_) | Body::GlobTemplate(_) => true,
            Body::Regex(PlainRegex { ends, .. }) | Body::RegexTemplate(RegexTemplate { ends, .. }) => match ends {
                Ends::Held => true,
                Ends::Loose => false,
            },
        }
    }

    /// The different placeholders in the pattern, in the order of their first use.
    pub fn placeholders(&self) -> impl Iterator<Item = &Placeholder> {
        self.template.slots.iter().map(|slot| &slot.placeholder)
    }

    /// What looks like a placeholder and is none, such as `${acount}`: it is compared as plain text (in a regular
    /// expression, as Go reads it: the end of the text and then a brace, which matches nothing).
    pub fn unknown_placeholders(&self) -> impl Iterator<Item = &str> {
        self.template.unknown.iter().map(String::as_str)
    }

    /// Whether `subject` matches.
    ///
    /// A placeholder that stands for nothing (a label the account does not have, a group that does not exist) matches
    /// nothing. One that is used twice stands for the same value both times.
    ///
    /// # Errors
    /// When it would take too much work. That is no answer: the request has to fail.
    pub fn matches(&self, subject: &str, bindings: &Bindings<'_>) -> Result<bool, TooComplex> {
        self.matches_within(subject, bindings, &mut Budget::new(STEPS))
    }

    fn matches_within(&self, subject: &str, bindings: &Bindings<'_>, budget: &mut Budget) -> Result<bool, TooComplex> {
        match &self.body {
            Body::Literal(text) => Ok(text == subject),
            Body::Glob(tokens) => Ok(glob::matches(tokens, subject)),
            Body::GlobTemplate(tokens) => {
                let mut decision = GlobDecision {
                    walk: Walk::new(subject),
                    slots: &self.template.slots,
                    fillings: self.template.fillings(bindings),
                    chosen: vec![None; self.template.slots.len()],
                    budget,
                };
                let start = decision.walk.start();
                Ok(decision.run(tokens, start)?)
            }
            Body::Regex(plain) => Ok(plain.regex.is_match(subject)),
            Body::RegexTemplate(regex) => {
                let found = regex.try_each(&self.template, subject, bindings, budget, |regex| {
                    regex.is_match(subject).then_some(())
                })?;
                Ok(found.is_some())
            }
        }
    }

    /// What a group of this regular expression catches in `subject`; an empty text for a group that takes no part in
    /// the match.
    ///
    /// `None` when the subject does not match, when there is no such group, or when the pattern is a glob.
    ///
    /// # Errors
    /// As for [`Pattern::matches`].
    pub fn capture<'s>(
        &self,
        subject: &'s str,
        group: usize,
        bindings: &Bindings<'_>,
    ) -> Result<Option<&'s str>, TooComplex> {
        let catch = |regex: &Regex, groups: usize| {
            let captures = regex.captures(subject)?;
            (group <= groups).then(|| captures.get(group).map_or("", |caught| caught.as_str()))
        };
        match &self.body {
            Body::Literal(_) | Body::Glob(_) | Body::GlobTemplate(_) => Ok(None),
            Body::Regex(plain) => Ok(catch(&plain.regex, plain.groups)),
            Body::RegexTemplate(filled) => {
                let mut budget = Budget::new(STEPS);
                filled.try_each(&self.template, subject, bindings, &mut budget, |regex| catch(regex, filled.groups))
            }
        }
    }

    /// The pattern with its placeholders filled in, for people to read: `{a|b}` where there are several values. A
    /// placeholder that stands for nothing stays as it is written.
    #[must_use]
    pub fn expand(&self, bindings: &Bindings<'_>) -> String {
        const SHOWN: usize = 10;
        // Spans count from the start of the expression, after its slash.
        let shift = usize::from(self.is_regex());
        let mut out = String::new();
        let mut from = 0;
        for span in &self.template.spans {
            let written = span.start + shift..span.end + shift;
            out.push_str(self.piece(from..written.start));
            let filling =
                self.template.slots.get(span.slot).map_or(Filling::Nothing, |slot| bindings.filling(&slot.placeholder));
            match filling {
                Filling::Nothing => out.push_str(self.piece(written.clone())),
                Filling::Text(text) => out.push_str(text),
                Filling::AnyOf([only]) => out.push_str(only.text()),
                Filling::AnyOf(values) => {
                    let shown: Vec<&str> = values.iter().take(SHOWN).map(LabelValue::text).collect();
                    out.push('{');
                    out.push_str(&shown.join("|"));
                    if values.len() > SHOWN {
                        out.push_str(&format!("|… {} more", values.len() - SHOWN));
                    }
                    out.push('}');
                }
            }
            from = written.end;
        }
        out.push_str(self.piece(from..self.text.len()));
        out
    }

    fn piece(&self, range: Range<usize>) -> &str {
        self.text.get(range).unwrap_or_default()
    }
}

fn parse_glob(text: &str, spans: &[Span]) -> Result<Vec<Token>, PatternError> {
    glob::parse(text, spans).map_err(|bad| PatternError::Glob {
        text: text.to_owned(),
        place: place(text, bad.at),
        why: bad.why.to_owned(),
    })
}

/// The character a byte position lies at, counted from 1.
fn place(text: &str, at: usize) -> usize {
    text.get(..at).map_or(0, |before| before.chars().count()) + 1
}

fn compile_regex(text: &str, inner: &str, template: &Template) -> Result<Body, PatternError> {
    let expression = re2::parse(inner, &template.spans).map_err(|BadRegex { at, why }| PatternError::Regex {
        text: text.to_owned(),
        place: place(text, at + 1),
        why,
    })?;
    // Where a placeholder goes is always a group of its own, so what is valid with this stand-in is valid with any data.
    let mut source = String::new();
    for segment in &expression.segments {
        source.push_str(match segment {
            Segment::Text(text) => text,
            Segment::Slot { .. } => "(?:x)",
        });
    }
    let regex = build(&source, REGEX_BYTES).map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => PatternError::TooBig { text: text.to_owned() },
        other => {
            PatternError::Regex { text: text.to_owned(), place: 1, why: format!("it cannot be compiled: {other}") }
        }
    })?;
    if template.slots.is_empty() {
        return Ok(Body::Regex(PlainRegex { regex, ends: expression.ends, groups: expression.groups }));
    }
    let room = NonZeroUsize::new(REMEMBERED).unwrap_or(NonZeroUsize::MIN);
    Ok(Body::RegexTemplate(RegexTemplate {
        segments: expression.segments,
        ends: expression.ends,
        groups: expression.groups,
        compiled: Mutex::new(LruCache::new(room)),
    }))
}

fn build(source: &str, bytes: usize) -> Result<Regex, regex::Error> {
    // Depth is limited where the expression is parsed; this only has to be more.
    regex::RegexBuilder::new(source).size_limit(bytes).nest_limit(2000).build()
}

impl Template {
    /// Finds the placeholders in a written pattern, from left to right and never inside one another.
    fn read(text: &str) -> Template {
        let mut template = Template::default();
        let mut from = 0;
        while let Some((start, inside)) = next_placeholder(text, from) {
            if let Some(placeholder) = parse_placeholder(inside) {
                let end = start + inside.len() + 3;
                template.add(placeholder, start, end);
                from = end;
                continue;
            }
            if inside.starts_with(|c: char| c.is_ascii_alphabetic())
                && !inside.contains(['$', '{', '/', '[', '(', '\\'])
            {
                let written = format!("${{{inside}}}");
                if !template.unknown.contains(&written) {
                    template.unknown.push(written);
                }
            }
            from = start + 2;
        }
        template
    }

    fn add(&mut self, placeholder: Placeholder, start: usize, end: usize) {
        let slot = self.slots.iter().position(|slot| slot.placeholder == placeholder).unwrap_or(self.slots.len());
        match self.slots.get_mut(slot) {
            Some(known) => known.uses += 1,
            None => self.slots.push(Slot { placeholder, uses: 1 }),
        }
        self.spans.push(Span { start, end, slot });
    }

    fn fillings<'a>(&self, bindings: &Bindings<'a>) -> Vec<Filling<'a>> {
        self.slots.iter().map(|slot| bindings.filling(&slot.placeholder)).collect()
    }
}

/// The next `${…}` at or after a byte: where it starts, and what it holds.
fn next_placeholder(text: &str, from: usize) -> Option<(usize, &str)> {
    let rest = text.get(from..)?;
    let offset = rest.find("${")?;
    let (inside, _) = rest.get(offset + 2..)?.split_once('}')?;
    Some((from + offset, inside))
}

fn parse_placeholder(inside: &str) -> Option<Placeholder> {
    if let Some(field) = Field::ALL.into_iter().find(|field| field.as_str() == inside) {
        return Some(Placeholder::Value(field));
    }
    let (of, which) = inside.split_once(':')?;
    if of == "labels" {
        return (!which.is_empty() && !which.contains(['$', '{'])).then(|| Placeholder::Label(which.to_owned()));
    }
    let mut letters = of.chars();
    let first = letters.next()?.to_ascii_lowercase();
    let field = Field::ALL.into_iter().find(|field| field.as_str().strip_prefix(first) == Some(letters.as_str()))?;
    if which.is_empty() || !which.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // A number too large to hold names a group that does not exist.
    let group: usize = which.parse().unwrap_or(usize::MAX);
    (group >= 1).then_some(Placeholder::Capture(field, group))
}

/// One glob with placeholders held against one subject.
struct GlobDecision<'d, 'a> {
    walk: Walk<'d>,
    slots: &'d [Slot],
    fillings: Vec<Filling<'a>>,
    /// The value settled on for a placeholder that is used more than once.
    chosen: Vec<Option<&'a LabelValue>>,
    budget: &'d mut Budget,
}

impl<'a> GlobDecision<'_, 'a> {
    /// Whether the tokens lead from any of these positions to the end of the subject.
    fn run(&mut self, tokens: &[Token], from: Positions) -> Result<bool, Spent> {
        let length = self.walk.name().len();
        let mut now = from;
        let mut tokens = tokens;
        while let Some((token, after)) = tokens.split_first() {
            tokens = after;
            let mut next = Positions::none(length);
            self.budget.spend(1 + length / 64)?;
            match token {
                Token::Slot(slot) => match self.filling(*slot) {
                    Filling::Nothing => {}
                    Filling::Text(text) => self.walk.text(text, &now, &mut next, self.budget)?,
                    Filling::AnyOf(values) if values.len() > 1 && self.comes_again(*slot) => {
                        return self.choose(*slot, values, after, &now);
                    }
                    Filling::AnyOf(values) => {
                        for value in values {
                            value_to(&mut self.walk, value, &now, &mut next, self.budget)?;
                        }
                    }
                },
                Token::Text(_) | Token::Run | Token::One | Token::Set(_) => {
                    self.walk.token(token, &now, &mut next, self.budget)?;
                }
            }
            if next.is_empty() {
                return Ok(false);
            }
            now = next;
        }
        Ok(now.has(length))
    }

    fn comes_again(&self, slot: usize) -> bool {
        self.slots.get(slot).is_some_and(|slot| slot.uses > 1)
    }

    fn filling(&self, slot: usize) -> Filling<'a> {
        match self.chosen.get(slot) {
            Some(Some(value)) => Filling::AnyOf(std::slice::from_ref(*value)),
            Some(None) | None => self.fillings.get(slot).copied().unwrap_or(Filling::Nothing),
        }
    }

    fn settle(&mut self, slot: usize, value: Option<&'a LabelValue>) {
        if let Some(chosen) = self.chosen.get_mut(slot) {
            *chosen = value;
        }
    }

    /// Settles a placeholder that comes again later on each of its values in turn. A value that leads nowhere here is
    /// left at once, so that the work grows with the values that fit and not with all combinations.
    fn choose(
        &mut self,
        slot: usize,
        values: &'a [LabelValue],
        after: &[Token],
        from: &Positions,
    ) -> Result<bool, Spent> {
        let length = self.walk.name().len();
        let mut next = Positions::none(length);
        for value in values {
            value_to(&mut self.walk, value, from, &mut next, self.budget)?;
            if next.is_empty() {
                continue;
            }
            self.settle(slot, Some(value));
            let reached = std::mem::replace(&mut next, Positions::none(length));
            if self.run(after, reached)? {
                return Ok(true);
            }
        }
        self.settle(slot, None);
        Ok(false)
    }
}

/// Adds to `to` where one label value leads to from `from`.
fn value_to(
    walk: &mut Walk<'_>,
    value: &LabelValue,
    from: &Positions,
    to: &mut Positions,
    budget: &mut Budget,
) -> Result<(), Spent> {
    match &value.meaning {
        Meaning::Exactly(text) => walk.text(text, from, to, budget),
        Meaning::Wildcards(tokens) => walk.tokens(tokens, from, to, budget),
    }
}

/// One thing that could stand in a placeholder of a regular expression.
#[derive(Clone, Copy)]
enum Candidate<'a> {
    Text(&'a str),
    Value(&'a LabelValue),
}

impl Candidate<'_> {
    /// Whether it can match any part of the subject.
    fn occurs(self, walk: &mut Walk<'_>, budget: &mut Budget) -> Result<bool, Spent> {
        let exact = match self {
            Candidate::Text(text) => text,
            Candidate::Value(LabelValue { meaning: Meaning::Exactly(text), .. }) => text,
            Candidate::Value(value) => {
                let from = walk.everywhere();
                let mut to = Positions::none(walk.name().len());
                value_to(walk, value, &from, &mut to, budget)?;
                return Ok(!to.is_empty());
            }
        };
        budget.spend(1 + walk.name().len() / 32)?;
        Ok(walk.name().contains(exact))
    }

    fn push_to(self, source: &mut String) {
        match self {
            Candidate::Text(text) => source.push_str(&regex::escape(text)),
            Candidate::Value(value) => match &value.meaning {
                Meaning::Exactly(text) => source.push_str(&regex::escape(text)),
                Meaning::Wildcards(tokens) => re2::push_glob(source, tokens),
            },
        }
    }
}

impl RegexTemplate {
    /// Asks each filled-in form of the expression until one answers.
    ///
    /// A placeholder that is used once becomes a choice of all its values, so that there is one form only; those used
    /// more often are gone through. What cannot match any part of the subject is left out beforehand: that changes no
    /// answer, keeps the forms small, and lets most subjects share one compiled form.
    fn try_each<T>(
        &self,
        template: &Template,
        subject: &str,
        bindings: &Bindings<'_>,
        budget: &mut Budget,
        mut ask: impl FnMut(&Regex) -> Option<T>,
    ) -> Result<Option<T>, TooComplex> {
        let candidates = self.candidates(template, subject, bindings, budget)?;
        // For each placeholder the one value of this round, where values are gone through.
        let mut round: Vec<Option<usize>> = template
            .slots
            .iter()
            .zip(&candidates)
            .map(|(slot, candidates)| (slot.uses > 1 && candidates.len() > 1).then_some(0))
            .collect();
        loop {
            let source = self.fill(&candidates, &round);
            let regex = self.compiled(source, budget)?;
            if let Some(answer) = ask(&regex) {
                return Ok(Some(answer));
            }
            if !advance(&mut round, &candidates) {
                return Ok(None);
            }
        }
    }

    fn candidates<'a>(
        &self,
        template: &Template,
        subject: &str,
        bindings: &Bindings<'a>,
        budget: &mut Budget,
    ) -> Result<Vec<Vec<Candidate<'a>>>, Spent> {
        let mut walk = Walk::new(subject);
        let mut all = Vec::with_capacity(template.slots.len());
        for (index, slot) in template.slots.iter().enumerate() {
            // Under (?i) a value also matches text that is written otherwise.
            let folded = self.segments.contains(&Segment::Slot { slot: index, case: Case::Folded });
            let mut kept = Vec::new();
            let mut keep = |candidate: Candidate<'a>| -> Result<(), Spent> {
                if folded || candidate.occurs(&mut walk, budget)? {
                    kept.push(candidate);
                }
                Ok(())
            };
            match bindings.filling(&slot.placeholder) {
                Filling::Nothing => {}
                Filling::Text(text) => keep(Candidate::Text(text))?,
                Filling::AnyOf(values) => {
                    for value in values {
                        keep(Candidate::Value(value))?;
                    }
                }
            }
            all.push(kept);
        }
        Ok(all)
    }

    fn fill(&self, candidates: &[Vec<Candidate<'_>>], round: &[Option<usize>]) -> String {
        let mut source = String::new();
        for segment in &self.segments {
            let (slot, case) = match segment {
                Segment::Text(text) => {
                    source.push_str(text);
                    continue;
                }
                Segment::Slot { slot, case } => (*slot, *case),
            };
            let all = candidates.get(slot).map(Vec::as_slice).unwrap_or_default();
            let used = match round.get(slot).copied().flatten() {
                Some(one) => all.get(one..one + 1).unwrap_or_default(),
                None => all,
            };
            source.push_str(match case {
                Case::Exact => "(?:",
                Case::Folded => "(?i:",
            });
            if used.is_empty() {
                source.push_str(re2::NEVER);
            }
            for (index, candidate) in used.iter().enumerate() {
                if index > 0 {
                    source.push('|');
                }
                candidate.push_to(&mut source);
            }
            source.push(')');
        }
        source
    }

    fn compiled(&self, source: String, budget: &mut Budget) -> Result<Arc<Regex>, TooComplex> {
        budget.spend(source.len())?;
        // A panic elsewhere leaves nothing half done in a cache.
        if let Some(regex) = self.compiled.lock().unwrap_or_else(PoisonError::into_inner).get(&source) {
            return Ok(Arc::clone(regex));
        }
        budget.spend(COMPILE_STEPS)?;
        // The source is sound by construction, so only its size can be refused.
        let regex = Arc::new(build(&source, FILLED_REGEX_BYTES).map_err(|_| TooComplex)?);
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner).put(source, Arc::clone(&regex));
        Ok(regex)
    }
}

/// Goes on to the next combination; false after the last.
fn advance(round: &mut [Option<usize>], candidates: &[Vec<Candidate<'_>>]) -> bool {
    for (value, candidates) in round.iter_mut().zip(candidates) {
        if let Some(index) = value {
            *index += 1;
            if *index < candidates.len() {
                return true;
            }
            *index = 0;
        }
    }
    false
}

#[cfg(test)]
mod tests;
