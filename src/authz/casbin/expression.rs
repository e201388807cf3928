//! The expressions of Casbin's matchers, as far as they are about texts: read here, and decided elsewhere.

use std::iter::Peekable;
use std::str::Chars;

/// Deeper parentheses are refused: reading them takes the stack.
const DEEPEST: usize = 64;

/// A part of a matcher.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    /// `"text"`
    Text(String),
    /// `true`, `false`
    Truth(bool),
    /// `r.name`: what is asked, by its place in the request.
    Asked(usize),
    /// `p.name`: a column of a line of the policy.
    Column(usize),
    /// `keyMatch(…)`
    Call(Function, Vec<Expression>),
    /// `g(…)`: by the place of its role definition.
    Linked(usize, Vec<Expression>),
    /// `!`
    Not(Box<Expression>),
    /// `&&`
    Both(Box<Expression>, Box<Expression>),
    /// `||`
    Either(Box<Expression>, Box<Expression>),
    /// `==` and the like
    Compared(Comparison, Box<Expression>, Box<Expression>),
    /// `in`
    Within(Box<Expression>, Vec<Expression>),
    /// `+`
    Joined(Box<Expression>, Box<Expression>),
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Same,
    Differs,
    Less,
    LessOrSame,
    More,
    MoreOrSame,
    Fits,
    FitsNot,
}

/// Casbin's own functions, and docker_auth's `labelMatch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    KeyMatch,
    KeyMatch2,
    KeyMatch3,
    KeyMatch4,
    KeyMatch5,
    KeyGet,
    KeyGet2,
    KeyGet3,
    RegexMatch,
    GlobMatch,
    IpMatch,
    LabelMatch,
    Eval,
}

impl Function {
    /// All of them, with their names and how many values each takes.
    const ALL: [(&'static str, usize, Function); 13] = [
        ("keyMatch", 2, Function::KeyMatch),
        ("keyMatch2", 2, Function::KeyMatch2),
        ("keyMatch3", 2, Function::KeyMatch3),
        ("keyMatch4", 2, Function::KeyMatch4),
        ("keyMatch5", 2, Function::KeyMatch5),
        ("keyGet", 2, Function::KeyGet),
        ("keyGet2", 3, Function::KeyGet2),
        ("keyGet3", 3, Function::KeyGet3),
        ("regexMatch", 2, Function::RegexMatch),
        ("globMatch", 2, Function::GlobMatch),
        ("ipMatch", 2, Function::IpMatch),
        ("labelMatch", 2, Function::LabelMatch),
        ("eval", 1, Function::Eval),
    ];
}

/// A role definition: its name, and how many columns its lines have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RoleDefinition {
    pub(super) name: String,
    pub(super) columns: usize,
}

/// The names that a model gives to what a matcher can look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// Those of the request.
    pub(super) asked: Vec<String>,
    /// Those of the policy's lines.
    pub(super) columns: Vec<String>,
    /// The role definitions.
    pub(super) roles: Vec<RoleDefinition>,
}

/// How square brackets are read: Casbin makes them round ones, in all of a model's matcher, if `in` stands anywhere in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Brackets {
    Round,
    Unknown,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Text(String),
    Word(String),
    Open,
    Close,
    Comma,
    Symbol(&'static str),
}

/// The operators, the longer of two that begin alike first.
const SYMBOLS: [&str; 12] = ["&&", "||", "==", "!=", "=~", "!~", "<=", ">=", "<", ">", "!", "+"];

/// Reads a whole expression.
///
/// # Errors
/// Says what is wrong with it; the message repeats names of functions and fields only.
pub(super) fn read(text: &str, names: &Names, brackets: Brackets) -> Result<Expression, String> {
    let tokens = tokens(text, brackets)?;
    let mut reader = Reader { tokens: tokens.into_iter().peekable(), names, depth: 0 };
    let expression = reader.either()?;
    match reader.tokens.next() {
        None => Ok(expression),
        Some(token) => {
            Err(format!("{} is not expected after a whole condition; write && or || between two", told(&token)))
        }
    }
}

/// A part of an expression for a message. What stands in quotes is not repeated.
fn told(token: &Token) -> String {
    match token {
        Token::Text(_) => "a text in quotes".to_owned(),
        Token::Word(word) if settings::refused::is_harmless(word) => format!("\"{word}\""),
        Token::Word(_) => "this name".to_owned(),
        Token::Open => "\"(\"".to_owned(),
        Token::Close => "\")\"".to_owned(),
        Token::Comma => "\",\"".to_owned(),
        Token::Symbol(symbol) => format!("\"{symbol}\""),
    }
}

fn tokens(text: &str, brackets: Brackets) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(letter) = rest.next() {
        match letter {
            _ if letter.is_whitespace() => {}
            '"' | '\'' => tokens.push(Token::Text(quoted(&mut rest, letter, brackets)?)),
            '(' => tokens.push(Token::Open),
            ')' => tokens.push(Token::Close),
            '[' | ']' => match (brackets, letter) {
                (Brackets::Round, '[') => tokens.push(Token::Open),
                (Brackets::Round, _) => tokens.push(Token::Close),
                (Brackets::Unknown, _) => return Err("square brackets have no meaning here; write (…)".to_owned()),
            },
            ',' => tokens.push(Token::Comma),
            _ if letter.is_alphabetic() => {
                let mut word = String::from(letter);
                while let Some(next) = rest.next_if(|next| next.is_alphanumeric() || matches!(next, '_' | '.')) {
                    word.push(next);
                }
                tokens.push(Token::Word(word));
            }
            _ if letter.is_numeric() || letter == '.' => {
                return Err("numbers cannot be compared: all that is asked is text; write it in quotes".to_owned());
            }
            _ => tokens.push(Token::Symbol(symbol(letter, &mut rest)?)),
        }
    }
    Ok(tokens)
}

fn symbol(first: char, rest: &mut Peekable<Chars<'_>>) -> Result<&'static str, String> {
    let both = rest.peek().map(|second| format!("{first}{second}"));
    let found = SYMBOLS.into_iter().find(|symbol| both.as_deref() == Some(*symbol));
    if found.is_some() {
        rest.next();
    }
    let alone = || SYMBOLS.into_iter().find(|symbol| symbol.strip_prefix(first) == Some(""));
    found.or_else(alone).ok_or_else(|| match first {
        '=' | '&' | '|' => format!("\"{first}\" alone means nothing; write {first}{first}"),
        '?' | ':' => "conditions with ? are not read here; write them with &&, || and !".to_owned(),
        _ => format!("\"{}\" means nothing here", first.escape_debug()),
    })
}

/// The text up to the quotation mark. A backslash makes the next character a plain one.
fn quoted(rest: &mut Peekable<Chars<'_>>, mark: char, brackets: Brackets) -> Result<String, String> {
    let mut text = String::new();
    while let Some(letter) = rest.next() {
        match letter {
            '\\' => text.extend(rest.next()),
            '"' | '\'' if letter == mark => return Ok(text),
            '"' | '\'' => {
                return Err(format!(
                    "a text that begins with {mark} ends at {letter} for Casbin; write a backslash before {letter}"
                ));
            }
            '[' | ']' if brackets == Brackets::Round => {
                return Err(
                    "Casbin turns square brackets into round ones where \"in\" stands anywhere in the matcher; \
                            move the text that has them into the policy"
                        .to_owned(),
                );
            }
            _ => text.push(letter),
        }
    }
    Err(format!("a text begins with {mark} and never ends"))
}

struct Reader<'n> {
    tokens: Peekable<std::vec::IntoIter<Token>>,
    names: &'n Names,
    depth: usize,
}

impl Reader<'_> {
    fn takes(&mut self, symbol: &'static str) -> bool {
        self.tokens.next_if_eq(&Token::Symbol(symbol)).is_some()
    }

    /// One level deeper; the level ends with what `read` returns.
    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<T, String> {
        if self.depth >= DEEPEST {
            return Err(format!("there are more than {DEEPEST} conditions within each other"));
        }
        self.depth += 1;
        let said = read(self);
        self.depth -= 1;
        said
    }

    fn either(&mut self) -> Result<Expression, String> {
        let mut left = self.both()?;
        while self.takes("||") {
            left = Expression::Either(Box::new(left), Box::new(self.both()?));
        }
        Ok(left)
    }

    fn both(&mut self) -> Result<Expression, String> {
        let mut left = self.compared()?;
        while self.takes("&&") {
            left = Expression::Both(Box::new(left), Box::new(self.compared()?));
        }
        Ok(left)
    }

    fn compared(&mut self) -> Result<Expression, String> {
        let left = self.joined()?;
        let compared = match self.comparison() {
            Some(how) => Expression::Compared(how, Box::new(left), Box::new(self.joined()?)),
            None if self.takes_in() => Expression::Within(Box::new(left), self.list()?),
            None => return Ok(left),
        };
        match self.comparison().is_some() || self.takes_in() {
            true => Err("two comparisons follow each other; put one of them in parentheses".to_owned()),
            false => Ok(compared),
        }
    }

    fn comparison(&mut self) -> Option<Comparison> {
        let all = [
            ("==", Comparison::Same),
            ("!=", Comparison::Differs),
            ("<", Comparison::Less),
            ("<=", Comparison::LessOrSame),
            (">", Comparison::More),
            (">=", Comparison::MoreOrSame),
            ("=~", Comparison::Fits),
            ("!~", Comparison::FitsNot),
        ];
        all.into_iter().find_map(|(symbol, how)| self.takes(symbol).then_some(how))
    }

    fn takes_in(&mut self) -> bool {
        self.tokens.next_if(|token| matches!(token, Token::Word(word) if word == "in" || word == "IN")).is_some()
    }

    fn list(&mut self) -> Result<Vec<Expression>, String> {
        let listed = match self.tokens.next() {
            Some(Token::Open) => self.deeper(Self::arguments)?,
            Some(Token::Text(_) | Token::Word(_) | Token::Close | Token::Comma | Token::Symbol(_)) | None => Vec::new(),
        };
        match listed.len() {
            0 | 1 => Err("after in, a list of two or more is expected: r.action in (\"pull\", \"push\")".to_owned()),
            2.. => Ok(listed),
        }
    }

    /// What stands in parentheses that are open already, one after the other.
    fn arguments(&mut self) -> Result<Vec<Expression>, String> {
        let mut arguments = Vec::new();
        if self.tokens.next_if_eq(&Token::Close).is_some() {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.either()?);
            match self.tokens.next() {
                Some(Token::Comma) => {}
                Some(Token::Close) => return Ok(arguments),
                Some(token @ (Token::Text(_) | Token::Word(_) | Token::Open | Token::Symbol(_))) => {
                    return Err(format!("{} is not expected here; a comma or \")\" is", told(&token)));
                }
                None => return Err("a \")\" is missing".to_owned()),
            }
        }
    }

    fn joined(&mut self) -> Result<Expression, String> {
        let mut left = self.single()?;
        while self.takes("+") {
            left = Expression::Joined(Box::new(left), Box::new(self.single()?));
        }
        Ok(left)
    }

    fn single(&mut self) -> Result<Expression, String> {
        match self.tokens.next() {
            Some(Token::Symbol("!")) => Ok(Expression::Not(Box::new(self.deeper(Self::single)?))),
            Some(Token::Open) => match self.deeper(Self::arguments)?.as_slice() {
                [one] => Ok(one.clone()),
                [] | [_, _, ..] => Err("one condition is expected in these parentheses".to_owned()),
            },
            Some(Token::Text(text)) => Ok(Expression::Text(text)),
            Some(Token::Word(word)) => match self.tokens.next_if_eq(&Token::Open) {
                Some(_) => {
                    let arguments = self.deeper(Self::arguments)?;
                    self.call(&word, arguments)
                }
                None => self.field(&word),
            },
            Some(token @ (Token::Close | Token::Comma | Token::Symbol(_))) => {
                Err(format!("{} is not expected here", told(&token)))
            }
            None => Err("the expression ends too early".to_owned()),
        }
    }

    /// A name that stands alone. Casbin knows each field by two: `r.name`, and `r_name`.
    fn field(&self, word: &str) -> Result<Expression, String> {
        match word {
            "true" => return Ok(Expression::Truth(true)),
            "false" => return Ok(Expression::Truth(false)),
            _ => {}
        }
        let place = |side: &str, names: &[String]| {
            let name = word.strip_prefix(side)?.strip_prefix(['.', '_'])?;
            names.iter().position(|known| known == name)
        };
        let asked = place("r", &self.names.asked).map(Expression::Asked);
        let column = || place("p", &self.names.columns).map(Expression::Column);
        let unknown = || format!("{} is no field that the model defines", told(&Token::Word(word.to_owned())));
        asked.or_else(column).ok_or_else(unknown)
    }

    fn call(&self, name: &str, arguments: Vec<Expression>) -> Result<Expression, String> {
        let role = self.names.roles.iter().position(|role| role.name == name);
        let known = Function::ALL.into_iter().find(|(known, _, _)| *known == name);
        let (wanted, called) = match (role.zip(role.and_then(|place| self.names.roles.get(place))), known) {
            (Some((place, role)), _) => (role.columns, Expression::Linked(place, arguments)),
            (None, Some((_, wanted, function))) => (wanted, Expression::Call(function, arguments)),
            (None, None) => {
                let names: Vec<&str> = Function::ALL.iter().map(|(name, _, _)| *name).collect();
                let roles: Vec<&str> = self.names.roles.iter().map(|role| role.name.as_str()).collect();
                return Err(format!(
                    "{} is no function (known here: {})",
                    told(&Token::Word(name.to_owned())),
                    [names, roles].concat().join(", ")
                ));
            }
        };
        match &called {
            Expression::Call(_, given) | Expression::Linked(_, given) if given.len() != wanted => {
                Err(format!("{name} takes {wanted} values, not {}", given.len()))
            }
            _ => Ok(called),
        }
    }
}

impl Expression {
    /// Whether it looks at the line of the policy.
    pub(super) fn is_about_policy(&self) -> bool {
        self.any(&|part| matches!(part, Expression::Column(_)))
    }

    /// Whether it asks for expressions of the policy. Casbin decides nothing by it where there is no line.
    pub(super) fn has_eval(&self) -> bool {
        self.any(&|part| matches!(part, Expression::Call(Function::Eval, _)))
    }

    fn any(&self, is: &dyn Fn(&Expression) -> bool) -> bool {
        is(self)
            || match self {
                Expression::Text(_) | Expression::Truth(_) | Expression::Asked(_) | Expression::Column(_) => false,
                Expression::Call(_, parts) | Expression::Linked(_, parts) => parts.iter().any(|part| part.any(is)),
                Expression::Not(part) => part.any(is),
                Expression::Within(left, parts) => left.any(is) || parts.iter().any(|part| part.any(is)),
                Expression::Both(left, right)
                | Expression::Either(left, right)
                | Expression::Compared(_, left, right)
                | Expression::Joined(left, right) => left.any(is) || right.any(is),
            }
    }
}
