//! What a release is made of, from the program of this run: the manual, the Debian package, the images.

use std::env::consts::ARCH;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::support::part::{self, Said};
use crate::support::{dockwarden, scratch, shipped};

/// The date of what is made here.
const DATE: &str = "1767225600";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A command of `release/`, with the environment of this run: cargo has its things by it.
fn script(name: &str) -> Command {
    let mut script = Command::new(repository().join("release").join(name));
    script.current_dir(repository()).env("SOURCE_DATE_EPOCH", DATE);
    script
}

/// The manual and the completions of the program under test.
fn pages() -> PathBuf {
    let pages = scratch::directory("pages");
    part::run(script("pages.sh").arg(dockwarden::program()).arg(&pages)).well();
    pages
}

/// What goes along with the program, of those who wrote what is linked into it.
pub(crate) fn notices() -> &'static Path {
    static NOTICES: OnceLock<PathBuf> = OnceLock::new();
    NOTICES.get_or_init(|| {
        let file = scratch::directory("notices").join("THIRD-PARTY-NOTICES.txt");
        part::run(script("notices.py").arg(&file).arg(format!("{ARCH}-unknown-linux-gnu"))).well();
        file
    })
}

/// A file in the place of a program, where it does not matter which: it is packed in no time.
fn small() -> PathBuf {
    scratch::write(&scratch::directory("small"), "dockwarden", "a program\n")
}

/// The Debian package of a program, said to be for this machine.
fn package_for(program: &Path, machine: &str, more: &[&str]) -> PathBuf {
    let file = scratch::directory("package").join("dockwarden.deb");
    let mut script = script("package.sh");
    script.arg(program).arg(format!("{machine}-unknown-linux-gnu")).arg(pages()).arg(notices()).arg(&file);
    part::run(script.arg("--fast").args(more)).well();
    file
}

/// That of the static program for the machine that runs this, made once.
pub(crate) fn package() -> PathBuf {
    static PACKAGE: OnceLock<PathBuf> = OnceLock::new();
    PACKAGE.get_or_init(|| package_for(&shipped::static_program(), ARCH, &[])).clone()
}

/// The same with another version.
pub(crate) fn package_of_version(version: &str) -> PathBuf {
    package_for(&shipped::static_program(), ARCH, &["--deb-version", version])
}

#[test]
fn mandoc_finds_nothing_in_the_manual() {
    let pages = scratch::directory("manual");
    part::run(part::command_at(dockwarden::program()).arg("man").arg(&pages)).well();
    let lint = |pages: &[PathBuf]| part::run(part::client("mandoc").arg("-Tlint").args(pages));
    let all: Vec<PathBuf> = fs::read_dir(&pages).unwrap().map(|page| page.unwrap().path()).collect();
    assert!(all.len() > 40, "{all:?}");
    assert_eq!(lint(&all).well().text, "");
    // It would say so.
    let mut broken = fs::read_to_string(pages.join("dockwarden.8")).unwrap();
    broken.push_str(".nonsense\n");
    lint(&[scratch::write(&pages, "broken.8", &broken)]).refused(&["unknown macro"]);
}

/// Crates' own files, those below them that C brings along, a text where a crate forgot it, and what is linked beside crates.
#[test]
fn the_notices_of_all_that_is_linked_go_along() {
    let text = fs::read_to_string(notices()).unwrap();
    let rule = format!("{}\n", "=".repeat(100));
    let parts: Vec<&str> = text.split(rule.as_str()).collect();
    let of = |who: &str| -> String {
        let mine = parts[1..].chunks(2).filter(|part| part[0].lines().any(|line| line.starts_with(who)));
        mine.map(|part| part[1]).collect()
    };
    for (who, piece) in [
        ("rustls ", "Permission is hereby granted"),
        ("aws-lc-sys ", "The OpenSSL Project"),
        // Of a part in C, further down in its crate.
        ("aws-lc-sys ", "https://github.com/mit-plv/fiat-crypto/blob/master/AUTHORS"),
        ("moka ", "Additional Notices for Moka"),
        ("vsimd ", "The above copyright notice and this permission notice"),
        ("libsqlite3-sys ", "Copyright"),
        ("Rust's standard library", "The Rust Project Developers"),
        ("memchr 2", "Andrew Gallant"),
        ("glibc", "GNU LESSER GENERAL PUBLIC LICENSE"),
    ] {
        assert!(of(who).contains(piece), "{who} {piece}");
    }
    // Each library that cargo links in is there.
    let mut tree = Command::new(env!("CARGO"));
    tree.current_dir(repository()).args(["tree", "--locked", "--edges=normal,no-proc-macro", "--prefix=none"]);
    let said = part::run(tree.args(["--no-dedupe", "--format={p}"])).well().stdout;
    let crates: Vec<String> =
        said.lines().filter(|line| !line.contains(" (/")).map(|line| line.replacen(" v", " ", 1)).collect();
    assert!(crates.len() > 200, "{said}");
    let missing: Vec<&String> = crates.iter().filter(|who| !text.contains(&format!("\n{who}: "))).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(!text.contains(repository().to_str().unwrap()));
}

#[test]
fn the_debian_package_is_complete_and_lintian_finds_nothing() {
    let deb = package();
    let mut lintian = part::client("lintian");
    let said = part::run(lintian.args(["--allow-root", "--fail-on", "error,warning"]).arg(&deb)).well();
    assert_eq!(said.text, "");

    let dpkg = |arguments: &[&str]| -> Said { part::run(part::client("dpkg-deb").args(arguments)).well() };
    let path = deb.to_str().unwrap();
    let listed = dpkg(&["--contents", path]).stdout;
    // Mode, owner, size, day, time, name.
    let files: Vec<(&str, &str, &str)> = listed
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .map(|words| (words[0], words[1], words[5].trim_start_matches('.')))
        .collect();
    for (mode, name) in [
        ("-rwxr-xr-x", "/usr/bin/dockwarden"),
        ("lrwxrwxrwx", "/usr/bin/docker-credential-dockwarden"),
        ("lrwxrwxrwx", "/usr/share/man/man8/docker-credential-dockwarden.8.gz"),
        ("-rw-r--r--", "/usr/lib/systemd/system/dockwarden.service"),
        ("-rw-r--r--", "/etc/dockwarden/auth_config.yml"),
        ("-rw-r--r--", "/usr/share/man/man8/dockwarden.8.gz"),
        ("-rw-r--r--", "/usr/share/man/man8/dockwarden-user-add.8.gz"),
        ("-rw-r--r--", "/usr/share/bash-completion/completions/dockwarden"),
        ("-rw-r--r--", "/usr/share/zsh/vendor-completions/_dockwarden"),
        ("-rw-r--r--", "/usr/share/fish/vendor_completions.d/dockwarden.fish"),
        ("-rw-r--r--", "/usr/share/doc/dockwarden/copyright"),
        ("-rw-r--r--", "/usr/share/doc/dockwarden/THIRD-PARTY-NOTICES.gz"),
        ("-rw-r--r--", "/usr/share/doc/dockwarden/examples/config.example.yml"),
        ("-rw-r--r--", "/usr/share/doc/dockwarden/CHANGELOG.md"),
        ("-rw-r--r--", "/usr/share/doc/dockwarden/how-to/systemd.md"),
        ("-rw-r--r--", "/usr/share/doc/dockwarden/reference/config.md"),
    ] {
        assert!(files.contains(&(mode, "0/0", name)), "{mode} {name}\n{listed}");
    }
    // The mode of a link means nothing.
    let is_closed = |mode: &str| mode.starts_with('l') || !mode[7..].contains('w');
    assert!(files.iter().all(|(mode, owner, _)| *owner == "0/0" && is_closed(mode)), "{listed}");
    assert!(listed.contains("/usr/bin/docker-credential-dockwarden -> dockwarden\n"), "{listed}");
    let unpacked = scratch::directory("unpacked");
    dpkg(&["--extract", path, unpacked.to_str().unwrap()]);
    let changes = fs::read_to_string(unpacked.join("usr/share/doc/dockwarden/CHANGELOG.md")).unwrap();
    assert!(changes.contains(&format!("\n## {}, 20", env!("CARGO_PKG_VERSION"))) && !changes.contains("Unreleased"));
    assert_eq!(dpkg(&["--field", path, "Version"]).stdout.trim_end(), env!("CARGO_PKG_VERSION"));

    // The same program gives the same package, and is not looked at to know the machine.
    let program = small();
    for (machine, architecture) in [("x86_64", "amd64"), ("aarch64", "arm64")] {
        let [made, again] = [(); 2].map(|()| package_for(&program, machine, &[]));
        assert_eq!(dpkg(&["--field", made.to_str().unwrap(), "Architecture"]).stdout.trim_end(), architecture);
        assert!(fs::read(&again).unwrap() == fs::read(&made).unwrap(), "the same bytes");
    }
}

/// Nothing is made, and so nothing can be read by the wrong people: neither the scripts of the package nor what they call make a file
/// but systemd's own links. What the package brings in `/etc` is its owner's to change.
#[test]
fn the_debian_package_makes_no_files_of_its_own() {
    let deb = package();
    let control = scratch::directory("control");
    part::run(part::client("dpkg-deb").arg("--control").arg(&deb).arg(&control)).well();
    assert_eq!(fs::read_to_string(control.join("conffiles")).unwrap(), "/etc/dockwarden/auth_config.yml\n");
    for script in ["postinst", "prerm", "postrm"] {
        let text = fs::read_to_string(control.join(script)).unwrap();
        let starts = text.lines().filter_map(|line| line.split_whitespace().next());
        let known = ["#", "#!/bin/sh", "set", "if", "fi", "deb-systemd-helper", "deb-systemd-invoke", "systemctl"];
        let others: Vec<&str> = starts.filter(|word| !known.contains(word)).collect();
        assert_eq!(others, [""; 0], "{script}: {text}");
        assert!(!text.contains("--now") && !text.contains(" start "), "{script}: {text}");
    }
}

/// The configuration that the package brings: it loads once there is a pair, and grants nobody anything but the administrator.
#[test]
fn the_packages_configuration_needs_nothing_but_a_pair() {
    let directory = scratch::directory("configuration");
    let fixtures = repository().join("tests/fixtures/keys");
    let shipped = fs::read_to_string(repository().join("release/debian/auth_config.yml")).unwrap();
    let folder = directory.to_str().unwrap();
    let here = shipped.replace("/etc/dockwarden", folder).replace("/var/lib/dockwarden", folder);
    for (file, mode) in [("key", 0o600), ("crt", 0o644)] {
        let copy = directory.join(format!("token.{file}"));
        fs::copy(fixtures.join(format!("guide-rsa4096.{file}")), &copy).unwrap();
        fs::set_permissions(&copy, PermissionsExt::from_mode(mode)).unwrap();
    }
    assert_ne!(here, shipped);
    let config = scratch::write(&directory, "auth_config.yml", &here);
    let check = part::run(part::command_at(dockwarden::program()).arg("check").arg(&config)).well();
    assert!(check.stdout.contains("1 rule") && !check.text.contains("warning"), "{}", check.text);
}

/// What an image of an archive is told to do, as skopeo reads it; a health check is Docker's own, which skopeo leaves out.
fn settings(archive: &Path, architecture: &str) -> Value {
    let mut skopeo = part::client("skopeo");
    skopeo.args(["inspect", "--raw", "--config", "--override-os", "linux", "--override-arch", architecture]);
    let said = part::run(skopeo.arg(format!("oci-archive:{}", archive.display()))).well();
    serde_json::from_str(&said.stdout).unwrap()
}

/// An instruction of the last stage of the Dockerfile.
fn instruction(name: &str) -> String {
    let dockerfile = fs::read_to_string(repository().join("Dockerfile")).unwrap();
    let (_, stage) = dockerfile.rsplit_once("\nFROM ").unwrap();
    let found = stage.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("{name}: {stage}")).to_owned()
}

#[test]
fn the_images_of_a_release_are_what_the_dockerfile_makes() {
    let directory = scratch::directory("images");
    let base = scratch::directory("base");
    scratch::write(&base, "of-the-base", "there\n");
    let program = small();
    let archive = directory.join("image.tar");
    let write = |archive: &Path| {
        let images =
            [format!("amd64={}", program.display()), format!("arm64={},{}", program.display(), base.display())];
        let mut script = script("image.py");
        script.env("DOCKWARDEN_RELEASE_REVISION", "a-commit").arg(archive).arg("1.2.3").arg(notices());
        part::run(script.args(images)).well();
    };
    write(&archive);
    for (architecture, layers) in [("amd64", 1), ("arm64", 2)] {
        let config = settings(&archive, architecture);
        assert_eq!(config["architecture"], architecture, "{config}");
        assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), layers, "{config}");
        let told = &config["config"];
        assert_eq!(told["User"], instruction("USER"));
        let label =
            |name: &str| told["Labels"][format!("org.opencontainers.image.{name}")].as_str().unwrap_or_default();
        assert!(!label("description").is_empty() && label("licenses").starts_with("Apache-2.0"), "{told}");
        assert_eq!((label("version"), label("revision")), ("1.2.3", "a-commit"));
        assert_eq!(told["ExposedPorts"], json!({format!("{}/tcp", instruction("EXPOSE")): {}}));
        for (key, name) in [("Entrypoint", "ENTRYPOINT"), ("Cmd", "CMD")] {
            assert_eq!(told[key], serde_json::from_str::<Value>(&instruction(name)).unwrap(), "{name}");
        }
        let health = &told["Healthcheck"];
        let seconds = |key: &str| format!("{}s", health[key].as_u64().unwrap() / 1_000_000_000);
        let words: Vec<&str> = health["Test"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        let written = format!(
            "--interval={} --timeout={} --start-period={} --retries={} CMD [\"{}\"]",
            seconds("Interval"),
            seconds("Timeout"),
            seconds("StartPeriod"),
            health["Retries"],
            words[1..].join("\", \"")
        );
        assert_eq!(written, instruction("HEALTHCHECK"));
    }

    // The layers as an engine unpacks them, in the order of the image.
    let unpacked = directory.join("unpacked");
    let copy = |architecture: &str, to: &str| {
        let mut skopeo = part::client("skopeo");
        skopeo.args(["copy", "--quiet", "--override-arch", architecture]);
        part::run(skopeo.arg(format!("oci-archive:{}", archive.display())).arg(to)).well();
    };
    copy("arm64", &format!("dir:{}", unpacked.display()));
    let manifest: Value = serde_json::from_slice(&fs::read(unpacked.join("manifest.json")).unwrap()).unwrap();
    let listing = |layer: usize| {
        let digest = manifest["layers"][layer]["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
        let mut tar = part::client("tar");
        tar.args(["--list", "--verbose", "--numeric-owner", "--gzip", "--file"]).arg(unpacked.join(digest));
        let said = part::run(&mut tar).well().stdout;
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        said.lines().map(words).map(|words| format!("{} {} {}", words[0], words[1], words[5])).collect::<Vec<_>>()
    };
    assert_eq!(listing(0), ["-rw-r--r-- 0/0 of-the-base"]);
    let owned = [
        "drwxr-xr-x 65532/65532 certs/",
        "drwxr-xr-x 0/0 config/",
        "drwxr-xr-x 65532/65532 keys/",
        "drwxr-xr-x 0/0 licenses/",
        "-rw-r--r-- 0/0 licenses/LICENSE",
        "-rw-r--r-- 0/0 licenses/THIRD-PARTY-NOTICES.txt",
        "-rwxr-xr-x 0/0 dockwarden",
    ];
    assert_eq!(listing(1), owned);

    let again = directory.join("again.tar");
    write(&again);
    assert!(fs::read(&again).unwrap() == fs::read(&archive).unwrap(), "the same bytes");
}

/// Two archives that are loaded side by side have two names.
#[test]
fn the_image_with_a_shell_has_a_tag_of_its_own() {
    let directory = scratch::directory("tags");
    let (base, program) = (scratch::directory("base"), small());
    let plain = format!("amd64={}", program.display());
    let shell = format!("{plain},{}", base.display());
    for (image, tag) in [(plain, "1.2.3"), (shell, "1.2.3-shell")] {
        let archive = directory.join(tag);
        part::run(script("image.py").arg(&archive).arg("1.2.3").arg(notices()).arg(image)).well();
        let mut tar = part::client("tar");
        let index = part::run(tar.args(["--extract", "--to-stdout", "--file"]).arg(&archive).arg("index.json")).well();
        let index: Value = serde_json::from_str(&index.stdout).unwrap();
        let names = &index["manifests"][0]["annotations"];
        assert_eq!(names["org.opencontainers.image.ref.name"], tag);
        assert_eq!(names["io.containerd.image.name"], format!("localhost/dockwarden:{tag}"));
    }
}

/// What cargo does not know of is in the list of what a release is made of, and the list says the same each time.
#[test]
fn the_list_of_parts_names_what_is_linked_beside_crates() {
    let bom = json!({"metadata": {"component": {"bom-ref": "own"}}, "components": [{"name": "a"}],
                     "dependencies": [{"ref": "own", "dependsOn": ["a"]}]});
    let written = |options: &[&str]| -> Value {
        let file = scratch::write(&scratch::directory("sbom"), "bom.json", &bom.to_string());
        part::run(script("sbom.py").arg(&file).args(options)).well();
        serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
    };
    let [program, shell] = [&[][..], &["--shell"]].map(written);
    let names = |bom: &Value| -> Vec<String> {
        bom["components"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&program), ["a", "glibc"]);
    assert_eq!(names(&shell), ["a", "glibc", "busybox"]);
    assert_eq!(program["dependencies"][0]["dependsOn"][1], program["components"][1]["bom-ref"]);
    assert!(program["serialNumber"].as_str().unwrap().starts_with("urn:uuid:"));
    assert_eq!(written(&[]), program);
    assert_ne!(shell["serialNumber"], program["serialNumber"]);
}

/// A copy of what git would commit, with another version given to it.
#[test]
fn one_command_gives_the_version_everywhere() {
    let clone = scratch::directory("version");
    let list = part::run(Command::new("git").current_dir(repository()).args(["ls-files", "-co", "--exclude-standard"]));
    for file in list.well().stdout.lines().filter(|file| repository().join(file).is_file()) {
        let to = clone.join(file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(repository().join(file), to).unwrap();
    }
    let version = |version: &str| part::run(Command::new(clone.join("release/version.sh")).arg(version));
    version("2.0").refused(&["which version?"]);
    version("12.34.56").well();
    let text = |file: &str| fs::read_to_string(clone.join(file)).unwrap();
    // No manifest of what is given away, and no lock file, has the old one.
    let old = |name: &str| format!("name = \"dockwarden{name}\"\nversion = \"{}\"\n", env!("CARGO_PKG_VERSION"));
    let new = |name: &str| format!("name = \"dockwarden{name}\"\nversion = \"12.34.56\"\n");
    for entry in fs::read_dir(clone.join("crates")).unwrap().map(|entry| entry.unwrap()) {
        let name = format!("-{}", entry.file_name().to_str().unwrap());
        let manifest = fs::read_to_string(entry.path().join("Cargo.toml")).unwrap();
        assert!(manifest.contains(&new(&name)) && !manifest.contains(&old(&name)), "{name}");
        assert!(text("Cargo.lock").contains(&new(&name)), "{name}");
    }
    for file in ["Cargo.toml", "Cargo.lock", "bench/Cargo.lock", "fuzz/Cargo.lock"] {
        assert!(text(file).contains(&new("")) && !text(file).contains(&old("")), "{file}");
        assert!(file != "Cargo.toml" || text(file).matches("version = \"12.34.56\"").count() > 2, "{}", text(file));
    }
    assert!(text("CHANGELOG.md").contains("## Unreleased\n\n## 12.34.56, "), "{}", text("CHANGELOG.md"));
    version("12.34.56").refused(&["already"]);
}
