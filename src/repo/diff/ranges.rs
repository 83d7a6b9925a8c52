//! Which bytes of a file changed, for files that are not compared as text.

use std::ops::Range;

use super::super::Result;
use super::Differ;
use super::blob::Pair;
use super::regions::Region;

/// Most bytes of one region, of both sides, whose equal ends are looked for.
const MAX_TRIMMED: u64 = 32 << 20;
/// Most bytes of one file that are read for that.
const MAX_READ: u64 = 256 << 20;

/// A stretch of the old file and what the new one has in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangePair {
    /// Bytes of the old file; empty for an insertion.
    pub old: Range<u64>,
    /// Bytes of the new file; empty for a removal.
    pub new: Range<u64>,
}

impl RangePair {
    /// The longer of the two.
    pub fn len(&self) -> u64 {
        (self.old.end - self.old.start).max(self.new.end - self.new.start)
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What changed of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedRanges {
    /// In order; what lies between is equal.
    pub ranges: Vec<RangePair>,
    /// Bytes in them, of each the longer side.
    pub changed: u64,
    /// Bytes of the longer file.
    pub of: u64,
}

impl Differ<'_> {
    /// The byte ranges that changed. Of the chunks that changed, the first and the last byte that
    /// differ are found where they are few enough to be read; no other chunk is.
    pub fn ranges(&self, pair: &Pair) -> Result<ChangedRanges> {
        let mut budget = MAX_READ;
        let mut ranges = Vec::with_capacity(pair.regions.len());
        for region in &pair.regions {
            let len = region.len();
            let range = if len <= MAX_TRIMMED && len <= budget {
                budget -= len;
                self.trimmed(pair, region)?
            } else {
                RangePair { old: region.old.clone(), new: region.new.clone() }
            };
            if !range.is_empty() {
                ranges.push(range);
            }
        }
        let changed = ranges.iter().map(RangePair::len).sum();
        Ok(ChangedRanges { ranges, changed, of: pair.old.size.max(pair.new.size) })
    }

    fn trimmed(&self, pair: &Pair, region: &Region) -> Result<RangePair> {
        let Region { mut old, mut new } = region.clone();
        if !old.is_empty() && !new.is_empty() {
            let a = pair.old.read(&self.reader, old.clone())?;
            let b = pair.new.read(&self.reader, new.clone())?;
            let (front, back) = common_ends(&a, &b);
            old = old.start + front..old.end - back;
            new = new.start + front..new.end - back;
        }
        Ok(RangePair { old, new })
    }
}

/// How many bytes at the start and, without these, at the end are equal.
fn common_ends(a: &[u8], b: &[u8]) -> (u64, u64) {
    let front = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let rest = a[front..].iter().rev().zip(b[front..].iter().rev());
    let back = rest.take_while(|(a, b)| a == b).count();
    (front as u64, back as u64)
}
