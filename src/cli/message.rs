//! Messages and signatures: what commits, merges and tags ask of their author.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;

use super::programs;
use super::signals::{self, Front};
use crate::config::Config;
use crate::repo::{RepoError, Repository};
use crate::storage::format::object::{MAX_MESSAGE, MAX_SIGNATURE_FIELD, Signature};

/// Where a message comes from.
#[derive(Debug, Default, Args)]
pub struct MessageArgs {
    /// The message; each further one is a paragraph.
    #[arg(short, long, value_name = "TEXT", conflicts_with = "file")]
    message: Vec<String>,
    /// Read the message from a file; '-' is standard input.
    #[arg(short = 'F', long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl MessageArgs {
    /// Whether one was given.
    pub(crate) fn is_given(&self) -> bool {
        !self.message.is_empty() || self.file.is_some()
    }

    /// The message that was given, if one was.
    pub(crate) fn given(&self) -> anyhow::Result<Option<String>> {
        if !self.message.is_empty() {
            return Ok(Some(self.message.join("\n\n")));
        }
        let Some(path) = &self.file else { return Ok(None) };
        if path == Path::new("-") {
            return read_limited(std::io::stdin(), "standard input").map(Some);
        }
        let name = path.display().to_string();
        let file = std::fs::File::open(path).with_context(|| format!("cannot read '{name}'"))?;
        read_limited(file, &name).map(Some)
    }

    /// The message that was given, or what the user makes of `draft` in an editor.
    pub(crate) fn read(&self, repository: &Repository, draft: &str) -> anyhow::Result<String> {
        match self.given()? {
            Some(message) => Ok(message),
            None => edit(repository, draft),
        }
    }
}

/// Name and address from the settings.
pub(crate) fn own_identity(config: &Config) -> Option<(String, String)> {
    Some((config.user.name.clone()?, config.user.email.clone()?))
}

/// `--author`, else the settings; now.
pub(crate) fn signature(config: &Config, author: Option<&str>) -> anyhow::Result<Signature> {
    let (name, email) = match author {
        Some(text) => parse_author(text)
            .ok_or_else(|| anyhow!("--author expects 'Name <address>', not '{text}'"))?,
        None => own_identity(config).ok_or(RepoError::NoIdentity)?,
    };
    for (what, field) in [("name", &name), ("e-mail address", &email)] {
        if field.len() > MAX_SIGNATURE_FIELD {
            bail!("the {what} of the author is longer than {MAX_SIGNATURE_FIELD} bytes");
        }
    }
    let now = jiff::Zoned::now();
    let offset_minutes = (now.offset().seconds() / 60) as i16;
    Ok(Signature { name, email, seconds: now.timestamp().as_second(), offset_minutes })
}

fn parse_author(text: &str) -> Option<(String, String)> {
    let (name, rest) = text.split_once('<')?;
    let email = rest.trim_end().strip_suffix('>')?;
    let name = name.trim();
    let sound = !name.is_empty() && !email.contains(['<', '>']) && !text.contains('\n');
    sound.then(|| (name.to_owned(), email.trim().to_owned()))
}

/// Seconds since 1970 and the offset of the clock in minutes.
pub(crate) fn parse_date(text: &str) -> anyhow::Result<(i64, i16)> {
    let date =
        crate::date::parse_date(text).with_context(|| format!("--date cannot be '{text}'"))?;
    Ok((date.seconds, date.offset_minutes))
}

fn read_limited(from: impl Read, name: &str) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    let mut limited = from.take(MAX_MESSAGE as u64 + 1);
    limited
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read the message from {name}"))?;
    if bytes.len() > MAX_MESSAGE {
        return Err(RepoError::BadMessage("longer than 1 MiB").into());
    }
    String::from_utf8(bytes).with_context(|| format!("the message from {name} is not UTF-8"))
}

const EXPLANATION: &str = "\n# Write the message above.\n# Lines that begin with '#' are left out; an empty message ends the command.\n";

/// Lets the user write the message; the file stays in the repository until the next time.
pub(crate) fn edit(repository: &Repository, draft: &str) -> anyhow::Result<String> {
    let path = repository.write_message_template(&format!("{draft}{EXPLANATION}"))?;
    run_editor(&path).map_err(|error| error.context("no message; -m gives one"))?;
    let file =
        std::fs::File::open(&path).with_context(|| format!("cannot read '{}'", path.display()))?;
    let text = read_limited(file, &path.display().to_string())?;
    let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    Ok(kept.join("\n").trim().to_owned())
}

/// Lets the user edit a file.
pub(crate) fn run_editor(path: &Path) -> anyhow::Result<()> {
    let editor = ["DIGSTORE_EDITOR", "VISUAL", "EDITOR"].iter().find_map(std::env::var_os);
    let editor = editor.filter(|editor| !editor.is_empty()).unwrap_or_else(|| OsString::from("vi"));
    signals::leave_to(Front::Editor);
    let status = programs::named_by_user(&editor.to_string_lossy(), &[path.as_os_str()]).status();
    signals::leave_to(Front::Own);
    let status = status
        .with_context(|| format!("cannot start the editor '{}'", editor.to_string_lossy()))?;
    if !status.success() {
        bail!("the editor '{}' failed", editor.to_string_lossy());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authors_are_a_name_and_an_address() {
        assert_eq!(parse_author("A B <a@b>"), Some(("A B".into(), "a@b".into())));
        for text in ["A B", "<a@b>", "A <a", "A <a> b", "A <a<b>>"] {
            assert_eq!(parse_author(text), None, "{text}");
        }
    }
}
