//! Which new refs can be made beside those that are there: a ref is a file below directories of
//! its name's components.

use std::collections::{HashMap, HashSet};

use super::{RefChange, RefError, Result};

/// What each component of the names that are there is, by the name in lower case: whether a ref
/// ends there.
type Taken = HashMap<String, (String, bool)>;

/// Refuses new refs that are a directory of refs as well, and such as differ from another in case
/// only: some file systems hold one of them. `names` are all refs before the changes.
pub(super) fn check(names: &[String], changes: &[RefChange]) -> Result<()> {
    let gone = changes.iter().filter(|change| change.new.is_none());
    let gone: HashSet<&str> = gone.map(|change| change.name.as_str()).collect();
    let mut taken = Taken::new();
    for name in names.iter().filter(|name| !gone.contains(name.as_str())) {
        enter(&mut taken, name);
    }
    for change in changes.iter().filter(|change| change.old.is_none() && change.new.is_some()) {
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
