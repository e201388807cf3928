//! What directories say of accounts that may not be used, beside "invalid credentials", under which most of them hide it.
//!
//! Some say so only to whoever has the right password, some to anybody. Whatever they say is for the log alone.

use super::protocol::Done;
use super::verdict::policy;

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
