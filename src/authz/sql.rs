//! Rules in an SQL database (`acl_xorm:`), in the table that docker_auth makes there: read whole, in the order of `seq`, again
//! and again.

use std::sync::Arc;

use ::settings::Field;
use async_trait::async_trait;
use policy::acl::Acl;
use policy::rule::Rule;

use super::kept::{self, Again, Changes, Compiled, Keeper, MAX_RULES, READING, Times, Unread, Wrong};
use super::mongo::documents::{MAX_NAMED, read_rule};
use crate::authn::password::Passwords;
use crate::backend::{Configured, Facts, Kind, Opened, Purpose, configured};
use crate::digest::sha256;
use crate::shelf::entry;
use crate::sql::{Database, Dialect, Failure, Row, Settings, conn_string};

/// The row of the table.
pub const KIND: Kind = Kind { key: "acl_xorm", purpose: Purpose::Rules, read: |field| configured(read(field)) };

/// All rules, as docker_auth's own query sorts them, and one more than there may be.
fn all_rules(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite | Dialect::MySql => "SELECT seq, acl_entry FROM xorm_acl_entry ORDER BY seq LIMIT 100001",
        Dialect::Postgres => "SELECT seq, acl_entry::text FROM xorm_acl_entry ORDER BY seq LIMIT 100001",
    }
}

/// The `acl_xorm:` section.
#[derive(Clone, Debug, PartialEq)]
pub struct AclXormSettings {
    database: Settings,
    times: Times,
}

impl AclXormSettings {
    /// Where the rules are.
    pub fn database(&self) -> &Settings {
        &self.database
    }
}

/// Reads the `acl_xorm:` section.
pub fn read(field: Field<'_>) -> Option<AclXormSettings> {
    let mut section = field.section()?;
    let database = conn_string::read(&mut section);
    let times = Times::read(&mut section);
    section.finish();
    Some(AclXormSettings { database: database?, times })
}

impl Configured for AclXormSettings {
    fn open(self: Arc<Self>, _passwords: &Arc<Passwords>) -> anyhow::Result<Opened> {
        kept::open(SqlRules(Database::without_breaker(self.database.clone())), self.times)
    }

    fn facts(&self) -> Facts<'_> {
        Facts::RulesElsewhere
    }
}

/// The rules of a database.
struct SqlRules(Database);

/// All rules as they were read, and by what database.
struct Entries {
    rows: Vec<Row>,
    dialect: Dialect,
}

#[async_trait]
impl Keeper for SqlRules {
    const KEY: &'static str = KIND.key;
    type Entries = Entries;

    fn place(&self) -> String {
        self.0.settings().place()
    }

    async fn fetch(&self) -> Result<Entries, Unread> {
        let dialect = self.0.settings().dialect();
        let read = self.0.read_within(READING, all_rules(dialect), &[]).await;
        read.map(|rows| Entries { rows, dialect }).map_err(|failure| Unread {
            cause: failure.to_string(),
            advice: failure.advice(),
            again: match failure {
                Failure::Stranger { .. } => Again::Later,
                Failure::Down { .. }
                | Failure::Refused { .. }
                | Failure::Forbidden { .. }
                | Failure::Slow { .. }
                | Failure::Open { .. } => Again::Soon,
            },
        })
    }

    fn digest(entries: &Entries) -> [u8; 32] {
        let parts = |row: &Row| [format!("{:?}", row.optional_integer(0)), format!("{:?}", row.optional_text(1))];
        sha256(entries.rows.iter().flat_map(parts))
    }

    fn compile(entries: Entries) -> Result<Compiled, Vec<Wrong>> {
        compile(&entries)
    }

    /// No database here tells of changes by itself.
    async fn watch(&self, _changes: &Changes) {
        std::future::pending().await
    }
}

fn compile(Entries { rows, dialect }: &Entries) -> Result<Compiled, Vec<Wrong>> {
    if rows.len() > MAX_RULES {
        let message = format!("there are more than {MAX_RULES} rules");
        return Err(vec![Wrong { document: "the table".to_owned(), message }]);
    }
    let (mut rules, mut wrong) = (Vec::with_capacity(rows.len()), Vec::new());
    for (row, number) in rows.iter().zip(1_usize..) {
        match read_row(row) {
            Ok(rule) => rules.push((number, rule)),
            Err(problems) => {
                let document = name_of(number, row.optional_integer(0).ok().flatten());
                wrong.extend(problems.into_iter().map(|message| Wrong { document: document.clone(), message }));
            }
        }
    }
    for ((one, (one_seq, _)), (other, (other_seq, _))) in rules.iter().zip(rules.iter().skip(1)) {
        if let (Some(one_seq), Some(other_seq)) = (one_seq, other_seq)
            && one_seq == other_seq
        {
            let (one, other) = (name_of(*one, Some(*one_seq)), name_of(*other, Some(*other_seq)));
            for (document, same) in [(&one, &other), (&other, &one)] {
                let message = format!("seq: {same} has the same number, so their order is open; change one of them");
                wrong.push(Wrong { document: document.clone(), message });
            }
        }
    }
    if !wrong.is_empty() {
        wrong.truncate(MAX_NAMED);
        return Err(wrong);
    }
    let (seqs, rules): (Vec<_>, Vec<_>) = rules.into_iter().map(|(_, rule)| rule).unzip();
    let unnumbered = seqs.iter().filter(|seq| seq.is_none()).count();
    let remark = (unnumbered > 0).then(|| {
        let place = match dialect {
            Dialect::Sqlite | Dialect::MySql => "before all others",
            Dialect::Postgres => "after all others",
        };
        match unnumbered {
            1 => format!("1 rule has no seq: this database sorts it {place}; give it a number"),
            several => format!(
                "{several} rules have no seq: this database sorts them {place}, and as it likes among themselves; \
                 give each a number"
            ),
        }
    });
    Ok(Compiled { acl: Acl::new(rules), seqs, remark })
}

/// How a rule is named in messages: the table has no key.
fn name_of(number: usize, seq: Option<i64>) -> String {
    match seq {
        Some(seq) => format!("rule {number} (seq {seq})"),
        None => format!("rule {number} (no seq)"),
    }
}

/// Reads and compiles one rule.
///
/// # Errors
/// Everything that is wrong with it.
fn read_row(row: &Row) -> Result<(Option<i64>, Rule), Vec<String>> {
    let alone = |message: &str| vec![message.to_owned()];
    let seq = row.optional_integer(0).map_err(|_| alone("seq: a whole number is expected here"))?;
    let text = row.optional_text(1).map_err(|_| alone("acl_entry: a text is expected here"))?;
    let (mut rule, mut problems) = entry::read(text).map_err(|problem| vec![problem])?;
    rule.insert("seq", seq.unwrap_or_default());
    match read_rule(&rule) {
        Ok((_, rule)) if problems.is_empty() => Ok((seq, rule)),
        Ok(_) => Err(problems),
        Err(more) => {
            // An unknown name that is near one is told by both.
            for problem in more {
                if !problems.contains(&problem) {
                    problems.push(problem);
                }
            }
            Err(problems)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::sql::Value;

    fn compiled(dialect: Dialect, rules: &[(Option<i64>, Option<&str>)]) -> Result<Compiled, Vec<String>> {
        let rows = rules.iter().map(|(seq, text)| Row::of([Value::from(*seq), Value::from(*text)])).collect();
        compile(&Entries { rows, dialect }).map_err(|wrong| wrong.iter().map(Wrong::to_string).collect())
    }

    #[test]
    fn names_are_read_in_any_case_and_numbers_may_be_missing() {
        let rules = [
            (
                None,
                Some(r#"{"Match": {"Account": "a", "IP": "10.0.0.0/8", "Labels": {"Team": "x"}}, "Actions": ["*"]}"#),
            ),
            (Some(-1), Some(r#"{"match": {}, "ACTIONS": [], "Comment": "nothing", "not_after": "2030-01-01"}"#)),
            (Some(7), Some(r#"{"match": {"type": "repository"}, "actions": ["pull"], "comment": null}"#)),
        ];
        for (dialect, place) in [(Dialect::MySql, "before all others"), (Dialect::Postgres, "after all others")] {
            let compiled = compiled(dialect, &rules);
            let found = compiled.map(|compiled| {
                let said = compiled
                    .remark
                    .is_some_and(|remark| remark.contains(place) && remark.starts_with("1 rule has no seq"));
                (compiled.acl.rules().len(), compiled.seqs, said)
            });
            assert_eq!(found, Ok((3, vec![None, Some(-1), Some(7)], true)));
        }
        assert!(compiled(Dialect::Sqlite, &rules[1..]).is_ok_and(|compiled| compiled.remark.is_none()));
    }

    /// Check 52 of the reference.
    #[test]
    fn whatever_is_wrong_with_a_rule_is_named() {
        let good = (Some(1), Some(r#"{"match": {}, "actions": []}"#));
        for (seq, text, expected) in [
            (Some(2), None, "rule 2 (seq 2): acl_entry: this is NULL"),
            (None, None, "rule 2 (no seq): acl_entry: this is NULL"),
            (Some(2), Some("hunter2"), "rule 2 (seq 2): acl_entry: this is not JSON"),
            (Some(2), Some("[]"), "acl_entry: an object is expected here"),
            (Some(2), Some(r#"{"Match": {}, "match": {}, "actions": []}"#), "match: this name is there twice"),
            (
                Some(2),
                Some(r#"{"match": {"IP": "::1", "ip": "::2"}, "actions": []}"#),
                "match.ip: this name is there twice",
            ),
            (Some(2), Some(r#"{"match": {}, "match": {}, "actions": []}"#), "or has a name twice"),
            (
                Some(2),
                Some(r#"{"match": {"acount": "a"}, "actions": []}"#),
                "match.acount: there is no such key; did you mean",
            ),
            (Some(2), Some(r#"{"match": {}, "actions": [], "owner": 1}"#), "owner: there is no such key (known here"),
            (Some(2), Some(r#"{"match": {}, "actions": [], "_x": 1}"#), "_x: there is no such key"),
            (Some(2), Some(r#"{"match": {}}"#), "actions: a rule needs actions"),
            (Some(2), Some(r#"{"match": {}, "actions": null}"#), "actions: a rule needs actions"),
            (Some(2), Some(r#"{"match": {}, "actions": "pull"}"#), "actions: a list of texts is expected here"),
            (Some(2), Some(r#"{"actions": []}"#), "match: a rule needs a match"),
            (Some(2), Some(r#"{"match": {"name": "/(/"}, "actions": []}"#), "match.name: "),
            (
                Some(2),
                Some(r#"{"match": {"account": {"$oid": "x"}}, "actions": []}"#),
                "match.account: a text is expected",
            ),
            (
                Some(1),
                Some(r#"{"match": {}, "actions": ["*"]}"#),
                "rule 1 (seq 1): seq: rule 2 (seq 1) has the same number",
            ),
        ] {
            let wrong = compiled(Dialect::Sqlite, &[good, (seq, text)]).err().unwrap_or_default();
            assert!(wrong.iter().any(|line| line.contains(expected)), "{text:?}: {wrong:?}");
            assert!(!wrong.concat().contains("hunter2"), "{wrong:?}");
        }
    }

    #[test]
    fn one_rule_more_than_there_may_be_is_read_and_refused() {
        for dialect in [Dialect::Sqlite, Dialect::Postgres, Dialect::MySql] {
            assert!(all_rules(dialect).ends_with(&format!(" LIMIT {}", MAX_RULES + 1)));
        }
    }

    #[test]
    fn each_change_of_a_table_has_another_digest() {
        let digest = |rows: &[(Option<i64>, Option<&str>)]| {
            let rows = rows.iter().map(|(seq, text)| Row::of([Value::from(*seq), Value::from(*text)])).collect();
            SqlRules::digest(&Entries { rows, dialect: Dialect::Sqlite })
        };
        let tables: &[&[(Option<i64>, Option<&str>)]] = &[
            &[],
            &[(None, None)],
            &[(None, Some(""))],
            &[(Some(1), Some("a"))],
            &[(Some(1), Some("a")), (Some(1), Some("a"))],
            &[(Some(11), Some("a"))],
            &[(Some(1), Some("a\"))); Ok(Some(1))"))],
        ];
        let digests: BTreeSet<_> = tables.iter().map(|rows| digest(rows)).collect();
        assert_eq!(digests.len(), tables.len());
    }
}
