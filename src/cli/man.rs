//! `dockwarden man`: the manual, a page for each command, from what `--help` says.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use clap_mangen::Man;
use time::OffsetDateTime;
use time::macros::format_description;

use super::{DONE, complain};

/// Administrators' commands: section 8.
const SECTION: &str = "8";
/// Seconds since 1970 that stand for today, so that the same sources give the same bytes: reproducible-builds.org.
const DATE: &str = "SOURCE_DATE_EPOCH";
/// In bytes. mandoc counts the line's end as one more.
const LONGEST_LINE: usize = 79;

/// Runs the command.
pub(super) fn run(program: clap::Command, directory: &Path) -> u8 {
    match write(program, directory) {
        Ok(()) => DONE,
        Err(error) => complain(&format!("dockwarden: {error:#}")),
    }
}

fn write(program: clap::Command, directory: &Path) -> anyhow::Result<()> {
    let date = date()?.format(format_description!("[year]-[month]-[day]"))?;
    std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    let mut program = program.disable_help_subcommand(true);
    program.build();
    write_pages(&program, &date, directory)
}

/// The page of a command, and those of the commands below it.
fn write_pages(command: &clap::Command, date: &str, directory: &Path) -> anyhow::Result<()> {
    let source = concat!("dockwarden ", env!("CARGO_PKG_VERSION"));
    let title = command.get_display_name().unwrap_or(command.get_name()).to_uppercase();
    let page = Man::new(command.clone()).title(title).section(SECTION).date(date).source(source).manual("Dockwarden");
    let mut text = Vec::new();
    page.render(&mut text)?;
    let file = directory.join(page.get_filename());
    std::fs::write(&file, tidied(&String::from_utf8(text)?)).with_context(|| file.display().to_string())?;
    command.get_subcommands().try_for_each(|below| write_pages(below, date, directory))
}

/// The same page without what `mandoc -Tlint` finds in it: long lines, spaces at their ends, a paragraph within a break.
fn tidied(page: &str) -> String {
    let page = page.replace("\n.br\n\n.br\n", "\n.sp\n");
    let mut tidy = String::with_capacity(page.len());
    let mut is_tag = false;
    for line in page.lines() {
        // A request, and what `.TP` takes as the tag, end with their line.
        if line.starts_with(['.', '\'']) || is_tag {
            tidy.push_str(line.trim_end());
        } else {
            fill(&mut tidy, line);
        }
        tidy.push('\n');
        is_tag = line == ".TP";
    }
    tidy
}

/// Adds a text in lines that are short enough, broken where it has spaces.
fn fill(tidy: &mut String, text: &str) {
    let mut length = 0;
    for word in text.split_whitespace() {
        // At a line's beginning it would be a request.
        let may_begin = !word.starts_with(['.', '\'']);
        if length > 0 && may_begin && length + 1 + word.len() > LONGEST_LINE {
            tidy.push('\n');
            length = 0;
        } else if length > 0 {
            tidy.push(' ');
            length += 1;
        }
        tidy.push_str(word);
        length += word.len();
    }
}

/// The date on the pages.
fn date() -> anyhow::Result<OffsetDateTime> {
    #[expect(clippy::disallowed_methods, reason = "the day of this command")]
    let today = OffsetDateTime::now_utc();
    let Some(seconds) = std::env::var_os(DATE) else { return Ok(today) };
    let moment = seconds.to_str().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds.parse().ok()?).ok());
    moment
        .ok_or_else(|| anyhow!("{DATE} is not a number of seconds since 1970, as `git log -1 --format=%ct` prints it"))
}
