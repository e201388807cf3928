//! The part of the `ldap_auth:` section that says which servers there are, how they are known, and who we are to them.

use std::path::PathBuf;

use super::address::{Address, Protection};
use super::name::{ACCOUNT, NameTemplate};
use super::settings::{Login, Trust};
use crate::authn::Secret;
use crate::config::problem::At;
use crate::config::refused::{Holds, Refusal, is_harmless};
use crate::config::section::Section;
use crate::config::yaml::Value;
use crate::config::{Keys, Problem, read_authorities, read_secret};

/// The servers, and how each is spoken with.
pub(super) fn read_addresses(section: &mut Section<'_>) -> Option<Vec<Address>> {
    let protection = section.word("tls", |text| match text {
        "" => Ok(None),
        "none" => Ok(Some(Protection::None)),
        "starttls" => Ok(Some(Protection::StartTls)),
        "always" => Ok(Some(Protection::Tls)),
        _ => Err(Refusal::is("none of none, starttls and always")),
    });
    let is_unknown = protection.is_none() && section.node("tls").is_some();
    let protection = protection.and_then(|at| at.value);
    let place = section.place().clone();
    let written = section.texts("addr").unwrap_or_default();
    if written.is_empty() && section.node("addr").is_none_or(|node| matches!(&node.value, Value::List(_))) {
        section.problem(&place, "addr", "no server is named; write addr: ldaps://ldap.example.com");
    }
    let mut addresses = Vec::new();
    for At { place, value } in &written {
        match Address::parse(value, protection) {
            Ok(address) if addresses.contains(&address) => {
                let refusal = Refusal::is("in the list twice");
                section.problem(place, "addr", refusal.about(value, Holds::Words));
            }
            Ok(address) => addresses.push(address),
            Err(refusal) => section.problem(place, "addr", refusal.about(value, Holds::Secrets)),
        }
    }
    (addresses.len() == written.len() && !addresses.is_empty() && !is_unknown).then_some(addresses)
}

/// Whose certificates are taken.
pub(super) fn read_trust(
    section: &mut Section<'_>,
    addresses: Option<&[Address]>,
    keys: Keys,
    files: &mut Vec<PathBuf>,
    warnings: &mut Vec<Problem>,
) -> Option<Trust> {
    let is_protected = |address: &Address| match address.protection {
        Protection::None => false,
        Protection::StartTls | Protection::Tls => true,
    };
    let authority = section.path("ca_certificate");
    let skip = section.flag("insecure_tls_skip_verify").filter(|at| at.value);
    if let (Some(at), Some(addresses)) = (&authority, addresses)
        && !addresses.iter().any(is_protected)
    {
        // Otherwise passwords would go over the wire in the clear, against what was meant.
        section.problem(
            &at.place,
            "ca_certificate",
            "a certificate is given, and TLS is off; write tls: starttls or tls: always",
        );
        return None;
    }
    if let Some(at) = skip {
        let message = "whoever is between here and the server can read every password and let anybody in; name the \
                       server's authority in ca_certificate instead";
        warnings.push(Problem::new(at.place, section.path_of("insecure_tls_skip_verify"), message));
        return Some(Trust::Anybody);
    }
    let Some(authority) = authority else { return Some(Trust::System) };
    let content = read_authorities(&authority.value, keys);
    files.push(authority.value.clone());
    match content {
        Ok(content) => Some(Trust::File(content)),
        Err(message) => {
            section.file_problem(&authority, "ca_certificate", &message);
            None
        }
    }
}

/// Warns where passwords can be read on the way.
pub(super) fn warn_of_clear_text(section: &mut Section<'_>, addresses: &[Address], warnings: &mut Vec<Problem>) {
    let exposed = |address: &&Address| match address.protection {
        Protection::None => !address.is_this_machine(),
        Protection::StartTls | Protection::Tls => false,
    };
    if let (Some(address), Some(entry)) = (addresses.iter().find(exposed), section.entry("addr")) {
        let server = if is_harmless(&address.host) { address.to_string() } else { "a server".to_owned() };
        let message = format!(
            "everybody's password travels to {server} in the clear, and whoever is on the way can let anybody in; write \
             tls: starttls, or ldaps://"
        );
        warnings.push(Problem::new(entry.place.clone(), section.path_of("addr"), message));
    }
}

/// Who searches.
pub(super) fn read_login(section: &mut Section<'_>, keys: Keys, files: &mut Vec<PathBuf>) -> Option<Login> {
    let name = section.filled("bind_dn");
    let as_user = section.flag("initial_bind_as_user").filter(|at| at.value);
    let inline = section.filled("bind_password");
    let file = section.path("bind_password_file");
    if let (Some(_), Some(file)) = (&inline, &file) {
        section.problem(&file.place, "bind_password_file", "give bind_password or bind_password_file, not both");
        return None;
    }
    let password_place =
        inline.as_ref().map(|at| at.place.clone()).or_else(|| file.as_ref().map(|at| at.place.clone()));
    if let Some(at) = as_user {
        let Some(name) = name else {
            let message = format!(
                "the name that users bind as is missing; write bind_dn: uid={ACCOUNT},ou=people,dc=example,dc=org"
            );
            section.problem(&at.place, "bind_dn", message);
            return None;
        };
        if let Some(place) = password_place {
            section.problem(
                &place,
                "bind_password_file",
                "with initial_bind_as_user nothing is bound but users; remove the password",
            );
            return None;
        }
        return match NameTemplate::parse(&name.value) {
            Ok(template) => Some(Login::User(template)),
            Err(message) => {
                section.problem(&name.place, "bind_dn", message);
                None
            }
        };
    }
    let Some(name) = name else {
        let Some(place) = password_place else { return Some(Login::Anonymous) };
        section.problem(&place, "bind_dn", "a password is given without the name that it belongs to");
        return None;
    };
    if name.value.contains(ACCOUNT) {
        let message = format!("{ACCOUNT} stands in a name to bind as only with initial_bind_as_user: true");
        section.problem(&name.place, "bind_dn", message);
        return None;
    }
    let Some(place) = password_place else {
        // A name without a password is an unauthenticated bind (RFC 4513, section 5.1.2): many servers say yes to it, and
        // mean nobody.
        section.problem(&name.place, "bind_password_file", "bind_dn is given without its password");
        return None;
    };
    let key = if inline.is_some() { "bind_password" } else { "bind_password_file" };
    let password = match (inline, &file) {
        (Some(inline), _) => Ok(inline.value),
        (None, Some(file)) => {
            let text = match keys {
                Keys::Read => read_secret(&file.value),
                Keys::LeftAlone => Ok("not read".to_owned()),
            };
            files.push(file.value.clone());
            text
        }
        (None, None) => return None,
    };
    match password {
        Ok(text) if text.is_empty() => section.problem(&place, key, "the file is empty"),
        Ok(text) if text.contains('\0') => section.problem(&place, key, "a password holds no NUL"),
        Ok(text) => return Some(Login::Ourselves { name: name.value, password: Secret::new(text) }),
        Err(message) => file.iter().for_each(|file| section.file_problem(file, key, &message)),
    }
    None
}
