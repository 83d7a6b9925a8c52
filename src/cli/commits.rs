//! How a commit is shown: its names, its header, in one line, in a format of the user's own.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::commands::time_text;
use super::ui::{Style, Ui, format};
use crate::id::CommitId;
use crate::repo::diff::Endpoint;
use crate::repo::{RepoError, Repository};
use crate::storage::format::object::{Commit, Signature};
use crate::storage::format::refs::Head;

/// Branches and tags by the commit that they name.
#[derive(Debug, Default)]
pub(crate) struct Names(HashMap<CommitId, Vec<String>>);

impl Names {
    /// All of a repository, the branch that is checked out first.
    pub(crate) fn of(repository: &Repository) -> anyhow::Result<Self> {
        let mut names: HashMap<CommitId, Vec<String>> = HashMap::new();
        let head = repository.refs().read_head().map_err(RepoError::from)?;
        if let Head::Detached(id) = head {
            names.entry(id).or_default().push("HEAD".to_owned());
        }
        for (name, record) in repository.refs().list("").map_err(RepoError::from)? {
            let here = names.entry(record.new.commit).or_default();
            match name.split_once('/') {
                Some(("heads", branch)) if head == Head::Branch(branch.to_owned()) => {
                    here.insert(0, format!("HEAD -> {branch}"));
                }
                Some(("heads", branch)) => here.push(branch.to_owned()),
                Some(("tags", tag)) => here.push(format!("tag: {tag}")),
                _ => here.push(name),
            }
        }
        Ok(Self(names))
    }

    /// Those of a commit, with commas between them.
    fn list(&self, id: &CommitId) -> String {
        self.0.get(id).map(|names| names.join(", ")).unwrap_or_default()
    }

    /// Those of a commit in parentheses, after a space.
    pub(crate) fn decoration(&self, id: &CommitId) -> String {
        let list = self.list(id);
        if list.is_empty() { list } else { format!(" ({list})") }
    }
}

/// How commits are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CommitFormat {
    /// A header and the whole message.
    Medium,
    /// The short id and the title.
    Oneline,
    /// A text with placeholders.
    Custom(String),
}

impl CommitFormat {
    /// What `--format` says.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "oneline" => Ok(Self::Oneline),
            "medium" => Ok(Self::Medium),
            _ => {
                let custom = text.strip_prefix("format:").or_else(|| text.strip_prefix("tformat:"));
                match custom {
                    Some(custom) => Ok(Self::Custom(custom.to_owned())),
                    None if text.contains('%') => Ok(Self::Custom(text.to_owned())),
                    None => {
                        Err("'oneline', 'medium', or a text with placeholders such as '%h %s' \
                                 is expected"
                            .to_owned())
                    }
                }
            }
        }
    }

    /// The lines of a commit, without line ends.
    pub(crate) fn lines(
        &self,
        ui: &Ui,
        names: &Names,
        id: &CommitId,
        commit: &Commit,
    ) -> Vec<String> {
        match self {
            Self::Medium => medium(ui, names, id, commit),
            Self::Oneline => {
                let id_text = ui.paint(Style::Caution, &id.short());
                vec![format!("{id_text}{} {}", names.decoration(id), title(commit))]
            }
            Self::Custom(text) => {
                custom(text, names, id, commit).split('\n').map(str::to_owned).collect()
            }
        }
    }
}

/// The first line of the message.
fn title(commit: &Commit) -> String {
    let title = commit.message.lines().next().unwrap_or_default();
    format::printable(title).into_owned()
}

fn medium(ui: &Ui, names: &Names, id: &CommitId, commit: &Commit) -> Vec<String> {
    let head = ui.paint(Style::Caution, &format!("commit {id}"));
    let mut lines = vec![format!("{head}{}", names.decoration(id))];
    if commit.parents.len() > 1 {
        let parents: Vec<String> = commit.parents.iter().map(CommitId::short).collect();
        lines.push(format!("Merge:  {}", parents.join(" ")));
    }
    let Signature { name, email, .. } = &commit.author;
    lines.push(format!("Author: {} <{}>", format::printable(name), format::printable(email)));
    lines.push(format!("Date:   {}", time_text(&commit.author)));
    lines.push(String::new());
    for line in commit.message.lines() {
        lines.push(format!("    {}", format::printable(line)));
    }
    lines
}

/// git's placeholders; unknown ones stay as they are.
fn custom(text: &str, names: &Names, id: &CommitId, commit: &Commit) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some((value, len)) = placeholder(rest, names, id, commit) {
            out.push_str(&format::printable(&value));
            rest = &rest[len..];
        } else {
            out.push('%');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    out
}

/// The value of the placeholder that a text begins with, and its length.
fn placeholder(
    text: &str,
    names: &Names,
    id: &CommitId,
    commit: &Commit,
) -> Option<(String, usize)> {
    let join = |short: bool| {
        let name = |parent: &CommitId| if short { parent.short() } else { parent.to_string() };
        commit.parents.iter().map(name).collect::<Vec<_>>().join(" ")
    };
    let person = |signature: &Signature, what: u8| match what {
        b'n' => Some(signature.name.clone()),
        b'e' => Some(signature.email.clone()),
        b'd' | b'I' => Some(time_text(signature)),
        b't' => Some(signature.seconds.to_string()),
        _ => None,
    };
    let bytes = text.as_bytes();
    let value = match *bytes.get(1)? {
        b'H' => id.to_string(),
        b'h' => id.short(),
        b'T' => commit.tree.to_string(),
        b't' => commit.tree.short(),
        b'P' => join(false),
        b'p' => join(true),
        b's' => commit.message.lines().next().unwrap_or_default().to_owned(),
        b'b' => body(&commit.message).to_owned(),
        b'B' => commit.message.clone(),
        b'D' => names.list(id),
        b'd' => names.decoration(id),
        b'n' => "\n".to_owned(),
        b'%' => "%".to_owned(),
        b'a' => return Some((person(&commit.author, *bytes.get(2)?)?, 3)),
        b'c' => return Some((person(&commit.committer, *bytes.get(2)?)?, 3)),
        b'x' => {
            let digits = text.get(2..4)?;
            let byte = u8::from_str_radix(digits, 16)
                .ok()
                .filter(|byte| matches!(byte, b'\t' | b' '..0x7f))?;
            return Some((char::from(byte).to_string(), 4));
        }
        _ => return None,
    };
    Some((value, 2))
}

/// The message behind its title.
fn body(message: &str) -> &str {
    let rest = message.split_once('\n').map_or("", |(_, rest)| rest);
    rest.trim_start_matches('\n')
}

/// What is compared to show what a commit changed: the tree of its first parent, and its own.
pub(crate) fn endpoints(
    repository: &Repository,
    commit: &Commit,
) -> Result<(Endpoint, Endpoint), RepoError> {
    let old = match commit.parents.first() {
        Some(parent) => Some(repository.objects()?.commit(parent)?.tree),
        None => None,
    };
    Ok((Endpoint::Tree(old), Endpoint::Tree(Some(commit.tree))))
}

/// A commit as JSON.
pub(crate) fn to_json(id: &CommitId, commit: &Commit) -> Value {
    let person = |signature: &Signature| json!({ "name": signature.name, "email": signature.email, "time": time_text(signature) });
    json!({
        "id": id.to_string(),
        "tree": commit.tree.to_string(),
        "parents": commit.parents.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "author": person(&commit.author),
        "committer": person(&commit.committer),
        "time": time_text(&commit.committer),
        "files": commit.files,
        "bytes": commit.bytes,
        "message": commit.message,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::trees::empty_tree;

    fn commit() -> Commit {
        let who = Signature {
            name: "Ada\x1b[2J".into(),
            email: "a@b".into(),
            seconds: 0,
            offset_minutes: 60,
        };
        Commit {
            tree: empty_tree(),
            files: 0,
            bytes: 0,
            parents: vec![CommitId::of(b"p")],
            author: who.clone(),
            committer: who,
            message: "title\n\nbody\nmore".into(),
        }
    }

    #[test]
    fn placeholders_are_those_of_git() {
        let id = CommitId::of(b"x");
        let names = Names(HashMap::from([(id, vec!["HEAD -> main".into(), "tag: v1".into()])]));
        let shown = |text: &str| custom(text, &names, &id, &commit());
        assert_eq!(shown("%h %s"), format!("{} title", id.short()));
        assert_eq!(shown("%an|%ae|%at|%aI"), "Ada\\u{1b}[2J|a@b|0|1970-01-01T01:00:00+01:00");
        assert_eq!(shown("%D%d"), "HEAD -> main, tag: v1 (HEAD -> main, tag: v1)");
        assert_eq!(shown("%b%n%p"), format!("body\nmore\n{}", CommitId::of(b"p").short()));
        assert_eq!(shown("100%% %q %"), "100% %q %");
        assert_eq!(shown("%x2c%x00%xzz"), ",%x00%xzz");
        assert!(CommitFormat::parse("fuller").is_err());
    }
}
