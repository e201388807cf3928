//! What an HTTP request asks of a registry: its method and target to scopes, exactly as the stock registry derives them.
//!
//! The registry's routes are those of distribution's `api/v2` package, the actions those of its `appendAccessRecords`
//! (2.7 to 3.1 alike). Pure: no I/O. A target that is not in canonical form is refused and never repaired: whoever
//! stands between this decision and the registry (nginx, Traefik, the registry's own router) repairs in another way, and
//! the registry would then serve something else than was decided on.

use crate::scope::{Action, Actions, Reference, Resource, Scope};

/// The longest target that is looked at, in bytes.
const MAX_TARGET: usize = 8 * 1024;

/// What a target names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `/v2/`: whether there is a registry, and whether one may log in.
    Base,
    /// `/v2/_catalog`: the names of all repositories, or a page of them.
    Catalog(Query),
    /// Something of one repository.
    Repository(RepositoryTarget),
    /// A path outside of `/v2/`, without its query.
    Outside(String),
}

/// A part of one repository, and what is asked about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryTarget {
    /// The repository.
    pub repository: Resource,
    /// Which of its parts.
    pub part: Part,
    /// The repository that a blob is to be mounted from (`?from=`).
    pub from: Option<Resource>,
    /// The whole query.
    pub query: Query,
}

/// A part of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// `tags/list`
    Tags,
    /// `manifests/REFERENCE`
    Manifest(Reference),
    /// `blobs/DIGEST`
    Blob(Reference),
    /// `blobs/uploads/`: where uploads and mounts begin.
    Uploads,
    /// `blobs/uploads/ID`
    Upload,
    /// `referrers/DIGEST`
    Referrers(Reference),
}

impl Part {
    /// The tag or the digest that is named.
    pub fn reference(&self) -> Option<&Reference> {
        match self {
            Part::Manifest(reference) | Part::Blob(reference) | Part::Referrers(reference) => Some(reference),
            Part::Tags | Part::Uploads | Part::Upload => None,
        }
    }
}

/// A query that everybody reads in the same way, taken apart at each `&`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<Parameter>);

/// One piece of a query; where nothing stands between two `&`, an empty one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// The whole piece as it came over the wire.
    pub written: String,
    /// Its name, unescaped.
    pub name: String,
    /// Its value, unescaped; empty where there is none.
    pub value: String,
}

/// Why a target is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Longer than anything that a client sends.
    #[error("the target is too long")]
    TooLong,
    /// It could be read in more than one way.
    #[error("the target is not in canonical form")]
    NotCanonical,
    /// No route of a registry.
    #[error("a registry has nothing at this target")]
    NoRoute,
    /// The repository's name is none.
    #[error("the target names no repository")]
    NoRepository,
    /// The query could be read in more than one way, or names no repository to mount from.
    #[error("the query is not in canonical form, or has a parameter that a registry does not take here")]
    Query,
    /// No method that a registry has.
    #[error("a registry has no such method")]
    Method,
}

impl Target {
    /// Reads a request target in origin form, `/path?query`, as it came over the wire.
    ///
    /// # Errors
    /// Why nobody may go there.
    pub fn parse(text: &str) -> Result<Target, Refused> {
        if text.len() > MAX_TARGET {
            return Err(Refused::TooLong);
        }
        let (path, query) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)));
        if !is_canonical(path) {
            return Err(Refused::NotCanonical);
        }
        let Some(below) = path.strip_prefix("/v2/").or_else(|| (path == "/v2").then_some("")) else {
            return match is_written_in_one_way(path) {
                true => Ok(Target::Outside(path.to_owned())),
                false => Err(Refused::NotCanonical),
            };
        };
        if below.contains('%') {
            return Err(Refused::NotCanonical);
        }
        let (query, from) = Query::parse(query)?;
        let (repository, part) = match below {
            "" => return Ok(Target::Base),
            "_catalog" => return Ok(Target::Catalog(query)),
            below => route(below)?,
        };
        let repository = Resource::new("repository", repository).map_err(|_| Refused::NoRepository)?;
        Ok(Target::Repository(RepositoryTarget { repository, part, from, query }))
    }

    /// What this method needs at this target: nothing but an account at `/v2/`.
    ///
    /// # Errors
    /// [`Refused::Method`]: the stock registry asks for no right at all where it does not know the method, and leaves
    /// it to the handlers to refuse.
    pub fn scopes(&self, method: &str) -> Result<Vec<Scope>, Refused> {
        let actions: &[Action] = match method {
            "GET" | "HEAD" => &[Action::Pull],
            "POST" | "PUT" | "PATCH" => &[Action::Pull, Action::Push],
            "DELETE" => &[Action::Delete],
            _ => return Err(Refused::Method),
        };
        let scope =
            |resource: Resource, actions: Actions, reference| Scope { resource, class: None, actions, reference };
        match self {
            Target::Base | Target::Outside(_) => Ok(Vec::new()),
            Target::Catalog(_) => {
                let catalog = Resource::new("registry", "catalog").map_err(|_| Refused::NoRoute)?;
                Ok(vec![scope(catalog, [Action::All].into(), None)])
            }
            Target::Repository(RepositoryTarget { repository, part, from, query: _ }) => {
                let reference = part.reference().cloned();
                let own = scope(repository.clone(), actions.iter().cloned().collect(), reference);
                let source = from.clone().map(|from| scope(from, [Action::Pull].into(), None));
                Ok(std::iter::once(own).chain(source).collect())
            }
        }
    }
}

/// No control characters, nothing but ASCII, no empty or dot segment (a slash at the end is none), no backslash (IIS and
/// browsers take it for a slash), no semicolon (servlets cut the segment there), no fragment.
fn is_canonical(path: &str) -> bool {
    let Some(below_root) = path.strip_prefix('/') else { return false };
    let letters = path.bytes().all(|letter| letter.is_ascii_graphic() && !matches!(letter, b'\\' | b';' | b'#'));
    let mut segments = below_root.split('/').rev();
    let last = segments.next().unwrap_or_default();
    letters && !matches!(last, "." | "..") && segments.all(|segment| !matches!(segment, "" | "." | ".."))
}

/// Whether every byte of a path outside of `/v2/` is written in the only way that there is for it: escaped, in upper case,
/// where it has to be (RFC 3986, sections 2.1 to 2.4), and as it is everywhere else. A second way to write a path would
/// be a way around the row that names it.
fn is_written_in_one_way(path: &str) -> bool {
    !path.bytes().any(has_to_be_escaped) && path.split('/').all(is_one_segment)
}

/// A space, a quote, a letter beyond ASCII.
fn has_to_be_escaped(byte: u8) -> bool {
    byte >= 0x80 || matches!(byte, b' ' | b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}')
}

/// Whether a segment reads as a name once it is unescaped. Bytes that are no UTF-8 are refused because old readers take
/// overlong forms of a dot or a slash for one, and dots before spaces because Windows cuts those off: `..%20` is `..`.
fn is_one_segment(segment: &str) -> bool {
    let mut pieces = segment.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let Some((digits, rest)) = piece.split_at_checked(2) else { return false };
        let upper = digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'A'..=b'F'));
        match u8::from_str_radix(digits, 16) {
            Ok(byte) if upper && has_to_be_escaped(byte) => bytes.push(byte),
            Ok(_) | Err(_) => return false,
        }
        bytes.extend(rest.bytes());
    }
    let Ok(name) = String::from_utf8(bytes) else { return false };
    let is_dots =
        !name.is_empty() && name.trim_end_matches(|letter: char| letter == '.' || letter.is_whitespace()).is_empty();
    !is_dots && !name.contains(char::is_control)
}

/// Where below `/v2/` something is. The last segments tell, since repositories may be called `tags` or `blobs`.
fn route(below: &str) -> Result<(&str, Part), Refused> {
    let (rest, last) = below.rsplit_once('/').ok_or(Refused::NoRoute)?;
    let (above, kind) = rest.rsplit_once('/').ok_or(Refused::NoRoute)?;
    let digest = || match Reference::parse(last) {
        Some(digest @ Reference::Digest(_)) => Ok(digest),
        Some(Reference::Tag(_)) | None => Err(Refused::NoRoute),
    };
    match kind {
        "tags" if last == "list" => Ok((above, Part::Tags)),
        "manifests" => Ok((above, Part::Manifest(Reference::parse(last).ok_or(Refused::NoRoute)?))),
        "blobs" => Ok((above, Part::Blob(digest()?))),
        "referrers" => Ok((above, Part::Referrers(digest()?))),
        "uploads" => match above.rsplit_once('/') {
            Some((repository, "blobs")) if last.is_empty() => Ok((repository, Part::Uploads)),
            Some((repository, "blobs")) if is_upload_id(last) => Ok((repository, Part::Upload)),
            Some(_) | None => Err(Refused::NoRoute),
        },
        _ => Err(Refused::NoRoute),
    }
}

fn is_upload_id(text: &str) -> bool {
    text.bytes().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, b'-' | b'_' | b'.' | b'='))
}

impl Query {
    /// Takes a query apart (`None`: the target has none), and reads the repository in `from`, if there is one. A query that two
    /// readers could take apart differently (a semicolon, a broken escape, `from` twice) is refused: Go's reader drops such
    /// pairs, others do not.
    fn parse(text: Option<&str>) -> Result<(Query, Option<Resource>), Refused> {
        let Some(text) = text else { return Ok((Query::default(), None)) };
        let whole = text.bytes().all(|letter| letter.is_ascii_graphic() && !matches!(letter, b';' | b'#' | b'\\'));
        let escapes = text
            .split('%')
            .skip(1)
            .all(|after| after.get(..2).is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit())));
        if !whole || !escapes {
            return Err(Refused::Query);
        }
        let parameters = text.split('&').map(|written| {
            let (name, value) = form_urlencoded::parse(written.as_bytes()).next().unwrap_or_default();
            Parameter { written: written.to_owned(), name: name.into_owned(), value: value.into_owned() }
        });
        let query = Query(parameters.collect());
        // `From` is `from` to readers that ignore case, and nothing at all to the stock registry.
        let alike = |key: &str| ["from", "mount"].iter().any(|name| key != *name && key.eq_ignore_ascii_case(name));
        if query.0.iter().any(|parameter| alike(&parameter.name)) {
            return Err(Refused::Query);
        }
        let mut sources = query.0.iter().filter(|parameter| parameter.name == "from").map(|from| from.value.as_str());
        let from = match (sources.next(), sources.next()) {
            (None | Some(""), None) => None,
            (Some(name), None) => Some(Resource::new("repository", name).map_err(|_| Refused::Query)?),
            (_, Some(_)) => return Err(Refused::Query),
        };
        Ok((query, from))
    }

    /// Its parameters, in their order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn asked(method: &str, target: &str) -> Result<String, Refused> {
        let scopes = Target::parse(&target.replace("DIGEST", DIGEST))?.scopes(method)?;
        let texts = scopes.iter().map(|scope| match &scope.reference {
            Some(Reference::Tag(tag)) => format!("{scope} tag {tag}"),
            Some(Reference::Digest(_)) => format!("{scope} digest"),
            None => scope.to_string(),
        });
        Ok(texts.collect::<Vec<_>>().join(" + "))
    }

    #[test]
    fn scopes_are_those_of_the_stock_registry() {
        for (method, target, expected) in [
            ("GET", "/v2/", ""),
            ("GET", "/v2", ""),
            ("GET", "/v2/_catalog?n=100&last=a%2Fb", "registry:catalog:*"),
            ("GET", "/v2/app/tags/list", "repository:app:pull"),
            ("HEAD", "/v2/team/app/manifests/v1.0", "repository:team/app:pull tag v1.0"),
            ("GET", "/v2/team/app/manifests/DIGEST", "repository:team/app:pull digest"),
            ("PUT", "/v2/app/manifests/Latest_1", "repository:app:pull,push tag Latest_1"),
            ("DELETE", "/v2/app/manifests/DIGEST", "repository:app:delete digest"),
            ("GET", "/v2/app/blobs/DIGEST", "repository:app:pull digest"),
            ("DELETE", "/v2/app/blobs/DIGEST", "repository:app:delete digest"),
            ("POST", "/v2/app/blobs/uploads/", "repository:app:pull,push"),
            (
                "POST",
                "/v2/app/blobs/uploads/?mount=DIGEST&from=a%2Fb",
                "repository:app:pull,push + repository:a/b:pull",
            ),
            ("POST", "/v2/app/blobs/uploads/?from=", "repository:app:pull,push"),
            ("GET", "/v2/app/manifests/v1?from=secret", "repository:app:pull tag v1 + repository:secret:pull"),
            ("GET", "/v2/app/manifests/v1?fro%6D=secret", "repository:app:pull tag v1 + repository:secret:pull"),
            ("PATCH", "/v2/app/blobs/uploads/0a-B_c.d=?_state=x%3D%3D", "repository:app:pull,push"),
            ("GET", "/v2/app/referrers/DIGEST?artifactType=a%2Fb", "repository:app:pull digest"),
            ("GET", "/v2/host:5000/app/tags/list", "repository:host:5000/app:pull"),
            // Repositories that are called like parts.
            ("GET", "/v2/tags/tags/list", "repository:tags:pull"),
            ("GET", "/v2/a/blobs/uploads/manifests/x", "repository:a/blobs/uploads:pull tag x"),
            ("GET", "/v2/a/manifests/tags/list", "repository:a/manifests:pull"),
            ("GET", "/v2/a/tags/list/manifests/x", "repository:a/tags/list:pull tag x"),
            ("POST", "/v2/blobs/blobs/uploads/", "repository:blobs:pull,push"),
            ("GET", "/search?q=a", ""),
            ("GET", "/My%20Docs/%C3%BC", ""),
            ("GET", "/a/.b/..c/d.%20e/[x]~(1)'+,=@&$!*:/", ""),
        ] {
            assert_eq!(asked(method, target).as_deref(), Ok(expected), "{method} {target}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let anywhere = r"v2/ http://registry/v2/ //v2/app/tags/list /v2//app/tags/list /v2/app//tags/list /v2/app/./tags/list
            /v2/a/../app/tags/list /v2/app/tags/list/.. /v2/app/tags/list/. /v2/../v2/app/tags/list /./v2/
            /v2/app/tags/list/ /v2/%61pp/tags/list /v2/app%2Fx/tags/list /%76%32/app/tags/list /v2%2Fapp/tags/list
            /v2/app/manifests/v%31 /v2/app;x/tags/list /v2/app/tags/list;x /v2\app/tags/list /v2/app/tags/list#x
            /v2/app/tags/list?a#b /v2/APP/tags/list /v2/App/manifests/x /v2/app/tags /v2/app /v2/app/ /v2/_catalog/
            /v2/_catalog/tags/list/x /v2/tags/list /v2/manifests/x /v2/app/manifests/ /v2/app/manifests/-x
            /v2/app/blobs/x /v2/app/blobs/uploads /v2/app/blobs/sha256:abc /v2/app/referrers/x /v2/blobs/uploads/
            /v2/app/blobs/uploads/a:b /v2/app/uploads/x /v2/a..b/tags/list /v2/app/tags/list?from=A
            /v2/app/tags/list?from=a&from=b /v2/app/tags/list?from=a&from=a /v2/app/tags/list?From=a
            /v2/app/tags/list?a=b&fROM= /v2/app/blobs/uploads/?Mount=a /v2/app/blobs/uploads/?M%6funt=a
            /v2/app/tags/list?x;from=a /v2/app/tags/list?from=%zz /v2/app/tags/list?from=a% /v2/app/tags/list?from=a%00
            /docs/%2e%2e/x /docs/%2Fx /docs/%61";
        // One path must not have two names.
        let named_twice = r#"/docs/%c3%bc /docs/a|b /docs/"a" /docs/a^b"#;
        // What others take for a slash or a dot.
        let taken_for_dots =
            "/docs/%C0%AE%C0%AE/admin /docs/%C0%AF /docs/%FC /docs/..%20/admin /docs/.../admin /docs/.%C2%A0/admin
            /docs/a%C2%85 /docs/%00 /docs/% /docs/%+4 /docs/%4 /a//b /a/..";
        let odd = [
            "",
            "/v2/app/tags/ list",
            "/v2/app\t/tags/list",
            "/v2/app\0/tags/list",
            "/v2/\u{fc}/tags/list",
            "/v2/?x=\u{fc}",
        ];
        let plain = [anywhere, named_twice, taken_for_dots].into_iter().flat_map(str::split_whitespace);
        for target in plain.chain(odd) {
            assert!(asked("GET", target).is_err(), "{target:?}");
        }
        let long = format!("/v2/app/tags/list?{}", "a".repeat(MAX_TARGET));
        assert_eq!(asked("GET", &long), Err(Refused::TooLong));
        for method in ["OPTIONS", "get", "CONNECT", "TRACE", "PROPFIND", "", "GET "] {
            assert_eq!(asked(method, "/v2/app/tags/list"), Err(Refused::Method), "{method:?}");
        }
    }
}
