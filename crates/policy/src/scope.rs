//! Scopes: a resource and the actions requested on it, `repository:team/app:pull,push`.
//!
//! The grammar is the distribution project's (`docs/content/spec/auth/scope.md`): the type ends at the first colon,
//! the actions begin after the last one, and the name between them may hold a `host:port/`. A scope that does not
//! parse is ignored by the doors, never repaired: clients treat an error for one scope as fatal, and a repaired name
//! would be another one than the registry serves.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

/// The longest resource name, in bytes (the stock registry's own limit).
pub const MAX_NAME: usize = 255;
/// The type of what is Dockwarden's own: the rights of those who administer it.
pub const OURS: &str = "dockwarden";
/// The service that whatever is Dockwarden's own is asked for: its API and its pages are no registry, and make no tokens.
pub const OUR_SERVICE: &str = "dockwarden";
/// The longest name of such a resource, in bytes: it holds an account's.
const MAX_OURS: usize = 1100;
/// The number of different resources that one request may name; further ones are ignored.
pub const MAX_SCOPES: usize = 256;
/// The number of actions on one resource; further ones are ignored.
pub const MAX_ACTIONS: usize = 16;
/// The room for the resources of one request in a token, in bytes; further ones are ignored. A reply holds the token twice,
/// encoded a third longer, and some clients (crane) read no reply above 64 KiB.
pub const MAX_ACCESS: usize = 16 * 1024;
/// The size of an entry in a token's `access` claim besides the resource and the actions, in bytes.
const ENTRY_FRAME: usize = 40;

/// An action on a resource. Ordered by its text, bytewise, as docker_auth sorts them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// `*`: everything the registry knows.
    All,
    /// `delete`.
    Delete,
    /// `pull`.
    Pull,
    /// `push`.
    Push,
    /// Another word, `[a-z][a-z0-9_-]*`. Only a rule that lists it by name grants it.
    Other(Box<str>),
}

impl Action {
    /// Reads one action; `None` if the text is not in the grammar (`PULL`, `pu sh`, an empty text).
    pub fn parse(text: &str) -> Option<Action> {
        match text {
            "*" => Some(Action::All),
            "delete" => Some(Action::Delete),
            "pull" => Some(Action::Pull),
            "push" => Some(Action::Push),
            other => {
                let mut letters = other.bytes();
                let first = letters.next().is_some_and(|letter| letter.is_ascii_lowercase());
                let rest = letters.all(|letter| matches!(letter, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
                (first && rest && other.len() <= 32).then(|| Action::Other(other.into()))
            }
        }
    }

    /// The action's word.
    pub fn as_str(&self) -> &str {
        match self {
            Action::All => "*",
            Action::Delete => "delete",
            Action::Pull => "pull",
            Action::Push => "push",
            Action::Other(word) => word,
        }
    }

    /// Whether a rule's `["*"]` grants it. Only actions that registries know are granted so: with any other word, clients could
    /// choose what we sign.
    pub fn is_known(&self) -> bool {
        match self {
            Action::All | Action::Delete | Action::Pull | Action::Push => true,
            Action::Other(_) => false,
        }
    }
}

impl Ord for Action {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl PartialOrd for Action {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// A set of actions, sorted.
pub type Actions = BTreeSet<Action>;

/// Reads a list of actions; words that are not actions are left out, as clients expect.
pub fn parse_actions<'text>(words: impl IntoIterator<Item = &'text str>) -> Actions {
    let mut actions = Actions::new();
    for action in words.into_iter().filter_map(Action::parse) {
        if actions.len() < MAX_ACTIONS {
            actions.insert(action);
        }
    }
    actions
}

/// A resource: its type and its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource {
    kind: Box<str>,
    name: Box<str>,
}

impl Resource {
    /// Checks a type and a name.
    ///
    /// # Errors
    /// The part that is not in the grammar. Such a resource matches no rule.
    pub fn new(kind: &str, name: &str) -> Result<Resource, ScopeError> {
        if !is_type(kind) {
            return Err(ScopeError::Type);
        }
        if !is_name(name) {
            return Err(ScopeError::Name);
        }
        Ok(Resource { kind: kind.into(), name: name.into() })
    }

    /// Something of Dockwarden's own, such as `tokens/alice@example.com`: it names accounts, which are called otherwise than
    /// repositories. Nothing that clients ask tokens for is read so.
    ///
    /// # Errors
    /// No resource can be called so.
    pub fn ours(name: &str) -> Result<Resource, ScopeError> {
        match name.is_empty() || name.len() > MAX_OURS || name.chars().any(char::is_control) {
            true => Err(ScopeError::Name),
            false => Ok(Resource { kind: OURS.into(), name: name.into() }),
        }
    }

    /// What rules can be asked about: of the type of what is Dockwarden's own as [`Resource::ours`] reads it, and otherwise as
    /// [`Resource::new`] does. A door does not read so: whoever asks there for a token may not choose what is ours.
    ///
    /// # Errors
    /// As those.
    pub fn of_type(kind: &str, name: &str) -> Result<Resource, ScopeError> {
        match kind {
            OURS => Resource::ours(name),
            _ => Resource::new(kind, name),
        }
    }

    /// The service that it is asked for where nobody names one: that of what is Dockwarden's own, or else the usual one.
    pub fn service_or<'s>(&self, usual: &'s str) -> &'s str {
        match self.kind() {
            OURS => OUR_SERVICE,
            _ => usual,
        }
    }

    /// The type: `repository`, `registry`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The name: `team/app`, `catalog`.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// One requested resource and its actions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The requested resource.
    pub resource: Resource,
    /// `plugin` in `repository(plugin)`. Registries compare the bare type, so the class decides nothing; it is kept
    /// for the log.
    pub class: Option<Box<str>>,
    /// The requested actions.
    pub actions: Actions,
    /// The tag or digest that the request names. Token requests never name one: the grammar has no place for it.
    pub reference: Option<Reference>,
}

/// A tag or a digest in a repository: `latest`, `sha256:…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A manifest by a tag, which may point elsewhere tomorrow.
    Tag(Box<str>),
    /// A manifest or a blob by the digest of its content.
    Digest(Box<str>),
}

impl Reference {
    /// Reads a tag or a digest, by the registry's own grammar (distribution's `reference` package); `None` if it is
    /// neither.
    pub fn parse(text: &str) -> Option<Reference> {
        match text.contains(':') {
            true => is_digest(text).then(|| Reference::Digest(text.into())),
            false => is_tag(text).then(|| Reference::Tag(text.into())),
        }
    }

    /// The tag or the digest as it stands in the request.
    pub fn as_str(&self) -> &str {
        match self {
            Reference::Tag(text) | Reference::Digest(text) => text,
        }
    }
}

/// The reason why a text is not a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// Fewer than three parts.
    #[error("a scope has the form type:name:actions")]
    Parts,
    /// The type is not in the grammar.
    #[error("the type must be lower-case letters and digits, with an optional (class)")]
    Type,
    /// The name is not in the grammar.
    #[error("the name is not one that a registry can hold")]
    Name,
}

impl Scope {
    /// Reads one scope.
    ///
    /// # Errors
    /// The part that is not in the grammar. Unknown words among the actions are left out, and are not errors.
    pub fn parse(text: &str) -> Result<Scope, ScopeError> {
        let (kind, rest) = text.split_once(':').ok_or(ScopeError::Parts)?;
        let (name, actions) = rest.rsplit_once(':').ok_or(ScopeError::Parts)?;
        let (kind, class) = match kind.strip_suffix(')').and_then(|kind| kind.split_once('(')) {
            Some((kind, class)) if is_type(class) => (kind, Some(class.into())),
            Some(_) => return Err(ScopeError::Type),
            None => (kind, None),
        };
        Ok(Scope {
            resource: Resource::new(kind, name)?,
            class,
            actions: parse_actions(actions.split(',')),
            reference: None,
        })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.resource.kind)?;
        if let Some(class) = &self.class {
            write!(out, "({class})")?;
        }
        write!(out, ":{}:{}", self.resource.name, words(&self.actions))
    }
}

/// Actions as the comma-separated words of a scope.
pub fn words(actions: &Actions) -> String {
    actions.iter().map(Action::as_str).collect::<Vec<_>>().join(",")
}

/// The scopes of a request, read from its `scope` parameters.
#[derive(Debug, Default)]
pub struct RequestedScopes {
    /// The scopes, one for each resource, in the order of first mention, their actions united.
    pub scopes: Vec<Scope>,
    /// The number of texts that were ignored: not scopes, or beyond [`MAX_SCOPES`] or [`MAX_ACCESS`].
    pub ignored: usize,
}

/// Reads all `scope` parameters of a request. Each may hold several scopes, separated by spaces; the same resource
/// may be named more than once, and then its actions are united: a token must not hold it twice.
pub fn parse_all<'text>(parameters: impl IntoIterator<Item = Cow<'text, str>>) -> RequestedScopes {
    let mut requested = RequestedScopes::default();
    let mut room = MAX_ACCESS;
    for parameter in parameters {
        for text in parameter.split(' ').filter(|text| !text.is_empty()) {
            let Ok(scope) = Scope::parse(text) else {
                requested.ignored += 1;
                continue;
            };
            // Quotes and a comma stand around each action.
            let needed = text.len() + ENTRY_FRAME + 3 * scope.actions.len();
            if needed > room {
                requested.ignored += 1;
                continue;
            }
            let another = requested.scopes.len() < MAX_SCOPES;
            match requested.scopes.iter_mut().find(|known| known.resource == scope.resource) {
                Some(known) => {
                    known.actions.extend(scope.actions);
                    while known.actions.len() > MAX_ACTIONS {
                        known.actions.pop_last();
                    }
                }
                None if another => requested.scopes.push(scope),
                None => {
                    requested.ignored += 1;
                    continue;
                }
            }
            room -= needed;
        }
    }
    requested
}

pub(crate) fn is_type(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 32
        && text.bytes().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit())
}

/// Whether a text is a tag: up to 128 letters, digits, underscores, dots and dashes, the first no dot and no dash.
pub fn is_tag(text: &str) -> bool {
    let is_word = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(is_word)
        && text.bytes().all(|letter| is_word(letter) || matches!(letter, b'.' | b'-'))
}

/// `algorithm:hex`, the algorithm in parts that begin with a letter, at least 32 hexadecimal digits.
fn is_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else { return false };
    let is_part = |part: &str| {
        part.bytes().next().is_some_and(|letter| letter.is_ascii_alphabetic())
            && part.bytes().all(|letter| letter.is_ascii_alphanumeric())
    };
    algorithm.split(['-', '_', '+', '.']).all(is_part)
        && (32..=256).contains(&hex.len())
        && hex.bytes().all(|letter| letter.is_ascii_hexdigit())
}

/// `[host[:port]/]component[/component]…`: no upper case, no empty part, no dot segment, nothing percent-encoded.
fn is_name(text: &str) -> bool {
    if text.len() > MAX_NAME {
        return false;
    }
    let path = match text.split_once('/') {
        Some((first, rest)) => match first.split_once(':') {
            Some((host, port)) if is_host(host) && is_port(port) => rest,
            Some(_) => return false,
            None => text,
        },
        None => text,
    };
    path.split('/').all(is_component)
}

/// As a component, but that no host has an underscore.
fn is_host(text: &str) -> bool {
    is_component(text) && !text.contains('_')
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|letter| letter.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// Whether a text is a part of a repository's name, by the grammar of the distribution project: letters and digits, joined by one
/// dot, one or two underscores, or any number of dashes.
pub fn is_component(text: &str) -> bool {
    let alphanumeric = |letter: &u8| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let is_joint = |joint: &[u8]| match joint {
        [] | b"." | b"_" | b"__" => true,
        dashes => dashes.iter().all(|dash| *dash == b'-'),
    };
    let bytes = text.as_bytes();
    let ends_well = bytes.first().is_some_and(alphanumeric) && bytes.last().is_some_and(alphanumeric);
    ends_well && bytes.split(alphanumeric).all(is_joint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_parse_as_the_grammar_says() {
        let cases = [
            ("repository:team/app:pull,push", ["repository", "team/app", "pull,push"]),
            ("repository:app:push,pull,push", ["repository", "app", "pull,push"]),
            ("repository:host.tld:5000/foo:pull", ["repository", "host.tld:5000/foo", "pull"]),
            ("repository(plugin):x:pull", ["repository", "x", "pull"]),
            ("registry:catalog:*", ["registry", "catalog", "*"]),
            ("repository:a:pull,,PULL,pu sh,delete", ["repository", "a", "delete,pull"]),
            ("repository:a:", ["repository", "a", ""]),
            ("repository:a-b--c_d__e.f/g:pull", ["repository", "a-b--c_d__e.f/g", "pull"]),
        ];
        for (text, expected) in cases {
            let Ok(scope) = Scope::parse(text) else { unreachable!("{text}") };
            assert_eq!([scope.resource.kind(), scope.resource.name(), &words(&scope.actions)], expected, "{text}");
        }
        let refused = [
            (ScopeError::Parts, "foo repository:x"),
            (ScopeError::Type, ":: REPOsitory:a:pull !!repository!!:a:pull repository(:a:pull repository():a:pull"),
            (
                ScopeError::Name,
                "repository:A:pull repository:a/../b:pull repository:a..b:pull repository:a___b:pull repository:-a:pull
                repository:a-:pull repository:%2e%2e/b:pull repository:a//b:pull repository:/a:pull repository:a/:pull
                repository:a:b/c:pull repository:a_b:5000/c:pull repository:a/b:5000/c:pull repository:a:99999/c:pull",
            ),
        ];
        for (error, texts) in refused {
            for text in texts.split_whitespace() {
                assert_eq!(Scope::parse(text), Err(error), "{text}");
            }
        }
        assert_eq!(Scope::parse(""), Err(ScopeError::Parts));
        assert_eq!(Scope::parse("repository:a b:pull"), Err(ScopeError::Name));
    }

    #[test]
    fn the_same_resource_is_asked_for_once() {
        let requested = parse_all([
            Cow::Borrowed("repository:a:pull repository:b:pull"),
            Cow::Borrowed(""),
            Cow::Borrowed("nonsense repository(plugin):a:push,pull "),
        ]);
        let texts: Vec<String> = requested.scopes.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["repository:a:pull,push", "repository:b:pull"]);
        assert_eq!(requested.ignored, 1);
    }

    #[test]
    fn actions_are_words_of_a_length_and_only_some_are_known() {
        let (longest, too_long) = ("a".repeat(32), "a".repeat(33));
        for (text, known) in [
            ("*", Some(true)),
            ("delete", Some(true)),
            ("pull", Some(true)),
            ("push", Some(true)),
            ("metadata_read-2", Some(false)),
            (longest.as_str(), Some(false)),
            (too_long.as_str(), None),
            ("", None),
            ("2a", None),
            ("_a", None),
            ("a*", None),
            ("Pull", None),
        ] {
            let action = Action::parse(text);
            assert_eq!(action.as_ref().map(Action::is_known), known, "{text}");
            assert!(action.is_none_or(|action| action.to_string() == text && action.as_str() == text), "{text}");
        }
        assert!(Action::All < Action::Delete && Action::Other("a".into()) < Action::Delete);
        let many: Vec<String> = (0..MAX_ACTIONS + 2).map(|number| format!("w{number}")).collect();
        assert_eq!(parse_actions(many.iter().map(String::as_str)).len(), MAX_ACTIONS);
    }

    #[test]
    fn a_component_is_what_a_registry_takes_between_slashes() {
        for (name, expected) in [
            ("dev", true),
            ("20", true),
            ("a.b_c__d--e---f", true),
            ("", false),
            ("Dev", false),
            ("foo foo", false),
            ("foo@foo", false),
            ("a..b", false),
            ("a___b", false),
            ("-a", false),
            ("a-", false),
            ("a/b", false),
            ("a._b", false),
            ("ä", false),
        ] {
            assert_eq!(is_component(name), expected, "{name}");
        }
    }

    #[test]
    fn a_reference_is_a_tag_or_a_digest() {
        let hex = |length: usize| "0123456789abcdefABCDEF".chars().cycle().take(length).collect::<String>();
        let tag = |length: usize| "t".repeat(length);
        for (text, is_digest) in [
            ("latest".to_owned(), Some(false)),
            ("_v1.2-rc_3".to_owned(), Some(false)),
            (tag(128), Some(false)),
            (tag(129), None),
            (String::new(), None),
            (".a".to_owned(), None),
            ("-a".to_owned(), None),
            ("a/b".to_owned(), None),
            (format!("sha256:{}", hex(64)), Some(true)),
            (format!("sha256+b64.x_y-z:{}", hex(32)), Some(true)),
            (format!("sha256:{}", hex(256)), Some(true)),
            (format!("sha256:{}", hex(31)), None),
            (format!("sha256:{}", hex(257)), None),
            (format!("sha256:{}g", hex(63)), None),
            (format!("2sha:{}", hex(64)), None),
            (format!("sha++b:{}", hex(64)), None),
            (format!("sh/a:{}", hex(64)), None),
            (format!(":{}", hex(64)), None),
            (format!("sha256:{}:{}", hex(32), hex(32)), None),
        ] {
            let seen = Reference::parse(&text);
            assert_eq!(seen.as_ref().map(|seen| matches!(seen, Reference::Digest(_))), is_digest, "{text}");
            assert!(seen.is_none_or(|seen| seen.as_str() == text), "{text}");
        }
    }

    #[test]
    fn types_names_and_ports_have_their_lengths() {
        let component = |length: usize| "n".repeat(length);
        for (kind, name, expected) in [
            (component(32), component(MAX_NAME), Ok(())),
            (component(33), "a".to_owned(), Err(ScopeError::Type)),
            ("a".to_owned(), component(MAX_NAME + 1), Err(ScopeError::Name)),
            ("a2".to_owned(), "host-1.tld:65535/a".to_owned(), Ok(())),
            ("a".to_owned(), "host:65536/a".to_owned(), Err(ScopeError::Name)),
            ("a".to_owned(), "host:+80/a".to_owned(), Err(ScopeError::Name)),
            ("a".to_owned(), "host:/a".to_owned(), Err(ScopeError::Name)),
        ] {
            assert_eq!(Resource::new(&kind, &name).map(drop), expected, "{kind} {name}");
        }
    }

    #[test]
    fn what_does_not_fit_in_a_token_is_ignored() {
        // Each takes a sixty-fourth of the room, to the byte.
        let fits = 64;
        let entry = |number: usize| {
            let needed = MAX_ACCESS / fits - ENTRY_FRAME - 10 * 3;
            let (front, back) = (format!("repository:r{number:03}"), ":a,b,c,d,e,f,g,h,i,j");
            format!("{front}{}{back}", "x".repeat(needed - front.len() - back.len()))
        };
        let requested = parse_all((0..fits + 3).map(|number| Cow::Owned(entry(number))));
        assert_eq!((requested.scopes.len(), requested.ignored), (fits, 3));
        // The same resource again and again, each time with other actions.
        let more = (0..3).map(|turn| {
            let words: Vec<String> = (0..MAX_ACTIONS - 1).map(|number| format!("w{turn}x{number}")).collect();
            Cow::Owned(format!("repository:a:{}", words.join(",")))
        });
        let requested = parse_all(more);
        assert_eq!(requested.scopes.iter().map(|scope| scope.actions.len()).collect::<Vec<_>>(), [MAX_ACTIONS]);
    }

    #[test]
    fn more_resources_than_the_limit_are_ignored() {
        let all = (0..MAX_SCOPES + 10).map(|index| Cow::Owned(format!("repository:r{index}:pull")));
        let requested = parse_all(all);
        assert_eq!((requested.scopes.len(), requested.ignored), (MAX_SCOPES, 10));
    }
}
