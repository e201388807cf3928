//! Identity tokens in an engine that keeps images in containerd, and in builds by BuildKit, which ask by the client's session.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use crate::lasting::{Lasting, REFUSED, docker_lives_from_its_identity_token, keep};
use crate::support::engine::Engine;
use crate::support::registry::Edition;
use crate::support::{client, image, part, scratch};

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(Engine::with_containerd)
}

/// Check 15, with the image store of containerd.
#[test]
fn check_15_docker_lives_from_its_identity_token_with_images_in_containerd() {
    // The engine says that the token is refused, and the command line asks for the password.
    docker_lives_from_its_identity_token(engine(), ("waldi\nwrong\n", "Login prior to pull"));
}

/// Check 38 of OpenSVC's reference.
#[test]
fn check_38_an_engine_of_today_searches_as_the_one_of_every_run() {
    crate::opensvc::an_engine_searches(engine());
}

/// Checks 16 and 17: a build that pushes, and one that begins with an image that it must pull.
#[test]
fn check_17_a_build_lives_from_the_same_file_and_is_told_when_it_is_dead() {
    let lasting = Lasting::start();
    for edition in Edition::ALL {
        let registry = lasting.bed.registry(edition).host();
        let home = client::home();
        let token = lasting.token();
        keep(&home, &registry, &token);
        let remote = format!("{registry}/socken-built:1");
        let pushed = image::build_context(&format!("built-{edition:?}").to_lowercase());
        let begun = scratch::directory("build");
        fs::write(begun.join("Dockerfile"), format!("FROM {remote}\nLABEL over=it\n")).unwrap();
        let build = |options: &[&str], context: &Path| {
            let mut build = engine().client("long/buildx", &home);
            build.args(["build", "--no-cache", "--pull", "--progress=plain", "--provenance=false"]).args(options);
            part::run(build.arg(context))
        };
        let push = || build(&["--push", "--tag", &remote], &pushed);
        let begin = || build(&["--output=type=cacheonly"], &begun);
        push().well();
        begin().well();

        assert!(lasting.revoke_all() >= 1);
        // Another image: the engine still has an access token for that one.
        fs::write(begun.join("Dockerfile"), format!("FROM {registry}/socken-other:1\nLABEL over=it\n")).unwrap();
        for (which, said) in [("push", push()), ("pull", begin())] {
            let said = said.refused(REFUSED);
            assert!(said.text.contains("unauthorized") || said.text.contains("401"), "{which}: {}", said.text);
            assert!(!said.text.contains(&token), "{which}: {}", said.text);
        }
    }
    lasting.bed.dockwarden.process.keeps_secrets();
}
