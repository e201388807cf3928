//! `dockwarden minimise`: the rules of a file without those that decide nothing, or nothing that others do not.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use ::policy::acl::Acl;
use ::policy::analysis::{self, After, Below, Spare, Unlisted};
use ::policy::pattern::{Field, Pattern};
use ::policy::rule::{Grants, Rule, RuleText};
use serde::Serialize;
use settings::Place;
use settings::files::read_text;
use settings::yaml::{self, Value};

use super::policies::{self, Only};
use super::{PATIENCE, still};
use crate::access::Chain;
use crate::authz::InUse;
use crate::authz::rules::{KIND, Rules};
use crate::backend::Purpose;
use crate::cli::given::{Asks, load, load_text};
use crate::cli::test::{self, Elsewhere};
use crate::cli::{DONE, FOUND, UNDECIDED, complain, say};
use crate::policy_tests::{self, Outcome, Tests};
use crate::shown::printable;

#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The configuration file
    config: PathBuf,
    /// Leave out as well what decides nothing for the users that there are now
    #[arg(long)]
    for_these_users: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A rule that is left out, as JSON.
#[derive(Serialize)]
struct LeftOut {
    rule: usize,
    comment: Option<String>,
    why: &'static str,
    by: Vec<usize>,
}

/// Neighbours that could be one rule, as JSON.
#[derive(Serialize)]
struct Mergeable {
    rules: [usize; 2],
    differ_in: &'static str,
}

#[derive(Serialize)]
struct Answer {
    left_out: Vec<LeftOut>,
    mergeable: Vec<Mergeable>,
    undecided: bool,
}

/// Runs the command.
pub(in crate::cli) fn run(arguments: &Arguments) -> u8 {
    minimise(arguments).unwrap_or_else(|message| complain(&format!("dockwarden: {message}")))
}

fn minimise(arguments: &Arguments) -> Result<u8, String> {
    let Arguments { config: file, for_these_users, json } = arguments;
    let config = load(file, Asks::Lists)?;
    let Some((acl, places)) = config.backends.get::<Rules>().map(|rules| (rules.acl.clone(), rules.places.clone()))
    else {
        return Err(format!("{}: there are no rules in it (acl)", file.display()));
    };
    // Without such a rule the test would be an error.
    let tests = Arc::clone(&config.tests);
    let promised: BTreeSet<_> = config.tests.iter().filter_map(|test| test.rule.clone()).collect();
    // Rules that are kept elsewhere may come at any time, also where there are none yet.
    let mut of_rules = config.backends.0.iter().filter(|row| row.kind.purpose == Purpose::Rules);
    let is_alone = of_rules.all(|row| row.kind.key == KIND.key);
    let whole = policies::open(config)?;
    let (still, now) = (still(), whole.now);
    let world = whole.world();
    let is_last = is_alone && whole.below == Below::Nothing;
    let after = if is_last { After::Refusal } else { After::Others };
    let mut gone: BTreeMap<usize, (&'static str, Vec<usize>)> = BTreeMap::new();
    for (rule, why) in analysis::spare(&acl, after, now, &still) {
        gone.insert(
            rule,
            match why {
                Spare::Past => ("it has ended", Vec::new()),
                Spare::NeverDecides(by) => ("what it matches is matched above", by.into_iter().collect()),
                Spare::DecidedAlike(by) => ("decided alike below", vec![by]),
                Spare::RefusesAnyway => ("nothing else grants what it refuses", Vec::new()),
            },
        );
    }
    let mut open: Vec<&str> = Vec::new();
    if !still() {
        open.push("the time was not enough for all rules");
    }
    if *for_these_users {
        let narrow = Only::default().narrow(now);
        match analysis::deciding(&world, &narrow, &still) {
            // Rules of other sections are numbered after those of the file, which are asked first.
            Some(deciding) if whole.lists.first().is_some_and(|first| first.section == KIND.key) => {
                for rule in (0..acl.rules().len()).filter(|rule| !deciding.contains(rule)) {
                    gone.entry(rule).or_insert(("it decides nothing for the users that there are", Vec::new()));
                }
            }
            None if whole.unlisted == Unlisted::Anybody => {
                open.push("what decides nothing for the users that there are: not all users can be listed here");
            }
            Some(_) | None => {
                open.push(
                    "what decides nothing for the users that there are: not every question could be tried in time",
                );
            }
        }
    }
    let is_promised = |rule: &usize| {
        let comment = acl.rules().get(*rule).and_then(|rule| rule.comment());
        comment.is_some_and(|comment| promised.contains(comment))
    };
    gone.retain(|rule, _| !is_promised(rule));
    let text = read_text(file)?;
    for (rule, anchor) in needed_elsewhere(&text, &places, &gone) {
        complain(&format!(
            "dockwarden: acl[{rule}] decides nothing and stays: what it calls &{anchor} is used elsewhere"
        ));
        gone.remove(&rule);
    }
    if !gone.is_empty() && !tests.is_empty() {
        let chain = test::open(load(file, Asks::Lists)?, &tests, Elsewhere::Left)?;
        for (rule, name) in needed_by_tests(&tests, &chain, &acl, &mut gone)? {
            complain(&format!(
                "dockwarden: acl[{rule}] stays: without it the test {} would not hold, and no server would start",
                printable(&name)
            ));
        }
    }
    let shorter = match (without(&text, &places, &gone), json) {
        (Some(shorter), _) => Some(shorter),
        // The numbers of rules need no lines.
        (None, true) => None,
        (None, false) => {
            if let Some(alias) = rule_by_alias(&text) {
                return Err(format!(
                    "{}: a rule of acl is only the alias *{}, which means a rule that is written elsewhere; write it out in its \
                     place (--json tells which rules are superfluous all the same)",
                    file.display(),
                    printable(&alias)
                ));
            }
            return Err(format!(
                "{}: rules share a line; write each on lines of its own, below acl:, and a closing bracket too (--json \
                 tells which rules are superfluous all the same)",
                file.display()
            ));
        }
    };
    // What is left is compared with what was: each left-out rule has to be one that nobody misses. What is printed is read again for that.
    if !gone.is_empty() {
        let short = match &shorter {
            Some(shorter) => {
                let short = load_text(file, &shorter.config, file, Asks::Lists).map_err(|_| {
                    "the shorter rules could not be read, which is a fault of this command: nothing is left out"
                        .to_owned()
                })?;
                policies::open(short)?
            }
            None => {
                let mut short = policies::open(load(file, Asks::Lists)?)?;
                let kept = Arc::new(kept(&acl, &gone)?);
                for list in short.lists.iter_mut().filter(|list| list.section == KIND.key) {
                    list.acl = Arc::clone(&kept);
                }
                short
            }
        };
        let proof = analysis::diff(&world, &short.world(), &Only::default().narrow(now), &still, &mut |_| {});
        if !proof.differences.is_empty() {
            return Err(
                "the shorter rules would not decide alike, which is a fault of this command: nothing is left out"
                    .to_owned(),
            );
        }
        if !proof.undecided.is_empty() {
            open.push("not every question could be compared with the shorter rules; diff says which");
        }
    }
    // Not among the rules: they are to be put into a file.
    for why in &open {
        complain(&format!("dockwarden: undecided {why}"));
    }
    let status = match (gone.is_empty(), !open.is_empty()) {
        (false, _) => FOUND,
        (true, true) => UNDECIDED,
        (true, false) => DONE,
    };
    if *json {
        let left_out = gone.into_iter().map(|(rule, (why, by))| {
            let comment = acl.rules().get(rule).and_then(|rule| rule.comment()).map(str::to_owned);
            LeftOut { rule, comment, why, by }
        });
        let mergeable = analysis::mergeable(&acl).into_iter();
        let answer = Answer {
            left_out: left_out.collect(),
            mergeable: mergeable
                .map(|(rule, field)| Mergeable { rules: [rule, rule + 1], differ_in: field.as_str() })
                .collect(),
            undecided: !open.is_empty(),
        };
        let text = serde_json::to_string_pretty(&answer).map_err(|error| error.to_string())?;
        return Ok(say(&format!("{text}\n"), status));
    }
    Ok(say(&shorter.map(|shorter| shorter.acl).unwrap_or_default(), status))
}

/// The rules that are left.
fn kept(acl: &Acl, gone: &BTreeMap<usize, (&'static str, Vec<usize>)>) -> Result<Acl, String> {
    let kept = acl.rules().iter().enumerate().filter(|(rule, _)| !gone.contains_key(rule));
    let kept: Result<Vec<Rule>, _> = kept.map(|(_, rule)| Rule::compile(&text_of(rule))).collect();
    kept.map(Acl::new).map_err(|_| {
        "the shorter rules could not be read, which is a fault of this command: nothing is left out".to_owned()
    })
}

/// Takes back the rules that tests need, each with such a test: these may ask as no user of now does, with other labels or at another moment.
fn needed_by_tests(
    tests: &Tests,
    chain: &Chain,
    acl: &Acl,
    gone: &mut BTreeMap<usize, (&'static str, Vec<usize>)>,
) -> Result<Vec<(usize, String)>, String> {
    let verdicts = |shorter: Option<Acl>| {
        let (mut sources, shorter) = (chain.in_use(), shorter.map(Arc::new));
        for (section, in_use) in &mut sources {
            if let Some(shorter) = shorter.as_ref().filter(|_| *section == KIND.key) {
                *in_use = InUse::Rules { acl: Arc::clone(shorter), seqs: Arc::from([]) };
            }
        }
        policy_tests::run(tests, chain, &sources, PATIENCE).verdicts
    };
    let whole = verdicts(None);
    let mut needed = Vec::new();
    while !gone.is_empty() {
        let shorter = verdicts(Some(kept(acl, gone)?));
        let failing = tests
            .iter()
            .zip(whole.iter().zip(&shorter))
            .filter(|(_, (before, after))| before.outcome == Outcome::Holds && after.outcome != Outcome::Holds);
        let mut back: BTreeMap<usize, String> = BTreeMap::new();
        for (test, (before, _)) in failing {
            let by = before.by.as_ref().filter(|(section, _)| *section == KIND.key).map(|(_, rule)| rule.index);
            // Where no rule decided before, some rule that goes kept another from deciding.
            match by.filter(|by| gone.contains_key(by)) {
                Some(by) => _ = back.insert(by, test.name.to_string()),
                None => back.extend(gone.keys().map(|rule| (*rule, test.name.to_string()))),
            }
        }
        if back.is_empty() {
            break;
        }
        back.keys().for_each(|rule| _ = gone.remove(rule));
        needed.extend(back);
    }
    Ok(needed)
}

/// A rule as it is written.
fn text_of(rule: &Rule) -> RuleText {
    let field = |field| rule.pattern(field).map(|pattern: &Pattern| pattern.text().to_owned());
    let (not_before, not_after) = rule.window();
    RuleText {
        account: field(Field::Account),
        kind: field(Field::Type),
        name: field(Field::Name),
        service: field(Field::Service),
        ip: rule.network().map(ToString::to_string),
        tag: rule.tag().map(|tag| tag.text().to_owned()),
        reference: rule.reference().map(|kind| kind.as_str().to_owned()),
        labels: rule.label_patterns().iter().map(|(label, own)| (label.clone(), own.text().to_owned())).collect(),
        actions: match rule.grants() {
            Grants::All => vec!["*".to_owned()],
            Grants::Listed(listed) => listed.iter().map(ToString::to_string).collect(),
        },
        comment: rule.comment().map(str::to_owned),
        not_before,
        not_after,
    }
}

/// Rules that go and name something with an anchor that other lines mean, each with the anchor.
fn needed_elsewhere(
    text: &str,
    places: &[Place],
    gone: &BTreeMap<usize, (&'static str, Vec<usize>)>,
) -> Vec<(usize, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let Some(section) = Section::find(text, &lines) else { return Vec::new() };
    let starts: Option<Vec<usize>> = places.iter().map(line_of).collect();
    // What shares its lines with others stays as it is in any case.
    let Some(of_rules) = starts.and_then(|starts| lines_of_rules(&lines, &section, &starts)) else { return Vec::new() };
    let needed = |rule: &usize| {
        let own = of_rules.get(*rule)?;
        let mut named = lines.get(own.clone())?.iter().flat_map(|line| marked(line, '&'));
        let meant = |name: &&str| {
            let others = lines.iter().enumerate().filter(|(line, _)| !own.contains(line));
            others.flat_map(|(_, line)| marked(line, '*')).any(|alias| alias == *name)
        };
        Some((*rule, named.find(meant)?.to_owned()))
    };
    gone.keys().filter_map(needed).collect()
}

/// The alias that a rule of the list is, and nothing else: its lines are those of another.
fn rule_by_alias(text: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let section = Section::find(text, &lines)?;
    let own = lines.get(section.heading..section.tail)?;
    let alias = |line: &&str| line.trim_start().strip_prefix('-')?.trim_start().strip_prefix('*').map(str::to_owned);
    let alias = own.iter().find_map(alias)?;
    alias.split_whitespace().next().map(str::to_owned)
}

/// The words of a line behind this sign, where one may be an anchor or an alias.
fn marked(line: &str, sign: char) -> Vec<&str> {
    let word = |(at, _): (usize, &str)| {
        let before = line.get(..at)?.chars().next_back();
        let begins = before.is_none_or(|before| before.is_whitespace() || "[{,:-".contains(before));
        let rest = line.get(at + sign.len_utf8()..).filter(|_| begins)?;
        let end = rest.find(|letter: char| letter.is_whitespace() || "[]{},".contains(letter)).unwrap_or(rest.len());
        rest.get(..end).filter(|word| !word.is_empty())
    };
    line.match_indices(sign).filter_map(word).collect()
}

/// A text without some of its rules.
struct Shorter {
    /// All of it.
    config: String,
    /// From the first rule to the last one.
    acl: String,
}

/// Where the list of rules stands in a file, and how it is written.
struct Section {
    /// The line of `acl:`, from 0.
    heading: usize,
    /// The line after its last one that says anything.
    end: usize,
    /// The line after the comments behind that which are indented, and so belong to it.
    tail: usize,
    written: Written,
}

/// How a list is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    Dashes,
    Brackets,
}

impl Section {
    /// `None` where the file has no such list.
    fn find(text: &str, lines: &[&str]) -> Option<Section> {
        let Value::Map(entries) = yaml::parse(text).ok()?.value else { return None };
        let key = entries.iter().position(|entry| entry.key == KIND.key)?;
        let heading = line_of(&entries.get(key)?.place)?;
        let next = entries.get(key + 1).and_then(|entry| line_of(&entry.place)).unwrap_or(lines.len());
        let said = |line: &&str| !is_remark(line);
        let own = lines.get(heading..next)?;
        let end = heading + own.iter().rposition(said)? + 1;
        let after = own.first()?.split_once(':').map(|(_, after)| after)?;
        let first = std::iter::once(after).chain(own.iter().skip(1).copied()).find(|line| !is_remark(line));
        let is_bracket = first.is_some_and(|line| line.trim_start().starts_with('['));
        let behind = lines.get(end..next)?;
        let is_own =
            |line: &&str| line.trim_start().starts_with('#') && depth(line) > depth(own.first().unwrap_or(&""));
        let tail = end + behind.iter().rposition(is_own).map_or(0, |last| last + 1);
        Some(Section { heading, end, tail, written: if is_bracket { Written::Brackets } else { Written::Dashes } })
    }

    fn holds(&self, line: usize) -> bool {
        (self.heading..self.end).contains(&line)
    }
}

/// The line of a place, from 0.
fn line_of(place: &Place) -> Option<usize> {
    match place {
        Place::Line(line) => line.checked_sub(1),
        Place::Environment(_) => None,
    }
}

/// Whether a line says nothing: it is empty, or a comment.
fn is_remark(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}

fn depth(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The lines of each rule, the first of which is its own as well: `None` where a rule shares a line with another, with `acl:` or with a bracket.
fn lines_of_rules(lines: &[&str], section: &Section, starts: &[usize]) -> Option<Vec<Range<usize>>> {
    let end = match section.written {
        Written::Dashes => section.end,
        // The closing bracket.
        Written::Brackets => section.end.checked_sub(1).filter(|last| {
            let closing = lines.get(*last).map(|line| line.split('#').next().unwrap_or_default().trim());
            closing == Some("]")
        })?,
    };
    let firsts = starts.iter().map(|start| match section.written {
        Written::Dashes => {
            // The dash may stand in a line of its own.
            let above =
                (section.heading + 1..*start).rev().find(|line| lines.get(*line).is_some_and(|line| !is_remark(line)));
            above.filter(|line| lines.get(*line).is_some_and(|line| line.trim() == "-")).unwrap_or(*start)
        }
        Written::Brackets => *start,
    });
    let firsts: Vec<usize> = firsts.collect();
    let ends = firsts.iter().skip(1).copied().chain([end]);
    let sign = match section.written {
        Written::Dashes => '-',
        Written::Brackets => '{',
    };
    let range = |(first, end): (&usize, usize)| {
        let begins = lines.get(*first).is_some_and(|line| line.trim_start().starts_with(sign));
        (begins && *first > section.heading && *first < end).then_some(*first..end)
    };
    firsts.iter().zip(ends).map(range).collect()
}

/// Puts what is left out behind a `#`, with the reason. Comments and empty lines between rules stay as they are. `None` where a rule that
/// is left out shares a line with something else.
fn without(text: &str, places: &[Place], gone: &BTreeMap<usize, (&'static str, Vec<usize>)>) -> Option<Shorter> {
    let lines: Vec<&str> = text.lines().collect();
    if gone.is_empty() {
        let acl = match Section::find(text, &lines) {
            Some(Section { heading, tail, .. }) if !places.is_empty() => lines.get(heading..tail)?.join("\n"),
            Some(_) | None => "acl: []".to_owned(),
        };
        return Some(Shorter { config: text.to_owned(), acl: format!("{acl}\n") });
    }
    let section = Section::find(text, &lines)?;
    let starts: Vec<usize> = places.iter().map(line_of).collect::<Option<_>>()?;
    let of_rules = lines_of_rules(&lines, &section, &starts)?;
    let mut rule_of: Vec<Option<usize>> = vec![None; lines.len()];
    for (number, own) in of_rules.iter().enumerate() {
        for (rule, line) in rule_of.iter_mut().zip(&lines).take(own.end).skip(own.start) {
            *rule = Some(number).filter(|_| !is_remark(line));
        }
    }
    let mut out = Vec::with_capacity(lines.len());
    let mut last = None;
    let mut end = 0;
    for (number, (line, rule)) in lines.iter().zip(&rule_of).enumerate() {
        match rule.and_then(|rule| Some((rule, gone.get(&rule)?))) {
            Some((rule, (why, by))) => {
                // All its lines are moved alike, so that taking the signs away brings it back.
                let first = of_rules.get(rule).and_then(|own| lines.get(own.start));
                let (indent, rest) = line.split_at_checked(first.map_or(0, |line| depth(line))).unwrap_or(("", line));
                if last != Some(rule) {
                    let by: Vec<String> = by.iter().map(|by| format!("acl[{by}]")).collect();
                    let by = if by.is_empty() { String::new() } else { format!(": {}", by.join(", ")) };
                    out.push(format!("{indent}# acl[{rule}] left out, {why}{by}"));
                }
                out.push(format!("{indent}# {rest}"));
                last = Some(rule);
            }
            // A list without rules is written out, so that nobody forgets it.
            None if number == section.heading && gone.len() == places.len() => {
                let (key, after) = line.split_once(':')?;
                let remark = after.split_once('#').map(|(_, remark)| format!(" #{remark}"));
                out.push(format!("{key}: []{}", remark.unwrap_or_default()));
            }
            // The brackets of a list without rules are those of its first line.
            None if section.written == Written::Brackets
                && gone.len() == places.len()
                && section.holds(number)
                && !is_remark(line) => {}
            None => out.push((*line).to_owned()),
        }
        if number < section.tail {
            end = out.len();
        }
    }
    let acl = out.get(section.heading..end)?.join("\n");
    Some(Shorter { config: format!("{}\n", out.join("\n")), acl: format!("{acl}\n") })
}
