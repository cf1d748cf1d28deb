//! What must hold of a release's data. Every fault is a sentence; all are found.

use super::{Catalog, Release};
use crate::python::normal_name;
use crate::python::select::WheelName;
use crate::python::standalone::minor;
use std::collections::{BTreeMap, BTreeSet};

/// The faults of a release, none if it is consistent.
pub fn faults(release: &Release) -> Vec<String> {
    let mut faults = Vec::new();
    if time::Date::parse(&release.cutoff, time::macros::format_description!("[year]-[month]-[day]")).is_err() {
        faults.push(format!("the cut-off `{}` is not a day", release.cutoff));
    }
    if let Some(version) = release.standalone.as_ref().filter(|version| minor(version) != release.python) {
        faults.push(format!("the build of CPython {version} is not of Python {}", release.python));
    }
    package_sets(release, &mut faults);
    components(release, &mut faults);
    images(release, &mut faults);
    test_engine(release, &mut faults);
    databases(release, &mut faults);
    let mut owners: BTreeMap<u16, &str> = BTreeMap::new();
    for (service, port) in release.leases() {
        if let Some(other) = owners.insert(port, service) {
            faults.push(format!("`{other}` and `{service}` want the same port {port}"));
        }
    }
    faults
}

fn package_sets(release: &Release, faults: &mut Vec<String>) {
    for (name, set) in &release.debian {
        if let Some(on) = set.on.as_ref().filter(|on| !release.debian.contains_key(*on)) {
            faults.push(format!("the package set `{name}` stands on `{on}`, which is not there"));
        }
        let mut below = set.on.as_ref();
        // No way down is longer than there are sets.
        for _ in 0..release.debian.len() {
            if below == Some(name) {
                faults.push(format!("the package set `{name}` stands on itself"));
                break;
            }
            below = below.and_then(|on| release.debian.get(on)).and_then(|set| set.on.as_ref());
        }
    }
}

fn components(release: &Release, faults: &mut Vec<String>) {
    let mut names = BTreeSet::new();
    for component in release.components.iter().chain(&release.optional) {
        if !names.insert(&component.name) {
            faults.push(format!("two components are called `{}`", component.name));
        }
        let (Some(file), Some(_)) = (&component.file, &component.sha256) else {
            if component.file.is_some() || component.sha256.is_some() {
                faults.push(format!("the source distribution of `{}` has a name or a digest, not both", component.name));
            }
            continue;
        };
        let rest = file.strip_prefix(&component.project).and_then(|rest| rest.strip_prefix('-'));
        let wheel = WheelName::parse(file).map(|wheel| normal_name(wheel.project));
        if !rest.is_some_and(|rest| rest.ends_with(".tar.gz")) && wheel != Some(normal_name(&component.project)) {
            faults.push(format!("`{file}` is not a source distribution of `{}`", component.project));
        }
    }
}

fn test_engine(release: &Release, faults: &mut Vec<String>) {
    for name in release.test_engine.components.iter().filter(|name| release.component(name).is_none()) {
        faults.push(format!("tests of the component `{name}` get an engine, which is not there"));
    }
    for (asked, stand_in) in &release.test_engine.images {
        if !release.images.iter().any(|image| image.name == stand_in.image) {
            faults.push(format!("the image `{}` stands in for `{asked}` and is not there", stand_in.image));
        }
        let missing = |script: &&String| Catalog::file(&format!("services/{script}")).is_err();
        if let Some(script) = stand_in.script.as_ref().filter(missing) {
            faults.push(format!("what stands in for `{asked}` runs `images/services/{script}`, which is not there"));
        }
    }
}

fn databases(release: &Release, faults: &mut Vec<String>) {
    if !release.databases.iter().any(|name| name == "backend") {
        faults.push("the manager's database `backend` is not among its databases".into());
    }
    for name in release.databases.iter().filter(|name| Catalog::file(&format!("state/{name}.sql")).is_err()) {
        faults.push(format!("the database `{name}` needs `images/state/{name}.sql`, which is not there"));
    }
}

fn images(release: &Release, faults: &mut Vec<String>) {
    let environments = release.python_lock.as_ref().map(|lock| &lock.environments);
    let mut names = BTreeSet::new();
    for image in &release.images {
        if !names.insert(&image.name) {
            faults.push(format!("two images are called `{}`", image.name));
        }
        for set in image.packages.iter().filter(|set| !release.debian.contains_key(*set)) {
            faults.push(format!("the image `{}` asks for the package set `{set}`, which is not there", image.name));
        }
        for link in image.links.iter().filter(|link| release.component(link).is_none()) {
            faults.push(format!("the image `{}` links the component `{link}`, which is not there", image.name));
        }
        if let Some(environment) =
            image.environment.as_ref().filter(|name| !environments.is_some_and(|known| known.contains_key(*name)))
        {
            faults
                .push(format!("the image `{}` asks for the Python environment `{environment}`, which is not locked", image.name));
        }
        for file in image.files.values().filter(|file| Catalog::file(&file.from).is_err()) {
            faults.push(format!("the image `{}` takes `images/{}`, which is not there", image.name, file.from));
        }
    }
}
