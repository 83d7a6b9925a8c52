//! Lists of pathspecs: `--pathspec-from-file`.

use super::PathspecError;

/// Reads a list of pathspecs, one in each line; a line in double quotes is read as git quotes
/// names, with `\n` and `\303`. With `nul`, a NUL ends each and nothing is quoted.
pub fn read_list(bytes: &[u8], nul: bool) -> Result<Vec<Vec<u8>>, PathspecError> {
    let end = if nul { 0 } else { b'\n' };
    let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == end).collect();
    lines.pop_if(|last| last.is_empty());
    if nul {
        return Ok(lines.into_iter().map(<[u8]>::to_vec).collect());
    }
    let unquoted = lines.into_iter().zip(1..).map(|(line, number)| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match line.strip_prefix(b"\"") {
            Some(quoted) => unquote(quoted).ok_or(PathspecError::BadQuotes(number)),
            None => Ok(line.to_vec()),
        }
    });
    unquoted.collect()
}

/// Reads what follows an opening double quote.
fn unquote(quoted: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(quoted.len());
    let mut bytes = quoted.iter().copied();
    loop {
        match bytes.next()? {
            b'"' => return bytes.next().is_none().then_some(text),
            b'\\' => text.push(match bytes.next()? {
                b'a' => 7,
                b'b' => 8,
                b'f' => 12,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'v' => 11,
                byte @ (b'\\' | b'"') => byte,
                first @ b'0'..=b'3' => {
                    let digit = |byte: u8| matches!(byte, b'0'..=b'7').then(|| byte - b'0');
                    let (second, third) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
                    (first - b'0') << 6 | second << 3 | third
                }
                _ => return None,
            }),
            byte => text.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_git_reads_them() {
        let lines = |text: &[u8]| read_list(text, false).unwrap();
        assert_eq!(
            lines(b"a\r\nb c\n\"d\\t\\303\\244\\\"\"\ne"),
            [&b"a"[..], b"b c", b"d\t\xc3\xa4\"", b"e"]
        );
        assert!(lines(b"").is_empty());
        assert_eq!(lines(b"a\n\nb\n"), [&b"a"[..], b"", b"b"]);
        assert_eq!(read_list(b"a\n\0\"b\"\0", true).unwrap(), [&b"a\n"[..], b"\"b\""]);
        for bad in ["\"a", "\"a\"b", "\"\\x\"", "\"\\9\"", "\"\\12\""] {
            let text = format!("ok\n{bad}\n");
            assert_eq!(
                read_list(text.as_bytes(), false),
                Err(PathspecError::BadQuotes(2)),
                "{bad}"
            );
        }
    }
}
