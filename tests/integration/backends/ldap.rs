//! A directory server that lies: a stand-in that speaks just enough LDAP to be asked, and answers as it likes. What an
//! honest one says is tested against OpenLDAP, in `tests/real/ldap`.

mod closed;
mod times;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use dockwarden::authn::attempts::Attempts;
use dockwarden::authn::ldap::{DirectoryUsers, LdapSettings};
use dockwarden::authn::{Account, Authenticator, Credentials, Outcome, Secret};
use dockwarden::client_network::ClientNetwork;
use dockwarden::config::{Config, Secrets};

use super::conformance::outage_closes_and_says_so;
use crate::bed::{Bed, Folder};

/// What is asked, by its tag.
const BIND: u8 = 0x60;
pub(super) const SEARCH: u8 = 0x63;
const START_TLS: u8 = 0x77;

/// One element of BER.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x84], length.as_slice(), content].concat()
}

fn message(id: u8, operation: &[u8]) -> Vec<u8> {
    element(0x30, &[element(0x02, &[id]), operation.to_vec()].concat())
}

fn result(tag: u8, code: u8, remark: &str) -> Vec<u8> {
    element(tag, &[element(0x0a, &[code]), element(0x04, b""), element(0x04, remark.as_bytes())].concat())
}

fn entry(name: &str, uid: &str) -> Vec<u8> {
    let values = element(0x31, &element(0x04, uid.as_bytes()));
    let attribute = element(0x30, &[element(0x04, b"uid"), values].concat());
    element(0x64, &[element(0x04, name.as_bytes()), element(0x30, &attribute)].concat())
}

/// Success, as the request with this tag is answered.
fn success(tag: u8) -> Vec<u8> {
    let answer = match tag {
        BIND => 0x61,
        SEARCH => 0x65,
        _ => 0x78,
    };
    result(answer, 0, "")
}

/// What the stand-in does with one request: what it sends, and what comes then.
pub(super) enum Then {
    /// It waits for the next request.
    GoesOn(Vec<u8>),
    /// It says nothing more, and keeps the connection.
    Hangs(Vec<u8>),
    /// It closes the connection.
    Closes(Vec<u8>),
    /// It sends this again and again.
    Floods(Vec<u8>),
    /// It sends this every tenth of a second, and never comes to an end.
    Drips(Vec<u8>),
}

type Answer = fn(id: u8, tag: u8, request: &[u8]) -> Then;

/// Starts a stand-in; its address.
pub(super) fn liar(answer: impl Fn(u8, u8, &[u8]) -> Then + Send + Sync + 'static) -> String {
    let answer = Arc::new(answer);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || speak(stream, &*answer));
        }
    });
    address
}

/// Answers until either side has enough.
fn speak(mut stream: TcpStream, answer: &dyn Fn(u8, u8, &[u8]) -> Then) -> Option<()> {
    loop {
        let mut head = [0; 2];
        stream.read_exact(&mut head).ok()?;
        if head[0] != 0x30 {
            // The beginning of TLS. It never is, here.
            return stream.write_all(b"no TLS for you").ok();
        }
        let length = match head[1] {
            0x84 => {
                let mut bytes = [0; 4];
                stream.read_exact(&mut bytes).ok()?;
                u32::from_be_bytes(bytes).try_into().unwrap()
            }
            short => usize::from(short),
        };
        let mut request = vec![0; length];
        stream.read_exact(&mut request).ok()?;
        // Its number has one byte in these tests.
        match answer(request[2], request[3], &request) {
            Then::GoesOn(bytes) => stream.write_all(&bytes).ok()?,
            Then::Closes(bytes) => return stream.write_all(&bytes).ok(),
            Then::Hangs(bytes) => {
                stream.write_all(&bytes).ok()?;
                // Until the other side closes it.
                return stream.read_to_end(&mut Vec::new()).ok().map(|_| ());
            }
            Then::Floods(bytes) => loop {
                stream.write_all(&bytes).ok()?;
            },
            Then::Drips(bytes) => loop {
                stream.write_all(&bytes).ok()?;
                // What is tested is slowness.
                thread::sleep(Duration::from_millis(100));
            },
        }
    }
}

pub(super) fn section(address: &str, more: &str) -> String {
    format!(
        "ldap_auth:\n  addr: \"{address}\"\n  base: dc=x\n  filter: \"(uid=${{account}})\"\n  bind_dn: cn=reader,dc=x\n  \
         bind_password: hunter2\n  deadline: 5s\n{more}"
    )
}

/// As an honest directory that holds Carol alone, and takes any password.
pub(super) fn honest(id: u8, tag: u8, request: &[u8]) -> Then {
    with("carol", "Carol")(id, tag, request)
}

/// A directory that finds one entry, by this text in a search, and takes any password. The entry's account is spelled so.
pub(super) fn with(typed: &'static str, spelled: &'static str) -> impl Fn(u8, u8, &[u8]) -> Then {
    move |id, tag, request| {
        let is = |text: &[u8]| request.windows(text.len()).any(|window| window == text);
        let found = match tag == SEARCH && is(typed.as_bytes()) {
            true => message(id, &entry(&format!("uid={spelled},dc=x"), spelled)),
            false => Vec::new(),
        };
        Then::GoesOn([found, message(id, &success(tag))].concat())
    }
}

/// The lies. Each of them is an outage: nobody is let in, and nobody's password is called wrong.
const LIES: &[(&str, Answer)] = &[
    ("it speaks HTTP", |_, _, _| Then::Hangs(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())),
    ("it closes without a word", |_, _, _| Then::Closes(Vec::new())),
    ("it says nothing", |_, _, _| Then::Hangs(Vec::new())),
    ("it closes within a message", |id, tag, _| {
        let whole = message(id, &success(tag));
        Then::Closes(whole[..whole.len() - 3].to_vec())
    }),
    ("it stops within a message", |id, tag, _| {
        let whole = message(id, &success(tag));
        Then::Hangs(whole[..whole.len() - 3].to_vec())
    }),
    ("it announces two thousand million bytes", |_, _, _| {
        Then::Hangs(vec![0x30, 0x84, 0x7f, 0xff, 0xff, 0xff, 2, 1, 1])
    }),
    ("it announces a length of eight bytes", |_, _, _| Then::Hangs([&[0x30, 0x88], [0xff; 8].as_slice()].concat())),
    ("it announces no length", |_, _, _| Then::Hangs(vec![0x30, 0x80, 2, 1, 1, 0, 0])),
    ("it nests sequences without end", |_, _, _| {
        let depth = 100_000_u32;
        let nested = (0..depth).rev().flat_map(|level| [&[0x30, 0x84], (level * 6).to_be_bytes().as_slice()].concat());
        Then::Hangs(nested.collect())
    }),
    ("it answers another request", |id, tag, _| Then::GoesOn(message(id + 1, &success(tag)))),
    ("it answers no request", |_, tag, _| Then::GoesOn(message(0, &success(tag)))),
    ("it says goodbye", |_, _, _| Then::Hangs(message(0, &result(0x78, 52, "shutting down")))),
    ("it answers a bind by the end of a search", |id, _, _| Then::GoesOn(message(id, &result(0x65, 0, "")))),
    ("it answers a search by the end of a bind", |id, _, _| Then::GoesOn(message(id, &result(0x61, 0, "")))),
    ("its result has no code", |id, tag, _| {
        let answer = success(tag)[0];
        Then::GoesOn(message(id, &element(answer, &[])))
    }),
    ("its message is empty", |_, _, _| Then::GoesOn(element(0x30, &[]))),
    ("it finds entries without end", |id, tag, _| match tag {
        SEARCH => Then::Floods(message(id, &entry("uid=carol,dc=x", "carol")).repeat(1000)),
        _ => Then::GoesOn(message(id, &success(tag))),
    }),
    ("it refers elsewhere without end", |id, tag, _| match tag {
        SEARCH => Then::Floods(message(id, &element(0x73, b"\x04\x0aldap://far")).repeat(1000)),
        _ => Then::GoesOn(message(id, &success(tag))),
    }),
    // Whoever binds without a name is let in by most servers, whatever the password.
    ("it finds an entry without a name", |id, tag, _| match tag {
        SEARCH => Then::GoesOn([message(id, &entry(" ", "carol")), message(id, &success(tag))].concat()),
        _ => Then::GoesOn(message(id, &success(tag))),
    }),
    ("it finds entries and shows none", |id, tag, _| match tag {
        SEARCH => Then::GoesOn(message(id, &result(0x65, 4, ""))),
        _ => Then::GoesOn(message(id, &success(tag))),
    }),
    ("it sends to another server", |id, tag, _| match tag {
        SEARCH => Then::GoesOn(message(id, &result(0x65, 10, "ldap://elsewhere"))),
        _ => Then::GoesOn(message(id, &success(tag))),
    }),
    ("it does not know the base", |id, tag, _| match tag {
        SEARCH => Then::GoesOn(message(id, &result(0x65, 32, ""))),
        _ => Then::GoesOn(message(id, &success(tag))),
    }),
    ("it is busy", |id, tag, _| Then::GoesOn(message(id, &result(if tag == BIND { 0x61 } else { 0x65 }, 51, "")))),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_server_says_it_is_never_a_yes_and_never_the_end() {
    for (what, answer) in LIES {
        let bed = Bed::with(&section(&liar(*answer), "").replace("deadline: 5s", "deadline: 400ms"));
        let began = Instant::now();
        outage_closes_and_says_so(&bed, what).await;
        assert!(began.elapsed() < Duration::from_secs(8), "{what}: {:?}", began.elapsed());
    }
}

async fn said(section: &str, account: &str, password: &str) -> Result<Outcome, String> {
    let config = Config::load(&Folder::new().configure(section), [], Secrets::Read);
    let config = config.unwrap_or_else(|invalid| panic!("{invalid}"));
    let users =
        DirectoryUsers::new(config.backends.get::<LdapSettings>().unwrap().clone(), Arc::new(Attempts::new().unwrap()))
            .unwrap();
    let who = Credentials::Password { account: Account::parse(account).unwrap(), password: Secret::new(password) };
    users.authenticate(&who, ClientNetwork::Unknown).await.map_err(|error| format!("{error:#}"))
}

/// Without this, the test above would pass with a stand-in that nobody understands.
#[tokio::test]
async fn the_stand_in_can_be_honest() {
    let section = section(&liar(honest), "");
    let accepted = said(&section, "carol", "anything").await;
    assert!(matches!(&accepted, Ok(Outcome::Accepted(identity)) if identity.name() == "Carol"), "{accepted:?}");
    assert_eq!(said(&section, "dave", "anything").await, Ok(Outcome::NotMine));
    for empty in ["", "\0", "a\0"] {
        assert_eq!(said(&section, "carol", empty).await, Ok(Outcome::NotMine), "{empty:?}");
    }
}

/// Refused by its length, and not only when the time is over.
#[tokio::test]
async fn an_answer_that_is_too_long_is_not_waited_for() {
    let announces: Answer = |_, _, _| Then::Hangs(vec![0x30, 0x84, 0x00, 0x80, 0x00, 0x01, 2, 1, 1]);
    let floods: Answer = |id, tag, _| match tag {
        SEARCH => Then::Floods(message(id, &entry("uid=carol,dc=x", &"carol".repeat(10_000)))),
        _ => Then::GoesOn(message(id, &success(tag))),
    };
    for (answer, expected) in [(announces, "an answer that is too long"), (floods, "more entries than were asked for")]
    {
        let patient = section(&liar(answer), "").replace("deadline: 5s", "deadline: 30s");
        let error = said(&patient, "carol", "x").await.unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

/// A connection that the server closed while nobody used it, as it does when it is restarted, is no outage.
#[tokio::test]
async fn a_connection_that_was_closed_is_replaced_and_nobody_notices() {
    let closes: Answer = |id, tag, request| match id {
        // Our own bind and the first search; or the first two passwords.
        1 | 2 => honest(id, tag, request),
        _ => Then::Closes(Vec::new()),
    };
    let config = Config::load(&Folder::new().configure(&section(&liar(closes), "")), [], Secrets::Read).unwrap();
    let users =
        DirectoryUsers::new(config.backends.get::<LdapSettings>().unwrap().clone(), Arc::new(Attempts::new().unwrap()))
            .unwrap();
    let who = Credentials::Password { account: Account::parse("carol").unwrap(), password: Secret::new("x") };
    for login in 0..10 {
        let said = users.authenticate(&who, ClientNetwork::Unknown).await;
        assert!(matches!(&said, Ok(Outcome::Accepted(_))), "{login}: {said:?}");
    }
}

#[tokio::test]
async fn somebody_else_is_nobody() {
    let other: Answer = |id, tag, _| match tag {
        SEARCH => Then::GoesOn([message(id, &entry("uid=bob,dc=x", "bob")), message(id, &success(tag))].concat()),
        _ => Then::GoesOn(message(id, &success(tag))),
    };
    assert_eq!(said(&section(&liar(other), ""), "carol", "anything").await, Ok(Outcome::NotMine));
}

#[tokio::test]
async fn a_password_that_comes_back_goes_nowhere() {
    let parrot: Answer = |id, tag, request| match tag {
        BIND if request.windows(6).any(|window| window == b"reader") => Then::GoesOn(message(id, &success(tag))),
        BIND => Then::GoesOn(message(id, &result(0x61, 80, &String::from_utf8_lossy(request)))),
        _ => honest(id, tag, request),
    };
    let error = said(&section(&liar(parrot), ""), "carol", "my own password").await.unwrap_err();
    assert!(error.contains("code 80") && error.contains("left out"), "{error}");
    assert!(!error.contains("my own password"), "{error}");
    let parrot: Answer =
        |id, _, request| Then::GoesOn(message(id, &result(0x61, 49, &String::from_utf8_lossy(request))));
    let error = said(&section(&liar(parrot), ""), "carol", "my own password").await.unwrap_err();
    assert!(error.contains("code 49") && !error.contains("hunter2"), "{error}");
}

/// Bytes in the clear after the answer to StartTLS could be anybody's who is on the way; taken for what the server says
/// under TLS, they would be the answers to what is asked next.
#[tokio::test]
async fn nothing_that_comes_before_tls_counts() {
    let certificate = "  tls: starttls\n  ca_certificate: $DIR/token.crt\n";
    let injects: Answer = |id, tag, _| match tag {
        START_TLS => Then::Hangs([message(id, &success(tag)), message(1, &success(BIND))].concat()),
        _ => Then::GoesOn(message(id, &success(tag))),
    };
    let error = said(&section(&liar(injects), certificate), "carol", "x").await.unwrap_err();
    assert!(error.contains("somebody is between the server and us") || error.contains("corrupt message"), "{error}");
    for (answer, expected) in [
        ((|id, tag, _| Then::GoesOn(message(id, &success(tag)))) as Answer, "corrupt message"),
        (
            |id, _, _| Then::GoesOn(message(id, &result(0x78, 2, "never heard of it"))),
            "the server refuses StartTLS (code 2",
        ),
        (|id, _, _| Then::GoesOn(message(id, &result(0x61, 0, ""))), "StartTLS is answered with something else"),
        (|id, tag, _| Then::GoesOn(message(id + 7, &success(tag))), "something that was not asked"),
    ] {
        let error = said(&section(&liar(answer), certificate), "carol", "x").await.unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}
