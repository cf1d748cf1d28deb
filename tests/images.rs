//! The images of a release on a real engine, and what others say of them. `tests/all` runs it.

mod world;

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use world::{World, wait_until};

#[test]
#[ignore = "needs an engine and package mirrors: run tests/all"]
fn images_are_the_same_when_they_are_made_again() {
    let scratch = tempfile::tempdir().unwrap();
    let world = World::new(scratch.path(), "images");
    let place = world.folder.to_str().unwrap();
    world.succeeds(&["up", "--branch", "21.03", "--env", &world.id, "--path", place, "--source", "pypi", "--no-verify"]);
    world.succeeds(&["stop", "--env", &world.id]);
    let env = ["--env", &world.id];

    let said = world.succeeds(&[&["build", "--check"][..], &env].concat());
    assert!(said.contains("bit for bit the same"), "{said}");

    without_an_engine_they_are_the_same_too(&world, scratch.path());
    world.succeeds(&["delete", &world.id, "--yes", "--force"]);
}

/// Also after a build that was killed in the middle of a step.
fn without_an_engine_they_are_the_same_too(world: &World, scratch: &Path) {
    let made = world.succeeds(&["build", "--env", &world.id, "--json"]);
    let cache = scratch.join("second");
    let (store, first) = (cache.join("baibox"), baibox::host::store_root().unwrap());
    std::fs::create_dir_all(&store).unwrap();
    // What is downloaded is known by its digest: once is enough.
    assert!(Command::new("cp").arg("--archive").arg("--link").arg(first.join("blobs")).arg(&store).status().unwrap().success());
    let rebuild = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_baibox"));
        command.args(["--json", "rebuild", &world.id]).arg(&world.folder);
        command.env("XDG_CACHE_HOME", &cache).env("BAIBOX_ENGINE", "none").env("DOCKER_HOST", "unix:///nonexistent");
        command
    };
    let steps = store.join("steps");
    let root = || {
        let own = std::fs::read_dir(&steps).ok()?.next()?.ok()?.path();
        std::fs::read_dir(own).ok()?.filter_map(Result::ok).map(|entry| entry.path().join("rootfs")).find(|root| root.exists())
    };
    let mut killed = rebuild().stdout(Stdio::null()).spawn().unwrap();
    wait_until("a step runs", || root().is_some());
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(root().is_some(), "the step's files are still there");
    let output = rebuild().output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (made, again): (Value, Value) = (serde_json::from_str(&made).unwrap(), serde_json::from_slice(&output.stdout).unwrap());
    let id = |image: &Value| baibox::model::Digest::of(image[1]["config"].as_str().unwrap().as_bytes()).to_string();
    let again: BTreeMap<&str, String> =
        again.as_array().unwrap().iter().map(|image| (image[0].as_str().unwrap(), id(image))).collect();
    assert_eq!(serde_json::to_value(again).unwrap(), made);
    assert_eq!(std::fs::read_dir(&steps).unwrap().count(), 0, "nothing is left");
}
