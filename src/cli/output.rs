//! The file that a command is told to write with `-o`.

use std::fs::{File, Metadata, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::bail;

use super::context::Context;
use crate::path::RepoPath;
use crate::repo::worktree::WorkTree;
use crate::repo::{RepoError, Repository, Result};
use crate::storage::disk::DiskError;

/// Where the bytes go.
pub(crate) enum Output {
    /// To a file that appears whole, in the place of one that is there.
    File(Box<WorkTree>, RepoPath),
    /// To what takes them as they come, and stays what it is.
    Device(Device),
}

/// A device or a pipe.
pub(crate) struct Device {
    path: PathBuf,
    file: File,
}

impl Output {
    /// What lies there, behind links, is a device or a pipe, or a file to be replaced.
    pub(crate) fn open(context: &Context<'_>, output: &Path) -> anyhow::Result<Self> {
        let full = context.cwd.join(output);
        let found = std::fs::metadata(&full);
        if found.as_ref().is_ok_and(is_device) {
            return Ok(Self::Device(Device::open(full)?));
        }
        if leads_to_open_file(&full) {
            bail!(
                "'{}' is a file that is open already: leave -o out, and redirect",
                output.display()
            );
        }
        let is_link = std::fs::symlink_metadata(&full).is_ok_and(|found| found.is_symlink());
        if is_link && found.is_err() {
            bail!("'{}' is a link that leads nowhere", output.display());
        }
        let full = if is_link { std::fs::canonicalize(full)? } else { full };
        let is_dir = output.as_os_str().as_bytes().ends_with(b"/");
        let (Some(dir), Some(name), false) = (full.parent(), full.file_name(), is_dir) else {
            bail!("'{}' cannot be a file", output.display());
        };
        let name = Repository::check_path(name.as_bytes().to_vec())?;
        Ok(Self::File(Box::new(WorkTree::open(dir)?), name))
    }
}

/// Whether the links of a path pass through those that the kernel has for what processes hold open, as
/// `/dev/stdout`: others write there too, and what they wrote must stay.
fn leads_to_open_file(path: &Path) -> bool {
    let mut at = path.to_owned();
    for _ in 0..MOST_LINKS {
        let (Some(Ok(dir)), Some(name)) = (at.parent().map(std::fs::canonicalize), at.file_name())
        else {
            return false;
        };
        if dir.starts_with("/proc") {
            return true;
        }
        match std::fs::read_link(dir.join(name)) {
            Ok(target) => at = dir.join(target),
            Err(_) => return false,
        }
    }
    false
}

/// As many as the kernel follows.
const MOST_LINKS: usize = 40;

fn is_device(found: &Metadata) -> bool {
    !found.is_file() && !found.is_dir()
}

impl Device {
    fn open(path: PathBuf) -> Result<Self> {
        match OpenOptions::new().write(true).open(&path) {
            Ok(file) => Ok(Self { path, file }),
            Err(source) => Err(DiskError { op: "open", path, source }.into()),
        }
    }

    /// Writes all of it.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all(bytes);
        let failed = |source| DiskError { op: "write", path: self.path.clone(), source };
        written.map_err(|source| RepoError::from(failed(source)))
    }
}
