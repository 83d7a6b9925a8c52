//! Tags: names of commits that stay, with or without an annotation.

use super::source::WorkTreeSource;
use super::{RepoError, Repository, Result};
use crate::id::{CommitId, ObjectId, TagId};
use crate::storage::format::object::Signature;
use crate::storage::format::pack::BlockKind;
use crate::storage::format::refs::check_ref_name;
use crate::storage::format::tag::Tag;
use crate::storage::objects::ObjectSink;
use crate::storage::refs::{RefError, RefValue};

use thiserror::Error;

/// Namespace of the tags.
const TAGS: &str = "tags";

/// One tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagEntry {
    /// Its name, without `tags/`.
    pub name: String,
    /// The commit that it names.
    pub commit: CommitId,
    /// Id and content of its annotation.
    pub annotation: Option<(TagId, Tag)>,
}

/// Why a tag cannot be made or deleted.
#[derive(Debug, Error)]
pub enum TagError {
    /// There is one of that name.
    #[error("tag '{0}' exists already")]
    Exists(String),
    /// There is none of that name.
    #[error("there is no tag '{name}'")]
    NotFound {
        /// The name.
        name: String,
        /// The nearest there is.
        nearest: Option<String>,
    },
}

fn tag_ref(name: &str) -> Result<String> {
    check_ref_name(name).map_err(|source| RepoError::Ref(RefError::Name(source)))?;
    Ok(format!("{TAGS}/{name}"))
}

impl Repository {
    /// All tags, sorted by name.
    pub fn tags(&self) -> Result<Vec<TagEntry>> {
        let listed = self.refs().list(TAGS)?.into_iter();
        let entry = |(name, record): (String, crate::storage::refs::RefRecord)| {
            let name = name.strip_prefix("tags/").unwrap_or(&name).to_owned();
            self.tag_entry(name, record.new)
        };
        listed.map(entry).collect()
    }

    fn tag_entry(&self, name: String, value: RefValue) -> Result<TagEntry> {
        let annotation = match value.annotation {
            Some(id) => Some((id, self.objects()?.tag(&id)?)),
            None => None,
        };
        Ok(TagEntry { name, commit: value.commit, annotation })
    }

    /// Names a commit; with a signature and a message, annotated. With `force`, a tag of that name
    /// is replaced.
    pub fn create_tag(
        &self,
        name: &str,
        target: CommitId,
        annotation: Option<(Signature, String)>,
        force: bool,
    ) -> Result<TagEntry> {
        let full = tag_ref(name)?;
        let mut op = self.begin(format!("tag {name}"))?;
        if op.read_ref(&full)?.is_some() && !force {
            return Err(TagError::Exists(name.to_owned()).into());
        }
        let annotation = annotation.map(|(tagger, message)| {
            self.write_tag(&Tag { name: name.to_owned(), target, tagger, message })
        });
        let annotation = annotation.transpose()?;
        let value = RefValue { commit: target, annotation };
        op.set_ref(&full, Some(value))?;
        op.finish()?;
        self.tag_entry(name.to_owned(), value)
    }

    /// Stores an annotation.
    pub fn write_tag(&self, tag: &Tag) -> Result<TagId> {
        super::commit::check_message(&tag.message)?;
        let root = self.work_tree_handle()?;
        let encoded = tag.encode_checked().map_err(RepoError::Unstorable)?;
        let id = TagId::of(&encoded);
        self.engine()?.write_objects(&WorkTreeSource(&root), |worker| {
            worker.put(BlockKind::Tag, ObjectId::from(id), encoded)
        })?;
        Ok(id)
    }

    /// Deletes tags, all or none; returns where they were.
    pub fn delete_tags(&self, names: &[String]) -> Result<Vec<(String, CommitId)>> {
        let mut op = self.begin(format!("tag -d {}", names.join(" ")))?;
        let mut deleted = Vec::new();
        for name in names {
            let full = tag_ref(name)?;
            let value = op.read_ref(&full)?.ok_or_else(|| self.unknown_tag(name))?;
            op.set_ref(&full, None)?;
            deleted.push((name.clone(), value.commit));
        }
        op.finish()?;
        Ok(deleted)
    }

    fn unknown_tag(&self, name: &str) -> RepoError {
        let names = self.refs().list(TAGS).unwrap_or_default();
        let names = names.iter().filter_map(|(name, _)| name.strip_prefix("tags/"));
        let nearest = crate::suggest::did_you_mean(name, names);
        TagError::NotFound { name: name.to_owned(), nearest }.into()
    }
}
