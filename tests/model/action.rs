//! What may happen in a sequence: edits by hand, and commands.

use proptest::prelude::*;

/// Where files, links and directories may lie: few places, so that they meet.
pub(crate) const PATHS: [&str; 11] =
    ["a", "b", "d", "d/a", "d/b", "d/e", "d/e/c", "d/e/f", "g/h", "x.ign", "d/y.ign"];
/// Names of branches and of tags.
pub(crate) const NAMES: [&str; 4] = ["main", "one", "two", "three"];

/// Numbers that a command is given. Most choose among what is there, those behind [`KNOWN`] among
/// all names.
const CHOICES: usize = 32;
/// See [`CHOICES`].
pub(crate) const KNOWN: usize = 24;

/// One step of a sequence. Numbers are places in a list, taken modulo its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// A file is written by hand: path, content.
    Write(usize, usize),
    /// A symbolic link is made by hand: path, target.
    Link(usize, usize),
    /// A directory is made by hand.
    Mkdir(usize),
    /// The executable bit of a file is changed by hand.
    Chmod(usize),
    /// Whatever is there is removed by hand.
    Remove(usize),
    /// `add -A`
    AddAll,
    /// `add PATH`
    Add(usize),
    /// `rm -r PATH`
    Rm(usize, How),
    /// `restore PATH`
    Restore(usize),
    /// `restore --source REV PATH`
    RestoreFrom(usize, usize),
    /// `restore --staged PATH`
    Unstage(usize),
    /// `restore --staged --source REV PATH`
    UnstageTo(usize, usize),
    /// `commit`
    Commit,
    /// `branch NAME REV`
    Branch(usize, usize),
    /// `branch -d NAME`
    DeleteBranch(usize),
    /// `branch -D NAME`
    DropBranch(usize),
    /// `branch -m OLD NEW`
    RenameBranch(usize, usize),
    /// `tag NAME REV`
    Tag(usize, usize),
    /// `tag -d NAME`
    DeleteTag(usize),
    /// `switch NAME`
    Switch(usize),
    /// `switch -c NAME`
    SwitchNew(usize),
    /// `switch -c NAME REV`
    SwitchNewAt(usize, usize),
    /// `switch --detach REV`
    Detach(usize),
    /// `switch -`
    SwitchBack,
    /// `undo`
    Undo,
    /// `redo`
    Redo,
}

/// How `rm` removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// What is committed as it lies there.
    Careful,
    /// `--cached`: from the staging area only.
    Cached,
    /// `--force`: whatever it is.
    Force,
}

fn edit() -> impl Strategy<Value = Action> {
    let path = 0..PATHS.len();
    prop_oneof![
        8 => (path.clone(), 0..6_usize).prop_map(|(path, content)| Action::Write(path, content)),
        1 => (path.clone(), 0..2_usize).prop_map(|(path, target)| Action::Link(path, target)),
        1 => path.clone().prop_map(Action::Mkdir),
        1 => path.clone().prop_map(Action::Chmod),
        3 => path.prop_map(Action::Remove),
    ]
}

fn file_command() -> impl Strategy<Value = Action> {
    let (path, rev) = (0..CHOICES, 0..CHOICES);
    let how = prop_oneof![Just(How::Careful), Just(How::Cached), Just(How::Force)];
    prop_oneof![
        6 => Just(Action::AddAll),
        3 => path.clone().prop_map(Action::Add),
        5 => (path.clone(), how).prop_map(|(path, how)| Action::Rm(path, how)),
        2 => path.clone().prop_map(Action::Restore),
        2 => (rev.clone(), path.clone()).prop_map(|(rev, path)| Action::RestoreFrom(rev, path)),
        1 => path.clone().prop_map(Action::Unstage),
        1 => (rev, path).prop_map(|(rev, path)| Action::UnstageTo(rev, path)),
        6 => Just(Action::Commit),
    ]
}

fn ref_command() -> impl Strategy<Value = Action> {
    let (name, rev) = (0..CHOICES, 0..CHOICES);
    prop_oneof![
        1 => (name.clone(), rev.clone()).prop_map(|(name, rev)| Action::Branch(name, rev)),
        1 => name.clone().prop_map(Action::DeleteBranch),
        1 => name.clone().prop_map(Action::DropBranch),
        1 => (name.clone(), name.clone()).prop_map(|(old, new)| Action::RenameBranch(old, new)),
        2 => (name.clone(), rev.clone()).prop_map(|(name, rev)| Action::Tag(name, rev)),
        3 => name.clone().prop_map(Action::DeleteTag),
        4 => name.clone().prop_map(Action::Switch),
        3 => name.clone().prop_map(Action::SwitchNew),
        2 => (name, rev.clone()).prop_map(|(name, rev)| Action::SwitchNewAt(name, rev)),
        2 => rev.prop_map(Action::Detach),
        2 => Just(Action::SwitchBack),
    ]
}

/// One step.
pub(crate) fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => edit(),
        6 => file_command(),
        5 => ref_command(),
        2 => Just(Action::Undo),
        1 => Just(Action::Redo),
    ]
}
