//! `server.letsencrypt`: docker_auth's keys, and those for an authority of one's own.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use instant_acme::LetsEncrypt;
use rustls::pki_types::ServerName;
use settings::yaml::Value;
use settings::{At, Refusal, Secrets, Section};
use url::Url;

use crate::pem::named::read_authorities;
use crate::pem::tls::Authorities;

/// The longest address of a person, in bytes (RFC 5321, section 4.5.3.1.3).
const LONGEST_EMAIL: usize = 254;

/// What is ordered, of whom, and where it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The one name of the certificate, in small letters.
    pub(super) host: String,
    /// Whom the authority writes to.
    pub(super) email: String,
    /// The folder.
    pub(super) cache_dir: PathBuf,
    /// Where the authority says how it is asked.
    pub(super) directory_url: Url,
    /// Where its own certificate may come from, if not from a public authority.
    pub(super) authorities: Option<Authorities>,
}

impl Settings {
    /// The one name of the certificate.
    pub fn host(&self) -> &str {
        &self.host
    }
}

/// Reads the section.
pub fn read(mut section: Section<'_>) -> Option<Settings> {
    if is_left_out(&mut section, "host") {
        let message =
            "the certificate is for one name, by which clients know this server; write host: auth.example.org";
        section.missing("host", message);
    }
    let host = filled(&mut section, "host", |text| {
        let name = text.to_ascii_lowercase();
        let is_name = matches!(ServerName::try_from(name.as_str()), Ok(ServerName::DnsName(_)));
        match is_name && !name.ends_with('.') {
            true => Ok(name),
            false => Err(Refusal::is("not a host name; write one name without *, such as auth.example.org")),
        }
    });
    if is_left_out(&mut section, "email") {
        let message = "whom does the authority write to? write the address of whoever runs this server (docker_auth orders nothing \
                       without it), or leave letsencrypt out";
        section.missing("email", message);
    }
    let email = filled(&mut section, "email", |text| {
        let is_plain = |letter: u8| letter.is_ascii_graphic() && !b",?&%#\"<>\\".contains(&letter);
        let is_one = text.split_once('@').is_some_and(|(name, domain)| !name.is_empty() && !domain.is_empty());
        match is_one && text.len() <= LONGEST_EMAIL && text.bytes().all(is_plain) {
            true => Ok(text.to_owned()),
            false => Err(Refusal::is("not an e-mail address; write one, such as admin@example.org")),
        }
    });
    let cache_dir = section.path("cache_dir");
    if is_left_out(&mut section, "cache_dir") {
        let message = "without a folder each start would order a certificate, until the authority gives no more; write \
                       cache_dir: /var/lib/dockwarden/acme";
        section.missing("cache_dir", message);
    }
    if let (Some(At { place, value }), Secrets::Read) = (&cache_dir, section.secrets()) {
        match open_to(value) {
            OpenTo::Everybody => {
                let message = "everybody on this machine may look into this folder, or write there, and the certificate's key is \
                               in it; run chmod 0700 on it";
                section.problem(place, "cache_dir", message);
            }
            OpenTo::Group => {
                let message = "its group may look into this folder, or write there, and the certificate's key is in it; run \
                               chmod 0700 on it";
                section.warn(place, "cache_dir", message);
            }
            OpenTo::Owner => {}
        }
    }
    let directory_url = filled(&mut section, "directory_url", |text| {
        let url = Url::parse(text).ok().filter(|url| {
            url.scheme() == "https" && url.has_host() && url.username().is_empty() && url.password().is_none()
        });
        url.ok_or_else(|| {
            Refusal::is("not the address of an authority's directory; write https://ca.example.org/acme/acme/directory")
        })
    });
    let directory_url = match is_left_out(&mut section, "directory_url") {
        true => Url::parse(LetsEncrypt::Production.url()).ok(),
        false => directory_url.map(|at| at.value),
    };
    let authorities =
        section.path("ca_certificate").map(|at| read_authorities(&section, &at, "ca_certificate")).transpose();
    section.finish();
    Some(Settings {
        host: host?.value,
        email: email?.value,
        cache_dir: cache_dir?.value,
        directory_url: directory_url?,
        authorities: authorities.ok()?,
    })
}

/// Whether there is nothing under this key; docker_auth reads an empty text as if the key were not there.
fn is_left_out(section: &mut Section<'_>, key: &'static str) -> bool {
    section.field(key).is_none_or(|field| matches!(field.value(), Value::Text(text) if text.is_empty()))
}

/// What is read under a key, unless there is nothing.
fn filled<T>(
    section: &mut Section<'_>,
    key: &'static str,
    parse: impl FnOnce(&str) -> Result<T, Refusal>,
) -> Option<At<T>> {
    match is_left_out(section, key) {
        true => None,
        false => section.parsed(key, parse),
    }
}

/// Who may use a folder.
enum OpenTo {
    Owner,
    Group,
    Everybody,
}

/// Who may use the folder now. One that is not there is made for its owner alone.
fn open_to(folder: &Path) -> OpenTo {
    let mode = std::fs::metadata(folder).map_or(0, |found| found.permissions().mode());
    match (mode & 0o007, mode & 0o070) {
        (0, 0) => OpenTo::Owner,
        (0, _) => OpenTo::Group,
        (_, _) => OpenTo::Everybody,
    }
}
