//! A backend for tests alone. It stands in the table by one line, and `cli/explain/tests.rs` shows what it has by that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use policy::pattern::{LabelValue, LabelValues};
use settings::Field;

use super::attempts::Spelled;
use super::password::Passwords;
use super::{Account, Alike, Authenticator, Credentials, Identity, LookUp, Outcome, Secret, Time};
use crate::backend::{Configured, Facts, Kind, Opened, Purpose, configured};
use crate::breaker::Passage;
use crate::client_network::ClientNetwork;
use crate::reach::{Reach, Reachable};

/// The row of the table.
pub const KIND: Kind = Kind { key: "silly", purpose: Purpose::Identity, read: |field| configured(read(field)) };

/// How often such a backend was opened in this process.
static OPENED: AtomicUsize = AtomicUsize::new(0);

#[derive(Clone, Debug, PartialEq)]
struct Settings {
    account: String,
    down: bool,
}

fn read(field: Field<'_>) -> Option<Settings> {
    let mut section = field.section()?;
    let account = section.filled("account");
    let down = section.flag("down").is_some_and(|at| at.value);
    section.finish();
    Some(Settings { account: account?.value, down })
}

impl Configured for Settings {
    fn open(self: Arc<Self>, _passwords: &Arc<Passwords>) -> anyhow::Result<Opened> {
        Opened::identities(Silly { settings: self, number: OPENED.fetch_add(1, Ordering::Relaxed) })
    }

    fn facts(&self) -> Facts<'_> {
        Facts::AccountsElsewhere("the circus".to_owned())
    }
}

/// Knows one account, whose password is `ha`, and whose label says which of all openings this one is.
struct Silly {
    settings: Arc<Settings>,
    number: usize,
}

impl Silly {
    fn find(&self, account: &Account) -> Option<Identity> {
        let number = LabelValue::literal(&self.number.to_string());
        let labels = Arc::new(LabelValues::from([("opening".to_owned(), vec![number])]));
        let account = (account.as_str() == self.settings.account).then(|| account.clone());
        Some(Identity { account: Some(account?), labels, ..Identity::default() })
    }
}

impl Reachable for Silly {
    fn reach(&self) -> Reach<'_> {
        Reach::server(async {
            anyhow::ensure!(!self.settings.down, "nobody laughs");
            Ok("somebody laughs".to_owned())
        })
    }

    fn passage(&self) -> Option<Passage> {
        Some(if self.settings.down { Passage::Shut { since: crate::clock::now() } } else { Passage::Passing })
    }
}

#[async_trait]
impl Authenticator for Silly {
    async fn authenticate(&self, who: &Credentials, _from: ClientNetwork) -> anyhow::Result<Outcome> {
        let Some((account, password)) = who.password() else { return Ok(Outcome::NotMine) };
        Ok(match self.find(account) {
            Some(identity) if password.reveal() == "ha" => Outcome::Accepted(identity),
            Some(_) => Outcome::Rejected,
            None => Outcome::NotMine,
        })
    }

    async fn look_up(&self, account: &Account, _from: ClientNetwork) -> anyhow::Result<LookUp> {
        Ok(self.find(account).map_or(LookUp::Unknown, LookUp::Known))
    }

    fn alike(&self, _name: &Spelled) -> Alike {
        Alike::NotKnown
    }

    async fn take_time(&self, _account: &Account, _password: &Secret, _from: ClientNetwork) -> anyhow::Result<Time> {
        Ok(Time::NotTaken)
    }
}
