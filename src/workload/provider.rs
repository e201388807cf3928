//! What is known of an issuer by who it is: what has to be required of its tokens so that they are not anybody's.

use settings::Scalar;
use url::Url;

use super::claims::ClaimPath;
use super::entry::{Issuer, Requirement};

/// The events whose workflow runs have GitHub tokens of use, where the file does not name any: none of them runs what a stranger
/// wrote. With `pull_request_target` and `workflow_run` the workflow is the base branch's and so is `ref`, and a stranger's
/// pull request is what it works on.
pub(super) const USUAL_EVENTS: [&str; 6] =
    ["push", "release", "schedule", "workflow_dispatch", "repository_dispatch", "merge_group"];
/// The events by which strangers have a workflow run.
const STRANGERS_EVENTS: [&str; 3] = ["pull_request", "pull_request_target", "workflow_run"];

/// Whose tokens these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Provider {
    /// GitHub Actions, of github.com, of an enterprise (`/SLUG`, ghe.com) or of a server (GHES).
    GitHub,
    /// GitLab CI.
    GitLab,
    /// Service accounts of a cluster.
    Kubernetes,
    /// A trust domain of SPIFFE.
    Spiffe,
    /// `sts:GetWebIdentityToken` of an AWS account.
    Aws,
    /// Google: one issuer for everybody.
    Google,
    /// A tenant of Entra.
    Azure,
    /// Any other.
    Other,
}

/// One thing that must be required: all claims of any of its rows. And how it is said.
struct Needed {
    rows: &'static [&'static [&'static str]],
    message: &'static str,
}

impl Provider {
    /// Whose tokens an entry is about: by the issuer's address, and by what it looks at where clusters and servers of one's own
    /// have any address.
    pub(super) fn of<'path>(
        issuer: &Issuer,
        paths: impl IntoIterator<Item = &'path ClaimPath>,
        has_review: bool,
    ) -> Provider {
        let address = match issuer {
            Issuer::TrustDomain(_) => return Provider::Spiffe,
            Issuer::Exactly(address) => Url::parse(address).ok(),
        };
        let host = address.as_ref().and_then(Url::host_str).unwrap_or_default();
        let path = address.as_ref().map(Url::path).unwrap_or_default().trim_end_matches('/');
        let below = |domain: &str| host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
        let is_github = host == "token.actions.githubusercontent.com"
            || (host.starts_with("token.actions.") && below("ghe.com"))
            || path == "/_services/token";
        let is_azure =
            host == "sts.windows.net" || host.starts_with("login.microsoftonline.") || below("ciamlogin.com");
        let is_cluster = has_review
            || host.split('.').next() == Some("kubernetes")
            || (host.starts_with("oidc.eks.") && below("amazonaws.com"))
            || host == "container.googleapis.com"
            || host.ends_with("oic.prod-aks.azure.com");
        if is_github {
            return Provider::GitHub;
        }
        if is_cluster {
            return Provider::Kubernetes;
        }
        if host == "accounts.google.com" {
            return Provider::Google;
        }
        if is_azure {
            return Provider::Azure;
        }
        if below("tokens.sts.global.api.aws") {
            return Provider::Aws;
        }
        let mut looked_at = paths.into_iter().map(ClaimPath::as_str);
        let mut found = host.split('.').any(|part| part == "gitlab").then_some(Provider::GitLab);
        looked_at.by_ref().for_each(|path| match path {
            path if path.starts_with("kubernetes.io.") => found = Some(Provider::Kubernetes),
            "namespace_id" | "namespace_path" | "project_id" | "project_path" => {
                found = found.or(Some(Provider::GitLab))
            }
            _ => {}
        });
        found.unwrap_or(Provider::Other)
    }

    fn needed(self) -> Option<Needed> {
        Some(match self {
            Provider::GitHub => Needed {
                rows: &[&["repository_owner_id"]],
                message: "everybody at GitHub has tokens of this issuer, and a name that was given up is taken by others; add \
                          repository_owner_id: \"…\", the number of your organisation",
            },
            Provider::GitLab => Needed {
                rows: &[&["namespace_id"], &["project_id"]],
                message: "every project of the instance has tokens of this issuer; add namespace_id: \"…\" or project_id: \"…\"",
            },
            Provider::Kubernetes => Needed {
                rows: &[&["sub"], &["kubernetes.io.namespace"]],
                message: "every pod of the cluster has tokens of this issuer; add kubernetes.io.namespace: …, or sub: \
                          \"system:serviceaccount:NAMESPACE:NAME\"",
            },
            Provider::Spiffe => Needed {
                rows: &[&["sub"]],
                message: "every workload of the trust domain has such tokens; add sub: [\"spiffe://…\"]",
            },
            Provider::Aws => Needed {
                rows: &[&["sub"]],
                message: "every role of the account can have tokens of this issuer; add sub: \"arn:aws:iam::…:role/…\"",
            },
            Provider::Google => Needed {
                rows: &[&["sub"], &["email", "email_verified"]],
                message: "everybody at Google has tokens of this issuer; add sub: \"…\", the number of your service account (or \
                          its email, with email_verified: true)",
            },
            Provider::Azure => Needed {
                rows: &[&["oid"], &["sub"]],
                message: "everything in the tenant has tokens of this issuer; add oid: \"…\", the object id of your identity",
            },
            Provider::Other => return None,
        })
    }

    /// What is missing among what is required, in words; `None` where nothing is.
    pub(super) fn lacks(self, require: &[Requirement]) -> Option<&'static str> {
        let is_required = |claim: &str| require.iter().any(|one| one.claim.as_str() == claim);
        match self.needed() {
            Some(Needed { rows, .. }) if rows.iter().any(|row| row.iter().all(|claim| is_required(claim))) => None,
            Some(Needed { message, .. }) => Some(message),
            None if require.is_empty() => Some(
                "nothing is required of its tokens, so that all of them are taken; name a claim that \
                                                only yours have",
            ),
            None => None,
        }
    }

    /// Why a value can never be that of this claim, or is not to be asked for; `None` where nothing is wrong with it.
    pub(super) fn refuses(self, claim: &ClaimPath, value: &Scalar) -> Option<&'static str> {
        let is_text = matches!(value, Scalar::Text(_));
        match (self, claim.as_str()) {
            (Provider::GitHub, "sub") => Some(
                "one repository has two forms of sub, by when it was made or moved; require repository_id, ref, environment or \
                 job_workflow_ref instead",
            ),
            (Provider::GitHub, _) if !is_text => {
                Some("GitHub's claims are texts, numbers among them; write the value in quotes")
            }
            (
                Provider::GitLab,
                "namespace_id"
                | "project_id"
                | "user_id"
                | "pipeline_id"
                | "job_id"
                | "ref_protected"
                | "environment_protected",
            ) if !is_text => Some("GitLab has this claim as a text; write the value in quotes (\"42\", \"true\")"),
            (Provider::Google, "email_verified") if *value != Scalar::Flag(true) => {
                Some("an address that is not verified is anybody's; write email_verified: true, without quotes")
            }
            (Provider::Google | Provider::Aws, "sub") | (Provider::Azure, "oid" | "sub") | (Provider::Spiffe, _)
                if !is_text =>
            {
                Some("this claim is a text; write the value in quotes")
            }
            (
                Provider::GitHub
                | Provider::GitLab
                | Provider::Kubernetes
                | Provider::Spiffe
                | Provider::Aws
                | Provider::Google
                | Provider::Azure
                | Provider::Other,
                _,
            ) => None,
        }
    }

    /// What is probably not meant with this value, in words.
    pub(super) fn doubts(self, claim: &ClaimPath, value: &Scalar) -> Option<&'static str> {
        let Scalar::Text(text) = value else { return None };
        let strangers = self == Provider::GitHub && claim.as_str() == "event_name";
        (strangers && STRANGERS_EVENTS.contains(&text.as_str())).then_some(
            "strangers have a workflow run by this event, and what it works on is theirs; their token is then taken, too",
        )
    }

    /// What is required besides, where the file does not say otherwise.
    pub(super) fn usual(self, require: &[Requirement]) -> Option<Requirement> {
        let says = require.iter().any(|one| one.claim.as_str() == "event_name");
        (self == Provider::GitHub && !says).then_some(())?;
        let values = USUAL_EVENTS.iter().map(|event| Scalar::Text((*event).to_owned())).collect();
        Some(Requirement { claim: ClaimPath::parse("event_name")?, values })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn who_it_is_shows_in_the_address_or_in_what_is_looked_at() {
        use Provider::{Aws, Azure, GitHub, GitLab, Google, Kubernetes, Other, Spiffe};
        for (issuer, path, expected) in [
            ("https://token.actions.githubusercontent.com", "a", GitHub),
            ("https://token.actions.githubusercontent.com/octo-enterprise", "a", GitHub),
            ("https://token.actions.octo.ghe.com", "a", GitHub),
            ("https://github.example.org/_services/token", "a", GitHub),
            ("https://gitlab.com", "a", GitLab),
            ("https://git.example.org", "project_id", GitLab),
            ("https://kubernetes.default.svc.cluster.local", "a", Kubernetes),
            ("https://oidc.eks.eu-central-1.amazonaws.com/id/AB", "a", Kubernetes),
            ("https://cluster.example.org", "kubernetes.io.pod.name", Kubernetes),
            ("spiffe://example.org", "a", Spiffe),
            ("https://0123.tokens.sts.global.api.aws", "a", Aws),
            ("https://accounts.google.com", "a", Google),
            ("https://login.microsoftonline.com/7f0c/v2.0", "a", Azure),
            ("https://sts.windows.net/7f0c/", "a", Azure),
            ("https://ci.example.org", "sub", Other),
            ("https://token.actions.githubusercontent.com.evil.example", "a", Other),
            ("https://evilghe.com", "a", Other),
        ] {
            let path = ClaimPath::parse(path).unwrap();
            assert_eq!(Provider::of(&Issuer::parse(issuer).unwrap(), [&path], false), expected, "{issuer}");
        }
        assert_eq!(Provider::of(&Issuer::parse("https://c.example.org").unwrap(), [], true), Kubernetes);
    }
}
