//! Who has to wait and how long; that no guesser escapes the wait, and that it hits nobody else.

use std::net::{IpAddr, Ipv4Addr};

use super::counts::{MOST, MOST_OF_NETWORK};
use super::*;

fn network(number: u32) -> ClientNetwork {
    ClientNetwork::of(Some(IpAddr::V4(Ipv4Addr::from_bits(number))))
}

/// What becomes of one attempt from a network: `Ok` if it was looked at.
struct Guesser(Arc<Attempts>, ClientNetwork);

impl Guesser {
    fn new(number: u32) -> anyhow::Result<Guesser> {
        Ok(Guesser(Arc::new(Attempts::new()?), network(number)))
    }

    fn elsewhere(&self, number: u32) -> Guesser {
        Guesser(Arc::clone(&self.0), network(number))
    }

    fn begin(&self, account: &str, password: &str) -> Result<Attempt, TooMany> {
        self.0.begin(account, &Secret::new(password), self.1)
    }

    fn wrong(&self, account: &str, password: &str) -> Result<(), TooMany> {
        self.begin(account, password).map(Attempt::was_wrong)
    }

    /// As many different wrong passwords as cost nothing.
    fn use_up(&self, account: &str) -> Result<(), TooMany> {
        (0..FORGIVEN).try_for_each(|number| self.wrong(account, &format!("guess {number}")))
    }
}

fn seconds(wait: u64) -> TooMany {
    TooMany { wait: Duration::from_secs(wait) }
}

#[tokio::test(start_paused = true)]
async fn each_wrong_password_after_the_fifth_doubles_the_wait() -> anyhow::Result<()> {
    let guesser = Guesser::new(1)?;
    guesser.use_up("alice")?;
    for (number, wait) in [1, 2, 4, 8, 16, 32, 60, 60, 60].into_iter().enumerate() {
        assert_eq!(guesser.begin("alice", "right").err(), Some(seconds(wait)));
        tokio::time::advance(Duration::from_millis(wait * 1000 - 1)).await;
        assert_eq!(guesser.begin("alice", "right").err(), Some(TooMany { wait: Duration::from_millis(1) }));
        tokio::time::advance(Duration::from_millis(1)).await;
        guesser.wrong("alice", &format!("guess again {number}"))?;
    }
    // Others wait for nothing: another account here, and this account elsewhere.
    guesser.wrong("bob", "guess")?;
    guesser.elsewhere(2).begin("alice", "right")?.was_right();
    assert_eq!(guesser.begin("alice", "right").err(), Some(seconds(60)));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_right_password_after_the_wait_forgives_and_so_does_time() -> anyhow::Result<()> {
    let guesser = Guesser::new(1)?;
    guesser.use_up("alice")?;
    tokio::time::advance(FIRST_WAIT).await;
    guesser.begin("alice", "right")?.was_right();
    assert_eq!(guesser.0.counted(), 0);
    guesser.use_up("alice")?;
    assert_eq!(guesser.begin("alice", "right").err(), Some(seconds(1)));
    tokio::time::advance(FORGOTTEN_AFTER).await;
    guesser.use_up("alice")?;
    assert_eq!(guesser.begin("alice", "right").err(), Some(seconds(1)), "the count began anew");
    Ok(())
}

/// containerd and helm send each password twice, and a pull of many images sends it for each of them.
#[tokio::test(start_paused = true)]
async fn one_wrong_password_is_counted_once_however_often_it_is_sent() -> anyhow::Result<()> {
    let guesser = Guesser::new(1)?;
    let at_once = (0..100).map(|_| guesser.begin("alice", "old password")).collect::<Result<Vec<_>, _>>()?;
    at_once.into_iter().for_each(Attempt::was_wrong);
    for _ in 0..100 {
        guesser.wrong("alice", "old password")?;
    }
    for number in 1..FORGIVEN {
        guesser.wrong("alice", &format!("guess {number}"))?;
    }
    assert_eq!(guesser.begin("alice", "right").err(), Some(seconds(1)), "the fifth");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn no_more_are_looked_at_at_once_than_one_after_the_other() -> anyhow::Result<()> {
    let guesser = Guesser::new(1)?;
    let guess = |number: u32| guesser.begin("alice", &format!("guess {number}"));
    let at_once: Vec<_> = (0..1000).map(guess).collect();
    assert_eq!(at_once.iter().filter(|attempt| attempt.is_ok()).count(), FORGIVEN as usize);
    // The client that asked went away, and nobody knows what came of it.
    drop(at_once);
    assert!(guesser.0.inner().under_way.is_empty());
    guesser.use_up("alice")?;
    tokio::time::advance(FIRST_WAIT).await;
    let at_once: Vec<_> = (0..1000).map(|number| guess(1000 + number)).collect();
    assert_eq!(at_once.iter().filter(|attempt| attempt.is_ok()).count(), 1);
    Ok(())
}

/// One account under many names: a directory lets all of them in.
#[tokio::test(start_paused = true)]
async fn another_spelling_is_no_other_account() -> anyhow::Result<()> {
    let guesser = Guesser::new(1)?;
    for spellings in [
        ["alice", "ALICE", " alice", "alice\u{a0}", "aLiCe  "],
        ["jess", "je\u{17f}s", "je\u{df}", "\u{ff2a}ess", "jes\u{200b}s"],
    ] {
        for (number, spelled) in spellings.into_iter().enumerate() {
            guesser.wrong(spelled, &format!("guess {number}"))?;
        }
        for spelled in spellings {
            assert_eq!(guesser.begin(spelled, "right").err(), Some(seconds(1)), "{}", spelled.escape_unicode());
        }
    }
    Ok(())
}

/// Whoever has `muller` logs in after every few guesses at `müller`, which a backend may know as somebody else.
#[tokio::test(start_paused = true)]
async fn who_logs_in_under_a_neighbouring_name_has_no_more_guesses_for_it() -> anyhow::Result<()> {
    let guesser = Guesser::new(1)?;
    guesser.begin("muller", "own")?.was_right();
    let mut looked_at = 0;
    for number in 0..100 {
        let guess = format!("guess {number}");
        // Also with the same guess at oneself, before and after.
        if number % 3 == 1 {
            guesser.wrong("muller", &guess).ok();
        }
        looked_at += usize::from(guesser.wrong("m\u{fc}ller", &guess).is_ok());
        if number % 3 == 2 {
            guesser.wrong("muller", &guess).ok();
        }
        // It logs in as before, whatever is guessed.
        guesser.begin("muller", "own")?.was_right();
    }
    assert!(looked_at <= FORGIVEN as usize, "{looked_at} guesses were looked at");
    // A mistake under each name, and both have to wait; but what was mistaken under one's own name alone is forgiven.
    let other = guesser.elsewhere(2);
    other.wrong("muller", "mistake")?;
    other.begin("muller", "right")?.was_right();
    assert_eq!(other.0.inner().counts.networks.peek(&network(2)).map_or(0, |network| network.accounts.len()), 0);
    other.wrong("muller", "mistake")?;
    other.wrong("m\u{fc}ller", "mistake")?;
    other.begin("muller", "another")?.was_right();
    other.begin("m\u{fc}ller", "another")?.was_right();
    assert_eq!(other.0.inner().counts.networks.peek(&network(2)).map_or(0, |network| network.accounts.len()), 1);
    Ok(())
}

/// The million accounts of one network are forgotten by their own cost, and its first account by none of them.
#[tokio::test(start_paused = true)]
async fn a_network_that_tries_many_accounts_frees_itself_of_nothing() -> anyhow::Result<()> {
    let (guesser, neighbour) = (Guesser::new(1)?, 2);
    let neighbour = guesser.elsewhere(neighbour);
    neighbour.use_up("bob")?;
    let mut refused = 0;
    guesser.use_up("alice")?;
    tokio::time::advance(FIRST_WAIT).await;
    guesser.wrong("alice", "guess 6")?;
    for number in 0..10 * MOST_OF_NETWORK {
        refused += usize::from(guesser.wrong(&format!("account {number}"), "guess").is_err());
        assert!(guesser.0.counted() <= MOST_OF_NETWORK + 1);
        assert!(guesser.begin("alice", "right").is_err(), "after {number} others");
    }
    assert!(refused > MOST_OF_NETWORK, "what held for Alice holds for the others now: {refused}");
    // Nobody else was touched, neither by forgetting nor by waiting.
    assert_eq!(neighbour.wrong("alice", "guess").err(), None);
    tokio::time::advance(LONGEST_WAIT).await;
    neighbour.wrong("bob", "guess 6")?;
    assert_eq!(neighbour.begin("bob", "right").err(), Some(seconds(2)));
    Ok(())
}

impl Guesser {
    fn right(&self, account: &str, password: &str) -> Result<(), TooMany> {
        self.begin(account, password).map(Attempt::was_right)
    }

    /// Guesses at so many accounts that what holds for the first holds for all others.
    async fn make_all_wait(&self) -> Result<(), TooMany> {
        tokio::time::advance(Duration::from_millis(1)).await;
        self.use_up("first")?;
        tokio::time::advance(Duration::from_millis(1)).await;
        let refused = (0..=MOST_OF_NETWORK).filter(|number| self.wrong(&format!("account {number}"), "guess").is_err());
        assert!(refused.count() > 0);
        Ok(())
    }
}

/// What the others are told then.
const LIKE_THE_FIRST: TooMany = TooMany { wait: Duration::from_millis(999) };

#[tokio::test(start_paused = true)]
async fn who_logs_in_there_as_before_does_not_wait_for_what_others_guess() -> anyhow::Result<()> {
    let guesser = Guesser::new(1)?;
    let elsewhere = guesser.elsewhere(2);
    for (account, password) in [("alice", "right"), ("Alice", "her machine's"), ("zoe", "right"), ("zoe", "newer")] {
        guesser.right(account, password)?;
    }
    // Zoe's first password is taken from her.
    guesser.wrong("zoe", "right")?;
    guesser.right("zoe", "newer")?;
    elsewhere.right("bob", "right")?;
    guesser.make_all_wait().await?;
    for (account, password, waits) in [
        ("alice", "right", false),
        ("ALICE", "right", false),
        ("alice", "her machine's", false),
        ("alice", "newer", true),
        ("zoe", "right", true),
        ("zoe", "newer", false),
        ("bob", "right", true),
        ("carol", "right", true),
    ] {
        let expected = waits.then_some(LIKE_THE_FIRST);
        assert_eq!(guesser.right(account, password).err(), expected, "{account}, {password}");
    }
    // As often as she likes, and at once: it is not a guess.
    let at_once = (0..100).map(|_| guesser.begin("alice", "right")).collect::<Result<Vec<_>, _>>()?;
    drop(at_once);
    // It is forgotten after a day without her.
    tokio::time::advance(Duration::from_secs(24 * 3600)).await;
    guesser.make_all_wait().await?;
    assert_eq!(guesser.begin("alice", "right").err(), Some(LIKE_THE_FIRST));
    Ok(())
}

/// Otherwise whoever guesses at an account could go on by guessing at others in between.
#[tokio::test(start_paused = true)]
async fn after_five_guesses_at_an_account_it_is_not_recognised_either() -> anyhow::Result<()> {
    for (before, meanwhile, let_in) in [(4, 0, true), (5, 0, false), (0, 4, true), (0, 5, false), (2, 3, false)] {
        let guesser = Guesser::new(1)?;
        guesser.right("alice", "right")?;
        (0..before).try_for_each(|number| guesser.wrong("alice", &format!("guess {number}")))?;
        guesser.make_all_wait().await?;
        for number in 0..meanwhile {
            assert!(guesser.begin("alice", &format!("later guess {number}")).is_err());
            assert!(guesser.begin("alice", &format!("later guess {number}")).is_err(), "sent twice, it is one");
        }
        let alice = guesser.begin("alice", "right").map(drop);
        assert_eq!(alice.is_ok(), let_in, "{before} before, {meanwhile} meanwhile");
        // Once nobody has guessed at her for a while, she is again.
        tokio::time::advance(FORGOTTEN_AFTER).await;
        guesser.make_all_wait().await?;
        assert_eq!(guesser.begin("alice", "right").err(), None, "{before} before, {meanwhile} meanwhile");
    }
    Ok(())
}

/// Nobody finds out by guessing who works in the same network.
#[tokio::test(start_paused = true)]
async fn guesses_at_an_account_that_logs_in_there_end_as_those_at_one_that_nobody_has() -> anyhow::Result<()> {
    let mut before = None;
    for account in ["alice", "nobody"] {
        let guesser = Guesser::new(1)?;
        guesser.right("alice", "right")?;
        guesser.make_all_wait().await?;
        let mut ends = Vec::new();
        for number in 0..100 {
            tokio::time::advance(Duration::from_millis(900)).await;
            ends.push(guesser.wrong(account, &format!("guess {number}")));
        }
        assert!(ends.iter().any(Result::is_ok) && ends.iter().any(Result::is_err), "{ends:?}");
        assert!(before.is_none_or(|before| before == ends), "{ends:?}");
        before = Some(ends);
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_network_is_known_for_a_day_after_a_right_password() -> anyhow::Result<()> {
    let (one, other) = (Guesser::new(1)?, network(2));
    one.wrong("alice", "guess")?;
    assert_eq!(one.0.lane(one.1), Lane::Strangers);
    one.right("alice", "right")?;
    assert_eq!((one.0.lane(one.1), one.0.lane(other)), (Lane::Known, Lane::Strangers));
    tokio::time::advance(Duration::from_secs(24 * 3600 - 1)).await;
    assert_eq!(one.0.lane(one.1), Lane::Known);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(one.0.lane(one.1), Lane::Strangers);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_of_right_passwords_is_bounded() {
    let mut logins = Logins::new();
    let account = |number: u32| {
        let mut account = [0; 16];
        account[..4].copy_from_slice(&number.to_be_bytes());
        account
    };
    let most = logins::KNOWN_NETWORKS as u32;
    for number in 0..=most {
        logins.was_right(network(number), account(number), [0; 8], crate::clock::now());
    }
    assert_eq!(logins.remembered(), (logins::KNOWN_NETWORKS, logins::KNOWN_LOGINS));
    let now = crate::clock::now();
    assert_eq!((logins.lane(network(0), now), logins.lane(network(1), now)), (Lane::Strangers, Lane::Known));
    // The first of five passwords makes room.
    for password in 1..=4 {
        logins.was_right(network(most), account(most), [password; 8], now);
    }
    for (password, expected) in [(4, Presented::RightBefore), (1, Presented::RightBefore), (0, Presented::Unknown)] {
        assert_eq!(logins.recognise(network(most), account(most), &[password; 8], now), expected, "{password}");
    }
    // And all of it goes with time.
    tokio::time::advance(Duration::from_secs(24 * 3600)).await;
    logins.was_right(network(1), account(1), [0; 8], crate::clock::now());
    assert_eq!(logins.remembered(), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_of_all_networks_is_bounded() -> anyhow::Result<()> {
    let guesser = Guesser::new(0)?;
    let networks = MOST as u32 / 200 + 40;
    for account in 0..200 {
        tokio::time::advance(Duration::from_millis(1)).await;
        for number in 1..networks {
            guesser.elsewhere(number).wrong(&format!("account {account}"), "guess")?;
        }
    }
    let networks = |guesser: &Guesser| guesser.0.inner().counts.networks.len();
    assert_eq!(guesser.0.counted(), MOST);
    let sum: usize = guesser.0.inner().counts.networks.iter().map(|(_, network)| network.accounts.len()).sum();
    assert_eq!(sum, MOST);
    for number in 1..=2 * MOST as u32 {
        guesser.elsewhere(1000 + number).wrong("alice", "guess")?;
    }
    assert!(guesser.0.counted() <= MOST && networks(&guesser) <= MOST, "{}", networks(&guesser));
    let mut widest = 0;
    for (_, network) in guesser.0.inner().counts.networks.iter() {
        widest = widest.max(network.accounts.len());
    }
    assert_eq!(widest, 1);
    // And all of it goes with time.
    tokio::time::advance(FORGOTTEN_AFTER).await;
    assert_eq!((guesser.0.counted(), networks(&guesser)), (0, 0));
    guesser.wrong("alice", "guess")?;
    assert_eq!((guesser.0.counted(), networks(&guesser)), (1, 1));
    Ok(())
}

#[test]
fn no_password_and_no_account_can_be_read_from_what_is_kept() -> anyhow::Result<()> {
    let (one, other) = (Attempts::new()?, Attempts::new()?);
    let digests = |attempts: &Attempts, account: &str, password: &str| {
        let Guess { account, written, secret, .. } = attempts.guess(account, &Secret::new(password), network(1));
        (account, written, secret)
    };
    let (kept, others) = (digests(&one, "alice", "right"), digests(&other, "alice", "right"));
    assert_eq!(kept, digests(&one, "alice", "right"));
    assert!(kept.0 != others.0 && kept.1 != others.1 && kept.2 != others.2, "the key is drawn");
    assert_ne!(digests(&one, "ab", "c").2, digests(&one, "a", "bc").2);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_account_alone_makes_only_so_many_networks_known() {
    let mut logins = Logins::new();
    let (mallory, alice) = ([1; 16], [2; 16]);
    let now = crate::clock::now();
    let known = |logins: &Logins| (0..100).filter(|number| logins.lane(network(*number), now) == Lane::Known).count();
    logins.was_right(network(0), alice, [0; 8], now);
    for number in 0..100 {
        logins.was_right(network(number), mallory, [0; 8], now);
        let expected = if number <= 16 { Lane::Known } else { Lane::Strangers };
        assert_eq!(logins.lane(network(number), now), expected, "{number}");
    }
    assert_eq!(known(&logins), 17, "the first sixteen, and that of somebody else");
    // Who works in one of the others makes it known.
    logins.was_right(network(50), alice, [0; 8], now);
    assert_eq!((logins.lane(network(50), now), known(&logins)), (Lane::Known, 18));
    // Where it has not been for a while, another one takes the place.
    tokio::time::advance(Duration::from_secs(600)).await;
    let later = crate::clock::now();
    for number in 2..=16 {
        logins.was_right(network(number), mallory, [0; 8], later);
    }
    logins.was_right(network(60), mallory, [0; 8], later);
    logins.was_right(network(61), mallory, [0; 8], later);
    let lanes = [1, 2, 16, 60, 61].map(|number| logins.lane(network(number), later));
    assert_eq!(lanes, [Lane::Strangers, Lane::Known, Lane::Known, Lane::Known, Lane::Strangers]);
    logins.remembered();
}

/// A build server's jobs log in under one name, each with a token of its own.
#[tokio::test(start_paused = true)]
async fn tokens_that_have_ended_do_not_shut_out_the_next_that_is_good() -> anyhow::Result<()> {
    let guesser = Guesser::new(1)?;
    guesser.0.count_as(Manner::Tokens);
    guesser.begin("ci", "running job 1")?.was_right();
    for job in 1..=5 {
        guesser.wrong("ci", &format!("finished job {job}"))?;
    }
    guesser.begin("ci", "running job 1")?.was_right();
    for job in 6..=14 {
        guesser.wrong("ci", &format!("finished job {job}"))?;
    }
    guesser.begin("ci", "running job 2")?.was_right();
    assert_eq!(guesser.0.counted(), 0);
    Ok(())
}

/// When each of a guesser's attempts in ten minutes is looked at, in seconds: one after the other, as soon as it may be.
async fn looked_at(manner: Manner) -> anyhow::Result<Vec<u32>> {
    let guesser = Guesser::new(1)?;
    guesser.0.count_as(manner);
    let mut times = Vec::new();
    for second in 0..600 {
        while guesser.wrong("ci", &format!("guess {}", times.len())).is_ok() {
            times.push(second);
        }
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    Ok(times)
}

#[tokio::test(start_paused = true)]
async fn in_no_minute_are_more_tokens_looked_at_than_passwords() -> anyhow::Result<()> {
    let most_in_a_minute = |times: &[u32]| {
        let in_minute_from = |first: &u32| times.iter().filter(|time| (*first..*first + 60).contains(*time)).count();
        times.iter().map(in_minute_from).max()
    };
    let (passwords, tokens) = (looked_at(Manner::Passwords).await?, looked_at(Manner::Tokens).await?);
    assert_eq!(most_in_a_minute(&passwords), Some(10), "{passwords:?}");
    assert_eq!(most_in_a_minute(&tokens), Some(10), "{tokens:?}");
    assert_eq!(passwords.len(), tokens.len());
    // Nor at once.
    let guesser = Guesser::new(2)?;
    guesser.0.count_as(Manner::Tokens);
    let at_once: Vec<_> = (0..100).map(|number| guesser.begin("ci", &format!("guess {number}"))).collect();
    assert_eq!(at_once.iter().filter(|attempt| attempt.is_ok()).count(), FORGIVEN_TOKENS as usize);
    Ok(())
}

/// An API that lets refusals wait is asked longer than its client waits.
#[tokio::test(start_paused = true)]
async fn a_password_is_under_way_as_long_as_somebody_is_asked_about_it() -> anyhow::Result<()> {
    let guesser = Guesser::new(1)?;
    let also = |password: &str| guesser.0.also("alice", &Secret::new(password), guesser.1);
    let asked = |password: String| {
        let attempt = guesser.begin("alice", &password)?;
        let asked = also(&password);
        drop(attempt);
        Ok(asked)
    };
    let all = (0..FORGIVEN).map(|number| asked(format!("guess {number}"))).collect::<Result<Vec<_>, TooMany>>()?;
    assert_eq!(guesser.begin("alice", "one more").err(), Some(seconds(1)));
    drop(all);
    assert!(guesser.0.inner().under_way.is_empty());
    assert_eq!(guesser.0.counted(), 0);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn silence_counts_once_for_each_password_and_not_for_one_that_was_right_before() -> anyhow::Result<()> {
    let guesser = Guesser::new(1)?;
    let silence = |password: &str| guesser.0.also("alice", &Secret::new(password), guesser.1).was_unanswered();
    guesser.begin("alice", "right")?.was_right();
    silence("right");
    assert_eq!(guesser.0.counted(), 0);
    for _ in 0..100 {
        silence("new");
    }
    for number in 1..FORGIVEN {
        assert!(guesser.begin("alice", "newer").is_ok(), "{number}");
        silence(&format!("guess {number}"));
    }
    assert_eq!(guesser.begin("alice", "newer").err(), Some(seconds(1)));
    Ok(())
}

/// Nor does the password of whoever has many secrets stop being recognised.
#[tokio::test(start_paused = true)]
async fn whoever_has_a_secret_of_an_account_guesses_no_faster_at_its_password() -> anyhow::Result<()> {
    let secret = |number: u32| Secret::new(format!("secret {number}"));
    let guesser = Guesser::new(1)?;
    guesser.right("alice", "right")?;
    guesser.use_up("alice")?;
    guesser.0.secret_was_good("alice", &secret(0), guesser.1);
    assert_eq!(guesser.begin("alice", "right").err(), Some(seconds(1)));
    let guesser = Guesser::new(1)?;
    guesser.right("alice", "right")?;
    (0..100).for_each(|number| guesser.0.secret_was_good("alice", &secret(number), guesser.1));
    guesser.make_all_wait().await?;
    assert_eq!(guesser.begin("alice", "right").err(), None);
    Ok(())
}
