//! The cuts of one segment of a file, found from wherever the segment begins, and joined with those
//! of the segments before it so that they are the sequential ones, always.
//!
//! A cut depends on nothing but the bytes behind the cut before it. Two walks over the same bytes
//! that share one cut therefore share all that follow. So a segment may be cut from any start, before
//! it is known where its first chunk really begins ([`trace`]); once that is known, the real cuts
//! are followed from there until they meet the traced ones, which hold from then on ([`stitch`]). If
//! they never meet, the segment was cut in sequence and the trace is dropped.

use std::io;

use super::guide::Guide;
use crate::id::ChunkId;
use crate::storage::chunker::Chunker;

/// Bytes of a file around one segment, as far as they are loaded.
pub trait Window {
    /// The loaded bytes from `from` on; `from` is not before the window's start.
    fn rest(&self, from: u64) -> &[u8];
    /// Loads what lies before `until`, as far as the file goes.
    fn load(&mut self, until: u64) -> io::Result<()>;
    /// Length of the file.
    fn file_len(&self) -> u64;
    /// Whether the file has no data here: every byte is zero.
    fn is_hole(&self) -> bool {
        false
    }
}

/// One chunk of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Its length.
    pub len: u32,
    /// Its id, where finding the cut told it.
    pub id: Option<ChunkId>,
}

/// Chunks that follow each other from `start` to `end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// Where the first one begins.
    pub start: u64,
    /// The chunks.
    pub cuts: Vec<Cut>,
    /// Where the last one ends: at or behind the end of the segment, or at the end of the file.
    pub end: u64,
}

impl Trace {
    /// A file of `len` bytes that is one chunk, whatever it holds.
    pub fn of_whole(len: u64) -> Self {
        let cut = Cut { len: len as u32, id: None };
        Self { start: 0, cuts: if len == 0 { Vec::new() } else { vec![cut] }, end: len }
    }
}

/// Bytes loaded at once when a cut is not decided yet.
const LOAD_STEP: u64 = 64 << 10;

/// The length of the chunk at `at`, with no more bytes loaded than it takes.
fn next_cut(chunker: &Chunker, window: &mut impl Window, at: u64) -> io::Result<usize> {
    loop {
        let data = window.rest(at);
        let loaded = at + data.len() as u64;
        if let Some(len) = chunker.try_cut(data, loaded == window.file_len()).filter(|len| *len > 0)
        {
            return Ok(len);
        }
        window.load(loaded + LOAD_STEP)?;
    }
}

/// Walks a window from cut to cut.
struct Walk<'a, W> {
    chunker: &'a Chunker,
    window: &'a mut W,
    at: u64,
    cuts: Vec<Cut>,
}

impl<W: Window> Walk<'_, W> {
    fn push(&mut self, len: usize, id: Option<ChunkId>) {
        self.cuts.push(Cut { len: len as u32, id });
        self.at += len as u64;
    }

    /// Takes the chunks of a run of one byte, whose length and id are known; `false` where there is
    /// none.
    fn run(&mut self, until: u64) -> bool {
        let data = self.window.rest(self.at);
        let lookahead = self.chunker.lookahead();
        let is_hole = self.window.is_hole() && data.len() >= lookahead;
        let mut run = if is_hole { data.len() } else { self.chunker.run_at(data) };
        if run == 0 {
            return false;
        }
        let chunk = self.chunker.run_chunk(&data[..lookahead]);
        while run >= lookahead && self.at < until {
            self.push(chunk.len, Some(chunk.id));
            run -= chunk.len;
        }
        true
    }

    /// Takes the chunk that the file's previous version has here, if it is here still.
    fn known(&mut self, guide: &mut Guide) -> io::Result<bool> {
        let Some(known) = guide.expected() else { return Ok(false) };
        let len = known.len as usize;
        let (file_len, end) = (self.window.file_len(), self.at + u64::from(known.len));
        // Behind the chunk, two bytes decide whether it ends there.
        let wanted = (end + 2).min(file_len);
        if end > file_len {
            guide.lose();
            return Ok(false);
        }
        if self.at + (self.window.rest(self.at).len() as u64) < wanted {
            self.window.load(wanted)?;
        }
        let data = self.window.rest(self.at);
        let is_end = self.at + data.len() as u64 == file_len;
        let holds = data.len() >= len
            && (!known.is_last || end == file_len)
            && ChunkId::of(&data[..len]) == known.id
            && self.chunker.confirms(data, len, is_end);
        if holds {
            guide.hit();
            self.push(len, Some(known.id));
        }
        Ok(holds)
    }

    /// Cuts one chunk, and with a guide hashes it, to find the way back to what is known.
    fn step(&mut self, guide: Option<&mut Guide>) -> io::Result<()> {
        let len = next_cut(self.chunker, self.window, self.at)?;
        let Some(guide) = guide else {
            self.push(len, None);
            return Ok(());
        };
        let id = ChunkId::of(&self.window.rest(self.at)[..len]);
        guide.found(id, self.at + len as u64);
        self.push(len, Some(id));
        Ok(())
    }
}

/// Cuts from `start` until a chunk ends at or behind `until`, or the file ends.
pub fn trace<W: Window>(
    chunker: &Chunker,
    window: &mut W,
    start: u64,
    until: u64,
    mut guide: Option<&mut Guide>,
) -> io::Result<Trace> {
    let until = until.min(window.file_len());
    let mut walk = Walk { chunker, window, at: start, cuts: Vec::new() };
    while walk.at < until {
        if walk.run(until) {
            if let Some(guide) = guide.as_deref_mut() {
                guide.pass(walk.at);
            }
            continue;
        }
        if let Some(guide) = guide.as_deref_mut()
            && walk.known(guide)?
        {
            continue;
        }
        walk.step(guide.as_deref_mut())?;
    }
    Ok(Trace { start, cuts: walk.cuts, end: walk.at })
}

/// The chunks of a segment from `entry`, where the one before it ended, and how many traced bytes
/// were of no use.
pub fn stitch<W: Window>(
    chunker: &Chunker,
    window: &mut W,
    traced: Trace,
    entry: u64,
    until: u64,
) -> io::Result<(Trace, u64)> {
    if entry == traced.start {
        return Ok((traced, 0));
    }
    let until = until.min(window.file_len());
    let mut walk = Walk { chunker, window, at: entry, cuts: Vec::new() };
    let (mut boundary, mut dropped) = (traced.start, 0);
    while walk.at < until {
        while boundary < walk.at && dropped < traced.cuts.len() {
            boundary += u64::from(traced.cuts[dropped].len);
            dropped += 1;
        }
        if boundary == walk.at {
            break;
        }
        walk.step(None)?;
    }
    let wasted = boundary.min(traced.end) - traced.start;
    if walk.at < until {
        walk.cuts.extend_from_slice(&traced.cuts[dropped..]);
        walk.at = traced.end;
    }
    Ok((Trace { start: entry, cuts: walk.cuts, end: walk.at }, wasted))
}

#[cfg(test)]
mod tests;
