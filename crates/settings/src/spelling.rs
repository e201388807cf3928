//! Which word was probably meant by one that does not exist.

/// Longer words are nobody's slip of a shorter one. What is compared is bounded: a key can be as long as the file.
const LONGEST: usize = 64;

/// The known word that was probably meant by an unknown one, if there is one so near.
pub fn nearest<'known>(word: &str, known: &[&'known str]) -> Option<&'known str> {
    let (near, other) = known.iter().map(|other| (distance(word, other), *other)).min()?;
    (near <= 2 || (near <= 3 && word.len() > 6)).then_some(other)
}

/// The number of single-letter edits between two words (Levenshtein), as far as their first letters.
pub fn distance(one: &str, other: &str) -> usize {
    let begin = |word: &'_ str| word.chars().take(LONGEST).collect::<String>();
    strsim::levenshtein(&begin(one), &begin(other))
}
