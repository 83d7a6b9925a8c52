//! The run that stores files: one feeder, workers that take each piece all the way, one writer.
//!
//! The walk offers files to the [`Feeder`] while it goes on. Small ones are gathered into batches
//! ([`BatchProcessor`]), large ones go alone ([`StreamingChunkingEngine`]). A worker runs its piece
//! to completion — read → cut → hash → look up → compress — and hands over one buffer, so that a
//! byte crosses threads once. A file that is worth it is announced to all workers, and those that
//! are free take part in it. Queues are bounded, in jobs towards the workers and in bytes towards
//! the writer. Content ids do not depend on the timing: chunks are cut as in sequence, and lists are
//! in order.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, bounded, select, unbounded};

use super::batch::{Batch, BatchProcessor};
use super::engine::{Engine, EngineError, FileSource, FileTask, Result, RunOutput, Worker};
use super::pack_store::EncodedBlock;
use super::queues::{ByteSender, CancelToken, Closed, FirstError};
use super::streaming::{LargeFile, OpenFile, OpenFiles, StreamingChunkingEngine};
use crate::metrics::Wait;

/// Work for one worker.
enum Job {
    /// Small files.
    Batch(Batch),
    /// One file that is cut into chunks, which counts as open already.
    File(FileTask, OpenFile),
}

/// What a worker finds to do.
enum Work {
    /// To take part in a file that another worker opened.
    Share(Arc<LargeFile>),
    /// A job of its own.
    Job(Job),
}

/// Time between two looks whether a full queue is still served.
const PATIENCE: Duration = Duration::from_millis(100);

/// Takes files from the walkers, in whatever order they come. Workers are hired as there is work for
/// them, up to the number that the plan asks for.
pub struct Feeder<'e> {
    engine: &'e Engine,
    batches: &'e BatchProcessor,
    open_files: &'e OpenFiles,
    jobs: Sender<Job>,
    hire: &'e (dyn Fn() + Sync),
    hired: AtomicUsize,
}

impl Feeder<'_> {
    /// Offers files that come in one lane, waiting while the workers are behind. An error means that a worker failed.
    pub fn offer(
        &self,
        lane: usize,
        tasks: impl IntoIterator<Item = FileTask>,
    ) -> std::result::Result<(), Closed> {
        let mut plan = None;
        for task in tasks {
            self.engine.planner.observe(task.size);
            if !self.batches.takes(task.size) {
                self.send(Job::File(task, self.open_files.enter()))?;
                plan = None;
                continue;
            }
            let plan = plan.get_or_insert_with(|| self.engine.plan());
            if let Some(batch) = self.batches.gather(lane, task, plan, self.jobs.len()) {
                self.send(Job::Batch(batch))?;
            }
        }
        Ok(())
    }

    fn send(&self, mut job: Job) -> std::result::Result<(), Closed> {
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
            Job::File(task, _) if plan.is_spread(task.size) => plan.workers,
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
    fn finish(self) {
        for rest in self.batches.rest() {
            // A failed worker reports its own error.
            let _ = self.send(Job::Batch(rest));
        }
    }
}

/// Stops the run when a worker panics, so that nobody waits for it.
struct StopOnPanic(CancelToken);

impl Drop for StopOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.cancel();
        }
    }
}

/// One run over the files of a command.
pub struct ParallelProcessor<'e> {
    engine: &'e Engine,
    source: &'e dyn FileSource,
    batches: BatchProcessor,
    streaming: StreamingChunkingEngine,
    jobs: (Sender<Job>, Receiver<Job>),
    /// Files that have work for more than the worker that opened them.
    shared: (Sender<Arc<LargeFile>>, Receiver<Arc<LargeFile>>),
}

impl<'e> ParallelProcessor<'e> {
    /// A run with the engine's plan over files from `source`.
    pub fn new(engine: &'e Engine, source: &'e dyn FileSource) -> Self {
        Self {
            engine,
            source,
            batches: BatchProcessor::new(engine),
            streaming: StreamingChunkingEngine::new(engine),
            jobs: bounded(engine.planner.most_jobs()),
            shared: unbounded(),
        }
    }

    /// Stores the files that `feed` offers. Returns when everything is durable.
    pub fn run<R: Send>(
        mut self,
        feed: impl FnOnce(&Feeder<'_>) -> R + Send,
    ) -> Result<(RunOutput, R)> {
        // Only the feeder may keep the queue of jobs open.
        let jobs = std::mem::replace(&mut self.jobs.0, bounded(0).0);
        let (this, engine) = (&self, self.engine);
        engine.with_writer(|blocks| {
            let errors = FirstError::new(engine.cancel.clone());
            let (outputs, fed) = std::thread::scope(|scope| {
                let handles = Mutex::new(Vec::new());
                let hire = || {
                    let (blocks, errors) = (blocks.clone(), &errors);
                    let handle = scope.spawn(move || {
                        let _stop = StopOnPanic(engine.cancel.clone());
                        errors.note(this.work(blocks))
                    });
                    handles.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
                };
                let hired = AtomicUsize::new(0);
                let (batches, open_files) = (&this.batches, this.streaming.open_files());
                let feeder = Feeder { engine, batches, open_files, jobs, hire: &hire, hired };
                let fed = feed(&feeder);
                feeder.finish();
                let handles = handles.into_inner().unwrap_or_else(PoisonError::into_inner);
                let join = std::thread::ScopedJoinHandle::join;
                (handles.into_iter().map(join).collect::<Vec<_>>(), fed)
            });
            errors.into_result()?;
            let mut all = RunOutput::default();
            for output in outputs {
                // A worker that panicked took the files it had stored with it: nothing may be
                // reported.
                let output = output.ok().flatten().ok_or(EngineError::Closed(Closed))?;
                all.stored.extend(output.stored);
                all.skipped.extend(output.skipped);
            }
            engine.check_cancel()?;
            Ok((all, fed))
        })
    }

    /// Works until there is nothing left. Files that others have begun come first.
    fn work(&self, blocks: ByteSender<EncodedBlock>) -> Result<RunOutput> {
        let mut worker = Worker::new(self.engine, self.source, blocks)?;
        let mut jobs_open = true;
        loop {
            self.engine.check_cancel()?;
            if let Ok(file) = self.shared.1.try_recv() {
                self.streaming.take_part(&mut worker, &file)?;
            } else if jobs_open {
                match self.engine.metrics.wait(Wait::WorkerForFiles, || self.next()) {
                    Some(Work::Share(file)) => self.streaming.take_part(&mut worker, &file)?,
                    Some(Work::Job(job)) => self.process(&mut worker, job)?,
                    None => jobs_open = false,
                }
            } else if self.streaming.open_files().is_empty() && self.shared.1.is_empty() {
                return worker.finish();
            } else if let Ok(file) = self.shared.1.recv_timeout(Duration::from_millis(2)) {
                self.streaming.take_part(&mut worker, &file)?;
            }
        }
    }

    /// Waits for something to do; `None` when no more jobs come.
    fn next(&self) -> Option<Work> {
        select! {
            recv(self.shared.1) -> file => file.ok().map(Work::Share),
            recv(self.jobs.1) -> job => job.ok().map(Work::Job),
        }
    }

    fn process(&self, worker: &mut Worker<'e>, job: Job) -> Result<()> {
        worker.replan();
        match job {
            Job::Batch(batch) => {
                for grown in self.batches.process(worker, &batch)? {
                    self.streaming.process_alone(worker, &grown)?;
                }
                Ok(())
            }
            Job::File(task, offered) => {
                let Some(file) = self.streaming.open(worker, &task, 0) else { return Ok(()) };
                drop(offered);
                self.announce(&file, worker.plan.is_spread(task.size));
                self.streaming.take_part(worker, &file)
            }
        }
    }

    /// Calls the other workers to a file whose segments are spread over them.
    fn announce(&self, file: &Arc<LargeFile>, is_spread: bool) {
        if is_spread {
            self.engine.metrics.add_spread();
            for _ in 1..self.engine.plan().workers {
                // Both ends live as long as this run.
                let _ = self.shared.0.send(Arc::clone(file));
            }
        }
    }
}
