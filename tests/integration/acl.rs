//! The rule language, from the tables in `tests/acl_cases`: rules as a configuration file writes them, and for each
//! question what is granted and by which rule.
//!
//! A table is a YAML file of several documents. Each document is a piece of configuration (`users`, `acl`) that the real
//! reader reads, and then either `cases:`, a list of questions, or `refused:`, what the reader says instead of loading
//! it. A question has `scope`, `granted` (sorted, as in a token) and `rule` (from 0, `~` where none matches), and may
//! have `account` (absent: nobody), `labels` (otherwise the user's own, as globs), `directory` (labels whose values are
//! literal, as a user could have written them), `ip`, `service` (otherwise `registry`) and `now`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use dockwarden::authn::users::Users;
use dockwarden::authz::rules::Rules;
use dockwarden::config::{Config, Secrets};
use policy::acl::Acl;
use policy::pattern::{LabelValue, LabelValues};
use policy::scope::{Action, Scope};
use policy::{Answer, Budget, Question};
use settings::yaml::{self, Node, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What every document may leave out.
const REST: &str = "server: {addr: \":5001\"}\ntoken: {issuer: Acme, certificate: unread, key: unread}\n";
/// The moment of a question that names none.
const NOW: &str = "2026-06-15T12:00:00Z";

/// One document of a table.
struct Document {
    /// Where it is, for messages.
    place: String,
    /// The configuration it holds, complete.
    config: String,
    asked: Asked,
}

enum Asked {
    Cases(Vec<Map>),
    Refused(Vec<Map>),
}

type Map = BTreeMap<String, Node>;

fn tables() -> Vec<Document> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/acl_cases");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut documents = Vec::new();
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(name.ends_with(".yml"), "{name} is no table");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("# "), "{name} does not say what it pins");
        for (index, text) in text.split("\n---\n").enumerate() {
            documents.push(document(format!("{name}, document {}", index + 1), text));
        }
    }
    documents
}

fn document(place: String, text: &str) -> Document {
    let at = ["\ncases:\n", "\nrefused:\n"].iter().find_map(|marker| text.find(marker));
    let (config, asked) = text.split_at(at.unwrap_or_else(|| panic!("{place}: neither cases nor refused")) + 1);
    let users = if config.contains("users:") { "" } else { "users: {}\n" };
    let root = yaml::parse(asked).unwrap_or_else(|problem| panic!("{place}: {problem:?}"));
    let (kind, list) = map(&root).into_iter().next().unwrap();
    let list: Vec<Map> = items(&list).iter().map(map).collect();
    assert!(!list.is_empty(), "{place} holds no cases");
    let asked = match kind.as_str() {
        "cases" => Asked::Cases(list),
        _ => Asked::Refused(list),
    };
    Document { place, config: format!("{REST}{users}{config}"), asked }
}

fn map(node: &Node) -> Map {
    let Value::Map(entries) = &node.value else { panic!("{:?}: a map is expected", node.place) };
    entries.iter().map(|entry| (entry.key.clone(), entry.node.clone())).collect()
}

fn items(node: &Node) -> &[Node] {
    let Value::List(items) = &node.value else { panic!("{:?}: a list is expected", node.place) };
    items
}

fn text(node: &Node) -> String {
    let Value::Text(text) = &node.value else { panic!("{:?}: a text is expected", node.place) };
    text.clone()
}

fn texts(node: &Node) -> Vec<String> {
    items(node).iter().map(text).collect()
}

fn read(config: &str) -> Result<Config, Vec<dockwarden::config::Problem>> {
    Config::read(Path::new("table.yml"), config, [], Secrets::Skip)
}

/// What a question asks and what the table says about it.
struct Case {
    account: String,
    labels: Arc<LabelValues>,
    address: Option<std::net::IpAddr>,
    service: String,
    now: OffsetDateTime,
    scope: Scope,
    expected: (Vec<String>, Option<usize>),
}

fn labels(node: &Node, value: impl Fn(&str) -> LabelValue) -> LabelValues {
    map(node)
        .iter()
        .map(|(name, values)| (name.clone(), texts(values).iter().map(|text| value(text)).collect()))
        .collect()
}

fn case(config: &Config, case: &Map) -> Case {
    for key in case.keys() {
        let known = ["account", "labels", "directory", "ip", "service", "now", "scope", "granted", "rule"];
        assert!(known.contains(&key.as_str()), "a case has no {key}");
    }
    let optional = |key: &str| case.get(key).map(text);
    let account = optional("account").unwrap_or_default();
    let own = || {
        config
            .backends
            .get::<Users>()
            .and_then(
                |users| if account.is_empty() { users.anonymous.as_ref() } else { users.named.get(account.as_str()) },
            )
            .map(|user| Arc::clone(&user.labels))
            .unwrap_or_default()
    };
    let given = case.get("labels").map(|node| labels(node, |text| LabelValue::glob(text).unwrap()));
    let literal = case.get("directory").map(|node| labels(node, LabelValue::literal));
    let rule = match &case["rule"].value {
        Value::Null => None,
        Value::Text(index) => Some(index.parse().unwrap()),
        other => panic!("{other:?} is no rule"),
    };
    let scope = text(&case["scope"]);
    let scope = Scope::parse(&scope).unwrap_or_else(|error| panic!("{scope}: {error}"));
    let now = optional("now").unwrap_or_else(|| NOW.to_owned());
    Case {
        labels: given.or(literal).map_or_else(own, Arc::new),
        account,
        address: optional("ip").map(|ip| ip.parse().unwrap()),
        service: optional("service").unwrap_or_else(|| "registry".to_owned()),
        now: OffsetDateTime::parse(&now, &Rfc3339).unwrap(),
        scope,
        expected: (texts(&case["granted"]), rule),
    }
}

fn decide(acl: &Acl, case: &Case) -> (Vec<String>, Option<usize>) {
    let question = Question {
        account: &case.account,
        labels: &case.labels,
        address: case.address,
        service: &case.service,
        resource: &case.scope.resource,
        actions: &case.scope.actions,
        reference: None,
        now: case.now,
    };
    match acl.decide(&question, &mut Budget::for_request()).unwrap() {
        Answer::Decided { actions, by, .. } => (actions.iter().map(Action::to_string).collect(), Some(by.index)),
        Answer::NoMatch { .. } => (Vec::new(), None),
    }
}

#[test]
fn the_tables_hold() {
    let mut wrong = Vec::new();
    let (mut cases, mut refusals) = (0, 0);
    for document in tables() {
        match &document.asked {
            Asked::Cases(list) => {
                let config =
                    read(&document.config).unwrap_or_else(|problems| panic!("{}: {problems:?}", document.place));
                let all: Vec<Case> = list.iter().map(|map| case(&config, map)).collect();
                let acl = Arc::clone(&config.backends.get::<Rules>().unwrap().acl);
                for (index, case) in all.iter().enumerate() {
                    cases += 1;
                    let found = decide(&acl, case);
                    if found != case.expected {
                        let (account, scope) = (&case.account, &case.scope);
                        let place = format!("{}, case {}", document.place, index + 1);
                        wrong
                            .push(format!("{place}: {account:?} asks for {scope}: {found:?}, not {:?}", case.expected));
                    }
                }
            }
            Asked::Refused(list) => {
                let problems = read(&document.config).err().unwrap_or_default();
                let found: Vec<(String, &str)> =
                    problems.iter().map(|one| (one.path.clone(), one.message.as_str())).collect();
                refusals += list.len();
                let expected: Vec<(String, String)> =
                    list.iter().map(|one| (text(&one["path"]), text(&one["says"]))).collect();
                let same = found.len() == expected.len()
                    && found
                        .iter()
                        .zip(&expected)
                        .all(|(found, expected)| found.0 == expected.0 && found.1.contains(&expected.1));
                if !same {
                    wrong.push(format!("{}: {found:?}, not {expected:?}", document.place));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // A table that is not read at all would hold as well.
    assert!(cases >= 200 && refusals >= 20, "{cases} cases and {refusals} refusals");
}

/// A7: three labels of sixty values each are 216,000 combinations, which took docker_auth two seconds.
#[test]
fn many_label_values_are_decided_at_once() {
    // The pattern, a name that it matches, and one that it does not.
    for (pattern, inside, outside) in [
        ("${labels:p}/${labels:q}-${labels:r}", "v59/v59-v59", "v59/v59-v60"),
        (r"/^${labels:p}\\/${labels:q}-${labels:r}$/", "v59/v59-v59", "v59/v59-v60"),
        ("${labels:p}${labels:p}${labels:q}", "v59v59v58", "v59v58v59"),
    ] {
        let config = format!("{REST}users: {{}}\nacl: [{{match: {{name: \"{pattern}\"}}, actions: [push]}}]\n");
        let config = read(&config).unwrap_or_else(|problems| panic!("{problems:?}"));
        let acl = &config.backends.get::<Rules>().unwrap().acl;
        let values: Vec<LabelValue> = (0..60).map(|number| LabelValue::glob(&format!("v{number}")).unwrap()).collect();
        let labels = ["p", "q", "r"].map(|label| (label.to_owned(), values.clone()));
        let labels = Arc::new(LabelValues::from(labels));
        let started = std::time::Instant::now();
        for (name, expected) in [(inside, Some(0)), (outside, None)] {
            let case = Case {
                account: String::new(),
                labels: Arc::clone(&labels),
                address: None,
                service: String::new(),
                now: OffsetDateTime::UNIX_EPOCH,
                scope: Scope::parse(&format!("repository:{name}:push")).unwrap(),
                expected: (Vec::new(), None),
            };
            assert_eq!(decide(acl, &case).1, expected, "{pattern} on {name}");
        }
        assert!(started.elapsed().as_millis() < 1000, "{pattern} took {:?}", started.elapsed());
    }
}
