//! What removes a package from the layers below, so that the image is as if it never was there.

use super::Builder;
use crate::model::Digest;
use crate::oci::{Node, Tree};
use crate::python::{BYTE_CODE, Layout};
use crate::store::Store;
use anyhow::{Context, Result};
use std::collections::BTreeSet;

impl Builder {
    /// Whiteouts for what packages that stay do not have; each is asked only while that is open.
    pub(super) async fn without(&self, package: &Digest, stay: &[Digest], python: &str) -> Result<Tree> {
        let content = |key: &Digest| Ok(self.fragment(key).context("a package is missing")?.content);
        let package = content(package)?;
        let stay = stay.iter().map(content).collect::<Result<Vec<_>>>()?;
        let (store, layout) = (self.store.clone(), Layout::new(python));
        tokio::task::spawn_blocking(move || {
            let mut stay = stay.iter().map(|fragment| paths(&store, fragment));
            whiteouts(&paths(&store, &package)?, || stay.next().transpose(), &layout)
        })
        .await?
    }
}

/// The files of a fragment, from the store if they were asked before.
fn paths(store: &Store, fragment: &Digest) -> Result<Vec<String>> {
    let key = Digest::of_value(&("paths", fragment));
    if let Some(known) = store.action(&key) {
        return Ok(known);
    }
    let mut archive = tar::Archive::new(std::io::BufReader::with_capacity(1 << 18, store.reader(fragment)?));
    let paths = archive.entries()?.map(|entry| Ok(Tree::normal_path(std::str::from_utf8(&entry?.path_bytes())?)?));
    let paths = paths.collect::<Result<_>>()?;
    store.record_action(&key, &paths)?;
    Ok(paths)
}

/// Of files that go, what no other has: whole folders where nothing in them stays, byte code with its module.
fn whiteouts(gone: &[String], mut next: impl FnMut() -> Result<Option<Vec<String>>>, layout: &Layout) -> Result<Tree> {
    let mut stay = BTreeSet::new();
    // What packages lie in is there without them.
    for folder in [layout.scripts(), layout.site_packages(), format!("{BYTE_CODE}/{}", layout.site_packages())] {
        keep(&mut stay, &folder);
    }
    // Most packages have nothing below these.
    let tops: BTreeSet<String> = gone.iter().filter_map(|path| highest(path, &stay)).collect();
    let is_near = |path: &str| {
        let below = |top: &String| path.strip_prefix(top.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        tops.iter().any(below)
    };
    // No other package has a file in the folder that says what this one is.
    let mut open: BTreeSet<&String> = gone.iter().filter(|path| !path.contains(".dist-info/")).collect();
    while !open.is_empty()
        && let Some(paths) = next()?
    {
        for path in paths.iter().filter(|path| is_near(path)) {
            open.remove(path);
            keep(&mut stay, path);
            layout.byte_code(path).into_iter().for_each(|code| keep(&mut stay, &code));
        }
    }
    let codes = gone.iter().filter_map(|path| layout.byte_code(path));
    let removed: BTreeSet<String> = gone.iter().cloned().chain(codes).filter_map(|path| highest(&path, &stay)).collect();
    let mut tree = Tree::default();
    for path in removed {
        tree.insert(&path, Node::Removed)?;
    }
    Ok(tree)
}

/// Notes a path and the folders that it is in.
fn keep(stay: &mut BTreeSet<String>, path: &str) {
    let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
    stay.extend(ends.map(|end| path[..end].to_owned()));
}

/// The highest on the way to a path that does not stay.
fn highest(path: &str, stay: &BTreeSet<String>) -> Option<String> {
    let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
    ends.map(|end| &path[..end]).find(|part| !stay.contains(*part)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(gone: &[&str], stay: &[&[&str]], removed: &[&str]) {
        let site = |paths: &[&str]| -> Vec<String> {
            paths.iter().map(|path| format!("opt/venv/lib/python3.9/site-packages/{path}")).collect()
        };
        let mut all = stay.iter();
        let tree = whiteouts(&site(gone), || Ok(all.next().map(|paths| site(paths))), &Layout::new("3.9")).unwrap();
        let found = tree.iter().map(|(path, node)| {
            assert_eq!(node, &Node::Removed);
            path.replace("opt/venv/lib/python3.9/site-packages", "…").replace(BYTE_CODE, "code")
        });
        assert_eq!(found.collect::<Vec<_>>(), removed);
    }

    #[test]
    fn what_no_package_has_any_more_goes_with_its_byte_code() {
        let old = ["x/__init__.py", "x/old.py", "x/more/a.py", "x/more/b.txt", "x-1.dist-info/RECORD"];
        check(
            &old,
            &[&["x/__init__.py", "x/new.py", "x-2.dist-info/RECORD"]],
            &["…/x-1.dist-info", "…/x/more", "…/x/old.py", "code/…/x/more", "code/…/x/old.cpython-39.pyc"],
        );
        check(&old, &[], &["…/x", "…/x-1.dist-info", "code/…/x"]);
    }

    #[test]
    fn what_another_package_has_too_stays() {
        let old = ["tests/__init__.py", "tests/x.py", "x-1.dist-info/RECORD"];
        check(
            &old,
            &[&["x-2.dist-info/RECORD"], &["tests/__init__.py", "tests/y.py"]],
            &["…/tests/x.py", "…/x-1.dist-info", "code/…/tests/x.cpython-39.pyc"],
        );
        // Names that only begin alike, and modules without a folder.
        check(
            &["one.py", "two/a.py", "x-1.dist-info/RECORD"],
            &[&["one.pyi", "two_more/a.py", "x-2.dist-info/RECORD"], &["two/b/c.py"]],
            &["…/one.py", "…/two/a.py", "…/x-1.dist-info", "code/…/one.cpython-39.pyc", "code/…/two/a.cpython-39.pyc"],
        );
    }
}
