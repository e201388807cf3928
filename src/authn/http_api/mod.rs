//! Accounts that an HTTP API of the operator's knows (`http_auth:`): one request decides, and another may look them up.

mod reply;
mod settings;

use std::sync::Arc;

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use axum::http::StatusCode;
use policy::pattern::LabelValues;
use tracing::warn;

pub use settings::{AccountCheck, HttpAuthSettings, read};

use super::attempts::{Attempts, Manner, Spelled};
use super::password::Passwords;
use super::{Account, Alike, Authenticator, Credentials, Identity, LookUp, Outcome, Secret, Time};
use crate::backend::{Configured, Facts, Kind, Names, Opened, Purpose, configured};
use crate::breaker::Passage;
use crate::client_network::ClientNetwork;
use crate::http_api::memory::Memory;
use crate::http_api::request::{Request, RequestTemplate};
use crate::http_api::template::Who;
use crate::http_api::{Api, Late, Wanted};
use crate::reach::{Reach, Reachable};
use crate::shown::printable;
use reply::ReplyPath;
use settings::Meaning;

/// The row of the table.
pub const KIND: Kind = Kind { key: "http_auth", purpose: Purpose::Identity, read: |field| configured(read(field)) };
/// The longest password that is sent, in bytes: tokens are long, and many a server reads no header line above 8 KiB.
const MAX_PASSWORD: usize = 4096;
/// The longest reply that something is taken out of, in bytes.
const MAX_REPLY: usize = 256 * 1024;
/// A longer reply is read on a thread of its own, in bytes: below that it is a matter of microseconds.
const QUICKLY_READ: usize = 16 * 1024;

/// The accounts of an API as an identity backend.
#[derive(Clone)]
pub struct HttpUsers(Arc<Users>);

/// What the API says to a question about an account.
enum Said {
    /// Yes, and this is who it is.
    Accepted(Identity),
    /// Yes, to a question about another account.
    Another,
    /// Yes, and its reply has nobody at this path.
    Nobody(ReplyPath),
    /// No, with this status.
    Rejected(StatusCode),
    /// It does not know the account.
    NotMine,
}

struct Users {
    settings: HttpAuthSettings,
    api: Api,
    memory: Option<Memory<Identity>>,
    /// Who says which networks are known.
    attempts: Arc<Attempts>,
}

impl Configured for HttpAuthSettings {
    /// Begins to connect in the background.
    fn open(self: Arc<Self>, passwords: &Arc<Passwords>) -> anyhow::Result<Opened> {
        let users = HttpUsers::new(Self::clone(&self), Arc::clone(passwords.attempts()))?;
        Ok(Opened::Identities(Arc::new(users), Manner::Tokens))
    }

    fn facts(&self) -> Facts<'_> {
        match (&self.look_up, &self.account) {
            (Some(_), _) => Facts::AccountsElsewhere(KIND.key.to_owned()),
            (None, AccountCheck::Asked | AccountCheck::InReply(_)) => Facts::LoginsElsewhere(Names::Checked),
            (None, AccountCheck::Unchecked) => Facts::LoginsElsewhere(Names::Unchecked),
        }
    }
}

impl Reachable for HttpUsers {
    /// Asks with an empty account and an empty password.
    fn reach(&self) -> Reach<'_> {
        Reach::server(self.0.api.reach(self.accepting()))
    }

    fn passage(&self) -> Option<Passage> {
        Some(self.0.api.breaker().passage())
    }
}

impl HttpUsers {
    /// A backend that asks this API, and begins to connect in the background. `attempts` knows whose turns come before a
    /// stranger's.
    ///
    /// # Errors
    /// The system gave no random bytes, or this is no runtime's thread.
    pub fn new(settings: HttpAuthSettings, attempts: Arc<Attempts>) -> anyhow::Result<HttpUsers> {
        // Nobody's: no account is ever tried with it, so none can be locked by it.
        let trial = settings.request.filled(Who { account: "", password: "" });
        let trial = trial.context("the request cannot be made without an account")?;
        let api = Api::new(KIND.key, settings.api.clone(), trial)?;
        let memory = settings.api.cache_ttl.map(Memory::new).transpose()?;
        let users = HttpUsers(Arc::new(Users { settings, api, memory, attempts }));
        users.0.api.greet(users.accepting())?;
        Ok(users)
    }

    fn accepting(&self) -> impl Fn(StatusCode) -> bool + Send + use<> {
        let statuses = self.0.settings.statuses.clone();
        move |status| statuses.meaning(status.as_u16()) == Some(Meaning::Accept)
    }
}

impl Users {
    /// The question about these credentials. `None` where they would not arrive as they are, or could be read as
    /// somebody else's.
    fn question(&self, account: &Account, password: &str) -> Option<Request> {
        let is_whole = !password.is_empty() && password.len() <= MAX_PASSWORD && !password.contains(char::is_control);
        if is_whole { filled(&self.settings.request, account, password) } else { None }
    }

    /// Counts a password as wrong that is refused after its client was told that nobody answers, or about which nothing is
    /// said at all. Otherwise whoever guesses at an API that lets refusals wait would do so without being counted. It is
    /// under way until then.
    fn counts_late(
        self: &Arc<Self>,
        account: &Account,
        password: &Secret,
        from: ClientNetwork,
    ) -> impl FnOnce(Late) + Send + use<> {
        let users = Arc::clone(self);
        let attempt = self.attempts.also(account, password, from);
        move |late| match late {
            Late::Answer(status) => match users.settings.statuses.meaning(status.as_u16()) {
                Some(Meaning::Reject | Meaning::NotMine) => attempt.was_wrong(),
                Some(Meaning::Accept) | None => drop(attempt),
            },
            Late::Silence => attempt.was_unanswered(),
        }
    }

    /// What is wanted of a reply with this status.
    fn wanted(&self, status: StatusCode) -> Wanted {
        match self.settings.statuses.meaning(status.as_u16()) {
            Some(Meaning::Accept) if self.settings.takes_from_reply() => Wanted::Body(MAX_REPLY),
            Some(Meaning::Accept | Meaning::Reject | Meaning::NotMine) | None => Wanted::Status,
        }
    }

    /// Asks about an account, or recalls the yes that `key` stands for.
    ///
    /// # Errors
    /// The API does not say.
    async fn ask<const N: usize>(
        self: &Arc<Self>,
        question: &Request,
        account: &Account,
        key: [&str; N],
        from: ClientNetwork,
        late: impl FnOnce(Late) + Send + 'static,
    ) -> anyhow::Result<Said> {
        let memory = self.memory.as_ref().map(|memory| (memory, memory.name(key)));
        if let Some(identity) = memory.as_ref().and_then(|(memory, name)| memory.recall(name)) {
            return Ok(Said::Accepted(identity));
        }
        let began = crate::clock::now();
        let client = self.attempts.client(from);
        let reply = self.api.ask(question, client, began, |status| self.wanted(status), late).await?;
        let said = match self.settings.statuses.meaning(reply.status.as_u16()) {
            Some(Meaning::Accept) => self.accepted(account, reply.body).await.with_context(|| self.api.origin())?,
            Some(Meaning::Reject) => Said::Rejected(reply.status),
            Some(Meaning::NotMine) => Said::NotMine,
            None => {
                let hint = if reply.status.is_redirection() { "; redirects are not followed" } else { "" };
                bail!(
                    "{} answered {}, which is not listed ({}){hint}",
                    self.api.origin(),
                    reply.status.as_u16(),
                    self.settings.statuses
                )
            }
        };
        if let (Said::Accepted(identity), Some((memory, name))) = (&said, memory) {
            memory.remember(name, began, identity.clone());
        }
        Ok(said)
    }

    /// Whom an accepting reply is about.
    async fn accepted(self: &Arc<Self>, account: &Account, body: Vec<u8>) -> anyhow::Result<Said> {
        if !self.settings.takes_from_reply() {
            return Ok(Said::Accepted(identity(account.clone(), LabelValues::new())));
        }
        if body.len() <= QUICKLY_READ {
            return self.read(account, &body);
        }
        let (users, account) = (Arc::clone(self), account.clone());
        tokio::task::spawn_blocking(move || users.read(&account, &body)).await.context("the reading thread died")?
    }

    fn read(&self, account: &Account, body: &[u8]) -> anyhow::Result<Said> {
        let reply = reply::parse(body)?;
        let account = match &self.settings.account {
            AccountCheck::Asked | AccountCheck::Unchecked => account.clone(),
            AccountCheck::InReply(path) => match reply::account(path, &reply)? {
                Some(own) if own.to_lowercase() == account.to_lowercase() => own,
                Some(_) => return Ok(Said::Another),
                None => return Ok(Said::Nobody(path.clone())),
            },
        };
        let labels = reply::labels(&self.settings.labels, self.settings.label_values, &reply)?;
        Ok(Said::Accepted(identity(account, labels)))
    }
}

/// The question about this account; `None` where the account would not arrive as it is.
fn filled(template: &RequestTemplate, account: &Account, password: &str) -> Option<Request> {
    // Many an API drops the white space around a name, and " alice" would be Alice under another name.
    let is_askable = account.is_typed() && account.trim() == account.as_str();
    if is_askable { template.filled(Who { account, password }) } else { None }
}

fn identity(account: Account, labels: LabelValues) -> Identity {
    Identity { account: Some(account), labels: Arc::new(labels), ..Identity::default() }
}

#[async_trait]
impl Authenticator for HttpUsers {
    async fn authenticate(&self, who: &Credentials, from: ClientNetwork) -> anyhow::Result<Outcome> {
        let users = &self.0;
        let Some((account, secret)) = who.password() else { return Ok(Outcome::NotMine) };
        let password = secret.reveal();
        let Some(question) = users.question(account, password) else { return Ok(Outcome::Rejected) };
        let late = users.counts_late(account, secret, from);
        match users.ask(&question, account, [account, password], from, late).await? {
            Said::Accepted(identity) => Ok(Outcome::Accepted(identity)),
            Said::Another => {
                // Whose it is stays untold: what stands in the reply there could be the password itself.
                warn!(reason = "other_account", backend = KIND.key, user.account = %printable(account),
                    "the password is another account's");
                Ok(Outcome::Rejected)
            }
            Said::Nobody(path) => bail!("{}: its reply names no account at {path:?}", users.api.origin()),
            Said::Rejected(_) => Ok(Outcome::Rejected),
            Said::NotMine => Ok(Outcome::NotMine),
        }
    }

    /// By the request of its own. Without one, the API is only ever shown an account with its password.
    async fn look_up(&self, account: &Account, from: ClientNetwork) -> anyhow::Result<LookUp> {
        let users = &self.0;
        let Some(template) = &users.settings.look_up else { return Ok(LookUp::OnlyByLogin) };
        let Some(question) = filled(template, account, "") else { return Ok(LookUp::Unknown) };
        match users.ask(&question, account, [account.as_str()], from, |_| {}).await? {
            Said::Accepted(identity) => Ok(LookUp::Known(identity)),
            Said::Another | Said::Nobody(_) | Said::NotMine => Ok(LookUp::Unknown),
            // Where no password is sent, what is refused are our own credentials: that says nothing about the account.
            Said::Rejected(status) => bail!(
                "{} refuses to look accounts up, with {}; are the headers of look_up right? For accounts that it does not \
                 know, write the status into not_mine",
                users.api.origin(),
                status.as_u16()
            ),
        }
    }

    fn alike(&self, _name: &Spelled) -> Alike {
        Alike::NotKnown
    }

    async fn take_time(&self, _account: &Account, _password: &Secret, _from: ClientNetwork) -> anyhow::Result<Time> {
        Ok(Time::NotTaken)
    }
}
