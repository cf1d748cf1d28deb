//! What every engine must do, asked of the fake and of a real one.

use super::*;
use crate::oci::{Image, Layer, Node, Settings, Tree, write_archive};

#[path = "../../tests/world/podman.rs"]
mod service;

/// An image of these layers, each with one file, and the bytes of its fragments.
fn image(reference: &str, texts: &[&str]) -> (Image, BTreeMap<Digest, Vec<u8>>) {
    let mut blobs = BTreeMap::new();
    let layers = texts.iter().map(|text| {
        let mut tree = Tree::default();
        tree.insert(&format!("file-{text}"), Node::file(0o644, (*text).to_owned())).unwrap();
        let mut bytes = Vec::new();
        tree.write_fragment(&mut bytes).unwrap();
        let digest = Digest::of(&bytes);
        blobs.insert(digest.clone(), bytes);
        Layer::assemble(text, vec![digest], |digest| Ok(&blobs[digest][..])).unwrap()
    });
    let layers = layers.collect();
    (Image::new(reference.to_owned(), "amd64", &Settings::default(), layers), blobs)
}

async fn load(engine: &dyn Executor, image: &Image, blobs: &BTreeMap<Digest, Vec<u8>>, without: &[&Digest]) -> Result<String> {
    let (image, blobs) = (image.clone(), blobs.clone());
    let without: Vec<Digest> = without.iter().map(|digest| (*digest).clone()).collect();
    engine
        .load(Box::new(move |mut out| {
            let open = |digest: &Digest| Ok(std::io::Cursor::new(blobs[digest].clone()));
            write_archive(&mut out, &[image], |layer| without.contains(&layer.diff_id), open)
        }))
        .await
}

async fn contract(engine: &dyn Engine) {
    contract_of_executors(engine).await;
    let (first, again) = (engine.facts().await.unwrap().id, engine.facts().await.unwrap().id);
    assert!(first == again && !first.is_empty(), "an engine is known again: {first}, {again}");
    let nobody = EnvironmentId::parse("nobody-has-this").unwrap();
    assert_eq!(engine.containers(&nobody).await.unwrap(), []);
    assert!(engine.list().await.unwrap().iter().all(|listed| listed.environment.as_deref() != Some(nobody.as_str())));
    assert!(!engine.owners().await.unwrap().contains(nobody.as_str()));
    assert_eq!(engine.images_of(&nobody).await.unwrap(), Vec::<String>::new());
    assert!(engine.networks(&nobody).await.unwrap().is_empty() && engine.volumes(&nobody).await.unwrap().is_empty());
    assert_eq!(engine.written(&nobody).await.unwrap(), 0);
    assert_eq!(engine.layers("baibox.local/nobody:has-this").await.unwrap(), []);
    // What is gone already is no fault.
    engine.remove_network("baibox-nobody-has-this").await.unwrap();
    engine.remove_volume("baibox-nobody-has-this").await.unwrap();
    engine.remove_container("baibox-nobody-has-this").await.unwrap();
}

async fn contract_of_executors(engine: &dyn Executor) {
    let name = |what: &str| format!("baibox.local/contract/{what}:{}", std::process::id());
    let (first, blobs) = image(&name("first"), &["a", "b"]);
    assert_eq!(engine.image(&first.reference).await.unwrap(), None);
    assert!(!engine.architecture().await.unwrap().is_empty());

    load(engine, &first, &blobs, &[]).await.unwrap();
    let held = engine.image(&first.reference).await.unwrap().unwrap();
    assert!(held.id == first.id().as_str() || held.id == first.manifest_digest().as_str(), "{held:?}");
    assert!(engine.images().await.unwrap().iter().any(|image| image.references.contains(&first.reference)));

    // Layers that the engine has need not be sent again.
    let (second, more) = image(&name("second"), &["a", "b", "c"]);
    let known: Vec<&Digest> = first.layers.iter().map(|layer| &layer.diff_id).collect();
    load(engine, &second, &more, &known).await.unwrap();
    let held = engine.image(&second.reference).await.unwrap().unwrap();
    assert_eq!(held.diff_ids, second.diff_ids());

    // What nobody has is an error, or an image that is not there.
    let (third, blobs) = image(&name("third"), &["never sent"]);
    let refused = load(engine, &third, &blobs, &[&third.layers[0].diff_id]).await.is_err();
    assert!(refused || engine.image(&third.reference).await.unwrap().is_none());

    let step = Step { name: "impossible".into(), image: name("absent"), command: vec!["/x".into()], ..Step::default() };
    let output = tempfile::NamedTempFile::new().unwrap();
    let fault = format!("{:#}", engine.run_step(&step, output.path()).await.unwrap_err());
    assert!(fault.contains("impossible"), "{fault}");
    engine.sweep_steps(true).await.unwrap();

    for image in [&first, &second, &third, &third] {
        engine.remove_image(&image.reference).await.unwrap();
        assert_eq!(engine.image(&image.reference).await.unwrap(), None);
    }
}

#[tokio::test]
async fn the_fake_engine_keeps_the_contract() {
    contract(&Fake::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an engine: run tests/all"]
async fn a_real_engine_keeps_the_contract() {
    contract(&Docker::connect().await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs bubblewrap: run tests/all"]
async fn a_sandbox_keeps_the_contract() {
    let store = tempfile::tempdir().unwrap();
    contract_of_executors(&Sandbox::new(store.path()).unwrap()).await;
    assert_eq!(std::fs::read_dir(store.path().join("steps")).unwrap().count(), 0, "nothing is left");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Podman and root: run tests/all"]
async fn podman_keeps_the_contract() {
    let scratch = tempfile::tempdir().unwrap();
    let podman = service::Podman::start(scratch.path());
    let engine = Docker::at(Some(podman.address())).await.unwrap();
    assert_eq!(engine.facts().await.unwrap().kind, Kind::Podman);
    contract(&engine).await;
}
