//! How two texts differ, line by line, in bounded memory.
//!
//! Only the regions that changed are compared, widened to whole lines and the context around them.
//! What lies between is read for the numbers of its lines alone, and not kept; where nobody wants
//! numbers, it is not read.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::ops::Range;

use imara_diff::{Algorithm, Diff, InternedInput, Interner};

use super::super::Result;
use super::Differ;
use super::blob::Pair;
use super::regions::Region;

/// Bytes at the start of a file in which a NUL makes it binary; as in git.
const PROBE: u64 = 8000;
/// A larger file is not compared as text; git's `core.bigFileThreshold`.
const MAX_TEXT_FILE: u64 = 512 << 20;
/// Most bytes, of both sides, that are compared at once. The tables of the comparison take up to
/// about three times as much.
const MAX_WINDOW: u64 = 32 << 20;
/// Unchanged lines that are read beyond the context, so that a change can find its best place.
const SLACK: usize = 8;
/// Bytes read at once while the beginning of a line is looked for.
const STEP: u64 = 16 << 10;

/// Which white space does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Whitespace {
    /// All of it counts.
    #[default]
    Counts,
    /// None of it does.
    Ignored,
    /// How much there is does not count, and none at the end of a line does.
    Amount,
    /// None at the end of a line does.
    AtEnd,
}

/// How texts are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextOptions {
    /// Unchanged lines shown around changes.
    pub context: usize,
    /// What does not count.
    pub whitespace: Whitespace,
    /// Whatever the file looks like.
    pub force: bool,
}

impl Default for TextOptions {
    fn default() -> Self {
        Self { context: 3, whitespace: Whitespace::Counts, force: false }
    }
}

/// Where a line belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineKind {
    /// In both.
    Context,
    /// In the old file only.
    Removed,
    /// In the new file only.
    Added,
}

/// Neighbouring changes with the lines around them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hunk<'a> {
    /// First line in the old file, from 1, and the number of lines; 0 lines come after `first`.
    pub old: (u64, u64),
    /// The same in the new file.
    pub new: (u64, u64),
    /// The nearest line above that looks like the head of a section, without its end.
    pub section: Option<&'a [u8]>,
    /// The lines, with their ends; the last of a file may have none.
    pub lines: Vec<(LineKind, &'a [u8])>,
}

/// Lines that changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TextCount {
    /// In the new file only.
    pub added: u64,
    /// In the old file only.
    pub removed: u64,
}

/// A line, and what of it is compared.
struct Line<'a> {
    bytes: &'a [u8],
    key: Cow<'a, [u8]>,
}

impl PartialEq for Line<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Line<'_> {}

impl Hash for Line<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl AsRef<[u8]> for Line<'_> {
    fn as_ref(&self) -> &[u8] {
        self.bytes
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c)
}

/// What of a line counts.
fn key_of(line: &[u8], whitespace: Whitespace) -> Cow<'_, [u8]> {
    let end = line.iter().rposition(|byte| !is_space(*byte)).map_or(0, |last| last + 1);
    match whitespace {
        Whitespace::Counts => Cow::Borrowed(line),
        Whitespace::AtEnd => Cow::Borrowed(&line[..end]),
        Whitespace::Ignored => line.iter().copied().filter(|byte| !is_space(*byte)).collect(),
        Whitespace::Amount => {
            let mut key = Vec::with_capacity(end);
            for byte in &line[..end] {
                match (is_space(*byte), key.last()) {
                    (true, Some(b' ')) => {}
                    (true, _) => key.push(b' '),
                    (false, _) => key.push(*byte),
                }
            }
            Cow::Owned(key)
        }
    }
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n')
}

/// How many lines end in these bytes.
pub(in crate::repo) fn line_ends(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte == b'\n')).sum()
}

impl Differ<'_> {
    /// Whether both versions are text that can be compared by lines.
    pub fn is_text(&self, pair: &Pair, options: &TextOptions) -> Result<bool> {
        if options.force {
            return Ok(true);
        }
        for blob in [&pair.old, &pair.new] {
            if blob.size > MAX_TEXT_FILE {
                return Ok(false);
            }
            if blob.read(&self.reader, 0..blob.size.min(PROBE))?.contains(&0) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The lines that changed; `None` where a changed stretch is too large to be compared.
    pub fn count_lines(&self, pair: &Pair, options: &TextOptions) -> Result<Option<TextCount>> {
        let mut count = TextCount::default();
        let is_compared = self.compare(pair, options, |compared, _| {
            count.add(compared);
            Ok(())
        })?;
        Ok(is_compared.then_some(count))
    }

    /// Hands out the changes with the lines around them, in order; `None`, and nothing handed out,
    /// where a changed stretch is too large to be compared.
    pub fn hunks(
        &self,
        pair: &Pair,
        options: &TextOptions,
        mut take: impl FnMut(&Hunk<'_>) -> Result<()>,
    ) -> Result<Option<TextCount>> {
        let mut count = TextCount::default();
        // How many lines lie before the window, and up to where they were counted.
        let (mut lines, mut counted) = ((0, 0), 0);
        let mut section = None;
        let is_compared = self.compare(pair, options, |compared, window| {
            let between = self.count_line_ends(pair, counted..window.old.start)?;
            let first = (lines.0 + between, lines.1 + between);
            compared.hunks(options.context, first, section.as_deref(), &mut take)?;
            count.add(compared);
            section =
                compared.section_above(compared.old.len()).map(<[u8]>::to_vec).or(section.take());
            lines = (first.0 + compared.old.len() as u64, first.1 + compared.new.len() as u64);
            counted = window.old.end;
            Ok(())
        })?;
        Ok(is_compared.then_some(count))
    }

    /// Compares what changed, window by window; false, and nothing compared, if one is too large.
    fn compare(
        &self,
        pair: &Pair,
        options: &TextOptions,
        mut visit: impl FnMut(&Compared<'_>, &Region) -> Result<()>,
    ) -> Result<bool> {
        let slack = options.context + SLACK;
        if !self.all_fit(pair, slack)? {
            return Ok(false);
        }
        let (mut at, mut done) = (0, 0);
        while at < pair.regions.len() {
            let mut slack = slack;
            loop {
                let (window, next) = self.window(pair, at, done, slack)?;
                let old = pair.old.read(&self.reader, window.old.clone())?;
                let new = pair.new.read(&self.reader, window.new.clone())?;
                let compared = Compared::new(&old, &new, options.whitespace);
                // A change may slide as far as lines repeat: if it comes too close to the edge of
                // what was read, more is read.
                let (above, below) = compared.margins();
                let is_close = (above < options.context && window.old.start > done)
                    || (below < options.context && window.old.end < pair.old.size);
                if is_close && window.len() < MAX_WINDOW / 16 {
                    slack *= 8;
                    continue;
                }
                visit(&compared, &window)?;
                (at, done) = (next, window.old.end);
                break;
            }
        }
        Ok(true)
    }

    fn all_fit(&self, pair: &Pair, slack: usize) -> Result<bool> {
        let (mut at, mut done) = (0, 0);
        while at < pair.regions.len() {
            if pair.regions[at].len() > MAX_WINDOW {
                return Ok(false);
            }
            let (window, next) = self.window(pair, at, done, slack)?;
            if window.len() > MAX_WINDOW {
                return Ok(false);
            }
            (at, done) = (next, window.old.end);
        }
        Ok(true)
    }

    /// The region `at`, widened to whole lines and `slack` more on each side, but not to before
    /// `done` in the old file; regions that it meets are taken in. Also the first region behind it.
    fn window(&self, pair: &Pair, at: usize, done: u64, slack: usize) -> Result<(Region, usize)> {
        let mut window = pair.regions[at].clone();
        let start = self.line_back(pair, window.old.start, done, slack + 1)?;
        window.new.start -= window.old.start - start;
        window.old.start = start;
        let mut next = at + 1;
        while window.len() <= MAX_WINDOW {
            let following = pair.regions.get(next);
            let limit = following.map_or(pair.old.size, |region| region.old.start);
            let end = self.line_forward(pair, window.old.end, limit, slack + 1)?;
            match following {
                Some(region) if end == limit => {
                    window.old.end = region.old.end;
                    window.new.end = region.new.end;
                    next += 1;
                }
                _ => {
                    window.new.end += end - window.old.end;
                    window.old.end = end;
                    break;
                }
            }
        }
        Ok((window, next))
    }

    /// Behind the `count`-th line end before `from` in the old file, but not before `limit`.
    fn line_back(&self, pair: &Pair, from: u64, limit: u64, count: usize) -> Result<u64> {
        let (mut at, mut left) = (from, count);
        while at > limit && from - at <= MAX_WINDOW {
            let start = at.saturating_sub(STEP).max(limit);
            let bytes = pair.old.read(&self.reader, start..at)?;
            for (offset, _) in bytes.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
                left -= 1;
                if left == 0 {
                    return Ok(start + offset as u64 + 1);
                }
            }
            at = start;
        }
        Ok(at)
    }

    /// Behind the `count`-th line end from `from` on in the old file, but not behind `limit`.
    fn line_forward(&self, pair: &Pair, from: u64, limit: u64, count: usize) -> Result<u64> {
        let (mut at, mut left) = (from, count);
        while at < limit && at - from <= MAX_WINDOW {
            let end = (at + STEP).min(limit);
            let bytes = pair.old.read(&self.reader, at..end)?;
            for (offset, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
                left -= 1;
                if left == 0 {
                    return Ok(at + offset as u64 + 1);
                }
            }
            at = end;
        }
        Ok(at)
    }

    fn count_line_ends(&self, pair: &Pair, range: Range<u64>) -> Result<u64> {
        let mut count = 0;
        pair.old.for_each_slice(&self.reader, range, |bytes| {
            count += line_ends(bytes);
            Ok(())
        })?;
        Ok(count)
    }
}

impl TextCount {
    fn add(&mut self, compared: &Compared<'_>) {
        for change in &compared.changes {
            self.removed += change.before.len() as u64;
            self.added += change.after.len() as u64;
        }
    }
}

/// The lines of a window of both files and the changes between them.
struct Compared<'a> {
    old: Vec<&'a [u8]>,
    new: Vec<&'a [u8]>,
    changes: Vec<imara_diff::Hunk>,
}

impl<'a> Compared<'a> {
    fn new(old: &'a [u8], new: &'a [u8], whitespace: Whitespace) -> Self {
        let line = |bytes: &'a [u8]| Line { bytes, key: key_of(bytes, whitespace) };
        let mut input =
            InternedInput { before: Vec::new(), after: Vec::new(), interner: Interner::new(0) };
        input.update_before(lines(old).map(line));
        input.update_after(lines(new).map(line));
        let mut diff = Diff::compute(Algorithm::Histogram, &input);
        diff.postprocess_lines(&input);
        let changes = diff.hunks().collect();
        Self { old: lines(old).collect(), new: lines(new).collect(), changes }
    }

    /// Unchanged lines before the first and after the last change.
    fn margins(&self) -> (usize, usize) {
        let above = self.changes.first().map_or(usize::MAX, |change| change.before.start as usize);
        let below = self
            .changes
            .last()
            .map_or(usize::MAX, |change| self.old.len() - change.before.end as usize);
        (above, below)
    }

    /// The nearest line above one of the old file that begins with a letter, `_` or `$`; what git
    /// takes for the head of a section where it knows nothing of the language.
    fn section_above(&self, line: usize) -> Option<&'a [u8]> {
        let is_head = |line: &&&[u8]| {
            line.first()
                .is_some_and(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'$'))
        };
        self.old[..line].iter().rev().find(is_head).copied()
    }

    /// Hands out the changes; `first` lines come before the window in each file.
    fn hunks(
        &self,
        context: usize,
        first: (u64, u64),
        section: Option<&[u8]>,
        take: &mut impl FnMut(&Hunk<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut rest = self.changes.as_slice();
        while !rest.is_empty() {
            let is_far = |pair: &[imara_diff::Hunk]| {
                (pair[1].before.start - pair[0].before.end) as usize > 2 * context
            };
            let count = rest.windows(2).position(is_far).map_or(rest.len(), |at| at + 1);
            let (group, tail) = rest.split_at(count);
            take(&self.hunk(group, context, first, section))?;
            rest = tail;
        }
        Ok(())
    }

    fn hunk<'s>(
        &'s self,
        group: &[imara_diff::Hunk],
        context: usize,
        first: (u64, u64),
        section: Option<&'s [u8]>,
    ) -> Hunk<'s> {
        let (head, tail) = (&group[0], &group[group.len() - 1]);
        let above = context.min(head.before.start as usize);
        let below = context.min(self.old.len() - tail.before.end as usize);
        let old = head.before.start as usize - above..tail.before.end as usize + below;
        let new = head.after.start as usize - above..tail.after.end as usize + below;
        let mut lines = Vec::with_capacity(old.len() + new.len());
        let mut at = new.start;
        for change in group {
            let before = change.before.start as usize..change.before.end as usize;
            let after = change.after.start as usize..change.after.end as usize;
            lines.extend(self.new[at..after.start].iter().map(|line| (LineKind::Context, *line)));
            lines.extend(self.old[before].iter().map(|line| (LineKind::Removed, *line)));
            lines.extend(self.new[after.clone()].iter().map(|line| (LineKind::Added, *line)));
            at = after.end;
        }
        lines.extend(self.new[at..new.end].iter().map(|line| (LineKind::Context, *line)));
        let place = |first: u64, range: &Range<usize>| {
            let start = first + range.start as u64;
            (start + u64::from(!range.is_empty()), range.len() as u64)
        };
        let section = self.section_above(old.start).or(section).map(section_text);
        Hunk { old: place(first.0, &old), new: place(first.1, &new), section, lines }
    }
}

/// Longest head of a section that is shown, in bytes; as in git.
const MAX_SECTION: usize = 80;

fn section_text(line: &[u8]) -> &[u8] {
    let line = &line[..line.len().min(MAX_SECTION)];
    line.trim_ascii_end()
}
