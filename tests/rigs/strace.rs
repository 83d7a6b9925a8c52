//! `strace` as a hand that interrupts system calls.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use crate::common::{Output, Sandbox};

/// Whether system calls can be traced here; says so where not.
pub(crate) fn is_there(rig: &str) -> bool {
    let works = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).output();
    let works = works.is_ok_and(|output| output.status.success());
    if !works {
        println!("rig: {rig}: left out, 'strace' is missing or may not trace");
    }
    works
}

/// The binary under `strace` with these options, on one thread where it has the choice.
pub(crate) fn command(sandbox: &Sandbox, options: &[&str], args: &[&str]) -> Command {
    let mut command = Command::new("strace");
    sandbox.surround(&mut command);
    command.env("DIGSTORE_PERFORMANCE_MAX_WORKER_THREADS", "1");
    command.args(["-f", "-qq"]).args(options).arg(env!("CARGO_BIN_EXE_digstore")).args(args);
    command
}

/// How often a command makes each system call: the most of any of its threads, because calls are
/// counted for each thread when one is picked.
pub(crate) fn calls(sandbox: &Sandbox, args: &[&str]) -> BTreeMap<String, usize> {
    let log = sandbox.beside("calls");
    let output = Output::of(&mut command(sandbox, &["-o", log.to_str().unwrap()], args));
    assert_eq!(output.code, 0, "{output:?}");
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for line in fs::read_to_string(&log).unwrap().lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let Some((name, _)) = call.trim_start().split_once('(') else { continue };
        if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            *counts.entry((name.to_owned(), thread.to_owned())).or_default() += 1;
        }
    }
    let mut most = BTreeMap::new();
    for ((name, _), count) in counts {
        let entry = most.entry(name).or_default();
        *entry = count.max(*entry);
    }
    // Neither returns, nor is there anything to interrupt before it begins.
    for name in ["execve", "exit", "exit_group", "restart_syscall"] {
        most.remove(name);
    }
    most
}

/// Runs a command with something injected; also whether a signal ended it.
pub(crate) fn inject(sandbox: &Sandbox, what: &str, args: &[&str]) -> (Output, bool) {
    let inject = format!("inject={what}");
    let mut command = command(sandbox, &["-o", "/dev/null", "-e", &inject], args);
    let output = command.output().unwrap();
    let killed = output.status.signal().is_some();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = output.status.code().unwrap_or(-1);
    (Output { code, stdout: output.stdout, stderr }, killed)
}
