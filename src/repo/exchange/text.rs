//! Names and messages of git, which may be in any encoding, as the UTF-8 that is stored, and back.

use super::fast_export::Person;
use crate::storage::format::object::{MAX_MESSAGE, MAX_SIGNATURE_FIELD, Signature};

/// UTF-8 as it is; anything else as Latin-1, in which every byte is a character, so that nothing is
/// lost. The second value tells whether that was done.
fn decode(bytes: Vec<u8>) -> (String, bool) {
    match String::from_utf8(bytes) {
        Ok(text) => (text, false),
        Err(error) => (error.as_bytes().iter().map(|byte| char::from(*byte)).collect(), true),
    }
}

/// What became of names, dates and messages when they were read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Altered {
    /// Something was not UTF-8.
    pub(super) is_recoded: bool,
    /// A field was too long.
    pub(super) is_cut: bool,
    /// Written for git, a person would not be the same: zones like `-0000`, brackets in names.
    pub(super) is_other: bool,
}

impl Altered {
    /// A message as it is stored.
    pub(super) fn message(&mut self, bytes: Vec<u8>) -> String {
        let (message, is_recoded) = decode(bytes);
        // As UTF-8 it may have become twice as long.
        let (message, is_cut) = shortened(message, MAX_MESSAGE);
        self.is_recoded |= is_recoded;
        self.is_cut |= is_cut;
        message
    }

    /// A person as a signature.
    pub(super) fn signature(&mut self, from: Person) -> Signature {
        let (name, name_recoded) = decode(from.name);
        let (email, email_recoded) = decode(from.email);
        let (name, name_cut) = shortened(name, MAX_SIGNATURE_FIELD);
        let (email, email_cut) = shortened(email, MAX_SIGNATURE_FIELD);
        let Person { seconds, offset_minutes, line, .. } = from;
        let signature = Signature { name, email, seconds, offset_minutes };
        let (is_recoded, is_cut) = (name_recoded || email_recoded, name_cut || email_cut);
        self.is_recoded |= is_recoded;
        self.is_cut |= is_cut;
        self.is_other |= !is_recoded && !is_cut && person(&signature).as_bytes() != line;
        signature
    }
}

/// A name or an address without what git cannot hold in one.
pub(super) fn plain(field: &str) -> String {
    field.replace(['<', '>', '\n', '\0'], "")
}

/// A signature as git writes it: a space stands before the address, whether there is a name or not.
pub(super) fn person(who: &Signature) -> String {
    let (name, email, seconds) = (plain(&who.name), plain(&who.email), who.seconds.max(0));
    let sign = if who.offset_minutes < 0 { '-' } else { '+' };
    let offset = who.offset_minutes.unsigned_abs();
    format!("{name} <{email}> {seconds} {sign}{:02}{:02}", offset / 60, offset % 60)
}

fn shortened(mut text: String, limit: usize) -> (String, bool) {
    let is_cut = text.len() > limit;
    text.truncate(text.floor_char_boundary(limit));
    (text, is_cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_utf8_is_latin1() {
        assert_eq!(decode("é".as_bytes().to_vec()), ("é".to_owned(), false));
        assert_eq!(decode(b"caf\xe9".to_vec()), ("café".to_owned(), true));
        assert_eq!(shortened("é".repeat(3000), 4095).0.len(), 4094);
    }

    #[test]
    fn what_git_would_not_get_back_is_told() {
        let is_other = |line: &str| {
            let mut altered = Altered::default();
            altered.signature(super::super::fast_export::parse_person(line.as_bytes()).unwrap());
            altered.is_other
        };
        for same in ["A B <a@b> 5 +0000", " <a@b> 0 -0530", "A <> 5 +1400", "é <é> 5 -0030"] {
            assert!(!is_other(same), "{same}");
        }
        for other in [
            "A <a@b> 5 -0000",
            "A <a@b> 5 +0175",
            "A <<a@b>> 5 +0000",
            "<a@b> 5 +0000",
            "A > <a@b> 5 +0000",
            "A  <a@b> -5 +0000",
            "A <a@b> 05 +0000",
        ] {
            assert!(is_other(other), "{other}");
        }
    }
}
