//! The catalogue at work in the background: that of whichever configuration is in use.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::{App, Snapshot};

/// How often is looked whether another configuration is in use.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Works on events and sweeps registries, until it is dropped. What another configuration interrupts goes on with that one.
pub async fn look_after_catalogue(app: Arc<App>) {
    let (mut generation, mut tasks) = (0, JoinSet::new());
    loop {
        let snapshot = app.snapshot();
        if snapshot.generation != generation {
            generation = snapshot.generation;
            tasks.abort_all();
            while tasks.join_next().await.is_some() {}
            if let Some(catalogue) = &snapshot.catalogue {
                tasks.spawn(Arc::clone(catalogue).work());
                tasks.spawn(Arc::clone(catalogue).sweep_all());
            }
        }
        snapshot.follow_directory();
        drop(snapshot);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl Snapshot {
    /// Has the catalogue go on with the registries that the directory has now, those of the records too. While nobody knows which
    /// they are, it goes on with those before.
    pub fn follow_directory(&self) {
        if let (Some(catalogue), Some(directory)) = (&self.catalogue, self.access.directory())
            && let Ok(view) = directory.view()
        {
            catalogue.follow(view.registries());
        }
    }
}
