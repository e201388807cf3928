//! One entry of `workload:`: whose tokens it takes, what it requires of them, and whose accounts they are.

use std::collections::BTreeMap;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use policy::pattern::{LabelValue, LabelValues};
use serde_json::Value;
use settings::{Refusal, Scalar};
use time::OffsetDateTime;
use url::Url;

use super::Refused;
use super::claims::{ClaimPath, Claims, equals};
use super::keys::KeysFrom;
use super::review::ReviewSettings;
use crate::identity::Account;

/// The longest issuer and audience, in bytes.
pub(super) const MAX_NAME: usize = 1024;
/// How long sessions live where an entry does not say.
const USUAL_SESSION: Duration = Duration::from_secs(3600);
/// The shortest session. One that ends sooner would hardly be presented once.
pub(super) const SHORTEST_SESSION: Duration = Duration::from_secs(120);
/// The longest session: what the workload was when it logged in is not asked again until then.
pub(super) const LONGEST_SESSION: Duration = Duration::from_secs(12 * 3600);
/// How a claim stands in a template.
const CLAIM: &str = "${claim:";

/// One entry.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    /// Its name in the log and in [`IdentifiedBy`](crate::identity::IdentifiedBy).
    pub(super) name: String,
    pub(super) issuer: Issuer,
    /// Whom tokens are to be for; at least one.
    pub(super) audiences: Vec<String>,
    pub(super) others: OtherAudiences,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) keys: KeysFrom,
    /// What claims have to be; at least one, but for issuers of whom nothing is known that all of them are ours.
    pub(super) require: Vec<Requirement>,
    pub(super) account: AccountTemplate,
    pub(super) labels: BTreeMap<String, Vec<LabelSource>>,
    pub(super) uses: Uses,
    pub(super) session: SessionLife,
    pub(super) review: Option<ReviewSettings>,
}

/// Whose tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Issuer {
    /// Those with this `iss`, byte for byte.
    Exactly(String),
    /// Those of workloads of this trust domain of SPIFFE, whose `iss` may be missing.
    TrustDomain(String),
}

/// Whether a token may be for others as well. One that is can be used here by each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OtherAudiences {
    /// It has one audience, and it is ours.
    Refused,
    /// Ours is among its audiences.
    Taken,
}

/// How often a token can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Uses {
    /// As long as it is valid.
    Any,
    /// Once.
    Once,
}

/// How long the session lives that a token brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionLife {
    /// [`USUAL_SESSION`]; where the cluster is asked, no longer than the token itself. The cluster says at once that a pod was
    /// deleted, and of a session it says nothing.
    Usual,
    /// So long.
    For(Duration),
    /// There is none.
    Never,
}

/// What a claim has to be.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Requirement {
    pub(super) claim: ClaimPath,
    /// One of these.
    pub(super) values: Vec<Scalar>,
}

/// How the account is called: a prefix that no other account begins with, and a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AccountTemplate {
    pub(super) prefix: String,
    pub(super) claim: ClaimPath,
}

/// A value of a label.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum LabelSource {
    /// This one, which the operator wrote.
    Fixed(LabelValue),
    /// What a claim says.
    Claim(ClaimPath),
}

impl Issuer {
    /// Reads an issuer.
    pub(super) fn parse(text: &str) -> Result<Issuer, Refusal> {
        if let Some(domain) = text.strip_prefix("spiffe://") {
            let is_one =
                |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || b".-_".contains(&letter);
            return match !domain.is_empty() && domain.len() <= 255 && domain.bytes().all(is_one) {
                true => Ok(Issuer::TrustDomain(domain.to_owned())),
                false => Err(Refusal::is("not a trust domain; write spiffe://example.org, without a path")),
            };
        }
        let address = Url::parse(text).ok().filter(|url| {
            let is_plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
            let is_web = matches!(url.scheme(), "https" | "http") && url.fragment().is_none();
            is_plain && is_web && !text.contains(|letter: char| letter.is_control() || letter.is_whitespace())
        });
        let Some(address) = address.filter(|_| text.len() <= MAX_NAME) else {
            return Err(Refusal::is(
                "not an issuer; write it as its tokens have it in iss: https://token.actions.githubusercontent.com",
            ));
        };
        let of_all = ["common", "organizations", "consumers", "{tenantid}", "%7Btenantid%7D"];
        let mut parts = address.path_segments().into_iter().flatten();
        if address.host_str().is_some_and(|host| host.starts_with("login.microsoftonline."))
            && parts.any(|part| of_all.contains(&part))
        {
            return Err(Refusal::says("this stands for every tenant; write the issuer of yours, with its id"));
        }
        Ok(Issuer::Exactly(text.to_owned()))
    }

    /// Whether a token is of this issuer, as far as it says so itself.
    pub(super) fn made(&self, claims: &Claims) -> bool {
        match self {
            Issuer::Exactly(issuer) => claims.own("iss").and_then(Value::as_str) == Some(issuer),
            Issuer::TrustDomain(domain) => {
                let workload = claims.own("sub").and_then(Value::as_str).and_then(|sub| sub.strip_prefix("spiffe://"));
                let path = workload.and_then(|workload| workload.strip_prefix(domain.as_str()));
                claims.own("iss").is_none() && path.is_some_and(|path| path.starts_with('/'))
            }
        }
    }

    /// Its text.
    pub(super) fn to_text(&self) -> String {
        match self {
            Issuer::Exactly(issuer) => issuer.clone(),
            Issuer::TrustDomain(domain) => format!("spiffe://{domain}"),
        }
    }
}

/// The claim that a text stands for, which is `${claim:NAME}` and nothing else. `None` where it is another text.
pub(super) fn whole_claim(text: &str) -> Option<ClaimPath> {
    ClaimPath::parse(text.strip_prefix(CLAIM)?.strip_suffix('}')?)
}

impl AccountTemplate {
    /// Reads a template such as `github:${claim:repository}`.
    pub(super) fn parse(text: &str) -> Result<AccountTemplate, Refusal> {
        let example = "write a prefix that ends nobody else's names and one claim: github:${claim:repository}";
        let (prefix, claim) = text.split_at(text.find("${").unwrap_or(text.len()));
        let Some(claim) = whole_claim(claim) else {
            return Err(Refusal::says(format!("no name can be made of this; {example}")));
        };
        let is_plain = |letter: u8| letter.is_ascii_alphanumeric() || b":._/-".contains(&letter);
        match prefix.split_once(':') {
            Some((first, _)) if !first.is_empty() && prefix.len() <= 64 && prefix.bytes().all(is_plain) => {
                Ok(AccountTemplate { prefix: prefix.to_owned(), claim })
            }
            Some(_) | None => Err(Refusal::says(format!(
                "a workload could be called like a user, who has no colon in the name; {example}"
            ))),
        }
    }
}

impl Entry {
    /// Whether tokens with these claims are this entry's: for us, and with all that it requires. Nothing of it is verified.
    ///
    /// # Errors
    /// What is not as it should be.
    pub(super) fn check(&self, claims: &Claims) -> Result<(), Refused> {
        self.check_audience(claims)?;
        for Requirement { claim, values } in &self.require {
            let is_one = claims.at(claim).is_some_and(|own| values.iter().any(|value| equals(value, own)));
            if !is_one {
                return Err(Refused::Claim { entry: self.name.clone(), claim: claim.as_str().to_owned() });
            }
        }
        Ok(())
    }

    fn check_audience(&self, claims: &Claims) -> Result<(), Refused> {
        let is_ours =
            |audience: &Value| audience.as_str().is_some_and(|own| self.audiences.iter().any(|one| one == own));
        let wrong = || Refused::Audience { entry: self.name.clone() };
        match (claims.own("aud").ok_or_else(wrong)?, self.others) {
            (one @ Value::String(_), _) if is_ours(one) => Ok(()),
            (Value::Array(all), OtherAudiences::Refused) => match all.as_slice() {
                [only] if is_ours(only) => Ok(()),
                [_, _, ..] if all.iter().any(is_ours) => Err(Refused::OtherAudiences { entry: self.name.clone() }),
                [] | [_] | [_, _, ..] => Err(wrong()),
            },
            (Value::Array(all), OtherAudiences::Taken) if all.iter().any(is_ours) => Ok(()),
            (
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_),
                OtherAudiences::Refused | OtherAudiences::Taken,
            ) => Err(wrong()),
        }
    }

    /// The account that a verified token is of.
    ///
    /// # Errors
    /// The claim is missing, or no account can be called so.
    pub(super) fn account(&self, claims: &Claims) -> Result<Account, Refused> {
        let AccountTemplate { prefix, claim } = &self.account;
        let name = claims.name_at(claim).and_then(|name| Account::parse(&format!("{prefix}{name}")).ok());
        name.ok_or_else(|| Refused::NoName { entry: self.name.clone() })
    }

    /// Until when a session lives that is made now for a token with this end; `None` where there is none, or none worth making.
    pub(super) fn session(&self, token_ends: Option<OffsetDateTime>, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let ends = match (self.session, &self.review) {
            (SessionLife::Never, _) => return None,
            (SessionLife::For(life), _) => now.checked_add(life.try_into().ok()?)?,
            (SessionLife::Usual, None) => now.checked_add(USUAL_SESSION.try_into().ok()?)?,
            (SessionLife::Usual, Some(_)) => now.checked_add(USUAL_SESSION.try_into().ok()?)?.min(token_ends?),
        };
        (ends - now >= SHORTEST_SESSION).then_some(ends)
    }

    /// The labels of a verified token.
    pub(super) fn labels(&self, claims: &Claims) -> LabelValues {
        let values = |sources: &[LabelSource]| {
            let each = sources.iter().flat_map(|source| match source {
                LabelSource::Fixed(value) => vec![value.clone()],
                LabelSource::Claim(path) => claims.labels_at(path),
            });
            each.collect()
        };
        self.labels.iter().map(|(label, sources)| (label.clone(), values(sources))).collect()
    }
}
