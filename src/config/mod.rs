//! Settings from flags, the environment, files and defaults, resolved once.
//!
//! Precedence, highest first: `--config KEY=VALUE`, environment, `.digstore/config.toml`,
//! `digstore.toml` at the root of the work tree, `$XDG_CONFIG_HOME/digstore/config.toml`, default.
//! Every value remembers where it came from. A key nobody knows and a value out of bounds are
//! errors wherever they stand, also where a higher source would hide them. The file in the work
//! tree travels with the data, so it may tune but not say who commits or what is shown.

mod alias;
mod edit;
mod fields;
mod key;
mod parity;
mod size;
mod source;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use edit::{set_in, unset_in};
pub use fields::{
    Compression, Config, FIELDS, Field, Gc, Hooks, Ignore, Performance, Reliability, UiSettings,
    User,
};
pub use key::Key;
pub use parity::Parity;
pub use size::{ByteSize, ParseSizeError};
pub use source::{ConfigSources, MAX_FILE};
pub use value::{CompressionLevel, DirList, HomePath, ProgressMode, Script, When};

use crate::path::escape;
use crate::suggest::did_you_mean;

/// Sections that the file in the work tree may set.
pub const WORK_TREE_SECTIONS: [&str; 2] = ["performance", "ignore"];

/// Settings of these sections that it may not set nevertheless: they name files of one machine.
pub const NOT_IN_WORK_TREE: [&str; 1] = ["ignore.file"];

/// Settings that name a program. No repository may choose what runs on the machine of those who
/// look at it: its own file is passed over here.
pub const USER_KEYS: [&str; 1] = ["ui.pager"];

/// Sections that count in the user's own file alone: what they hold is run, or trusted.
pub const USER_SECTIONS: [&str; 3] = ["hooks", alias::SECTION, "safe"];

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Origin {
    /// Nothing set it.
    #[default]
    Default,
    /// The user's file.
    User(PathBuf),
    /// `digstore.toml` of the work tree.
    WorkTree(PathBuf),
    /// `.digstore/config.toml`.
    Repository(PathBuf),
    /// An environment variable.
    Environment(String),
    /// `--config`.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default"),
            Self::User(path) | Self::WorkTree(path) | Self::Repository(path) => {
                write!(f, "'{}'", escape(path.as_os_str().as_encoded_bytes()))
            }
            Self::Environment(name) => write!(f, "the environment variable {name}"),
            Self::Flag => f.write_str("--config"),
        }
    }
}

/// Origins by key; absent is the default.
pub(crate) type Origins = BTreeMap<&'static str, Origin>;

/// Why settings are refused.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read the configuration file {origin}")]
    Read {
        /// The file.
        origin: Origin,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file is larger than [`MAX_FILE`].
    #[error("the configuration file {0} is larger than {limit}", limit = ByteSize(MAX_FILE))]
    TooLarge(Origin),
    /// A file is not TOML.
    #[error("the configuration file {origin} is not valid TOML: {reason}")]
    Syntax {
        /// The file.
        origin: Origin,
        /// What is wrong, and where.
        reason: String,
    },
    /// A key that names no setting.
    #[error("{origin} sets '{}', which is no setting", escape(.key.as_bytes()))]
    UnknownKey {
        /// Where it stands.
        origin: Origin,
        /// The key.
        key: String,
    },
    /// A setting that a file of the work tree may not have.
    #[error(
        "{origin} sets '{key}', but a file in the work tree may set only [performance] and [ignore]"
    )]
    NotAllowed {
        /// The file.
        origin: Origin,
        /// The key.
        key: String,
    },
    /// What only the user's own file may set.
    #[error("{origin} sets '{}', which counts in your own settings only", escape(.key.as_bytes()))]
    UsersOnly {
        /// Where it stands.
        origin: Origin,
        /// The key.
        key: String,
    },
    /// A key that was asked for and names no setting.
    #[error("'{}' is no setting", escape(.0.as_bytes()))]
    NoSetting(String),
    /// A value of the wrong type or out of bounds.
    #[error("{origin} sets '{key}' to {}, but it expects {expects}", escape(.value.as_bytes()))]
    BadValue {
        /// Where it stands.
        origin: Origin,
        /// The key.
        key: String,
        /// The value as written.
        value: String,
        /// The allowed values.
        expects: String,
    },
    /// A `--config` without a value.
    #[error("--config expects KEY=VALUE, not '{}'", escape(.0.as_bytes()))]
    NoValue(String),
}

impl ConfigError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownKey { key, .. } | Self::NoSetting(key) => Some(match suggestion(key) {
                Some(near) => format!("did you mean '{near}'?"),
                None => "see 'digstore config list' for all settings".to_owned(),
            }),
            Self::NotAllowed { key, .. } => Some(format!(
                "that file travels with the data; set '{key}' in .digstore/config.toml or your own \
                 configuration file"
            )),
            Self::UsersOnly { key, .. } => Some(format!(
                "what is run is your choice alone: 'digstore config set --user {key} …' sets it"
            )),
            Self::NoValue(_) => Some("for instance --config performance.batch_size=200".to_owned()),
            _ => None,
        }
    }
}

/// The setting nearest to a wrong key, whether its section was given or not.
fn suggestion(key: &str) -> Option<String> {
    let name = key.rsplit('.').next().unwrap_or(key);
    if let Some(exact) = FIELDS.iter().find(|field| field.name() == name) {
        return Some(exact.key.to_owned());
    }
    did_you_mean(key, FIELDS.iter().map(|field| field.key)).or_else(|| {
        let near = did_you_mean(name, FIELDS.iter().map(Field::name))?;
        FIELDS.iter().find(|field| field.name() == near).map(|field| field.key.to_owned())
    })
}

/// The setting that `key` names; `origin` is where the key stands.
pub fn field(key: &str, origin: &Origin) -> Result<&'static Field, ConfigError> {
    FIELDS
        .iter()
        .find(|field| field.key == key)
        .ok_or_else(|| ConfigError::UnknownKey { origin: origin.clone(), key: key.to_owned() })
}

impl Config {
    /// The settings of one file alone.
    pub fn of_file(file: &Origin) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        config.apply_file(file)?;
        Ok(config)
    }

    /// Resolves all settings.
    pub fn load(sources: &ConfigSources<'_>) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        for file in &sources.files {
            config.apply_file(file)?;
        }
        config.apply_environment(sources.environment)?;
        config.apply_flags(sources.flags)?;
        config.find_ignore_file(sources.environment);
        Ok(config)
    }

    /// Where the value of `field` came from.
    pub fn origin(&self, field: &Field) -> &Origin {
        self.origins.get(field.key).unwrap_or(&Origin::Default)
    }

    /// Whether anything but the default sets the value of `key`.
    pub fn is_set(&self, key: &str) -> bool {
        self.origins.contains_key(key)
    }

    /// What was passed over, because it counts in the user's own file alone: keys, and where they
    /// stand.
    pub fn passed_over(&self) -> &[(String, Origin)] {
        &self.passed_over
    }

    /// The user's ignore file, which need not exist; none where there is no home directory.
    pub fn user_ignore_file(&self) -> Option<&Path> {
        self.ignore_file.as_deref()
    }

    /// Every setting with its value and origin.
    pub fn list(&self) -> impl Iterator<Item = (&'static Field, String, &Origin)> {
        FIELDS.iter().map(|field| (field, field.get(self), self.origin(field)))
    }

    /// Sets one value from text; `shown` is how the source wrote it.
    fn assign(
        &mut self,
        field: &'static Field,
        text: &str,
        shown: &str,
        origin: &Origin,
    ) -> Result<(), ConfigError> {
        field
            .set(self, text)
            .ok_or_else(|| bad_value(field.key, shown, field.expects(), origin))?;
        self.origins.insert(field.key, origin.clone());
        Ok(())
    }
}

fn bad_value(key: &str, value: &str, expects: String, origin: &Origin) -> ConfigError {
    ConfigError::BadValue {
        origin: origin.clone(),
        key: key.to_owned(),
        value: value.to_owned(),
        expects,
    }
}

#[cfg(test)]
mod tests;
