//! Identity tokens in real clients: docker gets one at its login and lives from it, and whoever else has that file does too; once it is
//! revoked, each is told to log in. Numbers are those of the checks in the reference on lasting tokens.

use std::fs;
use std::path::Path;

use dockwarden::records::{self, Settings, Whose};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::support::bed::{Bed, guide_policy};
use crate::support::client::{self, Containerd};
use crate::support::dockwarden::password;
use crate::support::engine::Engine;
use crate::support::image::{self, TAG};
use crate::support::keys::{self, Kind};
use crate::support::registry::Edition;
use crate::support::{engine, http, part, scratch, visit};

pub(crate) const REFUSED: &[&str] =
    &["unauthorized", "401", "authentication required", "log in again", "no basic auth", "denied"];

/// A server that gives refresh tokens, its registries, and where it keeps them.
pub(crate) struct Lasting {
    pub(crate) bed: Bed,
    settings: Settings,
}

impl Lasting {
    pub(crate) fn start() -> Self {
        let file = scratch::directory("records").join("dockwarden.db");
        let section = format!("records: {{sqlite: \"{}\"}}\nlasting: {{refresh: true}}\n", file.display());
        let bed = Bed::start(&keys::as_in_the_guide(Kind::Rsa), &(guide_policy() + &section));
        Lasting { bed, settings: Settings::sqlite(file) }
    }

    /// The refresh token of a login by GET, as docker asks for it.
    pub(crate) fn token(&self) -> String {
        let target = "/auth?service=Docker%20registry&offline_token=true&client_id=docker";
        let login = visit::basic("waldi", &password("waldi"));
        let asked = http::request("GET", target, &self.bed.dockwarden.host(), &[("Authorization", &login)], b"");
        let reply = http::exchange(&self.bed.dockwarden.host(), &asked);
        reply.json()["refresh_token"].as_str().unwrap_or_else(|| panic!("{}", reply.text())).to_owned()
    }

    /// Revokes all that there are, and says how many that were.
    pub(crate) fn revoke_all(&self) -> usize {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = records::open(&self.settings);
            let all = store.list(&Whose::All, None, 100).await.unwrap();
            for kept in all.iter().filter(|kept| kept.revoked.is_none()) {
                store.revoke(&kept.id, OffsetDateTime::now_utc()).await.unwrap();
            }
            all.len()
        })
    }
}

/// Both files in which clients look, with this identity token and no password.
pub(crate) fn keep(home: &Path, registry: &str, token: &str) {
    // "waldi:"
    let file = json!({ "auths": { registry: { "auth": "d2FsZGk6", "identitytoken": token } } }).to_string();
    scratch::write(home, "config.json", &file);
    scratch::write(home, "auth.json", &file);
}

fn identity_token(home: &Path, registry: &str) -> Option<String> {
    let file: Value = serde_json::from_str(&fs::read_to_string(home.join("config.json")).unwrap()).unwrap();
    Some(file["auths"][registry].get("identitytoken")?.as_str().unwrap().to_owned())
}

/// Check 15, with the image store that has no containerd; that with it is in `long`.
#[test]
fn check_15_docker_logs_in_and_lives_from_its_identity_token() {
    docker_lives_from_its_identity_token(engine::shared(), ("", "log in again"));
}

/// When the token is dead, it is typed the one, and says the other.
pub(crate) fn docker_lives_from_its_identity_token(engine: &Engine, (typed, said): (&str, &str)) {
    let lasting = Lasting::start();
    for edition in Edition::ALL {
        let home = scratch::directory("docker-home");
        let registry = lasting.bed.registry(edition).host();
        let docker = |arguments: &[&str]| part::run(engine.docker(&home).args(arguments));
        let login = || {
            let mut login = engine.docker(&home);
            login.args(["login", "--username", "waldi", "--password-stdin", &registry]);
            part::run_with(&mut login, password("waldi").as_bytes()).well();
            identity_token(&home, &registry).unwrap()
        };
        let token = login();
        let kept = fs::read_to_string(home.join("config.json")).unwrap();
        assert!(token.starts_with("dwi_") && !kept.contains(&password("waldi")), "{kept}");
        assert_ne!(login(), token, "a second login brings another one");

        let remote = format!("{registry}/socken-docker:{edition:?}").to_lowercase();
        let context = image::build_context(&format!("lasting-{edition:?}").to_lowercase());
        docker(&["build", "--quiet", "--tag", &remote, &context.display().to_string()]).well();
        docker(&["push", &remote]).well();
        docker(&["rmi", "--force", &remote]).well();
        docker(&["pull", &remote]).well();
        docker(&["rmi", "--force", &remote]).well();

        // A dead one: clean words, and no anonymous answer.
        assert!(lasting.revoke_all() >= 2);
        let pull = || part::run_with(engine.docker(&home).args(["pull", &remote]), typed.as_bytes());
        let refused = pull().refused(&[said]);
        assert!(!refused.text.contains("error parsing"), "{}", refused.text);
        login();
        docker(&["pull", &remote]).well();
        docker(&["logout", &registry]).well();
        docker(&["rmi", "--force", &remote]).well();
        pull().refused(&[REFUSED, &[said]].concat());
    }
    lasting.bed.dockwarden.process.keeps_secrets();
}

/// Check 16, of the clients that need no builder.
#[test]
fn check_16_other_clients_live_from_the_same_file_and_are_told_when_it_is_dead() {
    let lasting = Lasting::start();
    let containerd = Containerd::start();
    for edition in Edition::ALL {
        let registry = lasting.bed.registry(edition).host();
        let image = image::layout(&format!("same-file-{edition:?}").to_lowercase());
        let home = client::home();
        let token = lasting.token();
        keep(&home, &registry, &token);
        let source = format!("oci:{}:{TAG}", image.directory.display());
        let remote = format!("{registry}/socken-same:1");
        let chart = home.join("socken-chart");
        fs::create_dir(&chart).unwrap();
        fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: socken-chart\nversion: 1.2.3\n").unwrap();
        part::run(client::helm(&home).args(["package", "socken-chart"])).well();
        let here = format!("oci://{registry}");
        let skopeo_push = |home: &Path| {
            let target = format!("docker://{remote}");
            part::run(client::skopeo(home).args(["copy", "--dest-tls-verify=false", &source, &target]))
        };
        let podman_pull = |home: &Path| part::run(client::podman(home).args(["pull", "--tls-verify=false", &remote]));
        let crane_digest = |home: &Path| part::run(client::crane(home).args(["digest", "--insecure", &remote]));
        let helm_push =
            |home: &Path| part::run(client::helm(home).args(["push", "socken-chart-1.2.3.tgz", &here, "--plain-http"]));
        let ctr_pull = |namespace: &str| {
            let mut ctr = containerd.ctr(&format!("{namespace}-{edition:?}").to_lowercase());
            let flags = ["images", "pull", "--plain-http", "--snapshotter", "native", "--refresh", &token, &remote];
            part::run(ctr.args(flags))
        };
        let layer = scratch::write(&home, "layer.txt", "socken");
        let oras_push = |home: &Path| {
            let target = format!("{registry}/socken-oras:1");
            let file = format!("{}:text/plain", layer.file_name().unwrap().to_str().unwrap());
            part::run(client::oras(home).args(["push", "--plain-http", &target, &file]))
        };
        let regctl = |home: &Path| {
            let target = format!("{registry}/socken-regctl:1");
            part::run(client::regctl(home, &registry).args(["image", "copy", &remote, &target]))
        };
        skopeo_push(&home).well();
        podman_pull(&home).well();
        assert!(crane_digest(&home).well().stdout.starts_with("sha256:"));
        helm_push(&home).well();
        oras_push(&home).well();
        regctl(&home).well();
        ctr_pull("living").well();
        // podman says so itself: it logs in over no identity token.
        let login = ["login", "--tls-verify=false", "-u", "waldi", "-p", &password("waldi"), &registry];
        part::run(client::podman(&home).args(login)).refused(&["identity token", "identitytoken"]);

        assert!(lasting.revoke_all() >= 1);
        for (who, said) in [
            ("skopeo", skopeo_push(&home)),
            ("podman", podman_pull(&home)),
            ("crane", crane_digest(&home)),
            ("helm", helm_push(&home)),
            ("oras", oras_push(&home)),
            ("regctl", regctl(&home)),
            ("ctr", ctr_pull("dead")),
        ] {
            let said = said.refused(REFUSED);
            assert!(!said.text.contains(&token), "{who}: {}", said.text);
        }
    }
    lasting.bed.dockwarden.process.keeps_secrets();
}
