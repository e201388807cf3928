//! A folder of LevelDB, read without changing anything in it: docker_auth must find it as it was if somebody goes back.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::Path;
use std::rc::Rc;

use anyhow::Context as _;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rusty_leveldb::env::Env;
use rusty_leveldb::{DB, LdbIterator as _, MemEnv, Options};

use super::record::PREFIX;
use super::whole::{check_log, check_table};

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
    let files = files(folder).with_context(|| format!("{shown} cannot be read"))?;
    // docker_auth may have it again from here on.
    drop(lock);
    // The library's messages name files and positions, and no values.
    check(&files)
        .and_then(|()| records(copy(&files)?))
        .with_context(|| {
            format!(
                "{shown} is damaged; let docker_auth open it once more, which mends what can be mended, restore it from a backup, or \
                 leave level_token_db out"
            )
        })
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

/// What a file of the database is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Current,
    Manifest,
    Log,
    Table,
}

/// A file of the database, in memory.
struct Whole {
    name: String,
    part: Part,
    bytes: Vec<u8>,
}

/// The files of the folder.
fn files(folder: &Path) -> anyhow::Result<Vec<Whole>> {
    let mut files = Vec::new();
    let mut left = LARGEST;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some((name, part)) = name.to_str().and_then(|name| Some((name, part(name)?))) else { continue };
        let mut bytes = Vec::new();
        let read = File::open(entry.path())?.take(left.saturating_add(1)).read_to_end(&mut bytes)?;
        left = left
            .checked_sub(u64::try_from(read)?)
            .context("it is larger than 64 MB; have docker_auth's database compacted first")?;
        files.push(Whole { name: name.to_owned(), part, bytes });
    }
    Ok(files)
}

/// Which part of the database a file is, if it is not what others keep there.
fn part(name: &str) -> Option<Part> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|letter| letter.is_ascii_digit());
    if name == CURRENT {
        return Some(Part::Current);
    }
    if name.strip_prefix("MANIFEST-").is_some_and(is_number) {
        return Some(Part::Manifest);
    }
    let (_, kind) = name.split_once('.').filter(|(number, _)| is_number(number))?;
    match kind {
        "log" => Some(Part::Log),
        "ldb" | "sst" => Some(Part::Table),
        _ => None,
    }
}

/// That nothing is left out by the library, which passes over what it cannot read: no passwords would be imported, once and for all.
fn check(files: &[Whole]) -> anyhow::Result<()> {
    for Whole { name, part, bytes } in files {
        let checked = match part {
            Part::Current => Ok(()),
            Part::Manifest | Part::Log => check_log(bytes),
            Part::Table => check_table(bytes),
        };
        checked.with_context(|| format!("{name} is not whole"))?;
    }
    // Whoever makes a database begins a log, and whoever opens it another one.
    anyhow::ensure!(
        files.iter().any(|file| file.part == Part::Log),
        "its log is missing, the file whose name ends in .log"
    );
    Ok(())
}

/// The files where the library finds them.
fn copy(files: &[Whole]) -> anyhow::Result<MemEnv> {
    let copy = MemEnv::new();
    for Whole { name, part, bytes } in files {
        // The library knows tables by their new name alone, and takes one that has the old one for nothing.
        let name = match part {
            Part::Table => name.replace(".sst", ".ldb"),
            Part::Current | Part::Manifest | Part::Log => name.clone(),
        };
        let mut file = copy.open_writable_file(&Path::new(NAME).join(name))?;
        file.write_all(bytes)?;
        file.flush()?;
    }
    Ok(copy)
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
