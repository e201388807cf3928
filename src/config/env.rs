//! Environment variables that were meant for the configuration, and are spelled so that nothing reads them.

use settings::env::PREFIX;

/// What Kubernetes adds to the name of a service, in the variables that it gives to every container.
const OF_A_SERVICE: &[&str] = &["SERVICE_HOST", "SERVICE_PORT", "PORT"];

/// The settings of a user, behind the account's name.
const OF_A_USER: &[&str] = &["PASSWORD", "PASSWORD_FILE", "DISABLED", "NOT_BEFORE", "NOT_AFTER"];

/// How a variable is spelled whose name is that of a key but for its underscores, or its capitals; nothing reads it then.
/// `None` for every other.
pub fn well_spelled(name: &str) -> Option<String> {
    let upper = name.to_ascii_uppercase();
    let path = upper.strip_prefix("DOCKWARDEN_").filter(|_| !name.starts_with(PREFIX))?.trim_start_matches('_');
    let of_section = |section: &'static str| {
        let section = section.to_ascii_uppercase();
        let rest = path.strip_prefix(&section)?.strip_prefix('_')?;
        let is_key = !OF_A_SERVICE.iter().any(|word| rest.starts_with(word));
        is_key.then(|| (section, rest.trim_start_matches('_').to_owned()))
    };
    // Where one section's name begins another's, the longer one is meant.
    let (section, rest) = super::sections().filter_map(of_section).max_by_key(|(section, _)| section.len())?;
    let of_user = OF_A_USER.iter().filter(|_| section == "USERS" && !rest.contains("__")).filter_map(|key| {
        let account = rest.strip_suffix(key)?.strip_suffix('_')?;
        Some(format!("{account}__{key}"))
    });
    let rest = of_user.max_by_key(String::len).unwrap_or(rest);
    Some(format!("{PREFIX}{section}__{rest}"))
}
