//! The content id of a file in the work tree, without storing anything: what `status` asks of a
//! file whose times changed and whose size did not.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use super::beneath::{fstat_of, open_file};
use crate::id::{ChunkId, ObjectId};
use crate::path::RepoPath;
use crate::storage::chunker::Chunker;
use crate::storage::format::object::{ChunkRef, Content};
use crate::storage::format::pack::BlockKind;
use crate::storage::objects::{ListBuilder, ObjectSink};

/// Forgets objects; their ids are all that is wanted.
pub(super) struct Forget;

impl ObjectSink for Forget {
    type Error = Infallible;
    fn put(&mut self, _: BlockKind, _: ObjectId, _: Vec<u8>) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Bytes read at once.
const STEP: u64 = 1 << 20;

/// Reads a file and computes what `add` would store it as.
pub fn content_of(root: &OwnedFd, path: &RepoPath, chunker: &Chunker) -> io::Result<Content> {
    Ok(cut(&open_file(root, path)?, chunker, &mut Forget)?.0)
}

/// Reads an open file and computes what `add` would store it as, and how long it is; the pages of
/// its chunk list go to `sink`.
pub(super) fn cut(
    mut file: &File,
    chunker: &Chunker,
    sink: &mut impl ObjectSink<Error = Infallible>,
) -> io::Result<(Content, u64)> {
    let size = fstat_of(file)?.1.size;
    let mut list = ListBuilder::default();
    if size <= u64::from(chunker.params().whole_file) {
        let mut bytes = Vec::with_capacity(size as usize);
        file.take(size).read_to_end(&mut bytes)?;
        let content = match bytes.as_slice() {
            [] => Content::Empty,
            bytes => Content::Chunk(ChunkId::of(bytes)),
        };
        return Ok((content, bytes.len() as u64));
    }
    let mut pending = Vec::new();
    let mut size = 0;
    loop {
        let read = Read::by_ref(&mut file).take(STEP).read_to_end(&mut pending)?;
        let mut lengths = Vec::new();
        let used = chunker.cut_all(&pending, read == 0, &mut lengths);
        let mut at = 0;
        for len in lengths {
            let chunk = ChunkRef { id: ChunkId::of(&pending[at..at + len as usize]), len };
            let Ok(()) = list.push(chunk, sink);
            at += len as usize;
        }
        size += used as u64;
        pending.drain(..used);
        if read == 0 {
            let Ok((_, content)) = list.finish(sink);
            return Ok((content, size));
        }
    }
}
