//! The texts of which every match of an expression contains at least one: they let most rules be skipped.

use std::cmp::Reverse;

use super::Case;
use super::tree::Node;

/// More alternatives than this are as good as none.
const MOST: usize = 16;
/// A shorter text occurs nearly everywhere, in bytes.
const LONG_ENOUGH: usize = 3;

/// Texts of which every match holds at least one, letter by letter; none where there is no such text.
///
/// To name too few is slow and never wrong. To name one that a match may lack would pass over a rule that decides.
pub(super) fn needed(node: &Node) -> Vec<String> {
    match node {
        Node::Char(c, Case::Exact) => vec![c.to_string()],
        Node::Group(_, inner) => needed(inner),
        Node::Repeat(inner, times) if times.least > 0 => needed(inner),
        Node::Sequence(nodes) => needed_in_sequence(nodes),
        Node::Choice(nodes) => needed_in_choice(nodes),
        Node::Char(_, Case::Folded)
        | Node::Repeat(..)
        | Node::Nothing
        | Node::Class(..)
        | Node::AnyButNewline
        | Node::Any
        | Node::TextStart
        | Node::TextEnd
        | Node::LineStart
        | Node::LineEnd
        | Node::WordEdge
        | Node::NoWordEdge
        | Node::Slot(..) => Vec::new(),
    }
}

/// The best of what any piece needs; letters that stand side by side are one text.
fn needed_in_sequence(nodes: &[Node]) -> Vec<String> {
    let mut best = Vec::new();
    let mut word = String::new();
    for node in nodes {
        if let Node::Char(c, Case::Exact) = node {
            word.push(*c);
            continue;
        }
        best = better(best, vec![std::mem::take(&mut word)]);
        best = better(best, needed(node));
    }
    better(best, vec![word])
}

/// What each alternative needs; one that needs nothing leaves nothing to look for.
fn needed_in_choice(nodes: &[Node]) -> Vec<String> {
    let mut all = Vec::new();
    for node in nodes {
        let one = needed(node);
        if one.is_empty() || all.len() + one.len() > MOST {
            return Vec::new();
        }
        all.extend(one);
    }
    all
}

/// Of two lists the one whose texts are long enough to tell something; of such the one with fewer, and then with longer
/// texts: in `^(mirror|cache)-7/`, what stands behind the choice tells more than the choice.
fn better(one: Vec<String>, other: Vec<String>) -> Vec<String> {
    let worth = |texts: &[String]| {
        let shortest = texts.iter().map(String::len).min().unwrap_or(0);
        (shortest.min(LONG_ENOUGH), Reverse(texts.len()), shortest)
    };
    if worth(&other) > worth(&one) && other.iter().all(|text| !text.is_empty()) { other } else { one }
}
