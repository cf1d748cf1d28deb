//! Restarts services when the sources that they run are saved.

use super::{Context, lifecycle};
use crate::environment::Environment;
use crate::release::{ImageData, Release};
use anyhow::{Context as _, Result};
use notify::{RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Editors write a file in several steps, and tools many files: what follows within this belongs together.
const QUIET: Duration = Duration::from_millis(300);

pub async fn run(context: &Context, environment: &Environment) -> Result<()> {
    let release = environment.release()?;
    let (sender, mut changes) = tokio::sync::mpsc::unbounded_channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if let Ok(event) = event
            && !event.kind.is_access()
        {
            // Nobody listens any more only when the program ends.
            let _ = sender.send(event.paths);
        }
    })
    .context("changes of files cannot be watched")?;
    for component in &release.components {
        let sources = environment.folder.join(&component.name).join("src");
        watcher.watch(&sources, RecursiveMode::Recursive).with_context(|| format!("cannot watch `{}`", sources.display()))?;
    }
    context.ui.say("watching the sources; Ctrl-C ends it, the stack stays");
    while let Some(first) = changes.recv().await {
        let mut paths: BTreeSet<PathBuf> = first.into_iter().collect();
        while let Ok(Some(more)) = tokio::time::timeout(QUIET, changes.recv()).await {
            paths.extend(more);
        }
        let services = services_of(&release, &environment.folder, &paths);
        if services.is_empty() {
            continue;
        }
        // A change that does not start is the user's to mend: the next one is tried again.
        let services: Vec<&str> = services.into_iter().collect();
        if let Err(error) = lifecycle::restart_services(context, environment, &services).await {
            context.ui.warn(&crate::error::render(&error));
        }
    }
    Ok(())
}

/// Services that run one of the changed modules: the one whose program it is of, or else those whose image links its component.
fn services_of<'a>(release: &'a Release, folder: &Path, paths: &BTreeSet<PathBuf>) -> BTreeSet<&'a str> {
    let modules = paths.iter().filter(|path| path.extension().is_some_and(|ending| ending == "py"));
    let changed = modules.filter_map(|path| path.strip_prefix(folder).ok());
    // The workspace runs no program that could be stale.
    let programs: Vec<&ImageData> = release.programs().filter_map(|name| release.image(name)).collect();
    let those = |path: &Path| {
        let linked = |image: &&&'a ImageData| image.links.iter().any(|link| path.starts_with(link));
        let own = |image: &&&'a ImageData| {
            package(image).is_some_and(|package| path.iter().skip(2).collect::<PathBuf>().starts_with(package))
        };
        let linking: Vec<&ImageData> = programs.iter().filter(linked).copied().collect();
        match linking.iter().filter(own).copied().collect::<Vec<_>>() {
            none if none.is_empty() => linking,
            own => own,
        }
    };
    changed.flat_map(those).map(|image| image.name.as_str()).collect()
}

/// Folder of the package whose module a service runs: `ai/backend/manager` for `ai.backend.manager.server`.
fn package(image: &ImageData) -> Option<PathBuf> {
    match image.settings.cmd.as_slice() {
        [_, flag, module, ..] if flag == "-m" => Some(module.rsplit_once('.')?.0.replace('.', "/").into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_module_restarts_what_runs_it() {
        let of = |branch: &str| crate::release::Catalog::release(branch).unwrap();
        let check_in = |release: &Release, path: &str, wanted: &[&str]| {
            let found = services_of(release, Path::new("/e"), &[PathBuf::from(path)].into());
            assert_eq!(found.into_iter().collect::<Vec<_>>(), wanted, "{path}");
        };
        let (components, one) = (of("21.03"), of("25.15"));
        let check = |path: &str, wanted: &[&str]| check_in(&components, path, wanted);
        check("/e/manager/src/ai/backend/manager/server.py", &["manager"]);
        check("/e/common/src/ai/backend/common/types.py", &["agent", "manager", "storage-proxy"]);
        check("/e/client/src/ai/backend/client/session.py", &["webserver"]);
        check("/e/manager/src/x.pyc", &[]);
        check("/elsewhere/manager/src/x.py", &[]);
        let all = ["agent", "app-proxy-coordinator", "app-proxy-worker", "manager", "storage-proxy", "webserver"];
        check_in(&one, "/e/backend.ai/src/ai/backend/common/types.py", &all);
        check_in(&one, "/e/backend.ai/src/ai/backend/manager/api/auth.py", &["manager"]);
        check_in(&one, "/e/backend.ai/src/ai/backend/appproxy/worker/server.py", &["app-proxy-worker"]);
    }
}
