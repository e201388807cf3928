//! Entries that are brought in from elsewhere, all of them or none.

use super::NotDone;
use crate::access::Access;
use crate::directory::changing::NotChanged;
use crate::directory::{Directory, NewEntry, Planned};
use crate::records::directory::EntryAt;

/// What would come of bringing these in: by what the directory says of each, and whose the names of services are.
///
/// # Errors
/// Nobody could find out.
pub async fn plan(
    access: &Access,
    directory: &Directory,
    all: &[NewEntry],
) -> Result<Vec<(EntryAt, Planned)>, NotDone> {
    let mut planned = directory.plan(all).await?;
    for (new, (_, told)) in all.iter().zip(&mut planned) {
        match (new, &told) {
            (NewEntry::Service(service), Planned::New) => {
                if let Some(section) = access.account_elsewhere(&service.name).await? {
                    *told = Planned::Refused(NotChanged::Account { section });
                }
            }
            (_, Planned::New | Planned::Same | Planned::Refused(_)) => {}
        }
    }
    Ok(planned)
}
