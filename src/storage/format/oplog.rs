//! The log of operations: one record for each command that changed refs, `HEAD` or what is staged.
//!
//! A header, then frames without gaps. A frame is header (magic, length, checksum), payload, and a
//! trailer that repeats length and magic, so that the log can be read from its end. Each frame is
//! durable before the next is begun: what a crash tore is the last one, and it is cut off by the
//! next writer. A record holds where its own frame begins, so that nothing inside another record
//! is taken for one.

use xxhash_rust::xxh3::Xxh3;

use super::bytes::{
    HashLimit, Reader, check_version, push_checksum, push_string, push_varint, split_checksum,
};
use super::refs::{Head, MAX_FULL_NAME, RefValue, check_full_name, push_value, read_value};
use super::{FormatError, Result};
use crate::id::TreeId;

/// Bytes of the log's header.
pub const HEADER_LEN: usize = 24;
/// Bytes of a frame's header.
pub const FRAME_HEADER_LEN: usize = 16;
/// Bytes behind the payload of a frame.
pub const TRAILER_LEN: usize = 8;
/// Most bytes of a payload: some 200,000 refs changed by one operation.
pub const MAX_PAYLOAD: usize = 32 << 20;
/// Longest text in a record, in bytes.
pub const MAX_TEXT: usize = 4096;

const MAGIC: &[u8; 8] = b"DIGOPLG1";
const VERSION: u16 = 1;
/// First bytes of a frame.
pub const FRAME_MAGIC: &[u8; 4] = b"DOPF";
const END_MAGIC: &[u8; 4] = b"FPOD";
const WHAT: &str = "the log of operations";
const RECORD: &str = "a record of the log of operations";

const FLAG_MOVED: u8 = 1;
const FLAG_KEPT: u8 = 2;
const FLAG_WRITTEN: u8 = 4;
const FLAG_MERGED_BEFORE: u8 = 8;
const FLAG_MERGED_AFTER: u8 = 16;
const ALL_FLAGS: u8 =
    FLAG_MOVED | FLAG_KEPT | FLAG_WRITTEN | FLAG_MERGED_BEFORE | FLAG_MERGED_AFTER;

/// Bytes of an empty log.
pub fn encode_header() -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 6]);
    push_checksum(&mut out, 0);
    out
}

/// Checks the first bytes of a log.
pub fn decode_header(bytes: &[u8]) -> Result<()> {
    let head = Reader::new(WHAT, bytes).bytes(HEADER_LEN)?;
    let mut reader = Reader::new(WHAT, head);
    reader.magic(MAGIC)?;
    check_version::<2>(&mut reader, head, VERSION.into())?;
    if reader.array::<6>()? != [0; 6] {
        return Err(reader.invalid("reserved bytes are in use"));
    }
    split_checksum(WHAT, head).map(|_| ())
}

/// What kind of operation a record is about. Numbers are those of other records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpKind {
    /// A command.
    Normal,
    /// `undo` of an operation.
    Undo {
        /// Which.
        of: u64,
    },
    /// `redo` of what an `undo` took back.
    Redo {
        /// The `undo`.
        of: u64,
    },
    /// `op restore`: everything as it was behind an operation.
    Restore {
        /// Which; 0 for the state before the first.
        to: u64,
    },
    /// What a command that did not finish, or another program, left behind.
    Noticed,
}

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpLink {
    /// Its number.
    pub seq: u64,
    /// Where its frame begins in the log.
    pub at: u64,
}

/// A tree of what was staged, with its totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StagedTree {
    /// The tree.
    pub tree: TreeId,
    /// Files and links in it.
    pub files: u64,
    /// Bytes of the files in it.
    pub bytes: u64,
}

/// `HEAD`, the staging area and what waits at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpState {
    /// What `HEAD` named.
    pub head: Head,
    /// What was staged.
    pub staged: StagedTree,
    /// A tree with the state of a merge that waited.
    pub merging: Option<TreeId>,
}

/// How an operation changed one ref.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefChange {
    /// The ref, for instance `heads/main`.
    pub name: String,
    /// Where it pointed; `None` if it was not there.
    pub old: Option<RefValue>,
    /// Where it points; `None` if it is gone.
    pub new: Option<RefValue>,
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpRecord {
    /// Its place in the log.
    pub link: OpLink,
    /// Seconds since 1970-01-01 UTC.
    pub seconds: i64,
    /// Offset of the local clock from UTC, in minutes.
    pub offset_minutes: i16,
    /// Who did it, if the settings name someone.
    pub user: String,
    /// What was done, in one line.
    pub description: String,
    /// What kind of operation it is.
    pub kind: OpKind,
    /// The state that it found.
    pub before: OpState,
    /// The state that it left.
    pub after: OpState,
    /// The refs that it changed, in order of their names, each once.
    pub refs: Vec<RefChange>,
    /// Whether it changed files of the work tree.
    pub moved_work_tree: bool,
    /// What the work tree held before at paths that it overwrote or removed, beyond what was
    /// staged.
    pub kept: Option<TreeId>,
    /// What it wrote in the work tree beyond what is staged: before, each of these paths held what
    /// `kept` has there, or nothing. Of [`OpKind::Noticed`], the tree that a killed command was
    /// bringing the work tree to.
    pub written: Option<TreeId>,
    /// The operation that an `undo` behind this one takes back.
    pub undo: Option<OpLink>,
    /// The `undo` that a `redo` behind this one takes back.
    pub redo: Option<OpLink>,
}

impl OpRecord {
    /// Bytes of the frame; an error if it could not be read back.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut out = vec![0; FRAME_HEADER_LEN];
        self.push(&mut out);
        let len = out.len() - FRAME_HEADER_LEN;
        if len > MAX_PAYLOAD {
            let why = format!("{} refs at once are too many", self.refs.len());
            return Err(FormatError::invalid(RECORD, why));
        }
        Self::decode_payload(&out[FRAME_HEADER_LEN..])?;
        let len = (len as u32).to_le_bytes();
        let (head, payload) = out.split_at_mut(FRAME_HEADER_LEN);
        head[..4].copy_from_slice(FRAME_MAGIC);
        head[4..8].copy_from_slice(&len);
        let sum = frame_sum(&head[..8], payload);
        head[8..].copy_from_slice(&sum.to_le_bytes());
        out.extend_from_slice(&len);
        out.extend_from_slice(END_MAGIC);
        Ok(out)
    }

    fn push(&self, out: &mut Vec<u8>) {
        push_link(out, Some(self.link));
        out.extend_from_slice(&self.seconds.to_le_bytes());
        out.extend_from_slice(&self.offset_minutes.to_le_bytes());
        push_string(out, self.user.as_bytes());
        push_string(out, self.description.as_bytes());
        let (kind, of) = match self.kind {
            OpKind::Normal => (0, 0),
            OpKind::Undo { of } => (1, of),
            OpKind::Redo { of } => (2, of),
            OpKind::Restore { to } => (3, to),
            OpKind::Noticed => (4, 0),
        };
        out.push(kind);
        push_varint(out, of);
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let trees = self.trees();
        let flags = trees.iter().map(|(bit, tree)| flag(tree.is_some(), *bit));
        out.push(flags.fold(flag(self.moved_work_tree, FLAG_MOVED), |all, one| all | one));
        self.before.push(out);
        self.after.push(out);
        for tree in trees.iter().filter_map(|(_, tree)| *tree) {
            out.extend_from_slice(tree.as_bytes());
        }
        push_link(out, self.undo);
        push_link(out, self.redo);
        push_varint(out, self.refs.len() as u64);
        for change in &self.refs {
            push_string(out, change.name.as_bytes());
            push_value(out, change.old.as_ref());
            push_value(out, change.new.as_ref());
        }
    }

    /// The trees that it may name, each with its flag, in their order.
    fn trees(&self) -> [(u8, Option<TreeId>); 4] {
        [
            (FLAG_KEPT, self.kept),
            (FLAG_WRITTEN, self.written),
            (FLAG_MERGED_BEFORE, self.before.merging),
            (FLAG_MERGED_AFTER, self.after.merging),
        ]
    }

    fn decode_payload(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(RECORD, bytes);
        let link = read_link(&mut reader)?.ok_or_else(|| reader.invalid("it has no number"))?;
        let seconds = reader.i64()?;
        let offset_minutes = i16::from_le_bytes(reader.array()?);
        let user = read_text(&mut reader)?;
        let description = read_text(&mut reader)?;
        let kind = read_kind(&mut reader)?;
        let flags = reader.u8()?;
        if flags & !ALL_FLAGS != 0 {
            return Err(reader.invalid(format!("unknown flags {flags:#x}")));
        }
        let mut before = OpState::read(&mut reader)?;
        let mut after = OpState::read(&mut reader)?;
        let mut tree = |flag: u8| -> Result<Option<TreeId>> {
            if flags & flag == 0 { Ok(None) } else { Ok(Some(reader.id()?.into())) }
        };
        let (kept, written) = (tree(FLAG_KEPT)?, tree(FLAG_WRITTEN)?);
        before.merging = tree(FLAG_MERGED_BEFORE)?;
        after.merging = tree(FLAG_MERGED_AFTER)?;
        let (undo, redo) = (read_link(&mut reader)?, read_link(&mut reader)?);
        let refs = read_refs(&mut reader)?;
        reader.finish()?;
        Ok(Self {
            link,
            seconds,
            offset_minutes,
            user,
            description,
            kind,
            before,
            after,
            refs,
            moved_work_tree: flags & FLAG_MOVED != 0,
            kept,
            written,
            undo,
            redo,
        })
    }
}

impl OpState {
    fn push(&self, out: &mut Vec<u8>) {
        self.head.push(out);
        out.extend_from_slice(self.staged.tree.as_bytes());
        push_varint(out, self.staged.files);
        push_varint(out, self.staged.bytes);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let head = Head::read(reader)?;
        let tree = reader.id()?.into();
        let (files, bytes) = (reader.varint()?, reader.varint()?);
        Ok(Self { head, staged: StagedTree { tree, files, bytes }, merging: None })
    }
}

fn push_link(out: &mut Vec<u8>, link: Option<OpLink>) {
    let OpLink { seq, at } = link.unwrap_or(OpLink { seq: 0, at: 0 });
    push_varint(out, seq);
    push_varint(out, at);
}

fn read_link(reader: &mut Reader<'_>) -> Result<Option<OpLink>> {
    let (seq, at) = (reader.varint()?, reader.varint()?);
    match (seq, at) {
        (0, 0) => Ok(None),
        (1.., at) if at >= HEADER_LEN as u64 => Ok(Some(OpLink { seq, at })),
        _ => Err(reader.invalid(format!("record {seq} cannot lie at {at}"))),
    }
}

fn read_text(reader: &mut Reader<'_>) -> Result<String> {
    let bytes = reader.string(MAX_TEXT)?;
    String::from_utf8(bytes.to_vec()).map_err(|_| reader.invalid("a text is not UTF-8"))
}

fn read_kind(reader: &mut Reader<'_>) -> Result<OpKind> {
    let (kind, of) = (reader.u8()?, reader.varint()?);
    match (kind, of) {
        (0, 0) => Ok(OpKind::Normal),
        (1, 1..) => Ok(OpKind::Undo { of }),
        (2, 1..) => Ok(OpKind::Redo { of }),
        (3, to) => Ok(OpKind::Restore { to }),
        (4, 0) => Ok(OpKind::Noticed),
        _ => Err(reader.invalid(format!("unknown kind {kind} of {of}"))),
    }
}

fn read_refs(reader: &mut Reader<'_>) -> Result<Vec<RefChange>> {
    let count = reader.varint()?;
    // The shortest change: a name of three bytes, and one value.
    if count > (reader.remaining() / 38) as u64 {
        return Err(reader.invalid(format!("{count} refs do not fit")));
    }
    let mut refs: Vec<RefChange> = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let name = String::from_utf8(reader.string(MAX_FULL_NAME)?.to_vec());
        let name = name.map_err(|_| reader.invalid("the name of a ref is not UTF-8"))?;
        check_full_name(&name)?;
        if refs.last().is_some_and(|last| last.name >= name) {
            return Err(reader.invalid("its refs are not in order"));
        }
        let (old, new) = (read_value(reader)?, read_value(reader)?);
        if old == new {
            return Err(reader.invalid("a ref did not change"));
        }
        refs.push(RefChange { name, old, new });
    }
    Ok(refs)
}

fn frame_sum(head: &[u8], payload: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(head);
    hasher.update(payload);
    hasher.digest()
}

/// The length of the whole frame that begins with these bytes, its header.
pub fn frame_len(header: &[u8]) -> Result<u64> {
    let mut reader = Reader::new(RECORD, header);
    reader.magic(FRAME_MAGIC)?;
    whole_len(reader.u32()?)
}

/// The length of the whole frame that ends with these bytes, its trailer.
pub fn trailer_len(trailer: &[u8; TRAILER_LEN]) -> Result<u64> {
    let mut reader = Reader::new(RECORD, trailer);
    let len = reader.u32()?;
    reader.magic(END_MAGIC)?;
    whole_len(len)
}

fn whole_len(payload: u32) -> Result<u64> {
    if payload as usize > MAX_PAYLOAD {
        let why = format!("{payload} bytes exceed {MAX_PAYLOAD}");
        return Err(FormatError::invalid(RECORD, why));
    }
    Ok((FRAME_HEADER_LEN + TRAILER_LEN) as u64 + u64::from(payload))
}

/// Reads the frame that begins at `at` in the log and has exactly these bytes.
pub fn decode_frame(frame: &[u8], at: u64) -> Result<OpRecord> {
    let mut reader = Reader::new(RECORD, frame);
    let head = reader.bytes(FRAME_HEADER_LEN)?;
    if frame_len(head)? != frame.len() as u64 {
        return Err(reader.invalid("it has another length"));
    }
    let payload = reader.bytes(frame.len() - FRAME_HEADER_LEN - TRAILER_LEN)?;
    if trailer_len(&reader.array()?)? != frame.len() as u64 {
        return Err(reader.invalid("its two lengths differ"));
    }
    if head[8..] != frame_sum(&head[..8], payload).to_le_bytes() {
        return Err(FormatError::Checksum { what: RECORD });
    }
    let record = OpRecord::decode_payload(payload)?;
    if record.link.at != at {
        return Err(FormatError::invalid(RECORD, "it is a copy from elsewhere in the log"));
    }
    Ok(record)
}

/// The last sound frame that ends in `tail`, the end of the log from `start` on. An error if so much
/// of it looks like frames that not all of it can be checked.
pub fn last_frame(tail: &[u8], start: u64) -> Result<Option<OpRecord>> {
    let mut limit = HashLimit::of(tail.len());
    let ends = (TRAILER_LEN..=tail.len()).rev();
    for end in ends.filter(|end| tail[..*end].ends_with(END_MAGIC)) {
        let Some(frame) = claimed_before(tail, end) else { continue };
        if !limit.allows(frame.len()) {
            return Err(FormatError::invalid(WHAT, "too much at its end looks like records"));
        }
        if let Ok(record) = decode_frame(frame, start + (end - frame.len()) as u64) {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

/// What seems to be a frame that ends at `end`: its header and its trailer agree.
fn claimed_before(tail: &[u8], end: usize) -> Option<&[u8]> {
    let len = trailer_len(tail[..end].last_chunk::<TRAILER_LEN>()?).ok()?;
    let frame = &tail[end.checked_sub(usize::try_from(len).ok()?)?..end];
    (frame_len(frame).ok()? == len).then_some(frame)
}

#[cfg(test)]
pub(in crate::storage) mod tests;
