//! What threads pass on to each other: queues bounded in bytes, cancellation, results in order.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

/// Cores that this process may use.
pub fn available_cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Tells every worker to stop at the next file, segment or block.
#[derive(Debug, Clone, Default)]
pub struct CancelToken {
    asked: Arc<AtomicBool>,
    /// Of the whole, which this is a part of.
    above: Option<Arc<AtomicBool>>,
}

impl CancelToken {
    /// Asks for the stop.
    pub fn cancel(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Whether a stop was asked for.
    pub fn is_cancelled(&self) -> bool {
        let asked = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        asked(&self.asked) || self.above.as_deref().is_some_and(asked)
    }

    /// A token for a part, which can be stopped by itself and stops with the whole.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { asked: Arc::default(), above: Some(Arc::clone(&self.asked)) }
    }
}

/// Keeps the first error of many workers and stops the others.
#[derive(Debug)]
pub struct FirstError<E> {
    error: Mutex<Option<E>>,
    cancel: CancelToken,
}

impl<E> FirstError<E> {
    /// Cancels `cancel` at the first error.
    pub fn new(cancel: CancelToken) -> Self {
        Self { error: Mutex::new(None), cancel }
    }

    /// Keeps the error of `result` if it is the first; returns the value.
    pub fn note<T>(&self, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                self.cancel.cancel();
                None
            }
        }
    }

    /// The error, if there was one.
    pub fn into_result(self) -> Result<(), E> {
        self.error.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }
}

#[derive(Debug)]
struct Budget {
    used: Mutex<usize>,
    freed: Condvar,
    limit: usize,
}

impl Budget {
    /// Whether `bytes` may enter now; one item larger than the whole budget may enter alone.
    fn fits(&self, used: usize, bytes: usize) -> bool {
        used == 0 || used + bytes <= self.limit
    }

    fn try_take(&self, bytes: usize) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = self.fits(*used, bytes);
        if fits {
            *used += bytes;
        }
        fits
    }

    fn take(&self, bytes: usize) {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = self.freed.wait_while(used, |used| !self.fits(*used, bytes));
        *wait.unwrap_or_else(PoisonError::into_inner) += bytes;
    }
}

/// Bytes taken from a queue's budget; free again when this is dropped.
#[derive(Debug)]
pub struct Permit {
    bytes: usize,
    budget: Arc<Budget>,
}

/// An item in a byte-bounded queue.
#[derive(Debug)]
pub struct Queued<T> {
    /// The item.
    pub item: T,
    /// Its bytes in the queue's budget.
    pub permit: Permit,
}

impl Drop for Permit {
    fn drop(&mut self) {
        *self.budget.used.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        self.budget.freed.notify_all();
    }
}

/// The sending end of a byte-bounded queue.
#[derive(Debug)]
pub struct ByteSender<T> {
    sender: Sender<Queued<T>>,
    budget: Arc<Budget>,
}

impl<T> Clone for ByteSender<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), budget: Arc::clone(&self.budget) }
    }
}

/// The receiver is gone: a worker failed and the run is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the queue is closed")]
pub struct Closed;

impl<T> ByteSender<T> {
    /// Sends an item of `bytes` bytes, waiting until they fit.
    pub fn send(&self, item: T, bytes: usize) -> Result<(), Closed> {
        self.budget.take(bytes);
        let permit = Permit { bytes, budget: Arc::clone(&self.budget) };
        let queued = Queued { item, permit };
        self.sender.send(queued).map_err(|_| Closed)
    }

    /// Sends an item if its bytes fit now, or gives it back.
    pub fn try_send(&self, item: T, bytes: usize) -> Result<(), T> {
        if !self.budget.try_take(bytes) {
            return Err(item);
        }
        let permit = Permit { bytes, budget: Arc::clone(&self.budget) };
        let queued = Queued { item, permit };
        // A closed queue drops the item; the sender learns of the failure elsewhere.
        let _ = self.sender.send(queued);
        Ok(())
    }
}

/// A queue that holds at most `limit` bytes. Dropping every receiver frees what is queued, so a
/// waiting sender wakes up and finds the queue closed.
pub fn byte_channel<T>(limit: usize) -> (ByteSender<T>, Receiver<Queued<T>>) {
    let (sender, receiver) = unbounded();
    let budget = Budget { used: Mutex::new(0), freed: Condvar::new(), limit };
    (ByteSender { sender, budget: Arc::new(budget) }, receiver)
}

/// Runs `work` over the items on `workers` threads and hands the results to `sink` in the order of
/// the items. At most `window` items are between source and sink. The first error, of whichever
/// side, ends the run.
pub fn ordered_map<I, T, E, W, S>(
    items: I,
    workers: usize,
    window: usize,
    work: W,
    mut sink: S,
) -> Result<(), E>
where
    I: Iterator<Item: Send> + Send,
    T: Send,
    E: Send,
    W: Fn(I::Item) -> Result<T, E> + Sync,
    S: FnMut(T) -> Result<(), E>,
{
    let (job_sender, jobs) = bounded::<(u64, I::Item)>(window);
    let (result_sender, results) = unbounded();
    let (ticket_sender, tickets) = bounded::<()>(window);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let (jobs, result_sender, work) = (jobs.clone(), result_sender.clone(), &work);
            scope.spawn(move || {
                for (number, item) in jobs {
                    if result_sender.send((number, work(item))).is_err() {
                        break;
                    }
                }
            });
        }
        drop((jobs, result_sender));
        scope.spawn(move || {
            for (number, item) in (0..).zip(items) {
                if ticket_sender.send(()).is_err() || job_sender.send((number, item)).is_err() {
                    break;
                }
            }
        });
        let mut waiting = BTreeMap::new();
        let mut next = 0;
        // Taking `results` and `tickets` in, so that an early return closes both queues.
        let (results, tickets) = (results, tickets);
        for (number, result) in &results {
            waiting.insert(number, result?);
            while let Some(value) = waiting.remove(&next) {
                sink(value)?;
                next += 1;
                let _ = tickets.try_recv();
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_stops_by_itself_and_with_the_whole() {
        let whole = CancelToken::default();
        let (part, other) = (whole.child(), whole.child());
        part.clone().cancel();
        assert!(part.is_cancelled() && !whole.is_cancelled() && !other.is_cancelled());
        whole.cancel();
        assert!(other.is_cancelled());
    }

    #[test]
    fn the_order_is_that_of_the_items_whatever_the_timing() {
        let mut seen = Vec::new();
        let work = |n: u64| {
            std::thread::sleep(std::time::Duration::from_micros(n * 37 % 400));
            Ok::<_, ()>(n)
        };
        ordered_map(0..500u64, 4, 8, work, |n| {
            seen.push(n);
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, (0..500).collect::<Vec<_>>());
    }

    #[test]
    fn the_first_error_ends_the_run_on_either_side() {
        let fail = |n: u64| if n == 40 { Err(n) } else { Ok(n) };
        assert_eq!(ordered_map(0.., 3, 8, fail, |_| Ok(())), Err(40));
        assert_eq!(
            ordered_map(0.., 3, 8, Ok, |n: u64| if n == 9 { Err(n) } else { Ok(()) }),
            Err(9)
        );
    }

    #[test]
    fn a_queue_holds_no_more_than_its_bytes() {
        let (sender, receiver) = byte_channel(100);
        sender.send("large", 500).unwrap();
        assert_eq!(sender.try_send("more", 1), Err("more"));
        drop(receiver.recv());
        sender.send("a", 60).unwrap();
        assert_eq!(sender.try_send("b", 60), Err("b"));
        sender.send("c", 40).unwrap();
        let waiting = {
            let sender = sender.clone();
            std::thread::spawn(move || sender.send("d", 100))
        };
        drop(receiver);
        assert_eq!(waiting.join().unwrap(), Err(Closed));
    }

    #[test]
    fn the_first_error_wins_and_cancels() {
        let cancel = CancelToken::default();
        let first = FirstError::new(cancel.clone());
        assert_eq!(first.note(Ok::<_, u8>(1)), Some(1));
        assert!(!cancel.is_cancelled());
        assert_eq!(first.note::<u8>(Err(7)), None);
        first.note::<u8>(Err(8));
        assert!(cancel.is_cancelled());
        assert_eq!(first.into_result(), Err(7));
    }
}
