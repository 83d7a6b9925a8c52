//! `digstore get`.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::{cache_line, path_json};
use crate::cli::CommandResult;
use crate::cli::context::Context;
use crate::cli::exit_code::ExitCode;
use crate::cli::output::Output;
use crate::path::RepoPath;
use crate::repo::read::ByteRange;
use crate::repo::run_history::Run;
use crate::repo::{RepoError, Repository};
use crate::storage::format::object::Content;
use crate::storage::format::run_history::RunCommand;

/// Print the bytes of a stored file. Every byte is verified before it is printed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  digstore get model.bin > copy.bin     the last commit's version
  digstore get model.bin@HEAD~2 -o old  an earlier one
  digstore get HEAD~2:model.bin -o old  the same
  digstore get big.iso --range 0-1023   the first KiB")]
pub struct GetArgs {
    /// The file: PATH, PATH@REVISION or REVISION:PATH, also PATH#bytes=FIRST-LAST.
    #[arg(value_name = "FILE")]
    file: OsString,
    /// Write to a file instead; it appears whole or not at all.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Only these bytes: FIRST-LAST (both included), FIRST- or -COUNT.
    #[arg(long, value_name = "RANGE", allow_hyphen_values = true)]
    range: Option<String>,
}

/// Shorter reads say nothing about speed and are not entered into the history (16 MiB).
const NOTED: u64 = 16 << 20;

struct Found {
    path: RepoPath,
    content: Content,
    size: u64,
    executable: bool,
}

pub(crate) fn run(args: &GetArgs, context: &Context<'_>) -> CommandResult {
    let repository = context.open()?;
    let (found, fragment) = match split_range(&args.file) {
        (file, None) => (find(&repository, context, file)?, None),
        // A name that is there as typed comes first.
        (file, fragment) => match find(&repository, context, &args.file) {
            Ok(found) => (found, None),
            Err(_) => (find(&repository, context, file)?, fragment),
        },
    };
    let range = match args.range.as_deref().or(fragment) {
        Some(text) => parse_range(text, found.size).ok_or_else(|| RepoError::BadRange {
            range: text.to_owned(),
            path: found.path.clone(),
            size: found.size,
        })?,
        None => ByteRange { start: 0, end: found.size },
    };
    match &args.output {
        Some(output) => to_file(&repository, context, &found, range, output)?,
        None => to_stdout(&repository, context, &found, range)?,
    }
    let bytes = range.end - range.start;
    if bytes > NOTED {
        let time = context.ui.elapsed();
        let run = Run::reading(&repository, RunCommand::Get, 1, bytes, time)?;
        context.note_run(&repository, &run);
    }
    let cache = repository.cache_stats()?;
    context.ui.detail(1, cache_line(&cache));
    if args.output.is_some() && context.ui.is_json() {
        let mut summary = path_json(found.path.as_bytes());
        summary["message_type"] = json!("summary");
        summary["schema_version"] = json!(1);
        summary["bytes"] = json!(range.end - range.start);
        summary["cache"] = json!(cache);
        summary["seconds"] = json!(context.ui.elapsed().as_secs_f64());
        context.ui.document(&summary)?;
    }
    Ok(ExitCode::Success)
}

/// Prints a whole file.
pub(super) fn print(file: &str, context: &Context<'_>) -> CommandResult {
    run(&GetArgs { file: file.into(), output: None, range: None }, context)
}

/// Looks the file up in the revision named, else in the last commit, else in the staging area.
fn find(repository: &Repository, context: &Context<'_>, text: &OsStr) -> anyhow::Result<Found> {
    let staging = repository.staging()?;
    let exists = |typed: &OsStr| {
        let path = context.repo_path(repository, typed);
        path.is_ok_and(|path| repository.find_file(None, &path, &staging).is_ok())
    };
    let typed = repository.split_revision_path(text, exists);
    let path = context.repo_path(repository, &typed.path)?;
    let (content, size, executable) =
        repository.find_file(typed.revision.as_deref(), &path, &staging)?;
    Ok(Found { path, content, size, executable })
}

fn to_file(
    repository: &Repository,
    context: &Context<'_>,
    found: &Found,
    range: ByteRange,
    output: &Path,
) -> anyhow::Result<()> {
    let reader = repository.content_reader()?;
    let (dir, name) = match Output::open(context, output)? {
        Output::File(dir, name) => (dir, name),
        Output::Device(mut device) => {
            return Ok(reader.in_order(&found.content, found.size, range, |part| {
                part.for_each_slice(|bytes| device.write(bytes))
            })?);
        }
    };
    dir.write_file(&name, found.executable, false, |sink| {
        sink.extend_to(range.end - range.start);
        reader.scattered(&found.content, found.size, range, |at, bytes| {
            Ok(sink.write_at(at - range.start, bytes)?)
        })
    })?;
    Ok(())
}

fn to_stdout(
    repository: &Repository,
    context: &Context<'_>,
    found: &Found,
    range: ByteRange,
) -> anyhow::Result<()> {
    let is_terminal = context.ui.out_is_terminal();
    let mut is_first = true;
    repository
        .content_reader()?
        .in_order(&found.content, found.size, range, |part| {
            part.for_each_slice(|bytes| {
                if std::mem::take(&mut is_first)
                    && is_terminal
                    && bytes.iter().take(8192).any(|byte| *byte == 0)
                {
                    return Err(RepoError::BinaryToTerminal(found.path.clone()));
                }
                context.ui.out().write_all(bytes).map_err(RepoError::Output)
            })
        })
        .with_context(|| format!("cannot get '{}'", found.path))
}

/// Takes `#bytes=RANGE` off the end of a file as typed.
fn split_range(file: &OsStr) -> (&OsStr, Option<&str>) {
    const MARK: &[u8] = b"#bytes=";
    let bytes = file.as_bytes();
    let at = bytes.windows(MARK.len()).rposition(|window| window == MARK);
    let range = at.and_then(|at| std::str::from_utf8(&bytes[at + MARK.len()..]).ok());
    match (at, range) {
        (Some(at), Some(range)) => (OsStr::from_bytes(&bytes[..at]), Some(range)),
        _ => (file, None),
    }
}

/// `A-B` with both ends included, `A-` and `-N`, as in HTTP; the end is clipped to the file.
fn parse_range(text: &str, size: u64) -> Option<ByteRange> {
    let (first, last) = text.split_once('-')?;
    if first.is_empty() {
        let count: u64 = last.parse().ok()?;
        return (count > 0).then(|| ByteRange { start: size.saturating_sub(count), end: size });
    }
    let start: u64 = first.parse().ok()?;
    let end =
        if last.is_empty() { size } else { last.parse::<u64>().ok()?.checked_add(1)?.min(size) };
    (start < end).then_some(ByteRange { start, end })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_behind_a_file_is_taken_off() {
        let split = |text: &'static [u8]| split_range(OsStr::from_bytes(text));
        assert_eq!(split(b"a#bytes=1-2"), (OsStr::new("a"), Some("1-2")));
        assert_eq!(split(b"\xff#bytes=#bytes=-2").1, Some("-2"));
        for whole in [&b"a#byte=1-2"[..], b"\xff", b"", b"a#bytes=\xff"] {
            assert_eq!(split(whole), (OsStr::from_bytes(whole), None));
        }
    }

    #[test]
    fn ranges_include_both_ends() {
        let range = |text| parse_range(text, 100).map(|range| (range.start, range.end));
        assert_eq!(range("0-0"), Some((0, 1)));
        assert_eq!(range("10-19"), Some((10, 20)));
        assert_eq!(range("90-500"), Some((90, 100)));
        assert_eq!(range("90-"), Some((90, 100)));
        assert_eq!(range("-10"), Some((90, 100)));
        assert_eq!(range("-500"), Some((0, 100)));
        for text in ["", "-", "5", "20-10", "100-", "a-b", "-0", "1--2"] {
            assert_eq!(range(text), None, "{text}");
        }
    }
}
