//! What goes to which stream, what programs get to read, and how commands end.

mod common;

use common::{Output, Sandbox, noise};
use serde_json::Value;

/// A repository with a commit, a staged and an untracked file.
fn with_everything() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("a", noise(1, 200_000));
    sandbox.save("first");
    sandbox.write("b", "staged");
    sandbox.ok(["add", "b"]);
    sandbox.write("c", "untracked");
    sandbox
}

#[test]
fn commands_that_only_look_say_nothing_on_stderr() {
    let sandbox = with_everything();
    for args in [&["status"][..], &["log"], &["ls", "-l"], &["get", "a"], &["store", "size"]] {
        let output = sandbox.ok(args);
        assert!(!output.stdout.is_empty(), "{args:?}");
        assert_eq!(output.stderr, "", "{args:?}");
    }
}

#[test]
fn commands_that_only_do_say_nothing_on_stdout() {
    let sandbox = with_everything();
    for args in [
        &["add", "-A"][..],
        &["restore", "."],
        &["restore", "--target", "../copy"],
        &["restore", "--staged", "b"],
        &["init"],
        &["store", "verify"],
    ] {
        let output = sandbox.ok(args);
        assert!(output.stdout.is_empty(), "{args:?}: {output:?}");
        assert!(output.stderr.ends_with('\n'), "{args:?}: {output:?}");
        assert!(!output.stderr.contains(['\x1b', '\r']), "{args:?}: {output:?}");
    }
}

#[test]
fn get_prints_the_bytes_and_nothing_else() {
    let sandbox = with_everything();
    for flags in [&[][..], &["-v"], &["--progress", "always"], &["--color", "always"], &["--json"]]
    {
        let output = sandbox.ok([&["get", "a"], flags].concat());
        assert!(output.stdout == noise(1, 200_000), "{flags:?}");
    }
}

#[test]
fn a_commit_tells_its_id_on_stdout() {
    let sandbox = with_everything();
    let output = sandbox.ok(["commit", "-m", "x"]);
    let id = output.text().strip_prefix("committed ").map(str::trim_end).unwrap_or_default();
    assert_eq!(id.len(), 64);
    assert_eq!(output.text().lines().count(), 1);
    assert!(output.stderr.contains(&id[..10]), "{}", output.stderr);
}

#[test]
fn quiet_commands_print_data_and_errors_only() {
    let sandbox = with_everything();
    for args in
        [&["add", "-A"][..], &["commit", "-m", "x"], &["restore", "."], &["store", "verify"]]
    {
        let output = sandbox.ok([&["-q"], args].concat());
        assert_eq!(output.stderr, "", "{args:?}");
    }
    assert!(sandbox.fails(20, ["-q", "get", "nothing"]).starts_with("error: "));
    assert_eq!(sandbox.ok(["-q", "get", "b"]).stdout, b"staged");
}

/// Everything that a program reads from a command: stdout whole, stderr line by line.
fn documents(output: &Output) -> (Value, Vec<Value>) {
    let lines = output.stderr.lines().map(|line| serde_json::from_str(line).unwrap_or(Value::Null));
    (output.json(), lines.collect())
}

#[test]
fn every_command_has_a_form_for_programs() {
    let sandbox = with_everything();
    for args in [
        &["init"][..],
        &["status"],
        &["log"],
        &["ls"],
        &["add", "-n", "."],
        &["add", "-A"],
        &["commit", "-m", "x"],
        &["restore", "."],
        &["store", "size"],
        &["store", "verify", "--data"],
        &["rm", "c"],
    ] {
        let output = sandbox.ok([&["--json"], args].concat());
        let (document, lines) = documents(&output);
        assert_eq!(document["schema_version"], 1, "{args:?}: {output:?}");
        assert!(lines.iter().all(|line| line["message_type"].is_string()), "{args:?}: {output:?}");
    }
}

#[test]
fn unstaging_has_a_form_for_programs() {
    let sandbox = with_everything();
    let output = sandbox.ok(["--json", "restore", "--staged", "."]);
    assert_eq!(documents(&output).0["schema_version"], 1);
}

#[test]
fn long_commands_end_with_a_summary() {
    let sandbox = with_everything();
    let added = sandbox.ok(["--json", "add", "-A"]).json();
    assert_eq!(added["message_type"], "summary");
    assert_eq!(added["added"][0]["path"], "c");
    assert_eq!(added["metrics"]["bytes_processed"].as_u64().map(|bytes| bytes >= 9), Some(true));
    let committed = sandbox.ok(["--json", "commit", "-m", "x"]).json();
    for field in ["id", "tree", "parents", "branch", "files", "bytes"] {
        assert!(!committed[field].is_null(), "{field}: {committed}");
    }
    let restored = sandbox.ok(["--json", "restore", "--target", "../copy"]).json();
    assert_eq!((&restored["files"], &restored["bytes"]), (&Value::from(3), &Value::from(200_015)));
    let verified = sandbox.ok(["--json", "store", "verify", "--data"]).json();
    assert_eq!(verified["sound"], true);
    assert_eq!(verified["commits"], 2);
}

#[test]
fn progress_for_programs_has_every_field() {
    let sandbox = with_everything();
    sandbox.write("more", noise(9, 500_000));
    let output = sandbox.ok(["--progress", "json", "add", "-A"]);
    let status: Vec<Value> = output
        .stderr
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|line: &Value| line["message_type"] == "status")
        .collect();
    assert!(!status.is_empty(), "{output:?}");
    for line in status {
        for field in [
            "phase",
            "seconds_elapsed",
            "seconds_remaining",
            "percent_done",
            "total_files",
            "files_done",
            "total_bytes",
            "bytes_done",
        ] {
            assert!(line.get(field).is_some(), "{field}: {line}");
        }
    }
}

#[test]
fn errors_for_programs_are_one_document() {
    let sandbox = with_everything();
    let cases = [
        (20, "not_found", &["get", "nothing"][..]),
        (20, "not_found", &["log", "nothing"]),
        (2, "usage", &["get", "a", "--range", "9-1"]),
        (2, "usage", &["--config", "x=1", "status"]),
        (1, "failure", &["commit", "-m", ""]),
        (1, "failure", &["rm", "b"]),
        (10, "no_repository", &["--repo", "nowhere", "status"]),
    ];
    for (code, kind, args) in cases {
        let output = sandbox.run([&["--json"], args].concat()).expect_code(code);
        assert!(output.stdout.is_empty(), "{args:?}");
        let error: Value = serde_json::from_str(&output.stderr).unwrap();
        assert_eq!(error["message_type"], "error", "{error}");
        assert_eq!((&error["code"], &error["kind"]), (&code.into(), &kind.into()), "{error}");
        assert!(error["message"].is_string(), "{error}");
    }
}

#[test]
fn errors_have_up_to_three_parts() {
    let sandbox = with_everything();
    let told = sandbox.fails(1, ["get", "a", "-o", "no/such/dir/file"]);
    let labels: Vec<&str> = told.lines().filter_map(|line| line.split(':').next()).collect();
    assert_eq!(labels[..2], ["error", "cause"], "{told}");
    let told = sandbox.fails(20, ["get", "bb"]);
    assert!(told.starts_with("error: path 'bb' is not in "), "{told}");
}

#[test]
fn a_name_cannot_drive_the_terminal() {
    let sandbox = Sandbox::new();
    let evil = "a\x1b[2J\nb\u{202e}c";
    sandbox.write(evil, "x");
    let before = sandbox.ok(["status"]);
    sandbox.ok(["add", "-v", "-A"]);
    let outputs = [
        before,
        sandbox.ok(["ls", "-l"]),
        sandbox.ok(["status", "-s"]),
        sandbox.ok(["rm", "-n", "-f", evil]),
    ];
    for output in outputs {
        assert!(!output.text().contains(['\x1b', '\u{202e}']), "{output:?}");
    }
    let told = sandbox.fails(20, ["get", "\x1b[2J"]);
    assert!(!told.contains('\x1b'), "{told}");
    assert_eq!(sandbox.ok(["ls", "-z"]).stdout, [evil.as_bytes(), b"\0"].concat());
}

#[test]
fn a_wrong_command_line_is_a_mistake_in_usage() {
    let sandbox = with_everything();
    for args in [
        &[][..],
        &["comit"],
        &["add", "--no-such-flag", "a"],
        &["get"],
        &["store"],
        &["status", "--porcelain=v9"],
        &["log", "-n", "many"],
        &["--color", "sometimes", "status"],
    ] {
        let output = sandbox.run(args).expect_code(2);
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}: {output:?}");
    }
    assert!(sandbox.fails(2, ["comit"]).contains("commit"));
}

#[test]
fn help_and_version_go_to_stdout() {
    let sandbox = Sandbox::bare();
    assert!(sandbox.ok(["--version"]).text().starts_with("digstore "));
    for command in ["init", "add", "commit", "status", "log", "ls", "get", "restore", "rm", "store"]
    {
        let short = sandbox.ok([command, "-h"]);
        let long = sandbox.ok([command, "--help"]);
        assert!(short.text().contains("Usage: ") && short.stderr.is_empty(), "{command}");
        assert!(long.stdout.len() >= short.stdout.len(), "{command}");
        assert!(sandbox.ok(["--help"]).text().contains(command));
    }
}

#[test]
fn colours_are_for_terminals_or_on_request() {
    let sandbox = with_everything();
    let told = |flags: &[&str]| sandbox.fails(20, [flags, &["get", "nothing"]].concat());
    assert!(!told(&[]).contains('\x1b'));
    assert!(told(&["--color", "always"]).contains('\x1b'));
    let mut command = sandbox.command(["--color", "always", "get", "nothing"]);
    assert!(
        Output::of(command.env("NO_COLOR", "1")).stderr.contains('\x1b'),
        "the flag comes first"
    );
    let mut command = sandbox.command(["get", "nothing"]);
    assert!(Output::of(command.env("CLICOLOR_FORCE", "1")).stderr.contains('\x1b'));
}
