//! Programs that the user names: editor and pager.

use std::ffi::OsStr;
use std::process::Command;

/// Characters that only a shell understands.
const SHELL: &str = "|&;<>()$`\\\"'*?[#~=%";

/// The program with its arguments. A shell takes apart only what needs one: it would die of a Ctrl-C
/// that is meant for the program, and leave that on the terminal.
pub(super) fn named_by_user(line: &str, arguments: &[&OsStr]) -> Command {
    let mut words = line.split_whitespace();
    let mut command = match words.next() {
        Some(program) if !line.contains(|c| SHELL.contains(c)) => {
            let mut plain = Command::new(program);
            plain.args(words);
            plain
        }
        _ => {
            let mut shell = Command::new("sh");
            let rest = if arguments.is_empty() { "" } else { " \"$@\"" };
            shell.arg("-c").arg(format!("{line}{rest}")).arg("sh");
            shell
        }
    };
    command.args(arguments);
    command
}
