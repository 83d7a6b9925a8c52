//! `digstore check-ignore`.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::Args;
use serde_json::{Value, json};

use super::path_json;
use crate::cli::CommandResult;
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::exit_code::ExitCode;
use crate::path::escape;
use crate::progress::NullMonitor;
use crate::repo::ignore::Decision;

/// Tell which paths ignore rules leave out, and with -v which line of which file decides.
///
/// With -v, the file, the line and the pattern stand before each path, also where the line takes
/// back with '!'. Ends with 0 when a path was shown for a line, and with 1 when none was.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  digstore check-ignore -v build/out.o  which line leaves it out
  digstore check-ignore -v -n a b       also what no line is about
  find . | digstore check-ignore --stdin")]
pub struct CheckIgnoreArgs {
    /// Files and directories, which need not exist.
    #[arg(value_name = "PATH", required_unless_present = "stdin", conflicts_with = "stdin")]
    paths: Vec<OsString>,
    /// With -v, also the paths that no line is about.
    #[arg(short = 'n', long)]
    non_matching: bool,
    /// End each field of output, and each path of --stdin, with NUL.
    #[arg(short, requires = "stdin")]
    zero: bool,
    /// Read paths from standard input, one in each line.
    #[arg(long)]
    stdin: bool,
    /// Also for what is staged, which ignore rules do not touch.
    #[arg(long)]
    no_index: bool,
}

pub(crate) fn run(args: &CheckIgnoreArgs, context: &Context<'_>) -> CommandResult {
    let is_verbose = context.ui.verbosity() > 0;
    if args.non_matching && !is_verbose {
        return Err(CliError::usage("-n shows what no line is about, and needs -v").into());
    }
    let repository = context.open_with(std::sync::Arc::new(NullMonitor::default()))?;
    let mut rules = repository.ignore_queries(args.no_index)?;
    let mut checked = Vec::new();
    let mut found = false;
    let mut check = |typed: &OsStr| -> anyhow::Result<()> {
        let path = context.repo_path(&repository, typed)?;
        let decision = rules.decision(&path, typed.as_bytes().ends_with(b"/"))?;
        let decision = decision.filter(|one| one.ignored || is_verbose);
        found |= decision.is_some();
        if decision.is_none() && !args.non_matching {
            return Ok(());
        }
        if context.ui.is_json() {
            checked.push(to_json(typed.as_bytes(), decision.as_ref()));
        } else if args.zero {
            let fields = zero_fields(typed.as_bytes(), decision.as_ref(), is_verbose);
            context.ui.out().write_all(&fields)?;
        } else {
            context.ui.line(line(typed.as_bytes(), decision.as_ref(), is_verbose))?;
        }
        Ok(())
    };
    if args.stdin {
        for path in std::io::stdin().lock().split(if args.zero { 0 } else { b'\n' }) {
            check(&OsString::from_vec(path?))?;
        }
    } else {
        args.paths.iter().try_for_each(|path| check(path))?;
    }
    if context.ui.is_json() {
        context.ui.document(&json!({ "schema_version": 1, "paths": checked }))?;
    }
    Ok(if found { ExitCode::Success } else { ExitCode::Failure })
}

/// As git's: `FILE:LINE:PATTERN<TAB>PATH`, or the path alone.
fn line(path: &[u8], decision: Option<&Decision>, is_verbose: bool) -> String {
    let path = escape(path);
    match decision {
        _ if !is_verbose => path,
        None => format!("::\t{path}"),
        Some(one) => {
            // Backslashes are a pattern's own: only what a terminal must not see is escaped.
            let pattern = escape(&one.pattern).replace(r"\\", r"\");
            let file = escape(one.file.as_bytes());
            format!("{file}:{}:{pattern}\t{path}", one.line)
        }
    }
}

fn zero_fields(path: &[u8], decision: Option<&Decision>, is_verbose: bool) -> Vec<u8> {
    let line = decision.map_or_else(String::new, |one| one.line.to_string());
    let (file, pattern): (&[u8], &[u8]) =
        decision.map_or((b"", b""), |one| (one.file.as_bytes(), &one.pattern));
    let fields: &[&[u8]] =
        if is_verbose { &[file, line.as_bytes(), pattern, path] } else { &[path] };
    fields.iter().flat_map(|field| field.iter().copied().chain([0])).collect()
}

fn to_json(path: &[u8], decision: Option<&Decision>) -> Value {
    let mut value = path_json(path);
    value["ignored"] = json!(decision.is_some_and(|one| one.ignored));
    if let Some(one) = decision {
        value["source"] = json!(one.file.to_string());
        value["line"] = json!(one.line);
        value["pattern"] = json!(String::from_utf8_lossy(&one.pattern));
    }
    value
}
