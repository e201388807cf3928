//! The secrets of the tests are in nothing that the server says: its log, its replies, its command line, its environment.
//!
//! Every test looks for them, at the level at which it runs the server. `DOCKWARDEN_TEST_LOG=trace` runs all of them at
//! that level instead.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use regex::bytes::Regex;

use super::http::form_encode;

/// What is in the passwords of the test bed, and in nothing else.
const IN_PASSWORDS: [&str; 4] = ["p+w% ö", "p+w:ö %", "p w:ö%", "testpassword"];
/// A password's hash, a token with its signature, and a secret that lasts.
static SHAPES: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\$2[abxy]\$[0-9]{2}\$[./A-Za-z0-9]{20}|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[A-Za-z0-9_-]{40,}|dw[prise]_[0-9A-Za-z]{36}").unwrap()
});

/// The parts of private keys that were made so far.
static KEYS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
/// What looks for the passwords and all of that, and for how many parts it was made.
static SEARCH: Mutex<Option<(usize, Arc<AhoCorasick>)>> = Mutex::new(None);

/// Counts this PEM file among the secrets: of the first two lines and then of one in six, the beginning. Also one that does
/// not load: its line breaks may be lost, or written as two characters.
pub(crate) fn is_secret(key: &Path) {
    let text = fs::read_to_string(key).unwrap_or_default().replace("\\n", " ");
    // What stands between the dashes, or all where there are none.
    let inside = text.split("PRIVATE KEY-----").nth(1).unwrap_or(&text);
    let base64: String =
        inside.chars().filter(|letter| letter.is_ascii_alphanumeric() || "+/=".contains(*letter)).collect();
    let lines = base64.as_bytes().chunks_exact(64).enumerate().filter(|(number, _)| number % 6 == 0 || *number == 1);
    KEYS.lock().unwrap().extend(lines.map(|(_, line)| String::from_utf8(line[..40].to_vec()).unwrap()));
}

/// Every form in which a secret could be written.
pub(crate) fn forms(secret: &str) -> BTreeSet<String> {
    let mut forms: BTreeSet<String> = [secret.to_owned(), form_encode(secret)].into();
    forms.insert(form_encode(secret).replace('+', "%20"));
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    forms.extend([hex.to_uppercase(), hex]);
    // As Rust's debug output has bytes, and JSON.
    let listed: Vec<String> = secret.bytes().map(|byte| byte.to_string()).collect();
    forms.extend([listed.join(", "), listed.join(",")]);
    // Within a longer text, base64 looks in three ways; what depends on the neighbours is left out.
    for before in 0..3 {
        let mut bytes = vec![0; before];
        bytes.extend_from_slice(secret.as_bytes());
        let (first, end) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
        forms.extend(
            [STANDARD_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)].map(|text| text[first..end].to_owned()),
        );
    }
    forms
}

/// One search for all of them: hundreds of expressions side by side would take minutes for a log of some megabytes.
fn search() -> Arc<AhoCorasick> {
    let keys = KEYS.lock().unwrap();
    let mut search = SEARCH.lock().unwrap();
    if let Some((number, found)) = &*search
        && *number == keys.len()
    {
        return Arc::clone(found);
    }
    let secrets = IN_PASSWORDS.into_iter().chain(keys.iter().map(String::as_str));
    let made = Arc::new(AhoCorasick::new(secrets.flat_map(forms)).unwrap());
    *search = Some((keys.len(), Arc::clone(&made)));
    made
}

/// Where in the text there is a secret.
fn secret_in(text: &[u8]) -> Option<Range<usize>> {
    let shape = || SHAPES.find(text).map(|found| found.range());
    search().find(text).map(|found| found.range()).or_else(shape)
}

/// # Panics
/// With what is around it, if there is a secret in the text.
#[track_caller]
pub(crate) fn holds_no_secret(what: &str, text: &[u8]) {
    let Some(found) = secret_in(text) else { return };
    let around = &text[found.start.saturating_sub(300)..(found.end + 100).min(text.len())];
    panic!(
        "{what}: the secret {:?} is in {:?}",
        String::from_utf8_lossy(&text[found]),
        String::from_utf8_lossy(around)
    );
}

#[test]
fn secrets_are_found_in_every_form() {
    let key =
        super::scratch::write(&super::scratch::directory("canary"), "key", &format!("-\n{}\n-", "Ab3/".repeat(16)));
    is_secret(&key);
    // Of a key in one line, as of one that is whole.
    let lost = format!("-----BEGIN PRIVATE KEY----- {} -----END PRIVATE KEY-----", "Cd4+".repeat(32));
    is_secret(&super::scratch::write(&super::scratch::directory("canary"), "key", &lost));
    for text in [
        "the password is alice:p+w% ö&=1",
        "account=alice&password=alice%3Ap%2Bw%25+%C3%B6%26%3D1",
        "/auth?password=alice%3Ap%2Bw%25%20%C3%B6%26%3D1",
        "702b772520c3b6",
        "$2y$04$abcdefghijklmnopqrstuv",
        "secret=dwp_0123456789abcdefghijABCDEFGHIJ012345",
        "Ab3/Ab3/Ab3/Ab3/Ab3/Ab3/Ab3/Ab3/Ab3/Ab3/",
        "[Cd4+Cd4+Cd4+Cd4+Cd4+Cd4+Cd4+Cd4+Cd4+Cd4+]",
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ] {
        assert!(secret_in(text.as_bytes()).is_some(), "{text}");
    }
    for account in ["a", "bo", "eve", "alice"] {
        let whole = format!("{account}:{}", super::dockwarden::password(account));
        for encoded in [STANDARD_NO_PAD.encode(&whole), URL_SAFE_NO_PAD.encode(&whole)] {
            assert!(secret_in(format!("Basic {encoded}==").as_bytes()).is_some(), "{whole}");
        }
    }
    assert_eq!(secret_in(b"alice asked for a token; pw: +"), None);
}
