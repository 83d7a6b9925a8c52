//! Tests of the resolution of settings.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;

fn nothing(_: &str) -> Option<OsString> {
    None
}

/// A work tree with the named files.
fn tree(files: &[(&str, &str)]) -> TempDir {
    let dir = TempDir::new().unwrap();
    for (name, text) in files {
        put(&dir.path().join(name), text.as_bytes());
    }
    dir
}

#[expect(clippy::disallowed_methods, reason = "a test makes its own files")]
fn put(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn load(dir: &TempDir, flags: &[&str]) -> Result<Config, ConfigError> {
    let flags: Vec<_> = flags.iter().map(|flag| (*flag).to_owned()).collect();
    Config::load(&ConfigSources::new(&nothing, Some(dir.path()), &flags))
}

fn work_tree(text: &str) -> Result<Config, ConfigError> {
    let mut config = Config::default();
    config.apply_bytes(text.as_bytes(), &Origin::WorkTree("digstore.toml".into()))?;
    Ok(config)
}

fn repository(text: &str) -> Result<Config, ConfigError> {
    let mut config = Config::default();
    config.apply_bytes(text.as_bytes(), &Origin::Repository("config.toml".into()))?;
    Ok(config)
}

fn batch(config: &Config) -> (usize, &Origin) {
    let field = field("performance.batch_size", &Origin::Flag).unwrap();
    (config.performance.batch_size, config.origin(field))
}

#[test]
fn each_source_overrides_the_ones_below() {
    let dir = tree(&[]);
    let set = |name: &str, count: u32| {
        let text = format!("[performance]\nbatch_size = {count}\n");
        put(&dir.path().join(name), text.as_bytes());
    };
    let home = dir.path().join("xdg").into_os_string();
    let home_only = |name: &str| (name == "XDG_CONFIG_HOME").then(|| home.clone());
    let with_batch = |name: &str| match name {
        "DIGSTORE_PERFORMANCE_BATCH_SIZE" => Some(OsString::from("4")),
        name => home_only(name),
    };
    let root = Some(dir.path());
    let resolve = |environment: &dyn Fn(&str) -> Option<OsString>, flags: &[String]| {
        Config::load(&ConfigSources::new(environment, root, flags)).unwrap()
    };

    assert_eq!(batch(&resolve(&home_only, &[])), (500, &Origin::Default));
    set("xdg/digstore/config.toml", 1);
    let user = Origin::User(dir.path().join("xdg/digstore/config.toml"));
    assert_eq!(batch(&resolve(&home_only, &[])), (1, &user));
    set("digstore.toml", 2);
    let work_tree = Origin::WorkTree(dir.path().join("digstore.toml"));
    assert_eq!(batch(&resolve(&home_only, &[])), (2, &work_tree));
    set(".digstore/config.toml", 3);
    let repository = Origin::Repository(dir.path().join(".digstore/config.toml"));
    assert_eq!(batch(&resolve(&home_only, &[])), (3, &repository));
    let variable = Origin::Environment("DIGSTORE_PERFORMANCE_BATCH_SIZE".to_owned());
    assert_eq!(batch(&resolve(&with_batch, &[])), (4, &variable));
    let flags = ["5", "6"].map(|count| format!("performance.batch_size={count}"));
    assert_eq!(batch(&resolve(&with_batch, &flags)), (6, &Origin::Flag));
}

#[test]
fn the_user_file_is_found_below_the_home_directory() {
    let dir = tree(&[(".config/digstore/config.toml", "[user]\nname = 'Ada'\n")]);
    let home = dir.path().as_os_str().to_owned();
    let environment = |name: &str| match name {
        "HOME" => Some(home.clone()),
        "XDG_CONFIG_HOME" => Some(OsString::from("relative")),
        "DIGSTORE_AUTHOR_EMAIL" => Some(OsString::from("ada@example.org")),
        "DIGSTORE_AUTHOR_NAME" => Some(OsString::new()),
        _ => None,
    };
    let config = Config::load(&ConfigSources::new(&environment, None, &[])).unwrap();
    assert_eq!(config.user.name.as_deref(), Some("Ada"));
    assert_eq!(config.user.email.as_deref(), Some("ada@example.org"));
}

#[test]
fn values_keep_their_types() {
    let config = repository(
        "[performance]\nbuffer_size = '128KB'\nfile_cache_size = 4096\n\
         [compression]\nlevel = -3\n[ignore]\nuse_gitignore = true\n[ui]\ncolor = 'never'\n",
    )
    .unwrap();
    assert_eq!(config.performance.buffer_size, ByteSize::kib(128));
    assert_eq!(config.performance.file_cache_size, ByteSize(4096));
    assert_eq!(config.compression.level, CompressionLevel::Fixed(-3));
    assert!(config.ignore.use_gitignore);
    assert_eq!(config.ui.color, When::Never);
    assert_eq!(repository("compression.level = 'auto'").unwrap().compression.level.clone(), {
        CompressionLevel::Auto
    });
}

#[test]
fn a_wrong_value_names_file_key_and_bounds() {
    for value in ["'500'", "0", "1000001", "-1", "true", "1.5", "[1]", "{a = 1}"] {
        let error = repository(&format!("[performance]\nbatch_size = {value}\n")).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, ConfigError::BadValue { .. }), "{text}");
        assert!(text.starts_with("'config.toml' sets 'performance.batch_size' to "), "{text}");
        assert!(text.ends_with("expects a whole number from 1 to 1000000"), "{text}");
    }
    let error = repository("[performance]\nbuffer_size = '1KB'\n").unwrap_err().to_string();
    assert!(error.ends_with("a size such as 64KB, from 4 KiB to 64 MiB"), "{error}");
    let error = repository("performance = 1").unwrap_err().to_string();
    assert!(error.ends_with("expects a table, [performance]"), "{error}");
}

#[test]
fn unknown_keys_get_a_suggestion() {
    let hint = |text: &str| match repository(text) {
        Err(error @ ConfigError::UnknownKey { .. }) => error.hint().unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(hint("[performance]\nbatchsize = 1"), "did you mean 'performance.batch_size'?");
    assert_eq!(hint("batch_size = 1"), "did you mean 'performance.batch_size'?");
    assert_eq!(hint("[perf]\nbatch_size = 1"), "did you mean 'performance.batch_size'?");
    assert_eq!(hint("[user]\nmail = 'x'"), "did you mean 'user.email'?");
    assert_eq!(hint("[zzz]"), "see 'digstore config list' for all settings");
    assert!(matches!(
        load(&tree(&[]), &["performence.batch_size=1"]),
        Err(ConfigError::UnknownKey { origin: Origin::Flag, .. })
    ));
    assert!(matches!(load(&tree(&[]), &["user.name"]), Err(ConfigError::NoValue(_))));
}

#[test]
fn a_wrong_value_counts_even_where_a_higher_source_hides_it() {
    let dir = tree(&[("digstore.toml", "[performance]\nbatch_size = 0\n")]);
    assert!(load(&dir, &["performance.batch_size=1"]).is_err());
}

#[test]
fn the_file_of_the_work_tree_may_only_tune() {
    for text in ["[user]\nname = 'x'", "[ui]\ncolor = 'never'", "[compression]\nlevel = 1"] {
        let error = work_tree(text).unwrap_err();
        assert!(matches!(error, ConfigError::NotAllowed { .. }), "{error}");
        assert!(error.hint().unwrap().contains(".digstore/config.toml"));
    }
    assert!(work_tree("[ignore]\nuse_gitignore = true").unwrap().ignore.use_gitignore);
}

#[test]
fn what_is_run_comes_from_the_users_file_alone() {
    let text =
        "[hooks]\npre-commit = 'make check'\n[alias]\nlg = 'log --graph'\n[ui]\npager = 'x'\n";
    let mut config = Config::default();
    config.apply_bytes(text.as_bytes(), &Origin::User("config.toml".into())).unwrap();
    assert_eq!(config.hooks.pre_commit.text(), Some("make check"));
    assert_eq!(config.alias("lg"), Some("log --graph"));
    assert!(config.passed_over().is_empty());
    // In the file of a repository it is passed over, and told to those who ask.
    let config = repository(text).unwrap();
    assert_eq!((config.hooks.pre_commit.text(), config.alias("lg")), (None, None));
    assert_eq!(config.ui.pager, None);
    let keys: Vec<_> = config.passed_over().iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["alias.lg", "hooks.pre-commit", "ui.pager"]);
    // In the file that travels with the data, and for one command, it is a mistake.
    for text in ["[hooks]\npre-commit = 'x'", "[alias]\nlg = 'log'", "[ui]\npager = 'x'"] {
        let error = work_tree(text).unwrap_err();
        assert!(matches!(error, ConfigError::UsersOnly { .. }), "{error}");
        assert!(error.hint().unwrap().contains("config set --user"));
    }
    for flag in ["hooks.pre-commit=x", "alias.lg=log"] {
        let error = load(&tree(&[]), &[flag]).unwrap_err();
        assert!(matches!(error, ConfigError::UsersOnly { origin: Origin::Flag, .. }), "{error}");
    }
    let dir = tree(&[]);
    let set = |_: &str| Some(OsString::from("1"));
    let set = |name: &str| set(name).filter(|_| name.contains("HOOK") || name.contains("ALIAS"));
    let config = Config::load(&ConfigSources::new(&set, Some(dir.path()), &[])).unwrap();
    assert_eq!((config.hooks, config.aliases), (Hooks::default(), BTreeMap::new()));
}

#[test]
fn an_alias_is_a_word_and_stands_for_something() {
    let user = |text: &str| {
        Config::default().apply_bytes(text.as_bytes(), &Origin::User("config.toml".into()))
    };
    for text in ["'a b' = 'log'", "x = 1", "x = ''", "x = '!'", "-x = 'log'", "'' = 'log'"] {
        let error = user(&format!("[alias]\n{text}\n")).unwrap_err();
        assert!(matches!(error, ConfigError::BadValue { .. }), "{text}: {error}");
    }
    assert!(user("alias = 1").is_err());
    assert!(user("[alias]\n'grün' = '!true'\n").is_ok());
}

#[test]
fn the_users_ignore_file_is_found() {
    let dir = tree(&[]);
    let home = dir.path().as_os_str().to_owned();
    let home_only = |name: &str| (name == "HOME").then(|| home.clone());
    let found = |flags: &[&str]| {
        let flags: Vec<_> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let sources = ConfigSources::new(&home_only, None, &flags);
        Config::load(&sources).unwrap().user_ignore_file().map(Path::to_owned)
    };
    assert_eq!(found(&[]), Some(dir.path().join(".config/digstore/ignore")));
    assert_eq!(found(&["ignore.file=~/x"]), Some(dir.path().join("x")));
    assert_eq!(found(&["ignore.file=/etc/x"]), Some("/etc/x".into()));
    assert!(load(&dir, &["ignore.file=x"]).is_err());
    assert_eq!(load(&dir, &[]).unwrap().user_ignore_file(), None);
    // A path of one machine does not travel.
    let error = work_tree("[ignore]\nfile = '/x'").unwrap_err();
    assert!(matches!(error, ConfigError::NotAllowed { .. }), "{error}");
}

#[test]
fn files_that_are_no_configuration_are_refused() {
    let error = repository("[performance]\nbatch_size = \n").unwrap_err().to_string();
    assert!(error.contains("line 2"), "{error}");
    let mut config = Config::default();
    assert!(config.apply_bytes(b"\xff\xfe", &Origin::Repository("x".into())).is_err());

    let dir = tree(&[]);
    put(&dir.path().join("digstore.toml"), &vec![b'#'; MAX_FILE as usize]);
    assert!(load(&dir, &[]).is_ok());
    put(&dir.path().join("digstore.toml"), &vec![b'#'; MAX_FILE as usize + 1]);
    assert!(matches!(load(&dir, &[]), Err(ConfigError::TooLarge(_))));
    let dir = tree(&[("digstore.toml/x", "")]);
    assert!(matches!(load(&dir, &[]), Err(ConfigError::Read { .. })));
}

#[test]
fn control_characters_of_a_file_are_shown_escaped() {
    let error = repository("\"a\\u001b[31m\" = 1").unwrap_err().to_string();
    assert!(error.contains("a\\u{1b}[31m"), "{error}");
}

#[test]
fn the_list_gives_every_setting() {
    let dir = tree(&[]);
    let config = load(&dir, &["ui.progress=json"]).unwrap();
    assert_eq!(config.list().count(), FIELDS.len());
    let (_, value, origin) = config.list().find(|(field, ..)| field.key == "ui.progress").unwrap();
    assert_eq!((value.as_str(), origin), ("json", &Origin::Flag));
}

/// What `digstore.toml.example` must be, made from the table of settings.
fn example() -> String {
    let mut text = String::from(
        "# Settings that travel with the data: copy this file to digstore.toml at the root of the\n\
         # work tree. Every value below is the default. Sizes: 64KB = 64KiB = 65536.\n",
    );
    for section in WORK_TREE_SECTIONS {
        text.push_str(&format!("\n[{section}]\n"));
        let is_meant =
            |field: &&Field| field.section() == section && !NOT_IN_WORK_TREE.contains(&field.key);
        for field in FIELDS.iter().filter(is_meant) {
            for line in field.doc {
                text.push_str(&format!("#{line}\n"));
            }
            text.push_str(&format!("# Expects {}.\n", field.expects()));
            let mark = if field.is_quoted() { "\"" } else { "" };
            text.push_str(&format!("{} = {mark}{}{mark}\n", field.name(), field.default_text()));
        }
    }
    text
}

#[test]
fn the_example_is_the_table_and_equals_the_defaults() {
    let text = include_str!("../../digstore.toml.example");
    assert_eq!(text, example());
    let mut config = work_tree(text).unwrap();
    for section in WORK_TREE_SECTIONS {
        let is_meant =
            |field: &&Field| field.section() == section && !NOT_IN_WORK_TREE.contains(&field.key);
        for field in FIELDS.iter().filter(is_meant) {
            assert!(matches!(config.origin(field), Origin::WorkTree(_)), "{}", field.key);
        }
    }
    config.origins.clear();
    assert_eq!(config, Config::default());
}
