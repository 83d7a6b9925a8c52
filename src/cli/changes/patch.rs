//! Changes as a patch that `git apply` takes; of binary and huge files, which bytes changed.

use super::Printer;
use super::names::quoted;
use crate::cli::ui::{Style, format};
use crate::repo::Result;
use crate::repo::diff::{
    ChangedRanges, FileChange, Hunk, Item, ItemKind, LineKind, Pair, RangePair, Status,
};
use crate::storage::format::object::Content;

/// Digits of a content id in the line `index`.
const ID_DIGITS: usize = 10;

pub(super) fn show(printer: &Printer<'_>, change: &FileChange) -> Result<()> {
    if change.status() == Status::TypeChanged {
        let old = FileChange { new: None, ..change.clone() };
        let new = FileChange { old: None, ..change.clone() };
        show(printer, &old)?;
        return show(printer, &new);
    }
    let is_dir =
        |item: &Option<Item>| item.as_ref().is_some_and(|item| item.kind == ItemKind::EmptyDir);
    if is_dir(&change.old) || is_dir(&change.new) {
        let what = if change.new.is_some() { "is new" } else { "is gone" };
        return printer
            .line(format!("Empty directory {} {what}", quoted(change.path().as_bytes())));
    }
    FilePatch { printer, change }.show()
}

struct FilePatch<'a> {
    printer: &'a Printer<'a>,
    change: &'a FileChange,
}

fn mode(item: &Item) -> &'static str {
    match item.kind {
        ItemKind::File { executable: true, .. } => "100755",
        ItemKind::File { .. } => "100644",
        ItemKind::Symlink { .. } => "120000",
        ItemKind::EmptyDir => "040000",
    }
}

fn short_id(item: Option<&Item>, content: Option<Content>) -> String {
    let zeros = || "0".repeat(ID_DIGITS);
    let mut id = match (item.map(|item| &item.kind), content) {
        (Some(ItemKind::Symlink { target }), _) => crate::id::ChunkId::of(target).to_string(),
        (Some(_), Some(Content::Chunk(id))) => id.to_string(),
        (Some(_), Some(Content::List(id))) => id.to_string(),
        (Some(_), _) => crate::id::ChunkId::of(b"").to_string(),
        (None, _) => zeros(),
    };
    id.truncate(ID_DIGITS);
    id
}

impl FilePatch<'_> {
    fn show(&self) -> Result<()> {
        let FileChange { old, new, similarity, .. } = self.change;
        let is_same_mode = matches!((old, new), (Some(old), Some(new)) if mode(old) == mode(new));
        if *similarity == Some(100) {
            return self.header(None);
        }
        let differ = self.printer.differ;
        let pair = differ.pair(old.as_ref(), new.as_ref())?;
        // A change of white space alone, where that does not count, has no header either.
        let mut is_begun = !is_same_mode || similarity.is_some();
        if is_begun {
            self.header(Some(&pair))?;
        }
        let is_text = !self.printer.args.ranges && differ.is_text(&pair, &self.printer.text)?;
        if !is_text {
            return self.bytes(&pair, is_begun, "Binary file");
        }
        let mut has_names = false;
        let compared = differ.hunks(&pair, &self.printer.text, |hunk| {
            if !std::mem::replace(&mut is_begun, true) {
                self.header(Some(&pair))?;
            }
            if !std::mem::replace(&mut has_names, true) {
                self.names()?;
            }
            self.hunk(hunk)
        })?;
        match compared {
            Some(_) => Ok(()),
            None => self.bytes(&pair, is_begun, "Large file"),
        }
    }

    fn bold(&self, text: &str) -> Result<()> {
        self.printer.line(self.printer.context.ui.paint(Style::Bold, text))
    }

    fn name(side: &str, item: &Item) -> String {
        quoted(&[side.as_bytes(), item.path.as_bytes()].concat())
    }

    fn header(&self, pair: Option<&Pair>) -> Result<()> {
        let FileChange { old, new, similarity, is_copy } = self.change;
        let (Some(from), Some(to)) = (old.as_ref().or(new.as_ref()), new.as_ref().or(old.as_ref()))
        else {
            return Ok(());
        };
        self.bold(&format!("diff --git {} {}", Self::name("a/", from), Self::name("b/", to)))?;
        match (old, new) {
            (None, Some(new)) => self.bold(&format!("new file mode {}", mode(new)))?,
            (Some(old), None) => self.bold(&format!("deleted file mode {}", mode(old)))?,
            (Some(old), Some(new)) if mode(old) != mode(new) => {
                self.bold(&format!("old mode {}", mode(old)))?;
                self.bold(&format!("new mode {}", mode(new)))?;
            }
            _ => {}
        }
        if let Some(similarity) = similarity {
            let word = if *is_copy { "copy" } else { "rename" };
            self.bold(&format!("similarity index {similarity}%"))?;
            self.bold(&format!("{word} from {}", quoted(from.path.as_bytes())))?;
            self.bold(&format!("{word} to {}", quoted(to.path.as_bytes())))?;
        }
        let Some(pair) = pair else { return Ok(()) };
        let ids =
            (short_id(old.as_ref(), pair.contents.0), short_id(new.as_ref(), pair.contents.1));
        if ids.0 == ids.1 {
            return Ok(());
        }
        let unchanged = matches!((old, new), (Some(old), Some(new)) if mode(old) == mode(new));
        let tail = if unchanged { format!(" {}", mode(to)) } else { String::new() };
        self.bold(&format!("index {}..{}{tail}", ids.0, ids.1))
    }

    /// The lines before the first hunk. A name with a space is ended by a tab, as in git, so that
    /// other tools see where it ends.
    fn names(&self) -> Result<()> {
        let sides = [("---", "a/", &self.change.old), ("+++", "b/", &self.change.new)];
        for (mark, side, item) in sides {
            let name = item.as_ref().map_or("/dev/null".to_owned(), |item| Self::name(side, item));
            let end = if name.contains(' ') { "\t" } else { "" };
            self.bold(&format!("{mark} {name}{end}"))?;
        }
        Ok(())
    }

    fn hunk(&self, hunk: &Hunk<'_>) -> Result<()> {
        let ui = self.printer.context.ui;
        let place = |(first, count): (u64, u64)| match count {
            1 => first.to_string(),
            _ => format!("{first},{count}"),
        };
        let head = format!("@@ -{} +{} @@", place(hunk.old), place(hunk.new));
        let mut text = ui.paint(Style::Accent, &head).into_bytes();
        if let Some(section) = hunk.section {
            text.push(b' ');
            text.extend_from_slice(&self.shown(section));
        }
        self.whole_line(&text)?;
        for (kind, line) in &hunk.lines {
            self.content_line(*kind, line)?;
        }
        Ok(())
    }

    fn whole_line(&self, text: &[u8]) -> Result<()> {
        self.printer.write(&[self.printer.prefix.as_bytes(), text, b"\n"].concat())
    }

    fn content_line(&self, kind: LineKind, line: &[u8]) -> Result<()> {
        let (mark, style) = match kind {
            LineKind::Context => (b" ".as_slice(), None),
            LineKind::Removed => (b"-".as_slice(), Some(Style::Bad)),
            LineKind::Added => (b"+".as_slice(), Some(Style::Good)),
        };
        let (text, has_end) = match line.strip_suffix(b"\n") {
            Some(text) => (text, true),
            None => (line, false),
        };
        let text = [mark, self.shown(text).as_ref()].concat();
        match style {
            Some(style) => self.whole_line(&self.printer.context.ui.paint_bytes(style, &text))?,
            None => self.whole_line(&text)?,
        }
        if has_end { Ok(()) } else { self.whole_line(b"\\ No newline at end of file") }
    }

    /// What a file holds, made harmless where a person reads it.
    fn shown<'t>(&self, text: &'t [u8]) -> std::borrow::Cow<'t, [u8]> {
        if !self.printer.context.ui.out_is_terminal() {
            return text.into();
        }
        let lossy = String::from_utf8_lossy(text);
        format::printable(&lossy).into_owned().into_bytes().into()
    }

    /// Which bytes changed.
    fn bytes(&self, pair: &Pair, is_begun: bool, what: &str) -> Result<()> {
        if !is_begun {
            self.header(Some(pair))?;
        }
        let name = quoted(self.change.path().as_bytes());
        match (&self.change.old, &self.change.new) {
            (None, Some(_)) => {
                let size = format::bytes(pair.new.size);
                return self.printer.line(format!("{what} {name} is new: {size}"));
            }
            (Some(_), None) => {
                let size = format::bytes(pair.old.size);
                return self.printer.line(format!("{what} {name} is gone: {size}"));
            }
            _ => {}
        }
        let changed = self.printer.differ.ranges(pair)?;
        self.printer.line(format!("{what} {name} differs: {}", summary(&changed)))?;
        if self.printer.args.ranges {
            for RangePair { old, new } in &changed.ranges {
                self.printer.line(format!("  {} -> {}", range_text(old), range_text(new)))?;
            }
        }
        Ok(())
    }
}

/// `3 ranges, 1.2 MiB of 5.1 GiB (0.02 %) changed`.
fn summary(changed: &ChangedRanges) -> String {
    let share = changed.changed as f64 * 100.0 / changed.of.max(1) as f64;
    format!(
        "{}, {} of {} ({}) changed",
        format::counted(changed.ranges.len() as u64, "range"),
        format::bytes(changed.changed),
        format::bytes(changed.of),
        percent(share)
    )
}

/// Two digits, and never 0 where something changed.
fn percent(share: f64) -> String {
    if share > 0.0 && share < 0.01 { "< 0.01 %".to_owned() } else { format!("{share:.2} %") }
}

/// Both ends included, as `get --range` takes them.
fn range_text(range: &std::ops::Range<u64>) -> String {
    if range.is_empty() {
        return format!("nothing at {}", range.start);
    }
    format!("{}-{}", range.start, range.end - 1)
}
