//! Refs and `HEAD`: small checksummed records, each replaced as a whole.

use super::bytes::{Reader, push_checksum, push_string, split_checksum};
use super::{FormatError, Result};
use crate::id::{CommitId, TagId};

/// Longest name of a ref, in bytes, without `refs/heads/`.
pub const MAX_REF_NAME: usize = 255;
/// Longest name of a ref with its namespace, in bytes.
pub const MAX_FULL_NAME: usize = 2 * MAX_REF_NAME + 1;

const REF_MAGIC: &[u8; 8] = b"DIGREF02";
const HEAD_MAGIC: &[u8; 8] = b"DIGHEAD1";
const REF_WHAT: &str = "a ref";
const HEAD_WHAT: &str = "HEAD";

/// Where a ref points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefValue {
    /// The commit.
    pub commit: CommitId,
    /// What an annotated tag says besides.
    pub annotation: Option<TagId>,
}

impl From<CommitId> for RefValue {
    fn from(commit: CommitId) -> Self {
        Self { commit, annotation: None }
    }
}

const NO_VALUE: u8 = 0;
const COMMIT: u8 = 1;
const ANNOTATED: u8 = 2;

/// Appends the value of a ref, or that there is none.
pub(super) fn push_value(out: &mut Vec<u8>, value: Option<&RefValue>) {
    match value {
        None => out.push(NO_VALUE),
        Some(RefValue { commit, annotation }) => {
            out.push(if annotation.is_some() { ANNOTATED } else { COMMIT });
            out.extend_from_slice(commit.as_bytes());
            if let Some(annotation) = annotation {
                out.extend_from_slice(annotation.as_bytes());
            }
        }
    }
}

/// Reads the value of a ref, or that there is none.
pub(super) fn read_value(reader: &mut Reader<'_>) -> Result<Option<RefValue>> {
    let tag = reader.u8()?;
    if tag == NO_VALUE {
        return Ok(None);
    }
    if tag > ANNOTATED {
        return Err(reader.invalid(format!("unknown kind of value {tag}")));
    }
    let commit = reader.id()?.into();
    let annotation = (tag == ANNOTATED).then(|| reader.id()).transpose()?.map(TagId::from);
    Ok(Some(RefValue { commit, annotation }))
}

/// One ref as stored: where it points, and where it pointed before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefRecord {
    /// Number of this update, counted from 1.
    pub seq: u64,
    /// Where it pointed before this update.
    pub old: Option<RefValue>,
    /// Where it points now.
    pub new: RefValue,
    /// Random, so that a writer knows its own update from a rival's.
    pub nonce: [u8; 16],
}

impl RefRecord {
    /// Bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = REF_MAGIC.to_vec();
        out.extend_from_slice(&self.seq.to_le_bytes());
        push_value(&mut out, self.old.as_ref());
        push_value(&mut out, Some(&self.new));
        out.extend_from_slice(&self.nonce);
        push_checksum(&mut out, 0);
        out
    }

    /// Reads the file.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(REF_WHAT, split_checksum(REF_WHAT, bytes)?);
        reader.magic(REF_MAGIC)?;
        let seq = reader.u64()?;
        let old = read_value(&mut reader)?;
        let new = read_value(&mut reader)?.ok_or_else(|| reader.invalid("it leads nowhere"))?;
        let nonce = reader.array()?;
        reader.finish()?;
        Ok(Self { seq, old, new, nonce })
    }
}

/// What `HEAD` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// A branch, which need not exist yet.
    Branch(String),
    /// A commit, on no branch.
    Detached(CommitId),
}

impl Head {
    /// Bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = HEAD_MAGIC.to_vec();
        self.push(&mut out);
        push_checksum(&mut out, 0);
        out
    }

    /// Reads the file.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(HEAD_WHAT, split_checksum(HEAD_WHAT, bytes)?);
        reader.magic(HEAD_MAGIC)?;
        let head = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(head)
    }

    /// Appends what is named, for the file and for records of operations.
    pub(super) fn push(&self, out: &mut Vec<u8>) {
        match self {
            Self::Branch(name) => {
                out.push(0);
                push_string(out, name.as_bytes());
            }
            Self::Detached(commit) => {
                out.push(1);
                out.extend_from_slice(commit.as_bytes());
            }
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        match reader.u8()? {
            0 => {
                let name = String::from_utf8_lossy(reader.string(MAX_REF_NAME)?).into_owned();
                check_ref_name(&name)?;
                Ok(Self::Branch(name))
            }
            1 => Ok(Self::Detached(reader.id()?.into())),
            other => Err(reader.invalid(format!("unknown kind {other}"))),
        }
    }
}

/// Checks namespace and name of a ref (`heads/main`), each by itself: a branch may have a name of
/// full length.
pub fn check_full_name(name: &str) -> Result<()> {
    let (namespace, short) = name.split_once('/').unwrap_or((name, ""));
    check_ref_name(namespace).and_then(|()| check_ref_name(short))
}

/// Checks a branch or tag name by git's rules (`git check-ref-format --branch`).
pub fn check_ref_name(name: &str) -> Result<()> {
    let why = |text: &str| {
        Err(FormatError::invalid(
            REF_WHAT,
            format!("'{}': {text}", crate::path::escape(name.as_bytes())),
        ))
    };
    if name.is_empty() || name.len() > MAX_REF_NAME {
        return why("a name has 1 to 255 bytes");
    }
    if name == "@" || name.eq_ignore_ascii_case("HEAD") {
        return why("the name is reserved");
    }
    if name.contains("..") || name.contains("@{") {
        return why("'..' and '@{' are not allowed");
    }
    let forbidden = |ch: char| ch.is_control() || " ~^:?*[\\\u{fffd}".contains(ch);
    if name.chars().any(forbidden) {
        return why("spaces, control characters and ~^:?*[\\ are not allowed");
    }
    let bad_part = |part: &str| {
        part.is_empty()
            || part.starts_with(['.', '-'])
            || part.ends_with('.')
            || part.to_ascii_lowercase().ends_with(".lock")
    };
    if name.split('/').any(bad_part) {
        return why("a component is empty, begins with '.' or '-', or ends with '.' or '.lock'");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn records() -> [RefRecord; 3] {
        let plain = RefValue::from(CommitId::of(b"new"));
        let annotated = RefValue { annotation: Some(TagId::of(b"why")), ..plain };
        let record = |old, new| RefRecord { seq: 3, old, new, nonce: [9; 16] };
        [record(None, plain), record(Some(plain), annotated), record(Some(annotated), plain)]
    }

    #[test]
    fn records_round_trip_and_find_every_flip_and_every_cut() {
        let heads = [Head::Branch("main".into()), Head::Detached(CommitId::of(b"c"))];
        for head in heads {
            assert_eq!(Head::decode(&head.encode()).unwrap(), head);
        }
        for record in records() {
            let bytes = record.encode();
            assert_eq!(RefRecord::decode(&bytes).unwrap(), record);
            for at in 0..bytes.len() {
                assert!(RefRecord::decode(&bytes[..at]).is_err());
                let mut flipped = bytes.clone();
                flipped[at] ^= 0x80;
                assert!(RefRecord::decode(&flipped).is_err());
            }
        }
    }

    #[test]
    fn names_follow_git() {
        for name in ["main", "feature/x", "v1.0", "a-b", "größe"] {
            assert!(check_ref_name(name).is_ok(), "{name}");
        }
        for name in [
            "", "@", "HEAD", "../../x", "-x", "x.lock", "a/x.lock", "a b", "a\x1b", "a//b", "/a",
            "a/", ".a", "a..b", "a@{1}", "a^", "a:b", "a.",
        ] {
            assert!(check_ref_name(name).is_err(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..160)) {
            prop_assert!(RefRecord::decode(&bytes).is_err());
            prop_assert!(Head::decode(&bytes).is_err());
        }
    }
}
