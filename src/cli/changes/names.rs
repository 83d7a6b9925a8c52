//! Changes by name.

use super::Printer;
use crate::repo::Result;
use crate::repo::diff::FileChange;

/// A path for output that programs read as git's: quoted as in C where it holds what would end or
/// garble it.
pub(crate) fn quoted(path: &[u8]) -> String {
    let is_plain = |text: &str| {
        !text.chars().any(|ch| {
            ch.is_control()
                || matches!(ch, '"' | '\\' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
        })
    };
    if let Ok(text) = std::str::from_utf8(path)
        && is_plain(text)
    {
        return text.to_owned();
    }
    let mut shown = String::from("\"");
    for byte in path {
        match byte {
            b'"' => shown.push_str("\\\""),
            b'\\' => shown.push_str("\\\\"),
            b'\n' => shown.push_str("\\n"),
            b'\t' => shown.push_str("\\t"),
            b'\r' => shown.push_str("\\r"),
            0x20..0x7f => shown.push(char::from(*byte)),
            _ => shown.push_str(&format!("\\{byte:03o}")),
        }
    }
    shown.push('"');
    shown
}

/// Both paths of a moved file, else the one.
pub(super) fn paths(change: &FileChange) -> Vec<&[u8]> {
    let items = [&change.old, &change.new];
    let mut paths: Vec<&[u8]> =
        items.into_iter().flatten().map(|item| item.path.as_bytes()).collect();
    paths.dedup();
    paths
}

pub(super) fn show(printer: &Printer<'_>, change: &FileChange, with_status: bool) -> Result<()> {
    let mut paths = paths(change);
    let mut letter = change.status().letter().to_string();
    if let Some(similarity) = change.similarity {
        letter.push_str(&format!("{similarity:03}"));
    }
    if !with_status {
        paths.drain(..paths.len() - 1);
    }
    if printer.args.zero {
        let mut record = Vec::new();
        let letter = with_status.then_some(letter.as_bytes());
        for part in letter.into_iter().chain(paths) {
            record.extend_from_slice(part);
            record.push(0);
        }
        return printer.write(&record);
    }
    let letter = with_status.then_some(letter);
    let parts: Vec<String> = letter.into_iter().chain(paths.into_iter().map(quoted)).collect();
    printer.line(parts.join("\t"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_garbles_is_quoted() {
        assert_eq!(quoted("a b/ö".as_bytes()), "a b/ö");
        assert_eq!(quoted(b"a\nb\"\\\x01"), "\"a\\nb\\\"\\\\\\001\"");
        assert_eq!(quoted(b"\xff"), "\"\\377\"");
        assert_eq!(quoted("x\u{202e}".as_bytes()), "\"x\\342\\200\\256\"");
    }
}
