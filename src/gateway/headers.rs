//! The headers that pass the gateway, and the rewriting of those that hold an address of the upstream.
//!
//! What goes on to a registry is a list of what its protocol has. A list of what must not pass would never be whole: an
//! upstream may believe `X_Forwarded_User`, `X-HTTP-Method-Override` or a header of tomorrow.

use std::net::IpAddr;

use axum::http::StatusCode;
use axum::http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH,
    CONTENT_LOCATION, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LINK, LOCATION, PRAGMA, RANGE, USER_AGENT,
};
use axum::http::uri::{Authority, Scheme, Uri};

/// What a registry's protocol has in requests (the distribution specification, and HTTP's own conditions and ranges),
/// besides all that begins with one of [`ONWARD_FAMILIES`].
const ONWARD: &[HeaderName] = &[
    ACCEPT,
    ACCEPT_ENCODING,
    ACCEPT_LANGUAGE,
    CACHE_CONTROL,
    CONTENT_ENCODING,
    CONTENT_RANGE,
    CONTENT_TYPE,
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_RANGE,
    IF_UNMODIFIED_SINCE,
    PRAGMA,
    RANGE,
    USER_AGENT,
];
const ONWARD_FAMILIES: &[&str] = &["docker-", "oci-"];
/// The two of W3C's trace context.
const TRACE: &[&str] = &["traceparent", "tracestate"];

/// What stays on the upstream's side of a reply: what is about that one connection (RFC 9110, section 7.6.1), about who
/// we are there, and about the upstream's own host.
const NOT_BACK: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
    "authentication-info",
    "proxy-authenticate",
    "proxy-authentication-info",
    // A session of our own account: whoever had it could be us.
    "set-cookie",
    "set-cookie2",
    "alt-svc",
    "strict-transport-security",
    // What a stranger need not know of the inside.
    "authorization",
    "server",
    "via",
    "x-powered-by",
    // Ours.
    "x-decision-id",
    "x-auth-account",
];
/// What the names of our own headers about labels begin with.
const LABELS: &str = "x-auth-labels-";

/// The gateway as its clients see it.
pub(crate) struct Outside<'a> {
    /// The client's address, where there is one.
    pub(crate) client: Option<IpAddr>,
    /// The scheme that the client used, `https` or `http`.
    pub(crate) scheme: &'static str,
    /// The host and port that the client used; empty where it named none.
    pub(crate) host: &'a str,
}

/// The headers that go on to the upstream: the protocol's own, and who asks in our own words.
pub(crate) fn onward(headers: &HeaderMap, outside: &Outside<'_>) -> HeaderMap {
    let for_this_hop = named_in_connection(headers);
    let mut onward = HeaderMap::with_capacity(headers.len() + 3);
    for (name, value) in headers {
        let text = name.as_str();
        let known = ONWARD.contains(name)
            || TRACE.contains(&text)
            || ONWARD_FAMILIES.iter().any(|family| text.starts_with(family));
        if known && !for_this_hop.contains(name) {
            onward.append(name.clone(), value.clone());
        }
    }
    let mut say = |name: &'static str, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            onward.insert(HeaderName::from_static(name), value);
        }
    };
    if let Some(client) = outside.client {
        say("x-forwarded-for", &client.to_string());
    }
    say("x-forwarded-proto", outside.scheme);
    if !outside.host.is_empty() {
        say("x-forwarded-host", outside.host);
    }
    onward
}

/// The headers of a reply as the client gets them.
pub(crate) fn back(headers: &HeaderMap, status: StatusCode, upstream: &Inside<'_>, outside: &str) -> HeaderMap {
    let leads = if status.is_redirection() { Leads::Elsewhere } else { Leads::On };
    let for_that_hop = named_in_connection(headers);
    let mut back = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        // The length is the reply's own, whoever says that it is not: without it the end could not be told.
        let stays = NOT_BACK.contains(&name.as_str())
            || name.as_str().starts_with(LABELS)
            || (for_that_hop.contains(name) && *name != CONTENT_LENGTH);
        if stays {
            continue;
        }
        let value = match (name, value.to_str()) {
            (&LOCATION | &CONTENT_LOCATION, Ok(text)) => match turned(text, leads, upstream, outside) {
                Rewritten::Unchanged => value.clone(),
                Rewritten::WithoutHost(text) => match HeaderValue::from_str(&text) {
                    Ok(value) => value,
                    Err(_) => continue,
                },
            },
            (&LINK, Ok(text)) => HeaderValue::from_str(&links(text, upstream, outside)).unwrap_or(value.clone()),
            _ => value.clone(),
        };
        back.append(name.clone(), value);
    }
    back
}

/// The headers that are about one connection because its `Connection` header says so.
fn named_in_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    // Byte by byte: a name that nobody can read takes no other one of its line with it.
    let elements = headers.get_all(CONNECTION).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    elements.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).collect()
}

/// The upstream's own address.
pub(crate) struct Inside<'a> {
    pub(crate) scheme: &'a Scheme,
    pub(crate) authority: &'a Authority,
}

/// The purpose of an address in a reply.
#[derive(Clone, Copy)]
enum Leads {
    /// To what a redirect or a link says, wherever that is.
    Elsewhere,
    /// To the next step of an upload, or to what came of it: always the same registry, by whatever name it calls itself.
    /// Distribution's `http.host` is such a name, and one that clients out here may not reach.
    On,
}

/// An address in a reply as the client gets it.
#[derive(Debug, PartialEq, Eq)]
enum Rewritten {
    /// It is nothing that we serve: a redirect to where the blobs are (which may be elsewhere on the upstream's own host),
    /// or an address without a host.
    Unchanged,
    /// It is one of the upstream's, said without a host, so that it is true under every name that clients use.
    WithoutHost(String),
}

fn turned(text: &str, leads: Leads, upstream: &Inside<'_>, outside: &str) -> Rewritten {
    // `//host/path` has no scheme of its own.
    let (whole, scheme) = match text.strip_prefix("//") {
        Some(rest) => (format!("{}://{rest}", upstream.scheme), upstream.scheme.clone()),
        None => (text.to_owned(), upstream.scheme.clone()),
    };
    let Ok(uri) = whole.parse::<Uri>() else { return Rewritten::Unchanged };
    let (Some(host), Some(_)) = (uri.host(), uri.scheme()) else { return Rewritten::Unchanged };
    let scheme = uri.scheme().cloned().unwrap_or(scheme);
    let port = uri.port_u16().or_else(|| usual_port(&scheme));
    let own_port = upstream.authority.port_u16().or_else(|| usual_port(upstream.scheme));
    // Behind something that ends TLS, an upstream may take itself to be at the usual port of the other scheme.
    let at_usual_ports = own_port == usual_port(upstream.scheme) && port == usual_port(&scheme);
    let is_upstream = host.eq_ignore_ascii_case(upstream.authority.host()) && (port == own_port || at_usual_ports);
    // The upstream may have read our X-Forwarded-Host. It cannot know the scheme where a proxy before us ends TLS.
    let authority = uri.authority().map(|authority| authority.as_str().to_ascii_lowercase()).unwrap_or_default();
    let is_outside = !outside.is_empty() && authority == outside;
    match leads {
        Leads::On => {}
        Leads::Elsewhere if is_upstream || is_outside => {}
        Leads::Elsewhere => return Rewritten::Unchanged,
    }
    match uri.path_and_query() {
        // Only this is here. Some registries send clients to blobs below another path of their own host, with an address
        // that is signed, so that nobody need log in there.
        Some(rest) if rest.path() == "/v2" || rest.path().starts_with("/v2/") => {
            Rewritten::WithoutHost(rest.as_str().to_owned())
        }
        Some(_) | None => Rewritten::Unchanged,
    }
}

fn usual_port(scheme: &Scheme) -> Option<u16> {
    match scheme.as_str() {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// `Link` with every target in it turned (RFC 8288, section 3: targets stand between angle brackets).
fn links(text: &str, upstream: &Inside<'_>, outside: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        let Some((target, after)) = after.split_once('>') else { break };
        out.push_str(before);
        out.push('<');
        match turned(target, Leads::Elsewhere, upstream, outside) {
            Rewritten::Unchanged => out.push_str(target),
            Rewritten::WithoutHost(target) => out.push_str(&target),
        }
        out.push('>');
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        map
    }

    fn lines(map: &HeaderMap) -> Vec<String> {
        let mut lines: Vec<String> =
            map.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))).collect();
        lines.sort();
        lines
    }

    #[test]
    fn only_what_a_registry_knows_goes_on() {
        let sent = map(&[
            ("accept", "a"),
            ("accept", "b"),
            ("range", "bytes=0-1"),
            ("if-none-match", "\"x\""),
            ("user-agent", "docker/29"),
            ("content-range", "0-9"),
            ("docker-upload-uuid", "u"),
            ("oci-chunk-min-length", "1"),
            ("traceparent", "00-1"),
            ("authorization", "Basic secret"),
            ("proxy-authorization", "Basic secret"),
            ("cookie", "session=secret"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-host", "evil"),
            ("x_forwarded_host", "evil"),
            ("x.forwarded.host", "evil"),
            ("forwarded", "for=6.6.6.6"),
            ("x-real-ip", "6.6.6.6"),
            ("x-auth-account", "boss"),
            ("x-original-uri", "/v2/other/tags/list"),
            ("x-rewrite-url", "/v2/other/tags/list"),
            ("x-http-method-override", "DELETE"),
            ("connection", "close, If-None-Match, keep-alive"),
            ("keep-alive", "1"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("content-length", "9"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
            ("host", "outside"),
            ("x-amz-security-token", "secret"),
        ]);
        let client = "2001:db8::1".parse().ok();
        let outside = Outside { client, scheme: "https", host: "docker.test:444" };
        assert_eq!(
            lines(&onward(&sent, &outside)),
            [
                "accept: a",
                "accept: b",
                "content-range: 0-9",
                "docker-upload-uuid: u",
                "oci-chunk-min-length: 1",
                "range: bytes=0-1",
                "traceparent: 00-1",
                "user-agent: docker/29",
                "x-forwarded-for: 2001:db8::1",
                "x-forwarded-host: docker.test:444",
                "x-forwarded-proto: https",
            ]
        );
        // A name that nobody can read takes no other one with it, and an empty one does not count.
        let mut sent = map(&[("accept", "a"), ("range", "bytes=0-1"), ("if-match", "x")]);
        sent.append(
            CONNECTION,
            HeaderValue::from_bytes(b", Accept ,\xf6, ,range,").unwrap_or(HeaderValue::from_static("")),
        );
        assert_eq!(
            lines(&onward(&sent, &Outside { client: None, scheme: "http", host: "" })),
            ["if-match: x", "x-forwarded-proto: http"]
        );
        let nobody = Outside { client: None, scheme: "http", host: "" };
        assert_eq!(lines(&onward(&HeaderMap::new(), &nobody)), ["x-forwarded-proto: http"]);
    }

    #[test]
    fn a_reply_keeps_what_is_the_clients() {
        let sent = map(&[
            ("content-length", "12"),
            ("content-type", "application/json"),
            ("content-range", "bytes 0-1/2"),
            ("docker-content-digest", "sha256:0"),
            ("docker-distribution-api-version", "registry/2.0"),
            ("etag", "\"x\""),
            ("oci-subject", "sha256:1"),
            ("location", "http://inside.test:5000/v2/app/blobs/uploads/1?_state=a%2Bb"),
            ("connection", "keep-alive, X-Hop, Content-Length"),
            ("keep-alive", "timeout=5"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("www-authenticate", "Bearer realm=\"http://inside.test/token\""),
            ("set-cookie", "session=ours"),
            ("strict-transport-security", "max-age=1"),
            ("alt-svc", "h3=\":443\""),
            ("authorization", "Basic secret"),
            ("server", "inside/1.0"),
            ("via", "1.1 inside"),
            ("x-powered-by", "inside"),
            ("x-decision-id", "forged"),
            ("x-auth-account", "boss"),
            ("x-auth-labels-team", "admins"),
            ("content-location", "http://inside.test:5000/v2/app/manifests/1"),
        ]);
        let inside = Inside { scheme: &Scheme::HTTP, authority: &Authority::from_static("inside.test:5000") };
        assert_eq!(
            lines(&back(&sent, StatusCode::ACCEPTED, &inside, "docker.test")),
            [
                "content-length: 12",
                "content-location: /v2/app/manifests/1",
                "content-range: bytes 0-1/2",
                "content-type: application/json",
                "docker-content-digest: sha256:0",
                "docker-distribution-api-version: registry/2.0",
                "etag: \"x\"",
                "location: /v2/app/blobs/uploads/1?_state=a%2Bb",
                "oci-subject: sha256:1",
            ]
        );
    }

    #[test]
    fn places_of_the_upstream_lose_their_host_and_no_others_do() {
        let turned_to = |text: &str| Rewritten::WithoutHost(text.to_owned());
        for (scheme, authority, text, expected) in [
            ("http", "inside.test:5000", "http://inside.test:5000/v2/a?b=c", turned_to("/v2/a?b=c")),
            ("http", "inside.test:5000", "http://INSIDE.test:5000/v2/a", turned_to("/v2/a")),
            ("http", "inside.test:5000", "http://user:pw@inside.test:5000/v2/a", turned_to("/v2/a")),
            ("http", "inside.test:5000", "//inside.test:5000/v2/a", turned_to("/v2/a")),
            ("https", "inside.test", "https://inside.test:443/v2/a", turned_to("/v2/a")),
            ("https", "inside.test:443", "https://inside.test/v2/a", turned_to("/v2/a")),
            // What the upstream makes of our X-Forwarded-Host; only the client's scheme may be another.
            ("http", "inside.test:5000", "http://docker.test/v2/a", turned_to("/v2/a")),
            ("http", "inside.test:5000", "https://docker.test/v2/a", turned_to("/v2/a")),
            ("https", "inside.test", "http://inside.test/v2/a", turned_to("/v2/a")),
            ("http", "inside.test", "https://inside.test/v2/a", turned_to("/v2/a")),
            // Elsewhere.
            ("https", "inside.test", "https://inside.test/artifacts/a?signed=1", Rewritten::Unchanged),
            ("https", "inside.test", "https://inside.test/v2x/a", Rewritten::Unchanged),
            ("https", "inside.test", "http://inside.test:444/v2/a", Rewritten::Unchanged),
            ("http", "inside.test:5000", "http://inside.test/v2/a", Rewritten::Unchanged),
            ("https", "inside.test", "https://storage.test/bucket/a?X-Amz-Signature=1", Rewritten::Unchanged),
            ("https", "inside.test", "https://inside.test.evil/v2/a", Rewritten::Unchanged),
            ("https", "inside.test", "https://inside.test:444/v2/a", Rewritten::Unchanged),
            ("https", "inside.test", "//storage.test/v2/a", Rewritten::Unchanged),
            // Without a host already.
            ("https", "inside.test", "/v2/app/blobs/uploads/1", Rewritten::Unchanged),
            ("https", "inside.test", "uploads/1", Rewritten::Unchanged),
            ("https", "inside.test", "not an address", Rewritten::Unchanged),
            // Would name a host once its own is gone.
            ("https", "inside.test", "https://inside.test//evil.test/v2/", Rewritten::Unchanged),
        ] {
            let (Ok(scheme), Ok(authority)) = (Scheme::try_from(scheme), Authority::try_from(authority)) else {
                unreachable!("{scheme}://{authority}")
            };
            let inside = Inside { scheme: &scheme, authority: &authority };
            assert_eq!(turned(text, Leads::Elsewhere, &inside, "docker.test"), expected, "{text}");
        }
        // What an upload goes on at is the registry's own, whatever it calls itself.
        for (text, expected) in [
            (
                "https://called.test/v2/app/blobs/uploads/1?_state=a%2Bb",
                turned_to("/v2/app/blobs/uploads/1?_state=a%2Bb"),
            ),
            ("http://called.test:5000/v2/app/manifests/1", turned_to("/v2/app/manifests/1")),
            ("//called.test/v2/app/blobs/uploads/1", turned_to("/v2/app/blobs/uploads/1")),
            ("/v2/app/blobs/uploads/1", Rewritten::Unchanged),
            ("https://storage.test/bucket/a?signed=1", Rewritten::Unchanged),
            ("https://called.test//evil.test/v2/", Rewritten::Unchanged),
        ] {
            let inside = Inside { scheme: &Scheme::HTTPS, authority: &Authority::from_static("inside.test") };
            assert_eq!(turned(text, Leads::On, &inside, "docker.test"), expected, "{text}");
        }
        let inside = Inside { scheme: &Scheme::HTTPS, authority: &Authority::from_static("inside.test") };
        for (text, expected) in [
            ("<https://inside.test/v2/a/tags/list?n=1>; rel=\"next\"", "</v2/a/tags/list?n=1>; rel=\"next\""),
            ("</v2/a>; rel=next, <https://inside.test/v2/b>; x=y", "</v2/a>; rel=next, </v2/b>; x=y"),
            ("<https://storage.test/b>; x=\"<\"", "<https://storage.test/b>; x=\"<\""),
            ("<https://inside.test/b", "<https://inside.test/b"),
            ("", ""),
        ] {
            assert_eq!(links(text, &inside, ""), expected);
        }
    }
}
