//! Archives made by hand, so that they may be as wrong as wanted.

/// Kind of entry, name, target of a link, content.
pub(crate) type Entry<'a> = (u8, &'a [u8], &'a [u8], &'a [u8]);

/// What stands in a header as the format.
pub(crate) const V7: &[u8] = b"";
pub(crate) const USTAR: &[u8] = b"ustar\x0000";
pub(crate) const GNU: &[u8] = b"ustar  \0";

/// Length of a block.
pub(crate) const BLOCK: usize = 512;

/// The header of an entry of `size` bytes.
pub(crate) fn header(format: &[u8], kind: u8, name: &[u8], target: &[u8], size: usize) -> Vec<u8> {
    let mut header = vec![0; BLOCK];
    header[..name.len()].copy_from_slice(name);
    header[100..108].copy_from_slice(b"0000755\0");
    header[136..148].copy_from_slice(b"00000000000\0");
    header[156] = kind;
    header[157..157 + target.len()].copy_from_slice(target);
    header[257..257 + format.len()].copy_from_slice(format);
    set_size(&mut header, format!("{size:011o}\0").as_bytes());
    header
}

/// States the size of the first entry, in whatever way, and makes the checksum of its header fit.
pub(crate) fn set_size(archive: &mut [u8], size: &[u8]) {
    archive[124..136].copy_from_slice(size);
    archive[148..156].fill(b' ');
    let sum: u32 = archive[..BLOCK].iter().map(|byte| u32::from(*byte)).sum();
    archive[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// Adds content, in whole blocks.
pub(crate) fn append(archive: &mut Vec<u8>, content: &[u8]) {
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
}

/// The entries of an archive, without an end mark.
pub(crate) fn entries(format: &[u8], entries: &[Entry<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, name, target, content) in entries {
        out.extend(header(format, *kind, name, target, content.len()));
        append(&mut out, content);
    }
    out
}

/// An archive without its end mark, with it.
pub(crate) fn ended(mut archive: Vec<u8>) -> Vec<u8> {
    archive.resize(archive.len() + 2 * BLOCK, 0);
    archive
}
