//! The commands on what is in a registry, beside a server that runs: sweeps, and tags that are listed, shown and deleted.

use serde_json::Value;

use super::*;
use crate::support::part::Said;

impl Bed {
    fn command(&self, words: &[&str], arguments: &[&str]) -> Said {
        let mut command = part::command_at(dockwarden::program());
        part::run(command.args(words).arg(&self.dockwarden.config).arg(self.service).args(arguments))
    }

    fn json(&self, words: &[&str], arguments: &[&str]) -> Value {
        let said = self.command(words, &[arguments, &["--json"][..]].concat()).well();
        serde_json::from_str(&said.stdout).unwrap()
    }
}

#[test]
fn commands_sweep_a_registry_and_list_show_and_delete_its_tags() {
    with_both(|bed| {
        let image = bed.push("apps/100/x", "v1", "commands");
        let manifest = bed.manifest("apps/100/x", "v1");
        bed.put("apps/100/x", "v2", IMAGE, &manifest.body);
        bed.has_tags("apps/100/x", &["v1", "v2"]);
        let swept = bed.command(&["registry", "sweep"], &[]).well();
        assert_eq!(swept.stdout, format!("registry {}: 1 repositories\n", bed.service));
        let shown = bed.json(&["registry", "show"], &[]);
        assert!(shown["sweep_ended"].is_string() && shown["repositories"] == 1, "{shown}");
        assert!(shown["last_event"].is_string(), "the server heard of it, and wrote it down: {shown}");

        let listed = bed.json(&["tag", "list"], &["apps/100/x"]);
        let names: Vec<&str> =
            listed["items"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
        assert_eq!((names, &listed["items"][0]["digest"]), (vec!["v1", "v2"], &Value::from(image.as_str())));
        let table = bed.command(&["tag", "list"], &["apps/100/x"]).well().stdout;
        assert!(table.starts_with("NAME  DIGEST  ") && table.contains(&format!("\nv1    {image}  ")), "{table}");
        let details = bed.json(&["tag", "show"], &["apps/100/x", "v1"]);
        assert_eq!((&details["digest"], &details["media_type"]), (&image.as_str().into(), &IMAGE.into()));
        bed.command(&["tag", "show"], &["apps/100/x", "v7"]).refused(&["there is nothing of this name"]);

        let delete = |account: &str, more: &[&str]| {
            bed.command(&["tag", "delete"], &[&["apps/100/x", "v1", "--account", account][..], more].concat())
        };
        delete("ann", &[]).refused(&["no rule gives you \"delete\""]);
        delete("nobody", &[]).refused(&["there is nothing of this name"]);
        match bed.edition {
            Edition::V3 => drop(delete("boss", &[]).well()),
            Edition::V2 => {
                for more in [&[][..], &["--with", "v3"], &["--with", "v2,v3"]] {
                    let said = delete("boss", more);
                    assert!(
                        !said.success && said.stdout.is_empty() && said.text.contains("v2"),
                        "{more:?}: {}",
                        said.text
                    );
                }
                assert_eq!(bed.manifest("apps/100/x", "v1").status, 200, "nothing was deleted");
                delete("boss", &["--with", "v2"]).well();
            }
        }
        let left: &[&str] = match bed.edition {
            Edition::V3 => &["v2"],
            Edition::V2 => &[],
        };
        bed.has_tags("apps/100/x", left);
        assert!(delete("boss", &[]).well().stdout.contains("has no such tag"), "it is gone already");

        // What people say of a repository, and all of its tags.
        bed.push("lib/x", "v1", "whole");
        bed.push("lib/x", "v2", "others");
        bed.has_tags("lib/x", &["v1", "v2"]);
        let as_account = |word: &str, account: &str, more: &[&str]| {
            bed.command(&["repository", word], &[&["lib/x", "--account", account][..], more].concat())
        };
        as_account("describe", "ann", &["--text", "ours"]).refused(&["no rule gives you \"push\""]);
        as_account("delete", "ann", &[]).refused(&["no rule gives you \"delete\""]);
        bed.has_tags("lib/x", &["v1", "v2"]);
        let said = as_account("delete", "boss", &[]).well().stdout;
        assert_eq!(said, "repository lib/x: 2 tags are deleted\n");
        bed.has_tags("lib/x", &[]);
        assert!(as_account("delete", "boss", &[]).well().stdout.contains("the registry has no tags of it"));

        // Of two sweeps of one registry, the second does not begin, and says so.
        let holder = Lease { name: format!("sweep {}", bed.service), holder: "somebody else".to_owned() };
        let records = Arc::clone(&bed.replica.snapshot().records.as_ref().unwrap().records);
        let now = OffsetDateTime::now_utc();
        bed.runtime.block_on(records.lease(&holder, now + time::Duration::HOUR, now)).unwrap();
        bed.command(&["registry", "sweep"], &[]).refused(&["is sweeping this registry at this moment"]);
        bed.runtime.block_on(records.give_back(&holder)).unwrap();
        bed.dockwarden.process.keeps_secrets();
    });
}

#[test]
fn a_sweep_of_a_registry_that_is_away_says_so_and_fails() {
    let mut bed = Bed::start(Edition::V3);
    bed.push("lib/x", "v1", "away");
    bed.has_tags("lib/x", &["v1"]);
    drop(bed.registry.take());
    bed.command(&["registry", "sweep"], &[]).refused(&["cannot be asked"]);
    let shown = bed.json(&["registry", "show"], &[]);
    assert!(shown["last_error"].as_str().is_some_and(|error| error.contains("cannot be asked")), "{shown}");
    assert_eq!(bed.json(&["tag", "list"], &["lib/x"])["items"][0]["name"], "v1");
}
