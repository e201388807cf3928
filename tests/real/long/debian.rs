//! The package in a Debian of its own: installed, raised, taken away.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::release::{package, package_of_version};
use crate::support::part::{self, Said};
use crate::support::scratch;

/// A directory with Debian's essential packages, and those that ours asks for.
struct Root(PathBuf);

impl Root {
    fn new() -> Self {
        let root = scratch::directory("debian").join("root");
        let mut bootstrap = part::command("mmdebstrap");
        bootstrap.args(["--quiet", "--variant=essential", "--include=init-system-helpers,systemd,openssl", "bookworm"]);
        part::run(bootstrap.arg(&root)).well();
        Self(root)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    fn run(&self, words: &str) -> Said {
        part::run(part::client("chroot").arg(&self.0).args(words.split(' ')))
    }

    fn dpkg(&self, option: &str, package: &Path) {
        fs::copy(package, self.path("new.deb")).unwrap();
        self.run(&format!("dpkg {option} /new.deb")).well();
    }

    /// Every file, folder and link, but for what dpkg and systemd write down.
    fn files(&self) -> BTreeSet<PathBuf> {
        let mut files = BTreeSet::new();
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap()) {
                let path = entry.path();
                if ["run", "var/lib/dpkg", "var/log"].iter().any(|others| path.starts_with(self.path(others))) {
                    continue;
                }
                if entry.file_type().unwrap().is_dir() {
                    folders.push(path.clone());
                }
                files.insert(path);
            }
        }
        files
    }
}

#[test]
fn the_package_is_installed_raised_and_purged() {
    let root = Root::new();
    fs::write(root.path("new.deb"), "").unwrap();
    let before = root.files();
    root.dpkg("--install", &package());

    // What the package brings, the folders for it, and what systemd's helper keeps: nothing that others may write to.
    let listed: BTreeSet<PathBuf> =
        root.run("dpkg --listfiles dockwarden").well().stdout.lines().map(|line| root.path(line)).collect();
    let helper = root.path("var/lib/systemd/deb-systemd-helper-enabled");
    for new in root.files().difference(&before) {
        // Debian's `/lib` is a link by now.
        assert!(listed.contains(new) || new.starts_with(&helper), "{}", new.display());
        let kept = fs::symlink_metadata(new).unwrap();
        assert!(kept.is_symlink() || kept.mode() & 0o022 == 0, "{}", new.display());
        assert_eq!((kept.uid(), kept.gid()), (0, 0), "{}", new.display());
    }

    let said = root.run("systemd-analyze verify dockwarden.service").well().text;
    assert!(!said.contains("dockwarden"), "{said}");
    root.run("systemd-analyze security --offline=true --threshold=15 dockwarden.service").well();
    root.run("systemctl is-enabled dockwarden").refused(&["disabled"]);

    // As docs/how-to/install.md goes on.
    root.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=dockwarden -keyout /etc/dockwarden/token.key \
         -out /etc/dockwarden/token.crt",
    )
    .well();
    fs::set_permissions(root.path("etc/dockwarden/token.key"), PermissionsExt::from_mode(0o600)).unwrap();
    fs::create_dir_all(root.path("var/lib/dockwarden")).unwrap();
    root.run("dockwarden check /etc/dockwarden/auth_config.yml").well();
    root.run("systemctl enable dockwarden").well();
    let config = root.path("etc/dockwarden/auth_config.yml");
    let mine = format!("{}# ours\n", fs::read_to_string(&config).unwrap());
    fs::write(&config, &mine).unwrap();

    root.dpkg("--install", &package_of_version("99.0.0"));
    assert!(root.run("dpkg --status dockwarden").well().stdout.contains("\nVersion: 99.0.0\n"));
    assert_eq!(fs::read_to_string(&config).unwrap(), mine);
    root.run("systemctl is-enabled dockwarden").well();

    root.run("dpkg --remove dockwarden").well();
    assert!(config.exists() && !root.path("usr/bin/dockwarden").exists());
    root.run("dpkg --purge dockwarden").well();
    // The pair was not the package's.
    let left: BTreeSet<PathBuf> = root.files().difference(&before).cloned().collect();
    let ours = ["etc/dockwarden", "etc/dockwarden/token.crt", "etc/dockwarden/token.key", "var/lib/dockwarden"];
    assert_eq!(left, ours.iter().map(|path| root.path(path)).collect::<BTreeSet<_>>());
}
