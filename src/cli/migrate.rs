//! `dockwarden migrate`: what MongoDB needs before users and rules are in it, step by step.

use std::path::PathBuf;

use super::{DONE, mongo, say};
use crate::mongo::Run;
use crate::mongo::migrations::{Came, Done, Section, apply};
use crate::{authn, authz};

/// Runs the command.
pub(super) fn run(file: PathBuf, run: Run) -> u8 {
    mongo::run(async move {
        let config = mongo::load(file)?;
        let users = config.backends.get::<authn::mongo::MongoAuthSettings>();
        let users = users.map(|settings| (Section::Users, settings.collection()));
        let rules = config.backends.get::<authz::mongo::AclMongoSettings>();
        let rules = rules.map(|settings| (Section::Rules, settings.collection()));
        if users.is_none() && rules.is_none() {
            let file = config.file.display();
            return Err(format!(
                "{file}: there is neither mongo_auth nor acl_mongo in it, so there is nothing to prepare"
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
        Ok(DONE)
    })
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
