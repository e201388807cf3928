//! The policy crate is pure: neither it nor any crate behind it can do I/O, read a clock or make random numbers, so that it also
//! runs in a browser.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// All crates behind `policy`, on a target that has no operating system. Each of them has been looked at: one more is a
/// decision, and what is behind it belongs here too.
const BEHIND_POLICY: [&str; 20] = [
    "aho-corasick",
    "deranged",
    "form_urlencoded",
    "ipnet",
    "memchr",
    "num-conv",
    "percent-encoding",
    "powerfmt",
    "regex-automata",
    "regex-syntax",
    "siphasher",
    "time",
    "time-core",
    // Read when `thiserror` is compiled, and not part of what it makes.
    "proc-macro2",
    "quote",
    "syn",
    "thiserror",
    "thiserror-impl",
    "unicode-ident",
    "dockwarden-policy",
];

/// What would read the world or change it. Of `std::net` a rule needs the addresses, which the next list allows.
const IMPURE: [&str; 14] = [
    "std::env",
    "std::fs",
    "std::io",
    "std::os",
    "std::process",
    "std::thread",
    "Instant",
    "SystemTime",
    "now_utc",
    "now_local",
    "println!",
    "eprintln!",
    "async fn",
    "unsafe",
];
const OF_NET: [&str; 1] = ["std::net::IpAddr"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn no_crate_behind_the_policy_can_do_io() {
    let mut tree = Command::new(env!("CARGO"));
    tree.args(["tree", "--offline", "--locked", "--package", "dockwarden-policy", "--edges", "normal"]);
    tree.args(["--target", "wasm32-unknown-unknown", "--prefix", "none", "--format", "{p}"]);
    let output = tree.current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let found: BTreeSet<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(found, BTreeSet::from(BEHIND_POLICY));
}

#[test]
fn the_policy_itself_does_no_io_and_reads_no_clock() {
    let mut folders = vec![root().join("crates/policy/src")];
    let mut looked_at = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            looked_at += 1;
            let source = std::fs::read_to_string(&path).unwrap();
            let code = OF_NET.iter().fold(source, |code, allowed| code.replace(&format!("use {allowed};"), ""));
            let impure: Vec<&str> = IMPURE.into_iter().chain(["std::net"]).filter(|word| code.contains(word)).collect();
            assert_eq!(impure, [""; 0], "in {}", path.display());
        }
    }
    assert!(looked_at > 30, "{looked_at} files are not all of them");
}
