//! Sizes in bytes as people write them: `64KB` and `64KiB` are both 65536.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Units from the largest down, each 1024 times the next.
const UNITS: [(u32, &str); 4] = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

/// A text that is not a size.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("'{0}' is not a size such as 4096, 64KB or 2 GiB")]
pub struct ParseSizeError(pub String);

impl ByteSize {
    /// So many KiB.
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    /// So many MiB.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// So many GiB.
    pub const fn gib(count: u64) -> Self {
        Self(count << 30)
    }

    /// So many TiB.
    pub const fn tib(count: u64) -> Self {
        Self(count << 40)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The number of bytes as a length in memory; the largest one where it would not fit.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// The power of two that a unit stands for.
fn unit_shift(unit: &str) -> Option<u32> {
    let unit = unit.to_ascii_lowercase();
    if matches!(unit.as_str(), "" | "b") {
        return Some(0);
    }
    let rest = &unit[unit.chars().next()?.len_utf8()..];
    let known = UNITS.iter().find(|(_, name)| unit[..1].eq_ignore_ascii_case(&name[..1]))?;
    matches!(rest, "" | "b" | "ib").then_some(known.0)
}

/// Reads a size; `None` for anything else and for a number beyond 64 bits.
fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    if !unit.is_ascii() {
        return None;
    }
    number.parse::<u64>().ok()?.checked_mul(1 << unit_shift(unit)?)
}

impl FromStr for ByteSize {
    type Err = ParseSizeError;

    fn from_str(text: &str) -> Result<Self, ParseSizeError> {
        parse(text).map(Self).ok_or_else(|| ParseSizeError(text.to_owned()))
    }
}

impl fmt::Display for ByteSize {
    /// The largest unit that divides the size exactly, so that the text reads back as the same size.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = |shift: u32| self.0 != 0 && self.0.trailing_zeros() >= shift;
        match UNITS.iter().find(|(shift, _)| exact(*shift)) {
            Some((shift, unit)) => write!(f, "{} {unit}", self.0 >> shift),
            None => write!(f, "{} B", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimal_and_binary_names_mean_the_same() {
        for text in ["64KB", "64KiB", "64 kb", "64k", " 65536 ", "65536B"] {
            assert_eq!(text.parse(), Ok(ByteSize::kib(64)), "{text}");
        }
        assert_eq!("10 MB".parse(), Ok(ByteSize::mib(10)));
        assert_eq!("2GB".parse(), Ok(ByteSize::gib(2)));
        assert_eq!("3tib".parse(), Ok(ByteSize::tib(3)));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "KB", "-1", "1.5GB", "1 XB", "1 KiBs", "99999999TB", "1é", "1 é", "+1"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_largest_exact_unit_is_shown() {
        assert_eq!(ByteSize::kib(64).to_string(), "64 KiB");
        assert_eq!(ByteSize::mib(1536).to_string(), "1536 MiB");
        assert_eq!(ByteSize::gib(2).to_string(), "2 GiB");
        assert_eq!(ByteSize(0).to_string(), "0 B");
        assert_eq!(ByteSize(1500).to_string(), "1500 B");
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(bytes in any::<u64>(), shift in 0u32..64) {
            let size = ByteSize(bytes >> shift << (shift / 2));
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }
    }
}
