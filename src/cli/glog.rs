//! The flags that docker_auth's logging library adds to its command line, so that existing compose, Helm and Nomad
//! files start Dockwarden as they are.

use std::ffi::OsString;

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verbosity {
    /// What an operator needs.
    Usual,
    /// `--v=3` and above: also what happens on single connections.
    Detailed,
}

/// The command line without those flags.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// What is left.
    pub(super) arguments: Vec<OsString>,
    /// What `--v` asked for.
    pub(super) verbosity: Verbosity,
}

/// Flags that are switches.
const SWITCHES: &[&str] = &["alsologtostderr", "logtostderr"];
/// Flags with a value, after `=` or as the next argument. The log goes to standard error whatever they say.
const VALUED: &[&str] = &["v", "vmodule", "stderrthreshold", "log_dir", "log_backtrace_at"];

/// Takes the flags out, with one dash or two, as Go reads them.
pub(super) fn take(arguments: impl IntoIterator<Item = OsString>) -> Taken {
    let mut left = Vec::new();
    let mut verbosity = Verbosity::Usual;
    let mut arguments = arguments.into_iter();
    let mut only_words_follow = false;
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy();
        let flag = text
            .strip_prefix("--")
            .or_else(|| text.strip_prefix('-'))
            .filter(|_| !only_words_follow && !left.is_empty());
        only_words_follow |= text == "--";
        let Some(flag) = flag else {
            left.push(argument);
            continue;
        };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        if SWITCHES.contains(&name) {
            continue;
        }
        if !VALUED.contains(&name) {
            left.push(argument);
            continue;
        }
        let is_level = name == "v";
        let value = value.or_else(|| arguments.next().map(|next| next.to_string_lossy().into_owned()));
        if is_level && value.and_then(|level| level.parse::<i32>().ok()).is_some_and(|level| level >= 3) {
            verbosity = Verbosity::Detailed;
        }
    }
    Taken { arguments: left, verbosity }
}

#[cfg(test)]
mod tests {
    use super::Verbosity::{Detailed, Usual};
    use super::*;

    #[test]
    fn the_flags_of_docker_auth_are_taken_and_nothing_else() {
        let cases: &[(&str, &str, Verbosity)] = &[
            ("dockwarden --v=2 --alsologtostderr /config/auth_config.yml", "dockwarden /config/auth_config.yml", Usual),
            ("dockwarden -v 3 -logtostderr=true c.yml", "dockwarden c.yml", Detailed),
            ("dockwarden -stderrthreshold INFO --vmodule=a=1,b=2 -log_dir=/var/log c.yml", "dockwarden c.yml", Usual),
            ("dockwarden explain c.yml --account a -- --v=2", "dockwarden explain c.yml --account a -- --v=2", Usual),
            ("dockwarden --version", "dockwarden --version", Usual),
            ("dockwarden -V", "dockwarden -V", Usual),
        ];
        for (given, left, verbosity) in cases {
            let taken = take(given.split(' ').map(OsString::from));
            let words: Vec<OsString> = left.split(' ').map(OsString::from).collect();
            assert_eq!(taken, Taken { arguments: words, verbosity: *verbosity }, "{given}");
        }
    }
}
