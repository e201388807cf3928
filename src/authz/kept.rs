//! Rules that are kept elsewhere: read whole, in their order, again and again; a set that is not right as a whole is never
//! used.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::settings::number::duration;
use ::settings::{At, Refusal, Section};
use anyhow::Context as _;
use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use policy::Answer;
use policy::acl::Acl;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::{Authorizer, Freshness, Gate, InUse, KeptOut, Question, Shown, work};
use crate::backend::Opened;
use crate::breaker::{Passage, jittered};
use crate::reach::{Reach, Reachable};
use crate::shown::counted;

/// How often rules are read again, where the file does not say.
const USUAL_TTL: Duration = Duration::from_secs(10);
/// How long rules are used that cannot be read again, where the file does not say.
const USUAL_MAX_STALE: Duration = Duration::from_secs(600);
/// How long reading all rules may take.
pub(super) const READING: Duration = Duration::from_secs(10);
/// The number of rules that are read; ten thousand are many.
pub(super) const MAX_RULES: usize = 100_000;
/// How long after a change the rules are read: many changes are often made together.
const SETTLE: Duration = Duration::from_millis(50);
/// The longest pause after a failure: a server that is back is noticed within two seconds.
const RETRY: Duration = Duration::from_secs(1);
/// The pause after the server refused our own credentials: each reading is a failed login there, and servers lock accounts
/// that are tried again and again.
const REFUSED_AGAIN: Duration = Duration::from_secs(30);
/// How long a store that is not there yet is left for others to make.
const UNMADE: Duration = Duration::from_secs(3);
/// How often it is looked for meanwhile.
const UNMADE_AGAIN: Duration = Duration::from_millis(10);
/// How often rules that change all the time are read, until they are left for a while.
const MAX_READINGS: usize = 5;

/// Where rules are kept.
#[async_trait]
pub(super) trait Keeper: Send + Sync + 'static {
    /// The section of the file, as `source` in the log.
    const KEY: &'static str;
    /// All rules, as they were read.
    type Entries: Send;

    /// The place, for messages.
    fn place(&self) -> String;

    /// What there is to say where their store is not made yet, which must not be made by who only looks.
    fn unmade(&self) -> anyhow::Result<Option<String>> {
        Ok(None)
    }

    /// Reads all rules, and one more than there may be at most.
    async fn fetch(&self) -> Result<Self::Entries, Unread>;

    /// Tells what was read from what was read before, so that rules are compiled only when they have changed.
    fn digest(entries: &Self::Entries) -> [u8; 32];

    /// Makes a set of rules of them. This may take a while.
    ///
    /// # Errors
    /// What is wrong. One wrong rule makes the whole set unusable: left out, what it refuses would be decided by a later one.
    fn compile(entries: Self::Entries) -> Result<Compiled, Vec<Wrong>>;

    /// Watches for changes, for as long as it is polled.
    async fn watch(&self, changes: &Changes);
}

/// A set of rules that is right as a whole.
pub(super) struct Compiled {
    pub(super) acl: Acl,
    /// The rules' own numbers, in their order.
    pub(super) seqs: Vec<Option<i64>>,
    /// What is probably not meant.
    pub(super) remark: Option<String>,
}

/// A rule that keeps a set from being used.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong {
    /// How it is named.
    pub(super) document: String,
    /// What is wrong with it.
    pub(super) message: String,
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}: {}", self.document, self.message)
    }
}

/// Why rules could not be read.
pub(super) struct Unread {
    pub(super) cause: String,
    /// What an administrator can do.
    pub(super) advice: &'static str,
    pub(super) again: Again,
}

/// When rules are read again that could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// Soon.
    Soon,
    /// Not so soon: each reading is a failed login there.
    Later,
}

/// What whoever reads the rules and whoever watches them tell each other.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// There may be something new to read.
    pub(super) changed: Notify,
    /// The server was away and answers again.
    pub(super) back: Notify,
}

/// How often rules are read, and how long they are used that could not be read again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Times {
    cache_ttl: Duration,
    max_stale: Duration,
}

impl Times {
    /// Reads `cache_ttl` and `max_stale`.
    pub(super) fn read(section: &mut Section<'_>) -> Times {
        let cache_ttl = section.word("cache_ttl", |text| match duration(text)? {
            time if time < Duration::from_secs(1) => {
                Err(Refusal::says("rules are read once a second at most; 10s is usual"))
            }
            time => Ok(time),
        });
        let max_stale = section.word("max_stale", duration);
        let cache_ttl = cache_ttl.map_or(USUAL_TTL, |at| at.value);
        if let Some(At { place, value }) = &max_stale
            && *value <= cache_ttl
        {
            section.problem(
                place,
                "max_stale",
                "rules would be too old before they are read again; write more than cache_ttl",
            );
        }
        let max_stale = max_stale.map_or(USUAL_MAX_STALE.max(cache_ttl.saturating_mul(2)), |at| at.value);
        Times { cache_ttl, max_stale }
    }
}

/// Rules that are kept elsewhere, as a source of rules. There are none yet; they begin to be read in the background, for as
/// long as the source lives.
pub(super) fn open<K: Keeper>(keeper: K, times: Times) -> anyhow::Result<Opened> {
    let rules = Arc::new(Rules {
        keeper,
        times,
        in_use: Arc::default(),
        reading: tokio::sync::Mutex::default(),
        changes: Changes::default(),
        refused: Mutex::default(),
        gate: Arc::default(),
    });
    let reader = Arc::clone(&rules);
    // One task for both, so that neither outlives the other, nor the rules.
    let work = async move {
        reader.let_others_make_the_store().await;
        tokio::join!(reader.keep_reading(), reader.keeper.watch(&reader.changes));
    };
    let reading = Reading(crate::background::spawn(work)?.abort_handle());
    Opened::rules(KeptRules { rules, _reading: reading })
}

/// The rules as a source. They are read in the background for as long as this lives.
struct KeptRules<K: Keeper> {
    rules: Arc<Rules<K>>,
    _reading: Reading,
}

/// The background reading; it ends with the source.
struct Reading(AbortHandle);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Rules<K> {
    keeper: K,
    times: Times,
    in_use: Arc<ArcSwapOption<Current>>,
    /// Says whether newer rules take the place of these; held while they do, where there is no gate yet.
    gate: Arc<Mutex<Option<Arc<dyn Gate>>>>,
    reading: tokio::sync::Mutex<()>,
    changes: Changes,
    /// What is wrong with the rules that were read last; empty while nothing is.
    refused: Mutex<Vec<String>>,
}

/// A set of rules that is right as a whole.
struct Current {
    acl: Arc<Acl>,
    /// The rules' own numbers, in their order.
    seqs: Arc<[Option<i64>]>,
    /// What is probably not meant.
    remark: Option<String>,
    /// Of the entries it was compiled from.
    digest: [u8; 32],
    /// When it was last known to be all there is.
    seen: Mutex<Instant>,
}

impl Current {
    fn age(&self) -> Duration {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    fn seen_at(&self, moment: Instant) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = moment;
    }
}

impl<K: Keeper> Reachable for KeptRules<K> {
    /// Reads the rules now; that they cannot be used is a failure too.
    fn reach(&self) -> Reach<'_> {
        Reach::server(self.rules.reach())
    }

    fn passage(&self) -> Option<Passage> {
        None
    }
}

/// Why there is no newer set of rules.
enum Trouble {
    /// The server was not reached.
    Unread(Unread),
    /// They were never the same twice in a row.
    Changing,
    /// Rules that cannot be used, each named with what is wrong.
    Wrong(Vec<String>),
    /// Rules that can be used, and fail tests, each named with what is wrong.
    KeptOut(Vec<KeptOut>),
}

impl Trouble {
    fn text(&self) -> String {
        match self {
            Trouble::Unread(Unread { cause, .. }) => cause.clone(),
            Trouble::Changing => "the rules changed while they were read".to_owned(),
            Trouble::Wrong(problems) => problems.join("; "),
            Trouble::KeptOut(tests) => tests.iter().map(told).collect::<Vec<_>>().join("; "),
        }
    }

    /// For who runs a command: what can be done as well.
    fn with_advice(&self) -> String {
        let advice = match self {
            Trouble::Unread(Unread { advice, .. }) => advice,
            Trouble::Changing => "try again",
            Trouble::Wrong(_) => "correct or remove these rules: no rule is used until then",
            Trouble::KeptOut(_) => "correct the rules or the tests: no newer rules are used until then",
        };
        format!("{}; {advice}", self.text())
    }
}

impl<K: Keeper> Rules<K> {
    async fn reach(&self) -> anyhow::Result<String> {
        if let Some(told) = self.keeper.unmade()? {
            return Ok(told);
        }
        match self.read().await {
            Ok(()) => {
                let in_use = self.in_use.load();
                let count = in_use.as_ref().map_or(0, |in_use| in_use.seqs.len());
                let remark = in_use.as_ref().and_then(|in_use| in_use.remark.as_deref());
                let remark = remark.map(|remark| format!("; {remark}")).unwrap_or_default();
                Ok(format!("{} holds {}{remark}", self.keeper.place(), counted(count, "rule")))
            }
            Err(trouble) => anyhow::bail!(trouble.with_advice()),
        }
    }

    /// A server makes the store at its start. `check --connect` makes none: it ends before the first reading would.
    async fn let_others_make_the_store(&self) {
        let began = crate::clock::now();
        while began.elapsed() < UNMADE && matches!(self.keeper.unmade(), Ok(Some(_))) {
            tokio::time::sleep(UNMADE_AGAIN).await;
        }
    }

    async fn keep_reading(&self) {
        let mut last = String::new();
        loop {
            let began = crate::clock::now();
            let pause = match self.read().await {
                Ok(()) => {
                    if !last.is_empty() {
                        info!(reason = "rules_current", source = K::KEY, "the rules are up to date again");
                        last.clear();
                        self.changes.back.notify_one();
                    }
                    self.times.cache_ttl
                }
                Err(trouble) => {
                    let text = trouble.text();
                    // Once for each trouble, not once a second.
                    if text != last {
                        self.tell(&trouble);
                        last = text;
                    }
                    match trouble {
                        Trouble::Unread(Unread { again: Again::Soon, .. }) => self.times.cache_ttl.min(RETRY),
                        Trouble::Unread(Unread { again: Again::Later, .. }) => REFUSED_AGAIN,
                        // Nothing is wrong with the server, and whoever takes a right away in a busy hour waits for this.
                        Trouble::Changing => SETTLE.max(began.elapsed()).min(self.times.cache_ttl),
                        Trouble::Wrong(_) | Trouble::KeptOut(_) => self.times.cache_ttl,
                    }
                }
            };
            let took = began.elapsed();
            tokio::select! {
                () = tokio::time::sleep(jittered(pause)) => {}
                // One change seldom comes alone; and however many come, no more than half of the time is spent reading.
                () = self.changes.changed.notified() => tokio::time::sleep(SETTLE.max(took)).await,
            }
        }
    }

    fn tell(&self, trouble: &Trouble) {
        let until = match self.in_use.load().as_ref() {
            Some(_) if matches!(trouble, Trouble::KeptOut(_)) => "the last good ones stay in use".to_owned(),
            Some(in_use) => {
                let left = self.times.max_stale.saturating_sub(in_use.age()).as_secs();
                format!("the last good ones stay in use for {left} seconds more, then decisions are answered with 503")
            }
            // At a reload that waits for them, others decide.
            None => "there are none yet, and a server with these settings answers decisions with 503".to_owned(),
        };
        match trouble {
            Trouble::Unread(_) | Trouble::Changing => {
                let cause = trouble.text();
                warn!(reason = "rules_unread", source = K::KEY, cause, "the rules could not be read; {until}");
            }
            Trouble::KeptOut(tests) => {
                for test in tests {
                    error!(
                        reason = "rules_refused",
                        source = K::KEY,
                        test = &*test.test,
                        cause = test.message,
                        "the rules would fail a test of the configuration; {until}"
                    );
                }
            }
            Trouble::Wrong(problems) => {
                for problem in problems {
                    error!(
                        reason = "rules_refused",
                        source = K::KEY,
                        cause = problem,
                        "the rules cannot be used as they are; {until}"
                    );
                }
            }
        }
    }

    async fn read(&self) -> Result<(), Trouble> {
        // Of two readings at the same time, the one that began earlier could end later, and put older rules back.
        let _alone = self.reading.lock().await;
        let mut seen = crate::clock::now();
        let mut entries = self.fetch().await?;
        let mut digest = K::digest(&entries);
        if let Some(in_use) = self.in_use.load().as_ref()
            && in_use.digest == digest
        {
            in_use.seen_at(seen);
            self.refused(Vec::new());
            return Ok(());
        }
        // While rules are moved under the reading, one can be missed, and it could be the one that refuses: what has
        // changed is taken over once two readings agree.
        let mut readings = 1;
        loop {
            let began = crate::clock::now();
            let again = self.fetch().await?;
            let digest_again = K::digest(&again);
            if digest_again == digest {
                break;
            }
            readings += 1;
            if readings > MAX_READINGS {
                return Err(Trouble::Changing);
            }
            (seen, entries, digest) = (began, again, digest_again);
        }
        // Many rules take a while to compile, and the requests on this thread would wait for it.
        let compiled = tokio::task::spawn_blocking(move || K::compile(entries)).await.map_err(|_| {
            let cause = "the rules could not be compiled: the thread died".to_owned();
            Trouble::Unread(Unread { cause, advice: "try again", again: Again::Soon })
        })?;
        match compiled {
            Ok(Compiled { acl, seqs, remark }) => {
                let rules = seqs.len();
                if let Some(remark) = &remark {
                    warn!(reason = "rules_unnumbered", source = K::KEY, "{remark}");
                }
                let current = Current { acl: Arc::new(acl), seqs: seqs.into(), remark, digest, seen: Mutex::new(seen) };
                self.pass(current, seen).await?;
                self.refused(Vec::new());
                info!(source = K::KEY, rules, "new rules are in use");
                Ok(())
            }
            Err(problems) => {
                self.refused(problems.iter().map(|problem| problem.document.clone()).collect());
                Err(Trouble::Wrong(problems.into_iter().map(|problem| problem.to_string()).collect()))
            }
        }
    }

    /// Puts rules in place that were there at this moment, if the gate lets them.
    async fn pass(&self, newer: Current, seen: Instant) -> Result<(), Trouble> {
        let (gate, in_use) = (Arc::clone(&self.gate), Arc::clone(&self.in_use));
        // Tests may take a while, as compiling does.
        let passed = tokio::task::spawn_blocking(move || {
            let newer = Arc::new(newer);
            let mut put = || in_use.store(Some(Arc::clone(&newer)));
            let guard = gate.lock().unwrap_or_else(PoisonError::into_inner);
            match guard.clone() {
                None => {
                    put();
                    Ok(())
                }
                Some(gate) => {
                    // Whoever holds the gate may be looking at what is in use here.
                    drop(guard);
                    gate.pass(K::KEY, in_use_of(&newer), &mut put)
                }
            }
        });
        match passed.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(tests)) => {
                self.refused(tests.iter().map(|test| test.test.to_string()).collect());
                // That is a no, and not a reading that failed: the last good rules do not grow old by it.
                if let Some(in_use) = self.in_use.load().as_ref() {
                    in_use.seen_at(seen);
                }
                Err(Trouble::KeptOut(tests))
            }
            Err(_) => {
                let cause = "the tests could not be run: the thread died".to_owned();
                Err(Trouble::Unread(Unread { cause, advice: "try again", again: Again::Soon }))
            }
        }
    }

    /// The rules in use, if there are some that are not too old.
    fn usable(&self) -> anyhow::Result<Arc<Current>> {
        let in_use = self.in_use.load_full().context("no rules have been read yet")?;
        let age = in_use.age();
        if age >= self.times.max_stale {
            anyhow::bail!("the rules were last up to date {} seconds ago, longer than max_stale", age.as_secs());
        }
        Ok(in_use)
    }

    async fn fetch(&self) -> Result<K::Entries, Trouble> {
        self.keeper.fetch().await.map_err(Trouble::Unread)
    }

    fn refused(&self, documents: Vec<String>) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = documents;
    }
}

fn told(test: &KeptOut) -> String {
    format!("{}: {}", test.test, test.message)
}

fn in_use_of(current: &Current) -> InUse {
    InUse::Rules { acl: Arc::clone(&current.acl), seqs: Arc::clone(&current.seqs) }
}

#[async_trait]
impl<K: Keeper> Authorizer for KeptRules<K> {
    async fn authorize(&self, question: &Question<'_>) -> anyhow::Result<Answer> {
        let in_use = self.rules.usable()?;
        let rules = Arc::clone(&in_use);
        let answer = work::answer(question, move |question, budget| rules.acl.decide(question, budget)).await?;
        Ok(match answer {
            Answer::Decided { actions, mut by, until } => {
                by.seq = in_use.seqs.get(by.index).copied().flatten();
                Answer::Decided { actions, by, until }
            }
            none @ Answer::NoMatch { .. } => none,
        })
    }

    fn compiled(&self) -> anyhow::Result<Option<Arc<Acl>>> {
        Ok(Some(Arc::clone(&self.rules.usable()?.acl)))
    }

    fn freshness(&self) -> Option<Freshness> {
        Some(Freshness {
            age: self.rules.in_use.load().as_ref().map(|in_use| in_use.age()),
            limit: self.rules.times.max_stale,
            refused: self.rules.refused.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        })
    }

    async fn rules(&self) -> anyhow::Result<Shown> {
        match self.rules.read().await {
            Ok(()) => {}
            Err(Trouble::KeptOut(tests)) => anyhow::bail!(Trouble::KeptOut(tests).with_advice()),
            Err(Trouble::Wrong(problems)) => anyhow::bail!(
                "the rules in {} cannot be used as they are; a server that runs keeps the last good ones:\n  {}",
                self.rules.keeper.place(),
                problems.join("\n  ")
            ),
            Err(trouble @ (Trouble::Unread(_) | Trouble::Changing)) => anyhow::bail!(trouble.with_advice()),
        }
        let in_use = self.rules.in_use.load_full().context("no rules have been read yet")?;
        // Where one has no number, all are told by their place.
        let seqs: Option<Vec<i64>> = in_use.seqs.iter().copied().collect();
        Ok(Shown::Rules { acl: Arc::clone(&in_use.acl), seqs: seqs.unwrap_or_default() })
    }

    fn in_use(&self) -> InUse {
        self.rules.in_use.load().as_ref().map_or(InUse::Unread, |current| in_use_of(current))
    }

    fn guard(&self, gate: &Arc<dyn Gate>) {
        *self.rules.gate.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(gate));
    }
}
