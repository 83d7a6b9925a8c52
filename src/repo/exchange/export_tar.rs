//! `export tar`: a commit as an archive, the same bytes each time.

use tar::{EntryType, Header};

use super::super::read::ByteRange;
use super::super::trees::{TreeItem, TreeWalk};
use super::super::{Repository, Result};
use crate::id::CommitId;
use crate::path::RepoPath;
use crate::progress::Phase;
use crate::storage::format::object::{Content, EntryKind};

/// What `export tar` did.
#[derive(Debug, Default, Clone, Copy)]
pub struct TarExportReport {
    /// Files and links written.
    pub files: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

/// Unit of an archive.
const BLOCK: u64 = 512;
/// Bytes of a name that fit a header.
const SHORT: usize = 100;

type Write<'a> = &'a mut dyn FnMut(&[u8]) -> Result<()>;

impl Repository {
    /// Streams a commit to `write` as a GNU tar: files, executable bits, links, directories; owner 0,
    /// and the time of the commit everywhere. Holes are written as zeros.
    pub fn export_tar(&self, commit: CommitId, write: Write<'_>) -> Result<TarExportReport> {
        self.monitor().phase(Phase::Restoring);
        let objects = self.objects()?;
        let commit = objects.commit(&commit)?;
        self.monitor().totals(commit.files, commit.bytes);
        let reader = self.content_reader()?;
        let time = u64::try_from(commit.committer.seconds).unwrap_or(0);
        let mut report = TarExportReport::default();
        for item in TreeWalk::new(objects, &commit.tree, RepoPath::root()) {
            let TreeItem { path, kind } = item?;
            header(&path, &kind, time, write)?;
            let (content, size) = match kind {
                EntryKind::Dir { .. } => continue,
                EntryKind::Symlink { .. } => (Content::Empty, 0),
                EntryKind::File { content, size, .. } => (content, size),
            };
            let range = ByteRange { start: 0, end: size };
            reader.in_order(&content, size, range, |part| part.for_each_slice(&mut *write))?;
            pad(size, write)?;
            report.files += 1;
            report.bytes += size;
            self.monitor().advance(1, size);
        }
        // Two blocks of zeros end an archive.
        write(&[0; 2 * BLOCK as usize])?;
        Ok(report)
    }
}

fn pad(size: u64, write: Write<'_>) -> Result<()> {
    let rest = (BLOCK - size % BLOCK) % BLOCK;
    write(&[0; BLOCK as usize][..rest as usize])
}

fn header(path: &RepoPath, kind: &EntryKind, time: u64, write: Write<'_>) -> Result<()> {
    let mut name = path.as_bytes().to_vec();
    let (entry_type, mode, size, target) = match kind {
        EntryKind::Dir { .. } => {
            name.push(b'/');
            (EntryType::Directory, 0o755, 0, &[][..])
        }
        EntryKind::Symlink { target } => (EntryType::Symlink, 0o777, 0, target.as_slice()),
        EntryKind::File { executable, size, .. } => {
            (EntryType::Regular, if *executable { 0o755 } else { 0o644 }, *size, &[][..])
        }
    };
    if name.len() > SHORT {
        long(EntryType::GNULongName, &name, write)?;
    }
    if target.len() > SHORT {
        long(EntryType::GNULongLink, target, write)?;
    }
    let mut header = plain(entry_type, size, &name);
    header.set_mode(mode);
    header.set_mtime(time);
    let target = &target[..target.len().min(SHORT)];
    header.as_old_mut().linkname[..target.len()].copy_from_slice(target);
    header.set_cksum();
    write(header.as_bytes())
}

fn plain(entry_type: EntryType, size: u64, name: &[u8]) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(entry_type);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mode(0o644);
    header.set_mtime(0);
    let name = &name[..name.len().min(SHORT)];
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header
}

/// A name that does not fit its header goes before it, as the content of an entry of its own.
fn long(entry_type: EntryType, name: &[u8], write: Write<'_>) -> Result<()> {
    let size = name.len() as u64 + 1;
    let mut header = plain(entry_type, size, b"././@LongLink");
    header.set_cksum();
    write(header.as_bytes())?;
    write(name)?;
    write(&[0])?;
    pad(size, write)
}
