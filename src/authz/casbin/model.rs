//! A Casbin model (`.conf`): what is asked, which columns the policy has, and the matcher that compares the two.

use super::condition::ASKED;
use super::expression::{self, Brackets, Expression, Names, RoleDefinition};

/// Something that is wrong with a file, or is probably not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remark {
    /// From 1.
    pub(super) line: usize,
    pub(super) message: String,
}

/// What the lines that match grant together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Some line allows.
    SomeAllows,
    /// No line denies.
    NoneDenies,
    /// Some line allows, and none denies.
    SomeAllowsNoneDenies,
    /// The first line decides.
    First,
}

impl Effect {
    /// How each is written, without white space.
    const ALL: [(&'static str, Effect); 4] = [
        ("some(where(p.eft==allow))", Effect::SomeAllows),
        ("!some(where(p.eft==deny))", Effect::NoneDenies),
        ("some(where(p.eft==allow))&&!some(where(p.eft==deny))", Effect::SomeAllowsNoneDenies),
        ("priority(p.eft)||deny", Effect::First),
    ];

    fn parse(text: &str) -> Option<Effect> {
        let plain: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
        let plain = plain.replace("p_eft", "p.eft");
        Effect::ALL.into_iter().find_map(|(written, effect)| (written == plain).then_some(effect))
    }
}

/// A model that can be used.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Model {
    pub(super) names: Names,
    pub(super) effect: Effect,
    pub(super) matcher: Expression,
    /// Where the matcher stands.
    pub(super) matcher_line: usize,
    /// Whether each line of the policy is compared. Otherwise the matcher decides alone.
    pub(super) compares_lines: bool,
    /// Definitions that decide nothing: those beside `r`, `p`, `e` and `m`. Lines of the policy may be of such a one.
    pub(super) unused: Vec<String>,
}

/// The sections: the letter that definitions in it begin with, and what stands there.
const SECTIONS: [(&str, &str, &str); 5] = [
    ("request_definition", "r", "r = account, type, name, service, ip, action, labels"),
    ("policy_definition", "p", "p = account, type, name, service, ip, action, labels"),
    ("role_definition", "g", "g = _, _"),
    ("policy_effect", "e", "e = some(where (p.eft == allow))"),
    ("matchers", "m", "m = …"),
];

/// A definition as it is written.
#[derive(Debug)]
struct Definition {
    line: usize,
    name: String,
    value: String,
}

/// Reads a model, and says what is in it and decides nothing.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn read(text: &str) -> Result<(Model, Vec<Remark>), Vec<Remark>> {
    let mut wrong = Vec::new();
    let definitions = definitions(text, &mut wrong);
    let (mut doubts, mut unused) = (Vec::new(), Vec::new());
    for Definition { line, name, .. } in &definitions {
        if !name.starts_with('g') && name.len() > 1 {
            unused.push(name.clone());
            let message = format!("{name} decides nothing: r, p, e and m do, as in docker_auth");
            doubts.push(Remark { line: *line, message });
        }
    }
    let one = |name: &str| definitions.iter().find(|definition| definition.name == name);
    for (section, name, example) in SECTIONS {
        if name != "g" && one(name).is_none() {
            wrong.push(Remark {
                line: 1,
                message: format!("a definition is missing; write [{section}] and below it {example}"),
            });
        }
    }
    let mut names = Names::default();
    if let Some(definition) = one("r") {
        names.asked = columns(definition, &mut wrong);
        if names.asked.len() != ASKED {
            let message = format!(
                "{} names are given to what is asked, and there are {ASKED}: account, type, name, service, ip, action, labels",
                names.asked.len()
            );
            wrong.push(Remark { line: definition.line, message });
        }
    }
    if let Some(definition) = one("p") {
        names.columns = columns(definition, &mut wrong);
    }
    for definition in definitions.iter().filter(|definition| definition.name.starts_with('g')) {
        match definition.value.split(',').map(str::trim).collect::<Vec<_>>().as_slice() {
            all @ (["_", "_"] | ["_", "_", "_"]) => {
                names.roles.push(RoleDefinition { name: definition.name.clone(), columns: all.len() });
            }
            _ => {
                let message = "a role definition has two or three places: g = _, _ or, with a domain, g = _, _, _";
                wrong.push(Remark { line: definition.line, message: message.to_owned() });
            }
        }
    }
    let effect = one("e").and_then(|definition| {
        let effect = Effect::parse(&definition.value);
        if effect.is_none() {
            let known: Vec<&str> = Effect::ALL.iter().map(|(written, _)| *written).collect();
            let message = format!("this effect is not known; write one of: {}", known.join("  "));
            wrong.push(Remark { line: definition.line, message });
        }
        effect
    });
    let matcher = one("m").filter(|_| !names.asked.is_empty() && !names.columns.is_empty()).and_then(|definition| {
        let brackets = if definition.value.contains("in") { Brackets::Round } else { Brackets::Unknown };
        match expression::read(&definition.value, &names, brackets) {
            Ok(matcher) => Some((definition, matcher)),
            Err(message) => {
                wrong.push(Remark { line: definition.line, message });
                None
            }
        }
    });
    match (effect, matcher, wrong.is_empty()) {
        (Some(effect), Some((definition, matcher)), true) => {
            // Casbin looks at the text: what only looks like a column of the policy has each line compared, too.
            let compares_lines = matcher.is_about_policy() || definition.value.contains("p_");
            let matcher_line = definition.line;
            Ok((Model { names, effect, matcher, matcher_line, compares_lines, unused }, doubts))
        }
        (_, _, _) => Err(wrong),
    }
}

/// The names in a definition, of which each stands once.
fn columns(definition: &Definition, wrong: &mut Vec<Remark>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in definition.value.split(',').map(str::trim) {
        if names.iter().any(|known| known == name) {
            let message = "the same name stands here twice".to_owned();
            wrong.push(Remark { line: definition.line, message });
        }
        names.push(name.to_owned());
    }
    names
}

/// The definitions of all sections. Lines that end with a backslash go on in the next one, and `#` or `;` begins a remark
/// wherever it stands, within quotes too.
fn definitions(text: &str, wrong: &mut Vec<Remark>) -> Vec<Definition> {
    let mut definitions: Vec<Definition> = Vec::new();
    let mut section = None;
    let mut pending = String::new();
    let mut began = 1;
    let lines = settings::text::without_mark(text).lines().map(str::trim).chain([""]);
    for (line, number) in lines.zip(1..) {
        let header = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let goes_on = header.is_none() && line.ends_with('\\');
        if header.is_none() && !line.starts_with(['#', ';']) && !line.is_empty() {
            if pending.is_empty() {
                began = number;
            }
            let kept = match line.strip_suffix('\\') {
                Some(before) => format!("{} ", before.trim()),
                None => line.to_owned(),
            };
            pending.push_str(kept.split(['#', ';']).next().unwrap_or_default());
        }
        if !goes_on && !pending.is_empty() {
            define(&std::mem::take(&mut pending), began, section, &mut definitions, wrong);
        }
        if let Some(name) = header {
            section = SECTIONS.into_iter().find(|(known, _, _)| *known == name);
            if section.is_none() {
                let known: Vec<&str> = SECTIONS.iter().map(|(name, _, _)| *name).collect();
                let message = format!("there is no such section (known here: {})", known.join(", "));
                wrong.push(Remark { line: number, message });
            }
        }
    }
    definitions
}

fn define(
    text: &str,
    line: usize,
    section: Option<(&str, &'static str, &str)>,
    definitions: &mut Vec<Definition>,
    wrong: &mut Vec<Remark>,
) {
    let Some((_, letter, example)) = section else {
        // What stands below a header that is wrong is not worth a second message.
        if wrong.is_empty() {
            let message =
                "a section is expected here, such as [request_definition]; is this a Casbin model?".to_owned();
            wrong.push(Remark { line, message });
        }
        return;
    };
    let parts = text.split_once('=').map(|(name, value)| (name.trim(), value.trim()));
    let is_name = |name: &str| {
        name.strip_prefix(letter)
            .is_some_and(|number| number.is_empty() || number.parse().is_ok_and(|number: u8| number > 1))
    };
    let message = match parts {
        Some((name, value)) if is_name(name) && !value.is_empty() => {
            if definitions.iter().all(|known| known.name != name) {
                definitions.push(Definition { line, name: name.to_owned(), value: value.to_owned() });
                return;
            }
            format!("{name} is defined twice")
        }
        Some(_) | None => format!("a definition is expected here: {example}"),
    };
    wrong.push(Remark { line, message });
}
