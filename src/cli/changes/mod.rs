//! How changes are shown: as a patch, in numbers, by name, as JSON. What `diff`, `show` and `log`
//! share.

mod json;
mod names;
mod patch;
mod stat;

use clap::Args;
use serde_json::Value;

use super::context::Context;
use crate::repo::diff::{
    DiffSpec, Differ, FileChange, RenameOptions, Status, TextCount, TextOptions, Whitespace,
};
use crate::repo::{RepoError, Result};

pub(crate) use names::quoted;

/// What is shown of changes.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct FormatArgs {
    /// Show what changed in each file, as a patch.
    #[arg(short, long, help_heading = FORMAT)]
    pub patch: bool,
    /// Show this many unchanged lines around changes; implies --patch.
    #[arg(short = 'U', long, value_name = "LINES", help_heading = FORMAT)]
    pub unified: Option<usize>,
    /// Show how many lines changed in each file.
    #[arg(long, help_heading = FORMAT)]
    pub stat: bool,
    /// The same for scripts: added and removed lines and the path, separated by tabs.
    #[arg(long, help_heading = FORMAT)]
    pub numstat: bool,
    /// Only the last line of --stat.
    #[arg(long, help_heading = FORMAT)]
    pub shortstat: bool,
    /// Show only the paths.
    #[arg(long, help_heading = FORMAT)]
    pub name_only: bool,
    /// Show the paths with a letter: added, modified, deleted, renamed, copied, type changed.
    #[arg(long, help_heading = FORMAT)]
    pub name_status: bool,
    /// Show which bytes changed, whatever the files hold.
    #[arg(long, help_heading = FORMAT)]
    pub ranges: bool,
    /// Show no changes.
    #[arg(short = 's', long, help_heading = FORMAT)]
    pub no_patch: bool,
    /// End paths with NUL and quote nothing.
    #[arg(short, help_heading = FORMAT)]
    pub zero: bool,
    /// Treat every file as text.
    #[arg(short = 'a', long, help_heading = FORMAT)]
    pub text: bool,
    /// White space does not count.
    #[arg(short = 'w', long, help_heading = FORMAT)]
    pub ignore_all_space: bool,
    /// The amount of white space does not count.
    #[arg(short = 'b', long, help_heading = FORMAT)]
    pub ignore_space_change: bool,
    /// White space at the end of lines does not count.
    #[arg(long, help_heading = FORMAT)]
    pub ignore_space_at_eol: bool,
    /// Find files that were moved, if this much of the content is the same (50 %).
    #[arg(short = 'M', long, value_name = "PERCENT", num_args = 0..=1, require_equals = true,
          default_missing_value = "50", value_parser = parse_percent, help_heading = FORMAT)]
    pub find_renames: Option<u8>,
    /// Find copies of changed files too.
    #[arg(long, value_name = "PERCENT", num_args = 0..=1, require_equals = true,
          default_missing_value = "50", value_parser = parse_percent, help_heading = FORMAT)]
    pub find_copies: Option<u8>,
    /// Show a moved file as a deleted and an added one.
    #[arg(long, conflicts_with_all = ["find_renames", "find_copies"], help_heading = FORMAT)]
    pub no_renames: bool,
}

const FORMAT: &str = "What is shown of changes";

fn parse_percent(text: &str) -> std::result::Result<u8, String> {
    let number = text.strip_suffix('%').unwrap_or(text);
    match number.parse() {
        Ok(percent @ 0..=100) => Ok(percent),
        _ => Err("a percentage from 0 to 100 is expected".to_owned()),
    }
}

/// A way to show changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Patch,
    Stat,
    Numstat,
    Shortstat,
    NameOnly,
    NameStatus,
}

impl FormatArgs {
    /// The ways that were asked for, in the order in which they are shown.
    pub(crate) fn formats(&self) -> Vec<Format> {
        if self.no_patch {
            return Vec::new();
        }
        let asked = [
            (self.numstat, Format::Numstat),
            (self.stat, Format::Stat),
            (self.shortstat, Format::Shortstat),
            (self.name_only, Format::NameOnly),
            (self.name_status, Format::NameStatus),
            (self.patch || self.unified.is_some() || self.ranges, Format::Patch),
        ];
        asked.into_iter().filter(|asked| asked.0).map(|asked| asked.1).collect()
    }

    fn text_options(&self) -> TextOptions {
        let whitespace = match self {
            Self { ignore_all_space: true, .. } => Whitespace::Ignored,
            Self { ignore_space_change: true, .. } => Whitespace::Amount,
            Self { ignore_space_at_eol: true, .. } => Whitespace::AtEnd,
            _ => Whitespace::Counts,
        };
        TextOptions { context: self.unified.unwrap_or(3), whitespace, force: self.text }
    }

    /// How moved files are found.
    pub(crate) fn renames(&self) -> Option<RenameOptions> {
        if self.no_renames {
            return None;
        }
        let threshold = self.find_copies.or(self.find_renames).unwrap_or(50);
        let copies = self.find_copies.is_some();
        Some(RenameOptions { threshold, copies, ..RenameOptions::default() })
    }
}

/// Shows changes on stdout.
pub(crate) struct Printer<'a> {
    context: &'a Context<'a>,
    differ: &'a Differ<'a>,
    args: &'a FormatArgs,
    text: TextOptions,
    formats: Vec<Format>,
    /// What stands before each line: the columns of a graph.
    prefix: String,
}

impl<'a> Printer<'a> {
    /// Shows what `args` say; without any, in the way `default`.
    pub(crate) fn new(
        context: &'a Context<'a>,
        differ: &'a Differ<'a>,
        args: &'a FormatArgs,
        default: Option<Format>,
    ) -> Self {
        let mut formats = args.formats();
        if formats.is_empty() && !args.no_patch {
            formats.extend(default);
        }
        let (text, prefix) = (args.text_options(), String::new());
        Self { context, differ, args, text, formats, prefix }
    }

    /// Puts a text before each line.
    pub(crate) fn set_prefix(&mut self, prefix: String) {
        self.prefix = prefix;
    }

    /// Whether anything is shown.
    pub(crate) fn is_idle(&self) -> bool {
        self.formats.is_empty()
    }

    /// Shows what differs; whether anything does.
    pub(crate) fn show(&self, spec: &DiffSpec<'_>) -> Result<bool> {
        match self.formats.as_slice() {
            [] => self.count(spec),
            [one] => self.stream(*one, spec),
            _ => {
                let changes = self.gather(spec)?;
                let mut differs = false;
                for change in &changes {
                    differs = differs || self.counts(change)?;
                }
                for (at, format) in self.formats.iter().enumerate() {
                    if at > 0 && *format == Format::Patch && !changes.is_empty() {
                        self.line("")?;
                    }
                    let mut shown = Shown::begin(*format);
                    changes.iter().try_for_each(|change| shown.take(self, change))?;
                    shown.finish(self)?;
                }
                Ok(differs)
            }
        }
    }

    /// What differs, for JSON.
    pub(crate) fn for_each_json(
        &self,
        spec: &DiffSpec<'_>,
        mut take: impl FnMut(Value) -> std::io::Result<()>,
    ) -> Result<bool> {
        let mut differs = false;
        let note = self.differ.for_each_change(spec, |change| {
            differs = differs || self.counts(&change)?;
            take(json::change(self, &change)?).map_err(RepoError::Output)
        })?;
        self.note(note.as_ref());
        Ok(differs)
    }

    /// Whether a change counts: not if it is white space alone, and that is left out.
    fn counts(&self, change: &FileChange) -> Result<bool> {
        let is_plain = change.status() == Status::Modified && stat::same_mode(change);
        if self.text.whitespace == Whitespace::Counts || !is_plain {
            return Ok(true);
        }
        let pair = self.differ.pair(change.old.as_ref(), change.new.as_ref())?;
        if !self.differ.is_text(&pair, &self.text)? {
            return Ok(true);
        }
        let lines = self.differ.count_lines(&pair, &self.text)?;
        Ok(lines.is_none_or(|lines| lines != TextCount::default()))
    }

    fn count(&self, spec: &DiffSpec<'_>) -> Result<bool> {
        let mut differs = false;
        self.differ.for_each_change(spec, |change| {
            differs = differs || self.counts(&change)?;
            Ok(())
        })?;
        Ok(differs)
    }

    fn gather(&self, spec: &DiffSpec<'_>) -> Result<Vec<FileChange>> {
        let mut changes = Vec::new();
        let note = self.differ.for_each_change(spec, |change| {
            changes.push(change);
            Ok(())
        })?;
        self.note(note.as_ref());
        Ok(changes)
    }

    fn stream(&self, format: Format, spec: &DiffSpec<'_>) -> Result<bool> {
        let mut shown = Shown::begin(format);
        let mut differs = false;
        let note = self.differ.for_each_change(spec, |change| {
            differs = differs || self.counts(&change)?;
            shown.take(self, &change)
        })?;
        shown.finish(self)?;
        self.note(note.as_ref());
        Ok(differs)
    }

    fn note(&self, note: Option<&crate::repo::diff::RenameNote>) {
        if let Some(note) = note {
            self.context.ui.message(format!(
                "note: {} files were added or deleted, too many to be compared; only moved files with \
                 equal content are shown as renamed",
                super::ui::format::count(note.files as u64)
            ));
        }
    }

    /// One line on stdout.
    fn line(&self, text: impl std::fmt::Display) -> Result<()> {
        self.context.ui.line(format_args!("{}{text}", self.prefix)).map_err(RepoError::Output)
    }

    /// Bytes on stdout.
    fn write(&self, bytes: &[u8]) -> Result<()> {
        use std::io::Write;
        self.context.ui.out().write_all(bytes).map_err(RepoError::Output)
    }
}

/// Changes on their way to stdout.
enum Shown {
    Patch,
    Names { with_status: bool },
    Stat(stat::Stat),
}

impl Shown {
    fn begin(format: Format) -> Self {
        match format {
            Format::Patch => Self::Patch,
            Format::NameOnly => Self::Names { with_status: false },
            Format::NameStatus => Self::Names { with_status: true },
            Format::Stat | Format::Numstat | Format::Shortstat => {
                Self::Stat(stat::Stat::new(format))
            }
        }
    }

    fn take(&mut self, printer: &Printer<'_>, change: &FileChange) -> Result<()> {
        match self {
            Self::Patch => patch::show(printer, change),
            Self::Names { with_status } => names::show(printer, change, *with_status),
            Self::Stat(stat) => stat.take(printer, change),
        }
    }

    fn finish(self, printer: &Printer<'_>) -> Result<()> {
        match self {
            Self::Stat(stat) => stat.finish(printer),
            Self::Patch | Self::Names { .. } => Ok(()),
        }
    }
}
