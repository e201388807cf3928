//! An API's bad days, its connections, and what is remembered of its answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dockwarden::authn::Outcome;

use super::{BASIC, backend, basic, knows, login, say, section};
use crate::backends::conformance::outage_closes_and_says_so;
use crate::backends::stand_in::{Act, StandIn};
use crate::bed::{ALICE, Bed, Caller};
use crate::logs::{Form, Log};

const ASK: &str = "/auth?service=registry&scope=repository:pub/app:pull";
/// Long enough for a busy machine: nothing waits for it unless the test fails.
const AMPLE: Duration = Duration::from_secs(20);
/// For an API that never answers.
const SHORT: &str = "timeout: 300ms";

/// Looks again and again until `condition` holds.
pub(in crate::backends) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + AMPLE;
    while !condition().await {
        assert!(Instant::now() < end, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Every way of not answering: 503 for those who need the API, and nothing for others.
#[tokio::test]
async fn whatever_goes_wrong_there_it_is_503_and_nobody_else_notices() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n";
    let write = |text: &str| Act::Write(text.as_bytes().to_vec());
    for (what, act) in [
        ("hangs", Act::Hang),
        ("late", Act::Late(AMPLE, Box::new(say(200)))),
        ("closes", write("")),
        ("junk", write("hello\r\n\r\n")),
        ("half a header", Act::WriteAndHang(b"HTTP/1.1 200 OK\r\nConte".to_vec())),
        ("half a body, then nothing", Act::WriteAndHang(format!("{head}{{\"email\"").into_bytes())),
        ("half a body, then the end", write(&format!("{head}{{\"email\""))),
        ("500", say(500)),
        ("502", say(502)),
        ("503", say(503)),
        ("504", say(504)),
        ("429", say(429)),
        ("301", say(301)),
    ] {
        let api = StandIn::start(move |_| act.clone());
        let bed = Bed::with(&section(&api, &format!("{BASIC}, account: \"$.email\", {SHORT}")));
        outage_closes_and_says_so(&bed, what).await;
    }
    let api = StandIn::start(|_| say(200));
    let bed = Bed::with(&section(&api, &format!("{BASIC}, {SHORT}")));
    api.stop();
    outage_closes_and_says_so(&bed, "nobody there").await;
}

/// A dead API is not waited for again and again; once it answers, logins go on by themselves.
#[tokio::test]
async fn while_it_is_known_to_be_away_the_answer_is_quick_and_its_return_is_seen() {
    let api = knows(&[("carol", "carol_pw")], basic);
    let bed = Bed::with(&section(&api, &format!("{BASIC}, timeout: 1s")));
    let log = Log::start(Form::Json);
    let carol = Caller::Account("carol", "carol_pw");
    let status = async |caller| bed.get(ASK).by(caller).send().await.status;
    for outage in ["gone", "hangs", "answers 503"] {
        assert_eq!(status(carol).await, 200);
        match outage {
            "gone" => api.stop(),
            "hangs" => api.now(|_| Act::Hang),
            _ => api.now(|_| say(503)),
        }
        let began = Instant::now();
        assert_eq!(status(carol).await, 503, "{outage}");
        assert!(began.elapsed() < Duration::from_millis(1500), "{outage}: {:?}", began.elapsed());
        let began = Instant::now();
        for _ in 0..50 {
            assert_eq!(status(carol).await, 503, "{outage}");
        }
        assert!(began.elapsed() < Duration::from_millis(800), "{outage}: fifty took {:?}", began.elapsed());
        assert_eq!(status(ALICE).await, 200);
        match outage {
            "gone" => api.restart().unwrap(),
            _ => api
                .now(|asked| say(if basic(asked) == ("carol".to_owned(), "carol_pw".to_owned()) { 200 } else { 401 })),
        }
        let back = Instant::now();
        until("a login", async || status(carol).await == 200).await;
        assert!(back.elapsed() < Duration::from_secs(2), "{outage}: {:?}", back.elapsed());
    }
    let text = log.text();
    assert_eq!((text.matches("\"backend_down\"").count(), text.matches("\"backend_back\"").count()), (3, 3), "{text}");
    assert!(text.contains("it answers 503") && text.contains("no answer within 1000 ms"), "{text}");
    // What is asked while it is away is about nobody.
    for asked in api.all_asked().iter().filter(|asked| asked.is_trial()) {
        assert_eq!((asked.target.as_str(), basic(asked)), ("/check", (String::new(), String::new())));
    }
}

/// One question that goes wrong by itself keeps nobody else out.
#[tokio::test]
async fn what_fails_for_one_does_not_fail_for_all() {
    let api = StandIn::start(|asked| match basic(asked).0.as_str() {
        "crash" => Act::Write(Vec::new()),
        "error" => say(500),
        "junk" => Act::Write(b"\0\0".to_vec()),
        _ => say(200),
    });
    let backend = backend(&section(&api, BASIC));
    for account in ["crash", "error", "junk"] {
        assert!(login(&backend, account, "x_pw").await.is_err(), "{account}");
        assert!(login(&backend, "carol", "x_pw").await.is_ok(), "after {account}");
    }
}

/// Connections are used again, and no more of them are open at once than questions may be asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_kept_and_bounded() {
    const LOGINS: usize = 200;
    /// As many of one client may wait, and a few less.
    const AT_ONCE: usize = 120;
    // A body that nobody wants, and that does not come in one piece.
    for body in [String::new(), "x".repeat(50_000)] {
        let api = StandIn::start(move |_| Act::Say(401, body.clone()));
        let backend = Arc::new(backend(&section(&api, &format!("{BASIC}, concurrency: 4, timeout: 20s"))));
        for _ in 0..LOGINS {
            assert_eq!(login(&backend, "carol", "x_pw").await.unwrap(), Outcome::Rejected);
        }
        assert_eq!(api.asked().len(), LOGINS);
        let (taken, _) = api.connections();
        // One, but for those that were not put back yet when the next login came: the end of a reply is read besides.
        assert!(taken <= LOGINS / 10, "{taken} connections for {LOGINS} logins one after the other");

        api.now(|_| Act::Late(Duration::from_millis(5), Box::new(say(200))));
        let mut logins = tokio::task::JoinSet::new();
        for _ in 0..AT_ONCE {
            let backend = Arc::clone(&backend);
            logins.spawn(async move { login(&backend, "carol", "x_pw").await.map(|_| ()) });
        }
        for said in logins.join_all().await {
            said.unwrap();
        }
        // One more, where a trial of the start is still under way.
        assert!((2..=5).contains(&api.busiest()), "{} at once", api.busiest());
        let (taken, open) = api.connections();
        assert!(taken <= 16 && open <= 8, "{taken} connections, {open} open");
        drop(backend);
        until("the end of all connections", async || api.connections().1 == 0).await;
    }
}

/// A client that goes away takes its question back, and its turn is free.
#[tokio::test]
async fn a_login_that_is_given_up_leaves_nothing_behind() {
    let api = StandIn::start(|asked| if asked.is_trial() { say(401) } else { Act::Hang });
    let backend = Arc::new(backend(&section(&api, &format!("{BASIC}, concurrency: 1, timeout: 20s"))));
    for number in 1..=3 {
        let waiting = tokio::spawn({
            let backend = Arc::clone(&backend);
            async move { login(&backend, "carol", "x_pw").await.map(|_| ()) }
        });
        until("the question", async || api.asked().len() == number).await;
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
    }
    until("the end of its connections", async || api.connections().1 <= 1).await;
    api.now(|_| say(200));
    assert!(matches!(login(&backend, "carol", "x_pw").await, Ok(Outcome::Accepted(_))));
}

/// Who waits for a turn is answered in the same time as everybody, and that nobody got one says nothing about the API.
#[tokio::test]
async fn waiting_for_a_turn_counts_against_the_deadline() {
    let api = StandIn::start(|asked| match (asked.is_trial(), basic(asked).0.as_str()) {
        (true, _) | (_, "quick") => say(200),
        _ => Act::Late(Duration::from_millis(1400), Box::new(say(200))),
    });
    let backend = backend(&section(&api, &format!("{BASIC}, concurrency: 1, timeout: 2s")));
    let began = Instant::now();
    let (first, second, third) =
        tokio::join!(login(&backend, "one", "x_pw"), login(&backend, "two", "x_pw"), login(&backend, "three", "x_pw"));
    assert!(began.elapsed() < Duration::from_millis(2700), "one after the other it is 2.8 s: {:?}", began.elapsed());
    assert!(matches!(first, Ok(Outcome::Accepted(_))));
    let messages = [second, third].map(|said| said.unwrap_err().to_string());
    assert!(messages[0].contains("no answer in the little time that was left"), "{messages:?}");
    assert!(messages[1].contains("no turn within 2s (1 at once)"), "{messages:?}");
    assert!(matches!(login(&backend, "quick", "x_pw").await, Ok(Outcome::Accepted(_))), "the door stayed open");
}

/// A connection that the server closed meanwhile costs nobody a login; only what may be asked twice is asked twice.
#[tokio::test]
async fn a_connection_that_ended_meanwhile_is_replaced() {
    let api = StandIn::start(|asked| match asked.is_trial() {
        // Only one connection at a time is kept.
        true => Act::Write(b"HTTP/1.1 401 X\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_vec()),
        false => Act::SayOnce(200),
    });
    let get = backend(&section(&api, BASIC));
    for number in 1..=10 {
        assert!(matches!(login(&get, "carol", "x_pw").await, Ok(Outcome::Accepted(_))), "{number}");
    }
    // As a POST it could count as two wrong passwords: an error instead, and the next one is on a new connection.
    let counted = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&counted);
    api.now(move |asked| {
        if asked.body.contains("x_pw") {
            counting.fetch_add(1, Ordering::SeqCst);
        }
        Act::Write(Vec::new())
    });
    let post = backend(&section(&api, "method: POST, body: '{\"u\": \"${account}\", \"p\": \"${password}\"}'"));
    assert!(login(&post, "carol", "x_pw").await.is_err());
    assert_eq!(counted.load(Ordering::SeqCst), 1);
}

/// Without `cache_ttl` each login asks; with it, a yes is remembered, and a no never is.
#[tokio::test]
async fn only_a_yes_is_remembered_and_only_where_it_is_said() {
    let right = "carol_pw";
    let api = knows(&[("carol", "carol_pw")], basic);
    let off = backend(&section(&api, BASIC));
    let on = backend(&section(&api, &format!("{BASIC}, cache_ttl: 1s")));
    let asked_by = async |backend, password: &str, expected: bool| {
        let before = api.asked().len();
        let said = login(backend, "carol", password).await.unwrap();
        assert_eq!(matches!(said, Outcome::Accepted(_)), expected, "{password}");
        api.asked().len() - before
    };
    for _ in 0..3 {
        assert_eq!(asked_by(&off, right, true).await, 1);
    }
    assert_eq!(asked_by(&on, "wrong_pw", false).await, 1);
    let began = Instant::now();
    assert_eq!(asked_by(&on, right, true).await, 1);
    for _ in 0..3 {
        let asked = asked_by(&on, right, true).await;
        assert!(asked == 0 || began.elapsed() > Duration::from_secs(1));
        // Another password, and another account with the same one, are asked about.
        assert_eq!(asked_by(&on, "wrong_pw", false).await, 1);
        assert_eq!(login(&on, "dave", right).await.unwrap(), Outcome::Rejected);
    }
    // A revoked password lives on for as long, and not longer; a new one is asked about at once.
    api.now(|asked| say(if basic(asked).1 == "new_pw" { 200 } else { 401 }));
    assert_eq!(login(&off, "carol", right).await.unwrap(), Outcome::Rejected);
    assert_eq!(asked_by(&on, "new_pw", true).await, 1);
    until("the end of what was remembered", async || login(&on, "carol", right).await.unwrap() == Outcome::Rejected)
        .await;
    assert!(
        began.elapsed() >= Duration::from_millis(900) && began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    // While the API is away, what is remembered still holds.
    let long = backend(&section(&api, &format!("{BASIC}, cache_ttl: 1h")));
    assert_eq!(asked_by(&long, "new_pw", true).await, 1);
    api.stop();
    assert!(matches!(login(&long, "carol", "new_pw").await, Ok(Outcome::Accepted(_))));
    assert!(login(&long, "carol", "other_pw").await.is_err());
}

/// A reload with other settings forgets, and one that leaves them alone keeps connections and memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_keeps_what_did_not_change_and_takes_over_only_what_answers() {
    let api = knows(&[("carol", "carol_pw")], basic);
    let text = section(&api, &format!("{BASIC}, cache_ttl: 1h"));
    let bed = Bed::with(&text);
    let carol = Caller::Account("carol", "carol_pw");
    let reload = async |text: &str| {
        bed.folder.configure(text);
        let app = Arc::clone(&bed.app);
        tokio::task::spawn_blocking(move || app.reload()).await.unwrap();
    };
    let asked = async || {
        let before = api.asked().len();
        assert_eq!(bed.get(ASK).by(carol).send().await.status, 200);
        api.asked().len() - before
    };
    assert_eq!((asked().await, asked().await), (1, 0));
    reload(&format!("{text}# changed\n")).await;
    assert_eq!(asked().await, 0);
    reload(&text.replace("1h", "30m")).await;
    assert_eq!((asked().await, asked().await), (1, 0));
    // Nobody there, and an address that lets anybody in: what works stays.
    let open = StandIn::start(|_| say(200));
    for wrong in [text.replace(&api.origin(), "http://127.0.0.1:1"), section(&open, BASIC)] {
        reload(&wrong).await;
        assert_eq!(asked().await, 0);
    }
    assert!(open.asked().is_empty(), "no password was sent there");
}

/// An address that answers every question with a yes is named in the log when the server starts.
#[tokio::test]
async fn an_api_that_accepts_everybody_is_named() {
    let api = StandIn::start(|_| say(200));
    let log = Log::start(Form::Json);
    let _bed = Bed::with(&section(&api, BASIC));
    until("the warning", async || log.text().contains("\"accepts_anybody\"")).await;
    assert!(log.text().contains("which lets anybody in; is the url right?"), "{}", log.text());
}

/// Whatever happens, no line of the log, ours or a library's, holds a password, in clear or encoded.
#[tokio::test]
async fn the_password_is_in_no_log() {
    use base64::Engine as _;
    let log = Log::start(Form::Text);
    let password = "hunter2_pw";
    let echo = |asked: &crate::backends::stand_in::Asked| {
        Act::Say(200, format!("{} {} {}", asked.target, asked.header("authorization"), asked.body))
    };
    for fields in [
        format!("{BASIC}, account: \"$.email\""),
        "headers: {Authorization: \"Bearer ${password}\", X: \"${account}\"}, account: \"$.email\"".to_owned(),
        "method: POST, body: '{\"u\": \"${account}\", \"p\": \"${password}\"}', account: \"$.email\"".to_owned(),
        "method: GET, account: \"$.email\"".to_owned(),
    ] {
        let api = StandIn::start(echo);
        let text = section(&api, &format!("{fields}, {SHORT}"));
        let text =
            if fields.starts_with("method: GET") { text.replace("/check", "/${account}?p=${password}") } else { text };
        let bed = Bed::with(&text);
        let status = async || bed.get(ASK).basic("carol", password).send().await.status;
        assert_eq!(status().await, 503, "the reply is not JSON");
        for act in [say(302), Act::Write(Vec::new()), Act::Write(b"hunter2_pw".to_vec()), Act::Hang] {
            api.now(move |_| act.clone());
            until("an answer", async || status().await == 503).await;
        }
        api.stop();
        assert_eq!(status().await, 503);
    }
    let text = log.text();
    assert!(text.contains("is not JSON") && text.contains("backend_down"), "{text}");
    assert!(
        text.contains("hyper_util") || text.contains("reqwest"),
        "the libraries' own lines are looked at too: {text}"
    );
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("carol:{password}"));
    for secret in [password, encoded.as_str(), "Y2Fyb2w6aHVu"] {
        assert!(!text.contains(secret), "{text}");
    }
}
