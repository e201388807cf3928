//! What a registry's notifications say (distribution 2.8 and 3.x), and what of it is kept.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::name::{is_digest, is_repository, is_tag};
use super::registry::OURSELVES;
use crate::json::{self, Object};
use crate::records::catalogue::{Change, Pull, Stamp, StoredEvent, What};

/// The media type of blobs; manifests have others.
const BLOB: &str = "application/octet-stream";
/// The longest id of an event, account or address that is kept, in bytes.
const LONGEST: usize = 1024;

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    events: Option<Vec<Value>>,
}

#[derive(Deserialize)]
struct Notification {
    id: String,
    timestamp: String,
    action: String,
    #[serde(default)]
    target: Option<Target>,
    #[serde(default)]
    request: Option<RequestOf>,
    #[serde(default)]
    actor: Option<Actor>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Target {
    media_type: String,
    digest: String,
    size: i64,
    repository: String,
    tag: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RequestOf {
    addr: String,
    method: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Actor {
    name: String,
}

/// What an envelope holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    /// What is to be kept.
    pub(super) events: Vec<StoredEvent>,
    /// How many tell nothing that anybody wants to know: blobs, mounts, questions whether there is something, and our own requests.
    pub(super) ignored: u64,
    /// How many could not be read; the whole envelope counts as one.
    pub(super) unreadable: u64,
}

/// An event as it is kept until it is worked on.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kept {
    Pushed { repository: String, tag: Option<String>, digest: String, media_type: String, size: i64, at: i64 },
    Pulled { repository: String, tag: Option<String>, digest: String, account: String, address: String, at: i64 },
    Deleted { repository: String, tag: Option<String>, digest: Option<String>, at: i64 },
}

/// What an event comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// A repository changes.
    Changes(Change),
    /// Somebody pulled something.
    Pulled(Box<Pull>),
}

enum Read {
    Kept(StoredEvent),
    Ignored,
    Unreadable,
}

/// Reads an envelope that a registry sent, whatever is in it.
pub(super) fn receive(service: &str, body: &[u8]) -> Received {
    let Ok(Envelope { events: Some(events) }) = json::object(body) else {
        return Received { unreadable: 1, ..Received::default() };
    };
    let mut received = Received::default();
    for event in events {
        match read(service, event) {
            Read::Kept(event) => received.events.push(event),
            Read::Ignored => received.ignored += 1,
            Read::Unreadable => received.unreadable += 1,
        }
    }
    received
}

fn read(service: &str, event: Value) -> Read {
    let Ok(Object(Notification { id, timestamp, action, target, request, actor })) =
        Object::<Notification>::deserialize(event)
    else {
        return Read::Unreadable;
    };
    let (target, request) = (target.unwrap_or_default(), request.unwrap_or_default());
    let is_word = |text: &str| text.len() <= LONGEST && !text.contains(char::is_control);
    let account = actor.unwrap_or_default().name;
    let Ok(moment) = OffsetDateTime::parse(&timestamp, &Rfc3339) else { return Read::Unreadable };
    if id.is_empty() || ![&id, &account, &request.addr].into_iter().all(|text| is_word(text)) {
        return Read::Unreadable;
    }
    let Ok(at) = i64::try_from(moment.unix_timestamp_nanos() / 1000) else { return Read::Unreadable };
    let Target { media_type, digest, size, repository, tag } = target;
    let is_manifest = media_type != BLOB && !media_type.is_empty() && is_word(&media_type);
    let tag = Some(tag).filter(|tag| !tag.is_empty());
    let is_well = is_repository(&repository)
        && tag.as_deref().is_none_or(is_tag)
        && (digest.is_empty() || is_digest(&digest))
        && size >= 0;
    let kept = match action.as_str() {
        // Pushes of blobs are steps on the way to a manifest, and mounts too; what is new in 3.x and not known here is not wrong.
        "push" | "pull" if !is_manifest => return Read::Ignored,
        "push" | "pull" | "delete" if !is_well => return Read::Unreadable,
        "push" | "pull" if digest.is_empty() => return Read::Unreadable,
        "push" => Kept::Pushed { repository, tag, digest, media_type, size, at },
        // Whether there is something is asked by HEAD, and also by docker before each pull.
        "pull" if request.method.eq_ignore_ascii_case("HEAD") || account == OURSELVES => return Read::Ignored,
        "pull" => {
            let address = without_port(&request.addr).to_owned();
            Kept::Pulled { repository, tag, digest, account, address, at }
        }
        "delete" => Kept::Deleted { repository, tag, digest: Some(digest).filter(|digest| !digest.is_empty()), at },
        _ => return Read::Ignored,
    };
    match serde_json::to_string(&kept) {
        Ok(document) => Read::Kept(StoredEvent { service: service.to_owned(), id, document }),
        Err(_) => Read::Unreadable,
    }
}

/// An address without its port: registries write `192.0.2.1:1234`, `[2001:db8::1]:1234` or, from a proxy's header, the address alone.
fn without_port(address: &str) -> &str {
    let inner = address.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(inner, _)| inner);
    match (inner, address.split_once(':')) {
        (Some(inner), _) => inner,
        (None, Some((host, port))) if port.bytes().all(|digit| digit.is_ascii_digit()) => host,
        (None, Some(_) | None) => address,
    }
}

/// What a kept event comes to; `None` where it is not as this program writes it.
pub(super) fn effect(event: &StoredEvent, heard: OffsetDateTime) -> Option<Effect> {
    let kept = kept_of(&event.document)?;
    let change = |repository, at, what| Effect::Changes(Change { repository, at: Stamp(at), what });
    Some(match kept {
        Kept::Pushed { repository, tag, digest, media_type, size, at } => {
            change(repository, at, What::Pushed { tag, digest, media_type, size })
        }
        // A tag alone fell by itself (3.x); a digest takes all its tags along; neither is the repository.
        Kept::Deleted { repository, tag, digest, at } => {
            let what = match (tag, digest) {
                (Some(tag), _) => What::TagGone(tag),
                (None, Some(digest)) => What::DigestGone(digest),
                (None, None) => What::RepositoryGone,
            };
            change(repository, at, what)
        }
        Kept::Pulled { repository, tag, digest, account, address, at } => Effect::Pulled(Box::new(Pull {
            service: event.service.clone(),
            repository,
            digest,
            account,
            address,
            tag,
            first: Stamp(at),
            last: Stamp(at),
            heard,
        })),
    })
}

/// So far may a registry's clock be ahead of ours.
const AHEAD: time::Duration = time::Duration::minutes(5);

impl Effect {
    /// The same, at a moment that is not ahead of ours: of a registry whose clock was wrong for a while, nothing that comes later would
    /// count until then.
    pub(super) fn bounded(mut self, now: OffsetDateTime) -> Effect {
        let micros = |moment: OffsetDateTime| i64::try_from(moment.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX);
        let bound = |at: &mut Stamp| {
            if at.0 > micros(now.saturating_add(AHEAD)) {
                *at = Stamp(micros(now));
            }
        };
        match &mut self {
            Effect::Changes(change) => bound(&mut change.at),
            Effect::Pulled(pull) => {
                bound(&mut pull.first);
                bound(&mut pull.last);
            }
        }
        self
    }
}

/// The enum is written as an object of one member, and read as nothing else.
fn kept_of(text: &str) -> Option<Kept> {
    let value = json::unambiguous(text).ok()?;
    if !value.is_object() {
        return None;
    }
    Kept::deserialize(value).ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use serde_json::json;

    use super::*;

    fn event(action: &str, target: Value, more: Value) -> Value {
        let mut event = json!({
            "id": format!("id of {action}"), "timestamp": "2026-11-30T04:05:06.123456789Z", "action": action,
            "target": target, "request": {"id": "r", "addr": "192.0.2.1:4711", "host": "h", "method": "PUT"},
            "actor": {"name": "ann"}, "source": {"addr": "x:5000", "instanceID": "i"},
        });
        for (name, value) in more.as_object().unwrap() {
            event.as_object_mut().unwrap().insert(name.clone(), value.clone());
        }
        event
    }

    fn digest(letter: &str) -> String {
        format!("sha256:{}", letter.repeat(64))
    }

    fn received(events: &[Value]) -> Received {
        receive("reg", json!({ "events": events }).to_string().as_bytes())
    }

    fn effects(events: &[Value]) -> Vec<Effect> {
        received(events).events.iter().map(|event| effect(event, OffsetDateTime::UNIX_EPOCH).unwrap()).collect()
    }

    /// A registry whose clock was in 2031 for a day says nothing that counts until then.
    #[test]
    fn a_moment_that_is_ahead_of_our_clock_is_bounded_by_it() {
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        let micros = |seconds: i64| Stamp((1_800_000_000 + seconds) * 1_000_000);
        for (ahead, expected) in [(-7200, -7200), (0, 0), (60, 60), (301, 0), (100_000_000, 0)] {
            let (at, repository) = (micros(ahead), "lib/x".to_owned());
            let change = Change { repository: repository.clone(), at, what: What::RepositoryGone };
            let bounded = Effect::Changes(change.clone()).bounded(now);
            assert_eq!(bounded, Effect::Changes(Change { at: micros(expected), ..change }), "{ahead}");
            let pull = |at| {
                let (service, digest, account, address) = ("reg".to_owned(), digest("a"), String::new(), String::new());
                let repository = repository.clone();
                let pull =
                    Pull { service, repository, digest, account, address, tag: None, first: at, last: at, heard: now };
                Effect::Pulled(Box::new(pull))
            };
            assert_eq!(pull(at).bounded(now), pull(micros(expected)), "{ahead}");
        }
    }

    #[test]
    fn pushes_pulls_and_deletions_are_read_and_the_rest_is_overlooked() {
        let manifest = json!({"mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest("a"), "size": 7,
            "length": 7, "repository": "lib/x", "url": "http://169.254.169.254/", "tag": "v1", "references": [{"a": 1}]});
        let mut untagged = manifest.clone();
        untagged.as_object_mut().unwrap().remove("tag");
        let blob = json!({"mediaType": BLOB, "digest": digest("b"), "size": 7, "repository": "lib/x"});
        let at = Stamp(1_796_011_506_123_456);
        let changed = |what| Effect::Changes(Change { repository: "lib/x".to_owned(), at, what });
        let pushed = |tag: Option<&str>| What::Pushed {
            tag: tag.map(str::to_owned),
            digest: digest("a"),
            media_type: "application/vnd.oci.image.index.v1+json".to_owned(),
            size: 7,
        };
        let head = json!({"request": {"addr": "192.0.2.1:4711", "method": "HEAD"}});
        let get = json!({"request": {"addr": "[2001:db8::1]:4711", "method": "GET"}});
        let found = received(&[
            event("push", manifest.clone(), json!({})),
            event("push", untagged, json!({})),
            event("push", blob.clone(), json!({})),
            event("pull", blob, get.clone()),
            event("mount", manifest.clone(), json!({})),
            event("pull", manifest.clone(), head),
            event("pull", manifest.clone(), get.clone()),
            event("pull", manifest, json!({"actor": {"name": OURSELVES}, "request": {"method": "GET"}})),
            event("delete", json!({"digest": digest("a"), "repository": "lib/x"}), json!({})),
            event("delete", json!({"tag": "v1", "repository": "lib/x"}), json!({})),
            event("delete", json!({"repository": "lib/x"}), json!({})),
        ]);
        assert_eq!((found.events.len(), found.ignored, found.unreadable), (6, 5, 0));
        let pull = Pull {
            service: "reg".to_owned(),
            repository: "lib/x".to_owned(),
            digest: digest("a"),
            account: "ann".to_owned(),
            address: "2001:db8::1".to_owned(),
            tag: Some("v1".to_owned()),
            first: at,
            last: at,
            heard: OffsetDateTime::UNIX_EPOCH,
        };
        let expected = [
            changed(pushed(Some("v1"))),
            changed(pushed(None)),
            Effect::Pulled(Box::new(pull)),
            changed(What::DigestGone(digest("a"))),
            changed(What::TagGone("v1".to_owned())),
            changed(What::RepositoryGone),
        ];
        let found: Vec<_> =
            found.events.iter().map(|event| effect(event, OffsetDateTime::UNIX_EPOCH).unwrap()).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn one_that_cannot_be_read_keeps_no_other_from_being_read() {
        let good = event("delete", json!({"repository": "lib/x"}), json!({}));
        let with = |more| event("delete", json!({"repository": "lib/x"}), more);
        let of = |target| event("push", target, json!({}));
        let media = "application/vnd.oci.image.manifest.v1+json";
        let bad = [
            json!([]),
            json!("text"),
            json!({}),
            with(json!({"id": ""})),
            with(json!({"id": "a\nb"})),
            with(json!({"timestamp": "yesterday"})),
            with(json!({"actor": {"name": "a\u{0}"}})),
            of(json!({"mediaType": media, "repository": "lib/x", "digest": "sha256:x"})),
            of(json!({"mediaType": media, "repository": "lib/x"})),
            of(json!({"mediaType": media, "repository": "Lib/../x", "digest": digest("a")})),
            of(json!({"mediaType": media, "repository": "lib/x", "digest": digest("a"), "tag": "a b"})),
            of(json!({"mediaType": media, "repository": "lib/x", "digest": digest("a"), "size": -1})),
        ];
        for event in &bad {
            let found = received(&[event.clone(), good.clone()]);
            assert_eq!((found.events.len(), found.unreadable), (1, 1), "{event}");
        }
        for body in ["", "{", "[]", "null", "{}", "{\"events\": null}", "{\"events\": {}}"] {
            let unread = Received { unreadable: 1, ..Received::default() };
            assert_eq!(receive("reg", body.as_bytes()), unread, "{body}");
        }
        assert_eq!(received(&[]), Received::default());
        assert_eq!(effects(&[good]).len(), 1);
    }
}
