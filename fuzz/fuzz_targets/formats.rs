//! One stored format, or one reader of what others write: the one that `DIGSTORE_FUZZ` names. The
//! checks, and inputs to begin with, are those of `tests/fuzz`. `just fuzz NAME`.

#![no_main]

use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, PoisonError};

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/fuzz/checks/mod.rs"]
mod checks;

#[global_allocator]
static ALLOCATOR: checks::memory::Counting = checks::memory::Counting;

static TARGET: LazyLock<&checks::Target> = LazyLock::new(|| {
    checks::find(&std::env::var("DIGSTORE_FUZZ").expect("DIGSTORE_FUZZ is the name of a format"))
});

/// A directory that `fuzz/run.sh` removes.
static SCRATCH: LazyLock<Mutex<checks::Scratch>> = LazyLock::new(|| {
    let dir = std::env::temp_dir().join(format!("digstore-fuzz-{}", std::process::id()));
    Mutex::new(checks::Scratch::new(dir))
});

/// Writes the inputs to begin with, where they are asked for.
fn write_seeds() {
    let Some(dir) = std::env::var_os("DIGSTORE_FUZZ_SEEDS").map(PathBuf::from) else { return };
    std::fs::create_dir_all(&dir).expect("the directory of seeds");
    for (number, seed) in (TARGET.seeds)().into_iter().enumerate() {
        std::fs::write(dir.join(format!("seed-{number}")), seed).expect("a seed");
    }
}

fuzz_target!(init: write_seeds(), |input: &[u8]| {
    let mut scratch = SCRATCH.lock().unwrap_or_else(PoisonError::into_inner);
    TARGET.run(&mut scratch, input);
});
