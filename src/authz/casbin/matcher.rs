//! From a matcher and a line of the policy to what that line asks.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use policy::pattern::Pattern;
use policy::rule::parse_network;

use super::condition::{Condition, LABELS, Link, Order, Text};
use super::expression::{self, Brackets, Comparison, Expression, Function};
use super::model::Model;
use super::roles::Roles;

/// So often a line may ask for an expression (`eval`) that asks for another.
const EVALS: usize = 4;

/// Why a matcher and a line do not go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    /// The matcher makes no sense, whatever the line is.
    Matcher(String),
    /// The line has a value that makes no sense where the matcher looks at it.
    Line(String),
}

/// What is filled into the matcher.
#[derive(Clone, Copy)]
pub(super) enum Columns<'l> {
    /// A line of the policy.
    Of(&'l [String]),
    /// Empty texts: there is no line. What makes no sense then cannot be decided, and that only counts where it is looked at.
    Empty,
}

/// A matcher that is being filled in.
pub(super) struct Filling<'m> {
    pub(super) model: &'m Model,
    pub(super) roles: &'m [Arc<Roles>],
    pub(super) columns: Columns<'m>,
}

/// A value whose kind is not known before it is filled in.
enum Value {
    Condition(Condition),
    Text(Text),
}

impl Filling<'_> {
    /// What is asked with everything filled in.
    ///
    /// # Errors
    /// The matcher, or the line, makes no sense.
    pub(super) fn condition(&self) -> Result<Condition, Misfit> {
        self.whether(&self.model.matcher, 0)
    }

    fn whether(&self, part: &Expression, evals: usize) -> Result<Condition, Misfit> {
        match self.value(part, evals)? {
            Value::Condition(condition) => Ok(condition),
            Value::Text(_) => Err(Misfit::Matcher(
                "a text stands where a condition is expected; compare it with something".to_owned(),
            )),
        }
    }

    fn text(&self, part: &Expression, evals: usize) -> Result<Text, Misfit> {
        match self.value(part, evals)? {
            Value::Text(text) => Ok(text),
            Value::Condition(_) => {
                Err(Misfit::Matcher("a condition stands where a text is expected, such as r.name".to_owned()))
            }
        }
    }

    fn value(&self, part: &Expression, evals: usize) -> Result<Value, Misfit> {
        let whether = |part: &Expression| self.whether(part, evals);
        let text = |part: &Expression| self.text(part, evals);
        let condition = match part {
            Expression::Text(fixed) => return Ok(Value::Text(Text::Fixed(fixed.clone()))),
            Expression::Asked(place) => return Ok(Value::Text(Text::Asked(*place))),
            Expression::Column(place) => {
                let value = match self.columns {
                    Columns::Of(line) => line.get(*place).cloned().unwrap_or_default(),
                    Columns::Empty => String::new(),
                };
                return Ok(Value::Text(Text::Fixed(value)));
            }
            Expression::Joined(left, right) => {
                return Ok(Value::Text(match (text(left)?, text(right)?) {
                    (Text::Fixed(left), Text::Fixed(right)) => Text::Fixed(left + &right),
                    (left, right) => Text::Joined(Box::new(left), Box::new(right)),
                }));
            }
            Expression::Truth(is) => Condition::Always(*is),
            Expression::Not(inner) => Condition::not(whether(inner)?),
            Expression::Both(left, right) => match (whether(left)?, whether(right)) {
                // What is never looked at may make no sense: p.ip != "*" && ipMatch(r.ip, p.ip).
                (never @ Condition::Always(false), Err(Misfit::Line(_))) => never,
                (left, right) => Condition::both(left, right?),
            },
            Expression::Either(left, right) => match (whether(left)?, whether(right)) {
                (always @ Condition::Always(true), Err(Misfit::Line(_))) => always,
                (left, right) => Condition::either(left, right?),
            },
            Expression::Compared(how, left, right) => self.compared(*how, left, right, evals)?,
            Expression::Within(one, listed) => {
                Condition::Within(text(one)?, listed.iter().map(text).collect::<Result<_, _>>()?)
            }
            Expression::Linked(definition, parts) => self.linked(*definition, parts, evals)?,
            Expression::Call(function, parts) => return self.call(*function, parts, evals),
        };
        Ok(Value::Condition(condition))
    }

    fn compared(
        &self,
        how: Comparison,
        left: &Expression,
        right: &Expression,
        evals: usize,
    ) -> Result<Condition, Misfit> {
        let Some((order, negated)) = Order::of(how) else {
            let fits = self.fits(self.text(left, evals)?, right, evals, |text| text.to_owned())?;
            return Ok(if how == Comparison::FitsNot { Condition::not(fits) } else { fits });
        };
        let compared = match (self.value(left, evals)?, self.value(right, evals)?) {
            (Value::Text(left), Value::Text(right)) => Condition::compared(left, order, right),
            (Value::Condition(left), Value::Condition(right)) if order == Order::Same => {
                Condition::Agree(Box::new(left), Box::new(right))
            }
            (Value::Condition(_) | Value::Text(_), Value::Condition(_) | Value::Text(_)) => {
                return Err(Misfit::Matcher("a text is compared with a condition; they are never the same".to_owned()));
            }
        };
        Ok(if negated { Condition::not(compared) } else { compared })
    }

    fn linked(&self, definition: usize, parts: &[Expression], evals: usize) -> Result<Condition, Misfit> {
        let mut texts = parts.iter().map(|part| self.text(part, evals)).collect::<Result<Vec<_>, _>>()?.into_iter();
        let roles = self.roles.get(definition).map(Arc::clone).unwrap_or_default();
        let mut next = || texts.next().unwrap_or(Text::Fixed(String::new()));
        let link = Link { definition, roles, name: next(), role: next(), domain: next() };
        Ok(Condition::Linked(Box::new(link)))
    }

    /// A call of a function, whose number of values was counted when it was read.
    fn call(&self, function: Function, parts: &[Expression], evals: usize) -> Result<Value, Misfit> {
        let [first, rest @ ..] = parts else { return Ok(Value::Condition(Condition::Undecidable)) };
        let second = rest.first().unwrap_or(first);
        let text = |part: &Expression| self.text(part, evals);
        let called = match function {
            Function::KeyMatch => Ok(Condition::KeyMatch(text(first)?, text(second)?)),
            Function::KeyMatch5 => Ok(Condition::KeyMatch5(text(first)?, text(second)?)),
            Function::KeyGet => {
                return Ok(Value::Text(Text::KeyGet(Box::new(text(first)?), Box::new(text(second)?))));
            }
            Function::KeyMatch2 => {
                self.fits(text(first)?, second, evals, |key| whole(&parameters(&key_path(key), "[^/]+").0))
            }
            Function::KeyMatch3 => {
                self.fits(text(first)?, second, evals, |key| whole(&braces(&key_path(key), Greed::Most, "[^/]+").0))
            }
            Function::RegexMatch => self.fits(text(first)?, second, evals, |text| text.to_owned()),
            Function::KeyMatch4 => self.fits_with_names(text(first)?, second, evals),
            Function::GlobMatch => self.glob(text(first)?, second, evals),
            Function::IpMatch => self.network(text(first)?, second, evals),
            Function::LabelMatch => self.labels(first, second, evals),
            Function::Eval => self.eval(first, evals),
            Function::KeyGet2 | Function::KeyGet3 => {
                let caught = self.caught(function, text(first)?, rest, evals);
                return match (self.columns, caught) {
                    (Columns::Empty, Err(Misfit::Line(_))) => Ok(Value::Text(Text::Undecidable)),
                    (Columns::Empty | Columns::Of(_), caught) => caught.map(Value::Text),
                };
            }
        };
        match (self.columns, called) {
            (Columns::Empty, Err(Misfit::Line(_))) => Ok(Value::Condition(Condition::Undecidable)),
            (Columns::Empty | Columns::Of(_), called) => called.map(Value::Condition),
        }
    }

    /// A text that does not depend on what is asked: whoever asks could otherwise choose what is granted.
    fn fixed(&self, part: &Expression, evals: usize) -> Result<String, Misfit> {
        match self.text(part, evals)? {
            Text::Fixed(text) => Ok(text),
            Text::Asked(_) | Text::Joined(..) | Text::KeyGet(..) | Text::Caught(..) | Text::Undecidable => {
                Err(Misfit::Matcher(
                    "a pattern, network or label made of what is asked is not taken: whoever asks would choose what \
                     matches; keyMatch(r.name, r.account + \"/*\") compares it as plain text"
                        .to_owned(),
                ))
            }
        }
    }

    /// Whose fault it is that this part makes no sense.
    fn misfit(part: &Expression, message: impl Display) -> Misfit {
        match part.is_about_policy() {
            true => Misfit::Line(message.to_string()),
            false => Misfit::Matcher(message.to_string()),
        }
    }

    /// The regular expression that `written` makes of this part.
    fn expression(
        &self,
        part: &Expression,
        evals: usize,
        written: impl Fn(&str) -> String,
    ) -> Result<Box<Pattern>, Misfit> {
        let expression = written(&self.fixed(part, evals)?);
        // Rules have placeholders that begin so. Here they would be the end of the text and then a brace, which never match.
        if expression.contains("${") {
            return Err(Filling::misfit(part, "\"${\" in a pattern matches nothing"));
        }
        let expression = if expression.is_empty() { "(?:)" } else { &expression };
        Pattern::compile(&format!("/{expression}/"))
            .map(Box::new)
            .map_err(|_| Filling::misfit(part, "the pattern is not a regular expression of Go's, or is too big"))
    }

    fn fits(
        &self,
        text: Text,
        part: &Expression,
        evals: usize,
        written: impl Fn(&str) -> String,
    ) -> Result<Condition, Misfit> {
        Ok(Condition::Fits(text, self.expression(part, evals, written)?))
    }

    fn fits_with_names(&self, text: Text, part: &Expression, evals: usize) -> Result<Condition, Misfit> {
        let pattern = self.expression(part, evals, |key| whole(&braces(&key_path(key), Greed::Most, "([^/]+)").0))?;
        let (_, names) = braces(&key_path(&self.fixed(part, evals)?), Greed::Most, "");
        match pattern.groups() == Some(names.len()) {
            true => Ok(Condition::FitsWithNames(text, pattern, names)),
            false => Err(Filling::misfit(part, "a pattern of keyMatch4 cannot have groups in round brackets")),
        }
    }

    fn caught(&self, function: Function, text: Text, rest: &[Expression], evals: usize) -> Result<Text, Misfit> {
        let [key, name] = rest else { return Ok(Text::Undecidable) };
        let replaced = |key: &str| match function {
            Function::KeyGet3 => braces(&key_path(key), Greed::Least, "([^/]+?)"),
            _ => parameters(&key_path(key), "([^/]+)"),
        };
        let pattern = self.expression(key, evals, |key| whole(&replaced(key).0))?;
        let (_, names) = replaced(&self.fixed(key, evals)?);
        let name = self.fixed(name, evals)?;
        let group = names.iter().position(|known| *known == name).map(|place| place + 1);
        Ok(Text::Caught(Box::new(text), pattern, group))
    }

    fn glob(&self, text: Text, part: &Expression, evals: usize) -> Result<Condition, Misfit> {
        let glob = self.fixed(part, evals)?;
        if glob.contains("${") {
            return Err(Filling::misfit(part, "write \\{ for a brace after $ in a glob"));
        }
        // A rule takes what stands between slashes for a regular expression.
        let glob = if glob.starts_with('/') { format!("\\{glob}") } else { glob };
        let pattern =
            Pattern::compile(&glob).map_err(|_| Filling::misfit(part, "this is not a glob of Go's path.Match"))?;
        Ok(Condition::Fits(text, Box::new(pattern)))
    }

    fn network(&self, text: Text, part: &Expression, evals: usize) -> Result<Condition, Misfit> {
        let network = parse_network(&self.fixed(part, evals)?).ok_or_else(|| {
            Filling::misfit(part, "ipMatch needs an address or a network: 10.1.2.3, 10.0.0.0/8 or 2001:db8::/32")
        })?;
        Ok(Condition::Network(text, network))
    }

    /// docker_auth takes labels that cannot be read for none, which everybody has.
    fn labels(&self, first: &Expression, part: &Expression, evals: usize) -> Result<Condition, Misfit> {
        let is_asked = matches!(self.text(first, evals)?, Text::Asked(LABELS));
        if !is_asked {
            let message =
                "labelMatch compares the last of what is asked, the account's labels: labelMatch(r.labels, p.labels)";
            return Err(Misfit::Matcher(message.to_owned()));
        }
        let written = self.fixed(part, evals)?;
        if written.is_empty() {
            return Ok(Condition::Labels(BTreeMap::new()));
        }
        let labels = crate::json::object::<BTreeMap<String, Vec<String>>>(written.as_bytes());
        labels.map(Condition::Labels).map_err(|_| {
            Filling::misfit(part, "labels are lists of values by name, as JSON: {\"team\": [\"web\"]}, or {} for any")
        })
    }

    fn eval(&self, part: &Expression, evals: usize) -> Result<Condition, Misfit> {
        let text = self.fixed(part, evals)?;
        if evals >= EVALS {
            return Err(Filling::misfit(part, format!("eval asks for eval more than {EVALS} times")));
        }
        let inner = expression::read(&text, &self.model.names, Brackets::Unknown);
        let inner = inner.map_err(|message| Filling::misfit(part, format!("the expression for eval: {message}")))?;
        self.whether(&inner, evals + 1).map_err(|misfit| match misfit {
            Misfit::Matcher(message) => Filling::misfit(part, format!("the expression for eval: {message}")),
            line @ Misfit::Line(_) => line,
        })
    }
}

/// Whether braces end at the last of a part of a path, or at the first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Greed {
    Most,
    Least,
}

fn whole(expression: &str) -> String {
    format!("^{expression}$")
}

/// A star after a slash stands for anything.
fn key_path(key: &str) -> String {
    key.replace("/*", "/.*")
}

/// The key with `by` in place of each `:name`, and the names.
fn parameters(key: &str, by: &str) -> (String, Vec<String>) {
    let (mut replaced, mut names) = (String::new(), Vec::new());
    let mut rest = key;
    while let Some((before, after)) = rest.split_once(':') {
        let (name, following) = after.split_at(after.find('/').unwrap_or(after.len()));
        replaced.push_str(before);
        match name {
            "" => replaced.push(':'),
            name => {
                replaced.push_str(by);
                names.push(name.to_owned());
            }
        }
        rest = following;
    }
    (replaced + rest, names)
}

/// The key with `by` in place of each `{name}`, and the names. None holds a slash.
fn braces(key: &str, greed: Greed, by: &str) -> (String, Vec<String>) {
    let (mut replaced, mut names) = (String::new(), Vec::new());
    let mut rest = key;
    while let Some((before, after)) = rest.split_once('{') {
        replaced.push_str(before);
        let part = after.split('/').next().unwrap_or_default();
        // At least one letter stands between the two.
        let end = match greed {
            Greed::Most => part.rfind('}').filter(|end| *end > 0),
            Greed::Least => part.char_indices().skip(1).find(|(_, letter)| *letter == '}').map(|(end, _)| end),
        };
        let name = end.and_then(|end| Some((after.get(..end)?, after.get(end + 1..)?)));
        match name {
            Some((name, following)) => {
                replaced.push_str(by);
                names.push(name.to_owned());
                rest = following;
            }
            None => {
                replaced.push('{');
                rest = after;
            }
        }
    }
    (replaced + rest, names)
}
