//! The program as the kubelet and docker start it, to be given a workload's token.

use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{command, finish};

const TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJpIn0.c2ln";

#[test]
fn the_kubelet_asks_on_standard_input_and_reads_standard_output() {
    let ask = |image: &str| {
        let version = "credentialprovider.kubelet.k8s.io/v1";
        let question = json!({"apiVersion": version, "kind": "CredentialProviderRequest", "image": image, "serviceAccountToken": TOKEN});
        let run = finish(command(["credential-provider", "--registry", "registry.example.org"]), &question.to_string());
        assert_eq!((run.code, run.err.as_str()), (0, ""));
        serde_json::from_str::<Value>(&run.out).unwrap()["auth"].clone()
    };
    let auth = json!({"registry.example.org": {"username": "workload", "password": TOKEN}});
    assert_eq!((ask("registry.example.org/a/b:v1"), ask("docker.io/library/busybox")), (auth, json!({})));
    let run = finish(command(["credential-provider", "--registry", "registry.example.org"]), TOKEN);
    assert_eq!((run.code, run.out.as_str()), (1, ""));
    assert!(!run.err.contains(TOKEN), "{}", run.err);
    assert_eq!(finish(command(["credential-provider"]), "").code, 2, "no registry is named");
}

#[test]
fn docker_finds_it_by_another_name() {
    let folder = TempDir::new().unwrap();
    let helper = folder.path().join("docker-credential-dockwarden");
    symlink(env!("CARGO_BIN_EXE_dockwarden"), &helper).unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let ask = |action: &str, input: &str| {
        let mut command = Command::new(&helper);
        command.arg(action).env_remove("DOCKWARDEN_TOKEN");
        command.env("DOCKWARDEN_REGISTRIES", "registry.example.org").env("DOCKWARDEN_TOKEN_FILE", &file);
        finish(command, input)
    };
    let found = ask("get", "https://registry.example.org");
    let expected = json!({"ServerURL": "https://registry.example.org", "Username": "workload", "Secret": TOKEN});
    assert_eq!((found.code, serde_json::from_str::<Value>(&found.out).unwrap()), (0, expected));
    let unknown = ask("get", "https://index.docker.io/v1/");
    assert_eq!((unknown.code, unknown.out.as_str()), (1, "credentials not found in native keychain\n"));
    let list = ask("list", "");
    assert_eq!((list.code, list.out.as_str()), (0, "{\"registry.example.org\":\"workload\"}\n"));
    assert_eq!(ask("erase", "https://registry.example.org").code, 0);
    assert_eq!(ask("store", "{}").code, 1);
}

/// docker's own helpers refuse it in the same words, which clients compare.
#[test]
fn a_login_without_a_server_or_a_name_is_not_kept() {
    let folder = TempDir::new().unwrap();
    let helper = folder.path().join("docker-credential-dockwarden");
    symlink(env!("CARGO_BIN_EXE_dockwarden"), &helper).unwrap();
    let ask = |action: &str, input: &Value| {
        let mut command = Command::new(&helper);
        command.arg(action).env_clear().env("HOME", folder.path());
        finish(command, &input.to_string())
    };
    for (server, username, expected) in [
        ("", "ada", "no credentials server URL\n"),
        (" ", "ada", "no credentials server URL\n"),
        ("", "", "no credentials server URL\n"),
        ("registry.example.org", "", "no credentials username\n"),
        ("registry.example.org", "\t", "no credentials username\n"),
    ] {
        let stored = ask("store", &json!({"ServerURL": server, "Username": username, "Secret": "canary"}));
        assert_eq!((stored.code, stored.out.as_str()), (1, expected), "{server:?} {username:?}: {}", stored.err);
    }
    assert_eq!(ask("store", &json!({"Secret": "canary"})).out, "no credentials server URL\n");
    assert_eq!(ask("list", &json!("")).out, "{}\n", "nothing was kept");
    let stored = ask("store", &json!({"ServerURL": "registry.example.org", "Username": "ada", "Secret": "s"}));
    assert_eq!(stored.code, 0, "{}", stored.out);
    assert_eq!(ask("list", &json!("")).out, "{\"registry.example.org\":\"ada\"}\n");
}
