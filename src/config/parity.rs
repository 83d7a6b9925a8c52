//! The setting that says how much parity packs get.

use std::ops::RangeInclusive;

use toml::Value;

use super::value::Setting;

/// Which packs get parity, and how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Parity {
    /// None.
    #[default]
    None,
    /// Those of trees, chunk lists and commits: as much as there is of them.
    Metadata,
    /// Those too, and so many percent for those of files' content.
    Share(u8),
}

impl Setting for Parity {
    type Bounds = RangeInclusive<u8>;
    const QUOTED: bool = true;

    fn parse(text: &str, bounds: &Self::Bounds) -> Option<Self> {
        let text = text.trim();
        match text.to_ascii_lowercase().as_str() {
            "none" => Some(Self::None),
            "metadata" => Some(Self::Metadata),
            share => {
                let percent = share.strip_suffix('%')?.trim_end().parse().ok()?;
                bounds.contains(&percent).then_some(Self::Share(percent))
            }
        }
    }

    fn show(&self) -> String {
        match self {
            Self::None => "none".to_owned(),
            Self::Metadata => "metadata".to_owned(),
            Self::Share(percent) => format!("{percent}%"),
        }
    }

    fn expects(bounds: &Self::Bounds) -> String {
        format!("'none', 'metadata' or a share from {}% to {}%", bounds.start(), bounds.end())
    }

    fn fits(value: &Value) -> bool {
        value.is_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_written_with_its_sign() {
        let parse = |text: &str| Parity::parse(text, &(1..=100));
        for (text, parity) in [
            ("none", Parity::None),
            ("Metadata", Parity::Metadata),
            ("5%", Parity::Share(5)),
            ("100 %", Parity::Share(100)),
        ] {
            assert_eq!(parse(text), Some(parity));
            assert_eq!(parse(&parity.show()), Some(parity));
        }
        for text in ["", "5", "0%", "101%", "300%", "-1%", "5.5%", "%", "all"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
