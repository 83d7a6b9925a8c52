//! `check-ignore` through the binary, beside `git check-ignore`.

#![expect(clippy::unwrap_used, reason = "helpers fail by panicking")]

mod common;

use std::process::Command;

use common::{Output, Sandbox};

const RULES: &str = "*.o\n!keep.o\n/build/\n# comment\ntrail\\ \n";

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    // The same rules under both names: git reads one, Digstore the other.
    for name in [".digignore", ".gitignore"] {
        sandbox.write(name, RULES);
        sandbox.write(format!("d/{name}"), "!x.o\nsecret\n");
    }
    for file in ["a.o", "keep.o", "d/x.o", "d/y.o", "build/out", "plain", "d/secret/s"] {
        sandbox.write(file, "");
    }
    let mut git = Command::new("git");
    sandbox.surround(git.args(["init", "-q"]));
    assert_eq!(Output::of(&mut git).code, 0);
    sandbox
}

const PATHS: [&str; 10] = [
    "a.o",
    "keep.o",
    "d/x.o",
    "d/y.o",
    "build/out",
    "build",
    "plain",
    "d/secret/s",
    "missing.o",
    "trail ",
];

/// What git says, with the names of its files as ours.
fn git(sandbox: &Sandbox, args: &[&str], input: &[u8]) -> (i32, Vec<u8>) {
    let file = sandbox.beside("input");
    common::overwrite(&file, input);
    let mut command = Command::new("git");
    sandbox.surround(command.arg("check-ignore").args(args));
    let output = Output::of(command.stdin(std::fs::File::open(file).unwrap()));
    let text = String::from_utf8(output.stdout).unwrap().replace(".gitignore", ".digignore");
    (output.code, text.into_bytes())
}

#[test]
fn output_and_exit_codes_are_those_of_git() {
    let sandbox = sandbox();
    for flags in [&[][..], &["-v"], &["-v", "-n"]] {
        let args = [flags, &PATHS].concat();
        let ours = sandbox.run([&["check-ignore"], &args[..]].concat());
        assert_eq!((ours.code, ours.stdout), git(&sandbox, &args, b""), "{flags:?}");
        for path in PATHS {
            let args = [flags, &[path]].concat();
            let ours = sandbox.run([&["check-ignore"], &args[..]].concat());
            assert_eq!((ours.code, ours.stdout), git(&sandbox, &args, b""), "{args:?}");
        }
    }
    let input = PATHS.join("\0") + "\0";
    for flags in [&["-z"][..], &["-z", "-v"], &["-z", "-v", "-n"]] {
        let args = [flags, &["--stdin"]].concat();
        let ours = sandbox.feed(input.as_bytes(), [&["check-ignore"], &args[..]].concat());
        assert_eq!((ours.code, ours.stdout), git(&sandbox, &args, input.as_bytes()), "{args:?}");
    }
}

#[test]
fn what_is_staged_is_not_ignored() {
    let sandbox = sandbox();
    sandbox.ok(["add", "-f", "a.o"]);
    sandbox.run(["check-ignore", "a.o"]).expect_code(1);
    sandbox.ok(["check-ignore", "--no-index", "a.o"]);
    let json = sandbox.run_in("d", ["check-ignore", "y.o", "x.o", "--json"]).expect_code(0).json();
    assert_eq!(json["paths"][0]["source"], ".digignore");
    assert_eq!(
        (json["paths"][0]["line"].as_u64(), json["paths"].as_array().map(Vec::len)),
        (Some(1), Some(1))
    );
    assert!(sandbox.fails(2, ["check-ignore", "-n", "a.o"]).contains("needs -v"));
    sandbox.fails(2, ["check-ignore"]);
}
