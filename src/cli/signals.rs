//! What ends a command before its time: Ctrl-C, a request to end, a terminal that hangs up.
//!
//! The first of these asks the running operation to stop in good order; the next one ends the
//! process at once, as a kill does. What was ignored when the process began stays ignored: `nohup`
//! and the background jobs of a script count on it. Ctrl-C in an editor or a pager is meant for that.

use std::fs;
use std::sync::atomic::{AtomicU8, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level;

use super::exit_code::ExitCode;
use crate::storage::queues::CancelToken;

/// Who has the terminal besides this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Front {
    /// Nobody.
    Own,
    /// A pager: Ctrl-C may end what it is still fed, but this process waits for it.
    Pager,
    /// An editor.
    Editor,
}

static FRONT: AtomicU8 = AtomicU8::new(Front::Own as u8);

/// States who has the terminal from now on.
pub(super) fn leave_to(front: Front) {
    FRONT.store(front as u8, Ordering::Relaxed);
}

fn is_left_to(front: Front) -> bool {
    FRONT.load(Ordering::Relaxed) == front as u8
}

/// From now on signals cancel `cancel`. Where that cannot be had, they end the process.
pub(super) fn listen(cancel: &CancelToken) {
    let ignored = ignored();
    let is_heard = |signal: &i32| ignored & (1 << (signal - 1)) == 0;
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP].iter().filter(|s| is_heard(s)))
    else {
        return;
    };
    let cancel = cancel.clone();
    let listener = std::thread::Builder::new().name("signals".to_owned());
    let _ = listener.spawn(move || {
        signals.forever().for_each(|signal| hear(signal, &cancel));
    });
}

fn hear(signal: i32, cancel: &CancelToken) {
    if signal == SIGINT && is_left_to(Front::Editor) {
        return;
    }
    if cancel.is_cancelled() && !(signal == SIGINT && is_left_to(Front::Pager)) {
        low_level::exit(ExitCode::Interrupted.number().into());
    }
    cancel.cancel();
}

/// The signals that this process ignores, signal n as bit n - 1: `proc_pid_status(5)`. None, where
/// the system does not say.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
