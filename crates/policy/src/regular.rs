//! Regular sets of texts: which patterns a text can match together, and the shortest text for each combination.
//!
//! All patterns are one automaton that is made as far as it is walked on, by `regex-automata`: breadth first, so that the
//! first text to reach a state is a shortest one.

use std::collections::HashSet;
use std::ops::ControlFlow;

use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, Config, DFA};
use regex_automata::nfa::thompson;
use regex_automata::util::{start, syntax};
use regex_automata::{Anchored, MatchKind};
use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Look, Repetition};

use crate::scope::{MAX_NAME, OURS};

/// The memory of the automaton of all patterns, in bytes.
const PATTERNS_BYTES: usize = 96 << 20;
/// The memory of each automaton that only leaves texts out, in bytes.
const WITHIN_BYTES: usize = 24 << 20;
/// The memory of what the automata are made from, in bytes.
const SOURCE_BYTES: usize = 48 << 20;
/// So many states are walked through at most: each takes about 60 bytes.
const MOST_STATES: usize = 1_200_000;
/// After so many states it is asked again whether there is time.
const STATES_A_LOOK: usize = 256;
/// Deeper than the reader of rules lets expressions be.
pub(crate) const DEEPEST: u32 = 2200;

/// Texts that a question can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Grammar {
    /// A resource's type.
    Type,
    /// A tag.
    Tag,
    /// The name of a repository or of another resource of a registry.
    Name,
    /// The name of something of Dockwarden's own: any of those above is one too.
    Ours,
    /// An account, a service or the value of a label that somebody could read.
    Text,
    /// Any text.
    Any,
}

impl Grammar {
    /// That of the names of resources of a type.
    pub(crate) fn of_names(kind: &str) -> Grammar {
        match kind {
            OURS => Grammar::Ours,
            _ => Grammar::Name,
        }
    }

    /// As [`crate::scope`] reads them.
    fn source(self) -> &'static str {
        match self {
            Grammar::Name => {
                r"(?:[a-z0-9]+(?:(?:\.|-+)[a-z0-9]+)*:0*(?:6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[0-9]{1,4})/)?[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
            }
            Grammar::Ours | Grammar::Text => r"\P{Cc}+",
            Grammar::Type => "[a-z0-9]+",
            Grammar::Tag => "[A-Za-z0-9_][A-Za-z0-9_.-]*",
            Grammar::Any => "(?s:.)*",
        }
    }

    /// Whether its texts are of ASCII only.
    fn is_ascii(self) -> bool {
        match self {
            Grammar::Type | Grammar::Tag | Grammar::Name => true,
            Grammar::Ours | Grammar::Text | Grammar::Any => false,
        }
    }

    fn longest(self) -> usize {
        match self {
            Grammar::Name | Grammar::Text => MAX_NAME,
            Grammar::Ours => 1100,
            Grammar::Type => 32,
            Grammar::Tag => 128,
            // Until there is no other state.
            Grammar::Any => usize::MAX,
        }
    }
}

/// Why not every text was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfinished {
    /// The time is over.
    Time,
    /// The patterns together need more memory than there may be.
    Size,
}

/// An automaton of some expressions, each for whole texts.
struct Automaton {
    dfa: DFA,
    cache: Cache,
}

impl Automaton {
    fn from_sources<S: AsRef<str>>(sources: &[S], grammar: Grammar, bytes: usize) -> Result<Automaton, Unfinished> {
        let syntax = syntax::Config::new().nest_limit(DEEPEST);
        let whole = sources.iter().map(|source| {
            let whole = syntax::parse_with(&format!(r"\A(?:{})\z", source.as_ref()), &syntax);
            Ok(simpler(whole.map_err(|_| Unfinished::Size)?, grammar))
        });
        let whole: Vec<Hir> = whole.collect::<Result<_, Unfinished>>()?;
        let source =
            thompson::Config::new().nfa_size_limit(Some(SOURCE_BYTES)).which_captures(thompson::WhichCaptures::None);
        let source = thompson::Compiler::new().configure(source).build_many_from_hir(&whole);
        let config = Config::new()
            .match_kind(MatchKind::All)
            .cache_capacity(bytes)
            .skip_cache_capacity_check(true)
            // To make states again that were thrown away would take for ever.
            .minimum_cache_clear_count(Some(0));
        let dfa = DFA::builder().configure(config).build_from_nfa(source.map_err(|_| Unfinished::Size)?);
        let dfa = dfa.map_err(|_| Unfinished::Size)?;
        let cache = dfa.create_cache();
        Ok(Automaton { dfa, cache })
    }

    fn start(&mut self) -> Result<LazyStateID, Unfinished> {
        let start = self.dfa.start_state(&mut self.cache, &start::Config::new().anchored(Anchored::Yes));
        start.map_err(|_| Unfinished::Size)
    }

    fn step(&mut self, from: LazyStateID, byte: u8) -> Result<LazyStateID, Unfinished> {
        self.dfa.next_state(&mut self.cache, from, byte).map_err(|_| Unfinished::Size)
    }

    /// The expressions that match a text that ends here.
    fn matched(&mut self, at: LazyStateID, found: &mut Vec<usize>) -> Result<(), Unfinished> {
        found.clear();
        let end = self.dfa.next_eoi_state(&mut self.cache, at).map_err(|_| Unfinished::Size)?;
        if end.is_match() {
            let number = self.dfa.match_len(&self.cache, end);
            found.extend((0..number).map(|index| self.dfa.match_pattern(&self.cache, end, index).as_usize()));
        }
        Ok(())
    }
}

/// An expression for the same texts of a grammar, without what never takes any part of them.
fn simpler(expression: Hir, grammar: Grammar) -> Hir {
    let all = |parts: Vec<Hir>| parts.into_iter().map(|part| simpler(part, grammar));
    match expression.into_kind() {
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) => Hir::literal(literal.0),
        HirKind::Class(Class::Unicode(mut letters)) => {
            if grammar.is_ascii() {
                letters.intersect(&ClassUnicode::new([ClassUnicodeRange::new('\0', '\x7f')]));
            }
            Hir::class(Class::Unicode(letters))
        }
        HirKind::Class(Class::Bytes(bytes)) => Hir::class(Class::Bytes(bytes)),
        HirKind::Look(look) => Hir::look(look),
        HirKind::Repetition(Repetition { min, max, greedy, sub }) => {
            Hir::repetition(Repetition { min, max, greedy, sub: Box::new(simpler(*sub, grammar)) })
        }
        // Nobody asks what a group takes.
        HirKind::Capture(group) => simpler(*group.sub, grammar),
        HirKind::Alternation(parts) => Hir::alternation(all(parts).collect()),
        HirKind::Concat(parts) => {
            let mut kept: Vec<Hir> = Vec::new();
            for part in all(parts) {
                // Nothing is before the beginning, nor after the end.
                if part.properties().look_set_prefix().contains(Look::Start) {
                    while kept.last().is_some_and(is_optional) {
                        kept.pop();
                    }
                }
                let ended = kept.last().is_some_and(|last| last.properties().look_set_suffix().contains(Look::End));
                if !(ended && is_optional(&part)) {
                    kept.push(part);
                }
            }
            Hir::concat(kept)
        }
    }
}

/// Whether it is a repetition that may be of nothing.
fn is_optional(part: &Hir) -> bool {
    match part.kind() {
        HirKind::Repetition(repetition) => repetition.min == 0,
        HirKind::Empty
        | HirKind::Literal(_)
        | HirKind::Class(_)
        | HirKind::Look(_)
        | HirKind::Capture(_)
        | HirKind::Concat(_)
        | HirKind::Alternation(_) => false,
    }
}

/// One text of a walk.
pub(crate) struct Met<'w> {
    nodes: &'w [(u32, u8)],
    at: u32,
    /// The numbers of the patterns that it matches.
    pub(crate) matched: &'w [usize],
}

impl Met<'_> {
    /// The text.
    pub(crate) fn text(&self) -> String {
        let mut bytes = Vec::new();
        let mut at = self.at;
        while let Some(&(before, byte)) = self.nodes.get(at as usize).filter(|_| at > 0) {
            bytes.push(byte);
            at = before;
        }
        bytes.reverse();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Walks through the texts of a grammar that match one of `within` (any, where there is none given), and tells of each state that the patterns
/// are in together: at least one text for each set of patterns that some text matches, a shortest one first.
pub(crate) fn walk(
    grammar: Grammar,
    within: Option<&[&str]>,
    patterns: &[&str],
    still: &dyn Fn() -> bool,
    meet: &mut dyn FnMut(&Met<'_>) -> ControlFlow<()>,
) -> Result<(), Unfinished> {
    let mut shape = Automaton::from_sources(&[grammar.source()], grammar, WITHIN_BYTES)?;
    let mut limits = within.map(|within| Automaton::from_sources(within, grammar, WITHIN_BYTES)).transpose()?;
    let mut all = Automaton::from_sources(patterns, grammar, PATTERNS_BYTES)?;
    let bytes = telling_bytes(&shape, limits.as_ref(), &all);
    let nowhere = LazyStateID::default();
    let start = (shape.start()?, limits.as_mut().map_or(Ok(nowhere), Automaton::start)?, all.start()?);
    let mut seen = HashSet::from([start]);
    let mut nodes: Vec<(u32, u8)> = vec![(0, 0)];
    let mut front = vec![(0_u32, start)];
    let (mut matched, mut inside) = (Vec::new(), Vec::new());
    let mut looked: usize = 0;
    // The empty text.
    if is_inside(&mut shape, start.0, &mut inside)? && is_inside_any(&mut limits, start.1, &mut inside)? {
        all.matched(start.2, &mut matched)?;
        if meet(&Met { nodes: &nodes, at: 0, matched: &matched }).is_break() {
            return Ok(());
        }
    }
    for _ in 0..grammar.longest() {
        let mut next = Vec::new();
        for &(node, (in_shape, in_limits, in_all)) in &front {
            looked += 1;
            if looked.is_multiple_of(STATES_A_LOOK) && !still() {
                return Err(Unfinished::Time);
            }
            for &byte in &bytes {
                let to_shape = shape.step(in_shape, byte)?;
                if to_shape.is_dead() {
                    continue;
                }
                let to_limits = match &mut limits {
                    Some(limits) => limits.step(in_limits, byte)?,
                    None => nowhere,
                };
                if limits.is_some() && to_limits.is_dead() {
                    continue;
                }
                let to = (to_shape, to_limits, all.step(in_all, byte)?);
                if !seen.insert(to) {
                    continue;
                }
                if seen.len() > MOST_STATES {
                    return Err(Unfinished::Size);
                }
                let Ok(number) = u32::try_from(nodes.len()) else { return Err(Unfinished::Size) };
                nodes.push((node, byte));
                next.push((number, to));
                if !is_inside(&mut shape, to.0, &mut inside)? || !is_inside_any(&mut limits, to.1, &mut inside)? {
                    continue;
                }
                all.matched(to.2, &mut matched)?;
                if meet(&Met { nodes: &nodes, at: number, matched: &matched }).is_break() {
                    return Ok(());
                }
            }
        }
        if next.is_empty() {
            break;
        }
        front = next;
    }
    Ok(())
}

fn is_inside(automaton: &mut Automaton, at: LazyStateID, found: &mut Vec<usize>) -> Result<bool, Unfinished> {
    automaton.matched(at, found)?;
    Ok(!found.is_empty())
}

fn is_inside_any(limits: &mut Option<Automaton>, at: LazyStateID, found: &mut Vec<usize>) -> Result<bool, Unfinished> {
    limits.as_mut().map_or(Ok(true), |limits| is_inside(limits, at, found))
}

/// One byte for all that none of the automata tells from it, the readable ones first.
fn telling_bytes(shape: &Automaton, limits: Option<&Automaton>, all: &Automaton) -> Vec<u8> {
    let class = |automaton: &Automaton, byte: u8| automaton.dfa.byte_classes().get(byte);
    let (letters, others): (Vec<u8>, Vec<u8>) = (0..=u8::MAX).partition(u8::is_ascii_alphanumeric);
    let (lower, upper): (Vec<u8>, Vec<u8>) = letters.into_iter().rev().partition(u8::is_ascii_lowercase);
    let mut told = HashSet::new();
    let ordered = lower.into_iter().rev().chain(upper).chain(others);
    ordered
        .filter(|&byte| told.insert((class(shape, byte), limits.map(|limits| class(limits, byte)), class(all, byte))))
        .collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::scope::{Reference, Resource, is_type};

    /// The grammar is written twice, here and in `scope`: they must agree about every short text.
    #[test]
    fn the_grammars_are_those_of_questions() {
        let letters = ["a", "0", "/", ".", "_", "-", ":", "A", "ä"];
        let mut texts = vec![String::new()];
        let mut last = texts.clone();
        for _ in 0..5 {
            last = last.iter().flat_map(|text| letters.iter().map(move |letter| format!("{text}{letter}"))).collect();
            texts.extend(last.iter().cloned());
        }
        texts.extend(["a:65535/b", "a:65536/b", "a:00080/b", "a:/b", "a:99999/b", "a:6553/b"].map(str::to_owned));
        let read = |grammar: Grammar| regex::Regex::new(&format!(r"\A(?:{})\z", grammar.source())).unwrap();
        let (name, kind, tag) = (read(Grammar::Name), read(Grammar::Type), read(Grammar::Tag));
        let mut names = 0;
        for text in &texts {
            names += usize::from(name.is_match(text));
            assert_eq!(name.is_match(text), Resource::new("repository", text).is_ok(), "{text:?}");
            assert_eq!(kind.is_match(text), is_type(text), "{text:?}");
            assert_eq!(tag.is_match(text), matches!(Reference::parse(text), Some(Reference::Tag(_))), "{text:?}");
        }
        assert!(names > 100, "{names}");
    }

    /// What is left out of expressions takes no part of any text.
    #[test]
    fn simpler_expressions_match_the_same_texts() {
        let letters = ["a", "b", "/", "-", "\n"];
        let mut texts = vec![String::new()];
        let mut last = texts.clone();
        for _ in 0..4 {
            last = last.iter().flat_map(|text| letters.iter().map(move |letter| format!("{text}{letter}"))).collect();
            texts.extend(last.iter().cloned());
        }
        for source in [
            "(?s:.)*(?:^a)(?s:.)*",
            "(?s:.)*(?:b$)(?s:.)*",
            "(?s:.)*(?:^a|b)(?s:.)*",
            "(?s:.)*(?:^a|^b$)(?s:.)*",
            "(?s:.)*(?:a*^b)(?s:.)*",
            "(?s:.)*(?:a+^b)(?s:.)*",
            "(?s:.)*(?:(?m:^)b)(?s:.)*",
            "(?s:.)*(?:b(?m:$))(?s:.)*",
            "(?s:.)*(?:(?-u:\\b)b|(a)?$/)(?s:.)*",
            "(?s:.)*(?:(?:^)*a(?:$)*)(?s:.)*",
            "(?s:.)*(?:(?:^|-)a[^/]b(?:-|$))(?s:.)*",
            "(?s:.)*(?:$^)(?s:.)*",
            "(?s:.)*(?:a?$b?^)(?s:.)*",
        ] {
            let whole = regex::Regex::new(&format!(r"\A(?:{source})\z")).unwrap();
            for grammar in [Grammar::Name, Grammar::Any] {
                let mut automaton = Automaton::from_sources(&[source], grammar, WITHIN_BYTES).unwrap();
                let mut matched = Vec::new();
                for text in &texts {
                    let mut at = automaton.start().unwrap();
                    for byte in text.bytes() {
                        at = automaton.step(at, byte).unwrap();
                    }
                    automaton.matched(at, &mut matched).unwrap();
                    assert_eq!(!matched.is_empty(), whole.is_match(text), "{source} {text:?} {grammar:?}");
                }
            }
        }
    }

    #[test]
    fn each_combination_of_patterns_is_met_by_a_shortest_text() {
        let mut met: Vec<(Vec<usize>, String)> = Vec::new();
        walk(Grammar::Name, Some(&["a.*"]), &["a/[^/]*", "a(?s:.)*"], &|| true, &mut |text| {
            if !met.iter().any(|(matched, _)| matched == text.matched) {
                met.push((text.matched.to_vec(), text.text()));
            }
            ControlFlow::Continue(())
        })
        .unwrap();
        met.sort();
        assert_eq!(met, [(vec![0, 1], "a/a".to_owned()), (vec![1], "a".to_owned())]);
    }

    #[test]
    fn a_walk_that_would_not_end_is_given_up() {
        let words: Vec<String> =
            (b'a'..=b'z').map(|word| format!("(?s:.)*{0}{0}{0}(?s:.)*", char::from(word))).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let looks = std::cell::Cell::new(0);
        let still = || {
            looks.set(looks.get() + 1);
            looks.get() < 20
        };
        let ended = walk(Grammar::Name, None, &words, &still, &mut |_| ControlFlow::Continue(()));
        assert_eq!(ended, Err(Unfinished::Time));
    }
}
