//! `dockwarden explain`: why somebody may or may not do something, for one question or for a file of them.

mod policy;
#[cfg(test)]
mod tests;
mod told;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Read, Write, stdin, stdout};
use std::net::IpAddr;
use std::path::PathBuf;

use ::policy::Question;
use ::policy::pattern::{LabelValue, LabelValues};
use ::policy::scope::{Action, Actions, Reference, Resource, Scope, ScopeError, parse_actions};
use serde::{Deserialize, Serialize};
use settings::moment::parse_moment;
use settings::{DayEnd, text};
use time::OffsetDateTime;

use super::given::{self, Asks, STANDARD_INPUT};
use super::{DONE, NOT_ALL_GRANTED, Output, complain, say};
use crate::config::Config;
use crate::json;
use crate::policy_tests::scope_from;
pub(super) use policy::{Policy, Sources};

use policy::Asker;
use told::{Explanation, LoginState, describe, render};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The configuration: a file, git:REV:PATH, or "-" for standard input
    config: PathBuf,
    #[command(flatten)]
    query: Query,
    /// Print JSON
    #[arg(long, conflicts_with = "requests")]
    json: bool,
    /// Answer a file of questions by the rules, one JSON object a line ("-" is standard input)
    #[arg(long, value_name = "FILE", conflicts_with = "Query")]
    requests: Option<PathBuf>,
    /// What is asked for, such as repository:team/app:pull,push
    #[arg(required_unless_present = "requests", conflicts_with = "requests")]
    scopes: Vec<String>,
}

// Who asks, from where and how: `acl test` has the same options.
#[derive(clap::Args)]
pub(super) struct Query {
    /// Who asks; nobody if left out. One that the server does not let in is granted nothing, unless --label is given
    #[arg(long, default_value = "")]
    account: String,
    /// A label of the account (may be repeated); the account's own labels if left out
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
    /// The client's IP address
    #[arg(long)]
    ip: Option<IpAddr>,
    /// The tag or digest that a request to the registry names; token requests name none
    #[arg(long)]
    reference: Option<String>,
    /// The registry's service name; the first of the file if left out
    #[arg(long)]
    service: Option<String>,
    /// Another moment than now, such as 2027-01-31 or 2027-01-31T12:00:00Z
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    at: Option<OffsetDateTime>,
}

/// A moment of the command line.
pub(super) fn moment(text: &str) -> Result<OffsetDateTime, String> {
    parse_moment(text, DayEnd::Start)
        .ok_or_else(|| "neither a day nor a moment; write 2027-01-31 or 2027-01-31T12:00:00Z".to_owned())
}

/// Runs the command.
pub(super) fn run(arguments: Arguments) -> u8 {
    let Arguments { config: file, query, json, requests, scopes } = arguments;
    if requests
        .as_ref()
        .is_some_and(|requests| [&file, requests].into_iter().all(|path| path.as_os_str() == STANDARD_INPUT))
    {
        return complain("dockwarden: standard input holds the configuration or the questions, and not both");
    }
    let config = match given::load(&file, Asks::Accounts) {
        Ok(config) => config,
        Err(message) => return complain(&message),
    };
    let answered = Policy::read(config, Sources::All).and_then(|mut policy| match &requests {
        Some(file) => answer_file(&mut policy, file),
        None => {
            let output = if json { Output::Json } else { Output::Text };
            explain_scopes(&mut policy, &query, &scopes, output)
        }
    });
    answered.unwrap_or_else(|message| complain(&format!("dockwarden: {message}")))
}

/// Answers one question by the rules of one section alone, as they are now.
pub(super) fn test(
    config: Config,
    section: &'static str,
    query: &Query,
    scopes: &[String],
    output: Output,
) -> Result<u8, String> {
    explain_scopes(&mut Policy::read(config, Sources::Only(section))?, query, scopes, output)
}

/// One question of a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuestionLine<'a> {
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
    #[serde(borrow, default)]
    reference: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    at: Option<Cow<'a, str>>,
}

/// The answer to one question of a file.
#[derive(Serialize)]
struct AnswerLine<'a> {
    rule: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<i64>,
    comment: Option<&'a str>,
    granted: Vec<&'a str>,
    withheld: Vec<&'a str>,
}

fn answer_file(policy: &mut Policy, file: &PathBuf) -> Result<u8, String> {
    let source: Box<dyn Read> = match file.as_os_str() == STANDARD_INPUT {
        true => Box::new(stdin()),
        false => Box::new(File::open(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?),
    };
    let mut input = BufReader::with_capacity(1 << 16, source);
    let mut out = BufWriter::with_capacity(1 << 16, stdout().lock());
    for number in 1.. {
        let at = |message: String| format!("{}:{number}: {message}", file.display());
        let mut line = Vec::new();
        if input.read_until(b'\n', &mut line).map_err(|error| at(error.to_string()))? == 0 {
            break;
        }
        // Line by line: whoever asks one question at a time waits for the answer before the next one.
        let line = text::decode(line).map_err(|wrong| at(wrong.to_string()))?;
        if line.trim().is_empty() {
            continue;
        }
        let request: QuestionLine<'_> = json::object(line.as_bytes()).map_err(|error| at(error.to_string()))?;
        write_answer(policy, &request, &mut out).map_err(at)?;
        // Whoever asks one question at a time waits for the answer before the next one.
        if input.buffer().is_empty() {
            out.flush().map_err(|error| at(error.to_string()))?;
        }
    }
    out.flush().map_err(|error| error.to_string())?;
    Ok(DONE)
}

fn write_answer(policy: &mut Policy, request: &QuestionLine<'_>, out: &mut impl Write) -> Result<(), String> {
    let labels = match &request.labels {
        None => None,
        Some(given) => Some(read_labels(
            given.iter().flat_map(|(name, values)| values.iter().map(move |value| (name.as_ref(), value.as_ref()))),
        )?),
    };
    let address = match request.ip.as_deref() {
        None | Some("") => None,
        Some(text) => Some(text.parse::<IpAddr>().map_err(|_| format!("\"{text}\" is not an IP address"))?),
    };
    let reference = match request.reference.as_deref() {
        None | Some("") => None,
        Some(text) => Some(Reference::parse(text).ok_or_else(|| format!("\"{text}\" is neither a tag nor a digest"))?),
    };
    let now = match request.at.as_deref() {
        None | Some("") => policy.now,
        Some(text) => parse_moment(text, DayEnd::Start)
            .ok_or_else(|| format!("\"{text}\" is not a date or time; write 2026-12-31T18:00:00Z"))?,
    };
    let Asker { identity, .. } = policy.asker(request.account.as_deref().unwrap_or_default(), labels)?;
    let actions = parse_actions(request.actions.iter().map(AsRef::as_ref));
    // A resource that no registry can hold, or an account that may not be used, gets nothing and meets no rule.
    let usable = identity.standing.check(now).is_ok();
    let (granted, by) = match Resource::of_type(&request.kind, &request.name) {
        Ok(resource) if usable => {
            let service = request.service.as_deref().unwrap_or(resource.service_or(""));
            policy.decide_at(now, (&identity, address), service, Scope { resource, class: None, actions, reference })?
        }
        Ok(_) | Err(_) => (Actions::new(), None),
    };
    let by = by.map(|(_, rule)| rule);
    let mut withheld: Vec<&str> = request
        .actions
        .iter()
        .map(AsRef::as_ref)
        .filter(|word| !granted.iter().any(|action| action.as_str() == *word))
        .collect();
    withheld.sort_unstable();
    withheld.dedup();
    let reply = AnswerLine {
        rule: by.as_ref().map(|rule| rule.index),
        seq: by.as_ref().and_then(|rule| rule.seq),
        comment: by.as_ref().and_then(|rule| rule.comment.as_deref()),
        granted: granted.iter().map(Action::as_str).collect(),
        withheld,
    };
    serde_json::to_writer(&mut *out, &reply).map_err(|error| error.to_string())?;
    out.write_all(b"\n").map_err(|error| error.to_string())
}

/// A label as `--label` takes it. In its name, a backslash stands before an equals sign and before another backslash.
pub(super) fn written_label(name: &str, value: &str) -> String {
    format!("{}={value}", name.replace('\\', r"\\").replace('=', r"\="))
}

/// The name and the value of what `--label` was given.
fn label_from(text: &str) -> Option<(String, String)> {
    let (mut name, mut rest) = (String::new(), text.chars());
    loop {
        let letter = match rest.next()? {
            '=' => return Some((name, rest.as_str().to_owned())),
            '\\' if rest.as_str().starts_with(['=', '\\']) => rest.next()?,
            letter => letter,
        };
        name.push(letter);
    }
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

fn explain_scopes(policy: &mut Policy, query: &Query, scopes: &[String], output: Output) -> Result<u8, String> {
    let labels = match query.labels.as_slice() {
        [] => None,
        given => {
            let pairs: Option<Vec<_>> = given.iter().map(|text| label_from(text)).collect();
            let pairs = pairs.ok_or("a label is written as --label name=value")?;
            Some(read_labels(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))?)
        }
    };
    policy.now = query.at.unwrap_or(policy.now);
    let asker = policy.asker(&query.account, labels)?;
    let reference = match query.reference.as_deref() {
        None => None,
        Some(text) => Some(Reference::parse(text).ok_or_else(|| format!("\"{text}\" is neither a tag nor a digest"))?),
    };
    let mut explanations = Vec::with_capacity(scopes.len());
    for text in scopes {
        let mut scope = match scope_from(text) {
            Ok(scope) => scope,
            Err(error) => return Err(no_scope(policy, text, error)),
        };
        scope.reference.clone_from(&reference);
        let usual = policy.services.first().map_or("", String::as_str);
        let service = query.service.as_deref().unwrap_or(scope.resource.service_or(usual));
        let mut explanation = explain_scope(policy, &asker, query.ip, service, &scope)?;
        explanation.say_words(policy, text);
        explanations.push(explanation);
    }
    let printed = match output {
        Output::Json => serde_json::to_string_pretty(&explanations).map_err(|error| error.to_string())?,
        Output::Text => {
            let who = describe(policy, &asker);
            let mut text = vec![who];
            text.extend(explanations.iter().map(|explanation| render(explanation, &policy.deciders)));
            text.join("\n")
        }
    };
    let all = explanations.iter().all(|explanation| explanation.withheld.is_empty());
    Ok(say(&format!("{printed}\n"), if all { DONE } else { NOT_ALL_GRANTED }))
}

fn explain_scope(
    policy: &Policy,
    asker: &Asker,
    address: Option<IpAddr>,
    service: &str,
    scope: &Scope,
) -> Result<Explanation, String> {
    let Asker { identity, .. } = asker;
    let Scope { resource, actions, class: _, reference } = scope;
    let (account, labels) = (identity.name(), &*identity.labels);
    let (reference, now) = (reference.as_ref(), policy.now);
    let question = Question { account, labels, address, service, resource, actions, reference, now };
    let mut notes = Vec::new();
    let (account, rules, (mut granted, by)) = match identity.standing.check(policy.now) {
        Ok(()) => {
            (LoginState::Open, policy.steps(&question)?, policy.decide(identity, address, service, scope.clone())?)
        }
        Err(closed) => {
            notes.push(format!("{closed}: nobody can log in with it"));
            (LoginState::Closed, Vec::new(), (Actions::new(), None))
        }
    };
    // What the rules say is told all the same, and nothing of it is granted.
    for refused in [policy.turns_away(asker), policy.refuses(scope.resource.kind(), service)].into_iter().flatten() {
        notes.push(refused);
        granted.clear();
    }
    if scope.resource.kind() == "repository" && granted.contains(&Action::Push) && !granted.contains(&Action::Pull) {
        // As a client would ask.
        let both: Actions = [Action::Pull, Action::Push].into();
        let (both, _) = policy.decide(identity, address, service, Scope { actions: both, ..scope.clone() })?;
        if !both.contains(&Action::Pull) {
            notes.push(
                "push without pull lets nobody push: clients ask for pull,push, and registries want both".to_owned(),
            );
        }
    }
    let source = by.as_ref().map(|(source, _)| *source).filter(|source| !policy.shows(source));
    let by = by.map(|(_, rule)| rule);
    let texts = |actions: &Actions| actions.iter().map(ToString::to_string).collect::<Vec<_>>();
    let withheld = scope.actions.difference(&granted).cloned().collect();
    Ok(Explanation {
        scope: scope.to_string(),
        granted: texts(&granted),
        withheld: texts(&withheld),
        rule: by.as_ref().map(|rule| rule.index),
        seq: by.as_ref().and_then(|rule| rule.seq),
        rule_id: by.as_ref().and_then(|rule| rule.id).map(|id| id.to_string()),
        comment: by.and_then(|rule| rule.comment.as_deref().map(str::to_owned)),
        source,
        notes,
        rules,
        account,
    })
}

/// Whether the parts of a scope are those of one name with a tag or a digest behind it.
fn is_tagged(name: &str, parts: &[&str]) -> bool {
    match parts {
        [_, _, after, _] => !after.contains('/'),
        [_, _, _] => name.contains('@'),
        _ => false,
    }
}

/// Why a text is not a scope, and what was probably meant by it.
fn no_scope(policy: &mut Policy, text: &str, error: ScopeError) -> String {
    let known = policy.asker(text, None).is_ok_and(|asker| asker.known);
    let as_scope = |text: String| Scope::parse(&text).is_ok().then(|| format!("; meant: {text}"));
    let parts: Vec<&str> = text.split(':').collect();
    let meant = match (error, parts.as_slice()) {
        (ScopeError::Parts, [account]) if known => Some(format!("; meant: --account {account}")),
        (ScopeError::Parts, [text]) if !text.contains('/') => {
            let account = format!("--account {text}");
            Some(match as_scope(format!("repository:{text}:pull,push")) {
                Some(scope) => format!("{scope}, or {account}"),
                None => format!("; meant: {account}"),
            })
        }
        (ScopeError::Parts, [name] | ["repository", name]) => as_scope(format!("repository:{name}:pull,push")),
        (ScopeError::Parts, [name, actions])
            if actions.split(',').all(|word| Action::parse(word).is_some_and(|word| word.is_known())) =>
        {
            as_scope(format!("repository:{name}:{actions}"))
        }
        (ScopeError::Parts, [name, _tag]) => as_scope(format!("repository:{name}:pull,push")),
        (ScopeError::Type, [name, _tag, actions]) if name.contains('/') => {
            as_scope(format!("repository:{name}:{actions}"))
        }
        (ScopeError::Name, ["repository", name, .., actions]) if is_tagged(name, &parts) => {
            let name = name.split_once('@').map_or(*name, |(name, _)| name);
            let meant = as_scope(format!("repository:{name}:{actions}")).unwrap_or_default();
            Some(format!(": a tag or a digest is not part of a name{meant} (--reference names one)"))
        }
        (ScopeError::Name, _) if text.contains(|letter: char| letter.is_ascii_uppercase()) => {
            Some(": upper-case letters are not allowed".to_owned())
        }
        (ScopeError::Parts | ScopeError::Type | ScopeError::Name, _) => None,
    };
    format!("\"{text}\" is not a scope: {error}{}", meant.unwrap_or_default())
}
