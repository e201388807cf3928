//! The server as a terminal asks it (RFC 8628): a login is begun, and asked for until it was answered.

use std::time::Duration;

use axum::http::StatusCode;
use serde::Deserialize;
use url::Url;

use crate::json;
use crate::pem::tls::Authorities;
use crate::secrets::DEVICE_GRANT;
use crate::shown::printable;
use crate::sign_in::web::{Reply, Web};

/// How long one question may take.
const WITHIN: Duration = Duration::from_secs(10);

/// What is asked for.
pub(super) struct Wish<'wish> {
    pub(super) machine: &'wish str,
    pub(super) days: u32,
    pub(super) pull_only: bool,
}

/// A login that was begun (RFC 8628, section 3.2).
#[derive(Deserialize)]
pub(super) struct Begun {
    pub(super) device_code: String,
    pub(super) user_code: String,
    pub(super) verification_uri: String,
    pub(super) verification_uri_complete: Option<String>,
    pub(super) expires_in: u64,
    pub(super) interval: Option<u64>,
    /// The registry that the password is for.
    pub(super) registry: Option<String>,
}

/// The password.
#[derive(Deserialize)]
pub(super) struct Granted {
    pub(super) access_token: String,
    pub(super) username: String,
    /// In how many seconds it ends.
    pub(super) expires_in: Option<u64>,
}

/// A refusal (RFC 6749, section 5.2).
#[derive(Deserialize)]
struct Refused {
    error: String,
    #[serde(default)]
    error_description: String,
}

/// What came of one question.
pub(super) enum Polled {
    Granted(Box<Granted>),
    Pending,
    /// Likewise, and it came too soon.
    TooSoon,
    /// The server cannot be reached, or cannot answer now.
    Away,
    /// Nothing will come of this login.
    Failed(String),
}

/// A server.
pub(super) struct Server {
    url: Url,
    web: Web,
}

impl Server {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// The TLS library does not take this machine's authorities.
    pub(super) fn at(url: Url) -> Result<Server, String> {
        // Those of this machine, where its owner adds their own; `SSL_CERT_FILE` names others.
        let own = Authorities::usable(rustls_native_certs::load_native_certs().certs);
        let own = Some(own).filter(|own| !own.certificates().is_empty());
        let web = Web::new(own.as_ref(), WITHIN).map_err(|error| printable(&format!("{error:#}")))?;
        Ok(Server { url, web })
    }

    /// The address of a page there.
    pub(super) fn page(&self, name: &str) -> String {
        format!("{}/{name}", self.url.as_str().trim_end_matches('/'))
    }

    async fn post(&self, name: &str, form: &[(&str, &str)]) -> Result<Reply, String> {
        let address = Url::parse(&self.page(name)).map_err(|error| error.to_string())?;
        self.web.post(&address, form, None).await.map_err(|error| printable(&format!("{error:#}")))
    }

    /// Begins a login.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn begin(&self, wish: &Wish<'_>) -> Result<Begun, String> {
        let days = wish.days.to_string();
        let mut form = vec![("machine", wish.machine), ("days", &days)];
        if wish.pull_only {
            form.push(("scope", "pull"));
        }
        let reply = self.post("device_authorization", &form).await?;
        match reply.status {
            StatusCode::OK => {
                let begun: Result<Begun, _> = json::object(&reply.body);
                // Without the reader's words, which quote the text.
                begun.map_err(|_| format!("{} does not answer as a Dockwarden does", self.url))
            }
            StatusCode::NOT_FOUND => Err(format!(
                "{} takes no logins of terminals: is it the address that sign_in.url of the server's configuration has, and is that set?",
                self.url
            )),
            status => Err(format!("{}: {}", self.url, told(status, &reply))),
        }
    }

    /// Asks once what became of a login.
    pub(super) async fn poll(&self, device_code: &str) -> Polled {
        let form = [("grant_type", DEVICE_GRANT), ("device_code", device_code)];
        let Ok(reply) = self.post("device_token", &form).await else { return Polled::Away };
        if reply.status == StatusCode::OK {
            return match json::object(&reply.body) {
                Ok(granted) => Polled::Granted(Box::new(granted)),
                Err(_) => Polled::Failed(format!("{} does not answer as a Dockwarden does", self.url)),
            };
        }
        let refused: Option<Refused> = json::object(&reply.body).ok();
        match refused.as_ref().map(|refused| refused.error.as_str()) {
            Some("authorization_pending") => Polled::Pending,
            Some("slow_down") => Polled::TooSoon,
            Some("temporarily_unavailable") => Polled::Away,
            _ if reply.status.is_server_error() => Polled::Away,
            _ => Polled::Failed(told(reply.status, &reply)),
        }
    }
}

/// What a refusal says, for people.
fn told(status: StatusCode, reply: &Reply) -> String {
    match json::object::<Refused>(&reply.body) {
        Ok(Refused { error_description, .. }) if !error_description.is_empty() => printable(&error_description),
        Ok(Refused { error, .. }) => printable(&error),
        Err(_) => format!("the server answers {}", status.as_u16()),
    }
}
