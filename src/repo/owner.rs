//! Whose a repository is: one of another user is opened only where that is trusted.
//!
//! Nothing that a repository holds is run, but what it holds is believed: whoever owns it chooses
//! what `commit` makes of the work tree and what `restore` writes. As with git (CVE-2022-24765) a
//! directory that somebody else made above one's own files is not taken for one's repository.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Place, RepoError, Result};
use crate::config::DirList;
use crate::storage::format::repository::FILE_NAME;

impl Place {
    /// An error where the repository, or the file that makes it one, is another user's and neither
    /// it nor its work tree is among `trusted`.
    pub fn check_owner(&self, trusted: &DirList, home: Option<&Path>) -> Result<()> {
        let me = rustix::process::geteuid().as_raw();
        // What `sudo` runs is for whom it was called by.
        let caller = std::env::var("SUDO_UID").ok().filter(|_| me == 0);
        let caller = caller.and_then(|uid| uid.parse().ok());
        for path in [self.repository.clone(), self.repository.join(FILE_NAME)] {
            // What is not there, opening tells.
            let Ok(owner) = path.metadata().map(|metadata| metadata.uid()) else { continue };
            if owner == me || Some(owner) == caller {
                continue;
            }
            let is_trusted = [&self.work_tree, &self.repository]
                .into_iter()
                .filter_map(|dir| dir.canonicalize().ok())
                .any(|dir| trusted.names(&dir, home));
            if !is_trusted {
                return Err(RepoError::OtherOwner { path: self.repository.clone(), owner });
            }
        }
        Ok(())
    }
}
