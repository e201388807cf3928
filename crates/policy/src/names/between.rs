//! Many names by their order: whether none of those between two of them is granted, without a look at each.
//!
//! In a long list, most names that an account may not pull stand together: other people's, other groups'. All that stand between two
//! names begin with the parts that these two share, and the part behind those lies between theirs. So a rule that wants another part
//! there matches none of them. Where it cannot be told so, each name is compared ([`ForNames::verdict`]).

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::{ForNames, Verdict, When, is_path};
use crate::glob::Budget;
use crate::pattern::{PathShape, TooComplex};

/// The order of names, part by part: `a/b` comes before `a-b`.
pub fn order(one: &str, other: &str) -> Ordering {
    let place = |byte: u8| if byte == b'/' { 0 } else { byte };
    one.bytes().map(place).cmp(other.bytes().map(place))
}

/// How many of the names between two of them meet a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    None,
    /// Some, or it cannot be told.
    Some,
    All,
}

/// The names from one to another, both among them.
struct Between<'n> {
    first: &'n str,
    last: &'n str,
    /// The parts that they all begin with.
    shared: Vec<&'n str>,
    /// The part behind those, of the first name and of the last: that of any name between them lies between the two. Where the last has
    /// none, the two are one name; where the first has none, others can be without it too.
    next: (Option<&'n str>, Option<&'n str>),
}

impl ForNames<'_> {
    /// Whether it is certain that no name from `first` to `last` ([`order`]), both among them, is granted. Only what consists of parts, as
    /// [`is_path`] says, may stand between the two.
    ///
    /// # Errors
    /// As [`Rule::check`](crate::rule::Rule::check).
    pub fn grants_none(&self, first: &str, last: &str, budget: &mut Budget) -> Result<bool, TooComplex> {
        if !is_path(first) || !is_path(last) || order(first, last) == Ordering::Greater {
            return Ok(false);
        }
        let between = Between::new(first, last);
        for left in &self.left {
            budget.take(1)?;
            match (between.reach(&left.when), left.verdict) {
                (Reach::None, _) | (Reach::Some, Verdict::Withheld | Verdict::NoMatch) => {}
                (Reach::Some | Reach::All, Verdict::Granted) => return Ok(false),
                // What comes below it is asked about none of them.
                (Reach::All, Verdict::Withheld | Verdict::NoMatch) => return Ok(true),
            }
        }
        Ok(true)
    }
}

impl<'n> Between<'n> {
    fn new(first: &'n str, last: &'n str) -> Between<'n> {
        let (mut one, mut other) = (first.split('/'), last.split('/'));
        let mut shared = Vec::new();
        loop {
            match (one.next(), other.next()) {
                (Some(part), Some(same)) if part == same => shared.push(part),
                next => return Between { first, last, shared, next },
            }
        }
    }

    /// How many of them a rule matches.
    fn reach(&self, when: &When<'_>) -> Reach {
        match when {
            When::Always => Reach::All,
            When::Parts { shape, labels } => {
                let by_labels = labels.iter().map(|(part, values)| self.of_values(*part, values));
                by_labels.fold(self.of_shape(shape), Reach::min)
            }
            When::Compared { beginnings, .. } => {
                let can = |all: &Vec<String>| all.iter().any(|beginning| self.can_begin(beginning));
                some_or_none(beginnings.as_ref().is_none_or(can))
            }
        }
    }

    fn of_shape(&self, shape: &PathShape) -> Reach {
        let parts = shape.parts().enumerate().map(|(at, texts)| match texts {
            None => self.of_any(at),
            Some(texts) => self.of_texts(at, texts),
        });
        let behind = self.of_any(shape.parts().len());
        let rest = match (shape.goes_on(), behind) {
            (true, behind) => behind,
            (false, Reach::None) => Reach::All,
            (false, Reach::Some) => Reach::Some,
            (false, Reach::All) => Reach::None,
        };
        parts.fold(rest, Reach::min)
    }

    /// How many have a part there, whatever it is.
    fn of_any(&self, part: usize) -> Reach {
        match (part.cmp(&self.shared.len()), self.next) {
            (Ordering::Less, _) | (Ordering::Equal, (Some(_), Some(_))) => Reach::All,
            (Ordering::Equal | Ordering::Greater, (_, None)) => Reach::None,
            (Ordering::Equal, (None, Some(_))) | (Ordering::Greater, (_, Some(_))) => Reach::Some,
        }
    }

    /// How many have one of these texts as that part.
    fn of_texts(&self, part: usize, texts: &[Box<str>]) -> Reach {
        match (part.cmp(&self.shared.len()), self.next) {
            (Ordering::Less, _) => {
                all_or_none(self.shared.get(part).is_some_and(|own| texts.iter().any(|text| **text == **own)))
            }
            (Ordering::Equal | Ordering::Greater, (_, None)) => Reach::None,
            (Ordering::Equal, (from, Some(to))) => {
                let from = from.unwrap_or_default();
                some_or_none(texts.iter().any(|text| from <= &**text && &**text <= to))
            }
            (Ordering::Greater, (_, Some(_))) => Reach::Some,
        }
    }

    /// The same of a label's values, of which there can be many.
    fn of_values(&self, part: usize, values: &BTreeSet<&str>) -> Reach {
        match (part.cmp(&self.shared.len()), self.next) {
            (Ordering::Less, _) => all_or_none(self.shared.get(part).is_some_and(|own| values.contains(own))),
            (Ordering::Equal | Ordering::Greater, (_, None)) => Reach::None,
            (Ordering::Equal, (from, Some(to))) => {
                let behind = values.range(from.unwrap_or_default()..).next();
                some_or_none(behind.is_some_and(|value| *value <= to))
            }
            (Ordering::Greater, (_, Some(_))) => Reach::Some,
        }
    }

    /// Whether one of them can begin so: in their order, those that do stand together, and the text itself before them.
    fn can_begin(&self, text: &str) -> bool {
        let all_before = order(self.last, text) == Ordering::Less;
        let all_behind = order(self.first, text) == Ordering::Greater && !self.first.starts_with(text);
        !all_before && !all_behind
    }
}

fn all_or_none(all: bool) -> Reach {
    if all { Reach::All } else { Reach::None }
}

fn some_or_none(some: bool) -> Reach {
    if some { Reach::Some } else { Reach::None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order_part_by_part() {
        let sorted = ["a", "a/b", "a/b/c", "a/b-c", "a-b", "a-b/c", "a.b/c", "a0", "a_b", "ab/c", "b"];
        for pair in sorted.windows(2) {
            let [one, other] = pair else { unreachable!() };
            assert_eq!((order(one, other), order(other, one)), (Ordering::Less, Ordering::Greater), "{one} {other}");
        }
        assert_eq!(order("a/b", "a/b"), Ordering::Equal);
    }

    #[test]
    fn what_all_names_between_two_share_is_known_of_each() {
        let texts = |texts: &[&str]| texts.iter().map(|text| Box::from(*text)).collect::<Vec<Box<str>>>();
        for (first, last, part, wanted, expected) in [
            ("users/1/a", "users/9/z", 0, &["apps", "users"][..], Reach::All),
            ("users/1/a", "users/9/z", 0, &["apps"], Reach::None),
            ("users/1/a", "users/9/z", 1, &["1", "10"], Reach::Some),
            ("users/1/a", "users/9/z", 1, &["9"], Reach::Some),
            ("users/1/a", "users/9/z", 1, &["0", "90"], Reach::None),
            ("users/1/a", "users/9/z", 2, &["a"], Reach::Some),
            ("users", "users/9/z", 1, &["0"], Reach::Some),
            ("apps/1/a", "users/9/z", 0, &["groups"], Reach::Some),
            ("apps/1/a", "users/9/z", 0, &["usersx", "app"], Reach::None),
            ("a/b", "a/b", 1, &["b"], Reach::All),
            ("a/b", "a/b", 2, &["c"], Reach::None),
        ] {
            let between = Between::new(first, last);
            let said = between.of_texts(part, &texts(wanted));
            assert_eq!(said, expected, "{first} {last} {part} {wanted:?}");
            assert_eq!(between.of_values(part, &wanted.iter().copied().collect()), said);
        }
        for (first, last, beginning, can) in [
            ("team-1/a", "team-9/a", "users/", false),
            ("team-1/a", "team-9/a", "apps/", false),
            ("team-1/a", "team-9/a", "team-2", true),
            ("team-1/a", "team-9/a", "t", true),
            ("team-1/a", "team-9/a", "team-9/a/b", false),
            ("users/1", "users/5/x", "users/", true),
            ("a-b/x", "a-c/x", "a/", false),
        ] {
            assert_eq!(Between::new(first, last).can_begin(beginning), can, "{first} {last} {beginning}");
        }
    }
}
