//! The regular expressions of rules: compiled once without placeholders, and decided piece by piece with them.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError, Weak};

use regex_automata::nfa::thompson;
use regex_automata::util::captures::Captures;
use regex_automata::{Input, meta};
use regex_syntax::hir::Hir;

use super::REGEX_BYTES;
use super::bindings::{Bindings, Filling};
use super::error::{PatternError, TooComplex};
use super::path::PathShape;
use super::pieces::{Candidate, Comparison, Fragment, Slots, still_possible};
use super::template::Template;
use crate::glob::{Budget, Positions, Spent, Walk};
use crate::re2::{self, BadRegex, Case, Ends, Segment};

/// Largest regular expression with its placeholders filled in, in bytes of memory once compiled.
const FILLED_REGEX_BYTES: usize = 4 * 1024 * 1024;
/// What compiling an expression costs in steps, apart from its length and its size.
const COMPILE_STEPS: usize = 1000;
/// What compiling costs for each byte that is read.
const READ_STEPS: usize = 16;
/// What compiling costs for each byte of memory that it takes.
const BYTE_STEPS: usize = 2;
/// So many bytes of a compiled expression are at most looked at in one step, for each byte of a text.
const BYTES_A_STEP: usize = 32;
/// So many bytes of a text are searched in one step by an expression without placeholders, which is compiled for good.
const SEARCHED_A_STEP: usize = 64;
/// Deeper than the reader of expressions lets them be.
const DEEPEST: u32 = 2000;

/// A regular expression of a rule.
#[derive(Debug)]
pub(super) struct Expression {
    /// What holds its two ends.
    pub(super) ends: Ends,
    /// How many groups catch something.
    pub(super) groups: usize,
    /// Texts of which every match holds at least one; empty where nothing is known.
    pub(super) needed: Vec<String>,
    /// The placeholders that a repetition may take more than once.
    repeated: Vec<usize>,
    form: Form,
}

#[derive(Debug)]
pub(super) enum Form {
    /// It holds no placeholder.
    Plain {
        /// In the syntax of the library.
        source: String,
        /// What it says of the parts of a path, if that is all that it says. Found when it is needed.
        shape: OnceLock<Option<PathShape>>,
        /// Made when it is needed: of many rules most decide nothing for hours, and reading them takes much longer with
        /// this than without.
        compiled: OnceLock<Result<meta::Regex, TooComplex>>,
    },
    /// It holds some.
    Template {
        /// For deciding.
        piece: Fragment,
        /// What stands between the placeholders, to be filled in: for catching groups.
        segments: Vec<Segment>,
    },
}

/// The expressions that are in use, by the pattern that they were read from: rules that have the same share one, and so do
/// the rules before a reload and after it.
static IN_USE: LazyLock<Mutex<InUse>> = LazyLock::new(Mutex::default);

thread_local! {
    /// Tells whether an expression is too big. To make its room for classes of characters takes longer than most expressions
    /// do, so it is kept.
    static SIZE: thompson::Compiler = {
        let mut compiler = thompson::Compiler::new();
        compiler.configure(thompson::Config::new().nfa_size_limit(Some(REGEX_BYTES)));
        compiler
    };
}

#[derive(Default)]
struct InUse {
    by_text: HashMap<String, Weak<Expression>>,
    /// How many there may be before those that are used no more are looked for.
    room: usize,
}

impl InUse {
    /// Fewer are not worth looking for.
    const LEAST_ROOM: usize = 1024;

    fn find(&self, text: &str) -> Option<Arc<Expression>> {
        self.by_text.get(text)?.upgrade()
    }

    fn keep(&mut self, text: &str, expression: &Arc<Expression>) {
        if self.by_text.len() >= self.room {
            self.by_text.retain(|_, expression| expression.strong_count() > 0);
            self.room = (2 * self.by_text.len()).max(InUse::LEAST_ROOM);
        }
        self.by_text.insert(text.to_owned(), Arc::downgrade(expression));
    }
}

impl Expression {
    /// The expression `inner` of the pattern `text`, which has slashes around it; read now, or in use already.
    pub(super) fn shared(text: &str, inner: &str, template: &mut Template) -> Result<Arc<Expression>, PatternError> {
        // A panic elsewhere leaves nothing half done in there.
        let in_use = || IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
        let known = in_use().find(text);
        let expression = match known {
            Some(expression) => expression,
            None => {
                let read = Arc::new(Expression::read(text, inner, template)?);
                in_use().keep(text, &read);
                read
            }
        };
        template.repeat(&expression.repeated);
        Ok(expression)
    }

    fn read(text: &str, inner: &str, template: &Template) -> Result<Expression, PatternError> {
        let parsed = re2::parse(inner, &template.spans).map_err(|bad| PatternError::regex(text, bad))?;
        let unfit =
            |why: String| PatternError::regex(text, BadRegex { at: 0, why: format!("it cannot be compiled: {why}") });
        let mut slots = Slots::new();
        let mut source = String::new();
        for (number, segment) in parsed.segments.iter().enumerate() {
            if let Segment::Slot { slot, case } = segment {
                slots.insert(slot_name(number), (*slot, *case));
            }
            source.push_str(&stand_in(segment, number));
        }
        let tree = parse(&source).map_err(|error| unfit(error.to_string()))?;
        // Nothing that is built here is used, but what is too big (with placeholders, with the shortest values) is a
        // mistake, and must be found now.
        SIZE.with(|compiler| match compiler.build_from_hir(&tree) {
            Ok(_) => Ok(()),
            Err(error) if error.size_limit().is_some() => Err(PatternError::TooBig { text: text.to_owned() }),
            Err(error) => Err(unfit(error.to_string())),
        })?;
        let form = if template.slots.is_empty() {
            Form::Plain { source, shape: OnceLock::new(), compiled: OnceLock::new() }
        } else {
            let piece =
                Fragment::from_hir(&tree, &slots).ok_or_else(|| unfit("it has an unknown condition".to_owned()))?;
            Form::Template { piece, segments: parsed.segments }
        };
        let re2::ParsedExpression { ends, groups, needed, repeated, segments: _ } = parsed;
        Ok(Expression { ends, groups, needed, repeated, form })
    }

    /// What it is made of.
    pub(super) fn form(&self) -> &Form {
        &self.form
    }

    /// What it says of the parts of a path, if that is all that it says.
    pub(super) fn path_shape(&self) -> Option<&PathShape> {
        match &self.form {
            Form::Plain { source, shape, compiled: _ } => {
                shape.get_or_init(|| PathShape::from_hir(&parse(source).ok()?)).as_ref()
            }
            Form::Template { .. } => None,
        }
    }

    /// Whether any part of `subject` matches.
    pub(super) fn matches(
        &self,
        template: &Template,
        subject: &str,
        bindings: &Bindings<'_>,
        budget: &mut Budget,
    ) -> Result<bool, TooComplex> {
        match &self.form {
            Form::Plain { source, compiled, shape: _ } => {
                Ok(self.plain(source, compiled, subject, budget)?.is_some_and(|regex| regex.is_match(subject)))
            }
            Form::Template { piece, segments } => {
                let candidates = candidates(segments, template, subject, bindings, budget)?;
                Ok(first_fit(piece, template, subject, &candidates, budget)?.is_some())
            }
        }
    }

    /// What a group catches in `subject`, as [`Pattern::capture`](super::Pattern::capture) has it.
    ///
    /// A placeholder that is taken once becomes a choice of all its values; those taken more often are gone through,
    /// because each has one value wherever it stands. Only the first combination that matches is ever compiled.
    pub(super) fn capture<'s>(
        &self,
        group: usize,
        template: &Template,
        subject: &'s str,
        bindings: &Bindings<'_>,
        budget: &mut Budget,
    ) -> Result<Option<&'s str>, TooComplex> {
        let caught = match &self.form {
            Form::Plain { source, compiled, shape: _ } => {
                let Some(regex) = self.plain(source, compiled, subject, budget)? else { return Ok(None) };
                let mut captures = regex.create_captures();
                regex.captures(subject, &mut captures);
                captured(&captures, group, subject)
            }
            Form::Template { piece, segments } => {
                let candidates = candidates(segments, template, subject, bindings, budget)?;
                let Some(settled) = first_fit(piece, template, subject, &candidates, budget)? else { return Ok(None) };
                let regex = compile_filled(&fill(segments, &candidates, &settled, budget)?, budget)?;
                budget.spend((regex.memory_usage() / BYTES_A_STEP).saturating_mul(subject.len() + 1))?;
                let mut captures = regex.create_captures();
                regex.search_captures_with(&mut regex.create_cache(), &Input::new(subject), &mut captures);
                captured(&captures, group, subject)
            }
        };
        Ok(caught.filter(|_| group <= self.groups))
    }

    /// An expression without placeholders for searching this subject; `None` where it does not match for sure.
    fn plain<'e>(
        &self,
        source: &str,
        compiled: &'e OnceLock<Result<meta::Regex, TooComplex>>,
        subject: &str,
        budget: &mut Budget,
    ) -> Result<Option<&'e meta::Regex>, TooComplex> {
        budget.spend(subject.len() / SEARCHED_A_STEP)?;
        let known = match compiled.get() {
            Some(known) => known,
            None if !self.needed.is_empty() && !self.needed.iter().any(|text| subject.contains(text)) => {
                return Ok(None);
            }
            None => {
                budget.compile()?;
                compiled.get_or_init(|| compile_plain(source))
            }
        };
        known.as_ref().map(Some).map_err(|too_complex| *too_complex)
    }
}

/// What a group caught, if anything matched; an empty text if the group took no part.
fn captured<'s>(captures: &Captures, group: usize, subject: &'s str) -> Option<&'s str> {
    let caught = || captures.get_group(group).and_then(|caught| subject.get(caught.range())).unwrap_or_default();
    captures.is_match().then(caught)
}

/// A segment as it is compiled before it is known what its placeholder stands for. Where that goes is always a group of
/// its own, so what is valid with this is valid with any data.
fn stand_in(segment: &Segment, number: usize) -> String {
    match segment {
        Segment::Text(text) => text.clone(),
        Segment::Slot { .. } => format!("(?P<{}>x)", slot_name(number)),
    }
}

fn slot_name(number: usize) -> String {
    format!("slot{number}")
}

pub(super) fn parse(source: &str) -> Result<Hir, Box<regex_syntax::Error>> {
    regex_syntax::ParserBuilder::new().nest_limit(DEEPEST).build().parse(source).map_err(Box::new)
}

/// Compiles an expression without placeholders, for any number of searches. It was read before and is not too big; what is
/// made besides that for quick searches has no limit that could be met only now.
fn compile_plain(source: &str) -> Result<meta::Regex, TooComplex> {
    let config = meta::Config::new().nfa_size_limit(None);
    let syntax = regex_automata::util::syntax::Config::new().nest_limit(DEEPEST);
    meta::Builder::new().configure(config).syntax(syntax).build(source).map_err(|_| TooComplex)
}

/// Compiles an expression with its placeholders filled in. It is used once, so nothing is made that only pays for many
/// searches.
fn compile_filled(source: &str, budget: &mut Budget) -> Result<meta::Regex, TooComplex> {
    budget.spend(COMPILE_STEPS + source.len() * READ_STEPS)?;
    let affordable = usize::try_from(budget.left()).unwrap_or(usize::MAX) / BYTE_STEPS;
    let config = meta::Config::new()
        .nfa_size_limit(Some(FILLED_REGEX_BYTES.min(affordable)))
        .auto_prefilter(false)
        .hybrid(false)
        .dfa(false)
        .onepass(false);
    let syntax = regex_automata::util::syntax::Config::new().nest_limit(DEEPEST);
    // The source is sound by construction, so only its size can be refused.
    let regex = meta::Builder::new().configure(config).syntax(syntax).build(source).map_err(|_| TooComplex)?;
    budget.spend(regex.memory_usage() * BYTE_STEPS)?;
    Ok(regex)
}

/// What could stand in each placeholder for this subject. Of those that are gone through, what cannot match any part of
/// the subject is left out: that changes no answer.
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
            if folded || occurs(candidate, &mut walk, budget)? {
                kept.push(candidate);
            }
        }
        all.push(kept);
    }
    Ok(all)
}

/// Whether a value can match any part of the subject.
fn occurs(candidate: Candidate<'_>, walk: &mut Walk<'_>, budget: &mut Budget) -> Result<bool, Spent> {
    match candidate {
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

/// The first combination of values with which any part of the subject matches: for each placeholder that is gone through
/// the one that it is settled on. `None` where there is no such combination.
fn first_fit(
    piece: &Fragment,
    template: &Template,
    subject: &str,
    candidates: &[Vec<Candidate<'_>>],
    budget: &mut Budget,
) -> Result<Option<Vec<Option<usize>>>, Spent> {
    let several = |slot: &usize| candidates.get(*slot).is_some_and(|candidates| candidates.len() > 1);
    let again = template.slots.iter().enumerate().filter(|(_, slot)| slot.uses > 1).map(|(slot, _)| slot);
    let gone_through: Vec<usize> = again.filter(several).collect();
    let settled = vec![None; candidates.len()];
    let mut comparison = Comparison { walk: Walk::new(subject), candidates, settled, budget };
    Ok(comparison.settle(piece, &gone_through)?.then_some(comparison.settled))
}

/// Writes the expression with its placeholders filled in. Each byte is a step, taken as it is written: a long value that
/// stands in many places ends the decision before it fills the memory.
fn fill(
    segments: &[Segment],
    candidates: &[Vec<Candidate<'_>>],
    settled: &[Option<usize>],
    budget: &mut Budget,
) -> Result<String, Spent> {
    let mut source = String::new();
    for segment in segments {
        let written = source.len();
        match segment {
            Segment::Text(text) => source.push_str(text),
            Segment::Slot { slot, case } => {
                push_choice(&mut source, still_possible(candidates, settled, *slot), *case);
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
        match value {
            Candidate::Exactly(text) => source.push_str(&regex_syntax::escape(text)),
            Candidate::Wildcards(tokens) => re2::push_glob(source, tokens),
        }
    }
    source.push(')');
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    /// Otherwise each reload with other rules would leave the old ones' expressions behind.
    #[test]
    fn expressions_that_no_rule_has_any_more_are_forgotten() {
        let read = || Arc::new(Expression::read("/a/", "a", &Template::read("a")).unwrap());
        let mut in_use = InUse::default();
        let held: Vec<Arc<Expression>> = (0..1500).map(|_| read()).collect();
        for (number, expression) in held.iter().enumerate() {
            in_use.keep(&number.to_string(), expression);
        }
        for number in 0..10_000 {
            in_use.keep(&format!("gone {number}"), &read());
            assert!(in_use.by_text.len() <= 2 * held.len());
        }
        assert_eq!(in_use.room, 2 * held.len());
        for (number, expression) in held.iter().enumerate() {
            assert!(Arc::ptr_eq(&in_use.find(&number.to_string()).unwrap(), expression));
        }
    }
}
