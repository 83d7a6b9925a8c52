//! The bytes of one version of a file, wherever they are: stored, in the work tree, in memory.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::super::beneath::{fstat_of, open_file};
use super::super::content::cut;
use super::super::read::{ByteRange, ContentReader};
use super::super::{RepoError, Result};
use super::Differ;
use super::changes::{FileContent, Item, ItemKind};
use super::regions::{Pages, Region, regions};
use crate::id::{ListId, ObjectId};
use crate::path::RepoPath;
use crate::storage::format::object::{Content, ListPage};
use crate::storage::format::pack::BlockKind;
use crate::storage::objects::{ObjectSink, Objects};

/// Bytes of a work-tree file read at once.
const STEP: u64 = 1 << 20;

enum Source {
    Stored(Content),
    WorkTree { file: File, path: RepoPath },
    Inline(Vec<u8>),
}

/// One version of a file, opened.
pub struct Blob {
    source: Source,
    /// Its length in bytes.
    pub size: u64,
}

/// Both versions of a file and where they differ.
pub struct Pair {
    /// The older.
    pub old: Blob,
    /// The newer.
    pub new: Blob,
    /// What they are stored as, or would be; `None` for what is no file.
    pub contents: (Option<Content>, Option<Content>),
    /// What is not known to be equal, in order; between two regions both hold the same bytes.
    pub(super) regions: Vec<Region>,
}

impl Blob {
    fn empty() -> Self {
        Self { source: Source::Inline(Vec::new()), size: 0 }
    }

    /// Hands out the bytes of a range in order; fewer where the file of the work tree shrank.
    pub(super) fn for_each_slice(
        &self,
        reader: &ContentReader<'_>,
        range: Range<u64>,
        mut take: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        match &self.source {
            Source::Inline(bytes) => take(&bytes[range.start as usize..range.end as usize]),
            Source::Stored(content) => {
                let range = ByteRange { start: range.start, end: range.end };
                reader.in_order(content, self.size, range, |part| part.for_each_slice(&mut take))
            }
            Source::WorkTree { file, path } => {
                let mut buffer = vec![0; STEP.min(range.end - range.start) as usize];
                let mut at = range.start;
                while at < range.end {
                    let step = (buffer.len() as u64).min(range.end - at) as usize;
                    let read = read_at(file, &mut buffer[..step], at);
                    let read = read.map_err(|source| unreadable(path, source))?;
                    if read == 0 {
                        break;
                    }
                    take(&buffer[..read])?;
                    at += read as u64;
                }
                Ok(())
            }
        }
    }

    /// The bytes of a range, which the caller has bounded.
    pub(super) fn read(&self, reader: &ContentReader<'_>, range: Range<u64>) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
        self.for_each_slice(reader, range, |slice| {
            bytes.extend_from_slice(slice);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// What the file is stored as, if that is known without reading it.
    fn content(&self) -> Option<Content> {
        match self.source {
            Source::Stored(content) => Some(content),
            _ => None,
        }
    }
}

fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn unreadable(path: &RepoPath, source: io::Error) -> RepoError {
    RepoError::WorkTreeRead { path: path.to_os().to_owned(), source }
}

/// Most bytes of pages of a work-tree file's chunk list that are kept: those of some 200 GiB of
/// new data. Pages beyond are taken for different.
const MAX_PAGES: usize = 128 << 20;

/// Keeps the pages of a chunk list that are not stored.
struct KeepNew<'a> {
    objects: &'a Objects,
    pages: HashMap<ListId, Vec<u8>>,
    bytes: usize,
}

impl ObjectSink for KeepNew<'_> {
    type Error = Infallible;
    fn put(
        &mut self,
        _: BlockKind,
        id: ObjectId,
        bytes: Vec<u8>,
    ) -> std::result::Result<(), Infallible> {
        if self.bytes < MAX_PAGES && !self.objects.reader().store().contains(&id) {
            self.bytes += bytes.len();
            self.pages.insert(id.into(), bytes);
        }
        Ok(())
    }
}

impl Pages for KeepNew<'_> {
    fn page(&self, id: &ListId) -> Result<Option<ListPage>> {
        if let Some(bytes) = self.pages.get(id) {
            return Ok(ListPage::decode(bytes).ok());
        }
        let is_stored = self.objects.reader().store().contains(&ObjectId::from(*id));
        Ok(if is_stored { Some(self.objects.list_page(id)?) } else { None })
    }
}

impl Differ<'_> {
    /// Opens one version of a file.
    pub fn open(&self, item: Option<&Item>) -> Result<Blob> {
        let Some(item) = item else { return Ok(Blob::empty()) };
        match &item.kind {
            ItemKind::EmptyDir => Ok(Blob::empty()),
            ItemKind::Symlink { target } => {
                Ok(Blob { size: target.len() as u64, source: Source::Inline(target.clone()) })
            }
            ItemKind::File { content: FileContent::Stored(content), size, .. } => {
                Ok(Blob { source: Source::Stored(*content), size: *size })
            }
            ItemKind::File { content: FileContent::WorkTree(_), .. } => {
                let path = item.path.clone();
                let file = self.open_work_file(&path)?;
                let size = fstat_of(&file).map_err(|source| unreadable(&path, source))?.1.size;
                Ok(Blob { source: Source::WorkTree { file, path }, size })
            }
        }
    }

    fn open_work_file(&self, path: &RepoPath) -> Result<File> {
        let root = match &self.root {
            Some(root) => root,
            None => &self.repository.work_tree_handle()?,
        };
        open_file(root, path).map_err(|source| unreadable(path, source))
    }

    /// Opens both versions of a file and finds where they differ; a file of the work tree is read
    /// and cut for that.
    pub fn pair(&self, old: Option<&Item>, new: Option<&Item>) -> Result<Pair> {
        let (mut old, mut new) = (self.open(old)?, self.open(new)?);
        let mut known = KeepNew { objects: self.reader.objects, pages: HashMap::new(), bytes: 0 };
        let old_content = self.cut(&mut old, &mut known)?;
        let new_content = self.cut(&mut new, &mut known)?;
        let regions = match (old_content, new_content) {
            (Some(a), Some(b)) => regions(&known, (&a, old.size), (&b, new.size))?,
            _ => Region::whole(old.size, new.size),
        };
        Ok(Pair { old, new, contents: (old_content, new_content), regions })
    }

    /// What a file is stored as, or would be. What is appended to it afterwards is left for the
    /// next time.
    fn cut(&self, blob: &mut Blob, known: &mut KeepNew<'_>) -> Result<Option<Content>> {
        let Source::WorkTree { file, path } = &blob.source else { return Ok(blob.content()) };
        let cut = cut(file, &self.chunker, known);
        let (content, size) = cut.map_err(|source| unreadable(path, source))?;
        blob.size = size;
        Ok(Some(content))
    }

    /// What `add` would store a file of the work tree as.
    pub(super) fn content_of_work_file(&self, path: &RepoPath) -> Result<(Content, u64)> {
        let file = self.open_work_file(path)?;
        cut(&file, &self.chunker, &mut super::super::content::Forget)
            .map_err(|source| unreadable(path, source))
    }
}
