//! The `http_auth:` section.

use std::collections::BTreeSet;

use ::settings::yaml::Value;
use ::settings::{At, Field, Holds, Refusal, Section, number};

use super::reply::ReplyPath;
use crate::authn::LabelSyntax;
use crate::http_api::request::{self, RequestTemplate};
use crate::http_api::settings;
use crate::http_api::template::{Allowed, Placeholder};

const HEAD_HAS_NO_BODY: &str = "a reply to HEAD holds nothing that labels or account could be taken from";

/// How accounts are found out by an API.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpAuthSettings {
    pub(super) api: settings::ApiSettings,
    pub(super) request: RequestTemplate,
    /// How an account is asked about without its password, where the API tells that.
    pub(super) look_up: Option<RequestTemplate>,
    pub(super) statuses: Statuses,
    /// Label names and where their values stand.
    pub(super) labels: Vec<(String, ReplyPath)>,
    pub(super) label_values: LabelSyntax,
    /// Whose password it is.
    pub account: AccountCheck,
}

impl HttpAuthSettings {
    /// Whether something of an accepting reply is used.
    pub(super) fn takes_from_reply(&self) -> bool {
        match self.account {
            AccountCheck::InReply(_) => true,
            AccountCheck::Asked | AccountCheck::Unchecked => !self.labels.is_empty(),
        }
    }
}

/// How it is made sure that the password is the account's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountCheck {
    /// The API was asked about both.
    Asked,
    /// Its reply says whose password it is.
    InReply(ReplyPath),
    /// Nobody looks: whoever has any password is whoever they say.
    Unchecked,
}

/// What a status says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The password is right.
    Accept,
    /// It is not.
    Reject,
    /// The account is not known there.
    NotMine,
}

/// Which statuses say what; no status is in two lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statuses {
    accept: BTreeSet<u16>,
    reject: BTreeSet<u16>,
    not_mine: BTreeSet<u16>,
}

impl Statuses {
    /// `None` for a status that says nothing about the password.
    pub(super) fn meaning(&self, status: u16) -> Option<Meaning> {
        let lists =
            [(&self.accept, Meaning::Accept), (&self.reject, Meaning::Reject), (&self.not_mine, Meaning::NotMine)];
        lists.into_iter().find(|(list, _)| list.contains(&status)).map(|(_, meaning)| meaning)
    }
}

impl std::fmt::Display for Statuses {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Statuses { accept, reject, not_mine } = self;
        write!(out, "accept {accept:?}, reject {reject:?}, not_mine {not_mine:?}")
    }
}

/// Reads the section.
pub fn read(field: Field<'_>) -> Option<HttpAuthSettings> {
    let mut section = field.section()?;
    let request = request::read(&mut section, Allowed::Credentials);
    let api = settings::read(&mut section, request.as_ref().map(RequestTemplate::origin));
    let statuses = read_statuses(&mut section);
    let labels = read_labels(&mut section);
    let label_values = LabelSyntax::read(&mut section, LabelSyntax::Literal);
    let account = read_account(&mut section, request.as_ref());
    let wants_body =
        labels.as_ref().is_some_and(|labels| !labels.is_empty()) || matches!(account, Some(AccountCheck::InReply(_)));
    if let Some(request) = &request {
        if !request.sends_password() {
            let message = "the password is sent nowhere, so every password would do; put ${password} or ${basic} into \
                           headers or body";
            section.missing("url", message);
        }
        if request.is_head() && wants_body {
            section.missing("method", HEAD_HAS_NO_BODY);
        }
    }
    if account == Some(AccountCheck::Unchecked)
        && let Some(field) = section.field("look_up")
    {
        field.problem("with account: unchecked any name will do, so there is nobody to look up; leave this out");
    }
    let look_up = section.section("look_up").and_then(|fields| read_look_up(fields, request.as_ref(), wants_body));
    section.finish();
    Some(HttpAuthSettings {
        api: api?,
        request: request?,
        look_up,
        statuses: statuses?,
        labels: labels?,
        label_values,
        account: account?,
    })
}

/// Reads `look_up`: a request about an account alone, to the same server as the login's.
fn read_look_up(mut fields: Section<'_>, login: Option<&RequestTemplate>, wants_body: bool) -> Option<RequestTemplate> {
    let look_up = request::read(&mut fields, Allowed::Account);
    if let Some(look_up) = &look_up {
        if look_up.placeholders().next().is_none() {
            let message = "the account is sent nowhere, so the answer cannot be about it; put ${account} into url, headers \
                           or body";
            fields.missing("url", message);
        }
        if login.is_some_and(|login| login.origin() != look_up.origin()) {
            fields.missing(
                "url",
                "an account is looked up where its logins are checked; write an address of that server",
            );
        }
        if look_up.is_head() && wants_body {
            fields.missing("method", HEAD_HAS_NO_BODY);
        }
    }
    fields.finish();
    look_up
}

fn read_account(section: &mut Section<'_>, request: Option<&RequestTemplate>) -> Option<AccountCheck> {
    let given = section.has("account");
    let account = section.parsed("account", |text| match text {
        "unchecked" => Ok(AccountCheck::Unchecked),
        path => ReplyPath::parse(path)
            .map(AccountCheck::InReply)
            .map_err(|message| format!("{message}; or write unchecked")),
    });
    // Where not even the password is sent, that is said instead.
    let sent = request.is_none_or(|request| {
        let account = |placeholder| matches!(placeholder, Placeholder::Account | Placeholder::Basic);
        request.placeholders().any(account) || !request.sends_password()
    });
    match account {
        Some(At { place, value: AccountCheck::Unchecked }) => {
            let message = "nobody looks whose password it is: whoever has one there logs in as any account that no section \
                           above knows. Let rules look at labels only, never at the account";
            section.warn(&place, "account", message);
            Some(AccountCheck::Unchecked)
        }
        Some(at) => Some(at.value),
        None if given => None,
        None if sent => Some(AccountCheck::Asked),
        None => {
            // The attack: Mallory logs in as Alice, with a token of his own that the API finds good.
            let message = "the account is sent nowhere, so the API cannot know whether the password is that account's: put \
                           ${account} or ${basic} into the request, say where the reply names the account (account: \
                           \"$.email\"), or write account: unchecked if any account will do";
            section.missing("account", message);
            None
        }
    }
}

fn read_labels(section: &mut Section<'_>) -> Option<Vec<(String, ReplyPath)>> {
    let Some(field) = section.field("labels") else { return Some(Vec::new()) };
    let wrong = "labels are names with the place of their values: labels: {channel: \"$.objects[*].release\"}";
    let Some(entries) = field.entries() else {
        field.problem(wrong);
        return None;
    };
    let number = entries.len();
    let mut labels = Vec::new();
    for (label, field) in entries {
        let parsed = match field.value() {
            Value::Text(text) => ReplyPath::parse(text),
            Value::Null | Value::List(_) | Value::Map(_) => Err(wrong.to_owned()),
        };
        match parsed {
            Ok(parsed) => labels.push((label.to_owned(), parsed)),
            Err(message) => field.problem(message),
        }
    }
    (labels.len() == number).then_some(labels)
}

fn read_statuses(section: &mut Section<'_>) -> Option<Statuses> {
    let accept = read_list(section, "accept", &[200], |status| match status {
        200..=399 => None,
        _ => Some("no API says yes with that; write a status from 200 to 399"),
    });
    let no = |status| match status {
        408 | 425 | 429 => Some("with that an API says \"not now\", and clients would throw a good password away"),
        200..=499 => None,
        _ => Some("from 500 on something is broken, and clients would throw a good password away"),
    };
    let reject = read_list(section, "reject", &[401, 403], no);
    let not_mine = read_list(section, "not_mine", &[], no);
    let (accept, reject, not_mine) = (accept?, reject?, not_mine?);
    let place = section.field("not_mine").or(section.field("reject")).map(|field| field.place());
    let place = place.unwrap_or_else(|| section.place());
    let mut complete = true;
    for (key, other, one, two) in [
        ("reject", "accept", &reject, &accept),
        ("not_mine", "accept", &not_mine, &accept),
        ("not_mine", "reject", &not_mine, &reject),
    ] {
        for status in one.intersection(two) {
            let message = format!(
                "{status} is in {other} too (without the key: accept [200], reject [401, 403], not_mine []); say what it means"
            );
            section.problem(place, key, message);
            complete = false;
        }
    }
    if accept.is_empty() {
        section.problem(place, "accept", "nobody could log in; write accept: [200]");
        complete = false;
    }
    complete.then_some(Statuses { accept, reject, not_mine })
}

fn read_list(
    section: &mut Section<'_>,
    key: &'static str,
    usual: &[u16],
    wrong: impl Fn(u16) -> Option<&'static str>,
) -> Option<BTreeSet<u16>> {
    let Some(texts) = section.texts(key) else { return Some(usual.iter().copied().collect()) };
    let mut statuses = BTreeSet::new();
    let mut complete = true;
    for At { place, value } in texts {
        let message = match number::whole(&value).and_then(|status| u16::try_from(status).ok()) {
            Some(status) if (100..=599).contains(&status) => match wrong(status) {
                None => {
                    statuses.insert(status);
                    continue;
                }
                Some(message) => format!("{status}: {message}"),
            },
            Some(_) | None => Refusal::is("not an HTTP status; write one such as 200").about(&value, Holds::Words),
        };
        section.problem(&place, key, message);
        complete = false;
    }
    complete.then_some(statuses)
}
