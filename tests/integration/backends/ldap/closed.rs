//! Accounts that may not be used: a stand-in that says so in the words of Active Directory, 389 Directory Server and eDirectory,
//! none of which can be had here. What OpenLDAP says is tested against itself, in `tests/real/ldap`.

use super::{BIND, SEARCH, Then, entry, liar, message, result, section, success};
use crate::bed::{Bed, Reply};
use crate::logs::{Form, Log};

/// Who is refused, with which code and remark, and what of it the log must say; nothing where it is a wrong password.
const CLOSED: &[(&str, u8, &str, Option<&str>)] = &[
    ("typo", 49, "80090308: LdapErr: DSID-0C09042A, comment: AcceptSecurityContext error, data 52e, v3839\0", None),
    ("gone", 49, "80090308: LdapErr: DSID-0C09042A, comment: AcceptSecurityContext error, data 525, v3839\0", None),
    ("plain", 49, "", None),
    (
        "hours",
        49,
        "80090308: LdapErr: DSID-0C090446, comment: AcceptSecurityContext error, data 530, v3839\0",
        Some("time"),
    ),
    (
        "place",
        49,
        "80090308: LdapErr: DSID-0C090446, comment: AcceptSecurityContext error, data 531, v3839\0",
        Some("here"),
    ),
    (
        "expired",
        49,
        "80090308: LdapErr: DSID-0C090446, comment: AcceptSecurityContext error, data 532, v3839\0",
        Some("the password has expired"),
    ),
    (
        "disabled",
        49,
        "80090308: LdapErr: DSID-0C090446, comment: AcceptSecurityContext error, data 533, v3839\0",
        Some("the account is disabled"),
    ),
    (
        "ended",
        49,
        "80090308: LdapErr: DSID-0C090446, comment: AcceptSecurityContext error, data 701, v3839\0",
        Some("the account has expired"),
    ),
    (
        "mustchange",
        49,
        "80090308: LdapErr: DSID-0C090446, comment: AcceptSecurityContext error, data 773, v3839\0",
        Some("must be changed"),
    ),
    (
        "locked",
        49,
        "80090308: LdapErr: DSID-0C090446, comment: AcceptSecurityContext error, data 775, v3839\0",
        Some("the account is locked"),
    ),
    ("retries", 19, "Exceed password retry limit. Please try later.", Some("the account is locked")),
    ("inactive", 53, "Account inactivated. Contact system administrator.", Some("switched off")),
    ("old", 49, "password expired!", Some("the password has expired")),
    ("novell", 49, "NDS error: log account expired (-220)", Some("disabled or has expired")),
    // What it says forges no line, and makes no terminal obey.
    ("forger", 53, "closed\n{\"reason\":\"forged\"}\x1b[2J", Some("closed\\n{\"reason\":\"forged\"}\\u{1b}[2J")),
];

fn answer(id: u8, tag: u8, request: &[u8]) -> Then {
    let is = |text: &str| request.windows(text.len()).any(|window| window == text.as_bytes());
    let about = CLOSED.iter().find(|(uid, ..)| is(uid));
    Then::GoesOn(match (tag, about) {
        (SEARCH, Some((uid, ..))) => {
            [message(id, &entry(&format!("uid={uid},dc=x"), uid)), message(id, &success(tag))].concat()
        }
        (BIND, Some((_, code, remark, _))) => message(id, &result(0x61, *code, remark)),
        (_, _) => message(id, &success(tag)),
    })
}

/// Everything of a reply but what differs from one to the next in any case.
fn told(reply: &Reply) -> String {
    let mut headers: Vec<String> = reply.headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
    headers.retain(|line| !line.starts_with("x-decision-id") && !line.starts_with("date"));
    headers.sort();
    format!("{} {headers:?} {}", reply.status, reply.text())
}

#[tokio::test]
async fn a_closed_account_is_told_apart_in_the_log_at_its_usual_level_and_nowhere_else() {
    let bed = Bed::with(&section(&liar(answer), ""));
    let mut replies = Vec::new();
    for (uid, _, remark, expected) in CLOSED {
        let log = Log::start(Form::Json);
        let reply = bed.get("/auth?service=registry").basic(uid, "a-password-of-theirs").send().await;
        replies.push((uid, told(&reply)));
        let text = log.text();
        assert!(!text.contains("a-password-of-theirs"), "{text}");
        // Nothing above the level of a programmer's log but one line.
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let usual: Vec<_> =
            lines.iter().filter(|line| !matches!(line["level"].as_str(), Some("DEBUG" | "TRACE"))).collect();
        let [line] = usual.as_slice() else { panic!("{uid}: {text}") };
        assert_eq!((&line["user.account"], &line["level"]), (&(*uid).into(), &"WARN".into()), "{text}");
        let cause = line["cause"].as_str().unwrap();
        match expected {
            None => assert_eq!((line["reason"].as_str(), cause.contains("data")), (Some("wrong_credentials"), false)),
            Some(expected) => {
                assert_eq!(line["reason"], "account_closed", "{uid}: {text}");
                assert!(cause.contains(expected) && cause.contains("code "), "{uid}: {cause}");
                let sub_code = remark.split("data ").nth(1).map_or("", |rest| &rest[..3]);
                assert!(cause.contains(sub_code), "{uid}: {cause}");
            }
        }
    }
    let (_, wrong) = replies[0].clone();
    for (uid, reply) in &replies {
        assert_eq!(*reply, wrong, "{uid}");
    }
    assert!(wrong.starts_with("401 "), "{wrong}");
    let text = bed.get("/metrics").send().await.ok().text();
    for (outcome, times) in [("wrong_credentials", 3), ("account_closed", CLOSED.len() - 3)] {
        let line = format!("dockwarden_token_requests_total{{outcome=\"{outcome}\"}} {times}");
        assert!(text.lines().any(|other| other == line), "{text}");
    }
}

/// Right passwords of closed accounts are counted like wrong ones: if they were not, that would tell which is which.
#[tokio::test]
async fn a_closed_account_can_be_guessed_no_oftener_than_any() {
    let bed = Bed::with(&section(&liar(answer), ""));
    let mut statuses = Vec::new();
    for uid in ["plain", "disabled"] {
        for guess in 0..6 {
            let reply = bed.get("/auth?service=registry").basic(uid, &format!("guess-{guess}")).send().await;
            statuses.push(reply.status);
        }
    }
    assert_eq!(statuses, [[401, 401, 401, 401, 401, 429]; 2].concat());
}

/// Where users search for themselves, it is the first bind that is refused.
#[tokio::test]
async fn a_closed_account_is_told_apart_where_users_search_themselves() {
    let own = section(&liar(answer), "  initial_bind_as_user: true\n")
        .replace("  bind_password: hunter2\n", "")
        .replace("cn=reader,dc=x", "\"uid=${account},dc=x\"");
    let bed = Bed::with(&own);
    let log = Log::start(Form::Json);
    let refused = bed.get("/auth?service=registry").basic("disabled", "x").send().await;
    let wrong = bed.get("/auth?service=registry").basic("typo", "x").send().await;
    assert_eq!((refused.status, told(&refused)), (401, told(&wrong)));
    let text = log.text();
    let count = |reason: &str| text.matches(&format!("\"reason\":\"{reason}\"")).count();
    assert_eq!((count("account_closed"), count("wrong_credentials")), (1, 1), "{text}");
}
