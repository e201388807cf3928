//! Why a request to the API was refused, and how that is told: RFC 9457.

use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::json;

use crate::access::Denied;
use crate::catalogue::{Deleted, NotDeleted, NotSwept, Siblings, stopped_at};
use crate::client_address::NoAddress;
use crate::decision_log::Fault;
use crate::directory::changing::NotChanged;
use crate::http::body::NotRead;
use crate::http::credentials::Malformed;
use crate::http::shape::{self, Shape, basic_challenge, denied_reasons};
use crate::management::NotDone;
use crate::records::Failure;
use crate::records::directory::EntryAt;
use crate::secrets::NotMade;
use crate::turns::Busy;

/// The form of a refusal (RFC 9457, section 3).
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Why the API refuses.
#[derive(Debug, thiserror::Error)]
pub(in crate::http) enum Refused {
    /// A parameter or a field is wrong. Nothing of it is repeated.
    #[error("{0}")]
    Request(String),
    /// The address of the client cannot be told.
    #[error(transparent)]
    NoAddress(#[from] NoAddress),
    /// The body is announced as something else than it has to be. No form of a browser can announce JSON: another page cannot make
    /// one that its user's browser sends with the user's password.
    #[error("send the body as {0}")]
    ContentType(&'static str),
    /// The body did not arrive in time.
    #[error("the request did not arrive in time")]
    TooSlow,
    /// The body is too long.
    #[error("the request body is too long")]
    TooLong,
    /// There is no such method here.
    #[error("there is no such method at this address")]
    Method {
        /// Those that there are.
        allow: String,
    },
    /// The credentials could not be read at all.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Nobody logged in.
    #[error("log in: send an account and its password by Basic authentication")]
    LoginNeeded,
    /// The client was refused, or a backend could not tell.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The rules do not give the right.
    #[error("no rule gives you \"{action}\" on dockwarden:{name}")]
    NotGranted {
        /// The action.
        action: &'static str,
        /// The name of what it is about.
        name: String,
    },
    /// Something else than a password asks for what lasts.
    #[error(
        "secrets are made, renewed and changed by whoever logs in with a password; one that was leaked could outlive itself otherwise"
    )]
    NeedsPassword,
    /// The labels of a new robot are not the asker's own.
    #[error(
        "a robot gets labels that you have yourself; others are given by the command line (dockwarden token create)"
    )]
    LabelsOfOthers,
    /// There is no such secret, or none that the asker may know of.
    #[error("there is no secret of this id that you may see")]
    NotFound,
    /// No version is named where one has to be.
    #[error("say which version you change: If-Match, with the ETag of the secret")]
    NoVersion,
    /// It has another version by now.
    #[error("the secret was changed since; get it again")]
    Changed,
    /// Nobody can say now who the owner is.
    #[error("the owner could not be looked up")]
    Owner(#[source] Denied),
    /// The records do not allow it, or could not tell.
    #[error(transparent)]
    NotMade(#[from] NotMade),
    /// A tag was not deleted, and it is known why.
    #[error("{}{}", deleted.sentence(), after.as_ref().map(|(count, tag)| format!("; {}", stopped_at(tag, *count))).unwrap_or_default())]
    NotDeleted {
        /// What came of it.
        deleted: Deleted,
        /// Of a whole repository: how many tags were deleted before, and which one was not.
        after: Option<(usize, String)>,
    },
    /// Nothing of what is managed was done.
    #[error(transparent)]
    NotDone(#[from] NotDone),
    /// The records were not asked.
    #[error("the records were not asked")]
    Busy(#[from] Busy),
    /// The moment or the answer could not be written.
    #[error("the answer could not be written")]
    Unwritten(#[from] serde_json::Error),
}

impl From<Failure> for Refused {
    fn from(cause: Failure) -> Refused {
        NotMade::Records(cause).into()
    }
}

impl From<NotRead> for Refused {
    fn from(cause: NotRead) -> Refused {
        match cause {
            NotRead::TooLong => Refused::TooLong,
            NotRead::TooSlow => Refused::TooSlow,
            NotRead::Ended => Refused::Request("the body ended too early".to_owned()),
        }
    }
}

/// All reasons in [`Refused::shape`], but for [`denied_reasons`].
pub(super) const REASONS: &[&str] = &[
    "bad_request",
    "no_client_address",
    "too_slow",
    "too_long",
    "malformed_credentials",
    "not_granted",
    "password_needed",
    "secret_not_found",
    "secret_not_made",
    "secret_conflict",
    "records_away",
    "not_found",
    "not_changed",
    "not_deleted",
    "registry_failed",
];

/// All outcomes of a refusal.
pub(super) fn reasons() -> impl Iterator<Item = &'static str> {
    REASONS.iter().copied().chain(denied_reasons())
}

impl Refused {
    /// What the client, the log and the metrics are told.
    pub(in crate::http) fn shape(&self) -> Shape {
        let refusal = |status, reason| Shape::new(status, "", self.to_string(), reason, Fault::Client);
        match self {
            Refused::Request(_) => refusal(StatusCode::BAD_REQUEST, "bad_request"),
            Refused::NoAddress(_) => refusal(StatusCode::BAD_REQUEST, "no_client_address"),
            Refused::ContentType(_) => refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, "bad_request"),
            Refused::TooSlow => refusal(StatusCode::REQUEST_TIMEOUT, "too_slow"),
            Refused::TooLong => refusal(StatusCode::PAYLOAD_TOO_LARGE, "too_long"),
            Refused::Method { .. } => refusal(StatusCode::METHOD_NOT_ALLOWED, "bad_request"),
            Refused::Malformed(_) => refusal(StatusCode::UNAUTHORIZED, "malformed_credentials"),
            Refused::LoginNeeded => Shape::unauthorized(self.to_string(), "login_needed", Fault::Nobody),
            Refused::Denied(denied) => shape::denied(denied, Fault::Nobody),
            Refused::NotGranted { .. } | Refused::LabelsOfOthers => refusal(StatusCode::FORBIDDEN, "not_granted"),
            Refused::NeedsPassword => refusal(StatusCode::FORBIDDEN, "password_needed"),
            Refused::NotFound => refusal(StatusCode::NOT_FOUND, "secret_not_found"),
            Refused::NoVersion => refusal(StatusCode::PRECONDITION_REQUIRED, "secret_conflict"),
            Refused::Changed => refusal(StatusCode::PRECONDITION_FAILED, "secret_conflict"),
            Refused::Owner(denied) => match denied {
                Denied::Busy { .. } | Denied::Unavailable { .. } | Denied::TooMany(_) => {
                    shape::denied(denied, Fault::Client)
                }
                // About the owner: whoever asks is logged in.
                Denied::Anonymous
                | Denied::Credentials
                | Denied::OtherIssuer { .. }
                | Denied::Workload(_)
                | Denied::Closed(_)
                | Denied::NameTaken { .. }
                | Denied::Secret(_) => refusal(StatusCode::UNPROCESSABLE_ENTITY, "secret_not_made"),
            },
            Refused::NotMade(NotMade::Records(_) | NotMade::NoRandomBytes) => {
                Shape::unavailable("records_away", Fault::Ours)
            }
            Refused::NotMade(NotMade::Missing) => refusal(StatusCode::NOT_FOUND, "secret_not_found"),
            Refused::NotMade(
                NotMade::NameTaken
                | NotMade::OtherLabels
                | NotMade::BothSlots
                | NotMade::TooMany
                | NotMade::Ended
                | NotMade::NotRenewed
                | NotMade::NotChanged
                | NotMade::Conflict,
            ) => refusal(StatusCode::CONFLICT, "secret_conflict"),
            Refused::NotMade(
                NotMade::Unknown
                | NotMade::OnlyByLogin
                | NotMade::OfService
                | NotMade::NoSession
                | NotMade::Closed(_)
                | NotMade::NoEnd
                | NotMade::Over
                | NotMade::TooBrief
                | NotMade::TooLong { .. }
                | NotMade::Name
                | NotMade::NamedBySecret
                | NotMade::RobotName
                | NotMade::Limits(_)
                | NotMade::TooManyListed
                | NotMade::NoneListed
                | NotMade::Network
                | NotMade::Moment
                | NotMade::NoRobot,
            ) => refusal(StatusCode::UNPROCESSABLE_ENTITY, "secret_not_made"),
            Refused::NotDeleted { deleted, .. } => match deleted {
                Deleted::Changed { .. } => refusal(StatusCode::PRECONDITION_FAILED, "not_deleted"),
                Deleted::StillThere => refusal(StatusCode::BAD_GATEWAY, "registry_failed"),
                Deleted::Done { .. }
                | Deleted::WasGone
                | Deleted::Siblings(_)
                | Deleted::Off
                | Deleted::TooManyTags => refusal(StatusCode::CONFLICT, "not_deleted"),
            },
            Refused::NotDone(not_done) => shape_of(not_done),
            Refused::Busy(_) => Shape::unavailable("busy", Fault::Client),
            Refused::Unwritten(_) => Shape::unavailable("records_away", Fault::OursAfterwards),
        }
    }

    /// The reply, where the shape is this one. `realm` is that of a 401's challenge.
    pub(super) fn reply(&self, shape: &Shape, realm: &str) -> Response {
        let mut body = json!({
            "type": "about:blank",
            "title": shape.status.canonical_reason(),
            "status": shape.status.as_u16(),
            "detail": shape.message,
            "reason": shape.reason,
        });
        if let Refused::NotDeleted { deleted: Deleted::Siblings(Siblings(tags)), after: None } = self
            && let Some(members) = body.as_object_mut()
        {
            members.insert("siblings".to_owned(), json!(tags));
        }
        if let Refused::NotDone(NotDone::Named { seen, .. }) = self
            && let Some(members) = body.as_object_mut()
        {
            let places = |at: &EntryAt| format!("{}/{}", at.kind.plural(), at.name);
            members.insert("named_by".to_owned(), seen.iter().map(places).collect());
        }
        let mut response = shape.reply(body, basic_challenge(realm));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, PROBLEM);
        if let Refused::Method { allow } = self
            && let Ok(allow) = HeaderValue::from_str(allow)
        {
            headers.insert(ALLOW, allow);
        }
        response
    }
}

/// What is told of something that was not done with registries, with what is in them, or with the directory.
pub(in crate::http) fn shape_of(not_done: &NotDone) -> Shape {
    let refusal = |status, reason| Shape::new(status, "", not_done.to_string(), reason, Fault::Client);
    let away = || Shape::unavailable("records_away", Fault::Ours);
    // What it answered, or where it is, is for those who look after it: their log says it, and the registry's status.
    let failed = || {
        let message = "the registry did not answer as it should; the log says more";
        Shape::new(StatusCode::BAD_GATEWAY, "", message, "registry_failed", Fault::OursAfterwards)
    };
    let missing = || Shape::new(StatusCode::NOT_FOUND, "", NotDone::Missing.to_string(), "not_found", Fault::Client);
    match not_done {
        NotDone::Missing => missing(),
        NotDone::NotGranted { .. } => refusal(StatusCode::FORBIDDEN, "not_granted"),
        NotDone::Wrong(_) => refusal(StatusCode::UNPROCESSABLE_ENTITY, "not_changed"),
        NotDone::NoVersion => refusal(StatusCode::PRECONDITION_REQUIRED, "not_changed"),
        NotDone::Changed => refusal(StatusCode::PRECONDITION_FAILED, "not_changed"),
        NotDone::Named { .. } => refusal(StatusCode::CONFLICT, "not_changed"),
        NotDone::NotReady | NotDone::Records(_) => away(),
        NotDone::Denied(denied) => shape::denied(denied, Fault::Nobody),
        NotDone::Registry(_) => failed(),
        NotDone::NotChanged(cause) => match cause {
            NotChanged::Missing => missing(),
            NotChanged::NoRecords
            | NotChanged::InTheFile
            | NotChanged::Taken(_)
            | NotChanged::Account { .. }
            | NotChanged::Leaving { .. }
            | NotChanged::Reserved
            | NotChanged::Operators
            | NotChanged::Removed(_)
            | NotChanged::Quota(_) => refusal(StatusCode::CONFLICT, "not_changed"),
            // Told by who may know whom it is named by.
            NotChanged::Named(by) => {
                let message = NotDone::Named { seen: Vec::new(), others: by.len() }.to_string();
                Shape::new(StatusCode::CONFLICT, "", message, "not_changed", Fault::Client)
            }
            NotChanged::Conflict => refusal(StatusCode::PRECONDITION_FAILED, "not_changed"),
            NotChanged::Unknown { .. } | NotChanged::Place(_) => {
                refusal(StatusCode::UNPROCESSABLE_ENTITY, "not_changed")
            }
            NotChanged::Failure(_) => away(),
        },
        NotDone::NotDeleted(cause) => match cause {
            NotDeleted::NoRegistry | NotDeleted::NotAName => missing(),
            NotDeleted::Registry(_) => failed(),
            NotDeleted::Failure(_) => away(),
        },
        NotDone::NotSwept(cause) => match cause {
            NotSwept::NoRegistry => missing(),
            NotSwept::Registry(_) => failed(),
            NotSwept::Failure(_) => away(),
        },
    }
}
