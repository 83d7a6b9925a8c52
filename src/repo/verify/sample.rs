//! Which part of the data a run with `--sample` reads: each run the next one, so that successive
//! runs read all of it.
//!
//! Blocks belong to parts by a hash of their pack and their place in it, in groups that lie side by
//! side, so that new packs change nothing for old ones. Which part comes next is in
//! `verify-turn`, a file that may be lost. Where it cannot be written, in a repository on a
//! read-only disk, the clock chooses: another part each hour.

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
    let known = known.and_then(|bytes| decode(&bytes).ok()).filter(|turn| turn.of == of);
    let number = match known {
        Some(turn) => turn.next % of,
        None if note(disk, VerifyTurn { next: 0, of }) => 0,
        None => by_the_clock(of),
    };
    Part { number, of }
}

/// Notes that a part was read whole.
pub(super) fn passed(disk: &dyn Disk, part: Part) {
    note(disk, VerifyTurn { next: (part.number + 1) % part.of, of: part.of });
}

fn note(disk: &dyn Disk, turn: VerifyTurn) -> bool {
    disk.replace_cache(Path::new(TURN_FILE), &turn.encode()).is_ok()
}

fn by_the_clock(of: u32) -> u32 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let turns = now.map_or(0, |now| now.as_secs() / SECONDS_OF_A_TURN);
    (turns % u64::from(of)) as u32
}

/// Whether a block belongs to the part.
pub(super) fn is_in(part: Part, pack: &PackId, block: u32) -> bool {
    if part.of <= 1 {
        return true;
    }
    let mut key = pack.as_bytes().to_vec();
    key.extend_from_slice(&(block / GROUP).to_le_bytes());
    checksum(&key) % u64::from(part.of) == u64::from(part.number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::{OsDisk, TMP_DIR};

    #[test]
    fn successive_turns_read_every_block_once() {
        let dir = tempfile::tempdir().unwrap();
        let disk = OsDisk::new(dir.path());
        disk.create_dir(TMP_DIR.as_ref()).unwrap();
        let pack = PackId::of(b"pack");
        let mut reads = vec![0; 500];
        for turn in 0..34 {
            let part = next(&disk, 3);
            assert_eq!((part.number, part.of), (turn, 34));
            for (block, count) in reads.iter_mut().enumerate() {
                *count += u32::from(is_in(part, &pack, block as u32));
            }
            passed(&disk, part);
        }
        assert!(reads.iter().all(|count| *count == 1));
        assert_eq!(next(&disk, 3).number, 0);
        assert_eq!(next(&disk, 100), Part { number: 0, of: 1 });
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
