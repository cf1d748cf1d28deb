//! Images of small made-up packages: the digests are the same on every machine, forever, or
//! [`crate::plan`]'s recipe version must be raised.

use super::*;
use crate::debian::{Database, LockedDeb, Options};
use crate::model::Platform;
use crate::oci::{Node, Settings};
use crate::plan::{Input, Part, PlannedFile, Rank, Recipe, Wanted};
use crate::python::editable::Metadata;
use crate::registry::Outgoing;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::Digest as _;
use std::io::Write;

/// A package without compression, see deb(5).
fn deb(name: &str, architecture: &str) -> Vec<u8> {
    let tar = |files: &[(&str, Node)]| {
        let mut tree = Tree::default();
        for (path, node) in files {
            tree.insert(path, node.clone()).unwrap();
        }
        let mut bytes = Vec::new();
        tree.write_fragment(&mut bytes).unwrap();
        bytes.extend(crate::oci::END_MARKER);
        bytes
    };
    let control =
        format!("Package: {name}\nVersion: 1.0-1\nArchitecture: {architecture}\nMaintainer: nobody\nDescription: made up\n");
    let control = tar(&[("control", Node::file(0o644, control))]);
    let data = tar(&[
        ("bin", Node::directory(0o755)),
        (&format!("bin/{name}"), Node::file(0o4755, "#!/bin/sh\n")),
        (&format!("usr/share/doc/{name}/copyright"), Node::file(0o644, "license")),
        (&format!("usr/share/man/{name}.1"), Node::file(0o644, "left out")),
        (&format!("var/lib/{name}"), Node::Directory { mode: 0o2775, uid: 0, gid: 50 }),
    ]);
    let mut bytes = b"!<arch>\n".to_vec();
    for (member, content) in [("debian-binary", &b"2.0\n"[..]), ("control.tar", &control), ("data.tar", &data)] {
        writeln!(bytes, "{member:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", 0, 0, 0, 100_644, content.len()).unwrap();
        bytes.extend(content);
    }
    bytes
}

fn wheel() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let mut writer = zip::ZipWriter::new(&mut bytes);
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let files = [
        ("made_up/__init__.py", "def main():\n    pass\n"),
        ("made_up-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: made-up\nVersion: 1.0\n"),
        ("made_up-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\n"),
        ("made_up-1.0.dist-info/entry_points.txt", "[console_scripts]\nmade-up = made_up:main\n"),
    ];
    let line = |(path, text): &(&str, &str)| {
        let digest = URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(text));
        format!("{path},sha256={digest},{}\n", text.len())
    };
    let record: String = files.iter().map(line).collect::<String>() + "made_up-1.0.dist-info/RECORD,,\n";
    for (path, text) in files.into_iter().chain([("made_up-1.0.dist-info/RECORD", record.as_str())]) {
        writer.start_file(path, stored).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
    }
    writer.finish().unwrap();
    bytes.into_inner()
}

/// Two images: one of Debian packages for an architecture, one with Python on it.
fn made_up(store: &Store, architecture: &str) -> Plan {
    let debs = ["first", "second"].map(|name| {
        let sha256 = store.put(&deb(name, architecture)).unwrap();
        let file = format!("pool/{name}_1.0-1_{architecture}.deb");
        let deb = LockedDeb {
            name: name.into(),
            version: "1.0-1".into(),
            architecture: architecture.into(),
            size: store.size(&sha256).unwrap(),
            file,
            sha256,
            security: false,
        };
        let options = Options { database: Database::Static, exclude: vec!["usr/share/man".into()], ..Options::default() };
        Part::new(Rank::Packages, Recipe::Deb { deb, options })
    });
    let input = Input { file: "made_up-1.0-py3-none-any.whl".into(), digest: store.put(&wheel()).unwrap() };
    let python = "3.9".to_owned();
    let wheel = Recipe::Wheel { name: "made-up".into(), version: "1.0".into(), input, python: python.clone() };
    let metadata = Metadata { name: "backend.ai-made-up".into(), version: "21.03.1".into(), ..Metadata::default() };
    let link = Recipe::Link { component: "made-up".into(), metadata, python: python.clone() };
    let file = PlannedFile { mode: 0o755, content: "#!/bin/sh\n".into() };
    let files = Recipe::Files { title: "files".into(), files: [("usr/bin/start".into(), file)].into() };
    let base = Part::new(Rank::Packages, Recipe::DebianBase);
    let parts = [&[base][..], &debs].concat();
    let more = [
        Part::new(Rank::Wheels, Recipe::VirtualEnvironment { python, interpreter: crate::python::Interpreter::debian() }),
        Part::new(Rank::Wheels, wheel),
        Part::new(Rank::Links, link),
        Part::new(Rank::Files, files),
    ];
    let settings = Settings {
        cmd: vec!["start".into()],
        env: [("LANG".to_owned(), "C.UTF-8".to_owned())].into(),
        labels: [("ai.baibox.image".to_owned(), "second".to_owned())].into(),
        ..Settings::default()
    };
    let wanted = vec![
        Wanted { name: "one".into(), parts: parts.clone(), settings: Settings::default() },
        Wanted { name: "two".into(), parts: [&parts[..], &more].concat(), settings },
    ];
    Plan::new("made-up", wanted)
}

#[tokio::test]
async fn the_digests_of_made_up_images_are_known() {
    let folder = tempfile::tempdir().unwrap();
    let (builder, _) = tests::builder(folder.path());
    let outcome = builder.build(&made_up(&builder.store, "all"), true).await.unwrap();
    insta::assert_snapshot!(told(&outcome), @r"
    one: sha256:3ba9594c401a05134ddd646029016ac870a5109fa1a83396d08d3e3efac7e4da, manifest sha256:79a25de575d62508ef5bf7edbbf2ba916d0864eff0e7a1e2cc8946ff7828acc1
      sha256:ecc0196666e2e3b44800eef2b659421d42486ef33a64477e18003b2a024a3b19 Debian packages (3 for 2 images), 18944 bytes
    two: sha256:d1879c2b73e3394aae8e18222ddc00fd3f1b103bcf2b17c8c68bb8a974ca6fd8, manifest sha256:1480d4ab9a959661d550c57e0381ca3ee6793ee91e5213d16d87abc0a58c9c91
      sha256:ecc0196666e2e3b44800eef2b659421d42486ef33a64477e18003b2a024a3b19 Debian packages (3 for 2 images), 18944 bytes
      sha256:e42bf6b987c9d5608b2ce83ecfe0df50f23224f62f54d894fd738a6bea5f6296 Python packages (2 for 1 images), 12288 bytes
      sha256:857e3da070d7f9132e10a9af67e160f23cc6c4bbdc80ee39091928d66b44ce2f links to sources, files (2 for 1 images), 7168 bytes
    ");
}

#[tokio::test]
async fn one_index_is_over_made_up_images_of_two_platforms() {
    let folder = tempfile::tempdir().unwrap();
    let (builder, _) = tests::builder(folder.path());
    let plans = ["amd64", "arm64"].map(|architecture| made_up(&builder.store, architecture));
    let platforms = [Platform::Amd64, Platform::Arm64];
    let mut made = Vec::new();
    for (platform, plan) in platforms.into_iter().zip(&plans) {
        made.push((platform, plan, builder.on(platform).build(plan, true).await.unwrap()));
    }
    // What is no program is made once, and is the same in both.
    assert_eq!((made[0].2.fragments_made, made[1].2.fragments_made), (7, 2));
    assert_eq!(made[0].2.images[1].1.layers[1..], made[1].2.images[1].1.layers[1..]);
    let outgoing: Vec<Outgoing> = made
        .iter()
        .flat_map(|(platform, plan, outcome)| {
            let images = plan.images.iter().zip(&outcome.images);
            images.map(|(plan, (_, image))| Outgoing {
                plan,
                image,
                platform: *platform,
                base: 0,
                below: None,
                annotations: BTreeMap::new(),
            })
        })
        .collect();
    let layout = folder.path().join("layout");
    let digests =
        crate::registry::layout::to_folder(&builder.store, &outgoing, &layout, &builder.ui.stage("write")).await.unwrap();
    let read = |path: &str| std::fs::read_to_string(layout.join(path)).unwrap();
    let index: serde_json::Value = serde_json::from_str(&read(&format!("blobs/sha256/{}", digests["two"].hex()))).unwrap();
    let architectures: Vec<_> =
        index["manifests"].as_array().unwrap().iter().map(|one| &one["platform"]["architecture"]).collect();
    assert_eq!(architectures, ["amd64", "arm64"]);
    for (descriptor, (_, _, outcome)) in index["manifests"].as_array().unwrap().iter().zip(&made) {
        let manifest = Digest::parse(descriptor["digest"].as_str().unwrap()).unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&read(&format!("blobs/sha256/{}", manifest.hex()))).unwrap();
        assert_eq!(manifest["config"]["digest"].as_str(), Some(outcome.images[1].1.id().as_str()));
    }
    insta::assert_snapshot!(told(&made[1].2), @r"
    one: sha256:7ed4a25d907034a52a665b4c89fec7b4acaa3b5b00ed0cd38baad4fe4353a20b, manifest sha256:8f5bb869c1b2457f176b0098205d6219a09d8a84c142617ae10180d4e08e3ef4
      sha256:b4aef9b4e0c0a64457646a399906601eb4b6722138620d08294c7cc1ee226170 Debian packages (3 for 2 images), 18944 bytes
    two: sha256:25e8e08eab86b9b496312bf64f4b9ed3c3a5c2e1afb5786c95406031f42e5a2d, manifest sha256:c3cbac25cc006978473f90128fb4ec07f7f1ab6207a059408a2d4912d67822d1
      sha256:b4aef9b4e0c0a64457646a399906601eb4b6722138620d08294c7cc1ee226170 Debian packages (3 for 2 images), 18944 bytes
      sha256:e42bf6b987c9d5608b2ce83ecfe0df50f23224f62f54d894fd738a6bea5f6296 Python packages (2 for 1 images), 12288 bytes
      sha256:857e3da070d7f9132e10a9af67e160f23cc6c4bbdc80ee39091928d66b44ce2f links to sources, files (2 for 1 images), 7168 bytes
    ");
}

fn told(outcome: &Outcome) -> String {
    let told: Vec<String> = outcome
        .images
        .iter()
        .flat_map(|(name, image)| {
            let head = format!("{name}: {}, manifest {}", image.id(), image.manifest_digest());
            let layers = image.layers.iter().map(|layer| format!("  {} {}, {} bytes", layer.diff_id, layer.title, layer.size));
            [head].into_iter().chain(layers).collect::<Vec<_>>()
        })
        .collect();
    told.join("\n")
}
