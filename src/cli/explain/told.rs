//! What `explain` prints: for people, and as JSON.

use ::policy::pattern::LabelValue;
use ::policy::scope::Action;
use serde::{Serialize, Serializer};

use super::policy::{Asker, Policy};
use crate::authz::lint::meant_action;
use crate::shell::quoted;
use crate::whole_policy::RuleTold;

/// The explanation of one scope, as JSON.
#[derive(Serialize)]
pub(super) struct Explanation {
    pub(super) scope: String,
    pub(super) granted: Vec<String>,
    pub(super) withheld: Vec<String>,
    pub(super) rule: Option<usize>,
    /// Only of a rule in MongoDB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seq: Option<i64>,
    /// What the rule is found by wherever it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rule_id: Option<String>,
    pub(super) comment: Option<String>,
    /// Who decided, where that is a source that decides as a whole and shows no rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<&'static str>,
    /// What else is to be said; one text in JSON.
    #[serde(rename = "note", skip_serializing_if = "Vec::is_empty", serialize_with = "joined")]
    pub(super) notes: Vec<String>,
    pub(super) rules: Vec<RuleTold>,
    #[serde(skip)]
    pub(super) account: LoginState,
}

/// Whether rules are asked about an account at all.
pub(super) enum LoginState {
    Open,
    Closed,
}

fn joined<S: Serializer>(notes: &[String], out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(&notes.join("; "))
}

impl Explanation {
    /// Says what became of words that mean nothing, as they stand in the scope.
    pub(super) fn say_words(&mut self, policy: &Policy, text: &str) {
        let words = text.rsplit_once(':').map(|(_, words)| words).unwrap_or_default();
        for word in words.split(',').filter(|word| !word.is_empty()) {
            match Action::parse(word) {
                None => {
                    if !self.withheld.iter().any(|withheld| withheld == word) {
                        self.notes.push(format!("\"{word}\" is not an action{}", meant_action(word)));
                        self.withheld.push(word.to_owned());
                    }
                }
                Some(action) if !action.is_known() && !policy.actions.contains(&action) => {
                    if self.withheld.iter().any(|withheld| withheld == word) {
                        let meant = meant_action(word);
                        self.notes
                            .push(format!("\"{word}\" is not an action of a registry (pull, push, delete){meant}"));
                    }
                }
                Some(_) => {}
            }
        }
    }
}

pub(super) fn describe(policy: &Policy, asker: &Asker) -> String {
    let name = asker.identity.account.as_deref().unwrap_or("anonymous");
    let labels: Vec<String> = asker
        .identity
        .labels
        .iter()
        .map(|(label, values)| {
            let texts: Vec<&str> = values.iter().map(LabelValue::text).collect();
            format!("{}=[{}]", quoted(label), texts.join(", "))
        })
        .collect();
    let known = match (policy.elsewhere(), asker.known) {
        (_, true) => String::new(),
        (None, false) => " (not among the users of this file)".to_owned(),
        (Some(elsewhere), false) => format!(" (not among the users of this file or of {elsewhere})"),
    };
    let strangers = match (asker.known, policy.strangers.as_slice()) {
        (true, _) | (false, []) => String::new(),
        // Whoever reads "no labels" must not take it for what a login would find.
        (false, names) => format!(" ({} not asked here: give labels with --label)", names.join(", ")),
    };
    match labels.is_empty() {
        true => format!("{name}{known}{strangers}, no labels"),
        false => format!("{name}{known}{strangers}, labels {}", labels.join(" ")),
    }
}

pub(super) fn render(explanation: &Explanation, deciders: &[&str]) -> String {
    let mut lines = vec![String::new(), explanation.scope.clone()];
    lines.extend(explanation.notes.iter().map(|note| format!("  {note}")));
    for rule in &explanation.rules {
        let comment = rule.comment.as_deref().map(|comment| format!("  # {comment}")).unwrap_or_default();
        lines.push(format!("  {} {}{comment}", rule.name, rule.told));
    }
    if let (Some(source), Some(rule)) = (explanation.source, explanation.rule) {
        let comment = explanation.comment.as_deref().map(|comment| format!("  # {comment}")).unwrap_or_default();
        lines.push(format!("  {source}[{rule}] decides{comment}"));
    }
    match (&explanation.account, explanation.rule, deciders) {
        (LoginState::Closed, _, _) | (LoginState::Open, Some(_), _) => {}
        (LoginState::Open, None, []) => lines.push("  no rule matches: nothing is granted".to_owned()),
        (LoginState::Open, None, names) => {
            let names = names.join(", then ");
            lines.push(format!("  no rule matches: a server asks {names}, which is not asked here"));
        }
    }
    let list = |actions: &[String]| if actions.is_empty() { "nothing".to_owned() } else { actions.join(",") };
    lines.push(format!("  granted:  {}", list(&explanation.granted)));
    lines.push(format!("  withheld: {}", list(&explanation.withheld)));
    lines.join("\n")
}
