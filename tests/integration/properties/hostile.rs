//! Whatever a file or a client sends: something to say about it, and never a panic or a server's error.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dockwarden::config::{Config, Secrets};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;

use crate::bed::{ALICE_HASH, Ask, Bed};

/// A whole file with everything in it, to be damaged.
fn good_file() -> String {
    let example = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.yml")).unwrap();
    // The file is made by `make run`.
    let example = example.replace("password_file: certs/test.hash", &format!("password: \"{ALICE_HASH}\""));
    format!(
        "{example}\n  - &rule {{match: {{labels: {{team: \"/^(a|b)$/\"}}, ip: 10.0.0.0/8}}, actions: [pull], not_after: 2030-01-01}}\n  - <<: *rule\n    comment: \"again\"\n"
    )
}

const SNIPPETS: &[&str] = &[
    "\n",
    ":",
    ": ",
    "{",
    "}",
    "[",
    "]",
    "- ",
    "*rule",
    "&rule ",
    "<<: *rule",
    "\t",
    "\u{feff}",
    "~",
    "'",
    "\"",
    "!!str ",
    "!x ",
    "---\n",
    "...\n",
    "\0",
    "é",
    "|",
    ">-\n",
    "%",
    "@",
    "`",
    "#",
    "? ",
    ",",
    "  ",
    "${",
    "${account:1}",
    "/(/",
    "[a",
    "\\",
    "$2b$04$",
    "-5",
    "9999999999999999999999",
    "1e400",
    "\r",
    "\u{2028}",
    "null",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_to_a_file_is_more_than_a_problem(
        damages in proptest::collection::vec((any::<proptest::sample::Index>(), 0..40_usize, select(SNIPPETS), 0..3_u8), 1..6)
    ) {
        let mut letters: Vec<char> = good_file().chars().collect();
        for (place, length, snippet, kind) in damages {
            let start = place.index(letters.len() + 1);
            let end = (start + length).min(letters.len());
            match kind {
                0 => drop(letters.splice(start..start, snippet.chars())),
                1 => drop(letters.splice(start..end, snippet.chars())),
                _ => {
                    let again: Vec<char> = letters[start..end].to_vec();
                    letters.splice(start..start, again);
                }
            }
        }
        let text: String = letters.into_iter().collect();
        // It loads, or there is something to say about it; a panic would fail here.
        let read = Config::read(Path::new("auth.yml"), &text, [], Secrets::Skip);
        prop_assert!(!read.is_err_and(|problems| problems.is_empty()), "refused without a word:\n{text}");
    }

    #[test]
    fn no_text_at_all_is_more_than_a_problem(text in any::<String>(), name in "[A-Z_0-9]{0,20}", value in any::<String>()) {
        let variables = [(format!("DOCKWARDEN__{name}"), value)];
        let read = Config::read(Path::new("auth.yml"), &text, variables, Secrets::Skip);
        prop_assert!(!read.is_err_and(|problems| problems.is_empty()));
    }
}

#[test]
fn the_undamaged_file_loads() {
    let read = Config::read(Path::new("auth.yml"), &good_file(), [], Secrets::Skip);
    assert!(read.is_ok(), "{:?}", read.err());
}

/// A value of a header, of any bytes that may stand in one.
fn header() -> impl Strategy<Value = Vec<u8>> {
    let basic = proptest::collection::vec(any::<u8>(), 0..40)
        .prop_map(|bytes| format!("Basic {}", STANDARD.encode(bytes)).into_bytes());
    let account = "[a-z:*@ ]{0,12}".prop_map(|text| format!("Basic {}", STANDARD.encode(text)).into_bytes());
    let junk = proptest::collection::vec(prop_oneof![32..=126_u8, 128..=255_u8, Just(9)], 0..60);
    let addresses = "([0-9a-f.:,\\[\\] ]{0,20},?){0,6}".prop_map(String::into_bytes);
    prop_oneof![basic, account, junk, addresses]
}

fn parameters() -> impl Strategy<Value = String> {
    let name = select(
        &[
            "service",
            "scope",
            "account",
            "grant_type",
            "username",
            "password",
            "offline_token",
            "x",
            "",
            "subject_token",
            "subject_token_type",
            "audience",
            "refresh_token",
        ][..],
    );
    let value = prop_oneof![
        select(
            &[
                "registry",
                "password",
                "refresh_token",
                "urn:ietf:params:oauth:grant-type:token-exchange",
                "urn:ietf:params:oauth:token-type:jwt",
                "alice",
                "alice-pw",
                "repository:alice/a:pull,push",
                "repository:a:*",
                "%00",
                "%ff",
                "%"
            ][..]
        )
        .prop_map(str::to_owned),
        "[!$'()*+,./0-9:;=?@A-Za-z_~%-]{0,30}",
        any::<String>().prop_map(|text| form_urlencoded::byte_serialize(text.as_bytes()).collect()),
    ];
    proptest::collection::vec((name, value), 0..8)
        .prop_map(|pairs| pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&"))
}

/// Nothing that a client may send is a fault of the server's, and nobody becomes somebody by it.
#[test]
fn no_request_is_answered_with_a_server_error() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let user = format!("users: {{alice: {{password: \"{ALICE_HASH}\"}}, \"\": {{}}}}\n");
    let beds = ["", ", trusted_proxies: [192.0.2.0/24]", ", real_ip_header: X-Forwarded-For, real_ip_pos: -2"]
        .map(|setting| Bed::with(&format!("server: {{addr: \"127.0.0.1:0\"{setting}}}\nrecords: {{}}\n{user}")));
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() });
    let inputs = (
        (parameters(), parameters(), proptest::collection::vec(any::<u8>(), 0..60)),
        proptest::option::of(header()),
        proptest::collection::vec(header(), 0..3),
        0..3_usize,
    );
    let tried = runner.run(&inputs, |((query, form, bytes), authorization, forwarded, bed)| {
        let bed = &beds[bed];
        let dress = |mut ask: Ask| {
            if let Some(line) = &authorization {
                ask = ask.header_bytes("authorization", line);
            }
            for line in &forwarded {
                ask = ask.header_bytes("x-forwarded-for", line);
            }
            ask
        };
        let raw = String::from_utf8_lossy(&bytes).into_owned();
        let asks = [
            bed.get(&format!("/auth?{query}")),
            bed.post("/token", &form),
            bed.post("/auth/token", &raw),
            bed.post("/auth", &format!("{form}&grant_type=password&{query}")),
        ];
        for ask in asks {
            let reply = runtime.block_on(dress(ask).send());
            prop_assert!(reply.status < 500, "{}: {}", reply.status, reply.text());
            match reply.status {
                200 => {
                    let subject = reply.claims()["sub"].as_str().unwrap().to_owned();
                    prop_assert!(subject.is_empty() || subject == "alice", "{subject}");
                }
                status => prop_assert!((400..500).contains(&status) && !reply.code().is_empty()),
            }
        }
        Ok(())
    });
    tried.unwrap_or_else(|error| panic!("{error}"));
}
