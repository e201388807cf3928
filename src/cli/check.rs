//! `dockwarden check`: everything `serve` does short of listening, and what is probably not meant.

use crate::app::{App, Source};
use crate::authz::lint::lint;
use crate::config::{Config, Keys, Pair};

use super::{DONE, complain, say};

/// Runs the command.
pub(super) fn run(source: &Source) -> u8 {
    let config = match source.load(Keys::Read) {
        Ok(config) => config,
        Err(invalid) => {
            return complain(&format!("{invalid}\n{} problem(s): the file cannot be used", invalid.problems.len()));
        }
    };
    let warnings = lint(&config);
    let mut report: String =
        warnings.iter().map(|warning| format!("warning: {}\n", warning.in_file(&config.file))).collect();
    let key = match &config.token.pair {
        Pair::Loaded(key) => format!("{:?}", key.algorithm()),
        Pair::ToBeMade { key } if key.exists() => {
            format!("the key in {}, whose certificate is made at the first start", key.display())
        }
        Pair::ToBeMade { key } => format!("RS256, made at the first start in {}", key.display()),
        Pair::NotRead => "not read".to_owned(),
    };
    let summary =
        format!("{} users, {} rules, signing with {key}", config.backends.users.len(), config.backends.acl.0.len());
    if matches!(config.token.pair, Pair::Loaded(_))
        && let Err(error) = open(source, config)
    {
        return complain(&format!("{report}{}: {error:#}", source.file.display()));
    }
    let file = source.file.display();
    report.push_str(&match warnings.len() {
        0 => format!("{file}: ok ({summary})\n"),
        number => format!("{file}: usable, with {number} warning(s) ({summary})\n"),
    });
    say(&report, DONE)
}

/// Makes everything ready, as `serve` does. What would go on in the background never runs: no server is asked.
fn open(source: &Source, config: Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _inside = runtime.enter();
    App::open(source.clone(), config).map(|_| ())
}
