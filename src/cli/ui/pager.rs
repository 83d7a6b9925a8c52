//! A pager between stdout and the terminal.
//!
//! The pager gets the terminal, and what the process writes to its standard output goes to the pager.
//! It is the user's own choice, from the environment or the user's settings: no repository can name
//! one.

use std::ffi::OsString;
use std::io;
use std::process::{Child, Stdio};

use crate::cli::programs;
use crate::cli::signals::{self, Front};

/// What shows long output where nothing else is set: a text that fits is printed as it is, colours
/// are kept, and what was shown stays on the screen.
const DEFAULT: &str = "less -FRX";

/// A running pager.
#[derive(Debug)]
pub(super) struct Pager {
    child: Child,
}

/// The pager that is set: `DIGSTORE_PAGER`, the settings, `PAGER`, else `less`. `None` where it is
/// empty or `cat`.
pub(super) fn command(
    environment: &dyn Fn(&str) -> Option<OsString>,
    setting: Option<&str>,
) -> Option<String> {
    let variable = |name: &str| environment(name).map(|text| text.to_string_lossy().into_owned());
    let set = variable("DIGSTORE_PAGER").or_else(|| setting.map(str::to_owned));
    let set = set.or_else(|| variable("PAGER")).unwrap_or_else(|| DEFAULT.to_owned());
    let set = set.trim();
    (!set.is_empty() && set != "cat").then(|| set.to_owned())
}

impl Pager {
    /// Starts the pager and leads standard output to it.
    pub(super) fn start(command: &str) -> io::Result<Self> {
        let mut process = programs::named_by_user(command, &[]);
        for (name, value) in [("LESS", "FRX"), ("LV", "-c")] {
            if std::env::var_os(name).is_none() {
                process.env(name, value);
            }
        }
        let mut child = process.stdin(Stdio::piped()).spawn()?;
        signals::leave_to(Front::Pager);
        if let Some(pipe) = child.stdin.take() {
            rustix::stdio::dup2_stdout(&pipe)?;
        }
        Ok(Self { child })
    }

    /// Ends the output and waits until the user has read it.
    pub(super) fn finish(mut self) {
        // Only when the last copy of the pipe is closed the pager sees the end.
        if let Ok(null) = std::fs::OpenOptions::new().write(true).open("/dev/null") {
            let _ = rustix::stdio::dup2_stdout(&null);
        }
        let _ = self.child.wait();
        signals::leave_to(Front::Own);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_choice_counts() {
        let of = |set: &[(&str, &str)], setting| {
            let environment = |name: &str| {
                set.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
            };
            command(&environment, setting)
        };
        assert_eq!(of(&[], None).as_deref(), Some("less -FRX"));
        assert_eq!(of(&[("PAGER", "more")], None).as_deref(), Some("more"));
        assert_eq!(of(&[("PAGER", "more")], Some("most")).as_deref(), Some("most"));
        let both = [("PAGER", "more"), ("DIGSTORE_PAGER", "less -S")];
        assert_eq!(of(&both, Some("most")).as_deref(), Some("less -S"));
        assert_eq!(of(&[("DIGSTORE_PAGER", "cat")], None), None);
        assert_eq!(of(&[("DIGSTORE_PAGER", "")], Some("most")), None);
    }
}
