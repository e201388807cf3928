//! The compose files of this repository brought up as they are, with both of our images from the Dockerfile, and what people
//! ran docker_auth with, where only the image's name was changed.

mod opensvc;
mod quickstart;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::time::Duration;

use mongodb::Client;
use mongodb::bson::doc;
use mongodb::options::{ClientOptions, Credential, ServerAddress};

use crate::release;
use crate::support::person::Person;
use crate::support::process::{until, until_within};
use crate::support::project::{HOST, Project};
use crate::support::recipe::NOBODYS_HASH;
use crate::support::{dockwarden, keys, part, scratch, shipped};

/// How long a change of the config file, or of rules in MongoDB, may take to hold.
const CHANGE: Duration = Duration::from_secs(20);

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The commands of a page from the line that begins so to the line that ends them.
fn commands(page: &str, first: &str, last: &str) -> String {
    let page = text(page);
    let mut lines = page.lines().skip_while(|line| !line.starts_with(first));
    let mut taken = Vec::new();
    for line in lines.by_ref() {
        taken.push(line);
        if line.starts_with(last) {
            return taken.join("\n");
        }
    }
    panic!("no commands from `{first}` to `{last}`");
}

/// Runs the page's command that writes .env, and gives the password that it showed.
fn env_file(project: &Project) -> String {
    let write = commands("docs/start/compose.md", "cat >.env", "END");
    let said = part::run(project.command("sh").args(["-c", &write])).well();
    let (_, password) = said.text.split_once("Password, shown this once: ").unwrap();
    assert!(!fs::read_to_string(project.directory.join(".env")).unwrap().contains(password.trim()));
    password.trim().to_owned()
}

/// Pulls what is there, and pushes something new: what has to go on after each disturbance.
fn works(person: &Person, local: &str, repository: &str) {
    until_within(CHANGE, "a pull to work", || person.pull(repository).success.then_some(()));
    person.push(local, repository).well();
}

#[test]
fn the_compose_file_comes_up_and_keeps_everything() {
    let project = Project::shipped(&["docker-compose.yml"]);
    // Without a password nothing starts, and it is said what to do.
    project.compose(&["up", "-d"]).refused(&["docs/start/compose.md has the commands that write .env"]);
    let password = env_file(&project);
    project.compose(&["up", "-d"]).well();
    // It waited for it.
    assert_eq!(project.inspect("dockwarden", "{{.State.Health.Status}}"), "healthy");
    assert_eq!(project.inspect("registry", "{{.RestartCount}}"), "0");

    let admin = Person::at(project.engine(), HOST);
    admin.build("composed");
    admin.login("admin", "not the password").refused(&["unauthorized", "401"]);
    admin.push("composed", "test").refused(&["denied", "unauthorized", "no basic auth"]);
    admin.login("admin", &password).well();
    admin.push("composed", "prod/server").well();

    // The account of the example has nobody's password until it is given one.
    let waldi = Person::at(project.engine(), HOST);
    waldi.login("waldi", "123").refused(&["unauthorized", "401"]);
    let hashed = project.compose_with(&["run", "--rm", "--no-deps", "-T", "dockwarden", "hash-password"], "123").well();
    let config = project.directory.join("deploy/config/auth_config.yml");
    let settings = fs::read_to_string(&config).unwrap();
    fs::write(&config, settings.replace(NOBODYS_HASH, hashed.stdout.trim())).unwrap();
    until_within(CHANGE, "waldi's login", || waldi.login("waldi", "123").success.then_some(()));
    waldi.push("composed", "test").well();
    waldi.push("composed", "test-socke").refused(&["denied"]);
    waldi.push("composed", "prod/server").refused(&["denied"]);
    waldi.forget("composed");
    waldi.pull("prod/server").well();
    waldi.build("composed");
    Person::at(project.engine(), HOST).pull("prod/server").refused(&["denied", "unauthorized"]);

    // Whom Dockwarden takes somebody for is what nginx saw, not what the client says; and only two places are open.
    let authority = project.renew_tls();
    project.compose(&["exec", "-T", "nginx", "/bin/nginx", "-s", "reload"]).well();
    let url = |rest: &str| format!("https://{HOST}/{rest}");
    let open = |address: &str| project.curl(&authority, &["--header", "X-Forwarded-For: 10.9.8.7", address]);
    until_within(CHANGE, "the new certificate", || {
        let mut curl = project.engine().inside("curl");
        let seen = part::run(curl.arg("--silent").arg("--cacert").arg(&authority).arg(url("v2/")));
        seen.success.then_some(())
    });
    let log = || project.compose(&["logs", "dockwarden"]).well().text;
    let refused = |log: &str| log.matches("login_needed").count();
    let before = refused(&log());
    assert_eq!(open(&url("auth?service=Docker%20registry&account=")), "401 ");
    let log = until("the line of the question", || Some(log()).filter(|log| refused(log) > before));
    assert!(!log.contains("10.9.8.7"), "{log}");
    for inside in ["metrics", "healthz", "readyz", ""] {
        assert_eq!(open(&url(inside)), "404 ", "/{inside}");
    }
    assert_eq!(open(&format!("http://{HOST}/v2/")), format!("301 https://{HOST}/v2/"));
    works(&waldi, "composed", "test");

    project.compose(&["restart"]).well();
    project.healthy("dockwarden");
    works(&waldi, "composed", "test");
    admin.pull("prod/server").well();
    for service in ["dockwarden", "registry", "nginx"] {
        project.crash(service);
        works(&waldi, "composed", "test");
    }
    project.healthy("dockwarden");

    // Another signing pair: both volumes go, and the registry reads the new certificate as it starts.
    let certificate = |project: &Project| {
        let copied = project.directory.join("copied.crt");
        let from = format!("{}:/certs/token.crt", project.container("dockwarden"));
        project.docker(&["cp", &from, copied.to_str().unwrap()]).well();
        fs::read(copied).unwrap()
    };
    let before = certificate(&project);
    let renew =
        commands("docs/start/compose.md", "docker compose rm --stop --force dockwarden registry", "docker compose up");
    let folder = project.directory.file_name().unwrap().to_str().unwrap();
    let renew = renew.replace("docker compose", "docker-compose").replace(" dockwarden_", &format!(" {folder}_"));
    part::run(project.command("sh").args(["-c", &renew])).well();
    assert_ne!(certificate(&project), before);
    works(&waldi, "composed", "test");
    project.down();
}

/// MongoDB's image makes two users by a script at its first start; FerretDB in its place knows no scripts and no roles.
fn make_database_users(project: &Project) {
    let socket = project.directory.join("sockets/mongo");
    let secret = |name: &str| {
        let text = fs::read_to_string(project.directory.join("certs/mongo").join(name)).unwrap();
        text.trim().to_owned()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut root = Credential::default();
        root.username = Some("root".to_owned());
        root.password = Some(secret("root"));
        root.source = Some("admin".to_owned());
        let options = ClientOptions::builder()
            .hosts(vec![ServerAddress::Unix { path: socket }])
            .server_selection_timeout(Duration::from_secs(20))
            .credential(root)
            .build();
        let database = Client::with_options(options).unwrap().database("registry");
        for (user, name) in [("dockwarden", "server"), ("admin", "admin")] {
            let create = doc! { "createUser": user, "pwd": secret(name), "roles": [], "mechanisms": ["SCRAM-SHA-1"] };
            database.run_command(create).await.unwrap();
        }
    });
}

#[test]
fn the_compose_file_with_mongodb_comes_up_and_users_change_by_commands() {
    const STAND_IN: &str = "ferretdb-in-the-place-of-mongo.yml";
    let project = Project::shipped(&["docker-compose.yml", "docker-compose.mongodb.yml", STAND_IN]);
    let stand_in =
        format!("services: {{mongo: {{image: {}, volumes: [\"./sockets:/sockets\"]}}}}\n", shipped::FERRETDB);
    scratch::write(&project.directory, STAND_IN, &stand_in);
    env_file(&project);
    let secrets = commands("docs/start/compose.md", "mkdir -p -m 700 certs/mongo", "chmod 644 certs/mongo/*");
    part::run(project.command("sh").args(["-c", &secrets])).well();

    project.compose(&["up", "-d", "mongo"]).well();
    make_database_users(&project);
    project.compose(&["up", "-d"]).well();
    assert_eq!(project.inspect("dockwarden", "{{.State.Health.Status}}"), "healthy");
    let admin = |words: &str, more: &[&str], input: &str| {
        let mut arguments = vec!["run", "--rm", "-T", "admin"];
        arguments.extend(words.split(' '));
        arguments.push("/config/mongodb.yml");
        arguments.extend(more);
        project.compose_with(&arguments, input).well()
    };
    admin("migrate", &[], "");
    admin("user add", &["waldi", "--label", "full-access=test,socke*"], "123");
    admin("acl import", &["/config/auth_config.yml"], "");

    let waldi = Person::at(project.engine(), HOST);
    waldi.build("composed");
    waldi.login("waldi", "not the password").refused(&["unauthorized", "401"]);
    waldi.login("waldi", "123").well();
    until_within(CHANGE, "the rules to hold", || waldi.push("composed", "test").success.then_some(()));
    waldi.push("composed", "test-socke").refused(&["denied"]);
    admin("user label", &["waldi", "full-access+=test-socke"], "");
    waldi.push("composed", "test-socke").well();

    project.compose(&["restart"]).well();
    project.healthy("dockwarden");
    works(&waldi, "composed", "test-socke");
    for service in ["mongo", "dockwarden"] {
        project.crash(service);
        project.healthy("dockwarden");
        works(&waldi, "composed", "test-socke");
    }
    let listed = admin("user show", &["waldi"], "");
    assert!(listed.stdout.contains("test-socke"), "{}", listed.text);

    admin("user disable", &["waldi"], "");
    Person::at(project.engine(), HOST).login("waldi", "123").refused(&["unauthorized", "401"]);
    waldi.push("composed", "test").refused(&["denied", "unauthorized"]);
    project.down();
}

/// docker_auth's compose example, as its users have it: with the image's name as the only change.
const DOCKER_AUTH: &str = r#"
version: "3"
services:
  dockerauth:
    image: IMAGE
    ports: ["5001:5001"]
    volumes:
      - ./config:/config:ro
      - ./ssl:/ssl:ro
    command: --v=2 --alsologtostderr /config/auth_config.yml
    restart: always
  registry:
    image: docker.io/library/registry:3
    ports: ["5000:5000"]
    volumes:
      - ./ssl:/ssl:ro
      - registry:/var/lib/registry
    restart: always
    environment:
      OTEL_TRACES_EXPORTER: none
      REGISTRY_AUTH: token
      REGISTRY_AUTH_TOKEN_REALM: https://REALM:5001/auth
      REGISTRY_AUTH_TOKEN_SERVICE: "Docker registry"
      REGISTRY_AUTH_TOKEN_ISSUER: "Acme auth server"
      REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE: /ssl/server.pem
      REGISTRY_HTTP_TLS_CERTIFICATE: /ssl/server.pem
      REGISTRY_HTTP_TLS_KEY: /ssl/server.key
volumes:
  registry:
"#;

/// The kind of file that its reference shows: one pair for TLS and for tokens, users in the file, and a script that asks
/// somebody else. Of a script it takes what the shell and its tools can do.
const DOCKER_AUTH_CONFIG: &str = r#"
server:
  addr: ":5001"
  certificate: "/ssl/server.pem"
  key: "/ssl/server.key"
token:
  issuer: "Acme auth server"
  expiration: 900
users:
  "admin":
    password: "HASH"
  "": {}
MORE
acl:
  - match: {account: "admin"}
    actions: ["*"]
    comment: "Admin has full access to everything."
  - match: {account: "", name: "public/*"}
    actions: ["pull"]
  - match: {account: "/.+/", name: "${account}/*"}
    actions: ["*"]
"#;

/// What docker_auth's users write for `ext_auth`: busybox's shell and tools, which its image has.
const SCRIPT: &str = "#!/bin/sh\n\
    read -r user password\n\
    known=$(sed -n \"s/^$user //p\" /config/keys)\n\
    [ -n \"$known\" ] || exit 2\n\
    [ \"$known\" = \"$(printf %s \"$password\" | sha256sum | cut -d ' ' -f 1)\" ] || exit 1\n\
    [ -s /etc/ssl/certs/ca-certificates.crt ] || exit 3\n\
    echo '{\"labels\": {\"from\": [\"script\"]}}'\n";

fn docker_auth(image: &str, more: &str) -> Project {
    let project = Project::empty(&["docker-compose.yml"]);
    let compose = DOCKER_AUTH.replace("IMAGE", image).replace("://REALM", &format!("://{HOST}"));
    scratch::write(&project.directory, "docker-compose.yml", &compose);
    for directory in ["config", "ssl"] {
        fs::create_dir(project.directory.join(directory)).unwrap();
    }
    let chain = keys::for_host(HOST);
    let key = project.directory.join("ssl/server.key");
    fs::copy(&chain.both, project.directory.join("ssl/server.pem")).unwrap();
    fs::copy(&chain.leaf.key, &key).unwrap();
    // The step that docs/how-to/from-docker_auth.md asks for: the image's user reads the key.
    chown(&key, Some(65532), Some(65532)).unwrap();
    fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    let authority = fs::read_to_string(&chain.authority).unwrap();
    project.engine().knows(HOST, &authority);
    project.engine().knows(&format!("{HOST}:5000"), &authority);
    let config = DOCKER_AUTH_CONFIG.replace("HASH", &dockwarden::hash("badmin")).replace("MORE", more);
    scratch::write(&project.directory.join("config"), "auth_config.yml", &config);
    project.compose(&["up", "-d"]).well();
    project.healthy("dockerauth");
    project
}

#[test]
fn docker_auths_compose_example_runs_with_our_image() {
    let project = docker_auth(shipped::PLAIN, "");
    let registry = format!("{HOST}:5000");
    let admin = Person::at(project.engine(), &registry);
    admin.build("example");
    admin.login("admin", "wrong").refused(&["unauthorized", "401"]);
    admin.login("admin", "badmin").well();
    admin.push("example", "public/hello").well();
    admin.push("example", "private/hello").well();
    let stranger = Person::at(project.engine(), &registry);
    stranger.pull("public/hello").well();
    stranger.pull("private/hello").refused(&["denied", "unauthorized"]);
    project.down();
}

#[test]
fn a_shell_script_of_docker_auths_users_runs_in_the_image_with_a_shell() {
    let project = docker_auth(shipped::SHELL, "ext_auth: {command: /config/validate.sh}");
    let config = project.directory.join("config");
    let script = scratch::write(&config, "validate.sh", SCRIPT);
    fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let digest = part::run_with(&mut part::client("sha256sum"), b"a key").well();
    scratch::write(&config, "keys", &format!("alice {}\n", digest.stdout.split(' ').next().unwrap()));

    let registry = format!("{HOST}:5000");
    let alice = Person::at(project.engine(), &registry);
    alice.build("scripted");
    alice.login("alice", "no key").refused(&["unauthorized", "401"]);
    alice.login("nobody", "a key").refused(&["unauthorized", "401"]);
    alice.login("alice", "a key").well();
    alice.push("scripted", "alice/hello").well();
    alice.push("scripted", "bob/hello").refused(&["denied"]);

    // In all else the two images are one: not even the shell is root's.
    let fields = ["User", "Entrypoint", "Cmd", "Healthcheck", "ExposedPorts"];
    let fields = fields.map(|field| format!("{{{{json .Config.{field}}}}}")).join(" ");
    let [plain, shell] = [shipped::PLAIN, shipped::SHELL]
        .map(|image| project.docker(&["image", "inspect", "--format", &fields, image]).well().stdout);
    assert_eq!(plain, shell);
    assert!(shell.contains("\"65532:65532\"") && shell.contains("/dockwarden\",\"health\""), "{shell}");
    project.down();
}

/// Who passes an image on passes the program's libraries on: their notices are where the images of a release have them.
#[test]
fn both_images_hold_the_notices_of_all_that_is_linked() {
    let project = Project::empty(&[]);
    let copied = project.directory.join("licenses");
    for image in [shipped::PLAIN, shipped::SHELL] {
        let container = project.docker(&["create", image]).well().stdout;
        project.docker(&["cp", &format!("{}:/licenses", container.trim()), copied.to_str().unwrap()]).well();
        project.docker(&["rm", container.trim()]).well();
        for (file, expected) in
            [("LICENSE", text("LICENSE")), ("THIRD-PARTY-NOTICES.txt", fs::read_to_string(release::notices()).unwrap())]
        {
            assert!(fs::read_to_string(copied.join(file)).unwrap() == expected, "{image}: {file}");
        }
        fs::remove_dir_all(&copied).unwrap();
    }
}

/// docker_auth's chart starts its container with this command line, and both its probes ask `GET /`.
#[test]
fn what_docker_auths_chart_starts_and_asks_is_answered() {
    let project = Project::empty(&["docker-compose.yml"]);
    let pair = keys::for_host(HOST).leaf;
    for (from, to) in [(&pair.certificate, "tls.crt"), (&pair.key, "tls.key")] {
        let to = project.directory.join(to);
        fs::copy(from, &to).unwrap();
        fs::set_permissions(&to, PermissionsExt::from_mode(0o644)).unwrap();
    }
    let hash = dockwarden::hash("badmin");
    scratch::write(
        &project.directory,
        "auth_config.yml",
        &format!(
            "server:\n  addr: \":5001\"\ntoken:\n  issuer: \"Acme auth server\"\n  expiration: 900\n  \
             certificate: \"/etc/docker_auth/certs/tls.crt\"\n  key: \"/etc/docker_auth/certs/tls.key\"\n\
             users:\n\n  admin:\n    password: {hash}\nacl:\n\n  - actions:\n    - '*'\n    comment: everything\n    \
             match:\n      account: admin\n"
        ),
    );
    // A pod's containers see the files of a Secret and a ConfigMap, and the kubelet asks at the pod's address.
    scratch::write(
        &project.directory,
        "docker-compose.yml",
        &format!(
            "services:\n  docker-auth:\n    image: {}\n    ports: [\"5001:5001\"]\n    \
             command: [--v=2, -logtostderr, /config/auth_config.yml]\n    volumes:\n      \
             - ./:/config:ro\n      - ./:/etc/docker_auth/certs:ro\n",
            shipped::PLAIN
        ),
    );
    project.compose(&["up", "-d"]).well();
    project.healthy("docker-auth");
    let authority = project.directory.join("tls.crt");
    for arguments in [&["http://localhost:5001/"][..], &["--head", "http://localhost:5001/"]] {
        assert_eq!(project.curl(&authority, arguments), "200 ", "{arguments:?}");
    }
    let asked = "http://localhost:5001/auth?service=registry&scope=repository:a:pull";
    assert_eq!(project.curl(&authority, &["--user", "admin:badmin", asked]), "200 ");
    assert_eq!(project.curl(&authority, &["--user", "admin:wrong", asked]), "401 ");
    project.down();
}
