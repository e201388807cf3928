//! `token.authority`: the authority for tokens alone, and the leaf of it that signs.

use std::path::PathBuf;
use std::sync::Arc;

use settings::files::read_pem;
use settings::{At, Secrets, Section};
use time::OffsetDateTime;

use super::{FilesOfPair, Pair, is_absent};
use crate::keys::{
    Authority, IssuingAuthority, LeafFiles, LeafProblem, SigningKey, Standing, key_permission_warning, standing,
};
use crate::pem::PairFile;

/// The authority that registries trust, and the leaf that it is for.
#[derive(Debug)]
pub struct TokenAuthority {
    /// Its certificate's file, for the registry's `REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE`.
    pub certificate: PathBuf,
    /// Its certificates; `None` where they are not read, or not made yet.
    pub trusted: Option<Arc<Authority>>,
    /// Who makes leaves.
    pub leaves: Leaves,
}

/// Who makes the leaves that sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leaves {
    /// We do, as the authority's key is here.
    Ours {
        /// All files.
        files: LeafFiles,
        /// Whether the authority itself is made where its files are missing.
        generate: bool,
    },
    /// Somebody else, who puts them in place.
    Elsewhere,
}

/// What the section names.
pub(super) struct AuthorityFiles {
    certificate: At<PathBuf>,
    key: Option<At<PathBuf>>,
    generate: bool,
}

/// Reads the section itself, and none of its files.
pub(super) fn read(mut section: Section<'_>) -> Option<AuthorityFiles> {
    let certificate = section.path("certificate");
    let key = section.path("key");
    let generate = section.flag("generate");
    if certificate.is_none() {
        section.missing("certificate", "the authority's certificate is needed, which registries get as their bundle");
    }
    if let (Some(At { place, value: true }), None) = (&generate, &key) {
        section.problem(place, "generate", "an authority is made together with its key: name the file of its key too");
    }
    section.finish();
    Some(AuthorityFiles { certificate: certificate?, key, generate: generate.is_some_and(|at| at.value) })
}

impl AuthorityFiles {
    /// What signs: the leaf at the paths of `pair`. What is wrong with any of the files is noted.
    pub(super) fn leaf(
        self,
        section: &Section<'_>,
        pair: &FilesOfPair,
        of_server: Option<&FilesOfPair>,
        now: OffsetDateTime,
    ) -> Option<(Pair, TokenAuthority)> {
        let (certificate, key) = pair;
        let AuthorityFiles { certificate: of_authority, key: own_key, generate } = self;
        let named = [Some(&of_authority), own_key.as_ref(), Some(certificate), Some(key)];
        let named: Vec<&At<PathBuf>> = named.into_iter().flatten().collect();
        for (place, file) in named.iter().enumerate() {
            section.watch(&file.value);
            if named.iter().take(place).any(|other| other.value == file.value) {
                section.problem(
                    &file.place,
                    "authority",
                    "one file is named twice; authority and leaf have two files each",
                );
                return None;
            }
        }
        let leaves = match &own_key {
            None => Leaves::Elsewhere,
            Some(own_key) => Leaves::Ours {
                files: LeafFiles {
                    authority_certificate: of_authority.value.clone(),
                    authority_key: own_key.value.clone(),
                    certificate: certificate.value.clone(),
                    key: key.value.clone(),
                },
                generate,
            },
        };
        let authority =
            |trusted| TokenAuthority { certificate: of_authority.value.clone(), trusted, leaves: leaves.clone() };
        match section.secrets() {
            Secrets::Skip => return Some((Pair::NotRead, authority(None))),
            Secrets::Read => {}
        }
        if generate && is_absent(&of_authority.value) {
            return Some((Pair::LeafToBeMade, authority(None)));
        }
        let pem = section.read_file(&of_authority, "authority.certificate", read_pem).ok()??;
        let (trusted, warnings) = Authority::from_pem(&pem)
            .map_err(|problems| {
                for problem in problems {
                    section.problem(&of_authority.place, "authority.certificate", problem.to_string());
                }
            })
            .ok()?;
        let is_servers = of_server
            .is_some_and(|(shown, _)| read_pem(&shown.value).is_ok_and(|pem| trusted.has_signed(&pem).is_ok()));
        let servers = is_servers.then_some(crate::keys::AuthorityWarning::SignsServers);
        for warning in warnings.into_iter().chain(servers).chain(trusted.warnings(now)) {
            section.warn(&of_authority.place, "authority.certificate", warning.to_string());
        }
        if let Some(own_key) = &own_key {
            can_issue(section, &pem, own_key)?;
        }
        let pair = sound(section, pair, &trusted, (&leaves, now))?;
        Some((pair, authority(Some(Arc::new(trusted)))))
    }
}

/// Makes sure that the authority's key can sign leaves.
fn can_issue(section: &Section<'_>, authority: &[u8], key: &At<PathBuf>) -> Option<()> {
    if let Some(message) = key_permission_warning(&key.value) {
        section.warn(&key.place, "authority.key", message);
    }
    let pem = section.read_file(key, "authority.key", read_pem).ok()??;
    let issuing = IssuingAuthority::from_pem(authority, &pem).map_err(|problems| {
        for problem in problems {
            section.problem(&key.place, "authority.key", problem.to_string());
        }
    });
    issuing.is_ok().then_some(())
}

/// The leaf at its paths, if it can sign, or the word that one is to be made.
fn sound(
    section: &Section<'_>,
    (certificate, key): &FilesOfPair,
    authority: &Authority,
    (leaves, now): (&Leaves, OffsetDateTime),
) -> Option<Pair> {
    let is_ours = matches!(leaves, Leaves::Ours { .. });
    let missing = [(certificate, "certificate"), (key, "key")].map(|(file, name)| (is_absent(&file.value), file, name));
    if !is_ours && let Some((_, file, name)) = missing.iter().find(|(is_absent, ..)| *is_absent) {
        let message = "there is no leaf of the authority here; make it with `dockwarden keys issue-leaf CONFIG` where the authority's key \
                       is, or name that key in token.authority";
        section.problem(&file.place, name, message);
        return None;
    }
    let read = missing.map(|(is_absent, file, name)| match is_absent {
        true => Ok(None),
        false => section.read_file(file, name, read_pem),
    });
    let [certificate_pem, key_pem] = read;
    match standing(certificate_pem.ok()?.as_deref(), key_pem.ok()?.as_deref(), authority) {
        Ok(Standing::Leaf(leaf)) if is_ours && now > leaf.not_after() => Some(Pair::LeafToBeMade),
        Ok(Standing::Leaf(leaf)) => {
            warn_of(section, &leaf, (certificate, key), now);
            Some(Pair::Loaded(Arc::from(leaf)))
        }
        Ok(Standing::Needed) if is_ours => Some(Pair::LeafToBeMade),
        Ok(Standing::Needed) => {
            let message =
                "the key does not belong to the certificate: a leaf was only half put in place; put both there";
            section.problem(&key.place, "key", message);
            None
        }
        Err(problems) => {
            for problem in problems {
                let (file, name) = match LeafProblem::file(&problem) {
                    PairFile::Certificate => (certificate, "certificate"),
                    PairFile::Key => (key, "key"),
                };
                section.problem(&file.place, name, problem.to_string());
            }
            None
        }
    }
}

fn warn_of(
    section: &Section<'_>,
    leaf: &SigningKey,
    (certificate, key): (&At<PathBuf>, &At<PathBuf>),
    now: OffsetDateTime,
) {
    if let Some(message) = key_permission_warning(&key.value) {
        section.warn(&key.place, "key", message);
    }
    for message in leaf.warnings(now) {
        section.warn(&certificate.place, "certificate", message.to_string());
    }
}
