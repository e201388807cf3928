//! The docker passwords that docker_auth gave people, imported from LevelDB. What docker_auth's own library writes is in `tests/real`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::rc::Rc;

use axum::http::Method;
use dockwarden::identity::Account;
use dockwarden::records::{self, Settings};
use rustix::fs::{FlockOperation, flock};
use rusty_leveldb::env::Env;
use rusty_leveldb::{DB, MemEnv, Options};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Browser, Scene, key, sections};
use crate::bed::{ALICE, Bed, Folder};
use crate::oidc::Provider;

const ADA: &str = "ada@example.org";
pub(super) const OLD: &str = "ZGphZmhhc2RmaGFz";
const LEVEL: &str = "level_token_db: {path: $DIR/tokens, token_hash_cost: 5}";

/// A record of docker_auth's that ends, or is asked about again, in so many seconds.
pub(super) fn record(seconds: i64, more: &Value) -> Value {
    let ends = OffsetDateTime::now_utc() + time::Duration::seconds(seconds);
    let hash = bcrypt::hash_with_result(OLD, 4).unwrap().format_for_version(bcrypt::Version::TwoA);
    let usual = json!({
        "token_type": "Bearer", "access_token": "old-access", "refresh_token": "refresh-0", "docker_password": hash,
        "valid_until": ends.format(&Rfc3339).unwrap(), "labels": {"groups": ["dev"]},
    });
    crate::oidc::changed(&usual, more)
}

/// Writes a database with these records below this folder.
pub(super) fn write(folder: &Path, records: &[(&str, String)]) {
    write_as(folder, records, Kept::InLog);
}

/// Where a database has its records.
#[derive(Clone, Copy, PartialEq)]
enum Kept {
    InLog,
    InTables,
}

fn write_as(folder: &Path, records: &[(&str, String)], kept: Kept) {
    let env: Rc<Box<dyn Env>> = Rc::new(Box::new(MemEnv::new()));
    let options = Options { env: Rc::clone(&env), ..Options::default() };
    let mut database = DB::open("db", options).unwrap();
    for (name, text) in records {
        database.put(format!("t:{name}").as_bytes(), text.as_bytes()).unwrap();
    }
    database.put(b"other", b"{}").unwrap();
    database.close().unwrap();
    if kept == Kept::InTables {
        // Opened once more, it makes a table of the log.
        drop(database);
        DB::open("db", Options { env: Rc::clone(&env), reuse_logs: false, ..Options::default() })
            .unwrap()
            .close()
            .unwrap();
    }
    fs::create_dir_all(folder).unwrap();
    for name in env.children(Path::new("db")).unwrap() {
        let mut bytes = Vec::new();
        env.open_sequential_file(&Path::new("db").join(&name)).unwrap().read_to_end(&mut bytes).unwrap();
        fs::write(folder.join(name), bytes).unwrap();
    }
    fs::write(folder.join("LOCK"), "").unwrap();
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

fn whole(provider: &Provider) -> String {
    format!("{}lasting: {{}}\napi: {{listen: main}}\n", sections(provider, LEVEL))
}

/// A server whose provider has docker_auth's database with these records.
fn scene(records: &[(&str, Value)]) -> Scene {
    let provider = Provider::start(&[&key()]);
    let folder = Folder::new();
    let records: Vec<(&str, String)> = records.iter().map(|(name, value)| (*name, value.to_string())).collect();
    write(&folder.path("tokens"), &records);
    let bed = Bed::in_folder(folder, &whole(&provider));
    Scene::of(provider, bed)
}

impl Scene {
    /// The same with a server that is started anew.
    fn restarted(self) -> Scene {
        let Scene { provider, bed, .. } = self;
        let Bed { folder, .. } = bed;
        let bed = Bed::in_folder(folder, &whole(&provider));
        Scene::of(provider, bed)
    }

    async fn revoke_all(&self, account: &str) {
        let records = records::open(&Settings::sqlite(self.bed.folder.path("records.db")));
        records.raise(&Account::parse(account).unwrap(), OffsetDateTime::now_utc()).await.unwrap();
    }
}

fn both() -> Result<Vec<String>, u16> {
    Ok(vec!["repository:dev/app:pull,push".to_owned()])
}

/// Check 39.
#[tokio::test]
async fn an_imported_password_logs_in_with_the_labels_of_before_and_can_make_no_other() {
    let scene = scene(&[(ADA, record(600, &json!({})))]);
    let before = files(&scene.bed.folder.path("tokens"));
    assert_eq!(scene.grants(ADA, OLD).await, both());
    assert_eq!(scene.grants(ADA, "guess").await, Err(401));
    assert_eq!(scene.grants("bea@example.org", OLD).await, Err(401));
    assert!(scene.provider.bodies().is_empty(), "the provider is not asked before docker_auth would");
    assert_eq!(files(&scene.bed.folder.path("tokens")), before, "docker_auth finds its database as it was");
    let stored = fs::read(scene.bed.folder.path("records.db")).unwrap();
    assert!(!stored.windows(9).any(|part| part == b"refresh-0"), "a refresh token is readable in the records");
    let reply = Browser::default().post(&scene.bed, "/sign-in", &format!("account={ADA}&password={OLD}")).await;
    assert_eq!(reply.status, 403, "{}", reply.text());
    let made = scene.bed.request(Method::POST, "/api/v1/tokens").body(r#"{"name": "x"}"#);
    let refused = made.header("content-type", "application/json").basic(ADA, OLD).send().await;
    assert!(refused.status == 403 && refused.text().contains("password_needed"), "{}", refused.text());
}

/// A password that was revoked, or whose person has signed in since, does not live again at the next start.
#[tokio::test]
async fn what_has_ended_is_not_imported_again() {
    let scene = scene(&[(ADA, record(600, &json!({}))), ("bea@example.org", record(600, &json!({})))]);
    assert_eq!((scene.grants(ADA, OLD).await, scene.grants("bea@example.org", OLD).await), (both(), both()));
    scene.revoke_all("bea@example.org").await;
    assert_eq!(scene.grants("bea@example.org", OLD).await, Err(401));
    let new = scene.password(&mut Browser::default(), "laptop").await;
    assert_eq!((scene.grants(ADA, OLD).await, scene.grants(ADA, &new).await), (Err(401), both()));
    let scene = scene.restarted();
    assert_eq!((scene.grants(ADA, OLD).await, scene.grants("bea@example.org", OLD).await), (Err(401), Err(401)));
    assert_eq!(scene.grants(ADA, &new).await, both());
}

/// What the provider says is asked for when docker_auth would have, by its refresh token, of which each is used once.
#[tokio::test]
async fn the_provider_is_asked_again_and_its_word_counts() {
    let scene = scene(&[(ADA, record(-5, &json!({})))]);
    scene.claim(json!({"groups": ["all"]}));
    let nothing = Ok(vec!["repository:dev/app:".to_owned()]);
    assert_eq!(scene.grants(ADA, OLD).await, nothing);
    assert_eq!(scene.grants(ADA, OLD).await, nothing);
    assert_eq!(scene.provider.bodies().len(), 1);
    scene.claim(json!({}));
    scene.later(3601).await;
    assert_eq!(scene.grants(ADA, OLD).await, both());
    scene.claim(json!({"email": "lovelace@example.org"}));
    scene.later(3601).await;
    assert_eq!(scene.grants(ADA, OLD).await, Err(401), "docker_auth knew a name, and nobody has it any more");
    scene.claim(json!({}));
    assert_eq!(scene.grants(ADA, OLD).await, Err(401), "dead for good");
    let new = scene.password(&mut Browser::default(), "laptop").await;
    assert_eq!(scene.grants(ADA, &new).await, both());
}

#[tokio::test]
async fn who_is_gone_at_the_provider_is_locked_out() {
    let scene =
        scene(&[(ADA, record(-5, &json!({}))), ("bea@example.org", record(-5, &json!({"refresh_token": null})))]);
    assert_eq!(scene.grants("bea@example.org", OLD).await, Err(401), "nobody can be asked, and its time is over");
    scene.provider.answer_tokens(|_| (503, json!({})));
    assert_eq!(scene.grants(ADA, OLD).await, both(), "away: the last word counts for the time of grace");
    let scene = scene.restarted();
    scene.provider.answer_tokens(|_| (400, json!({"error": "invalid_grant"})));
    assert_eq!((scene.grants(ADA, OLD).await, scene.grants(ADA, OLD).await), (Err(401), Err(401)));
    assert_eq!(scene.provider.bodies().len(), 2, "the answer stays");
}

#[tokio::test]
async fn records_that_cannot_be_used_leave_the_others_alone() {
    let scene = scene(&[
        ("", record(600, &json!({}))),
        ("a:b", record(600, &json!({}))),
        ("list", json!(["refresh-0"])),
        ("hash", record(600, &json!({"docker_password": "plain"}))),
        ("moment", record(600, &json!({"valid_until": "tomorrow"}))),
        (ADA, record(600, &json!({}))),
    ]);
    assert_eq!(scene.grants(ADA, OLD).await, both());
    for name in ["list", "hash", "moment"] {
        assert_eq!(scene.grants(name, OLD).await, Err(401), "{name}");
    }
}

/// Whoever has the database open may change it; until it can be read, nobody knows who an account is that nobody else knows.
#[tokio::test]
async fn a_database_that_is_in_use_or_damaged_is_no_answer() {
    let scene = scene(&[(ADA, record(600, &json!({})))]);
    let tokens = scene.bed.folder.path("tokens");
    let lock = File::open(tokens.join("LOCK")).unwrap();
    flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    assert_eq!(scene.grants(ADA, OLD).await, Err(503));
    assert_eq!(scene.bed.get("/auth?service=registry").by(ALICE).send().await.status, 200, "a static user");
    drop(lock);
    let scene = scene.restarted();
    assert_eq!(scene.grants(ADA, OLD).await, both());
    drop(scene);

    let scene = self::scene(&[(ADA, record(600, &json!({})))]);
    fs::write(scene.bed.folder.path("tokens/CURRENT"), "MANIFEST-000099\n").unwrap();
    assert_eq!(scene.grants(ADA, OLD).await, Err(503));
}

/// The library that reads the database passes over what it cannot read, and an import of what is left would be the last one.
#[tokio::test]
async fn a_database_that_is_not_whole_is_not_imported_as_far_as_it_goes() {
    type Damage = fn(&Path, &[u8]);
    let damages: [(&str, Damage); 4] = [
        ("another byte", |file, whole| {
            let mut bytes = whole.to_vec();
            bytes[20] ^= 1;
            fs::write(file, bytes).unwrap();
        }),
        ("cut off", |file, whole| fs::write(file, &whole[..whole.len() - 10]).unwrap()),
        ("zeros", |file, whole| fs::write(file, vec![0; whole.len()]).unwrap()),
        ("gone", |file, _| fs::remove_file(file).unwrap()),
    ];
    for (kept, end) in [(Kept::InLog, ".log"), (Kept::InTables, ".ldb")] {
        for (what, damage) in damages {
            let folder = Folder::new();
            let tokens = folder.path("tokens");
            write_as(&tokens, &[(ADA, record(600, &json!({})).to_string())], kept);
            let mut parts = files(&tokens).into_iter().filter(|(name, bytes)| name.ends_with(end) && !bytes.is_empty());
            let (Some((name, bytes)), None) = (parts.next(), parts.next()) else { panic!("not one {end}") };
            damage(&tokens.join(&name), &bytes);
            let provider = Provider::start(&[&key()]);
            let bed = Bed::in_folder(folder, &whole(&provider));
            let scene = Scene::of(provider, bed);
            assert_eq!(scene.grants(ADA, OLD).await, Err(503), "{name}: {what}");
            let scene = scene.restarted();
            assert_eq!(scene.grants(ADA, OLD).await, Err(503), "{name}: {what}, after a restart");
            fs::write(tokens.join(&name), &bytes).unwrap();
            let scene = scene.restarted();
            assert_eq!(scene.grants(ADA, OLD).await, both(), "{name}, whole again");
        }
    }
}

/// Tables were called otherwise once.
#[tokio::test]
async fn a_table_of_an_old_database_is_read() {
    let folder = Folder::new();
    let tokens = folder.path("tokens");
    write_as(&tokens, &[(ADA, record(600, &json!({})).to_string())], Kept::InTables);
    for name in files(&tokens).into_keys().filter(|name| name.ends_with(".ldb")) {
        fs::rename(tokens.join(&name), tokens.join(name.replace(".ldb", ".sst"))).unwrap();
    }
    let provider = Provider::start(&[&key()]);
    let bed = Bed::in_folder(folder, &whole(&provider));
    assert_eq!(Scene::of(provider, bed).grants(ADA, OLD).await, both());
}
