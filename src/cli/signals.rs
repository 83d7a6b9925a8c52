//! What ends a command before its time: Ctrl-C, a request to end, a terminal that hangs up.
//!
//! The first of these asks the running operation to stop in good order; the next one ends the
//! process at once, as a kill does. What was ignored when the process began stays ignored: `nohup`
//! and the background jobs of a script count on it.

use std::fs;
use std::sync::Arc;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use super::exit_code::ExitCode;
use crate::storage::queues::CancelToken;

/// From now on signals cancel `cancel`. Where that cannot be had, they end the process.
pub(super) fn listen(cancel: &CancelToken) {
    let asked = cancel.flag();
    let code = ExitCode::Interrupted.number().into();
    let ignored = ignored();
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        if ignored & (1 << (signal - 1)) == 0 {
            // In this order: the first signal finds the flag as it was.
            let _ = flag::register_conditional_shutdown(signal, code, Arc::clone(&asked))
                .and_then(|_| flag::register(signal, Arc::clone(&asked)));
        }
    }
}

/// The signals that this process ignores, signal n as bit n - 1: `proc_pid_status(5)`. None, where
/// the system does not say.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
