//! Which paths a command is about.

use crate::path::RepoPath;

/// Files and directories with all that lies below them; without any, everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PathFilter {
    roots: Vec<RepoPath>,
}

impl PathFilter {
    /// The paths; a root of the work tree among them means everything.
    pub fn new(roots: Vec<RepoPath>) -> Self {
        let is_all = roots.iter().any(RepoPath::is_root);
        Self { roots: if is_all { Vec::new() } else { roots } }
    }

    /// Whether nothing is left out.
    pub fn is_all(&self) -> bool {
        self.roots.is_empty()
    }

    /// The paths as given; none for everything.
    pub fn roots(&self) -> &[RepoPath] {
        &self.roots
    }

    /// Whether a path is meant.
    pub fn wants(&self, path: &RepoPath) -> bool {
        self.is_all() || self.roots.iter().any(|root| path.is_within(root))
    }

    /// Whether anything at or below a directory may be meant.
    pub fn enters(&self, dir: &RepoPath) -> bool {
        self.wants(dir) || self.roots.iter().any(|root| root.is_within(dir))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_on_the_way_are_entered_but_not_meant() {
        let path = |text: &str| RepoPath::new(text).unwrap();
        let filter = PathFilter::new(vec![path("a/b"), path("c")]);
        assert!(filter.enters(&path("a")) && !filter.wants(&path("a")));
        assert!(filter.wants(&path("a/b/x")) && filter.wants(&path("c")));
        assert!(!filter.wants(&path("a/bc")) && !filter.enters(&path("d")));
        assert!(PathFilter::new(vec![path("c"), RepoPath::root()]).wants(&path("d")));
    }
}
