//! Linters as the component's CI runs them, inside the environment.

use super::{Context, Place};
use crate::contrib::{self, Finding, Linter, Pants, State};
use crate::error::Fault;
use crate::render::developed_in;
use crate::source::topic;
use crate::stack;
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// As much of what a linter says is shown.
const LINES: usize = 40;

/// What runs, and over which files; whole commands of workflows name theirs themselves.
#[derive(Default)]
pub struct Linters {
    pub linters: Vec<Linter>,
    pub files: Option<Vec<String>>,
}

impl Linters {
    /// Those that `pants.toml` turns on, over what the branch changes; without that file, those of the workflows.
    pub async fn of(place: &Place, base: &str) -> Result<Self> {
        let path = place.tree.join("pants.toml");
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { linters: contrib::linters(&workflows(place)?), files: None });
            }
            text => text.with_context(|| format!("cannot read `{}`", path.display()))?,
        };
        let Pants { linters, ignored } = Pants::parse(&text)
            .with_context(|| Fault::new(format!("cannot read which linters `{}` turns on", path.display())))?;
        let python = |path: &String| [".py", ".pyi"].iter().any(|end| path.ends_with(end));
        let touched: Vec<String> = topic::touched(&place.tree, base).await?.into_iter().filter(python).collect();
        Ok(Self { linters, files: Some(topic::without(&place.tree, touched, &ignored).await?) })
    }

    /// Nothing is there that they could look at.
    pub fn have_no_files(&self) -> bool {
        self.files.as_ref().is_some_and(Vec::is_empty)
    }

    /// Runs one. What it says of the commit that the branch began at too is upstream's.
    pub async fn run(&self, context: &Context, place: &Place, base: &str, linter: &Linter) -> Result<Finding> {
        let stage = context.ui.stage(linter.name);
        let files = self.files.as_deref().unwrap_or_default();
        let command =
            ["python"].into_iter().chain(linter.arguments.iter().chain(files).map(String::as_str)).collect::<Vec<_>>().join(" ");
        stage.note(&command);
        let (code, said) = inside(place, &place.tree, linter, files).await?;
        if code == Some(0) {
            stage.done("nothing to say");
            return Ok(Finding::good(linter.name, command));
        }
        stage.note(&format!("the same at {base}"));
        let before = tempfile::Builder::new().prefix("lint-").tempdir_in(place.environment.state_folder())?;
        // The account inside is not always the one that made the folder.
        std::fs::set_permissions(before.path(), std::fs::Permissions::from_mode(0o755))?;
        topic::export(&place.tree, base, before.path()).await?;
        let old: Vec<String> = files.iter().filter(|path| before.path().join(path).is_file()).cloned().collect();
        // A linter that is told no files looks at all.
        let known = if self.files.is_some() && old.is_empty() {
            String::new()
        } else {
            inside(place, before.path(), linter, &old).await?.1
        };
        let shown = |folder: &Path| folder.display().to_string();
        let own = contrib::own((&said, &shown(&place.tree)), (&known, &shown(before.path())));
        stage.done(if own.is_empty() { "nothing to say of this branch" } else { "has something to say" });
        if own.is_empty() {
            let what = format!("{command}\n{}", few(said.lines()));
            let mend = format!("nothing: it stands in {base} too");
            return Ok(Finding { state: State::Remark, mend, ..Finding::good(linter.name, what) });
        }
        let what = format!("{command}\n{}", few(own.iter().map(String::as_str)));
        Ok(if linter.advisory {
            Finding {
                state: State::Remark,
                mend: "upstream's CI does not fail for it".into(),
                ..Finding::good(linter.name, what)
            }
        } else {
            Finding::fault(linter.name, what, mend(place, linter, files))
        })
    }
}

/// By hand, or by the linter itself where it can.
fn mend(place: &Place, linter: &Linter, files: &[String]) -> String {
    if linter.mends.is_empty() {
        return "change the lines that it names".into();
    }
    let files: Vec<String> = files.iter().map(|path| place.tree.join(path).display().to_string()).collect();
    let words = linter.mends.join(" ");
    let service = developed_in(&place.named.component.name);
    format!("baibox exec --env {} {service} -- python -m {words} {}", place.environment.id, files.join(" "))
}

/// The component's workflows by name.
fn workflows(place: &Place) -> Result<BTreeMap<String, String>> {
    let folder = place.tree.join(".github/workflows");
    let entries = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        entries => entries.with_context(|| format!("cannot list `{}`", folder.display()))?,
    };
    let mut found = BTreeMap::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "yml" || end == "yaml") {
            let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
            found.insert(path.display().to_string(), text);
        }
    }
    Ok(found)
}

/// Exit code and words of a linter in a folder of the environment.
async fn inside(place: &Place, folder: &Path, linter: &Linter, files: &[String]) -> Result<(Option<i32>, String)> {
    let mut command = stack::compose(&place.environment);
    command
        .args(["exec", "-T", "--user", "dev", "--workdir"])
        .arg(folder)
        // The tree stays as it is.
        .args(["--env", "MYPY_CACHE_DIR=/tmp/mypy", &developed_in(&place.named.component.name), "python"])
        .args(&linter.arguments)
        .args(files);
    let (status, said) = stack::ended(&mut command).await?;
    Ok((status.code(), said.trim().to_owned()))
}

fn few<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let lines: Vec<&str> = lines.collect();
    let more = if lines.len() > LINES { format!("\n… and {} lines more", lines.len() - LINES) } else { String::new() };
    format!("{}{more}", lines[..lines.len().min(LINES)].join("\n"))
}
