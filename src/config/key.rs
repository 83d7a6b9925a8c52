//! What a key names: a setting, or one of the user's aliases.

use toml_edit::Value;

use super::fields::{Config, FIELDS, Field};
use super::{ConfigError, Origin, USER_KEYS, USER_SECTIONS, alias};

/// See the module.
#[derive(Clone)]
pub enum Key {
    /// One of [`FIELDS`].
    Field(&'static Field),
    /// An alias, by its name.
    Alias(String),
}

impl Key {
    /// What a user asks for.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        if let Some((alias::SECTION, name)) = text.split_once('.') {
            return Ok(Self::Alias(name.to_owned()));
        }
        let found = FIELDS.iter().find(|field| field.key == text);
        found.map(Self::Field).ok_or_else(|| ConfigError::NoSetting(text.to_owned()))
    }

    /// The key as it is typed.
    pub fn text(&self) -> String {
        match self {
            Self::Field(field) => field.key.to_owned(),
            Self::Alias(name) => alias::key(name),
        }
    }

    /// The part before the dot.
    pub fn section(&self) -> &str {
        match self {
            Self::Field(field) => field.section(),
            Self::Alias(_) => alias::SECTION,
        }
    }

    /// The part behind the dot.
    pub fn name(&self) -> &str {
        match self {
            Self::Field(field) => field.name(),
            Self::Alias(name) => name,
        }
    }

    /// The allowed values, in words that follow "expects".
    pub fn expects(&self) -> String {
        match self {
            Self::Field(field) => field.expects(),
            Self::Alias(_) => alias::EXPECTS.to_owned(),
        }
    }

    /// The value and where it comes from; empty where it is not set and has no default.
    pub fn get(&self, config: &Config) -> (String, Origin) {
        match self {
            Self::Field(field) => (field.get(config), config.origin(field).clone()),
            Self::Alias(name) => config.aliases.get(name).cloned().unwrap_or_default(),
        }
    }

    /// Whether anything but the default sets it.
    pub fn is_set(&self, config: &Config) -> bool {
        match self {
            Self::Field(field) => config.is_set(field.key),
            Self::Alias(name) => config.alias(name).is_some(),
        }
    }

    /// Whether only the user's own file may set it.
    pub(super) fn is_users(&self) -> bool {
        USER_SECTIONS.contains(&self.section()) || USER_KEYS.contains(&self.text().as_str())
    }

    /// What a file holds for a value as typed; `None` if it is not allowed.
    pub(super) fn to_toml(&self, value: &str) -> Option<Value> {
        let value = value.trim();
        match self {
            Self::Field(field) => {
                let mut config = Config::default();
                field.set(&mut config, value)?;
                if field.is_quoted() {
                    return Some(Value::from(value));
                }
                // A number or a truth value, written as it is shown.
                field.get(&config).parse().ok()
            }
            Self::Alias(name) => alias::is_sound(name, value).then(|| Value::from(value)),
        }
    }
}
