//! `dockwarden minimise`: the rules of a file without those that decide nothing, or nothing that others do not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use ::policy::analysis::{self, After, Below, Spare};
use serde::Serialize;
use settings::Place;
use settings::files::read_text;

use super::policies::{self, Only, load, load_text};
use super::still;
use crate::authz::rules::{KIND, Rules};
use crate::cli::{DONE, FOUND, UNDECIDED, complain, say};

/// The command's arguments.
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
    let config = load(file)?;
    let Some((acl, places)) = config.backends.get::<Rules>().map(|rules| (rules.acl.clone(), rules.places.clone()))
    else {
        return Err(format!("{}: there are no rules in it (acl)", file.display()));
    };
    // Without such a rule the test would be an error.
    let promised: BTreeSet<_> = config.tests.iter().filter_map(|test| test.rule.clone()).collect();
    let whole = policies::open(config)?;
    let (still, now) = (still(), whole.now);
    let world = whole.world();
    let is_last = whole.lists.iter().map(|list| list.section).eq([KIND.key]) && whole.below == Below::Nothing;
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
    let mut undecided = !still();
    if *for_these_users {
        let narrow = Only::default().narrow(now);
        match analysis::deciding(&world, &narrow, &still) {
            // Rules of other sections are numbered after, or before, those of the file.
            Some(deciding) if is_last => {
                for rule in (0..acl.rules().len()).filter(|rule| !deciding.contains(rule)) {
                    gone.entry(rule).or_insert(("it decides nothing for the users that there are", Vec::new()));
                }
            }
            Some(_) | None => undecided = true,
        }
    }
    let is_promised = |rule: &usize| {
        let comment = acl.rules().get(*rule).and_then(|rule| rule.comment());
        comment.is_some_and(|comment| promised.contains(comment))
    };
    gone.retain(|rule, _| !is_promised(rule));
    let text = read_text(file)?;
    let shorter = without(&text, &places, &gone)
        .ok_or_else(|| format!("{}: rules share a line; write each on lines of its own, below acl:", file.display()))?;
    // What is printed is read again and compared with what was: each left-out rule has to be one that nobody misses.
    if !gone.is_empty() {
        let short = policies::open(load_text(file, &shorter.config, file)?)?;
        let proof = analysis::diff(&world, &short.world(), &Only::default().narrow(now), &still, &mut |_| {});
        if !proof.differences.is_empty() {
            return Err(
                "the shorter rules would not decide alike, which is a fault of this command: nothing is left out"
                    .to_owned(),
            );
        }
        undecided |= !proof.undecided.is_empty();
    }
    let status = match (gone.is_empty(), undecided) {
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
            undecided,
        };
        let text = serde_json::to_string_pretty(&answer).map_err(|error| error.to_string())?;
        return Ok(say(&format!("{text}\n"), status));
    }
    Ok(say(&shorter.acl, status))
}

/// A text without some of its rules.
struct Shorter {
    /// All of it.
    config: String,
    /// From the first rule to the last one.
    acl: String,
}

/// Puts what is left out behind a `#`, with the reason. Comments and empty lines between rules stay as they are. `None` where a rule that
/// is left out shares a line with another, or with `acl:`.
fn without(text: &str, places: &[Place], gone: &BTreeMap<usize, (&'static str, Vec<usize>)>) -> Option<Shorter> {
    let lines: Vec<&str> = text.lines().collect();
    let starts: Vec<usize> = places
        .iter()
        .map(|place| match place {
            Place::Line(line) => line.checked_sub(1),
            Place::Environment(_) => None,
        })
        .collect::<Option<_>>()?;
    let depth = |line: &str| line.len() - line.trim_start().len();
    let mut rule_of: Vec<Option<usize>> = vec![None; lines.len()];
    for (number, start) in starts.iter().enumerate() {
        let after = starts.get(number + 1).copied();
        if !gone.is_empty() && after.is_some_and(|after| after <= *start) {
            return None;
        }
        let own = lines.get(*start).map_or(0, |line| depth(line));
        for (line, content) in lines.iter().enumerate().skip(*start).take(after.unwrap_or(lines.len()) - start) {
            let is_of_rule = line == *start || content.trim().is_empty() || depth(content) > own;
            if !is_of_rule {
                break;
            }
            let is_remark = content.trim().is_empty() || (content.trim_start().starts_with('#') && line != *start);
            if let Some(rule) = rule_of.get_mut(line).filter(|_| !is_remark) {
                *rule = Some(number);
            }
        }
    }
    let Some(first) = starts.first().copied() else {
        return Some(Shorter { config: text.to_owned(), acl: "acl: []\n".to_owned() });
    };
    let heading = lines.iter().take(first + 1).rposition(|line| line.trim_start().starts_with("acl:"));
    if heading == Some(first) && !gone.is_empty() {
        return None;
    }
    let mut out = Vec::with_capacity(lines.len());
    let mut last = None;
    for (number, (line, rule)) in lines.iter().zip(&rule_of).enumerate() {
        // A list without rules is written out, so that nobody forgets it.
        if Some(number) == heading && !gone.is_empty() && gone.len() == places.len() {
            out.push(line.replacen("acl:", "acl: []", 1));
            continue;
        }
        match rule.and_then(|rule| Some((rule, gone.get(&rule)?))) {
            Some((rule, (why, by))) => {
                // All its lines are moved alike, so that taking the signs away brings it back.
                let depth = starts.get(rule).and_then(|start| lines.get(*start)).map_or(0, |line| depth(line));
                let (indent, rest) = line.split_at_checked(depth).unwrap_or(("", line));
                if last != Some(rule) {
                    let by: Vec<String> = by.iter().map(|by| format!("acl[{by}]")).collect();
                    let by = if by.is_empty() { String::new() } else { format!(": {}", by.join(", ")) };
                    out.push(format!("{indent}# acl[{rule}] left out, {why}{by}"));
                }
                out.push(format!("{indent}# {rest}"));
                last = Some(rule);
            }
            None => out.push((*line).to_owned()),
        }
    }
    let config = format!("{}\n", out.join("\n"));
    let first = heading.unwrap_or(first);
    let end = rule_of.iter().rposition(Option::is_some).unwrap_or(first);
    // What was put in between moves the end.
    let added = out.len() - lines.len();
    let acl: Vec<&str> = out.iter().skip(first).take(end + added + 1 - first).map(String::as_str).collect();
    Some(Shorter { config, acl: format!("{}\n", acl.join("\n")) })
}
