//! What people run, as it is in this repository: the settings that `make run` prints, the image, `docker-compose.yml`.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use mongodb::bson::doc;

use crate::support::dockwarden::{self, Dockwarden, events};
use crate::support::front::{self, Front, Tls};
use crate::support::mongo::Database;
use crate::support::part::{self, Said};
use crate::support::person::Person;
use crate::support::process::{Process, until, until_within};
use crate::support::recipe::NOBODYS_HASH;
use crate::support::registry::{Edition, Registry};
use crate::support::{client, engine, http, port, scratch, shipped, visit};

/// The user and group that the image runs as.
const IMAGE_USER: u32 = 65532;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Puts what this machine has in the place of what the files of the repository name, which they must name.
fn with(text: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "there is no `{from}` in\n{text}");
        text.replace(from, to)
    })
}

#[test]
fn make_run_prints_what_a_stock_registry_needs() {
    let clone = scratch::directory("clone");
    fs::create_dir(clone.join("certs")).unwrap();
    let with_admin = with(&text("config.example.yml"), &[(NOBODYS_HASH, &dockwarden::hash("badmin"))]);
    scratch::write(&clone, "config.example.yml", &with_admin);
    scratch::write(&clone, "Makefile", &text("Makefile"));
    // What cargo would build is there.
    let bin = clone.join("bin");
    fs::create_dir(&bin).unwrap();
    fs::create_dir_all(clone.join("target/debug")).unwrap();
    symlink(dockwarden::program(), clone.join("target/debug/dockwarden")).unwrap();
    let cargo = "#!/bin/sh\n[ \"$*\" = 'build --locked --bins --examples --target-dir target' ] || exit 64\n";
    fs::set_permissions(scratch::write(&bin, "cargo", cargo), PermissionsExt::from_mode(0o755)).unwrap();
    let make = |arguments: &[&str]| {
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        part::run(part::command("make").current_dir(&clone).args(arguments).env("PATH", path)).well()
    };

    // The first run shows a password, and keeps its hash for its owner's eyes.
    let said = make(&["certs/test.hash"]);
    let (_, password) = said.text.split_once("Password, shown this once: ").unwrap();
    let password = password.lines().next().unwrap();
    let kept = clone.join("certs/test.hash");
    assert_eq!(fs::metadata(&kept).unwrap().mode() & 0o777, 0o600);
    assert!(!said.stdout.contains(password) && !fs::read_to_string(&kept).unwrap().contains(password));
    // Any other run does not.
    let recipe = make(&["--dry-run", "run"]).stdout;
    let (build, serve) = recipe.trim().split_once('\n').unwrap();
    assert_eq!(build, "cargo build --locked --bins --examples --target-dir target");
    let arguments = serve.strip_prefix("target/debug/dockwarden ").unwrap();
    let (server, port) = port::with_free(|[port]| {
        let mut run = Command::new(dockwarden::program());
        run.args(arguments.split(' ')).current_dir(&clone).env_clear();
        run.env("DOCKWARDEN__SERVER__ADDR", format!("127.0.0.1:{port}"));
        let server = Process::start("make run", &run);
        let up = server.up_or_ended("the line that tells its address", |server| {
            (!events(&server.log(), "listening").is_empty()).then_some(())
        });
        assert!(up.is_some() || server.log().contains("in use"), "{}", server.tail());
        up.map(|()| (server, port))
    });

    let log = server.log();
    let (before, _) = log.split_once("\"listening\"").unwrap();
    let certificate = clone.join("certs/token.crt");
    assert!(before.contains(&format!("http://localhost:{port}/auth")), "{before}");
    let settings: Vec<(String, String)> = before
        .lines()
        .filter(|line| line.starts_with("REGISTRY_"))
        .map(|line| line.split_once('=').unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let names: Vec<&str> = settings.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "REGISTRY_AUTH",
            "REGISTRY_AUTH_TOKEN_REALM",
            "REGISTRY_AUTH_TOKEN_SERVICE",
            "REGISTRY_AUTH_TOKEN_ISSUER",
            "REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE"
        ]
    );
    assert_eq!(Path::new(&settings[4].1), certificate);

    for edition in Edition::ALL {
        let started = Registry::start_in(edition, &settings);
        let registry = started.host();
        let local = format!("settings-{edition:?}").to_lowercase();
        let stranger = Person::new(&registry);
        stranger.build(&local);
        stranger.login("admin", "not the password").refused(&["unauthorized", "401"]);
        let admin = Person::logged_in(&registry, "admin", "badmin");
        admin.push(&local, "public/hello").well();
        admin.push(&local, "private/hello").well();
        stranger.login("test", "123").refused(&["unauthorized", "401"]);
        let test = Person::logged_in(&registry, "test", password);
        test.push(&local, "web/hello").well();
        test.push(&local, "other/hello").refused(&["denied"]);
        stranger.pull("public/hello").well();
        stranger.pull("private/hello").refused(&["denied", "unauthorized"]);
    }
}

/// The image, from the shipping stage of the Dockerfile as it stands. Its build stage is a base image with Rust, which
/// may not be there, and `make static`, in whose place there is the static program of this run.
fn image() -> &'static str {
    const NAME: &str = "dockwarden-as-shipped";
    let dockerfile = text("Dockerfile");
    let (build, ship) = dockerfile.rsplit_once("\nFROM ").unwrap();
    let made = "mkdir -p /image/config /image/certs /image/keys /image/licenses && ";
    assert!(build.contains(&format!("\nRUN make static notices && {made}")), "{build}");
    let ship = with(ship, &[("COPY --from=build ", "COPY ")]);
    assert!(ship.starts_with("scratch\n"), "{ship}");
    let context = scratch::directory("image");
    for place in ["config", "certs", "keys", "licenses"] {
        fs::create_dir_all(context.join("image").join(place)).unwrap();
    }
    fs::copy(shipped::static_program(), context.join("image/dockwarden")).unwrap();
    scratch::write(&context, "Dockerfile", &format!("FROM {ship}"));
    part::run(engine::shared().docker(&client::home()).args(["build", "--tag", NAME]).arg(&context)).well();
    NAME
}

/// A container that is gone when the test is.
struct Container {
    name: &'static str,
    home: PathBuf,
}

impl Container {
    /// Starts the image with as little as can be had: nothing to write to but the two volumes, no capability, no way
    /// to more rights. It has the host's network, since the test bed's engine has none of its own.
    fn start(name: &'static str, image: &str, config: &Path, arguments: &[&str]) -> Self {
        let container = Self { name, home: client::home() };
        let config = format!("{}:/config:ro", config.display());
        let mut run = vec!["run", "--detach", "--name", name, "--network", "host", "--volume", &config];
        run.extend(["--volume", "shipped-certs:/certs", "--volume", "shipped-keys:/keys"]);
        run.extend(["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", image]);
        run.extend(arguments);
        container.docker(&run).well();
        container
    }

    fn docker(&self, arguments: &[&str]) -> Said {
        part::run(engine::shared().docker(&self.home).args(arguments))
    }

    fn address(&self) -> String {
        until("the container to listen", || {
            let log = self.log();
            let ended = self.inspect("{{.State.Status}}") == "exited";
            assert!(!ended, "{log}");
            Some(events(&log, "listening").first()?.get("address")?.as_str()?.to_owned())
        })
    }

    fn log(&self) -> String {
        self.docker(&["logs", self.name]).text
    }

    fn inspect(&self, what: &str) -> String {
        self.docker(&["inspect", "--format", what, self.name]).well().stdout.trim().to_owned()
    }

    /// Stops it as `docker stop` does, and gives the exit code.
    fn stop(&self) -> String {
        self.docker(&["stop", self.name]).well();
        self.inspect("{{.State.ExitCode}}")
    }

    fn volume(&self, name: &str) -> PathBuf {
        self.docker(&["volume", "inspect", "--format", "{{.Mountpoint}}", name]).well().stdout.trim().into()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.docker(&["rm", "--force", self.name]);
    }
}

fn asks_for_a_token(address: &str) {
    let authorization = visit::basic("waldi", "123");
    let target = "/auth?service=Docker%20registry&scope=repository:test:push";
    let request = http::request("GET", target, "localhost", &[("Authorization", &authorization)], b"");
    let reply = http::exchange(address, &request);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let claims = visit::claims(reply.json()["token"].as_str().unwrap());
    assert_eq!(claims["access"][0]["actions"][0], "push", "{claims}");
}

#[test]
fn the_image_runs_without_root_capabilities_or_a_place_to_write() {
    let image = image();
    let config = scratch::directory("config");
    // A name, so that looking names up is seen to work in a static program too.
    let changes = [("addr: \":5001\"", "addr: \"localhost:0\""), (NOBODYS_HASH, &dockwarden::hash("123"))];
    let settings = with(&text("deploy/config/auth_config.yml"), &changes);
    scratch::write(&config, "auth_config.yml", &settings);

    let first = Container::start("shipped-first", image, &config, &[]);
    asks_for_a_token(&first.address());
    let status = fs::read_to_string(format!("/proc/{}/status", first.inspect("{{.State.Pid}}"))).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} {status}"));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let user = vec![IMAGE_USER.to_string(); 4].join(" ");
    assert_eq!((field("Uid:"), field("Gid:")), (user.clone(), user));
    assert_eq!((field("CapEff:"), field("CapBnd:")), ("0".repeat(16), "0".repeat(16)));
    assert_eq!(field("NoNewPrivs:"), "1");

    // The key is its owner's alone, and the volume that the registry sees holds nothing but the certificate.
    let key = fs::metadata(first.volume("shipped-keys").join("token.key")).unwrap();
    assert_eq!((key.uid(), key.mode() & 0o777), (IMAGE_USER, 0o600));
    let shared: Vec<_> = fs::read_dir(first.volume("shipped-certs")).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert_eq!(shared, ["token.crt"]);
    let certificate = first.volume("shipped-certs").join("token.crt");
    assert_eq!(fs::metadata(&certificate).unwrap().mode() & 0o444, 0o444, "the registry has to read it");
    let made = fs::read(&certificate).unwrap();
    assert_eq!(first.stop(), "0", "{}", first.log());

    // docker_auth's command line, and the pair that is there by now.
    let arguments = ["--v=2", "--alsologtostderr", "/config/auth_config.yml"];
    let second = Container::start("shipped-second", image, &config, &arguments);
    asks_for_a_token(&second.address());
    assert_eq!(fs::read(&certificate).unwrap(), made);
    assert_eq!(second.stop(), "0", "{}", second.log());
}

fn compose(registry_host: &str, arguments: &[&str]) -> String {
    let mut compose = part::client("docker-compose");
    compose.current_dir(repository()).env("REGISTRY_HOST", registry_host).env("ADMIN_PASSWORD_HASH", NOBODYS_HASH);
    part::run(compose.args(["--file", "docker-compose.yml"]).args(arguments)).well().stdout
}

/// The file that is added to have users and rules in MongoDB.
const WITH_MONGODB: [&str; 3] = ["--file", "docker-compose.mongodb.yml", "config"];

/// The services that `up` starts.
fn started(config: &str) -> Vec<&str> {
    let (_, services) = config.split_once("\nservices:\n").unwrap();
    let mut started = Vec::new();
    // What stands at the left of a section's name, and of the keys below it.
    for line in services.lines().take_while(|line| line.starts_with("  ")) {
        match line.strip_prefix("  ").unwrap().strip_suffix(':') {
            Some(name) if !name.starts_with([' ', '-']) => started.push(name),
            Some("  profiles") => drop(started.pop()),
            _ => {}
        }
    }
    started
}

#[test]
fn docker_compose_starts_its_services_and_opens_two_ports() {
    for (arguments, services) in [
        (&["config"][..], &["dockwarden", "nginx", "registry"][..]),
        (&WITH_MONGODB, &["dockwarden", "mongo", "nginx", "registry"]),
    ] {
        let config = compose("registry.example.com", arguments);
        assert_eq!(started(&config), services, "{config}");
        let ports: Vec<&str> = config.lines().filter_map(|line| line.trim().strip_prefix("- published: ")).collect();
        assert_eq!(ports, ["80", "443"], "{config}");
        let realm = "REGISTRY_AUTH_TOKEN_REALM: https://registry.example.com/auth\n";
        assert!(config.contains(realm), "{config}");
        let others = config.replace("DOCKWARDEN__USERS__ADMIN__PASSWORD:", "");
        assert!(!others.contains("DOCKWARDEN__") || config.contains("\n    profiles:\n    - admin\n"), "{config}");
    }
}

#[test]
fn nginx_accepts_its_configuration() {
    let tls = Tls::new();
    let site = front::site(&[("/etc/nginx/tls", tls.directory.to_str().unwrap())]);
    let said = part::run(front::nginx(&site).arg("-t")).well();
    assert!(!said.text.contains("[warn]"), "{}", said.text);
}

/// What docker-compose.yml starts, as programs of this machine: the same files, with other addresses and places.
#[test]
fn the_parts_of_docker_compose_work_together() {
    let volumes = scratch::directory("volumes");
    let volumes = volumes.to_str().unwrap();
    let (certs, keys) = (format!("{volumes}/token.crt"), format!("{volumes}/token.key"));
    let settings = with(
        &text("deploy/config/auth_config.yml"),
        &[
            ("addr: \":5001\"", "addr: \"127.0.0.1:0\""),
            ("trusted_proxies: [172.30.53.2]", "trusted_proxies: [127.0.0.1]"),
            ("/certs/token.crt", &certs),
            ("/keys/token.key", &keys),
            (NOBODYS_HASH, &dockwarden::hash("123")),
        ],
    );
    assert!(
        compose("localhost", &["config"]).contains("ipv4_address: 172.30.53.2\n"),
        "nginx is whom Dockwarden trusts"
    );
    let server = Dockwarden::start(&settings);

    for edition in Edition::ALL {
        let front = Front::before(&server, |host| {
            let config = compose(host, &["config"]);
            let environment: Vec<(String, String)> = config
                .lines()
                .filter_map(|line| line.trim().split_once(": "))
                .filter(|(name, _)| name.starts_with("REGISTRY_"))
                .map(|(name, value)| (name.to_owned(), value.trim_matches('\'').replace("/certs/token.crt", &certs)))
                .collect();
            assert!(environment.iter().any(|(_, value)| *value == certs), "{config}");
            Registry::start_in(edition, &environment)
        });

        let registry = &front.host;
        let local = format!("composed-{edition:?}").to_lowercase();
        let waldi = Person::logged_in(registry, "waldi", "123");
        waldi.build(&local);
        waldi.push(&local, "test").well();
        waldi.push(&local, "test-socke").refused(&["denied"]);
        waldi.pull("test").well();

        let curl = |url: &str| {
            let mut curl = part::client("curl");
            curl.args([
                "--silent",
                "--show-error",
                "--output",
                "/dev/null",
                "--write-out",
                "%{http_code} %{redirect_url}",
            ]);
            curl.args(["--user", "waldi:123", "--interface", "127.0.0.9", "--header", "X-Forwarded-For: 10.9.8.7"]);
            part::run(curl.arg("--cacert").arg(&front.authority).arg(url)).well().stdout
        };
        let name = format!("seen-from-afar-{local}");
        let asked = format!("auth?service=Docker%20registry&scope=repository:{name}:pull");
        assert_eq!(curl(&format!("https://{registry}/{asked}")), "200 ");
        let decision = server.process.until("the decision", |process| {
            process.log().lines().find(|line| line.contains(&name)).map(str::to_owned)
        });
        assert!(decision.contains("127.0.0.9") && !decision.contains("10.9.8.7"), "{decision}");
        for inside in ["metrics", "healthz", "readyz", ""] {
            assert_eq!(curl(&format!("https://{registry}/{inside}")), "404 ", "/{inside}");
        }
        let moved = curl(&format!("http://{}/v2/", front.plain));
        assert_eq!(moved, "301 https://localhost/v2/", "{}", front.process.tail());
    }
}

/// What docker-compose.mongodb.yml adds. In the place of `mongo`, which cannot be had here, is a server that speaks its
/// protocol and knows no roles; its users are those that `users.js` names.
#[test]
fn the_parts_of_docker_compose_with_mongodb_work_together() {
    let database = Database::start();
    let secrets = scratch::directory("secrets");
    let script = text("deploy/mongo/users.js");
    assert!(script.contains("db.getSiblingDB(\"registry\")"), "{script}");
    let mut users = Vec::new();
    for line in script.lines().filter_map(|line| line.strip_prefix("registry.createUser({ user: \"")) {
        let (user, rest) = line.split_once('"').unwrap();
        let secret = rest.split_once("password(\"").unwrap().1.split('"').next().unwrap();
        scratch::write(&secrets, secret, &format!("of {user}\n"));
        users.push((user.to_owned(), secret.to_owned()));
    }
    assert_eq!(users.len(), 2);
    for (user, _) in &users {
        let create =
            doc! { "createUser": user, "pwd": format!("of {user}"), "roles": [], "mechanisms": ["SCRAM-SHA-1"] };
        database.with(|client| async move { client.database("registry").run_command(create).await.map(|_| ()) });
    }

    let volumes = scratch::directory("volumes");
    let volumes = volumes.to_str().unwrap();
    let (certs, keys) = (format!("{volumes}/token.crt"), format!("{volumes}/token.key"));
    let secrets = secrets.to_str().unwrap();
    let changes = [
        ("addr: \":5001\"", "addr: \"127.0.0.1:0\""),
        ("trusted_proxies: [172.30.53.2]", "trusted_proxies: [127.0.0.1]"),
        ("/certs/token.crt", certs.as_str()),
        ("/keys/token.key", &keys),
        ("addrs: [mongo]", &format!("addrs: [\"{}\"]", database.address())),
        ("/run/secrets", secrets),
    ];
    let settings = with(&text("deploy/config/mongodb.yml"), &changes);
    let server = Dockwarden::start(&settings);

    let config = compose("localhost", &WITH_MONGODB);
    assert!(config.contains("    command:\n    - /config/mongodb.yml\n"), "{config}");
    let environment: Vec<(&str, String)> = config
        .lines()
        .filter_map(|line| line.trim().split_once(": "))
        .filter(|(name, _)| name.starts_with("DOCKWARDEN__") && *name != "DOCKWARDEN__USERS__ADMIN__PASSWORD")
        .map(|(name, value)| (name, value.replace("/run/secrets", secrets)))
        .collect();
    assert_eq!(environment.len(), 4, "{config}");
    let admin = |words: &str, more: &[&str], input: &str| {
        let mut command = part::command_at(dockwarden::program());
        command.args(words.split(' ')).arg(&server.config).args(more).envs(environment.clone());
        part::run_with(&mut command, input.as_bytes()).well()
    };
    admin("migrate", &[], "");
    admin("user add", &["waldi", "--label", "full-access=test,socke*"], "123");
    // The rules of the file that is used without MongoDB.
    admin("acl import", &[repository().join("deploy/config/auth_config.yml").to_str().unwrap()], "");
    until_within(Duration::from_secs(11), "the rules to be read", || {
        server.process.log().contains("\"rules\":3").then_some(())
    });

    let front = Front::before(&server, |host| {
        let environment: Vec<(String, String)> = compose(host, &WITH_MONGODB)
            .lines()
            .filter_map(|line| line.trim().split_once(": "))
            .filter(|(name, _)| name.starts_with("REGISTRY_"))
            .map(|(name, value)| (name.to_owned(), value.trim_matches('\'').replace("/certs/token.crt", &certs)))
            .collect();
        Registry::start_in(Edition::V3, &environment)
    });
    let waldi = Person::logged_in(&front.host, "waldi", "123");
    waldi.build("composed-mongodb");
    waldi.push("composed-mongodb", "test").well();
    waldi.push("composed-mongodb", "test-socke").refused(&["denied"]);
    admin("user label", &["waldi", "full-access+=test-socke"], "");
    waldi.push("composed-mongodb", "test-socke").well();
    admin("user disable", &["waldi"], "");
    Person::new(&front.host).login("waldi", "123").refused(&["unauthorized", "401"]);
}
