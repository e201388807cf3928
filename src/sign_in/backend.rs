//! The people of one section: who may sign in, who they are now, and when their provider is asked again.

mod old;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::{info, warn};
use url::Url;

use self::old::OldPasswords;
use super::found::{Before, Found, GivenTo, Refused};
use super::person::{Document, State};
use super::provider::Provider;
use super::settings::{ProviderSettings, Settings};
use super::token_db::{Redis, TokenDb};
use super::web::NoWord;
use crate::backend::sign_in::{Answer, Flow, NotSignedIn, SignIn, SignedIn, Way};
use crate::backend::{Authenticator, Configured, Facts, Opened};
use crate::breaker::Passage;
use crate::client_network::ClientNetwork;
use crate::identity::{Account, AccountState, Alike, Credentials, Identity, LookUp, Outcome, Standing, Time, mark_of};
use crate::passwords::attempts::Spelled;
use crate::passwords::password::Passwords;
use crate::reach::{Reach, Reachable};
use crate::records::persons::{Person, PersonId};
use crate::records::{self, Changed, NAME as RECORDS, Records, Version};
use crate::secret::Secret;
use crate::secret::sealing::SealingKey;
use crate::turns::Turns;

/// How long a provider is not asked again that did not answer: everybody who logs in would wait for it.
const FAILED_AGAIN: Duration = Duration::from_secs(2);
/// How much longer than the provider may take nobody else asks it about the same person, in seconds.
const BESIDES: i64 = 15;
/// How often a changed person is written that somebody else changes too.
const TRIES: usize = 5;
/// How many sign-ins are finished at once; who comes with a code that nobody gave costs the provider a question.
const AT_ONCE: usize = 16;
/// How long a sign-in waits for its turn to be finished.
const TURN_WITHIN: Duration = Duration::from_secs(5);
/// How long a provider that did not answer counts as down where nobody asks it again.
const DOWN_FOR: Duration = Duration::from_secs(300);

impl Configured for Settings {
    fn open(self: Arc<Self>, passwords: &Arc<Passwords>) -> anyhow::Result<Opened> {
        Ok(Opened::People(Arc::new(People::open(&self, passwords)?)))
    }

    fn facts(&self) -> Facts<'_> {
        Facts::AccountsElsewhere(self.store.as_ref().map_or_else(|| RECORDS.to_owned(), records::Settings::place))
    }

    fn kept_in(&self, store: &records::Settings) -> Option<Arc<dyn Configured>> {
        Some(Arc::new(Settings { store: Some(store.clone()), ..self.clone() }))
    }

    fn sealed_with(&self, key: &SealingKey) -> Option<Arc<dyn Configured>> {
        Some(Arc::new(Settings { key: Some(key.clone()), ..self.clone() }))
    }
}

/// The people of one section.
pub(super) struct People(Arc<Inner>);

struct Inner {
    section: &'static str,
    records: Arc<dyn Records>,
    key: SealingKey,
    providers: Vec<Asked>,
    /// The people whose provider is being asked.
    flights: Mutex<HashMap<PersonId, Weak<tokio::sync::Mutex<()>>>>,
    finishing: Turns,
    old: OldPasswords,
}

struct Asked {
    settings: Arc<ProviderSettings>,
    provider: Provider,
    /// The Redis in which docker_auth kept its people's passwords.
    redis: Option<Redis>,
    /// Since when it does not answer.
    failed: Mutex<Option<Failing>>,
}

/// An outage of a provider.
#[derive(Clone, Copy)]
struct Failing {
    /// When it began.
    since: Instant,
    /// When the provider last did not answer.
    last: Instant,
}

impl People {
    /// Asks nobody yet.
    ///
    /// # Errors
    /// A TLS library does not take authorities.
    pub(super) fn open(settings: &Settings, passwords: &Arc<Passwords>) -> anyhow::Result<People> {
        let store = settings.store.as_ref().context("no records are configured")?;
        let key = settings.key.clone().context("no sign_in.secret is configured")?;
        let open = |one: &Arc<ProviderSettings>| {
            let provider = Provider::open(one, settings.section)?;
            let redis = match &one.token_db {
                Some(TokenDb::Redis(redis)) => Some(Redis::open(redis, settings.section)?),
                Some(TokenDb::Level(_)) | None => None,
            };
            Ok(Asked { settings: Arc::clone(one), provider, redis, failed: Mutex::default() })
        };
        let providers = settings.providers.iter().map(open).collect::<anyhow::Result<_>>()?;
        Ok(People(Arc::new(Inner {
            section: settings.section,
            records: records::open_for(store, settings.section),
            key,
            providers,
            flights: Mutex::default(),
            finishing: Turns::new(AT_ONCE),
            old: OldPasswords::open(settings, passwords)?,
        })))
    }
}

impl Asked {
    /// Whether it did not answer a moment ago.
    fn is_away(&self) -> bool {
        self.failing().is_some_and(|failing| failing.last.elapsed() < FAILED_AGAIN)
    }

    /// The outage that it has now, as far as is known.
    fn failing(&self) -> Option<Failing> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.filter(|failing| failing.last.elapsed() < DOWN_FOR)
    }

    fn answered(&self) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn did_not_answer(&self) {
        let since = self.failing().map(|failing| failing.since);
        let last = crate::clock::now();
        let failing = Failing { since: since.unwrap_or(last), last };
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(failing);
    }

    /// The account of somebody who is called so. Without a prefix of ours a colon in a name could stand for another provider's.
    fn account(&self, found: &Found) -> Result<Account, Refused> {
        let prefix = self.settings.account_prefix.as_str();
        if prefix.is_empty() && found.name.contains(':') {
            return Err(Refused::NoName);
        }
        let account = Account::parse(&format!("{prefix}{}", found.name)).ok();
        account.filter(Account::is_typed).ok_or(Refused::NoName)
    }
}

impl Inner {
    fn provider(&self, name: Option<&str>) -> Option<&Asked> {
        self.providers.iter().find(|one| one.settings.name.as_deref() == name)
    }

    fn id(&self, provider: &Asked, subject: &str) -> PersonId {
        let ProviderSettings { name, .. } = &*provider.settings;
        PersonId::of(&[self.section, name.as_deref().unwrap_or_default(), provider.settings.issuer(), subject])
    }

    /// Keeps who was found, whatever was kept before.
    async fn keep(
        self: &Arc<Inner>,
        provider: &Asked,
        found: &Found,
        now: OffsetDateTime,
    ) -> anyhow::Result<Result<SignedIn, Refused>> {
        let account = match provider.account(found) {
            Ok(account) => account,
            Err(refused) => return Ok(Err(refused)),
        };
        let id = self.id(provider, &found.subject);
        let sealed = found.credential.as_ref().map(|secret| self.key.seal(&id.0, secret)).transpose()?;
        let document = Document {
            section: self.section.to_owned(),
            provider: provider.settings.name.clone(),
            issuer: provider.settings.issuer().to_owned(),
            subject: Some(found.subject.clone()),
            labels: found.labels.clone(),
            state: State::Known,
            checked: now.unix_timestamp(),
            credential: sealed,
            asked_until: None,
            old_password: None,
        };
        for _ in 0..TRIES {
            let before = self.records.person(&id).await?;
            // A provider that gave no refresh token this time may have given one before.
            let kept =
                before.as_ref().and_then(|person| Document::parse(&person.text).ok()).and_then(|old| old.credential);
            let document = Document { credential: document.credential.clone().or(kept), ..document.clone() };
            let version = before.as_ref().map_or(Version(1), |person| person.version);
            let person = Person { id: id.clone(), account: account.clone(), text: document.to_text()?, version };
            let changed = match &before {
                None => self.records.make_person(&person).await?,
                Some(before) => self.records.replace_person(&person, before.version).await?,
            };
            match changed {
                Changed::Done => return Ok(Ok(SignedIn { account, mark: mark(&id) })),
                Changed::Missing => {}
                Changed::Conflict => {
                    let named = self.records.person_called(&account).await?.filter(|other| other.id != id);
                    if let Some(other) = named {
                        if self.is_as_docker_auth_knew(&other, provider, found)? || self.is_over(&other, now).await? {
                            self.records.remove_person(&other.id, other.version).await?;
                            continue;
                        }
                        warn!(
                            reason = "sign_in_name_taken",
                            backend = self.section,
                            account = account.as_str(),
                            "somebody signed in who is called as somebody else is here, and is not let in"
                        );
                        return Ok(Err(Refused::NameTaken));
                    }
                }
            }
        }
        anyhow::bail!("the person is changed all the time by others")
    }

    /// Whether somebody of this section can never come again, and leaves the name to whom the provider calls so now: what they had is dead,
    /// and dead for the other, who has another mark. Their provider is asked where its word is old. Of whom it still may know, the name
    /// stays: providers let people choose what they are called.
    async fn is_over(self: &Arc<Inner>, other: &Person, now: OffsetDateTime) -> anyhow::Result<bool> {
        let document = Document::parse(&other.text)?;
        if document.section != self.section {
            return Ok(false);
        }
        Ok(match Arc::clone(self).look_up(other.account.clone(), now).await? {
            LookUp::Known(identity) => identity.standing.state == AccountState::Disabled,
            // Its provider is not in the file any more.
            LookUp::Unknown => true,
            LookUp::OnlyByLogin => false,
        })
    }

    /// Who a person is now, by what is kept of it. `None` where its provider is not in the file any more.
    fn identity(&self, person: &Person, document: &Document) -> Option<Identity> {
        let provider = self.provider(document.provider.as_deref())?;
        if document.issuer != provider.settings.issuer() {
            return None;
        }
        let state = match document.state {
            State::Known => AccountState::Enabled,
            State::Gone => AccountState::Disabled,
        };
        // Nobody can ask again about who has no refresh token: what was said counts as long as it does for others.
        let not_after = match document.credential {
            Some(_) => None,
            None => {
                let life = i64::try_from(provider.settings.revalidate_after.as_secs()).unwrap_or(i64::MAX);
                OffsetDateTime::from_unix_timestamp(document.checked.saturating_add(life)).ok()
            }
        };
        Some(Identity {
            account: Some(person.account.clone()),
            labels: document.label_values(),
            standing: Standing { state, not_before: None, not_after },
            mark: Some(mark(&person.id)),
            ..Identity::default()
        })
    }

    /// Whether the provider's word on this person still counts.
    fn is_fresh(&self, document: &Document, now: OffsetDateTime) -> bool {
        let Some(provider) = self.provider(document.provider.as_deref()) else { return true };
        match (document.state, &document.credential) {
            (State::Gone, _) | (State::Known, None) => true,
            (State::Known, Some(_)) => document.age(now) < provider.settings.revalidate_after.as_secs(),
        }
    }

    /// The last word, where it counts while its provider is away.
    fn last_word(&self, person: &Person, document: &Document, now: OffsetDateTime) -> anyhow::Result<LookUp> {
        let Some(provider) = self.provider(document.provider.as_deref()) else { return Ok(LookUp::Unknown) };
        let longest = provider.settings.revalidate_after.saturating_add(provider.settings.grace);
        anyhow::ensure!(
            document.age(now) < longest.as_secs(),
            "{} did not say for too long who this person is",
            document.issuer
        );
        Ok(self.identity(person, document).map_or(LookUp::Unknown, LookUp::Known))
    }

    async fn look_up(self: Arc<Inner>, account: Account, now: OffsetDateTime) -> anyhow::Result<LookUp> {
        let Some(person) = self.records.person_called(&account).await? else { return Ok(LookUp::Unknown) };
        let document = Document::parse(&person.text)?;
        if document.section != self.section {
            return Ok(LookUp::Unknown);
        }
        if self.is_fresh(&document, now) {
            return Ok(self.identity(&person, &document).map_or(LookUp::Unknown, LookUp::Known));
        }
        let (flight, seen) = (self.flight(&person.id), person.version);
        // On a task of its own: a refresh token is used up by its use, and who asks may go away before the new one is kept.
        let task = tokio::spawn(async move {
            let _turn = flight.lock().await;
            self.ask_again(&person.id, seen, now).await
        });
        task.await.context("asking the provider died")?
    }

    /// The lock of whoever asks about a person.
    fn flight(&self, id: &PersonId) -> Arc<tokio::sync::Mutex<()>> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(id).and_then(Weak::upgrade) {
            return flight;
        }
        flights.retain(|_, flight| flight.strong_count() > 0);
        let flight = Arc::default();
        flights.insert(id.clone(), Arc::downgrade(&flight));
        flight
    }

    /// Asks the provider again, unless somebody else has or does.
    async fn ask_again(&self, id: &PersonId, seen: Version, now: OffsetDateTime) -> anyhow::Result<LookUp> {
        let Some(person) = self.records.person(id).await? else { return Ok(LookUp::Unknown) };
        let document = Document::parse(&person.text)?;
        let Some(provider) = self.provider(document.provider.as_deref()) else { return Ok(LookUp::Unknown) };
        let is_asked = document.asked_until.is_some_and(|until| until > now.unix_timestamp());
        // Who waited for the answer to another takes it, however soon it is old.
        if self.is_fresh(&document, now) || (person.version != seen && !is_asked) {
            return Ok(self.identity(&person, &document).map_or(LookUp::Unknown, LookUp::Known));
        }
        if provider.is_away() || is_asked {
            return self.last_word(&person, &document, now);
        }
        let Some(sealed) = document.credential.as_deref() else { return self.last_word(&person, &document, now) };
        let credential = match self.key.open(&id.0, sealed) {
            Ok(credential) => credential,
            Err(cause) => {
                warn!(reason = "sign_in_unreadable", backend = self.section, account = person.account.as_str(), cause = %cause, "nobody can ask this person's provider again; they have to sign in once more");
                let document = Document { credential: None, ..document };
                return Ok(self.identity(&person, &document).map_or(LookUp::Unknown, LookUp::Known));
            }
        };
        // Another replica must not use the same token: most providers take a second use for theft, and end both.
        let patience = i64::try_from(provider.settings.http_timeout.as_secs()).unwrap_or(0).saturating_mul(3);
        let asked_until = Some(now.unix_timestamp().saturating_add(patience).saturating_add(BESIDES));
        let claimed = Document { asked_until, ..document.clone() };
        let claim = Person { text: claimed.to_text()?, ..person.clone() };
        match self.records.replace_person(&claim, person.version).await? {
            Changed::Done => {}
            Changed::Missing | Changed::Conflict => return self.last_word(&person, &document, now),
        }
        let claim = Person { version: Version(person.version.0.saturating_add(1)), ..claim };
        self.ask(provider, (&claim, document), credential, now).await
    }

    /// Asks the provider, and keeps what it says.
    async fn ask(
        &self,
        provider: &Asked,
        (claim, before): (&Person, Document),
        credential: Secret,
        now: OffsetDateTime,
    ) -> anyhow::Result<LookUp> {
        let known = Before {
            subject: before.subject.clone(),
            name: claim
                .account
                .strip_prefix(provider.settings.account_prefix.as_str())
                .unwrap_or(&claim.account)
                .to_owned(),
            labels: before.labels.clone(),
            given_to: if before.old_password.is_some() { GivenTo::DockerAuth } else { GivenTo::Us },
        };
        let mut renewed = None;
        let said = provider.provider.recheck(&known, &credential, &mut renewed, now).await;
        let said = said.map(|said| {
            said.and_then(|found| match provider.account(&found)? {
                // docker_auth knew names alone, and nobody else of them.
                account if known.given_to == GivenTo::DockerAuth && account != claim.account => Err(Refused::Other),
                account => Ok((account, found)),
            })
        });
        let sealed = renewed.map(|secret| self.key.seal(&claim.id.0, &secret)).transpose()?;
        let credential = sealed.or_else(|| before.credential.clone());
        let kept = Document { asked_until: None, credential, ..before };
        let (account, document) = match said {
            Ok(Ok((account, found))) => {
                provider.answered();
                let subject = Some(found.subject);
                (account, Document { subject, labels: found.labels, checked: now.unix_timestamp(), ..kept })
            }
            Ok(Err(refused)) if refused.is_of_person() => {
                provider.answered();
                info!(reason = "sign_in_gone", backend = self.section, account = claim.account.as_str(), cause = %refused, "a person's provider does not let them in any more: they are locked out, and their secrets are dead");
                // What they had stays dead, also if they are let in again some day.
                self.records.raise(&claim.account, now).await?;
                let (credential, old_password, checked) = (None, None, now.unix_timestamp());
                let gone = Document { state: State::Gone, credential, old_password, checked, ..kept };
                (claim.account.clone(), gone)
            }
            Ok(Err(refused)) => return self.no_word(claim, kept, &refused.to_string(), now).await,
            Err(cause) if cause.downcast_ref::<NoWord>().is_some_and(|reply| !reply.is_of_everybody()) => {
                return self.no_word(claim, kept, &format!("{cause:#}"), now).await;
            }
            Err(cause) => {
                self.away(provider, &format!("{cause:#}"));
                self.put(claim, &claim.account, &kept).await?;
                return self.last_word(claim, &kept, now);
            }
        };
        self.put(claim, &account, &document).await?;
        let person = Person { account, ..claim.clone() };
        // Of another name by now: who asked by the old one asked for nobody.
        match person.account == claim.account {
            true => Ok(self.identity(&person, &document).map_or(LookUp::Unknown, LookUp::Known)),
            false => Ok(LookUp::Unknown),
        }
    }

    /// A provider that answers and says nothing of this person is there for everybody else: whoever is removed there, and goes on trying,
    /// must not lock out the others. So only this person is left alone for a moment.
    async fn no_word(
        &self,
        claim: &Person,
        kept: Document,
        cause: &str,
        now: OffsetDateTime,
    ) -> anyhow::Result<LookUp> {
        warn!(
            reason = "sign_in_away",
            backend = self.section,
            account = claim.account.as_str(),
            cause,
            "a provider does not say who this person is now; its last word counts for the time of grace, and then their logins are answered with 503"
        );
        let pause = i64::try_from(FAILED_AGAIN.as_secs()).unwrap_or(0);
        let kept = Document { asked_until: Some(now.unix_timestamp().saturating_add(pause)), ..kept };
        self.put(claim, &claim.account, &kept).await?;
        self.last_word(claim, &kept, now)
    }

    fn away(&self, provider: &Asked, cause: &str) {
        provider.did_not_answer();
        warn!(
            reason = "sign_in_away",
            backend = self.section,
            cause,
            "a provider cannot be asked; its last word on each person counts for the time of grace, and then logins of theirs are answered with 503"
        );
    }

    /// Writes down what came of asking. Nobody else changes it meanwhile but by signing in, which is newer.
    async fn put(&self, claim: &Person, account: &Account, document: &Document) -> anyhow::Result<()> {
        let person = Person { account: account.clone(), text: document.to_text()?, ..claim.clone() };
        let mut tries = 0;
        loop {
            tries += 1;
            match self.records.replace_person(&person, claim.version).await {
                Ok(Changed::Done | Changed::Missing) => return Ok(()),
                Ok(Changed::Conflict) if account != &claim.account => {
                    anyhow::bail!("this person is called as somebody else is here by now")
                }
                Ok(Changed::Conflict) => return Ok(()),
                Err(_) if tries < TRIES => {}
                Err(cause) => return Err(cause.into()),
            }
        }
    }
}

/// The moment of a question that is told none.
fn moment() -> OffsetDateTime {
    #[expect(
        clippy::disallowed_methods,
        reason = "a backend is told no moment, and asks whether a provider's word is old"
    )]
    OffsetDateTime::now_utc()
}

/// What tells a person from another of its account's name.
fn mark(id: &PersonId) -> [u8; 32] {
    mark_of([id.0.as_bytes()])
}

impl Reachable for People {
    fn reach(&self) -> Reach<'_> {
        Reach::server(async {
            let (mut told, mut is_well) = (Vec::new(), true);
            for one in &self.0.providers {
                let (provider, database) = tokio::join!(one.provider.reach(), self.0.reach_token_db(one));
                // What is wrong with one says nothing of the others.
                for found in [provider.map(Some), database] {
                    match found {
                        Ok(found) => told.extend(found),
                        Err(cause) => {
                            is_well = false;
                            told.push(format!("{cause:#}"));
                        }
                    }
                }
            }
            let told = told.join("; ");
            if is_well { Ok(told) } else { Err(anyhow::Error::msg(told)) }
        })
    }

    /// Of the records, of the providers, and of docker_auth's Redis.
    fn passage(&self) -> Option<Passage> {
        let of_redis = self.0.providers.iter().filter_map(|one| Some(one.redis.as_ref()?.passage()));
        let failing = self.0.providers.iter().filter_map(Asked::failing);
        let of_providers = failing.map(|failing| Passage::Shut { since: failing.since });
        let mut all = self.0.records.passage().into_iter().chain(of_redis).chain(of_providers).collect::<Vec<_>>();
        all.sort_by_key(|passage| match passage {
            Passage::Shut { since } => Some(*since),
            Passage::Passing => None,
        });
        all.pop()
    }
}

#[async_trait]
impl Authenticator for People {
    /// People have no password here but secrets, which are not asked about here, and what docker_auth gave them: whatever else is
    /// presented for one of them is wrong, and no later backend may take it for theirs.
    async fn authenticate(&self, who: &Credentials, from: ClientNetwork) -> anyhow::Result<Outcome> {
        let Some(login) = who.password() else { return Ok(Outcome::NotMine) };
        self.0.by_old_password(login, from, moment()).await
    }

    async fn look_up(&self, account: &Account, _: ClientNetwork) -> anyhow::Result<LookUp> {
        self.0.look_up_old(account, moment()).await
    }

    fn alike(&self, _: &Spelled) -> Alike {
        Alike::NotKnown
    }

    async fn take_time(&self, account: &Account, password: &Secret, from: ClientNetwork) -> anyhow::Result<Time> {
        self.0.take_time((account, password), from).await
    }
}

#[async_trait]
impl SignIn for People {
    async fn take_over(&self) {
        // What fails is in the log.
        drop(self.0.taken_over(moment()).await);
    }

    fn ways(&self) -> Vec<Way> {
        let way = |one: &Asked| {
            let ProviderSettings { name, title, registry, .. } = &*one.settings;
            Way { name: name.clone(), title: title.clone(), registry: registry.clone() }
        };
        self.0.providers.iter().map(way).collect()
    }

    async fn begin(&self, way: Option<&str>, flow: &Flow<'_>) -> anyhow::Result<Option<Url>> {
        match self.0.provider(way) {
            Some(one) => one.provider.begin(flow).await.map(Some),
            None => Ok(None),
        }
    }

    async fn finish(
        &self,
        way: Option<&str>,
        flow: &Flow<'_>,
        answer: &Answer<'_>,
        now: OffsetDateTime,
    ) -> anyhow::Result<Result<SignedIn, NotSignedIn>> {
        let wrong = |what: &str| Ok(Err(NotSignedIn::Wrong(what.to_owned())));
        let Some(one) = self.0.provider(way) else { return wrong("there is no such provider any more") };
        // The answer of another provider, which somebody else's browser was sent to (RFC 9207).
        if answer.issuer.is_some_and(|issuer| issuer != one.settings.issuer()) {
            return wrong("the answer is another provider's (iss)");
        }
        let until = crate::clock::now() + TURN_WITHIN;
        let _turn = self.0.finishing.turn_to_ask(self.0.section, answer.client, until, TURN_WITHIN).await?;
        let found = one.provider.finish(flow, answer.code, now).await?;
        one.answered();
        let found = match found {
            Ok(found) => self.0.keep(one, &found, now).await?,
            Err(refused) => Err(refused),
        };
        Ok(found.map_err(|refused| match refused.is_of_person() {
            true => NotSignedIn::Refused(refused.to_string()),
            false => NotSignedIn::Wrong(refused.to_string()),
        }))
    }
}
