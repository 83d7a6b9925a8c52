//! The words of the stream: numbers, people with their times, quoted paths.

use super::Person;

/// The word before the first space, and what is behind it.
pub(super) fn split_word(line: &[u8]) -> (&[u8], &[u8]) {
    match line.iter().position(|byte| *byte == b' ') {
        Some(end) => (&line[..end], &line[end + 1..]),
        None => (line, &[]),
    }
}

pub(super) fn number(digits: &[u8]) -> Option<u64> {
    let is_plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| is_plain)?.parse().ok()
}

/// `Name <address> seconds +hhmm`.
pub(in super::super) fn parse_person(text: &[u8]) -> Option<Person> {
    let open = text.iter().position(|byte| *byte == b'<')?;
    let close = text.iter().rposition(|byte| *byte == b'>').filter(|close| *close > open)?;
    let time = std::str::from_utf8(&text[close + 1..]).ok()?.trim();
    let (seconds, zone) = time.split_once(' ')?;
    let name = text[..open].strip_suffix(b" ").unwrap_or(&text[..open]);
    Some(Person {
        name: name.to_vec(),
        email: text[open + 1..close].to_vec(),
        seconds: seconds.parse().ok()?,
        offset_minutes: parse_zone(zone.trim())?,
        line: text.to_vec(),
    })
}

/// `+hhmm`; what no clock shows is kept as far as it fits.
fn parse_zone(zone: &str) -> Option<i16> {
    let (sign, digits) = zone.split_at_checked(1)?;
    let sign = match sign {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    let digits: i32 =
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse())?.ok()?;
    i16::try_from(sign * (digits / 100 * 60 + digits % 100)).ok()
}

/// Takes a path in double quotes apart, written as in C.
pub(super) fn unquote(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut path = Vec::new();
    let mut at = 1;
    loop {
        match *text.get(at)? {
            b'"' => return Some((path, &text[at + 1..])),
            b'\\' => {
                let (byte, used) = unescape(&text[at + 1..])?;
                path.push(byte);
                at += 1 + used;
            }
            byte => {
                path.push(byte);
                at += 1;
            }
        }
    }
}

/// One escaped byte, and how many bytes it took behind the backslash.
fn unescape(text: &[u8]) -> Option<(u8, usize)> {
    let plain = match *text.first()? {
        b'a' => 7,
        b'b' => 8,
        b't' => b'\t',
        b'n' => b'\n',
        b'v' => 11,
        b'f' => 12,
        b'r' => b'\r',
        byte @ (b'"' | b'\\') => byte,
        b'0'..=b'3' => {
            let digits =
                text.get(..3).filter(|digits| digits.iter().all(|d| (b'0'..=b'7').contains(d)))?;
            return Some((digits.iter().fold(0, |sum, digit| sum << 3 | (digit - b'0')), 3));
        }
        _ => return None,
    };
    Some((plain, 1))
}

/// A path as git-fast-import(1) reads it back.
pub fn quote(path: &[u8]) -> Vec<u8> {
    let is_plain = |byte: &u8| (0x21..0x7f).contains(byte) && !matches!(byte, b'"' | b'\\');
    if !path.is_empty() && path.iter().all(is_plain) {
        return path.to_vec();
    }
    let mut out = vec![b'"'];
    for byte in path {
        if is_plain(byte) || *byte == b' ' {
            out.push(*byte);
        } else {
            out.extend_from_slice(format!("\\{byte:03o}").as_bytes());
        }
    }
    out.push(b'"');
    out
}
