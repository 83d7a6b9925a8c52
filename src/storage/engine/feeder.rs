//! From discovered files to jobs: small files are gathered into batches, the others go alone.

use std::cell::LazyCell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{SendTimeoutError, Sender};

use super::{Engine, FileTask, Job};
use crate::storage::parallel_processor::Closed;

#[derive(Default)]
struct Pending {
    files: Vec<FileTask>,
    bytes: u64,
}

/// Takes files from the walkers, in whatever order they come, and keeps those of one directory
/// together, because neighbours compress well together. Workers are hired as there is work for
/// them, up to the number that the plan asks for.
pub struct Feeder<'e> {
    engine: &'e Engine,
    jobs: Sender<Job>,
    hire: &'e (dyn Fn() + Sync),
    hired: AtomicUsize,
    pending: Mutex<Pending>,
}

/// Time between two looks whether a full queue is still served.
const PATIENCE: Duration = Duration::from_millis(100);

impl<'e> Feeder<'e> {
    pub(super) fn new(engine: &'e Engine, jobs: Sender<Job>, hire: &'e (dyn Fn() + Sync)) -> Self {
        Self { engine, jobs, hire, hired: AtomicUsize::new(0), pending: Mutex::default() }
    }

    /// Offers files, waiting while the workers are behind. An error means that a worker failed.
    pub fn offer(&self, tasks: impl IntoIterator<Item = FileTask>) -> Result<(), Closed> {
        let whole_file = u64::from(self.engine.chunker.params().whole_file);
        let mut ready = Vec::new();
        {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            let plan = LazyCell::new(|| self.engine.plan());
            for task in tasks {
                self.engine.planner.observe(task.size);
                if task.size > whole_file {
                    ready.push(Job::File(task));
                    continue;
                }
                pending.bytes += task.size;
                pending.files.push(task);
                if pending.files.len() >= plan.batch_files
                    || pending.bytes >= plan.solid_bytes as u64
                {
                    let batch = std::mem::take(&mut *pending);
                    ready.push(Job::Batch(batch.files));
                }
            }
        }
        ready.into_iter().try_for_each(|job| self.send(job))
    }

    fn send(&self, mut job: Job) -> Result<(), Closed> {
        self.hire_for(&job);
        // A run that failed leaves nobody to make room in the queue.
        while !self.engine.cancel.is_cancelled() {
            match self.jobs.send_timeout(job, PATIENCE) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Timeout(back)) => job = back,
                Err(SendTimeoutError::Disconnected(_)) => break,
            }
        }
        Err(Closed)
    }

    /// One worker more for each job, all of them for a file that is spread.
    fn hire_for(&self, job: &Job) {
        let plan = self.engine.plan();
        let wanted = match job {
            Job::File(task) if plan.is_spread(task.size) => plan.workers,
            _ => 1 + self.hired.load(Ordering::Relaxed),
        };
        while self.hired.load(Ordering::Relaxed) < wanted.min(plan.workers) {
            if self.hired.fetch_add(1, Ordering::Relaxed) < plan.workers {
                (self.hire)();
            } else {
                self.hired.fetch_sub(1, Ordering::Relaxed);
                break;
            }
        }
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
