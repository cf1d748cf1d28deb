//! Python pins chosen again, by uv in a container of the release's own base.

use super::Builder;
use crate::engine::{Output, Step};
use crate::error::Fault;
use crate::host;
use crate::lock::{Requirements, Unmet};
use crate::model::Digest;
use crate::oci::{Node, Tree};
use crate::plan::{Plan, Recipe};
use crate::python::select::Target;
use crate::python::{self, Interpreter, LockedFile, PythonLock, TreeLock, normal_name, requirement};
use crate::release::{Catalog, Release};
use crate::ui::Stage;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// How what builds source distributions is called among environments.
const BUILDERS: &str = "builders";

/// `images/python/uv.toml`.
#[derive(Deserialize)]
struct Uv {
    name: String,
    #[serde(flatten)]
    wheels: BTreeMap<String, toml::Value>,
}

#[derive(Deserialize)]
struct UvWheel {
    file: String,
    sha256: Digest,
}

/// What uv is asked for.
struct Question<'a> {
    release: &'a Release,
    before: &'a PythonLock,
    /// What the components require.
    now: &'a Requirements,
    /// Projects whose pins need not stay where requirements contradict each other.
    moving: BTreeSet<&'a str>,
    /// Requirements that are met by the newest that there is.
    newest: Vec<requirement::Asked>,
    environments: BTreeSet<&'a str>,
}

impl Builder {
    /// A lock that meets `now`, with as few changes as uv needs to make to the release's.
    pub async fn resolve_python(
        &self,
        release: &Release,
        plan: &Plan,
        now: &Requirements,
        unmet: &[Unmet],
        stage: &Stage,
    ) -> Result<PythonLock> {
        let before = release.python_lock.as_ref().context("the release has no Python lock")?;
        let moving = unmet.iter().map(|one| one.project.as_str()).collect();
        let environments = unmet.iter().map(|one| one.environment.as_str()).collect();
        let question = Question { release, before, now, moving, newest: Vec::new(), environments };
        let answer = match self.ask_uv(plan, &question, stage).await {
            Err(error) if has_no_solution(&error) => {
                let asked: Vec<String> = unmet.iter().map(|one| format!("`{}` of {}", one.requirement, one.component)).collect();
                let fault = Fault::new(format!("no Python packages of {} or before meet {}", before.cutoff, asked.join(", ")));
                return Err(error.context(
                    fault
                        .hint("change the requirement in the component's tree")
                        .hint("or lay a folder with a later `cutoff` over the release: `BAIBOX_IMAGES`, see the README"),
                ));
            }
            answer => answer?,
        };
        let mut after = before.clone();
        after.requirements = now.clone();
        after.environments.extend(answer);
        after.files = self.files(release, &after).await?;
        after.check()?;
        Ok(after)
    }

    /// A lock of a release that has none, or whose every pin is chosen again.
    pub async fn resolve_python_anew(
        &self,
        draft: &Release,
        plan: &Plan,
        now: &Requirements,
        stage: &Stage,
    ) -> Result<PythonLock> {
        let before = draft.python_lock.as_ref().context("the release has no Python lock")?;
        let environments = before.environments.keys().map(String::as_str).chain([BUILDERS]).collect();
        let question = Question { release: draft, before, now, moving: BTreeSet::new(), newest: Vec::new(), environments };
        let mut after = before.clone();
        after.environments = self.ask_uv(plan, &question, stage).await?;
        after.requirements = now.clone();
        after.builders = after.environments.remove(BUILDERS).unwrap_or_default();
        after.files = self.files(draft, &after).await?;
        after.check()?;
        Ok(after)
    }

    /// The release's lock with the newest that meets `asked`, and what that requires; all other pins stay.
    pub async fn update_python(&self, release: &Release, asked: &BTreeSet<String>, stage: &Stage) -> Result<PythonLock> {
        let mut before = release.python_lock.clone().context("the release has no Python lock")?;
        before.environments.insert(BUILDERS.into(), std::mem::take(&mut before.builders));
        let newest: Vec<_> = asked.iter().map(|text| requirement::parse(text, &before.python)).collect::<Result<_, _>>()?;
        let moving: BTreeSet<&str> = newest.iter().map(|one| one.project.as_str()).collect();
        let has_one = |pins: &Vec<String>| pins.iter().any(|pin| pin.split(' ').next().is_some_and(|name| moving.contains(name)));
        let environments = before.environments.iter().filter(|(_, pins)| has_one(pins)).map(|(name, _)| name.as_str()).collect();
        let now = &before.requirements;
        let question = Question { release, before: &before, now, moving: moving.clone(), newest: newest.clone(), environments };
        let answer = match self.ask_uv(&base_plan(release)?, &question, stage).await {
            Err(error) if has_no_solution(&error) => {
                let asked: Vec<String> = asked.iter().map(|text| format!("`{text}`")).collect();
                let text = format!("{} of {} or before does not go with the other packages", asked.join(", "), before.cutoff);
                return Err(error.context(
                    Fault::new(text)
                        .hint("name those that must change with it, too: `--update NAME NAME`")
                        .hint("or take what was published later, if that may be: `--as-of DAY`"),
                ));
            }
            answer => answer?,
        };
        let mut after = before.clone();
        after.environments.extend(answer);
        after.builders = after.environments.remove(BUILDERS).unwrap_or_default();
        after.files = self.files(release, &after).await?;
        after.check()?;
        Ok(after)
    }

    /// Files that a tree's own lock names for the images, for the pins that it has; sizes are the index's.
    pub async fn locked_by(&self, lock: &TreeLock, release: &Release) -> Result<Vec<LockedFile>> {
        let target = Target::parse(&release.python, glibc(release)?, &format!("linux/{}", self.architecture))?;
        let without: BTreeSet<String> = release.resolve.without.iter().map(|name| normal_name(name)).collect();
        let chosen = lock
            .pins
            .keys()
            .filter_map(|pin| Some((pin, pin.split_once(' ')?)))
            .filter(|(_, (name, _))| !without.contains(*name));
        let files = chosen.map(|(pin, (name, version))| async move {
            let (file, sha256) =
                lock.file(pin, &target).with_context(|| format!("`python.lock` has no file of `{pin}` for the images"))?;
            let known = self.index.files(&self.fetcher, name).await?;
            let told = known.get(file).with_context(|| format!("the package index does not have `{file}`"))?;
            if told.sha256.as_ref().is_some_and(|told| told != sha256) {
                bail!("`python.lock` and the package index differ in the digest of `{file}`");
            }
            let size = told.size.with_context(|| format!("the package index does not tell the size of `{file}`"))?;
            let (name, version, file) = (name.to_owned(), version.to_owned(), file.to_owned());
            Ok(LockedFile { name, version, file, sha256: sha256.clone(), size })
        });
        futures_util::future::try_join_all(files).await
    }

    /// The pins of environments, from uv in a container.
    async fn ask_uv(&self, plan: &Plan, question: &Question<'_>, stage: &Stage) -> Result<BTreeMap<String, Vec<String>>> {
        let on = self.base(plan, stage).await?;
        let (image, interpreter) = self.step_base(&plan.recipes, &on).await?;
        stage.note("uv resolves Python packages");
        let input = crate::build::make::tar_of(&self.store, &self.question(question, &interpreter).await?)?;
        let step = Step {
            name: "resolve Python packages".into(),
            image,
            command: ["/bin/sh", "/resolve/run.sh"].map(String::from).to_vec(),
            environment: self.surroundings(question.before),
            input: Some(input.path().to_owned()),
            network: true,
            output: Output::Folder("/resolve/out".into()),
            ..Step::default()
        };
        let answer = self.run_step(step).await.context("cannot resolve Python packages")?;
        let mut found = BTreeMap::new();
        for (path, text) in crate::build::make::files_of(answer.reopen()?)? {
            if let Some(environment) = path.strip_prefix("out/") {
                found.insert(environment.to_owned(), pins(&String::from_utf8_lossy(&text))?);
            }
        }
        Ok(found)
    }

    /// The first base of the plan, made if it is missing.
    async fn base(&self, plan: &Plan, stage: &Stage) -> Result<Digest> {
        let first = |key: &Digest| Plan::is_first(&plan.recipes, key);
        let on_first = |key: &&Digest| matches!(&plan.recipes[*key], Recipe::Cpython { on, .. } if first(on));
        let bases = plan.recipes.keys().filter(on_first);
        let on = bases.chain(plan.recipes.keys().filter(|key| first(key))).next();
        let on = on.context("no image of the release has configured packages")?;
        let mut wanted = vec![on.clone()];
        let mut missing = BTreeSet::new();
        while let Some(key) = wanted.pop() {
            if self.fragment(&key).is_none() && missing.insert(key.clone()) {
                wanted.extend(plan.recipes[&key].depends_on());
            }
        }
        self.make(plan, &missing, stage).await?;
        Ok(on.clone())
    }

    /// uv, and for each environment what it must meet, what it had, and what was settled.
    async fn question(&self, question: &Question<'_>, interpreter: &Interpreter) -> Result<Tree> {
        let Question { release, before, now, moving, newest, environments } = question;
        let mut tree = Tree::default();
        let uv: Uv = toml::from_str(Catalog::file("python/uv.toml")?).context("`images/python/uv.toml` does not name a wheel")?;
        let wheel = uv.wheels.get(&self.architecture).with_context(|| format!("no uv is known for {}", self.architecture))?;
        let wheel: UvWheel = wheel.clone().try_into().context("`images/python/uv.toml` does not name a wheel")?;
        let bytes = self.python_file(&uv.name, &crate::plan::Input { file: wheel.file.clone(), digest: wheel.sha256 }).await?;
        let contents = python::wheel::contents(&wheel.file, &bytes)?;
        let program = contents.iter().find(|(path, _)| path.ends_with(".data/scripts/uv"));
        let Some((_, Node::File { content, .. })) = program else { bail!("`{}` holds no program `uv`", wheel.file) };
        tree.insert("resolve/uv", Node::file(0o755, content.clone()))?;
        if let Some(bundle) = host::trust_bundle() {
            let text = std::fs::read(&bundle).with_context(|| format!("cannot read `{}`", bundle.display()))?;
            tree.insert("resolve/trust.pem", Node::file(0o644, text))?;
        }
        let own: BTreeSet<String> = release.components.iter().map(|component| normal_name(&component.project)).collect();
        let without: BTreeSet<String> = release.resolve.without.iter().map(|name| normal_name(name)).collect();
        let lines = |all: &BTreeSet<String>| all.iter().fold(String::new(), |text, line| text + line + "\n");
        tree.insert("resolve/constraints", Node::file(0o644, lines(&release.resolve.constraints.iter().cloned().collect())))?;
        let python = interpreter.program();
        let upgrades: String = newest.iter().map(|one| format!(" --upgrade-package {}", one.project)).collect();
        let mut script = String::from("set -e\nmkdir -p /resolve/out\ncd /resolve\n");
        for environment in environments {
            let pins = before.environments.get(*environment).map(Vec::as_slice).unwrap_or_default();
            let pinned: BTreeMap<&str, &str> = pins.iter().filter_map(|pin| pin.split_once(' ')).collect();
            let images = release.images.iter().filter(|image| image.environment.as_deref() == Some(environment));
            // What is there stays, also what no component asks for.
            let mut wanted: BTreeSet<String> = pinned.keys().map(|name| (*name).to_owned()).collect();
            let mut settled = BTreeSet::from_iter(release.resolve.overrides.iter().cloned());
            wanted.extend(besides(release, environment));
            wanted.extend(newest.iter().filter(|one| pinned.contains_key(one.project.as_str())).map(|one| one.text.clone()));
            for text in images.flat_map(|image| &image.links).filter_map(|component| now.get(component)).flatten() {
                let asked = requirement::parse(text, &before.python)?;
                if own.contains(&asked.project) || without.contains(&asked.project) {
                    continue;
                }
                let version = pinned.get(asked.project.as_str());
                // Upstream's requirements contradict each other: where a pin broke one before, it stays.
                let stays = asked.applies && !moving.contains(asked.project.as_str());
                if let Some(version) = version.filter(|version| stays && !asked.takes(version)) {
                    settled.insert(format!("{}=={version}", asked.project));
                }
                wanted.insert(text.clone());
            }
            let known = pinned.iter().map(|(name, version)| format!("{name}=={version}")).collect();
            for (kind, text) in [("in", lines(&wanted)), ("overrides", lines(&settled)), ("known", lines(&known))] {
                tree.insert(&format!("resolve/{environment}.{kind}"), Node::file(0o644, text))?;
            }
            // uv prefers what its output file held before.
            writeln!(
                script,
                "cp {environment}.known out/{environment}\n./uv pip compile --quiet{upgrades} --no-header --no-annotate --no-config --python {python} --constraints constraints --overrides {environment}.overrides --output-file out/{environment} {environment}.in >/dev/null"
            )?;
        }
        tree.insert("resolve/run.sh", Node::file(0o644, script))?;
        Ok(tree)
    }

    /// uv's environment: this host's index, proxies and trust, and the day after which nothing counts.
    fn surroundings(&self, lock: &PythonLock) -> Vec<String> {
        let mut variables = vec![
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            "LC_ALL=C.UTF-8".to_owned(),
            "HOME=/resolve".to_owned(),
            format!("UV_DEFAULT_INDEX={}", self.index.base()),
            format!("UV_EXCLUDE_NEWER={}T23:59:59Z", lock.cutoff),
        ];
        if host::trust_bundle().is_some() {
            variables.push("SSL_CERT_FILE=/resolve/trust.pem".into());
        }
        variables.extend(host::proxies().into_iter().map(|(name, value)| format!("{name}={value}")));
        variables
    }

    /// The file of every pin that the lock names; those that were known stay.
    async fn files(&self, release: &Release, lock: &PythonLock) -> Result<Vec<LockedFile>> {
        let target = Target::parse(&lock.python, glibc(release)?, &format!("linux/{}", self.architecture))?;
        let pins: BTreeSet<&String> = lock.environments.values().flatten().chain(&lock.builders).collect();
        let chosen = pins.into_iter().map(|pin| async move {
            if let Some(known) = lock.file(pin) {
                return Ok(known.clone());
            }
            let (name, version) = pin.split_once(' ').with_context(|| format!("`{pin}` is not a pin"))?;
            self.index.choose(&self.fetcher, name, version, &target, Some(&lock.cutoff)).await
        });
        futures_util::future::try_join_all(chosen).await
    }
}

/// uv's own words for it; everything else is a fault of the step, not of the requirements.
fn has_no_solution(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains("No solution found")
}

/// The plan of a release without its trees, which bases do not stand on.
fn base_plan(release: &Release) -> Result<Plan> {
    let mut release = release.clone();
    release.images.iter_mut().for_each(|image| image.links.clear());
    crate::plan::plan(&release, &BTreeMap::new())
}

/// What an environment gets besides what its components require.
fn besides(release: &Release, environment: &str) -> Vec<String> {
    let resolve = &release.resolve;
    if environment == BUILDERS {
        return resolve.builders.clone();
    }
    let develops =
        release.images.iter().any(|image| image.environment.as_deref() == Some(environment) && !image.links.is_empty());
    let tools = develops.then_some(&resolve.tools).into_iter().flatten();
    tools.chain(resolve.more.get(environment).into_iter().flatten()).cloned().collect()
}

/// `name version` of each line `name==version`; extras and markers are left out.
fn pins(text: &str) -> Result<Vec<String>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let pins: Result<BTreeSet<String>> = lines
        .map(|line| {
            let pin = line.split(';').next().and_then(|pin| pin.trim().split_once("=="));
            let (name, version) = pin.with_context(|| {
                Fault::new(format!("`{line}` has no version that a lock can hold"))
                    .hint("ask for a version that the package index has, not for an address")
            })?;
            Ok(format!("{} {}", normal_name(name.split('[').next().unwrap_or(name).trim()), version.trim()))
        })
        .collect();
    Ok(pins?.into_iter().collect())
}

/// The minor version of glibc 2 that the images have.
pub fn glibc(release: &Release) -> Result<u32> {
    // The halfstack may have another one.
    let lowest = release.lowest_set().and_then(|set| release.debian_lock.get(set));
    let own = lowest.and_then(|debs| debs.iter().find(|deb| deb.name == "libc6")).map(|deb| deb.version.as_str());
    let version = own.or_else(|| release.base.as_ref()?.version("libc6"));
    version
        .and_then(|version| version.strip_prefix("2.")?.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok())
        .context("the lock does not tell the images' glibc")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_read_from_what_uv_writes() {
        let text = "aiohttp==3.7.4.post0\nPassLib[bcrypt]==1.7.4\n# via x\ntoml==0.10.2 ; python_version < '4'\n";
        assert_eq!(pins(text).unwrap(), ["aiohttp 3.7.4.post0", "passlib 1.7.4", "toml 0.10.2"]);
        let refused = pins("a==1\nb @ git+https://host.invalid/b\n").unwrap_err().to_string();
        assert!(refused.contains("`b @ git+https://host.invalid/b` has no version"), "{refused}");
    }

    #[test]
    fn glibc_is_read_from_the_lock() {
        assert_eq!(glibc(&Catalog::release("21.03").unwrap()).unwrap(), 31);
    }
}
