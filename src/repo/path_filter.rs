//! Which paths of committed trees a command is about.

use super::pathspec::Pathspec;
use crate::path::RepoPath;

/// Pathspecs, as commands ask them about trees; without any, everything.
#[derive(Debug, Clone, Default)]
pub struct PathFilter {
    spec: Pathspec,
}

impl PathFilter {
    /// The files and directories with all that lies below them.
    pub fn new(roots: Vec<RepoPath>) -> Self {
        Self { spec: roots.into() }
    }

    /// Whether nothing is left out.
    pub fn is_all(&self) -> bool {
        self.spec.is_all()
    }

    /// The pathspecs.
    pub fn spec(&self) -> &Pathspec {
        &self.spec
    }

    /// The paths, where each is meant with all that lies below it and nothing else is.
    pub fn roots(&self) -> Option<Vec<RepoPath>> {
        let roots = self.spec.roots();
        roots.iter().all(|root| self.spec.covers(root.as_bytes())).then_some(roots)
    }

    /// Whether a path is meant.
    pub fn wants(&self, path: &RepoPath) -> bool {
        self.spec.matches(path.as_bytes(), true)
    }

    /// Whether anything at or below a directory may be meant.
    pub fn enters(&self, dir: &RepoPath) -> bool {
        self.spec.may_match_below(dir.as_bytes())
    }
}

impl From<Pathspec> for PathFilter {
    fn from(spec: Pathspec) -> Self {
        Self { spec }
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
        assert!(filter.enters(&path("a/b")) && filter.enters(&path("a/b/x")));
        assert!(!filter.wants(&path("a/bc")) && !filter.enters(&path("d")));
        assert_eq!(filter.roots(), Some(vec![path("a/b"), path("c")]));
        assert!(PathFilter::default().wants(&path("d")) && PathFilter::default().is_all());
    }
}
