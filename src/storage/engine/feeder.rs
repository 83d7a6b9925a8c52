//! From discovered files to jobs: small files are gathered into batches, the others go alone.

use std::sync::{Mutex, PoisonError};

use crossbeam_channel::Sender;

use super::{Engine, FileTask, Job};
use crate::storage::parallel_processor::Closed;

#[derive(Default)]
struct Pending {
    files: Vec<FileTask>,
    bytes: u64,
}

/// Takes files from the walkers, in whatever order they come, and keeps those of one directory
/// together, because neighbours compress well together.
pub struct Feeder<'e> {
    engine: &'e Engine,
    jobs: Sender<Job>,
    pending: Mutex<Pending>,
}

impl<'e> Feeder<'e> {
    pub(super) fn new(engine: &'e Engine, jobs: Sender<Job>) -> Self {
        Self { engine, jobs, pending: Mutex::default() }
    }

    /// Offers files, waiting while the workers are behind. An error means that a worker failed.
    pub fn offer(&self, tasks: impl IntoIterator<Item = FileTask>) -> Result<(), Closed> {
        let whole_file = u64::from(self.engine.chunker.params().whole_file);
        let mut ready = Vec::new();
        {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            for task in tasks {
                self.engine.sketch.add(task.size);
                if task.size > whole_file {
                    ready.push(Job::File(task));
                    continue;
                }
                pending.bytes += task.size;
                pending.files.push(task);
                if pending.files.len() >= self.engine.plan.batch_files
                    || pending.bytes >= self.engine.plan.solid_bytes as u64
                {
                    let batch = std::mem::take(&mut *pending);
                    ready.push(Job::Batch(batch.files));
                }
            }
        }
        ready.into_iter().try_for_each(|job| self.send(job))
    }

    fn send(&self, job: Job) -> Result<(), Closed> {
        if self.engine.cancel.is_cancelled() {
            return Err(Closed);
        }
        self.jobs.send(job).map_err(|_| Closed)
    }

    /// Sends what is left and closes the queue.
    pub(super) fn finish(self) {
        let pending =
            std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        if !pending.files.is_empty() {
            // A failed worker reports its own error.
            let _ = self.send(Job::Batch(pending.files));
        }
    }
}
