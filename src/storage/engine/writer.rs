//! The writer thread: appends blocks to packs; a second thread seals full packs of data, so that
//! syncing one overlaps with filling the next. Packs of metadata are sealed when all data is: what
//! they lead to is durable before they are. Until then a full one takes an open file in `tmp/`
//! and, in memory, its table and the claims on its objects.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{Engine, EngineError, Result};
use crate::metrics::{Stage, Wait};
use crate::storage::format::pack::{BlockKind, Codec, PackKind};
use crate::storage::pack_store::{EncodedBlock, PACK_TARGET, PackWriter, new_nonce};
use crate::storage::queues::{Closed, Queued};

/// Writes blocks until the queue closes, then seals what is open: data before metadata.
pub(super) fn run(engine: &Engine, blocks: &Receiver<Queued<EncodedBlock>>) -> Result<()> {
    let (full_packs, to_seal) = bounded::<PackWriter>(1);
    std::thread::scope(|scope| {
        let sealer = scope.spawn(move || to_seal.iter().try_for_each(|pack| seal(engine, pack)));
        let meta = write_blocks(engine, blocks, &full_packs);
        drop(full_packs);
        // The sealer's error is the cause when the queue to it closed.
        sealer.join().unwrap_or(Err(EngineError::Closed(Closed)))?;
        let mut packs = meta?.into_iter();
        packs.try_for_each(|pack| seal_last(engine, pack, |pack| seal(engine, pack)))
    })
}

/// Fills packs; returns those of metadata, in the order in which they were filled.
fn write_blocks(
    engine: &Engine,
    blocks: &Receiver<Queued<EncodedBlock>>,
    full: &Sender<PackWriter>,
) -> Result<Vec<PackWriter>> {
    let (mut data, mut meta, mut full_meta) = (None, None, Vec::new());
    while let Ok(queued) = engine.metrics.wait(Wait::WriterForWorkers, || blocks.recv()) {
        let is_data = queued.item.kind == BlockKind::Data;
        let slot = if is_data { &mut data } else { &mut meta };
        let kind = if is_data { PackKind::Data } else { PackKind::Meta };
        let mut pack = match slot.take() {
            Some(pack) => pack,
            None => new_pack(engine, kind)?,
        };
        let written = engine.metrics.time(Stage::Writing, || pack.append(&queued.item))?;
        count(engine, &queued.item, written);
        if pack.len() < PACK_TARGET {
            *slot = Some(pack);
        } else if is_data {
            full.send(pack).map_err(|_| Closed)?;
        } else {
            full_meta.push(pack);
        }
    }
    let send = |pack| Ok(full.send(pack).map_err(|_| Closed)?);
    data.map_or(Ok(()), |pack| seal_last(engine, pack, send))?;
    full_meta.extend(meta);
    Ok(full_meta)
}

/// Seals what is left at the end of a run. After a cancelled one it is not worth a sync, but then
/// the run has failed, even if its workers had all done before.
fn seal_last(
    engine: &Engine,
    pack: PackWriter,
    seal: impl FnOnce(PackWriter) -> Result<()>,
) -> Result<()> {
    engine.check_cancel()?;
    seal(pack)
}

fn count(engine: &Engine, block: &EncodedBlock, written: u64) {
    engine.metrics.add_block(block.plain_len(), written, block.codec == Codec::Raw);
}

fn new_pack(engine: &Engine, kind: PackKind) -> Result<PackWriter> {
    Ok(PackWriter::new(Arc::clone(engine.store.disk()), kind, new_nonce())?)
}

/// Publishes a pack, lets the store find its objects, and only then forgets the claims on them.
fn seal(engine: &Engine, pack: PackWriter) -> Result<()> {
    let sealed = engine.metrics.time(Stage::Writing, || pack.seal())?;
    engine.store.adopt(sealed.id)?;
    for id in &sealed.objects {
        engine.chunk_dedup.remove(id);
    }
    Ok(())
}
