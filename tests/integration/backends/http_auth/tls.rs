//! TLS to an API: whom we trust, who we are, HTTP/2, and the environment, which decides nothing.

use std::sync::Arc;

use dockwarden::authn::Outcome;
use dockwarden::authn::attempts::Attempts;
use dockwarden::config::{Config, Secrets};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::{BASIC, HttpAuthSettings, HttpUsers, login, say};
use crate::backends::conformance::outage_closes_and_says_so;
use crate::backends::stand_in::{Act, Speaks, StandIn};
use crate::bed::{Bed, Folder};

/// An authority of our own.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Authority { pem: certificate.pem(), issuer: Issuer::new(params, key), certificate }
    }

    /// A certificate for these names, and its key.
    fn certify(&self, names: &[&str], usage: ExtendedKeyUsagePurpose) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages.push(usage);
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// A server's settings; with `clients`, only those with a certificate of that authority are spoken to.
    fn server(&self, names: &[&str], clients: Option<&Authority>, protocols: &[&str]) -> Speaks {
        let (certificate, key) = self.certify(names, ExtendedKeyUsagePurpose::ServerAuth);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.certificate.der().clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
                builder.with_client_cert_verifier(verifier)
            }
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Speaks::Tls(Arc::new(config))
    }
}

fn section(api: &StandIn, tls: &str) -> String {
    format!("http_auth: {{url: \"{}/check\", {BASIC}, tls: {{{tls}}}}}\n", api.origin())
}

fn backend(folder: &Folder, section: &str) -> HttpUsers {
    let config =
        Config::load(&folder.configure(section), [], Secrets::Read).unwrap_or_else(|invalid| panic!("{invalid}"));
    HttpUsers::new(config.backends.get::<HttpAuthSettings>().unwrap().clone(), Arc::new(Attempts::new().unwrap()))
        .unwrap()
}

#[tokio::test]
async fn only_a_server_whose_certificate_is_known_is_asked() {
    let (own, other) = (Authority::new("own"), Authority::new("other"));
    let api = StandIn::speaking(own.server(&["localhost"], None, &["http/1.1"]), |_| say(200));
    let folder = Folder::new();
    folder.put("own.crt", &own.pem);
    folder.put("other.crt", &other.pem);
    let own_ca = "ca_certificate: $DIR/own.crt";
    let well = backend(&folder, &section(&api, own_ca));
    assert!(matches!(login(&well, "carol", "carol_pw").await, Ok(Outcome::Accepted(_))));
    assert_eq!(api.asked().len(), 1);

    let wrong_name = StandIn::speaking(own.server(&["elsewhere.example"], None, &[]), |_| say(200));
    let plain = StandIn::start(|_| say(200));
    let refused = [
        // The public authorities know nothing of ours.
        (section(&api, ""), "UnknownIssuer"),
        (section(&api, "ca_certificate: $DIR/other.crt"), "UnknownIssuer"),
        (section(&wrong_name, own_ca), "not valid for name"),
        (section(&plain, own_ca).replace("http://127.0.0.1", "https://localhost"), "cannot be asked"),
    ];
    for (section, piece) in refused {
        let message = login(&backend(&folder, &section), "carol", "carol_pw").await.unwrap_err().to_string();
        assert!(message.contains(piece) && !message.contains("carol_pw"), "{message}");
    }
    assert_eq!(api.asked().len() + wrong_name.all_asked().len() + plain.all_asked().len(), 1, "nobody else was asked");
    let folder = Folder::new();
    folder.put("other.crt", &other.pem);
    let bed = Bed::in_folder(folder, &section(&api, "ca_certificate: $DIR/other.crt"));
    outage_closes_and_says_so(&bed, "a certificate of somebody else's").await;
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_one_is_given() {
    let (own, clients) = (Authority::new("own"), Authority::new("clients"));
    let api = StandIn::speaking(own.server(&["localhost"], Some(&clients), &[]), |_| say(200));
    let folder = Folder::new();
    folder.put("own.crt", &own.pem);
    let (certificate, key) = clients.certify(&["dockwarden"], ExtendedKeyUsagePurpose::ClientAuth);
    folder.put("client.crt", &certificate.pem());
    folder.put("client.key", &key.serialize_pem());
    folder.put("both.pem", &format!("{}{}", certificate.pem(), key.serialize_pem()));
    let (stranger, its_key) = own.certify(&["dockwarden"], ExtendedKeyUsagePurpose::ClientAuth);
    folder.put("stranger.pem", &format!("{}{}", stranger.pem(), its_key.serialize_pem()));
    for (tls, expected) in [
        ("client_certificate: $DIR/client.crt, client_key: $DIR/client.key", true),
        ("client_certificate: $DIR/both.pem", true),
        ("client_certificate: $DIR/stranger.pem", false),
        ("", false),
    ] {
        let section =
            section(&api, &format!("ca_certificate: $DIR/own.crt{}{tls}", if tls.is_empty() { "" } else { ", " }));
        let said = login(&backend(&folder, &section), "carol", "carol_pw").await;
        assert_eq!(matches!(said, Ok(Outcome::Accepted(_))), expected, "{tls}: {said:?}");
        assert_eq!(said.is_err(), !expected, "{tls}");
    }
    // A key that is not the certificate's.
    let text = section(&api, "client_certificate: $DIR/client.crt, client_key: $DIR/both.pem");
    assert!(Config::load(&folder.configure(&text), [], Secrets::Read).is_ok(), "the same key, in another file");
    let text = section(&api, "client_certificate: $DIR/client.crt, client_key: $DIR/stranger.pem");
    let message = Config::load(&folder.configure(&text), [], Secrets::Read).unwrap_err().to_string();
    assert!(message.contains("http_auth.tls.client_key: the key does not belong to the certificate"), "{message}");
}

/// Many logins share one connection of HTTP/2, and neither its frames nor its header tables bring a password to the log.
#[tokio::test(flavor = "current_thread")]
async fn http2_is_spoken_where_the_server_does() {
    use base64::Engine as _;
    let own = Authority::new("own");
    let api = StandIn::speaking(own.server(&["localhost"], None, &["h2", "http/1.1"]), |asked| {
        say(if super::basic(asked) == ("carol".to_owned(), "hunter2_pw".to_owned()) { 200 } else { 401 })
    });
    let folder = Folder::new();
    folder.put("own.crt", &own.pem);
    let log = crate::logs::Log::start(crate::logs::Form::Text);
    let backend = backend(&folder, &section(&api, "ca_certificate: $DIR/own.crt"));
    for _ in 0..50 {
        assert!(matches!(login(&backend, "carol", "hunter2_pw").await, Ok(Outcome::Accepted(_))));
        assert_eq!(login(&backend, "carol", "wrong_pw").await.unwrap(), Outcome::Rejected);
    }
    let logins = (0..50).map(|_| login(&backend, "carol", "hunter2_pw"));
    let mut said = Vec::new();
    for login in logins.collect::<Vec<_>>() {
        said.push(login.await.is_ok());
    }
    assert!(said.iter().all(|well| *well));
    assert!(api.connections().0 <= 2, "{:?}", api.connections());
    assert_eq!(api.asked().len(), 150);
    // A stream that hangs: the others go on.
    api.now(|asked| if super::basic(asked).0 == "hang" { Act::Hang } else { say(200) });
    let (hung, well) = tokio::join!(login(&backend, "hang", "x_pw"), login(&backend, "carol", "x_pw"));
    assert!(hung.is_err() && matches!(well, Ok(Outcome::Accepted(_))));
    let text = log.text();
    assert!(text.contains("h2::"), "the library's own lines are looked at too");
    let encoded = base64::engine::general_purpose::STANDARD.encode("carol:hunter2_pw");
    for secret in ["hunter2", encoded.as_str(), "Y2Fyb2w6aHVu"] {
        assert!(!text.contains(secret), "{text}");
    }
}
