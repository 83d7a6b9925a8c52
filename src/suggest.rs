//! "Did you mean": the nearest of some known words.

/// Least Jaro-Winkler likeness of a word worth suggesting.
const LIKENESS: f64 = 0.8;

/// The candidate most like `word`, if one is like enough; the first of equals.
pub fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let word = word.to_lowercase();
    let mut best: Option<(f64, &str)> = None;
    for candidate in candidates {
        let likeness = strsim::jaro_winkler(&word, &candidate.to_lowercase());
        if likeness >= LIKENESS && best.is_none_or(|(found, _)| likeness > found) {
            best = Some((likeness, candidate));
        }
    }
    best.map(|(_, candidate)| candidate.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested_and_a_strange_one_is_not() {
        let words = ["status", "stats", "commit", "checkout"];
        assert_eq!(did_you_mean("comit", words).as_deref(), Some("commit"));
        assert_eq!(did_you_mean("STATSU", words).as_deref(), Some("status"));
        assert_eq!(did_you_mean("zebra", words), None);
        assert_eq!(did_you_mean("", words), None);
        assert_eq!(did_you_mean("x", []), None);
    }
}
