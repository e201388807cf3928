//! The parameters of a query that go on to an upstream: those that the registries' protocol has at that place, and no others.
//!
//! An upstream may read more than the decision did. `ns` chooses among the registries that a mirror stands for, `tag` gives
//! a manifest further tags than the one that was decided on, and `From` is `from` to readers that ignore case. What is not
//! known is refused and not left out: a client that asks for something is told that it cannot have it, and one that goes
//! through pages does not get the first one again and again.

use axum::http::Method;

use policy::target::{Parameter, Part, Refused, RepositoryTarget};

/// The distribution specification's two names for a page of a list, and what Quay and AWS put in their links to the next
/// one. None of them chooses anything but a page.
const PAGES: &[&str] = &["n", "last", "next_page", "nextToken"];
/// The parameters of lists of referrers.
const REFERRERS: &[&str] = &["artifactType", "n", "last", "next_page", "nextToken"];
/// The parameters that begin an upload: of a whole blob, by a mount, or in pieces with this algorithm.
const UPLOADS: &[&str] = &["mount", "from", "digest", "digest-algorithm"];
/// containerd says by it to each host that it takes for a mirror which registry it wants. It is taken off, since mirrors
/// would be of no use to containerd otherwise: what is asked for then is what was decided on.
const MIRRORED: &str = "ns";
/// go-containerregistry (crane, ko, kaniko) says by it at each mount which registry it has the blob from. It is taken off
/// for the same reason: registries that do not know it mount all the same, and clients give up where it is refused.
const ORIGIN: &str = "origin";

/// The parameters that go on, in their order.
///
/// # Errors
/// [`Refused::Query`]: one is not known here, is there twice, or is written in a second way.
pub(super) fn onward<'a>(asked: &'a RepositoryTarget, method: &Method) -> Result<Vec<&'a Parameter>, Refused> {
    let all = asked.query.parameters();
    let known: &[&str] = match (&asked.part, method) {
        // An upload goes on with what the registry itself made up, to be given back byte for byte. It mounts nothing.
        (Part::Upload, _) => {
            let is_refused = |name: &str| ["mount", "from", MIRRORED].iter().any(|one| name.eq_ignore_ascii_case(one));
            let refused = all.iter().any(|parameter| is_refused(&parameter.name));
            return if refused { Err(Refused::Query) } else { Ok(all.iter().collect()) };
        }
        (Part::Tags, &Method::GET | &Method::HEAD) => PAGES,
        (Part::Referrers(_), &Method::GET | &Method::HEAD) => REFERRERS,
        (Part::Uploads, &Method::POST) => UPLOADS,
        (Part::Tags | Part::Referrers(_) | Part::Uploads | Part::Manifest(_) | Part::Blob(_), _) => &[],
    };
    let mut kept: Vec<&Parameter> = Vec::new();
    for parameter in all {
        // As it is written: an escape in a name is a second way to write it.
        let name = parameter.written.split_once('=').map_or(parameter.written.as_str(), |(name, _)| name);
        if name == MIRRORED || (name == ORIGIN && matches!(asked.part, Part::Uploads)) {
            continue;
        }
        let is_new = known.contains(&name) && kept.iter().all(|other| other.name != name);
        if !is_new && !parameter.written.is_empty() {
            return Err(Refused::Query);
        }
        kept.push(parameter);
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::target::Target;

    #[test]
    fn only_what_is_known_at_a_place_goes_on() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (method, part, query, expected) in [
            ("GET", "tags/list", "", Some("")),
            ("GET", "tags/list", "n=10&last=v%2B1", Some("n=10&last=v%2B1")),
            ("HEAD", "tags/list", "next_page=a%3D", Some("next_page=a%3D")),
            ("GET", "tags/list", "n=10&n=20", None),
            ("GET", "tags/list", "N=10", None),
            ("GET", "tags/list", "%6E=10", None),
            ("GET", "tags/list", "ns=docker.io", Some("")),
            ("GET", "tags/list", "n=1&ns=docker.io&last=a", Some("n=1&last=a")),
            ("GET", "tags/list", "NS=docker.io", None),
            ("GET", "tags/list", "n%73=docker.io", None),
            ("GET", "tags/list", "from=", None),
            ("GET", "manifests/v1", "ns=docker.io", Some("")),
            ("GET", "manifests/v1", "&&", Some("&&")),
            ("GET", "manifests/v1", "n=1", None),
            ("GET", "manifests/v1", "=1", None),
            ("PUT", "manifests/DIGEST", "tag=v1", None),
            ("GET", "blobs/DIGEST", "ns=ghcr.io", Some("")),
            ("GET", "blobs/DIGEST", "_method=DELETE", None),
            ("DELETE", "blobs/DIGEST", "x", None),
            ("GET", "referrers/DIGEST", "artifactType=a%2Fb&ns=x", Some("artifactType=a%2Fb")),
            ("PUT", "tags/list", "n=1", None),
            ("POST", "blobs/uploads/", "mount=a&from=b", Some("mount=a&from=b")),
            ("POST", "blobs/uploads/", "from=b&mount=a&origin=c.test", Some("from=b&mount=a")),
            ("POST", "blobs/uploads/", "mount=a&from=b&Origin=c.test", None),
            ("GET", "manifests/v1", "origin=c.test", None),
            ("POST", "blobs/uploads/", "digest=a", Some("digest=a")),
            ("POST", "blobs/uploads/", "digest-algorithm=sha512", Some("digest-algorithm=sha512")),
            ("POST", "blobs/uploads/", "mount=a&mount=b&from=c", None),
            ("POST", "blobs/uploads/", "mount=a&From=c", None),
            ("POST", "blobs/uploads/", "Mount=a", None),
            ("PATCH", "blobs/uploads/1", "_state=a%3D%3d&x,y=&&A", Some("_state=a%3D%3d&x,y=&&A")),
            ("PATCH", "blobs/uploads/1", "_state=a%3D%3d&x;y=&&A", None),
            ("PUT", "blobs/uploads/1", "_state=a&digest=b&digest=c", Some("_state=a&digest=b&digest=c")),
            ("PUT", "blobs/uploads/1", "digest=b&fRom=c", None),
            ("PUT", "blobs/uploads/1", "digest=b&m%6Funt=c", None),
            ("PUT", "blobs/uploads/1", "digest=b&ns=c", None),
        ] {
            let target = format!("/v2/team/app/{part}?{query}").replace("DIGEST", &digest);
            let Ok(method) = method.parse::<Method>() else { unreachable!("{method}") };
            let found = Target::parse(&target).and_then(|target| match target {
                Target::Repository(asked) => onward(&asked, &method)
                    .map(|kept| kept.iter().map(|one| one.written.as_str()).collect::<Vec<_>>().join("&")),
                Target::Base | Target::Catalog(_) | Target::Outside(_) => unreachable!("{target:?}"),
            });
            let expected = expected.map(str::to_owned).ok_or(Refused::Query);
            assert_eq!(found, expected, "{method} {part} {query}");
        }
    }
}
