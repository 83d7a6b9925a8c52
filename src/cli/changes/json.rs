//! Changes as JSON.

use serde_json::{Value, json};

use super::{Format, Printer};
use crate::cli::commands::path_json;
use crate::repo::Result;
use crate::repo::diff::{FileChange, Item, ItemKind, RangePair};
use crate::storage::format::object::Content;

/// One change; lines and ranges where they were asked for.
pub(super) fn change(printer: &Printer<'_>, change: &FileChange) -> Result<Value> {
    let mut value = path_json(change.path().as_bytes());
    value["change"] = json!(change.status().letter().to_string());
    if let (Some(similarity), Some(old)) = (change.similarity, &change.old) {
        value["from"] = path_json(old.path.as_bytes());
        value["similarity"] = json!(similarity);
    }
    value["old"] = change.old.as_ref().map_or(Value::Null, item);
    value["new"] = change.new.as_ref().map_or(Value::Null, item);
    let wants_lines = printer
        .formats
        .iter()
        .any(|format| matches!(format, Format::Stat | Format::Numstat | Format::Shortstat));
    if !wants_lines && !printer.args.ranges {
        return Ok(value);
    }
    let pair = printer.differ.pair(change.old.as_ref(), change.new.as_ref())?;
    if wants_lines {
        let is_text = printer.differ.is_text(&pair, &printer.text)?;
        let count = if is_text { printer.differ.count_lines(&pair, &printer.text)? } else { None };
        value["is_text"] = json!(is_text);
        value["added"] = json!(count.map(|count| count.added));
        value["removed"] = json!(count.map(|count| count.removed));
    }
    if printer.args.ranges {
        let changed = printer.differ.ranges(&pair)?;
        let range = |range: &std::ops::Range<u64>| json!({ "start": range.start, "length": range.end - range.start });
        let pair = |pair: &RangePair| json!({ "old": range(&pair.old), "new": range(&pair.new) });
        value["ranges"] = changed.ranges.iter().map(pair).collect();
        value["changed_bytes"] = json!(changed.changed);
    }
    Ok(value)
}

fn item(item: &Item) -> Value {
    match &item.kind {
        ItemKind::File { executable, size, content } => json!({
            "kind": "file",
            "executable": executable,
            "size": size,
            "id": content.known().and_then(content_id),
        }),
        ItemKind::Symlink { target } => {
            json!({ "kind": "symlink", "target": String::from_utf8_lossy(target) })
        }
        ItemKind::EmptyDir => json!({ "kind": "directory" }),
    }
}

fn content_id(content: Content) -> Option<String> {
    match content {
        Content::Empty => None,
        Content::Chunk(id) => Some(id.to_string()),
        Content::List(id) => Some(id.to_string()),
    }
}
