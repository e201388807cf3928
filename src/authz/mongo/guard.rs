//! The document that stands among the rules while an import changes many of them.
//!
//! A standalone server has no transactions, so an import is seen in pieces. As long as this document is there, the set is
//! not right as a whole, and servers keep their last good one: nobody ever decides by half of an import, whatever moment
//! it is cut off in. Its match holds a key that no rule has, so that a Dockwarden which does not know it refuses it too;
//! and it grants nothing, should something read it as a rule.

use mongodb::bson::{Bson, DateTime, Document, doc};

/// Its `_id`. There is one at most, and so one import at most.
pub(super) const ID: &str = "dockwarden-import";
/// Its `seq`, which the index needs and no rule has.
pub(super) const SEQ: i64 = -9_000_000_000_000_001;

/// Whether a document is one.
pub(super) fn is_guard(document: &Document) -> bool {
    document.get("_id") == Some(&Bson::String(ID.to_owned()))
}

/// A new one, of the import that `owner` names; `by` says to people who that is.
pub(super) fn new(owner: &str, by: &str) -> Document {
    doc! {
        "_id": ID,
        "seq": SEQ,
        "match": { "import": "under way" },
        "actions": [],
        "owner": owner,
        "by": by,
        "since": DateTime::now(),
        "beat": 0_i64,
    }
}

/// What it means, for whoever wants to use the rules.
pub(super) fn told(guard: &Document) -> String {
    let since = guard.get_datetime("since").ok().and_then(|since| since.try_to_rfc3339_string().ok());
    format!(
        "an import of rules that began at {} (by {}) has not ended; if it was cut off, import the rules once more: \
         dockwarden acl import",
        since.as_deref().unwrap_or("an unknown time"),
        guard.get_str("by").unwrap_or("somebody"),
    )
}
