//! `config`, through the binary.

#![expect(
    clippy::disallowed_methods,
    reason = "tests make files by any means, and a failed helper fails the test"
)]

mod common;

use std::fs;

use common::{Output, Sandbox};

#[test]
fn a_setting_is_written_read_and_taken_out_again() {
    let sandbox = Sandbox::new();
    sandbox.write(".digstore/config.toml", "# mine\n[ui]\ncolor = 'never' # why\n");
    sandbox.ok(["config", "set", "performance.batch_size", "42"]);
    sandbox.ok(["config", "set", "ui.color", "always"]);
    assert_eq!(
        sandbox.read(".digstore/config.toml"),
        b"# mine\n[ui]\ncolor = \"always\" # why\n\n[performance]\nbatch_size = 42\n"
    );
    assert_eq!(sandbox.ok(["config", "get", "performance.batch_size"]).text(), "42\n");
    let shown = sandbox.ok(["config", "get", "--show-origin", "performance.batch_size"]);
    let file = sandbox.path(".digstore/config.toml");
    assert_eq!(shown.text(), format!("file:{}\t42\n", file.display()));
    sandbox.ok(["config", "unset", "performance.batch_size"]);
    assert_eq!(sandbox.ok(["config", "get", "performance.batch_size"]).text(), "500\n");
    let stderr = sandbox.fails(1, ["config", "unset", "performance.batch_size"]);
    assert!(stderr.contains("does not set 'performance.batch_size'"), "{stderr}");
    // What is unset and has no default is a failure without a word.
    let output =
        sandbox.command(["config", "get", "user.name"]).env_remove("DIGSTORE_AUTHOR_NAME").output();
    let output = output.unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
}

#[test]
fn each_level_has_its_file_and_the_higher_one_counts() {
    let sandbox = Sandbox::new();
    for (level, value) in [("--user", "1"), ("--tree", "2"), ("--local", "3")] {
        sandbox.ok(["config", "set", level, "performance.batch_size", value]);
        assert_eq!(
            sandbox.ok(["config", "get", "performance.batch_size"]).text(),
            format!("{value}\n")
        );
    }
    for (level, value) in [("--user", "1"), ("--tree", "2"), ("--local", "3")] {
        let output = sandbox.ok(["config", "get", level, "performance.batch_size"]);
        assert_eq!(output.text(), format!("{value}\n"));
        let listed = sandbox.ok(["config", "list", level]);
        assert_eq!(listed.text(), format!("performance.batch_size={value}\n"));
    }
    assert!(sandbox.beside("home/config/digstore/config.toml").exists());
    assert!(sandbox.path("digstore.toml").exists());
    let all = sandbox.ok(["config", "list", "--show-origin"]);
    let line = format!(
        "file:{}\tperformance.batch_size=3",
        sandbox.path(".digstore/config.toml").display()
    );
    assert!(all.text().lines().any(|found| found == line), "{}", all.text());
    assert!(all.text().contains("environment:DIGSTORE_AUTHOR_NAME\tuser.name=Ada Test\n"));
    assert!(all.text().contains("default\tcompression.level=auto\n"));
    let json = sandbox.ok(["config", "list", "--json"]).json();
    let settings = json["settings"].as_array().unwrap();
    assert!(
        settings
            .iter()
            .any(|entry| entry["key"] == "performance.batch_size" && entry["value"] == "3")
    );
    let flags =
        sandbox.ok(["--config", "ui.color=never", "config", "get", "--json", "ui.color"]).json();
    assert_eq!((&flags["value"], &flags["origin"]), (&"never".into(), &"flag:--config".into()));
    // What travels with the data may not say who somebody is.
    let stderr = sandbox.fails(2, ["config", "set", "--tree", "user.name", "Eve"]);
    assert!(stderr.contains("may set only [performance] and [ignore]"), "{stderr}");
    // Your own settings need no repository, and a file that is a link stays one.
    let bare = Sandbox::bare();
    fs::create_dir_all(bare.beside("home/config/digstore")).unwrap();
    std::os::unix::fs::symlink(
        bare.beside("dotfile"),
        bare.beside("home/config/digstore/config.toml"),
    )
    .unwrap();
    fs::write(bare.beside("dotfile"), "").unwrap();
    bare.ok(["config", "set", "--user", "user.name", "Ada"]);
    assert_eq!(fs::read(bare.beside("dotfile")).unwrap(), b"[user]\nname = \"Ada\"\n");
    assert_eq!(bare.ok(["config", "get", "--user", "user.name"]).text(), "Ada\n");
    bare.fails(10, ["config", "set", "user.name", "Ada"]);
}

#[test]
fn what_is_wrong_is_refused_and_the_file_stays() {
    let sandbox = Sandbox::new();
    let file = ".digstore/config.toml";
    sandbox.write(file, "[ui]\ncolor = 'never'\n");
    for (args, message) in [
        (["set", "performance.batchsize", "1"], "did you mean 'performance.batch_size'?"),
        (["set", "performance.batch_size", "0"], "expects a whole number from 1 to 1000000"),
        (["set", "ui.color", "pink"], "expects one of auto, always, never"),
        (["get", "--local", "ui.colour"], "did you mean 'ui.color'?"),
        (["unset", "--local", "nothing"], "'nothing' is no setting"),
    ] {
        let stderr = sandbox.fails(2, ["config"].iter().chain(&args));
        assert!(stderr.contains(message), "{args:?}: {stderr}");
    }
    sandbox.ok(["config", "set", "-n", "ui.color", "always"]);
    sandbox.ok(["config", "unset", "-n", "ui.color"]);
    assert_eq!(sandbox.read(file), b"[ui]\ncolor = 'never'\n");
    assert!(sandbox.ok(["config", "validate"]).stderr.contains("all settings are valid"));
    // A file with a mistake is told by all, and not changed before the mistake is gone.
    sandbox.write(file, "[ui]\ncolor = 'pink'\n");
    sandbox.write("digstore.toml", "[ignore]\nuse_git = true\n");
    let output = sandbox.run(["config", "validate"]).expect_code(2);
    assert!(output.text().contains("sets 'ui.color' to"), "{}", output.text());
    assert!(
        output.text().contains("sets 'ignore.use_git', which is no setting"),
        "{}",
        output.text()
    );
    let report = sandbox.run(["config", "validate", "--json"]).expect_code(2).json();
    assert_eq!((&report["valid"], report["errors"].as_array().unwrap().len()), (&false.into(), 2));
    sandbox.fails(2, ["config", "set", "ui.progress", "never"]);
    assert_eq!(sandbox.read(file), b"[ui]\ncolor = 'pink'\n");
    sandbox.fails(2, ["config", "list"]);
    let names =
        fs::read_dir(sandbox.path(".digstore")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.into_iter().all(|name| !name.to_str().unwrap().contains("tmp-")));
}

#[test]
fn the_editor_changes_a_file_and_mistakes_are_told() {
    let sandbox = Sandbox::new();
    let edit = |script: &str, args: &[&str]| {
        fs::write(sandbox.beside("editor"), format!("#!/bin/sh\n{script}\n")).unwrap();
        sandbox.chmod("../editor", 0o755);
        let mut command = sandbox.command(["config", "edit"].iter().chain(args));
        Output::of(command.env("DIGSTORE_EDITOR", sandbox.beside("editor")))
    };
    edit("echo '[ui]' >> \"$1\"; echo 'color = \"never\"' >> \"$1\"", &[]).expect_code(0);
    assert_eq!(sandbox.ok(["config", "get", "--local", "ui.color"]).text(), "never\n");
    let wrong = edit("echo 'colour = 1' >> \"$1\"", &[]).expect_code(2);
    assert!(wrong.stderr.contains("did you mean 'ui.color'?"), "{}", wrong.stderr);
    edit("sed -i /colour/d \"$1\"", &[]).expect_code(0);
    edit("echo '[user]' > \"$1\"", &["--user"]).expect_code(0);
    assert_eq!(fs::read(sandbox.beside("home/config/digstore/config.toml")).unwrap(), b"[user]\n");
    let failed = edit("exit 3", &[]).expect_code(1);
    assert!(failed.stderr.contains("failed"), "{}", failed.stderr);
}
