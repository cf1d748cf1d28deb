//! A new environment: its folder is free, its ports and network are nobody else's.

use super::{Environment, free_port, free_subnet, listens_nowhere, random_word};
use crate::error::Fault;
use crate::model::{Branch, EnvironmentId};
use crate::release::Catalog;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What services prove themselves to each other by.
const SECRETS: [&str; 6] =
    ["database", "storage-manager", "storage-client", "app-proxy-api", "app-proxy-jwt", "app-proxy-permit"];

/// Chooses what a new environment needs; nothing is written before it is saved.
///
/// `ports` are the usual ones by service, `all` the environments that are there, also
/// those that are stopped, and `subnets` the engine's networks.
pub fn create(
    id: EnvironmentId,
    branch: Branch,
    folder: PathBuf,
    ports: &BTreeMap<String, u16>,
    all: &[Environment],
    subnets: &[String],
) -> Result<Environment> {
    apart(&folder, &id, all)?;
    let adopted = adopted(&folder, &id, &branch)?;
    if adopted.is_empty() {
        empty_or_ours(&folder, &id)?;
    }
    // Another engine beside this one has networks, too.
    let there = subnets.iter().cloned().chain(crate::host::networks());
    let used: Vec<String> = there.chain(all.iter().map(|other| other.subnet.clone())).collect();
    let (subnet, gateway) = free_subnet(&used, rand::random())?;
    let mut made = Environment {
        id,
        branch,
        folder,
        ports: BTreeMap::new(),
        blocks: BTreeMap::new(),
        subnet,
        gateway,
        secrets: BTreeMap::new(),
        ulimits: None,
        debug: BTreeMap::new(),
        references: BTreeMap::new(),
        mix: BTreeMap::new(),
        standalone: None,
        cuda: None,
        adopted,
        owner: None,
        home: None,
        images: BTreeMap::new(),
        superseded: BTreeSet::new(),
    };
    complete(&mut made, ports, all)?;
    Ok(made)
}

/// Gives an environment the ports and secrets that it has not; those that it has stay.
pub fn complete(environment: &mut Environment, ports: &BTreeMap<String, u16>, all: &[Environment]) -> Result<()> {
    let blocks = environment.release()?.blocks;
    let mut taken: BTreeSet<u16> = all.iter().flat_map(Environment::leases).map(|(_, port)| port).collect();
    for (service, wanted) in ports.iter().filter(|(service, _)| !environment.ports.contains_key(*service)).collect::<Vec<_>>() {
        let count = blocks.get(service).copied().unwrap_or(1);
        let all = |first: u16| first..first.saturating_add(count);
        let free = |first| all(first).all(|port| !taken.contains(&port) && listens_nowhere(port));
        let port = free_port(service, *wanted, &taken, free)?;
        taken.extend(all(port));
        environment.ports.insert(service.clone(), port);
        if count > 1 {
            environment.blocks.insert(service.clone(), count);
        }
    }
    for name in SECRETS {
        environment.secrets.entry(name.to_owned()).or_insert_with(|| random_word(32));
    }
    Ok(())
}

/// Names of components that have git working trees in a folder which is no environment yet.
fn adopted(folder: &Path, id: &EnvironmentId, branch: &Branch) -> Result<BTreeSet<String>> {
    if folder.join(".baibox").join(id.as_str()).is_dir() {
        return Ok(BTreeSet::new());
    }
    let release = Catalog::release(branch.as_str())?;
    let names = release.components.iter().chain(&release.optional).map(|component| component.name.clone());
    let found: BTreeSet<String> = names.filter(|name| folder.join(name).join(".git").exists()).collect();
    // These would be written, and are somebody's.
    if let Some(taken) = [".baibox", ".devcontainer"].into_iter().find(|name| !found.is_empty() && folder.join(name).exists()) {
        return Err(Fault::usage(format!("`{}` is there already", folder.join(taken).display()))
            .hint("move it away, or name another folder with `--path FOLDER`")
            .into());
    }
    Ok(found)
}

/// One folder is one environment's: what is below it goes with it.
fn apart(folder: &Path, id: &EnvironmentId, all: &[Environment]) -> Result<(), Fault> {
    let touches = |other: &&Environment| folder.starts_with(&other.folder) || other.folder.starts_with(folder);
    let Some(other) = all.iter().filter(|other| other.id != *id).find(touches) else { return Ok(()) };
    let relation = match () {
        () if other.folder == folder => "is",
        () if folder.starts_with(&other.folder) => "is inside",
        () => "holds",
    };
    let message =
        format!("the folder `{}` {relation} that of the environment `{}`: each needs its own", folder.display(), other.id);
    Err(Fault::usage(message)
        .hint("name another one with `--path FOLDER`")
        .hint(format!("or use that environment: `--env {}`", other.id)))
}

/// A folder with other things in it is not taken over.
fn empty_or_ours(folder: &Path, id: &EnvironmentId) -> Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
            let fault = Fault::usage(format!("`{}` is no folder", folder.display()));
            return Err(fault.hint("name another one with `--path FOLDER`").into());
        }
        entries => entries.with_context(|| format!("cannot list `{}`", folder.display()))?,
    };
    if entries.count() > 0 && !folder.join(".baibox").join(id.as_str()).is_dir() {
        return Err(Fault::usage(format!("the folder `{}` is not empty and not an environment of baibox", folder.display()))
            .hint("name another one with `--path FOLDER`")
            .into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_of_several_ports_steps_aside_with_all_of_them() {
        let value = |ports: serde_json::Value| {
            let value = serde_json::json!({
                "id": "one", "branch": "24.03", "folder": "/home/one", "ports": ports, "subnet": "", "gateway": "",
                "secrets": {}, "images": {},
            });
            serde_json::from_value::<Environment>(value).unwrap()
        };
        // Another one has a port in the midst.
        let other = value(serde_json::json!({ "app-proxy-worker": 10205 }));
        let mut one = value(serde_json::json!({}));
        complete(&mut one, &Catalog::release("24.03").unwrap().ports, &[other]).unwrap();
        let first = one.ports["wsproxy-apps"];
        assert!(first > 10200 && first % 1000 == 200, "{first}");
        let held: Vec<u16> = one.leases().filter(|(lease, _)| *lease == "wsproxy-apps").map(|(_, port)| port).collect();
        assert_eq!(held, (first..first + 20).collect::<Vec<_>>());
        // It holds all of them for others to see.
        let mut next = value(serde_json::json!({}));
        complete(&mut next, &Catalog::release("24.03").unwrap().ports, &[one]).unwrap();
        assert!(!held.contains(&next.ports["wsproxy-apps"]));
    }

    #[test]
    fn environments_do_not_share_folders() {
        let value = serde_json::json!({
            "id": "one", "branch": "21.03", "folder": "/home/one", "ports": {}, "subnet": "", "gateway": "", "secrets": {},
            "images": {},
        });
        let all = [serde_json::from_value::<Environment>(value).unwrap()];
        let check = |folder: &str, id: &str, wanted: Option<&str>| {
            let outcome = apart(Path::new(folder), &EnvironmentId::parse(id).unwrap(), &all);
            match (&outcome, wanted) {
                (Ok(()), None) => {}
                (Err(fault), Some(words)) => assert!(fault.message.contains(words), "{}", fault.message),
                _ => panic!("{folder} {id}: {outcome:?}"),
            }
        };
        check("/home/one", "two", Some("`/home/one` is that of the environment `one`"));
        check("/home/one/two", "two", Some("is inside that of"));
        check("/home", "two", Some("holds that of"));
        check("/home/one", "one", None);
        check("/home/onetwo", "two", None);
    }

    #[test]
    fn somebody_elses_folder_is_refused_and_ours_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let id = EnvironmentId::parse("one").unwrap();
        empty_or_ours(folder.path(), &id).unwrap();
        empty_or_ours(&folder.path().join("absent"), &id).unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        assert!(empty_or_ours(folder.path(), &id).is_err());
        let file = empty_or_ours(&folder.path().join("file"), &id).unwrap_err();
        assert!(file.to_string().contains("file` is no folder"), "{file}");
        std::fs::create_dir_all(folder.path().join(".baibox/one")).unwrap();
        empty_or_ours(folder.path(), &id).unwrap();
    }

    #[test]
    fn clones_that_are_there_are_taken_and_nobodys_files_are() {
        let folder = tempfile::tempdir().unwrap();
        let branch = Branch::parse("21.03", &["21.03".to_owned()]).unwrap();
        let id = EnvironmentId::parse("one").unwrap();
        let taken = || adopted(folder.path(), &id, &branch);
        std::fs::create_dir_all(folder.path().join("other/.git")).unwrap();
        std::fs::create_dir_all(folder.path().join("agent")).unwrap();
        assert!(taken().unwrap().is_empty(), "neither another repository nor a plain folder");
        std::fs::create_dir_all(folder.path().join("manager/.git")).unwrap();
        assert_eq!(taken().unwrap(), ["manager".to_owned()].into());
        std::fs::create_dir(folder.path().join(".devcontainer")).unwrap();
        assert!(taken().unwrap_err().to_string().contains("is there already"));
        std::fs::create_dir_all(folder.path().join(".baibox/one")).unwrap();
        assert!(taken().unwrap().is_empty(), "it is an environment already");
    }
}
