//! `server.letsencrypt` with Pebble: the listener's certificate is ordered, kept, shared and renewed, and outlives the authority. The
//! numbers are those of the checks in the reference.

use std::fs;
use std::io;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};

use crate::support::dockwarden::{self, SERVICE, events, logged, password, program};
use crate::support::keys::{self, Kind};
use crate::support::pebble::{HOST, Pebble};
use crate::support::process::{Process, Signal, until};
use crate::support::{canary, http, part, scratch};

const POLICY: &str = "acl: [{match: {account: waldi}, actions: [\"*\"]}]\n";
/// What the log says of a certificate that was ordered.
const ORDERED: &str = "the listener shows a new certificate from now on";
/// A quarter of a year, in seconds.
const LONG: u32 = 90 * 24 * 3600;

/// A server with this section, on this port (0: the system's choice), and its address for monitoring.
fn serve(section: &str, port: u16) -> (Process, String, String) {
    let pair = keys::as_in_the_guide(Kind::P256);
    let text = dockwarden::config(&pair, "", &(dockwarden::users(&[("waldi", "{}")]) + POLICY));
    let text = text.replace(
        "  addr: \"127.0.0.1:0\"\n",
        &format!("  addr: \"127.0.0.1:{port}\"\n  admin_addr: \"127.0.0.1:0\"\n{section}"),
    );
    let (process, address) =
        dockwarden::listening(&scratch::write(&scratch::directory("config"), "auth_config.yml", &text));
    let admin = dockwarden::address(&process, "listening for health and metrics");
    (process, address, admin)
}

/// A folder that is not there yet.
fn folder() -> PathBuf {
    scratch::directory("acme").join("below").join("cache")
}

fn ready(admin: &str) -> u16 {
    http::exchange(admin, &http::request("GET", "/readyz", admin, &[], b"")).status
}

#[track_caller]
fn until_ready(process: &Process, admin: &str) {
    process.until("/readyz", |_| (ready(admin) == 200).then_some(()));
}

/// waldi's token, over TLS as a client that knows this root alone.
#[track_caller]
fn log_in(address: &str, root: &Path) {
    let port = address.rsplit(':').next().unwrap();
    let mut curl = part::client("curl");
    curl.args(["--silent", "--show-error", "--fail", "--user", &format!("waldi:{}", password("waldi")), "--cacert"]);
    let url = format!("https://{HOST}:{port}/auth?service={}&scope=repository:test:pull", http::form_encode(SERVICE));
    let said = part::run(curl.arg(root).arg(url)).well();
    assert!(said.stdout.contains("\"token\""), "{}", said.text);
}

/// Takes every certificate.
#[derive(Debug)]
struct Any;

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// The certificate that a listener shows whoever asks for this name in these protocols.
fn shown(address: &str, name: &str, protocols: &[&str]) -> io::Result<CertificateDer<'static>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.dangerous().with_custom_certificate_verifier(Arc::new(Any)).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let mut client = ClientConnection::new(Arc::new(config), ServerName::try_from(name.to_owned()).unwrap())
        .map_err(io::Error::other)?;
    let mut stream = TcpStream::connect(address)?;
    while client.is_handshaking() {
        client.complete_io(&mut stream)?;
    }
    Ok(client.peer_certificates().and_then(<[_]>::first).unwrap().clone().into_owned())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Two replicas that are started at once, with one folder: the authority may ask either of them.
#[test]
fn check_59_one_of_two_replicas_orders_and_both_show_it_also_after_a_restart_without_the_authority() {
    let pebble = Pebble::start(LONG);
    let folder = folder();
    let section = pebble.section(&folder);
    let (asked, address, admin) = serve(&section, pebble.listener);
    let (other, other_address, other_admin) = serve(&section, 0);
    until_ready(&asked, &admin);
    until_ready(&other, &other_admin);
    let files = [HOST, "acme_account+key"].map(|name| folder.join(name));
    files.iter().for_each(|file| canary::is_secret(file));
    let root = pebble.root();
    log_in(&address, &root);
    log_in(&other_address, &root);
    let certificate = shown(&address, HOST, &["h2"]).unwrap();
    assert_eq!(shown(&other_address, HOST, &[]).unwrap(), certificate);
    assert_eq!(pebble.orders(), 1, "one of them ordered");
    let lines: Vec<_> = [&asked, &other].iter().flat_map(|process| events(&process.log(), ORDERED)).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!((&lines[0]["reason"], &lines[0]["host"]), (&"tls_certificate_ordered".into(), &HOST.into()));

    // Whoever may look at the folder may not look into it, and what was only for the order is gone.
    assert_eq!(mode(&folder), 0o700);
    let names: Vec<String> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    for file in &names {
        assert_eq!(mode(&folder.join(file)), 0o600, "{file}");
    }
    assert!(names.len() == 3 && !names.iter().any(|name| name.ends_with("+token")), "{names:?}");

    // Nobody makes it order for another name, nor sees a proof when none is asked for.
    assert_eq!(shown(&address, "other.example.org", &["h2"]).unwrap(), certificate);
    for name in [HOST, "other.example.org"] {
        let refused = shown(&address, name, &["acme-tls/1"]).unwrap_err();
        assert!(refused.to_string().contains("NoApplicationProtocol"), "{refused}");
    }
    assert_eq!(shown(&address, HOST, &["acme-tls/1", "http/1.1"]).unwrap(), certificate);

    let metrics = http::exchange(&admin, &http::request("GET", "/metrics", &admin, &[], b"")).text();
    let line = metrics.lines().find(|line| line.starts_with("dockwarden_tls_certificate_expiry_timestamp_seconds{"));
    let (labels, ends) = line.unwrap().split_once(' ').unwrap();
    assert!(labels.ends_with("{host=\"localhost\"}"), "{labels}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((ends.parse::<f64>().unwrap() - now - f64::from(LONG)).abs() < 3600.0, "{ends}");

    let questions = pebble.questions();
    asked.signal(Signal::Terminate);
    asked.end();
    let (again, address, admin) = serve(&section, pebble.listener);
    until_ready(&again, &admin);
    assert_eq!(shown(&address, HOST, &["h2"]).unwrap(), certificate);
    assert_eq!(pebble.questions(), questions, "nothing is asked where the folder has it");
    again.signal(Signal::Terminate);
    again.end();
    pebble.process.signal(Signal::Kill);
    pebble.process.end();
    let (last, address, admin) = serve(&section, 0);
    until_ready(&last, &admin);
    log_in(&address, &root);
}

/// A certificate of twelve seconds.
#[test]
fn check_59_a_certificate_is_renewed_under_open_connections_and_outlives_the_authority() {
    let pebble = Pebble::start(12);
    let folder = folder();
    let (process, address, admin) = serve(&pebble.section(&folder), pebble.listener);
    until_ready(&process, &admin);
    canary::is_secret(&folder.join(HOST));
    let first = shown(&address, HOST, &["h2"]).unwrap();
    let mut open = http::Connection::open_tls(&address, &http::trusting(&pebble.root())).unwrap();
    let mut asked = || {
        let request = http::request("GET", "/auth?service=x", HOST, &[], b"");
        open.send(&request).unwrap().status
    };
    assert_eq!(asked(), 401);
    let second = process.until("another certificate", |_| {
        assert_eq!(asked(), 401, "the connection from before goes on");
        Some(shown(&address, HOST, &["h2"]).unwrap()).filter(|certificate| *certificate != first)
    });
    assert_eq!(asked(), 401);
    log_in(&address, &pebble.root());
    pebble.process.signal(Signal::Kill);
    pebble.process.end();

    let message = "the listener's certificate could not be renewed; it is shown until it ends, and this is tried again";
    let lines = logged(&process, message, 1);
    let line = &lines[0];
    assert_eq!((&line["reason"], &line["host"]), (&"tls_certificate_not_ordered".into(), &HOST.into()));
    assert!(line["cause"].as_str().unwrap().contains("refused"), "{line}");
    assert!((7..=10).contains(&line["seconds"].as_u64().unwrap()), "{line}");
    let last = shown(&address, HOST, &["h2"]).unwrap();
    let orders = events(&process.log(), ORDERED).len();
    assert!(orders >= 2 && (last == second || orders > 2), "{orders}");
    assert_eq!(ready(&admin), 200, "it is served on");
    // Once it has ended, that is said too, and then no more.
    let ended = "the listener's certificate has ended and could not be renewed: clients refuse it until it is";
    assert_eq!(logged(&process, ended, 1).len(), 1);
    assert_eq!(events(&process.log(), message).len(), 1);
    assert_eq!(shown(&address, HOST, &["h2"]).unwrap(), last);
}

/// Before there is a certificate nobody is answered, least of all without TLS; nor is a program's word for the authority's taken.
#[test]
fn check_60_plain_http_is_refused_and_nobody_is_let_in_before_there_is_a_certificate() {
    let nobody = crate::support::port::hold();
    let at = nobody.local_addr().unwrap();
    let section = format!(
        "  letsencrypt: {{host: {HOST}, email: \"waldi@example.org\", cache_dir: \"{}\", directory_url: \"https://{at}/dir\"}}\n",
        folder().display()
    );
    drop(nobody);
    let (process, address, admin) = serve(&section, 0);
    let message = "no certificate could be ordered for the listener: until there is one, nobody can connect";
    logged(&process, message, 1);
    assert_eq!(ready(&admin), 503);
    let request = http::request("GET", "/auth?service=x", HOST, &[], b"");
    let plain = http::Connection::open(&address).and_then(|mut connection| connection.send(&request));
    assert!(plain.is_err(), "{plain:?}");
    let line = until("the line about it", || {
        events(&process.log(), "connections were closed on which no HTTP was spoken").pop()
    });
    assert_eq!(line["cause"], "no TLS, which is spoken here");
    for protocols in [&[][..], &["h2"], &["acme-tls/1"]] {
        let refused = shown(&address, HOST, protocols).unwrap_err();
        assert!(refused.to_string().contains("alert"), "{refused}");
    }
    let metrics = http::exchange(&admin, &http::request("GET", "/metrics", &admin, &[], b"")).text();
    assert!(
        metrics.contains("dockwarden_tls_certificate_expiry_timestamp_seconds{host=\"localhost\"} 0.0\n"),
        "{metrics}"
    );

    // Where nobody could be sent a certificate, the file is refused.
    let config = "server: {addr: /run/dockwarden.sock, net: unix, letsencrypt: {host: a.example.org, email: a@example.org, cache_dir: c}}\n\
                  token: {issuer: a, certificate: c, key: k}\nusers: {}\nacl: []\n";
    let config = scratch::write(&scratch::directory("config"), "auth_config.yml", config);
    part::run(part::command_at(program()).arg("check").arg(config)).refused(&["the authority connects to port 443"]);
}
