//! Names: of robots, and of secrets that follow one another.

use super::not_made::{LONGEST_NAME, LONGEST_ROBOT, NotMade};
use crate::identity::Account;
use crate::records::{ROBOT_PREFIX, RobotName};

/// Reads a robot's name, with or without the prefix that it logs in with.
///
/// # Errors
/// No robot can be called so.
pub fn robot_name(text: &str) -> Result<RobotName, NotMade> {
    let text = text.strip_prefix(ROBOT_PREFIX).unwrap_or(text);
    let is_plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let is_joint = |letter: char| matches!(letter, '.' | '-' | '_');
    let is_name = text.len() <= LONGEST_ROBOT
        && text.chars().all(|letter| is_plain(letter) || is_joint(letter))
        && text.starts_with(is_plain)
        && text.ends_with(is_plain);
    match is_name {
        true => Ok(RobotName(text.into())),
        false => Err(NotMade::RobotName),
    }
}

/// The account that a robot logs in with.
///
/// # Errors
/// No account can be called so.
pub fn robot_account(name: &RobotName) -> Result<Account, NotMade> {
    Account::parse(&format!("{ROBOT_PREFIX}{}", name.0)).map_err(|_| NotMade::RobotName)
}

/// Whether an account has the name of a robot, in any case of letters.
pub(crate) fn is_robots(account: &str) -> bool {
    account.get(..ROBOT_PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(ROBOT_PREFIX))
}

/// A name like this one that none of the others has: `deploy`, `deploy 2`, `deploy 3`.
pub(super) fn free_name(name: &str, others: &[&str]) -> String {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    let base = name.rsplit_once(' ').filter(|(_, last)| number(last)).map_or(name, |(base, _)| base);
    let mut base = base.to_owned();
    while base.len() + 4 > LONGEST_NAME {
        base.pop();
    }
    let names = std::iter::once(name.to_owned()).chain((2..=others.len() + 2).map(|number| format!("{base} {number}")));
    names.into_iter().find(|name| !others.contains(&name.as_str())).unwrap_or(base)
}
