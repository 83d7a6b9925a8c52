//! Completion in a real shell, and the manual, through the binary.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{Output, Sandbox};

/// What bash offers for the last of `words`.
fn completed(sandbox: &Sandbox, words: &[&str]) -> Vec<String> {
    let script = r#"
        source <(digstore completion bash) || exit 1
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_TYPE=9
        _clap_complete_digstore "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        (IFS=$'\n'; echo "${COMPREPLY[*]}" | tr '\013' '\n')
    "#;
    let mut bash = Command::new("bash");
    sandbox.surround(&mut bash);
    let binary = Path::new(env!("CARGO_BIN_EXE_digstore")).parent().unwrap().to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(binary).chain(std::env::split_paths(&path));
    bash.env("PATH", std::env::join_paths(paths).unwrap());
    bash.args(["--norc", "-c", script, "bash"]).args(words);
    let output = Output::of(&mut bash).expect_code(0);
    output.text().lines().map(|line| line.trim_end().to_owned()).collect()
}

fn with_history() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("data/model.bin", "1");
    sandbox.write("notes", "2");
    sandbox.save("one");
    sandbox.ok(["branch", "feature/one"]);
    sandbox.ok(["tag", "first"]);
    sandbox
}

#[test]
fn bash_completes_commands_flags_and_settings() {
    let sandbox = Sandbox::bare();
    assert_eq!(completed(&sandbox, &["digstore", "cherry"]), ["cherry-pick"]);
    assert_eq!(completed(&sandbox, &["digstore", "commit", "--am"]), ["--amend"]);
    assert_eq!(completed(&sandbox, &["digstore", "completion", "power"]), ["powershell"]);
    let settings = completed(&sandbox, &["digstore", "config", "get", "user."]);
    assert_eq!(settings, ["user.name", "user.email"]);
    assert_eq!(completed(&sandbox, &["digstore", "frobnicate", "zz"]), [""]);
    assert!(!completed(&sandbox, &["digstore", ""]).contains(&"debug".to_owned()));
    // Aliases, and behind them the flags of what they stand for.
    let aliases =
        "[alias]\nfix = 'commit -v'\nsizes = 'store size'\nbackup = '!true'\nadd = 'rm'\n";
    sandbox.write("../home/config/digstore/config.toml", aliases);
    assert_eq!(completed(&sandbox, &["digstore", "fi"]), ["fix"]);
    assert_eq!(completed(&sandbox, &["digstore", "fix", "--am"]), ["--amend"]);
    assert_eq!(completed(&sandbox, &["digstore", "sizes", "--eff"]), ["--efficiency"]);
    assert_eq!(completed(&sandbox, &["digstore", "backu"]), ["backup"]);
    assert_eq!(completed(&sandbox, &["digstore", "add", "--fo"]), ["--force"]);
}

#[test]
fn bash_completes_refs_and_paths_of_the_repository_at_hand() {
    let sandbox = with_history();
    assert_eq!(completed(&sandbox, &["digstore", "switch", "fea"]), ["feature/one"]);
    assert_eq!(completed(&sandbox, &["digstore", "switch", "fir"]), [""]);
    assert_eq!(completed(&sandbox, &["digstore", "merge", "f"]), ["feature/one", "first"]);
    assert_eq!(completed(&sandbox, &["digstore", "log", "HEAD..fi"]), ["HEAD..first"]);
    assert_eq!(completed(&sandbox, &["digstore", "tag", "-d", "f"]), ["first"]);
    assert_eq!(completed(&sandbox, &["digstore", "add", "no"]), ["notes"]);
    assert_eq!(completed(&sandbox, &["digstore", "diff", "da"]), ["data/"]);
    assert_eq!(completed(&sandbox, &["digstore", "get", "notes@fe"]), ["notes@feature/one"]);
    let work = sandbox.work.to_str().unwrap();
    fs::create_dir(sandbox.beside("elsewhere")).unwrap();
    let away = sandbox.beside("elsewhere");
    let away = away.to_str().unwrap();
    assert_eq!(completed(&sandbox, &["digstore", "-C", work, "switch", "fea"]), ["feature/one"]);
    assert_eq!(completed(&sandbox, &["digstore", "-C", away, "switch", "fea"]), [""]);
}

#[test]
fn completing_changes_nothing_and_waits_for_nobody() {
    let sandbox = with_history();
    let before = common::snapshot(&sandbox.path(".digstore"));
    completed(&sandbox, &["digstore", "switch", "f"]);
    common::assert_same(&before, &common::snapshot(&sandbox.path(".digstore")));
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let sandbox = Sandbox::bare();
    let first = sandbox.ok(["man"]);
    assert!(first.text().contains(".TH digstore 1"), "{}", first.text());
    assert_eq!(sandbox.ok(["man", "pages/man1"]).text(), "");
    let page = |name: &str| String::from_utf8(sandbox.read(format!("pages/man1/{name}"))).unwrap();
    assert_eq!(page("digstore.1"), first.text());
    assert!(page("digstore-commit.1").contains("Examples:"));
    assert!(page("digstore-store-size.1").contains("efficiency"));
    let pages = sandbox.ok(["man", "--json", "pages/man1"]).json();
    let named: Vec<_> = pages["pages"].as_array().unwrap().iter().collect();
    assert_eq!(named.len(), fs::read_dir(sandbox.path("pages/man1")).unwrap().count());
    assert!(!named.iter().any(|name| name.as_str().unwrap().contains("debug")));
    sandbox.write("file", "");
    assert!(sandbox.fails(1, ["man", "file"]).contains("error:"));
}
