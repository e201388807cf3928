//! `dockwarden token`: secrets that last, made, listed, renewed and revoked beside a server that runs. The secret alone goes to
//! standard output.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use policy::pattern::{LabelValue, LabelValues};
use serde_json::json;
use time::OffsetDateTime;

use super::{DONE, complain, mongo, say};
use crate::access::Access;
use crate::authn::password::Passwords;
use crate::backend::Purpose;
use crate::config::Config;
use crate::identity::{Account, LookUp};
use crate::metrics::Metrics;
use crate::records::{self, Changed, Limits, Owner, Records, SecretId, Whose};
use crate::secret::lasting::LastingSecret;
use crate::secrets::{Expires, Lasting, LimitTexts, Made, New, NotMade, State, Told, Wanted, is_robots, robot_name};
use crate::shown::{counted, printable};
use crate::workload;

/// How many secrets are read at once.
const PAGE: u32 = 500;

/// Make, list, renew and revoke secrets that take the place of passwords
#[derive(clap::Subcommand)]
#[command(defer = true)]
pub(super) enum Command {
    /// Make a secret, and print it alone on standard output: it is shown this once
    Create {
        /// The configuration file
        config: PathBuf,
        #[command(flatten)]
        owner: OneOwner,
        /// A label of a new robot, which gives it its rights, such as team=web,api (may be repeated)
        #[arg(long = "owner-label", value_name = "LABEL=VALUES", conflicts_with = "account")]
        labels: Vec<String>,
        /// What the secret is to be called; a robot's has a name without it
        #[arg(long, required_unless_present = "robot")]
        name: Option<String>,
        /// When it ends: 90d, 12h, 2027-01-31, 2027-01-31T18:00:00Z, or never
        #[arg(long)]
        expires: Expires,
        /// What it may do of what its owner may, such as repository:team/*:pull (may be repeated); all of it without
        #[arg(long, value_name = "SCOPE")]
        allow: Vec<String>,
        /// A network that it may be used from (may be repeated); any without
        #[arg(long, value_name = "NETWORK")]
        from: Vec<String>,
        /// A service that it may be used for (may be repeated); any without
        #[arg(long = "service", value_name = "SERVICE")]
        services: Vec<String>,
        /// It may be used from this date or moment on
        #[arg(long, value_name = "MOMENT")]
        not_before: Option<String>,
    },
    /// List secrets; never what they are
    List {
        /// The configuration file
        config: PathBuf,
        /// Only those of this account
        #[arg(long, conflicts_with = "robot")]
        account: Option<String>,
        /// Only those of this robot
        #[arg(long)]
        robot: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a secret; never what it is
    Show {
        #[command(flatten)]
        which: Which,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a secret anew, and print it alone on standard output; a robot's takes the older of its two places
    Renew {
        #[command(flatten)]
        which: Which,
        /// When it ends: 90d, 12h, 2027-01-31, 2027-01-31T18:00:00Z, or never
        #[arg(long)]
        expires: Expires,
    },
    /// Revoke a secret for good, or all that a robot has
    Revoke {
        /// The configuration file
        config: PathBuf,
        /// The secret's id, as list shows it
        #[arg(required_unless_present = "robot")]
        id: Option<String>,
        /// Both secrets of this robot, which logs in no more until it is given others
        #[arg(long, conflicts_with = "id")]
        robot: Option<String>,
    },
}

// Whose secret is to be made.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct OneOwner {
    /// The account whose secret it is
    #[arg(long)]
    account: Option<String>,
    /// The robot whose secret it is; it logs in as robot+NAME
    #[arg(long)]
    robot: Option<String>,
}

// Which secret.
#[derive(clap::Args)]
pub(super) struct Which {
    /// The configuration file
    config: PathBuf,
    /// The secret's id, as list shows it
    id: String,
}

impl Which {
    fn id(&self) -> Result<SecretId, String> {
        if LastingSecret::read(&self.id).is_ours() {
            return Err("this is a secret itself, which others can read on a command line (ps): revoke it by its id, as token list \
                        shows it"
                .to_owned());
        }
        Ok(SecretId(self.id.as_str().into()))
    }
}

/// Runs the command.
pub(super) fn run(command: Command) -> u8 {
    #[expect(clippy::disallowed_methods, reason = "the moment of this command")]
    let now = OffsetDateTime::now_utc();
    mongo::run(async move {
        match command {
            Command::Create { config, owner, labels, name, expires, allow, from, services, not_before } => {
                let listed = |texts: Vec<String>| if texts.is_empty() { Wanted::Unsaid } else { Wanted::Is(texts) };
                let not_before = not_before.map_or(Wanted::Unsaid, Wanted::Is);
                let (allow, from, services) = (listed(allow), listed(from), listed(services));
                let texts = LimitTexts { allow, from, services, not_before };
                let limits = texts.over(Limits::default()).map_err(plain)?;
                create(config, owner, (name, labels), (expires, limits), now).await
            }
            Command::List { config, account, robot, json } => {
                let whose = match (account, robot) {
                    (Some(account), _) => Whose::Account(named(&account)?),
                    (None, Some(robot)) => Whose::Robot(robot_name(&robot).map_err(plain)?),
                    (None, None) => Whose::All,
                };
                list(config, &whose, json, now).await
            }
            Command::Show { which, json } => show(which, json, now).await,
            Command::Renew { which, expires } => renew(which, expires, now).await,
            Command::Revoke { config, robot: Some(robot), .. } => {
                let robot = robot_name(&robot).map_err(plain)?;
                let lasting = open(mongo::load(config)?).await?.lasting;
                let ended = lasting.revoke_robot(&robot, now).await.map_err(|refused| match refused {
                    NotMade::Missing => "there is no robot of this name".to_owned(),
                    refused => plain(refused),
                })?;
                Ok(say(&format!("robot+{}: {} revoked\n", printable(&robot.0), counted(ended, "secret")), DONE))
            }
            Command::Revoke { config, id, robot: None } => {
                let which = Which { config, id: id.unwrap_or_default() };
                let id = which.id()?;
                let lasting = open(mongo::load(which.config)?).await?.lasting;
                lasting.revoke(&id, now).await.map_err(plain)?;
                Ok(say(&format!("{}: revoked\n", printable(&id.0)), DONE))
            }
        }
    })
}

/// Ends everything lasting that an account or a robot has.
pub(super) async fn sign_out(
    config: PathBuf,
    (account, forgets): (&str, bool),
    now: OffsetDateTime,
) -> Result<String, String> {
    let account = named(account)?;
    let opened = open(mongo::load(config)?).await?;
    let is_known = match robot_name(&account).ok().filter(|_| is_robots(&account)) {
        Some(robot) => {
            let first = opened.lasting.list(&Whose::Robot(robot), None, 1).await;
            !first.map_err(|failure| failure.to_string())?.is_empty()
        }
        None => opened.look_up(&account).await? != LookUp::Unknown,
    };
    opened.lasting.sign_out(&account, now).await.map_err(|failure| failure.to_string())?;
    let told =
        format!("{}: signed out everywhere; no secret that was made before works any more\n", printable(&account));
    if forgets {
        return Ok(format!("{told}{}\n", forgotten(&*opened.store, &account).await?));
    }
    if !is_known {
        // It may have been removed a moment ago, and come back with the same password: then this was worth it.
        _ = complain(
            "dockwarden: warning: nobody of this name is known now; see that it is spelled as its section spells it",
        );
    }
    Ok(told)
}

/// Forgets who signed in at a provider and is called so.
async fn forgotten(store: &dyn Records, account: &Account) -> Result<&'static str, String> {
    let person = store.person_called(account).await.map_err(|failure| failure.to_string())?;
    let person = person.ok_or("nobody of this name has signed in at a provider, and so nobody is forgotten")?;
    match store.remove_person(&person.id, person.version).await.map_err(|failure| failure.to_string())? {
        Changed::Done | Changed::Missing => Ok("forgotten: the name is for whomever the provider calls so next"),
        Changed::Conflict => {
            Err("they signed in just now, and are not forgotten; see whether they may keep the name".to_owned())
        }
    }
}

/// Whether the records are a file that is not there yet.
fn is_unmade(config: &Config) -> bool {
    config.records.as_ref().is_some_and(|store| store.is_unmade())
}

/// What the commands work on.
struct Opened {
    store: Arc<dyn Records>,
    lasting: Lasting,
    access: Access,
}

impl Opened {
    async fn look_up(&self, account: &Account) -> Result<LookUp, String> {
        self.access.look_up(account, None).await.map_err(|denied| format!("{:#}", anyhow::Error::from(denied)))
    }
}

/// Opens the records, and the backends that tell who an account is.
async fn open(mut config: Config) -> Result<Opened, String> {
    let file = config.file.display().to_string();
    let settings = config.records.ok_or_else(|| {
        format!("{file}: there are no records in it, and so no secrets; write lasting: {{}} at least")
    })?;
    let store = records::open(&settings);
    store.prepare().await.map_err(|failure| failure.to_string())?;
    config.backends.0.retain(|row| row.kind.purpose == Purpose::Identity);
    let wrong = |error: anyhow::Error| format!("{file}: {error:#}");
    let passwords = Arc::new(Passwords::new(|_| {}).map_err(wrong)?);
    let metrics = Metrics::default();
    let workloads = config.workload.as_ref().map(workload::Settings::names).unwrap_or_default();
    let access = Access::open(&config.backends, None, &passwords, &metrics)
        .and_then(|access| access.with_workloads(config.workload, None, &metrics))
        .map_err(wrong)?;
    let lasting = Lasting::new(Arc::clone(&store), config.lasting, Arc::default()).with_workloads(workloads);
    Ok(Opened { store, lasting, access })
}

async fn create(
    config: PathBuf,
    owner: OneOwner,
    (name, labels): (Option<String>, Vec<String>),
    (expires, limits): (Expires, Limits),
    now: OffsetDateTime,
) -> Result<u8, String> {
    let new = |name| New { name, expires: Some(expires), limits, maker: None };
    let made = match (owner.account, owner.robot) {
        (Some(account), _) => {
            let account = named(&account)?;
            let opened = open(mongo::load(config)?).await?;
            let owner = opened.look_up(&account).await?;
            opened.lasting.make_personal(owner, new(name.unwrap_or_default()), now).await
        }
        (None, robot) => {
            let robot = robot_name(&robot.unwrap_or_default()).map_err(plain)?;
            let labels = if labels.is_empty() { None } else { Some(Arc::new(labels_from(&labels)?)) };
            let lasting = open(mongo::load(config)?).await?.lasting;
            // Both of its secrets may be made within a second.
            let nanoseconds = now.unix_timestamp_nanos();
            let name = name.unwrap_or_else(|| format!("made {nanoseconds:x}"));
            lasting.make_robot(&robot, labels, new(name), now).await
        }
    };
    Ok(hand_out(&made.map_err(plain)?))
}

async fn list(config: PathBuf, whose: &Whose, json: bool, now: OffsetDateTime) -> Result<u8, String> {
    let config = mongo::load(config)?;
    // Who only looks makes no file.
    let has_records = !is_unmade(&config);
    let (mut all, mut after) = (Vec::new(), None);
    let opened = if has_records { Some(open(config).await?) } else { None };
    while let Some(Opened { lasting, access, .. }) = &opened {
        let page = lasting.listed(whose, (after.as_ref(), PAGE), now).await.map_err(|failure| failure.to_string())?;
        let Some((last, _)) = page.last() else { break };
        after = Some(last.id.clone());
        all.extend(access.states(page, None, now).await.iter().map(|(kept, state)| Told::of(kept, *state)));
    }
    let text = match json {
        true => pretty(&json!({ "tokens": all }))?,
        false => all.iter().map(line).collect(),
    };
    Ok(say(&text, DONE))
}

async fn show(which: Which, json: bool, now: OffsetDateTime) -> Result<u8, String> {
    let id = which.id()?;
    let config = mongo::load(which.config)?;
    if is_unmade(&config) {
        return Err(NotMade::Missing.to_string());
    }
    let Opened { lasting, access, .. } = open(config).await?;
    let shown = lasting.shown(&id, now).await.map_err(|failure| failure.to_string())?;
    let (kept, state) = access
        .states(shown.into_iter().collect(), None, now)
        .await
        .pop()
        .ok_or_else(|| NotMade::Missing.to_string())?;
    let told = Told::of(&kept, state);
    let text = match json {
        true => pretty(&told)?,
        false => described(&told),
    };
    Ok(say(&text, DONE))
}

async fn renew(which: Which, expires: Expires, now: OffsetDateTime) -> Result<u8, String> {
    let id = which.id()?;
    let opened = open(mongo::load(which.config)?).await?;
    let kept = opened.lasting.show(&id).await.map_err(|failure| failure.to_string())?;
    let owner = match kept.map(|kept| kept.owner) {
        Some(Owner::Account { account, .. }) => Some(opened.look_up(&account).await?),
        Some(Owner::Robot { .. } | Owner::Workload { .. }) | None => None,
    };
    let made = opened.lasting.renew(&id, owner, (Some(expires), None), now).await.map_err(plain)?;
    Ok(hand_out(&made))
}

/// Prints the secret alone on standard output, and what else there is to say on standard error.
pub(super) fn hand_out(made: &Made) -> u8 {
    let told = Told::of(&made.kept, State::Active);
    let login = owner(&told);
    // Its status is for failures.
    _ = complain(&format!(
        "{}: made for {}, ends {}; it logs in as {}, and is shown this once:",
        told.id,
        printable(&login),
        ends(&told),
        printable(&login)
    ));
    say(&format!("{}\n", made.secret.reveal()), DONE)
}

/// A secret in a line.
fn line(told: &Told) -> String {
    let used = told.last_used.as_ref().map_or("never used".to_owned(), |used| format!("used {}", used.at));
    format!(
        "{}  {:13} {:8} …{}  {}  \"{}\"  ends {}  {used}\n",
        told.id,
        told.state.as_str(),
        told.kind,
        told.last4,
        printable(&owner(told)),
        printable(&told.name),
        ends(told)
    )
}

fn described(told: &Told) -> String {
    let mut rows = vec![
        ("id", told.id.clone()),
        ("kind", told.kind.to_owned()),
        ("owner", owner(told)),
        ("name", told.name.clone()),
        ("ends with", told.last4.clone()),
        ("state", told.state.as_str().to_owned()),
        ("created", told.created.clone()),
        ("created by", told.created_by.clone().unwrap_or_else(|| "the command line".to_owned())),
        ("expires", ends(told).to_owned()),
    ];
    rows.extend(told.revoked.clone().map(|at| ("revoked", at)));
    rows.extend(told.not_before.clone().map(|at| ("not before", at)));
    rows.extend(told.allow.iter().map(|scope| ("allow", scope.clone())));
    rows.extend(told.from.iter().map(|network| ("from", network.clone())));
    rows.extend(told.services.iter().map(|service| ("service", service.clone())));
    let used = told.last_used.as_ref().map(|used| {
        let network = used.network.as_deref().unwrap_or("nobody knows where");
        format!("{}, from {network}, by {}", used.at, used.client)
    });
    rows.push(("last used", used.unwrap_or_else(|| "never".to_owned())));
    rows.iter().map(|(key, value)| format!("{key:10}  {}\n", printable(value))).collect()
}

fn owner(told: &Told) -> String {
    match (&told.account, &told.robot) {
        (_, Some(robot)) => format!("robot+{robot}"),
        (account, None) => account.clone().unwrap_or_default(),
    }
}

fn ends(told: &Told) -> &str {
    told.expires.as_deref().unwrap_or("never")
}

fn pretty(told: &impl serde::Serialize) -> Result<String, String> {
    serde_json::to_string_pretty(told).map(|text| format!("{text}\n")).map_err(|error| error.to_string())
}

fn named(account: &str) -> Result<Account, String> {
    Account::parse(account).map_err(|error| error.to_string())
}

/// Labels as they are written: `team=web,api`.
fn labels_from(texts: &[String]) -> Result<LabelValues, String> {
    let mut labels: BTreeMap<String, Vec<LabelValue>> = BTreeMap::new();
    for text in texts {
        let wrong = || "a robot's label is written team=web, or team=web,api".to_owned();
        let (name, values) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(wrong)?;
        let values: Vec<LabelValue> =
            values.split(',').filter(|value| !value.is_empty()).map(LabelValue::literal).collect();
        if values.is_empty() {
            return Err(wrong());
        }
        labels.entry(name.to_owned()).or_default().extend(values);
    }
    Ok(labels)
}

pub(super) fn plain(reason: NotMade) -> String {
    if matches!(reason, NotMade::NoRobot) {
        return format!("{reason}: --owner-label team=web");
    }
    reason.to_string()
}
