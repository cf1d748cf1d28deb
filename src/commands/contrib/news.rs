use super::{Context, keep, place};
use crate::cli::News;
use crate::contrib::{Towncrier, sentence};
use crate::error::Fault;
use crate::store::write_atomically;
use anyhow::{Context as _, Result};
use std::path::Path;

pub async fn run(context: &Context, options: &News) -> Result<()> {
    let place = place(context, &options.worked).await?;
    let towncrier = configured(&place.tree)?.ok_or_else(|| {
        Fault::new(format!("{} has no `[tool.towncrier]` in its pyproject.toml: it takes no news", place.named.name))
            .hint("write what changed into the pull request's text")
    })?;
    let kind = match towncrier.kind(&options.kind) {
        Ok(kind) => kind,
        Err(finding) => return keep(finding).map_err(Into::into),
    };
    if options.number == 0 {
        return Err(Fault::usage("0 is no pull request's number").hint("open the pull request first; it has one then").into());
    }
    let folder = place.tree.join(&towncrier.folder);
    let beside = names(&folder)?;
    let name = towncrier.file_name(options.number, kind, beside.iter().map(String::as_str));
    let (path, shown) = (folder.join(&name), format!("{}/{name}", towncrier.folder));
    let text = options.text.trim();
    if let Err(finding) = sentence(&shown, text) {
        return keep(finding).map_err(Into::into);
    }
    let line = format!("{text}\n");
    match std::fs::read_to_string(&path) {
        Ok(there) if there == line => {}
        Ok(there) => {
            return Err(Fault::new(format!("`{shown}` is there and says: {}", there.trim()))
                .hint(format!("change it by hand, or remove it first: rm {}", path.display()))
                .into());
        }
        Err(_) => write_atomically(&path, line.as_bytes()).with_context(|| format!("cannot write `{}`", path.display()))?,
    }
    context.print(&path, &path.display().to_string())?;
    let tree = place.tree.display();
    context
        .ui
        .say(&format!("commit it: git -C {tree} add {shown} && git -C {tree} commit --message 'doc: Add the news fragment'"));
    Ok(())
}

/// What the tree says of its news: `towncrier.toml` stands before `pyproject.toml`.
pub fn configured(tree: &Path) -> Result<Option<Towncrier>> {
    for name in ["towncrier.toml", "pyproject.toml"] {
        let path = tree.join(name);
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            text => text.with_context(|| format!("cannot read `{}`", path.display()))?,
        };
        let found =
            Towncrier::parse(&text).with_context(|| Fault::new(format!("cannot read what `{}` says of news", path.display())))?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn names(folder: &Path) -> Result<Vec<String>> {
    match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => {
            let entries = entries.with_context(|| format!("cannot list `{}`", folder.display()))?;
            entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
        }
    }
}
