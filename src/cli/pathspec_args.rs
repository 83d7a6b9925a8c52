//! Pathspecs on a command line, and those read from a file.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;

use super::context::Context;
use crate::repo::RepoError;
use crate::repo::pathspec::{PathspecError, read_list};

/// Where pathspecs are read from besides the command line.
#[derive(Debug, Args)]
pub struct PathspecFile {
    /// Read pathspecs from FILE, one in each line; '-' for standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "paths")]
    pub pathspec_from_file: Option<PathBuf>,
    /// In FILE, a NUL ends each pathspec, and nothing is quoted.
    #[arg(long, requires = "pathspec_from_file")]
    pub pathspec_file_nul: bool,
}

impl PathspecFile {
    /// The pathspecs of the file where there is one, else those of the command line. A file that
    /// names none is an error: it must not be taken for everything.
    pub(crate) fn or(&self, typed: &[OsString], context: &Context<'_>) -> Result<Vec<OsString>> {
        let Some(file) = &self.pathspec_from_file else { return Ok(typed.to_vec()) };
        let bytes = if file.as_os_str() == OsStr::new("-") {
            let mut bytes = Vec::new();
            std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
        } else {
            let mut bytes = Vec::new();
            File::open(context.cwd.join(file))
                .and_then(|mut file| file.read_to_end(&mut bytes))
                .map(|_| bytes)
        };
        let bytes =
            bytes.with_context(|| format!("cannot read pathspecs from '{}'", file.display()))?;
        let listed = read_list(&bytes, self.pathspec_file_nul).map_err(RepoError::from)?;
        if listed.is_empty() {
            return Err(RepoError::from(PathspecError::NoneListed).into());
        }
        Ok(listed.into_iter().map(OsString::from_vec).collect())
    }
}
