//! `dockwarden explain`: why somebody may or may not do something, for one question or for a file of them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Read, Write, stdin, stdout};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::time::Instant;

use super::{DONE, NOT_ALL_GRANTED, complain, say};
use crate::authn::Identity;
use crate::authn::users::Users;
use crate::authz::acl::Acl;
use crate::authz::explain::{Said, Step, explain};
use crate::authz::pattern::{LabelValue, LabelValues};
use crate::authz::{Answer, Question};
use crate::config::Keys;
use crate::scope::{Action, Actions, Reference, Resource, Scope, parse_actions};

/// The command's arguments.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The configuration file
    config: PathBuf,
    /// Who asks; nobody if left out
    #[arg(long, default_value = "", conflicts_with = "requests")]
    account: String,
    /// A label of the account (may be repeated); the account's own labels if left out
    #[arg(long = "label", value_name = "NAME=VALUE", conflicts_with = "requests")]
    labels: Vec<String>,
    /// Where the client is
    #[arg(long, conflicts_with = "requests")]
    ip: Option<IpAddr>,
    /// The tag or digest that a request to the registry names; token requests name none
    #[arg(long, conflicts_with = "requests")]
    reference: Option<String>,
    /// The registry's service name
    #[arg(long, conflicts_with = "requests")]
    service: Option<String>,
    /// Print JSON
    #[arg(long, conflicts_with = "requests")]
    json: bool,
    /// Answer a file of questions, one JSON object a line ("-" is standard input)
    #[arg(long, value_name = "FILE")]
    requests: Option<PathBuf>,
    /// What is asked for, such as repository:team/app:pull,push
    #[arg(required_unless_present = "requests", conflicts_with = "requests")]
    scopes: Vec<String>,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> u8 {
    let config = match super::source(arguments.config.clone()).load(Keys::LeftAlone) {
        Ok(config) => config,
        Err(invalid) => {
            return complain(&invalid.to_string());
        }
    };
    if config.backends.acl_mongo.is_some() {
        // What only a part of the rules says would be taken for the answer.
        return complain(&format!(
            "{}: acl_mongo: there are rules in MongoDB, and explain knows those of the file only; the log names the rule \
             that decided a request",
            config.file.display()
        ));
    }
    let services = config.token.services;
    let policy = Policy {
        users: config.backends.users,
        acl: Acl::new(config.backends.acl.into_rules()),
        now: OffsetDateTime::now_utc(),
    };
    let done = match &arguments.requests {
        Some(file) => answer_file(&policy, file),
        None => {
            let service = arguments.service.as_deref().or(services.first().map(String::as_str)).unwrap_or_default();
            explain_scopes(&policy, arguments, service)
        }
    };
    done.unwrap_or_else(|message| complain(&format!("dockwarden: {message}")))
}

/// Users and rules, at one moment.
struct Policy {
    users: Users,
    acl: Acl,
    now: OffsetDateTime,
}

impl Policy {
    /// The account with the given labels, or with its own where none are given.
    fn identity(&self, account: &str, labels: Option<LabelValues>) -> Identity {
        let user = self.users.get(account);
        let own = || user.map(|user| Arc::clone(&user.labels)).unwrap_or_default();
        Identity {
            account: account.to_owned(),
            labels: labels.map_or_else(own, Arc::new),
            standing: user.map(|user| user.standing).unwrap_or_default(),
        }
    }
}

/// One question of a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request<'a> {
    #[serde(borrow, default)]
    account: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    labels: Option<BTreeMap<Cow<'a, str>, Vec<Cow<'a, str>>>>,
    #[serde(borrow, default)]
    ip: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    service: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    actions: Vec<Cow<'a, str>>,
}

/// The answer to one question of a file.
#[derive(Serialize)]
struct Reply<'a> {
    rule: Option<usize>,
    comment: Option<&'a str>,
    granted: Vec<&'a str>,
    withheld: Vec<&'a str>,
}

fn answer_file(policy: &Policy, file: &PathBuf) -> Result<u8, String> {
    let source: Box<dyn Read> = match file.as_os_str() == "-" {
        true => Box::new(stdin()),
        false => Box::new(File::open(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?),
    };
    let mut input = BufReader::with_capacity(1 << 16, source);
    let mut out = BufWriter::with_capacity(1 << 16, stdout().lock());
    let mut line = String::new();
    for number in 1.. {
        let at = |message: String| format!("{}:{number}: {message}", file.display());
        line.clear();
        if input.read_line(&mut line).map_err(|error| at(error.to_string()))? == 0 {
            break;
        }
        if line.trim().is_empty() {
            continue;
        }
        let request: Request<'_> = serde_json::from_str(&line).map_err(|error| at(error.to_string()))?;
        write_answer(policy, &request, &mut out).map_err(at)?;
        // Whoever asks one question at a time waits for the answer before the next one.
        if input.buffer().is_empty() {
            out.flush().map_err(|error| at(error.to_string()))?;
        }
    }
    out.flush().map_err(|error| error.to_string())?;
    Ok(DONE)
}

fn write_answer(policy: &Policy, request: &Request<'_>, out: &mut impl Write) -> Result<(), String> {
    let labels = match &request.labels {
        None => None,
        Some(given) => Some(read_labels(
            given.iter().flat_map(|(name, values)| values.iter().map(move |value| (name.as_ref(), value.as_ref()))),
        )?),
    };
    let address = match request.ip.as_deref() {
        None | Some("") => None,
        Some(text) => Some(text.parse::<IpAddr>().map_err(|_| format!("\"{text}\" is no address"))?),
    };
    let identity = policy.identity(request.account.as_deref().unwrap_or_default(), labels);
    let actions = parse_actions(request.actions.iter().map(AsRef::as_ref));
    // A resource that no registry can hold, or an account that may not be used, gets nothing and meets no rule.
    let usable = identity.standing.check(policy.now).is_ok();
    let answer = match Resource::new(&request.kind, &request.name) {
        Ok(resource) if usable => {
            let question = Question {
                identity: &identity,
                address,
                service: request.service.as_deref().unwrap_or_default(),
                resource: &resource,
                actions: &actions,
                reference: None,
                now: policy.now,
                began: Instant::now(),
            };
            policy.acl.decide(&question).map_err(|error| error.to_string())?
        }
        Ok(_) | Err(_) => Answer::NoMatch { until: None },
    };
    let (granted, by) = match answer {
        Answer::Decided { actions, by, .. } => (actions, Some(by)),
        Answer::NoMatch { .. } => (Actions::new(), None),
    };
    let mut withheld: Vec<&str> = request
        .actions
        .iter()
        .map(AsRef::as_ref)
        .filter(|word| !granted.iter().any(|action| action.as_str() == *word))
        .collect();
    withheld.sort_unstable();
    withheld.dedup();
    let reply = Reply {
        rule: by.as_ref().map(|rule| rule.index),
        comment: by.as_ref().and_then(|rule| rule.comment.as_deref()),
        granted: granted.iter().map(Action::as_str).collect(),
        withheld,
    };
    serde_json::to_writer(&mut *out, &reply).map_err(|error| error.to_string())?;
    out.write_all(b"\n").map_err(|error| error.to_string())
}

/// Labels as an administrator writes them: globs.
fn read_labels<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<LabelValues, String> {
    let mut labels = LabelValues::new();
    for (name, value) in pairs {
        let value = LabelValue::glob(value).map_err(|error| error.to_string())?;
        labels.entry(name.to_owned()).or_default().push(value);
    }
    Ok(labels)
}

/// The explanation of one scope, as JSON.
#[derive(Serialize)]
struct Explanation {
    scope: String,
    granted: Vec<String>,
    withheld: Vec<String>,
    rule: Option<usize>,
    comment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    rules: Vec<ExplainedRule>,
}

/// What one rule said, as JSON.
#[derive(Serialize)]
struct ExplainedRule {
    index: usize,
    comment: Option<String>,
    matches: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pattern: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
}

fn explain_scopes(policy: &Policy, arguments: &Arguments, service: &str) -> Result<u8, String> {
    let labels = match arguments.labels.as_slice() {
        [] => None,
        given => {
            let split =
                |text: &'_ String| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
            let pairs: Option<Vec<_>> = given.iter().map(split).collect();
            let pairs = pairs.ok_or("a label is written as --label name=value")?;
            Some(read_labels(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))?)
        }
    };
    let identity = policy.identity(&arguments.account, labels);
    let reference = match arguments.reference.as_deref() {
        None => None,
        Some(text) => Some(Reference::parse(text).ok_or_else(|| format!("\"{text}\" is neither a tag nor a digest"))?),
    };
    let mut explanations = Vec::with_capacity(arguments.scopes.len());
    for text in &arguments.scopes {
        let mut scope = Scope::parse(text).map_err(|error| format!("\"{text}\" is no scope: {error}"))?;
        scope.reference.clone_from(&reference);
        explanations.push(explain_scope(policy, &identity, arguments.ip, service, &scope)?);
    }
    let printed = match arguments.json {
        true => serde_json::to_string_pretty(&explanations).map_err(|error| error.to_string())?,
        false => {
            let who = describe(policy, &identity, &arguments.account);
            let mut text = vec![who];
            text.extend(explanations.iter().map(render));
            text.join("\n")
        }
    };
    let all = explanations.iter().all(|explanation| explanation.withheld.is_empty());
    Ok(say(&format!("{printed}\n"), if all { DONE } else { NOT_ALL_GRANTED }))
}

fn explain_scope(
    policy: &Policy,
    identity: &Identity,
    address: Option<IpAddr>,
    service: &str,
    scope: &Scope,
) -> Result<Explanation, String> {
    let Scope { resource, actions, class: _, reference } = scope;
    let (reference, now, began) = (reference.as_ref(), policy.now, Instant::now());
    let question = Question { identity, address, service, resource, actions, reference, now, began };
    let (steps, answer, note) = match identity.standing.check(policy.now) {
        Ok(()) => {
            let steps = explain(&policy.acl, &question).map_err(|error| error.to_string())?;
            (steps, policy.acl.decide(&question).map_err(|error| error.to_string())?, None)
        }
        Err(closed) => {
            (Vec::new(), Answer::NoMatch { until: None }, Some(format!("{closed}: nobody can log in with it")))
        }
    };
    let (granted, by) = match answer {
        Answer::Decided { actions, by, .. } => (actions, Some(by)),
        Answer::NoMatch { .. } => (Actions::new(), None),
    };
    let texts = |actions: &Actions| actions.iter().map(ToString::to_string).collect::<Vec<_>>();
    let withheld = scope.actions.difference(&granted).cloned().collect();
    Ok(Explanation {
        scope: scope.to_string(),
        granted: texts(&granted),
        withheld: texts(&withheld),
        rule: by.as_ref().map(|rule| rule.index),
        comment: by.and_then(|rule| rule.comment.as_deref().map(str::to_owned)),
        note,
        rules: steps.into_iter().map(explained).collect(),
    })
}

fn explained(step: Step) -> ExplainedRule {
    let (matches, field, pattern, value) = match step.said {
        Said::Decides => (true, None, None, None),
        Said::Differs { field, wanted, found } => (false, Some(field.to_string()), Some(wanted), Some(found)),
    };
    ExplainedRule { index: step.index, comment: step.comment, matches, field, pattern, value }
}

fn describe(policy: &Policy, identity: &Identity, account: &str) -> String {
    let name = if account.is_empty() { "anonymous" } else { account };
    let labels: Vec<String> = identity
        .labels
        .iter()
        .map(|(label, values)| {
            let texts: Vec<&str> = values.iter().map(LabelValue::text).collect();
            format!("{label}=[{}]", texts.join(", "))
        })
        .collect();
    let known = if policy.users.contains_key(account) { "" } else { " (not among the users of this file)" };
    match labels.is_empty() {
        true => format!("{name}{known}, no labels"),
        false => format!("{name}{known}, labels {}", labels.join(" ")),
    }
}

fn render(explanation: &Explanation) -> String {
    let mut lines = vec![String::new(), explanation.scope.clone()];
    if let Some(note) = &explanation.note {
        lines.push(format!("  {note}"));
    }
    for rule in &explanation.rules {
        let comment = rule.comment.as_deref().map(|comment| format!("  # {comment}")).unwrap_or_default();
        let said = match (&rule.field, &rule.pattern, &rule.value) {
            (Some(field), Some(pattern), Some(value)) => format!("{field}: \"{pattern}\" does not match \"{value}\""),
            _ => "matches, and decides".to_owned(),
        };
        lines.push(format!("  acl[{}] {said}{comment}", rule.index));
    }
    if explanation.rule.is_none() && explanation.note.is_none() {
        lines.push("  no rule matches: nothing is granted".to_owned());
    }
    let list = |actions: &[String]| if actions.is_empty() { "nothing".to_owned() } else { actions.join(",") };
    lines.push(format!("  granted:  {}", list(&explanation.granted)));
    lines.push(format!("  withheld: {}", list(&explanation.withheld)));
    lines.join("\n")
}
