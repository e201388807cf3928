//! Which number a rule gets, and which other rules have to make room for it first.
//!
//! Pure. A server reads the rules while they are changed, so each single step leaves a set in the right order: those that
//! make room move up one by one, the furthest first, and never past each other; then the rule itself takes its place in
//! one step. Whoever reads between two steps, and whatever is cut off, the order is right.

/// The distance between two rules where nothing asks for another one.
const STEP: i64 = 10;
/// Numbers beyond this, on either side, are not given: the MongoDB shell could not write them exactly.
pub const MAX_SEQ: i64 = 9_000_000_000_000_000;

/// Where a rule is to be. Rules are named by their position in the set, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spot {
    /// Directly before this rule.
    Before(usize),
    /// Directly after this rule.
    After(usize),
    /// After all others.
    End,
}

/// A rule that makes room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shift {
    /// Its position in the set, from 0.
    pub index: usize,
    /// The number it has.
    pub from: i64,
    /// The number it gets.
    pub to: i64,
}

/// What has to be done for a rule's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Room {
    /// The rule that is to be moved is there already.
    AlreadyThere,
    /// First these shifts, in this order; then the rule gets this number.
    Made {
        /// Those that make room, the furthest first.
        shifts: Vec<Shift>,
        /// The number that is free then.
        seq: i64,
    },
}

/// There is no number left on this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the numbers of the rules are so large that there is none left; export the rules and import them without seq")]
pub struct NoRoom;

/// Finds a place for a new rule, or for the one at position `moving`, among rules with these numbers, which ascend.
///
/// # Errors
/// The numbers have come to their end.
pub fn make_room(seqs: &[i64], spot: Spot, moving: Option<usize>) -> Result<Room, NoRoom> {
    let others = || (0..seqs.len()).filter(|index| Some(*index) != moving);
    let (below, above) = match spot {
        Spot::Before(index) => (others().rfind(|other| *other < index), Some(index)),
        Spot::After(index) => (Some(index), others().find(|other| *other > index)),
        Spot::End => (others().next_back(), None),
    };
    let between = |index: usize| below.is_none_or(|below| below < index) && above.is_none_or(|above| index < above);
    if moving.is_some_and(between) {
        return Ok(Room::AlreadyThere);
    }
    let number = |position: usize| seqs.get(position).copied().map(|seq| (position, seq));
    let seq = match (below.and_then(number), above.and_then(number)) {
        (None, None) => STEP,
        (Some((_, below)), None) => next_ten(below)?,
        // Between it and nothing, or below nothing by tens.
        (None, Some((_, above @ 2..))) => limited(Some(above / 2))?,
        (None, Some((_, above))) => limited(above.checked_sub(1).map(|under| under.div_euclid(STEP) * STEP))?,
        (Some((_, below)), Some((_, above))) if above.saturating_sub(below) > 1 => {
            limited(Some(below.midpoint(above)))?
        }
        (Some((_, below)), Some((above, _))) => return push_up(seqs, below, above),
    };
    Ok(Room::Made { shifts: Vec::new(), seq })
}

/// Moves the rules from this position on up, as many as it takes, each to the next ten above the one before it.
fn push_up(seqs: &[i64], below: i64, position: usize) -> Result<Room, NoRoom> {
    let seq = next_ten(below)?;
    let mut last = seq;
    let mut shifts = Vec::new();
    for (index, &from) in seqs.iter().enumerate().skip(position) {
        if from > last {
            break;
        }
        last = next_ten(last)?;
        shifts.push(Shift { index, from, to: last });
    }
    shifts.reverse();
    Ok(Room::Made { shifts, seq })
}

/// The numbers that rules get where nobody gave them any: by tens, after `last`.
///
/// # Errors
/// The numbers have come to their end.
pub fn numbers_after(last: Option<i64>, count: usize) -> Result<Vec<i64>, NoRoom> {
    let mut last = last.unwrap_or_default();
    (0..count)
        .map(|_| {
            last = next_ten(last)?;
            Ok(last)
        })
        .collect()
}

fn next_ten(below: i64) -> Result<i64, NoRoom> {
    limited(below.div_euclid(STEP).checked_add(1).and_then(|tens| tens.checked_mul(STEP)))
}

fn limited(seq: Option<i64>) -> Result<i64, NoRoom> {
    seq.filter(|seq| (-MAX_SEQ..=MAX_SEQ).contains(seq)).ok_or(NoRoom)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "positions are of what was just made")]

    use proptest::prelude::*;

    use super::*;

    fn made(shifts: &[(usize, i64, i64)], seq: i64) -> Result<Room, NoRoom> {
        let shifts = shifts.iter().map(|&(index, from, to)| Shift { index, from, to }).collect();
        Ok(Room::Made { shifts, seq })
    }

    #[test]
    fn a_rule_takes_a_gap_where_there_is_one_and_otherwise_those_above_move_up() {
        for (seqs, spot, moving, expected) in [
            (&[][..], Spot::End, None, made(&[], 10)),
            (&[10, 20], Spot::End, None, made(&[], 30)),
            (&[10, 23], Spot::End, None, made(&[], 30)),
            (&[-25], Spot::End, None, made(&[], -20)),
            (&[10, 20], Spot::Before(0), None, made(&[], 5)),
            (&[7], Spot::Before(0), None, made(&[], 3)),
            (&[1], Spot::Before(0), None, made(&[], 0)),
            (&[0], Spot::Before(0), None, made(&[], -10)),
            (&[10, 20], Spot::Before(1), None, made(&[], 15)),
            (&[10, 20], Spot::After(0), None, made(&[], 15)),
            (&[10, 20], Spot::After(1), None, made(&[], 30)),
            (&[10, 12], Spot::After(0), None, made(&[], 11)),
            (&[1, 2, 3], Spot::After(0), None, made(&[(2, 3, 30), (1, 2, 20)], 10)),
            (&[10, 11, 12, 40], Spot::Before(1), None, made(&[(3, 40, 50), (2, 12, 40), (1, 11, 30)], 20)),
            (&[10, 11, 12, 41], Spot::Before(1), None, made(&[(2, 12, 40), (1, 11, 30)], 20)),
            // Moving one that is there already.
            (&[10, 20, 30], Spot::Before(1), Some(0), Ok(Room::AlreadyThere)),
            (&[10, 20, 30], Spot::After(1), Some(2), Ok(Room::AlreadyThere)),
            (&[10], Spot::End, Some(0), Ok(Room::AlreadyThere)),
            // Moving one over others.
            (&[10, 20, 30], Spot::Before(0), Some(2), made(&[], 5)),
            (&[10, 20, 30], Spot::After(2), Some(0), made(&[], 40)),
            (&[10, 20, 30], Spot::After(1), Some(0), made(&[], 25)),
            (&[10, 11, 12], Spot::Before(1), Some(2), made(&[(2, 12, 40), (1, 11, 30)], 20)),
            (&[MAX_SEQ], Spot::End, None, Err(NoRoom)),
            (&[-MAX_SEQ], Spot::Before(0), None, Err(NoRoom)),
            (&[i64::MAX - 1, i64::MAX], Spot::After(0), None, Err(NoRoom)),
            (&[i64::MIN, i64::MAX], Spot::After(0), None, made(&[], 0)),
        ] {
            assert_eq!(make_room(seqs, spot, moving), expected, "{seqs:?} {spot:?} {moving:?}");
        }
    }

    proptest! {
        /// Whoever reads between any two steps sees the rules in their order, each number once; in the end the rule is
        /// where it was to be.
        #[test]
        fn every_step_keeps_the_order(
            numbers in proptest::collection::btree_set(-40_i64..40, 1..24),
            at in 0_usize..24,
            kind in 0_usize..3,
            moving in proptest::option::of(0_usize..24),
        ) {
            let seqs: Vec<i64> = numbers.into_iter().collect();
            let at = at % seqs.len();
            let moving = moving.map(|index| index % seqs.len()).filter(|index| *index != at);
            let spot = [Spot::Before(at), Spot::After(at), Spot::End][kind];
            let mut rules: Vec<(usize, i64)> = seqs.iter().copied().enumerate().collect();
            let ordered = |rules: &[(usize, i64)]| rules.windows(2).all(|pair| pair[0].1 < pair[1].1);
            if let Room::Made { shifts, seq } = make_room(&seqs, spot, moving)? {
                for Shift { index, from, to } in shifts {
                    prop_assert_eq!(rules[index].1, from);
                    rules[index].1 = to;
                    prop_assert!(ordered(&rules), "{:?}", rules);
                }
                prop_assert!(rules.iter().all(|(_, taken)| *taken != seq));
                rules.retain(|(index, _)| Some(*index) != moving);
                rules.push((moving.unwrap_or(usize::MAX), seq));
                rules.sort_by_key(|(_, seq)| *seq);
            }
            let name = moving.unwrap_or(usize::MAX);
            let place = rules.iter().position(|(index, _)| *index == name).unwrap();
            let neighbour = |place: Option<usize>| place.and_then(|place| rules.get(place)).map(|(index, _)| *index);
            match spot {
                Spot::Before(_) => prop_assert_eq!(neighbour(Some(place + 1)), Some(at)),
                Spot::After(_) => prop_assert_eq!(neighbour(place.checked_sub(1)), Some(at)),
                Spot::End => prop_assert_eq!(place, rules.len() - 1),
            }
            let others: Vec<usize> = rules.iter().map(|(index, _)| *index).filter(|index| *index != name).collect();
            prop_assert!(others.is_sorted(), "{:?}", others);
        }
    }
}
