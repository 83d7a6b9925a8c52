//! Parity: a file beside a pack that heals it, and what is planned, made, checked and healed with it.
//!
//! It is made from the sealed pack, when the settings ask for it, and is redundancy only: nothing
//! relies on it, a pack without it is as good, and a parity file that is damaged is made anew from its
//! pack. Nothing waits for the disk while it is made by a command that stores: after a loss of power the
//! parity of the last half minute may be missing or torn, which its sums tell. What is healed is
//! believed only where all of the pack is proven by its ids; see `docs/design/0008-parity.md`.
//!
//! Memory is bounded by the size of a group, whatever the size of the pack: some 16 MiB to make
//! parity and 32 MiB to heal, and [`heal::MAX_HEALED`] for what is healed.

mod heal;
mod make;

use std::collections::HashSet;
use std::path::PathBuf;

pub use heal::{AsProven, Mended, heal};
pub use make::{MakeParity, make_parity};

use super::{Pack, PackStore, Result, StoreError, pack_path};
use crate::config::Parity;
use crate::id::{ID_LEN, PackId};
use crate::storage::disk::{Disk, DiskError, ReadFile, Result as DiskResult};
use crate::storage::format::FormatError;
use crate::storage::format::bytes::checksum;
use crate::storage::format::pack::PackKind;
use crate::storage::format::parity::{HEADER_LEN, Layout, MAX_GROUP, MAX_SHARD, SHARD_STEP};

/// Ending of the names of parity files.
const SUFFIX: &str = ".parity";
/// Bytes in a row that are healed whatever the share, wherever they begin: some disks lose that much at
/// once.
const BURST: u64 = 64 << 10;
/// The share of packs of metadata: a second copy of all of it.
const WHOLE: u8 = 100;

/// Path of the parity of a pack in the repository.
pub fn parity_path(id: &PackId) -> PathBuf {
    pack_path(id).with_extension(&SUFFIX[1..])
}

/// The share of parity, in percent, that the settings ask for; none for no parity.
fn share(parity: Parity, kind: PackKind) -> Option<u8> {
    match (parity, kind) {
        (Parity::None, _) | (Parity::Metadata, PackKind::Data) => None,
        (_, PackKind::Meta) => Some(WHOLE),
        (Parity::Share(percent), PackKind::Data) => Some(percent),
    }
}

/// How the parity of a pack is laid out; none where the settings ask for none.
pub fn plan(pack: &Pack, parity: Parity) -> Result<Option<Layout>> {
    let percent = share(parity, pack.footer()?.kind);
    Ok(percent.map(|percent| lay_out(pack.id(), pack.len(), percent)))
}

fn lay_out(pack: PackId, pack_len: u64, percent: u8) -> Layout {
    let shard_len = pack_len.min(MAX_SHARD as u64).next_multiple_of(SHARD_STEP as u64);
    let shards = pack_len.div_ceil(shard_len);
    let groups = shards.div_ceil(MAX_GROUP);
    // As many bytes in a row, which need not begin where a shard does, touch one shard more.
    let wanted = (shards * u64::from(percent)).div_ceil(100).max(BURST / MAX_SHARD as u64) + 1;
    let recovery = wanted.div_ceil(groups).min(shards.div_ceil(groups));
    let (shard_len, groups, recovery) = (shard_len as u32, groups as u32, recovery as u32);
    Layout { pack, pack_len, shard_len, groups, recovery }
}

/// What a look at the parity of a pack found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParityState {
    /// There is none.
    Missing,
    /// It is as it was made, as far as it was read.
    Sound(Layout),
    /// It is damaged, and how.
    Damaged(String),
    /// A newer release made it; this one leaves it alone.
    Newer(String),
}

impl ParityState {
    /// Whether it is what the settings ask for, or more. Where they ask for none, none is enough.
    pub fn is_enough(&self, wanted: Option<&Layout>) -> bool {
        match (self, wanted) {
            (Self::Missing, wanted) => wanted.is_none(),
            (Self::Sound(found), Some(wanted)) => found.recovery >= wanted.recovery,
            (Self::Sound(_), None) | (Self::Newer(_), _) => true,
            (Self::Damaged(_), _) => false,
        }
    }
}

/// Looks at the parity of a pack of `pack_len` bytes: at its header and length, or with `whole` at every
/// byte of it.
pub fn check_parity(
    disk: &dyn Disk,
    id: &PackId,
    pack_len: u64,
    whole: bool,
) -> Result<ParityState> {
    let found = disk.open(&parity_path(id)).map_err(Fault::from).and_then(|file| {
        let Some(file) = file else { return Ok(None) };
        let layout = read_layout(&*file, id)?;
        check_len(&*file, &layout, pack_len)?;
        if whole {
            check_whole(&*file, &layout)?;
        }
        Ok(Some(layout))
    });
    match found {
        Ok(None) => Ok(ParityState::Missing),
        Ok(Some(layout)) => Ok(ParityState::Sound(layout)),
        Err(Fault::Format(error)) if error.is_newer() => Ok(ParityState::Newer(error.to_string())),
        Err(Fault::Format(error)) => Ok(ParityState::Damaged(error.to_string())),
        Err(Fault::Disk(error)) if error.is_unreadable() => {
            Ok(ParityState::Damaged(super::describe(&error)))
        }
        Err(Fault::Disk(error)) => Err(error.into()),
    }
}

/// Why parity cannot be used.
enum Fault {
    Format(FormatError),
    Disk(DiskError),
}

impl From<FormatError> for Fault {
    fn from(error: FormatError) -> Self {
        Self::Format(error)
    }
}

impl From<DiskError> for Fault {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

type Checked<T> = std::result::Result<T, Fault>;

fn damaged(why: impl Into<String>) -> Fault {
    Fault::Format(FormatError::invalid("parity", why))
}

/// The code refuses counts that no layout has: this does not happen.
fn code_error(layout: &Layout, error: reed_solomon_simd::Error) -> StoreError {
    let source = FormatError::invalid("parity", error.to_string());
    StoreError::Format { path: parity_path(&layout.pack), source }
}

fn read_piece(file: &dyn ReadFile, offset: u64, len: usize) -> DiskResult<Vec<u8>> {
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// The header at the start or, where that is damaged, at the end.
fn read_layout(file: &dyn ReadFile, id: &PackId) -> Checked<Layout> {
    let read = |offset| -> Checked<Layout> {
        let layout = Layout::decode(&read_piece(file, offset, HEADER_LEN)?)?;
        if layout.pack == *id { Ok(layout) } else { Err(damaged("it belongs to another pack")) }
    };
    read(0).or_else(|first| {
        let last = file.len()?.checked_sub(HEADER_LEN as u64).map(read);
        last.and_then(std::result::Result::ok).ok_or(first)
    })
}

fn check_len(file: &dyn ReadFile, layout: &Layout, pack_len: u64) -> Checked<()> {
    let len = file.len()?;
    if len != layout.file_len() {
        return Err(damaged(format!("it has {len} bytes instead of {}", layout.file_len())));
    }
    if pack_len != layout.pack_len {
        return Err(damaged(format!("it is of a pack of {} bytes", layout.pack_len)));
    }
    Ok(())
}

fn check_whole(file: &dyn ReadFile, layout: &Layout) -> Checked<()> {
    for offset in [0, layout.file_len() - HEADER_LEN as u64] {
        if read_piece(file, offset, HEADER_LEN)? != layout.encode() {
            return Err(damaged("one of its headers is damaged"));
        }
    }
    let mut shard = vec![0; layout.shard_len as usize];
    for group in 0..layout.groups {
        let mut sums = Vec::new();
        for table in layout.tables(group) {
            let bytes = read_piece(file, table, layout.table_len(group))?;
            sums = layout.decode_table(group, &bytes)?;
        }
        for (at, sum) in sums[layout.group_len(group)..].iter().enumerate() {
            file.read_exact_at(&mut shard, layout.recovery_shard(group, at))?;
            if checksum(&shard) != *sum {
                return Err(damaged(format!("recovery shard {at} of group {group} is damaged")));
            }
        }
    }
    Ok(())
}

/// The packs of which there is parity, by its names.
pub fn list_parity(disk: &dyn Disk) -> Result<HashSet<PackId>> {
    super::list_files(disk, SUFFIX)
}

/// Bytes of the parity of a pack; 0 where there is none.
pub fn parity_len(disk: &dyn Disk, id: &PackId) -> Result<u64> {
    Ok(disk.file_kind(&parity_path(id))?.map_or(0, |(_, len)| len))
}

/// Removes a pack that nobody wants any more, durably. Its parity goes before it, so that parity
/// without a pack always means that the pack was lost.
pub fn remove_pack(disk: &dyn Disk, id: &PackId) -> Result<()> {
    remove_parity(disk, id)?;
    Ok(disk.remove_durably(&pack_path(id))?)
}

/// Removes the parity of a pack, durably.
pub fn remove_parity(disk: &dyn Disk, id: &PackId) -> Result<()> {
    let path = parity_path(id);
    if disk.file_kind(&path)?.is_some() {
        disk.remove_durably(&path)?;
    }
    Ok(())
}

/// The packs of which there is parity only.
pub fn list_lost(disk: &dyn Disk) -> Result<Vec<PackId>> {
    // In this order: a pack that somebody stores meanwhile was there before its parity.
    let parity = list_parity(disk)?;
    let mut lost: Vec<_> = parity.difference(&super::list_packs(disk)?).copied().collect();
    lost.sort_unstable();
    Ok(lost)
}

impl PackStore {
    /// The same store, whose new packs get parity.
    #[must_use]
    pub fn with_parity(mut self, parity: Parity) -> Self {
        self.parity = parity;
        self
    }

    /// Bytes of the parity that a new pack of this kind and length gets.
    pub fn planned_parity(&self, kind: PackKind, pack_len: u64) -> u64 {
        let any = PackId::from_bytes([0; ID_LEN]);
        share(self.parity, kind).map_or(0, |share| lay_out(any, pack_len, share).file_len())
    }

    /// Makes the parity of a pack that was just sealed, if the settings ask for it.
    pub(super) fn make_parity(&self, pack: &Pack) -> Result<()> {
        match plan(pack, self.parity)? {
            Some(layout) => make_parity(&*self.disk, &layout, MakeParity::Unsynced),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
