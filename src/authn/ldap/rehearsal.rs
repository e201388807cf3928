//! A login of nobody: how long one takes at this directory, and whether groups are where they are looked for.

use std::time::Duration;

use super::DirectoryUsers;
use super::course::{listed, shown};
use super::directory::{Bind, Errand, Question};
use super::greeting::Reached;
use super::protocol::Depth;
use super::settings::Login;
use super::step::Step;
use super::verdict::{Failure, Verdict};
use crate::authn::Secret;
use crate::turns::Client;

impl DirectoryUsers {
    /// Goes through the questions of a login, for an account that nobody has, after servers were reached. Says how long all that
    /// took, and what could be wrong with it.
    ///
    /// # Errors
    /// A login comes to no end here: the directory does not say what it is asked, or not in time.
    pub(super) async fn rehearse(&self, reached: Reached) -> anyhow::Result<String> {
        let Reached { mut said, mut steps } = reached;
        let settings = self.directory.settings();
        let course = self.course();
        let errand = Errand { client: Client::OURSELVES, course: &course };
        let password = Secret::new(self.nobody.as_str());
        let mut remarks = Vec::new();
        match settings.login {
            // Only who has a password could go on.
            Login::User(_) => {}
            Login::Anonymous | Login::Ourselves { .. } => {
                self.find(&self.nobody, Some(&password), errand).await?;
                remarks.extend(self.lack_of_groups(&self.nobodys_name, Some(&password), errand).await?);
            }
        }
        let bind = Bind { name: &self.nobodys_name, password: &password };
        match self.directory.ask(Question::Check(bind), errand).await {
            Ok(_) => {}
            Err(Failure::Unknown(words)) => {
                remarks.push(format!("an account that is not there cannot be refused, and gets 503: {words}"));
            }
            Err(failure @ (Failure::Down(_) | Failure::Stranger(_) | Failure::Late(_) | Failure::NoTurn(_))) => {
                return Err(failure.into());
            }
        }
        steps.extend(course.steps());
        // What is connected in the background at the same time is not part of a login.
        steps.retain(|(step, _)| *step != Step::Others);
        let took: Duration = steps.iter().map(|(_, took)| *took).sum();
        let whole = match settings.login {
            Login::Anonymous | Login::Ourselves { .. } => "a login took",
            Login::User(_) => "a login, but for the searches that only its user can make, took",
        };
        said.push_str(&format!("; {whole} {} ms ({})", took.as_millis(), listed(&steps)));
        remarks.extend(self.slowness(&steps, took));
        for remark in remarks {
            said.push_str(&format!("; warning: {remark}"));
        }
        Ok(said)
    }

    /// What to do about a directory that needs more than half of the time that it has.
    fn slowness(&self, steps: &[(Step, Duration)], took: Duration) -> Vec<String> {
        let settings = self.directory.settings();
        let mut remarks = Vec::new();
        if took > settings.deadline / 2 {
            remarks.push(format!(
                "that is more than half of the {} of deadline; raise it, or look why the directory is slow",
                shown(settings.deadline)
            ));
        }
        let limit = |step: Step| match step {
            Step::Turn | Step::Others => None,
            Step::Lookup | Step::Connect | Step::StartTls | Step::Tls => {
                Some(("connect_timeout", settings.connect_within))
            }
            Step::OwnBind | Step::Look | Step::Account | Step::Groups | Step::Check => {
                Some(("timeout", settings.timeout))
            }
        };
        let slowest = steps.iter().max_by_key(|(_, took)| *took);
        if let Some((step, took)) = slowest
            && let Some((key, length)) = limit(*step)
            && *took > length / 2
        {
            remarks.push(format!("{step} took more than half of the {} of {key}; raise it", shown(length)));
        }
        remarks
    }

    /// Whether no entry at all is found where groups are looked for, whoever's they are: what to write then. `name` and
    /// `password` are of whoever searches, where users do so themselves.
    ///
    /// # Errors
    /// The directory does not say.
    pub(super) async fn lack_of_groups(
        &self,
        name: &str,
        password: Option<&Secret>,
        errand: Errand<'_>,
    ) -> Result<Option<String>, Failure> {
        let settings = self.directory.settings();
        let Some(groups) = &settings.groups else { return Ok(None) };
        let filter = groups.filter.encode_for_anybody();
        let search = self.directory.look(groups.base.clone(), Depth::Subtree, filter, Step::Groups);
        let reply = match self.search(&search, name, password, errand).await {
            Ok(reply) => reply,
            // What is wrong with it is said, and hides nothing else.
            Err(Failure::Unknown(words)) => return Ok(Some(format!("no group can be found: {words}"))),
            Err(failure @ (Failure::Down(_) | Failure::Stranger(_) | Failure::Late(_) | Failure::NoTurn(_))) => {
                return Err(failure);
            }
        };
        match (reply.verdict, reply.entries.is_empty()) {
            (Verdict::Right, false) => Ok(None),
            (Verdict::Right, true) => {
                let advice = match groups.base == settings.base {
                    true => "set group_base to where the groups are",
                    false => "see group_base and group_filter",
                };
                Ok(Some(format!("no group found below \"{}\"; {advice}", groups.base)))
            }
            (Verdict::No(words) | Verdict::Closed(words), _) => Err(super::login::not_any_more(&words)),
        }
    }
}
