//! `health`: a server is asked over whatever it listens on, by somebody who has neither its keys nor its passwords. And what a
//! server says that cannot listen.

use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::{Run, command, finish, run};
use crate::bed::Folder;
use crate::port;

/// What a health check gives a program.
const GIVEN: Duration = Duration::from_secs(5);

/// A server, until the test ends.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Serving {
    fn start(file: &str, environment: &[(&str, String)]) -> Serving {
        let mut serve = command(["serve", file]);
        serve.envs(environment.iter().map(|(name, value)| (name, value)));
        Serving(serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Whether it is healthy, or nothing if it has ended.
    fn becomes_healthy(&mut self, file: &str, environment: &[(&str, String)]) -> Option<()> {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            if health(file, environment).code == 0 {
                return Some(());
            }
            if self.0.try_wait().unwrap().is_some() {
                return None;
            }
            assert!(Instant::now() < until, "it is never healthy: {}", health(file, environment).err);
        }
    }
}

fn health(file: &str, environment: &[(&str, String)]) -> Run {
    let mut health = command(["health", file]);
    health.envs(environment.iter().map(|(name, value)| (name, value)));
    let began = Instant::now();
    let run = finish(health, "");
    assert!(began.elapsed() < GIVEN, "{:?}", began.elapsed());
    run
}

#[test]
fn a_server_is_asked_over_whatever_it_listens_on() {
    let tls = "certificate: $DIR/token.crt, key: $DIR/token.key";
    for server in [
        "addr: \"127.0.0.1:$ONE\"".to_owned(),
        "addr: \":$ONE\", path_prefix: /registry".to_owned(),
        "addr: \"[::]:$ONE\"".to_owned(),
        "addr: \"localhost:$ONE\"".to_owned(),
        format!("addr: \"127.0.0.1:$ONE\", {tls}"),
        format!("addr: \"127.0.0.1:$ONE\", {tls}, tls_min_version: TLS13, tls_curve_preferences: [P384]"),
        "addr: $DIR/auth.sock, net: unix".to_owned(),
        format!("addr: \"unix:$DIR/auth.sock\", {tls}"),
        format!("addr: \"127.0.0.1:$ONE\", admin_addr: \"127.0.0.1:$TWO\", {tls}"),
        "addr: $DIR/auth.sock, net: unix, admin_addr: \"unix:$DIR/admin.sock\"".to_owned(),
        // Where the address comes from the environment, it is the same for both.
        "addr: nowhere".to_owned(),
    ] {
        port::with_free(|[one, two]| {
            let folder = Folder::new();
            let text = format!("server: {{{server}}}\n").replace("$ONE", &one.to_string());
            let path = folder.configure(&text.replace("$TWO", &two.to_string()));
            let file = path.to_str().unwrap();
            let environment = match server.as_str() {
                "addr: nowhere" => vec![("DOCKWARDEN__SERVER__ADDR", format!("127.0.0.1:{one}"))],
                _ => Vec::new(),
            };
            let mut serving = Serving::start(file, &environment);
            serving.becomes_healthy(file, &environment)?;
            let well = health(file, &environment);
            assert_eq!((well.code, well.out.as_str(), well.err.as_str()), (0, "ready\n", ""), "{server}");

            // Neither the key is needed nor the rest of the file: a change that the server has not taken over is not its end.
            std::fs::remove_file(folder.path("token.key")).unwrap();
            let broken = std::fs::read_to_string(&path).unwrap().replace("\nacl:", "\naclx:");
            folder.put("config.yml", &format!("{broken}mongo_auth: {{password_file: /nowhere}}\n"));
            assert_eq!(health(file, &environment).code, 0, "{server}");

            drop(serving);
            let gone = health(file, &environment);
            assert_eq!((gone.code, gone.out.as_str()), (1, ""), "{server}");
            assert!(gone.err.starts_with("not ready: "), "{server}: {}", gone.err);
            Some(())
        });
    }
}

#[test]
fn what_is_not_ready_or_says_nothing_is_not_healthy() {
    // Rules that nobody has.
    let dial = "dial_info: {addrs: [\"127.0.0.1:1\"], database: d}";
    port::with_free(|[port]| {
        let folder = Folder::new();
        let text = format!("server: {{addr: \"127.0.0.1:{port}\"}}\nacl_mongo: {{{dial}, collection: acl}}\n");
        let path = folder.configure(&text);
        let file = path.to_str().unwrap();
        let mut serving = Serving::start(file, &[]);
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let said = health(file, &[]);
            assert_eq!(said.code, 1, "{}", said.out);
            if said.err.contains("status 503: ") && said.err.contains("acl_mongo has no rules yet") {
                return Some(());
            }
            if serving.0.try_wait().unwrap().is_some() {
                return None;
            }
            assert!(Instant::now() < until, "{}", said.err);
        }
    });
    // Somebody who takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let folder = Folder::new();
    let tls = ", certificate: $DIR/token.crt, key: $DIR/token.key";
    for (server, expected) in [
        (format!("server: {{addr: \"{address}\"}}\n"), "no answer within 4 s"),
        (format!("server: {{addr: \"{address}\"{tls}}}\n"), "no answer within 4 s"),
        ("server: {addr: \"127.0.0.1:0\"}\n".to_owned(), "the system chose the port"),
        ("server: {addr: \"unix:$DIR/none.sock\"}\n".to_owned(), "none.sock: "),
        ("server: {net: tcp}\n".to_owned(), "server.addr: an address to listen on is needed"),
    ] {
        let path = folder.configure(&server);
        let said = health(path.to_str().unwrap(), &[]);
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{server}");
        assert!(said.err.contains(expected), "{server}: {}", said.err);
    }
    let said = health("/nowhere/config.yml", &[]);
    assert!(said.code == 1 && said.err.contains("/nowhere/config.yml"), "{}", said.err);
}

#[test]
fn a_port_that_is_taken_is_said_to_be() {
    let held = port::hold();
    let folder = Folder::new();
    for host in ["127.0.0.1", ""] {
        let port = held.local_addr().unwrap().port();
        let path = folder.configure(&format!("server: {{addr: \"{host}:{port}\"}}\n"));
        let said = run(["serve", path.to_str().unwrap()]);
        assert_eq!(said.code, 1, "{}", said.err);
        assert!(
            said.err.contains("another process listens there already; stop it, or choose another port"),
            "{}",
            said.err
        );
    }
}
