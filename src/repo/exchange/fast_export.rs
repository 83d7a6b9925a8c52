//! The stream that `git fast-export` writes, command by command.
//!
//! A pull parser over any reader: it holds one line at a time, and contents are read from the stream
//! by whoever wants them, so that memory is flat whatever the stream says. Any input gives commands
//! or an error, never a panic. The language is that of git-fast-import(1).

mod words;

use std::io::{self, BufRead, Read};

use thiserror::Error;

pub(super) use words::parse_person;
pub use words::quote;
use words::{number, split_word, unquote};

use crate::path::escape;

/// Longest line: two paths of 4,096 bytes, each byte quoted as four, and some room.
const MAX_LINE: usize = 40 << 10;
/// Longest text that is taken in one piece: a message of 1 MiB is the longest that can be stored.
const MAX_TEXT: u64 = 1 << 20;
/// Most parents of one commit.
const MAX_MERGES: usize = 4096;

/// Why a stream cannot be read on.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The reader failed.
    #[error("cannot read the stream of git fast-export")]
    Read(#[from] io::Error),
    /// It ends in the middle.
    #[error("the stream of git fast-export ends too early")]
    Ended,
    /// A line that is not of the language.
    #[error("git fast-export wrote '{}': {why}", escape(line))]
    Syntax {
        /// The line, or its beginning.
        line: Vec<u8>,
        /// What is wrong with it.
        why: &'static str,
    },
}

type Result<T> = std::result::Result<T, ExportError>;

/// What a command refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An object of the stream.
    Mark(u64),
    /// An object id or a name.
    Name(Vec<u8>),
}

/// Who, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Name, in any encoding.
    pub name: Vec<u8>,
    /// E-mail address.
    pub email: Vec<u8>,
    /// Seconds since 1970.
    pub seconds: i64,
    /// Offset of the clock from UTC in minutes.
    pub offset_minutes: i16,
    /// All of it as it was written.
    pub line: Vec<u8>,
}

/// What stands before the data of a blob.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Blob {
    /// Its number in the stream.
    pub mark: Option<u64>,
}

/// A commit, but for its changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitHead {
    /// The ref that it was met on.
    pub reference: Vec<u8>,
    /// Its number in the stream.
    pub mark: Option<u64>,
    /// Its id in git, in hexadecimal digits.
    pub original: Option<Vec<u8>>,
    /// Who wrote it; as the committer where it is left out.
    pub author: Option<Person>,
    /// Who recorded it.
    pub committer: Person,
    /// The encoding that the message says it has, if not UTF-8.
    pub encoding: Option<Vec<u8>>,
    /// Why.
    pub message: Vec<u8>,
    /// The first parent.
    pub from: Option<Target>,
    /// The other parents.
    pub merges: Vec<Target>,
}

/// An annotated tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagHead {
    /// Its name, without `refs/tags/`.
    pub name: Vec<u8>,
    /// Its number in the stream.
    pub mark: Option<u64>,
    /// What it names.
    pub from: Target,
    /// Who made it.
    pub tagger: Option<Person>,
    /// Why.
    pub message: Vec<u8>,
}

/// One command of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A content; [`FastExport::data`] reads it.
    Blob(Blob),
    /// A commit; [`FastExport::next_change`] reads its changes.
    Commit(Box<CommitHead>),
    /// A ref that is set, or that begins anew.
    Reset {
        /// The ref.
        name: Vec<u8>,
        /// Where it is set to.
        from: Option<Target>,
    },
    /// An annotated tag.
    Tag(Box<TagHead>),
}

/// What a path becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A file.
    File {
        /// Whether it is executable.
        executable: bool,
    },
    /// A symbolic link; the content is its target.
    Symlink,
    /// A commit of another repository.
    Gitlink,
    /// A directory.
    Dir,
}

/// Where the content of a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A blob, by mark or by id.
    Object(Target),
    /// It follows; [`FastExport::data`] reads it.
    Inline,
}

/// One change of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The path is this now.
    Modify {
        /// What it is.
        mode: Mode,
        /// Its content.
        source: Source,
        /// The path as git has it.
        path: Vec<u8>,
    },
    /// The path, and all below it, goes.
    Delete(Vec<u8>),
    /// All paths go.
    DeleteAll,
    /// A path is copied.
    Copy(Vec<u8>, Vec<u8>),
    /// A path is renamed.
    Rename(Vec<u8>, Vec<u8>),
}

/// Reads a stream.
pub struct FastExport<R> {
    input: R,
    line: Vec<u8>,
    /// Whether the line was looked at and not taken.
    is_back: bool,
    /// Bytes of the current data that nobody has read.
    left: u64,
    /// Data that ended with a delimiter, read already, and how much of it was handed out.
    delimited: io::Cursor<Vec<u8>>,
    has_data: bool,
    /// Whether the stream said that it would say when it is done.
    wants_done: bool,
}

impl<R: BufRead> FastExport<R> {
    /// At the beginning of a stream.
    pub fn new(input: R) -> Self {
        Self {
            input,
            line: Vec::new(),
            is_back: false,
            left: 0,
            delimited: io::Cursor::default(),
            has_data: false,
            wants_done: false,
        }
    }

    /// The reader.
    pub fn into_inner(self) -> R {
        self.input
    }

    /// The next command; what was not read of the last one is passed over. `None` at the end.
    pub fn next_command(&mut self) -> Result<Option<Command>> {
        while self.next_change()?.is_some() {}
        loop {
            if !self.read_line()? {
                return if self.wants_done { Err(ExportError::Ended) } else { Ok(None) };
            }
            let line = self.line.clone();
            let (word, rest) = split_word(&line);
            match word {
                b"" if rest.is_empty() => {}
                b"blob" => return self.blob().map(Some),
                b"commit" => return self.commit(rest.to_vec()).map(Some),
                b"tag" => return self.tag(rest.to_vec()).map(Some),
                b"reset" => {
                    let from = self.target(b"from ")?;
                    return Ok(Some(Command::Reset { name: rest.to_vec(), from }));
                }
                b"feature" => self.wants_done |= rest == b"done",
                b"option" | b"progress" | b"checkpoint" => {}
                b"done" => return Ok(None),
                _ => return Err(self.syntax("no such command is known")),
            }
        }
    }

    /// The next change of the commit that was met last; `None` behind the last.
    pub fn next_change(&mut self) -> Result<Option<Change>> {
        self.skip_data()?;
        loop {
            if !self.read_line()? {
                return Ok(None);
            }
            let line = self.line.clone();
            let (word, rest) = split_word(&line);
            let change = match word {
                b"M" => self.modify(rest)?,
                b"D" => Change::Delete(self.last_path(rest)?),
                b"C" | b"R" => {
                    let (from, rest) = self.path(rest)?;
                    let to = rest.strip_prefix(b" ").ok_or(self.syntax("a path is missing"))?;
                    let to = self.last_path(to)?;
                    if word == b"C" { Change::Copy(from, to) } else { Change::Rename(from, to) }
                }
                b"deleteall" if rest.is_empty() => Change::DeleteAll,
                b"N" => {
                    if rest.starts_with(b"inline ") {
                        self.begin_data()?;
                        self.skip_data()?;
                    }
                    continue;
                }
                _ => {
                    self.is_back = true;
                    return Ok(None);
                }
            };
            return Ok(Some(change));
        }
    }

    /// The bytes of the blob, or of the content that stands inline.
    pub fn data(&mut self) -> Data<'_, R> {
        Data { stream: self }
    }

    fn blob(&mut self) -> Result<Command> {
        let mark = self.mark()?;
        self.optional(b"original-oid ")?;
        self.begin_data()?;
        Ok(Command::Blob(Blob { mark }))
    }

    fn commit(&mut self, reference: Vec<u8>) -> Result<Command> {
        let mark = self.mark()?;
        let original = self.optional(b"original-oid ")?;
        let author = self.person(b"author ")?;
        let committer = self.person(b"committer ")?;
        let committer = committer.ok_or(self.syntax("the committer is missing"))?;
        while self.optional(b"gpgsig ")?.is_some() {
            self.begin_data()?;
            self.skip_data()?;
        }
        let encoding = self.optional(b"encoding ")?;
        let message = self.text()?;
        let from = self.target(b"from ")?;
        let mut merges = Vec::new();
        while let Some(merge) = self.target(b"merge ")? {
            if merges.len() >= MAX_MERGES {
                return Err(self.syntax("too many parents"));
            }
            merges.push(merge);
        }
        let head = CommitHead {
            reference,
            mark,
            original,
            author,
            committer,
            encoding,
            message,
            from,
            merges,
        };
        Ok(Command::Commit(Box::new(head)))
    }

    fn tag(&mut self, name: Vec<u8>) -> Result<Command> {
        let mark = self.mark()?;
        let from = self.target(b"from ")?;
        let from = from.ok_or(self.syntax("what the tag names is missing"))?;
        self.optional(b"original-oid ")?;
        let tagger = self.person(b"tagger ")?;
        let message = self.text()?;
        Ok(Command::Tag(Box::new(TagHead { name, mark, from, tagger, message })))
    }

    fn modify(&mut self, rest: &[u8]) -> Result<Change> {
        let (mode, rest) = split_word(rest);
        let mode = match mode {
            b"100644" | b"644" | b"100664" => Mode::File { executable: false },
            b"100755" | b"755" => Mode::File { executable: true },
            b"120000" => Mode::Symlink,
            b"160000" => Mode::Gitlink,
            b"040000" => Mode::Dir,
            _ => return Err(self.syntax("an unknown mode")),
        };
        let (object, path) = split_word(rest);
        let path = self.last_path(path)?;
        let source = if object == b"inline" {
            self.begin_data()?;
            Source::Inline
        } else {
            Source::Object(self.target_of(object)?)
        };
        Ok(Change::Modify { mode, source, path })
    }

    // ---- lines -------------------------------------------------------------------------------

    /// Reads the next line; `false` at the end of the stream.
    fn read_line(&mut self) -> Result<bool> {
        if std::mem::take(&mut self.is_back) {
            return Ok(true);
        }
        self.line.clear();
        let limit = MAX_LINE as u64;
        let read = Read::by_ref(&mut self.input).take(limit).read_until(b'\n', &mut self.line)?;
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        } else if read == MAX_LINE {
            self.line.truncate(100);
            return Err(self.syntax("the line is too long"));
        }
        Ok(read > 0)
    }

    fn syntax(&self, why: &'static str) -> ExportError {
        let line = self.line.iter().take(200).copied().collect();
        ExportError::Syntax { line, why }
    }

    /// The rest of the next line if it begins so.
    fn optional(&mut self, prefix: &[u8]) -> Result<Option<Vec<u8>>> {
        if !self.read_line()? {
            return Ok(None);
        }
        let rest = self.line.strip_prefix(prefix).map(<[u8]>::to_vec);
        self.is_back = rest.is_none();
        Ok(rest)
    }

    fn mark(&mut self) -> Result<Option<u64>> {
        match self.optional(b"mark ")? {
            Some(mark) => match self.target_of(&mark)? {
                Target::Mark(mark) => Ok(Some(mark)),
                Target::Name(_) => Err(self.syntax("a mark is a number")),
            },
            None => Ok(None),
        }
    }

    fn target(&mut self, prefix: &[u8]) -> Result<Option<Target>> {
        self.optional(prefix)?.map(|text| self.target_of(&text)).transpose()
    }

    fn target_of(&self, text: &[u8]) -> Result<Target> {
        let Some(digits) = text.strip_prefix(b":") else {
            return Ok(Target::Name(text.to_vec()));
        };
        let mark = number(digits).filter(|mark| *mark > 0);
        mark.map(Target::Mark).ok_or(self.syntax("not a mark"))
    }

    fn person(&mut self, prefix: &[u8]) -> Result<Option<Person>> {
        match self.optional(prefix)? {
            Some(text) => parse_person(&text)
                .map(Some)
                .ok_or(self.syntax("not a name, an address and a time")),
            None => Ok(None),
        }
    }

    /// A path at the start of `text`, and what is behind it.
    fn path<'t>(&self, text: &'t [u8]) -> Result<(Vec<u8>, &'t [u8])> {
        if text.first() == Some(&b'"') {
            return unquote(text).ok_or(self.syntax("the quotes are wrong"));
        }
        Ok(match text.iter().position(|byte| *byte == b' ') {
            Some(end) => (text[..end].to_vec(), &text[end..]),
            None => (text.to_vec(), &[]),
        })
    }

    /// A path that is the rest of the line: without quotes, spaces are part of it.
    fn last_path(&self, text: &[u8]) -> Result<Vec<u8>> {
        if text.first() != Some(&b'"') {
            return Ok(text.to_vec());
        }
        match self.path(text)? {
            (path, []) => Ok(path),
            _ => Err(self.syntax("something stands behind the path")),
        }
    }

    // ---- data --------------------------------------------------------------------------------

    fn begin_data(&mut self) -> Result<()> {
        let size = self.optional(b"data ")?.ok_or(self.syntax("data is missing"))?;
        self.has_data = true;
        if let Some(delimiter) = size.strip_prefix(b"<<") {
            let delimiter = delimiter.to_vec();
            return self.read_delimited(&delimiter);
        }
        self.left = number(&size).ok_or(self.syntax("not a number of bytes"))?;
        Ok(())
    }

    fn read_delimited(&mut self, delimiter: &[u8]) -> Result<()> {
        let mut data = Vec::new();
        loop {
            if !self.read_line()? {
                return Err(ExportError::Ended);
            }
            if self.line == delimiter {
                self.delimited = io::Cursor::new(data);
                return Ok(());
            }
            if (data.len() + self.line.len()) as u64 >= MAX_TEXT {
                return Err(self.syntax("data up to a delimiter is at most 1 MiB long"));
            }
            data.extend_from_slice(&self.line);
            data.push(b'\n');
        }
    }

    /// The data that follows, as a text; what is longer than can be stored is an error.
    fn text(&mut self) -> Result<Vec<u8>> {
        self.begin_data()?;
        if self.left > MAX_TEXT {
            return Err(self.syntax("the message is longer than 1 MiB"));
        }
        let mut text = Vec::new();
        self.data().read_to_end(&mut text)?;
        self.skip_data()?;
        Ok(text)
    }

    /// Passes over what nobody read of the data, and over the line break that may follow it.
    fn skip_data(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.has_data) {
            return Ok(());
        }
        io::copy(&mut self.data(), &mut io::sink())?;
        self.delimited = io::Cursor::default();
        if self.input.fill_buf()?.first() == Some(&b'\n') {
            self.input.consume(1);
        }
        Ok(())
    }
}

/// Reads the data of one command; an end before its last byte is an error.
pub struct Data<'a, R> {
    stream: &'a mut FastExport<R>,
}

impl<R: BufRead> Data<'_, R> {
    /// Bytes that are left of it.
    pub fn left(&self) -> u64 {
        let delimited = &self.stream.delimited;
        self.stream.left + (delimited.get_ref().len() as u64).saturating_sub(delimited.position())
    }
}

impl<R: BufRead> Read for Data<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let stream = &mut *self.stream;
        if stream.left == 0 || buffer.is_empty() {
            return stream.delimited.read(buffer);
        }
        let most = usize::try_from(stream.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = stream.input.read(&mut buffer[..most])?;
        if read == 0 {
            stream.left = 0;
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        stream.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
