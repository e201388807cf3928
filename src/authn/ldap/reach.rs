//! The part of the `ldap_auth:` section that says which servers there are, how they are known, and who we are to them.

use settings::refused::is_harmless;
use settings::yaml::Value;
use settings::{At, Holds, Refusal, Section};

use super::address::{Address, Protection};
use super::name::{ACCOUNT, NameTemplate};
use super::settings::{Login, Trust};
use crate::authn::Secret;
use crate::pem::named::read_authorities;

/// The servers, and how each is spoken with.
pub(super) fn read_addresses(section: &mut Section<'_>) -> Option<Vec<Address>> {
    let protection = section.word("tls", |text| match text {
        "" => Ok(None),
        "none" => Ok(Some(Protection::None)),
        "starttls" => Ok(Some(Protection::StartTls)),
        "always" => Ok(Some(Protection::Tls)),
        _ => Err(Refusal::is("not one of none, starttls and always")),
    });
    let is_unknown = protection.is_none() && section.has("tls");
    let protection = protection.and_then(|at| at.value);
    let written = section.texts("addr").unwrap_or_default();
    if written.is_empty() && section.field("addr").is_none_or(|field| matches!(field.value(), Value::List(_))) {
        section.missing("addr", "no server is named; write addr: ldaps://ldap.example.com");
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
pub(super) fn read_trust(section: &mut Section<'_>, addresses: Option<&[Address]>) -> Option<Trust> {
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
        section.warn(&at.place, "insecure_tls_skip_verify", message);
        return Some(Trust::Anybody);
    }
    let Some(authority) = authority else { return Some(Trust::System) };
    read_authorities(section, &authority, "ca_certificate").ok().map(Trust::File)
}

/// Warns where passwords can be read on the way.
pub(super) fn warn_of_clear_text(section: &mut Section<'_>, addresses: &[Address]) {
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
        section.warn(&entry.place, "addr", message);
    }
}

/// Who searches.
pub(super) fn read_login(section: &mut Section<'_>) -> Option<Login> {
    let name = section.filled("bind_dn");
    let as_user = section.flag("initial_bind_as_user").filter(|at| at.value);
    let password = section.secret("bind_password", "bind_password_file").ok()?;
    let (place, key, message) = match (as_user, name, password) {
        (Some(at), None, _) => {
            let message = format!(
                "the name that users bind as is missing; write bind_dn: uid={ACCOUNT},ou=people,dc=example,dc=org"
            );
            (at.place, "bind_dn", message)
        }
        (Some(_), Some(_), Some(password)) => {
            let message = "with initial_bind_as_user nothing is bound but users; remove the password";
            (password.place, "bind_password_file", message.to_owned())
        }
        (Some(_), Some(name), None) => match NameTemplate::parse(&name.value) {
            Ok(template) => return Some(Login::User(template)),
            Err(message) => (name.place, "bind_dn", message),
        },
        (None, None, None) => return Some(Login::Anonymous),
        (None, None, Some(password)) => {
            (password.place, "bind_dn", "a password is given without the name that it belongs to".to_owned())
        }
        (None, Some(name), _) if name.value.contains(ACCOUNT) => {
            let message = format!("{ACCOUNT} stands in a name to bind as only with initial_bind_as_user: true");
            (name.place, "bind_dn", message)
        }
        // A name without a password is an unauthenticated bind (RFC 4513, section 5.1.2): many servers say yes to it, and
        // mean nobody.
        (None, Some(name), None) => {
            (name.place, "bind_password_file", "bind_dn is given without its password".to_owned())
        }
        (None, Some(_), Some(password)) if password.value.contains('\0') => {
            (password.place, "bind_password", "a password holds no NUL".to_owned())
        }
        (None, Some(name), Some(password)) => {
            return Some(Login::Ourselves { name: name.value, password: Secret::new(password.value) });
        }
    };
    section.problem(&place, key, message);
    None
}
