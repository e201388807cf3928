//! What directories say of accounts that may not be used, beside "invalid credentials", under which most of them hide it.
//!
//! Some say so only to whoever has the right password, some to anybody. Whatever they say is for the log alone.

use time::OffsetDateTime;

use super::protocol::{Done, Entry};
use super::verdict::{Failure, policy};
use crate::authn::{AccountState, Standing};

/// What Active Directory's sub-codes mean that are not about the password, by their hexadecimal number (winerror.h). Wrong
/// passwords are 52e, and accounts that are not there 525.
const SUB_CODES: &[(&str, &str)] = &[
    ("52f", "the account is restricted"),
    ("530", "the account may not log in at this time"),
    ("531", "the account may not log in from here"),
    ("532", "the password has expired"),
    ("533", "the account is disabled"),
    ("568", "the account is in too many groups"),
    ("569", "the account may not log in this way"),
    ("701", "the account has expired"),
    ("773", "the password must be changed first"),
    ("775", "the account is locked"),
];

/// What other directories write with code 49: 389 Directory Server, and eDirectory with the numbers of its errors.
const REMARKS: &[(&str, &str)] = &[
    ("password expired", "the password has expired"),
    ("nds error: login lockout (-197)", "the account is locked"),
    ("nds error: maximum logins exceeded", "the account is in use too often"),
    ("nds error: bad login time", "the account may not log in at this time"),
    ("nds error: log account expired (-220)", "the account is disabled or has expired"),
    ("nds error: bad password (-222)", "the password has expired"),
];

/// Why the account may not be used, if that is what a refused bind says.
pub(super) fn why(done: &Done) -> Option<&'static str> {
    match (done.code, done.objection) {
        (_, Some(objection @ 0..=2)) => Some(policy(objection)),
        (19, _) => Some("the account is locked"),
        (48, _) => Some("the account has no password"),
        (50, _) => Some("the account may not log in"),
        (53, _) => Some("the account is switched off"),
        (49, _) => {
            let remark = done.remark.to_ascii_lowercase();
            let known = |list: &[(&str, &'static str)], holds: &dyn Fn(&str) -> bool| {
                list.iter().find(|(text, _)| holds(text)).map(|(_, meaning)| *meaning)
            };
            match sub_code(&remark) {
                Some(code) => known(SUB_CODES, &|text| text == code),
                None => known(REMARKS, &|text| remark.contains(text)),
            }
        }
        _ => None,
    }
}

/// The attributes that show, to who may read them, whether an account may be used: without a login, nothing else does.
/// OpenLDAP's, 389 Directory Server's and eDirectory's, and Active Directory's.
pub(super) const SHOWN: [&str; 7] = [
    "pwdAccountLockedTime",
    "nsAccountLock",
    "loginDisabled",
    "userAccountControl",
    "msDS-User-Account-Control-Computed",
    "lockoutTime",
    "accountExpires",
];
/// ACCOUNTDISABLE in `userAccountControl`.
const DISABLED: u64 = 0x2;
/// LOCKOUT in `msDS-User-Account-Control-Computed`, which goes out when the lock ends, as `lockoutTime` does not.
const LOCKED: u64 = 0x10;
/// The beginning of 1970 in `accountExpires`, which counts 100 ns from the beginning of 1601.
const EPOCH: i128 = 116_444_736_000_000_000;

/// What an entry with the attributes in [`SHOWN`] tells of its account. It is open where they are not there, or not to be seen.
///
/// # Errors
/// One of them cannot be read.
pub(super) fn standing(entry: &Entry) -> Result<Standing, Failure> {
    let is_true = |attribute| entry.values(attribute).any(|value| value.eq_ignore_ascii_case("true"));
    let number = |attribute| {
        let unreadable = |_| Failure::Unknown(format!("{attribute} of the entry \"{}\" is not a number", entry.name));
        entry.values(attribute).next().map(|value| value.parse::<u64>().map_err(unreadable)).transpose()
    };
    let is_disabled = number("userAccountControl")?.is_some_and(|flags| flags & DISABLED != 0);
    let is_locked = match (number("msDS-User-Account-Control-Computed")?, number("lockoutTime")?) {
        (Some(flags), _) => flags & LOCKED != 0,
        (None, Some(since)) => since != 0,
        (None, None) => false,
    };
    let closed = is_disabled
        || is_locked
        || is_true("nsAccountLock")
        || is_true("loginDisabled")
        // A moment. OpenLDAP leaves it there when the lock is over, until the next right password.
        || entry.values("pwdAccountLockedTime").next().is_some();
    let not_after = match number("accountExpires")? {
        // Both are "never", and so is what is beyond all dates.
        None | Some(0) => None,
        Some(ticks) => OffsetDateTime::from_unix_timestamp_nanos((i128::from(ticks) - EPOCH) * 100).ok(),
    };
    let state = if closed { AccountState::Disabled } else { AccountState::Enabled };
    Ok(Standing { state, not_before: None, not_after })
}

/// The number in `80090308: LdapErr: DSID-0C090446, comment: AcceptSecurityContext error, data 532, v3839`.
fn sub_code(remark: &str) -> Option<&str> {
    if !remark.contains("ldaperr:") {
        return None;
    }
    let mut parts = remark.split(',');
    parts.find_map(|part| part.trim().strip_prefix("data ")).map(|code| code.trim().trim_start_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_entries_show_of_closed_accounts_is_read() {
        let over = OffsetDateTime::from_unix_timestamp(1_767_225_600).ok();
        let disabled = |not_after| Standing { state: AccountState::Disabled, not_before: None, not_after };
        let open = |not_after| Standing { not_after, ..Standing::default() };
        for (attributes, expected) in [
            (&[][..], Some(open(None))),
            (&[("pwdAccountLockedTime", "000001010000Z")], Some(disabled(None))),
            (&[("pwdaccountlockedtime", "20260101000000Z")], Some(disabled(None))),
            (&[("nsAccountLock", "true")], Some(disabled(None))),
            (&[("nsAccountLock", "false"), ("loginDisabled", "FALSE")], Some(open(None))),
            (&[("loginDisabled", "TRUE")], Some(disabled(None))),
            // A normal account, and the same disabled.
            (&[("userAccountControl", "512"), ("lockoutTime", "0"), ("accountExpires", "0")], Some(open(None))),
            (&[("userAccountControl", "514")], Some(disabled(None))),
            (&[("lockoutTime", "134117100000000000")], Some(disabled(None))),
            // It was locked, and is not any more.
            (&[("lockoutTime", "134117100000000000"), ("msDS-User-Account-Control-Computed", "0")], Some(open(None))),
            (&[("msDS-User-Account-Control-Computed", "16")], Some(disabled(None))),
            // Its password has expired, which a login tells.
            (&[("msDS-User-Account-Control-Computed", "8388608")], Some(open(None))),
            (&[("accountExpires", "9223372036854775807")], Some(open(None))),
            (&[("accountExpires", "134116992000000000")], Some(open(over))),
            (&[("accountExpires", "-1")], None),
            (&[("userAccountControl", "0x202")], None),
            (&[("lockoutTime", "")], None),
        ] {
            let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()]));
            let entry = Entry { name: "cn=a".to_owned(), attributes: attributes.collect(), ..Entry::default() };
            assert_eq!(standing(&entry).ok(), expected, "{:?}", entry.attributes);
        }
    }

    #[test]
    fn what_directories_say_of_closed_accounts_is_told_from_a_wrong_password() {
        let active = |code: &str| {
            format!("80090308: LdapErr: DSID-0C090446, comment: AcceptSecurityContext error, data {code}, v3839")
        };
        for (code, remark, objection, expected) in [
            (49, active("52e"), None, None),
            (49, active("525"), None, None),
            (49, active("57"), None, None),
            (49, active("530"), None, Some("at this time")),
            (49, active("531"), None, Some("from here")),
            (49, active("532"), None, Some("the password has expired")),
            (49, active("533"), None, Some("disabled")),
            (49, active("701"), None, Some("the account has expired")),
            (49, active("773"), None, Some("changed first")),
            (49, active("775"), None, Some("locked")),
            (49, active("52F"), None, Some("restricted")),
            // Only where it is a sub-code.
            (49, "data 533".to_owned(), None, None),
            (49, "entry 0533, data 52e".to_owned(), None, None),
            (49, String::new(), None, None),
            (49, "Invalid credentials".to_owned(), None, None),
            (49, String::new(), Some(0), Some("the password has expired")),
            (49, String::new(), Some(1), Some("locked")),
            (49, String::new(), Some(2), Some("changed first")),
            // That is about a new password.
            (49, String::new(), Some(5), None),
            (49, "password expired!".to_owned(), None, Some("the password has expired")),
            (19, "Exceed password retry limit. Please try later.".to_owned(), None, Some("locked")),
            (53, "Account inactivated. Contact system administrator.".to_owned(), None, Some("switched off")),
            (53, "NDS error: login lockout (-197)".to_owned(), None, Some("switched off")),
            (49, "NDS error: log account expired (-220)".to_owned(), None, Some("disabled or has expired")),
            (49, "NDS error: failed authentication (-669)".to_owned(), None, None),
        ] {
            let why = why(&Done { code, remark: remark.clone(), objection, closed: None });
            match (why, expected) {
                (Some(why), Some(expected)) => assert!(why.contains(expected), "{code} {remark}: {why}"),
                (why, expected) => assert_eq!(why, expected, "{code} {remark}"),
            }
        }
    }
}
