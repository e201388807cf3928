//! What the rows need: keys, accounts, rules, requests, all made anew for a run and alike in each.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use dockwarden::keys::generate;
use jsonwebtoken::Algorithm;
use tempfile::TempDir;
use time::OffsetDateTime;

use crate::load::Dice;

/// The password of every account.
pub const PASSWORD: &str = "a password of 25 letters.";
/// The registry that tokens are for.
pub const SERVICE: &str = "bench";

/// A directory with a pair of each kind and whatever configurations are written into it.
pub struct Bed {
    directory: TempDir,
}

impl Bed {
    /// Makes the pairs.
    pub fn new() -> anyhow::Result<Bed> {
        let bed = Bed { directory: TempDir::with_prefix("dockwarden-bench")? };
        for (name, algorithm) in [("rsa2048", Algorithm::RS256), ("p256", Algorithm::ES256)] {
            let pair = generate(algorithm, "bench", OffsetDateTime::now_utc()).context("a key pair")?;
            fs::write(bed.path(&format!("{name}.crt")), pair.certificate_pem)?;
            let key = bed.path(&format!("{name}.key"));
            fs::write(&key, pair.key_pem)?;
            fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        }
        Ok(bed)
    }

    /// A file of this name in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The text of a configuration, with its marks filled in.
    pub fn fill(&self, template: &str, marks: &Marks<'_>) -> String {
        let directory = self.directory.path().display().to_string();
        template
            .replace("$DIR", &directory)
            .replace("$ADDRESS", &marks.address.to_string())
            .replace("$KEY", marks.key)
            .replace("$TOKEN", marks.token)
            .replace("$BACKEND", marks.backend)
            .replace("$USERS", marks.users)
            .replace("$RULES", marks.rules)
    }
}

/// What a configuration's marks stand for.
pub struct Marks<'a> {
    /// `$ADDRESS`: where to listen.
    pub address: SocketAddr,
    /// `$KEY`: which pair signs.
    pub key: &'a str,
    /// `$TOKEN`: more keys of the token section, as `, name: value`.
    pub token: &'a str,
    /// `$BACKEND`: the address of MongoDB, or of the registry behind the gateway.
    pub backend: &'a str,
    /// `$USERS`: the accounts.
    pub users: &'a str,
    /// `$RULES`: the rules.
    pub rules: &'a str,
}

/// A bcrypt hash of [`PASSWORD`].
pub fn hash(cost: u32) -> anyhow::Result<String> {
    Ok(bcrypt::hash_with_result(PASSWORD, cost)?.format_for_version(bcrypt::Version::TwoY))
}

/// The name of an account.
pub fn account(number: usize) -> String {
    format!("user{number}")
}

/// So many accounts with the same password. One hash serves all: what is remembered of a login is remembered by account.
pub fn users(count: usize, hash: &str) -> String {
    let mut text = String::new();
    for number in 0..count {
        writeln!(text, "  {}: {{password: \"{hash}\", labels: {{team: [web, api]}}}}", account(number)).ok();
    }
    text
}

/// A GET for a token.
pub fn request(address: SocketAddr, account: &str, scopes: &[String]) -> Vec<u8> {
    request_with(address, account, PASSWORD, scopes)
}

/// The same with some password.
pub fn request_with(address: SocketAddr, account: &str, password: &str, scopes: &[String]) -> Vec<u8> {
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("{account}:{password}"));
    let mut target = format!("/auth?service={SERVICE}");
    for scope in scopes {
        write!(target, "&scope={scope}").ok();
    }
    format!(
        "GET {target} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Basic {basic}\r\nUser-Agent: dockwarden-bench\r\n\
         Accept: */*\r\n\r\n"
    )
    .into_bytes()
}

/// The same request as the last one of its connection.
pub fn alone(request: &[u8]) -> Vec<u8> {
    let head = request.strip_suffix(b"\r\n").unwrap_or(request);
    [head, b"Connection: close\r\n\r\n"].concat()
}

/// A question to the rules: who, and the name of the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The account.
    pub account: String,
    /// The repository.
    pub name: String,
}

/// The `number`th rule of the mix, as YAML, and a question that it matches.
///
/// One rule in two is about one person, robot or repository by name, one in four a regular expression, one in four holds
/// placeholders.
fn rule(number: usize) -> (String, Asked) {
    let asked = |account: String, name: String| Asked { account, name };
    let somebody = || account(number % 100);
    match number % 8 {
        0 => (
            format!("{{account: \"person-{number}\", name: \"project-{number}/app\"}}"),
            asked(format!("person-{number}"), format!("project-{number}/app")),
        ),
        1 => (
            format!("{{account: \"robot-{number}\", name: \"project-{number}/*\"}}"),
            asked(format!("robot-{number}"), format!("project-{number}/tool")),
        ),
        2 => (
            format!("{{account: \"ci-{number}-*\", name: \"build/{number}/*\"}}"),
            asked(format!("ci-{number}-main"), format!("build/{number}/image")),
        ),
        3 => (
            format!("{{type: repository, account: \"/^.+$/\", name: \"lib-{number}/[a-m]*/v?\"}}"),
            asked(somebody(), format!("lib-{number}/glue/v2")),
        ),
        4 => (
            format!("{{account: \"/^team-{number}-[a-z]+$/\", name: \"/^shared-{number}\\\\/.+$/\"}}"),
            asked(format!("team-{number}-dev"), format!("shared-{number}/base/image")),
        ),
        5 => (
            format!("{{account: \"/.+/\", name: \"/^(mirror|cache)-{number}\\\\/.*$/\"}}"),
            asked(somebody(), format!("cache-{number}/library/alpine")),
        ),
        6 => (
            format!("{{account: \"/^.+$/\", name: \"home-{number}/${{account}}/*\"}}"),
            asked(somebody(), format!("home-{number}/{}/notes", somebody())),
        ),
        _ => (
            format!("{{name: \"${{labels:team}}/part-{number}/*\"}}"),
            asked(somebody(), format!("api/part-{number}/image")),
        ),
    }
}

/// What stands below the others: everybody's own repositories, and public ones.
const GENERAL: [&str; 2] = [
    "  - {match: {account: \"/^.+$/\", name: \"${account}/*\"}, actions: [\"*\"]}\n",
    "  - {match: {name: \"public/*\"}, actions: [pull]}\n",
];

/// So many rules: the mix, and below it two general ones.
pub fn rules(count: usize) -> String {
    let mut text = String::new();
    for number in 0..count.saturating_sub(GENERAL.len()) {
        let (rule, _) = rule(number);
        writeln!(text, "  - {{match: {rule}, actions: [pull, push]}}").ok();
    }
    text.push_str(&GENERAL.concat());
    text
}

/// Questions to `count` rules of the mix: half to any of them, four in ten to the general ones below, and one in ten that
/// nothing matches.
pub fn questions(count: usize, many: usize) -> Vec<Asked> {
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let mixed = count.saturating_sub(GENERAL.len()).max(1) as u64;
    let question = |_| {
        let somebody = account(usize::try_from(dice.below(100)).unwrap_or(0));
        match dice.below(10) {
            0..=4 => rule(usize::try_from(dice.below(mixed)).unwrap_or(0)).1,
            5..=6 => Asked { name: format!("{somebody}/app"), account: somebody },
            7..=8 => Asked { account: somebody, name: "public/alpine".to_owned() },
            _ => Asked { account: somebody, name: "secret/plans".to_owned() },
        }
    };
    (0..many).map(question).collect()
}

/// Whether a file can be run.
pub fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|seen| seen.is_file() && seen.permissions().mode() & 0o111 != 0)
}
