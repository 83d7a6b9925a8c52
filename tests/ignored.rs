//! `status --ignored` beside git's, and beside what `ls` and `clean` say.

mod common;

use std::collections::BTreeSet;
use std::process::Command;

use common::{Output, Sandbox};

const RULES: &str = "*.o\n/build/\nlogs/*\n!logs/keep\nout\nvendor/\n";

const FILES: [&str; 20] = [
    "a.o",
    "b",
    "src/x.c",
    "src/x.o",
    "src/deep/y.c",
    "src/deep/y.o",
    "new/n",
    "new/n.o",
    "new/below/m",
    "new/below/m.o",
    "build/1",
    "build/sub/2",
    "logs/1",
    "logs/keep",
    "logs/dir/z",
    "out",
    "d/out/f",
    "d/g",
    "vendor/tracked",
    "vendor/loose",
];

/// The same rules, files and tracked files for git and for Digstore.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    for name in [".digignore", ".gitignore"] {
        sandbox.write(name, RULES);
    }
    for file in FILES {
        sandbox.write(file, file);
    }
    let tracked = ["src/x.c", "src/deep/y.o", "vendor/tracked", "logs/keep"];
    sandbox.ok([&["add", "-f", ".digignore", ".gitignore"][..], &tracked].concat());
    git(&sandbox, &["init", "-q"]);
    sandbox.write(".git/info/exclude", ".digstore\n");
    git(&sandbox, &[&["add", "-f", ".digignore", ".gitignore"][..], &tracked].concat());
    sandbox
}

fn git(sandbox: &Sandbox, args: &[&str]) -> Output {
    let mut git = Command::new("git");
    sandbox.surround(git.args(args));
    Output::of(&mut git).expect_code(0)
}

/// The lines without Digstore's own directory, which is nothing special to git.
fn lines(output: &Output) -> Vec<String> {
    let lines = output.text().lines().map(str::to_owned);
    lines.filter(|line| !line.contains(".digstore")).collect()
}

#[test]
fn the_short_form_is_gits() {
    let sandbox = sandbox();
    for ignored in ["--ignored", "--ignored=traditional", "--ignored=matching", "--ignored=no"] {
        for untracked in ["-unormal", "-uall", "-uno"] {
            if (ignored, untracked) == ("--ignored=matching", "-uno") {
                continue; // git refuses.
            }
            for paths in [
                &[][..],
                &["src"],
                &["new", "logs"],
                &["build"],
                &["build/sub"],
                &["build/1", "build/sub/2"],
                &["vendor"],
                &["*.o"],
                &["d", "a.o"],
            ] {
                if (ignored, paths) == ("--ignored=matching", &["*.o"]) {
                    continue; // git names every ignored directory then, whatever is in it.
                }
                let args = [&["status", "--porcelain", ignored, untracked, "--"], paths].concat();
                let ours = lines(&sandbox.ok(&args));
                assert_eq!(ours, lines(&git(&sandbox, &args)), "{args:?}");
            }
        }
    }
}

#[test]
fn the_human_form_has_a_section_and_json_a_list() {
    let sandbox = sandbox();
    let shown = sandbox.ok(["status", "--ignored"]).text().to_owned();
    let section =
        shown.split("\n\n").find(|section| section.starts_with("Ignored files:")).unwrap();
    let expected = "Ignored files:\n  \
        (use \"digstore add -f PATH\" to include them in what will be committed)\n\
        \ta.o\n\tbuild/\n\td/out/\n\tlogs/1\n\tlogs/dir/\n\tnew/below/m.o\n\tnew/n.o\n\tout\n\
        \tsrc/x.o\n\tvendor/loose";
    assert_eq!(section.trim_end(), expected);
    let json = sandbox.ok(["status", "--ignored", "--json"]).json();
    let listed: Vec<_> = json["ignored"].as_array().unwrap().iter().collect();
    assert_eq!((listed.len(), &listed[1]["path"]), (10, &"build/".into()));
    assert!(sandbox.ok(["status", "--json"]).json().get("ignored").is_none());
    assert!(sandbox.fails(2, ["status", "--ignored=matchin"]).contains("did you mean 'matching'?"));
    // Without a repository's own directory, wherever it lies.
    sandbox.write("../home/config/digstore/ignore", "store\n");
    let aside = ["--repo", "store", "status", "--ignored", "--porcelain", "store"];
    sandbox.ok(["--repo", "store", "init"]);
    assert_eq!(sandbox.ok(aside).text(), "");
}

#[test]
fn with_ls_and_clean_it_accounts_for_every_file() {
    let sandbox = sandbox();
    let porcelain = sandbox.ok(["status", "--porcelain", "--ignored", "-uall"]).text().to_owned();
    let of = |mark: &str| -> BTreeSet<String> {
        porcelain.lines().filter_map(|line| line.strip_prefix(mark)).map(str::to_owned).collect()
    };
    let (untracked, ignored) = (of("?? "), of("!! "));
    let staged: BTreeSet<String> = sandbox.ok(["ls"]).text().lines().map(str::to_owned).collect();
    let all: BTreeSet<String> = sandbox
        .snapshot()
        .into_keys()
        .map(|path| path.into_string().unwrap())
        .filter(|path| !path.starts_with(".git/"))
        .collect();
    assert_eq!(staged.len() + untracked.len() + ignored.len(), all.len());
    assert_eq!(&(&staged | &untracked) | &ignored, all);
    let cleaned = |flags: &str| -> BTreeSet<String> {
        let json = sandbox.ok(["clean", "-n", flags, "--json"]).json();
        let files = json["files"].as_array().unwrap().iter();
        files.map(|file| file["path"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(cleaned("-d"), untracked);
    assert_eq!(cleaned("-dX"), ignored);
    assert_eq!(cleaned("-dx"), &untracked | &ignored);
}
