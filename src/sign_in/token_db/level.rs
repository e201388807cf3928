//! A folder of LevelDB, read without changing anything in it: docker_auth must find it as it was if somebody goes back.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::Path;
use std::rc::Rc;

use anyhow::Context as _;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rusty_leveldb::env::Env;
use rusty_leveldb::{DB, LdbIterator as _, MemEnv, Options};

use super::record::PREFIX;

/// The largest folder, in bytes: it is in memory while it is read, and holds some 100,000 records.
const LARGEST: u64 = 64 * 1024 * 1024;
/// What the database is called in memory. Nothing of it is in the file system.
const NAME: &str = "docker_auth";
/// The file that whoever has a database open holds a lock of.
const LOCK: &str = "LOCK";
/// The file that names the others.
pub(in crate::sign_in) const CURRENT: &str = "CURRENT";

/// A key and its text.
pub(in crate::sign_in) type Entry = (Vec<u8>, Vec<u8>);

/// The keys and texts of a database; `None` where there is none in the folder, or no such folder.
///
/// # Errors
/// Somebody has it open, or it cannot be read: what is wrong, and what to do.
pub(in crate::sign_in) fn read(folder: &Path) -> anyhow::Result<Option<Vec<Entry>>> {
    let shown = folder.display();
    match fs::metadata(folder.join(CURRENT)) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => anyhow::bail!("{shown}: {error}"),
    }
    let lock = lock(folder)?;
    let copy = copy(folder).with_context(|| format!("{shown} cannot be read"))?;
    // docker_auth may have it again from here on.
    drop(lock);
    // The library's messages name files and positions, and no values.
    records(copy)
        .with_context(|| format!("{shown} is damaged; restore it from a backup, or leave level_token_db out"))
        .map(Some)
}

/// Takes the lock that docker_auth's library takes. With others who only read: of two replicas none has to wait for the other.
fn lock(folder: &Path) -> anyhow::Result<Option<File>> {
    let path = folder.join(LOCK);
    let file = match File::open(&path) {
        Ok(file) => file,
        // A copy of the folder may have been made without it.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => anyhow::bail!("{}: {error}", path.display()),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => anyhow::bail!(
            "{} is open in another program; stop docker_auth, and its passwords are imported within half a minute",
            folder.display()
        ),
        Err(error) => anyhow::bail!("{}: {error}", path.display()),
    }
}

/// The files of the folder, in memory.
fn copy(folder: &Path) -> anyhow::Result<MemEnv> {
    let copy = MemEnv::new();
    let mut left = LARGEST;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| is_part(name)) else { continue };
        let mut file = copy.open_writable_file(&Path::new(NAME).join(name))?;
        let read = io::copy(&mut File::open(entry.path())?.take(left.saturating_add(1)), &mut file)?;
        file.flush()?;
        left =
            left.checked_sub(read).context("it is larger than 64 MB; have docker_auth's database compacted first")?;
    }
    Ok(copy)
}

/// Whether a file is part of the database, and not what others keep there.
fn is_part(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|letter| letter.is_ascii_digit());
    let is_manifest = name.strip_prefix("MANIFEST-").is_some_and(is_number);
    let is_numbered =
        name.split_once('.').is_some_and(|(number, kind)| is_number(number) && matches!(kind, "log" | "ldb" | "sst"));
    name == CURRENT || is_manifest || is_numbered
}

fn records(copy: MemEnv) -> anyhow::Result<Vec<Entry>> {
    let env: Box<dyn Env> = Box::new(copy);
    let options = Options { env: Rc::new(env), create_if_missing: false, ..Options::default() };
    let mut database = DB::open(NAME, options)?;
    let mut all = database.new_iter()?;
    let mut records = Vec::new();
    while let Some((key, text)) = all.next() {
        // docker_auth keeps nothing else in it.
        if key.starts_with(PREFIX.as_bytes()) {
            records.push((key, text));
        }
    }
    Ok(records)
}
