//! Names with quotes and other syntax of stores, asked for by every door: no access, and no row of the records is another one.

use axum::http::Method;
use sqlx::{Connection as _, Row as _, sqlite::SqliteConnection};

use super::{granted, opensvc, person};
use crate::bed::Bed;

/// Each of these ended, or would end, a text in a statement of some store.
const ODD: [&str; 8] = [
    "a%22b",
    "%22%3B%20DELETE%20FROM%20dockwarden_directory%3B%20--",
    "a'%20OR%20'1'%3D'1",
    "lib/x'%3B%20UPDATE%20dockwarden_repositories%20SET%20stars%3D9%3B--",
    "lib/%5C",
    "%24%7Blabels%3Agid%7D/x",
    "lib/%7B%22%24ne%22%3A1%7D",
    "lib/%00x",
];

/// All rows of all tables, as text.
async fn rows(bed: &Bed) -> Vec<String> {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(bed.folder.path("dockwarden.db")).read_only(true);
    let mut store = SqliteConnection::connect_with(&options).await.unwrap();
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'dockwarden%' ORDER BY name";
    let tables = sqlx::query(sql).fetch_all(&mut store).await.unwrap();
    let mut all = Vec::new();
    for table in tables {
        let table: String = table.get(0);
        let columns = format!(
            "SELECT group_concat('quote(\"' || name || '\")', ' || '','' || ') FROM pragma_table_info('{table}')"
        );
        let columns: String = sqlx::query(sqlx::AssertSqlSafe(columns)).fetch_one(&mut store).await.unwrap().get(0);
        let sql = format!("SELECT {columns} FROM {table} ORDER BY 1");
        for row in sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut store).await.unwrap() {
            all.push(format!("{table}: {}", row.get::<String, _>(0)));
        }
    }
    all
}

/// Check 29: no access, and no row changed.
#[tokio::test]
async fn check_29_a_name_with_a_double_quote_gives_no_access_and_changes_no_row() {
    let bed = Bed::with(&format!("{}records: {{sqlite: $DIR/dockwarden.db}}\napi: {{listen: main}}\n", opensvc()));
    bed.app.prepare().await.unwrap();
    let snapshot = bed.app.snapshot();
    snapshot.access.directory().unwrap().read_again().await.unwrap();
    let records = &snapshot.records.as_ref().unwrap().records;
    let number = dockwarden::records::catalogue::SweepNumber(1);
    records.found("reg", number, &["lib/x".to_owned()], time::OffsetDateTime::now_utc()).await.unwrap();
    snapshot.catalogue.as_ref().unwrap().read().await.unwrap();
    let before = rows(&bed).await;
    assert!(before.iter().any(|row| row.contains("lib/x")), "{before:#?}");
    for who in ["ann", "cat", "web@n1"] {
        for name in ODD {
            let reply = bed.get(&format!("/auth?service=reg&scope=repository:{name}:pull,push,delete")).by(person(who));
            let reply = reply.send().await;
            match reply.status {
                200 => assert!(reply.access().iter().all(|own| own.ends_with(':') || !own.contains(':')), "{name}"),
                status => assert_eq!(status, 400, "{who} {name}"),
            }
            let below = name.replace('/', "%2F");
            let repository = format!("/api/v1/registries/reg/repositories/{below}");
            for (method, target) in [
                (Method::GET, format!("/auth?service={name}&scope=repository:lib/x:pull")),
                (Method::GET, format!("/v1/search?q={name}")),
                (Method::GET, format!("/v2/_catalog?last={name}")),
                (Method::GET, repository.clone()),
                (Method::DELETE, repository.clone()),
                (Method::PUT, format!("{repository}/star")),
                (Method::GET, format!("{repository}/tags?cursor={name}")),
                (Method::DELETE, format!("{repository}/tags/{below}")),
                (Method::GET, format!("{repository}/pulls?digest={name}")),
                (Method::GET, format!("/api/v1/registries/{below}")),
                (Method::DELETE, format!("/api/v1/groups/{below}")),
                (Method::GET, format!("/api/v1/users?search={name}&cursor={name}")),
            ] {
                let ask = bed.request(method.clone(), &target).by(person(who));
                let status = ask.header("x-docker-token", "true").header("host", "reg").send().await.status;
                assert!(status < 500, "{status} {method} {target}");
            }
        }
    }
    assert_eq!(rows(&bed).await, before, "no row is another one");
    assert_eq!(granted(&bed, "ann", "repository:lib/x:pull,push", "reg").await, "pull");
}
