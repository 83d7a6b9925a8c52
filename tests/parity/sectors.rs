//! Sectors that the disk cannot read any more.

use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use digstore::config::Config;
use digstore::progress::NullMonitor;
use digstore::repo::{Place, Repository};
use digstore::storage::disk::{FileSystem, OsDisk, RawFile, RawLock, RealFs};
use digstore::storage::mapped::Mapped;

use crate::common::files_below;
use crate::{SHARD, contents, fixture, large};

/// A file system that cannot read one sector of one file any more.
#[derive(Debug)]
struct BadSector {
    inode: u64,
    sector: Range<u64>,
}

#[derive(Debug)]
struct BadFile(Box<dyn RawFile>, Range<u64>);

impl RawFile for BadFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if offset < self.1.end && offset + buf.len() as u64 > self.1.start {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.0.read_exact_at(buf, offset)
    }

    fn map(&self, _: u64, _: usize) -> Option<io::Result<Mapped>> {
        None
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.append(bytes)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync()
    }
}

impl FileSystem for BadSector {
    fn open(&self, path: &Path) -> io::Result<Box<dyn RawFile>> {
        let file = RealFs.open(path)?;
        let is_bad = fs::metadata(path)?.ino() == self.inode;
        Ok(if is_bad { Box::new(BadFile(file, self.sector.clone())) } else { file })
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn RawFile>> {
        RealFs.create_new(path)
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn RawFile>> {
        RealFs.open_append(path)
    }

    fn rename(&self, from: &Path, to: &Path, replace: bool) -> io::Result<()> {
        RealFs.rename(from, to, replace)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        RealFs.remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealFs.create_dir(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        RealFs.remove_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        RealFs.list(path)
    }

    fn kind(&self, path: &Path) -> io::Result<(bool, u64)> {
        RealFs.kind(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        RealFs.sync_dir(path)
    }

    fn sync_all(&self, path: &Path) -> io::Result<()> {
        RealFs.sync_all(path)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn RawLock>>> {
        RealFs.try_lock(path)
    }
}

#[test]
fn a_sector_that_the_disk_cannot_read_any_more_is_healed() {
    let sandbox = fixture("5%");
    let sound = contents(&sandbox);
    let pack = large(&sandbox);
    let start = 300 * SHARD as u64;
    let inode = fs::metadata(&pack).unwrap().ino();
    let bad = BadSector { inode, sector: start..start + SHARD as u64 };
    let place = Place::at(&sandbox.work);
    let disk = OsDisk::on(&place.repository, Arc::new(bad));
    let config = Config::default();
    let open = Repository::open_on(Arc::new(disk), place, config, Arc::new(NullMonitor::default()));
    let report = open.unwrap().repair(true).unwrap();
    assert!(report.left.is_sound() && report.restored[0].from == "its parity", "{report:?}");
    assert!(contents(&sandbox) == sound);
    // The copy of the damaged pack has all that could be read.
    let mut left = sound[&pack].clone();
    left[300 * SHARD..301 * SHARD].fill(0);
    let kept = files_below(&sandbox.path(".digstore/damaged"));
    assert!(kept.iter().any(|path| fs::read(path).unwrap() == left), "{kept:?}");
}
