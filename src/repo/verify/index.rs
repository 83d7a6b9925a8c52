//! Whether the index says what the footers of packs say: one that is sound by its checksums may lie all
//! the same.
//!
//! What a footer names must be found where it is, and a record that no footer stands behind would let an
//! `add` skip content that is nowhere. Those are found by their number, so that each pack is opened
//! once: of the records of a pack as many as there are must be in its footer.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::Result;
use crate::id::{ObjectId, PackId};
use crate::storage::format::pack::{ChunkEntry, Footer};
use crate::storage::pack_store::{Location, MergedIndex, Pack, PackStore};

/// A comparison of the index with the packs, one after the other.
pub(in crate::repo) struct IndexCheck {
    /// The parts, and how many records each has of each pack that was not looked at.
    parts: Vec<(Arc<MergedIndex>, HashMap<PackId, u64>)>,
    /// Whether a record names no pack at all.
    names_no_pack: bool,
}

impl IndexCheck {
    pub(in crate::repo) fn new(store: &PackStore) -> Self {
        let mut check = Self { parts: Vec::new(), names_no_pack: false };
        for part in store.merged_parts() {
            let (counts, rest) = part.records_of_packs();
            check.names_no_pack |= rest > 0;
            check.parts.push((part, counts));
        }
        check
    }

    /// What is wrong with records of the whole index.
    pub(in crate::repo) fn rest(&self) -> Option<String> {
        self.names_no_pack.then(|| "the index holds records of no pack".to_owned())
    }

    /// What the index says wrongly of a pack, in words.
    pub(in crate::repo) fn look(
        &mut self,
        store: &PackStore,
        pack: &Pack,
    ) -> Result<Option<String>> {
        let (id, footer) = (pack.id(), pack.footer()?);
        if let Some(object) = astray(store, pack, &footer)? {
            return Ok(Some(format!("the index leads to object {object} of pack {id} wrongly")));
        }
        for (part, counts) in &mut self.parts {
            let Some(count) = counts.remove(&id) else { continue };
            let is_in = |(object, chunk): &(ObjectId, ChunkEntry)| {
                part.location(object) == Some(Location { pack: id, chunk: *chunk })
            };
            if footer.chunks().filter(is_in).count() as u64 != count {
                return Ok(Some(format!(
                    "the index holds objects of pack {id} that it does not hold"
                )));
            }
        }
        Ok(None)
    }
}

/// The first object of a pack that is looked up where it is not.
fn astray(store: &PackStore, pack: &Pack, footer: &Footer<'_>) -> Result<Option<ObjectId>> {
    for (object, chunk) in footer.chunks() {
        let is_found = match store.locate(&object) {
            None => false,
            Some(found) if found.pack == pack.id() => found.chunk == chunk,
            // Two packs may hold it.
            Some(found) => match store.pack(&found.pack) {
                Ok(other) => other.footer().is_ok_and(|f| f.find(&object) == Some(found.chunk)),
                Err(error) if error.is_loss() => false,
                Err(error) => return Err(error.into()),
            },
        };
        if !is_found {
            return Ok(Some(object));
        }
    }
    Ok(None)
}
