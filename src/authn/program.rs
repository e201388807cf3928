//! Accounts that a program of the administrator's knows (`ext_auth`), asked as docker_auth asks it.
//!
//! Nothing is remembered here: every login starts the program, so that a withdrawn account is refused at once.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use policy::pattern::LabelValues;
use serde::Deserialize;
use settings::Field;

use super::attempts::{Attempts, Spelled};
use super::password::Passwords;
use super::{Account, Alike, Authenticator, Credentials, Identity, LabelSyntax, LookUp, Outcome, Secret, Time};
use crate::backend::{Configured, Facts, Kind, Names, Opened, Purpose, configured};
use crate::breaker::Passage;
use crate::client_network::ClientNetwork;
use crate::json;
use crate::program::{self, Program, ProgramSettings};
use crate::reach::{Reach, Reachable};

/// The row of the table.
pub const KIND: Kind = Kind { key: "ext_auth", purpose: Purpose::Identity, read: |field| configured(read(field)) };

/// Exit status: the password is right.
const ALLOWED: i32 = 0;
/// Exit status: the account is the program's, and is refused.
const DENIED: i32 = 1;
/// Exit status: the program does not know the account.
const NO_MATCH: i32 = 2;

/// The `ext_auth:` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramUsers {
    /// How the program is started.
    pub program: ProgramSettings,
    /// What the values of its labels are.
    pub label_values: LabelSyntax,
}

/// Reads the `ext_auth:` section. `None` where something is wrong, which is said then.
pub fn read(field: Field<'_>) -> Option<ProgramUsers> {
    let mut section = field.section()?;
    let program = program::read(&mut section);
    let label_values = LabelSyntax::read(&mut section, LabelSyntax::Glob);
    section.finish();
    Some(ProgramUsers { program: program?, label_values })
}

/// The program as an identity backend.
pub struct ProgramAuthn {
    program: Program,
    label_values: LabelSyntax,
    /// Who says which networks are known.
    attempts: Arc<Attempts>,
}

impl ProgramAuthn {
    /// A backend that asks this program; `attempts` knows whose turns come before a stranger's.
    pub fn new(users: ProgramUsers, attempts: Arc<Attempts>) -> ProgramAuthn {
        ProgramAuthn { program: Program::new(KIND.key, users.program), label_values: users.label_values, attempts }
    }

    fn labels(&self, output: &[u8]) -> anyhow::Result<LabelValues> {
        if output.trim_ascii().is_empty() {
            return Ok(LabelValues::new());
        }
        // serde's own message quotes what it read, and that could be the password: only the place is told.
        let said: ProgramAnswer = json::object(output).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            anyhow::anyhow!(
                "its answer is not {{\"labels\": {{\"name\": [\"value\"]}}}} (line {line}, column {column})"
            )
        })?;
        let mut labels = LabelValues::new();
        for (name, values) in said.labels.map(|json::UniqueNames(labels)| labels).unwrap_or_default() {
            let values = self.label_values.values(values.unwrap_or_default());
            let values = values.map_err(|_| anyhow::anyhow!("a value of one of its labels is not a glob"))?;
            labels.insert(name, values);
        }
        Ok(labels)
    }
}

/// What a program may write when it allows. Go's reader, which such programs were written for, takes null for nothing
/// and the name in either case.
#[derive(Deserialize)]
struct ProgramAnswer {
    #[serde(default, alias = "Labels")]
    labels: Option<json::UniqueNames<Option<Vec<String>>>>,
}

/// Whether a program could read another account, or another password, out of `account password`. It splits at the first
/// space, at any white space, or reads a line, depending on how it is written: the account `alice x` with the password
/// `y` would be read as `alice` with the password `x y`.
fn is_ambiguous(account: &Account, password: &str) -> bool {
    account.contains(char::is_whitespace) || password.contains(['\0', '\r', '\n'])
}

impl Configured for ProgramUsers {
    fn open(self: Arc<Self>, passwords: &Arc<Passwords>) -> anyhow::Result<Opened> {
        Opened::identities(ProgramAuthn::new(Self::clone(&self), Arc::clone(passwords.attempts())))
    }

    fn facts(&self) -> Facts<'_> {
        Facts::LoginsElsewhere(Names::Checked)
    }
}

impl Reachable for ProgramAuthn {
    fn reach(&self) -> Reach<'_> {
        Reach::Program(self.program.find())
    }

    fn passage(&self) -> Option<Passage> {
        None
    }
}

#[async_trait]
impl Authenticator for ProgramAuthn {
    fn alike(&self, _name: &Spelled) -> Alike {
        Alike::NotKnown
    }

    async fn authenticate(&self, who: &Credentials, from: ClientNetwork) -> anyhow::Result<Outcome> {
        // Whether nobody may come in is said by the static users; a program is not started for everybody who knocks.
        let Some((account, password)) = who.password() else { return Ok(Outcome::NotMine) };
        if is_ambiguous(account, password.reveal()) {
            return Ok(Outcome::Rejected);
        }
        let input = format!("{account} {}", password.reveal());
        let client = self.attempts.client(from);
        let answer = self.program.ask(input.as_bytes(), Some(password), client, crate::clock::now()).await?;
        match answer.status {
            ALLOWED => {
                let labels = self.labels(&answer.output).with_context(|| self.program.name().to_owned())?;
                Ok(Outcome::Accepted(Identity {
                    account: Some(account.clone()),
                    labels: Arc::new(labels),
                    ..Identity::default()
                }))
            }
            DENIED => Ok(Outcome::Rejected),
            NO_MATCH => Ok(Outcome::NotMine),
            other => {
                bail!(
                    "{} ended with {other}; {ALLOWED} allows, {DENIED} denies, {NO_MATCH} leaves it to others",
                    self.program.name()
                )
            }
        }
    }

    /// The protocol has no question without a password.
    async fn look_up(&self, _account: &Account, _from: ClientNetwork) -> anyhow::Result<LookUp> {
        Ok(LookUp::OnlyByLogin)
    }

    async fn take_time(&self, _account: &Account, _password: &Secret, _from: ClientNetwork) -> anyhow::Result<Time> {
        Ok(Time::NotTaken)
    }
}
