//! Each kind of listener as operators configure it, and how a connection ends that takes too long, too much, or two
//! meanings.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::dockwarden::{self, Dockwarden, SERVICE, password, program};
use crate::support::keys::{self, Kind, Pair};
use crate::support::part::{self, Said};
use crate::support::process::{Process, Signal};
use crate::support::{http, machine, scratch, visit};

const POLICY: &str = "acl: [{match: {account: waldi}, actions: [\"*\"]}]\n";

/// A config file with these settings in its `server` section, which has `addr: "127.0.0.1:0"` where they name none.
fn config(settings: &str) -> PathBuf {
    let pair = keys::as_in_the_guide(Kind::P256);
    let mut text = dockwarden::config(&pair, "", &(dockwarden::users(&[("waldi", "{}")]) + POLICY));
    if settings.contains("addr: ") && !settings.contains("admin_addr: ") {
        text = text.replace("  addr: \"127.0.0.1:0\"\n", "");
    }
    let text = text.replace("server:\n", &format!("server:\n{settings}"));
    scratch::write(&scratch::directory("config"), "auth_config.yml", &text)
}

/// The path with its query that waldi asks for a token at.
fn question(path: &str) -> String {
    format!("{path}?service={}&scope=repository:test:pull", http::form_encode(SERVICE))
}

/// curl, which prints the reply's header lines and body; as waldi.
fn curl(arguments: &[&str], url: &str) -> Said {
    let mut curl = part::client("curl");
    curl.args(["--silent", "--show-error", "--include", "--user", &format!("waldi:{}", password("waldi"))]);
    part::run(curl.args(arguments).arg(url))
}

/// The token in a reply that curl printed, which has to start with this line.
#[track_caller]
fn granted(said: Said, first: &str) -> Said {
    let said = said.well();
    assert!(said.stdout.starts_with(first), "{first}: {}", said.text);
    let (_, body) = said.stdout.split_once("\r\n\r\n").unwrap();
    let reply: serde_json::Value = serde_json::from_str(body).unwrap();
    let claims = visit::claims(reply["token"].as_str().unwrap());
    assert_eq!(claims["access"][0]["actions"][0], "pull", "{claims}");
    said
}

/// The status of a GET that curl makes.
#[track_caller]
fn status(arguments: &[&str], url: &str) -> String {
    let said = curl(arguments, url).well();
    said.stdout.split(' ').nth(1).unwrap_or_else(|| panic!("{}", said.text)).to_owned()
}

/// The settings for TLS with this pair.
fn tls_files(pair: &Pair) -> String {
    format!("  certificate: \"{}\"\n  key: \"{}\"\n", pair.certificate.display(), pair.key.display())
}

const HSTS: &str = "strict-transport-security: max-age=31536000\r\n";

#[test]
fn tls_of_its_own_speaks_both_http_versions_and_no_older_tls_than_configured() {
    let tls = keys::for_localhost();
    let authority = tls.authority.to_str().unwrap();
    let trusting = |more: &[&'static str], url: &str| curl(&[&["--cacert", authority], more].concat(), url);
    let files = tls_files(&tls.leaf);

    let (server, address) =
        dockwarden::listening(&config(&format!("{files}  hsts: true\n  admin_addr: \"127.0.0.1:0\"\n")));
    let url = format!("https://{address}{}", question("/auth"));
    for (versions, first) in [
        (&["--http1.1"][..], "HTTP/1.1 200 "),
        (&["--http2"], "HTTP/2 200 "),
        (&["--http1.1", "--tls-max", "1.2"], "HTTP/1.1 200 "),
        (&["--http2", "--tlsv1.3"], "HTTP/2 200 "),
    ] {
        let said = granted(trusting(versions, &url), first);
        assert!(said.stdout.contains(HSTS), "{}", said.text);
    }
    curl(&[], &url)
        .refused(&["unable to get local issuer certificate", "self-signed certificate in certificate chain"]);
    trusting(&["--tls-max", "1.1"], &url).refused(&["handshake failure", "protocol version", "no protocols available"]);
    // Without TLS nothing is answered there, and monitoring's own listener has none.
    curl(&[], &url.replace("https://", "http://")).refused(&["http/0.9", "empty reply", "reset"]);
    let admin = dockwarden::address(&server, "listening for health and metrics");
    assert_eq!(status(&[], &format!("http://{admin}/healthz")), "200");

    let (_server, address) = dockwarden::listening(&config(&format!("{files}  tls_min_version: TLS13\n")));
    let url = format!("https://{address}{}", question("/auth"));
    trusting(&["--tls-max", "1.2"], &url).refused(&["protocol version"]);
    let said = granted(trusting(&["--tlsv1.3"], &url), "HTTP/2 200 ");
    assert!(!said.stdout.contains("strict-transport-security"), "nobody asked for it: {}", said.text);
}

fn socket_config(socket: &Path) -> PathBuf {
    config(&format!("  addr: \"{}\"\n  net: unix\n", socket.display()))
}

/// What a server says that cannot start.
fn start_in_vain(config: &Path) -> Said {
    let mut serve = part::command("timeout");
    part::run(serve.args(["--kill-after=5", "60"]).arg(program()).arg("serve").arg(config))
}

#[track_caller]
fn stopped(server: &Process) {
    server.signal(Signal::Terminate);
    let status = server.end();
    assert!(status.success(), "{status}");
}

#[test]
fn a_unix_socket_takes_the_place_of_a_stale_one_and_of_nothing_else() {
    let directory = scratch::directory("socket");
    let socket = directory.join("auth.sock");
    let path = socket.to_str().unwrap();
    let url = format!("http://localhost{}", question("/auth"));
    // What a process that was killed leaves behind.
    drop(UnixListener::bind(&socket).unwrap());
    assert!(fs::symlink_metadata(&socket).unwrap().file_type().is_socket());

    let file = socket_config(&socket);
    let (server, address) = dockwarden::listening(&file);
    assert_eq!(address, format!("unix:{path}"));
    granted(curl(&["--unix-socket", path], &url), "HTTP/1.1 200 ");
    granted(curl(&["--unix-socket", path, "--http2-prior-knowledge"], &url), "HTTP/2 200 ");
    // A socket that somebody listens on is taken from nobody.
    start_in_vain(&file).refused(&["cannot listen on unix:"]);
    granted(curl(&["--unix-socket", path], &url), "HTTP/1.1 200 ");
    stopped(&server);
    assert!(!socket.exists(), "the socket is gone with its server");

    // Neither is a file that is not a socket, at the start or at the end.
    fs::write(&socket, "somebody's").unwrap();
    start_in_vain(&file).refused(&["cannot listen on unix:"]);
    assert_eq!(fs::read_to_string(&socket).unwrap(), "somebody's");
    fs::remove_file(&socket).unwrap();
    let (server, _) = dockwarden::listening(&file);
    fs::remove_file(&socket).unwrap();
    fs::write(&socket, "somebody's").unwrap();
    stopped(&server);
    assert_eq!(fs::read_to_string(&socket).unwrap(), "somebody's");
}

#[test]
fn health_and_metrics_are_on_their_own_address_only_and_tokens_on_the_other() {
    let (server, address) = dockwarden::listening(&config("  admin_addr: \"127.0.0.1:0\"\n"));
    let admin = dockwarden::address(&server, "listening for health and metrics");
    assert_ne!(address, admin);
    let inside = ["/healthz", "/readyz", "/metrics"];
    let outside = [question("/auth"), "/.well-known/jwks.json".to_owned()];
    for (paths, open, closed) in
        [(inside.map(str::to_owned).as_slice(), &admin, &address), (&outside, &address, &admin)]
    {
        for path in paths {
            assert_eq!(status(&[], &format!("http://{open}{path}")), "200", "{path}");
            assert_eq!(status(&[], &format!("http://{closed}{path}")), "404", "{path}");
        }
    }
    let metrics = curl(&[], &format!("http://{admin}/metrics")).well();
    assert!(metrics.stdout.contains("dockwarden_token_requests_total{outcome=\"granted\"} 1\n"), "{}", metrics.text);
}

#[test]
fn a_path_prefix_moves_the_token_endpoint() {
    let (_server, address) = dockwarden::listening(&config("  path_prefix: /registry/\n"));
    for path in ["/auth", "/auth/", "/auth/token", "/auth/token/", "/token"] {
        let prefixed = question(&format!("/registry{path}"));
        granted(curl(&[], &format!("http://{address}{prefixed}")), "HTTP/1.1 200 ");
        assert_eq!(status(&[], &format!("http://{address}{}", question(path))), "404", "{path}");
    }
    for path in ["/registry/.well-known/jwks.json", "/.well-known/jwks.json"] {
        assert_eq!(status(&[], &format!("http://{address}{path}")), "200", "{path}");
    }
}

/// How the server ends a connection.
#[derive(Clone, Copy, Debug)]
enum Ending {
    /// With a reply of this status, at once; what follows on the connection is another request.
    Status(u16),
    /// The same, and nothing that follows is read: the connection is closed.
    Last(u16),
    /// With a reply of this status, after so many seconds.
    StatusAfter(u16, u64),
    /// Without a reply, after so many seconds.
    ClosedAfter(u64),
}

use Ending::{ClosedAfter, Last, Status, StatusAfter};

/// What is sent.
struct Case {
    what: &'static str,
    bytes: Vec<u8>,
    /// What is added, a piece each second, for as long as the server listens.
    drip: &'static [u8],
    ending: Ending,
}

/// How much later than it should an ending may come, in seconds: other tests keep the machine busy.
const LATE: u64 = 4;
/// Pace of what drips.
const PACE: Duration = Duration::from_secs(1);
/// No case takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

impl Case {
    fn new(what: &'static str, bytes: impl Into<Vec<u8>>, ending: Ending) -> Self {
        Self { what, bytes: bytes.into(), drip: b"", ending }
    }

    /// Sends the bytes, reads until the server closes or has replied, and says in what the end differs from the
    /// expected one.
    fn difference(&self, address: &str) -> Option<String> {
        let started = Instant::now();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PACE)).unwrap();
        stream.write_all(&self.bytes).unwrap();
        let mut read = Vec::new();
        let mut piece = [0; 4096];
        let to_the_end = matches!(self.ending, Last(_));
        while to_the_end || read.len() < b"HTTP/1.1 400".len() {
            match stream.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => read.extend_from_slice(&piece[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if started.elapsed() > PATIENCE {
                        return Some(format!("{}: still open, {:?} was expected", self.what, self.ending));
                    }
                    // Where it is closed by now, the next read tells.
                    stream.write_all(self.drip).ok();
                }
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => panic!("{}: {error}", self.what),
            }
        }
        let took = started.elapsed();
        let text = String::from_utf8_lossy(&read).into_owned();
        let (expected, seconds) = match self.ending {
            Status(status) | Last(status) => (format!("HTTP/1.1 {status}"), 0),
            StatusAfter(status, seconds) => (format!("HTTP/1.1 {status}"), seconds),
            ClosedAfter(seconds) => (String::new(), seconds),
        };
        // A little less than the whole time, as the two clocks did not start at once.
        let in_time = took + Duration::from_millis(500) >= Duration::from_secs(seconds)
            && machine::elapsed(started) < Duration::from_secs(seconds + LATE);
        let same = match expected.as_str() {
            "" => text.is_empty(),
            start => text.starts_with(start) && text.matches("HTTP/1.1 ").count() == 1,
        };
        (!same || !in_time)
            .then(|| format!("{}: {:?} was expected; after {took:?}: {text:.100}", self.what, self.ending))
    }
}

/// A request with these header lines, and what comes after them.
fn raw(first: &str, lines: &[&str], rest: &str) -> Vec<u8> {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    format!("{first} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n{rest}").into_bytes()
}

/// Requests of two meanings: whoever stands in front of us may see them end elsewhere than we do, so that what follows is
/// taken for the request of another client (request smuggling). Each would get a token in one of its meanings, and each
/// is followed by a request that must not be answered.
fn smuggled(form: &str) -> Vec<Case> {
    let waldi =
        format!("grant_type=password&service=a&username=waldi&password={}", http::form_encode(&password("waldi")));
    let (size, chunks) = (waldi.len(), format!("{:x}\r\n{waldi}\r\n0\r\n\r\n", waldi.len()));
    let length = format!("Content-Length: {size}");
    let chunked_length = format!("Content-Length: {}", chunks.len());
    let chunked = "Transfer-Encoding: chunked";
    let next = raw("GET /healthz", &[], "");
    let ending_in = |ending, what, version: &str, lines: &[&str], body: &str| {
        let lines: String = [&[form], lines].concat().iter().map(|line| format!("{line}\r\n")).collect();
        let request = format!("POST /auth {version}\r\nHost: localhost\r\n{lines}\r\n{body}");
        Case::new(what, [request.as_bytes(), &next].concat(), ending)
    };
    let case = |what, version: &str, lines: &[&str], body: &str| ending_in(Last(400), what, version, lines, body);
    let new = "HTTP/1.1";
    vec![
        // RFC 9112, section 6.1, lets the chunks count, if the connection is closed after the reply.
        ending_in(Last(200), "a length and chunks", new, &[&chunked_length, chunked], &chunks),
        ending_in(Last(200), "chunks and a length", new, &[chunked, &chunked_length], &chunks),
        ending_in(Last(200), "a short length and chunks", new, &["Content-Length: 4", chunked], &chunks),
        case("two lengths", new, &[&length, &format!("Content-Length: {}", size - 1)], &waldi),
        case("a list of lengths", new, &[&format!("{length}, {}", size - 1)], &waldi),
        case("a length with a sign", new, &[&format!("Content-Length: +{size}")], &waldi),
        case("a length below zero", new, &["Content-Length: -1"], &waldi),
        case("a length in hexadecimal", new, &[&format!("Content-Length: 0x{size:x}")], &waldi),
        case("a length with a space before its colon", new, &[&format!("Content-Length : {size}")], &waldi),
        case("a length on a folded line", new, &["Content-Length:", &format!(" {size}")], &waldi),
        case("another coding", new, &["Transfer-Encoding: gzip", &length], &waldi),
        case("chunks that are not last", new, &["Transfer-Encoding: chunked, gzip"], &chunks),
        case("chunks that are misspelt", new, &["Transfer-Encoding: xchunked"], &chunks),
        case("chunks with a space before their colon", new, &["Transfer-Encoding : chunked"], &chunks),
        case("chunks in HTTP/1.0", "HTTP/1.0", &[chunked], &chunks),
        case("a chunk's length that is none", new, &[chunked], &format!("+{chunks}")),
        case("a chunk's length that overflows", new, &[chunked], &format!("10000000000000000{chunks}")),
    ]
}

#[test]
fn each_connection_that_asks_too_much_or_too_slowly_ends_in_its_own_way() {
    let server = Dockwarden::start_file(&config(""));
    let form = "Content-Type: application/x-www-form-urlencoded";
    let fill = |text: &str, length: usize| format!("{text}{}", "x".repeat(length - text.len()));
    let get = |lines: &[&str], rest: &str| raw("GET /auth?service=a", lines, rest);
    let post = |lines: &[&str], rest: &str| raw("POST /auth", &[&[form], lines].concat(), rest);
    let many: Vec<String> = (0..101).map(|number| format!("X-{number}: x")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let cases = [
        // Too slow
        Case::new("half of a form", post(&["Content-Length: 100"], "grant_type="), StatusAfter(408, 10)),
        Case {
            drip: b"x",
            ..Case::new("a form that drips", post(&["Content-Length: 100"], "grant_type="), StatusAfter(408, 10))
        },
        Case::new("half of a chunk", post(&["Transfer-Encoding: chunked"], "64\r\ngrant"), StatusAfter(408, 10)),
        Case::new("half of a header", "GET /auth?service=a HTTP/1.1\r\nHost: loc", ClosedAfter(14)),
        Case {
            drip: b"X: x\r\n",
            ..Case::new("a header that drips", "GET /auth?service=a HTTP/1.1\r\nHost: localhost\r\n", ClosedAfter(14))
        },
        Case::new("nothing at all", "", ClosedAfter(14)),
        Case::new("half of HTTP/2's greeting", "PRI * HTTP/2.0\r\n", ClosedAfter(14)),
        // Too much
        Case::new("a header of 64 KiB", fill("GET /auth HTTP/1.1\r\nX: ", 64 * 1024), Last(431)),
        Case::new("102 header lines", get(&many, ""), Last(431)),
        Case::new("a target of 33 KiB", raw(&fill("GET /auth?service=a&x=", 33 * 1024), &[], ""), Status(414)),
        Case::new("a form of 64 KiB and a byte", post(&["Content-Length: 65537"], &fill("", 65537)), Status(413)),
        Case::new("64 KiB of a longer form", post(&["Content-Length: 10000000"], &fill("", 65537)), Status(413)),
        Case::new(
            "64 KiB and a byte in a chunk",
            post(&["Transfer-Encoding: chunked"], &format!("10001\r\n{}\r\n0\r\n\r\n", fill("", 65537))),
            Status(413),
        ),
        Case::new("a header line without a colon", get(&["X"], ""), Last(400)),
        Case::new("a zero in a header", get(&["X: a\0b"], ""), Last(400)),
        Case::new("TLS", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n".to_vec(), Last(400)),
    ];
    let cases: Vec<Case> = cases.into_iter().chain(smuggled(form)).collect();
    let (_secure, secure_address) = dockwarden::listening(&config(&tls_files(&keys::for_localhost().leaf)));
    let handshakes = [
        Case::new("nothing where TLS is spoken", "", ClosedAfter(10)),
        Case::new("half of a TLS greeting", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03".to_vec(), ClosedAfter(10)),
    ];
    let there = cases.iter().map(|case| (case, &server.address));
    let differences: Vec<String> = thread::scope(|scope| {
        // All are under way before the first one is waited for.
        let all = there.chain(handshakes.iter().map(|case| (case, &secure_address)));
        let running: Vec<_> = all.map(|(case, address)| scope.spawn(move || case.difference(address))).collect();
        running.into_iter().filter_map(|ending| ending.join().unwrap()).collect()
    });
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    // All this is nothing to those who ask as they should.
    let reply = visit::ask_realm(&server.realm(), SERVICE, "waldi", &["repository:test:pull"]);
    assert_eq!(reply.status, 200, "{}", reply.text());
}
