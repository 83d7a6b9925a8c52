//! Rows 66 to 79: settings, refs and what is typed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use crate::archive::{archive, import_tar};
use crate::common::{Sandbox, flip, name, overwrite, tar};
use crate::watch::{sound, watch, watched};

#[test]
fn d66_settings_of_a_repository_run_nothing() {
    let sandbox = sound();
    let run = format!("touch {}", sandbox.beside("ran").display());
    let hostile = [
        format!("[hooks]\npre-commit = \"{run}\"\npost-commit = \"{run}\"\n"),
        format!("[alias]\nlog = \"!{run}\"\nst = \"!{run}\"\n"),
        format!("[core]\npager = \"{run}\"\neditor = \"{run}\"\n"),
    ];
    for text in hostile {
        for file in [".digstore/config.toml", "digstore.toml"] {
            sandbox.write(file, &text);
            for args in
                [&["log"][..], &["st"], &["commit", "--allow-empty", "-m", "x"], &["commit"]]
            {
                watched(&sandbox, args);
            }
            sandbox.remove(file);
        }
    }
    assert!(!sandbox.beside("ran").exists());
}

#[test]
fn d67_settings_that_are_huge_or_deep() {
    let sandbox = sound();
    let deep = format!("a = {}{}", "[".repeat(200_000), "]".repeat(200_000));
    let keys = format!("{}x = 1", "a.".repeat(200_000));
    let tables = format!("a = {}1{}", "{a=".repeat(100_000), "}".repeat(100_000));
    for text in [deep, keys, tables, "[a]\n".repeat(20_000_000), "x".repeat(100 << 20)] {
        for file in [".digstore/config.toml", "digstore.toml"] {
            sandbox.write(file, &text);
            let output = watched(&sandbox, ["status"]).expect_code(2);
            assert!(output.stderr.len() < 10_000, "{} bytes", output.stderr.len());
            sandbox.remove(file);
        }
    }
    // The rules of the user and of the work tree too.
    sandbox.write(".digignore", "x\n".repeat(50 << 20));
    watched(&sandbox, ["status"]);
}

#[test]
fn d68_line_ends_behind_a_value() {
    let sandbox = sound();
    for text in ["Ada\r", "Ada\n", "Ada\r\n", "a\tb", "\"", "\\", "'''", "é\u{2028}"] {
        let told = watched(&sandbox, ["config", "user.name", text]);
        if told.code == 0 {
            let read = watched(&sandbox, ["config", "user.name", "--json"]).expect_code(0).json();
            assert!(read.to_string().contains(&serde_json::to_string(text).unwrap()), "{read}");
        }
        watched(&sandbox, ["status"]).expect_code(0);
    }
    // A name may end so, in a file as on the command line.
    for file in ["f\r", "f\n", "f "] {
        sandbox.write(file, file);
        sandbox.ok(["add", file]);
        assert_eq!(sandbox.ok(["get", file]).text(), file);
    }
    sandbox
        .feed(b"f\r\0f\n\0", ["rm", "--cached", "--pathspec-from-file=-", "--pathspec-file-nul"]);
    assert!(sandbox.status().iter().any(|line| line.starts_with("??")));
}

#[test]
fn d70_names_of_refs() {
    let sandbox = sound();
    let refs = sandbox.path(".digstore/refs");
    for bad in [
        "../../x",
        "-x",
        "x.lock",
        "a\u{1}b",
        "a b",
        "a..b",
        "/x",
        "x/",
        "a//b",
        ".x",
        "x.",
        "@",
        "HEAD",
        "a@{b",
        "a~b",
        "a^b",
        "a:b",
        "a?b",
        "a*b",
        "a[b",
        "a\\b",
        "a\nb",
        "",
        "../config.toml",
    ] {
        for args in [
            &["branch", "--", bad][..],
            &["switch", "--create", bad],
            &["tag", "--", bad],
            &["branch", "--move", "main", bad],
        ] {
            let output = watched(&sandbox, args);
            assert_ne!(output.code, 0, "{args:?}");
        }
    }
    sandbox.ok(["branch", "Twin"]);
    assert_eq!(watched(&sandbox, ["branch", "twin"]).code, 1);
    assert_eq!(watched(&sandbox, ["branch", "Twin/below"]).code, 1);
    let long = "l".repeat(256);
    assert_ne!(watched(&sandbox, ["branch", &long]).code, 0);
    let there = crate::common::files_below(&refs);
    assert_eq!(there, [refs.join("heads/Twin"), refs.join("heads/main")]);
    // A file among the refs whose name no ref can have, and a link to outside.
    fs::copy(refs.join("heads/main"), refs.join("heads/x.lock")).unwrap();
    std::os::unix::fs::symlink(sandbox.beside("outside/secret"), refs.join("heads/link")).unwrap();
    for args in
        [&["branch"][..], &["log"], &["store", "verify"], &["log", "link"], &["log", "x.lock"]]
    {
        watched(&sandbox, args);
    }
}

#[test]
fn d71_refs_that_are_empty_or_torn() {
    let sandbox = sound();
    let head = sandbox.ok(["log", "--json"]).stdout;
    for file in [".digstore/refs/heads/main", ".digstore/HEAD"] {
        let path = sandbox.path(file);
        let bytes = fs::read(&path).unwrap();
        for cut in 0..bytes.len() {
            overwrite(&path, &bytes[..cut]);
            if cut % 8 == 0 {
                watched(&sandbox, ["store", "verify"]).expect_code(21);
                watched(&sandbox, ["log"]).expect_code(21);
            }
        }
        overwrite(&path, &bytes);
        flip(&path, bytes.len() / 2);
        watched(&sandbox, ["commit", "--allow-empty", "-m", "x"]).expect_code(21);
        // The log of operations knows where it led.
        watched(&sandbox, ["store", "repair", "--apply"]).expect_code(0);
        assert_eq!(sandbox.ok(["log", "--json"]).stdout, head, "{file}");
        sandbox.ok(["store", "verify", "--data"]);
    }
}

#[test]
fn d73_texts_that_steer_a_terminal() {
    let sandbox = sound();
    let hostile = "title \u{1b}[31mred\u{1b}]0;owned\u{7}\u{9b}1m \u{202e}back\rline";
    let mut command = sandbox.command(["commit", "--allow-empty", "-m", hostile]);
    command.env("DIGSTORE_AUTHOR_NAME", hostile).env("DIGSTORE_AUTHOR_EMAIL", hostile);
    watch(&mut command);
    sandbox.ok(["commit", "--allow-empty", "-m", hostile]);
    sandbox.ok(["tag", "-m", hostile, "t"]);
    for args in [
        &["log"][..],
        &["log", "--oneline", "--graph"],
        &["show"],
        &["show", "t"],
        &["tag", "-n"],
        &["branch", "-v"],
        &["op", "log"],
        &["reflog"],
        &["log", hostile],
        &["add", hostile],
        &["switch", hostile],
        &["--config", hostile, "log"],
        &[hostile],
        &["log", "--since", hostile],
    ] {
        let output = watched(&sandbox, args);
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &output.stderr;
        for hidden in ["\u{1b}[31m", "\u{1b}]", "\u{7}", "\u{9b}", "\u{202e}", "\r"] {
            assert!(!said.contains(hidden), "{args:?} shows {hidden:?}: {said:?}");
        }
    }
}

#[test]
fn d74_a_message_of_one_gibibyte() {
    let sandbox = sound();
    fs::File::create(sandbox.beside("message")).unwrap().set_len(1 << 30).unwrap();
    for args in [
        &["commit", "--allow-empty", "-F", "../message"][..],
        &["tag", "-F", "../message", "t"],
        &["commit", "--allow-empty", "-F", "-"],
    ] {
        let mut command = sandbox.command(args);
        command.stdin(fs::File::open(sandbox.beside("message")).unwrap());
        let output = watch(&mut command);
        assert!(matches!(output.code, 1 | 2), "{args:?}: {output:?}");
        assert!(output.stderr.len() < 10_000);
    }
    assert_eq!(sandbox.ok(["log", "--oneline"]).text().lines().count(), 1);
    // What is as large as a message may be, and one byte more.
    for (len, code) in [(1 << 20, 0), ((1 << 20) + 1, 1)] {
        fs::write(sandbox.beside("message"), "m".repeat(len)).unwrap();
        let output = watched(&sandbox, ["commit", "--allow-empty", "-F", "../message"]);
        assert_eq!(output.code == 0, code == 0, "{len}: {output:?}");
    }
}

#[test]
fn d76_patterns_that_take_other_matchers_for_ever() {
    let sandbox = sound();
    let stars = "*a".repeat(120) + "b";
    let deep = "**/a/".repeat(100) + "b";
    let classes = "[!b]*".repeat(60) + "b";
    sandbox.write(".digignore", [&*stars, &*deep, &*classes].join("\n"));
    sandbox.write("a".repeat(250), "x");
    sandbox.write("a/".repeat(100) + "c", "x");
    watched(&sandbox, ["add", "-A"]).expect_code(0);
    for pattern in [stars, deep, classes] {
        watched(&sandbox, ["ls", &pattern]);
        watched(&sandbox, ["check-ignore", &"a".repeat(250)]);
        watched(&sandbox, ["add", "--", &format!(":(glob){pattern}")]);
    }
}

#[test]
fn d77_nobody_to_write_to() {
    let sandbox = sound();
    for args in [
        &["log"][..],
        &["ls"],
        &["get", "mine"],
        &["status"],
        &["--help"],
        &["commit", "--allow-empty", "-m", "x"],
    ] {
        let mut command = sandbox.command(args);
        command.stdout(fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
        let output = command.stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("panicked"), "{args:?}: {said}");
        assert!(matches!(output.status.code(), Some(1)), "{args:?}: {:?} {said}", output.status);
        let mut command = sandbox.command(args);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command.stdout(writer).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code().is_some() && !said.contains("panicked"), "{args:?}: {said}");
    }
}

#[test]
fn d78_nowhere_to_be() {
    let sandbox = sound();
    for args in ["status", "log", "add .", "init", "store verify"] {
        let script = format!("mkdir d && cd d && rmdir ../d && exec \"$0\" {args}");
        let mut command = Command::new("sh");
        sandbox.surround(&mut command);
        watch(command.args(["-c", &script, env!("CARGO_BIN_EXE_digstore")])).expect_code(1);
        let mut command = sandbox.command(args.split(' '));
        watch(command.env_clear());
    }
    for word in [&b"\xff"[..], b"-\xff", b"--x=\xff", b"", b"\x1b[31m"] {
        for first in ["log", "add", "switch", "get", "restore", "commit", "config", "tag"] {
            let output = watched(&sandbox, [name(first.as_bytes()), name(word)]);
            assert!(output.code != 101, "{output:?}");
        }
    }
}

#[test]
fn d79_archives_that_are_none() {
    let sandbox = sound();
    let sound = archive(&[(b'0', b"x", b"", b"planted")]);
    let mut numbers = Vec::new();
    // Sizes in octal that are none, negative, and larger than anything.
    for size in [
        &b"99999999999\0"[..],
        b"77777777777\0",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"-1\0\0\0\0\0\0\0\0\0\0",
    ] {
        let mut bytes = sound.clone();
        tar::set_size(&mut bytes, size);
        numbers.push(bytes);
    }
    for bytes in numbers.into_iter().chain([
        sound[..700].to_vec(),
        vec![0xff; 4096],
        b"\x1f\x8b\x08".to_vec(),
        b"\x28\xb5\x2f\xfd\x00\xff".to_vec(),
    ]) {
        let output = import_tar(&sandbox, &bytes);
        assert_ne!(output.code, 0, "{output:?}");
    }
    // Zeros that were compressed to almost nothing are stored, in bounded memory.
    let mut large = archive(&[(b'0', b"zeros", b"", b"")]);
    let size = 300usize << 20;
    tar::set_size(&mut large, format!("{size:011o}\0").as_bytes());
    large.splice(tar::BLOCK..tar::BLOCK, std::iter::repeat_n(0, size));
    let packed = zstd::bulk::compress(&large, 1).unwrap();
    drop(large);
    import_tar(&sandbox, &packed).expect_code(0);
    assert_eq!(fs::metadata(sandbox.path("zeros")).unwrap().size(), size as u64);
}

#[test]
fn d66_settings_name_no_repository_elsewhere() {
    let sandbox: Sandbox = sound();
    sandbox.write("digstore.toml", "[repository]\npath = \"/etc\"\n");
    assert_ne!(watched(&sandbox, ["add", "-A"]).code, 101);
    sandbox.remove("digstore.toml");
}
