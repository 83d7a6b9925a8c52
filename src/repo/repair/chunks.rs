//! Chunks that no pack holds any more, from files of the work tree that hold the same bytes.

use std::collections::HashSet;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::super::Result;
use super::super::beneath::open_file;
use super::Repair;
use crate::id::{ChunkId, ObjectId};
use crate::path::RepoPath;
use crate::storage::cache::BufferPool;
use crate::storage::codec::BlockEncoder;
use crate::storage::format::object::Content;
use crate::storage::format::pack::{BlockKind, Codec, MAX_BLOCK, PackKind};
use crate::storage::pack_store::{EncodedBlock, PACK_TARGET, PackWriter, StoreError};
use crate::storage::refs::RefError;

/// Level of compression of what is restored.
const LEVEL: i32 = 3;

/// Looks for each missing chunk where the file that needs it lies in the work tree.
pub(super) fn restore(repair: &mut Repair<'_>) -> Result<()> {
    let affected = std::mem::take(&mut repair.report.left.affected);
    let mut found = Found { writer: None, have: HashSet::new() };
    let mut seen = HashSet::new();
    for item in &affected {
        repair.repository.stop_if_cancelled()?;
        if let Some((content, size)) = item.content
            && seen.insert((content, item.path.clone()))
        {
            found.file(repair, &content, size, &item.path)?;
        }
    }
    repair.report.left.affected = affected;
    if let Some(writer) = found.writer.take() {
        writer.seal()?;
    }
    if !found.have.is_empty() {
        let chunks = found.have.len();
        repair.note(format!("{chunks} chunks of files"), "files of the work tree");
    }
    Ok(())
}

struct Found {
    writer: Option<PackWriter>,
    have: HashSet<ObjectId>,
}

impl Found {
    fn file(
        &mut self,
        repair: &Repair<'_>,
        content: &Content,
        size: u64,
        path: &RepoPath,
    ) -> Result<()> {
        let objects = repair.repository.objects()?;
        let root = repair.repository.work_tree_handle()?;
        let Ok(file) = open_file(&root, path) else { return Ok(()) };
        if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            return Ok(());
        }
        let mut offset = 0;
        // Behind a page of the list that is damaged nobody knows the chunks.
        for chunk in objects.chunks(content, size, 0).map_while(std::result::Result::ok) {
            let (id, len) = (ObjectId::from(chunk.1.id), chunk.1.len);
            let is_there =
                objects.reader().store().contains(&id) && !repair.report.left.damaged.contains(&id);
            if !is_there && !self.have.contains(&id) {
                let mut plain = vec![0; len as usize];
                let is_same = file.read_exact_at(&mut plain, offset).is_ok()
                    && ObjectId::from(ChunkId::of(&plain)) == id;
                if is_same {
                    self.have.insert(id);
                    self.keep(repair, id, &plain)?;
                }
            }
            offset += u64::from(len);
        }
        Ok(())
    }

    fn keep(&mut self, repair: &Repair<'_>, id: ObjectId, plain: &[u8]) -> Result<()> {
        if !repair.apply {
            return Ok(());
        }
        if self.writer.is_none() {
            let mut nonce = [0; 16];
            getrandom::fill(&mut nonce).map_err(RefError::Random)?;
            let disk = Arc::clone(repair.disk());
            self.writer = Some(PackWriter::new(disk, PackKind::Data, nonce)?);
        }
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let mut payload = BufferPool::new(2 * MAX_BLOCK).acquire(BlockEncoder::most(plain.len()));
        let threshold = repair.repository.config.performance.compression_threshold.as_usize();
        let mut encoder = BlockEncoder::new(LEVEL).map_err(StoreError::Codec)?;
        let codec = encoder.encode(plain, threshold, &mut payload).map_err(StoreError::Codec)?;
        if codec == Codec::Raw {
            payload.clear();
            payload.extend_from_slice(plain);
        }
        let chunks = vec![(id, plain.len() as u32)];
        writer.append(&EncodedBlock { kind: BlockKind::Data, codec, chunks, payload })?;
        if writer.len() >= PACK_TARGET
            && let Some(full) = self.writer.take()
        {
            full.seal()?;
        }
        Ok(())
    }
}
