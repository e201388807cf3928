//! The LDAP section: what of it loads, and each slip by name.

use std::path::Path;

use dockwarden::authn::ldap::LdapSettings;
use dockwarden::backend::Facts;
use dockwarden::config::{Config, Secrets};

use super::{around, read_with};

/// What docker_auth's reference file says, but for its files.
const DOCKER_AUTHS: &str = r#"
ldap_auth:
  addr: ldap.example.com:636
  tls: always
  insecure_tls_skip_verify: false
  ca_certificate:
  bind_dn:
  bind_password_file:
  initial_bind_as_user: false
  base: o=example.com
  filter: (&(uid=${account})(objectClass=person))
  labels:
    title:
      attribute: title
    groups:
      attribute: memberOf
      parse_cn: true
      lower_case: true
"#;

fn lines(text: &str) -> Vec<String> {
    let problems = Config::read(Path::new("auth.yml"), text, [], Secrets::Read).err().unwrap_or_default();
    problems.iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect()
}

#[test]
fn docker_auths_section_loads_as_it_stands_and_lets_somebody_log_in() {
    let text = around(DOCKER_AUTHS).replace("users: {}\n", "");
    let config = read_with(&text, &[]).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert!(config.backends.get::<LdapSettings>().is_some());
    // Labels come from there too, so that no rule is said to be about labels that nobody has.
    let facts: Vec<_> = config.backends.facts().filter(|(section, _)| *section == "ldap_auth").collect();
    assert!(matches!(facts.as_slice(), [(_, Facts::AccountsElsewhere(_))]), "{facts:?}");
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    // Left out or null, it is not there.
    let without = read_with(&around("ldap_auth: ~"), &[]).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert!(without.backends.get::<LdapSettings>().is_none());
}

#[test]
fn each_slip_in_the_section_is_named() {
    let usual = "addr: a, base: dc=x, filter: \"(uid=${account})\"";
    for (keys, expected) in [
        ("", "ldap_auth.addr: no server is named"),
        ("", "ldap_auth.base: where to search is missing"),
        ("", "ldap_auth.filter: the filter is missing"),
        ("addr: []", "addr: no server is named"),
        ("addr: \"ldapi:///run/x\"", "addr: this is not a server"),
        ("addr: \"ldaps://a/dc=x\"", "addr: this says more than a server"),
        ("addr: [a, \"ldaps://b:port\"]", "addr: this is not a server"),
        ("addr: [a, a]", "addr: \"a\" is in the list twice"),
        ("addr: a, tls: yes", "tls: \"yes\" is not one of none, starttls and always"),
        ("addr: \"ldap://a\", tls: always", "addr: ldap:// begins in the clear, and tls says always"),
        ("addr: \"ldaps://a\", tls: none", "addr: ldaps:// is TLS from the first byte"),
        ("addr: \"ldaps://a\", tls: starttls", "addr: ldaps:// is TLS from the first byte"),
        ("U, ca_certificate: /nowhere", "ca_certificate: a certificate is given, and TLS is off"),
        ("U, tls: always, ca_certificate: /nowhere", "ca_certificate: /nowhere cannot be read"),
        ("U, tls: starttls, ca_certificate: Cargo.toml", "ca_certificate: the certificate file holds no PEM block"),
        ("addr: a, base: example.com", "base: \"example.com\" is not a distinguished name"),
        ("addr: a, filter: \"uid=${account}\"", "filter: \"(\" is expected"),
        ("addr: a, filter: \"(uid=alice)\"", "filter: this finds the same entries for everybody"),
        ("addr: a, filter: \"(uid=${acount})\"", "stands for nothing here; ${account} does"),
        ("addr: a, base: dc=x, filter: \"(cn=*${account}*)\"", "account_attribute: which attribute is the account"),
        ("U, account_attribute: \"u i d\"", "account_attribute: \"u i d\" is not an attribute"),
        ("U, bind_dn: cn=a", "bind_password_file: bind_dn is given without its password"),
        ("U, bind_dn: cn=a, bind_password_file: /nowhere", "bind_password_file: /nowhere cannot be read"),
        ("U, bind_dn: cn=a, bind_password_file: /dev/null", "bind_password_file: /dev/null is not a regular file"),
        ("U, bind_dn: cn=a, bind_password: x, bind_password_file: y", "give bind_password or bind_password_file"),
        ("U, bind_password: hunter2", "bind_dn: a password is given without the name"),
        (
            "U, bind_dn: \"uid=${account}\", bind_password: x",
            "bind_dn: ${account} stands in a name to bind as only with",
        ),
        ("U, initial_bind_as_user: true", "bind_dn: the name that users bind as is missing"),
        ("U, initial_bind_as_user: true, bind_dn: cn=a", "bind_dn: this is the same name for everybody"),
        (
            "U, initial_bind_as_user: true, bind_dn: \"uid=${account}\", bind_password: x",
            "bind_password_file: with initial_bind_as_user nothing is bound but users",
        ),
        ("U, group_base: people", "group_base: \"people\" is not a distinguished name"),
        ("U, group_filter: \"(member=x)\"", "group_filter: this finds the same groups for everybody"),
        (
            "U, nested_groups: true, group_filter: \"(memberUid=${account})\"",
            "group_filter: nested groups are found by",
        ),
        ("U, labels: {g: {}}", "labels.g.attribute: the attribute is missing"),
        ("U, label_values: regex", "label_values: \"regex\" is neither glob nor literal"),
        ("U, deadline: 1h", "deadline: clients do not wait that long"),
        ("U, timeout: 0", "timeout: no server answers within that"),
        ("U, deadline: 61s", "deadline: clients do not wait that long for a token; write 60s or less"),
        ("U, connect_timeout: 11s", "connect_timeout: a login ends after 10 s; write less, or set deadline"),
        ("U, deadline: 500ms, timeout: 1s", "timeout: a login ends after 500 ms; write less, or set deadline"),
        ("U, pool_size: 0", "pool_size: write how many connections there may be, from 1 to 64"),
        ("U, pool_size: 65", "pool_size: write how many"),
        ("U, bind_db: x", "bind_db: there is no such key; did you mean \"bind_dn\"?"),
    ] {
        let keys = keys.strip_prefix('U').map_or(keys.to_owned(), |more| format!("{usual}{more}"));
        let found = lines(&around(&format!("ldap_auth: {{{keys}}}\n")));
        assert!(found.iter().any(|line| line.contains(expected)), "{keys}: {found:#?}");
        assert!(!found.concat().contains("hunter2"), "{found:?}");
    }
}

#[test]
fn what_loads_and_is_dangerous_is_a_warning() {
    let usual = "base: dc=x, filter: \"(uid=${account})\"";
    for (keys, expected) in [
        ("addr: ldap.example.com:389, B", Some("password travels to ldap://ldap.example.com:389 in the clear")),
        ("addr: [\"ldaps://a\", \"ldap://b\"], B", Some("password travels to ldap://b:389 in the clear")),
        ("addr: ldap.example.com:389, tls: starttls, B", None),
        ("addr: ldap.example.com:636, B", None),
        ("addr: ldap.example.com:636, tls: none, B", Some("in the clear")),
        ("addr: \"127.0.0.1:389\", B", None),
        ("addr: \"[::1]:389\", B", None),
        ("addr: localhost, B", None),
        ("addr: \"ldaps://a\", insecure_tls_skip_verify: true, B", Some("can read every password and let anybody in")),
        (
            "addr: \"ldaps://a\", base: dc=x, filter: \"(|(uid=${account})(mail=${account}))\"",
            Some("several names (uid, mail), and a rule about one of them does not hold for the others"),
        ),
        (
            "addr: \"ldaps://a\", base: dc=x, filter: \"(|(uid=${account})(mail=${account}))\", account_attribute: uid",
            None,
        ),
        ("addr: \"ldaps://a\", group_base: dc=x, B", Some("no label takes anything from groups")),
        ("addr: \"ldaps://a\", group_base: dc=x, labels: {g: {attribute: cn, from: groups}}, B", None),
    ] {
        let keys = keys.replace('B', usual);
        let config = read_with(&around(&format!("ldap_auth: {{{keys}}}\n")), &[]);
        let config = config.unwrap_or_else(|problems| panic!("{keys}: {problems:?}"));
        let warnings: Vec<&str> = config.warnings.iter().map(|warning| warning.message.as_str()).collect();
        match expected {
            None => assert!(warnings.is_empty(), "{keys}: {warnings:?}"),
            Some(expected) => {
                assert!(matches!(warnings.as_slice(), [warning] if warning.contains(expected)), "{keys}: {warnings:?}");
            }
        }
    }
}

#[test]
fn no_secret_gets_out_and_files_are_watched() {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("password");
    std::fs::write(&secret, "hunter2\n").unwrap();
    let text = around(&format!(
        "ldap_auth: {{addr: localhost, base: dc=x, filter: \"(uid=${{account}})\", bind_dn: cn=a, bind_password_file: \"{}\"}}\n",
        secret.display()
    ));
    let config = read_with(&text, &[]).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
    assert!(config.files.contains(&secret));
    std::fs::write(&secret, "\n").unwrap();
    assert!(lines(&text).iter().any(|line| line.contains("bind_password_file: the file is empty")));
    // Whoever explains rules need not have it.
    std::fs::remove_file(&secret).unwrap();
    assert!(Config::read(Path::new("auth.yml"), &text, [], Secrets::Skip).is_ok());
}
