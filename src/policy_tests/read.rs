//! A list of tests, read strictly: everything that is wrong at once.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use policy::pattern::{LabelValue, LabelValues};
use policy::scope::{Action, Actions, OUR_SERVICE, Reference, Scope};
use settings::{At, DayEnd, Field, Holds, Refusal, Section};

use super::{Test, Tests, scope_from};
use crate::identity::Account;

/// The most questions in all entries together. A reload asks them all before it takes effect.
const MOST: usize = 10_000;
/// The longest name, in bytes: it is in the log and in metrics.
const LONGEST_NAME: usize = 120;

/// The comments that a test may name.
pub enum Comments {
    /// These: all rules are in the file.
    These(BTreeSet<Arc<str>>),
    /// Any: there are rules elsewhere too.
    Any,
}

/// What tests are read with.
pub struct Read<'a> {
    /// The services that tokens are made for; empty means any.
    pub services: &'a [String],
    /// Whether a service may be declared elsewhere too.
    pub other_services: bool,
    /// The comments of the rules.
    pub comments: Comments,
    /// The file, where it is not the configuration's.
    pub file: Option<PathBuf>,
}

/// Reads a list of tests. Problems are noted.
pub fn read(list: &Field<'_>, with: &Read<'_>) -> Tests {
    let Some(items) = list.items() else {
        list.problem(match with.file {
            None => "a list of tests is expected here: tests: [{as: alice, ask: \"repository:team/app:pull\", want: [pull]}]",
            Some(_) => {
                "a list of tests is expected here, without the key tests: [{as: alice, ask: \"repository:team/app:pull\", want: [pull]}]"
            }
        });
        return Tests::default();
    };
    let file = with.file.clone().map(Arc::new);
    let (mut tests, mut names) = (Vec::new(), BTreeSet::new());
    for item in items {
        let Some(section) = item.section() else { continue };
        let Some(entry) = Entry::read(section, item.path(), with, &mut names) else { continue };
        if tests.len() + entry.accounts.len() * entry.scopes.len() > MOST {
            item.problem(format!("from here on there are more than {MOST} questions; a reload would take too long"));
            break;
        }
        for account in &entry.accounts {
            for scope in &entry.scopes {
                tests.push(Test {
                    account: account.clone(),
                    scope: scope.clone(),
                    service: match &entry.service {
                        Some(service) => service.as_str().into(),
                        None => scope.resource.service_or(&entry.test.service).into(),
                    },
                    file: file.clone(),
                    place: item.place().clone(),
                    ..entry.test.clone()
                });
            }
        }
    }
    tests.into()
}

/// One entry: its questions have all but the account and the scope in common.
struct Entry {
    accounts: Vec<Option<Account>>,
    scopes: Vec<Scope>,
    /// The service that it names.
    service: Option<String>,
    test: Test,
}

impl Entry {
    fn read(mut fields: Section<'_>, path: &str, with: &Read<'_>, names: &mut BTreeSet<String>) -> Option<Entry> {
        let before = fields.place().clone();
        let name = fields.word("name", |text| match text.trim() {
            "" => Err(Refusal::says("a name is expected here; without one a test is called by its place, tests[0]")),
            _ if text.len() > LONGEST_NAME || text.chars().any(char::is_control) => {
                Err(Refusal::says(format!("a name has at most {LONGEST_NAME} bytes, in one line")))
            }
            _ => Ok(text.to_owned()),
        });
        if let Some(At { place, value }) = &name
            && !names.insert(value.clone())
        {
            fields.problem(place, "name", "another test has this name; the log and the metrics tell them apart by it");
        }
        let accounts = read_accounts(&mut fields);
        let labels = fields.field("labels").map(|field| read_labels(&field));
        let address = fields.word("ip", |text| {
            text.parse::<IpAddr>().map_err(|_| Refusal::is("not an address; write 10.1.2.3 or 2001:db8::1"))
        });
        let service = fields.text("service");
        if let Some(At { place, value }) = &service
            && !(with.services.is_empty() || with.other_services)
            && value != OUR_SERVICE
            && !with.services.contains(value)
        {
            fields.problem(
                place,
                "service",
                "token.services does not have it, so the server refuses every request for it",
            );
        }
        let reference = fields.word("reference", |text| {
            Reference::parse(text).ok_or_else(|| Refusal::is("neither a tag nor a digest; write v1 or \"sha256:…\""))
        });
        let at = fields.moment("at", DayEnd::Start);
        let scopes = read_scopes(&mut fields, reference.map(|at| at.value));
        let want = read_want(&mut fields, &scopes);
        let rule = fields.text("rule");
        if let (Some(At { place, value }), Comments::These(comments)) = (&rule, &with.comments)
            && !comments.contains(value.as_str())
        {
            fields.problem(
                place,
                "rule",
                "no rule has this comment; a test names the rule that decides by its comment",
            );
        }
        fields.finish_with(|entry| {
            let meant = match entry.key.as_str() {
                "account" | "user" => "as",
                "scope" | "scopes" => "ask",
                "granted" | "expect" | "actions" => "want",
                "comment" => "rule (the deciding rule's comment) or name (the test's own)",
                "tag" | "digest" => "reference",
                "now" | "time" => "at",
                _ => return None,
            };
            Some(format!("there is no such key; write {meant}"))
        });
        let first = with.services.first().map_or("", String::as_str);
        let test = Test {
            name: name.map_or_else(|| path.into(), |at| at.value.into()),
            place: before,
            file: None,
            account: None,
            labels: labels.map(Arc::new),
            address: address.map(|at| at.value),
            service: first.into(),
            at: at.map(|at| at.value),
            scope: scopes.first()?.clone(),
            want: Arc::new(want?),
            rule: rule.map(|at| at.value.into()),
        };
        Some(Entry { accounts: accounts?, scopes, service: service.map(|at| at.value), test })
    }
}

fn read_accounts(fields: &mut Section<'_>) -> Option<Vec<Option<Account>>> {
    let texts = fields.texts("as").unwrap_or_default();
    if texts.is_empty() {
        fields.missing(
            "as",
            "a test needs somebody who asks; write as: alice, or as: \"\" for a client without an account",
        );
        return None;
    }
    let mut accounts = Vec::with_capacity(texts.len());
    for At { place, value } in texts {
        match Account::parse_or_anonymous(&value) {
            Ok(account) => accounts.push(account),
            Err(wrong) => fields.problem(&place, "as", wrong.to_string()),
        }
    }
    Some(accounts)
}

/// Labels as an administrator writes them: globs.
fn read_labels(field: &Field<'_>) -> LabelValues {
    let mut labels = LabelValues::new();
    let Some(entries) = field.entries() else {
        field.problem("labels are names with lists of values: labels: {team: [web, api]}");
        return labels;
    };
    for (label, field) in entries {
        let mut values = Vec::new();
        for At { place, value } in field.texts() {
            match LabelValue::glob(&value) {
                Ok(value) => values.push(value),
                Err(error) => field.problem_at(&place, error.to_string()),
            }
        }
        labels.insert(label.to_owned(), values);
    }
    labels
}

fn read_scopes(fields: &mut Section<'_>, reference: Option<Reference>) -> Vec<Scope> {
    let texts = fields.texts("ask").unwrap_or_default();
    if texts.is_empty() {
        fields.missing("ask", "a test needs a question; write ask: \"repository:team/app:pull,push\"");
    }
    let mut scopes = Vec::with_capacity(texts.len());
    for At { place, value } in texts {
        match scope_from(&value) {
            Ok(scope) => {
                let words = value.rsplit(':').next().unwrap_or_default().split(',');
                let odd: Vec<&str> = words.filter(|word| Action::parse(word).is_none()).collect();
                if odd.is_empty() {
                    scopes.push(Scope { reference: reference.clone(), ..scope });
                } else {
                    fields.problem(&place, "ask", "one of the actions is none; write pull, push, delete or \"*\"");
                }
            }
            Err(error) => {
                let message = Refusal::is(format!("not a scope: {error}; write repository:team/app:pull,push"));
                fields.problem(&place, "ask", message.about(&value, Holds::Words));
            }
        }
    }
    scopes
}

fn read_want(fields: &mut Section<'_>, scopes: &[Scope]) -> Option<Actions> {
    let Some(texts) = fields.texts("want") else {
        fields.missing("want", "a test needs the answer; write want: [pull] for what is granted, want: [] for nothing");
        return None;
    };
    let mut want = Actions::new();
    for word in texts {
        let Some(action) = Action::parse(&word.value) else {
            let refusal = Refusal::is("not an action; write pull, push, delete or \"*\"");
            fields.refuse_word(&word, "want", &refusal);
            continue;
        };
        let can_be = |scope: &Scope| scope.actions.contains(&action) || scope.actions.contains(&Action::All);
        if !scopes.iter().all(can_be) {
            let message = "not asked for, and nothing is granted that is not; name it in ask, or leave it out here";
            fields.refuse_word(&word, "want", &Refusal::is(message));
        }
        want.insert(action);
    }
    Some(want)
}
