//! What a tag names, as the registry shows it to somebody who opens it: digest, type, size, platforms, and what refers to it.

use std::sync::{Arc, PoisonError};

use serde::Deserialize;

use super::name::{is_digest, is_repository, is_tag};
use super::registry::{Manifest, RegistryFailure};
use super::{Catalogue, Known};
use crate::json;
use crate::records::Failure;

/// The most parts of an index, and referrers, that are shown.
const MOST: usize = 1000;

/// What a tag or a digest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Details {
    /// The digest.
    pub digest: String,
    /// The media type.
    pub media_type: String,
    /// What an artifact says that it is (OCI image specification 1.1), or the type of its configuration.
    pub artifact_type: Option<String>,
    /// What it is made of.
    pub kind: Kind,
    /// What refers to it: signatures, attestations and the like.
    pub referrers: Vec<Referrer>,
}

/// What a manifest is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An image or an artifact.
    Single {
        /// The bytes of its configuration and layers, which a pull moves at most.
        size: u64,
    },
    /// An index, or a list of manifests: one for each platform.
    Index {
        /// Them.
        platforms: Vec<Platform>,
    },
    /// Something that this program does not know.
    Unknown,
}

/// A part of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// `linux/arm64/v8`; empty where the index does not say.
    pub platform: String,
    /// Its digest.
    pub digest: String,
    /// The manifest's own size, in bytes.
    pub size: u64,
}

/// What refers to a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referrer {
    /// Its digest.
    pub digest: String,
    /// What it says that it is.
    pub artifact_type: String,
    /// The manifest's own size, in bytes.
    pub size: u64,
}

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub enum NoDetails {
    /// There is no such registry, repository or tag by these names.
    #[error("there is nothing of this name")]
    Missing,
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryFailure),
    /// The records failed.
    #[error(transparent)]
    Failure(#[from] Failure),
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Body {
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(deserialize_with = "json::objects")]
    layers: Vec<Descriptor>,
    manifests: Option<Vec<Descriptor>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    artifact_type: Option<String>,
    platform: Option<PlatformBody>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PlatformBody {
    os: String,
    architecture: String,
    variant: String,
}

impl Catalogue {
    /// Opens a tag, or a digest: the registry is asked what it names now, and its tags are listed anew soon. What a digest is does not
    /// change, and is remembered; what refers to it is asked for as often as that is forgotten.
    ///
    /// # Errors
    /// Why there is nothing to show.
    pub async fn open_tag(&self, service: &str, repository: &str, reference: &str) -> Result<Arc<Details>, NoDetails> {
        let known = self.known(service).ok_or(NoDetails::Missing)?;
        if !is_repository(repository) || !(is_tag(reference) || is_digest(reference)) {
            return Err(NoDetails::Missing);
        }
        let Some(named) = known.client.head(repository, reference).await? else {
            self.shared.records.doubt(service, repository).await?;
            return Err(NoDetails::Missing);
        };
        let key = (service.to_owned(), repository.to_owned(), named.digest.clone());
        let remembered = self.shared.details.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(details) = remembered {
            return Ok(details);
        }
        let manifest = known.client.manifest(repository, &named.digest).await?.ok_or(NoDetails::Missing)?;
        let details = Arc::new(known.read(repository, manifest).await?);
        self.shared.details.lock().unwrap_or_else(PoisonError::into_inner).put(key, Arc::clone(&details));
        Ok(details)
    }
}

impl Known {
    async fn read(&self, repository: &str, manifest: Manifest) -> Result<Details, RegistryFailure> {
        let Manifest { named, body } = manifest;
        let referrers = self.client.referrers(repository, &named.digest).await?;
        let referrers = match referrers {
            Some(index) => index,
            // Where the registry does not know of referrers, clients keep them under a tag (OCI distribution 1.1).
            None => {
                let tag = named.digest.replace(':', "-");
                self.client.manifest(repository, &tag).await?.map(|found| found.body).unwrap_or_default()
            }
        };
        Ok(details_of(named.digest, named.media_type, &body, &referrers))
    }
}

fn details_of(digest: String, media_type: String, body: &[u8], referrers: &[u8]) -> Details {
    let read = |body: &[u8]| json::object::<Body>(body).ok();
    let (kind, artifact_type) = match read(body) {
        None => (Kind::Unknown, None),
        Some(Body { manifests: Some(parts), artifact_type, .. }) => {
            let platforms = parts.into_iter().take(MOST).map(|part| Platform {
                platform: part.platform.map(|platform| platform.name()).unwrap_or_default(),
                digest: part.digest,
                size: part.size,
            });
            (Kind::Index { platforms: platforms.collect() }, artifact_type)
        }
        Some(Body { manifests: None, artifact_type, config, layers }) => {
            let size = layers.iter().chain(&config).fold(0_u64, |sum, part| sum.saturating_add(part.size));
            (Kind::Single { size }, artifact_type.or(config.map(|config| config.media_type)))
        }
    };
    let referrers = read(referrers).and_then(|index| index.manifests).unwrap_or_default();
    let referrers = referrers.into_iter().take(MOST).map(|one| Referrer {
        digest: one.digest,
        artifact_type: one.artifact_type.unwrap_or(one.media_type),
        size: one.size,
    });
    Details { digest, media_type, artifact_type, kind, referrers: referrers.collect() }
}

impl PlatformBody {
    fn name(&self) -> String {
        let parts = [&self.os, &self.architecture, &self.variant];
        parts.into_iter().filter(|part| !part.is_empty()).map(String::as_str).collect::<Vec<_>>().join("/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_artifacts_and_indexes_are_told_apart() {
        let read = |body: &str, referrers: &str| {
            details_of("sha256:a".to_owned(), "m".to_owned(), body.as_bytes(), referrers.as_bytes())
        };
        let image = read(
            r#"{"config": {"mediaType": "c", "size": 5}, "layers": [{"size": 10}, {"size": 20}]}"#,
            r#"{"manifests": [{"digest": "sha256:s", "artifactType": "sig", "size": 3}]}"#,
        );
        assert_eq!((image.kind, image.artifact_type.as_deref()), (Kind::Single { size: 35 }, Some("c")));
        assert_eq!(
            image.referrers,
            [Referrer { digest: "sha256:s".to_owned(), artifact_type: "sig".to_owned(), size: 3 }]
        );
        let index = read(
            r#"{"manifests": [{"digest": "sha256:b", "size": 1,
                "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}}, {"digest": "sha256:c", "size": 2}]}"#,
            "",
        );
        let platform = |platform: &str, digest: &str, size| Platform {
            platform: platform.to_owned(),
            digest: digest.to_owned(),
            size,
        };
        let platforms = vec![platform("linux/arm64/v8", "sha256:b", 1), platform("", "sha256:c", 2)];
        assert_eq!(index.kind, Kind::Index { platforms });
        assert_eq!(read("[]", "{").kind, Kind::Unknown);
        let artifact = read(r#"{"artifactType": "helm", "config": {"mediaType": "empty", "size": 2}}"#, "");
        assert_eq!((artifact.kind, artifact.artifact_type.as_deref()), (Kind::Single { size: 2 }, Some("helm")));
    }
}
