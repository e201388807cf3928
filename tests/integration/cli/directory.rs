//! The commands of the directory and of its standard rules.

use super::{configured, run};
use crate::bed::{Bed, Folder};
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
    assert!(again.code == 1 && !again.out.contains("\n+ "), "{}", again.out);
    assert!(again.out.starts_with("! group/dev: something of this name, this id or this url is there already\n"));
    let bed = Bed::in_folder(folder, config);
    bed.app.snapshot().access.directory().unwrap().read_again().await.unwrap();
    let by = crate::bed::ALICE;
    assert_eq!(bed.grants(by, "repository:users/1/x:pull,push").await, ["repository:users/1/x:pull,push"]);
    assert_eq!(bed.grants(crate::bed::BOB, "repository:groups/10/x:pull").await, ["repository:groups/10/x:"]);
}
