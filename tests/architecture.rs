//! Rules of the repository that the compiler does not check: who may use whom, that every stored
//! format is documented, and that files and functions stay short.
//!
//! The layers are those of `docs/architecture.md`. A new module fails here until it has its line in
//! [`LAYERS`]: where it belongs is a decision, not an accident.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The layers from the bottom up. A module may use its own layer and those above it in this list.
/// A line `storage::format` stands for everything below `storage::format`.
const LAYERS: &[(&str, &[&str])] = &[
    ("vocabulary", &["id", "path", "date", "suggest", "config", "progress", "metrics"]),
    ("bytes and disk", &["storage::format", "storage::mapped", "storage::disk"]),
    (
        "mechanisms",
        &[
            "storage::cache",
            "storage::chunker",
            "storage::codec",
            "storage::adaptive",
            "storage::queues",
        ],
    ),
    (
        "stores",
        &[
            "storage::pack_store",
            "storage::objects",
            "storage::binary_staging",
            "storage::refs",
            "storage::oplog",
        ],
    ),
    ("pipelines", &["storage::engine", "storage::streaming", "storage::batch"]),
    ("runs", &["storage::parallel_processor"]),
    ("version control", &["repo", "remote"]),
    ("terminal", &["cli"]),
];

/// Files that only declare modules and re-export; they may name anything.
const ROOTS: &[&str] = &["src/main.rs", "src/lib.rs", "src/storage/mod.rs"];

/// Longest source file, its tests left out. Lower it when the longest file gets shorter.
const MAX_FILE_LINES: usize = 600;
/// Longest function. Lower it when the longest function gets shorter.
const MAX_FUNCTION_LINES: usize = 80;

/// One source file without comments, literals and test code; every line break is still there.
struct Source {
    path: String,
    module: String,
    code: Vec<char>,
}

fn manifest_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            rust_files(&path, found)?;
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

/// Every source file but those that hold only tests (`tests.rs`, `tests/`).
fn sources() -> io::Result<Vec<Source>> {
    let mut files = Vec::new();
    rust_files(&manifest_dir().join("src"), &mut files)?;
    files.sort();
    let mut sources = Vec::new();
    for file in files {
        let relative = file.strip_prefix(manifest_dir()).unwrap_or(&file);
        let path = relative.to_string_lossy().replace('\\', "/");
        if path.ends_with("/tests.rs") || path.contains("/tests/") {
            continue;
        }
        let code = without_tests(&blank(&fs::read_to_string(&file)?));
        sources.push(Source { module: module_of(&path), path, code });
    }
    Ok(sources)
}

/// `src/storage/format/mod.rs` is `storage::format`; the crate root is empty.
fn module_of(path: &str) -> String {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs");
    let inner = inner.strip_suffix("/mod").unwrap_or(inner);
    if matches!(inner, "lib" | "main") { String::new() } else { inner.replace('/', "::") }
}

fn layer_of(module: &str) -> Option<usize> {
    let covers = |prefix: &&str| {
        module.strip_prefix(*prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    LAYERS.iter().position(|(_, modules)| modules.iter().any(covers))
}

// ---- a very small reader of Rust -------------------------------------------------------------

/// Where the comment or literal that begins at `at` ends; `None` when none begins there.
fn skip_from(text: &[char], at: usize) -> Option<usize> {
    let next = text.get(at + 1).copied();
    match text[at] {
        '/' if next == Some('/') => Some(find(text, at, '\n')),
        '/' if next == Some('*') => Some(skip_block_comment(text, at)),
        '"' => Some(skip_string(text, at)),
        'r' if matches!(next, Some('"' | '#')) && !joins_word(text, at) => skip_raw(text, at),
        '\'' if next == Some('\\') => Some(find(text, at + 3, '\'') + 1),
        '\'' if text.get(at + 2) == Some(&'\'') => Some(at + 3),
        _ => None,
    }
}

/// Whether the `r` at `at` ends an identifier instead of beginning a raw string; `br` begins one.
fn joins_word(text: &[char], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).map(|index| text[index]);
    let is_word = |ch: Option<char>| ch.is_some_and(|ch| ch.is_alphanumeric() || ch == '_');
    let after_b = before(1) == Some('b') && !is_word(before(2));
    is_word(before(1)) && !after_b
}

fn find(text: &[char], from: usize, wanted: char) -> usize {
    (from..text.len()).find(|at| text[*at] == wanted).unwrap_or(text.len())
}

fn skip_block_comment(text: &[char], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at < text.len() {
        match (text[at], text.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn skip_string(text: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < text.len() && text[at] != '"' {
        at += if text[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn skip_raw(text: &[char], start: usize) -> Option<usize> {
    let hashes = text[start + 1..].iter().take_while(|ch| **ch == '#').count();
    let open = start + 1 + hashes;
    if text.get(open) != Some(&'"') {
        return None;
    }
    let closes = |at: usize| {
        text[at] == '"'
            && text[at + 1..].iter().take(hashes).filter(|ch| **ch == '#').count() == hashes
    };
    Some((open + 1..text.len()).find(|at| closes(*at)).map_or(text.len(), |at| at + 1 + hashes))
}

/// Replaces comments and literals by spaces; line breaks stay.
fn blank(text: &str) -> Vec<char> {
    let mut text: Vec<char> = text.chars().collect();
    let mut at = 0;
    while at < text.len() {
        let Some(end) = skip_from(&text, at) else {
            at += 1;
            continue;
        };
        let end = end.min(text.len());
        text[at..end].iter_mut().filter(|ch| **ch != '\n').for_each(|ch| *ch = ' ');
        at = end;
    }
    text
}

fn starts_with(text: &[char], at: usize, word: &str) -> bool {
    word.chars().enumerate().all(|(offset, ch)| text.get(at + offset) == Some(&ch))
}

/// Index behind the bracket that closes the one at `open`.
fn close_of(text: &[char], open: usize) -> usize {
    let mut depth = 0usize;
    for (at, ch) in text.iter().enumerate().skip(open) {
        match ch {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    text.len()
}

/// Index of the `{` that opens the body of the item that begins at `at`, or of the `;` that ends it.
fn body_of(text: &[char], mut at: usize) -> usize {
    while at < text.len() && !matches!(text[at], '{' | ';') {
        at = if matches!(text[at], '(' | '[') { close_of(text, at) } else { at + 1 };
    }
    at
}

/// Takes out every item under `#[cfg(test)]`, its lines included.
fn without_tests(code: &[char]) -> Vec<char> {
    let mut kept = Vec::with_capacity(code.len());
    let mut at = 0;
    while at < code.len() {
        if starts_with(code, at, "#[cfg(test)]") || starts_with(code, at, "#[cfg(all(test") {
            at = end_of_item(code, close_of(code, at + 1));
        } else {
            kept.push(code[at]);
            at += 1;
        }
    }
    kept
}

fn end_of_item(code: &[char], mut at: usize) -> usize {
    loop {
        while code.get(at).is_some_and(|ch| ch.is_whitespace()) {
            at += 1;
        }
        if !starts_with(code, at, "#[") {
            break;
        }
        at = close_of(code, at + 1);
    }
    let is_use = starts_with(code, at, "use ") || starts_with(code, at, "pub use ");
    let stop = if is_use { find(code, at, ';') } else { body_of(code, at) };
    if code.get(stop) == Some(&'{') { close_of(code, stop) } else { stop + 1 }
}

fn is_word(ch: char) -> bool {
    ch.is_alphanumeric() || ch == '_'
}

// ---- who uses whom ---------------------------------------------------------------------------

/// Expands what follows `prefix` at `at` (`a::b`, `{a, b::c}`, `*`) into full paths.
fn expand(code: &[char], mut at: usize, prefix: &str, paths: &mut Vec<String>) -> usize {
    let skip_space = |mut at: usize| {
        while code.get(at).is_some_and(|ch| ch.is_whitespace()) {
            at += 1;
        }
        at
    };
    at = skip_space(at);
    if code.get(at) == Some(&'{') {
        at += 1;
        loop {
            at = skip_space(expand(code, at, prefix, paths));
            match code.get(at) {
                Some(',') => at = skip_space(at + 1),
                _ => return at + 1,
            }
            if code.get(at) == Some(&'}') {
                return at + 1;
            }
        }
    }
    let start = at;
    while code.get(at).is_some_and(|ch| is_word(*ch)) {
        at += 1;
    }
    let name: String = code[start..at].iter().collect();
    let path = if prefix.is_empty() { name } else { format!("{prefix}::{name}") };
    if starts_with(code, at, "::") && code.get(at + 2) != Some(&'<') {
        return expand(code, at + 2, &path, paths);
    }
    paths.push(path);
    // Past `as Name` and `*` inside a group.
    while code.get(at).is_some_and(|ch| is_word(*ch) || matches!(ch, ' ' | '*')) {
        at += 1;
    }
    at
}

fn parent(module: &str) -> &str {
    module.rsplit_once("::").map_or("", |(parent, _)| parent)
}

/// Every path that the file names through `crate::` or `super::`, from the crate root.
fn used_paths(source: &Source) -> Vec<String> {
    let code = &source.code;
    let mut paths = Vec::new();
    let mut at = 0;
    while at < code.len() {
        let begins_word =
            at == 0 || !(is_word(code[at - 1]) || code[at - 1] == ':' || code[at - 1] == '$');
        if begins_word && starts_with(code, at, "crate::") {
            at = expand(code, at + 7, "", &mut paths);
        } else if begins_word && starts_with(code, at, "super::") {
            let mut base = parent(&source.module);
            at += 7;
            while starts_with(code, at, "super::") {
                base = parent(base);
                at += 7;
            }
            at = expand(code, at, base, &mut paths);
        } else {
            at += 1;
        }
    }
    paths
}

/// The longest beginning of `path` that is a module.
fn module_in<'a>(path: &'a str, modules: &[&str]) -> &'a str {
    let mut module = path;
    while !module.is_empty() && !modules.contains(&module) {
        module = parent(module);
    }
    module
}

fn upward_uses(sources: &[Source]) -> Vec<String> {
    let modules: Vec<&str> = sources.iter().map(|source| source.module.as_str()).collect();
    let mut wrong = Vec::new();
    for source in sources.iter().filter(|source| !ROOTS.contains(&source.path.as_str())) {
        let Some(own) = layer_of(&source.module) else {
            wrong
                .push(format!("{}: the module has no layer in tests/architecture.rs", source.path));
            continue;
        };
        for path in used_paths(source) {
            let module = module_in(&path, &modules);
            let layer = layer_of(module).filter(|layer| *layer > own);
            if let Some(layer) = layer {
                wrong.push(format!(
                    "{}: '{}' uses {path}, of the layer '{}'",
                    source.path, LAYERS[own].0, LAYERS[layer].0
                ));
            }
        }
    }
    wrong
}

#[test]
fn a_module_uses_only_its_own_layer_and_those_below() {
    let wrong = upward_uses(&sources().unwrap());
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_layer_is_named_in_the_architecture() {
    let text = fs::read_to_string(manifest_dir().join("docs/architecture.md")).unwrap();
    for (layer, modules) in LAYERS {
        assert!(text.to_lowercase().contains(layer), "docs/architecture.md lacks '{layer}'");
        for module in *modules {
            let name = module.replace("::", "/");
            let exists = ["", "/mod"]
                .iter()
                .any(|tail| manifest_dir().join(format!("src/{name}{tail}.rs")).exists());
            assert!(!exists || text.contains(&name), "docs/architecture.md lacks '{name}'");
        }
    }
}

#[test]
fn every_stored_format_has_its_section() {
    let text = fs::read_to_string(manifest_dir().join("docs/format.md")).unwrap();
    for entry in fs::read_dir(manifest_dir().join("src/storage/format")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name == "mod.rs" || path.extension().is_none_or(|ext| ext != "rs") {
            continue;
        }
        let title = format!("## {name} — ");
        assert!(
            text.lines().any(|line| line.starts_with(&title)),
            "docs/format.md lacks a section '{title}…'"
        );
    }
}

// ---- lengths ---------------------------------------------------------------------------------

/// Name, first line and length of each function with a body.
fn functions(code: &[char]) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    let mut line = 1;
    for at in 0..code.len() {
        line += usize::from(code[at] == '\n');
        let begins_word = at == 0 || !is_word(code[at - 1]);
        if !begins_word || !starts_with(code, at, "fn ") {
            continue;
        }
        let name: String = code[at + 3..].iter().take_while(|ch| is_word(**ch)).collect();
        let open = body_of(code, at);
        if name.is_empty() || code.get(open) != Some(&'{') {
            continue;
        }
        let body = &code[at..close_of(code, open)];
        found.push((name, line, body.iter().filter(|ch| **ch == '\n').count() + 1));
    }
    found
}

#[test]
fn files_and_functions_stay_short() {
    let mut wrong = Vec::new();
    for source in sources().unwrap() {
        let lines = source.code.iter().filter(|ch| **ch == '\n').count();
        if lines > MAX_FILE_LINES {
            wrong.push(format!("{}: {lines} lines without tests", source.path));
        }
        for (name, line, length) in functions(&source.code) {
            if length > MAX_FUNCTION_LINES {
                wrong.push(format!("{}:{line}: {name} has {length} lines", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

// ---- the rules themselves --------------------------------------------------------------------

fn sample(module: &str, text: &str) -> Source {
    let path = format!("src/{}.rs", module.replace("::", "/"));
    Source { path, module: module.to_owned(), code: without_tests(&blank(text)) }
}

#[test]
fn an_upward_use_is_found_however_it_is_written() {
    let store = sample("storage::refs", "");
    let repo = sample("repo::add", "");
    let upward = [
        "use crate::repo::add::Add;",
        "use crate::{id::ObjectId, repo::{self, add}};",
        "use super::super::repo::add;",
        "fn f() { crate::repo::add::run() }",
        "#[cfg(test)] mod tests { }\nfn g() { let _ = '\"'; crate::repo::add::run(\"x\") }",
    ];
    for text in upward {
        let files =
            [sample("storage::disk", text), sample("repo", ""), sample("storage::refs", "")];
        assert!(!upward_uses(&files).is_empty(), "{text}");
    }
    let sound = [
        "use crate::id::ObjectId; use super::format::pack;",
        "// use crate::repo::add;\n/* crate::repo */ const A: &str = \"crate::repo::add\";",
        "const A: &str = r#\"\"crate::repo::add\"#; fn f<'a>(x: &'a str) -> &'a str { x }",
        "#[cfg(test)]\nmod tests { use crate::repo::add; fn f() { let x = '}'; } }",
        "#[cfg(test)] use crate::repo::{add, Repository};",
    ];
    for text in sound {
        let files = [sample("storage::disk", text), sample("repo", ""), sample("id", "")];
        assert_eq!(upward_uses(&files), Vec::<String>::new(), "{text}");
    }
    assert!(upward_uses(&[store, repo]).is_empty());
    assert_eq!(upward_uses(&[sample("storage::novelty", "")]).len(), 1);
}

#[test]
fn the_length_of_a_function_is_that_of_its_body() {
    let text =
        "fn a() -> [u8; 2] {\n  let _ = '{';\n  [1, 2]\n}\ntrait T { fn b(&self); }\nfn c() {}\n";
    let found = functions(&blank(text));
    let wanted = [("a".to_owned(), 1, 4), ("c".to_owned(), 6, 1)];
    assert_eq!(found, wanted);
}
