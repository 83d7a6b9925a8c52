//! Inputs that failed a check once, each with what was wrong.

use digstore::storage::format::merge_state::MergeState;

use super::{checks, scratch};

fn holds(target: &str, input: &[u8]) {
    let (_dir, mut scratch) = scratch();
    checks::find(target).run(&mut scratch, input);
}

#[test]
fn nothing_at_all_is_taken_by_every_check() {
    for target in checks::TARGETS {
        holds(target.name, b"");
    }
}

/// An index with good sums and a wrong number of a block: `verify` called the repository sound, and
/// what it said could not be read.
#[test]
fn an_index_that_leads_astray_is_found() {
    holds("store", &[0, 3, 3, 64, 21, 0, 0, 107, 207, 202, 0, 3, 0]);
}

/// The state of a merge in which an entry is called other than its path, which no writer stores, was
/// taken.
#[test]
fn an_entry_of_a_conflict_has_the_name_of_its_path() {
    let mut bytes = checks::small::merge_state_seeds().swap_remove(1);
    let at = bytes.windows(4).position(|bytes| bytes == b"\x03a/b").unwrap();
    // `a/b` in the path, `c` in the entry of ours.
    bytes[at + 3] = b'c';
    holds("merge_state", &bytes);
    assert!(MergeState::decode(&checks::mended(&bytes)).is_err());
}

/// Of a block of 24 bytes, compression that saved nothing was kept.
#[test]
fn a_block_that_compression_leaves_as_long_stays_as_it_is() {
    let tail = [0xff; 16];
    let head = [0x00, 0x00, 0x00, 0x24, 0xec, 0x00, 0x2f, 0x10, 0x00, 0x02, 0x00];
    holds("zstd", &[&head[..], &tail].concat());
}

/// A footer with good sums whose totals are not those of its blocks: `store size` added them up past
/// the end of 64 bits.
#[test]
fn a_footer_with_totals_that_its_blocks_do_not_have_is_damaged() {
    holds("store", &[0, 0, 0, 64, 0, 236, 215, 152, 0, 2, 0, 0, 0, 2, 0, 0]);
}

/// A pack with a sound footer behind a header with two damaged bytes, one of them that of the version:
/// it was called the pack of a newer release, and nothing of it was salvaged.
#[test]
fn a_header_of_another_version_before_a_sound_footer_is_damage() {
    let mut bytes = checks::packs::pack_file_seeds().swap_remove(0);
    (bytes[8], bytes[10]) = (0, 1);
    holds("pack_file", &bytes);
}

/// A pattern in a directory whose name is a pattern too, that would be no path if it were meant as it is
/// typed: what `from_root` made of it could not be read.
#[test]
fn what_is_typed_in_the_root_is_read() {
    holds("pathspec", b"d[\n*.c!x\n:\n:(glob)a/*a/digsto~1/\xbd");
}
