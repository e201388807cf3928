//! `dockwarden registry`, `repository`, `group`, `app`, `service` and `directory user`, beside a server over the same records.

use serde_json::Value;

use super::{Run, run};
use crate::bed::Bed;
use crate::directory::{granted, opensvc};

fn words(file: &str, command: &str) -> Run {
    run(command.split_whitespace().map(|word| match word {
        "CONFIG" => file,
        "EMPTY" => "",
        word => word,
    }))
}

fn done(file: &str, command: &str) -> String {
    let run = words(file, command);
    assert_eq!((run.code, run.err.as_str()), (0, ""), "{command}");
    run.out
}

// The server goes on while a command runs: both have the same file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_directory_is_changed_by_command_and_counts_in_a_server_that_runs() {
    let bed = Bed::with(&format!("{}records: {{sqlite: $DIR/dockwarden.db}}\napi: {{listen: main}}\n", opensvc()));
    bed.app.prepare().await.unwrap();
    let file = bed.folder.path("config.yml").to_str().unwrap().to_owned();
    for command in [
        "group add CONFIG web --id 50 --privilege puller",
        "app add CONFIG shop --id 200 --responsible web --publication dev",
        "service add CONFIG shop@n1 --app shop",
        "directory user add CONFIG zoe --id 9 --group web --quota 2",
        "directory user change CONFIG 9 --group web --group dev --primary-group web",
        "registry add CONFIG third --url https://third.example.org --publication web --restricted false",
        "registry change CONFIG third --publication web --publication dev",
    ] {
        done(&file, command);
    }
    bed.app.snapshot().access.directory().unwrap().read_again().await.unwrap();
    assert_eq!(granted(&bed, "ann", "repository:apps/shop/x:pull", "third").await, "pull");

    let user: Value = serde_json::from_str(&done(&file, "directory user show CONFIG zoe --json")).unwrap();
    assert_eq!(user["groups"], serde_json::json!(["web", "dev"]));
    assert_eq!((&user["primary_group"], &user["quota"]), (&"web".into(), &2.into()));
    let registries: Value = serde_json::from_str(&done(&file, "registry list CONFIG --json")).unwrap();
    let services: Vec<&str> =
        registries["items"].as_array().unwrap().iter().map(|own| own["service"].as_str().unwrap()).collect();
    assert_eq!(services, ["reg", "third", "vault"]);
    let table = done(&file, "group list CONFIG");
    assert!(table.starts_with("NAME  ID  ORIGIN   PRIVILEGES\n"), "{table}");
    assert!(table.contains("\nweb   50  records  puller\n") && table.contains("\ndev   10  file     -\n"), "{table}");

    for (command, expected) in [
        ("repository pullers CONFIG reg apps/101/x --json", &["ann", "bob", "cat", "zoe"][..]),
        ("repository pushers CONFIG reg apps/100/x --json", &["ann", "cat"]),
        ("repository pullers CONFIG third apps/shop/x --json", &["ann", "bob", "cat", "shop@n1", "zoe"]),
        ("repository pullers CONFIG reg apps/999/x --json", &[]),
    ] {
        let told: Value = serde_json::from_str(&done(&file, command)).unwrap();
        let names: Vec<&str> =
            told["items"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(names, expected, "{command}");
    }
    assert!(done(&file, "repository pullers CONFIG third apps/shop/x").contains("\nshop@n1  service\n"));

    let secret = words(&file, "service secret CONFIG shop@n1 --expires 90d");
    assert_eq!(secret.code, 0, "{}", secret.err);
    let login =
        bed.get("/auth?service=third&scope=repository:apps/200/x:pull,push").basic("shop@n1", secret.out.trim());
    assert_eq!(login.send().await.ok().access(), ["repository:apps/200/x:pull"]);

    for (command, piece) in [
        ("group change CONFIG dev --privilege puller", "configuration file"),
        ("group add CONFIG dev --id 70", "already"),
        ("group add CONFIG new", "an id is a number"),
        ("group add CONFIG new --id 70 --quota 1", "a group has privileges"),
        ("app add CONFIG new --id 70 --responsible nowhere", "there is no group \"nowhere\""),
        ("app show CONFIG nothing", "there is no app"),
        ("registry remove CONFIG reg", "configuration file"),
        ("registry add CONFIG x --url ftp://x", "https://"),
        ("registry sweep CONFIG nowhere", "there is no registry"),
        ("repository list CONFIG nowhere", "there is no registry"),
        ("repository pullers CONFIG nowhere lib/x", "there is no registry"),
        ("repository delete CONFIG reg lib/x --account ann", "nothing of this name that you may see"),
        ("repository describe CONFIG reg lib/x --account dan --text x", "nothing of this name that you may see"),
        ("registry add CONFIG dockwarden --url https://x.example.org", "what Dockwarden itself is called"),
        ("group remove CONFIG web", "it is named by user zoe, app shop, registry third; take it out of there first"),
        ("app remove CONFIG shop", "it is named by service shop@n1"),
        ("service secret CONFIG ghost@n1 --expires 90d", "there is no service"),
    ] {
        let run = words(&file, command);
        assert!(run.code == 1 && run.err.contains(piece), "{command}: {} {}", run.code, run.err);
    }
    for command in [
        "registry remove CONFIG third",
        "service remove CONFIG shop@n1",
        "app remove CONFIG 200",
        "directory user change CONFIG zoe --group EMPTY --primary-group EMPTY",
        "directory user remove CONFIG zoe",
        "group remove CONFIG web",
    ] {
        done(&file, command);
    }
}
