//! What runs inside the namespaces of a step, as process 1: the file system is laid out, the
//! command runs on it, and what is wanted of it is packed.
//!
//! Archives are unpacked and packed by processes whose root is that file system, so no link
//! in it leads anywhere else.

use super::{Bundle, Output};
use crate::oci::whiteout;
use anyhow::{Context, Result, bail, ensure};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The description of the step in its folder.
pub const BUNDLE: &str = "step.json";

/// The capabilities that engines give by default.
const CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// `baibox step VERB PATH…`
pub fn main(verb: &str, paths: &[PathBuf]) -> Result<()> {
    match (verb, paths) {
        ("run", [folder]) => {
            end_with_standard_input();
            let outcome = run(folder);
            // What belongs to other numbers can be removed here alone.
            let removed = fs::remove_dir_all(folder.join("rootfs"));
            outcome?;
            removed.context("cannot remove the file system of a step")
        }
        ("remove", [folder]) => fs::remove_dir_all(folder).with_context(|| format!("cannot remove `{}`", folder.display())),
        ("unpack", [root, layers @ ..]) => unpack(root, layers),
        ("pack", [root, place]) => pack(root, place),
        _ => bail!("unknown step `{verb}`"),
    }
}

/// Who waits for this holds the other end.
fn end_with_standard_input() {
    std::thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        // Process 1 takes all others with it.
        std::process::exit(137);
    });
}

fn run(folder: &Path) -> Result<()> {
    let bundle: Bundle = serde_json::from_slice(&fs::read(folder.join(BUNDLE))?).context("the step cannot be read")?;
    let root = folder.join("rootfs");
    fs::create_dir(&root)?;
    child("unpack", &root, bundle.layers.iter().map(AsRef::as_ref))?.wait_for("unpack")?;
    let mut command = Command::new("bwrap");
    command.arg("--bind").arg(&root).args(["/", "--proc", "/proc", "--dev", "/dev"]);
    command.args(["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--die-with-parent"]);
    if bundle.network {
        for file in ["/etc/resolv.conf", "/etc/hosts"] {
            command.args(["--ro-bind", file, file]);
        }
    } else {
        command.arg("--unshare-net");
    }
    command.args(["--cap-drop", "ALL"]).args(CAPABILITIES.iter().flat_map(|name| ["--cap-add", name]));
    command.arg("--clearenv").args(["--setenv", "HOME", "/root"]);
    for variable in &bundle.environment {
        let (name, value) = variable.split_once('=').with_context(|| format!("`{variable}` sets no variable"))?;
        command.args(["--setenv", name, value]);
    }
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    command.args(["--chdir", "/", "--"]).args(&bundle.command).stdin(match &bundle.stdin {
        Some(place) => File::open(place).with_context(|| format!("cannot open `{}`", place.display()))?.into(),
        None => Stdio::null(),
    });
    let create = || File::create(&bundle.into).with_context(|| format!("cannot write `{}`", bundle.into.display()));
    if matches!(bundle.output, Output::Stream { .. }) {
        command.stdout(create()?);
    }
    let status = command.status().context("cannot run `bwrap`")?;
    ensure!(status.success(), "the command ended with {status}");
    let place = match &bundle.output {
        Output::Nothing | Output::Stream { .. } => return Ok(()),
        Output::Everything => "/",
        Output::Folder(place) => place,
    };
    let mut packing = child("pack", &root, [OsStr::new(place)])?;
    let mut stream = packing.0.stdout.take().context("`pack` has no output")?;
    io::copy(&mut stream, &mut create()?)?;
    packing.wait_for("pack")
}

struct Child(std::process::Child);

/// This program again, for what is done with the step's file system as root.
fn child<'a>(verb: &str, root: &Path, more: impl IntoIterator<Item = &'a OsStr>) -> Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.args(["--quiet", "step", verb]).arg(root).args(more).stdin(Stdio::null());
    if verb == "pack" {
        command.stdout(Stdio::piped());
    }
    Ok(Child(command.spawn().with_context(|| format!("cannot run `{verb}`"))?))
}

impl Child {
    fn wait_for(mut self, what: &str) -> Result<()> {
        let status = self.0.wait()?;
        ensure!(status.success(), "`{what}` ended with {status}");
        Ok(())
    }
}

/// Opens first what is elsewhere, and makes the folder this process's root.
fn enter(root: &Path) -> Result<()> {
    rustix::process::chroot(root).with_context(|| format!("cannot enter `{}`", root.display()))?;
    std::env::set_current_dir("/").context("cannot enter the step's file system")
}

fn unpack(root: &Path, layers: &[PathBuf]) -> Result<()> {
    let open = |path: &PathBuf| File::open(path).with_context(|| format!("cannot open `{}`", path.display()));
    let files: Vec<File> = layers.iter().map(open).collect::<Result<_>>()?;
    enter(root)?;
    // Modes are as they are said; folders that no layer names are as engines make them.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    for mut file in files {
        whiteouts(&file)?;
        file.rewind()?;
        let mut archive = tar::Archive::new(BufReader::with_capacity(1 << 18, file));
        archive.set_preserve_permissions(true);
        archive.set_preserve_ownerships(true);
        archive.set_preserve_mtime(true);
        archive.set_ignore_zeros(true);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = entry.path()?.into_owned();
            if removes(&path)?.is_some() {
                continue;
            }
            // As engines do: only a folder on a folder adds to what is there.
            if !(entry.header().entry_type().is_dir() && is_folder(&path)) {
                remove(&path)?;
            }
            let placed = entry.unpack_in("/").with_context(|| format!("cannot unpack `{}`", path.display()))?;
            ensure!(placed, "`{}` leads out of the file system", path.display());
        }
    }
    Ok(())
}

fn removes(path: &Path) -> Result<Option<String>> {
    let Some(name) = path.to_str() else { return Ok(None) };
    whiteout(name).with_context(|| format!("cannot unpack `{name}`"))
}

/// Removes what a layer removes, which is of the layers below, wherever in the layer that is said.
fn whiteouts(layer: &File) -> Result<()> {
    // Contents are passed over, so more than a header would be read for nothing.
    let mut archive = tar::Archive::new(BufReader::with_capacity(1 << 10, layer));
    archive.set_ignore_zeros(true);
    for entry in archive.entries_with_seek()? {
        let path = entry?.path()?.into_owned();
        let Some(gone) = removes(&path)? else { continue };
        let path = Path::new(&gone);
        if !gone.is_empty() && !gone.ends_with('/') {
            remove(path)?;
        } else if is_folder(path) {
            for below in fs::read_dir(Path::new("/").join(path))? {
                remove(&below?.path())?;
            }
        }
    }
    Ok(())
}

fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(Path::new("/").join(path)).is_ok_and(|found| found.is_dir())
}

fn remove(path: &Path) -> Result<()> {
    let path = Path::new("/").join(path);
    let removed = match fs::symlink_metadata(&path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(&path),
        Ok(_) => fs::remove_file(&path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    removed.with_context(|| format!("cannot remove `{}`", path.display()))
}

/// What is mounted while a step runs belongs to no image.
const MOUNTED: [&str; 3] = ["dev", "proc", "sys"];

fn pack(root: &Path, place: &Path) -> Result<()> {
    enter(root)?;
    let out = BufWriter::with_capacity(1 << 18, io::stdout().lock());
    let mut builder = tar::Builder::new(out);
    builder.follow_symlinks(false);
    if let Some(name) = place.file_name() {
        builder.append_dir_all(name, place).with_context(|| format!("cannot pack `{}`", place.display()))?;
    } else {
        let mut entries: Vec<_> = fs::read_dir("/")?.collect::<Result<_, _>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries.iter().filter(|entry| MOUNTED.iter().all(|name| entry.file_name() != *name)) {
            let (path, name) = (entry.path(), entry.file_name());
            let packed = match entry.file_type()?.is_dir() {
                true => builder.append_dir_all(&name, &path),
                false => builder.append_path_with_name(&path, &name),
            };
            packed.with_context(|| format!("cannot pack `{}`", path.display()))?;
        }
    }
    builder.into_inner()?.flush()?;
    Ok(())
}
