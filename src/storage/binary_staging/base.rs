//! Writing a base: three passes over the entries, so that memory stays flat. Only the hash table
//! is held, 8 to 16 bytes for each entry.

use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use crate::id::TreeId;
use crate::storage::disk::{Disk, NewFile, Result};
use crate::storage::format::bytes::push_checksum;
use crate::storage::format::staging::StagedView;
use crate::storage::format::staging_base::{BaseHeader, SlotTable, encode_record};

const BUFFER: usize = 1 << 20;

/// A file written through a buffer, with the checksum of everything written.
struct Summed {
    file: Box<dyn NewFile>,
    buffer: Vec<u8>,
    sum: Xxh3,
}

impl Summed {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.sum.update(&self.buffer);
        self.file.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn publish(mut self, path: &Path, replace: bool) -> Result<()> {
        self.flush()?;
        let sum = self.sum.digest();
        self.file.write_all(&sum.to_le_bytes())?;
        self.file.publish(path, replace)
    }
}

/// Writes the base of `generation` with what `entries` yields, each time the same, in path order.
/// `check` is asked before it is published.
pub(super) fn write<'a, I: Iterator<Item = StagedView<'a>>>(
    disk: &dyn Disk,
    path: &Path,
    replace: bool,
    (generation, clean_tree): (u64, Option<TreeId>),
    entries: impl Fn() -> I,
    check: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let mut header = BaseHeader { generation, records: 0, string_bytes: 0, clean_tree };
    for entry in entries() {
        header.records += 1;
        header.string_bytes += string_len(&entry);
    }
    let buffer = Vec::with_capacity(BUFFER + BUFFER / 8);
    let mut out = Summed { file: disk.create()?, buffer, sum: Xxh3::new() };
    out.write(&header.encode())?;
    let (mut table, mut string_offset) = (SlotTable::new(&header), 0);
    for entry in entries() {
        out.write(&encode_record(&entry, string_offset))?;
        table.push(entry.path);
        string_offset += string_len(&entry);
    }
    table.encoded().try_for_each(|slot| out.write(&slot))?;
    for entry in entries() {
        out.write(entry.path)?;
        out.write(entry.kind.target())?;
    }
    check()?;
    out.publish(path, replace)
}

fn string_len(entry: &StagedView<'_>) -> u64 {
    (entry.path.len() + entry.kind.target().len()) as u64
}

/// The bytes of a base without entries.
pub(super) fn empty(generation: u64) -> Vec<u8> {
    let header = BaseHeader { generation, records: 0, string_bytes: 0, clean_tree: None };
    let mut bytes = header.encode();
    bytes.extend(SlotTable::new(&header).encoded().flatten());
    push_checksum(&mut bytes, 0);
    bytes
}
