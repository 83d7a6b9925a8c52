//! `[alias]`: what a user calls commands. The one section whose keys are the user's own.

use std::collections::BTreeMap;

use toml::Value;

use super::fields::Config;
use super::{ConfigError, Origin, bad_value};

/// The section.
pub(super) const SECTION: &str = "alias";

/// Command lines, and the file that gives each, by the alias.
pub(super) type Aliases = BTreeMap<String, (String, Origin)>;

/// The allowed values, in words that follow "expects".
pub(super) const EXPECTS: &str = "a command line, or '!' and a command of the shell";

/// The key of an alias.
pub(super) fn key(name: &str) -> String {
    format!("{SECTION}.{name}")
}

/// Whether a name can be typed as a command, and a text stand for one.
pub(super) fn is_sound(name: &str, text: &str) -> bool {
    let plain = |ch: char| ch.is_alphanumeric() || matches!(ch, '-' | '_');
    let is_name = !name.is_empty() && !name.starts_with('-') && name.chars().all(plain);
    let text = text.trim().trim_start_matches('!');
    is_name && !text.trim().is_empty() && !text.contains('\0')
}

impl Config {
    /// The command line that an alias stands for.
    pub fn alias(&self, name: &str) -> Option<&str> {
        self.aliases.get(name).map(|(text, _)| text.as_str())
    }

    /// Every alias with its command line and where it stands, by name.
    pub fn aliases(&self) -> impl Iterator<Item = (&str, &str, &Origin)> {
        self.aliases.iter().map(|(name, (text, origin))| (name.as_str(), text.as_str(), origin))
    }

    pub(super) fn apply_aliases(
        &mut self,
        section: &Value,
        origin: &Origin,
    ) -> Result<(), ConfigError> {
        let Value::Table(table) = section else {
            let expects = format!("a table, [{SECTION}]");
            return Err(bad_value(SECTION, &section.to_string(), expects, origin));
        };
        for (name, value) in table {
            let key = key(name);
            match origin {
                Origin::User(_) => {}
                Origin::Repository(_) => {
                    self.passed_over.push((key, origin.clone()));
                    continue;
                }
                _ => return Err(ConfigError::UsersOnly { origin: origin.clone(), key }),
            }
            let text = value.as_str().filter(|text| is_sound(name, text));
            let text = text
                .ok_or_else(|| bad_value(&key, &value.to_string(), EXPECTS.to_owned(), origin))?;
            self.aliases.insert(name.clone(), (text.trim().to_owned(), origin.clone()));
        }
        Ok(())
    }
}
