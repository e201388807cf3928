//! What root's commands make in the folder of a server that is somebody else.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::dockwarden;
use crate::support::part::{self, Said};
use crate::support::scratch;

/// Nobody, in the place of the user whom systemd makes up.
const SERVER: u32 = 65534;

struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let folder = scratch::directory("owner");
        for inner in ["state", "authority"] {
            fs::create_dir(folder.join(inner)).unwrap();
        }
        chown(folder.join("state"), Some(SERVER), Some(SERVER)).unwrap();
        // By a program of its own: while we have a file open to write, another test's new process has it open too, and nobody can start it.
        part::run(Command::new("cp").arg(dockwarden::program()).arg(folder.join("dockwarden"))).well();
        let at = folder.display();
        let config = format!(
            "server: {{addr: \"127.0.0.1:0\"}}\n\
             token:\n  issuer: i\n  certificate: {at}/state/leaf.crt\n  key: {at}/state/leaf.key\n  \
             authority: {{certificate: {at}/authority/tokens.crt, key: {at}/authority/tokens.key, generate: true}}\n\
             records: {{sqlite: {at}/state/dockwarden.db}}\nrecords_auth: {{}}\nacl: []\n"
        );
        scratch::write(&folder, "auth_config.yml", &config);
        for (name, mode) in [("", 0o755), ("auth_config.yml", 0o644), ("dockwarden", 0o755)] {
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        Folder(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = part::command_at(&self.path("dockwarden"));
        command.args(words).arg(self.path("auth_config.yml"));
        command
    }

    fn add(&self, name: &str) -> Said {
        part::run_with(self.command(&["user", "add"]).arg(name), b"a password\n")
    }
}

fn owner_and_mode(path: &Path) -> (u32, u32, u32) {
    let found = fs::symlink_metadata(path).unwrap();
    (found.uid(), found.gid(), found.mode() & 0o7777)
}

#[test]
fn the_server_can_use_what_root_made_before_it() {
    let folder = Folder::new();
    folder.add("alice").well();
    part::run(&mut folder.command(&["keys", "issue-leaf"])).well();
    for (file, mode) in [
        ("state/dockwarden.db", 0o600),
        ("state/dockwarden.db.lock", 0o600),
        ("state/leaf.key", 0o600),
        ("state/leaf.crt", 0o644),
    ] {
        assert_eq!(owner_and_mode(&folder.path(file)), (SERVER, SERVER, mode), "{file}");
    }
    for left in fs::read_dir(folder.path("state")).unwrap().map(|entry| entry.unwrap().path()) {
        assert_eq!(owner_and_mode(&left).0, SERVER, "{}", left.display());
    }
    let said = part::run(folder.command(&["user", "list"]).uid(SERVER).gid(SERVER)).well();
    assert!(said.stdout.contains("alice"), "{}", said.text);
    // What belongs to root stays root's.
    assert_eq!(owner_and_mode(&folder.path("authority/tokens.key")), (0, 0, 0o600));
}

/// The owner of the folder is not to get what is not its own: neither by a link to what is there, nor by one to what is not.
#[test]
fn root_follows_no_link_that_the_server_has_put_there() {
    for file in ["dockwarden.db.lock", "dockwarden.db-wal", "dockwarden.db-shm"] {
        for exists in [true, false] {
            let folder = Folder::new();
            // SQLite's own files are made once there is a database.
            if file != "dockwarden.db.lock" {
                folder.add("alice").well();
            }
            let roots = folder.path("authority/roots");
            if exists {
                fs::write(&roots, "root's").unwrap();
            }
            let link = folder.path("state").join(file);
            drop(fs::remove_file(&link));
            symlink(&roots, &link).unwrap();
            folder.add("bob");
            match exists {
                true => {
                    assert_eq!(owner_and_mode(&roots).0, 0, "{file}");
                    assert_eq!(fs::read_to_string(&roots).unwrap(), "root's", "{file}");
                }
                false => assert!(fs::symlink_metadata(&roots).is_err(), "{file}"),
            }
        }
    }
}
