//! What each command prints: for people, for scripts, as JSON, and its help.
//!
//! `just snapshots` writes the files of `tests/snapshots` anew; what changed in them is what users
//! will see differently.

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use common::{Sandbox, text};
use serde_json::Value;

/// What differs from run to run: filtered before the comparison.
const FILTERS: &[(&str, &str)] = &[
    (r"\b[0-9a-f]{64}\b", "[id]"),
    (r"\b[0-9a-f]{10}\b", "[short]"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d([+-]\d\d:?\d\d|Z| [+-]\d{4})?", "[time]"),
    (r"[A-Z][a-z]{2} [A-Z][a-z]{2} +\d+ \d\d:\d\d:\d\d \d{4} [+-]\d{4}", "[time]"),
    (r"\b\d[\d,.]* (files?|[KMG]i?B|B)/s", "[rate]"),
    (r"\b\d[\d,.]* (ms|µs|s)\b", "[duration]"),
    // Files that were written in the same tick of the clock are read again.
    (r"read [\d.,]+ [KMG]?i?B, new", "read [bytes], new"),
    (r"/[^\s']*/work\b", "[work]"),
    (r"/[^\s']*/home\b", "[home]"),
];

/// Fields of JSON whose values depend on the machine or the moment.
const VOLATILE: &[&str] = &[
    "seconds",
    "time",
    "id",
    "tree",
    "staged_tree",
    "parents",
    "metrics",
    "plan",
    "cache",
    "old",
    "new",
    "kept",
    "detached_at",
    "last_runs",
    "disk_bytes",
    "overhead_bytes",
    "stored_bytes",
    "metadata_bytes",
    "staging_bytes",
    "compression_ratio",
    "total_ratio",
];

/// A session: commands and what they said, one after the other.
struct Session {
    sandbox: Sandbox,
    said: String,
}

impl Session {
    fn new() -> Self {
        Self { sandbox: Sandbox::bare(), said: String::new() }
    }

    /// Runs a command and notes all that it says.
    fn run(&mut self, args: &[&str]) {
        let output = self.sandbox.run(args);
        let stdout = if args.contains(&"--json") && !output.stdout.is_empty() {
            let mut value = output.json();
            blur(&mut value);
            format!("{value:#}\n")
        } else {
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let _ = writeln!(self.said, "$ digstore {}\n{stdout}", args.join(" "));
        // Progress depends on the time that things took.
        let messages = output.stderr.lines().filter(|line| !line.contains("\"status\""));
        for line in messages {
            let _ = writeln!(self.said, "! {line}");
        }
        let _ = writeln!(self.said, "= {}\n", output.code);
    }

    fn compare(&mut self, name: &str) {
        let said = std::mem::take(&mut self.said);
        let said: Vec<&str> = said.lines().map(str::trim_end).collect();
        insta::with_settings!({filters => FILTERS.to_vec(), omit_expression => true}, {
            insta::assert_snapshot!(name, said.join("\n"));
        });
    }
}

fn blur(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, field) in map.iter_mut() {
                if VOLATILE.contains(&key.as_str()) && !field.is_null() {
                    *field = Value::from("[...]");
                } else {
                    blur(field);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(blur),
        _ => {}
    }
}

const COMMIT: [&str; 4] = ["--date", "2026-01-02T03:04:05Z", "commit", "-m"];

fn commit(message: &str) -> [&str; 5] {
    [COMMIT[2], COMMIT[0], COMMIT[1], COMMIT[3], message]
}

/// Two commits, one of each thing that a tree holds.
fn saved() -> Session {
    let mut session = Session::new();
    session.run(&["init"]);
    session.sandbox.write("notes.md", "one\ntwo\nthree\n");
    session.sandbox.write("data/table", text(1, 300));
    session.sandbox.write("run", "#!/bin/sh\n");
    session.sandbox.chmod("run", 0o755);
    session.sandbox.link("link", "notes.md");
    session.sandbox.mkdir("empty");
    session.run(&["status"]);
    session.run(&["add", "-n", "-A"]);
    session.run(&["add", "-A"]);
    session.run(&["status"]);
    session.run(&commit("first"));
    session.sandbox.write("notes.md", "one\n2\nthree\n");
    session.sandbox.remove("data/table");
    session.sandbox.write("data/other", "other\n");
    session
}

#[test]
fn saving() {
    let mut session = saved();
    session.run(&["status", "--json"]);
    session.run(&["status", "--short"]);
    session.run(&["diff"]);
    session.run(&["diff", "--stat"]);
    session.run(&["diff", "--name-status"]);
    session.run(&["diff", "--json"]);
    session.run(&["add", "notes.md", "--json"]);
    session.run(&["status"]);
    session.run(&["status", "--porcelain"]);
    session.run(&["restore", "--staged", "notes.md"]);
    session.run(&["add", "-A"]);
    session.run(&["commit", "-m", "second", "--json"]);
    session.run(&["commit", "-m", "nothing"]);
    session.run(&["status"]);
    session.compare("saving");
}

#[test]
fn looking_back() {
    let mut session = saved();
    session.sandbox.ok(["add", "-A"]);
    session.run(&commit("second"));
    session.said.clear();
    session.run(&["log"]);
    session.run(&["log", "--oneline", "--graph"]);
    session.run(&["log", "--stat", "--json"]);
    session.run(&["show"]);
    session.run(&["ls"]);
    session.run(&["ls", "-l", "-s", "HEAD~1"]);
    session.run(&["ls", "--json", "-s", "HEAD~1"]);
    session.run(&["get", "HEAD~1:notes.md"]);
    session.run(&["get", "nots.md"]);
    session.run(&["rm", "-n", "notes.md"]);
    session.run(&["rm", "notes.md"]);
    session.run(&["undo"]);
    session.run(&["redo"]);
    session.run(&["undo", "--json"]);
    session.run(&["op", "log"]);
    session.run(&["op", "show"]);
    session.compare("looking_back");
}

#[test]
fn branches_and_merges() {
    let mut session = saved();
    session.said.clear();
    session.run(&["branch", "topic"]);
    session.run(&["branch"]);
    session.run(&["branch", "--json"]);
    session.run(&["switch", "topik"]);
    session.run(&["switch", "topic"]);
    session.run(&["add", "-A"]);
    session.run(&commit("topic"));
    session.run(&["switch", "-"]);
    session.sandbox.write("notes.md", "one\nzwei\nthree\n");
    session.run(&["switch", "topic"]);
    session.run(&["add", "-A"]);
    session.run(&commit("main"));
    session.run(&["merge", "topic"]);
    session.run(&["status"]);
    session.run(&["status", "--porcelain"]);
    session.run(&["commit", "-m", "too early"]);
    session.run(&["merge", "--abort"]);
    session.run(&["tag", "-a", "v1", "-m", "the first"]);
    session.run(&["tag", "v1"]);
    session.run(&["tag", "-n"]);
    session.run(&["tag", "--json"]);
    session.run(&["branch", "-d", "topic"]);
    session.run(&["branch", "-D", "topic"]);
    session.run(&["cherry-pick", "v1"]);
    session.run(&["revert", "HEAD"]);
    session.compare("branches_and_merges");
}

#[test]
fn a_sparse_work_tree() {
    let mut session = saved();
    session.sandbox.ok(["add", "-A"]);
    session.sandbox.ok(commit("second"));
    session.said.clear();
    session.sandbox.write("data/other", "changed\n");
    session.run(&["sparse", "set", "-n", "notes.md"]);
    session.run(&["sparse", "set", "notes.md"]);
    session.run(&["sparse", "list"]);
    session.run(&["sparse", "list", "--json"]);
    session.run(&["status"]);
    session.run(&["status", "--json"]);
    session.run(&["restore", "*"]);
    session.run(&["sparse", "reapply", "--json"]);
    session.run(&["sparse", "set", "nots.md"]);
    session.run(&["sparse", "disable"]);
    session.run(&["sparse", "add", "data"]);
    session.run(&["sparse", "list"]);
    session.compare("a_sparse_work_tree");
}

#[test]
fn the_store() {
    let mut session = saved();
    session.said.clear();
    session.run(&["store", "size", "--json"]);
    session.run(&["store", "verify"]);
    session.run(&["store", "verify", "--json"]);
    session.run(&["store", "stats", "--json"]);
    session.compare("the_store");
}

/// The names of the commands that a help text lists.
fn commands(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| !line.is_empty());
    let names = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
}

#[test]
fn help() {
    let sandbox = Sandbox::bare();
    let mut texts = BTreeMap::new();
    let mut todo = vec![Vec::new()];
    while let Some(command) = todo.pop() {
        let args: Vec<String> = command.iter().cloned().chain(["--help".to_owned()]).collect();
        let help = sandbox.ok(&args).text().to_owned();
        let below = commands(&help).into_iter().filter(|name| name != "help");
        todo.extend(below.map(|name| [command.clone(), vec![name]].concat()));
        texts.insert(command.join(" "), help);
    }
    assert!(texts.len() > 30, "{:?}", texts.keys());
    // What every command takes is shown once.
    let mut said = texts[""].clone();
    for (command, help) in texts.iter().filter(|(command, _)| !command.is_empty()) {
        let short = help.split("\n      --repo <DIR>").next().unwrap_or(help);
        let examples = help.split_once("Examples:").map_or("", |(_, examples)| examples);
        let _ = writeln!(said, "\n==== {command}\n{short}\nExamples:{examples}");
    }
    let said: Vec<&str> = said.lines().map(str::trim_end).collect();
    insta::with_settings!({omit_expression => true}, {
        insta::assert_snapshot!("help", said.join("\n"));
    });
}
