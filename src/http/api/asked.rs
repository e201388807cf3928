//! What a request to the API asks for: its query and its body, read strictly.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, IF_MATCH};
use axum::http::{HeaderMap, HeaderValue};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::problem::Refused;
use crate::http::body;
use crate::identity::Account;
use crate::json;
use crate::records::{RobotName, SecretId, Version};
use crate::secrets::{LimitTexts, Wanted, robot_name};

/// The longest body, in bytes, here and as a form of the pages: sixty-four scopes of 512 fit.
pub(in crate::http) const MAX_BODY: usize = 64 * 1024;
/// How many secrets a list shows at once, unless it is said.
const PAGE: u32 = 50;
/// The most that it shows at once. Each may be of another owner, about whom the rules are asked.
const MOST: u32 = 100;
/// The longest id, in bytes.
const LONGEST_ID: usize = 64;

/// Whose secrets a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Of {
    /// The asker's own.
    #[default]
    Asker,
    /// An account's.
    Account(Account),
    /// A robot's.
    Robot(RobotName),
    /// All of which the asker may know.
    All,
}

/// What is to be listed.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    pub(super) of: Of,
    pub(super) after: Option<SecretId>,
    pub(super) count: u32,
}

impl Listing {
    /// Reads the query of a list.
    pub(super) fn from_query(query: &str) -> Result<Listing, Refused> {
        let wrong = |message: &str| Refused::Request(message.to_owned());
        let mut known: BTreeMap<&'static str, String> = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let name = ["account", "robot", "all", "cursor", "limit"].into_iter().find(|own| *own == name);
            let name =
                name.ok_or_else(|| wrong("the parameters of a list are account, robot, all, cursor and limit"))?;
            if known.insert(name, value.into_owned()).is_some() {
                return Err(wrong("a parameter is given twice"));
            }
        }
        let of = match (known.get("account"), known.get("robot"), known.get("all")) {
            (None, None, None) => Of::Asker,
            (Some(account), None, None) => Of::Account(account_from(account)?),
            (None, Some(robot), None) => Of::Robot(robot_name(robot)?),
            (None, None, Some(all)) if all == "true" => Of::All,
            (None, None, Some(all)) if all == "false" => Of::Asker,
            (None, None, Some(_)) => return Err(wrong("all is true or false")),
            (Some(_), ..) | (_, Some(_), _) => {
                return Err(wrong("only one of account, robot and all can be asked for"));
            }
        };
        let after =
            known.get("cursor").map(|cursor| id_from(cursor).ok_or_else(|| wrong("the cursor is none of ours")));
        let count = match known.get("limit") {
            None => PAGE,
            Some(limit) => {
                let count = limit.parse().ok().filter(|count| (1..=MOST).contains(count));
                count.ok_or_else(|| Refused::Request(format!("limit is a number from 1 to {MOST}")))?
            }
        };
        Ok(Listing { of, after: after.transpose()?, count })
    }
}

/// The name of an account.
pub(super) fn account_from(text: &str) -> Result<Account, Refused> {
    Account::parse(text).map_err(|error| Refused::Request(error.to_string()))
}

/// An id as we make them. What is none is not asked about.
pub(in crate::http) fn id_from(text: &str) -> Option<SecretId> {
    let is_id = !text.is_empty() && text.len() <= LONGEST_ID && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_id.then(|| SecretId(text.into()))
}

/// A secret that is to be made.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewSecret {
    pub(super) account: Option<String>,
    pub(super) robot: Option<String>,
    pub(super) labels: Option<BTreeMap<String, Vec<String>>>,
    pub(super) name: String,
    pub(super) expires: String,
    #[serde(default, deserialize_with = "wanted")]
    allow: Wanted<Vec<String>>,
    #[serde(default, deserialize_with = "wanted")]
    from: Wanted<Vec<String>>,
    #[serde(default, deserialize_with = "wanted")]
    services: Wanted<Vec<String>>,
    #[serde(default, deserialize_with = "wanted")]
    not_before: Wanted<String>,
}

impl NewSecret {
    pub(super) fn limits(&mut self) -> LimitTexts {
        use std::mem::take;
        LimitTexts {
            allow: take(&mut self.allow),
            from: take(&mut self.from),
            services: take(&mut self.services),
            not_before: take(&mut self.not_before),
        }
    }
}

/// A secret that is to be made anew.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Renewal {
    pub(super) expires: String,
}

/// Who is to be signed out everywhere.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignOut {
    /// The asker without it.
    pub(super) account: Option<String>,
}

/// Reads what is said of a limit: `null` lifts it (RFC 7396).
pub(super) fn wanted<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Wanted<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.map_or(Wanted::Lifted, Wanted::Is))
}

/// What is to be changed of a secret (RFC 7396).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    pub(super) name: Option<String>,
    #[serde(default, deserialize_with = "wanted")]
    allow: Wanted<Vec<String>>,
    #[serde(default, deserialize_with = "wanted")]
    from: Wanted<Vec<String>>,
    #[serde(default, deserialize_with = "wanted")]
    services: Wanted<Vec<String>>,
    #[serde(default, deserialize_with = "wanted")]
    not_before: Wanted<String>,
}

impl Change {
    pub(super) fn limits(self) -> LimitTexts {
        let Change { name: _, allow, from, services, not_before } = self;
        LimitTexts { allow, from, services, not_before }
    }
}

/// The whole body of a request. It is read before anybody is asked who sends it: what was found out would otherwise be as old as
/// the sender is slow, who could keep a password that is changed meanwhile by a secret that is made afterwards.
pub(super) async fn gather(body: Body) -> Result<Vec<u8>, Refused> {
    gather_up_to(body, MAX_BODY).await
}

/// The same of at most so many bytes.
pub(super) async fn gather_up_to(body: Body, most: usize) -> Result<Vec<u8>, Refused> {
    Ok(body::gather(body, most).await?)
}

/// Reads a body of JSON. What is wrong with it is told by place: the text could hold a secret in the wrong field.
pub(super) fn json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: &[u8],
    (types, fields): (&'static [&'static str], &str),
) -> Result<T, Refused> {
    let announced = media_type(headers);
    if !types.iter().any(|own| announced.as_deref() == Some(*own)) {
        return Err(Refused::ContentType(types.first().copied().unwrap_or_default()));
    }
    json::object(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let what = match error.classify() {
            serde_json::error::Category::Data => format!("an object is expected with these fields: {fields}"),
            serde_json::error::Category::Syntax
            | serde_json::error::Category::Eof
            | serde_json::error::Category::Io => "this is no JSON".to_owned(),
        };
        Refused::Request(format!("line {line}, column {column}: {what}"))
    })
}

/// Where the next page begins: behind `last`, and before `next`. It is as much of the id of `next` as tells the two apart, and no id: the
/// asker may not know of either.
pub(super) fn cursor(last: &SecretId, next: &SecretId) -> String {
    let common = last.0.bytes().zip(next.0.bytes()).take_while(|(one, other)| one == other).count();
    match next.0.get(..=common) {
        Some(start) if start.len() < next.0.len() => start.to_owned(),
        // Of two random ids, nearly all characters never are the same.
        Some(_) | None => last.0.to_string(),
    }
}

/// Reads the secret from a form's field `token` (RFC 7009, section 2.1).
pub(super) async fn presented(headers: &HeaderMap, body: Body) -> Result<String, Refused> {
    const FORM: &str = "application/x-www-form-urlencoded";
    if media_type(headers).as_deref() != Some(FORM) {
        return Err(Refused::ContentType(FORM));
    }
    let form = gather(body).await?;
    let mut tokens = form_urlencoded::parse(&form).filter(|(name, _)| name == "token").map(|(_, value)| value);
    match (tokens.next(), tokens.next()) {
        (Some(token), None) => Ok(token.into_owned()),
        (None | Some(_), _) => Err(Refused::Request("send the secret as the form's one field token".to_owned())),
    }
}

/// The media type, without its parameters and in small letters; nothing where there is none, or more than one.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let mut lines = headers.get_all(CONTENT_TYPE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    let text = line.to_str().ok()?;
    Some(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// A secret's version as an ETag (RFC 9110, section 8.8.3).
pub(super) fn etag(version: Version) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("\"{}\"", version.0)).ok()
}

/// The one entity tag that `If-Match` names, without its quotes; `None` where there is none, or any is meant.
pub(super) fn quoted(headers: &HeaderMap) -> Result<Option<String>, Refused> {
    let mut lines = headers.get_all(IF_MATCH).iter();
    let (line, more) = (lines.next(), lines.next());
    let Some(line) = line else { return Ok(None) };
    let tag = line.to_str().unwrap_or_default().trim();
    let inner = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).filter(|inner| !inner.contains('"'));
    match (tag, inner, more) {
        ("*", _, None) => Ok(None),
        (_, Some(inner), None) => Ok(Some(inner.to_owned())),
        (_, None, _) | (_, Some(_), Some(_)) => {
            Err(Refused::Request("If-Match names one entity tag here: the digest that was seen, in quotes".to_owned()))
        }
    }
}

/// What `If-Match` says of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IfMatch {
    /// There is none.
    Unsaid,
    /// It names the version, or any.
    Fits,
    /// It names others.
    Differs,
}

impl IfMatch {
    pub(super) fn of(headers: &HeaderMap, version: Version) -> IfMatch {
        let mut lines = headers.get_all(IF_MATCH).iter().peekable();
        if lines.peek().is_none() {
            return IfMatch::Unsaid;
        }
        let own = format!("\"{}\"", version.0);
        let fits = |tag: &str| tag.trim() == own || tag.trim() == "*";
        match lines.filter_map(|line| line.to_str().ok()).any(|line| line.split(',').any(fits)) {
            true => IfMatch::Fits,
            false => IfMatch::Differs,
        }
    }
}
