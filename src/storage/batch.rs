//! Many small files: hashed one by one, compressed together in solid blocks.

use std::io;
use std::os::fd::AsFd;

use super::engine::{FileOutcome, FileTask, OpenedFile, Result, SkipCause, Worker};
use super::format::object::Content;
use super::format::staging::FileStat;
use crate::id::ChunkId;
use crate::metrics::Stage;

/// Times a file that changes while it is read is read again.
pub(super) const ATTEMPTS: usize = 3;

/// The batch pipeline; what it shares lives in the engine, what it gathers in the worker.
pub struct BatchProcessor;

/// What reading one file came to.
enum Attempt {
    Stored(FileOutcome),
    Grown(FileTask),
    Changed,
}

impl BatchProcessor {
    /// Stores the files of one batch; a file that cannot be read is noted and left out.
    pub fn process(worker: &mut Worker<'_>, files: &[FileTask]) -> Result<()> {
        worker.clock.restart();
        for task in files {
            worker.engine.check_cancel()?;
            Self::process_file(worker, task)?;
        }
        worker.clock.flush(&worker.engine.metrics);
        Ok(())
    }

    fn process_file(worker: &mut Worker<'_>, task: &FileTask) -> Result<()> {
        for _ in 0..ATTEMPTS {
            match Self::attempt(worker, task) {
                Ok(Ok(Attempt::Stored(outcome))) => {
                    worker.engine.monitor.advance(1, outcome.stat.size);
                    worker.stored(outcome);
                    return Ok(());
                }
                Ok(Ok(Attempt::Grown(task))) => {
                    super::streaming::StreamingChunkingEngine::process_alone(worker, &task)?;
                    worker.clock.restart();
                    return Ok(());
                }
                Ok(Ok(Attempt::Changed)) => {}
                Ok(Err(cause)) => {
                    worker.skipped(&task.path, cause);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        worker.skipped(&task.path, SkipCause::Changed);
        Ok(())
    }

    fn attempt(
        worker: &mut Worker<'_>,
        task: &FileTask,
    ) -> Result<std::result::Result<Attempt, SkipCause>> {
        let started = now_ns();
        let opened = match worker.source.open(&task.path) {
            Ok(opened) if opened.is_regular => opened,
            Ok(_) => return Ok(Err(SkipCause::NotRegular)),
            Err(error) => return Ok(Err(SkipCause::Unreadable(error))),
        };
        let size = opened.stat.size;
        if size > u64::from(worker.engine.chunker.params().whole_file) {
            return Ok(Ok(Attempt::Grown(FileTask { path: task.path.clone(), size })));
        }
        let start = worker.solid.plain.len();
        let read = read_small(&opened, &mut worker.solid.plain)
            .and_then(|whole| whole.then(|| worker.source.stat(&opened.file)).transpose());
        worker.clock.lap(Stage::Reading);
        match read {
            Ok(Some(after)) if after == opened.stat => {}
            Ok(_) => {
                worker.solid.plain.truncate(start);
                return Ok(Ok(Attempt::Changed));
            }
            Err(error) => {
                worker.solid.plain.truncate(start);
                return Ok(Err(SkipCause::Unreadable(error)));
            }
        }
        let content = Self::store(worker, start)?;
        let racy = is_racy(&opened.stat, started);
        let OpenedFile { stat, executable, .. } = opened;
        Ok(Ok(Attempt::Stored(FileOutcome {
            path: task.path.clone(),
            stat,
            executable,
            content,
            racy,
        })))
    }

    /// Hashes what was read to the end of the solid block and keeps it if it is new.
    fn store(worker: &mut Worker<'_>, start: usize) -> Result<Content> {
        let bytes = &worker.solid.plain[start..];
        if bytes.is_empty() {
            return Ok(Content::Empty);
        }
        let len = bytes.len() as u32;
        let id = ChunkId::of(bytes);
        worker.clock.lap(Stage::Hashing);
        if !worker.claim_chunk(id.into(), len) {
            worker.solid.plain.truncate(start);
            return Ok(Content::Chunk(id));
        }
        worker.solid.chunks.push((id.into(), len));
        if worker.solid.plain.len() >= worker.plan.solid_bytes {
            worker.flush_solid()?;
            worker.clock.restart();
        }
        Ok(Content::Chunk(id))
    }
}

/// Appends a small file's bytes; `false` when it is shorter than it was.
fn read_small(opened: &OpenedFile, out: &mut Vec<u8>) -> io::Result<bool> {
    let size = opened.stat.size as usize;
    let end = out.len() + size;
    out.reserve(size);
    while out.len() < end {
        let mut rest = end - out.len();
        let spare = out.spare_capacity_mut();
        rest = rest.min(spare.len());
        let (read, _) = match rustix::io::read(opened.file.as_fd(), &mut spare[..rest]) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        let read = read.len();
        if read == 0 {
            return Ok(false);
        }
        #[expect(unsafe_code, reason = "the system call filled the spare capacity")]
        // SAFETY: `read` bytes behind the old length were initialised by the call above.
        unsafe {
            out.set_len(out.len() + read);
        }
    }
    Ok(true)
}

/// Nanoseconds since 1970 by the clock that file times are taken from.
pub(super) fn now_ns() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec)
}

/// The kernel stamps files with a clock that ticks every 1 to 10 ms.
const TICK_NS: i64 = 20_000_000;
/// Some file systems keep whole or even seconds only.
const COARSE_NS: i64 = 2_000_000_000;

/// Whether a file that was read from `started` on could be written again and keep these times: it
/// changed within one tick of the clock (git calls such an entry racily clean).
pub(super) fn is_racy(stat: &FileStat, started: i64) -> bool {
    let coarse = stat.mtime_ns % 1_000_000_000 == 0;
    let tick = if coarse { COARSE_NS } else { TICK_NS };
    stat.mtime_ns.saturating_add(tick) >= started
}
