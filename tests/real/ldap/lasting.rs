//! Secrets of a directory's accounts: what changes there holds for them at once, and when it is away nothing is ended.

use super::*;

/// Checks 10, 12 and 13 of lasting tokens, at a directory.
#[test]
fn checks_10_12_and_13_a_refresh_token_has_the_labels_and_the_standing_of_now() {
    let slapd = Slapd::start();
    let records = scratch::directory("records").join("dockwarden.db");
    let lasting = format!("records: {{sqlite: \"{}\"}}\nlasting: {{refresh: true}}\n", records.display());
    let server = Dockwarden::start_file(&file(&(patient(&slapd.address(), LABELS) + &lasting)));
    let dn = person("alice");
    let change = |what: &str| slapd.change(&format!("dn: {dn}\nchangetype: modify\n{what}\n"));
    // Long ago, so that no other change of it is within the same second.
    change("replace: pwdChangedTime\npwdChangedTime: 20200101000000Z");
    let login = |uid: &str| {
        let target = "/auth?service=Docker%20registry&offline_token=true&client_id=docker";
        let asked =
            http::request("GET", target, &server.host(), &[("Authorization", &visit::basic(uid, &password(uid)))], b"");
        let reply = http::exchange(&server.host(), &asked);
        reply.json()["refresh_token"].as_str().unwrap_or_else(|| panic!("{}", reply.text())).to_owned()
    };
    let token = login("alice");
    let asks = |scope: &str| granted(&server, "<token>", &token, scope);
    let (developers, team) = ("repository:developers/x:push", "repository:team-web/x:push");
    assert_eq!(asks(developers), granted(&server, "alice", &password("alice"), developers));
    let all = asks(developers).unwrap();
    slapd.change(&format!("dn: cn=Developers,{GROUPS}\nchangetype: modify\ndelete: member\nmember: {dn}\n"));
    assert_ne!(asks(developers).unwrap(), all, "check 12: the group's rights are gone");
    asks(team).unwrap();

    // Away: 503, and nothing is ended by it.
    slapd.kill();
    assert_eq!(asks(team), Err(503));
    slapd.restart();
    until("an answer", || asks(team).ok());

    // Locked for good, and not any more.
    change("add: pwdAccountLockedTime\npwdAccountLockedTime: 000001010000Z");
    assert_eq!(asks(team), Err(401));
    change("delete: pwdAccountLockedTime");
    asks(team).unwrap();
    // Another password.
    change("replace: userPassword\nuserPassword: new");
    assert_eq!(asks(team), Err(401));
    // Removed, and made anew.
    let bob = login("longest");
    granted(&server, "longest", &bob, team).unwrap();
    slapd.change(&format!("dn: {}\nchangetype: delete\n", person("longest")));
    assert_eq!(granted(&server, "", &bob, team), Err(401));
    slapd.change(&crate::support::slapd::somebody("longest", &[]));
    granted(&server, "longest", &password("longest"), team).unwrap();
    assert_eq!(granted(&server, "", &bob, team), Err(401), "another entry of the same name");
    server.process.keeps_secrets();
}
