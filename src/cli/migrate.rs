//! `dockwarden migrate`: what a database needs before users, rules and records are in it, step by step.

use std::path::PathBuf;

use super::{DONE, mongo, say};
use crate::mongo::Run;
use crate::mongo::migrations::{Came, Done, Section, apply};
use crate::sql::xorm::Table;
use crate::{authn, authz, records};

/// Runs the command.
pub(super) fn run(file: PathBuf, run: Run) -> u8 {
    mongo::run(async move {
        let config = mongo::load(file)?;
        let users = config.backends.get::<authn::mongo::MongoAuthSettings>();
        let users = users.map(|settings| (Section::Users, settings.collection()));
        let rules = config.backends.get::<authz::mongo::AclMongoSettings>();
        let rules = rules.map(|settings| (Section::Rules, settings.collection()));
        let tables = [
            config.backends.get::<authn::sql::XormAuthSettings>().map(|users| (Table::Users, users.database())),
            config.backends.get::<authz::sql::AclXormSettings>().map(|rules| (Table::Rules, rules.database())),
        ];
        if users.is_none() && rules.is_none() && config.records.is_none() && tables.iter().all(Option::is_none) {
            let file = config.file.display();
            return Err(format!(
                "{file}: there is neither mongo_auth nor acl_mongo nor xorm_auth nor acl_xorm nor records in it, so there is \
                 nothing to prepare"
            ));
        }
        for (section, settings) in users.into_iter().chain(rules) {
            let place = settings.namespace();
            // A step that was made is made, whether anybody reads of it or not.
            let tell = |done: Done| {
                say(&line(&place, &done), DONE);
            };
            apply(section, settings, run, tell).await.map_err(|stopped| stopped.to_string())?;
        }
        for (table, settings) in tables.into_iter().flatten() {
            let made = table.prepare(settings, run == Run::Dry).await.map_err(|failure| {
                format!("{failure}; the table {} needs a user who may make it, once", table.name())
            })?;
            say(&format!("{}: the table {}: {}\n", settings.place(), table.name(), came(made, run)), DONE);
        }
        if let Some(settings) = &config.records {
            let made = records::migrate(settings, run == Run::Dry).await.map_err(|failure| failure.to_string())?;
            say(&format!("{}: records: {}\n", settings.place(), came(made, run)), DONE);
        }
        Ok(DONE)
    })
}

fn came(made: bool, run: Run) -> &'static str {
    match (made, run) {
        (true, Run::Real) => "applied",
        (true, Run::Dry) => "would be applied",
        (false, Run::Real | Run::Dry) => "already there",
    }
}

fn line(place: &str, done: &Done) -> String {
    let Done { migration, makes, came } = done;
    let came = match came {
        Came::Applied => "applied".to_owned(),
        Came::WouldApply => "would be applied".to_owned(),
        Came::WouldTry => "would be applied, if the server supports it".to_owned(),
        Came::AlreadyThere => "already there".to_owned(),
        Came::Skipped(why) => format!("skipped: {why}"),
    };
    let migration = if migration.is_empty() { "migration" } else { migration };
    format!("{place}: {migration}: {makes}: {came}\n")
}
