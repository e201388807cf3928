//! Who guesses at an API that lets refusals wait, and who logs in while it is away. The clock stands still, so the API runs on
//! the test's own threads.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::BASIC;
use crate::bed::Bed;

const ASK: &str = "/auth?service=registry&scope=repository:pub/app:pull";
const GUESSER: &str = "203.0.113.7";

/// What the API does about a password that is not carol's.
#[derive(Clone, Copy, Debug)]
enum Does {
    /// Answers with this status, so many seconds later.
    Say(u16, u64),
    /// Closes the connection, so many seconds later.
    Close(u64),
    /// Takes no connection.
    Refuse,
}

/// The API, and whose credentials it saw.
struct Api {
    address: SocketAddr,
    seen: Arc<Mutex<BTreeSet<String>>>,
}

impl Api {
    async fn start(does: Does) -> Api {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let api = Api { address: listener.local_addr().unwrap(), seen: Arc::default() };
        if let Does::Refuse = does {
            return api;
        }
        let seen = Arc::clone(&api.seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answers(stream, does, Arc::clone(&seen)));
            }
        });
        api
    }

    fn bed(&self, concurrency: usize) -> Bed {
        Bed::with(&format!(
            "http_auth: {{url: \"http://{}/check\", {BASIC}, timeout: 1s, deadline: 5s, concurrency: {concurrency}}}\n",
            self.address
        ))
    }

    /// The different passwords of dave's that it saw.
    fn guesses(&self) -> usize {
        self.seen.lock().unwrap().iter().filter(|seen| seen.starts_with("dave:")).count()
    }
}

async fn answers(stream: TcpStream, does: Does, seen: Arc<Mutex<BTreeSet<String>>>) {
    let mut stream = BufReader::new(stream);
    let (mut line, mut credentials) = (String::new(), String::new());
    while stream.read_line(&mut line).await.is_ok_and(|length| length > 0) {
        let header = line.trim_end().to_owned();
        line.clear();
        if let Some(basic) = header.strip_prefix("authorization: Basic ") {
            credentials = String::from_utf8(STANDARD.decode(basic).unwrap()).unwrap();
        }
        if !header.is_empty() {
            continue;
        }
        let status = match (credentials.as_str(), does) {
            ("carol:carol_pw", _) => 200,
            // Our own trials, so that the door is open for as many guesses as can be.
            (":", _) => 401,
            (_, Does::Say(status, after)) => {
                seen.lock().unwrap().insert(credentials.clone());
                sleep(Duration::from_secs(after)).await;
                status
            }
            (_, Does::Close(after)) => return sleep(Duration::from_secs(after)).await,
            (_, Does::Refuse) => return,
        };
        let reply = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n");
        if stream.write_all(reply.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// A right password is answered at once, so a 503 tells a guesser all: no more are looked at than where each is a 401.
#[tokio::test(start_paused = true)]
async fn guesses_are_counted_however_long_the_api_lets_refusals_wait() {
    for (after, concurrency) in [(6, 64), (12, 64), (6, 1), (12, 1)] {
        let api = Api::start(Does::Say(401, after)).await;
        let bed = api.bed(concurrency);
        assert_eq!(bed.get(ASK).basic("carol", "carol_pw").send().await.status, 200);
        let mut guesses = JoinSet::new();
        // Two a second for most of a minute.
        for number in 0..110 {
            guesses.spawn(bed.get(ASK).basic("dave", &format!("guess_pw {number}")).from(GUESSER).send());
            sleep(Duration::from_millis(500)).await;
        }
        let mut refused = 0;
        for reply in guesses.join_all().await {
            assert!([503, 429].contains(&reply.status), "{}", reply.status);
            refused += u32::from(reply.status == 429);
        }
        assert_eq!(api.guesses(), 10, "{after} s, {concurrency} at once");
        assert!(refused > 10, "{refused}");
        // Nobody else has to wait for that.
        assert_eq!(bed.get(ASK).basic("carol", "carol_pw").from(GUESSER).send().await.status, 200);
    }
}

/// Nobody looked at these passwords, as far as can be told, and nobody is kept out for them afterwards.
#[tokio::test(start_paused = true)]
async fn an_outage_counts_nobodys_password_as_wrong() {
    let outages =
        [Does::Refuse, Does::Say(502, 0), Does::Say(503, 0), Does::Say(504, 6), Does::Close(0), Does::Close(6)];
    for does in outages {
        let api = Api::start(does).await;
        let bed = api.bed(64);
        for number in 0..30 {
            let reply = bed.get(ASK).basic("dave", &format!("dave_pw {number}")).from(GUESSER).send().await;
            assert_eq!(reply.status, 503, "{does:?}");
            sleep(Duration::from_secs(1)).await;
        }
        sleep(Duration::from_secs(15)).await;
        let metrics = bed.get("/metrics").send().await.text();
        assert!(metrics.contains("dockwarden_wrong_password_accounts 0.0"), "{does:?}: {metrics}");
    }
}

/// Whoever comes again and again with one password has presented one, and is let in when the API is back.
#[tokio::test(start_paused = true)]
async fn one_password_in_a_long_silence_is_one() {
    let api = Api::start(Does::Say(401, 3600)).await;
    let bed = api.bed(64);
    for _ in 0..30 {
        assert_eq!(bed.get(ASK).basic("carol", "old_pw").from(GUESSER).send().await.status, 503);
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(bed.get(ASK).basic("carol", "carol_pw").from(GUESSER).send().await.status, 200);
}
