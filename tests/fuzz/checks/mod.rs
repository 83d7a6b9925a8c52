//! What must hold of any input of a decoder, one check for each stored format and each reader of
//! what others write: it does not panic, takes memory in proportion to the input, and what it
//! accepts is what a writer would have written.
//!
//! A checksum would turn most inputs away at the door, so that each check takes the input twice: as
//! it is, and with its checksums made to fit.

pub(crate) mod foreign;
pub(crate) mod graph;
pub(crate) mod logs;
pub(crate) mod memory;
pub(crate) mod packs;
pub(crate) mod scratch;
pub(crate) mod small;
pub(crate) mod store;

use digstore::storage::format::Result;
use digstore::storage::format::bytes::push_checksum;

pub(crate) use scratch::Scratch;

/// One format, or one reader.
pub(crate) struct Target {
    /// What it is called.
    pub(crate) name: &'static str,
    /// Panics where something does not hold.
    pub(crate) check: fn(&mut Scratch, &[u8]),
    /// Inputs to begin with.
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
    /// Most bytes of memory that one thread takes, but for [`PER_BYTE`] for each byte of the input.
    pub(crate) room: usize,
}

/// Bytes of memory for each byte of an input, of which the check itself holds some copies.
const PER_BYTE: usize = 512;
const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

const fn target(
    name: &'static str,
    check: fn(&mut Scratch, &[u8]),
    seeds: fn() -> Vec<Vec<u8>>,
    room: usize,
) -> Target {
    Target { name, check, seeds, room }
}

/// All of them.
pub(crate) const TARGETS: &[Target] = &[
    target("repository", small::repository, small::repository_seeds, 64 * KIB),
    target("refs", small::refs, small::refs_seeds, 64 * KIB),
    target("merge_state", small::merge_state, small::merge_state_seeds, 64 * KIB),
    target("moving", small::moving, small::moving_seeds, 64 * KIB),
    target("sparse", small::sparse, small::sparse_seeds, 64 * KIB),
    target("object", small::object, small::object_seeds, 64 * KIB),
    target("tag", small::tag, small::tag_seeds, 64 * KIB),
    target("import_marks", small::import_marks, small::import_marks_seeds, 64 * KIB),
    target("condemned", small::condemned, small::condemned_seeds, 64 * KIB),
    target("parity", packs::parity, packs::parity_seeds, MIB),
    target("verify_turn", small::verify_turn, small::verify_turn_seeds, 64 * KIB),
    target("run_history", small::run_history, small::run_history_seeds, 64 * KIB),
    target("oplog", logs::oplog, logs::oplog_seeds, 64 * KIB),
    target("staging_log", logs::staging_log, logs::staging_log_seeds, 64 * KIB),
    target("staging_base", logs::staging_base, logs::staging_base_seeds, 64 * KIB),
    target("pack", packs::pack, packs::pack_seeds, 40 * MIB),
    target("pack_file", packs::pack_file, packs::pack_file_seeds, 80 * MIB),
    target("pack_index", packs::pack_index, packs::pack_index_seeds, 64 * KIB),
    target("zstd", packs::zstd, packs::zstd_seeds, 70 * MIB),
    target("path", foreign::path, foreign::path_seeds, 64 * KIB),
    target("fast_export", foreign::fast_export, foreign::fast_export_seeds, 4 * MIB),
    target("ignore", foreign::ignore, foreign::ignore_seeds, MIB),
    target("pathspec", foreign::pathspec, foreign::pathspec_seeds, MIB),
    target("config", foreign::config, foreign::config_seeds, 4 * MIB),
    target("revision", store::revision, store::revision_seeds, 64 * MIB),
    target("tar", store::tar, store::tar_seeds, 256 * MIB),
    target("graph", graph::graph, graph::graph_seeds, 256 * MIB),
    target("store", store::store, store::store_seeds, 256 * MIB),
];

/// The one of a name.
pub(crate) fn find(name: &str) -> &'static Target {
    let names = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
    let found = TARGETS.iter().find(|target| target.name == name);
    found.unwrap_or_else(|| panic!("'{name}' is none of {}", names()))
}

impl Target {
    /// Checks one input, and how much memory that took.
    pub(crate) fn run(&self, scratch: &mut Scratch, input: &[u8]) {
        let (before, peak) = memory::peak_of(|| (self.check)(scratch, input));
        let limit = self.room + PER_BYTE * input.len();
        let taken = peak.saturating_sub(before);
        assert!(taken <= limit, "{} bytes took {taken} bytes of memory", input.len());
    }
}

/// The bytes with a checksum of all of them behind them.
pub(crate) fn sealed(body: &[u8]) -> Vec<u8> {
    let mut bytes = body.to_vec();
    push_checksum(&mut bytes, 0);
    bytes
}

/// The bytes with their last eight made the checksum of those before.
pub(crate) fn mended(bytes: &[u8]) -> Vec<u8> {
    sealed(&bytes[..bytes.len().saturating_sub(8)])
}

/// Puts the checksum of `bytes[..at]` at `at`, where there is room for it.
pub(crate) fn mend_at(bytes: &mut [u8], from: usize, at: usize) {
    if bytes.len() >= at + 8 {
        let sum = digstore::storage::format::bytes::checksum(&bytes[from..at]);
        bytes[at..at + 8].copy_from_slice(&sum.to_le_bytes());
    }
}

/// What is accepted is written again byte for byte, so that there is one encoding of each value and
/// nothing behind it.
pub(crate) fn canonical<T>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T>,
    encode: impl Fn(&T) -> Vec<u8>,
) -> Option<T> {
    let value = decode(bytes).ok()?;
    assert_eq!(encode(&value), bytes, "read, and written in another way");
    Some(value)
}

/// The same of bytes that a checksum ends, as they are and with one that fits.
pub(crate) fn canonical_sealed<T>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T>,
    encode: impl Fn(&T) -> Vec<u8>,
) -> Option<T> {
    canonical(bytes, &decode, &encode);
    canonical(&mended(bytes), decode, encode)
}
