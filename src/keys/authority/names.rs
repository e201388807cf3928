//! The names that an authority may certify (RFC 5280 section 4.2.1.10), compared as Go does, since registries do it so.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, GeneralSubtree};

use super::problem::ChainProblem;

/// Makes sure that the alternative names of a certificate are within the constraints of one above it.
///
/// # Errors
/// The first name that is not, or a constraint that registries do not understand.
pub(super) fn within(below: &X509Certificate<'_>, above: &X509Certificate<'_>) -> Result<(), ChainProblem> {
    let Ok(Some(constraints)) = above.name_constraints() else { return Ok(()) };
    let authority = || above.subject().to_string();
    let [permitted, excluded] = [&constraints.value.permitted_subtrees, &constraints.value.excluded_subtrees]
        .map(|trees| trees.as_deref().unwrap_or_default());
    let is_strange = |tree: &GeneralSubtree<'_>| Kind::of(&tree.base).is_none();
    if constraints.critical && permitted.iter().chain(excluded).any(is_strange) {
        return Err(ChainProblem::UnknownConstraint(authority()));
    }
    let Ok(Some(names)) = below.subject_alternative_name() else { return Ok(()) };
    for name in &names.value.general_names {
        let Some(kind) = Kind::of(name) else { continue };
        let mut of_kind = permitted.iter().filter(|tree| Kind::of(&tree.base) == Some(kind)).peekable();
        let is_permitted = of_kind.peek().is_none() || of_kind.any(|tree| matches(name, &tree.base));
        if !is_permitted || excluded.iter().any(|tree| matches(name, &tree.base)) {
            return Err(ChainProblem::OutsideNames { name: name.to_string(), authority: authority() });
        }
    }
    Ok(())
}

/// The kinds of names whose constraints registries understand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Dns,
    Mail,
    Address,
    Uri,
}

impl Kind {
    fn of(name: &GeneralName<'_>) -> Option<Kind> {
        match name {
            GeneralName::DNSName(_) => Some(Kind::Dns),
            GeneralName::RFC822Name(_) => Some(Kind::Mail),
            GeneralName::IPAddress(_) => Some(Kind::Address),
            GeneralName::URI(_) => Some(Kind::Uri),
            GeneralName::OtherName(..)
            | GeneralName::X400Address(_)
            | GeneralName::DirectoryName(_)
            | GeneralName::EDIPartyName(_)
            | GeneralName::RegisteredID(_)
            | GeneralName::Invalid(..) => None,
        }
    }
}

fn matches(name: &GeneralName<'_>, constraint: &GeneralName<'_>) -> bool {
    match (name, constraint) {
        (GeneralName::DNSName(name), GeneralName::DNSName(tree)) => is_below(name, tree),
        (GeneralName::RFC822Name(name), GeneralName::RFC822Name(tree)) => match tree.contains('@') {
            true => name == tree,
            false => name.rsplit_once('@').is_some_and(|(_, host)| is_below(host, tree)),
        },
        (GeneralName::URI(name), GeneralName::URI(tree)) => {
            let host = url::Url::parse(name).ok().and_then(|url| url.host_str().map(str::to_owned));
            host.is_some_and(|host| is_below(&host, tree))
        }
        (GeneralName::IPAddress(name), GeneralName::IPAddress(tree)) => {
            let (network, mask) = tree.split_at(tree.len() / 2);
            let bytes = name.iter().zip(network).zip(mask);
            name.len() == network.len()
                && bytes.into_iter().all(|((byte, network), mask)| byte & mask == network & mask)
        }
        (_, _) => false,
    }
}

/// Whether a host is the constraint's or below it; below it only where that begins with a dot.
fn is_below(host: &str, tree: &str) -> bool {
    let (tree, only_below) = match tree.strip_prefix('.') {
        Some(tree) => (tree, true),
        None => (tree, false),
    };
    let labels = |name: &str| -> Vec<String> { name.rsplit('.').map(str::to_ascii_lowercase).collect() };
    let (host, tree) = (labels(host), if tree.is_empty() { Vec::new() } else { labels(tree) });
    host.starts_with(&tree) && !(only_below && host.len() == tree.len())
}
