//! Against the configured index: `cargo test --lib python::real -- --ignored --nocapture`.

use super::*;
use crate::fetch::Fetcher;
use crate::model::Digest;
use crate::store::Store;
use select::Target;
use std::fmt::Write;
use std::time::Instant;

struct World {
    store: Store,
    fetcher: Fetcher,
    index: Index,
}

impl World {
    fn open() -> Self {
        let store = Store::open(&std::env::temp_dir().join("baibox-python-test")).unwrap();
        let base =
            index::configured().or_else(index::default_of_host_pip).expect("skipped: this host has neither an index nor pip");
        Self { fetcher: Fetcher::new(&store).unwrap(), index: Index::new(&base), store }
    }
}

/// What the lock says, chosen anew: the shipped lock is what the code would write.
#[tokio::test]
#[ignore = "needs a package index"]
async fn the_shipped_lock_is_what_the_index_gives_at_its_cut_off() {
    let world = World::open();
    let text = std::fs::read_to_string("images/releases/21.03/python.lock").unwrap();
    // Read without checks, so that the test also fills in what a new field lacks.
    let table: toml::Table = text.parse().unwrap();
    let python = table["python"].as_str().unwrap();
    let target = Target::parse(python, 31, "linux/amd64").unwrap();
    let cutoff = table["cutoff"].as_str().unwrap();
    let field = |file: &toml::Value, name: &str| file[name].as_str().unwrap().to_owned();
    let mut files = String::new();
    let mut faults = Vec::new();
    for file in table["file"].as_array().unwrap() {
        let (name, version) = (field(file, "name"), field(file, "version"));
        let chosen = world.index.choose(&world.fetcher, &name, &version, &target, Some(cutoff)).await.unwrap();
        if (chosen.file != field(file, "file")) || chosen.sha256 != Digest::parse(&field(file, "sha256")).unwrap() {
            faults.push(format!("{name} {version}: locked `{}`, chosen `{}`", field(file, "file"), chosen.file));
        }
        if file.get("size").and_then(toml::Value::as_integer) != i64::try_from(chosen.size).ok() {
            faults.push(format!("{name} {version}: the size is {}", chosen.size));
        }
        write!(files, "\n[[file]]\n{}", toml::to_string(&chosen).unwrap()).unwrap();
    }
    let head = text.split("\n[[file]]").next().unwrap().to_owned();
    let written = std::env::temp_dir().join("baibox-python-test/python.lock");
    std::fs::write(&written, head + &files).unwrap();
    assert!(faults.is_empty(), "{}\nas chosen: {}", faults.join("\n"), written.display());
}

#[tokio::test]
#[ignore = "needs a package index"]
async fn every_wheel_of_the_shipped_lock_becomes_a_tree() {
    let world = World::open();
    for branch in ["20.09", "21.03", "21.09"] {
        let text = std::fs::read_to_string(format!("images/releases/{branch}/python.lock")).unwrap();
        let lock = PythonLock::parse(&text).unwrap();
        let layout = Layout::new(&lock.python);
        let since = Instant::now();
        let downloads = lock.files.iter().map(|file| async {
            let urls = world.index.urls(&world.fetcher, &file.name, &file.file).await?;
            world.fetcher.file(&urls, &file.sha256).await
        });
        futures_util::future::try_join_all(downloads).await.unwrap();
        let bytes: u64 = lock.files.iter().map(|file| file.size).sum();
        eprintln!("{branch}: {} files, {} MB in {:.1} s", lock.files.len(), bytes >> 20, since.elapsed().as_secs_f64());
        let since = Instant::now();
        let mut trees = std::collections::BTreeMap::new();
        for file in &lock.files {
            let bytes = world.store.read(&file.sha256).unwrap();
            assert_eq!(bytes.len() as u64, file.size, "{}", file.file);
            if file.is_wheel() {
                let tree = wheel::install(&file.file, &bytes, &layout).unwrap_or_else(|fault| panic!("{fault}"));
                tree.check().unwrap();
                trees.insert(file.pin(), tree);
            }
        }
        eprintln!("{branch}: {} wheels as trees in {:.1} s", trees.len(), since.elapsed().as_secs_f64());
        // No file of an environment is in two packages: the order of fragments does not decide.
        for (environment, pins) in &lock.environments {
            let mut owner = std::collections::BTreeMap::new();
            for (pin, tree) in pins.iter().filter_map(|pin| Some((pin, trees.get(pin)?))) {
                for (path, node) in tree.iter().filter(|(_, node)| matches!(node, crate::oci::Node::File { .. })) {
                    if let Some((other, before)) = owner.insert(path.to_owned(), (pin, node)) {
                        eprintln!(
                            "{environment}: `{path}` is in `{other}` and in `{pin}`{}",
                            if before == node { ", equal" } else { "" }
                        );
                    }
                }
            }
        }
    }
}
