//! One pattern of an ignore file, and globs of pathspecs, with git's semantics to the byte.
//!
//! The `ignore` crate reads gitignore files as globs of another dialect (`{a,b}` alternates, an
//! unclosed class is literal, `a**/b` is cut differently) and knows no non-UTF-8 pattern; this is
//! git's `wildmatch` instead, on bytes, without its exponential backtracking: only the last `*` of
//! a component and the last `**` are ever retried.

use std::borrow::Cow;

use crate::path::MAX_PATH;

/// A set of bytes.
type ByteSet = [u64; 4];

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// `?`: one byte that is no slash.
    Any,
    /// `[...]`: one byte of the set.
    Class(Box<ByteSet>),
    /// `*`: any bytes that are no slash.
    Star,
    /// `*` where slashes are bytes like others: any bytes.
    Deep,
    /// `**` at the end: everything.
    Rest,
    /// `**/`: any bytes up to and with a slash; with `zero`, also nothing.
    Dirs {
        zero: bool,
    },
}

/// How a pattern is matched, cheapest first.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Matcher {
    /// No name can match: an unclosed class, a trailing backslash, nothing at all.
    Never,
    Literal(Box<[u8]>),
    /// `*` and a literal, against names without a slash.
    Suffix(Box<[u8]>),
    /// A literal beginning, then tokens.
    Tokens(Box<[u8]>, Box<[Token]>),
}

/// One line of an ignore file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    /// The line without its end and trailing spaces, as shown to people.
    pub(super) text: Box<[u8]>,
    /// Counted from 1.
    pub(super) line: usize,
    /// Begins with `!`: takes back.
    pub(super) negated: bool,
    /// Ends with `/`.
    pub(super) dir_only: bool,
    /// Has no slash: compared with the name alone, at any depth.
    pub(super) name_only: bool,
    matcher: Matcher,
}

impl Pattern {
    /// Reads one line without its newline; `None` for a blank line or a comment.
    pub(super) fn parse(line: &[u8], number: usize) -> Option<Self> {
        let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
        if line.is_empty() || line[0] == b'#' {
            return None;
        }
        let text = trim_spaces(line.strip_suffix(b"\r").unwrap_or(line));
        let (negated, body) = text.strip_prefix(b"!").map_or((false, text), |rest| (true, rest));
        let (dir_only, body) = body.strip_suffix(b"/").map_or((false, body), |rest| (true, rest));
        let name_only = !body.contains(&b'/');
        let matcher = Matcher::new(body, name_only);
        Some(Self { text: text.into(), line: number, negated, dir_only, name_only, matcher })
    }

    /// Whether the pattern matches: the name where it is `name_only`, else the path relative to
    /// the directory of the ignore file.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        self.matcher.matches(text)
    }

    /// The one name this pattern matches, where it is a plain name.
    pub(super) fn plain_name(&self) -> Option<&[u8]> {
        match &self.matcher {
            Matcher::Literal(name) if self.name_only => Some(name),
            _ => None,
        }
    }

    /// The last byte of every name this pattern matches, where it is `*` and a literal.
    pub(super) fn last_byte(&self) -> Option<u8> {
        match &self.matcher {
            Matcher::Suffix(suffix) => suffix.last().copied(),
            _ => None,
        }
    }
}

/// How the wildcards of a pattern are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Dialect {
    /// `*`, `?` and classes match no slash, `**` does; otherwise slashes are bytes like others.
    by_component: bool,
    /// Letter case of ASCII does not count: patterns are in lower case, and so must texts be.
    fold: bool,
}

const IGNORE_FILES: Dialect = Dialect { by_component: true, fold: false };

/// A glob over whole paths, as pathspecs have them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob {
    /// The literal beginning.
    plain: Box<[u8]>,
    /// What follows; `None` where nothing can match.
    tokens: Option<Box<[Token]>>,
    fold: bool,
}

impl Glob {
    /// Whether a pattern has wildcards.
    pub(super) fn is_glob(pattern: &[u8]) -> bool {
        pattern.iter().any(|byte| is_special(*byte))
    }

    /// Reads a pattern whose first `fixed` bytes are literal. `by_component`: `*` matches no slash.
    pub(super) fn new(pattern: &[u8], fixed: usize, by_component: bool, fold: bool) -> Self {
        // As in git: what follows is read on its own, so that `**` may stand at its beginning, though
        // not where the fixed bytes have a wildcard themselves.
        let wild = pattern.iter().position(|byte| is_special(*byte));
        let plain = wild.unwrap_or(pattern.len()).max(fixed);
        let tokens = tokenize(&pattern[plain..], Dialect { by_component, fold });
        let mut plain = pattern[..plain].to_vec();
        if fold {
            plain.make_ascii_lowercase();
        }
        Self { plain: plain.into(), tokens: tokens.map(Into::into), fold }
    }

    /// Bytes of the literal beginning.
    pub(super) fn plain_len(&self) -> usize {
        self.plain.len()
    }

    /// Whether a path matches.
    pub(super) fn matches(&self, path: &[u8]) -> bool {
        let Some(tokens) = &self.tokens else { return false };
        let path = self.folded(path);
        path.strip_prefix(&*self.plain).is_some_and(|rest| matches(tokens, rest))
    }

    /// Whether some path below a directory can match.
    pub(super) fn may_match_below(&self, dir: &[u8]) -> bool {
        let Some(tokens) = &self.tokens else { return false };
        let mut dir = self.folded(dir).into_owned();
        dir.push(b'/');
        match dir.strip_prefix(&*self.plain) {
            Some(rest) => run(tokens, rest, true),
            None => self.plain.starts_with(&dir),
        }
    }

    fn folded<'t>(&self, text: &'t [u8]) -> Cow<'t, [u8]> {
        if self.fold { Cow::Owned(text.to_ascii_lowercase()) } else { Cow::Borrowed(text) }
    }
}

/// Whether a name, such as that of a branch, matches a glob; `*` and `?` match no slash, `**` does.
pub fn is_match(glob: &str, name: &str) -> bool {
    Matcher::new(glob.as_bytes(), !name.contains('/')).matches(name.as_bytes())
}

/// Cuts trailing spaces, but not one behind a backslash.
fn trim_spaces(line: &[u8]) -> &[u8] {
    let mut end = 0;
    let mut at = 0;
    while at < line.len() {
        match line[at] {
            b' ' => {}
            b'\\' if at + 1 == line.len() => return line,
            b'\\' => {
                at += 1;
                end = at + 1;
            }
            _ => end = at + 1,
        }
        at += 1;
    }
    &line[..end]
}

fn is_special(byte: u8) -> bool {
    matches!(byte, b'*' | b'?' | b'[' | b'\\')
}

impl Matcher {
    fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Never => false,
            Self::Literal(literal) => **literal == *text,
            Self::Suffix(suffix) => text.ends_with(suffix),
            Self::Tokens(prefix, tokens) if prefix.is_empty() => matches(tokens, text),
            Self::Tokens(prefix, tokens) => {
                prefix.first() == text.first()
                    && text.strip_prefix(&**prefix).is_some_and(|rest| matches(tokens, rest))
            }
        }
    }

    fn new(body: &[u8], name_only: bool) -> Self {
        let body = body.strip_prefix(b"/").unwrap_or(body);
        let plain = body.iter().position(|byte| is_special(*byte)).unwrap_or(body.len());
        if body.is_empty() {
            return Self::Never;
        }
        if plain == body.len() {
            return Self::Literal(body.into());
        }
        if name_only && body[0] == b'*' && !body[1..].iter().any(|byte| is_special(*byte)) {
            return Self::Suffix(body[1..].into());
        }
        // git matches the plain beginning first, so that `**` right behind it counts as being at
        // the beginning of a component: `a**/b` matches `ax/y/b`.
        match tokenize(&body[plain..], IGNORE_FILES) {
            Some(tokens) if tokens.len() <= 2 * MAX_PATH + 2 => {
                Self::Tokens(body[..plain].into(), tokens.into())
            }
            _ => Self::Never,
        }
    }
}

/// `None` where no text can match.
fn tokenize(pattern: &[u8], dialect: Dialect) -> Option<Vec<Token>> {
    let folded = |byte: u8| if dialect.fold { byte.to_ascii_lowercase() } else { byte };
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < pattern.len() {
        match pattern[at] {
            b'?' if !dialect.by_component => tokens.push(Token::Class(Box::new([u64::MAX; 4]))),
            b'?' => tokens.push(Token::Any),
            b'[' => {
                let (class, end) = parse_class(pattern, at + 1, dialect)?;
                tokens.push(Token::Class(Box::new(class)));
                at = end;
            }
            b'\\' => {
                at += 1;
                tokens.push(Token::Byte(folded(*pattern.get(at)?)));
            }
            b'*' if !dialect.by_component => {
                if tokens.last() != Some(&Token::Deep) {
                    tokens.push(Token::Deep);
                }
            }
            b'*' => {
                at = push_stars(&mut tokens, pattern, at);
                continue;
            }
            byte => tokens.push(Token::Byte(folded(byte))),
        }
        at += 1;
    }
    Some(tokens)
}

/// Reads a run of stars from `start`; answers where reading goes on.
fn push_stars(tokens: &mut Vec<Token>, pattern: &[u8], start: usize) -> usize {
    let run = pattern[start..].iter().take_while(|byte| **byte == b'*').count();
    let end = start + run;
    let opens = start == 0 || pattern[start - 1] == b'/';
    if run < 2 || !opens {
        tokens.push(Token::Star);
        return end;
    }
    match pattern[end..] {
        [] => tokens.push(Token::Rest),
        [b'/', ..] => {
            tokens.push(Token::Dirs { zero: true });
            return end + 1;
        }
        [b'\\', b'/', ..] => {
            tokens.push(Token::Dirs { zero: false });
            return end + 2;
        }
        _ => tokens.push(Token::Star),
    }
    end
}

fn insert(set: &mut ByteSet, byte: u8) {
    set[usize::from(byte >> 6)] |= 1 << (byte & 63);
}

fn contains(set: &ByteSet, byte: u8) -> bool {
    set[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1
}

/// Reads a class from behind its `[`; answers the set and the place of the closing `]`.
fn parse_class(pattern: &[u8], mut at: usize, dialect: Dialect) -> Option<(ByteSet, usize)> {
    let mut set = [0; 4];
    let negated = matches!(pattern.get(at)?, b'!' | b'^');
    at += usize::from(negated);
    // The first byte is a member even when it is `]`.
    let mut previous = None;
    loop {
        previous = match *pattern.get(at)? {
            b'\\' => {
                at += 1;
                let byte = *pattern.get(at)?;
                insert(&mut set, byte);
                Some(byte)
            }
            b'-' if previous.is_some() && pattern.get(at + 1).is_some_and(|next| *next != b']') => {
                at += 1;
                if pattern[at] == b'\\' {
                    at += 1;
                }
                let high = *pattern.get(at)?;
                (previous?..=high).for_each(|byte| insert(&mut set, byte));
                None
            }
            b'[' if pattern.get(at + 1) == Some(&b':') => named_class(&mut set, pattern, &mut at)?,
            byte => {
                insert(&mut set, byte);
                Some(byte)
            }
        };
        at += 1;
        if *pattern.get(at)? == b']' {
            break;
        }
    }
    if dialect.fold {
        let upper: Vec<u8> = (b'A'..=b'Z').filter(|byte| contains(&set, *byte)).collect();
        upper.into_iter().for_each(|byte| insert(&mut set, byte.to_ascii_lowercase()));
    }
    if negated {
        set = set.map(|word| !word);
    }
    if dialect.by_component {
        set[usize::from(b'/' >> 6)] &= !(1 << (b'/' & 63));
    }
    Some((set, at))
}

/// Reads `[:name:]` at `at` and leaves `at` on its last byte. Without the closing `:]` the `[` is
/// a member like any other, and is answered as such.
#[expect(clippy::option_option, reason = "outer: malformed class; inner: may a range begin here")]
fn named_class(set: &mut ByteSet, pattern: &[u8], at: &mut usize) -> Option<Option<u8>> {
    let start = *at + 2;
    let end = start + pattern.get(start..)?.iter().position(|byte| *byte == b']')?;
    let Some(name) = pattern[start..end].strip_suffix(b":") else {
        insert(set, b'[');
        return Some(Some(b'['));
    };
    let holds: fn(&u8) -> bool = match name {
        b"alnum" => u8::is_ascii_alphanumeric,
        b"alpha" => u8::is_ascii_alphabetic,
        b"blank" => |byte| matches!(byte, b' ' | b'\t'),
        b"cntrl" => u8::is_ascii_control,
        b"digit" => u8::is_ascii_digit,
        b"graph" => u8::is_ascii_graphic,
        b"lower" => u8::is_ascii_lowercase,
        b"print" => |byte| matches!(byte, 0x20..=0x7e),
        b"punct" => u8::is_ascii_punctuation,
        b"space" => |byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'),
        b"upper" => u8::is_ascii_uppercase,
        b"xdigit" => u8::is_ascii_hexdigit,
        _ => return None,
    };
    (0..=0x7f).filter(holds).for_each(|byte| insert(set, byte));
    *at = end;
    Some(None)
}

fn matches(tokens: &[Token], text: &[u8]) -> bool {
    run(tokens, text, false)
}

/// Whether the tokens match the text; with `is_prefix`, whether they match any text that goes on
/// behind it.
fn run(tokens: &[Token], text: &[u8], is_prefix: bool) -> bool {
    let (mut token, mut at) = (0, 0);
    // Where to go on when a `*` that matches slashes takes one byte more.
    let mut deep: Option<(usize, usize)> = None;
    // Where to go on when the last `*` takes one byte more, and the last `**/` one slash more.
    let mut star: Option<(usize, usize)> = None;
    let mut dirs: Option<(usize, usize)> = None;
    loop {
        let matched = match tokens.get(token) {
            Some(_) if is_prefix && at == text.len() => return true,
            None if at == text.len() => return true,
            Some(Token::Rest) => return true,
            Some(Token::Deep) => {
                deep = Some((token + 1, at));
                token += 1;
                continue;
            }
            Some(Token::Star) => {
                star = Some((token + 1, at));
                token += 1;
                continue;
            }
            Some(Token::Dirs { zero }) => {
                (star, dirs) = (None, Some((token + 1, at)));
                token += 1;
                if *zero {
                    continue;
                }
                false
            }
            Some(one) => text.get(at).is_some_and(|byte| matches_byte(one, *byte)),
            None => false,
        };
        if matched {
            (token, at) = (token + 1, at + 1);
        } else if let Some((next, from)) =
            star.filter(|(_, from)| text.get(*from).is_some_and(|byte| *byte != b'/'))
        {
            star = Some((next, from + 1));
            (token, at) = (next, from + 1);
        } else if let Some((next, from)) = dirs.and_then(|(next, from)| {
            let slash = text[from..].iter().position(|byte| *byte == b'/')?;
            Some((next, from + slash + 1))
        }) {
            (star, dirs) = (None, Some((next, from)));
            (token, at) = (next, from);
        } else if let Some((next, from)) = deep.filter(|(_, from)| *from < text.len()) {
            deep = Some((next, from + 1));
            (token, at) = (next, from + 1);
        } else {
            return false;
        }
    }
}

fn matches_byte(token: &Token, byte: u8) -> bool {
    match token {
        Token::Byte(expected) => *expected == byte,
        Token::Any => byte != b'/',
        Token::Class(set) => contains(set, byte),
        Token::Star | Token::Deep | Token::Rest | Token::Dirs { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(pattern: &str, text: &str) -> bool {
        Pattern::parse(pattern.as_bytes(), 1).unwrap().matches(text.as_bytes())
    }

    #[test]
    fn patterns_match_as_in_git() {
        for (pattern, text) in [
            ("a/**/b", "a/b"),
            ("a/**/b", "a/x/y/b"),
            ("**/b", "b"),
            ("a/**", "a/x/y"),
            ("/a*c", "abbc"),
            ("[]a]x", "]x"),
            ("[[:digit:]x]", "7"),
            ("a\\ ", "a "),
            ("{a,b}", "{a,b}"),
            ("a**/b", "ax/y/b"),
            ("*.o", ".o"),
        ] {
            assert!(hit(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("a/*", "a/x/y"),
            ("[ab", "[ab"),
            ("[!a]", "a"),
            ("x/[^a]y", "x//y"),
            ("{a,b}", "a"),
            ("a/**", "a"),
            ("a\\", "a"),
            ("", "x"),
        ] {
            assert!(
                Pattern::parse(pattern.as_bytes(), 1).is_none_or(|p| !p.matches(text.as_bytes()))
            );
        }
    }

    #[test]
    fn a_pathological_pattern_takes_no_exponential_time() {
        let pattern = "*a".repeat(60) + "b";
        assert!(!hit(&pattern, &"a".repeat(255)));
        let pattern = "**/a/".repeat(200) + "b";
        assert!(!hit(&pattern, &"a/".repeat(1023)));
    }
}
