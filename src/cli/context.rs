//! What every command needs: where it runs, its settings, how it talks.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::args::GlobalArgs;
use super::signals;
use super::ui::Ui;
use crate::config::{Config, ConfigSources, Origin};
use crate::path::{REPOSITORY_DIR, RepoPath};
use crate::progress::Monitor;
use crate::repo::pathspec::{Base, Pathspec};
use crate::repo::run_history::Run;
use crate::repo::{Place, RepoError, Repository};

/// The surroundings of one command.
pub(crate) struct Context<'a> {
    /// The directory it runs in, absolute.
    pub cwd: PathBuf,
    /// The repository named by `--repo`.
    repository: Option<PathBuf>,
    flags: Vec<String>,
    /// The operation behind which the repository is looked at.
    at_op: Option<u64>,
    /// How it talks.
    pub ui: &'a Ui,
}

impl<'a> Context<'a> {
    /// Reads the global options.
    pub(crate) fn new(global: &GlobalArgs, ui: &'a Ui) -> Result<Self> {
        let here = std::env::current_dir().context("cannot find the current directory")?;
        let cwd = match &global.directory {
            Some(dir) => std::fs::canonicalize(here.join(dir))
                .with_context(|| format!("cannot change to '{}'", dir.display()))?,
            None => here.clone(),
        };
        let repository = global.repo.as_ref().map(|dir| here.join(dir));
        Ok(Self { cwd, repository, flags: global.config.clone(), at_op: global.at_op, ui })
    }

    /// Where the repository is.
    pub(crate) fn place(&self) -> Result<Place> {
        Ok(match &self.repository {
            Some(repository) => {
                Place { repository: repository.clone(), work_tree: self.cwd.clone() }
            }
            None => Place::discover(&self.cwd)?,
        })
    }

    /// Where `init` makes one.
    pub(crate) fn new_place(&self, directory: Option<&Path>) -> Place {
        let work_tree = directory.map_or_else(|| self.cwd.clone(), |dir| self.cwd.join(dir));
        let repository = self.repository.clone().unwrap_or_else(|| work_tree.join(REPOSITORY_DIR));
        Place { repository, work_tree }
    }

    /// Settings from every source.
    pub(crate) fn config(&self, place: Option<&Place>) -> Result<Config> {
        let environment = |name: &str| std::env::var_os(name);
        let mut sources = ConfigSources::new(
            &environment,
            place.map(|place| place.work_tree.as_path()),
            &self.flags,
        );
        if let Some(place) = place {
            sources.files.pop();
            sources.files.push(Origin::Repository(place.repository.join("config.toml")));
        }
        Ok(Config::load(&sources).map_err(RepoError::from)?)
    }

    /// Opens the repository; Ctrl-C then ends the running operation in good order.
    pub(crate) fn open(&self) -> Result<Repository> {
        self.open_with(self.ui.monitor())
    }

    /// Opens the repository for a command whose progress is not worth showing.
    pub(crate) fn open_with(&self, monitor: Arc<dyn Monitor>) -> Result<Repository> {
        let place = self.place()?;
        let config = self.config(Some(&place))?;
        let home = std::env::var_os("HOME").map(PathBuf::from);
        place.check_owner(&config.safe.directories, home.as_deref())?;
        let mut repository = Repository::open(place, config, monitor)?;
        if let Some(seq) = self.at_op {
            repository = repository.at_operation(seq)?;
        }
        signals::listen(repository.cancel_token());
        Ok(repository)
    }

    /// Enters a run into the history. What goes wrong there is worth a word with `-v` only.
    pub(crate) fn note_run(&self, repository: &Repository, run: &Run) {
        if let Err(error) = repository.note_run(run) {
            let error = anyhow::Error::from(error);
            self.ui.detail(1, format!("warning: the history of runs: {error:#}"));
        }
    }

    /// A path as typed, relative to the work tree.
    pub(crate) fn repo_path(
        &self,
        repository: &Repository,
        typed: &OsStr,
    ) -> Result<RepoPath, RepoError> {
        let below = self.below_work_tree(repository, typed.as_ref())?;
        Repository::check_path(below.into_os_string().into_vec())
    }

    /// A path as typed, relative to the work tree, unchecked.
    fn below_work_tree(&self, repository: &Repository, typed: &Path) -> Result<PathBuf, RepoError> {
        let work_tree = &repository.place().work_tree;
        let full = normalise(&self.cwd.join(typed));
        let below = full.strip_prefix(work_tree).map(Path::to_owned).or_else(|_| {
            // The work tree may have been typed through a symlink.
            let real = std::fs::canonicalize(&full).unwrap_or_else(|_| full.clone());
            let root = std::fs::canonicalize(work_tree).unwrap_or_else(|_| work_tree.clone());
            real.strip_prefix(root).map(Path::to_owned)
        });
        let outside = || RepoError::Outside { path: full.clone(), work_tree: work_tree.clone() };
        below.map_err(|_| outside())
    }

    /// Pathspecs as typed; none for everything.
    pub(crate) fn pathspec(
        &self,
        repository: &Repository,
        typed: &[impl AsRef<OsStr>],
    ) -> Result<Pathspec, RepoError> {
        self.pathspec_from(repository, typed, false)
    }

    /// The same, where excluding pathspecs on their own are taken from the current directory.
    pub(crate) fn pathspec_here(
        &self,
        repository: &Repository,
        typed: &[impl AsRef<OsStr>],
    ) -> Result<Pathspec, RepoError> {
        self.pathspec_from(repository, typed, true)
    }

    fn pathspec_from(
        &self,
        repository: &Repository,
        typed: &[impl AsRef<OsStr>],
        excludes_from_dir: bool,
    ) -> Result<Pathspec, RepoError> {
        if typed.is_empty() {
            return Ok(Pathspec::all());
        }
        let dir = self.repo_path(repository, ".".as_ref())?;
        let absolute = |path: &[u8]| self.below_root(repository, path);
        let base = Base { dir: &dir, excludes_from_dir, absolute: &absolute };
        let texts: Vec<&[u8]> = typed.iter().map(|text| text.as_ref().as_bytes()).collect();
        Ok(Pathspec::parse(&texts, &base)?)
    }

    fn below_root(&self, repository: &Repository, path: &[u8]) -> Option<Vec<u8>> {
        let below = self.below_work_tree(repository, Path::new(OsStr::from_bytes(path))).ok()?;
        let mut below = below.into_os_string().into_vec();
        if path.ends_with(b"/") {
            below.push(b'/');
        }
        Some(below)
    }

    /// Pathspecs as they would be typed in the root of the work tree.
    pub(crate) fn pathspecs_from_root(
        &self,
        repository: &Repository,
        typed: &[impl AsRef<OsStr>],
    ) -> Result<Vec<Vec<u8>>, RepoError> {
        let dir = self.repo_path(repository, ".".as_ref())?;
        let absolute = |path: &[u8]| self.below_root(repository, path);
        let base = Base { dir: &dir, excludes_from_dir: false, absolute: &absolute };
        let mut all = Vec::new();
        for text in typed {
            all.extend(Pathspec::from_root(text.as_ref().as_bytes(), &base)?);
        }
        Ok(all)
    }

    /// All paths as typed.
    pub(crate) fn repo_paths(
        &self,
        repository: &Repository,
        typed: &[impl AsRef<OsStr>],
    ) -> Result<Vec<RepoPath>, RepoError> {
        typed.iter().map(|path| self.repo_path(repository, path.as_ref())).collect()
    }
}

/// Takes `.` and `..` out of an absolute path, by the text alone.
fn normalise(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}
