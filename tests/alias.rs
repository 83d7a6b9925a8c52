//! The user's own names for commands, and what is told of words that are none.

mod common;

use common::{Output, Sandbox};

const USER: &str = "../home/config/digstore/config.toml";

fn with_aliases(aliases: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("a", "1\n");
    sandbox.save("first commit");
    sandbox.write(USER, format!("[alias]\n{aliases}\n"));
    sandbox
}

#[test]
fn an_alias_is_a_command_with_its_flags() {
    let sandbox = with_aliases(
        "one = 'log --oneline'\nmsg = \"commit --allow-empty -m 'two words'\"\nci = 'commit -q'\nadd = 'rm'",
    );
    assert_eq!(sandbox.ok(["one"]).stdout, sandbox.ok(["log", "--oneline"]).stdout);
    let work = sandbox.work.to_str().unwrap();
    let mut away = sandbox.command(["-C", work, "--json", "one", "-n", "1"]);
    let away = Output::of(away.current_dir("/")).expect_code(0).json();
    assert_eq!(away["commits"][0]["message"], "first commit");
    sandbox.ok(["msg"]);
    assert!(sandbox.ok(["one", "-n", "1"]).text().ends_with(" two words\n"));
    // Short names may get another meaning, commands may not.
    assert_eq!(sandbox.ok(["ci", "--allow-empty", "-m", "x"]).stderr, "");
    sandbox.write("b", "2");
    sandbox.ok(["add", "b"]);
    assert_eq!(sandbox.status(), ["A  b"]);
    assert!(sandbox.ok(["config", "validate"]).stderr.contains("'add' is a command"));
    assert!(
        sandbox.fails(2, ["config", "set", "--user", "alias.log", "st"]).contains("is a command")
    );
}

#[test]
fn help_tells_what_an_alias_stands_for() {
    let sandbox = with_aliases("one = 'log --oneline'\nsh = '!touch ../ran'");
    for args in [["help", "one"], ["one", "--help"], ["one", "-h"]] {
        let text = sandbox.ok(args).text().to_owned();
        assert!(text.starts_with("'one' is an alias for 'log --oneline'\n"), "{text}");
        assert!(text.contains("Usage: digstore log"), "{text}");
    }
    assert_eq!(sandbox.ok(["help", "sh"]).text(), "'sh' is an alias for '!touch ../ran'\n");
    assert_eq!(sandbox.ok(["sh", "-h"]).text(), "'sh' is an alias for '!touch ../ran'\n");
    assert!(!sandbox.beside("ran").exists());
}

#[test]
fn what_begins_with_a_mark_is_the_shells() {
    let sandbox = with_aliases(
        "where = '!pwd; echo \"$DIGSTORE_PREFIX\"; echo'\nfail = '!exit 7 #'\ndie = '!kill -9 $$ #'",
    );
    sandbox.mkdir("d/e");
    let work = sandbox.work.display();
    let output = sandbox.run_in("d/e", ["where", "x  y", "--json"]).expect_code(0);
    assert_eq!(output.text(), format!("{work}\nd/e\nx  y --json\n"));
    let output = sandbox.ok(["-C", "d", "where"]);
    assert_eq!(output.text(), format!("{work}\nd\n\n"));
    sandbox.run(["fail"]).expect_code(7);
    sandbox.run(["die"]).expect_code(137);
    let told = sandbox.fails(2, ["--json", "where"]);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["code"], &told["kind"]), (&2.into(), &"usage".into()));
    // Outside of a repository it runs where one is.
    let bare = Sandbox::bare();
    bare.write(USER, "[alias]\nwhere = '!pwd'\n");
    assert_eq!(bare.ok(["where"]).text(), format!("{}\n", bare.work.display()));
}

#[test]
fn aliases_that_lead_nowhere_are_told() {
    let sandbox = with_aliases("a = 'b -q'\nb = 'a'\nopen = \"log 'x\"\nlost = 'stauts'");
    let told = sandbox.fails(2, ["a"]);
    assert!(told.contains("cause: 'a' -> 'b' -> 'a'\n"), "{told}");
    let told = sandbox.fails(2, ["open"]);
    assert!(told.contains("cause: a quote is not closed\n"), "{told}");
    let told = sandbox.fails(2, ["lost"]);
    assert!(told.contains("error: 'stauts' is no command\nhint: did you mean 'status'?"), "{told}");
    // A mistake in the settings does not make an alias unknown.
    sandbox.write(USER, "[alias]\na b = 'log'\n");
    assert!(sandbox.fails(2, ["one"]).contains("not valid TOML"));
    sandbox.remove(USER);
    sandbox.mkdir(USER);
    assert!(sandbox.fails(2, ["one"]).contains("cause: it is not a regular file"));
    sandbox.remove(USER);
    sandbox.write(USER, "[alias]\none = 1\n");
    assert!(sandbox.fails(2, ["one"]).contains("'alias.one' to 1, but it expects a command line"));
}

#[test]
fn no_repository_names_an_alias() {
    let sandbox = Sandbox::new();
    let aliases = "[alias]\nrun = '!touch ../ran'\nst = '!touch ../ran'\n";
    sandbox.write(".digstore/config.toml", aliases);
    let told = sandbox.fails(2, ["run"]);
    assert!(told.contains("'run' is no command") && told.contains("in your own only"), "{told}");
    sandbox.ok(["st"]);
    sandbox.remove(".digstore/config.toml");
    sandbox.write("digstore.toml", aliases);
    sandbox.fails(2, ["run"]);
    assert!(sandbox.fails(2, ["st"]).contains("config set --user alias.run"));
    sandbox.remove("digstore.toml");
    sandbox.fails(2, ["--config", "alias.run=!touch ../ran", "status"]);
    assert!(!sandbox.beside("ran").exists());
}

#[test]
fn aliases_are_settings_of_the_user() {
    let sandbox = Sandbox::new();
    sandbox.ok(["config", "set", "--user", "alias.lg", "log --graph"]);
    assert_eq!(sandbox.read(USER), b"[alias]\nlg = \"log --graph\"\n");
    assert_eq!(sandbox.ok(["config", "get", "alias.lg"]).text(), "log --graph\n");
    let listed = sandbox.ok(["config", "list", "--show-origin"]);
    let line = format!(
        "file:{}\talias.lg=log --graph",
        sandbox.beside("home/config/digstore/config.toml").display()
    );
    assert!(listed.text().lines().any(|found| found == line), "{}", listed.text());
    sandbox.fails(2, ["config", "set", "alias.lg", "log"]);
    sandbox.ok(["config", "unset", "--user", "alias.lg"]);
    sandbox.run(["config", "get", "alias.lg"]).expect_code(1);
    sandbox.fails(2, ["lg"]);
}

#[test]
fn what_is_no_command_flag_or_value_is_told_in_three_parts() {
    let sandbox = with_aliases("publish = '!true'");
    for (args, told) in [
        (&["comit"][..], "error: 'comit' is no command\nhint: did you mean 'commit'?\n"),
        (&["publsh"], "error: 'publsh' is no command\nhint: did you mean 'publish'?\n"),
        (&["zebra"], "error: 'zebra' is no command\nhint: 'digstore help' lists all commands\n"),
        (&["help", "stauts"], "error: 'stauts' is no command\nhint: did you mean 'status'?\n"),
        (
            &["store", "sise"],
            "error: 'sise' is no command of 'digstore store'\nhint: did you mean 'size'?\n",
        ),
        (
            &["commit", "--amned"],
            "error: unexpected argument '--amned' found\nhint: did you mean '--amend'?\n",
        ),
        (
            &["--color", "nevr", "log"],
            "error: invalid value 'nevr' for '--color <WHEN>'\n\
             cause: it expects one of auto, always, never\nhint: did you mean 'never'?\n",
        ),
    ] {
        assert_eq!(sandbox.fails(2, args), told);
        let json = sandbox.run([args, &["--json"]].concat()).expect_code(2);
        let json: serde_json::Value = serde_json::from_str(&json.stderr).unwrap();
        assert_eq!((&json["code"], &json["message_type"]), (&2.into(), &"error".into()));
        assert!(json["hint"].is_string(), "{json}");
    }
    let shown = sandbox.fails(2, ["comit", "--color=always"]);
    assert!(shown.contains('\x1b'), "{shown}");
    let shown = sandbox.fails(2, ["com\x1b[2Jit"]);
    assert!(!shown.contains('\x1b'), "{shown}");
}
