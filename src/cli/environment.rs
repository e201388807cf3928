//! Environment variables that are left out without anybody noticing: names and values that nothing reads.

use std::ffi::OsString;

use settings::Place;
use settings::spelling::nearest;
use tracing_subscriber::EnvFilter;

use crate::config::{ENVIRONMENT_PREFIX, Problem, well_spelled};

/// The words that `RUST_LOG` has for how much is logged.
const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];
/// Words that others have for it.
const OTHERS: &[&str] = &["all", "none", "fatal", "critical", "notice", "verbose"];

/// What is probably not meant about the variables of this process. Values are not repeated.
pub(super) fn doubts(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Vec<Problem> {
    let mut doubts = Vec::new();
    for (name, value) in variables {
        let Ok(name) = name.into_string() else { continue };
        if let Some(spelled) = well_spelled(&name) {
            let message = format!(
                "nothing reads this variable: two underscores stand after DOCKWARDEN and between the parts of a key, in \
                 capitals; write {spelled}"
            );
            doubts.push(Problem::new(Place::Environment(name), "", message));
            continue;
        }
        let message = match value.to_str() {
            None if name.starts_with(ENVIRONMENT_PREFIX) => "this variable is left out: its value is not UTF-8 text",
            Some(wanted) if name == EnvFilter::DEFAULT_ENV && filter(wanted).is_none() && !wanted.trim().is_empty() => {
                "this cannot be read and is left out; write a level (error, warn, info, debug, trace), or levels for \
                 modules too: info,dockwarden=debug"
            }
            Some(_) | None => continue,
        };
        doubts.push(Problem::new(Place::Environment(name), "", message));
    }
    doubts
}

/// What `RUST_LOG` asks for; `None` where nothing or nothing that can be read stands there. A misspelt level would be read as
/// the name of a module, and no line of ours would be in the log.
pub(super) fn filter(wanted: &str) -> Option<EnvFilter> {
    let is_slip = |word: &str| {
        let word = word.trim().to_ascii_lowercase();
        let is_word = word.bytes().all(|letter| letter.is_ascii_alphabetic());
        let is_level = LEVELS.contains(&word.as_str());
        is_word && !is_level && (OTHERS.contains(&word.as_str()) || nearest(&word, LEVELS).is_some())
    };
    let words = || wanted.split(',').filter(|word| !word.trim().is_empty());
    (words().next().is_some() && !words().any(is_slip)).then_some(())?;
    EnvFilter::try_new(wanted).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    #[test]
    fn a_variable_that_nothing_reads_is_told_without_its_value() {
        for (name, value, expected) in [
            ("DOCKWARDEN_TOKEN_ISSUER", "Hunter2", Some("nothing reads this variable")),
            ("DOCKWARDEN_TOKEN_ISSUER", "Hunter2", Some("write DOCKWARDEN__TOKEN__ISSUER")),
            ("DOCKWARDEN_TOKEN__ISSUER", "Hunter2", Some("write DOCKWARDEN__TOKEN__ISSUER")),
            ("DOCKWARDEN_LDAP_AUTH_BIND_PASSWORD", "Hunter2", Some("write DOCKWARDEN__LDAP_AUTH__BIND_PASSWORD")),
            ("DOCKWARDEN_ACL_MONGO_DIAL_INFO", "Hunter2", Some("write DOCKWARDEN__ACL_MONGO__DIAL_INFO")),
            ("DOCKWARDEN_USERS_BOB_PASSWORD", "Hunter2", Some("write DOCKWARDEN__USERS__BOB__PASSWORD")),
            (
                "DOCKWARDEN_USERS_MY_BOT_PASSWORD_FILE",
                "Hunter2",
                Some("write DOCKWARDEN__USERS__MY_BOT__PASSWORD_FILE"),
            ),
            ("dockwarden__token__issuer", "Hunter2", Some("write DOCKWARDEN__TOKEN__ISSUER")),
            ("DOCKWARDEN__TOKEN__ISSUER", "Hunter2", None),
            // Of other programs, and of Kubernetes, which names each service so.
            ("DOCKWARDEN_TOOLS", "Hunter2", None),
            ("DOCKWARDEN_SERVICE_HOST", "10.0.0.1", None),
            ("DOCKWARDEN_PORT_5001_TCP_ADDR", "10.0.0.1", None),
            ("DOCKWARDEN_SERVER_SERVICE_HOST", "10.0.0.1", None),
            ("DOCKWARDEN_GATEWAY_PORT_5001_TCP_ADDR", "10.0.0.1", None),
            ("RUST_LOG", "dockwarden=Hunter2", Some("this cannot be read")),
            ("RUST_LOG", "debugg", Some("this cannot be read")),
            ("RUST_LOG", "warning,dockwarden=debug", Some("this cannot be read")),
            ("RUST_LOG", "verbose", Some("this cannot be read")),
            ("RUST_LOG", "info,dockwarden=debug", None),
            ("RUST_LOG", "DEBUG", None),
            ("RUST_LOG", "dockwarden", None),
            ("RUST_LOG", "hyper", None),
            ("RUST_LOG", "dockwarden::gateway=trace,hyper=off", None),
            ("RUST_LOG", " ", None),
        ] {
            let doubts = doubts([(OsString::from(name), OsString::from(value))]);
            let told: Vec<&str> = doubts.iter().map(|doubt| doubt.message.as_str()).collect();
            assert_eq!(told.len(), usize::from(expected.is_some()), "{name}={value}: {told:?}");
            assert!(told.iter().all(|told| told.contains(expected.unwrap_or_default())), "{name}={value}: {told:?}");
            assert!(told.iter().all(|told| !told.contains("Hunter2")), "{told:?}");
        }
        let broken = [("DOCKWARDEN__TOKEN__ISSUER".into(), OsString::from_vec(vec![0xff]))];
        assert!(doubts(broken).iter().any(|doubt| doubt.message.contains("not UTF-8 text")));
    }
}
