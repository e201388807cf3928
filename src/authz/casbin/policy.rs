//! The lines of a Casbin policy (`.csv`), and what they decide together.

use std::collections::HashMap;
use std::sync::Arc;

use policy::Budget;
use policy::pattern::TooComplex;

use super::condition::{Asked, Condition, Halt, Trial};
use super::matcher::{Columns, Filling, Misfit};
use super::model::{Effect, Model, Remark};
use super::roles::Roles;

/// A model and a policy that go together.
#[derive(Debug)]
pub(super) struct Policy {
    effect: Effect,
    lines: Lines,
}

/// What is compared with what is asked.
#[derive(Debug)]
enum Lines {
    Compared(Vec<Line>),
    /// The matcher alone: it looks at no line, or there is none.
    Matcher(Condition),
}

#[derive(Debug)]
struct Line {
    /// Where it stands, from 1.
    number: usize,
    allows: bool,
    condition: Condition,
}

/// What a policy says to one action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) is_granted: bool,
    /// The line that decided, if one did.
    pub(super) line: Option<usize>,
}

/// A line as it is written.
struct Written {
    number: usize,
    kind: String,
    columns: Vec<String>,
}

/// The policy of these lines, and what is in it and probably not meant.
///
/// # Errors
/// What makes no sense: of the model, or of the lines.
pub(super) fn read(model: &Model, text: &str) -> Result<(Policy, Vec<Remark>), Wrong> {
    let (mut wrong, mut doubts) = (Vec::new(), Vec::new());
    let mut roles: Vec<Roles> = model.names.roles.iter().map(|_| Roles::default()).collect();
    let mut lines = Vec::new();
    for written in split(text, &mut wrong) {
        if let Some(column) = written.columns.iter().position(|column| column.ends_with(char::is_whitespace)) {
            let message = format!("column {} ends with white space, which belongs to it", column + 1);
            doubts.push(Remark { line: written.number, message });
        }
        let definition = model.names.roles.iter().position(|role| role.name == written.kind);
        let definition = definition.and_then(|place| Some((model.names.roles.get(place)?, roles.get_mut(place)?)));
        match (written.kind.as_str(), definition) {
            ("p", _) if written.columns.len() == model.names.columns.len() => lines.push(written),
            ("p", _) => {
                let (has, wanted) = (written.columns.len(), model.names.columns.len());
                let message = format!("the line has {has} columns after p, and the model defines {wanted}");
                wrong.push(Remark { line: written.number, message });
            }
            (_, Some((definition, roles))) => match written.columns.as_slice() {
                [name, role, rest @ ..] if written.columns.len() >= definition.columns => {
                    if written.columns.len() > definition.columns {
                        let message = format!(
                            "only the first {} columns count, as the model defines {}",
                            definition.columns, definition.name
                        );
                        doubts.push(Remark { line: written.number, message });
                    }
                    let domain = rest.first().filter(|_| definition.columns > 2);
                    roles.add(name, role, domain.map(String::as_str).unwrap_or_default());
                }
                _ => {
                    let message = format!("{} needs {} columns", definition.name, definition.columns);
                    wrong.push(Remark { line: written.number, message });
                }
            },
            (kind, None) if model.unused.iter().any(|unused| unused == kind) => {}
            (_, None) => {
                let message = "a line begins with p, or with the name of a role definition of the model";
                wrong.push(Remark { line: written.number, message: message.to_owned() });
            }
        }
    }
    sort(model, &mut lines, &mut wrong);
    let roles: Vec<Arc<Roles>> = roles.into_iter().map(Arc::new).collect();
    let fill = |columns| Filling { model, roles: &roles, columns }.condition();
    let alone = match fill(Columns::Empty) {
        Ok(alone) => alone,
        Err(Misfit::Matcher(message) | Misfit::Line(message)) => {
            return Err(Wrong::Model(Remark { line: model.matcher_line, message }));
        }
    };
    let effect_column = model.names.columns.iter().position(|name| name == "eft");
    let mut compared = Vec::new();
    for Written { number, columns, .. } in &lines {
        let effect = effect_column.and_then(|place| columns.get(place)).map(String::as_str);
        let allows = match effect {
            None | Some("allow") => true,
            Some("deny") => false,
            Some(_) => {
                let message = "the column eft says what the line does; write allow or deny".to_owned();
                wrong.push(Remark { line: *number, message });
                continue;
            }
        };
        match fill(Columns::Of(columns)) {
            Ok(condition) => compared.push(Line { number: *number, allows, condition }),
            Err(Misfit::Matcher(message) | Misfit::Line(message)) => wrong.push(Remark { line: *number, message }),
        }
    }
    if !wrong.is_empty() {
        return Err(Wrong::Lines(wrong));
    }
    let lines = match (compared.is_empty(), model.compares_lines) {
        (true, _) if model.matcher.has_eval() => Lines::Matcher(Condition::Undecidable),
        (true, _) | (false, false) => Lines::Matcher(alone),
        (false, true) => Lines::Compared(compared),
    };
    Ok((Policy { effect: model.effect, lines }, doubts))
}

/// What makes a model and a policy useless together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// The matcher.
    Model(Remark),
    /// Lines of the policy.
    Lines(Vec<Remark>),
}

/// Puts the lines in the order of the column `priority`, where the model has one.
fn sort(model: &Model, lines: &mut [Written], wrong: &mut Vec<Remark>) {
    let Some(place) = model.names.columns.iter().position(|name| name == "priority") else { return };
    let priority = |line: &Written| line.columns.get(place).and_then(|text| text.parse::<i64>().ok());
    for line in lines.iter().filter(|line| priority(line).is_none()) {
        let message = "the column priority is a whole number, and the smallest comes first".to_owned();
        wrong.push(Remark { line: line.number, message });
    }
    lines.sort_by_key(priority);
}

/// The lines of a policy in their columns, as Go's `encoding/csv` reads each of them.
fn split(text: &str, wrong: &mut Vec<Remark>) -> Vec<Written> {
    let mut all = Vec::new();
    for (line, number) in settings::text::without_mark(text).lines().zip(1..) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match columns(line) {
            Ok(columns) => {
                let mut columns = columns.into_iter();
                let kind = columns.next().unwrap_or_default();
                all.push(Written { number, kind, columns: columns.collect() });
            }
            Err(message) => wrong.push(Remark { line: number, message: message.to_owned() }),
        }
    }
    all
}

/// The columns of a line: commas between them, white space before them does not count, and quotation marks around one that
/// holds commas or, twice each, quotation marks.
fn columns(line: &str) -> Result<Vec<String>, &'static str> {
    let mut columns = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_start();
        let after = match rest.strip_prefix('"') {
            None => {
                let (column, after) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
                if column.contains('"') {
                    return Err(
                        "a quotation mark in a column: put the column in quotation marks, and double those in it, \
                                as in \"{\"\"team\"\":[\"\"web\"\"]}\"",
                    );
                }
                columns.push(column.to_owned());
                after
            }
            Some(quoted) => {
                let mut column = String::new();
                let mut inner = quoted;
                loop {
                    let (before, after) = inner.split_once('"').ok_or("a quotation mark is never closed")?;
                    column.push_str(before);
                    match after.strip_prefix('"') {
                        Some(more) => {
                            column.push('"');
                            inner = more;
                        }
                        None => {
                            inner = after;
                            break;
                        }
                    }
                }
                columns.push(column);
                inner
            }
        };
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(columns),
            None => return Err("after a closed quotation mark a comma is expected"),
        }
    }
}

impl Policy {
    /// What is said to one action. What cannot be decided is not granted, as in docker_auth.
    ///
    /// # Errors
    /// [`TooComplex`] where the budget is not enough.
    pub(super) fn decide(&self, asked: &Asked<'_>, budget: &mut Budget) -> Result<Verdict, TooComplex> {
        let mut trial = Trial { asked, budget, reached: HashMap::new() };
        match self.verdict(&mut trial) {
            Ok(verdict) => Ok(verdict),
            Err(Halt::Undecidable) => Ok(Verdict { is_granted: false, line: None }),
            Err(Halt::TooComplex) => Err(TooComplex),
        }
    }

    fn verdict<'a>(&'a self, trial: &mut Trial<'a, '_>) -> Result<Verdict, Halt> {
        let lines = match &self.lines {
            Lines::Compared(lines) => lines,
            Lines::Matcher(alone) => {
                let holds = alone.holds(trial)?;
                // Nothing denies, so where only that counts everything is granted.
                return Ok(Verdict { is_granted: holds || self.effect == Effect::NoneDenies, line: None });
            }
        };
        let mut first = None;
        for line in lines {
            if !line.condition.holds(trial)? {
                continue;
            }
            let said = Verdict { is_granted: line.allows, line: Some(line.number) };
            match (self.effect, line.allows) {
                (Effect::First, _)
                | (Effect::SomeAllows, true)
                | (Effect::NoneDenies | Effect::SomeAllowsNoneDenies, false) => return Ok(said),
                (Effect::SomeAllowsNoneDenies, true) => first = first.or(Some(said)),
                (Effect::SomeAllows, false) | (Effect::NoneDenies, true) => {}
            }
        }
        Ok(first.unwrap_or(Verdict { is_granted: self.effect == Effect::NoneDenies, line: None }))
    }
}
