//! OpenLDAP's server with a small tree of people and groups, on free loopback ports.

use std::fmt::Write as _;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use super::keys::Chain;
use super::process::{Process, Signal, until};
use super::{part, port, scratch};

/// Where the tree begins.
pub(crate) const SUFFIX: &str = "dc=example,dc=org";
/// Where people are.
pub(crate) const PEOPLE: &str = "ou=people,dc=example,dc=org";
/// Where groups are.
pub(crate) const GROUPS: &str = "ou=groups,dc=example,dc=org";
const POLICIES: &str = "ou=policies,dc=example,dc=org";
/// Who may search everything, and that password.
pub(crate) const READER: (&str, &str) = ("cn=reader,dc=example,dc=org", "reader: p+w% ö");
/// A name with everything in it that has a meaning in distinguished names and filters.
pub(crate) const ODD: &str = "o'dd, \"a+b\" (c) *\\#=;<>";
/// A name within every listener that no certificate of the tests names.
pub(crate) const UNNAMED: &str = "127.0.0.2";

const ADMIN: (&str, &str) = ("cn=admin,dc=example,dc=org", "admin");

/// The password of somebody in the tree.
pub(crate) fn password(uid: &str) -> String {
    match uid {
        "longest" => "x".repeat(72),
        uid => format!("{uid}-pw"),
    }
}

/// A hash of the costly kind, as the server's own program makes it.
pub(crate) fn costly_hash(secret: &str) -> String {
    let mut command = part::client("slappasswd");
    command.args(["-o", "module-path=/usr/lib/ldap", "-o", "module-load=argon2", "-h", "{ARGON2}", "-n", "-s", secret]);
    part::run(&mut command).well().stdout
}

/// A running server. What is stored outlives its process, as long as this lives.
#[derive(Debug)]
pub(crate) struct Slapd {
    directory: PathBuf,
    process: Mutex<Process>,
    clear: u16,
    tls: u16,
}

/// A line of LDIF; base64 takes every value.
pub(crate) fn line(attribute: &str, value: &str) -> String {
    use base64::Engine as _;
    format!("{attribute}:: {}\n", base64::engine::general_purpose::STANDARD.encode(value))
}

/// A value in a distinguished name. Everything but letters and digits is escaped: not the way that the product does it.
fn escaped(value: &str) -> String {
    value.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => out.push(char::from(byte)),
            other => write!(out, "\\{other:02X}").unwrap(),
        }
        out
    })
}

/// The distinguished name of somebody.
pub(crate) fn person(uid: &str) -> String {
    format!("uid={},{PEOPLE}", escaped(uid))
}

/// LDIF that adds somebody with these further attributes.
pub(crate) fn somebody(uid: &str, more: &[(&str, &str)]) -> String {
    let mut ldif = line("dn", &person(uid));
    ldif.push_str("changetype: add\nobjectClass: inetOrgPerson\n");
    let own = [("uid", uid), ("cn", uid), ("sn", uid), ("userPassword", &password(uid))];
    for (attribute, value) in own.iter().chain(more) {
        ldif.push_str(&line(attribute, value));
    }
    ldif + "\n"
}

fn group(name: &str, members: &[&str]) -> String {
    let mut ldif = format!("dn: cn={name},{GROUPS}\nchangetype: add\nobjectClass: groupOfNames\ncn: {name}\n");
    for member in members {
        ldif.push_str(&line("member", &person(member)));
    }
    ldif + "\n"
}

fn tree() -> String {
    let mut ldif = format!(
        "dn: {SUFFIX}\nchangetype: add\nobjectClass: organization\nobjectClass: dcObject\no: Example\ndc: example\n\n"
    );
    for unit in ["people", "groups", "policies"] {
        write!(ldif, "dn: ou={unit},{SUFFIX}\nchangetype: add\nobjectClass: organizationalUnit\nou: {unit}\n\n")
            .unwrap();
    }
    let (name, secret) = READER;
    write!(
        ldif,
        "dn: {name}\nchangetype: add\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: reader\n{}\n",
        line("userPassword", secret)
    )
    .unwrap();
    for (name, must_change) in [("usual", "FALSE"), ("strict", "TRUE")] {
        write!(
            ldif,
            "dn: cn={name},{POLICIES}\nchangetype: add\nobjectClass: organizationalRole\nobjectClass: pwdPolicy\n\
             cn: {name}\npwdAttribute: userPassword\npwdMustChange: {must_change}\npwdLockout: TRUE\npwdMaxFailure: 0\n\n"
        )
        .unwrap();
    }
    let titles = [
        ("title", "Developer"),
        ("title", "Release Manager"),
        ("title", "*"),
        ("title", "CN=Chief,OU=Titles"),
        ("mail", "Alice@Example.org"),
    ];
    ldif.push_str(&somebody("alice", &titles));
    ldif.push_str(&somebody("longest", &[]));
    ldif.push_str(&somebody("Waldi", &[("mail", "waldi@example.org"), ("title", "*")]));
    ldif.push_str(&somebody("mallory", &[("mail", "mallory@example.org")]));
    ldif.push_str(&somebody(ODD, &[("title", "odd")]));
    ldif.push_str(&somebody("twin1", &[("mail", "twins@example.org")]));
    ldif.push_str(&somebody("twin2", &[("mail", "twins@example.org")]));
    ldif.push_str(&somebody("locked", &[]));
    ldif.push_str(&somebody("fresh", &[]));
    ldif.push_str(&group("Developers", &["alice", "Waldi"]));
    ldif.push_str(&group("Team-Web", &["alice", ODD]));
    ldif.push_str(&format!(
        "dn: cn=builders,{GROUPS}\nchangetype: add\nobjectClass: posixGroup\ncn: builders\ngidNumber: 1\nmemberUid: Waldi\n\n"
    ));
    // As an administrator does it: closed for good, and to be changed at the next login.
    ldif.push_str(&format!(
        "dn: {}\nchangetype: modify\nadd: pwdAccountLockedTime\npwdAccountLockedTime: 000001010000Z\n\n\
         dn: {}\nchangetype: modify\nadd: pwdPolicySubentry\npwdPolicySubentry: cn=strict,{POLICIES}\n-\n\
         add: pwdReset\npwdReset: TRUE\n\n",
        person("locked"),
        person("fresh"),
    ));
    ldif
}

fn configuration(directory: &Path, tls: Option<&Chain>) -> String {
    let mut text = String::new();
    for schema in ["core", "cosine", "inetorgperson", "nis"] {
        writeln!(text, "include /etc/ldap/schema/{schema}.schema").unwrap();
    }
    text.push_str(
        "modulepath /usr/lib/ldap\nmoduleload back_mdb\nmoduleload memberof\nmoduleload ppolicy\nmoduleload argon2\n",
    );
    if let Some(chain) = tls {
        write!(
            text,
            "TLSCertificateFile {}\nTLSCertificateKeyFile {}\n",
            chain.leaf.certificate.display(),
            chain.leaf.key.display()
        )
        .unwrap();
    }
    let (admin, secret) = ADMIN;
    write!(
        text,
        "database mdb\nsuffix \"{SUFFIX}\"\nrootdn \"{admin}\"\nrootpw {secret}\ndirectory {}\nmaxsize 16777216\n\
         index objectClass,uid,mail,member eq\n\
         overlay memberof\noverlay ppolicy\nppolicy_default \"cn=usual,{POLICIES}\"\nppolicy_use_lockout\n\
         access to attrs=userPassword by anonymous auth by * none\n\
         access to * by users read by * none\n",
        directory.join("data").display()
    )
    .unwrap();
    text
}

fn launch(directory: &Path, [clear, tls]: [u16; 2], has_tls: bool) -> Process {
    let mut hosts = vec!["127.0.0.1", UNNAMED];
    // A machine without IPv6 has no such address, and fails the one test that needs it.
    if TcpListener::bind("[::1]:0").is_ok() {
        hosts.push("[::1]");
    }
    let listen = hosts.iter().fold(String::new(), |mut listen, host| {
        write!(listen, "ldap://{host}:{clear} ").unwrap();
        if has_tls {
            write!(listen, "ldaps://{host}:{tls} ").unwrap();
        }
        listen
    });
    // What it is asked goes to its log; what is in the foreground does not leave it.
    let mut serve = part::command_at(&directory.join("slapd"));
    serve.args(["-d", "stats", "-h", listen.trim(), "-f"]).arg(directory.join("slapd.conf"));
    Process::start("slapd", &serve)
}

/// Waits until it takes connections, a moment after it says that it starts; nothing if it ended, or if somebody else has one
/// of its ports (it would go on with the others).
fn started(process: &Process, [clear, _]: [u16; 2]) -> Option<()> {
    let takes = |process: &Process| {
        let starts = process.log().contains("slapd starting");
        (starts && TcpStream::connect(("127.0.0.1", clear)).is_ok()).then_some(())
    };
    process.up_or_ended("its first connection", takes)?;
    (!process.log().contains(") failed errno")).then_some(())
}

impl Slapd {
    /// Starts a server that does not know TLS.
    pub(crate) fn start() -> Self {
        Self::start_with(None)
    }

    /// Starts a server with this certificate; it takes StartTLS, and TLS on a port of its own.
    pub(crate) fn start_tls(chain: &Chain) -> Self {
        Self::start_with(Some(chain))
    }

    fn start_with(chain: Option<&Chain>) -> Self {
        let directory = scratch::directory("slapd");
        fs::create_dir(directory.join("data")).unwrap();
        scratch::write(&directory, "slapd.conf", &configuration(&directory, chain));
        // Where AppArmor confines Debian's program, it does so by its path.
        fs::copy(part::path("slapd"), directory.join("slapd")).unwrap();
        let (process, [clear, tls]) = port::with_free(|ports: [u16; 2]| {
            let process = launch(&directory, ports, chain.is_some());
            started(&process, ports).map(|()| (process, ports))
        });
        let slapd = Self { directory, process: Mutex::new(process), clear, tls };
        slapd.change(&tree());
        slapd
    }

    /// `127.0.0.1:port`, in the clear and for StartTLS.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.clear)
    }

    /// `host:port` for StartTLS.
    pub(crate) fn clear_at(&self, host: &str) -> String {
        format!("{host}:{}", self.clear)
    }

    /// `host:port` for TLS.
    pub(crate) fn tls_at(&self, host: &str) -> String {
        format!("{host}:{}", self.tls)
    }

    /// Applies LDIF as the administrator.
    pub(crate) fn change(&self, ldif: &str) {
        let (admin, secret) = ADMIN;
        let mut client = part::client("ldapmodify");
        // The control lets even what only the server writes be changed, such as a lock.
        client.args(["-x", "-e", "relax", "-D", admin, "-w", secret, "-H", &format!("ldap://{}", self.address())]);
        part::run_with(&mut client, ldif.as_bytes()).well();
    }

    /// How many connections clients hold to it.
    pub(crate) fn connections(&self) -> usize {
        let ports = [self.clear, self.tls].map(|port| format!(":{port:04X}"));
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        let is_ours = |line: &&str| {
            let mut words = line.split_whitespace().skip(1);
            let (local, _, state) = (words.next(), words.next(), words.next());
            state == Some("01") && local.is_some_and(|local| ports.iter().any(|port| local.ends_with(port)))
        };
        table.lines().filter(is_ours).count()
    }

    /// Everything that it was asked since its last start, as it logs it.
    pub(crate) fn log(&self) -> String {
        self.process().log()
    }

    /// How many binds it was asked for since its last start, but for those of the administrator.
    pub(crate) fn binds(&self) -> usize {
        let log = self.log();
        log.lines().filter(|line| line.contains(" method=") && !line.contains(ADMIN.0)).count()
    }

    /// Sends a signal to the server.
    pub(crate) fn signal(&self, signal: Signal) {
        self.process().signal(signal);
    }

    /// Kills the server, and waits until it is gone.
    pub(crate) fn kill(&self) {
        let process = self.process();
        process.signal(Signal::Kill);
        process.end();
    }

    /// Starts the server again after its end, at the same addresses and with what it stored.
    pub(crate) fn restart(&self) {
        let has_tls = fs::read_to_string(self.directory.join("slapd.conf")).unwrap().contains("TLSCertificateFile");
        let mut process = self.process();
        // The port may be in the hands of a connection that is not wholly closed.
        *process = until("the server to be up again", || {
            let ports = [self.clear, self.tls];
            let process = launch(&self.directory, ports, has_tls);
            started(&process, ports).map(|()| process)
        });
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap()
    }
}
