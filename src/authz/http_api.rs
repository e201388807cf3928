//! Decisions by an HTTP API of the operator's (`http_authz:`): the question as JSON, the granted actions as JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::settings::Field;
use anyhow::{Context as _, bail};
use async_trait::async_trait;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use policy::rule::Grants;
use policy::scope::{Action, Actions};
use policy::{Answer, RuleRef};
use serde::{Deserialize, Serialize};

use super::{Authorizer, Freshness, Gate, InUse, Question, Shown};
use crate::authn::Secret;
use crate::authn::password::Passwords;
use crate::backend::rules::label_texts;
use crate::backend::{Configured, Facts, Kind, Opened, Purpose, configured};
use crate::breaker::Passage;
use crate::http_api::memory::Memory;
use crate::http_api::request::{self, Repeat, Request, RequestTemplate};
use crate::http_api::settings;
use crate::http_api::template::{Allowed, ContentType, Who};
use crate::http_api::{Api, Wanted};
use crate::json;
use crate::reach::{Reach, Reachable};

/// The row of the table.
pub const KIND: Kind = Kind { key: "http_authz", purpose: Purpose::Rules, read: |field| configured(read(field)) };
/// The longest reply, in bytes.
const MAX_REPLY: usize = 64 * 1024;

/// The `http_authz:` section.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpAuthzSettings {
    api: settings::ApiSettings,
    request: RequestTemplate,
}

/// Reads the section.
pub fn read(field: Field<'_>) -> Option<HttpAuthzSettings> {
    let mut section = field.section()?;
    let url = request::read_url(&mut section, Allowed::Nothing);
    let headers = request::read_headers(&mut section, Allowed::Nothing);
    let api = settings::read(&mut section, url.as_ref().map(|url| url.origin()));
    section.finish();
    Some(HttpAuthzSettings { api: api?, request: RequestTemplate::post(url?, headers?) })
}

/// The API as a source of rules.
struct HttpAuthz {
    api: Api,
    /// The question without its body.
    request: Request,
    memory: Option<Memory<Answer>>,
}

/// The question. Its members are part of the contract with the API: they are added to, never changed.
#[derive(Default, Serialize)]
struct ApiQuestion<'a> {
    account: &'a str,
    labels: BTreeMap<&'a str, Vec<&'a str>>,
    #[serde(rename = "type")]
    kind: &'a str,
    name: &'a str,
    service: &'a str,
    ip: Option<String>,
    actions: Vec<&'a str>,
}

impl<'a> ApiQuestion<'a> {
    fn from(question: &Question<'a>) -> ApiQuestion<'a> {
        ApiQuestion {
            account: question.asked.account,
            labels: label_texts(&question.asked),
            kind: question.asked.resource.kind(),
            name: question.asked.resource.name(),
            service: question.asked.service,
            ip: question.asked.address.map(|address| address.to_string()),
            actions: question.asked.actions.iter().map(Action::as_str).collect(),
        }
    }
}

/// The answer. Further members are left alone.
#[derive(Deserialize)]
struct ApiAnswer {
    /// `null`: this API does not decide it. The member has to be there: a misspelt one would otherwise be a "next".
    #[serde(deserialize_with = "Option::deserialize")]
    actions: Option<Vec<String>>,
    #[serde(default)]
    comment: Option<String>,
}

/// Reads an answer, and grants no more than was asked for.
///
/// # Errors
/// It is not an answer, or it lists a word that is not an action: what it means to say, nobody can know.
fn read_answer(body: &[u8], asked: &Actions) -> anyhow::Result<Answer> {
    // The reader's own message quotes what it read.
    let said: ApiAnswer = json::object(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        anyhow::anyhow!("its reply is not {{\"actions\": [\"pull\"]}} (line {line}, column {column})")
    })?;
    let Some(words) = said.actions else { return Ok(Answer::NoMatch { until: None }) };
    let mut listed = Actions::new();
    for (number, word) in words.iter().enumerate() {
        match Action::parse(word) {
            Some(action) => listed.insert(action),
            None => bail!("its reply lists an unknown action (number {})", number + 1),
        };
    }
    let grants = match listed.len() == 1 && listed.contains(&Action::All) {
        true => Grants::All,
        false => Grants::Listed(listed),
    };
    let by = RuleRef { index: 0, seq: None, id: None, comment: said.comment.map(Arc::from) };
    Ok(Answer::Decided { actions: grants.of(asked), by, until: None })
}

impl Configured for HttpAuthzSettings {
    /// Begins to connect in the background.
    fn open(self: Arc<Self>, _passwords: &Arc<Passwords>) -> anyhow::Result<Opened> {
        let mut request = self.request.filled(Who { account: "", password: "" }).context("the request")?;
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static(ContentType::Json.as_str()));
        // A question changes nothing.
        request.repeat = Repeat::Allowed;
        // Without actions, no answer grants anybody anything.
        let api = Api::new(KIND.key, self.api.clone(), request.about(&ApiQuestion::default())?)?;
        let memory = self.api.cache_ttl.map(Memory::new).transpose()?;
        api.greet(|_| false)?;
        Opened::rules(HttpAuthz { api, request, memory })
    }

    fn facts(&self) -> Facts<'_> {
        Facts::Decisions
    }
}

impl Reachable for HttpAuthz {
    /// Asks about no account, no resource and no action.
    fn reach(&self) -> Reach<'_> {
        Reach::server(self.api.reach(|_| false))
    }

    fn passage(&self) -> Option<Passage> {
        Some(self.api.breaker().passage())
    }
}

impl Request {
    /// The same with this question as its body.
    fn about(&self, asked: &ApiQuestion<'_>) -> anyhow::Result<Request> {
        Ok(Request { body: Some(Secret::new(serde_json::to_string(asked)?)), ..self.clone() })
    }
}

#[async_trait]
impl Authorizer for HttpAuthz {
    async fn authorize(&self, question: &Question<'_>) -> anyhow::Result<Answer> {
        let request = self.request.about(&ApiQuestion::from(question))?;
        let text = request.body.as_ref().map_or("", Secret::reveal);
        let memory = self.memory.as_ref().map(|memory| (memory, memory.name([text])));
        if let Some(answer) = memory.as_ref().and_then(|(memory, name)| memory.recall(name)) {
            return Ok(answer);
        }
        let asked = crate::clock::now();
        let wanted = |status| match status {
            StatusCode::OK => Wanted::Body(MAX_REPLY),
            _ => Wanted::Status,
        };
        let reply = self.api.ask(&request, question.client(), question.began, wanted, |_| {}).await?;
        if reply.status != StatusCode::OK {
            // Not even 403: that it refuses us is not a decision about the client.
            bail!("{} answered {}; an answer has status 200", self.api.origin(), reply.status.as_u16());
        }
        let answer = read_answer(&reply.body, question.asked.actions).with_context(|| self.api.origin())?;
        if let (Answer::Decided { actions, .. }, Some((memory, name))) = (&answer, memory)
            && !actions.is_empty()
        {
            memory.remember(name, asked, answer.clone());
        }
        Ok(answer)
    }

    fn compiled(&self) -> anyhow::Result<Option<Arc<policy::acl::Acl>>> {
        Ok(None)
    }

    fn freshness(&self) -> Option<Freshness> {
        None
    }

    async fn rules(&self) -> anyhow::Result<Shown> {
        Ok(Shown::Decisions)
    }

    fn in_use(&self) -> InUse {
        InUse::Elsewhere
    }

    /// There are no rules here that could change.
    fn guard(&self, _gate: &Arc<dyn Gate>) {}
}
