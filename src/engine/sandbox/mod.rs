//! Steps without an engine: bubblewrap runs them, in namespaces from unshare(1).
//!
//! Root needs nothing else. For other users, user namespaces with the numbers of
//! /etc/subuid stand in: what belongs to 101 in an image belongs to a number of theirs.

pub mod inside;

use super::{ArchiveWriter, Executor, HeldImage, Output, Step};
use crate::error::Fault;
use crate::host;
use crate::model::Digest;
use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;

/// Programs that steps are run by, with the Debian packages that bring them.
const PROGRAMS: [(&str, &str); 2] = [("unshare", "util-linux"), ("bwrap", "bubblewrap")];
/// What gives users their subordinate numbers.
const MAPPERS: [(&str, &str); 1] = [("newuidmap", "uidmap")];

pub struct Sandbox {
    /// Folders of steps, one for each process: they hold files of other numbers.
    steps: PathBuf,
    /// This process's own.
    own: PathBuf,
    images: Mutex<BTreeMap<String, HeldImage>>,
}

/// One step, as the process reads it that is alone in its namespaces.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Bundle {
    /// Tar files, the lowest first; the step's input is the last.
    layers: Vec<PathBuf>,
    command: Vec<String>,
    environment: Vec<String>,
    stdin: Option<PathBuf>,
    network: bool,
    output: Output,
    /// Where the output goes.
    into: PathBuf,
}

impl Sandbox {
    /// Below the store, if this host has what it takes.
    pub fn new(store: &Path) -> Result<Self> {
        if !cfg!(target_os = "linux") {
            return Err(Fault::engine("steps without an engine need Linux").hint("start a container engine").into());
        }
        let user = !rustix::process::geteuid().is_root();
        let wanted = PROGRAMS.iter().chain(if user { &MAPPERS[..] } else { &[] });
        let missing: Vec<&(&str, &str)> = wanted.filter(|(program, _)| host::which(program).is_none()).collect();
        if !missing.is_empty() {
            let programs: Vec<String> = missing.iter().map(|(program, _)| format!("`{program}`")).collect();
            let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
            return Err(Fault::engine(format!("building without an engine needs {}, which is not here", programs.join(" and ")))
                .hint(format!("install it: `apt-get install {}`", packages.join(" ")))
                .into());
        }
        let steps = store.join("steps");
        let own = steps.join(host::process().replace(' ', "+"));
        fs::create_dir_all(&own).with_context(|| format!("cannot create `{}`", own.display()))?;
        Ok(Self { steps, own, images: Mutex::default() })
    }

    fn layer(&self, diff_id: &Digest) -> PathBuf {
        self.own.join(diff_id.hex())
    }

    /// Runs this program's hidden command in namespaces of its own; gives what it said if it failed.
    async fn inside(&self, words: &[&str], arguments: &[&Path]) -> Result<Option<String>> {
        let program = std::env::current_exe().context("this program's own path is not known")?;
        let mut command = tokio::process::Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user", "--map-auto"]);
        }
        // Whatever dies, nothing goes on: inside is process 1, which ends when standard input does.
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.arg(program).args(["--quiet", "step"]).args(words).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("cannot run `unshare`")?;
        // Held open until it has ended.
        let input = child.stdin.take();
        let ended = child.wait_with_output().await.context("cannot wait for `unshare`")?;
        drop(input);
        let said = [ended.stdout, ended.stderr].concat();
        Ok((!ended.status.success()).then(|| String::from_utf8_lossy(&said).trim_end().to_owned()))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Layers are this user's own files; what steps left is removed by the steps.
        let _ = fs::remove_dir_all(&self.own);
    }
}

#[async_trait]
impl Executor for Sandbox {
    async fn architecture(&self) -> Result<String> {
        Ok(match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        }
        .into())
    }

    async fn image(&self, reference: &str) -> Result<Option<HeldImage>> {
        Ok(self.images.lock().expect("never poisoned").get(reference).cloned())
    }

    async fn images(&self) -> Result<Vec<HeldImage>> {
        Ok(self.images.lock().expect("never poisoned").values().cloned().collect())
    }

    /// Layers stay until the process ends: other images stand on them.
    async fn remove_image(&self, reference: &str) -> Result<()> {
        self.images.lock().expect("never poisoned").remove(reference);
        Ok(())
    }

    async fn load(&self, write: ArchiveWriter) -> Result<String> {
        let (reader, mut writer) = io::pipe().context("cannot make a pipe")?;
        let writing = tokio::task::spawn_blocking(move || {
            let mut out = io::BufWriter::with_capacity(1 << 18, &mut writer);
            write(&mut out)?;
            io::Write::flush(&mut out)
        });
        let folder = self.own.clone();
        let reading = tokio::task::spawn_blocking(move || take(reader, &folder));
        let (written, taken) = tokio::try_join!(writing, reading)?;
        let images = taken.context("the archive with the images is broken")?;
        written.context("cannot write the archive with the images")?;
        for image in images {
            for diff_id in &image.diff_ids {
                ensure!(self.layer(diff_id).is_file(), "the layer {diff_id} is not there");
            }
            let mut held = self.images.lock().expect("never poisoned");
            held.extend(image.references.iter().map(|reference| (reference.clone(), image.clone())));
        }
        Ok(String::new())
    }

    async fn run_step(&self, step: &Step, output: &Path) -> Result<()> {
        let image = self.image(&step.image).await?;
        let image = image.with_context(|| format!("there is no image for the step `{}`", step.name))?;
        let bundle = Bundle {
            layers: image.diff_ids.iter().map(|diff_id| self.layer(diff_id)).chain(step.input.clone()).collect(),
            command: step.command.clone(),
            environment: step.environment.clone(),
            stdin: step.stdin.clone(),
            network: step.network,
            output: step.output.clone(),
            into: output.to_owned(),
        };
        let folder = tempfile::Builder::new().prefix("step-").tempdir_in(&self.own).context("cannot make a folder for a step")?;
        fs::write(folder.path().join(inside::BUNDLE), serde_json::to_vec(&bundle)?)?;
        match self.inside(&["run"], &[folder.path()]).await? {
            None => Ok(()),
            Some(said) => {
                let last: Vec<&str> = said.lines().rev().take(100).collect();
                let last: Vec<&str> = last.into_iter().rev().collect();
                Err(Fault::new(format!("the step `{}` failed; it said last:\n{}", step.name, last.join("\n"))).into())
            }
        }
    }

    fn keeps_images(&self) -> bool {
        false
    }

    async fn sweep_steps(&self, _own: bool) -> Result<()> {
        for entry in fs::read_dir(&self.steps).with_context(|| format!("cannot list `{}`", self.steps.display()))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().replace('+', " ");
            if host::has_ended(&name) {
                // Another process may sweep it too.
                let path = entry.path();
                if let Some(said) = self.inside(&["remove"], &[&path]).await? {
                    ensure!(!path.exists(), "cannot remove `{}`: {said}", path.display());
                }
            }
        }
        Ok(())
    }
}

/// Files of an archive that [`crate::oci::write_archive`] wrote: layers by their digests in
/// `folder`, and the images that it names.
fn take(archive: impl io::Read, folder: &Path) -> Result<Vec<HeldImage>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Entry {
        config: String,
        repo_tags: Vec<String>,
        layers: Vec<String>,
    }
    let blob = |name: &str| Digest::parse(&format!("sha256:{}", name.strip_prefix("blobs/sha256/")?)).ok();
    let mut entries: Vec<Entry> = Vec::new();
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let name = String::from_utf8(entry.path_bytes().into_owned())?;
        if name == "manifest.json" {
            entries = serde_json::from_reader(entry)?;
        } else if let Some(digest) = blob(&name) {
            io::copy(&mut entry, &mut File::create(folder.join(digest.hex()))?)?;
        }
    }
    let images = entries.into_iter().map(|entry| {
        let config = blob(&entry.config).context("an image has no config")?;
        let diff_ids = entry.layers.iter().map(|name| blob(name).with_context(|| format!("`{name}` is no layer")));
        Ok(HeldImage { id: config.to_string(), references: entry.repo_tags, diff_ids: diff_ids.collect::<Result<_>>()? })
    });
    images.collect()
}
