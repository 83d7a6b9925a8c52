//! The content id of a file in the work tree, without storing anything: what `status` asks of a
//! file whose times changed and whose size did not.

use std::convert::Infallible;
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
    let mut file = open_file(root, path)?;
    let size = fstat_of(&file)?.1.size;
    let mut list = ListBuilder::default();
    if size <= u64::from(chunker.params().whole_file) {
        let mut bytes = Vec::with_capacity(size as usize);
        file.take(size).read_to_end(&mut bytes)?;
        return Ok(if bytes.is_empty() {
            Content::Empty
        } else {
            Content::Chunk(ChunkId::of(&bytes))
        });
    }
    let mut pending = Vec::new();
    loop {
        let read = Read::by_ref(&mut file).take(STEP).read_to_end(&mut pending)?;
        let mut lengths = Vec::new();
        let used = chunker.cut_all(&pending, read == 0, &mut lengths);
        let mut at = 0;
        for len in lengths {
            let chunk = ChunkRef { id: ChunkId::of(&pending[at..at + len as usize]), len };
            let Ok(()) = list.push(chunk, &mut Forget);
            at += len as usize;
        }
        pending.drain(..used);
        if read == 0 {
            let Ok((_, content)) = list.finish(&mut Forget);
            return Ok(content);
        }
    }
}
