//! What every identity backend owes, whatever stands behind it: one table of credentials, and one of what an outage is.

pub(super) use super::owed::{ACCOUNTS, conforms};
use crate::bed::{ALICE, BOB, Bed, Caller};

const ASK: &str = "/auth?service=registry&scope=repository:pub/app:pull";

/// A server whose backend cannot answer, whatever the reason: nobody gets in through it, nobody is told that a password
/// is wrong, and the static users (the test bed's Alice and Bob) do not notice.
pub(super) async fn outage_closes_and_says_so(bed: &Bed, what: &str) {
    for (account, password) in [("carol", "carol-pw"), ("carol", "wrong"), ("dave", "x"), ("Alice", "alice-pw")] {
        let reply = bed.get(ASK).by(Caller::Account(account, password)).send().await;
        assert_eq!((reply.status, reply.code().as_str()), (503, "UNAVAILABLE"), "{what}: {account}");
        assert!(!reply.text().contains(password), "{what}: {}", reply.text());
        let form = format!("grant_type=password&service=registry&username={account}&password={password}");
        assert_eq!(bed.post("/auth", &form).send().await.status, 503, "{what}: {account} by POST");
    }
    for caller in [ALICE, BOB] {
        assert_eq!(bed.get(ASK).by(caller).send().await.status, 200, "{what}: {caller:?}");
    }
    let wrong = bed.get(ASK).by(Caller::Account("alice", "wrong")).send().await;
    assert_eq!(wrong.status, 401, "{what}: a static user's wrong password is wrong");
    assert_eq!(bed.get(ASK).send().await.status, 200, "{what}: anonymous");
}
