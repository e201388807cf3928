//! Other people's sockets at the path of ours.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{announced, config, limited, outcome, pair, stops};
use crate::support::dockwarden::program;
use crate::support::keys::Pair;
use crate::support::process::Process;
use crate::support::scratch;

/// A config that listens on a unix socket.
fn on_socket(pair: &Pair, path: &Path) -> PathBuf {
    let text = config(pair, "first")
        .replace("  addr: \"127.0.0.1:0\"\n", &format!("  net: unix\n  addr: \"{}\"\n", path.display()));
    scratch::write(&scratch::directory("config"), "auth_config.yml", &text)
}

/// Starts a server on a unix socket and waits until it says so.
fn start_on_socket(pair: &Pair, path: &Path) -> Process {
    let mut serve = Command::new(program());
    serve.arg("serve").arg(on_socket(pair, path));
    let process = Process::start("dockwarden", &serve);
    assert_eq!(announced(&process, "listening"), format!("unix:{}", path.display()));
    process
}

/// Whether a server on the socket is ready.
fn answers(path: &Path) -> bool {
    let ask = || {
        let mut stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).map(|_| reply)
    };
    ask().is_ok_and(|reply: String| reply.starts_with("HTTP/1.1 200 "))
}

#[test]
fn what_somebody_else_has_at_the_sockets_path_is_not_removed_at_start() {
    let pair = pair();
    let directory = scratch::directory("sockets");
    let path = |name: &str| directory.join(name);
    let _stream = UnixListener::bind(path("stream")).unwrap();
    let _datagram = UnixDatagram::bind(path("datagram")).unwrap();
    fs::write(path("file"), "precious").unwrap();
    std::os::unix::fs::symlink("file", path("link")).unwrap();
    for name in ["stream", "datagram", "file", "link"] {
        let before = fs::symlink_metadata(path(name)).unwrap();
        let (status, _, said) = outcome(&mut limited(&["serve", on_socket(&pair, &path(name)).to_str().unwrap()]));
        assert_eq!(status, Some(1), "{name}: {said}");
        assert!(said.contains(&format!("cannot listen on unix:{}", path(name).display())), "{name}: {said}");
        let after = fs::symlink_metadata(path(name)).unwrap();
        assert_eq!((after.dev(), after.ino()), (before.dev(), before.ino()), "{name}");
    }
    assert_eq!(fs::read_to_string(path("file")).unwrap(), "precious");
}

#[test]
fn a_socket_that_nobody_listens_on_any_more_is_replaced() {
    let pair = pair();
    let directory = scratch::directory("sockets");
    for name in ["stream", "datagram"] {
        let path = directory.join(name);
        // Closed at once, which leaves the file behind.
        match name {
            "stream" => drop(UnixListener::bind(&path).unwrap()),
            _ => drop(UnixDatagram::bind(&path).unwrap()),
        }
        assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
        let process = start_on_socket(&pair, &path);
        assert!(answers(&path), "{name}");
        stops(&process);
        assert!(!path.exists(), "{name}: its own socket is removed at the end");
    }
}

#[test]
fn what_has_taken_the_sockets_path_over_is_not_removed_at_the_end() {
    let pair = pair();
    let directory = scratch::directory("sockets");
    let path = directory.join("file");
    let process = start_on_socket(&pair, &path);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    stops(&process);
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");

    // As in a rolling restart: the new server is there before the old one ends.
    let path = directory.join("next");
    let old = start_on_socket(&pair, &path);
    fs::remove_file(&path).unwrap();
    let new = start_on_socket(&pair, &path);
    stops(&old);
    assert!(answers(&path));
    stops(&new);
    assert!(!path.exists());
}
