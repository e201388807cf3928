//! Forward-auth: answers a proxy that asks whether a client's request may go on to the registry, or to anything else behind it.
//!
//! The answer is 200, 401, 403 or 503 (404 where the section is not configured): nginx takes every other status for a fault of
//! its own, and some proxies let it pass. Only a configured proxy may ask, since the original request is told in headers that
//! anybody could write.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use policy::pattern::LabelValue;
use policy::scope::Scope;
use policy::target::{self, Target};

use super::shape::{NOT_ALLOWED, NOT_NOW, Shape, nothing_here};
use super::visit::{self, API_VERSION, NotAdmitted, Visit, is_form};
use crate::app::App;
use crate::authn::Identity;
use crate::client_address::{NoAddress, Peer};
use crate::config::{ForwardAuth, OriginalHeaders};
use crate::decision_log::{Asker, Door, Fault};
use crate::metrics::Metrics;

/// The header that names the account.
const ACCOUNT: &str = "x-auth-account";
/// The beginning of the names of headers that hold labels.
const LABEL: &str = "x-auth-labels-";
/// The longest list of label values in one header, in bytes: a proxy's buffers are not much larger.
const MAX_LABELS: usize = 2 * 1024;
/// What is percent-encoded in our headers: all that is not visible ASCII, the percent sign, and the comma, which stands between
/// values. No account's name becomes a second header or a second value.
const NOT_PLAIN: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b',');

/// Why a request may not go on.
#[derive(Debug, thiserror::Error)]
enum ForwardAuthRefusal {
    /// A question that does not come from a configured proxy.
    #[error("only configured proxies may ask here")]
    NotAProxy,
    /// The proxy does not say, or says twice, which request it asks about.
    #[error("the proxy does not name exactly one original request in {0}")]
    NoOriginal(&'static str),
    /// The client sends a header in which only our answer may say who it is.
    #[error("the client sends a header that only this server's answer may set")]
    ClaimsIdentity,
    /// The proxy does not say where the client is.
    #[error(transparent)]
    NoAddress(#[from] NoAddress),
    /// An original target that could be read in more than one way, or not at all.
    #[error(transparent)]
    Target(#[from] target::Refused),
    /// The body may hold parameters.
    #[error("a registry's client does not send forms")]
    FormBody,
    /// A path that no row of the table covers.
    #[error("nothing is allowed at this path")]
    UnknownPath,
    /// The client is not known, or may not do this.
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
}

/// The outcome's name in metrics where a request may go on.
const ALLOWED: &str = "allowed";
/// All reasons in [`ForwardAuthRefusal::shape`], but for [`visit::reasons`].
const REASONS: &[&str] =
    &["not_a_proxy", "no_original_request", "identity_claimed", "no_client_address", "target_refused", "unknown_path"];

impl ForwardAuthRefusal {
    /// What the client, the log and the metrics are told. The client learns no more than the status says.
    fn shape(&self) -> Shape {
        let denied = |reason| Shape::new(StatusCode::FORBIDDEN, "DENIED", NOT_ALLOWED, reason, Fault::Client);
        match self {
            ForwardAuthRefusal::NotAProxy => denied("not_a_proxy"),
            ForwardAuthRefusal::NoOriginal(_) => denied("no_original_request"),
            ForwardAuthRefusal::ClaimsIdentity => denied("identity_claimed"),
            ForwardAuthRefusal::NoAddress(_) => denied("no_client_address"),
            ForwardAuthRefusal::Target(_) | ForwardAuthRefusal::FormBody => denied("target_refused"),
            ForwardAuthRefusal::UnknownPath => denied("unknown_path"),
            ForwardAuthRefusal::NotAdmitted(cause) => match cause.shape() {
                // nginx would make a 500 of it, and others might let it pass.
                shape if shape.status == StatusCode::TOO_MANY_REQUESTS => Shape {
                    status: StatusCode::SERVICE_UNAVAILABLE,
                    code: "UNAVAILABLE",
                    message: NOT_NOW.into(),
                    ..shape
                },
                shape => shape,
            },
        }
    }
}

/// Begins the metrics of proxies' questions.
pub(super) fn begin_metrics(metrics: &Metrics) {
    metrics.expect_forward_auth_outcomes(REASONS.iter().copied().chain(visit::reasons()).chain([ALLOWED]));
}

/// Answers one question of a proxy.
pub(super) async fn answer(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let snapshot = app.snapshot();
    let Some(settings) = &snapshot.forward_auth else { return nothing_here() };
    let asker = Asker { door: Door::ForwardAuth, service: settings.service.clone(), ..Asker::default() };
    let mut visit = Visit::new(&app, &snapshot, peer, asker);
    let mut needed = Vec::new();
    let outcome = decide(&mut visit, settings, request.headers(), &mut needed).await;
    let (mut response, name) = match outcome {
        Ok(identity) => (allowed(&identity), ALLOWED),
        Err(refusal) => {
            let shape = refusal.shape();
            (visit.refused(&settings.challenge, &needed, &shape, &refusal), shape.reason)
        }
    };
    app.metrics.forward_auth_answered(name);
    let headers = response.headers_mut();
    headers.insert(API_VERSION.0, API_VERSION.1);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    visit.with_id(response)
}

/// Decides whether the original request may go on. `needed` learns what it needs, for the challenge.
async fn decide(
    visit: &mut Visit<'_>,
    settings: &ForwardAuth,
    headers: &HeaderMap,
    needed: &mut Vec<Scope>,
) -> Result<Identity, ForwardAuthRefusal> {
    // Before anything else is read: what anybody else says about a request is not about a request.
    if !settings.proxies.include(visit.peer) {
        return Err(ForwardAuthRefusal::NotAProxy);
    }
    let original = Original::read(settings.headers, headers)?;
    visit.asker.request = Some(format!("{} {}", original.method, original.target));
    if headers.keys().any(names_identity) {
        return Err(ForwardAuthRefusal::ClaimsIdentity);
    }
    visit.find_client(headers)?;
    let target = Target::parse(original.target)?;
    *needed = needed_for(settings, &target, original.method, headers)?;
    Ok(visit.require(&target, needed, headers).await?)
}

/// The request that the proxy asks about.
struct Original<'a> {
    method: &'a str,
    target: &'a str,
}

impl<'a> Original<'a> {
    /// Reads the one family of headers that the proxy is known to set. The other one is the client's and is not looked at.
    fn read(family: OriginalHeaders, headers: &'a HeaderMap) -> Result<Original<'a>, ForwardAuthRefusal> {
        let (method, target) = match family {
            OriginalHeaders::Original => ("x-original-method", "x-original-uri"),
            OriginalHeaders::Forwarded => ("x-forwarded-method", "x-forwarded-uri"),
        };
        Ok(Original { method: only(headers, method)?, target: only(headers, target)? })
    }
}

/// The only line of a header. Two lines mean that the client's own was passed on beside the proxy's.
fn only<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, ForwardAuthRefusal> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => line.to_str().map_err(|_| ForwardAuthRefusal::NoOriginal(name)),
        (None, _) | (Some(_), Some(_)) => Err(ForwardAuthRefusal::NoOriginal(name)),
    }
}

/// Whether what is behind the proxy could take this header of the client's for ours. No proxy can be told to drop all labels,
/// and one that copies those of our answer lets the client's stand where the account has none. An underscore or a dot is a
/// dash to whoever reads headers as CGI does.
fn names_identity(name: &HeaderName) -> bool {
    let name = name.as_str().replace(['_', '.'], "-");
    name == ACCOUNT || name.starts_with(LABEL)
}

/// The scopes that have to be granted for the request to go on.
fn needed_for(
    settings: &ForwardAuth,
    target: &Target,
    method: &str,
    headers: &HeaderMap,
) -> Result<Vec<Scope>, ForwardAuthRefusal> {
    match target {
        Target::Outside(path) => {
            let row =
                settings.paths.iter().find(|row| row.covers(method, path)).ok_or(ForwardAuthRefusal::UnknownPath)?;
            Ok(vec![row.scope.clone()])
        }
        Target::Base | Target::Catalog(_) | Target::Repository(_) => {
            if is_form(headers) {
                return Err(ForwardAuthRefusal::FormBody);
            }
            Ok(target.scopes(method)?)
        }
    }
}

/// The 200, with the account and its labels, for proxies that pass them on.
fn allowed(identity: &Identity) -> Response {
    let mut response = StatusCode::OK.into_response();
    let headers = response.headers_mut();
    if let Ok(account) = HeaderValue::from_str(&visible(identity.name())) {
        headers.insert(ACCOUNT, account);
    }
    for (label, values) in identity.labels.iter() {
        let texts: Vec<String> = values.iter().map(|value: &LabelValue| visible(value.text())).collect();
        let list = texts.join(",");
        // A label whose name no header can have, or whose values no header can hold, is left out: half of its values
        // would be another label.
        if list.len() <= MAX_LABELS
            && let Ok(name) = HeaderName::try_from(format!("{LABEL}{}", label.to_ascii_lowercase()))
            && let Ok(list) = HeaderValue::from_str(&list)
        {
            headers.insert(name, list);
        }
    }
    response
}

/// Text as visible ASCII.
fn visible(text: &str) -> String {
    utf8_percent_encode(text, NOT_PLAIN).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_visible_ascii_without_percent_and_comma_stands_in_a_header_as_it_is() {
        for byte in 0..=127_u8 {
            let plain = byte.is_ascii_graphic() && !matches!(byte, b'%' | b',');
            let expected = if plain { char::from(byte).to_string() } else { format!("%{byte:02X}") };
            assert_eq!(visible(&char::from(byte).to_string()), expected);
        }
        assert_eq!(visible("\u{fc}\u{20ac}"), "%C3%BC%E2%82%AC");
    }
}
