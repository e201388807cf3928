//! `dockwarden minimise` with lists that are written in unusual ways.

use super::{configured, run, strong_users};

const KEPT: &str = "{match: {name: \"a/*\"}, actions: [pull]}";
const SPARE: &str = "{match: {name: a/b}, actions: [pull]}";
const WHY: &str = "# acl[1] left out, what it matches is matched above: acl[0]";

#[test]
fn a_rule_is_put_behind_a_sign_however_the_list_is_written() {
    for (acl, expected) in [
        // In brackets, in lines of its own.
        (
            format!("acl: [\n  {KEPT},\n  {SPARE}, # once\n]\n"),
            format!("acl: [\n  {KEPT},\n  {WHY}\n  # {SPARE}, # once\n]\n"),
        ),
        (
            format!("acl:\n  [ # all\n  {KEPT},\n  # Once.\n  {{match: {{name: a/b}},\n   actions: [pull]}}\n  ]\n"),
            format!(
                "acl:\n  [ # all\n  {KEPT},\n  # Once.\n  {WHY}\n  # {{match: {{name: a/b}},\n  #  actions: [pull]}}\n  ]\n"
            ),
        ),
        // Nothing is left.
        (
            "acl: [ # all\n  {match: {name: a/b}, actions: []}\n]\n".to_owned(),
            "acl: [] # all\n  # acl[0] left out, nothing else grants what it refuses\n  # {match: {name: a/b}, actions: []}\n".to_owned(),
        ),
        // A dash in a line of its own.
        (
            format!("acl:\n- {KEPT}\n-\n  match: {{name: a/b}}\n  actions: [pull]\n"),
            format!("acl:\n- {KEPT}\n{WHY}\n# -\n#   match: {{name: a/b}}\n#   actions: [pull]\n"),
        ),
    ] {
        let (_folder, file) = configured(&format!("{}{acl}# After.\ntests: []\n", strong_users()));
        let told = run(["minimise", &file]);
        assert_eq!((told.code, told.out.as_str()), (3, expected.as_str()), "{acl}{}", told.err);
        // It can take the place of what is there, and nothing is left to leave out.
        let (_folder, shorter) = configured(&format!("{}{}", strong_users(), told.out));
        assert_eq!(run(["diff", &file, &shorter]).code, 0, "{}", told.out);
        let again = run(["minimise", &shorter]);
        assert_eq!(again.code, 0, "{}{}", again.out, again.err);
    }
}

#[test]
fn what_shares_a_line_with_a_spare_rule_is_not_lost() {
    for acl in [
        format!("acl: [{KEPT},\n  {SPARE}\n]\n"),
        format!("acl: [\n  {KEPT},\n  {SPARE}]\n"),
        format!("acl: [\n  {KEPT}\n  , {SPARE}\n]\n"),
        format!("acl: [\n  {{match: {{name: \"a/*\"}},\n   actions: [pull]}}, {SPARE}\n]\n"),
    ] {
        let (_folder, file) = configured(&format!("{}{acl}", strong_users()));
        let told = run(["minimise", &file]);
        let is_said = told.err.contains("rules share a line; write each on lines of its own");
        assert!(told.code == 1 && told.out.is_empty() && is_said, "{acl}{}{}", told.out, told.err);
    }
    // What shares its lines by an alias is told as that.
    let acl = format!("acl:\n  - &one {KEPT}\n  - {SPARE}\n  - *one\n");
    let (_folder, file) = configured(&format!("{}{acl}", strong_users()));
    let told = run(["minimise", &file]);
    let is_said = told.err.contains("a rule of acl is only the alias *one") && !told.err.contains("share a line");
    assert!(told.code == 1 && told.out.is_empty() && is_said, "{}{}", told.out, told.err);
    assert_eq!(run(["minimise", &file, "--json"]).code, 3);
    // Rules that are kept elsewhere may come, also where there are none yet: what would refuse them stays.
    let wall = "acl:\n  - {match: {name: \"x/*\"}, actions: [pull]}\n  - {match: {}, actions: []}\n";
    let (_folder, file) =
        configured(&format!("{}records: {{sqlite: dw.db}}\nacl_records: {{}}\n{wall}", strong_users()));
    let told = run(["minimise", &file]);
    assert_eq!((told.code, told.out.as_str()), (0, wall), "{}", told.err);
    // Nothing is left out, and the list is printed to its end.
    let acl = format!("acl: [{KEPT},\n  {{match: {{name: b}}, actions: [pull]}}\n]\n");
    let (_folder, file) = configured(&format!("{}{acl}tests: []\n", strong_users()));
    let told = run(["minimise", &file]);
    assert_eq!((told.code, told.out.as_str()), (0, acl.as_str()), "{}", told.err);
}
