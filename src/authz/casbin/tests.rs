//! The sample of docker_auth with its own test cases, and what makes sense in a model and a policy.

use super::*;

/// docker_auth's `examples/casbin_authz_model.conf`.
const MODEL: &str = r#"[request_definition]
r = account, type, name, service, ip, action, labels

[policy_definition]
p = account, type, name, service, ip, action, labels

[role_definition]
g = _, _

[policy_effect]
e = some(where (p.eft == allow))

[matchers]
m = r.account == "admin" || (g(r.account, p.account) && r.type == p.type && r.name == p.name && r.service == p.service && ipMatch(r.ip, p.ip) && r.action == p.action && labelMatch(r.labels, p.labels))"#;

/// Its `examples/casbin_authz_policy.csv`.
const POLICY: &str = r#"p, alice, book, book1, bookstore1, 1.2.3.4, read, "{""a"":[""b""]}"
p, alice, book, book1, bookstore1, 1.2.3.4, write, "{""a"":[""b""]}"
p, role1, book, book2, bookstore1, 192.168.1.0/24, read, "{""a"":[""b"",""c""]}"

g, bob, role1"#;

fn read(model: &str, policy: &str) -> Result<Policy, String> {
    let said = |remarks: &[Remark]| {
        remarks.iter().map(|Remark { line, message }| format!("{line}: {message}")).collect::<Vec<_>>().join("\n")
    };
    let (model, _) = model::read(model).map_err(|wrong| format!("model:{}", said(&wrong)))?;
    let read = policy::read(&model, policy).map_err(|wrong| match wrong {
        Wrong::Model(remark) => format!("model:{}", said(&[remark])),
        Wrong::Lines(remarks) => format!("policy:{}", said(&remarks)),
    })?;
    Ok(read.0)
}

/// What is granted of these actions; the values are account, type, name, service and address.
fn granted(policy: &Policy, values: [&str; 5], labels: &[(&str, &[&str])], actions: &[&str]) -> String {
    let labels: BTreeMap<&str, Vec<&str>> = labels.iter().map(|(name, values)| (*name, values.to_vec())).collect();
    let written = labels_as_written(&labels);
    let [account, kind, name, service, address] = values;
    let granted = actions.iter().filter(|action| {
        let values = [account, kind, name, service, address, action, &written].map(Cow::Borrowed);
        let asked = Asked { values, address: address.parse().ok(), labels: &labels };
        policy.decide(&asked, &mut Budget::for_request()).is_ok_and(|verdict| verdict.is_granted)
    });
    granted.copied().collect::<Vec<_>>().join(",")
}

#[test]
fn the_sample_decides_as_in_docker_auths_own_tests() {
    let policy = read(MODEL, POLICY).unwrap_or_else(|wrong| unreachable!("{wrong}"));
    let (b, bc) = (("a", ["b"].as_slice()), ("a", ["b", "c"].as_slice()));
    let (c, e) = (("a", ["c"].as_slice()), ("d", ["e"].as_slice()));
    for (account, kind, name, service, address, labels, expected) in [
        ("alice", "book", "book1", "bookstore1", "1.2.3.4", vec![b], "write,read"),
        ("alice", "book", "book1", "bookstore1", "1.2.3.3", vec![b], ""),
        ("alice", "book", "book2", "bookstore2", "1.2.3.4", vec![b], ""),
        ("alice", "pen", "book1", "bookstore1", "1.2.3.4", vec![b], ""),
        ("alice", "book", "book1", "bookstore1", "1.2.3.4", vec![c], ""),
        ("alice", "book", "book1", "bookstore1", "1.2.3.4", vec![bc], "write,read"),
        ("bob", "book", "book2", "bookstore1", "192.168.1.123", vec![bc, e], "read"),
        ("bob", "book", "book2", "bookstore1", "192.168.1.123", vec![b, e], ""),
        ("bob", "book", "book2", "bookstore1", "192.168.0.123", vec![bc, e], ""),
        ("bob", "book", "book2", "bookstore1", "192.168.1.123", vec![bc], "read"),
        ("bob", "book", "book2", "restaurant", "192.168.1.123", vec![bc, e], ""),
        ("admin", "book", "book1", "bookstore1", "1.2.3.4", vec![b], "write,read,delete"),
        ("admin", "book", "book1", "bookstore1", "1.2.3.3", vec![b], "write,read,delete"),
        ("admin", "book", "book2", "bookstore2", "1.2.3.4", vec![b], "write,read,delete"),
        ("admin", "pen", "book1", "bookstore1", "1.2.3.4", vec![b], "write,read,delete"),
        ("admin", "book", "book1", "bookstore1", "1.2.3.4", vec![c], "write,read,delete"),
        ("admin", "book", "book1", "bookstore1", "1.2.3.4", vec![bc], "write,read,delete"),
        // Check 58: no address, and what is none.
        ("alice", "book", "book1", "bookstore1", "<nil>", vec![b], ""),
        ("alice", "book", "book1", "bookstore1", "1.2.3", vec![b], ""),
        ("admin", "book", "book1", "bookstore1", "<nil>", vec![], "write,read,delete"),
    ] {
        let values = [account, kind, name, service, address];
        let said = granted(&policy, values, &labels, &["write", "read", "delete"]);
        assert_eq!(said, expected, "{values:?} {labels:?}");
    }
}

#[test]
fn labels_match_as_in_docker_auths_own_tests() {
    let (b, bc): (&[&str], &[&str]) = (&["b"], &["b", "c"]);
    for (has, wanted, expected) in [
        (vec![("a", b)], r#"{"a":["b"]}"#, true),
        (vec![("a", b)], r#"{"a":["c"]}"#, false),
        (vec![("a", bc)], r#"{"a":["b"]}"#, true),
        (vec![("a", b)], r#"{"a":["b","c"]}"#, false),
        (vec![("a", bc), ("d", &["e"])], r#"{"a":["b","c"]}"#, true),
        (vec![("a", b)], r#"{"a":["b","c"],"d":["f"]}"#, false),
        (vec![], "{}", true),
        (vec![], "", true),
        (vec![], r#"{"a":[]}"#, true),
    ] {
        let model = MODEL.replace("r.account == \"admin\" || (", "(");
        let line = format!("p, a, t, n, s, 0.0.0.0/0, pull, \"{}\"", wanted.replace('"', "\"\""));
        let policy = read(&model, &line).unwrap_or_else(|wrong| unreachable!("{wrong}"));
        let said = granted(&policy, ["a", "t", "n", "s", "1.2.3.4"], &has, &["pull"]);
        assert_eq!(said == "pull", expected, "{has:?} {wanted}");
    }
}

/// The sample's model with this matcher and effect, and `eft` as one more column of the policy.
fn model(matcher: &str, effect: &str) -> String {
    let (before, _) = MODEL.split_once("[policy_effect]").unwrap_or_default();
    let before = before.replace("p = account, type, name, service, ip, action, labels", "p = account, name, eft");
    format!("{before}[policy_effect]\ne = {effect}\n[matchers]\nm = {matcher}\n")
}

#[test]
fn lines_decide_together_as_the_effect_says() {
    let matcher = "g(r.account, p.account) && keyMatch(r.name, p.name)";
    let policy = "p, a, team/*, allow\np, b, team/x, deny\np, b, team/*, allow\ng, c, a\ng, c, b";
    for (effect, expected) in [
        ("some(where (p.eft == allow))", ["team/x", "team/y", "team/x", "team/y", "team/x", "team/y", ""]),
        ("!some(where (p.eft == deny))", ["team/x", "team/y", "", "team/y", "", "team/y", "other"]),
        (
            "some(where (p.eft == allow)) && !some(where (p.eft == deny))",
            ["team/x", "team/y", "", "team/y", "", "team/y", ""],
        ),
        ("priority(p.eft) || deny", ["team/x", "team/y", "", "team/y", "team/x", "team/y", ""]),
    ] {
        let read = read(&model(matcher, effect), policy).unwrap_or_else(|wrong| unreachable!("{wrong}"));
        let asked = [
            ("a", "team/x"),
            ("a", "team/y"),
            ("b", "team/x"),
            ("b", "team/y"),
            ("c", "team/x"),
            ("c", "team/y"),
            ("a", "other"),
        ];
        let said = asked.map(|(account, name)| {
            match granted(&read, [account, "repository", name, "s", ""], &[], &["pull"]).as_str() {
                "pull" => name,
                _ => "",
            }
        });
        assert_eq!(said, expected, "{effect}");
    }
}

/// Each of these would grant nothing for ever in docker_auth, or everything, and says nothing there.
#[test]
fn what_makes_no_sense_is_a_problem_of_its_line() {
    let matcher = MODEL.lines().last().unwrap_or_default();
    let line = POLICY.lines().next().unwrap_or_default();
    for (from, to, piece) in [
        ("[matchers]", "[matcher]", "model:13: there is no such section"),
        (matcher, "", "model:1: a definition is missing; write [matchers]"),
        ("r = account, type,", "r = account,", "model:2: 6 names are given to what is asked"),
        ("r = account, type,", "r = type, type,", "model:2: the same name stands here twice"),
        ("g = _, _", "g = _", "model:8: a role definition has two or three places"),
        ("some(where (p.eft == allow))", "subjectPriority(p.eft) || deny", "model:11: this effect is not known"),
        ("g(r.account", "h(r.account", "model:14: \"h\" is no function (known here: keyMatch,"),
        ("g(r.account, p.account)", "g(r.account)", "model:14: g takes 2 values, not 1"),
        ("r.type == p.type", "r.kind == p.type", "model:14: \"r.kind\" is no field"),
        ("r.type == p.type", "r.type = p.type", "model:14: \"=\" alone means nothing; write =="),
        ("r.type == p.type", "r.type", "model:14: a text stands where a condition is expected"),
        ("r.type == p.type", "r.type == p.type == true", "model:14: two comparisons follow each other"),
        ("r.type == p.type", "r.type > 1", "model:14: numbers cannot be compared"),
        ("r.type == p.type", "r.type in (\"x\")", "model:14: after in, a list of two or more"),
        ("r.type == p.type", "ipMatch(r.ip, \"1.2.3\")", "model:14: ipMatch needs an address or a network"),
        (
            "r.type == p.type",
            "regexMatch(r.type, r.account)",
            "model:14: a pattern, network or label made of what is asked",
        ),
        (
            "r.type == p.type",
            "labelMatch(p.labels, r.labels)",
            "model:14: labelMatch compares the last of what is asked",
        ),
        ("r.type == p.type", "regexMatch(r.type, \"^(a\")", "model:14: the pattern is not a regular expression"),
        ("r.type == p.type", "regexMatch(r.type, \"[a]\")", "model:14: Casbin turns square brackets into round ones"),
        ("\"admin\"", "\"admin'", "model:14: a text that begins with \" ends at ' for Casbin"),
        ("labelMatch(r.labels, p.labels))", "labelMatch(r.labels, p.labels)", "model:14: a \")\" is missing"),
        (line, "p, alice, book", "policy:1: the line has 2 columns after p, and the model defines 7"),
        (line, "q, alice", "policy:1: a line begins with p, or with the name of a role definition"),
        ("g, bob, role1", "g, bob", "policy:5: g needs 2 columns"),
        (
            "\"{\"\"a\"\":[\"\"b\"\"]}\"\np, alice",
            "{\"a\":[\"b\"]}\np, alice",
            "policy:1: a quotation mark in a column",
        ),
        (
            "read, \"{\"\"a\"\":[\"\"b\"\"]}\"",
            "read, \"{\"\"a\"\":\"\"b\"\"}\"",
            "policy:1: labels are lists of values by name",
        ),
        ("1.2.3.4, read", "1.2.3, read", "policy:1: ipMatch needs an address or a network"),
    ] {
        assert!(MODEL.contains(from) || POLICY.contains(from), "{from}");
        let wrong = read(&MODEL.replacen(from, to, 1), &POLICY.replacen(from, to, 1)).err().unwrap_or_default();
        assert!(wrong.starts_with(piece), "{to}: {wrong}");
    }
    let eft = read(&model("r.name == p.name", "!some(where (p.eft == deny))"), "p, a, b, Deny").err();
    assert_eq!(eft.as_deref(), Some("policy:1: the column eft says what the line does; write allow or deny"));
}

/// `p.ip == "*" || ipMatch(r.ip, p.ip)`: what is never looked at need not make sense.
#[test]
fn a_line_is_asked_only_what_it_is_asked_in_docker_auth() {
    let matcher = r#"(p.account == "*" || ipMatch(r.ip, p.account)) && r.name == p.name"#;
    let policy = read(&model(matcher, "some(where (p.eft == allow))"), "p, *, x, allow\np, 10.0.0.0/8, y, allow");
    let policy = policy.unwrap_or_else(|wrong| unreachable!("{wrong}"));
    for (name, address, expected) in [("x", "1.1.1.1", "pull"), ("y", "1.1.1.1", ""), ("y", "::ffff:10.0.0.1", "pull")]
    {
        assert_eq!(granted(&policy, ["a", "t", name, "s", address], &[], &["pull"]), expected, "{name} {address}");
    }
}

/// A line that denies is not passed by because nobody knows whether it is about this client; nor is anything granted by
/// expressions of a policy that has none.
#[test]
fn what_cannot_be_decided_is_not_granted() {
    let may = |matcher: &str, policy: &str, address: &str| {
        let read = read(&model(matcher, "!some(where (p.eft == deny))"), policy);
        granted(&read.unwrap_or_else(|wrong| unreachable!("{wrong}")), ["a", "t", "x", "s", address], &[], &["pull"])
    };
    let (matcher, policy) = ("r.name == p.name && ipMatch(r.ip, p.account)", "p, 10.0.0.0/8, x, deny");
    assert_eq!([may(matcher, policy, "10.1.1.1"), may(matcher, policy, "1.1.1.1")], ["", "pull"]);
    assert_eq!([may(matcher, policy, ""), may(matcher, policy, "10.1.1")], ["", ""]);
    for (rule, expected) in [("r.account != 'a'", "pull"), ("r.account == 'a' && r.action in ('pull', 'push')", "")] {
        assert_eq!(may("eval(p.account)", &format!("p, \"{rule}\", x, deny"), ""), expected, "{rule}");
    }
    assert_eq!(may("r.account == 'a' || eval(p.account)", "", ""), "");
    let circle = read(&model("eval(p.account)", "priority(p.eft) || deny"), "p, eval(p.account), x, allow").err();
    assert_eq!(circle.as_deref(), Some("policy:1: eval asks for eval more than 4 times"));
}

/// Circles of roles end, and so does a policy that costs more than a request may.
#[test]
fn a_decision_ends() {
    let circle: String = (0..2_000).map(|number| format!("g, r{number}, r{}\n", (number + 1) % 2_000)).collect();
    let matcher = "g(r.account, p.account) && r.name == p.name";
    let read = |lines: &str| {
        read(&model(matcher, "some(where (p.eft == allow))"), lines).unwrap_or_else(|wrong| unreachable!("{wrong}"))
    };
    let policy = read(&format!("{circle}p, r10, x, allow\np, r11, y, allow\n"));
    let may = |name: &str| granted(&policy, ["r0", "t", name, "s", ""], &[], &["pull"]);
    assert_eq!((may("x").as_str(), may("y").as_str()), ("pull", ""), "ten steps and no more, as Casbin goes");
    let many: String = (0..5_000).map(|number| format!("p, a{number}, x, allow\n")).collect();
    let policy = read(&many);
    let labels = BTreeMap::new();
    let asked =
        Asked { values: ["a", "t", "x", "s", "", "pull", "{}"].map(Cow::Borrowed), address: None, labels: &labels };
    let mut budget = Budget::new(1_000, ::policy::Compiling::Allowed);
    assert_eq!(policy.decide(&asked, &mut budget), Err(TooComplex));
    assert!(policy.decide(&asked, &mut Budget::for_request()).is_ok());
}
