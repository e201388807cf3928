//! The images that the compose files name, made on this machine of its own programs: nothing can be fetched here.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::engine::Engine;
use super::part;
use super::{client, scratch};

/// What the compose files call our images.
pub(crate) const PLAIN: &str = "dockwarden";
pub(crate) const SHELL: &str = "dockwarden:shell";

/// What docker-compose.yml calls those of others.
const REGISTRY: &str = "docker.io/library/registry:3";
const NGINX: &str = "docker.io/library/nginx:stable-alpine";

/// FerretDB under a name of its own: a file beside the compose files puts it in MongoDB's place.
pub(crate) const FERRETDB: &str = "ferretdb-in-the-place-of-mongo";

/// As the official image of registry 3 has it.
const REGISTRY_CONFIG: &str = "version: 0.1\nlog: {fields: {service: registry}}\n\
    storage: {cache: {blobdescriptor: inmemory}, filesystem: {rootdirectory: /var/lib/registry}}\n\
    http: {addr: \":5000\", headers: {X-Content-Type-Options: [nosniff]}}\n\
    health: {storagedriver: {enabled: true, interval: 10s, threshold: 3}}\n";

/// As the official image of nginx has it, around the file that is mounted.
const NGINX_CONFIG: &str = "user nginx;\nworker_processes 1;\nerror_log /dev/stderr notice;\npid /run/nginx.pid;\n\
    events { worker_connections 1024; }\n\
    http { access_log off; sendfile on; keepalive_timeout 65; include /etc/nginx/conf.d/*.conf; }\n";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The static program, as `make static` makes it. Not one that a run before has left: it would be an old one.
pub(crate) fn static_program() -> PathBuf {
    // With the environment of the run, which tells cargo where its things are.
    let mut make = Command::new("make");
    make.current_dir(repository()).args(["--no-print-directory", "static"]).env_remove("MAKEFLAGS");
    let said = part::run(&mut make).well();
    let path = repository().join("target/static/dockwarden");
    assert!(path.is_file(), "{}", said.text);
    path
}

/// A directory that becomes an image with one layer.
struct Root(PathBuf);

impl Root {
    fn new() -> Self {
        Self(scratch::directory("root"))
    }

    fn directory(&self, path: &str) -> PathBuf {
        let directory = self.0.join(path);
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    fn write(&self, path: &str, text: &str) {
        let (directory, name) = path.rsplit_once('/').unwrap();
        scratch::write(&self.directory(directory), name, text);
    }

    /// A file or a directory, with its times and modes. Cargo goes by the times.
    fn copy(&self, from: &Path, to: &str) {
        let to = self.0.join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        part::run(part::client("cp").args(["--archive", "--dereference"]).arg(from).arg(to)).well();
    }

    /// A program in `/bin`, with the libraries that it needs at the places where it looks for them.
    fn program(&self, program: &Path) {
        self.copy(program, &format!("bin/{}", program.file_name().unwrap().to_str().unwrap()));
        self.libraries(program);
    }

    fn libraries(&self, program: &Path) {
        // A static program has none, and `ldd` then ends with 1.
        let listed = part::run(part::client("ldd").arg(program));
        for library in listed.stdout.split_whitespace().filter(|word| word.starts_with('/')) {
            let library = library.trim_end_matches(':');
            if !self.0.join(library.trim_start_matches('/')).exists() {
                self.copy(Path::new(library), library.trim_start_matches('/'));
            }
        }
    }

    /// busybox, under the name of each of its commands.
    fn busybox(&self) {
        let busybox = part::path("busybox");
        self.copy(&busybox, "bin/busybox");
        for name in part::run(part::client("busybox").arg("--list")).well().stdout.lines() {
            let link = self.0.join("bin").join(name);
            if !link.exists() {
                symlink("busybox", link).unwrap();
            }
        }
    }

    fn import(self, engine: &Engine, name: &str, settings: &[&str]) {
        let mut tar = part::command("tar");
        let mut tar = tar.arg("-cf").arg("-").arg("-C").arg(&self.0).arg(".").stdout(Stdio::piped()).spawn().unwrap();
        let mut import = engine.docker(&client::home());
        import.arg("import");
        for setting in settings {
            import.args(["--change", setting]);
        }
        let imported = import.args(["-", name]).stdin(tar.stdout.take().unwrap()).output().unwrap();
        assert!(imported.status.success(), "{name}: {}", String::from_utf8_lossy(&imported.stderr));
        assert!(tar.wait().unwrap().success(), "{name}");
        fs::remove_dir_all(self.0).unwrap();
    }
}

/// The registry and nginx, as docker-compose.yml calls them.
pub(crate) fn neighbours(engine: &Engine) {
    let registry = Root::new();
    registry.program(&part::path("registry"));
    registry.write("etc/distribution/config.yml", REGISTRY_CONFIG);
    registry.directory("tmp");
    let start = ["ENTRYPOINT [\"/bin/registry\"]", "CMD [\"serve\", \"/etc/distribution/config.yml\"]"];
    registry.import(engine, REGISTRY, &start);

    let nginx = Root::new();
    nginx.program(&part::path("nginx"));
    nginx.write("etc/nginx/nginx.conf", NGINX_CONFIG);
    nginx.write("etc/passwd", "root:x:0:0:root:/:\nnginx:x:101:101:nginx:/nonexistent:\n");
    nginx.write("etc/group", "root:x:0:\nnginx:x:101:\n");
    for directory in ["etc/nginx/conf.d", "run", "tmp", "var/lib/nginx", "var/log/nginx"] {
        nginx.directory(directory);
    }
    nginx.import(engine, NGINX, &["CMD [\"/bin/nginx\", \"-g\", \"daemon off;\"]"]);
}

/// FerretDB, which is told root's password as MongoDB's image is. A socket in `/sockets` is for the users that MongoDB's
/// image would make by a script.
pub(crate) fn ferretdb(engine: &Engine) {
    let root = Root::new();
    root.busybox();
    root.program(&part::path("ferretdb"));
    for directory in ["data/db", "sockets", "tmp"] {
        root.directory(directory);
    }
    root.write(
        "bin/start",
        "#!/bin/sh\nexport FERRETDB_SETUP_PASSWORD=\"$(cat \"$MONGO_INITDB_ROOT_PASSWORD_FILE\")\"\n\
         exec /bin/ferretdb --handler=sqlite --sqlite-url=file:/data/db/ --state-dir=/data/db --listen-addr=:27017 \
         --listen-unix=/sockets/mongo --debug-addr=- --telemetry=disable --test-enable-new-auth \
         --setup-database=admin --setup-username=\"$MONGO_INITDB_ROOT_USERNAME\"\n",
    );
    root.import(engine, FERRETDB, &["ENTRYPOINT [\"/bin/sh\", \"/bin/start\"]"]);
}

/// What the Dockerfile calls `BUILDER`: this machine's Rust and make, and what they made of these sources a moment ago. So
/// `make static` finds all of it done, as long as the build context holds every file that it was made of, as it was.
fn builder(engine: &Engine, name: &str) {
    static_program();
    let root = Root::new();
    root.busybox();
    root.program(&part::path("make"));

    // Cargo and rustc themselves, not rustup's stand-ins for them.
    let sysroot = part::run(Command::new("rustc").current_dir(repository()).args(["--print", "sysroot"])).well();
    let sysroot = Path::new(sysroot.stdout.trim());
    for program in ["cargo", "rustc"] {
        let path = sysroot.join("bin").join(program);
        root.copy(&path, &format!("rust/bin/{program}"));
        root.system_libraries(&path, sysroot);
    }
    for library in fs::read_dir(sysroot.join("lib")).unwrap().map(|entry| entry.unwrap().path()) {
        if library.is_file() {
            root.copy(&library, &format!("rust/lib/{}", library.file_name().unwrap().to_str().unwrap()));
        }
    }

    // The sources of what we depend on: cargo looks whether they are as they were.
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.unwrap_or_else(|| Path::new(&std::env::var_os("HOME").unwrap()).join(".cargo"));
    let locked = locked();
    for kind in ["index", "cache", "src"] {
        let Ok(registries) = fs::read_dir(home.join("registry").join(kind)) else { continue };
        for registry in registries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
            let place = registry.strip_prefix(&home).unwrap().to_str().unwrap().to_owned();
            if kind == "index" {
                root.copy(&registry, &format!("cargo/{place}"));
                continue;
            }
            for entry in fs::read_dir(&registry).unwrap().map(|entry| entry.unwrap().path()) {
                let package = entry.file_name().unwrap().to_str().unwrap();
                if locked.contains(package.trim_end_matches(".crate")) {
                    root.copy(&entry, &format!("cargo/{place}/{package}"));
                }
            }
        }
    }

    let made = scratch::directory("made");
    made_by_cargo(&made);
    root.copy(&made, "src/target");
    fs::remove_dir_all(made).unwrap();
    root.import(engine, name, &["ENV PATH=/rust/bin:/bin", "ENV CARGO_HOME=/cargo", "ENV CARGO_NET_OFFLINE=true"]);
}

impl Root {
    /// The libraries that a program of Rust's own takes from the system.
    fn system_libraries(&self, program: &Path, sysroot: &Path) {
        let listed = part::run(part::client("ldd").arg(program)).well();
        for library in listed.stdout.split_whitespace().filter(|word| word.starts_with('/')) {
            let path = Path::new(library);
            if !path.starts_with(sysroot) && !self.0.join(library.trim_start_matches('/')).exists() {
                self.copy(path, library.trim_start_matches('/'));
            }
        }
    }
}

/// `name-version` of every package in Cargo.lock.
fn locked() -> BTreeSet<String> {
    let lock = fs::read_to_string(repository().join("Cargo.lock")).unwrap();
    let mut packages = BTreeSet::new();
    let mut lines = lock.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("name = \"") else { continue };
        let version = lines.next().unwrap().strip_prefix("version = \"").unwrap();
        packages.insert(format!("{}-{}", name.trim_end_matches('"'), version.trim_end_matches('"')));
    }
    packages
}

/// What the release build left, but for the contents of libraries: cargo asks when they were made, and reads none of them.
fn made_by_cargo(to: &Path) {
    let target = repository().join("target");
    let host = part::run(Command::new("rustc").current_dir(repository()).arg("-vV")).well();
    let host = host.stdout.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned();
    // The program is made for the host by name; macros and build scripts are made without.
    for half in ["release".to_owned(), format!("{host}/release")] {
        let script = r#"
            set -e
            mkdir -p "$1"
            cp --archive "$0/.fingerprint" "$0/build" "$1"
            mkdir "$1/deps"
            cd "$0/deps"
            for file in *; do
                case $file in
                    dockwarden-*) cp --archive "$file" "$1/deps/$file" ;;
                    *.d) cp --archive "$file" "$1/deps/$file" ;;
                    *) : >"$1/deps/$file"; touch --reference="$file" "$1/deps/$file" ;;
                esac
            done
        "#;
        let mut copy = part::client("sh");
        copy.args(["-c", script]).arg(target.join(&half)).arg(to.join(&half));
        part::run(&mut copy).well();
    }
    part::run(part::client("cp").arg("--archive").arg(target.join(".rustc_info.json")).arg(to)).well();
}

/// What the Dockerfile calls `SHELL_BASE`: busybox and this machine's list of authorities.
fn shell_base(engine: &Engine, name: &str) {
    let root = Root::new();
    root.busybox();
    root.copy(Path::new("/etc/ssl/certs/ca-certificates.crt"), "etc/ssl/certs/ca-certificates.crt");
    root.directory("tmp");
    root.import(engine, name, &["ENV PATH=/bin"]);
}

/// Both of our images, by the commands that the Dockerfile shows.
pub(crate) fn build(engine: &Engine) {
    builder(engine, "this-machine-as-builder");
    shell_base(engine, "this-machine-as-alpine");
    let arguments = ["BUILDER=this-machine-as-builder", "SHELL_BASE=this-machine-as-alpine"];
    for words in [&["--tag", PLAIN][..], &["--target", "shell", "--tag", SHELL]] {
        let mut build = engine.docker(&client::home());
        build.arg("build").args(arguments.map(|argument| ["--build-arg", argument]).concat()).args(words);
        let said = part::run(build.arg(repository())).well();
        // Nothing was left to be done.
        assert!(!said.text.contains("Compiling"), "{}", said.text);
    }
}
