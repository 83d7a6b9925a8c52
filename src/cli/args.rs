//! The command line as typed.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

use super::commands;
use crate::config::{ProgressMode, When};

/// Version control for data that git cannot hold.
///
/// Digstore keeps every version of large and many files: cut by content, stored once, compressed,
/// verified at every read. Commands are git's where git has them.
#[derive(Debug, Parser)]
#[command(name = "digstore", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    /// Options that every command takes.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  digstore init                      make a repository in this directory
  digstore add -A                    store and stage everything that changed
  digstore commit -m \"first\"         record what is staged
  digstore get model.bin@HEAD~1 -o old.bin
  digstore restore --target /tmp/copy .
  digstore store size --efficiency";

/// Options that every command takes.
#[derive(Debug, Args)]
pub struct GlobalArgs {
    /// Run as if started in DIR.
    #[arg(short = 'C', value_name = "DIR", global = true)]
    pub directory: Option<PathBuf>,
    /// The repository's directory; the current directory is then the root of the work tree.
    #[arg(long, alias = "store", value_name = "DIR", global = true)]
    pub repo: Option<PathBuf>,
    /// Print errors only.
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say more; twice for still more.
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub verbose: u8,
    /// When to use colours.
    #[arg(long, value_name = "WHEN", value_enum, global = true)]
    pub color: Option<When>,
    /// How to show progress: auto, always, never or json.
    #[arg(long, value_name = "HOW", value_enum, global = true)]
    pub progress: Option<ProgressMode>,
    /// Set a setting for this command; may be repeated.
    #[arg(long = "config", value_name = "KEY=VALUE", global = true)]
    pub config: Vec<String>,
    /// Look at the repository as it was behind operation SEQ; 'digstore op log' has the numbers.
    #[arg(long, value_name = "SEQ", global = true)]
    pub at_op: Option<u64>,
    /// Print JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// Do not show long output through a pager.
    #[arg(long, global = true)]
    pub no_pager: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a repository.
    Init(commands::init::InitArgs),
    /// Store files and stage them for the next commit.
    Add(commands::add::AddArgs),
    /// Record what is staged.
    #[command(visible_alias = "ci")]
    Commit(commands::commit::CommitArgs),
    /// List, make, rename and delete branches.
    Branch(commands::branch::BranchArgs),
    /// Go to another branch or commit.
    #[command(visible_alias = "co")]
    Switch(commands::switch::SwitchArgs),
    /// Move the branch to another commit, and what is staged, or all files, with it.
    Reset(commands::reset::ResetArgs),
    /// Put local changes aside and bring them back.
    Stash(commands::stash::StashArgs),
    /// Take the last operation back.
    Undo(commands::undo::UndoArgs),
    /// Take the last undo back.
    Redo(commands::undo::RedoArgs),
    /// Look at what was done, and go back to it.
    #[command(subcommand)]
    Op(commands::op::OpCommand),
    /// Bring another branch into this one.
    Merge(commands::merge::MergeArgs),
    /// Bring single commits into this branch.
    CherryPick(commands::pick::CherryPickArgs),
    /// Take commits back by new ones.
    Revert(commands::pick::RevertArgs),
    /// List, make and delete tags.
    Tag(commands::tag::TagArgs),
    /// Show what is staged and what differs.
    #[command(visible_alias = "st")]
    Status(commands::status::StatusArgs),
    /// Show commits, the newest first.
    Log(commands::log::LogArgs),
    /// Show what differs between two versions.
    Diff(commands::diff::DiffArgs),
    /// Show commits with what they changed, tags, and files of a commit.
    Show(commands::show::ShowArgs),
    /// Find the best common ancestor of two commits.
    MergeBase(commands::merge_base::MergeBaseArgs),
    /// Tell which paths ignore rules leave out, and why.
    CheckIgnore(commands::check_ignore::CheckIgnoreArgs),
    /// List files.
    Ls(commands::ls::LsArgs),
    /// Print the bytes of a stored file.
    #[command(visible_alias = "cat")]
    Get(commands::get::GetArgs),
    /// Bring files back from the staging area or from a commit.
    Restore(commands::restore::RestoreArgs),
    /// Give files and directories another name.
    Mv(commands::mv::MvArgs),
    /// Remove files from the staging area and the work tree.
    Rm(commands::rm::RmArgs),
    /// Remove files that are not tracked.
    Clean(commands::clean::CleanArgs),
    /// Let the work tree hold only some of the files.
    Sparse(commands::sparse::SparseArgs),
    /// Look at settings and change them.
    #[command(subcommand)]
    Config(commands::config::ConfigCommand),
    /// Take over what a git repository or an archive holds.
    #[command(subcommand)]
    Import(commands::import::ImportCommand),
    /// Write versions as a git repository or as an archive.
    #[command(subcommand)]
    Export(commands::export::ExportCommand),
    /// Free the space of what nothing reaches any more.
    Gc(commands::gc::GcArgs),
    /// Take files out of all history, for good.
    Obliterate(commands::obliterate::ObliterateArgs),
    /// Look at the store.
    #[command(subcommand)]
    Store(commands::store::StoreCommand),
    /// Print the script that makes a shell complete.
    Completion(commands::completion::CompletionArgs),
    /// Write the manual.
    Man(commands::completion::ManArgs),
    /// Look at how Digstore works.
    #[command(subcommand, hide = true)]
    Debug(commands::debug::DebugCommand),
}
