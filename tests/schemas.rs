//! The published schemas of `docs/schema/` beside what the commands really print.
//!
//! A schema allows further fields, so that a release may add some. Here each is made strict: a field
//! that no schema describes fails.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a failed test says so")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use common::{Sandbox, flip, name, text};
use jsonschema::Validator;
use serde_json::{Map, Value, json};

/// Commands without a document of their own, and why.
const WITHOUT: &[(&str, &str)] = &[
    ("help", "it prints the help of a command"),
    ("completion", "it prints a script for a shell"),
    ("man", "it prints or writes pages of the manual"),
];

fn schema_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema")
}

fn read(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap();
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every schema by its name, with all that it refers to in itself, and without room for more.
fn schemas() -> BTreeMap<String, Value> {
    let definitions = read(&schema_dir().join("common.json"))["$defs"].clone();
    let mut schemas = BTreeMap::new();
    for entry in fs::read_dir(schema_dir()).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().and_then(OsStr::to_str).unwrap().to_owned();
        let mut schema = read(&path);
        assert_eq!(schema["$id"], format!("{stem}.json"));
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        schema["$defs"] = definitions.clone();
        make_strict(&mut schema);
        schemas.insert(stem, schema);
    }
    schemas
}

fn make_strict(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::String(target)) = map.get_mut("$ref") {
                *target = target.trim_start_matches("common.json").to_owned();
            }
            map.values_mut().for_each(make_strict);
            if map.get("properties").is_some_and(Value::is_object) {
                map.insert("additionalProperties".to_owned(), json!(false));
            }
        }
        Value::Array(list) => list.iter_mut().for_each(make_strict),
        _ => {}
    }
}

/// Runs commands and validates what they print.
struct Session {
    sandbox: Sandbox,
    validators: BTreeMap<String, Validator>,
    met: BTreeSet<String>,
}

impl Session {
    fn new() -> Self {
        let compile = |(name, schema): (String, Value)| {
            let validator = jsonschema::draft202012::new(&schema);
            (name.clone(), validator.unwrap_or_else(|error| panic!("{name}: {error}")))
        };
        let validators = schemas().into_iter().map(compile).collect();
        Self { sandbox: Sandbox::bare(), validators, met: BTreeSet::new() }
    }

    #[track_caller]
    fn check(&mut self, schema: &str, value: &Value, command: &str) {
        let validator = &self.validators[schema];
        let errors: Vec<String> = validator
            .iter_errors(value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{command} against {schema}.json: {errors:#?}\n{value:#}");
        self.met.insert(schema.to_owned());
    }

    /// Runs a command with `--json`; its document must be as the schema says, and each line on
    /// standard error as those of errors and progress say.
    #[track_caller]
    fn run<A: AsRef<OsStr>>(&mut self, schema: &str, code: i32, args: impl IntoIterator<Item = A>) {
        let mut args: Vec<OsString> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        args.push("--json".into());
        let output = self.sandbox.run(&args).expect_code(code);
        let command = format!("{args:?}");
        for line in output.stderr.lines() {
            let value: Value = serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("{command}: {error}: {line}"));
            let schema = if value["message_type"] == "status" { "progress" } else { "error" };
            self.check(schema, &value, &command);
        }
        if schema == "error" {
            assert!(!output.stderr.is_empty(), "{command} says nothing");
        } else {
            self.check(schema, &output.json(), &command);
        }
    }

    fn ok<A: AsRef<OsStr>>(&mut self, schema: &str, args: impl IntoIterator<Item = A>) {
        self.run(schema, 0, args);
    }

    fn files(&mut self) {
        self.ok("init", ["init"]);
        self.ok("status", ["status"]);
        self.run("error", 20, ["log"]);
        self.ok("store-stats", ["store", "stats"]);
        self.sandbox.write("a.txt", "one\ntwo\n");
        self.sandbox.write("d/b", "b");
        self.sandbox.write("s", "#!/bin/sh\n");
        self.sandbox.chmod("s", 0o755);
        self.sandbox.link("l", "a.txt");
        self.sandbox.mkdir("empty");
        self.sandbox.write("big", text(1, 3_000_000));
        self.sandbox.write(name(b"n\xff"), "q");
        self.ok("debug-plan", ["debug", "plan"]);
        self.ok("add", ["add", "-n", "-A"]);
        self.ok("add", ["add", "-A"]);
        self.ok("status", ["status"]);
        self.ok("ls", ["ls"]);
        self.ok("commit", ["commit", "-m", "first"]);
        self.run("error", 1, ["commit", "-m", "nothing"]);
        self.sandbox.write("a.txt", "one\n2\n");
        self.sandbox.remove("d/b");
        self.sandbox.write("new", "n");
        self.sandbox.append("big", "the end");
        self.sandbox.remove("s");
        self.sandbox.write("t", "#!/bin/sh\n");
        self.sandbox.chmod("t", 0o755);
        self.ok("status", ["status"]);
        self.sandbox.write(".digstore/exclude", "*.ignored\n");
        self.sandbox.write("x.ignored", "");
        self.ok("status", ["status", "--ignored"]);
        self.run("error", 2, ["status", "--ignroed"]);
        self.ok("diff", ["diff"]);
        self.ok("diff", ["diff", "--ranges"]);
        self.ok("diff", ["diff", "--stat"]);
        self.ok("add", ["add", "-A"]);
        self.ok("diff", ["diff", "--staged", "--stat"]);
        self.ok("restore", ["restore", "--staged", "new"]);
        self.ok("commit", ["commit", "-m", "second"]);
        let (out, copy) = (self.sandbox.beside("out"), self.sandbox.beside("copy"));
        self.ok("get", [OsStr::new("get"), "a.txt".as_ref(), "-o".as_ref(), out.as_ref()]);
        self.ok("restore", ["restore", "a.txt"]);
        self.ok("restore", [OsStr::new("restore"), "--target".as_ref(), copy.as_ref()]);
        self.run("error", 20, ["get", "nothing"]);
    }

    fn history(&mut self) {
        self.ok("log", ["log"]);
        self.ok("log", ["log", "--stat"]);
        self.ok("log", ["log", "--graph"]);
        self.ok("show", ["show"]);
        self.ok("merge-base", ["merge-base", "HEAD", "HEAD~1"]);
        self.ok("merge-base", ["merge-base", "--is-ancestor", "HEAD~1", "HEAD"]);
        self.ok("branch", ["branch", "topic"]);
        self.ok("branch", ["branch"]);
        self.ok("branch", ["branch", "--show-current"]);
        self.ok("branch", ["branch", "-m", "topic", "theme"]);
        self.ok("branch", ["branch", "-d", "theme"]);
        self.ok("tag", ["tag", "v1"]);
        self.ok("tag", ["tag", "-a", "v2", "-m", "why"]);
        self.ok("tag", ["tag"]);
        self.ok("show", ["show", "v2"]);
        self.ok("tag", ["tag", "-d", "v1"]);
        self.ok("switch", ["switch", "-c", "side"]);
        self.ok("switch", ["switch", "--detach", "HEAD~1"]);
        self.ok("status", ["status"]);
        self.sandbox.write("a.txt", "mine");
        self.run("switch", 1, ["switch", "-n", "main"]);
        self.run("error", 1, ["switch", "main"]);
        self.ok("restore", ["restore", "a.txt"]);
        self.ok("switch", ["switch", "main"]);
        self.ok("ls", ["ls", "-s", "HEAD"]);
    }

    fn operations(&mut self) {
        self.ok("rm", ["rm", "-n", "a.txt"]);
        self.ok("rm", ["rm", "a.txt"]);
        self.ok("undo", ["undo", "-n"]);
        self.ok("undo", ["undo"]);
        self.ok("redo", ["redo"]);
        self.ok("undo", ["undo"]);
        self.sandbox.write("a.txt", "not saved");
        self.ok("restore", ["restore", "a.txt"]);
        self.ok("op-log", ["op", "log"]);
        self.ok("op-show", ["op", "show"]);
        self.ok("op-restore", ["op", "restore", "-n", "3"]);
    }

    fn merges(&mut self) {
        self.ok("switch", ["switch", "side"]);
        self.sandbox.write("a.txt", "one\nside\n");
        self.sandbox.save("side");
        self.ok("switch", ["switch", "main"]);
        self.sandbox.write("a.txt", "one\nmain\n");
        self.sandbox.save("main");
        self.run("merge", 1, ["merge", "side"]);
        self.ok("status", ["status"]);
        self.run("error", 1, ["commit", "-m", "too early"]);
        self.ok("merge", ["merge", "--abort"]);
        self.run("cherry-pick", 1, ["cherry-pick", "side"]);
        self.ok("cherry-pick", ["cherry-pick", "--abort"]);
        self.ok("revert", ["revert", "HEAD"]);
        self.ok("switch", ["switch", "-c", "third", "HEAD~1"]);
        self.sandbox.write("third", "3");
        self.sandbox.save("third");
        self.ok("switch", ["switch", "main"]);
        self.ok("cherry-pick", ["cherry-pick", "third"]);
        self.ok("merge", ["merge", "third"]);
        self.ok("merge", ["merge", "third"]);
        let git = self.sandbox.beside("git");
        self.ok("export", [OsStr::new("export"), "git".as_ref(), git.as_ref()]);
        self.ok("import", [OsStr::new("import"), "git".as_ref(), git.as_ref(), "--force".as_ref()]);
    }

    fn names(&mut self) {
        self.sandbox.write(".digignore", "*.ign\n");
        self.sandbox.write("x.ign", "");
        self.ok("check-ignore", ["check-ignore", "-v", "-n", "x.ign", "a.txt"]);
        self.run("check-ignore", 1, ["check-ignore", "a.txt"]);
        self.ok("mv", ["mv", "-n", "a.txt", "moved"]);
        self.ok("mv", ["mv", "a.txt", "moved"]);
        self.ok("status", ["status"]);
        self.ok("mv", ["mv", "moved", "a.txt"]);
        let key = "performance.batch_size";
        self.ok("config-get", ["config", "get", key]);
        self.ok("config-set", ["config", "set", "--local", key, "100"]);
        self.ok("config-list", ["config", "list"]);
        self.ok("config-unset", ["config", "unset", "--local", key]);
        self.ok("config-validate", ["config", "validate"]);
        self.sandbox.write("digstore.toml", "nonsense = 1\n");
        self.run("config-validate", 2, ["config", "validate"]);
        self.sandbox.remove("digstore.toml");
        self.put_aside();
        let tar = self.sandbox.beside("x.tar");
        self.ok("export", [OsStr::new("export"), "tar".as_ref(), "-o".as_ref(), tar.as_ref()]);
        self.sandbox.write("later", "l");
        self.sandbox.save("later");
        self.ok("import", [OsStr::new("import"), "tar".as_ref(), tar.as_ref()]);
    }

    fn put_aside(&mut self) {
        self.sandbox.write("a.txt", "put aside\n");
        self.ok("stash-push", ["stash", "push", "-m", "later"]);
        self.ok("stash-list", ["stash", "list"]);
        self.ok("stash-show", ["stash", "show"]);
        self.ok("stash-apply", ["stash", "apply"]);
        self.ok("stash-drop", ["stash", "drop"]);
        self.ok("stash-push", ["stash", "push"]);
        self.ok("stash-pop", ["stash", "pop"]);
        self.ok("reset", ["reset", "--hard"]);
        self.ok("reset", ["reset", "--soft", "HEAD"]);
        self.ok("stash-clear", ["stash", "clear"]);
        self.sandbox.write("junk", "j");
        self.ok("clean", ["clean", "-n"]);
        self.ok("clean", ["clean", "-f"]);
    }

    fn sparse(&mut self) {
        self.sandbox.write("a.txt", "a");
        self.sandbox.write("d/b", "b");
        self.sandbox.save("sparse");
        self.ok("sparse-set", ["sparse", "set", "-n", "d"]);
        self.ok("sparse-set", ["sparse", "set", "d"]);
        self.ok("sparse-list", ["sparse", "list"]);
        self.ok("status", ["status"]);
        self.ok("status", ["status", "d"]);
        self.ok("sparse-add", ["sparse", "add", "a.txt"]);
        self.sandbox.append("a.txt", "changed");
        self.ok("sparse-set", ["sparse", "set", "d"]);
        self.ok("restore", ["restore", "a.txt"]);
        self.ok("sparse-reapply", ["sparse", "reapply"]);
        self.ok("sparse-disable", ["sparse", "disable"]);
        self.run("error", 1, ["sparse", "reapply"]);
    }

    fn store(&mut self) {
        self.sandbox.write("secret", "secret");
        self.sandbox.save("secret");
        self.ok("obliterate", ["obliterate", "-n", "secret"]);
        self.ok("obliterate", ["obliterate", "--yes", "secret"]);
        self.ok("gc", ["gc", "-n"]);
        self.ok("store-size", ["store", "size", "--efficiency"]);
        self.ok("store-stats", ["store", "stats"]);
        self.ok("store-reset-staging", ["store", "reset-staging"]);
        self.ok("store-performance", ["store", "stats", "--performance"]);
        self.ok("store-verify", ["store", "verify", "--data"]);
        self.ok("store-repair", ["store", "repair"]);
        for pack in self.sandbox.packs(1) {
            flip(&pack, fs::metadata(&pack).unwrap().len() as usize / 2);
        }
        self.run("store-verify", 21, ["store", "verify", "--data"]);
        self.run("store-repair", 21, ["store", "repair"]);
    }
}

#[test]
fn what_the_commands_print_is_as_the_schemas_say() {
    let mut session = Session::new();
    session.files();
    session.history();
    session.operations();
    session.merges();
    session.names();
    session.sparse();
    session.store();
    let all: BTreeSet<String> =
        session.validators.keys().filter(|name| *name != "common").cloned().collect();
    let unused: Vec<_> = all.difference(&session.met).collect();
    assert!(unused.is_empty(), "no command was run for {unused:?}");
}

#[test]
fn every_command_has_a_schema() {
    let schemas = schemas();
    let sandbox = Sandbox::bare();
    let help = sandbox.ok(["--help"]);
    let commands = help.text().lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands = commands.take_while(|line| !line.is_empty());
    let names: Vec<&str> = commands
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        let has_one = schemas.keys().any(|schema| {
            schema.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        });
        let reason = WITHOUT.iter().find(|(command, _)| *command == name);
        assert!(has_one != reason.is_some(), "{name}: a schema in docs/schema, or a reason");
    }
}

#[test]
fn every_field_is_described() {
    for (name, schema) in schemas() {
        let undescribed = undescribed(&schema);
        assert!(undescribed.is_empty(), "{name}.json: {undescribed:?}");
    }
}

fn undescribed(schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    match schema {
        Value::Object(map) => {
            let fields: Option<&Map<String, Value>> =
                map.get("properties").and_then(Value::as_object);
            for (name, field) in fields.into_iter().flatten() {
                if field.get("description").is_none() && field.get("$ref").is_none() {
                    found.push(name.clone());
                }
            }
            map.values().for_each(|value| found.extend(undescribed(value)));
        }
        Value::Array(list) => list.iter().for_each(|value| found.extend(undescribed(value))),
        _ => {}
    }
    found
}
