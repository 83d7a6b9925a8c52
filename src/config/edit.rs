//! Changing one setting in the text of a configuration file; comments and order survive.

use toml_edit::{DocumentMut, Item, Table, TableLike, Value};

use super::fields::{Config, Field};
use super::{ConfigError, Origin, bad_value};

/// The text with `field` set; `value` as a user typed it. Refuses what the file could not be read
/// with, whatever else is in it.
pub fn set_in(
    text: &str,
    field: &'static Field,
    value: &str,
    origin: &Origin,
) -> Result<String, ConfigError> {
    let mut config = Config::default();
    let wrong = || bad_value(field.key, &format!("'{value}'"), field.expects(), origin);
    field.set(&mut config, value).ok_or_else(wrong)?;
    let mut new = if field.is_quoted() {
        Value::from(value.trim())
    } else {
        // A number or a truth value, written as it is shown.
        field.get(&config).parse::<Value>().map_err(|_| wrong())?
    };
    let mut document = parse(text, origin)?;
    let section = document
        .entry(field.section())
        .or_insert_with(|| Item::Table(Table::new()))
        .as_table_like_mut()
        .ok_or_else(|| {
            let expects = format!("a table, [{}]", field.section());
            bad_value(field.section(), "something else", expects, origin)
        })?;
    match section.get_mut(field.name()).and_then(Item::as_value_mut) {
        Some(old) => {
            // The comment behind the value is part of its decoration.
            *new.decor_mut() = old.decor().clone();
            *old = new;
        }
        None => {
            section.insert(field.name(), Item::Value(new));
        }
    }
    checked(&document, origin)
}

/// The text without `field`; `None` if it is not set there.
pub fn unset_in(
    text: &str,
    field: &'static Field,
    origin: &Origin,
) -> Result<Option<String>, ConfigError> {
    let mut document = parse(text, origin)?;
    let section = document.get_mut(field.section()).and_then(Item::as_table_like_mut);
    if section.and_then(|section: &mut dyn TableLike| section.remove(field.name())).is_none() {
        return Ok(None);
    }
    checked(&document, origin).map(Some)
}

fn parse(text: &str, origin: &Origin) -> Result<DocumentMut, ConfigError> {
    // Says where a mistake is in the words of every other command.
    Config::default().apply_bytes(text.as_bytes(), origin)?;
    let syntax = |error: toml_edit::TomlError| ConfigError::Syntax {
        origin: origin.clone(),
        reason: error.message().to_owned(),
    };
    text.parse().map_err(syntax)
}

fn checked(document: &DocumentMut, origin: &Origin) -> Result<String, ConfigError> {
    let text = document.to_string();
    Config::default().apply_bytes(text.as_bytes(), origin)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{FIELDS, field};

    fn origin() -> Origin {
        Origin::Repository("config.toml".into())
    }

    fn set(text: &str, key: &str, value: &str) -> Result<String, ConfigError> {
        set_in(text, field(key, &origin()).unwrap(), value, &origin())
    }

    fn unset(text: &str, key: &str) -> Option<String> {
        unset_in(text, field(key, &origin()).unwrap(), &origin()).unwrap()
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
            text = set_in(&text, field, &field.default_text(), &origin()).unwrap();
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
        let origin = Origin::WorkTree("digstore.toml".into());
        let name = field("user.name", &origin).unwrap();
        assert!(matches!(set_in("", name, "Ada", &origin), Err(ConfigError::NotAllowed { .. })));
    }
}
