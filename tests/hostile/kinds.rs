//! Rows 29 to 44: links, and what is neither file nor directory.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::process::Command;

use digstore::storage::format::bytes::{push_string, push_varint};
use digstore::storage::format::object::MAX_TARGET;
use digstore::storage::format::pack::BlockKind;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::archive::{archive, git_refused, import_tar, tar_refused};
use crate::common::{Node, Output, Sandbox, assert_same, name, while_changing};
use crate::forge::{Forge, commit, link};
use crate::watch::{refused, sound, watch, watched, world};

#[track_caller]
fn target_refused(target: &[u8]) {
    let sandbox = sound();
    Forge::new().publish(&sandbox, vec![link(b"l", target)]);
    refused(&sandbox);
    if !target.is_empty() {
        tar_refused(&sound(), &[(b'2', b"l", target, b"")]);
    }
}

#[test]
fn b29_a_file_by_way_of_a_link() {
    let sandbox = sound();
    let target = sandbox.beside("outside").into_os_string().into_encoded_bytes();
    let through = (b'0', &b"l/planted"[..], &b""[..], &b"planted"[..]);
    tar_refused(&sandbox, &[(b'2', b"l", &target, b""), through]);
    tar_refused(&sandbox, &[(b'2', b"l", b"../outside", b""), through]);
    tar_refused(&sandbox, &[(b'2', b"l", b".", b""), (b'0', b"l/../x", b"", b"planted")]);
}

/// A commit on `evil` with `d/planted` and `d/secret`, in a sandbox whose `d` leads outside.
fn with_link_in_the_way() -> Sandbox {
    let (sandbox, mut forge) = (sound(), Forge::new());
    let files = vec![forge.file(b"planted", b"planted"), forge.file(b"secret", b"planted")];
    let dir = forge.dir(b"d", files);
    forge.publish(&sandbox, vec![dir]);
    sandbox.link("d", "../outside");
    sandbox
}

#[test]
fn b30_a_link_of_the_work_tree_in_the_way() {
    for args in [
        &["restore", "-s", "evil", "d"][..],
        &["switch", "evil"],
        &["switch", "-f", "evil"],
        &["reset", "--hard", "evil"],
        &["merge", "evil"],
        &["restore", "-s", "evil", "--target", "."],
    ] {
        let sandbox = with_link_in_the_way();
        watched(&sandbox, args);
        let outside = crate::common::snapshot(&sandbox.beside("outside"));
        assert_eq!(outside.len(), 1, "{args:?}: {outside:?}");
        assert_eq!(outside[&name(b"secret")], Node::File(b"untouched".to_vec(), false));
    }
    // A file of a switch away is not removed behind the link either.
    let sandbox = with_link_in_the_way();
    sandbox.remove("d");
    sandbox.ok(["switch", "evil"]);
    sandbox.remove("d");
    sandbox.link("d", "../outside");
    for args in [&["switch", "-f", "main"][..], &["rm", "-rf", "d"], &["clean", "-fd"]] {
        watched(&sandbox, args);
        assert_eq!(fs::read(sandbox.beside("outside/secret")).unwrap(), b"untouched", "{args:?}");
    }
}

#[test]
fn b31_a_link_to_outside() {
    let sandbox = sound();
    sandbox.link("l", "../outside");
    sandbox.link("f", "../outside/secret");
    sandbox.save("links");
    assert_eq!(sandbox.ok(["ls"]).text(), "f\nl\nmine\n");
    sandbox.remove("l");
    sandbox.remove("f");
    let before = world(&sandbox);
    sandbox.ok(["restore", "."]);
    assert_eq!(fs::read_link(sandbox.path("l")).unwrap().to_str(), Some("../outside"));
    sandbox.fails(1, ["restore", "-s", "HEAD~1", "--target", "."]);
    watched(&sandbox, ["add", "l/secret"]);
    watched(&sandbox, ["rm", "-f", "l/secret"]);
    assert_eq!(sandbox.ok(["ls"]).text(), "f\nl\nmine\n");
    sandbox.ok(["rm", "-f", "l", "f"]);
    assert_same(&before, &world(&sandbox));
}

#[test]
fn b32_a_link_into_the_repository() {
    for target in [&b".digstore"[..], b".digstore/packs", b"../work/.DIGSTORE/HEAD"] {
        target_refused(target);
        git_refused("120000", b"l", target);
    }
    let sandbox = sound();
    sandbox.link("l", ".digstore/config.toml");
    let output = watched(&sandbox, ["add", "-A"]).expect_code(3);
    assert!(output.stderr.contains("'l'"), "{output:?}");
    assert_eq!(sandbox.ok(["ls"]).text(), "mine\n");
}

#[test]
fn b33_links_in_a_circle() {
    let sandbox = sound();
    sandbox.link("a", "b");
    sandbox.link("b", "a");
    sandbox.link("self", "self");
    sandbox.link("d/up", "..");
    let before = sandbox.snapshot();
    sandbox.save("circles");
    assert_same(&before, &sandbox.restored("HEAD"));
    for args in [&["status"][..], &["add", "a/b/a/x"], &["clean", "-n"], &["diff"]] {
        watched(&sandbox, args);
    }
}

#[test]
fn b34_targets_too_long_or_with_a_nul() {
    target_refused(&[b't'; MAX_TARGET + 1]);
    target_refused(b"a\0b");
    target_refused(b"");
    let sandbox = sound();
    sandbox.link("longest", name(&[b't'; MAX_TARGET]));
    sandbox.save("longest");
    assert_same(&sandbox.snapshot(), &sandbox.restored("HEAD"));
}

#[test]
fn b35_a_hard_link_to_outside() {
    for args in
        [&["restore", "-s", "HEAD~1", "f"][..], &["switch", "--detach", "HEAD~1"], &["undo"]]
    {
        let sandbox = sound();
        sandbox.write("f", "one");
        sandbox.save("one");
        sandbox.write("f", "two");
        sandbox.save("two");
        if args == ["undo"] {
            sandbox.ok(["reset", "--hard", "HEAD~1"]);
        }
        let kept = sandbox.read("f");
        fs::remove_file(sandbox.beside("outside/secret")).unwrap();
        fs::hard_link(sandbox.path("f"), sandbox.beside("outside/secret")).unwrap();
        watched(&sandbox, args).expect_code(0);
        assert_ne!(sandbox.read("f"), kept, "{args:?}");
        assert_eq!(fs::read(sandbox.beside("outside/secret")).unwrap(), kept, "{args:?}");
    }
    let hard = [(b'1', &b"hard"[..], &b"../outside/secret"[..], &b""[..])];
    tar_refused(&sound(), &hard);
}

#[test]
fn b38_a_fifo() {
    let sandbox = sound();
    mknodat(CWD, sandbox.path("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    sandbox.write("beside", "stored");
    for args in [&["add", "-A"][..], &["add", "fifo"]] {
        let output = watched(&sandbox, args);
        assert_ne!(output.code, 0, "{output:?}");
        assert!(output.stderr.contains("fifo"), "{output:?}");
    }
    watched(&sandbox, ["status"]).expect_code(0);
    assert_eq!(sandbox.ok(["ls"]).text(), "beside\nmine\n");
    // In the place of a file that is stored.
    sandbox.remove("beside");
    mknodat(CWD, sandbox.path("beside"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    for args in [&["status"][..], &["diff"], &["add", "-A"], &["restore", "mine"]] {
        watched(&sandbox, args);
    }
}

/// Nobody waits for the other end of a pipe, and what it stands for counts as damaged.
#[test]
fn b38_a_fifo_in_the_place_of_a_file_of_the_repository() {
    let all = ["refs/heads/side", "HEAD", "operations", "staging/log", "staging/base", "condemned"];
    let pack = ["a pack"];
    for name in all.iter().chain(&pack) {
        let sandbox = sound();
        sandbox.ok(["branch", "side"]);
        let mut file = sandbox.path(".digstore").join(name);
        if *name == "a pack" {
            file = sandbox.packs(1).swap_remove(0);
        }
        let _ = fs::remove_file(&file);
        mknodat(CWD, &file, FileType::Fifo, Mode::RWXU, 0).unwrap();
        for args in
            [&["status"][..], &["log", "--all"], &["gc"], &["add", "-A"], &["branch", "new"]]
        {
            watched(&sandbox, args);
        }
        let told = watched(&sandbox, ["store", "verify", "--data"]);
        let is_mended = !fs::symlink_metadata(&file).unwrap().file_type().is_fifo();
        assert!(told.code == 21 || is_mended && told.code == 0, "{name}: {told:#?}");
        watched(&sandbox, ["store", "repair", "--apply"]);
        if *name != "a pack" {
            let told = watched(&sandbox, ["store", "verify", "--data"]);
            assert_eq!(told.code, 0, "{name}: {told:#?}");
        }
    }
}

#[test]
fn a_staging_log_that_is_large_on_paper_only() {
    let sandbox = sound();
    let log = fs::File::options().write(true).open(sandbox.path(".digstore/staging/log")).unwrap();
    log.set_len(4 << 30).unwrap();
    watched(&sandbox, ["status"]).expect_code(21);
    watched(&sandbox, ["store", "reset-staging"]).expect_code(0);
    watched(&sandbox, ["status"]).expect_code(0);
    watched(&sandbox, ["store", "verify", "--data"]).expect_code(0);
}

/// A tree whose only entry is of an unknown kind.
fn tree_with_kind(kind: u8) -> Vec<u8> {
    let mut page = vec![b'T', 0];
    push_varint(&mut page, 1);
    push_string(&mut page, b"x");
    page.push(kind);
    page.extend([0; 40]);
    page
}

#[test]
fn b39_sockets_and_devices() {
    let sandbox = sound();
    let _socket = UnixListener::bind(sandbox.path("socket")).unwrap();
    let output = watched(&sandbox, ["add", "-A"]).expect_code(3);
    assert!(output.stderr.contains("'socket'"), "{output:?}");
    for kind in [4, 5, 127, 255] {
        let (sandbox, mut forge) = (sound(), Forge::new());
        let tree = forge.object(BlockKind::Tree, &tree_with_kind(kind)).into();
        forge.publish_commit(&sandbox, &commit(tree));
        refused(&sandbox);
    }
    let device = archive(&[(b'3', b"device", b"", b""), (b'0', b"x", b"", b"x")]);
    let output = import_tar(&sandbox, &device).expect_code(3);
    assert!(output.stderr.contains("'device'"), "{output:?}");
    assert!(!sandbox.path("device").exists());
}

#[test]
fn b40_modes_beyond_executable() {
    let sandbox = sound();
    sandbox.write("run", "x");
    for mode in [0o4755, 0o2755, 0o1755, 0o7777] {
        sandbox.chmod("run", mode);
        sandbox.ok(["add", "-A"]);
        sandbox.ok(["commit", "--allow-empty", "-m", "x"]);
        sandbox.remove("run");
        sandbox.ok(["restore", "run"]);
        let restored = fs::metadata(sandbox.path("run")).unwrap().permissions().mode();
        assert_eq!(restored & 0o7000, 0, "{restored:o}");
        assert_eq!(restored & 0o100, 0o100);
    }
}

/// Runs a command under a umask.
fn under(sandbox: &Sandbox, umask: &str, args: &[&str]) -> Output {
    let mut command = Command::new("sh");
    sandbox.surround(&mut command);
    command.arg("-c").arg(format!("umask {umask}; exec \"$@\"")).arg("sh");
    watch(command.arg(env!("CARGO_BIN_EXE_digstore")).args(args)).expect_code(0)
}

#[test]
fn b41_the_umask_counts() {
    let sandbox = sound();
    sandbox.write("d/run", "x");
    sandbox.chmod("d/run", 0o777);
    sandbox.save("x");
    for (umask, dir, run, plain) in
        [("077", 0o700, 0o700, 0o600), ("027", 0o750, 0o750, 0o640), ("0", 0o777, 0o777, 0o666)]
    {
        sandbox.remove("d");
        sandbox.remove("mine");
        under(&sandbox, umask, &["restore", "."]);
        let mode = |name: &str| fs::metadata(sandbox.path(name)).unwrap().mode() & 0o7777;
        assert_eq!((mode("d"), mode("d/run"), mode("mine")), (dir, run, plain), "{umask}");
    }
}

#[test]
fn b42_a_file_that_is_large_on_paper_only() {
    let sandbox = sound();
    let file = fs::File::create(sandbox.path("sparse")).unwrap();
    file.set_len(1 << 40).unwrap();
    (&file).write_all(b"begins").unwrap();
    drop(file);
    watched(&sandbox, ["add", "-A"]).expect_code(0);
    watched(&sandbox, ["commit", "-m", "sparse"]).expect_code(0);
    sandbox.remove("sparse");
    watched(&sandbox, ["restore", "sparse"]).expect_code(0);
    let metadata = fs::metadata(sandbox.path("sparse")).unwrap();
    assert_eq!(metadata.len(), 1 << 40);
    assert!(metadata.blocks() < 4096, "{} blocks", metadata.blocks());
}

#[test]
fn b43_a_file_that_grows_for_ever() {
    let sandbox = sound();
    sandbox.write("log", vec![b'x'; 1 << 20]);
    sandbox.write("quiet", "stored");
    let grow = |_| sandbox.append("log", "another line\n");
    while_changing(grow, || {
        let output = watched(&sandbox, ["add", "-A"]);
        assert!(matches!(output.code, 0 | 3), "{output:?}");
    });
    assert_eq!(sandbox.ok(["get", "quiet"]).text(), "stored");
    sandbox.ok(["store", "verify", "--data"]);
}

#[test]
fn b30_a_link_to_nowhere_in_the_place_of_a_file() {
    let sandbox = with_link_in_the_way();
    sandbox.remove("d");
    sandbox.mkdir("d");
    symlink("../../outside/new", sandbox.path("d/planted")).unwrap();
    watched(&sandbox, ["restore", "-s", "evil", "d"]);
    assert!(!sandbox.beside("outside/new").exists());
}
