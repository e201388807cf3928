//! The labels that the directory gives whoever comes in, at every door and once an answer.

use std::sync::Arc;

use super::{Access, Counted, Denied};
use crate::authn::Identity;
use crate::authn::password::Passwords;
use crate::directory::{self, Directory, ServiceLogins};
use crate::metrics::{BackendOutcome, Metrics};

impl Access {
    /// The same with a directory. Its services log in before all others.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub fn with_directory(
        mut self,
        directory: Arc<Directory>,
        passwords: &Arc<Passwords>,
        metrics: &Metrics,
    ) -> anyhow::Result<Access> {
        use BackendOutcome::{Accepted, Error, NotMine, Rejected};
        if directory.has_services() {
            let backend = Arc::new(ServiceLogins::new(Arc::clone(&directory), Arc::clone(passwords))?);
            let metrics = metrics.backend(directory::NAME, &[Accepted, Rejected, NotMine, Error]);
            self.authn.insert(0, Counted { name: directory::NAME, backend, metrics });
        }
        Ok(Access { directory: Some(directory), ..self })
    }

    /// The directory, where there is one.
    pub fn directory(&self) -> Option<&Arc<Directory>> {
        self.directory.as_ref()
    }

    /// The same person, with the labels that the directory gives.
    ///
    /// # Errors
    /// [`Denied::Unavailable`] where nobody knows what it says now.
    pub fn in_directory(&self, who: Identity) -> Result<Identity, Denied> {
        let Some(directory) = &self.directory else { return Ok(who) };
        directory.labelled(who).map_err(|cause| Denied::Unavailable { backend: directory::NAME, cause })
    }
}
