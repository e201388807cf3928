//! Regular expressions that go by the parts of a path: read off an expression, and held against a name without it.

use regex_syntax::hir::{Class, Hir, HirKind, Look};

/// The parts that a path begins with, and what may follow. It says the same as the expression that it was read off, of every path whose
/// parts are visible characters of ASCII, and none of them empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathShape {
    parts: Vec<Part>,
    rest: Rest,
}

/// What one part may be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    /// One of these texts; anything, where there are none.
    texts: Option<Vec<Box<str>>>,
    /// The group that catches the whole of it.
    group: Option<usize>,
}

/// What may come behind the parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// At least one more part, whatever it is.
    More,
    /// Nothing.
    Nothing,
}

impl PathShape {
    /// The shape of an expression; `None` where it does not go by parts alone, or says more of them than is read here.
    pub(super) fn from_hir(expression: &Hir) -> Option<PathShape> {
        if is_anything(expression) {
            return Some(PathShape { parts: Vec::new(), rest: Rest::More });
        }
        let HirKind::Concat(pieces) = expression.kind() else { return None };
        let [start, pieces @ ..] = pieces.as_slice() else { return None };
        let HirKind::Look(Look::Start) = start.kind() else { return None };
        let mut reader = Reader { parts: Vec::new(), part: None };
        let mut pieces = pieces;
        while let Some((piece, after)) = pieces.split_first() {
            // Whatever follows a whole part: one at least is there, since none is empty.
            if reader.part.is_none() && is_rest(pieces) {
                return Some(PathShape { parts: reader.parts, rest: Rest::More });
            }
            if let (HirKind::Look(Look::End), []) = (piece.kind(), after) {
                reader.parts.push(reader.part?);
                return Some(PathShape { parts: reader.parts, rest: Rest::Nothing });
            }
            reader.read(piece)?;
            pieces = after;
        }
        // Nothing ties the end: all is well behind a slash. Within a part, it would be the beginning of one.
        reader.part.is_none().then_some(PathShape { parts: reader.parts, rest: Rest::More })
    }

    /// Whether it is the shape of every path.
    pub(crate) fn is_any(&self) -> bool {
        self.parts.is_empty() && self.rest == Rest::More
    }

    /// The part, counted from 0, that a group catches.
    pub(crate) fn part_of_group(&self, group: usize) -> Option<usize> {
        self.parts.iter().position(|part| part.group == Some(group))
    }

    /// The texts that the first part can be; `None` for any.
    pub(crate) fn firsts(&self) -> Option<impl Iterator<Item = &str>> {
        Some(self.parts.first()?.texts.as_ref()?.iter().map(|text| &**text))
    }

    /// The texts that each part can be; `None` for any.
    pub(crate) fn parts(&self) -> impl ExactSizeIterator<Item = Option<&[Box<str>]>> {
        self.parts.iter().map(|part| part.texts.as_deref())
    }

    /// Whether at least one more part comes behind these, or none does.
    pub(crate) fn goes_on(&self) -> bool {
        match self.rest {
            Rest::More => true,
            Rest::Nothing => false,
        }
    }

    /// Whether a path has this shape.
    pub(crate) fn matches(&self, path: &str) -> bool {
        let mut there = path.split('/');
        let fits = self.parts.iter().all(|part| {
            let is_one = |own: &str| part.texts.as_ref().is_none_or(|texts| texts.iter().any(|text| **text == *own));
            there.next().is_some_and(is_one)
        });
        fits && match self.rest {
            Rest::More => there.next().is_some(),
            Rest::Nothing => there.next().is_none(),
        }
    }
}

/// The parts that were read, and the one that is being read.
struct Reader {
    parts: Vec<Part>,
    part: Option<Part>,
}

impl Reader {
    fn read(&mut self, piece: &Hir) -> Option<()> {
        match piece.kind() {
            HirKind::Literal(literal) => self.literal(std::str::from_utf8(&literal.0).ok()?),
            HirKind::Capture(capture) if capture.name.is_none() => {
                let group = usize::try_from(capture.index).ok()?;
                self.whole(part_of(&capture.sub, Some(group))?)
            }
            HirKind::Empty
            | HirKind::Class(_)
            | HirKind::Look(_)
            | HirKind::Repetition(_)
            | HirKind::Capture(_)
            | HirKind::Concat(_)
            | HirKind::Alternation(_) => self.whole(part_of(piece, None)?),
        }
    }

    /// A text, in which slashes end parts.
    fn literal(&mut self, text: &str) -> Option<()> {
        let mut texts = text.split('/');
        // A part has one piece only: what follows it at once would be another half of it.
        let first = texts.next()?;
        if !first.is_empty() {
            self.whole(Part { texts: Some(vec![first.into()]), group: None })?;
        }
        for next in texts {
            self.parts.push(self.part.take()?);
            if !next.is_empty() {
                self.part = Some(Part { texts: Some(vec![next.into()]), group: None });
            }
        }
        Some(())
    }

    fn whole(&mut self, part: Part) -> Option<()> {
        match self.part {
            Some(_) => None,
            None => {
                self.part = Some(part);
                Some(())
            }
        }
    }
}

/// A piece that is a whole part: anything without a slash, or one of some texts.
fn part_of(piece: &Hir, group: Option<usize>) -> Option<Part> {
    match piece.kind() {
        HirKind::Repetition(repetition) if repetition.min <= 1 && repetition.max.is_none() => {
            let takes = |byte| takes(&repetition.sub, byte);
            let is_any_part = (0x21..=0x7e_u8).all(|byte| takes(byte) == Some(byte != b'/'));
            is_any_part.then_some(Part { texts: None, group })
        }
        HirKind::Literal(_) => Some(Part { texts: Some(vec![text_of(piece)?]), group }),
        HirKind::Alternation(all) => Some(Part { texts: Some(all.iter().map(text_of).collect::<Option<_>>()?), group }),
        HirKind::Empty
        | HirKind::Class(_)
        | HirKind::Look(_)
        | HirKind::Repetition(_)
        | HirKind::Capture(_)
        | HirKind::Concat(_) => None,
    }
}

/// A text without a slash.
fn text_of(piece: &Hir) -> Option<Box<str>> {
    match piece.kind() {
        HirKind::Literal(literal) => {
            let text = std::str::from_utf8(&literal.0).ok()?;
            (!text.is_empty() && !text.contains('/')).then(|| text.into())
        }
        HirKind::Empty
        | HirKind::Class(_)
        | HirKind::Look(_)
        | HirKind::Repetition(_)
        | HirKind::Capture(_)
        | HirKind::Concat(_)
        | HirKind::Alternation(_) => None,
    }
}

/// Whether one character of an expression can be this one of ASCII; `None` where it is no class.
fn takes(piece: &Hir, byte: u8) -> Option<bool> {
    match piece.kind() {
        HirKind::Class(Class::Unicode(class)) => {
            let letter = char::from(byte);
            Some(class.iter().any(|range| range.start() <= letter && letter <= range.end()))
        }
        HirKind::Class(Class::Bytes(_))
        | HirKind::Empty
        | HirKind::Literal(_)
        | HirKind::Look(_)
        | HirKind::Repetition(_)
        | HirKind::Capture(_)
        | HirKind::Concat(_)
        | HirKind::Alternation(_) => None,
    }
}

fn takes_all(piece: &Hir) -> bool {
    (0x21..=0x7e_u8).all(|byte| takes(piece, byte) == Some(true))
}

/// `.+` and the like, which take all that is left.
fn takes_the_rest(piece: &Hir) -> bool {
    match piece.kind() {
        HirKind::Repetition(repetition) => {
            repetition.min <= 1 && repetition.max.is_none() && takes_all(&repetition.sub)
        }
        HirKind::Empty
        | HirKind::Literal(_)
        | HirKind::Class(_)
        | HirKind::Look(_)
        | HirKind::Capture(_)
        | HirKind::Concat(_)
        | HirKind::Alternation(_) => false,
    }
}

/// Whether pieces match whatever is left, which is not empty: `.+$`, `.*$`, `.+`, `.`.
fn is_rest(pieces: &[Hir]) -> bool {
    match pieces {
        [one] => takes_the_rest(one) || takes_all(one),
        [one, end] => takes_the_rest(one) && matches!(end.kind(), HirKind::Look(Look::End)),
        _ => false,
    }
}

/// Whether an expression matches every path: `.`, `^.+$` and the like.
fn is_anything(expression: &Hir) -> bool {
    match expression.kind() {
        HirKind::Concat(pieces) => {
            let pieces = match pieces.as_slice() {
                [start, rest @ ..] if matches!(start.kind(), HirKind::Look(Look::Start)) => rest,
                all => all,
            };
            is_rest(pieces)
        }
        HirKind::Class(_) | HirKind::Repetition(_) => is_rest(std::slice::from_ref(expression)),
        HirKind::Empty | HirKind::Literal(_) | HirKind::Look(_) | HirKind::Capture(_) | HirKind::Alternation(_) => {
            false
        }
    }
}
