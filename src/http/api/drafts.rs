//! Bodies that say what is to be declared, made or changed of registries, repositories and the directory.

use serde::{Deserialize, Deserializer};

use crate::management::{Description, Fields, RegistryFields};
use crate::records::catalogue::Mark;
use crate::secrets::Wanted;

use super::asked::wanted;

/// A body whose fields can be named to whoever sends others.
pub(super) trait Described {
    /// Their names.
    const FIELDS: &'static str;
}

/// A registry that is to be declared.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRegistry {
    service: String,
    url: String,
    #[serde(default, deserialize_with = "wanted")]
    hosts: Wanted<Vec<String>>,
    #[serde(default, deserialize_with = "wanted")]
    ca_certificate: Wanted<String>,
    restricted: Option<bool>,
    #[serde(default, deserialize_with = "wanted")]
    publications: Wanted<Vec<String>>,
    #[serde(default, deserialize_with = "wanted")]
    responsibles: Wanted<Vec<String>>,
}

impl Described for NewRegistry {
    const FIELDS: &'static str = "service, url; hosts, ca_certificate, restricted, publications, responsibles";
}

impl NewRegistry {
    pub(super) fn read(self) -> (String, RegistryFields) {
        let NewRegistry { service, url, hosts, ca_certificate: authorities, restricted, publications, responsibles } =
            self;
        let url = Some(url);
        (service, RegistryFields { url, hosts, authorities, restricted, publications, responsibles })
    }
}

/// What is to be changed of a registry (RFC 7396).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RegistryChange {
    #[serde(default, deserialize_with = "said")]
    url: Option<String>,
    #[serde(default, deserialize_with = "wanted")]
    hosts: Wanted<Vec<String>>,
    #[serde(default, deserialize_with = "wanted")]
    ca_certificate: Wanted<String>,
    #[serde(default, deserialize_with = "said")]
    restricted: Option<bool>,
    #[serde(default, deserialize_with = "wanted")]
    publications: Wanted<Vec<String>>,
    #[serde(default, deserialize_with = "wanted")]
    responsibles: Wanted<Vec<String>>,
}

impl Described for RegistryChange {
    const FIELDS: &'static str = "url, hosts, ca_certificate, restricted, publications, responsibles";
}

impl RegistryChange {
    pub(super) fn read(self) -> RegistryFields {
        let RegistryChange { url, hosts, ca_certificate: authorities, restricted, publications, responsibles } = self;
        RegistryFields { url, hosts, authorities, restricted, publications, responsibles }
    }
}

/// What is to be changed of what people say of a repository (RFC 7396).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DescriptionChange {
    #[serde(default, deserialize_with = "wanted")]
    description: Wanted<String>,
    #[serde(default, deserialize_with = "said")]
    official: Option<bool>,
    #[serde(default, deserialize_with = "said")]
    automated: Option<bool>,
}

impl Described for DescriptionChange {
    const FIELDS: &'static str = "description, official, automated";
}

impl DescriptionChange {
    pub(super) fn read(self) -> Description {
        let mark = |is_set| if is_set { Mark::Set } else { Mark::Unset };
        let text = match self.description {
            Wanted::Unsaid => None,
            Wanted::Lifted => Some(String::new()),
            Wanted::Is(text) => Some(text),
        };
        Description { text, official: self.official.map(mark), automated: self.automated.map(mark) }
    }
}

/// What is said of an entry of the directory.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MemberFields {
    #[serde(default, deserialize_with = "wanted")]
    privileges: Wanted<Vec<String>>,
    #[serde(default, deserialize_with = "wanted")]
    groups: Wanted<Vec<String>>,
    #[serde(default, deserialize_with = "wanted")]
    primary_group: Wanted<String>,
    #[serde(default, deserialize_with = "wanted")]
    quota: Wanted<u32>,
    #[serde(default, deserialize_with = "wanted")]
    responsibles: Wanted<Vec<String>>,
    #[serde(default, deserialize_with = "wanted")]
    publications: Wanted<Vec<String>>,
    #[serde(default, deserialize_with = "wanted")]
    app: Wanted<String>,
}

impl Described for MemberFields {
    const FIELDS: &'static str =
        "privileges, groups, primary_group, quota, responsibles, publications, app: those of its kind";
}

impl MemberFields {
    pub(super) fn read(self) -> Fields {
        let MemberFields { privileges, groups, primary_group, quota, responsibles, publications, app } = self;
        Fields { privileges, groups, primary_group, quota, responsibles, publications, app }
    }
}

/// An entry of the directory that is to be made.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewMember {
    name: String,
    id: Option<u64>,
    #[serde(default, deserialize_with = "wanted")]
    privileges: Wanted<Vec<String>>,
    #[serde(default, deserialize_with = "wanted")]
    groups: Wanted<Vec<String>>,
    #[serde(default, deserialize_with = "wanted")]
    primary_group: Wanted<String>,
    #[serde(default, deserialize_with = "wanted")]
    quota: Wanted<u32>,
    #[serde(default, deserialize_with = "wanted")]
    responsibles: Wanted<Vec<String>>,
    #[serde(default, deserialize_with = "wanted")]
    publications: Wanted<Vec<String>>,
    #[serde(default, deserialize_with = "wanted")]
    app: Wanted<String>,
}

impl Described for NewMember {
    const FIELDS: &'static str = "name; id (but for a service); privileges, groups, primary_group, quota, responsibles, publications, app: those of its kind";
}

impl NewMember {
    /// Its name, its id, and what is said of it.
    pub(super) fn read(self) -> (String, Option<u64>, Fields) {
        let NewMember { name, id, privileges, groups, primary_group, quota, responsibles, publications, app } = self;
        (name, id, Fields { privileges, groups, primary_group, quota, responsibles, publications, app })
    }
}

/// Reads what cannot be lifted: `null` is a mistake.
fn said<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
