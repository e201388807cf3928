//! Backups: every store is saved as a file of SQLite and restored from one, so that records can move between stores.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use mongodb::bson::{Bson, doc};
use time::OffsetDateTime;

use super::catalogue::{Description, Pull, Repository};
use super::directory::Entry;
use super::lock::Holding;
use super::mongo::{self, MongoRecords, catalogue as of_mongo};
use super::persons::Person;
use super::row::milliseconds;
use super::settings::of_sqlite;
use super::sql::{self, SqlRecords, catalogue as of_sql};
use super::{Document, Epochs as _, Failure, Settings, schema};
use crate::json;
use crate::sql::settings::File as SqliteFile;
use crate::sql::{Row, Step};

/// So many rows are read at once.
const PAGE: i64 = 1000;

/// Why there is no backup, or nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The records, or the backup, could not be read or written.
    #[error(transparent)]
    Failure(#[from] Failure),
    /// A file could not be made or read.
    #[error("{}: {cause}", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        cause: String,
    },
}

/// What was restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// How many secrets; none of them can be used any more.
    pub secrets: usize,
    /// How many robots.
    pub robots: usize,
    /// How many users.
    pub users: usize,
    /// How many rules.
    pub rules: usize,
}

/// Everything that a store holds.
#[derive(Default)]
struct Everything {
    secrets: Vec<super::row::SecretRow>,
    epochs: BTreeMap<String, i64>,
    robots: Vec<super::row::RobotRow>,
    seen: Vec<(String, i64)>,
    users: Vec<(String, Document)>,
    rules: Option<Document>,
    people: People,
    directory: Vec<Entry>,
    /// Those who signed in at a provider.
    persons: Vec<Person>,
    /// When the directory's users last logged in.
    logins: Vec<(String, i64)>,
}

/// What of the catalogue no sweep finds again: what people wrote, their stars, and who pulled what. Repositories, tags, how far
/// sweeps are and events are found again or stay where they are.
#[derive(Default)]
struct People {
    described: Vec<Repository>,
    /// The registry, the repository and the account of each.
    stars: Vec<(String, String, String)>,
    pulls: Vec<Pull>,
}

/// Makes the store of a server ready, or raises it; one of SQLite does so by itself. Says whether there was anything to do.
///
/// # Errors
/// [`Failure`], and that the store is newer than this program.
pub async fn migrate(settings: &Settings, dry: bool) -> Result<bool, Failure> {
    match settings {
        Settings::Sql(settings) => {
            let records = SqlRecords::new(settings.clone(), super::NAME, Holding::Shared);
            if dry && records.file().is_some_and(|file| !file.exists()) {
                return Ok(true);
            }
            let version = records.version().await?;
            if version.is_some_and(|version| version >= schema::VERSION) {
                super::check_schema(version, &settings.place())?;
                return Ok(false);
            }
            if !dry {
                records.migrate().await?;
            }
            Ok(true)
        }
        Settings::Mongo(settings) => {
            let records = MongoRecords::new(settings.clone(), super::NAME);
            let version = records.version().await?;
            if version.is_some_and(|version| version >= schema::VERSION) {
                super::check_schema(version, &records.place())?;
                return Ok(false);
            }
            if !dry {
                records.migrate().await?;
            }
            Ok(true)
        }
    }
}

/// Saves all records in a new file, for our eyes only.
///
/// # Errors
/// The file is there already, or one of both cannot be used.
pub async fn back_up(settings: &Settings, file: &Path) -> Result<(), BackupError> {
    // Empty, so that SQLite fills it, and nobody else can read what it does.
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    made.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            of_file(file, "there is such a file already, and a backup never overwrites one")
        }
        _ => of_file(file, error),
    })?;
    let saved = save(settings, file).await;
    if saved.is_err() {
        // Half a backup is worse than none.
        drop(fs::remove_file(file));
    }
    saved
}

async fn save(settings: &Settings, file: &Path) -> Result<(), BackupError> {
    match settings {
        Settings::Sql(settings) => {
            let records = SqlRecords::new(settings.clone(), super::NAME, Holding::Shared);
            match records.file() {
                Some(store) if !store.exists() => return Err(of_file(store, "there are no records yet")),
                Some(_) => records.copy_into(file).await?,
                None => write_file(file, read_sql(&records).await?).await?,
            }
        }
        Settings::Mongo(settings) => {
            write_file(file, read_mongo(&MongoRecords::new(settings.clone(), super::NAME)).await?).await?;
        }
    }
    // It is to be there after the power has failed, too.
    File::open(file).and_then(|file| file.sync_all()).map_err(|error| of_file(file, error))
}

fn of_file(file: &Path, cause: impl ToString) -> BackupError {
    BackupError::File { file: file.to_owned(), cause: cause.to_string() }
}

/// Fills an empty file, by way of a database in a folder of its own that is gone afterwards.
async fn write_file(file: &Path, everything: Everything) -> Result<(), BackupError> {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    let folder = PathBuf::from(name);
    DirBuilder::new().mode(0o700).create(&folder).map_err(|error| of_file(&folder, error))?;
    let store = SqliteFile::own(folder.join("records.db"));
    let copied = async {
        let records = SqlRecords::new(of_sqlite(store), super::NAME, Holding::Unlocked);
        records.put(&steps(everything)?).await?;
        records.copy_into(file).await
    };
    let copied = copied.await;
    drop(fs::remove_dir_all(&folder));
    Ok(copied?)
}

/// Puts a backup in place of all records, and ends every secret that is in it: what was revoked after it was made must not
/// live again.
///
/// # Errors
/// The backup cannot be read or is newer than this program; a server has the file of SQLite; or the store does not take it. A store
/// of SQL is then as it was.
pub async fn restore(settings: &Settings, file: &Path, now: OffsetDateTime) -> Result<Restored, BackupError> {
    if !file.is_file() {
        return Err(of_file(file, "there is no such backup"));
    }
    let everything = read_backup(file).await?;
    let rules = everything.rules.as_ref().map_or(0, number_of_rules);
    let Everything { secrets, robots, users, .. } = &everything;
    let restored = Restored { secrets: secrets.len(), robots: robots.len(), users: users.len(), rules };
    match settings {
        Settings::Sql(settings) => {
            let records = SqlRecords::new(settings.clone(), super::NAME, Holding::Alone);
            put_sql(&records, everything, now).await?;
        }
        Settings::Mongo(settings) => {
            let records = MongoRecords::new(settings.clone(), super::NAME);
            put_mongo(&records, everything, now).await?;
        }
    }
    Ok(restored)
}

/// How many rules there are; of what is no list, nobody can tell.
fn number_of_rules(rules: &Document) -> usize {
    match json::unambiguous(&rules.text) {
        Ok(serde_json::Value::Array(rules)) => rules.len(),
        Ok(_) | Err(_) => 0,
    }
}

async fn read_backup(file: &Path) -> Result<Everything, BackupError> {
    let records = SqlRecords::new(of_sqlite(SqliteFile::read_only(file.to_owned())), super::NAME, Holding::Unlocked);
    let version = records.version().await.map_err(|failure| match failure {
        // Not our records: the other file.
        Failure::Away { cause } | Failure::Unusable { cause } => {
            of_file(file, format!("this backup cannot be read: {cause}"))
        }
    })?;
    match version {
        None => Err(of_file(file, "this is no backup of records")),
        version => {
            super::check_schema(version, &records.settings().place())?;
            Ok(read_sql(&records).await?)
        }
    }
}

async fn put_sql(records: &SqlRecords, everything: Everything, now: OffsetDateTime) -> Result<(), Failure> {
    let here = records.epochs().await?;
    let mut all: Vec<Step> = [
        "DELETE FROM dockwarden_secrets",
        "DELETE FROM dockwarden_epochs",
        "DELETE FROM dockwarden_robots",
        "DELETE FROM dockwarden_users",
        "DELETE FROM dockwarden_records WHERE name = 'rules'",
        "DELETE FROM dockwarden_repositories",
        "DELETE FROM dockwarden_tags",
        "DELETE FROM dockwarden_stars",
        "DELETE FROM dockwarden_sweeps",
        "DELETE FROM dockwarden_pulls",
        "DELETE FROM dockwarden_leases",
        "DELETE FROM dockwarden_directory",
        "DELETE FROM dockwarden_persons",
        "DELETE FROM dockwarden_devices",
        "DELETE FROM dockwarden_logins",
    ]
    .into_iter()
    .map(|sql| Step::any(sql, Vec::new()))
    .collect();
    // What was seen since the backup stays so: it could be presented once more otherwise.
    let epochs = highest(here, everything.epochs);
    all.extend(steps(Everything { epochs, ..everything })?);
    all.push(sql::raise_everybody(milliseconds(now)));
    all.push(sql::directory::count_change());
    records.put(&all).await
}

async fn put_mongo(records: &MongoRecords, everything: Everything, now: OffsetDateTime) -> Result<(), Failure> {
    // First of all, so that nothing lives again wherever this is interrupted.
    records.raise_all(now).await?;
    let here = epochs_of(records).await?;
    let Everything { secrets, epochs, robots, seen, users, rules, people, directory, persons, logins } = everything;
    let epochs = highest(here, epochs).into_iter().map(|(owner, epoch)| doc! { "_id": owner, "epoch": epoch });
    records.put(mongo::EPOCHS, doc! {}, epochs.collect()).await?;
    records.raise_all(now).await?;
    records.put(mongo::SECRETS, doc! {}, secrets.into_iter().map(mongo::secret_document).collect()).await?;
    records.put(mongo::ROBOTS, doc! {}, robots.into_iter().map(mongo::robot_document).collect()).await?;
    // What was seen since the backup stays so: it could be presented once more otherwise.
    let here = documents(records, mongo::SEEN, |seen| mongo::numbered(seen, "ends", mongo::SEEN)).await?;
    let seen: BTreeMap<String, i64> = seen.into_iter().chain(here).collect();
    let seen = seen.into_iter().map(|(hash, ends)| doc! { "_id": hash, "ends": ends });
    records.put(mongo::SEEN, doc! {}, seen.collect()).await?;
    let document = |(name, Document { text, version }): (String, Document)| {
        doc! { "_id": name, "version": version.0, "document": text }
    };
    records.put(mongo::USERS, doc! {}, users.into_iter().map(document).collect()).await?;
    let rules = rules.map(|rules| document(("rules".to_owned(), rules)));
    records.put(mongo::DOCUMENTS, doc! { "_id": "rules" }, rules.into_iter().collect()).await?;
    let entries = directory.iter().map(mongo::directory::entry_document);
    records.put(mongo::directory::DIRECTORY, doc! {}, entries.collect()).await?;
    records.count_change().await?;
    let persons = persons.iter().map(mongo::persons::person_document);
    records.put(mongo::persons::PERSONS, doc! {}, persons.collect()).await?;
    records.put(mongo::devices::DEVICES, doc! {}, Vec::new()).await?;
    let logins = logins.into_iter().map(|(account, last)| doc! { "_id": account, "last": last });
    records.put(mongo::logins::LOGINS, doc! {}, logins.collect()).await?;
    put_people(records, people).await
}

async fn put_people(records: &MongoRecords, people: People) -> Result<(), Failure> {
    let People { described, stars, pulls } = people;
    let mut repositories: BTreeMap<(String, String), Repository> =
        described.into_iter().map(|one| ((one.service.clone(), one.name.clone()), one)).collect();
    for repository in repositories.values_mut() {
        repository.stars = 0;
    }
    for (service, name, _) in &stars {
        let key = (service.clone(), name.clone());
        let repository = repositories.entry(key).or_insert_with(|| Repository::unknown(service, name));
        repository.stars = repository.stars.saturating_add(1);
    }
    // Nothing of what sweeps find is true of another time.
    records.put(of_mongo::TAGS, doc! {}, Vec::new()).await?;
    records.put(of_mongo::SWEEPS, doc! {}, Vec::new()).await?;
    records
        .put(of_mongo::REPOSITORIES, doc! {}, repositories.values().map(of_mongo::described_document).collect())
        .await?;
    let stars = stars.iter().map(|(service, name, account)| of_mongo::star_document(service, name, account));
    records.put(of_mongo::STARS, doc! {}, stars.collect()).await?;
    records.put(of_mongo::PULLS, doc! {}, pulls.iter().map(of_mongo::pull_document).collect()).await
}

/// Each owner's higher epoch of two stores.
fn highest(mut epochs: BTreeMap<String, i64>, others: BTreeMap<String, i64>) -> BTreeMap<String, i64> {
    for (owner, epoch) in others {
        let here = epochs.entry(owner).or_insert(epoch);
        *here = (*here).max(epoch);
    }
    epochs
}

/// The steps that fill empty tables.
fn steps(everything: Everything) -> Result<Vec<Step>, Failure> {
    let Everything { secrets, epochs, robots, seen, users, rules, people, directory, persons, logins } = everything;
    let mut steps: Vec<Step> = secrets.into_iter().map(sql::insert_secret).collect();
    steps.extend(robots.into_iter().map(sql::insert_robot));
    let epoch = "INSERT INTO dockwarden_epochs (owner, epoch) VALUES ($1, $2)";
    steps.extend(epochs.into_iter().map(|(owner, at)| Step::any(epoch, vec![owner.into(), at.into()])));
    let one = "INSERT INTO dockwarden_seen (hash, ends) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING";
    steps.extend(seen.into_iter().map(|(hash, ends)| Step::any(one, vec![hash.into(), ends.into()])));
    let user = "INSERT INTO dockwarden_users (name, version, document) VALUES ($1, $2, $3)";
    let args =
        |(name, Document { text, version }): (String, Document)| vec![name.into(), version.0.into(), text.into()];
    steps.extend(users.into_iter().map(|one| Step::any(user, args(one))));
    let all = "INSERT INTO dockwarden_records (name, version, document) VALUES ($1, $2, $3)";
    steps.extend(rules.map(|rules| Step::any(all, args(("rules".to_owned(), rules)))));
    steps.extend(directory.iter().map(sql::directory::insert_entry));
    steps.extend(persons.iter().map(sql::persons::insert_person));
    steps.extend(logins.iter().map(|(account, last)| sql::logins::note_login(account, *last)));
    steps.extend(people.described.iter().map(of_sql::insert_described));
    steps.extend(people.stars.iter().flat_map(|(service, name, account)| of_sql::insert_star(service, name, account)));
    steps.extend(people.pulls.iter().map(of_sql::insert_pull));
    Ok(steps)
}

/// All pages of a question, each behind the last one's first column.
async fn pages<T>(
    records: &SqlRecords,
    sql: &'static str,
    read: impl Fn(&Row) -> Result<T, Failure>,
) -> Result<Vec<T>, Failure> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let rows = records.page(sql, &after, PAGE).await?;
        let Some(last) = rows.last() else { return Ok(all) };
        last.text(0)?.clone_into(&mut after);
        for row in &rows {
            all.push(read(row)?);
        }
    }
}

async fn read_sql(records: &SqlRecords) -> Result<Everything, Failure> {
    let numbered = |row: &Row| Ok((row.text(0)?.to_owned(), row.integer(1)?));
    let robots =
        "SELECT name, labels, disabled, made, version FROM dockwarden_robots WHERE name > $1 ORDER BY name LIMIT $2";
    let seen = "SELECT hash, ends FROM dockwarden_seen WHERE hash > $1 ORDER BY hash LIMIT $2";
    let users = "SELECT name, version, document FROM dockwarden_users WHERE name > $1 ORDER BY name LIMIT $2";
    let rules = "SELECT name, version, document FROM dockwarden_records WHERE name = 'rules' AND name > $1 LIMIT $2";
    Ok(Everything {
        secrets: pages(records, sql::SECRETS, sql::secret_row).await?,
        epochs: records.epochs().await?,
        robots: pages(records, robots, |row| sql::robot_row(row, 0)).await?,
        seen: pages(records, seen, numbered).await?,
        users: pages(records, users, sql::named_document).await?,
        rules: pages(records, rules, sql::named_document).await?.pop().map(|(_, rules)| rules),
        people: people_of_sql(records).await?,
        directory: pages(records, sql::directory::ENTRIES, sql::directory::entry_row).await?,
        persons: pages(records, sql::persons::PERSONS, sql::persons::person_row).await?,
        logins: pages(records, sql::logins::LOGINS, numbered).await?,
    })
}

async fn people_of_sql(records: &SqlRecords) -> Result<People, Failure> {
    let star = |row: &Row| Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned(), row.text(2)?.to_owned()));
    Ok(People {
        described: records
            .all(of_sql::DESCRIBED)
            .await?
            .iter()
            .map(of_sql::repository_row)
            .collect::<Result<_, _>>()?,
        stars: records.all(of_sql::STARS).await?.iter().map(star).collect::<Result<_, Failure>>()?,
        pulls: records.all(of_sql::PULLS).await?.iter().map(of_sql::pull_row).collect::<Result<_, _>>()?,
    })
}

/// All documents of a collection.
async fn documents<T>(
    records: &MongoRecords,
    name: &'static str,
    read: impl Fn(&mongodb::bson::Document) -> Result<T, Failure>,
) -> Result<Vec<T>, Failure> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = records.page(name, after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(all) };
        after = last.get("_id").cloned();
        for document in &page {
            all.push(read(document)?);
        }
    }
}

async fn epochs_of(records: &MongoRecords) -> Result<BTreeMap<String, i64>, Failure> {
    let epochs = documents(records, mongo::EPOCHS, |document| mongo::numbered(document, "epoch", mongo::EPOCHS));
    Ok(epochs.await?.into_iter().collect())
}

async fn read_mongo(records: &MongoRecords) -> Result<Everything, Failure> {
    let rules = documents(records, mongo::DOCUMENTS, |document| match document.get("_id") {
        Some(Bson::String(id)) if id == "rules" => mongo::named_document(document, mongo::DOCUMENTS).map(Some),
        _ => Ok(None),
    });
    Ok(Everything {
        secrets: documents(records, mongo::SECRETS, mongo::secret_row).await?,
        epochs: epochs_of(records).await?,
        robots: documents(records, mongo::ROBOTS, mongo::robot_row).await?,
        seen: documents(records, mongo::SEEN, |seen| mongo::numbered(seen, "ends", mongo::SEEN)).await?,
        users: documents(records, mongo::USERS, |user| mongo::named_document(user, mongo::USERS)).await?,
        rules: rules.await?.into_iter().flatten().next().map(|(_, rules)| rules),
        people: People {
            described: documents(records, of_mongo::REPOSITORIES, of_mongo::repository_of)
                .await?
                .into_iter()
                .filter(|repository| repository.description != Description::default())
                .collect(),
            stars: documents(records, of_mongo::STARS, of_mongo::star_of).await?,
            pulls: documents(records, of_mongo::PULLS, of_mongo::pull_of).await?,
        },
        directory: documents(records, mongo::directory::DIRECTORY, mongo::directory::entry_of).await?,
        persons: documents(records, mongo::persons::PERSONS, mongo::persons::person_of).await?,
        logins: documents(records, mongo::logins::LOGINS, |login| {
            mongo::numbered(login, "last", mongo::logins::LOGINS)
        })
        .await?,
    })
}
