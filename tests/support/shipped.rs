//! The images that the compose files name, made on this machine of its own programs: nothing can be fetched here.

use std::env;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
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

/// The static program. `DOCKWARDEN_STATIC` is the directory of the one that make has made for this run; without it, it is that of
/// `make static`, which is run here: one that a run before has left would be an old one.
pub(crate) fn static_program() -> PathBuf {
    let directory = env::var_os("DOCKWARDEN_STATIC").map_or_else(
        || {
            // With the environment of the run, which tells cargo where its things are.
            let mut make = Command::new("make");
            make.current_dir(repository()).args(["--no-print-directory", "static"]).env_remove("MAKEFLAGS");
            part::run(&mut make).well();
            repository().join("target/static")
        },
        PathBuf::from,
    );
    let program = directory.join("dockwarden");
    assert!(program.is_file(), "{} is not there", program.display());
    program
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
        "#!/bin/sh\nrm -f /sockets/mongo\nexport FERRETDB_SETUP_PASSWORD=\"$(cat \"$MONGO_INITDB_ROOT_PASSWORD_FILE\")\"\n\
         exec /bin/ferretdb --handler=sqlite --sqlite-url=file:/data/db/ --state-dir=/data/db --listen-addr=:27017 \
         --listen-unix=/sockets/mongo --debug-addr=- --telemetry=disable --test-enable-new-auth \
         --setup-database=admin --setup-username=\"$MONGO_INITDB_ROOT_USERNAME\"\n",
    );
    root.import(engine, FERRETDB, &["ENTRYPOINT [\"/bin/sh\", \"/bin/start\"]"]);
}

/// What stands for cargo in the builder: it is to be asked for what is shipped, and hands out the static program of this run,
/// which cargo made on this machine of the same files. A file that is missing in the build context, or is not as it was, ends the build.
const CARGO: &str = r#"#!/bin/sh
set -e
[ "$*" = "build --locked --release --target HOST --target-dir target" ] || { echo "cargo was not to $*" >&2; exit 1; }
[ "$RUSTFLAGS" = "-C target-feature=+crt-static" ] || { echo "the flags are $RUSTFLAGS" >&2; exit 1; }
sha256sum -c /made/sources | { grep -v ': OK$' >&2 || true; }
sha256sum -c -s /made/sources
mkdir -p target/HOST/release
cp /made/dockwarden /made/dockwarden.d target/HOST/release/
"#;

/// What stands for python3 there: it hands out the notices that this machine's made of the same lock file, for the same program.
const PYTHON: &str = r#"#!/bin/sh
set -e
[ "$*" = "release/notices.py target/static/THIRD-PARTY-NOTICES.txt HOST" ] || { echo "python3 was not to $*" >&2; exit 1; }
cp /made/notices "$2"
"#;

/// What the Dockerfile calls `BUILDER`: this machine's make, and what its cargo made a moment ago. The
/// whole of Rust with all that we depend on would be copied for each step of the build, and minutes later be found to have
/// nothing to do.
fn builder(engine: &Engine, name: &str) {
    let program = static_program();
    let version = part::run(Command::new("rustc").current_dir(repository()).arg("-vV")).well().stdout;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();

    let root = Root::new();
    root.busybox();
    for program in ["make", "install"] {
        root.program(&part::path(program));
    }
    let list = program.with_extension("d");
    root.copy(&program, "made/dockwarden");
    root.copy(&list, "made/dockwarden.d");
    root.write("made/sources", &sources(&list));
    let mut notices = Command::new("python3");
    notices.current_dir(repository()).arg("release/notices.py").arg(root.0.join("made/notices")).arg(host);
    part::run(&mut notices).well();
    root.write("bin/cargo", &CARGO.replace("HOST", host));
    root.write("bin/python3", &PYTHON.replace("HOST", host));
    root.write("bin/rustc", &format!("#!/bin/sh\ncat <<'END'\n{version}END\n"));
    for program in ["cargo", "python3", "rustc"] {
        fs::set_permissions(root.0.join("bin").join(program), PermissionsExt::from_mode(0o755)).unwrap();
    }
    root.directory("tmp");
    root.import(engine, name, &["ENV PATH=/bin"]);
}

/// The files that the program was made of, with their digests: those of cargo's own list, and the manifest with what it names.
fn sources(list: &Path) -> String {
    let repository = repository();
    let listed = fs::read_to_string(list).unwrap();
    let (_, listed) = listed.split_once(": ").unwrap();
    let mut files: Vec<&str> = listed
        .split_whitespace()
        .map(|file| Path::new(file).strip_prefix(repository).unwrap().to_str().unwrap())
        .filter(|file| !file.starts_with("target/"))
        .collect();
    assert!(files.contains(&"src/main.rs") && files.contains(&"src/lib.rs"), "{files:?}");
    // Cargo and the notices' script read these, and cargo wants the tests that the manifest names to be there.
    files.extend([
        "Cargo.toml",
        "crates/policy/Cargo.toml",
        "crates/rulefile/Cargo.toml",
        "crates/settings/Cargo.toml",
        "crates/try/Cargo.toml",
        "crates/try/src/main.rs",
        "Cargo.lock",
        "LICENSE",
        "Makefile",
        "release/notices.py",
        "tests/integration/main.rs",
        "tests/real/main.rs",
    ]);
    part::run(part::client("sha256sum").current_dir(repository).args(files)).well().stdout
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
        part::run(build.arg(repository())).well();
    }
}
