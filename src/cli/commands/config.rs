//! `digstore config`: reading and changing settings.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::CommandResult;
use crate::cli::alias::is_command;
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::exit_code::ExitCode;
use crate::cli::message::run_editor;
use crate::config::{Config, ConfigError, ConfigSources, Key, MAX_FILE, Origin, set_in, unset_in};
use crate::path::escape;
use crate::repo::walk::temporary_name;
use crate::repo::{Place, RepoError};
use crate::storage::disk::rewrite;

/// Look at settings and change them.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the value of a setting.
    Get(GetArgs),
    /// Change a setting in a file.
    #[command(after_help = "Examples:
  digstore config set --user user.name 'Ada Lovelace'
  digstore config set --user alias.lg 'log --graph --oneline'
  digstore config set --user hooks.pre-commit './check.sh'
  digstore config set performance.max_worker_threads 4
  digstore config set --tree ignore.use_gitignore true")]
    Set(SetArgs),
    /// Take a setting out of a file.
    Unset(UnsetArgs),
    /// List all settings; with a level, those that its file sets.
    List(ListArgs),
    /// Edit a file of settings.
    Edit(EditArgs),
    /// Check every file of settings.
    Validate,
}

/// Which file is meant.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct Level {
    /// Your own file, for all repositories.
    #[arg(long)]
    user: bool,
    /// The file of this repository; what is changed when no level is given.
    #[arg(long)]
    local: bool,
    /// 'digstore.toml' in the work tree, which travels with the data.
    #[arg(long)]
    tree: bool,
}

/// Print the value of a setting.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// The setting, as 'section.name'.
    key: String,
    /// Also where the value comes from.
    #[arg(long)]
    show_origin: bool,
    #[command(flatten)]
    level: Level,
}

/// Change a setting in a file.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// The setting, as 'section.name'.
    key: String,
    /// Its new value.
    #[arg(allow_hyphen_values = true)]
    value: String,
    #[command(flatten)]
    level: Level,
    /// Check the value, and change nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// Take a setting out of a file.
#[derive(Debug, Args)]
pub struct UnsetArgs {
    /// The setting, as 'section.name'.
    key: String,
    #[command(flatten)]
    level: Level,
    /// Say whether it is set, and change nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// List settings.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Also where each value comes from.
    #[arg(long)]
    show_origin: bool,
    #[command(flatten)]
    level: Level,
}

/// Edit a file of settings.
#[derive(Debug, Args)]
pub struct EditArgs {
    #[command(flatten)]
    level: Level,
}

pub(crate) fn run(command: &ConfigCommand, context: &Context<'_>) -> CommandResult {
    match command {
        ConfigCommand::Get(args) => get(args, context),
        ConfigCommand::Set(args) => {
            let key = Key::parse(&args.key).map_err(RepoError::from)?;
            if let Key::Alias(name) = &key {
                refuse_command(name)?;
            }
            change(&key, &args.level, args.dry_run, context, |text, file| {
                set_in(text, &key, &args.value, file).map(Some)
            })
        }
        ConfigCommand::Unset(args) => {
            let key = Key::parse(&args.key).map_err(RepoError::from)?;
            change(&key, &args.level, args.dry_run, context, |text, file| {
                unset_in(text, &key, file)
            })
        }
        ConfigCommand::List(args) => list(args, context),
        ConfigCommand::Edit(args) => edit(&args.level, context),
        ConfigCommand::Validate => validate(context),
    }
}

/// An alias never takes the place of a command.
fn refuse_command(alias: &str) -> anyhow::Result<()> {
    if is_command(alias) {
        let error = CliError::usage(format!("'{alias}' is a command, which no alias replaces"));
        return Err(error.with_hint("choose another name").into());
    }
    Ok(())
}

/// The repository's place; none outside of one, where the user's settings are there all the same.
fn place(context: &Context<'_>) -> anyhow::Result<Option<Place>> {
    match context.place() {
        Ok(place) => Ok(Some(place)),
        Err(error) => match error.downcast_ref::<RepoError>() {
            Some(RepoError::NotARepository(_)) => Ok(None),
            _ => Err(error),
        },
    }
}

/// The files of settings, lowest precedence first.
fn files(context: &Context<'_>) -> anyhow::Result<Vec<Origin>> {
    let environment = |name: &str| std::env::var_os(name);
    let place = place(context)?;
    let root = place.as_ref().map(|place| place.work_tree.as_path());
    let mut files = ConfigSources::new(&environment, root, &[]).files;
    if let (Some(Origin::Repository(path)), Some(place)) = (files.last_mut(), &place) {
        *path = place.repository.join("config.toml");
    }
    Ok(files)
}

fn path_of(file: &Origin) -> Option<&PathBuf> {
    match file {
        Origin::User(path) | Origin::WorkTree(path) | Origin::Repository(path) => Some(path),
        Origin::Default | Origin::Environment(_) | Origin::Flag => None,
    }
}

/// The file of a level; the repository's where none is given.
fn file(level: &Level, context: &Context<'_>) -> anyhow::Result<Origin> {
    let is_meant = |file: &Origin| match file {
        Origin::User(_) => level.user,
        Origin::WorkTree(_) => level.tree,
        Origin::Repository(_) => level.local || !(level.user || level.tree),
        Origin::Default | Origin::Environment(_) | Origin::Flag => false,
    };
    if let Some(file) = files(context)?.into_iter().find(is_meant) {
        return Ok(file);
    }
    if level.user {
        let error = CliError::new("there is no place for your own settings");
        return Err(error.with_hint("set HOME or XDG_CONFIG_HOME").into());
    }
    let error = RepoError::NotARepository(context.cwd.clone());
    Err(anyhow::Error::from(error))
}

/// The settings of one level, or of all.
fn settings(level: &Level, context: &Context<'_>) -> anyhow::Result<Config> {
    if level.user || level.local || level.tree {
        return Ok(Config::of_file(&file(level, context)?).map_err(RepoError::from)?);
    }
    context.config(place(context)?.as_ref())
}

fn get(args: &GetArgs, context: &Context<'_>) -> CommandResult {
    let key = Key::parse(&args.key).map_err(RepoError::from)?;
    let config = settings(&args.level, context)?;
    let (value, origin) = key.get(&config);
    let is_level = args.level.user || args.level.local || args.level.tree;
    let is_unset = if is_level { !key.is_set(&config) } else { value.is_empty() };
    if is_unset {
        return Ok(ExitCode::Failure);
    }
    if context.ui.is_json() {
        let mut document = entry(&key.text(), &value, &origin);
        document["schema_version"] = json!(1);
        context.ui.document(&document)?;
    } else if args.show_origin {
        context.ui.line(format!("{}\t{}", label(&origin), escape(value.as_bytes())))?;
    } else {
        context.ui.line(escape(value.as_bytes()))?;
    }
    Ok(ExitCode::Success)
}

fn list(args: &ListArgs, context: &Context<'_>) -> CommandResult {
    let is_level = args.level.user || args.level.local || args.level.tree;
    let config = settings(&args.level, context)?;
    let fields = config.list().filter(|(field, ..)| !is_level || config.is_set(field.key));
    let fields = fields.map(|(field, value, origin)| (field.key.to_owned(), value, origin));
    let aliases = config
        .aliases()
        .map(|(name, text, origin)| (Key::Alias(name.to_owned()).text(), text.to_owned(), origin));
    let listed = fields.chain(aliases);
    if context.ui.is_json() {
        let settings: Vec<_> =
            listed.map(|(key, value, origin)| entry(&key, &value, origin)).collect();
        context.ui.document(&json!({ "schema_version": 1, "settings": settings }))?;
        return Ok(ExitCode::Success);
    }
    for (key, value, origin) in listed {
        let value = escape(value.as_bytes());
        if args.show_origin {
            context.ui.line(format!("{}\t{key}={value}", label(origin)))?;
        } else {
            context.ui.line(format!("{key}={value}"))?;
        }
    }
    Ok(ExitCode::Success)
}

fn entry(key: &str, value: &str, origin: &Origin) -> Value {
    json!({ "key": key, "value": value, "origin": label(origin) })
}

/// Where a value comes from, for a column.
fn label(origin: &Origin) -> String {
    match origin {
        Origin::Default => "default".to_owned(),
        Origin::Flag => "flag:--config".to_owned(),
        Origin::Environment(name) => format!("environment:{name}"),
        Origin::User(path) | Origin::WorkTree(path) | Origin::Repository(path) => {
            format!("file:{}", escape(path.as_os_str().as_encoded_bytes()))
        }
    }
}

/// Changes one setting in the file of a level, unless `edit` says that there is nothing to change.
fn change(
    key: &Key,
    level: &Level,
    dry_run: bool,
    context: &Context<'_>,
    edit: impl FnOnce(&str, &Origin) -> Result<Option<String>, ConfigError>,
) -> CommandResult {
    let file = file(level, context)?;
    let path = path_of(&file).cloned().unwrap_or_default();
    let mut is_changed = false;
    rewrite(&path, MAX_FILE, &draft_name()?, |old| {
        let text = String::from_utf8(old)
            .map_err(|error| ConfigError::Syntax {
                origin: file.clone(),
                reason: error.utf8_error().to_string(),
            })
            .map_err(RepoError::from)?;
        let new = edit(&text, &file).map_err(RepoError::from)?;
        is_changed = new.is_some();
        Ok::<_, RepoError>(new.filter(|new| !dry_run && *new != text).map(String::into_bytes))
    })?;
    if !is_changed {
        let error = CliError::new(format!("{file} does not set '{}'", key.text()));
        return Err(error.into());
    }
    if context.ui.is_json() {
        context.ui.document(&json!({
            "schema_version": 1, "key": key.text(), "origin": label(&file), "dry_run": dry_run,
        }))?;
    }
    Ok(ExitCode::Success)
}

/// A name for the new file, until it has its own; the walk of the work tree knows such names.
pub(super) fn draft_name() -> anyhow::Result<String> {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(crate::storage::refs::RefError::Random)?;
    Ok(temporary_name(u64::from_le_bytes(seed), 0))
}

/// Lets the user edit a file, and checks what came of it.
fn edit(level: &Level, context: &Context<'_>) -> CommandResult {
    let file = file(level, context)?;
    let path = path_of(&file).cloned().unwrap_or_default();
    if !path.exists() {
        // The editor finds a file, and its directory.
        rewrite(&path, MAX_FILE, &draft_name()?, |_| Ok::<_, RepoError>(Some(Vec::new())))?;
    }
    run_editor(&path)?;
    Config::of_file(&file).map_err(RepoError::from).context("the file holds a mistake now")?;
    Ok(ExitCode::Success)
}

/// Tells what a file sets to no effect.
fn warn_of(config: &Config, context: &Context<'_>) {
    for (key, origin) in config.passed_over() {
        context.ui.warn(format!("{origin} sets '{key}', which counts in your own settings only"));
    }
    for (name, _, origin) in config.aliases().filter(|(name, ..)| is_command(name)) {
        context.ui.warn(format!("{origin} sets 'alias.{name}', but '{name}' is a command"));
    }
}

fn validate(context: &Context<'_>) -> CommandResult {
    let files = files(context)?;
    let mut errors = Vec::new();
    for file in &files {
        match Config::of_file(file) {
            Ok(config) => warn_of(&config, context),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        // The environment and the flags, too.
        if let Err(error) = context.config(place(context)?.as_ref()) {
            match error.downcast::<RepoError>() {
                Ok(RepoError::Config(error)) => errors.push(error),
                Ok(error) => return Err(error.into()),
                Err(error) => return Err(error),
            }
        }
    }
    if context.ui.is_json() {
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        let files: Vec<_> = files.iter().map(label).collect();
        context.ui.document(&json!({
            "schema_version": 1, "valid": errors.is_empty(), "errors": errors, "files": files,
        }))?;
    } else {
        for error in &errors {
            let hint = error.hint().map_or_else(String::new, |hint| format!(" ({hint})"));
            context.ui.line(format!("{error}{hint}"))?;
        }
        if errors.is_empty() {
            context.ui.message("all settings are valid");
        }
    }
    Ok(if errors.is_empty() { ExitCode::Success } else { ExitCode::Usage })
}
