//! Which new refs can be made beside those that are there, and their places: a ref is a file below
//! directories of its name's components.

use std::collections::{HashMap, HashSet};

use super::{RefChange, RefError, RefStore, Result, ref_path};

/// What each component of the names that are there is, by the name in lower case: whether a ref
/// ends there.
type Taken = HashMap<String, (String, bool)>;

/// Whether a change makes a new ref.
pub(super) fn is_made(change: &RefChange) -> bool {
    change.old.is_none() && change.new.is_some()
}

/// The refs that changes delete.
pub(super) fn gone(changes: &[RefChange]) -> HashSet<&str> {
    let gone = changes.iter().filter(|change| change.new.is_none());
    gone.map(|change| change.name.as_str()).collect()
}

/// Refuses new refs that are a directory of refs as well, and such as differ from another in case
/// only: some file systems hold one of them. `names` are all refs before the changes.
pub(super) fn check(names: &[String], changes: &[RefChange]) -> Result<()> {
    let gone = gone(changes);
    let mut taken = Taken::new();
    for name in names.iter().filter(|name| !gone.contains(name.as_str())) {
        enter(&mut taken, name);
    }
    for change in changes.iter().filter(|change| is_made(change)) {
        check_one(&taken, &change.name)?;
        enter(&mut taken, &change.name);
    }
    Ok(())
}

/// The beginnings of a name that end with a component, and whether it is the whole name.
fn parts(name: &str) -> impl Iterator<Item = (&str, bool)> {
    let above = name.match_indices('/').map(|(slash, _)| (&name[..slash], false));
    above.chain([(name, true)])
}

fn enter(taken: &mut Taken, name: &str) {
    for (part, is_ref) in parts(name) {
        taken.entry(part.to_lowercase()).or_insert_with(|| (part.to_owned(), is_ref));
    }
}

fn check_one(taken: &Taken, name: &str) -> Result<()> {
    for (part, is_whole) in parts(name) {
        let Some((other, is_ref)) = taken.get(&part.to_lowercase()) else { return Ok(()) };
        let name = name.to_owned();
        if other != part {
            return Err(RefError::Twin { name, other: other.clone() });
        }
        if is_whole || *is_ref {
            let other = if *is_ref { other.clone() } else { format!("{other}/") };
            return Err(RefError::Clash { name, other });
        }
    }
    Ok(())
}

impl RefStore {
    /// Refuses a new ref in whose way a file lies that is no ref, as file managers leave them;
    /// the files of the refs that are `gone` will not be there.
    pub(super) fn check_room(&self, name: &str, gone: &HashSet<&str>) -> Result<()> {
        for (above, _) in parts(name).filter(|(_, is_whole)| !is_whole) {
            if self.is_file(above)? {
                let is_gone = gone.contains(above);
                return if is_gone { Ok(()) } else { Err(self.in_the_way(name, above)) };
            }
        }
        self.check_below(name, name, gone)
    }

    fn check_below(&self, name: &str, dir: &str, gone: &HashSet<&str>) -> Result<()> {
        for child in self.entries(dir)?.unwrap_or_default() {
            let child = format!("{dir}/{child}");
            if gone.contains(child.as_str()) {
                continue;
            }
            if self.is_file(&child)? {
                return Err(self.in_the_way(name, &child));
            }
            self.check_below(name, &child, gone)?;
        }
        Ok(())
    }

    /// Removes the empty directories in the place of a new ref.
    pub(super) fn make_room(&self, name: &str, gone: &HashSet<&str>) -> Result<()> {
        let Some(children) = self.entries(name)? else { return Ok(()) };
        let children = children.into_iter().map(|child| format!("{name}/{child}"));
        for child in children.filter(|child| !gone.contains(child.as_str())) {
            self.make_room(&child, gone)?;
        }
        self.disk.remove_empty_dir(&ref_path(name))?;
        Ok(())
    }

    /// Makes the directory of a new ref, unless a ref that will be `gone` is in its place as yet.
    pub(super) fn make_dir(&self, name: &str, gone: &HashSet<&str>) -> Result<()> {
        let is_late = parts(name).any(|(part, is_whole)| !is_whole && gone.contains(part));
        match ref_path(name).parent() {
            Some(parent) if !is_late => Ok(self.disk.create_dir(parent)?),
            _ => Ok(()),
        }
    }

    fn is_file(&self, name: &str) -> Result<bool> {
        Ok(matches!(self.disk.file_kind(&ref_path(name))?, Some((false, _))))
    }

    fn in_the_way(&self, name: &str, other: &str) -> RefError {
        RefError::InTheWay { name: name.to_owned(), file: self.disk.root().join(ref_path(other)) }
    }
}
