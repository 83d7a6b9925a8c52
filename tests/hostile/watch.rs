//! Runs commands under watch: how long, how much memory, and what they wrote where.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Seek};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::common::{Output, Sandbox, Tree, assert_same, snapshot};

/// Most memory of a command, in KiB.
const MAX_MEMORY: u64 = 512 << 10;
/// Longest a command may take. None takes a tenth of it here.
const MAX_TIME: Duration = Duration::from_mins(1);

/// The most memory that a process had, in KiB; 0 when it is gone.
fn peak(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

fn text_of(mut file: fs::File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Runs a command to its end, or for `patience`; `None` if it did not end by then.
#[track_caller]
pub(crate) fn watch_for(command: &mut Command, patience: Duration) -> Option<Output> {
    let (stdout, stderr) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    command.stdout(stdout.try_clone().unwrap()).stderr(stderr.try_clone().unwrap());
    let mut child = command.spawn().unwrap();
    let (start, mut most) = (Instant::now(), 0);
    let status = loop {
        most = most.max(peak(&child));
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if start.elapsed() > patience || most > MAX_MEMORY {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let stderr = String::from_utf8_lossy(&text_of(stderr)).into_owned();
    assert!(most <= MAX_MEMORY, "{command:?} took {most} KiB\n{stderr}");
    assert!(!stderr.contains("panicked"), "{command:?}: {stderr}");
    let code = status?.code();
    assert!(code.is_some(), "{command:?} was killed: {status:?}\n{stderr}");
    Some(Output { code: code.unwrap(), stdout: text_of(stdout), stderr })
}

/// Runs a command, which must end by itself.
#[track_caller]
pub(crate) fn watch(command: &mut Command) -> Output {
    let ended = watch_for(command, MAX_TIME);
    ended.unwrap_or_else(|| panic!("{command:?} does not end"))
}

#[track_caller]
pub(crate) fn watched<A: AsRef<OsStr>>(
    sandbox: &Sandbox,
    args: impl IntoIterator<Item = A>,
) -> Output {
    watch(&mut sandbox.command(args))
}

/// All that there is in and beside the work tree, but the repository.
pub(crate) fn world(sandbox: &Sandbox) -> Tree {
    let mut tree = snapshot(&sandbox.beside("."));
    tree.retain(|path, _| !path.to_string_lossy().starts_with("work/.digstore/"));
    tree.retain(|path, _| path != "stdin");
    tree
}

/// A repository with one commit, and a file beside the work tree that nothing may touch.
pub(crate) fn sound() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("mine", "kept");
    sandbox.save("sound");
    fs::create_dir(sandbox.beside("outside")).unwrap();
    fs::write(sandbox.beside("outside/secret"), "untouched").unwrap();
    sandbox
}

/// The commands that would write what the branch `evil` holds.
const WRITERS: [&[&str]; 6] = [
    &["restore", "-s", "evil", "--target", "../out"],
    &["restore", "-s", "evil", "."],
    &["switch", "evil"],
    &["switch", "-f", "--detach", "evil"],
    &["merge", "evil"],
    &["cherry-pick", "evil"],
];

/// Those that read it.
const READERS: [&[&str]; 7] = [
    &["ls", "-s", "evil"],
    &["log", "--stat", "evil"],
    &["show", "evil"],
    &["diff", "HEAD", "evil"],
    &["get", "evil:x"],
    &["export", "tar", "evil", "-o", "../out.tar"],
    &["store", "stats"],
];

/// The branch `evil` must be refused by all that writes, named by `store verify`, and panic nobody.
#[track_caller]
pub(crate) fn refused(sandbox: &Sandbox) -> String {
    let before = world(sandbox);
    for args in WRITERS {
        let output = watched(sandbox, args);
        assert!(matches!(output.code, 1 | 21), "{args:?}: {output:#?}");
        assert!(!output.stderr.is_empty(), "{args:?}");
        let _ = fs::remove_dir(sandbox.beside("out"));
        assert_same(&before, &world(sandbox));
    }
    for args in READERS {
        watched(sandbox, args);
        let _ = fs::remove_file(sandbox.beside("out.tar"));
    }
    assert_same(&before, &world(sandbox));
    let verify = watched(sandbox, ["store", "verify", "--data"]).expect_code(21);
    // What was there before is as usable as it was.
    assert_eq!(watched(sandbox, ["status", "--porcelain"]).expect_code(0).text(), "");
    assert_eq!(watched(sandbox, ["get", "HEAD:mine"]).expect_code(0).text(), "kept");
    verify.text().to_owned() + &verify.stderr
}
