//! Moving an entry of the work tree to another name.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, RenameFlags, renameat, renameat_with, statat};
use rustix::io::Errno;

use super::{Result, WorkTree, WorkTreeError};
use crate::path::RepoPath;

impl WorkTree {
    /// Gives a file, a link or a directory another name. The directories above both must be there.
    /// Without `replace`, what lies at the new name already stays, and nothing is moved; with it, a
    /// file or link there is replaced.
    pub fn rename(&self, from: &RepoPath, to: &RepoPath, replace: bool) -> Result<()> {
        let moved = self.in_parent(to, false, |new_dir, new_name| {
            let new_dir = new_dir.as_fd();
            let answer = self.in_parent(from, false, |old_dir, old_name| {
                if replace {
                    return renameat(old_dir, old_name, new_dir, new_name);
                }
                let flags = RenameFlags::NOREPLACE;
                match renameat_with(old_dir, old_name, new_dir, new_name, flags) {
                    // A file system that cannot promise it.
                    Err(Errno::INVAL | Errno::NOSYS) => {
                        match statat(new_dir, new_name, AtFlags::SYMLINK_NOFOLLOW) {
                            Err(Errno::NOENT) => renameat(old_dir, old_name, new_dir, new_name),
                            Ok(_) => Err(Errno::EXIST),
                            Err(errno) => Err(errno),
                        }
                    }
                    answer => answer,
                }
            });
            // Both answers are told apart from what went wrong on the way to the new name.
            Ok(answer)
        })?;
        let answer = moved.map_err(|errno| WorkTreeError::at("move to", to, errno))?;
        self.handles.forget(from.as_bytes());
        answer?.map_err(|errno| match errno {
            Errno::EXIST | Errno::NOTEMPTY | Errno::ISDIR | Errno::NOTDIR => {
                WorkTreeError::Obstructed { path: to.clone() }
            }
            errno => WorkTreeError::io("move", from, errno),
        })
    }
}
