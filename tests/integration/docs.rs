//! The documents: every example in them is tried, and what they list is complete.
//!
//! A comment above an example says how it is tried:
//! - `<!-- test: config -->`: the YAML loads. Sections it leaves out are added. `<!-- test: warning "piece" -->` beside
//!   it: `check` warns so.
//! - `<!-- test: invalid "piece" -->`: the YAML is refused with this piece in a message.
//! - `<!-- test: explain {request} => {answer} -->`, after a config: `explain --requests` says so of that config.
//! - `<!-- test: table -->`: each row is such a request and its answer.
//! - `<!-- test: file NAME -->`: the text is a file for the commands of the same document.
//! - `<!-- test: run -->` or `<!-- test: run exit N -->`: the commands end so; an `<!-- test: output -->` text
//!   after it is what they print.
//! - `<!-- test: names -->`: the tests exist that a comment at the end of each row of the table names.
//! - `<!-- test: constants -->`: each row's constants stand in its file with these values.
//! - `<!-- test: mongodb -->`: a dialogue with a database, tried by `tests/real/admin/docs.rs`.
//! - `<!-- test: none -->`: it is not tried.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use axum::body::Body;
use axum::http::Request;
use dockwarden::app::{App, Source};
use dockwarden::client_address::Peer;
use dockwarden::config::{Config, Secrets};
use dockwarden::http::{self, AdminRoutes};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn document(name: &str) -> Result<String> {
    fs::read_to_string(repository().join("docs").join(name)).with_context(|| name.to_owned())
}

fn files_below(directory: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files_below(&path, ending)?);
        } else if path.extension().is_some_and(|own| own == ending) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// One thing in a document that may be tried, with the line it begins on.
struct Piece {
    line: usize,
    directives: Vec<String>,
    content: Content,
}

enum Content {
    Fence {
        language: String,
        text: String,
    },
    Table(Vec<Vec<String>>),
    /// The directive is all there is: a question about the config above it.
    Question(String),
}

fn pieces(text: &str) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut directives = Vec::new();
    let mut lines = text.lines().zip(1..).peekable();
    while let Some((line, number)) = lines.next() {
        let trimmed = line.trim();
        if let Some(directive) = trimmed.strip_prefix("<!-- test:").and_then(|rest| rest.strip_suffix("-->")) {
            match directive.trim().strip_prefix("explain ") {
                Some(question) => pieces.push(Piece {
                    line: number,
                    directives: Vec::new(),
                    content: Content::Question(question.to_owned()),
                }),
                None => directives.push(directive.trim().to_owned()),
            }
            continue;
        }
        let content = if let Some(language) = trimmed.strip_prefix("```") {
            let mut text = String::new();
            loop {
                let (line, _) = lines.next().ok_or_else(|| anyhow!("{number}: the fence never ends"))?;
                if line.trim() == "```" {
                    break;
                }
                text.push_str(line);
                text.push('\n');
            }
            Content::Fence { language: language.to_owned(), text }
        } else if trimmed.starts_with('|') {
            let mut rows = vec![cells(trimmed)];
            while let Some((row, _)) = lines.next_if(|(row, _)| row.trim().starts_with('|')) {
                rows.push(cells(row.trim()));
            }
            Content::Table(rows)
        } else {
            ensure!(directives.is_empty(), "{number}: a directive stands above nothing");
            continue;
        };
        pieces.push(Piece { line: number, directives: std::mem::take(&mut directives), content });
    }
    Ok(pieces)
}

fn cells(row: &str) -> Vec<String> {
    let inner = row.trim_start_matches('|').trim_end_matches('|');
    inner.split('|').map(|cell| cell.trim().to_owned()).collect()
}

/// One document while its pieces are tried in order.
#[derive(Default)]
struct Trial {
    /// The files that its commands use.
    files: Option<TempDir>,
    /// The last config.
    config: Option<String>,
    /// What the last commands printed.
    printed: Option<String>,
    tried: usize,
}

/// The sections that an example leaves out.
const SECTIONS: &[(&str, &str)] = &[
    ("server", "server: {addr: \"127.0.0.1:5001\"}\n"),
    ("token", "token: {issuer: Acme, certificate: token.crt, key: token.key, generate: true}\n"),
    ("users", "users: {}\n"),
    ("acl", "acl: []\n"),
];

fn complete(example: &str) -> String {
    let mut whole = example.to_owned();
    for (name, minimal) in SECTIONS {
        if !example.lines().any(|line| line.starts_with(&format!("{name}:"))) {
            whole.push_str(minimal);
        }
    }
    whole
}

fn load(text: &str) -> Result<Config, String> {
    Config::read(Path::new("config.yml"), text, [], Secrets::Skip).map_err(|problems| {
        problems.iter().map(|problem| problem.in_file(Path::new("config.yml"))).collect::<Vec<_>>().join("\n")
    })
}

/// What stands between a directive's first and last quote.
fn quoted(directive: &str) -> Result<&str> {
    let piece = directive.split_once('"').and_then(|(_, rest)| rest.strip_suffix('"'));
    piece.ok_or_else(|| anyhow!("{directive}: the piece of the message stands between quotes"))
}

impl Trial {
    fn try_piece(&mut self, piece: &Piece) -> Result<()> {
        let directives: Vec<&str> = piece.directives.iter().map(String::as_str).collect();
        match &piece.content {
            Content::Question(question) => self.question(question),
            Content::Table(rows) => match directives.as_slice() {
                [] => Ok(()),
                ["table"] => self.table(rows),
                ["names"] => names(rows),
                ["constants"] => constants(rows),
                other => bail!("{other:?} is not for a table"),
            },
            Content::Fence { language, text } => match (language.as_str(), directives.as_slice()) {
                ("yaml" | "sh", []) => bail!("nothing says how this is tried"),
                (_, [] | ["none"]) => Ok(()),
                ("yaml", ["config", warnings @ ..]) => self.config(text, warnings),
                ("yaml", [file, "config", warnings @ ..]) if file.starts_with("file ") => {
                    self.file(text, file)?;
                    self.config(text, warnings)
                }
                ("yaml", [file, "none"]) if file.starts_with("file ") => self.file(text, file),
                ("yaml", all) if all.iter().all(|one| one.starts_with("invalid ")) => refused(text, all),
                ("sh", [one]) if one.starts_with("run") => self.run(text, one),
                ("text", ["output"]) => self.output(text),
                // It needs a database: `tests/real/admin/docs.rs` tries it.
                ("console", ["mongodb"]) => Ok(()),
                (_, [one]) if one.starts_with("file ") => self.file(text, one),
                (language, other) => bail!("{other:?} is not for {language}"),
            },
        }?;
        self.tried += 1;
        Ok(())
    }

    fn config(&mut self, text: &str, warnings: &[&str]) -> Result<()> {
        let whole = complete(text);
        let config = load(&whole).map_err(anyhow::Error::msg)?;
        let found: Vec<String> = config.lint().iter().map(|problem| problem.in_file(Path::new("config.yml"))).collect();
        for warning in warnings {
            let piece = quoted(warning)?;
            ensure!(found.iter().any(|one| one.contains(piece)), "no warning says {piece:?}: {found:#?}");
        }
        // What is said of an example and is not written beside it is a false alarm, or a bad example. That everybody can
        // read its passwords is what it is there for.
        let is_written =
            |one: &&String| warnings.iter().any(|piece| quoted(piece).is_ok_and(|piece| one.contains(piece)));
        let untold = found.iter().filter(|one| !is_written(one) && !one.contains("its hash is the one of an example"));
        let untold: Vec<&String> = untold.collect();
        ensure!(untold.is_empty(), "nothing beside it says this: {untold:#?}");
        self.config = Some(whole);
        Ok(())
    }

    fn directory(&mut self) -> Result<PathBuf> {
        if self.files.is_none() {
            self.files = Some(tempfile::tempdir()?);
        }
        self.files.as_ref().map(|files| files.path().to_owned()).context("no directory")
    }

    fn file(&mut self, text: &str, directive: &str) -> Result<()> {
        let name = directive.trim_start_matches("file ").trim();
        let directory = self.directory()?;
        Ok(fs::write(directory.join(name), text)?)
    }

    /// Runs the commands in the directory of the document's files, `dockwarden` being the program under test.
    fn run(&mut self, text: &str, directive: &str) -> Result<()> {
        let expected: i32 = directive.strip_prefix("run exit ").map_or(Ok(0), str::parse)?;
        let program = Path::new(env!("CARGO_BIN_EXE_dockwarden")).parent().context("the program has no directory")?;
        let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
        let done = Command::new("sh")
            .args(["-c", text])
            .current_dir(self.directory()?)
            .env("PATH", path)
            .stdin(Stdio::null())
            .output()?;
        let printed = String::from_utf8(done.stdout)? + &String::from_utf8(done.stderr)?;
        ensure!(done.status.code() == Some(expected), "ended with {}, not {expected}:\n{printed}", done.status);
        self.printed = Some(printed);
        Ok(())
    }

    fn output(&mut self, text: &str) -> Result<()> {
        let printed = self.printed.take().context("no command stands above this output")?;
        ensure!(printed.trim_end() == text.trim_end(), "the commands printed this instead:\n{printed}");
        Ok(())
    }

    fn question(&mut self, question: &str) -> Result<()> {
        let (request, expected) = question.split_once(" => ").context("a request => an answer")?;
        self.ask(&serde_json::from_str(request)?, &serde_json::from_str(expected)?)
    }

    fn table(&mut self, rows: &[Vec<String>]) -> Result<()> {
        let (head, rows) = rows.split_first().context("the table is empty")?;
        for row in rows.iter().skip(1) {
            let (request, answer) = row_of(head, row)?;
            self.ask(&request, &answer).with_context(|| row.join(" | "))?;
        }
        Ok(())
    }

    /// Asks `explain --requests` one question about the last config, and compares what `expected` names.
    fn ask(&mut self, request: &Value, expected: &Value) -> Result<()> {
        let config = self.config.clone().context("no config stands above this")?;
        let file = self.directory()?.join("asked.yml");
        fs::write(&file, config)?;
        let mut explain = Command::new(env!("CARGO_BIN_EXE_dockwarden"))
            .arg("explain")
            .arg(&file)
            .args(["--requests", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        explain.stdin.take().context("no standard input")?.write_all(format!("{request}\n").as_bytes())?;
        let done = explain.wait_with_output()?;
        ensure!(done.status.success(), "{request}: {}", String::from_utf8_lossy(&done.stderr));
        let answer: Value = serde_json::from_slice(&done.stdout)?;
        for (key, value) in expected.as_object().context("the answer is an object")? {
            ensure!(answer.get(key) == Some(value), "{request}: {key} is not {value} in {answer}");
        }
        Ok(())
    }
}

/// A table's row as a request and its answer. Columns: Account, Labels, Address, Service, Asks for, Granted, Rule.
fn row_of(head: &[String], row: &[String]) -> Result<(Value, Value)> {
    let (mut request, mut answer) = (Map::new(), Map::new());
    for (name, cell) in head.iter().zip(row) {
        let plain = cell.trim_matches('`');
        match name.as_str() {
            "Account" if cell == "anonymous" => drop(request.insert("account".into(), json!(""))),
            "Account" => drop(request.insert("account".into(), json!(plain))),
            "Address" => drop(request.insert("ip".into(), json!(plain))),
            "Service" => drop(request.insert("service".into(), json!(plain))),
            "Labels" => {
                let mut labels = Map::new();
                for pair in plain.split_whitespace() {
                    let (label, values) = pair.split_once('=').context("label=value,value")?;
                    labels.insert(label.into(), values.split(',').collect());
                }
                request.insert("labels".into(), labels.into());
            }
            "Asks for" => {
                let (kind, rest) = plain.split_once(':').context("type:name:actions")?;
                let (name, actions) = rest.rsplit_once(':').context("type:name:actions")?;
                request.insert("type".into(), json!(kind));
                request.insert("name".into(), json!(name));
                request.insert("actions".into(), actions.split(',').collect());
            }
            "Granted" if cell == "nothing" => drop(answer.insert("granted".into(), json!([]))),
            "Granted" => drop(answer.insert("granted".into(), plain.split(',').collect())),
            "Rule" if cell == "none" => drop(answer.insert("rule".into(), Value::Null)),
            "Rule" => drop(answer.insert("rule".into(), json!(plain.parse::<usize>()?))),
            "Why" => {}
            other => bail!("the column {other} is not known here"),
        }
    }
    Ok((request.into(), answer.into()))
}

fn refused(text: &str, directives: &[&str]) -> Result<()> {
    let Err(problems) = load(&complete(text)) else { bail!("this is not refused") };
    for directive in directives {
        let piece = quoted(directive)?;
        ensure!(problems.contains(piece), "no message says {piece:?}:\n{problems}");
    }
    Ok(())
}

/// Each row holds names, as many values, and the file or folder that they stand in: below `src/`, or a crate's.
fn constants(rows: &[Vec<String>]) -> Result<()> {
    for row in rows.iter().skip(2) {
        let [names, values, place] = row.as_slice() else { bail!("three columns: {row:?}") };
        let place = place.trim_matches('`');
        let place = match place.starts_with("crates/") {
            true => repository().join(place),
            false => repository().join("src").join(place),
        };
        let files = if place.is_dir() { files_below(&place, "rs")? } else { vec![place] };
        let text: String = files.iter().map(fs::read_to_string).collect::<Result<_, _>>()?;
        let names: Vec<&str> = names.split('`').skip(1).step_by(2).collect();
        let values: Vec<&str> = values.split(", ").collect();
        ensure!(names.len() == values.len(), "{names:?} and {values:?}");
        for (name, value) in names.iter().zip(values) {
            let line = text.lines().find(|line| line.contains(&format!("const {name}:")));
            let (_, written) = line.and_then(|line| line.split_once(" = ")).with_context(|| format!("no {name}"))?;
            ensure!((amount(written) - amount(value)).abs() < 0.001, "{name} is {written}, not {value}");
        }
    }
    Ok(())
}

/// The product of a text's numbers in its units: seconds and bytes. So `24 * 3600`, `24 h` and `1 days` are the same.
fn amount(text: &str) -> f64 {
    const UNITS: &[(&str, f64)] = &[
        ("millis", 0.001),
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("h", 3600.0),
        ("hours", 3600.0),
        ("days", 86_400.0),
    ];
    let text = text.replace(['_', ','], "");
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '.');
    let factor = |word: &str| {
        let word = word.trim_matches('.').trim_start_matches("from");
        let unit = UNITS.iter().find(|(unit, _)| *unit == word).map(|(_, size)| *size);
        unit.or_else(|| word.parse().ok()).unwrap_or(1.0)
    };
    words.flat_map(|word| word.split("..")).map(factor).product()
}

/// Each test in a row's comment, written `module::name` or `acl_cases/FILE.yml`, exists.
fn names(rows: &[Vec<String>]) -> Result<()> {
    let mut sources = Vec::new();
    for folder in ["tests", "src", "crates"] {
        sources.extend(files_below(&repository().join(folder), "rs")?);
    }
    for row in rows.iter().skip(2) {
        let cell = row.last().map(String::as_str).unwrap_or_default();
        let comment = cell.split_once("<!-- ").and_then(|(_, comment)| comment.strip_suffix(" -->"));
        let tests: Vec<&str> = comment.unwrap_or_default().split('`').skip(1).step_by(2).collect();
        ensure!(!tests.is_empty(), "no test shows this row: {}", row.join(" | "));
        for test in tests {
            let exists = match test.rsplit_once("::") {
                Some((module, name)) => sources.iter().any(|source| {
                    let path = source.with_extension("").to_string_lossy().replace('/', "::");
                    let here = path.ends_with(module) || path.ends_with(&format!("{module}::mod"));
                    here && fs::read_to_string(source).is_ok_and(|text| text.contains(&format!("fn {name}(")))
                }),
                None => repository().join("tests").join(test).is_file(),
            };
            ensure!(exists, "there is no test {test}");
        }
    }
    Ok(())
}

#[test]
fn every_example_holds() -> Result<()> {
    let mut documents = files_below(&repository().join("docs"), "md")?;
    documents.push(repository().join("README.md"));
    let mut failures = Vec::new();
    let mut tried = 0;
    for document in documents {
        let name = document.strip_prefix(repository())?.display().to_string();
        let pieces = fs::read_to_string(&document).map_err(anyhow::Error::from).and_then(|text| pieces(&text));
        let mut trial = Trial::default();
        match pieces {
            Ok(pieces) => failures.extend(pieces.iter().filter_map(|piece| {
                let failure = trial.try_piece(piece).err()?;
                Some(format!("{name}:{}: {failure:#}", piece.line))
            })),
            Err(failure) => failures.push(format!("{name}: {failure:#}")),
        }
        tried += trial.tried;
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(tried > 50, "only {tried} examples were found");
    Ok(())
}

/// What `/metrics` of a program says that has everything that is counted.
pub(crate) async fn all_metrics() -> Result<String> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("config.yml");
    let pair = |name: &str| directory.path().join(name).display().to_string();
    let token = format!(
        "token: {{issuer: Acme, certificate: {}, key: {}, generate: true}}\n",
        pair("token.crt"),
        pair("token.key")
    );
    // A source of rules that can fall behind has metrics of its own; nobody listens there.
    let dial = "dial_info: {addrs: [\"127.0.0.1:1\"], database: d}";
    let elsewhere = format!("mongo_auth: {{{dial}, collection: users}}\nacl_mongo: {{{dial}, collection: acl}}\n");
    let workload = "workload: [{issuer: \"https://ci.example.org\", audiences: [a], require: {b: c}, \
                    account: \"ci:${claim:sub}\", keys: {url: \"https://127.0.0.1:1/\"}}]\n";
    let door = "forward_auth: {trusted_proxies: [unix], service: registry}\n\
                gateway: {service: registry, upstreams: [{url: \"http://127.0.0.1:1\"}]}\n\
                registries: {registry: {url: \"http://127.0.0.1:2\"}}\n\
                users: {\"\": {}}\nacl: [{match: {}, actions: [pull]}]\n";
    let ordered = format!("{{host: a.example.org, email: a@example.org, cache_dir: {}}}", pair("acme"));
    let server = format!("server: {{addr: \":5001\", letsencrypt: {ordered}}}\n");
    fs::write(&file, complete(&format!("{server}{token}{elsewhere}{workload}{door}")))?;
    let source = Source { file, variables: Vec::new() };
    let config = source.load_and_make_key()?;
    let app = Arc::new(App::open(source, config)?);
    // Some are not there before something has been counted.
    for door in ["/auth", "/forward_auth", "/v2/a/tags/list"] {
        let mut request = Request::get(door).header("host", "localhost").body(Body::empty())?;
        request.extensions_mut().insert(Peer::Unix);
        drop(http::public(&app, "", AdminRoutes::Here).oneshot(request).await);
    }
    Ok(app.metrics_text(time::OffsetDateTime::now_utc())?)
}

#[tokio::test]
async fn every_metric_is_described_and_every_described_one_exists() -> Result<()> {
    let text = all_metrics().await?;
    let mut exist = BTreeSet::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').context("a name and a kind")?;
        exist.insert(if kind == "counter" { format!("{name}_total") } else { name.to_owned() });
    }
    let page = document("reference/metrics.md")?;
    let described: BTreeSet<String> =
        page.split('`').filter(|word| word.starts_with("dockwarden_")).map(str::to_owned).collect();
    assert_eq!(described, exist);
    Ok(())
}

/// A difference to docker_auth that no example can show, as it takes a certificate.
#[test]
fn a_version_1_certificate_signs_tokens_and_is_not_served() -> Result<()> {
    let keys = repository().join("tests/fixtures/keys");
    let path = |name: &str| keys.join(name).display().to_string();
    let pair = format!("certificate: {}, key: {}", path("guide-rsa4096.crt"), path("guide-rsa4096.key"));
    let read = |server: &str| {
        let text = format!("server: {{addr: ':1'{server}}}\ntoken: {{issuer: i, {pair}}}\nusers: {{}}\nacl: []\n");
        Config::read(Path::new("config.yml"), &text, [], Secrets::Read)
    };
    assert!(read("").is_ok());
    let problems = read(&format!(", {pair}")).err().context("version 1 is refused for TLS")?;
    let paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["server.certificate"], "{problems:?}");
    Ok(())
}

/// Whoever copies an example lets nobody in whose password can be read here: there is one hash in all of them, of a random
/// password that was thrown away.
#[test]
fn no_example_has_a_user_whose_password_is_known() -> Result<()> {
    const NOBODYS_HASH: &str = "$2b$10$gBzOzsfI2FDp578beYt0WO66NjTZDBQ3bwp5ACzAk750kugGy7m/u";
    let mut files = files_below(&repository().join("docs"), "md")?;
    for directory in ["deploy", "examples"] {
        files.extend(files_below(&repository().join(directory), "yml")?);
    }
    for name in ["README.md", "config.example.yml", "docker-compose.yml", "docker-compose.mongodb.yml"] {
        files.push(repository().join(name));
    }
    let is_hash = |word: &&str| word.len() == 60 && ["$2a$", "$2b$", "$2y$"].iter().any(|kind| word.starts_with(kind));
    let mut found = 0;
    for file in files {
        let text = fs::read_to_string(&file)?;
        let part_of_one = |letter: char| letter.is_ascii_alphanumeric() || "$./".contains(letter);
        for hash in text.split(|letter| !part_of_one(letter)).filter(is_hash) {
            ensure!(hash == NOBODYS_HASH, "{}: {hash} is somebody's", file.display());
            found += 1;
        }
    }
    assert!(found > 5, "only {found} hashes were found");
    Ok(())
}
