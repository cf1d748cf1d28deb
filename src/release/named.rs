//! What a person names to work on: a component, or a part of the one repository.

use super::{Catalog, Component, Era, Release};
use crate::error::Fault;
use anyhow::Result;
use std::collections::BTreeSet;

/// A component as it was named, or one of those that the one repository holds.
#[derive(Clone, Debug)]
pub struct Named {
    pub name: String,
    /// The one with the tree.
    pub component: Component,
    /// Where its code is in the tree; `None` where the whole tree is meant.
    pub code: Option<String>,
}

impl Named {
    /// A component with its whole tree.
    pub fn whole(component: &Component) -> Self {
        Self { name: component.name.clone(), component: component.clone(), code: None }
    }

    /// Folders of the tree where its tests may be: upstream calls them by the component or by its Python package,
    /// and has moved them.
    pub fn tests(&self) -> Vec<String> {
        let Some(code) = &self.code else { return vec!["tests".into()] };
        let package = code.rsplit('/').next().unwrap_or(code);
        let names = BTreeSet::from([self.name.as_str(), package]);
        ["tests", "tests/unit"].iter().flat_map(|folder| names.iter().map(move |name| format!("{folder}/{name}"))).collect()
    }

    /// Whether a file of the tree is its code or one of its tests.
    pub fn holds(&self, path: &str) -> bool {
        let below =
            |folder: &String| path.strip_prefix(folder.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        match &self.code {
            None => true,
            Some(code) => below(code) || self.tests().iter().any(below),
        }
    }
}

impl Release {
    /// The component, or the part of the one repository, of a name.
    pub fn named(&self, name: &str) -> Result<Named> {
        let components = || self.components.iter().chain(&self.optional);
        if let Some(component) = components().find(|component| component.name == name) {
            return Ok(Named::whole(component));
        }
        let parts = self.parts()?;
        if let Some(part) = parts.iter().find(|part| part.name == name) {
            return Ok(part.clone());
        }
        let known: Vec<&str> =
            components().map(|one| &one.name).chain(parts.iter().map(|part| &part.name)).map(String::as_str).collect();
        Err(Fault::usage(format!("release {} has no component `{name}`", self.branch))
            .hint(format!("it has {}", known.join(", ")))
            .into())
    }

    /// What the one repository holds; nothing where each component has its own.
    pub fn parts(&self) -> Result<Vec<Named>> {
        let (Era::Monorepo, [tree]) = (self.era, self.components.as_slice()) else { return Ok(Vec::new()) };
        let row = Catalog::row(&self.branch)?;
        // Some lie in several folders side by side: `…/appproxy/{common,worker}`.
        let folder = |code: &str| code.split('{').next().unwrap_or(code).trim_end_matches('/').to_owned();
        let parts = row.components.iter().filter(|(_, code)| code.contains('/'));
        Ok(parts.map(|(name, code)| Named { name: name.clone(), component: tree.clone(), code: Some(folder(code)) }).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_the_one_repository_are_found_by_name_and_by_path() {
        let release = Catalog::release("25.15").unwrap();
        let named = |name: &str| release.named(name).unwrap();
        assert_eq!(named("storage-proxy").component.name, "backend.ai");
        assert_eq!(
            named("storage-proxy").tests(),
            ["tests/storage", "tests/storage-proxy", "tests/unit/storage", "tests/unit/storage-proxy"]
        );
        assert_eq!(named("backend.ai").tests(), ["tests"]);
        for (name, path, expected) in [
            ("manager", "src/ai/backend/manager/server.py", true),
            ("manager", "src/ai/backend/manager", true),
            ("manager", "tests/unit/manager/test_x.py", true),
            ("manager", "src/ai/backend/manager_x/y.py", false),
            ("manager", "changes/1.fix.md", false),
            ("webserver", "src/ai/backend/web/server.py", true),
            ("appproxy", "src/ai/backend/appproxy/worker/server.py", true),
            ("backend.ai", "changes/1.fix.md", true),
        ] {
            assert_eq!(named(name).holds(path), expected, "{name}: {path}");
        }
        let error = release.named("nothing").unwrap_err();
        let hints = &error.downcast_ref::<Fault>().unwrap().hints;
        assert!(hints[0].starts_with("it has backend.ai, account-manager, agent"), "{hints:?}");
    }

    #[test]
    fn components_with_their_own_repositories_are_whole_trees() {
        let release = Catalog::release("21.03").unwrap();
        assert!(release.parts().unwrap().is_empty());
        assert_eq!(release.named("manager").unwrap().tests(), ["tests"]);
        assert!(release.named("accelerator-cuda").is_ok() && release.named("backend.ai").is_err());
    }
}
