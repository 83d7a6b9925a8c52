//! A person at a terminal: commands in a pseudo-terminal see what a person types, and draw what a
//! person reads.

#![expect(clippy::unwrap_used, reason = "a failed test says so")]

mod common;

use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use common::{Sandbox, noise, text};
use pty_process::Size;
use pty_process::blocking::{Command, Pty, open};

/// Long enough for a slow machine; only a failing test waits so long.
const PATIENCE: Duration = Duration::from_mins(1);

/// A command that runs in a terminal.
struct Terminal {
    pty: Pty,
    child: std::process::Child,
    output: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    fn run(sandbox: &Sandbox, environment: &[(&str, &str)], args: &[&str]) -> Self {
        let (pty, pts) = open().unwrap();
        pty.resize(Size::new(24, 80)).unwrap();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let command = Command::new(env!("CARGO_BIN_EXE_digstore"))
            .args(args)
            .env_clear()
            .env("PATH", path)
            .env("HOME", sandbox.beside("home"))
            .env("TERM", "xterm-256color")
            .env("TZ", "UTC")
            .env("DIGSTORE_AUTHOR_NAME", "Ada Test")
            .env("DIGSTORE_AUTHOR_EMAIL", "ada@example.org")
            .env("DIGSTORE_PAGER", "cat")
            .envs(environment.iter().copied())
            .current_dir(&sandbox.work);
        let child = command.spawn(pts).unwrap();
        let (sender, output) = channel();
        let mut reader = std::fs::File::from(rustix::io::dup(&pty).unwrap());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // The end of a pseudo-terminal is an error on Linux.
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { pty, child, output, seen: String::new() }
    }

    /// Reads until `text` was seen.
    #[track_caller]
    fn expect(&mut self, text: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.seen.contains(text) {
            let left = until.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(error) => {
                    assert!(
                        self.seen.contains(text),
                        "{error}, and no {text:?} in {:?}",
                        self.seen
                    );
                }
            }
        }
    }

    fn type_in(&mut self, keys: &str) {
        self.pty.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for the end; the exit code and all that was shown.
    fn end(mut self) -> (i32, String) {
        loop {
            match self.output.recv_timeout(PATIENCE) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => self.child.kill().unwrap(),
            }
        }
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        (code, self.seen.replace("\r\n", "\n"))
    }
}

fn in_terminal(sandbox: &Sandbox, environment: &[(&str, &str)], args: &[&str]) -> (i32, String) {
    Terminal::run(sandbox, environment, args).end()
}

fn with_history() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("text", "one\n");
    sandbox.write("binary", noise(1, 1000));
    sandbox.save("first");
    sandbox.write("text", "two\n");
    sandbox.save("second");
    sandbox
}

/// What begins each colour.
const ESCAPE: &str = "\x1b[";

#[test]
fn colours_are_for_terminals_and_for_those_who_want_them() {
    let sandbox = with_history();
    assert!(in_terminal(&sandbox, &[], &["branch"]).1.contains(ESCAPE));
    assert!(!in_terminal(&sandbox, &[("NO_COLOR", "1")], &["branch"]).1.contains(ESCAPE));
    assert!(!in_terminal(&sandbox, &[], &["--color", "never", "branch"]).1.contains(ESCAPE));
    assert!(!sandbox.ok(["branch"]).text().contains(ESCAPE));
    let (code, shown) = in_terminal(&sandbox, &[], &["get", "nothing"]);
    assert_eq!(code, 20);
    assert!(shown.contains(ESCAPE) && shown.contains("error:"), "{shown:?}");
}

#[test]
fn progress_is_drawn_and_ends_in_lines_that_stay() {
    let sandbox = Sandbox::new();
    for number in 0..50 {
        sandbox.write(format!("d/{number}"), text(number, 40_000));
    }
    let (code, shown) = in_terminal(&sandbox, &[], &["--progress", "always", "add", "-A"]);
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains('\u{2713}'), "{shown:?}");
    assert!(shown.contains("staged 50 new"), "{shown:?}");
    let (_, shown) = in_terminal(&sandbox, &[], &["--progress", "never", "add", "-A"]);
    assert!(!shown.contains('\u{2713}'), "{shown:?}");
}

#[test]
fn long_output_goes_through_the_pager() {
    let sandbox = with_history();
    let pager = [("DIGSTORE_PAGER", "sed 's/^/paged: /'")];
    let (code, shown) = in_terminal(&sandbox, &pager, &["log"]);
    assert_eq!(code, 0);
    assert!(shown.lines().all(|line| line.starts_with("paged: ")), "{shown:?}");
    assert!(shown.contains("second"), "{shown:?}");
    let (_, shown) = in_terminal(&sandbox, &pager, &["--no-pager", "log"]);
    assert!(!shown.contains("paged"), "{shown:?}");
}

#[test]
fn without_its_pager_the_output_is_plain() {
    let sandbox = with_history();
    let missing = [("DIGSTORE_PAGER", "no-such-pager")];
    let (code, shown) = in_terminal(&sandbox, &missing, &["log"]);
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("second") && shown.contains("first"), "{shown:?}");
    assert_eq!(shown.matches("no-such-pager").count(), 1, "{shown:?}");
}

#[test]
fn the_editor_writes_the_message() {
    let sandbox = with_history();
    sandbox.write("text", "three\n");
    sandbox.ok(["add", "-A"]);
    // It is given the terminal: what is typed reaches it.
    let editor =
        [("DIGSTORE_EDITOR", "f() { read line; echo \"$line\" > \"$1\"; }; echo ready; f")];
    let mut terminal = Terminal::run(&sandbox, &editor, &["commit"]);
    terminal.expect("ready");
    terminal.type_in("typed in\r");
    let (code, shown) = terminal.end();
    assert_eq!(code, 0, "{shown}");
    let log = sandbox.ok(["log", "--json"]).json();
    assert_eq!(log["commits"][0]["message"], "typed in");
}

#[test]
fn without_its_editor_a_commit_fails_and_loses_nothing() {
    let sandbox = with_history();
    sandbox.write("text", "three\n");
    sandbox.ok(["add", "-A"]);
    let (code, shown) =
        in_terminal(&sandbox, &[("DIGSTORE_EDITOR", "no-such-editor")], &["commit"]);
    assert_eq!(code, 1, "{shown}");
    assert!(shown.contains("-m"), "{shown}");
    assert_eq!(sandbox.status(), ["M  text"]);
}

#[test]
fn an_interrupt_ends_the_command_and_the_next_one_goes_on() {
    let sandbox = with_history();
    for number in 0..24 {
        sandbox.write(format!("large{number}"), noise(number, 4 << 20));
    }
    let args =
        ["--progress", "always", "--config", "performance.max_worker_threads=1", "add", "-A"];
    let mut terminal = Terminal::run(&sandbox, &[], &args);
    terminal.expect(ESCAPE);
    terminal.type_in("\x03");
    let (code, shown) = terminal.end();
    // A fast machine may have been done before.
    assert!(matches!(code, 0 | 130), "{code}: {shown}");
    sandbox.ok(["add", "-A"]);
    let id = sandbox.commit("third");
    common::assert_same(&sandbox.snapshot(), &sandbox.restored(&id));
    sandbox.ok(["store", "verify", "--data"]);
}

#[test]
fn an_interrupt_in_the_editor_leaves_everything_staged() {
    let sandbox = with_history();
    sandbox.write("text", "three\n");
    sandbox.ok(["add", "-A"]);
    let editor = [("DIGSTORE_EDITOR", "f() { echo ready; sleep 60; }; f")];
    let mut terminal = Terminal::run(&sandbox, &editor, &["commit"]);
    terminal.expect("ready");
    terminal.type_in("\x03");
    let (code, shown) = terminal.end();
    assert_ne!(code, 0, "{shown}");
    assert_eq!(sandbox.status(), ["M  text"]);
    sandbox.commit("third");
}

#[test]
fn binary_bytes_are_not_printed_on_a_terminal() {
    let sandbox = with_history();
    let (code, shown) = in_terminal(&sandbox, &[], &["get", "binary"]);
    assert_ne!(code, 0);
    assert!(shown.contains("error:") || shown.contains("error\x1b"), "{shown:?}");
    assert!(shown.len() < 500, "{shown:?}");
    assert_eq!(in_terminal(&sandbox, &[], &["get", "text"]), (0, "two\n".to_owned()));
}
