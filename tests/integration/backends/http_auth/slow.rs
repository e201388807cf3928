//! APIs that answer, and not at once: refusals that are let wait, and ways so long that each step takes its time.

use std::time::{Duration, Instant};

use super::outage::until;
use super::{BASIC, backend, basic, login, say, section};
use crate::backends::stand_in::{Act, Asked, StandIn};
use crate::bed::Bed;
use crate::logs::{Form, Log};

const ASK: &str = "/auth?service=registry&scope=repository:pub/app:pull";

/// Carol's password is right at once; every other answer waits, as login pages do against guessing.
fn delaying(by: Duration) -> impl Fn(&Asked) -> Act + Send + Sync + 'static {
    move |asked| match basic(asked) == ("carol".to_owned(), "carol_pw".to_owned()) {
        true => say(200),
        false => Act::Late(by, Box::new(say(401))),
    }
}

/// It is no outage, and we do not log in wrongly there to find that out.
#[tokio::test]
async fn an_api_that_lets_refusals_wait_is_not_away() {
    let api = StandIn::start(delaying(Duration::from_millis(900)));
    let log = Log::start(Form::Json);
    let bed = Bed::with(&section(&api, &format!("{BASIC}, timeout: 300ms, deadline: 5s")));
    let status = async |account: &str, password: &str| bed.get(ASK).basic(account, password).send().await.status;
    for _ in 0..3 {
        assert_eq!(status("carol", "carol_pw").await, 200);
    }
    until("the answer to the trial", async || api.connections().1 <= 2 && api.all_asked().len() == 4).await;
    assert!(!log.text().contains("backend_down"), "{}", log.text());

    // A wrong password is silence at first, and the door is closed; its answer opens it.
    assert_eq!(status("carol", "wrong_pw").await, 503);
    let text = log.text();
    assert!(text.contains("backend_down") && text.contains("needs a longer timeout"), "{text}");
    until("the late answer", async || status("carol", "carol_pw").await == 200).await;
    let trials = || api.all_asked().iter().filter(|asked| asked.is_trial()).count();
    let before = trials();
    assert!(before <= 3, "{before}");
    // From then on it is known that answers can be so late: right passwords are looked at meanwhile.
    for number in 0..3 {
        let wrong = format!("wrong_pw {number}");
        let (one, other) = tokio::join!(status("carol", &wrong), async {
            tokio::time::sleep(Duration::from_millis(400)).await;
            status("carol", "carol_pw").await
        });
        assert_eq!((one, other), (503, 200));
    }
    assert_eq!(trials(), before);
    assert_eq!(log.text().matches("\"backend_down\"").count(), 1);
}

/// That the client was told "unavailable" does not give a guesser more tries.
#[tokio::test]
async fn a_refusal_that_comes_late_counts_as_a_wrong_password() {
    let api = StandIn::start(delaying(Duration::from_millis(200)));
    let bed = Bed::with(&section(&api, &format!("{BASIC}, timeout: 100ms, deadline: 5s")));
    let mut looked_at = 0;
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        assert!(Instant::now() < end, "nobody counts");
        let guess = format!("guess_pw {looked_at}");
        match bed.get(ASK).basic("dave", &guess).from("203.0.113.7").send().await.status {
            429 => break,
            503 => looked_at += 1,
            other => panic!("{other}"),
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    let asked = api.asked().iter().filter(|asked| basic(asked).0 == "dave").count();
    assert!((10..=12).contains(&asked), "{asked} were looked at");
}

/// Where our own trials stay without an answer, somebody's own login finds out that the API is back.
#[tokio::test]
async fn after_an_outage_a_login_is_let_through_before_a_trial_is_answered() {
    let api = StandIn::start(|_| Act::Hang);
    let backend = backend(&section(&api, &format!("{BASIC}, timeout: 300ms")));
    assert!(login(&backend, "carol", "carol_pw").await.is_err());
    api.now(|asked| if asked.is_trial() { Act::Hang } else { say(200) });
    let back = Instant::now();
    until("a login", async || login(&backend, "carol", "carol_pw").await.is_ok()).await;
    assert!(back.elapsed() < Duration::from_secs(2), "{:?}", back.elapsed());
    for _ in 0..3 {
        assert!(login(&backend, "carol", "carol_pw").await.is_ok(), "the door is open for all");
    }
}

/// A refused connection is tried by connections, which are no logins.
#[tokio::test]
async fn an_api_that_is_gone_is_not_logged_in_to() {
    let api = StandIn::start(|_| say(401));
    let backend = backend(&section(&api, BASIC));
    until("the greeting", async || api.all_asked().len() == 1).await;
    api.stop();
    assert!(login(&backend, "carol", "carol_pw").await.is_err());
    api.restart().unwrap();
    until("a login", async || login(&backend, "carol", "carol_pw").await.is_ok()).await;
    assert_eq!(api.all_asked().iter().filter(|asked| asked.is_trial()).count(), 1, "the greeting alone");
}

/// The steps of a way with half a second for each answer: none of them is silence.
#[tokio::test]
async fn a_reply_that_comes_in_pieces_is_waited_for_and_the_whole_has_an_end() {
    let body = "{\"email\": \"carol\"}".to_owned();
    let late = move |by: u64| {
        let body = body.clone();
        move |_: &Asked| Act::Late(Duration::from_millis(by), Box::new(Act::Say(200, body.clone())))
    };
    let api = StandIn::start(late(250));
    let fields = format!("{BASIC}, account: \"$.email\"");
    let patient = backend(&section(&api, &format!("{fields}, timeout: 600ms, deadline: 5s")));
    assert!(login(&patient, "carol", "x_pw").await.is_ok());
    // The whole is over sooner than the silence after the first piece: it is named, and what it says of the API is nothing.
    let first = b"HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{".to_vec();
    api.now(move |_: &Asked| Act::Late(Duration::from_millis(700), Box::new(Act::WriteAndHang(first.clone()))));
    let hasty = backend(&section(&api, &format!("{fields}, timeout: 1s, deadline: 1200ms")));
    let error = login(&hasty, "carol", "x_pw").await.unwrap_err().to_string();
    assert!(error.contains("longer than the deadline to send its whole reply"), "{error}");
    api.now(late(0));
    assert!(login(&hasty, "carol", "x_pw").await.is_ok(), "the door stayed open");
}
