//! Names and messages of git, which may be in any encoding, as the UTF-8 that is stored, and back.

use super::fast_export::Person;
use crate::storage::format::object::Signature;

/// Longest name or address that is stored.
const MAX_FIELD: usize = 4096;

/// UTF-8 as it is; anything else as Latin-1, in which every byte is a character, so that nothing is
/// lost. The second value tells whether that was done.
pub(super) fn decode(bytes: Vec<u8>) -> (String, bool) {
    match String::from_utf8(bytes) {
        Ok(text) => (text, false),
        Err(error) => (error.as_bytes().iter().map(|byte| char::from(*byte)).collect(), true),
    }
}

/// A person as a signature; whether a field was not UTF-8, and whether one was cut.
pub(super) fn signature(person: Person) -> (Signature, bool, bool) {
    let (name, name_recoded) = decode(person.name);
    let (email, email_recoded) = decode(person.email);
    let (name, name_cut) = shortened(name);
    let (email, email_cut) = shortened(email);
    let Person { seconds, offset_minutes, .. } = person;
    let signature = Signature { name, email, seconds, offset_minutes };
    (signature, name_recoded || email_recoded, name_cut || email_cut)
}

/// A signature as git writes it.
pub(super) fn person(who: &Signature) -> String {
    let plain = |text: &str| text.replace(['<', '>', '\n', '\0'], "");
    let mut name = plain(&who.name);
    if !name.is_empty() {
        name.push(' ');
    }
    let (email, seconds) = (plain(&who.email), who.seconds.max(0));
    let sign = if who.offset_minutes < 0 { '-' } else { '+' };
    let offset = who.offset_minutes.unsigned_abs();
    format!("{name}<{email}> {seconds} {sign}{:02}{:02}", offset / 60, offset % 60)
}

fn shortened(mut text: String) -> (String, bool) {
    if text.len() <= MAX_FIELD {
        return (text, false);
    }
    let end = (0..=MAX_FIELD).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.truncate(end);
    (text, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_utf8_is_latin1() {
        assert_eq!(decode("é".as_bytes().to_vec()), ("é".to_owned(), false));
        assert_eq!(decode(b"caf\xe9".to_vec()), ("café".to_owned(), true));
        assert_eq!(shortened("é".repeat(3000)).0.len(), 4096);
    }
}
