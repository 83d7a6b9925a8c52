//! Exit codes: what a script can tell apart.

use serde::Serialize;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Default)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum ExitCode {
    /// All was done.
    Success = 0,
    /// It failed, or "differs" with `--exit-code`.
    #[default]
    Failure = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Done but for some files that could not be read.
    Partial = 3,
    /// There is no repository here.
    NoRepository = 10,
    /// Another process holds the repository.
    Locked = 11,
    /// The repository has a format that this program does not know.
    Format = 12,
    /// A path or a revision does not exist.
    NotFound = 20,
    /// Stored data is damaged.
    Corrupt = 21,
    /// Interrupted by the user.
    Interrupted = 130,
}

impl ExitCode {
    /// All codes.
    pub const ALL: [Self; 10] = [
        Self::Success,
        Self::Failure,
        Self::Usage,
        Self::Partial,
        Self::NoRepository,
        Self::Locked,
        Self::Format,
        Self::NotFound,
        Self::Corrupt,
        Self::Interrupted,
    ];

    /// The number that the process ends with.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_those_that_are_published() {
        let codes = ExitCode::ALL
            .map(|code| (code.number(), serde_json::to_value(code).unwrap()))
            .map(|(number, name)| (number, name.as_str().unwrap().to_owned()));
        let published = [
            (0, "success"),
            (1, "failure"),
            (2, "usage"),
            (3, "partial"),
            (10, "no_repository"),
            (11, "locked"),
            (12, "format"),
            (20, "not_found"),
            (21, "corrupt"),
            (130, "interrupted"),
        ];
        assert_eq!(codes, published.map(|(number, name)| (number, name.to_owned())));
    }
}
