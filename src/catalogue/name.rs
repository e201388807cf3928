//! What can be the name of a repository, a tag or a digest: whatever else a registry sends is overlooked.

use policy::scope::is_component;
pub(super) use policy::scope::is_tag;

/// The longest name of a repository, in bytes.
const LONGEST: usize = 255;

/// Whether a text can be the name of a repository (OCI distribution 1.1).
pub(super) fn is_repository(text: &str) -> bool {
    text.len() <= LONGEST && text.split('/').all(is_component)
}

/// Whether a text is a digest.
pub fn is_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else { return false };
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return false,
    };
    hex.len() == length && hex.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_registries_take() {
        for name in ["a", "lib/x", "users/1/opensvc/busybox", "a.b/c-d/e_f/g__h", "0/1"] {
            assert!(is_repository(name), "{name}");
        }
        for name in [
            "",
            "/",
            "a/",
            "/a",
            "A",
            "a//b",
            "a b",
            ".a",
            "a.",
            "-a",
            "a..b",
            "a._b",
            "a___b",
            "a\n",
            "a:b",
            &"a".repeat(256),
        ] {
            assert!(!is_repository(name), "{name}");
        }
        for (tag, is) in [("v1", true), ("_a.B-c", true), ("", false), (".a", false), ("-a", false), ("a b", false)] {
            assert_eq!(is_tag(tag), is, "{tag}");
        }
        let hex = "0123456789abcdef".repeat(4);
        assert!(is_digest(&format!("sha256:{hex}")));
        for text in
            [hex.clone(), format!("sha256:{hex}0"), format!("md5:{hex}"), format!("sha256:{}", hex.to_uppercase())]
        {
            assert!(!is_digest(&text), "{text}");
        }
    }
}
