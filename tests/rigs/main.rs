//! The binary under fire: killed at its system calls, on full and failing disks, beside others, and
//! stopped while others change its files.
//!
//! Each rig runs a short sample in a normal test run, and as long as it is told to for a release
//! (`just rigs`). A rig prints one line that begins with `rig:`, with
//! what it did and the seed with which it does the same again. The settings:
//!
//! | variable | what it is | without it |
//! |---|---|---|
//! | `DIGSTORE_RIG_SEED` | where random choices begin | the clock |
//! | `DIGSTORE_KILLS` | kills at a system call | 30 |
//! | `DIGSTORE_DELAYED_KILLS` | kills after a random time | 30 |
//! | `DIGSTORE_OBLITERATES` | kills of an `obliterate` at a system call | 12 |
//! | `DIGSTORE_FULL_DISKS` | sizes of a full disk, each with every command | 3 |
//! | `DIGSTORE_FAULTS` | system calls that fail, and limits of a file's size | 24 |
//! | `DIGSTORE_THRASH_SECONDS` | how long eight processes work side by side | 4 |
//! | `DIGSTORE_SWAPS` | commands during which a directory becomes a link and back | 40 |
//! | `DIGSTORE_TRUNCATIONS` | files cut short while they are added | 20 |
//!
//! What needs `strace` or the right to mount says so where it is missing, and is left out.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests make files by any means, print what they did, and a failed step fails the test"
)]

#[path = "../common/mod.rs"]
mod common;

mod cleanups;
mod disks;
mod kills;
mod meanwhile;
mod repairs;
mod scene;
mod strace;
mod swaps;
mod thrash;

use common::Dice;

/// The number in an environment variable.
fn setting(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name}={value}")))
}

/// Random choices, and the seed that repeats them.
fn dice() -> (Dice, u64) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = setting("DIGSTORE_RIG_SEED", now.map_or(0, |now| now.as_secs()));
    println!("DIGSTORE_RIG_SEED={seed}");
    (Dice::new(seed), seed)
}

/// A number below `end`, which is not 0.
fn below(dice: &mut Dice, end: usize) -> usize {
    (dice.roll() % end as u64) as usize
}
