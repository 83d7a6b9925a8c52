//! What stands in front of a pathspec: `:/`, `:!`, `:(icase,top)`.

use super::PathspecError;

/// The magic of one pathspec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Magic {
    pub(super) top: bool,
    pub(super) exclude: bool,
    pub(super) icase: bool,
    pub(super) literal: bool,
    pub(super) glob: bool,
}

const WORDS: [&str; 5] = ["top", "exclude", "icase", "literal", "glob"];

impl Magic {
    /// Splits a pathspec into its magic and the rest.
    pub(super) fn split(text: &[u8]) -> Result<(Self, &[u8]), PathspecError> {
        let (magic, rest) = match text {
            [b':', b'(', words @ ..] => Self::long(text, words)?,
            [b':', signs @ ..] => Self::short(text, signs)?,
            _ => (Self::default(), text),
        };
        if magic.literal && magic.glob {
            return Err(PathspecError::LiteralGlob(text.to_vec()));
        }
        Ok((magic, rest))
    }

    /// A pathspec with this magic, as it is typed in the root of the work tree.
    pub(super) fn typed(self, path: &[u8], is_dir: bool) -> Vec<u8> {
        let words = [
            ("exclude", self.exclude),
            ("icase", self.icase),
            ("literal", self.literal),
            ("glob", self.glob),
        ];
        let words: Vec<&str> =
            words.into_iter().filter(|(_, is_meant)| *is_meant).map(|(word, _)| word).collect();
        let mut typed = match (words.is_empty(), path.first()) {
            (false, _) => format!(":({})", words.join(",")).into_bytes(),
            (true, Some(b':')) => b"./".to_vec(),
            (true, _) => Vec::new(),
        };
        typed.extend_from_slice(if path.is_empty() { b"." } else { path });
        if is_dir {
            typed.push(b'/');
        }
        typed
    }

    fn long<'t>(text: &[u8], words: &'t [u8]) -> Result<(Self, &'t [u8]), PathspecError> {
        let end = words.iter().position(|byte| *byte == b')');
        let end = end.ok_or_else(|| PathspecError::Unclosed(text.to_vec()))?;
        let mut magic = Self::default();
        for word in words[..end].split(|byte| *byte == b',').filter(|word| !word.is_empty()) {
            match word {
                b"top" => magic.top = true,
                b"exclude" => magic.exclude = true,
                b"icase" => magic.icase = true,
                b"literal" => magic.literal = true,
                b"glob" => magic.glob = true,
                _ => return Err(unknown(text, word)),
            }
        }
        Ok((magic, &words[end + 1..]))
    }

    fn short<'t>(text: &[u8], signs: &'t [u8]) -> Result<(Self, &'t [u8]), PathspecError> {
        let mut magic = Self::default();
        for (at, sign) in signs.iter().enumerate() {
            match sign {
                b'/' => magic.top = true,
                b'!' | b'^' => magic.exclude = true,
                b':' => return Ok((magic, &signs[at + 1..])),
                // What git keeps for later signs; a name that begins so is written `./name`.
                b'"' | b'#' | b'%' | b'&' | b'\'' | b',' | b'-' | b';' | b'<' | b'=' | b'>'
                | b'@' | b'_' | b'`' | b'~' => return Err(unknown(text, &[*sign])),
                _ => return Ok((magic, &signs[at..])),
            }
        }
        Ok((magic, &[]))
    }
}

fn unknown(text: &[u8], magic: &[u8]) -> PathspecError {
    let nearest = crate::suggest::did_you_mean(&String::from_utf8_lossy(magic), WORDS);
    PathspecError::UnknownMagic { pathspec: text.to_vec(), magic: magic.to_vec(), nearest }
}
