//! Every other client that operators use: login, push, pull and a refused push, against both registries.

use std::path::Path;

use crate::support::bed;
use crate::support::client::{self, Containerd};
use crate::support::dockwarden::password;
use crate::support::image::{self, NAME, TAG};
use crate::support::part;
use crate::support::registry::Edition;

/// Words of which every client says at least one when a registry or a token server refuses it.
const REFUSED: &[&str] =
    &["denied", "unauthorized", "401", "insufficient_scope", "authentication required", "invalid username/password"];

/// The wrong password of the tests.
const WRONG: &str = "not the password";

/// Runs one client's whole story against both registries.
fn with_both(name: &str, story: impl Fn(&str, &str)) {
    let bed = bed::guide();
    for edition in Edition::ALL {
        story(&bed.registry(edition).host(), &format!("{name}-{edition:?}").to_lowercase());
    }
}

fn waldi() -> String {
    password("waldi")
}

#[test]
fn skopeo_logs_in_pushes_pulls_inspects_and_deletes() {
    with_both("skopeo", |registry, marker| {
        let home = client::home();
        let image = image::layout(marker);
        let skopeo = |arguments: &[&str]| part::run(client::skopeo(&home).args(arguments));
        let source = format!("oci:{}:{TAG}", image.directory.display());
        let remote = format!("docker://{registry}/socken-skopeo:1");
        let login = |password: &str| skopeo(&["login", "--tls-verify=false", "-u", "waldi", "-p", password, registry]);

        login(WRONG).refused(REFUSED);
        skopeo(&["copy", "--dest-tls-verify=false", &source, &remote]).refused(REFUSED);
        login(&waldi()).well();
        skopeo(&["copy", "--dest-tls-verify=false", &source, &remote]).well();
        let target = home.join("pulled");
        skopeo(&["copy", "--src-tls-verify=false", &remote, &format!("oci:{}:{TAG}", target.display())]).well();
        let inspected = skopeo(&["inspect", "--tls-verify=false", &remote]).well();
        assert!(inspected.stdout.contains(marker), "its label: {}", inspected.text);
        let refused = format!("docker://{registry}/test-skopeo:1");
        skopeo(&["copy", "--dest-tls-verify=false", &source, &refused]).refused(REFUSED);
        // Asks for `repository:socken-skopeo:*`.
        skopeo(&["delete", "--tls-verify=false", &remote]).well();
        skopeo(&["inspect", "--tls-verify=false", &remote]).refused(&["manifest unknown"]);
    });
}

#[test]
fn podman_logs_in_pushes_and_pulls() {
    with_both("podman", |registry, marker| {
        let home = client::home();
        let podman = |arguments: &[&str]| part::run(client::podman(&home).args(arguments));
        let image = image::layout(marker);
        let layer = image.layer.display().to_string();
        let remote = format!("{registry}/socken-podman:1");
        let refused = format!("{registry}/test-podman:1");
        let login = |password: &str| podman(&["login", "--tls-verify=false", "-u", "waldi", "-p", password, registry]);

        login(WRONG).refused(REFUSED);
        login(&waldi()).well();
        podman(&["import", &layer, &remote]).well();
        podman(&["push", "--tls-verify=false", &remote]).well();
        podman(&["tag", &remote, &refused]).well();
        podman(&["push", "--tls-verify=false", &refused]).refused(REFUSED);
        podman(&["rmi", "--force", &remote, &refused]).well();
        podman(&["image", "inspect", &remote]).refused(&["image not known", "no such image", "failed to find image"]);
        podman(&["pull", "--tls-verify=false", &remote]).well();
        podman(&["image", "inspect", &remote]).well();
    });
}

#[test]
fn buildah_logs_in_pushes_and_pulls() {
    with_both("buildah", |registry, marker| {
        let home = client::home();
        let buildah = |arguments: &[&str]| part::run(client::buildah(&home).args(arguments));
        let file = home.join("marker");
        std::fs::write(&file, marker).unwrap();
        let remote = format!("{registry}/socken-buildah:1");
        let refused = format!("{registry}/test-buildah:1");
        let login = |password: &str| buildah(&["login", "--tls-verify=false", "-u", "waldi", "-p", password, registry]);

        login(WRONG).refused(REFUSED);
        login(&waldi()).well();
        buildah(&["from", "--name", "work", "scratch"]).well();
        buildah(&["copy", "work", &file.display().to_string(), "/marker"]).well();
        buildah(&["commit", "--rm", "work", &remote]).well();
        buildah(&["push", "--tls-verify=false", &remote]).well();
        buildah(&["tag", &remote, &refused]).well();
        buildah(&["push", "--tls-verify=false", &refused]).refused(REFUSED);
        buildah(&["rmi", "--force", &remote]).well();
        buildah(&["pull", "--tls-verify=false", &remote]).well();
    });
}

#[test]
fn containerd_pushes_and_pulls_with_a_password_in_a_form() {
    let containerd = Containerd::start();
    with_both("ctr", |registry, marker| {
        let image = image::layout(marker);
        let remote = format!("{registry}/socken-ctr:1");
        let user = format!("waldi:{}", waldi());
        let wrong = format!("waldi:{WRONG}");
        let here = format!("{marker}-here");
        let there = format!("{marker}-there");
        let ctr =
            |namespace: &str, arguments: &[&str]| part::run(containerd.ctr(namespace).arg("images").args(arguments));
        let tar = image.tar.display().to_string();

        ctr(&here, &["import", "--no-unpack", &tar]).well();
        let push = |user: &str, remote: &str| ctr(&here, &["push", "--plain-http", "--user", user, remote, NAME]);
        let pull =
            |user: &str| ctr(&there, &["pull", "--plain-http", "--snapshotter", "native", "--user", user, &remote]);
        push(&wrong, &remote).refused(REFUSED);
        push(&user, &remote).well();
        push(&user, &format!("{registry}/test-ctr:1")).refused(REFUSED);
        pull(&wrong).refused(REFUSED);
        pull(&user).well();
        let listed = ctr(&there, &["list"]).well();
        assert!(listed.stdout.contains(&image.digest), "{}", listed.text);
    });
}

#[test]
fn crane_logs_in_pushes_pulls_copies_and_lists() {
    with_both("crane", |registry, marker| {
        let home = client::home();
        let image = image::layout(marker);
        let crane = |arguments: &[&str]| part::run(client::crane(&home).args(arguments));
        let directory = image.directory.display().to_string();
        let remote = format!("{registry}/socken-crane:1");
        let login = |account: &str, password: &str| {
            crane(&["auth", "login", registry, "-u", account, "-p", password]).well();
        };

        // crane stores a login without trying it; the first request shows what it is worth.
        login("waldi", WRONG);
        crane(&["push", "--insecure", &directory, &remote]).refused(REFUSED);
        login("waldi", &waldi());
        crane(&["push", "--insecure", &directory, &remote]).well();
        assert_eq!(crane(&["digest", "--insecure", &remote]).well().stdout.trim(), image.digest);
        let pulled = home.join("pulled");
        crane(&["pull", "--insecure", "--format", "oci", &remote, &pulled.display().to_string()]).well();
        let (_, name) = image.digest.split_once(':').unwrap();
        let manifest = |layout: &Path| std::fs::read(layout.join("blobs/sha256").join(name)).unwrap();
        assert_eq!(manifest(&pulled), manifest(&image.directory));
        crane(&["push", "--insecure", &directory, &format!("{registry}/test-crane:1")]).refused(REFUSED);
        crane(&["copy", "--insecure", &remote, &format!("{registry}/socken-crane-copy:1")]).well();
        assert_eq!(crane(&["ls", "--insecure", &format!("{registry}/socken-crane")]).well().stdout.trim(), "1");
        crane(&["catalog", "--insecure", registry]).refused(REFUSED);
        login("boss", &password("boss"));
        let catalog = crane(&["catalog", "--insecure", registry]).well();
        assert!(catalog.stdout.lines().any(|name| name == "socken-crane"), "{}", catalog.text);
    });
}

#[test]
fn helm_logs_in_pushes_and_pulls_charts() {
    with_both("helm", |registry, marker| {
        let home = client::home();
        let helm = |arguments: &[&str]| part::run(client::helm(&home).args(arguments));
        let login = |password: &str| {
            let mut login = client::helm(&home);
            login.args(["registry", "login", "--plain-http", "--username", "waldi", "--password-stdin", registry]);
            part::run_with(&mut login, password.as_bytes())
        };
        for chart in ["socken-chart", "test-chart"] {
            let directory = home.join(chart);
            std::fs::create_dir(&directory).unwrap();
            let about = format!("apiVersion: v2\nname: {chart}\nversion: 1.2.3\ndescription: {marker}\n");
            std::fs::write(directory.join("Chart.yaml"), about).unwrap();
            helm(&["package", chart]).well();
        }
        let here = format!("oci://{registry}");

        login(WRONG).refused(REFUSED);
        login(&waldi()).well();
        helm(&["push", "socken-chart-1.2.3.tgz", &here, "--plain-http"]).well();
        helm(&["push", "test-chart-1.2.3.tgz", &here, "--plain-http"]).refused(REFUSED);
        let chart = format!("{here}/socken-chart");
        helm(&["pull", &chart, "--version", "1.2.3", "--plain-http", "--untar", "--untardir", "pulled"]).well();
        let about = std::fs::read_to_string(home.join("pulled/socken-chart/Chart.yaml")).unwrap();
        assert!(about.contains(marker), "{about}");
        helm(&["registry", "logout", registry]).well();
        helm(&["pull", &chart, "--version", "1.2.3", "--plain-http"]).refused(REFUSED);
    });
}
