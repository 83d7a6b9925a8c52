//! `get`, `ls`, `restore` and `rm`.

#![expect(clippy::disallowed_methods, reason = "tests make files by any means")]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use common::{Node, Output, Sandbox, assert_same, name, noise, snapshot};

/// Three versions of `file`, each of its own length.
fn with_history() -> Sandbox {
    let sandbox = Sandbox::new();
    for version in ["one", "two!", "three"] {
        sandbox.write("dir/file", version);
        sandbox.save(version);
    }
    sandbox
}

#[test]
fn a_version_is_named_behind_the_path_or_before_it() {
    let sandbox = with_history();
    let get = |file: &str| sandbox.ok(["get", file]).stdout;
    assert_eq!(get("dir/file"), b"three");
    assert_eq!(get("dir/file@HEAD~1"), b"two!");
    assert_eq!(get("dir/file@HEAD~2"), b"one");
    assert_eq!(get("HEAD~2:dir/file"), b"one");
    assert_eq!(get("main^:dir/file"), b"two!");
    assert_eq!(get("./dir/../dir/file"), b"three");
    assert_eq!(sandbox.run_in("dir", ["get", "file@HEAD~1"]).expect_code(0).stdout, b"two!");
    assert_eq!(sandbox.run_in("dir", ["cat", "../dir/file"]).expect_code(0).stdout, b"three");
    // The last commit comes before what is staged and what lies in the work tree.
    sandbox.write("dir/file", "staged");
    sandbox.write("dir/new", "only staged");
    sandbox.ok(["add", "-A"]);
    assert_eq!(get("dir/file"), b"three");
    assert_eq!(get("dir/new"), b"only staged");
    sandbox.fails(20, ["get", "dir/new@HEAD"]);
}

#[test]
fn a_path_that_is_there_as_typed_comes_first() {
    let sandbox = Sandbox::new();
    for file in ["a", "a@HEAD", "HEAD:a", "b#c", "@"] {
        sandbox.write(file, file);
    }
    sandbox.save("x");
    for file in ["a", "a@HEAD", "HEAD:a", "b#c", "@"] {
        assert_eq!(sandbox.ok(["get", file]).stdout, file.as_bytes());
    }
    assert_eq!(sandbox.ok(["get", "a@HEAD@HEAD"]).stdout, b"a@HEAD");
    assert_eq!(sandbox.ok(["get", "HEAD:HEAD:a"]).stdout, b"HEAD:a");
}

#[test]
fn a_path_with_an_at_sign_that_only_an_old_commit_has_is_found() {
    let sandbox = Sandbox::new();
    sandbox.write("user@host", "x");
    sandbox.save("x");
    sandbox.remove("user@host");
    sandbox.write("y", "y");
    sandbox.save("y");
    assert_eq!(sandbox.ok(["get", "user@host@HEAD~1"]).stdout, b"x");
    assert_eq!(sandbox.ok(["get", "HEAD~1:user@host"]).stdout, b"x");
}

#[test]
fn a_path_as_typed_that_only_the_last_commit_has_is_found() {
    let sandbox = Sandbox::new();
    sandbox.write("user@host", "x");
    sandbox.save("x");
    sandbox.ok(["rm", "user@host"]);
    assert_eq!(sandbox.ok(["get", "user@host"]).stdout, b"x");
}

#[test]
fn an_output_file_is_replaced_as_a_whole() {
    let sandbox = with_history();
    let out = sandbox.beside("out");
    fs::write(&out, "something much longer than the stored file").unwrap();
    sandbox.ok(["get", "dir/file", "-o", "../out"]);
    assert_eq!(fs::read(&out).unwrap(), b"three");
    // One that others hold open keeps its bytes.
    fs::hard_link(&out, sandbox.beside("held")).unwrap();
    sandbox.ok(["get", "dir/file@HEAD~1", "-o", "../out"]);
    assert_eq!(fs::read(sandbox.beside("held")).unwrap(), b"three");
    assert_eq!(fs::read(&out).unwrap(), b"two!");
    let before = snapshot(&sandbox.beside(""));
    sandbox.fails(1, ["get", "dir/file", "-o", "../no/such/directory"]);
    sandbox.fails(20, ["get", "dir/fi", "-o", "../out"]);
    assert_same(&before, &snapshot(&sandbox.beside("")));
}

#[test]
fn an_output_file_is_executable_if_the_stored_one_is() {
    let sandbox = Sandbox::new();
    sandbox.write("run", "#!/bin/sh\n");
    sandbox.chmod("run", 0o755);
    sandbox.save("x");
    sandbox.ok(["get", "run", "-o", "../out"]);
    assert_eq!(fs::metadata(sandbox.beside("out")).unwrap().permissions().mode() & 0o111, 0o111);
}

#[test]
fn ranges_include_both_ends() {
    let sandbox = Sandbox::new();
    let bytes = noise(1, 1_000_000);
    sandbox.write("big", &bytes);
    sandbox.write("empty", "");
    sandbox.save("x");
    let cases = [
        ("0-0", 0..1),
        ("0-999999", 0..1_000_000),
        ("65535-65536", 65_535..65_537),
        ("123456-654321", 123_456..654_322),
        ("999999-", 999_999..1_000_000),
        ("10-", 10..1_000_000),
        ("-1", 999_999..1_000_000),
        ("-70000", 930_000..1_000_000),
        ("-5000000", 0..1_000_000),
        ("5-99999999", 5..1_000_000),
    ];
    for (range, expected) in cases {
        let by_flag = sandbox.ok(["get", "big", "--range", range]).stdout;
        assert!(by_flag == bytes[expected.clone()], "{range}: {} bytes", by_flag.len());
        let by_name = sandbox.ok(["get", &format!("big#bytes={range}")]).stdout;
        assert!(by_name == bytes[expected], "{range}");
    }
    assert_eq!(sandbox.ok(["get", "big@HEAD#bytes=7-8"]).stdout, &bytes[7..9]);
    sandbox.ok(["get", "big", "--range=3-4", "-o", "../part"]);
    assert_eq!(fs::read(sandbox.beside("part")).unwrap(), &bytes[3..5]);
    assert_eq!(sandbox.ok(["get", "empty"]).stdout, b"");
    for range in
        ["1000000-", "5-4", "-0", "", "-", "x", "1-2-3", "1000000-1000001", "99999999999999999999-"]
    {
        let told = sandbox.run(["get", "big", "--range", range]).expect_code(2);
        assert!(told.stdout.is_empty(), "{range}");
        assert!(told.stderr.contains("hint: a range is"), "{range}: {}", told.stderr);
    }
    sandbox.fails(2, ["get", "big#bytes=9-1"]);
    sandbox.fails(2, ["get", "empty", "--range", "0-0"]);
}

#[test]
fn get_refuses_what_is_no_file() {
    let sandbox = Sandbox::new();
    sandbox.write("dir/file", "x");
    sandbox.link("link", "dir/file");
    sandbox.link("link-to-dir", "dir");
    sandbox.mkdir("empty");
    sandbox.save("x");
    assert!(sandbox.fails(20, ["get", "dir"]).contains("is a directory"));
    assert!(sandbox.fails(20, ["get", "empty"]).contains("is a directory"));
    assert!(sandbox.fails(20, ["get", "."]).contains("is a directory"));
    assert!(sandbox.fails(20, ["get", "link"]).contains("is a symbolic link"));
    sandbox.fails(20, ["get", "link-to-dir/file"]);
    sandbox.fails(20, ["get", "dir/file/below"]);
    assert!(sandbox.fails(20, ["get", "dir/flie"]).contains("hint: did you mean 'dir/file'?"));
    sandbox.fails(20, ["get", "dir/file@nothing"]);
    sandbox.fails(2, ["get", "../outside"]);
    sandbox.fails(2, ["get", ".digstore/HEAD"]);
}

#[test]
fn get_of_a_staged_empty_directory_says_that_it_is_one() {
    let sandbox = Sandbox::new();
    sandbox.mkdir("empty");
    sandbox.ok(["add", "-A"]);
    assert!(sandbox.fails(20, ["get", "empty"]).contains("is a directory"));
}

#[test]
fn ls_lists_the_staging_area_or_a_commit() {
    let sandbox = with_history();
    sandbox.write("run", "12345");
    sandbox.chmod("run", 0o755);
    sandbox.link("link", name(b"to\nit"));
    sandbox.mkdir("empty");
    sandbox.write(name(b"odd\xff\n"), "");
    sandbox.ok(["add", "-A"]);
    assert_eq!(sandbox.ok(["ls", "--source", "HEAD"]).text(), "dir/file\n");
    assert_eq!(sandbox.ok(["ls", "-z"]).stdout, b"dir/file\0link\0odd\xff\n\0run\0");
    let plain = sandbox.ok(["ls"]);
    assert_eq!(plain.text().lines().count(), 4);
    let long = sandbox.ok(["ls", "-l"]);
    let lines: Vec<&str> = long.text().lines().collect();
    assert_eq!(lines.len(), 5, "{lines:?}");
    assert!(lines[0].starts_with("f ") && lines[0].ends_with(" 5 dir/file"), "{lines:?}");
    assert!(lines[1].starts_with("d ") && lines[1].ends_with(" empty"), "{lines:?}");
    assert!(lines[2].starts_with("l ") && lines[2].contains(" link -> "), "{lines:?}");
    assert!(lines[4].starts_with("x ") && lines[4].ends_with(" 5 run"), "{lines:?}");
    assert_eq!(sandbox.run_in("dir", ["ls"]).text(), "dir/file\n");
    assert_eq!(sandbox.ok(["ls", "run", "link"]).text(), "link\nrun\n");
    sandbox.fails(20, ["ls", "nothing"]);
    sandbox.fails(20, ["ls", "-s", "HEAD", "run"]);
    let entries = sandbox.ok(["ls", "--json"]).json();
    assert_eq!(entries["entries"][4]["executable"], true);
    assert_eq!(entries["entries"][2]["kind"], "symlink");
    assert_eq!(entries["entries"][3]["path_hex"], "6f6464ff0a");
}

#[test]
fn restore_brings_back_what_is_staged() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "1");
    sandbox.write("dir/b", "1");
    sandbox.write("dir/c", "1");
    sandbox.link("link", "a");
    sandbox.mkdir("empty");
    sandbox.save("x");
    let before = sandbox.snapshot();
    sandbox.write("a", "changed");
    sandbox.remove("dir");
    sandbox.remove("empty");
    sandbox.remove("link");
    sandbox.write("link", "a file now");
    sandbox.ok(["restore", "dir/b"]);
    assert_eq!(sandbox.read("dir/b"), b"1");
    assert_eq!(sandbox.read("a"), b"changed");
    sandbox.ok(["restore", "."]);
    assert_same(&before, &sandbox.snapshot());
    assert!(sandbox.status().is_empty());
    sandbox.fails(20, ["restore", "nothing"]);
    sandbox.fails(2, ["restore"]);
}

#[test]
fn restore_leaves_what_is_not_named_and_not_stored() {
    let sandbox = with_history();
    sandbox.write("dir/untracked", "mine");
    sandbox.write("dir/file", "edited");
    sandbox.ok(["restore", "dir"]);
    assert_eq!(sandbox.read("dir/untracked"), b"mine");
    assert_eq!(sandbox.read("dir/file"), b"three");
}

#[test]
fn restore_from_a_commit_changes_the_work_tree_only() {
    let sandbox = with_history();
    sandbox.ok(["restore", "--source", "HEAD~2", "dir/file"]);
    assert_eq!(sandbox.read("dir/file"), b"one");
    assert_eq!(sandbox.status(), [" M dir/file"]);
    sandbox.run_in("dir", ["restore", "-s", "HEAD~1", "file"]).expect_code(0);
    assert_eq!(sandbox.read("dir/file"), b"two!");
    sandbox.fails(20, ["restore", "-s", "HEAD~9", "."]);
    sandbox.fails(20, ["restore", "-s", "HEAD", "nothing"]);
}

#[test]
fn restore_staged_unstages() {
    let sandbox = with_history();
    sandbox.write("dir/file", "edited");
    sandbox.write("new", "1");
    sandbox.ok(["add", "-A"]);
    assert_eq!(sandbox.status(), ["M  dir/file", "A  new"]);
    sandbox.ok(["restore", "--staged", "new"]);
    assert_eq!(sandbox.status(), ["M  dir/file", "?? new"]);
    sandbox.ok(["restore", "--staged", "."]);
    assert_eq!(sandbox.status(), [" M dir/file", "?? new"]);
    assert_eq!(sandbox.read("dir/file"), b"edited");
    sandbox.ok(["rm", "--cached", "dir/file"]);
    sandbox.ok(["restore", "-S", "."]);
    assert_eq!(sandbox.status(), [" M dir/file", "?? new"]);
    sandbox.ok(["restore", "--staged", "--source", "HEAD~2", "."]);
    assert_eq!(sandbox.status(), ["MM dir/file", "?? new"]);
    sandbox.fails(20, ["restore", "--staged", "nothing"]);
    sandbox.fails(2, ["restore", "--staged", "--target", "../x", "."]);
}

#[test]
fn restore_staged_works_before_the_first_commit() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "1");
    sandbox.ok(["add", "-A"]);
    sandbox.ok(["restore", "--staged", "a"]);
    assert_eq!(sandbox.status(), ["?? a"]);
}

#[test]
fn a_copy_goes_into_another_directory() {
    let sandbox = with_history();
    sandbox.write("dir/other", "o");
    sandbox.write("top", "t");
    sandbox.save("four");
    sandbox.write("top", "edited");
    let target = sandbox.beside("made/for/it");
    let out = target.display().to_string();
    sandbox.ok(["restore", "--target", &out]);
    assert_eq!(snapshot(&target).len(), 3);
    assert_eq!(fs::read(target.join("top")).unwrap(), b"t");
    // Files that are there are replaced, others stay.
    fs::write(target.join("dir/file"), "longer than what is stored").unwrap();
    fs::write(target.join("mine"), "mine").unwrap();
    sandbox.ok(["restore", "--target", &out, "-s", "HEAD~3", "dir"]);
    let tree = snapshot(&target);
    assert_eq!(tree[&name(b"dir/file")], Node::File(b"one".to_vec(), false));
    assert_eq!(tree[&name(b"mine")], Node::File(b"mine".to_vec(), false));
    assert_eq!(tree[&name(b"top")], Node::File(b"t".to_vec(), false));
    assert_eq!(sandbox.read("top"), b"edited");
}

#[test]
fn an_interrupted_copy_is_completed_by_the_next() {
    let sandbox = Sandbox::new();
    for number in 0..300 {
        sandbox.write(format!("d{}/f{number}", number % 7), noise(number, 3000));
    }
    sandbox.write("large", noise(1, 9 << 20));
    let id = sandbox.save("x");
    let whole = sandbox.snapshot();
    for round in 0..6 {
        let target = sandbox.beside(&format!("out{round}"));
        let args = ["restore", "-s", &id, "--target", target.to_str().unwrap()];
        let mut child = sandbox.command(args).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(round * 4));
        child.kill().unwrap();
        child.wait().unwrap();
        sandbox.ok(args);
        let mut found = snapshot(&target);
        // What was killed in the middle of a replacement is kept from the next one for a minute.
        found.retain(|path, _| !path.to_string_lossy().contains(".digstore-tmp-"));
        assert_same(&whole, &found);
    }
}

#[test]
fn what_a_killed_restore_left_is_removed_by_the_next() {
    let sandbox = Sandbox::new();
    sandbox.write("dir/file", "1");
    sandbox.save("one");
    let old = std::time::SystemTime::now() - std::time::Duration::from_hours(1);
    let left = |number: u32| {
        let path = sandbox.path("dir").join(format!(".digstore-tmp-00000000000000ab-{number:x}"));
        fs::write(&path, "x").unwrap();
        path
    };
    let (young, locked, dead) = (left(1), left(2), left(30));
    let link = sandbox.path("dir/.digstore-tmp-00000000000000ab-4");
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    let holder = fs::File::open(&locked).unwrap();
    rustix::fs::flock(&holder, rustix::fs::FlockOperation::LockExclusive).unwrap();
    holder.set_modified(old).unwrap();
    fs::File::open(&dead).unwrap().set_modified(old).unwrap();
    sandbox.write("dir/file", "changed");
    let summary = sandbox.ok(["restore", "dir", "--json"]).json();
    assert_eq!(summary["swept"], 1);
    assert!(young.exists() && locked.exists() && link.is_symlink() && !dead.exists());
    assert_eq!(sandbox.read("dir/file"), b"1");
}

#[test]
fn a_file_of_the_user_whose_name_begins_like_a_temporary_one_is_kept() {
    let sandbox = Sandbox::new();
    let names = ["notes", "00000000000000ab", "00000000000000AB-1", "00000000000000ab-01"];
    let names = names.map(|name| format!("dir/.digstore-tmp-{name}"));
    let old = std::time::SystemTime::now() - std::time::Duration::from_hours(1);
    for name in &names {
        sandbox.write(name, "mine");
        fs::File::open(sandbox.path(name)).unwrap().set_modified(old).unwrap();
    }
    let summary = sandbox.ok(["add", "-A", "--json"]).json();
    assert_eq!(summary["added"].as_array().map(Vec::len), Some(names.len()));
    let summary = sandbox.ok(["restore", "dir", "--json"]).json();
    assert_eq!(summary["swept"], 0);
    for name in &names {
        assert_eq!(sandbox.read(name), b"mine");
    }
}

#[test]
fn the_cache_hits_where_blocks_are_shared_and_evicts_where_it_is_small() {
    let sandbox = Sandbox::new();
    for number in 0..600u64 {
        sandbox.write(format!("d{}/f{number}", number % 40), noise(number, 8000));
    }
    let id = sandbox.save("x");
    let whole = sandbox.snapshot();
    let restore = |target: &str, cache: &str| {
        let out = sandbox.beside(target);
        let setting = format!("performance.chunk_cache_size={cache}");
        let out_text = out.to_str().unwrap();
        let args = ["--json", "--config", &setting, "restore", "-s", &id, "--target", out_text];
        let summary = sandbox.ok(args).json();
        assert_same(&whole, &snapshot(&out));
        summary["cache"].clone()
    };
    let count = |cache: &serde_json::Value, name: &str| cache[name].as_u64().unwrap();
    let large = restore("large", "100MB");
    // Forty directories share few blocks of trees.
    assert!(count(&large, "hot_hits") + count(&large, "warm_hits") >= 30, "{large}");
    assert_eq!(count(&large, "evictions"), 0);
    assert!(count(&large, "bytes") > 0 && count(&large, "bytes") <= count(&large, "limit"));
    let none = restore("none", "0");
    assert_eq!((count(&none, "bytes"), count(&none, "limit")), (0, 0));
    assert_eq!(count(&none, "hot_hits") + count(&none, "warm_hits"), 0);
    assert!(count(&none, "misses") > count(&large, "misses"));
    let line = sandbox.ok(["-v", "get", "d1/f1", "-o", "../got"]).stderr;
    assert!(line.contains("block cache: "), "{line}");
}

#[test]
fn scattered_pieces_of_one_block_come_from_the_cache_and_a_tiny_one_evicts() {
    let sandbox = Sandbox::new();
    let chunk = |seed: u64| noise(seed, 600_000);
    let base: Vec<u8> = (0..12).flat_map(chunk).collect();
    sandbox.write("base", &base);
    sandbox.save("base");
    // Pieces of distant blocks by turns: each block is needed in part, again and again.
    let mixed: Vec<u8> = (0..8)
        .flat_map(|round| (0..12).flat_map(move |at| chunk(at)[round * 1000..][..300_000].to_vec()))
        .collect();
    sandbox.write("mixed", &mixed);
    sandbox.save("mixed");
    let get = |cache: &str| {
        let setting = format!("performance.chunk_cache_size={cache}");
        let args = ["--json", "--config", &setting, "get", "mixed", "-o", "../got"];
        let summary = sandbox.ok(args).json();
        assert!(fs::read(sandbox.beside("got")).unwrap() == mixed);
        let cache = &summary["cache"];
        ["hot_hits", "warm_hits", "misses", "evictions"].map(|name| cache[name].as_u64().unwrap())
    };
    let [hot, warm, misses, evictions] = get("100MB");
    assert!(hot + warm > misses && evictions == 0, "{hot} {warm} {misses} {evictions}");
    let [_, _, more_misses, evictions] = get("3MB");
    assert!(evictions > 0 && more_misses > misses, "{more_misses} {evictions}");
}

#[test]
fn every_thread_count_and_the_least_memory_give_the_same_bytes() {
    let sandbox = Sandbox::new();
    let mut large = noise(1, 12 << 20);
    large[3 << 20..7 << 20].fill(0);
    large.extend_from_slice(&noise(2, 70_000).repeat(40));
    large.extend_from_slice(&vec![0; 5_000_001]);
    sandbox.write("large", &large);
    sandbox.write("zeros", vec![0; 3_000_000]);
    sandbox.save("x");
    for threads in [1, 2, 7] {
        let threads = format!("performance.max_worker_threads={threads}");
        let memory = "performance.max_memory_usage=64MB";
        let settings = ["--config", &threads, "--config", memory];
        for (range, bytes) in [
            ("0-", &large[..]),
            ("3145000-9000000", &large[3_145_000..=9_000_000]),
            ("-5100000", &large[large.len() - 5_100_000..]),
            ("4194304-4194304", &[0][..]),
        ] {
            let file = sandbox.ok([&settings[..], &["get", "large", "--range", range]].concat());
            assert!(file.stdout == bytes, "{threads} {range}");
            let to = ["get", "large", "--range", range, "-o", "../got"];
            sandbox.ok([&settings[..], &to].concat());
            assert!(fs::read(sandbox.beside("got")).unwrap() == bytes, "{threads} {range}");
        }
        let zeros = sandbox.ok([&settings[..], &["get", "zeros"]].concat());
        assert!(zeros.stdout == vec![0; 3_000_000]);
    }
}

#[test]
fn restore_never_writes_through_a_planted_link() {
    let sandbox = Sandbox::new();
    sandbox.write("dir/file", "stored");
    sandbox.write("dir/sub/deep", "stored");
    sandbox.write("plain", "stored");
    sandbox.save("x");
    let outside = sandbox.beside("outside");
    fs::create_dir_all(outside.join("sub")).unwrap();
    fs::write(outside.join("file"), "precious").unwrap();
    let before = snapshot(&outside);
    sandbox.remove("dir");
    sandbox.link("dir", outside.as_os_str());
    sandbox.remove("plain");
    sandbox.link("plain", outside.join("file").as_os_str());
    for args in [
        &["restore", "."][..],
        &["restore", "dir/file"],
        &["restore", "-s", "HEAD", "dir/sub"],
        &["restore", "plain"],
    ] {
        sandbox.run(args);
        assert_same(&before, &snapshot(&outside));
    }
    assert_eq!(sandbox.read("plain"), b"stored");
    // The same in a directory given with --target.
    let target = sandbox.beside("target");
    fs::create_dir_all(&target).unwrap();
    std::os::unix::fs::symlink(&outside, target.join("dir")).unwrap();
    sandbox.run(["restore", "--target", "../target"]);
    assert_same(&before, &snapshot(&outside));
}

#[test]
fn add_and_rm_never_reach_through_a_planted_link() {
    let sandbox = Sandbox::new();
    sandbox.write("dir/file", "stored");
    sandbox.save("x");
    let outside = sandbox.beside("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("file"), "precious").unwrap();
    sandbox.remove("dir");
    sandbox.link("dir", outside.as_os_str());
    sandbox.run(["rm", "-f", "dir/file"]);
    assert_eq!(fs::read(outside.join("file")).unwrap(), b"precious");
    sandbox.run(["add", "dir/file"]);
    sandbox.ok(["add", "-A"]);
    assert_eq!(sandbox.ok(["ls"]).text(), "dir\n");
}

#[test]
fn what_is_in_the_way_of_one_file_does_not_keep_the_others_away() {
    let sandbox = Sandbox::new();
    for file in ["a/file", "b", "c/file", "d"] {
        sandbox.write(file, file);
    }
    sandbox.save("x");
    for path in ["a", "b", "c", "d"] {
        sandbox.remove(path);
    }
    sandbox.write("b/mine", "a directory with something in it");
    let told = sandbox.fails(3, ["restore", "."]);
    assert!(told.contains("left out 'b'"), "{told}");
    assert_eq!(sandbox.read("b/mine"), b"a directory with something in it");
    for file in ["a/file", "c/file", "d"] {
        assert_eq!(sandbox.read(file), file.as_bytes());
    }
}

#[test]
fn a_file_in_the_place_of_a_directory_is_stored_and_replaced() {
    let sandbox = Sandbox::new();
    for file in ["a/file", "a/other", "b/file"] {
        sandbox.write(file, file);
    }
    let wanted = sandbox.snapshot();
    sandbox.save("x");
    for path in ["a", "b"] {
        sandbox.remove(path);
    }
    sandbox.write("a", "mine");
    let before = sandbox.snapshot();
    sandbox.ok(["restore", "."]);
    assert_same(&wanted, &sandbox.snapshot());
    for _ in 0..2 {
        // What came where nothing was goes again, and what stood there comes back.
        sandbox.ok(["undo"]);
        assert_same(&before, &sandbox.snapshot());
        sandbox.ok(["redo"]);
        assert_same(&wanted, &sandbox.snapshot());
    }
    // What was changed since stays.
    sandbox.write("b/file", "changed since");
    sandbox.ok(["undo"]);
    assert_eq!(sandbox.read("b/file"), b"changed since");
    assert_eq!(sandbox.read("a"), b"mine");
}

#[test]
fn rm_removes_from_the_staging_area_and_the_work_tree() {
    let sandbox = with_history();
    sandbox.write("top", "1");
    sandbox.save("x");
    let output = sandbox.ok(["rm", "dir/file"]);
    assert_eq!(output.text(), "rm 'dir/file'\n");
    assert!(!sandbox.path("dir").exists(), "the directory that is empty now is gone too");
    assert_eq!(sandbox.status(), ["D  dir/file"]);
    sandbox.commit("gone");
    assert_eq!(sandbox.ok(["get", "dir/file@HEAD~1"]).stdout, b"three");
    sandbox.fails(20, ["rm", "dir/file"]);
    sandbox.fails(20, ["rm", "untracked"]);
    sandbox.fails(2, ["rm"]);
}

#[test]
fn rm_of_a_directory_needs_to_be_asked_for() {
    let sandbox = with_history();
    sandbox.write("dir/sub/deep", "1");
    sandbox.write("dir/untracked", "1");
    sandbox.ok(["add", "dir/sub"]);
    sandbox.commit("x");
    let told = sandbox.fails(1, ["rm", "dir"]);
    assert!(told.contains("is a directory") && told.contains("hint: -r"), "{told}");
    sandbox.ok(["rm", "-r", "-n", "dir"]);
    assert_eq!(sandbox.status(), ["?? dir/untracked"]);
    sandbox.ok(["rm", "-r", "dir"]);
    assert_eq!(sandbox.snapshot().keys().collect::<Vec<_>>(), ["dir/untracked"]);
}

#[test]
fn rm_cached_leaves_the_files() {
    let sandbox = with_history();
    sandbox.write("dir/file", "edited");
    sandbox.ok(["rm", "--cached", "dir/file"]);
    assert_eq!(sandbox.read("dir/file"), b"edited");
    assert_eq!(sandbox.status(), ["D  dir/file", "?? dir/"]);
}

#[test]
fn rm_refuses_to_lose_what_is_nowhere_else() {
    let sandbox = with_history();
    sandbox.write("dir/file", "edited");
    sandbox.write("new", "staged but not committed");
    sandbox.ok(["add", "new"]);
    for path in ["dir/file", "new"] {
        let told = sandbox.fails(1, ["rm", path]);
        assert!(told.contains("would lose changes") && told.contains("--force"), "{told}");
    }
    // Of several paths none is removed when one is refused.
    sandbox.write("fine", "1");
    sandbox.ok(["add", "fine"]);
    sandbox.commit("x");
    sandbox.fails(1, ["rm", "fine", "dir/file"]);
    assert!(sandbox.path("fine").exists());
    sandbox.ok(["rm", "-f", "fine", "dir/file"]);
    assert!(!sandbox.path("fine").exists() && !sandbox.path("dir/file").exists());
    // What was deleted already is no loss.
    sandbox.remove("new");
    sandbox.ok(["rm", "new"]);
}

#[test]
fn a_target_replaces_nothing_of_the_repository_or_its_work_tree() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "committed");
    sandbox.write("HEAD", "not this one");
    sandbox.write("work/a", "in the place of another");
    sandbox.write("d/b", "b");
    sandbox.save("x");
    sandbox.write("a", "unsaved");
    let before = sandbox.snapshot();
    let restore = |target: &str| sandbox.fails(1, ["restore", "--target", target]);
    for target in [".", "d", "../work", "none/.."] {
        let said = restore(target);
        assert!(said.contains("it holds files of the work tree"), "{target}: {said}");
    }
    for target in [".digstore", ".digstore/refs", ".digstore/none", "none/../.digstore"] {
        let said = restore(target);
        assert!(said.contains("it lies in the repository"), "{target}: {said}");
    }
    let said = restore("..");
    assert!(said.contains("it holds the repository or its work tree"), "{said}");
    sandbox.ok(["store", "verify", "--data"]);
    assert!(!sandbox.path(".digstore/none").exists());
    fs::remove_dir(sandbox.path("none")).unwrap();
    assert_same(&before, &sandbox.snapshot());
    // A directory that is not there holds nothing.
    sandbox.ok(["restore", "--target", "copy"]);
    assert_eq!(sandbox.read("copy/a"), b"committed");
}

#[test]
fn an_empty_directory_that_is_removed_is_gone() {
    let sandbox = Sandbox::new();
    sandbox.mkdir("d/empty");
    sandbox.mkdir("d/filled");
    sandbox.write("d/file", "x");
    sandbox.save("x");
    let before = sandbox.snapshot();
    sandbox.ok(["rm", "-r", "d"]);
    assert!(!sandbox.path("d").exists());
    sandbox.commit("gone");
    sandbox.ok(["add", "-A"]);
    assert!(sandbox.status().is_empty());
    sandbox.ok(["undo"]);
    sandbox.ok(["undo"]);
    assert_same(&before, &sandbox.snapshot());
    sandbox.write("d/filled/untracked", "u");
    sandbox.ok(["rm", "-r", "d"]);
    assert_eq!(sandbox.read("d/filled/untracked"), b"u");
}

#[test]
fn an_output_that_is_no_file_stays_what_it_is() {
    let sandbox = Sandbox::new();
    sandbox.write("f", noise(1, 200_000));
    sandbox.save("x");
    let fifo = sandbox.beside("fifo");
    Output::of(Command::new("mkfifo").arg(&fifo)).expect_code(0);
    for args in [&["get", "f"][..], &["export", "tar"]] {
        let expected = sandbox.ok(args.iter()).stdout;
        let reader = std::thread::spawn({
            let fifo = fifo.clone();
            move || fs::read(fifo).unwrap()
        });
        sandbox.ok(args.iter().chain(&["-o", "../fifo"]));
        assert!(reader.join().unwrap() == expected, "{args:?}");
        sandbox.link("../link", "file");
        sandbox.write("../file", "old");
        sandbox.ok(args.iter().chain(&["-o", "../link"]));
        assert!(fs::read(sandbox.beside("file")).unwrap() == expected, "{args:?}");
        assert!(fs::symlink_metadata(sandbox.beside("link")).unwrap().is_symlink());
        fs::remove_file(sandbox.beside("link")).unwrap();
        sandbox.link("../nowhere", "none");
        for (bad, why) in [("../nowhere", "leads nowhere"), ("../new/", "cannot be a file")] {
            let said = sandbox.fails(1, args.iter().chain(&["-o", bad]));
            assert!(said.contains(why), "{said}");
        }
        fs::remove_file(sandbox.beside("nowhere")).unwrap();
        let full = sandbox.fails(1, args.iter().chain(&["-o", "/dev/full"]));
        assert!(full.contains("cannot write '/dev/full'"), "{full}");
    }
}

#[test]
fn a_file_that_is_open_already_is_not_replaced() {
    let sandbox = Sandbox::new();
    sandbox.write("f", "f");
    sandbox.save("x");
    for output in ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
        let log = fs::File::create(sandbox.beside("log")).unwrap();
        let mut command = sandbox.command(["get", "f", "-o", output]);
        let status = command.stdout(log.try_clone().unwrap()).status().unwrap();
        assert_eq!(status.code(), Some(1), "{output}");
        assert_eq!(
            fs::metadata(sandbox.beside("log")).unwrap().ino(),
            log.metadata().unwrap().ino()
        );
    }
}

#[test]
fn a_name_with_the_mark_of_a_range_comes_first() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "hello");
    sandbox.write("a#bytes=0-1", "literal");
    sandbox.save("x");
    assert_eq!(sandbox.ok(["get", "a#bytes=0-1"]).stdout, b"literal");
    assert_eq!(sandbox.ok(["get", "a#bytes=0-2"]).stdout, b"hel");
}
