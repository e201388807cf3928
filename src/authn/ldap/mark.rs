//! What tells a directory's entry from another of its name: whether an account is still the one that it was. Asked for at
//! look-ups alone, since nothing is remembered of a login.

use super::protocol::Entry;
use crate::identity::mark_of;

/// What tells an entry from another of its name, and a new password from the old one: of OpenLDAP and others (RFC 4530), 389 and
/// FreeIPA, Active Directory.
pub(super) const MARKS: [&str; 8] = [
    "entryUUID",
    "nsUniqueId",
    "ipaUniqueID",
    "objectGUID",
    "pwdChangedTime",
    "passwordChangedTime",
    "krbLastPwdChange",
    "pwdLastSet",
];

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
}
