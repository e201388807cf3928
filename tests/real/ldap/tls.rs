//! Connections to OpenLDAP under TLS: what is said before it is up, and with whom it is spoken.

use ::dockwarden::config::{Config, Secrets};

use super::{account, backend, file, patient, said};
use crate::support::keys;
use crate::support::slapd::{Slapd, UNNAMED, password};

#[test]
fn tls_is_up_before_anything_is_said_and_only_with_a_server_that_is_known() {
    let chain = keys::for_localhost();
    let slapd = Slapd::start_tls(&chain);
    let authority = format!("  ca_certificate: \"{}\"\n", chain.authority.display());
    let own = format!("  ca_certificate: \"{}\"\n", chain.leaf.certificate.display());
    let stranger = format!("  ca_certificate: \"{}\"\n", keys::for_localhost().authority.display());
    let start = |text: &str| format!("  tls: starttls\n{text}");
    let (clear, tls) = (|host| slapd.clear_at(host), |host| slapd.tls_at(host));
    let not_signed = "invalid peer certificate";
    for (address, more, expected) in [
        (format!("ldaps://{}", tls("localhost")), authority.clone(), Ok("alice")),
        (format!("ldaps://{}", tls("127.0.0.1")), authority.clone(), Ok("alice")),
        (clear("localhost"), start(&authority), Ok("alice")),
        (format!("ldap://{}", clear("127.0.0.1")), start(&authority), Ok("alice")),
        (tls("localhost"), format!("  tls: always\n{authority}"), Ok("alice")),
        // The server's own certificate as the authority: its name still counts.
        (format!("ldaps://{}", tls("localhost")), own.clone(), Ok("alice")),
        (format!("ldaps://{}", tls(UNNAMED)), own, Err("not valid for name")),
        (format!("ldaps://{}", tls(UNNAMED)), "  insecure_tls_skip_verify: true\n".to_owned(), Ok("alice")),
        (format!("ldaps://{}", tls("localhost")), stranger.clone(), Err(not_signed)),
        (clear("localhost"), start(&stranger), Err(not_signed)),
        (format!("ldaps://{}", tls("localhost")), String::new(), Err("certificate")),
        (format!("ldaps://{}", tls(UNNAMED)), authority.clone(), Err("not valid for name")),
        (clear(UNNAMED), start(&authority), Err("not valid for name")),
        // TLS where the server speaks none, and the other way round.
        (format!("ldaps://{}", clear("localhost")), authority.clone(), Err("")),
        (format!("ldap://{}", tls("localhost")), String::new(), Err("")),
    ] {
        let before = slapd.binds();
        let config = format!("'{address}'");
        let seen = match Config::load(&file(&patient(&config, &more)), [], Secrets::Read) {
            Ok(_) => std::panic::catch_unwind(|| {
                account(said(&backend(&patient(&config, &more)), "alice", &password("alice")))
            })
            .unwrap_or_else(|_| Err("certificate: none is known".to_owned())),
            Err(invalid) => panic!("{invalid}"),
        };
        match (expected, seen) {
            (Ok(expected), seen) => assert_eq!(seen, Ok(expected.to_owned()), "{address} {more}"),
            (Err(expected), Err(error)) => {
                assert!(error.contains(expected), "{address} {more}: {error}");
                assert!(error != "rejected" && error != "not mine", "{address} {more}: {error}");
                // Nobody's name went to a server that is not known, and no password with it.
                assert_eq!(slapd.binds(), before, "{address} {more}: something was bound");
            }
            (Err(_), Ok(seen)) => panic!("{address} {more}: {seen} was let in"),
        }
    }
}

#[test]
fn a_server_that_refuses_starttls_is_told_nothing() {
    let slapd = Slapd::start();
    let authority = keys::for_localhost().authority;
    let more = format!("  tls: starttls\n  ca_certificate: \"{}\"\n", authority.display());
    let users = backend(&patient(&slapd.address(), &more));
    let error = said(&users, "alice", &password("alice")).unwrap_err();
    assert!(error.contains("the server refuses StartTLS (code 2"), "{error}");
    assert_eq!(slapd.binds(), 0, "{}", slapd.log());
}

#[test]
fn ipv6_works_with_tls_too() {
    let chain = keys::for_localhost();
    let slapd = Slapd::start_tls(&chain);
    let authority = format!("  ca_certificate: \"{}\"\n", chain.authority.display());
    for (address, more) in [
        (format!("ldaps://{}", slapd.tls_at("[::1]")), authority.clone()),
        (slapd.clear_at("[::1]"), format!("  tls: starttls\n{authority}")),
    ] {
        let users = backend(&patient(&format!("'{address}'"), &more));
        assert_eq!(account(said(&users, "alice", &password("alice"))), Ok("alice".to_owned()), "{address}");
    }
}
