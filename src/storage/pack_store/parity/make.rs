//! Making parity from a sealed pack, group by group.

use std::path::Path;

use reed_solomon_simd::engine::DefaultEngine;
use reed_solomon_simd::rate::{HighRateEncoder, RateEncoder};

use super::{Layout, code_error, parity_path};
use crate::storage::disk::{Disk, NewFile, ReadFile};
use crate::storage::format::FormatError;
use crate::storage::format::bytes::checksum;
use crate::storage::pack_store::{Result, StoreError, pack_path};

/// Bytes of the pack that are mapped, or read, at a time.
const WINDOW: u64 = 4 << 20;
/// Bytes gathered before a write.
const BUFFER: usize = 1 << 20;

/// Whether the parity is on the disk for certain when it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MakeParity {
    /// It may be lost with the power.
    Unsynced,
    /// It is, and takes the place of a damaged one.
    Durably,
}

/// Makes the parity of a sound pack.
pub fn make_parity(disk: &dyn Disk, layout: &Layout, how: MakeParity) -> Result<()> {
    let pack = pack_path(&layout.pack);
    let gone = FormatError::Truncated { what: "a pack", needed: layout.pack_len, present: 0 };
    let file = disk.open(&pack)?.ok_or(StoreError::Format { path: pack, source: gone })?;
    let mut out = Output { file: disk.create()?, buffer: layout.encode() };
    let mut tables = Vec::new();
    let mut group = Group::default();
    for number in 0..layout.groups {
        group.make(&*file, layout, number)?;
        let table = layout.encode_table(number, &group.sums);
        out.write(&table)?;
        group.recovery.iter().try_for_each(|shard| out.write(shard))?;
        tables.extend(table);
    }
    out.write(&tables)?;
    out.write(&layout.encode())?;
    out.publish(&parity_path(&layout.pack), how)
}

struct Output {
    file: Box<dyn NewFile>,
    buffer: Vec<u8>,
}

impl Output {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.file.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn publish(mut self, path: &Path, how: MakeParity) -> Result<()> {
        self.file.write_all(&self.buffer)?;
        match how {
            MakeParity::Unsynced => self.file.publish_unsynced(path)?,
            MakeParity::Durably => self.file.publish(path, true)?,
        }
        Ok(())
    }
}

/// What is made of one group. The code keeps its memory from group to group.
#[derive(Default)]
struct Group {
    code: Option<HighRateEncoder<DefaultEngine>>,
    /// Sums of the shards of the pack, then of the recovery shards.
    sums: Vec<u64>,
    recovery: Vec<Vec<u8>>,
}

impl Group {
    fn make(&mut self, file: &dyn ReadFile, layout: &Layout, group: u32) -> Result<()> {
        self.sums.clear();
        self.recovery.clear();
        if layout.group_len(group) == 1 {
            self.copy(file, layout, group)?;
        } else {
            self.encode(file, layout, group)?;
        }
        self.sums.extend(self.recovery.iter().map(|shard| checksum(shard)));
        Ok(())
    }

    /// Of a single shard the code makes copies, but takes megabytes of tables to do it: a commit adds
    /// a pack of one shard as a rule.
    fn copy(&mut self, file: &dyn ReadFile, layout: &Layout, group: u32) -> Result<()> {
        let Self { sums, recovery, .. } = self;
        each_shard(file, layout, group, |shard| {
            sums.push(checksum(shard));
            recovery.resize(layout.recovery as usize, shard.to_vec());
            Ok(())
        })
    }

    fn encode(&mut self, file: &dyn ReadFile, layout: &Layout, group: u32) -> Result<()> {
        let bad = |error| code_error(layout, error);
        let count = layout.group_len(group);
        let (recovery, shard_len) = (layout.recovery as usize, layout.shard_len as usize);
        let mut code = match self.code.take() {
            Some(mut code) => code.reset(count, recovery, shard_len).map(|()| code),
            None => HighRateEncoder::new(count, recovery, shard_len, DefaultEngine::new(), None),
        }
        .map_err(bad)?;
        each_shard(file, layout, group, |shard| {
            self.sums.push(checksum(shard));
            code.add_original_shard(shard).map_err(bad)
        })?;
        self.recovery.extend(code.encode().map_err(bad)?.recovery_iter().map(<[u8]>::to_vec));
        self.code = Some(code);
        Ok(())
    }
}

/// Hands out the shards of a group in their order, the last one of the pack filled up with zeros.
fn each_shard(
    file: &dyn ReadFile,
    layout: &Layout,
    group: u32,
    mut take: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let shard_len = layout.shard_len as usize;
    let in_window = WINDOW / u64::from(layout.shard_len);
    let mut next = u64::from(group);
    for first in (0..layout.shards()).step_by(in_window as usize) {
        let offset = first * u64::from(layout.shard_len);
        let len = (layout.pack_len - offset).min(in_window * u64::from(layout.shard_len)) as usize;
        let window = file.map(offset, len)?;
        while next < first + in_window && next < layout.shards() {
            let at = (next - first) as usize * shard_len;
            if let Some(shard) = window.get(at..at + shard_len) {
                take(shard)?;
            } else {
                let mut shard = window[at..].to_vec();
                shard.resize(shard_len, 0);
                take(&shard)?;
            }
            next += u64::from(layout.groups);
        }
        window.check()?;
    }
    Ok(())
}
