//! What each client says when it is refused is what docs/how-to/why-denied.md says that it says, word by word.

use std::fs;
use std::path::Path;

use crate::support::bed;
use crate::support::client::{self, Containerd};
use crate::support::dockwarden::{self, Dockwarden, password};
use crate::support::image::{self, NAME, TAG};
use crate::support::part;
use crate::support::person::Person;
use crate::support::registry::{Edition, Registry};
use crate::support::{keys, visit};

/// The texts in the second column of the table below a heading of the page, in the row of a client.
fn texts(heading: &str, client: &str) -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/how-to/why-denied.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let section = section.split("\n## ").next().unwrap();
    let row = section.lines().filter(|line| line.starts_with('|')).find(|line| {
        let names = line.split('|').nth(1).unwrap_or_default();
        names.split(',').any(|name| name.trim() == client)
    });
    let row = row.unwrap_or_else(|| panic!("{heading}: no row of {client}"));
    let texts: Vec<String> = row.split('|').nth(2).unwrap().split('`').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(!texts.is_empty(), "{row}");
    texts
}

const LOGIN: &str = "The password is wrong";
const PUSH: &str = "Logged in, and not allowed";
const PULL: &str = "Not logged in";

#[test]
fn every_client_says_what_the_page_says() {
    let bed = bed::guide();
    let registry = bed.registry(Edition::V3).host();
    let home = client::home();
    let image = image::layout("denials");
    let right = password("waldi");
    let (allowed, refused) = (format!("{registry}/socken-denials:1"), format!("{registry}/test-denials:1"));
    let mut said = Vec::new();

    let person = Person::new(&registry);
    person.build("denials");
    said.push((LOGIN, "docker", person.login("waldi", "wrong")));
    said.push((PULL, "docker", person.pull("socken-denials")));
    person.login("waldi", &right).well();
    said.push((PUSH, "docker", person.push("denials", "test-denials")));

    let source = format!("oci:{}:{TAG}", image.directory.display());
    let skopeo = |arguments: &[&str]| part::run(client::skopeo(&home).args(arguments));
    let login = |password: &str| skopeo(&["login", "--tls-verify=false", "-u", "waldi", "-p", password, &registry]);
    let copy = |to: &str| skopeo(&["copy", "--dest-tls-verify=false", &source, &format!("docker://{to}")]);
    said.push((LOGIN, "skopeo", login("wrong")));
    said.push((PULL, "skopeo", skopeo(&["inspect", "--tls-verify=false", &format!("docker://{allowed}")])));
    login(&right).well();
    said.push((PUSH, "skopeo", copy(&refused)));

    let podman_home = client::home();
    let podman = |arguments: &[&str]| part::run(client::podman(&podman_home).args(arguments));
    let login = |password: &str| podman(&["login", "--tls-verify=false", "-u", "waldi", "-p", password, &registry]);
    said.push((LOGIN, "podman", login("wrong")));
    login(&right).well();
    podman(&["import", &image.layer.display().to_string(), &refused]).well();
    said.push((PUSH, "podman", podman(&["push", "--tls-verify=false", &refused])));
    podman(&["logout", &registry]).well();
    said.push((PULL, "podman", podman(&["pull", "--tls-verify=false", &allowed])));

    let crane_home = client::home();
    let crane = |arguments: &[&str]| part::run(client::crane(&crane_home).args(arguments));
    let login = |password: &str| crane(&["auth", "login", &registry, "-u", "waldi", "-p", password]).well();
    let directory = image.directory.display().to_string();
    said.push((PULL, "crane", crane(&["digest", "--insecure", &allowed])));
    login("wrong");
    said.push((LOGIN, "crane", crane(&["push", "--insecure", &directory, &allowed])));
    login(&right);
    said.push((PUSH, "crane", crane(&["push", "--insecure", &directory, &refused])));

    let helm_home = client::home();
    let helm = |arguments: &[&str]| part::run(client::helm(&helm_home).args(arguments));
    let login = |password: &str| {
        let mut login = client::helm(&helm_home);
        login.args(["registry", "login", "--plain-http", "--username", "waldi", "--password-stdin", &registry]);
        part::run_with(&mut login, password.as_bytes())
    };
    fs::create_dir(helm_home.join("test-chart")).unwrap();
    fs::write(helm_home.join("test-chart/Chart.yaml"), "apiVersion: v2\nname: test-chart\nversion: 1.2.3\n").unwrap();
    helm(&["package", "test-chart"]).well();
    said.push((LOGIN, "helm", login("wrong")));
    let chart = format!("oci://{registry}/test-chart");
    said.push((PULL, "helm", helm(&["pull", &chart, "--version", "1.2.3", "--plain-http"])));
    login(&right).well();
    let here = format!("oci://{registry}");
    said.push((PUSH, "helm", helm(&["push", "test-chart-1.2.3.tgz", &here, "--plain-http"])));

    let containerd = Containerd::start();
    let ctr = |arguments: &[&str]| part::run(containerd.ctr("denials").arg("images").args(arguments));
    ctr(&["import", "--no-unpack", &image.tar.display().to_string()]).well();
    let push = |user: &str| ctr(&["push", "--plain-http", "--user", user, &refused, NAME]);
    said.push((LOGIN, "containerd", push("waldi:wrong")));
    said.push((PUSH, "containerd", push(&format!("waldi:{right}"))));
    said.push((PULL, "containerd", ctr(&["pull", "--plain-http", &allowed])));

    let mut wrong = Vec::new();
    for (heading, client, said) in said {
        assert!(!said.success, "{client} should have been refused: {}\n{}", said.line, said.text);
        let missing: Vec<String> =
            texts(heading, client).into_iter().filter(|text| !said.text.contains(text)).collect();
        if !missing.is_empty() {
            wrong.push(format!("{heading}: {client} does not say {missing:?} but\n{}", said.text));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong, and the registry says so in its log, as the page has it.
#[test]
fn the_registry_says_what_the_page_says_of_a_token_that_it_does_not_accept() {
    let (pair, another) = (keys::as_in_the_guide(keys::Kind::P256), keys::as_in_the_guide(keys::Kind::P256));
    let server = Dockwarden::start(&dockwarden::config(&pair, "", &bed::guide_policy()));
    let realm = server.realm();
    let bundle = |pair: &keys::Pair| pair.certificate.display().to_string();
    let (right, other) = (bundle(&pair), bundle(&another));
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/how-to/why-denied.md");
    let page = fs::read_to_string(page).unwrap();
    for edition in Edition::ALL {
        for (issuer, service, bundle, expected) in [
            ("another", "Docker registry", &right, "token from untrusted issuer"),
            ("Acme auth server", "Docker registry", &other, "certificate signed by unknown authority"),
        ] {
            assert!(page.contains(&format!("| `{expected}` |")), "the page has no row for {expected}");
            let settings = [
                ("REGISTRY_AUTH", "token"),
                ("REGISTRY_AUTH_TOKEN_REALM", &realm),
                ("REGISTRY_AUTH_TOKEN_SERVICE", service),
                ("REGISTRY_AUTH_TOKEN_ISSUER", issuer),
                ("REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE", bundle),
            ];
            let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let registry = Registry::start_in(edition, &settings);
            let visited = visit::visit(&registry, "waldi", "GET", "/v2/socken-x/tags/list", b"");
            assert_eq!(visited.reply.status, 401, "{edition:?} {expected}");
            registry.process.until(&format!("{expected:?} in the log of {edition:?}"), |process| {
                process.log().contains(expected).then_some(())
            });
        }
    }
}
