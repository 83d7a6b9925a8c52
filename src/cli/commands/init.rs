//! `digstore init`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::cli::CommandResult;
use crate::cli::context::Context;
use crate::cli::exit_code::ExitCode;
use crate::repo::{InitOutcome, Repository};

/// Make a repository: a directory '.digstore' beside your files. Nothing is stored yet.
#[derive(Debug, Args)]
pub struct InitArgs {
    // An id of its own: the global option -C has the name of the field.
    /// The directory of the work tree; the current one when left out.
    #[arg(id = "work_tree", value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

pub(crate) fn run(args: &InitArgs, context: &Context<'_>) -> CommandResult {
    let place = context.new_place(args.directory.as_deref());
    let outcome = Repository::init(&place)?;
    let repository = place.repository.display().to_string();
    if context.ui.is_json() {
        let created = outcome == InitOutcome::Created;
        context.ui.document(
            &json!({ "schema_version": 1, "repository": repository, "created": created }),
        )?;
        return Ok(ExitCode::Success);
    }
    context.ui.message(&match outcome {
        InitOutcome::Created => format!("made an empty repository in {repository}"),
        InitOutcome::Existed => {
            format!("there is a repository in {repository} already; it is unchanged")
        }
    });
    Ok(ExitCode::Success)
}
