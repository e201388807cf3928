//! The docker passwords that docker_auth gave people: taken over from its database, and good until their people sign in here, or what it
//! knew of them ends.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use time::OffsetDateTime;
use time::macros::datetime;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{Asked, FAILED_AGAIN, Inner, Settings};
use crate::client_network::ClientNetwork;
use crate::digest::sha256;
use crate::identity::{Account, LookUp, Outcome, Time};
use crate::passwords::password::{Check, PasswordHash, Passwords, Recall};
use crate::records::persons::{Person, PersonId};
use crate::records::{self, Changed, Epoch, SecretHash, Version};
use crate::secret::Secret;
use crate::shown::{counted, printable};
use crate::sign_in::found::{Found, Refused};
use crate::sign_in::person::{Document, OldPassword, State};
use crate::sign_in::settings::{self, LONGEST};
use crate::sign_in::token_db::{Entry, OldRecord, TokenDb, key_of, read_level};

/// How long a login waits for an import. Later ones find it done.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many records that cannot be used have a line each.
const MOST_LINES: u64 = 50;
/// Until when it is known that a database was imported.
const FOR_GOOD: OffsetDateTime = datetime!(9999-12-31 0:00 UTC);

/// What is needed for such passwords.
pub(super) struct OldPasswords {
    passwords: Arc<Passwords>,
    /// What a wrong password costs where nobody is known; `None` where no provider had such passwords.
    nobodys: Option<PasswordHash>,
    /// Whether all that is imported once is.
    is_imported: AtomicBool,
    /// Whether there are no records yet, which who only looks must not make.
    is_unmade: bool,
    /// Held by whoever imports: what kept the last one from it.
    failed: tokio::sync::Mutex<Option<(Instant, String)>>,
}

/// What came of an import.
#[derive(Default)]
struct Imported {
    taken: u64,
    /// Those whose account somebody has by now.
    known: u64,
    /// Those that docker_auth would not take either.
    ended: u64,
    unusable: u64,
}

impl OldPasswords {
    /// Reads nothing yet.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub(super) fn open(settings: &Settings, passwords: &Arc<Passwords>) -> anyhow::Result<OldPasswords> {
        let databases = || settings.providers.iter().filter_map(|provider| provider.token_db.as_ref());
        let nobodys = databases().next().map(|_| PasswordHash::nobodys([])).transpose()?;
        let is_imported = !databases().any(|database| matches!(database, TokenDb::Level(_)));
        Ok(OldPasswords {
            passwords: Arc::clone(passwords),
            nobodys,
            is_imported: AtomicBool::new(is_imported),
            is_unmade: settings.store.as_ref().is_some_and(records::Settings::is_unmade),
            failed: tokio::sync::Mutex::default(),
        })
    }
}

impl Inner {
    /// Whose password it is, by what docker_auth knew.
    pub(super) async fn by_old_password(
        self: &Arc<Inner>,
        (account, password): (&Account, &Secret),
        from: ClientNetwork,
        now: OffsetDateTime,
    ) -> anyhow::Result<Outcome> {
        let person = match self.known(account, now).await? {
            Some(person) => person,
            None => match self.adopted((account, password), from, now).await? {
                Adopted::Person(person) => person,
                Adopted::Rejected => return Ok(Outcome::Rejected),
                Adopted::Nobody => return Ok(Outcome::NotMine),
            },
        };
        let document = Document::parse(&person.text)?;
        if document.section != self.section {
            return Ok(Outcome::NotMine);
        }
        match &document.old_password {
            Some(old) if self.records.epoch(account).await? == Epoch(old.epoch) => {
                let hash = PasswordHash::from_str(&old.hash);
                let hash = hash.map_err(|_| anyhow::anyhow!("a docker password in the records is not a hash"))?;
                let identity = self.identity(&person, &document);
                let recall = identity.map_or(Recall::Never, |identity| Recall::for_standing(&identity.standing));
                let passwords = &self.old.passwords;
                match passwords.check(account, password, std::slice::from_ref(&hash), recall, from).await? {
                    Check::Right => {}
                    Check::Wrong => return Ok(Outcome::Rejected),
                }
            }
            // It takes as long, and so does not tell who has signed in by now.
            Some(_) | None => {
                self.take_time((account, password), from).await?;
                return Ok(Outcome::Rejected);
            }
        }
        Ok(match Arc::clone(self).look_up(account.clone(), now).await? {
            LookUp::Known(identity) => Outcome::Accepted(identity),
            LookUp::Unknown | LookUp::OnlyByLogin => Outcome::Rejected,
        })
    }

    /// Who an account is, also of whom docker_auth alone knew. Nothing is taken over by that: who only looks changes nothing.
    pub(super) async fn look_up_old(
        self: &Arc<Inner>,
        account: &Account,
        now: OffsetDateTime,
    ) -> anyhow::Result<LookUp> {
        match Arc::clone(self).look_up(account.clone(), now).await? {
            LookUp::Unknown => {}
            known @ (LookUp::Known(_) | LookUp::OnlyByLogin) => return Ok(known),
        }
        // Whoever is of another section, or gone, is nobody's of docker_auth's.
        if !self.providers.iter().any(|one| one.settings.token_db.is_some())
            || self.records.person_called(account).await?.is_some()
        {
            return Ok(LookUp::Unknown);
        }
        for provider in &self.providers {
            let Some((record, epoch)) = self.old_record(provider, account).await? else { continue };
            if provider.redis.is_some() && epoch != Epoch::default() {
                return Ok(LookUp::Unknown);
            }
            let id = self.old_id(provider, account);
            let Some(document) = self.document_of(provider, (&id, record), epoch, now)? else { continue };
            let person = Person { id, account: account.clone(), text: String::new(), version: Version(0) };
            return Ok(self.identity(&person, &document).map_or(LookUp::Unknown, LookUp::Known));
        }
        Ok(LookUp::Unknown)
    }

    /// What docker_auth knew of somebody whom the records do not know, with the epoch of the account.
    async fn old_record(&self, provider: &Asked, account: &Account) -> anyhow::Result<Option<(OldRecord, Epoch)>> {
        let name = account.strip_prefix(provider.settings.account_prefix.as_str());
        let Some(name) = name.filter(|name| settings::may_be_called(&provider.settings, name)) else { return Ok(None) };
        let found = match (&provider.redis, &provider.settings.token_db) {
            (Some(redis), _) => redis.get(name).await?,
            (None, Some(TokenDb::Level(folder))) => {
                let is_imported = self.old.is_imported.load(Ordering::Relaxed)
                    || (!self.old.is_unmade && self.records.was_seen(&self.import_mark(provider, folder)).await?);
                match is_imported {
                    true => None,
                    false => of_name(read_folder(folder).await?.unwrap_or_default(), name),
                }
            }
            (None, Some(TokenDb::Redis(_)) | None) => None,
        };
        let Some((key, text)) = found else { return Ok(None) };
        match OldRecord::parse(key.as_bytes(), &text) {
            Ok(record) if provider.account(&named(&record)).as_ref() == Ok(account) => {
                Ok(Some((record, self.records.epoch(account).await?)))
            }
            Ok(_) => Ok(None),
            Err(unusable) => {
                warn_of_unusable(self.section, key.as_bytes(), &unusable.to_string());
                Ok(None)
            }
        }
    }

    /// Takes over what Redis has of somebody who brings the password. From then on the records know them, and Redis is not asked about
    /// them any more, whatever becomes of them.
    async fn adopted(
        &self,
        (account, password): (&Account, &Secret),
        from: ClientNetwork,
        now: OffsetDateTime,
    ) -> anyhow::Result<Adopted> {
        for provider in self.providers.iter().filter(|one| one.redis.is_some()) {
            let Some((record, epoch)) = self.old_record(provider, account).await? else { continue };
            // Everything that the account had was ended once, and this was there before: it is not known since when.
            if epoch != Epoch::default() {
                self.take_time((account, password), from).await?;
                return Ok(Adopted::Rejected);
            }
            let hashes = std::slice::from_ref(&record.password);
            match self.old.passwords.check(account, password, hashes, Recall::Allowed, from).await? {
                Check::Right => {}
                Check::Wrong => return Ok(Adopted::Rejected),
            }
            // Who signs in at this moment has the account, and no old password.
            return Ok(match self.keep_old(provider, record, now).await? {
                Ok(Kept::Taken | Kept::Known) => {
                    self.records.person_called(account).await?.map_or(Adopted::Rejected, Adopted::Person)
                }
                Ok(Kept::Ended) | Err(_) => Adopted::Rejected,
            });
        }
        Ok(Adopted::Nobody)
    }

    /// Takes as long as a wrong password does, where there are any.
    pub(super) async fn take_time(
        &self,
        (account, password): (&Account, &Secret),
        from: ClientNetwork,
    ) -> anyhow::Result<Time> {
        let Some(nobodys) = &self.old.nobodys else { return Ok(Time::NotTaken) };
        self.old.passwords.check_nobody(account, password, nobodys, Duration::ZERO, from).await?;
        Ok(Time::Taken)
    }

    /// The person of this account. Whom nobody knows may be in a database that could not be read yet.
    async fn known(self: &Arc<Inner>, account: &Account, now: OffsetDateTime) -> anyhow::Result<Option<Person>> {
        if let Some(person) = self.records.person_called(account).await? {
            return Ok(Some(person));
        }
        if self.old.is_imported.load(Ordering::Relaxed) {
            return Ok(None);
        }
        self.taken_over(now).await?;
        Ok(self.records.person_called(account).await?)
    }

    /// Sees to it that what is imported once is.
    ///
    /// # Errors
    /// It could not be, or takes long.
    pub(super) async fn taken_over(self: &Arc<Inner>, now: OffsetDateTime) -> anyhow::Result<()> {
        if self.old.is_imported.load(Ordering::Relaxed) {
            return Ok(());
        }
        // On a task of its own: who waits for it may go away.
        let task = tokio::spawn(Arc::clone(self).import(now));
        let waited = tokio::time::timeout(PATIENCE, task).await;
        waited.context("the passwords of docker_auth are being imported")?.context("the import died")?
    }

    async fn import(self: Arc<Inner>, now: OffsetDateTime) -> anyhow::Result<()> {
        let mut failed = self.old.failed.lock().await;
        if self.old.is_imported.load(Ordering::Relaxed) {
            return Ok(());
        }
        if let Some((_, cause)) = failed.as_ref().filter(|(at, _)| at.elapsed() < FAILED_AGAIN) {
            anyhow::bail!("{cause}");
        }
        for provider in &self.providers {
            let Some(TokenDb::Level(folder)) = &provider.settings.token_db else { continue };
            if let Err(cause) = self.import_folder(provider, folder, now).await {
                let cause = format!("{cause:#}");
                if failed.as_ref().is_none_or(|(_, before)| *before != cause) {
                    warn!(
                        reason = "old_passwords_unread",
                        backend = self.section,
                        cause,
                        "the passwords of docker_auth cannot be imported, and who is not known otherwise is answered with 503 until they are"
                    );
                }
                *failed = Some((crate::clock::now(), cause.clone()));
                anyhow::bail!("{cause}");
            }
        }
        self.old.is_imported.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// By which the records know that a database was imported.
    fn import_mark(&self, provider: &Asked, folder: &Path) -> SecretHash {
        let name = provider.settings.name.as_deref().unwrap_or_default();
        let parts =
            [b"level_token_db", self.section.as_bytes(), name.as_bytes(), folder.as_os_str().as_encoded_bytes()];
        SecretHash(sha256(parts))
    }

    /// Imports a folder of LevelDB, unless that was done before: what was revoked since must not live again. Who has the account by now
    /// keeps it, so that two replicas may do so at once, and one that was interrupted once more.
    async fn import_folder(&self, provider: &Asked, folder: &Path, now: OffsetDateTime) -> anyhow::Result<()> {
        let mark = self.import_mark(provider, folder);
        if self.records.was_seen(&mark).await? {
            return Ok(());
        }
        let read = read_folder(folder).await?;
        // Nothing is remembered of what is not there: another replica may have it, or it may come yet.
        let Some(records) = read else { return Ok(()) };
        let mut imported = Imported::default();
        for (key, text) in &records {
            match OldRecord::parse(key, text) {
                Ok(record) => match self.keep_old(provider, record, now).await? {
                    Ok(Kept::Taken) => imported.taken += 1,
                    Ok(Kept::Known) => imported.known += 1,
                    Ok(Kept::Ended) => imported.ended += 1,
                    Err(refused) => self.unusable(&mut imported, key, &refused.to_string()),
                },
                Err(unusable) => self.unusable(&mut imported, key, &unusable.to_string()),
            }
        }
        self.records.see(&mark, FOR_GOOD, now).await?;
        let Imported { taken, known, ended, unusable } = imported;
        info!(
            reason = "old_passwords_imported",
            backend = self.section,
            taken,
            known,
            ended,
            unusable,
            "the passwords of docker_auth were imported; they work on until their people sign in"
        );
        Ok(())
    }

    fn unusable(&self, imported: &mut Imported, key: &[u8], cause: &str) {
        imported.unusable += 1;
        if imported.unusable <= MOST_LINES {
            warn_of_unusable(self.section, key, cause);
        }
    }

    /// The id of somebody whom docker_auth knew, by name alone.
    fn old_id(&self, provider: &Asked, account: &Account) -> PersonId {
        let name = provider.settings.name.as_deref().unwrap_or_default();
        PersonId::of(&["docker_auth", self.section, name, provider.settings.issuer(), account])
    }

    /// Keeps what docker_auth knew of somebody, unless somebody has the account by now.
    async fn keep_old(
        &self,
        provider: &Asked,
        record: OldRecord,
        now: OffsetDateTime,
    ) -> anyhow::Result<Result<Kept, Refused>> {
        let account = match provider.account(&named(&record)) {
            Ok(account) => account,
            Err(refused) => return Ok(Err(refused)),
        };
        let epoch = self.records.epoch(&account).await?;
        let id = self.old_id(provider, &account);
        let Some(document) = self.document_of(provider, (&id, record), epoch, now)? else { return Ok(Ok(Kept::Ended)) };
        let person = Person { id, account, text: document.to_text()?, version: Version(1) };
        Ok(Ok(match self.records.make_person(&person).await? {
            Changed::Done => Kept::Taken,
            Changed::Conflict | Changed::Missing => Kept::Known,
        }))
    }

    /// What is kept of a record; `None` where docker_auth would not let them in either.
    fn document_of(
        &self,
        provider: &Asked,
        (id, record): (&PersonId, OldRecord),
        epoch: Epoch,
        now: OffsetDateTime,
    ) -> anyhow::Result<Option<Document>> {
        let settings = &provider.settings;
        let credential = match &settings.asked {
            settings::Asked::OpenId(_) => record.refresh_token,
            settings::Asked::GitHub(_) | settings::Asked::GitLab(_) => record.access_token,
        };
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let life = seconds(settings.revalidate_after);
        // Whoever cannot be asked about is let in for as long as docker_auth would, but not for years.
        let longest = if credential.is_some() { life } else { seconds(LONGEST) };
        let (now, valid_until) = (now.unix_timestamp(), record.valid_until.unix_timestamp());
        if credential.is_none() && valid_until <= now {
            return Ok(None);
        }
        let sealed = credential.map(|secret| self.key.seal(&id.0, &secret)).transpose()?;
        Ok(Some(Document {
            section: self.section.to_owned(),
            provider: settings.name.clone(),
            issuer: settings.issuer().to_owned(),
            subject: None,
            labels: record.labels,
            state: State::Known,
            // As if the provider had said it then: it is asked again when docker_auth would.
            checked: valid_until.min(now.saturating_add(longest)).saturating_sub(life),
            credential: sealed,
            asked_until: None,
            old_password: Some(OldPassword { hash: record.password.text().to_owned(), epoch: epoch.0 }),
        }))
    }

    /// Whether a person is what docker_auth knew of whoever signs in now, and gives way to them.
    pub(super) fn is_as_docker_auth_knew(
        &self,
        person: &Person,
        provider: &Asked,
        found: &Found,
    ) -> anyhow::Result<bool> {
        if person.id != self.old_id(provider, &person.account) {
            return Ok(false);
        }
        let document = Document::parse(&person.text)?;
        Ok(match document.state {
            State::Gone => true,
            State::Known => document.subject.is_none_or(|subject| subject == found.subject),
        })
    }

    /// In a few words, what there is of docker_auth's.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) async fn reach_token_db(&self, provider: &Asked) -> anyhow::Result<Option<String>> {
        if let Some(redis) = &provider.redis {
            return redis.reach().await.map(Some);
        }
        match &provider.settings.token_db {
            Some(TokenDb::Redis(_)) | None => Ok(None),
            Some(TokenDb::Level(folder)) => {
                let shown = folder.display().to_string();
                let is_seen = !self.old.is_unmade && self.records.was_seen(&self.import_mark(provider, folder)).await?;
                if is_seen {
                    return Ok(Some(format!("the passwords in {shown} are imported; level_token_db can go")));
                }
                Ok(Some(match read_folder(folder).await? {
                    Some(records) => {
                        format!("{shown} holds {}, which the server imports", counted(records.len(), "password"))
                    }
                    None => format!("there is no database in {shown}"),
                }))
            }
        }
    }
}

/// The records of a folder, read where nobody waits for other requests.
async fn read_folder(folder: &Path) -> anyhow::Result<Option<Vec<Entry>>> {
    let folder = folder.to_owned();
    // A damaged database may break the library down.
    tokio::task::spawn_blocking(move || read_level(&folder)).await.context("the database of docker_auth is damaged")?
}

/// The record of a name among those of a folder.
fn of_name(records: Vec<Entry>, name: &str) -> Option<(String, Vec<u8>)> {
    let key = key_of(name);
    let (_, text) = records.into_iter().find(|(own, _)| *own == key.as_bytes())?;
    Some((key, text))
}

/// Somebody by what docker_auth called them.
fn named(record: &OldRecord) -> Found {
    let (subject, name) = (String::new(), record.name.clone());
    Found { subject, name, labels: BTreeMap::new(), credential: None }
}

fn warn_of_unusable(section: &'static str, key: &[u8], cause: &str) {
    let account = printable(&String::from_utf8_lossy(key));
    warn!(
        reason = "old_password_unusable",
        backend = section,
        account,
        cause,
        "a password of docker_auth cannot be used; its person has to sign in"
    );
}

/// What came of asking Redis.
enum Adopted {
    /// The password is right, and they are in the records.
    Person(Person),
    /// Redis knows the account, and this is no password of it.
    Rejected,
    /// Redis does not know it.
    Nobody,
}

/// What came of a record.
enum Kept {
    /// It is kept.
    Taken,
    /// Somebody has its account.
    Known,
    /// Its time is over, and nobody can be asked about it.
    Ended,
}
