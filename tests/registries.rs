//! Registries that lie: what they send is changed at random, and wrong in ways that are known.
//! An error names what is wrong, and nothing is kept that is not what its name says.

mod fire;

use baibox::model::{Digest, Platform};
use baibox::oci::{END_MARKER, Layer, Node, Settings};
use baibox::plan::{ImagePlan, LayerPlan};
use baibox::registry::{self, LAYER_KEY, Place, Registry};
use baibox::release::BaseLayer;
use baibox::store::Store;
use fire::{below, change, gzip, rounds, tar_of, under_fire_for};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// Files by the ends of their addresses.
type Answers = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// A registry that answers with what it has at the moment; gives its host and port.
fn serve(answers: Answers) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines: Vec<String> =
                BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
            let path = lines.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
            let name = path.rsplit('/').next().unwrap_or_default();
            let (status, body) = match answers.lock().unwrap().get(name) {
                _ if path == "/v2/" => ("200 OK", Vec::new()),
                Some(body) => ("200 OK", body.clone()),
                None => ("404 Not Found", Vec::new()),
            };
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            // Who has had enough hangs up.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    address
}

/// An image as a registry has it, whose parts may be changed before they are named by their digests.
#[derive(Clone)]
struct Remote {
    layers: Vec<Vec<u8>>,
    diff_ids: Vec<Digest>,
    plan: ImagePlan,
}

impl Remote {
    fn new(tars: &[Vec<u8>]) -> Self {
        let layer = |tar: &Vec<u8>| LayerPlan { title: "layer".into(), fragments: vec![Digest::of(tar)], blob: None };
        let plan = ImagePlan {
            name: "x".into(),
            reference: "baibox.local/21.03/x:tag".into(),
            layers: tars.iter().map(layer).collect(),
            settings: Settings::default(),
        };
        Self {
            layers: tars.iter().map(|tar| gzip(tar)).collect(),
            diff_ids: tars.iter().map(|tar| Digest::of(tar)).collect(),
            plan,
        }
    }
    fn config(&self) -> Vec<u8> {
        serde_json::to_vec(&json!({ "rootfs": { "type": "layers", "diff_ids": self.diff_ids } })).unwrap()
    }
    fn manifest(&self, config: &[u8]) -> Vec<u8> {
        let layers = self.layers.iter().zip(&self.plan.layers).map(|(bytes, planned)| {
            json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                "digest": Digest::of(bytes),
                "size": bytes.len(),
                "annotations": { LAYER_KEY: planned.key() },
            })
        });
        let config = json!({ "mediaType": "x", "digest": Digest::of(config), "size": config.len() });
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers.collect::<Vec<_>>() });
        serde_json::to_vec(&manifest).unwrap()
    }
    fn answers(&self, config: &[u8], manifest: Vec<u8>) -> BTreeMap<String, Vec<u8>> {
        let blobs = self.layers.iter().map(Vec::as_slice).chain([config]);
        let blobs = blobs.map(|bytes| (Digest::of(bytes).to_string(), bytes.to_vec()));
        blobs.chain([("tag".to_owned(), manifest)]).collect()
    }
}

/// Takes an image into a new store, where nothing may be that is not what the image's config says; the layers that came.
fn pulled(registry: &Registry, plan: &ImagePlan, diff_ids: &[Digest]) -> Result<usize, String> {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::open(scratch.path()).unwrap();
    let diff_id = |content: Vec<u8>| Digest::of(&[content, END_MARKER.to_vec()].concat());
    let keep = |key: &Digest, layer: &Layer| {
        assert!(plan.layers.iter().any(|planned| planned.key() == *key));
        let content = layer.fragments.iter().flat_map(|digest| store.read(digest).unwrap()).collect::<Vec<u8>>();
        assert_eq!((layer.size, &layer.diff_id), ((content.len() + END_MARKER.len()) as u64, &diff_id(content)));
        Ok(())
    };
    // One of its own: it ends when what was begun in it has.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(registry::pull(registry, &store, plan, |_| true, keep));
    drop(runtime);
    assert!(std::fs::read_dir(store.temporary()).unwrap().next().is_none(), "something half-made is left");
    let mut found = Vec::new();
    below(&scratch.path().join("blobs"), &mut found);
    for blob in found.iter().filter(|path| path.is_file()) {
        assert!(diff_ids.contains(&diff_id(std::fs::read(blob).unwrap())), "{}", blob.display());
    }
    outcome.map_err(|error| baibox::error::render(&error))
}

#[test]
fn what_a_registry_sends_is_not_believed() {
    let tars = [
        tar_of(&[("a", Node::file(0o644, "x"))]),
        tar_of(&[("b", Node::file(0o755, "program")), ("c", Node::Symlink { target: "b".into() })]),
    ];
    let answers = Answers::default();
    let registry = Registry::new(Place::parse(&format!("{}/team", serve(answers.clone()))).unwrap(), false).unwrap();
    let good = Remote::new(&tars);
    let pull = |said: &[Digest]| pulled(&registry, &good.plan, said);
    *answers.lock().unwrap() = good.answers(&good.config(), good.manifest(&good.config()));
    assert_eq!(pull(&good.diff_ids), Ok(2));

    // What is changed, and whether the digests that name it are changed with it.
    let inside = |random: &mut StdRng, _: Vec<u8>| {
        let mut remote = good.clone();
        let mut config = good.config();
        let one = random.random_range(0..2);
        match random.random_range(0..6) {
            0 => change(random, &mut config),
            1 => change(random, &mut remote.layers[one]),
            2 => {
                let mut tar = tars[one].clone();
                change(random, &mut tar);
                remote.layers[one] = gzip(&tar);
                remote.diff_ids[one] = Digest::of(&tar);
                config = remote.config();
            }
            _ => {}
        }
        let mut manifest = remote.manifest(&config);
        let mut served = remote.answers(&config, Vec::new());
        match random.random_range(0..3) {
            0 => change(random, &mut manifest),
            1 => {
                let one = random.random_range(0..3);
                change(random, served.values_mut().nth(one).unwrap());
            }
            _ => {}
        }
        served.insert("tag".into(), manifest);
        *answers.lock().unwrap() = served;
        config
    };
    under_fire_for(rounds() / 10, "answers of registries", &[Vec::new()], inside, |config| {
        let config: serde_json::Value = serde_json::from_slice(config).unwrap_or_default();
        pull(&serde_json::from_value::<Vec<Digest>>(config["rootfs"]["diff_ids"].clone()).unwrap_or_default()).is_ok()
    });

    // Answers that are wrong in one known way, and what is said of them.
    let refused = |remote: &Remote, manifest: &dyn Fn(serde_json::Value) -> serde_json::Value, says: &str| {
        let config = remote.config();
        let manifest = manifest(serde_json::from_slice(&remote.manifest(&config)).unwrap());
        *answers.lock().unwrap() = remote.answers(&config, serde_json::to_vec(&manifest).unwrap());
        let said = pull(&remote.diff_ids).unwrap_err();
        assert!(said.contains(says), "{says}: {said}");
    };
    let as_it_is = |manifest| manifest;
    let set = |place: &'static str, value: serde_json::Value| {
        move |mut manifest: serde_json::Value| {
            *manifest.pointer_mut(place).unwrap() = value.clone();
            manifest
        }
    };
    refused(&good, &set("/layers/0/mediaType", json!("application/vnd.oci.image.layer.v1.tar+lzma")), "tar+lzma` is not known");
    refused(&good, &set("/layers/0/size", json!(7)), "it is not of the 7 bytes that are told");
    refused(&good, &set("/layers/1/size", json!(1u64 << 40)), "bytes that are told");
    refused(&good, &set("/layers/1/size", json!(-1)), "it is not of the -1 bytes that are told");
    refused(&good, &set("/layers/0/digest", json!(Digest::of(&good.config()))), "is not what it says");
    refused(&good, &set("/layers/0/digest", json!("sha256:../../x")), "");
    refused(&good, &set("/config/size", json!(1u64 << 40)), "an image config of 1099511627776 bytes");
    refused(&good, &set("/layers", json!([])), "is not an image that baibox pushed");
    let mut member = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    member.write_all(&vec![0; 4 << 20]).unwrap();
    let bomb = Remote { layers: vec![member.finish().unwrap().repeat(40), good.layers[1].clone()], ..good.clone() };
    refused(&bomb, &as_it_is, "it unpacks to more than");
    let other = Remote { layers: vec![good.layers[1].clone(), good.layers[1].clone()], ..good.clone() };
    refused(&other, &as_it_is, &format!("not `{}`", good.diff_ids[0]));
    let short = Remote { layers: vec![gzip(b"short"), good.layers[1].clone()], ..good.clone() };
    refused(&short, &as_it_is, "it does not end as a layer does");
    // A manifest is not read to its end, however long it is.
    *answers.lock().unwrap() = good.answers(&good.config(), vec![b' '; 64 << 20]);
    let said = pull(&good.diff_ids).unwrap_err();
    assert!(said.contains("is not what it says") && said.contains("it is of more than 4194304 bytes"), "{said}");
    let deep = "[".repeat(100_000);
    *answers.lock().unwrap() = good.answers(&good.config(), deep.into_bytes());
    assert!(pull(&good.diff_ids).unwrap_err().contains("is not an image that baibox pushed"));
}

#[test]
fn an_image_to_stand_on_is_pinned_and_taken_only_as_it_says_it_is() {
    let tars = [
        tar_of(&[("usr/lib/os-release", Node::file(0o644, "ID=debian\n")), ("etc/x", Node::file(0o644, "x"))]),
        tar_of(&[("etc/x", Node::Removed)]),
    ];
    let answers = Answers::default();
    let reference = format!("{}/team/python:tag", serve(answers.clone()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let good = Remote::new(&tars);
    let config = |os: &str| {
        let rootfs = json!({ "type": "layers", "diff_ids": good.diff_ids });
        let own = json!({ "Env": ["PATH=/usr/local/bin:/bin", "PYTHON_VERSION=3.9.2"] });
        serde_json::to_vec(&json!({ "os": os, "architecture": "amd64", "config": own, "rootfs": rootfs })).unwrap()
    };
    let index = |digest: &Digest, architecture: &str| {
        let platform = json!({ "os": "linux", "architecture": architecture });
        let entry = json!({ "mediaType": "x", "digest": digest, "size": 1, "platform": platform });
        serde_json::to_vec(&json!({ "schemaVersion": 2, "manifests": [entry] })).unwrap()
    };
    // What is served for an image of this config, by a manifest that was changed.
    let serve_it = |config: &[u8], place: Option<(&str, serde_json::Value)>| {
        let mut manifest: serde_json::Value = serde_json::from_slice(&good.manifest(config)).unwrap();
        if let Some((place, value)) = place {
            *manifest.pointer_mut(place).unwrap() = value;
        }
        *answers.lock().unwrap() = good.answers(config, serde_json::to_vec(&manifest).unwrap());
    };
    let pin = || runtime.block_on(registry::base::pin(&reference, Platform::Amd64));
    let refused = |says: &str| {
        let said = baibox::error::render(&pin().unwrap_err());
        assert!(said.contains(says), "{says}: {said}");
    };

    serve_it(&config("linux"), None);
    let pinned = pin().unwrap();
    assert_eq!(pinned.digest, pinned.manifest);
    assert_eq!(pinned.env["PYTHON_VERSION"], "3.9.2");
    assert_eq!(pinned.layers.iter().map(|layer| layer.diff_id.clone()).collect::<Vec<_>>(), good.diff_ids);

    // By an index, which is what the tag then names.
    let top = index(&pinned.manifest, "amd64");
    let manifest = answers.lock().unwrap()["tag"].clone();
    answers.lock().unwrap().extend([("tag".to_owned(), top.clone()), (pinned.manifest.to_string(), manifest)]);
    let by_index = pin().unwrap();
    assert_eq!((by_index.digest, &by_index.manifest, &by_index.layers), (Digest::of(&top), &pinned.manifest, &pinned.layers));
    answers.lock().unwrap().insert(pinned.manifest.to_string(), top.clone());
    refused("is not what it says");
    answers.lock().unwrap().insert("tag".to_owned(), index(&pinned.manifest, "riscv64"));
    refused("hint: name another one: it has linux/riscv64");
    answers.lock().unwrap().insert("tag".to_owned(), b"{".to_vec());
    refused("is not an image");
    answers.lock().unwrap().clear();
    refused("hint: see that its name and tag are right");
    serve_it(&config("windows"), None);
    refused("is an image for windows/amd64, not for linux/amd64");
    let squash = json!("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
    serve_it(&config("linux"), Some(("/layers/0/mediaType", squash)));
    refused("is of a kind that is not taken");
    serve_it(&config("linux"), Some(("/layers", json!([]))));
    refused("is not an image");
    serve_it(&config("linux"), Some(("/layers/0/size", json!(-1))));
    refused("is not an image");

    // Its layers, and the files that they have together.
    let take = |layer: &BaseLayer| {
        let scratch = tempfile::tempdir().unwrap();
        let store = Store::open(scratch.path()).unwrap();
        let taken = runtime.block_on(async {
            registry::base::fetch_layer(&store, &reference, layer).await?;
            registry::base::layer_content(&store, layer).await
        });
        taken.map_err(|error| baibox::error::render(&error)).map(|content| store.read(&content).unwrap())
    };
    serve_it(&config("linux"), None);
    for (layer, tar) in pinned.layers.iter().zip(&tars) {
        assert_eq!([take(layer).unwrap(), END_MARKER.to_vec()].concat(), *tar);
    }
    let first = &pinned.layers[0];
    let wrong = BaseLayer { diff_id: good.diff_ids[1].clone(), ..first.clone() };
    assert!(take(&wrong).unwrap_err().contains(&format!("not `{}`", good.diff_ids[1])));
    assert!(take(&BaseLayer { size: 7, ..first.clone() }).unwrap_err().contains("is not what it says"));
    let gone = Digest::of(b"gone");
    assert!(take(&BaseLayer { digest: gone.clone(), ..first.clone() }).unwrap_err().contains(&format!("the blob `{gone}`")));
    let plain = BaseLayer { media_type: "application/vnd.oci.image.layer.v1.tar".into(), ..first.clone() };
    assert!(take(&plain).unwrap_err().contains("cannot take the layer"));
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::open(scratch.path()).unwrap();
    assert!(baibox::debian::base::look(&store, &good.diff_ids).unwrap().is_none());
    for layer in &pinned.layers {
        runtime.block_on(registry::base::fetch_layer(&store, &reference, layer)).unwrap();
        runtime.block_on(registry::base::layer_content(&store, layer)).unwrap();
    }
    let files = baibox::debian::base::look(&store, &good.diff_ids).unwrap().unwrap();
    assert_eq!(baibox::debian::base::distribution(&files).0, "debian");
    assert_eq!(files.get("etc/x"), None);
}
