//! When the directory's users last logged in: gathered in memory, and written now and then, all at once. Nothing on a token's way writes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;

use super::Access;
use super::uses::split_behind;
use crate::authn::{Account, Identity};
use crate::records::{Failure, LastLogins, Logins};

/// How old what is written may be before another login is worth writing: so an account is written at most so often.
const WORTH_WRITING: Duration = Duration::from_secs(600);
/// How many accounts have a login here that is not written yet, and of how many it is known that one was written (about 150 bytes
/// each). Of further ones none is noted, and another one is written.
const MOST: usize = 32_768;
/// How many are written in one go, so that no other change of the records waits long for it.
const AT_ONCE: usize = 500;

/// The logins that are not written yet.
#[derive(Debug, Default)]
pub struct NotedLogins(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    pending: Logins,
    written: Logins,
}

impl NotedLogins {
    /// An account logged in.
    pub fn note(&self, account: &Account, now: OffsetDateTime) {
        let mut noted = self.noted();
        if noted.written.get(account).is_some_and(|written| now - *written < WORTH_WRITING) {
            return;
        }
        if noted.pending.len() < MOST || noted.pending.contains_key(account) {
            noted.pending.insert(account.clone(), now);
        }
    }

    /// The logins of these accounts that are not written yet.
    pub fn of(&self, accounts: &[&str]) -> Logins {
        let noted = self.noted();
        let pending = accounts.iter().filter_map(|account| noted.pending.get_key_value(*account));
        pending.map(|(account, at)| (account.clone(), *at)).collect()
    }

    /// Forgets an account that is a user no more: whoever is called so later never logged in.
    pub fn forget(&self, account: &str) {
        let mut noted = self.noted();
        noted.pending.remove(account);
        noted.written.remove(account);
    }

    /// Writes all of them down. What cannot be written is kept for the next time.
    ///
    /// # Errors
    /// Why not everything was written.
    pub async fn write(&self, store: &(impl LastLogins + ?Sized)) -> Result<(), Failure> {
        let mut left = std::mem::take(&mut self.noted().pending);
        while !left.is_empty() {
            let rest = split_behind(&mut left, AT_ONCE);
            let written = store.note_logins(&left).await;
            let mut noted = self.noted();
            if let Err(failure) = written {
                for (account, at) in left.into_iter().chain(rest) {
                    if noted.pending.len() < MOST {
                        noted.pending.entry(account).or_insert(at);
                    }
                }
                return Err(failure);
            }
            if noted.written.len().saturating_add(left.len()) > MOST {
                noted.written.clear();
            }
            noted.written.append(&mut left);
            left = rest;
        }
        Ok(())
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Access {
    /// The same, where it is noted when the directory's users log in.
    pub fn with_noted_logins(self, noted: Arc<NotedLogins>) -> Access {
        Access { noted_logins: Some(noted), ..self }
    }

    /// The logins that are not written down yet, where they are noted; the next configuration goes on with them.
    pub fn noted_logins(&self) -> Option<&Arc<NotedLogins>> {
        self.noted_logins.as_ref()
    }

    /// Notes that somebody logged in, where the directory has such a user and the account may be used.
    pub(super) fn note_login(&self, who: &Identity, now: OffsetDateTime) {
        if let (Some(noted), Some(account)) = (&self.noted_logins, &who.account)
            && who.standing.check(now).is_ok()
        {
            self.note_login_of(noted, account, now);
        }
    }

    /// The same for somebody who signed in in a browser.
    pub fn signed_in(&self, account: &Account, now: OffsetDateTime) {
        if let Some(noted) = &self.noted_logins {
            self.note_login_of(noted, account, now);
        }
    }

    fn note_login_of(&self, noted: &NotedLogins, account: &Account, now: OffsetDateTime) {
        let view = self.directory.as_ref().and_then(|directory| directory.view().ok());
        if view.is_some_and(|view| view.user(account).is_some()) {
            noted.note(account, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::records::{Settings, open};

    /// What cannot be written is not lost, what was just written is not written again, and what was not is.
    #[tokio::test]
    async fn a_login_is_written_now_and_then_and_not_lost_while_it_cannot_be() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let store = open(&Settings::sqlite(folder.path().join("dockwarden.db")));
        let noted = NotedLogins::default();
        let (ann, bob) = (Account::parse("ann")?, Account::parse("bob")?);
        let at = |seconds: i64| OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(1_900_000_000 + seconds);
        noted.note(&ann, at(0));
        assert_eq!(noted.of(&["ann", "bob"]), Logins::from([(ann.clone(), at(0))]));
        let away = open(&Settings::sqlite(folder.path().join("nowhere/dockwarden.db")));
        assert!(noted.write(&*away).await.is_err());
        noted.write(&*store).await?;
        assert_eq!(noted.of(&["ann"]), Logins::new());
        // Not worth writing, and worth it.
        noted.note(&ann, at(599));
        noted.write(&*store).await?;
        assert_eq!(store.last_logins(&["ann", "bob"]).await?, Logins::from([(ann.clone(), at(0))]));
        noted.note(&ann, at(600));
        noted.note(&bob, at(700));
        noted.write(&*store).await?;
        let all = Logins::from([(ann.clone(), at(600)), (bob, at(700))]);
        assert_eq!(store.last_logins(&["ann", "bob", "cat"]).await?, all);
        Ok(())
    }
}
