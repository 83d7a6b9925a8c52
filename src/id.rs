//! Identities: every object is named by the BLAKE3-256 hash of its bytes.
//!
//! Each kind of object hashes under a key context of its own (BLAKE3 `derive_key`), so the bytes
//! of a tree can never pass for a chunk. The typed ids convert into [`ObjectId`], the untyped key
//! under which packs and indexes file every object.

use std::fmt;
use std::sync::OnceLock;

use thiserror::Error;

/// Length of every object id in bytes.
pub const ID_LEN: usize = 32;

/// A text that is not a full id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("'{text}' is not an object id (64 hexadecimal digits)")]
pub struct ParseIdError {
    /// The text as given.
    pub text: String,
}

/// Decodes one lower- or upper-case hexadecimal digit.
fn hex_digit(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|digit| digit as u8)
}

/// Decodes exactly 64 hexadecimal digits.
fn parse_hex(text: &str) -> Option<[u8; ID_LEN]> {
    let bytes = text.as_bytes();
    if bytes.len() != ID_LEN * 2 {
        return None;
    }
    let mut id = [0; ID_LEN];
    for (out, pair) in id.iter_mut().zip(bytes.chunks_exact(2)) {
        *out = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
    }
    Some(id)
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// The untyped 32-byte key of any stored object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ObjectId([u8; ID_LEN]);

impl ObjectId {
    /// Wraps raw bytes, for instance a record of an index.
    pub const fn from_bytes(bytes: [u8; ID_LEN]) -> Self {
        Self(bytes)
    }

    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8; ID_LEN] {
        &self.0
    }

    /// The first eight bytes as a big-endian number: order-preserving, and evenly spread because
    /// ids are hashes.
    pub fn leading(&self) -> u64 {
        let mut head = [0; 8];
        head.copy_from_slice(&self.0[..8]);
        u64::from_be_bytes(head)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0[..6], f)
    }
}

/// Mints one typed id with its hashing context.
macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident, $context:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(ObjectId);

        impl $name {
            /// A hasher under this type's key context.
            pub fn hasher() -> blake3::Hasher {
                static KEYED: OnceLock<blake3::Hasher> = OnceLock::new();
                KEYED.get_or_init(|| blake3::Hasher::new_derive_key($context)).clone()
            }

            /// The id of `bytes`.
            pub fn of(bytes: &[u8]) -> Self {
                let mut hasher = Self::hasher();
                hasher.update(bytes);
                Self::from_bytes(*hasher.finalize().as_bytes())
            }

            /// Wraps bytes that were minted as this type before.
            pub const fn from_bytes(bytes: [u8; ID_LEN]) -> Self {
                Self(ObjectId::from_bytes(bytes))
            }

            /// The raw bytes.
            pub const fn as_bytes(&self) -> &[u8; ID_LEN] {
                self.0.as_bytes()
            }

            /// The first ten hexadecimal digits, for people.
            pub fn short(&self) -> String {
                let mut text = self.0.to_string();
                text.truncate(10);
                text
            }
        }

        impl From<$name> for ObjectId {
            fn from(id: $name) -> ObjectId {
                id.0
            }
        }

        impl From<ObjectId> for $name {
            fn from(id: ObjectId) -> Self {
                Self(id)
            }
        }

        impl std::str::FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse_hex(text)
                    .map(Self::from_bytes)
                    .ok_or_else(|| ParseIdError { text: text.to_owned() })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), self.0)
            }
        }
    };
}

typed_id!(
    /// A content-defined piece of a file.
    ChunkId, "digstore 2026 v1 chunk"
);
typed_id!(
    /// One page of the chunk list of a file of several chunks; the root page names the file's content.
    ListId, "digstore 2026 v1 chunk list"
);
typed_id!(
    /// One page of a directory; the root page names the directory.
    TreeId, "digstore 2026 v1 tree"
);
typed_id!(
    /// A commit.
    CommitId, "digstore 2026 v1 commit"
);
typed_id!(
    /// The annotation of a tag.
    TagId, "digstore 2026 v1 tag"
);
typed_id!(
    /// A pack: the hash of its footer.
    PackId, "digstore 2026 v1 pack footer"
);

/// The beginning of an id as a user types it: at least four hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdPrefix {
    low: ObjectId,
    high: ObjectId,
}

impl IdPrefix {
    /// Fewest digits accepted, as in git.
    pub const MIN_DIGITS: usize = 4;

    /// Reads 4 to 64 hexadecimal digits; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        if !(Self::MIN_DIGITS..=ID_LEN * 2).contains(&text.len()) {
            return None;
        }
        let pad = |digit: char| {
            let mut full = text.to_owned();
            full.extend(std::iter::repeat_n(digit, ID_LEN * 2 - text.len()));
            parse_hex(&full).map(ObjectId)
        };
        Some(Self { low: pad('0')?, high: pad('f')? })
    }

    /// The smallest id that begins with this prefix.
    pub fn low(&self) -> &ObjectId {
        &self.low
    }

    /// Whether `id` begins with this prefix.
    pub fn matches(&self, id: &ObjectId) -> bool {
        (self.low..=self.high).contains(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_have_another_id_under_each_type() {
        let bytes = b"the same bytes";
        assert_ne!(ObjectId::from(ChunkId::of(bytes)), ObjectId::from(TreeId::of(bytes)));
        assert_ne!(ObjectId::from(ListId::of(bytes)), ObjectId::from(CommitId::of(bytes)));
    }

    #[test]
    fn hex_round_trips_and_rejects_anything_else() {
        let id = ChunkId::of(b"x");
        assert_eq!(id.to_string().parse::<ChunkId>().unwrap(), id);
        assert!("xyz".parse::<ChunkId>().is_err());
        assert!(id.to_string()[1..].parse::<ChunkId>().is_err());
        assert!(format!("+{}", &id.to_string()[1..]).parse::<ChunkId>().is_err());
    }

    #[test]
    fn a_prefix_matches_its_ids_only() {
        let id = ObjectId::from(ChunkId::of(b"x"));
        let text = id.to_string();
        assert!(IdPrefix::parse(&text[..3]).is_none());
        assert!(IdPrefix::parse(&text[..7]).unwrap().matches(&id));
        assert!(IdPrefix::parse(&text).unwrap().matches(&id));
        let other = if text.starts_with("0000") { "1111" } else { "0000" };
        assert!(!IdPrefix::parse(other).unwrap().matches(&id));
        assert!(IdPrefix::parse("zzzz").is_none());
    }
}
