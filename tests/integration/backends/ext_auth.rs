//! Accounts that a program knows: the protocol, and every way in which a program can fail.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dockwarden::authn::LabelSyntax;
use dockwarden::authn::attempts::Attempts;
use dockwarden::authn::program::{ProgramAuthn, ProgramUsers};
use dockwarden::authn::{Account, Authenticator, Credentials, Outcome, Secret};
use dockwarden::client_network::ClientNetwork;
use dockwarden::config::{Config, Secrets};
use dockwarden::program::ProgramSettings;
use policy::pattern::LabelValue;

use super::conformance::{ACCOUNTS, conforms, outage_closes_and_says_so};
use super::program::{AMPLE, Gate, SHORT, Watch, script};
use crate::bed::{ALICE, Bed, Caller, Folder};
use crate::logs::{Form, Log};

const ASK: &str = "/auth?service=registry&scope=repository:pub/app:pull";

fn backend(program: ProgramSettings) -> ProgramAuthn {
    let users = ProgramUsers { program, label_values: LabelSyntax::Glob };
    ProgramAuthn::new(users, Arc::new(Attempts::new().unwrap()))
}

async fn login(backend: &ProgramAuthn, account: &str, password: &str) -> anyhow::Result<Outcome> {
    // What cannot be an account is refused at the door, and gets to no backend.
    let Ok(account) = Account::parse(account) else { return Ok(Outcome::Rejected) };
    let password = Secret::new(password);
    backend.authenticate(&Credentials::Password { account, password }, ClientNetwork::Unknown).await
}

/// What a `ext_auth:` section says of these settings.
fn section(program: &ProgramSettings, more: &str) -> String {
    let ProgramSettings { command, args, timeout, concurrency } = program;
    let timeout = timeout.as_millis();
    format!(
        "ext_auth: {{command: {command:?}, args: {args:?}, timeout: {timeout}ms, concurrency: {concurrency}{more}}}\n"
    )
}

/// A program that knows the accounts of the table, and reads its question as one should: up to the first space.
fn well_written() -> String {
    let [(alice, right), (longest, full)] = ACCOUNTS;
    format!(
        "input=$(cat; echo .)\ninput=${{input%.}}\naccount=${{input%% *}}\npassword=${{input#* }}\n\
         case $account in\n{alice}) expected={right} ;;\n{longest}) expected={full} ;;\n*) exit 2 ;;\nesac\n\
         [ \"$password\" = \"$expected\" ] || exit 1\n"
    )
}

#[tokio::test]
async fn the_backend_conforms() {
    let folder = Folder::new();
    conforms(&backend(script(&folder, "auth.sh", &well_written(), AMPLE))).await;
}

/// The question is `account password` and nothing more: passwords may hold spaces, and no line break follows.
#[tokio::test]
async fn the_program_reads_account_space_password() {
    let folder = Folder::new();
    let backend = backend(script(&folder, "auth.sh", "cat > $DIR/asked\nexit 2\n", AMPLE));
    for (account, password) in
        [("carol", "secret"), ("carol@example.com", " two  spaces "), ("ö", "ä€"), ("c", "%s\\n")]
    {
        assert_eq!(login(&backend, account, password).await.unwrap(), Outcome::NotMine);
        let asked = std::fs::read_to_string(folder.path("asked")).unwrap();
        assert_eq!(asked, format!("{account} {password}"));
    }
}

/// A question that the program could read as another one is never put to it, and nobody else may answer it.
#[tokio::test]
async fn ambiguous_questions_start_nothing() {
    let folder = Folder::new();
    let backend = backend(script(&folder, "auth.sh", ": > $DIR/started\n", AMPLE));
    for (account, password) in [
        ("alice x", "y"),
        (" alice", "y"),
        ("alice ", "y"),
        ("alice\tx", "y"),
        ("alice\u{2003}x", "y"),
        ("alice\rx", "y"),
        ("alice\nx", "y"),
        ("alice\0x", "y"),
        ("", "y"),
        ("alice", "y\n"),
        ("alice", "y\rz"),
        ("alice", "\0"),
    ] {
        assert_eq!(login(&backend, account, password).await.unwrap(), Outcome::Rejected, "{account:?} {password:?}");
    }
    assert_eq!(backend.authenticate(&Credentials::Anonymous, ClientNetwork::Unknown).await.unwrap(), Outcome::NotMine);
    assert!(!folder.path("started").exists());
    assert!(matches!(login(&backend, "alice", "y").await.unwrap(), Outcome::Accepted(_)));
    assert!(folder.path("started").exists());
}

#[tokio::test]
async fn what_the_program_says_is_what_holds() {
    let folder = Folder::new();
    let labels = |pairs: &[(&str, &[&str])]| {
        let values = |values: &[&str]| values.iter().map(|value| LabelValue::glob(value).unwrap()).collect::<Vec<_>>();
        pairs.iter().map(|(name, own)| ((*name).to_owned(), values(own))).collect()
    };
    let accepted = [
        ("exit 0", labels(&[])),
        ("echo", labels(&[])),
        ("echo '{}'", labels(&[])),
        ("echo '{\"labels\": null}'", labels(&[])),
        ("echo '{\"labels\": {}, \"remark\": 1}'", labels(&[])),
        (
            "echo '{\"labels\": {\"team\": [\"web\", \"api-*\"], \"none\": []}}'",
            labels(&[("team", &["web", "api-*"]), ("none", &[])]),
        ),
        ("echo '{\"Labels\": {\"team\": null}}'", labels(&[("team", &[])])),
        // Nothing is read, much is said on standard error, and what is left behind does not delay the answer.
        ("exec <&-; head -c 300000 /dev/zero >&2; sleep 60 & echo '{}'", labels(&[])),
    ];
    for (text, expected) in accepted {
        let backend = backend(script(&folder, "auth.sh", text, AMPLE));
        match login(&backend, "carol", &"p".repeat(100_000)).await {
            Ok(Outcome::Accepted(identity)) => {
                assert_eq!((identity.name(), identity.labels.as_ref()), ("carol", &expected), "{text}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    // What stands on standard output says nothing unless the program allows.
    for (text, expected) in [
        ("exit 1", Outcome::Rejected),
        ("exit 2", Outcome::NotMine),
        ("echo '{\"labels\": {}}'; exit 1", Outcome::Rejected),
        ("echo junk; exit 2", Outcome::NotMine),
    ] {
        let backend = backend(script(&folder, "auth.sh", text, AMPLE));
        assert_eq!(login(&backend, "carol", "x").await.unwrap(), expected, "{text}");
    }
}

/// Every way of failing: an error, never a yes, and never a "wrong password".
#[tokio::test]
async fn a_program_that_fails_lets_nobody_in_and_is_no_wrong_password() {
    let folder = Folder::new();
    let named = |command: String| ProgramSettings { command, args: Vec::new(), timeout: AMPLE, concurrency: 16 };
    let not_executable = folder.put("text", "no program").to_str().unwrap().to_owned();
    let mut cases = vec![
        (named(folder.path("missing").to_str().unwrap().to_owned()), "it cannot be started: No such file"),
        (named("no-such-program-anywhere".to_owned()), "it cannot be started: No such file"),
        (named(not_executable), "it cannot be started: Permission denied"),
        (named(folder.path("").to_str().unwrap().to_owned()), "it cannot be started"),
    ];
    let mut write = |name: &str, text: &str, timeout, piece| cases.push((script(&folder, name, text, timeout), piece));
    write("three", "exit 3", AMPLE, "ended with 3; 0 allows, 1 denies, 2 leaves it to others");
    write("many", "exit 255", AMPLE, "ended with 255");
    write("killed", "kill -9 $$", AMPLE, "it was ended by signal 9");
    write("hung", "sleep 60", SHORT, "gave no answer within 300ms");
    write("deaf", "trap '' TERM INT HUP; sleep 60; sleep 60", SHORT, "gave no answer within 300ms");
    write("silent", "exec <&- >&- 2>&-; sleep 60", SHORT, "gave no answer within 300ms");
    write("flood", "while :; do echo '                              '; done", AMPLE, "it wrote more than 65536 bytes");
    write("late flood", "head -c 65537 /dev/zero; exit 0", AMPLE, "it wrote more than 65536 bytes");
    write("junk", "echo allowed", AMPLE, "its answer is not {\"labels\"");
    write("half", "printf '{\"labels\": {'", AMPLE, "its answer is not {\"labels\"");
    write("shape", "echo '{\"labels\": {\"team\": \"web\"}}'", AMPLE, "its answer is not {\"labels\"");
    write("types", "echo '{\"labels\": {\"team\": [1]}}'", AMPLE, "its answer is not {\"labels\"");
    write("twice", "echo '{\"labels\": {}, \"labels\": {\"a\": []}}'", AMPLE, "its answer is not {\"labels\"");
    write(
        "label twice",
        "echo '{\"labels\": {\"team\": [\"web\"], \"team\": [\"admin\"]}}'",
        AMPLE,
        "its answer is not {\"labels\"",
    );
    write("list", "echo '[]'", AMPLE, "its answer is not {\"labels\"");
    write("by position", "echo '[{\"team\": [\"web\"]}]'", AMPLE, "its answer is not {\"labels\"");
    write("two", "echo '{} {}'", AMPLE, "its answer is not {\"labels\"");
    write("bytes", "printf '\\377'", AMPLE, "its answer is not {\"labels\"");
    write("glob", "echo '{\"labels\": {\"team\": [\"[a\"]}}'", AMPLE, "a value of one of its labels is not a glob");
    for (program, piece) in cases {
        let backend = backend(program.clone());
        let error = login(&backend, "carol", "x").await.err();
        let message = error.map(|error| format!("{error:#}")).unwrap_or_default();
        assert!(message.contains(piece) && message.contains(&program.command), "{piece}: {message}");
        let bed = Bed::with(&section(&program, ""));
        outage_closes_and_says_so(&bed, piece).await;
    }
}

/// Waits for its input's end, for a child that holds the watch, and for nothing else.
fn with_child(watch: &Watch) -> String {
    format!("exec 3>{}\nsleep 60 &\n(sleep 60; sleep 60) &\nprintf started >&3\nwait\n", watch.path())
}

#[tokio::test]
async fn at_the_deadline_the_program_and_its_children_are_gone() {
    let folder = Folder::new();
    let watch = Watch::new();
    let backend = backend(script(&folder, "auth.sh", &with_child(&watch), Duration::from_secs(2)));
    let error = login(&backend, "carol", "x").await.unwrap_err();
    assert!(error.to_string().contains("gave no answer within 2s and was killed"), "{error:#}");
    assert_eq!(watch.all_gone().await, "started");
}

#[tokio::test]
async fn when_the_request_goes_away_the_program_and_its_children_are_gone() {
    let folder = Folder::new();
    let watch = Watch::new();
    let backend = Arc::new(backend(script(&folder, "auth.sh", &with_child(&watch), AMPLE)));
    let asking = tokio::spawn({
        let backend = Arc::clone(&backend);
        async move { login(&backend, "carol", "x").await.map(drop) }
    });
    watch.written("started".len()).await;
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    assert_eq!(watch.all_gone().await, "");
    // Its turn is free again, all of them.
    let quick = self::backend(script(&folder, "auth.sh", "exit 1", AMPLE));
    assert_eq!(login(&quick, "carol", "x").await.unwrap(), Outcome::Rejected);
}

#[tokio::test]
async fn what_a_program_leaves_behind_when_it_answers_is_gone_too() {
    let folder = Folder::new();
    let watch = Watch::new();
    let text = format!("exec 3>{}\nsleep 60 &\nprintf started >&3\nexit 1\n", watch.path());
    let backend = backend(script(&folder, "auth.sh", &text, AMPLE));
    assert_eq!(login(&backend, "carol", "x").await.unwrap(), Outcome::Rejected);
    assert_eq!(watch.all_gone().await, "started");
}

/// Many logins at once: as many programs as are allowed, and not one more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_programs_run_at_once_than_are_allowed() {
    const LIMIT: usize = 3;
    const LOGINS: usize = 12;
    let folder = Folder::new();
    let (watch, gate) = (Watch::new(), Gate::new());
    let text = format!(
        "cd $DIR\n: > run.$$\nset -- run.*\necho $# >> counts\nprintf s > {}\nread go < {}\nrm run.$$\nexit 1\n",
        watch.path(),
        gate.path()
    );
    let program = ProgramSettings { concurrency: LIMIT, ..script(&folder, "auth.sh", &text, AMPLE) };
    let backend = Arc::new(backend(program));
    let mut logins = tokio::task::JoinSet::new();
    for _ in 0..LOGINS {
        let backend = Arc::clone(&backend);
        logins.spawn(async move { login(&backend, "carol", "x").await.unwrap() });
    }
    watch.written(LIMIT).await;
    for _ in LIMIT..LOGINS {
        gate.let_one_go();
        watch.written(1).await;
    }
    for _ in 0..LIMIT {
        gate.let_one_go();
    }
    assert!(logins.join_all().await.iter().all(|said| *said == Outcome::Rejected));
    let counts = std::fs::read_to_string(folder.path("counts")).unwrap();
    let counts: Vec<usize> = counts.lines().map(|count| count.parse().unwrap()).collect();
    assert_eq!((counts.len(), counts.iter().max()), (LOGINS, Some(&LIMIT)), "{counts:?}");
}

/// Who waits for a turn is answered in the same time as everybody: the wait and the program share one deadline.
#[tokio::test]
async fn waiting_for_a_turn_counts_against_the_deadline() {
    const DEADLINE: Duration = Duration::from_secs(4);
    let folder = Folder::new();
    // The first gives its turn on to the second when half of the time is over; the third never gets one.
    let text = "case $(cat) in first*) sleep 2; exit 1 ;; esac\nsleep 60\n";
    let program = ProgramSettings { concurrency: 1, ..script(&folder, "auth.sh", text, DEADLINE) };
    let backend = backend(program);
    let started = Instant::now();
    let (first, second, third) =
        tokio::join!(login(&backend, "first", "x"), login(&backend, "second", "x"), login(&backend, "third", "x"));
    let took = started.elapsed();
    assert_eq!(first.unwrap(), Outcome::Rejected);
    for said in [second, third] {
        let message = format!("{:#}", said.unwrap_err());
        assert!(message.contains("/bin/sh") && message.contains("4s"), "{message}");
    }
    // With a deadline of its own from its turn on, the second would take six seconds.
    assert!(took < DEADLINE + Duration::from_millis(1500), "{took:?}");
}

/// Through the whole server: subject, labels in rules, and the static users, for whom nothing is started.
#[tokio::test]
async fn a_login_by_program_through_the_server() {
    let folder = Folder::new();
    let text = "input=$(cat)\necho \"$input\" >> $DIR/asked\ncase $input in\n'carol carol pw') ;;\ncarol\\ *) exit 1 ;;\n*) exit 2 ;;\nesac\n\
                echo '{\"labels\": {\"team\": [\"w*\"]}}'\n";
    let program = script(&folder, "auth.sh", text, AMPLE);
    let bed = Bed::in_folder(folder, &section(&program, ""));
    let carol = Caller::Account("carol", "carol pw");
    let scopes = "repository:web/app:push repository:api/app:push repository:carol/app:delete";
    let granted = ["repository:web/app:push", "repository:api/app:", "repository:carol/app:delete"];
    assert_eq!(bed.grants(carol, scopes).await, granted);
    for (account, password) in [("carol", "wrong"), ("dave", "carol pw"), ("carol carol", "pw"), ("carol", "carol  pw")]
    {
        assert_eq!(bed.get(ASK).basic(account, password).send().await.status, 401, "{account} {password}");
    }
    let asked = std::fs::read_to_string(bed.folder.path("asked")).unwrap();
    assert_eq!(asked, "carol carol pw\ncarol wrong\ndave carol pw\ncarol carol  pw\n");
    // The password is not remembered, so a withdrawn account is refused at once.
    bed.folder.put("auth.sh", "exit 1");
    assert_eq!(bed.get(ASK).by(carol).send().await.status, 401);
    bed.folder.put("auth.sh", &format!(": > {}/started", bed.folder.path("").display()));
    for caller in [ALICE, Caller::Account("alice", "wrong"), Caller::Nobody] {
        bed.get(ASK).by(caller).send().await;
    }
    assert!(!bed.folder.path("started").exists(), "static users and anonymous clients wait for no program");

    // The same labels as plain text.
    let folder = Folder::new();
    let program = script(&folder, "auth.sh", text, AMPLE);
    let bed = Bed::in_folder(folder, &section(&program, ", label_values: literal"));
    assert_eq!(bed.grants(carol, "repository:web/app:push").await, ["repository:web/app:"]);
}

/// Whatever a program does with the password, our log does not hold it.
#[tokio::test]
async fn the_password_is_in_no_log() {
    let folder = Folder::new();
    let text = "set -x\nread -r line || :\necho \"$line\" >&2\necho 'no such host' >&2\nprintf '%s' \"$line\"\n";
    let program = script(&folder, "auth.sh", text, AMPLE);
    let bed = Bed::in_folder(folder, &section(&program, ""));
    let log = Log::start(Form::Text);
    for password in ["hunter2-hunter2", "hunter2 hunter2", "  hunter2-hunter2  "] {
        assert_eq!(bed.get(ASK).basic("carol", password).send().await.status, 503);
    }
    bed.folder.put("auth.sh", "read -r line || :\nprintf '{\"labels\": \"%s\"}' \"$line\"\n");
    assert_eq!(bed.get(ASK).basic("carol", "hunter2-hunter2").send().await.status, 503);
    let text = log.text();
    assert!(!text.contains("hunter2"), "{text}");
    assert!(text.contains("program_stderr") && text.contains("no such host"), "{text}");
    assert!(text.contains("[a line with the password in it]"), "{text}");
    assert!(text.contains("its answer is not") && text.contains("unavailable"), "{text}");
}

/// Labels can come from the program, so a rule on one that no static user has is no slip.
#[test]
fn rules_on_labels_that_only_the_program_knows_are_no_warning() {
    let folder = Folder::new();
    let rules = "acl: [{match: {name: \"${labels:crew}/*\", labels: {rank: captain}}, actions: [pull]}]\n";
    let warnings = |section: &str| {
        let file = folder.configure(&format!("users: {{}}\n{rules}{section}"));
        Config::load(&file, [], Secrets::Read).unwrap().lint().len()
    };
    assert_eq!((warnings(""), warnings("ext_auth: {command: /bin/sh}\n")), (2, 0));
}

#[test]
fn the_section_is_read_strictly() {
    let folder = Folder::new();
    let load = |section: &str| Config::load(&folder.configure(section), [], Secrets::Read);
    // No users are needed beside it.
    let text = folder.complete("acl: []\next_auth: {command: /bin/sh}\nusers: ~\n");
    let config = Config::read(std::path::Path::new("config.yml"), &text, [], Secrets::Read).unwrap();
    let users = config.backends.get::<ProgramUsers>().unwrap().clone();
    let expected = ProgramSettings {
        command: "/bin/sh".to_owned(),
        args: Vec::new(),
        timeout: Duration::from_secs(5),
        concurrency: 16,
    };
    assert_eq!(users, ProgramUsers { program: expected, label_values: LabelSyntax::Glob });
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    for (fields, piece) in [
        ("", "ext_auth.command: a program is needed"),
        ("command: \"\"", "ext_auth.command: a program's path is expected here"),
        ("command: \"a\\0b\"", "ext_auth.command: a path cannot contain NUL"),
        ("command: [a]", "ext_auth.command: one value is expected here"),
        ("command: a, args: [\"x\\0\"]", "ext_auth.args: an argument cannot contain NUL"),
        ("command: a, args: {x: y}", "ext_auth.args: a list is expected here"),
        ("command: a, timeout: 0", "ext_auth.timeout: a program needs some time"),
        ("command: a, timeout: 61s", "ext_auth.timeout: clients do not wait that long; write at most 60s"),
        ("command: a, timeout: soon", "ext_auth.timeout: \"soon\" is not a duration"),
        ("command: a, concurrency: 0", "ext_auth.concurrency: write how many may run at once, from 1 to 128"),
        ("command: a, concurrency: 129", "ext_auth.concurrency: write how many may run at once, from 1 to 128"),
        ("command: a, label_values: regex", "ext_auth.label_values: \"regex\" is neither glob nor literal"),
        ("command: a, arg: [x]", "ext_auth.arg: there is no such key; did you mean \"args\"?"),
    ] {
        match load(&format!("ext_auth: {{{fields}}}\n")) {
            Ok(_) => panic!("{fields} is not refused"),
            Err(invalid) => {
                assert_eq!(invalid.problems.len(), 1, "{fields}: {invalid}");
                assert!(invalid.to_string().contains(piece), "{fields}: {invalid}");
            }
        }
    }
    folder.put("text", "no program");
    for (command, piece) in [
        ("$DIR/nowhere", "nowhere cannot be started: No such file"),
        ("$DIR/text", "text is not executable; make it so with: chmod +x"),
        ("$DIR", "is not a file"),
    ] {
        let config = load(&format!("ext_auth: {{command: {command}}}\n")).unwrap();
        assert!(config.warnings.iter().any(|warning| warning.message.contains(piece)), "{:?}", config.warnings);
    }
}
