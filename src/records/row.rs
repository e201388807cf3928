//! Records as every store keeps them: what is searched for by itself, and the rest as JSON. Times are milliseconds since 1970.
//!
//! All stores hold the same rows, and so a backup of one can be restored into another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use policy::pattern::{LabelValue, LabelValues};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{
    Bound, Epoch, Failure, Kept, Limits, Owner, Robot, RobotName, SecretHash, SecretId, SecretKind, Slot, Use, Version,
};
use crate::identity::{Account, AccountState};
use crate::json;

/// Before the name of a robot where an account's could stand. No account begins so.
pub const ROBOT_PREFIX: &str = "robot+";
/// Whose epoch is added to everybody's. No account has this name.
pub(super) const EVERYBODY: &str = "";

/// A secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SecretRow {
    pub(super) id: String,
    /// In hexadecimal digits.
    pub(super) hash: String,
    pub(super) kind: String,
    /// Whose epoch it goes by.
    pub(super) owner: String,
    /// The robot, where it is a robot's.
    pub(super) robot: Option<String>,
    /// Unique: what no other living secret of the owner may have as well. The id, once it does not live.
    pub(super) living: String,
    /// Unique: the robot's slot. The id, once it does not live, and where it is no robot's.
    pub(super) place: String,
    pub(super) epoch: i64,
    pub(super) made: i64,
    pub(super) ends: Option<i64>,
    pub(super) idle: Option<i64>,
    /// When it ends unless it is used again: `ends`, or the last use and `idle`.
    pub(super) over: Option<i64>,
    pub(super) used: Option<i64>,
    pub(super) used_from: Option<String>,
    pub(super) used_by: Option<String>,
    pub(super) revoked: Option<i64>,
    pub(super) version: i64,
    /// The rest.
    pub(super) document: String,
}

/// A robot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RobotRow {
    pub(super) name: String,
    pub(super) labels: String,
    /// 1 where somebody switched it off, else 0.
    pub(super) disabled: i64,
    pub(super) made: i64,
    pub(super) version: i64,
}

/// What of a secret nobody searches for.
#[derive(Serialize, Deserialize)]
struct Rest {
    last4: String,
    name: String,
    owner: OwnerDocument,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    maker: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    allow: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    from: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    services: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_before: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OwnerDocument {
    Account { account: String, backend: String, mark: Option<String> },
    Robot { name: String, slot: u8 },
    Workload { entry: String, account: String, labels: LabelsDocument },
}

type LabelsDocument = BTreeMap<String, Vec<LabelDocument>>;

/// What a label's value matches.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LabelDocument {
    /// This text alone.
    Is(String),
    /// What this glob matches.
    Like(String),
}

/// The name of an account, or of a robot, that an epoch is kept under.
pub(super) fn owner_key(owner: &Owner) -> String {
    match owner {
        Owner::Account { account, .. } | Owner::Workload { account, .. } => account.to_string(),
        Owner::Robot { name, .. } => robot_key(name),
    }
}

/// The name that a robot logs in with.
pub(super) fn robot_key(name: &RobotName) -> String {
    format!("{ROBOT_PREFIX}{}", name.0)
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn from_hexadecimal(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// Milliseconds since 1970, the last begun one.
pub(super) fn milliseconds(moment: OffsetDateTime) -> i64 {
    i64::try_from(moment.unix_timestamp_nanos().div_euclid(1_000_000)).unwrap_or(i64::MAX)
}

fn whole_milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn moment(milliseconds: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds).saturating_mul(1_000_000)).ok()
}

/// When a secret ends unless it is used again.
pub(super) fn over(ends: Option<i64>, idle: Option<i64>, used: i64) -> Option<i64> {
    let resting = idle.map(|idle| used.saturating_add(idle));
    [ends, resting].into_iter().flatten().min()
}

/// What a column that has to differ says once its secret does not live.
pub(super) fn nobodys(id: &str) -> String {
    format!("-/{id}")
}

pub(super) fn name_of(kind: SecretKind) -> &'static str {
    match kind {
        SecretKind::Personal => "personal",
        SecretKind::Robot => "robot",
        SecretKind::Refresh => "refresh",
        SecretKind::Session => "session",
    }
}

fn kind_of(name: &str) -> Option<SecretKind> {
    let kinds = [SecretKind::Personal, SecretKind::Robot, SecretKind::Refresh, SecretKind::Session];
    kinds.into_iter().find(|kind| name_of(*kind) == name)
}

fn labels_document(labels: &LabelValues) -> LabelsDocument {
    let document = |value: &LabelValue| match *value == LabelValue::literal(value.text()) {
        true => LabelDocument::Is(value.text().to_owned()),
        false => LabelDocument::Like(value.text().to_owned()),
    };
    labels.iter().map(|(name, values)| (name.clone(), values.iter().map(document).collect())).collect()
}

fn labels_from(document: LabelsDocument) -> Option<LabelValues> {
    let value = |document| match document {
        LabelDocument::Is(text) => Some(LabelValue::literal(&text)),
        LabelDocument::Like(text) => LabelValue::glob(&text).ok(),
    };
    let values = |(name, values): (String, Vec<LabelDocument>)| {
        Some((name, values.into_iter().map(value).collect::<Option<Vec<_>>>()?))
    };
    document.into_iter().map(values).collect()
}

/// A text of what was put together here: there is nothing in it that JSON does not have.
fn written(document: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(document).map_err(|error| Failure::Unusable { cause: error.to_string() })
}

fn unreadable(what: &str, name: &str) -> Failure {
    Failure::Unusable { cause: format!("the {what} {} is not as this program writes it", name.escape_debug()) }
}

impl SecretRow {
    pub(super) fn from_kept(secret: &Kept) -> Result<SecretRow, Failure> {
        let (id, owner) = (secret.id.0.to_string(), owner_key(&secret.owner));
        let kind = name_of(secret.kind);
        let document = match &secret.owner {
            Owner::Account { account, bound } => OwnerDocument::Account {
                account: account.to_string(),
                backend: bound.backend.clone(),
                mark: bound.mark.map(|mark| hexadecimal(&mark)),
            },
            Owner::Robot { name, slot } => OwnerDocument::Robot { name: name.0.to_string(), slot: number_of(*slot) },
            Owner::Workload { entry, account, labels } => OwnerDocument::Workload {
                entry: entry.clone(),
                account: account.to_string(),
                labels: labels_document(labels),
            },
        };
        let lives = secret.revoked.is_none();
        let (living, place) = match (&secret.owner, lives) {
            (_, false) => (nobodys(&id), nobodys(&id)),
            (Owner::Robot { name, slot }, true) => {
                (format!("{kind}/{owner}/{}", secret.name), format!("{}/{}", name.0, number_of(*slot)))
            }
            (Owner::Account { .. } | Owner::Workload { .. }, true) => {
                (format!("{kind}/{owner}/{}", secret.name), nobodys(&id))
            }
        };
        let Limits { allow, from, services, not_before } = &secret.limits;
        let (made, ends) = (milliseconds(secret.made), secret.ends.map(milliseconds));
        let (idle, used) = (secret.idle.map(whole_milliseconds), secret.last_use.as_ref());
        let at = used.map(|used| milliseconds(used.at));
        Ok(SecretRow {
            hash: hexadecimal(&secret.hash.0),
            kind: kind.to_owned(),
            owner,
            robot: match &secret.owner {
                Owner::Robot { name, .. } => Some(name.0.to_string()),
                Owner::Account { .. } | Owner::Workload { .. } => None,
            },
            living,
            place,
            epoch: secret.epoch.0,
            made,
            ends,
            idle,
            over: over(ends, idle, at.unwrap_or(made)),
            used: at,
            used_from: used.and_then(|used| used.network).map(|network| network.to_string()),
            used_by: used.map(|used| used.client.clone()),
            revoked: secret.revoked.map(milliseconds),
            version: secret.version.0,
            document: written(&Rest {
                last4: secret.last4.clone(),
                name: secret.name.clone(),
                owner: document,
                maker: secret.maker.as_ref().map(ToString::to_string),
                allow: allow.clone(),
                from: from.iter().map(ToString::to_string).collect(),
                services: services.clone(),
                not_before: not_before.map(milliseconds),
            })?,
            id,
        })
    }

    /// What is not as it was written is an error, and never a secret that is wider than it was.
    pub(super) fn into_kept(self) -> Result<Kept, Failure> {
        let id = self.id.clone();
        self.read().ok_or_else(|| unreadable("secret", &id))
    }

    fn read(self) -> Option<Kept> {
        let rest: Rest = json::object(self.document.as_bytes()).ok()?;
        let optional = |at: Option<i64>| at.map_or(Some(None), |at| moment(at).map(Some));
        let owner = match rest.owner {
            OwnerDocument::Account { account, backend, mark } => Owner::Account {
                account: Account::parse(&account).ok()?,
                bound: Bound {
                    backend,
                    mark: match mark {
                        Some(mark) => Some(from_hexadecimal(&mark)?),
                        None => None,
                    },
                },
            },
            OwnerDocument::Robot { name, slot } => Owner::Robot { name: RobotName(name.into()), slot: slot_of(slot)? },
            OwnerDocument::Workload { entry, account, labels } => Owner::Workload {
                entry,
                account: Account::parse(&account).ok()?,
                labels: Arc::new(labels_from(labels)?),
            },
        };
        let last_use = match self.used {
            None => None,
            Some(at) => Some(Use {
                at: moment(at)?,
                network: match self.used_from {
                    Some(network) => Some(network.parse().ok()?),
                    None => None,
                },
                client: self.used_by.unwrap_or_default(),
            }),
        };
        Some(Kept {
            id: SecretId(self.id.into()),
            kind: kind_of(&self.kind)?,
            hash: SecretHash(from_hexadecimal(&self.hash)?),
            last4: rest.last4,
            name: rest.name,
            owner,
            epoch: Epoch(self.epoch),
            maker: match rest.maker {
                Some(maker) => Some(Account::parse(&maker).ok()?),
                None => None,
            },
            limits: Limits {
                allow: rest.allow,
                from: rest.from.iter().map(|network| network.parse()).collect::<Result<_, _>>().ok()?,
                services: rest.services,
                not_before: optional(rest.not_before)?,
            },
            made: moment(self.made)?,
            ends: optional(self.ends)?,
            idle: match self.idle {
                Some(idle) => Some(Duration::from_millis(u64::try_from(idle).ok()?)),
                None => None,
            },
            revoked: optional(self.revoked)?,
            last_use,
            version: Version(self.version),
        })
    }
}

fn number_of(slot: Slot) -> u8 {
    match slot {
        Slot::One => 1,
        Slot::Two => 2,
    }
}

fn slot_of(number: u8) -> Option<Slot> {
    [Slot::One, Slot::Two].into_iter().find(|slot| number_of(*slot) == number)
}

impl RobotRow {
    pub(super) fn from_robot(robot: &Robot) -> Result<RobotRow, Failure> {
        Ok(RobotRow {
            name: robot.name.0.to_string(),
            labels: written(&labels_document(&robot.labels))?,
            disabled: match robot.state {
                AccountState::Enabled => 0,
                AccountState::Disabled => 1,
            },
            made: milliseconds(robot.made),
            version: robot.version.0,
        })
    }

    pub(super) fn into_robot(self) -> Result<Robot, Failure> {
        let read = || {
            let labels: LabelsDocument = json::object(self.labels.as_bytes()).ok()?;
            Some(Robot {
                name: RobotName(self.name.as_str().into()),
                labels: Arc::new(labels_from(labels)?),
                state: match self.disabled {
                    0 => AccountState::Enabled,
                    _ => AccountState::Disabled,
                },
                made: moment(self.made)?,
                version: Version(self.version),
            })
        };
        read().ok_or_else(|| unreadable("robot", &self.name))
    }
}
