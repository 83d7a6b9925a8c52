//! Changing one setting in the text of a configuration file; comments and order survive.

use toml_edit::{DocumentMut, Item, Table, TableLike};

use super::fields::Config;
use super::key::Key;
use super::{ConfigError, MAX_FILE, Origin, bad_value};

/// The text with `key` set; `value` as a user typed it. Refuses what the file could not be read
/// with, whatever else is in it.
pub fn set_in(text: &str, key: &Key, value: &str, origin: &Origin) -> Result<String, ConfigError> {
    if key.is_users() && !matches!(origin, Origin::User(_)) {
        return Err(ConfigError::UsersOnly { origin: origin.clone(), key: key.text() });
    }
    let wrong = || bad_value(&key.text(), &format!("'{value}'"), key.expects(), origin);
    let mut new = key.to_toml(value).ok_or_else(wrong)?;
    let mut document = parse(text, origin)?;
    let section = document
        .entry(key.section())
        .or_insert_with(|| Item::Table(Table::new()))
        .as_table_like_mut()
        .ok_or_else(|| {
            let expects = format!("a table, [{}]", key.section());
            bad_value(key.section(), "something else", expects, origin)
        })?;
    match section.get_mut(key.name()).and_then(Item::as_value_mut) {
        Some(old) => {
            // The comment behind the value is part of its decoration.
            *new.decor_mut() = old.decor().clone();
            *old = new;
        }
        None => {
            section.insert(key.name(), Item::Value(new));
        }
    }
    checked(&document, origin)
}

/// The text without `key`; `None` if it is not set there.
pub fn unset_in(text: &str, key: &Key, origin: &Origin) -> Result<Option<String>, ConfigError> {
    let mut document = parse(text, origin)?;
    let section = document.get_mut(key.section()).and_then(Item::as_table_like_mut);
    if section.and_then(|section: &mut dyn TableLike| section.remove(key.name())).is_none() {
        return Ok(None);
    }
    checked(&document, origin).map(Some)
}

fn parse(text: &str, origin: &Origin) -> Result<DocumentMut, ConfigError> {
    text.parse().map_err(|error: toml_edit::TomlError| {
        // Says where a mistake is in the words of every other command.
        let told = Config::default().apply_bytes(text.as_bytes(), origin).err();
        let reason = error.message().to_owned();
        told.unwrap_or_else(|| ConfigError::Syntax { origin: origin.clone(), reason })
    })
}

fn checked(document: &DocumentMut, origin: &Origin) -> Result<String, ConfigError> {
    let text = document.to_string();
    if text.len() as u64 > MAX_FILE {
        return Err(ConfigError::TooLarge(origin.clone()));
    }
    Config::default().apply_bytes(text.as_bytes(), origin)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FIELDS;

    fn origin() -> Origin {
        Origin::Repository("config.toml".into())
    }

    fn set(text: &str, key: &str, value: &str) -> Result<String, ConfigError> {
        set_in(text, &Key::parse(key).unwrap(), value, &origin())
    }

    fn unset(text: &str, key: &str) -> Option<String> {
        unset_in(text, &Key::parse(key).unwrap(), &origin()).unwrap()
    }

    #[test]
    fn comments_order_and_layout_survive() {
        let text = "# mine\n[ui]\ncolor = 'never' # why\n\n# fast\n[performance]\nbatch_size = 7\n";
        let changed = set(text, "ui.color", "always").unwrap();
        assert_eq!(changed, text.replace("'never'", "\"always\""));
        let added = set(text, "performance.auto_tune", "off").unwrap();
        assert_eq!(added, format!("{text}auto_tune = false\n"));
        let removed = unset(&added, "performance.auto_tune").unwrap();
        assert_eq!(removed, text);
        assert_eq!(unset(text, "user.name"), None);
        assert_eq!(set("", "user.name", " Ada ").unwrap(), "[user]\nname = \"Ada\"\n");
    }

    #[test]
    fn every_way_to_write_a_table_is_understood() {
        for text in ["performance.batch_size = 1\n", "performance = { batch_size = 1 }\n"] {
            let changed = set(text, "performance.batch_size", "2").unwrap();
            assert_eq!(changed, text.replace("= 1", "= 2"));
            assert!(!unset(text, "performance.batch_size").unwrap().contains("batch_size"));
        }
    }

    #[test]
    fn every_default_can_be_written_and_reads_back() {
        let mut text = String::new();
        for field in FIELDS.iter().filter(|field| !field.default_text().is_empty()) {
            text = set(&text, field.key, &field.default_text()).unwrap();
        }
        let mut config = Config::default();
        config.apply_bytes(text.as_bytes(), &origin()).unwrap();
        config.origins.clear();
        assert_eq!(config, Config::default());
    }

    #[test]
    fn nothing_is_written_that_could_not_be_read() {
        assert!(matches!(
            set("", "performance.batch_size", "0"),
            Err(ConfigError::BadValue { .. })
        ));
        for text in ["[performance]\nbatchsize = 1\n", "[performance\n", "performance = 1\n"] {
            assert!(set(text, "performance.batch_size", "2").is_err(), "{text}");
        }
        let long = "x".repeat(MAX_FILE as usize);
        assert!(matches!(set("", "user.name", &long), Err(ConfigError::TooLarge(_))));
        // What is wrong with the file may be what is set or unset.
        let wrong = "[performance]\nbatch_size = 'no'\n";
        assert_eq!(set(wrong, "performance.batch_size", "2").unwrap(), wrong.replace("'no'", "2"));
        assert_eq!(unset(wrong, "performance.batch_size").unwrap(), "[performance]\n");
        let origin = Origin::WorkTree("digstore.toml".into());
        let name = Key::parse("user.name").unwrap();
        assert!(matches!(set_in("", &name, "Ada", &origin), Err(ConfigError::NotAllowed { .. })));
    }

    #[test]
    fn what_is_run_is_written_into_the_users_file_alone() {
        let user = Origin::User("config.toml".into());
        for (key, value) in [
            ("hooks.pre-commit", "true"),
            ("alias.x", "log"),
            ("ui.pager", "cat"),
            ("safe.directories", "/srv/*:~/x"),
        ] {
            let key = Key::parse(key).unwrap();
            for origin in [origin(), Origin::WorkTree("digstore.toml".into())] {
                let refused = set_in("", &key, value, &origin);
                assert!(matches!(refused, Err(ConfigError::UsersOnly { .. })), "{}", key.text());
            }
            let text = set_in("", &key, value, &user).unwrap();
            assert_eq!(text, format!("[{}]\n{} = \"{value}\"\n", key.section(), key.name()));
            assert_eq!(
                unset_in(&text, &key, &user).unwrap().map(|text| text.contains(value)),
                Some(false)
            );
        }
        for (name, value) in [("", "log"), ("a b", "log"), ("-x", "log"), ("x", " "), ("x", "!")] {
            let wrong = set_in("", &Key::Alias(name.to_owned()), value, &user);
            assert!(matches!(wrong, Err(ConfigError::BadValue { .. })), "{name}: {value}");
        }
    }
}
