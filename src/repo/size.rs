//! `store size`: how many bytes there are, and what deduplication and compression save.
//!
//! Every number is read from footers, directories and commits; none is estimated.

use std::collections::HashSet;
use std::path::Path;

use serde::Serialize;

use super::{Repository, Result};
use crate::storage::binary_staging::{KindView, StagedView};
use crate::storage::disk::Disk;
use crate::storage::pack_store::{StoreTotals, list_parity, parity_len};

/// Sizes in bytes, and the ratios between them.
#[derive(Debug, Clone, Serialize)]
pub struct SizeReport {
    /// Commits reachable from a ref or `HEAD`.
    pub commits: u64,
    /// Files in the last commit.
    pub head_files: u64,
    /// Bytes of the files in the last commit.
    pub head_bytes: u64,
    /// Bytes of the files of all reachable commits with different trees, as if each were kept
    /// whole.
    pub logical_bytes: u64,
    /// Files staged.
    pub staged_files: u64,
    /// Bytes of the files staged.
    pub staged_bytes: u64,
    /// Bytes of the distinct chunks of files.
    pub unique_bytes: u64,
    /// Distinct chunks of files.
    pub unique_chunks: u64,
    /// Bytes of those chunks as stored.
    pub stored_bytes: u64,
    /// Bytes of trees, chunk lists and commits as stored.
    pub metadata_bytes: u64,
    /// Bytes of the parity of packs.
    pub parity_bytes: u64,
    /// Bytes of the staging area.
    pub staging_bytes: u64,
    /// Bytes of headers, footers, indexes, refs and the history of runs.
    pub overhead_bytes: u64,
    /// Bytes of all files of the repository.
    pub disk_bytes: u64,
    /// Packs.
    pub packs: u64,
    /// Logical over unique bytes.
    pub dedup_ratio: f64,
    /// Unique over stored bytes.
    pub compression_ratio: f64,
    /// Logical bytes over bytes on disk.
    pub total_ratio: f64,
}

fn ratio(above: u64, below: u64) -> f64 {
    if below == 0 { 1.0 } else { above as f64 / below as f64 }
}

impl Repository {
    /// Measures the repository.
    pub fn size(&self) -> Result<SizeReport> {
        let totals = self.store()?.totals()?;
        let staging = self.staging()?;
        let (base, log) = staging.file_sizes();
        let file_bytes = |view: StagedView<'_>| match view.kind {
            KindView::File { .. } => view.stat.size,
            _ => 0,
        };
        let staged_bytes = staging.views().map(file_bytes).fold(0, u64::saturating_add);
        let mut report = self.count(&totals, staged_bytes)?;
        report.staged_files = staging.len() as u64;
        report.staging_bytes = base + log;
        for id in list_parity(self.disk())? {
            report.parity_bytes += parity_len(self.disk(), &id)?;
        }
        let accounted = report.stored_bytes
            + report.metadata_bytes
            + report.parity_bytes
            + report.staging_bytes;
        report.overhead_bytes = report.disk_bytes.saturating_sub(accounted);
        Ok(report)
    }

    fn count(&self, totals: &StoreTotals, staged_bytes: u64) -> Result<SizeReport> {
        let head = self.refs().head_commit()?;
        let tips =
            self.refs().list("")?.into_iter().map(|(_, record)| record.new.commit).chain(head);
        let (mut commits, mut logical, mut trees) = (0, 0u64, HashSet::new());
        for entry in self.history(tips)? {
            let (_, commit) = entry?;
            commits += 1;
            if trees.insert(commit.tree) {
                logical = logical.saturating_add(commit.bytes);
            }
        }
        let objects = self.objects()?;
        let head = head.map(|id| objects.commit(&id)).transpose()?;
        // Before the first commit, what is staged is all there is.
        let logical_bytes = if commits == 0 { staged_bytes } else { logical };
        let disk_bytes = self.disk_bytes(Path::new(""))?;
        Ok(SizeReport {
            commits,
            head_files: head.as_ref().map_or(0, |commit| commit.files),
            head_bytes: head.as_ref().map_or(0, |commit| commit.bytes),
            logical_bytes,
            staged_files: 0,
            staged_bytes,
            unique_bytes: totals.data_plain,
            unique_chunks: totals.data_chunks,
            stored_bytes: totals.data_stored,
            metadata_bytes: totals.meta_stored,
            parity_bytes: 0,
            staging_bytes: 0,
            overhead_bytes: 0,
            disk_bytes,
            packs: totals.packs,
            dedup_ratio: ratio(logical_bytes, totals.data_plain),
            compression_ratio: ratio(totals.data_plain, totals.data_stored),
            total_ratio: ratio(logical_bytes, disk_bytes),
        })
    }

    /// Bytes of the files below a directory of the repository, which is nested three deep.
    fn disk_bytes(&self, dir: &Path) -> Result<u64> {
        let mut bytes = 0;
        for name in self.disk().list(dir)? {
            let path = dir.join(name);
            match self.disk().file_kind(&path)? {
                Some((true, _)) => bytes += self.disk_bytes(&path)?,
                Some((false, len)) => bytes += len,
                None => {}
            }
        }
        Ok(bytes)
    }

    fn disk(&self) -> &dyn Disk {
        &*self.disk
    }
}
