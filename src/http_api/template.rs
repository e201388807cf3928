//! Texts with placeholders for an account and a password, each escaped as the place demands where it stands.
//!
//! Nobody who logs in can change anything but the one value: not the server, not the path around it, not another header.

use axum::http::header::{HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use settings::refused::is_plain_word;
use url::Url;

use crate::secret::Secret;

/// The longest address that is asked for, in bytes. Servers refuse longer ones, and that would look like an outage.
const MAX_URL: usize = 8000;
/// What may stand in a template for a login, for messages.
const KNOWN: &str = "${account}, ${password} and ${basic}";

/// A longer name is not shown where there is no such placeholder.
const LONGEST_SHOWN: usize = 8;
/// Every byte but the unreserved ones of RFC 3986, section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Who logs in.
#[derive(Clone, Copy)]
pub struct Who<'a> {
    /// The account as it was typed.
    pub account: &'a str,
    /// The password.
    pub password: &'a str,
}

/// What stands in for a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholder {
    /// `${account}`
    Account,
    /// `${password}`
    Password,
    /// `${basic}`: account, colon and password in base64, as RFC 7617 has it.
    Basic,
}

/// Which placeholders a text may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Those for an account and its password.
    Credentials,
    /// That for an account: no password is in the question.
    Account,
    /// None: nobody's password is in the question.
    Nothing,
}

/// A placeholder's name for a message, unless it is not a word: `${` may stand in a secret of the operator's.
fn shown(name: &str) -> &str {
    if name.is_empty() || (is_plain_word(name) && name.len() <= LONGEST_SHOWN) { name } else { "…" }
}

impl Placeholder {
    fn parse(name: &str, allowed: Allowed) -> Result<Placeholder, String> {
        match (allowed, name) {
            (Allowed::Nothing, _) => Err(format!("${{{}}}: no placeholder can stand here", shown(name))),
            (Allowed::Credentials | Allowed::Account, "account") => Ok(Placeholder::Account),
            (Allowed::Account, _) => Err(format!("${{{}}}: only ${{account}} can stand here", shown(name))),
            (Allowed::Credentials, "password") => Ok(Placeholder::Password),
            (Allowed::Credentials, "basic") => Ok(Placeholder::Basic),
            (Allowed::Credentials, _) => Err(format!("${{{}}} is not a placeholder; there are {KNOWN}", shown(name))),
        }
    }

    /// `None` where no value of this kind says the same to everybody who reads it.
    fn value(self, who: Who<'_>) -> Option<String> {
        match self {
            Placeholder::Account => Some(who.account.to_owned()),
            Placeholder::Password => Some(who.password.to_owned()),
            // The account `a:b` with the password `c` would be read as `a` with `b:c`.
            Placeholder::Basic if who.account.contains(':') => None,
            Placeholder::Basic => Some(STANDARD.encode(format!("{}:{}", who.account, who.password))),
        }
    }
}

/// A piece of a template.
#[derive(Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Value(Placeholder),
}

/// A text with placeholders.
#[derive(Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

impl Template {
    /// Reads a text.
    ///
    /// # Errors
    /// A placeholder in it does not exist, or never ends.
    pub fn parse(text: &str, allowed: Allowed) -> Result<Template, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after.split_once('}').ok_or_else(|| "a placeholder's } is missing".to_owned())?;
            pieces.extend((!before.is_empty()).then(|| Piece::Text(before.to_owned())));
            pieces.push(Piece::Value(Placeholder::parse(name, allowed)?));
            rest = after;
        }
        pieces.extend((!rest.is_empty()).then(|| Piece::Text(rest.to_owned())));
        Ok(Template(pieces))
    }

    /// The placeholders in it.
    pub fn placeholders(&self) -> impl Iterator<Item = Placeholder> + '_ {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Value(placeholder) => Some(*placeholder),
        })
    }

    /// The text with every value put in, escaped by `escape`.
    fn filled(&self, who: Who<'_>, mut escape: impl FnMut(&str) -> Option<String>) -> Option<String> {
        let mut whole = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => whole.push_str(text),
                Piece::Value(placeholder) => whole.push_str(&escape(&placeholder.value(who)?)?),
            }
        }
        Some(whole)
    }

    /// The text with the same word for every placeholder.
    fn with_word(&self, word: &str) -> String {
        let pieces = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => text.as_str(),
            Piece::Value(_) => word,
        });
        pieces.collect()
    }
}

/// Neither the values nor what surrounds them: an address or a header may hold a secret of the operator's.
impl std::fmt::Debug for Template {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_list().entries(self.placeholders()).finish()
    }
}

/// An address whose path and query may hold placeholders.
#[derive(Clone, PartialEq, Eq)]
pub struct UrlTemplate {
    pub(super) template: Template,
    origin: Url,
}

impl UrlTemplate {
    /// Reads an address.
    ///
    /// # Errors
    /// The text is not an HTTP address, somebody who logs in could choose the server, or it holds credentials of its own.
    pub fn parse(text: &str, allowed: Allowed) -> Result<UrlTemplate, String> {
        let template = Template::parse(text, allowed)?;
        let whole = "write a whole address, such as https://api.example.com/check";
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.contains('\\') {
            return Err(format!("an address holds no white space, no backslash and no letters but ASCII; {whole}"));
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(|| whole.to_owned())?;
        let server = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if scheme.contains("${") || server.contains("${") {
            // Otherwise whoever logs in could have us ask any server that we can reach (SSRF).
            return Err(
                "whoever logs in must not choose the server; placeholders stand in the path and the query only"
                    .to_owned(),
            );
        }
        if server.is_empty() {
            // The reader would take the first part of the path for it.
            return Err(whole.to_owned());
        }
        let marker = marker(text);
        let parsed = Url::parse(&template.with_word(&marker)).map_err(|error| format!("{error}; {whole}"))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(whole.to_owned());
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err("an address is logged, and so holds no user and no password; write a header instead: \
                 headers: {Authorization: …}"
                .to_owned());
        }
        if parsed.fragment().is_some() {
            return Err("what follows a # is never sent; leave it out".to_owned());
        }
        let mut placeholders = template.placeholders();
        let mut pieces = Vec::new();
        for (index, text) in parsed.as_str().split(&marker).enumerate() {
            if index > 0 {
                pieces.push(Piece::Value(placeholders.next().ok_or_else(|| whole.to_owned())?));
            }
            pieces.extend((!text.is_empty()).then(|| Piece::Text(text.to_owned())));
        }
        if placeholders.next().is_some() {
            return Err("a placeholder is lost in the path's \"..\"; write the path without dots".to_owned());
        }
        let mut origin = parsed;
        origin.set_path("");
        origin.set_query(None);
        Ok(UrlTemplate { template: Template(pieces), origin })
    }

    /// Scheme, host and port: what may be logged of it.
    pub fn origin(&self) -> &Url {
        &self.origin
    }

    /// The address for one login; `None` for a value that could be read as more than one part of it.
    pub fn filled(&self, who: Who<'_>) -> Option<Url> {
        let query_from = self.template.0.iter().position(|piece| match piece {
            Piece::Text(text) => text.contains('?'),
            Piece::Value(_) => false,
        });
        let mut whole = String::new();
        for (index, piece) in self.template.0.iter().enumerate() {
            match piece {
                Piece::Text(text) => whole.push_str(text),
                Piece::Value(placeholder) => {
                    let value = placeholder.value(who)?;
                    let in_path = query_from.is_none_or(|query| index < query);
                    // Many a server decodes a path before it looks where it leads.
                    if in_path && value.contains(['/', '\\']) {
                        return None;
                    }
                    whole.extend(utf8_percent_encode(&value, RESERVED));
                }
            }
        }
        if whole.len() > MAX_URL {
            return None;
        }
        // A segment of dots would lead elsewhere: the address must come out of the reader as it went in.
        Url::parse(&whole).ok().filter(|url| url.as_str() == whole)
    }
}

impl std::fmt::Debug for UrlTemplate {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} {:?}", self.origin, self.template)
    }
}

/// A word to stand for a placeholder while an address is read: not in the text, and left as it is by the reader.
fn marker(text: &str) -> String {
    let mut marker = "placeholder".to_owned();
    while text.contains(&marker) {
        marker.push('0');
    }
    marker
}

/// A header line.
#[derive(Clone, PartialEq, Eq)]
pub struct HeaderTemplate {
    pub(super) name: HeaderName,
    pub(super) template: Template,
}

impl HeaderTemplate {
    /// Reads a header's value. A placeholder is its last word: with text after it, or two of them in one line, a value
    /// could be read as the beginning of the next.
    ///
    /// # Errors
    /// Says what to write instead.
    pub fn parse(name: HeaderName, text: &str, allowed: Allowed) -> Result<HeaderTemplate, String> {
        let template = Template::parse(text, allowed)?;
        let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        if !visible(text) || text.trim() != text {
            return Err("a header holds visible ASCII characters, and no white space around them".to_owned());
        }
        match template.0.as_slice() {
            [] => Err("a header needs a value".to_owned()),
            [Piece::Text(_) | Piece::Value(_)] => Ok(HeaderTemplate { name, template }),
            [Piece::Text(before), Piece::Value(_)] if before.ends_with(' ') => Ok(HeaderTemplate { name, template }),
            _ => {
                Err("a placeholder is the whole of a header or its last word, after a space: \"Bearer ${password}\", \
                 \"Basic ${basic}\", \"${account}\""
                    .to_owned())
            }
        }
    }

    /// The value for one login, marked as a secret; `None` where it would not arrive as it is: white space, what is not
    /// ASCII, and above all a line break, after which another header could be written.
    pub fn filled(&self, who: Who<'_>) -> Option<HeaderValue> {
        let whole = self
            .template
            .filled(who, |value| value.bytes().all(|byte| byte.is_ascii_graphic()).then(|| value.to_owned()))?;
        let mut value = HeaderValue::from_str(whole.trim_end()).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl std::fmt::Debug for HeaderTemplate {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} {:?}", self.name, self.template)
    }
}

/// What the body of a question is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentType {
    /// `application/json`
    Json,
    /// `application/x-www-form-urlencoded`
    Form,
}

impl ContentType {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            ContentType::Json => "application/json",
            ContentType::Form => "application/x-www-form-urlencoded",
        }
    }
}

/// The body of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyTemplate {
    /// What it is.
    pub content_type: ContentType,
    pub(super) template: Template,
}

impl BodyTemplate {
    /// Reads a body.
    ///
    /// # Errors
    /// It is not what its type says, or a placeholder stands where no text can.
    pub fn parse(text: &str, content_type: ContentType, allowed: Allowed) -> Result<BodyTemplate, String> {
        let template = Template::parse(text, allowed)?;
        match content_type {
            // A bare word is not JSON: with one for each placeholder it is read only if all of them stand within quotes.
            ContentType::Json => {
                let read = serde_json::from_str::<serde::de::IgnoredAny>(&template.with_word("x"));
                read.map_err(|error| {
                    format!(
                        "this is not JSON (column {}); placeholders stand within quotes: '{{\"password\": \"${{password}}\"}}'. \
                         For a form, write content_type: application/x-www-form-urlencoded",
                        error.column()
                    )
                })?;
            }
            ContentType::Form => {
                let is_form = text.bytes().all(|byte| byte.is_ascii_graphic())
                    && text.split('&').all(|field| field.contains('='));
                if !is_form {
                    return Err("this is not a form; write user=${account}&password=${password}".to_owned());
                }
            }
        }
        Ok(BodyTemplate { content_type, template })
    }

    /// The body for one login.
    pub fn filled(&self, who: Who<'_>) -> Option<Secret> {
        let whole = self.template.filled(who, |value| match self.content_type {
            ContentType::Json => {
                let quoted = serde_json::to_string(value).ok()?;
                Some(quoted.strip_prefix('"')?.strip_suffix('"')?.to_owned())
            }
            ContentType::Form => Some(form_urlencoded::byte_serialize(value.as_bytes()).collect()),
        })?;
        Some(Secret::new(whole))
    }
}

#[cfg(test)]
mod tests;
