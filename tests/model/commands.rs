//! The command line of each action, and what the model makes of it.

use super::action::{Action, How, KNOWN, NAMES, PATHS};
use super::files::within;
use super::merge::Outcome;
use super::state::{Code, FAILED, Head, OK, State, UNKNOWN};
use super::world::World;

fn words(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
}

impl World {
    /// The path that a command is given, mostly one where something is.
    fn path(&self, number: usize) -> String {
        let State { refs, work, .. } = &self.state;
        let is_there = |path: &&str| {
            [work, &refs.staged, self.state.head_tree()]
                .iter()
                .any(|tree| !within(tree, path).is_empty())
        };
        chosen(
            &PATHS.iter().copied().filter(|path| is_there(path)).collect::<Vec<_>>(),
            &PATHS,
            number,
        )
    }

    fn branch(&self, number: usize) -> String {
        chosen(
            &self.state.refs.branches.keys().map(String::as_str).collect::<Vec<_>>(),
            &NAMES,
            number,
        )
    }

    fn new_name(&self, number: usize) -> String {
        let State { refs, .. } = &self.state;
        let is_free =
            |name: &&str| !refs.branches.contains_key(*name) && !refs.tags.contains_key(*name);
        chosen(&NAMES.iter().copied().filter(is_free).collect::<Vec<_>>(), &NAMES, number)
    }

    fn revision(&self, number: usize) -> String {
        self.state.order[number % self.state.order.len()].clone()
    }

    fn recent(&self, back: usize) -> String {
        let order = &self.state.order;
        order[order.len() - 1 - back % order.len()].clone()
    }

    /// The command line of an action, done in the model, and what should come of it; none where
    /// there is nothing to be done.
    pub(crate) fn command(&mut self, action: Action) -> Option<(Vec<String>, Outcome)> {
        if let Some((args, code)) = self.file_command(action) {
            return Some((args, Outcome::Ends(code)));
        }
        if let Some((args, code)) = self.ref_command(action) {
            return Some((args, Outcome::Ends(code)));
        }
        if let Some((args, code)) = self.stash_command(action) {
            return Some((args, code));
        }
        self.history_command(action)
    }

    fn file_command(&mut self, action: Action) -> Option<(Vec<String>, Code)> {
        let path = match action {
            Action::Add(number)
            | Action::Rm(number, _)
            | Action::Restore(number)
            | Action::RestoreFrom(_, number)
            | Action::Unstage(number)
            | Action::UnstageTo(_, number)
            | Action::TakeSide(number, _)
            | Action::Move(number, ..) => self.path(number),
            _ => String::new(),
        };
        let state = &mut self.state;
        Some(match action {
            Action::AddAll => (words(&["add", "-A"]), state.add("")),
            Action::AddTracked => (words(&["add", "-u"]), state.add_tracked()),
            Action::Add(_) => (words(&["add", &path]), state.add(&path)),
            Action::Rm(_, how) => {
                let code = state.rm(&path, how == How::Cached, how == How::Force);
                let flag = match how {
                    How::Careful => None,
                    How::Cached => Some("--cached"),
                    How::Force => Some("--force"),
                };
                (["rm", "-r", &path].into_iter().chain(flag).map(str::to_owned).collect(), code)
            }
            Action::Restore(_) => {
                let tree = state.refs.staged.clone();
                (words(&["restore", &path]), state.restore(&tree, &path))
            }
            Action::Unstage(_) => {
                let head = state.head_id().to_owned();
                (words(&["restore", "--staged", &path]), state.unstage(&head, &path))
            }
            Action::RestoreFrom(rev, _) => {
                let id = self.revision(rev);
                let tree = self.state.commits[&id].tree.clone();
                let code = self.state.restore(&tree, &path);
                (words(&["restore", "--source", &id, &path]), code)
            }
            Action::UnstageTo(rev, _) => {
                let id = self.revision(rev);
                let code = self.state.unstage(&id, &path);
                (words(&["restore", "--staged", "--source", &id, &path]), code)
            }
            Action::TakeSide(_, side) => {
                let flag = ["--ours", "--theirs"][side % 2];
                (words(&["restore", flag, &path]), state.take_side(&path, side % 2))
            }
            Action::Clean => (words(&["clean", "-f", "-d"]), state.clean()),
            Action::Move(_, to, force) => {
                let to = PATHS[to % PATHS.len()];
                let flag = force.then_some("--force");
                let args = ["mv", &path, to].into_iter().chain(flag).map(str::to_owned);
                (args.collect(), state.rename(&path, to, force))
            }
            _ => return None,
        })
    }

    fn stash_command(&mut self, action: Action) -> Option<(Vec<String>, Outcome)> {
        let state = &mut self.state;
        Some(match action {
            Action::Stash(with_untracked) => {
                let (code, stash) = state.stash(with_untracked);
                if let Some(stash) = stash {
                    state.refs.stashes.insert(0, stash);
                }
                let flag = with_untracked.then_some("--include-untracked");
                let args = ["stash", "push"].into_iter().chain(flag).map(str::to_owned);
                (args.collect(), Outcome::Ends(code))
            }
            Action::Unstash { number, index, pops } => {
                let number = number % state.refs.stashes.len().max(2);
                let outcome = state.unstash(number, index, pops);
                let word = if pops { "pop" } else { "apply" };
                let flag = index.then_some("--index");
                let number = number.to_string();
                let args = ["stash", word, &number].into_iter().chain(flag).map(str::to_owned);
                (args.collect(), outcome)
            }
            Action::DropStash(number) => {
                let args = words(&["stash", "drop", &number.to_string()]);
                (args, Outcome::Ends(state.drop_stash(number)))
            }
            _ => return None,
        })
    }

    fn history_command(&mut self, action: Action) -> Option<(Vec<String>, Outcome)> {
        let message = format!("step {}", self.steps);
        let waits = self.state.waits().map_or("merge", |merging| merging.command);
        let waits = if waits == "stash" { "merge" } else { waits };
        Some(match action {
            Action::Commit => (words(&["commit", "-m", &message]), self.state.next_commit(false)),
            Action::Amend => (words(&["commit", "--amend", "-m", &message]), self.state.amend()),
            Action::Reset(mode, rev) => {
                let id = self.revision(rev);
                let code = self.state.reset(mode.flag(), &id);
                (words(&["reset", mode.flag(), &id]), Outcome::Ends(code))
            }
            Action::Merge(..) | Action::MergeRecent(_) => {
                let (id, no_ff) = match action {
                    Action::Merge(rev, no_ff) => (self.revision(rev), no_ff),
                    Action::MergeRecent(back) => (self.recent(back), false),
                    _ => return None,
                };
                let head = self.state.head_id();
                if self.state.merge_bases(head, &id).len() > 1 {
                    // A criss-cross of merges has tests of its own.
                    return None;
                }
                let flag = no_ff.then_some("--no-ff");
                let args = ["merge", &id].into_iter().chain(flag).map(str::to_owned).collect();
                (args, self.state.merge(&id, no_ff))
            }
            Action::Pick(rev) => {
                let id = self.revision(rev);
                (words(&["cherry-pick", &id]), self.state.pick(&id, "cherry-pick"))
            }
            Action::Revert(rev) => {
                let id = self.revision(rev);
                (words(&["revert", &id]), self.state.pick(&id, "revert"))
            }
            Action::Continue => {
                let is_stash = self.state.waits().is_some_and(|one| one.command == "stash");
                let outcome =
                    if is_stash { Outcome::Ends(FAILED) } else { self.state.next_commit(true) };
                (words(&[waits, "--continue"]), outcome)
            }
            Action::Abort => (words(&[waits, "--abort"]), Outcome::Ends(self.state.abort(waits))),
            _ => return None,
        })
    }

    fn ref_command(&mut self, action: Action) -> Option<(Vec<String>, Code)> {
        Some(match action {
            Action::Branch(number, rev) => {
                let (name, id) = (self.new_name(number), self.revision(rev));
                (words(&["branch", &name, &id]), self.new_branch(&name, &id))
            }
            Action::DeleteBranch(number) => {
                let name = self.branch(number);
                (words(&["branch", "-d", &name]), self.delete_branch(&name, false))
            }
            Action::DropBranch(number) => {
                let name = self.branch(number);
                (words(&["branch", "-D", &name]), self.delete_branch(&name, true))
            }
            Action::RenameBranch(old, new) => {
                let (old, new) = (self.branch(old), self.new_name(new));
                (words(&["branch", "-m", &old, &new]), self.rename_branch(&old, &new))
            }
            Action::Tag(number, rev) => {
                let (name, id) = (self.new_name(number), self.revision(rev));
                let tags = &mut self.state.refs.tags;
                let code = if tags.contains_key(&name) { FAILED } else { OK };
                tags.entry(name.clone()).or_insert_with(|| id.clone());
                (words(&["tag", &name, &id]), code)
            }
            Action::DeleteTag(number) => {
                let tags = &mut self.state.refs.tags;
                let name =
                    chosen(&tags.keys().map(String::as_str).collect::<Vec<_>>(), &NAMES, number);
                let code = tags.remove(&name).map_or(UNKNOWN, |_| OK);
                (words(&["tag", "-d", &name]), code)
            }
            Action::Switch(number) => {
                let name = self.branch(number);
                let code = self.state.switch(Head::Branch(name.clone()), false);
                (words(&["switch", &name]), code)
            }
            Action::SwitchForce(number) => {
                let name = self.branch(number);
                let code = self.state.switch(Head::Branch(name.clone()), true);
                (words(&["switch", "-f", &name]), code)
            }
            Action::SwitchNew(number) => {
                let (name, id) = (self.new_name(number), self.state.head_id().to_owned());
                (words(&["switch", "-c", &name]), self.switch_new(&name, &id))
            }
            Action::SwitchNewAt(number, rev) => {
                let (name, id) = (self.new_name(number), self.revision(rev));
                (words(&["switch", "-c", &name, &id]), self.switch_new(&name, &id))
            }
            Action::Detach(rev) => {
                let id = self.revision(rev);
                let code = self.state.switch(Head::Detached(id.clone()), false);
                (words(&["switch", "--detach", &id]), code)
            }
            _ => return None,
        })
    }

    fn new_branch(&mut self, name: &str, id: &str) -> Code {
        let branches = &mut self.state.refs.branches;
        if branches.contains_key(name) {
            return FAILED;
        }
        branches.insert(name.to_owned(), id.to_owned());
        OK
    }

    fn delete_branch(&mut self, name: &str, force: bool) -> Code {
        let Some(id) = self.state.refs.branches.get(name).cloned() else { return UNKNOWN };
        let is_current = self.state.refs.head == Head::Branch(name.to_owned());
        if is_current || !force && !self.state.leads_to(&id, self.state.head_id()) {
            return FAILED;
        }
        self.state.refs.branches.remove(name);
        OK
    }

    fn rename_branch(&mut self, old: &str, new: &str) -> Code {
        let Some(id) = self.state.refs.branches.get(old).cloned() else { return UNKNOWN };
        if old == new {
            return OK;
        }
        if self.state.refs.branches.contains_key(new) {
            return FAILED;
        }
        self.state.refs.branches.remove(old);
        self.state.refs.branches.insert(new.to_owned(), id);
        if self.state.refs.head == Head::Branch(old.to_owned()) {
            self.state.refs.head = Head::Branch(new.to_owned());
        }
        OK
    }

    fn switch_new(&mut self, name: &str, id: &str) -> Code {
        let code = self.new_branch(name, id);
        if code == OK { self.state.switch(Head::Branch(name.to_owned()), false) } else { code }
    }
}

/// One of `known`, or of `all` for a large number, or where nothing is known.
fn chosen(known: &[&str], all: &[&str], number: usize) -> String {
    let from = if number < KNOWN && !known.is_empty() { known } else { all };
    from[number % from.len()].to_owned()
}
