//! Hostile inputs: paths that lead out, objects that lie, packs that burst, settings that run things.
//!
//! One test for each row of a catalogue of such inputs; its name begins with the row. What is hostile
//! is made with the encoders of the library, which do not check what they are given, or byte by byte
//! with fresh checksums, and met through every command that may read it. Whatever comes, nothing
//! panics, hangs, takes more than 512 MiB or writes outside the work tree.
//!
//! Rows without a test here: 20 and 21, names that differ in case or composition on a file system
//! that takes them for one, need such a file system; of 7, 8 and 15, only what holds on Linux is
//! tested; 36, 37, 72, 75 and 80 to 89 are of remotes and clones; 44, mounts, has no option. Tested
//! elsewhere: 69, a repository of another user, in `tests/owner.rs`; 94, `gc` beside everything, and
//! 95, a clock that is wrong by ten years, in `tests/gc`.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests make files by any means, and a failed step fails the test"
)]

#[path = "../common/mod.rs"]
mod common;

mod archive;
mod commands;
mod forge;
mod kinds;
mod objects;
mod packs;
mod paths;
mod races;
mod watch;
