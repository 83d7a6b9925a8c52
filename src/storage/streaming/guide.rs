//! What the previous version of a file says about where its chunks are now.
//!
//! A changed file is mostly unchanged. If the chunk that the previous version has next is also what
//! lies next in the file — its hash tells — then its end is the next cut, and no byte of it needs to
//! be looked at by the rolling hash. Where it is not, the file is cut as usual until a chunk turns up
//! that the previous version has once: from there on the two go together again, with another
//! distance between them. A wrong guess costs time and nothing else, because nothing is believed
//! that was not hashed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::id::ChunkId;
use crate::storage::format::object::ChunkRef;

/// A chunk of the previous version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownChunk {
    /// Where it begins there.
    pub offset: u64,
    /// Its length.
    pub len: u32,
    /// Its id.
    pub id: ChunkId,
    /// Whether it ends the previous version, so that its end may be no cut.
    pub is_last: bool,
}

/// Consecutive chunks of the previous version.
#[derive(Debug, Default)]
struct Stretch {
    chunks: Vec<KnownChunk>,
    /// The place of each id that occurs once here.
    by_id: HashMap<ChunkId, Option<usize>>,
}

impl Stretch {
    fn new(chunks: Vec<KnownChunk>) -> Self {
        let mut by_id = HashMap::with_capacity(chunks.len());
        for (at, chunk) in chunks.iter().enumerate() {
            by_id.entry(chunk.id).and_modify(|place| *place = None).or_insert(Some(at));
        }
        Self { chunks, by_id }
    }

    fn end(&self) -> u64 {
        self.chunks.last().map_or(0, |chunk| chunk.offset + u64::from(chunk.len))
    }

    /// The first chunk that begins at or behind `offset`.
    fn from(&self, offset: u64) -> usize {
        self.chunks.partition_point(|chunk| chunk.offset < offset)
    }
}

/// Follows the previous version through one segment.
#[derive(Debug)]
pub struct Guide {
    stretch: Arc<Stretch>,
    /// The chunk that should come next.
    next: Option<usize>,
    /// How far the file has moved: place now − place before.
    shift: i64,
    /// Where the previous version was met last, if it was.
    met: Option<u64>,
    /// Chunks that were where they were expected.
    hits: usize,
}

impl Guide {
    /// Where the first known chunk at or behind `from` should begin now.
    pub fn start(&self) -> Option<u64> {
        let chunk = self.stretch.chunks.get(self.next?)?;
        chunk.offset.checked_add_signed(self.shift)
    }

    /// The chunk that should come next.
    pub fn expected(&self) -> Option<KnownChunk> {
        self.stretch.chunks.get(self.next?).copied()
    }

    /// The expected chunk was there.
    pub fn hit(&mut self) {
        self.hits += 1;
        if let Some(next) = self.next {
            let chunk = &self.stretch.chunks[next];
            self.met = Some(chunk.offset + u64::from(chunk.len));
            self.next = Some(next + 1);
        }
    }

    /// What was expected cannot be.
    pub fn lose(&mut self) {
        self.next = None;
    }

    /// The file goes on at `at`: what is expected there, if the shift still holds.
    pub fn seek(&mut self, at: u64) {
        self.next = at.checked_add_signed(-self.shift).and_then(|before| {
            let next = self.stretch.from(before);
            self.stretch
                .chunks
                .get(next)
                .is_some_and(|chunk| chunk.offset == before)
                .then_some(next)
        });
    }

    /// What lies before `at` needed no look at the previous version.
    pub fn pass(&mut self, at: u64) {
        self.seek(at);
        if let Some(expected) = self.expected() {
            self.met = Some(expected.offset);
        }
    }

    /// A chunk was cut that was not expected; it ends at `end`. If the previous version has it, the
    /// two go together from there; if not, they may still share the cut.
    pub fn found(&mut self, id: ChunkId, end: u64) {
        if let Some(Some(place)) = self.stretch.by_id.get(&id) {
            let chunk = &self.stretch.chunks[*place];
            let before = chunk.offset + u64::from(chunk.len);
            self.shift = (end as i64).wrapping_sub(before as i64);
            self.met = Some(before);
            self.next = Some(place + 1);
        } else {
            self.seek(end);
        }
    }

    /// Chunks that were where they were expected.
    pub fn hits(&self) -> usize {
        self.hits
    }
}

/// Chunks read ahead at a time.
const STEP: usize = 1024;
/// Most chunks held: those of 256 MiB at the usual average.
const HELD: usize = 4096;

/// Chunks of the previous version in order; `None` at its end or when it cannot be read.
pub type KnownChunks = Box<dyn Iterator<Item = (u64, ChunkRef)> + Send>;

/// The previous version of a file, read along with it.
pub struct Previous {
    state: Mutex<State>,
    len: u64,
}

struct State {
    rest: KnownChunks,
    is_ended: bool,
    stretch: Arc<Stretch>,
    shift: i64,
    /// How far the previous version was met, and at which place of the file.
    met: (u64, u64),
    is_lost: bool,
}

impl Previous {
    /// A previous version of `len` bytes with these chunks.
    pub fn new(chunks: KnownChunks, len: u64) -> Self {
        let state = State {
            rest: chunks,
            is_ended: false,
            stretch: Arc::default(),
            shift: 0,
            met: (0, 0),
            is_lost: false,
        };
        Self { state: Mutex::new(state), len }
    }

    /// A guide for what lies at `from` and behind.
    pub fn guide(&self, from: u64) -> Guide {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // While lost, wait where the previous version was met last: what follows there comes again
        // behind an insertion of any length, and within the stretch behind a deletion.
        let expected = from.saturating_add_signed(-state.shift);
        let before = if state.is_lost { state.met.0 } else { expected };
        state.advance(before, self.len);
        let next = state.stretch.from(expected);
        let next = (!state.is_lost && next < state.stretch.chunks.len()).then_some(next);
        Guide { stretch: Arc::clone(&state.stretch), next, shift: state.shift, met: None, hits: 0 }
    }

    /// Takes in what a guide learned in a segment that ends at `end`.
    pub fn learn(&self, guide: &Guide, end: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if end < state.met.1 {
            return;
        }
        state.is_lost = guide.met.is_none();
        if let Some(met) = guide.met {
            state.met = (met, end);
            state.shift = guide.shift;
        }
    }
}

impl State {
    /// Moves the stretch so that `before` lies in its first half, as far as there is more.
    fn advance(&mut self, before: u64, len: u64) {
        while !self.is_ended && self.needs_more(before) {
            let mut chunks = self.stretch.chunks.clone();
            let loaded = chunks.len();
            chunks.extend(self.rest.by_ref().take(STEP).map(|(offset, chunk)| KnownChunk {
                offset,
                len: chunk.len,
                id: chunk.id,
                is_last: offset + u64::from(chunk.len) >= len,
            }));
            self.is_ended = chunks.len() < loaded + STEP;
            let surplus = chunks.len().saturating_sub(HELD);
            chunks.drain(..surplus);
            self.stretch = Arc::new(Stretch::new(chunks));
        }
    }

    fn needs_more(&self, before: u64) -> bool {
        let chunks = &self.stretch.chunks;
        chunks.len() < HELD || chunks[HELD / 2].offset < before.min(self.stretch.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(count: u64) -> Vec<(u64, ChunkRef)> {
        (0..count)
            .map(|n| (n * 10, ChunkRef { id: ChunkId::of(&n.to_le_bytes()), len: 10 }))
            .collect()
    }

    fn previous(count: u64) -> Previous {
        Previous::new(Box::new(chunks(count).into_iter()), count * 10)
    }

    #[test]
    fn it_expects_what_was_there_before() {
        let mut guide = previous(100).guide(95);
        assert_eq!(guide.start(), Some(100));
        let expected = guide.expected().unwrap();
        assert_eq!((expected.offset, expected.is_last), (100, false));
        guide.hit();
        assert_eq!(guide.expected().unwrap().offset, 110);
        guide.seek(990);
        assert!(guide.expected().unwrap().is_last);
    }

    #[test]
    fn it_finds_the_way_back_behind_an_insertion_and_tells_the_next_segment() {
        let known = previous(100);
        let mut guide = known.guide(0);
        guide.found(ChunkId::of(b"new"), 17);
        assert_eq!(guide.expected(), None);
        guide.found(chunks(9)[3].1.id, 17 + 30);
        assert_eq!(guide.expected().unwrap().offset, 40);
        known.learn(&guide, 57);
        assert_eq!(known.guide(57).start(), Some(57));
        assert_eq!(known.guide(58).start(), Some(67));
    }

    #[test]
    fn it_waits_where_it_was_lost_however_much_comes_between() {
        let known = previous(100_000);
        let mut guide = known.guide(0);
        guide.hit();
        known.learn(&guide, 10);
        for at in 1..1000u64 {
            let mut guide = known.guide(at * 1000);
            guide.lose();
            guide.found(ChunkId::of(b"new"), at * 1000 + 7);
            known.learn(&guide, at * 1000 + 7);
        }
        let mut guide = known.guide(1_000_000);
        guide.found(chunks(9)[1].1.id, 1_000_017);
        assert_eq!(guide.expected().unwrap().offset, 20);
    }

    #[test]
    fn a_long_file_is_followed_with_few_chunks_in_memory() {
        let known = previous(100_000);
        for at in 0..99_999u64 {
            let mut guide = known.guide(at * 10);
            assert_eq!(guide.expected().unwrap().offset, at * 10);
            guide.hit();
            known.learn(&guide, at * 10 + 10);
            assert!(guide.stretch.chunks.len() <= HELD);
        }
    }
}
