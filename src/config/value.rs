//! Types that a setting can have: how each is read from text, shown, and described.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use toml::Value;

use super::size::ByteSize;

/// A type of setting. `Bounds` says which values are allowed.
pub(super) trait Setting: Sized {
    /// What limits the values.
    type Bounds;
    /// Whether a configuration file writes it as a string.
    const QUOTED: bool;

    /// Reads an allowed value.
    fn parse(text: &str, bounds: &Self::Bounds) -> Option<Self>;
    /// The text that reads back as this value.
    fn show(&self) -> String;
    /// The allowed values, in words that follow "expects".
    fn expects(bounds: &Self::Bounds) -> String;
    /// Whether a configuration file may write it so.
    fn fits(value: &Value) -> bool {
        value.is_str()
    }
}

impl Setting for bool {
    type Bounds = ();
    const QUOTED: bool = false;

    fn parse(text: &str, (): &()) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(true),
            "false" | "no" | "off" | "0" => Some(false),
            _ => None,
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn expects((): &()) -> String {
        "true or false".to_owned()
    }

    fn fits(value: &Value) -> bool {
        value.is_bool()
    }
}

impl Setting for usize {
    type Bounds = RangeInclusive<Self>;
    const QUOTED: bool = false;

    fn parse(text: &str, bounds: &Self::Bounds) -> Option<Self> {
        text.parse().ok().filter(|value| bounds.contains(value))
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn expects(bounds: &Self::Bounds) -> String {
        format!("a whole number from {} to {}", bounds.start(), bounds.end())
    }

    fn fits(value: &Value) -> bool {
        value.is_integer()
    }
}

impl Setting for ByteSize {
    type Bounds = RangeInclusive<Self>;
    const QUOTED: bool = true;

    fn parse(text: &str, bounds: &Self::Bounds) -> Option<Self> {
        text.parse().ok().filter(|value| bounds.contains(value))
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn expects(bounds: &Self::Bounds) -> String {
        format!("a size such as 64KB, from {} to {}", bounds.start(), bounds.end())
    }

    fn fits(value: &Value) -> bool {
        value.is_str() || value.is_integer()
    }
}

/// One line of a signature; unset when empty.
impl Setting for Option<String> {
    type Bounds = ();
    const QUOTED: bool = true;

    fn parse(text: &str, (): &()) -> Option<Self> {
        let text = text.trim();
        let plain = !text.chars().any(|ch| ch.is_control() || matches!(ch, '<' | '>'));
        plain.then(|| (!text.is_empty()).then(|| text.to_owned()))
    }

    fn show(&self) -> String {
        self.clone().unwrap_or_default()
    }

    fn expects((): &()) -> String {
        "one line of text without '<' and '>'".to_owned()
    }
}

/// What a shell runs, of any number of lines; unset when empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Script(Option<String>);

impl Script {
    /// The text, if it is set.
    pub fn text(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl Setting for Script {
    type Bounds = ();
    const QUOTED: bool = true;

    fn parse(text: &str, (): &()) -> Option<Self> {
        let text = text.trim();
        (!text.contains('\0')).then(|| Self((!text.is_empty()).then(|| text.to_owned())))
    }

    fn show(&self) -> String {
        self.0.clone().unwrap_or_default()
    }

    fn expects((): &()) -> String {
        "a command of the shell".to_owned()
    }
}

/// A path that does not depend on where a command runs; unset when empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HomePath(Option<String>);

impl HomePath {
    /// The path, if it is set; what begins with `~/` lies below `home`.
    pub fn resolve(&self, home: Option<&Path>) -> Option<PathBuf> {
        let text = self.0.as_deref()?;
        match text.strip_prefix("~/") {
            Some(below) => home.map(|home| home.join(below)),
            None => Some(PathBuf::from(text)),
        }
    }
}

impl Setting for HomePath {
    type Bounds = ();
    const QUOTED: bool = true;

    fn parse(text: &str, (): &()) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() {
            return Some(Self(None));
        }
        let is_fixed = text.starts_with('/') || text.starts_with("~/");
        (is_fixed && !text.contains('\0')).then(|| Self(Some(text.to_owned())))
    }

    fn show(&self) -> String {
        self.0.clone().unwrap_or_default()
    }

    fn expects((): &()) -> String {
        "a path that begins with '/' or '~/'".to_owned()
    }
}

/// Directories that do not depend on where a command runs, `*` for all; none when empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DirList(Vec<String>);

impl DirList {
    /// Whether a directory, whose links are resolved, is one of them. `DIR/*` names all below `DIR`;
    /// what begins with `~/` lies below `home`.
    pub fn names(&self, dir: &Path, home: Option<&Path>) -> bool {
        self.0.iter().any(|text| {
            let (text, below) = match text.strip_suffix("/*") {
                Some(above) => (above, true),
                None => (text.as_str(), false),
            };
            let path = match (text.strip_prefix("~/"), home) {
                (Some(inner), Some(home)) => home.join(inner),
                _ => PathBuf::from(text),
            };
            let path = path.canonicalize().unwrap_or(path);
            text == "*" || path == dir || below && dir.starts_with(&path)
        })
    }
}

impl Setting for DirList {
    type Bounds = ();
    const QUOTED: bool = true;

    fn parse(text: &str, (): &()) -> Option<Self> {
        let parts = text.split(':').map(str::trim).filter(|part| !part.is_empty());
        let is_fixed = |part: &str| part == "*" || part.starts_with('/') || part.starts_with("~/");
        let parts: Vec<String> = parts.map(str::to_owned).collect();
        let is_right = parts.iter().all(|part| is_fixed(part) && !part.contains('\0'));
        is_right.then_some(Self(parts))
    }

    fn show(&self) -> String {
        self.0.join(":")
    }

    fn expects((): &()) -> String {
        "paths that begin with '/' or '~/', or '*', with ':' between them".to_owned()
    }
}

/// How hard new chunks are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CompressionLevel {
    /// Chosen by measurement for each kind of data.
    #[default]
    Auto,
    /// A level of zstd.
    Fixed(i32),
}

impl CompressionLevel {
    /// The level that a user set.
    pub fn fixed(self) -> Option<i32> {
        match self {
            Self::Auto => None,
            Self::Fixed(level) => Some(level),
        }
    }
}

impl Setting for CompressionLevel {
    type Bounds = RangeInclusive<i32>;
    const QUOTED: bool = true;

    fn parse(text: &str, bounds: &Self::Bounds) -> Option<Self> {
        if text.eq_ignore_ascii_case("auto") {
            return Some(Self::Auto);
        }
        text.parse().ok().filter(|level| bounds.contains(level)).map(Self::Fixed)
    }

    fn show(&self) -> String {
        match self {
            Self::Auto => "auto".to_owned(),
            Self::Fixed(level) => level.to_string(),
        }
    }

    fn expects(bounds: &Self::Bounds) -> String {
        format!("'auto' or a whole number from {} to {}", bounds.start(), bounds.end())
    }

    fn fits(value: &Value) -> bool {
        value.is_str() || value.is_integer()
    }
}

/// When something that suits a terminal is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum When {
    /// On a terminal, unless the environment says otherwise.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ProgressMode {
    /// A bar on a terminal, plain lines elsewhere when an operation is long.
    #[default]
    Auto,
    /// Also where it is short, or `--quiet` is given.
    Always,
    /// Never.
    Never,
    /// One JSON document a line.
    Json,
}

/// Settings that are one word of a few.
macro_rules! word_setting {
    ($Type:ty) => {
        impl Setting for $Type {
            type Bounds = ();
            const QUOTED: bool = true;

            fn parse(text: &str, (): &()) -> Option<Self> {
                <Self as ValueEnum>::from_str(text, true).ok()
            }

            fn show(&self) -> String {
                self.to_possible_value().map_or_else(String::new, |word| word.get_name().to_owned())
            }

            fn expects((): &()) -> String {
                let words: Vec<_> = Self::value_variants().iter().map(Setting::show).collect();
                format!("one of {}", words.join(", "))
            }
        }
    };
}

word_setting!(When);
word_setting!(ProgressMode);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_at_both_ends() {
        assert_eq!(usize::parse("1", &(1..=9)), Some(1));
        assert_eq!(usize::parse("9", &(1..=9)), Some(9));
        assert_eq!(usize::parse("10", &(1..=9)), None);
        assert_eq!(usize::parse("-1", &(0..=9)), None);
        let sizes = ByteSize::kib(1)..=ByteSize::mib(1);
        assert_eq!(ByteSize::parse("1023", &sizes), None);
        assert_eq!(ByteSize::parse("1MB", &sizes), Some(ByteSize::mib(1)));
        assert_eq!(CompressionLevel::parse("-8", &(-7..=19)), None);
        assert_eq!(CompressionLevel::parse("-7", &(-7..=19)), Some(CompressionLevel::Fixed(-7)));
        assert_eq!(CompressionLevel::parse("Auto", &(-7..=19)), Some(CompressionLevel::Auto));
    }

    #[test]
    fn words_are_shown_as_they_are_read() {
        assert_eq!(ProgressMode::parse("json", &()), Some(ProgressMode::Json));
        assert_eq!(ProgressMode::Json.show(), "json");
        assert_eq!(When::expects(&()), "one of auto, always, never");
        assert_eq!(When::parse("sometimes", &()), None);
    }

    #[test]
    fn a_path_is_the_same_wherever_a_command_runs() {
        let path =
            |text: &str| HomePath::parse(text, &()).map(|path| path.resolve(Some("/h".as_ref())));
        assert_eq!(path("/x/y"), Some(Some("/x/y".into())));
        assert_eq!(path("~/x"), Some(Some("/h/x".into())));
        assert_eq!(path(" "), Some(None));
        for text in ["x", "./x", "~", "~ada/x", "/a\0"] {
            assert_eq!(path(text), None, "{text}");
        }
        assert_eq!(HomePath::parse("~/x", &()).unwrap().resolve(None), None);
    }

    #[test]
    fn a_script_may_have_lines_and_marks() {
        let text = "test -t 1 > x\nexit 1";
        assert_eq!(Script::parse(text, &()).unwrap().text(), Some(text));
        assert_eq!(Script::parse("\n", &()).unwrap().text(), None);
        assert_eq!(Script::parse("a\0b", &()), None);
    }

    #[test]
    fn a_name_is_one_line_without_the_marks_around_an_address() {
        assert_eq!(Option::parse(" Ada L. ", &()), Some(Some("Ada L.".to_owned())));
        assert_eq!(Option::parse("", &()), Some(None));
        assert_eq!(<Option<String> as Setting>::parse("a\nb", &()), None);
        assert_eq!(<Option<String> as Setting>::parse("a <b>", &()), None);
    }
}
