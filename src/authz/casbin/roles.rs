//! Who has which role, and which roles those roles have.

use std::collections::{HashMap, HashSet};

use policy::Budget;
use policy::pattern::TooComplex;

/// So many steps lead from an account to the farthest of its roles. Casbin looks no farther.
const FARTHEST: usize = 10;

/// The lines of one role definition, by their domain: `""` where it has none.
#[derive(Debug, Default)]
pub(super) struct Roles(HashMap<String, HashMap<String, Vec<String>>>);

impl Roles {
    /// Adds that `name` has a role.
    pub(super) fn add(&mut self, name: &str, role: &str, domain: &str) {
        let of_domain = self.0.entry(domain.to_owned()).or_default();
        of_domain.entry(name.to_owned()).or_default().push(role.to_owned());
    }

    /// All roles that a name has in a domain, itself among them. Circles are walked once.
    pub(super) fn reached<'r>(
        &'r self,
        name: &str,
        domain: &str,
        budget: &mut Budget,
    ) -> Result<HashSet<&'r str>, TooComplex> {
        let mut reached: HashSet<&str> = HashSet::new();
        let Some(of_domain) = self.0.get(domain) else { return Ok(reached) };
        let roles_of = |name: &str| of_domain.get(name).map(Vec::as_slice).unwrap_or_default();
        let mut nearest: Vec<&str> = roles_of(name).iter().map(String::as_str).collect();
        for _ in 0..FARTHEST {
            let mut next = Vec::new();
            for role in nearest {
                budget.take(1)?;
                if reached.insert(role) {
                    next.extend(roles_of(role).iter().map(String::as_str));
                }
            }
            nearest = next;
        }
        Ok(reached)
    }
}
