//! Tells whether the system can start a file: examines it as the kernel will, without starting it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// The beginning of a file by which the kernel tells its format, in bytes (`BINPRM_BUF_SIZE`).
const HEAD: u64 = 256;
/// The longest chain of interpreters.
const DEEPEST: usize = 5;
/// The longest table of segments and the longest path of a loader that the kernel accepts, in bytes.
const MAX_SEGMENTS: u64 = 64 * 1024;
const MAX_LOADER: u64 = 4096;
/// The type of the segment that names the loader (`PT_INTERP`).
const LOADER: u64 = 3;
/// The machines whose programs run here, by their number in programs (`e_machine`); empty if not known.
const MACHINES: &[u64] = if cfg!(target_arch = "x86_64") {
    &[62, 3]
} else if cfg!(target_arch = "aarch64") {
    &[183, 40]
} else {
    &[]
};

/// Checks that a file can be started, with all that it needs. `name` is its name in messages.
///
/// # Errors
/// It cannot: says what is wrong and what to do.
pub(super) fn startable(program: &Path, name: &str) -> Result<(), String> {
    examine(program, name, 0)
}

fn examine(program: &Path, name: &str, depth: usize) -> Result<(), String> {
    let seen = std::fs::metadata(program).map_err(|error| format!("{name} cannot be started: {error}"))?;
    if !seen.is_file() {
        return Err(format!("{name} is not a file"));
    }
    if seen.permissions().mode() & 0o111 == 0 {
        return Err(format!("{name} is not executable; make it so with: chmod +x {name}"));
    }
    // It may be executable for other users only, or its file system mounted with noexec.
    if let Err(error) = access(program, Access::EXEC_OK) {
        return Err(format!("this user may not start {name}: {error}"));
    }
    // The kernel can read files that we cannot.
    let Ok(mut file) = File::open(program) else { return Ok(()) };
    let mut head = Vec::new();
    if file.by_ref().take(HEAD).read_to_end(&mut head).is_err() {
        return Ok(());
    }
    match head.as_slice() {
        [b'#', b'!', line @ ..] => script(name, line, depth),
        [0x7f, b'E', b'L', b'F', ..] => match loader(&mut file, &head) {
            Ok(Needs::Nothing) => Ok(()),
            Ok(Needs::Loader(loader)) if loader.is_file() => Ok(()),
            Ok(Needs::Loader(loader)) => Err(format!(
                "{name} needs the loader {}, which is not here: it was built for a system with another C library, so \
                 build it for this one, or as a static program",
                loader.display()
            )),
            Ok(Needs::Machine) => Err(format!("{name} was built for another kind of machine")),
            Err(Damaged) => Err(format!("{name} is a damaged program")),
        },
        [0xef, 0xbb, 0xbf, ..] => Err(format!("{name} begins with a byte order mark instead of #!; remove it")),
        _ => Err(format!(
            "{name} is neither a script, whose first line names its interpreter (#!/bin/sh), nor a program for this system"
        )),
    }
}

/// Checks a script; `line` is the text after `#!`.
fn script(name: &str, line: &[u8], depth: usize) -> Result<(), String> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let line = line.split(|byte| matches!(byte, b'\n' | 0)).next().unwrap_or_default();
    if line.ends_with(b"\r") {
        return Err(format!(
            "the first line of {name} ends in a carriage return, as Windows writes lines, which becomes part of the \
             interpreter's name; remove them with: sed -i 's/\\r$//' {name}"
        ));
    }
    let mut words = line.split(blank).filter(|word| !word.is_empty());
    let Some(interpreter) = words.next() else {
        return Err(format!("the first line of {name} names no interpreter; write #!/bin/sh"));
    };
    if depth >= DEEPEST {
        return Err(format!("{name} is a script for a script, more than {DEEPEST} deep"));
    }
    let interpreter = Path::new(OsStr::from_bytes(interpreter));
    if !interpreter.exists() {
        return Err(format!(
            "the first line of {name} names the interpreter {}, which is not here",
            interpreter.display()
        ));
    }
    let shown = interpreter.display().to_string();
    examine(interpreter, &shown, depth + 1)
        .map_err(|why| format!("the first line of {name} names an interpreter: {why}"))?;
    // `#!/usr/bin/env bash` starts even where there is no bash.
    match words.next() {
        Some(wanted) if interpreter.ends_with("env") && !wanted.starts_with(b"-") && !wanted.contains(&b'=') => {
            let wanted = OsStr::from_bytes(wanted);
            match in_path(wanted) {
                Some(found) => examine(&found, &found.display().to_string(), depth + 1)
                    .map_err(|why| format!("the first line of {name} names an interpreter: {why}")),
                None => Err(format!("the first line of {name} asks for {}, which is not in PATH", wanted.display())),
            }
        }
        Some(_) | None => Ok(()),
    }
}

/// The first file of this name in `PATH`.
fn in_path(name: &OsStr) -> Option<PathBuf> {
    files_in_path(name).into_iter().next()
}

/// All files of this name in `PATH`, in its order.
pub(crate) fn files_in_path(name: &OsStr) -> Vec<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let candidates = std::env::split_paths(&folders).map(|folder| folder.join(name));
    candidates.filter(|candidate| candidate.is_file()).collect()
}

/// What a program needs to start.
enum Needs {
    Nothing,
    Loader(PathBuf),
    /// Another kind of machine.
    Machine,
}

/// The program's tables are damaged.
struct Damaged;

/// What a program needs (ELF-64 and ELF-32: the System V ABI, chapters 4 and 5).
fn loader(file: &mut File, head: &[u8]) -> Result<Needs, Damaged> {
    let wide = match head.get(4) {
        Some(2) => true,
        Some(1) => false,
        Some(_) | None => return Err(Damaged),
    };
    let order = if cfg!(target_endian = "little") { 1 } else { 2 };
    let machine = number(head, 18, 2).ok_or(Damaged)?;
    if head.get(5) != Some(&order) || !(MACHINES.is_empty() || MACHINES.contains(&machine)) {
        return Ok(Needs::Machine);
    }
    let (table, size, count) = match wide {
        true => (number(head, 32, 8), number(head, 54, 2), number(head, 56, 2)),
        false => (number(head, 28, 4), number(head, 42, 2), number(head, 44, 2)),
    };
    let (table, size, count) = (table.ok_or(Damaged)?, size.ok_or(Damaged)?, count.ok_or(Damaged)?);
    let segments = read_at(file, table, size.saturating_mul(count), MAX_SEGMENTS)?;
    let each = usize::try_from(size).ok().filter(|size| *size > 0).ok_or(Damaged)?;
    for segment in segments.chunks(each) {
        if number(segment, 0, 4) != Some(LOADER) {
            continue;
        }
        let (place, length) = match wide {
            true => (number(segment, 8, 8), number(segment, 32, 8)),
            false => (number(segment, 4, 4), number(segment, 16, 4)),
        };
        let path = read_at(file, place.ok_or(Damaged)?, length.ok_or(Damaged)?, MAX_LOADER)?;
        let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
        return Ok(Needs::Loader(PathBuf::from(OsStr::from_bytes(path))));
    }
    Ok(Needs::Nothing)
}

fn read_at(file: &mut File, place: u64, length: u64, most: u64) -> Result<Vec<u8>, Damaged> {
    if length > most {
        return Err(Damaged);
    }
    let mut bytes = Vec::new();
    let read = file.seek(SeekFrom::Start(place)).and_then(|_| file.take(length).read_to_end(&mut bytes));
    match read {
        Ok(read) if read as u64 == length => Ok(bytes),
        Ok(_) | Err(_) => Err(Damaged),
    }
}

/// The integer of `length` bytes at a place, in this machine's byte order.
fn number(bytes: &[u8], place: usize, length: usize) -> Option<u64> {
    let bytes = bytes.get(place..place.checked_add(length)?)?;
    let add = |sum: u64, byte: &u8| (sum << 8) | u64::from(*byte);
    Some(match cfg!(target_endian = "little") {
        true => bytes.iter().rev().fold(0, add),
        false => bytes.iter().fold(0, add),
    })
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a test ends where something is not as it should be"
    )]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Writes an executable file and examines it.
    fn seen(bytes: &[u8]) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("program");
        std::fs::write(&file, bytes).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        startable(&file, "P")
    }

    #[test]
    fn a_file_is_examined_as_the_kernel_will() {
        let env = in_path(OsStr::new("env")).unwrap().display().to_string();
        for (text, expected) in [
            ("#!/bin/sh\n", None),
            ("#! \t/bin/sh -e\nexit 0\n", None),
            ("#!/bin/sh", None),
            (&format!("#!{env} sh\n"), None),
            (&format!("#!{env} -S sh -e\n"), None),
            (&format!("#!{env} A=b sh\n"), None),
            ("#!/opt/not-here/bash\n", Some("P names the interpreter /opt/not-here/bash, which is not here")),
            ("#!/bin/sh\r\nexit 0\r\n", Some("P ends in a carriage return")),
            (&format!("#!{env} sh\r\n"), Some("P ends in a carriage return")),
            (&format!("#!{env} no-such-shell\n"), Some("P asks for no-such-shell, which is not in PATH")),
            ("#!/\n", Some("/ is not a file")),
            ("#!/etc/passwd\n", Some("/etc/passwd is not executable")),
            ("#!\n", Some("P names no interpreter; write #!/bin/sh")),
            ("#! \t \n/bin/sh\n", Some("P names no interpreter")),
            ("exit 0\n", Some("P is neither a script")),
            ("", Some("P is neither a script")),
            ("\u{feff}#!/bin/sh\n", Some("P begins with a byte order mark")),
            ("MZ\u{90}", Some("P is neither a script")),
            ("\u{7f}ELF", Some("P is a damaged program")),
        ] {
            match (seen(text.as_bytes()), expected) {
                (Ok(()), None) => {}
                (Err(why), Some(expected)) => assert!(why.contains(expected), "{text:?}: {why}"),
                (said, _) => unreachable!("{text:?}: {said:?}"),
            }
        }
    }

    #[test]
    fn a_program_is_examined_with_the_loader_it_names() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert_eq!(seen(&own), Ok(()));
        // Any damage to the tables gives an answer, not a panic.
        for place in 4..1024 {
            let mut broken = own[..own.len().min(4096)].to_vec();
            broken[place] = !broken[place];
            seen(&broken).ok();
        }
        let Some(place) = own.windows(11).position(|part| part == b"/lib64/ld-l") else { return };
        let mut foreign = own.clone();
        foreign[place..place + 4].copy_from_slice(b"/nix");
        let why = seen(&foreign).unwrap_err();
        assert!(why.starts_with("P needs the loader /nix64/ld-linux") && why.contains("which is not here"), "{why}");
        let mut other_machine = own;
        other_machine[18] = 8;
        assert_eq!(seen(&other_machine), Err("P was built for another kind of machine".to_owned()));
    }
}
