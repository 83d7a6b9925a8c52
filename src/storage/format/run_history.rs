//! `metrics/history`: what the last runs did, one fixed-size record each. A cache: losing it loses
//! no data, so it is replaced without being synced.

use super::bytes::{Reader, check_version, push_checksum, split_checksum};
use super::{FormatError, Result};

const WHAT: &str = "the history of runs";
const MAGIC: &[u8; 8] = b"DIGRUNS1";
const VERSION: u32 = 1;

/// Most records in the file; the oldest make room.
pub const MAX_RUNS: usize = 512;
/// Bytes of one record.
pub const RECORD_LEN: usize = 64 + 8 * NUMBERS;
/// Numbers behind the parameters of a record.
const NUMBERS: usize = COUNTERS + 5 + 3 + 2 + 4 + 1;
const COUNTERS: usize = 15;
/// Bytes before the records.
const HEADER_LEN: usize = 24;
/// Longest file that is read.
pub const MAX_FILE: u64 = (HEADER_LEN + MAX_RUNS * RECORD_LEN + 8) as u64;

/// The command that a record tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RunCommand {
    /// `add`.
    Add = 1,
    /// `commit`.
    Commit = 2,
    /// `restore`.
    Restore = 3,
    /// `get`.
    Get = 4,
}

impl RunCommand {
    const ALL: [Self; 4] = [Self::Add, Self::Commit, Self::Restore, Self::Get];

    /// The command's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Commit => "commit",
            Self::Restore => "restore",
            Self::Get => "get",
        }
    }
}

/// The parameters that a run ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunParameters {
    /// Worker threads.
    pub workers: u32,
    /// Most files in one batch.
    pub batch_files: u32,
    /// Bytes of small files that make a solid block.
    pub solid_bytes: u32,
    /// Bytes of a large file that one worker takes at a time.
    pub segment_bytes: u32,
    /// Bytes of one read.
    pub buffer_bytes: u32,
    /// zstd level of solid blocks.
    pub solid_level: i32,
    /// zstd level of segments.
    pub segment_level: i32,
    /// Bytes that may wait in a queue.
    pub queue_bytes: u64,
    /// Bytes of buffers kept for reuse.
    pub pool_bytes: u64,
}

/// What a run counted; the names are those of `MetricsSnapshot`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "documented where they are counted")]
pub struct RunCounters {
    pub files_processed: u64,
    pub bytes_processed: u64,
    pub chunks_created: u64,
    pub chunks_deduplicated: u64,
    pub bytes_new: u64,
    pub bytes_stored: u64,
    pub bytes_raw: u64,
    pub blocks_written: u64,
    pub bytes_mapped: u64,
    pub bytes_in_holes: u64,
    pub chunks_predicted: u64,
    pub bytes_chunked_twice: u64,
    pub batches: u64,
    pub files_spread: u64,
    pub peak_pool_bytes: u64,
}

impl RunCounters {
    /// The counters in the order in which they are stored.
    fn slots(&mut self) -> [&mut u64; COUNTERS] {
        [
            &mut self.files_processed,
            &mut self.bytes_processed,
            &mut self.chunks_created,
            &mut self.chunks_deduplicated,
            &mut self.bytes_new,
            &mut self.bytes_stored,
            &mut self.bytes_raw,
            &mut self.blocks_written,
            &mut self.bytes_mapped,
            &mut self.bytes_in_holes,
            &mut self.chunks_predicted,
            &mut self.bytes_chunked_twice,
            &mut self.batches,
            &mut self.files_spread,
            &mut self.peak_pool_bytes,
        ]
    }
}

/// One run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunRecord {
    /// When it ended, in seconds since 1970.
    pub finished: i64,
    /// Which command.
    pub command: RunCommand,
    /// The workload, as `WorkloadType` numbers it.
    pub workload: u8,
    /// The strategy, as `ProcessingStrategy` numbers it.
    pub strategy: u8,
    /// Whether earlier runs had changed a parameter.
    pub tuned: bool,
    /// Its parameters.
    pub parameters: RunParameters,
    /// What it counted.
    pub counters: RunCounters,
    /// Nanoseconds of reading, chunking, hashing, compressing and writing, over all threads.
    pub stage_nanos: [u64; 5],
    /// Nanoseconds that workers waited for the writer and for files, and the writer for workers.
    pub wait_nanos: [u64; 3],
    /// Nanoseconds by the clock, from command entry.
    pub wall_nanos: u64,
    /// Nanoseconds by the clock of the processing alone.
    pub processing_nanos: u64,
    /// Hot hits, warm hits, misses and evictions of the cache of decoded blocks.
    pub cache: [u64; 4],
    /// Most bytes of memory that the process held.
    pub peak_memory: u64,
}

impl RunRecord {
    /// A record of `command` in which nothing is counted yet.
    pub fn new(command: RunCommand) -> Self {
        Self {
            finished: 0,
            command,
            workload: 0,
            strategy: 0,
            tuned: false,
            parameters: RunParameters::default(),
            counters: RunCounters::default(),
            stage_nanos: [0; 5],
            wait_nanos: [0; 3],
            wall_nanos: 0,
            processing_nanos: 0,
            cache: [0; 4],
            peak_memory: 0,
        }
    }

    /// The numbers in the order in which they are stored.
    fn slots(&mut self) -> impl Iterator<Item = &mut u64> {
        let Self { counters, stage_nanos, wait_nanos, wall_nanos, processing_nanos, cache, .. } =
            self;
        let memory = std::iter::once(&mut self.peak_memory);
        counters
            .slots()
            .into_iter()
            .chain(stage_nanos)
            .chain(wait_nanos)
            .chain([wall_nanos, processing_nanos])
            .chain(cache)
            .chain(memory)
    }

    fn encode(mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.finished.to_le_bytes());
        let tuned = u8::from(self.tuned);
        out.extend_from_slice(&[self.command as u8, self.workload, self.strategy, tuned]);
        let p = self.parameters;
        for number in [p.workers, p.batch_files, p.solid_bytes, p.segment_bytes, p.buffer_bytes] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for level in [p.solid_level, p.segment_level] {
            out.extend_from_slice(&level.to_le_bytes());
        }
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&p.queue_bytes.to_le_bytes());
        out.extend_from_slice(&p.pool_bytes.to_le_bytes());
        self.slots().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let finished = reader.i64()?;
        let [command, workload, strategy, tuned] = reader.array()?;
        let known = RunCommand::ALL.into_iter().find(|known| *known as u8 == command);
        let command = known.ok_or_else(|| reader.invalid(format!("no command {command}")))?;
        if workload > 3 || strategy > 3 || tuned > 1 {
            return Err(reader.invalid(format!("no kind of run {workload}, {strategy}, {tuned}")));
        }
        let mut parameters = RunParameters {
            workers: reader.u32()?,
            batch_files: reader.u32()?,
            solid_bytes: reader.u32()?,
            segment_bytes: reader.u32()?,
            buffer_bytes: reader.u32()?,
            solid_level: reader.u32()?.cast_signed(),
            segment_level: reader.u32()?.cast_signed(),
            ..RunParameters::default()
        };
        if reader.u64()? != 0 {
            return Err(reader.invalid("reserved bytes are not zero"));
        }
        parameters.queue_bytes = reader.u64()?;
        parameters.pool_bytes = reader.u64()?;
        let mut record = Self {
            finished,
            workload,
            strategy,
            tuned: tuned == 1,
            parameters,
            ..Self::new(command)
        };
        for slot in record.slots() {
            *slot = reader.u64()?;
        }
        Ok(record)
    }
}

/// The last runs, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunHistory {
    /// At most [`MAX_RUNS`].
    pub runs: Vec<RunRecord>,
}

impl RunHistory {
    /// Appends a run; the oldest makes room.
    pub fn push(&mut self, run: RunRecord) {
        let excess = (self.runs.len() + 1).saturating_sub(MAX_RUNS);
        self.runs.drain(..excess);
        self.runs.push(run);
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let kept = &self.runs[self.runs.len().saturating_sub(MAX_RUNS)..];
        let mut out = Vec::with_capacity(HEADER_LEN + kept.len() * RECORD_LEN + 8);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&(RECORD_LEN as u32).to_le_bytes());
        out.extend_from_slice(&(kept.len() as u64).to_le_bytes());
        kept.iter().for_each(|run| run.encode(&mut out));
        push_checksum(&mut out, 0);
        out
    }

    /// Reads the file back.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut header = Reader::new(WHAT, bytes);
        header.magic(MAGIC)?;
        check_version::<4>(&mut header, bytes, VERSION)?;
        let mut reader = Reader::new(WHAT, split_checksum(WHAT, bytes)?);
        reader.bytes(MAGIC.len() + 4)?;
        let (len, count) = (reader.u32()?, reader.u64()?);
        if len as usize != RECORD_LEN || count > MAX_RUNS as u64 {
            return Err(reader.invalid(format!("{count} records of {len} bytes")));
        }
        let needed = count * RECORD_LEN as u64;
        if reader.remaining() as u64 != needed {
            return Err(FormatError::Truncated {
                what: WHAT,
                needed,
                present: reader.remaining() as u64,
            });
        }
        let runs = (0..count).map(|_| RunRecord::decode(&mut reader)).collect::<Result<_>>()?;
        reader.finish()?;
        Ok(Self { runs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A record whose every field has a value of its own, made from one number.
    fn record(seed: u64) -> RunRecord {
        let mut run = RunRecord::new(RunCommand::ALL[(seed % 4) as usize]);
        run.finished = seed.cast_signed();
        (run.workload, run.strategy) = ((seed % 4) as u8, (seed / 4 % 4) as u8);
        run.tuned = seed % 2 == 1;
        run.parameters = RunParameters {
            workers: seed as u32,
            batch_files: seed as u32 ^ 1,
            solid_bytes: seed as u32 ^ 2,
            segment_bytes: seed as u32 ^ 3,
            buffer_bytes: seed as u32 ^ 4,
            solid_level: (seed % 27) as i32 - 7,
            segment_level: -((seed % 8) as i32),
            queue_bytes: seed ^ 5,
            pool_bytes: seed ^ 6,
        };
        for (at, slot) in (7..).zip(run.slots()) {
            *slot = seed ^ at;
        }
        run
    }

    #[test]
    fn a_record_has_its_length() {
        let mut out = Vec::new();
        record(1).encode(&mut out);
        assert_eq!((out.len(), RECORD_LEN), (RECORD_LEN, 304));
    }

    #[test]
    fn the_oldest_make_room() {
        let mut history = RunHistory::default();
        (0..MAX_RUNS as u64 + 3).for_each(|seed| history.push(record(seed)));
        assert_eq!(history.runs.len(), MAX_RUNS);
        assert_eq!(history.runs[0], record(3));
        let bytes = history.encode();
        assert_eq!(bytes.len() as u64, MAX_FILE);
        assert_eq!(RunHistory::decode(&bytes).unwrap(), history);
    }

    #[test]
    fn every_flip_and_every_cut_is_found() {
        let bytes = RunHistory { runs: vec![record(7), record(8)] }.encode();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(RunHistory::decode(&damaged).is_err(), "flip at {at}");
            assert!(RunHistory::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_newer_version_is_called_newer() {
        let mut bytes = RunHistory::default().encode();
        bytes[8] = 2;
        assert!(RunHistory::decode(&summed(bytes)).unwrap_err().is_newer());
    }

    /// `bytes` with a sum that fits them.
    fn summed(mut bytes: Vec<u8>) -> Vec<u8> {
        let body = bytes.len() - 8;
        bytes.truncate(body);
        push_checksum(&mut bytes, 0);
        bytes
    }

    #[test]
    fn values_that_no_writer_stores_are_refused() {
        let bytes = RunHistory { runs: vec![record(7)] }.encode();
        for (at, value) in [(12, 0), (16, 2), (23, 1), (32, 9), (33, 4), (34, 4), (35, 2), (64, 1)]
        {
            let mut wrong = bytes.clone();
            wrong[at] = value;
            assert!(RunHistory::decode(&summed(wrong)).is_err(), "byte {at}");
        }
        assert!(RunHistory::decode(&summed(bytes)).is_ok());
    }

    proptest! {
        #[test]
        fn any_history_round_trips(seeds in proptest::collection::vec(any::<u64>(), 0..40)) {
            let history = RunHistory { runs: seeds.into_iter().map(record).collect() };
            prop_assert_eq!(RunHistory::decode(&history.encode()).unwrap(), history);
        }

        #[test]
        fn any_bytes_give_a_history_or_an_error(mut bytes in proptest::collection::vec(any::<u8>(), 0..900), sound in any::<bool>()) {
            if sound && bytes.len() > 40 {
                bytes[..8].copy_from_slice(MAGIC);
                bytes[8..12].copy_from_slice(&1u32.to_le_bytes());
                bytes = summed(bytes);
            }
            let _ = RunHistory::decode(&bytes);
        }
    }
}
