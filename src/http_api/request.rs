//! The question as a configuration writes it: address, method, header lines and body, filled in for each login.

use axum::http::Method;
use axum::http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use settings::yaml::Value;
use settings::{At, Field, Refusal, Section};
use url::Url;

use super::template::{Allowed, BodyTemplate, ContentType, HeaderTemplate, Placeholder, Template, UrlTemplate, Who};
use crate::secret::Secret;

/// Header lines that belong to the connection, or that are written by us.
const OURS: &[&str] = &[
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "expect",
];

/// A question before anybody asks it.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestTemplate {
    method: Method,
    url: UrlTemplate,
    headers: Vec<HeaderTemplate>,
    body: Option<BodyTemplate>,
}

/// Whether a question may be asked a second time where the connection broke before an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// It may: asking changes nothing.
    Allowed,
    /// It may not: it could count twice, as two wrong passwords say.
    Refused,
}

/// A question ready to be sent.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Where it goes.
    pub url: Url,
    /// Its header lines.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Option<Secret>,
    /// Whether it may be asked twice.
    pub repeat: Repeat,
}

impl RequestTemplate {
    /// A POST whose body is not known yet.
    pub fn post(url: UrlTemplate, headers: Vec<HeaderTemplate>) -> RequestTemplate {
        RequestTemplate { method: Method::POST, url, headers, body: None }
    }

    /// What may be logged of the address: scheme, host and port.
    pub fn origin(&self) -> &Url {
        self.url.origin()
    }

    /// Whether an answer to it can have a body.
    pub fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// Every placeholder in it.
    pub fn placeholders(&self) -> impl Iterator<Item = Placeholder> + '_ {
        let headers = self.headers.iter().map(|header| &header.template);
        let body = self.body.iter().map(|body| &body.template);
        [&self.url.template].into_iter().chain(headers).chain(body).flat_map(Template::placeholders)
    }

    /// Whether the password is anywhere in it.
    pub fn sends_password(&self) -> bool {
        self.placeholders().any(|placeholder| placeholder != Placeholder::Account)
    }

    /// The question for one login. `None` where the account or the password would not arrive as they are.
    pub fn filled(&self, who: Who<'_>) -> Option<Request> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(ContentType::Json.as_str()));
        for header in &self.headers {
            headers.insert(&header.name, header.filled(who)?);
        }
        let body = match &self.body {
            Some(body) => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(body.content_type.as_str()));
                Some(body.filled(who)?)
            }
            None => None,
        };
        let repeat = match self.method == Method::POST {
            true => Repeat::Refused,
            false => Repeat::Allowed,
        };
        Some(Request { method: self.method.clone(), url: self.url.filled(who)?, headers, body, repeat })
    }
}

/// Reads `url`, `method`, `headers`, `body` and `content_type`.
pub fn read(section: &mut Section<'_>, allowed: Allowed) -> Option<RequestTemplate> {
    let url = read_url(section, allowed);
    let method = section.word("method", |text| match text {
        "GET" => Ok(Method::GET),
        "HEAD" => Ok(Method::HEAD),
        "POST" => Ok(Method::POST),
        _ => Err(Refusal::is("not used to ask something; write GET, HEAD or POST")),
    });
    let headers = read_headers(section, allowed);
    let typed = section.has("content_type");
    let content_type = section.word("content_type", |text| {
        [ContentType::Json, ContentType::Form].into_iter().find(|known| known.as_str() == text).ok_or_else(|| {
            let (json, form) = (ContentType::Json.as_str(), ContentType::Form.as_str());
            Refusal::is(format!("not written here; there are {json} and {form}"))
        })
    });
    let method = method.map_or(Method::GET, |at| at.value);
    let body = match section.text("body") {
        Some(At { place, .. }) if method != Method::POST => {
            section.problem(&place, "body", "only a POST has a body; write method: POST");
            return None;
        }
        // Of an unknown type, nothing can be said about it.
        Some(_) if typed && content_type.is_none() => return None,
        Some(At { place, value }) => {
            let content_type = content_type.map_or(ContentType::Json, |at| at.value);
            match BodyTemplate::parse(&value, content_type, allowed) {
                Ok(body) => Some(body),
                Err(message) => {
                    section.problem(&place, "body", message);
                    return None;
                }
            }
        }
        None => {
            if let Some(At { place, .. }) = &content_type {
                section.problem(
                    place,
                    "content_type",
                    "this is the type of a body, and there is none; write body, or leave this out",
                );
            }
            None
        }
    };
    let request = RequestTemplate { method, url: url?, headers: headers?, body };
    if request.url.template.placeholders().any(|placeholder| placeholder != Placeholder::Account) {
        let message = "the password is part of the address, and so ends up in the logs of servers and proxies; send it \
                       in a header or in the body";
        section.warn(section.place(), "url", message);
    }
    Some(request)
}

/// Reads `url`; an address without TLS that leaves this machine is a warning.
pub fn read_url(section: &mut Section<'_>, allowed: Allowed) -> Option<UrlTemplate> {
    let given = section.has("url");
    let At { place, value: url } = match section.parsed("url", |text| UrlTemplate::parse(text, allowed)) {
        Some(url) => url,
        None if given => return None,
        None => {
            section.missing("url", "an address is needed; write url: https://api.example.com/check");
            return None;
        }
    };
    if url.origin().scheme() == "http" && !is_this_machine(url.origin()) {
        let message =
            "without TLS everybody on the way reads what is asked, passwords too, and can answer; write https://";
        section.warn(&place, "url", message);
    }
    Some(url)
}

fn is_this_machine(url: &Url) -> bool {
    match url.host_str().map(|host| host.trim_matches(['[', ']'])) {
        Some(host) => {
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        None => false,
    }
}

/// Reads `headers`: each name with a value, or with `{file: PATH}` for a secret of ours.
pub fn read_headers(section: &mut Section<'_>, allowed: Allowed) -> Option<Vec<HeaderTemplate>> {
    let Some(field) = section.field("headers") else { return Some(Vec::new()) };
    let Some(entries) = field.entries() else {
        field.problem("headers are names with values: headers: {Authorization: \"Bearer ${password}\"}");
        return None;
    };
    let mut headers = Vec::<HeaderTemplate>::new();
    let mut complete = true;
    for (key, header) in entries {
        // `{Authorization:Bearer …}`, without the space, is a key without a value, as is what a comma cuts off.
        let shown = match header.value() {
            Value::Null if !key.contains(':') => &field,
            Value::Null | Value::Text(_) | Value::List(_) | Value::Map(_) => &header,
        };
        let mut wrong = |message: &str| {
            shown.problem_at(header.key_place(), message);
            complete = false;
        };
        let name = match key.parse::<HeaderName>() {
            Ok(name) if OURS.contains(&name.as_str()) => {
                wrong("this header belongs to the connection and is written by the server; leave it out");
                continue;
            }
            Ok(name) if name == CONTENT_TYPE => {
                wrong("write content_type beside body instead");
                continue;
            }
            Ok(name) if headers.iter().any(|other| other.name == name) => {
                wrong("this header is here twice");
                continue;
            }
            Ok(name) => name,
            Err(_) => {
                wrong(match key.contains(':') {
                    true => "this is not the name of a header; a space is missing after the colon?",
                    false => "this is not the name of a header",
                });
                continue;
            }
        };
        let read = match header.value() {
            Value::Text(text) => HeaderTemplate::parse(name, text, allowed),
            Value::Map(_) => match read_file(&header) {
                // Whatever stands in the file is the value: it is not a template.
                Some(text) if text.contains("${") => {
                    Err("the file holds a placeholder; write the value here".to_owned())
                }
                Some(text) => HeaderTemplate::parse(name, &text, Allowed::Nothing),
                None => {
                    complete = false;
                    continue;
                }
            },
            Value::Null | Value::List(_) => Err("a header has one value, or {file: PATH}".to_owned()),
        };
        match read {
            Ok(header) => headers.push(header),
            Err(message) => {
                shown.problem_at(header.place(), message);
                complete = false;
            }
        }
    }
    complete.then_some(headers)
}

/// The text of the file that `{file: PATH}` names; `None` where something is wrong, which is said then.
fn read_file(field: &Field<'_>) -> Option<String> {
    let mut fields = field.section()?;
    let file = fields.path("file");
    if file.is_none() {
        fields.missing("file", "a file is needed; write {file: /run/secrets/token}");
    }
    let text = file.and_then(|at| fields.secret_in(&at, "file").ok());
    fields.finish();
    text
}
