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
    /// `add -u`
    AddTracked,
    /// `mv [--force] FROM TO`
    Move(usize, usize, bool),
    /// `clean -f -d`
    Clean,
    /// `commit`
    Commit,
    /// `commit --amend`
    Amend,
    /// `reset --soft|--mixed|--hard REV`
    Reset(Mode, usize),
    /// `merge [--no-ff] REV`
    Merge(usize, bool),
    /// `merge REV` of the commit so many before the last that was made
    MergeRecent(usize),
    /// `cherry-pick REV`
    Pick(usize),
    /// `revert REV`
    Revert(usize),
    /// `merge --continue`, or of what waits
    Continue,
    /// `merge --abort`, or of what waits
    Abort,
    /// `restore --ours|--theirs PATH`
    TakeSide(usize, usize),
    /// `stash push [--include-untracked]`
    Stash(bool),
    /// `stash apply|pop [--index] N`
    Unstash {
        /// Which.
        number: usize,
        /// `--index`
        index: bool,
        /// `pop`
        pops: bool,
    },
    /// `stash drop N`
    DropStash(usize),
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
    /// `switch -f NAME`
    SwitchForce(usize),
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
    /// `op restore --force SEQ`
    GoBack(usize),
    /// `gc --now`, with `--thorough` or without
    Collect(bool),
}

/// What `reset` takes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// `--soft`
    Soft,
    /// `--mixed`
    Mixed,
    /// `--hard`
    Hard,
}

impl Mode {
    /// The flag.
    pub(crate) fn flag(self) -> &'static str {
        match self {
            Self::Soft => "--soft",
            Self::Mixed => "--mixed",
            Self::Hard => "--hard",
        }
    }
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
        1 => (rev, path.clone()).prop_map(|(rev, path)| Action::UnstageTo(rev, path)),
        2 => Just(Action::AddTracked),
        3 => (path.clone(), path, any::<bool>())
            .prop_map(|(from, to, force)| Action::Move(from, to, force)),
        1 => Just(Action::Clean),
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
        1 => name.clone().prop_map(Action::SwitchForce),
        3 => name.clone().prop_map(Action::SwitchNew),
        2 => (name, rev.clone()).prop_map(|(name, rev)| Action::SwitchNewAt(name, rev)),
        2 => rev.prop_map(Action::Detach),
        2 => Just(Action::SwitchBack),
    ]
}

fn history_command() -> impl Strategy<Value = Action> {
    let (rev, path) = (0..CHOICES, 0..CHOICES);
    let mode = prop_oneof![Just(Mode::Soft), Just(Mode::Mixed), Just(Mode::Hard)];
    let stash = 0..3_usize;
    prop_oneof![
        6 => (rev.clone(), any::<bool>()).prop_map(|(rev, no_ff)| Action::Merge(rev, no_ff)),
        3 => rev.clone().prop_map(Action::Pick),
        3 => rev.clone().prop_map(Action::Revert),
        4 => Just(Action::Continue),
        2 => Just(Action::Abort),
        2 => (path, 0..2_usize).prop_map(|(path, side)| Action::TakeSide(path, side)),
        2 => Just(Action::Amend),
        2 => (mode, rev).prop_map(|(mode, rev)| Action::Reset(mode, rev)),
        4 => any::<bool>().prop_map(Action::Stash),
        4 => (stash.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(number, index, pops)| Action::Unstash { number, index, pops }),
        1 => stash.prop_map(Action::DropStash),
    ]
}

/// One step.
pub(crate) fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => edit(),
        6 => file_command(),
        5 => ref_command(),
        5 => history_command(),
        3 => Just(Action::Undo),
        2 => Just(Action::Redo),
        1 => (0..64_usize).prop_map(Action::GoBack),
        1 => any::<bool>().prop_map(Action::Collect),
    ]
}

/// Two branches that change one path, and a merge of both: by chance alone they hardly meet.
fn fork() -> impl Strategy<Value = Vec<Action>> {
    let end = prop_oneof![Just(Action::Continue), Just(Action::Abort), action()];
    let change = || (0..PATHS.len(), 0..6_usize);
    let paths = prop_oneof![2 => Just(None), 1 => change().prop_map(Some)];
    (change(), 0..6_usize, paths, 0..CHOICES, edit(), end).prop_map(
        |((path, theirs), ours, other, name, mend, end)| {
            let save = [Action::AddAll, Action::Commit];
            let other = other.map(|(path, content)| Action::Write(path, content));
            let mut steps = save.to_vec();
            steps.extend([Action::SwitchNew(name), Action::Write(path, theirs)]);
            steps.extend(other.into_iter().chain(save));
            steps.extend([Action::SwitchBack, Action::Write(path, ours)]);
            steps.extend(save);
            steps.extend([Action::MergeRecent(1), mend, Action::Add(path), end]);
            steps
        },
    )
}

/// A few steps that belong together, or one.
pub(crate) fn steps() -> impl Strategy<Value = Vec<Action>> {
    prop_oneof![32 => action().prop_map(|action| vec![action]), 1 => fork()]
}
