//! Users in the records (`records_auth:`), looked up one by one: what a command changes there holds at the next login.

use std::str::FromStr as _;
use std::sync::Arc;

use ::settings::Field;
use anyhow::Context as _;
use async_trait::async_trait;
use mongodb::bson::Document;

use super::attempts::Spelled;
use super::costs::Costs;
use super::mongo::{User, read_user};
use super::password::{Check, PasswordHash, Passwords, Recall};
use super::{Account, Alike, Authenticator, Credentials, LabelSyntax, LookUp, Outcome, Secret, Time};
use crate::backend::{Configured, Facts, Kind, Opened, Purpose, configured};
use crate::breaker::Passage;
use crate::client_network::ClientNetwork;
use crate::mongo::document::{Single, of_json};
use crate::reach::{Reach, Reachable};
use crate::records::{self, Records, Settings};

/// The row of the table.
pub const KIND: Kind = Kind { key: "records_auth", purpose: Purpose::Identity, read: |field| configured(read(field)) };

/// How many hashes are looked at when the server starts, to learn what a wrong password costs.
const SAMPLE: u32 = 100;

/// The `records_auth:` section.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordsAuthSettings {
    label_values: LabelSyntax,
    /// Where the records are, once the whole file is read.
    store: Option<Settings>,
}

impl RecordsAuthSettings {
    /// What the values of labels are there.
    pub fn label_values(&self) -> LabelSyntax {
        self.label_values
    }
}

/// Reads the `records_auth:` section.
pub fn read(field: Field<'_>) -> Option<RecordsAuthSettings> {
    let mut section = field.section()?;
    let label_values = LabelSyntax::read(&mut section, LabelSyntax::Glob);
    section.finish();
    Some(RecordsAuthSettings { label_values, store: None })
}

impl Configured for RecordsAuthSettings {
    /// Begins to look at what is there in the background.
    fn open(self: Arc<Self>, passwords: &Arc<Passwords>) -> anyhow::Result<Opened> {
        let store = self.store.as_ref().context("no records are configured")?;
        let users = Arc::new(Users {
            records: records::open_for(store, KIND.key),
            label_values: self.label_values,
            passwords: Arc::clone(passwords),
            costs: Costs::new()?,
        });
        // A store that is not there yet has no users to learn from, and who only looks must not make it.
        if !matches!(store.unmade(), Ok(Some(_))) {
            let greeting = Arc::clone(&users);
            drop(crate::background::spawn(async move { greeting.greet().await })?);
        }
        Opened::identities(RecordsUsers(users))
    }

    fn facts(&self) -> Facts<'_> {
        Facts::AccountsElsewhere(self.store.as_ref().map_or_else(|| records::NAME.to_owned(), Settings::place))
    }

    fn kept_in(&self, store: &Settings) -> Option<Arc<dyn Configured>> {
        Some(Arc::new(RecordsAuthSettings { store: Some(store.clone()), ..self.clone() }))
    }
}

/// The users of the records as an identity backend.
struct RecordsUsers(Arc<Users>);

struct Users {
    records: Arc<dyn Records>,
    label_values: LabelSyntax,
    passwords: Arc<Passwords>,
    costs: Costs,
}

impl Reachable for RecordsUsers {
    fn reach(&self) -> Reach<'_> {
        self.0.records.reach()
    }

    fn passage(&self) -> Option<Passage> {
        self.0.records.passage()
    }
}

impl Users {
    /// Learns what hashes cost here.
    async fn greet(&self) {
        // What fails is in the log, and is met again by the first login.
        let Ok(users) = self.records.users(None, SAMPLE).await else { return };
        let documents = users.iter().filter_map(|(_, user)| of_json(&user.text));
        let hashes = documents.filter_map(|document| PasswordHash::from_str(document.get_str("password").ok()?).ok());
        hashes.for_each(|hash| self.costs.saw(hash.cost()));
    }

    async fn find(&self, account: &Account) -> anyhow::Result<Option<User>> {
        let Some(found) = self.records.user(account).await? else { return Ok(None) };
        let document: Document = of_json(&found.text).context("a user in the records is no JSON")?;
        let user = read_user(&document, self.label_values, Single::IsAList);
        user.map(Some)
            .map_err(|problems| anyhow::anyhow!("a user in the records cannot be used: {}", problems.join("; ")))
    }
}

#[async_trait]
impl Authenticator for RecordsUsers {
    async fn authenticate(&self, who: &Credentials, from: ClientNetwork) -> anyhow::Result<Outcome> {
        let users = &self.0;
        let Some((account, password)) = who.password() else { return Ok(Outcome::NotMine) };
        let Some(user) = users.find(account).await? else { return Ok(Outcome::NotMine) };
        users.costs.saw(user.password.cost());
        let recall = Recall::for_standing(&user.standing);
        Ok(match users.passwords.check(account, password, &user.password, recall, from).await? {
            Check::Right => Outcome::Accepted(user.identity(account)),
            Check::Wrong => Outcome::Rejected,
        })
    }

    async fn look_up(&self, account: &Account, _from: ClientNetwork) -> anyhow::Result<LookUp> {
        Ok(self.0.find(account).await?.map_or(LookUp::Unknown, |user| LookUp::Known(user.identity(account))))
    }

    async fn take_time(&self, account: &Account, password: &Secret, from: ClientNetwork) -> anyhow::Result<Time> {
        self.0.passwords.check_nobody(account, password, &self.0.costs.usual(), from).await?;
        Ok(Time::Taken)
    }

    fn alike(&self, _name: &Spelled) -> Alike {
        Alike::NotKnown
    }
}
