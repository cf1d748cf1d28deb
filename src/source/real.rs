//! Against the configured index: `cargo test --lib source::real -- --ignored --nocapture`.

use super::*;
use crate::python::index;
use crate::release::Catalog;

#[tokio::test]
#[ignore = "needs a package index"]
async fn every_published_component_becomes_a_clean_tree_that_tells_of_itself() {
    let store = Store::open(&std::env::temp_dir().join("baibox-python-test")).unwrap();
    let base = index::configured().or_else(index::default_of_host_pip).expect("skipped: this host has neither an index nor pip");
    let (fetcher, index) = (Fetcher::new(&store).unwrap(), Index::new(&base));
    for branch in Catalog::branches().unwrap() {
        let release = Catalog::release(&branch).unwrap();
        // Others are rows of the catalog alone.
        let Some(lock) = &release.python_lock else { continue };
        let folder = tempfile::tempdir().unwrap();
        let bring = || {
            let trees = release.components.iter().chain(&release.optional).filter(|found| found.file.is_some()).map(|found| {
                let (file, sha256) = (found.file.as_deref().unwrap(), found.sha256.as_ref().unwrap());
                let parts = found.parts.iter().map(|part| (part.project.as_str(), part.file.as_str(), &part.sha256)).collect();
                let component = Component { project: &found.project, file, sha256, parts };
                let into = folder.path().join(&found.name);
                let (branch, fetcher, store, index) = (&branch, &fetcher, &store, &index);
                async move { publish(&component, branch, &into, fetcher, store, index).await.map(|new| (new, into)) }
            });
            futures_util::future::try_join_all(trees)
        };
        let since = std::time::Instant::now();
        let first = bring().await.unwrap();
        eprintln!("{branch}: {} trees in {:.1} s", first.len(), since.elapsed().as_secs_f64());
        assert!(first.iter().all(|(new, _)| *new) && bring().await.unwrap().iter().all(|(new, _)| !new));
        let mut other = Vec::new();
        for (component, (_, tree)) in release.components.iter().zip(&first) {
            let state = state(tree).await.unwrap();
            assert_eq!(
                (state.branch.as_str(), state.dirty, state.unpushed),
                (branch.as_str(), false, false),
                "{}",
                component.name
            );
            let required = requirements(tree, &release.python).unwrap();
            // A tree of one repository, put together from wheels, states none.
            assert_eq!(required.is_none(), release.era == crate::release::Era::Monorepo, "{}", component.name);
            if let Some(required) = required
                && lock.requirements.get(&component.name) != Some(&required)
            {
                other.push(format!("{} = {required:#?}", component.name));
            }
            let metadata = metadata(tree, &component.project).unwrap();
            crate::python::editable::tree(&component.name, &metadata, &crate::python::Layout::new(&release.python))
                .unwrap()
                .check()
                .unwrap();
            let points: usize = metadata.entry_points.values().map(std::collections::BTreeMap::len).sum();
            eprintln!("{} {} at {}: {points} entry points", metadata.name, metadata.version, &state.commit[..12]);
        }
        assert!(other.is_empty(), "the Python lock was resolved for other requirements:\n{}", other.join("\n"));
    }
}
