//! Colours, and when they are used.

use std::ffi::OsString;

use crate::config::When;

/// How a text looks where colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Done, added.
    Good,
    /// Failed, removed.
    Bad,
    /// Needs attention.
    Caution,
    /// Ids and names that stand out.
    Accent,
    /// Of minor importance.
    Dim,
    /// Headings.
    Bold,
}

impl Style {
    const fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Bad => "1;31",
            Self::Caution => "33",
            Self::Accent => "36",
            Self::Dim => "2",
            Self::Bold => "1",
        }
    }

    /// `text` in this style if `color`, else as it is.
    pub fn paint(self, text: &str, color: bool) -> String {
        if color { format!("\x1b[{}m{text}\x1b[0m", self.code()) } else { text.to_owned() }
    }
}

/// Whether a stream gets colours: `--color`, then `NO_COLOR`, `CLICOLOR_FORCE`, `CLICOLOR`, then
/// whether it is a terminal that knows them.
pub fn use_color(
    choice: When,
    environment: &dyn Fn(&str) -> Option<OsString>,
    terminal: bool,
) -> bool {
    let variable = |name| environment(name).filter(|text| !text.is_empty());
    match choice {
        When::Always => return true,
        When::Never => return false,
        When::Auto => {}
    }
    if variable("NO_COLOR").is_some() {
        return false;
    }
    if variable("CLICOLOR_FORCE").is_some_and(|text| text != "0") {
        return true;
    }
    let off = variable("CLICOLOR").is_some_and(|text| text == "0");
    terminal && !off && variable("TERM").is_none_or(|text| text != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(choice: When, set: &[(&str, &str)], terminal: bool) -> bool {
        let environment = |name: &str| {
            set.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        };
        use_color(choice, &environment, terminal)
    }

    #[test]
    fn each_rule_gives_way_to_the_one_before() {
        assert!(decide(When::Auto, &[], true));
        assert!(!decide(When::Auto, &[], false));
        assert!(!decide(When::Auto, &[("TERM", "dumb")], true));
        assert!(!decide(When::Auto, &[("CLICOLOR", "0")], true));
        assert!(decide(When::Auto, &[("CLICOLOR", "0"), ("CLICOLOR_FORCE", "1")], false));
        assert!(!decide(When::Auto, &[("CLICOLOR_FORCE", "0")], false));
        assert!(!decide(When::Auto, &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")], true));
        assert!(decide(When::Auto, &[("NO_COLOR", "")], true));
        assert!(decide(When::Always, &[("NO_COLOR", "1")], false));
        assert!(!decide(When::Never, &[("CLICOLOR_FORCE", "1")], true));
    }

    #[test]
    fn paint_needs_colour() {
        assert_eq!(Style::Good.paint("x", false), "x");
        assert_eq!(Style::Good.paint("x", true), "\x1b[32mx\x1b[0m");
    }
}
