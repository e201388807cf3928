//! What is done about secrets while nobody waits for it: their uses are written down, what ended long ago is forgotten, and the log
//! says what will end soon.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use tracing::warn;

use super::App;
use super::overview::{self, EndingSecrets};
use crate::metrics::Metrics;
use crate::records::{Day, Owner, SecretKind};
use crate::secrets::{Lasting, robot_account};

/// How often uses are written. What a crash loses is not older.
const WRITE_EVERY: Duration = Duration::from_secs(30);
/// How often the rest is done, counted in the former: once in six hours, and soon after the start.
const REST_EVERY: u32 = 720;
/// How long secrets are kept that ended, so that people can see what became of them.
const KEPT_AFTER: time::Duration = time::Duration::days(30);
/// How long sessions are: there are as many as jobs.
const SESSIONS_KEPT_AFTER: time::Duration = time::Duration::days(1);
/// How long it is known on which days a rule decided.
const RULE_USES_KEPT: time::Duration = time::Duration::days(400);
/// How long before the last secret of an owner ends the log says so.
const AHEAD: time::Duration = time::Duration::days(14);
/// At most so many secrets that end soon have a line each; how many more there are stands in one.
const MOST_LINES: usize = 50;

/// Looks after the secrets of whichever configuration is in use, until it is dropped.
pub async fn look_after_secrets(app: Arc<App>) {
    let mut round: u32 = 0;
    loop {
        tokio::time::sleep(WRITE_EVERY).await;
        write_uses(&app).await;
        if round.is_multiple_of(REST_EVERY)
            && let Some(lasting) = app.snapshot().access.lasting()
        {
            #[expect(clippy::disallowed_methods, reason = "this is done at this moment, for no request")]
            let now = OffsetDateTime::now_utc();
            tidy(lasting, &app.metrics, now).await;
            look_at_ending(&app, lasting, now).await;
            forget_rule_uses(&app, now).await;
        }
        round = round.wrapping_add(1);
    }
}

/// Takes over the passwords that docker_auth gave people, until it is dropped; whoever logs in with one earlier does not wait for this.
pub async fn take_over_passwords(app: Arc<App>) {
    loop {
        for (_, people) in app.snapshot().access.sign_ins() {
            people.take_over().await;
        }
        tokio::time::sleep(WRITE_EVERY).await;
    }
}

/// Remembers which secrets end soon, for people who look.
async fn look_at_ending(app: &App, lasting: &Lasting, now: OffsetDateTime) {
    match lasting.ending(now + overview::AHEAD, now).await {
        Ok(all) => {
            let ending = EndingSecrets::of(all, crate::clock::now());
            *app.ending.lock().unwrap_or_else(PoisonError::into_inner) = ending;
        }
        Err(cause) => tracing::debug!(cause = %cause, "nobody looked which secrets end soon"),
    }
}

async fn forget_rule_uses(app: &App, now: OffsetDateTime) {
    if let Some(in_use) = &app.snapshot().records
        && let Err(cause) = in_use.records.forget_rule_uses(Day::of(now - RULE_USES_KEPT)).await
    {
        tracing::debug!(cause = %cause, "old uses of rules were not forgotten");
    }
}

/// Tells the collector, where the configuration names one, until it is dropped.
pub async fn tell_collector(app: Arc<App>) {
    if let Some(telemetry) = app.telemetry() {
        let numbers = || {
            #[expect(clippy::disallowed_methods, reason = "the numbers are of this moment, and of no request")]
            let now = OffsetDateTime::now_utc();
            app.metrics_text(now).ok()
        };
        telemetry.send(numbers).await;
    }
}

/// Writes down the uses of secrets and rules, and the logins, that were noted. When the server stops, it does so once more.
pub async fn write_uses(app: &App) {
    if let Some(lasting) = app.snapshot().access.lasting()
        && let Err(cause) = lasting.write_uses().await
    {
        // They are written the next time, or are not in a list: nothing else hangs on them.
        tracing::debug!(cause = %cause, "the last uses of secrets could not be written down");
    }
    let snapshot = app.snapshot();
    if let (Some(used), Some(in_use)) = (snapshot.access.used_rules(), &snapshot.records)
        && let Err(cause) = used.write(&*in_use.records).await
    {
        tracing::debug!(cause = %cause, "which rules decided could not be written down");
    }
    if let (Some(noted), Some(in_use)) = (snapshot.access.noted_logins(), &snapshot.records)
        && let Err(cause) = noted.write(&*in_use.records).await
    {
        tracing::debug!(cause = %cause, "who logged in could not be written down");
    }
}

fn kept_after(kind: SecretKind) -> time::Duration {
    match kind {
        SecretKind::Session => SESSIONS_KEPT_AFTER,
        SecretKind::Personal | SecretKind::Robot | SecretKind::Refresh => KEPT_AFTER,
    }
}

async fn tidy(lasting: &Lasting, metrics: &Metrics, now: OffsetDateTime) {
    let found = async {
        for kind in SecretKind::ALL {
            lasting.forget(kind, now - kept_after(kind)).await?;
        }
        lasting.ending(now + AHEAD, now).await
    };
    match found.await {
        Ok(ending) => {
            metrics.secrets_end_soon(ending.len());
            for kept in ending.iter().take(MOST_LINES) {
                let owner = match &kept.owner {
                    Owner::Account { account, .. } | Owner::Workload { account, .. } => account.to_string(),
                    Owner::Robot { name, .. } => robot_account(name).map(|robot| robot.to_string()).unwrap_or_default(),
                };
                warn!(
                    reason = "secret_ends_soon",
                    user.account = owner,
                    secret.id = &*kept.id.0,
                    secret.name = kept.name,
                    not_after = kept.ends.map(tracing::field::display),
                    "a secret ends soon, and its owner has no other: renew it (dockwarden token renew)"
                );
            }
            if ending.len() > MOST_LINES {
                warn!(reason = "secret_ends_soon", secrets = ending.len() - MOST_LINES, "more secrets end soon");
            }
        }
        Err(cause) => tracing::debug!(cause = %cause, "the records were not tidied up"),
    }
}

#[cfg(test)]
mod tests {
    use crate::identity::{Account, IdentifiedBy, Identity, LookUp, Method};
    use crate::records::{InUse, Limits, Settings};
    use crate::secrets::{Expires, New};

    use super::*;

    #[tokio::test]
    async fn how_many_secrets_end_soon_is_measured() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let in_use = InUse::open(Settings::sqlite(directory.path().join("dockwarden.db")));
        in_use.prepare().await?;
        let lasting = Lasting::new(in_use.records, crate::secrets::Settings::default(), Arc::default());
        let (metrics, now) = (Metrics::default(), OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000));
        let owner = || -> anyhow::Result<LookUp> {
            let by = Some(IdentifiedBy { backend: "users", method: Method::LookUp, credential: None });
            Ok(LookUp::Known(Identity { account: Some(Account::parse("alice")?), by, ..Identity::default() }))
        };
        for (days, expected) in [(90, 0), (13, 1), (15, 1), (1, 2)] {
            let expires = Some(Expires::In(Duration::from_secs(days * 24 * 3600)));
            let new = New { name: format!("{days}"), expires, limits: Limits::default(), maker: None };
            lasting.make_personal(owner()?, new, now).await?;
            tidy(&lasting, &metrics, now).await;
            assert_eq!(metrics.secrets_ending(), expected, "{days}");
        }
        Ok(())
    }
}
