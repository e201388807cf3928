//! Writing a tree, or a glob inside one, in the syntax of the `regex` crate.

use std::fmt::Write as _;

use super::class::push_range;
use super::tree::{Appetite, GroupKind, Node, Repetition};
use super::{Case, NEVER, Segment};
use crate::glob::{GlobToken, Sense, Set};

/// The whole tree, with a segment of its own for each placeholder.
pub(super) fn segments(node: &Node) -> Vec<Segment> {
    let mut printer = Printer::default();
    printer.node(node);
    printer.finish()
}

/// Writes a tree in the syntax of the `regex` crate.
#[derive(Default)]
struct Printer {
    segments: Vec<Segment>,
    text: String,
}

impl Printer {
    fn finish(mut self) -> Vec<Segment> {
        if !self.text.is_empty() {
            self.segments.push(Segment::Text(self.text));
        }
        self.segments
    }

    fn with_case(&mut self, case: Case, text: &str) {
        match case {
            Case::Exact => self.text.push_str(text),
            Case::Folded => {
                self.text.push_str("(?i:");
                self.text.push_str(text);
                self.text.push(')');
            }
        }
    }

    fn node(&mut self, node: &Node) {
        match node {
            Node::Nothing => self.text.push_str("(?:)"),
            Node::Char(c, case) => self.with_case(*case, &regex_syntax::escape(c.encode_utf8(&mut [0; 4]))),
            Node::Class(class, case) => self.with_case(*case, class),
            Node::AnyButNewline => self.text.push_str(r"[^\n]"),
            Node::Any => self.text.push_str("(?s:.)"),
            Node::TextStart => self.text.push_str(r"\A"),
            Node::TextEnd => self.text.push_str(r"\z"),
            Node::LineStart => self.text.push_str("(?m:^)"),
            Node::LineEnd => self.text.push_str("(?m:$)"),
            Node::WordEdge => self.text.push_str(r"(?-u:\b)"),
            Node::NoWordEdge => self.text.push_str(r"(?-u:\B)"),
            Node::Slot(slot, case) => {
                if !self.text.is_empty() {
                    self.segments.push(Segment::Text(std::mem::take(&mut self.text)));
                }
                self.segments.push(Segment::Slot { slot: *slot, case: *case });
            }
            Node::Group(kind, inner) => {
                self.text.push_str(match kind {
                    GroupKind::Capturing => "(",
                    GroupKind::Plain => "(?:",
                });
                self.node(inner);
                self.text.push(')');
            }
            Node::Sequence(nodes) => self.sequence(nodes),
            Node::Choice(nodes) => {
                for (index, node) in nodes.iter().enumerate() {
                    if index > 0 {
                        self.text.push('|');
                    }
                    self.node(node);
                }
            }
            Node::Repeat(inner, times) => self.repeat(inner, *times),
        }
    }

    /// Neighbours under the same flag share one group, so that a plain word stays readable and quick.
    fn sequence(&mut self, nodes: &[Node]) {
        let mut folded = String::new();
        for node in nodes {
            if let Node::Char(c, Case::Folded) = node {
                folded.push(*c);
                continue;
            }
            self.folded_run(&mut folded);
            self.node(node);
        }
        self.folded_run(&mut folded);
    }

    fn folded_run(&mut self, run: &mut String) {
        if !run.is_empty() {
            self.with_case(Case::Folded, &regex_syntax::escape(run));
            run.clear();
        }
    }

    fn repeat(&mut self, inner: &Node, times: Repetition) {
        let single = matches!(
            inner,
            Node::Char(..) | Node::Class(..) | Node::AnyButNewline | Node::Any | Node::Slot(..) | Node::Group(..)
        );
        if single {
            self.node(inner);
        } else {
            self.text.push_str("(?:");
            self.node(inner);
            self.text.push(')');
        }
        // Infallible: a String takes everything.
        let _ = match (times.least, times.most) {
            (0, None) => write!(self.text, "*"),
            (1, None) => write!(self.text, "+"),
            (0, Some(1)) => write!(self.text, "?"),
            (least, None) => write!(self.text, "{{{least},}}"),
            (least, Some(most)) => write!(self.text, "{{{least},{most}}}"),
        };
        match times.appetite {
            Appetite::Greedy => {}
            Appetite::Lazy => self.text.push('?'),
        }
    }
}

/// A glob, as an administrator wrote it in a label, as a piece of an expression.
pub(crate) fn push_glob(out: &mut String, tokens: &[GlobToken]) {
    for token in tokens {
        match token {
            GlobToken::Text(text) => out.push_str(&regex_syntax::escape(text)),
            GlobToken::Run => out.push_str("[^/]*"),
            GlobToken::One => out.push_str("[^/]"),
            GlobToken::Set(set) => push_set(out, set),
            // A label's value holds no placeholder.
            GlobToken::Slot(_) => out.push_str(NEVER),
        }
    }
}

fn push_set(out: &mut String, set: &Set) {
    let mut inside = String::new();
    for &(low, high) in &set.ranges {
        push_range(&mut inside, u32::from(low), u32::from(high));
    }
    if inside.is_empty() {
        inside.push_str(NEVER);
    }
    out.push_str(match set.sense {
        Sense::Takes => "[",
        Sense::Leaves => "[^",
    });
    out.push_str(&inside);
    out.push(']');
}
