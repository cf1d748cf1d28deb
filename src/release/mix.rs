//! Components of other releases in a stack, each with what its image needs of its own release.

use super::{Catalog, Component, Era, ImageData, Release};
use crate::error::Fault;
use crate::model::Branch;
use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// Component → the release branch that it is of.
pub type Mix = BTreeMap<String, Branch>;

/// How a mix is called: `21.03+agent=20.09`.
pub fn mix_name(base: &str, mix: &Mix) -> String {
    mix.iter().fold(base.to_owned(), |name, (component, branch)| format!("{name}+{component}={branch}"))
}

impl Release {
    /// The release whose named components are those of other releases.
    ///
    /// A library that such a component shares with the others gets a tree for each release:
    /// `common` is the stack's, `common-20.09` what an agent of 20.09 imports.
    pub fn mixed(mut self, mix: &Mix) -> Result<Self> {
        let mut others = BTreeMap::new();
        for (component, branch) in mix {
            let other = Catalog::release(branch.as_str())?;
            self.takes(component, &other)?;
            others.insert(component.clone(), other);
        }
        let base = self.clone();
        for (component, other) in &others {
            self.take(component, other).with_context(|| format!("cannot take {component} of release {}", other.branch))?;
        }
        // Whose release an image is of: then its links lead to trees of that release.
        for image in &mut self.images {
            let own = image.links.first().and_then(|first| others.get(first)).unwrap_or(&base);
            for link in &mut image.links {
                if others.get(link).map_or(&base.branch, |other| &other.branch) == &own.branch {
                    continue;
                }
                let named = format!("{link}-{}", own.branch);
                if !self.components.iter().any(|known| known.name == named) {
                    let found = own.component(link).with_context(|| format!("release {} has no `{link}`", own.branch))?;
                    self.components.push(of(found, own, &named));
                    if let (Some(lock), Some(from)) = (&mut self.python_lock, &own.python_lock)
                        && let Some(required) = from.requirements.get(link)
                    {
                        lock.requirements.insert(named.clone(), required.clone());
                    }
                }
                *link = named;
            }
        }
        self.mix = mix.clone();
        self.check()?;
        Ok(self)
    }

    /// Whether a component of another release can stand in this one's stack.
    fn takes(&self, component: &str, other: &Release) -> Result<(), Fault> {
        let (base, branch) = (&self.branch, &other.branch);
        let refused =
            |why: String| Fault::usage(format!("{component} of release {branch} cannot stand in a stack of {base}: {why}"));
        if self.era != Era::Components || other.era != Era::Components {
            let fault = refused(
                "upstream's components of one repository, since 22.03, work with those of the very same version alone".into(),
            );
            return Err(fault.hint("take both from 20.09, 21.03 and 21.09, or a whole stack: `baibox up --branch BRANCH`"));
        }
        if branch == base {
            return Err(refused("that is the release it has".into()).hint("leave `--component` away"));
        }
        let image = other.component(component).and_then(|_| other.image_of(component));
        let (Some(image), Some(_)) = (image, self.image_of(component)) else {
            let names = self.components.iter().map(|known| known.name.as_str()).filter(|name| self.image_of(name).is_some());
            let why = "each program brings the libraries of its own release";
            return Err(refused(why.into()).hint(format!("programs are {}", names.collect::<Vec<_>>().join(", "))));
        };
        let sets = image.packages.iter().all(|set| self.debian_lock.get(set) == other.debian_lock.get(set));
        if !sets || self.python != other.python {
            return Err(refused("they stand on different Debian packages or Pythons".into()));
        }
        Ok(())
    }

    /// The image whose program a component is.
    fn image_of(&self, component: &str) -> Option<&ImageData> {
        self.images.iter().find(|image| image.links.first().is_some_and(|first| first == component))
    }

    /// Puts the component of another release, its image, pins and data in the place of this one's.
    fn take(&mut self, component: &str, other: &Release) -> Result<()> {
        let found = other.component(component).context("it is not there")?;
        let place = self.components.iter_mut().find(|known| known.name == component).context("it has no place")?;
        *place = of(found, other, component);
        let image = other.image_of(component).context("it has no image")?.clone();
        let lock = self.python_lock.as_mut().context("the release has no Python lock")?;
        let from = other.python_lock.as_ref().context("the other release has no Python lock")?;
        if let Some(environment) = &image.environment {
            let pins = from.environments.get(environment).cloned().unwrap_or_default();
            for file in pins.iter().filter_map(|pin| from.file(pin)) {
                if lock.file(&file.pin()).is_none() {
                    lock.files.push(file.clone());
                }
            }
            lock.environments.insert(environment.clone(), pins);
        }
        lock.requirements.insert(component.to_owned(), from.requirements.get(component).cloned().unwrap_or_default());
        let used: Vec<String> = lock.environments.values().flatten().chain(&lock.builders).cloned().collect();
        lock.files.retain(|file| used.contains(&file.pin()));
        lock.files.sort_by_key(|file| file.pin());
        for known in self.images.iter_mut().filter(|known| known.name == image.name) {
            *known = image.clone();
        }
        if let Some(values) = other.values.get(component) {
            self.values.insert(component.to_owned(), values.clone());
        }
        match component {
            "client" => self.list_agents.clone_from(&other.list_agents),
            "agent" => {
                self.optional.clone_from(&other.optional);
                self.cuda.clone_from(&other.cuda);
            }
            _ => {}
        }
        self.cures.retain(|cure| !cure.concerns(component));
        self.cures.extend(other.cures.iter().filter(|cure| cure.concerns(component)).cloned());
        self.known_failures.retain(|known| known.component != component);
        self.known_failures.extend(other.known_failures.iter().filter(|known| known.component == component).cloned());
        Ok(())
    }
}

/// A component of another release, under the name that it has here.
fn of(component: &Component, release: &Release, name: &str) -> Component {
    let git_branch = component.git_branch.clone().or_else(|| Some(release.branch.clone()));
    Component {
        name: name.to_owned(),
        git_branch,
        library_of: (name != component.name).then(|| release.branch.clone()),
        ..component.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixed(base: &str, component: &str, branch: &str) -> Result<Release> {
        let known = Catalog::known().unwrap();
        let mix = [(component.to_owned(), Branch::parse(branch, &known).unwrap())].into();
        Catalog::release(base).unwrap().mixed(&mix)
    }

    #[test]
    fn a_component_comes_with_the_libraries_and_pins_of_its_own_release() {
        let [base, other] = ["21.03", "20.09"].map(|branch| Catalog::release(branch).unwrap());
        let release = mixed("21.03", "agent", "20.09").unwrap();
        let links = |name: &str| release.images.iter().find(|image| image.name == name).unwrap().links.clone();
        assert_eq!(
            (links("agent"), links("manager")),
            (vec!["agent".into(), "common-20.09".into()], vec!["manager".into(), "common".into()])
        );
        for (name, version) in [("agent", "20.9.13"), ("common-20.09", "20.9.11"), ("common", "21.3.14")] {
            assert_eq!(release.component(name).unwrap().version(), version);
        }
        assert_eq!(release.component("common-20.09").unwrap().git_branch.as_deref(), Some("20.09"));
        let pins = |release: &Release, name: &str| release.python_lock.as_ref().unwrap().environments[name].clone();
        assert_eq!(pins(&release, "agent"), pins(&other, "agent"));
        assert_eq!(pins(&release, "manager"), pins(&base, "manager"));
        release.python_lock.unwrap().check().unwrap();
        assert_eq!(release.values["manager"], base.values["manager"]);
    }

    #[test]
    fn a_library_that_others_link_stays_theirs() {
        let release = mixed("21.03", "client", "20.09").unwrap();
        let links = |name: &str| release.images.iter().find(|image| image.name == name).unwrap().links.clone();
        assert_eq!(
            (links("workspace"), links("webserver")),
            (vec!["client".into()], vec!["webserver".into(), "client-21.03".into()])
        );
    }

    #[test]
    fn every_program_of_the_era_can_be_taken_by_every_release() {
        let era: Vec<Release> = Catalog::branches().unwrap().iter().map(|branch| Catalog::release(branch).unwrap()).collect();
        // 20.03 is alone on its Python.
        let is_of_it = |release: &&Release| release.era == Era::Components && release.python == "3.9";
        let era: Vec<&Release> = era.iter().filter(is_of_it).collect();
        assert_eq!(era.len(), 3);
        for (base, other) in era.iter().flat_map(|base| era.iter().map(move |other| (base, other))) {
            for component in
                ["manager", "agent", "storage-proxy", "webserver", "client"].iter().filter(|_| base.branch != other.branch)
            {
                let release = mixed(&base.branch, component, &other.branch).unwrap();
                release.python_lock.unwrap().check().unwrap();
            }
        }
    }

    #[test]
    fn what_cannot_be_mixed_says_why() {
        for (base, component, branch, why) in [
            ("21.03", "agent", "23.03", "very same version"),
            ("25.15", "backend.ai", "23.03", "very same version"),
            ("21.03", "common", "20.09", "programs are manager, agent, storage-proxy, webserver, client"),
            ("21.03", "agent", "21.03", "that is the release it has"),
            ("21.03", "agent", "20.03", "different Debian packages or Pythons"),
            ("20.03", "storage-proxy", "20.09", "programs are manager, agent, webserver, client"),
        ] {
            let error = mixed(base, component, branch).unwrap_err();
            let fault = error.downcast_ref::<Fault>().unwrap();
            assert!(format!("{} {}", fault.message, fault.hints.join(" ")).contains(why), "{fault:?}");
        }
        let mix = [("agent".to_owned(), Branch::parse("20.09", &["20.09".to_owned()]).unwrap())].into();
        assert_eq!(mix_name("21.03", &mix), "21.03+agent=20.09");
    }
}
