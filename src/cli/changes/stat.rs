//! Changes in numbers, laid out as git does (`show_stats` in its diff.c).

use super::names::quoted;
use super::{Format, Printer};
use crate::cli::ui::Style;
use crate::repo::Result;
use crate::repo::diff::{FileChange, ItemKind, TextCount};

/// What is told of one file.
enum Numbers {
    Lines(TextCount),
    /// Bytes before and after.
    Binary(u64, u64),
}

struct Row {
    name: String,
    numbers: Numbers,
}

/// Gathers what `--stat` lays out at the end; the others are told at once.
pub(super) struct Stat {
    format: Format,
    rows: Vec<Row>,
    files: u64,
    total: TextCount,
}

impl Stat {
    pub(super) fn new(format: Format) -> Self {
        Self { format, rows: Vec::new(), files: 0, total: TextCount::default() }
    }

    pub(super) fn take(&mut self, printer: &Printer<'_>, change: &FileChange) -> Result<()> {
        let numbers = numbers(printer, change)?;
        if let Numbers::Lines(count) = &numbers {
            let is_plain = change.status() == crate::repo::diff::Status::Modified;
            if is_plain && *count == TextCount::default() && same_mode(change) {
                // Only white space that does not count.
                return Ok(());
            }
            self.total.added += count.added;
            self.total.removed += count.removed;
        }
        self.files += 1;
        match self.format {
            Format::Numstat => numstat(printer, change, &numbers),
            Format::Stat => {
                self.rows.push(Row { name: moved_name(change), numbers });
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn finish(self, printer: &Printer<'_>) -> Result<()> {
        if self.format == Format::Numstat || self.files == 0 {
            return Ok(());
        }
        let layout = Layout::of(&self.rows);
        for row in &self.rows {
            printer.line(layout.row(printer, row))?;
        }
        printer.line(summary(self.files, self.total))
    }
}

pub(super) fn same_mode(change: &FileChange) -> bool {
    let mode = |item: &Option<crate::repo::diff::Item>| match item.as_ref().map(|item| &item.kind) {
        Some(ItemKind::File { executable, .. }) => Some(*executable),
        _ => None,
    };
    mode(&change.old) == mode(&change.new)
}

/// ` 2 files changed, 3 insertions(+), 1 deletion(-)`.
fn summary(files: u64, total: TextCount) -> String {
    let plural = |count: u64| if count == 1 { "" } else { "s" };
    let mut text = format!(" {files} file{} changed", plural(files));
    let TextCount { added, removed } = total;
    if added > 0 || removed == 0 {
        text.push_str(&format!(", {added} insertion{}(+)", plural(added)));
    }
    if removed > 0 || added == 0 {
        text.push_str(&format!(", {removed} deletion{}(-)", plural(removed)));
    }
    text
}

fn numbers(printer: &Printer<'_>, change: &FileChange) -> Result<Numbers> {
    let pair = printer.differ.pair(change.old.as_ref(), change.new.as_ref())?;
    let sizes = Numbers::Binary(pair.old.size, pair.new.size);
    if !printer.differ.is_text(&pair, &printer.text)? {
        let is_same = change.similarity == Some(100);
        return Ok(if is_same { Numbers::Binary(0, 0) } else { sizes });
    }
    Ok(printer.differ.count_lines(&pair, &printer.text)?.map_or(sizes, Numbers::Lines))
}

fn numstat(printer: &Printer<'_>, change: &FileChange, numbers: &Numbers) -> Result<()> {
    let (added, removed) = match numbers {
        Numbers::Lines(count) => (count.added.to_string(), count.removed.to_string()),
        Numbers::Binary(..) => ("-".to_owned(), "-".to_owned()),
    };
    if !printer.args.zero {
        return printer.line(format!("{added}\t{removed}\t{}", moved_name(change)));
    }
    let mut record = format!("{added}\t{removed}\t").into_bytes();
    let paths = super::names::paths(change);
    if paths.len() > 1 {
        record.push(0);
    }
    for path in paths {
        record.extend_from_slice(path);
        record.push(0);
    }
    printer.write(&record)
}

/// The name of a file; of a moved one `dir/{old => new}/name`.
fn moved_name(change: &FileChange) -> String {
    let paths = super::names::paths(change);
    let names: Vec<String> = paths.iter().map(|path| quoted(path)).collect();
    match names.as_slice() {
        [old, new] if !old.starts_with('"') && !new.starts_with('"') => joined_name(old, new),
        [old, new] => format!("{old} => {new}"),
        _ => names.concat(),
    }
}

/// git's `pprint_rename`: what both names begin and end with, at slashes, is written once.
fn joined_name(old: &str, new: &str) -> String {
    let (a, b) = (old.as_bytes(), new.as_bytes());
    let equal = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let front = a[..equal].iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    // The slash before the middle may be the one behind it too.
    let floor = front.saturating_sub(1);
    let most = a.len().min(b.len()) - floor;
    let equal = a.iter().rev().zip(b.iter().rev()).take(most).take_while(|(a, b)| a == b).count();
    let back = a[a.len() - equal..].iter().position(|byte| *byte == b'/');
    let back = back.map_or(0, |at| equal - at);
    if front + back == 0 {
        return format!("{old} => {new}");
    }
    let middle = |name: &str| {
        let end = name.len() - back;
        if end > front { name[front..end].to_owned() } else { String::new() }
    };
    let tail = &old[old.len() - back..];
    format!("{}{{{} => {}}}{tail}", &old[..front], middle(old), middle(new))
}

/// Widths of the columns.
struct Layout {
    name: usize,
    number: usize,
    graph: usize,
    most: u64,
}

/// Columns of the whole; git's for what is no terminal.
const WIDTH: usize = 80;

fn digits(number: u64) -> usize {
    number.to_string().len()
}

/// Columns that a text takes; as if every character took one.
fn columns(text: &str) -> usize {
    text.chars().count()
}

impl Layout {
    fn of(rows: &[Row]) -> Self {
        let (mut longest, mut most, mut number, mut binary) = (0, 0, 0, 0);
        for row in rows {
            longest = longest.max(columns(&row.name));
            match row.numbers {
                Numbers::Lines(count) => most = most.max(count.added + count.removed),
                Numbers::Binary(old, new) => {
                    binary = binary.max(14 + digits(old) + digits(new));
                    number = 3;
                }
            }
        }
        number = number.max(digits(most));
        let width = WIDTH.max(16 + 6 + number);
        let mut graph = if most as usize + 4 > binary { most as usize } else { binary - 4 };
        let mut name = longest;
        if name + number + 6 + graph > width {
            let share = (width * 3 / 8).saturating_sub(number + 6).max(6);
            graph = graph.min(share);
            if name > width - number - 6 - graph {
                name = width - number - 6 - graph;
            } else {
                graph = width - number - 6 - name;
            }
        }
        Self { name, number, graph, most }
    }

    /// ` name | 3 ++-`.
    fn row(&self, printer: &Printer<'_>, row: &Row) -> String {
        let name = self.fitted(&row.name);
        let padding = " ".repeat(self.name.saturating_sub(columns(&name)));
        let width = self.number;
        match row.numbers {
            Numbers::Binary(0, 0) => format!(" {name}{padding} | {:>width$}", "Bin"),
            Numbers::Binary(old, new) => {
                format!(" {name}{padding} | {:>width$} {old} -> {new} bytes", "Bin")
            }
            Numbers::Lines(count) => {
                let total = count.added + count.removed;
                let gap = if total > 0 { " " } else { "" };
                let (plus, minus) = self.bars(count);
                let ui = printer.context.ui;
                let paint = |style, mark: &str, count: usize| match count {
                    0 => String::new(),
                    _ => ui.paint(style, &mark.repeat(count)),
                };
                let (plus, minus) = (paint(Style::Good, "+", plus), paint(Style::Bad, "-", minus));
                format!(" {name}{padding} | {total:>width$}{gap}{plus}{minus}")
            }
        }
    }

    /// The end of a name that is too long, from a slash on where there is one.
    fn fitted(&self, name: &str) -> String {
        let length = columns(name);
        if length <= self.name {
            return name.to_owned();
        }
        let tail: String = name.chars().skip(length - self.name.saturating_sub(3)).collect();
        let from = tail.find('/').unwrap_or(0);
        format!("...{}", &tail[from..])
    }

    fn bars(&self, count: TextCount) -> (usize, usize) {
        let TextCount { added, removed } = count;
        if self.graph as u64 > self.most {
            return (added as usize, removed as usize);
        }
        let scale = |lines: u64| match lines {
            0 => 0,
            _ => 1 + (lines * (self.graph as u64 - 1) / self.most) as usize,
        };
        let mut total = scale(added + removed);
        if total < 2 && added > 0 && removed > 0 {
            total = 2;
        }
        if added < removed {
            let plus = scale(added);
            (plus, total.saturating_sub(plus))
        } else {
            let minus = scale(removed);
            (total.saturating_sub(minus), minus)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_directories_of_a_move_are_written_once() {
        for (old, new, shown) in [
            ("a", "b", "a => b"),
            ("d/a", "d/b", "d/{a => b}"),
            ("d/a/x", "d/b/x", "d/{a => b}/x"),
            ("x/a", "y/a", "{x => y}/a"),
            ("d/a", "d/sub/a", "d/{ => sub}/a"),
            ("d/sub/a", "d/a", "d/{sub => }/a"),
            ("a/b/c", "a/b/b/c", "a/b/{ => b}/c"),
            ("a", "dir/a", "a => dir/a"),
        ] {
            assert_eq!(joined_name(old, new), shown, "{old} {new}");
        }
    }

    #[test]
    fn the_last_line_counts_as_git_does() {
        let of = |files, added, removed| summary(files, TextCount { added, removed });
        assert_eq!(of(1, 0, 0), " 1 file changed, 0 insertions(+), 0 deletions(-)");
        assert_eq!(of(2, 1, 0), " 2 files changed, 1 insertion(+)");
        assert_eq!(of(1, 2, 1), " 1 file changed, 2 insertions(+), 1 deletion(-)");
        assert_eq!(of(1, 0, 3), " 1 file changed, 3 deletions(-)");
    }
}
