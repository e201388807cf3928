//! What a file's tests of the policy are read with.

use std::path::PathBuf;
use std::sync::Arc;

use settings::files::read_document;
use settings::{Findings, Invalid, Reading, Secrets, yaml};

use super::token::ServicesFrom;
use super::{Config, Token};
use crate::authz::rules::Rules;
use crate::authz::standard::StandardRules;
use crate::backend::{Backends, Facts};
use crate::policy_tests::{Comments, NAME, Read, Tests, read};

/// What tests are read with that stand beside these sections.
pub(super) fn read_with<'a>(token: Option<&'a Token>, backends: &Backends, file: Option<PathBuf>) -> Read<'a> {
    let is_elsewhere = backends.facts().any(|(_, facts)| match facts {
        Facts::RulesElsewhere | Facts::Decisions => true,
        Facts::Rules | Facts::Accounts(_) | Facts::AccountsElsewhere(_) | Facts::LoginsElsewhere(_) => false,
    });
    let comments = match is_elsewhere {
        true => Comments::Any,
        false => {
            let own = backends.get::<Rules>().into_iter().flat_map(|rules| rules.acl.rules());
            let own = own.filter_map(|rule| rule.comment()).map(Arc::from);
            let standard = backends.get::<StandardRules>().into_iter().flat_map(|standard| standard.rules());
            Comments::These(own.chain(standard.filter_map(|rule| rule.comment.map(Arc::from))).collect())
        }
    };
    let other_services = token.is_none_or(|token| match token.services_from {
        ServicesFrom::Token => false,
        ServicesFrom::Registries => true,
    });
    Read { services: token.map(|token| token.services.as_slice()).unwrap_or_default(), other_services, comments, file }
}

impl Config {
    /// Reads a file that holds a list of tests as under `tests:`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read_tests(&self, file: PathBuf) -> Result<Tests, Invalid> {
        let invalid = |problems| Invalid { file: file.clone(), problems };
        let text = read_document(&file).map_err(|problem| invalid(vec![problem]))?;
        let root = yaml::parse(&text).map_err(|problem| invalid(vec![problem]))?;
        let reading = Reading::default();
        let with = read_with(Some(&self.token), &self.backends, Some(file.clone()));
        let tests = read(&reading.field(&root, NAME, Secrets::Skip), &with);
        let Findings { problems, .. } = reading.into_findings();
        match problems.is_empty() {
            true => Ok(tests),
            false => Err(invalid(problems)),
        }
    }
}
