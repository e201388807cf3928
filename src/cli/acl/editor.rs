//! One rule in the administrator's own editor. What was typed is never lost: it is written, edited again, or kept.

use std::fs;
use std::io::{BufRead as _, IsTerminal as _, Write as _, stderr, stdin};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use settings::files::read_text;

use super::{edited, print, warn_of};
use crate::authz::mongo::book::{RuleBook, Stored};
use crate::cli::{DONE, complain, say};
use crate::config::{Config, ENVIRONMENT_PREFIX};

/// What the editor shows above the rule.
const HEAD: &str = "# Save and leave the editor to change the rule; leave the text as it is to change nothing.\n";

/// What is to be done with a text that is not a rule.
enum Next {
    EditAgain,
    GiveUp,
}

/// Lets the rule be edited, and writes it.
pub(super) async fn edit(book: &RuleBook, stored: &Stored, config: &Config) -> Result<u8, String> {
    let before = stored.draft();
    let mut original = HEAD.to_owned();
    if let Err(problems) = &stored.rule {
        original.extend(problems.iter().map(|problem| format!("# {}\n", problem.replace('\n', " "))));
    }
    original.push_str(&before.to_yaml());
    let file = write_down(&original)?;
    loop {
        let text = run_editor(&file)?;
        if text == original {
            drop(fs::remove_file(&file));
            return Ok(say("nothing changes\n", DONE));
        }
        let refusal = match edited(&file, &text, &before) {
            Ok(after) => match book.edit(&stored.document, &after, print).await {
                Ok(()) => {
                    drop(fs::remove_file(&file));
                    warn_of(config, [(format!("seq {}", after.seq), &after.text)]);
                    return Ok(DONE);
                }
                Err(refused) => refused.to_string(),
            },
            Err(problems) => problems,
        };
        match ask(&refusal) {
            Next::EditAgain => {}
            Next::GiveUp => return Err(format!("{refusal}\nyour text is kept in {}", file.display())),
        }
    }
}

/// A new file that only we can read, and that nobody has put there before us.
fn write_down(text: &str) -> Result<PathBuf, String> {
    let name = format!("dockwarden-rule-{}.yml", mongodb::bson::oid::ObjectId::new().to_hex());
    let file = std::env::temp_dir().join(name);
    let failed = |error: std::io::Error| format!("{} cannot be written: {error}", file.display());
    let mut opened = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file).map_err(failed)?;
    opened.write_all(text.as_bytes()).map_err(failed)?;
    Ok(file)
}

fn run_editor(file: &Path) -> Result<String, String> {
    let editor =
        ["VISUAL", "EDITOR"].iter().filter_map(|name| std::env::var(name).ok()).find(|editor| !editor.is_empty());
    let editor = editor.unwrap_or_else(|| "vi".to_owned());
    // By a shell, since an editor may have arguments; the file is not part of what the shell reads.
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{editor} \"$1\""), "editor"]).arg(file);
    // These may hold the database's password, and an editor starts programs of its own.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with(ENVIRONMENT_PREFIX)) {
        command.env_remove(name);
    }
    let kept = || format!("nothing was changed; your text is kept in {}", file.display());
    let ended =
        command.status().map_err(|error| format!("the editor {editor} cannot be started: {error}; {}", kept()))?;
    if !ended.success() {
        return Err(format!("the editor {editor} ended with {ended}; {}", kept()));
    }
    read_text(file)
}

fn ask(refusal: &str) -> Next {
    if !stdin().is_terminal() {
        return Next::GiveUp;
    }
    complain(refusal);
    drop(write!(stderr(), "Press Enter to edit it again, or type q to give up: "));
    let mut answer = String::new();
    match stdin().lock().read_line(&mut answer) {
        Ok(1..) if answer.trim().is_empty() => Next::EditAgain,
        Ok(_) | Err(_) => Next::GiveUp,
    }
}
