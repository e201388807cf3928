//! What a backend has by its line in the table alone, shown with the silly one ([`crate::authn::silly`]).
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use ::policy::pattern::LabelValue;
use time::OffsetDateTime;

use super::policy::{Policy, Sources};
use super::told::describe;
use crate::app::{App, Reload, Source};
use crate::authn::{Account, Credentials, LookUp, Secret};
use crate::cli::check;
use crate::config::Secrets;
use crate::reach::Reached;

const RULES: &str = "acl: [{match: {labels: {opening: \"*\"}}, actions: [pull]}]\n";
const SILLY: &str = "silly: {account: clown}\n";

/// A folder with a configuration, and a runtime to ask in.
struct Bed {
    _folder: tempfile::TempDir,
    source: Source,
    runtime: tokio::runtime::Runtime,
}

impl Bed {
    fn with(sections: &str) -> Bed {
        let folder = tempfile::tempdir().unwrap();
        let source = Source { file: folder.path().join("config.yml"), variables: Vec::new() };
        let bed = Bed { _folder: folder, source, runtime: tokio::runtime::Runtime::new().unwrap() };
        bed.write(sections);
        bed
    }

    fn write(&self, sections: &str) {
        let beside = |name: &str| -> PathBuf { self.source.file.with_file_name(name) };
        let (certificate, key) = (beside("token.crt"), beside("token.key"));
        let token = format!(
            "token: {{issuer: i, certificate: {}, key: {}, generate: true}}\n",
            certificate.display(),
            key.display()
        );
        std::fs::write(&self.source.file, format!("server: {{addr: \":0\"}}\n{token}{sections}")).unwrap();
    }

    fn app(&self) -> App {
        let _inside = self.runtime.enter();
        App::open(self.source.clone(), self.source.load_and_make_key().unwrap()).unwrap()
    }

    /// Which of all openings the backend in use is.
    fn opening(&self, app: &App) -> String {
        let clown = Account::parse("clown").unwrap();
        match self.runtime.block_on(app.snapshot().access.look_up(&clown, None)).unwrap() {
            LookUp::Known(identity) => identity.labels.values().flatten().map(LabelValue::text).collect(),
            LookUp::Unknown | LookUp::OnlyByLogin => "nobody knows the clown".to_owned(),
        }
    }

    fn wrong(&self) -> String {
        self.source.load(Secrets::Skip).unwrap_err().to_string()
    }
}

#[test]
fn it_is_in_the_chain_and_its_answers_are_counted() {
    let bed = Bed::with(&format!("users: {{\"\": {{}}}}\n{SILLY}{RULES}"));
    let app = bed.app();
    for (account, password, granted) in [("clown", "ha", true), ("clown", "ho", false), ("nobody", "ha", false)] {
        let who = Credentials::Password { account: Account::parse(account).unwrap(), password: Secret::new(password) };
        let said = bed.runtime.block_on(app.snapshot().access.identify(&who, None, OffsetDateTime::UNIX_EPOCH));
        assert_eq!(said.is_ok(), granted, "{account} {password}: {said:?}");
    }
    let text = app.metrics_text(OffsetDateTime::UNIX_EPOCH).unwrap();
    for outcome in ["accepted", "rejected", "not_mine"] {
        let line = format!("dockwarden_backend_answers_total{{backend=\"silly\",outcome=\"{outcome}\"}} 1");
        assert!(text.contains(&line), "{line} is not in {text}");
    }
}

#[test]
fn its_section_is_a_way_to_log_in_and_a_known_key() {
    assert!(Bed::with(RULES).wrong().contains("users: no way to log in is configured"));
    let known = Bed::with(&format!("{SILLY}{RULES}"));
    known.source.load(Secrets::Skip).unwrap();
    let misspelt = Bed::with(&format!("sily: {{account: clown}}\nqqqqqqqq: 1\n{RULES}")).wrong();
    assert!(misspelt.contains("sily: there is no such key; did you mean \"silly\"?"), "{misspelt}");
    assert!(misspelt.contains(", silly, ") && misspelt.contains("qqqqqqqq: there is no such key"), "{misspelt}");
    let variable = crate::config::well_spelled("DOCKWARDEN_SILLY_ACCOUNT");
    assert_eq!(variable.as_deref(), Some("DOCKWARDEN__SILLY__ACCOUNT"));
    let inside = Bed::with(&format!("silly: {{account: clown, dwn: true}}\n{RULES}")).wrong();
    assert!(inside.contains("silly.dwn: there is no such key; did you mean \"down\"?"), "{inside}");
}

#[test]
fn it_is_tried_by_check() {
    for (section, expected) in
        [(SILLY, Ok("somebody laughs")), ("silly: {account: c, down: true}\n", Err("nobody laughs"))]
    {
        let bed = Bed::with(&format!("{section}{RULES}"));
        bed.source.load_and_make_key().unwrap();
        let reached = check::connect(&bed.source).unwrap();
        let found: Vec<_> = reached
            .iter()
            .map(|Reached { name, found }| (*name, found.as_ref().map(String::as_str).map_err(ToString::to_string)))
            .collect();
        assert_eq!(found, [("silly", expected.map_err(str::to_owned))]);
    }
}

#[test]
fn accounts_and_labels_there_are_no_mistakes_to_lint() {
    let rules = "acl: [{match: {account: clown, labels: {opening: \"1\"}}, actions: []}, {match: {account: alice}, actions: [pull]}]\n";
    let users = "users: {bob: {password: \"$2y$10$uA5ccMdmZGwpWZkFEOEKzOxHpGyLFNcnN0Lkl3yHxCaB5XD0NBU1m\"}}\n";
    let said = |sections: &str| -> String {
        let config = Bed::with(sections).source.load(Secrets::Skip).unwrap();
        config.lint().iter().map(|warning| format!("{}: {}\n", warning.path, warning.message)).collect()
    };
    let without = said(&format!("{users}{rules}"));
    assert!(
        without.contains("no user has the label \"opening\"") && without.contains("is called \"alice\""),
        "{without}"
    );
    assert_eq!(said(&format!("{users}{SILLY}{rules}")), "");
}

#[test]
fn explain_looks_its_accounts_up_in_the_chain() {
    let bed = Bed::with(&format!("{SILLY}{RULES}"));
    let mut policy = Policy::read(bed.source.load(Secrets::Skip).unwrap(), Sources::All).unwrap();
    let clown = policy.asker("clown", None).unwrap();
    assert!(clown.known && describe(&policy, &clown).starts_with("clown, labels opening=["));
    let stranger = policy.asker("stranger", None).unwrap();
    let told = describe(&policy, &stranger);
    assert_eq!(told, "stranger (not among the users of this file or of the circus), no labels");
    assert!(policy.turns_away(&stranger).is_some_and(|why| why.starts_with("no section knows this account")));
    assert!(policy.strangers.is_empty() && policy.deciders.is_empty());
}

#[test]
fn whether_it_is_down_is_a_metric() {
    for (section, value) in [(SILLY, 0), ("silly: {account: clown, down: true}\n", 1)] {
        let app = Bed::with(&format!("{section}{RULES}")).app();
        let text = app.metrics_text(OffsetDateTime::UNIX_EPOCH).unwrap();
        let line = format!("dockwarden_backend_down{{backend=\"silly\"}} {value}\n");
        assert!(text.contains(&line), "{line} is not in {text}");
    }
}

#[test]
fn a_reload_keeps_it_where_its_section_stays_and_tries_it_where_not() {
    let bed = Bed::with(&format!("{SILLY}{RULES}"));
    let app = bed.app();
    let _inside = bed.runtime.enter();
    let first = bed.opening(&app);
    bed.write(&format!("{SILLY}acl: []\n"));
    assert_eq!((app.reload(), bed.opening(&app)), (Reload::Done, first.clone()), "only the rules have changed");
    bed.write(&format!("silly: {{account: clown, down: true}}\n{RULES}"));
    assert_eq!((app.reload(), bed.opening(&app)), (Reload::Failed, first.clone()), "the new one does not answer");
    bed.write(&format!("silly: {{account: clown}}\nusers: {{}}\n{RULES}"));
    assert_eq!((app.reload(), bed.opening(&app)), (Reload::Done, first.clone()), "it is as it was");
    bed.write(&format!("silly: {{account: pierrot}}\n{RULES}"));
    assert_eq!(app.reload(), Reload::Done);
    bed.write(&format!("{SILLY}{RULES}"));
    assert_eq!(app.reload(), Reload::Done);
    assert_ne!(bed.opening(&app), first, "another one was in use meanwhile");
}
