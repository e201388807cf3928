//! The tree of an expression, and what is asked of it as a whole.

use super::{Case, Ends};

#[derive(Debug)]
pub(super) enum Node {
    Nothing,
    Char(char, Case),
    /// A bracketed class of the `regex` crate.
    Class(String, Case),
    AnyButNewline,
    Any,
    TextStart,
    TextEnd,
    LineStart,
    LineEnd,
    WordEdge,
    NoWordEdge,
    Slot(usize, Case),
    Group(GroupKind, Box<Node>),
    Sequence(Vec<Node>),
    Choice(Vec<Node>),
    Repeat(Box<Node>, Repetition),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum GroupKind {
    Capturing,
    Plain,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Repetition {
    pub(super) least: u32,
    /// Absent where there is no end to it.
    pub(super) most: Option<u32>,
    pub(super) appetite: Appetite,
    pub(super) written: Notation,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Appetite {
    Greedy,
    Lazy,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Notation {
    /// `*`, `+`, `?`
    Sign,
    /// `{…}`, which counts towards the limit on repetitions.
    Counted,
}

/// Whether counted repetitions inside each other stay within `most` copies of the innermost.
pub(super) fn few_enough(node: &Node, most: u32) -> bool {
    match node {
        Node::Repeat(inner, times) => {
            let mut left = most;
            if times.written == Notation::Counted {
                let count = times.most.unwrap_or(times.least);
                if times.most == Some(0) {
                    return true;
                }
                if count > most {
                    return false;
                }
                left = most.checked_div(count).unwrap_or(most);
            }
            few_enough(inner, left)
        }
        node => parts(node).iter().all(|part| few_enough(part, most)),
    }
}

/// The placeholders that a repetition may take more than once, in the order they are written.
pub(super) fn repeated(node: &Node) -> Vec<usize> {
    match node {
        Node::Repeat(inner, times) if times.most.is_none_or(|most| most > 1) => slots(inner),
        node => parts(node).iter().flat_map(repeated).collect(),
    }
}

/// The placeholders in it, in the order they are written.
fn slots(node: &Node) -> Vec<usize> {
    match node {
        Node::Slot(slot, _) => vec![*slot],
        node => parts(node).iter().flat_map(slots).collect(),
    }
}

/// What a piece is made of.
fn parts(node: &Node) -> &[Node] {
    match node {
        Node::Repeat(inner, _) | Node::Group(_, inner) => std::slice::from_ref(inner),
        Node::Sequence(nodes) | Node::Choice(nodes) => nodes,
        Node::Nothing
        | Node::Char(..)
        | Node::Class(..)
        | Node::AnyButNewline
        | Node::Any
        | Node::TextStart
        | Node::TextEnd
        | Node::LineStart
        | Node::LineEnd
        | Node::WordEdge
        | Node::NoWordEdge
        | Node::Slot(..) => &[],
    }
}

/// What holds the two ends of a whole expression.
pub(super) fn ends(node: &Node) -> Ends {
    if held(node, End::Start) && held(node, End::Finish) { Ends::Held } else { Ends::Loose }
}

/// Which end of an expression is asked about.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Start,
    Finish,
}

/// Whether every match of `node` is tied to that end of the text, or says itself that anything may stand there.
fn held(node: &Node, end: End) -> bool {
    match node {
        Node::TextStart => end == End::Start,
        Node::TextEnd => end == End::Finish,
        Node::Group(_, inner) => held(inner, end),
        Node::Choice(nodes) => nodes.iter().all(|node| held(node, end)),
        Node::Sequence(nodes) => {
            let outward = |node: &&Node| !matches!(node, Node::WordEdge | Node::NoWordEdge | Node::Nothing);
            let outermost = match end {
                End::Start => nodes.iter().find(outward),
                End::Finish => nodes.iter().rev().find(outward),
            };
            outermost.is_some_and(|node| held(node, end))
        }
        Node::Repeat(inner, times) => match inner.as_ref() {
            Node::Any | Node::AnyButNewline => times.most.is_none(),
            inner => times.least > 0 && held(inner, end),
        },
        Node::Nothing
        | Node::Char(..)
        | Node::Class(..)
        | Node::AnyButNewline
        | Node::Any
        | Node::LineStart
        | Node::LineEnd
        | Node::WordEdge
        | Node::NoWordEdge
        | Node::Slot(..) => false,
    }
}
