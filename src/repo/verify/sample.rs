//! Which part of the data a run with `--sample` reads: each run goes on where the one before ended, so
//! that successive runs read all of it, whatever percentage each of them has.
//!
//! Blocks are ordered by a hash of their pack and their place in it, in groups that lie side by side, so
//! that new packs change nothing for old ones. A part is a range of hashes. Where the next one begins
//! is in `verify-turn`, a file that may be lost. Where it cannot be written, in a repository on a
//! read-only disk, the hour chooses, by its hash: who comes every night meets another part as well.

use std::path::Path;
use std::time::SystemTime;

use super::Part;
use crate::id::PackId;
use crate::storage::disk::Disk;
use crate::storage::format::bytes::checksum;
use crate::storage::format::verify_turn::{VerifyTurn, decode};

/// The file that names the next part.
const TURN_FILE: &str = "verify-turn";
const MAX_TURN_FILE: u64 = 4096;
/// Blocks side by side that belong to one part.
const GROUP: u32 = 16;
const SECONDS_OF_A_TURN: u64 = 3600;

/// The part whose turn it is, of so many that each is at most `percent` of the data.
pub(super) fn next(disk: &dyn Disk, percent: u8) -> Part {
    let of = 100u32.div_ceil(u32::from(percent.clamp(1, 100)));
    let known = disk.read(Path::new(TURN_FILE), MAX_TURN_FILE).ok().flatten();
    let known = known.and_then(|bytes| decode(&bytes).ok());
    match known {
        // Else nobody could say that it was read.
        Some(turn) if note(disk, turn) => beginning(turn.next, of),
        None if note(disk, VerifyTurn { next: 0 }) => beginning(0, of),
        _ => of_hour(hours(), of),
    }
}

/// The part of this length that begins at a hash; the last one ends with the hashes.
fn beginning(first: u64, of: u32) -> Part {
    if of <= 1 {
        return Part::ALL;
    }
    let length = length(of);
    let number = (first / length) as u32;
    Part { number, of, first, last: first.saturating_add(length - 1) }
}

/// Hashes of one part.
fn length(of: u32) -> u64 {
    (u64::MAX / u64::from(of)).saturating_add(1)
}

/// Notes that a part was read whole.
pub(super) fn passed(disk: &dyn Disk, part: Part) {
    note(disk, VerifyTurn { next: part.last.wrapping_add(1) });
}

fn note(disk: &dyn Disk, turn: VerifyTurn) -> bool {
    disk.replace_cache(Path::new(TURN_FILE), &turn.encode()).is_ok()
}

/// Hours since 1970.
fn hours() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs() / SECONDS_OF_A_TURN)
}

fn of_hour(hour: u64, of: u32) -> Part {
    let number = checksum(&hour.to_le_bytes()) % u64::from(of);
    beginning(number * length(of), of)
}

/// Whether a block belongs to the part.
pub(super) fn is_in(part: Part, pack: &PackId, block: u32) -> bool {
    let mut key = pack.as_bytes().to_vec();
    key.extend_from_slice(&(block / GROUP).to_le_bytes());
    (part.first..=part.last).contains(&checksum(&key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::{OsDisk, TMP_DIR};

    fn new_disk(dir: &tempfile::TempDir) -> OsDisk {
        let disk = OsDisk::new(dir.path());
        disk.create_dir(TMP_DIR.as_ref()).unwrap();
        disk
    }

    /// Counts blocks that are read.
    fn read(part: Part, reads: &mut [u32]) {
        let pack = PackId::of(b"pack");
        for (block, count) in reads.iter_mut().enumerate() {
            *count += u32::from(is_in(part, &pack, block as u32));
        }
    }

    #[test]
    fn successive_turns_read_every_block_once() {
        for percent in 1..100 {
            let dir = tempfile::tempdir().unwrap();
            let disk = new_disk(&dir);
            let mut reads = vec![0; 3000];
            let of = 100u32.div_ceil(percent);
            for turn in 0..of {
                let part = next(&disk, percent as u8);
                assert_eq!((part.number, part.of), (turn, of));
                read(part, &mut reads);
                passed(&disk, part);
            }
            assert!(reads.iter().all(|count| *count == 1), "{percent}");
            assert_eq!(next(&disk, percent as u8).number, 0);
            assert_eq!(next(&disk, 100), Part::ALL);
        }
    }

    #[test]
    fn turns_of_two_percentages_read_everything_together() {
        let dir = tempfile::tempdir().unwrap();
        let disk = new_disk(&dir);
        let mut reads = vec![0; 3000];
        for percent in [3, 10].repeat(8) {
            let part = next(&disk, percent);
            read(part, &mut reads);
            passed(&disk, part);
        }
        // Eight times thirteen are more than a hundred.
        assert!(reads.iter().all(|count| *count > 0));
    }

    #[test]
    fn a_run_each_night_meets_every_part_by_the_clock() {
        let mut numbers: Vec<u32> =
            (0..300).map(|night| of_hour(night * 24 + 2, 20).number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers, (0..20).collect::<Vec<_>>());
        assert_eq!(of_hour(7, 1), Part::ALL);
    }

    #[test]
    fn a_damaged_or_unwritable_turn_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        let disk = OsDisk::new(dir.path());
        assert!(next(&disk, 10).number < 10, "there is no tmp/ to write in");
        disk.create_dir(TMP_DIR.as_ref()).unwrap();
        disk.publish(TURN_FILE.as_ref(), b"nonsense", true).unwrap();
        assert_eq!(next(&disk, 10).number, 0);
    }
}
