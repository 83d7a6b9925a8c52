//! One file per command: its arguments, whose doc comments are the help, then what it does.

pub mod add;
pub mod branch;
pub mod check_ignore;
pub mod clean;
pub mod commit;
pub mod completion;
pub mod config;
pub mod debug;
pub mod diff;
pub mod export;
pub mod gc;
pub mod get;
pub mod import;
pub mod init;
pub mod log;
pub mod ls;
pub mod merge;
pub mod merge_base;
pub mod mv;
pub mod obliterate;
pub mod op;
pub mod pick;
pub mod reset;
pub mod restore;
pub mod rm;
pub mod show;
pub mod sparse;
pub mod stash;
pub mod stats;
pub mod status;
pub mod store;
pub mod switch;
pub mod tag;
pub mod undo;

use std::fmt::Display;
use std::io::{self, Write};

use serde_json::{Value, json};

use crate::cli::exit_code::ExitCode;
use crate::cli::ui::{Ui, format};
use crate::path::RepoPath;
use crate::storage::cache::CacheStats;
use crate::storage::format::object::Signature;

/// A path for JSON: text, and the exact bytes in hexadecimal where it is not UTF-8.
pub(crate) fn path_json(bytes: &[u8]) -> Value {
    if let Ok(text) = std::str::from_utf8(bytes) {
        json!({ "path": text })
    } else {
        let mut hex = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            hex.push_str(&format!("{byte:02x}"));
        }
        json!({ "path": String::from_utf8_lossy(bytes), "path_hex": hex })
    }
}

/// Paths with why each was refused or left out, for JSON.
pub(crate) fn refused_json<'a, W: Display + 'a>(
    refused: impl IntoIterator<Item = &'a (RepoPath, W)>,
) -> Vec<Value> {
    let one = |(path, why): &(RepoPath, W)| {
        let mut value = path_json(path.as_bytes());
        value["reason"] = json!(why.to_string());
        value
    };
    refused.into_iter().map(one).collect()
}

/// Names what a command left out of the work tree; the exit code that says so.
pub(crate) fn warn_of_skipped(skipped: &[(RepoPath, String)], ui: &Ui) -> ExitCode {
    for (path, why) in skipped {
        ui.warn(format!("'{path}' was left out: {why}"));
    }
    if skipped.is_empty() { ExitCode::Success } else { ExitCode::Partial }
}

/// A JSON document with one long list, written as it comes, so that it takes no memory.
struct JsonList<'a> {
    ui: &'a Ui,
    name: &'static str,
    is_begun: bool,
}

impl<'a> JsonList<'a> {
    fn new(ui: &'a Ui, name: &'static str) -> Self {
        Self { ui, name, is_begun: false }
    }

    /// The next element.
    fn push(&mut self, element: &Value) -> io::Result<()> {
        let text = serde_json::to_string_pretty(element)?.replace('\n', "\n    ");
        let mut out = self.ui.out();
        if std::mem::replace(&mut self.is_begun, true) {
            write!(out, ",\n    {text}")
        } else {
            write!(out, "{{\n  \"{}\": [\n    {text}", self.name)
        }
    }

    /// Ends list and document.
    fn finish(self) -> io::Result<()> {
        if !self.is_begun {
            let mut document = json!({ "schema_version": 1 });
            document[self.name] = json!([]);
            return self.ui.document(&document);
        }
        self.ui.line("\n  ],\n  \"schema_version\": 1\n}")
    }
}

/// What the cache of decoded blocks did, for `-v`.
fn cache_line(cache: &CacheStats) -> String {
    let CacheStats { hot_hits, warm_hits, misses, evictions, bytes, limit } = *cache;
    format!(
        "block cache: {} hits ({hot_hits} hot, {warm_hits} warm), {misses} misses, {evictions} \
         evictions; {} of {}",
        hot_hits + warm_hits,
        format::bytes(bytes as u64),
        format::bytes(limit as u64)
    )
}

/// A time with its own offset, RFC 3339.
pub(crate) fn time_text(signature: &Signature) -> String {
    let offset = jiff::tz::Offset::from_seconds(i32::from(signature.offset_minutes) * 60);
    let time = jiff::Timestamp::from_second(signature.seconds);
    match (time, offset) {
        (Ok(time), Ok(offset)) => {
            time.to_zoned(offset.to_time_zone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
        }
        // A date no calendar reaches is shown as it is stored.
        _ => format!("@{}", signature.seconds),
    }
}
