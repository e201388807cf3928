//! Which word was probably meant by one that does not exist.

/// So many letters are compared: a key can be as long as the file.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_meant_where_one_is_near() {
        let known = ["issuer", "services", "expiration"];
        let long = "x".repeat(10_000_000);
        for (word, expected) in [
            ("isuer", Some("issuer")),
            ("servcies", Some("services")),
            ("expirations_", Some("expiration")),
            ("pass", None),
            ("", None),
            (long.as_str(), None),
        ] {
            assert_eq!(nearest(word, &known), expected, "{:.20}", word);
        }
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
