//! What people and other programs write: paths, streams of git, ignore rules, pathspecs, settings.

use std::io::Read;

use digstore::config::{Config, Key, Origin, set_in, unset_in};
use digstore::path::{PathError, RepoPath, check_name, check_path, compare, escape, is_within};
use digstore::repo::exchange::fast_export::{Change, Command, FastExport, Mode, Source, quote};
use digstore::repo::ignore::{IgnoreRules, is_always_skipped};
use digstore::repo::pathspec::{Base, Pathspec, read_list};

use super::Scratch;

/// The pieces of an input, which a byte separates.
fn pieces<const N: usize>(bytes: &[u8], mark: u8) -> [&[u8]; N] {
    let mut rest = bytes.splitn(N, |byte| *byte == mark);
    [(); N].map(|()| rest.next().unwrap_or_default())
}

// ---- paths -------------------------------------------------------------------------------------

/// Two paths, with a NUL between them: what may be written to the work tree, and in which order.
pub(crate) fn path(_: &mut Scratch, bytes: &[u8]) {
    let [a, b] = pieces(bytes, 0);
    for path in [bytes, a, b] {
        check_one_path(path);
    }
    let components = |path: &'_ [u8]| -> Vec<Vec<u8>> {
        path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect()
    };
    if check_path(a).is_ok() && check_path(b).is_ok() && !a.is_empty() && !b.is_empty() {
        assert_eq!(compare(a, b), components(a).cmp(&components(b)));
        assert_eq!(is_within(a, b), components(a).starts_with(&components(b)));
    }
}

fn check_one_path(bytes: &[u8]) {
    let shown = escape(bytes);
    assert!(!shown.chars().any(char::is_control), "a control character is shown");
    let made = RepoPath::new(bytes);
    assert_eq!(made.clone().err(), check_path(bytes).err());
    let Ok(path) = made else { return };
    assert!(path.as_bytes().len() <= 4096 && !bytes.starts_with(b"/") && !bytes.contains(&0));
    let mut joined = RepoPath::root();
    for name in path.components() {
        assert_eq!(check_name(name), Ok(()));
        assert!(!is_plainly_ours(name), "{} is taken", escape(name));
        joined = joined.join(name).unwrap();
    }
    assert_eq!(joined, path);
    if let Some(parent) = path.parent() {
        assert_eq!(parent.join(path.name()), Ok(path.clone()));
        assert!(path.is_within(&parent));
        // What is ours at any depth is refused behind any directory.
        assert!(matches!(path.join(b".DigStore"), Err(PathError::Reserved(_))));
    }
}

/// What Windows takes for the repository's directory, told in another way than the library does.
fn is_plainly_ours(name: &[u8]) -> bool {
    let lower = name.to_ascii_lowercase();
    let base = lower.split(|byte| *byte == b':').next().unwrap_or_default();
    let end = base.iter().rposition(|byte| !b". ".contains(byte)).map_or(0, |last| last + 1);
    base[..end] == *b".digstore" || base[..end] == *b"digsto~1"
}

pub(crate) fn path_seeds() -> Vec<Vec<u8>> {
    let long = [&b"n/"[..]; 600].concat();
    [
        &b"a/b\0a-b"[..],
        b"a\0a/b",
        b".digstore/x",
        b"d/.DIGSTORE::$INDEX_ALLOCATION\0DIGSTO~1",
        b"a/../b\0./c",
        "\u{200c}.dig\u{200d}store/\u{fffd}".as_bytes(),
        b"a//b\0/a",
        &long,
    ]
    .map(<[u8]>::to_vec)
    .to_vec()
}

// ---- the stream of git -------------------------------------------------------------------------

pub(crate) fn fast_export(_: &mut Scratch, bytes: &[u8]) {
    let mut stream = FastExport::new(bytes);
    let (mut commands, mut data) = (0, 0);
    while let Ok(Some(command)) = stream.next_command() {
        commands += 1;
        if matches!(command, Command::Blob(_)) {
            data += read_data(&mut stream);
        }
        while let Ok(Some(change)) = stream.next_change() {
            commands += 1;
            if matches!(change, Change::Modify { source: Source::Inline, .. }) {
                data += read_data(&mut stream);
            }
        }
    }
    assert!(commands + data <= bytes.len(), "more came out than went in");
    quoted(&bytes[..bytes.len().min(4096)]);
}

fn read_data(stream: &mut FastExport<&[u8]>) -> usize {
    let mut data = stream.data();
    let (said, mut all) = (data.left(), Vec::new());
    let read = data.read_to_end(&mut all);
    assert!(all.len() as u64 <= said);
    assert!(read.is_err() || all.len() as u64 == said, "short, and no error");
    all.len()
}

/// A path that is written is read as the same.
fn quoted(path: &[u8]) {
    let text = quote(path);
    let head = b"commit refs/heads/x\ncommitter a <b> 1 +0000\ndata 0\n";
    let stream =
        [&head[..], b"D ", &text, b"\nM 100644 :1 ", &text, b"\nR ", &text, b" ", &text, b"\n"]
            .concat();
    let mut stream = FastExport::new(&stream[..]);
    assert!(matches!(stream.next_command(), Ok(Some(Command::Commit(_)))));
    let mut next = || stream.next_change().unwrap().unwrap();
    assert_eq!(next(), Change::Delete(path.to_vec()));
    match next() {
        Change::Modify { mode, path: read, .. } => {
            assert_eq!((mode, &read[..]), (Mode::File { executable: false }, path));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(next(), Change::Rename(path.to_vec(), path.to_vec()));
}

pub(crate) fn fast_export_seeds() -> Vec<Vec<u8>> {
    let stream = "feature done\nblob\nmark :1\noriginal-oid 00ff\ndata 4\nabc\n\nreset refs/heads/m\n\
                  commit refs/heads/m\nmark :2\nauthor A B <a@b> 1700000000 -0130\n\
                  committer C <c> 5 +0000\nencoding latin1\ndata <<END\nwhy\nEND\nfrom :9\nmerge :8\n\
                  M 100644 :1 \"a\\303\\244 b\"\nM 120000 inline l\ndata 2\nto\nM 160000 0123 sub\n\
                  D gone\nC a b\nR \"a b\" c\ndeleteall\nN inline :2\ndata 1\nx\n\
                  tag v1\nfrom :2\ntagger T <t> 7 +0100\ndata 3\ntag\nprogress x\ncheckpoint\ndone\n";
    let signed = "commit refs/heads/x\ncommitter C <c> 5 +0000\ngpgsig sha1 openpgp\ndata 2\nsi\n\
                  data 1\nm\nfrom refs/heads/m^0\nM 755 inline e\ndata 0\n";
    vec![stream.into(), signed.into(), b"reset x\nfrom :1\n\n".to_vec()]
}

// ---- ignore rules ------------------------------------------------------------------------------

/// With NULs between them: a `.digignore` of the root, a `.gitignore` of the root, a `.digignore` of
/// `d`, and paths, one in a line.
pub(crate) fn ignore(_: &mut Scratch, bytes: &[u8]) {
    let [dig, git, below, paths] = pieces(bytes, 0);
    let root = IgnoreRules::root(true).child(&RepoPath::root(), Some(dig), Some(git));
    let dir = RepoPath::new("d").unwrap();
    let below = if root.is_ignored(&dir, true) {
        root.pruned(&dir)
    } else {
        root.child(&dir, Some(below), None)
    };
    for name in paths.split(|byte| *byte == b'\n').take(20) {
        for is_dir in [false, true] {
            if let Ok(path) = RepoPath::new(name) {
                decide(&root, &path, is_dir);
            }
            if let Ok(path) = RepoPath::new([b"d/", name].concat()) {
                decide(&below, &path, is_dir);
            }
        }
    }
}

fn decide(rules: &std::sync::Arc<IgnoreRules>, path: &RepoPath, is_dir: bool) {
    let decision = rules.explain(path, is_dir);
    let ignored = decision.as_ref().is_some_and(|decision| decision.ignored);
    let skipped = is_always_skipped(path.name());
    assert_eq!(rules.is_ignored(path, is_dir), ignored || skipped);
    if is_dir && ignored {
        let inside = rules.pruned(path);
        assert!(
            path.join(b"x").is_ok_and(|path| inside.is_ignored(&path, false))
                || path.as_bytes().len() > 4094
        );
    }
}

pub(crate) fn ignore_seeds() -> Vec<Vec<u8>> {
    [
        &b"*.o\n!keep.o\n/build/\ndoc/**/x\n\\!a\n# no\n[a-c]?z\n\0.env\n\0!x.o\n\0x.o\nbuild\nabz\ndoc/1/2/x"[..],
        b"\xef\xbb\xbfd\n\0\0\0x",
        b"a\\ \n[[:alpha:]]*\n[!a]\n**/b\n***\na/**\n\0[\n\0[]a]\n\0b\na\n]",
        b"*a*a*a*a*a*a*a*a*b\n**/**/**/**/**/c\n\0\0\0aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ]
    .map(<[u8]>::to_vec)
    .to_vec()
}

// ---- pathspecs ---------------------------------------------------------------------------------

/// A directory, up to three pathspecs and paths, one in a line.
pub(crate) fn pathspec(_: &mut Scratch, bytes: &[u8]) {
    for nul in [false, true] {
        if let Ok(list) = read_list(bytes, nul) {
            assert!(list.iter().map(Vec::len).sum::<usize>() <= bytes.len());
        }
    }
    let [dir, first, second, third, paths] = pieces(bytes, b'\n');
    let Ok(dir) = RepoPath::new(dir) else { return };
    let texts: Vec<&[u8]> =
        [first, second, third].into_iter().filter(|text| !text.is_empty()).collect();
    let base = |dir| Base {
        dir,
        excludes_from_dir: false,
        absolute: &|path: &[u8]| Some(path[1..].to_vec()),
    };
    let Ok(spec) = Pathspec::parse(&texts, &base(&dir)) else { return };
    let root = RepoPath::root();
    let mut from_root = Vec::new();
    for text in &texts {
        from_root.extend(Pathspec::from_root(text, &base(&dir)).expect("it was read before"));
    }
    let again =
        Pathspec::parse(&from_root, &base(&root)).expect("what is typed in the root is read");
    let mut paths: Vec<Vec<u8>> =
        paths.split(|byte| *byte == b'\n').take(10).map(<[u8]>::to_vec).collect();
    paths.extend(texts.iter().map(|text| text.to_vec()));
    paths.extend(texts.iter().map(|text| [dir.as_bytes(), b"/", text].concat()));
    for path in paths {
        // A path, and one below it.
        for path in [path.clone(), [&path[..], b"/x"].concat()] {
            if check_path(&path).is_ok() && !path.is_empty() {
                laws(&spec, &again, &path);
            }
        }
    }
}

fn laws(spec: &Pathspec, again: &Pathspec, path: &[u8]) {
    let dirs = || (0..path.len()).filter(|at| path[*at] == b'/').map(|at| &path[..at]);
    let is_covered = dirs().any(|dir| spec.covers(dir));
    for is_dir in [false, true] {
        let is_match = spec.matches(path, is_dir);
        assert_eq!(
            is_match,
            again.matches(path, is_dir),
            "typed in the root it means something else"
        );
        assert!(is_match || !is_covered, "covered, and not matched");
        if is_match {
            assert!(spec.may_match_below(b""), "nothing may match, and something does");
            assert!(dirs().all(|dir| spec.may_match_below(dir)), "it would not be looked at");
            let is_in = |root: RepoPath| is_within(path, root.as_bytes());
            assert!(spec.roots().into_iter().any(is_in), "outside of all roots");
        }
    }
}

pub(crate) fn pathspec_seeds() -> Vec<Vec<u8>> {
    [
        &b"d\n*.c\n:!x\n:(glob)a/**/b\nd/x.c\nd/a/1/b\nx"[..],
        b"\n:(top,icase)A\n:/b/\n./c\na\nB/x\nc",
        b"a/b\n../c\n:(literal)*\n[a-z]?\na/c/x\na/b/*\na/b/zz",
        b"d[\nx*\n\n\nd[/xy",
        b"\n/abs\n\"q\\303\\244\"\n:^d/\nabs",
    ]
    .map(<[u8]>::to_vec)
    .to_vec()
}

// ---- settings ----------------------------------------------------------------------------------

/// With NULs between them: a key, a value, and the text of a file.
pub(crate) fn config(scratch: &mut Scratch, bytes: &[u8]) {
    let [key, value, text] = pieces(bytes, 0);
    let file = scratch.fresh_dir("config").join("config.toml");
    std::fs::write(&file, text).unwrap();
    let origins = [
        Origin::User(file.clone()),
        Origin::WorkTree(file.clone()),
        Origin::Repository(file.clone()),
    ];
    for origin in &origins {
        if let Ok(config) = Config::of_file(origin) {
            assert!(config.list().all(|(_, text, _)| text.len() <= bytes.len() + 200));
        }
        let (Ok(key), Ok(value), Ok(text)) =
            (std::str::from_utf8(key), std::str::from_utf8(value), std::str::from_utf8(text))
        else {
            continue;
        };
        let Ok(key) = Key::parse(key) else { continue };
        assert_eq!(Key::parse(&key.text()).map(|key| key.text()).ok(), Some(key.text()));
        if let Ok(set) = set_in(text, &key, value, origin) {
            check_set(&set, &key, origin, &file);
        }
        if let Ok(Some(unset)) = unset_in(text, &key, origin) {
            std::fs::write(&file, unset).unwrap();
            assert!(!key.is_set(&Config::of_file(origin).unwrap()), "still set");
        }
    }
}

fn check_set(text: &str, key: &Key, origin: &Origin, file: &std::path::Path) {
    std::fs::write(file, text).unwrap();
    let config = Config::of_file(origin).unwrap();
    let (shown, from) = key.get(&config);
    assert!(key.is_set(&config) && from == *origin, "set, and not set");
    // What is shown can be set, and means the same.
    if let Ok(again) = set_in(text, key, &shown, origin) {
        std::fs::write(file, again).unwrap();
        assert_eq!(key.get(&Config::of_file(origin).unwrap()).0, shown);
    }
    let unset = unset_in(text, key, origin).unwrap().expect("it was set");
    std::fs::write(file, unset).unwrap();
    assert!(!key.is_set(&Config::of_file(origin).unwrap()), "unset, and still set");
}

pub(crate) fn config_seeds() -> Vec<Vec<u8>> {
    [
        &b"performance.batch_size\x0020\0[performance]\nbatch_size = 7 # why\n[ui]\ncolor = \"never\"\n"[..],
        b"alias.x\0log --oneline\0alias = { y = \"!sh\" }\n",
        b"user.name\0 Ada \0user.name = 'B'\n",
        b"performance.max_memory_usage\x001.5 GiB\0performance = { max_memory_usage = \"2 GB\" }\n",
        b"ui.pager\0less\0[hooks]\npre-commit = \"true\"\n[safe]\ndirectories = \"/srv/*:~/x\"\n",
        b"compression.level\0auto\0[compression]\nlevel = 3\n[ignore]\nuse_gitignore = true\n",
    ]
    .map(<[u8]>::to_vec)
    .to_vec()
}
