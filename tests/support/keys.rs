//! Signing keys and certificates, made by the `openssl` program as operators make them.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{canary, part, scratch};

/// The subject of the guide's certificate.
const SUBJECT: &str = "/C=EU/ST=Germany/L=Berlin/O=23-5/CN=auth.23-5.eu";

/// A certificate file and its key file.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    /// PEM, one certificate or a chain with the leaf first.
    pub(crate) certificate: PathBuf,
    /// PEM, not encrypted.
    pub(crate) key: PathBuf,
}

/// What kind of key signs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// RS256, with the guide's 4096 bits.
    Rsa,
    /// ES256.
    P256,
    /// ES384.
    P384,
}

impl Kind {
    /// The JWT algorithm that belongs to the key.
    pub(crate) fn algorithm(self) -> &'static str {
        match self {
            Self::Rsa => "RS256",
            Self::P256 => "ES256",
            Self::P384 => "ES384",
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Rsa => &["-newkey", "rsa:4096"],
            Self::P256 => &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
            Self::P384 => &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
        }
    }
}

fn openssl(directory: &Path) -> Command {
    let mut command = part::client("openssl");
    command.current_dir(directory);
    command
}

/// A key and its signing request: the first of the guide's two commands.
fn request(directory: &Path, kind: Kind, subject: &str) {
    part::run(openssl(directory).arg("req").args(kind.arguments()).args([
        "-days",
        "365",
        "-nodes",
        "-keyout",
        "domain.key",
        "-out",
        "domain.csr",
        "-subj",
        subject,
    ]))
    .well();
}

fn pair(directory: &Path) -> Pair {
    let key = directory.join("domain.key");
    canary::is_secret(&key);
    Pair { certificate: directory.join("domain.crt"), key }
}

/// A self-signed pair by the guide's two commands; the certificate comes out as X.509 version 1.
pub(crate) fn as_in_the_guide(kind: Kind) -> Pair {
    let directory = scratch::directory("keys");
    request(&directory, kind, SUBJECT);
    part::run(openssl(&directory).args([
        "x509",
        "-signkey",
        "domain.key",
        "-in",
        "domain.csr",
        "-req",
        "-days",
        "365",
        "-out",
        "domain.crt",
    ]))
    .well();
    pair(&directory)
}

/// A self-signed pair whose certificate was valid for some days of 2020.
pub(crate) fn expired(kind: Kind) -> Pair {
    valid(kind, "20200101000000Z", "20200301000000Z")
}

/// A self-signed pair whose certificate is valid from one moment to the other, each written `20200101000000Z`.
pub(crate) fn valid(kind: Kind, from: &str, to: &str) -> Pair {
    let directory = scratch::directory("keys");
    request(&directory, kind, SUBJECT);
    authority_files(&directory, "domain");
    part::run(openssl(&directory).args([
        "ca",
        "-config",
        "ca.cnf",
        "-batch",
        "-notext",
        "-selfsign",
        "-in",
        "domain.csr",
        "-out",
        "domain.crt",
        "-startdate",
        from,
        "-enddate",
        to,
    ]))
    .well();
    pair(&directory)
}

/// What `openssl ca` wants to find; only this subcommand of openssl 3.0 takes dates in the past.
fn authority_files(directory: &Path, name: &str) {
    scratch::write(directory, "index.txt", "");
    scratch::write(directory, "serial", "01\n");
    scratch::write(
        directory,
        "ca.cnf",
        &format!(
            "[ca]\ndefault_ca = own\n[own]\ndatabase = index.txt\nserial = serial\nnew_certs_dir = .\n\
             private_key = {name}.key\ncertificate = {name}.crt\ndefault_md = sha256\npolicy = any\n\
             [any]\ncountryName = optional\nstateOrProvinceName = optional\nlocalityName = optional\n\
             organizationName = optional\ncommonName = supplied\n"
        ),
    );
}

/// A leaf and the private authority that signed it.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    /// The leaf's certificate and key.
    pub(crate) leaf: Pair,
    /// The authority's certificate, PEM.
    pub(crate) authority: PathBuf,
    /// The leaf's and the authority's certificates in one file.
    pub(crate) both: PathBuf,
}

/// A backend's own pair for TLS on `127.0.0.1`, and those that somebody else could show in its place.
#[derive(Clone, Debug)]
pub(crate) struct Impostors {
    /// The right one.
    pub(crate) own: Pair,
    /// From the same authority, for another host; from nobody, for this one; from the same authority, for this one, and no
    /// longer valid.
    pub(crate) others: Vec<Pair>,
    /// The authority's certificate, PEM.
    pub(crate) authority: PathBuf,
}

/// Pairs for a backend whose certificate changes.
pub(crate) fn impostors() -> Impostors {
    let here = "basicConstraints=CA:FALSE\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n";
    let elsewhere = "basicConstraints=CA:FALSE\nsubjectAltName=DNS:elsewhere.example,IP:127.0.0.2\n";
    let top = authority();
    let signed = |extensions, dates| signed_by(&top, Kind::P256, "/CN=backend", extensions, dates);
    let now = Dates::Now;
    let others = vec![
        signed(elsewhere, now),
        signed_by(&authority(), Kind::P256, "/CN=backend", here, now),
        signed(here, Dates::Over),
    ];
    Impostors { own: signed(here, now), others, authority: top.join("ca.crt") }
}

/// When a certificate is valid.
#[derive(Clone, Copy, Debug)]
enum Dates {
    Now,
    /// For some days of 2020.
    Over,
}

/// A P-256 leaf under a private authority.
pub(crate) fn under_an_authority() -> Chain {
    leaf(Kind::P256, SUBJECT, "basicConstraints=CA:FALSE\n")
}

/// Two P-256 leaves under one private authority, and its certificate, PEM.
pub(crate) fn two_under_an_authority() -> ([Pair; 2], PathBuf) {
    let top = authority();
    let leaf = |()| signed_by(&top, Kind::P256, SUBJECT, "basicConstraints=CA:FALSE\n", Dates::Now);
    ([(), ()].map(leaf), top.join("ca.crt"))
}

/// Another certificate of the same key, signed by itself and with the same subject, of version 3 as `openssl req -x509` and
/// certbot make it.
pub(crate) fn with_another_certificate(pair: &Pair) -> Pair {
    let directory = scratch::directory("keys");
    let certificate = directory.join("again.crt");
    let mut make = openssl(&directory);
    make.args(["req", "-x509", "-new", "-days", "365", "-subj", SUBJECT, "-key"]).arg(&pair.key).arg("-out");
    part::run(make.arg(&certificate)).well();
    Pair { certificate, key: pair.key.clone() }
}

/// A chain for TLS on `localhost`.
pub(crate) fn for_localhost() -> Chain {
    for_localhost_with(Kind::P256)
}

/// A chain for TLS on this host.
pub(crate) fn for_host(name: &str) -> Chain {
    let extensions = format!("basicConstraints=CA:FALSE\nsubjectAltName=DNS:{name}\n");
    leaf(Kind::P256, &format!("/CN={name}"), &extensions)
}

/// A chain for TLS on `localhost` with a leaf of this kind.
pub(crate) fn for_localhost_with(kind: Kind) -> Chain {
    let extensions = "basicConstraints=CA:FALSE\nsubjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1\n\
                      subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n";
    leaf(kind, "/CN=localhost", extensions)
}

fn leaf(kind: Kind, subject: &str, extensions: &str) -> Chain {
    let top = authority();
    let leaf = signed_by(&top, kind, subject, extensions, Dates::Now);
    let authority = top.join("ca.crt");
    let texts = [&leaf.certificate, &authority].map(|path| std::fs::read_to_string(path).unwrap());
    let both = scratch::write(leaf.certificate.parent().unwrap(), "both.crt", &texts.concat());
    Chain { leaf, authority, both }
}

/// The directory of a new authority.
fn authority() -> PathBuf {
    let top = scratch::directory("authority");
    part::run(openssl(&top).args(["req", "-x509", "-nodes", "-days", "3650"]).args(Kind::P256.arguments()).args([
        "-keyout",
        "ca.key",
        "-out",
        "ca.crt",
        "-subj",
        "/O=23-5/CN=registry authority",
        "-addext",
        "keyUsage=critical,keyCertSign",
    ]))
    .well();
    authority_files(&top, "ca");
    top
}

fn signed_by(top: &Path, kind: Kind, subject: &str, extensions: &str, dates: Dates) -> Pair {
    let directory = scratch::directory("keys");
    request(&directory, kind, subject);
    scratch::write(&directory, "extensions", extensions);
    let (request, certificate) = (directory.join("domain.csr"), directory.join("domain.crt"));
    let mut sign = openssl(top);
    match dates {
        Dates::Now => sign
            .args(["x509", "-req", "-days", "365", "-set_serial", "7", "-CA", "ca.crt", "-CAkey", "ca.key", "-extfile"])
            .arg(directory.join("extensions")),
        Dates::Over => sign
            .args(["ca", "-config", "ca.cnf", "-batch", "-notext", "-startdate", "20200101000000Z"])
            .args(["-enddate", "20200301000000Z", "-extfile"])
            .arg(directory.join("extensions")),
    };
    part::run(sign.arg("-in").arg(request).arg("-out").arg(certificate)).well();
    pair(&directory)
}
