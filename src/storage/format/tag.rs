//! The annotation of a tag: who named a commit, when and why. It is an object beside the commits;
//! the ref of the tag names both.

use super::bytes::{Reader, push_string};
use super::object::{MAX_MESSAGE, Signature};
use super::refs::{MAX_REF_NAME, check_ref_name};
use super::{FormatError, Result};
use crate::id::CommitId;

const WHAT: &str = "the annotation of a tag";
const MAGIC: &[u8] = b"A\0";

/// What an annotated tag says besides the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// The name that it was made for, without `tags/`.
    pub name: String,
    /// The commit that it is about.
    pub target: CommitId,
    /// Who made it, and when.
    pub tagger: Signature,
    /// Why.
    pub message: String,
}

impl Tag {
    /// Bytes of the annotation; their hash is its id.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(self.target.as_bytes());
        push_string(&mut out, self.name.as_bytes());
        self.tagger.encode(&mut out);
        push_string(&mut out, self.message.as_bytes());
        out
    }

    /// The same of an annotation that is to be stored: an error is what [`Self::decode`] would not
    /// take.
    pub fn encode_checked(&self) -> Result<Vec<u8>> {
        let bytes = self.encode();
        Self::decode(&bytes).map(|_| bytes)
    }

    /// Reads an annotation.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(WHAT, bytes);
        reader.magic(MAGIC)?;
        let target = reader.id()?.into();
        let text = |bytes: &[u8], what: &str| {
            String::from_utf8(bytes.to_vec())
                .map_err(|_| FormatError::invalid(WHAT, format!("the {what} is not UTF-8")))
        };
        let name = text(reader.string(MAX_REF_NAME)?, "name")?;
        check_ref_name(&name)?;
        let tagger = Signature::decode(&mut reader)?;
        let message = text(reader.string(MAX_MESSAGE)?, "message")?;
        reader.finish()?;
        Ok(Self { name, target, tagger, message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tag(name: String, message: String) -> Tag {
        let tagger =
            Signature { name: "A".into(), email: "a@b".into(), seconds: -5, offset_minutes: 60 };
        Tag { name, target: CommitId::of(b"c"), tagger, message }
    }

    proptest! {
        #[test]
        fn annotations_round_trip(name in "[a-z]{1,9}(/[a-z0-9]{1,9})?", message in "(?s).{0,200}") {
            let tag = tag(name, message);
            let bytes = tag.encode();
            prop_assert_eq!(Tag::decode(&bytes).unwrap(), tag);
            for cut in 0..bytes.len() {
                prop_assert!(Tag::decode(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn any_bytes_give_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = Tag::decode(&[MAGIC, &bytes].concat());
        }
    }

    #[test]
    fn a_name_that_no_tag_may_have_is_refused() {
        assert!(Tag::decode(&tag("../x".into(), "m".into()).encode()).is_err());
        assert!(Tag::decode(&tag("v1".into(), "x".repeat(MAX_MESSAGE + 1)).encode()).is_err());
    }
}
