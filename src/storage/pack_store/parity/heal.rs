//! Healing: what a pack was, from what is left of it and its parity.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;

use reed_solomon_simd::engine::DefaultEngine;
use reed_solomon_simd::rate::{HighRateDecoder, RateDecoder};

use super::{Fault, Layout, code_error, parity_path, read_layout, read_piece};
use crate::id::PackId;
use crate::storage::disk::{Disk, DiskError, FileBytes, ReadFile, Result as DiskResult};
use crate::storage::format::bytes::checksum;
use crate::storage::pack_store::{Result, StoreError, pack_path};
use crate::storage::queues::CancelToken;

/// Most bytes of one pack that are healed at once; they are held in memory.
pub(super) const MAX_HEALED: usize = 256 << 20;

/// A damaged pack as it is behind its healed shards; what did not come back and cannot be read is zeros.
/// Nothing of it is believed until it is proven: it is read like the pack itself.
pub struct Mended {
    file: Option<Box<dyn ReadFile>>,
    layout: Layout,
    /// Shards that came back.
    shards: BTreeMap<u64, Vec<u8>>,
}

/// The same, of which nothing is made up: what cannot be read is an error.
pub struct AsProven(pub Arc<Mended>);

/// Heals a pack in memory, as far as its parity can. None where there is no parity that helps.
pub fn heal(disk: &dyn Disk, id: &PackId, cancel: &CancelToken) -> Result<Option<Arc<Mended>>> {
    let Some(parity) = lossy(disk.open(&parity_path(id)))?.flatten() else { return Ok(None) };
    let layout = match read_layout(&*parity, id) {
        Ok(layout) => layout,
        Err(Fault::Disk(error)) if !error.is_unreadable() => return Err(error.into()),
        Err(_) => return Ok(None),
    };
    // Each of its sums stands for a shard: few bytes do not claim a large pack.
    if parity.len()? < layout.least_len() {
        return Ok(None);
    }
    let file = lossy(disk.open(&pack_path(id)))?.flatten();
    let mended = Mended { file, layout, shards: BTreeMap::new() };
    let mut healer = Healer { parity: &*parity, mended, code: None };
    for group in 0..layout.groups {
        if cancel.is_cancelled() {
            return Err(StoreError::Interrupted);
        }
        // Without the sums of a group nobody knows what of it is damaged.
        if let Some(sums) = healer.sums(group)? {
            healer.group(group, &sums)?;
        }
    }
    let mended = healer.mended;
    let len = mended.file.as_ref().map_or(Ok(0), |file| file.len())?;
    let helps = !mended.shards.is_empty() || len > layout.pack_len;
    Ok(helps.then(|| Arc::new(mended)))
}

struct Healer<'a> {
    parity: &'a dyn ReadFile,
    mended: Mended,
    code: Option<HighRateDecoder<DefaultEngine>>,
}

impl Healer<'_> {
    /// The sums of a group, from either copy.
    fn sums(&self, group: u32) -> Result<Option<Vec<u64>>> {
        let layout = &self.mended.layout;
        for offset in layout.tables(group) {
            let table = lossy(read_piece(self.parity, offset, layout.table_len(group)))?;
            if let Some(Ok(sums)) = table.map(|table| layout.decode_table(group, &table)) {
                return Ok(Some(sums));
            }
        }
        Ok(None)
    }

    /// Brings the lost shards of a group back, if there is parity enough for all of them.
    fn group(&mut self, group: u32, sums: &[u64]) -> Result<()> {
        let layout = self.mended.layout;
        let mut shard = vec![0; layout.shard_len as usize];
        let mut lost = Vec::new();
        let (of_pack, of_recovery) = sums.split_at(layout.group_len(group));
        for (at, sum) in of_pack.iter().enumerate() {
            let is_there = self.mended.read_shard(layout.shard(group, at), &mut shard)?;
            if !is_there || checksum(&shard) != *sum {
                lost.push(at);
            }
        }
        let held = (self.mended.shards.len() + lost.len()) * layout.shard_len as usize;
        if lost.is_empty() || held > MAX_HEALED {
            return Ok(());
        }
        let spare = self.spare(group, of_recovery, lost.len())?;
        if spare.len() < lost.len() {
            return Ok(());
        }
        for (at, shard) in self.decode(group, &lost, spare)? {
            if checksum(&shard) == sums[at] {
                self.mended.shards.insert(layout.shard(group, at), shard);
            }
        }
        Ok(())
    }

    /// The first so many sound recovery shards of a group.
    fn spare(&self, group: u32, sums: &[u64], wanted: usize) -> Result<Vec<(usize, Vec<u8>)>> {
        let layout = &self.mended.layout;
        let mut spare = Vec::new();
        for (at, sum) in sums.iter().enumerate() {
            let offset = layout.recovery_shard(group, at);
            let shard = lossy(read_piece(self.parity, offset, layout.shard_len as usize))?;
            spare.extend(shard.filter(|shard| checksum(shard) == *sum).map(|shard| (at, shard)));
            if spare.len() == wanted {
                break;
            }
        }
        Ok(spare)
    }

    fn decode(
        &mut self,
        group: u32,
        lost: &[usize],
        mut spare: Vec<(usize, Vec<u8>)>,
    ) -> Result<Vec<(usize, Vec<u8>)>> {
        let layout = self.mended.layout;
        let bad = |error| code_error(&layout, error);
        let count = layout.group_len(group);
        if count == 1 {
            // The recovery shards of a single shard are copies of it.
            return Ok(spare.pop().map(|(_, shard)| (0, shard)).into_iter().collect());
        }
        let mut code = self.code(count).map_err(bad)?;
        let mut shard = vec![0; layout.shard_len as usize];
        for at in (0..count).filter(|at| lost.binary_search(at).is_err()) {
            if self.mended.read_shard(layout.shard(group, at), &mut shard)? {
                code.add_original_shard(at, &shard).map_err(bad)?;
            }
        }
        for (at, shard) in spare {
            code.add_recovery_shard(at, shard).map_err(bad)?;
        }
        // A shard that was read a moment ago, and cannot be now, may be one too few.
        let Ok(result) = code.decode() else { return Ok(Vec::new()) };
        let restored = result.restored_original_iter().map(|(at, shard)| (at, shard.to_vec()));
        let restored = restored.collect();
        drop(result);
        self.code = Some(code);
        Ok(restored)
    }

    /// The code for a group of so many shards; it keeps its memory from group to group.
    fn code(
        &mut self,
        count: usize,
    ) -> std::result::Result<HighRateDecoder<DefaultEngine>, reed_solomon_simd::Error> {
        let layout = &self.mended.layout;
        let (recovery, shard_len) = (layout.recovery as usize, layout.shard_len as usize);
        match self.code.take() {
            Some(mut code) => code.reset(count, recovery, shard_len).map(|()| code),
            None => HighRateDecoder::new(count, recovery, shard_len, DefaultEngine::new(), None),
        }
    }
}

/// None where bytes are not there, or the disk cannot read them any more.
fn lossy<T>(read: DiskResult<T>) -> Result<Option<T>> {
    match read {
        Err(error) if error.is_unreadable() => Ok(None),
        other => Ok(Some(other?)),
    }
}

impl Mended {
    /// Reads a shard of the damaged pack, filled up with zeros where the pack ends in it; answers
    /// whether it is there.
    fn read_shard(&self, number: u64, shard: &mut [u8]) -> Result<bool> {
        let offset = number * u64::from(self.layout.shard_len);
        let len = (self.layout.pack_len - offset).min(shard.len() as u64) as usize;
        let (bytes, rest) = shard.split_at_mut(len);
        rest.fill(0);
        let Some(file) = &self.file else { return Ok(false) };
        Ok(lossy(file.read_exact_at(bytes, offset))?.is_some())
    }

    fn cut_short(&self) -> DiskError {
        let path = pack_path(&self.layout.pack);
        DiskError { op: "read", path, source: ErrorKind::UnexpectedEof.into() }
    }

    /// Fills `buf` from `offset`; what cannot be read is zeros, unless it is `strict`.
    fn read(&self, buf: &mut [u8], offset: u64, strict: bool) -> DiskResult<()> {
        let end = offset.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.layout.pack_len) {
            return Err(self.cut_short());
        }
        let mut done = 0;
        while done < buf.len() {
            done += self.read_some(&mut buf[done..], offset + done as u64, strict)?;
        }
        Ok(())
    }

    /// Fills the start of `buf` from `at` and answers how many bytes it had from one place.
    fn read_some(&self, buf: &mut [u8], at: u64, strict: bool) -> DiskResult<usize> {
        let shard_len = u64::from(self.layout.shard_len);
        let (number, within) = (at / shard_len, (at % shard_len) as usize);
        if let Some(shard) = self.shards.get(&number) {
            let len = (shard.len() - within).min(buf.len());
            buf[..len].copy_from_slice(&shard[within..within + len]);
            return Ok(len);
        }
        let next =
            self.shards.range(number..).next().map_or(u64::MAX, |(next, _)| next * shard_len);
        let len = (next - at).min(buf.len() as u64) as usize;
        let read = |bytes: &mut [u8]| match &self.file {
            Some(file) => file.read_exact_at(bytes, at),
            None => Err(self.cut_short()),
        };
        match read(&mut buf[..len]) {
            Err(error) if error.is_unreadable() && !strict => {}
            other => return other.map(|()| len),
        }
        let len = len.min(shard_len as usize - within);
        match read(&mut buf[..len]) {
            Err(error) if error.is_unreadable() => buf[..len].fill(0),
            other => other?,
        }
        Ok(len)
    }
}

impl ReadFile for Arc<Mended> {
    fn len(&self) -> DiskResult<u64> {
        Ok(self.layout.pack_len)
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> DiskResult<()> {
        self.read(buf, offset, false)
    }

    fn map(&self, offset: u64, len: usize) -> DiskResult<FileBytes> {
        let end = offset.checked_add(len as u64);
        // A pack that lies about its length must not cost memory.
        if end.is_none_or(|end| end > self.layout.pack_len) || len > MAX_HEALED {
            return Err(self.cut_short());
        }
        Ok(FileBytes::Read(read_piece(self, offset, len)?))
    }
}

impl ReadFile for AsProven {
    fn len(&self) -> DiskResult<u64> {
        ReadFile::len(&self.0)
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> DiskResult<()> {
        self.0.read(buf, offset, true)
    }

    fn map(&self, offset: u64, len: usize) -> DiskResult<FileBytes> {
        Ok(FileBytes::Read(read_piece(self, offset, len)?))
    }
}
