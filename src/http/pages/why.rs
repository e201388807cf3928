//! Why: what each rule says to a question, and who may do something.

use std::collections::BTreeMap;
use std::net::IpAddr;

use axum::http::StatusCode;
use axum::response::Response;
use policy::pattern::{LabelValue, LabelValues};
use policy::scope::{Reference, words};
use settings::DayEnd;
use settings::moment::parse_moment;

use super::area::{Area, Room};
use super::frame::Problem;
use super::sheet::{Cell, Input, Sending, Sheet, Table, fitting, written};
use crate::http::api::{AskedWhy, Explained, People, apart, explain, find_who, turn};
use crate::identity::Account;
use crate::policy_tests::{PolicyAction, scope_from};
use crate::shown::printable;
use crate::whole_policy::{OfPattern, RuleTold, SymbolicTold, WholePolicy, in_words, term, wanted};

/// So many rules are shown at once: those nearest to the decision first.
const RULES: usize = 60;
/// The bytes of the tables, of the labels beside them, and of what somebody has typed, which a page repeats.
const BYTES: usize = 36_000;
const LABELS_BYTES: usize = 4_000;
const TYPED_BYTES: usize = 4_000;
/// How often what was typed is on the page, and in an address, where a byte is three.
const REPEATED: usize = 5;
/// What somebody is told who typed more.
const TOO_MUCH: &str = "this is more than the page has room for; ask by the API, or with fewer labels";

/// The fields of the question, as people fill them in.
const FIELDS: [(&str, &str); 7] = [
    ("scope", "What is asked for, such as repository:team/app:pull,push"),
    ("account", "Account; empty for a client without one"),
    ("ip", "Address of the client"),
    ("service", "Service; the first of token.services if empty"),
    ("reference", "Tag or digest, as the gateway and forward-auth see it"),
    ("at", "Moment, such as 2027-01-31T12:00:00Z; now if empty"),
    ("labels", "Labels in place of the account's own: name=value, one a line"),
];

impl Room<'_> {
    /// That somebody may ask this about the policy.
    async fn may_ask(&self, action: PolicyAction) -> Result<(), Problem> {
        match self.desk.asks_policy(action).await? {
            true => Ok(()),
            false => Err(Problem::Nothing),
        }
    }

    async fn could_ask(&self, action: PolicyAction) -> Result<bool, Problem> {
        Ok(self.desk.could(PolicyAction::ON, action.action()).await?)
    }

    /// The form that looks a decision up.
    pub(super) fn asks_for_id(&self, id: &str) -> Sending {
        let form = self.form("A decision by its id", Area::Decision, "Look it up", Vec::new());
        Sending { method: "get", inputs: vec![Input::needed("id", "Id, as in X-Decision-Id and the log", id)], ..form }
    }

    /// The bytes of what somebody has typed, and whether there is room for it.
    fn typed(&self) -> Result<usize, String> {
        let bytes = self.asked.0.iter().map(|(_, value)| written(value)).sum();
        if bytes > TYPED_BYTES { Err(TOO_MUCH.to_owned()) } else { Ok(bytes) }
    }

    /// What somebody has typed in a field, where there is room for all of it.
    fn repeated(&self, name: &str) -> Option<&str> {
        self.asked.field(name).filter(|_| self.typed().is_ok())
    }

    fn asks_why(&self) -> Sending {
        let said = |name: &str| self.repeated(name).unwrap_or_default().to_owned();
        let input = |(name, label): (&'static str, &'static str)| match name {
            "scope" => Input::needed(name, label, said(name)),
            "labels" => Input::lines(name, label, &[said(name)]),
            _ => Input::line(name, label, said(name)),
        };
        let form = self.form("Why may somebody do something, or not?", Area::Why, "Explain", Vec::new());
        Sending { method: "get", inputs: FIELDS.into_iter().map(input).collect(), ..form }
    }

    fn asks_who(&self) -> Sending {
        let said = |name: &str, usual: &str| self.repeated(name).unwrap_or(usual).to_owned();
        let form = self.form("Who may do something?", Area::WhoCan, "Find them", Vec::new());
        let inputs = vec![
            Input::needed("action", "Action, such as push", said("action", "push")),
            Input::needed(
                "resource",
                "Done to, such as repository:team/app or repository:team/*",
                said("resource", ""),
            ),
            Input::line("service", "Service; any if empty", said("service", "")),
            Input::check("all", "To all names of a pattern, and not to any of them", self.said("all").is_some()),
        ];
        Sending { method: "get", inputs, ..form }
    }

    /// All that may be asked.
    async fn asks(&self) -> Result<Vec<Sending>, Problem> {
        let mut forms = Vec::new();
        if self.could_ask(PolicyAction::Explain).await? {
            forms.push(self.asks_why());
        }
        if self.could_ask(PolicyAction::WhoCan).await? {
            forms.push(self.asks_who());
        }
        if self.desk.sees_overview().await? {
            forms.push(self.asks_for_id(""));
        }
        Ok(forms)
    }

    /// Asks why, and answers.
    pub(super) async fn why(&self) -> Result<Response, Problem> {
        let forms = self.asks().await?;
        if forms.is_empty() {
            return Err(Problem::Nothing);
        }
        let title = "Why".to_owned();
        if self.said("scope").is_none() {
            return self.show(Sheet { title, forms, ..Sheet::default() });
        }
        self.may_ask(PolicyAction::Explain).await?;
        match self.asked_why() {
            Err(wrong) => {
                let sheet = Sheet { title, alert: Some(wrong), forms, ..Sheet::default() };
                Ok(self.show_as(StatusCode::BAD_REQUEST, sheet))
            }
            Ok(asked) => {
                let explained = explain(self.visit, asked).await?;
                self.show(Sheet { title, forms, ..self.told(&explained) })
            }
        }
    }

    fn asked_why(&self) -> Result<AskedWhy, String> {
        self.typed()?;
        let scope = scope_from(self.said("scope").unwrap_or_default());
        let mut scope = scope.map_err(|wrong| format!("{wrong}; write repository:team/app:pull,push"))?;
        let reference = self.said("reference").map(|text| Reference::parse(text).ok_or("that is no tag and no digest"));
        scope.reference = reference.transpose()?;
        let account = Account::parse_or_anonymous(self.said("account").unwrap_or_default());
        let address = self.said("ip").map(|text| text.parse::<IpAddr>().map_err(|_| "that is not an IP address"));
        let at = self.said("at").map(|text| parse_moment(text, DayEnd::Start));
        let at = at.map(|at| at.ok_or("that is neither a day nor a moment; write 2027-01-31T12:00:00Z"));
        let first = || self.visit.snapshot.services.first().cloned().unwrap_or_default();
        let lines = self.lines("labels");
        let labels = (!lines.is_empty()).then(|| labels_from(&lines)).transpose()?;
        Ok(AskedWhy {
            account: account.map_err(|wrong| wrong.to_string())?,
            labels,
            address: address.transpose()?,
            service: self.said("service").map_or_else(first, str::to_owned),
            scope,
            at: at.transpose()?.unwrap_or(self.desk.now),
        })
    }

    fn told(&self, explained: &Explained) -> Sheet {
        let Explained { granted, withheld, notes, rules, labels } = explained;
        let list = |all: String| if all.is_empty() { "nothing".to_owned() } else { all };
        let asker = Account::parse_or_anonymous(self.said("account").unwrap_or_default());
        let asker = asker.ok().flatten().map_or_else(|| "anonymous".to_owned(), |account| account.to_string());
        let mut facts = vec![
            ("Account", asker),
            ("Asked for", self.said("scope").unwrap_or_default().to_owned()),
            ("Granted", list(words(granted))),
            ("Withheld", list(words(withheld))),
        ];
        facts.extend(notes.iter().map(|note| ("Note", note.clone())));
        facts.push(("Labels", list(told_labels(labels))));
        let upto = self.said("upto").and_then(|text| text.parse().ok()).unwrap_or(rules.len()).min(rules.len());
        let from = upto.saturating_sub(RULES);
        let row = |rule: &RuleTold| {
            vec![
                Cell::cut(&rule.name),
                Cell::cut(&rule.comment.as_deref().map(printable).unwrap_or_default()),
                Cell::cut(&rule.told),
            ]
        };
        let shown = rules.get(from..upto).unwrap_or_default();
        // The last ones matter: one of them decides.
        let typed = self.typed().unwrap_or(TYPED_BYTES).saturating_mul(REPEATED);
        let mut rows = fitting(shown.iter().rev().map(row), BYTES.saturating_sub(typed));
        rows.reverse();
        let from = upto.saturating_sub(rows.len());
        let asked = FIELDS.iter().filter_map(|(name, _)| Some((*name, self.asked.field(name)?)));
        let before = from.to_string();
        let pairs: Vec<(&str, &str)> = asked.chain([("upto", before.as_str())]).collect();
        let links = (from > 0).then(|| self.link(format!("The {from} rules before these"), Area::Why, &pairs));
        let table = Table {
            title: "What the rules say, up to the one that decides".to_owned(),
            columns: vec!["Rule", "Comment", "What it says"],
            rows,
            empty: "No rule was asked.",
            next: None,
        };
        Sheet { links: links.into_iter().collect(), facts, tables: vec![table], ..Sheet::default() }
    }

    /// Says who may do something.
    pub(super) async fn who_can(&self) -> Result<Response, Problem> {
        self.may_ask(PolicyAction::WhoCan).await?;
        let title = "Who may".to_owned();
        let (action, resource) = (self.said("action").unwrap_or_default(), self.said("resource").unwrap_or_default());
        let of_pattern = if self.said("all").is_some() { OfPattern::All } else { OfPattern::Any };
        let forms = self.asks().await?;
        if action.is_empty() && resource.is_empty() {
            return self.show(Sheet { title, forms, ..Sheet::default() });
        }
        let wanted = match self.typed().and_then(|_| wanted(action, resource, of_pattern)) {
            Ok(wanted) => wanted,
            Err(wrong) => {
                let sheet = Sheet { title, alert: Some(wrong), forms, ..Sheet::default() };
                return Ok(self.show_as(StatusCode::BAD_REQUEST, sheet));
            }
        };
        let turn = turn(self.visit).await?;
        let snapshot = std::sync::Arc::clone(self.visit.snapshot);
        let people = People::now(&snapshot, self.desk.now).await?;
        let service = self.said("service").map(str::to_owned);
        let (tables, hidden) = apart(turn, move |still| {
            let (found, policy) = find_who(&snapshot, &people, &wanted, service, still)?;
            Ok(told_who(&found, &policy))
        })
        .await?;
        let title = format!("Who may {action} {resource}");
        let facts = if hidden > 0 { vec![("Not shown", format!("{hidden} more"))] } else { Vec::new() };
        self.show(Sheet { title, facts, tables, forms, ..Sheet::default() })
    }
}

/// What was found, and how many of those found are not in the tables: these are for one page.
fn told_who(found: &policy::analysis::WhoCan, policy: &WholePolicy) -> (Vec<Table>, usize) {
    let conditions = |always: bool| if always { "" } else { " (on conditions)" };
    let accounts = found.accounts.iter().map(|(account, ways)| {
        let told: Vec<String> = ways.ways.iter().map(|way| in_words(policy, way)).collect();
        vec![
            Cell::text(if account.is_empty() { "anonymous" } else { account.as_str() }),
            Cell::cut(&format!("{}{}{}", told.join("; or "), conditions(ways.always), term(policy, account))),
        ]
    });
    let others = found.symbolic.iter().filter_map(|other| {
        let SymbolicTold { account, labels, .. } = SymbolicTold::of(policy, other)?;
        let who = account.map_or("anyone".to_owned(), |account| format!("anyone called {account}"));
        let with: Vec<String> = labels.iter().map(|(label, value)| format!("{label}={value}")).collect();
        let with = if with.is_empty() { String::new() } else { format!(" with {}", with.join(", ")) };
        Some(vec![Cell::cut(&format!("{who}{with}")), Cell::cut(&in_words(policy, &other.way))])
    });
    let undecided = found.undecided.iter().map(|(why, rules)| {
        let named: Vec<String> = rules.iter().filter_map(|rule| Some(policy.named(*rule)?.told())).collect();
        vec![Cell::text(*why), Cell::cut(&named.join(", "))]
    });
    let (accounts, others) = (fitting(accounts, BYTES / 2), fitting(others, BYTES / 4));
    let hidden =
        found.accounts.len().saturating_sub(accounts.len()) + found.symbolic.len().saturating_sub(others.len());
    let table = |title: &str, columns, rows, empty| Table { title: title.to_owned(), columns, rows, empty, next: None };
    let mut tables = vec![
        table("Accounts that are listed", vec!["Account", "By"], accounts, "None."),
        table("Others", vec!["Who", "By"], others, "None."),
    ];
    let undecided = fitting(undecided, BYTES / 8);
    if !undecided.is_empty() {
        tables.push(table("What could not be told", vec!["Why", "Rules"], undecided, ""));
    }
    (tables, hidden)
}

/// The labels that an account has, as many values as have room: somebody may be in a thousand groups.
fn told_labels(labels: &BTreeMap<String, Vec<String>>) -> String {
    let (mut told, mut left, mut hidden) = (Vec::new(), LABELS_BYTES, 0_usize);
    for (label, values) in labels {
        let mut shown: Vec<&str> = Vec::new();
        for value in values {
            // The name of the label is counted with each of its values, which is more than it takes.
            let size = written(value).saturating_add(written(label)).saturating_add(4);
            match left.checked_sub(size) {
                Some(rest) => {
                    left = rest;
                    shown.push(value);
                }
                None => hidden = hidden.saturating_add(1),
            }
        }
        if !shown.is_empty() {
            told.push(format!("{label}=[{}]", shown.join(", ")));
        }
    }
    if hidden > 0 {
        told.push(format!("and {hidden} more"));
    }
    told.join(" ")
}

/// Labels as an administrator writes them: globs.
fn labels_from(lines: &[String]) -> Result<LabelValues, String> {
    let mut labels = LabelValues::new();
    for line in lines {
        let (name, value) = line.split_once('=').ok_or("a label is written as name=value")?;
        let value = LabelValue::glob(value).map_err(|error| error.to_string())?;
        labels.entry(name.to_owned()).or_default().push(value);
    }
    Ok(labels)
}
