//! Errors as users see them, in three parts: what failed, why, and what to do about it.

use std::error::Error;
use std::fmt;
use std::io;

use serde::Serialize;

use super::advice;
use super::exit_code::ExitCode;
use super::ui::{OutputError, Style, Ui};

pub use crate::suggest::did_you_mean;

/// An error that ends a command.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CliError {
    /// What failed: "cannot read 'data/x.bin'".
    pub message: String,
    /// Why: "permission denied (os error 13)".
    pub cause: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// How the process ends. [`ExitCode::Success`] ends it without a word.
    pub code: ExitCode,
}

/// The JSON form of an error.
#[derive(Serialize)]
struct Document<'a> {
    message_type: &'static str,
    level: &'static str,
    code: u8,
    kind: ExitCode,
    message: &'a str,
    cause: Option<&'a str>,
    hint: Option<&'a str>,
}

impl CliError {
    /// A failure without cause and hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// A wrong command line.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(message).with_code(ExitCode::Usage)
    }

    /// The end of a command whose output nobody reads any more: no error, and not a word.
    pub fn closed_output() -> Self {
        Self::default().with_code(ExitCode::Success)
    }

    /// Tells why.
    #[must_use]
    pub fn with_cause(mut self, cause: impl fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// Tells what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Tells how the process ends.
    #[must_use]
    pub fn with_code(mut self, code: ExitCode) -> Self {
        self.code = code;
        self
    }

    /// Shows the error on stderr.
    pub fn render(&self, ui: &Ui) {
        if self.code == ExitCode::Success {
            return;
        }
        if ui.is_json() {
            ui.json_diagnostic(&self.document());
            return;
        }
        ui.labelled(Style::Bad, "error", &self.message);
        if let Some(cause) = &self.cause {
            ui.labelled(Style::Dim, "cause", cause);
        }
        if let Some(hint) = &self.hint {
            ui.labelled(Style::Accent, "hint", hint);
        }
    }

    fn document(&self) -> Document<'_> {
        Document {
            message_type: "error",
            level: "error",
            code: self.code.number(),
            kind: self.code,
            message: &self.message,
            cause: self.cause.as_deref(),
            hint: self.hint.as_deref(),
        }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.cause.as_ref().map_or(Ok(()), |cause| write!(f, ": {cause}"))
    }
}

impl Error for CliError {}

/// What an error of a chain says of stdout.
fn of_output<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a OutputError> {
    error.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref()
}

/// The causes below the top of a chain, leaving out those that the text above already tells.
fn causes(error: &anyhow::Error) -> Option<String> {
    let mut told: Vec<String> = vec![error.to_string()];
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if told.last().is_some_and(|above| !above.contains(&cause)) {
            told.push(cause);
        }
    }
    (told.len() > 1).then(|| told[1..].join(": "))
}

impl From<anyhow::Error> for CliError {
    fn from(error: anyhow::Error) -> Self {
        match error.chain().find_map(of_output) {
            Some(OutputError::Closed) => return Self::closed_output(),
            Some(failed @ OutputError::Failed(why)) => {
                return Self::new(failed.to_string()).with_cause(why.to_string());
            }
            None => {}
        }
        error.downcast::<Self>().unwrap_or_else(|error| {
            let (code, hint) = advice::of(&error);
            Self { message: error.to_string(), cause: causes(&error), hint, code }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ui::UiOptions;
    use crate::cli::ui::testing::Captured;
    use anyhow::Context;

    fn sample() -> CliError {
        CliError::new("cannot read 'data/x.bin'")
            .with_cause("permission denied (os error 13)")
            .with_hint("skip it with --ignore-errors, or fix its permissions")
    }

    #[test]
    fn three_parts_are_shown_on_stderr() {
        let captured = Captured::new(&UiOptions { quiet: true, ..UiOptions::default() });
        sample().render(&captured.ui);
        assert_eq!(
            captured.err(),
            "error: cannot read 'data/x.bin'\ncause: permission denied (os error 13)\n\
             hint: skip it with --ignore-errors, or fix its permissions\n"
        );
        assert_eq!(captured.out(), "");
    }

    #[test]
    fn programs_get_one_document() {
        let captured = Captured::new(&UiOptions { json: true, ..UiOptions::default() });
        sample().with_code(ExitCode::NotFound).render(&captured.ui);
        let document: serde_json::Value = serde_json::from_str(&captured.err()).unwrap();
        assert_eq!(document["message_type"], "error");
        assert_eq!(document["code"], 20);
        assert_eq!(document["kind"], "not_found");
        assert_eq!(document["message"], "cannot read 'data/x.bin'");
        assert_eq!(document["cause"], "permission denied (os error 13)");
        assert!(document["hint"].as_str().unwrap().starts_with("skip it"));
    }

    #[test]
    fn a_name_in_an_error_cannot_drive_the_terminal() {
        let captured = Captured::new(&UiOptions::default());
        CliError::new("cannot read 'a\x1b[2J'").render(&captured.ui);
        assert_eq!(captured.err(), "error: cannot read 'a\\u{1b}[2J'\n");
    }

    #[test]
    fn a_chain_becomes_message_and_cause() {
        let error = io::Error::other("disk on fire");
        let error = Err::<(), _>(error).context("cannot write").context("cannot add 'x'");
        let error = CliError::from(error.unwrap_err());
        assert_eq!(error.message, "cannot add 'x'");
        assert_eq!(error.cause.as_deref(), Some("cannot write: disk on fire"));
        assert_eq!(error.code, ExitCode::Failure);
        let told = anyhow::anyhow!("inner").context("outer: inner");
        assert_eq!(CliError::from(told).cause, None);
    }

    #[test]
    fn an_error_passed_through_anyhow_stays_itself() {
        let error = anyhow::Error::from(sample().with_code(ExitCode::Locked));
        assert_eq!(CliError::from(error), sample().with_code(ExitCode::Locked));
    }

    #[test]
    fn only_our_own_closed_output_is_no_error() {
        let ours = io::Error::new(io::ErrorKind::BrokenPipe, OutputError::Closed);
        let error = CliError::from(anyhow::Error::from(ours).context("cannot list"));
        assert_eq!(error.code, ExitCode::Success);
        let captured = Captured::new(&UiOptions::default());
        error.render(&captured.ui);
        assert_eq!(captured.err(), "");
        let network = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(CliError::from(anyhow::Error::from(network)).code, ExitCode::Failure);
    }
}
