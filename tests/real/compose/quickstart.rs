//! The five minutes of README and of the quickstart: their commands, as they stand, from two images to a push.

use std::time::Duration;

use super::commands;
use crate::support::part;
use crate::support::person::Person;
use crate::support::process::until_within;
use crate::support::project::Project;

const REGISTRY: &str = "localhost:5000";

/// How long the registry may take to listen: a person takes longer to read the next line.
const STARTED: Duration = Duration::from_secs(20);

#[test]
fn the_commands_of_the_quickstart_end_in_a_login_and_a_push() {
    let project = Project::empty(&[]);
    // The image is there already; nothing can be built from source here. This engine has no network unless one is made.
    project.docker(&["network", "create", "quickstart"]).well();
    let set_up = commands("README.md", "mkdir -p quickstart", "  -e OTEL_TRACES_EXPORTER=none");
    let set_up = set_up.replace("docker run -d ", "docker run -d --network quickstart ");
    let said = part::run(project.command("sh").args(["-ec", &set_up])).well();
    let (_, password) = said.text.split_once("Password, shown this once: ").unwrap();
    let password = password.lines().next().unwrap().trim();

    let alice = Person::at(project.engine(), REGISTRY);
    alice.build("quickstart");
    until_within(STARTED, "the registry", || {
        (!alice.login("alice", "not the password").text.contains("connection refused")).then_some(())
    });
    alice.login("alice", "not the password").refused(&["unauthorized", "401"]);
    alice.login("alice", password).well();
    alice.push("quickstart", "web/hello").well();
    alice.push("quickstart", "other/hello").refused(&["denied: requested access to the resource is denied"]);

    let why = commands("README.md", "docker exec dockwarden /dockwarden explain", "docker exec");
    let said = part::run(project.command("sh").args(["-c", &why]));
    assert!(!said.success && said.text.contains("withheld: push"), "{}", said.text);

    let remove = commands("docs/start/quickstart.md", "docker rm -f dockwarden registry", "docker volume rm");
    part::run(project.command("sh").args(["-ec", &remove])).well();
    project.docker(&["network", "rm", "quickstart"]).well();
}
