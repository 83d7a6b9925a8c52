//! "Did you mean": the nearest of some known words.

/// Least Jaro-Winkler likeness of a word worth suggesting.
const LIKENESS: f64 = 0.8;
/// What a word counts that differs in one letter, or in two that changed places: short ones are
/// very unlike each other then by Jaro and Winkler.
const ONE_SLIP: f64 = 0.85;
/// Shortest word in which a slip is looked for: of two letters, one is half the word.
const MIN_SLIP: usize = 3;

/// The candidate most like `word`, if one is like enough; the first of equals.
pub fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let word = word.to_lowercase();
    let mut best: Option<(f64, &str)> = None;
    for candidate in candidates {
        let likeness = likeness(&word, &candidate.to_lowercase());
        if likeness >= LIKENESS && best.is_none_or(|(found, _)| likeness > found) {
            best = Some((likeness, candidate));
        }
    }
    best.map(|(_, candidate)| candidate.to_owned())
}

fn likeness(word: &str, candidate: &str) -> f64 {
    let likeness = strsim::jaro_winkler(word, candidate);
    let is_near = word.len() >= MIN_SLIP && word.len().abs_diff(candidate.len()) <= 4;
    if likeness < ONE_SLIP && is_near && strsim::osa_distance(word, candidate) == 1 {
        return ONE_SLIP;
    }
    likeness
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
        assert_eq!(did_you_mean("lgo", ["long", "log"]).as_deref(), Some("log"));
        assert_eq!(did_you_mean("gti", ["git", "tar"]).as_deref(), Some("git"));
        assert_eq!(did_you_mean("ab", ["xb"]), None);
    }
}
