//! Typed objects over the pack store: chunk lists, trees and commits, written and read as paged
//! sequences (see `docs/design/0003-paged-sequences.md`).

mod pages;
mod read;

pub use pages::{ListBuilder, ObjectSink, TreeBuilder, TreeTotals};
pub use read::{ChunkIter, NextPage, Objects, TreeIter, empty_tree};
