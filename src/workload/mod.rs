//! Workloads without passwords: a JWT of an OIDC provider that is trusted for some accounts, in place of a password.
//!
//! Build jobs, pods and machines have such a JWT from who runs them. Told by its form and by an `iss` that is configured, it is
//! asked of nobody else ([`Workloads::recognise`]); who it is follows from the entry of `workload:` that it is one of
//! (`Workloads::identify`). What the user's name is says nothing.

mod claims;
mod entry;
mod failures;
mod fetch;
mod jwt;
mod key_set;
mod keys;
mod provider;
mod review;
mod settings;
mod sources;

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use crate::breaker::Passage;
use crate::client_network::ClientNetwork;
use crate::digest;
use crate::identity::{IdentifiedBy, Identity, Method, Standing};
use crate::passwords::attempts::TooMany;
use crate::reach::Reached;
use crate::secret::Secret;
use crate::shown::printable;
use crate::turns::Client;
pub(crate) use claims::{ClaimPath, Claims};
use entry::{Entry, Uses};
use failures::Failures;
pub(crate) use fetch::Published;
use jwt::Header;
pub(crate) use jwt::Jwt;
pub(crate) use key_set::Meant;
use keys::Keys;
pub(crate) use keys::{Asking as AskingForKeys, Keys as IssuerKeys, KeysFrom};
use review::Review;
pub use settings::{Settings, read};
pub(crate) use sources::{PlainHttp, read_plain_http};

/// The section, and its name in the log and in the metrics.
pub const NAME: &str = "workload";

/// How much longer than it lives a token is remembered that may be used once: a replica whose clock is ahead would otherwise
/// forget what another still takes.
const CLOCKS_APART: time::Duration = time::Duration::minutes(5);

/// The longest issuer that is told, in characters.
const LONGEST_TOLD: usize = 128;

/// What a password says of its issuer that has the form of a JWT; for the log, of one that nobody has accepted. Nothing of it is
/// verified, and whoever sent it chose the text: it is cut short, and cannot write over a terminal.
pub(crate) fn issuer_of(password: &Secret) -> Option<String> {
    let jwt = Jwt::parse(password.reveal())?;
    let issuer = jwt.claims.own("iss")?.as_str()?;
    Some(printable(&issuer.chars().take(LONGEST_TOLD).collect::<String>()))
}

/// The entries of `workload:`, ready to be asked.
pub struct Workloads {
    settings: Settings,
    opened: Vec<Opened>,
    failures: Failures,
}

/// What an entry is asked with.
struct Opened {
    keys: Arc<Keys>,
    review: Option<Review>,
}

/// What looks like a token of an issuer that is configured. Nothing of it is verified.
#[derive(Debug)]
pub struct Presented<'password>(Jwt<'password>);

/// Whom a token is of that was verified.
#[derive(Debug)]
pub struct Verified {
    /// The account and its labels; [`IdentifiedBy::credential`] is the entry's name.
    pub identity: Identity,
    /// Where the token may be used once: what to remember of it. It must be let in only if nobody has remembered it before.
    pub once: Option<OneUse>,
}

/// What is remembered of a token that may be used once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneUse {
    /// The entry.
    pub entry: String,
    /// A digest of what is signed of the token, which nobody can make a token from. The signature is not in it: of one by ECDSA,
    /// whoever saw it can make another that is as right.
    pub token: [u8; 32],
    /// Until when it has to be remembered: afterwards the token is over, by every replica's clock.
    pub until: OffsetDateTime,
}

/// Why a token is not accepted, for the log: the client is told that its credentials are wrong. No value of the token is repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not written as a JWT has to be, or says that something must be understood which we do not know.
    #[error("the token's header cannot be read, or names an extension that is not known")]
    Header,
    /// It is signed by nobody, or by a key that we would have to have, too.
    #[error("the token is not signed by a key that only its issuer has")]
    Algorithm,
    /// The entry has no such algorithm.
    #[error("{entry} takes no token that is signed by this algorithm")]
    OtherAlgorithm {
        /// The entry.
        entry: String,
    },
    /// It does not say when it ends.
    #[error("the token does not say when it ends (exp)")]
    NoEnd,
    /// One of its times is none.
    #[error("a time of the token cannot be read")]
    Time,
    /// Its time is over.
    #[error("the token has expired")]
    Over,
    /// Its time has not come.
    #[error("the token is not valid yet; is the clock right?")]
    NotYet,
    /// It is for somebody else.
    #[error("the token is for another audience than {entry} takes")]
    Audience {
        /// The entry.
        entry: String,
    },
    /// It is for us and for somebody else.
    #[error("the token is for others as well, who could use it here; {entry} takes those for one audience")]
    OtherAudiences {
        /// The entry.
        entry: String,
    },
    /// A claim is missing or is not what is required, or its type is another.
    #[error("the token's claim {claim} is not what {entry} requires")]
    Claim {
        /// The entry.
        entry: String,
        /// The claim.
        claim: String,
    },
    /// The issuer has no such key.
    #[error("the token is signed with a key that the issuer of {entry} does not have")]
    UnknownKey {
        /// The entry.
        entry: String,
    },
    /// It was not signed with the key that it names.
    #[error("the token's signature is wrong by the keys of {entry}")]
    Signature {
        /// The entry.
        entry: String,
    },
    /// It was presented as a workload's token, and is not one of an issuer that is configured.
    #[error("this is no JWT of an issuer that is configured")]
    Issuer,
    /// It may be used once, and was.
    #[error("the token was used before, and {entry} takes each once")]
    Used {
        /// The entry.
        entry: String,
    },
    /// The cluster says that it is not good any more.
    #[error("the cluster of {entry} does not take the token any more")]
    Reviewed {
        /// The entry.
        entry: String,
    },
    /// No account can be called so.
    #[error("the claim that {entry} names accounts by is missing, or no name")]
    NoName {
        /// The entry.
        entry: String,
    },
}

/// What one entry says of a token.
enum Said {
    /// It is none of this entry's; another may know it.
    NotMine(Refused),
    /// It is this entry's.
    Mine(Result<Verified, Refused>),
}

impl Workloads {
    /// Makes the entries ready. Where the settings are those of before, all stays; keys stay as long as they are from the same
    /// place.
    ///
    /// # Errors
    /// Authorities cannot be used, or there is no runtime to fetch keys in the background.
    pub fn open(settings: Settings, before: Option<&Arc<Workloads>>) -> anyhow::Result<Arc<Workloads>> {
        if let Some(same) = before.filter(|before| before.settings == settings) {
            return Ok(Arc::clone(same));
        }
        let mut opened: Vec<Opened> = Vec::with_capacity(settings.entries.len());
        for (index, entry) in settings.entries.iter().enumerate() {
            let is_same = |other: &&(&Entry, &Opened)| other.0.keys == entry.keys && other.0.issuer == entry.issuer;
            let of_before = before.into_iter().flat_map(|before| before.entries());
            let here = settings.entries.iter().take(index).zip(&opened);
            let keys = match here.chain(of_before).find(|other| is_same(&other)) {
                Some((_, other)) => Arc::clone(&other.keys),
                None => Arc::new(Keys::open(&entry.keys, AskingForKeys::default(), (NAME, &entry.issuer.to_text()))?),
            };
            let review = entry.review.as_ref().map(Review::open).transpose()?;
            opened.push(Opened { keys, review });
        }
        Ok(Arc::new(Workloads { settings, opened, failures: Failures::default() }))
    }

    fn entries(&self) -> impl Iterator<Item = (&Entry, &Opened)> {
        self.settings.entries.iter().zip(&self.opened)
    }

    /// The token that a password is, if it has the form of one and names an issuer that is configured, byte for byte.
    /// Everything else is a password.
    pub fn recognise<'password>(&self, password: &'password Secret) -> Option<Presented<'password>> {
        let jwt = Jwt::parse(password.reveal())?;
        self.settings.entries.iter().any(|entry| entry.issuer.made(&jwt.claims)).then_some(Presented(jwt))
    }

    /// Whether an account of this name can be a workload's, and nobody else's.
    pub fn owns(&self, account: &str) -> bool {
        self.settings.own(account)
    }

    /// Whose token it is at this moment.
    ///
    /// # Errors
    /// Outside: it could not be found out. Inside: why it is not accepted, and [`TooMany`] where it was not looked at.
    pub(crate) async fn identify(
        &self,
        presented: &Presented<'_>,
        client: Client,
        now: OffsetDateTime,
    ) -> anyhow::Result<Result<Verified, Refused>> {
        let Presented(jwt) = presented;
        let said = self.find(jwt, client, now).await;
        if let Ok(Err(_)) = said {
            self.failures.count(client.network);
        }
        said
    }

    /// Counts a token that was refused for what the entries do not know.
    pub(crate) fn refused(&self, network: ClientNetwork) {
        self.failures.count(network);
    }

    /// Whether a token from this network is looked at.
    ///
    /// # Errors
    /// Too many were refused.
    pub fn admit(&self, network: ClientNetwork) -> Result<(), TooMany> {
        self.failures.admit(network)
    }

    async fn find(
        &self,
        jwt: &Jwt<'_>,
        client: Client,
        now: OffsetDateTime,
    ) -> anyhow::Result<Result<Verified, Refused>> {
        let header = match jwt.check_time(now).and_then(|()| jwt.header()) {
            Ok(header) => header,
            Err(refused) => return Ok(Err(refused)),
        };
        let (mut refused, mut unknown) = (None, None);
        for (entry, opened) in self.entries().filter(|(entry, _)| entry.issuer.made(&jwt.claims)) {
            match opened.ask((entry, now), jwt, &header, client).await {
                Ok(Said::Mine(said)) => return Ok(said),
                // The refusal of the entry that came nearest is the one to be told.
                Ok(Said::NotMine(why @ (Refused::UnknownKey { .. } | Refused::Signature { .. }))) => {
                    refused = Some(why)
                }
                Ok(Said::NotMine(why)) => drop(refused.get_or_insert(why)),
                Err(cause) => drop(unknown.get_or_insert(cause)),
            }
        }
        match (unknown, refused) {
            (Some(cause), _) => Err(cause),
            (None, Some(refused)) => Ok(Err(refused)),
            // It was recognised by an entry.
            (None, None) => Ok(Err(Refused::Header)),
        }
    }

    /// How long ago the keys of each entry were fetched, by its name, of those whose keys are; `None` before that.
    pub fn key_ages(&self) -> Vec<(String, Option<Duration>)> {
        let age = |(entry, opened): (&Entry, &Opened)| match &*opened.keys {
            Keys::Fixed(_) => None,
            Keys::Fetched(fetched) => Some((entry.name.clone(), fetched.age())),
        };
        self.entries().filter_map(age).collect()
    }

    /// Whether API servers that review tokens are asked; shut if one of them is not.
    pub fn passage(&self) -> Option<Passage> {
        let all = self.opened.iter().filter_map(|opened| Some(opened.review.as_ref()?.passage()));
        all.reduce(|one, other| match (one, other) {
            (Passage::Passing, Passage::Passing) => Passage::Passing,
            (Passage::Shut { since: one }, Passage::Shut { since: other }) => Passage::Shut { since: one.min(other) },
            (shut @ Passage::Shut { .. }, Passage::Passing) | (Passage::Passing, shut @ Passage::Shut { .. }) => shut,
        })
    }

    /// Fetches the keys of each entry, and tries its API server.
    pub async fn reach(&self) -> Vec<Reached> {
        let mut reached = Vec::new();
        for (entry, opened) in self.entries() {
            let about = |found: anyhow::Result<String>| Reached {
                name: NAME,
                found: match found {
                    Ok(found) => Ok(format!("{}: {found}", entry.name)),
                    Err(cause) => Err(anyhow::anyhow!("{}: {cause:#}", entry.name)),
                },
            };
            if let Some(found) = opened.keys.reach().await.transpose() {
                reached.push(about(found));
            }
            if let Some(review) = &opened.review {
                reached.push(about(review.reach().await));
            }
        }
        reached
    }
}

impl Opened {
    /// Asks an entry whose issuer made this token, if the token is right about that.
    ///
    /// What the claims say is compared before anything is verified, so that made-up tokens cost neither signatures nor fetches;
    /// it counts once the signature over them is right.
    async fn ask(
        &self,
        (entry, now): (&Entry, OffsetDateTime),
        jwt: &Jwt<'_>,
        header: &Header,
        client: Client,
    ) -> anyhow::Result<Said> {
        let name = || entry.name.clone();
        if !entry.algorithms.contains(&header.algorithm) {
            return Ok(Said::NotMine(Refused::OtherAlgorithm { entry: name() }));
        }
        if let Err(refused) = entry.check(&jwt.claims) {
            return Ok(Said::NotMine(refused));
        }
        let keys = self.keys.of(header).await?;
        if keys.is_empty() {
            return Ok(Said::NotMine(Refused::UnknownKey { entry: name() }));
        }
        if !keys.iter().any(|key| key.signed(jwt, header.algorithm)) {
            return Ok(Said::NotMine(Refused::Signature { entry: name() }));
        }
        let account = match entry.account(&jwt.claims) {
            Ok(account) => account,
            Err(refused) => return Ok(Said::Mine(Err(refused))),
        };
        if let Some(review) = &self.review
            && let Err(refused) = review.ask(jwt, entry, client).await?
        {
            return Ok(Said::Mine(Err(refused)));
        }
        let identity = Identity {
            account: Some(account),
            labels: Arc::new(entry.labels(&jwt.claims)),
            standing: Standing::default(),
            by: Some(IdentifiedBy { backend: NAME, method: Method::Workload, credential: Some(name()) }),
            session: entry.session(jwt.end(), now),
            ..Identity::default()
        };
        let once = match (entry.uses, jwt.end()) {
            (Uses::Any, _) => None,
            (Uses::Once, Some(end)) => {
                let (token, until) = (digest::sha256(["workload", jwt.signed]), end.saturating_add(CLOCKS_APART));
                Some(OneUse { entry: name(), token, until })
            }
            // No store remembers for so long.
            (Uses::Once, None) => return Ok(Said::Mine(Err(Refused::Time))),
        };
        Ok(Said::Mine(Ok(Verified { identity, once })))
    }
}
