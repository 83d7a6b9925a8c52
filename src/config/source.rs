//! Reading the sources of settings, lowest precedence first.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::fields::{Config, FIELDS};
use super::{
    ConfigError, NOT_IN_WORK_TREE, Origin, USER_KEYS, USER_SECTIONS, WORK_TREE_SECTIONS, alias,
    bad_value, field,
};
use crate::path::REPOSITORY_DIR;

/// Largest configuration file, in bytes.
pub const MAX_FILE: u64 = 1 << 20;

/// Where settings are looked for.
pub struct ConfigSources<'a> {
    /// Files that need not exist, lowest precedence first.
    pub files: Vec<Origin>,
    /// Looks up one environment variable.
    pub environment: &'a dyn Fn(&str) -> Option<OsString>,
    /// `KEY=VALUE` of each `--config`; the last counts.
    pub flags: &'a [String],
}

impl<'a> ConfigSources<'a> {
    /// The usual files: the user's, and those of a repository at `work_tree` where one is known.
    pub fn new(
        environment: &'a dyn Fn(&str) -> Option<OsString>,
        work_tree: Option<&Path>,
        flags: &'a [String],
    ) -> Self {
        let user_file = user_dir(environment).map(|dir| dir.join("config.toml"));
        let mut files: Vec<_> = user_file.map(Origin::User).into_iter().collect();
        if let Some(root) = work_tree {
            files.push(Origin::WorkTree(root.join("digstore.toml")));
            files.push(Origin::Repository(root.join(REPOSITORY_DIR).join("config.toml")));
        }
        Self { files, environment, flags }
    }
}

/// A directory that the environment names; relative ones are not trusted, as the XDG rules say.
fn absolute(environment: &dyn Fn(&str) -> Option<OsString>, name: &str) -> Option<PathBuf> {
    environment(name).map(PathBuf::from).filter(|dir| dir.is_absolute())
}

/// Where the user's own files are.
fn user_dir(environment: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let base = absolute(environment, "XDG_CONFIG_HOME")
        .or_else(|| absolute(environment, "HOME").map(|home| home.join(".config")))?;
    Some(base.join("digstore"))
}

impl Config {
    /// Applies one file; none counts as empty.
    pub(super) fn apply_file(&mut self, origin: &Origin) -> Result<(), ConfigError> {
        let (Origin::User(path) | Origin::WorkTree(path) | Origin::Repository(path)) = origin
        else {
            return Ok(());
        };
        match read_limited(path) {
            Ok(Some(bytes)) => self.apply_bytes(&bytes, origin),
            Ok(None) => Err(ConfigError::TooLarge(origin.clone())),
            Err(error) if is_absent(&error) => Ok(()),
            Err(source) => Err(ConfigError::Read { origin: origin.clone(), source }),
        }
    }

    /// Applies the content of a file.
    pub(super) fn apply_bytes(&mut self, bytes: &[u8], origin: &Origin) -> Result<(), ConfigError> {
        let syntax = |reason| ConfigError::Syntax { origin: origin.clone(), reason };
        let text = std::str::from_utf8(bytes).map_err(|error| syntax(error.to_string()))?;
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let at = error.span().map_or(0, |span| span.start.min(bytes.len()));
            let line = text[..text.floor_char_boundary(at)].lines().count().max(1);
            syntax(format!("line {line}: {}", error.message()))
        })?;
        for (section, value) in &table {
            self.apply_section(section, value, origin)?;
        }
        Ok(())
    }

    fn apply_section(
        &mut self,
        section: &str,
        value: &Value,
        origin: &Origin,
    ) -> Result<(), ConfigError> {
        if section == alias::SECTION {
            return self.apply_aliases(value, origin);
        }
        let known = FIELDS.iter().any(|field| field.section() == section);
        match value {
            Value::Table(table) if known || !table.is_empty() => {
                table.iter().try_for_each(|(name, value)| {
                    self.apply_value(&format!("{section}.{name}"), value, origin)
                })
            }
            _ if known => {
                let expects = format!("a table, [{section}]");
                Err(bad_value(section, &value.to_string(), expects, origin))
            }
            _ => Err(ConfigError::UnknownKey { origin: origin.clone(), key: section.to_owned() }),
        }
    }

    fn apply_value(
        &mut self,
        key: &str,
        value: &Value,
        origin: &Origin,
    ) -> Result<(), ConfigError> {
        let field = field(key, origin)?;
        let is_users = USER_KEYS.contains(&key) || USER_SECTIONS.contains(&field.section());
        let travels = matches!(origin, Origin::WorkTree(_));
        if travels && is_users {
            return Err(ConfigError::UsersOnly { origin: origin.clone(), key: key.to_owned() });
        }
        let is_open = WORK_TREE_SECTIONS.contains(&field.section());
        if travels && (!is_open || NOT_IN_WORK_TREE.contains(&key)) {
            return Err(ConfigError::NotAllowed { origin: origin.clone(), key: key.to_owned() });
        }
        if is_users && matches!(origin, Origin::Repository(_)) {
            self.passed_over.push((key.to_owned(), origin.clone()));
            return Ok(());
        }
        let shown = value.to_string();
        if !field.fits(value) {
            return Err(bad_value(key, &shown, field.expects(), origin));
        }
        self.assign(field, value.as_str().unwrap_or(&shown), &shown, origin)
    }

    /// Applies environment variables; an empty one counts as unset.
    pub(super) fn apply_environment(
        &mut self,
        environment: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<(), ConfigError> {
        for field in FIELDS {
            let found = field.variables().into_iter().find_map(|name| {
                environment(&name).filter(|text| !text.is_empty()).map(|text| (name, text))
            });
            if let Some((name, text)) = found {
                let shown = format!("'{}'", text.to_string_lossy());
                let origin = Origin::Environment(name);
                let text = text
                    .to_str()
                    .ok_or_else(|| bad_value(field.key, &shown, field.expects(), &origin))?;
                self.assign(field, text, &shown, &origin)?;
            }
        }
        Ok(())
    }

    /// Finds the user's ignore file, which is one of the settings or lies beside them.
    pub(super) fn find_ignore_file(&mut self, environment: &dyn Fn(&str) -> Option<OsString>) {
        let named = self.ignore.file.resolve(absolute(environment, "HOME").as_deref());
        let usual = || user_dir(environment).map(|dir| dir.join("ignore"));
        self.ignore_file = named.or_else(usual);
    }

    /// Applies the values of `--config`.
    pub(super) fn apply_flags(&mut self, flags: &[String]) -> Result<(), ConfigError> {
        for flag in flags {
            let (key, text) =
                flag.split_once('=').ok_or_else(|| ConfigError::NoValue(flag.clone()))?;
            let key = key.trim();
            let section = key.split_once('.').map_or(key, |(section, _)| section);
            if USER_SECTIONS.contains(&section) {
                return Err(ConfigError::UsersOnly { origin: Origin::Flag, key: key.to_owned() });
            }
            let field = field(key, &Origin::Flag)?;
            self.assign(field, text, &format!("'{text}'"), &Origin::Flag)?;
        }
        Ok(())
    }
}

/// Whether there is simply no such file.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// The content of a file, `None` if it is larger than [`MAX_FILE`].
fn read_limited(path: &Path) -> io::Result<Option<Vec<u8>>> {
    // A named pipe in somebody's work tree would block the opening for ever.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= MAX_FILE).then_some(bytes))
}
