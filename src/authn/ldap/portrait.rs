//! What an administrator is shown of an account: whom the directory finds, and what a login would make of it.

use super::DirectoryUsers;
use super::directory::Errand;
use super::filter::Filling;
use super::labels::{LabelRule, LabelSource};
use super::login::Found;
use super::verdict::Verdict;
use crate::authn::{Account, Secret};
use crate::turns::Client;

/// What an administrator is shown of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Portrait {
    /// The filter that the directory was sent.
    pub filter: String,
    /// Whom it finds.
    pub found: Found,
    /// Label names and values, where somebody was found.
    pub labels: Vec<(String, Vec<String>)>,
    /// What the directory says to the password, where one was given and somebody was found.
    pub password: Option<Verdict>,
    /// What is wrong with where groups are looked for, if nobody at all would have any.
    pub groups: Option<String>,
}

impl DirectoryUsers {
    /// Looks an account up by the steps of a login, and says what came of each.
    ///
    /// # Errors
    /// The directory does not say.
    pub async fn portrait(&self, account: &str, password: Option<&Secret>) -> anyhow::Result<Portrait> {
        let course = self.course();
        let errand = Errand { client: Client::OURSELVES, course: &course };
        let found = match Account::parse(account) {
            Ok(account) => self.find(&account, password, errand).await?,
            Err(_) => Found::Nobody,
        };
        let (mut labels, mut verdict, mut groups) = (Vec::new(), None, None);
        if let Found::One(person) = &found {
            if let Some(password) = password {
                verdict = Some(self.check(person, password, errand).await?);
            }
            match verdict {
                Some(Verdict::No(_) | Verdict::Closed(_)) => {}
                Some(Verdict::Right) | None => {
                    labels = self.labels(person, password, errand).await?;
                    let rules = self.directory.settings().labels.iter().zip(&labels);
                    let is_in_one = |(rule, (_, values)): (&LabelRule, &(String, Vec<String>))| match rule.from {
                        LabelSource::Groups => !values.is_empty(),
                        LabelSource::Entry => false,
                    };
                    if !rules.into_iter().any(is_in_one) {
                        groups = self.lack_of_groups(person.name(), password, errand).await?;
                    }
                }
            }
        }
        let filter = self.directory.settings().filter.text(Filling { account, name: "" });
        Ok(Portrait { filter, found, labels, password: verdict, groups })
    }
}
