//! Programs that are there and cannot be started: `check` says so beforehand, and the log names what is missing.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use dockwarden::authn::LabelSyntax;
use dockwarden::authn::attempts::Attempts;
use dockwarden::authn::program::{ProgramAuthn, ProgramUsers};
use dockwarden::authn::{Account, Authenticator as _, Credentials, Secret};
use dockwarden::client_network::ClientNetwork;
use dockwarden::config::{Config, Secrets};
use dockwarden::program::{ProgramSettings, find};

use crate::bed::Folder;

#[tokio::test]
async fn what_the_kernel_cannot_start_is_told_before_and_when_it_is_needed() {
    let folder = Folder::new();
    let mut foreign = std::fs::read("/proc/self/exe").unwrap();
    let mut rows = vec![
        (
            "interpreter",
            b"#!/opt/not-here/bash\nexit 0\n".to_vec(),
            "names the interpreter /opt/not-here/bash, which is not here",
        ),
        ("windows", b"#!/bin/sh\r\nexit 0\r\n".to_vec(), "ends in a carriage return"),
        ("no-first-line", b"exit 0\n".to_vec(), "is neither a script, whose first line names its interpreter"),
        ("empty", Vec::new(), "is neither a script"),
    ];
    if let Some(place) = foreign.windows(11).position(|part| part == b"/lib64/ld-l") {
        foreign[place..place + 4].copy_from_slice(b"/nix");
        rows.push(("foreign", foreign, "needs the loader /nix64/ld-linux"));
    }
    for (name, bytes, piece) in rows {
        let file = folder.path(name);
        std::fs::write(&file, bytes).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        let command = file.to_str().unwrap().to_owned();
        let text = format!("ext_auth: {{command: {command}}}\n");
        let config = Config::load(&folder.configure(&text), [], Secrets::Read).unwrap();
        assert!(config.warnings.iter().any(|warning| warning.message.contains(piece)), "{name}: {:?}", config.warnings);
        let program = ProgramSettings { command, args: Vec::new(), timeout: Duration::from_secs(30), concurrency: 1 };
        let why = find(&program).unwrap_err();
        assert!(why.contains(piece), "{name}: {why}");
        let users = ProgramUsers { program, label_values: LabelSyntax::Glob };
        let backend = ProgramAuthn::new(users, Arc::new(Attempts::new().unwrap()));
        let account = Account::parse("carol").unwrap();
        let carol = Credentials::Password { account, password: Secret::new("x") };
        let error = backend.authenticate(&carol, ClientNetwork::Unknown).await.unwrap_err();
        let message = format!("{error:#}");
        assert!(message.contains("it cannot be started: ") && message.contains(piece), "{name}: {message}");
    }
}
