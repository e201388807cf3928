//! Files that go away, come late, or are none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{
    announced, config, lets_pull, limited, outcome, pair, pipe_at, pulls, question, reasons, reloads, stops,
    until_failed,
};
use crate::support::dockwarden::{Dockwarden, SERVICE, program, with_tls};
use crate::support::http::{self, Connection};
use crate::support::keys::{self, Pair};
use crate::support::process::{Process, Signal, until_within};
use crate::support::{part, scratch, visit};

#[test]
fn a_pipe_in_the_place_of_the_config_is_refused_at_start() {
    let pipe = scratch::directory("pipe").join("auth_config.yml");
    pipe_at(&pipe);
    let path = pipe.to_str().unwrap();
    for arguments in [&["serve", path][..], &["check", path], &["explain", path, "repository:first:pull"]] {
        let (status, _, said) = outcome(&mut limited(arguments));
        assert_eq!(status, Some(1), "{arguments:?}: {said}");
        assert!(said.contains("auth_config.yml is not a regular file"), "{arguments:?}: {said}");
    }
}

#[test]
fn a_pipe_that_takes_the_place_of_a_file_leaves_the_old_one_in_use() {
    let pair = pair();
    let server = Dockwarden::start(&config(&pair, "first"));
    let process = &server.process;
    let kept = scratch::directory("kept").join("file");
    for (number, file) in [&server.config, &pair.certificate, &pair.key].into_iter().enumerate() {
        // The file is not away for as long as a program takes to start.
        let pipe = file.with_extension("pipe");
        pipe_at(&pipe);
        fs::rename(file, &kept).unwrap();
        fs::rename(&pipe, file).unwrap();
        until_failed(process, number + 1);
        process.until("why it fails", |process| {
            (process.log().matches("is not a regular file").count() > number).then_some(())
        });
        assert!(pulls(&server.address, "first"));
        fs::rename(&kept, file).unwrap();
        process.until("the good file", |process| (reloads(process) > number).then_some(()));
        assert!(pulls(&server.address, "first"));
    }
    let pipe = pair.key.with_extension("pipe");
    pipe_at(&pipe);
    fs::rename(&pipe, &pair.key).unwrap();
    until_failed(process, 4);
    stops(process);
}

#[test]
fn a_config_that_was_out_of_reach_is_taken_up_as_it_was() {
    let pair = pair();
    let volume = scratch::directory("volume").join("mounted");
    fs::create_dir(&volume).unwrap();
    let file = scratch::write(&volume, "auth_config.yml", &config(&pair, "first"));
    let server = Dockwarden::start_file(&file);
    // The directory moves: not a byte and not a date of the file changes.
    fs::rename(&volume, volume.with_extension("away")).unwrap();
    until_failed(&server.process, 1);
    assert!(pulls(&server.address, "first"));
    fs::rename(volume.with_extension("away"), &volume).unwrap();
    server.process.until("the config to be back", |process| (reloads(process) == 1).then_some(()));
}

#[test]
fn a_config_whose_key_comes_later_is_tried_again() {
    let (old, new) = (pair(), pair());
    let server = Dockwarden::start(&config(&old, "first"));
    let [later, late] = [new.key.with_extension("later"), new.certificate.with_extension("late")];
    fs::rename(&new.key, &later).unwrap();
    fs::rename(&new.certificate, &late).unwrap();
    fs::write(&server.config, config(&new, "second")).unwrap();
    until_failed(&server.process, 1);
    assert!(pulls(&server.address, "first"));
    // The files of a config that was never in use are not watched: only the next try sees them.
    fs::rename(&later, &new.key).unwrap();
    fs::rename(&late, &new.certificate).unwrap();
    until_within(Duration::from_secs(40), "the next try", || pulls(&server.address, "second").then_some(()));
}

#[test]
fn a_generated_key_that_is_deleted_goes_on_signing_and_is_not_made_anew() {
    let directory = scratch::directory("generated");
    let pair = Pair { certificate: directory.join("token.crt"), key: directory.join("token.key") };
    let text = config(&pair, "first").replace("token:\n", "token:\n  generate: true\n");
    let server = Dockwarden::start(&text);
    let signer = || {
        let reply = http::exchange(&server.address, &question("first")).json();
        assert!(lets_pull(&reply));
        visit::header(reply["token"].as_str().unwrap())
    };
    let before = signer();
    let away = |file: &Path| PathBuf::from(format!("{}.away", file.display()));
    // First the certificate alone, for which a new one used to be made from the key.
    for (number, file) in [&pair.certificate, &pair.key].into_iter().enumerate() {
        fs::rename(file, away(file)).unwrap();
        until_failed(&server.process, number + 1);
        assert_eq!(signer(), before);
    }
    server.process.signal(Signal::Hangup);
    until_failed(&server.process, 3);
    assert_eq!(signer(), before);
    assert!(!pair.key.exists() && !pair.certificate.exists());
    for file in [&pair.key, &pair.certificate] {
        fs::rename(away(file), file).unwrap();
    }
    server.process.until("the pair to be back", |process| (reloads(process) > 0).then_some(()));
    assert_eq!(signer(), before);
}

#[test]
fn tls_is_not_turned_off_by_a_reload() {
    let (pair, chain) = (pair(), keys::for_localhost());
    let plain = config(&pair, "second");
    let secure = with_tls(&config(&pair, "first"), &chain.leaf);
    let file = scratch::write(&scratch::directory("config"), "auth_config.yml", &secure);
    let mut serve = Command::new(program());
    serve.arg(&file);
    let process = Process::start("dockwarden", &serve);
    let address = announced(&process, "listening");
    let url = |repository: &str| {
        format!("https://{address}/auth?service={}&scope=repository:{repository}:pull", http::form_encode(SERVICE))
    };
    let over_tls = |repository: &str| {
        let mut curl = part::client("curl");
        curl.args(["--silent", "--show-error", "--fail", "--cacert"]).arg(&chain.authority).arg(url(repository));
        lets_pull(&serde_json::from_str(&part::run(&mut curl).well().stdout).unwrap())
    };
    let answered_in_the_clear = || Connection::open(&address).unwrap().send(&question("first")).is_ok();
    assert!(over_tls("first"));
    assert!(!answered_in_the_clear());
    fs::write(&file, plain).unwrap();
    process.until("the config without a certificate", |process| (reloads(process) == 1).then_some(()));
    assert!(!answered_in_the_clear());
    assert!(over_tls("second"), "the rest of the config counts");
    process.until("what needs a restart", |process| (reasons(process, "restart_needed") > 0).then_some(()));
    assert_eq!(reasons(&process, "restart_needed"), 1, "{}", process.tail());
}

#[test]
fn long_texts_repeated_by_aliases_are_refused_in_little_memory() {
    let text = "y".repeat(1 << 20);
    let nested = (0..8).fold(format!("a0: &a0 [\"{text}\"]\n"), |file, level| {
        let before = vec![format!("*a{level}"); 9].join(", ");
        format!("{file}a{next}: &a{next} [{before}]\n", next = level + 1)
    });
    let merged =
        (0..400).fold(format!("m: &m {{k: \"{text}\"}}\n"), |file, number| format!("{file}m{number}: {{<<: *m}}\n"));
    for (what, file) in [
        ("in a list", format!("x: &a \"{text}\"\nz: [{}]\n", vec!["*a"; 800].join(", "))),
        ("as keys", format!("x: &a \"{text}\"\nz: [{}]\n", vec!["{*a : 1}"; 800].join(", "))),
        ("in lists of lists", nested),
        ("by merge keys", merged),
    ] {
        let path = scratch::write(&scratch::directory("bomb"), "auth_config.yml", &file);
        // Unfolded, each of these is 400 MiB or more.
        let mut check = part::command("prlimit");
        check.arg("--as=268435456").arg(program()).arg("check").arg(&path);
        let (status, _, said) = outcome(&mut check);
        assert_eq!(status, Some(1), "{what}: {said:.500}");
        assert!(said.contains("aliases add too much"), "{what}: {said:.500}");
    }
}
