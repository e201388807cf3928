//! The commands of administrators on docker_auth's SQL tables, beside a server that may only read them.

use std::path::PathBuf;

use super::{ask, file, filled, granted, may};
use crate::admin::{comments, run, run_with, seqs};
use crate::support::dockwarden::{Dockwarden, hash, password, program};
use crate::support::part::{self, Said};
use crate::support::process::until;
use crate::support::scratch;
use crate::support::sql::{Product, Tables};

/// The cheapest hash: what these tests are about is not its strength.
const COST: [&str; 2] = ["--cost", "4"];

/// The file of who may do everything in this database.
fn of_admin(tables: &Tables) -> PathBuf {
    let text = file(&tables.sections(&tables.admin_conn_string(), ", cache_ttl: 1s"));
    scratch::write(&scratch::directory("sql"), "admin.yml", &text)
}

fn add(config: &std::path::Path, name: &str, more: &[&str], password: &str) -> Said {
    run_with("user add", config, &[&[name][..], &COST, more].concat(), password)
}

#[test]
fn each_command_on_users_does_the_same_on_each_database() {
    for product in Product::ALL {
        let tables = filled(product);
        let (server, config) = (super::server(&tables), of_admin(&tables));
        let login = |account: &str, password: &str| ask(&server, account, password, "").status;
        let said = |said: Said, expected: &str| assert_eq!(said.well().text, expected, "{product:?}");
        let fox = "it's \\ ö 🦊";
        said(
            run("user list", &config, &[]),
            &format!(
                "alice       enabled   none=[] team=[web, api-*]\nbob         enabled   no labels\n{fox}  enabled   no labels\n"
            ),
        );
        assert_eq!(login("carol", "one"), 401, "{product:?}");
        said(
            add(&config, "carol", &["--label", "team=web,ö"], "one"),
            "carol: added, enabled, team=[web, ö], password bcrypt ($2b$), cost 4\n",
        );
        assert_eq!(granted(&server, "carol", "one", "repository:web/a:pull"), may("carol", &["pull"]), "{product:?}");
        add(&config, "carol", &[], "two").refused(&["there is a user \"carol\" in the"]);
        // Somebody else, on each database.
        said(add(&config, "CAROL", &[], "other"), "CAROL: added, enabled, no labels, password bcrypt ($2b$), cost 4\n");
        said(run("user label", &config, &["carol", "team-=web"]), "carol: team=[web, ö] -> team=[ö]\n");
        assert_eq!(granted(&server, "carol", "one", "repository:web/a:pull"), may("carol", &[]), "{product:?}");
        said(
            run_with("user passwd", &config, &["carol", "--cost", "5"], "new\n"),
            "carol: new password, bcrypt ($2b$), cost 4 -> bcrypt ($2b$), cost 5\n",
        );
        assert_eq!((login("carol", "one"), login("carol", "new"), login("CAROL", "other")), (401, 200, 200));
        said(run("user label", &config, &["carol", "team="]), "carol: team=[ö] -> no labels\n");
        let labels = tables.texts("SELECT CAST(labels AS CHAR(20)) FROM xorm_user WHERE username = 'carol'");
        assert!(labels.contains(&None), "{product:?}: {labels:?}");
        said(
            run_with("user passwd", &config, &[fox, "--cost", "5"], "ö\n"),
            &format!("{fox}: new password, bcrypt ($2y$), cost 4 -> bcrypt ($2b$), cost 5\n"),
        );
        assert_eq!(login(fox, "ö"), 200, "{product:?}");

        // What the table has no column for is refused, and changes nothing.
        let column = "has no column for disabled";
        run("user disable", &config, &["carol"]).refused(&[column]);
        add(&config, "dave", &["--disabled"], "x").refused(&[column]);
        said(run("user enable", &config, &["carol"]), "carol: nothing changes, enabled\n");
        let one = hash("one");
        let people = format!(
            "users:\n  dave: {{password: \"{one}\"}}\n  off: {{password: \"{one}\", disabled: true}}\n  late: {{password: \"{one}\", not_before: 2020-01-01}}\nacl: []\n"
        );
        for how in [&[][..], &["--dry-run"], &["--replace"]] {
            let refused = run_with("user import", &config, &[&["-"][..], how].concat(), &people).refused(&[column]);
            assert!(refused.text.contains("no column for not_before") && refused.stdout.is_empty(), "{}", refused.text);
        }
        assert_eq!(login("dave", "one"), 401, "{product:?}");
        let people = format!("dave:{one}\nbob:{one}\n");
        run_with("user import", &config, &["-"], &people)
            .refused(&["1 of these users is in", "bob; nothing was changed"]);
        let imported = run_with("user import", &config, &["-", "--replace"], &people).well();
        assert!(imported.stdout.ends_with("2 users changed\n"), "{product:?}: {}", imported.text);
        assert_eq!((login("dave", "one"), login("bob", "one"), login("bob", &password("bob"))), (200, 200, 401));
        let long = "x".repeat(129);
        match product {
            Product::Postgres | Product::MariaDb => {
                drop(add(&config, &long, &[], "x").refused(&["holds no more than 128"]));
            }
            Product::Sqlite => drop(add(&config, &long, &[], "x").well()),
        }

        // Of two rows, the newest is the user; and who is removed does not come back as an older one.
        tables.user("alice", &hash("newest"), Some(r#"{"team": ["db"]}"#));
        let show = run("user show", &config, &["alice"]).well();
        assert!(show.text.contains("labels    team=[db]\n"), "{product:?}: {}", show.text);
        said(run("user remove", &config, &["alice"]), "alice: removed; it was enabled, team=[db]\n");
        assert_eq!((login("alice", "newest"), login("alice", &password("alice"))), (401, 401), "{product:?}");
        said(run("user remove", &config, &["carol"]), "carol: removed; it was enabled, no labels\n");
        assert_eq!((login("carol", "new"), login("CAROL", "other")), (401, 200), "{product:?}");
        run("user remove", &config, &["carol"]).refused(&["there is no user \"carol\" in the"]);

        // One that is of no use can be looked at, mended, and removed.
        tables.user("text", &hash("text"), Some(r#"{"team": "web"}"#));
        let show = run("user show", &config, &["text"]).well();
        let expected = "problem   labels.team: a list of texts is expected here, not a text";
        assert!(show.text.contains("state     unusable\n") && show.text.contains(expected), "{}", show.text);
        run_with("user passwd", &config, &["text", "--cost", "4"], "mended").well();
        assert_eq!(login("text", "mended"), 503, "{product:?}");
        run("user label", &config, &["text", "team=web"]).well();
        assert_eq!(login("text", "mended"), 200, "{product:?}");
    }
}

#[test]
fn each_command_on_rules_does_the_same_on_each_database() {
    for product in Product::ALL {
        let tables = filled(product);
        let (server, config) = (super::server(&tables), of_admin(&tables));
        let holds = |name: &str, actions: &[&str]| {
            let scope = format!("repository:{name}:pull,push");
            until("the rules as they are", || {
                (granted(&server, "alice", &password("alice"), &scope) == may("alice", actions)).then_some(())
            });
        };
        let said = |said: Said, expected: &str| assert_eq!(said.well().text, expected, "{product:?}");
        let at_first = "    -5  account=\"local\" -> *\n    10  account=\"mallory\" -> nothing\n    20  name=\"${labels:team}/*\" -> pull,push  # teams\n    30  type=\"repository\" name=\"open/*\" -> pull\n";
        said(run("acl list", &config, &[]), at_first);
        holds("web/a", &["pull", "push"]);
        said(
            run("acl add", &config, &["--name", "web/*", "--actions", "", "--comment", "frozen, ö", "--before", "20"]),
            "+     15  name=\"web/*\" -> nothing  # frozen, ö\n",
        );
        holds("web/a", &[]);
        said(
            run("acl move", &config, &["15", "--after", "20"]),
            "-     15  name=\"web/*\" -> nothing  # frozen, ö\n+     25  name=\"web/*\" -> nothing  # frozen, ö\n",
        );
        holds("web/a", &["pull", "push"]);
        // Others make room: they are written as they were, in whatever words.
        tables.run("UPDATE xorm_acl_entry SET seq = 26 WHERE seq = 30");
        said(
            run(
                "acl add",
                &config,
                &["--name", "late/*", "--actions", "pull", "--not-after", "2999-01-01T00:00:00Z", "--after", "25"],
            ),
            "  seq 26 -> 40, to make room\n+     30  name=\"late/*\" -> pull  not_after 2999-01-01T00:00:00Z\n",
        );
        let entries = tables.texts("SELECT TRIM(CAST(acl_entry AS CHAR(200))) FROM xorm_acl_entry WHERE seq = 40");
        let word = r#"{"Match": {"Type": "repository", "Name": "open/*"}, "Actions": ["pull"], "Comment": null}"#;
        assert_eq!(entries, [Some(word.to_owned())], "{product:?}");
        holds("late/a", &["pull"]);
        said(run("acl remove", &config, &["25"]), "-     25  name=\"web/*\" -> nothing  # frozen, ö\n");
        run("acl add", &config, &["--name", "x", "--actions", "pull", "--seq", "20"]).refused(&["the seq 20 is taken"]);
        run("acl remove", &config, &["99"]).refused(&["there is no rule with the seq 99"]);
        run("acl add", &config, &["--name", "/(/", "--actions", "pull"]).refused(&["match.name: "]);
        let told = run("acl test", &config, &["--account", "alice", "--scope", "repository:late/a:pull"]).well();
        assert!(told.text.contains("acl_xorm[seq 30] matches, and decides"), "{product:?}: {}", told.text);

        // All out, and in again.
        let yaml = run("acl export", &config, &[]).well().stdout;
        said(run_with("acl import", &config, &["-", "--replace"], &yaml), "nothing changes\n");
        run_with("acl import", &config, &["-"], &yaml).refused(&["there are 5 rules already"]);
        let other = "- {match: {name: \"other/*\"}, actions: [pull]}\n";
        let dry = run_with("acl import", &config, &["-", "--replace", "--dry-run"], other).well();
        assert!(dry.text.ends_with("5 rules would change; nothing was changed\n"), "{product:?}: {}", dry.text);
        assert_eq!(seqs(&config), [-5, 10, 20, 30, 40], "{product:?}");
        let real = run_with("acl import", &config, &["-", "--replace"], other).well();
        assert!(real.text.ends_with("5 rules changed\n"), "{product:?}: {}", real.text);
        holds("other/a", &["pull"]);
        run_with("acl import", &config, &["-", "--replace"], &yaml).well();
        assert_eq!(run("acl export", &config, &[]).well().stdout, yaml, "{product:?}");
        let count = tables.texts("SELECT TRIM(CAST(COUNT(*) AS CHAR(9))) FROM xorm_acl_entry");
        assert_eq!(count, [Some("5".to_owned())], "nothing of the import stays: {product:?}");
    }
}

#[test]
fn rows_that_are_no_rules_can_be_looked_at_and_mended() {
    for product in Product::ALL {
        let tables = filled(product);
        let config = of_admin(&tables);
        tables.rule(Some(40), None);
        tables.rule(None, Some(r#"{"match": {"name": "y"}, "actions": ["pull"], "owner": 1}"#));
        tables.rule(Some(50), Some(r#"{"match": {"name": "z"}, "actions": ["pull"]}"#));
        tables.rule(Some(50), Some(r#"{"match": {"name": "z"}, "actions": ["pull"]}"#));
        let list = run("acl list", &config, &[]).well();
        for expected in
            ["acl_entry: this is NULL", "owner: there is no such key", "has the same number", "cannot be used"]
        {
            assert!(list.text.contains(expected), "{product:?}: {}", list.text);
        }
        run("acl add", &config, &["--name", "a", "--actions", "pull"]).refused(&["mend them first"]);
        run("acl export", &config, &[]).refused(&["acl_entry: this is NULL"]);
        let ids = |what: &str| {
            let text = run("acl list", &config, &[]).well().text;
            let lines = text.lines().filter(|line| line.contains(what) && line.contains("_id "));
            let ids = lines.filter_map(|line| line.split("_id ").nth(1)?.split([' ', ':']).next().map(str::to_owned));
            ids.collect::<Vec<_>>()
        };
        run("acl remove", &config, &["40"]).well();
        run("acl remove", &config, &["50"]).refused(&["there are several rules with this seq"]);
        let twins = ids("has the same number");
        assert!(twins.iter().any(|id| id.ends_with("-2")), "{product:?}: {twins:?}");
        run("acl remove", &config, &[&twins[0]]).well();
        let unnumbered = ids("owner: ");
        let mut edit = part::command_at(program());
        edit.args(["acl", "edit"]).arg(&config).arg(&unnumbered[0]);
        edit.env("EDITOR", "sed -i 's/seq: 0/seq: 60/'").env("TMPDIR", scratch::directory("edit"));
        part::run(&mut edit).well();
        assert_eq!(seqs(&config), [-5, 10, 20, 30, 50, 60], "{product:?}");
        let server = super::server(&tables);
        assert_eq!(
            granted(&server, "bob", &password("bob"), "repository:y:pull"),
            may("bob", &["pull"]),
            "{product:?}"
        );
    }
}

/// Whoever is refused is told; whoever is not has a rule, or the user; and the others are where they were.
#[test]
fn many_who_change_at_once_leave_a_right_set() {
    for product in Product::ALL {
        let tables = Tables::new(product);
        let config = of_admin(&tables);
        let at_once = |work: &(dyn Fn(usize) -> Said + Sync)| {
            std::thread::scope(|scope| {
                let runs: Vec<_> = (0..5).map(|number| scope.spawn(move || work(number))).collect();
                runs.into_iter().map(|run| run.join().unwrap()).collect::<Vec<_>>()
            })
        };
        // On a table without a row, where there is nothing to lock.
        let said = at_once(&|_| add(&config, "waldi", &[], "secret"));
        let (added, refused): (Vec<_>, Vec<_>) = said.into_iter().partition(|said| said.success);
        assert_eq!((added.len(), refused.len()), (1, 4), "{product:?}: {refused:?}");
        for said in refused {
            said.refused(&["there is a user \"waldi\" in the", "nothing was changed"]);
        }
        let count = tables.texts("SELECT TRIM(CAST(COUNT(*) AS CHAR(9))) FROM xorm_user");
        assert_eq!(count, [Some("1".to_owned())], "{product:?}");
        for round in ["first", "then"] {
            let said = at_once(&|number| {
                let name = format!("{round}-{number}");
                let place: &[&str] = if round == "then" { &["--before", "10"] } else { &[] };
                run("acl add", &config, &[&["--name", "a", "--actions", "pull", "--comment", &name], place].concat())
            });
            let mut added: Vec<String> = Vec::new();
            for (said, number) in said.into_iter().zip(0..) {
                match said.success {
                    true => added.push(format!("{round}-{number}")),
                    false => drop(said.refused(&["try again", "nothing was changed"])),
                }
            }
            assert!(!added.is_empty(), "{product:?}");
            let mut found: Vec<String> =
                comments(&config).into_iter().filter(|comment| comment.starts_with(round)).collect();
            found.sort();
            assert_eq!(found, added, "{product:?}");
            let seqs = seqs(&config);
            assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]), "{product:?}: {seqs:?}");
        }
    }
}

/// Somebody else was quicker: by changing the rule, and by removing it.
#[test]
fn a_rule_that_somebody_else_changed_is_not_overwritten() {
    for product in Product::ALL {
        let tables = filled(product);
        let config = of_admin(&tables);
        let (ours, file) = (program().display().to_string(), config.display().to_string());
        for quicker in [
            format!("EDITOR='sed -i s/teams/other/' '{ours}' acl edit '{file}' 20"),
            format!("'{ours}' acl remove '{file}' 20"),
        ] {
            let script = format!("#!/bin/sh\n{quicker} && sed -i s/push/delete/ \"$1\"\n");
            let editor = scratch::write(&scratch::directory("editor"), "editor", &script);
            let mut edit = part::command("sh");
            edit.args(["-c", "chmod +x \"$EDITOR\" && exec \"$0\" acl edit \"$1\" 20", &ours, &file]);
            edit.env("EDITOR", &editor).env("TMPDIR", scratch::directory("edit"));
            part::run(&mut edit).refused(&["somebody else changed this rule at the same time"]);
            assert!(!run("acl export", &config, &[]).well().stdout.contains("delete"), "{product:?}");
        }
    }
}

/// Serving needs no more; commands say what they need.
#[test]
fn who_may_only_read_is_told_so_in_a_sentence() {
    for product in Product::SERVERS {
        let tables = filled(product);
        let text = file(&tables.sections(&tables.conn_string, ""));
        let config = scratch::write(&scratch::directory("sql"), "reader.yml", &text);
        run("user show", &config, &["alice"]).well();
        assert_eq!(seqs(&config), [-5, 10, 20, 30], "{product:?}");
        let before = run("acl export", &config, &[]).well().stdout;
        for (words, arguments, table) in [
            ("user add", &["carol", "--cost", "4"][..], "xorm_user"),
            ("user passwd", &["alice", "--cost", "4"], "xorm_user"),
            ("user label", &["alice", "team=x"], "xorm_user"),
            ("user remove", &["alice"], "xorm_user"),
            ("acl add", &["--name", "x", "--actions", "pull"], "xorm_acl_entry"),
            ("acl move", &["10", "--after", "30"], "xorm_acl_entry"),
            ("acl remove", &["10"], "xorm_acl_entry"),
        ] {
            let expected = format!("nothing was changed: our user may not change {table}");
            let said = run_with(words, &config, arguments, "secret").refused(&[&expected]);
            assert!(said.stdout.is_empty(), "{product:?}: {}", said.text);
        }
        assert_eq!(run("acl export", &config, &[]).well().stdout, before, "{product:?}");
        // What is there is seen; what is missing is not ours to make.
        let done = run("migrate", &config, &[]).well();
        assert_eq!(done.text.matches(": already there\n").count(), 2, "{product:?}: {}", done.text);
        tables.run("DROP TABLE xorm_user");
        let hint = "the table xorm_user needs a user who may make it, once";
        match product {
            Product::MariaDb | Product::Postgres => drop(run("migrate", &config, &[]).refused(&[hint])),
            Product::Sqlite => {}
        }
        run("user list", &config, &[]).refused(&["dockwarden migrate makes it", "grant it SELECT"]);
    }
}

/// The columns of both tables, each with its type, and what else a database says of how they were made.
fn shape(tables: &Tables) -> Vec<Option<String>> {
    tables.texts(match tables.product {
        Product::Postgres => {
            "SELECT concat_ws(' ', table_name, column_name, data_type, character_maximum_length, is_nullable, column_default) \
             FROM information_schema.columns WHERE table_name LIKE 'xorm%' ORDER BY table_name, ordinal_position"
        }
        Product::MariaDb => {
            "SELECT CONCAT_WS(' ', table_name, column_name, column_type, is_nullable, column_key, extra, collation_name) \
             FROM information_schema.columns WHERE table_schema = DATABASE() ORDER BY table_name, ordinal_position"
        }
        Product::Sqlite => "SELECT sql FROM sqlite_master WHERE name LIKE 'xorm%' ORDER BY name",
    })
}

#[test]
fn migrate_makes_the_tables_as_docker_auth_does() {
    for product in Product::ALL {
        let tables = Tables::new(product);
        let config = of_admin(&tables);
        let expected = shape(&tables);
        assert!(expected.len() >= 2, "{product:?}: {expected:?}");
        tables.run("DROP TABLE xorm_user");
        tables.run("DROP TABLE xorm_acl_entry");
        let came = |came: &str| {
            let lines = ["xorm_user", "xorm_acl_entry"].map(|table| format!(": the table {table}: {came}\n"));
            move |said: &str| lines.iter().all(|line| said.contains(line))
        };
        let dry = run("migrate", &config, &["--dry-run"]).well();
        assert!(came("would be applied")(&dry.text), "{product:?}: {}", dry.text);
        assert!(shape(&tables).is_empty(), "{product:?}");
        run("user list", &config, &[]).refused(&["dockwarden migrate makes it"]);
        add(&config, "waldi", &[], "secret").refused(&["dockwarden migrate makes it"]);
        let real = run("migrate", &config, &[]).well();
        assert!(came("applied")(&real.text), "{product:?}: {}", real.text);
        assert_eq!(shape(&tables), expected, "{product:?}");
        add(&config, "waldi", &[], "secret").well();
        run("acl add", &config, &["--account", "waldi", "--actions", "pull"]).well();
        let again = run("migrate", &config, &[]).well();
        assert!(came("already there")(&again.text), "{product:?}: {}", again.text);
        let server = Dockwarden::start_file(&config);
        assert_eq!(granted(&server, "waldi", "secret", "repository:a:pull"), may("waldi", &["pull"]), "{product:?}");
    }
}
