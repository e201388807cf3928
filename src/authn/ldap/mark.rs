//! What a directory's entry tells of its account besides labels: whether it is still the one that it was, and whether it is closed.
//!
//! Asked for at look-ups alone. At a login the directory itself says whether the account may be used, and nothing is remembered.

use std::time::Duration;

use time::OffsetDateTime;

use super::protocol::Entry;
use crate::authn::{AccountState, Standing};
use crate::identity::mark_of;

/// What tells an entry from another of its name, and a new password from the old one: of OpenLDAP and others (RFC 4530), 389 and
/// FreeIPA, Active Directory.
const MARKS: [&str; 8] = [
    "entryUUID",
    "nsUniqueId",
    "ipaUniqueID",
    "objectGUID",
    "pwdChangedTime",
    "passwordChangedTime",
    "krbLastPwdChange",
    "pwdLastSet",
];
/// Active Directory's flags of an account, of which this one says that it is disabled.
const FLAGS: &str = "userAccountControl";
const FLAG_DISABLED: i64 = 2;
/// When Active Directory closes it, in 100 ns since 1601; two values mean never.
const EXPIRES: &str = "accountExpires";
const NEVER: [i64; 2] = [0, i64::MAX];
/// The seconds between 1601 and 1970.
const FROM_1601: i64 = 11_644_473_600;
/// Closed in 389 and FreeIPA, and in eDirectory.
const LOCKS: [&str; 2] = ["nsAccountLock", "loginDisabled"];
/// When OpenLDAP's policy locked it; this moment means for good, and others pass by themselves.
const LOCKED_SINCE: &str = "pwdAccountLockedTime";
const FOR_GOOD: &str = "000001010000Z";

/// All attributes that are read here.
pub(super) fn attributes() -> impl Iterator<Item = &'static str> {
    MARKS.into_iter().chain(LOCKS).chain([FLAGS, EXPIRES, LOCKED_SINCE])
}

/// What tells this entry from another; `None` where nothing does that we may read.
pub(super) fn of(entry: &Entry) -> Option<[u8; 32]> {
    let mut parts = Vec::new();
    for name in MARKS {
        let mut values: Vec<&str> = entry.values(name).collect();
        values.sort_unstable();
        parts.extend(values.into_iter().flat_map(|value| [name, value]));
    }
    (!parts.is_empty()).then(|| mark_of(parts))
}

/// Whether the entry says that its account may not be used.
pub(super) fn standing(entry: &Entry) -> Standing {
    let number = |name| entry.values(name).find_map(|value| value.parse::<i64>().ok());
    let is_disabled = number(FLAGS).is_some_and(|flags| flags & FLAG_DISABLED != 0)
        || LOCKS.iter().any(|name| entry.values(name).any(|value| value.eq_ignore_ascii_case("true")))
        || entry.values(LOCKED_SINCE).any(|value| value == FOR_GOOD);
    let state = if is_disabled { AccountState::Disabled } else { AccountState::Enabled };
    let not_after = number(EXPIRES).filter(|ticks| !NEVER.contains(ticks)).and_then(|ticks| {
        let since = Duration::from_secs(u64::try_from(ticks / 10_000_000).ok()?);
        OffsetDateTime::from_unix_timestamp(i64::try_from(since.as_secs()).ok()? - FROM_1601).ok()
    });
    Standing { state, not_before: None, not_after }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(attributes: &[(&str, &str)]) -> Entry {
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()]));
        Entry { name: "uid=alice".to_owned(), attributes: attributes.collect(), ..Entry::default() }
    }

    #[test]
    fn another_entry_and_another_password_have_another_mark() {
        let made = [
            entry(&[("entryUUID", "a")]),
            entry(&[("entryUUID", "b")]),
            entry(&[("entryUUID", "a"), ("pwdChangedTime", "20261129000000Z")]),
            entry(&[("entryUUID", "a"), ("pwdChangedTime", "20261130000000Z")]),
            entry(&[("objectGUID", "a")]),
            entry(&[]),
        ];
        for (index, one) in made.iter().enumerate() {
            for (other_index, other) in made.iter().enumerate() {
                assert_eq!(of(one) == of(other), index == other_index, "{index} and {other_index}");
            }
        }
        assert_eq!(of(&entry(&[("mail", "a@b")])), None);
        // However the server writes names, and whatever else it brings.
        assert_eq!(of(&entry(&[("mail", "a@b"), ("entryuuid", "a")])), of(&entry(&[("entryUUID", "a")])));
    }

    #[test]
    fn an_entry_says_by_itself_that_its_account_is_closed() {
        let over = OffsetDateTime::UNIX_EPOCH + time::Duration::days(19_000);
        let ticks = ((over.unix_timestamp() + FROM_1601) * 10_000_000).to_string();
        for (attributes, disabled, not_after) in [
            (&[][..], false, None),
            (&[("userAccountControl", "512")], false, None),
            (&[("userAccountControl", "514")], true, None),
            (&[("nsAccountLock", "TRUE")], true, None),
            (&[("loginDisabled", "false")], false, None),
            (&[("pwdAccountLockedTime", FOR_GOOD)], true, None),
            (&[("pwdAccountLockedTime", "20261130000000Z")], false, None),
            (&[("accountExpires", "0")], false, None),
            (&[("accountExpires", "9223372036854775807")], false, None),
            (&[("accountExpires", "soon")], false, None),
            (&[("accountExpires", &ticks)], false, Some(over)),
        ] {
            let state = if disabled { AccountState::Disabled } else { AccountState::Enabled };
            let expected = Standing { state, not_before: None, not_after };
            assert_eq!(standing(&entry(attributes)), expected, "{attributes:?}");
        }
    }
}
