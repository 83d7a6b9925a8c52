//! Moving an entry of the work tree to another name.

use std::os::fd::AsFd;

use rustix::fs::renameat;
use rustix::io::Errno;

use super::stored::rename_new;
use super::{Result, WorkTree, WorkTreeError};
use crate::path::RepoPath;

impl WorkTree {
    /// Gives a file, a link or a directory another name. The directories above both must be there.
    /// Without `replace`, what lies at the new name already stays, and nothing is moved; with it, a
    /// file or link there is replaced, unless it was changed since it was stored.
    pub fn rename(&self, from: &RepoPath, to: &RepoPath, replace: bool) -> Result<()> {
        let moved = self.in_parent(to, false, |new_dir, new_name| {
            let new_dir = new_dir.as_fd();
            let answer = self.in_parent(from, false, |old_dir, old_name| {
                let old_dir = old_dir.as_fd();
                match self.stored.as_ref().filter(|stored| stored.knows(to)) {
                    _ if !replace => {
                        rename_new(old_dir, old_name, new_dir, new_name).map(|()| true)
                    }
                    Some(stored) => stored.rename((old_dir, old_name), (new_dir, new_name), to),
                    None => renameat(old_dir, old_name, new_dir, new_name).map(|()| true),
                }
            });
            // Both answers are told apart from what went wrong on the way to the new name.
            Ok(answer)
        })?;
        let answer = moved.map_err(|errno| WorkTreeError::at("move to", to, errno))?;
        self.handles.forget(from.as_bytes());
        let is_as_noted = answer?.map_err(|errno| match errno {
            Errno::EXIST | Errno::NOTEMPTY | Errno::ISDIR | Errno::NOTDIR => {
                WorkTreeError::Obstructed { path: to.clone() }
            }
            errno => WorkTreeError::io("move", from, errno),
        })?;
        if is_as_noted { Ok(()) } else { Err(WorkTreeError::Changed { path: to.clone() }) }
    }
}
