//! Hooks run from the user's own settings, and from nowhere else.

mod common;

use common::{Output, Sandbox};

const USER: &str = "../home/config/digstore/config.toml";

/// A repository with a commit and a staged file; the user's settings have these hooks.
fn with_hooks(hooks: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("a", "1\n");
    sandbox.save("first");
    sandbox.write("b", "2\n");
    sandbox.ok(["add", "b"]);
    sandbox.write(USER, format!("[hooks]\n{hooks}\n"));
    sandbox
}

fn digstore() -> &'static str {
    env!("CARGO_BIN_EXE_digstore")
}

fn commits(sandbox: &Sandbox) -> usize {
    sandbox.ok(["log", "--oneline"]).text().lines().count()
}

#[test]
fn a_hook_that_fails_keeps_the_commit_from_being_made() {
    let sandbox = with_hooks("pre-commit = 'echo no space; echo left >&2; exit 3'");
    let output = sandbox.run(["commit", "-m", "x"]).expect_code(1);
    assert!(output.stdout.is_empty(), "{output:?}");
    let lines: Vec<&str> = output.stderr.lines().collect();
    assert_eq!(
        lines,
        [
            "no space",
            "left",
            "error: nothing was committed",
            "cause: the pre-commit hook ended with 3",
            "hint: mend what the hook tells; --no-verify leaves it out",
        ]
    );
    assert_eq!((commits(&sandbox), sandbox.status()), (1, vec!["A  b".to_owned()]));
    // An editor is not even started.
    let mut command = sandbox.command(["commit"]);
    let output = Output::of(command.env("DIGSTORE_EDITOR", "touch started #")).expect_code(1);
    assert!(output.stderr.contains("ended with 3") && !sandbox.path("started").exists());
    let json = sandbox.run(["commit", "-m", "x", "--json"]).expect_code(1);
    let last: serde_json::Value =
        serde_json::from_str(json.stderr.lines().last().unwrap()).unwrap();
    assert_eq!((&last["message_type"], &last["code"]), (&"error".into(), &1.into()));
    sandbox.ok(["commit", "--no-verify", "-m", "x"]);
    assert_eq!(commits(&sandbox), 2);
}

#[test]
fn hooks_know_where_they_run_and_for_which_commit() {
    let show = "env | grep ^DIGSTORE_ | grep -v AUTHOR | sort > $OUT; pwd >> $OUT";
    let sandbox = with_hooks(&format!(
        "pre-commit = '''{}'''\npost-commit = '''{}'''",
        show.replace("$OUT", "../pre"),
        show.replace("$OUT", "../post")
    ));
    sandbox.mkdir("d");
    let head = sandbox.ok(["log", "-n", "1", "--format=%H"]).text().trim_end().to_owned();
    let output = sandbox.run_in("d", ["commit", "-m", "x"]).expect_code(0);
    let id = output.text().strip_prefix("committed ").unwrap().trim_end();
    let work = sandbox.work.display();
    let read = |name: &str| String::from_utf8(sandbox.read(name)).unwrap();
    assert_eq!(
        read("../pre"),
        format!(
            "DIGSTORE_AMEND=0\nDIGSTORE_BRANCH=main\nDIGSTORE_HEAD={head}\n\
                 DIGSTORE_HOOK=pre-commit\nDIGSTORE_REPOSITORY={work}/.digstore\n\
                 DIGSTORE_WORK_TREE={work}\n{work}\n"
        )
    );
    assert_eq!(
        read("../post"),
        format!(
            "DIGSTORE_BRANCH=main\nDIGSTORE_COMMIT={id}\nDIGSTORE_HOOK=post-commit\n\
                 DIGSTORE_REPOSITORY={work}/.digstore\nDIGSTORE_WORK_TREE={work}\n{work}\n"
        )
    );
    sandbox.ok(["commit", "--amend", "-m", "y"]);
    assert!(read("../pre").contains("DIGSTORE_AMEND=1"));
    sandbox.ok(["switch", "--detach", "HEAD"]);
    let mut command = sandbox.command(["commit", "--allow-empty", "-m", "z"]);
    Output::of(command.env("DIGSTORE_BRANCH", "of another")).expect_code(0);
    assert!(!read("../pre").contains("DIGSTORE_BRANCH"));
    // The first commit has none before it.
    sandbox.ok(["--repo", "../other", "init"]);
    sandbox.ok(["--repo", "../other", "commit", "--allow-empty", "-m", "first"]);
    let told = read("../pre");
    let other = sandbox.beside("other");
    assert!(!told.contains("DIGSTORE_HEAD"), "{told}");
    assert!(told.contains(&format!("DIGSTORE_REPOSITORY={}\n", other.display())), "{told}");
}

#[test]
fn a_hook_may_stage_and_a_hook_in_a_hook_does_not_run() {
    let program = digstore();
    let sandbox = with_hooks(&format!(
        "pre-commit = 'echo formatted > b && {program} add b && {program} diff --staged --name-only > ../staged'\n\
         post-commit = 'echo run >> ../runs; {program} commit --no-verify --allow-empty -m again'"
    ));
    sandbox.append("a", "more\n");
    // With -a the hook sees what will be committed.
    sandbox.ok(["commit", "-a", "-m", "x"]);
    assert_eq!(sandbox.read("../staged"), b"a\nb\n");
    assert_eq!(sandbox.ok(["get", "b@HEAD~1"]).stdout, b"formatted\n");
    assert_eq!(sandbox.ok(["get", "a@HEAD~1"]).stdout, b"1\nmore\n");
    assert_eq!((sandbox.read("../runs"), commits(&sandbox)), (b"run\n".to_vec(), 3));
}

#[test]
fn a_failed_hook_after_the_commit_is_a_warning() {
    let sandbox = with_hooks("post-commit = 'kill -9 $$'");
    let output = sandbox.ok(["commit", "-m", "x"]);
    assert!(
        output.stderr.contains("warning: the post-commit hook was ended by signal 9"),
        "{output:?}"
    );
    assert_eq!(commits(&sandbox), 2);
    sandbox.write(USER, "[hooks]\npre-commit = 'no-such-command'\n");
    let told = sandbox.fails(1, ["commit", "--allow-empty", "-m", "x"]);
    assert!(told.contains("did not find a command"), "{told}");
}

#[test]
fn merges_picks_and_reverts_run_the_hooks_that_git_runs() {
    let sandbox = with_hooks(
        "pre-commit = 'echo pre >> ../runs'\npost-commit = 'echo post $DIGSTORE_COMMIT >> ../runs'",
    );
    let ran = || {
        let runs = std::fs::read_to_string(sandbox.beside("runs")).unwrap_or_default();
        sandbox.remove("../runs");
        runs.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    sandbox.ok(["commit", "-m", "second"]);
    sandbox.ok(["switch", "-c", "side", "HEAD~1"]);
    sandbox.write("a", "side\n");
    sandbox.save("of side");
    sandbox.write("c", "side\n");
    sandbox.save("more of side");
    sandbox.ok(["switch", "main"]);
    ran();
    // Commits that these make by themselves are not checked before.
    sandbox.ok(["merge", "side", "-m", "merged"]);
    assert!(ran().is_empty());
    sandbox.ok(["reset", "--hard", "HEAD~1"]);
    sandbox.ok(["cherry-pick", "HEAD..side"]);
    assert_eq!(ran(), ["post", "post"]);
    sandbox.ok(["revert", "HEAD"]);
    assert_eq!(ran(), ["post"]);
    // What was resolved by hand is.
    sandbox.ok(["reset", "--hard", "HEAD~3"]);
    sandbox.write("a", "main\n");
    sandbox.save("of main");
    ran();
    for (begin, kind) in [(["merge", "side"], "merge"), (["cherry-pick", "side~1"], "cherry-pick")]
    {
        sandbox.fails(1, begin);
        let told = sandbox.fails(1, ["commit", "-m", "x"]);
        assert!(told.contains("not resolved yet") && ran().is_empty(), "{told}");
        sandbox.fails(1, [kind, "--continue"]);
        assert!(ran().is_empty());
        sandbox.write("a", "both\n");
        sandbox.ok(["add", "a"]);
        sandbox.ok([kind, "--continue"]);
        assert_eq!(ran(), ["pre", "post"], "{kind}");
        sandbox.ok(["reset", "--hard", "HEAD~1"]);
    }
    sandbox.fails(1, ["merge", "side"]);
    sandbox.ok(["add", "a"]);
    sandbox.write(USER, "[hooks]\npre-commit = 'exit 1'\n");
    sandbox.fails(1, ["merge", "--continue"]);
    assert!(sandbox.ok(["status"]).text().contains("merge --continue"));
    sandbox.ok(["merge", "--continue", "--no-verify"]);
}

#[test]
fn no_repository_names_a_hook() {
    let sandbox = Sandbox::new();
    let hooks = "[hooks]\npre-commit = 'touch ../ran'\npost-commit = 'touch ../ran'\n";
    sandbox.write("a", "1");
    sandbox.ok(["add", "a"]);
    // In its own settings they are passed over, with a word to those who commit.
    sandbox.write(".digstore/config.toml", hooks);
    let told = sandbox.ok(["commit", "-m", "x"]).stderr;
    assert!(
        told.contains("warning: ") && told.contains("'hooks.pre-commit', which does not run"),
        "{told}"
    );
    assert_eq!(sandbox.ok(["status"]).stderr, "");
    assert!(sandbox.ok(["config", "validate"]).stderr.contains("hooks.post-commit"));
    sandbox.remove(".digstore/config.toml");
    // What travels with the data may not even name them.
    sandbox.write("digstore.toml", hooks);
    let told = sandbox.fails(2, ["commit", "--allow-empty", "-m", "x"]);
    assert!(
        told.contains("in your own settings only") && told.contains("config set --user"),
        "{told}"
    );
    sandbox.remove("digstore.toml");
    // Neither do the environment, a flag, nor files where git has its hooks.
    for dir in [".digstore/hooks", "hooks", ".git/hooks"] {
        for name in ["pre-commit", "post-commit"] {
            sandbox.write(format!("{dir}/{name}"), "#!/bin/sh\ntouch ../ran\n");
            sandbox.chmod(format!("{dir}/{name}"), 0o755);
        }
    }
    let mut command = sandbox.command(["commit", "--allow-empty", "-m", "x"]);
    for name in ["DIGSTORE_HOOKS_PRE_COMMIT", "DIGSTORE_HOOKS_PRE-COMMIT", "DIGSTORE_PRE_COMMIT"] {
        command.env(name, "touch ../ran");
    }
    Output::of(&mut command).expect_code(0);
    let flag = "hooks.pre-commit=touch ../ran";
    let told = sandbox.fails(2, ["--config", flag, "commit", "--allow-empty", "-m", "x"]);
    assert!(told.contains("in your own settings only"), "{told}");
    sandbox.fails(2, ["config", "set", "hooks.pre-commit", "true"]);
    sandbox.fails(2, ["config", "set", "--tree", "hooks.pre-commit", "true"]);
    assert!(!sandbox.beside("ran").exists());
    sandbox.ok(["config", "set", "--user", "hooks.pre-commit", "echo > ../ran"]);
    sandbox.ok(["commit", "--allow-empty", "-m", "x"]);
    assert!(sandbox.beside("ran").exists());
}

#[test]
fn a_commit_made_while_another_is_amended_stays() {
    let program = digstore();
    let sandbox = with_hooks(&format!("pre-commit = '{program} commit -m theirs'"));
    let said = sandbox.fails(1, ["commit", "--amend", "--no-edit"]);
    assert!(said.contains("HEAD moved to"), "{said}");
    sandbox.write(USER, "");
    let editor = format!("{program} switch -c other; {program} commit --allow-empty -m mine #");
    let mut command = sandbox.command(["commit", "--amend"]);
    let said = Output::of(command.env("DIGSTORE_EDITOR", editor)).expect_code(1);
    assert!(said.stderr.contains("HEAD moved to"), "{said:?}");
    assert_eq!(sandbox.ok(["log", "--format=%s"]).text(), "mine\ntheirs\nfirst\n");
    sandbox.ok(["commit", "--amend", "-m", "ours"]);
    assert_eq!(sandbox.ok(["log", "--format=%s"]).text(), "ours\ntheirs\nfirst\n");
}
