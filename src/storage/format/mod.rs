//! Stored formats, one file each, pure: bytes in, value out, no I/O.
//!
//! Every decoder is a total function: any input gives a value or a [`FormatError`], never a panic,
//! and no allocation is sized by a stored number before that number was checked against the bytes
//! that are there. `docs/format.md` has one section for each file of this module.

pub mod bytes;
pub mod condemned;
pub mod import_marks;
pub mod merge_state;
pub mod moving;
pub mod object;
pub mod oplog;
pub mod pack;
pub mod pack_index;
pub mod parity;
pub mod refs;
pub mod repository;
pub mod run_history;
pub mod sparse;
pub mod staging;
pub mod staging_base;
pub mod staging_log;
pub mod tag;
pub mod verify_turn;

use thiserror::Error;

/// Why stored bytes are refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FormatError {
    /// Fewer bytes than the structure needs.
    #[error("{what} is cut short: {needed} bytes are needed, {present} are there")]
    Truncated {
        /// The structure.
        what: &'static str,
        /// Bytes it needs.
        needed: u64,
        /// Bytes that are there.
        present: u64,
    },
    /// The magic number is another one.
    #[error("{what} does not begin with its magic number")]
    Magic {
        /// The structure.
        what: &'static str,
    },
    /// The checksum disagrees with the bytes.
    #[error("{what} fails its checksum")]
    Checksum {
        /// The structure.
        what: &'static str,
    },
    /// Written by a newer release.
    #[error("{what} has format version {found}; this release reads up to {supported}")]
    Version {
        /// The structure.
        what: &'static str,
        /// Version found.
        found: u32,
        /// Newest version that is read.
        supported: u32,
    },
    /// Needs a feature this release does not know.
    #[error("{what} needs features {features:#x} that this release does not know")]
    Features {
        /// The structure.
        what: &'static str,
        /// Unknown mandatory feature bits.
        features: u64,
    },
    /// A field has a value that no writer stores.
    #[error("{what}: {why}")]
    Invalid {
        /// The structure.
        what: &'static str,
        /// The field and what is wrong with it.
        why: String,
    },
}

impl FormatError {
    /// An [`FormatError::Invalid`].
    pub fn invalid(what: &'static str, why: impl Into<String>) -> Self {
        Self::Invalid { what, why: why.into() }
    }

    /// Whether the bytes are sound but of a release newer than this one.
    pub fn is_newer(&self) -> bool {
        matches!(self, Self::Version { .. } | Self::Features { .. })
    }
}

/// Result of a decoder.
pub type Result<T> = std::result::Result<T, FormatError>;
