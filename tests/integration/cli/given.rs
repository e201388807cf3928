//! Where policies are read from besides a file: a revision of git, and standard input.

use std::path::Path;
use std::process::Command;

use super::{Run, STRONG, command, configured, finish};

/// Bob pulls below `team/`, and does this besides.
fn policy(actions: &str) -> String {
    format!(
        "server: {{addr: \"127.0.0.1:5001\"}}\n\
         token: {{issuer: Acme, certificate: none.crt, key: none.key, services: [registry]}}\n\
         users:\n  bob: {{password: \"{STRONG}\"}}\n\
         acl:\n  - {{match: {{name: \"team/*\"}}, actions: [{actions}]}}\n"
    )
}

/// Puts all that is in the folder into a repository of git there.
fn commit(folder: &Path) {
    for arguments in [&["init", "-q"][..], &["add", "."], &["commit", "-q", "-m", "one"]] {
        let mut git = Command::new("git");
        git.current_dir(folder).args(["-c", "user.name=a", "-c", "user.email=a@example.com"]).args(arguments);
        let done = git.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

fn in_folder(folder: &Path, arguments: &[&str], input: &str) -> Run {
    let mut command = command(arguments);
    command.current_dir(folder);
    finish(command, input)
}

/// The line below a row is the command that says why, wherever the policy was read from.
#[test]
fn what_differs_from_a_revision_or_from_standard_input_is_explained_as_it_is_told() {
    let (folder, file) = configured(&policy("pull, push"));
    let folder = folder.path("");
    commit(&folder);
    std::fs::write(&file, policy("pull")).unwrap();
    for (old, input) in [("git:HEAD:config.yml", String::new()), ("-", policy("pull, push"))] {
        let told = in_folder(&folder, &["diff", old, "config.yml"], &input);
        assert_eq!(told.code, 3, "{old}: {}{}", told.out, told.err);
        assert!(told.out.starts_with("withheld  repository:team/a:push  acl[0] -> acl[0]\n"), "{old}: {}", told.out);
        let line = told.out.lines().find_map(|line| line.trim().strip_prefix("dockwarden ")).unwrap();
        assert!(line.starts_with(&format!("explain {old} ")), "{line}");
        let line: Vec<&str> = line.split(' ').collect();
        let explained = in_folder(&folder, &line, &input);
        assert_eq!(explained.code, 0, "{old}: {}{}", explained.out, explained.err);
        let now: Vec<&str> = line.iter().map(|word| if *word == old { "config.yml" } else { *word }).collect();
        assert_eq!(in_folder(&folder, &now, "").code, 3, "{old}");
        let who = in_folder(&folder, &["who-can", old, "push", "repository:team/app"], &input);
        assert_eq!((who.code, who.out.as_str()), (0, "bob  acl[0]\n"), "{old}: {}", who.err);
    }
}

#[test]
fn standard_input_holds_one_thing() {
    let (folder, _) = configured(&policy("pull"));
    let folder = folder.path("");
    for (arguments, code, said) in [
        (["diff", "-", "-"].as_slice(), 2, "standard input can be one of the two only"),
        (
            &["explain", "-", "--requests", "-"],
            1,
            "standard input holds the configuration or the questions, and not both",
        ),
    ] {
        let told = in_folder(&folder, arguments, &policy("pull"));
        assert!(told.code == code && told.err.contains(said), "{} {}", told.code, told.err);
    }
    // What is wrong with it has a place, as in a file.
    let told = in_folder(&folder, &["diff", "-", "config.yml"], "acl: [{match: {nam: a}}]\n");
    assert!(told.code == 1 && told.err.contains("standard input:1: acl[0].match.nam"), "{} {}", told.code, told.err);
}

/// Whoever only tells who somebody is, such as a directory, is not asked by commands for whole policies.
#[test]
fn passwords_for_those_who_are_not_asked_are_not_read() {
    let directory = "ldap_auth: {addr: \"127.0.0.1:9\", base: \"dc=x\", filter: \"(uid=${account})\", bind_dn: x, bind_password_file: none.txt}\n";
    let others = "oidc_auth: {issuer: \"https://a.example\", redirect_url: \"https://b.example/oidc_auth\", client_id: c, client_secret_file: none.txt}\n\
                  sign_in: {secret_file: none.txt}\nrecords: {sqlite: none.db}\nhtpasswd_auth: {path: people}\n";
    let (folder, file) = configured(&format!("{}{directory}{others}", policy("pull")));
    std::fs::write(folder.path("people"), format!("carol:{STRONG}\n")).unwrap();
    let folder = folder.path("");
    commit(&folder);
    for place in ["config.yml", "git:HEAD:config.yml"] {
        let told = in_folder(&folder, &["diff", place, "config.yml"], "");
        assert_eq!((told.code, &*told.out), (0, "both decide everything alike\n"), "{place}: {}", told.err);
        let told = in_folder(&folder, &["who-can", place, "pull", "repository:team/app"], "");
        let listed = "bob  acl[0]\ncarol  acl[0]\nanyone  acl[0]\n";
        assert_eq!((told.code, &*told.out), (0, listed), "{place}: {}", told.err);
        let told = in_folder(&folder, &["what-can", place, "carol"], "");
        assert_eq!(told.code, 0, "{place}: {}{}", told.out, told.err);
    }
    for arguments in [["minimise", "config.yml"], ["test", "config.yml"]] {
        let told = in_folder(&folder, &arguments, "");
        assert_eq!(told.code, 0, "{arguments:?}: {}{}", told.out, told.err);
    }
    // Whoever is asked before accounts that can be listed has to say whether they are its own.
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        format!("{text}mongo_auth: {{dial_info: {{addrs: [\"127.0.0.1:9\"], database: d}}, collection: c}}\n"),
    )
    .unwrap();
    let told = in_folder(&folder, &["diff", "config.yml", "config.yml"], "");
    assert!(told.code == 1 && told.err.contains("ldap_auth.bind_password_file: none.txt"), "{}{}", told.out, told.err);
    assert!(!told.err.contains("sign_in") && !told.err.contains("oidc_auth"), "{}", told.err);
}

/// Of a symbolic link, git keeps the path that it leads to.
#[cfg(unix)]
#[test]
fn a_link_in_a_revision_is_followed_as_far_as_the_revision_goes() {
    use std::os::unix::fs::symlink;

    let (folder, _) = configured(&policy("pull"));
    let folder = folder.path("");
    std::fs::create_dir(folder.join("sub")).unwrap();
    for (target, link) in [
        ("config.yml", "link.yml"),
        ("../config.yml", "sub/link.yml"),
        ("../elsewhere.yml", "out.yml"),
        ("none.yml", "dangling.yml"),
        ("loop.yml", "loop.yml"),
        ("sub", "folder.yml"),
        ("sub", "linked"),
    ] {
        symlink(target, folder.join(link)).unwrap();
    }
    commit(&folder);
    for link in ["git:HEAD:link.yml", "git:HEAD:sub/link.yml", "git:HEAD:./link.yml", "git:HEAD:linked/link.yml"] {
        let told = in_folder(&folder, &["diff", link, "config.yml"], "");
        assert_eq!((told.code, &*told.out), (0, "both decide everything alike\n"), "{link}: {}", told.err);
    }
    for (link, why) in [
        ("out", "it is a symbolic link that leads out of the repository"),
        ("dangling", "a symbolic link leads to what this revision does not have"),
        ("loop", "it is a symbolic link that leads back to itself"),
        ("folder", "it is a folder, and a file is wanted"),
    ] {
        let told = in_folder(&folder, &["diff", &format!("git:HEAD:{link}.yml"), "config.yml"], "");
        assert!(told.code == 1 && told.err.contains(why), "{link}: {}{}", told.out, told.err);
    }
    // What is nowhere is told in the words of git.
    for (path, why) in [("none", "'none.yml'"), ("config.yml/none", "'config.yml/none.yml'")] {
        let told = in_folder(&folder, &["diff", &format!("git:HEAD:{path}.yml"), "config.yml"], "");
        let why = format!("path {why} does not exist in 'HEAD'");
        assert!(told.code == 1 && told.err.contains(&why), "{path}: {}{}", told.out, told.err);
    }
    let told = in_folder(&folder, &["diff", "git:HEAD:linked/none.yml", "config.yml"], "");
    assert!(told.code == 1 && told.err.contains("a symbolic link leads to what"), "{}{}", told.out, told.err);
}
