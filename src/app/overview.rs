//! How the server is, for whoever runs it: what fails, what is down, what ends soon, and what was decided last.

use std::sync::PoisonError;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

use super::App;
use super::acme::measured;
use crate::access::Denied;
use crate::authz::Freshness;
use crate::breaker::Passage;
use crate::decisions::{Failing, Kind, Minute, Noted};
use crate::records::{self, Kept, Owner};
use crate::secrets::robot_account;

/// How long before something ends it is told.
pub(super) const AHEAD: time::Duration = time::Duration::days(30);
/// So many of each list are told.
const MOST: usize = 50;
/// So many decisions are told.
const MOST_DECISIONS: usize = 100;
/// So many minutes are counted together.
pub const POINT: usize = 10;

/// What ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// The certificate that signs tokens, or its leaf.
    SigningCertificate,
    /// That of the listener.
    TlsCertificate,
    /// The last secret of somebody.
    Secret,
    /// An account of the configuration.
    Account,
}

impl Ends {
    /// What people read.
    pub fn as_str(self) -> &'static str {
        match self {
            Ends::SigningCertificate => "signing certificate",
            Ends::TlsCertificate => "TLS certificate",
            Ends::Secret => "secret",
            Ends::Account => "account",
        }
    }
}

/// Something that ends soon, or has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// What it is.
    pub what: Ends,
    /// Whose, or which.
    pub name: String,
    /// When.
    pub at: OffsetDateTime,
}

/// The secrets that end soon, as they were looked for last.
#[derive(Default)]
pub(super) struct EndingSecrets {
    looked: Option<Instant>,
    first: Vec<Ending>,
    more: usize,
}

impl EndingSecrets {
    /// Of all that end, the first to end.
    pub(super) fn of(mut all: Vec<Kept>, at: Instant) -> EndingSecrets {
        all.sort_by_key(|kept| kept.ends);
        let told = |kept: &Kept| {
            let owner = match &kept.owner {
                Owner::Account { account, .. } | Owner::Workload { account, .. } => account.to_string(),
                Owner::Robot { name, .. } => robot_account(name).map(|robot| robot.to_string()).unwrap_or_default(),
            };
            Some(Ending { what: Ends::Secret, name: format!("{owner}: {}", kept.name), at: kept.ends? })
        };
        let first: Vec<Ending> = all.iter().take(MOST).filter_map(told).collect();
        EndingSecrets { looked: Some(at), more: all.len().saturating_sub(first.len()), first }
    }
}

/// A source of rules that is read from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesAge {
    /// Its section.
    pub source: &'static str,
    /// When its rules were last known to be all there is; `None` while there are none.
    pub known: Option<OffsetDateTime>,
    /// The documents that keep newer ones from being used.
    pub refused: Vec<String>,
}

/// How the server is.
pub struct Overview {
    /// Which configuration is in use, counted from 1.
    pub generation: u64,
    /// Since when it has been.
    pub loaded: OffsetDateTime,
    /// The sources of rules that are read from elsewhere.
    pub rules: Vec<RulesAge>,
    /// The backends that remember an outage, and since when each is down.
    pub backends: Vec<(&'static str, Option<OffsetDateTime>)>,
    /// Who is refused, by account, network and reason.
    pub failing: Vec<Failing>,
    /// The last decisions and refusals, the newest first.
    pub decisions: Vec<(OffsetDateTime, Noted)>,
    /// How many of each kind there were in each ten minutes of the last day, the last ones at the end.
    pub counts: [(Kind, Vec<u64>); 4],
    /// What ends within 30 days.
    pub ending: Vec<Ending>,
    /// How many secrets more do.
    pub more_secrets: usize,
    /// When secrets were looked at last, which is done every six hours.
    pub secrets_looked: Option<OffsetDateTime>,
}

/// When something was, by the wall clock of this moment.
fn wall(at: Instant, now: OffsetDateTime) -> OffsetDateTime {
    ago(at.elapsed(), now)
}

fn ago(age: Duration, now: OffsetDateTime) -> OffsetDateTime {
    now.saturating_sub(time::Duration::try_from(age).unwrap_or(time::Duration::MAX))
}

/// How many there were, kind by kind, in points of ten minutes.
fn counts(minutes: &[Minute]) -> [(Kind, Vec<u64>); 4] {
    let mut places = 0..;
    Kind::ALL.map(|kind| {
        let place = places.next().unwrap_or_default();
        let of_kind = |some: &[Minute]| some.iter().filter_map(|minute| minute.get(place)).sum();
        (kind, minutes.chunks(POINT).map(of_kind).collect())
    })
}

impl App {
    /// How the server is at this moment. Nobody is asked for it.
    ///
    /// # Errors
    /// [`Denied::Unavailable`] where a section does not know the accounts that it lists.
    pub fn overview(&self, now: OffsetDateTime) -> Result<Overview, Denied> {
        let snapshot = self.snapshot();
        let access = &snapshot.access;
        let rules = access.freshness().into_iter();
        let passages = access.passages().into_iter().chain(snapshot.records.as_ref().and_then(records::InUse::passage));
        let backends = passages.map(|(name, passage)| match passage {
            Passage::Passing => (name, None),
            Passage::Shut { since } => (name, Some(wall(since, now))),
        });
        let limit = now.saturating_add(AHEAD);
        let key = snapshot.issuer.key();
        let mut ending = vec![Ending {
            what: Ends::SigningCertificate,
            name: snapshot.issuer.kid_of(key).to_owned(),
            at: key.not_after(),
        }];
        let own = match self.acme() {
            Some(acme) => (measured(acme).1, "server.letsencrypt"),
            None => (snapshot.tls.as_ref().and_then(|tls| tls.ends), "server.certificate"),
        };
        ending.extend(own.0.map(|at| Ending { what: Ends::TlsCertificate, name: own.1.to_owned(), at }));
        let (people, _) = access.people()?;
        let account = |(name, who): (String, crate::identity::Identity)| {
            Some(Ending { what: Ends::Account, name, at: who.standing.not_after? })
        };
        ending.extend(people.into_iter().filter_map(account));
        let secrets = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
        ending.extend(secrets.first.iter().cloned());
        let (more_secrets, secrets_looked) = (secrets.more, secrets.looked);
        drop(secrets);
        ending.retain(|one| one.at < limit);
        ending.sort_by(|one, other| (one.at, &one.name).cmp(&(other.at, &other.name)));
        ending.truncate(MOST.saturating_mul(2));
        let rules_age = |(source, Freshness { age, refused, .. }): (&'static str, Freshness)| RulesAge {
            source,
            known: age.map(|age| ago(age, now)),
            refused,
        };
        Ok(Overview {
            generation: snapshot.generation,
            loaded: wall(snapshot.loaded, now),
            rules: rules.map(rules_age).collect(),
            backends: backends.collect(),
            failing: self.decisions.failing(MOST),
            decisions: self.decisions.recent(MOST_DECISIONS),
            counts: counts(&self.decisions.minutes()),
            ending,
            more_secrets,
            secrets_looked: secrets_looked.map(|at| wall(at, now)),
        })
    }

    /// What was decided under an id, in that order, as far as this process remembers it.
    pub fn decided(&self, id: &str) -> Vec<(OffsetDateTime, Noted)> {
        self.decisions.find(id)
    }
}
