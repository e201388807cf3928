//! Where the names of the backends' sections stand: a place that lists them is one that a new backend would be missing in.

use std::fs;
use std::path::{Path, PathBuf};

use dockwarden::backends::BACKENDS;

/// The files that are about one backend, or about the two of one kind of server; and the table.
const OWN: &[&str] = &[
    "authn/htpasswd.rs",
    "authn/http_api/",
    "authn/ldap/",
    "authn/mongo.rs",
    "authn/mongo/",
    "authn/program.rs",
    "authz/casbin/",
    "authn/records.rs",
    "authn/sql.rs",
    "authz/http_api.rs",
    "authz/mongo/",
    "authz/program.rs",
    "authz/records.rs",
    "authz/sql.rs",
    "authz/standard.rs",
    "backends.rs",
    "cli/acl.rs",
    "cli/acl/",
    "cli/ldap.rs",
    "cli/migrate.rs",
    "cli/mongo.rs",
    "cli/user.rs",
    "mongo/",
    "sign_in/",
];

/// The keys of the table, but for those that are everyday words (`users`, `acl`).
fn sections() -> Vec<&'static str> {
    BACKENDS.iter().map(|kind| kind.key).filter(|key| key.contains('_')).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn only_a_backends_own_files_and_the_table_know_its_name() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let all = files(&source);
    let sections = sections();
    assert!(all.len() > 100 && sections.len() > 5);
    let mut elsewhere = Vec::new();
    for file in all {
        let name = file.strip_prefix(&source).unwrap().display().to_string();
        if OWN.iter().any(|own| name == *own || (own.ends_with('/') && name.starts_with(own))) {
            continue;
        }
        for (line, number) in fs::read_to_string(&file).unwrap().lines().zip(1..) {
            if sections.iter().any(|section| line.contains(section)) {
                elsewhere.push(format!("src/{name}:{number}: {}", line.trim()));
            }
        }
    }
    assert!(
        elsewhere.is_empty(),
        "a backend's key stands outside its own files; use its KIND.key, or the table, or if the file is its own, add it to \
         OWN:\n{}",
        elsewhere.join("\n")
    );
}
