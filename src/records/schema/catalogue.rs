//! The tables of what is in registries, in both dialects.

/// The tables, with the type of a name that is compared byte by byte, that of a number, and what ends a table.
macro_rules! tables {
    ($name:literal, $number:literal, $end:literal) => {
        &[
            concat!(
                "CREATE TABLE IF NOT EXISTS dockwarden_events (service ",
                $name,
                " NOT NULL, id ",
                $name,
                " NOT NULL, came ",
                $number,
                " NOT NULL, done ",
                $number,
                ", document TEXT NOT NULL, PRIMARY KEY (service, id))",
                $end
            ),
            "CREATE INDEX IF NOT EXISTS dockwarden_events_waiting ON dockwarden_events (came) WHERE done IS NULL",
            "CREATE INDEX IF NOT EXISTS dockwarden_events_done ON dockwarden_events (came) WHERE done IS NOT NULL",
            concat!(
                "CREATE TABLE IF NOT EXISTS dockwarden_repositories (service ",
                $name,
                " NOT NULL, name ",
                $name,
                " NOT NULL, seq ",
                $number,
                " NOT NULL DEFAULT 0, tags ",
                $number,
                " NOT NULL DEFAULT 0, pushed ",
                $number,
                ", pulled ",
                $number,
                ", latest ",
                $number,
                ", deleted ",
                $number,
                ", touched ",
                $number,
                " NOT NULL DEFAULT 0, listed ",
                $number,
                ", doubt ",
                $number,
                " NOT NULL DEFAULT 1, swept ",
                $number,
                " NOT NULL DEFAULT 0, description TEXT NOT NULL DEFAULT '', official ",
                $number,
                " NOT NULL DEFAULT 0, automated ",
                $number,
                " NOT NULL DEFAULT 0, stars ",
                $number,
                " NOT NULL DEFAULT 0, PRIMARY KEY (service, name))",
                $end
            ),
            "CREATE INDEX IF NOT EXISTS dockwarden_repositories_seq ON dockwarden_repositories (seq)",
            "CREATE INDEX IF NOT EXISTS dockwarden_repositories_doubt ON dockwarden_repositories (service, name) \
             WHERE doubt = 1",
            concat!(
                "CREATE TABLE IF NOT EXISTS dockwarden_tags (service ",
                $name,
                " NOT NULL, repository ",
                $name,
                " NOT NULL, name ",
                $name,
                " NOT NULL, digest TEXT, media_type TEXT, size ",
                $number,
                ", pushed ",
                $number,
                ", gone ",
                $number,
                ", PRIMARY KEY (service, repository, name))",
                $end
            ),
            "CREATE INDEX IF NOT EXISTS dockwarden_tags_gone ON dockwarden_tags (gone) WHERE gone IS NOT NULL",
            concat!(
                "CREATE TABLE IF NOT EXISTS dockwarden_stars (service ",
                $name,
                " NOT NULL, repository ",
                $name,
                " NOT NULL, account ",
                $name,
                " NOT NULL, PRIMARY KEY (service, repository, account))",
                $end
            ),
            concat!(
                "CREATE TABLE IF NOT EXISTS dockwarden_sweeps (service ",
                $name,
                " NOT NULL PRIMARY KEY, number ",
                $number,
                " NOT NULL, began ",
                $number,
                ", cursor TEXT, ended ",
                $number,
                ", found ",
                $number,
                " NOT NULL, before_number ",
                $number,
                ", before_began ",
                $number,
                ", before_ended ",
                $number,
                ", error TEXT, error_at ",
                $number,
                ")",
                $end
            ),
            concat!(
                "CREATE TABLE IF NOT EXISTS dockwarden_pulls (service ",
                $name,
                " NOT NULL, account ",
                $name,
                " NOT NULL, address ",
                $name,
                " NOT NULL, repository ",
                $name,
                " NOT NULL, digest ",
                $name,
                " NOT NULL, tag TEXT, first_pulled ",
                $number,
                " NOT NULL, last_pulled ",
                $number,
                " NOT NULL, heard ",
                $number,
                " NOT NULL, PRIMARY KEY (service, repository, digest, account, address))",
                $end
            ),
            "CREATE INDEX IF NOT EXISTS dockwarden_pulls_of ON dockwarden_pulls (service, digest)",
            "CREATE INDEX IF NOT EXISTS dockwarden_pulls_heard ON dockwarden_pulls (heard)",
            concat!(
                "CREATE TABLE IF NOT EXISTS dockwarden_leases (name ",
                $name,
                " NOT NULL PRIMARY KEY, holder TEXT NOT NULL, \
                 ends ",
                $number,
                " NOT NULL)",
                $end
            ),
        ]
    };
}

pub(super) const POSTGRES: &[&str] = tables!("TEXT COLLATE \"C\"", "BIGINT", "");
pub(super) const SQLITE: &[&str] = tables!("TEXT", "INTEGER", " STRICT");
