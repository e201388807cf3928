//! The regular expressions of rules: compiled once without placeholders, and once per filled-in form with them.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use regex::Regex;

use super::REGEX_BYTES;
use super::bindings::{Bindings, Filling, LabelValue, Meaning};
use super::error::{PatternError, TooComplex};
use super::template::Template;
use crate::authz::glob::{Budget, Positions, Spent, Token, Walk};
use crate::authz::re2::{self, BadRegex, Case, Ends, Segment};

/// Largest regular expression with its placeholders filled in, in bytes of memory once compiled.
const FILLED_REGEX_BYTES: usize = 4 * 1024 * 1024;
/// What compiling one filled-in regular expression costs in steps, apart from its length.
const COMPILE_STEPS: usize = 20_000;
/// The same for one that takes more than [`REGEX_BYTES`].
const LARGE_COMPILE_STEPS: usize = 800_000;
/// Filled-in regular expressions each pattern remembers.
pub(super) const REMEMBERED: usize = 64;

/// A regular expression of a rule.
#[derive(Debug)]
pub(super) struct Expression {
    /// What holds its two ends.
    pub(super) ends: Ends,
    /// How many groups catch something.
    groups: usize,
    /// Texts of which every match holds at least one; empty where nothing is known.
    pub(super) needed: Vec<String>,
    pub(super) form: Form,
}

#[derive(Debug)]
pub(super) enum Form {
    /// It holds no placeholder.
    Plain(Regex),
    /// What stands between its placeholders, to be filled in.
    Template {
        segments: Vec<Segment>,
        /// By the text they were compiled from.
        compiled: Mutex<LruCache<String, Arc<Regex>>>,
    },
}

impl Expression {
    /// Compiles the expression `inner` of the pattern `text`, which has slashes around it.
    pub(super) fn compile(text: &str, inner: &str, template: &mut Template) -> Result<Expression, PatternError> {
        let parsed = re2::parse(inner, &template.spans).map_err(|bad| PatternError::regex(text, bad))?;
        template.repeat(&parsed.repeated);
        // Where a placeholder goes is always a group of its own, so what is valid with this stand-in is valid with any
        // data.
        let stand_in = |segment: &Segment| match segment {
            Segment::Text(text) => text.clone(),
            Segment::Slot { .. } => "(?:x)".to_owned(),
        };
        let source: String = parsed.segments.iter().map(stand_in).collect();
        let regex = build(&source, REGEX_BYTES).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => PatternError::TooBig { text: text.to_owned() },
            other => PatternError::regex(text, BadRegex { at: 0, why: format!("it cannot be compiled: {other}") }),
        })?;
        let form = if template.slots.is_empty() {
            Form::Plain(regex)
        } else {
            let room = NonZeroUsize::new(REMEMBERED).unwrap_or(NonZeroUsize::MIN);
            Form::Template { segments: parsed.segments, compiled: Mutex::new(LruCache::new(room)) }
        };
        Ok(Expression { ends: parsed.ends, groups: parsed.groups, needed: parsed.needed, form })
    }

    /// Whether any part of `subject` matches.
    pub(super) fn matches(
        &self,
        template: &Template,
        subject: &str,
        bindings: &Bindings<'_>,
        budget: &mut Budget,
    ) -> Result<bool, TooComplex> {
        let found =
            self.try_each(template, subject, bindings, budget, |regex| regex.is_match(subject).then_some(()))?;
        Ok(found.is_some())
    }

    /// What a group catches in `subject`, as [`Pattern::capture`](super::Pattern::capture) has it.
    pub(super) fn capture<'s>(
        &self,
        group: usize,
        template: &Template,
        subject: &'s str,
        bindings: &Bindings<'_>,
        budget: &mut Budget,
    ) -> Result<Option<&'s str>, TooComplex> {
        self.try_each(template, subject, bindings, budget, |regex| {
            let captures = regex.captures(subject)?;
            (group <= self.groups).then(|| captures.get(group).map_or("", |caught| caught.as_str()))
        })
    }

    /// Asks each filled-in form of the expression until one answers.
    ///
    /// A placeholder that is taken once becomes a choice of all its values, so that there is one form only; those taken
    /// more often are gone through, because each has one value wherever it stands. What cannot match any part of the subject is left out beforehand: that changes no
    /// answer, keeps the forms small, and lets most subjects share one compiled form.
    fn try_each<T>(
        &self,
        template: &Template,
        subject: &str,
        bindings: &Bindings<'_>,
        budget: &mut Budget,
        mut ask: impl FnMut(&Regex) -> Option<T>,
    ) -> Result<Option<T>, TooComplex> {
        let (segments, compiled) = match &self.form {
            Form::Plain(regex) => return Ok(ask(regex)),
            Form::Template { segments, compiled } => (segments, compiled),
        };
        let candidates = candidates(segments, template, subject, bindings, budget)?;
        // For each placeholder the one value of this round, where values are gone through.
        let mut round: Vec<Option<usize>> = template
            .slots
            .iter()
            .zip(&candidates)
            .map(|(slot, candidates)| (slot.uses > 1 && candidates.len() > 1).then_some(0))
            .collect();
        loop {
            let source = fill(segments, &candidates, &round, budget)?;
            let regex = recall(compiled, source, budget)?;
            if let Some(answer) = ask(&regex) {
                return Ok(Some(answer));
            }
            if !advance(&mut round, &candidates) {
                return Ok(None);
            }
        }
    }
}

fn build(source: &str, bytes: usize) -> Result<Regex, regex::Error> {
    // Depth is limited where the expression is parsed; this only has to be more.
    regex::RegexBuilder::new(source).size_limit(bytes).nest_limit(2000).build()
}

/// One thing that could stand in a placeholder.
#[derive(Clone, Copy)]
enum Candidate<'a> {
    /// This text and no other.
    Exactly(&'a str),
    /// What this glob matches.
    Wildcards(&'a [Token]),
}

impl<'a> From<&'a LabelValue> for Candidate<'a> {
    fn from(value: &'a LabelValue) -> Candidate<'a> {
        match &value.meaning {
            Meaning::Exactly(text) => Candidate::Exactly(text),
            Meaning::Wildcards(tokens) => Candidate::Wildcards(tokens),
        }
    }
}

impl Candidate<'_> {
    /// Whether it can match any part of the subject.
    fn occurs(self, walk: &mut Walk<'_>, budget: &mut Budget) -> Result<bool, Spent> {
        match self {
            Candidate::Exactly(text) => {
                budget.spend(1 + walk.name().len() / 32)?;
                Ok(walk.name().contains(text))
            }
            Candidate::Wildcards(tokens) => {
                let mut to = Positions::none(walk.name().len());
                walk.tokens(tokens, &walk.everywhere(), &mut to, budget)?;
                Ok(!to.is_empty())
            }
        }
    }

    fn push_to(self, source: &mut String) {
        match self {
            Candidate::Exactly(text) => source.push_str(&regex::escape(text)),
            Candidate::Wildcards(tokens) => re2::push_glob(source, tokens),
        }
    }
}

/// What could stand in each placeholder for this subject.
fn candidates<'a>(
    segments: &[Segment],
    template: &Template,
    subject: &str,
    bindings: &Bindings<'a>,
    budget: &mut Budget,
) -> Result<Vec<Vec<Candidate<'a>>>, Spent> {
    let mut walk = Walk::new(subject);
    let mut all = Vec::with_capacity(template.slots.len());
    for (slot, filling) in template.fillings(bindings).into_iter().enumerate() {
        let values: Vec<Candidate<'a>> = match filling {
            Filling::Nothing => Vec::new(),
            Filling::Text(text) => vec![Candidate::Exactly(text)],
            Filling::AnyOf(values) => values.iter().map(Candidate::from).collect(),
        };
        // Under (?i) a value also matches text that is written otherwise.
        let folded = segments.contains(&Segment::Slot { slot, case: Case::Folded });
        let mut kept = Vec::new();
        for candidate in values {
            if folded || candidate.occurs(&mut walk, budget)? {
                kept.push(candidate);
            }
        }
        all.push(kept);
    }
    Ok(all)
}

/// Writes the form of one round. Each byte is a step, taken as it is written: a long value that stands in many places
/// ends the decision before it fills the memory.
fn fill(
    segments: &[Segment],
    candidates: &[Vec<Candidate<'_>>],
    round: &[Option<usize>],
    budget: &mut Budget,
) -> Result<String, Spent> {
    let mut source = String::new();
    for segment in segments {
        let written = source.len();
        match segment {
            Segment::Text(text) => source.push_str(text),
            Segment::Slot { slot, case } => {
                let all = candidates.get(*slot).map(Vec::as_slice).unwrap_or_default();
                let used = match round.get(*slot).copied().flatten() {
                    Some(one) => all.get(one..=one).unwrap_or_default(),
                    None => all,
                };
                push_choice(&mut source, used, *case);
            }
        }
        budget.spend(source.len() - written)?;
    }
    Ok(source)
}

/// A group that takes any of `values`, or nothing at all where there is none.
fn push_choice(source: &mut String, values: &[Candidate<'_>], case: Case) {
    source.push_str(match case {
        Case::Exact => "(?:",
        Case::Folded => "(?i:",
    });
    if values.is_empty() {
        source.push_str(re2::NEVER);
    }
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            source.push('|');
        }
        value.push_to(source);
    }
    source.push(')');
}

/// The compiled form of `source`, from memory if it is there.
fn recall(
    compiled: &Mutex<LruCache<String, Arc<Regex>>>,
    source: String,
    budget: &mut Budget,
) -> Result<Arc<Regex>, TooComplex> {
    // A panic elsewhere leaves nothing half done in a cache.
    if let Some(regex) = compiled.lock().unwrap_or_else(PoisonError::into_inner).get(&source) {
        return Ok(Arc::clone(regex));
    }
    budget.spend(COMPILE_STEPS)?;
    // The source is sound by construction, so only its size can be refused. A large one takes long to compile, and is
    // paid for as that: otherwise a few hundred label values could keep a core busy for seconds.
    let regex = match build(&source, REGEX_BYTES) {
        Ok(regex) => Arc::new(regex),
        Err(_) => {
            budget.spend(LARGE_COMPILE_STEPS)?;
            Arc::new(build(&source, FILLED_REGEX_BYTES).map_err(|_| TooComplex)?)
        }
    };
    compiled.lock().unwrap_or_else(PoisonError::into_inner).put(source, Arc::clone(&regex));
    Ok(regex)
}

/// Goes on to the next combination, the last placeholder's value first; false after the last.
fn advance(round: &mut [Option<usize>], candidates: &[Vec<Candidate<'_>>]) -> bool {
    for (value, candidates) in round.iter_mut().zip(candidates).rev() {
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
