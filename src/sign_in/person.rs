//! What is kept of a person who signed in, besides the account.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use policy::pattern::{LabelValue, LabelValues};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::json;

/// Whether the provider still knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// It does, as far as it was asked.
    Known,
    /// It does not. They are locked out until they sign in again; what they had by then stays dead.
    Gone,
}

/// The document of a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Document {
    pub(super) section: String,
    pub(super) provider: Option<String>,
    pub(super) issuer: String,
    /// What the provider calls them for ever; `None` of whom docker_auth knew, until the provider is asked.
    pub(super) subject: Option<String>,
    pub(super) labels: BTreeMap<String, Vec<String>>,
    pub(super) state: State,
    /// When the provider said all of this, in seconds since 1970.
    pub(super) checked: i64,
    /// What it is asked by again, sealed.
    pub(super) credential: Option<String>,
    /// Until when somebody else is asking it, in seconds since 1970: a refresh token is used up by its use.
    pub(super) asked_until: Option<i64>,
    /// The docker password that docker_auth gave them, until they sign in here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) old_password: Option<OldPassword>,
}

/// A docker password of docker_auth's.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OldPassword {
    /// bcrypt's.
    pub(super) hash: String,
    /// The account's epoch when it was taken over: raising it ends this password as well.
    pub(super) epoch: i64,
}

impl fmt::Debug for OldPassword {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("[old password]")
    }
}

impl Document {
    /// Reads what [`Document::to_text`] wrote.
    ///
    /// # Errors
    /// Something else stands there.
    pub(super) fn parse(text: &str) -> anyhow::Result<Document> {
        // Without the reader's words, which quote the text.
        json::object(text.as_bytes())
            .map_err(|_| anyhow::anyhow!("a person in the records is not as this program writes it"))
    }

    pub(super) fn to_text(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string(self)?)
    }

    /// How long ago the provider said this, in seconds; never less than nothing.
    pub(super) fn age(&self, now: OffsetDateTime) -> u64 {
        u64::try_from(now.unix_timestamp().saturating_sub(self.checked)).unwrap_or(0)
    }

    /// The labels, plain text to rules: whoever is in a group called `*` is in no other by that.
    pub(super) fn label_values(&self) -> Arc<LabelValues> {
        let values = |values: &Vec<String>| values.iter().map(|value| LabelValue::literal(value)).collect();
        Arc::new(self.labels.iter().map(|(label, all)| (label.clone(), values(all))).collect())
    }
}
