//! The data of an environment, read and replaced by steps in containers beside its stack.

use super::Snapshot;
use crate::engine::{Container, Engine, Step};
use crate::environment::Environment;
use crate::error::Fault;
use crate::release::Catalog;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// What reads and replaces the data. `postgres` must run for all of it but [`State::empty`];
/// `etcd` must run for [`State::save`] and be stopped for the rest.
pub struct State<'a> {
    pub engine: &'a dyn Engine,
    pub environment: &'a Environment,
    /// Those that its release has.
    pub databases: &'a [String],
    /// A folder for what steps say.
    pub temporary: PathBuf,
}

impl State<'_> {
    /// Writes the data to the folder `into`/`name`. Database and keys are those of one moment each;
    /// of a file that is written meanwhile, what is there is taken.
    pub async fn save(&self, into: &Path, name: &str) -> Result<()> {
        let containers = self.engine.containers(&self.environment.id).await?;
        let etcd = running(&containers, "etcd")?;
        let command = ["/usr/bin/etcdctl", "snapshot", "save", "/var/lib/etcd/baibox.snapshot"].map(String::from);
        let said = self.engine.exec(&etcd.id, &command).await?;
        anyhow::ensure!(said.code == 0, "etcd does not save its keys: {}", said.all().trim());
        self.run("save", into, &[&["save", name], &*self.names()].concat()).await
    }

    /// Makes the state of a snapshot beside the one that is there; a database that it has not stays.
    pub async fn prepare(&self, snapshot: &Snapshot) -> Result<()> {
        let snapshots = snapshot.folder.parent().context("a snapshot is in a folder")?;
        let scripts = self.kept(snapshot).map(|name| Ok((name, Catalog::file(&format!("state/{name}.sql"))?)));
        let scripts: Vec<(&str, &str)> = scripts.collect::<Result<_>>()?;
        let pairs = scripts.into_iter().flat_map(|(name, script)| [name, script]);
        self.run("prepare", snapshots, &["prepare", &snapshot.name].into_iter().chain(pairs).collect::<Vec<_>>()).await?;
        let file = format!("/into/{}/etcd.snapshot", snapshot.name);
        let step = Step {
            name: "restore etcd".into(),
            image: self.image("etcd")?,
            command: ["/usr/bin/etcdctl", "snapshot", "restore", &file, "--data-dir", "/etcd/data.new"].map(String::from).into(),
            environment: vec!["ETCDCTL_API=3".into()],
            binds: vec![format!("{}:/into:ro", snapshots.display()), self.etcd()],
            ..Step::default()
        };
        self.step(&step).await
    }

    /// Gives what was prepared its place, or leaves all as it was.
    ///
    /// A file says that this is under way: where it is found, [`State::undo`] must run first.
    pub async fn swap(&self, snapshot: &Snapshot) -> Result<()> {
        let mark = mark(self.environment);
        std::fs::write(&mark, "").with_context(|| format!("cannot write `{}`", mark.display()))?;
        let words: Vec<&str> = std::iter::once("swap").chain(self.kept(snapshot)).collect();
        if let Err(error) = self.run("swap", &self.environment.state_folder(), &words).await {
            self.undo().await.with_context(|| {
                Fault::new("the old state could not be put back").hint("type the same command again: it begins with that")
            })?;
            return Err(error);
        }
        remove(&mark)?;
        self.clean().await
    }

    /// Puts the old state back, however far a swap came.
    pub async fn undo(&self) -> Result<()> {
        self.run("undo", &self.environment.state_folder(), &[&["undo"], &*self.names()].concat()).await?;
        remove(&mark(self.environment))
    }

    /// Removes what was prepared, and what was replaced.
    pub async fn clean(&self) -> Result<()> {
        self.run("clean", &self.environment.state_folder(), &[&["clean"], &*self.names()].concat()).await
    }

    /// Removes the virtual folders and what sessions left; nothing needs to run.
    pub async fn empty(&self) -> Result<()> {
        let step = self.script("empty", &self.environment.state_folder(), &["empty"])?;
        self.step(&step).await
    }

    fn names(&self) -> Vec<&str> {
        self.databases.iter().map(String::as_str).collect()
    }

    /// Databases that a snapshot has, too.
    fn kept<'b>(&'b self, snapshot: &'b Snapshot) -> impl Iterator<Item = &'b str> {
        self.databases.iter().map(String::as_str).filter(|name| snapshot.has(name))
    }

    async fn run(&self, name: &str, into: &Path, words: &[&str]) -> Result<()> {
        let containers = self.engine.containers(&self.environment.id).await?;
        let mut step = self.script(name, into, words)?;
        step.beside = Some(running(&containers, "postgres")?.id.clone());
        step.binds.push(self.etcd());
        self.step(&step).await
    }

    fn script(&self, name: &str, into: &Path, words: &[&str]) -> Result<Step> {
        let command = ["/bin/sh", "-c", Catalog::file("state/state.sh")?, "state"].into_iter().chain(words.iter().copied());
        let password = self.environment.secrets.get("database").context("the environment has no database password")?;
        Ok(Step {
            name: format!("{name} the state of {}", self.environment.id),
            image: self.image("postgres")?,
            command: command.map(str::to_owned).collect(),
            environment: vec![format!("PGPASSWORD={password}")],
            binds: vec![format!("{}:/state", self.environment.state_folder().display()), format!("{}:/into", into.display())],
            ..Step::default()
        })
    }

    async fn step(&self, step: &Step) -> Result<()> {
        self.engine.run_step(step, &self.temporary.join("unused")).await
    }

    fn image(&self, name: &str) -> Result<String> {
        let image = self.environment.images.get(name);
        image.cloned().with_context(|| format!("the image `{name}` was not built: type `baibox build`"))
    }

    fn etcd(&self) -> String {
        format!("{}_etcd:/etcd", self.environment.id)
    }
}

fn running<'a>(containers: &'a [Container], service: &str) -> Result<&'a Container> {
    let found = containers.iter().find(|one| one.service == service && one.state == "running");
    found.with_context(|| format!("{service} does not run"))
}

/// The file that is there while a swap is under way.
fn mark(environment: &Environment) -> PathBuf {
    environment.state_folder().join("restore-under-way")
}

/// A swap was cut off, so that the state may be neither the old nor the new one.
pub fn was_cut_off(environment: &Environment) -> bool {
    mark(environment).exists()
}

/// There is no state any more that could be put back.
pub fn forget_cut_off(environment: &Environment) -> Result<()> {
    if was_cut_off(environment) { remove(&mark(environment)) } else { Ok(()) }
}

fn remove(path: &Path) -> Result<()> {
    std::fs::remove_file(path).with_context(|| format!("cannot remove `{}`", path.display()))
}
