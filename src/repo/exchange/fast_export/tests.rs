use proptest::prelude::*;

use super::*;

/// A command, the content of a blob, and the changes of a commit with theirs.
type Met = (Command, Vec<u8>, Vec<(Change, Vec<u8>)>);

/// Every command and every change of a stream, contents and all.
fn all(text: &[u8]) -> Result<Vec<Met>> {
    let mut stream = FastExport::new(text);
    let mut found = Vec::new();
    while let Some(command) = stream.next_command()? {
        let mut data = Vec::new();
        let mut changes = Vec::new();
        if matches!(command, Command::Blob(_)) {
            stream.data().read_to_end(&mut data)?;
        }
        if matches!(command, Command::Commit(_)) {
            while let Some(change) = stream.next_change()? {
                let mut inline = Vec::new();
                if matches!(&change, Change::Modify { source: Source::Inline, .. }) {
                    stream.data().read_to_end(&mut inline)?;
                }
                changes.push((change, inline));
            }
        }
        found.push((command, data, changes));
    }
    Ok(found)
}

#[test]
fn every_command_is_understood() {
    let text = b"feature done\noption git quiet\nreset refs/heads/a\nblob\nmark :1\n\
        original-oid 0123\ndata 4\na\nb\n\nblob\nmark :2\ndata <<END\none\ntwo\nEND\n\
        progress half\ncheckpoint\n\ncommit refs/heads/a\nmark :3\noriginal-oid 4567\n\
        author A B <a@b> 10 +0130\ncommitter <c> -5 -0200\ngpgsig sha1 openpgp\ndata 3\nsig\n\
        encoding latin1\ndata 2\nhi\nfrom :9\nmerge :8\nmerge 0abc\n\
        M 100755 :1 a b\nM 120000 :2 \"q\\\"\\303\\251\\n\"\nM 100644 inline x\ndata 1\nz\n\
        N inline :1\ndata 2\nxx\nD gone dir\nR \"o l d\" new one\nC a b\ndeleteall\n\
        M 160000 0123 sub\nM 040000 4567 d\n\ntag v1\nmark :4\nfrom :3\noriginal-oid 89\n\
        tagger T <t@t> 7 +0000\ndata 0\n\nreset refs/tags/l\nfrom :3\n\ndone\n";
    let found = all(text).unwrap();
    assert_eq!(found.len(), 6);
    assert_eq!(found[0].0, Command::Reset { name: b"refs/heads/a".to_vec(), from: None });
    assert_eq!(found[1].1, b"a\nb\n");
    assert_eq!(found[2].1, b"one\ntwo\n");
    let (Command::Commit(head), _, changes) = &found[3] else { panic!("{found:?}") };
    let author = head.author.as_ref().unwrap();
    assert_eq!((author.name.as_slice(), author.offset_minutes), (&b"A B"[..], 90));
    assert_eq!((head.committer.seconds, head.committer.offset_minutes), (-5, -120));
    assert_eq!(head.message, b"hi");
    assert_eq!(head.merges, [Target::Mark(8), Target::Name(b"0abc".to_vec())]);
    let paths: Vec<_> = changes.iter().map(|(change, _)| format!("{change:?}")).collect();
    assert_eq!(changes.len(), 9, "{paths:?}");
    let Change::Modify { path, mode, .. } = &changes[1].0 else { panic!("{paths:?}") };
    assert_eq!((path.as_slice(), *mode), ("q\"é\n".as_bytes(), Mode::Symlink));
    assert_eq!(changes[2].1, b"z");
    assert_eq!(changes[3].0, Change::Delete(b"gone dir".to_vec()));
    assert_eq!(changes[4].0, Change::Rename(b"o l d".to_vec(), b"new one".to_vec()));
    let (Command::Tag(tag), ..) = &found[4] else { panic!("{found:?}") };
    assert_eq!((tag.from.clone(), tag.mark), (Target::Mark(3), Some(4)));
    let from = Some(Target::Mark(3));
    assert_eq!(found[5].0, Command::Reset { name: b"refs/tags/l".to_vec(), from });
}

#[test]
fn what_is_cut_short_or_wrong_is_an_error() {
    let refused: [&[u8]; 12] = [
        b"feature done\n",
        b"blob\nmark :1\ndata 5\nab",
        b"blob\nmark :0\ndata 0\n",
        b"blob\ndata x\n",
        b"blob\ndata <<E\nabc\n",
        b"commit a\ndata 0\n",
        b"commit a\ncommitter <a> x +0000\ndata 0\n",
        b"commit a\ncommitter <a> 1 +0000\ndata 9999999\n",
        b"commit a\ncommitter <a> 1 +0000\ndata 0\nM 1 :1 a\n",
        b"commit a\ncommitter <a> 1 +0000\ndata 0\nD \"a\n",
        b"commit a\ncommitter <a> 1 +0000\ndata 0\nD \"\\9\"\n",
        b"walk\n",
    ];
    for text in refused {
        assert!(all(text).is_err(), "{}", escape(text));
    }
    assert!(all(&[b'x'; MAX_LINE + 1]).is_err());
}

/// Words of the language, so that arbitrary streams get somewhere.
fn words() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        "blob\n",
        "mark :1\n",
        "data 3\n",
        "data <<E\n",
        "E\n",
        "abc",
        "\n",
        "commit x\n",
        "committer <a> 1 +0000\n",
        "author a <b> 9 -9999\n",
        "from :1\n",
        "merge :2\n",
        "M 100644 inline ",
        "M 120000 :1 ",
        "D ",
        "R ",
        "\"a\\303\" ",
        "deleteall\n",
        "tag t\n",
        "reset r\n",
        "done\n",
        "feature done\n",
        "data 0\n",
        "N inline x\n",
        "gpgsig a\n",
        " ",
    ];
    let word = prop_oneof![
        prop::sample::select(words.to_vec()).prop_map(|word| word.as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 0..9),
    ];
    proptest::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn any_bytes_give_commands_or_an_error(text in words()) {
        let _ = all(&text);
    }

    #[test]
    fn a_quoted_path_is_the_same_path(path in proptest::collection::vec(any::<u8>(), 1..40)) {
        let text = [b"commit a\ncommitter <a> 1 +0000\ndata 0\nD ", quote(&path).as_slice(), b"\n"].concat();
        let found = all(&text).unwrap();
        prop_assert_eq!(&found[0].2[0].0, &Change::Delete(path));
    }
}
