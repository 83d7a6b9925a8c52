//! The bytes of an archive: without their compression, few between two entries, read to their end.
//!
//! Only the end tells that an archive is whole: there stand its end mark and the checksum of its
//! compression. An archive that is cut or damaged is an error, never a shorter archive.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;

/// Most bytes that stand between the contents of two entries: headers, long names, attributes.
const MAX_HEADERS: u64 = 1 << 20;
/// Length of a block; the end mark is two of them full of zeros.
const BLOCK: usize = 512;

/// How a compressed archive begins.
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// How one begins that is not read, and what unpacks it.
const OTHERS: [(&[u8], &str); 3] = [(b"\xfd7zXZ\0", "xz"), (b"BZh", "bzip2"), (b"LZIP", "lzip")];

type Source = Box<dyn Read + Send>;

/// What is known of an archive while it is read.
#[derive(Default)]
pub(super) struct Meter {
    /// How many bytes more may be read.
    budget: Cell<u64>,
    /// Whether the bytes are at their end.
    is_at_end: Cell<bool>,
}

impl Meter {
    /// Headers follow.
    pub(super) fn headers(&self) {
        self.budget.set(MAX_HEADERS);
    }

    /// A content follows.
    pub(super) fn content(&self) {
        self.budget.set(u64::MAX);
    }
}

/// The archive, and its meter.
pub(super) struct Metered<'a> {
    source: Source,
    meter: &'a Meter,
}

impl<'a> Metered<'a> {
    pub(super) fn new(source: Source, meter: &'a Meter) -> io::Result<Self> {
        Ok(Self { source: plain(source)?, meter })
    }

    /// Reads on behind the last entry while `goes_on` says so. An error where the end mark is missing
    /// or the checksum is wrong; tells whether there is anything but zeros behind it.
    ///
    /// Some programs write one block of zeros and not two. That will do at the very end.
    pub(super) fn finish(mut self, goes_on: impl Fn() -> bool) -> io::Result<bool> {
        let wrong = |why: &str| Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
        // The block that ended the entries is read, unless there was none.
        if self.meter.is_at_end.get() {
            return wrong("it is cut short: its end mark is missing");
        }
        self.meter.content();
        let mut second = Vec::new();
        self.by_ref().take(BLOCK as u64).read_to_end(&mut second)?;
        if !is_zeros(&second) {
            return wrong("it is damaged: a block of zeros stands where an entry should");
        }
        let mut holds_more = false;
        let mut buffer = vec![0; 64 << 10];
        while goes_on() {
            match self.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => holds_more |= !is_zeros(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(holds_more)
    }
}

fn is_zeros(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

impl Read for Metered<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.meter.budget.get();
        if left == 0 && !buffer.is_empty() {
            return Err(io::Error::other("the header of an entry is longer than 1 MiB"));
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.source.read(&mut buffer[..most])?;
        self.meter.is_at_end.set(read == 0 && most > 0);
        self.meter.budget.set(left.saturating_sub(read as u64));
        Ok(read)
    }
}

/// The archive without its compression.
fn plain(source: Source) -> io::Result<Source> {
    let mut source = BufReader::with_capacity(256 << 10, source);
    let head = source.fill_buf()?;
    if let Some((_, tool)) = OTHERS.iter().find(|(magic, _)| head.starts_with(magic)) {
        let why = format!(
            "it is compressed by {tool}; give 'digstore import tar -' what '{tool} -dc' writes"
        );
        return Err(io::Error::new(io::ErrorKind::Unsupported, why));
    }
    // A frame that is to be skipped may come first.
    let is_skipped = matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]);
    Ok(if is_skipped || head.starts_with(ZSTD) {
        Box::new(zstd::Decoder::with_buffer(source)?)
    } else if head.starts_with(GZIP) {
        Box::new(Members(Some(GzDecoder::new(source))))
    } else {
        Box::new(source)
    })
}

/// The members of a gzip file, one behind the other. As for gzip(1), zeros behind them are padding.
struct Members<R>(Option<GzDecoder<R>>);

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.0 {
            let read = member.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let Some(mut rest) = self.0.take().map(GzDecoder::into_inner) else { break };
            if rest.fill_buf()?.starts_with(GZIP) {
                self.0 = Some(GzDecoder::new(rest));
            } else {
                skip_zeros(rest)?;
            }
        }
        Ok(0)
    }
}

fn skip_zeros(mut rest: impl BufRead) -> io::Result<()> {
    loop {
        let bytes = rest.fill_buf()?;
        if !is_zeros(bytes) {
            return Err(io::Error::other("something else follows its last gzip member"));
        }
        match bytes.len() {
            0 => return Ok(()),
            read => rest.consume(read),
        }
    }
}
