//! The commands of the directory and of its standard rules.

use super::{configured, run};
use crate::bed::{ALICE_HASH, Bed, Folder};
use crate::directory::{granted, opensvc};

/// Standard rules that a site copies into its own `acl` decide as they did.
#[tokio::test]
async fn standard_rules_can_be_copied() {
    let (_folder, file) = configured(&opensvc());
    let shown = run(["acl", "show", &file, "--standard"]);
    assert_eq!((shown.code, shown.err.as_str()), (0, ""));
    let copied = opensvc().replace("acl: []\nstandard_rules: opensvc\n", &format!("acl:\n{}", shown.out));
    assert!(!copied.contains("standard_rules"));
    let bed = Bed::with(&copied);
    for (who, scope, service, expected) in [
        ("ann", "repository:users/1/x:pull,push", "reg", "pull,push"),
        ("ann", "repository:users/2/x:pull,push", "reg", ""),
        ("cat", "repository:apps/101/x:*", "reg", "delete,pull"),
        ("web@n1", "repository:lib/x:pull,push", "reg", "pull"),
    ] {
        assert_eq!(granted(&bed, who, scope, service).await, expected, "{who}: {scope}");
    }
    let explained = run(["explain", &file, "repository:lib/x:pull", "--account", "ann", "--service", "reg"]);
    assert_eq!((explained.code, explained.err.as_str()), (0, ""));
    assert!(explained.out.contains("standard_rules"), "{}", explained.out);
    let without = run(["acl", "show", &configured("").1, "--standard"]);
    assert_eq!(without.code, 1);
}

/// The usage can be typed as it stands: the files are a list, which would take the configuration for one of them.
#[test]
fn the_usage_of_an_import_names_the_configuration_before_the_files() {
    let help = run(["directory", "import", "--help"]);
    let usage = help.out.lines().find(|line| line.starts_with("Usage:")).unwrap();
    let config = usage.find("<CONFIG>").unwrap();
    assert!(usage.find("--opensvc").is_some_and(|files| config < files), "{usage}");
}

/// The collector's tables come into the records, and what they cannot bring is said.
#[tokio::test]
async fn the_collectors_tables_are_imported() {
    let folder = Folder::new();
    let dump = folder.put(
        "collector.sql",
        "CREATE TABLE `auth_user` (\n `id` int,\n `email` varchar(512)\n);\nINSERT INTO `auth_user` VALUES (1,'alice'),(2,'bob');\n\
         INSERT INTO `auth_group` (`id`,`role`,`privilege`) VALUES (5,'DockerRegistriesPuller','T'),(6,'DockerRegistriesPusher','T'),(10,'dev','F'),(11,'10','F');\n\
         INSERT INTO `auth_membership` (`user_id`,`group_id`) VALUES (1,5),(1,6),(1,10),(2,10);\n\
         INSERT INTO `docker_registries_publications` (`registry_id`,`group_id`) VALUES (1,10);\n",
    );
    let registries = folder
        .put("docker_registries.csv", "id,service,url,insecure,restricted\n1,registry,http://127.0.0.1:5000,F,F\n");
    let config = "records: {sqlite: $DIR/dockwarden.db}\nacl: []\ndirectory: {}\nstandard_rules: opensvc\n\
                  registries_declared: {networks: [127.0.0.1]}\n";
    let file = folder.configure(config);
    let (file, dump, registries) = (file.to_str().unwrap(), dump.to_str().unwrap(), registries.to_str().unwrap());
    let dry = run(["directory", "import", file, "--dry-run", "--opensvc", dump, registries]);
    assert_eq!((dry.code, dry.err.as_str()), (0, ""));
    assert!(!folder.path("dockwarden.db").exists());
    let imported = run(["directory", "import", file, "--opensvc", dump, registries]);
    assert_eq!((imported.code, imported.err.as_str()), (0, ""));
    for line in [
        "+ group/dev",
        "+ group/10",
        "left out: the name of the group 10: it is another's id, so it counts by its own id alone",
        "+ user/alice",
        "+ registry/registry",
        "changes: bob loses pulling, without the privilege of pullers, at registry",
    ] {
        assert!(imported.out.lines().any(|own| own == line), "{line}: {}", imported.out);
    }
    let again = run(["directory", "import", file, "--opensvc", dump, registries]);
    assert!(again.code == 0 && !again.out.contains("\n+ ") && !again.out.contains("! "), "{}", again.out);
    assert!(again.out.starts_with("= group/dev\n= group/10\n= user/alice\n"), "{}", again.out);
    let bed = Bed::in_folder(folder, config);
    bed.app.snapshot().access.directory().unwrap().read_again().await.unwrap();
    let by = crate::bed::ALICE;
    assert_eq!(bed.grants(by, "repository:users/1/x:pull,push").await, ["repository:users/1/x:pull,push"]);
    assert_eq!(bed.grants(crate::bed::BOB, "repository:groups/10/x:pull").await, ["repository:groups/10/x:"]);
}

/// A dry run says what the import does; where one entry clashes, none is made, so that no id is meant for what the file has.
#[tokio::test]
async fn an_import_that_clashes_makes_nothing_and_a_dry_run_says_so() {
    let folder = Folder::new();
    let put = |table: &str, text: &str| folder.put(&format!("{table}.csv"), text).to_str().unwrap().to_owned();
    let files = [
        put("auth_user", "id,email\n1,ann\n2,jim@n1\n"),
        put("auth_group", "id,role,privilege\n10,devs,F\n20,ops,F\n"),
        put("auth_membership", "user_id,group_id\n1,10\n1,20\n"),
        put("apps", "id,app\n100,web\n"),
        put("apps_responsibles", "group_id,app_id\n20,100\n"),
        put("services", "svc_id,svcname,svc_app,cluster_id\nu1,web,web,c1\n"),
        put("nodes", "node_id,nodename,cluster_id\nx,n1,c1\n"),
        put(
            "docker_registries",
            "id,service,url,insecure,restricted\n1,pub,https://1.1.1.1,T,T\n2,in,http://10.0.0.1,F,F\n3,same,https://1.1.1.1,F,T\n\
             4,other,https://8.8.8.8,F,T\n",
        ),
        put("docker_registries_publications", "group_id,registry_id\n10,1\n"),
    ];
    let config = |more: &str, registry: &str| {
        format!(
            "records: {{sqlite: $DIR/dockwarden.db}}\nusers: {{\"Web@n1\": {{password: \"{ALICE_HASH}\"}}{more}}}\nacl: []\n\
             directory: {{groups: {{dev: {{id: 10}}}}}}\nregistries: {{{registry}}}\n"
        )
    };
    let file = folder.configure(&config("", "other: {url: \"https://9.9.9.9\", hosts: [other, 8.8.8.8]}"));
    let import = |dry: &[&str]| {
        let start = ["directory", "import", file.to_str().unwrap()].into_iter().chain(dry.iter().copied());
        run(start.chain(["--opensvc"]).chain(files.iter().map(String::as_str)))
    };
    let dry = import(&["--dry-run"]);
    assert!(!folder.path("dockwarden.db").exists(), "who looks makes nothing");
    let real = import(&[]);
    assert_eq!((dry.code, real.code, &dry.out), (1, 1, &real.out), "{}", real.err);
    for line in [
        "! group/devs: the group dev has this id already",
        "+ group/ops",
        "! service/web@n1: users has an account of this name, which a service would take over; call the service something else",
        "+ registry/pub",
        "! registry/same: the registry pub has this url already",
        "! registry/other: the registry other has this name already",
        "note: the registry pub is reached without a check of its certificate there; here its authority has to be named",
        "nothing is brought in: 5 of these cannot be (!); change them there, or what is here",
    ] {
        assert!(dry.out.lines().any(|own| own == line), "{line}: {}", dry.out);
    }
    assert!(dry.out.contains("! registry/in: this is not at a public address"), "{}", dry.out);
    let bed = Bed::in_folder(folder, &config("", ""));
    let directory = std::sync::Arc::clone(bed.app.snapshot().access.directory().unwrap());
    bed.app.prepare().await.unwrap();
    directory.read_again().await.unwrap();
    assert!(directory.view().unwrap().user("ann").is_none(), "all or nothing");
}

/// What changes nothing, or is about what there is not, is no success.
#[tokio::test]
async fn commands_say_what_there_is_not() {
    let text = opensvc().replace("http://127.0.0.1:5000", "https://1.1.1.1");
    let (_folder, file) = configured(&format!("{text}records: {{sqlite: $DIR/dockwarden.db}}\n"));
    for arguments in [
        &["group", "change", &file, "dev"][..],
        &["registry", "change", &file, "reg"],
        &["repository", "describe", &file, "reg", "lib/x", "--account", "cat"],
    ] {
        let changed = run(arguments);
        assert_eq!((changed.code, changed.out.as_str()), (2, ""), "{arguments:?}: {}", changed.err);
    }
    for (arguments, said) in [
        (&["tag", "list", &file, "none", "lib/x"][..], "there is no registry of this name"),
        (&["tag", "list", &file, "reg", "lib/none"], "there is no repository of this name"),
        (&["repository", "pulls", &file, "reg", "lib/none"], "there is no repository of this name"),
        (&["repository", "list", &file, "reg", "--account", "nobody"], "nobody knows an account of this name"),
    ] {
        let listed = run(arguments);
        assert_eq!((listed.code, listed.out.as_str()), (1, ""), "{arguments:?}");
        assert!(listed.err.contains(said), "{arguments:?}: {}", listed.err);
    }
    assert_eq!(run(["repository", "list", &file, "reg", "--account", "eve"]).code, 0);
    let service = ["service", "add", &file, "shop@n1", "--app", "web"];
    assert_eq!(run(service).code, 0);
    let secret = || run(["service", "secret", &file, "shop@n1", "--expires", "never"]);
    assert_eq!((secret().code, secret().code), (0, 0));
    let third = secret();
    assert_eq!(third.code, 1);
    assert!(third.err.contains("the service shop@n1 has two living secrets already"), "{}", third.err);
    let odd = configured("directory: {groups: {\"dev \": {id: 1}}}\nusers: {}\nacl: []\n");
    let checked = run(["check", &odd.1]);
    assert!(checked.out.contains("another may look like it"), "{}{}", checked.out, checked.err);
}
