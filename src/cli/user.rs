//! `dockwarden user`: the users in MongoDB, SQL or the records, changed one at a time; each command prints what it changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use time::OffsetDateTime;

use super::account::Services;
use super::{Cost, DONE, Output, complain, mongo, password, say, token};
use crate::authn::mongo::accounts::{Account, Accounts, Existing, NewUser, Step, check_name};
use crate::authn::mongo::import::{Parsed, parse};
use crate::authn::mongo::labels::{LabelChange, shown};
use crate::authn::password::{PUBLISHED_HASH, PasswordHash, WEAK_BELOW, hash};
use crate::authn::{AccountState, Closed, LabelSyntax, Standing};
use crate::backend::Purpose;
use crate::mongo::Run;
use crate::mongo::document::written;
use crate::shown::{counted, printable};

/// Change the users in MongoDB, SQL or the records (mongo_auth, xorm_auth, records_auth)
#[derive(clap::Subcommand)]
#[command(defer = true)]
pub(super) enum Command {
    /// Add a user; the password is asked for, or read from standard input
    Add {
        #[command(flatten)]
        who: Who,
        /// Labels, such as team=web,api (may be repeated)
        #[arg(long = "label", value_name = "LABEL=VALUES")]
        labels: Vec<LabelChange>,
        /// Add the user disabled: it cannot log in until it is enabled
        #[arg(long)]
        disabled: bool,
        #[command(flatten)]
        password: Password,
    },
    /// Give a user another password, asked for, or read from standard input
    Passwd {
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        password: Password,
    },
    /// Import users with their passwords: the users of a configuration file, or an htpasswd file
    Import {
        #[command(flatten)]
        config: mongo::Place,
        /// The file with the users ("-" is standard input)
        file: PathBuf,
        /// Replace users of the same name
        #[arg(long)]
        replace: bool,
        /// Print what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Change a user's labels
    Label {
        #[command(flatten)]
        who: Who,
        /// team=web,api sets, team+=ops adds, team-=web takes out, team= removes the label
        #[arg(required = true, value_name = "CHANGE")]
        changes: Vec<LabelChange>,
    },
    /// Disable a user: it can no longer log in
    Disable {
        #[command(flatten)]
        who: Who,
    },
    /// Enable a user again
    Enable {
        #[command(flatten)]
        who: Who,
    },
    /// Remove a user
    Remove {
        #[command(flatten)]
        who: Who,
    },
    /// End every secret that an account or a robot has: personal ones, refresh tokens, all that was handed out before
    SignOut {
        /// The configuration file
        config: PathBuf,
        /// The account, of whichever section; of a robot, robot+NAME
        account: String,
        /// Forget as well who signed in at a provider under this name: it is for whomever the provider calls so next
        #[arg(long)]
        forget: bool,
    },
    /// List all users with their state and labels
    List {
        #[command(flatten)]
        config: mongo::Place,
        /// The output format
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Show one user
    Show {
        #[command(flatten)]
        who: Who,
        /// The output format
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
}

// What is read as the password.
#[derive(clap::Args)]
pub(super) struct Password {
    #[command(flatten)]
    cost: Cost,
    /// Read the password's bcrypt hash instead, to keep a password that is in use
    #[arg(long, conflicts_with = "cost")]
    hash: bool,
}

impl Password {
    fn read(&self, name: &str) -> Result<PasswordHash, String> {
        match self.hash {
            true => password::read_hash(name),
            false => hash(&password::read()?, self.cost.cost)?.parse(),
        }
    }

    /// What was made here is as it was asked for.
    fn warn_of(&self, name: &str, hash: &PasswordHash) {
        if self.hash {
            warn_of([(name, hash)]);
        }
    }
}

// Which user.
#[derive(clap::Args)]
pub(super) struct Who {
    #[command(flatten)]
    config: mongo::Place,
    /// The user's name
    name: String,
}

/// Runs the command.
pub(super) fn run(command: Command) -> u8 {
    mongo::run(async {
        let said = match command {
            Command::Add { who, labels, disabled, password } => {
                let state = if disabled { AccountState::Disabled } else { AccountState::Enabled };
                add(who, &labels, state, &password).await?
            }
            Command::Passwd { who, password } => passwd(who, &password).await?,
            Command::Import { config, file, replace, dry_run } => {
                let existing = if replace { Existing::Replaced } else { Existing::Refused };
                import(config, &file, existing, if dry_run { Run::Dry } else { Run::Real }).await?
            }
            Command::Label { who, changes } => label(who, &changes).await?,
            Command::Disable { who } => switch(who, AccountState::Disabled).await?,
            Command::Enable { who } => switch(who, AccountState::Enabled).await?,
            Command::Remove { who } => remove(who).await?,
            Command::SignOut { config, account, forget } => {
                #[expect(clippy::disallowed_methods, reason = "the moment of this command")]
                let now = OffsetDateTime::now_utc();
                token::sign_out(config, (&account, forget), now).await?
            }
            Command::List { config, output } => list(config, output).await?,
            Command::Show { who, output } => show(who, output).await?,
        };
        Ok(say(&said, DONE))
    })
}

fn open(place: mongo::Place) -> Result<Accounts, String> {
    Ok(mongo::users(&mongo::load_one(place, Purpose::Identity)?)?.1)
}

async fn find(who: Who) -> Result<(Accounts, Account), String> {
    let accounts = open(who.config)?;
    let account = accounts.get(&who.name).await.map_err(mongo::plain)?;
    Ok((accounts, account))
}

async fn add(who: Who, labels: &[LabelChange], state: AccountState, password: &Password) -> Result<String, String> {
    let account = check_name(&who.name)?;
    let config = mongo::load_one(who.config, Purpose::Identity)?;
    let (_, accounts) = mongo::users(&config)?;
    let mut services = Services::of(&config);
    // Before somebody types a password in vain.
    services.refuse([who.name.as_str()]).await?;
    let standing = Standing { state, ..Standing::default() };
    accounts.check_standing(standing).map_err(mongo::plain)?;
    accounts.check_free(&who.name).await.map_err(mongo::plain)?;
    let hash = password.read(&who.name)?;
    let mut wanted = BTreeMap::new();
    labels.iter().for_each(|change| change.apply(&mut wanted));
    let user = NewUser { name: account, hash, labels: wanted, standing };
    let added = accounts.add(&user).await.map_err(mongo::plain)?;
    // A service may have been made meanwhile.
    if let Err(refused) = services.refuse([added.name.as_str()]).await {
        accounts.remove(&added).await.map_err(mongo::plain)?;
        return Err(refused);
    }
    password.warn_of(&user.name, &user.hash);
    Ok(format!("{}: added, {}\n", name(&added), said_all(&added)))
}

async fn passwd(who: Who, password: &Password) -> Result<String, String> {
    let (accounts, before) = find(who).await?;
    let hash = password.read(&before.name)?;
    let after = accounts.set_password(&before, &hash).await.map_err(mongo::plain)?;
    password.warn_of(&before.name, &hash);
    Ok(format!("{}: new password, {} -> {}\n", name(&after), said_hash(&before), said_hash(&after)))
}

async fn import(config: mongo::Place, file: &Path, existing: Existing, run: Run) -> Result<String, String> {
    let (name_of_file, text) = mongo::input(file)?;
    let Parsed { users, notes } = parse(name_of_file, &text).map_err(|problems| problems.join("\n"))?;
    let config = mongo::load_one(config, Purpose::Identity)?;
    let (section, accounts) = mongo::users(&config)?;
    let mut services = Services::of(&config);
    services.refuse(users.iter().map(|user| user.name.as_str())).await?;
    let steps = accounts.plan(&users, existing).await.map_err(mongo::plain)?;
    for note in &notes {
        complain(&format!("dockwarden: {note}"));
    }
    let has_wildcards =
        |user: &NewUser| user.labels.values().flatten().any(|value| value.contains(['*', '?', '[', '\\']));
    match accounts.label_values() {
        LabelSyntax::Literal if users.iter().any(has_wildcards) => {
            complain(&format!(
                "dockwarden: warning: {section} has label_values: literal, so the wildcards in these users' labels are plain \
                 characters there"
            ));
        }
        LabelSyntax::Literal | LabelSyntax::Glob => {}
    }
    let (mut changes, mut added) = (0_usize, Vec::new());
    for step in &steps {
        let told = match (run, step) {
            (_, Step::Same(_)) => continue,
            (Run::Real, Step::Add(_) | Step::Replace(..)) => accounts.take(step).await.map_err(|refused| {
                format!(
                    "{}: {refused}\n{} changed before that; import once more",
                    printable(step.name()),
                    counted(changes, "user")
                )
            })?,
            (Run::Dry, Step::Add(user) | Step::Replace(_, user)) => accounts.preview(user),
        };
        changes = changes.saturating_add(1);
        if let (Run::Real, Step::Add(_)) = (run, step) {
            added.push(told.clone());
        }
        let how = match step {
            Step::Replace(before, _) => format!("{} -> ", said_all(before)),
            Step::Add(_) | Step::Same(_) => String::new(),
        };
        let word = if how.is_empty() { "added" } else { "replaced" };
        // A user that was changed is changed, whether anybody reads of it or not.
        say(&format!("{}: {word}, {how}{}\n", name(&told), said_all(&told)), DONE);
    }
    // Services may have been made meanwhile.
    if let Err(refused) = services.refuse(added.iter().map(|account: &Account| account.name.as_str())).await {
        for account in &added {
            if services.refuse([account.name.as_str()]).await.is_err() {
                accounts.remove(account).await.map_err(mongo::plain)?;
            }
        }
        return Err(refused);
    }
    warn_of(users.iter().map(|user| (user.name.as_str(), &user.hash)));
    Ok(mongo::summary(changes, "user", run))
}

/// Points out hashes that do not protect. They are brought in all the same: they are in use already.
fn warn_of<'u>(hashes: impl IntoIterator<Item = (&'u str, &'u PasswordHash)>) {
    let mut weak: usize = 0;
    for (name, hash) in hashes {
        if hash.is_published() {
            complain(&format!("dockwarden: warning: {}: {PUBLISHED_HASH}", printable(name)));
        }
        if hash.cost() < WEAK_BELOW {
            weak = weak.saturating_add(1);
        }
    }
    if weak > 0 {
        complain(&format!(
            "dockwarden: warning: {weak} hash(es) of a cost below {WEAK_BELOW} are weak; a new password (user passwd) makes a \
             better one"
        ));
    }
}

async fn label(who: Who, changes: &[LabelChange]) -> Result<String, String> {
    let (accounts, before) = find(who).await?;
    let mut labels = before.labels.clone();
    changes.iter().for_each(|change| change.apply(&mut labels));
    if labels == before.labels {
        return Ok(format!("{}: nothing changes, {}\n", name(&before), shown(&labels)));
    }
    let after = accounts.set_labels(&before, &labels).await.map_err(mongo::plain)?;
    Ok(format!("{}: {} -> {}\n", name(&after), shown(&before.labels), shown(&after.labels)))
}

async fn switch(who: Who, state: AccountState) -> Result<String, String> {
    let (accounts, before) = find(who).await?;
    if before.standing().is_some_and(|standing| standing.state == state) {
        return Ok(format!("{}: nothing changes, {}\n", name(&before), said_state(&before)));
    }
    let after = accounts.set_state(&before, state).await.map_err(mongo::plain)?;
    Ok(format!("{}: {} -> {}\n", name(&after), said_state(&before), said_state(&after)))
}

async fn remove(who: Who) -> Result<String, String> {
    let (accounts, gone) = find(who).await?;
    accounts.remove(&gone).await.map_err(mongo::plain)?;
    Ok(format!("{}: removed; it was {}, {}\n", name(&gone), said_state(&gone), shown(&gone.labels)))
}

async fn list(config: mongo::Place, output: Output) -> Result<String, String> {
    let accounts = open(config)?.list().await.map_err(mongo::plain)?;
    match output {
        Output::Json => json(&accounts.iter().map(told).collect::<Vec<_>>()),
        Output::Text => {
            let width = accounts.iter().map(|account| name(account).chars().count()).max().unwrap_or_default();
            let row = |account: &Account| {
                let labels = match &account.usable {
                    Ok(_) => shown(&account.labels),
                    Err(problems) => printable(&problems.join("; ")),
                };
                format!("{:width$}  {:8}  {labels}\n", name(account), said_state(account))
            };
            Ok(accounts.iter().map(row).collect())
        }
    }
}

async fn show(who: Who, output: Output) -> Result<String, String> {
    let (_, account) = find(who).await?;
    let told = told(&account);
    match output {
        Output::Json => json(&told),
        Output::Text => {
            let mut lines = vec![
                format!("name      {}", name(&account)),
                format!("state     {}", told.state),
                format!("labels    {}", shown(&account.labels)),
                format!("password  {}", said_hash(&account)),
            ];
            lines.extend(told.not_before.map(|moment| format!("from      {moment}")));
            lines.extend(told.not_after.map(|moment| format!("until     {moment}")));
            lines.push(format!("document  {}", account.id()));
            lines.extend(told.problems.iter().map(|problem| format!("problem   {}", printable(problem))));
            Ok(format!("{}\n", lines.join("\n")))
        }
    }
}

fn json(told: &impl Serialize) -> Result<String, String> {
    serde_json::to_string_pretty(told).map(|text| format!("{text}\n")).map_err(|error| error.to_string())
}

/// A user as JSON. Never the hash.
#[derive(Serialize)]
struct Told<'a> {
    name: &'a str,
    state: &'static str,
    labels: &'a BTreeMap<String, Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<u32>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    problems: &'a [String],
}

fn told(account: &Account) -> Told<'_> {
    let standing = account.standing();
    Told {
        name: &account.name,
        state: said_state(account),
        labels: &account.labels,
        not_before: standing.and_then(|standing| standing.not_before).map(written),
        not_after: standing.and_then(|standing| standing.not_after).map(written),
        cost: account.usable.as_ref().ok().map(|usable| usable.cost),
        problems: account.usable.as_ref().err().map(Vec::as_slice).unwrap_or_default(),
    }
}

/// A name that cannot write over the terminal.
fn name(account: &Account) -> String {
    printable(&account.name)
}

fn said_state(account: &Account) -> &'static str {
    #[expect(clippy::disallowed_methods, reason = "the moment of this command")]
    let now = OffsetDateTime::now_utc();
    match account.standing().map(|standing| standing.check(now)) {
        Some(Ok(())) => "enabled",
        Some(Err(Closed::Disabled)) => "disabled",
        Some(Err(Closed::NotYet)) => "not yet",
        Some(Err(Closed::Over)) => "expired",
        None => "unusable",
    }
}

/// State, labels and kind of password.
fn said_all(account: &Account) -> String {
    format!("{}, {}, password {}", said_state(account), shown(&account.labels), said_hash(account))
}

fn said_hash(account: &Account) -> String {
    match &account.usable {
        Ok(usable) => format!("bcrypt ({}), cost {}", usable.kind, usable.cost),
        Err(_) => "unknown".to_owned(),
    }
}
