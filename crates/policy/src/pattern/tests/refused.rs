//! Which patterns are refused, and what their author is told.

use super::*;

#[test]
fn a_bad_pattern_says_where_and_what_to_write_instead() {
    let cases = [
        ("[a", "character 1", "\\["),
        ("é[]a]", "character 3", "\\]"),
        ("[a-]", "character 4", "\\-"),
        ("a\\", "character 2", "\\\\"),
        ("\\${account}", "character 1", "placeholder"),
        ("[${account}]", "character 1", "placeholder"),
        ("[a${labels:x}", "character 1", "placeholder"),
        ("/(/", "character 2", "\\("),
        ("/é**/", "character 4", "(?:…)"),
        ("/\\${account}/", "character 2", "placeholder"),
        ("/[${account}]/", "character 2", "placeholder"),
        ("/[^x${account}/", "character 2", "placeholder"),
        ("/a{${account}}/", "character 3", "\\{"),
        ("/a{2,${account}}/", "character 3", "\\{"),
        ("/\\Q${account}\\E/", "character 2", "placeholder"),
        ("/(?P<${account}>a)/", "character 2", "placeholder"),
        ("/(?<${account:1}>a)/", "character 2", "placeholder"),
        ("/(?${account})/", "character 2", "placeholder"),
        ("/\\x${account}/", "character 2", "placeholder"),
        ("/\\x{${account}}/", "character 2", "\\x7F"),
        ("/\\p${account}/", "character 2", "placeholder"),
        ("/\\p{${account}}/", "character 2", "placeholder"),
        ("/[[:${account}:]]/", "character 2", "placeholder"),
        ("/abc\\/", "character 5", "lone"),
        ("/a(?=b)/", "character 3", "look-ahead"),
    ];
    for (pattern, place, advice) in cases {
        let message = Pattern::compile(pattern).unwrap_err().to_string();
        assert!(message.contains(&format!("{place}:")), "{pattern:?}: {message}");
        assert!(message.contains(advice), "{pattern:?}: {message}");
    }
    let big = Pattern::compile("/(\\pL{100}){10}/").unwrap_err();
    assert!(matches!(big, PatternError::TooBig { .. }), "{big}");
    assert!(big.to_string().contains("256 KiB"), "{big}");
    let longest = "a".repeat(PATTERN_BYTES);
    assert_eq!(Pattern::compile(&longest).unwrap().text(), longest);
    assert!(matches!(Pattern::compile(&(longest + "a")), Err(PatternError::TooLong { .. })));
    let many = |number: usize| (0..number).map(|label| format!("${{labels:{label}}}")).collect::<String>();
    assert!(Pattern::compile(&many(PATTERN_PLACEHOLDERS)).is_ok());
    let beyond = Pattern::compile(&many(PATTERN_PLACEHOLDERS + 1));
    assert!(matches!(beyond, Err(PatternError::TooManyPlaceholders { .. })));
    assert!(LabelValue::glob("[a").is_err());
}
