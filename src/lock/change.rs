//! Whether the pins still hold for what the trees require now.

use crate::python::{PythonError, PythonLock, normal_name, requirement};
use crate::release::Release;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Component → its requirements, as PEP 508 writes them.
pub type Requirements = BTreeMap<String, Vec<String>>;

/// A requirement that came after the pins were resolved, and that they do not meet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unmet {
    pub environment: String,
    pub component: String,
    pub requirement: String,
    /// The package that it is about, by its normal name.
    pub project: String,
    /// The version that is pinned, if one is.
    pub pinned: Option<String>,
}

impl fmt::Display for Unmet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { component, requirement, project, .. } = self;
        match &self.pinned {
            Some(version) => write!(out, "{component} asks for `{requirement}`, the lock has {project} {version}"),
            None => write!(out, "{component} asks for `{requirement}`, the lock has nothing"),
        }
    }
}

/// What of `now` the pins of `lock` do not meet. Requirements that the pins were resolved
/// for are not judged again: upstream's contradict each other, and the pins settled that.
pub fn unmet(release: &Release, lock: &PythonLock, now: &Requirements) -> Result<Vec<Unmet>, PythonError> {
    let own: BTreeSet<String> = release.components.iter().map(|component| normal_name(&component.project)).collect();
    let mut found = BTreeSet::new();
    for image in &release.images {
        let Some(environment) = &image.environment else { continue };
        let pins: BTreeMap<&str, &str> =
            lock.environments.get(environment).into_iter().flatten().filter_map(|pin| pin.split_once(' ')).collect();
        for component in &image.links {
            let settled = lock.requirements.get(component).map(Vec::as_slice).unwrap_or_default();
            for text in now.get(component).into_iter().flatten().filter(|text| !settled.contains(text)) {
                let asked = requirement::parse(text, &lock.python)?;
                if own.contains(&asked.project) || !asked.applies {
                    continue;
                }
                let known = |extra: &String| {
                    let settled = settled.iter().filter_map(|text| requirement::parse(text, &lock.python).ok());
                    settled.filter(|other| other.project == asked.project).any(|other| other.extras.contains(extra))
                };
                let pinned = pins.get(asked.project.as_str()).copied();
                if !pinned.is_some_and(|version| asked.takes(version)) || !asked.extras.iter().all(known) {
                    found.insert(Unmet {
                        environment: environment.clone(),
                        component: component.clone(),
                        requirement: text.clone(),
                        project: asked.project.clone(),
                        pinned: pinned.map(String::from),
                    });
                }
            }
        }
    }
    Ok(found.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::Catalog;

    #[test]
    fn only_what_changed_and_is_not_met_counts() {
        let release = Catalog::release("21.03").unwrap();
        let lock = release.python_lock.clone().unwrap();
        let settled = lock.requirements.clone();
        assert_eq!(unmet(&release, &lock, &settled).unwrap(), []);
        let check = |added: &str, expected: &[&str]| {
            let mut now = settled.clone();
            now.get_mut("storage-proxy").unwrap().push(added.to_owned());
            let found = unmet(&release, &lock, &now).unwrap();
            let found: Vec<String> =
                found.iter().map(|one| format!("{} {} {}", one.environment, one.project, one.pinned.is_some())).collect();
            assert_eq!(found, expected, "{added}");
        };
        check("aiohttp>=3.7", &[]);
        check("AioHTTP~=3.8.0", &["storage-proxy aiohttp true"]);
        check("newcomer", &["storage-proxy newcomer false"]);
        check("newcomer; python_version < '3.8'", &[]);
        check("newcomer; sys_platform == 'win32'", &[]);
        check("aiohttp[speedups]", &["storage-proxy aiohttp true"]);
        check("backend.ai-common==99.9", &[]);
        let mut now = settled.clone();
        now.get_mut("common").unwrap().push("not a requirement ~~".into());
        assert!(unmet(&release, &lock, &now).unwrap_err().to_string().contains("not a requirement"));
    }
}
