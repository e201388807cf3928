//! Forms that make a secret: each has a random text of its own, by which it is known that it was sent before. A secret is shown once, and
//! a browser whose button is pressed twice shows the second answer.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use time::OffsetDateTime;

use super::frame::Problem;
use super::sign_in::use_up;
use crate::http::visit::Visit;
use crate::random;
use crate::secrets::Lasting;

/// What the text is called in a form.
pub(super) const ONCE: &str = "once";

/// What is done about a secret that nobody has seen.
pub(super) const ANOTHER: &str = "revoke it in the list, and make another";

/// A form's own text.
///
/// # Errors
/// The system gave no random bytes.
pub(super) fn fresh() -> Result<String, Problem> {
    let bytes = random::bytes::<16>().map_err(|cause| Problem::Unavailable(cause.into()))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Whether a form with this text was sent before, to any replica, within a day. From now on it was. Of one without a text, nobody knows.
///
/// # Errors
/// Nobody can tell.
pub(super) async fn was_sent(
    visit: &Visit<'_>,
    lasting: &Lasting,
    (what, once): (&str, Option<&str>),
    now: OffsetDateTime,
) -> Result<bool, Problem> {
    let Some(once) = once else { return Ok(false) };
    match use_up(visit, lasting, (what, once), time::Duration::DAY, now).await {
        Ok(()) => Ok(false),
        Err(Problem::Flow(_)) => Ok(true),
        Err(problem) => Err(problem),
    }
}
