//! The table of guarded windows. The signal handler reads it, so it is fixed, lock-free and
//! allocates nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};

/// A window's place in the table. The turn tells it from the slot's earlier and later windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    slot: usize,
    turn: u64,
}

#[derive(Debug)]
struct Slot {
    is_taken: AtomicBool,
    /// Odd while the bounds below count; grows with each change, as in a sequence lock.
    turn: AtomicU64,
    start: AtomicUsize,
    end: AtomicUsize,
    /// The turn in which a fault fell into the window.
    bad: AtomicU64,
}

impl Slot {
    const fn free() -> Self {
        Self {
            is_taken: AtomicBool::new(false),
            turn: AtomicU64::new(0),
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            bad: AtomicU64::new(0),
        }
    }
}

/// Address ranges that do not overlap, with a mark for each.
#[derive(Debug)]
pub(super) struct Windows<const N: usize> {
    slots: [Slot; N],
}

impl<const N: usize> Windows<N> {
    pub(super) const fn new() -> Self {
        Self { slots: [const { Slot::free() }; N] }
    }

    /// Enters `start..end`; `None` when the table is full.
    pub(super) fn claim(&self, start: usize, end: usize) -> Option<Ticket> {
        let is_free =
            |slot: &Slot| !slot.is_taken.load(SeqCst) && !slot.is_taken.swap(true, SeqCst);
        let number = self.slots.iter().position(is_free)?;
        let slot = &self.slots[number];
        slot.start.store(start, SeqCst);
        slot.end.store(end, SeqCst);
        let turn = slot.turn.fetch_add(1, SeqCst) + 1;
        Some(Ticket { slot: number, turn })
    }

    /// Takes a window out. Its owner does so before it unmaps the range, so that the table never
    /// covers memory of others; no fault can be under way in it, as nobody else may read it then.
    pub(super) fn release(&self, ticket: Ticket) {
        let slot = &self.slots[ticket.slot];
        slot.turn.fetch_add(1, SeqCst);
        slot.is_taken.store(false, SeqCst);
    }

    /// Marks the window that holds `address` and returns its end. A window that changes meanwhile
    /// is not the one: that of a fault stays until the faulting thread has done with it.
    pub(super) fn mark(&self, address: usize) -> Option<usize> {
        self.slots.iter().find_map(|slot| {
            let turn = slot.turn.load(SeqCst);
            let (start, end) = (slot.start.load(SeqCst), slot.end.load(SeqCst));
            let counts = turn % 2 == 1 && slot.turn.load(SeqCst) == turn;
            if !counts || !(start..end).contains(&address) {
                return None;
            }
            slot.bad.fetch_max(turn, SeqCst);
            Some(end)
        })
    }

    /// Whether a fault fell into the window.
    pub(super) fn is_marked(&self, ticket: Ticket) -> bool {
        self.slots[ticket.slot].bad.load(SeqCst) == ticket.turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_of_the_address_is_marked_and_no_other() {
        let windows = Windows::<3>::new();
        let first = windows.claim(100, 200).unwrap();
        let second = windows.claim(200, 300).unwrap();
        assert_eq!(windows.mark(200), Some(300));
        assert_eq!((windows.mark(300), windows.mark(99)), (None, None));
        assert!(!windows.is_marked(first) && windows.is_marked(second));
        windows.release(second);
        assert_eq!(windows.mark(200), None);
        let again = windows.claim(200, 300).unwrap();
        assert!(!windows.is_marked(again), "a new window begins unmarked");
    }

    #[test]
    fn a_full_table_says_so_and_is_usable_again() {
        let windows = Windows::<2>::new();
        let first = windows.claim(0, 1).unwrap();
        windows.claim(1, 2).unwrap();
        assert_eq!(windows.claim(2, 3), None);
        windows.release(first);
        assert!(windows.claim(2, 3).is_some());
    }

    #[test]
    fn threads_mark_only_their_own_windows() {
        let windows = Windows::<8>::new();
        std::thread::scope(|scope| {
            for thread in 0..4usize {
                let windows = &windows;
                scope.spawn(move || {
                    for round in 0..2000usize {
                        let start = 1 + thread * 1000 + round % 7;
                        let ticket = windows.claim(start, start + 900).unwrap();
                        assert!(!windows.is_marked(ticket));
                        if round % 2 == 0 {
                            assert_eq!(windows.mark(start + 450), Some(start + 900));
                        }
                        assert_eq!(windows.is_marked(ticket), round % 2 == 0);
                        windows.release(ticket);
                    }
                });
            }
        });
    }
}
