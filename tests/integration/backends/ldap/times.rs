//! How long is waited for a directory, and what the metrics say of one that cannot be asked: a stand-in that is as slow as a test
//! needs it. Slow lines to OpenLDAP are tested in `tests/real/ldap`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{BIND, SEARCH, Then, element, honest, liar, message, section};
use crate::bed::Bed;

/// A directory that answers everybody's search but Carol's by word after word, without end.
fn endless(id: u8, tag: u8, request: &[u8]) -> Then {
    let is_carols = request.windows(5).any(|window| window == b"carol");
    match tag == SEARCH && !is_carols {
        true => Then::Drips(message(id, &element(0x73, b"\x04\x0aldap://far"))),
        false => honest(id, tag, request),
    }
}

/// The status, the text and the time of a login.
async fn login(bed: &Bed, account: &str) -> (u16, String, Duration) {
    let began = Instant::now();
    let reply = bed.get("/auth?service=registry").basic(account, "x").send().await;
    (reply.status, reply.text(), began.elapsed())
}

/// What a server answers, however slowly, is no silence: it is the login that ends, and nobody else is kept out by it. Whoever
/// waits for a turn meanwhile does so until the same deadline.
#[tokio::test]
async fn the_deadline_is_for_all_of_a_login_and_for_its_turn() {
    let section = section(&liar(endless), "  timeout: 400ms\n  pool_size: 1\n").replace("deadline: 5s", "deadline: 1s");
    let bed = Bed::with(&section);
    let log = crate::logs::Log::start(crate::logs::Form::Json);
    let (first, second) = tokio::join!(login(&bed, "dave"), login(&bed, "erin"));
    for (status, text, took) in [&first, &second] {
        assert_eq!(*status, 503, "{text}");
        assert!(*took >= Duration::from_millis(800) && *took < Duration::from_secs(3), "{took:?}");
    }
    let text = log.text();
    let cause = "a login did not end within 1 s (deadline)";
    assert!(text.contains(cause) && text.contains("the search for the account"), "{text}");
    // No turn came, or one with no time left.
    let waited = ["see pool_size and deadline", "no time was left to ask another server; see deadline"];
    assert!(waited.iter().any(|cause| text.contains(cause)), "{text}");
    assert!(!text.contains("backend_down"), "{text}");
    assert_eq!(login(&bed, "carol").await.0, 200, "{text}");
}

/// A crowd that comes together waits together for a server that says nothing to our own name, and is told at once from then on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_waits_once_for_a_server_that_is_silent() {
    let binds = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&binds);
    let silent = liar(move |_, tag, _| {
        counted.fetch_add(usize::from(tag == BIND), Ordering::SeqCst);
        Then::Hangs(Vec::new())
    });
    let bed = Arc::new(Bed::with(&section(&silent, "  timeout: 1s\n").replace("deadline: 5s", "deadline: 20s")));
    let mut crowd = tokio::task::JoinSet::new();
    for number in 0..40 {
        let bed = Arc::clone(&bed);
        crowd.spawn(async move { login(&bed, &format!("account-{number}")).await });
    }
    for (status, text, took) in crowd.join_all().await {
        assert_eq!(status, 503, "{text}");
        // One after the other they would take eight seconds and more.
        assert!(took < Duration::from_secs(4), "{took:?}");
    }
    let (status, _, took) = login(&bed, "carol").await;
    assert!(status == 503 && took < Duration::from_millis(500), "{status} {took:?}");
}

/// Each connection tries our own name; where the answer takes long, as many must not wait for each other for all that time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_introduces_itself_together_once_we_are_known() {
    let slow = liar(|id, tag, request| {
        if tag == BIND {
            // As from far away.
            std::thread::sleep(Duration::from_millis(400));
        }
        honest(id, tag, request)
    });
    let bed = Arc::new(Bed::with(&section(&slow, "").replace("deadline: 5s", "deadline: 30s")));
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let bed = Arc::clone(&bed);
        crowd.spawn(async move { login(&bed, "carol").await });
    }
    for (status, text, took) in crowd.join_all().await {
        assert_eq!(status, 200, "{text}");
        // The first bind, then all others at once, and then the passwords: 1.2 s. One after the other: 3.6 s.
        assert!(took < Duration::from_secs(3), "{took:?}");
    }
}

#[tokio::test]
async fn a_directory_is_down_while_none_of_its_servers_is_asked() {
    let metric = async |bed: &Bed| {
        let text = bed.get("/metrics").send().await.ok().text();
        let line = text.lines().find(|line| line.starts_with("dockwarden_backend_down{backend=\"ldap_auth\"}"));
        line.unwrap_or_else(|| panic!("{text}")).chars().last()
    };
    // Nobody listens at port 1.
    for (servers, expected) in [
        ("[\"ldap://127.0.0.1:1\", \"ldap://127.0.0.2:1\"]".to_owned(), (503, Some('1'))),
        (format!("[\"ldap://127.0.0.1:1\", \"ldap://{}\"]", liar(honest)), (200, Some('0'))),
    ] {
        let bed = Bed::with(&section("SERVERS", "").replace("\"SERVERS\"", &servers));
        assert_eq!((login(&bed, "carol").await.0, metric(&bed).await), expected, "{servers}");
    }
}
