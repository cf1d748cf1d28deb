//! What environments take on disk.

use super::Context;
use crate::build::Fragment;
use crate::engine::{Engine, Output, Step};
use crate::environment::{self, Environment};
use crate::model::Digest;
use crate::oci::Layer;
use crate::registry::Compressed;
use crate::store::Store;
use crate::ui::{bytes, table};
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes of one environment.
#[derive(Debug, Default, Serialize)]
struct Account {
    id: String,
    /// Layers that no other environment stands on.
    images: u64,
    /// Layers that others stand on too.
    shared_images: u64,
    /// Volumes, virtual folders, and what containers wrote.
    data: u64,
    trees: u64,
    snapshots: u64,
    /// What goes with the environment.
    together: u64,
}

/// Layers of an image, lowest first, with their sizes in the engine.
type Layers = Vec<(Digest, u64)>;

pub async fn run(context: &Context) -> Result<()> {
    let environments = environment::list(&context.store)?;
    let engine = context.engine().await?;
    let mut images: BTreeMap<&str, Vec<Layers>> = BTreeMap::new();
    let mut known: BTreeMap<&String, Layers> = BTreeMap::new();
    for environment in &environments {
        for reference in environment.images.values().chain(&environment.superseded) {
            if !known.contains_key(reference) {
                known.insert(reference, engine.layers(reference).await?);
            }
            images.entry(environment.id.as_str()).or_default().push(known[reference].clone());
        }
    }
    let shares = shares(&images);
    let measured = environments.iter().map(|environment| measure(context, &*engine, environment));
    let mut accounts = Vec::new();
    for (environment, account) in environments.iter().zip(futures_util::future::try_join_all(measured).await?) {
        let (images, shared_images) = shares.get(environment.id.as_str()).copied().unwrap_or_default();
        let together = images + account.data + account.trees + account.snapshots;
        accounts.push(Account { images, shared_images, together, ..account });
    }
    let shared = shared(&images);
    let kinds = kinds(&context.store)?;
    let store = kinds.values().sum();
    let all = accounts.iter().map(|account| account.together).sum::<u64>() + shared + store;
    let heads = ["ENVIRONMENT", "IMAGES", "DATA", "TREES", "SNAPSHOTS", "TOGETHER", "SHARED IMAGES"];
    let mut rows = vec![heads.map(String::from).to_vec()];
    rows.extend(accounts.iter().map(|one| {
        let figures = [one.images, one.data, one.trees, one.snapshots, one.together, one.shared_images];
        std::iter::once(one.id.clone()).chain(figures.map(bytes)).collect()
    }));
    let sums = [
        ("each environment by itself", all - shared - store),
        ("layers that several of them share, once", shared),
        ("store", store),
    ];
    let mut sums: Vec<Vec<String>> = sums.iter().map(|(name, count)| vec![(*name).to_owned(), bytes(*count)]).collect();
    sums.extend(kinds.iter().map(|(kind, count)| vec![format!("  {kind}"), bytes(*count)]));
    sums.push(vec!["all".into(), bytes(all)]);
    let value =
        serde_json::json!({"environments": accounts, "shared_images": shared, "store": store, "store_kinds": kinds, "all": all});
    context.print(&value, &format!("{}\n\n{}", table(&rows), table(&sums)))
}

/// What actions record of blobs that were made here.
#[derive(Deserialize)]
#[serde(untagged)]
enum Record {
    Fragment(Fragment),
    Layer(Layer),
    Compressed(Compressed),
}

/// Bytes of the store by what they are; a blob that no action made was downloaded.
fn kinds(store: &Store) -> Result<BTreeMap<&'static str, u64>> {
    let (mut fragments, mut layers) = (BTreeSet::new(), BTreeSet::new());
    for record in store.outcomes::<Record>()? {
        match record {
            Record::Fragment(made) => fragments.extend([made.folders, made.content]),
            Record::Layer(made) => layers.extend(made.fragments),
            Record::Compressed(made) => drop(layers.insert(made.digest)),
        }
    }
    let mut kinds = BTreeMap::from([("git", on_disk(&store.root().join("git"))?)]);
    for (digest, path) in store.blobs()? {
        let kind = match () {
            () if fragments.contains(&digest) => "fragments",
            () if layers.contains(&digest) => "layers",
            () => "downloads",
        };
        *kinds.entry(kind).or_default() += on_disk(&path)?;
    }
    let rest = on_disk(store.root())?.saturating_sub(kinds.values().sum());
    kinds.insert("the rest", rest);
    Ok(kinds)
}

/// Bytes of the layers that only one environment stands on, and of those that it shares.
/// An engine keeps a layer once for all that stand on the same layers below it.
fn shares<'a>(images: &BTreeMap<&'a str, Vec<Layers>>) -> BTreeMap<&'a str, (u64, u64)> {
    let users = users(images);
    let mut shares: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (size, ids) in users.values() {
        for id in ids {
            let (own, shared) = shares.entry(id).or_default();
            *(if ids.len() == 1 { own } else { shared }) += size;
        }
    }
    shares
}

fn shared(images: &BTreeMap<&str, Vec<Layers>>) -> u64 {
    users(images).values().filter(|(_, ids)| ids.len() > 1).map(|(size, _)| size).sum()
}

/// Each layer by what it stands on, with its size and who uses it.
fn users<'a>(images: &BTreeMap<&'a str, Vec<Layers>>) -> BTreeMap<Vec<Digest>, (u64, BTreeSet<&'a str>)> {
    let mut users: BTreeMap<Vec<Digest>, (u64, BTreeSet<&str>)> = BTreeMap::new();
    for (id, images) in images {
        for layers in images {
            let mut chain = Vec::new();
            for (digest, size) in layers {
                chain.push(digest.clone());
                let (known, ids) = users.entry(chain.clone()).or_default();
                *known = *size;
                ids.insert(id);
            }
        }
    }
    users
}

/// Asks a container, which may read what belongs to root, also on another host.
async fn measure(context: &Context, engine: &dyn Engine, environment: &Environment) -> Result<Account> {
    let id = environment.id.to_string();
    let image = environment.images.get("postgres").cloned().unwrap_or_default();
    // One that was never built has none.
    if image.is_empty() || engine.layers(&image).await?.is_empty() {
        context.ui.warn(&format!("the images of `{id}` are not in the engine: its data is not counted"));
        return Ok(Account { id, trees: on_disk(&environment.folder)?, ..Account::default() });
    }
    let state = format!("/environment/.baibox/{id}");
    let places = ["/volumes".to_owned(), "/environment".to_owned(), state.clone(), format!("{state}/snapshots")];
    let script = "mkdir -p /volumes; for place; do du -s -B1 -- \"$place\" 2> /dev/null || echo 0; done | cut -f1 > /sizes";
    let volumes = engine.volumes(&environment.id).await?;
    let step = Step {
        name: format!("size of {id}"),
        image,
        command: ["/bin/sh", "-c", script, "size"].map(String::from).into_iter().chain(places).collect(),
        binds: volumes
            .iter()
            .map(|name| format!("{name}:/volumes/{name}:ro"))
            .chain([format!("{}:/environment:ro", environment.folder.display())])
            .collect(),
        output: Output::Folder("/sizes".into()),
        ..Step::default()
    };
    let output = tempfile::NamedTempFile::new_in(context.store.temporary())?;
    engine.run_step(&step, output.path()).await?;
    let mut text = String::new();
    for entry in tar::Archive::new(output.reopen()?).entries()? {
        std::io::Read::read_to_string(&mut entry?, &mut text)?;
    }
    let sizes: Vec<u64> = text.lines().filter_map(|line| line.parse().ok()).collect();
    let [volumes, folder, state, snapshots] = sizes[..] else {
        anyhow::bail!("the sizes of `{id}` were not told: {text}");
    };
    let written = engine.written(&environment.id).await?;
    Ok(Account { id, data: volumes + state - snapshots + written, trees: folder - state, snapshots, ..Account::default() })
}

/// Bytes that a folder takes; what is not there takes none.
fn on_disk(path: &Path) -> Result<u64> {
    let failed = || format!("cannot look at `{}`", path.display());
    let metadata = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        metadata => metadata.with_context(failed)?,
    };
    let own = metadata.blocks() * 512;
    if !metadata.is_dir() {
        return Ok(own);
    }
    let entries = std::fs::read_dir(path).with_context(failed)?;
    entries.map(|entry| on_disk(&entry.with_context(failed)?.path())).try_fold(own, |sum, size| Ok(sum + size?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_counts_once_and_by_what_it_stands_on() {
        let layer = |name: &str, size: u64| (Digest::of(name.as_bytes()), size);
        let images = BTreeMap::from([
            ("one", vec![vec![layer("base", 100), layer("a", 10)], vec![layer("base", 100), layer("b", 1)]]),
            ("two", vec![vec![layer("base", 100), layer("a", 10)], vec![layer("a", 10)]]),
        ]);
        // The layer `a` on nothing is another one than on `base`.
        assert_eq!(shares(&images), BTreeMap::from([("one", (1, 110)), ("two", (10, 110))]));
        assert_eq!(shared(&images), 110);
    }

    #[test]
    fn the_store_is_told_by_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let put = |count: usize| store.put(&vec![count as u8; count * 100_000]).unwrap();
        let (folders, content, own) = (put(1), put(2), put(3));
        let (packed, _download) = (Compressed { digest: put(4), size: 400_000 }, put(5));
        let layer = Layer { title: "x".into(), diff_id: Digest::of(b""), size: 0, fragments: vec![own, content.clone()] };
        let record = |name: &str, value: serde_json::Value| store.record_action(&Digest::of(name.as_bytes()), &value).unwrap();
        record("fragment", serde_json::to_value(Fragment { folders, content }).unwrap());
        record("layer", serde_json::to_value(layer).unwrap());
        record("compressed", serde_json::to_value(packed).unwrap());
        record("other", serde_json::json!("says something by itself"));
        let found = kinds(&store).unwrap();
        let about = |kind: &str| found[kind] / 100_000;
        assert_eq!([about("fragments"), about("layers"), about("downloads"), about("git")], [3, 7, 5, 0]);
        assert_eq!(found.values().sum::<u64>(), on_disk(folder.path()).unwrap());
    }

    #[test]
    fn folders_take_at_least_what_is_in_them() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("inner")).unwrap();
        std::fs::write(folder.path().join("inner/file"), vec![1; 100_000]).unwrap();
        assert!((100_000..200_000).contains(&on_disk(folder.path()).unwrap()));
        assert_eq!(on_disk(&folder.path().join("absent")).unwrap(), 0);
    }
}
