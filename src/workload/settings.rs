//! The `workload:` section: read strictly, since a requirement that is misspelt would let in everybody else.

use std::collections::BTreeMap;

use jsonwebtoken::Algorithm;
use policy::pattern::LabelValue;
use settings::number::duration;
use settings::yaml::Value;
use settings::{At, Field, Refusal, Section};
use url::Url;

use super::claims::ClaimPath;
use super::entry::{
    AccountTemplate, Entry, Issuer, LONGEST_SESSION, LabelSource, MAX_NAME, OtherAudiences, Requirement,
    SHORTEST_SESSION, SessionLife, Uses, whole_claim,
};
use super::jwt::is_asymmetric;
use super::provider::Provider;
use super::sources::{read_keys, read_review};

/// The algorithms that are taken where an entry names none.
const USUAL_ALGORITHMS: [Algorithm; 3] = [Algorithm::RS256, Algorithm::ES256, Algorithm::ES384];
/// The claims that are looked at in any case.
const ALWAYS_CHECKED: [&str; 6] = ["iss", "aud", "exp", "nbf", "iat", "jti"];

/// The entries, in the order in which they are asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub(super) entries: Vec<Entry>,
}

impl Settings {
    /// What the entries are called.
    pub fn names(&self) -> Vec<String> {
        self.entries.iter().map(|entry| entry.name.clone()).collect()
    }

    /// Whether an entry says something that nothing but records can do.
    pub(crate) fn need_records(&self) -> bool {
        self.entries.iter().any(|entry| match (entry.uses, entry.session) {
            (Uses::Once, _) | (Uses::Any, SessionLife::For(_)) => true,
            (Uses::Any, SessionLife::Usual | SessionLife::Never) => false,
        })
    }

    /// Whether an account of this name can be a workload's, in any case of letters: backends and people who write rules may take
    /// `GitHub:octo/app` for the same.
    pub(crate) fn own(&self, account: &str) -> bool {
        let begins = |prefix: &str| account.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        self.entries.iter().any(|entry| begins(&entry.account.prefix))
    }
}

/// Reads the section; `own` is the issuer of our own tokens. `None` where something is wrong with it, or nothing in it.
pub fn read(field: &Field<'_>, own: Option<&str>) -> Option<Settings> {
    let Some(rows) = field.items() else {
        field.problem("a list of entries is expected here: workload: [{issuer: \"https://…\", …}]");
        return None;
    };
    let read: Vec<Option<At<Entry>>> = rows.iter().map(|row| read_entry(row, own)).collect();
    let entries: Vec<(usize, &At<Entry>)> =
        read.iter().enumerate().filter_map(|(index, at)| Some((index, at.as_ref()?))).collect();
    for (index, At { place, value }) in &entries {
        let before = || entries.iter().take_while(|(other, _)| other < index).map(|(_, at)| &at.value);
        let problem = |message: String| field.problem_at(place, format!("entry {index}: {message}"));
        if before().any(|other| other.name == value.name) {
            problem(format!("another entry is called {} in the log too; give each a name of its own", value.name));
        }
        let is_of_same = |other: &&Entry| other.issuer == value.issuer && other.keys == value.keys;
        let (own, prefix) = (&value.account.prefix, |other: &Entry| other.account.prefix.clone());
        let shares = |other: &&Entry| own.starts_with(&prefix(other)) || prefix(other).starts_with(own.as_str());
        if let Some(other) = before().filter(|other| !is_of_same(other)).find(shares) {
            problem(format!(
                "accounts of {} could be called like those of another issuer, {}; begin account: with another prefix",
                value.name, other.name
            ));
        }
    }
    let entries: Vec<Entry> = read.into_iter().map(|at| Some(at?.value)).collect::<Option<_>>()?;
    (!entries.is_empty()).then_some(Settings { entries })
}

fn read_entry(row: &Field<'_>, own: Option<&str>) -> Option<At<Entry>> {
    let problems_before = row.problem_count();
    let mut section = row.section()?;
    let issuer = section.parsed("issuer", |text| match Issuer::parse(text)? {
        Issuer::Exactly(issuer) if own == Some(issuer.as_str()) => {
            Err(Refusal::says("this is token.issuer, whose tokens are our own, and no workload's"))
        }
        issuer => Ok(issuer),
    });
    if issuer.is_none() && !section.has("issuer") {
        section
            .missing("issuer", "whose tokens? write iss as they have it: https://token.actions.githubusercontent.com");
    }
    let issuer = issuer.map(|at| at.value);
    let name = section.parsed("name", |text| match is_plain(text) {
        true => Ok(text.to_owned()),
        false => Err(Refusal::is("not a name; write letters, digits, dots, dashes and underscores")),
    });
    let audiences = read_audiences(&mut section);
    let others = match section.flag("other_audiences") {
        Some(At { value: true, .. }) => OtherAudiences::Taken,
        Some(At { value: false, .. }) | None => OtherAudiences::Refused,
    };
    let algorithms = read_algorithms(&mut section);
    let keys = read_keys(&mut section, issuer.as_ref());
    let require = read_require(&mut section);
    let account = section.parsed("account", AccountTemplate::parse);
    if account.is_none() && !section.has("account") {
        section
            .missing("account", "how are its accounts called? write a prefix and a claim: github:${claim:repository}");
    }
    let labels = read_labels(&mut section);
    let uses = match section.flag("single_use") {
        Some(At { value: true, .. }) => Uses::Once,
        Some(At { value: false, .. }) | None => Uses::Any,
    };
    let session = section.word("session", session_life).map_or(SessionLife::Usual, |at| at.value);
    let has_review = section.has("token_review");
    let review = section.section("token_review").and_then(read_review);
    let require = match (&issuer, require) {
        (Some(issuer), Some(require)) => {
            Some(check_provider(&mut section, issuer, require, account.as_ref(), has_review))
        }
        (_, _) => None,
    };
    section.finish();
    let (issuer, place) = (issuer?, row.place().clone());
    let host = Url::parse(&issuer.to_text()).ok().and_then(|url| Some(url.host_str()?.to_owned()));
    let entry = Entry {
        name: name.map(|at| at.value).or(host)?,
        issuer,
        audiences: audiences?,
        others,
        algorithms: algorithms?,
        keys: keys?,
        require: require?,
        account: account?.value,
        labels: labels?,
        uses,
        session,
        review: if has_review { Some(review?) } else { None },
    };
    (row.problem_count() == problems_before).then_some(At { place, value: entry })
}

fn session_life(text: &str) -> Result<SessionLife, Refusal> {
    match text {
        "false" => Ok(SessionLife::Never),
        text => match duration(text).ok() {
            Some(life) if (SHORTEST_SESSION..=LONGEST_SESSION).contains(&life) => Ok(SessionLife::For(life)),
            Some(_) | None => {
                Err(Refusal::is("not how long a session lives; write 2m to 12h (1h is usual), or false for none"))
            }
        },
    }
}

/// A requirement and where it stands.
struct Required {
    requirement: Requirement,
    places: Vec<settings::Place>,
    key: String,
}

/// All that is required, with what is usual for who the issuer is. What is wrong by that is noted.
fn check_provider(
    section: &mut Section<'_>,
    issuer: &Issuer,
    require: Vec<Required>,
    account: Option<&At<AccountTemplate>>,
    has_review: bool,
) -> Vec<Requirement> {
    let mut bare: Vec<Requirement> = require.iter().map(|one| one.requirement.clone()).collect();
    let paths = bare.iter().map(|one| &one.claim).chain(account.map(|at| &at.value.claim));
    let provider = Provider::of(issuer, paths, has_review);
    if let Some(message) = provider.lacks(&bare) {
        let place = section.entry("require").map_or_else(|| section.place().clone(), |entry| entry.place.clone());
        section.problem(&place, "require", message);
    }
    for Required { requirement, places, key } in &require {
        for (value, place) in requirement.values.iter().zip(places) {
            if let Some(message) = provider.refuses(&requirement.claim, value) {
                section.problem(place, key, message);
            } else if let Some(message) = provider.doubts(&requirement.claim, value) {
                section.warn(place, key, message);
            }
        }
    }
    if let Some(at) = account.filter(|at| at.value.claim.as_str() == "sub" && provider == Provider::GitHub) {
        let message = "one repository has two forms of sub, by when it was made or moved, and would be two accounts; write \
                       github:${claim:repository} or github:${claim:repository_id}";
        section.problem(&at.place, "account", message);
    }
    let audiences = section.texts("audiences").unwrap_or_default();
    let for_server = |text: &str| text == issuer.to_text() || text.starts_with("https://kubernetes.default");
    if let Some(at) = audiences.iter().find(|at| provider == Provider::Kubernetes && for_server(&at.value)) {
        let message = "this audience is the API server's own, and each pod has a token for it that lives a year; write one of \
                       yours, and have a token for it in the pod by a projected volume";
        section.problem(&at.place, "audiences", message);
    }
    bare.extend(provider.usual(&bare));
    bare
}

fn is_plain(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|letter| letter.is_ascii_alphanumeric() || b".-_".contains(&letter))
}

fn read_audiences(section: &mut Section<'_>) -> Option<Vec<String>> {
    let audiences = section.texts("audiences").unwrap_or_default();
    for at in &audiences {
        if at.value.is_empty() || at.value.len() > MAX_NAME || at.value.contains(char::is_control) {
            section.problem(&at.place, "audiences", "this is no audience; write it as the tokens have it in aud");
            return None;
        }
    }
    if audiences.is_empty() {
        section.missing(
            "audiences",
            "tokens for anybody would be taken; ask for tokens with an audience of your own, and name it: \
             audiences: [registry.example.org]",
        );
        return None;
    }
    Some(audiences.into_iter().map(|at| at.value).collect())
}

fn read_algorithms(section: &mut Section<'_>) -> Option<Vec<Algorithm>> {
    let Some(named) = section.texts("algorithms") else { return Some(USUAL_ALGORITHMS.to_vec()) };
    let mut algorithms = Vec::new();
    for at in named {
        match at.value.parse().ok().filter(|algorithm| is_asymmetric(*algorithm)) {
            Some(algorithm) => algorithms.push(algorithm),
            None => {
                let refusal = Refusal::is(
                    "not an algorithm by which only the issuer can sign; there are RS256, RS384, RS512, PS256, PS384, PS512, \
                     ES256, ES384 and EdDSA",
                );
                section.refuse_word(&at, "algorithms", &refusal);
                return None;
            }
        }
    }
    if algorithms.is_empty() {
        section.missing("algorithms", "no token is taken so; leave this out for RS256, ES256 and ES384");
    }
    Some(algorithms)
}

fn read_require(section: &mut Section<'_>) -> Option<Vec<Required>> {
    let Some(field) = section.field("require") else { return Some(Vec::new()) };
    let Some(entries) = field.entries() else {
        field.problem("claims with their values are expected here: require: {repository_owner_id: \"1234\"}");
        return None;
    };
    let mut required = Vec::with_capacity(entries.len());
    for (claim, field) in entries {
        let Some(path) = ClaimPath::parse(claim) else {
            field.problem_at(
                field.key_place(),
                "this is no claim's name; write it as the token has it, with dots between names",
            );
            continue;
        };
        if ALWAYS_CHECKED.contains(&claim) {
            let message = "this claim is checked in any case, and says nothing of whose token it is; name another";
            field.problem_at(field.key_place(), message);
            continue;
        }
        if let Value::Map(_) = field.value() {
            field.problem("a value is expected here, or a list of them; write a claim inside another with a dot: kubernetes.io.namespace");
            continue;
        }
        let values = field.scalars();
        if values.is_empty() {
            field.problem("no value is named, so that no token is taken; write one, or several in a list");
        }
        let (places, values) = values.into_iter().map(|at| (at.place, at.value)).unzip();
        let key = format!("require.{claim}");
        required.push(Required { requirement: Requirement { claim: path, values }, places, key });
    }
    Some(required)
}

fn read_labels(section: &mut Section<'_>) -> Option<BTreeMap<String, Vec<LabelSource>>> {
    let Some(field) = section.field("labels") else { return Some(BTreeMap::new()) };
    let Some(entries) = field.entries() else {
        field.problem("labels are names with values: labels: {team: [web], project: \"${claim:project_path}\"}");
        return None;
    };
    let read = |(label, field): (&str, Field<'_>)| {
        let sources = field.texts().into_iter().filter_map(|At { place, value }| match whole_claim(&value) {
            Some(path) => Some(LabelSource::Claim(path)),
            None if value.contains("${") => {
                field.problem_at(
                    &place,
                    "a claim stands alone, as ${claim:project_path}; write a value without $, or that",
                );
                None
            }
            None => match LabelValue::glob(&value) {
                Ok(value) => Some(LabelSource::Fixed(value)),
                // Without its words, which quote the value.
                Err(_) => {
                    field.problem_at(
                        &place,
                        "this is no valid glob; write \\[ for a plain bracket, \\* for a plain star",
                    );
                    None
                }
            },
        });
        (label.to_owned(), sources.collect())
    };
    Some(entries.into_iter().map(read).collect())
}
