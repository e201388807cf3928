//! What an attacker, or an accident that looks like one, does to the process: dead logs, pipes in the place of files,
//! other people's sockets, connections that only hold places, and files that go away.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::dockwarden::{self, Dockwarden, SERVICE, events, program};
use crate::support::http::{self, Connection};
use crate::support::keys::{self, Kind, Pair};
use crate::support::process::{Process, Signal, until, until_within};
use crate::support::{http2, part, scratch, visit};

/// A config by which everybody may pull one repository: questions need no password.
fn config(pair: &Pair, repository: &str) -> String {
    let policy = format!("users:\n  \"\": {{}}\nacl:\n  - match: {{name: {repository}}}\n    actions: [pull]\n");
    dockwarden::config(pair, "", &policy)
}

/// A pair that is made in no time.
fn pair() -> Pair {
    keys::as_in_the_guide(Kind::P256)
}

fn scopes(repositories: impl Iterator<Item = String>) -> Vec<u8> {
    let scopes: Vec<String> = repositories.map(|name| format!("repository:{name}:pull")).collect();
    let target = format!("/auth?service={}&scope={}", http::form_encode(SERVICE), scopes.join("+"));
    http::request("GET", &target, "localhost", &[], b"")
}

/// What asks whether `repository` may be pulled.
fn question(repository: &str) -> Vec<u8> {
    scopes(std::iter::once(repository.to_owned()))
}

/// Whether the token in the reply lets its owner pull.
#[track_caller]
fn lets_pull(token: &Value) -> bool {
    visit::claims(token["token"].as_str().unwrap())["access"][0]["actions"] == Value::from(vec!["pull"])
}

/// Asks over a connection of its own, which has to be answered.
#[track_caller]
fn pulls(address: &str, repository: &str) -> bool {
    let reply = http::exchange(address, &question(repository));
    assert_eq!(reply.status, 200, "{}", reply.text());
    lets_pull(&reply.json())
}

#[track_caller]
fn healthy(address: &str) {
    assert_eq!(http::exchange(address, &http::request("GET", "/healthz", "localhost", &[], b"")).status, 200);
}

/// A figure of `/metrics`.
#[track_caller]
fn figure(address: &str, name: &str) -> u64 {
    let text = http::exchange(address, &http::request("GET", "/metrics", "localhost", &[], b"")).text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}\n{text}")).parse().unwrap()
}

/// The address in the line of the log that has this message.
fn announced(process: &Process, message: &str) -> String {
    process.until(message, |process| {
        events(&process.log(), message).first().and_then(|line| Some(line["address"].as_str()?.to_owned()))
    })
}

/// How many lines of the log give this reason.
fn reasons(process: &Process, reason: &str) -> usize {
    process.log().lines().filter(|line| line.contains(&format!("\"reason\":\"{reason}\""))).count()
}

fn reloads(process: &Process) -> usize {
    events(&process.log(), "configuration reloaded").len()
}

/// Waits until a reload has failed `number` times.
#[track_caller]
fn until_failed(process: &Process, number: usize) {
    process.until("a reload that fails", |process| (reasons(process, "reload_failed") >= number).then_some(()));
}

/// Tells the server to stop, which has to end it with status 0.
#[track_caller]
fn stops(process: &Process) {
    process.signal(Signal::Terminate);
    let status = process.end();
    assert!(status.success(), "{status}\n{}", process.tail());
}

fn pipe_at(path: &Path) {
    part::run(part::command("mkfifo").arg(path)).well();
}

/// What runs the program with these arguments, and gives it ten seconds, so that one that hangs ends with 124.
fn limited(arguments: &[&str]) -> Command {
    let mut command = part::command("timeout");
    command.args(["--kill-after=1", "10"]).arg(program()).args(arguments);
    command
}

/// The exit status, standard output and standard error.
fn outcome(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

// The log.

/// Linux's number, on the machines that we build for.
const O_NONBLOCK: i32 = 0o4000;

/// Which outputs go into the pipe.
#[derive(Clone, Copy, Debug)]
enum Outputs {
    /// Standard error, where the log is.
    Error,
    /// Both, as under systemd, or with `2>&1 |`.
    Both,
}

/// A server whose log goes into a pipe that the test holds.
struct Piped {
    process: Process,
    address: String,
    config: PathBuf,
    pair: Pair,
    pipe: PathBuf,
    log: BufReader<File>,
}

impl Piped {
    fn start(outputs: Outputs) -> Self {
        let directory = scratch::directory("piped");
        let pair = pair();
        let config = scratch::write(&directory, "auth_config.yml", &self::config(&pair, "first"));
        let pipe = directory.join("pipe");
        pipe_at(&pipe);
        let mut command = Command::new(part::path("sh"));
        command.arg("-c").arg(match outputs {
            Outputs::Error => r#"exec 2>"$0"; exec "$@""#,
            Outputs::Both => r#"exec >"$0" 2>&1; exec "$@""#,
        });
        command.arg(&pipe).arg(program()).arg("serve").arg(&config);
        let process = Process::start("dockwarden", &command);
        let mut log = BufReader::new(File::open(&pipe).unwrap());
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "the log ended before the address");
            if let Some(event) = events(&line, "listening").first() {
                break event["address"].as_str().unwrap().to_owned();
            }
        };
        Self { process, address, config, pair, pipe, log }
    }

    /// Everything that a server does for others, in spite of the log, and its end.
    #[track_caller]
    fn works_and_stops(&self) {
        healthy(&self.address);
        assert!(pulls(&self.address, "first"));
        fs::write(&self.config, config(&self.pair, "second")).unwrap();
        self.process.until("the changed config", |_| pulls(&self.address, "second").then_some(()));
        assert!(!pulls(&self.address, "first"));
        stops(&self.process);
    }
}

#[test]
fn a_log_whose_reader_has_gone_stops_nothing() {
    for outputs in [Outputs::Error, Outputs::Both] {
        let mut server = Piped::start(outputs);
        // Nobody reads the pipe any more: every write to it fails.
        server.log = BufReader::new(File::open("/dev/null").unwrap());
        server.works_and_stops();
    }
}

#[test]
fn a_log_whose_reader_has_stalled_stops_nothing_and_its_lost_lines_are_counted() {
    for outputs in [Outputs::Error, Outputs::Both] {
        let server = Piped::start(outputs);
        let many = scopes((0..200).map(|number| format!("r{number}")));
        let mut connection = Connection::open(&server.address).unwrap();
        // Each scope is a line. The pipe fills, then the queue before it, and then lines are lost.
        until("lost lines", || {
            assert_eq!(connection.send(&many).unwrap().status, 200);
            (figure(&server.address, "dockwarden_log_lines_dropped_total") > 0).then_some(())
        });
        // Not even a short message fits any more.
        let mut pipe = File::options().write(true).custom_flags(O_NONBLOCK).open(&server.pipe).unwrap();
        while pipe.write_all(b"\n").is_ok() {}
        server.works_and_stops();
    }
}

#[test]
fn an_empty_rust_log_leaves_the_decisions_in_the_log() {
    let directory = scratch::directory("config");
    let mut serve = Command::new(program());
    serve.arg(scratch::write(&directory, "auth_config.yml", &config(&pair(), "first"))).env("RUST_LOG", "");
    let process = Process::start("dockwarden", &serve);
    let address = announced(&process, "listening");
    assert!(pulls(&address, "first"));
    let decided = process.until("the decision", |process| events(&process.log(), "decided").first().cloned());
    assert_eq!(decided["scope"], "repository:first:pull", "{decided}");
}

// Files.

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
        fs::rename(file, &kept).unwrap();
        pipe_at(file);
        until_failed(process, number + 1);
        assert!(process.log().contains("is not a regular file"), "{}", process.tail());
        assert!(pulls(&server.address, "first"));
        fs::rename(&kept, file).unwrap();
        process.until("the good file", |process| (reloads(process) > number).then_some(()));
        assert!(pulls(&server.address, "first"));
    }
    fs::remove_file(&pair.key).unwrap();
    pipe_at(&pair.key);
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
    let secure = config(&pair, "first").replace(
        "token:\n",
        &format!(
            "  certificate: \"{}\"\n  key: \"{}\"\ntoken:\n",
            chain.leaf.certificate.display(),
            chain.leaf.key.display()
        ),
    );
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

// The command line.

#[test]
fn an_answer_that_nobody_reads_on_or_can_be_written_nowhere() {
    let pair = pair();
    let file = scratch::write(&scratch::directory("config"), "auth_config.yml", &config(&pair, "first"));
    let file = file.to_str().unwrap();
    let password = scratch::write(&scratch::directory("password"), "password", "a password\n");
    let limited = |arguments: &[&str]| {
        let mut command = limited(arguments);
        command.stdin(File::open(&password).unwrap());
        command
    };
    for (arguments, usual) in [
        (&["check", file][..], 0),
        (&["explain", file, "repository:first:pull"], 0),
        (&["explain", file, "--json", "repository:first:pull"], 0),
        (&["explain", file, "repository:first:push"], 3),
        (&["hash-password", "--cost", "4"], 0),
        (&["completions", "bash"], 0),
    ] {
        let (status, answer, said) = outcome(&mut limited(arguments));
        assert_eq!(status, Some(usual), "{arguments:?}: {said}");
        assert!(!answer.is_empty(), "{arguments:?}");

        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let (status, _, said) = outcome(limited(arguments).stdout(writer));
        assert_eq!(status, Some(usual), "{arguments:?}, unread: {said}");
        assert_eq!(said, "", "{arguments:?}, unread");

        let full = File::options().write(true).open("/dev/full").unwrap();
        let (status, _, said) = outcome(limited(arguments).stdout(full));
        assert_eq!(status, Some(1), "{arguments:?}, nowhere: {said}");
        assert!(said.starts_with("dockwarden: the answer cannot be written: "), "{arguments:?}, nowhere: {said}");
        assert!(!said.contains("panicked"), "{arguments:?}, nowhere: {said}");

        // Where not even the message can be written, the status still tells.
        let [out, err] = [(); 2].map(|()| Stdio::from(File::options().write(true).open("/dev/full").unwrap()));
        let (status, ..) = outcome(limited(arguments).stdout(out).stderr(err));
        assert_eq!(status, Some(1), "{arguments:?}, no message either");
    }
}

// Sockets.

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

// Connections.

/// Whether a process has this end of a connection open, by the kernel's table: a client that does not read does not
/// see the connection close. A socket that no process holds any more has no inode there.
fn held(table: &str, server: u16, client: u16) -> bool {
    let port = |field: &str| u16::from_str_radix(field.rsplit(':').next().unwrap_or_default(), 16).ok();
    table.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        port(fields[1]) == Some(server) && port(fields[2]) == Some(client) && fields[9] != "0"
    })
}

fn port_of(address: &str) -> u16 {
    address.rsplit(':').next().unwrap().parse().unwrap()
}

/// Asks again and again for something long, and never reads a reply.
struct Glutton {
    stream: TcpStream,
    wire: Vec<u8>,
    written: usize,
}

impl Glutton {
    fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nonblocking(true).unwrap();
        let wire = http::request("GET", "/metrics", "localhost", &[], b"").repeat(1000);
        Self { stream, wire, written: 0 }
    }

    /// Writes what goes in.
    fn ask(&mut self) {
        if let Ok(count) = self.stream.write(&self.wire[self.written..]) {
            self.written = (self.written + count) % self.wire.len();
        }
    }

    /// Whether a reply has come.
    fn was_answered(&self) -> bool {
        let mut start = [0; 12];
        self.stream.peek(&mut start).is_ok() && &start == b"HTTP/1.1 200"
    }
}

#[test]
fn connections_that_only_hold_their_place_are_closed() {
    let server = Dockwarden::start(&config(&pair(), "first"));
    let address = &server.address;
    let target = format!("/auth?service={}", http::form_encode(SERVICE));
    let silent = TcpStream::connect(address).unwrap();
    let mut half_greeting = TcpStream::connect(address).unwrap();
    half_greeting.write_all(&http2::PREFACE[..9]).unwrap();
    let mut half_header = TcpStream::connect(address).unwrap();
    half_header.write_all(b"GET /auth HTTP/1.1\r\nHost: localhost\r\n").unwrap();
    let mut pinging = http2::Connection::open(address, 65_535);
    let mut asked_once = http2::Connection::open(address, 65_535);
    asked_once.get(0, &target);
    let mut no_window = http2::Connection::open(address, 0);
    for number in 0..10 {
        no_window.get(number, &target);
    }
    let mut glutton = Glutton::open(address);
    let all: Vec<(&str, u16)> = [
        ("sends nothing", &silent),
        ("sends half of HTTP/2's greeting", &half_greeting),
        ("sends half a header", &half_header),
        ("only pings", &pinging.stream),
        ("asks once and then only pings", &asked_once.stream),
        ("lets no reply's body through", &no_window.stream),
        ("reads no reply", &glutton.stream),
    ]
    .map(|(what, stream)| (what, stream.local_addr().unwrap().port()))
    .into();
    let still_held = || {
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        let open = all.iter().filter(|(_, client)| held(&table, port_of(address), *client));
        open.map(|(what, _)| *what).collect::<Vec<&str>>()
    };
    server.process.until("all connections", |_| (still_held().len() == all.len()).then_some(()));

    let began = Instant::now();
    let mut pinged = began;
    let mut honest = Connection::open(address).unwrap();
    let mut left = still_held();
    let mut fed = false;
    while !left.is_empty() && began.elapsed() < Duration::from_secs(75) {
        // Somebody who goes on asking keeps the connection, however old it is.
        let reply = honest.send(&question("first")).unwrap();
        assert!(reply.status == 200 && lets_pull(&reply.json()));
        glutton.ask();
        fed |= glutton.was_answered();
        let ping = pinged.elapsed() > Duration::from_secs(1);
        for connection in [&mut pinging, &mut asked_once, &mut no_window] {
            connection.attend();
            if ping {
                connection.ping();
                pinged = Instant::now();
            }
        }
        let now = still_held();
        if now != left {
            left = now;
            println!("{:?}: left {left:?}", began.elapsed());
        }
    }
    assert!(left.is_empty(), "still open after {:?}: {left:?}", began.elapsed());
    // They were what they are meant to be, and not closed as broken.
    assert!(fed, "replies were there to be read");
    assert_eq!((pinging.replies, asked_once.replies, no_window.replies), (0, 1, 10));
    assert!(pinging.pongs > 5 && asked_once.pongs > 20 && no_window.pongs > 20);
}

#[test]
fn few_descriptors_leave_places_for_monitoring_and_for_honest_clients() {
    // The second limit may be raised by the process itself, which then has places for everybody.
    // Few enough that the others find room in the system's queue.
    for (limits, clients, places) in [("256:256", 150, 256 - 192), ("256:2048", 300, 300)] {
        let pair = pair();
        let text = config(&pair, "first").replace("token:\n", "  admin_addr: \"127.0.0.1:0\"\ntoken:\n");
        let file = scratch::write(&scratch::directory("config"), "auth_config.yml", &text);
        let mut serve = Command::new(part::path("prlimit"));
        serve.arg(format!("--nofile={limits}")).arg(program()).arg("serve").arg(&file);
        let process = Process::start("dockwarden", &serve);
        let address = announced(&process, "listening");
        let admin = announced(&process, "listening for health and metrics");
        let idle: Vec<TcpStream> = (0..clients).map(|_| TcpStream::connect(&address).unwrap()).collect();
        let held_now = || {
            let table = fs::read_to_string("/proc/net/tcp").unwrap();
            let clients = idle.iter().map(|stream| stream.local_addr().unwrap().port());
            clients.filter(|client| held(&table, port_of(&address), *client)).count()
        };
        process.until("the crowd", |_| (held_now() == places).then_some(()));
        healthy(&admin);
        if places == clients {
            assert!(pulls(&address, "first"));
        }
        fs::write(&file, text.replace("name: first", "name: second")).unwrap();
        process.until("a reload in the crowd", |process| (reloads(process) == 1).then_some(()));
        healthy(&admin);
        drop(idle);
        assert!(pulls(&address, "second"));
        assert_eq!(reasons(&process, "accept_failed"), 0, "{}", process.tail());
        assert_eq!(reasons(&process, "few_descriptors"), 1, "{}", process.tail());
        stops(&process);
    }
}
