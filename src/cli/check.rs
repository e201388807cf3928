//! `dockwarden check`: everything `serve` does short of listening, and what is probably not meant.

use std::sync::Arc;

use settings::ShownPath;

use super::{DONE, FAILED, complain, environment, say, test};
use crate::access::Access;
use crate::app::{App, Source};
use crate::authn::password::Passwords;
use crate::authn::users::{KIND as USERS, Users};
use crate::authz::rules::Rules;
use crate::backend::Facts;
use crate::config::{Config, Pair, Problem, Secrets};
use crate::descriptors::transfers_at_once;
use crate::directory::{self, Directory};
use crate::gateway::Gateway;
use crate::metrics::Metrics;
use crate::policy_tests::Failing;
use crate::reach::{REACH_WITHIN, Reached};
use crate::records::InUse;
use crate::shown::{counted, escaped};

/// Runs the command; with `--connect` each backend that the file names is tried too.
pub(super) fn run(source: &Source, with_connect: bool) -> u8 {
    let mut report = match read(source) {
        Ok(report) => report,
        Err(message) => return complain(&message),
    };
    if !with_connect {
        return say(&report, DONE);
    }
    let reached = match connect(source) {
        Ok(reached) => reached,
        Err(error) => return complain(&format!("{report}{}: {error:#}", source.file.display())),
    };
    for remark in remarks(source) {
        report.push_str(&format!("warning: {}: {}\n", directory::NAME, escaped(&remark)));
    }
    let mut status = DONE;
    if reached.is_empty() {
        report.push_str("nothing to try: the file names neither a server nor a program\n");
    }
    for Reached { name, found } in reached {
        let (word, told) = match found {
            Ok(found) => ("ok", found),
            Err(error) => {
                status = FAILED;
                ("failed", format!("{error:#}"))
            }
        };
        // Names and comments in a database could hold line breaks, or make a terminal obey.
        report.push_str(&format!("{name}: {word}: {}\n", escaped(&told)));
    }
    say(&report, status)
}

/// What there is to say of the file.
///
/// # Errors
/// The message of a file that cannot be used.
fn read(source: &Source) -> Result<String, String> {
    let told = |warnings: &[Problem]| -> String {
        warnings.iter().map(|warning| format!("warning: {}\n", warning.in_file(&source.file))).collect()
    };
    let doubts = environment::doubts(std::env::vars_os());
    let config = match source.load(Secrets::Read) {
        Ok(config) => config,
        Err(invalid) => {
            let number = counted(invalid.problems.len(), "problem");
            return Err(format!("{}{invalid}\n{number}: the file cannot be used", told(&doubts)));
        }
    };
    let mut warnings = config.lint();
    warnings.extend(doubts);
    let mut report = told(&warnings);
    let key = match &config.token.pair {
        Pair::Loaded(key) => format!("{:?}", key.algorithm()),
        Pair::ToBeMade { key } if key.exists() => {
            format!("the key in {}, whose certificate is made at the first start", ShownPath(key))
        }
        Pair::ToBeMade { key } => format!("RS256, made at the first start in {}", ShownPath(key)),
        Pair::LeafToBeMade => format!("a leaf, made at the start in {}", ShownPath(&config.token.certificate)),
        Pair::NotRead => "not read".to_owned(),
    };
    let mut users = counted(config.backends.get::<Users>().map_or(0, Users::len), "user");
    let rules = config.backends.get::<Rules>().map_or(0, |rules| rules.acl.rules().len());
    let mut rules = counted(rules, "rule");
    for (section, facts) in config.backends.facts() {
        match facts {
            Facts::Accounts(_) if section == USERS.key => {}
            Facts::Accounts(accounts) => {
                users.push_str(&format!(" and {} of {section}", counted(accounts.len(), "account")))
            }
            Facts::AccountsElsewhere(_) | Facts::LoginsElsewhere(_) => {
                users.push_str(&format!(" and those of {section}, which is asked when it is needed"));
            }
            Facts::RulesElsewhere | Facts::Decisions => {
                rules.push_str(&format!(" and those of {section}, which is asked when it is needed"));
            }
            Facts::Rules => {}
        }
    }
    let mut summary = format!("{users}, {rules}, signing with {key}");
    if config.server.acme.is_some() {
        summary.push_str(", ordering the listener's certificate");
    }
    if let Some(gateway) = &config.gateway {
        let names: Vec<&str> = gateway.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
        summary.push_str(&format!(", gateway to {}", names.join(", ")));
    }
    match config.token.pair {
        Pair::Loaded(_) => open(source, config).map_err(|error| match error.downcast_ref::<Failing>() {
            // Each line of it begins with the file.
            Some(failing) => format!("{report}{failing}"),
            None => format!("{report}{}: {error:#}", source.file.display()),
        })?,
        Pair::ToBeMade { .. } | Pair::LeafToBeMade | Pair::NotRead => {
            test::hold(config).map_err(|message| format!("{report}{message}"))?;
        }
    }
    let file = source.file.display();
    report.push_str(&match warnings.len() {
        0 => format!("{file}: ok ({summary})\n"),
        number => format!("{file}: usable, with {} ({summary})\n", counted(number, "warning")),
    });
    Ok(report)
}

/// What of the directory of the records counts for nothing beside the file. Where they cannot be read, that is told of them anyway.
fn remarks(source: &Source) -> Vec<String> {
    let read = || {
        let config = source.load(Secrets::Read).ok()?;
        let settings = config.directory.filter(|own| own.store.as_ref().is_some_and(|store| !store.is_unmade()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        let view = runtime.block_on(async {
            let directory = Directory::open(settings).ok()?;
            tokio::time::timeout(REACH_WITHIN, directory.read_again()).await.ok()?.ok()?;
            directory.view().ok()
        });
        runtime.shutdown_background();
        view
    };
    read().map(|view| view.remarks().to_vec()).unwrap_or_default()
}

/// Tries each backend, in the order in which they are asked, then the records, and then each upstream of the gateway: servers are asked,
/// programs are looked for.
pub(super) fn connect(source: &Source) -> anyhow::Result<Vec<Reached>> {
    let Config { backends, gateway, records, workload, .. } = source.load(Secrets::Read)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let reached = runtime.block_on(async {
        let passwords = Arc::new(Passwords::new(|_| {})?);
        let metrics = Metrics::default();
        let access = Access::open(&backends, None, &passwords, &metrics)?.with_workloads(workload, None, &metrics)?;
        let mut reached = access.reach().await;
        if let Some(settings) = records {
            reached.extend(InUse::open(settings).reach().await);
        }
        if let Some(settings) = gateway {
            reached.extend(Gateway::open(settings, None, transfers_at_once())?.reach().await);
        }
        anyhow::Ok(reached)
    })?;
    // A driver's thread that still waits for a name server must not keep the command.
    runtime.shutdown_background();
    Ok(reached)
}

/// Makes everything ready, as `serve` does. What would go on in the background never runs: no server is asked.
fn open(source: &Source, config: Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _inside = runtime.enter();
    App::open(source.clone(), config).map(|_| ())
}
