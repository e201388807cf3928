//! Many passwords: wrong ones one after the other, and so many at once that not all can be hashed. Nobody else pays for it,
//! and nobody is told that a password is wrong which was not looked at.

use std::sync::Arc;

use dockwarden::authn::password;
use tokio::task::JoinSet;

use crate::bed::{ALICE, ALICE_HASH, Ask, Bed, Reply};

const ASK: &str = "/auth?service=registry&scope=repository:pub/app:pull";

/// Guesses with other passwords each, as long as they are looked at, from this address.
async fn guesses(bed: &Bed, account: &str, from: &str, number: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for guess in 0..number {
        statuses.push(bed.get(ASK).basic(account, &format!("guess {guess}")).from(from).send().await.status);
    }
    statuses
}

/// What a client sees, but for what differs each time.
fn seen(reply: &Reply) -> (u16, Vec<(String, String)>, String) {
    let headers = reply.headers.iter().filter(|(name, _)| *name != "x-decision-id" && *name != "date");
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    (reply.status, headers, reply.text())
}

#[tokio::test]
async fn wrong_passwords_one_after_the_other_make_that_client_wait_and_no_other() {
    let bed = Bed::with("");
    let guesser = "203.0.113.7";
    assert_eq!(guesses(&bed, "alice", guesser, 7).await, [401, 401, 401, 401, 401, 429, 429]);
    // Whoever has to wait learns nothing by a right one, not even if it was right a moment ago elsewhere.
    assert_eq!(bed.get(ASK).by(ALICE).send().await.status, 200);
    let refused = bed.get(ASK).by(ALICE).from(guesser).send().await;
    assert_eq!((refused.status, refused.code().as_str(), refused.header("retry-after")), (429, "TOOMANYREQUESTS", "1"));
    assert_eq!(refused.header("www-authenticate"), "");
    assert_eq!(refused.json()["errors"][0]["message"], "too many wrong passwords for this account; wait 1 s");
    let form = "grant_type=password&username=alice&password=alice-pw&service=registry";
    let refused = bed.post("/auth", form).from(guesser).send().await;
    assert_eq!((refused.status, refused.json()["error"].as_str()), (429, Some("temporarily_unavailable")));
    // Other accounts from there, others for the account, and who has none.
    let bob = async |from: &str| bed.get(ASK).basic("bob", "bob-pw").from(from).send().await.status;
    assert_eq!(bob(guesser).await, 200);
    assert_eq!(bed.get(ASK).by(ALICE).from("203.0.113.8").send().await.status, 200);
    assert_eq!(bed.get(ASK).from(guesser).send().await.status, 200);
    let metrics = bed.get("/metrics").send().await.text();
    for line in [
        "dockwarden_token_requests_total{outcome=\"too_many_attempts\"} 4",
        "dockwarden_token_requests_total{outcome=\"wrong_credentials\"} 5",
        "dockwarden_wrong_password_accounts 1.0",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}

/// The clock stands still, since all that waits here waits for a second.
#[tokio::test(start_paused = true)]
async fn whoever_guesses_at_everybody_does_not_keep_out_who_works_in_the_same_network() {
    let bed = Bed::with("");
    let shared = "203.0.113.7";
    assert_eq!(bed.get(ASK).by(ALICE).from(shared).send().await.status, 200);
    assert_eq!(guesses(&bed, "first", shared, 6).await, [401, 401, 401, 401, 401, 429]);
    for number in 0..256 {
        assert_eq!(guesses(&bed, &format!("account-{number}"), shared, 1).await, [401]);
    }
    assert_eq!(bed.get(ASK).basic("bob", "bob-pw").from(shared).send().await.status, 429, "never seen there");
    assert_eq!(bed.get(ASK).by(ALICE).from(shared).send().await.status, 200);
    // Who guesses at her is not told apart from who guesses at nobody.
    let refused = async |account: &str| seen(&bed.get(ASK).basic(account, "guess").from(shared).send().await);
    assert_eq!(refused("alice").await, refused("nobody").await);
    assert_eq!(refused("alice").await.0, 429);
}

#[tokio::test]
async fn a_million_addresses_of_one_line_are_one_client() {
    let bed = Bed::with("");
    for guess in 0..8 {
        let from = format!("2001:db8:1:2:{guess}::1");
        let status = bed.get(ASK).basic("alice", &format!("guess {guess}")).from(&from).send().await.status;
        assert_eq!(status, if guess < 5 { 401 } else { 429 }, "{from}");
    }
    assert_eq!(bed.get(ASK).by(ALICE).from("2001:db8:1:3::1").send().await.status, 200);
}

/// The client is who the proxy says it is, and no line that it adds makes it another.
#[tokio::test]
async fn the_clients_of_a_proxy_are_counted_one_by_one() {
    let bed = Bed::with("server: {addr: \"127.0.0.1:0\", trusted_proxies: [10.0.0.0/8]}");
    let ask = |client: &str, password: &str| {
        bed.get(ASK).basic("alice", password).from("10.0.0.1").header("x-forwarded-for", client).send()
    };
    for guess in 0..7 {
        let lied = format!("198.51.100.{guess}, 203.0.113.7");
        let status = ask(&lied, &format!("guess {guess}")).await.status;
        assert_eq!(status, if guess < 5 { 401 } else { 429 }, "{lied}");
    }
    assert_eq!(ask("203.0.113.8", "alice-pw").await.status, 200);
}

/// containerd and helm send each password twice, and a pull of many images once for each.
#[tokio::test]
async fn one_wrong_password_sent_again_and_again_is_one() {
    let bed = Bed::with("");
    for _ in 0..30 {
        assert_eq!(bed.get(ASK).basic("alice", "last year's").send().await.status, 401);
    }
    assert_eq!(bed.get(ASK).by(ALICE).send().await.status, 200);
}

#[tokio::test]
async fn waiting_does_not_tell_who_exists_or_which_password_is_right() {
    let bed = Bed::with(&format!(
        "users: {{alice: {{password: \"{ALICE_HASH}\"}}, gone: {{password: \"{ALICE_HASH}\", disabled: true}}}}\n"
    ));
    let mut all = Vec::new();
    for account in ["alice", "unknown", "gone"] {
        // The right password of an account that is closed, among the wrong ones.
        let passwords = ["a", "b", "c", "alice-pwd", if account == "gone" { "alice-pw" } else { "e" }, "f", "alice-pw"];
        let mut replies = Vec::new();
        for password in passwords {
            replies.push(seen(&bed.get(ASK).basic(account, password).send().await));
        }
        all.push(replies);
    }
    let statuses: Vec<u16> = all[0].iter().map(|(status, _, _)| *status).collect();
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429, 429]);
    assert_eq!(all[0], all[1], "an unknown account");
    assert_eq!(all[0], all[2], "a closed account, of which two were right");
}

#[tokio::test]
async fn all_doors_count_together_and_a_proxy_is_told_503() {
    let bed = Bed::with(
        "server: {addr: \"127.0.0.1:0\", trusted_proxies: [10.0.0.1]}\n\
         forward_auth: {trusted_proxies: [10.0.0.1], service: registry}\n",
    );
    let through = |password: &str| {
        bed.get("/forward_auth")
            .basic("alice", password)
            .from("10.0.0.1")
            .header("x-forwarded-for", "203.0.113.7")
            .header("x-original-method", "GET")
            .header("x-original-uri", "/v2/alice/app/manifests/latest")
            .send()
    };
    assert_eq!(through("alice-pw").await.status, 200);
    assert_eq!(guesses(&bed, "alice", "203.0.113.7", 3).await, [401, 401, 401]);
    for guess in ["one", "two"] {
        assert_eq!(through(guess).await.status, 401);
    }
    let refused = through("three").await;
    assert_eq!((refused.status, refused.code().as_str(), refused.header("retry-after")), (503, "UNAVAILABLE", "1"));
    assert_eq!(guesses(&bed, "alice", "203.0.113.7", 1).await, [429]);
    assert_eq!(bed.get(ASK).by(ALICE).from("203.0.113.9").send().await.status, 200);
    let metrics = bed.get("/metrics").send().await.text();
    assert!(metrics.contains("dockwarden_forward_auth_requests_total{outcome=\"too_many_attempts\"} 1"), "{metrics}");
}

/// What is counted outlives a reload: otherwise whoever may change a file could guess on.
#[tokio::test]
async fn a_reload_forgives_nothing() {
    let bed = Bed::with("");
    assert_eq!(guesses(&bed, "alice", "203.0.113.7", 6).await[5], 429);
    let app = Arc::clone(&bed.app);
    tokio::task::spawn_blocking(move || app.reload()).await.unwrap();
    assert_eq!(bed.get(ASK).by(ALICE).from("203.0.113.7").send().await.status, 429);
}

/// A server that is busy with hashing for seconds.
fn slow_bed() -> Bed {
    let hash = password::hash("carol-pw", 11).unwrap();
    Bed::with(&format!("users: {{carol: {{password: \"{hash}\"}}, dave: {{password: \"{hash}\"}}, \"\": {{}}}}\n"))
}

/// Sends so many at once, and says how each ended; the guesses that still wait are given up with the set.
fn at_once(asks: impl Iterator<Item = Ask>) -> JoinSet<Reply> {
    asks.map(Ask::send).collect()
}

#[tokio::test]
async fn a_thousand_guesses_from_one_network_do_not_keep_another_ones_login_out() {
    let bed = slow_bed();
    // Known before.
    assert_eq!(bed.get(ASK).basic("dave", "carol-pw").from("203.0.113.2").send().await.status, 200);
    // One guess each, so that only the queue holds them back.
    let account = |number: usize| format!("account-{number}");
    let mut flood = at_once((0..1000).map(|number| bed.get(ASK).basic(&account(number), "guess").from("203.0.113.1")));
    for refused in refused(&mut flood, 500).await {
        assert_eq!((refused.header("retry-after"), refused.header("www-authenticate")), ("5", ""));
        assert_eq!(refused.json()["errors"][0]["message"], "too many requests at once; try again");
    }
    let honest = bed.get(ASK).basic("carol", "carol-pw").from("203.0.113.3").send().await;
    assert_eq!(honest.status, 200, "{}", honest.text());
    // It waited for one of them or two. So there are some that still wait (as many as have their turns in eight seconds, which
    // are few where the machine does much else), and these do not wait behind them:
    let known = bed.get(ASK).basic("dave", "carol-pw").from("203.0.113.1").send().await;
    assert_eq!((known.status, bed.get(ASK).from("203.0.113.1").send().await.status), (200, 200));
    let mut still_waiting = 0;
    while flood.try_join_next().is_some() {}
    still_waiting += flood.len();
    assert!(still_waiting > 4, "only {still_waiting} guesses waited while Carol logged in");
    let metrics = bed.get("/metrics").send().await.text();
    let busy = metrics.lines().find_map(|line| line.strip_prefix("dockwarden_token_requests_total{outcome=\"busy\"} "));
    assert!(busy.is_some_and(|number| number != "0"), "{metrics}");
    assert!(metrics.contains("dockwarden_backend_answers_total{backend=\"users\",outcome=\"error\"} 0"), "{metrics}");
}

/// The next replies to guesses for which there was no place, which is told at once, and is no "wrong password" as told to those
/// whose turn has come.
async fn refused(flood: &mut JoinSet<Reply>, number: usize) -> Vec<Reply> {
    let mut refused = Vec::new();
    while refused.len() < number {
        let reply = flood.join_next().await.unwrap().unwrap();
        match reply.status {
            503 => refused.push(reply),
            status => assert_eq!(status, 401),
        }
    }
    refused
}

/// One guess from each of more addresses than there are places.
#[tokio::test]
async fn a_thousand_addresses_do_not_keep_out_a_network_that_logged_in_before() {
    let bed = slow_bed();
    assert_eq!(bed.get(ASK).basic("dave", "carol-pw").from("203.0.113.2").send().await.status, 200);
    let guess = |number: usize| {
        let from = format!("198.51.{}.{}", number / 256, number % 256);
        bed.get(ASK).basic(&format!("account-{number}"), "guess").from(&from)
    };
    let mut flood = at_once((0..1100).map(guess));
    refused(&mut flood, 50).await;
    // Another account than the one whose password is remembered.
    let carol = bed.get(ASK).basic("carol", "carol-pw").from("203.0.113.2").send().await;
    assert_eq!(carol.status, 200, "{}", carol.text());
}

/// A farm of machines behind one address begins its day: one account and one password, and nothing remembered yet.
#[tokio::test]
async fn a_farm_that_logs_in_at_once_is_hashed_for_once_and_so_are_its_mistakes() {
    let bed = slow_bed();
    let hashes = async || {
        let text = bed.get("/metrics").send().await.text();
        let line = text.lines().find_map(|line| line.strip_prefix("dockwarden_password_hash_seconds_count "));
        line.unwrap().parse::<u32>().unwrap()
    };
    for (account, password, status) in [("carol", "carol-pw", 200), ("carol", "wrong", 401), ("unknown", "wrong", 401)]
    {
        let before = hashes().await;
        let replies = at_once((0..500).map(|_| bed.get(ASK).basic(account, password))).join_all().await;
        assert!(replies.iter().all(|reply| reply.status == status), "{account} {password}");
        assert_eq!(hashes().await - before, 1, "{account} {password}");
    }
}

/// Whoever began the check goes away, and those who wait with the same password are answered all the same.
#[tokio::test]
async fn those_who_wait_for_a_check_do_not_depend_on_who_began_it() {
    let bed = slow_bed();
    let ask = || bed.get(ASK).basic("carol", "carol-pw").send();
    let first = tokio::spawn(ask());
    tokio::task::yield_now().await;
    let second = tokio::spawn(ask());
    tokio::task::yield_now().await;
    first.abort();
    assert_eq!(second.await.unwrap().status, 200);
}
