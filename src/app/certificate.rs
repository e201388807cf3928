//! What the log says of the signing certificate: that it was changed, soon ends, or is out of its time.

use time::OffsetDateTime;
use tracing::{error, info, warn};

use super::Snapshot;
use crate::keys::day;
use crate::token::{CertificateTime, HeaderChoice};

/// Says that tokens are signed by another pair from now on. Whoever renewed it, perhaps a program, may not know that no
/// registry takes them before it was told.
pub(super) fn warn_of_other_pair(before: &Snapshot, now: &Snapshot) {
    let (old, new) = (before.issuer.key(), now.issuer.key());
    // In one form: which form the id has is a setting, and no matter of the pair.
    let [old_id, new_id] = [old, new].map(|key| now.issuer.kid_of(key));
    if let (Some(_), Some(ends)) = (before.issuer.leaf_ends(), now.issuer.leaf_ends())
        && old.certificates().first() != new.certificates().first()
    {
        info!(
            reason = "leaf_changed",
            kid.before = old_id,
            kid.now = new_id,
            not_after = day(ends),
            "tokens are signed by another leaf of the authority from now on; registries that trust the authority go on"
        );
        return;
    }
    let message = match (old_id == new_id, old.certificates().first() == new.certificates().first()) {
        (true, true) => return,
        (false, _) => {
            "tokens are signed by another key from now on, and registries read their bundle only when they start: each of them \
             refuses every token until its bundle (REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE) or JWK set holds the new one and it was \
             started anew; those whose bundle held the new certificate, or its authority's, when they started go on"
        }
        (true, false) => {
            "tokens carry another certificate of the same key from now on, and registries read their bundle only when they \
             start, and do not take a certificate for its key: each of them refuses every token until its bundle \
             (REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE) holds the new one and it was started anew; those whose bundle held it, or its \
             authority's, when they started go on"
        }
    };
    warn!(reason = "signing_pair_changed", kid.before = old_id, kid.now = new_id, "{message}");
}

/// Says what is wrong with the signing certificate, or soon will be. When a configuration is taken over, the same is
/// among its warnings already.
pub fn remind_of_certificate(snapshot: &Snapshot, now: OffsetDateTime) {
    for warning in snapshot.issuer.key().warnings(now) {
        warn!(reason = "certificate", not_after = day(snapshot.issuer.key().not_after()), "{warning}");
    }
    warn_of_fallback(snapshot, now);
}

/// Says loudly that tokens end with the leaf that signs them.
fn warn_of_cut(snapshot: &Snapshot, now: OffsetDateTime) {
    if let Some(ends) = snapshot.issuer.leaf_ends()
        && snapshot.mint.is_cut_short(now)
    {
        error!(
            reason = "tokens_cut_short",
            not_after = day(ends),
            "the leaf that signs tokens ends before they would: they end with it, and then none is made any more; renew it with \
             `dockwarden keys issue-leaf CONFIG` where the authority's key is"
        );
    }
}

/// Says loudly that registries would refuse the certificate at this moment.
pub(super) fn warn_of_fallback(snapshot: &Snapshot, now: OffsetDateTime) {
    warn_of_cut(snapshot, now);
    let message = match snapshot.issuer.header_form_at(now) {
        HeaderChoice::Configured(_) => return,
        HeaderChoice::KidInstead(_) if snapshot.issuer.leaf_ends().is_some() => {
            "the leaf that signs tokens is out of its time: registries refuse it, so no token is made; put a new leaf in place, for \
             example with `dockwarden keys issue-leaf CONFIG` where the authority's key is"
        }
        HeaderChoice::KidInstead(CertificateTime::NotYetValid) => {
            "the signing certificate's time has not begun by this machine's clock, so tokens name the key by kid alone, \
             which only registries take that know the key by this id; set the clock, or make the certificate anew if \
             the clock is right"
        }
        HeaderChoice::KidInstead(CertificateTime::Expired) => {
            "the signing certificate is out of its time: registries refuse it, so tokens name the key by kid alone, which \
             only registries take that know the key by this id; put a new certificate in place, here and in the \
             registries' bundle"
        }
    };
    error!(
        reason = "certificate_out_of_time",
        not_before = day(snapshot.issuer.key().not_before()),
        not_after = day(snapshot.issuer.key().not_after()),
        "{message}"
    );
}
