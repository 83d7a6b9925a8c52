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

#[test]
fn the_repositorys_and_the_users_own_file_count_behind_the_others_as_in_git() {
    let sandbox = sandbox();
    let exclude = "*.tmp\n!plain\nd/only\n*.log\n";
    let user = "# mine\n*.bak\n!*.tmp\nplain\n*.o\n";
    sandbox.write(".digstore/exclude", exclude);
    sandbox.write(".git/info/exclude", exclude);
    sandbox.write("../home/config/digstore/ignore", user);
    sandbox.write("../home/config/git/ignore", user);
    let paths = ["x.tmp", "plain", "d/only", "x.bak", "a.o", "keep.o", "d/z.bak", "e/only", "none"];
    let ask = |args: &[&str]| {
        let ours = sandbox.run([&["check-ignore"], args].concat());
        let text = String::from_utf8(ours.stdout).unwrap();
        (ours.code, text.replace(".digstore/exclude", ".git/info/exclude"))
    };
    let theirs = |args: &[&str]| {
        let (code, text) = git(&sandbox, args, b"");
        (code, String::from_utf8(text).unwrap())
    };
    let args = [&["-v", "-n"][..], &paths].concat();
    let (code, shown) = ask(&args);
    assert!(shown.contains(".git/info/exclude:1:*.tmp\tx.tmp\n"), "{shown}");
    // git's usual file has another path.
    let usual = |text: String| text.replace("config/digstore/ignore", "config/git/ignore");
    assert_eq!((code, usual(shown)), theirs(&args));
    // One that is named.
    sandbox.ok(["config", "set", "--user", "ignore.file", "~/mine"]);
    sandbox.write("../home/mine", "named\n");
    assert_eq!(
        ask(&["-v", "named", "x.bak"]).1,
        format!("{}:1:named\tnamed\n", sandbox.beside("home/mine").display())
    );
    let none = ["--config", "ignore.file=/dev/null", "check-ignore", "named", "x.bak"];
    sandbox.run(none).expect_code(1);
    // All that looks at the work tree takes them into account.
    for file in ["named", "x.tmp", "e/only", "q.log", "plain"] {
        sandbox.write(file, "");
    }
    sandbox.ok(["add", "-A"]);
    let staged = sandbox.ok(["ls"]).text().to_owned();
    let staged: Vec<&str> = staged.lines().filter(|path| !path.ends_with("ignore")).collect();
    assert_eq!(staged, ["d/x.o", "e/only", "keep.o", "plain"]);
    assert!(sandbox.ok(["status"]).text().lines().all(|line| !line.contains("named")));
    assert_eq!(sandbox.ok(["clean", "-n"]).text(), "");
    // What cannot be read is told, and does not stop anything.
    sandbox.remove(".digstore/exclude");
    sandbox.mkdir(".digstore/exclude");
    let told = sandbox.run(["add", "-A"]).stderr;
    assert!(told.contains("'.digstore/exclude' has no effect: it is no regular file"), "{told}");
}
