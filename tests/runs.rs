//! What a run that stores files promises, where the timing cannot be had through the binary.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails the test")]

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use digstore::config::Config;
use digstore::path::RepoPath;
use digstore::progress::NullMonitor;
use digstore::repo::{Place, Repository};
use digstore::storage::engine::{EngineError, FileSource, OpenedFile};
use digstore::storage::format::pack::BlockKind;
use digstore::storage::format::staging::FileStat;
use digstore::storage::objects::ObjectSink;
use tempfile::TempDir;

/// One file with any name.
struct OneFile {
    bytes: Vec<u8>,
}

impl FileSource for OneFile {
    fn open(&self, _: &RepoPath) -> io::Result<OpenedFile> {
        let mut file = tempfile::tempfile()?;
        file.write_all(&self.bytes)?;
        let stat = self.stat(&file)?;
        Ok(OpenedFile { file, stat, is_regular: true, executable: false })
    }

    fn stat(&self, file: &File) -> io::Result<FileStat> {
        let found = file.metadata()?;
        Ok(FileStat { size: found.len(), ino: found.ino(), ..FileStat::default() })
    }
}

fn repository() -> (TempDir, Repository) {
    let dir = TempDir::new().unwrap();
    let place = Place::at(dir.path());
    Repository::init(&place).unwrap();
    (dir, Repository::open(place, Config::default(), Arc::new(NullMonitor::default())).unwrap())
}

#[test]
fn a_run_that_is_stopped_before_its_packs_are_sealed_has_failed() {
    let (_dir, repository) = repository();
    let engine = repository.engine().unwrap();
    let source = OneFile { bytes: Vec::new() };
    for kind in [BlockKind::Data, BlockKind::Commit] {
        let id = kind.id_of(b"bytes");
        let written = engine.write_objects(&source, |worker| {
            worker.put(kind, id, b"bytes".to_vec())?;
            // As Ctrl-C does while the writer seals.
            engine.cancel.cancel();
            Ok(())
        });
        let is_stored = engine.store.contains(&id);
        assert!(matches!(written, Err(EngineError::Interrupted)) && !is_stored, "{written:?}");
    }
}
