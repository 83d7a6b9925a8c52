//! Everything that can be seen, compared after each command and at the end.

#![expect(clippy::panic, clippy::expect_used, reason = "a difference fails the test")]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::common::{Node, Sandbox};
use super::files::{Files, bytes_of, files};
use super::shown::{shown, with_text};
use super::state::OK;
use super::world::{Lost, World, head_of, string};

impl World {
    /// Compares everything that can be seen.
    pub(crate) fn compare(&mut self, args: &[String]) {
        let found = files(self.sandbox.snapshot());
        if found != self.state.work {
            let (found, state) = (with_text(&found), shown(&self.state));
            panic!("work tree after {args:?}: found {found:?}\nexpected: {state}");
        }
        // What is there again is lost no more; what a person does to it then is theirs.
        self.lost.retain(|lost| !found.values().any(|node| *node == lost.node));
        let expected = self.state.refs.staged.clone();
        let staged = self.listed(&["ls", "--json"], &expected);
        assert_eq!(with_text(&expected), with_text(&staged), "staged after {args:?}");
        let names = |value: &Value, key: &str| -> BTreeMap<String, String> {
            let list = value[key].as_array().expect("a list");
            list.iter().map(|one| (string(&one["name"]), string(&one["id"]))).collect()
        };
        let branches = self.sandbox.ok(["branch", "--json"]).json();
        assert_eq!(names(&branches, "branches"), self.state.refs.branches, "after {args:?}");
        let tags = self.sandbox.ok(["tag", "--json"]).json();
        assert_eq!(names(&tags, "tags"), self.state.refs.tags, "after {args:?}");
        let stashes = self.sandbox.ok(["stash", "list", "--json"]).json();
        let stashes = stashes["stashes"].as_array().expect("a list");
        let stashes: Vec<String> = stashes.iter().map(|one| string(&one["id"])).collect();
        let expected: Vec<&String> = self.state.refs.stashes.iter().map(|one| &one.id).collect();
        assert_eq!(stashes.iter().collect::<Vec<_>>(), expected, "stashes after {args:?}");
        self.compare_status(args);
    }

    fn compare_status(&self, args: &[String]) {
        let status = self.sandbox.ok(["status", "--json"]).json();
        assert_eq!(head_of(&status), self.state.refs.head, "after {args:?}");
        let listed = |key: &str| -> BTreeMap<String, char> {
            let list = status[key].as_array().expect("a list");
            let letter = |one: &Value| string(&one["change"]).chars().next().unwrap_or(' ');
            list.iter().map(|one| (string(&one["path"]), letter(one))).collect()
        };
        let found = [listed("staged"), listed("unstaged")];
        assert_eq!(found, self.state.changes(), "status after {args:?}\n{}", shown(&self.state));
        let merging = self.state.waits().map(|merging| {
            let conflicts = merging.conflicts.iter();
            let conflicts = conflicts.map(|(path, one)| (path.clone(), one.resolved)).collect();
            (merging.command.to_owned(), merging.other.clone(), conflicts)
        });
        let found = status["merging"].as_object().map(|merging| {
            let conflicts = merging["conflicts"].as_array().expect("a list").iter();
            let conflicts = conflicts.map(|one| (string(&one["path"]), one["resolved"] == true));
            (string(&merging["kind"]), string(&merging["others"][0]), conflicts.collect::<Vec<_>>())
        });
        assert_eq!(found, merging, "what waits after {args:?}\n{}", shown(&self.state));
        let untracked = status["untracked"].as_array().expect("a list");
        let untracked: Vec<String> = untracked.iter().map(|one| string(&one["path"])).collect();
        assert_eq!(
            untracked,
            self.state.untracked(),
            "untracked after {args:?}\n{}",
            shown(&self.state)
        );
    }

    /// What `ls --json` lists. The ids of contents must be the same as ever, and others for others.
    /// What a content is that was not met before, `expected` says.
    fn listed(&mut self, args: &[&str], expected: &Files) -> Files {
        let listed = self.sandbox.ok(args).json();
        let entries = listed["entries"].as_array().expect("a list");
        let known: BTreeMap<&String, &Vec<u8>> =
            self.ids.iter().map(|(bytes, id)| (id, bytes)).collect();
        let (mut tree, mut unknown) = (Files::new(), Vec::new());
        for entry in entries {
            let path = string(&entry["path"]);
            let node = match entry["kind"].as_str() {
                Some("file") => {
                    let id = string(&entry["id"]);
                    let bytes = known.get(&id).map(|bytes| (*bytes).clone());
                    let bytes = bytes.unwrap_or_else(|| {
                        let bytes = expected.get(&path).and_then(bytes_of).unwrap_or_default();
                        unknown.push((bytes.clone(), id));
                        bytes
                    });
                    assert_eq!(entry["size"], bytes.len());
                    Node::File(bytes, entry["executable"] == true)
                }
                Some("symlink") => Node::Link(string(&entry["target"]).into()),
                _ => Node::EmptyDir,
            };
            tree.insert(path, node);
        }
        for (bytes, id) in unknown {
            let before = self.ids.insert(bytes, id.clone());
            assert!(before.is_none_or(|before| before == id), "two ids of one content");
        }
        tree
    }

    /// At the end of a sequence: every commit is as it was made, the store is sound, and nothing
    /// that a command took from the work tree is lost.
    pub(crate) fn finish(mut self) -> BTreeSet<String> {
        let mut read = BTreeSet::new();
        for (id, commit) in self.state.commits.clone() {
            let tree = self.listed(&["ls", "--json", "-s", &id], &commit.tree);
            assert_eq!(with_text(&commit.tree), with_text(&tree), "commit {id}");
            for (path, node) in commit.tree {
                if let Node::File(bytes, _) = node
                    && read.insert(bytes.clone())
                {
                    assert_eq!(self.sandbox.ok(["get", &format!("{id}:{path}")]).stdout, bytes);
                }
            }
        }
        let restored = files(self.sandbox.restored("HEAD"));
        assert_eq!(with_text(&restored), with_text(self.state.head_tree()), "HEAD restored");
        self.sandbox.ok(["store", "verify", "--data"]);
        self.look_for_lost();
        std::mem::take(&mut self.met)
    }

    fn look_for_lost(&mut self) {
        let mut saved: BTreeSet<Vec<u8>> = BTreeSet::new();
        let mut save = |tree: &Files| {
            saved.extend(tree.values().filter_map(bytes_of));
        };
        self.state.commits.values().for_each(|commit| save(&commit.tree));
        save(&self.state.work);
        save(&self.state.refs.staged);
        for op in &self.done {
            save(&op.before.refs.staged);
        }
        loop {
            // A directory made by hand may be in the way of what comes back.
            let goes = |sandbox: &Sandbox| sandbox.run(["undo", "--force"]).code == OK;
            if !goes(&self.sandbox) {
                self.sandbox.snapshot().keys().for_each(|path| self.sandbox.remove(path));
                if !goes(&self.sandbox) {
                    break;
                }
            }
            save(&files(self.sandbox.snapshot()));
        }
        for Lost { path, node, by } in &self.lost {
            if let Some(bytes) = bytes_of(node)
                && !saved.contains(&bytes)
            {
                let bytes = String::from_utf8_lossy(&bytes).into_owned();
                panic!("{by} lost {path}: {bytes:?}");
            }
        }
    }
}
