//! Tests of the policy as a gate before rules in SQL tables.

use super::{file, filled, granted, may, on_each_at_once};
use crate::support::dockwarden::{Dockwarden, events, logged, password};
use crate::support::process::until;

/// Check 6 of the tests of the policy: rows that would fail one leave the last good rules in use, and are named; other sections are
/// tested together with them.
#[test]
fn check_6_a_row_that_breaks_a_test_leaves_the_last_good_rules_in_use() {
    on_each_at_once(|product| {
        let tables = filled(product);
        let sections = tables.sections(&tables.conn_string, ", cache_ttl: 1s");
        let tests = "tests:\n  - {name: nobody pushes what is open, as: bob, ask: \"repository:open/a:pull,push\", want: [pull]}\n  - {name: teams, as: carol, labels: {team: [web]}, ask: \"repository:web/a:push\", want: [push], rule: teams}\n";
        let server = Dockwarden::start(&file(&format!("{sections}{tests}")));
        let open = || granted(&server, "bob", &password("bob"), "repository:open/a:pull,push");
        until("the first rules", || (open() == may("bob", &["pull"])).then_some(()));
        tables.rule(Some(1), Some(r#"{"match": {"name": "open/*"}, "actions": ["pull", "push"]}"#));
        server.process.until("the test in the log", |process| {
            let log = process.log();
            (log.contains("\"rules_refused\"") && log.contains("\"test\":\"nobody pushes what is open\"")).then_some(())
        });
        assert_eq!(open(), may("bob", &["pull"]), "{product:?}");
        let used = events(&server.process.log(), "new rules are in use").len();
        // Once it is mended, what else is new comes in with it.
        tables.run("DELETE FROM xorm_acl_entry WHERE seq = 1");
        tables.rule(Some(2), Some(r#"{"match": {"account": "bob", "name": "mine"}, "actions": ["pull"]}"#));
        until("the rules that pass", || {
            let mine = granted(&server, "bob", &password("bob"), "repository:mine:pull");
            (mine == may("bob", &["pull"])).then_some(())
        });
        logged(&server.process, "new rules are in use", used + 1);
        // A rule that others name by its comment is missed as well.
        tables.run("DELETE FROM xorm_acl_entry WHERE seq = 20");
        server
            .process
            .until("the other test in the log", |process| process.log().contains("\"test\":\"teams\"").then_some(()));
    });
}
